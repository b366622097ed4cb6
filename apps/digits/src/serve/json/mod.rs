//! JSON bodies, read the way TensorFlow Serving reads them: bare `NaN` and `Infinity` are numbers,
//! and errors have its words and the place.
//!
//! A body becomes one flat list of nodes instead of a tree: an array of a thousand images costs no
//! allocation a row, and nothing is left to free but the list. How long it may become is known before.

mod number;
mod parse;
mod write;

use std::borrow::Cow;

pub use write::{push_float, push_string};

/// A value, or the beginning of one. What an array or object holds follows it in the list.
#[derive(Debug, Clone, Copy)]
enum Node {
    Null,
    Bool(bool),
    /// A number written without point or exponent.
    Integer(f64),
    Decimal(f64),
    /// The place of the characters between the quotes in the source.
    Text {
        start: u32,
        end: u32,
    },
    /// How many elements follow, and the node behind the last.
    Array {
        length: u32,
        end: u32,
    },
    /// How many members follow, each a `Text` and a value, and the node behind the last.
    Object {
        length: u32,
        end: u32,
    },
}

/// A body that was read.
pub struct Document<'a> {
    source: &'a str,
    nodes: Vec<Node>,
}

/// A value in a document.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    document: &'a Document<'a>,
    at: usize,
}

impl<'a> Document<'a> {
    /// The bytes that the nodes of a body may take.
    pub fn memory(body: &[u8]) -> usize {
        parse::most_nodes(body) * size_of::<Node>()
    }

    /// Reads a body.
    pub fn parse(body: &'a [u8]) -> Result<Document<'a>, String> {
        let (source, nodes) = parse::parse(body)?;
        Ok(Document { source, nodes })
    }

    pub fn root(&self) -> Value<'_> {
        Value { document: self, at: 0 }
    }
}

impl<'a> Value<'a> {
    fn node(self) -> Node {
        self.document.nodes[self.at]
    }

