//! The engine's memory: taken from the C library, counted, and refused once a script's time is over.
//!
//! The engine asks every ten thousand steps whether it shall stop, and one step may be the reading of
//! fifty megabytes of JSON. Such steps take memory, so this is where they are stopped: they fail, and
//! what is left of the script comes to its next ten thousandth step at once.

use std::cell::Cell;
use std::ptr;
use std::rc::Rc;

use nix::libc;
use rquickjs::allocator::Allocator;

use super::burst::Burst;

/// Octets taken between two looks at the clock.
const STEP: usize = 256 << 10;

/// What a piece costs of that beside its octets: making one takes time as well.
const PIECE: usize = 64;

/// The memory of one engine.
pub(super) struct Heap {
    burst: Rc<Burst>,
    used: Rc<Cell<usize>>,
    left: usize,
}

impl Heap {
    /// Over the clock of its engine. `used` tells the octets that the engine holds.
    pub(super) fn new(burst: &Rc<Burst>, used: &Rc<Cell<usize>>) -> Heap {
        Heap {
            burst: Rc::clone(burst),
            used: Rc::clone(used),
            left: STEP,
        }
    }

    fn refuses(&mut self, size: usize) -> bool {
        match self.left.checked_sub(size.saturating_add(PIECE)) {
            Some(left) => {
                self.left = left;
                self.burst.refuses()
            }
            None => {
                self.left = STEP;
                self.burst.is_spent()
            }
        }
    }

    fn count(&self, before: usize, after: usize) {
        let used = self.used.get() + after;
        self.used.set(used.saturating_sub(before));
    }
}

#[allow(unsafe_code)]
// SAFETY: all of it is the C library's own, whose pieces are aligned for any type and know their size.
unsafe impl Allocator for Heap {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if self.refuses(size) {
            return ptr::null_mut();
        }
        // SAFETY: any size is allowed; null is an answer that the engine knows.
        let piece = unsafe { libc::malloc(size) }.cast();
        self.count(0, size_of_piece(piece));
        piece
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        if self.refuses(count.saturating_mul(size)) {
            return ptr::null_mut();
        }
        // SAFETY: as above; a product too large is null as well.
        let piece = unsafe { libc::calloc(count, size) }.cast();
        self.count(0, size_of_piece(piece));
        piece
    }

    unsafe fn dealloc(&mut self, piece: *mut u8) {
        self.count(size_of_piece(piece), 0);
        // SAFETY: the caller gives back what it has from here, or null.
        unsafe { libc::free(piece.cast()) }
    }

    unsafe fn realloc(&mut self, piece: *mut u8, size: usize) -> *mut u8 {
        let before = size_of_piece(piece);
        // What gets smaller is never refused: nobody expects that.
        if size > before && self.refuses(size) {
            return ptr::null_mut();
        }
        // SAFETY: the caller has the piece from here; it stays as it was if this gives null.
        let moved: *mut u8 = unsafe { libc::realloc(piece.cast(), size) }.cast();
        if !moved.is_null() {
            self.count(before, size_of_piece(moved));
        }
        moved
    }

    unsafe fn usable_size(piece: *mut u8) -> usize {
        size_of_piece(piece)
    }
}

/// Of a piece that this module gave; 0 of null.
fn size_of_piece(piece: *mut u8) -> usize {
    #[allow(unsafe_code)]
    // SAFETY: the C library's own piece, not yet freed, or null.
    unsafe {
        libc::malloc_usable_size(piece.cast())
    }
}
