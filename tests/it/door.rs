//! Contract 2, the client door: methods, errors, token, browsers, limits.

use crate::client::{Client, Wire};
use crate::fixture::{Daemon, Recipe, clean, eventually, run};
use crate::missing::{self, is_installed};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// An address of this machine that is not loopback, if it has one. No packet is sent for it.
fn remote_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// The token, wherever the door keeps it in the data folder.
fn token(daemon: &Daemon) -> String {
    let shown = daemon.control("GET", "/v1/token", b"").json();
    let token = shown["token"].as_str().unwrap().to_owned();
    assert!(token.len() >= 20, "128 bits do not fit in {} characters", token.len());
    token
}

#[test]
fn what_is_not_there_is_404_and_what_is_not_done_is_405_both_as_json() {
    let daemon = Daemon::new();
    let client = daemon.client();
    for path in ["/", "/nothing", "/v1/status", "/send_msg/x", "/recieve_msgs", "/%2e%2e/etc/passwd", "//"] {
        client.get(path).error(404);
    }
    client.get("/recieve_msg").error(405);
    for (method, path) in [("PUT", "/send_msg"), ("DELETE", "/callback"), ("POST", "/healthz"), ("PATCH", "/metrics")] {
        client.send(method, path, &[], b"").error(405);
    }
    let mut wire = client.connect();
    wire.send(b"HEAD /recieve_msg HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(wire.receive_head().unwrap().status, 405);
    assert_eq!(daemon.status()["events"]["count"], 0);
}

#[test]
fn health_and_metrics_are_told() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    let health = daemon.client().get("/healthz");
    assert_eq!((health.status, health.json()), (200, serde_json::json!({"status": "ok"})));
    let metrics = daemon.client().get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"), "{metrics:?}");
    let text = metrics.text();
    assert!(text.contains("# TYPE ") && text.contains("wehelp"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (_, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        assert!(value.parse::<f64>().is_ok(), "no number: {line}");
    }
}

#[test]
fn loopback_needs_no_token_unless_it_is_always_required() {
    let daemon = Recipe::default().config("[http]\nrequire_token = \"always\"\n").start();
    let token = token(&daemon);
    let client = daemon.client();
    let body = br#"{"data":{"type":90}}"#;
    let bearer = format!("Bearer {token}");
    let (almost, last) = token.split_at(token.len() - 1);
    let wrong = format!("Bearer {almost}{}", if last == "x" { "y" } else { "x" });
    client.post("/recieve_msg", body).error(401);
    client.get("/send_msg").error(401);
    client.get("/send_msg?token=").error(401);
    client.get(&format!("/send_msg?token={token}x")).error(401);
    client.get(&format!("/t/{}/send_msg", &token[1..])).error(401);
    client.send("GET", "/send_msg", &[("Authorization", &wrong)], b"").error(401);
    assert_eq!(daemon.status()["events"]["count"], 0);
    assert_eq!(client.get("/healthz").status, 200);
    for path in ["/recieve_msg", "/receive_msg", "/callback"] {
        assert_eq!(client.post(&format!("{path}?token={token}"), body).status, 200, "{path}");
        assert_eq!(client.post(&format!("/t/{token}{path}"), body).status, 200, "{path}");
        assert_eq!(client.send("POST", path, &[("Authorization", &bearer)], body).status, 200, "{path}");
    }
    for path in ["/send_msg", "/poll"] {
        assert!(client.get(&format!("{path}?wxid=wxid_me&token={token}")).array().is_empty());
        assert!(client.get(&format!("/t/{token}{path}?wxid=wxid_me")).array().is_empty());
        assert!(client.send("GET", path, &[("Authorization", &bearer)], b"").array().is_empty());
    }
    assert!(!daemon.log().contains(&token), "the token is in the log");
}

#[test]
fn other_addresses_need_the_token() {
    let Some(ip) = remote_address() else {
        return missing::other("no address but loopback");
    };
    let daemon = Recipe::default().listen("0.0.0.0:0").start();
    let token = token(&daemon);
    let client = Client { addr: (ip, daemon.port()).into() };
    let host = format!("{ip}:{}", daemon.port());
    let get = |path: &str| client.send("GET", path, &[("Host", &host)], b"");
    get("/send_msg").error(401);
    assert!(get(&format!("/send_msg?token={token}")).array().is_empty());
    assert!(get(&format!("/t/{token}/send_msg")).array().is_empty());
    // Loopback is still free.
    assert!(daemon.client().poll("").is_empty());
}

#[test]
fn a_browser_is_no_client() {
    let daemon = Daemon::new();
    daemon.queue_text("secret");
    let client = daemon.client();
    let body = br#"{"data":{"type":90}}"#;
    let hostile: &[(&str, &str)] = &[
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost:4567"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Host", "evil.example"),
        ("Host", "evil.example:4567"),
        ("Host", "localhost.evil.example"),
        ("Host", "127.0.0.1.evil.example"),
    ];
    for header in hostile {
        assert_eq!(client.send("POST", "/recieve_msg", &[*header], body).error(403), {
            client.send("GET", "/send_msg", &[*header], b"").error(403)
        });
    }
    assert_eq!(daemon.status()["events"]["count"], 0);
    // With a right token too: a person may type the address into a browser.
    let typed = format!("/t/{}/send_msg", token(&daemon));
    let navigation = [("Upgrade-Insecure-Requests", "1"), ("Sec-Fetch-Mode", "navigate")];
    let said = client.send("GET", &typed, &navigation, b"");
    said.error(403);
    assert!(said.text().contains("this address works") && said.text().contains("client"), "{}", said.text());
    for host in ["127.0.0.1", "127.0.0.1:4567", "[::1]:4567", "[::1]", "localhost", "LOCALHOST:99"] {
        assert_eq!(client.send("POST", "/recieve_msg", &[("Host", host)], body).status, 200, "{host}");
    }
    assert_eq!(daemon.show(1)["state"], "ready");
}

#[test]
fn a_right_token_makes_any_host_right_and_a_refusal_names_host_and_setting() {
    let daemon = Daemon::new();
    let token = token(&daemon);
    let client = daemon.client();
    let host = [("Host", "wehelp.example:4567")];
    let refused = client.send("GET", "/send_msg", &host, b"");
    refused.error(403);
    for part in ["wehelp.example:4567", "hosts"] {
        assert!(refused.text().contains(part), "{}", refused.text());
        assert!(daemon.log().contains(part), "{}", daemon.log());
    }
    assert!(client.send("GET", &format!("/t/{token}/send_msg"), &host, b"").array().is_empty());
    assert_eq!(client.send("GET", "/healthz", &host, b"").status, 200);
}

/// Every answer that one door gives says that it is for now only.
fn is_kept_nowhere(answer: &crate::client::Response) {
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    assert_eq!(answer.header("pragma"), Some("no-cache"), "{answer:?}");
}

#[test]
fn no_cache_may_keep_an_answer_of_either_door() {
    let daemon = Daemon::new();
    for path in ["/send_msg", "/poll?wxid=wxid_a", "/healthz", "/metrics", "/nothing", "/recieve_msg"] {
        is_kept_nowhere(&daemon.client().get(path));
    }
    is_kept_nowhere(&daemon.client().post("/recieve_msg", b"{}"));
    is_kept_nowhere(&daemon.client().post("/recieve_msg", b"no json"));
    is_kept_nowhere(&daemon.client().send("GET", "/send_msg", &[("Origin", "null")], b""));
    for path in ["/v1/status", "/v1/nothing", "/v1/events"] {
        is_kept_nowhere(&daemon.control("GET", path, b""));
    }
}

#[test]
fn refusals_say_by_their_headers_what_would_be_right() {
    let daemon = Recipe::default().config("[http]\nrequire_token = \"always\"\n").start();
    let client = daemon.client();
    let refused = client.get("/send_msg");
    refused.error(401);
    assert!(refused.header("www-authenticate").is_some_and(|v| v.starts_with("Bearer")), "{refused:?}");
    let with = |path: &str| format!("/t/{}{path}", token(&daemon));
    for (method, path, allowed) in [
        ("GET", with("/recieve_msg"), "POST"),
        ("PUT", with("/send_msg"), "GET, POST"),
        ("HEAD", with("/poll"), "GET, POST"),
        ("POST", "/healthz".to_owned(), "GET, HEAD"),
        ("POST", with("/metrics"), "GET"),
    ] {
        let mut wire = client.connect();
        wire.send(&crate::client::request(method, &path, &[], b""));
        let refused = wire.receive_head().unwrap();
        assert_eq!((refused.status, refused.header("allow")), (405, Some(allowed)), "{method} {path}");
    }
}

#[test]
fn whoever_watches_over_the_machine_may_ask_with_head() {
    let daemon = Daemon::new();
    let mut wire = daemon.client().connect();
    wire.send(b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = wire.receive_head().unwrap();
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("15")));
    // Nothing of a body stands before the next answer.
    wire.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(wire.receive().unwrap().json(), serde_json::json!({"status": "ok"}));
}

