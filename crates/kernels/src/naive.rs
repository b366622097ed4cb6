//! The obvious loops: what the fast kernels are tested against.
//!
//! Sums are kept in [`Number::Accumulator`], in the order of the loops.

use crate::element::Number;
use crate::gemm::{Matrix, Update};

/// As [`gemm`](crate::gemm::gemm).
pub fn gemm<T: Number>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    update: Update<T>,
    c: &mut [T],
) {
    for i in 0..m {
        for j in 0..n {
            let mut sum = T::Accumulator::ZERO;
            for l in 0..k {
                let a = a.data[i * a.row_stride + l * a.col_stride].to_accumulator();
                let b = b.data[l * b.row_stride + j * b.col_stride].to_accumulator();
                sum = sum.add(a.mul(b));
            }
            let c = &mut c[i * n + j];
            *c = T::from_accumulator(match update {
                Update::Assign => sum,
                Update::AddScaled(alpha) => c.to_accumulator().add(alpha.to_accumulator().mul(sum)),
            });
        }
    }
}
