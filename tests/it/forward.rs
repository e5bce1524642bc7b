//! Forwards (wehelp-events(7)): each target gets every event, in order, signed, at its own pace.

use crate::fixture::{Daemon, Recipe, eventually, message};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// What a target was posted.
#[derive(Debug, Clone)]
struct Post {
    seq: u64,
    signature: Option<String>,
    authorization: Option<String>,
    log: Option<String>,
    body: String,
}

/// A hand-made web server that remembers what it was posted.
struct Target {
    addr: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
    status: Arc<AtomicU16>,
    /// Refused posts, each of which is told to come back after an hour.
    refused: Arc<AtomicU16>,
    gone: Arc<AtomicBool>,
    /// It answers nobody as long as this is set.
    holds: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Target {
    fn start() -> Self {
        let mut target = Self {
            addr: ([127, 0, 0, 1], 0).into(),
            posts: Arc::default(),
            status: Arc::new(AtomicU16::new(200)),
            refused: Arc::default(),
            gone: Arc::default(),
            holds: Arc::default(),
            thread: None,
        };
        target.open();
        target
    }

    /// Listens, at the same place as before.
    fn open(&mut self) {
        let listener = eventually("the port is free", || TcpListener::bind(self.addr).ok());
        self.addr = listener.local_addr().unwrap();
        self.gone = Arc::default();
        let (posts, status, gone) = (Arc::clone(&self.posts), Arc::clone(&self.status), Arc::clone(&self.gone));
        let (holds, refused) = (Arc::clone(&self.holds), Arc::clone(&self.refused));
        self.thread = Some(std::thread::spawn(move || {
            for stream in listener.incoming() {
                if gone.load(Ordering::SeqCst) {
                    return;
                }
                let (posts, status, gone) = (Arc::clone(&posts), Arc::clone(&status), Arc::clone(&gone));
                let (holds, refused) = (Arc::clone(&holds), Arc::clone(&refused));
                std::thread::spawn(move || serve(stream.unwrap(), &posts, &status, &refused, &gone, &holds));
            }
        }));
    }

    /// Answers nobody any more.
    fn close(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.addr));
        self.thread.take().unwrap().join().unwrap();
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    fn seqs(&self) -> Vec<u64> {
        self.posts().iter().map(|post| post.seq).collect()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.close();
        }
    }
}

