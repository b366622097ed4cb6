//! Seeded values and the comparison that all kernel tests share.

use tapeflow_kernels::element::Number;

/// A small generator (SplitMix64): the same numbers on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// An integer in [0, end).
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Values in [-1, 1) for floats, -8 to 7 for signed and 0 to 7 for unsigned integers.
    pub fn values<T: Number>(&mut self, len: usize) -> Vec<T> {
        let whole = T::from_f64(0.5) == T::ZERO;
        (0..len)
            .map(|_| {
                let unit = self.next() as f64 / 2f64.powi(63) - 1.0;
                T::from_f64(if whole { (unit * 8.0).floor() } else { unit })
            })
            .collect()
    }
}

/// Fails unless all of `got` is within `bound * max(1, |expected|)` of `expected`.
pub fn assert_close<T: Number, O: Number>(got: &[T], expected: &[O], bound: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let (got, expected) = (got.to_f64(), expected.to_f64());
        let within = (got - expected).abs() <= bound * expected.abs().max(1.0);
        assert!(
            within || got == expected || (got.is_nan() && expected.is_nan()),
            "{what}: at {index} got {got}, expected {expected}"
        );
    }
}
