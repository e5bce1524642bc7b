//! Every pair of contract 3, and what must not pair.

use super::*;
use crate::protocol::command::Wire;
use crate::protocol::contact::RoomInfo;
use crate::protocol::decoded::ContactPacket;
use serde_json::{Value, json};

pub(super) fn command_of(value: &Value) -> Command {
    let wire = Wire::from_json(&value.to_string()).unwrap();
    wire.check().unwrap_or_else(|fault| panic!("{fault}: {value}")).expect("its api is known").clone()
}

pub(super) fn event(kind: Kind, decoded: Decoded) -> Event {
    Event {
        kind,
        r#type: None,
        account: Some("wxid_me".into()),
        pid: None,
        chat: None,
        from: None,
        is_self: None,
        nick: None,
        text: None,
        decoded,
    }
}

pub(super) fn said(kind: Kind, chat: &str, is_self: bool, text: &str) -> Event {
    Event {
        chat: Some(chat.into()),
        is_self: Some(is_self),
        text: Some(text.into()),
        ..event(kind, Decoded::default())
    }
}

pub(super) fn contact(id: &str) -> Contact {
    Contact { wxid: Some(id.into()), ..Contact::default() }
}

pub(super) fn contacts(ids: &[&str]) -> Event {
    let contacts = ids.iter().map(|id| contact(id)).collect();
    event(Kind::Contacts, Decoded::Contacts(Contacts { contacts }))
}

pub(super) fn packet(ids: &[&str]) -> Event {
    let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
    let packet = ContactPacket { wxids: ids.clone(), about: ids, ..ContactPacket::default() };
    event(Kind::ContactPacket, Decoded::ContactPacket(packet))
}

pub(super) fn ids_packet(ids: &[&str]) -> Event {
    let wxids = ids.iter().map(|&id| id.to_owned()).collect();
    event(Kind::ContactsPacket, Decoded::ContactsPacket { wxids })
}

pub(super) fn members(room: &str, ids: &[&str], info: Option<RoomInfo>) -> Event {
    let told = RoomMembers { room: Some(room.into()), members: ids.iter().map(|id| contact(id)).collect(), info };
    event(Kind::RoomMembers, Decoded::RoomMembers(told))
}

pub(super) fn profile(contact: Contact) -> Event {
    event(Kind::Profile, Decoded::Profile { contact: Box::new(contact), own: false })
}

pub(super) fn verified(v1s: &[&str]) -> Event {
    let v1s: Vec<String> = v1s.iter().map(|&v1| v1.to_owned()).collect();
    event(Kind::FriendVerified, Decoded::FriendVerified { ok: !v1s.is_empty(), v1s })
}

/// What an event holds for a command, but for what is not known.
fn items(command: &Command, event: Event) -> Vec<Value> {
    let items = super::items(command, event).into_iter().map(|item| serde_json::to_value(item).unwrap());
    let known = |mut item: Value| {
        item.as_object_mut().unwrap().retain(|_, told| !told.is_null());
        item
    };
    items.map(known).collect()
}

use Bearing::{Answers, Echo, Part, Refuses};

#[test]
fn the_friend_list_is_answered_by_contacts_after_a_packet() {
    let list = command_of(&json!({ "api": "initContact", "code": 45 }));
    assert_eq!(bearing(&list, &ids_packet(&["a"])), Some(Part));
    assert_eq!(bearing(&list, &contacts(&["a", "b"])), Some(Answers));
    assert_eq!(bearing(&list, &packet(&["a"])), None);
    assert_eq!(items(&list, contacts(&["a", "b"])).len(), 2);
    assert_eq!(items(&list, ids_packet(&["a"])), [json!({ "wxid": "a" })]);
}

#[test]
fn friend_info_is_answered_when_every_id_is_there() {
    let info = command_of(&json!({ "api": "newGetUserLists", "code": 46, "wxidLists": ["a", "b"] }));
    assert_eq!(bearing(&info, &contacts(&["b", "a", "c"])), Some(Answers));
    assert_eq!(bearing(&info, &contacts(&["b"])), Some(Part));
    assert_eq!(bearing(&info, &contacts(&["c"])), None);
    assert_eq!(bearing(&info, &packet(&["a"])), Some(Part));
    assert_eq!(bearing(&info, &packet(&["a", "b"])), Some(Answers));
    // Of nobody that was asked for anything was told.
    assert_eq!(bearing(&info, &contacts(&[])), Some(Part));
    assert_eq!(items(&info, contacts(&["b", "a", "c"])), [json!({ "wxid": "b" }), json!({ "wxid": "a" })]);
}

