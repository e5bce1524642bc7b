//! The allocator of `wehelpd`.
//!
//! Promises: small blocks come from mimalloc, which is faster than glibc's where a block is made by one thread and freed
//! by another, as every callback's are; all others come from the system, which gives them back, and whose zeroed memory
//! takes no room until it is touched. sled asks for 20 MiB of that at its start and uses little of it.
//! Leaves to others: `wehelp`, which has one thread and ends soon, keeps the system's.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout, System};

/// A block of more bytes is the system's. mimalloc keeps pages of 512 KiB for each size above and each thread that ever
/// had one, and what another thread frees there comes back late or never: of the map's and the doors' buffers a daemon
/// under load kept a hundred MiB.
const SMALL_BYTES: usize = 8 << 10;

/// From this size on, bytes, a block goes back to the system as soon as it is freed.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES: libc::c_int = 1 << 20;
/// Arenas of the system's allocator: each keeps what was freed in it.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: libc::c_int = 4;

/// Makes the system's allocator give large blocks back. Left alone it learns from the first body of 15 MB to keep such
/// blocks, for each thread that ever had one. Call it before the first thread is started.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the allocator's settings have no safe wrapper")]
    // SAFETY: these settings only say when memory is given back.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, MAPPED_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
    }
}

/// Gives back what was freed and lies between blocks in use: left alone, only what lies at an arena's end goes back. Takes
/// some milliseconds; worth it after work that took much memory.
pub(crate) fn give_back_freed() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "it has no safe wrapper")]
    // SAFETY: it only gives back what nobody uses.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// By size, one of the two.
#[derive(Debug)]
pub struct Allocator;

fn is_small(size: usize) -> bool {
    size <= SMALL_BYTES
}

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe to write; this one only chooses, by the size that the layout keeps"
)]
// SAFETY: a block's layout says which of two sound allocators made it.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe { if is_small(layout.size()) { MiMalloc.alloc(layout) } else { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe { if is_small(layout.size()) { MiMalloc.alloc_zeroed(layout) } else { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on; the same size means the same allocator.
        unsafe { if is_small(layout.size()) { MiMalloc.dealloc(block, layout) } else { System.dealloc(block, layout) } }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on; where both sizes mean the same allocator, it made the block.
        unsafe {
            match (is_small(layout.size()), is_small(size)) {
                (true, true) => return MiMalloc.realloc(block, layout, size),
                (false, false) => return System.realloc(block, layout, size),
                _ => {}
            }
        }
        // SAFETY: the caller promises that `size` is not zero, and with this alignment no overflow.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks have that many bytes and are different ones; the old one is not used again.
            unsafe {
                std::ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "the blocks are made as a Vec makes them")]
    fn a_block_keeps_its_bytes_over_the_border_and_back() {
        let layout = |size| Layout::from_size_align(size, 64).unwrap();
        let (small, large) = (SMALL_BYTES, SMALL_BYTES + 4096);
        // SAFETY: each block is used within its size, and given back with its layout.
        unsafe {
            let mut block = Allocator.alloc(layout(small));
            for at in 0..small {
                *block.add(at) = at.to_le_bytes()[0];
            }
            for (from, to) in [(small, large), (large, large * 2), (large * 2, small), (small, 100), (100, large)] {
                block = Allocator.realloc(block, layout(from), to);
                assert!(!block.is_null() && block.addr().is_multiple_of(64));
                assert!((0..100).all(|at| *block.add(at) == at.to_le_bytes()[0]));
            }
            Allocator.dealloc(block, layout(large));
            for size in [100, large] {
                let zeroed = Allocator.alloc_zeroed(layout(size));
                assert!((0..size).all(|at| *zeroed.add(at) == 0));
                Allocator.dealloc(zeroed, layout(size));
            }
        }
    }
}
