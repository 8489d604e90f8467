//! A package that is an ES module: it imports packages, JSON and files, and is imported itself.

use crate::side::{Setup, same_as_haraka};

const PACKAGE: &str =
    r#"{"name":"haraka-plugin-modern","version":"1.0.0","type":"module","main":"index.js"}"#;

const INDEX: &str = r"
import { createRequire } from 'node:module'
import { basename } from 'path'
import net_utils, { is_private_ip } from 'haraka-net-utils'
import { Address } from '@haraka/email-address'
import settings from './settings.json' with { type: 'json' }
import * as judge from './lib/judge.mjs'

const require = createRequire(import.meta.url)
const utils = require('haraka-utils')
export let asked = 0

export function register() {
    this.cfg = this.config.get('modern.ini').main
    this.register_hook('rcpt', 'on_rcpt')
}

export const hook_mail = (next, connection, [from]) => {
    asked += 1
    const { results } = connection.transaction
    results.add({ name: 'modern' }, { pass: from.user, private: is_private_ip('10.0.0.1'), same: net_utils.is_private_ip === is_private_ip })
    results.add({ name: 'modern' }, { file: basename(import.meta.filename), one: utils.in_array('a', ['a']), keys: Object.keys(judge).join() })
    next()
}

export async function on_rcpt(next, connection, params) {
    const { judged } = await import('./lib/judge.mjs')
    const again = await import('haraka-plugin-modern').catch((err) => err.code)
    const whom = new Address(`<${params[0].user}@copy.test>`)
    connection.transaction.results.add(this, { msg: `${whom.address} ${asked} ${again}`, tone: this.cfg.tone })
    if (judged(params[0], settings.refused)) return next(DENY, judge.words)
    next()
}

export default class Unused {}
";

// The comment and the texts look as if they called something.
const JUDGE: &str = r"
// it's address.user() that is asked
export const words = `not ${'address.user()'}`
export const judged = ({ user }, refused) => refused.includes(user.replace(/-/g, '.'))
";

// covers PLG-03, PLG-06
#[test]
fn a_package_that_is_an_es_module_works_as_with_haraka() {
    let setup = Setup {
        plugins: &["modern"],
        config: &[
            ("../plugins/modern/package.json", PACKAGE),
            ("../plugins/modern/index.js", INDEX),
            ("../plugins/modern/lib/judge.mjs", JUDGE),
            ("../plugins/modern/settings.json", r#"{"refused":["a.b"]}"#),
            ("modern.ini", "tone=calm\n"),
        ],
        volatile: &[],
    };
    let must = [
        "550 not address.user()",
        "\"tone\":\"calm\"",
        "ERR_MODULE_NOT_FOUND",
        "\"keys\":\"judged,words\"",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&[
                "EHLO x.test",
                "MAIL FROM:<ann@sender.test>",
                "RCPT TO:<a-b@here.test>",
                "RCPT TO:<c@here.test>",
                "QUIT",
            ]);
        });
    });
}
