//! What a message (event type 78) says: what kind it is, who spoke, readable text, and what its XML holds. Contract 7,
//! wehelp-api.zh.md `#message`.
//!
//! Promises: never an error and never a panic: damaged XML gives what could be read before the damage, a message that
//! is no XML at all is its own text. Bounds are those of `xml`. A plain text message costs one copy.
//! Leaves to others: which chat, who spoke (`event`), and what a notice means for a command (`answer`).

mod app;
mod notice;
mod sentence;
mod words;
pub(in crate::protocol) mod xml;

use super::contact::sex_word;
use super::id;
use super::kind::Kind;
use serde_json::{Map, Value};
pub use words::{Around, Message, Speaker, speaker_before, with_names};
use words::{TEXT, number, said, strip_speaker, word};
use xml::Element;

/// Whether what kind a message is, or who spoke, is known only when it was read.
#[must_use]
pub fn is_read_first(msg_type: i64) -> bool {
    matches!(msg_type, 37 | 65 | 10000 | 10002)
}

/// Reads a message of that `msgType`.
#[must_use]
pub fn read(msg_type: i64, message: &str, around: &Around<'_>) -> Message {
    let message = strip_speaker(message, around.speaker);
    match msg_type {
        TEXT => match articles_in_text(message, around) {
            Some(articles) => articles,
            None => Message::of(Kind::MessageText, Some(message.to_owned()), Map::new()),
        },
        50 => notice::call(message),
        10000 => notice::notice(message, around),
        _ => packed(msg_type, message, around),
    }
}

/// A message that is XML by its kind.
fn packed(msg_type: i64, message: &str, around: &Around<'_>) -> Message {
    // Some versions escape it once more.
    let escaped = message.trim_start().starts_with("&lt;").then(|| xml::unescape(message));
    let message = escaped.as_deref().unwrap_or(message);
    let tree = xml::locate(message).map(xml::parse);
    match tree.as_ref().and_then(|tree| Some((tree, tree.root()?))) {
        Some((tree, root)) if msg_type == 10002 => notice::system(message, tree, root, around),
        Some((_, root)) => opened(msg_type, root, Some(text_inside)),
        None if msg_type == 10002 => {
            let kind = if message.trim().is_empty() { Kind::MessageOther } else { Kind::MessageSystem };
            Message { from: Speaker::Nobody, ..Message::plain(kind, message) }
        }
        None => Message::plain(Kind::of_message(msg_type), message),
    }
}

/// The text of a message inside another one. A quote in it is left closed, so that nothing nests.
fn text_inside(msg_type: i64, root: Element<'_>) -> Option<String> {
    opened(msg_type, root, None).text
}

/// The XML of a message of that `msgType`, which is no notice; `open` reads what it quotes.
fn opened(msg_type: i64, root: Element<'_>, open: Option<app::Opener>) -> Message {
    match msg_type {
        3 => media(Kind::MessageImage, root, "img", |image, decoded| {
            number(decoded, "size", image.attribute("length"));
        }),
        34 => media(Kind::MessageVoice, root, "voicemsg", |voice, decoded| {
            number(decoded, "duration_ms", voice.attribute("voicelength"));
            number(decoded, "size", voice.attribute("length"));
        }),
        43 => media(Kind::MessageVideo, root, "videomsg", |video, decoded| {
            let seconds = video.attribute("playlength").and_then(|seconds| seconds.trim().parse::<u64>().ok());
            decoded.insert("duration_ms".into(), seconds.and_then(|seconds| seconds.checked_mul(1000)).into());
            number(decoded, "size", video.attribute("length"));
        }),
        47 => media(Kind::MessageSticker, root, "emoji", |sticker, decoded| {
            word(decoded, "url", sticker.attribute("cdnurl"));
            number(decoded, "size", sticker.attribute("len"));
        }),
        48 => location(root),
        37 | 65 => friend_request(root),
        42 | 66 => card(root),
        49 => app::read(root, open),
        _ => {
            let sysmsg = notice::sysmsg_type(root).map(|kind| ("sysmsg".to_owned(), kind.into()));
            Message::of(Kind::of_message(msg_type), None, sysmsg.into_iter().collect())
        }
    }
}

