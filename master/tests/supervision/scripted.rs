//! A worker that does what a file says: the part of a worker that matters to its master, without
//! mail. It writes every frame that it gets to `frames` in the install directory, and the names of
//! the keys that it starts with to `ticket_keys`.
//!
//! The file `script` holds words: `fail` (do not start), `mute` (never become ready), `quit` (end
//! with success after becoming ready), `stubborn` (do not end when told), `poison` (die with the
//! first queue file in hand), `weary` (ask for a successor when told to flush). Draining ends when the file `release` is there.

use std::fs::OpenOptions;
use std::io::{IoSliceMut, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use haraka_master::WorkerSide;
use haraka_shared::config::ListenAddr;
use haraka_shared::ipc::{Decoder, ToMaster, ToWorker, encode};
use haraka_worker::{Checked, Inspection, WorkerSetup};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

pub const SCRIPTED: WorkerSide = WorkerSide {
    equip: |_| {},
    run,
    check: |config, _, _| match config.plugins.iter().any(|p| p == "bad_plugin") {
        true => Err("plugin bad_plugin: not found".to_owned()),
        false => Ok(Checked {
            init_master: config.plugins.iter().any(|p| p.starts_with("init_")),
        }),
    },
    init_master: |config, dir| match config.plugins.first().map(String::as_str) {
        Some("init_refuses") => Err("init_master returned error: DENY: not today".to_owned()),
        Some("init_dies") => {
            let done = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
            Err(format!("{done:?}"))
        }
        _ => {
            let mut note = std::fs::File::options()
                .append(true)
                .create(true)
                .open(dir.join("init_master"))
                .map_err(|e| e.to_string())?;
            writeln!(note, "{}", std::process::id()).map_err(|e| e.to_string())
        }
    },
    inspect: |_| Inspection::default(),
    hook_order: |_, _| Ok("Hook: rcpt\n".to_owned()),
};

struct Worker {
    setup: WorkerSetup,
    script: String,
}

fn run(mut setup: WorkerSetup) -> Result<(), String> {
    let script = std::fs::read_to_string(setup.install_dir.join("script")).unwrap_or_default();
    if script.contains("fail") {
        return Err("scripted failure".to_owned());
    }
    setup.channel.set_nonblocking(false).unwrap();
    for (addr, fd) in std::mem::take(&mut setup.listeners) {
        serve(addr, fd, setup.slot);
    }
    let keys = setup.ticket_keys.iter().map(|key| &key.id);
    let keys = format!("{}: {:?}\n", setup.slot, keys.collect::<Vec<_>>());
    let mut file = OpenOptions::new();
    let file = file.append(true).create(true);
    let file = file.open(setup.install_dir.join("ticket_keys"));
    file.unwrap().write_all(keys.as_bytes()).unwrap();
    let worker = Worker { setup, script };
    worker.say(&ToMaster::hello());
    let pid = std::process::id();
    let second_is_mute = worker.script.contains("half") && worker.setup.slot == 1;
    if worker.script.contains("mute") || second_is_mute {
        // Tests change the script once it was read.
        std::fs::write(worker.setup.install_dir.join(format!("mute.{pid}")), "").unwrap();
    } else {
        worker.say(&ToMaster::Ready { pid });
    }
    if worker.script.contains("quit") {
        return Ok(());
    }
    worker.obey();
    Ok(())
}

/// Each client gets the process number and the slot.
fn serve(addr: ListenAddr, fd: OwnedFd, slot: u32) {
    let greeting = format!("220 {} {slot}\r\n", std::process::id());
    std::thread::spawn(move || match addr {
        ListenAddr::Tcp(_) => {
            let listener = TcpListener::from(fd);
            listener.set_nonblocking(false).unwrap();
            for client in listener.incoming() {
                let _ = client.unwrap().write_all(greeting.as_bytes());
            }
        }
        ListenAddr::Unix(..) => {
            let listener = UnixListener::from(fd);
            listener.set_nonblocking(false).unwrap();
            for client in listener.incoming() {
                let _ = client.unwrap().write_all(greeting.as_bytes());
            }
        }
    });
}

impl Worker {
    fn say(&self, frame: &ToMaster) {
        (&self.setup.channel)
            .write_all(&encode(frame).unwrap())
            .unwrap();
    }

    fn note(&self, frame: &ToWorker) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.setup.install_dir.join("frames"))
            .unwrap();
        let line = format!(
            "{} {} {} {frame:?}\n",
            std::process::id(),
            self.setup.slot,
            self.setup.incarnation
        );
        file.write_all(line.as_bytes()).unwrap();
    }

    fn obey(&self) {
        let mut decoder = Decoder::<ToWorker>::new();
        let mut log = None;
        loop {
            let mut buffer = [0u8; 4096];
            let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let message = recvmsg::<()>(
                self.setup.channel.as_raw_fd(),
                &mut parts,
                Some(&mut space),
                MsgFlags::MSG_CMSG_CLOEXEC,
            )
            .unwrap();
            for control in message.cmsgs().unwrap() {
                if let ControlMessageOwned::ScmRights(fds) = control {
                    #[allow(unsafe_code)]
                    // SAFETY: the system made this descriptor for us just now.
                    let fd = unsafe { OwnedFd::from_raw_fd(fds[0]) };
                    log = Some(fd);
                }
            }
            let length = message.bytes;
            if length == 0 {
                return;
            }
            decoder.push(&buffer[..length]);
            while let Some(frame) = decoder.next().unwrap() {
                self.note(&frame);
                if self.carry_out(&frame, &mut log) {
                    return;
                }
            }
        }
    }

    /// True if the worker is to end.
    fn carry_out(&self, frame: &ToWorker, log: &mut Option<OwnedFd>) -> bool {
        match frame {
            ToWorker::OwnQueue { .. } if self.script.contains("poison") => self.die_of_a_file(),
            ToWorker::QueueStats { request } => self.say(&ToMaster::Stats {
                request: *request,
                in_progress: 1,
                pending_delivery: 10,
                deferred: 100,
            }),
            ToWorker::Flush { .. } if self.script.contains("weary") => {
                self.say(&ToMaster::Successor);
                // It may ask again, of a master that has not come to it yet.
                self.say(&ToMaster::Successor);
            }
            ToWorker::ReopenLog => {
                let log = log.take().expect("a descriptor with ReopenLog");
                nix::unistd::dup2_stdout(&log).unwrap();
                println!("worker {} writes the new log", std::process::id());
            }
            ToWorker::Drain { .. } if !self.script.contains("stubborn") => {
                return self.wait_for_release();
            }
            ToWorker::Stop => return !self.script.contains("stubborn"),
            _ => {}
        }
        false
    }

    /// True when the file is there; false if a frame comes first, which is then read.
    fn wait_for_release(&self) -> bool {
        let released = self.setup.install_dir.join("release");
        loop {
            if Path::new(&released).exists() {
                self.say(&ToMaster::Drained);
                return true;
            }
            let mut waiting = [std::os::fd::AsFd::as_fd(&self.setup.channel)]
                .map(|fd| nix::poll::PollFd::new(fd, nix::poll::PollFlags::POLLIN));
            if nix::poll::poll(&mut waiting, 20u16).unwrap() > 0 {
                return false;
            }
        }
    }

    fn die_of_a_file(&self) {
        let queue = self.setup.config.queue_dir.read_dir().unwrap();
        let names = queue.map(|e| e.unwrap().file_name().into_string().unwrap());
        let Some(name) = names.into_iter().find(|n| !n.starts_with("error.")) else {
            return;
        };
        let _noted = self.setup.flight.note(&name);
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        std::thread::sleep(Duration::from_secs(60));
    }
}
