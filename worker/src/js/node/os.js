// The machine.

const { process } = natives
const system = process.system()

exports.EOL = '\n'
exports.hostname = process.hostname
exports.platform = () => 'linux'
exports.type = () => system.type
exports.release = () => system.release
exports.machine = () => system.machine
exports.arch = () => 'x64'
exports.tmpdir = () => system.tmpdir
exports.homedir = () => process.env().HOME ?? '/'
exports.uptime = process.uptime
exports.cpus = () => Array.from({ length: system.cpus }, () => ({ model: '', speed: 0, times: {} }))
exports.availableParallelism = () => system.cpus
exports.networkInterfaces = () => ({ lo: [{ address: '127.0.0.1', family: 'IPv4', internal: true }] })
exports.userInfo = () => ({ uid: process.uid(), gid: process.gid(), username: process.env().USER ?? '' })
exports.constants = { signals: { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 } }
