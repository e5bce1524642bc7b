//! Contract 2 over TLS, and SIGHUP: what can be read again is read again, what cannot is said.

use crate::fixture::{DEADLINE, Daemon, Recipe, Run, UNPACED, clean, eventually, message, run};
use crate::missing::{self, is_installed};
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
    daemon.rewrite_config(&format!("{UNPACED}[http]\ntls_cert = {cert:?}\ntls_key = {key:?}\n"));
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
    if !is_installed("curl") {
        return;
    }
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
    if !is_installed("curl") {
        return;
    }
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

/// A client that polls once over TLS and prints the answer's body: its name, what must succeed where it is installed,
/// and the program with its arguments; `URL` and `CERT` stand for what they name.
struct Poller {
    name: &'static str,
    probe: &'static [&'static str],
    poll: &'static [&'static str],
    /// CI must have it.
    wanted: bool,
}

const POLLERS: &[Poller] = &[
    Poller {
        name: "wget",
        probe: &["wget", "--version"],
        poll: &["wget", "-q", "--no-proxy", "-O", "-", "--ca-certificate", "CERT", "URL"],
        wanted: true,
    },
    Poller {
        name: "Perl's LWP",
        probe: &["perl", "-MLWP::UserAgent", "-MLWP::Protocol::https", "-e", "1"],
        poll: &[
            "perl",
            "-MLWP::UserAgent",
            "-e",
            r#"my $ua = LWP::UserAgent->new(ssl_opts => {SSL_ca_file => $ARGV[1]}); my $answer = $ua->get($ARGV[0]);
               die $answer->status_line unless $answer->is_success; print $answer->content"#,
            "URL",
            "CERT",
        ],
        wanted: true,
    },
    Poller {
        name: "Python's urllib",
        probe: &["python3", "-c", "import ssl, urllib.request"],
        poll: &[
            "python3",
            "-c",
            "import ssl, sys, urllib.request
tls = ssl.create_default_context(cafile=sys.argv[2])
print(urllib.request.urlopen(sys.argv[1], context=tls).read().decode())",
            "URL",
            "CERT",
        ],
        wanted: true,
    },
    Poller {
        name: "requests",
        probe: &["python3", "-c", "import requests"],
        poll: &[
            "python3",
            "-c",
            "import requests, sys
print(requests.get(sys.argv[1], verify=sys.argv[2]).text)",
            "URL",
            "CERT",
        ],
        wanted: false,
    },
    Poller {
        name: "urllib3",
        probe: &["python3", "-c", "import urllib3"],
        poll: &[
            "python3",
            "-c",
            "import sys, urllib3
print(urllib3.PoolManager(ca_certs=sys.argv[2]).request('GET', sys.argv[1]).data.decode())",
            "URL",
            "CERT",
        ],
        wanted: false,
    },
    Poller {
        name: "httpx",
        probe: &["python3", "-c", "import httpx"],
        poll: &[
            "python3",
            "-c",
            "import httpx, ssl, sys
print(httpx.get(sys.argv[1], verify=ssl.create_default_context(cafile=sys.argv[2])).text)",
            "URL",
            "CERT",
        ],
        wanted: false,
    },
    Poller {
        name: "curl",
        probe: &["curl", "--version"],
        poll: &["curl", "-sS", "--noproxy", "*", "--cacert", "CERT", "URL"],
        wanted: true,
    },
];

/// Runs a program in a clean environment; `None` when it does not exist.
fn program(words: &[String], home: &Path) -> Option<Run> {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(&words[0]).is_file()));
    found.then(|| {
        let mut command = clean(&words[0], home);
        command.args(&words[1..]);
        run(command, None, DEADLINE)
    })
}

#[test]
fn every_client_gets_each_command_once_over_tls() {
    let daemon = secure();
    let home = daemon.path("home");
    let url = format!("https://localhost:{}/send_msg", daemon.port());
    let cert = fixture("one.cert.pem").to_str().unwrap().to_owned();
    let words = |of: &[&str]| -> Vec<String> {
        of.iter().map(|word| word.replace("URL", &url).replace("CERT", &cert)).collect()
    };
    for Poller { name, probe, poll, wanted } in POLLERS {
        if program(&words(probe), &home).is_none_or(|probe| probe.code != 0) {
            if *wanted {
                missing::tool(name)
            } else {
                missing::other(&format!("no {name}"))
            }
            continue;
        }
        for n in 0..10 {
            let text = format!("{name} {n}");
            let id = daemon.queue_text(&text);
            let answer = program(&words(poll), &home).unwrap().exits(0).line();
            let texts: Vec<&str> = answer.as_array().unwrap().iter().filter_map(|c| c["text"].as_str()).collect();
            assert_eq!(texts, [text.as_str()], "in round {n}");
            let receipt = daemon.reaches(id, "fetched");
            let confirmed = &receipt["fetched"]["confirmed"];
            assert_eq!((&receipt["attempts"], confirmed), (&1.into(), &true.into()), "{receipt}");
        }
    }
}

mod by_hand {
    //! A TLS client that is made by hand: it closes when and how the test wants it.

