//! Contract 5, Names: whom `@NAME` means, and what the directory unlearns.

use crate::fixture::{Daemon, Recipe, eventually, known, message};
use serde_json::{Value, json};

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
    answered(&daemon, &["friend", "list"], &[friends(&["wxid_a"])]);
    assert_eq!(list(), ["wxid_a", "wxid_b", "wxid_c"], "another piece may come");
    report(&daemon, &friends(&["wxid_c"]));
    eventually("the end of the list", || (list() == ["wxid_a", "wxid_c"]).then_some(()));
    daemon.cli(&["send", "text", "@n-wxid_b", "x"]).exits(4);
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
fn who_merely_writes_is_no_friend() {
    let daemon = known();
    let said = |who: &str| {
        report(
            &daemon,
            &json!({"type": 78, "msgType": "1", "cwxid": "wxid_me", "wxid": who, "nick": format!("n-{who}"), "message": "hi"}),
        );
    };
    let to = |name: &str| daemon.cli(&["send", "text", name, "x", "--dry-run"]);
    said("wxid_s");
    to("@n-wxid_s").exits(4).says(&["wehelp friend list", "@@NAME"]);
    assert_eq!(to("@@n-wxid_s").exits(0).line()["wxid"], "wxid_s");
    report(&daemon, &friends(&["wxid_b"]));
    said("wxid_b");
    assert_eq!(to("@n-wxid_b").exits(0).line()["wxid"], "wxid_b");
    let id = daemon.queue(&["friend", "delete", "wxid_b"]);
    daemon.client().poll("wxid=wxid_me&pid=7");
    daemon.reaches(id, "fetched");
    said("wxid_b");
    to("@n-wxid_b").exits(4);
    // A room that is spoken in is ours.
    said("1@chatroom");
    assert_eq!(to("@n-1@chatroom").exits(0).line()["wxid"], "1@chatroom");
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
    eventually("the end of the members", || (of_room() == ["wxid_b"]).then_some(()));
    answered(&daemon, &["room", "list"], &[rooms(&["1@chatroom"])]);
    assert_eq!(list().len(), 3, "another piece may come");
    report(&daemon, &rooms(&["3@im.chatroom"]));
    eventually("the end of the list", || (list() == ["1@chatroom", "3@im.chatroom"]).then_some(()));
    daemon.client().event(
        &message("wxid_me", "1@chatroom", None, "你被\"安娜\"移出群聊")
            .replace("\"msgType\":\"1\"", "\"msgType\":\"10000\""),
    );
    assert_eq!(list(), ["3@im.chatroom"]);
    daemon.cli(&["send", "text", "@n-1@chatroom", "x"]).exits(4);
}

#[test]
fn a_list_whose_pieces_may_be_lost_unlearns_nobody() {
    let mut daemon = known();
    report(&daemon, &friends(&["wxid_a", "wxid_b"]));
    answered(&daemon, &["friend", "list"], &[friends(&["wxid_a"])]);
    daemon.kill9();
    daemon.start();
    report(&daemon, &friends(&["wxid_c"]));
    // Another list that is asked for, and over, proves that nothing of the first is left to be done.
    let list = || cached(&daemon, &["friend", "list", "--cached"]);
    assert_eq!(list(), ["wxid_a", "wxid_b", "wxid_c"]);
    answered(&daemon, &["room", "list"], &[rooms(&["1@chatroom"])]);
    daemon.cli(&["room", "list", "--cached"]).exits(0);
    assert_eq!(list(), ["wxid_a", "wxid_b", "wxid_c"]);
}

