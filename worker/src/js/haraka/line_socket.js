// `require('./line_socket')`: sockets that tell of each line.

const { LineSocket, add_line_processor } = require('haraka-net-utils')

exports.Socket = LineSocket

// `(port, host)` or `(options)`; the socket can be upgraded to TLS.
exports.connect = (port, host) => {
    const socket = require('internal/tls_socket').connect(typeof port === 'object' ? port : { port, host })
    add_line_processor(socket)
    return socket
}
