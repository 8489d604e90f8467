//! Programs that scripts start, their pipes and their end.
//!
//! A program is waited for by a thread that collects nothing: the entry is reaped where it is kept,
//! so that a signal never reaches another process that got the number.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use rquickjs::{Ctx, Exception, Object};
use serde_json::{Value, json};

use super::op;
use crate::js::convert::{Bytes, Json, throw_io};
use crate::js::host::{Host, Outcome};
use crate::rt::Watched;

/// Programs at a time; each costs a thread and up to three descriptors.
const MOST: usize = 64;

/// Octets that one read of a pipe takes.
const CHUNK: usize = 64 << 10;

/// Longest that a call may block for a program; the watchdog has less patience than this twice.
const LONGEST: Duration = Duration::from_secs(25);

/// How often a blocking call looks whether the program has ended.
const GLANCE: Duration = Duration::from_millis(2);

struct Pipe(OwnedFd);

impl AsRawFd for Pipe {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Set by the thread that waits.
#[derive(Default)]
struct End(Mutex<(bool, Option<Waker>)>);

struct Program {
    child: RefCell<Child>,
    /// It was started to live on without us.
    detached: bool,
    pipes: RefCell<[Option<Rc<Watched<Pipe>>>; 3]>,
    end: Arc<End>,
}

type Programs = Rc<RefCell<HashMap<u32, Rc<Program>>>>;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let programs = Programs::default();
    let left = Rc::clone(&programs);
    host.at_end.borrow_mut().push(Box::new(move || end(&left)));
    let (h, p) = (Rc::clone(host), Rc::clone(&programs));
    op!(
        ctx,
        field,
        "spawn",
        move |ctx: Ctx<'js>, file: String, how: Json| {
            if p.borrow().len() >= MOST {
                return Err(Exception::throw_range(&ctx, "too many programs"));
            }
            let program = spawn(&file, &how.0)
                .map_err(|e| throw_io(&ctx, &e, &format!("spawn {file}"), &file))?;
            let pid = program.child.borrow().id();
            let number = h.number();
            p.borrow_mut().insert(number, Rc::new(program));
            let made = Object::new(ctx)?;
            made.set("number", number)?;
            made.set("pid", pid)?;
            Ok(made)
        }
    );
    let (h, p) = (Rc::clone(host), Rc::clone(&programs));
    op!(ctx, field, "read", move |number: u32, which: usize| {
        let pipe = pipe(&p, number, which);
        h.start(async move {
            let Some(pipe) = pipe else {
                return Outcome::Data(Value::Null);
            };
            let mut chunk = vec![0; CHUNK];
            let read = pipe
                .read_with(|pipe| nix::unistd::read(pipe.0.as_fd(), &mut chunk).map_err(Into::into))
                .await;
            match read {
                Ok(0) => Outcome::Data(Value::Null),
                Ok(count) => {
                    chunk.truncate(count);
                    Outcome::Bytes(chunk)
                }
                Err(e) => e.into(),
            }
        })
    });
    let (h, p) = (Rc::clone(host), Rc::clone(&programs));
    op!(ctx, field, "write", move |number: u32, octets: Bytes| {
        let pipe = pipe(&p, number, 0);
        h.start(async move {
            let Some(pipe) = pipe else {
                return io::Error::from_raw_os_error(nix::errno::Errno::EPIPE as i32).into();
            };
            let mut rest = octets.0.as_slice();
            while !rest.is_empty() {
                let written = pipe
                    .write_with(|pipe| nix::unistd::write(pipe.0.as_fd(), rest).map_err(Into::into))
                    .await;
                match written {
                    Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                    Err(e) => return e.into(),
                }
            }
            Outcome::Data(Value::Null)
        })
    });
    let p = Rc::clone(&programs);
    op!(ctx, field, "close", move |number: u32, which: usize| {
        if let Some(program) = p.borrow().get(&number)
            && let Some(pipe) = program.pipes.borrow_mut().get_mut(which)
        {
            *pipe = None;
        }
    });
    let (h, p) = (Rc::clone(host), Rc::clone(&programs));
    op!(ctx, field, "wait", move |number: u32| {
        let program = p.borrow().get(&number).map(Rc::clone);
        let programs = Rc::clone(&p);
        h.start(async move {
            let Some(program) = program else {
                return Outcome::Data(Value::Null);
            };
            program.end.come().await;
            let ended = program.child.borrow_mut().wait();
            programs.borrow_mut().retain(|known, _| *known != number);
            match ended {
                Ok(status) => Outcome::Data(told(status)),
                Err(e) => e.into(),
            }
        })
    });
    op!(ctx, field, "kill", move |number: u32, signal: i32| {
        let programs = programs.borrow();
        // One that is in the table is not reaped yet, so the number is still its own.
        programs
            .get(&number)
            .is_some_and(|program| send(program.child.borrow().id(), signal))
    });
    op!(ctx, field, "signal", |pid: u32, signal: i32| send(
        pid, signal
    ));
    op!(
        ctx,
        field,
        "sync",
        |ctx: Ctx<'js>, file: String, how: Json, input: Option<Bytes>| {
            let done = blocking(&file, &how.0, input.map(|b| b.0))
                .map_err(|e| throw_io(&ctx, &e, &format!("spawnSync {file}"), &file))?;
            let object = Object::new(ctx)?;
            object.set("pid", done.pid)?;
            object.set("status", Json(done.status))?;
            object.set("stdout", Bytes(done.out))?;
            object.set("stderr", Bytes(done.err))?;
            object.set("code", done.failure)?;
            Ok::<_, rquickjs::Error>(object)
        }
    );
    Ok(())
}

