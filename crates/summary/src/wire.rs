//! Protocol buffers, as much of their wire format as event files need.
//!
//! A message is a row of fields: a key, which is the field's number and how its value is stored,
//! then the value. <https://protobuf.dev/programming-guides/encoding/> describes it.

use tapeflow_core::{Error, Result};

/// How a value is stored: the low three bits of a key.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A message under construction. Each method appends a field.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn new() -> Message {
        Message::default()
    }

    /// An integer, a `bool` or the number of an enum's variant.
    pub(crate) fn int(mut self, field: u64, value: i64) -> Message {
        self.key(field, VARINT);
        // Negative numbers are stored as 64 bits of two's complement.
        self.varint(value as u64);
        self
    }

    pub(crate) fn double(mut self, field: u64, value: f64) -> Message {
        self.key(field, FIXED64);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Message {
        let value = value.as_ref();
        self.key(field, BYTES);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    pub(crate) fn message(self, field: u64, value: Message) -> Message {
        self.bytes(field, value.0)
    }

    /// The same with what `fields` appends for each item.
    pub(crate) fn each<T>(
        self,
        items: impl IntoIterator<Item = T>,
        fields: impl Fn(Message, T) -> Message,
    ) -> Message {
        items.into_iter().fold(self, fields)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The value of a field that was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

impl<'a> Value<'a> {
    /// Bytes, a text or a message; empty where the field is stored in another way, which no writer
    /// of the format does.
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// A text; what is no UTF-8 in it is replaced.
    pub(crate) fn text(self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    pub(crate) fn int(self) -> i64 {
        match self {
            Value::Varint(value) => value as i64,
            _ => 0,
        }
    }

    pub(crate) fn double(self) -> f64 {
        match self {
            Value::Fixed64(bytes) => f64::from_le_bytes(bytes),
            _ => 0.0,
        }
    }
}

/// The fields of a message, each its number and value. It ends after the first error.
pub(crate) struct Fields<'a>(&'a [u8]);

pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(self.array()?),
            BYTES => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED32 => Value::Fixed32(self.array()?),
            kind => {
                return Err(Error::data(format!("a message has a field stored in way {kind}")));
            }
        };
        Ok((key >> 3, value))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for place in 0..10 {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::data("a message has an integer of more than 64 bits"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk().ok_or_else(cut_short)?;
        self.0 = rest;
        Ok(*array)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let length = usize::try_from(length).map_err(|_| cut_short())?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(cut_short)?;
        self.0 = rest;
        Ok(taken)
    }
}

fn cut_short() -> Error {
    Error::data("a message ends inside of a field")
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_description() {
        assert_eq!(Message::new().int(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        let text = Message::new().bytes(2, "testing");
        assert_eq!(text.into_bytes(), b"\x12\x07testing");
        let nested = Message::new().message(3, Message::new().int(1, 150));
        assert_eq!(nested.into_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let minus_two = Message::new().int(1, -2).into_bytes();
        assert_eq!(minus_two[1..], [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn fields_come_back() {
        let message = Message::new().int(1, -5).double(2, 0.1).bytes(300, [7, 8]).int(4, i64::MAX);
        let message = message.into_bytes();
        let read: Vec<_> = fields(&message).map(Result::unwrap).collect();
        assert_eq!(read[0].1.int(), -5);
        assert_eq!(read[1], (2, Value::Fixed64(0.1f64.to_le_bytes())));
        assert_eq!(read[2], (300, Value::Bytes(&[7, 8])));
        assert_eq!(read[3].1.int(), i64::MAX);
    }

    #[test]
    fn a_field_of_another_kind_than_expected_is_nothing() {
        assert_eq!(Value::Varint(5).bytes(), b"");
        assert_eq!(Value::Bytes(&[1]).int(), 0);
        assert_eq!(Value::Fixed32([1; 4]).double(), 0.0);
    }

    #[test]
    fn a_message_cut_short_is_an_error_once() {
        for bytes in [&[0x08][..], &[0x08, 0x80], &[0x12, 5, 1], &[0x09, 1], &[0x0d], &[0x0b]] {
            let mut fields = fields(bytes);
            assert!(fields.next().unwrap().unwrap_err().is_data());
            assert!(fields.next().is_none());
        }
        assert!(
            fields(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])
                .next()
                .unwrap()
                .is_err()
        );
        assert!(
            fields(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])
                .next()
                .unwrap()
                .is_err()
        );
    }
}
