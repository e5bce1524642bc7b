//! Whom a name means, and what lists are filtered by.

use super::*;

#[test]
fn a_name_means_everybody_who_has_it_and_nobody_else() {
    let mut map = Fake::default();
    map.hears(&friends(&json!([
        {"wxid": "wxid_a", "nick": "Anna", "asName": "Schwester", "username": "anna1"},
        {"wxid": "wxid_b", "nick": "anna", "asName": "Kollegin"},
        {"wxid": "wxid_c", "nick": "Annabel"},
        {"wxid": "wxid_d", "nick": "老王 "},
    ])));
    map.hears(&json!({"type": 211, "cwxid": "me", "chatrooms": [{"wxid": "1@chatroom", "nick": "ANNA"}]}));
    map.hears(&members("1@chatroom", &json!([{"wxid": "wxid_b"}, {"wxid": "wxid_e", "nick": "Emil"}])));
    for (name, found) in [
        // Blanks around it, and the case of its letters, are nothing.
        ("anna", &["1@chatroom", "wxid_a", "wxid_b"][..]),
        (" SCHWESTER ", &["wxid_a"]),
        ("Anna1", &["wxid_a"]),
        ("老王", &["wxid_d"]),
        ("wxid_c", &["wxid_c"]),
        ("ann", &[]),
        ("", &[]),
    ] {
        assert_eq!(map.named(name), found, "{name}");
    }
    let query = |only: Option<&str>, room: Option<&str>| ResolveQuery {
        name: "anna".into(),
        account: Some("me".into()),
        only: only.map(Into::into),
        room: room.map(Into::into),
        strangers: false,
    };
    assert_eq!(map.resolve(&query(Some("people"), None)), ["wxid_a", "wxid_b"]);
    assert_eq!(map.resolve(&query(Some("rooms"), None)), ["1@chatroom"]);
}

#[test]
fn the_first_rank_in_which_a_name_means_anybody_decides() {
    let mut map = Fake::default();
    map.hears(&friends(&json!([
        {"wxid": "filehelper", "nick": "文件传输助手"},
        {"wxid": "wxid_id", "nick": "Boss"},
        {"wxid": "wxid_fake", "nick": "filehelper"},
        {"wxid": "wxid_nick", "nick": "wxid_id"},
        {"wxid": "wxid_remark", "nick": "Li", "asName": "Boss"},
        {"wxid": "wxid_username", "nick": "Wu", "username": "wu1"},
    ])));
    map.hears(&text("wxid_wrote", "Writer", "hi"));
    let list = json!([{"wxid": "wxid_stranger", "nick": "Boss"}, {"wxid": "wxid_member", "nick": "Writer"},
        {"wxid": "wxid_lone", "nick": "Lone"}, {"wxid": "wxid_username"}]);
    map.hears(&members("1@chatroom", &list));
    let of = |map: &Fake, name: &str, room: Option<&str>, strangers| {
        let room = room.map(Into::into);
        map.resolve(&ResolveQuery { name: name.into(), account: Some("me".into()), only: None, room, strangers })
    };
    for (name, room, strangers, found) in [
        ("filehelper", None, false, &["filehelper"][..]),
        ("medianote", None, false, &["medianote"]),
        ("wxid_id", None, false, &["wxid_id"]),
        ("wxid_lone", None, false, &["wxid_lone"]),
        ("boss", None, false, &["wxid_remark"]),
        ("Li", None, false, &["wxid_remark"]),
        ("wu1", None, false, &["wxid_username"]),
        ("writer", None, false, &[]),
        ("writer", Some("1@chatroom"), false, &["wxid_member"]),
        ("writer", None, true, &["wxid_member", "wxid_wrote"]),
        ("Lone", None, false, &[]),
        ("Lone", Some("1@chatroom"), false, &["wxid_lone"]),
        ("Lone", Some("2@chatroom"), false, &[]),
        ("Lone", None, true, &["wxid_lone"]),
        ("boss", Some("1@chatroom"), true, &["wxid_remark"]),
    ] {
        assert_eq!(of(&map, name, room, strangers), found, "{name} {room:?} {strangers}");
    }
    map.deleted("wxid_remark", 1);
    assert_eq!(of(&map, "boss", None, false), ["wxid_id"]);
    assert_eq!(of(&map, "boss", None, true), ["wxid_id", "wxid_stranger"]);
    map.hears(&text("wxid_remark", "Li", "hi"));
    assert!(of(&map, "Li", None, false).is_empty(), "who was deleted is a stranger, also when he writes once more");
    assert_eq!(of(&map, "Li", None, true), ["wxid_remark"]);
}

#[test]
fn contacts_are_filtered_by_name_kind_friendship_and_number() {
    let mut map = Fake::default();
    map.hears(&friends(
        &json!([{"wxid": "wxid_a", "nick": "Anna"}, {"wxid": "wxid_b", "nick": "Bea", "asName": "Hanna"}]),
    ));
    map.hears(&text("wxid_c", "Annabel", "hi"));
    map.hears(&json!({"type": 211, "cwxid": "me", "chatrooms": [{"wxid": "1@chatroom", "nick": "Susannas"}]}));
    let of = |change: fn(&mut DirectoryQuery)| {
        let mut query = DirectoryQuery::default();
        change(&mut query);
        map.contacts(&query)
    };
    assert_eq!(of(|_| {}), ["wxid_a", "wxid_b", "wxid_c", "1@chatroom"]);
    assert_eq!(of(|q| q.name = Some("ANNA".into())), ["wxid_a", "wxid_b", "wxid_c", "1@chatroom"]);
    assert_eq!(of(|q| q.name = Some("annab".into())), ["wxid_c"]);
    assert_eq!(of(|q| q.name = Some("wxid_b".into())), ["wxid_b"]);
    assert_eq!(of(|q| q.only = Some("people".into())), ["wxid_a", "wxid_b", "wxid_c"]);
    assert_eq!(of(|q| q.only = Some("rooms".into())), ["1@chatroom"]);
    assert_eq!(of(|q| q.friends = true), ["wxid_a", "wxid_b"]);
    assert_eq!(of(|q| q.limit = Some(1)), ["wxid_a"]);
    assert_eq!(of(|q| q.limit = Some(0)), Vec::<String>::new());
    assert_eq!(of(|q| q.account = Some("nobody".into())), Vec::<String>::new());
}
