//! JSON text, as far as it has to be looked at before or without making values of it.
//!
//! Promises: linear in the text, bounded in depth, no panic on any input. What serde refuses although its grammar is
//! right (half a surrogate pair, a number beyond every type) costs that string or number, never its surroundings.
//! Leaves to others: whether the text is JSON at all, but where it says so.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io;

/// The deepest nesting that values are made of: what `event` lets in, and well below serde's own end at 128.
pub(super) const DEPTH_MAX: usize = 64;

/// Whether it is one JSON value, whichever.
pub(super) fn is_valid(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The first member that an object has twice, at its own level; `None` also for what is no object. Of two such members
/// one reader takes the first and another the last.
pub(super) fn repeated_member(text: &str) -> Option<String> {
    struct RepeatedMember;
    impl<'de> Visitor<'de> for RepeatedMember {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let (mut seen, mut repeated) = (HashSet::new(), None);
            while let Some((name, IgnoredAny)) = members.next_entry::<String, IgnoredAny>()? {
                if !seen.insert(name.clone()) {
                    repeated.get_or_insert(name);
                }
            }
            Ok(repeated)
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_map(RepeatedMember).ok().flatten()
}

/// How deep JSON is nested: 1 for an object of plain values. Any number for what is no JSON.
pub(super) fn depth(json: &str) -> usize {
    let (mut in_string, mut escaped) = (false, false);
    let (mut now, mut deepest) = (0_usize, 0);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' if !in_string => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A string that JSON's grammar allows, be it Unicode or not: half a surrogate pair, as it is left where a program cut
/// a text between the two, becomes U+FFFD.
struct Lossy<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Lossy<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Lossy<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Lossy(std::str::from_utf8(bytes).map_or_else(|_| mend(bytes).into(), Cow::Borrowed)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Lossy(mend(bytes).into()))
            }
        }
        // As bytes serde hands out what is no Unicode, too.
        deserializer.deserialize_bytes(Reader)
    }
}

/// UTF-8 with one U+FFFD for every run of bytes that is none.
fn mend(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut broken = false;
    for chunk in bytes.utf8_chunks() {
        broken &= chunk.valid().is_empty();
        out.push_str(chunk.valid());
        if !chunk.invalid().is_empty() && !broken {
            out.push(char::REPLACEMENT_CHARACTER);
            broken = true;
        }
    }
    out
}

/// Writes JSON byte for byte, but for line breaks between its tokens and halves of surrogate pairs: these are mended.
pub(super) fn write_clean(out: &mut impl io::Write, json: &[u8]) -> io::Result<()> {
    // In valid JSON a raw line break stands between tokens only.
    if json.contains(&b'\n') || json.contains(&b'\r') {
        return json.split(|b| matches!(b, b'\n' | b'\r')).try_for_each(|part| write_mended(out, part));
    }
    write_mended(out, json)
}

/// Writes valid JSON with `\ufffd` in the place of every escape of half a surrogate pair, whose grammar allows them: jq 1.6,
/// Ruby and Perl refuse a line that holds one. Every other byte stays.
fn write_mended(out: &mut impl io::Write, json: &[u8]) -> io::Result<()> {
    /// The code unit that an escape at `at` names.
    fn unit(json: &[u8], at: usize) -> Option<u16> {
        let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
    let (mut from, mut at) = (0, 0);
    while let Some(next) = json[at..].iter().position(|b| *b == b'\\') {
        at += next;
        let (high, low) = (unit(json, at), unit(json, at + 6));
        at += match (high, low) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.write_all(&json[from..at])?;
                out.write_all(b"\\ufffd")?;
                from = at + 6;
                6
            }
            _ => 2,
        };
        at = at.min(json.len());
    }
    out.write_all(&json[from..])
}

/// Most members that are taken from an object: the spec's have at most 20.
const MEMBERS_MAX: usize = 1000;

/// The members of an object, in their order, as far as something is made of them: texts, numbers and truth values of at
/// most `bytes_max` bytes, and of the lists and objects those that `nested` names. What else a hostile body holds is
/// looked at, and not kept: as values its bytes would take fifty times the room. Empty for what is no object.
pub(super) fn members(object: &str, bytes_max: usize, nested: &[&str]) -> Map<String, Value> {
    struct Reader<'n>(Map<String, Value>, usize, &'n [&'n str]);
    impl<'de> Visitor<'de> for &mut Reader<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let Reader(kept, bytes_max, nested) = self;
            while let Some((Lossy(key), raw)) = map.next_entry::<Lossy<'de>, &RawValue>()? {
                let fits = raw.get().len() <= *bytes_max
                    && (kept.len() < MEMBERS_MAX || kept.contains_key(&*key))
                    && (!raw.get().starts_with(['{', '[']) || nested.contains(&&*key));
                if fits {
                    kept.insert(key.into_owned(), value(raw));
                }
            }
            Ok(())
        }
    }
    let mut reader = Reader(Map::new(), bytes_max, nested);
    // What stood before a fault counts; in valid JSON there is none.
    let _read = serde_json::Deserializer::from_str(object).deserialize_map(&mut reader);
    reader.0
}

/// Hands out the first `max` items of an array, unread; none of what is no array.
pub(super) fn each_item<'a>(array: &'a RawValue, max: usize, each: impl FnMut(&'a RawValue)) {
    struct Reader<F>(usize, F);
    impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Reader<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
            for _ in 0..self.0 {
                let Some(item) = items.next_element()? else { break };
                self.1(item);
            }
            Ok(())
        }
    }
    // That more follows is no fault.
    let _read = serde_json::Deserializer::from_str(array.get()).deserialize_seq(Reader(max, each));
}

