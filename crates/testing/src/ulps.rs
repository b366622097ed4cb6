//! Distances in units in the last place.

/// The number of `f32` values from `a` to `b`: 0 for equal values (`-0.0` and `0.0` included) and
/// for two NaNs, `u32::MAX` for one NaN.
///
/// ```
/// use tapeflow_testing::ulps_f32;
///
/// assert_eq!(ulps_f32(1.0, 1.0 + 2.0 * f32::EPSILON), 2);
/// ```
pub fn ulps_f32(a: f32, b: f32) -> u32 {
    if a.is_nan() || b.is_nan() {
        return if a.is_nan() && b.is_nan() { 0 } else { u32::MAX };
    }
    // The magnitude's bits order the values of one sign.
    let place = |x: f32| {
        let magnitude = i64::from(x.abs().to_bits());
        if x.is_sign_negative() { -magnitude } else { magnitude }
    };
    place(a).abs_diff(place(b)) as u32
}

/// The number of `f64` values from `a` to `b`: 0 for equal values (`-0.0` and `0.0` included) and
/// for two NaNs, `u64::MAX` for one NaN.
///
/// ```
/// use tapeflow_testing::ulps_f64;
///
/// assert_eq!(ulps_f64(-f64::MIN_POSITIVE, -f64::MIN_POSITIVE.next_up()), 1);
/// ```
pub fn ulps_f64(a: f64, b: f64) -> u64 {
    if a.is_nan() || b.is_nan() {
        return if a.is_nan() && b.is_nan() { 0 } else { u64::MAX };
    }
    let place = |x: f64| {
        let magnitude = i128::from(x.abs().to_bits());
        if x.is_sign_negative() { -magnitude } else { magnitude }
    };
    place(a).abs_diff(place(b)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_the_values_between() {
        assert_eq!(ulps_f32(0.0, -0.0), 0);
        assert_eq!(ulps_f32(f32::from_bits(1), -f32::from_bits(1)), 2);
        assert_eq!(ulps_f32(f32::MAX, f32::INFINITY), 1);
        assert_eq!(ulps_f32(2.0, 2.0f32.next_down()), 1);
        assert_eq!(ulps_f32(f32::NEG_INFINITY, f32::INFINITY), 2 * 0x7f80_0000);
        assert_eq!(ulps_f32(f32::NAN, -f32::NAN), 0);
        assert_eq!(ulps_f32(f32::NAN, 1.0), u32::MAX);
        assert_eq!(ulps_f64(0.0, -0.0), 0);
        assert_eq!(ulps_f64(1.0, 1.0 + f64::EPSILON), 1);
        assert_eq!(ulps_f64(f64::NEG_INFINITY, f64::INFINITY), 2 * 0x7ff0_0000_0000_0000);
        assert_eq!(ulps_f64(f64::NAN, 1.0), u64::MAX);
    }
}
