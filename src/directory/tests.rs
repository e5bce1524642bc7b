//! The directory over a plain map: events in, as the wire has them, answers out.

use super::map::{Map, Pairs, View};
use super::{Ended, Learned, Lesson, Told, learn, query, record};
use crate::clock::Time;
use crate::control::{DirectoryQuery, ResolveQuery};
use crate::key::Space;
use crate::protocol::contact::{Member, Room, RoomInfo};
use crate::protocol::event;
use crate::seq::Seq;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

mod names;
mod requests;
mod rooms;

/// A store in memory that counts what is done to it.
#[derive(Default)]
pub(super) struct Fake {
    pairs: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    writes: usize,
    reads: Cell<usize>,
    last: u64,
    now: Time,
}

impl View for Fake {
    type Error = Infallible;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        self.reads.set(self.reads.get() + 1);
        Ok(self.pairs.get(&(space.byte(), key.to_vec())).cloned())
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, Infallible> {
        self.reads.set(self.reads.get() + 1);
        let range = (space.byte(), from.to_vec())..(space.byte(), to.to_vec());
        Ok(self.pairs.range(range).take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }
}

impl Map for Fake {
    fn put(&mut self, space: Space, key: &[u8], value: Vec<u8>) {
        assert!(key.len() <= 512, "the store's longest key");
        self.writes += 1;
        self.pairs.insert((space.byte(), key.to_vec()), value);
    }

    fn delete(&mut self, space: Space, key: &[u8]) {
        self.writes += 1;
        self.pairs.remove(&(space.byte(), key.to_vec()));
    }
}

impl Fake {
    /// Learns an event, a second after the one before.
    fn hears(&mut self, data: &Value) -> Learned {
        self.last += 1;
        self.now = self.now.after(Duration::from_secs(1));
        let event = event::decode(&data.to_string());
        let (now, seq) = (self.now, Seq(self.last));
        let writes = self.writes;
        let Ok(learned) = learn::learn(self, &event, now, seq);
        assert_eq!(learned.changed, self.writes > writes, "{data}");
        learned
    }

    /// Learns the events, which answered a command that was handed out when `asked` was the newest event, and then what
    /// the command's end teaches.
    fn ends(&mut self, lesson: Lesson, asked: u64, answers: &[&Value]) {
        let mut told = Told::default();
        for data in answers {
            self.hears(data);
            event::Pieces::of(data.to_string()).for_each(|piece| told.hear(lesson, Seq(self.last), &piece));
        }
        let ended = Ended { lesson, account: "me", asked: Seq(asked), told: &told, whom: None, time: self.now };
        let Ok(()) = ended.teach(self);
    }

    fn deleted(&mut self, wxid: &str, asked: u64) {
        let (lesson, time) = (Lesson::Deleted, self.now);
        let Ok(()) = Ended { lesson, account: "me", asked: Seq(asked), told: &Told::default(), whom: Some(wxid), time }
            .teach(self);
    }

    fn accounts(&self) -> Vec<record::Account> {
        let Ok(accounts) = query::accounts(self);
        accounts
    }

    fn account(&self, id: &str) -> record::Account {
        self.accounts().into_iter().find(|account| account.account == id).expect("it was heard of")
    }

    fn contact(&self, id: &str) -> Value {
        let Ok(entry) = query::contact(self, None, id);
        serde_json::to_value(entry).unwrap()
    }

    fn contact_of(&self, account: &str, id: &str) -> Value {
        let Ok(entry) = query::contact(self, Some(account), id);
        serde_json::to_value(entry).unwrap()
    }

    fn contacts(&self, query: &DirectoryQuery) -> Vec<String> {
        let Ok(entries) = query::contacts(self, query);
        entries.iter().map(|entry| entry.wxid().to_owned()).collect()
    }

    fn members(&self, room: &str) -> Vec<Member<record::ContactRow>> {
        let Ok(members) = query::members(self, room, &DirectoryQuery::default());
        members
    }

    fn requests(&self) -> Vec<record::Request> {
        let Ok(requests) = query::requests(self, &DirectoryQuery::default());
        requests
    }

