// Plugins.md: two methods for one hook, in their order.
exports.register = function () {
    this.register_hook('queue', 'try_queue_my_way')
    this.register_hook('queue', 'try_queue_highway')
}

exports.try_queue_my_way = function (next) {
    this.loginfo('my way')
    next()
}

exports.try_queue_highway = function (next) {
    this.loginfo('highway')
    next(OK, 'taken the highway')
}
