//! Contract 5: whose commands go to which client.

use crate::fixture::{Daemon, Recipe, message};
use serde_json::Value;

fn texts(commands: &[Value]) -> Vec<&str> {
    commands.iter().map(|c| c["text"].as_str().unwrap()).collect()
}

/// A daemon that knows two accounts.
fn two() -> Daemon {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    daemon.login("wxid_you", 8);
    daemon
}

fn send(daemon: &Daemon, account: &str, text: &str) -> Value {
    daemon.cli(&["send", "text", "wxid_a", text, "-a", account]).exits(0).line()
}

#[test]
fn two_accounts_never_get_each_others_commands() {
    let daemon = two();
    for n in 0..5 {
        send(&daemon, "wxid_me", &format!("me{n}"));
        send(&daemon, "wxid_you", &format!("you{n}"));
    }
    let client = daemon.client();
    let polls = std::thread::scope(|scope| {
        let ask =
            |query: &'static str| scope.spawn(move || (0..10).flat_map(|_| client.poll(query)).collect::<Vec<_>>());
        let asked = [ask("wxid=wxid_me"), ask("wxid=wxid_you"), ask("wxid=wxid_third"), ask("")];
        asked.map(|thread| thread.join().unwrap())
    });
    assert_eq!(texts(&polls[0]), ["me0", "me1", "me2", "me3", "me4"]);
    assert_eq!(texts(&polls[1]), ["you0", "you1", "you2", "you3", "you4"]);
    assert!(polls[2].is_empty() && polls[3].is_empty(), "{polls:?}");
}

#[test]
fn with_no_account_known_whoever_polls_first_gets_it() {
    let daemon = Daemon::new();
    let receipt = daemon.cli(&["send", "text", "wxid_a", "x"]).exits(0).line();
    assert_eq!(receipt["account"], Value::Null);
    assert_eq!(daemon.client().poll("wxid=wxid_first").len(), 1);
    let receipt = daemon.reaches(1, "fetched");
    assert_eq!(receipt["fetched"]["account"], "wxid_first");
}

#[test]
fn with_one_account_known_commands_are_bound_to_it() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    let receipt = daemon.cli(&["send", "text", "wxid_a", "x"]).exits(0).line();
    assert_eq!(receipt["account"], "wxid_me");
    assert!(daemon.client().poll("wxid=wxid_other").is_empty());
    // A client that does not say who it is can only be that one.
    assert_eq!(daemon.client().poll("").len(), 1);
}

#[test]
fn with_several_known_and_none_named_it_is_refused_with_a_list() {
    let daemon = two();
    let run = daemon.cli(&["send", "text", "wxid_a", "x"]).exits(5);
    run.says(&["wxid_me", "wxid_you"]);
    assert!(run.out.is_empty());
    assert!(daemon.cli(&["queue", "list", "--all"]).exits(0).lines().is_empty());
}

#[test]
fn the_environment_and_the_settings_name_an_account() {
    let mut daemon = two();
    let mut command = daemon.wehelp(["send", "text", "wxid_a", "x"]);
    command.env("WEHELP_ACCOUNT", "wxid_you");
    let receipt = crate::fixture::run(command, None, crate::fixture::DEADLINE).exits(0).line();
    assert_eq!(receipt["account"], "wxid_you");
    daemon.rewrite_config("[accounts]\ndefault = \"work\"\n[accounts.alias]\nwork = \"wxid_me\"\n");
    daemon.restart();
    assert_eq!(daemon.cli(&["send", "text", "wxid_a", "x"]).exits(0).line()["account"], "wxid_me");
    assert_eq!(send(&daemon, "wxid_you", "y")["account"], "wxid_you");
    assert_eq!(send(&daemon, "work", "y")["account"], "wxid_me");
    // The poll URL that a person types in may use the short name as well.
    assert_eq!(daemon.client().poll("account=work").len(), 2);
}

#[test]
fn a_unique_nick_names_an_account_and_an_ambiguous_one_is_refused() {
    let daemon = Daemon::new();
    let profile = |account: &str, nick: &str| {
        daemon.client().event(&format!(
            r#"{{"type":71,"processid":1,"cwxid":"{account}","wxid":"{account}","nick":"{nick}","username":"u{nick}"}}"#
        ));
    };
    profile("wxid_1", "小强");
    profile("wxid_2", "大强");
    profile("wxid_3", "大强");
    assert_eq!(send(&daemon, "小强", "x")["account"], "wxid_1");
    let run = daemon.cli(&["send", "text", "wxid_a", "x", "-a", "大强"]).exits(5);
    run.says(&["wxid_2", "wxid_3"]);
    let run = daemon.cli(&["send", "text", "wxid_a", "x", "-a", "没有"]);
    assert!(matches!(run.code, 4 | 5), "{run:?}");
}

