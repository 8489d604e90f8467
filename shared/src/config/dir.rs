//! The configuration directory: finding, reading and decoding its files.
//!
//! One reader per file type, all over the same layers: the environment goes before `smtp.json`, that
//! before the file, the file before a plugin's own defaults. Whatever else reads configuration
//! (plugins, script bindings) goes through here, so that path safety, size limit and messages are
//! the same for all. It interprets no setting; the files with declared settings do.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value;

use super::environment::{self, Environment};
use super::error::{At, ConfigError, MAX_FILE};
use super::file_type::FileType;
use super::ini::Ini;
use super::merge::{merge, merge_typed};
use super::overrides::{Overrides, lines_of};
use super::shipped;
use super::typed_values::{Booleans, TypedSection, typed, typed_json};
use super::{flat, structured};

/// Seconds that a plugin may take for one hook when nothing else is configured (CFS-36).
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Files below a directory, more of which nobody configures.
const MOST_FILES: usize = 100_000;

/// `config/` of an install directory. Clones share what `smtp.json` and the environment say.
#[derive(Clone, Debug)]
pub struct ConfigDir {
    install: PathBuf,
    root: PathBuf,
    /// What counts where `root` is silent.
    defaults: Option<Defaults>,
    layers: Arc<Layers>,
}

/// What goes behind the files.
#[derive(Clone, Debug)]
enum Defaults {
    /// The files of this directory, a plugin's own.
    Package(PathBuf),
    /// What Haraka ships; see [`shipped`].
    Shipped,
}

impl Defaults {
    /// How messages name a file of them.
    fn shown(&self, name: &str) -> String {
        match self {
            Defaults::Package(root) => root.join(name).display().to_string(),
            Defaults::Shipped => format!("{name} (as shipped)"),
        }
    }
}

/// What goes before the files.
#[derive(Debug)]
struct Layers {
    overrides: RwLock<Arc<Overrides>>,
    environment: Environment,
}

/// What a file is taken to contain.
enum Source {
    Bytes(Vec<u8>),
    /// From `smtp.json`, with the place for messages.
    Json(Value, String),
}

impl ConfigDir {
    /// The directory `config` below an install directory (CFS-01), with the process's environment.
    /// Fails if it is not there, or if `smtp.json` or `smtp.yaml` cannot be read.
    pub fn open(install_dir: &Path) -> Result<ConfigDir, ConfigError> {
        ConfigDir::with_environment(install_dir, Environment::of_process())
    }

    /// The same with an environment of the caller's.
    pub fn with_environment(
        install_dir: &Path,
        environment: Environment,
    ) -> Result<ConfigDir, ConfigError> {
        let root = install_dir.join("config");
        let unreadable = |source| ConfigError::Read {
            file: root.display().to_string(),
            source,
        };
        if !std::fs::metadata(&root).map_err(unreadable)?.is_dir() {
            return Err(unreadable(io::ErrorKind::NotADirectory.into()));
        }
        let dir = ConfigDir {
            install: install_dir.to_owned(),
            root,
            defaults: None,
            layers: Arc::new(Layers {
                overrides: RwLock::default(),
                environment,
            }),
        };
        dir.refresh_overrides()?;
        Ok(dir)
    }

    /// The same directory over a plugin's own files, `config` below `package` (CFS-06, CFS-07). They
    /// count where the operator's are silent: ini files, JSON, Hjson and YAML key by key (arrays item
    /// by item), others as a whole unless the operator's is missing or empty.
    pub fn with_defaults(&self, package: &Path) -> ConfigDir {
        ConfigDir {
            defaults: Some(Defaults::Package(package.join("config"))),
            ..self.clone()
        }
    }

    /// The same directory over what Haraka ships in its own, for plugins of a single file (CFS-07).
    pub fn with_shipped(&self) -> ConfigDir {
        ConfigDir {
            defaults: Some(Defaults::Shipped),
            ..self.clone()
        }
    }

    /// Reads `smtp.json`, else `smtp.yaml`, again (CFS-15). Gives the paths of the files whose
    /// content has changed by it; on an error the earlier content stays.
    pub fn refresh_overrides(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let mut by = "smtp.json";
        let mut found = self.file("smtp.json")?;
        if found.is_none() {
            by = "smtp.yaml";
            found = self.file("smtp.yaml")?;
        }
        let document = match found {
            Some(bytes) => structured::parse(by, FileType::of(by), &bytes)?,
            None => Value::Null,
        };
        let new = Overrides::of(by, document, |name| self.path(name).ok());
        let mut held = self
            .layers
            .overrides
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let changed = held.differing(&new);
        *held = Arc::new(new);
        Ok(changed)
    }

