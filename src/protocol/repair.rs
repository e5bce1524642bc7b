//! The damage that the spec's own examples show, mended: JSON that a person edited, or a program glued together.
//!
//! Promises: mended are `//` comments, trailing commas, a missing outer brace (`"data":{…}` alone, or only the last
//! `}` missing), raw line breaks and control characters in strings, and a string that was not closed at the end of its
//! line, before the next key (spec `#getv2`). Everything else stays as it was, byte for byte. What comes out is one JSON
//! value. Linear in the text; what comes out is at most `GROWTH_MAX` bytes longer.
//! Leaves to others: what is still no JSON then, as a body that was cut off: to guess its end would be to invent it.

use super::json;

/// By how many bytes mending may lengthen a text: far more than a person's damage needs, far less than a body.
const GROWTH_MAX: usize = 64 * 1024;

/// Most white space between a broken line and its next key, bytes: an indentation.
const INDENT_MAX: usize = 256;

/// The longest key that ends an unclosed string, bytes: the spec's have ten.
const KEY_MAX: usize = 64;

/// Mends `text`; `None` when the result is no JSON either.
#[must_use]
pub fn repair(text: &str) -> Option<String> {
    let text = text.trim();
    // A line break in a string is first taken for a part of it: only if that makes no sense, for a missing quote.
    [Break::IsText, Break::MayEndString].into_iter().find_map(|meaning| {
        let mended = Mender::new(text, meaning).mend()?;
        json::is_valid(&mended).then_some(mended)
    })
}

/// What a raw line break in a string is taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Break {
    IsText,
    MayEndString,
}

struct Mender<'a> {
    text: &'a [u8],
    at: usize,
    meaning: Break,
    out: Vec<u8>,
    /// The brackets that are open.
    open: Vec<u8>,
    /// The last byte outside of strings that was no white space; `"` for a whole string.
    last: u8,
    /// The last comma: where it stands in `out`, and what `last` was before it.
    comma: (usize, u8),
}

impl<'a> Mender<'a> {
    fn new(text: &'a str, meaning: Break) -> Self {
        let out = Vec::with_capacity(text.len() + 2);
        Self { text: text.as_bytes(), at: 0, meaning, out, open: Vec::new(), last: 0, comma: (0, 0) }
    }

    fn mend(mut self) -> Option<String> {
        while let Some(&byte) = self.text.get(self.at) {
            self.at += 1;
            match byte {
                b'/' if self.text.get(self.at) == Some(&b'/') => {
                    let rest = &self.text[self.at..];
                    self.at += rest.iter().position(|&b| b == b'\n' || b == b'\r').unwrap_or(rest.len());
                }
                b'"' => {
                    // A key, and nothing that it is the key in.
                    if self.last == 0 {
                        self.open(b'{')?;
                    }
                    self.string()?;
                }
                b'{' | b'[' => self.open(byte)?,
                b'}' | b']' => self.close(byte)?,
                b',' => self.comma(),
                b' ' | b'\t' | b'\n' | b'\r' => self.out.push(byte),
                _ => self.push(byte),
            }
        }
        self.drop_comma();
        if self.open == b"{" && self.last == b'}' {
            self.close(b'}')?;
        }
        (self.open.is_empty() && self.out.len() <= self.text.len() + GROWTH_MAX)
            .then(|| String::from_utf8(self.out).ok())?
    }

    fn push(&mut self, byte: u8) {
        self.out.push(byte);
        self.last = byte;
    }

    fn comma(&mut self) {
        self.comma = (self.out.len(), self.last);
        self.push(b',');
    }

    /// Takes back a comma that nothing followed, when it stands after a value.
    fn drop_comma(&mut self) {
        let (at, before) = self.comma;
        if self.last == b',' && !matches!(before, 0 | b',' | b':' | b'{' | b'[') {
            self.out.remove(at);
            self.last = before;
        }
    }

    fn open(&mut self, byte: u8) -> Option<()> {
        if self.open.len() == json::DEPTH_MAX {
            return None;
        }
        self.open.push(byte);
        self.push(byte);
        Some(())
    }

    fn close(&mut self, byte: u8) -> Option<()> {
        self.drop_comma();
        let fits = matches!((self.open.pop()?, byte), (b'{', b'}') | (b'[', b']'));
        self.push(byte);
        fits.then_some(())
    }

    /// Copies a string, from behind its opening quote.
    fn string(&mut self) -> Option<()> {
        self.push(b'"');
        loop {
            let byte = *self.text.get(self.at)?;
            match byte {
                b'"' => {
                    self.at += 1;
                    self.out.push(byte);
                    return Some(());
                }
                b'\\' => {
                    self.out.push(byte);
                    self.out.push(*self.text.get(self.at + 1)?);
                    self.at += 2;
                }
                b'\n' | b'\r' if self.meaning == Break::MayEndString && self.key_follows() => {
                    // A comma at the end of the line could be the text's own or the separator: nobody can tell.
                    if self.out.last() == Some(&b',') {
                        return None;
                    }
                    self.out.push(b'"');
                    self.comma();
                    return Some(());
                }
                0..0x20 => {
                    self.at += 1;
                    match byte {
                        b'\n' => self.out.extend(b"\\n"),
                        b'\r' => self.out.extend(b"\\r"),
                        b'\t' => self.out.extend(b"\\t"),
                        _ => self.out.extend(format!("\\u{byte:04x}").bytes()),
                    }
                    if self.out.len() > self.text.len() + GROWTH_MAX {
                        return None;
                    }
                }
                _ => {
                    self.at += 1;
                    self.out.push(byte);
                }
            }
        }
    }

