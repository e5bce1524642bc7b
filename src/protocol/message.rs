//! What a message (event type 78) says: readable text, and what its XML holds. Contract 7, wehelp-api.zh.md `#message`.
//!
//! Promises: never an error and never a panic: damaged XML gives what could be read before the damage, a message that
//! is no XML at all is its own text. Bounds are those of `xml`. A plain text message costs one copy.
//! Leaves to others: which chat, who spoke (`event`), and what a notice means for a command (`answer`).

mod app;
mod notice;
pub(in crate::protocol) mod xml;

use super::contact::sex_word;
use serde_json::{Map, Value, json};
use xml::{Element, Tree};

/// What the XML (or text) of a type-78 message holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Readable text for people; `None` where it does not apply (a picture).
    pub text: Option<String>,
    /// A JSON object, by kind of message.
    pub decoded: Value,
}

/// `msgType` of a text.
const TEXT: i64 = 1;

/// Reads a message of that `msgType`. `speaker` is the id of who spoke: some versions put `ID:` and a line break in
/// front of what was said in a room, and that is cut off when it is the speaker's own id, and only then.
#[must_use]
pub fn read(msg_type: i64, message: &str, speaker: Option<&str>) -> Message {
    let message = strip_speaker(message, speaker);
    if msg_type == TEXT {
        return Message { text: Some(message.to_owned()), decoded: Value::Object(Map::new()) };
    }
    match msg_type {
        50 => notice::call(message),
        10000 => notice::notice(message),
        _ => packed(msg_type, message, Quoting::Open),
    }
}

/// Whether a quote may be opened: a quote in a quote is left closed, so that nothing nests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Open,
    Closed,
}

/// A message that is XML by its kind.
fn packed(msg_type: i64, message: &str, quoting: Quoting) -> Message {
    // Some versions escape it once more.
    let escaped = message.trim_start().starts_with("&lt;").then(|| xml::unescape(message));
    let message = escaped.as_deref().unwrap_or(message);
    let tree = xml::locate(message).map(xml::parse);
    let Some((tree, root)) = tree.as_ref().and_then(|tree| Some((tree, tree.root()?))) else {
        return plain(message);
    };
    match msg_type {
        3 => media(tree, "img", |image, decoded| {
            number(decoded, "size", image.attribute("length"));
        }),
        34 => media(tree, "voicemsg", |voice, decoded| {
            number(decoded, "duration_ms", voice.attribute("voicelength"));
            number(decoded, "size", voice.attribute("length"));
        }),
        43 => media(tree, "videomsg", |video, decoded| {
            let seconds = video.attribute("playlength").and_then(|seconds| seconds.trim().parse::<u64>().ok());
            decoded.insert("duration_ms".into(), seconds.and_then(|seconds| seconds.checked_mul(1000)).into());
            number(decoded, "size", video.attribute("length"));
        }),
        47 => media(tree, "emoji", |sticker, decoded| {
            word(decoded, "url", sticker.attribute("cdnurl"));
            number(decoded, "size", sticker.attribute("len"));
        }),
        48 => location(tree),
        37 => friend_request(tree, root),
        42 => card(tree, root),
        49 => app::read(tree, root, quoting),
        10002 => notice::system(tree, root),
        _ => Message {
            text: None,
            decoded: notice::sysmsg_type(root).map_or_else(|| json!({}), |kind| json!({ "sysmsg": kind })),
        },
    }
}

/// A message that holds nothing but text.
fn plain(message: &str) -> Message {
    Message { text: (!message.trim().is_empty()).then(|| message.to_owned()), decoded: Value::Object(Map::new()) }
}

/// Cuts off `speaker:` and the line break behind it.
fn strip_speaker<'m>(message: &'m str, speaker: Option<&str>) -> &'m str {
    let Some(speaker) = speaker.filter(|speaker| !speaker.is_empty()) else { return message };
    let Some(rest) = message.strip_prefix(speaker).and_then(|rest| rest.strip_prefix(':')) else { return message };
    let rest = rest.strip_prefix("<br/>").unwrap_or(rest);
    rest.strip_prefix('\n').or_else(|| rest.strip_prefix("\r\n")).unwrap_or(message)
}