#[test]
fn a_profile_answers_for_its_own_id_only() {
    let get = command_of(&json!({ "api": "getUserInfo", "code": 19, "wxid": "wxid_a" }));
    let named = |id: &str, username: &str| Contact { username: Some(username.into()), ..contact(id) };
    assert_eq!(bearing(&get, &profile(contact("wxid_a"))), Some(Answers));
    assert_eq!(bearing(&get, &profile(Contact::default())), Some(Answers));
    assert_eq!(bearing(&get, &profile(contact("wxid_me"))), None);
    assert_eq!(bearing(&get, &profile(named("wxid_b", "wxid_a"))), None);
    let get_anna = command_of(&json!({ "api": "getUserInfo", "code": 19, "wxid": "anna88" }));
    assert_eq!(bearing(&get_anna, &profile(named("wxid_b", "anna88"))), Some(Answers));
    assert_eq!(items(&get, profile(contact("wxid_a"))), [json!({ "wxid": "wxid_a" })]);
}

#[test]
fn a_lookup_is_answered_by_the_packet_that_names_the_id() {
    let lookup = command_of(&json!({ "api": "netGetUserInfo", "code": 30, "wxid": "zhangsan" }));
    assert_eq!(bearing(&lookup, &packet(&["zhangsan"])), Some(Answers));
    assert_eq!(bearing(&lookup, &packet(&[])), Some(Answers));
    assert_eq!(bearing(&lookup, &packet(&["wxid_other"])), None);
    // Other ids and words in it are nicks, or members of a room.
    let told = ContactPacket {
        wxids: vec!["wxid_b".into(), "zhangsan".into()],
        about: vec!["wxid_b".into()],
        v2: Some("v2_a@stranger".into()),
        ..ContactPacket::default()
    };
    let nick = event(Kind::ContactPacket, Decoded::ContactPacket(told));
    assert_eq!(bearing(&lookup, &nick), None);
    let info = command_of(&json!({ "api": "newGetUserLists", "code": 46, "wxidLists": ["wxid_b", "zhangsan"] }));
    assert_eq!(bearing(&info, &nick), Some(Part));
    assert_eq!(ids_told(&nick), HashSet::from(["wxid_b"]));
    assert_eq!(super::items(&lookup, nick.clone()), [AnswerItem::Other(nick.decoded)]);
}

#[test]
fn a_verification_without_a_ticket_refuses() {
    for api in ["acceptFriend", "addUserEvent"] {
        let command = command_of(&json!({ "api": api, "wxid": "a", "v1": "v1_a", "v2": "v2_a" }));
        assert_eq!(bearing(&command, &verified(&["v1_z"])), Some(Answers));
        assert_eq!(bearing(&command, &verified(&[])), Some(Refuses));
        assert_eq!(items(&command, verified(&[])), [json!({ "ok": false })]);
    }
}

#[test]
fn members_answer_for_their_own_room_and_carry_it() {
    let asked = command_of(&json!({ "api": "getChatRoomUserLists", "code": 6, "wxid": "1@chatroom" }));
    let told = |room: &str| members(room, &["a"], None);
    assert_eq!(bearing(&asked, &told("1@chatroom")), Some(Answers));
    assert_eq!(bearing(&asked, &told("2@chatroom")), None);
    assert_eq!(items(&asked, told("1@chatroom")), [json!({ "room": "1@chatroom", "wxid": "a" })]);
}

#[test]
fn a_stranger_is_answered_by_either_event() {
    let stranger =
        command_of(&json!({ "api": "getRoomUserV2", "code": 34, "chatroom": "1@chatroom", "wxid": "wxid_a" }));
    let v2 = |id: &str| {
        let (contact, v2) = (Box::new(contact(id)), Some("v2_a@stranger".to_owned()));
        event(Kind::FriendV2, Decoded::FriendV2 { contact, v2 })
    };
    assert_eq!(bearing(&stranger, &v2("wxid_a")), Some(Answers));
    assert_eq!(bearing(&stranger, &v2("wxid_b")), None);
    assert_eq!(bearing(&stranger, &packet(&["wxid_a"])), Some(Answers));
    assert_eq!(items(&stranger, v2("wxid_a")), [json!({ "wxid": "wxid_a", "v2": "v2_a@stranger" })]);
}

