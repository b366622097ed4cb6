//! [`Buffer`]: 64-byte aligned memory, reused through a process-wide pool.
//!
//! A training step allocates the same sizes again and again. Memory fresh from the system costs a
//! page fault per 4 KiB at first touch, which is a third of a step in frameworks that do not reuse
//! it. A dropped buffer therefore goes to a free list and the next one of its capacity class comes
//! from there.
//!
//! Capacities are rounded up to a class (four classes per power of two, so at most a quarter is
//! wasted). Buffers of at most [`TINY_BYTES`] are kept per thread, so that an operation on scalars
//! takes no lock; all others share one list behind a mutex.
//!
//! Before the shared list grows the process, it frees what has been in it for longest: memory in use
//! and memory kept are together at most a quarter and [`SLACK_BYTES`] more than what was ever in use
//! at a time. Sizes no longer asked for, of another batch size or of an evaluation between two
//! epochs, so make room for those that are.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::{Pod, Zeroable};

use crate::element::Element;

/// How much memory, in bytes, the shared pool keeps for reuse however little was in use: 32 MiB.
pub const SLACK_BYTES: usize = 32 << 20;

/// Buffers of up to this capacity, in bytes, are pooled per thread: 4 KiB.
pub const TINY_BYTES: usize = 4096;

/// Buffers of this capacity and more, in bytes, ask for huge pages: 4 MiB.
const HUGE_BYTES: usize = 4 << 20;

/// How many free buffers of each tiny class a thread keeps.
const TINY_KEPT: usize = 64;

/// Bytes of a line of the caches.
pub(crate) const LINE_BYTES: usize = size_of::<CacheLine>();

/// The unit of allocation; its alignment is what makes a [`Buffer`] fit every element and vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct CacheLine([u8; 64]);

// SAFETY: an array of bytes is valid when all its bits are zero.
unsafe impl Zeroable for CacheLine {}
// SAFETY: 64 bytes at an alignment of 64 have no padding, and every bit pattern is valid.
unsafe impl Pod for CacheLine {}

/// The system refused the memory, or the size overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError {
    /// The number of bytes asked for.
    pub bytes: usize,
}

impl fmt::Display for AllocError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot allocate {} bytes", self.bytes)
    }
}

impl std::error::Error for AllocError {}

/// A block of bytes, aligned to 64, viewable as a slice of any [`Element`].
///
/// ```
/// use tapeflow_kernels::buffer::Buffer;
/// let mut buffer = Buffer::zeroed(3 * size_of::<f32>())?;
/// buffer.as_mut_slice::<f32>()[1] = 2.5;
/// assert_eq!(buffer.as_slice::<f32>(), [0.0, 2.5, 0.0]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
pub struct Buffer {
    /// All of the class's lines, initialised; empty when the buffer is.
    lines: Vec<CacheLine>,
    len_bytes: usize,
}

impl Buffer {
    /// A buffer of zeros.
    ///
    /// # Errors
    /// [`AllocError`] when the system refuses the memory.
    pub fn zeroed(len_bytes: usize) -> Result<Self, AllocError> {
        let (lines, fresh) = take(len_bytes)?;
        let mut buffer = Self { lines, len_bytes };
        if !fresh {
            buffer.as_mut_slice::<u8>().fill(0);
        }
        Ok(buffer)
    }

    /// A buffer whose contents are arbitrary (but initialised): for outputs written in full.
    ///
    /// # Errors
    /// [`AllocError`] when the system refuses the memory.
    pub fn uninit_reused(len_bytes: usize) -> Result<Self, AllocError> {
        let (lines, _) = take(len_bytes)?;
        Ok(Self { lines, len_bytes })
    }

    /// A buffer that holds a copy of `elements`.
    ///
    /// # Errors
    /// [`AllocError`] when the system refuses the memory.
    pub fn from_slice<T: Element>(elements: &[T]) -> Result<Self, AllocError> {
        let mut buffer = Self::uninit_reused(size_of_val(elements))?;
        buffer.as_mut_slice::<T>().copy_from_slice(elements);
        Ok(buffer)
    }

    /// The length in bytes, as asked for.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// The contents as elements; bytes beyond the last whole element are left out.
    pub fn as_slice<T: Element>(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len_bytes / size_of::<T>()]
    }

    /// The contents as elements to write; bytes beyond the last whole element are left out.
    pub fn as_mut_slice<T: Element>(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len_bytes / size_of::<T>()]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.lines));
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Buffer").field("len_bytes", &self.len_bytes).finish_non_exhaustive()
    }
}

