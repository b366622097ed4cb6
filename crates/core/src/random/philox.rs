//! A stream of random words.

use tapeflow_kernels::philox as kernel;

use super::start;
use crate::error::{Error, Result};

/// A stream of random words and bounded integers whose state can be saved: what shuffling draws
/// from. The words are those of [`stateless_uniform`](super::stateless_uniform) with the same seed.
///
/// ```
/// use tapeflow_core::random::Philox;
///
/// let mut philox = Philox::from_seed([1, 2]);
/// assert!(philox.below(6) < 6);
/// let saved = philox.state();
/// let word = philox.next_u64();
/// assert_eq!(Philox::from_state(saved)?.next_u64(), word);
///
/// let mut cards: Vec<u32> = (0..52).collect();
/// philox.shuffle(&mut cards);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Philox {
    // Where the block in use begins, and the place after it.
    place: kernel::Philox,
    next: kernel::Philox,
    block: [u32; 4],
    // How many words of `block` are used up.
    used: usize,
}

impl Philox {
    /// The stream of a seed.
    pub fn from_seed(seed: [i64; 2]) -> Philox {
        let start = start::philox(start::of_seed(seed));
        Philox { place: start, next: start, block: [0; 4], used: 4 }
    }

    /// A stream that goes on from a [`state`](Self::state).
    ///
    /// # Errors
    /// Numbers that are not a state.
    pub fn from_state([key, low, high, used]: [u64; 4]) -> Result<Philox> {
        if used > 4 {
            return Err(Error::data(format!(
                "random.Philox: a state has used at most 4 words of a block, not {used}"
            )));
        }
        let halves = |value: u64| [value as u32, (value >> 32) as u32];
        let ([a, b], [c, d]) = (halves(low), halves(high));
        let place = kernel::Philox::new(halves(key), [a, b, c, d]);
        let mut next = place;
        let block = if used < 4 { next.next_block() } else { [0; 4] };
        Ok(Philox { place, next, block, used: used as usize })
    }

    /// The state: the key, the low and high half of the number of the block in use, and how many
    /// of its words are used up; 4 where it is yet to be drawn.
    pub fn state(&self) -> [u64; 4] {
        let join = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        // A block that is used up is no longer needed: the state is the place after it.
        let place = if self.used < 4 { self.place } else { self.next };
        let [k0, k1] = place.key();
        let [a, b, c, d] = place.counter();
        [join(k0, k1), join(a, b), join(c, d), self.used as u64]
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.place = self.next;
            self.block = self.next.next_block();
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let low = self.next_u32();
        u64::from(self.next_u32()) << 32 | u64::from(low)
    }

    /// An integer in `[0, bound)`, each exactly as likely as the others; 0 for a bound of 0.
    ///
    /// By Lemire, "Fast random integer generation in an interval" (2019).
    pub fn below(&mut self, bound: u64) -> u64 {
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// Puts the items into a random order, each as likely as the others.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::random::stateless_uniform;

    #[test]
    fn words_are_those_of_the_stateless_functions() {
        let mut philox = Philox::from_seed([1, 2]);
        let words = stateless_uniform([9], [1, 2], None, None, DType::UInt32).unwrap();
        let words = words.to_vec::<u32>().unwrap();
        assert_eq!((0..9).map(|_| philox.next_u32()).collect::<Vec<_>>(), words);
    }

    #[test]
    fn every_state_can_be_restored() {
        let mut philox = Philox::from_seed([3, 4]);
        for _ in 0..9 {
            let mut restored = Philox::from_state(philox.state()).unwrap();
            assert_eq!(restored.state(), philox.state());
            let mut ahead = philox.clone();
            for _ in 0..9 {
                assert_eq!(restored.next_u32(), ahead.next_u32());
            }
            philox.next_u32();
        }
        assert!(Philox::from_state([0, 0, 0, 5]).unwrap_err().is_data());
    }

    #[test]
    fn bounded_integers_are_even() {
        let mut philox = Philox::from_seed([5, 6]);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[philox.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 500), "{counts:?}");
        let large = u64::MAX / 2 + 2;
        assert!((0..100).all(|_| philox.below(large) < large));
        assert_eq!((philox.below(1), philox.below(0)), (0, 0));
    }

    #[test]
    fn every_order_is_as_likely() {
        let mut philox = Philox::from_seed([7, 8]);
        let mut counts = std::collections::HashMap::new();
        for _ in 0..6000 {
            let mut items = [0, 1, 2];
            philox.shuffle(&mut items);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|&count| count.abs_diff(1000) < 150), "{counts:?}");
    }
}
