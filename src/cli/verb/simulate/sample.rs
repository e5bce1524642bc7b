//! A sensible event of every kind, and the fields by which one can be changed.

use super::notice;
use super::world::{World, escape};
use crate::cli::error::Error;
use crate::near;
use crate::protocol::{event::Kind, id};
use serde_json::{Map, Value, json};

/// An event as it goes over the wire.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sample {
    /// An inner object.
    Event(Value),
    /// Bytes that are none: what the daemon keeps as `unparsed`.
    Rubbish(Vec<u8>),
}

/// The kind of that name.
///
/// # Errors
/// A sentence, with the name that is near.
pub(super) fn kind(name: &str) -> Result<Kind, Error> {
    match Kind::from_name(name) {
        Some(kind) if kind.is_of_daemon() => Err(Error::usage(format!(
            "`{name}` is told by wehelpd itself, and no client can send it; end a client that polls (`wehelp simulate`), \
             and wait until it is missed"
        ))),
        Some(kind) => Ok(kind),
        None => {
            let near = near::nearest(name, Kind::ALL.iter().map(|kind| kind.as_str()));
            let hint = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            Err(Error::usage(format!("there is no kind `{name}` of events; {hint}wehelp-events(7) lists them")))
        }
    }
}

/// An event of that kind, changed by `KEY=VALUE`s.
///
/// # Errors
/// When a field is none, or says something that this kind cannot.
pub(super) fn sample(world: &World, kind: Kind, fields: &[String]) -> Result<Sample, Error> {
    let mut changes = Changes::read(fields)?;
    if kind == Kind::Unparsed {
        let text = changes.readable.remove("text").unwrap_or_else(|| "{\"data\":{\"type\":78,".to_owned());
        return Ok(Sample::Rubbish(text.into_bytes()));
    }
    let mut world = world.clone();
    if let Some(account) = changes.readable.remove("account") {
        world.me.wxid = account;
    }
    let message_type = message_type(kind);
    let mut event = match message_type {
        Some(msg_type) => message(&world, kind, msg_type, &mut changes)?,
        None => other(&world, kind, &mut changes)?,
    };
    if let Some(nick) = changes.readable.remove("nick") {
        event.insert("nick".to_owned(), nick.into());
    }
    if let Some((name, _)) = changes.readable.pop_first() {
        return Err(Error::usage(format!("`{name}=` says nothing in an event of kind `{}`", kind.as_str())));
    }
    for (key, value) in changes.wire {
        if !event.contains_key(&key) && !WIRE.contains(&&key[..]) {
            let known = event.keys().map(String::as_str).chain(WIRE).chain(READABLE).chain(notice::READABLE);
            let near = near::nearest(&key, known).map(|near| format!("; did you mean `{near}=`?")).unwrap_or_default();
            return Err(Error::usage(format!("an event of kind `{}` has no `{key}`{near}", kind.as_str())));
        }
        let value = as_before(event.get(&key), value);
        event.insert(key, value);
    }
    Ok(Sample::Event(Value::Object(event)))
}

/// What was typed: readable names, and the wire's own.
struct Changes {
    readable: std::collections::BTreeMap<&'static str, String>,
    wire: Vec<(String, String)>,
}

const READABLE: [&str; 6] = ["text", "chat", "from", "self", "account", "nick"];

/// What an event may have on the wire though the sample has it not.
const WIRE: [&str; 12] =
    ["type", "code", "msgType", "processid", "cwxid", "wxid", "formWxid", "fromWxid", "myMsg", "message", "hex", "xml"];

impl Changes {
    fn read(fields: &[String]) -> Result<Self, Error> {
        let mut changes = Self { readable: std::collections::BTreeMap::new(), wire: Vec::new() };
        for field in fields {
            let Some((key, value)) = field.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                return Err(Error::usage(format!("`{field}` is no KEY=VALUE (try text=hello)")));
            };
            match READABLE.iter().chain(&notice::READABLE).find(|name| **name == key) {
                Some(name) => drop(changes.readable.insert(name, value.to_owned())),
                None => changes.wire.push((key.to_owned(), value.to_owned())),
            }
        }
        Ok(changes)
    }

    fn text(&mut self, otherwise: &str) -> String {
        self.readable.remove("text").unwrap_or_else(|| otherwise.to_owned())
    }
}