#[test]
fn verbose_logs_each_request_without_text_or_token() {
    let daemon = Recipe::default().arg("-v").start();
    let token = token(&daemon);
    let id = daemon.queue_text("a secret text");
    daemon.client().event(r#"{"type":67,"processid":7,"cwxid":"wxid_me","code":200,"message":"another secret"}"#);
    let polled = daemon.client().get(&format!("/t/{token}/send_msg?wxid=wxid_me&token={token}"));
    assert_eq!(polled.array().len(), 1);
    daemon.client().poll("pid=7");
    daemon.client().get("/send_msg/some-private-path").error(404);
    let lines: Vec<String> = daemon.log().lines().filter(|l| l.contains("request")).map(str::to_owned).collect();
    let has = |parts: &[&str]| lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(&["POST", "callback", "wxid_me", "status=200", "event=1", "bytes="]), "{lines:#?}");
    assert!(has(&["GET", "poll", "wxid_me", "status=200", &format!("commands=[{id}]"), "127.0.0.1:"]), "{lines:#?}");
    let of_the_account = |line: &&String| line.contains("poll") && line.contains("wxid_me");
    assert_eq!(lines.iter().filter(of_the_account).count(), 2, "a process is an account: {lines:#?}");
    assert!(has(&["GET", "none", "status=404"]), "{lines:#?}");
    for never in [&token, "secret", "private"] {
        assert!(!daemon.log().contains(never), "`{never}` is in the log: {}", daemon.log());
    }
}

