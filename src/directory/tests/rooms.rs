//! Rooms, and who is in them.

use super::*;

#[test]
fn rooms_and_their_members_are_known_from_both_lists() {
    let mut map = Fake::default();
    map.hears(&json!({"type": 211, "cwxid": "me", "chatrooms": [{"wxid": "1@chatroom", "nick": "Gruppe", "count": 3,
        "roomLord": true, "headPic": "http://wx.qlogo.cn/g/0", "userLists": "^Gme^Gwxid_a^Gwxid_b^G"}, {"wxid": "wxid_no_room"}]}));
    let room = map.contact("1@chatroom");
    assert_eq!(
        room,
        json!({"account": "me", "wxid": "1@chatroom", "kind": "room", "nick": "Gruppe", "remark": null,
            "avatar": "http://wx.qlogo.cn/g/0", "count": 3, "owner": true, "owner_wxid": "me", "members_known": 3,
            "seq": 1, "updated": "1970-01-01T00:00:01.000Z"})
    );
    let of = |map: &Fake| -> Vec<(String, Option<String>)> {
        map.members("1@chatroom").into_iter().map(|member| (member.contact.wxid, member.contact.nick)).collect()
    };
    let named = |wxid: &str, nick: Option<&str>| (wxid.to_owned(), nick.map(str::to_owned));
    assert_eq!(of(&map), [named("me", None), named("wxid_a", None), named("wxid_b", None)]);
    let list =
        json!([{"wxid": "wxid_a", "nick": "Anna"}, {"wxid": "wxid_b", "nick": "Bea"}, {"wxid": "me", "nick": "Ich"}]);
    assert!(map.hears(&members("1@chatroom", &list)).changed);
    assert!(!map.hears(&members("1@chatroom", &list)).changed);
    assert_eq!(of(&map), [named("me", Some("Ich")), named("wxid_a", Some("Anna")), named("wxid_b", Some("Bea"))]);
    // A part of the members is told, unless the list answers its question.
    let part = members("1@chatroom", &json!([{"wxid": "wxid_b"}, {"wxid": "me"}]));
    assert!(!map.hears(&part).changed);
    assert_eq!((of(&map).len(), map.contact("1@chatroom")["count"].clone()), (3, json!(3)));
    map.ends(Lesson::Members, 0, &[&part]);
    assert_eq!(of(&map), [named("wxid_b", Some("Bea")), named("me", Some("Ich"))]);
    assert_eq!((map.contact("1@chatroom")["count"].clone()), json!(2));
    // An empty list is no list.
    assert!(!map.hears(&members("1@chatroom", &json!([]))).changed);
    let line = serde_json::to_value(&map.members("1@chatroom")[0]).unwrap();
    assert_eq!((&line["room"], &line["wxid"], &line["nick"]), (&json!("1@chatroom"), &json!("wxid_b"), &json!("Bea")));
    assert_eq!(map.members("2@chatroom"), []);
}

#[test]
fn a_nick_in_a_room_is_not_the_nick_of_a_friend() {
    let mut map = Fake::default();
    map.hears(&friends(&json!([{"wxid": "wxid_a", "nick": "Anna"}])));
    map.hears(&members("1@chatroom", &json!([{"wxid": "wxid_a", "nick": "Boss"}, {"wxid": "wxid_b", "nick": "Bea"}])));
    assert!(map.named("Boss").is_empty());
    assert_eq!(map.named("Anna"), ["wxid_a"]);
    let nicks: Vec<_> = map.members("1@chatroom").into_iter().filter_map(|member| member.contact.nick).collect();
    assert_eq!(nicks, ["Boss", "Bea"]);
    let in_room = ResolveQuery { name: "boss".into(), room: Some("1@chatroom".into()), ..ResolveQuery::default() };
    assert_eq!(map.resolve(&in_room), ["wxid_a"]);
    // As version 1 stored them.
    let key = crate::directory::map::key("me", "1@chatroom");
    map.put(crate::directory::map::ROSTERS, &key, crate::directory::map::encode(&["wxid_a", "wxid_b"]));
    assert_eq!(map.members("1@chatroom").len(), 2);
}

