//! What softmax and the losses share: their axis last, where the kernels want it.

use crate::error::Result;
use crate::ops::array::transpose;
use crate::tensor::Tensor;

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
