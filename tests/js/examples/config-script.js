// haraka-config: files that are scripts (CFS-14).
process.env.HARAKA_JS_CONFIG = '1'

exports.hook_noop = function (next) {
    const { config } = this
    const said = (value) => this.loginfo(JSON.stringify(value))
    said(config.get('settings.js').limit)
    said([config.get('port'), config.get('made.ini').main, config.get('made.ini').main.yes === 'true', config.get('there')])
    said([config.get('twin.json'), config.get('neither.ini')])
    said(typeof config.get('settings.js').run)
    next(OK)
}