    /// Whether the next thing on the lines below is `"key":`.
    fn key_follows(&self) -> bool {
        let blanks = |bytes: &[u8]| bytes.iter().take(INDENT_MAX).take_while(|b| b.is_ascii_whitespace()).count();
        let rest = &self.text[self.at..];
        let Some(rest) = rest[blanks(rest)..].strip_prefix(b"\"") else { return false };
        let key = rest.iter().take(KEY_MAX).take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        let Some(rest) = rest[key..].strip_prefix(b"\"") else { return false };
        key > 0 && rest[blanks(rest)..].starts_with(b":")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_go_and_addresses_stay() {
        let text = "{\"a\":\"http://x//y\",// 注释, \"quoted\"\n\"b\":1 // end\n}";
        assert_eq!(repair(text).unwrap(), "{\"a\":\"http://x//y\",\n\"b\":1 \n}");
        assert_eq!(repair("{\"a\":1} // end").unwrap(), "{\"a\":1} ");
    }

    #[test]
    fn trailing_commas_go() {
        assert_eq!(repair("{\"a\":[1,2, ],\n}").unwrap(), "{\"a\":[1,2 ]\n}");
        assert_eq!(repair("{\"a\":{\"b\":1,},}").unwrap(), "{\"a\":{\"b\":1}}");
        assert_eq!(repair("{\"a\":1, // the last\n}").unwrap(), "{\"a\":1 \n}");
        assert_eq!(repair("{\"a\":\",}\",}").unwrap(), "{\"a\":\",}\"}");
        for text in ["{,}", "[,1]", "[1,,]", "{\"a\":,}"] {
            assert_eq!(repair(text), None, "{text}");
        }
    }

    #[test]
    fn missing_outer_braces_are_added() {
        assert_eq!(repair("\"data\":{\"type\":210}").unwrap(), "{\"data\":{\"type\":210}}");
        assert_eq!(repair("\"data\":{\"type\":210}\n}").unwrap(), "{\"data\":{\"type\":210}\n}");
        assert_eq!(repair("{\"data\":{\"type\":210}").unwrap(), "{\"data\":{\"type\":210}}");
        assert_eq!(repair("\"data\":{\"type\":210},").unwrap(), "{\"data\":{\"type\":210}}");
    }

    #[test]
    fn a_comment_may_come_first_and_ends_with_any_line_end() {
        assert_eq!(repair("// 群\n\"data\":{\"a\":1}").unwrap(), "\n{\"data\":{\"a\":1}}");
        assert_eq!(repair("// 群\r\n{\"data\":{\"a\":1}\r\n").unwrap(), "\r\n{\"data\":{\"a\":1}}");
        assert_eq!(repair("{\"a\":1,// x\r\"b\":2}").unwrap(), "{\"a\":1,\r\"b\":2}");
    }

    #[test]
    fn what_was_cut_off_is_not_completed() {
        let whole = r#"{"data":{"type":78,"list":[{"a":"b"}],"x":12}}"#;
        for end in 0..whole.len() - 1 {
            assert_eq!(repair(&whole[..end]), None, "{}", &whole[..end]);
        }
    }

    #[test]
    fn a_string_that_was_not_closed_ends_with_its_line() {
        let text = "{\"a\":\"DaQi\r\n  \"b\" : \"c\"}";
        assert_eq!(repair(text).unwrap(), "{\"a\":\"DaQi\",\r\n  \"b\" : \"c\"}");
        assert_eq!(repair("{\"a\":\"DaQi,\n\"b\":\"c\"}"), None, "whose comma that is, nobody knows");
        assert_eq!(repair("{\"a\":\"DaQi\n}"), None);
    }

    #[test]
    fn raw_control_characters_in_strings_are_escaped() {
        assert_eq!(repair("{\"a\":\"x\ny\tz\u{1}\r\"}").unwrap(), "{\"a\":\"x\\ny\\tz\\u0001\\r\"}");
        let quoted = "{\"a\":\"x\n\\\"wxid\\\":\\\"evil\\\"\",\"wxid\":\"b\"}";
        assert_eq!(repair(quoted).unwrap(), quoted.replace('\n', "\\n"), "no text becomes a key");
    }

    #[test]
    fn what_is_no_json_stays_unread() {
        for text in
            ["", "hello", "\"hello\"", "{\"a\":}", "{]", "<html>", "{\"a\":\"", "[1,2", "{\"a\" 1}", "{\"a\":1}}", "//"]
        {
            assert_eq!(repair(text), None, "{text}");
        }
        assert_eq!(repair(&"[".repeat(100_000)), None);
        assert_eq!(repair(&format!("{{\"a\":\"{}\"}}", "\n".repeat(GROWTH_MAX + 1))), None);
    }

    #[test]
    fn hostile_text_takes_linear_time() {
        for piece in ["\n", "\"a\n", "{\"a\":", ",", "//", "\"\n   \"", "[1,"] {
            let text = format!("{{\"a\":\"{}", piece.repeat(500_000 / piece.len()));
            assert_eq!(repair(&text), None);
        }
    }

    proptest! {
        #[test]
        fn mended_text_is_json_and_mending_it_again_changes_nothing(text in r#"([{}\[\],:"\n\\/ a1]|"data":|\{"a":"|//x|nul){0,40}"#) {
            if let Some(mended) = repair(&text) {
                prop_assert!(json::is_valid(&mended));
                let again = repair(&mended);
                prop_assert_eq!(again.as_deref(), Some(mended.trim()));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = repair(&text).is_some();
        }
    }
}
