//! Contract 4: JSON lines or text, receipts, errors, exit codes, closed pipes, what never reaches a terminal.

use crate::fixture::{DEADLINE, Daemon, WEHELP, clean, message, run};
use crate::missing::{self, is_installed};
use serde_json::Value;
use std::process::{Command, Stdio};

/// Runs a shell line with `wehelp` in PATH.
fn shell(daemon: &Daemon, line: &str) -> crate::fixture::Run {
    let mut command = clean("sh", &daemon.path("home"));
    let folder = std::path::Path::new(WEHELP).parent().unwrap().to_str().unwrap();
    command
        .env("WEHELP_SOCKET", daemon.socket())
        .env("PATH", format!("{folder}:/usr/local/bin:/usr/bin:/bin"))
        .args(["-c", line]);
    run(command, None, DEADLINE)
}

/// The error of `--json`: one object on stderr.
fn error_json(run: &crate::fixture::Run) -> Value {
    let last = run.err.lines().last().unwrap_or_else(|| panic!("no error: {run:?}"));
    let value: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("no JSON ({e}): {}", run.err));
    assert!(!value["error"].is_null() && value["message"].as_str().is_some_and(|m| m.len() > 5), "{value}");
    value
}

#[test]
fn piped_output_is_json_lines_and_text_can_be_forced() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    daemon.client().event(&message("wxid_me", "wxid_a", None, "hi there"));
    daemon.queue_text("x");
    let calls: &[&[&str]] =
        &[&["status"], &["events"], &["queue", "list"], &["account", "list"], &["contact", "list"], &["api"]];
    for args in calls {
        daemon.cli(args).exits(0).lines();
        let forced = daemon.cli(&[args, &["--json"][..]].concat()).exits(0);
        forced.lines();
        let text = daemon.cli(&[args, &["--text"][..]].concat()).exits(0).out;
        assert!(text.lines().all(|l| serde_json::from_str::<Value>(l).map_or(true, |v| !v.is_object())), "{text}");
        assert!(!text.contains('\u{1b}'), "colour without a terminal: {text:?}");
    }
    let text = daemon.cli(&["events", "--text"]).exits(0).out;
    assert!(text.contains("hi there"), "{text}");
    daemon.cli(&["events", "--text", "--json"]);
}

#[test]
fn colour_can_be_forced() {
    let daemon = Daemon::new();
    daemon.client().event(&message("wxid_me", "wxid_a", None, "hi"));
    let coloured = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = daemon.wehelp([&["events", "--text"], args].concat());
        command.envs(env.iter().copied());
        run(command, None, DEADLINE).exits(0).out.contains('\u{1b}')
    };
    assert!(!coloured(&[], &[]));
    assert!(coloured(&["--color", "always"], &[]));
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&["--color", "auto"], &[("NO_COLOR", "1")]));
}

#[test]
fn text_of_chats_cannot_drive_the_terminal() {
    let daemon = Daemon::new();
    let evil = "a\u{1b}[31mred\u{1b}]0;title\u{7}b\u{9b}2Jc\rd\u{8}e\u{0}f\nfake line\u{202e}rtl\u{7f}";
    daemon
        .client()
        .event(&message("wxid_me", "wxid_a", None, evil).replace("\"nick\":\"n\"", "\"nick\":\"\\u001b[2Jnick\""));
    daemon.client().event(
        &serde_json::json!({"type":71,"cwxid":"wxid_me","wxid":"wxid_me","nick":"\u{1b}[31mme\nx","username":"\u{1b}u"})
            .to_string(),
    );
    daemon.client().event(
        &serde_json::json!({"type":210,"cwxid":"wxid_me","userLists":[{"wxid":"wxid_b","nick":"\u{1b}[31mb\u{9b}","asName":"\u{7}"}]})
            .to_string(),
    );
    daemon.queue_text("\u{1b}[31mqueued");
    let calls: &[&[&str]] = &[
        &["events"],
        &["contact", "list"],
        &["account", "list"],
        &["status"],
        &["queue", "list"],
        &["events", "show", "1"],
    ];
    for args in calls {
        let text = daemon.cli(&[args, &["--text", "--color", "never"][..]].concat()).exits(0).out;
        let bad: Vec<char> = text.chars().filter(|c| c.is_control() && *c != '\n').collect();
        assert!(bad.is_empty(), "{args:?}: {bad:?} in {text:?}");
        assert!(!text.contains('\u{202e}'), "{args:?}: {text:?}");
        assert!(!text.lines().any(|l| l.starts_with("fake line")), "{args:?}: {text:?}");
    }
    // JSON has it as it is, escaped.
    assert_eq!(daemon.events(&[])[0]["text"], evil);
}

