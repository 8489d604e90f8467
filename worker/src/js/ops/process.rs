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
    op!(ctx, field, "nanoseconds", move || {
        started.elapsed().as_nanos() as f64
    });
    op!(ctx, field, "cpu", || {
        let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
        let micros = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 * 1e6 + t.tv_usec() as f64;
        used.map_or_else(
            |_| vec![0.0, 0.0],
            |u| vec![micros(u.user_time()), micros(u.system_time())],
        )
    });
    op!(ctx, field, "interfaces", || Json(interfaces()));
    op!(ctx, field, "user", || {
        let user = nix::unistd::User::from_uid(nix::unistd::getuid());
        Json(user.ok().flatten().map_or_else(
            Default::default,
            |u| serde_json::json!({ "username": u.name, "homedir": u.dir, "shell": u.shell }),
        ))
    });
    let h = Rc::clone(host);
    op!(ctx, field, "tick", move || h.ticks.set(true));
    let h = Rc::clone(host);
    // From 1, as Node numbers them.
    op!(ctx, field, "worker", move || h
        .services()
        .map_or(1, |services| services.slot() + 1));
    op!(ctx, field, "version", || env!("CARGO_PKG_VERSION"));
    Ok(())
}

/// Addresses of this machine: name, address, netmask, whether it is the loopback.
fn interfaces() -> serde_json::Value {
    let Ok(all) = nix::ifaddrs::getifaddrs() else {
        return serde_json::Value::Null;
    };
    let ip = |address: Option<nix::sys::socket::SockaddrStorage>| {
        let address = address?;
        address
            .as_sockaddr_in()
            .map(|v4| std::net::IpAddr::V4(v4.ip()))
            .or_else(|| Some(std::net::IpAddr::V6(address.as_sockaddr_in6()?.ip())))
    };
    all.filter_map(|one| {
        let address = ip(one.address)?;
        let loopback = one
            .flags
            .contains(nix::net::if_::InterfaceFlags::IFF_LOOPBACK);
        let netmask = ip(one.netmask);
        Some(serde_json::json!([
            one.interface_name,
            address,
            netmask,
            loopback
        ]))
    })
    .collect()
}
