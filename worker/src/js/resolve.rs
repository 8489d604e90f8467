//! From what a script requires to a file, by Node's rules (CommonJS and package exports).
//!
//! Looks at the file system and at `package.json`; loads and runs nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

/// What is known of directories while plugins are loaded: a package of a hundred files asks at each of
/// them for its `package.json`, and where it really is. After that each is looked at again.
pub(super) struct Known(RefCell<Option<Directories>>);

#[derive(Default)]
struct Directories {
    /// What is in their `package.json`: null if that makes no sense.
    manifests: HashMap<PathBuf, Option<Rc<Value>>>,
    real: HashMap<PathBuf, PathBuf>,
}

impl Default for Known {
    fn default() -> Known {
        Known(RefCell::new(Some(Directories::default())))
    }
}

impl Known {
    /// Plugins are loaded.
    pub(super) fn forget(&self) {
        self.0.take();
    }

    fn manifest(&self, root: &Path) -> Option<Rc<Value>> {
        if let Some(known) = &*self.0.borrow()
            && let Some(manifest) = known.manifests.get(root)
        {
            return manifest.clone();
        }
        let file = root.join("package.json");
        let manifest = file.is_file().then(|| {
            let text = fs::read_to_string(&file).ok();
            let value = text.and_then(|text| serde_json::from_str(&text).ok());
            Rc::new(value.unwrap_or_default())
        });
        if let Some(known) = &mut *self.0.borrow_mut() {
            let manifest = manifest.clone();
            known.manifests.insert(root.to_owned(), manifest);
        }
        manifest
    }

    /// The nearest directory with a `package.json`, from here upwards, and what that says.
    fn package_of(&self, directory: &Path) -> Option<(PathBuf, Rc<Value>)> {
        let mut above = directory.ancestors();
        above.find_map(|d| Some((d.to_owned(), self.manifest(d)?)))
    }

    /// Without links, as far as the path leads anywhere.
    fn real(&self, path: &Path) -> PathBuf {
        let straight = || fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return straight();
        };
        if fs::symlink_metadata(path).is_ok_and(|file| file.is_symlink()) {
            return straight();
        }
        if let Some(known) = &*self.0.borrow()
            && let Some(real) = known.real.get(parent)
        {
            return real.join(name);
        }
        let Ok(real) = fs::canonicalize(parent) else {
            return straight();
        };
        let found = real.join(name);
        if let Some(known) = &mut *self.0.borrow_mut() {
            known.real.insert(parent.to_owned(), real);
        }
        found
    }
}

/// How the module is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// `require()`.
    Require,
    /// `import`.
    Import,
}

/// Longest chain of conditions and directories that is followed.
const DEEPEST: u8 = 16;

/// The file that `request` means when asked for in `directory`.
pub(super) fn resolve(known: &Known, request: &str, directory: &Path, how: How) -> Option<PathBuf> {
    let local =
        matches!(request, "." | "..") || ["./", "../", "/"].iter().any(|p| request.starts_with(p));
    if local {
        let found = file_or_directory(known, &directory.join(request), how, DEEPEST)?;
        return Some(known.real(&found));
    }
    if let Some(inner) = request.strip_prefix('#') {
        return imports(known, inner, directory, how);
    }
    let (package, inside) = split(request)?;
    for modules in module_directories(directory) {
        let root = modules.join(package);
        if root.is_dir() {
            if let Some(found) = in_package(known, &root, inside, how) {
                return Some(known.real(&found));
            }
        } else if inside.is_empty()
            && let Some(found) = file(&root)
        {
            return Some(known.real(&found));
        }
    }
    // A package may ask for itself.
    let (root, own) = known.package_of(directory)?;
    if own.get("name")?.as_str()? == package && own.get("exports").is_some() {
        return in_package(known, &root, inside, how).map(|found| known.real(&found));
    }
    None
}

/// The directories `node_modules` that are searched from here, nearest first.
pub(super) fn module_directories(directory: &Path) -> impl Iterator<Item = PathBuf> {
    directory
        .ancestors()
        .filter(|d| d.file_name().is_none_or(|name| name != "node_modules"))
        .map(|d| d.join("node_modules"))
        .collect::<Vec<_>>()
        .into_iter()
}

/// Whether a file is an ES module: `.mjs`, or `.js` in a package that says so.
pub(super) fn is_esm(known: &Known, path: &Path) -> bool {
    match path.extension().and_then(|e| e.to_str()) {
        Some("mjs") => true,
        Some("js") => path
            .parent()
            .and_then(|directory| known.package_of(directory))
            .is_some_and(|(_, m)| m.get("type").and_then(Value::as_str) == Some("module")),
        _ => false,
    }
}

