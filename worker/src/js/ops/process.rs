//! What a script may know about its process and machine.

use std::rc::Rc;
use std::time::Instant;

use nix::sys::utsname::uname;
use rquickjs::{Ctx, Object};

use super::op;
use crate::js::convert::Json;
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let started = Instant::now();
    op!(ctx, field, "uptime", move || started
        .elapsed()
        .as_secs_f64());
    op!(ctx, field, "pid", std::process::id);
    op!(ctx, field, "ppid", || nix::unistd::getppid().as_raw());
    op!(ctx, field, "uid", || nix::unistd::getuid().as_raw());
    op!(ctx, field, "gid", || nix::unistd::getgid().as_raw());
    op!(ctx, field, "cwd", || std::env::current_dir()
        .map(|d| d.to_string_lossy().into_owned())
        .unwrap_or_else(|_| "/".to_owned()));
    op!(ctx, field, "env", || {
        // What is not UTF-8 cannot be text in a script.
        let all = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?.into())));
        Json(serde_json::Value::Object(all.collect()))
    });
    op!(ctx, field, "hostname", || nix::unistd::gethostname()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default());
    op!(ctx, field, "system", || {
        let name = uname().ok();
        let text = |f: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
            name.as_ref()
                .map(|n| f(n).to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        Json(serde_json::json!({
            "type": text(|n| n.sysname()), "release": text(|n| n.release()),
            "machine": text(|n| n.machine()), "tmpdir": std::env::temp_dir(),
            "cpus": std::thread::available_parallelism().map_or(1, usize::from),
        }))
    });
    let dir = host.install_dir.clone();
    op!(ctx, field, "installDir", move || dir
        .to_string_lossy()
        .into_owned());
    op!(ctx, field, "version", || env!("CARGO_PKG_VERSION"));
    Ok(())
}