fn serve(
    stream: TcpStream,
    posts: &Mutex<Vec<Post>>,
    status: &AtomicU16,
    refused: &AtomicU16,
    gone: &AtomicBool,
    holds: &AtomicBool,
) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            headers.push(line.trim().to_owned());
        }
        let header = |name: &str| {
            let value = headers.iter().filter_map(|h| h.split_once(':')).find(|(n, _)| n.eq_ignore_ascii_case(name));
            value.map(|(_, value)| value.trim().to_owned())
        };
        let mut body = vec![0; header("content-length").unwrap().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        if gone.load(Ordering::SeqCst) {
            return;
        }
        let status = status.load(Ordering::SeqCst);
        if status == 200 {
            posts.lock().unwrap().push(Post {
                seq: header("x-wehelp-seq").map_or(0, |seq| seq.parse().unwrap()),
                signature: header("x-wehelp-signature"),
                authorization: header("authorization"),
                log: header("x-wehelp-log"),
                body: String::from_utf8(body).unwrap(),
            });
        } else {
            refused.fetch_add(1, Ordering::SeqCst);
        }
        while holds.load(Ordering::SeqCst) && !gone.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let later = if status == 429 { "Retry-After: 3600\r\n" } else { "" };
        let answer = format!("HTTP/1.1 {status} X\r\n{later}Content-Length: 2\r\n\r\nok");
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn say(daemon: &Daemon, chat: &str, text: &str) {
    daemon.client().event(&message("wxid_me", chat, None, text));
}

fn listed(daemon: &Daemon, name: &str) -> Value {
    let all = daemon.cli(&["forward", "list"]).exits(0).lines();
    all.into_iter().find(|forward| forward["name"] == name).unwrap_or_else(|| panic!("no forward {name}"))
}

#[test]
fn an_echo_is_posted_with_the_command_that_it_is_of() {
    let (daemon, target) = (Daemon::unpaced(), Target::start());
    daemon.login("wxid_me", 7);
    daemon.cli(&["forward", "add", "hook", &target.url()]).exits(0);
    for n in 0..5 {
        let (id, text) = (daemon.queue(&["send", "text", "wxid_a", &n.to_string(), "--no-wait"]), n.to_string());
        eventually("the command", || daemon.client().poll("wxid=wxid_me&pid=7").into_iter().next());
        let own = message("wxid_me", "wxid_a", None, &text).replacen('{', r#"{"myMsg":"1","#, 1);
        daemon.client().event(&own);
        let shown = daemon.last_event()["seq"].as_u64().unwrap();
        let shown = daemon.control("GET", &format!("/v1/events/{shown}"), b"");
        let told = |json: &str| serde_json::from_str::<Value>(json).unwrap()["command"].as_u64();
        assert_eq!(told(&shown.text()), Some(id));
        eventually("it is posted", || (target.posts().len() > n).then_some(()));
        assert_eq!(told(&target.posts()[n].body), Some(id));
    }
}

#[test]
fn each_event_is_posted_in_order_and_signed() {
    let daemon = Daemon::new();
    say(&daemon, "wxid_a", "before");
    let target = Target::start();
    let added = daemon.cli(&["forward", "add", "hook", &target.url(), "--secret", "s3cret"]).exits(0).line();
    assert_ne!(added["secret"], "s3cret", "secrets are never printed");
    for n in 0..20 {
        say(&daemon, "wxid_a", &n.to_string());
    }
    eventually("all are posted", || (target.posts().len() >= 20).then_some(()));
    assert_eq!(target.seqs(), (2..=21).collect::<Vec<_>>(), "from now on");
    let events = daemon.cli(&["events", "-n", "20"]).exits(0);
    for (post, line) in target.posts().iter().zip(events.out.lines()) {
        assert_eq!(post.body, line);
        assert_eq!(post.log.as_deref(), daemon.status()["log"].as_str());
        let signature = post.signature.as_deref().unwrap();
        let (time, digest) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cret").unwrap();
        mac.update(format!("{time}.{}", post.body).as_bytes());
        let expected: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest, expected);
    }
    eventually("its position is told", || (listed(&daemon, "hook")["lag"] == 0).then_some(()));
}

#[test]
fn a_target_that_dies_and_returns_misses_nothing_and_holds_up_nobody() {
    let mut daemon = Daemon::new();
    let (mut dying, steady) = (Target::start(), Target::start());
    daemon.cli(&["forward", "add", "dying", &dying.url()]).exits(0);
    daemon.cli(&["forward", "add", "steady", &steady.url()]).exits(0);
    say(&daemon, "wxid_a", "1");
    eventually("both got the first", || (dying.seqs() == [1] && steady.seqs() == [1]).then_some(()));
    dying.close();
    for n in 2..=5 {
        say(&daemon, "wxid_a", &n.to_string());
    }
    eventually("the other one goes on", || (steady.seqs() == [1, 2, 3, 4, 5]).then_some(()));
    let told = eventually("the failure is told", || {
        Some(listed(&daemon, "dying")).filter(|forward| forward["failures"].as_u64() > Some(0))
    });
    assert!(told["last_error"].is_string() && told["retry_at"].is_string() && told["lag"] == 4, "{told}");
    // Positions survive the daemon, too.
    daemon.kill9();
    daemon.start();
    say(&daemon, "wxid_a", "6");
    dying.open();
    eventually("it got what it missed", || (dying.seqs() == [1, 2, 3, 4, 5, 6]).then_some(()));
    eventually("so did the other", || (steady.seqs().last() == Some(&6)).then_some(()));
    assert!(steady.seqs().len() <= 7, "a repeat only where the kill cut one: {:?}", steady.seqs());
}

#[test]
fn a_target_that_refuses_is_tried_again() {
    let daemon = Daemon::new();
    let target = Target::start();
    target.status.store(503, Ordering::SeqCst);
    daemon.cli(&["forward", "add", "hook", &target.url()]).exits(0);
    say(&daemon, "wxid_a", "x");
    eventually("it has failed", || {
        listed(&daemon, "hook")["last_error"].as_str().is_some_and(|e| e.contains("503")).then_some(())
    });
    target.status.store(200, Ordering::SeqCst);
    eventually("it is posted", || (target.seqs() == [1]).then_some(()));
    eventually("the failure is forgotten", || (listed(&daemon, "hook")["failures"] == 0).then_some(()));
}

#[test]
fn a_target_that_asked_for_an_hour_gets_it_over_a_restart_too() {
    let mut daemon = Daemon::new();
    let target = Target::start();
    target.status.store(429, Ordering::SeqCst);
    daemon.cli(&["forward", "add", "hook", &target.url()]).exits(0);
    say(&daemon, "wxid_a", "x");
    let waits = |daemon: &Daemon| {
        let told = eventually("it waits", || {
            Some(listed(daemon, "hook")).filter(|forward| forward["retry_at"].is_string() && forward["failures"] == 1)
        });
        assert!(told["last_error"].as_str().unwrap().contains("429"), "{told}");
        assert_eq!((&told["event"], &told["lag"]), (&1.into(), &1.into()), "{told}");
        told["retry_at"].as_str().unwrap().to_owned()
    };
    let before = waits(&daemon);
    daemon.kill9();
    daemon.start();
    let after = waits(&daemon);
    assert_eq!(before, after);
    assert_eq!(target.refused.load(Ordering::SeqCst), 1);
    // Whoever knows better may have it tried at once.
    target.status.store(200, Ordering::SeqCst);
    daemon.cli(&["forward", "resume", "hook"]).exits(0);
    eventually("it is posted", || (target.seqs() == [1]).then_some(()));
    daemon.restart();
    say(&daemon, "wxid_a", "y");
    eventually("the pause is forgotten", || (target.seqs() == [1, 2]).then_some(()));
}

#[test]
fn what_is_too_old_for_a_forward_is_passed_over_and_counted() {
    let daemon = Daemon::new();
    let target = Target::start();
    daemon.cli(&["forward", "add", "hook", &target.url(), "--max-age", "1"]).exits(0);
    daemon.cli(&["forward", "pause", "hook"]).exits(0);
    (0..3).for_each(|n| say(&daemon, "wxid_a", &n.to_string()));
    let told = std::time::Instant::now();
    eventually("they are old", || (told.elapsed() > std::time::Duration::from_millis(1100)).then_some(()));
    daemon.cli(&["forward", "resume", "hook"]).exits(0);
    eventually("they are passed over", || (listed(&daemon, "hook")["passed_over"] == 3).then_some(()));
    eventually("so is their place", || (listed(&daemon, "hook")["lag"] == 0).then_some(()));
    // One that becomes too old while it is tried is no better.
    target.status.store(503, Ordering::SeqCst);
    say(&daemon, "wxid_a", "tried");
    eventually("it is passed over", || (listed(&daemon, "hook")["passed_over"] == 4).then_some(()));
    assert!(target.seqs().is_empty(), "{:?}", target.seqs());
    assert_eq!(listed(&daemon, "hook")["failures"], 0);
    let metrics = daemon.client().get("/metrics").text();
    assert!(metrics.contains("wehelp_forward_passed_over_total{forward=\"hook\"} 4\n"), "{metrics}");
    assert_eq!(daemon.log().lines().filter(|line| line.contains("--max-age")).count(), 1, "{}", daemon.log());
}

#[test]
fn a_forward_that_is_there_already_is_changed_and_says_so() {
    let daemon = Daemon::new();
    let add =
        |name: &str, more: &[&str]| daemon.cli(&[&["forward", "add", name, "http://127.0.0.1:9/new"], more].concat());
    daemon.cli(&["forward", "add", "hook", "http://u:secret@127.0.0.1:9/old", "--secret", "s3cret"]).exits(0);
    let changed = add("hook", &[]).exits(0);
    changed.says(&["`hook` was there already, for http://u:***@127.0.0.1:9/old", "keeps its secret"]);
    assert_eq!(changed.line()["secret"], "***");
    let changed = add("hook", &["--secret", "other"]).exits(0);
    assert!(changed.err.contains("already") && !changed.err.contains("keeps its secret"), "{}", changed.err);
    assert_eq!(add("another", &[]).exits(0).err, "");
    for name in ["-x", "-", "--", "a b", ""] {
        let answer =
            daemon.control("PUT", &format!("/v1/forwards/{}", name.replace(' ', "%20")), b"{\"url\":\"http://h/\"}");
        assert!(answer.status == 400 || name.is_empty() && answer.status == 404, "{name}: {answer:?}");
    }
    daemon.cli(&["forward", "add", "--", "-x", "http://127.0.0.1:9/"]).exits(2).says(&["does not begin with -"]);
    daemon.cli(&["events", "--cursor=-x"]).exits(2).says(&["does not begin with -"]);
}

#[test]
fn filters_pauses_tests_and_resending() {
    let daemon = Daemon::new();
    let target = Target::start();
    let filters = ["--kind", "message.*", "--chat", "5@chatroom", "--match", "^yes"];
    daemon.cli(&[&["forward", "add", "hook", &target.url()], &filters[..]].concat()).exits(0);
    say(&daemon, "5@chatroom", "yes 1");
    say(&daemon, "5@chatroom", "no");
    say(&daemon, "wxid_a", "yes 2");
    daemon.client().event(r#"{"type":90,"cwxid":"wxid_me"}"#);
    say(&daemon, "5@chatroom", "yes 3");
    eventually("what matches is posted", || (target.seqs() == [1, 5]).then_some(()));
    daemon.cli(&["forward", "pause", "hook"]).exits(0);
    say(&daemon, "5@chatroom", "yes 4");
    daemon.cli(&["forward", "test", "hook"]).exits(0);
    let posts = target.posts();
    assert_eq!(posts.len(), 3, "only the test came: {posts:?}");
    assert_eq!(serde_json::from_str::<Value>(&posts[2].body).unwrap()["kind"], "test");
    daemon.cli(&["forward", "resume", "hook"]).exits(0);
    eventually("what waited is posted", || (target.seqs() == [1, 5, 0, 6]).then_some(()));
    daemon.cli(&["events", "resend", "1", "--to", "hook"]).exits(0);
    assert_eq!(target.seqs(), [1, 5, 0, 6, 1]);
    daemon.cli(&["events", "resend", "99", "--to", "hook"]).exits(4);
    daemon.cli(&["events", "resend", "1", "--to", "nobody"]).exits(4);
    daemon.cli(&["forward", "remove", "hook"]).exits(0);
    daemon.cli(&["forward", "remove", "hook"]).exits(4);
    daemon.cli(&["forward", "add", "bad", "ftp://example.org"]).exits(2);
    target.status.store(500, Ordering::SeqCst);
    daemon.cli(&["forward", "add", "hook", &target.url()]).exits(0);
    daemon.cli(&["forward", "test", "hook"]).exits(5).says(&["500"]);
}

#[test]
fn a_forward_that_is_paused_and_resumed_while_a_post_is_under_way_posts_it_once() {
    let daemon = Daemon::new();
    let target = Target::start();
    daemon.cli(&["forward", "add", "hook", &target.url()]).exits(0);
    target.holds.store(true, Ordering::SeqCst);
    say(&daemon, "wxid_a", "slow");
    eventually("it is under way", || (target.seqs() == [1]).then_some(()));
    daemon.cli(&["forward", "pause", "hook"]).exits(0);
    daemon.cli(&["forward", "resume", "hook"]).exits(0);
    // What would post it again has begun by the time that another one is posted.
    target.holds.store(false, Ordering::SeqCst);
    say(&daemon, "wxid_a", "next");
    eventually("it goes on", || target.seqs().contains(&2).then_some(()));
    daemon.cli(&["forward", "pause", "hook"]).exits(0);
    daemon.cli(&["forward", "resume", "hook"]).exits(0);
    say(&daemon, "wxid_a", "last");
    eventually("it still does", || target.seqs().contains(&3).then_some(()));
    assert_eq!(target.seqs(), [1, 2, 3]);
}

#[test]
fn a_target_that_retention_has_overtaken_is_told_so_and_goes_on() {
    let daemon = Recipe::default().config("[events]\nkeep = \"1s\"\nmax_bytes = \"1MiB\"\n").start();
    let mut target = Target::start();
    daemon.cli(&["forward", "add", "hook", &target.url()]).exits(0);
    let said = |count: usize, text: &str| (0..count).for_each(|_| say(&daemon, "wxid_a", text));
    said(1, "first");
    eventually("it is posted", || (target.seqs() == [1]).then_some(()));
    target.close();
    said(3, "while it is away");
    // Their age is the condition: nothing but time brings it about.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let first = || daemon.status()["events"]["first"].as_u64().unwrap();
    assert_eq!(first(), 2, "retention waits for it");
    said(300, &"x".repeat(10_000));
    let first = eventually("there is no room to wait", || Some(first()).filter(|first| *first > 150));
    target.open();
    let told = eventually("it has got what is left", || Some(listed(&daemon, "hook")).filter(|told| told["lag"] == 0));
    let seqs = target.seqs();
    let gaps: Vec<_> = seqs.windows(2).filter(|two| two[1] != two[0] + 1).collect();
    let [gap] = gaps[..] else { panic!("{gaps:?}") };
    assert!(gap[1] >= first && *seqs.last().unwrap() == 304, "{gap:?}");
    let lost = format!("events {} to {} were dropped", gap[0] + 1, gap[1] - 1);
    assert!(told["last_error"].as_str().unwrap().contains(&lost) && told["failures"] == 0, "{told}");
    assert!(daemon.log().contains("events were dropped before they were forwarded"));
}

#[test]
fn a_refused_event_is_told_and_skipped_by_hand_or_after_three_tries() {
    let daemon = Daemon::new();
    let (stubborn, lenient) = (Target::start(), Target::start());
    for target in [&stubborn, &lenient] {
        target.status.store(422, Ordering::SeqCst);
    }
    daemon.cli(&["forward", "add", "stubborn", &stubborn.url()]).exits(0);
    daemon.cli(&["forward", "add", "lenient", &lenient.url(), "--on-refused", "skip"]).exits(0);
    daemon.cli(&["forward", "skip", "stubborn"]).exits(5).says(&["forward set"]);
    say(&daemon, "wxid_a", "1");
    say(&daemon, "wxid_a", "2");
    eventually("the refusal is told", || (listed(&daemon, "stubborn")["state"] == "refused").then_some(()));
    eventually("it was skipped", || (listed(&daemon, "lenient")["skipped"] == 1).then_some(()));
    for target in [&stubborn, &lenient] {
        target.status.store(200, Ordering::SeqCst);
    }
    eventually("the other event came", || lenient.seqs().ends_with(&[2]).then_some(()));
    assert!(!lenient.seqs().contains(&1));
    eventually("so do both", || (stubborn.seqs() == [1, 2]).then_some(()));
    stubborn.status.store(404, Ordering::SeqCst);
    say(&daemon, "wxid_a", "3");
    say(&daemon, "wxid_a", "4");
    eventually("the third is refused", || (listed(&daemon, "stubborn")["state"] == "refused").then_some(()));
    let skipped = daemon.cli(&["forward", "skip", "stubborn"]).exits(0).line();
    assert_eq!(skipped["seq"], 3);
    stubborn.status.store(200, Ordering::SeqCst);
    eventually("it goes on by itself", || (stubborn.seqs() == [1, 2, 4]).then_some(()));
}

#[test]
fn a_forward_is_moved_in_both_directions() {
    let daemon = Daemon::new();
    let target = Target::start();
    daemon.cli(&["forward", "add", "hook", &target.url()]).exits(0);
    for n in 1..=3 {
        say(&daemon, "wxid_a", &n.to_string());
    }
    eventually("all came", || (target.seqs() == [1, 2, 3]).then_some(()));
    daemon.cli(&["forward", "set", "hook", "#1"]).exits(0);
    eventually("two come again", || (target.seqs() == [1, 2, 3, 2, 3]).then_some(()));
    daemon.cli(&["forward", "pause", "hook"]).exits(0);
    say(&daemon, "wxid_a", "4");
    daemon.cli(&["forward", "set", "hook", "now"]).exits(0);
    daemon.cli(&["forward", "resume", "hook"]).exits(0);
    say(&daemon, "wxid_a", "5");
    eventually("one was passed", || (target.seqs() == [1, 2, 3, 2, 3, 5]).then_some(()));
    daemon.cli(&["forward", "set", "nobody", "now"]).exits(4);
}

#[test]
fn a_password_is_sent_decoded_and_never_printed() {
    let daemon = Daemon::new();
    let target = Target::start();
    let url = format!("http://me:p%40ss@{}/hook", target.addr);
    let added = daemon.cli(&["forward", "add", "hook", &url]).exits(0);
    say(&daemon, "wxid_a", "x");
    eventually("it came", || (target.seqs() == [1]).then_some(()));
    let posts = target.posts();
    assert_eq!(posts[0].authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
    assert_eq!(posts[0].log.as_deref(), daemon.status()["log"].as_str());
    let list = daemon.cli(&["forward", "list", "--text"]).exits(0);
    let completed = daemon.cli(&["forward", "list"]).exits(0);
    for text in [&added.out, &list.out, &completed.out, &daemon.log()] {
        assert!(!text.contains("p%40ss") && !text.contains("p@ss"), "{text}");
    }
    for url in ["http://127.0.0.1:99999/", "http://127.0.0.1:0/", "ftp://127.0.0.1/"] {
        daemon.cli(&["forward", "add", "bad", url]).exits(2);
    }
}

#[test]
fn events_do_not_go_round_in_circles() {
    let (one, two) = (Daemon::new(), Daemon::new());
    let door = |daemon: &Daemon| format!("http://127.0.0.1:{}/recieve_msg", daemon.port());
    one.cli(&["forward", "add", "self", &door(&one)]).exits(0);
    one.cli(&["forward", "add", "two", &door(&two)]).exits(0);
    two.cli(&["forward", "add", "one", &door(&one)]).exits(0);
    say(&one, "wxid_a", "there");
    let arrived = |daemon: &Daemon| daemon.status()["events"]["last"].as_u64().unwrap();
    eventually("it passes once", || (arrived(&two) == 1).then_some(()));
    for (daemon, name) in [(&one, "self"), (&one, "two"), (&two, "one")] {
        eventually("every forward is done with it", || {
            let forward = listed(daemon, name);
            (forward["lag"] == 0 && forward["state"] == "ok").then_some(())
        });
    }
    assert_eq!((arrived(&one), arrived(&two)), (1, 1));
    // What the mark itself says is refused, whoever sends it.
    let log = one.status()["log"].as_str().unwrap().to_owned();
    let via = format!("other, {log}");
    assert_eq!(one.client().send("POST", "/recieve_msg", &[("X-Wehelp-Via", &via)], b"{}").status, 508);
}

#[test]
fn a_private_authority_is_trusted_where_it_is_named() {
    let (from, to) = (Daemon::new(), super::tls::secure());
    let ca = super::tls::fixture("one.cert.pem");
    let url = format!("https://localhost:{}/recieve_msg", to.port());
    from.cli(&["forward", "add", "strange", &url]).exits(0);
    let refused = from.cli(&["forward", "test", "strange"]).exits(5);
    refused.says(&["--ca"]);
    from.cli(&["forward", "add", "known", &url, "--ca", ca.to_str().unwrap()]).exits(0);
    say(&from, "wxid_a", "over tls");
    eventually("it came", || (to.status()["events"]["last"] == 1).then_some(()));
    assert_eq!(to.last_event()["text"], "over tls");
    from.cli(&["forward", "add", "none", &url, "--ca", "/nowhere/at-all.pem"]).exits(2).says(&["/nowhere/at-all.pem"]);
}

#[test]
fn a_removed_forward_leaves_no_secret_in_later_backups() {
    let daemon = Daemon::new();
    let target = Target::start();
    daemon.cli(&["forward", "add", "hook", &target.url(), "--secret", "find-me-nowhere"]).exits(0);
    say(&daemon, "wxid_a", "x");
    eventually("it came", || (target.seqs() == [1]).then_some(()));
    daemon.cli(&["forward", "remove", "hook"]).exits(0);
    let file = daemon.path("later.backup");
    daemon.cli(&["backup", file.to_str().unwrap()]).exits(0);
    let bytes = std::fs::read(file).unwrap();
    assert!(!bytes.windows(15).any(|window| window == b"find-me-nowhere"));
}