#[test]
fn a_receipt_for_people_never_says_sent() {
    let daemon = Daemon::new();
    let run = daemon.cli(&["send", "text", "filehelper", "x", "--text"]).exits(0);
    let said = format!("{}{}", run.out, run.err).to_lowercase();
    assert!(!said.split(|c: char| !c.is_alphanumeric()).any(|word| word == "sent"), "{said}");
    assert!(said.contains('1'), "no number: {said}");
    let run = daemon.cli(&["send", "text", "filehelper", "x", "-q"]).exits(0);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("", ""));
    let run = daemon.cli(&["-q", "room", "rename", "1@chatroom", "n"]).exits(0);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("", ""), "-q leaves out warnings too");
    let run = daemon.cli(&["-q", "send", "text", "wxid_a", ""]).exits(2);
    assert!(!run.err.is_empty(), "-q does not leave out errors");
}

#[test]
fn without_a_daemon_it_is_3_and_says_how_to_start_one() {
    let mut daemon = Daemon::new();
    daemon.kill9();
    let socket = daemon.socket();
    let calls: &[&[&str]] = &[
        &["status"],
        &["send", "text", "filehelper", "x"],
        &["events"],
        &["events", "show", "1"],
        &["queue", "list"],
        &["room", "list"],
        &["contact", "list"],
        &["cursor", "list"],
        &["ask", "filehelper", "x"],
    ];
    for args in calls {
        let run = daemon.cli(args).exits(3);
        run.says(&[socket.to_str().unwrap(), "wehelpd"]);
        assert!(run.out.is_empty());
        let run = daemon.cli(&[args, &["--json"][..]].concat()).exits(3);
        assert!(error_json(&run)["message"].as_str().unwrap().contains("wehelpd"));
    }
    assert_eq!(daemon.cli(&["send", "text", "filehelper", "x", "--dry-run"]).exits(0).line()["text"], "x");
    // A wrong usage is found before the daemon is looked for.
    daemon.cli(&["send", "text", "filehelper", ""]).exits(2);
}

#[test]
fn errors_are_one_sentence_or_one_json_object() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    daemon.login("wxid_you", 7);
    let cases: &[(&[&str], i32)] = &[
        (&["send", "text", "wxid_a"], 2),
        (&["send", "text", "wxid_a", ""], 2),
        (&["nonsense"], 2),
        (&["events", "show", "99"], 4),
        (&["queue", "show", "99"], 4),
        (&["contact", "show", "wxid_nobody"], 4),
        (&[], 2),
        (&["queue"], 2),
        (&["send", "text", "wxid_a", "x"], 5),
        (&["room", "list", "-a", "wxid_me", "--wait=100ms"], 6),
    ];
    for (args, code) in cases {
        let plain = daemon.cli(args).exits(*code);
        assert!(plain.out.is_empty() && !plain.err.trim().is_empty(), "{args:?}: {plain:?}");
        let json = daemon.cli(&[args, &["--json"][..]].concat()).exits(*code);
        assert!(json.out.is_empty(), "{args:?}: {}", json.out);
        error_json(&json);
        let before = daemon.cli(&[&["--json"][..], args].concat()).exits(*code);
        error_json(&before);
    }
}

