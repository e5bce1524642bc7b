//! Every pair of contract 3, and what must not pair.

use super::*;
use crate::protocol::command::Wire;

pub(super) fn command_of(value: &Value) -> Command {
    let wire = Wire::from_json(&value.to_string()).unwrap();
    wire.check().unwrap_or_else(|fault| panic!("{fault}: {value}")).expect("its api is known").clone()
}

pub(super) fn event(kind: Kind, decoded: Value) -> Event {
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
        emptied: Vec::new(),
        about: Vec::new(),
    }
}

pub(super) fn said(kind: Kind, chat: &str, is_self: bool, text: &str) -> Event {
    Event { chat: Some(chat.into()), is_self: Some(is_self), text: Some(text.into()), ..event(kind, json!({})) }
}

pub(super) fn contacts(ids: &[&str]) -> Event {
    event(
        Kind::Contacts,
        json!({ "contacts": ids.iter().map(|id| json!({ "wxid": id, "nick": "n" })).collect::<Vec<_>>() }),
    )
}

pub(super) fn packet(ids: &[&str]) -> Event {
    let decoded = json!({ "wxids": ids, "v1": null, "v2": "v2_a@stranger", "avatars": [], "strings": ids });
    Event { about: ids.iter().map(|&id| id.to_owned()).collect(), ..event(Kind::ContactPacket, decoded) }
}

use Bearing::{Answers, Echo, Part, Refuses};

#[test]
fn the_friend_list_is_answered_by_contacts_after_a_packet() {
    let list = command_of(&json!({ "api": "initContact", "code": 45 }));
    assert_eq!(bearing(&list, &event(Kind::ContactsPacket, json!({ "wxids": ["a"] }))), Some(Part));
    assert_eq!(bearing(&list, &contacts(&["a", "b"])), Some(Answers));
    assert_eq!(bearing(&list, &packet(&["a"])), None);
    assert_eq!(items(&list, &contacts(&["a", "b"])).len(), 2);
    assert_eq!(items(&list, &event(Kind::ContactsPacket, json!({ "wxids": ["a"] }))), [json!({ "wxid": "a" })]);
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
    assert_eq!(
        items(&info, &contacts(&["b", "a", "c"])),
        [json!({ "wxid": "b", "nick": "n" }), json!({ "wxid": "a", "nick": "n" })]
    );
}

#[test]
fn a_profile_answers_for_its_own_id_only() {
    let get = command_of(&json!({ "api": "getUserInfo", "code": 19, "wxid": "wxid_a" }));
    let profile = |contact: Value| event(Kind::Profile, json!({ "contact": contact, "self": false }));
    assert_eq!(bearing(&get, &profile(json!({ "wxid": "wxid_a" }))), Some(Answers));
    assert_eq!(bearing(&get, &profile(json!({ "wxid": null }))), Some(Answers));
    assert_eq!(bearing(&get, &profile(json!({ "wxid": "wxid_me" }))), None);
    assert_eq!(bearing(&get, &profile(json!({ "wxid": "wxid_b", "username": "wxid_a" }))), None);
    let get_anna = command_of(&json!({ "api": "getUserInfo", "code": 19, "wxid": "anna88" }));
    assert_eq!(bearing(&get_anna, &profile(json!({ "wxid": "wxid_b", "username": "anna88" }))), Some(Answers));
    assert_eq!(items(&get, &profile(json!({ "wxid": "wxid_a" }))), [json!({ "wxid": "wxid_a" })]);
}

#[test]
fn a_lookup_is_answered_by_the_packet_that_names_the_id() {
    let lookup = command_of(&json!({ "api": "netGetUserInfo", "code": 30, "wxid": "zhangsan" }));
    assert_eq!(bearing(&lookup, &packet(&["zhangsan"])), Some(Answers));
    assert_eq!(bearing(&lookup, &packet(&[])), Some(Answers));
    assert_eq!(bearing(&lookup, &packet(&["wxid_other"])), None);
    // Other ids and words in it are nicks, or members of a room.
    let nick = Event { about: vec!["wxid_b".into()], ..packet(&["wxid_b", "zhangsan"]) };
    assert_eq!(bearing(&lookup, &nick), None);
    let info = command_of(&json!({ "api": "newGetUserLists", "code": 46, "wxidLists": ["wxid_b", "zhangsan"] }));
    assert_eq!(bearing(&info, &nick), Some(Part));
    assert_eq!(ids_told(&nick), HashSet::from(["wxid_b"]));
    assert_eq!(items(&lookup, &nick), std::slice::from_ref(&nick.decoded));
}

