//! Commands: into the queue, and through it.

use crate::Run;
use crate::bare::Bare;
use crate::daemon::Daemon;
use crate::http::{self, Client, Door};
use crate::load::{self, Load};
use crate::rivals::{Beanstalkd, Lines, Redis, resp};
use crate::table::{Goal, Unit, median};
use std::time::{Duration, Instant};

/// What is queued: a short text.
const COMMAND: &str = r#"{"api":"sendTextMessage","code":1,"wxid":"filehelper","text":"hello, this is a short text"}"#;

fn enqueue_request() -> Vec<u8> {
    http::post("/v1/commands", format!(r#"{{"commands":[{COMMAND}]}}"#).as_bytes())
}

/// Durable enqueues a second over the control socket.
pub(crate) fn enqueue(run: &mut Run) {
    let dir = run.folder("enqueue");
    let daemon = Daemon::start(&dir);
    let redis = Redis::start(&dir);
    let bare = Bare::start_local(&dir);
    let (request, push) = (enqueue_request(), resp(&[b"LPUSH", b"queue", COMMAND.as_bytes()]));
    for (clients, goal) in [(1, Goal::Known), (64, Goal::RatioMin(1.0))] {
        let asked = |door: &Door| {
            let load = load::run(clients, run.time(), |_| {
                let mut client = Client::new(door);
                let request = &request;
                move || {
                    let answer = client.ask(request).unwrap();
                    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(answer.body));
                    1
                }
            });
            daemon.rest();
            load.rate
        };
        let (ours, limit) = (|| asked(&daemon.control()), || asked(&bare.door));
        let Some(redis) = &redis else {
            let rate = ours();
            run.table.alone(&format!("enqueue, {clients} clients"), Unit::PerSecond, rate, Goal::Known);
            continue;
        };
        let theirs = || {
            let load = load::run(clients, run.time(), |_| {
                let mut client = Lines::connect(&redis.door());
                let push = &push;
                move || {
                    client.ask(push, 1).unwrap();
                    1
                }
            });
            load.rate
        };
        let rounds: Vec<_> = (0..run.rounds()).map(|_| (ours(), theirs(), limit())).collect();
        let pairs = |pair: fn(&(f64, f64, f64)) -> (f64, f64)| rounds.iter().map(pair).collect::<Vec<_>>();
        let name = format!("enqueue, {clients} clients, Redis LPUSH always");
        run.table.compare(&name, Unit::PerSecond, &pairs(|r| (r.0, r.1)), goal);
        let name = format!("enqueue, {clients} clients, bare hyper + fdatasync");
        run.table.compare(&name, Unit::PerSecond, &pairs(|r| (r.0, r.2)), Goal::Known);
        let reached = median(rounds.iter().map(|r| r.2 / r.1));
        run.table.note(format!("with {clients} clients bare hyper, on such a socket, reaches {reached:.2} of Redis"));
    }
    if redis.is_none() {
        run.table.note("no redis-server here: enqueueing is not compared with LPUSH");
    }
}

/// Commands that went the whole way, a second: queued, polled, known to be fetched.
pub(crate) fn cycles(run: &mut Run) {
    let dir = run.folder("cycles");
    let daemon = Daemon::start(&dir);
    let beanstalkd = Beanstalkd::start(&dir);
    for (workers, goal) in [(1, Goal::Known), (16, Goal::RatioMin(2.0))] {
        let Some(beanstalkd) = &beanstalkd else {
            let rate = our_cycles(&daemon, workers, run.time()).rate;
            run.table.alone(
                &format!("enqueue, poll, fetched, {workers} at a time"),
                Unit::PerSecond,
                rate,
                Goal::Known,
            );
            continue;
        };
        let pairs: Vec<_> = (0..run.rounds())
            .map(|_| {
                let theirs = their_cycles(beanstalkd, workers, run.time()).rate;
                let ours = our_cycles(&daemon, workers, run.time()).rate;
                daemon.rest();
                (ours, theirs)
            })
            .collect();
        let name = format!("enqueue, poll, fetched, {workers} at a time, beanstalkd -f0");
        run.table.compare(&name, Unit::PerSecond, &pairs, goal);
    }
    if beanstalkd.is_none() {
        run.table.note("no beanstalkd here: cycles are not compared with it");
    }
}

/// Each worker queues one command and polls, as a client does; what its poll brings may be another's.
fn our_cycles(daemon: &Daemon, workers: usize, time: Duration) -> Load {
    let (request, control) = (enqueue_request(), daemon.control());
    let poll = http::get("/send_msg");
    let load = load::run(workers, time, |_| {
        let (mut door, mut client) = (Client::new(&control), Client::new(&daemon.door));
        let (request, poll) = (&request, &poll);
        move || {
            assert_eq!(door.ask(request).unwrap().status, 200);
            let answer = client.ask(poll).unwrap();
            assert_eq!(answer.status, 200);
            answer.body.windows(5).filter(|w| w == b"\"api\"").count() as u64
        }
    });
    // A cycle is one only when all were seen to arrive.
    let started = Instant::now();
    let waiting = |status: &serde_json::Value| {
        ["scheduled", "in_flight"].iter().map(|s| status["queue"][s].as_u64().unwrap_or(0)).sum::<u64>()
    };
    while waiting(&daemon.status()) > 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "commands stay in flight: {}", daemon.status()["queue"]);
        std::thread::sleep(Duration::from_millis(20));
    }
    load
}

fn their_cycles(beanstalkd: &Beanstalkd, workers: usize, time: Duration) -> Load {
    let put = format!("put 0 0 60 {}\r\n{COMMAND}\r\n", COMMAND.len()).into_bytes();
    load::run(workers, time, |_| {
        let mut client = Lines::connect(&beanstalkd.door);
        let put = &put;
        move || {
            client.ask(put, 1).unwrap();
            let reserved = client.ask(b"reserve-with-timeout 5\r\n", 2).unwrap();
            let id = reserved.split(' ').nth(1).unwrap();
            client.ask(format!("delete {id}\r\n").as_bytes(), 1).unwrap();
            1
        }
    })
}
