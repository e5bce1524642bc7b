//! The scripts under `examples/`: each does its work against a played client, begins with nothing old, and is killed in
//! between without doing anything twice.

use crate::exec::says;
use crate::fixture::{Daemon, Recipe, Run, Running, UNPACED, WEHELP, clean, eventually, run};
use crate::missing::is_installed;
use rustix::process::{Signal, kill_process_group};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A shell starts many programs; on a busy machine that takes a while.
const PATIENCE: Duration = Duration::from_secs(60);
/// The room of the played world in which the account is an ordinary member.
const FAMILY: &str = "20260101001@chatroom";
const FRIEND: &str = "annahoffmann";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// A script with these arguments, which finds `wehelp` and the daemon.
fn script(daemon: &Daemon, name: &str, args: &[&str]) -> Command {
    let mut command = clean(examples().join(name), &daemon.path("home"));
    let programs = Path::new(WEHELP).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", programs.display())).env("WEHELP_SOCKET", daemon.socket());
    command.args(args).current_dir(daemon.path("home"));
    command
}

fn begin(daemon: &Daemon, name: &str, args: &[&str]) -> Running {
    Running::start(script(daemon, name, args))
}

#[track_caller]
fn done(daemon: &Daemon, name: &str, args: &[&str], stdin: Option<&str>) -> Run {
    run(script(daemon, name, args), stdin.map(str::as_bytes), PATIENCE)
}

/// As a power cut: the script and all that it started.
fn kill(script: Running) {
    let _ = kill_process_group(script.pid(), Signal::KILL);
    drop(script);
}

/// A daemon, and a client that plays.
fn played() -> (Daemon, Running) {
    played_with("")
}

fn played_with(config: &str) -> (Daemon, Running) {
    let daemon = Recipe::default().config(&format!("{UNPACED}{config}")).start();
    let client = daemon.beside(&["simulate", "--interval", "20ms"]);
    eventually("a login", || (daemon.status()["accounts"][0]["logged_in"] == true).then_some(()));
    (daemon, client)
}

/// Posts an event of the played world.
#[track_caller]
fn post(daemon: &Daemon, kind: &str, fields: &[&str]) {
    daemon.cli(&[&["simulate", "event", kind], fields].concat()).exits(0);
}

fn says_to(daemon: &Daemon, chat: &str, text: &str) {
    post(daemon, "message.text", &[&format!("chat={chat}"), &format!("text={text}")]);
}

/// Every command of an api, oldest first.
fn commands(daemon: &Daemon, api: &str) -> Vec<Value> {
    daemon.cli(&["queue", "list", "--all", "--api", api]).exits(0).lines()
}

/// The texts that were queued, with their chats.
fn texts(daemon: &Daemon) -> Vec<(String, String)> {
    let word = |receipt: &Value, key: &str| receipt["command"][key].as_str().unwrap().to_owned();
    commands(daemon, "send text").iter().map(|receipt| (word(receipt, "wxid"), word(receipt, "text"))).collect()
}

/// Waits until so many texts are queued.
fn texts_are(daemon: &Daemon, count: usize) -> Vec<(String, String)> {
    eventually("the texts", || Some(texts(daemon)).filter(|texts| texts.len() >= count))
}

fn text(chat: &str, text: &str) -> (String, String) {
    (chat.to_owned(), text.to_owned())
}

/// The lines that a cursor has behind it: then its reader has done all there was.
fn is_through(daemon: &Daemon, cursor: &str) {
    let last = daemon.status()["events"]["last"].clone();
    eventually("all is done", || {
        let cursors = daemon.cli(&["cursor", "list"]).exits(0).lines();
        cursors.iter().any(|c| c["name"] == cursor && c["seq"].as_u64() >= last.as_u64()).then_some(())
    });
}

#[test]
fn every_script_is_tried_here_and_shown_in_the_readme() {
    let own = include_str!("examples.rs");
    let readme = std::fs::read_to_string(examples().join("../README.md")).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(own.contains(&format!("\"{name}\"")), "{name} is not tried");
        assert!(readme.contains(&format!("examples/{name}")), "{name} is not in README.md");
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o111, 0o111, "{name} cannot be run");
        count += 1;
    }
    assert_eq!(count, 10);
}