/// Whether another user can be played here: only root may.
fn setpriv() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        missing::other("no right to play another user");
    }
    is_root && is_installed("setpriv")
}

#[test]
fn another_user_of_this_machine_needs_the_token() {
    if !setpriv() {
        return;
    }
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let daemon = Recipe::default().listen(listen).start();
        let (token, id) = (token(&daemon), daemon.queue_text("hi"));
        let addr = daemon.client().addr;
        let as_nobody = |request: &str, then: &str| {
            let (ip, port) = (addr.ip(), addr.port());
            let script = format!("exec 3<>/dev/tcp/{ip}/{port} && printf '{request}' >&3 && {then}");
            let mut command = clean("setpriv", &daemon.path("home"));
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "bash", "-c", &script]);
            command.current_dir("/");
            run(command, None, Duration::from_secs(20)).exits(0).out
        };
        let read = "head -n 1 <&3";
        let post = |path: &str| {
            let body = r#"{"data":{"type":90}}"#;
            format!("POST {path} HTTP/1.0\\r\\nContent-Length: {}\\r\\n\\r\\n{body}", body.len())
        };
        assert!(as_nobody("GET /send_msg HTTP/1.0\\r\\n\\r\\n", read).contains("401"));
        assert!(as_nobody(&post("/recieve_msg"), read).contains("401"));
        // Who has gone when we look is nobody, and not root, as whom the kernel shows him.
        for _ in 0..20 {
            as_nobody(&post("/recieve_msg"), "exec 3>&-");
        }
        assert!(as_nobody(&post(&format!("/t/{token}/recieve_msg")), read).contains("200"));
        assert_eq!(
            (daemon.show(id)["state"].as_str(), daemon.status()["events"]["count"].as_u64()),
            (Some("ready"), Some(1))
        );
        assert_eq!(daemon.client().poll("").len(), 1);
    }
}

