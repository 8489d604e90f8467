// Values as text, the way people read them in logs: `util.inspect`.

const custom = Symbol.for('nodejs.util.inspect.custom')

const DEFAULTS = {
    showHidden: false, depth: 2, colors: false, customInspect: true, showProxy: false, maxArrayLength: 100,
    maxStringLength: 10000, breakLength: 128, compact: 3, sorted: false, getters: false, numericSeparator: false,
}

// Beyond this the parts of a list are put into columns.
const COLUMNS_FROM = 6

const STYLES = {
    special: 'cyan', number: 'yellow', bigint: 'yellow', boolean: 'yellow', undefined: 'grey', null: 'bold',
    string: 'green', symbol: 'green', date: 'magenta', regexp: 'red', module: 'underline',
}

const COLORS = {
    __proto__: null, reset: [0, 0], bold: [1, 22], dim: [2, 22], italic: [3, 23], underline: [4, 24], blink: [5, 25],
    inverse: [7, 27], hidden: [8, 28], strikethrough: [9, 29], doubleunderline: [21, 24],
    black: [30, 39], red: [31, 39], green: [32, 39], yellow: [33, 39], blue: [34, 39], magenta: [35, 39], cyan: [36, 39],
    white: [37, 39], bgBlack: [40, 49], bgRed: [41, 49], bgGreen: [42, 49], bgYellow: [43, 49], bgBlue: [44, 49],
    bgMagenta: [45, 49], bgCyan: [46, 49], bgWhite: [47, 49], gray: [90, 39], grey: [90, 39], redBright: [91, 39],
    greenBright: [92, 39], yellowBright: [93, 39], blueBright: [94, 39], magentaBright: [95, 39], cyanBright: [96, 39],
    whiteBright: [97, 39],
}

const ESCAPES = { '\b': '\\b', '\t': '\\t', '\n': '\\n', '\f': '\\f', '\r': '\\r', '\\': '\\\\' }

