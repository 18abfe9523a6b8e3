//! Reads a text for keys of JSON objects and for what a [`Finder`] finds.
//!
//! It is no parser: whatever is not JSON is text, so that a body that only looks like JSON is searched all the same.
//! Everything but what is replaced stays byte by byte as it was.

use crate::find::Finder;

/// Replaces the values of keys, and what is found elsewhere.
#[derive(Debug, Default)]
pub struct Scanner {
    /// In lower case.
    keys: Vec<String>,
    finder: Finder,
}

/// A text being redacted.
struct Pass<'a> {
    scanner: &'a Scanner,
    replacement: &'a [u8],
    out: Vec<u8>,
    changed: bool,
}

impl Scanner {
    /// Looks for the values of these keys, letter case ignored, and for what `finder` finds.
    pub fn new(keys: Vec<String>, finder: Finder) -> Self {
        Self { keys: keys.iter().map(|key| key.to_lowercase()).collect(), finder }
    }

    /// Whether there is anything to look for.
    pub fn finds_anything(&self) -> bool {
        !(self.keys.is_empty() && self.finder.is_empty())
    }

    /// The redacted text; none where it is the same.
    pub fn redact(&self, text: &[u8], replacement: &str) -> Option<Vec<u8>> {
        let out = Vec::with_capacity(text.len() + replacement.len());
        let mut pass = Pass { scanner: self, replacement: replacement.as_bytes(), out, changed: false };
        pass.all(text);
        pass.changed.then_some(pass.out)
    }

    /// `string` is what stands between the quotes.
    fn is_key(&self, string: &[u8]) -> bool {
        let matches = |name: &str| self.keys.iter().any(|key| *key == name.to_lowercase());
        if string.contains(&b'\\') {
            let quoted = [b"\"", string, b"\""].concat();
            return serde_json::from_slice::<String>(&quoted).is_ok_and(|name| matches(&name));
        }
        std::str::from_utf8(string).is_ok_and(matches)
    }
}

impl Pass<'_> {
    fn all(&mut self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            let quote = rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len());
            let (between, quoted) = rest.split_at(quote);
            self.find(between);
            rest = self.string(quoted);
        }
    }

    /// Takes the string that `quoted` begins with, and its value where it is one of the keys. Gives what comes after.
    fn string<'t>(&mut self, quoted: &'t [u8]) -> &'t [u8] {
        let (string, after) = quoted.split_at(string_end(quoted));
        let space = whitespace(after);
        let inside = string.get(1..string.len().saturating_sub(1)).unwrap_or_default();
        if after.get(space) != Some(&b':') || !self.scanner.is_key(inside) {
            self.pieces(string);
            return after;
        }
        self.out.extend_from_slice(string);
        let value = space + 1 + whitespace(after.get(space + 1..).unwrap_or_default());
        let (lead, value) = after.split_at(value.min(after.len()));
        self.out.extend_from_slice(lead);
        let (_, rest) = value.split_at(value_end(value));
        self.out.push(b'"');
        self.out.extend_from_slice(self.replacement);
        self.out.push(b'"');
        self.changed = true;
        rest
    }

    /// Searches a string between its escapes, so that none is cut.
    fn pieces(&mut self, string: &[u8]) {
        let mut rest = string;
        while let Some(escape) = rest.iter().position(|byte| *byte == b'\\') {
            let length = if rest.get(escape + 1) == Some(&b'u') { 6 } else { 2 };
            let (piece, from_escape) = rest.split_at(escape);
            let (escape, after) = from_escape.split_at(length.min(from_escape.len()));
            self.find(piece);
            self.out.extend_from_slice(escape);
            rest = after;
        }
        self.find(rest);
    }

    fn find(&mut self, piece: &[u8]) {
        self.changed |= self.scanner.finder.redact(piece, self.replacement, &mut self.out);
    }
}

/// Where the string that begins with the quote at 0 ends, its last quote included; the end of the text for one that
/// does not end, and 0 for no text.
fn string_end(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Where the value at 0 ends: a string, everything up to the bracket that closes its first, or a word.
fn value_end(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at += string_end(text.get(at..).unwrap_or_default()),
            b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
            b'}' | b']' if depth > 0 => (depth, at) = (depth - 1, at + 1),
            b'}' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return at,
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn whitespace(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;
    use crate::find::Kind;

    fn scanner() -> Scanner {
        Scanner::new(vec!["password".to_owned(), "Token".to_owned()], Finder::new(&[Kind::Email], Vec::new()))
    }

    fn redact(text: &str) -> String {
        match scanner().redact(text.as_bytes(), "#") {
            Some(redacted) => String::from_utf8_lossy(&redacted).into_owned(),
            None => text.to_owned(),
        }
    }

    #[test]
    fn values_of_keys_are_replaced_whatever_they_are() {
        for (text, redacted) in [
            (r#"{"password":"x","a":1}"#, r##"{"password":"#","a":1}"##),
            (r#"{ "PassWord" : 12.5 , "a":1}"#, r##"{ "PassWord" : "#" , "a":1}"##),
            (r#"{"token":null}"#, r##"{"token":"#"}"##),
            (r#"{"token":{"a":["}",1,{}]},"b":[]}"#, r##"{"token":"#","b":[]}"##),
            (r#"{"token":["]", "\"]"],"b":2}"#, r##"{"token":"#","b":2}"##),
            (r#"[{"a":{"token":true}}]"#, r##"[{"a":{"token":"#"}}]"##),
            (r#"{"p\u0061ssword":"x\\\"y"}"#, r##"{"p\u0061ssword":"#"}"##),
            ("{\"token\":\n  \"x\"\n}", "{\"token\":\n  \"#\"\n}"),
        ] {
            assert_eq!(redact(text), redacted);
        }
    }

    #[test]
    fn findings_are_replaced_in_strings_and_outside_of_them() {
        for (text, redacted) in [
            (r#"{"to":"ada@example.com"}"#, r##"{"to":"#"}"##),
            (r#"{"ada@example.com":1}"#, r##"{"#":1}"##),
            (r#"{"text":"x\nada@example.com\u00e9b@c.dd"}"#, r##"{"text":"x\n#\u00e9#"}"##),
            (r#"no JSON: ada@example.com said "hm" "#, r##"no JSON: # said "hm" "##),
            (r#""unended ada@example.com"#, r##""unended #"##),
        ] {
            assert_eq!(redact(text), redacted);
        }
    }

    #[test]
    fn what_has_nothing_in_it_stays_as_it_is() {
        for text in ["", "\"", "\"\\", "{}", r#"{"passwords":"x"}"#, r#"["password"]"#, r#"{"a":"password"}"#]
        {
            assert_eq!(scanner().redact(text.as_bytes(), "#"), None, "{text}");
        }
    }

    #[test]
    fn text_that_breaks_off_anywhere_is_no_trouble() {
        let text =
            r#"{"a":"\u00e4\n","password":{"x":["y\"",{"z":1}]},"token":"ada@example.com","b":"c@d.ee"}"#;
        for end in 0..=text.len() {
            let _ = scanner().redact(&text.as_bytes()[..end], "#");
        }
    }
}