#[test]
fn a_verification_without_a_ticket_refuses() {
    for api in ["acceptFriend", "addUserEvent"] {
        let command = command_of(&json!({ "api": api, "wxid": "a", "v1": "v1_a", "v2": "v2_a" }));
        let verified = |ok: bool| event(Kind::FriendVerified, json!({ "ok": ok, "v1s": [] }));
        assert_eq!(bearing(&command, &verified(true)), Some(Answers));
        assert_eq!(bearing(&command, &verified(false)), Some(Refuses));
        assert_eq!(items(&command, &verified(false)), [json!({ "ok": false })]);
    }
}

#[test]
fn members_answer_for_their_own_room_and_carry_it() {
    let members = command_of(&json!({ "api": "getChatRoomUserLists", "code": 6, "wxid": "1@chatroom" }));
    let told = |room: &str| event(Kind::RoomMembers, json!({ "room": room, "members": [{ "wxid": "a" }], "info": {} }));
    assert_eq!(bearing(&members, &told("1@chatroom")), Some(Answers));
    assert_eq!(bearing(&members, &told("2@chatroom")), None);
    assert_eq!(items(&members, &told("1@chatroom")), [json!({ "room": "1@chatroom", "wxid": "a" })]);
}

#[test]
fn a_stranger_is_answered_by_either_event() {
    let stranger =
        command_of(&json!({ "api": "getRoomUserV2", "code": 34, "chatroom": "1@chatroom", "wxid": "wxid_a" }));
    let v2 = |id: &str| event(Kind::FriendV2, json!({ "contact": { "wxid": id }, "v2": "v2_a@stranger" }));
    assert_eq!(bearing(&stranger, &v2("wxid_a")), Some(Answers));
    assert_eq!(bearing(&stranger, &v2("wxid_b")), None);
    assert_eq!(bearing(&stranger, &packet(&["wxid_a"])), Some(Answers));
    assert_eq!(items(&stranger, &v2("wxid_a")), [json!({ "wxid": "wxid_a", "v2": "v2_a@stranger" })]);
}

#[test]
fn rooms_and_the_account_answer_without_an_id() {
    for (api, kind, decoded, item) in [
        (
            "getChatRoomLists",
            Kind::Rooms,
            json!({ "rooms": [{ "wxid": "1@chatroom" }] }),
            json!({ "wxid": "1@chatroom" }),
        ),
        ("getLoginStatus", Kind::Login, json!({ "code": 200 }), json!({ "logged_in": true })),
        ("getLoginStatus", Kind::Login, json!({ "code": null }), json!({ "logged_in": false })),
        ("getLoginStatus", Kind::LoginState, json!({ "logged_in": false }), json!({ "logged_in": false })),
        (
            "getLoginQrCode",
            Kind::LoginQrcode,
            json!({ "content": "http://weixin.qq.com/x/a" }),
            json!({ "content": "http://weixin.qq.com/x/a" }),
        ),
        ("outLogin", Kind::Logout, json!({}), json!({ "logged_out": true })),
    ] {
        let command = command_of(&json!({ "api": api }));
        assert_eq!(bearing(&command, &event(kind, decoded.clone())), Some(Answers), "{api}");
        assert_eq!(items(&command, &event(kind, decoded)), [item], "{api}");
    }
    assert_eq!(bearing(&command_of(&json!({ "api": "outLogin" })), &event(Kind::LogoutPhone, json!({}))), None);
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
    let info = json!({ "nick": "R", "members": ["a", "b", "c"] });
    let members = |ids: &[&str]| {
        let members: Vec<Value> = ids.iter().map(|id| json!({ "wxid": id, "nick": "n" })).collect();
        event(Kind::RoomMembers, json!({ "room": "1@chatroom", "members": members, "info": info }))
    };
    let rooms = |ids: &[&str]| {
        let rooms: Vec<Value> = ids.iter().map(|id| json!({ "wxid": id, "members": ["a"] })).collect();
        event(Kind::Rooms, json!({ "rooms": rooms }))
    };
    for pieces in
        [[contacts(&["a"]), contacts(&["b"])], [members(&["a"]), members(&["b"])], [rooms(&["a"]), rooms(&["b"])]]
    {
        let mut gathered = None;
        pieces.into_iter().for_each(|piece| gather(&mut gathered, piece));
        let gathered = gathered.unwrap();
        assert_eq!(listed(&gathered).collect::<Vec<_>>(), ["a", "b"], "{gathered:?}");
        let counted = (gathered.kind == Kind::RoomMembers).then_some(3);
        assert_eq!(members_counted(&gathered), counted);
    }
    assert_eq!(members_counted(&event(Kind::RoomMembers, json!({ "room": "1@chatroom", "members": [] }))), None);
}
