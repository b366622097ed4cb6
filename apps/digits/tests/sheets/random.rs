//! Random numbers for the sheets.

use tapeflow_testing::SplitMix;

/// What the sheets draw from.
pub struct Random(SplitMix);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(SplitMix::new(seed.wrapping_mul(0xd1b5_4a32_d192_ed03)))
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0.below(end)
    }

    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.0.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// About normal, with deviation 1.
    pub fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.between(-1.0, 1.0)).sum::<f32>() / 1.414
    }
}
