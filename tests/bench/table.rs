//! The default run: this server (and others, where they are at hand) under the same load, as a table.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::harness::server::peer_command;
use crate::harness::{Install, Server, processes};
use crate::sink::Sink;
use crate::source::{self, Reuse, Work};

/// Reads the CPU seconds that a server has used.
type Cpu<'a> = Option<&'a dyn Fn() -> f64>;

/// Runs all rows, in the order of the table, one after the other.
///
/// # Errors
/// Own sink or source could not work; a server that does not start or a program that is not installed is a
/// line of the table.
pub fn print(work: &Work) -> anyhow::Result<()> {
    println!(
        "{} messages of {} octets, {} sessions; CPU is user and system time of the server's processes",
        work.messages, work.size, work.sessions
    );
    println!(
        "{:<42}{:>9}{:>10}{:>10}{:>12}  failed",
        "server, client", "msg/s", "p50 ms", "p99 ms", "CPU us/msg"
    );
    sinks(work)?;
    let mut targets = vec![("haraka", vec![env!("CARGO_BIN_EXE_haraka").to_owned()])];
    if let Some(peer) = peer_command() {
        targets.push(("peer", peer.to_vec()));
    }
    for (name, command) in &targets {
        discard(name, command, work)?;
        relay(name, command, work)?;
    }
    Ok(())
}

/// The floor: programs that store nothing.
fn sinks(work: &Work) -> anyhow::Result<()> {
    let sink = Sink::start("127.0.0.1:0", Duration::ZERO, 1)?;
    for (label, work) in variants(work) {
        row(&format!("own sink, {label}"), sink.addr, &work, None)?;
    }
    postfix_source("own sink", sink.addr, work, None);
    drop(sink);
    let Some((mut child, addr)) = postfix_sink() else {
        println!("{:<42} not installed", "smtp-sink");
        return Ok(());
    };
    let pid = child.id() as i32;
    let cpu = || processes::cpu_seconds(pid);
    for (label, work) in variants(work) {
        row(&format!("smtp-sink, {label}"), addr, &work, Some(&cpu))?;
    }
    postfix_source("smtp-sink", addr, work, Some(&cpu));
    child.kill().context("smtp-sink")?;
    child.wait().context("smtp-sink")?;
    Ok(())
}

fn discard(name: &str, command: &[String], work: &Work) -> anyhow::Result<()> {
    let install = quiet_install()?
        .config("host_list", "example.com\n")
        .plugins(&["rcpt_to.in_host_list", "queue/discard"]);
    let Ok(server) = Server::try_start(install, command) else {
        println!("{name:<42} did not start");
        return Ok(());
    };
    let warm_up = Work {
        messages: work.messages / 10 + 1,
        ..work.clone()
    };
    source::send(server.addr(), &warm_up)?;
    let cpu = || family_cpu(&server);
    let label = format!("{name} discard");
    for (variant, work) in variants(work) {
        row(
            &format!("{label}, {variant}"),
            server.addr(),
            &work,
            Some(&cpu),
        )?;
    }
    postfix_source(&label, server.addr(), work, Some(&cpu));
    Ok(())
}

/// Two workers on a fixed port, as a log that is told only warnings has no ready line.
fn quiet_install() -> anyhow::Result<Install> {
    let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    Ok(Install::new()
        .config("smtp.ini", &format!("listen={addr}\nnodes=2\n"))
        .config("loglevel", "warn\n")
        .config("log.ini", "[main]\nlevel=warn\n"))
}

/// Accept, store, deliver to the sink; the clock stops when the sink has everything.
fn relay(name: &str, command: &[String], work: &Work) -> anyhow::Result<()> {
    let sink = Sink::start("127.0.0.1:0", Duration::ZERO, 1)?;
    let route = format!("{{\"action\":\"accept\",\"nexthop\":\"{}\"}}", sink.addr);
    let install = quiet_install()?
        .config(
            "relay.ini",
            "[relay]\nacl=true\nforce_routing=true\nall=true\ndest_domains=true\n",
        )
        .config("relay_acl_allow", "127.0.0.1/32\n")
        .config(
            "relay_dest_domains.ini",
            &format!("[domains]\nany={route}\nexample.com={route}\n"),
        )
        .config(
            "outbound.ini",
            "local_mx_ok=true\nconcurrency_max=100\nenable_tls=false\n",
        )
        .plugins(&["relay"]);
    if name == "peer" && !link_peer_modules(&install) {
        println!(
            "{:<42} needs PERF_NODE_MODULES with haraka-plugin-relay",
            "peer relay"
        );
        return Ok(());
    }
    let Ok(server) = Server::try_start(install, command) else {
        println!("{:<42} did not start", format!("{name} relay"));
        return Ok(());
    };
    let work = Work {
        messages: work.messages.min(1000),
        ..work.clone()
    };
    let (cpu_before, start) = (family_cpu(&server), Instant::now());
    let outcome = source::send(server.addr(), &work)?;
    let end = Instant::now() + Duration::from_secs(60);
    while sink.messages() < outcome.delivered && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(2));
    }
    let seconds = start.elapsed().as_secs_f64();
    let arrived = sink.messages();
    println!(
        "{:<42}{:>9.0}{:>10.2}{:>10.2}{:>12.0}  {:?}{}",
        format!("{name} relay, own source"),
        arrived as f64 / seconds,
        outcome.latency(0.5),
        outcome.latency(0.99),
        (family_cpu(&server) - cpu_before) * 1e6 / arrived.max(1) as f64,
        outcome.failures,
        if arrived < outcome.delivered {
            " NOT ALL ARRIVED"
        } else {
            ""
        }
    );
    Ok(())
}

