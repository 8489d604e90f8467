// There are no threads for plugins: each worker has one engine. What only asks is answered.

const { absent } = require('internal/errors')

class Worker {
    constructor() {
        throw absent('worker_threads.Worker')
    }
}

class MessageChannel {
    constructor() {
        throw absent('worker_threads.MessageChannel')
    }
}

Object.assign(exports, {
    BroadcastChannel: MessageChannel,
    MessageChannel,
    MessagePort: MessageChannel,
    Worker,
    isMainThread: true,
    parentPort: null,
    resourceLimits: {},
    threadId: 0,
    workerData: null,
    getEnvironmentData: () => undefined,
    setEnvironmentData() {},
    markAsUntransferable() {},
    receiveMessageOnPort: () => undefined,
})
