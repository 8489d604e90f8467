// `server`: what all plugins of the worker share (PLG-17).

const logger = require('internal/logger')

const server = {
    notes: {},
    cfg: { main: {} },
    config: require('haraka-config'),
    http: {},
    cluster: undefined,
    plugins: undefined,
    address: () => null,
}
logger.add_log_methods(server, 'server')

module.exports = server
