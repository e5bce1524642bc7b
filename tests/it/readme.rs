//! What README.md shows is run as it stands there: the tour and every recipe.

use crate::exec::says;
use crate::fixture::{Daemon, Run, Running, WEHELP, clean, eventually, message, run};
use crate::missing::is_installed;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A shell starts many programs; on a busy machine that takes a while.
const PATIENCE: Duration = Duration::from_secs(60);

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The shell blocks below a heading.
fn blocks(text: &str, heading: &str) -> Vec<String> {
    let (_, section) = text.split_once(heading).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = section.split("\n## ").next().unwrap();
    section.split("```sh\n").skip(1).map(|b| b.split("\n```").next().unwrap().to_owned()).collect()
}

/// The recipe that holds this.
fn recipe(holds: &str) -> String {
    let all = blocks(&text("README.md"), "\n## Recipes\n");
    all.into_iter().find(|b| b.contains(holds)).unwrap_or_else(|| panic!("no recipe with {holds}"))
}

/// A shell that finds `wehelp`, the daemon, and whatever lies in the test's own `bin`.
fn shell(daemon: &Daemon, script: &str) -> Command {
    let mut command = clean("sh", &daemon.path("home"));
    let programs = Path::new(WEHELP).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{}:{}:{path}", daemon.path("bin").display(), programs.display()))
        .env("WEHELP_SOCKET", daemon.socket())
        .args(["-c", script]);
    command
}

/// A daemon whose one client is known.
fn known() -> Daemon {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    daemon
}

#[test]
fn the_tour_runs() {
    let mut command = clean("bash", Path::new("/tmp"));
    let programs = Path::new(WEHELP).parent().unwrap();
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tour.sh")).env("WEHELP_BIN", programs);
    let tour = run(command, None, PATIENCE).exits(0);
    for shown in ["answered", "家人群", "friend_request", "The tour is over"] {
        assert!(tour.out.contains(shown), "no `{shown}` in: {}", tour.out);
    }
}

#[test]
fn both_languages_show_the_same_commands() {
    let bare = |blocks: Vec<String>| -> Vec<String> {
        let words =
            |b: &String| b.lines().map(|l| l.split(" # ").next().unwrap().trim_end()).collect::<Vec<_>>().join("\n");
        blocks.iter().map(words).collect()
    };
    let (english, chinese) = (text("README.md"), text("README.zh-CN.md"));
    assert_eq!(bare(blocks(&english, "# wehelp")), bare(blocks(&chinese, "# wehelp")));
    assert_eq!(bare(blocks(&english, "\n## Two minutes\n")), bare(blocks(&chinese, "\n## 两分钟\n")));
    assert_eq!(bare(blocks(&english, "\n## Recipes\n")), bare(blocks(&chinese, "\n## 食谱\n")));
}

fn friend_request(daemon: &Daemon, who: &str, greeting: &str) {
    let xml = format!(
        r#"<msg fromusername="{who}" encryptusername="v1_{who}@stranger" ticket="v2_{who}@stranger" fromnickname="N" content="{greeting}"/>"#
    );
    let inner = serde_json::json!({"type": 78, "msgType": "37", "cwxid": "wxid_me", "processid": 7, "wxid": "fmessage", "message": xml});
    daemon.client().event(&inner.to_string());
}

#[test]
fn friends_with_the_right_greeting_are_accepted() {
    let daemon = known();
    let reader = Running::start(shell(&daemon, &recipe("friend accept")));
    says(&reader, "begins with new events");
    friend_request(&daemon, "wxid_stranger", "buy my things");
    friend_request(&daemon, "wxid_friend", "hello from the fair");
    let accepted = eventually("the acceptance", || {
        daemon.cli(&["queue", "list", "--api", "friend accept"]).exits(0).lines().into_iter().next()
    });
    assert_eq!(accepted["command"]["v1"], "v1_wxid_friend@stranger");
    drop(reader);
    // Both were consumed, and one was accepted.
    assert_eq!(daemon.cli(&["queue", "list", "--all"]).exits(0).lines().len(), 1);
}

#[test]
fn the_bot_answers_each_message_once_also_after_it_was_down() {
    let daemon = known();
    let bot = recipe("--reply");
    let answers = |n: usize| {
        eventually("the answers", || {
            let texts = daemon.cli(&["queue", "list", "--all", "--api", "send text"]).exits(0).lines();
            (texts.len() >= n).then_some(texts)
        })
    };
    let running = Running::start(shell(&daemon, &bot));
    says(&running, "begins with new events");
    daemon.client().event(&message("wxid_me", "wxid_a", None, "ping"));
    assert_eq!(
        answers(1)[0]["command"],
        serde_json::json!({"api": "sendTextMessage", "code": 1, "wxid": "wxid_a", "text": "pong"})
    );
    drop(running);
    daemon.client().event(&message("wxid_me", "wxid_b", None, "ping"));
    daemon.client().event(&message("wxid_me", "wxid_b", None, "no ping"));
    let running = Running::start(shell(&daemon, &bot));
    let all = answers(2);
    drop(running);
    let chats: Vec<_> = all.iter().map(|r| r["command"]["wxid"].as_str().unwrap()).collect();
    assert_eq!(chats, ["wxid_a", "wxid_b"]);
}

