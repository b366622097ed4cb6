//! Channels side by side: loops over pixels whose inner loop over some channels has a fixed length,
//! so that what belongs to these channels stays in vector registers from pixel to pixel.

use crate::element::Element;

/// Runs `$work` for groups of channels, from `$channel` on `$n` of them, which the compiler takes
/// side by side: 16 at a time, a vector of `f32`, then 8, and what is left one by one. With `wide`, 32 at
/// a time before: where a loop waits for memory, whole lines side by side are read faster, even if what
/// belongs to so many channels is more than the registers of some processors hold.
macro_rules! for_each_lanes {
    (wide $channels:expr, $channel:ident, $n:ident => $work:block) => {
        let wide = $channels / 32 * 32;
        for $channel in (0..wide).step_by(32) {
            const $n: usize = 32;
            $work
        }
        $crate::lanes::for_each_lanes!(wide; $channels, $channel, $n => $work);
    };
    ($channels:expr, $channel:ident, $n:ident => $work:block) => {
        $crate::lanes::for_each_lanes!(0; $channels, $channel, $n => $work);
    };
    ($from:expr; $channels:expr, $channel:ident, $n:ident => $work:block) => {
        let (from, channels) = ($from, $channels);
        let [by_16, by_8] = [16, 8].map(|lanes| channels / lanes * lanes);
        for $channel in (from..by_16).step_by(16) {
            const $n: usize = 16;
            $work
        }
        for $channel in (by_16..by_8).step_by(8) {
            const $n: usize = 8;
            $work
        }
        for $channel in by_8..channels {
            const $n: usize = 1;
            $work
        }
    };
}
pub(crate) use for_each_lanes;

/// `N` elements as an array, of which the compiler knows that it overlaps nothing.
#[inline(always)]
pub(crate) fn load<T: Element, const N: usize>(from: &[T], start: usize) -> [T; N] {
    let from = &from[start..][..N];
    std::array::from_fn(|i| from[i])
}
