//! App messages (`msgType` 49): links, files, mini programs, quotes, transfers and what else stands in `<appmsg>`.
//!
//! Promises: `title`, `description`, `url`, `app_type` and `app` always, `null` where not given; what belongs to one
//! kind only is there for that kind only.

use super::{Message, Quoting, packed, said, word, xml};
use serde_json::{Map, Value};
use xml::{Element, Tree};

/// What the number in `<type>` means; client-facts.md.
fn app_word(app_type: i64) -> Option<&'static str> {
    Some(match app_type {
        3 => "music",
        4 => "video",
        5 => "link",
        6 => "file",
        8 => "sticker",
        19 => "history",
        33 | 36 => "mini_program",
        51 => "channel",
        57 => "quote",
        87 => "group_notice",
        2000 => "transfer",
        2001 => "red_packet",
        _ => return None,
    })
}

/// Reads an app message. Its text is its title, else its description.
pub(super) fn read(tree: &Tree, root: Element<'_>, quoting: Quoting) -> Message {
    let app = tree.find("appmsg").unwrap_or(root);
    let get = |name| app.child_text(name);
    let app_type = get("type").and_then(|number| number.parse::<i64>().ok());
    let kind = app_type.and_then(app_word);
    let mut decoded = Map::new();
    word(&mut decoded, "title", get("title"));
    word(&mut decoded, "description", get("des"));
    word(&mut decoded, "url", get("url"));
    decoded.insert("app_type".into(), app_type.into());
    decoded.insert("app".into(), kind.into());
    let appinfo = tree.find("appinfo").and_then(|info| info.child_text("appname"));
    word(&mut decoded, "source", get("sourcedisplayname").or(appinfo));
    word(&mut decoded, "thumb_url", get("thumburl"));
    let mut better = None;
    match kind {
        Some("music") => word(&mut decoded, "data_url", get("dataurl")),
        Some("file") => file(app, &mut decoded),
        Some("mini_program") => mini_program(app, &mut decoded),
        Some("channel") => better = channel(app, &mut decoded),
        Some("quote") => quote(app, quoting, &mut decoded),
        Some("group_notice") => {
            better = get("textannouncement");
            word(&mut decoded, "notice", better);
        }
        Some("transfer" | "red_packet") => payment(app, &mut decoded),
        _ => {}
    }
    // Where the title only says that this version cannot show it, people are better served with what it says.
    let title = said(get("title"));
    let text = match better {
        Some(better) if title.is_none_or(|title| title.contains("版本不支持")) => Some(better),
        _ => title.or_else(|| said(get("des"))),
    };
    Message { text: text.map(str::to_owned), decoded: Value::Object(decoded) }
}

fn file(app: Element<'_>, decoded: &mut Map<String, Value>) {
    let attach = app.child("appattach");
    let get = |name| attach.and_then(|attach| attach.child_text(name));
    word(decoded, "file_name", app.child_text("title"));
    super::number(decoded, "file_size", get("totallen"));
    word(decoded, "file_ext", get("fileext"));
    word(decoded, "md5", app.child_text("md5"));
}

fn mini_program(app: Element<'_>, decoded: &mut Map<String, Value>) {
    let info = app.child("weappinfo");
    let get = |name| info.and_then(|info| info.child_text(name));
    let mut program = Map::new();
    word(&mut program, "username", get("username"));
    word(&mut program, "appid", get("appid"));
    word(&mut program, "page", get("pagepath"));
    decoded.insert("mini_program".into(), program.into());
}

fn channel<'t>(app: Element<'t>, decoded: &mut Map<String, Value>) -> Option<&'t str> {
    let feed = app.child("finderFeed");
    let get = |name| feed.and_then(|feed| feed.child_text(name));
    let mut channel = Map::new();
    word(&mut channel, "nick", get("nickname"));
    word(&mut channel, "description", get("desc"));
    decoded.insert("channel".into(), channel.into());
    get("desc")
}

fn payment(app: Element<'_>, decoded: &mut Map<String, Value>) {
    let info = app.child("wcpayinfo");
    let get = |name| info.and_then(|info| info.child_text(name));
    word(decoded, "amount", get("feedesc"));
    word(decoded, "memo", get("pay_memo").or_else(|| get("sendertitle")));
    word(decoded, "pay_subtype", get("paysubtype"));
}

/// What is quoted: who said it and its text, opened once when it is XML itself.
fn quote(app: Element<'_>, quoting: Quoting, decoded: &mut Map<String, Value>) {
    let refer = app.child("refermsg");
    let get = |name| refer.and_then(|refer| refer.child_text(name));
    // In a room `fromusr` is the room, and `chatusr` who spoke; in some versions the other way round.
    let person = |id: &&str| !id.ends_with("@chatroom");
    let from = get("chatusr").filter(person).or_else(|| get("fromusr").filter(person));
    let msg_type = get("type").and_then(|number| number.parse::<i64>().ok());
    let content = get("content");
    let text = match msg_type {
        None | Some(super::TEXT) => content.map(str::to_owned),
        Some(_) if quoting == Quoting::Closed => None,
        Some(msg_type) => content.and_then(|content| packed(msg_type, content, Quoting::Closed).text),
    };
    let mut quote = Map::new();
    word(&mut quote, "from", from);
    word(&mut quote, "nick", get("displayname"));
    word(&mut quote, "text", text.as_deref());
    quote.insert("msg_type".into(), msg_type.into());
    word(&mut quote, "id", get("svrid"));
    decoded.insert("quote".into(), quote.into());
}
