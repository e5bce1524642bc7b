//! Notices of the system: calls (`msgType` 50), notices (10000), recalls and other system XML (10002). Contract 7, Notices.
//!
//! Promises: plain, bounded text for people. A filled-in template cannot grow beyond [`FILLED_BYTES_MAX`]. What a notice
//! tells of a room is taken from the ids in its XML, else from WeChat's own sentence, without ids; a sentence that is not
//! known whole is a notice and no more.

use super::sentence::{self, Sentence, What, Whom};
use super::words::{Around, Message, Speaker, said, some, speaker_before, with_names, word};
use super::xml::{self, Element, Tree};
use crate::protocol::kind::Kind;
use crate::protocol::{id, refusal};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Longest text that a template is filled in to, in bytes: its place-holders repeat, so it could grow without end.
const FILLED_BYTES_MAX: usize = 64 * 1024;

/// System XML that tells people nothing; lower case. What has no text is none of theirs either.
const NOISE: &[&str] = &[
    "dynacfg",
    "functionmsg",
    "paymsg",
    "bizlivenotify",
    "clientcheckgetextinfo",
    "clientcheckconsistency",
    "dynacfg_split",
];

/// Letters that stand for the links of a template while its sentence is read: nobody writes these.
const LINKS: std::ops::RangeInclusive<char> = '\u{f0000}'..='\u{ff000}';

/// A call: how it went, where the client says.
pub(super) fn call(message: &str) -> Message {
    let Some(tree) = xml::locate(message).map(xml::parse).filter(|tree| tree.root().is_some()) else {
        return Message::plain(Kind::MessageCall, message);
    };
    // An invitation holds numbers only: nothing to read.
    let invitation = tree.find("voipinvitemsg");
    let said = tree.find("VoIPBubbleMsg").and_then(|bubble| bubble.child_text("msg"));
    let text = match (said, invitation) {
        (Some(said), _) => Some(said.to_owned()),
        (None, Some(_)) => None,
        (None, None) => stripped(message),
    };
    let mut decoded = Map::new();
    if let Some(invitation) = invitation {
        let status = ["status", "invitetype", "roomid"].map(|name| (name, invitation.child_text(name)));
        for (name, value) in status {
            word(&mut decoded, name, value);
        }
    }
    Message::of(Kind::MessageCall, text, decoded)
}

/// A notice in a chat: plain text, text with links in it, or system XML.
pub(super) fn notice(message: &str, around: &Around<'_>) -> Message {
    if message.contains('<')
        && let Some(tree) = xml::locate(message).map(xml::parse)
        && let Some(root) = tree.root().filter(|root| root.is("sysmsg") || root.is("revokemsg"))
    {
        let mut read = system(message, &tree, root, around);
        if read.kind != Kind::MessageOther {
            read.text = read.text.or_else(|| stripped(message));
        }
        return read;
    }
    let text = if message.contains('<') { stripped(message) } else { some(message) };
    told(text, None, Map::new(), around)
}

/// System XML: `<sysmsg type="revokemsg">` is a recall, the rest is told by its type.
pub(super) fn system(message: &str, tree: &Tree, root: Element<'_>, around: &Around<'_>) -> Message {
    let kind = sysmsg_type(root);
    let mut decoded = Map::new();
    word(&mut decoded, "sysmsg", kind);
    // `<revokemsg>"A" recalled a message</revokemsg>`, as PC WeChat keeps it.
    let kind = if kind.is_none() && root.is("revokemsg") { Some("revokemsg") } else { kind };
    let Some(kind) = kind else { return other(root, decoded) };
    let body = root.child(kind).or_else(|| root.children().next()).unwrap_or(root);
    match kind.to_ascii_lowercase().as_str() {
        "revokemsg" => recall(message, body, decoded, around),
        "pat" => pat(body, decoded, around),
        "sysmsgtemplate" => match Template::of(tree) {
            Some(template) => template.told(decoded, around),
            None => other(root, decoded),
        },
        "delchatroommember" => members(body, decoded, around),
        "mmchatroombarannouncememt" | "mmchatroombarannouncement" => {
            let text = ["content", "text", "plain"].into_iter().find_map(|name| body.child_text(name));
            of_room(Kind::RoomAnnouncement, text.map(str::to_owned), decoded, Happened::default())
        }
        "newxmlchatroomaccessverifyapplication" => asks(body, decoded, around),
        noise if NOISE.contains(&noise) => Message::of(Kind::MessageOther, None, decoded),
        _ => match ["plain", "text", "content"].into_iter().find_map(|name| body.child_text(name)) {
            Some(text) => told(Some(text.to_owned()), None, decoded, around),
            None => Message::of(Kind::MessageOther, None, decoded),
        },
    }
}

