//! The scalar types that kernels work on, and their arithmetic.
//!
//! Twelve types: [`struct@f16`], [`bf16`], `f32`, `f64`, and the signed and unsigned integers of 8 to 64
//! bits. A boolean is stored as `u8` with the values 0 and 1.
//!
//! The arithmetic is TensorFlow's: integers wrap around, `maximum` and `minimum` propagate NaN, and
//! the 16-bit floats compute in `f32` and round once per operation.

use std::fmt::Debug;

use bytemuck::Pod;
use half::{bf16, f16};

use crate::vecmath;

mod sealed {
    pub trait Sealed {}
}

/// A scalar that can be stored in a [`Buffer`](crate::buffer::Buffer).
///
/// Sealed: the set of types is fixed by this crate.
pub trait Element:
    Pod + PartialEq + PartialOrd + Send + Sync + Debug + sealed::Sealed + 'static
{
    /// Whether maps and reductions to this type are compiled for every SIMD level: `f32` alone, the
    /// type that models compute in. For the others one copy of the code, for any CPU, is enough.
    const VECTORIZED: bool = false;
}

/// An [`Element`] with arithmetic.
///
/// ```
/// use tapeflow_kernels::element::Number;
/// assert_eq!(Number::add(250u8, 10), 4);
/// assert!(Number::maximum(f32::NAN, 1.0).is_nan());
/// ```
pub trait Number: Element {
    /// The type in which long sums of this one are kept: `f32` for the 16-bit floats, else itself.
    type Accumulator: Number<Accumulator = Self::Accumulator>;

    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The lowest value: negative infinity for floats. The start value of a maximum.
    const MIN: Self;
    /// The highest value: infinity for floats. The start value of a minimum.
    const MAX: Self;
    /// The lowest finite value.
    const LOWEST: Self;

    /// `self + other`; integers wrap.
    fn add(self, other: Self) -> Self;
    /// `self - other`; integers wrap.
    fn sub(self, other: Self) -> Self;
    /// `self * other`; integers wrap.
    fn mul(self, other: Self) -> Self;
    /// `-self`; integers wrap.
    fn neg(self) -> Self;
    /// The absolute value; the lowest signed integer is its own.
    fn abs(self) -> Self;
    /// The larger of two; NaN if either is NaN.
    fn maximum(self, other: Self) -> Self;
    /// The smaller of two; NaN if either is NaN.
    fn minimum(self, other: Self) -> Self;
    /// The nearest value; integers truncate towards zero and saturate, NaN becomes 0.
    fn from_f64(value: f64) -> Self;
    /// The value as `f64`, rounded where a 64-bit integer has more digits.
    fn to_f64(self) -> f64;
    /// Widens to the accumulator type, without loss.
    fn to_accumulator(self) -> Self::Accumulator;
    /// Rounds from the accumulator type.
    fn from_accumulator(value: Self::Accumulator) -> Self;
}

/// A floating-point [`Number`].
///
/// ```
/// use tapeflow_kernels::{element::{Float, Number}, f16};
/// assert_eq!(Float::sqrt(f16::from_f64(9.0)), f16::from_f64(3.0));
/// ```
pub trait Float: Number {
    /// Not a number.
    const NAN: Self;
    /// Positive infinity.
    const INFINITY: Self;
    /// The difference between 1 and the next larger value.
    const EPSILON: Self;

