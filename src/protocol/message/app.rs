//! App messages (`msgType` 49): links, files, mini programs, quotes, transfers and what else stands in `<appmsg>`.
//! Contract 7, What a message's XML holds.
//!
//! Promises: `title`, `description`, `url`, `app_type` and `app` always, `null` where not given; what belongs to one
//! kind only is there for that kind only. What a client says of itself ("this version cannot show it", the address where
//! to upgrade) is nobody's words.

use super::words::{Message, TEXT, number, said, strip_speaker, with_names, word};
use super::xml::{self, Element};
use crate::clock::Time;
use crate::protocol::decoded::{
    App, AppWord, Article, Channel, Decoded, HistoryItem, MiniProgram, MoreOfApp, Pat, Quote,
};
use crate::protocol::id;
use crate::protocol::kind::Kind;

/// Reads the text of a message of that `msgType` that stands inside another one.
pub(super) type Opener = fn(i64, Element<'_>) -> Option<String>;

/// What the number in `<type>` means; client-facts.md, and what clients of this family have been seen to send.
fn app_word(app_type: i64) -> Option<&'static str> {
    Some(match app_type {
        1 => "text",
        2 => "image",
        3 | 76 | 92 => "music",
        4 => "video",
        5 => "link",
        6 => "file",
        7 => "app",
        8 | 15 | 26 => "sticker",
        10 | 13 | 20 => "product",
        16 => "coupon",
        17 => "live_location",
        19 | 40 => "history",
        21 => "steps",
        24 => "note",
        33 | 36 | 44 | 48 => "mini_program",
        50 => "channel_card",
        51 => "channel_post",
        53 => "solitaire",
        57 => "quote",
        62 => "pat",
        60 | 63 | 88 => "live",
        74 => "file_upload",
        87 => "announcement",
        2000 => "transfer",
        2001 => "red_packet",
        _ => return None,
    })
}

/// What clients say in place of what they cannot show.
const PLACEHOLDERS: &[&str] = &[
    "版本不支持",
    "版本不支援",
    "暂不支持",
    "does not support this content",
    "doesn't support this content",
    "version does not support",
    "version doesn't support",
    "not supported by this version",
    "not supported on this version",
    "unsupported message",
];

/// Whether a title is what a client says in place of what it cannot show.
fn is_placeholder(title: &str) -> bool {
    let title = title.to_lowercase();
    PLACEHOLDERS.iter().any(|words| title.contains(words))
}

/// Whether it is the page that tells how to upgrade, or that a client cannot show something.
fn is_upgrade(url: &str) -> bool {
    let url = url.trim().trim_start_matches("https://").trim_start_matches("http://");
    let is_support = url.starts_with("support.weixin.qq.com/")
        && ["upgrade", "update", "unsupport", "readtemplate"].iter().any(|word| url.contains(word));
    // That of mini programs.
    is_support || url.starts_with("mp.weixin.qq.com/mp/waerrpage") && url.contains("upgrade")
}

/// Reads an app message. Its text is its title, else its description, where nothing says it better. A quote stays closed
/// where nothing opens it.
pub(super) fn read(root: Element<'_>, open: Option<Opener>) -> Message {
    let app = root.find("appmsg").unwrap_or(root);
    let get = |name| app.child_text(name);
    let url = |name| word(get(name).filter(|url| !is_upgrade(url)));
    let app_type = get("type").and_then(|number| number.parse::<i64>().ok());
    let kind = app_type.and_then(app_word);
    let is_upgrade = get("url").is_some_and(is_upgrade);
    // Of what nobody knows, a title beside such an address says in some language that it cannot be shown.
    let title = said(get("title")).filter(|title| !(is_placeholder(title) || is_upgrade && kind.is_none()));
    let appinfo = root.child("appinfo").and_then(|info| info.child_text("appname"));
    let mut description = word(get("des"));
    let (more, better) = more(app, kind, open);
    let better = match &more {
        MoreOfApp::Channel { channel, .. } => {
            if channel.description.is_some() {
                description.clone_from(&channel.description);
            }
            // In whatever language the title says that it cannot be shown.
            better.filter(|_| title.is_none() || is_upgrade)
        }
        _ => better,
    };
    let text = better.or_else(|| title.map(str::to_owned)).or_else(|| {
        let description = said(get("des")).filter(|said| !is_placeholder(said));
        description.map(str::to_owned)
    });
    let decoded = App {
        title: word(title),
        description,
        url: url("url"),
        app_type,
        app: kind.map(AppWord::Known).or(app_type.map(AppWord::Unknown)),
        source: word(get("sourcedisplayname").or(appinfo)),
        thumb_url: url("thumburl"),
        more,
        articles: app.child("mmreader").and_then(articles),
    };
    Message::of(Kind::MessageApp, text, Decoded::App(Box::new(decoded)))
}