fn link_peer_modules(install: &Install) -> bool {
    let Ok(modules) = std::env::var("PERF_NODE_MODULES") else {
        return false;
    };
    std::os::unix::fs::symlink(modules, install.path().join("node_modules")).is_ok()
}

/// The ways in which clients differ most.
fn variants(work: &Work) -> [(&'static str, Work); 3] {
    let kept = Work {
        reuse: Reuse::Always,
        ..work.clone()
    };
    let pipelined = Work {
        pipelining: true,
        ..kept.clone()
    };
    let single = Work {
        reuse: Reuse::Times(1),
        pipelining: false,
        ..work.clone()
    };
    [
        ("1 per connection", single),
        ("kept", kept),
        ("kept, pipelined", pipelined),
    ]
}

fn row(label: &str, addr: SocketAddr, work: &Work, cpu: Cpu<'_>) -> anyhow::Result<()> {
    let before = cpu.map(|read| read());
    let outcome = source::send(addr, work)?;
    let per_message = per_message(cpu, before, outcome.delivered);
    println!(
        "{label:<42}{:>9.0}{:>10.2}{:>10.2}{per_message:>12}  {:?}",
        outcome.rate(),
        outcome.latency(0.5),
        outcome.latency(0.99),
        outcome.failures
    );
    Ok(())
}

/// CPU seconds of all processes of a server.
pub fn family_cpu(server: &Server) -> f64 {
    server
        .all_pids()
        .into_iter()
        .map(processes::cpu_seconds)
        .sum()
}

/// CPU microseconds per message as text; `-` where nobody can tell.
fn per_message(cpu: Cpu<'_>, before: Option<f64>, messages: usize) -> String {
    match (cpu, before) {
        (Some(now), Some(before)) => {
            format!("{:.0}", (now() - before) * 1e6 / messages.max(1) as f64)
        }
        _ => "-".to_owned(),
    }
}

fn postfix_source(label: &str, addr: SocketAddr, work: &Work, cpu: Cpu<'_>) {
    for (kind, keep) in [("1/conn", None), ("kept", Some("-d"))] {
        let label = format!("{label}, smtp-source {kind}");
        let (before, start) = (cpu.map(|read| read()), Instant::now());
        let status = Command::new("smtp-source")
            .args([
                "-s",
                &work.sessions.to_string(),
                "-m",
                &work.messages.to_string(),
            ])
            .args([
                "-l",
                &work.size.to_string(),
                "-f",
                &work.from,
                "-t",
                &work.to,
            ])
            .args(keep)
            .arg(addr.to_string())
            .stdout(Stdio::null())
            .status();
        let seconds = start.elapsed().as_secs_f64();
        match status {
            Err(_) => return println!("{:<42} not installed", "smtp-source"),
            Ok(status) if !status.success() => println!("{label:<42} {status}"),
            Ok(_) => println!(
                "{label:<42}{:>9.0}{:>10}{:>10}{:>12}",
                work.messages as f64 / seconds,
                "-",
                "-",
                per_message(cpu, before, work.messages)
            ),
        }
    }
}

/// Starts Postfix's sink on a free port; `None` when it is not installed.
fn postfix_sink() -> Option<(Child, SocketAddr)> {
    let addr = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?;
    let mut command = Command::new("smtp-sink");
    if nix::unistd::geteuid().is_root() {
        command.args(["-u", "nobody"]);
    }
    let child = command
        .args([&addr.to_string(), "500"])
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let end = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(addr).is_err() {
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some((child, addr))
}