#[test]
fn an_anonymous_poller_gets_unbound_commands_only() {
    let daemon = Daemon::new();
    let unbound = daemon.queue_text("unbound");
    daemon.login("wxid_me", 7);
    daemon.login("wxid_you", 8);
    send(&daemon, "wxid_me", "bound");
    for query in ["", "wxid=", "wxid=null", "account=(null)", "wxid=%28null%29", "wxid=&pid="] {
        let commands = daemon.client().poll(query);
        if query.is_empty() {
            assert_eq!(texts(&commands), ["unbound"]);
            daemon.reaches(unbound, "fetched");
        } else {
            assert!(commands.is_empty(), "{query}: {commands:?}");
        }
    }
    // The status says what to type in.
    let run = daemon.cli(&["status", "--text"]).exits(0);
    let said = run.out + &run.err;
    assert!(said.contains("/send_msg?account="), "{said}");
    assert_eq!(texts(&daemon.client().poll("account=wxid_me")), ["bound"]);
}

#[test]
fn a_named_poller_gets_unbound_commands_too() {
    let daemon = Daemon::new();
    daemon.queue_text("unbound");
    daemon.login("wxid_me", 7);
    daemon.login("wxid_you", 8);
    send(&daemon, "wxid_you", "bound");
    assert_eq!(texts(&daemon.client().poll("wxid=wxid_you")), ["unbound", "bound"]);
    assert!(daemon.client().poll("wxid=wxid_me").is_empty());
}

#[test]
fn a_pid_alone_is_resolved_through_the_events() {
    let daemon = two();
    send(&daemon, "wxid_you", "by pid");
    assert!(daemon.client().poll("pid=7").is_empty());
    assert!(daemon.client().poll("pid=4711").is_empty());
    assert_eq!(texts(&daemon.client().poll("pid=8")), ["by pid"]);
    // The pair changes when WeChat restarts: the newest counts.
    daemon.client().event(&message("wxid_you", "wxid_a", None, "x").replace("7768", "9001"));
    send(&daemon, "wxid_you", "by new pid");
    assert!(daemon.client().poll("wxid=null&pid=7").is_empty());
    assert_eq!(texts(&daemon.client().poll("wxid=null&pid=9001")), ["by new pid"]);
}

#[test]
fn both_paths_and_both_methods_poll() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    for (method, path) in [("GET", "/send_msg"), ("GET", "/poll"), ("POST", "/send_msg"), ("POST", "/poll")] {
        daemon.queue_text("x");
        let answer = daemon.client().send(method, &format!("{path}?wxid=wxid_me&pid=7"), &[], b"");
        assert_eq!(answer.array().len(), 1, "{method} {path}");
    }
}

#[test]
fn a_logged_out_account_keeps_its_queue() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    let id = daemon.queue_text("x");
    for number in [90, 98] {
        daemon.client().event(&format!(r#"{{"type":{number},"processid":7,"cwxid":"wxid_me","hex":"0A04"}}"#));
        assert_eq!(daemon.show(id)["state"], "ready");
        let account = daemon.status()["accounts"][0].clone();
        assert_eq!((&account["account"], &account["logged_in"]), (&"wxid_me".into(), &false.into()), "{account}");
        assert_eq!(account["waiting"], 1);
    }
    daemon.cli(&["status", "--check"]).exits(1);
    daemon.login("wxid_me", 9);
    assert_eq!(daemon.status()["accounts"][0]["logged_in"], true);
    assert_eq!(daemon.client().poll("wxid=wxid_me").len(), 1);
}

#[test]
fn the_status_tells_of_every_account() {
    let daemon = two();
    daemon.client().poll("wxid=wxid_me&pid=7");
    let accounts = daemon.cli(&["status", "--json"]).exits(0).line()["accounts"].clone();
    let me = accounts.as_array().unwrap().iter().find(|a| a["account"] == "wxid_me").unwrap().clone();
    assert_eq!(me["pid"], 7);
    assert_eq!(me["logged_in"], true);
    assert!(me["last_poll"].is_string() && me["last_event"].is_string(), "{me}");
    assert_eq!(me["waiting"], 0);
    assert!(me.as_object().unwrap().contains_key("nick"));
    let listed = daemon.cli(&["account", "list"]).exits(0).lines();
    let ids: Vec<_> = listed.iter().map(|a| a["account"].as_str().unwrap()).collect();
    assert!(ids.contains(&"wxid_me") && ids.contains(&"wxid_you"), "{ids:?}");
}

#[test]
fn a_check_is_content_while_accounts_are_logged_in_and_their_clients_poll() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    daemon.client().poll("wxid=wxid_me&pid=7");
    daemon.cli(&["status", "--check"]).exits(0);
}