/// What only this kind of app message has, and the text that says it better than the title.
fn more(app: Element<'_>, kind: Option<&str>, open: Option<Opener>) -> (MoreOfApp, Option<String>) {
    match kind {
        Some("music") => (MoreOfApp::Music { data_url: word(app.child_text("dataurl")) }, None),
        Some("file" | "file_upload") => (file(app), None),
        Some("mini_program") => (mini_program(app), None),
        Some("channel_post" | "channel_card" | "live") => channel(app),
        Some("quote") => (MoreOfApp::Quote { quote: quote(app, open) }, None),
        Some("history" | "note") => (MoreOfApp::History { items: items(app) }, None),
        Some("pat") => pat(app).unwrap_or((MoreOfApp::Nothing {}, None)),
        Some("announcement") => {
            let said = app.child_text("textannouncement");
            (MoreOfApp::Announcement { announcement: word(said) }, said.map(str::to_owned))
        }
        Some("transfer") => transfer(app),
        Some("red_packet") => red_packet(app),
        _ => (MoreOfApp::Nothing {}, None),
    }
}

/// A file, there or under way: both tell the same name and size, so that they can be joined.
fn file(app: Element<'_>) -> MoreOfApp {
    let attach = app.child("appattach");
    let get = |name| attach.and_then(|attach| attach.child_text(name));
    MoreOfApp::File {
        file_name: word(app.child_text("title")),
        file_size: number(get("totallen")),
        file_ext: word(get("fileext")),
        md5: word(app.child_text("md5")),
        attachid: word(get("attachid")),
    }
}

fn mini_program(app: Element<'_>) -> MoreOfApp {
    let info = app.child("weappinfo");
    let get = |name| word(info.and_then(|info| info.child_text(name)));
    let mini_program = MiniProgram { username: get("username"), appid: get("appid"), page: get("pagepath") };
    MoreOfApp::MiniProgram { mini_program }
}

/// A post or a live broadcast of a channel, or a channel's card: whose it is, and what it says.
fn channel(app: Element<'_>) -> (MoreOfApp, Option<String>) {
    let names = ["finderFeed", "finderLive", "finderShareNameCard", "findernamecard", "finderLiveProductShare"];
    let feed = names.into_iter().find_map(|name| app.child(name));
    let get = |name| feed.and_then(|feed| feed.child_text(name));
    let channel = Channel {
        nick: word(get("nickname")),
        description: word(get("desc")),
        username: word(get("username").or_else(|| get("finderUsername"))),
        id: word(get("objectId").or_else(|| get("finderObjectID"))),
        avatar: word(get("avatar").or_else(|| get("headUrl"))),
    };
    let text = channel.description.clone().or_else(|| channel.nick.clone());
    (MoreOfApp::Channel { nick: channel.nick.clone(), channel }, text)
}

/// A pat that was sent as an app message: the last of its records.
fn pat(app: Element<'_>) -> Option<(MoreOfApp, Option<String>)> {
    let record = app.find("patMsg")?.within().filter(|element| element.is("record")).last()?;
    let template = ["templete", "template"].into_iter().find_map(|name| said(record.child_text(name)));
    let pat = Pat {
        from: word(record.child_text("fromUser")),
        patted: word(record.child_text("pattedUser")),
        template: Some(word(template)),
    };
    // The title is the same, with the names filled in.
    let text = template.filter(|_| said(app.child_text("title")).is_none()).map(|t| with_names(t, |_| None));
    Some((MoreOfApp::Pat(pat), text))
}

/// A transfer, at one of its steps: `transfer_id` is the same at all of them.
fn transfer(app: Element<'_>) -> (MoreOfApp, Option<String>) {
    let info = app.child("wcpayinfo");
    let get = |name| info.and_then(|info| info.child_text(name));
    let subtype = get("paysubtype");
    let step = match subtype {
        // Those of a transfer that waits for a day are told apart.
        Some("1" | "7") => Some("sent"),
        Some("3" | "5") => Some("received"),
        Some("4" | "6" | "9") => Some("returned"),
        _ => None,
    };
    let amount = word(get("feedesc"));
    let transfer = MoreOfApp::Transfer {
        amount: amount.clone(),
        memo: word(get("pay_memo")),
        step,
        pay_subtype: word(subtype),
        transfer_id: word(get("transferid")),
        transaction_id: word(get("transcationid").or_else(|| get("transactionid"))),
        payer: word(get("payer_username")),
        receiver: word(get("receiver_username")),
    };
    (transfer, amount)
}

/// A red packet: what its giver wrote on it.
fn red_packet(app: Element<'_>) -> (MoreOfApp, Option<String>) {
    let info = app.child("wcpayinfo");
    let get = |name| said(info.and_then(|info| info.child_text(name)));
    let greeting = word(get("receivertitle").or_else(|| get("sendertitle")));
    let in_url = get("nativeurl").and_then(|url| {
        url.split(['?', '&']).find_map(|pair| pair.strip_prefix("sendid=")).filter(|id| !id.is_empty())
    });
    (MoreOfApp::RedPacket { greeting: greeting.clone(), id: word(in_url.or_else(|| get("paymsgid"))) }, greeting)
}

