// Plugins.md: what a worker knows of the others.
const cluster = require('node:cluster')

exports.hook_noop = function (next) {
    const { isWorker, isPrimary, isMaster, worker } = server.cluster
    this.loginfo(JSON.stringify([isWorker, isPrimary, isMaster, worker.id, cluster.isWorker, cluster.worker.id, server.cluster === cluster]))
    this.loginfo(JSON.stringify([Object.keys(server.http.cfg), typeof server.http.app, server.get_http_docroot().endsWith('/http/html')]))
    next(OK)
}