// In the quotes that need no escape, if there are such.
function quoted(text) {
    let quote = "'"
    if (text.includes("'")) {
        if (!text.includes('"')) quote = '"'
        else if (!text.includes('`') && !text.includes('${')) quote = '`'
    }
    const escaped = text.replace(/[\0-\x1f\x7f-\x9f\\'\ud800-\udfff]/gu, (c) => {
        if (c === "'") return quote === "'" ? "\\'" : c
        if (c.charCodeAt(0) >= 0xd800) return `\\u${c.charCodeAt(0).toString(16).toUpperCase()}`
        return ESCAPES[c] ?? `\\x${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
    })
    return quote + escaped + quote
}

function colored(text, kind, cx) {
    const color = cx.colors && COLORS[STYLES[kind]]
    return color ? `\u001b[${color[0]}m${text}\u001b[${color[1]}m` : text
}

function inspect(value, options, ...old) {
    const cx = { ...DEFAULTS, breakLength: 80, ...exports.defaultOptions, seen: [], level: 0, deepest: 0, circular: new Map() }
    if (typeof options === 'boolean') {
        cx.showHidden = options
        if (old[0] !== undefined) cx.depth = old[0]
        if (old[1] !== undefined) cx.colors = old[1]
    } else if (options) {
        for (const [key, given] of Object.entries(options)) if (given !== undefined || key === 'depth') cx[key] = given
    }
    if (cx.depth === null || cx.depth === undefined) cx.depth = Infinity
    for (const key of ['maxArrayLength', 'maxStringLength']) if (cx[key] === null) cx[key] = Infinity
    if (cx.compact === true) cx.compact = 3
    return show(cx, value, 0, true)
}

function grouped(text) {
    return text.replace(/\B(?=(\d{3})+$)/g, '_')
}

function primitive(cx, value) {
    switch (typeof value) {
        case 'string': {
            let rest = ''
            let text = value
            if (text.length > cx.maxStringLength) {
                const more = text.length - cx.maxStringLength
                text = text.slice(0, cx.maxStringLength)
                rest = `... ${more} more character${more > 1 ? 's' : ''}`
            }
            if (text.length > 16 && text.length > cx.breakLength - cx.level - 4) {
                return text.split(/(?<=\n)/).map((line) => colored(quoted(line), 'string', cx)).join(` +\n${' '.repeat(cx.level + 2)}`) + rest
            }
            return colored(quoted(text), 'string', cx) + rest
        }
        case 'number': {
            const text = Object.is(value, -0) ? '-0' : String(value)
            return colored(cx.numericSeparator && Number.isInteger(value) ? grouped(text) : text, 'number', cx)
        }
        case 'bigint':
            return colored(`${cx.numericSeparator ? grouped(String(value)) : value}n`, 'bigint', cx)
        case 'symbol':
            return colored(value.toString(), 'symbol', cx)
        default:
            return colored(String(value), value === null ? 'null' : typeof value, cx)
    }
}

function show(cx, value, depth, typed) {
    if ((typeof value !== 'object' || value === null) && typeof value !== 'function') return primitive(cx, value)
    if (cx.customInspect) {
        const own = value[custom]
        if (typeof own === 'function' && own !== inspect && !(value.constructor && value.constructor.prototype === value)) {
            const left = cx.depth === Infinity ? Infinity : cx.depth - depth
            const { seen, level, deepest, circular, ...plain } = cx
            const shown = own.call(value, left, { ...plain, stylize: (text, kind) => colored(text, kind, cx) }, inspect)
            if (shown !== value) {
                return typeof shown === 'object' && shown !== null ? show(cx, shown, depth) : String(shown).replaceAll('\n', `\n${' '.repeat(cx.level)}`)
            }
        }
    }
    if (cx.seen.includes(value)) {
        if (!cx.circular.has(value)) cx.circular.set(value, cx.circular.size + 1)
        return colored(`[Circular *${cx.circular.get(value)}]`, 'special', cx)
    }
    return composite(cx, value, depth, typed)
}

// The name of the class, and whether the chain of prototypes has ended before one was found.
function constructorName(value) {
    let at = value
    let steps = 0
    while (at) {
        const own = Object.getOwnPropertyDescriptor(at, 'constructor')
        if (own && typeof own.value === 'function' && own.value.name !== '' && (at !== value || at.constructor?.prototype === at || steps === 0) && isInstance(value, own.value)) {
            return own.value.name
        }
        at = Object.getPrototypeOf(at)
        steps += 1
    }
    return null
}

function isInstance(value, type) {
    try {
        return value instanceof type
    } catch {
        return false
    }
}

function prefix(name, tag, fallback, size = '') {
    if (name === null) {
        return tag && fallback !== tag ? `[${fallback}${size}: null prototype] [${tag}] ` : `[${fallback}${size}: null prototype] `
    }
    return tag && name !== tag ? `${name}${size} [${tag}] ` : `${name}${size} `
}

function keysOf(value, cx) {
    const symbols = Object.getOwnPropertySymbols(value)
    if (cx.showHidden) return [...Object.getOwnPropertyNames(value), ...symbols]
    return [...Object.keys(value), ...symbols.filter((s) => Object.prototype.propertyIsEnumerable.call(value, s))]
}

const isIndex = (key) => typeof key === 'string' && /^(0|[1-9]\d*)$/.test(key)
const typeTag = (value) => Object.prototype.toString.call(value).slice(8, -1)

function composite(cx, value, depth, typed) {
    const name = constructorName(value)
    let tag = ''
    try {
        tag = value[Symbol.toStringTag]
    } catch {
        // A getter of a prototype wants an instance.
    }
    if (typeof tag !== 'string' || tag === '' || tag === name) tag = ''
    let keys = keysOf(value, cx)
    let base = ''
    let braces = ['{', '}']
    let items = () => []
    let list = false
    if (Array.isArray(value)) {
        const named = name !== 'Array' || tag ? prefix(name, tag, 'Array', `(${value.length})`) : ''
        keys = keys.filter((key) => !isIndex(key) && (key !== 'length' || cx.showHidden))
        braces = [`${named}[`, ']']
        if (value.length === 0 && keys.length === 0) return `${braces[0]}]`
        list = true
        items = () => arrayItems(cx, value, depth)
    } else if (value instanceof Set) {
        braces = [`${prefix(name, tag, 'Set', `(${value.size})`)}{`, '}']
        if (value.size === 0 && keys.length === 0) return `${braces[0]}}`
        items = () => inside(cx, () => limited(cx, [...value], value.size, (held) => show(cx, held, depth + 1)))
    } else if (value instanceof Map) {
        braces = [`${prefix(name, tag, 'Map', `(${value.size})`)}{`, '}']
        if (value.size === 0 && keys.length === 0) return `${braces[0]}}`
        items = () => inside(cx, () => limited(cx, [...value], value.size, ([k, v]) => `${show(cx, k, depth + 1)} => ${show(cx, v, depth + 1)}`))
    } else if (ArrayBuffer.isView(value) && !(value instanceof DataView)) {
        keys = keys.filter((key) => !isIndex(key))
        braces = [`${prefix(name, tag, typeTag(value), `(${value.length})`)}[`, ']']
        if (value.length === 0 && keys.length === 0) return `${braces[0]}]`
        list = true
        items = () => limited(cx, value, value.length, (n) => primitive(cx, n))
    } else if (typeTag(value) === 'Map Iterator' || typeTag(value) === 'Set Iterator') {
        braces = [`[${tag || typeTag(value)}] {`, '}']
    } else if (typeof value === 'function') {
        base = shownFunction(value, name, tag)
        if (keys.length === 0) return colored(base, 'special', cx)
    } else if (typeTag(value) === 'Arguments') {
        braces = ['[Arguments] [', ']']
        keys = keys.filter((key) => !isIndex(key))
        if (value.length === 0 && keys.length === 0) return '[Arguments] []'
        list = true
        items = () => arrayItems(cx, Array.from(value), depth)
    } else if (value instanceof RegExp) {
        base = (name === 'RegExp' ? '' : prefix(name, tag, 'RegExp')) + RegExp.prototype.toString.call(value)
        if (keys.length === 0 || depth > cx.depth) return colored(base, 'regexp', cx)
    } else if (value instanceof Date) {
        const text = Number.isNaN(value.getTime()) ? 'Invalid Date' : Date.prototype.toISOString.call(value)
        base = (name === 'Date' ? '' : prefix(name, tag, 'Date')) + text
        if (keys.length === 0) return colored(base, 'date', cx)
    } else if (value instanceof Error) {
        base = shownError(cx, value, name, keys)
        keys = keys.filter((key) => key !== 'stack' && !(['name', 'message'].includes(key) && base.includes(String(value[key]))))
        if ('cause' in value && Object.hasOwn(value, 'cause') && !keys.includes('cause')) keys.push('cause')
        if (Array.isArray(value.errors) && Object.hasOwn(value, 'errors') && !keys.includes('errors')) keys.push('errors')
        if (keys.length === 0) return base
    } else if (value instanceof ArrayBuffer || typeTag(value) === 'SharedArrayBuffer') {
        braces = [`${prefix(name, tag, 'ArrayBuffer')}{`, '}']
        const octets = Array.from(new Uint8Array(value, 0, Math.min(50, value.byteLength)), (b) => b.toString(16).padStart(2, '0'))
        const more = value.byteLength - 50
        const shown = `<${octets.join(' ')}${more > 0 ? ` ... ${more} more byte${more > 1 ? 's' : ''}` : ''}>`
        items = () => [`[Uint8Contents]: ${shown}`, `byteLength: ${primitive(cx, value.byteLength)}`]
    } else if (value instanceof DataView) {
        braces = [`${prefix(name, tag, 'DataView')}{`, '}']
        items = () => inside(cx, () => ['byteLength', 'byteOffset', 'buffer'].map((key) => `${key}: ${show(cx, value[key], depth + 1)}`))
    } else if (value instanceof Promise) {
        braces = [`${prefix(name, tag, 'Promise')}{`, '}']
        items = () => [colored('<pending>', 'special', cx)]
    } else if (value instanceof WeakMap || value instanceof WeakSet) {
        const kind = value instanceof WeakMap ? 'WeakMap' : 'WeakSet'
        braces = [`${prefix(name, tag, kind)}{`, '}']
        items = () => [colored('<items unknown>', 'special', cx)]
    } else if (value instanceof Number || value instanceof Boolean || value instanceof String || typeTag(value) === 'BigInt' || typeTag(value) === 'Symbol') {
        const inner = value.valueOf()
        const kind = typeof inner === 'bigint' ? 'BigInt' : typeof inner === 'symbol' ? 'Symbol' : (typeof inner).replace(/^./, (c) => c.toUpperCase())
        if (typeof inner === 'string') keys = keys.filter((key) => !isIndex(key) && key !== 'length')
        base = `[${kind}${kind === name ? '' : name === null ? ' (null prototype)' : ` (${name})`}: ${primitive({ ...cx, colors: false }, inner)}]`
        if (keys.length === 0) return base
    } else if (typeTag(value) === 'Generator') {
        braces = ['Object [Generator] {', '}']
    } else {
        if (keys.length === 0) {
            if (name === 'Object' && !tag) return '{}'
            return `${prefix(name, tag, 'Object')}{}`
        }
        braces[0] = name === 'Object' && !tag ? '{' : `${prefix(name, tag, 'Object')}{`
    }
    if (depth > cx.depth) {
        const bare = name === null ? (tag ? `[Object: null prototype] [${tag}]` : 'Object: null prototype') : (prefix(name, tag, 'Object').trim())
        return colored(`[${Array.isArray(value) && name !== null ? (tag ? `${name} [${tag}]` : name) : bare}]`, 'special', cx)
    }
    cx.seen.push(value)
    // Of the value that was gone into last: what few levels are below goes on one line.
    cx.deepest = depth
    let entries
    try {
        const first = items()
        const rest = keys.map((key) => property(cx, value, key, depth, list ? 1 : 0))
        entries = [...first, ...rest]
    } finally {
        cx.seen.pop()
    }
    const number = cx.circular.get(value)
    if (number !== undefined) {
        const mark = `<ref *${number}> `
        if (cx.compact === true || base === '') braces[0] = mark + braces[0]
        else base = mark + base
    }
    if (cx.sorted && !list) entries.sort(typeof cx.sorted === 'function' ? cx.sorted : undefined)
    return together(cx, entries, base, braces, list, depth, value)
}

function inside(cx, run) {
    cx.level += 2
    const made = run()
    cx.level -= 2
    return made
}

function limited(cx, all, size, item) {
    const most = Math.min(Math.max(0, cx.maxArrayLength), size)
    const out = []
    for (let i = 0; i < most; i++) out.push(item(all[i]))
    const more = size - most
    if (more > 0) out.push(`... ${more} more item${more > 1 ? 's' : ''}`)
    return out
}

function arrayItems(cx, value, depth) {
    const out = []
    const most = Math.min(Math.max(0, cx.maxArrayLength), value.length)
    let shown = 0
    for (let i = 0; i < value.length && out.length < most; i++) {
        if (Object.hasOwn(value, i)) {
            out.push(property(cx, value, i, depth, 1))
            shown = i + 1
            continue
        }
        let hole = i
        while (hole < value.length && !Object.hasOwn(value, hole)) hole += 1
        out.push(colored(`<${hole - i} empty item${hole - i > 1 ? 's' : ''}>`, 'undefined', cx))
        shown = hole
        i = hole - 1
    }
    const more = value.length - shown
    if (more > 0) out.push(`... ${more} more item${more > 1 ? 's' : ''}`)
    return out
}

function shownFunction(value, name, tag) {
    const source = Function.prototype.toString.call(value)
    if (/^class\b/.test(source)) {
        const parent = Object.getPrototypeOf(value)
        const shown = Object.hasOwn(value, 'name') && value.name !== '' ? value.name : '(anonymous)'
        const parentName = parent && parent.name ? ` extends ${parent.name}` : parent === null ? ' extends [null prototype]' : ''
        return `[class ${shown}${name !== 'Function' && name !== null ? ` [${name}]` : ''}${parentName}]`
    }
    const kind = { AsyncFunction: 'AsyncFunction', GeneratorFunction: 'GeneratorFunction', AsyncGeneratorFunction: 'AsyncGeneratorFunction' }[typeTag(value)] ?? 'Function'
    const shown = value.name === '' ? ' (anonymous)' : `: ${value.name}`
    const extra = name === null ? ' (null prototype)' : ''
    const more = name !== kind && name !== null ? ` ${name}` : ''
    return `[${kind}${extra}${shown}]${more}${tag && tag !== name ? ` [${tag}]` : ''}`
}

// Name, message and where it was thrown; the stack of this engine does not begin with the first two.
function shownError(cx, error, name, keys) {
    let head
    try {
        head = Error.prototype.toString.call(error)
    } catch {
        head = typeTag(error)
    }
    const code = typeof error.code === 'string' && Object.hasOwn(error, 'code') && !keys.includes('code') ? error.code : undefined
    if (code) head = head.replace(/^(\w+)/, `$1 [${code}]`)
    const known = error.name || name
    if (name !== null && known !== name && head.startsWith(String(known)) && !String(known).includes(name) && !Object.hasOwn(error, 'name')) head = head.replace(String(known), name)
    const stack = typeof error.stack === 'string' ? error.stack.replace(/\s+$/, '') : ''
    const lines = stack.startsWith(head) || /^\w*Error\b/.test(stack) ? stack : stack ? `${head}\n${stack}` : `[${head}]`
    return lines.replaceAll('\n', `\n${' '.repeat(cx.level)}`)
}

function property(cx, value, key, depth, kind) {
    const desc = Object.getOwnPropertyDescriptor(value, key) ?? { value: value[key], enumerable: true }
    let text
    if (desc.get !== undefined) {
        const label = desc.set === undefined ? 'Getter' : 'Getter/Setter'
        text = colored(`[${label}]`, 'special', cx)
        if (cx.getters === true || (cx.getters === 'get' && !desc.set) || (cx.getters === 'set' && desc.set)) {
            try {
                const found = inside(cx, () => show(cx, desc.get.call(value), depth + 1))
                text = typeof desc.get.call(value) === 'object' ? `[${label}] ${found}` : `[${label}: ${found}]`
            } catch (err) {
                text = `[${label}: <Inspection threw (${err.message})>]`
            }
        }
    } else if (desc.set !== undefined) {
        text = colored('[Setter]', 'special', cx)
    } else {
        // A list is no deeper than what it is part of.
        cx.level += 2
        text = show(cx, desc.value, depth + 1)
        cx.level -= 2
    }
    if (kind === 1 && (typeof key === 'number' || isIndex(key))) return text
    let label
    if (typeof key === 'symbol') label = `[${colored(key.toString(), 'symbol', cx)}]`
    else if (desc.enumerable === false) label = `[${key}]`
    else if (/^[a-zA-Z_][a-zA-Z_0-9]*$/.test(key)) label = key
    else label = colored(quoted(key), 'string', cx)
    return `${label}: ${text}`
}

const width = (text) => exports.stripped(text).length

// Lines from parts: one line if it is short and shallow, columns for long lists, a line for each else.
function together(cx, entries, base, braces, list, depth, value) {
    let output = entries
    if (cx.compact !== false) {
        const count = output.length
        if (list && count > COLUMNS_FROM) output = columns(cx, output, value)
        if (cx.deepest - depth < cx.compact && count === output.length) {
            const start = output.length + cx.level + braces[0].length + base.length + 10
            const total = output.reduce((sum, text) => sum + width(text), output.length + start)
            const fits = total + output.length <= cx.breakLength && !output.some((text) => text.includes('\n'))
            if (fits && (base === '' || !base.includes('\n'))) {
                return `${base ? `${base} ` : ''}${braces[0]} ${output.join(', ')} ${braces[1]}`
            }
        }
    }
    const indent = `\n${' '.repeat(cx.level)}`
    return `${base ? `${base} ` : ''}${braces[0]}${indent}  ${output.join(`,${indent}  `)}${indent}${braces[1]}`
}

function columns(cx, output, value) {
    let [total, longest] = [0, 0]
    const more = output.length > cx.maxArrayLength && /^\.\.\. \d+ more item/.test(output.at(-1)) ? 1 : 0
    const count = output.length - more
    const lengths = []
    for (let i = 0; i < count; i++) {
        const length = width(output[i])
        lengths.push(length)
        total += length + 2
        longest = Math.max(longest, length)
    }
    const actual = longest + 2
    if (actual * 3 + cx.level >= cx.breakLength || !(total / actual > 5 || longest <= 6)) return output
    // Short ones among long ones leave room; the shape aims at two and a half times as wide as high.
    const usual = Math.max(actual - 3 - Math.sqrt(actual - total / output.length), 1)
    const most = Math.min(
        Math.round(Math.sqrt(2.5 * usual * count) / usual),
        Math.floor((cx.breakLength - cx.level) / actual),
        cx.compact * 4,
        15,
    )
    if (most <= 1) return output
    const widths = []
    for (let i = 0; i < most; i++) {
        let line = 0
        for (let j = i; j < count; j += most) line = Math.max(line, lengths[j])
        widths.push(line + 2)
    }
    const numbers = value !== undefined && Array.from(value).slice(0, count).every((v) => typeof v === 'number' || typeof v === 'bigint')
    const lines = []
    for (let i = 0; i < count; i += most) {
        const last = Math.min(i + most, count)
        const cells = []
        for (let j = i; j < last; j++) {
            const room = widths[j - i]
            const cell = j === last - 1 ? output[j] : `${output[j]}, `
            const pad = room - 2 - lengths[j]
            if (numbers) cells.push(' '.repeat(Math.max(0, pad)) + cell)
            else cells.push(j === last - 1 ? cell : cell + ' '.repeat(Math.max(0, pad)))
        }
        lines.push(cells.join(''))
    }
    if (more) lines.push(output[count])
    return lines
}

// `%s` and its like; what is left over follows.
function format(options, first, ...rest) {
    const plain = (value) => (typeof value === 'string' ? value : inspect(value, { ...options, compact: 3 }))
    if (typeof first !== 'string') return [first, ...rest].map(plain).join(' ')
    if (rest.length === 0) return first
    const text = first.replace(/%[sdifjoOc%]/g, (mark) => {
        if (mark === '%%') return '%'
        if (rest.length === 0) return mark
        return formatted(options, mark, rest.shift())
    })
    return [text, ...rest.map(plain)].join(' ')
}

function formatted(options, mark, value) {
    switch (mark) {
        case '%s':
            if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value)
            if (typeof value === 'bigint') return `${value}n`
            if (typeof value !== 'object' || value === null) return String(value)
            return ownText(value) ? String(value) : inspect(value, { ...options, depth: 0, colors: false, compact: 3 })
        case '%d':
            if (typeof value === 'bigint') return `${value}n`
            if (typeof value === 'symbol' || typeof value === 'object') return String(typeof value === 'object' ? Number(value) : NaN)
            return Object.is(Number(value), -0) ? '-0' : String(Number(value))
        case '%i':
            if (typeof value === 'bigint') return `${value}n`
            return typeof value === 'symbol' ? 'NaN' : String(parseInt(value, 10))
        case '%f':
            return typeof value === 'symbol' ? 'NaN' : String(parseFloat(value))
        case '%j':
            try {
                return String(JSON.stringify(value))
            } catch (err) {
                if (/circular/i.test(err.message)) return '[Circular]'
                throw err
            }
        case '%c':
            return ''
        case '%o':
            return inspect(value, { ...options, showHidden: true, showProxy: true, depth: 4 })
        default:
            return inspect(value, options)
    }
}

// Whether a class of a script says how its objects are shown as text.
function ownText(value) {
    if (value instanceof Error) return true
    if (typeof value.toString !== 'function') return false
    if (Object.hasOwn(value, 'toString')) return true
    let at = value
    while ((at = Object.getPrototypeOf(at))) {
        if (Object.hasOwn(at, 'toString')) return ![Object.prototype, Array.prototype, Date.prototype, Set.prototype, Map.prototype, RegExp.prototype, Function.prototype].includes(at)
    }
    return false
}

inspect.custom = custom
inspect.colors = COLORS
inspect.styles = STYLES
Object.defineProperty(inspect, 'defaultOptions', {
    get: () => ({ ...DEFAULTS, ...exports.defaultOptions }),
    set(given) {
        exports.defaultOptions = { ...given }
    },
})

exports.defaultOptions = {}
exports.inspect = inspect
exports.format = (...args) => format({}, ...args)
exports.formatWithOptions = (options, ...args) => format(options, ...args)
exports.stripped = (text) => String(text).replace(/\u001b\[[0-9;]*[A-Za-z]/g, '')
