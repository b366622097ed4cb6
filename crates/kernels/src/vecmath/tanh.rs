//! The hyperbolic tangent.

use super::exp::exp;

/// Below it the tangent is a polynomial, from it on an expression in an exponential.
const SMALL: f32 = 0.625;

/// `(tanh(x) - x) / x^3` in powers of `x^2` for `|x| <= SMALL`, lowest first: a minimax fit whose
/// relative error in the tangent is 2^-27.
const FRACTION: [f32; 5] =
    [-3.333_328e-1, 1.333_144_2e-1, -5.373_971e-2, 2.063_907_9e-2, -5.704_978_5e-3];

/// The hyperbolic tangent, at most [`TANH_ULP`](super::TANH_ULP) units in the last place off.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let square = x * x;
    let small = x * square * super::polynomial(square, FRACTION) + x;
    let large = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    // NaN is not below; it comes out of either. The sign is that of `x`, also of its zeros.
    if size < SMALL { small.copysign(x) } else { large.copysign(x) }
}
