exports.value = 7
exports.other = () => {}
