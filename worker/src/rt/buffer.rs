//! Buffers for reading, shared by all connections of the thread.
//!
//! A session takes one when it knows that there is something to read and gives it back (by
//! dropping it) before it waits again, so an idle session owns none. The pool keeps a few for
//! re-use; more may be out at a time, and the surplus is freed on return.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::executor::with_core;

/// Bytes in one buffer: as much as a read takes at once.
pub const SIZE: usize = 16 * 1024;

/// Buffers that an idle thread keeps: half a megabyte. A session holds its buffer only between
/// two waits, so more than one or two at a time are rare.
const KEPT: usize = 32;

/// [`SIZE`] bytes, given back to the thread's pool when dropped. Its content is what the last
/// user left there.
#[derive(Debug)]
pub struct Buffer(Box<[u8]>);

impl Buffer {
    /// Takes a buffer from the pool, or makes one.
    pub fn take() -> Buffer {
        let kept = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
        Buffer(kept.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice()))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A thread without a runtime (one that an offloaded job runs on) keeps none.
        if with_core(|_| ()).is_none() {
            return;
        }
        let buffer = std::mem::take(&mut self.0);
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(buffer);
            }
        });
    }
}

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::Runtime;

    fn kept() -> usize {
        POOL.with(|p| p.borrow().len())
    }

    #[test]
    fn returned_buffer_is_used_again_and_the_pool_is_bounded() {
        let _rt = Runtime::new().unwrap();
        let first = Buffer::take();
        let address = first.as_ptr();
        drop(first);
        let again = Buffer::take();
        assert_eq!(again.as_ptr(), address);
        assert_eq!(again.len(), SIZE);
        let many: Vec<Buffer> = (0..2 * KEPT).map(|_| Buffer::take()).collect();
        drop((again, many));
        assert_eq!(kept(), KEPT);
    }

    #[test]
    fn thread_without_runtime_keeps_no_buffer() {
        drop(Buffer::take());
        assert_eq!(kept(), 0);
    }
}