#[test]
fn a_name_that_means_nobody_is_4_and_one_that_means_several_is_an_error_that_lists_them() {
    let daemon = Daemon::new();
    daemon.client().event(
        r#"{"type":210,"cwxid":"wxid_me","userLists":[{"wxid":"wxid_1","nick":"小王"},{"wxid":"wxid_2","nick":"小李","asName":"老板"},{"wxid":"wxid_3","nick":"小王"}]}"#,
    );
    daemon.cli(&["send", "text", "@没有这个人", "x"]).exits(4);
    let several = daemon.cli(&["send", "text", "@小王", "x"]);
    assert!(matches!(several.code, 2 | 5), "{several:?}");
    several.says(&["wxid_1", "wxid_3"]);
    let receipt = daemon.cli(&["send", "text", "@老板", "x"]).exits(0).line();
    assert_eq!(receipt["command"]["wxid"], "wxid_2");
    let receipt = daemon.cli(&["send", "text", "@小李", "x"]).exits(0).line();
    assert_eq!(receipt["command"]["wxid"], "wxid_2");
}

#[test]
fn of_several_with_a_name_one_is_picked() {
    let daemon = Daemon::new();
    let contacts = r#"{"type":210,"cwxid":"wxid_me","userLists":[{"wxid":"wxid_1","nick":"小王"},{"wxid":"wxid_2","nick":"小王"}]}"#;
    daemon.client().event(contacts);
    daemon.cli(&["send", "text", "@小王", "x"]).exits(5).says(&["--pick wxid_1 ", "--pick wxid_2 "]);
    let receipt = daemon.cli(&["send", "text", "@小王", "x", "--pick", "wxid_2"]).exits(0).line();
    assert_eq!(receipt["command"]["wxid"], "wxid_2");
    // What picks somebody never means another: neither a place in the list, nor who is not in it.
    for nobody in ["2", "wxid_3"] {
        daemon.cli(&["send", "text", "@小王", "x", "--pick", nobody]).exits(2).says(&["--pick"]);
    }
    // A name is of the account that the command would go to.
    daemon.client().event(&contacts.replace("wxid_me", "wxid_you").replace("wxid_2", "wxid_3"));
    let receipt = daemon.cli(&["send", "text", "@小王", "x", "--pick", "wxid_3", "-a", "wxid_you"]).exits(0).line();
    assert_eq!(receipt["command"]["wxid"], "wxid_3");
}

#[test]
fn the_last_word_about_json_and_text_counts_on_either_side_of_the_subcommand() {
    let daemon = Daemon::new();
    let is_json = |args: &[&str]| daemon.cli(args).exits(0).out.starts_with('{');
    for (args, json) in [
        (&["--json", "status", "--text"][..], false),
        (&["--text", "status", "--json"], true),
        (&["--json", "queue", "--text", "list"], false),
        (&["--json", "--text", "queue", "list", "--json"], true),
        (&["status", "--json", "--text"], false),
    ] {
        if args.contains(&"list") {
            daemon.queue_text("x");
        }
        assert_eq!(is_json(args), json, "{args:?}");
    }
    // It decides about errors likewise, also where the rest is wrong.
    error_json(&daemon.cli(&["--text", "queue", "show", "77", "--json"]).exits(4));
    error_json(&daemon.cli(&["--text", "queue", "nonsense", "--json"]).exits(2));
    let run = daemon.cli(&["--json", "queue", "show", "77", "--text"]).exits(4);
    assert!(run.err.starts_with("wehelp: error: "), "{}", run.err);
}

