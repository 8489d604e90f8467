// Results.md: what plugins find out, and who asks.
exports.hook_rcpt = function (next, connection, params) {
    const { results } = connection.transaction
    results.add(this, { pass: 'first', score: 2 })
    results.add(this, { fail: 'second', emit: true })
    results.add(this, { err: new Error('third') })
    results.push(this, { seen: params[0].host })
    results.incr(this, { score: 3 })
    this.loginfo(results.collate(this))
    this.loginfo(JSON.stringify([results.has(this, 'pass', 'first'), results.has('example', 'fail', 'second'), results.get('example').score, results.get('none') === undefined]))
    next()
}
