//! Memory that a master shares with the workers it forks: zero at first, and atomics only.
//!
//! It is made before the fork and outlives each process that dies, so what a worker wrote there can be
//! read after its death. There is no lock in it that a killed worker could take along. The one place
//! of the crate that maps memory; must never hold pointers or anything else that has a drop.

#![allow(unsafe_code)] // one mapping, made and released here

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// The memory could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{0} bytes of shared memory: {1}")]
pub struct MappingError(usize, #[source] nix::Error);

/// What may lie in shared memory.
///
/// # Safety
/// Every bit pattern is a valid value, all zeros among them, as the memory begins with zeros and
/// another process may write anything; whatever is written, is written through atomics; the alignment
/// is at most that of a page.
pub unsafe trait Shareable: Sync {}

// SAFETY: atomics of plain numbers have no invalid bit pattern.
unsafe impl Shareable for AtomicU8 {}
// SAFETY: as above.
unsafe impl Shareable for AtomicU16 {}
// SAFETY: as above.
unsafe impl Shareable for AtomicU32 {}
// SAFETY: as above.
unsafe impl Shareable for AtomicU64 {}
// SAFETY: an array has no bytes but those of its elements.
unsafe impl<T: Shareable, const N: usize> Shareable for [T; N] {}

/// A slice in shared memory. Pages that nobody has written to cost nothing.
#[derive(Debug)]
pub struct Mapping<T> {
    at: NonNull<T>,
    length: usize,
    size: NonZeroUsize,
}

impl<T: Shareable> Mapping<T> {
    /// `length` zeroed elements, at least 1, shared with every process forked from now on.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn zeroed(length: usize) -> Result<Mapping<T>, MappingError> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4096) };
        let bytes = length.max(1).saturating_mul(size_of::<T>());
        let size = NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN);
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh anonymous mapping at an address of the system's choice aliases nothing.
        let at = unsafe { mmap_anonymous(None, size, access, MapFlags::MAP_SHARED) };
        Ok(Mapping {
            at: at.map_err(|e| MappingError(bytes, e))?.cast(),
            length: length.max(1),
            size,
        })
    }
}

impl<T: Shareable> Deref for Mapping<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping is `length` elements long, aligned to a page, lives until `drop`, and any
        // bytes in it are valid elements that are only changed atomically (`Shareable`).
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.length) }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: made by `mmap_anonymous` with this size; no reference into it outlives `self`.
        let released = unsafe { munmap(self.at.cast(), self.size.get()) };
        // It can only fail for an address that is no mapping.
        debug_assert!(released.is_ok());
    }
}

// SAFETY: the elements are reached by shared reference and are `Sync`; the mapping belongs to the process.
unsafe impl<T: Shareable> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T: Shareable> Sync for Mapping<T> {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use nix::sys::wait::waitpid;
    use nix::unistd::{ForkResult, fork};

    use super::*;

    // covers PRC-22
    #[test]
    fn what_a_child_writes_is_there_after_its_death() {
        let mapping = Mapping::<AtomicU64>::zeroed(1000).unwrap();
        assert!(mapping.iter().all(|n| n.load(Ordering::Relaxed) == 0));
        // SAFETY: the child touches the mapping only and leaves without unwinding.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                mapping[999].store(7, Ordering::Relaxed);
                // SAFETY: the end of the child, without the destructors of its parent's threads.
                unsafe { nix::libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                waitpid(child, None).unwrap();
            }
        }
        assert_eq!(mapping[999].load(Ordering::Relaxed), 7);
        assert_eq!(mapping.len(), 1000);
    }
}
