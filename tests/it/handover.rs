//! Contract 6, the hand-over: each way in which a poll's response can end, and what becomes of its commands.

use crate::client::{Wire, reset};
use crate::fixture::{Daemon, eventually};
use serde_json::Value;
use std::io::Read;
use std::net::{Shutdown, TcpStream};

const POLL: &[u8] = b"GET /send_msg HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Queues about 240 kB of commands, more than a narrow client takes in.
fn much(daemon: &Daemon) -> Vec<u64> {
    let lines: Vec<String> =
        (0..8).map(|n| format!(r#"{{"api":"big{n}","filling":"{}"}}"#, "x".repeat(30_000))).collect();
    let receipts = daemon.cli_with(&["raw", "-"], &lines.join("\n")).exits(0).lines();
    receipts.iter().map(|r| r["id"].as_u64().unwrap()).collect()
}

/// A narrow client that has polled `much` and not read any of it.
fn stuck(daemon: &Daemon) -> (Vec<u64>, Wire<TcpStream>) {
    let ids = much(daemon);
    let mut wire = daemon.client().connect_narrow();
    wire.send(POLL);
    daemon.reaches(ids[0], "in_flight");
    (ids, wire)
}

fn confirmed(receipt: &Value) -> Option<bool> {
    receipt["fetched"]["confirmed"].as_bool()
}

#[test]
fn an_orderly_close_confirms_the_fetch() {
    let daemon = Daemon::new();
    let id = daemon.queue_text("x");
    let mut wire = daemon.client().connect();
    wire.send(b"GET /send_msg?wxid=wxid_me&pid=77 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(wire.receive().unwrap().array().len(), 1);
    let peer = wire.stream.local_addr().unwrap().to_string();
    wire.stream.shutdown(Shutdown::Write).unwrap();
    drop(wire);
    let receipt = daemon.reaches(id, "fetched");
    assert_eq!(confirmed(&receipt), Some(true), "{receipt}");
    assert_eq!(receipt["fetched"]["account"], "wxid_me");
    assert_eq!(receipt["fetched"]["pid"], 77);
    assert!(receipt["fetched"]["peer"].as_str().unwrap().starts_with("127.0.0.1"), "{receipt} {peer}");
    assert!(receipt["fetched"]["time"].is_string());
    assert_eq!(receipt["attempts"], 1);
}

#[test]
fn a_fetched_command_is_not_handed_over_again() {
    let daemon = Daemon::new();
    let id = daemon.queue_text("x");
    assert_eq!(daemon.client().poll("").len(), 1);
    assert!(daemon.client().poll("").is_empty());
    daemon.reaches(id, "fetched");
    assert!(daemon.client().poll("").is_empty());
}

#[test]
fn every_poll_ends_its_connection_and_a_callback_keeps_it() {
    // A connection between two requests has longer than a request's head.
    let daemon = crate::fixture::Recipe::default().config("[http]\nheader_timeout = \"1s\"\n").start();
    let mut wire = daemon.client().connect();
    wire.send(POLL);
    let mut bytes = Vec::new();
    wire.stream.read_to_end(&mut bytes).unwrap();
    let answer = String::from_utf8(bytes).unwrap();
    let has = |line: &str| answer.contains(&format!("\r\n{line}\r\n"));
    assert!(has("Connection: close") && has("Content-Length: 2") && answer.ends_with("\r\n\r\n[]"), "{answer}");
    let refused = daemon.client().send("GET", "/send_msg", &[("Origin", "http://x")], b"");
    assert_eq!((refused.status, refused.header("connection")), (403, Some("close")));

    let mut wire = daemon.client().connect();
    for pause in [0, 2500] {
        std::thread::sleep(std::time::Duration::from_millis(pause));
        wire.send(&crate::client::request("POST", "/recieve_msg", &[], br#"{"data":{"type":90}}"#));
        let answer = wire.receive().unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, None), "{answer:?}");
    }
    assert_eq!(daemon.status()["http"]["rejected"]["slow-header"], Value::Null);
    // One that has begun a request has no longer.
    wire.send(b"POST /recieve_msg HTTP/1.1\r\n");
    assert!(wire.receive().is_err());
    eventually("it is counted", || (daemon.status()["http"]["rejected"]["slow-header"] == 1).then_some(()));
}

#[test]
fn who_has_closed_its_sending_side_gets_its_answer_at_both_doors() {
    // `printf 'GET /send_msg HTTP/1.0\r\n\r\n' | nc -N`: it is not held, since nobody can tell whether it is still there.
    let daemon = crate::fixture::Recipe::default().config("[http]\npoll_hold = \"60s\"\n").start();
    let ask = || {
        let mut stream = daemon.client().connect().stream;
        std::io::Write::write_all(&mut stream, b"GET /send_msg HTTP/1.0\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask().ends_with("\r\n\r\n[]"));
    let id = daemon.queue_text("to netcat");
    let answer = ask();
    assert!(answer.contains("to netcat"), "{answer}");
    // It cannot say that it has read it.
    let receipt = daemon.reaches(id, "fetched");
    assert_eq!(confirmed(&receipt), Some(false), "{receipt}");

    // One that is held already is let go.
    let mut stream = daemon.client().connect().stream;
    std::io::Write::write_all(&mut stream, b"GET /send_msg HTTP/1.0\r\n\r\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\n[]"), "{answer}");

    for (request, says) in [
        ("GET /v1/status HTTP/1.0\r\n\r\n", "\"in_flight\""),
        ("GET /v1/events?follow=true&lines=0&count=1 HTTP/1.0\r\n\r\n", "\"type\":90"),
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(crate::fixture::DEADLINE)).unwrap();
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // The head comes at once; what is followed comes later.
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        daemon.client().event(r#"{"type":90,"cwxid":"wxid_me"}"#);
        stream.read_to_end(&mut answer).unwrap();
        assert!(String::from_utf8_lossy(&answer).contains(says), "{request}");
    }
}

#[test]
fn a_held_poll_whose_client_has_gone_ends_at_once() {
    let daemon = crate::fixture::Recipe::default().config("[http]\npoll_hold = \"60s\"\n").start();
    // The last one had sent more than it was asked for.
    let ways: [fn(Wire<TcpStream>); 3] = [drop, reset, reset];
    for (go, more) in ways.into_iter().zip([b"", b"", POLL]) {
        let mut wire = daemon.client().connect();
        wire.send(POLL);
        wire.send(more);
        let open = || daemon.status()["http"]["connections"].as_u64();
        eventually("the poll is held", || (open() == Some(1)).then_some(()));
        go(wire);
        eventually("it ends", || (open() == Some(0)).then_some(()));
    }
}

#[test]
fn a_follower_of_the_control_door_that_has_gone_lets_its_cursor_go() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    let follow = || {
        let mut stream = std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(crate::fixture::DEADLINE)).unwrap();
        let request = b"GET /v1/events?follow=true&cursor=c HTTP/1.1\r\nHost: localhost\r\n\r\n";
        std::io::Write::write_all(&mut stream, request).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (String::from_utf8_lossy(&head).into_owned(), stream)
    };
    for _ in 0..5 {
        let (head, stream) = follow();
        assert_eq!(head, "HTTP/1.1 200");
        drop(stream);
    }
}

#[test]
fn a_slow_but_steady_reader_gets_its_answer() {
    let daemon = Daemon::unpaced();
    let (ids, mut wire) = stuck(&daemon);
    let start = std::time::Instant::now();
    let mut answer = Vec::new();
    // It takes longer than the daemon waits for a reader that takes nothing in.
    while !answer.ends_with(b"]") {
        let mut some = [0; 16 << 10];
        let n = wire.stream.read(&mut some).unwrap();
        assert!(n > 0, "cut off after {} bytes and {:?}", answer.len(), start.elapsed());
        answer.extend(&some[..n]);
        let steady = std::time::Duration::from_millis(13_000 * answer.len() as u64 / 240_000);
        std::thread::sleep(steady.saturating_sub(start.elapsed()));
    }
    assert!(start.elapsed() > std::time::Duration::from_secs(11), "it was not slow");
    drop(wire);
    for id in ids {
        let receipt = daemon.reaches(id, "fetched");
        assert_eq!((confirmed(&receipt), &receipt["attempts"]), (Some(true), &1.into()), "{receipt}");
    }
}

#[test]
fn a_reset_before_everything_was_taken_in_makes_it_ready_again() {
    let daemon = Daemon::unpaced();
    let (ids, wire) = stuck(&daemon);
    reset(wire);
    for id in &ids {
        let receipt = daemon.reaches(*id, "ready");
        assert_eq!(receipt["attempts"], 1, "{receipt}");
        assert_eq!(receipt["fetched"], Value::Null);
    }
    let again: Vec<String> = daemon.client().poll("").iter().map(|c| c["api"].as_str().unwrap().to_owned()).collect();
    assert_eq!(again, (0..8).map(|n| format!("big{n}")).collect::<Vec<_>>());
    assert_eq!(daemon.reaches(ids[7], "fetched")["attempts"], 2);
}

#[test]
fn a_half_read_response_is_handed_over_again() {
    let daemon = Daemon::unpaced();
    let (ids, mut wire) = stuck(&daemon);
    let mut half = vec![0; 20_000];
    wire.stream.read_exact(&mut half).unwrap();
    reset(wire);
    for id in &ids {
        daemon.reaches(*id, "ready");
    }
    assert_eq!(daemon.client().poll("").len(), ids.len());
}

#[test]
fn a_close_before_everything_was_taken_in_makes_it_ready_again() {
    let daemon = Daemon::unpaced();
    let (ids, wire) = stuck(&daemon);
    // Closing with unread input resets: an orderly close is only possible when all was read.
    drop(wire);
    daemon.reaches(ids[0], "ready");
}

#[test]
fn a_slow_reader_gets_it_all_once() {
    let daemon = Daemon::unpaced();
    let (ids, mut wire) = stuck(&daemon);
    let commands = wire.receive().unwrap().array();
    assert_eq!(commands.len(), ids.len());
    drop(wire);
    let receipt = daemon.reaches(ids[0], "fetched");
    assert_eq!(confirmed(&receipt), Some(true), "{receipt}");
    assert!(daemon.client().poll("").is_empty());
}

#[test]
fn a_reset_after_the_response_was_acknowledged_leaves_it_fetched_but_unconfirmed() {
    let daemon = Daemon::new();
    let id = daemon.queue_text("x");
    let mut wire = daemon.client().connect();
    wire.send(POLL);
    // The kernel has taken the response in and acknowledged it when the first byte can be seen.
    let mut first = [0];
    wire.stream.peek(&mut first).unwrap();
    reset(wire);
    // An acknowledgement that had not left when the reset did is a loss, and then it is handed over again.
    let receipt = eventually("settled", || {
        let receipt = daemon.show(id);
        (receipt["state"] != "in_flight").then_some(receipt)
    });
    if receipt["state"] == "fetched" {
        assert_eq!(confirmed(&receipt), Some(false), "{receipt}");
    } else {
        assert_eq!(receipt["state"], "ready", "{receipt}");
    }
}

#[test]
fn an_end_that_came_before_the_last_byte_was_taken_in_confirms_nothing() {
    let daemon = Daemon::unpaced();
    let (ids, mut wire) = stuck(&daemon);
    wire.stream.shutdown(Shutdown::Write).unwrap();
    // Longer than the daemon lets pass between two looks.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(wire.receive().unwrap().array().len(), ids.len());
    let receipt = daemon.reaches(ids[0], "fetched");
    assert_eq!(confirmed(&receipt), Some(false), "{receipt}");
    assert_eq!(receipt["attempts"], 1, "{receipt}");
}

#[test]
fn an_end_in_the_middle_of_an_answer_makes_it_ready_again() {
    let daemon = Daemon::unpaced();
    let (ids, mut wire) = stuck(&daemon);
    wire.stream.read_exact(&mut [0; 29]).unwrap();
    // A FIN, and a reset for all that comes after it.
    wire.stream.shutdown(Shutdown::Both).unwrap();
    drop(wire);
    let receipt = daemon.reaches(ids[0], "ready");
    assert_eq!((&receipt["attempts"], &receipt["fetched"]), (&1.into(), &Value::Null), "{receipt}");
}

#[test]
fn requests_that_were_sent_before_an_answer_was_taken_in_confirm_nothing() {
    let daemon = Daemon::unpaced();
    let (ids, mut wire) = stuck(&daemon);
    // More than the daemon reads ahead, so that some is read when all is acknowledged.
    let more: Vec<u8> = POLL.iter().copied().cycle().take(POLL.len() * 1000).collect();
    wire.send(&more);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(wire.receive().unwrap().array().len(), ids.len());
    // Its last acknowledgement may be delayed.
    std::thread::sleep(std::time::Duration::from_millis(100));
    reset(wire);
    let receipt = daemon.reaches(ids[0], "fetched");
    assert_eq!(confirmed(&receipt), Some(false), "{receipt}");
}

#[test]
fn a_host_that_takes_in_no_more_and_says_nothing_is_given_up_and_loses_nothing() {
    let daemon = Daemon::unpaced();
    // Its window is full and it is still connected: only time tells that it has gone.
    let (ids, wire) = stuck(&daemon);
    for id in &ids {
        let receipt = daemon.reaches(*id, "ready");
        assert_eq!((&receipt["attempts"], &receipt["fetched"]), (&1.into(), &Value::Null), "{receipt}");
    }
    drop(wire);
    assert_eq!(daemon.client().poll("").len(), ids.len());
}

#[test]
fn behind_a_proxy_that_ends_the_connection_itself_a_poll_is_fetched_once() {
    let daemon = Daemon::new();
    let id = daemon.queue_text("x");
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let front = crate::client::Client { addr: door.local_addr().unwrap() };
    let back = daemon.client();
    let proxy = std::thread::spawn(move || {
        let (mut near, _) = door.accept().unwrap();
        let mut far = back.connect();
        let mut request = [0; 4096];
        let n = near.read(&mut request).unwrap();
        far.send(&request[..n]);
        let mut answer = Vec::new();
        far.stream.read_to_end(&mut answer).unwrap();
        drop(far);
        std::io::Write::write_all(&mut near, &answer).unwrap();
    });
    let commands = front.get("/send_msg").array();
    proxy.join().unwrap();
    assert_eq!(commands.len(), 1);
    let receipt = daemon.reaches(id, "fetched");
    assert_eq!((confirmed(&receipt), &receipt["attempts"]), (Some(true), &1.into()), "{receipt}");
    assert!(daemon.client().poll("").is_empty());
}

#[test]
fn nothing_is_confirmed_that_went_through_a_proxy() {
    let daemon = Daemon::unpaced();
    for header in [
        "Via: 1.1 box",
        "Forwarded: for=192.0.2.1",
        "X-Forwarded-For: 192.0.2.1",
        "x-forwarded-proto: https",
        "X-Forwarded-Host: h",
        "X-Real-IP: 192.0.2.1",
    ] {
        let token = std::fs::read_to_string(daemon.data_dir().join("token")).unwrap();
        let id = daemon.queue_text(header);
        let mut wire = daemon.client().connect();
        let poll = format!("GET /t/{}/send_msg HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n", token.trim());
        wire.send(poll.as_bytes());
        assert_eq!(wire.receive().unwrap().array().len(), 1, "{header}");
        drop(wire);
        let receipt = daemon.reaches(id, "fetched");
        assert_eq!(confirmed(&receipt), Some(false), "{header}: {receipt}");
    }
}

#[test]
fn a_silent_client_leaves_it_fetched_but_unconfirmed() {
    let daemon = Daemon::new();
    let id = daemon.queue_text("x");
    let mut wire = daemon.client().connect();
    wire.send(POLL);
    let receipt = daemon.reaches(id, "fetched");
    assert_eq!(confirmed(&receipt), Some(false), "{receipt}");
    // It is never handed over twice because of that.
    assert!(daemon.client().poll("").is_empty());
    drop(wire);
}

#[test]
fn a_stop_waits_until_it_is_known_how_a_hand_over_ended() {
    let mut daemon = Daemon::new();
    let id = daemon.queue_text("x");
    let mut wire = daemon.client().connect();
    wire.send(POLL);
    assert_eq!(wire.receive().unwrap().array().len(), 1);
    // It has the command and neither closes nor asks again.
    daemon.restart();
    drop(wire);
    let receipt = daemon.show(id);
    assert_eq!(receipt["state"], "fetched", "{receipt}");
    assert!(daemon.client().poll("").is_empty());
}

#[test]
fn an_http_1_0_client_is_served() {
    let daemon = Daemon::new();
    let id = daemon.queue_text("x");
    let mut wire = daemon.client().connect();
    wire.send(b"GET /send_msg HTTP/1.0\r\n\r\n");
    let answer = wire.receive().unwrap();
    assert_eq!(answer.array().len(), 1);
    let mut rest = Vec::new();
    wire.stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    drop(wire);
    assert_eq!(confirmed(&daemon.reaches(id, "fetched")), Some(true));
}

#[test]
fn pipelined_polls_lose_nothing_and_repeat_nothing() {
    let daemon = Daemon::unpaced();
    let ids: Vec<u64> = (0..30)
        .map(|n| (n, daemon.cli_with(&["raw", "-"], &format!("{{\"api\":\"p{n}\"}}"))))
        .map(|(_, run)| run.exits(0).line()["id"].as_u64().unwrap())
        .collect();
    let mut wire = daemon.client().connect();
    wire.send(&POLL.repeat(3));
    let mut seen = Vec::new();
    while let Ok(answer) = wire.receive() {
        seen.extend(answer.array().iter().map(|c| c["api"].as_str().unwrap().to_owned()));
        if seen.len() == ids.len() {
            break;
        }
    }
    drop(wire);
    eventually("the rest", || {
        seen.extend(daemon.client().poll("").iter().map(|c| c["api"].as_str().unwrap().to_owned()));
        (seen.len() >= ids.len()).then_some(())
    });
    assert_eq!(seen, (0..30).map(|n| format!("p{n}")).collect::<Vec<_>>());
    for id in ids {
        daemon.reaches(id, "fetched");
    }
}

#[test]
fn a_head_request_never_consumes_commands() {
    let daemon = Daemon::new();
    let id = daemon.queue_text("x");
    let mut wire = daemon.client().connect();
    wire.send(b"HEAD /send_msg HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = wire.receive_head().unwrap();
    assert!(matches!(answer.status, 404 | 405), "{answer:?}");
    assert_eq!(daemon.show(id)["state"], "ready");
    assert_eq!(daemon.client().poll("").len(), 1);
}

#[test]
fn a_client_that_vanishes_before_its_poll_is_answered_takes_nothing_with_it() {
    let daemon = crate::fixture::Recipe::default().config("[http]\npoll_hold = \"60s\"\n").start();
    let mut wire = daemon.client().connect();
    wire.send(POLL);
    eventually("the poll is parked", || (daemon.status()["http"]["connections"].as_u64() != Some(0)).then_some(()));
    reset(wire);
    let id = daemon.queue_text("x");
    let mut seen = daemon.client().poll("");
    if seen.is_empty() {
        daemon.reaches(id, "ready");
        seen = daemon.client().poll("");
    }
    assert_eq!(seen.len(), 1);
}

#[test]
fn a_held_poll_is_answered_as_soon_as_a_command_is_due() {
    // Longer than the played client waits: at the end of the hold it would be too late.
    let daemon = crate::fixture::Recipe::default().config("[http]\npoll_hold = \"5m\"\n").start();
    let client = daemon.client();
    let parked = std::thread::spawn(move || client.poll(""));
    let id = daemon.queue(&["send", "text", "filehelper", "held", "--in", "300ms"]);
    assert_eq!(parked.join().unwrap()[0]["text"], "held");
    daemon.reaches(id, "fetched");
}

#[test]
fn commands_may_ride_in_the_answer_to_a_callback_when_that_is_switched_on() {
    let daemon = crate::fixture::Recipe::default().config("[http]\ncommands_in_callback = true\n").start();
    daemon.login("wxid_me", 7);
    daemon.login("wxid_you", 8);
    let id = daemon.queue(&["send", "text", "wxid_a", "ride", "-a", "wxid_me"]);
    let post = |account: &str| {
        let body = format!(r#"{{"data":{{"type":69,"cwxid":"{account}"}}}}"#);
        daemon.client().post("/recieve_msg", body.as_bytes()).array()
    };
    assert!(post("wxid_you").is_empty());
    assert_eq!(post("wxid_me")[0]["text"], "ride");
    daemon.reaches(id, "fetched");
    assert!(post("wxid_me").is_empty());
    // One that says its process only, or its name in the address, is known as a poller is.
    let nameless = |path: &str, body: &str| daemon.client().post(path, body.as_bytes()).array();
    let by_process = r#"{"data":{"type":78,"msgType":"1","processid":"7","wxid":"wxid_a","message":"x"}}"#;
    for (path, body) in [("/recieve_msg", by_process), ("/recieve_msg?wxid=wxid_me", r#"{"data":{"type":5}}"#)] {
        daemon.queue(&["send", "text", "wxid_a", "again", "-a", "wxid_me"]);
        assert!(nameless("/recieve_msg", r#"{"data":{"type":5}}"#).is_empty(), "who says nothing gets nothing");
        assert!(nameless("/recieve_msg?pid=8", r#"{"data":{"type":5}}"#).is_empty());
        assert_eq!(nameless(path, body)[0]["text"], "again", "{path}");
    }
}

/// Nothing is in flight any more, and every command is where a later poll gets it, or was fetched.
fn nothing_hangs(daemon: &Daemon) {
    eventually("nothing is in flight", || (daemon.status()["queue"]["in_flight"] == 0).then_some(()));
    let status = daemon.status();
    assert_eq!(status["queue"]["hanging"], serde_json::json!([]), "{status}");
}

#[test]
fn forty_clients_that_vanish_after_their_request_leave_nothing_in_flight() {
    let daemon = Daemon::unpaced();
    let ways: [fn(Wire<TcpStream>); 3] = [drop, reset, |wire| {
        wire.stream.shutdown(Shutdown::Write).unwrap();
        drop(wire);
    }];
    for round in 0..40 {
        daemon.queue_text(&round.to_string());
        let mut wire = daemon.client().connect();
        wire.send(POLL);
        std::thread::sleep(std::time::Duration::from_millis(round % 10));
        ways[usize::try_from(round).unwrap() % ways.len()](wire);
    }
    nothing_hangs(&daemon);
    let queue = &daemon.status()["queue"];
    assert_eq!(queue["ready"].as_u64().unwrap() + queue["fetched"].as_u64().unwrap(), 40, "{queue}");
    // What no client has read comes with a later poll.
    while !daemon.client().poll("").is_empty() {}
    eventually("all are fetched", || (daemon.status()["queue"]["fetched"] == 40).then_some(()));
}

#[test]
fn a_played_client_that_breaks_its_polls_off_leaves_nothing_in_flight() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_sim", 7);
    let texts: String = (0..60).map(|n| format!("wxid_a\t{n}\n")).collect();
    daemon.cli_with(&["send", "text", "--from", "-"], &texts).exits(0);
    let play = ["simulate", "--as", "wxid_sim", "--drop", "0.5", "--interval", "20ms", "--for", "3s"];
    daemon.cli(&play).exits(0);
    nothing_hangs(&daemon);
}
