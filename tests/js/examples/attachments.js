// Transaction.md: attachments as streams into files, in their own time.
const fs = require('node:fs')
const path = require('node:path')

exports.hook_data = (next, connection) => {
    connection.transaction.attachment_hooks((ct, fn, body, stream) => {
        start_att(connection, ct, fn, body, stream)
    })
    next()
}

function start_att(connection, ct, fn, body, stream) {
    connection.loginfo(`attachment: ${ct} ${fn}`)
    // It holds the client back.
    stream.connection = connection
    stream.pause()

    const file = path.join(process.env.TMPDIR, 'attached')
    fs.open(file, 'w', (err, fd) => {
        const ws = fs.createWriteStream(file, { fd })
        ws.on('close', () => connection.loginfo(`stored: ${fs.readFileSync(file)}`))
        stream.pipe(ws)
        stream.resume()
    })
}