/// An object's members in their order, values unread.
struct RawMembers<'a>(Vec<(Lossy<'a>, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RawMembers(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// A string's text, or a number or truth value as it was written.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let raw = raw.get();
    match raw.as_bytes().first()? {
        b'"' => match raw[1..].strip_suffix('"') {
            Some(plain) if !plain.contains('\\') => Some(plain.into()),
            _ => serde_json::from_str::<Lossy<'_>>(raw).ok().map(|text| text.0),
        },
        b'{' | b'[' | b'n' => None,
        _ => Some(raw.into()),
    }
}

/// A value of valid JSON. What is nested deeper than `DEPTH_MAX`, and a number beyond every type, is `null`.
pub(super) fn value(raw: &RawValue) -> Value {
    tolerant(raw.get(), 0)
}

fn tolerant(raw: &str, level: usize) -> Value {
    if level > DEPTH_MAX {
        return Value::Null;
    }
    // Nearly always serde does it all. If not, the fault is looked for level by level, so that only it is lost.
    if let Ok(value) = serde_json::from_str(raw) {
        return value;
    }
    match raw.as_bytes().first() {
        Some(b'{') => match serde_json::from_str::<RawMembers<'_>>(raw) {
            Ok(RawMembers(members)) => {
                let member = |(key, raw): (Lossy<'_>, &RawValue)| (key.0.into_owned(), tolerant(raw.get(), level + 1));
                Value::Object(members.into_iter().map(member).collect::<Map<_, _>>())
            }
            Err(_) => Value::Null,
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(raw) {
            Ok(items) => Value::Array(items.into_iter().map(|raw| tolerant(raw.get(), level + 1)).collect()),
            Err(_) => Value::Null,
        },
        Some(b'"') => serde_json::from_str::<Lossy<'_>>(raw).map_or(Value::Null, |text| text.0.into()),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced_and_nothing_else() {
        for (given, mended) in [
            (r#"{"a\ud83d":"x\uD83D","b":"\ude00"}"#, r#"{"a\ufffd":"x\ufffd","b":"\ufffd"}"#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00\ude00""#, r#""\ufffd\ud83d\ude00\ufffd""#),
            (r#""\\ud83d \\\ud83d \n\u0041\/""#, r#""\\ud83d \\\ufffd \n\u0041\/""#),
            (r#""\ud83d\n\ude00\uDBFF\uDFFF""#, r#""\ufffd\n\ufffd\uDBFF\uDFFF""#),
            (r#""\ud83d"#, r#""\ufffd"#),
            (r#""\ud83"#, r#""\ud83"#),
            (r#""\"#, r#""\"#),
            ("", ""),
        ] {
            let mut json = Vec::new();
            write_clean(&mut json, given.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(json).unwrap(), mended);
        }
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        for (json, deep) in [("1", 0), ("{}", 1), (r#"{"a":[{"b":"[[[{{\"["}]}"#, 3), ("[[],[[]]]", 3), ("]]}", 0)] {
            assert_eq!(depth(json), deep, "{json}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_costs_one_character() {
        assert_eq!(text(raw(r#""ab\ud83d""#)).unwrap(), "ab\u{fffd}");
        assert_eq!(text(raw(r#""\ude00\ud83d\ude00 c""#)).unwrap(), "\u{fffd}\u{1f600} c");
        assert_eq!(value(raw(r#"{"z":["\ud83d",1],"\ud83da":2}"#)), json!({"z": ["\u{fffd}", 1], "\u{fffd}a": 2}));
    }

    #[test]
    fn a_number_beyond_every_type_costs_itself_only() {
        assert_eq!(
            value(raw(r#"{"z":[1e999,1],"b":{"c":-1e999},"a":2}"#)).to_string(),
            r#"{"z":[null,1],"b":{"c":null},"a":2}"#
        );
    }

    #[test]
    fn what_is_too_deep_becomes_null() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let json = value(raw(&deep)).to_string();
        assert_eq!(json.matches('[').count(), DEPTH_MAX + 1);
        assert!(json.contains("null"));
    }

    #[test]
    fn of_an_object_only_what_is_wanted_is_made_into_values() {
        let object = r#"{"a":1,"b":[1],"c":{"d":2},"e":"too long by far","a":2,"\ud83d":true,"f":1e999}"#;
        assert_eq!(Value::Object(members(object, 10, &["c"])), json!({"a":2,"c":{"d":2},"\u{fffd}":true,"f":null}));
        let many: String = (0..3000).map(|n| format!("\"{n}\":0,")).collect();
        let many = members(&format!("{{{many}\"0\":1}}"), 10, &[]);
        assert_eq!((many.len(), &many["0"]), (MEMBERS_MAX, &json!(1)));
        for other in ["[1]", "1", "null", "\"a\"", ""] {
            assert!(members(other, 10, &[]).is_empty(), "{other}");
        }
    }

    #[test]
    fn items_are_handed_out_up_to_a_bound() {
        let items = |array: &str, max| {
            let mut items = Vec::new();
            each_item(raw(array), max, |item| items.push(item.get().to_owned()));
            items
        };
        assert_eq!(items(r#"[1, {"a":[1e999]} ,"\ud83d"]"#, 9), ["1", r#"{"a":[1e999]}"#, r#""\ud83d""#]);
        assert_eq!(items("[1,2,3]", 2), ["1", "2"]);
        assert!(items("{}", 2).is_empty() && items("[]", 2).is_empty());
    }

    #[test]
    fn scalars_are_text() {
        for (json, expected) in
            [(r#""x""#, Some("x")), ("12", Some("12")), ("true", Some("true")), ("null", None), ("[]", None)]
        {
            assert_eq!(text(raw(json)).as_deref(), expected);
        }
        assert_eq!(text(raw(r#""a\n\u4f60\/""#)).unwrap(), "a\n\u{4f60}/");
    }
}
