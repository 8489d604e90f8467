// `server`: what all plugins of the worker share (PLG-17).

const path = require('path')
const logger = require('internal/logger')

const config = require('haraka-config')

const server = {
    notes: {},
    get cfg() {
        return config.get('smtp.ini', { booleans: ['-main.daemonize', '-main.graceful_shutdown', '+headers.add_received'] })
    },
    config,
    // Without a server: there is none that plugins add pages to.
    http: {
        get cfg() {
            return config.get('http.ini').main
        },
    },
    // As the module `cluster` in a worker; nothing where the configuration names no workers.
    get cluster() {
        return config.get('smtp.ini').main.nodes ? require('cluster') : undefined
    },
    plugins: undefined,
    address: () => null,
    get_http_docroot: () => config.get('http.ini').main.docroot || path.join(natives.process.installDir(), 'http', 'html'),
    // The master runs no script that could listen.
    sendToMaster(command) {
        throw new Error(`sendToMaster(${command}): the master takes no commands from scripts`)
    },
}
logger.add_log_methods(server, 'server')

module.exports = server
