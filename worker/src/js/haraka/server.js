// `server`: what all plugins of the worker share (PLG-17).

const logger = require('internal/logger')

const config = require('haraka-config')

const server = {
    notes: {},
    get cfg() {
        return config.get('smtp.ini', { booleans: ['-main.daemonize', '-main.graceful_shutdown', '+headers.add_received'] })
    },
    config,
    http: {},
    cluster: undefined,
    plugins: undefined,
    address: () => null,
}
logger.add_log_methods(server, 'server')

module.exports = server
