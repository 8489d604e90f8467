//! What is said of a finding to those who follow it: its plugin and itself, as JSON.
//!
//! Writes what `JSON.stringify` would. Findings are small flat objects, with which the engine has more work
//! than they are worth; everything else is left to it. Knows nothing of redis.

use std::io::Write as _;

use rquickjs::atom::PredefinedAtom;
use rquickjs::object::Filter;
use rquickjs::{CString, Ctx, Object, String as Text, Type, Value};

/// `{"plugin":…,"result":…}`; what JSON does not know is left out.
///
/// # Errors
/// What JSON cannot tell, such as a cycle, and what a getter throws.
pub(super) fn told<'js>(
    ctx: &Ctx<'js>,
    plugin: Value<'js>,
    result: Value<'js>,
) -> rquickjs::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(128);
    text.push(b'{');
    member(ctx, &mut text, b"\"plugin\":", plugin)?;
    member(ctx, &mut text, b"\"result\":", result)?;
    text.push(b'}');
    Ok(text)
}

/// A name with its colon, and the value; nothing if JSON does not know the value.
fn member<'js>(
    ctx: &Ctx<'js>,
    text: &mut Vec<u8>,
    name: &[u8],
    value: Value<'js>,
) -> rquickjs::Result<()> {
    let before = text.len();
    if before > 1 {
        text.push(b',');
    }
    text.extend_from_slice(name);
    let start = text.len();
    let written = match plain(&value)? {
        Some(object) => write_object(ctx, text, object)?,
        None => write_scalar(ctx, text, &value)?,
    };
    let known = match written {
        Written::Whole => true,
        Written::Unknown => false,
        Written::Not => {
            text.truncate(start);
            by_engine(ctx, text, value)?
        }
    };
    if !known {
        text.truncate(before);
    }
    Ok(())
}

/// What became of a value.
enum Written {
    Whole,
    /// JSON does not know such a value.
    Unknown,
    /// It is for the engine.
    Not,
}

/// An object whose class is that of all, and that has no say in how it is written.
fn plain<'a, 'js>(value: &'a Value<'js>) -> rquickjs::Result<Option<&'a Object<'js>>> {
    let object = match value.type_of() {
        Type::Object => value.as_object(),
        _ => None,
    };
    let Some(object) = object else {
        return Ok(None);
    };
    let own_class = |prototype: Object<'js>| prototype.get_prototype().is_some();
    if object.get_prototype().is_some_and(own_class) {
        return Ok(None);
    }
    let own_way: Value<'js> = object.get(PredefinedAtom::ToJSON)?;
    Ok((!own_way.is_function()).then_some(object))
}

/// Of objects inside, each may have a say under its name: then all of it is for the engine.
fn write_object<'js>(
    ctx: &Ctx<'js>,
    text: &mut Vec<u8>,
    object: &Object<'js>,
) -> rquickjs::Result<Written> {
    text.push(b'{');
    let start = text.len();
    for property in object.own_props::<Text<'js>, Value<'js>>(Filter::new().string().enum_only()) {
        let (name, value) = property?;
        let before = text.len();
        if before > start {
            text.push(b',');
        }
        write_text(ctx, text, name)?;
        text.push(b':');
        match write_scalar(ctx, text, &value)? {
            Written::Whole => {}
            Written::Unknown => text.truncate(before),
            Written::Not => return Ok(Written::Not),
        }
    }
    text.push(b'}');
    Ok(Written::Whole)
}

fn write_scalar<'js>(
    ctx: &Ctx<'js>,
    text: &mut Vec<u8>,
    value: &Value<'js>,
) -> rquickjs::Result<Written> {
    match value.type_of() {
        Type::Undefined | Type::Symbol => return Ok(Written::Unknown),
        Type::Null => text.extend_from_slice(b"null"),
        Type::Bool if value.as_bool() == Some(true) => text.extend_from_slice(b"true"),
        Type::Bool => text.extend_from_slice(b"false"),
        // Writing to memory does not fail.
        Type::Int => drop(write!(text, "{}", value.as_int().unwrap_or_default())),
        Type::Float => drop(by_engine(ctx, text, value.clone())?),
        Type::String => match value.as_string() {
            Some(string) => write_text(ctx, text, string.clone())?,
            None => return Ok(Written::Not),
        },
        _ => return Ok(Written::Not),
    }
    Ok(Written::Whole)
}

