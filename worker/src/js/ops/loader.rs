//! Finding and compiling scripts: `require` in `loader.js` is made from these.

use std::path::Path;
use std::rc::Rc;

use rquickjs::context::EvalOptions;
use rquickjs::{Array, Ctx, Error, Exception, Function, Module, Object, Value};

use super::op;
use crate::js::code::{self, Code};
use crate::js::convert::throw_io;
use crate::js::host::Host;
use crate::js::places;
use crate::js::resolve::{How, module_directories, resolve};
use crate::js::rewrite::rewritten;
use crate::js::sources;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let known = Rc::clone(&host.known);
    op!(
        ctx,
        field,
        "resolve",
        move |request: String, directory: String| {
            resolve(&known, &request, Path::new(&directory), How::Require)
                .map(|found| found.to_string_lossy().into_owned())
        }
    );
    let known = Rc::clone(&host.known);
    op!(
        ctx,
        field,
        "resolveImport",
        move |request: String, directory: String| {
            resolve(&known, &request, Path::new(&directory), How::Import)
                .map(|found| found.to_string_lossy().into_owned())
        }
    );
    let install_dir = host.install_dir.clone();
    op!(
        ctx,
        field,
        "inherited",
        move |name: String, heir: String| {
            places::inherited(places::bare(&name), &install_dir, Path::new(&heir))
                .map(|found| found.to_string_lossy().into_owned())
        }
    );
    op!(ctx, field, "paths", |directory: String| {
        module_directories(Path::new(&directory))
            .map(|d| d.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
    });
    let known = Rc::clone(&host.known);
    op!(ctx, field, "isEsm", move |path: String| {
        crate::js::resolve::is_esm(&known, Path::new(&path))
    });
    op!(ctx, field, "hasBuiltIn", |name: String| {
        sources::is_built_in(&name)
    });
    let code = Rc::clone(&host.code);
    op!(ctx, field, "builtIn", move |ctx, name: String| built_in(
        ctx, &code, &name
    ));
    op!(ctx, field, "hasCorePlugin", |name: String| {
        sources::core_plugin(&name).is_some()
    });
    let code = Rc::clone(&host.code);
    op!(ctx, field, "corePlugin", move |ctx, name: String| {
        core_plugin(ctx, &code, &name)
    });
    let code = Rc::clone(&host.code);
    op!(
        ctx,
        field,
        "script",
        move |ctx, path: String, strict: bool| script(ctx, &code, &path, strict)
    );
    let code = Rc::clone(&host.code);
    op!(ctx, field, "text", move |mark: String| code.text(&mark));
    op!(ctx, field, "splitAtBlanks", split_at_blanks);
    op!(ctx, field, "file", file);
    op!(ctx, field, "compile", compile);
    op!(ctx, field, "esm", esm);
    op!(ctx, field, "evaluate", evaluate);
    Ok(())
}

/// What `text.split(/\s+/)` gives: the text where there is no blank in it, else a list; nothing for text that is not
/// Unicode.
fn split_at_blanks<'js>(
    ctx: Ctx<'js>,
    text: rquickjs::String<'js>,
) -> rquickjs::Result<Option<Value<'js>>> {
    // ECMA-262, CharacterClassEscape: white space and line terminators, which are Unicode's but for two.
    let blank = |c: char| c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}');
    let Ok(whole) = text.to_string() else {
        return Ok(None);
    };
    if !whole.contains(blank) {
        return Ok(Some(text.into_value()));
    }
    let parts = Array::new(ctx)?;
    let mut rest = whole.as_str();
    for at in 0.. {
        let part = rest.split_once(blank);
        parts.set(at, part.map_or(rest, |(part, _)| part))?;
        let Some((_, after)) = part else { break };
        rest = after.trim_start_matches(blank);
    }
    Ok(Some(parts.into_value()))
}

const MODULE: &str = "exports, require, module, __filename, __dirname";

/// A built-in module as a function of CommonJS's parameters and the ops.
fn built_in<'js>(ctx: Ctx<'js>, code: &Code, name: &str) -> rquickjs::Result<Function<'js>> {
    match sources::built_in(name) {
        Some((_, file, text)) => code.function(&ctx, (file, true), || {
            wrapped(&format!("{MODULE}, natives"), text, true)
        }),
        None => Err(Exception::throw_message(&ctx, "no such built-in module")),
    }
}

fn core_plugin<'js>(ctx: Ctx<'js>, code: &Code, name: &str) -> rquickjs::Result<Function<'js>> {
    match sources::core_plugin(name) {
        Some((_, file, text)) => code.function(&ctx, (file, true), || wrapped(MODULE, text, true)),
        None => Err(Exception::throw_message(&ctx, "no such core plugin")),
    }
}

/// A script file as a function of CommonJS's parameters.
fn script<'js>(
    ctx: Ctx<'js>,
    code: &Code,
    path: &str,
    strict: bool,
) -> rquickjs::Result<Function<'js>> {
    let text = |octets: Vec<u8>| wrapped(MODULE, &rewritten(&code::text_of(&octets)), strict);
    code.of_file(&ctx, (path, strict), text)
        .map_err(|e| throw_io(&ctx, &e, "open", path))?
}

/// The text of a script file.
fn file(ctx: Ctx<'_>, path: String) -> rquickjs::Result<String> {
    text_of(&ctx, &path)
}

/// The text of a script file, without the line that makes it a program on Unix.
///
/// # Errors
/// Throws what Node throws of a file that cannot be read.
pub(in crate::js) fn text_of(ctx: &Ctx<'_>, path: &str) -> rquickjs::Result<String> {
    let octets = std::fs::read(path).map_err(|e| throw_io(ctx, &e, "open", path))?;
    Ok(code::text_of(&octets))
}

fn compile<'js>(
    ctx: Ctx<'js>,
    path: String,
    text: String,
    strict: bool,
) -> rquickjs::Result<Function<'js>> {
    let text = wrapped(MODULE, &rewritten(&text), strict);
    Code::default().function(&ctx, (&path, strict), || text)
}

/// A script in the scope of all, as `vm` runs it; gives the value of its last statement.
fn evaluate<'js>(ctx: Ctx<'js>, file: String, text: String) -> rquickjs::Result<Value<'js>> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(file);
    ctx.eval_with_options(text, options)
}

/// All on one line before the text, so that errors show the lines of the file.
fn wrapped(parameters: &str, text: &str, strict: bool) -> String {
    let strict = if strict { "\"use strict\";" } else { "" };
    format!("(function ({parameters}) {{{strict}{text}\n}})")
}

/// An ES module that is required: its promise jobs run now, so it must not wait for anything else.
fn esm<'js>(ctx: Ctx<'js>, path: String) -> rquickjs::Result<Object<'js>> {
    match Module::import(&ctx, &*path)?.finish() {
        Err(Error::WouldBlock) => {
            let text = format!("{path} awaits at its top, so that it can only be imported");
            let exception = Exception::from_message(ctx, &text)?;
            exception.set("code", "ERR_REQUIRE_ASYNC_MODULE")?;
            Err(exception.throw())
        }
        found => found,
    }
}
