//! Contract 7: what is known of an event beside what it says itself: `from_name`, `mentioned`, `command`.

use crate::fixture::{Daemon, eventually, message};
use serde_json::{Value, json};

/// A daemon whose account `wxid_me` is called 我, and 小我 in the room `1@chatroom`.
fn known() -> Daemon {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    let me = json!({"type": 71, "processid": 7, "cwxid": "wxid_me", "wxid": "wxid_me", "nick": "我", "username": "me"});
    let friends = json!([
        {"wxid": "wxid_a", "nick": "Anna", "asName": "安娜"}, {"wxid": "wxid_b", "nick": "Bob"},
    ]);
    let friends = json!({"type": 210, "processid": 7, "cwxid": "wxid_me", "userLists": friends});
    let members = json!([{"wxid": "wxid_me", "nick": "小我"}, {"wxid": "wxid_a", "nick": "A."}, {"wxid": "wxid_b"}]);
    let members = json!({
        "type": 77, "processid": 7, "cwxid": "wxid_me", "wxid": "1@chatroom", "info": "", "userLists": members,
    });
    for event in [me, friends, members] {
        daemon.client().event(&event.to_string());
    }
    daemon
}

fn last(daemon: &Daemon) -> Value {
    daemon.cli(&["events", "-n", "1"]).exits(0).lines().remove(0)
}

#[test]
fn the_speaker_is_called_as_the_room_does_else_as_the_account_does() {
    let daemon = known();
    for (chat, from, name) in [
        ("1@chatroom", Some("wxid_a"), json!("A.")),
        ("wxid_a", None, json!("安娜")),
        ("1@chatroom", Some("wxid_b"), json!("Bob")),
        ("1@chatroom", Some("wxid_me"), json!("小我")),
        ("1@chatroom", Some("wxid_stranger"), Value::Null),
        ("1@chatroom", None, Value::Null),
    ] {
        daemon.client().event(&message("wxid_me", chat, from, "hi"));
        eventually(&format!("{from:?} in {chat} to be {name}"), || (last(&daemon)["from_name"] == name).then_some(()));
    }
}

#[test]
fn a_message_means_the_account_when_it_calls_it_and_only_those_pass_the_filter() {
    let daemon = known();
    for (chat, text, means) in [
        ("1@chatroom", "@小我\u{2005}在吗", json!(true)),
        ("1@chatroom", "@我 在吗", json!(true)),
        ("1@chatroom", "@小我们 在吗", json!(false)),
        ("1@chatroom", "@所有人 开会", json!(true)),
        ("2@chatroom", "@我", json!(true)),
        ("1@chatroom", "hello", json!(false)),
    ] {
        daemon.client().event(&message("wxid_me", chat, Some("wxid_a"), text));
        eventually(text, || (last(&daemon)["mentioned"] == means).then_some(()));
    }
    daemon.client().event(&message("wxid_me", "wxid_a", None, "private"));
    assert_eq!(last(&daemon)["mentioned"], true);
    daemon.client().event(&message("wxid_other", "1@chatroom", Some("wxid_a"), "@x"));
    assert_eq!(last(&daemon)["mentioned"], Value::Null, "nobody knows what that account is called");
    let passed = daemon.cli(&["events", "-n", "all", "--mentioned"]).exits(0).lines();
    let texts: Vec<_> = passed.iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["@小我\u{2005}在吗", "@我 在吗", "@所有人 开会", "@我", "private"]);
    let run = "echo \"$WEHELP_FROM_NAME $WEHELP_MENTIONED\"";
    let told = daemon.cli(&["events", "-n", "all", "--mentioned", "--chat", "wxid_a", "--exec", "sh", "-c", run]);
    assert_eq!(told.exits(0).out.trim(), "安娜 true");
}

