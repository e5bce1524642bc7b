//! The damage that the spec's own examples show, mended: JSON that a person edited, or a program glued together.
//!
//! Promises: mended are `//` comments, trailing commas, a missing outer brace (`"data":{…}` alone, or only the last
//! `}` missing), raw line breaks and control characters in strings, and a string that was not closed at the end of its
//! line, before the next key (spec `#getv2`). Everything else stays as it was, byte for byte. What comes out is one JSON
//! value. Linear in the text; what comes out is at most `GROWTH_MAX` bytes longer.
//!
//! Mending never moves text from one member to another: a program that glues JSON together escapes nothing, so what
//! somebody says may have a line break and `"wxid":"boss"` in it. A string ends with its line only in an object whose
//! members each begin on a line of their own, as people write, and never before a member that the object has already,
//! or gets later. Nor does what is said in a chat (`SAID`) end so, nor anything before a member that tells who or what
//! it is (`TELLING`). And what is mended has no member twice.
//! Leaves to others: what is still no JSON then, as a body that was cut off: to guess its end would be to invent it.
//! What is JSON as it stands, though somebody's text may have made it so, is not looked at here.

use super::json;
use std::collections::HashSet;

/// By how many bytes mending may lengthen a text: far more than a person's damage needs, far less than a body.
const GROWTH_MAX: usize = 64 * 1024;

/// Most white space between a broken line and its next key, bytes: an indentation.
const INDENT_MAX: usize = 256;

/// Members that hold what people say: whatever stands in one, lines that look like members too, is said.
const SAID: [&str; 5] = ["message", "msg", "text", "content", "xml"];

/// Members that decide what an event is and whose: none of them begins where another one was not closed.
const TELLING: [&str; 9] = ["type", "code", "msgType", "myMsg", "wxid", "formWxid", "cwxid", "processid", "pid"];

/// The most members of an object in a mended text: the spec's have at most 20.
const MEMBERS_MAX: usize = 1000;

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

/// The members of an open object.
#[derive(Default)]
struct Object {
    keys: HashSet<String>,
    /// The last one holds what is said.
    is_said: bool,
    /// A member does not begin on a line of its own.
    is_dense: bool,
    /// A string in it was ended with its line.
    is_ended: bool,
}

struct Mender<'a> {
    text: &'a [u8],
    at: usize,
    meaning: Break,
    out: Vec<u8>,
    /// The brackets that are open.
    open: Vec<u8>,
    objects: Vec<Object>,
    /// A line break came after the last byte outside of strings that was no white space.
    line_begins: bool,
    /// The last byte outside of strings that was no white space; `"` for a whole string.
    last: u8,
    /// The last comma: where it stands in `out`, and what `last` was before it.
    comma: (usize, u8),
}

