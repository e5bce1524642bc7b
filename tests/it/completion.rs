//! Contract 8: completions, in the three real shells, with ids and names from the running daemon.

use crate::fixture::{DEADLINE, Daemon, WEHELP, clean, run};
use crate::missing::is_installed;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A daemon that knows people, a room, a command, a cursor and a friend request.
fn known() -> Daemon {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    let client = daemon.client();
    client.event(
        r#"{"type":210,"processid":7,"cwxid":"wxid_me","userLists":[{"wxid":"wxid_ann","nick":"Ann Lee","asName":"妈妈"},{"wxid":"wxid_bob","nick":"Bob"},{"wxid":"wxid_evil","nick":"\u001b[31mred\nx"}]}"#,
    );
    client.event(
        r#"{"type":211,"processid":7,"cwxid":"wxid_me","chatrooms":[{"wxid":"123@chatroom","nick":"team","userLists":"^Gwxid_ann^G","count":1}]}"#,
    );
    client.event(
        r#"{"type":78,"msgType":"37","processid":7,"cwxid":"wxid_me","wxid":"fmessage","message":"<msg fromusername=\"wxid_new\" encryptusername=\"v1_a@stranger\" fromnickname=\"New\" content=\"hello\" ticket=\"v2_a@stranger\"/>"}"#,
    );
    daemon.queue_text("x");
    let answer = daemon.control("PUT", "/v1/cursors/bot", br#"{"to":"oldest"}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    daemon
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(name)
}

/// A shell with `wehelp` in PATH, or none when this machine has no such shell.
fn shell(daemon: &Daemon, name: &str) -> Option<Command> {
    if !is_installed(name) {
        return None;
    }
    let mut command = clean(name, &daemon.path("home"));
    let folder = Path::new(WEHELP).parent().unwrap().to_str().unwrap();
    command
        .env("WEHELP_SOCKET", daemon.socket())
        .env("PATH", format!("{folder}:/usr/local/bin:/usr/bin:/bin"))
        .env("TERM", "xterm")
        .current_dir(daemon.path("home"));
    Some(command)
}

/// What bash would offer for the last of these words.
fn bash(daemon: &Daemon, words: &[&str]) -> Option<Vec<String>> {
    const DRIVE: &str = r#"source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); COMP_TYPE=9
_clap_complete_wehelp wehelp "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}""#;
    let mut command = shell(daemon, "bash")?;
    command.args(["--norc", "-c", DRIVE, "bash"]).arg(script("wehelp.bash")).args(words);
    let run = run(command, None, DEADLINE).exits(0);
    assert!(run.err.is_empty(), "{}", run.err);
    Some(run.out.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect())
}

/// What fish would offer at the end of this line: value, tab, description.
fn fish(daemon: &Daemon, line: &str) -> Option<Vec<String>> {
    let mut command = shell(daemon, "fish")?;
    command.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]).arg(script("wehelp.fish")).arg(line);
    let run = run(command, None, DEADLINE).exits(0);
    assert!(run.err.is_empty(), "{}", run.err);
    Some(run.out.lines().map(str::to_owned).collect())
}

#[test]
fn bash_completes_verbs_ids_and_names() {
    let daemon = known();
    let Some(verbs) = bash(&daemon, &["wehelp", "st"]) else { return };
    assert_eq!(verbs, ["status"]);
    let of = |words: &[&str]| bash(&daemon, words).unwrap();
    assert_eq!(of(&["wehelp", "send", "text", "wxid_a"]), ["wxid_ann"]);
    assert_eq!(of(&["wehelp", "send", "text", "12"]), ["123@chatroom"]);
    // A name with a blank is inserted as one word.
    assert_eq!(of(&["wehelp", "send", "text", "@An"]), ["@Ann\\ Lee"]);
    assert_eq!(of(&["wehelp", "send", "text", "@妈"]), ["@妈妈"]);
    assert_eq!(of(&["wehelp", "room", "members", "123@ch"]), ["123@chatroom"]);
    assert_eq!(of(&["wehelp", "events", "--chat", "123"]), ["123@chatroom"]);
    assert_eq!(of(&["wehelp", "send", "text", "-a", "wxid_"]), ["wxid_me"]);
    assert_eq!(of(&["wehelp", "events", "--kind", "login.q"]), ["login.qrcode"]);
    assert_eq!(of(&["wehelp", "events", "--cursor", "b"]), ["bot"]);
    assert_eq!(of(&["wehelp", "cursor", "delete", "b"]), ["bot"]);
    assert!(of(&["wehelp", "queue", "cancel", ""]).contains(&"1".to_owned()));
    assert!(of(&["wehelp", "friend", "accept", "wxid_n"]).contains(&"wxid_new".to_owned()));
    let kinds = of(&["wehelp", "simulate", "event", "message.t"]);
    assert_eq!(kinds, ["message.text"]);
}

