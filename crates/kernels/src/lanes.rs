//! Channels side by side: loops over pixels whose inner loop over some channels has a fixed length,
//! so that what belongs to these channels stays in vector registers from pixel to pixel.

use crate::element::Element;

/// Runs `$work` for groups of channels, from `$channel` on `$n` of them, which the compiler takes
/// side by side: 16 at a time, a vector of `f32`, then 8, and what is left one by one.
macro_rules! for_each_lanes {
    ($channels:expr, $channel:ident, $n:ident => $work:block) => {
        let channels = $channels;
        let (wide, whole) = (channels / 16 * 16, channels / 8 * 8);
        for $channel in (0..wide).step_by(16) {
            const $n: usize = 16;
            $work
        }
        for $channel in (wide..whole).step_by(8) {
            const $n: usize = 8;
            $work
        }
        for $channel in whole..channels {
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
