//! Activations and their gradients, from the arithmetic of [`Number`] and [`Float`].

use crate::element::{Float, Number};

/// `max(x, 0)`; NaN is not below zero, so it stays.
#[inline(always)]
pub fn relu<T: Number>(x: T) -> T {
    if x < T::ZERO { T::ZERO } else { x }
}

/// `upstream` where `y` is positive, elsewhere zero.
#[inline(always)]
pub fn relu_grad<T: Number>(upstream: T, y: T) -> T {
    if y > T::ZERO { upstream } else { T::ZERO }
}

/// 1, 0 or -1 as `x` is above, at or below 0; NaN where it is NaN.
#[inline(always)]
pub fn sign<T: Number>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        T::ONE.neg()
    } else {
        // Zero or NaN.
        x.mul(x)
    }
}

/// `1 / (1 + e^-x)`, at most [`SIGMOID_ULP`](super::SIGMOID_ULP) units in the last place off in `f32`.
///
/// Below 0 it is `e^x / (1 + e^x)`, so that no exponential overflows and small results are exact.
#[inline(always)]
pub fn sigmoid<T: Float>(x: T) -> T {
    let e = x.abs().neg().exp();
    let numerator = if x < T::ZERO { e } else { T::ONE };
    numerator.div(T::ONE.add(e))
}

/// `upstream * y * (1 - y)`, the gradient of [`sigmoid`] from its result `y`.
#[inline(always)]
pub fn sigmoid_grad<T: Float>(upstream: T, y: T) -> T {
    upstream.mul(y).mul(T::ONE.sub(y))
}

/// `upstream * (1 - y^2)`, the gradient of the hyperbolic tangent from its result `y`.
#[inline(always)]
pub fn tanh_grad<T: Float>(upstream: T, y: T) -> T {
    upstream.mul(T::ONE.sub(y.mul(y)))
}

/// `x * scale` where `noise` is at least `rate`, elsewhere zero: dropout.
#[inline(always)]
pub fn scale_kept<T: Number>(x: T, noise: T, rate: T, scale: T) -> T {
    if noise >= rate { x.mul(scale) } else { T::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_zero_and_nan_are_kept() {
        assert!(relu(f32::NAN).is_nan() && sign(f32::NAN).is_nan());
        assert_eq!(relu(-0.0f32).to_bits(), (-0.0f32).to_bits());
        assert_eq!([sign(-3i8), sign(0), sign(5)], [-1, 0, 1]);
        assert_eq!(sigmoid(f32::NEG_INFINITY), 0.0);
        assert_eq!(sigmoid(f32::INFINITY), 1.0);
    }

    #[test]
    fn gradients_are_of_the_result() {
        assert_eq!(relu_grad(3.0f32, 0.0), 0.0);
        assert_eq!(sigmoid_grad(2.0f32, 0.5), 0.5);
        assert_eq!(tanh_grad(2.0f64, 0.5), 1.5);
        assert_eq!([scale_kept(3.0f32, 0.5, 0.5, 2.0), scale_kept(3.0, 0.4, 0.5, 2.0)], [6.0, 0.0]);
    }
}
