//! Contract 5, Names: whom `@NAME` means, and what the directory unlearns.

use crate::fixture::{Daemon, eventually, message};
use serde_json::{Value, json};

/// A daemon that knows one account.
fn known() -> Daemon {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    daemon
}

fn report(daemon: &Daemon, event: &Value) {
    daemon.client().event(&event.to_string());
}

fn friends(ids: &[&str]) -> Value {
    let lists: Vec<Value> = ids.iter().map(|id| json!({"wxid": id, "nick": format!("n-{id}")})).collect();
    json!({"type": 210, "processid": 7, "cwxid": "wxid_me", "userLists": lists})
}

fn rooms(ids: &[&str]) -> Value {
    let lists: Vec<Value> =
        ids.iter().map(|id| json!({"wxid": id, "nick": format!("n-{id}"), "exist": true})).collect();
    json!({"type": 211, "processid": 7, "cwxid": "wxid_me", "chatrooms": lists})
}

fn members(ids: &[&str]) -> Value {
    let lists: Vec<Value> = ids.iter().map(|id| json!({"wxid": id, "nick": format!("n-{id}")})).collect();
    json!({"type": 77, "processid": 7, "cwxid": "wxid_me", "wxid": "1@chatroom", "info": "", "userLists": lists})
}

/// Asks, fetches the question as a client, and reports these events.
fn answered(daemon: &Daemon, args: &[&str], events: &[Value]) {
    let id = daemon.queue(&[args, &["--no-wait"]].concat());
    eventually("the question", || daemon.client().poll("wxid=wxid_me&pid=7").into_iter().next());
    events.iter().for_each(|event| report(daemon, event));
    daemon.reaches(id, "answered");
}

/// The ids in a cached list.
fn cached(daemon: &Daemon, args: &[&str]) -> Vec<String> {
    let lines = daemon.cli(args).exits(0).lines();
    lines.iter().map(|line| line["wxid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_whole_list_of_friends_unlearns_who_is_missing_and_no_other_list_does() {
    let daemon = known();
    report(&daemon, &friends(&["wxid_a", "wxid_b", "wxid_c"]));
    report(&daemon, &friends(&["wxid_a"]));
    answered(&daemon, &["friend", "info", "wxid_b"], &[friends(&["wxid_b"])]);
    let list = || cached(&daemon, &["friend", "list", "--cached"]);
    assert_eq!(list(), ["wxid_a", "wxid_b", "wxid_c"]);
    answered(&daemon, &["friend", "list"], &[friends(&["wxid_a"]), friends(&["wxid_c"])]);
    assert_eq!(list(), ["wxid_a", "wxid_c"]);
}

#[test]
fn who_was_deleted_is_no_friend_once_the_command_was_fetched() {
    let mut daemon = known();
    report(&daemon, &friends(&["wxid_a", "wxid_b"]));
    let id = daemon.queue(&["friend", "delete", "wxid_b"]);
    let list = |daemon: &Daemon| cached(daemon, &["friend", "list", "--cached"]);
    assert_eq!(list(&daemon), ["wxid_a", "wxid_b"]);
    daemon.client().poll("wxid=wxid_me&pid=7");
    daemon.reaches(id, "fetched");
    assert_eq!(list(&daemon), ["wxid_a"]);
    daemon.restart();
    assert_eq!(list(&daemon), ["wxid_a"]);
}

#[test]
fn a_whole_list_of_rooms_or_members_unlearns_what_is_missing() {
    let daemon = known();
    report(&daemon, &rooms(&["1@chatroom", "2@chatroom", "3@im.chatroom"]));
    report(&daemon, &members(&["wxid_a", "wxid_b"]));
    report(&daemon, &rooms(&["1@chatroom"]));
    report(&daemon, &members(&["wxid_a"]));
    let of_room = || cached(&daemon, &["room", "members", "1@chatroom", "--cached"]);
    let list = || cached(&daemon, &["room", "list", "--cached"]);
    assert_eq!((of_room().len(), list().len()), (2, 3));
    answered(&daemon, &["room", "members", "1@chatroom"], &[members(&["wxid_b"])]);
    assert_eq!(of_room(), ["wxid_b"]);
    answered(&daemon, &["room", "list"], &[rooms(&["1@chatroom", "3@im.chatroom"])]);
    assert_eq!(list(), ["1@chatroom", "3@im.chatroom"]);
    daemon.client().event(
        &message("wxid_me", "1@chatroom", None, "你被\"安娜\"移出群聊")
            .replace("\"msgType\":\"1\"", "\"msgType\":\"10000\""),
    );
    assert_eq!(list(), ["3@im.chatroom"]);
    daemon.cli(&["send", "text", "@n-1@chatroom", "x"]).exits(4);
}
