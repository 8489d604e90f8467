//! What the last attempt said, in an extended attribute of the item's file: a deferral stays one
//! rename, and an operator sees why mail waits.
//!
//! A remark is for people. It is not made durable, it goes with the file, and where the file system
//! has no such attributes there is none. An item whose header is rewritten has the results in there.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::store::Spool;
use super::todo::{RecipientState, Todo};

/// Longest remark in bytes; what is beyond it does not fit beside the file's own attributes.
const LONGEST: usize = 200;

impl Spool {
    /// Notes with an item what its last attempt said. Nothing depends on it, so nothing is told when
    /// it cannot be noted.
    pub fn remark(&self, file: &str, text: &str) {
        let end = text.floor_char_boundary(LONGEST);
        let text = text.get(..end).unwrap_or_default();
        system::set(&self.path().join(file), text.as_bytes());
    }
}

/// Puts the remark of a file into its envelope, as what was last said about each recipient.
pub(super) fn fill_in(dir: &Path, file: &str, todo: &mut Todo) {
    let Some(text) = system::get(&dir.join(file)) else {
        return;
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    for recipient in &mut todo.rcpt_to {
        // it is newer than what is in the file
        recipient.state = Some(Box::new(RecipientState {
            reason: Some(text.clone()),
            ..RecipientState::default()
        }));
    }
}

fn c_path(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // two calls of the system that nix does not have
mod system {
    use super::{LONGEST, Path, c_path};
    use nix::libc::{lgetxattr, lsetxattr};

    const NAME: &std::ffi::CStr = c"user.haraka.error";

    pub(super) fn set(path: &Path, value: &[u8]) {
        let Some(path) = c_path(path) else { return };
        // SAFETY: two strings that end with NUL and a range of memory, all alive during the call.
        let _ = unsafe {
            lsetxattr(
                path.as_ptr(),
                NAME.as_ptr(),
                value.as_ptr().cast(),
                value.len(),
                0,
            )
        };
    }

    pub(super) fn get(path: &Path) -> Option<Vec<u8>> {
        let path = c_path(path)?;
        let mut value = vec![0u8; LONGEST];
        // SAFETY: two strings that end with NUL, and room of the length that is told.
        let len = unsafe {
            lgetxattr(
                path.as_ptr(),
                NAME.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        value.truncate(usize::try_from(len).ok()?);
        Some(value)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::Path;

    pub(super) fn set(_: &Path, _: &[u8]) {}

    pub(super) fn get(_: &Path) -> Option<Vec<u8>> {
        None
    }
}