#[test]
fn a_build_is_told_once() {
    let daemon = known();
    for _ in 0..3 {
        let mut cron = shell(&daemon, &recipe("build-$BUILD"));
        cron.env("BUILD", "7");
        let told = run(cron, None, PATIENCE).exits(0);
        assert_eq!((told.out.as_str(), told.err.as_str()), ("", ""));
    }
    let commands = daemon.client().poll("wxid=wxid_me");
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0]["text"], "build 7: ok");
}

#[test]
fn a_long_report_is_told_in_pieces_once() {
    let daemon = known();
    std::fs::write(daemon.path("home").join("report.txt"), "One more line of the report.\n".repeat(200)).unwrap();
    for _ in 0..2 {
        let mut send = shell(&daemon, &recipe("--split"));
        send.env("BUILD", "7").current_dir(daemon.path("home"));
        let told = run(send, None, PATIENCE).exits(0);
        assert_eq!((told.out.as_str(), told.err.as_str()), ("", ""));
    }
    let pieces = daemon.client().poll("wxid=wxid_me");
    let texts: Vec<_> = pieces.iter().map(|piece| piece["text"].as_str().unwrap()).collect();
    assert!(texts.len() == 3 && texts.iter().all(|text| text.len() <= 2000 && text.ends_with("report.")), "{texts:?}");
}

#[test]
fn a_deployment_goes_on_when_the_boss_says_yes() {
    if !is_installed("jq") {
        return;
    }
    let daemon = known();
    for (answer, code) in [("yes", 0), ("no", 1)] {
        let mut asking = shell(&daemon, &recipe("wehelp ask"));
        asking.env("TAG", "v7");
        let asking = Running::start(asking);
        let question = eventually("the question", || daemon.client().poll("wxid=wxid_me").into_iter().next());
        assert_eq!(question["text"], "deploy v7? (yes/no)");
        daemon.client().event(&message("wxid_me", "wxid_boss", None, "let me think"));
        daemon.client().event(&message("wxid_me", "wxid_boss", None, answer));
        asking.end().exits(code);
    }
}

#[test]
fn the_days_messages_become_csv() {
    if !is_installed("jq") {
        return;
    }
    let daemon = known();
    daemon.client().event(&message("wxid_me", "1@chatroom", Some("wxid_a"), "a \"quoted\", text"));
    let csv = run(shell(&daemon, &recipe("@csv")), None, PATIENCE).exits(0).out;
    assert_eq!(csv.lines().count(), 1, "{csv}");
    assert!(csv.trim_end().ends_with(r#"Z","1@chatroom","wxid_a","a ""quoted"", text""#), "{csv}");
}

#[test]
fn an_offline_account_is_mailed() {
    let daemon = known();
    daemon.client().poll("wxid=wxid_me&pid=7");
    std::fs::create_dir(daemon.path("bin")).unwrap();
    let mail = daemon.path("bin").join("mail");
    std::fs::write(&mail, format!("#!/bin/sh\ncat > '{}'\n", daemon.path("letter").display())).unwrap();
    std::fs::set_permissions(&mail, PermissionsExt::from_mode(0o755)).unwrap();
    let cron = || -> Run { run(shell(&daemon, &recipe("status --check")), None, PATIENCE).exits(0) };
    cron();
    assert!(!daemon.path("letter").exists(), "all is well, and a mail was sent");
    daemon.client().event(r#"{"type":90,"processid":7,"cwxid":"wxid_me","hex":"0A04"}"#);
    cron();
    assert_eq!(std::fs::read_to_string(daemon.path("letter")).unwrap(), "WeChat is offline\n");
}

#[test]
fn events_are_posted_signed() {
    let daemon = known();
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", door.local_addr().unwrap());
    let mut add = shell(&daemon, &recipe("forward add").replace("https://example.org/hook", &url));
    add.env("SECRET", "s3cret");
    run(add, None, PATIENCE).exits(0);
    daemon.client().event(&message("wxid_me", "wxid_a", None, "to be forwarded"));
    let (mut stream, _) = door.accept().unwrap();
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !String::from_utf8_lossy(&request).contains("to be forwarded") {
        let n = stream.read(&mut chunk).unwrap();
        assert_ne!(n, 0, "{}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&chunk[..n]);
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
    let request = String::from_utf8_lossy(&request).to_lowercase();
    assert!(request.contains("x-wehelp-signature: t=") && request.contains(",v1="), "{request}");
    assert!(!request.contains("s3cret"));
}
