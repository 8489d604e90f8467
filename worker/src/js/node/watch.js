// Following files: `fs.watch` by the kernel's events, `fs.watchFile` by looking again and again.

const EventEmitter = require('events')
const errors = require('internal/errors')
const { watch } = natives

class FSWatcher extends EventEmitter {
    #number
    #waiting = 0
    #only

    constructor(path, only) {
        super()
        this.#only = only
        try {
            this.#number = watch.start(path)
        } catch (err) {
            throw err.code ? Object.assign(errors.system(err.code, 'watch', path), { filename: path }) : err
        }
        this.#next()
    }

    #next() {
        this.#waiting = watch.next(this.#number)
        natives.outcome(this.#waiting).then(
            (events) => {
                if (this.#number === undefined || !events) return
                for (const [kind, name] of events) this.emit('change', kind, name ?? this.#only)
                if (this.#number !== undefined) this.#next()
            },
            (err) => this.emit('error', err),
        )
    }

    close() {
        if (this.#number === undefined) return
        watch.stop(this.#number, this.#waiting)
        this.#number = undefined
        process.nextTick(() => this.emit('close'))
    }

    ref() {
        return this
    }

    unref() {
        return this
    }
}

class StatWatcher extends EventEmitter {
    ref() {
        return this
    }

    unref() {
        return this
    }
}

exports.iterate = (path, { signal } = {}) => {
    const watcher = new FSWatcher(path)
    const events = EventEmitter.on(watcher, 'change', { signal, close: ['close'] })
    return {
        async next() {
            const { value, done } = await events.next()
            return { value: value && { eventType: value[0], filename: value[1] }, done }
        },
        return() {
            watcher.close()
            return events.return()
        },
        [Symbol.asyncIterator]() {
            return this
        },
    }
}

exports.callbacks = (fs, named) => {
    const followed = new Map()
    const none = { dev: 0, mode: 0, nlink: 0, uid: 0, gid: 0, rdev: 0, blksize: 0, ino: 0, size: 0, blocks: 0, atimeMs: 0, mtimeMs: 0, ctimeMs: 0, birthtimeMs: 0 }
    const look = (path) => fs.promises.stat(path).catch(() => new fs.Stats(none))
    return {
        FSWatcher,
        watch(file, options, listener) {
            if (typeof options === 'function') [options, listener] = [{}, options]
            const path = named(file)
            const watcher = new FSWatcher(path, require('path').basename(path))
            if (listener) watcher.on('change', listener)
            options?.signal?.addEventListener('abort', () => watcher.close())
            return watcher
        },
        watchFile(file, options, listener) {
            if (typeof options === 'function') [options, listener] = [{}, options]
            errors.needsFunction('listener', listener)
            const path = require('path').resolve(named(file))
            let entry = followed.get(path)
            if (!entry) {
                entry = { watcher: new StatWatcher(), before: undefined, timer: undefined }
                followed.set(path, entry)
                const again = async () => {
                    const now = await look(path)
                    const { before } = entry
                    entry.before = now
                    const changed = before ? before.mtimeMs !== now.mtimeMs || before.size !== now.size || before.ino !== now.ino || before.ctimeMs !== now.ctimeMs : now.ino === 0
                    if (changed && followed.get(path) === entry) entry.watcher.emit('change', now, before ?? now)
                }
                entry.timer = setInterval(again, options?.interval ?? 5007)
                again()
            }
            entry.watcher.on('change', listener)
            return entry.watcher
        },
        unwatchFile(file, listener) {
            const path = require('path').resolve(named(file))
            const entry = followed.get(path)
            if (!entry) return
            if (listener) entry.watcher.off('change', listener)
            else entry.watcher.removeAllListeners('change')
            if (entry.watcher.listenerCount('change') > 0) return
            clearInterval(entry.timer)
            followed.delete(path)
        },
    }
}