impl<'a> Mender<'a> {
    fn new(text: &'a str, meaning: Break) -> Self {
        let out = Vec::with_capacity(text.len() + 2);
        let (open, objects) = (Vec::new(), Vec::new());
        Self { text: text.as_bytes(), at: 0, meaning, out, open, objects, line_begins: true, last: 0, comma: (0, 0) }
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
                    let is_key = self.open.last() == Some(&b'{') && matches!(self.last, b'{' | b',');
                    let begin = self.out.len() + 1;
                    self.string(is_key)?;
                    if is_key {
                        self.member(begin)?;
                    }
                    self.line_begins = false;
                }
                b'{' | b'[' => self.open(byte)?,
                b'}' | b']' => self.close(byte)?,
                b',' => self.comma(),
                b'\n' | b'\r' => {
                    self.out.push(byte);
                    self.line_begins = true;
                }
                b' ' | b'\t' => self.out.push(byte),
                _ => self.push(byte),
            }
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'/') {
                self.line_begins = false;
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
        if byte == b'{' {
            self.objects.push(Object::default());
        }
        self.push(byte);
        Some(())
    }

    /// Notes a member, whose key begins at `begin` of `out`.
    fn member(&mut self, begin: usize) -> Option<()> {
        let object = self.objects.last_mut()?;
        // An escape may spell a key in another way.
        let key: String = serde_json::from_slice(&self.out[begin - 1..]).ok()?;
        object.is_dense |= !self.line_begins;
        object.is_said = SAID.contains(&key.as_str());
        let is_new = object.keys.len() < MEMBERS_MAX && object.keys.insert(key);
        (is_new && !(object.is_ended && object.is_dense)).then_some(())
    }

    /// Whether a string may end with its line here, before a member of that key.
    fn may_end_before(&mut self, key: &str) -> bool {
        let in_object = self.open.last() == Some(&b'{');
        let Some(object) = self.objects.last_mut().filter(|_| in_object) else { return false };
        let may = !object.is_dense && !object.is_said && !object.keys.contains(key) && !TELLING.contains(&key);
        object.is_ended |= may;
        may
    }

    fn close(&mut self, byte: u8) -> Option<()> {
        self.drop_comma();
        let fits = matches!((self.open.pop()?, byte), (b'{', b'}') | (b'[', b']'));
        if byte == b'}' {
            self.objects.pop()?;
        }
        self.push(byte);
        fits.then_some(())
    }

    /// Copies a string, from behind its opening quote.
    fn string(&mut self, is_key: bool) -> Option<()> {
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
                b'\n' | b'\r'
                    if self.meaning == Break::MayEndString
                        && !is_key
                        && self.key_that_follows().is_some_and(|key| self.may_end_before(key)) =>
                {
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

    /// The key, when the next thing on the lines below is `"key":`.
    fn key_that_follows(&self) -> Option<&'a str> {
        let blanks = |bytes: &[u8]| bytes.iter().take(INDENT_MAX).take_while(|b| b.is_ascii_whitespace()).count();
        let rest = &self.text[self.at..];
        let rest = rest[blanks(rest)..].strip_prefix(b"\"")?;
        let length = rest.iter().take(KEY_MAX).take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        let (key, rest) = rest.split_at(length);
        let rest = rest.strip_prefix(b"\"")?;
        let is_key = length > 0 && rest[blanks(rest)..].starts_with(b":");
        is_key.then(|| std::str::from_utf8(key).ok())?
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
        let text = "{\n\"a\":\"DaQi\r\n  \"b\" : \"c\"}";
        assert_eq!(repair(text).unwrap(), "{\n\"a\":\"DaQi\",\r\n  \"b\" : \"c\"}");
        assert_eq!(repair("{\n\"a\":\"DaQi,\n\"b\":\"c\"}"), None, "whose comma that is, nobody knows");
        assert_eq!(repair("{\n\"a\":\"DaQi\n}"), None);
        // Comments stand on no line of their own, and another object may be dense.
        let text = "{ // x\n\"z\":[{\"a\":1,\"b\":2}], // y\n\"a\":\"DaQi\n\"b\":1 // z\n}";
        assert_eq!(repair(text).unwrap(), "{ \n\"z\":[{\"a\":1,\"b\":2}], \n\"a\":\"DaQi\",\n\"b\":1 \n}");
    }

    #[test]
    fn what_somebody_says_never_becomes_another_member() {
        for text in [
            // Members that share a line, before it or after it, or stand on the line of the brace.
            "{\"type\":78,\"nick\":\"hi\n\"city\":\"boss\"}",
            "{\n\"type\":78,\"nick\":\"hi\n\"city\":\"boss\"\n}",
            "{\n\"nick\":\"hi\n\"city\":\"boss\",\"type\":78}",
            "{\"nick\":\"hi\n\"city\":\"boss\"}",
            // A member that the object has already, or gets later; however it is spelled.
            "{\n\"city\":\"a\",\n\"nick\":\"hi\n\"city\":\"boss\"\n}",
            "{\n\"nick\":\"hi\n\"city\":\"boss\",\n\"city\":\"a\"\n}",
            "{\n\"nick\":\"hi\n\"nick\":\"boss\"\n}",
            "{\n\"\\u0063ity\":\"a\",\n\"nick\":\"hi\n\"city\":\"boss\"\n}",
            "{\n\"nick\":\"hi\n\"city\":\"boss\",\n\"\\u0063ity\":\"a\"\n}",
            // What is said, whatever comes then; and what tells whose an event is, wherever it comes.
            "{\n\"type\":78,\n\"message\":\"hi\n\"nick\":\"boss\"\n}",
            "{\n\"\\u006dessage\":\"hi\n\"nick\":\"boss\"\n}",
            "{\n\"nick\":\"hi\n\"myMsg\":\"1\"\n}",
            "{\n\"nick\":\"hi\n\"formWxid\":\"boss\"\n}",
            // In a list, and in a key.
            "[\n\"hi\n\"city\":\"boss\"\n]",
            "{\n\"hi\n\"city\":\"boss\"\n}",
            // A member twice, of whatever object, and however it is spelled.
            "{\"data\":{\"wxid\":\"a\",\"message\":\"hi\n\",\"wxid\":\"boss\",}}",
            "{\"data\":{\"message\":\"hi\n\",\"wxid\":\"boss\",\"\\u0077xid\":\"a\"}}",
            "{\"list\":[{\"wxid\":\"a\",\"wxid\":\"b\",}]}",
        ] {
            assert_eq!(repair(text), None, "{text}");
        }
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

        /// As a program writes that escapes nothing: all members on one line, whatever the texts have in them.
        #[test]
        fn on_one_line_no_string_is_ended(texts in prop::collection::vec(r#"([ab,:{}]|\n|\n"wxid":"boss|//|\r\n){0,6}"#, 1..5)) {
            let members: Vec<String> = (0..).zip(&texts).map(|(n, text)| format!("\"k{n}\":\"{text}\"")).collect();
            let text = format!("{{{}}}", members.join(","));
            if let Some(mended) = repair(&text) {
                prop_assert_eq!(mended.matches('"').count(), text.matches('"').count());
            }
        }

        /// As programs write that escape nothing, in whatever order: what is mended has the members that the client
        /// wrote, and no other; all but the text are as they were. (A text with `","wxid":"` in it is JSON as it
        /// stands: nobody can tell.)
        #[test]
        fn what_is_said_changes_no_other_member(
            said in r#"([ab{}\[\]:\n]|\r\n|\n *"(wxid|myMsg|username|nick|sign)":"?|"boss|1\n){0,6}"#,
            keys in Just(vec!["type", "wxid", "message", "nick", "city", "sign"]).prop_shuffle(),
            left in 1..=6_usize,
            (is_damaged, is_nested) in (any::<bool>(), any::<bool>()),
            between in prop::sample::select(vec![",", ",\n", ",\r\n    "]),
        ) {
            let keys = &keys[..left];
            let value = |key: &str| if key == "message" { said.clone() } else { format!("a {key}") };
            let members: Vec<String> = keys.iter().map(|key| format!("\"{key}\":\"{}\"", value(key))).collect();
            let end = if is_damaged { "," } else { "" };
            let object = format!("{{{}{}{end}}}", between.trim_start_matches(','), members.join(between));
            let text = if is_nested { format!("{{\"data\":{object}}}") } else { object };
            if let Some(mended) = repair(&text) {
                let mended: serde_json::Value = serde_json::from_str(&mended).unwrap();
                let mended = if is_nested { &mended["data"] } else { &mended };
                prop_assert_eq!(mended.as_object().unwrap().len(), keys.len());
                for key in keys.iter().filter(|key| **key != "message") {
                    prop_assert_eq!(&mended[*key], &serde_json::Value::from(value(key)));
                }
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = repair(&text).is_some();
        }
    }
}
