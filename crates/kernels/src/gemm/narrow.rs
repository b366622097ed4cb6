//! Products with few columns, of an A that lies column after column: the gradient of a small layer's
//! weight, `x^T dy`.
//!
//! Computed as `C^T = B^T A^T`. All rows of C^T fit a single tile, so that A, the large operand, is
//! read in place; C^T, which is small, is copied to its place.

use super::blocked::{self, Columns, Shape};
use super::{Epilogue, Matrix, finish};
use crate::buffer::{AllocError, Buffer};
use crate::element::Number;
use crate::simd::Level;

/// The most columns: more fill the vectors of the plain product well enough.
const MAX_COLS: usize = 14;

/// Whether the product is better computed transposed.
pub(super) fn applies<T>(shape: Shape, a: Matrix<'_, T>) -> bool {
    shape.n <= MAX_COLS && shape.m > shape.n && a.row_stride == 1
}

/// `C = A B`, then the epilogue.
pub(super) fn product<T: Number>(
    level: Level,
    Shape { m, n, k }: Shape,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    let mut transposed = Buffer::uninit_reused(size_of_val(c))?;
    let (shape, columns) = (Shape { m: n, n: m, k }, Columns::Strided(a.transposed()));
    let b = b.transposed();
    blocked::product(level, shape, b, columns, None, Epilogue::NONE, transposed.as_mut_slice())?;
    for (i, row) in c.chunks_exact_mut(n).enumerate() {
        for (c, column) in row.iter_mut().zip(transposed.as_slice::<T>().chunks_exact(m)) {
            *c = column[i];
        }
    }
    finish(epilogue, n, c);
    Ok(())
}
