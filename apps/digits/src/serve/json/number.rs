//! Numbers: JSON's, and bare `NaN`, `Inf`, `Infinity` with or without a minus.

use super::Node;

/// Powers of ten that a `f64` holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// Whole numbers below this are exact in a `f64`.
const EXACT: u64 = 1 << 53;

/// The number at the beginning of `bytes` and its length; else what is wrong, and where.
pub fn read(bytes: &[u8]) -> Result<(Node, usize), (&'static str, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let sign = if negative { -1.0 } else { 1.0 };
    let mut at = usize::from(negative);
    for (word, value) in [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("Inf", f64::INFINITY)] {
        if bytes[at..].starts_with(word.as_bytes()) {
            return Ok((Node::Decimal(sign * value), at + word.len()));
        }
    }
    let mut digits = Digits::default();
    match bytes.get(at) {
        Some(b'0') => at += 1,
        Some(b'1'..=b'9') => at += digits.read(&bytes[at..]),
        _ => return Err(("Invalid value.", at)),
    }
    let whole = at;
    let mut exponent = 0;
    if bytes.get(at) == Some(&b'.') {
        let length = digits.read(&bytes[at + 1..]);
        if length == 0 {
            return Err(("Miss fraction part in number.", at + 1));
        }
        at += 1 + length;
        exponent = -(length as i64);
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        let minus = bytes.get(at) == Some(&b'-');
        at += usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
        let mut power = Digits::default();
        let length = power.read(&bytes[at..]);
        if length == 0 {
            return Err(("Miss exponent in number.", at));
        }
        at += length;
        let power = if power.overflown { i64::MAX / 4 } else { (power.value as i64).min(1 << 40) };
        exponent += if minus { -power } else { power };
    }
    let value = sign * digits.scaled(exponent, &bytes[usize::from(negative)..at]);
    if value.is_infinite() {
        return Err(("Number too big to be stored in double.", 0));
    }
    Ok((if at == whole { Node::Integer(value) } else { Node::Decimal(value) }, at))
}

/// Decimal digits as a whole number, as long as it fits.
#[derive(Default)]
struct Digits {
    value: u64,
    overflown: bool,
}

impl Digits {
    /// Takes the digits that `bytes` begins with; how many there are.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut length = 0;
        while let Some(digit @ b'0'..=b'9') = bytes.get(length) {
            let next =
                self.value.checked_mul(10).and_then(|v| v.checked_add((digit - b'0').into()));
            self.overflown |= next.is_none();
            self.value = next.unwrap_or(self.value);
            length += 1;
        }
        length
    }

    /// The digits times ten to the `exponent`: where both are exact in a `f64`, one operation
    /// rounds them correctly; else the standard library reads the whole text.
    fn scaled(&self, exponent: i64, text: &[u8]) -> f64 {
        let power = POWERS.get(exponent.unsigned_abs() as usize);
        match power {
            Some(power) if !self.overflown && self.value < EXACT => {
                if exponent < 0 {
                    self.value as f64 / power
                } else {
                    self.value as f64 * power
                }
            }
            _ => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok())
                .expect("it was checked to be a number"),
        }
    }
}