#[test]
fn friends_are_accepted_and_greeted_once() {
    let (daemon, _client) = played();
    let asks = |greeting: &str| {
        // The played client knows three strangers, and gives each the next request.
        post(&daemon, "message.friend_request", &[&format!("text={greeting}")]);
    };
    asks("hello from the fair, too early");
    let args = ["from the fair", "Welcome!"];
    let script = begin(&daemon, "accept.sh", &args);
    says(&script, "begins with new events");
    asks("buy my things");
    asks("hello from the fair");
    let accepted = eventually("the acceptance", || commands(&daemon, "friend accept").into_iter().next());
    kill(script);
    let script = begin(&daemon, "accept.sh", &args);
    let greeted = texts_are(&daemon, 1);
    is_through(&daemon, "accept");
    drop(script);
    assert_eq!(greeted[0].1, "Welcome!");
    assert_eq!(commands(&daemon, "friend accept").len(), 1, "{accepted}");
    assert_eq!(texts(&daemon).len(), 1);
}

#[test]
fn keywords_are_answered_where_the_account_is_meant() {
    let (daemon, _client) = played();
    let file = daemon.path("home").join("answers.tsv");
    std::fs::write(&file, "opening\tWe open at nine.\nprice\tTwo, three for the large one.\n").unwrap();
    says_to(&daemon, FRIEND, "the PRICE, too early");
    let args = [file.to_str().unwrap()];
    let script = begin(&daemon, "keywords.sh", &args);
    says(&script, "begins with new events");
    says_to(&daemon, FRIEND, "what is the price?");
    let answered = [text(FRIEND, "Two, three for the large one.")];
    assert_eq!(texts_are(&daemon, 1), answered);
    kill(script);
    post(&daemon, "message.text", &[&format!("chat={FAMILY}"), "from=wxid_ma0ming1ming21", "text=the price went up"]);
    says_to(&daemon, FRIEND, "no word of it");
    says_to(&daemon, "wxid_sunyue05w8xx21", "Opening hours?");
    let script = begin(&daemon, "keywords.sh", &args);
    let both = [&answered[..], &[text("wxid_sunyue05w8xx21", "We open at nine.")]].concat();
    assert_eq!(texts_are(&daemon, 2), both);
    is_through(&daemon, "keywords");
    drop(script);
    assert_eq!(texts(&daemon), both);
    done(&daemon, "keywords.sh", &[], None).exits(2);
}