#[test]
fn bash_does_not_break_words_at_an_at_sign() {
    let daemon = known();
    let Some(mut command) = shell(&daemon, "bash") else { return };
    command.args(["--norc", "-c", r#"source "$1"; printf '%s' "$COMP_WORDBREAKS""#, "bash"]).arg(script("wehelp.bash"));
    let run = run(command, None, DEADLINE).exits(0);
    assert!(run.out.contains('=') && !run.out.contains('@'), "{:?}", run.out);
}

#[test]
fn fish_shows_the_names_beside_the_ids() {
    let daemon = known();
    let Some(people) = fish(&daemon, "wehelp send text wxid_") else { return };
    assert!(people.contains(&"wxid_ann\t妈妈 (Ann Lee)".to_owned()), "{people:?}");
    assert!(people.contains(&"wxid_bob\tBob".to_owned()), "{people:?}");
    assert!(people.iter().all(|l| !l.contains('\u{1b}')), "{people:?}");
    let of = |line: &str| fish(&daemon, line).unwrap();
    assert_eq!(of("wehelp room members 123@ch"), ["123@chatroom\tteam"]);
    assert_eq!(of("wehelp send text @B"), ["@Bob\twxid_bob"]);
    let commands = of("wehelp queue cancel ");
    assert!(commands[0].starts_with("1\tready sendTextMessage"), "{commands:?}");
    assert!(of("wehelp friend accept ").iter().any(|l| l.ends_with("New: hello")));
}

/// Plays a person who presses TAB in an interactive zsh, and prints the screen.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty z "zsh -f -i"
zpty -w z 'PS1=; PROMPT=; RPROMPT=; unsetopt prompt_cr prompt_sp; bindkey "^I" complete-word; LISTMAX=10000; stty cols 200'
zpty -w z "autoload -Uz compinit; compinit -u -D; source $1; echo REA''DY"
zpty -r -m z out '*READY*'
zpty -w -n z "$2"$'\t\t'
zpty -r -m z out "*$3*"
print -r -- "$out"
zpty -d z
"#;

#[test]
fn zsh_completes_ids_and_shows_the_names() {
    let daemon = known();
    for (line, expected) in [
        ("wehelp send text wxid_a", "wxid_ann"),
        ("wehelp room members 123@ch", "123@chatroom"),
        ("wehelp send text wxid_", "Ann Lee"),
    ] {
        let Some(mut command) = shell(&daemon, "zsh") else { return };
        command.args(["-f", "-c", ZSH, "zsh"]).arg(script("_wehelp")).args([line, expected]);
        let run = run(command, None, DEADLINE).exits(0);
        assert!(run.out.contains(expected), "{line}: {run:?}");
    }
}

#[test]
fn without_a_daemon_completion_is_silent_and_quick() {
    let mut daemon = known();
    let Some(_) = bash(&daemon, &["wehelp", "st"]) else { return };
    daemon.kill9();
    let offered = bash(&daemon, &["wehelp", "send", "text", "wxid_"]).unwrap();
    assert!(offered.is_empty(), "{offered:?}");
    // What needs no daemon is still there.
    assert_eq!(bash(&daemon, &["wehelp", "events", "--kind", "login.q"]).unwrap(), ["login.qrcode"]);
}

#[test]
fn a_daemon_that_hangs_holds_no_shell_up() {
    let daemon = known();
    let socket = daemon.path("hang.sock");
    // It takes connections, and never answers.
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut command = daemon.wehelp(["--", "wehelp", "send", "text", "wxid_"]);
    command.env("WEHELP_SOCKET", &socket).env("COMPLETE", "fish");
    let run = run(command, None, DEADLINE).exits(0);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("", ""));
}

#[test]
fn the_scripts_that_are_printed_are_those_that_are_shipped() {
    let daemon = Daemon::new();
    for (shell, name) in [("bash", "wehelp.bash"), ("zsh", "_wehelp"), ("fish", "wehelp.fish")] {
        let printed = daemon.cli(&["completions", shell]).exits(0).out;
        assert_eq!(printed, std::fs::read_to_string(script(name)).unwrap(), "{shell}");
    }
}
