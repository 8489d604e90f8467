// Channels by name, for those who want to know what others do.

const { invalidType, needsFunction } = require('internal/errors')

const channels = new Map()

class Channel {
    #subscribers = []
    #stores = new Map()

    constructor(name) {
        this.name = name
    }

    get hasSubscribers() {
        return this.#subscribers.length > 0 || this.#stores.size > 0
    }

    subscribe(run) {
        needsFunction('subscription', run)
        this.#subscribers = [...this.#subscribers, run]
    }

    unsubscribe(run) {
        const at = this.#subscribers.indexOf(run)
        if (at >= 0) this.#subscribers = this.#subscribers.toSpliced(at, 1)
        return at >= 0
    }

    publish(data) {
        for (const run of this.#subscribers) {
            try {
                run(data, this.name)
            } catch (err) {
                process.nextTick(() => {
                    throw err
                })
            }
        }
    }

    bindStore(store, transform) {
        this.#stores.set(store, transform)
    }

    unbindStore(store) {
        return this.#stores.delete(store)
    }

    runStores(data, run, self, ...args) {
        let call = () => {
            this.publish(data)
            return Reflect.apply(run, self, args)
        }
        for (const [store, transform] of this.#stores) {
            const inner = call
            call = () => store.run(transform ? transform(data) : data, inner)
        }
        return call()
    }
}

function channel(name) {
    if (typeof name !== 'string' && typeof name !== 'symbol') throw invalidType('channel', ['string', 'symbol'], name)
    let found = channels.get(name)
    if (!found) channels.set(name, (found = new Channel(name)))
    return found
}

const EVENTS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error']

// The five channels of one thing that is done.
class TracingChannel {
    constructor(given) {
        for (const event of EVENTS) this[event] = typeof given === 'string' ? channel(`tracing:${given}:${event}`) : given[event]
    }

    get hasSubscribers() {
        return EVENTS.some((event) => this[event]?.hasSubscribers)
    }

    subscribe(handlers) {
        for (const event of EVENTS) if (handlers[event]) this[event].subscribe(handlers[event])
    }

    unsubscribe(handlers) {
        return EVENTS.filter((event) => handlers[event]).map((event) => this[event].unsubscribe(handlers[event])).every(Boolean)
    }

    traceSync(run, context = {}, self = undefined, ...args) {
        return this.start.runStores(context, () => {
            try {
                context.result = Reflect.apply(run, self, args)
                return context.result
            } catch (err) {
                context.error = err
                this.error.publish(context)
                throw err
            } finally {
                this.end.publish(context)
            }
        })
    }

    tracePromise(run, context = {}, self = undefined, ...args) {
        const settled = (name, value) => {
            context[name] = value
            if (name === 'error') this.error.publish(context)
            this.asyncStart.publish(context)
            this.asyncEnd.publish(context)
        }
        return this.start.runStores(context, () => {
            try {
                return Promise.resolve(Reflect.apply(run, self, args)).then(
                    (value) => {
                        settled('result', value)
                        return value
                    },
                    (err) => {
                        settled('error', err)
                        throw err
                    },
                )
            } catch (err) {
                context.error = err
                this.error.publish(context)
                throw err
            } finally {
                this.end.publish(context)
            }
        })
    }

    traceCallback(run, position = -1, context = {}, self = undefined, ...args) {
        const done = args.at(position)
        const traced = (err, value, ...rest) => {
            if (err) {
                context.error = err
                this.error.publish(context)
            } else {
                context.result = value
            }
            this.asyncStart.runStores(context, () => {
                try {
                    done.call(self, err, value, ...rest)
                } finally {
                    this.asyncEnd.publish(context)
                }
            })
        }
        args.splice(position, 1, traced)
        return this.start.runStores(context, () => {
            try {
                return Reflect.apply(run, self, args)
            } finally {
                this.end.publish(context)
            }
        })
    }
}

Object.assign(exports, {
    Channel,
    channel,
    hasSubscribers: (name) => channels.get(name)?.hasSubscribers ?? false,
    subscribe: (name, run) => channel(name).subscribe(run),
    unsubscribe: (name, run) => channel(name).unsubscribe(run),
    tracingChannel: (name) => new TracingChannel(name),
})