    /// `self / other`.
    fn div(self, other: Self) -> Self;
    /// `self` to the power `exponent`.
    fn powf(self, exponent: Self) -> Self;
    /// The angle of the point `(other, self)`, in radians.
    fn atan2(self, other: Self) -> Self;
    /// The magnitude of `self` with the sign of `sign`.
    fn copysign(self, sign: Self) -> Self;
    /// The exponential.
    fn exp(self) -> Self;
    /// `exp(self) - 1`, accurate near zero.
    fn exp_m1(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// `ln(1 + self)`, accurate near zero.
    fn ln_1p(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// `1 / self`.
    fn recip(self) -> Self;
    /// The largest integer not above.
    fn floor(self) -> Self;
    /// The smallest integer not below.
    fn ceil(self) -> Self;
    /// The integer part.
    fn trunc(self) -> Self;
    /// The nearest integer; halves go to the even one, as in TensorFlow.
    fn round_ties_even(self) -> Self;
    /// The sine.
    fn sin(self) -> Self;
    /// The cosine.
    fn cos(self) -> Self;
    /// The tangent.
    fn tan(self) -> Self;
    /// The inverse sine.
    fn asin(self) -> Self;
    /// The inverse cosine.
    fn acos(self) -> Self;
    /// The inverse tangent.
    fn atan(self) -> Self;
    /// The hyperbolic sine.
    fn sinh(self) -> Self;
    /// The hyperbolic cosine.
    fn cosh(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// Whether the value is NaN.
    fn is_nan(self) -> bool;
    /// Whether the value is neither NaN nor infinite.
    fn is_finite(self) -> bool;
    /// Rounds an `f32`.
    fn from_f32(value: f32) -> Self;
    /// The value as `f32`, rounded where `f64` has more digits.
    fn to_f32(self) -> f32;
}

macro_rules! integer {
    ($($type:ident: $abs:expr),*) => {$(
        impl sealed::Sealed for $type {}
        impl Element for $type {}
        impl Number for $type {
            type Accumulator = Self;

            const ZERO: Self = 0;
            const ONE: Self = 1;
            const MIN: Self = $type::MIN;
            const MAX: Self = $type::MAX;
            const LOWEST: Self = $type::MIN;

            #[inline]
            fn add(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline]
            fn sub(self, other: Self) -> Self { self.wrapping_sub(other) }
            #[inline]
            fn mul(self, other: Self) -> Self { self.wrapping_mul(other) }
            #[inline]
            fn neg(self) -> Self { self.wrapping_neg() }
            #[inline]
            fn abs(self) -> Self { $abs(self) }
            #[inline]
            fn maximum(self, other: Self) -> Self { self.max(other) }
            #[inline]
            fn minimum(self, other: Self) -> Self { self.min(other) }
            #[inline]
            fn from_f64(value: f64) -> Self { value as $type }
            #[inline]
            fn to_f64(self) -> f64 { self as f64 }
            #[inline]
            fn to_accumulator(self) -> Self { self }
            #[inline]
            fn from_accumulator(value: Self) -> Self { value }
        }
    )*};
}

integer!(i8: i8::wrapping_abs, i16: i16::wrapping_abs, i32: i32::wrapping_abs, i64: i64::wrapping_abs);
integer!(u8: u8::from, u16: u16::from, u32: u32::from, u64: u64::from);

/// `maximum` or `minimum` of two floats, by the given comparison: `a` if it wins or is NaN. Without
/// a branch, for loops over it.
macro_rules! nan_propagating {
    ($a:expr, $compare:tt, $b:expr) => {
        if ($a $compare $b) | $a.is_nan() { $a } else { $b }
    };
}

macro_rules! native_float {
    (
        $type:ident, vectorized: $vectorized:literal,
        exp: $exp:path, ln: $ln:path, tanh: $tanh:path, erf: $erf:path
    ) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const VECTORIZED: bool = $vectorized;
        }
        impl Number for $type {
            type Accumulator = Self;

            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const MIN: Self = $type::NEG_INFINITY;
            const MAX: Self = $type::INFINITY;
            const LOWEST: Self = $type::MIN;

            #[inline(always)]
            fn add(self, other: Self) -> Self { self + other }
            #[inline(always)]
            fn sub(self, other: Self) -> Self { self - other }
            #[inline(always)]
            fn mul(self, other: Self) -> Self { self * other }
            #[inline(always)]
            fn neg(self) -> Self { -self }
            #[inline(always)]
            fn abs(self) -> Self { $type::abs(self) }
            #[inline(always)]
            fn maximum(self, other: Self) -> Self { nan_propagating!(self, >, other) }
            #[inline(always)]
            fn minimum(self, other: Self) -> Self { nan_propagating!(self, <, other) }
            #[inline(always)]
            fn from_f64(value: f64) -> Self { value as $type }
            #[inline(always)]
            fn to_f64(self) -> f64 { f64::from(self) }
            #[inline(always)]
            fn to_accumulator(self) -> Self { self }
            #[inline(always)]
            fn from_accumulator(value: Self) -> Self { value }
        }

        impl Float for $type {
            const NAN: Self = $type::NAN;
            const INFINITY: Self = $type::INFINITY;
            const EPSILON: Self = $type::EPSILON;

            #[inline(always)]
            fn div(self, other: Self) -> Self { self / other }
            #[inline(always)]
            fn from_f32(value: f32) -> Self { value as $type }
            #[inline(always)]
            fn to_f32(self) -> f32 { self as f32 }
            #[inline(always)]
            fn is_nan(self) -> bool { $type::is_nan(self) }
            #[inline(always)]
            fn is_finite(self) -> bool { $type::is_finite(self) }
            native_float!(@binary $type: powf atan2 copysign);
            native_float!(@unary $type: exp_m1 ln_1p sqrt recip floor ceil trunc
                round_ties_even sin cos tan asin acos atan sinh cosh);
            #[inline(always)]
            fn exp(self) -> Self { $exp(self) }
            #[inline(always)]
            fn ln(self) -> Self { $ln(self) }
            #[inline(always)]
            fn tanh(self) -> Self { $tanh(self) }
            #[inline(always)]
            fn erf(self) -> Self { $erf(self) }
        }
    };
    (@unary $type:ident: $($function:ident)*) => {$(
        #[inline(always)]
        fn $function(self) -> Self { $type::$function(self) }
    )*};
    (@binary $type:ident: $($function:ident)*) => {$(
        #[inline(always)]
        fn $function(self, other: Self) -> Self { $type::$function(self, other) }
    )*};
}

native_float!(
    f32, vectorized: true,
    exp: vecmath::exp, ln: vecmath::log, tanh: vecmath::tanh, erf: vecmath::erf
);
native_float!(f64, vectorized: false, exp: f64::exp, ln: f64::ln, tanh: f64::tanh, erf: libm::erf);

macro_rules! half_float {
    ($type:ident) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {}
        impl Number for $type {
            type Accumulator = f32;

            const ZERO: Self = $type::ZERO;
            const ONE: Self = $type::ONE;
            const MIN: Self = $type::NEG_INFINITY;
            const MAX: Self = $type::INFINITY;
            const LOWEST: Self = $type::MIN;

            half_float!(@binary $type, Number: add sub mul);

            // Sign operations act on the bits, so a NaN keeps its payload.
            #[inline]
            fn neg(self) -> Self { -self }
            #[inline]
            fn abs(self) -> Self { $type::from_bits(self.to_bits() & 0x7fff) }
            #[inline]
            fn maximum(self, other: Self) -> Self { nan_propagating!(self, >, other) }
            #[inline]
            fn minimum(self, other: Self) -> Self { nan_propagating!(self, <, other) }
            #[inline]
            fn from_f64(value: f64) -> Self { $type::from_f64(value) }
            #[inline]
            fn to_f64(self) -> f64 { $type::to_f64(self) }
            #[inline]
            fn to_accumulator(self) -> f32 { $type::to_f32(self) }
            #[inline]
            fn from_accumulator(value: f32) -> Self { $type::from_f32(value) }
        }

        impl Float for $type {
            const NAN: Self = $type::NAN;
            const INFINITY: Self = $type::INFINITY;
            const EPSILON: Self = $type::EPSILON;

            #[inline]
            fn copysign(self, sign: Self) -> Self { $type::copysign(self, sign) }
            #[inline]
            fn is_nan(self) -> bool { $type::is_nan(self) }
            #[inline]
            fn is_finite(self) -> bool { $type::is_finite(self) }
            #[inline]
            fn from_f32(value: f32) -> Self { $type::from_f32(value) }
            #[inline]
            fn to_f32(self) -> f32 { $type::to_f32(self) }
            half_float!(@binary $type, Float: div powf atan2);
            half_float!(@unary $type: exp exp_m1 ln ln_1p sqrt recip floor ceil trunc
                round_ties_even sin cos tan asin acos atan sinh cosh tanh erf);
        }
    };
    (@unary $type:ident: $($function:ident)*) => {$(
        #[inline]
        fn $function(self) -> Self {
            $type::from_f32(<f32 as Float>::$function($type::to_f32(self)))
        }
    )*};
    (@binary $type:ident, $trait:ident: $($function:ident)*) => {$(
        #[inline]
        fn $function(self, other: Self) -> Self {
            $type::from_f32($trait::$function($type::to_f32(self), $type::to_f32(other)))
        }
    )*};
}

