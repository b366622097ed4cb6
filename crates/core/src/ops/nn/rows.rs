//! What softmax and the losses share: rows along the last axis.

use tapeflow_kernels::parallel::for_each_chunk_mut;
use tapeflow_kernels::{Element, Float, Number};

use crate::error::Result;
use crate::ops::array::transpose;
use crate::tensor::Tensor;

/// Exponentials that are worth handing to another thread.
const PIECE: usize = 1 << 12;
/// Values summed one after the other; longer rows are sums of such sums, which lose less.
const SUM_BLOCK: usize = 128;

/// Calls `row` with the index and the part of `out`, `out_len` long, of each row of `row_len`
/// values.
pub(super) fn for_each_row<T: Element>(
    out: &mut [T],
    out_len: usize,
    row_len: usize,
    row: impl Fn(usize, &mut [T]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    let rows = (PIECE / row_len.max(1)).max(1);
    for_each_chunk_mut(out, rows * out_len, |piece, chunk| {
        for (i, out) in chunk.chunks_exact_mut(out_len).enumerate() {
            row(piece * rows + i, out);
        }
    });
}

/// The largest value of a row and the logarithm of the sum of `exp(x - largest)`: what keeps every
/// exponential from overflowing.
pub(super) fn max_and_log_sum<T: Float>(x: &[T]) -> (T::Accumulator, T::Accumulator)
where
    T::Accumulator: Float,
{
    let largest = max(x);
    (largest, sum(x, |x| x.sub(largest).exp()).ln())
}

/// The largest value of a row, in the type in which sums are kept.
pub(super) fn max<T: Float>(x: &[T]) -> T::Accumulator {
    x.iter().fold(T::MIN, |largest, &x| largest.maximum(x)).to_accumulator()
}

/// The sum of `f` over a row.
pub(super) fn sum<T: Float>(x: &[T], f: impl Fn(T::Accumulator) -> T::Accumulator) -> T::Accumulator
where
    T::Accumulator: Float,
{
    let zero = T::ZERO.to_accumulator();
    x.chunks(SUM_BLOCK).fold(zero, |total, block| {
        total.add(block.iter().fold(zero, |sum, &x| sum.add(f(x.to_accumulator()))))
    })
}

/// `x` with `axis` and the last one exchanged.
pub(super) fn swap_with_last(x: &Tensor, axis: usize) -> Result<Tensor> {
    let mut perm: Vec<i64> = (0..x.shape().rank() as i64).collect();
    perm.swap(axis, x.shape().rank() - 1);
    transpose(x, perm)
}

/// `x` with `axis` behind all others.
pub(super) fn move_to_last(x: &Tensor, axis: usize) -> Result<Tensor> {
    let mut perm: Vec<i64> = (0..x.shape().rank() as i64).collect();
    perm[axis..].rotate_left(1);
    transpose(x, perm)
}