/// A picture, voice …: the attributes of one element as they stand, and the useful ones normalised by `more`.
fn media<'t>(tree: &'t Tree, name: &str, more: impl FnOnce(Element<'t>, &mut Map<String, Value>)) -> Message {
    let mut decoded = Map::new();
    if let Some(element) = tree.find(name) {
        decoded.extend(element.attributes().map(|(name, value)| (name.to_owned(), value.into())));
        more(element, &mut decoded);
    }
    Message { text: None, decoded: Value::Object(decoded) }
}

fn location(tree: &Tree) -> Message {
    let mut text = None;
    let Message { decoded, .. } = media(tree, "location", |location, decoded| {
        let degrees = |name| location.attribute(name).and_then(|degrees| degrees.trim().parse::<f64>().ok());
        // A number that JSON cannot hold (NaN) becomes null.
        decoded.insert("latitude".into(), degrees("x").into());
        decoded.insert("longitude".into(), degrees("y").into());
        word(decoded, "label", location.attribute("label"));
        word(decoded, "name", location.attribute("poiname"));
        text = said(location.attribute("label")).or_else(|| said(location.attribute("poiname")));
    });
    Message { text: text.map(str::to_owned), decoded }
}

/// A friend request: what `friend accept` needs, who it is and what they say.
fn friend_request(tree: &Tree, root: Element<'_>) -> Message {
    let element = carrier(tree, root, "encryptusername");
    let get = |name| element.attribute(name);
    let greeting = said(get("content"));
    let mut decoded = Map::new();
    word(&mut decoded, "v1", get("encryptusername"));
    word(&mut decoded, "v2", get("ticket"));
    word(&mut decoded, "wxid", get("fromusername"));
    word(&mut decoded, "nick", get("fromnickname"));
    word(&mut decoded, "greeting", greeting);
    word(&mut decoded, "scene", get("scene"));
    word(&mut decoded, "room", get("chatroomusername"));
    person(element, &mut decoded);
    Message { text: greeting.map(str::to_owned), decoded: Value::Object(decoded) }
}

/// A card: somebody recommends somebody.
fn card(tree: &Tree, root: Element<'_>) -> Message {
    let element = carrier(tree, root, "username");
    let get = |name| element.attribute(name);
    // Newer versions hide the id of a stranger behind a ticket.
    let ticket = said(get("username")).filter(|id| id.ends_with("@stranger"));
    let mut decoded = Map::new();
    word(&mut decoded, "wxid", get("username").filter(|_| ticket.is_none()));
    word(&mut decoded, "nick", get("nickname"));
    word(&mut decoded, "v1", ticket);
    word(&mut decoded, "v2", get("antispamticket"));
    person(element, &mut decoded);
    Message { text: said(get("nickname")).map(str::to_owned), decoded: Value::Object(decoded) }
}

/// The element that has the attribute which makes it what it is; else the first `msg`, else the root.
fn carrier<'t>(tree: &'t Tree, root: Element<'t>, attribute: &str) -> Element<'t> {
    let has = |element: &Element<'_>| element.attribute(attribute).is_some();
    tree.elements().find(has).or_else(|| tree.find("msg")).unwrap_or(root)
}

/// What friend requests and cards both tell of a person.
fn person(element: Element<'_>, decoded: &mut Map<String, Value>) {
    let get = |name| element.attribute(name);
    word(decoded, "alias", get("alias"));
    word(decoded, "sex", get("sex").and_then(sex_word));
    word(decoded, "avatar", said(get("bigheadimgurl")).or_else(|| get("smallheadimgurl")));
    word(decoded, "avatar_small", get("smallheadimgurl"));
    word(decoded, "country", said(get("country")).or_else(|| get("regionCode")));
    word(decoded, "province", get("province"));
    word(decoded, "city", get("city"));
    word(decoded, "sign", get("sign"));
}

/// `None` for what says nothing. This is WeChat's own XML, and holds what people write: the words that a client's language
/// has for nothing are only words here.
fn said(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !matches!(text.trim(), "" | "(null)" | "null"))
}

/// Puts a text, or null when it says nothing.
fn word(map: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    map.insert(key.to_owned(), said(value).into());
}

/// Puts a number, or null when it is none.
fn number(map: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    map.insert(key.to_owned(), value.and_then(|value| value.trim().parse::<i64>().ok()).into());
}

#[cfg(test)]
mod tests;