/// The articles that news and official accounts put into a text.
fn articles_in_text(message: &str, around: &Around<'_>) -> Option<Message> {
    let from = around.speaker.or(around.chat)?;
    let is_publisher = id::is_system(from) || from.starts_with("gh_");
    let xml = message.trim_start();
    if !is_publisher || !xml.starts_with("<mmreader") && !xml.starts_with("<?xml") {
        return None;
    }
    let tree = xml::parse(xml);
    let articles = app::articles(tree.root()?)?;
    let text = articles.iter().find_map(|article| article["title"].as_str()).map(str::to_owned);
    let decoded = Map::from_iter([("articles".to_owned(), articles.into())]);
    Some(Message::of(Kind::MessageText, text, decoded))
}

/// A picture, voice …: the attributes of one element as they stand, and the useful ones normalised by `more`.
fn media<'t>(
    kind: Kind,
    root: Element<'t>,
    name: &str,
    more: impl FnOnce(Element<'t>, &mut Map<String, Value>),
) -> Message {
    let mut decoded = Map::new();
    if let Some(element) = root.find(name) {
        decoded.extend(element.attributes().map(|(name, value)| (name.to_owned(), value.into())));
        more(element, &mut decoded);
    }
    Message::of(kind, None, decoded)
}

fn location(root: Element<'_>) -> Message {
    let mut text = None;
    let message = media(Kind::MessageLocation, root, "location", |location, decoded| {
        let degrees = |name| location.attribute(name).and_then(|degrees| degrees.trim().parse::<f64>().ok());
        // A number that JSON cannot hold (NaN) becomes null.
        decoded.insert("latitude".into(), degrees("x").into());
        decoded.insert("longitude".into(), degrees("y").into());
        word(decoded, "label", location.attribute("label"));
        word(decoded, "name", location.attribute("poiname"));
        text = said(location.attribute("label")).or_else(|| said(location.attribute("poiname")));
    });
    Message { text: text.map(str::to_owned), ..message }
}

/// A friend request: what `friend accept` needs, who it is and what they say. Company contacts (65) have one ticket,
/// which is a v1 although it is called `ticket`.
fn friend_request(root: Element<'_>) -> Message {
    let element = carrier(root, &["encryptusername", "ticket"]);
    let get = |name| element.attribute(name);
    let greeting = said(get("content"));
    let mut decoded = Map::new();
    let ticket = said(get("ticket"));
    let is_v1 = |ticket: &&str| ticket.starts_with("v1_");
    word(&mut decoded, "v1", said(get("encryptusername")).or(ticket.filter(is_v1)));
    word(&mut decoded, "v2", ticket.filter(|ticket| !is_v1(ticket)));
    word(&mut decoded, "wxid", get("fromusername"));
    word(&mut decoded, "nick", get("fromnickname"));
    word(&mut decoded, "greeting", greeting);
    word(&mut decoded, "scene", get("scene"));
    word(&mut decoded, "room", get("chatroomusername"));
    person(element, &mut decoded);
    let from = said(get("fromusername")).filter(|id| id::is_reported(id));
    let from = from.map_or(Speaker::Nobody, |from| Speaker::Id(from.to_owned()));
    Message { from, ..Message::of(Kind::MessageFriendRequest, greeting.map(str::to_owned), decoded) }
}

/// A card: somebody recommends somebody.
fn card(root: Element<'_>) -> Message {
    let element = carrier(root, &["username"]);
    let get = |name| element.attribute(name);
    // Newer versions hide the id of a stranger behind a ticket.
    let ticket = said(get("username")).filter(|id| id.ends_with("@stranger"));
    let mut decoded = Map::new();
    word(&mut decoded, "wxid", get("username").filter(|_| ticket.is_none()));
    word(&mut decoded, "nick", get("nickname"));
    word(&mut decoded, "v1", ticket);
    word(&mut decoded, "v2", get("antispamticket"));
    person(element, &mut decoded);
    Message::of(Kind::MessageCard, said(get("nickname")).map(str::to_owned), decoded)
}

/// The element that has an attribute which makes it what it is; else the first `msg`, else the root.
fn carrier<'t>(root: Element<'t>, attributes: &[&str]) -> Element<'t> {
    let mut each = attributes.iter().map(|name| root.within().find(|element| element.attribute(name).is_some()));
    each.find_map(|element| element).or_else(|| root.find("msg")).unwrap_or(root)
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

#[cfg(test)]
mod tests;