#[test]
fn a_configured_name_may_be_the_host() {
    let daemon = Recipe::default().config("[http]\nhosts = [\"wehelp.lan\"]\n").start();
    let with = format!("/send_msg?token={}", token(&daemon));
    for host in ["wehelp.lan", "WeHelp.lan:4567"] {
        // Through a name that is not loopback's, a request counts as remote.
        daemon.client().send("GET", "/send_msg", &[("Host", host)], b"").error(401);
        assert_eq!(daemon.client().send("GET", &with, &[("Host", host)], b"").status, 200, "{host}");
    }
    daemon.client().send("GET", "/send_msg", &[("Host", "other.lan")], b"").error(403);
}

fn chunked(client: Client, chunks: &[&[u8]], end: bool) -> Wire<TcpStream> {
    let mut wire = client.connect();
    wire.send(b"POST /recieve_msg HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in chunks {
        let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
        // The daemon may refuse midway and stop reading.
        if std::io::Write::write_all(&mut wire.stream, &framed).is_err() {
            return wire;
        }
    }
    if end {
        wire.send(b"0\r\n\r\n");
    }
    wire
}

#[test]
fn chunked_bodies_are_read_whole() {
    let daemon = Daemon::new();
    let mut wire = chunked(daemon.client(), &[br#"{"data":{"#, br#""type":9"#, b"0}}"], true);
    let answer = wire.receive().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "[]"));
    assert_eq!(daemon.last_event()["kind"], "logout");
}