/// All articles of an official account's push, `None` where there are none.
pub(super) fn articles(reader: Element<'_>) -> Option<Vec<Article>> {
    let first_cover = reader.find("topnew").and_then(|top| top.child_text("cover"));
    let items = reader.within().filter(|element| element.is("item") || element.is("newitem"));
    let articles: Vec<Article> = items
        .enumerate()
        .map(|(at, item)| {
            let cover = ["cover", "cover_235_1", "cover_1_1"].into_iter().find_map(|name| said(item.child_text(name)));
            Article {
                title: word(item.child_text("title")),
                url: word(item.child_text("url")),
                digest: word(item.child_text("digest")),
                cover: word(cover.or(first_cover.filter(|_| at == 0))),
            }
        })
        .collect();
    (!articles.is_empty()).then_some(articles)
}

/// The items of a merged history or of a note, in their order. It stands in text, or as XML of its own.
fn items(app: Element<'_>) -> Vec<HistoryItem> {
    let Some(record) = app.child("recorditem") else { return Vec::new() };
    if record.children().next().is_some() {
        return listed(record);
    }
    let inner = record.text();
    let inner = if inner.starts_with("&lt;") { xml::unescape(inner) } else { inner.into() };
    let tree = xml::parse(&inner);
    tree.root().map(listed).unwrap_or_default()
}

fn listed(record: Element<'_>) -> Vec<HistoryItem> {
    let Some(list) = record.find("datalist") else { return Vec::new() };
    list.children().filter(|element| element.is("dataitem")).map(item).collect()
}

/// One message of a merged history.
fn item(item: Element<'_>) -> HistoryItem {
    let get = |name| said(item.child_text(name));
    let kind = match item.attribute("datatype").and_then(|number| number.trim().parse::<i64>().ok()) {
        Some(1) => "text",
        Some(2) => "image",
        Some(3) => "voice",
        Some(4 | 15) => "video",
        Some(6) => "location",
        Some(16) => "card",
        Some(37) => "sticker",
        Some(5 | 7 | 8 | 14 | 17 | 19 | 22 | 23 | 29 | 32 | 36) => "app",
        _ => "other",
    };
    let place = item.child("locitem").or_else(|| item.child("location"));
    let place = place.and_then(|place| said(place.child_text("label")).or_else(|| said(place.attribute("label"))));
    let time = get("srcMsgCreateTime").and_then(|seconds| seconds.parse::<i64>().ok()?.checked_mul(1000));
    let time = time.filter(|millis| *millis > 0).map(|millis| Time::from_millis(millis).to_string());
    HistoryItem {
        name: word(get("sourcename")),
        kind,
        text: word(get("datadesc").or_else(|| get("datatitle")).or(place)),
        time: get("sourcetime").map(str::to_owned).or(time),
    }
}

/// What is quoted: who said it and its text, opened once when it is XML itself, in text or as it stands.
fn quote(app: Element<'_>, open: Option<Opener>) -> Quote {
    let refer = app.child("refermsg");
    let get = |name| refer.and_then(|refer| refer.child_text(name));
    // In a room `fromusr` is the room, and `chatusr` who spoke; in some versions the other way round.
    let person = |id: &&str| !id::is_room(id);
    let from = get("chatusr").filter(person).or_else(|| get("fromusr").filter(person));
    let msg_type = get("type").and_then(|number| number.parse::<i64>().ok());
    let content = refer.and_then(|refer| refer.child("content"));
    let words = content.map(Element::text).filter(|text| !text.is_empty());
    let inner = content.and_then(|content| content.children().next());
    let text = match (msg_type, open, inner) {
        (None | Some(TEXT), ..) => words.map(|text| strip_speaker(text, from).to_owned()),
        (_, None, _) => None,
        (Some(msg_type), Some(open), Some(inner)) => open(msg_type, inner),
        (Some(msg_type), Some(open), None) => words.and_then(|text| quoted(msg_type, text, open)),
    };
    Quote {
        from: word(from),
        name: word(get("displayname")),
        kind: msg_type.map(|msg_type| word_of(Kind::of_message(msg_type))),
        text: word(text.as_deref()),
        id: word(get("svrid")),
    }
}

/// The word for a kind of message that stands inside another one.
fn word_of(kind: Kind) -> &'static str {
    kind.as_str().strip_prefix("message.").unwrap_or("system")
}

/// The text of a quoted message that stands in text.
fn quoted(msg_type: i64, content: &str, open: Opener) -> Option<String> {
    let unescaped = content.trim_start().starts_with("&lt;").then(|| xml::unescape(content));
    let content = unescaped.as_deref().unwrap_or(content);
    let Some(tree) = xml::locate(content).map(xml::parse) else { return Some(content.to_owned()) };
    open(msg_type, tree.root()?)
}
