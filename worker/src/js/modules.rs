//! ES modules: finding and loading what `import` names, next to CommonJS and built-in modules.
//!
//! A CommonJS or built-in module is wrapped: its exports are the default export, and each of their
//! names an export of its own. How a name becomes a file is told in `resolve`.

use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{Ctx, Error, Function, Module, Runtime};

use super::host::Host;
use super::resolve::{self, How, Known};
use super::sources;

/// Marks the names of modules that `boot.js` knows.
const BUILT_IN: &str = "node:";

/// Lets scripts import.
pub(super) fn install(runtime: &Runtime, host: &Rc<Host>) {
    let install_dir = host.install_dir.clone();
    let finds = FindsFiles {
        install_dir,
        known: Rc::clone(&host.known),
    };
    runtime.set_loader(finds, LoadsFiles(Rc::clone(&host.known)));
}

struct FindsFiles {
    install_dir: std::path::PathBuf,
    known: Rc<Known>,
}

struct LoadsFiles(Rc<Known>);

impl Resolver for FindsFiles {
    fn resolve<'js>(
        &mut self,
        _ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        let bare = name.strip_prefix(BUILT_IN).unwrap_or(name);
        if sources::is_built_in(bare) {
            return Ok(format!("{BUILT_IN}{bare}"));
        }
        let path = name.strip_prefix("file://").unwrap_or(name);
        let directory = Path::new(base).parent().filter(|d| d.is_absolute());
        let directory = directory.unwrap_or(&self.install_dir);
        match resolve::resolve(&self.known, path, directory, How::Import) {
            Some(found) => Ok(found.to_string_lossy().into_owned()),
            None => Err(Error::new_resolving(base, name)),
        }
    }
}

impl Loader for LoadsFiles {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        let path = Path::new(name);
        if !name.starts_with(BUILT_IN) && resolve::is_esm(&self.0, path) {
            let source =
                std::fs::read(path).map_err(|e| Error::new_loading_message(name, e.to_string()))?;
            return Module::declare(ctx.clone(), name, source);
        }
        let names: Function<'_> = ctx.globals().get("__exportNames")?;
        let names: Vec<String> = names.call((name,))?;
        let quoted = serde_json::Value::from(name).to_string();
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
