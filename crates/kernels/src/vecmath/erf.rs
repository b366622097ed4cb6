//! The error function.

use super::exp::exp;

/// Below it the function is a polynomial, from it on 1 less an exponential.
const SMALL: f32 = 0.92;

/// From here on the function is 1 in `f32`.
const LARGE: f32 = 4.0;

/// `erf(x) / x - 1` in powers of `x^2` for `|x| <= SMALL`, lowest first: a minimax fit whose relative
/// error in the function is 2^-31.
const FRACTION: [f32; 7] = [
    1.283_791_7e-1,
    -3.761_263_5e-1,
    1.128_369_64e-1,
    -2.685_944_6e-2,
    5.201_151e-3,
    -8.144_056e-4,
    8.375_834e-5,
];

/// `-ln(1 - erf(x))` for `x` from `SMALL` to `LARGE`, lowest power first: a minimax fit whose relative
/// error in the function is 2^-34.
const EXPONENT: [f32; 8] = [
    -1.746_844_5e-4,
    1.129_514_9,
    6.333_469e-1,
    1.082_800_9e-1,
    -2.511_942_8e-2,
    4.171_063e-3,
    -4.344_626e-4,
    2.109_505e-5,
];

/// The error function, at most [`ERF_ULP`](super::ERF_ULP) units in the last place off.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let size = x.abs();
    let square = x * x;
    let small = x * super::polynomial(square, FRACTION) + x;
    let clamped = if size > LARGE { LARGE } else { size };
    let large = (1.0 - exp(-super::polynomial(clamped, EXPONENT))).copysign(x);
    // NaN is not below; it comes out of either.
    if size < SMALL { small } else { large }
}
