//! What the simulated client does with a command: the events that it reports, and when.

use super::sample;
use super::world::World;
use crate::protocol::command::{Command, Wire};
use crate::protocol::event::Kind;
use serde_json::{Value, json};
use std::time::Duration;

/// How the client is to behave.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manners {
    /// Texts are refused by WeChat.
    pub(super) refuse: bool,
    /// Nobody is logged in.
    pub(super) logged_out: bool,
}

/// An event, so long after the command was carried out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Later {
    pub(super) after: Duration,
    pub(super) event: Value,
}

/// What came of a command.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Deed {
    /// For people.
    pub(super) said: String,
    pub(super) events: Vec<Later>,
    /// Whether the account is logged in afterwards, when that changes; in so long.
    pub(super) logged_in: Option<(Duration, bool)>,
}

/// So long somebody needs to scan a login code.
const SCAN: Duration = Duration::from_secs(3);
/// So long somebody needs to answer a question or a friend request.
const THINK: Duration = Duration::from_millis(1500);

/// Carries a command out.
pub(super) fn carry_out(world: &mut World, wire: &Wire, manners: Manners) -> Deed {
    let command = match wire.check() {
        Ok(Some(Command::AccountStatus)) => {
            let code = if manners.logged_out { -1 } else { 200 };
            return deed("tells its login state", [world.event(66, json!({ "code": code }))]);
        }
        Ok(Some(Command::AccountQrcode)) => return login(world, manners),
        _ if manners.logged_out => {
            return Deed { said: format!("drops {}: nobody is logged in", wire.api()), ..Deed::default() };
        }
        Ok(Some(command)) => command,
        Ok(None) => return deed(&format!("does not know `{}`, and does nothing", wire.api()), []),
        Err(fault) => return deed(&format!("does nothing with {}: {fault}", wire.api()), []),
    };
    match command {
        Command::SendText { wxid, text } => say(world, wxid.as_str(), text, manners),
        Command::SendImage { wxid, .. } => own(world, wxid.as_str(), 3, &sample::image(), "a picture", manners),
        Command::SendFile { wxid, path } => own(world, wxid.as_str(), 49, &sample::file(path), "a file", manners),
        Command::SendLink { wxid, title, url, description, .. } => {
            let link = sample::link(title, url, description.as_deref().unwrap_or_default());
            own(world, wxid.as_str(), 49, &link, "a link", manners)
        }
        Command::FriendList => deed("lists its friends", [world.contacts_packet(), world.contacts(&world.friends)]),
        Command::FriendAdd { wxid, .. } => add(world, wxid.as_str()),
        Command::FriendAccept { v1, .. } => accept(world, v1),
        Command::FriendDelete { wxid } => {
            world.friends.retain(|p| p.wxid != wxid.as_str());
            deed(&format!("deletes {}", wxid.as_str()), [])
        }
        Command::RoomInvite { wxid, room } => invite(world, wxid.as_str(), room.as_str()),
        Command::RoomKick { room, wxid } => kick(world, room.as_str(), wxid.as_str()),
        Command::RoomRename { room, name } => rename(world, room.as_str(), name),
        Command::RoomNick { room, .. } => deed(&format!("calls itself something else in {}", room.as_str()), []),
        Command::AccountLogout => {
            Deed { logged_in: Some((Duration::ZERO, false)), ..deed("logs out", [world.logout(false)]) }
        }
        other => tell(world, other),
    }
}

/// What is left only asks, or changes nothing in this world: the surest of the events that answer it, about whom it
/// asks for.
fn tell(world: &World, command: &Command) -> Deed {
    let asked = command.ids_asked();
    let whom = asked.first().copied().unwrap_or_default();
    match command.api().answers.first() {
        Some(71) => deed(&format!("describes {whom}"), [world.profile(&world.anybody(whom))]),
        Some(77) => deed(&format!("lists the members of {whom}"), [world.room_members(whom)]),
        Some(81) => deed(&format!("tells the v2 of {whom}"), [world.v2(whom)]),
        Some(88) => deed(&format!("looks {whom} up"), [world.contact_packet(whom)]),
        Some(210) => {
            let people: Vec<_> = asked.iter().map(|id| world.anybody(id)).collect();
            deed(&format!("describes {} people", people.len()), [world.contacts(&people)])
        }
        Some(211) => deed("lists its rooms", [world.room_list()]),
        _ => deed(&format!("carries `{}` out, which shows nowhere", command.api().api), []),
    }
}