/// System XML of no type that we know.
fn other(root: Element<'_>, decoded: Map<String, Value>) -> Message {
    let text = ["plain", "text", "content"].into_iter().find_map(|name| root.child_text(name));
    let kind = if text.is_some() { Kind::MessageSystem } else { Kind::MessageOther };
    Message::of(kind, text.map(str::to_owned), decoded)
}

/// The type of system XML; `None` when it is something else.
pub(super) fn sysmsg_type(root: Element<'_>) -> Option<&str> {
    said(root.attribute("type")).filter(|_| root.is("sysmsg"))
}

/// A message is taken back: who did it, and which one.
fn recall(message: &str, body: Element<'_>, mut decoded: Map<String, Value>, around: &Around<'_>) -> Message {
    let text = body.child_text("replacemsg").or_else(|| said(Some(body.text())));
    if body.children().next().is_some() {
        for name in ["session", "msgid", "newmsgid", "replacemsg"] {
            word(&mut decoded, name, body.child_text(name));
        }
    }
    let speaker = || speaker_before(message).filter(|id| !id::is_room(id)).or(around.speaker);
    let from = if text.is_some_and(is_own) {
        Speaker::Account
    } else if let Some(speaker) = speaker() {
        Speaker::Id(speaker.to_owned())
    } else {
        // In a private chat there is only one other, who is named where it was not the account.
        let other = text.and_then(sentence::read).and_then(|sentence| sentence.by).is_some();
        match around.chat.filter(|chat| other && !id::is_room(chat)) {
            Some(chat) => Speaker::Id(chat.to_owned()),
            None => Speaker::Nobody,
        }
    };
    Message { from, ..Message::of(Kind::MessageRecall, text.map(str::to_owned), decoded) }
}

/// Whether a recall is told to have been the account's own, also one of another's message by the room's owner.
fn is_own(text: &str) -> bool {
    ["你撤回", "你收回", "您撤回", "您收回", "你已收回", "您已收回", "You recalled", "You've recalled", "You unsent"]
        .iter()
        .any(|start| text.trim_start().starts_with(start))
}

/// A pat: the names in its template are ids, which the directory may know.
fn pat(body: Element<'_>, mut decoded: Map<String, Value>, around: &Around<'_>) -> Message {
    let from = said(body.child_text("fromusername"));
    let template = said(body.child_text("template"));
    word(&mut decoded, "from", from);
    word(&mut decoded, "patted", body.child_text("pattedusername"));
    word(&mut decoded, "template", template);
    let from = match from {
        Some(from) if Some(from) == around.account => Speaker::Account,
        Some(from) => Speaker::Id(from.to_owned()),
        None => Speaker::Nobody,
    };
    let text = template.map(|template| with_names(template, |_| None));
    Message { from, ..Message::of(Kind::MessagePat, text, decoded) }
}

/// What a notice tells of a room, beside its text.
#[derive(Debug, Default)]
struct Happened {
    who: Vec<Value>,
    by: Option<Value>,
    how: Option<&'static str>,
    name: Option<String>,
}

/// A notice about a room: `who`, `by`, `how`, `name`, always, `null` where they do not apply.
fn of_room(kind: Kind, text: Option<String>, mut decoded: Map<String, Value>, happened: Happened) -> Message {
    decoded.insert("who".into(), happened.who.into());
    decoded.insert("by".into(), happened.by.into());
    decoded.insert("how".into(), happened.how.into());
    decoded.insert("name".into(), happened.name.into());
    Message { from: Speaker::Nobody, ..Message::of(kind, text, decoded) }
}

/// Somebody, by id and by name, as far as either is known.
fn person(wxid: Option<&str>, nick: Option<&str>) -> Value {
    json!({ "wxid": said(wxid), "nick": said(nick) })
}

