// Node's streams; the parts are in `streams/`.

const Stream = require('internal/streams/legacy')
const Readable = require('internal/streams/readable')
const Writable = require('internal/streams/writable')
const { Duplex, Transform, PassThrough } = require('internal/streams/duplex')
const { addAbortSignal, finished, pipeline, promises } = require('internal/streams/pipeline')
const { levels } = require('internal/streams/common')
const { promisify } = require('util')

Object.defineProperty(finished, promisify.custom, { value: promises.finished })
Object.defineProperty(pipeline, promisify.custom, { value: promises.pipeline })

const side = (stream, name) => stream?.[name]

module.exports = Object.assign(Stream, {
    Stream,
    Readable,
    Writable,
    Duplex,
    Transform,
    PassThrough,
    addAbortSignal,
    finished,
    pipeline,
    promises,
    getDefaultHighWaterMark: (objectMode) => levels.get(objectMode),
    setDefaultHighWaterMark: (objectMode, value) => levels.set(objectMode, value),
    isReadable: (stream) => Boolean(stream?.readable),
    isWritable: (stream) => Boolean(stream?.writable),
    isErrored: (stream) => Boolean(side(stream, '_readableState')?.errored || side(stream, '_writableState')?.errored),
    isDisturbed: (stream) => Boolean(side(stream, '_readableState')?.dataEmitted || side(stream, '_readableState')?.destroyed),
    destroy: (stream, err) => stream.destroy(err),
    _isUint8Array: (value) => value instanceof Uint8Array,
    _uint8ArrayToBuffer: (value) => Buffer.from(value.buffer, value.byteOffset, value.byteLength),
})
