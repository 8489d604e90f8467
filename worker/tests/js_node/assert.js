// Assertions: which hold, and what those say that do not.
const assert = require('assert')

module.exports = async (out) => {
    const show = (name, run) => {
        try {
            run()
            out(name, 'holds')
        } catch (err) {
            out(name, err.name, err.code, err.operator, err.generatedMessage, String(err.message).split('\n')[0])
        }
    }
    show('ok', () => assert.ok(1))
    show('ok message', () => assert(0, 'zero'))
    show('ok error', () => assert(0, new TypeError('own')))
    show('ok none', () => assert.ok())
    show('equal', () => assert.equal(1, '1'))
    show('equal not', () => assert.equal(1, 2))
    show('notEqual', () => assert.notEqual(1, 1))
    show('strictEqual', () => assert.strictEqual(1, 2))
    show('strictEqual text', () => assert.strictEqual('a', 'b', 'why'))
    show('strictEqual NaN', () => assert.strictEqual(NaN, NaN))
    show('notStrictEqual', () => assert.notStrictEqual(1, 1))
    show('deepEqual', () => assert.deepEqual({ a: 1 }, { a: '1' }))
    show('deepEqual not', () => assert.deepEqual({ a: 1 }, { a: 2 }))
    show('deepStrictEqual', () => assert.deepStrictEqual({ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] }))
    show('deepStrictEqual not', () => assert.deepStrictEqual({ a: 1 }, { a: '1' }))
    show('notDeepStrictEqual', () => assert.notDeepStrictEqual({ a: 1 }, { a: 1 }))
    show('notDeepEqual', () => assert.notDeepEqual([1], ['1']))
    show('strict', () => assert.strict.equal(1, '1'))
    show('match', () => assert.match('abc', /b/))
    show('match not', () => assert.match('abc', /x/))
    show('doesNotMatch', () => assert.doesNotMatch('abc', /b/))
    show('fail', () => assert.fail())
    show('fail message', () => assert.fail('so'))
    show('ifError', () => assert.ifError(null))
    show('ifError not', () => assert.ifError(new Error('bad')))
    const bad = () => {
        throw Object.assign(new TypeError('bad thing'), { code: 'E_BAD' })
    }
    show('throws', () => assert.throws(bad))
    show('throws class', () => assert.throws(bad, TypeError))
    show('throws pattern', () => assert.throws(bad, /thing/))
    show('throws object', () => assert.throws(bad, { name: 'TypeError', code: 'E_BAD', message: /thing/ }))
    show('throws function', () => assert.throws(bad, (err) => err.code === 'E_BAD'))
    show('throws other class', () => assert.throws(bad, RangeError))
    show('throws other pattern', () => assert.throws(bad, /nope/))
    show('throws none', () => assert.throws(() => {}))
    show('throws none class', () => assert.throws(() => {}, TypeError))
    show('throws none message', () => assert.throws(() => {}, undefined, 'must'))
    show('throws wrong', () => assert.throws('x'))
    show('doesNotThrow', () => assert.doesNotThrow(bad))
    show('doesNotThrow holds', () => assert.doesNotThrow(() => {}))
    const later = async (name, run) => {
        let failed
        try {
            await run()
        } catch (err) {
            failed = err
        }
        show(name, () => {
            if (failed) throw failed
        })
    }
    await later('rejects', () => assert.rejects(Promise.reject(new Error('no'))))
    await later('rejects class', () => assert.rejects(async () => bad(), TypeError))
    await later('rejects none', () => assert.rejects(Promise.resolve(1)))
    await later('rejects wrong', () => assert.rejects(() => 1))
    await later('doesNotReject', () => assert.doesNotReject(Promise.reject(new Error('no'))))
    const made = new assert.AssertionError({ actual: 1, expected: 2, operator: 'strictEqual' })
    out(made.name, made.code, made.actual, made.expected, made.operator, JSON.stringify(made.message), made instanceof Error)
}
