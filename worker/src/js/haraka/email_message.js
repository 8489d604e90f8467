// `haraka-email-message`, where a plugin does not bring its own: the header, and the classes of the
// message that the server has.

exports.Header = require('internal/header')
exports.Body = require('internal/body').Body
exports.stream = require('internal/message_stream')
