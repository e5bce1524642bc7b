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
use super::decoded::{Card, Decoded, Described, FriendRequest, Notice, NoticeTold};
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
            None => Message::of(Kind::MessageText, Some(message.to_owned()), Decoded::Nothing {}),
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
        None if msg_type == 10002 => notice::words(message, around),
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
            decoded.insert("size".into(), number(image.attribute("length")).into());
        }),
        34 => media(Kind::MessageVoice, root, "voicemsg", |voice, decoded| {
            decoded.insert("duration_ms".into(), number(voice.attribute("voicelength")).into());
            decoded.insert("size".into(), number(voice.attribute("length")).into());
        }),
        43 => media(Kind::MessageVideo, root, "videomsg", |video, decoded| {
            let seconds = video.attribute("playlength").and_then(|seconds| seconds.trim().parse::<u64>().ok());
            decoded.insert("duration_ms".into(), seconds.and_then(|seconds| seconds.checked_mul(1000)).into());
            decoded.insert("size".into(), number(video.attribute("length")).into());
        }),
        47 => media(Kind::MessageSticker, root, "emoji", |sticker, decoded| {
            decoded.insert("url".into(), said(sticker.attribute("cdnurl")).into());
            decoded.insert("size".into(), number(sticker.attribute("len")).into());
        }),
        48 => location(root),
        37 | 65 => friend_request(root),
        42 | 66 => card(root),
        49 => app::read(root, open),
        _ => {
            let decoded = match notice::sysmsg_type(root) {
                Some(kind) => {
                    let sysmsg = Some(Some(kind.to_owned()));
                    Decoded::Notice(Box::new(Notice { sysmsg, told: NoticeTold::Nothing {}, template: None }))
                }
                None => Decoded::Nothing {},
            };
            Message::of(Kind::of_message(msg_type), None, decoded)
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
    let text = articles.iter().find_map(|article| article.title.clone());
    Some(Message::of(Kind::MessageText, text, Decoded::Articles { articles }))
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
    Message::of(kind, None, Decoded::Media(decoded))
}

fn location(root: Element<'_>) -> Message {
    let mut text = None;
    let message = media(Kind::MessageLocation, root, "location", |location, decoded| {
        let degrees = |name| location.attribute(name).and_then(|degrees| degrees.trim().parse::<f64>().ok());
        // A number that JSON cannot hold (NaN) becomes null.
        decoded.insert("latitude".into(), degrees("x").into());
        decoded.insert("longitude".into(), degrees("y").into());
        let (label, name) = (said(location.attribute("label")), said(location.attribute("poiname")));
        decoded.insert("label".into(), label.into());
        decoded.insert("name".into(), name.into());
        text = label.or(name);
    });
    Message { text: text.map(str::to_owned), ..message }
}

/// A friend request: what `friend accept` needs, who it is and what they say. Company contacts (65) have one ticket,
/// which is a v1 although it is called `ticket`.
fn friend_request(root: Element<'_>) -> Message {
    let element = carrier(root, &["encryptusername", "ticket"]);
    let get = |name| element.attribute(name);
    let ticket = said(get("ticket"));
    let is_v1 = |ticket: &&str| ticket.starts_with("v1_");
    let request = FriendRequest {
        v1: word(said(get("encryptusername")).or(ticket.filter(is_v1))),
        v2: word(ticket.filter(|ticket| !is_v1(ticket))),
        wxid: word(get("fromusername")),
        nick: word(get("fromnickname")),
        greeting: word(get("content")),
        scene: word(get("scene")),
        room: word(get("chatroomusername")),
        person: person(element),
    };
    let from = said(get("fromusername")).filter(|id| id::is_reported(id));
    let from = from.map_or(Speaker::Nobody, |from| Speaker::Id(from.to_owned()));
    let text = request.greeting.clone();
    Message { from, ..Message::of(Kind::MessageFriendRequest, text, Decoded::FriendRequest(Box::new(request))) }
}

/// A card: somebody recommends somebody.
fn card(root: Element<'_>) -> Message {
    let element = carrier(root, &["username"]);
    let get = |name| element.attribute(name);
    // Newer versions hide the id of a stranger behind a ticket.
    let ticket = said(get("username")).filter(|id| id.ends_with("@stranger"));
    let card = Card {
        wxid: word(get("username").filter(|_| ticket.is_none())),
        nick: word(get("nickname")),
        v1: word(ticket),
        v2: word(get("antispamticket")),
        person: person(element),
    };
    Message::of(Kind::MessageCard, card.nick.clone(), Decoded::Card(Box::new(card)))
}

/// The element that has an attribute which makes it what it is; else the first `msg`, else the root.
fn carrier<'t>(root: Element<'t>, attributes: &[&str]) -> Element<'t> {
    let mut each = attributes.iter().map(|name| root.within().find(|element| element.attribute(name).is_some()));
    each.find_map(|element| element).or_else(|| root.find("msg")).unwrap_or(root)
}

fn person(element: Element<'_>) -> Described {
    let get = |name| element.attribute(name);
    Described {
        alias: word(get("alias")),
        sex: get("sex").and_then(sex_word),
        avatar: word(said(get("bigheadimgurl")).or_else(|| get("smallheadimgurl"))),
        avatar_small: word(get("smallheadimgurl")),
        country: word(said(get("country")).or_else(|| get("regionCode"))),
        province: word(get("province")),
        city: word(get("city")),
        sign: word(get("sign")),
    }
}

#[cfg(test)]
mod tests;
