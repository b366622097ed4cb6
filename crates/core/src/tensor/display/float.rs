//! Floats as NumPy and Python write them.

use crate::dtype::DType;
use crate::tensor::Tensor;

/// The most digits after the point, NumPy's `precision`.
const PRECISION: usize = 8;

/// The values at these places, exactly, of a tensor of floats.
pub(super) fn values(tensor: &Tensor, places: &[usize]) -> Option<Vec<f64>> {
    let array = tensor.array().ok()?;
    let values = match tensor.dtype() {
        DType::Float16 => places.iter().map(|&i| array.data::<half::f16>()[i].to_f64()).collect(),
        DType::BFloat16 => places.iter().map(|&i| array.data::<half::bf16>()[i].to_f64()).collect(),
        DType::Float32 => places.iter().map(|&i| f64::from(array.data::<f32>()[i])).collect(),
        DType::Float64 => places.iter().map(|&i| array.data::<f64>()[i]).collect(),
        _ => return None,
    };
    Some(values)
}

/// As an array shows them: of one width, all positional or all scientific.
pub(super) fn words(values: &[f64], dtype: DType) -> Vec<String> {
    if dtype == DType::BFloat16 {
        return values.iter().map(|&value| general(value)).collect();
    }
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let nonfinite_width =
        values.iter().filter(|value| !value.is_finite()).map(|&value| nonfinite(value).len());
    let nonfinite_width = nonfinite_width.max().unwrap_or(0);
    let texts = if is_scientific(&finite, dtype) {
        scientific_words(&finite, dtype)
    } else {
        positional_words(&finite, dtype)
    };
    let width = texts.iter().map(String::len).max().unwrap_or(0).max(nonfinite_width);
    let mut texts = texts.into_iter();
    let word = |&value: &f64| {
        let text = if value.is_finite() { texts.next() } else { Some(nonfinite(value).into()) };
        format!("{:>width$}", text.unwrap_or_default())
    };
    values.iter().map(word).collect()
}

fn is_scientific(finite: &[f64], dtype: DType) -> bool {
    let magnitudes = finite.iter().map(|value| value.abs()).filter(|&magnitude| magnitude != 0.0);
    let (least, greatest) = magnitudes
        .fold((f64::INFINITY, 0.0), |(least, greatest): (f64, f64), magnitude| {
            (least.min(magnitude), greatest.max(magnitude))
        });
    if greatest == 0.0 {
        return false;
    }
    // NumPy compares and divides in the dtype itself.
    let (least_positional, ratio) = match dtype {
        DType::Float16 => {
            let [least, greatest] = [least, greatest].map(half::f16::from_f64);
            (half::f16::from_f64(1e-4).to_f64(), (greatest / least).to_f64())
        }
        DType::Float32 => (f64::from(1e-4f32), f64::from(greatest as f32 / least as f32)),
        _ => (1e-4, greatest / least),
    };
    greatest >= positional_end(dtype).min(1e8) || least < least_positional || ratio > 1000.0
}

/// The least magnitude that is written in scientific notation: what the dtype's digits still
/// reach, `10 ** finfo(dtype).precision`, and Python's own limit for `float64`.
fn positional_end(dtype: DType) -> f64 {
    match dtype {
        DType::Float16 => 1e3,
        DType::Float32 => 1e6,
        _ => 1e16,
    }
}

fn nonfinite(value: f64) -> &'static str {
    if value.is_nan() {
        "nan"
    } else if value > 0.0 {
        "inf"
    } else {
        "-inf"
    }
}

/// Aligned at the point, without trailing zeros.
fn positional_words(values: &[f64], dtype: DType) -> Vec<String> {
    let parts: Vec<(String, String)> = values
        .iter()
        .map(|&value| {
            let (integer, mut fraction) = positional(value, dtype);
            if fraction.len() > PRECISION {
                let rounded = format!("{value:.PRECISION$}");
                let (integer, fraction) = rounded.split_once('.').unwrap_or((&rounded, ""));
                return (integer.to_string(), fraction.trim_end_matches('0').to_string());
            }
            fraction.truncate(fraction.trim_end_matches('0').len());
            (integer, fraction)
        })
        .collect();
    let left = parts.iter().map(|(integer, _)| integer.len()).max().unwrap_or(0);
    let right = parts.iter().map(|(_, fraction)| fraction.len()).max().unwrap_or(0);
    parts.iter().map(|(integer, fraction)| format!("{integer:>left$}.{fraction:<right$}")).collect()
}

