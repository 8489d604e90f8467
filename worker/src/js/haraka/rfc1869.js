// `rfc1869`: the parameters of MAIL and RCPT (RFC 5321 §4.1.1.11).

const PARAMETER = /^[A-Za-z0-9][A-Za-z0-9-]*(=[^= \x00-\x1f]+)?$/

// `parse('mail', 'FROM:<a@b.c> SIZE=1')` gives the address and its parameters as a list.
exports.parse = (type, line, strict) => {
    const word = type === 'mail' ? 'FROM:' : 'TO:'
    const text = String(line).trimEnd()
    if (text.slice(0, word.length).toUpperCase() !== word) {
        throw new Error(`Invalid format of ${type} command: missing ${word} prefix`)
    }
    const after = text.slice(word.length)
    const words = (strict ? after : after.trimStart()).split(/\s+/)
    const params = []
    while (words.length > 1 && PARAMETER.test(words.at(-1))) params.unshift(words.pop())
    let address = words.join(' ')
    if (/\s/.test(address) && !/^<.*>$/.test(address)) throw new Error(`Syntax error in parameters ("${address}")`)
    if (address === '') address = params.shift() ?? ''
    if (strict && !/^<.*>$/.test(address)) throw new Error(`Invalid format of ${type} command: ${address}`)
    if (type === 'mail' && address === '') return ['<>']
    if (type !== 'mail' && address.includes('@') && !/^<.*>$/.test(address)) address = `<${address}>`
    return [address, ...params]
}
