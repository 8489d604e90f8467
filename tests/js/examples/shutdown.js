// Plugins.md: what a plugin has running ends with it.
exports.register = function () {
    this._interval = setInterval(() => this.loginfo('tick'), 20)
}

exports.shutdown = function () {
    clearInterval(this._interval)
}

exports.hook_noop = function (next) {
    setTimeout(() => {
        this.shutdown()
        next(OK)
    }, 100)
}
