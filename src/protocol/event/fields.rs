//! The members that events are told by, as they stand in the text: found in one pass, unread until somebody asks.
//!
//! Promises: one pass, no copy; a member given twice counts as given last; strings are taken for numbers and numbers
//! for strings (client-facts.md). It is made for every event that arrives, so it must stay cheap.
//! Leaves to others: which of them a kind has.

use crate::protocol::{contact, id, json};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident $name:pat,)*) => {
        /// Members of an object by their names on the wire.
        #[derive(Debug, Default)]
        pub(super) struct Fields<'a> { $($(#[$doc])* pub(super) $field: Option<&'a RawValue>),* }

        #[expect(non_camel_case_types, reason = "these are the names of the fields")]
        enum Key { $($field,)* Other }

        impl Key {
            fn of(name: &[u8]) -> Self {
                match name { $($name => Self::$field,)* _ => Self::Other }
            }
        }

        impl<'a> Fields<'a> {
            fn slot(&mut self, key: &Key) -> Option<&mut Option<&'a RawValue>> {
                match key { $(Key::$field => Some(&mut self.$field),)* Key::Other => None }
            }
        }
    };
}

fields! {
    data b"data",
    action b"action",
    kind b"type",
    code b"code",
    msg_type b"msgType",
    pid b"processid",
    account b"cwxid",
    wxid b"wxid",
    /// The later client spells it right.
    speaker b"formWxid" | b"fromWxid",
    my_msg b"myMsg",
    nick b"nick",
    message b"message",
    chatroom b"chatroom",
    chatrooms b"chatrooms",
    users b"userLists",
    info b"info",
    hex b"hex",
    v1 b"v1",
    v2 b"v2",
}

impl<'a> Fields<'a> {
    /// Finds the members in the text of an object.
    ///
    /// # Errors
    /// When the text is no JSON object; the message says where, and for a text that begins with `{` quotes nothing.
    pub(super) fn read(object: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(object)
    }

    /// Whether these are the members of an event, rather than of what an event is wrapped in.
    pub(super) fn is_event(&self) -> bool {
        self.kind.or(self.action).or(self.account).is_some()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields::default();
                while let Some(key) = map.next_key::<Key>()? {
                    match fields.slot(&key) {
                        Some(slot) => *slot = Some(map.next_value()?),
                        None => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Key, E> {
                Ok(Key::of(name))
            }
        }
        // As bytes: a key that is no Unicode is another key, not an error.
        deserializer.deserialize_bytes(Reader)
    }
}

/// A text, unless it says nothing (`null`, `"(null)"`, `"None"`, `""` …).
pub(super) fn word(raw: &RawValue) -> Option<String> {
    json::text(raw).filter(|text| !contact::nothing(text)).map(Into::into)
}

/// A word that can be an id.
pub(super) fn id(raw: &RawValue) -> Option<String> {
    let text = json::text(raw)?;
    let text = text.trim();
    (!contact::nothing(text) && id::is_reported(text)).then(|| text.to_owned())
}

/// A whole number, written as number or string, be it as `78.0`.
pub(super) fn number<N: std::str::FromStr>(raw: &RawValue) -> Option<N> {
    let text = json::text(raw)?;
    let text = text.trim();
    // Some languages know no other numbers.
    text.strip_suffix(".0").unwrap_or(text).parse().ok()
}
