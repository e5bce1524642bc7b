//! Callbacks: small events, contact lists of megabytes, and small ones beside large ones.

use crate::Run;
use crate::bare::Bare;
use crate::daemon::{self, Daemon};
use crate::http::{self, Client, Door};
use crate::load::{self, Load};
use crate::rivals::{Flask, Lines, Redis, resp};
use crate::table::{Goal, Unit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) const PATH: &str = "/recieve_msg";

/// A 600-byte text event, as a client reports it.
pub(crate) fn event() -> String {
    let mut event = event_with("wxid_sadkwql", "");
    let short = 600 - event.len();
    event = event_with("wxid_sadkwql", &"x".repeat(short));
    assert_eq!(event.len(), 600);
    event
}

/// A text event.
pub(crate) fn event_with(chat: &str, text: &str) -> String {
    format!(
        r#"{{"data":{{"type":78,"msgType":"1","processid":"7768","cwxid":"wxid_adskjfse","wxid":"{chat}","formWxid":"","nick":"somebody","message":"{text}","myMsg":"0","time":"2026-11-24 09:00:00"}}}}"#
    )
}

/// A contact list of about so many bytes.
fn contact_list(bytes: usize) -> String {
    let mut list = r#"{"data":{"type":210,"processid":8308,"cwxid":"wxid_adskjfse","userLists":["#.to_owned();
    let mut n = 0;
    while list.len() < bytes {
        if n > 0 {
            list.push(',');
        }
        list.push_str(&format!(
            r#"{{"wxid":"wxid_{n:012}","asName":"(null)","headPic":"http://wx.qlogo.cn/mmhead/Q3auHgzwzM4nJrkU7rOWlVxMcdGIagFYT5mC6lpicvsSLj53d1Xe54w/0","sheadPic":"http://wx.qlogo.cn/mmhead/Q3auHgzwzM4nJrkU7rOWlVxMcdGIagFYT5mC6lpicvsSLj53d1Xe54w/132","nick":"微小强{n}","username":"wsd{n}","province":"上海","city":"中国","sex":0,"regionCode":"","sign":"","type":3,"groupId":"None","cwxid":"wxid_adskjfse"}}"#
        ));
        n += 1;
    }
    list.push_str("]}}");
    list
}

/// Posts one body over and over from so many connections.
pub(crate) fn posts(door: &Door, body: &str, connections: usize, time: Duration) -> Load {
    let request = http::post(PATH, body.as_bytes());
    load::run(connections, time, |_| {
        let mut client = Client::new(door);
        let request = &request;
        move || {
            let answer = client.ask(request).unwrap();
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(answer.body));
            1
        }
    })
}

