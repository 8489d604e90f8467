// Plugins.md: core modules by `./name`, and by haraka_require.
exports.hook_noop = function (next) {
    const { connect, Socket } = require('./line_socket')
    const { smtp_client, get_client, get_client_plugin } = require('./smtp_client')
    const tls_socket = require('./tls_socket')
    const outbound = require('./outbound')
    const logger = require('./logger')
    const plugins = require('./plugins')
    const kinds = [connect, Socket, smtp_client, get_client, get_client_plugin, tls_socket.connect, tls_socket.createServer,
        outbound.send_email, outbound.send_trans_email, logger.loginfo, logger.add_log_methods, plugins.registered_plugins,
        require('./connection').Connection, require('./transaction').Transaction, require('./server').notes,
        this.haraka_require('outbound').send_email, this.haraka_require('./logger').would_log]
    this.loginfo(JSON.stringify(kinds.map((one) => typeof one)))
    this.loginfo(JSON.stringify([require('./config') === this.config, require('./server') === server, this.haraka_require('logger') === logger]))
    for (const name of ['./none', 'none']) {
        try {
            this.haraka_require(name)
        } catch (err) {
            this.loginfo(`refused ${err.code}`)
        }
    }
    next(OK)
}
