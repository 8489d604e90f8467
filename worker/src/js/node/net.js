// What addresses are.

const { net } = natives

exports.isIP = (text) => net.isIP(String(text))
exports.isIPv4 = (text) => net.isIP(String(text)) === 4
exports.isIPv6 = (text) => net.isIP(String(text)) === 6
