//! Functions of one element that are more than an instruction, written without branches so that a
//! loop over them runs in vector registers.
//!
//! One code serves every SIMD level. It multiplies and adds in two roundings even where the CPU can
//! do both in one, so the results are the same bits everywhere, also those of a single value. NaN,
//! infinities, signed zeros and subnormal numbers come out as from the functions of `std`.
//!
//! The single ops and the chains of [`chain`](crate::chain) call the same functions, so a chain gives
//! the same bits as its ops one by one.

mod activation;
mod erf;
mod exp;
mod log;
mod tanh;

pub use activation::{relu, relu_grad, scale_kept, sigmoid, sigmoid_grad, sign, tanh_grad};
pub use erf::erf;
pub use exp::exp;
pub use log::log;
pub use tanh::tanh;

/// How far [`exp`] may be from the exact value, in units in the last place of the result. Over all
/// 2^32 arguments it is at most 0.99.
pub const EXP_ULP: f64 = 1.0;
/// How far [`log`] may be off; over all arguments at most 0.85.
pub const LOG_ULP: f64 = 0.9;
/// How far [`tanh`] may be off; over all arguments at most 1.34.
pub const TANH_ULP: f64 = 1.4;
/// How far [`sigmoid`] of an `f32` may be off; over all arguments at most 2.41.
pub const SIGMOID_ULP: f64 = 2.5;
/// How far [`erf`] may be off; over all arguments at most 1.33.
pub const ERF_ULP: f64 = 1.4;

/// The logarithm of 2 in two parts: multiples of the first up to 2^9 are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// The polynomial in `x` with these coefficients, lowest power first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for &coefficient in coefficients[..N - 1].iter().rev() {
        sum = sum * x + coefficient;
    }
    sum
}

#[cfg(test)]
mod tests;