/// What a notice in words tells; `template` is the one that it was filled in from.
fn told(
    text: Option<String>,
    template: Option<&Template<'_>>,
    mut decoded: Map<String, Value>,
    around: &Around<'_>,
) -> Message {
    let sentence = template.map_or(text.as_deref(), |template| Some(&template.sentence)).and_then(sentence::read);
    let in_room = around.chat.is_some_and(id::is_room);
    let people = People { template, account: around.account };
    match sentence.as_ref().and_then(|sentence| Some((sentence, kind_of(sentence.what, in_room)?))) {
        Some((sentence, (Kind::MessagePat, _))) => {
            let (from, patted) = people.patted(sentence);
            word(&mut decoded, "from", around.account.filter(|_| from == Speaker::Account));
            word(&mut decoded, "patted", patted);
            Message { from, ..Message::of(Kind::MessagePat, text, decoded) }
        }
        Some((sentence, (kind, how))) => {
            let happened = Happened {
                who: sentence.who.iter().flat_map(|named| people.of(*named)).collect(),
                by: sentence.by.and_then(|named| people.of(named).into_iter().next()),
                how,
                name: sentence.name.map(|name| people.words(name)),
            };
            of_room(kind, text, decoded, happened)
        }
        None => {
            let word = text.as_deref().and_then(notice_word);
            decoded.insert("notice".into(), word.into());
            Message::of(Kind::MessageSystem, text, decoded)
        }
    }
}

/// What kind of notice a sentence is, and `how`; a sentence about a room is one only in a room.
fn kind_of(what: What, in_room: bool) -> Option<(Kind, Option<&'static str>)> {
    let kind = match what {
        What::Patted => return Some((Kind::MessagePat, None)),
        What::Recalled => return None,
        What::Invited => (Kind::RoomJoined, Some("invite")),
        What::Scanned => (Kind::RoomJoined, Some("qrcode")),
        What::Removed => (Kind::RoomLeft, Some("removed")),
        What::Left => (Kind::RoomLeft, Some("left")),
        What::Disbanded => (Kind::RoomLeft, Some("disbanded")),
        What::Renamed => (Kind::RoomRenamed, None),
        What::NewOwner => (Kind::RoomOwner, None),
        What::Asks => (Kind::RoomAccess, Some("request")),
        What::ConfirmOn => (Kind::RoomAccess, Some("on")),
        What::ConfirmOff => (Kind::RoomAccess, Some("off")),
    };
    in_room.then_some(kind)
}

/// How notices of calls begin, in small letters.
const OF_CALLS: &[&str] = &[
    "通话",
    "通話",
    "语音通话",
    "語音通話",
    "视频通话",
    "視訊通話",
    "视频聊天",
    "語音聊天",
    "[语音通话]",
    "[视频通话]",
    "[語音通話]",
    "[視訊通話]",
    "已取消",
    "对方已取消",
    "對方已取消",
    "已拒绝",
    "已拒絕",
    "对方已拒绝",
    "對方已拒絕",
    "对方无应答",
    "對方無應答",
    "对方忙",
    "對方忙",
    "忙线",
    "忙線",
    "已在其它设备",
    "已在其他设备",
    "已在其他裝置",
    "call duration",
    "duration:",
    "call canceled",
    "call cancelled",
    "canceled by caller",
    "cancelled by caller",
    "call declined",
    "call not answered",
    "line busy",
    "missed voice call",
    "missed video call",
    "[voice call]",
    "[video call]",
];

/// What a notice is about, where its words tell: a name in quotation marks is none of them.
fn notice_word(text: &str) -> Option<&'static str> {
    if let Some(refused) = refusal::word(text) {
        return Some(refused);
    }
    let text = text.trim();
    if refusal::FRIENDSHIP_NOTICES.iter().any(|start| text.starts_with(start)) {
        return Some("friend_added");
    }
    if sentence::read(text).is_some_and(|sentence| sentence.what == What::Recalled) || is_own(text) {
        return Some("recall");
    }
    let said = refusal::unquoted(text).to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let begins = |words: &[&str]| words.iter().any(|word| said.starts_with(word));
    if has(&["领取了", "領取了", "收到红包", "收到紅包", "opened", "received a"])
        && has(&["红包", "紅包", "red packet"])
    {
        return Some("red_packet");
    }
    if has(&["转账", "轉帳", "轉賬", "transfer"])
        && has(&["已收", "已被", "退还", "退還", "过期", "過期", "accepted", "refunded", "expired"])
    {
        return Some("transfer");
    }
    begins(OF_CALLS).then_some("call")
}

