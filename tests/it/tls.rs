//! Contract 2 over TLS, and SIGHUP: what can be read again is read again, what cannot is said.

use crate::fixture::{DEADLINE, Daemon, Recipe, Run, clean, eventually, message, run};
use std::path::{Path, PathBuf};

/// Self-signed certificates for `localhost`, made for these tests and good for nothing else.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// A daemon that speaks TLS with the first certificate, from files of its own.
pub(crate) fn secure() -> Daemon {
    let mut daemon = Recipe::default().lay_out();
    install(&daemon, "one");
    let (cert, key) = (daemon.path("cert.pem"), daemon.path("key.pem"));
    daemon.rewrite_config(&format!("[http]\ntls_cert = {cert:?}\ntls_key = {key:?}\n"));
    daemon.start();
    daemon
}

fn install(daemon: &Daemon, name: &str) {
    for part in ["cert", "key"] {
        std::fs::copy(fixture(&format!("{name}.{part}.pem")), daemon.path(&format!("{part}.pem"))).unwrap();
    }
}

fn curl(daemon: &Daemon, trusted: &str, args: &[&str]) -> Run {
    let mut command = clean("curl", &daemon.path("home"));
    command.args(["-sS", "--max-time", "10", "--noproxy", "*", "--cacert"]).arg(fixture(trusted)).args(args);
    run(command, None, DEADLINE)
}

#[test]
fn callbacks_and_polls_go_over_tls() {
    let daemon = secure();
    assert_eq!(daemon.status()["http"]["tls"], true);
    let url = |path: &str| format!("https://localhost:{}{path}", daemon.port());
    let body = format!("{{\"data\":{}}}", message("wxid_me", "wxid_a", None, "over tls"));
    let posted = curl(&daemon, "one.cert.pem", &[&url("/recieve_msg"), "--data-binary", &body]).exits(0);
    assert_eq!(posted.out, "[]");
    assert_eq!(daemon.last_event()["text"], "over tls");
    let id = daemon.queue_text("hi");
    let polled = curl(&daemon, "one.cert.pem", &[&url("/send_msg?wxid=wxid_me")]).exits(0);
    assert_eq!(polled.line()[0]["text"], "hi");
    // Delivery is judged below TLS, and just as sure.
    assert_eq!(daemon.reaches(id, "fetched")["fetched"]["confirmed"], true);
    // Who does not speak TLS, or does not trust us, gets nothing and harms nobody.
    let plain = curl(&daemon, "one.cert.pem", &[&format!("http://localhost:{}/healthz", daemon.port())]);
    assert_ne!(plain.code, 0, "{plain:?}");
    assert_ne!(curl(&daemon, "two.cert.pem", &[&url("/healthz")]).code, 0);
    curl(&daemon, "one.cert.pem", &[&url("/healthz")]).exits(0);
    daemon.cli(&["setup", "--text", "--no-watch"]).exits(0).out.find("https://").expect("the addresses are https");
}

#[test]
fn a_hangup_reads_the_certificate_again_and_keeps_the_old_one_when_the_new_one_is_bad() {
    let daemon = secure();
    let url = format!("https://localhost:{}/healthz", daemon.port());
    let hang_up = || rustix::process::kill_process(daemon.pid(), rustix::process::Signal::HUP).unwrap();
    std::fs::write(daemon.path("cert.pem"), "rubbish").unwrap();
    hang_up();
    eventually("the bad certificate is told", || daemon.log().contains("the old certificate stays").then_some(()));
    curl(&daemon, "one.cert.pem", &[&url]).exits(0);
    install(&daemon, "two");
    hang_up();
    eventually("the new certificate is used", || (curl(&daemon, "two.cert.pem", &[&url]).code == 0).then_some(()));
    assert_ne!(curl(&daemon, "one.cert.pem", &[&url]).code, 0);
}

#[test]
fn a_hangup_says_that_other_settings_need_a_restart() {
    let daemon = Daemon::new();
    daemon.rewrite_config("[queue]\nbatch = 3\n");
    rustix::process::kill_process(daemon.pid(), rustix::process::Signal::HUP).unwrap();
    eventually("it is told", || daemon.log().contains("restart wehelpd").then_some(()));
    daemon.rewrite_config("[queue]\nbach = 3\n");
    rustix::process::kill_process(daemon.pid(), rustix::process::Signal::HUP).unwrap();
    eventually("it is told", || daemon.log().contains("`queue.batch`").then_some(()));
    daemon.queue_text("still serving");
}

#[test]
fn a_certificate_without_its_key_or_that_is_none_keeps_it_from_starting() {
    let daemon = Recipe::default().lay_out();
    let cert = fixture("one.cert.pem");
    for (config, says) in [
        (format!("[http]\ntls_cert = {cert:?}\n"), "tls_key"),
        (format!("[http]\ntls_cert = {cert:?}\ntls_key = \"/no/such.pem\"\n"), "/no/such.pem"),
        (format!("[http]\ntls_cert = {cert:?}\ntls_key = {:?}\n", fixture("two.key.pem")), "one.cert.pem"),
    ] {
        daemon.rewrite_config(&config);
        let ended = run(daemon.command(), None, DEADLINE);
        assert_ne!(ended.code, 0, "{config}");
        ended.says(&[says]);
    }
}

#[test]
fn logs_for_machines_are_json_and_hold_no_text_of_chats() {
    let daemon = Recipe::default().arg("--log-format").arg("json").arg("-vv").start();
    daemon.client().event(&message("wxid_me", "wxid_a", None, "a secret of the chat"));
    daemon.queue_text("another secret");
    daemon.client().poll("wxid=wxid_me");
    let log = daemon.log();
    assert!(!log.is_empty());
    for line in log.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"));
        assert!(value["timestamp"].is_string() && value["level"].is_string(), "{value}");
    }
    let token = std::fs::read_to_string(daemon.data_dir().join("token")).unwrap();
    for secret in ["a secret of the chat", "another secret", token.trim()] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
