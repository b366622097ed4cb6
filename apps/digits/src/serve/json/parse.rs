//! From bytes to nodes.

use std::borrow::Cow;

use super::Node;
use super::number;

/// The deepest nesting that is read; a batch of images needs 6.
const DEEPEST: usize = 64;

/// Reads a body to its end: the text it is, and the nodes.
pub fn parse(body: &[u8]) -> Result<(&str, Vec<Node>), String> {
    // Places in the text are kept in 32 bits.
    if u32::try_from(body.len()).is_err() {
        return Err("JSON Parse error: The document is too long".into());
    }
    let source = std::str::from_utf8(body)
        .map_err(|error| parse_error("Invalid encoding in string.", error.valid_up_to()))?;
    let mut parser = Parser { bytes: body, at: 0, nodes: Vec::with_capacity(most_nodes(body)) };
    parser.skip_space();
    if parser.at == body.len() {
        return Err("JSON Parse error: The document is empty".into());
    }
    parser.value(0)?;
    parser.skip_space();
    if parser.at < body.len() {
        let why = "The document root must not be followed by other values.";
        return Err(parse_error(why, parser.at));
    }
    Ok((source, parser.nodes))
}

/// No body has more nodes: each is the first, or behind one of these.
pub fn most_nodes(body: &[u8]) -> usize {
    1 + body.iter().filter(|byte| matches!(byte, b'[' | b'{' | b',' | b':')).count()
}

fn parse_error(why: &str, offset: usize) -> String {
    format!("JSON Parse error: {why} at offset: {offset}")
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn error<T>(&self, why: &str) -> Result<T, String> {
        Err(parse_error(why, self.at))
    }

    fn value(&mut self, depth: usize) -> Result<(), String> {
        match self.peek() {
            Some(b'[') => self.array(depth + 1),
            Some(b'{') => self.object(depth + 1),
            Some(b'"') => self.string(),
            Some(b'n') => self.word("null", Node::Null),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            _ => {
                let (node, length) = number::read(&self.bytes[self.at..])
                    .map_err(|(why, past)| parse_error(why, self.at + past))?;
                self.nodes.push(node);
                self.at += length;
                Ok(())
            }
        }
    }

    fn word(&mut self, word: &str, node: Node) -> Result<(), String> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return self.error("Invalid value.");
        }
        self.at += word.len();
        self.nodes.push(node);
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), String> {
        let place = self.open(depth)?;
        let mut length = 0;
        if !self.take(b']') {
            loop {
                self.value(depth)?;
                length += 1;
                self.skip_space();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return self.error("Missing a comma or ] after an array element.");
                }
                self.skip_space();
            }
        }
        self.nodes[place] = Node::Array { length, end: self.nodes.len() as u32 };
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), String> {
        let place = self.open(depth)?;
        let mut length = 0;
        if !self.take(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return self.error("Missing a name for object member.");
                }
                self.string()?;
                self.skip_space();
                if !self.take(b':') {
                    return self.error("Missing a colon after a name of object member.");
                }
                self.skip_space();
                self.value(depth)?;
                length += 1;
                self.skip_space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return self.error("Missing a comma or } after an object member.");
                }
                self.skip_space();
            }
        }
        self.nodes[place] = Node::Object { length, end: self.nodes.len() as u32 };
        Ok(())
    }

    /// Passes a bracket and keeps a place for the node.
    fn open(&mut self, depth: usize) -> Result<usize, String> {
        if depth > DEEPEST {
            return self.error(&format!("Nested deeper than {DEEPEST} levels."));
        }
        self.at += 1;
        self.skip_space();
        self.nodes.push(Node::Null);
        Ok(self.nodes.len() - 1)
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                None => return self.error("Missing a closing quotation mark in string."),
                Some(b'"') => break,
                Some(b'\\') => {
                    let (_, length) =
                        escape(&self.bytes[self.at..]).map_err(|why| parse_error(why, self.at))?;
                    self.at += length;
                }
                Some(0..0x20) => return self.error("Invalid encoding in string."),
                Some(_) => self.at += 1,
            }
        }
        self.nodes.push(Node::Text { start: start as u32, end: self.at as u32 });
        self.at += 1;
        Ok(())
    }
}

/// The character that an escape at the beginning of `bytes` means, and the escape's length.
fn escape(bytes: &[u8]) -> Result<(char, usize), &'static str> {
    let character = match bytes.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(bytes),
        _ => return Err("Invalid escape character in string."),
    };
    Ok((character, 2))
}

fn unicode_escape(bytes: &[u8]) -> Result<(char, usize), &'static str> {
    const PAIR: &str = "The surrogate pair in string is invalid.";
    let first = hex(bytes)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    let rest = &bytes[6..];
    if first >= 0xdc00 || !rest.starts_with(b"\\u") {
        return Err(PAIR);
    }
    let second = hex(rest)?;
    if !(0xdc00..0xe000).contains(&second) {
        return Err(PAIR);
    }
    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Ok((char::from_u32(code).ok_or(PAIR)?, 12))
}

/// The four hexadecimal digits of `\uXXXX`.
fn hex(bytes: &[u8]) -> Result<u32, &'static str> {
    let digits = bytes.get(2..6).unwrap_or_default();
    let value =
        digits.iter().try_fold(0, |value, &byte| Some(value * 16 + char::from(byte).to_digit(16)?));
    match value {
        Some(value) if digits.len() == 4 => Ok(value),
        _ => Err("Incorrect hex digit after \\u escape in string."),
    }
}

/// What a string means whose characters, checked before, these are.
pub fn unescaped(source: &str) -> Cow<'_, str> {
    if !source.contains('\\') {
        return Cow::Borrowed(source);
    }
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let (character, length) = escape(&rest.as_bytes()[at..]).unwrap_or(('\u{fffd}', 2));
        text.push(character);
        rest = &rest[at + length..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}
