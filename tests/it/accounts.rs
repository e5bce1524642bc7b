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
    for nothing in ["null", "(null)", "None", ""] {
        daemon.client().event(&format!(r#"{{"type":67,"code":200,"processid":7,"cwxid":"{nothing}"}}"#));
    }
    assert!(daemon.cli(&["account", "list"]).exits(0).lines().is_empty());
}

#[test]
fn an_alias_that_means_nobody_yet_can_be_sent_to() {
    let daemon = Recipe::default().config("[accounts.alias]\nwork = \"wxid_work\"\n").start();
    let receipt = send(&daemon, "work", "x");
    assert_eq!(receipt["account"], "wxid_work");
    assert_eq!(daemon.client().poll("wxid=wxid_work").len(), 1);
}