/// Durable callbacks a second, against the physical limit and against a Redis stream.
pub(crate) fn small(run: &mut Run) {
    let dir = run.folder("callbacks");
    let body = event();
    let (bare, daemon) = (Bare::start(&dir), Daemon::start(&dir));
    let mut slowest_rest = Duration::ZERO;
    for (connections, goal) in [(1, 0.6), (64, 0.7), (256, 0.7)] {
        let (mut rates, mut tails, mut costs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..run.rounds() {
            let (theirs, their_cost) =
                daemon::cost(bare.child.pid(), || posts(&bare.door, &body, connections, run.time()));
            let (ours, our_cost) = daemon::cost(daemon.child.pid(), || {
                let load = posts(&daemon.door, &body, connections, run.time());
                slowest_rest = slowest_rest.max(daemon.rest());
                load
            });
            costs.push((our_cost, their_cost));
            rates.push((ours.rate, theirs.rate));
            tails.push((ours.p99(), theirs.p99()));
        }
        let name = format!("callbacks, {connections} connections, bare hyper + fdatasync");
        run.table.compare(&name, Unit::PerSecond, &rates, Goal::RatioMin(goal));
        let goal = if connections == 64 { Goal::RatioMax(3.0) } else { Goal::Known };
        run.table.compare("  99th percentile of their latencies", Unit::Micros, &tails, goal);
        run.table.compare("  processor time of each", Unit::Micros, &costs, Goal::Known);
    }
    let slowest_rest = slowest_rest.as_secs_f64() * 1e3;
    run.table.alone("  at rest so long after the last answer", Unit::Millis, slowest_rest, Goal::Known);
    drop(bare);

    let Some(redis) = Redis::start(&dir) else {
        run.table.note("no redis-server here: callbacks are not compared with a Redis stream");
        return;
    };
    let add = resp(&[b"XADD", b"events", b"*", b"event", body.as_bytes()]);
    let pairs: Vec<_> = (0..run.rounds())
        .map(|_| {
            let theirs = load::run(64, run.time(), |_| {
                let mut client = Lines::connect(&redis.door());
                let add = &add;
                move || {
                    client.ask(add, 2).unwrap();
                    1
                }
            });
            let ours = posts(&daemon.door, &body, 64, run.time());
            daemon.rest();
            (ours.rate, theirs.rate)
        })
        .collect();
    run.table.compare("callbacks, 64 connections, Redis XADD always", Unit::PerSecond, &pairs, Goal::Known);
}

/// Callbacks against what the maker's demo does.
pub(crate) fn flask(run: &mut Run) {
    let dir = run.folder("flask");
    let Some(flask) = Flask::start(&dir) else {
        run.table.note("no Python with Flask here, and none could be made: callbacks are not compared with it");
        return;
    };
    let daemon = Daemon::start(&dir);
    let body = event();
    let pairs: Vec<_> = (0..run.rounds())
        .map(|_| {
            let theirs = posts(&flask.door, &body, 64, run.time());
            daemon::rest(flask.child.pid());
            let ours = posts(&daemon.door, &body, 64, run.time());
            daemon.rest();
            (ours.rate, theirs.rate)
        })
        .collect();
    run.table.compare("callbacks, 64 connections, Flask's own server", Unit::PerSecond, &pairs, Goal::RatioMin(30.0));
}

/// Contact lists of 8 MB, and what they do to small callbacks that come meanwhile.
pub(crate) fn lists(run: &mut Run) {
    /// A small callback comes so often on each of four connections.
    const EVERY: Duration = Duration::from_millis(10);
    let dir = run.folder("lists");
    let daemon = Daemon::start(&dir);
    let list = contact_list(8_000_000);
    let megabytes = |load: &Load| load.rate * list.len() as f64 / 1e6;
    let small = http::post(PATH, event().as_bytes());
    let both = |door: &Door| {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let beside: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = Client::new(door);
                        let mut latency = load::Histogram::new();
                        while !over.load(Ordering::Relaxed) {
                            let began = Instant::now();
                            assert_eq!(client.ask(&small).unwrap().status, 200);
                            latency.record(began.elapsed());
                            std::thread::sleep(EVERY.saturating_sub(began.elapsed()));
                        }
                        latency
                    })
                })
                .collect();
            let large = posts(door, &list, 2, run.time().max(Duration::from_secs(1)));
            over.store(true, Ordering::Relaxed);
            let mut latency = load::Histogram::new();
            beside.into_iter().for_each(|thread| latency.merge(&thread.join().unwrap()));
            (large, latency.quantile(0.99) / 1e3)
        })
    };
    let (mut rates, mut tails) = (Vec::new(), Vec::new());
    for _ in 0..run.rounds() {
        // A new one each time: it begins its file anew, which would become some gigabytes else.
        let bare = Bare::start(&dir);
        let (theirs, their_tail) = both(&bare.door);
        drop(bare);
        let (ours, our_tail) = both(&daemon.door);
        daemon.rest();
        rates.push((megabytes(&ours), megabytes(&theirs)));
        tails.push((our_tail, their_tail));
    }
    let name = "8 MB contact lists, 2 connections, bare hyper";
    run.table.compare(name, Unit::MegabytesPerSecond, &rates, Goal::RatioMin(0.3));
    let name = "  99th percentile of small callbacks beside them";
    run.table.compare(name, Unit::Millis, &tails, Goal::OursMax(50.0));
}
