// `haraka-plugin-karma` as it comes from npm: it hears all that is found on its connections and looks at each hook for what
// it may award, and mostly there is nothing. That is seen here; all else is left to it. This is only for the file that
// `known_files.js` knows.

const { awards: ops } = natives

// Awards that are known to be plain; a configuration has a few.
const MOST = 100

// A property of the connection, and how much it is worth if it is not empty: `relaying = 6`.
const isPlain = (name, terms) => !/[.@]/.test(name) && !/\s/.test(terms)

function awards(module) {
    const { exports: karma } = module
    const { check_result: checkResult, check_awards: checkAwards } = karma
    // Terms of those that are plain, by name.
    const plain = new Map()

    const mayBeDue = (connection, name, terms) => {
        if (typeof terms !== 'string') return true
        if (plain.get(name) !== terms) {
            if (plain.size >= MOST || !isPlain(name, terms)) return true
            plain.set(name, terms)
        }
        return Boolean(connection[name])
    }

    karma.check_result = function (connection, message) {
        if (ops.concern(this.result_awards, message)) checkResult.call(this, connection, message)
    }

    karma.check_awards = function (connection) {
        const todo = connection.results.get('karma')?.todo
        for (const name in todo) {
            if (!mayBeDue(connection, name, todo[name])) continue
            checkAwards.call(this, connection)
            return
        }
    }
}

exports.awards = awards
