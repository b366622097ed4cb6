use super::*;
use crate::chain::{Function, map};

/// Every how many-th bit pattern is tested: a prime, so that all exponents and endings occur.
const STRIDE: usize = 1009;

struct Case {
    name: &'static str,
    single: fn(f32) -> f32,
    exact: fn(f64) -> f64,
    bound: f64,
}

/// What each function is compared with: in `f64`, whose own error is far below an `f32`'s last place.
const CASES: [Case; 5] = [
    Case { name: "exp", single: exp, exact: f64::exp, bound: EXP_ULP },
    Case { name: "log", single: log, exact: f64::ln, bound: LOG_ULP },
    Case { name: "tanh", single: tanh, exact: f64::tanh, bound: TANH_ULP },
    Case { name: "sigmoid", single: sigmoid::<f32>, exact: sigmoid::<f64>, bound: SIGMOID_ULP },
    Case { name: "erf", single: erf, exact: libm::erf, bound: ERF_ULP },
];

/// The distance in units in the last place of `exact` as an `f32`; infinite where one is NaN,
/// infinite or of the other sign and the other is not.
fn ulp(got: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if got.to_bits() == rounded.to_bits() && !rounded.is_finite() {
        return 0.0;
    }
    if got.is_nan() && rounded.is_nan() {
        return 0.0;
    }
    if !got.is_finite()
        || !rounded.is_finite()
        || got.is_sign_negative() != exact.is_sign_negative()
    {
        return f64::INFINITY;
    }
    let exponent = rounded.abs().max(f32::MIN_POSITIVE).to_bits() >> 23;
    (f64::from(got) - exact).abs() / 2f64.powi(exponent as i32 - 127 - 23)
}

#[test]
fn a_dense_set_of_all_bit_patterns_is_within_the_bounds() {
    for case in CASES {
        let (mut worst, mut at) = (0.0, 0.0);
        for bits in (0..=u32::MAX).step_by(STRIDE) {
            let x = f32::from_bits(bits);
            let distance = ulp((case.single)(x), (case.exact)(f64::from(x)));
            if distance > worst {
                (worst, at) = (distance, x);
            }
        }
        assert!(worst <= case.bound, "{} of {at:e} is {worst} ULP off", case.name);
    }
}

#[test]
fn specials_and_borders_are_those_of_std() {
    let mut values = vec![0.0, 1.0, 0.5, f32::MIN_POSITIVE, 1e-45, 1e-40, 0.625, 0.92, 4.0, 9.0];
    values.extend([88.7, 88.72284, 88.8, 103.9, 104.1, 1e10, f32::MAX, f32::INFINITY, f32::NAN]);
    values.extend([87.33655, 103.27893, 2f32.sqrt(), 0.5f32.sqrt(), 127.5, 1e-8, 17.0]);
    for case in CASES {
        for &value in &values {
            for x in [value, -value] {
                let (got, exact) = ((case.single)(x), (case.exact)(f64::from(x)));
                let distance = ulp(got, exact);
                assert!(distance <= case.bound, "{} of {x:e}: {got:e} {exact:e}", case.name);
            }
        }
    }
    assert_eq!([exp(0.0), exp(f32::NEG_INFINITY), log(1.0)], [1.0, 0.0, 0.0]);
    assert_eq!([log(0.0), log(-0.0)], [f32::NEG_INFINITY; 2]);
    assert_eq!([tanh(20.0), erf(5.0), erf(-5.0)], [1.0, 1.0, -1.0]);
}

#[test]
fn loops_give_the_bits_of_single_values() {
    let x: Vec<f32> = (0..=u32::MAX).step_by(65_537).map(f32::from_bits).collect();
    let functions =
        [Function::Exp, Function::Log, Function::Tanh, Function::Sigmoid, Function::Erf];
    for (function, case) in functions.into_iter().zip(CASES) {
        let mut out = vec![0.0; x.len()];
        map(function, &x, &mut out);
        for (&x, &out) in x.iter().zip(&out) {
            let single = (case.single)(x);
            let same = out.to_bits() == single.to_bits() || (out.is_nan() && single.is_nan());
            assert!(same, "{} of {x:e}: {out:e} {single:e}", case.name);
        }
    }
}