    fn resolve(&self, query: &ResolveQuery) -> Vec<String> {
        let Ok(entries) = query::resolve(self, query);
        entries.iter().map(|entry| entry.wxid().to_owned()).collect()
    }

    fn named(&self, name: &str) -> Vec<String> {
        self.resolve(&ResolveQuery { name: name.into(), ..ResolveQuery::default() })
    }
}

fn login(account: &str, pid: u64) -> Value {
    json!({"type": 67, "code": 200, "processid": pid, "cwxid": account})
}

fn text(chat: &str, nick: &str, text: &str) -> Value {
    json!({"type": 78, "msgType": "1", "cwxid": "me", "wxid": chat, "nick": nick, "message": text})
}

fn friends(list: &Value) -> Value {
    json!({"type": 210, "cwxid": "me", "userLists": list})
}

fn members(room: &str, list: &Value) -> Value {
    json!({"type": 77, "cwxid": "me", "wxid": room, "info": "", "userLists": list})
}

fn asks(wxid: &str, v1: &str) -> Value {
    let xml = format!(
        r#"<msg fromusername="{wxid}" encryptusername="{v1}" ticket="v2_x@stranger" fromnickname="Neu" content="Hallo" alias="neu1" country="CN" sex="2" bigheadimgurl="http://wx.qlogo.cn/n/0"/>"#
    );
    json!({"type": 78, "msgType": "37", "cwxid": "me", "wxid": "fmessage", "nick": "fmessage", "message": xml})
}

#[test]
fn a_login_makes_an_account_and_a_logout_ends_it() {
    let mut map = Fake::default();
    assert_eq!(map.hears(&login("me", 7)), Learned { changed: true, accounts: true, later: false });
    let me = map.account("me");
    assert_eq!((me.pid, me.logged_in, me.nick.as_deref()), (Some(7), Some(true), None));
    assert_eq!(map.hears(&login("me", 7)), Learned::default());
    for (event, logged_in) in [
        (json!({"type": 90, "cwxid": "me", "processid": 7}), false),
        (login("me", 7), true),
        (json!({"type": 98, "cwxid": "me", "processid": 7}), false),
        (json!({"type": 66, "cwxid": "me", "code": 200}), true),
        // Nobody is logged in in this process any more, so there is no id.
        (json!({"type": 66, "cwxid": "null", "code": -1, "processid": 7}), false),
        (login("me", 7), true),
        (json!({"type": 90, "cwxid": "null", "processid": "7"}), false),
    ] {
        assert!(map.hears(&event).accounts, "{event}");
        assert_eq!(map.account("me").logged_in, Some(logged_in), "{event}");
    }
}

#[test]
fn nobody_is_no_account() {
    let mut map = Fake::default();
    for nobody in ["null", "(null)", "None", "", "a b", &"x".repeat(200)] {
        map.hears(&login(nobody, 7));
        map.hears(&json!({"type": 90, "processid": 7, "cwxid": nobody}));
    }
    map.hears(&json!({"code": 401, "message": "http://weixin.qq.com/x/abc"}));
    assert_eq!((map.accounts(), map.writes), (vec![], 0));
}

#[test]
fn a_code_that_is_no_success_logs_nobody_in() {
    let mut map = Fake::default();
    map.hears(&json!({"type": 67, "code": 0, "processid": 7, "cwxid": "me"}));
    assert_eq!(map.account("me").logged_in, None);
}

#[test]
fn a_process_drives_one_account_at_a_time() {
    let mut map = Fake::default();
    map.hears(&login("a", 1));
    map.hears(&login("b", 2));
    map.hears(&login("a", 2));
    assert_eq!((map.account("a").pid, map.account("b").pid), (Some(2), None));
    // The process that a had is free: its end says nothing of a.
    assert!(!map.hears(&json!({"type": 90, "processid": 1, "cwxid": "null"})).changed);
    map.hears(&json!({"type": 90, "processid": 2, "cwxid": "null"}));
    assert_eq!((map.account("a").logged_in, map.account("b").logged_in), (Some(false), Some(false)));
    // b is not where it was, and that is remembered: its login questions go there.
    assert_eq!((map.account("b").pid, map.account("b").home), (None, Some(2)));
    map.hears(&json!({"type": 4711, "processid": 0, "cwxid": "a"}));
    assert_eq!(map.account("a").pid, Some(2));
}

#[test]
fn a_client_that_reports_messages_long_after_a_logout_is_logged_in() {
    let mut map = Fake::default();
    map.hears(&login("me", 7));
    map.hears(&json!({"type": 90, "cwxid": "me"}));
    map.hears(&text("wxid_a", "A", "on its way already"));
    assert_eq!(map.account("me").logged_in, Some(false));
    map.now = map.now.after(Duration::from_secs(60));
    map.hears(&text("wxid_a", "A", "new"));
    assert_eq!(map.account("me").logged_in, Some(true));
}

#[test]
fn a_draft_learns_what_a_transaction_would() {
    let room = |speaker: &str, nick: &str| json!({"type": 78, "msgType": "1", "cwxid": "me", "wxid": "1@chatroom", "formWxid": speaker, "nick": nick, "message": "x"});
    let events = [
        login("me", 7),
        json!({"type": 90, "cwxid": "me", "processid": 7}),
        text("wxid_a", "A", "x"),
        text("wxid_a", "A", "x"),
        text("wxid_a", "Anna", "x"),
        text("wxid_n", "Neu", "x"),
        text("wxid_n", "Neu", "我通过了你的朋友验证请求，现在我们可以开始聊天了"),
        json!({"type": 78, "msgType": "1", "cwxid": "me", "wxid": "wxid_a", "nick": "Ich", "message": "x", "myMsg": "1"}),
        json!({"type": 78, "msgType": "1", "cwxid": "me", "processid": 8, "wxid": "wxid_a", "nick": "A", "message": "x"}),
        json!({"type": 78, "msgType": "1", "cwxid": "other", "wxid": "wxid_a", "nick": "A", "message": "x"}),
        room("wxid_a", "Room"),
        room("wxid_b", "Room"),
        asks("wxid_n", "v1_n@stranger"),
        friends(&json!([{"wxid": "wxid_a", "nick": "A"}, {"wxid": "1@chatroom", "nick": "Raum"}])),
    ];
    for _ in 0..30 {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(dir.path(), crate::store::Options::default()).unwrap();
        let (mut map, mut draft) = (Fake::default(), super::Draft::new(&store));
        for _ in 0..100 {
            map.now = map.now.after(Duration::from_secs(fastrand::u64(..20)));
            let data = fastrand::choice(&events).unwrap();
            let expected = map.hears(data);
            let event = event::decode(&data.to_string());
            let learned = super::learn_into(&mut draft, &event, map.now, Seq(map.last)).unwrap();
            assert_eq!((learned.changed, learned.accounts), (expected.changed, expected.accounts), "{data}");
        }
        for ((space, key), value) in &map.pairs {
            assert_eq!(
                draft.get(Space::of(*space), key).unwrap().as_ref(),
                Some(value),
                "{}",
                String::from_utf8_lossy(key)
            );
        }
        let (from, to) = (&[][..], &[0xff][..]);
        let spaces = map.pairs.keys().map(|(space, _)| *space).collect::<std::collections::BTreeSet<_>>();
        let drafted = spaces.into_iter().map(|space| draft.scan(Space::of(space), from, to, usize::MAX).unwrap().len());
        assert_eq!(drafted.sum::<usize>(), map.pairs.len());
    }
}

#[test]
fn invented_accounts_end_somewhere() {
    let mut map = Fake::default();
    for n in 0..1001 {
        map.hears(&json!({"type": 4711, "cwxid": format!("wxid_{n}")}));
    }
    assert_eq!(map.accounts().len(), 1000);
    map.hears(&login("wxid_1", 5));
    assert_eq!(map.account("wxid_1").pid, Some(5));
}

#[test]
fn a_profile_is_the_accounts_own_or_a_contacts() {
    let mut map = Fake::default();
    let own = json!({"type": 71, "cwxid": "me", "wxid": "me", "nick": "Ich", "headPic": "http://wx.qlogo.cn/i/0"});
    assert!(map.hears(&own).accounts);
    let me = map.account("me");
    assert_eq!((me.nick.as_deref(), me.avatar.as_deref()), (Some("Ich"), Some("http://wx.qlogo.cn/i/0")));
    assert_eq!(map.contact("me"), Value::Null);
    let other = json!({"type": 71, "cwxid": "me", "wxid": "wxid_a", "nick": "Anna", "asName": "An", "sex": "2",
        "username": "anna1", "province": "上海", "city": "(null)", "regionCode": "CN", "sign": "", "headPic": "http://wx.qlogo.cn/a/0"});
    assert_eq!(map.hears(&other), Learned { changed: true, accounts: false, later: false });
    assert_eq!(
        map.contact("wxid_a"),
        json!({"account": "me", "wxid": "wxid_a", "kind": "person", "nick": "Anna", "remark": "An", "username": "anna1",
            "sex": "female", "province": "上海", "city": null, "region": "CN", "sign": null,
            "avatar": "http://wx.qlogo.cn/a/0", "avatar_small": null, "type": null, "group_id": null, "friend": false,
            "seq": 2, "updated": "1970-01-01T00:00:02.000Z"})
    );
}

#[test]
fn the_newest_fact_wins_and_nothing_wipes_nothing_out() {
    let mut map = Fake::default();
    map.hears(&friends(&json!([{"wxid": "wxid_a", "nick": "Anna", "asName": "Schwester", "type": 3, "city": "Bonn"}])));
    map.hears(&friends(&json!([{"wxid": "wxid_a", "nick": "Anne", "asName": "(null)", "city": ""}])));
    map.hears(&text("wxid_a", "Annette", "hi"));
    let anna = map.contact("wxid_a");
    // A name that is told to be empty is empty; all else that says nothing says nothing.
    assert_eq!((&anna["nick"], &anna["remark"], &anna["city"]), (&json!("Annette"), &Value::Null, &json!("Bonn")));
    assert_eq!((&anna["friend"], &anna["type"], &anna["seq"]), (&json!(true), &json!(3), &json!(3)));
}

fn friend_ids(map: &Fake) -> Vec<String> {
    map.contacts(&DirectoryQuery { friends: true, ..DirectoryQuery::default() })
}

#[test]
fn names_told_to_be_empty_are_empty_and_names_not_told_stay() {
    let told = |wxid: &str, list: &Value| -> (Value, Value) {
        let mut map = Fake::default();
        map.hears(&friends(&json!([{"wxid": wxid, "nick": "N", "asName": "R"}])));
        map.hears(list);
        (map.contact(wxid)["nick"].clone(), map.contact(wxid)["remark"].clone())
    };
    let (n, r, none) = (json!("N"), json!("R"), Value::Null);
    for nothing in [json!(""), json!("(null)"), json!("None"), json!("null"), Value::Null] {
        let list = |key: &str| friends(&json!([{"wxid": "wxid_a", key: nothing}]));
        assert_eq!(told("wxid_a", &list("asName")), (n.clone(), none.clone()), "{nothing}");
        assert_eq!(told("wxid_a", &list("nick")), (none.clone(), r.clone()), "{nothing}");
        let profile = json!({"type": 71, "cwxid": "me", "wxid": "wxid_a", "nick": "N", "asName": nothing});
        assert_eq!(told("wxid_a", &profile), (n.clone(), none.clone()), "{nothing}");
        let room = json!({"type": 211, "cwxid": "me", "chatrooms": [{"wxid": "1@chatroom", "asName": nothing}]});
        assert_eq!(told("1@chatroom", &room), (n.clone(), none.clone()), "{nothing}");
    }
    for silent in [
        friends(&json!([{"wxid": "wxid_a"}])),
        friends(&json!(["wxid_a"])),
        // The nick in one room, and a message whose nick the client does not know.
        members("1@chatroom", &json!([{"wxid": "wxid_a", "nick": ""}])),
        text("wxid_a", "", "hi"),
    ] {
        assert_eq!(told("wxid_a", &silent), (n.clone(), r.clone()), "{silent}");
    }
}

#[test]
fn who_is_missing_from_a_whole_contact_list_is_no_friend() {
    let mut map = Fake::default();
    map.hears(&friends(&json!([
        {"wxid": "wxid_a"}, {"wxid": "wxid_b", "asName": "B", "nick": "Bea"}, {"wxid": "wxid_c"}, {"wxid": "wxid_d"}
    ])));
    map.hears(&json!({"type": 210, "cwxid": "you", "userLists": [{"wxid": "wxid_b"}]}));
    let part = friends(&json!([{"wxid": "wxid_a"}]));
    map.hears(&part);
    assert_eq!(friend_ids(&map), ["wxid_a", "wxid_b", "wxid_c", "wxid_d", "wxid_b"], "a list that nobody asked for");
    // In two pieces; and somebody became a friend after the question.
    let asked = map.last;
    map.hears(&json!({"type": 78, "msgType": "10000", "cwxid": "me", "wxid": "wxid_n", "message": "你已添加了N"}));
    map.ends(Lesson::Friends, asked, &[&part, &friends(&json!([{"wxid": "wxid_c"}]))]);
    assert_eq!(friend_ids(&map), ["wxid_a", "wxid_c", "wxid_n", "wxid_b"]);
    let bea = map.contact_of("me", "wxid_b");
    assert_eq!((&bea["friend"], &bea["remark"], &bea["nick"]), (&json!(false), &Value::Null, &json!("Bea")));
    // A client that is not ready tells of nobody.
    map.ends(Lesson::Friends, map.last, &[&friends(&json!([]))]);
    assert_eq!(friend_ids(&map).len(), 4);
}

#[test]
fn who_was_deleted_is_no_friend_until_they_are_one_again() {
    let mut map = Fake::default();
    map.hears(&friends(&json!([{"wxid": "wxid_a"}, {"wxid": "wxid_b"}])));
    map.deleted("wxid_a", 1);
    assert_eq!(friend_ids(&map), ["wxid_b"]);
    map.hears(&friends(&json!([{"wxid": "wxid_a"}])));
    map.deleted("wxid_a", 1);
    assert_eq!(friend_ids(&map), ["wxid_a", "wxid_b"], "the list came later than the deletion");
}

#[test]
fn an_answer_about_somebody_makes_no_friend() {
    let mut map = Fake::default();
    map.hears(&friends(&json!([{"wxid": "wxid_a", "type": 3}])));
    let answer = friends(
        &json!([{"wxid": "wxid_a", "nick": "A"}, {"wxid": "wxid_b"}, {"wxid": "wxid_c", "type": 2}, {"wxid": "wxid_d", "type": 3}]),
    );
    map.ends(Lesson::People, 1, &[&answer]);
    assert_eq!(friend_ids(&map), ["wxid_a", "wxid_d"]);
    assert_eq!(map.contact("wxid_a")["nick"], "A");
}

#[test]
fn a_room_that_is_missing_or_does_not_exist_is_none_of_ours() {
    let mut map = Fake::default();
    let rooms = |list: &Value| json!({"type": 211, "cwxid": "me", "chatrooms": list});
    let ours = |map: &Fake| {
        let Ok(rooms) = query::rooms(map, &DirectoryQuery::default());
        rooms.into_iter().map(|room| room.wxid).collect::<Vec<_>>()
    };
    let all = json!([{"wxid": "1@chatroom", "nick": "G"}, {"wxid": "2@chatroom"}, {"wxid": "3@im.chatroom"}]);
    map.hears(&rooms(&all));
    assert_eq!(ours(&map), ["1@chatroom", "2@chatroom", "3@im.chatroom"]);
    map.hears(&rooms(&json!([{"wxid": "2@chatroom", "exist": true}])));
    assert_eq!(ours(&map).len(), 3, "a list that nobody asked for");
    map.hears(&rooms(&json!([{"wxid": "2@chatroom", "exist": false}])));
    assert_eq!(ours(&map), ["1@chatroom", "3@im.chatroom"]);
    let asked = map.last;
    map.hears(&json!({"type": 69, "cwxid": "me", "chatroom": "4@chatroom"}));
    map.ends(Lesson::Rooms, asked, &[&rooms(&json!([{"wxid": "3@im.chatroom"}]))]);
    assert_eq!(ours(&map), ["3@im.chatroom", "4@chatroom"]);
    assert_eq!(map.contacts(&DirectoryQuery::default()), ["3@im.chatroom", "4@chatroom"]);
    assert!(map.named("G").is_empty());
    assert_eq!(map.contact("1@chatroom")["left"], true, "it is known, and so is that it is gone");
    // Somebody says something there: the account is in it again.
    map.hears(
        &json!({"type": 78, "msgType": "1", "cwxid": "me", "wxid": "1@chatroom", "formWxid": "wxid_a", "message": "x"}),
    );
    assert_eq!(ours(&map).len(), 3);
}

#[test]
fn a_room_that_the_account_was_put_out_of_is_none_of_ours() {
    for (notice, out) in [
        ("你被\"安娜\"移出群聊", true),
        ("你被“a\"b”移出了群聊", true),
        ("你被\"安娜\"移出群組", true),
        ("你已被移出群聊", true),
        ("You were removed from the group chat by \"Anna\"", true),
        ("\"Anna\" removed you from the group chat", true),
        ("群主\"安娜\"已解散该群聊", true),
        ("该群聊已被解散", true),
        ("你将\"安娜\"移出了群聊", false),
        ("\"安娜\"被\"老王\"移出了群聊", false),
        ("\"你被移出群聊\"加入了群聊", false),
        ("\"x\" removed \"removed you from\" from the group chat", false),
        ("你邀请\"安娜\"加入了群聊", false),
    ] {
        let mut map = Fake::default();
        let message = |kind: &str, text: &str| {
            json!({"type": 78, "msgType": kind, "cwxid": "me", "wxid": "1@chatroom", "nick": "G", "myMsg": "0",
                "formWxid": if kind == "1" { "wxid_a" } else { "" }, "message": text})
        };
        map.hears(&message("1", notice));
        assert_eq!(map.named("G"), ["1@chatroom"], "somebody only says so: {notice}");
        map.hears(&message("10000", notice));
        assert_eq!(map.named("G").is_empty(), out, "{notice}");
        map.hears(&message("1", "hi"));
        assert_eq!(map.named("G"), ["1@chatroom"], "{notice}");
    }
}

#[test]
fn an_ordinary_message_of_a_known_chat_writes_nothing() {
    let mut map = Fake::default();
    let in_room = json!({"type": 78, "msgType": 1, "processid": 7, "cwxid": "me", "wxid": "1@chatroom",
        "formWxid": "wxid_b", "nick": "Gruppe", "message": "hi"});
    for event in [&text("wxid_a", "Anna", "hi"), &in_room] {
        assert!(map.hears(event).changed);
    }
    let (writes, reads) = (map.writes, map.reads.get());
    for event in [&text("wxid_a", "Anna", "again"), &in_room] {
        assert_eq!(map.hears(event), Learned::default());
    }
    assert_eq!(map.writes, writes);
    assert!(map.reads.get() - reads <= 5, "{} reads", map.reads.get() - reads);
    assert_eq!(map.contact("1@chatroom")["nick"], "Gruppe");
    assert_eq!(map.contact("wxid_b")["nick"], Value::Null);
}

#[test]
fn a_message_of_our_own_names_nobody() {
    let mut map = Fake::default();
    let own = json!({"type": 78, "msgType": "1", "myMsg": "1", "cwxid": "me", "wxid": "wxid_a", "nick": "Ich", "message": "hi"});
    map.hears(&own);
    assert_eq!(map.contact("wxid_a")["nick"], Value::Null);
}

#[test]
fn accounts_know_their_people_apart() {
    let mut map = Fake::default();
    map.hears(&json!({"type": 210, "cwxid": "a", "userLists": [{"wxid": "wxid_x", "nick": "Xaver"}]}));
    map.hears(&json!({"type": 210, "cwxid": "b", "userLists": [{"wxid": "wxid_x", "nick": "Xenia"}]}));
    let of = |account: &str| {
        let Ok(entry) = query::contact(&map, Some(account), "wxid_x");
        serde_json::to_value(entry).unwrap()["nick"].clone()
    };
    assert_eq!((of("a"), of("b"), of("c")), (json!("Xaver"), json!("Xenia"), Value::Null));
    assert_eq!(map.contact("wxid_x")["nick"], "Xenia", "who heard last");
    assert_eq!(map.contacts(&DirectoryQuery::default()), ["wxid_x", "wxid_x"]);
    let of_a = DirectoryQuery { account: Some("a".into()), ..DirectoryQuery::default() };
    assert_eq!(map.contacts(&of_a), ["wxid_x"]);
    assert_eq!(map.named("xenia"), ["wxid_x"]);
}

#[test]
fn a_big_contact_list_is_learned_in_one_pass_and_only_what_changed_is_written() {
    let mut map = Fake::default();
    let list = |nick: &str| {
        let people = (0..20_000).map(|n| {
            let nick = if n == 77 { nick } else { "somebody" };
            json!({"wxid": format!("wxid_{n:05}"), "nick": nick, "type": 3, "headPic": "http://wx.qlogo.cn/x/0"})
        });
        friends(&people.collect())
    };
    map.hears(&list("Anna"));
    let (writes, reads) = (map.writes, map.reads.get());
    assert_eq!(writes, 20_001);
    map.hears(&list("Anne"));
    assert_eq!(map.writes, writes + 1);
    assert!(map.reads.get() - reads < 20_010);
    assert_eq!(map.named("anne"), ["wxid_00077"]);
}

#[test]
fn a_contact_list_may_hold_rooms_and_oneself() {
    let mut map = Fake::default();
    let list = json!([{"wxid": "1@chatroom", "nick": "G"}, {"wxid": "me", "nick": "Ich"}, {"wxid": "gh_1"}, {"nick": "?"},
        {"wxid": "v1_x@stranger"}, {"wxid": "a b"}, {"wxid": "filehelper"}, {"wxid": "1@openim"}]);
    map.hears(&friends(&list));
    assert_eq!(map.contacts(&DirectoryQuery::default()), ["1@openim", "filehelper", "gh_1", "me", "1@chatroom"]);
    let kinds: Vec<Value> = ["1@openim", "filehelper", "gh_1", "me", "1@chatroom"]
        .iter()
        .map(|id| map.contact(id)["kind"].clone())
        .collect();
    assert_eq!(kinds, ["company", "system", "public", "person", "room"]);
    assert_eq!(map.contact("me")["friend"], false);
}

#[test]
fn tickets_and_pictures_are_taken_from_packets_about_one_person() {
    let mut map = Fake::default();
    map.hears(&json!({"type": 81, "cwxid": "me", "wxid": "wxid_a", "nick": "Anna", "v2": "v2_a@stranger"}));
    assert_eq!(
        (&map.contact("wxid_a")["nick"], &map.contact("wxid_a")["v2"]),
        (&json!("Anna"), &json!("v2_a@stranger"))
    );
    let hex = |strings: &[&str]| {
        strings.iter().enumerate().fold(String::new(), |mut hex, (n, text)| {
            write!(hex, "{:02X}{:02X}", (n + 1) << 3 | 2, text.len()).unwrap();
            text.bytes().for_each(|byte| write!(hex, "{byte:02X}").unwrap());
            hex
        })
    };
    let packet =
        hex(&["wxid_b", "http://wx.qlogo.cn/b/0", "http://wx.qlogo.cn/b/132", "v1_b@stranger", "v2_b@stranger"]);
    map.hears(&json!({"type": 88, "cwxid": "me", "hex": packet}));
    let bea = map.contact("wxid_b");
    assert_eq!(bea["avatar"], "http://wx.qlogo.cn/b/0");
    assert_eq!(bea["avatar_small"], "http://wx.qlogo.cn/b/132");
    assert_eq!((&bea["v1"], &bea["v2"]), (&json!("v1_b@stranger"), &json!("v2_b@stranger")));
    let two = hex(&["wxid_b", "wxid_c", "http://wx.qlogo.cn/c/0"]);
    assert!(!map.hears(&json!({"type": 88, "cwxid": "me", "hex": two})).changed);
    // A contact whose name is no id, and whose nick reads as one: nobody's ticket.
    let nick = "1A280A110A0F76315F61626340737472616E67657212130A11777869645F76696374696D5F3132333435";
    let told = json!({"type": 88, "cwxid": "me", "hex": nick, "v2": "v2_z@stranger"});
    assert_eq!(crate::protocol::event::decode(&told.to_string()).decoded.json()["wxids"], json!(["wxid_victim_12345"]));
    assert!(!map.hears(&told).changed);
}

#[test]
fn a_small_picture_does_not_displace_the_large_one_of_the_same() {
    let mut map = Fake::default();
    let avatars = |url: &str| json!({"type": 95, "cwxid": "me", "userLists": [{"wxid": "wxid_a", "sheadPic": url}]});
    map.hears(&friends(&json!([{"wxid": "wxid_a", "headPic": "http://wx.qlogo.cn/old/0"}])));
    map.hears(&avatars("http://wx.qlogo.cn/old/132"));
    let urls = |map: &Fake| (map.contact("wxid_a")["avatar"].clone(), map.contact("wxid_a")["avatar_small"].clone());
    assert_eq!(urls(&map), (json!("http://wx.qlogo.cn/old/0"), json!("http://wx.qlogo.cn/old/132")));
    map.hears(&avatars("http://wx.qlogo.cn/new/132"));
    assert_eq!(urls(&map), (json!("http://wx.qlogo.cn/new/132"), json!("http://wx.qlogo.cn/new/132")));
    assert!(!map.hears(&avatars("http://wx.qlogo.cn/new/132")).changed);
    map.hears(&avatars(&format!("http://wx.qlogo.cn/{}/132", "x".repeat(5000))));
    assert_eq!(urls(&map).0, "http://wx.qlogo.cn/new/132");
}

#[test]
fn what_is_kept_is_bounded() {
    let mut map = Fake::default();
    let long = "字".repeat(5000);
    map.hears(&json!({"type": 71, "cwxid": "me", "wxid": "wxid_a", "nick": long, "sign": long, "asName": long,
        "province": long, "city": long, "regionCode": long, "username": long, "headPic": long, "sheadPic": long}));
    let kept: usize = map.pairs.values().map(Vec::len).sum();
    assert!(kept < 16 * 1024, "{kept}");
    assert_eq!(map.contact("wxid_a")["nick"].as_str().unwrap().chars().count(), 256);
    assert_eq!(map.contact("wxid_a")["avatar"], Value::Null);
}

#[test]
fn a_record_of_a_later_version_is_learned_anew() {
    let mut map = Fake::default();
    map.hears(&text("wxid_a", "Anna", "hi"));
    map.pairs.values_mut().for_each(|value| value[0] = 99);
    assert_eq!(map.contact("wxid_a"), Value::Null);
    map.hears(&text("wxid_a", "Anna", "hi"));
    assert_eq!(map.contact("wxid_a")["nick"], "Anna");
}

#[test]
fn whatever_is_read_can_be_learned() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files: Vec<_> = ["spec", "fuzz/callback"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(fixtures.join(folder)).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut map = Fake::default();
    let mut learned = 0;
    for body in files.iter().map(|path| std::fs::read(path).unwrap()) {
        for damage in 0..20 {
            let mut body = body.clone();
            for _ in 0..damage {
                if let Some(byte) = rng.usize(..=body.len()).checked_sub(1).map(|at| &mut body[at]) {
                    *byte = rng.u8(b' '..0x7f);
                }
            }
            let event::Body::Readable(data) = event::read_body(&body) else { continue };
            let Ok(told) = learn::learn(&mut map, &event::decode(&data), Time::from_millis(0), Seq(1));
            learned += usize::from(told.changed);
        }
    }
    assert!(learned > 30, "{learned}");
    for account in map.accounts() {
        let of = DirectoryQuery { account: Some(account.account), ..DirectoryQuery::default() };
        for id in map.contacts(&of) {
            assert!(super::map::is_id(&id), "{id:?}");
            assert_ne!(map.contact(&id), Value::Null);
            drop(map.members(&id));
        }
    }
    drop((map.requests(), map.named("n")));
}