/// With as many digits as the longest needs, which are those of the exact value.
fn scientific_words(values: &[f64], dtype: DType) -> Vec<String> {
    let needed = |&value: &f64| {
        let text = shortest(value, dtype);
        let digits = |text: &str| {
            let mantissa = text.split('e').next().unwrap_or(text);
            mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len())
        };
        match digits(&text) {
            count if count > PRECISION => digits(&format!("{value:.PRECISION$e}")),
            count => count,
        }
    };
    let precision = values.iter().map(needed).max().unwrap_or(0);
    let parts: Vec<(String, i32)> = values
        .iter()
        .map(|value| split_exponent(&format!("{value:.precision$e}")))
        .map(|(mantissa, exponent)| {
            let point = if precision == 0 { "." } else { "" };
            (format!("{mantissa}{point}"), exponent)
        })
        .collect();
    let digits = parts.iter().map(|(_, exponent)| exponent_text(*exponent, 2).len() - 1).max();
    let digits = digits.unwrap_or(2);
    let left = parts.iter().map(|(mantissa, _)| mantissa.len()).max().unwrap_or(0);
    parts
        .iter()
        .map(|(mantissa, exponent)| {
            format!("{mantissa:>left$}e{}", exponent_text(*exponent, digits))
        })
        .collect()
}

/// As NumPy's `str` of a scalar of the dtype.
pub(super) fn scalar(value: f64, dtype: DType) -> String {
    match dtype {
        DType::BFloat16 => general(value),
        _ => number(value, dtype),
    }
}

/// As Python's `repr` of the value as a `float`.
pub(super) fn python(value: f64, _: DType) -> String {
    number(value, DType::Float64)
}

fn number(value: f64, dtype: DType) -> String {
    if !value.is_finite() {
        return nonfinite(value).into();
    }
    if value == 0.0 || (1e-4..positional_end(dtype)).contains(&value.abs()) {
        let (integer, fraction) = positional(value, dtype);
        return format!("{integer}.{}", if fraction.is_empty() { "0" } else { &fraction });
    }
    let (mantissa, exponent) = split_exponent(&shortest(value, dtype));
    format!("{mantissa}e{}", exponent_text(exponent, 2))
}

/// As C's `%g`, in which TensorFlow writes `bfloat16`: six digits, no trailing zeros.
fn general(value: f64) -> String {
    if !value.is_finite() {
        return nonfinite(value).into();
    }
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    let (mantissa, exponent) = split_exponent(&format!("{value:.5e}"));
    if (-4..6).contains(&exponent) {
        return trim(&format!("{value:.*}", (5 - exponent) as usize));
    }
    format!("{}e{}", trim(&mantissa), exponent_text(exponent, 2))
}

/// The fewest digits that read back as the same value of the dtype: `-1.25e-7`.
fn shortest(value: f64, dtype: DType) -> String {
    match dtype {
        DType::Float32 => format!("{:e}", value as f32),
        DType::Float16 => (0..)
            .map(|digits| format!("{value:.digits$e}"))
            .find(|text| {
                text.parse().is_ok_and(|parsed| half::f16::from_f64(parsed).to_f64() == value)
            })
            .expect("five digits tell any two float16 values apart"),
        _ => format!("{value:e}"),
    }
}

/// The shortest digits before and after the point.
fn positional(value: f64, dtype: DType) -> (String, String) {
    let (mantissa, exponent) = split_exponent(&shortest(value, dtype));
    let (sign, magnitude) = match mantissa.strip_prefix('-') {
        Some(magnitude) => ("-", magnitude),
        None => ("", mantissa.as_str()),
    };
    let digits = magnitude.replace('.', "");
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return (format!("{sign}0"), format!("{zeros}{digits}"));
    }
    let point = exponent as usize + 1;
    let digits = format!("{digits:0<point$}");
    (format!("{sign}{}", &digits[..point]), digits[point..].to_string())
}

fn split_exponent(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').expect("the text is in scientific notation");
    (mantissa.into(), exponent.parse().expect("an exponent is a small integer"))
}

/// A sign and at least `digits` digits.
fn exponent_text(exponent: i32, digits: usize) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{:0digits$}", exponent.unsigned_abs())
}
