//! Matrix products.
//!
//! [`gemm`] computes `C = A B` or `C += alpha A B`. A and B are given with their strides, so a
//! transposed matrix costs no copy by the caller; C is row-major.
//!
//! # How it is done
//! Both operands are copied ("packed") into the order in which the innermost loop reads them:
//!
//! - A tile of C, up to 14 x 32 (AVX-512), 6 x 16 (AVX2) or 4 x 16 elements, is held in registers
//!   while the loop runs over k. Row counts are cut evenly: 128 rows are nine tiles of 13 rows and
//!   one of 11, each with code of its own, not nine of 14 and one of 2.
//! - A is packed once, in parallel, into tiles of `[k][rows]`, block of k after block of k.
//! - C is cut by shape into chunks of tiles, which are the pieces of parallel work. For each block
//!   of k, a piece has its columns of B in panels of `[k][32]` that stay in the second-level cache,
//!   and runs over its tiles of A (one stays in the first-level cache) and the panels. While a tile
//!   computes it packs its share of the next block of B, row by row between its steps of k: the loads
//!   and stores take turns with the multiply-adds, and what they wait for was asked for a tile before.
//! - The first block of k writes C and the others add to it, so each element of C is summed in an
//!   order that depends on the shape alone. The last one applies the [`Epilogue`].
//!
//! A is read in place where it is small, if its rows do not compete for the same places of the cache.
//! What only one tile reads is not packed: B where A has a few rows, and A, with the operands
//! exchanged, where B has a few columns; a single row of A has loops of its own. A matrix that many
//! products share need not be packed for each: [`panels`] keeps it packed.
//!
//! Types other than `f32` use the same loops with a tile that the compiler vectorises; the 16-bit
//! floats are widened to `f32` and rounded once at the end.

mod blocked;
mod narrow;
pub(crate) mod pack;
pub mod panels;
mod portable;
mod row;
pub(crate) mod tile;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_narrow;
#[cfg(target_arch = "x86_64")]
mod transpose;

use std::any::TypeId;

use crate::buffer::{AllocError, Buffer};
use crate::element::Number;
use crate::parallel::for_each_chunk_mut;
use crate::simd::Level;
use blocked::{Columns, Shape};

/// An operand: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// The distance from a row to the next.
    pub row_stride: usize,
    /// The distance from a column to the next.
    pub col_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix of `cols` columns.
    pub fn row_major(data: &'a [T], cols: usize) -> Self {
        Self { data, row_stride: cols, col_stride: 1 }
    }

    /// The transpose of this matrix; nothing is copied.
    pub fn transposed(self) -> Self {
        Self { data: self.data, row_stride: self.col_stride, col_stride: self.row_stride }
    }

    /// A matrix laid out like this one.
    fn with_data<'b, U>(&self, data: &'b [U]) -> Matrix<'b, U> {
        Matrix { data, row_stride: self.row_stride, col_stride: self.col_stride }
    }

    /// The elements from (row, col) on.
    fn window(&self, row: usize, col: usize) -> &'a [T] {
        &self.data[row * self.row_stride + col * self.col_stride..]
    }

    /// Panics unless a `rows` x `cols` matrix lies within the data.
    fn check(&self, name: &str, rows: usize, cols: usize) {
        let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
        let len = self.data.len();
        assert!(last < len, "gemm: {name} [{rows}, {cols}] ends beyond its {len} elements");
    }
}

/// What happens to C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update<T> {
    /// `C = A B`.
    Assign,
    /// `C += alpha A B`.
    AddScaled(T),
}

/// What follows a product: `C = activation(A B + bias)`, each part where it is given.
///
/// It is applied to a tile of C when its sums are complete, while the tile is in the cache.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a, T> {
    /// Added to every row of C; `n` values.
    pub bias: Option<&'a [T]>,
    /// Applied to every element after the bias.
    pub activation: Option<Activation>,
}

impl<T> Epilogue<'_, T> {
    /// Leaves C as the product has it.
    pub const NONE: Self = Epilogue { bias: None, activation: None };
}

/// An elementwise function that an [`Epilogue`] ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// Zero for what is below zero; NaN and -0 stay.
    Relu,
}

impl Activation {
    #[inline(always)]
    fn apply<T: Number>(self, value: T) -> T {
        match self {
            Self::Relu if value < T::ZERO => T::ZERO,
            Self::Relu => value,
        }
    }
}

/// The product of A (`m` x `k`) and B (`k` x `n`) into the row-major C (`m` x `n`).
///
/// With `k` = 0 the product is zero. The result is the same with any number of threads.
///
/// ```
/// use tapeflow_kernels::gemm::{Matrix, Update, gemm};
/// let a = Matrix::row_major(&[1.0, 2.0, 3.0, 4.0], 2);
/// let b = Matrix::row_major(&[1.0, 1.0, 0.0, 1.0], 2);
/// let mut c = [0.0f32; 4];
/// gemm(2, 2, 2, a, b.transposed(), Update::Assign, &mut c)?;
/// assert_eq!(c, [3.0, 2.0, 7.0, 4.0]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for the packed operands.
///
/// # Panics
/// If an operand is shorter than its shape and strides say, or C is not `m * n` long.
pub fn gemm<T: Number>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    update: Update<T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    gemm_at(Level::best(), m, n, k, a, b, update, c)
}

