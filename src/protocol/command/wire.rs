//! A command as it goes over the wire: one line of JSON.
//!
//! Promises: pure ASCII, no spaces, keys in the order in which they were given, because that is what the maker's own
//! demo servers send; bounded in size and depth. It is read once, however often it is looked into, and a clone is the
//! same command.
//! Leaves to others: what its members must be (`field`).

use super::error::{Error, WIRE_BYTES_MAX, WIRE_DEPTH_MAX};
use super::field::{Fault, Members};
use super::table::{Api, Class, Command};
use crate::protocol::json;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

/// The most characters of a member's name that a refusal quotes.
const MEMBER_CHARS_MAX: usize = 64;

/// A command as it stands on the wire: an object with a string `api`, as ASCII JSON. In JSON, it is that object.
#[derive(Debug, Clone)]
pub struct Wire(Arc<Statement>);

#[derive(Debug)]
struct Statement {
    text: Box<RawValue>,
    meaning: OnceLock<Meaning>,
}

/// What stands in it.
#[derive(Debug, Clone)]
struct Meaning {
    api: String,
    /// `time` is there.
    timed: bool,
    seconds: Option<u64>,
    /// `None`: of an `api` that we do not know.
    command: Result<Option<Command>, Fault>,
}

impl Meaning {
    fn of(members: &Map<String, Value>) -> Self {
        let api = members.get("api").and_then(Value::as_str).unwrap_or_default();
        let time = members.get("time");
        Self {
            api: api.to_owned(),
            timed: time.is_some(),
            seconds: time.and_then(|time| time.as_u64().or_else(|| time.as_str()?.trim().parse().ok())),
            command: Command::read(api, &Members(members)),
        }
    }
}

impl PartialEq for Wire {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for Wire {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.text.serialize(serializer)
    }
}

/// For what was stored: it was checked when it was queued. What is no command after all has no `api`.
impl<'de> Deserialize<'de> for Wire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Arc::new(Statement { text: Box::<RawValue>::deserialize(deserializer)?, meaning: OnceLock::new() })))
    }
}

impl Wire {
    /// Takes an object as given (`raw`). Numbers, key order and escapes stay as they were written; white space goes,
    /// and what is not ASCII is escaped.
    ///
    /// # Errors
    /// When it is no JSON object with a non-empty string `api`, has a member twice, or is too long or too deep.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        // White space may take as much again; more is not read at all.
        if text.len() > WIRE_BYTES_MAX * 2 {
            return Err(Error::TooLong(text.len()));
        }
        if json::depth(text) > WIRE_DEPTH_MAX {
            return Err(Error::TooDeep);
        }
        let value = serde_json::from_str(text).map_err(|e| Error::NotJson(e.to_string()))?;
        if let Some(name) = json::repeated_member(text) {
            return Err(Error::Repeated(name.chars().filter(|c| !c.is_control()).take(MEMBER_CHARS_MAX).collect()));
        }
        let Value::Object(members) = value else { return Err(Error::NotAnObject) };
        let meaning = Meaning::of(&members);
        if meaning.api.is_empty() {
            return Err(Error::NoApi);
        }
        Self::new(compact_ascii(text), meaning)
    }

    /// The wire form of a command that was checked.
    fn of(command: &Command) -> Result<Self, Error> {
        let text = serde_json::to_string(command).map_err(|e| Error::NotJson(e.to_string()))?;
        let api = command.api().api.to_owned();
        Self::new(
            compact_ascii(&text),
            Meaning { api, timed: false, seconds: None, command: Ok(Some(command.clone())) },
        )
    }

    fn new(text: String, meaning: Meaning) -> Result<Self, Error> {
        if text.len() > WIRE_BYTES_MAX {
            return Err(Error::TooLong(text.len()));
        }
        let text = RawValue::from_string(text).map_err(|e| Error::NotJson(e.to_string()))?;
        Ok(Self(Arc::new(Statement { text, meaning: meaning.into() })))
    }

    fn meaning(&self) -> &Meaning {
        self.0.meaning.get_or_init(|| Meaning::of(&serde_json::from_str(self.as_str()).unwrap_or_default()))
    }

    /// Adds the spec's `time`: the client waits this many seconds before it carries the command out.
    ///
    /// # Errors
    /// When it has one, or has no room for it.
    pub fn with_time(&self, seconds: u64) -> Result<Self, Error> {
        let meaning = self.meaning();
        if meaning.timed {
            return Err(Error::Timed);
        }
        // It is an object with at least an `api`.
        let members = self.as_str().strip_suffix('}').unwrap_or_default();
        let meaning = Meaning { timed: true, seconds: Some(seconds), ..meaning.clone() };
        Self::new(format!("{members},\"time\":{seconds}}}"), meaning)
    }

    /// The same with another text in a member.
    ///
    /// # Errors
    /// When it is too long then.
    pub fn with_text(&self, member: &str, text: &str) -> Result<Self, Error> {
        let mut members: Map<String, Value> = serde_json::from_str(self.as_str()).unwrap_or_default();
        members.insert(member.to_owned(), text.into());
        Self::from_json(&Value::Object(members).to_string())
    }

    /// The wire's `api`.
    #[must_use]
    pub fn api(&self) -> &str {
        &self.meaning().api
    }

    /// How many seconds the client is to wait (`time`).
    #[must_use]
    pub fn seconds(&self) -> Option<u64> {
        self.meaning().seconds
    }

    /// What it means; `None` when it is of an `api` that we do not know.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence that names the member.
    pub fn check(&self) -> Result<Option<&Command>, &Fault> {
        self.meaning().command.as_ref().map(Option::as_ref)
    }

    /// What it means, where we know it.
    #[must_use]
    pub fn command(&self) -> Option<&Command> {
        self.check().ok().flatten()
    }

    /// ASCII JSON: what goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.text.get()
    }

    /// The same, as JSON to put into other JSON.
    #[must_use]
    pub fn to_raw(&self) -> Box<RawValue> {
        self.0.text.clone()
    }

    /// The class of its api. One that we do not know may do anything, so it counts as a send.
    #[must_use]
    pub fn class(&self) -> Class {
        Api::find(self.api()).map_or(Class::Send, |row| row.class)
    }
}

impl Command {
    /// The wire form, with the spec's client-side delay in seconds when one is given.
    ///
    /// # Errors
    /// When something that must be said is empty, a ticket is none, there are too many ids, or all of it is longer than
    /// [`WIRE_BYTES_MAX`].
    pub fn to_wire(&self, time: Option<u64>) -> Result<Wire, Error> {
        self.check()?;
        let wire = Wire::of(self)?;
        match time {
            Some(seconds) => wire.with_time(seconds),
            None => Ok(wire),
        }
    }
}

/// Takes the white space between tokens out of valid JSON and escapes what is not ASCII; every other byte stays.
fn compact_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            ' ' | '\t' | '\n' | '\r' if !in_string => continue,
            _ => {}
        }
        // DEL counts as unprintable for Python's `json.dumps`, too.
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ok = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}
