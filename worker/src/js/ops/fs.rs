//! Files. What blocks for long is done on another thread; the calls whose names end in `Sync` are
//! for the time when plugins are loaded.

use std::collections::HashMap;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use rquickjs::{Ctx, Object};
use serde_json::{Value, json};

use super::op;
use crate::js::convert::{Bytes, Json, throw_io};
use crate::js::host::{Host, Outcome};
use crate::rt;

/// Files that scripts may have open by number.
const MOST_OPEN: usize = 1024;

/// What the parts of an open mode are; `O_ACCMODE` and its like.
const WRITE_ONLY: i32 = 1;
const READ_WRITE: i32 = 2;
const CREATE: i32 = 0o100;
const EXCLUSIVE: i32 = 0o200;
const TRUNCATE: i32 = 0o1000;
const APPEND: i32 = 0o2000;

/// Open files by number.
#[derive(Clone, Default)]
struct Files(Arc<Mutex<HashMap<i32, Arc<File>>>>);

impl Files {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Arc<File>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, number: i32) -> io::Result<Arc<File>> {
        let found = self.lock().get(&number).map(Arc::clone);
        found.ok_or_else(|| Errno::EBADF.into())
    }
}

/// One operation on files, with all that it needs.
struct Request {
    name: String,
    path: String,
    bytes: Vec<u8>,
    more: Value,
    /// Octets that reading a file may give.
    most: u64,
    files: Files,
}

enum Done {
    Bytes(Vec<u8>),
    Data(Value),
}

const NOTHING: Done = Done::Data(Value::Null);

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let most = host.limits.file;
    let files = Files::default();
    let request = move |name, path, bytes: Option<Bytes>, more: Json| Request {
        name,
        path,
        bytes: bytes.unwrap_or_default().0,
        more: more.0,
        most,
        files: files.clone(),
    };
    let make = request.clone();
    op!(
        ctx,
        field,
        "bytesSync",
        move |ctx: Ctx<'_>, name: String, path: String, more: Json| {
            match make(name.clone(), path.clone(), None, more).run() {
                Ok(Done::Bytes(bytes)) => Ok(Bytes(bytes)),
                Ok(Done::Data(_)) => Ok(Bytes::default()),
                Err(e) => Err(throw_io(&ctx, &e, &name, &path)),
            }
        }
    );
    let make = request.clone();
    op!(
        ctx,
        field,
        "sync",
        move |ctx: Ctx<'_>, name: String, path: String, bytes: Option<Bytes>, more: Json| {
            match make(name.clone(), path.clone(), bytes, more).run() {
                Ok(Done::Data(value)) => Ok(Json(value)),
                Ok(Done::Bytes(_)) => Ok(Json::default()),
                Err(e) => Err(throw_io(&ctx, &e, &name, &path)),
            }
        }
    );
    let host = Rc::clone(host);
    op!(
        ctx,
        field,
        "start",
        move |name: String, path: String, bytes: Option<Bytes>, more: Json| {
            let request = request(name, path, bytes, more);
            host.start(async move {
                match rt::offload(move || request.run()).await {
                    Ok(Ok(Done::Bytes(bytes))) => Outcome::Bytes(bytes),
                    Ok(Ok(Done::Data(value))) => Outcome::Data(value),
                    Ok(Err(e)) => e.into(),
                    Err(e) => io::Error::other(e.to_string()).into(),
                }
            })
        }
    );
    Ok(())
}