fn pipe(programs: &Programs, number: u32, which: usize) -> Option<Rc<Watched<Pipe>>> {
    let programs = programs.borrow();
    let pipes = programs.get(&number)?.pipes.borrow();
    pipes.get(which)?.as_ref().map(Rc::clone)
}

/// Nobody is left to hear of these.
fn end(programs: &Programs) {
    for program in programs.take().into_values() {
        if !program.detached {
            send(program.child.borrow().id(), Signal::SIGTERM as i32);
        }
    }
}

fn is_detached(how: &Value) -> bool {
    how.get("detached").and_then(Value::as_bool) == Some(true)
}

/// False if there is no such process, or no such signal.
fn send(pid: u32, signal: i32) -> bool {
    let signal = match signal {
        0 => None,
        number => match Signal::try_from(number) {
            Ok(signal) => Some(signal),
            Err(_) => return false,
        },
    };
    i32::try_from(pid).is_ok_and(|pid| pid > 1 && kill(Pid::from_raw(pid), signal).is_ok())
}

fn command(file: &str, how: &Value) -> Command {
    let text = |key: &str| how.get(key).and_then(Value::as_str);
    let number = |key: &str| {
        let given = how.get(key).and_then(Value::as_u64);
        given.and_then(|n| u32::try_from(n).ok())
    };
    let mut command = Command::new(file);
    let args = how.get("args").and_then(Value::as_array);
    command.args(args.into_iter().flatten().filter_map(Value::as_str));
    if let Some(name) = text("argv0") {
        command.arg0(name);
    }
    if let Some(dir) = text("cwd") {
        command.current_dir(dir);
    }
    if let Some(env) = how.get("env").and_then(Value::as_object) {
        command.env_clear();
        command.envs(env.iter().filter_map(|(k, v)| Some((k, v.as_str()?))));
    }
    if let Some(uid) = number("uid") {
        command.uid(uid);
    }
    if let Some(gid) = number("gid") {
        command.gid(gid);
    }
    if is_detached(how) {
        leads_session(&mut command);
    }
    let stdio = |at: usize| match how.get("stdio").and_then(|s| s.get(at)?.as_str()) {
        Some("ignore") => Stdio::null(),
        Some("inherit") => Stdio::inherit(),
        _ => Stdio::piped(),
    };
    command.stdin(stdio(0)).stdout(stdio(1)).stderr(stdio(2));
    command
}

