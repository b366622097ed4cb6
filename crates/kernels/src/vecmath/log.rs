//! The natural logarithm.

/// `(ln(1 + f) - f + f^2 / 2) / f^3` for `1 + f` from `sqrt(1/2)` to `sqrt(2)`, lowest power first: a
/// minimax fit whose relative error in the logarithm is 2^-30.
const FRACTION: [f32; 9] = [
    3.333_331_3e-1,
    -2.500_001e-1,
    2.000_211_9e-1,
    -1.666_799_6e-1,
    1.421_955_1e-1,
    -1.240_559_15e-1,
    1.188_817_5e-1,
    -1.167_564_1e-1,
    6.746_601e-2,
];

/// The natural logarithm, at most [`LOG_ULP`](super::LOG_ULP) units in the last place off.
///
/// `ln(x) = n ln(2) + ln(1 + f)` with `x = 2^n (1 + f)`.
#[inline(always)]
pub fn log(x: f32) -> f32 {
    // Subnormal numbers are scaled up, so that they have an exponent.
    let is_small = x < f32::MIN_POSITIVE;
    let scaled = if is_small { x * (1 << 23) as f32 } else { x };
    let offset = if is_small { -23.0 } else { 0.0 };
    let half_root = std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32;
    let bits = scaled.to_bits() as i32;
    let n = bits.wrapping_sub(half_root) >> 23;
    let f = f32::from_bits(bits.wrapping_sub(n << 23) as u32) - 1.0;
    let n = n as f32 + offset;
    let square = f * f;
    let tail = f * square * super::polynomial(f, FRACTION) + n * super::LN_2_LOW - 0.5 * square;
    let y = (tail + f) + n * super::LN_2_HIGH;
    // Infinity and NaN stay.
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x < 0.0 { f32::NAN } else { y };
    if x == 0.0 { f32::NEG_INFINITY } else { y }
}
