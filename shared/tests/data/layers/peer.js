// Prints what haraka-config says: node peer.js PATH_OF_HARAKA_CONFIG CASE_DIRECTORY
const fs = require('fs')
const path = require('path')
const [module_path, dir] = process.argv.slice(2)
const print = console.log
console.log = console.error = () => {}
process.env.HARAKA = path.join(dir, 'install')
const config = require(module_path).module_config(path.join(dir, 'defaults'), path.join(dir, 'install'))
const out = fs.readFileSync(path.join(dir, 'ask'), 'utf8').trim().split('\n').map((line) => {
  const [name, type, ...booleans] = line.split(' ')
  const options = booleans.length ? { booleans } : undefined
  return { ask: line, value: config.get(name, type, options) ?? null }
})
print(JSON.stringify(out, null, 1))
process.exit(0)
