// Assertions.

const { inspect } = require('internal/inspect')
const equal = require('internal/equal')
const { coded, invalidType, needsFunction } = require('internal/errors')

// What is said of a pair of values that is not as it should be.
const SAID = {
    deepStrictEqual: 'Expected values to be strictly deep-equal:',
    strictEqual: 'Expected values to be strictly equal:',
    deepEqual: 'Expected values to be loosely deep-equal:',
    notDeepStrictEqual: 'Expected "actual" not to be strictly deep-equal to:',
    notStrictEqual: 'Expected "actual" to be strictly unequal to:',
    notDeepEqual: 'Expected values not to be loosely deep-equal:',
}

const shown = (value) => inspect(value, { compact: false, depth: 1000, maxArrayLength: Infinity, sorted: true, breakLength: Infinity })

function explain({ actual, expected, operator }) {
    if (operator.startsWith('not') && SAID[operator]) {
        const text = shown(expected)
        return text.includes('\n') ? `${SAID[operator]}\n\n${text}\n` : `${SAID[operator]} ${text}`
    }
    const [left, right] = [shown(actual), shown(expected)]
    if (operator === '==' || operator === '!=') return `${inspect(actual)} ${operator} ${inspect(expected)}`
    if (!SAID[operator]) return `${left} ${operator} ${right}`
    if (!left.includes('\n') && !right.includes('\n')) return `${SAID[operator]}\n\n${left} !== ${right}\n`
    const [mine, theirs] = [left.split('\n'), right.split('\n')]
    return `${SAID[operator]}\n+ actual - expected\n\n${difference(mine, theirs).join('\n')}`
}

// Lines of both, in order; the common ones once.
function difference(mine, theirs) {
    const out = []
    let [i, j] = [0, 0]
    while (i < mine.length || j < theirs.length) {
        if (i < mine.length && j < theirs.length && mine[i] === theirs[j]) {
            out.push(`  ${mine[i]}`)
            i += 1
            j += 1
            continue
        }
        const ahead = j < theirs.length ? mine.indexOf(theirs[j], i) : -1
        if (i < mine.length && (ahead >= 0 || j >= theirs.length || theirs.indexOf(mine[i], j) < 0)) out.push(`+ ${mine[i++]}`)
        else out.push(`- ${theirs[j++]}`)
    }
    return out
}

class AssertionError extends Error {
    constructor(options) {
        if (typeof options !== 'object' || options === null) throw invalidType('options', 'object', options)
        const { message, actual, expected, operator } = options
        super(message !== undefined && message !== null ? String(message) : explain({ actual, expected, operator: String(operator) }))
        Object.defineProperty(this, 'name', { value: 'AssertionError', writable: true, configurable: true })
        this.generatedMessage = message === undefined || message === null
        this.code = 'ERR_ASSERTION'
        Object.assign(this, { actual, expected, operator })
    }

    toString() {
        return `${this.name} [${this.code}]: ${this.message}`
    }
}

function check(ok, actual, expected, message, operator) {
    if (ok) return
    if (message instanceof Error) throw message
    throw new AssertionError({ message, actual, expected, operator })
}

// eslint-disable-next-line eqeqeq
const loosely = (a, b) => a == b || (Number.isNaN(a) && Number.isNaN(b))

function assert(value, message) {
    ok(value, message, arguments.length)
}

function ok(value, message, given) {
    if (value) return
    const generated = message === undefined || message === null
    if (generated) message = given === 0 ? 'No value argument passed to `assert.ok()`' : 'The expression evaluated to a falsy value'
    if (message instanceof Error) throw message
    const error = new AssertionError({ message, actual: value, expected: true, operator: '==' })
    error.generatedMessage = generated
    throw error
}

assert.ok = function (value, message) {
    ok(value, message, arguments.length)
}
assert.equal = (a, b, message) => check(loosely(a, b), a, b, message, '==')
assert.notEqual = (a, b, message) => check(!loosely(a, b), a, b, message, '!=')
assert.strictEqual = (a, b, message) => check(Object.is(a, b), a, b, message, 'strictEqual')
assert.notStrictEqual = (a, b, message) => check(!Object.is(a, b), a, b, message, 'notStrictEqual')
assert.deepStrictEqual = (a, b, message) => check(equal.deepStrict(a, b), a, b, message, 'deepStrictEqual')
assert.deepEqual = (a, b, message) => check(equal.deep(a, b), a, b, message, 'deepEqual')
assert.notDeepStrictEqual = (a, b, message) => check(!equal.deepStrict(a, b), a, b, message, 'notDeepStrictEqual')
assert.notDeepEqual = (a, b, message) => check(!equal.deep(a, b), a, b, message, 'notDeepEqual')

function matching(text, pattern, message, wanted, operator) {
    if (!(pattern instanceof RegExp)) throw invalidType('regexp', 'RegExp', pattern)
    if (typeof text === 'string' && pattern.test(text) === wanted) return
    if (message instanceof Error) throw message
    const generated = message === undefined
    if (generated) {
        const did = wanted ? 'The input did not match the regular expression' : 'The input was expected to not match the regular expression'
        message = typeof text === 'string' ? `${did} ${inspect(pattern)}. Input:\n\n${inspect(text)}\n` : `The "string" argument must be of type string. Received type ${typeof text} (${inspect(text)})`
    }
    const error = new AssertionError({ message, actual: text, expected: pattern, operator })
    error.generatedMessage = generated
    throw error
}

