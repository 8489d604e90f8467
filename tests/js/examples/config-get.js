// haraka-config: files of every type, arguments in any order (CFS-03), numbers (CFS-04), what is shipped (CFS-07).
exports.hook_noop = function (next) {
    const { config } = this
    const options = { booleans: ['-main.off', '+main.on'] }
    const said = (value) => this.loginfo(JSON.stringify(value))
    said(config.get('a.ini', options))
    said(config.get('a.ini', 'ini', options, () => {}).main.off)
    said(config.get('a.ini', () => {}, options).main.on)
    said([config.get('number'), config.get('number', 'value'), config.get('first'), config.get('words', 'list'), config.get('lines', 'data')])
    said([config.get('b.json'), config.get('b.json', 'json').deep.list, config.get('c.yaml'), config.get('d.json')])
    said([config.get('none'), config.get('no.list'), config.get('none.json'), config.get('none.ini'), config.get('none.bin')])
    // The configuration of all: a plugin's own looks for these beside Haraka's files only.
    const all = require('haraka-config')
    said([all.getInt('number'), all.getInt('first', 7), all.getInt('none', '9x'), Number.isNaN(all.getInt('none')), Number.isNaN(all.getInt())])
    const list = config.get('words', 'list')
    list.push('mine')
    const ini = config.get('a.ini', options)
    ini.main.mine = true
    said([config.get('words', 'list').length, config.get('a.ini', options).main.mine === undefined])
    said([config.get('connection.ini').max, config.get('tarpit.timeout'), config.get('auth_flat_file.ini').core])
    all.getDir('folder', { type: 'binary' }).then((files) => {
        said(files.map(({ path, data }) => [path.split('/').slice(-2).join('/'), String(data)]).sort())
        next(OK)
    })
}