/// As [`gemm`] with [`Update::Assign`], followed by the epilogue: `C = activation(A B + bias)`.
///
/// ```
/// use tapeflow_kernels::gemm::{Activation, Epilogue, Matrix, gemm_with_epilogue};
/// let a = Matrix::row_major(&[1.0, 2.0, 3.0, 4.0], 2);
/// let b = Matrix::row_major(&[1.0, 0.0, 1.0, 1.0], 2);
/// let epilogue = Epilogue { bias: Some(&[-4.0, 0.5]), activation: Some(Activation::Relu) };
/// let mut c = [0.0f32; 4];
/// gemm_with_epilogue(2, 2, 2, a, b, epilogue, &mut c)?;
/// assert_eq!(c, [0.0, 2.5, 3.0, 4.5]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// As [`gemm`].
///
/// # Panics
/// As [`gemm`], or if the bias is not `n` long.
pub fn gemm_with_epilogue<T: Number>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    gemm_with_epilogue_at(Level::best(), m, n, k, a, b, epilogue, c)
}

/// As [`gemm`], with the instructions of the given level; for tests and measurements.
///
/// # Errors
/// As [`gemm`].
///
/// # Panics
/// As [`gemm`].
#[expect(clippy::too_many_arguments, reason = "the customary arguments of a matrix product")]
pub fn gemm_at<T: Number>(
    level: Level,
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    update: Update<T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    checked_product(level, Shape { m, n, k }, a, b, update, Epilogue::NONE, c)
}

/// As [`gemm_with_epilogue`], with the instructions of the given level; for tests and measurements.
///
/// # Errors
/// As [`gemm`].
///
/// # Panics
/// As [`gemm_with_epilogue`].
#[expect(clippy::too_many_arguments, reason = "the customary arguments of a matrix product")]
pub fn gemm_with_epilogue_at<T: Number>(
    level: Level,
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    checked_product(level, Shape { m, n, k }, a, b, Update::Assign, epilogue, c)
}

fn checked_product<T: Number>(
    level: Level,
    shape: Shape,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    update: Update<T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    let Shape { m, n, k } = shape;
    assert_eq!(c.len(), m * n, "gemm: C is not [{m}, {n}]");
    check_bias(epilogue, n);
    if m == 0 || n == 0 {
        return Ok(());
    }
    if k == 0 {
        if update == Update::Assign {
            c.fill(T::ZERO);
        }
        finish(epilogue, n, c);
        return Ok(());
    }
    a.check("A", m, k);
    b.check("B", k, n);
    if TypeId::of::<T>() == TypeId::of::<T::Accumulator>() {
        let add_scaled = match update {
            Update::Assign => None,
            Update::AddScaled(alpha) => Some(alpha),
        };
        if update == Update::Assign && row::narrow_product(level, shape, a, b, epilogue, c) {
            return Ok(());
        }
        if update == Update::Assign && narrow::applies(shape, a) {
            return narrow::product(level, shape, a, b, epilogue, c);
        }
        return blocked::product(level, shape, a, Columns::Strided(b), add_scaled, epilogue, c);
    }
    widened_product(level, shape, a, b, update, epilogue, c)
}

fn check_bias<T>(epilogue: Epilogue<'_, T>, n: usize) {
    if let Some(bias) = epilogue.bias {
        assert_eq!(bias.len(), n, "gemm: the bias is not [{n}]");
    }
}

/// Applies the epilogue to rows of `n` elements.
fn finish<T: Number>(epilogue: Epilogue<'_, T>, n: usize, c: &mut [T]) {
    for row in c.chunks_mut(n) {
        if let Some(bias) = epilogue.bias {
            row.iter_mut().zip(bias).for_each(|(c, &bias)| *c = c.add(bias));
        }
        if let Some(activation) = epilogue.activation {
            row.iter_mut().for_each(|c| *c = activation.apply(*c));
        }
    }
}

/// The product of a type that is summed in a wider one: operands are copied to the wider type.
fn widened_product<T: Number>(
    level: Level,
    shape: Shape,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    update: Update<T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    let wide_a = widen(a.data)?;
    let wide_b = widen(b.data)?;
    let mut wide_c = Buffer::uninit_reused(size_of::<T::Accumulator>() * c.len())?;
    let a = a.with_data(wide_a.as_slice::<T::Accumulator>());
    let b = Columns::Strided(b.with_data(wide_b.as_slice()));
    blocked::product(level, shape, a, b, None, Epilogue::NONE, wide_c.as_mut_slice())?;
    for (c, &wide) in c.iter_mut().zip(wide_c.as_slice::<T::Accumulator>()) {
        *c = T::from_accumulator(match update {
            Update::Assign => wide,
            Update::AddScaled(alpha) => c.to_accumulator().add(alpha.to_accumulator().mul(wide)),
        });
    }
    finish(epilogue, shape.n, c);
    Ok(())
}

/// A copy in the accumulator type.
pub(crate) fn widen<T: Number>(values: &[T]) -> Result<Buffer, AllocError> {
    let mut wide = Buffer::uninit_reused(size_of::<T::Accumulator>() * values.len())?;
    const CHUNK: usize = 1 << 16;
    for_each_chunk_mut(wide.as_mut_slice::<T::Accumulator>(), CHUNK, |index, chunk| {
        for (wide, value) in chunk.iter_mut().zip(&values[index * CHUNK..]) {
            *wide = value.to_accumulator();
        }
    });
    Ok(wide)
}
