// Scripts made at run time.
const vm = require('vm')

module.exports = (out) => {
    const tried = (run) => {
        try {
            return run()
        } catch (err) {
            return `${err.name} ${err.message}`
        }
    }
    out(vm.runInThisContext('1 + 2'), typeof vm.runInThisContext('Buffer'))
    const context = vm.createContext({ a: 5, log: [] })
    out(vm.runInContext('a * 2', context), vm.isContext(context), vm.isContext({}))
    vm.runInContext('b = a + 1; var c = 7; function twice(n) { return n * 2 } log.push(twice(c))', context)
    out(context.b, context.c, typeof context.twice, context.log.join())
    out(vm.runInContext('twice(b)', context))
    out(vm.runInNewContext('x + y', { x: 1, y: 2 }), tried(() => vm.runInNewContext('nowhere', {})))
    out(tried(() => vm.runInNewContext('process', {})), tried(() => vm.runInNewContext('typeof [].push', {})))
    const script = new vm.Script('count += 1; count', { filename: 'count.js' })
    const counter = vm.createContext({ count: 1 })
    out(script.runInContext(counter), script.runInContext(counter), counter.count)
    out(tried(() => new vm.Script('a b')).split(' ')[0])
    out(vm.compileFunction('return a + b', ['a', 'b'])(1, 2))
    const sandbox = { exports: {}, require: (name) => `module ${name}` }
    vm.runInNewContext("exports.name = require('x'); exports.run = function (n) { return n + 1 }", sandbox)
    out(sandbox.exports.name, sandbox.exports.run(1))
}