/// Who is meant in a sentence.
#[derive(Debug, Clone, Copy)]
struct People<'a> {
    template: Option<&'a Template<'a>>,
    account: Option<&'a str>,
}

impl People<'_> {
    /// Those behind a name, which may be a link to several.
    fn of(&self, named: Whom<'_>) -> Vec<Value> {
        match named {
            Whom::Account => vec![person(self.account, None)],
            Whom::Name(name) => match self.link(name) {
                Some(link) => {
                    let members = link.members().map(|(wxid, nick)| person(wxid, nick)).collect::<Vec<_>>();
                    if members.is_empty() { vec![person(None, Some(&link_text(link.element)))] } else { members }
                }
                None => vec![person(None, Some(name))],
            },
        }
    }

    /// A name that may be a link.
    fn words(&self, name: &str) -> String {
        self.link(name).map_or_else(|| name.to_owned(), |link| link_text(link.element))
    }

    fn link(&self, name: &str) -> Option<Link<'_>> {
        let letter = name.chars().next().filter(|letter| LINKS.contains(letter) && name.chars().count() == 1)?;
        let index = u32::from(letter) - u32::from(*LINKS.start());
        self.template?.links.get(usize::try_from(index).ok()?).copied()
    }

    /// Who patted whom; a plain sentence has no ids but the account's.
    fn patted(&self, sentence: &Sentence<'_>) -> (Speaker, Option<&str>) {
        let from = match sentence.by {
            Some(Whom::Account) => Speaker::Account,
            _ => Speaker::Nobody,
        };
        let own = |named: &Whom<'_>| match named {
            Whom::Account => true,
            // `我的头`: what of the account was patted stands behind it.
            Whom::Name(name) => ["我的", "你的"].iter().any(|own| name.starts_with(own)),
        };
        (from, self.account.filter(|_| sentence.who.first().is_some_and(own)))
    }
}

/// A link of a template.
#[derive(Debug, Clone, Copy)]
struct Link<'t> {
    element: Element<'t>,
}

impl<'t> Link<'t> {
    /// The people it stands for: id and name.
    fn members(self) -> impl Iterator<Item = (Option<&'t str>, Option<&'t str>)> {
        let members = self.element.descendants().filter(|element| element.is("member"));
        members.map(|member| (member.child_text("username"), member.child_text("nickname")))
    }
}

/// A sentence with links in it.
#[derive(Debug)]
struct Template<'t> {
    /// As people read it.
    text: String,
    /// With one letter of [`LINKS`] for each link that names somebody or something, and without its buttons.
    sentence: String,
    links: Vec<Link<'t>>,
}

impl<'t> Template<'t> {
    /// The template of a notice with its place-holders (`$names$`) filled in from the links beside it.
    fn of(tree: &'t Tree) -> Option<Self> {
        let template = said(Some(tree.find("template")?.text()))?;
        let by_name: HashMap<&str, Element<'_>> = tree
            .elements()
            .filter(|element| element.is("link"))
            .filter_map(|link| Some((link.attribute("name")?, link)))
            .collect();
        let mut filled = Self { text: String::new(), sentence: String::new(), links: Vec::new() };
        let mut texts: HashMap<&str, String> = HashMap::new();
        let mut rest = template;
        while let Some((before, (name, after))) =
            rest.split_once('$').and_then(|(before, rest)| Some((before, rest.split_once('$')?)))
        {
            filled.push(before);
            if let Some(link) = by_name.get(name) {
                filled.text.push_str(texts.entry(name).or_insert_with(|| link_text(*link)));
                filled.link(*link);
                rest = after;
            } else {
                filled.push("$");
                rest = &rest[before.len() + 1..];
            }
            if filled.text.len() > FILLED_BYTES_MAX {
                let end = (0..=FILLED_BYTES_MAX).rev().find(|&at| filled.text.is_char_boundary(at)).unwrap_or(0);
                filled.text.truncate(end);
                filled.sentence.clear();
                return Some(filled);
            }
        }
        filled.push(rest);
        Some(filled)
    }

    fn push(&mut self, words: &str) {
        self.text.push_str(words);
        self.sentence.extend(words.chars().map(|letter| if LINKS.contains(&letter) { ' ' } else { letter }));
    }

