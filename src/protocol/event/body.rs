//! The way from a callback's bytes to the inner object (contract 2, "Callback").
//!
//! Promises: the inner object is a slice of what came, byte for byte, unless it had to be transcoded or mended, or stood
//! in a string. Never a panic; five passes over sane text.
//! Leaves to others: the size limit (the door), and what the object means (`event`).

use super::fields::{Fields, number};
use super::outline::TYPE_IN_CODE;
use crate::protocol::{encoding, json, repair};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;

/// A callback's body, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// The inner object (what stood under `data`, or the whole body) as JSON text, byte for byte but for repairs.
    /// Always one JSON object, nested at most 64 levels deep.
    Readable(Cow<'a, str>),
    /// It cannot be read, or is no JSON object; the reason is a short sentence without anything from the body.
    Unreadable(String),
}

/// Reads a callback's body (contract 2): UTF-8 with or without BOM, faults and GB18030 as [`encoding::decode`] takes
/// them; strict JSON, else mended; then what stands under `data`, when that is an object, or a string that holds one.
/// What stood beside `data` is left out, unless it is the event: the later client's `{"action":…,"cwxid":…,"data":{…}}`
/// has its members outside, and stays whole.
#[must_use]
pub fn read_body(bytes: &[u8]) -> Body<'_> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match encoding::decode(bytes) {
        Cow::Borrowed(text) => read_text(text),
        Cow::Owned(text) => match read_text(&text) {
            Body::Readable(Cow::Owned(data)) => Body::Readable(data.into()),
            Body::Readable(Cow::Borrowed(data)) => {
                let place = place(&text, data);
                Body::Readable(cut(text, place).into())
            }
            Body::Unreadable(reason) => Body::Unreadable(reason),
        },
    }
}

fn read_text(text: &str) -> Body<'_> {
    // A BOM in front, and the NUL that ends a C string, are no part of the JSON.
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\0');
    if text.is_empty() {
        return Body::Unreadable("the body is empty".to_owned());
    }
    let found = match inner(text) {
        Err(Fault::NoJson(reason)) => match repair::repair(text) {
            Some(mended) => match inner(mended.trim()) {
                Ok(Cow::Owned(data)) => Ok(data.into()),
                Ok(Cow::Borrowed(data)) => {
                    let place = place(&mended, data);
                    Ok(cut(mended, place).into())
                }
                Err(fault) => Err(fault),
            },
            None => Err(Fault::NoJson(reason)),
        },
        found => found,
    };
    match found {
        Ok(data) => Body::Readable(data),
        Err(Fault::NoEvent(reason)) => Body::Unreadable(reason),
        Err(Fault::NoJson(reason)) => Body::Unreadable(format!("the body is no JSON: {reason}")),
    }
}

/// Where a part of a text lies in it.
fn place(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// Leaves only a part of a text, which may have many megabytes, without a copy.
fn cut(mut text: String, place: Range<usize>) -> String {
    text.truncate(place.end);
    drop(text.drain(..place.start));
    text
}

enum Fault {
    NoJson(String),
    /// It is JSON, and no event.
    NoEvent(String),
}

fn inner(text: &str) -> Result<Cow<'_, str>, Fault> {
    if !text.starts_with('{') {
        // serde's own message would quote what it found.
        return Err(if json::is_valid(text) {
            Fault::NoEvent("the body is JSON, but no object".to_owned())
        } else {
            Fault::NoJson("it does not begin with an object".to_owned())
        });
    }
    let whole = Fields::read(text).map_err(|fault| Fault::NoJson(fault.to_string()))?;
    let data = whole.data.and_then(held).filter(|data| !whole.is_event() || has_type(data));
    let data = match data {
        Some(data) => data,
        // Its keys were read as bytes, so a raw control character in one has gone unnoticed.
        None if !json::is_valid(text) => return Err(Fault::NoJson("a key has a control character in it".to_owned())),
        None => Cow::Borrowed(text),
    };
    if json::depth(&data) > json::DEPTH_MAX {
        return Err(Fault::NoEvent(format!("the body is nested deeper than {} levels", json::DEPTH_MAX)));
    }
    Ok(data)
}

/// Whether it says by itself what kind of event it is.
fn has_type(data: &str) -> bool {
    let in_code = |inner: &Fields<'_>| inner.code.and_then(number) == Some(TYPE_IN_CODE);
    Fields::read(data).is_ok_and(|inner| inner.kind.is_some() || in_code(&inner))
}

/// The object that `data` is, or that it holds as a string.
fn held(data: &RawValue) -> Option<Cow<'_, str>> {
    match data.get().as_bytes().first()? {
        b'{' => Some(data.get().into()),
        b'"' => {
            let text: String = serde_json::from_str(data.get()).ok()?;
            let text = text.trim();
            (text.starts_with('{') && json::is_valid(text)).then(|| text.to_owned().into())
        }
        _ => None,
    }
}