/// Makes a program the leader of a session of its own, as Node does with one that is detached.
#[allow(unsafe_code)]
fn leads_session(command: &mut Command) {
    let begin = || nix::unistd::setsid().map(drop).map_err(io::Error::from);
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(begin);
    }
}

fn spawn(file: &str, how: &Value) -> io::Result<Program> {
    let mut child = command(file, how).spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let end = Arc::new(End::default());
    let told = Arc::clone(&end);
    std::thread::Builder::new()
        .name("child".to_owned())
        .spawn(move || {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(Pid::from_raw(pid)), flags) == Err(nix::errno::Errno::EINTR) {}
            told.set();
        })?;
    let pipes = [
        child.stdin.take().map(OwnedFd::from),
        child.stdout.take().map(OwnedFd::from),
        child.stderr.take().map(OwnedFd::from),
    ];
    let mut watched = [None, None, None];
    for (to, from) in watched.iter_mut().zip(pipes) {
        if let Some(fd) = from {
            fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            *to = Some(Rc::new(Watched::new(Pipe(fd))?));
        }
    }
    Ok(Program {
        child: RefCell::new(child),
        detached: is_detached(how),
        pipes: RefCell::new(watched),
        end,
    })
}

impl End {
    fn set(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = true;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    async fn come(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.0 {
                return Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Exit code and the name of the signal, one of them.
fn told(status: ExitStatus) -> Value {
    let signal = status.signal().map(|n| match Signal::try_from(n) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => n.to_string(),
    });
    json!([status.code(), signal])
}

struct Done {
    pid: u32,
    status: Value,
    out: Vec<u8>,
    err: Vec<u8>,
    /// Why it was ended by us: Node's code.
    failure: Option<&'static str>,
}

/// Runs a program to its end. Blocks, at most as long as the longest call may.
fn blocking(file: &str, how: &Value, input: Option<Vec<u8>>) -> io::Result<Done> {
    let number = |key: &str| how.get(key).and_then(Value::as_u64).filter(|n| *n > 0);
    let limit = number("timeout").map_or(LONGEST, Duration::from_millis);
    let most = number("maxBuffer").unwrap_or(1 << 20);
    let until = Instant::now() + limit.min(LONGEST);
    let mut child = command(file, how).spawn()?;
    let pid = child.id();
    if let Some(mut stdin) = child.stdin.take() {
        std::thread::spawn(move || {
            // A program that does not read its input ends the writing; that is its own affair.
            drop(stdin.write_all(&input.unwrap_or_default()));
        });
    }
    let out = child.stdout.take().map(|pipe| gather(pipe, most));
    let err = child.stderr.take().map(|pipe| gather(pipe, most));
    let mut failure = None;
    let mut texts = [Vec::new(), Vec::new()];
    for (text, from) in texts.iter_mut().zip([out, err]) {
        let Some(from) = from else { continue };
        match from.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(all) => *text = all,
            Err(_) => failure = Some("ETIMEDOUT"),
        }
        if text.len() as u64 > most {
            text.truncate(usize::try_from(most).unwrap_or(usize::MAX));
            failure = Some("ENOBUFS");
        }
    }
    let status = loop {
        if failure.is_some() {
            let signal = number("killSignal").and_then(|n| i32::try_from(n).ok());
            send(pid, signal.unwrap_or(Signal::SIGTERM as i32));
            let patience = Instant::now() + Duration::from_secs(1);
            while child.try_wait()?.is_none() && Instant::now() < patience {
                std::thread::sleep(GLANCE);
            }
            drop(child.kill());
            break child.wait()?;
        }
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() >= until => failure = Some("ETIMEDOUT"),
            None => std::thread::sleep(GLANCE),
        }
    };
    let [out, err] = texts;
    Ok(Done {
        pid,
        status: told(status),
        out,
        err,
        failure,
    })
}

/// All that a pipe gives, up to one octet more than is wanted.
fn gather(pipe: impl Read + Send + 'static, most: u64) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        drop(pipe.take(most + 1).read_to_end(&mut all));
        // Nobody waits any more once the time is over.
        drop(sender.send(all));
    });
    receiver
}
