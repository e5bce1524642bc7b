//! Notices of the system: calls (`msgType` 50), notices (10000), recalls and other system XML (10002). Contract 7, Notices.
//!
//! Promises: plain, bounded text for people. A filled-in template cannot grow beyond [`FILLED_BYTES_MAX`]. What a notice
//! tells of a room is taken from the ids in its XML, else from WeChat's own sentence, without ids; a sentence that is not
//! known whole is a notice and no more.

use super::sentence::{self, Sentence, What, Whom};
use super::words::{Around, Message, Speaker, said, some, speaker_before, with_names, word};
use super::xml::{self, Element, Tree};
use crate::protocol::decoded::{Decoded, Happened, Notice, NoticeTold, Pat, Somebody};
use crate::protocol::kind::Kind;
use crate::protocol::{id, refusal};
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
    let decoded = invitation.map(|invitation| {
        let [status, invitetype, roomid] =
            ["status", "invitetype", "roomid"].map(|name| word(invitation.child_text(name)));
        Decoded::Call { status, invitetype, roomid }
    });
    Message::of(Kind::MessageCall, text, decoded.unwrap_or_default())
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
    told(text, None, around)
}

/// System XML: `<sysmsg type="revokemsg">` is a recall, the rest is told by its type.
pub(super) fn system(message: &str, tree: &Tree, root: Element<'_>, around: &Around<'_>) -> Message {
    let sysmsg = sysmsg_type(root);
    let mut read = typed(sysmsg, message, tree, root, around);
    if let Decoded::Notice(notice) = &mut read.decoded {
        notice.sysmsg = Some(word(sysmsg));
    }
    read
}

fn typed(kind: Option<&str>, message: &str, tree: &Tree, root: Element<'_>, around: &Around<'_>) -> Message {
    // `<revokemsg>"A" recalled a message</revokemsg>`, as PC WeChat keeps it.
    let kind = if kind.is_none() && root.is("revokemsg") { Some("revokemsg") } else { kind };
    let Some(kind) = kind else { return other(root) };
    let body = root.child(kind).or_else(|| root.children().next()).unwrap_or(root);
    let first = |names: [&str; 3]| names.into_iter().find_map(|name| body.child_text(name)).map(str::to_owned);
    match kind.to_ascii_lowercase().as_str() {
        "revokemsg" => recall(message, body, around),
        "pat" => pat(body, around),
        "sysmsgtemplate" => Template::of(tree).map_or_else(|| other(root), |template| template.told(around)),
        "delchatroommember" => members(body, around),
        "mmchatroombarannouncememt" | "mmchatroombarannouncement" => {
            of_room(Kind::RoomAnnouncement, first(["content", "text", "plain"]), Happened::default())
        }
        "newxmlchatroomaccessverifyapplication" => asks(body, around),
        noise if NOISE.contains(&noise) => notice_of(Kind::MessageOther, None, NoticeTold::Nothing {}),
        _ => match first(["plain", "text", "content"]) {
            Some(text) => told(Some(text), None, around),
            None => with_ids(body, around),
        },
    }
}

/// A notice that is no system XML, as far as is known yet.
fn notice_of(kind: Kind, text: Option<String>, told: NoticeTold) -> Message {
    Message::of(kind, text, Decoded::Notice(Box::new(Notice { sysmsg: None, told, template: None })))
}

/// A notice in a sentence with ids in it (`roomtoolstips`: what is to be done in a room); else the servers' own business.
fn with_ids(body: Element<'_>, around: &Around<'_>) -> Message {
    let Some(template) = said(body.child_text("template")) else {
        return notice_of(Kind::MessageOther, None, NoticeTold::Nothing {});
    };
    let mut read = told(Some(with_names(template, |_| None)), None, around);
    if let Decoded::Notice(notice) = &mut read.decoded {
        match &mut notice.told {
            NoticeTold::Pat(pat) => pat.template = Some(Some(template.to_owned())),
            _ => notice.template = Some(template.to_owned()),
        }
    }
    read
}

/// What stands where system XML should, in words.
pub(super) fn words(message: &str, around: &Around<'_>) -> Message {
    let mut read = match some(message) {
        Some(text) => told(Some(text), None, around),
        None => notice_of(Kind::MessageOther, None, NoticeTold::Nothing {}),
    };
    if read.from == Speaker::Unsaid {
        read.from = Speaker::Nobody;
    }
    read
}

/// System XML of no type that we know.
fn other(root: Element<'_>) -> Message {
    let text = ["plain", "text", "content"].into_iter().find_map(|name| root.child_text(name));
    let kind = if text.is_some() { Kind::MessageSystem } else { Kind::MessageOther };
    notice_of(kind, text.map(str::to_owned), NoticeTold::Nothing {})
}

/// The type of system XML; `None` when it is something else.
pub(super) fn sysmsg_type(root: Element<'_>) -> Option<&str> {
    said(root.attribute("type")).filter(|_| root.is("sysmsg"))
}

/// A message is taken back: who did it, and which one.
fn recall(message: &str, body: Element<'_>, around: &Around<'_>) -> Message {
    let text = body.child_text("replacemsg").or_else(|| said(Some(body.text())));
    let told = if body.children().next().is_some() {
        let [session, msgid, newmsgid, replacemsg] =
            ["session", "msgid", "newmsgid", "replacemsg"].map(|name| word(body.child_text(name)));
        NoticeTold::Recall { session, msgid, newmsgid, replacemsg }
    } else {
        NoticeTold::Nothing {}
    };
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
    Message { from, ..notice_of(Kind::MessageRecall, text.map(str::to_owned), told) }
}