/// Runs a shell line whose stdout and stderr are a terminal, unless it redirects them; what the terminal got.
fn on_a_terminal(daemon: &Daemon, line: &str) -> Option<String> {
    if !is_installed("script") {
        return None;
    }
    let folder = std::path::Path::new(WEHELP).parent().unwrap().to_str().unwrap();
    let mut command = clean("script", &daemon.path("home"));
    command
        .env("WEHELP_SOCKET", daemon.socket())
        .env("TERM", "xterm")
        .env("PATH", format!("{folder}:/usr/local/bin:/usr/bin:/bin"))
        .args(["-qec", line, "/dev/null"])
        .current_dir(daemon.path("home"));
    Some(run(command, None, DEADLINE).out)
}

#[test]
fn stdout_and_stderr_are_coloured_each_by_itself() {
    let daemon = Daemon::new();
    daemon.queue_text("x");
    let Some(errors) = on_a_terminal(&daemon, "wehelp queue list nonsense >out; wehelp queue show 77 --text >>out")
    else {
        return;
    };
    assert_eq!(errors.matches("\u{1b}[1;31merror:").count(), 2, "{errors:?}");
    let table = on_a_terminal(&daemon, "wehelp queue list --text; wehelp queue show 77 2>err").unwrap();
    assert!(table.contains("\u{1b}["), "{table:?}");
    let file = std::fs::read_to_string(daemon.path("home/err")).unwrap();
    assert!(file.contains("error:") && !file.contains('\u{1b}'), "{file:?}");
    on_a_terminal(&daemon, "wehelp queue list --text >plain").unwrap();
    let file = std::fs::read_to_string(daemon.path("home/plain")).unwrap();
    assert!(!file.contains('\u{1b}'), "{file:?}");
}

#[test]
fn nothing_in_json_drives_a_terminal_and_nothing_is_lost() {
    let daemon = Daemon::new();
    let evil = "a\u{9b}2J\u{85}\u{202e}\u{2066}\u{61c}\u{206a}\u{e0041}\u{7f}z";
    daemon.client().event(&message("wxid_me", "wxid_a", None, evil));
    daemon.queue_text(evil);
    let is_harmless = |shown: &str| {
        let bad = |c: char| {
            c.is_control() && !matches!(c, '\n' | '\r')
                || matches!(c, '\u{61c}' | '\u{202e}' | '\u{2066}' | '\u{206a}' | '\u{e0041}')
        };
        assert!(!shown.chars().any(bad), "{shown:?}");
    };
    for line in [
        "wehelp events --json",
        "wehelp events show 1 --json",
        "wehelp queue list --json",
        "wehelp queue show 1 --json",
        "wehelp contact list --json",
        "wehelp events --text --color never",
        "wehelp queue show 1 --text --color never",
    ] {
        let Some(shown) = on_a_terminal(&daemon, line) else { return };
        is_harmless(&shown);
        if line.starts_with("wehelp events") && line.ends_with("--json") {
            let event: Value = serde_json::from_str(shown.trim()).unwrap();
            assert_eq!(event["text"], evil, "{line}");
        }
    }
    std::fs::write(daemon.path("home/key"), evil).unwrap();
    for flag in ["--json", "--text --color never"] {
        let line = format!("wehelp contact show \"@$(cat key)\" {flag}; wehelp queue list -a \"$(cat key)\" {flag}");
        is_harmless(&on_a_terminal(&daemon, &line).unwrap());
    }
}