fn invite(world: &mut World, wxid: &str, room: &str) -> Deed {
    let nick = world.anybody(wxid).nick;
    if let Some(room) = world.rooms.iter_mut().find(|r| r.wxid == room && !r.members.iter().any(|id| id == wxid)) {
        room.members.push(wxid.to_owned());
    }
    notice(world, room, &format!("你邀请\"{nick}\"加入了群聊"), &format!("invites {wxid} into {room}"))
}

fn kick(world: &mut World, room: &str, wxid: &str) -> Deed {
    let nick = world.anybody(wxid).nick;
    if let Some(room) = world.rooms.iter_mut().find(|r| r.wxid == room) {
        room.members.retain(|id| id != wxid);
    }
    notice(world, room, &format!("你将\"{nick}\"移出了群聊"), &format!("puts {wxid} out of {room}"))
}

fn rename(world: &mut World, room: &str, name: &str) -> Deed {
    if let Some(room) = world.rooms.iter_mut().find(|r| r.wxid == room) {
        name.clone_into(&mut room.nick);
    }
    notice(world, room, &format!("你修改群名为“{name}”"), &format!("renames {room}"))
}

fn deed<const N: usize>(said: &str, events: [Value; N]) -> Deed {
    let at_once = |event| Later { after: Duration::ZERO, event };
    Deed { said: said.to_owned(), events: events.into_iter().map(at_once).collect(), logged_in: None }
}

/// A code, and somebody who scans it after a while; one who is to stay logged out does not.
fn login(world: &World, manners: Manners) -> Deed {
    let code = sample::login_code("http://weixin.qq.com/x/4bNsimulatedcode");
    let mut deed = deed("shows a login code", [code]);
    if manners.logged_out {
        deed.logged_in = Some((SCAN, true));
    }
    deed.events.extend(world.login().map(|event| Later { after: SCAN, event }));
    deed
}

/// Echoes a text as newer clients do; whoever is asked something answers.
fn say(world: &World, wxid: &str, text: &str, manners: Manners) -> Deed {
    if manners.refuse {
        return refused(world, wxid, "a text");
    }
    let echo = world.message(1, wxid, None, true, text);
    let mut deed = deed(&format!("sends a text to {wxid}"), [echo]);
    if let Some(reply) = reply(text).filter(|_| wxid != "filehelper") {
        let (chat, from) = match world.room(wxid) {
            Some(room) => (wxid, room.members.first().map(String::as_str)),
            None => (wxid, None),
        };
        deed.events.push(Later { after: THINK, event: world.message(1, chat, from, false, reply) });
    }
    deed
}

/// What people answer to a question. They answer nothing else: a bot at the other end must not talk with them for ever.
fn reply(text: &str) -> Option<&'static str> {
    let asks = text.contains(['?', '？']);
    match text.to_ascii_lowercase() {
        _ if !asks => None,
        lower if lower.contains("yes") || lower.contains("y/n") => Some("yes"),
        _ if text.is_ascii() => Some("ok"),
        _ => Some("好的"),
    }
}

fn own(world: &World, wxid: &str, msg_type: i64, message: &str, what: &str, manners: Manners) -> Deed {
    if manners.refuse {
        return refused(world, wxid, what);
    }
    deed(&format!("sends {what} to {wxid}"), [world.message(msg_type, wxid, None, true, message)])
}

fn refused(world: &World, wxid: &str, what: &str) -> Deed {
    notice(world, wxid, "消息已发出，但被对方拒收了。", &format!("sends {what} to {wxid}, who refuses it"))
}

