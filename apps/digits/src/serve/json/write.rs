//! Values as TensorFlow Serving writes them.

use std::fmt::{Debug, Write};

/// Appends the shortest digits that read back as the same number; a whole number gets `.0`, what is
/// not finite is `NaN`, `Infinity` or `-Infinity`.
pub fn push_float(out: &mut String, value: impl Into<f64> + Debug + Copy) {
    match not_finite(value.into()) {
        Some(word) => out.push_str(word),
        // Writing into a string cannot fail.
        None => _ = write!(out, "{value:?}"),
    }
}

fn not_finite(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        None
    }
}

/// Appends a string in quotes.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\u{0}'..'\u{20}' => _ = write!(out, "\\u{:04x}", u32::from(character)),
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_short_and_come_back() {
        for (value, text) in [
            (0.2, "0.2"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e-7, "1e-7"),
            (0.1 + 0.2, "0.3"),
            (16_777_216.0, "16777216.0"),
            (f32::MAX, "3.4028235e38"),
            (f32::NAN, "NaN"),
            (-f32::INFINITY, "-Infinity"),
        ] {
            let mut out = String::new();
            push_float(&mut out, value);
            assert_eq!(out, text);
            if value.is_finite() {
                assert_eq!(out.parse::<f32>().unwrap().to_bits(), value.to_bits());
            }
        }
    }

    #[test]
    fn strings_are_escaped() {
        let mut out = String::new();
        push_string(&mut out, "a\"\\\n\u{1}é");
        assert_eq!(out, "\"a\\\"\\\\\\n\\u0001é\"");
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), "a\"\\\n\u{1}é");
    }
}