#[test]
fn every_line_that_leaves_us_is_read_by_every_language() {
    let daemon = Daemon::new();
    daemon.client().event(
        r#"{"type":78,"msgType":"1","cwxid":"wxid_me","wxid":"wxid_a","nick":"\ud83d","message":"half \ud83d","\ude00":[1.10,"\\ud83d","\ud83d\ude00"]}"#,
    );
    let data = r#""data":{"type":78,"msgType":"1","cwxid":"wxid_me","wxid":"wxid_a","nick":"\ufffd","message":"half \ufffd","\ufffd":[1.10,"\\ud83d","\ud83d\ude00"]}}"#;
    let shown = daemon.cli(&["events"]).exits(0).out;
    assert!(shown.trim_end().ends_with(data), "{shown}");
    let path = daemon.path("exec");
    let exec = ["events", "-n", "all", "--exec", "cp", "/dev/stdin", path.to_str().unwrap()];
    daemon.cli(&exec).exits(0);
    let lines = [
        shown,
        daemon.cli(&["events", "show", "1"]).exits(0).out,
        daemon.control("GET", "/v1/events", b"").text(),
        daemon.control("GET", "/v1/events/1", b"").text(),
        std::fs::read_to_string(path).unwrap(),
        daemon.cli(&["contact", "list"]).exits(0).out,
    ];
    for (program, args) in [
        ("jq", &["-e", "."][..]),
        (
            "python3",
            &[
                "-c",
                "import json,sys\nfor line in sys.stdin: json.dumps(json.loads(line)).encode('utf-8'); print(json.loads(line)['wxid' if 'wxid' in json.loads(line) else 'data'])",
            ],
        ),
        ("ruby", &["-rjson", "-e", "STDIN.each_line { |line| puts JSON.generate(JSON.parse(line)) }"]),
        ("perl", &["-MJSON::PP", "-ne", "print encode_json(decode_json($_))"]),
    ] {
        let mut probe = Command::new(program);
        if !probe
            .args(if program == "perl" { &["-MJSON::PP", "-e", "1"][..] } else { &["--version"] })
            .output()
            .is_ok_and(|o| o.status.success())
        {
            match program {
                "jq" | "python3" => missing::tool(program),
                _ => missing::other(&format!("no {program}")),
            }
            continue;
        }
        for line in &lines {
            assert!(!line.is_empty());
            let mut command = clean(program, &daemon.path("home"));
            command.args(args);
            let read = run(command, Some(line.as_bytes()), DEADLINE);
            assert_eq!((read.code, read.err.as_str()), (0, ""), "{program} does not read {line}");
        }
    }
}

#[test]
fn avatars_are_those_that_events_told() {
    let daemon = Daemon::new();
    daemon.client().event(
        r#"{"type":210,"cwxid":"wxid_me","userLists":[{"wxid":"wxid_1","headPic":"http://wx.qlogo.cn/1/0"},{"wxid":"wxid_2"}]}"#,
    );
    let all = daemon.cli(&["contact", "avatars"]).exits(0).line();
    assert_eq!((&all["wxid"], &all["avatar"]), (&"wxid_1".into(), &"http://wx.qlogo.cn/1/0".into()));
    let run = daemon.cli(&["contact", "avatars", "wxid_1", "wxid_2"]).exits(4);
    assert_eq!(run.lines().len(), 1);
    run.says(&["wxid_2"]);
}

#[test]
fn every_line_of_a_bulk_gives_its_receipt_or_its_error_in_order() {
    let daemon = Daemon::unpaced();
    let input = "\u{feff}wxid_a\tone\r\nbad id\tx\n\nwxid_a\t\n{\"wxid\":\"wxid_b\",\"text\":\"two\\nlines\"}";
    let run = daemon.cli_with(&["send", "text", "--from", "-"], input).exits(1);
    let lines = run.lines();
    let said: Vec<Value> =
        lines.iter().map(|l| if l["id"].is_u64() { l["id"].clone() } else { l["line"].clone() }).collect();
    assert_eq!(said, [1, 2, 4, 2].map(Value::from), "{}", run.out);
    assert!(lines[1]["error"].is_string() && lines[1]["message"].as_str().unwrap().contains("wxid"), "{}", lines[1]);
    let texts: Vec<Value> = daemon.client().poll("").iter().map(|c| c["text"].clone()).collect();
    assert_eq!(texts, ["one", "two\nlines"]);
    // For people the errors are no results.
    let run = daemon.cli_with(&["send", "text", "--from", "-", "--text"], input).exits(1);
    assert_eq!(run.out.lines().count(), 2);
    run.says(&["line 2", "line 4"]);
    let run = daemon.cli_with(&["send", "text", "--from", "-", "-q"], input).exits(1);
    assert!(run.out.is_empty());
    run.says(&["line 2", "line 4"]);
}

