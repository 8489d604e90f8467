// haraka-config: a file that changes calls back, and is read anew.
const fs = require('fs')

exports.register = function () {
    this.load()
}

exports.load = function () {
    this.cfg = this.config.get('mine.ini', () => {
        this.load()
        this.loginfo(`changed to ${this.cfg.main.word}`)
    })
}

exports.hook_noop = function (next) {
    this.loginfo(`is ${this.cfg.main.word}`)
    const file = `${this.config.root_path}/mine.ini`
    const there = fs.existsSync(file) ? file : `${process.env.TMPDIR}/../config/mine.ini`
    fs.writeFileSync(there, 'word=later\n')
    next(OK)
}