#[test]
fn a_day_becomes_a_csv() {
    if !is_installed("jq") {
        return;
    }
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    post(&daemon, "message.text", &["text=to, be \"kept\""]);
    let said = daemon.last_event()["time"].as_str().unwrap().to_owned();
    let dir = daemon.path("home").join("wechat");
    let export = |day: &[&str]| done(&daemon, "export.sh", &[&[dir.to_str().unwrap()], day].concat(), None).exits(0);
    for _ in 0..2 {
        export(&[]);
        export(&[&said[..10]]);
    }
    let names = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert!(names.len() == 2 && names[1] == format!("{}.csv", &said[..10]), "{names:?}");
    let texts = |name: &String| std::fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(texts(&names[0]), "", "what was said today is not yesterday's");
    let day = texts(&names[1]);
    assert!(day.lines().count() == 1 && day.contains(r#""message.text","to, be ""kept""""#), "{day}");
}

#[test]
fn two_hundred_rooms_are_told_once_however_often_it_is_killed() {
    if !is_installed("jq") {
        return;
    }
    let (daemon, _client) = played();
    let rooms: String = (0..200).map(|n| format!("{n}0@chatroom\n")).collect();
    let list = daemon.path("home").join("rooms");
    std::fs::write(&list, &rooms).unwrap();
    for _ in 0..3 {
        let mut push = script(&daemon, "push.sh", &["v7", "Version 7 is out"]);
        // Its input comes out of a file, slowly.
        push.env("ENV", "");
        let mut slow = Command::new("sh");
        slow.args(["-c", "while read -r room; do echo \"$room\"; sleep 0.002; done < rooms | \"$0\" \"$@\""]);
        slow.arg(push.get_program()).args(push.get_args()).current_dir(daemon.path("home")).env_clear();
        slow.envs(push.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let script = Running::start(slow);
        let before = texts(&daemon).len();
        eventually("some are queued", || (texts(&daemon).len() > before || before == 200).then_some(()));
        kill(script);
    }
    let last = done(&daemon, "push.sh", &["v7", "Version 7 is out"], Some(&rooms)).exits(0);
    assert_eq!(last.lines().len(), 200);
    let told: std::collections::BTreeSet<_> = texts(&daemon).into_iter().collect();
    assert_eq!((texts(&daemon).len(), told.len()), (200, 200));
}

#[test]
fn every_friend_is_written_to_by_name_once() {
    if !is_installed("jq") {
        return;
    }
    let (daemon, _client) = played();
    let broadcast = || done(&daemon, "broadcast.sh", &["newyear", "Happy new year, {}!"], None).exits(0);
    broadcast();
    broadcast();
    let texts = texts(&daemon);
    assert_eq!(texts.len(), 11, "all but the official account: {texts:?}");
    assert!(texts.contains(&text("wxid_ma0ming1ming21", "Happy new year, 妈妈!")), "{texts:?}");
    assert!(texts.contains(&text(FRIEND, "Happy new year, Anna Hoffmann!")), "{texts:?}");
}

#[test]
fn who_comes_and_goes_is_told_once() {
    if !is_installed("jq") {
        return;
    }
    let (daemon, _client) = played();
    let chat = format!("chat={FAMILY}");
    let comes = |who: &str| {
        post(&daemon, "room.joined", &[&chat, &format!("who={who}"), "by=wxid_chenjianguo022", "how=invite"])
    };
    comes("wxid_linxiaoyu03hb4");
    let args = [FAMILY, "filehelper"];
    let script = begin(&daemon, "members.sh", &args);
    says(&script, "begins with new events");
    comes("wxid_sunyue05w8xx21");
    let told = texts_are(&daemon, 1);
    kill(script);
    post(&daemon, "room.left", &[&chat, "who=wxid_sunyue05w8xx21", "by=wxid_chenjianguo022", "how=removed"]);
    let script = begin(&daemon, "members.sh", &args);
    let told = [told, texts_are(&daemon, 2).split_off(1)].concat();
    is_through(&daemon, &format!("members-{FAMILY}"));
    drop(script);
    assert!(told.iter().all(|(chat, _)| chat == "filehelper"), "{told:?}");
    assert!(told[0].1.contains("came") && told[1].1.contains("left") && told[1].1.contains("removed"), "{told:?}");
    assert_eq!(texts(&daemon).len(), 2);
}

#[test]
fn a_command_runs_when_the_one_who_is_asked_says_yes() {
    if !is_installed("jq") {
        return;
    }
    let (daemon, _client) = played();
    // The played friend says yes to what may be answered so, after a while.
    let args = ["deploy-7", FRIEND, "deploy v7?", "echo", "deployed"];
    let script = begin(&daemon, "approve.sh", &args);
    texts_are(&daemon, 1);
    eventually("it is asked", || (commands(&daemon, "send text")[0]["state"] == "answered").then_some(()));
    kill(script);
    eventually("the answer", || {
        daemon
            .events(&["--kind", "message.text", "--no-self", "-n", "1"])
            .first()
            .filter(|said| said["text"] == "yes")
            .cloned()
    });
    assert_eq!(done(&daemon, "approve.sh", &args, None).exits(0).out, "deployed\n");
    assert_eq!(texts(&daemon).len(), 1, "it was asked twice");
    done(&daemon, "approve.sh", &["x", FRIEND, "why?"], None).exits(2);
}

#[test]
fn pictures_of_a_folder_are_sent_once() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("new");
    std::fs::create_dir(&dir).unwrap();
    let map = format!("[files.map]\n\"{}\" = '\\\\nas\\wx'\n", home.path().display());
    let (daemon, _client) = played_with(&map);
    for (name, bytes) in [("a.jpg", "one"), ("b c.png", "two"), ("notes.txt", "three"), ("same.jpg", "one")] {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    let send = || done(&daemon, "pictures.sh", &[dir.to_str().unwrap(), FRIEND], None).exits(0);
    send();
    // As killed between queueing and noting.
    std::fs::write(dir.join(".queued"), "").unwrap();
    send();
    std::fs::write(dir.join("d.gif"), "four").unwrap();
    send();
    send();
    let paths: Vec<Value> = commands(&daemon, "send image").iter().map(|r| r["command"]["imgPath"].clone()).collect();
    assert_eq!(paths, [r"\\nas\wx\new\a.jpg", r"\\nas\wx\new\b c.png", r"\\nas\wx\new\d.gif"]);
}

#[test]
fn the_accounts_are_shown() {
    if !is_installed("jq") {
        return;
    }
    let (daemon, _client) = played();
    says_to(&daemon, FRIEND, "hello");
    let shown = done(&daemon, "dashboard.sh", &["0"], None).exits(0).out;
    assert!(shown.contains("wehelpd") && shown.contains("1 messages in the last hour"), "{shown}");
    let mut script = begin(&daemon, "dashboard.sh", &["1"]);
    eventually("it goes on", || script.next().contains("last hour").then_some(()));
    eventually("it goes on", || script.next().contains("last hour").then_some(()));
}

/// A model that answers every request with the number of messages that it was told.
fn model() -> String {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/chat/completions", door.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in door.incoming() {
            let (mut stream, mut bytes, mut part) = (stream.unwrap(), Vec::new(), [0; 4096]);
            let told = loop {
                let n = stream.read(&mut part).unwrap_or(0);
                bytes.extend_from_slice(&part[..n]);
                let text = String::from_utf8_lossy(&bytes);
                let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str::<Value>(body).ok());
                if body.is_some() || n == 0 {
                    break body;
                }
            };
            let Some(told) = told else { continue };
            let said = told["messages"].as_array().unwrap();
            let last = said.last().unwrap()["content"].as_str().unwrap();
            let answer = json!({"choices": [{"message": {"content": format!("You said: {last}")}}]}).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            drop(stream.write_all(format!("{head}{answer}").as_bytes()));
        }
    });
    url
}

