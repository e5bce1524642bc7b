//! Contract 3, the wire: what each verb puts into the answer to a poll.

use crate::fixture::{Daemon, Run};
use serde_json::Value;

/// Runs a verb without waiting, polls, and gives the answer's bytes.
fn on_the_wire(daemon: &Daemon, args: &[&str]) -> String {
    daemon.cli(args).exits(0);
    let answer = daemon.client().get("/send_msg");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body.is_ascii(), "not ASCII: {}", answer.text());
    answer.text()
}

/// Key order counts (`preserve_order`), white space and the case of `\u` digits do not.
fn assert_same(found: &str, expected: &str) {
    let found_value: Value = serde_json::from_str(found).unwrap_or_else(|e| panic!("no JSON ({e}): {found}"));
    let expected: Value = serde_json::from_str(expected).unwrap();
    assert_eq!(found_value.to_string(), expected.to_string());
}

/// Every row of the contract's table that has a wire form.
const VERBS: &[(&[&str], &str)] = &[
    (&["send", "text", "wxid_a", "hi"], r#"[{"api":"sendTextMessage","code":1,"wxid":"wxid_a","text":"hi"}]"#),
    (
        &["send", "image", "wxid_a", r"C:\pics\a.png"],
        r#"[{"api":"sendPicMessage","code":2,"wxid":"wxid_a","imgPath":"C:\\pics\\a.png"}]"#,
    ),
    (
        &["send", "file", "wxid_a", r"D:\a b\报告.pdf"],
        r#"[{"api":"sendFileMessage","code":25,"wxid":"wxid_a","filePath":"D:\\a b\\报告.pdf"}]"#,
    ),
    (
        &["send", "link", "wxid_a", "--title", "T", "--url", "https://e.org/?a=1&b=2"],
        r#"[{"api":"sendXmlMessage","code":3,"wxid":"wxid_a","title":"T","url":"https://e.org/?a=1&b=2"}]"#,
    ),
    (
        &[
            "send", "link", "wxid_a", "--pic", "http://p", "--desc", "D", "--url", "http://u", "--title", "T",
            "--time", "1",
        ],
        r#"[{"api":"sendXmlMessage","code":3,"wxid":"wxid_a","title":"T","url":"http://u","desc":"D","pic":"http://p","time":1}]"#,
    ),
    (&["friend", "list", "--no-wait"], r#"[{"api":"initContact","code":45}]"#),
    (
        &["friend", "add", "wxid_a", "--message", "您好", "--no-wait"],
        r#"[{"api":"addUserEvent","code":5,"wxid":"wxid_a","message":"您好"}]"#,
    ),
    (&["friend", "add", "wxid_b", "--no-wait"], r#"[{"api":"addUserEvent","code":5,"wxid":"wxid_b"}]"#),
    (&["friend", "delete", "wxid_a", "--no-wait"], r#"[{"api":"delUser","code":17,"wxid":"wxid_a"}]"#),
    (
        &["friend", "info", "wxid_a", "asdad30XXX", "--no-wait"],
        r#"[{"api":"newGetUserLists","code":46,"wxidLists":["wxid_a","asdad30XXX"]}]"#,
    ),
    (&["friend", "get", "wxid_a", "--no-wait"], r#"[{"api":"getUserInfo","code":19,"wxid":"wxid_a"}]"#),
    (&["friend", "lookup", "wxid_a", "--no-wait"], r#"[{"api":"netGetUserInfo","code":30,"wxid":"wxid_a"}]"#),
    (
        &["friend", "accept", "--v1", "v1_x@stranger", "--v2", "v2_y@stranger", "--no-wait"],
        r#"[{"api":"acceptFriend","code":10,"v1":"v1_x@stranger","v2":"v2_y@stranger"}]"#,
    ),
    (&["room", "list", "--no-wait"], r#"[{"api":"getChatRoomLists","code":47}]"#),
    (
        &["room", "members", "1@chatroom", "--no-wait"],
        r#"[{"api":"getChatRoomUserLists","code":6,"wxid":"1@chatroom"}]"#,
    ),
    (
        &["room", "kick", "1@chatroom", "wxid_a", "wxid_b", "--no-wait"],
        r#"[{"api":"delChatRoomUser","code":12,"chatroom":"1@chatroom","wxid":"wxid_a"},{"api":"delChatRoomUser","code":12,"chatroom":"1@chatroom","wxid":"wxid_b"}]"#,
    ),
    (
        &["room", "invite", "1@chatroom", "wxid_a", "wxid_b", "--no-wait"],
        r#"[{"api":"sendChatroom","code":4,"wxid":"wxid_a","chatroom":"1@chatroom"},{"api":"sendChatroom","code":4,"wxid":"wxid_b","chatroom":"1@chatroom"}]"#,
    ),
    (
        &["room", "nick", "1@chatroom", "小强", "--no-wait"],
        r#"[{"api":"updateRoomAsName","code":44,"chatroom":"1@chatroom","name":"小强"}]"#,
    ),
    (
        &["room", "stranger", "1@chatroom", "wxid_a", "--no-wait"],
        r#"[{"api":"getRoomUserV2","code":34,"chatroom":"1@chatroom","wxid":"wxid_a"}]"#,
    ),
    (
        &["room", "rename", "1@chatroom", "new name", "--no-wait"],
        r#"[{"api":"updateChatRoomName","chatroom":"1@chatroom","name":"new name"}]"#,
    ),
    (&["account", "status", "--no-wait"], r#"[{"api":"getLoginStatus","code":20,"info":"wehelp"}]"#),
    (&["account", "qrcode", "--no-wait"], r#"[{"api":"getLoginQrCode","code":36}]"#),
    (&["account", "login", "--no-wait"], r#"[{"api":"getLoginQrCode","code":36}]"#),
    (&["account", "logout", "--no-wait"], r#"[{"api":"outLogin","code":39}]"#),
];

#[test]
fn every_verb_puts_its_json_on_the_wire_in_the_specs_key_order() {
    let daemon = Daemon::unpaced();
    for (args, wire) in VERBS {
        assert_same(&on_the_wire(&daemon, args), wire);
    }
}

#[test]
fn time_is_allowed_on_every_command_and_comes_last() {
    let daemon = Daemon::unpaced();
    for (args, wire) in VERBS.iter().filter(|(args, _)| !args.contains(&"--time")) {
        let wire = wire.replace('}', r#","time":7}"#);
        assert_same(&on_the_wire(&daemon, &[args, &["--time", "7"][..]].concat()), &wire);
    }
}

#[test]
fn a_dry_run_prints_the_wire_json_and_queues_nothing() {
    let daemon = Daemon::unpaced();
    for (args, wire) in VERBS {
        let run = daemon.cli(&[args, &["--dry-run"][..]].concat()).exits(0);
        // One object a line, or one array: both are the wire's JSON.
        let found: Vec<Value> = run
            .lines()
            .into_iter()
            .flat_map(|line| match line {
                Value::Array(items) => items,
                object => vec![object],
            })
            .collect();
        assert_same(&Value::Array(found).to_string(), wire);
    }
    assert!(daemon.client().poll("").is_empty());
    assert!(daemon.cli(&["queue", "list", "--all"]).exits(0).lines().is_empty());
}

#[test]
fn text_is_ascii_on_the_wire_with_surrogate_pairs_for_emoji() {
    let daemon = Daemon::new();
    let body = on_the_wire(&daemon, &["send", "text", "filehelper", "你好 😀 \"q\" \\ / tab\tline\nend\u{7f}"]);
    let lower = body.to_lowercase();
    assert!(lower.contains(r"\u4f60\u597d \ud83d\ude00 "), "{body}");
    let value: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value[0]["text"], "你好 😀 \"q\" \\ / tab\tline\nend\u{7f}");
}

#[test]
fn the_answer_to_a_poll_is_sized_json() {
    let daemon = Daemon::new();
    let empty = daemon.client().get("/send_msg");
    assert_eq!((empty.status, empty.text().as_str()), (200, "[]"));
    daemon.queue_text("one");
    let one = daemon.client().get("/send_msg");
    for answer in [empty, one] {
        assert!(answer.header("content-type").unwrap().starts_with("application/json"), "{answer:?}");
        assert_eq!(answer.header("content-length").unwrap(), answer.body.len().to_string());
    }
}

#[test]
fn more_than_fifty_ids_become_as_many_commands_as_needed() {
    let daemon = Daemon::unpaced();
    let ids: Vec<String> = (0..120).map(|n| format!("wxid_{n:03}")).collect();
    let mut args = vec!["friend", "info", "--no-wait"];
    args.extend(ids.iter().map(String::as_str));
    daemon.cli(&args).exits(0);
    let commands = daemon.client().poll("");
    let asked: Vec<Vec<&str>> = commands
        .iter()
        .map(|c| c["wxidLists"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect())
        .collect();
    assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 20]);
    assert_eq!(asked.concat(), ids);
}

/// The commands as the spec prints them.
const SPEC: &[&str] = &[
    r#"{"api":"sendTextMessage", "code":1, "wxid":"wxid_qg0saisth0r2XXX", "text":"测试", "time":1}"#,
    r#"{"api":"sendPicMessage", "code":2, "wxid":"wxid_asdasdXXX", "imgPath":"图片路径", "time":1}"#,
    r#"{"api":"sendFileMessage", "code":25, "wxid":"wxid_asdasdXXX", "filePath":"文件路径", "time":1}"#,
    r#"{"api":"sendXmlMessage", "code":3, "wxid":"wxid_asdasdXXX", "title":"标题", "url":"url链接", "desc":"描述", "pic":"图片url链接", "time":1}"#,
    r#"{"api":"initContact", "code":45}"#,
    r#" {"api":"addUserEvent", "code":5, "wxid":"wxid_qg0saisth0r2XXX", "message":"您好"}"#,
    r#" {"api":"delUser", "code":17, "wxid":"wxid_qg0saisth0r2XXX"}"#,
    r#" {"api":"newGetUserLists", "code":46, "wxidLists":["wxid_qg0saisth0r2XXX", "asdad30XXX"]}"#,
    r#"{"api":"getUserInfo", "code":19, "wxid":"wxid_qg0saisth0r2XXX"}"#,
    r#"{"api":"acceptFriend", "code":10, "v1":"xxx", "v2":"xxx"}"#,
    r#"{"api":"getChatRoomLists", "code":47}"#,
    r#"{"api":"delChatRoomUser", "code":12, "chatroom":"237230488XXX@chatroom", "wxid":"dasfada30XXX"}"#,
    r#"{"api":"getChatRoomUserLists", "code":6, "wxid":"75101150XXX@chatroom"}"#,
    r#"{"api":"updateRoomAsName", "code":44, "chatroom":"237230488XXX@chatroom", "name":"修改群备注名称测试"}"#,
    r#"{"api":"getRoomUserV2", "code":34, "chatroom":"75101150XXX@chatroom","wxid":"wxid_zxzs0isl4unhXXX"}"#,
    r#"{"api":"sendChatroom", "code":4, "wxid":"wxid_qg0saisth0r2XXX", "chatroom":"237230488XXX@chatroom"}"#,
    r#"{"api":"getLoginStatus", "code":20,"info":"thisaaa"}"#,
    r#"{"api":"netGetUserInfo", "code":30, "wxid":"xdasa30XXX"}"#,
    r#"{"api":"getLoginQrCode", "code":36}"#,
    r#"{"api":"outLogin","code":39}"#,
];

#[test]
fn every_command_of_the_spec_goes_through_raw_as_given() {
    let daemon = Daemon::unpaced();
    for command in SPEC {
        let body = on_the_wire(&daemon, &["raw", command, "--no-wait"]);
        assert_same(&body, &format!("[{command}]"));
    }
}

#[test]
fn raw_reads_json_lines_from_stdin_where_a_dash_is_given() {
    let daemon = Daemon::unpaced();
    let receipts = daemon.cli_with(&["raw", "-", "--no-wait"], &SPEC.join("\n")).exits(0).lines();
    assert_eq!(receipts.len(), SPEC.len());
    assert_same(&daemon.client().get("/send_msg").text(), &format!("[{}]", SPEC.join(",")));
}

#[test]
fn raw_carries_commands_that_this_version_does_not_know() {
    let daemon = Daemon::new();
    let command = r#"{"zeta":{"b":1,"a":[null,true,-1,12345678901234567890]},"api":"brandNew","alpha":"é"}"#;
    assert_same(&on_the_wire(&daemon, &["raw", command]), &format!("[{command}]"));
}

#[test]
fn raw_refuses_what_is_no_command() {
    let daemon = Daemon::new();
    for bad in ["", "nonsense", "[]", "{}", r#"{"api":5}"#, r#"{"api":""}"#, r#""text""#, r#"{"code":1}"#, "null"] {
        let run = daemon.cli(&["raw", bad]).exits(2);
        assert!(!run.err.trim().is_empty() && run.out.is_empty(), "{bad}");
    }
    // One bad line: the others are not queued either.
    let run = daemon.cli_with(&["raw", "-"], "{\"api\":\"a\"}\nnonsense\n").exits(2);
    run.says(&["2"]);
    assert!(daemon.client().poll("").is_empty());
}

fn refused(daemon: &Daemon, args: &[&str], names: &[&str]) -> Run {
    let run = daemon.cli(args).exits(2);
    assert!(run.out.is_empty(), "{args:?}: {}", run.out);
    let err = run.err.to_lowercase();
    assert!(names.iter().any(|n| err.contains(&n.to_lowercase())), "{args:?} names none of {names:?}: {}", run.err);
    run
}

#[test]
fn wrong_arguments_are_refused_before_anything_is_queued() {
    let daemon = Daemon::new();
    refused(&daemon, &["send", "text", "wxid_a", ""], &["text"]);
    refused(&daemon, &["send", "text", "wx id", "hi"], &["wxid"]);
    refused(&daemon, &["send", "text", "wxid\u{1}a", "hi"], &["wxid"]);
    refused(&daemon, &["send", "text", "", "hi"], &["wxid"]);
    refused(&daemon, &["room", "members", "wxid_a"], &["room", "@chatroom"]);
    refused(&daemon, &["room", "kick", "123", "wxid_a"], &["room", "@chatroom"]);
    refused(&daemon, &["room", "kick", "1@chatroom", "wxid_a", "b c"], &["wxid"]);
    refused(&daemon, &["room", "nick", "1@chatroom", ""], &["name"]);
    refused(
        &daemon,
        &["send", "text", "wxid_a", "hi", "--in", "5m", "--at", "2099-01-01T00:00:00Z"],
        &["--at", "--in"],
    );
    refused(&daemon, &["send", "text", "wxid_a", "hi", "--in", "soon"], &["--in"]);
    refused(&daemon, &["send", "text", "wxid_a", "hi", "--time", "-1"], &["--time", "-1"]);
    refused(&daemon, &["send", "link", "wxid_a", "--title", "T"], &["--url"]);
    refused(&daemon, &["send", "nonsense"], &["nonsense"]);
    refused(&daemon, &["friend", "accept", "--v1", "v1_x"], &["--v2"]);
    assert!(daemon.cli(&["queue", "list", "--all"]).exits(0).lines().is_empty());
}

#[test]
fn a_text_given_as_a_dash_is_stdin_without_its_last_newline() {
    let daemon = Daemon::new();
    daemon.cli_with(&["send", "text", "filehelper", "-"], "two\nlines 你\n").exits(0);
    assert_eq!(daemon.client().poll("")[0]["text"], "two\nlines 你");
    let run = daemon.cli_with(&["send", "text", "filehelper", "-"], "\n");
    run.exits(2).says(&["text"]);
}

#[test]
fn a_path_of_the_pc_is_passed_through_untouched() {
    let daemon = Daemon::new();
    let run = daemon.cli(&["send", "image", "wxid_a", r"C:\x y\图.png"]).exits(0);
    assert_eq!(run.err, "");
    assert_eq!(daemon.client().poll("")[0]["imgPath"], r"C:\x y\图.png");
}

#[test]
fn a_rename_says_that_old_clients_may_ignore_it() {
    let daemon = Daemon::new();
    let run = daemon.cli(&["room", "rename", "1@chatroom", "n"]).exits(0);
    assert!(!run.err.trim().is_empty());
    assert_eq!(run.lines().len(), 1);
}

#[test]
fn api_prints_every_row_with_its_code() {
    let daemon = Daemon::new();
    let run = daemon.cli(&["api"]).exits(0);
    let rows = run.lines();
    for (_, wire) in VERBS {
        let wire: Value = serde_json::from_str(wire).unwrap();
        let row = rows.iter().find(|row| row["api"] == wire[0]["api"]).unwrap_or_else(|| panic!("no {wire}"));
        if wire[0]["code"].is_number() {
            assert_eq!(row["code"], wire[0]["code"]);
        }
    }
    // It needs no daemon.
    let mut alone = daemon.wehelp(["api"]);
    alone.env("WEHELP_SOCKET", daemon.path("nobody.sock"));
    assert_eq!(crate::fixture::run(alone, None, crate::fixture::DEADLINE).code, 0);
}
