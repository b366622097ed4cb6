//! Asking for memory before it is read.

use crate::buffer::LINE_BYTES;

/// How far [`ask_ahead`] looks: a few lines of every stream, which the first-level cache keeps.
const AHEAD_BYTES: usize = 1024;

/// Asks for the `N` elements from `start` on of a row some rows behind `row`, where rows are read one after
/// the other for the first time. Processors look ahead by themselves, but many stop at the end of a page.
#[inline(always)]
pub(crate) fn ask_ahead<T, const N: usize>(row: &[T], start: usize) {
    // Elements taken one by one would ask for each line again and again.
    if N > 1 {
        let ahead = AHEAD_BYTES.next_multiple_of(size_of_val(row));
        let elements = row.as_ptr().wrapping_add(start).cast::<u8>();
        ask::<true>(elements.wrapping_add(ahead), size_of::<[T; N]>());
    }
}

/// Asks for a line every 64 bytes of `bytes`, into the second-level cache.
#[inline(always)]
pub(crate) fn ask_far(first: *const u8, bytes: usize) {
    ask::<false>(first, bytes);
}

/// Asks for a line every 64 bytes, from any address on: into the first-level cache if `NEAR` says so, else
/// into the second-level one.
#[inline(always)]
fn ask<const NEAR: bool>(first: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for byte in (0..bytes).step_by(LINE_BYTES) {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let line = first.wrapping_add(byte).cast();
        // SAFETY: a hint that reads nothing, and every x86-64 has it.
        unsafe {
            match NEAR {
                true => _mm_prefetch::<_MM_HINT_T0>(line),
                false => _mm_prefetch::<_MM_HINT_T1>(line),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, bytes);
}
