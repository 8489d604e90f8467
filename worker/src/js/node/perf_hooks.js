// Times of high resolution.

const { process } = natives

const timeOrigin = Date.now() - process.nanoseconds() / 1e6
const entries = []

// Marks and measures that are kept at a time.
const MOST = 10_000

class PerformanceEntry {
    constructor(name, entryType, startTime, duration, detail = null) {
        Object.assign(this, { name, entryType, startTime, duration, detail })
    }

    toJSON() {
        return { ...this }
    }
}

function keep(entry) {
    if (entries.push(entry) > MOST) entries.shift()
    return entry
}

const clear = (type, name) => {
    const kept = entries.filter((e) => e.entryType !== type || (name !== undefined && e.name !== name))
    entries.splice(0, entries.length, ...kept)
}

const performance = {
    timeOrigin,
    now: () => process.nanoseconds() / 1e6,
    mark: (name, options = {}) => keep(new PerformanceEntry(String(name), 'mark', options.startTime ?? performance.now(), 0, options.detail)),
    measure(name, from, to) {
        const at = (mark, otherwise) => {
            if (mark === undefined) return otherwise
            if (typeof mark === 'number') return mark
            const found = entries.findLast((e) => e.entryType === 'mark' && e.name === mark)
            if (!found) throw Object.assign(new Error(`The "${mark}" performance mark has not been set`), { name: 'SyntaxError', code: 12 })
            return found.startTime
        }
        const given = typeof from === 'object' && from !== null ? from : { start: from, end: to }
        const start = at(given.start, 0)
        const end = at(given.end, given.duration === undefined ? performance.now() : start + given.duration)
        return keep(new PerformanceEntry(String(name), 'measure', start, end - start, given.detail))
    },
    clearMarks: (name) => clear('mark', name),
    clearMeasures: (name) => clear('measure', name),
    getEntries: () => [...entries],
    getEntriesByName: (name, type) => entries.filter((e) => e.name === name && (type === undefined || e.entryType === type)),
    getEntriesByType: (type) => entries.filter((e) => e.entryType === type),
    timerify: (run) => run,
    eventLoopUtilization: () => ({ idle: 0, active: 0, utilization: 0 }),
    toJSON: () => ({ timeOrigin }),
}

class PerformanceObserver {
    static supportedEntryTypes = []

    observe() {}

    disconnect() {}
}

// Values and their distribution, as plain as statistics allow.
class Histogram {
    #values = []

    record(value) {
        if (this.#values.push(Number(value)) > MOST) this.#values.shift()
    }

    reset() {
        this.#values = []
    }

    enable() {
        return true
    }

    disable() {
        return true
    }

    get count() {
        return this.#values.length
    }

    get min() {
        return this.#values.reduce((a, b) => Math.min(a, b), Infinity)
    }

    get max() {
        return this.#values.reduce((a, b) => Math.max(a, b), 0)
    }

    get mean() {
        return this.#values.reduce((a, b) => a + b, 0) / this.#values.length
    }

    get stddev() {
        const { mean } = this
        return Math.sqrt(this.#values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / this.#values.length)
    }

    percentile(share) {
        const sorted = this.#values.toSorted((a, b) => a - b)
        return sorted[Math.min(sorted.length - 1, Math.ceil((share / 100) * sorted.length) - 1)] ?? 0
    }
}

Object.assign(exports, {
    performance,
    PerformanceEntry,
    PerformanceObserver,
    createHistogram: () => new Histogram(),
    monitorEventLoopDelay: () => new Histogram(),
    constants: {},
})