    fn link(&mut self, element: Element<'t>) {
        let link = Link { element };
        // A button (`撤销`) is no part of the sentence.
        let means = link.members().next().is_some() || element.child_text("plain").is_some();
        let letter = u32::try_from(self.links.len()).ok().and_then(|n| char::from_u32(u32::from(*LINKS.start()) + n));
        if let Some(letter) = letter.filter(|letter| means && LINKS.contains(letter)) {
            self.sentence.push(letter);
            self.links.push(link);
        }
    }

    fn told(&self, decoded: Map<String, Value>, around: &Around<'_>) -> Message {
        told(Some(self.text.clone()), Some(self), decoded, around)
    }
}

/// What a link reads as: the names of its members, or its own text.
fn link_text(link: Element<'_>) -> String {
    let names: Vec<&str> = link
        .descendants()
        .filter(|element| element.is("member"))
        .filter_map(|member| member.child_text("nickname"))
        .collect();
    if names.is_empty() {
        return ["plain", "title"].into_iter().find_map(|name| link.child_text(name)).unwrap_or_default().to_owned();
    }
    names.join(link.child("separator").map_or("、", |separator| separator.text()))
}

/// `delchatroommember`: those whom the account has invited, and can send away again.
fn members(body: Element<'_>, decoded: Map<String, Value>, around: &Around<'_>) -> Message {
    let text = ["plain", "text", "content"].into_iter().find_map(|name| body.child_text(name));
    let mut message = told(text.map(str::to_owned), None, decoded, around);
    let ids: Vec<&str> = body
        .descendants()
        .filter(|element| element.is("username"))
        .map(Element::text)
        .filter(|id| said(Some(id)).is_some())
        .collect();
    let names = text.and_then(sentence::read).map(|sentence| sentence.who).unwrap_or_default();
    let is_room = matches!(message.kind, Kind::RoomJoined | Kind::RoomLeft);
    if is_room && !ids.is_empty() {
        let name = |at: usize| match names.get(at).filter(|_| names.len() == ids.len()) {
            Some(Whom::Name(name)) => Some(*name),
            _ => None,
        };
        let who: Vec<Value> = ids.iter().enumerate().map(|(at, id)| person(Some(id), name(at))).collect();
        message.put("who", who.into());
    }
    message
}

/// `NewXmlChatRoomAccessVerifyApplication`: somebody wants to come in, or to bring somebody.
fn asks(body: Element<'_>, decoded: Map<String, Value>, around: &Around<'_>) -> Message {
    let text = ["text", "plain", "content"].into_iter().find_map(|name| body.child_text(name));
    let sentence = text.and_then(sentence::read).filter(|sentence| sentence.what == What::Asks);
    let find = |name: &str| body.descendants().find(|element| element.is(name)).map(Element::text);
    let members = body.descendants().filter(|element| element.is("member"));
    let mut who: Vec<Value> =
        members.map(|member| person(member.child_text("username"), member.child_text("nickname"))).collect();
    let people = People { template: None, account: around.account };
    if who.is_empty() {
        who = sentence.iter().flat_map(|sentence| &sentence.who).flat_map(|named| people.of(*named)).collect();
    }
    let named = sentence.as_ref().and_then(|sentence| sentence.by);
    let nick = match named {
        Some(Whom::Name(name)) => Some(name),
        _ => None,
    };
    let inviter = said(find("inviterusername"));
    let by = match (inviter, named) {
        (Some(inviter), _) => Some(person(Some(inviter), nick)),
        (None, Some(named)) => people.of(named).into_iter().next(),
        (None, None) => None,
    };
    let happened = Happened { who, by, how: Some("request"), name: None };
    of_room(Kind::RoomAccess, text.map(str::to_owned), decoded, happened)
}

/// The text without its tags; `None` when nothing is left.
fn stripped(message: &str) -> Option<String> {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find('<') {
        out.push_str(&xml::unescape(&rest[..at]));
        rest = &rest[at..];
        if let Some(cdata) = rest.strip_prefix("<![CDATA[") {
            let (inside, after) = cdata.split_once("]]>").unwrap_or((cdata, ""));
            out.push_str(inside);
            rest = after;
        } else if !xml::opens_markup(rest.as_bytes()) {
            out.push('<');
            rest = &rest[1..];
        } else if let Some((_, after)) = rest.split_once('>') {
            rest = after;
        } else {
            // No tag after all, or one that is cut off: rather too much text than too little.
            break;
        }
    }
    out.push_str(&xml::unescape(rest));
    let text = out.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