/// Whether a recall is told to have been the account's own, also one of another's message by the room's owner.
fn is_own(text: &str) -> bool {
    ["你撤回", "你收回", "您撤回", "您收回", "你已收回", "您已收回", "You recalled", "You've recalled", "You unsent"]
        .iter()
        .any(|start| text.trim_start().starts_with(start))
}

/// A pat: the names in its template are ids, which the directory may know.
fn pat(body: Element<'_>, around: &Around<'_>) -> Message {
    let template = said(body.child_text("template"));
    let pat = Pat {
        from: word(body.child_text("fromusername")),
        patted: word(body.child_text("pattedusername")),
        template: Some(word(template)),
    };
    let from = match &pat.from {
        Some(from) if Some(from.as_str()) == around.account => Speaker::Account,
        Some(from) if id::is_reported(from) => Speaker::Id(from.clone()),
        _ => Speaker::Nobody,
    };
    let text = template.map(|template| with_names(template, |_| None));
    Message { from, ..notice_of(Kind::MessagePat, text, NoticeTold::Pat(pat)) }
}

/// A notice about a room: nobody says it.
fn of_room(kind: Kind, text: Option<String>, happened: Happened) -> Message {
    Message { from: Speaker::Nobody, ..notice_of(kind, text, NoticeTold::OfRoom(happened)) }
}

fn person(wxid: Option<&str>, nick: Option<&str>) -> Somebody {
    Somebody { wxid: word(wxid), nick: word(nick) }
}

/// What a notice in words tells; `template` is the one that it was filled in from.
fn told(text: Option<String>, template: Option<&Template<'_>>, around: &Around<'_>) -> Message {
    let sentence = template.map_or(text.as_deref(), |template| Some(&template.sentence)).and_then(sentence::read);
    let in_room = around.chat.is_some_and(id::is_room);
    let people = People { template, account: around.account };
    match sentence.as_ref().and_then(|sentence| Some((sentence, kind_of(sentence.what, in_room)?))) {
        Some((sentence, (Kind::MessagePat, _))) => {
            let (from, patted) = people.patted(sentence);
            let pat = Pat {
                from: word(around.account.filter(|_| from == Speaker::Account)),
                patted: word(patted),
                template: None,
            };
            Message { from, ..notice_of(Kind::MessagePat, text, NoticeTold::Pat(pat)) }
        }
        Some((sentence, (kind, how))) => {
            let happened = Happened {
                who: sentence.who.iter().flat_map(|named| people.of(*named)).collect(),
                by: sentence.by.and_then(|named| people.of(named).into_iter().next()),
                how,
                name: sentence.name.map(|name| people.words(name)),
            };
            of_room(kind, text, happened)
        }
        None => {
            let notice = text.as_deref().and_then(notice_word);
            notice_of(Kind::MessageSystem, text, NoticeTold::Other { notice })
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
        What::Joined => (Kind::RoomJoined, None),
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
    fn of(&self, named: Whom<'_>) -> Vec<Somebody> {
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

    fn told(&self, around: &Around<'_>) -> Message {
        told(Some(self.text.clone()), Some(self), around)
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
    // Blanks at an end are lost where XML is read.
    let separator = link.child("separator").map_or("、", |separator| separator.text());
    names.join(if separator == "," { ", " } else { separator })
}

/// `delchatroommember`: those whom the account has invited, and can send away again.
fn members(body: Element<'_>, around: &Around<'_>) -> Message {
    let text = ["plain", "text", "content"].into_iter().find_map(|name| body.child_text(name));
    let mut message = told(text.map(str::to_owned), None, around);
    let ids: Vec<&str> = body
        .descendants()
        .filter(|element| element.is("username"))
        .map(Element::text)
        .filter(|id| said(Some(id)).is_some())
        .collect();
    let names = text.and_then(sentence::read).map(|sentence| sentence.who).unwrap_or_default();
    if let Decoded::Notice(notice) = &mut message.decoded
        && let NoticeTold::OfRoom(happened) = &mut notice.told
        && matches!(message.kind, Kind::RoomJoined | Kind::RoomLeft)
        && !ids.is_empty()
    {
        let name = |at: usize| match names.get(at).filter(|_| names.len() == ids.len()) {
            Some(Whom::Name(name)) => Some(*name),
            _ => None,
        };
        happened.who = ids.iter().enumerate().map(|(at, id)| person(Some(id), name(at))).collect();
    }
    message
}

/// `NewXmlChatRoomAccessVerifyApplication`: somebody wants to come in, or to bring somebody.
fn asks(body: Element<'_>, around: &Around<'_>) -> Message {
    let text = ["text", "plain", "content"].into_iter().find_map(|name| body.child_text(name));
    let sentence = text.and_then(sentence::read).filter(|sentence| sentence.what == What::Asks);
    let find = |name: &str| body.descendants().find(|element| element.is(name)).map(Element::text);
    let members = body.descendants().filter(|element| element.is("member"));
    let mut who: Vec<Somebody> =
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
    of_room(Kind::RoomAccess, text.map(str::to_owned), happened)
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
