//! Contract 2 and 6 under load and abuse: other clients are served all the while, memory stays bounded, and nothing
//! that was answered is lost.
//!
//! `WEHELP_LOAD=1` runs the long forms (a minute of load); the suite runs short ones.

use crate::client::{Client, Wire, request};
use crate::fixture::{DEADLINE, Daemon, Recipe, eventually, message};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn long() -> bool {
    std::env::var_os("WEHELP_LOAD").is_some()
}

/// Resident memory of the daemon, KiB.
fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A callback and a poll of somebody who behaves well, neither of which waits for those that do not; the longer wait.
#[track_caller]
fn is_served(daemon: &Daemon) -> Duration {
    let start = Instant::now();
    daemon.client().event(&message("wxid_me", "wxid_a", None, "still served"));
    let callback = start.elapsed();
    let start = Instant::now();
    daemon.client().poll("wxid=wxid_me");
    callback.max(start.elapsed())
}

#[test]
fn a_thousand_idle_connections_and_slow_headers_keep_nobody_out() {
    let daemon = Recipe::default().config("[http]\nheader_timeout = \"60s\"\n").start();
    let before = resident(&daemon);
    let mut held = Vec::new();
    for n in 0..1000 {
        let mut wire = daemon.client().connect();
        if n % 2 == 0 {
            wire.send(b"POST /recieve_msg HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
        }
        held.push(wire);
    }
    let worst = is_served(&daemon);
    let grown = resident(&daemon).saturating_sub(before);
    eprintln!("1000 held connections: served within {worst:?}, {grown} KiB more");
    assert!(grown < 64 * 1024, "{grown} KiB");
    drop(held);
    eventually("they are forgotten", || (daemon.status()["http"]["connections"].as_u64()? < 10).then_some(()));
}

#[test]
fn those_that_wait_make_room_held_polls_too_and_are_counted() {
    let daemon = Recipe::default().config("[http]\nconnections_max = 8\npoll_hold = \"5m\"\n").start();
    let rejected = |reason: &str| daemon.status()["http"]["rejected"][reason].as_u64().unwrap_or(0);
    // Those that have asked for nothing yet make room for others.
    let idle: Vec<_> = (0..20).map(|_| daemon.client().connect()).collect();
    eventually("room is made", || (rejected("made-room") >= 12).then_some(()));
    drop(idle);
    eventually("they are forgotten", || (daemon.status()["http"]["connections"] == 0).then_some(()));
    let before = rejected("made-room");
    let poll = request("GET", "/send_msg?wxid=wxid_slow", &[], b"");
    let mut held: Vec<_> = (0..8)
        .map(|_| {
            let mut wire = daemon.client().connect();
            wire.send(&poll);
            let from = wire.stream.local_addr().unwrap().to_string();
            eventually("it is worked at", || (daemon.status()["pollers"][0]["peer"] == *from).then_some(()));
            wire
        })
        .collect();
    let event = request("POST", "/recieve_msg", &[], message("wxid_me", "wxid_a", None, "in between").as_bytes());
    let mut kept = Vec::new();
    for n in 1..=4 {
        let mut wire = daemon.client().connect();
        wire.send(&event);
        assert_eq!(wire.receive().unwrap().status, 200);
        assert_eq!(rejected("hold-ended"), n);
        kept.push(wire);
    }
    let is_answered = |wire: &mut Wire<TcpStream>| {
        wire.stream.set_nonblocking(true).unwrap();
        let is_there = wire.stream.peek(&mut [0]).is_ok();
        wire.stream.set_nonblocking(false).unwrap();
        is_there
    };
    let mut answered: Vec<_> = held.extract_if(.., is_answered).collect();
    assert_eq!(answered.len(), 4);
    for answer in answered.iter_mut().map(|wire| wire.receive().unwrap()) {
        assert_eq!((answer.status, answer.text().as_str()), (200, "[]"));
    }
    assert_eq!(rejected("made-room"), before);
    assert_eq!(rejected("too-many-connections"), 0);
    // What comes due goes to one that is held still.
    daemon.cli(&["send", "text", "wxid_a", "due now", "-a", "wxid_slow"]).exits(0);
    let answer = eventually("it is fetched", || held.extract_if(.., is_answered).next()).receive().unwrap();
    assert!(answer.text().contains("due now"), "{}", answer.text());
}

/// Runs a daemon that may have so many files open.
fn with_few_handles(handles: u32, config: &str) -> Daemon {
    let limited = format!("ulimit -n {handles}; exec \"$@\"");
    Recipe::default().config(config).under(&["sh", "-c", &limited, "sh"]).start()
}

#[test]
fn both_doors_full_leave_the_store_its_file_handles() {
    let daemon = with_few_handles(256, "[store]\nsegment = \"1MiB\"\n[http]\npoll_hold = \"5m\"\n");
    let poll = request("GET", "/send_msg", &[], b"");
    let clients: Vec<_> = (0..300)
        .map(|n| {
            let mut wire = daemon.client().connect();
            if n % 2 == 0 {
                // Whoever has to make room may be gone already.
                drop(wire.stream.write_all(&poll));
            }
            wire
        })
        .collect();
    let followers: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = UnixStream::connect(daemon.socket()).unwrap();
            drop(stream.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            stream
        })
        .collect();
    // More than fits into a few segments, so that files are opened all the while.
    let text = "x".repeat(100_000);
    for _ in 0..60 {
        daemon.client().event(&message("wxid_me", "wxid_a", None, &text));
    }
    drop((clients, followers));
    let status = eventually("the control door has room", || {
        daemon.try_control("GET", "/v1/status", b"").filter(|answer| answer.status == 200)
    });
    let status = status.json();
    assert_eq!(status["store"]["writable"], true);
    let open = std::fs::read_dir(format!("/proc/{}/fd", status["daemon"]["pid"])).unwrap().count();
    assert!(open < 256, "{open}");
    let log = daemon.log();
    assert_eq!(log.lines().filter(|line| line.contains("no more than 256 files")).count(), 1, "{log}");
    assert!(!log.contains("Too many open files") && !log.contains("os error 24"), "{log}");
}