/// A value of the type that the field had: `code=-1` is a number, `message=1` a text.
fn as_before(before: Option<&Value>, text: String) -> Value {
    let parsed = || serde_json::from_str::<Value>(&text).ok();
    match before {
        Some(Value::String(_)) => text.into(),
        _ => parsed().filter(|v| !v.is_string()).unwrap_or_else(|| text.into()),
    }
}

fn truth(text: &str) -> Result<bool, Error> {
    match text {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        other => Err(Error::usage(format!("self={other}: say true or false"))),
    }
}

/// The `msgType` of a kind of message.
pub(super) fn message_type(kind: Kind) -> Option<i64> {
    Some(match kind {
        Kind::MessageText => 1,
        Kind::MessageImage => 3,
        Kind::MessageVoice => 34,
        Kind::MessageFriendRequest => 37,
        Kind::MessageCard => 42,
        Kind::MessageVideo => 43,
        Kind::MessageSticker => 47,
        Kind::MessageLocation => 48,
        Kind::MessageApp => 49,
        Kind::MessageCall => 50,
        Kind::MessageSystem => 10000,
        Kind::MessageRecall => 10002,
        Kind::MessageOther => 51,
        kind if notice::is_one(kind) => 10002,
        _ => return None,
    })
}

fn message(world: &World, kind: Kind, msg_type: i64, changes: &mut Changes) -> Result<Map<String, Value>, Error> {
    if notice::is_one(kind) {
        let chat = changes.readable.remove("chat").or_else(|| Some(world.rooms.first()?.wxid.clone()));
        let chat = chat.filter(|chat| id::is_room(chat)).ok_or_else(|| Error::usage("`chat` is to be a room"))?;
        let text = notice::message(world, kind, &chat, &mut changes.readable)?;
        let event = world.message(msg_type, &chat, None, false, &text);
        return Ok(event.as_object().cloned().unwrap_or_default());
    }
    let own = changes.readable.remove("self").map(|text| truth(&text)).transpose()?.unwrap_or(false);
    let said_by = changes.readable.remove("from");
    let friend = world.friends.first().map_or("filehelper", |p| p.wxid.as_str());
    let chat = match (changes.readable.remove("chat"), &said_by) {
        (Some(chat), _) => chat,
        (None, Some(from)) if !own => from.clone(),
        (None, _) if kind == Kind::MessageFriendRequest => "fmessage".to_owned(),
        (None, _) => friend.to_owned(),
    };
    let speaker = if id::is_room(&chat) {
        let first = || world.room(&chat).and_then(|r| r.members.first().cloned());
        let somebody = match said_by {
            Some(from) => from,
            None if own => world.me.wxid.clone(),
            None => first().unwrap_or_else(|| friend.to_owned()),
        };
        // A notice in a room has no speaker.
        Some(somebody).filter(|_| !matches!(kind, Kind::MessageSystem))
    } else {
        let fits = said_by.as_ref().is_none_or(|from| *from == chat || (own && *from == world.me.wxid));
        if !fits {
            return Err(Error::usage(
                "in a chat of two, `from` is the chat itself, or the account with self=true; name a room as `chat`",
            ));
        }
        None
    };
    let whom = world.person(speaker.as_deref().unwrap_or(&chat)).map_or_else(|| chat.clone(), |p| p.nick.clone());
    let text = body(world, kind, &whom, changes);
    let event = world.message(msg_type, &chat, speaker.as_deref(), own, &text);
    Ok(event.as_object().cloned().unwrap_or_default())
}