    fn next(self) -> Value<'a> {
        let at = match self.node() {
            Node::Array { end, .. } | Node::Object { end, .. } => end as usize,
            _ => self.at + 1,
        };
        Value { document: self.document, at }
    }

    fn text_at(self, start: u32, end: u32) -> Cow<'a, str> {
        parse::unescaped(&self.document.source[start as usize..end as usize])
    }

    /// The number, and whether it was written as an integer.
    pub fn number(self) -> Option<(f64, bool)> {
        match self.node() {
            Node::Integer(value) => Some((value, true)),
            Node::Decimal(value) => Some((value, false)),
            _ => None,
        }
    }

    pub fn text(self) -> Option<Cow<'a, str>> {
        match self.node() {
            Node::Text { start, end } => Some(self.text_at(start, end)),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn elements(self) -> Option<impl ExactSizeIterator<Item = Value<'a>>> {
        let Node::Array { length, .. } = self.node() else { return None };
        let mut next = Value { document: self.document, at: self.at + 1 };
        Some((0..length as usize).map(move |_| {
            let value = next;
            next = value.next();
            value
        }))
    }

    /// The members of an object.
    pub fn members(self) -> Option<impl ExactSizeIterator<Item = (Cow<'a, str>, Value<'a>)>> {
        let Node::Object { length, .. } = self.node() else { return None };
        let mut next = Value { document: self.document, at: self.at + 1 };
        Some((0..length as usize).map(move |_| {
            let name = next.text().unwrap_or_default();
            let value = next.next();
            next = value.next();
            (name, value)
        }))
    }

    /// The first member of that name, if this is an object that has one.
    pub fn member(self, name: &str) -> Option<Value<'a>> {
        self.members()?.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The name of the value's type.
    pub fn type_name(self) -> &'static str {
        match self.node() {
            Node::Null => "Null",
            Node::Bool(false) => "False",
            Node::Bool(true) => "True",
            Node::Integer(_) | Node::Decimal(_) => "Number",
            Node::Text { .. } => "String",
            Node::Array { .. } => "Array",
            Node::Object { .. } => "Object",
        }
    }

    /// The value as a message quotes it: cut off where it is long.
    pub fn quoted(self) -> String {
        const LONGEST: usize = 120;
        let mut out = String::new();
        self.quote(&mut out, LONGEST);
        if out.len() > LONGEST {
            let cut = (0..=LONGEST).rev().find(|&at| out.is_char_boundary(at)).unwrap_or(0);
            out.truncate(cut);
            out.push_str("...");
        }
        out
    }

    /// Writes the value, or as much of it as is needed to pass `longest`.
    fn quote(self, out: &mut String, longest: usize) {
        match self.node() {
            Node::Null => out.push_str("null"),
            Node::Bool(value) => out.push_str(if value { "true" } else { "false" }),
            Node::Integer(value) => out.push_str(&format!("{value}")),
            Node::Decimal(value) => push_float(out, value),
            Node::Text { start, end } => push_string(out, &self.text_at(start, end)),
            Node::Array { .. } => {
                out.push('[');
                for (i, element) in self.elements().into_iter().flatten().enumerate() {
                    if out.len() > longest {
                        return;
                    }
                    out.push_str(if i > 0 { ", " } else { "" });
                    element.quote(out, longest);
                }
                out.push(']');
            }
            Node::Object { .. } => {
                out.push('{');
                for (i, (name, value)) in self.members().into_iter().flatten().enumerate() {
                    if out.len() > longest {
                        return;
                    }
                    out.push_str(if i > 0 { ", " } else { "" });
                    push_string(out, &name);
                    out.push_str(": ");
                    value.quote(out, longest);
                }
                out.push('}');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tapeflow_testing::{SplitMix, mutation};

    use super::*;

    #[test]
    fn values_come_back() {
        let body =
            br#" {"a": [1, -2.5e1, [], {}], "b\n\u00e9\ud83d\ude00": "x", "n": null, "t": true,
            "z": [NaN, Infinity, -Infinity, Inf, 0, -0.0, 1e-7, 12345678901234567890, 0.1]} "#;
        let document = Document::parse(body).unwrap();
        let root = document.root();
        assert_eq!(root.members().unwrap().len(), 5);
        let a: Vec<_> = root.member("a").unwrap().elements().unwrap().collect();
        assert_eq!((a[0].number(), a[1].number()), (Some((1.0, true)), Some((-25.0, false))));
        assert_eq!((a[2].type_name(), a[3].type_name()), ("Array", "Object"));
        assert_eq!(root.member("b\né😀").unwrap().text().unwrap(), "x");
        let z: Vec<_> = root.member("z").unwrap().elements().unwrap().collect();
        let z: Vec<f64> = z.into_iter().map(|value| value.number().unwrap().0).collect();
        assert!(z[0].is_nan());
        assert_eq!(z[1..4], [f64::INFINITY, -f64::INFINITY, f64::INFINITY]);
        assert_eq!(z[4..], [0.0, -0.0, 1e-7, 12345678901234567890.0, 0.1]);
        assert!(z[5].is_sign_negative());
        assert!(root.member("c").is_none());
        assert_eq!(root.member("a").unwrap().quoted(), "[1, -25.0, [], {}]");
    }

    #[test]
    fn errors_have_the_words_of_the_original_and_the_place() {
        for (body, message) in [
            ("", "The document is empty"),
            ("  ", "The document is empty"),
            ("instances = [1, 2]", "Invalid value. at offset: 0"),
            ("{\"a\" 1}", "Missing a colon after a name of object member. at offset: 5"),
            ("{a: 1}", "Missing a name for object member. at offset: 1"),
            ("{\"a\": 1", "Missing a comma or } after an object member. at offset: 7"),
            ("[1 2]", "Missing a comma or ] after an array element. at offset: 3"),
            ("[1, ]", "Invalid value. at offset: 4"),
            ("\"abc", "Missing a closing quotation mark in string. at offset: 4"),
            ("\"\\x\"", "Invalid escape character in string. at offset: 1"),
            ("\"\\u12g4\"", "Incorrect hex digit after \\u escape in string. at offset: 1"),
            ("\"\\ud800\"", "The surrogate pair in string is invalid. at offset: 1"),
            ("1.", "Miss fraction part in number. at offset: 2"),
            ("1e", "Miss exponent in number. at offset: 2"),
            ("1e999", "Number too big to be stored in double. at offset: 0"),
            ("01", "The document root must not be followed by other values. at offset: 1"),
            ("{} x", "The document root must not be followed by other values. at offset: 3"),
            ("-x", "Invalid value. at offset: 1"),
            ("nul", "Invalid value. at offset: 0"),
        ] {
            let error = Document::parse(body.as_bytes()).err().unwrap_or_default();
            assert_eq!(error, format!("JSON Parse error: {message}"), "{body}");
        }
        let error = Document::parse(b"[\"\xff\"]").err().unwrap();
        assert_eq!(error, "JSON Parse error: Invalid encoding in string. at offset: 2");
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(Document::parse(&deep(64)).is_ok());
        for body in [deep(65), vec![b'['; 1_000_000], b"{\"a\":".repeat(200_000)] {
            let error = Document::parse(&body).err().unwrap();
            assert!(error.contains("deeper than 64"), "{error}");
        }
    }

    #[test]
    fn numbers_are_read_as_the_standard_library_reads_them() {
        let mut random = SplitMix::new(7);
        let mut random = || random.bits() >> 20;
        for i in 0..20_000 {
            let (digits, exponent) = (random() >> (random() % 44), random() as i64 % 60 - 30);
            let text = match i % 4 {
                0 => format!("{digits}"),
                1 => format!("{}.{digits}", random() % 100),
                2 => format!("-{digits}e{exponent}"),
                _ => format!("{:?}", f64::from_bits(random() << 20 | random())),
            };
            let text = text.replace("inf", "Infinity");
            let document = Document::parse(text.as_bytes()).unwrap();
            let (value, _) = document.root().number().unwrap();
            let expected: f64 = text.parse().unwrap();
            assert!(value.to_bits() == expected.to_bits() || expected.is_nan(), "{text}: {value}");
        }
    }

    #[test]
    fn long_values_are_quoted_in_part() {
        let body = format!("[{}]", ["\"é\""; 100_000].join(","));
        let quoted = Document::parse(body.as_bytes()).unwrap().root().quoted();
        assert!(quoted.len() < 130 && quoted.ends_with("..."), "{quoted}");
    }

    #[test]
    fn what_the_standard_parser_takes_is_taken_and_no_damage_panics() {
        let valid = br#"{"signature_name": "serving_default", "instances": [[[0.5], [1e-3]],
            {"b64": "aGk="}, [true, false, null, "\u00e9\\", -0, 12.0E+2]], "x": {"y": {}}}"#;
        assert!(Document::parse(valid).is_ok());
        mutation::for_each(valid, 20_000, |bytes| {
            let ours = Document::parse(bytes);
            if serde_json::from_slice::<serde_json::Value>(bytes).is_ok() {
                assert!(ours.is_ok(), "{}: {:?}", String::from_utf8_lossy(bytes), ours.err());
            }
            if let Ok(document) = ours {
                document.root().quoted();
            }
        });
    }
}