    /// The files that `smtp.json` replaces.
    pub fn overrides(&self) -> Arc<Overrides> {
        let held = self.layers.overrides.read();
        Arc::clone(&held.unwrap_or_else(PoisonError::into_inner))
    }

    /// What the environment says.
    pub fn environment(&self) -> &Environment {
        &self.layers.environment
    }

    /// The install directory, as it was given.
    pub fn install_dir(&self) -> &Path {
        &self.install
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a file is. An absolute name is itself; a relative one must stay inside (CFS-16).
    pub fn path(&self, name: &str) -> Result<PathBuf, ConfigError> {
        Self::path_in(&self.root, name)
    }

    fn path_in(root: &Path, name: &str) -> Result<PathBuf, ConfigError> {
        let wanted = Path::new(name);
        if wanted.is_absolute() {
            return Ok(wanted.to_owned());
        }
        let mut inside = PathBuf::new();
        for part in wanted.components() {
            match part {
                Component::Normal(p) => inside.push(p),
                Component::ParentDir if inside.pop() => {}
                Component::CurDir => {}
                _ => {
                    return Err(ConfigError::Escapes {
                        file: name.to_owned(),
                    });
                }
            }
        }
        Ok(root.join(inside))
    }

    /// Whether there is a file of that name. One that cannot be looked at counts as there, so that
    /// reading it tells why.
    pub fn exists(&self, name: &str) -> bool {
        let Ok(path) = self.path(name) else {
            return false;
        };
        self.overrides().get(&path).is_some()
            || !matches!(std::fs::metadata(path), Err(e) if e.kind() == io::ErrorKind::NotFound)
    }

    /// The bytes of a file; `None` if there is none. At most [`MAX_FILE`] bytes; directories,
    /// sockets and pipes are errors, as reading a pipe might never end.
    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, ConfigError> {
        match self.source(name)? {
            Some(Source::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Source::Json(Value::String(text), _)) => Ok(Some(text.into_bytes())),
            Some(Source::Json(..)) => Ok(None),
            None => self.default_file(name),
        }
    }

    /// An ini file; a missing one is empty (CFS-12).
    pub fn ini(&self, name: &str) -> Result<Ini, ConfigError> {
        let mut ini = self.own_ini(name)?;
        if let Some(base) = self.default_ini(name)? {
            ini = ini.upon(base);
        }
        Ok(ini.under(self.layers.environment.of_ini(name)))
    }

    /// An ini file as a script sees it, with the booleans that it declares (CFS-22 to CFS-24).
    pub fn typed_ini(
        &self,
        name: &str,
        booleans: &Booleans,
    ) -> Result<Vec<TypedSection>, ConfigError> {
        let variables = || self.layers.environment.of_ini(name);
        let own = match self.source(name)? {
            // What smtp.json says has types of its own.
            Some(Source::Json(value, _)) => typed_json(&value),
            _ => typed(&self.own_ini(name)?.under(variables()), booleans),
        };
        let Some(base) = self.default_ini(name)? else {
            return Ok(own);
        };
        // Each file is typed before they go together, as Haraka does it: a boolean that the
        // operator's file leaves out counts with its declared default, not with the plugin's.
        let base = typed(&base.under(variables()), booleans);
        Ok(merge_typed(base, own))
    }

    /// A JSON, Hjson or YAML file, by its name's ending; any other counts as JSON. `None` if there is
    /// none, not even one in YAML of the same name (CFS-13).
    pub fn document(&self, name: &str) -> Result<Option<Value>, ConfigError> {
        let form = match FileType::of(name) {
            form @ (FileType::Yaml | FileType::Hjson) => form,
            _ => FileType::Json,
        };
        self.document_as(name, form)
    }

    /// The same for a form that the caller knows.
    pub fn document_as(&self, name: &str, form: FileType) -> Result<Option<Value>, ConfigError> {
        let own = match self.source(name)? {
            Some(Source::Json(value, _)) => Some(value),
            Some(Source::Bytes(bytes)) => Some(structured::parse(name, form, &bytes)?),
            None => match yaml_twin(name) {
                Some(twin) => self.yaml(&self.root, &twin)?,
                None => None,
            },
        };
        let Some(defaults) = &self.defaults else {
            return Ok(own);
        };
        let base = match self.default_file(name)? {
            Some(bytes) => Some(structured::parse(&defaults.shown(name), form, &bytes)?),
            None => match (yaml_twin(name), defaults) {
                (Some(twin), Defaults::Package(root)) => self.yaml(root, &twin)?,
                _ => None,
            },
        };
        Ok(match (base, own) {
            (Some(base), Some(own)) => Some(merge(base, own)),
            (base, own) => own.or(base),
        })
    }

    /// The first line that is neither blank nor a comment (CFS-26).
    pub fn value(&self, name: &str) -> Result<Option<String>, ConfigError> {
        Ok(self.first_item(name)?.map(|(_, text)| text))
    }

    /// As [`ConfigDir::value`], with its place.
    pub fn first_item(&self, name: &str) -> Result<Option<(At, String)>, ConfigError> {
        if let Some(variable) = self.layers.environment.whole(name) {
            return Ok(Some((At::file(&variable.origin), variable.text)));
        }
        let own = self.lines(name, |text| {
            let first = flat::items(text).next();
            first.map(owned).into_iter().collect()
        })?;
        Ok(own.into_iter().next())
    }

    /// The whole number that a value file begins with; `None` if there is none (CFS-04).
    pub fn int(&self, name: &str) -> Result<Option<i64>, ConfigError> {
        Ok(self.value(name)?.and_then(|text| leading_int(&text)))
    }

    /// Trimmed lines without blanks and comments (CFS-27); empty if there is no file.
    pub fn list(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        let items = self.placed_items(name)?;
        Ok(items.into_iter().map(|(_, text)| text).collect())
    }

    /// As [`ConfigDir::list`], each with the number of its line; 0 for what is in no file.
    pub fn items(&self, name: &str) -> Result<Vec<(u32, String)>, ConfigError> {
        let items = self.placed_items(name)?;
        Ok(items
            .into_iter()
            .map(|(at, text)| (at.line, text))
            .collect())
    }

    /// As [`ConfigDir::list`], each with its place.
    pub fn placed_items(&self, name: &str) -> Result<Vec<(At, String)>, ConfigError> {
        if let Some(variable) = self.layers.environment.whole(name) {
            let at = At::file(&variable.origin);
            let items = environment::items(&variable.text);
            return Ok(items.map(|item| (at.clone(), item.to_owned())).collect());
        }
        self.lines(name, |text| flat::items(text).map(owned).collect())
    }

    /// All lines as they stand, without their ends (CFS-28); empty if there is no file.
    pub fn data(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        let all = self.lines(name, |text| {
            (1..).zip(flat::lines(text)).map(owned).collect()
        })?;
        Ok(all.into_iter().map(|(_, text)| text).collect())
    }

    /// The files below a directory, those of deeper ones later (CFS-05); symbolic links are followed
    /// one level, so that none leads in a circle.
    pub fn files_below(&self, name: &str) -> Result<Vec<PathBuf>, ConfigError> {
        self.tree_below(name).map(|(files, _)| files)
    }

    /// As [`ConfigDir::files_below`], with the directories between, not the one that is asked about.
    pub fn tree_below(&self, name: &str) -> Result<(Vec<PathBuf>, Vec<PathBuf>), ConfigError> {
        let failed = |source| ConfigError::Read {
            file: name.to_owned(),
            source,
        };
        let (mut files, mut below) = (Vec::new(), Vec::new());
        let mut dirs = std::collections::VecDeque::from([(self.path(name)?, true)]);
        while let Some((dir, follow)) = dirs.pop_front() {
            let entries = std::fs::read_dir(&dir).map_err(failed)?;
            let mut paths = entries
                .map(|entry| entry.map(|e| e.path()))
                .collect::<io::Result<Vec<_>>>()
                .map_err(failed)?;
            paths.sort();
            for path in paths {
                let linked = path.is_symlink();
                if path.is_dir() && (follow || !linked) {
                    below.push(path.clone());
                    dirs.push_back((path, !linked));
                } else if path.is_file() {
                    files.push(path);
                }
            }
            if files.len() + below.len() > MOST_FILES {
                return Err(failed(io::Error::other("too many files below it")));
            }
        }
        Ok((files, below))
    }

    /// Items of a file without keys, by the operator's file if that has any, else by the default.
    fn lines(
        &self,
        name: &str,
        cut: impl Fn(&str) -> Vec<(u32, String)>,
    ) -> Result<Vec<(At, String)>, ConfigError> {
        let placed = |file: &str, bytes: &[u8]| {
            let found = cut(&flat::decode(bytes)).into_iter();
            found
                .map(|(line, text)| (At::line(file, line), text))
                .collect::<Vec<_>>()
        };
        let own: Vec<(At, String)> = match self.source(name)? {
            Some(Source::Bytes(bytes)) => placed(name, &bytes),
            Some(Source::Json(value, place)) => {
                let lines = lines_of(&value).into_iter();
                lines.map(|text| (At::file(&place), text)).collect()
            }
            None => Vec::new(),
        };
        match (&self.defaults, own.is_empty()) {
            (Some(defaults), true) => {
                let bytes = self.default_file(name)?.unwrap_or_default();
                Ok(placed(&defaults.shown(name), &bytes))
            }
            _ => Ok(own),
        }
    }

    fn own_ini(&self, name: &str) -> Result<Ini, ConfigError> {
        Ok(match self.source(name)? {
            Some(Source::Bytes(bytes)) => Ini::parse(name, &bytes),
            Some(Source::Json(value, place)) => Ini::from_json(&place, &value),
            None => Ini::empty(name),
        })
    }

    fn default_ini(&self, name: &str) -> Result<Option<Ini>, ConfigError> {
        let Some(defaults) = &self.defaults else {
            return Ok(None);
        };
        let bytes = self.default_file(name)?;
        Ok(bytes.map(|bytes| Ini::parse(&defaults.shown(name), &bytes)))
    }

    fn yaml(&self, root: &Path, name: &str) -> Result<Option<Value>, ConfigError> {
        let path = Self::path_in(root, name)?;
        let parse = |bytes: Vec<u8>| structured::parse(name, FileType::Yaml, &bytes);
        read_file(&path, name)?.map(parse).transpose()
    }

    /// The operator's file, or what `smtp.json` says in its place.
    fn source(&self, name: &str) -> Result<Option<Source>, ConfigError> {
        let path = self.path(name)?;
        if let Some((value, place)) = self.overrides().get(&path) {
            return Ok(Some(Source::Json(value.clone(), place)));
        }
        Ok(read_file(&path, name)?.map(Source::Bytes))
    }

    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, ConfigError> {
        read_file(&self.path(name)?, name)
    }

    fn default_file(&self, name: &str) -> Result<Option<Vec<u8>>, ConfigError> {
        match &self.defaults {
            // An absolute name means the same file in both places.
            Some(defaults) if Path::new(name).is_relative() => match defaults {
                Defaults::Package(root) => {
                    read_file(&Self::path_in(root, name)?, &defaults.shown(name))
                }
                Defaults::Shipped => Ok(shipped::file(name).map(<[u8]>::to_vec)),
            },
            _ => Ok(None),
        }
    }

    /// How long a plugin may take for one hook: `<plugin>.timeout`, else `plugin_timeout`, else
    /// 30 s; `None` for no limit, written as 0 (CFS-36). A file that holds no number is passed
    /// over, as Haraka does; [`super::Config::load`] warns of it.
    pub fn plugin_timeout(&self, plugin: &str) -> Result<Option<Duration>, ConfigError> {
        for name in [&*format!("{plugin}.timeout"), "plugin_timeout"] {
            let limit = self.value(name)?.and_then(|text| seconds(&text));
            if let Some(limit) = limit {
                return Ok((!limit.is_zero()).then_some(limit));
            }
        }
        Ok(Some(PLUGIN_TIMEOUT))
    }
}

/// Seconds from the number that a text starts with, so `30s` is 30; `None` if there is none or it
/// is negative. A time beyond what the clock can count is no limit.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text.get(..end)?.parse().ok()?;
    Some(Duration::try_from_secs_f64(number).unwrap_or(Duration::ZERO))
}

