//! Where a plugin written in JavaScript is looked for, by its name (PLG-03).
//!
//! One list for those that `config/plugins` names and those that a plugin inherits from. Looks at the
//! file system; loads and runs nothing.

use std::fs;
use std::path::{Path, PathBuf};

use super::resolve::module_directories;

/// The name without the prefix of its package (PLG-01).
pub(crate) fn bare(listed: &str) -> &str {
    listed.strip_prefix("haraka-plugin-").unwrap_or(listed)
}

/// The operator's own plugin of that name.
pub(crate) fn own(name: &str, install_dir: &Path) -> Option<PathBuf> {
    let plugins = install_dir.join("plugins");
    first_there([
        plugins.join(format!("{name}.js")),
        plugins.join(name).join("package.json"),
    ])
}

/// The package of that name that the install directory has.
pub(crate) fn package(name: &str, install_dir: &Path) -> Option<PathBuf> {
    let package = manifest(name);
    let modules = install_dir.join("node_modules");
    first_there([
        modules.join(&package),
        install_dir.join("..").join(&package),
        modules.join(name).join("package.json"),
    ])
}

/// The plugin that one whose script or `package.json` is `heir` inherits from. After the install directory come
/// the directories where Node would look for a package that `heir` requires: npm may have put what a
/// package needs inside it, or beside it, and a link leads away from where it stands.
pub(super) fn inherited(name: &str, install_dir: &Path, heir: &Path) -> Option<PathBuf> {
    if let Some(found) = own(name, install_dir).or_else(|| package(name, install_dir)) {
        return Some(found);
    }
    let from = heir.parent()?;
    let real = fs::canonicalize(from).unwrap_or_else(|_| from.to_owned());
    let package = manifest(name);
    let directories = module_directories(&real).chain(module_directories(from));
    first_there(directories.map(|modules| modules.join(&package)))
}

fn manifest(name: &str) -> PathBuf {
    PathBuf::from(format!("haraka-plugin-{name}")).join("package.json")
}

fn first_there(places: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    places.into_iter().find(|place| place.exists())
}