#[test]
fn rooms_and_the_account_answer_without_an_id() {
    let rooms = vec![Room { wxid: Some("1@chatroom".into()), ..Room::default() }];
    let content = "http://weixin.qq.com/x/a";
    for (api, kind, decoded, item) in [
        (
            "getChatRoomLists",
            Kind::Rooms,
            Decoded::Rooms(Rooms { rooms }),
            json!({ "wxid": "1@chatroom", "members": [] }),
        ),
        ("getLoginStatus", Kind::Login, Decoded::Login { code: Some(200) }, json!({ "logged_in": true })),
        ("getLoginStatus", Kind::Login, Decoded::Login { code: None }, json!({ "logged_in": false })),
        (
            "getLoginStatus",
            Kind::LoginState,
            Decoded::LoginState { logged_in: Some(false) },
            json!({ "logged_in": false }),
        ),
        (
            "getLoginQrCode",
            Kind::LoginQrcode,
            Decoded::LoginContent { content: content.into() },
            json!({ "content": content }),
        ),
        ("outLogin", Kind::Logout, Decoded::default(), json!({ "logged_out": true })),
    ] {
        let command = command_of(&json!({ "api": api }));
        let event = event(kind, decoded);
        assert_eq!(bearing(&command, &event), Some(Answers), "{api}");
        assert_eq!(items(&command, event), [item], "{api}");
    }
    let logout = command_of(&json!({ "api": "outLogin" }));
    assert_eq!(bearing(&logout, &event(Kind::LogoutPhone, Decoded::default())), None);
}

#[test]
fn the_echo_of_a_text_is_known() {
    let send = command_of(&json!({ "api": "sendTextMessage", "code": 1, "wxid": "filehelper", "text": "a\r\nb" }));
    assert_eq!(bearing(&send, &said(Kind::MessageText, "filehelper", true, "a\nb")), Some(Echo));
    assert_eq!(bearing(&send, &said(Kind::MessageText, "filehelper", false, "a\nb")), None);
    assert_eq!(bearing(&send, &said(Kind::MessageText, "wxid_a", true, "a\nb")), None);
    assert_eq!(bearing(&send, &said(Kind::MessageText, "filehelper", true, "a\nc")), None);
    assert_eq!(bearing(&send, &said(Kind::MessageText, "filehelper", true, "a")), None);
}

#[test]
fn a_refusal_in_the_chat_refuses_every_send() {
    let refused = said(Kind::MessageSystem, "wxid_a", false, "消息已发出，但被对方拒收了。");
    let verify = said(Kind::MessageSystem, "wxid_a", false, "小明开启了朋友验证，你还不是他（她）朋友。");
    for api in ["sendTextMessage", "sendPicMessage", "sendFileMessage", "sendXmlMessage"] {
        let send = command_of(&json!({
            "api": api, "wxid": "wxid_a", "text": "hi", "imgPath": "p", "filePath": "p", "title": "t", "url": "u"
        }));
        assert_eq!(bearing(&send, &refused), Some(Refuses));
        assert_eq!(bearing(&send, &verify), Some(Refuses));
        assert_eq!(bearing(&send, &said(Kind::MessageSystem, "wxid_b", false, "被对方拒收了")), None);
        assert_eq!(bearing(&send, &said(Kind::MessageSystem, "wxid_a", false, "你撤回了一条消息")), None);
    }
    for api in ["delUser", "sendChatroom"] {
        let other = command_of(&json!({ "api": api, "wxid": "wxid_a", "chatroom": "1@chatroom" }));
        assert_eq!(bearing(&other, &refused), None, "{api}");
    }
    // No such notice exists in rooms: there the words are somebody's name.
    let room = command_of(&json!({ "api": "sendTextMessage", "wxid": "1@chatroom", "text": "hi" }));
    assert_eq!(bearing(&room, &said(Kind::MessageSystem, "1@chatroom", false, "被对方拒收了")), None);
}

#[test]
fn of_a_list_in_pieces_whom_it_names_is_gathered() {
    let info = RoomInfo { members: ["a", "b", "c"].map(str::to_owned).into(), ..RoomInfo::default() };
    let of_room = |ids: &[&str]| members("1@chatroom", ids, Some(info.clone()));
    let rooms = |ids: &[&str]| {
        let room = |id: &&str| Room { wxid: Some((*id).into()), members: vec!["a".into()], ..Room::default() };
        event(Kind::Rooms, Decoded::Rooms(Rooms { rooms: ids.iter().map(room).collect() }))
    };
    for pieces in
        [[contacts(&["a"]), contacts(&["b"])], [of_room(&["a"]), of_room(&["b"])], [rooms(&["a"]), rooms(&["b"])]]
    {
        let mut gathered = None;
        pieces.into_iter().for_each(|piece| gather(&mut gathered, piece));
        let gathered = gathered.unwrap();
        assert_eq!(listed(&gathered).collect::<Vec<_>>(), ["a", "b"], "{gathered:?}");
        let counted = (gathered.kind == Kind::RoomMembers).then_some(3);
        assert_eq!(members_counted(&gathered), counted);
    }
    assert_eq!(members_counted(&members("1@chatroom", &[], None)), None);
}
