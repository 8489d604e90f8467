// HAProxy.md, Connection.md: what plugins see behind a proxy.
exports.hook_noop = function (next, connection) {
    const { remote, local, proxy, notes } = connection
    this.loginfo(JSON.stringify([remote.ip, remote.port, local.ip, local.port, proxy.allowed, proxy.ip, proxy.type, notes.proxy]))
    next()
}
