// The module system itself.

const loader = require('internal/loader')

exports.Module = loader.Module
exports.builtinModules = []
exports.createRequire = (from) => loader.makeRequire(new loader.Module(String(from).replace(/^file:\/\//, ''), undefined))
exports.isBuiltin = (name) => natives.loader.hasBuiltIn(String(name).replace(/^node:/, ''))