/// What stands in `message`, by kind; `text` goes where people would read it.
pub(super) fn body(world: &World, kind: Kind, whom: &str, changes: &mut impl Texts) -> String {
    match kind {
        Kind::MessageText => changes.text_or("在吗？"),
        Kind::MessageImage => image(),
        Kind::MessageVoice => r#"<msg><voicemsg endflag="1" length="5120" voicelength="3180" clientmsgid="" fromusername="" /></msg>"#.to_owned(),
        Kind::MessageFriendRequest => {
            let greeting = changes.text_or("你好，我是钱浩");
            world.strangers.first().unwrap_or(&world.me).friend_request(&greeting)
        }
        Kind::MessageCard => {
            let mut person = world.friends.get(2).unwrap_or(&world.me).clone();
            person.nick = changes.text_or(&person.nick);
            person.card()
        }
        Kind::MessageVideo => r#"<?xml version="1.0"?><msg><videomsg length="1048576" playlength="12" cdnvideourl="" md5="0cc175b9c0f1b6a831c399e269772661" /></msg>"#.to_owned(),
        Kind::MessageSticker => sticker(),
        Kind::MessageLocation => format!(
            r#"<?xml version="1.0"?><msg><location x="30.245853" y="120.155147" scale="16" label="{}" poiname="断桥残雪" /></msg>"#,
            escape(&changes.text_or("浙江省杭州市西湖区北山街"))
        ),
        Kind::MessageApp => link(&changes.text_or("明天的天气"), "https://example.org/weather", "多云，13 到 19 度"),
        Kind::MessageCall => format!(
            "<voipmsg type=\"VoIPBubbleMsg\"><VoIPBubbleMsg><msg><![CDATA[{}]]></msg><room_type>1</room_type></VoIPBubbleMsg></voipmsg>",
            changes.text_or("通话时长 01:24").replace("]]>", "")
        ),
        Kind::MessageSystem => changes.text_or("消息已发出，但被对方拒收了。"),
        Kind::MessageRecall => recall(&changes.text_or(&format!("\"{whom}\" 撤回了一条消息"))),
        _ => changes.text_or("<msg><op id=\"2\"><name>lastMessage</name></op></msg>"),
    }
}

/// Where the readable text of an event comes from.
pub(super) trait Texts {
    /// The text asked for, or this.
    fn text_or(&mut self, otherwise: &str) -> String;
}

impl Texts for Changes {
    fn text_or(&mut self, otherwise: &str) -> String {
        self.text(otherwise)
    }
}

/// Nobody asked for a text.
pub(super) struct AsItIs;

impl Texts for AsItIs {
    fn text_or(&mut self, otherwise: &str) -> String {
        otherwise.to_owned()
    }
}

/// A picture's message.
pub(super) fn image() -> String {
    r#"<?xml version="1.0"?><msg><img aeskey="a1b2" cdnmidimgurl="30570201000450" length="48213" md5="0cc175b9c0f1b6a831c399e269772661" hevc_mid_size="48213" /></msg>"#.to_owned()
}

/// A sticker's message.
pub(super) fn sticker() -> String {
    r#"<msg><emoji fromusername="" tousername="" type="2" md5="900150983cd24fb0d6963f7d28e17f72" len="20816" cdnurl="http://wxapp.tc.qq.com/simulated/sticker" width="240" height="240" /></msg>"#.to_owned()
}

/// A link's message.
pub(super) fn link(title: &str, url: &str, desc: &str) -> String {
    format!(
        r#"<?xml version="1.0"?><msg><appmsg appid="" sdkver="0"><title>{}</title><des>{}</des><type>5</type><url>{}</url></appmsg><fromusername></fromusername></msg>"#,
        escape(title),
        escape(desc),
        escape(url)
    )
}

/// A file's message.
pub(super) fn file(path: &str) -> String {
    let name = path.rsplit(['\\', '/']).next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    format!(
        r#"<?xml version="1.0"?><msg><appmsg appid="" sdkver="0"><title>{}</title><type>6</type><appattach><totallen>20480</totallen><fileext>{}</fileext></appattach></appmsg></msg>"#,
        escape(name),
        escape(extension)
    )
}

