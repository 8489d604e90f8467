// Transaction.md: the message into a stream, in the forms that there are.
const { Writable } = require('stream')

function collect(stream, options) {
    return new Promise((resolve) => {
        const pieces = []
        const to = new Writable({
            write(piece, encoding, done) {
                pieces.push(piece)
                done()
            },
        })
        to.on('finish', () => resolve(Buffer.concat(pieces).toString()))
        stream.pipe(to, options)
    })
}

exports.hook_data_post = async function (next, connection) {
    const { transaction } = connection
    const body = (text) => JSON.stringify(text.slice(text.indexOf('Subject')))
    const told = []
    for (const options of [{ ending_dot: true, dot_stuffed: true }, { dot_stuffed: false }, { line_endings: '\n', dot_stuffed: false }, { skip_headers: true }]) {
        told.push(await collect(transaction.message_stream, options))
    }
    this.loginfo(`stuffed ${body(told[0])}`)
    this.loginfo(`plain ${body(told[1])}`)
    this.loginfo(`unix ${body(told[2])}`)
    this.loginfo(`bytes ${transaction.data_bytes > 0}`)
    next()
}