#[test]
fn a_bulk_of_more_than_one_request_keeps_its_order_and_waits_for_no_more_input() {
    let daemon = Daemon::unpaced();
    let input: String = (0..2500).map(|n| format!("wxid_a\tt{n}\n")).collect();
    let run = daemon.cli_with(&["send", "text", "--from", "-"], &input).exits(0);
    let ids: Vec<u64> = run.lines().iter().map(|l| l["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=2500).collect::<Vec<_>>());
    let raw: String = (0..1500).map(|n| format!("{{\"api\":\"x\",\"n\":{n}}}\n")).collect();
    assert_eq!(daemon.cli_with(&["raw", "-"], &raw).exits(0).lines().len(), 1500);
}

#[test]
fn what_standard_input_holds_is_a_text_or_nothing_is_queued() {
    let daemon = Daemon::new();
    let mut command = daemon.wehelp(["send", "text", "wxid_a", "-"]);
    command.env("LC_ALL", "C");
    run(command, Some(b"\xff\xfe"), DEADLINE).exits(2).says(&["UTF-8"]);
    daemon.cli_with(&["send", "text", "wxid_a", "-"], &"x".repeat(100_000)).exits(2).says(&["bytes"]);
    assert!(daemon.cli(&["queue", "list", "--all"]).exits(0).lines().is_empty());
}

#[test]
fn bulk_texts_give_one_line_each_and_a_second_run_sends_nothing_twice() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    let input =
        "wxid_a\thello a\nbad id\tx\n{\"wxid\":\"wxid_b\",\"text\":\"hello b\"}\nno tab here\nwxid_c\thello c\n";
    let args = ["send", "text", "--from", "-", "--key-prefix", "mailing"];
    let run = daemon.cli_with(&args, input).exits(1);
    assert_eq!(run.lines().iter().filter(|l| l["id"].is_u64()).count(), 3, "{run:?}");
    let mended = input.replace("bad id", "wxid_d").replace("no tab here", "wxid_e\thello e");
    daemon.cli_with(&args, &mended).exits(0);
    let mut ids: Vec<String> =
        daemon.client().poll("wxid=wxid_me").iter().map(|c| c["wxid"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    assert_eq!(ids, ["wxid_a", "wxid_b", "wxid_c", "wxid_d", "wxid_e"]);
}

#[test]
fn global_options_are_accepted_before_and_after() {
    let mut daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    let socket = daemon.socket();
    let socket = socket.to_str().unwrap().to_owned();
    let lines: &[&[&str]] = &[
        &["--json", "status"],
        &["status", "--json"],
        &["--socket", &socket, "--color", "never", "status"],
        &["status", "--socket", &socket, "--color", "never"],
        &["queue", "--json", "list"],
        &["-q", "queue", "list"],
        &["queue", "list", "-q"],
        &["-a", "wxid_me", "send", "text", "wxid_a", "x"],
        &["send", "text", "wxid_a", "x", "-a", "wxid_me"],
        &["send", "-a", "wxid_me", "text", "wxid_a", "x"],
    ];
    for args in lines {
        daemon.cli(args).exits(0);
    }
    // The flag wins over the environment.
    daemon.kill9();
    daemon.cli(&["--socket", "/nowhere/x.sock", "status"]).exits(3).says(&["/nowhere/x.sock"]);
}

#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let daemon = Daemon::new();
    for n in 0..300 {
        daemon.client().event(&message("wxid_me", "wxid_a", None, &format!("{n} {}", "x".repeat(2000))));
    }
    for line in [
        "wehelp events -n all | head -1 >/dev/null",
        "wehelp events -n all --text | head -1 >/dev/null",
        "wehelp --help | head -1 >/dev/null",
        "wehelp send --help | true",
        "wehelp status | true",
        "wehelp api | true",
    ] {
        let run = shell(&daemon, line);
        assert_eq!(run.err, "", "{line}");
    }
    let run = shell(&daemon, "wehelp status > /dev/full");
    assert_ne!(run.code, 0, "a full disk under stdout goes unnoticed");
    assert!(!run.err.is_empty() && !run.err.contains("panic"), "{}", run.err);
    let run = shell(&daemon, "wehelp status >&-");
    assert!(!run.err.contains("panic"), "{}", run.err);
}

#[test]
fn standard_input_is_never_read_by_surprise() {
    let daemon = Daemon::new();
    daemon.client().event(&message("wxid_me", "wxid_a", None, "x"));
    // A loop over lines: a program that reads stdin would eat the other lines.
    let run = shell(
        &daemon,
        "printf '%s\\n' a b c | while read -r x; do wehelp -q send text filehelper \"$x\"; wehelp events >/dev/null; wehelp status >/dev/null; done",
    );
    assert_eq!(run.code, 0, "{run:?}");
    let texts: Vec<Value> = daemon.client().poll("").iter().map(|c| c["text"].clone()).collect();
    assert_eq!(texts, ["a", "b", "c"]);
    // A stdin that never ends holds nothing up.
    let mut child: Command = daemon.wehelp(["send", "text", "filehelper", "x"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let pipe = child.stdin.take();
    crate::fixture::eventually("it ends", || child.try_wait().unwrap());
    drop(pipe);
}

#[test]
fn under_cron_a_line_works_with_almost_no_environment() {
    let daemon = Daemon::new();
    let mut command = Command::new(WEHELP);
    command.env_clear().env("WEHELP_SOCKET", daemon.socket()).args(["-q", "send", "text", "filehelper", "nightly"]);
    let run = run(command, None, DEADLINE).exits(0);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("", ""));
    assert_eq!(daemon.client().poll("")[0]["text"], "nightly");
}

#[test]
fn every_subcommand_has_help_with_an_example() {
    let daemon = Daemon::new();
    let mut calls: Vec<Vec<&str>> = Vec::new();
    for (group, subs) in [
        ("send", &["text", "image", "file", "link"][..]),
        ("friend", &["list", "add", "delete", "info", "get", "lookup", "accept", "requests"]),
        ("room", &["list", "members", "kick", "invite", "nick", "stranger", "rename"]),
        ("account", &["status", "qrcode", "logout", "list"]),
        ("contact", &["list", "show", "avatars"]),
        ("queue", &["list", "show", "cancel", "retry", "pause", "resume"]),
        ("cursor", &["list", "set", "delete"]),
        ("daemon", &["start", "stop", "restart", "logs"]),
    ] {
        calls.extend(subs.iter().map(|sub| vec![group, *sub]));
    }
    calls.extend(["raw", "api", "ask", "events", "status", "setup", "simulate", "completions"].map(|verb| vec![verb]));
    for call in calls {
        let run = daemon.cli(&[&call[..], &["--help"]].concat()).exits(0);
        assert!(run.out.to_lowercase().contains("example"), "{call:?} has no example");
        assert!(run.err.is_empty(), "{call:?}: {}", run.err);
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    let daemon = Daemon::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = daemon.cli(&["completions", shell]).exits(0);
        assert!(run.out.contains("wehelp"), "{shell}: {}", run.out);
    }
    daemon.cli(&["completions", "nonsense"]).exits(2);
}

#[test]
fn a_mistyped_verb_is_told_the_nearest() {
    let daemon = Daemon::new();
    daemon.cli(&["evnets"]).exits(2).says(&["events"]);
    daemon.cli(&["send", "txt", "wxid_a", "x"]).exits(2).says(&["text"]);
}
