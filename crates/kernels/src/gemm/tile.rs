//! The tile: the small block of a product that is kept in registers.
//!
//! Every product in this crate, of matrices and of convolutions, is a loop over tiles. A tile is
//! `rows` x `cols` elements of C, each a sum over k of A(i, k) B(k, j):
//!
//! - A is read one element at a time, so it may lie anywhere: A(i, k) is at
//!   `a + row offset i + k offset`. The k offsets form segments of equal length: segment start plus
//!   a multiple of `step`. A convolution reads its input in place this way, with a segment per row of
//!   the filter. Where A was packed, row i is simply at offset i.
//! - B is read a vector at a time: row k is at `b + k * b_stride`, and as many elements as the
//!   next multiple of [`COL_GRANULE`] from `cols` must be readable.
//! - C's row i is at `c + c_rows[i]`.
//!
//! While it sums, a tile fetches and copies what later tiles read ([`Ahead`]); when it is done it
//! applies what follows the product ([`Finish`]).

#[cfg(target_arch = "x86_64")]
use std::any::TypeId;
use std::marker::PhantomData;
use std::ptr;

use super::{Activation, portable};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::element::Number;
use crate::prefetch::ask_far;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2Fma, Avx512};
use crate::simd::{Level, vectorize};

/// Rows of B are read in multiples of this many elements.
pub(crate) const COL_GRANULE: usize = 16;

/// One tile; see the module for the layout.
pub(crate) struct Tile<'a, T> {
    pub rows: usize,
    pub cols: usize,
    pub a: *const T,
    /// The offset of each row of A; none where A is packed: row i at offset i, steps of `rows`.
    pub a_rows: Option<&'a [usize]>,
    /// The start of each segment of k, as an offset into A.
    pub segments: &'a [usize],
    pub segment_len: usize,
    pub step: usize,
    pub b: *const T,
    pub b_stride: usize,
    pub c: *mut T,
    pub c_rows: &'a [usize],
    /// None: C = A B. Some(alpha): C += alpha A B.
    pub add_scaled: Option<T>,
    pub finish: Finish<T>,
    pub ahead: Ahead<T>,
}

impl<T> Tile<'_, T> {
    /// The values of k that are summed.
    pub(super) fn steps(&self) -> usize {
        self.segments.len() * self.segment_len
    }
}

/// What is done to a tile of C after its sums are in: C = activation(C + bias).
#[derive(Clone, Copy)]
pub(crate) struct Finish<T> {
    /// The bias of the tile's first column; as many must be readable as the tile has columns.
    pub bias: Option<*const T>,
    pub activation: Option<Activation>,
}

impl<T> Finish<T> {
    pub(crate) const NOTHING: Self = Self { bias: None, activation: None };
}

/// What a tile does for later ones: between its steps of k it asks for rows of memory, and copies those
/// that an earlier tile asked for. The multipliers are busy meanwhile, so both cost next to nothing.
///
/// A row is as long as a row of the widest tile ([`Kernel::max_cols`]). At most as many are copied as
/// the tile has steps; of those that are only asked for, no more than these are.
#[derive(Clone, Copy)]
pub(crate) struct Ahead<T> {
    pub rows: usize,
    /// The distance between rows, of those asked for and those copied.
    pub stride: usize,
    /// The first row to ask for, into the second-level cache. Any address will do: it is a hint that
    /// reads nothing.
    pub asked: *const T,
    /// The first row to copy.
    pub from: *const T,
    /// Where the rows are copied to, one after the other; null where none is copied.
    pub to: *mut T,
}

impl<T: Copy> Ahead<T> {
    pub(crate) const NOTHING: Self =
        Self { rows: 0, stride: 0, asked: ptr::null(), from: ptr::null(), to: ptr::null_mut() };

    /// Only asks for rows.
    pub(crate) fn ask(asked: *const T, rows: usize, stride: usize) -> Self {
        Self { rows, stride, asked, ..Self::NOTHING }
    }

    /// How many of a tile's `steps` lie between a row and the next. At equal distances, because a burst of
    /// requests to memory takes all the places where they wait, and what comes from near caches waits too.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn pause(&self, steps: usize) -> usize {
        steps.checked_div(self.rows).map_or(usize::MAX, |pause| pause.max(1))
    }

    /// Deals with the next row, if any is left.
    ///
    /// # Safety
    /// What is copied must be readable and where it is copied to writable, from this thread alone.
    #[inline(always)]
    pub(super) unsafe fn step<const COLS: usize>(&mut self) {
        if self.rows == 0 {
            return;
        }
        self.rows -= 1;
        ask_far(self.asked.cast(), size_of::<[T; COLS]>());
        self.asked = self.asked.wrapping_add(self.stride);
        if !self.to.is_null() {
            // SAFETY: as promised by the caller.
            unsafe { ptr::copy_nonoverlapping(self.from, self.to, COLS) };
            self.from = self.from.wrapping_add(self.stride);
            self.to = self.to.wrapping_add(COLS);
        }
    }
}