#[test]
fn without_a_file_handle_left_accepting_rests_and_goes_on() {
    use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
    let daemon = Daemon::new();
    let pid = daemon.pid();
    let open = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap().count();
    let few = Rlimit { current: Some(open as u64 + 4), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(Some(pid), Resource::Nofile, few).unwrap();
    let start = Instant::now();
    let waiting: Vec<_> = (0..20).map(|_| daemon.client().connect()).collect();
    let said = || daemon.log().lines().filter(|line| line.contains("cannot accept a connection")).count();
    eventually("it is told", || (said() > 0).then_some(()));
    eventually("it has rested often", || (start.elapsed() > Duration::from_millis(600)).then_some(()));
    prlimit(Some(pid), Resource::Nofile, before).unwrap();
    daemon.client().event(&message("wxid_me", "wxid_a", None, "served again"));
    let times = daemon.status()["http"]["rejected"]["not-accepted"].as_u64().unwrap();
    let rests = start.elapsed().as_millis() / 100;
    assert!(times > 0 && u128::from(times) <= rests + 1, "{times} times in {rests} rests");
    assert_eq!(said(), 1, "{}", daemon.log());
    drop(waiting);
}

#[test]
fn a_chunked_body_without_end_is_cut_off() {
    let daemon = Recipe::default().config("[http]\nbody_max = \"1MiB\"\nbody_timeout = \"30s\"\n").start();
    let mut wire = daemon.client().connect();
    wire.send(b"POST /recieve_msg HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
    let mut sent = 0;
    // It goes on writing until the daemon has had enough.
    while wire.stream.write_all(&chunk).is_ok() && sent < 256 << 20 {
        sent += 0x4000;
    }
    assert!(sent < 256 << 20, "endless chunks are taken for ever");
    is_served(&daemon);
    let one_byte_at_a_time = b"1\r\nx\r\n".repeat(50_000);
    let mut wire = daemon.client().connect();
    wire.send(b"POST /recieve_msg HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    drop(wire.stream.write_all(&one_byte_at_a_time));
    is_served(&daemon);
}

#[test]
fn pipelined_garbage_harms_nobody() {
    let daemon = Daemon::new();
    let good = request("GET", "/send_msg", &[], b"");
    let mut state = 7_u32;
    for round in 0..20 {
        let mut bytes = good.repeat(5);
        for _ in 0..20_000 {
            // A small generator: the same garbage in every run.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push((state >> 24) as u8);
        }
        let mut wire = daemon.client().connect();
        drop(wire.stream.write_all(&bytes));
        drop(wire.stream.shutdown(std::net::Shutdown::Write));
        drop(wire.stream.read_to_end(&mut Vec::new()));
        if round % 5 == 0 {
            is_served(&daemon);
        }
    }
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

/// Posts over one connection until told to stop; the texts that were answered.
fn post(client: Client, stop: &AtomicBool, name: &str) -> Vec<String> {
    let mut wire: Wire<TcpStream> = client.connect();
    let mut answered = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let text = format!("{name}-{n}");
        let body = format!("{{\"data\":{}}}", message("wxid_me", "wxid_a", None, &text));
        wire.send(&request("POST", "/recieve_msg", &[], body.as_bytes()));
        assert_eq!(wire.receive().unwrap().status, 200);
        answered.push(text);
    }
    answered
}

#[test]
fn full_load_with_followers_of_which_half_do_not_read_loses_nothing_and_grows_nothing() {
    let mut daemon = Daemon::new();
    let (followers, time) = if long() { (200, Duration::from_secs(60)) } else { (40, Duration::from_secs(2)) };
    let before = resident(&daemon);
    let stop = AtomicBool::new(false);
    let read = AtomicUsize::new(0);
    let follow = || {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&request("GET", "/v1/events?follow=true", &[], b"")).unwrap();
        stream
    };
    let idle: Vec<UnixStream> = (0..followers / 2).map(|_| follow()).collect();
    let (answered, worst, grown) = std::thread::scope(|scope| {
        for _ in 0..followers / 2 {
            let mut stream = follow();
            let (stop, read) = (&stop, &read);
            scope.spawn(move || {
                let mut chunk = vec![0; 64 << 10];
                while !stop.load(Ordering::Relaxed) {
                    match stream.read(&mut chunk) {
                        Ok(0) | Err(_) => break,
                        Ok(n) => read.fetch_add(n, Ordering::Relaxed),
                    };
                }
            });
        }
        let posters: Vec<_> = (0..8)
            .map(|n| {
                let (client, stop) = (daemon.client(), &stop);
                scope.spawn(move || post(client, stop, &format!("p{n}")))
            })
            .collect();
        let start = Instant::now();
        let mut worst = Duration::ZERO;
        while start.elapsed() < time {
            worst = worst.max(is_served(&daemon));
        }
        let grown = resident(&daemon).saturating_sub(before);
        stop.store(true, Ordering::Relaxed);
        // One more event wakes the readers, so that they see that it is over.
        daemon.client().event(&message("wxid_me", "wxid_a", None, "end"));
        let answered: Vec<String> = posters.into_iter().flat_map(|p| p.join().unwrap()).collect();
        (answered, worst, grown)
    });
    eprintln!(
        "{} events answered in {time:?}, others served within {worst:?}, {grown} KiB more, {} MB read by followers",
        answered.len(),
        read.load(Ordering::Relaxed) / 1_000_000
    );
    assert!(!answered.is_empty() && read.load(Ordering::Relaxed) > 0);
    assert!(grown < 200 * 1024, "{grown} KiB");
    drop(idle);
    daemon.kill9();
    daemon.start();
    let kept: HashSet<String> = daemon
        .events(&["-n", "all", "--kind", "message.text"])
        .into_iter()
        .filter_map(|e| e["text"].as_str().map(str::to_owned))
        .collect();
    for text in &answered {
        assert!(kept.contains(text), "{text} was answered and is gone");
    }
}

#[test]
fn silent_followers_of_large_events_take_little_together_and_hold_nobody_up() {
    let daemon = Daemon::new();
    let large = "x".repeat(5 << 20);
    for n in 0..3 {
        daemon.client().event(&message("wxid_me", "wxid_a", None, &format!("{n} {large}")));
        (0..300).for_each(|n| daemon.client().event(&message("wxid_me", "wxid_a", None, &format!("{n} small"))));
    }
    // Whatever reading and learning takes, it has taken.
    assert_eq!(daemon.events(&["-n", "all"]).len(), 903);
    let before = resident(&daemon);
    let mut silent: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    for stream in &mut silent {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&request("GET", "/v1/events?follow=true&after=0", &[], b"")).unwrap();
    }
    for stream in &mut silent {
        // Its first bytes have come; more than these is not read.
        stream.read_exact(&mut [0; 300]).unwrap();
    }
    assert_eq!(daemon.events(&["-n", "all"]).len(), 903, "others are served");
    let grown = resident(&daemon).saturating_sub(before);
    eprintln!("100 silent followers take {grown} KiB");
    assert!(grown < 64 * 1024, "{grown} KiB");
    // Whoever goes on after a while gets everything. The first line's beginning was read above.
    let seqs = seqs_of(silent.pop().unwrap(), 903);
    assert!(seqs.iter().copied().eq(2..=903), "{seqs:?}");
}

/// The numbers of the events of a chunked answer, up to the `last`. A chunk may end within a line.
fn seqs_of(mut stream: UnixStream, last: u64) -> Vec<u64> {
    let (begin, end) = (regex::bytes::Regex::new("\r\n[0-9A-Fa-f]+\r\n").unwrap(), format!("{{\"seq\":{last},"));
    let (mut raw, mut piece) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        let len = stream.read(&mut piece).unwrap();
        assert_ne!(len, 0, "the stream ends");
        raw.extend_from_slice(&piece[..len]);
        let tail = begin.replace_all(&raw[raw.len().saturating_sub(1 << 20)..], &b""[..]);
        if tail.windows(end.len()).any(|part| part == end.as_bytes()) {
            break;
        }
    }
    let text = String::from_utf8(begin.replace_all(&raw, &b""[..]).into_owned()).unwrap();
    let seq = |line: &str| line.split_once("{\"seq\":")?.1.split_once(',')?.0.parse().ok();
    text.lines().filter_map(seq).collect()
}