    use super::secure;
    use crate::client::Wire;
    use crate::fixture::Daemon;
    use crate::trustful::trustful;
    use socket2::SockRef;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;
    use tokio_rustls::rustls::{ClientConnection, StreamOwned};

    type Client = Wire<StreamOwned<ClientConnection, TcpStream>>;

    /// Connected, and its acknowledgements are delayed as long as its system likes.
    fn connect(daemon: &Daemon) -> Client {
        over(daemon.client().connect().stream)
    }

    fn over(stream: TcpStream) -> Client {
        let session = ClientConnection::new(trustful(), "localhost".try_into().unwrap()).unwrap();
        SockRef::from(&stream).set_tcp_quickack(false).unwrap();
        Wire::new(StreamOwned::new(session, stream))
    }

    fn poll(client: &mut Client, version: &str) {
        client.stream.write_all(format!("GET /send_msg HTTP/{version}\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    }

    fn settles(daemon: &Daemon, id: u64, confirmed: bool) {
        let receipt = daemon.reaches(id, "fetched");
        let found = (&receipt["attempts"], &receipt["fetched"]["confirmed"]);
        assert_eq!(found, (&1.into(), &confirmed.into()), "{receipt}");
    }

    #[test]
    fn a_client_that_closes_without_a_goodbye_has_got_its_answer_however_late_it_acknowledges() {
        let daemon = secure();
        for pause_ms in [0, 1, 5, 20, 60] {
            for _ in 0..3 {
                let id = daemon.queue_text("x");
                let mut client = connect(&daemon);
                poll(&mut client, "1.1");
                assert_eq!(client.receive().unwrap().array().len(), 1);
                SockRef::from(&client.stream.sock).set_tcp_quickack(false).unwrap();
                std::thread::sleep(Duration::from_millis(pause_ms));
                drop(client);
                settles(&daemon, id, true);
            }
        }
    }

    #[test]
    fn a_client_that_resets_when_it_has_read_everything_gets_it_once_and_is_not_confirmed() {
        let daemon = secure();
        for size in [1, 3000, 60_000] {
            for _ in 0..10 {
                let command = format!("{{\"api\":\"any\",\"filling\":\"{}\"}}\n", "x".repeat(size));
                let id = daemon.cli_with(&["raw", "-"], &command).exits(0).lines()[0]["id"].as_u64().unwrap();
                let mut client = connect(&daemon);
                poll(&mut client, "1.1");
                assert_eq!(client.receive().unwrap().array().len(), 1);
                SockRef::from(&client.stream.sock).set_linger(Some(Duration::ZERO)).unwrap();
                drop(client.stream.sock);
                settles(&daemon, id, false);
            }
        }
    }

    #[test]
    fn a_client_that_said_goodbye_before_its_answer_gets_it_once_however_late_it_acknowledges() {
        let daemon = secure();
        for pause_ms in [0, 1, 5, 20, 60] {
            for _ in 0..3 {
                let id = daemon.queue_text("x");
                let mut client = connect(&daemon);
                poll(&mut client, "1.1");
                client.stream.conn.send_close_notify();
                client.stream.flush().unwrap();
                client.stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(client.receive().unwrap().array().len(), 1);
                SockRef::from(&client.stream.sock).set_tcp_quickack(false).unwrap();
                std::thread::sleep(Duration::from_millis(pause_ms));
                drop(client);
                // It could not say that it has read it.
                settles(&daemon, id, false);
            }
        }
    }

    #[test]
    fn a_client_that_says_goodbye_and_waits_for_ours_gets_it_at_once() {
        let daemon = secure();
        let id = daemon.queue_text("x");
        let mut client = connect(&daemon);
        poll(&mut client, "1.1");
        assert_eq!(client.receive().unwrap().array().len(), 1);
        client.stream.conn.send_close_notify();
        client.stream.flush().unwrap();
        let mut rest = Vec::new();
        client.stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
        drop(client);
        settles(&daemon, id, true);
    }

    #[test]
    fn a_client_that_reads_to_the_end_gets_the_end() {
        let daemon = secure();
        let id = daemon.queue_text("x");
        let mut client = connect(&daemon);
        poll(&mut client, "1.0");
        let mut answer = String::new();
        // A goodbye that did not come would be an error here.
        client.stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"text\":\"x\""), "{answer}");
        client.stream.conn.send_close_notify();
        client.stream.flush().unwrap();
        drop(client);
        settles(&daemon, id, true);
    }

    #[test]
    fn a_client_that_breaks_off_in_its_answer_gets_it_again() {
        let daemon = secure();
        let much = format!("{{\"api\":\"big\",\"filling\":\"{}\"}}\n", "x".repeat(30_000)).repeat(8);
        let id = daemon.cli_with(&["raw", "-"], &much).exits(0).lines()[0]["id"].as_u64().unwrap();
        let mut client = over(daemon.client().connect_narrow().stream);
        poll(&mut client, "1.1");
        daemon.reaches(id, "in_flight");
        SockRef::from(&client.stream.sock).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let receipt = daemon.reaches(id, "ready");
        assert_eq!(receipt["attempts"], 1, "{receipt}");
    }
}