assert.match = (text, pattern, message) => matching(text, pattern, message, true, 'match')
assert.doesNotMatch = (text, pattern, message) => matching(text, pattern, message, false, 'doesNotMatch')
assert.fail = (message) => {
    if (message instanceof Error) throw message
    const error = new AssertionError({ message: message ?? 'Failed', operator: 'fail' })
    error.generatedMessage = message === undefined
    throw error
}
assert.ifError = (err) => {
    if (err === null || err === undefined) return
    const text = err instanceof Error ? err.message || err.constructor.name : inspect(err)
    const error = new AssertionError({ message: `ifError got unwanted exception: ${text}`, actual: err, expected: null, operator: 'ifError' })
    error.generatedMessage = false
    throw error
}

// Throws unless what was thrown is what was expected: a class, a pattern, an object, or a function that tells.
function expect(thrown, expected, message, operator) {
    if (expected === undefined) return
    if (expected instanceof RegExp) {
        if (expected.test(String(thrown))) return
        const said = message ?? `The input did not match the regular expression ${inspect(expected)}. Input:\n\n${inspect(String(thrown))}\n`
        throw mismatch(said, thrown, expected, operator, message === undefined)
    }
    if (typeof expected === 'function') {
        if (expected.prototype !== undefined && thrown instanceof expected) return
        if (Error.isPrototypeOf(expected) || expected === Error) {
            if (message !== undefined) throw mismatch(message, thrown, expected, operator, false)
            let said = `The error is expected to be an instance of "${expected.name}". Received `
            said += thrown instanceof Error ? `"${thrown.name}"` : `"${inspect(thrown, { depth: -1 })}"`
            if (thrown instanceof Error) said += `\n\nError message:\n\n${thrown.message}`
            throw mismatch(said, thrown, expected, operator, true)
        }
        if (expected.call({}, thrown) === true) return
        const said = message ?? `The ${expected.name ? `"${expected.name}" ` : ''}validation function is expected to return "true". Received ${inspect(expected.call({}, thrown))}${thrown instanceof Error ? `\n\nCaught error:\n\n${thrown}` : ''}`
        throw mismatch(said, thrown, expected, operator, message === undefined)
    }
    const keys = Object.keys(expected)
    if (expected instanceof Error) keys.push('name', 'message')
    for (const key of keys) {
        const fits = typeof thrown?.[key] === 'string' && expected[key] instanceof RegExp && expected[key].test(thrown[key])
        if (!fits && !(thrown && key in Object(thrown) && equal.deepStrict(thrown[key], expected[key]))) {
            if (message instanceof Error) throw message
            throw mismatch(message, thrown, expected, operator, message === undefined)
        }
    }
}

function mismatch(message, actual, expected, operator, generated) {
    if (message instanceof Error) return message
    const error = new AssertionError({ message: message ?? `${SAID.deepStrictEqual}\n\n${inspect(actual)}\n\nshould equal\n\n${inspect(expected)}\n`, actual, expected, operator })
    error.generatedMessage = generated
    return error
}

function missing(kind, expected, message, operator) {
    const name = typeof expected === 'function' && expected.name ? ` (${expected.name})` : ''
    const error = new AssertionError({
        message: `Missing expected ${kind}${name}${message ? `: ${message}` : '.'}`,
        actual: undefined, expected, operator,
    })
    error.generatedMessage = false
    return error
}

function unwanted(kind, thrown, message, operator) {
    return new AssertionError({
        message: `Got unwanted ${kind}${message ? `: ${message}` : '.'}\nActual message: "${thrown?.message}"`,
        actual: thrown, expected: undefined, operator,
    })
}

const given = (expected, message) => (typeof expected === 'string' ? [undefined, expected] : [expected, message])

assert.throws = (run, ...more) => {
    needsFunction('fn', run)
    const [expected, message] = given(...more)
    let thrown
    try {
        run()
    } catch (err) {
        thrown = { err }
    }
    if (!thrown) {
        if (message instanceof Error) throw message
        throw missing('exception', expected, message, 'throws')
    }
    expect(thrown.err, expected, message, 'throws')
}

assert.doesNotThrow = (run, ...more) => {
    needsFunction('fn', run)
    const [expected, message] = given(...more)
    try {
        run()
    } catch (err) {
        if (expected && !(err instanceof expected)) throw err
        throw unwanted('exception', err, message, 'doesNotThrow')
    }
}

function promiseOf(what) {
    if (typeof what?.then === 'function') return what
    if (typeof what !== 'function') throw invalidType('promiseFn', ['function', 'Promise'], what)
    const made = what()
    if (typeof made?.then === 'function') return made
    throw coded(TypeError, 'ERR_INVALID_RETURN_VALUE', `Expected instance of Promise to be returned from the "promiseFn" function but got ${made === null || made === undefined ? made : `type ${typeof made} (${inspect(made)})`}.`)
}

assert.rejects = async (what, ...more) => {
    const [expected, message] = given(...more)
    let thrown
    try {
        await promiseOf(what)
    } catch (err) {
        if (err?.code === 'ERR_INVALID_RETURN_VALUE') throw err
        thrown = { err }
    }
    if (!thrown) throw missing('rejection', expected, message, 'rejects')
    expect(thrown.err, expected, message, 'rejects')
}

assert.doesNotReject = async (what, ...more) => {
    const [, message] = given(...more)
    try {
        await promiseOf(what)
    } catch (err) {
        throw unwanted('rejection', err, message, 'doesNotReject')
    }
}

assert.AssertionError = AssertionError

function strict(value, message) {
    ok(value, message, arguments.length)
}
assert.strict = Object.assign(strict, assert, {
    equal: assert.strictEqual,
    notEqual: assert.notStrictEqual,
    deepEqual: assert.deepStrictEqual,
    notDeepEqual: assert.notDeepStrictEqual,
})
strict.strict = strict
module.exports = assert