#[test]
fn one_large_event_is_printed_with_little_memory() {
    let daemon = Daemon::new();
    daemon.client().event(&message("wxid_me", "wxid_a", None, &"x".repeat(15 << 20)));
    // Looked at as often as possible: the peak is kept by the kernel.
    let mut child = daemon.wehelp(["events"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let now = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most = most.max(peak.and_then(|kb| kb.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0));
    }
    eprintln!("a line of 30 MiB took {most} KiB");
    assert!(most > 0 && most < 64 * 1024, "{most} KiB");
}

#[test]
fn a_control_client_that_neither_writes_nor_reads_holds_nobody_up() {
    let daemon = Daemon::new();
    let mut silent: Vec<UnixStream> = (0..50).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    for stream in &mut silent {
        stream.write_all(b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{").unwrap();
    }
    daemon.queue_text("meanwhile");
    assert_eq!(daemon.client().poll("")[0]["text"], "meanwhile");
    let huge = daemon.try_control("POST", "/v1/commands", &vec![b' '; 17 << 20]);
    if let Some(answer) = huge {
        answer.error(413);
    }
    daemon.queue_text("still there");
}

#[test]
fn a_cli_of_another_protocol_version_is_told_what_to_do() {
    let daemon = Daemon::new();
    let mut wire = Wire::new(UnixStream::connect(daemon.socket()).unwrap());
    wire.send(&request("GET", "/v1/status", &[("Wehelp-Version", "999")], b""));
    let answer = wire.receive().unwrap();
    assert_eq!(answer.error(426), "version-mismatch");
    assert!(answer.json()["message"].as_str().unwrap().contains("same version"));
}
