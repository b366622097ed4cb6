//! The images that a convolution reads.

use crate::batch_norm::NormalizedRelu;
use crate::element::{Float, Number};

/// Images, one after the other, handed out as parts of their rows.
pub(super) trait Images<T>: Sync {
    /// All of their elements, if they are in memory just as they are read.
    fn in_memory(&self) -> Option<&[T]>;

    /// Writes whole pixels, from the element `start` of all images on.
    fn read(&self, start: usize, pixels: &mut [T]);
}

impl<T: Number> Images<T> for &[T] {
    fn in_memory(&self) -> Option<&[T]> {
        Some(self)
    }

    fn read(&self, start: usize, pixels: &mut [T]) {
        pixels.copy_from_slice(&self[start..][..pixels.len()]);
    }
}

impl<T: Float> Images<T> for NormalizedRelu<'_, T> {
    fn in_memory(&self) -> Option<&[T]> {
        None
    }

    fn read(&self, start: usize, pixels: &mut [T]) {
        self.write(start, pixels);
    }
}
