//! ES modules: finding and loading what `import` names, next to CommonJS and built-in modules.
//!
//! A CommonJS or built-in module is wrapped: its exports are the default export, and each of their
//! names an export of its own. What a name means is told by `node/esm.js`, and how it becomes a file by
//! `resolve`.

use std::fmt::Write as _;
use std::path::Path;

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{Ctx, Function, Module, Object, Runtime};

use super::ops::text_of;
use super::resolve;
use super::rewrite::rewritten;

/// Marks what `require` gives of a module with a default export.
const REQUIRED: &str = "required:";

/// Lets scripts import.
pub(super) fn install(runtime: &Runtime) {
    runtime.set_loader(FindsFiles, LoadsFiles);
}

struct FindsFiles;

struct LoadsFiles;

fn asked<'js>(ctx: &Ctx<'js>, name: &str) -> rquickjs::Result<Function<'js>> {
    let esm: Object<'_> = ctx.globals().get("__esm")?;
    esm.get(name)
}

impl Resolver for FindsFiles {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        asked(ctx, "locate")?.call((base, name))
    }
}

impl Loader for LoadsFiles {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        if let Some(wrapped) = name.strip_prefix(REQUIRED) {
            let quoted = serde_json::Value::from(wrapped);
            let source = format!(
                "export * from {quoted};\nexport {{ default }} from {quoted};\nexport const __esModule = true;"
            );
            return Module::declare(ctx.clone(), name, source);
        }
        let file: String = asked(ctx, "file")?.call((name,))?;
        let path = Path::new(&file);
        if path.is_absolute() && resolve::is_esm(path) {
            let text = text_of(ctx, &file)?;
            let module = Module::declare(ctx.clone(), name, &*rewritten(&text))?;
            asked(ctx, "describe")?.call::<_, ()>((module.meta()?, name))?;
            return Ok(module);
        }
        let names: Vec<String> = asked(ctx, "names")?.call((name,))?;
        let quoted = serde_json::Value::from(name);
        let mut source = format!("const m = __required({quoted});\nexport default m;\n");
        for export in names.iter().filter(|n| is_identifier(n)) {
            // Writing to a String cannot fail.
            let _ = writeln!(
                source,
                "const _{export} = m.{export};\nexport {{ _{export} as {export} }};"
            );
        }
        Module::declare(ctx.clone(), name, source)
    }
}

fn is_identifier(name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    name != "default"
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(part)
}