/// In quotes.
fn write_text<'js>(ctx: &Ctx<'js>, text: &mut Vec<u8>, string: Text<'js>) -> rquickjs::Result<()> {
    let value = string.clone().into_value();
    let octets = CString::from_string(string)?;
    let octets: &[u8] = octets.as_ref();
    // Without an early end, which lets many be looked at at once.
    let plain = |all: bool, octet: &u8| all & plain_octet(*octet);
    if octets.iter().fold(true, plain) {
        text.push(b'"');
        text.extend_from_slice(octets);
        text.push(b'"');
    } else {
        by_engine(ctx, text, value)?;
    }
    Ok(())
}

/// Of ASCII, what JSON writes as it is. The rest may be half a character, which it does not.
fn plain_octet(octet: u8) -> bool {
    matches!(octet, b' '..=b'~') && octet != b'"' && octet != b'\\'
}

fn by_engine<'js>(ctx: &Ctx<'js>, text: &mut Vec<u8>, value: Value<'js>) -> rquickjs::Result<bool> {
    let Some(said) = ctx.json_stringify(value)? else {
        return Ok(false);
    };
    let said = CString::from_string(said)?;
    text.extend_from_slice(said.as_ref());
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What findings may be, as scripts write them.
    const GIVEN: &str = r#"[
        { pass: 'date' }, { score: -3, todo: { relaying: '6' }, emit: true, none: null, no: false },
        { '': 0, 7: 1.5, nan: NaN, far: -1e21, zero: -0, big: 2 ** 31 },
        { quote: 'a"b\\c/', line: '\r\n\t\b\f\0\x1f\x7f', wide: '\u00e9\u20ac\ud83d\ude00', half: '\ud800', 'k\n"': '' },
        { u: undefined, f() {}, s: Symbol('s'), last: 1, [Symbol('key')]: 1 }, { u: undefined },
        { list: [1, 'a', undefined, { b: [] }], err: new Error('no'), at: new Date(0), map: new Map([[1, 2]]) },
        { toJSON() { return { other: 1 } }, pass: 'x' }, { toJSON: 5 }, { inner: { toJSON: (key) => key } },
        { get made() { return 'now' } }, Object.create({ inherited: 1 }), Object.assign(Object.create(null), { a: 1 }),
        Object.defineProperty({ seen: 1 }, 'hidden', { value: 1 }), {}, [], ['a', 1], 'text', '"', 5, 1.5, true, null, undefined, () => {},
        new String('text'), new Number(5), Object(true), new (class { a = 1; toJSON() { return 'own' } })(), new Error('no'),
        new Proxy({ a: 'x' }, { get: (of, name) => (name === 'a' ? 'proxied' : of[name]) }), Object.assign('ab'.split(''), { c: 1 }),
        (() => { let rope = 'x'; for (let i = 0; i < 40; i++) rope += `${rope.length}-long enough to be joined later`; return { rope } })(),
    ]"#;

    const WRONG: &str = r#"[
        (() => { const own = {}; own.own = own; return own })(), (() => { const own = {}; own.in = { own }; return own })(),
        { big: 5n }, 5n, { get bad() { throw new Error('bad') } }, { toJSON() { throw new Error('bad') } },
    ]"#;

    fn with_engine(run: impl FnOnce(&Ctx<'_>)) {
        let runtime = rquickjs::Runtime::new().unwrap();
        let context = rquickjs::Context::full(&runtime).unwrap();
        context.with(|ctx| run(&ctx));
    }

    // covers RES-05
    #[test]
    fn findings_are_told_as_the_engine_writes_them() {
        with_engine(|ctx| {
            let given: Vec<Value<'_>> = ctx.eval(GIVEN).unwrap();
            let expected: Vec<String> = ctx
                .eval(format!(
                    "{GIVEN}.map((result, i) => JSON.stringify({{ plugin: [`p${{i}}`, 'q\"', undefined, 5][i % 4], result }}))"
                ))
                .unwrap();
            for (i, (given, expected)) in given.into_iter().zip(expected).enumerate() {
                let plugin: Value<'_> = ctx
                    .eval(format!("['p{i}', 'q\"', undefined, 5][{i} % 4]"))
                    .unwrap();
                let said = told(ctx, plugin, given).unwrap();
                assert_eq!(String::from_utf8(said).unwrap(), expected);
            }
        });
    }

    // covers RES-05
    #[test]
    fn what_json_cannot_tell_is_thrown() {
        with_engine(|ctx| {
            let given: Vec<Value<'_>> = ctx.eval(WRONG).unwrap();
            for given in given {
                let plugin = Value::new_null(ctx.clone());
                assert!(told(ctx, plugin, given).is_err());
                assert!(ctx.catch().is_object(), "an error waits to be caught");
            }
        });
    }
}
