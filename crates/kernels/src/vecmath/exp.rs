//! The exponential.

/// Adding and subtracting it rounds an `f32` below 2^22 to the nearest integer, and leaves that
/// integer in the low bits of the sum.
const ROUNDER: f32 = 1.5 * (1 << 23) as f32;

/// `(e^r - 1 - r) / r^2` for `|r| <= ln(2) / 2`, lowest power first: a minimax fit whose relative
/// error in `e^r` is 2^-28.
const FRACTION: [f32; 5] =
    [4.999_999_4e-1, 1.666_652e-1, 4.166_84e-2, 8.368_852e-3, 1.381_431_8e-3];

/// `e^x`, at most [`EXP_ULP`](super::EXP_ULP) units in the last place off.
///
/// `e^x = 2^n e^r` with `r` the remainder of `x` to the nearest multiple `n` of `ln(2)`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these the result is infinite or 0 whatever it is. NaN passes both.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let multiple = rounded - ROUNDER;
    let r = (x - multiple * super::LN_2_HIGH) - multiple * super::LN_2_LOW;
    let y = (r * r * super::polynomial(r, FRACTION) + r) + 1.0;
    let n = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()) as i32;
    // Two factors, for 2^n alone may be infinite or 0 where the result is not; only the second
    // product can be inexact.
    let half = n >> 1;
    y * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `2^n` for `n` from -126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}
