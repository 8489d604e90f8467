//! Watching files and directories, by inotify.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use rquickjs::{Ctx, Exception, Object};
use serde_json::{Value, json};

use super::op;
use crate::js::convert::throw_io;
use crate::js::host::{Host, Outcome};
use crate::rt::Watched;

/// Watchers that scripts may have; the kernel's own limit is for the whole user.
const MOST: usize = 64;

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

type Watchers = Rc<RefCell<HashMap<u32, Rc<Watched<Descriptor>>>>>;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let watchers = Watchers::default();
    let (h, w) = (Rc::clone(host), Rc::clone(&watchers));
    op!(ctx, field, "start", move |ctx: Ctx<'_>, path: String| {
        if w.borrow().len() >= MOST {
            return Err(Exception::throw_range(&ctx, "too many watchers"));
        }
        let watched = start(&path).map_err(|e| throw_io(&ctx, &e, "watch", &path))?;
        let number = h.number();
        w.borrow_mut().insert(number, Rc::new(watched));
        Ok(number)
    });
    let (h, w) = (Rc::clone(host), Rc::clone(&watchers));
    op!(ctx, field, "next", move |number: u32| {
        let watched = w.borrow().get(&number).map(Rc::clone);
        h.start(async move {
            let Some(watched) = watched else {
                return Outcome::Data(Value::Null);
            };
            let read = watched.read_with(|d| d.0.read_events().map_err(io::Error::from));
            match read.await {
                Ok(events) => Outcome::Data(events.iter().map(event).collect()),
                Err(e) => e.into(),
            }
        })
    });
    let h = Rc::clone(host);
    op!(ctx, field, "stop", move |number: u32, waiting: u32| {
        watchers.borrow_mut().remove(&number);
        let stopped = h.tasks.borrow_mut().remove(&waiting);
        drop(stopped);
    });
    Ok(())
}

fn start(path: &str) -> io::Result<Watched<Descriptor>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let flags = AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_MOVE;
    match inotify.add_watch(path, flags) {
        Ok(_) => Watched::new(Descriptor(inotify)),
        Err(e) => Err(Errno::into(e)),
    }
}

/// Node's word for what happened, and to which entry of a directory.
fn event(event: &InotifyEvent) -> Value {
    let changed = AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MODIFY;
    let word = match event.mask.intersects(changed) {
        true => "change",
        false => "rename",
    };
    let name = event.name.as_ref().map(|n| n.to_string_lossy());
    json!([word, name])
}