/// A recall's message.
pub(super) fn recall(notice: &str) -> String {
    format!(
        "<sysmsg type=\"revokemsg\"><revokemsg><session></session><msgid>1017216253</msgid><newmsgid>7298402733170301938</newmsgid><replacemsg><![CDATA[{}]]></replacemsg></revokemsg></sysmsg>",
        notice.replace("]]>", "")
    )
}

/// Events that are no messages.
fn other(world: &World, kind: Kind, changes: &mut Changes) -> Result<Map<String, Value>, Error> {
    let room = world.rooms.first().map_or("1@chatroom", |r| r.wxid.as_str());
    let chat = changes.readable.remove("chat");
    let takes_chat = matches!(kind, Kind::RoomMembers | Kind::RoomCreated);
    if let Some(chat) = chat.as_ref().filter(|_| !takes_chat) {
        return Err(Error::usage(format!("`chat={chat}` says nothing in an event of kind `{}`", kind.as_str())));
    }
    let chat = chat.unwrap_or_else(|| room.to_owned());
    let friend = world.friends.first().map_or("filehelper", |p| p.wxid.as_str());
    let event = match kind {
        Kind::Login => world.event(67, json!({ "code": 200 })),
        Kind::LoginState => world.event(66, json!({ "code": 200 })),
        Kind::LoginQrcode => login_code(&changes.text("http://weixin.qq.com/x/4bNsimulatedcode")),
        Kind::Profile => world.profile(&world.me),
        Kind::ContactsPacket => world.contacts_packet(),
        Kind::Contacts => world.contacts(&world.friends),
        Kind::Rooms => world.room_list(),
        Kind::RoomMembers => world.room_members(&chat),
        Kind::ContactPacket => world.contact_packet(friend),
        Kind::RoomCreated => json!({ "type": 69, "cwxid": world.me.wxid, "xml": "", "chatroom": chat }),
        Kind::FriendVerified => {
            world.verified(&world.strangers.first().map_or_else(|| world.me.v1(), |stranger| stranger.v1()))
        }
        Kind::FriendV2 => world.v2(world.strangers.first().map_or(friend, |p| p.wxid.as_str())),
        Kind::Avatars => world.avatars(),
        Kind::Logout => world.logout(false),
        Kind::LogoutPhone => world.logout(true),
        _ => world.event(9999, json!({ "message": changes.text("something new") })),
    };
    Ok(event.as_object().cloned().unwrap_or_default())
}