#[test]
fn a_body_beyond_the_limit_is_413_sized_or_chunked() {
    let daemon = Recipe::default().config("[http]\nbody_max = \"64KiB\"\n").start();
    let big = format!(r#"{{"data":{{"type":90,"x":"{}"}}}}"#, "y".repeat(80_000));
    daemon.client().post("/recieve_msg", big.as_bytes()).error(413);
    let half = "z".repeat(40_000);
    let mut wire = chunked(daemon.client(), &[half.as_bytes(), half.as_bytes()], false);
    wire.receive().unwrap().error(413);
    // Announced is enough: nothing needs to be read.
    let mut wire = daemon.client().connect();
    wire.send(b"POST /recieve_msg HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n");
    wire.receive().unwrap().error(413);
    assert_eq!(daemon.status()["events"]["count"], 0);
    let fits = format!(r#"{{"data":{{"type":90,"x":"{}"}}}}"#, "y".repeat(60_000));
    assert_eq!(daemon.client().post("/recieve_msg", fits.as_bytes()).status, 200);
}

#[test]
fn sixteen_megabytes_are_the_default() {
    let daemon = Daemon::new();
    let inner = format!(r#"{{"type":90,"x":"{}"}}"#, "y".repeat(15 << 20));
    daemon.client().event(&inner);
    let line = daemon.cli(&["events", "show", "1"]).exits(0).out;
    assert!(line.contains(&inner), "15 MiB came back changed ({} bytes)", line.len());
    let big = vec![b' '; (16 << 20) + 1];
    daemon.client().post("/recieve_msg", &big).error(413);
}

#[test]
fn expect_100_continue_is_honoured() {
    let daemon = Daemon::new();
    let mut wire = daemon.client().connect();
    let body = br#"{"data":{"type":90}}"#;
    wire.send(
        format!(
            "POST /callback HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .as_bytes(),
    );
    let mut first = [0];
    wire.stream.peek(&mut first).unwrap();
    wire.send(body);
    assert_eq!(wire.receive().unwrap().status, 200);
}

#[test]
fn slow_headers_and_slow_bodies_are_cut_off_and_hold_nobody_up() {
    let config = "[http]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\n";
    let daemon = Recipe::default().config(config).start();
    let mut header = daemon.client().connect();
    header.send(b"GET /send_msg HTTP/1.1\r\nHos");
    let mut body = daemon.client().connect();
    body.send(b"POST /recieve_msg HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"data\"");
    assert!(daemon.client().poll("").is_empty());
    if let Ok(answer) = header.receive() {
        assert!(answer.status >= 400, "{answer:?}");
    }
    // It ends; when it is answered, then with 408 in JSON.
    if let Ok(answer) = body.receive() {
        answer.error(408);
    }
    assert_eq!(daemon.status()["events"]["count"], 0);
}

#[test]
fn a_callback_that_is_cut_is_not_kept_but_told_and_counted() {
    let daemon = Recipe::default().config("[http]\nbody_timeout = \"1s\"\n").start();
    let head = "POST /recieve_msg HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"data\"";
    let counted = || {
        let metrics = daemon.client().get("/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with("wehelp_callbacks_cut_total ")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(counted(), 0);
    let mut broken = daemon.client().connect();
    // Whoever is gone before it is known who he is would be a stranger.
    broken.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(broken.receive().unwrap().status, 200);
    broken.send(head.as_bytes());
    let peer = broken.stream.local_addr().unwrap().to_string();
    drop(broken);
    eventually("it is counted", || (counted() == 1).then_some(()));
    let mut slow = daemon.client().connect();
    slow.send(head.as_bytes());
    slow.receive().unwrap().error(408);
    eventually("it is counted", || (counted() == 2).then_some(()));
    // Half a connection that is closed in the middle of a body, and one that is answered otherwise.
    let mut half = daemon.client().connect();
    half.send(head.as_bytes());
    half.stream.shutdown(std::net::Shutdown::Write).unwrap();
    eventually("it is counted", || (counted() == 3).then_some(()));
    daemon.client().post("/recieve_msg", b"no JSON").error(400);
    assert_eq!(counted(), 3);
    assert_eq!(daemon.status()["events"]["count"], 1);
    let log = daemon.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("body of a callback")).collect();
    assert_eq!(said.len(), 1, "once a minute: {log}");
    for part in [&peer[..], "received=7", "declared=100", "callbacks=1"] {
        assert!(said[0].contains(part), "`{part}` is not in: {}", said[0]);
    }
}

#[test]
fn a_token_that_is_typed_in_the_place_of_a_name_is_not_logged() {
    let daemon = Recipe::default().arg("-vv").start();
    let token = token(&daemon);
    daemon.cli(&["token", "rotate"]).exits(0);
    let new = self::token(&daemon);
    for token in [&token, &new] {
        daemon.client().poll(&format!("account={token}"));
        daemon.client().poll(&format!("wxid={token}"));
        let port = daemon.port();
        for host in [format!("{token}:{port}"), format!("{token}.lan"), token.clone()] {
            let headers = [("Host", &host[..]), ("User-Agent", token)];
            daemon.client().send("GET", "/send_msg", &headers, b"").error(403);
        }
        let referer = format!("http://{token}/");
        daemon.client().send("GET", "/send_msg", &[("Referer", &referer)], b"").error(403);
        daemon.client().get(&format!("/{token}")).error(404);
        daemon.client().send(token, "/send_msg", &[], b"").error(405);
    }
    let log = daemon.log();
    assert!(log.contains(&format!("{}…", &token[..4])), "{log}");
    for token in [&token, &new] {
        assert!(!log.contains(&token[..12]), "{log}");
    }
}

#[test]
fn rubbish_on_the_wire_harms_nobody() {
    let daemon = Daemon::new();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000));
    let many = format!("GET /send_msg HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    let rubbish: &[&[u8]] = &[
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0",
        long.as_bytes(),
        many.as_bytes(),
    ];
    for bytes in rubbish {
        let mut wire = daemon.client().connect();
        // The daemon may close before everything is written.
        drop(std::io::Write::write_all(&mut wire.stream, bytes));
        drop(wire.stream.shutdown(std::net::Shutdown::Write));
        if let Ok(answer) = wire.receive() {
            assert!(answer.status >= 400, "{answer:?}");
        }
    }
    assert!(daemon.client().poll("").is_empty());
}

#[test]
fn many_idle_connections_do_not_keep_a_client_out() {
    let daemon = Daemon::new();
    let idle: Vec<_> = (0..300).map(|_| daemon.client().connect()).collect();
    assert!(daemon.client().poll("").is_empty());
    drop(idle);
}

/// Lets this process have so many files open, if it may; how many connections it can hold then.
fn connections_possible(wanted: u64) -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map_or(Some(wanted * 2), |maximum| Some(maximum.min(wanted * 2)));
    let _ = setrlimit(Resource::Nofile, limit);
    let possible = getrlimit(Resource::Nofile).current.unwrap_or(wanted).saturating_sub(512).min(wanted);
    usize::try_from(possible).unwrap()
}

#[test]
fn four_thousand_slow_connections_leave_a_good_client_its_answers() {
    let slow_ones = connections_possible(4000);
    if slow_ones < 4000 {
        missing::other(&format!("no right to have more files open than for {slow_ones} connections of 4000"));
    }
    let daemon = Recipe::default().config("[http]\nconnections_max = 256\n").start();
    let client = daemon.client();
    let begun: &[&[u8]] = &[
        b"",
        b"GET /send_msg HTTP/1.1\r\nHos",
        b"POST /recieve_msg HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /send_msg HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ];
    let rounds = 20;
    let mut slow = Vec::new();
    let mut kept = client.connect();
    for _ in 0..rounds {
        for n in 0..slow_ones / rounds {
            let mut wire = client.connect();
            // Whoever has to make room may be gone already.
            drop(std::io::Write::write_all(&mut wire.stream, begun[n % begun.len()]));
            slow.push(wire);
        }
        client.event(r#"{"type":90}"#);
        assert!(client.poll("").is_empty());
        // Who is idle is the first to make room, and no worse off than by any other close between two requests.
        kept.send(&crate::client::request("POST", "/recieve_msg", &[], br#"{"data":{"type":90}}"#));
        if kept.receive().is_err() {
            kept = client.connect();
        }
    }
    let status = daemon.status();
    assert!(status["http"]["connections"].as_u64().unwrap() <= 256, "{}", status["http"]);
    assert!(status["http"]["rejected"]["made-room"].as_u64().unwrap() > 1000, "{}", status["http"]);
    assert_eq!(status["http"]["rejected"]["too-many-connections"], serde_json::Value::Null, "{}", status["http"]);
    let said = daemon.log().lines().filter(|line| line.contains("made room")).count();
    assert!((1..=3).contains(&said), "{}", daemon.log());
}

#[test]
fn several_addresses_can_be_listened_on() {
    let daemon = Recipe::default().arg("--listen").arg("[::1]:0").start();
    let listen = daemon.status()["http"]["listen"].clone();
    let addresses: Vec<std::net::SocketAddr> =
        listen.as_array().unwrap().iter().map(|a| a.as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(addresses.len(), 2, "{listen}");
    for addr in addresses {
        assert_ne!(addr.port(), 0);
        assert!(Client { addr }.poll("").is_empty());
    }
}

#[test]
fn one_address_answers_both_families() {
    let daemon = Recipe::default().listen("[::]:0").start();
    for ip in ["127.0.0.1", "::1"] {
        let client = Client { addr: (ip.parse::<IpAddr>().unwrap(), daemon.port()).into() };
        assert!(client.poll("").is_empty(), "{ip}");
    }
}

#[test]
fn rotating_now_ends_the_old_token_at_once() {
    let daemon = Recipe::default().config("[http]\nrequire_token = \"always\"\n").start();
    let poll = |token: &str| daemon.client().get(&format!("/t/{token}/send_msg")).status;
    let first = token(&daemon);
    daemon.cli(&["token", "rotate"]).exits(0);
    let second = token(&daemon);
    assert_eq!((poll(&first), poll(&second)), (200, 200));
    let rotated = daemon.cli(&["token", "rotate", "--now"]).exits(0).line();
    let third = token(&daemon);
    assert_eq!((&rotated["token"], &rotated["previous_until"]), (&third.clone().into(), &serde_json::Value::Null));
    assert_eq!((poll(&first), poll(&second), poll(&third)), (401, 401, 200));
}

/// Starts a daemon that must refuse to; what it said.
fn refuses(config: &str, args: &[&str]) -> String {
    let dir = tempfile::Builder::new().prefix("wh").tempdir_in("/tmp").unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = clean(crate::fixture::WEHELPD, dir.path());
    command.arg("--config").arg(path).arg("--data-dir").arg(dir.path().join("d")).args(args);
    let run = run(command, None, Duration::from_secs(20));
    assert!(matches!(run.code, 1 | 2), "{run:?}");
    assert!(run.out.is_empty(), "{}", run.out);
    run.err
}

#[test]
fn a_daemon_open_to_the_world_without_a_token_does_not_start() {
    let err = refuses("[http]\nrequire_token = \"never\"\n", &["--listen", "0.0.0.0:0"]);
    assert!(err.contains("--insecure"), "{err}");
    let err = refuses("[http]\nrequire_token = \"never\"\n", &["--listen", "[::]:0"]);
    assert!(err.contains("--insecure"), "{err}");
    // A name on loopback is open to the web pages that the user visits.
    let named = "[http]\nrequire_token = \"never\"\nhosts = [\"box.lan\"]\n";
    for check in [&[][..], &["--check"]] {
        let err = refuses(named, &[&["--listen", "127.0.0.1:0"], check].concat());
        assert!(err.contains("--insecure") && err.contains("web page"), "{err}");
    }
    let daemon =
        Recipe::default().config("[http]\nrequire_token = \"never\"\n").listen("0.0.0.0:0").arg("--insecure").start();
    assert!(daemon.client().poll("").is_empty());
    assert!(daemon.log().contains("every web page"), "{}", daemon.log());
    // On loopback it is nobody's business.
    let daemon = Recipe::default().config("[http]\nrequire_token = \"never\"\n").start();
    assert!(daemon.client().poll("").is_empty());
}

#[test]
fn the_token_is_made_once_and_is_its_owners_alone() {
    let mut daemon = Daemon::new();
    let first = token(&daemon);
    let file = daemon.data_dir().join("token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), first);
    daemon.restart();
    assert_eq!(token(&daemon), first);
    let shown = daemon.cli(&["token", "show"]).exits(0);
    assert!(shown.out.contains(&first), "{}", shown.out);
}

#[test]
fn setup_names_the_two_addresses_to_type_in() {
    let daemon = Daemon::new();
    let run = daemon.cli(&["setup", "--text"]).exits(0);
    for part in ["/recieve_msg", "/send_msg", &daemon.port().to_string()] {
        assert!(run.out.contains(part), "`{part}` is not in: {}", run.out);
    }
}

#[test]
fn setup_names_the_addresses_of_this_machine_with_the_token() {
    let Some(ip) = remote_address() else {
        return missing::other("no address but loopback");
    };
    let daemon = Recipe::default().listen("0.0.0.0:0").start();
    let out = daemon.cli(&["setup", "--text"]).exits(0).out;
    for part in [&format!("http://{ip}:{}", daemon.port()), &token(&daemon)] {
        assert!(out.contains(part), "`{part}` is not in: {out}");
    }
    // What it says to type in works.
    let told: Vec<&str> =
        out.split_whitespace().filter(|w| w.starts_with(&format!("http://{ip}")) && w.contains("/send_msg")).collect();
    assert!(!told.is_empty(), "{out}");
    let path = told[0].strip_prefix(&format!("http://{ip}:{}", daemon.port())).unwrap();
    let client = Client { addr: (ip, daemon.port()).into() };
    let host = format!("{ip}:{}", daemon.port());
    assert_eq!(client.send("GET", path, &[("Host", &host)], b"").status, 200, "{path}");
}