impl Request {
    fn flag(&self, key: &str) -> bool {
        self.more.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    fn number(&self, key: &str) -> Option<i64> {
        let given = self.more.get(key)?;
        given.as_i64().or_else(|| Some(given.as_f64()? as i64))
    }

    fn mode(&self, default: u32) -> u32 {
        let given = self.number("mode").and_then(|n| u32::try_from(n).ok());
        given.unwrap_or(default)
    }

    fn to(&self) -> io::Result<&str> {
        let to = self.more.get("to").and_then(Value::as_str);
        to.ok_or_else(|| Errno::EINVAL.into())
    }

    fn file(&self) -> io::Result<Arc<File>> {
        let number = self.number("fd").and_then(|n| i32::try_from(n).ok());
        self.files.get(number.unwrap_or(-1))
    }

    /// Carries it out. Blocks.
    fn run(&self) -> io::Result<Done> {
        match self.name.as_str() {
            "read" => self.read_whole(),
            "write" => self.write_whole(),
            "open" | "close" | "readAt" | "writeAt" | "fstat" | "fsync" | "fdatasync"
            | "ftruncate" | "fchmod" | "futime" => self.on_open_file(),
            "stat" => Ok(Done::Data(stat(&fs::metadata(&self.path)?))),
            "lstat" => Ok(Done::Data(stat(&fs::symlink_metadata(&self.path)?))),
            "scandir" => self.list(),
            "realpath" => {
                let real = fs::canonicalize(&self.path)?;
                Ok(Done::Data(real.to_string_lossy().into_owned().into()))
            }
            "readlink" => {
                let to = fs::read_link(&self.path)?;
                Ok(Done::Data(to.to_string_lossy().into_owned().into()))
            }
            "mkdtemp" => {
                let made = nix::unistd::mkdtemp(format!("{}XXXXXX", self.path).as_str())?;
                Ok(Done::Data(made.to_string_lossy().into_owned().into()))
            }
            "mkdir" => self.make_directory(),
            _ => self.change().map(|()| NOTHING),
        }
    }

    /// What gives nothing back.
    fn change(&self) -> io::Result<()> {
        let path = self.path.as_str();
        match self.name.as_str() {
            "unlink" => fs::remove_file(path),
            "rmdir" if self.flag("recursive") => fs::remove_dir_all(path),
            "rmdir" => fs::remove_dir(path),
            "rm" => self.remove(),
            "rename" => fs::rename(path, self.to()?),
            "symlink" => std::os::unix::fs::symlink(self.to()?, path),
            "link" => fs::hard_link(path, self.to()?),
            "copyfile" => {
                if self.flag("exclusive") && fs::symlink_metadata(self.to()?).is_ok() {
                    return Err(Errno::EEXIST.into());
                }
                fs::copy(path, self.to()?).map(drop)
            }
            "access" => {
                let mode = i32::try_from(self.mode(0)).unwrap_or_default();
                let flags = nix::unistd::AccessFlags::from_bits_truncate(mode);
                Ok(nix::unistd::access(path, flags)?)
            }
            "chmod" => fs::set_permissions(path, fs::Permissions::from_mode(self.mode(0o666))),
            "chown" => {
                let id = |key| self.number(key).and_then(|n| u32::try_from(n).ok());
                std::os::unix::fs::chown(path, id("uid"), id("gid"))
            }
            "truncate" => {
                let length = self.number("length").unwrap_or_default();
                let file = OpenOptions::new().write(true).open(path)?;
                file.set_len(u64::try_from(length).unwrap_or_default())
            }
            "utime" => {
                let file = File::open(path)?;
                file.set_times(self.times())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn times(&self) -> FileTimes {
        let time = |key| {
            let seconds = self.more.get(key).and_then(Value::as_f64);
            let since = Duration::try_from_secs_f64(seconds.unwrap_or_default());
            UNIX_EPOCH + since.unwrap_or_default()
        };
        FileTimes::new()
            .set_accessed(time("atime"))
            .set_modified(time("mtime"))
    }

    fn on_open_file(&self) -> io::Result<Done> {
        if self.name == "open" {
            return self.open();
        }
        let file = self.file()?;
        match self.name.as_str() {
            "close" => {
                self.files.lock().remove(&file.as_raw_fd());
            }
            "readAt" => return self.read_at(&file).map(Done::Bytes),
            "writeAt" => {
                let count = match self.position() {
                    Some(at) => file.write_at(&self.bytes, at)?,
                    None => (&*file).write(&self.bytes)?,
                };
                return Ok(Done::Data(count.into()));
            }
            "fstat" => return Ok(Done::Data(stat(&file.metadata()?))),
            "fsync" => file.sync_all()?,
            "fdatasync" => file.sync_data()?,
            "ftruncate" => {
                let length = self.number("length").unwrap_or_default();
                file.set_len(u64::try_from(length).unwrap_or_default())?;
            }
            "fchmod" => file.set_permissions(fs::Permissions::from_mode(self.mode(0o666)))?,
            _ => file.set_times(self.times())?,
        }
        Ok(NOTHING)
    }

    fn open(&self) -> io::Result<Done> {
        if self.files.lock().len() >= MOST_OPEN {
            return Err(Errno::EMFILE.into());
        }
        let flags = self.number("flags").unwrap_or_default();
        let flags = i32::try_from(flags).unwrap_or_default();
        let (write, both) = (flags & 3 == WRITE_ONLY, flags & 3 == READ_WRITE);
        let mut options = OpenOptions::new();
        // Creation and truncation go as flags: the standard library refuses unusual combinations.
        let rest = flags & (CREATE | EXCLUSIVE | TRUNCATE | APPEND);
        options
            .read(!write)
            .write(write || both)
            .custom_flags(rest)
            .mode(self.mode(0o666));
        let file = options.open(&self.path)?;
        let number = file.as_raw_fd();
        self.files.lock().insert(number, Arc::new(file));
        Ok(Done::Data(number.into()))
    }

    fn position(&self) -> Option<u64> {
        self.number("position").and_then(|n| u64::try_from(n).ok())
    }

    fn read_at(&self, file: &File) -> io::Result<Vec<u8>> {
        let length = self.number("length").unwrap_or_default();
        let length = u64::try_from(length).unwrap_or_default().min(self.most);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        let count = match self.position() {
            Some(at) => file.read_at(&mut bytes, at)?,
            None => (&*file).read(&mut bytes)?,
        };
        bytes.truncate(count);
        Ok(bytes)
    }

    /// A file as a whole; a pipe or device would give octets without end.
    fn read_whole(&self) -> io::Result<Done> {
        if fs::metadata(&self.path)?.is_dir() {
            return Err(Errno::EISDIR.into());
        }
        let mut bytes = Vec::new();
        File::open(&self.path)?
            .take(self.most + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Done::Bytes(bytes))
    }

    fn write_whole(&self) -> io::Result<Done> {
        let append = self.flag("append");
        let mut options = OpenOptions::new();
        options.append(append).write(true).mode(self.mode(0o666));
        match self.flag("exclusive") {
            true => options.create_new(true),
            false => options.create(true).truncate(!append),
        };
        options.open(&self.path)?.write_all(&self.bytes)?;
        Ok(NOTHING)
    }

    fn list(&self) -> io::Result<Done> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push((name, kind.is_dir(), kind.is_file(), kind.is_symlink()));
        }
        entries.sort();
        let entries = entries.into_iter();
        Ok(Done::Data(
            entries.map(|(n, d, f, l)| json!([n, d, f, l])).collect(),
        ))
    }

    /// Gives the first directory that was made, as Node does where all missing ones are made.
    fn make_directory(&self) -> io::Result<Done> {
        let mut builder = fs::DirBuilder::new();
        let recursive = self.flag("recursive");
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(recursive), self.mode(0o777));
        let path = std::path::Path::new(&self.path);
        let missing = path.ancestors().take_while(|p| !p.exists()).last();
        let first = missing.map(|p| p.to_string_lossy().into_owned());
        builder.create(path)?;
        Ok(match first.filter(|_| recursive) {
            Some(first) => Done::Data(first.into()),
            None => NOTHING,
        })
    }

    fn remove(&self) -> io::Result<()> {
        let removed = match fs::symlink_metadata(&self.path) {
            Ok(m) if m.is_dir() && self.flag("recursive") => fs::remove_dir_all(&self.path),
            Ok(m) if m.is_dir() => Err(Errno::EISDIR.into()),
            Ok(_) => fs::remove_file(&self.path),
            Err(e) => Err(e),
        };
        match removed {
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.flag("force") => Ok(()),
            other => other,
        }
    }
}

fn stat(m: &fs::Metadata) -> Value {
    let ms = |seconds: i64, nanoseconds: i64| seconds as f64 * 1e3 + nanoseconds as f64 / 1e6;
    let born = m.created().unwrap_or(SystemTime::UNIX_EPOCH);
    let born = born.duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "dev": m.dev(), "mode": m.mode(), "nlink": m.nlink(), "uid": m.uid(), "gid": m.gid(),
        "rdev": m.rdev(), "blksize": m.blksize(), "ino": m.ino(), "size": m.size(),
        "blocks": m.blocks(), "atimeMs": ms(m.atime(), m.atime_nsec()),
        "mtimeMs": ms(m.mtime(), m.mtime_nsec()), "ctimeMs": ms(m.ctime(), m.ctime_nsec()),
        "birthtimeMs": born.as_secs_f64() * 1e3,
    })
}