/// 401: nobody is logged in yet, so it tells no account.
pub(super) fn login_code(link: &str) -> Value {
    json!({ "code": 401, "message": link })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::decode;

    fn made(kind: Kind, fields: &[&str]) -> crate::protocol::event::Event {
        let fields: Vec<_> = fields.iter().map(|&f| f.to_owned()).collect();
        match sample(&World::new("wxid_me"), kind, &fields).unwrap() {
            Sample::Event(event) => decode(&event.to_string()),
            Sample::Rubbish(bytes) => panic!("rubbish: {bytes:?}"),
        }
    }

    #[test]
    fn every_kind_has_a_sample_of_that_kind() {
        for &kind in Kind::ALL {
            if kind.is_of_daemon() {
                let refused = super::kind(kind.as_str()).unwrap_err();
                assert!(refused.message.contains("wehelpd itself"), "{refused:?}");
                continue;
            }
            if kind == Kind::Unparsed {
                let sample = sample(&World::new("wxid_me"), kind, &[]).unwrap();
                let Sample::Rubbish(bytes) = sample else { panic!("{sample:?}") };
                assert!(matches!(
                    crate::protocol::event::read_body(&bytes),
                    crate::protocol::event::Body::Unreadable(_)
                ));
                continue;
            }
            let event = made(kind, &[]);
            assert_eq!(event.kind, kind);
            if kind != Kind::LoginQrcode {
                assert_eq!(event.account.as_deref(), Some("wxid_me"), "{kind:?}");
            }
        }
    }

    #[test]
    fn fields_are_changed_by_readable_names_and_by_the_wires() {
        let event = made(Kind::MessageText, &["text=hello", "account=wxid_x", "nick=N"]);
        assert_eq!(
            (event.text.as_deref(), event.account.as_deref(), event.nick.as_deref()),
            (Some("hello"), Some("wxid_x"), Some("N"))
        );
        let event = made(Kind::MessageText, &["chat=9@chatroom", "from=wxid_a"]);
        assert_eq!((event.chat.as_deref(), event.from.as_deref()), (Some("9@chatroom"), Some("wxid_a")));
        let event = made(Kind::MessageText, &["from=wxid_a"]);
        assert_eq!((event.chat.as_deref(), event.is_self), (Some("wxid_a"), Some(false)));
        let event = made(Kind::MessageText, &["chat=wxid_a", "self=true"]);
        assert_eq!((event.from.as_deref(), event.is_self), (Some("wxid_me"), Some(true)));
        let event = made(Kind::MessageText, &["message=1", "processid=9", "wxid=wxid_b"]);
        assert_eq!((event.text.as_deref(), event.pid, event.chat.as_deref()), (Some("1"), Some(9), Some("wxid_b")));
        assert_eq!(made(Kind::LoginState, &["code=-1"]).decoded.json()["logged_in"], false);
        assert_eq!(made(Kind::MessageFriendRequest, &["text=<hi>"]).text.as_deref(), Some("<hi>"));
        assert_eq!(
            made(Kind::RoomMembers, &["chat=20260101002@chatroom"]).chat.as_deref(),
            Some("20260101002@chatroom")
        );
    }

    #[test]
    fn readable_text_is_read_back_where_there_is_some() {
        for kind in [
            Kind::MessageText,
            Kind::MessageFriendRequest,
            Kind::MessageCard,
            Kind::MessageLocation,
            Kind::MessageApp,
            Kind::MessageCall,
            Kind::MessageSystem,
            Kind::MessageRecall,
        ] {
            assert_eq!(made(kind, &["text=readable"]).text.as_deref(), Some("readable"), "{kind:?}");
        }
    }

    #[test]
    fn notices_say_who_and_how() {
        let event = made(Kind::RoomJoined, &["chat=9@chatroom", "who=wxid_a,wxid_b", "by=wxid_c", "how=qrcode"]);
        assert_eq!((event.chat.as_deref(), &event.decoded.json()["how"]), (Some("9@chatroom"), &json!("qrcode")));
        assert_eq!(event.decoded.json()["by"]["wxid"], "wxid_c");
        let decoded = event.decoded.json();
        let who: Vec<_> = decoded["who"].as_array().unwrap().iter().map(|who| &who["wxid"]).collect();
        assert_eq!(who, ["wxid_a", "wxid_b"]);
        assert_eq!(made(Kind::RoomRenamed, &["name=新 & 名"]).decoded.json()["name"], "新 & 名");
        for how in ["removed", "left", "disbanded"] {
            assert_eq!(made(Kind::RoomLeft, &[&format!("how={how}")]).decoded.json()["how"], how);
        }
        for how in ["request", "on", "off"] {
            assert_eq!(made(Kind::RoomAccess, &[&format!("how={how}")]).decoded.json()["how"], how);
        }
        let pat = made(Kind::MessagePat, &["by=wxid_me", "who=wxid_a"]);
        assert_eq!((pat.is_self, &pat.decoded.json()["patted"]), (Some(true), &json!("wxid_a")));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let world = World::new("wxid_me");
        let refuse = |kind, field: &str| sample(&world, kind, &[field.to_owned()]).unwrap_err().message;
        assert!(refuse(Kind::Logout, "text=x").contains("text="));
        assert!(refuse(Kind::MessageText, "txet=x").contains("`text=`?"));
        assert!(refuse(Kind::RoomLeft, "how=qrcode").contains("removed"));
        assert!(refuse(Kind::MessageText, "how=left").contains("how="));
        assert!(refuse(Kind::MessageText, "nonsense").contains("KEY=VALUE"));
        assert!(refuse(Kind::MessageText, "self=perhaps").contains("true"));
        assert!(kind("mesage.text").unwrap_err().message.contains("`message.text`"));
    }
}
