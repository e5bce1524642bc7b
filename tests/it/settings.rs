//! Contract 1 and 8: `wehelp config`: every setting in force and where it comes from; and the manual that is built in.

use crate::fixture::{Daemon, Recipe, WEHELP, WEHELPD, clean, run};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn setting(lines: &[Value], program: &str, key: &str) -> Value {
    let found: Vec<&Value> = lines.iter().filter(|line| line["program"] == program && line["key"] == key).collect();
    let [one] = found[..] else { panic!("{key} of {program}: {found:?}") };
    json!([one["value"], one["from"], one["source"], one["in_force"]])
}

#[test]
fn every_setting_of_a_running_daemon_is_shown_with_where_it_comes_from() {
    let toml = "[queue]\nbatch = 7\n\n[accounts.alias]\nwork = \"wxid_me\"\n";
    let daemon = Recipe::default().config(toml).env("WEHELP_LOG_FORMAT", "json").start();
    // What the file says by now is not what is in force.
    daemon.rewrite_config("[queue]\nbatch = 8\n");
    let lines = daemon.cli(&["config"]).exits(0).lines();
    let config = daemon.path("config.toml").display().to_string();
    let of = |key: &str| setting(&lines, "wehelpd", key);
    assert_eq!(of("queue.batch"), json!([7, "file", format!("{config}:2"), true]));
    assert_eq!(of("accounts.alias.work"), json!(["wxid_me", "file", format!("{config}:5"), true]));
    assert_eq!(of("queue.keep_done"), json!(["7d", "default", null, true]));
    assert_eq!(of("http.listen"), json!([["127.0.0.1:0"], "flag", "--listen", true]));
    assert_eq!(of("data_dir"), json!([daemon.data_dir().to_str(), "flag", "--data-dir", true]));
    assert_eq!(of("config"), json!([config, "flag", "--config", true]));
    assert_eq!(of("log_format"), json!(["json", "variable", "WEHELP_LOG_FORMAT", true]));
    assert_eq!(
        setting(&lines, "wehelp", "socket"),
        json!([daemon.socket().to_str(), "variable", "WEHELP_SOCKET", true])
    );
    let token = std::fs::read_to_string(daemon.data_dir().join("token")).unwrap();
    let told = daemon.control("GET", "/v1/config", b"").text();
    assert!(told.lines().count() > 25 && !told.contains(token.trim()), "{told}");
    let text = daemon.cli(&["config", "--text", "-a", "work"]).exits(0).out;
    assert!(text.contains("queue.batch") && text.contains("config.toml:2") && text.contains("--account"), "{text}");
}

#[test]
fn without_a_daemon_it_shows_what_one_would_run_with_also_where_the_file_has_a_fault() {
    let daemon = Recipe::default().config("[queue]\nbatch = 7\nbatchx = 1\n").lay_out();
    let mut command = daemon.wehelp(["config", "--config"]);
    command.env_remove("WEHELP_SOCKET").arg(daemon.path("config.toml")).env("WEHELP_LISTEN", " [::1]:9 ,, 127.0.0.1:9");
    let shown = run(command, None, crate::fixture::DEADLINE).exits(0);
    shown.says(&["batchx", "no wehelpd runs"]);
    let lines = shown.lines();
    assert_eq!(setting(&lines, "wehelpd", "queue.batch")[0], 7);
    let listen = setting(&lines, "wehelpd", "http.listen");
    assert_eq!(listen, json!([["[::1]:9", "127.0.0.1:9"], "variable", "WEHELP_LISTEN", false]));
    assert!(setting(&lines, "wehelpd", "data_dir")[0].as_str().unwrap().ends_with("/wehelp"), "{lines:?}");
    // The daemon itself does not start with it.
    run(daemon.command(), None, crate::fixture::DEADLINE).exits(1).says(&["batchx"]);
}

#[test]
fn what_print_config_prints_is_a_settings_file_on_a_fresh_account() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.toml");
    let script =
        format!("{WEHELPD} --print-config > {file} && {WEHELPD} --check --config {file}", file = file.display());
    let mut shell = clean("sh", home.path());
    shell.arg("-c").arg(script);
    run(shell, None, crate::fixture::DEADLINE).exits(0);
}

fn man(args: &[&str]) -> Command {
    let mut command = clean(WEHELP, Path::new("/"));
    command.arg("man").args(args);
    command
}

#[test]
fn the_manual_is_read_without_a_daemon_and_without_man() {
    let shown = |args: &[&str]| run(man(args), None, crate::fixture::DEADLINE);
    let page = shown(&["queue", "list"]).exits(0).out;
    for words in ["WEHELP-QUEUE-LIST(1)", "\nOPTIONS\n", "--after <REV>", "\nEXAMPLES\n"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(page.lines().all(|line| !line.starts_with('.')) && !page.contains(['\\', '\u{1b}', '\u{1}']), "{page}");
    assert!(shown(&["7", "events"]).exits(0).out.starts_with("WEHELP-EVENTS(7)"));
    assert!(shown(&["wehelpd"]).exits(0).out.starts_with("WEHELPD(8)"));
    assert!(shown(&[]).exits(0).out.starts_with("WEHELP(1)"));
    let json = shown(&["raw", "--json"]).exits(0).line();
    assert_eq!((&json["name"], &json["section"]), (&json!("wehelp-raw"), &json!("1")));
    shown(&["quue", "list"]).exits(4).says(&["wehelp man queue list"]);
    shown(&["xyzzy"]).exits(4).says(&["no page"]);
}

#[test]
fn a_scripts_own_daemon_is_not_asked_for_more_than_its_settings() {
    let daemon = Daemon::new();
    assert_eq!(daemon.control("POST", "/v1/config", b"{}").error(404), "no-such-path");
    assert_eq!(daemon.control("GET", "/v1/config/x", b"").error(404), "no-such-path");
}
