#!/usr/bin/env node
import { createRequire } from 'node:module'
import fs, { readFileSync } from 'fs'
import * as path from 'path'
import typed, { kind } from 'typed'
import cjs, { value } from 'cjs'
import data from './data.json' with { type: 'json' }
import { back } from './cycle.mjs'

const require = createRequire(import.meta.url)

export let total = 1
export const add = (n) => (total += n)
export const meta = import.meta
export const resolved = import.meta.resolve('./data.json')
export const strict = (function () { return this === undefined })()
export const self = [typeof require, typeof this].join()
export const created = [require('./in.cjs').value, typed, kind, cjs.value, value, fs.readFileSync === readFileSync, path.sep].join()
export { data }
export const later = await Promise.resolve('awaited')
export const read = () => back()
export default function main() {}
