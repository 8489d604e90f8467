//! Finding and compiling scripts: `require` in `loader.js` is made from these.

use std::path::Path;
use std::rc::Rc;

use rquickjs::context::EvalOptions;
use rquickjs::{Ctx, Error, Exception, Function, Module, Object, Value};

use super::op;
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
    op!(
        ctx,
        field,
        "resolve",
        |request: String, directory: String| {
            resolve(&request, Path::new(&directory), How::Require)
                .map(|found| found.to_string_lossy().into_owned())
        }
    );
    op!(
        ctx,
        field,
        "resolveImport",
        |request: String, directory: String| {
            resolve(&request, Path::new(&directory), How::Import)
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
    op!(ctx, field, "isEsm", |path: String| {
        crate::js::resolve::is_esm(Path::new(&path))
    });
    op!(ctx, field, "hasBuiltIn", |name: String| {
        sources::is_built_in(&name)
    });
    op!(ctx, field, "builtIn", built_in);
    op!(ctx, field, "hasCorePlugin", |name: String| {
        sources::core_plugin(&name).is_some()
    });
    op!(ctx, field, "corePlugin", core_plugin);
    op!(ctx, field, "file", file);
    op!(ctx, field, "compile", compile);
    op!(ctx, field, "esm", esm);
    op!(ctx, field, "evaluate", evaluate);
    Ok(())
}

const MODULE: &str = "exports, require, module, __filename, __dirname";

/// A built-in module as a function of CommonJS's parameters and the ops.
fn built_in<'js>(ctx: Ctx<'js>, name: String) -> rquickjs::Result<Function<'js>> {
    match sources::built_in(&name) {
        Some((_, file, text)) => function(&ctx, file, &format!("{MODULE}, natives"), text, true),
        None => Err(Exception::throw_message(&ctx, "no such built-in module")),
    }
}

fn core_plugin<'js>(ctx: Ctx<'js>, name: String) -> rquickjs::Result<Function<'js>> {
    match sources::core_plugin(&name) {
        Some((_, file, text)) => function(&ctx, file, MODULE, text, true),
        None => Err(Exception::throw_message(&ctx, "no such core plugin")),
    }
}

fn file(ctx: Ctx<'_>, path: String) -> rquickjs::Result<String> {
    text_of(&ctx, &path)
}

/// The text of a script file, without the line that makes it a program on Unix.
///
/// # Errors
/// Throws what Node throws of a file that cannot be read.
pub(in crate::js) fn text_of(ctx: &Ctx<'_>, path: &str) -> rquickjs::Result<String> {
    let text = std::fs::read(path).map_err(|e| throw_io(ctx, &e, "open", path))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(match text.strip_prefix("#!") {
        Some(rest) => format!("//{rest}"),
        None => text,
    })
}

fn compile<'js>(
    ctx: Ctx<'js>,
    path: String,
    text: String,
    strict: bool,
) -> rquickjs::Result<Function<'js>> {
    function(&ctx, &path, MODULE, &rewritten(&text), strict)
}

/// A script in the scope of all, as `vm` runs it; gives the value of its last statement.
fn evaluate<'js>(ctx: Ctx<'js>, file: String, text: String) -> rquickjs::Result<Value<'js>> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(file);
    ctx.eval_with_options(text, options)
}

/// All on one line before the text, so that errors show the lines of the file.
fn function<'js>(
    ctx: &Ctx<'js>,
    file: &str,
    parameters: &str,
    text: &str,
    strict: bool,
) -> rquickjs::Result<Function<'js>> {
    let strict = if strict { "\"use strict\";" } else { "" };
    let source = format!("(function ({parameters}) {{{strict}{text}\n}})");
    sources::compile(ctx, file, source)
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
