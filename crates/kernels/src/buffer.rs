//! [`Buffer`]: 64-byte aligned memory, reused through a process-wide pool.
//!
//! A training step allocates the same sizes again and again. Memory fresh from the system costs a
//! page fault per 4 KiB at first touch, which is a third of a step in frameworks that do not reuse
//! it. A dropped buffer therefore goes to a free list and the next one of its capacity class comes
//! from there.
//!
//! Capacities are rounded up to a class (four classes per power of two, so at most a quarter is
//! wasted). Buffers of at most [`TINY_BYTES`] are kept per thread, so that an operation on scalars
//! takes no lock; all others share one list behind a mutex. The shared list holds at most
//! [`POOL_LIMIT_BYTES`]; when a buffer does not fit, the list is emptied, so that sizes no longer
//! asked for do not stay in it for ever.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::{Pod, Zeroable};

use crate::element::Element;

/// The most memory, in bytes, that the shared pool keeps for reuse: 1 GiB.
pub const POOL_LIMIT_BYTES: usize = 1 << 30;

/// Buffers of up to this capacity, in bytes, are pooled per thread: 4 KiB.
pub const TINY_BYTES: usize = 4096;

/// Buffers of this capacity and more, in bytes, ask for huge pages: 4 MiB.
const HUGE_BYTES: usize = 4 << 20;

/// How many free buffers of each tiny class a thread keeps.
const TINY_KEPT: usize = 64;

const LINE_BYTES: usize = size_of::<CacheLine>();

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
struct FreeLists {
    lists: BTreeMap<usize, Vec<Vec<CacheLine>>>,
    bytes: usize,
    limit: usize,
}

impl FreeLists {
    const fn new(limit: usize) -> Self {
        Self { lists: BTreeMap::new(), bytes: 0, limit }
    }

    fn take(&mut self, class: usize) -> Option<Vec<CacheLine>> {
        let lines = self.lists.get_mut(&class)?.pop()?;
        self.bytes -= class * LINE_BYTES;
        Some(lines)
    }

    /// Keeps `lines`, or hands back what the caller should free (outside of any lock).
    fn put(&mut self, lines: Vec<CacheLine>) -> Option<BTreeMap<usize, Vec<Vec<CacheLine>>>> {
        let bytes = lines.len() * LINE_BYTES;
        let mut evicted = None;
        if self.bytes + bytes > self.limit {
            self.bytes = 0;
            evicted = Some(std::mem::take(&mut self.lists));
        }
        self.bytes += bytes;
        self.lists.entry(lines.len()).or_default().push(lines);
        evicted
    }
}

static SHARED: Mutex<FreeLists> = Mutex::new(FreeLists::new(POOL_LIMIT_BYTES));

thread_local! {
    static TINY: RefCell<FreeLists> = const { RefCell::new(FreeLists::new(usize::MAX)) };
}

fn shared() -> MutexGuard<'static, FreeLists> {
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
    let reused = if class <= TINY_BYTES / LINE_BYTES {
        TINY.try_with(|tiny| tiny.borrow_mut().take(class)).ok().flatten()
    } else {
        shared().take(class)
    };
    if let Some(lines) = reused {
        return Ok((lines, false));
    }
    let mut lines = Vec::new();
    lines.try_reserve_exact(class).map_err(|_| error)?;
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
    let bytes = class * LINE_BYTES;
    if class == 0 || bytes > POOL_LIMIT_BYTES {
        return;
    }
    if bytes > TINY_BYTES {
        let evicted = shared().put(lines);
        drop(evicted);
        return;
    }
    // While a thread ends its list is gone: then the memory is simply freed.
    let _ = TINY.try_with(|tiny| {
        let mut tiny = tiny.borrow_mut();
        if tiny.lists.get(&class).map_or(0, Vec::len) < TINY_KEPT {
            tiny.put(lines);
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
    fn full_pool_is_emptied() {
        let mut lists = FreeLists::new(8 * 100 * LINE_BYTES);
        for _ in 0..8 {
            assert!(lists.put(vec![CacheLine::zeroed(); 100]).is_none());
        }
        let evicted = lists.put(vec![CacheLine::zeroed(); 65]).unwrap();
        assert_eq!(evicted[&100].len(), 8);
        assert_eq!(lists.bytes, 65 * LINE_BYTES);
        assert!(lists.take(65).is_some() && lists.take(65).is_none());
        assert_eq!(lists.bytes, 0);
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