half_float!(f16);
half_float!(bf16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap() {
        assert_eq!(Number::add(i8::MAX, 1), i8::MIN);
        assert_eq!(Number::sub(0u32, 1), u32::MAX);
        assert_eq!(Number::mul(1i64 << 62, 4), 0);
        assert_eq!(Number::abs(i16::MIN), i16::MIN);
        assert_eq!(Number::abs(200u8), 200);
        assert_eq!(Number::neg(1u16), u16::MAX);
        assert_eq!(<i8 as Number>::from_f64(-1e9), i8::MIN);
        assert_eq!(<u8 as Number>::from_f64(f64::NAN), 0);
    }

    fn extremes_propagate_nan<T: Float>() {
        for (a, b) in [(T::NAN, T::ONE), (T::ONE, T::NAN)] {
            assert!(a.maximum(b).is_nan() && a.minimum(b).is_nan());
        }
        assert_eq!(T::ONE.maximum(T::ZERO), T::ONE);
        assert_eq!(T::ONE.minimum(T::ZERO), T::ZERO);
        assert_eq!(T::MIN.maximum(T::ZERO), T::ZERO);
        assert_eq!(T::ONE.neg().abs(), T::ONE);
    }

    #[test]
    fn maximum_and_minimum_propagate_nan() {
        extremes_propagate_nan::<f16>();
        extremes_propagate_nan::<bf16>();
        extremes_propagate_nan::<f32>();
        extremes_propagate_nan::<f64>();
    }

    #[test]
    fn half_computes_in_f32_and_rounds_once() {
        // 1 + 2^-11 lies halfway between two f16 values: ties go to the even one, which is 1.
        let tiny = f16::from_f64(2f64.powi(-11));
        assert_eq!(Number::add(f16::ONE, tiny), f16::ONE);
        assert_eq!(Float::exp(bf16::ZERO), bf16::ONE);
        assert_eq!(Float::round_ties_even(f16::from_f64(2.5)), f16::from_f64(2.0));
    }
}
