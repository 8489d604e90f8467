// What hooks answer, by name.

const codes = {
    cont: 900,
    stop: 901,
    deny: 902,
    denysoft: 903,
    denydisconnect: 904,
    disconnect: 905,
    ok: 906,
    next_hook: 907,
    delay: 908,
    denysoftdisconnect: 909,
    // O_CREAT | O_TRUNC | O_WRONLY | O_EXCL
    write_excl: 0o1301,
}

for (const [name, code] of Object.entries(codes)) {
    exports[name] = code
    exports[name.toUpperCase()] = code
}

exports.import = (object) => {
    for (const [name, code] of Object.entries(codes)) object[name.toUpperCase()] = code
}

exports.translate = (code) => {
    const found = Object.entries(codes).find(([, known]) => known === code)
    return found ? found[0].toUpperCase() : 'UNKNOWN'
}

const states = { CMD: 1, LOOP: 2, DATA: 3, PAUSE: 4, PAUSE_SMTP: 5, PAUSE_DATA: 6, DISCONNECTING: 99, DISCONNECTED: 100 }
exports.connection = { state: { ...states } }
for (const [name, number] of Object.entries(states)) exports.connection.state[`STATE_${name}`] = number
