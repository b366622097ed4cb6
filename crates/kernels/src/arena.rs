//! [`Arena`]: one block of memory, parts of which are read while others are written.

use std::ops::Range;

use smallvec::SmallVec;

use crate::buffer::{AllocError, Buffer};

/// A block of memory whose users, having planned its parts, write some while they read others.
///
/// ```
/// use tapeflow_kernels::arena::Arena;
///
/// let mut arena = Arena::new(128)?;
/// arena.parts(&[0..3], &[]).0[0].copy_from_slice(&[1, 2, 3]);
/// let (mut written, read) = arena.parts(&[64..67], &[0..3, 1..2]);
/// written[0].copy_from_slice(read[0]);
/// assert_eq!(read[1], [2]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
#[derive(Debug)]
pub struct Arena(Buffer);

/// A list that is on the stack while it is short.
type Few<T> = SmallVec<[T; 16]>;

impl Arena {
    /// An arena of `bytes`, aligned to 64, with arbitrary content.
    ///
    /// # Errors
    /// [`AllocError`] when the system refuses the memory.
    pub fn new(bytes: usize) -> Result<Arena, AllocError> {
        Buffer::uninit_reused(bytes).map(Arena)
    }

    /// The number of bytes.
    pub fn len_bytes(&self) -> usize {
        self.0.len_bytes()
    }

    /// The parts to be `written` and those to be `read`, as ranges of bytes.
    ///
    /// # Panics
    /// A range that is not within the arena; one to be written that overlaps another.
    pub fn parts(
        &mut self,
        written: &[Range<usize>],
        read: &[Range<usize>],
    ) -> (Few<&mut [u8]>, Few<&[u8]>) {
        let bytes = self.0.as_mut_slice::<u8>();
        for (i, part) in written.iter().enumerate() {
            let others = written[i + 1..].iter().chain(read);
            for other in others {
                let apart = part.end <= other.start || other.end <= part.start;
                assert!(apart || part.is_empty() || other.is_empty(), "{part:?} and {other:?}");
            }
        }
        for part in written.iter().chain(read) {
            assert!(part.start <= part.end && part.end <= bytes.len(), "{part:?} is outside");
        }
        let start = bytes.as_mut_ptr();
        // SAFETY: the part is within the arena and overlaps no other one, as was checked; the
        // arena is borrowed for as long as the parts are.
        let write = |part: &Range<usize>| unsafe {
            std::slice::from_raw_parts_mut(start.add(part.start), part.len())
        };
        // SAFETY: the part is within the arena and overlaps none that is written.
        let look = |part: &Range<usize>| unsafe {
            std::slice::from_raw_parts(start.add(part.start), part.len())
        };
        (written.iter().map(write).collect(), read.iter().map(look).collect())
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one part")]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn parts_that_overlap_or_lie_outside_are_refused() {
        let mut arena = Arena::new(100).unwrap();
        let mut refused = |written: &[Range<usize>], read: &[Range<usize>]| {
            catch_unwind(AssertUnwindSafe(|| arena.parts(written, read).0.len())).is_err()
        };
        assert!(refused(&[0..10, 9..20], &[]));
        assert!(refused(&[0..10], &[5..6]));
        assert!(refused(&[90..101], &[]));
        assert!(refused(&[], &[101..101]));
        assert!(!refused(&[0..10, 10..20], &[20..30, 25..40]));
        assert!(!refused(&[0..10, 5..5], &[]));
    }
}