fn owned((line, text): (u32, &str)) -> (u32, String) {
    (line, text.to_owned())
}

/// The YAML file that a missing JSON or Hjson file is looked for in.
fn yaml_twin(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".json").or(name.strip_suffix(".hjson"))?;
    Some(format!("{stem}.yaml"))
}

/// The number that a text begins with, as JavaScript's `parseInt` reads it.
fn leading_int(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with(['-', '+']));
    let digits = text.get(sign..)?;
    let length = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    text.get(..sign + length)?.parse().ok()
}

fn read_file(path: &Path, name: &str) -> Result<Option<Vec<u8>>, ConfigError> {
    let file = || name.to_owned();
    match read(path) {
        Ok(Content::Bytes(bytes)) => Ok(Some(bytes)),
        Ok(Content::Missing) => Ok(None),
        Ok(Content::Other(what)) => Err(ConfigError::NotAFile { file: file(), what }),
        Ok(Content::TooLarge) => Err(ConfigError::TooLarge { file: file() }),
        Err(source) => Err(ConfigError::Read {
            file: file(),
            source,
        }),
    }
}

enum Content {
    Bytes(Vec<u8>),
    Missing,
    TooLarge,
    Other(&'static str),
}

fn read(path: &Path) -> io::Result<Content> {
    // The type is asked before opening: opening a pipe would wait for its writer.
    let meta = match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Content::Missing),
        other => other?,
    };
    let kind = meta.file_type();
    if kind.is_dir() {
        return Ok(Content::Other("a directory"));
    }
    if kind.is_fifo() {
        return Ok(Content::Other("a pipe"));
    }
    if kind.is_socket() {
        return Ok(Content::Other("a socket"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)?;
    Ok(if bytes.len() as u64 > MAX_FILE {
        Content::TooLarge
    } else {
        Content::Bytes(bytes)
    })
}

#[cfg(test)]
#[path = "dir_tests.rs"]
mod tests;
