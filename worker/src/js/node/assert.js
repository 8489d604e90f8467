// Assertions.

const util = require('util')

class AssertionError extends Error {
    constructor({ message, actual, expected, operator }) {
        super(message ?? `${util.inspect(actual)} ${operator} ${util.inspect(expected)}`)
        this.name = 'AssertionError'
        this.code = 'ERR_ASSERTION'
        Object.assign(this, { actual, expected, operator })
    }
}

function check(ok, actual, expected, message, operator) {
    if (ok) return
    if (message instanceof Error) throw message
    throw new AssertionError({ message, actual, expected, operator })
}

// eslint-disable-next-line eqeqeq
const loosely = (a, b) => a == b || (Number.isNaN(a) && Number.isNaN(b))

const assert = (value, message) => check(value, value, true, message, '==')
assert.ok = assert
assert.equal = (a, b, message) => check(loosely(a, b), a, b, message, '==')
assert.notEqual = (a, b, message) => check(!loosely(a, b), a, b, message, '!=')
assert.strictEqual = (a, b, message) => check(Object.is(a, b), a, b, message, 'strictEqual')
assert.notStrictEqual = (a, b, message) => check(!Object.is(a, b), a, b, message, 'notStrictEqual')
assert.deepStrictEqual = (a, b, message) => check(util.isDeepStrictEqual(a, b), a, b, message, 'deepStrictEqual')
assert.deepEqual = assert.deepStrictEqual
assert.notDeepStrictEqual = (a, b, message) => check(!util.isDeepStrictEqual(a, b), a, b, message, 'notDeepStrictEqual')
assert.notDeepEqual = assert.notDeepStrictEqual
assert.match = (text, pattern, message) => check(pattern.test(text), text, pattern, message, 'match')
assert.fail = (message = 'Failed') => check(false, undefined, undefined, message, 'fail')
assert.ifError = (err) => {
    if (err !== null && err !== undefined) throw err
}
assert.throws = (run, _expected, message) => {
    let threw = false
    try {
        run()
    } catch {
        threw = true
    }
    check(threw, undefined, undefined, message ?? 'Missing expected exception.', 'throws')
}
assert.AssertionError = AssertionError
assert.strict = assert
module.exports = assert