/// `@scope/name/inside` in two.
fn split(request: &str) -> Option<(&str, &str)> {
    let slashes = if request.starts_with('@') { 2 } else { 1 };
    let (end, _) = request
        .match_indices('/')
        .nth(slashes - 1)
        .unwrap_or((request.len(), ""));
    let (package, inside) = request.split_at_checked(end)?;
    let inside = inside.strip_prefix('/').unwrap_or(inside);
    let plain = |part: &str| {
        Path::new(part)
            .components()
            .all(|c| matches!(c, Component::Normal(_)))
    };
    (!package.is_empty() && plain(package)).then_some((package, inside))
}

fn in_package(known: &Known, root: &Path, inside: &str, how: How) -> Option<PathBuf> {
    let manifest = known.manifest(root);
    if let Some(exports) = manifest.as_ref().and_then(|m| m.get("exports")) {
        let wanted = if inside.is_empty() {
            ".".to_owned()
        } else {
            format!("./{inside}")
        };
        return exported(exports, &wanted, root, how);
    }
    match inside {
        "" => directory(known, root, how, DEEPEST),
        inside => file_or_directory(known, &root.join(inside), how, DEEPEST),
    }
}

/// Looks a name up in `exports` (or `imports`): exact, then the longest pattern.
fn exported(exports: &Value, wanted: &str, root: &Path, how: How) -> Option<PathBuf> {
    let by_name = exports
        .as_object()
        .is_some_and(|map| map.keys().any(|k| k.starts_with(['.', '#'])));
    if !by_name {
        return (wanted == ".")
            .then(|| target(exports, "", root, how, DEEPEST))
            .flatten();
    }
    if let Some(exact) = exports.get(wanted) {
        return target(exact, "", root, how, DEEPEST);
    }
    let patterns = exports.as_object()?.iter().filter_map(|(key, value)| {
        let (before, after) = key.split_once('*')?;
        let middle = wanted.strip_prefix(before)?.strip_suffix(after)?;
        Some((before.len(), middle, value))
    });
    let (_, middle, value) = patterns.max_by_key(|(length, _, _)| *length)?;
    target(value, middle, root, how, DEEPEST)
}

/// What an entry leads to: a path, conditions, or the first of several that works.
fn target(entry: &Value, middle: &str, root: &Path, how: How, deep: u8) -> Option<PathBuf> {
    let deep = deep.checked_sub(1)?;
    match entry {
        Value::String(path) => {
            let path = path.strip_prefix("./")?.replace('*', middle);
            let inside = Path::new(&path)
                .components()
                .all(|c| matches!(c, Component::Normal(_)));
            let found = root.join(&path);
            (inside && found.is_file()).then_some(found)
        }
        Value::Object(conditions) => conditions
            .iter()
            .filter(|(name, _)| match name.as_str() {
                "node" | "default" | "module-sync" => true,
                "require" => how == How::Require,
                "import" => how == How::Import,
                _ => false,
            })
            .find_map(|(_, entry)| target(entry, middle, root, how, deep)),
        Value::Array(several) => several
            .iter()
            .find_map(|entry| target(entry, middle, root, how, deep)),
        _ => None,
    }
}

/// `#name`, by the package that the script is in.
fn imports(known: &Known, inner: &str, directory: &Path, how: How) -> Option<PathBuf> {
    let (root, manifest) = known.package_of(directory)?;
    exported(manifest.get("imports")?, &format!("#{inner}"), &root, how)
}

fn file_or_directory(known: &Known, path: &Path, how: How, deep: u8) -> Option<PathBuf> {
    file(path).or_else(|| directory(known, path, how, deep))
}

/// The path itself, or with an ending that scripts leave out.
fn file(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    ["js", "json", "cjs", "mjs"].into_iter().find_map(|ending| {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        let with = PathBuf::from(name);
        with.is_file().then_some(with)
    })
}

fn directory(known: &Known, path: &Path, how: How, deep: u8) -> Option<PathBuf> {
    let deep = deep.checked_sub(1)?;
    if !path.is_dir() {
        return None;
    }
    let manifest = known.manifest(path);
    let main = manifest.as_ref().and_then(|m| m.get("main")?.as_str());
    let main = main.filter(|m| !m.is_empty()).map(|m| path.join(m));
    main.filter(|m| m != path)
        .and_then(|m| file_or_directory(known, &m, how, deep))
        .or_else(|| file(&path.join("index")))
}