#[test]
fn a_model_answers_when_it_is_meant() {
    if !is_installed("python3") {
        return;
    }
    let (daemon, _client) = played();
    let url = model();
    let begin = || {
        let mut script = script(&daemon, "llm.py", &[]);
        script.env("LLM_URL", &url);
        Running::start(script)
    };
    says_to(&daemon, FRIEND, "too early");
    let running = begin();
    says(&running, "begins with new events");
    says_to(&daemon, FRIEND, "hello model");
    let first = texts_are(&daemon, 1);
    assert!(first[0].1.starts_with("You said: ") && first[0].1.ends_with("hello model"), "{first:?}");
    kill(running);
    // In a room only when it is called; of what the owner answers it keeps out.
    let in_room = |words: &str| {
        post(
            &daemon,
            "message.text",
            &[&format!("chat={FAMILY}"), "from=wxid_ma0ming1ming21", &format!("text={words}")],
        );
    };
    in_room("not to you");
    in_room("@小模拟 and to you");
    post(&daemon, "message.text", &[&format!("chat={FRIEND}"), "self=true", "text=I am here myself"]);
    says_to(&daemon, FRIEND, "then I ask you");
    let running = begin();
    let both = texts_are(&daemon, 2);
    is_through(&daemon, "llm");
    drop(running);
    assert!(both[1].0 == FAMILY && both[1].1.ends_with("and to you"), "{both:?}");
    assert_eq!(texts(&daemon).len(), 2);
}