#[test]
fn the_echo_of_a_command_names_it_and_what_a_person_typed_names_none() {
    let mut daemon = known();
    let id = daemon.queue(&["send", "text", "wxid_a", "from a script", "--no-wait"]);
    eventually("the command", || daemon.client().poll("wxid=wxid_me&pid=7").into_iter().next());
    let own = |text: &str| {
        let mut event: Value = serde_json::from_str(&message("wxid_me", "wxid_a", None, text)).unwrap();
        event["myMsg"] = "1".into();
        event.to_string()
    };
    daemon.client().event(&own("from a script"));
    // The very next line already has it: it waits for the learner.
    assert_eq!(last(&daemon)["command"], json!(id));
    daemon.client().event(&own("typed by hand"));
    assert_eq!(last(&daemon)["command"], Value::Null);
    daemon.restart();
    let lines = daemon.cli(&["events", "-n", "2"]).exits(0).lines();
    assert_eq!((&lines[0]["command"], &lines[1]["command"]), (&json!(id), &Value::Null));
}

#[test]
fn the_echo_of_a_picture_a_file_or_a_link_names_its_command_once() {
    let daemon = known();
    let picture = daemon.queue(&["send", "image", "wxid_a", r"C:\cat.png"]);
    let file = daemon.queue(&["send", "file", "wxid_a", r"D:\reports\november.pdf"]);
    let link = daemon.queue(&["send", "link", "wxid_a", "--title", "The news", "--url", "https://example.org"]);
    assert_eq!(daemon.client().poll("wxid=wxid_me&pid=7").len(), 3);
    daemon.reaches(link, "fetched");
    let app = |kind: u8, title: &str| {
        (
            "49",
            format!(
                "<msg><appmsg><title>{title}</title><type>{kind}</type><url>https://example.org</url></appmsg></msg>"
            ),
        )
    };
    let cat = ("3", "<msg><img length=\"9\"/></msg>".to_owned());
    for (chat, (msg_type, body), command) in [
        ("wxid_b", cat.clone(), Value::Null),
        ("wxid_a", app(6, "december.pdf"), Value::Null),
        ("wxid_a", app(5, "Other news"), Value::Null),
        // A file is told of as it begins, and when it is done.
        ("wxid_a", app(74, "november.pdf"), json!(file)),
        ("wxid_a", app(6, "november.pdf"), json!(file)),
        ("wxid_a", app(6, "november.pdf"), Value::Null),
        ("wxid_a", app(5, "The news"), json!(link)),
        ("wxid_a", cat.clone(), json!(picture)),
        ("wxid_a", cat, Value::Null),
    ] {
        let mut event: Value = serde_json::from_str(&message("wxid_me", chat, None, &body)).unwrap();
        (event["msgType"], event["myMsg"]) = (msg_type.into(), "1".into());
        // Not the very bytes of the one before.
        event["time"] = daemon.status()["events"]["last"].clone();
        daemon.client().event(&event.to_string());
        assert_eq!(last(&daemon)["command"], command, "{msg_type} {body}");
    }
    // It is told who sent them, and no more: whether WeChat took them nobody knows.
    assert_eq!(daemon.show(picture)["state"], "fetched");
}

#[test]
fn a_callback_that_comes_again_says_which_it_repeats_also_over_a_restart() {
    let mut daemon = known();
    let body = message("wxid_me", "wxid_a", None, "once more");
    let first = daemon.reported(&body)["seq"].clone();
    daemon.client().event(&message("wxid_me", "wxid_a", None, "something else"));
    assert_eq!(last(&daemon)["repeat_of"], Value::Null);
    let second = daemon.reported(&body);
    assert_eq!(second["repeat_of"], first);
    daemon.kill9();
    daemon.start();
    assert_eq!(daemon.reported(&body)["repeat_of"], second["seq"]);
    let spaced = body.replacen('{', "{ ", 1);
    assert_eq!(daemon.reported(&spaced)["repeat_of"], Value::Null, "not the very same bytes");
}

#[test]
fn a_pat_is_told_with_names() {
    let daemon = known();
    let pat = "1@chatroom:\n<sysmsg type=\"pat\"><pat><fromusername>wxid_b</fromusername><pattedusername>wxid_me</pattedusername><template><![CDATA[\"${wxid_b}\" 拍了拍我的头]]></template></pat></sysmsg>";
    let event = json!({
        "type": 78, "msgType": "10002", "processid": 7, "cwxid": "wxid_me", "wxid": "1@chatroom", "nick": "g", "message": pat,
    });
    daemon.client().event(&event.to_string());
    assert_eq!(last(&daemon)["kind"], "message.pat");
    eventually("the name", || (last(&daemon)["text"] == "\"Bob\" 拍了拍我的头").then_some(()));
}