/// A notice in a chat.
fn notice(world: &World, chat: &str, text: &str, said: &str) -> Deed {
    deed(said, [world.message(10000, chat, None, false, text)])
}

/// A friend request that is sent, and accepted after a while.
fn add(world: &mut World, wxid: &str) -> Deed {
    let mut deed = deed(&format!("asks {wxid} to become a friend"), [world.verified(&world.anybody(wxid).v1())]);
    befriend(world, wxid);
    let hello = "我通过了你的朋友验证请求，现在我们可以开始聊天了";
    deed.events.push(Later { after: THINK * 2, event: world.message(1, wxid, None, false, hello) });
    deed
}

fn accept(world: &mut World, v1: &str) -> Deed {
    let Some(wxid) = world.strangers.iter().find(|p| p.v1() == v1).map(|p| p.wxid.clone()) else {
        return deed("accepts somebody that it does not know", [world.verified(v1)]);
    };
    befriend(world, &wxid);
    let person = world.anybody(&wxid);
    let told = format!("你已添加了{}，现在可以开始聊天了。", person.nick);
    let mut deed = deed(
        &format!("accepts {wxid}"),
        [world.verified(v1), world.contacts(&[person]), world.message(10000, &wxid, None, false, &told)],
    );
    deed.events.push(Later { after: THINK, event: world.message(1, &wxid, None, false, "谢谢通过 😀") });
    deed
}

fn befriend(world: &mut World, wxid: &str) {
    if let Some(at) = world.strangers.iter().position(|p| p.wxid == wxid) {
        world.friends.push(world.strangers.remove(at));
    }
}

/// Something that somebody says without being asked.
pub(super) fn chatter(world: &World) -> (String, Value) {
    let person = fastrand::choice(&world.friends).unwrap_or(&world.me);
    let (chat, from, speaker) = match fastrand::choice(&world.rooms) {
        Some(room) if fastrand::f32() < 0.5 => {
            let from = fastrand::choice(&room.members).unwrap_or(&person.wxid);
            (room.wxid.as_str(), Some(from.as_str()), world.anybody(from))
        }
        _ => (person.wxid.as_str(), None, person.clone()),
    };
    let kind = match fastrand::u8(0..100) {
        0..66 => Kind::MessageText,
        66..76 => Kind::MessageImage,
        76..83 => Kind::MessageApp,
        83..89 => Kind::MessageSticker,
        89..92 => Kind::MessageRecall,
        92..95 => Kind::MessageSystem,
        95..98 => Kind::MessageVoice,
        _ => Kind::MessageFriendRequest,
    };
    if kind == Kind::MessageFriendRequest {
        let Some(stranger) = fastrand::choice(&world.strangers) else { return chatter(world) };
        let greeting = fastrand::choice(GREETINGS).copied().unwrap_or_default();
        let event = world.message(37, "fmessage", None, false, &stranger.friend_request(greeting));
        return (format!("{} asks to become a friend", stranger.nick), event);
    }
    let message = match kind {
        Kind::MessageText => fastrand::choice(SAYINGS).copied().unwrap_or_default().to_owned(),
        _ => sample::body(world, kind, &speaker.nick, &mut sample::AsItIs),
    };
    let from = from.filter(|_| kind != Kind::MessageSystem);
    let event = world.message(sample::message_type(kind).unwrap_or(1), chat, from, false, &message);
    (format!("{} in {}: {}", speaker.nick, world.name(chat), kind.as_str()), event)
}

const GREETINGS: &[&str] = &["hello from the fair", "你好，我是小雨的同事", "交个朋友？"];

