// `cluster` as a worker sees it: one of several processes, which the master starts and ends.

const EventEmitter = require('events')
const { absent } = require('internal/errors')

const cluster = new EventEmitter()

class Worker extends EventEmitter {
    constructor(id) {
        super()
        this.id = id
        this.process = process
        this.exitedAfterDisconnect = undefined
    }

    isConnected() {
        return true
    }

    isDead() {
        return false
    }

    // The master runs no script that could listen.
    send() {
        throw absent('cluster.worker.send')
    }

    disconnect() {
        throw absent('cluster.worker.disconnect')
    }

    kill() {
        throw absent('cluster.worker.kill')
    }
}

let own

module.exports = Object.assign(cluster, {
    Worker,
    SCHED_NONE: 1,
    SCHED_RR: 2,
    schedulingPolicy: 2,
    settings: {},
    isMaster: false,
    isPrimary: false,
    isWorker: true,
    workers: undefined,
    fork() {
        throw absent('cluster.fork')
    },
    setupPrimary() {
        throw absent('cluster.setupPrimary')
    },
    setupMaster() {
        throw absent('cluster.setupMaster')
    },
    disconnect() {
        throw absent('cluster.disconnect')
    },
})

// Its number is known once the worker is there.
Object.defineProperty(cluster, 'worker', {
    get() {
        const id = natives.process.worker()
        if (own?.id !== id) own = new Worker(id)
        return own
    },
    enumerable: true,
})