/// The code that computes tiles of one element type at one level.
#[derive(Clone, Copy)]
pub(crate) struct Kernel<T> {
    code: Code,
    element: PhantomData<T>,
}

/// The x86 variants are for `f32` only.
#[derive(Clone, Copy)]
enum Code {
    Portable(Level),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2Fma),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl<T: Number> Kernel<T> {
    pub(crate) fn new(level: Level) -> Self {
        let code = match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(token) if TypeId::of::<T>() == TypeId::of::<f32>() => Code::Avx2(token),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(token) if TypeId::of::<T>() == TypeId::of::<f32>() => Code::Avx512(token),
            _ => Code::Portable(level),
        };
        Self { code, element: PhantomData }
    }

    /// The most rows of a tile.
    pub(crate) fn max_rows(self) -> usize {
        match self.code {
            Code::Portable(_) => portable::ROWS,
            #[cfg(target_arch = "x86_64")]
            Code::Avx2(_) => avx2::ROWS,
            #[cfg(target_arch = "x86_64")]
            Code::Avx512(_) => avx512::ROWS,
        }
    }

    /// How to cut the next rows of A, where it is not packed, into tiles that are fast, if C has `cols`
    /// columns: the rows of a tile, at most [`Kernel::max_rows`], and the rows that it is for, at least
    /// one.
    pub(crate) fn cut_in_place(self, rows: &[usize], cols: usize) -> (usize, usize) {
        match self.code {
            #[cfg(target_arch = "x86_64")]
            Code::Avx512(_) => avx512::cut_in_place(rows, cols),
            _ => (even_part(rows.len(), self.max_rows()), rows.len()),
        }
    }

    /// The most columns of a tile; a multiple of [`COL_GRANULE`].
    pub(crate) fn max_cols(self) -> usize {
        match self.code {
            Code::Portable(_) => portable::COLS,
            #[cfg(target_arch = "x86_64")]
            Code::Avx2(_) => avx2::COLS,
            #[cfg(target_arch = "x86_64")]
            Code::Avx512(_) => avx512::COLS,
        }
    }

    /// Computes one tile.
    ///
    /// # Safety
    /// All that the tile reads must be readable and its part of C writable, from this thread alone.
    /// `rows` and `cols` must be at least 1 and within the kernel's maximum.
    #[inline]
    pub(crate) unsafe fn run(self, tile: &Tile<'_, T>) {
        debug_assert!(1 <= tile.rows && tile.rows <= self.max_rows());
        debug_assert!(1 <= tile.cols && tile.cols <= self.max_cols());
        debug_assert!(tile.ahead.to.is_null() || tile.ahead.rows <= tile.steps());
        let level = match self.code {
            // SAFETY: as promised by the caller.
            Code::Portable(level) => unsafe {
                portable::run(level, tile);
                level
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this variant is made for f32 only, so the cast changes no type; the rest as
            // promised by the caller.
            Code::Avx2(token) => unsafe {
                avx2::run(token, &*ptr::from_ref(tile).cast());
                Level::Avx2(token)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Code::Avx512(token) => unsafe {
                avx512::run(token, &*ptr::from_ref(tile).cast());
                Level::Avx512(token)
            },
        };
        if tile.finish.bias.is_some() || tile.finish.activation.is_some() {
            // SAFETY: as promised by the caller.
            vectorize!(for T, level, || unsafe { finish(tile) });
        }
    }
}

/// Applies what follows the product, while the tile is in the first-level cache: code of its own,
/// so that the sums need not be held in registers for it.
///
/// # Safety
/// As for [`Kernel::run`].
#[inline(always)]
unsafe fn finish<T: Number>(tile: &Tile<'_, T>) {
    for &c_row in &tile.c_rows[..tile.rows] {
        // SAFETY: the tile's part of C is writable, from this thread alone.
        let c = unsafe { std::slice::from_raw_parts_mut(tile.c.add(c_row), tile.cols) };
        if let Some(bias) = tile.finish.bias {
            // SAFETY: as many biases are readable as the tile has columns.
            let bias = unsafe { std::slice::from_raw_parts(bias, tile.cols) };
            c.iter_mut().zip(bias).for_each(|(c, &bias)| *c = c.add(bias));
        }
        if let Some(activation) = tile.finish.activation {
            c.iter_mut().for_each(|c| *c = activation.apply(*c));
        }
    }
}

/// Cuts `len` into the fewest parts of at most `max`, as equal as possible: the length of all parts
/// but the last, which may be shorter.
pub(crate) fn even_part(len: usize, max: usize) -> usize {
    len.div_ceil(len.div_ceil(max).max(1)).max(1)
}

#[cfg(test)]
mod tests;
