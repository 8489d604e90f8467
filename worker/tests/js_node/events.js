// Emitters: order, once, removal, errors, promises of events.
const EventEmitter = require('events')
const { once, on, errorMonitor } = EventEmitter

module.exports = async (out) => {
    const e = new EventEmitter()
    e.on('newListener', (name) => out('new', String(name)))
    e.on('removeListener', (name) => out('removed', String(name)))
    const second = () => out('second')
    e.on('a', () => out('first'))
    e.once('a', second)
    e.prependListener('a', () => out('before'))
    e.prependOnceListener('a', () => out('before, once'))
    out(e.listenerCount('a'), e.listeners('a').includes(second), e.rawListeners('a').includes(second), e.eventNames().join())
    out(e.emit('a'), e.emit('a'), e.emit('none'))
    e.off('a', second)
    e.removeAllListeners('a')
    out(e.listenerCount('a'), e.eventNames().join())
    const chained = new EventEmitter()
    chained.on('x', function late() {
        out('x1', this === chained)
        chained.on('x', () => out('later'))
        chained.off('x', last)
    })
    const last = () => out('x2')
    chained.on('x', last)
    chained.emit('x')
    chained.emit('x')
    for (const thrown of [new TypeError('own'), 'text', undefined, { a: 1 }]) {
        try {
            new EventEmitter().emit('error', thrown)
        } catch (err) {
            out(err.name, err.code, err.message)
        }
    }
    const watched = new EventEmitter()
    watched.on(errorMonitor, (err) => out('monitored', err.message))
    watched.on('error', (err) => out('handled', err.message))
    watched.emit('error', new Error('e'))
    const s = Symbol('s')
    watched.on(s, (...args) => out('symbol', ...args))
    watched.emit(s, 1, 2, 3)
    for (const wrong of [undefined, 'f', 5]) {
        try {
            e.on('a', wrong)
        } catch (err) {
            out(err.name, err.code, err.message)
        }
    }
    try {
        e.setMaxListeners(-1)
    } catch (err) {
        out(err.code, err.message)
    }
    out(e.getMaxListeners(), EventEmitter.defaultMaxListeners, e.setMaxListeners(3) === e, e.getMaxListeners())
    setTimeout(() => e.emit('soon', 1, 2), 1)
    out('once', await once(e, 'soon'))
    setTimeout(() => e.emit('error', new Error('instead')), 1)
    out('once fails', await once(e, 'soon').catch((err) => err.message))
    const many = new EventEmitter()
    setTimeout(() => {
        many.emit('n', 1)
        many.emit('n', 2)
        many.emit('n', 3)
    }, 1)
    for await (const [n] of on(many, 'n')) {
        out('on', n)
        if (n === 3) break
    }
    out(many.listenerCount('n'))
    function Old() {
        EventEmitter.call(this)
    }
    require('util').inherits(Old, EventEmitter)
    const old = new Old()
    old.on('e', (v) => out('old', v))
    old.emit('e', 1)
    class New extends EventEmitter {}
    out(new New() instanceof EventEmitter, EventEmitter.EventEmitter === EventEmitter, EventEmitter.listenerCount(old, 'e'))
    out(EventEmitter.getEventListeners(old, 'e').length)
}
