//! A reader of protobuf's text format, as far as files of tests need it.
//!
//! It follows protobuf.dev, "Text Format Language Specification": messages in `{}` or `<>`, lists in `[]`, separators
//! `,` and `;`, adjacent strings, `#` comments. Not read, since these files have no use for them: extensions and `Any` in
//! brackets, floats.

use std::iter::Peekable;
use std::str::Chars;

/// How deep messages may lie in one another.
const MAX_DEPTH: u32 = 64;

/// Something that is not right, and on which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// One field as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: Value,
}

/// A field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Message(Vec<Field>),
    Bytes(Vec<u8>),
    Integer(i128),
    /// `true`, or an enum's name.
    Word(String),
}

/// Reads a whole text: the fields of the outermost message. A list is as many fields.
pub(super) fn parse(text: &str) -> Result<Vec<Field>, TextError> {
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
    let fields = reader.fields(None, MAX_DEPTH)?;
    Ok(fields)
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn wrong<T>(&self, message: impl Into<String>) -> Result<T, TextError> {
        Err(TextError { line: self.line, message: message.into() })
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    /// The next character that is neither space nor comment, still to be read.
    fn peek(&mut self) -> Option<char> {
        while let Some(next) = self.chars.peek().copied() {
            if next == '#' {
                while self.chars.peek().is_some_and(|next| *next != '\n') {
                    self.next();
                }
            } else if next.is_ascii_whitespace() {
                self.next();
            } else {
                return Some(next);
            }
        }
        None
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    /// Fields up to `end`, or to the text's end where there is none.
    fn fields(&mut self, end: Option<char>, depth: u32) -> Result<Vec<Field>, TextError> {
        let mut fields = Vec::new();
        loop {
            match (self.peek(), end) {
                (None, None) => return Ok(fields),
                (None, Some(end)) => return self.wrong(format!("the text ends where `{end}` is missing")),
                (Some(next), Some(end)) if next == end => {
                    self.next();
                    return Ok(fields);
                }
                _ => self.field(&mut fields, depth)?,
            }
        }
    }

    fn field(&mut self, fields: &mut Vec<Field>, depth: u32) -> Result<(), TextError> {
        let line = self.line;
        let name = match self.peek() {
            Some(next) if next.is_ascii_alphabetic() || next == '_' => self.word(),
            Some(next) => return self.wrong(format!("`{next}` stands where a field's name is expected")),
            None => return self.wrong("a field's name is missing"),
        };
        let colon = self.take(':');
        if colon && self.take('[') {
            if !self.take(']') {
                loop {
                    let value = self.value(depth)?;
                    fields.push(Field { line, name: name.clone(), value });
                    if self.take(']') {
                        break;
                    }
                    if !self.take(',') {
                        return self.wrong(format!("`,` or `]` is missing in the list `{name}`"));
                    }
                }
            }
        } else {
            if !colon && !matches!(self.peek(), Some('{' | '<')) {
                return self.wrong(format!("`:` is missing after `{name}`"));
            }
            let value = self.value(depth)?;
            fields.push(Field { line, name, value });
        }
        if !self.take(',') {
            self.take(';');
        }
        Ok(())
    }

    fn value(&mut self, depth: u32) -> Result<Value, TextError> {
        match self.peek() {
            Some(open @ ('{' | '<')) => {
                let Some(depth) = depth.checked_sub(1) else {
                    return self.wrong(format!("more than {MAX_DEPTH} messages in one another"));
                };
                self.next();
                Ok(Value::Message(self.fields(Some(if open == '{' { '}' } else { '>' }), depth)?))
            }
            Some('"' | '\'') => self.strings().map(Value::Bytes),
            Some(next) if next == '-' || next.is_ascii_digit() => self.integer(),
            Some(next) if next.is_ascii_alphabetic() || next == '_' => Ok(Value::Word(self.word())),
            Some(next) => self.wrong(format!("`{next}` stands where a value is expected")),
            None => self.wrong("the text ends where a value is expected"),
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(next) = self.chars.peek().copied() {
            if !next.is_ascii_alphanumeric() && next != '_' {
                break;
            }
            word.push(next);
            self.next();
        }
        word
    }

    fn integer(&mut self) -> Result<Value, TextError> {
        let negative = self.take('-');
        self.peek();
        let digits = self.word();
        let magnitude = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(hex) => i128::from_str_radix(hex, 16),
            None if digits.len() > 1 && digits.starts_with('0') => i128::from_str_radix(&digits, 8),
            None => digits.parse(),
        };
        match magnitude {
            Ok(magnitude) => Ok(Value::Integer(if negative { -magnitude } else { magnitude })),
            Err(_) => self.wrong(format!("`{digits}` is no integer")),
        }
    }

    /// Adjacent strings are one.
    fn strings(&mut self) -> Result<Vec<u8>, TextError> {
        let mut bytes = Vec::new();
        while let Some(quote @ ('"' | '\'')) = self.peek() {
            self.next();
            loop {
                match self.next() {
                    Some(next) if next == quote => break,
                    Some('\\') => self.escape(&mut bytes)?,
                    Some('\n') | None => return self.wrong("a string is not closed on its line"),
                    Some(next) => bytes.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
        Ok(bytes)
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), TextError> {
        let byte = match self.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('a') => 7,
            Some('b') => 8,
            Some('f') => 12,
            Some('v') => 11,
            Some(same @ ('\\' | '\'' | '"' | '?')) => same as u8,
            Some('x' | 'X') => match self.digits(16, 1, 2) {
                Some(code) => code as u8,
                None => return self.wrong("`\\x` needs one or two hexadecimal digits"),
            },
            Some(digit @ '0'..='7') => {
                let first = digit as u32 - '0' as u32;
                let (more, count) = self.counted_digits(8, 2);
                let code = first * 8u32.pow(count) + more;
                match u8::try_from(code) {
                    Ok(byte) => byte,
                    Err(_) => return self.wrong(format!("`\\{code:o}` is more than a byte")),
                }
            }
            Some(kind @ ('u' | 'U')) => {
                let length = if kind == 'u' { 4 } else { 8 };
                let character = self.digits(16, length, length).and_then(char::from_u32);
                let Some(character) = character else {
                    return self
                        .wrong(format!("`\\{kind}` needs {length} hexadecimal digits of a character"));
                };
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            Some(other) => return self.wrong(format!("`\\{other}` is no escape")),
            None => return self.wrong("a string is not closed"),
        };
        bytes.push(byte);
        Ok(())
    }

    /// From `least` to `most` digits; `None` where there are fewer.
    fn digits(&mut self, radix: u32, least: u32, most: u32) -> Option<u32> {
        let (value, count) = self.counted_digits(radix, most);
        (count >= least).then_some(value)
    }

    fn counted_digits(&mut self, radix: u32, most: u32) -> (u32, u32) {
        let (mut value, mut count) = (0u32, 0);
        while count < most
            && let Some(digit) = self.chars.peek().and_then(|next| next.to_digit(radix))
        {
            value = value.wrapping_mul(radix).wrapping_add(digit);
            count += 1;
            self.next();
        }
        (value, count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn field(line: usize, name: &str, value: Value) -> Field {
        Field { line, name: name.to_owned(), value }
    }

    fn bytes(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn messages_lists_strings_and_comments() {
        let text =
            "# first\na: \"x\" 'y'  # last\nb { c: -12; d <e: TRUE,> }\nf: [1, 0x10, 017] g: { } h: []";
        let inner = Value::Message(vec![field(3, "e", Value::Word("TRUE".into()))]);
        let expected = [
            field(2, "a", bytes("xy")),
            field(3, "b", Value::Message(vec![field(3, "c", Value::Integer(-12)), field(3, "d", inner)])),
            field(4, "f", Value::Integer(1)),
            field(4, "f", Value::Integer(16)),
            field(4, "f", Value::Integer(15)),
            field(4, "g", Value::Message(vec![])),
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn escapes_are_bytes() {
        let text = r#"a: "\n\t\\\"\?\x41\7\101\xff\u00e4\U0001F600" "b""#;
        let mut expected = b"\n\t\\\"?A\x07A\xff".to_vec();
        expected.extend_from_slice("ä😀b".as_bytes());
        assert_eq!(parse(text).unwrap(), [field(1, "a", Value::Bytes(expected))]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, expected) in [
            ("a {\nb: 1", 2, "`}` is missing"),
            ("a b", 1, "`:` is missing after `a`"),
            ("\n\na: \"x\n\"", 4, "not closed on its line"),
            ("a: \"\\q\"", 1, "`\\q` is no escape"),
            ("a: \"\\400\"", 1, "more than a byte"),
            ("a: \"\\u12\"", 1, "needs 4 hexadecimal digits"),
            ("a: 1x", 1, "`1x` is no integer"),
            ("a: 99999999999999999999999999999999999999999", 1, "is no integer"),
            ("}", 1, "`}` stands where a field's name"),
            ("a: [1 2]", 1, "`,` or `]` is missing"),
            ("[x.y]: 1", 1, "`[` stands where"),
            ("a: ", 1, "the text ends where a value"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {}", error.message);
            assert!(error.message.contains(expected), "{text}: {}", error.message);
        }
        let deep = "a {".repeat(65);
        assert!(parse(&deep).unwrap_err().message.contains("more than 64"));
    }

    #[test]
    fn no_text_makes_it_panic() {
        // Every prefix and every single change of a text with all there is.
        let whole = "a: \"\\x4\" 'y' b { c: -12; d <e: T,> } f: [1, 0x1] \"\\u00e4\" \\ # z";
        let characters: Vec<char> = whole.chars().collect();
        for end in 0..=characters.len() {
            let prefix: String = characters[..end].iter().collect();
            drop(parse(&prefix));
            for new in ['{', '}', '"', '\\', '-', '[', '\n', 'x', '9', 'ä'] {
                let mut changed = characters.clone();
                if let Some(character) = changed.get_mut(end) {
                    *character = new;
                }
                drop(parse(&changed.iter().collect::<String>()));
            }
        }
    }
}
