//! Lists of offsets and scratch memory, both from the buffer pool: a call in the steady state
//! allocates nothing.

use crate::buffer::{AllocError, Buffer, TINY_BYTES};
use crate::element::Number;
use crate::parallel::{for_each_index, threads, try_for_each_index};

/// A list of offsets.
pub(super) struct Offsets {
    buffer: Buffer,
    len: usize,
}

impl Offsets {
    /// The first `len` of `offsets`, or all if they are fewer.
    pub(super) fn collect(
        len: usize,
        offsets: impl Iterator<Item = usize>,
    ) -> Result<Self, AllocError> {
        let mut buffer = Buffer::uninit_reused(len.saturating_mul(size_of::<usize>()))?;
        let places: &mut [usize] = bytemuck::cast_slice_mut(buffer.as_mut_slice::<u8>());
        let written = places.iter_mut().zip(offsets).map(|(place, offset)| *place = offset).count();
        Ok(Self { buffer, len: written })
    }

    pub(super) fn as_slice(&self) -> &[usize] {
        &bytemuck::cast_slice(self.buffer.as_slice::<u8>())[..self.len]
    }
}

/// Calls `piece` with every index below `count`, on several threads, each time with `scratch_len`
/// elements of arbitrary content.
pub(crate) fn for_each_piece<T: Number>(
    count: usize,
    scratch_len: usize,
    piece: impl Fn(usize, &mut [T]) + Sync,
) -> Result<(), AllocError> {
    let bytes = scratch_len.saturating_mul(size_of::<T>());
    if bytes == 0 {
        for_each_index(count, |index| piece(index, &mut []));
        return Ok(());
    }
    // Larger than what is pooled per thread, so that all threads find what `reserve` leaves.
    let bytes = bytes.max(TINY_BYTES + 1);
    reserve(bytes, threads().min(count))?;
    try_for_each_index(count, |index| {
        let mut scratch = Buffer::uninit_reused(bytes)?;
        piece(index, &mut scratch.as_mut_slice()[..scratch_len]);
        Ok(())
    })
}

/// Leaves `count` buffers in the pool. How many threads take pieces at a time varies from call to
/// call; without this a late call might be the first to need as many.
fn reserve(bytes: usize, count: usize) -> Result<(), AllocError> {
    if count == 0 {
        return Ok(());
    }
    let _taken = Buffer::uninit_reused(bytes)?;
    reserve(bytes, count - 1)
}