/// Free lines by class (the length of each vector in the list).
type Lists = BTreeMap<usize, Vec<Free>>;

/// Lines that are free since the moment `since`, counted in buffers given back.
struct Free {
    lines: Vec<CacheLine>,
    since: u64,
}

/// The shared pool's lists and what their limit follows from.
struct Shared {
    lists: Lists,
    free_bytes: usize,
    /// What buffers hold now, and held at most.
    used_bytes: usize,
    most_used_bytes: usize,
    given_back: u64,
}

impl Shared {
    const fn new() -> Self {
        Self {
            lists: Lists::new(),
            free_bytes: 0,
            used_bytes: 0,
            most_used_bytes: 0,
            given_back: 0,
        }
    }

    /// Free lines of the class, if there are any.
    fn take(&mut self, class: usize) -> Option<Vec<CacheLine>> {
        let free = self.lists.get_mut(&class)?.pop()?;
        self.free_bytes -= class * LINE_BYTES;
        self.count_used(class);
        Some(free.lines)
    }

    fn count_used(&mut self, class: usize) {
        self.used_bytes += class * LINE_BYTES;
        self.most_used_bytes = self.most_used_bytes.max(self.used_bytes);
    }

    /// Counts new lines of the class, and hands back what the caller should free for them (outside
    /// of the lock).
    fn grow(&mut self, class: usize) -> Vec<Free> {
        self.count_used(class);
        let kept = self.most_used_bytes + self.most_used_bytes / 4 + SLACK_BYTES;
        self.evict(kept - self.used_bytes)
    }

    /// Takes out what has been free for longest, until no more than `limit` bytes are.
    fn evict(&mut self, limit: usize) -> Vec<Free> {
        let mut evicted = Vec::new();
        while self.free_bytes > limit {
            // The last of a list is taken first, so its first has been there for longest.
            let oldest = self.lists.values_mut().filter(|list| !list.is_empty());
            let Some(list) = oldest.min_by_key(|list| list[0].since) else { break };
            let free = list.remove(0);
            self.free_bytes -= free.lines.len() * LINE_BYTES;
            evicted.push(free);
        }
        evicted
    }

    fn put(&mut self, lines: Vec<CacheLine>) {
        let bytes = lines.len() * LINE_BYTES;
        self.used_bytes -= bytes;
        self.free_bytes += bytes;
        self.given_back += 1;
        let free = Free { since: self.given_back, lines };
        self.lists.entry(free.lines.len()).or_default().push(free);
    }
}

static SHARED: Mutex<Shared> = Mutex::new(Shared::new());

/// How many classes there are of at most [`TINY_BYTES`]; class `n` has list `n - 1`.
const TINY_CLASSES: usize = TINY_BYTES / LINE_BYTES;

thread_local! {
    static TINY: RefCell<[Vec<Vec<CacheLine>>; TINY_CLASSES]> =
        const { RefCell::new([const { Vec::new() }; TINY_CLASSES]) };
}

fn shared() -> MutexGuard<'static, Shared> {
    // The lists are consistent between any two statements, so a panic elsewhere does no harm.
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rounds a number of lines up to a class: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ...
fn class_of(lines: usize) -> Option<usize> {
    if lines <= 4 {
        return Some(lines);
    }
    let step = 1 << (lines.ilog2() - 2);
    lines.checked_next_multiple_of(step)
}

/// Lines for `len_bytes`, and whether they are fresh, that is, all zero.
fn take(len_bytes: usize) -> Result<(Vec<CacheLine>, bool), AllocError> {
    let error = AllocError { bytes: len_bytes };
    let class = class_of(len_bytes.div_ceil(LINE_BYTES)).ok_or(error)?;
    if class == 0 {
        return Ok((Vec::new(), true));
    }
    let reused = if class <= TINY_CLASSES {
        TINY.try_with(|tiny| tiny.borrow_mut()[class - 1].pop()).ok().flatten()
    } else {
        shared().take(class)
    };
    if let Some(lines) = reused {
        return Ok((lines, false));
    }
    let mut lines = Vec::new();
    lines.try_reserve_exact(class).map_err(|_| error)?;
    if class > TINY_CLASSES {
        // The new memory takes room from its first touch on, so after the eviction.
        let evicted = shared().grow(class);
        drop(evicted);
    }
    if class * LINE_BYTES >= HUGE_BYTES {
        ask_for_huge_pages(&mut lines);
    }
    lines.resize(class, CacheLine::zeroed());
    Ok((lines, true))
}