const SAYINGS: &[&str] = &[
    "在吗？",
    "早上好 ☀️",
    "晚上回来吃饭吗",
    "收到",
    "好的好的",
    "哈哈哈哈",
    "ping",
    "会议改到三点",
    "The build is green again 🎉",
    "下班了吗？一起走",
    "周末去爬山，谁来？",
    "已经到楼下了",
    "can somebody look at the deploy?",
    "稍等，我看一下",
    "生日快乐！🎂",
    "文件发你邮箱了",
    "明天记得带伞",
    "谢谢！",
    "👍",
    "第一行\n第二行",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::answer::{Bearing, bearing};
    use crate::protocol::command::APIS;
    use crate::protocol::event::decode;

    fn world() -> World {
        World::new("wxid_me")
    }

    /// A command with sensible fields.
    fn command(api: &str) -> Wire {
        let whom = if api == "getChatRoomUserLists" { "20260101001@chatroom" } else { "wxid_linxiaoyu03hb4" };
        let command = json!({"api": api, "wxid": whom, "chatroom": "20260101002@chatroom",
            "wxidLists": ["wxid_sunyue05w8xx21", "wxid_nobody"], "text": "hi?", "imgPath": "a", "filePath": "a",
            "v1": world().strangers[0].v1(), "v2": world().strangers[0].v2(), "name": "n", "title": "t", "url": "u"});
        Wire::from_json(&command.to_string()).unwrap()
    }

    #[test]
    fn every_question_is_answered_by_the_event_that_the_daemon_waits_for() {
        for row in APIS {
            let wire = command(row.api);
            let deed = carry_out(&mut world(), &wire, Manners::default());
            let command = wire.check().unwrap().unwrap();
            let bearings: Vec<_> =
                deed.events.iter().filter_map(|l| bearing(command, &decode(&l.event.to_string()))).collect();
            if !row.answers.is_empty() {
                assert!(bearings.contains(&Bearing::Answers), "{}: {:?}", row.api, deed.events);
            }
            if row.api == "sendTextMessage" {
                assert_eq!(bearings, [Bearing::Echo]);
            }
        }
        assert!(carry_out(&mut world(), &command("x"), Manners::default()).said.contains("does not know `x`"));
    }

    #[test]
    fn a_refused_text_is_told_by_the_notice_that_the_daemon_knows() {
        let manners = Manners { refuse: true, ..Manners::default() };
        for api in ["sendTextMessage", "sendPicMessage", "sendXmlMessage"] {
            let wire = command(api);
            let deed = carry_out(&mut world(), &wire, manners);
            let event = decode(&deed.events[0].event.to_string());
            let bearing = bearing(wire.command().unwrap(), &event);
            assert_eq!((deed.events.len(), bearing), (1, Some(Bearing::Refuses)), "{api}");
        }
    }

    #[test]
    fn one_who_is_logged_out_shows_a_code_and_does_nothing_else() {
        let manners = Manners { logged_out: true, ..Manners::default() };
        assert!(carry_out(&mut world(), &command("sendTextMessage"), manners).events.is_empty());
        let state = carry_out(&mut world(), &command("getLoginStatus"), manners);
        assert_eq!(state.events[0].event["code"], -1);
        let code = carry_out(&mut world(), &command("getLoginQrCode"), manners);
        assert_eq!((code.events.len(), code.logged_in), (3, Some((SCAN, true))));
    }

    #[test]
    fn an_accepted_stranger_is_a_friend_afterwards() {
        let mut world = world();
        let (friends, wxid) = (world.friends.len(), world.strangers[0].wxid.clone());
        carry_out(&mut world, &command("acceptFriend"), Manners::default());
        assert_eq!(world.friends.len(), friends + 1);
        assert!(world.friends.iter().any(|p| p.wxid == wxid));
    }

    #[test]
    fn people_answer_questions_only() {
        assert_eq!(reply("deploy v7? (yes/no)"), Some("yes"));
        assert_eq!(reply("吃饭了吗？"), Some("好的"));
        assert_eq!(reply("pong"), None);
    }

    #[test]
    fn whatever_is_said_can_be_read() {
        let mut world = world();
        for n in 0..2000 {
            if n == 1000 {
                world.strangers.clear();
            }
            let event = decode(&chatter(&world).1.to_string());
            assert!(event.kind.as_str().starts_with("message.") && event.is_self == Some(false), "{event:?}");
        }
    }
}
