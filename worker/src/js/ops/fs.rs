//! Files. What blocks for long is done on another thread; the calls whose names end in `Sync` are
//! for the time when plugins are loaded.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use rquickjs::{Ctx, Object};
use serde_json::{Value, json};

use super::op;
use crate::js::convert::{Bytes, Json, throw_io};
use crate::js::host::{Host, Outcome};
use crate::rt;

/// One operation on files, with all that it needs.
#[derive(Clone, Debug)]
enum Operation {
    Read(u64),
    Write {
        bytes: Vec<u8>,
        append: bool,
        exclusive: bool,
        mode: u32,
    },
    Stat {
        follow: bool,
    },
    List,
    Unlink,
    MakeDirectory {
        recursive: bool,
        mode: u32,
    },
    RemoveDirectory {
        recursive: bool,
    },
    Rename(String),
    RealPath,
    Access(i32),
    Mode(u32),
}

enum Done {
    Bytes(Vec<u8>),
    Data(Value),
}

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let most = host.limits.file;
    op!(
        ctx,
        field,
        "bytesSync",
        move |ctx: Ctx<'_>, path: String| {
            match run(&path, Operation::Read(most)) {
                Ok(Done::Bytes(bytes)) => Ok(Bytes(bytes)),
                Ok(Done::Data(_)) => Ok(Bytes::default()),
                Err(e) => Err(throw_io(&ctx, &e, "open", &path)),
            }
        }
    );
    op!(
        ctx,
        field,
        "sync",
        move |ctx: Ctx<'_>, name: String, path: String, bytes: Option<Bytes>, more: Json| {
            let operation = parse(&name, bytes.unwrap_or_default(), &more.0, most);
            match operation.map_or(Err(unknown()), |o| run(&path, o)) {
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
            let operation = parse(&name, bytes.unwrap_or_default(), &more.0, most);
            host.start(async move {
                let done = rt::offload(move || operation.map_or(Err(unknown()), |o| run(&path, o)));
                match done.await {
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

fn unknown() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

fn parse(name: &str, bytes: Bytes, more: &Value, most: u64) -> Option<Operation> {
    let flag = |key: &str| more.get(key).and_then(Value::as_bool).unwrap_or(false);
    let number = |key: &str, default: u32| {
        let given = more.get(key).and_then(Value::as_u64);
        given.and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
    };
    Some(match name {
        "read" => Operation::Read(most),
        "write" => Operation::Write {
            bytes: bytes.0,
            append: flag("append"),
            exclusive: flag("exclusive"),
            mode: number("mode", 0o666),
        },
        "stat" => Operation::Stat { follow: true },
        "lstat" => Operation::Stat { follow: false },
        "scandir" => Operation::List,
        "unlink" => Operation::Unlink,
        "mkdir" => Operation::MakeDirectory {
            recursive: flag("recursive"),
            mode: number("mode", 0o777),
        },
        "rmdir" => Operation::RemoveDirectory {
            recursive: flag("recursive"),
        },
        "rename" => Operation::Rename(more.get("to")?.as_str()?.to_owned()),
        "realpath" => Operation::RealPath,
        "access" => Operation::Access(i32::try_from(number("mode", 0)).ok()?),
        "chmod" => Operation::Mode(number("mode", 0o666)),
        _ => return None,
    })
}

/// Carries it out. Blocks.
fn run(path: &str, operation: Operation) -> io::Result<Done> {
    let nothing = Done::Data(Value::Null);
    Ok(match operation {
        Operation::Read(most) => Done::Bytes(read(path, most)?),
        Operation::Write {
            bytes,
            append,
            exclusive,
            mode,
        } => {
            let mut options = OpenOptions::new();
            options.append(append).write(true).mode(mode);
            match exclusive {
                true => options.create_new(true),
                false => options.create(true).truncate(!append),
            };
            options.open(path)?.write_all(&bytes)?;
            nothing
        }
        Operation::Stat { follow: true } => Done::Data(stat(&fs::metadata(path)?)),
        Operation::Stat { follow: false } => Done::Data(stat(&fs::symlink_metadata(path)?)),
        Operation::List => {
            let mut entries = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                let name = entry.file_name().to_string_lossy().into_owned();
                entries.push((name, kind.is_dir(), kind.is_file(), kind.is_symlink()));
            }
            entries.sort();
            Done::Data(
                entries
                    .into_iter()
                    .map(|(n, d, f, l)| json!([n, d, f, l]))
                    .collect(),
            )
        }
        Operation::Unlink => {
            fs::remove_file(path)?;
            nothing
        }
        Operation::MakeDirectory { recursive, mode } => {
            let mut builder = fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(builder.recursive(recursive), mode);
            builder.create(path)?;
            nothing
        }
        Operation::RemoveDirectory { recursive: true } => {
            fs::remove_dir_all(path)?;
            nothing
        }
        Operation::RemoveDirectory { recursive: false } => {
            fs::remove_dir(path)?;
            nothing
        }
        Operation::Rename(to) => {
            fs::rename(path, to)?;
            nothing
        }
        Operation::RealPath => Done::Data(
            fs::canonicalize(path)?
                .to_string_lossy()
                .into_owned()
                .into(),
        ),
        Operation::Access(mode) => {
            let flags = nix::unistd::AccessFlags::from_bits_truncate(mode);
            nix::unistd::access(path, flags)?;
            nothing
        }
        Operation::Mode(mode) => {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            nothing
        }
    })
}

/// A file as a whole; a pipe or device would give octets without end.
fn read(path: &str, most: u64) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.is_dir() {
        return Err(io::Error::from_raw_os_error(
            nix::errno::Errno::EISDIR as i32,
        ));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(most + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

fn stat(m: &fs::Metadata) -> Value {
    let kind = m.file_type();
    let ms = |t: io::Result<std::time::SystemTime>| {
        let since = t.ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        since.map(|d| d.as_secs_f64() * 1000.0)
    };
    json!({
        "size": m.size(), "mode": m.mode(), "uid": m.uid(), "gid": m.gid(), "ino": m.ino(),
        "dev": m.dev(), "nlink": m.nlink(), "dir": kind.is_dir(), "file": kind.is_file(),
        "link": kind.is_symlink(), "mtimeMs": ms(m.modified()), "atimeMs": ms(m.accessed()),
        "ctimeMs": m.ctime() * 1000,
    })
}
