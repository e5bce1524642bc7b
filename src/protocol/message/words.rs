//! What every kind of message is read into, and how words are told from what says nothing.

use crate::protocol::decoded::Decoded;
use crate::protocol::id;
use crate::protocol::kind::Kind;

/// Who spoke, as the message itself tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Speaker {
    /// It does not tell: whoever the event names.
    #[default]
    Unsaid,
    /// The account itself, whatever the event says.
    Account,
    /// Somebody.
    Id(String),
    /// Nobody: a notice, or one of which nobody can tell who it was.
    Nobody,
}

/// What the XML (or text) of a type-78 message holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Who spoke.
    pub from: Speaker,
    /// Readable text for people; `None` where it does not apply (a picture).
    pub text: Option<String>,
    /// What was packed.
    pub decoded: Decoded,
}

impl Message {
    pub(super) fn of(kind: Kind, text: Option<String>, decoded: Decoded) -> Self {
        Self { kind, from: Speaker::Unsaid, text, decoded }
    }

    /// One that holds nothing but text.
    pub(super) fn plain(kind: Kind, message: &str) -> Self {
        Self::of(kind, some(message), Decoded::Nothing {})
    }
}

/// What the event tells of a message beside it: ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Around<'a> {
    /// Whose event it is.
    pub account: Option<&'a str>,
    /// The conversation.
    pub chat: Option<&'a str>,
    /// Who spoke: some versions put `ID:` and a line break in front of what was said in a room, and that is cut off when
    /// it is the speaker's own id, and only then.
    pub speaker: Option<&'a str>,
}

/// `msgType` of a text.
pub(super) const TEXT: i64 = 1;

/// The id that stands before what was said, as some versions put it: `ID:` and a line break.
#[must_use]
pub fn speaker_before(message: &str) -> Option<&str> {
    let (speaker, rest) = message.split_once(':')?;
    (["<br/>", "\n", "\r\n"].iter().any(|end| rest.starts_with(end)) && is_plain_id(speaker)).then_some(speaker)
}

/// Whether a word has the form of an id, and none of a person's own words has it by chance: a word with a colon and a line
/// break behind it may be one.
fn is_plain_id(word: &str) -> bool {
    let marked = word.starts_with("wxid_") || word.starts_with("gh_") || word.contains('@');
    marked && id::Wxid::check(word).is_ok()
}

/// A text with the names of those whose ids stand in it as `${ID}`; an unknown one stays an id.
#[must_use]
pub fn with_names(template: &str, mut name: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, (id, after))) = rest.split_once("${").and_then(|(b, r)| Some((b, r.split_once('}')?))) {
        out.push_str(before);
        if id::is_reported(id) {
            out.push_str(&name(id).unwrap_or_else(|| id.to_owned()));
            rest = after;
        } else {
            out.push_str("${");
            rest = &rest[before.len() + 2..];
        }
    }
    out.push_str(rest);
    out
}

/// A text, unless it is blank.
pub(super) fn some(message: &str) -> Option<String> {
    (!message.trim().is_empty()).then(|| message.to_owned())
}

/// Cuts off `speaker:` and the line break behind it.
pub(super) fn strip_speaker<'m>(message: &'m str, speaker: Option<&str>) -> &'m str {
    let Some(speaker) = speaker.filter(|speaker| !speaker.is_empty()) else { return message };
    let Some(rest) = message.strip_prefix(speaker).and_then(|rest| rest.strip_prefix(':')) else { return message };
    let after = |text: &'m str| text.strip_prefix('\n').or_else(|| text.strip_prefix("\r\n"));
    match rest.strip_prefix("<br/>") {
        Some(rest) => after(rest).unwrap_or(rest),
        None => after(rest).unwrap_or(message),
    }
}

/// `None` for what says nothing. This is WeChat's own XML, and holds what people write: the words that a client's language
/// has for nothing are only words here.
pub(super) fn said(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !matches!(text.trim(), "" | "(null)" | "null"))
}

/// A text, unless it says nothing.
pub(super) fn word(text: Option<&str>) -> Option<String> {
    said(text).map(str::to_owned)
}

/// A number, where it is one.
pub(super) fn number(text: Option<&str>) -> Option<i64> {
    text.and_then(|text| text.trim().parse().ok())
}
