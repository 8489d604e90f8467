// Logging.md: methods of connections, plugins and the logger.
const logger = require('./logger')

exports.hook_noop = function (next, connection) {
    connection.logdebug('turtles all the way down')
    connection.logdebug('turtles', this)
    this.loginfo('checking sender', connection)
    logger.lognotice('i like turtles', this, connection)
    logger.lognotice('nobody in particular')
    connection.logwarn(this, 'with data', { from: 'a', port: 25 })
    for (const level of ['protocol', 'debug', 'info', 'notice', 'warn', 'error', 'crit', 'alert', 'emerg']) {
        connection[`log${level}`](this, `level of ${level}`)
    }
    next()
}
