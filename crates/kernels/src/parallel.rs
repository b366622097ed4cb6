//! Splitting work over threads.
//!
//! Work is cut by shape: the caller names a number of pieces that does not depend on the number of
//! threads, and each piece writes its own part of the output. Which thread takes a piece is left to
//! chance, so results are the same bytes with any number of threads.
//!
//! The calling thread takes pieces too. With one thread, and from inside a piece, everything runs in
//! the calling thread. Of several callers at a time one has the helpers; the others work alone until
//! they are free. A panic in a piece reaches the caller once no thread works on its pieces any more.
//!
//! What a call costs besides its pieces, on 2 cores of a 2026 server (the rows "hand-off" of
//! `examples/bench.rs`): 2 ns for a single piece; while the helpers look for work, which they do for
//! 50 microseconds after their last, 0.1 microseconds where the caller is done before a helper
//! comes and 0.2 to 0.8 until both are at work; once they sleep, 8 for the caller to wake one, which
//! takes 30 to come. rayon 1.12 took 4 to 12, 0.8, 50 to 75 and 30. With one thread a call costs
//! 10 ns.

mod crew;

use std::env;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// The number of threads set by [`set_threads`]; 0 while it is the default.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Sets the number of threads that work together; 0 means the default.
pub fn set_threads(count: usize) {
    THREADS.store(count, Ordering::Relaxed);
}

/// The number of threads that work together.
///
/// By default the environment variable `TAPEFLOW_NUM_THREADS`, else what the machine offers.
pub fn threads() -> usize {
    static DEFAULT: OnceLock<usize> = OnceLock::new();
    match THREADS.load(Ordering::Relaxed) {
        0 => *DEFAULT.get_or_init(|| {
            let named = env::var("TAPEFLOW_NUM_THREADS").ok().and_then(|count| count.parse().ok());
            named
                .filter(|&count: &usize| count > 0)
                .unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get))
        }),
        count => count,
    }
}

/// Calls `piece` with every index below `count`, on several threads.
///
/// A piece should be worth some microseconds; work worth less is better made one piece.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// let sum = AtomicUsize::new(0);
/// tapeflow_kernels::parallel::for_each_index(5, |index| {
///     sum.fetch_add(index, Ordering::Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 10);
/// ```
pub fn for_each_index(count: usize, piece: impl Fn(usize) + Sync) {
    take_pieces(count, &piece);
}

/// [`for_each_index`], compiled once and not for each kernel and element type.
fn take_pieces(count: usize, pieces: &dyn Pieces) {
    match count {
        0 => {}
        1 => pieces.run(0),
        _ => crew::run(count, threads() - 1, pieces),
    }
}

/// What is done for each index: as `dyn Fn(usize) + Sync`, which would be compiled three times, for
/// `FnOnce` and `FnMut` too.
trait Pieces: Sync {
    /// Does what is to be done for `index`.
    fn run(&self, index: usize);
}

impl<F: Fn(usize) + Sync> Pieces for F {
    fn run(&self, index: usize) {
        self(index);
    }
}

/// As [`for_each_index`] for pieces that can fail.
///
/// # Errors
/// That of the failing piece with the lowest index; pieces with higher ones may have run or not.
pub fn try_for_each_index<E: Send>(
    count: usize,
    piece: impl Fn(usize) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let failed = AtomicUsize::new(usize::MAX);
    let first = Mutex::new(None);
    for_each_index(count, |index| {
        if index > failed.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = piece(index) {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            if index < failed.load(Ordering::Relaxed) {
                failed.store(index, Ordering::Relaxed);
                *first = Some(error);
            }
        }
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Cuts `out` into chunks of `chunk_len` elements (the last may be shorter) and calls `piece` with
/// each chunk and its index, on several threads.
///
/// ```
/// let mut out = [0; 10];
/// tapeflow_kernels::parallel::for_each_chunk_mut(&mut out, 4, |index, chunk| chunk.fill(index));
/// assert_eq!(out, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
/// ```
///
/// # Panics
/// If `chunk_len` is 0.
pub fn for_each_chunk_mut<T: Send>(
    out: &mut [T],
    chunk_len: usize,
    piece: impl Fn(usize, &mut [T]) + Sync,
) {
    take_chunks(out, chunk_len, &piece);
}

/// [`for_each_chunk_mut`], compiled once for each element type.
fn take_chunks<T: Send>(out: &mut [T], chunk_len: usize, chunks: &dyn Chunks<T>) {
    let len = out.len();
    let shared = SharedMut::new(out);
    for_each_index(len.div_ceil(chunk_len), |index| {
        let start = index * chunk_len;
        let end = len.min(start + chunk_len);
        // SAFETY: the ranges of different indices do not overlap and lie within `out`.
        chunks.run(index, unsafe { shared.range(start, end) });
    });
}

/// What is done with each chunk; a trait for the reason of [`Pieces`].
trait Chunks<T>: Sync {
    /// Does what is to be done with the chunk of this index.
    fn run(&self, index: usize, chunk: &mut [T]);
}

impl<T, F: Fn(usize, &mut [T]) + Sync> Chunks<T> for F {
    fn run(&self, index: usize, chunk: &mut [T]) {
        self(index, chunk);
    }
}

/// A mutable slice whose disjoint parts are written from several threads.
pub(crate) struct SharedMut<'a, T> {
    start: *mut T,
    len: usize,
    _slice: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `range` and `as_mut_ptr`, whose users keep to disjoint parts.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), _slice: std::marker::PhantomData }
    }

    /// The elements from `start` to before `end`.
    ///
    /// # Safety
    /// No two ranges in use at a time may overlap.
    ///
    /// # Panics
    /// If the range is not within the slice.
    #[expect(clippy::mut_from_ref, reason = "the caller keeps ranges disjoint")]
    pub(crate) unsafe fn range(&self, start: usize, end: usize) -> &mut [T] {
        assert!(start <= end && end <= self.len);
        // SAFETY: the range is within the slice, and not otherwise in use.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), end - start) }
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The start, for kernels that write blocks of a matrix in place.
    pub(crate) fn as_mut_ptr(&self) -> *mut T {
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_called_once() {
        for count in [0, 1, 2, 100] {
            let calls: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            for_each_index(count, |index| {
                calls[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(calls.iter().all(|call| call.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn pieces_may_split_again() {
        let mut out = vec![0; 1000];
        for_each_chunk_mut(&mut out, 100, |index, chunk| {
            for_each_chunk_mut(chunk, 7, |inner, part| part.fill(1000 * index + inner));
        });
        assert!(out.iter().enumerate().all(|(i, &v)| v == 1000 * (i / 100) + i % 100 / 7));
    }

    #[test]
    fn the_error_of_the_lowest_index_is_returned() {
        let result =
            try_for_each_index(100, |index| if index % 10 == 3 { Err(index) } else { Ok(()) });
        assert_eq!(result, Err(3));
        assert_eq!(try_for_each_index(100, |_| Ok::<_, ()>(())), Ok(()));
    }
}