/// Asks the system to back the vector's memory, not touched yet, with pages of 2 MiB: it is filled with
/// fewer faults, and rows far apart are found without walking the page tables. That it may refuse
/// does no harm.
fn ask_for_huge_pages(lines: &mut Vec<CacheLine>) {
    #[cfg(target_os = "linux")]
    {
        const PAGE_BYTES: usize = 4096;
        let start = lines.as_mut_ptr().cast::<u8>();
        let skipped = start.align_offset(PAGE_BYTES);
        let len = (lines.capacity() * LINE_BYTES).saturating_sub(skipped);
        // SAFETY: the range lies within the vector's memory, and the advice changes no contents.
        unsafe { libc::madvise(start.wrapping_add(skipped).cast(), len, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = lines;
}

fn give_back(lines: Vec<CacheLine>) {
    let class = lines.len();
    if class == 0 {
        return;
    }
    if class > TINY_CLASSES {
        shared().put(lines);
        return;
    }
    // While a thread ends its list is gone: then the memory is simply freed.
    let _ = TINY.try_with(|tiny| {
        let list = &mut tiny.borrow_mut()[class - 1];
        if list.len() < TINY_KEPT {
            list.push(lines);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_aligned_and_as_long_as_asked() {
        for bytes in [0, 1, 7, 8, 63, 64, 65, 4096, 4097, 100_001] {
            let buffer = Buffer::zeroed(bytes).unwrap();
            assert_eq!(buffer.len_bytes(), bytes);
            assert_eq!(buffer.as_slice::<u8>(), vec![0; bytes]);
            assert_eq!(buffer.as_slice::<f64>().len(), bytes / 8);
            if bytes > 0 {
                assert_eq!(buffer.as_slice::<u8>().as_ptr().addr() % 64, 0);
            }
        }
    }

    #[test]
    fn zeroed_is_zero_after_reuse() {
        for bytes in [100, 1_000_003] {
            Buffer::zeroed(bytes).unwrap().as_mut_slice::<u8>().fill(7);
            assert!(Buffer::zeroed(bytes).unwrap().as_slice::<u8>().iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn tiny_memory_is_reused_by_its_thread() {
        let address = |buffer: &Buffer| buffer.as_slice::<u8>().as_ptr().addr();
        let first = Buffer::uninit_reused(3000).unwrap();
        let place = address(&first);
        drop(first);
        assert_eq!(address(&Buffer::uninit_reused(2990).unwrap()), place);
    }

    #[test]
    fn what_was_free_for_longest_makes_room() {
        let mut pool = Shared::new();
        let mib = (1 << 20) / LINE_BYTES;
        // A step uses 64 MiB at a time: the process may come to 80 MiB and the slack.
        let step = |pool: &mut Shared, sizes: &[usize]| {
            let mut evicted = 0;
            let mut used = Vec::new();
            for size in sizes {
                let class = size * mib;
                used.push(pool.take(class).unwrap_or_else(|| {
                    evicted += pool.grow(class).iter().map(|free| free.lines.len()).sum::<usize>();
                    vec![CacheLine::zeroed(); class]
                }));
            }
            used.into_iter().for_each(|lines| pool.put(lines));
            evicted / mib
        };
        let first = [16, 24, 24];
        let second = [20, 40];
        assert_eq!(step(&mut pool, &first), 0);
        assert_eq!(step(&mut pool, &first), 0);
        assert_eq!((pool.used_bytes >> 20, pool.free_bytes >> 20), (0, 64));
        // 64 + 20 fit; for 40 more, the 16 of the first step and then one of its 24 leave.
        assert_eq!(step(&mut pool, &second), 16);
        assert_eq!(pool.free_bytes >> 20, 108);
        assert_eq!(step(&mut pool, &second), 0);
        // The second step's buffers were used last.
        assert_eq!(step(&mut pool, &[16]), 24);
        assert!(pool.take(40 * mib).is_some() && pool.take(40 * mib).is_none());
    }

    #[test]
    fn classes_waste_at_most_a_quarter() {
        for lines in 1..10_000 {
            let class = class_of(lines).unwrap();
            assert!(class >= lines && class * 4 <= lines * 5);
            assert_eq!(class_of(class), Some(class));
        }
    }

    #[test]
    fn a_hostile_size_is_an_error() {
        for bytes in [usize::MAX, usize::MAX / 2, 1 << 62] {
            assert_eq!(Buffer::zeroed(bytes).unwrap_err(), AllocError { bytes });
        }
    }
}