#[test]
fn an_account_that_is_not_logged_in_is_nobody() {
    let daemon = Daemon::new();
    for nothing in ["null", "(null)", "None", "", "undefined", "NULL", " Null "] {
        daemon.client().event(&format!(r#"{{"type":67,"code":200,"processid":7,"cwxid":"{nothing}"}}"#));
        let query = nothing.replace(' ', "%20");
        daemon.client().poll(&format!("wxid={query}&pid={query}"));
    }
    assert_eq!(daemon.status()["pollers"], serde_json::json!([]));
    assert!(daemon.cli(&["account", "list"]).exits(0).lines().is_empty());
}

#[test]
fn an_alias_that_means_nobody_yet_can_be_sent_to() {
    let daemon = Recipe::default().config("[accounts.alias]\nwork = \"wxid_work\"\n").start();
    let receipt = send(&daemon, "work", "x");
    assert_eq!(receipt["account"], "wxid_work");
    assert_eq!(daemon.client().poll("wxid=wxid_work").len(), 1);
}

#[test]
fn an_account_that_the_queue_keeps_commands_of_is_one_to_filters() {
    let config = "[accounts.alias]\nwork = \"old_id\"\nfree = \"wxid_free\"\n";
    let daemon = Recipe::default().config(config).start();
    daemon.login("wxid_me", 7);
    daemon.login("gone", 8);
    let kept = |name: &str, state: &str| {
        let states = |args: &[&str]| -> Vec<String> {
            let lines = daemon.cli(&[&["queue", "list", "-a", name], args].concat()).exits(0).lines();
            lines.iter().map(|receipt| receipt["state"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(states(&["--all"]), [state], "{name}");
        assert_eq!(states(&[]), [""; 0], "{name}");
        daemon.cli(&["events", "-a", name]).exits(0);
        daemon.cli(&["forward", "add", "f", "http://127.0.0.1:9/", "-a", name]).exits(0);
        daemon.cli(&["queue", "pause", "-a", name]).exits(0);
        daemon.cli(&["queue", "resume", "-a", name]).exits(0);
        // Nobody knows how it is, and whom it knows.
        daemon.cli(&["status", "-a", name]).exits(4);
        daemon.cli(&["contact", "list", "-a", name]).exits(4);
    };
    // Ahead of the login: fetched by a client of which no event came.
    for (name, account) in [("wxid_new", "wxid_new"), ("work", "old_id")] {
        let id = send(&daemon, name, "x")["id"].as_u64().unwrap();
        assert_eq!(daemon.client().poll(&format!("wxid={account}")).len(), 1);
        daemon.reaches(id, "fetched");
        kept(name, "fetched");
    }
    // Behind it.
    send(&daemon, "gone", "x");
    daemon.cli(&["account", "forget", "gone", "--force"]).exits(0);
    kept("gone", "cancelled");
    for name in ["wxid_nobody", "free"] {
        for args in [&["queue", "list", "--all"][..], &["queue", "list"], &["queue", "pause"], &["events"]] {
            // What can be sent to can be paused.
            let exit = if args[1..] == ["pause"] { 0 } else { 4 };
            let run = daemon.cli(&[args, &["-a", name]].concat()).exits(exit);
            if exit == 4 {
                run.says(&[name, "wxid_me"]);
            }
        }
    }
    daemon.cli(&["queue", "pause", "-a", "wxid_nobody"]).exits(0).says(&["no event has told", "wxid_nobody"]);
    assert!(daemon.cli(&["queue", "resume", "-a", "wxid_me"]).exits(0).err.is_empty());
    daemon.cli(&["queue", "pause", "-a", "wrok"]).exits(4).says(&["wrok", "wxid_me"]);
    daemon.cli(&["queue", "list", "-a", "free"]).exits(4).says(&["alias", "wxid_free"]);
}

fn apis(commands: &[Value]) -> Vec<&str> {
    commands.iter().map(|c| c["api"].as_str().unwrap()).collect()
}

/// `account list`, of one account.
fn account(daemon: &Daemon, id: &str) -> Value {
    let listed = daemon.cli(&["account", "list"]).exits(0).lines();
    listed.into_iter().find(|account| account["account"] == id).unwrap_or_else(|| panic!("{id} is not listed"))
}

#[test]
fn an_account_switch_in_one_process_hands_nothing_to_the_other() {
    let mut daemon = Daemon::new();
    daemon.login("wxid_me", 400);
    let text = send(&daemon, "wxid_me", "mine")["id"].as_u64().unwrap();
    let code = daemon.cli(&["account", "qrcode", "-a", "wxid_me", "--no-wait"]).exits(0).line()["id"].as_u64().unwrap();
    daemon.login("wxid_you", 400);
    for restarted in [false, true] {
        if restarted {
            daemon.restart();
        }
        let me = account(&daemon, "wxid_me");
        assert_eq!((&me["pid"], &me["logged_in"], &me["waiting"]), (&Value::Null, &false.into(), &2.into()), "{me}");
        assert_eq!(account(&daemon, "wxid_you")["pid"], 400);
        for query in ["pid=400", "wxid=wxid_you&pid=400", "wxid=null&pid=400", "", "account=wxid_me&pid=400"] {
            assert_eq!(daemon.client().poll(query), Vec::<Value>::new(), "{query}");
        }
        assert_eq!(daemon.show(text)["held"]["reason"], "logged out");
        assert_eq!(daemon.show(code)["held"], Value::Null);
    }
    // Under its own name there is only the way back in.
    assert_eq!(apis(&daemon.client().poll("wxid=wxid_me")), ["getLoginQrCode"]);
    daemon.login("wxid_me", 401);
    assert_eq!(texts(&daemon.client().poll("pid=401")), ["mine"]);
    assert!(daemon.client().poll("pid=400").is_empty());
}

#[test]
fn a_logged_out_account_is_given_its_login_questions_and_nothing_else() {
    for (number, names) in [(90, ["wxid=wxid_me", "account=work&pid=7"]), (98, ["wxid=null&pid=7", "pid=7"])] {
        let mut daemon = Recipe::default().config("[accounts.alias]\nwork = \"wxid_me\"\n").start();
        daemon.login("wxid_me", 7);
        daemon.login("wxid_you", 8);
        let ids = [
            daemon.queue(&["send", "text", "wxid_a", "mine", "-a", "work"]),
            daemon.queue(&["friend", "list", "--no-wait", "-a", "work"]),
            daemon.queue(&["account", "status", "--no-wait", "-a", "work"]),
            daemon.queue(&["account", "logout", "-a", "work"]),
            daemon.queue(&["login", "--no-wait", "-a", "work"]),
        ];
        daemon.client().event(&format!(r#"{{"type":{number},"processid":7,"cwxid":"wxid_me"}}"#));
        for (n, name) in names.into_iter().enumerate() {
            if n == 1 {
                daemon.restart();
            }
            for query in ["", "pid=8", "wxid=wxid_you", "wxid=wxid_other"] {
                assert!(daemon.client().poll(query).is_empty(), "{number} {query}");
            }
            let expected: &[&str] = if n == 0 { &["getLoginStatus", "getLoginQrCode"] } else { &[] };
            assert_eq!(apis(&daemon.client().poll(name)), expected, "{number} {name}");
        }
        assert_eq!(daemon.show(ids[1])["held"]["reason"], "logged out");
        let me = account(&daemon, "wxid_me");
        assert_eq!((&me["held"]["reason"], &me["waiting"]), (&"logged out".into(), &3.into()), "{me}");
        daemon.reaches(ids[2], "fetched");
        daemon.client().event(r#"{"type":66,"processid":9,"code":200,"cwxid":"wxid_me"}"#);
        assert_eq!(account(&daemon, "wxid_me")["held"], Value::Null);
        assert_eq!(apis(&daemon.client().poll("wxid=wxid_me&pid=9")), ["sendTextMessage", "initContact", "outLogin"]);
    }
}

#[test]
fn a_logout_without_an_account_is_that_of_its_process() {
    let daemon = two();
    send(&daemon, "wxid_me", "mine");
    daemon.client().event(r#"{"type":90,"processid":"7","cwxid":"null"}"#);
    for query in ["wxid=wxid_me", "wxid=null&pid=7"] {
        assert!(daemon.client().poll(query).is_empty(), "{query}");
    }
    daemon.client().event(r#"{"type":71,"processid":7,"cwxid":"wxid_me","wxid":"wxid_me","nick":"n"}"#);
    assert_eq!(texts(&daemon.client().poll("pid=7")), ["mine"]);
}

#[test]
fn a_name_that_only_polls_is_a_poller_and_shadows_nobody() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    assert!(daemon.client().poll("account=wxid_mistyped&pid=99").is_empty());
    assert_eq!(daemon.client().poll("wxid=wxid_me").len(), 0);
    // The only account is still the only one.
    assert_eq!(daemon.cli(&["send", "text", "wxid_a", "x"]).exits(0).line()["account"], "wxid_me");
    daemon.cli(&["status", "--check"]).exits(0);
    let status = daemon.status();
    assert_eq!(status["accounts"].as_array().unwrap().len(), 1, "{status}");
    let poller = &status["pollers"][0];
    assert_eq!((&poller["name"], &poller["pid"]), (&"wxid_mistyped".into(), &99.into()), "{status}");
    assert!(status["hints"].to_string().contains("wxid_mistyped"), "{status}");
    assert!(daemon.cli(&["status", "--text"]).exits(0).out.contains("wxid_mistyped"));
    // It is known as soon as an event tells whose name it is.
    daemon.client().event(r#"{"type":71,"cwxid":"wxid_mistyped","wxid":"wxid_mistyped","nick":"Neu"}"#);
    assert_eq!(daemon.status()["pollers"], serde_json::json!([]));
    assert!(account(&daemon, "wxid_mistyped")["last_poll_s"].is_u64());
    daemon.cli(&["send", "text", "wxid_a", "x"]).exits(5);
}

#[test]
fn a_process_that_is_nobodys_is_not_the_only_accounts() {
    let mut daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    let id = daemon.queue_text("mine");
    for restarted in [false, true] {
        if restarted {
            daemon.restart();
        }
        assert!(daemon.client().poll("wxid=null&pid=9").is_empty());
        let held = daemon.show(id)["held"]["reason"].as_str().unwrap().to_owned();
        for words in ["no client may take it: ", "127.0.0.1 polls from the process 9", "/send_msg?account=wxid_me"] {
            assert!(held.contains(words), "{held}");
        }
    }
    assert_eq!(account(&daemon, "wxid_me")["last_poll"], Value::Null);
    assert!(daemon.status()["hints"].to_string().contains("/send_msg?account=wxid_me"));
    // An event tells that it was the account's own, started anew.
    daemon.client().event(&message("wxid_me", "wxid_a", None, "x").replace("7768", "9"));
    assert_eq!(daemon.show(id)["held"], Value::Null);
    assert_eq!(texts(&daemon.client().poll("wxid=null&pid=9")), ["mine"]);
}

#[test]
fn a_command_that_a_misnamed_client_may_not_take_says_what_to_type_in() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    assert!(daemon.client().poll("account=mee").is_empty());
    let receipt = daemon.cli(&["send", "text", "wxid_a", "x"]).exits(0).line();
    let shown = daemon.show(receipt["id"].as_u64().unwrap());
    for held in [&receipt["held"], &shown["held"], &account(&daemon, "wxid_me")["held"]] {
        let reason = held["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("no client may take it: the client at 127.0.0.1 polls as `mee`, which no"),
            "{reason}"
        );
        assert!(reason.contains("/send_msg?account=wxid_me"), "{reason}");
    }
    assert_eq!(daemon.client().poll("account=wxid_me").len(), 1);
    let receipt = daemon.cli(&["send", "text", "wxid_a", "y"]).exits(0).line();
    assert!(receipt["held"].is_null(), "{receipt}");
}

#[test]
fn a_poller_is_known_by_every_name_of_its_account() {
    let daemon = two();
    daemon
        .client()
        .event(r#"{"type":71,"processid":8,"cwxid":"wxid_you","wxid":"wxid_you","nick":"小强","username":"qiang88"}"#);
    assert_eq!(account(&daemon, "wxid_you")["username"], "qiang88");
    daemon.client().event(r#"{"type":71,"processid":7,"cwxid":"wxid_me","wxid":"wxid_me","nick":"Li \"S\" Si"}"#);
    let raw: [&[u8]; 9] = [
        b"wxid=qiang88",
        "account=小强".as_bytes(),
        b"account=%E5%B0%8F%E5%BC%BA",
        // GB18030, encoded and raw.
        b"account=%D0%A1%C7%BF",
        b"account=\xd0\xa1\xc7\xbf",
        // Typed, and then what the client adds itself.
        b"account=wxid_me?wxid=wxid_you&pid=8",
        b"account=qiang88?wxid=null&pid=0",
        b"wxid=undefined&account=NULL&pid=8",
        b"account=Li \"S\" Si",
    ];
    for (n, query) in raw.into_iter().enumerate() {
        send(&daemon, if query.starts_with(b"account=Li") { "wxid_me" } else { "qiang88" }, &format!("t{n}"));
        let answer = raw_poll(&daemon, query);
        assert!(answer.contains(&format!("\"t{n}\"")), "{}: {answer}", String::from_utf8_lossy(query));
    }
}

/// What a client took that said a name which no event had told is its account's, once an event tells whose name it is.
#[test]
fn what_a_poller_took_is_of_the_account_that_it_becomes() {
    let profile = |account: &str, pid: u32, nick: &str, username: &str| {
        format!(
            r#"{{"type":71,"processid":{pid},"cwxid":"{account}","wxid":"{account}","nick":"{nick}","username":"{username}"}}"#
        )
    };
    // The nick; the username; a nick that reads in two ways (GB18030).
    for poll in ["account=小强", "account=qiang88", "account=%D0%A1%C7%BF"] {
        let daemon = Daemon::new();
        let client = daemon.client();
        let keyed = |more: &[&str]| daemon.cli(&[&["send", "text", "filehelper", "hi", "--key", "K"], more].concat());
        assert_eq!(keyed(&[]).exits(0).line()["id"], 1);
        let question = daemon.queue(&["friend", "list", "--no-wait"]);
        assert_eq!(raw_poll(&daemon, poll.as_bytes()).matches("\"api\"").count(), 2, "{poll}");
        daemon.reaches(question, "fetched");
        daemon.login("wxid_you", 8);
        client.event(&profile("wxid_you", 8, "小强", "qiang88"));
        // Its key is the account's at once, and stays that when it has got another name.
        let again = |more: &[&str]| {
            let receipt = keyed(more).exits(0).line();
            assert_eq!((&receipt["id"], &receipt["repeated"]), (&1.into(), &true.into()), "{poll} {more:?}: {receipt}");
        };
        again(&[]);
        again(&["-a", "wxid_you"]);
        client.event(&profile("wxid_you", 8, "Stark", "stark88"));
        again(&["-a", "Stark"]);
        assert_eq!(daemon.show(1)["fetched"]["account"], "wxid_you");
        // It is of nobody else.
        daemon.login("wxid_me", 7);
        assert_eq!(keyed(&["-a", "wxid_me"]).exits(0).line()["repeated"], serde_json::Value::Null);
        let friends = |account: &str, pid: u32| {
            format!(
                r#"{{"type":210,"processid":{pid},"cwxid":"{account}","userLists":[{{"wxid":"wxid_x","nick":"X"}}]}}"#
            )
        };
        client.event(&friends("wxid_me", 7));
        let answer = daemon.reported(&friends("wxid_you", 8));
        assert_eq!(daemon.reaches(question, "answered")["answer"], answer["seq"], "{poll}");
    }
}

/// Polls with a query that is written as it stands.
fn raw_poll(daemon: &Daemon, query: &[u8]) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
    stream.set_read_timeout(Some(crate::fixture::DEADLINE)).unwrap();
    let head = [b"GET /send_msg?", query, b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"].concat();
    stream.write_all(&head).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn an_account_that_nothing_has_told_of_is_accepted_by_its_form_alone() {
    let daemon = Daemon::new();
    for known in [false, true] {
        if known {
            daemon.login("wxid_me", 7);
        }
        let run = daemon.cli(&["send", "text", "wxid_a", "x", "-a", "wxid_new"]).exits(0);
        run.says(&["wxid_new", "account=wxid_new"]);
        assert!(run.line()["held"]["reason"].as_str().unwrap().starts_with("no client may take it: "), "{run:?}");
        let quiet = daemon.cli(&["send", "text", "wxid_a", "x", "-a", "wxid_new", "-q"]).exits(0);
        assert!(quiet.err.is_empty(), "{quiet:?}");
        // What is not due yet waits for nobody in the same way.
        daemon.cli(&["send", "text", "wxid_a", "x", "-a", "wxid_new", "--in", "1h"]).exits(0).says(&["wxid_new"]);
        let lines = r#"{"wxid":"wxid_a","text":"1","account":"wxid_one"}
{"wxid":"wxid_a","text":"2","account":"wxid_two","in":"1h"}
{"wxid":"wxid_a","text":"3","account":"wxid_two","in":"1h"}
"#;
        let run = daemon.cli_with(&["send", "text", "--from", "-"], lines).exits(0);
        let told = |account: &str| run.err.lines().filter(|line| line.contains(account)).count();
        assert_eq!((told("`wxid_one`"), told("`wxid_two`")), (1, 1), "{}", run.err);
        let unknown = daemon.cli(&["send", "text", "wxid_a", "x", "-a", "laowang"]).exits(4);
        unknown.says(&["laowang", if known { "wxid_me" } else { "none" }]);
        for filter in [&["events"][..], &["queue", "list"], &["queue", "list", "--all"], &["contact", "list"]] {
            let run = daemon.cli(&[filter, &["-a", "wxid_nobody"]].concat()).exits(4);
            assert!(run.out.is_empty(), "{run:?}");
        }
        daemon.cli(&["forward", "add", "f", "http://127.0.0.1:9/", "-a", "wxid_nobody"]).exits(4);
    }
    assert_eq!(daemon.client().poll("account=wxid_new").len(), 4);
}

#[test]
fn what_is_known_is_of_the_account_that_a_command_would_be_for() {
    let mut daemon = two();
    let friends = |account: &str, friend: &str| {
        let list = serde_json::json!([{"wxid": friend, "nick": friend}]);
        daemon.client().event(&serde_json::json!({"type": 210, "cwxid": account, "userLists": list}).to_string());
    };
    friends("wxid_me", "wxid_a");
    friends("wxid_you", "wxid_b");
    for list in [&["friend", "list", "--cached"][..], &["contact", "list"], &["room", "list", "--cached"]] {
        let of = daemon.cli(&[list, &["-a", "wxid_you"]].concat()).exits(0);
        assert!(!of.out.contains("wxid_a\""), "{list:?}: {}", of.out);
        daemon.cli(list).exits(5).says(&["wxid_me", "wxid_you"]);
    }
    daemon.rewrite_config("[accounts]\ndefault = \"wxid_me\"\n");
    daemon.restart();
    for list in [&["friend", "list", "--cached"][..], &["contact", "list"]] {
        assert_eq!(daemon.cli(list).exits(0).line()["wxid"], "wxid_a", "{list:?}");
    }
}

#[test]
fn an_account_is_forgotten_and_stays_so() {
    let mut daemon = two();
    for _ in 0..3 {
        daemon.client().event(&message("wxid_you", "wxid_friend", None, "x").replace("7768", "8"));
    }
    daemon.cli(&["account", "forget", "wxid_nobody"]).exits(4);
    daemon.client().poll("wxid=wxid_you");
    daemon.cli(&["account", "forget", "wxid_you"]).exits(5).says(&["polls", "--force"]);
    daemon.restart();
    let id = send(&daemon, "wxid_you", "waits")["id"].as_u64().unwrap();
    let later = daemon.queue(&["send", "text", "wxid_a", "later", "-a", "wxid_you", "--in", "1h"]);
    daemon.cli(&["account", "forget", "wxid_you"]).exits(5).says(&["2 commands", "--force"]);
    let events = daemon.events(&["-n", "all"]).len();
    let forgotten = daemon.cli(&["account", "forget", "wxid_you", "--force"]).exits(0).line();
    assert_eq!(forgotten, serde_json::json!({"account": "wxid_you", "cancelled": 2}));
    for kill in [None, Some(false), Some(true)] {
        match kill {
            None => {}
            Some(false) => daemon.restart(),
            Some(true) => {
                daemon.kill9();
                daemon.start();
            }
        }
        let known: Vec<_> = daemon.cli(&["account", "list"]).exits(0).lines();
        assert_eq!(known.iter().map(|a| &a["account"]).collect::<Vec<_>>(), ["wxid_me"], "{kill:?}");
        assert!(daemon.cli(&["contact", "list"]).exits(0).out.is_empty(), "{kill:?}");
        assert_eq!(daemon.events(&["-n", "all"]).len(), events);
        for id in [id, later] {
            assert_eq!(daemon.show(id)["state"], "cancelled");
        }
        // Nobody need be named any more.
        assert_eq!(daemon.cli(&["send", "text", "wxid_a", "x"]).exits(0).line()["account"], "wxid_me");
    }
    daemon.client().event(&message("wxid_you", "wxid_friend", None, "back").replace("7768", "8"));
    assert!(account(&daemon, "wxid_you")["last_event"].is_string());
    daemon.client().poll("account=wrok");
    daemon.cli(&["account", "forget", "wrok", "--force"]).exits(0);
    assert_eq!(daemon.status()["pollers"], serde_json::json!([]));
}

#[test]
fn a_mistyped_account_that_commands_wait_for_is_forgotten_with_them() {
    let daemon = two();
    let id = send(&daemon, "wxid_typo", "x")["id"].as_u64().unwrap();
    daemon.cli(&["account", "forget", "wxid_typo"]).exits(5).says(&["1 commands wait", "--force"]);
    let forgotten = daemon.cli(&["account", "forget", "wxid_typo", "--force"]).exits(0).line();
    assert_eq!(forgotten, serde_json::json!({"account": "wxid_typo", "cancelled": 1}));
    assert_eq!(daemon.show(id)["state"], "cancelled");
    daemon.cli(&["account", "forget", "wxid_typo"]).exits(4).says(&["wxid_me"]);
}

#[test]
fn an_unnamed_client_that_is_known_then_has_one_budget() {
    // Rate and names such that no token comes back while the test runs.
    let settings = "[pacing]\nsends_per_minute = 4\n";
    for (before, after) in
        [("", "wxid=wxid_me"), ("wxid=wxid_me", "wxid=wxid_me"), ("pid=7", "pid=7"), ("account=Anna", "account=Anna")]
    {
        let daemon = Recipe::default().config(settings).start();
        for n in 0..4 {
            daemon.queue_text(&format!("unbound{n}"));
        }
        assert_eq!(daemon.client().poll(before).len(), 4, "{before}");
        daemon.login("wxid_me", 7);
        daemon.client().event(r#"{"type":71,"processid":7,"cwxid":"wxid_me","wxid":"wxid_me","nick":"Anna"}"#);
        let id = send(&daemon, "wxid_me", "bound")["id"].as_u64().unwrap();
        assert!(daemon.client().poll(after).is_empty(), "{before}");
        assert!(daemon.show(id)["held"]["reason"].as_str().unwrap().starts_with("pacing: "), "{before}");
        daemon.login("wxid_you", 8);
        assert!(daemon.client().poll(after).is_empty(), "{before}");
    }
}

#[test]
fn a_status_is_of_one_account_when_one_is_named() {
    let daemon = two();
    daemon.client().poll("wxid=wxid_me");
    daemon.client().poll("wxid=wxid_you");
    daemon.client().event(r#"{"type":90,"processid":8,"cwxid":"wxid_you"}"#);
    daemon.cli(&["status", "--check"]).exits(1).says(&["wxid_you"]);
    daemon.cli(&["status", "--check", "-a", "wxid_you"]).exits(1).says(&["wxid_you"]);
    daemon.cli(&["status", "--check", "-a", "wxid_me"]).exits(0);
    daemon.cli(&["status", "--check", "-a", "wxid_nobody"]).exits(4);
    let accounts = daemon.cli(&["status", "--json", "-a", "wxid_me"]).exits(0).line()["accounts"].clone();
    assert_eq!(accounts.as_array().unwrap().len(), 1);
    let me = &accounts[0];
    assert!(me["last_poll_s"].is_u64() && me["held"].is_null() && me["paused"] == false, "{me}");
    daemon.cli(&["queue", "pause", "-a", "wxid_me"]).exits(0);
    daemon.cli(&["status", "--check", "-a", "wxid_me"]).exits(1).says(&["paused"]);
    let id = send(&daemon, "wxid_me", "x")["id"].as_u64().unwrap();
    assert_eq!(daemon.show(id)["held"], serde_json::json!({"until": null, "reason": "paused"}));
}

#[test]
fn when_an_account_was_seen_last_is_known_after_a_restart() {
    let mut daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    daemon.client().poll("wxid=wxid_me");
    let seen = |daemon: &Daemon| {
        let me = daemon.cli(&["status", "--json"]).exits(0).line()["accounts"][0].clone();
        (me["last_poll"].clone(), me["last_event"].clone())
    };
    let before = seen(&daemon);
    assert!(before.0.is_string() && before.1.is_string(), "{before:?}");
    daemon.restart();
    assert_eq!(seen(&daemon), before);
    let told = |daemon: &Daemon| {
        let stored = daemon.events(&["-n", "1", "--kind", "message.text"]);
        stored.last().map(|event| event["time"].clone())
    };
    // What the log has needs not be remembered.
    daemon.client().event(&message("wxid_me", "wxid_a", None, "hi"));
    let last_event = told(&daemon).unwrap();
    daemon.kill9();
    daemon.start();
    assert_eq!(seen(&daemon), (before.0, last_event));
}

#[test]
fn the_first_starts_say_nothing_that_looks_like_damage() {
    let mut daemon = Daemon::new();
    for kill in [false, false, true, true, false] {
        if kill {
            daemon.kill9();
            daemon.start();
        } else {
            daemon.restart();
        }
    }
    let log = daemon.log();
    for word in ["WARN", "ERROR", "damage", "torn", "made again"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

#[test]
fn a_name_holds_as_soon_as_the_event_that_told_it_is_answered() {
    let daemon = two();
    let profile = |nick: &str, username: &str| {
        let told = serde_json::json!({"type": 71, "processid": 7, "cwxid": "wxid_me", "wxid": "wxid_me", "nick": nick,
            "username": username});
        daemon.client().event(&told.to_string());
    };
    for n in 0..5 {
        let (nick, username) = (format!("小王{n}"), format!("wang{n}"));
        send(&daemon, "wxid_me", "hi");
        profile(&nick, &username);
        let by_nick = daemon.client().poll(&format!("account={nick}"));
        assert_eq!(texts(&by_nick), ["hi"], "{nick}");
        send(&daemon, "wxid_me", "ho");
        // The names before are nobody's, and the new ones name it everywhere.
        profile(&format!("老王{n}"), &format!("lao{n}"));
        for old in [&nick, &username] {
            assert_eq!(daemon.client().poll(&format!("account={old}")).len(), 0, "{old}");
            daemon.cli(&["queue", "list", "-a", old]).exits(4);
        }
        assert_eq!(send(&daemon, &format!("lao{n}"), "hey")["account"], "wxid_me");
        assert_eq!(texts(&daemon.client().poll(&format!("account=lao{n}"))), ["ho", "hey"]);
    }
}

#[test]
fn an_event_that_names_no_account_is_of_the_one_in_its_process() {
    let mut daemon = Recipe::default().config("[accounts]\ndefault = \"wxid_me\"\n").start();
    daemon.login("wxid_me", 7);
    daemon.login("wxid_you", 8);
    let unnamed = |daemon: &Daemon, pid: Option<u64>, cwxid: Option<&str>, text: &str| {
        let mut event: Value = serde_json::from_str(&message("", "wxid_a", None, text)).unwrap();
        (event["processid"], event["cwxid"]) = (pid.into(), cwxid.into());
        daemon.client().event(&event.to_string());
    };
    unnamed(&daemon, Some(8), None, "one");
    unnamed(&daemon, Some(8), Some("null"), "two");
    unnamed(&daemon, Some(9), None, "of nobody");
    unnamed(&daemon, None, None, "of nobody");
    let heard = |daemon: &Daemon| {
        let lines = daemon.events(&["-n", "all", "--kind", "message.text"]);
        lines.iter().map(|e| e["account"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let you = || Some("wxid_you".to_owned());
    assert_eq!(heard(&daemon), [you(), you(), None, None]);
    let filtered = ["-n", "all", "--kind", "message.text", "-a", "wxid_you"];
    assert_eq!(daemon.events(&filtered).len(), 2);
    // An answer goes out over the account that was spoken to, or not at all.
    let reply = ["events", "-n", "4", "--kind", "message.text", "--reply", "--exec", "echo", "answer"];
    let run = daemon.cli(&reply).exits(0);
    run.says(&["nobody knows which account"]);
    let accounts: Vec<Value> = run.lines().iter().map(|receipt| receipt["account"].clone()).collect();
    assert_eq!(accounts, ["wxid_you", "wxid_you"]);
    // What was heard stays heard by whom it was.
    daemon.login("wxid_me", 8);
    daemon.restart();
    // A poll waits until what was told before is learned.
    daemon.client().poll("wxid=wxid_me");
    unnamed(&daemon, Some(8), None, "three");
    assert_eq!(heard(&daemon), [you(), you(), None, None, Some("wxid_me".to_owned())]);
    assert_eq!(daemon.events(&filtered).len(), 2);
}

#[test]
fn a_check_tells_each_cause_on_a_line_and_of_one_account_only_its_own() {
    let daemon = Daemon::new();
    for (account, pid) in [("wxid_me", 7), ("wxid_you", 8)] {
        daemon.login(account, pid);
        daemon.client().poll(&format!("wxid={account}&pid={pid}"));
    }
    let causes = |args: &[&str], code| -> Vec<String> {
        let run = daemon.cli(&[&["status", "--check"], args].concat()).exits(code);
        assert!(run.out.is_empty(), "{}", run.out);
        run.err.lines().map(str::to_owned).collect()
    };
    assert!(causes(&[], 0).is_empty());
    daemon.cli(&["queue", "pause", "-a", "wxid_you"]).exits(0);
    daemon.client().event(r#"{"type":90,"processid":8,"cwxid":"wxid_you","hex":"0A04"}"#);
    let told = causes(&[], 1);
    assert!(told.len() == 2 && told[0].contains("paused") && told[1].contains("logged out"), "{told:?}");
    assert!(told.iter().all(|cause| cause.starts_with("wehelp: error: ") && cause.contains("wxid_you")), "{told:?}");
    assert_eq!(causes(&["-a", "wxid_you"], 1), told);
    assert!(causes(&["-a", "wxid_me"], 0).is_empty());
    // What concerns all of them concerns each.
    daemon.cli(&["queue", "pause"]).exits(0);
    assert!(causes(&["-a", "wxid_me"], 1)[0].contains("the queue is paused"));
    let json = daemon.cli(&["status", "--check", "--json"]).exits(1);
    assert!(json.err.lines().all(|cause| cause.starts_with("{\"error\":\"check-failed\"")), "{json:?}");
}