#[test]
fn a_part_of_the_members_does_not_tell_how_many_there_are() {
    let rooms = |count: u64| json!({"type": 211, "cwxid": "me", "chatrooms": [{"wxid": "1@chatroom", "count": count}]});
    let told = |ids: &[&str]| members("1@chatroom", &ids.iter().map(|id| json!({"wxid": id})).collect());
    let mut map = Fake::default();
    map.hears(&told(&["wxid_a", "wxid_b"]));
    let known = |map: &Fake| {
        let Ok(room) = crate::directory::map::get::<record::RoomRow, _>(map, "me", "1@chatroom");
        room.map(|room| (room.count, room.or_more)).unwrap()
    };
    assert_eq!(known(&map), (Some(2), true));
    map.hears(&rooms(3));
    assert_eq!(known(&map), (Some(3), false));
    map.hears(&told(&["wxid_a", "wxid_b"]));
    assert_eq!(known(&map), (Some(3), false));
    map.hears(&told(&["wxid_a", "wxid_b", "wxid_c", "wxid_d"]));
    assert_eq!(known(&map), (Some(4), true), "they have become more");
    map.ends(Lesson::Members, map.last, &[&told(&["wxid_a", "wxid_b"]), &told(&["wxid_c"])]);
    assert_eq!(known(&map), (Some(3), false));
}

#[test]
fn members_are_those_that_some_account_knows() {
    let mut map = Fake::default();
    map.hears(&members("1@chatroom", &json!([{"wxid": "wxid_a", "nick": "Anna"}])));
    map.hears(&json!({"type": 78, "msgType": "1", "cwxid": "you", "wxid": "1@chatroom", "formWxid": "wxid_a", "message": "x"}));
    assert_eq!(map.members("1@chatroom").len(), 1);
    let of_you = DirectoryQuery { account: Some("you".into()), ..DirectoryQuery::default() };
    let Ok(none) = query::members(&map, "1@chatroom", &of_you);
    assert_eq!(none, []);
}

#[test]
fn a_room_of_any_size_keeps_a_bounded_list() {
    let mut map = Fake::default();
    let list: Value = (0..5000).map(|n| json!({"wxid": format!("wxid_{n}")})).collect();
    map.hears(&members("1@chatroom", &list));
    assert_eq!(map.members("1@chatroom").len(), 2000);
    assert_eq!(map.writes, 1 + 2000 + 2);
}

#[test]
fn a_new_room_is_known_at_once() {
    let mut map = Fake::default();
    map.hears(&json!({"type": 69, "cwxid": "me", "xml": "", "chatroom": "2@chatroom"}));
    let Ok(rooms) = query::rooms(&map, &DirectoryQuery::default());
    assert_eq!(rooms.iter().map(|room| room.wxid.as_str()).collect::<Vec<_>>(), ["2@chatroom"]);
}

#[test]
fn who_owns_a_room_is_told_by_flag_or_by_id() {
    let owned = |own| Room { owner: Some(own), ..Room::default() };
    let mut room = record::RoomRow { account: "me".into(), ..record::RoomRow::default() };
    room.take_info(&RoomInfo { owner: Some("wxid_a".into()), ..RoomInfo::default() });
    assert_eq!((room.owner, room.owner_wxid.as_deref()), (Some(false), Some("wxid_a")));
    room.take(&owned(false));
    assert_eq!(room.owner_wxid.as_deref(), Some("wxid_a"));
    room.take(&owned(true));
    assert_eq!((room.owner, room.owner_wxid.as_deref()), (Some(true), Some("me")));
    room.take(&owned(false));
    assert_eq!((room.owner, room.owner_wxid.as_deref()), (Some(false), None));
}