#[test]
fn a_room_is_no_person() {
    let daemon = known();
    report(
        &daemon,
        &json!({"type": 211, "cwxid": "wxid_me", "chatrooms": [{"wxid": "1@chatroom", "nick": "Fam", "exist": true}]}),
    );
    let all = |to: &'static str| {
        [
            vec!["friend", "add", to],
            vec!["friend", "delete", to],
            vec!["friend", "get", to],
            vec!["friend", "lookup", to],
            vec!["friend", "info", "wxid_a", to],
            vec!["room", "invite", "2@chatroom", to],
            vec!["room", "kick", "2@chatroom", to],
            vec!["room", "stranger", "2@chatroom", to],
        ]
    };
    for args in all("1@chatroom").into_iter().chain(all("1@im.chatroom")) {
        daemon.cli(&[&args[..], &["--dry-run"]].concat()).exits(2).says(&["WXID", "is a room", "a person is due"]);
    }
    for args in all("@Fam") {
        daemon.cli(&[&args[..], &["--dry-run"]].concat()).exits(4);
    }
    let raw = daemon.cli(&["raw", r#"{"api":"delUser","code":17,"wxid":"1@chatroom"}"#]).exits(2);
    raw.says(&["`wxid`", "a person is due"]);
    // A friend of the same name is meant alone.
    report(&daemon, &json!({"type": 210, "cwxid": "wxid_me", "userLists": [{"wxid": "wxid_fam", "nick": "Fam"}]}));
    for args in all("@Fam") {
        let wire = daemon.cli(&[&args[..], &["--dry-run"]].concat()).exits(0).line();
        assert!(wire.to_string().contains("wxid_fam"), "{wire}");
    }
    daemon.cli(&["send", "text", "@Fam", "x", "--dry-run"]).exits(5);
}

#[test]
fn the_first_rank_in_which_a_name_means_anybody_decides() {
    let daemon = known();
    let list = json!([
        {"wxid": "filehelper", "nick": "文件传输助手"},
        {"wxid": "wxid_fake", "nick": "filehelper"},
        {"wxid": "wxid_nfd", "nick": "Jose\u{301}"},
        {"wxid": "wxid_blank", "nick": "李\u{3000}\u{200b}雷"},
        {"wxid": "wxid_span", "nick": "<span class=\"emoji emoji1f338\"></span>小Y"},
        {"wxid": "wxid_amp", "nick": "清华&amp;黑马"},
    ]);
    report(&daemon, &json!({"type": 210, "cwxid": "wxid_me", "userLists": list}));
    report(&daemon, &members(&["wxid_stranger", "wxid_blank"]));
    let to = |name: &str| {
        let sent = daemon.cli(&["send", "text", name, "x", "--dry-run"]).exits(0).line();
        sent["wxid"].as_str().unwrap().to_owned()
    };
    for (name, wxid) in [
        ("@filehelper", "filehelper"),
        ("＠filehelper", "filehelper"),
        ("@josé", "wxid_nfd"),
        ("@李 雷", "wxid_blank"),
        ("@🌸小y", "wxid_span"),
        ("@清华&黑马", "wxid_amp"),
        ("@@n-wxid_stranger", "wxid_stranger"),
        ("123＠chatroom", "123@chatroom"),
    ] {
        assert_eq!(to(name), wxid, "{name}");
    }
    daemon.cli(&["send", "text", "@n-wxid_stranger", "x"]).exits(4).says(&["@@NAME"]);
    let kick = ["room", "kick", "1@chatroom", "@n-wxid_stranger", "--dry-run"];
    assert_eq!(daemon.cli(&kick).exits(0).line()["wxid"], "wxid_stranger");
    assert_eq!(cached(&daemon, &["contact", "list", "--name", "JOSÉ"]), ["wxid_nfd"]);
}

#[test]
fn what_is_no_id_is_refused_by_the_command_line_and_by_the_control_door() {
    let daemon = known();
    report(&daemon, &json!({"type": 210, "cwxid": "wxid_me", "userLists": [{"wxid": "wxid_w", "nick": "小王"}]}));
    report(&daemon, &json!({"type": 211, "cwxid": "wxid_me", "chatrooms": [{"wxid": "9@chatroom", "nick": "外部群"}]}));
    let says = |args: &[&str], words: &[&str]| daemon.cli(args).exits(2).says(words);
    says(&["send", "text", "小王", "x"], &["WXID", "did you mean `@小王`"]);
    says(&["send", "text", "小李", "x"], &["WXID"]);
    says(&["send", "text", "1@chatrom", "x"], &["WXID", "`1@chatroom`"]);
    says(&["room", "members", "外部群"], &["ROOM", "did you mean `@外部群`"]);
    says(&["room", "members", "123"], &["ROOM", "`123@chatroom`"]);
    says(&["room", "nick", "wxid_w", "x"], &["ROOM"]);
    says(&["raw", r#"{"api":"sendTextMessage","wxid":"小王","text":"x"}"#], &["wxid"]);
    let post = |command: &Value| {
        let body = json!({"commands": [command]}).to_string();
        let response = daemon.control("POST", "/v1/commands", body.as_bytes());
        (response.status, String::from_utf8(response.body).unwrap())
    };
    for (command, word) in [
        (json!({"api": "sendTextMessage", "wxid": "小王", "text": "x"}), "@小王"),
        (json!({"api": "sendTextMessage", "wxid": "a b", "text": "x"}), "wxid"),
        (json!({"api": "sendTextMessage", "wxid": "filehelper", "text": ""}), "text"),
        (json!({"api": "getChatRoomUserLists", "wxid": "wxid_w"}), "wxid"),
        (json!({"api": "sendPicMessage", "wxid": "filehelper", "imgPath": "/tmp/x.png"}), "imgPath"),
    ] {
        let (status, told) = post(&command);
        assert_eq!(status, 400, "{command}: {told}");
        assert!(told.contains(word), "{command}: {told}");
    }
    for command in [
        json!({"api": "sendTextMessage", "wxid": "1@im.chatroom", "text": "x"}),
        json!({"api": "brandNew", "wxid": "小王", "text": ""}),
    ] {
        assert_eq!(post(&command).0, 200, "{command}");
    }
    let past = json!({"commands": [{"api": "initContact"}], "due": "2020-01-01T00:00:00Z"}).to_string();
    assert_eq!(daemon.control("POST", "/v1/commands", past.as_bytes()).status, 400);
    assert_eq!(daemon.cli(&["queue", "list"]).exits(0).lines().len(), 2);
}

#[test]
fn a_path_of_this_machine_is_refused_unless_it_is_the_pcs_or_the_settings_map_it() {
    let daemon = Daemon::new();
    let send = |path: &str, more: &[&str]| daemon.cli(&[&["send", "image", "filehelper", path][..], more].concat());
    for path in ["/tmp/a.png", "./a.png", "../a.png", "~/a.png"] {
        send(path, &[]).exits(2).says(&["PATH", "--on-client"]);
        send(path, &["--dry-run"]).exits(2);
        assert_eq!(send(path, &["--on-client"]).exits(0).line()["command"]["imgPath"], path);
    }
    let mapping = Recipe::default().config("[files.map]\n\"/srv/wx\" = '\\\\nas\\wx'\n").start();
    let send = |verb: &str, key: &str, more: &[&str]| {
        let args = [&["send", verb, "filehelper", "/srv/wx/a b/图.png"][..], more].concat();
        let line = mapping.cli(&args).exits(0).line();
        let wire = if more.is_empty() { &line["command"] } else { &line };
        assert_eq!(wire[key], r"\\nas\wx\a b\图.png");
    };
    send("image", "imgPath", &[]);
    send("image", "imgPath", &["--dry-run"]);
    send("file", "filePath", &[]);
    // Without a daemon it is wrong usage all the same.
    daemon.cli(&["--socket", "/nowhere/w.sock", "send", "image", "filehelper", "/tmp/a.png"]).exits(2);
}

#[test]
fn a_cached_list_is_about_the_account_that_the_command_would_be_bound_to() {
    let daemon = Recipe::default().config("[accounts.alias]\nyou = \"wxid_you\"\n").start();
    let told = |account: &str, friend: &str, room: &str| {
        daemon.client().event(&json!({"type": 210, "cwxid": account, "userLists": [{"wxid": friend}]}).to_string());
        daemon.client().event(&json!({"type": 211, "cwxid": account, "chatrooms": [{"wxid": room}]}).to_string());
    };
    told("wxid_me", "wxid_a", "1@chatroom");
    let friends = ["friend", "list", "--cached"];
    assert_eq!(cached(&daemon, &friends), ["wxid_a"]);
    told("wxid_you", "wxid_b", "2@chatroom");
    for list in [&friends[..], &["room", "list", "--cached"], &["contact", "list"]] {
        daemon.cli(list).exits(5).says(&["wxid_me", "wxid_you", "--account"]);
        daemon.cli(&[list, &["-a", "nobody"]].concat()).exits(4);
    }
    assert_eq!(cached(&daemon, &["friend", "list", "--cached", "-a", "you"]), ["wxid_b"]);
    assert_eq!(cached(&daemon, &["room", "list", "--cached", "-a", "wxid_me"]), ["1@chatroom"]);
    assert_eq!(cached(&daemon, &["contact", "list", "-a", "you"]), ["wxid_b", "2@chatroom"]);
}

#[test]
fn what_is_wrong_is_found_before_anybody_is_looked_up() {
    let daemon = Recipe::default().lay_out();
    for args in [
        &["send", "text", "@boss", " "][..],
        &["send", "text", "@boss", " ", "--split"],
        &["send", "image", "@boss", ""],
        &["send", "link", "@boss", "--title", "t", "--url", ""],
        &["ask", "@boss", ""],
        &["friend", "info", "@boss", "1@chatroom"],
        &["room", "kick", "@team", "@boss", "1@chatroom"],
        &["room", "invite", "@team", "1@chatroom"],
        &["room", "rename", "@team", ""],
        &["send", "text", "@boss", "x", "--at", "yesterday"],
    ] {
        // There is no daemon that anybody could be asked of.
        daemon.cli(args).exits(2);
    }
    daemon.cli(&["send", "text", "@boss", "x"]).exits(3);
    daemon.cli_with(&["send", "text", "--from", "-"], "@boss\t \n").exits(1).says(&["1 of 1 line failed"]);
}
