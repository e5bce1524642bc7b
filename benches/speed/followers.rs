//! Followers: how soon they see an event, and what they cost when they see none.

use crate::Run;
use crate::callbacks::{event, posts};
use crate::daemon::Daemon;
use crate::http::{self, Client, Door, Stream};
use crate::load::Histogram;
use crate::table::{Goal, Unit};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// From the answer of a callback to the end of its line at a follower.
pub(crate) fn latency(run: &mut Run) {
    let dir = run.folder("follow");
    let daemon = Daemon::start(&dir);
    for (followers, every) in [(1, Duration::from_millis(4)), (100, Duration::from_millis(20))] {
        let events = usize::try_from(run.time().as_millis() * 2 / every.as_millis()).unwrap();
        let latency = follow(&daemon, followers, events, every);
        let share = latency.share_within(Duration::from_millis(2)) * 100.0;
        let name = format!("answer to follower within 2 ms, {followers} followers");
        run.table.alone(&name, Unit::Percent, share, Goal::OursMin(99.0));
        run.table.alone("  half of them within", Unit::Micros, latency.quantile(0.5), Goal::Known);
        run.table.alone("  99 % of them within", Unit::Micros, latency.quantile(0.99), Goal::Known);
    }
}

fn follow(daemon: &Daemon, followers: usize, events: usize, every: Duration) -> Histogram {
    let first = daemon.status()["events"]["last"].as_u64().unwrap() + 1;
    let (start, ready, done) = (Instant::now(), AtomicUsize::new(0), AtomicUsize::new(0));
    let answered: Vec<AtomicU64> = (0..events).map(|_| AtomicU64::new(0)).collect();
    let (ready, done, answered) = (&ready, &done, &answered);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..followers)
            .map(|_| {
                scope.spawn(move || {
                    let mut stream = subscribe(&daemon.control(), &format!("after={}", first - 1));
                    ready.fetch_add(1, Ordering::SeqCst);
                    let mut seen = Vec::with_capacity(events);
                    let (mut buffer, mut filled) = (vec![0; 64 * 1024], 0);
                    while seen.len() < events {
                        let n = stream.read(&mut buffer[filled..]).unwrap();
                        let now = start.elapsed();
                        assert!(n > 0, "the stream ended");
                        filled += n;
                        while let Some(end) = buffer[..filled].windows(2).position(|w| w == b"}\n") {
                            seen.extend(seq(&buffer[..end]).map(|seq| (seq, now)));
                            buffer.copy_within(end + 2..filled, 0);
                            filled -= end + 2;
                        }
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                    seen
                })
            })
            .collect();
        while ready.load(Ordering::SeqCst) < followers {
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon.rest();
        let mut client = Client::new(&daemon.door);
        let request = http::post("/recieve_msg", event().as_bytes());
        for at in answered {
            assert_eq!(client.ask(&request).unwrap().status, 200);
            at.store(u64::try_from(start.elapsed().as_nanos()).unwrap(), Ordering::SeqCst);
            std::thread::sleep(every);
        }
        let mut latency = Histogram::new();
        for reader in readers {
            for (seq, at) in reader.join().unwrap() {
                let answered = answered[usize::try_from(seq - first).unwrap()].load(Ordering::SeqCst);
                // A follower may be quicker than the answer: both start at the sync.
                latency.record(at.saturating_sub(Duration::from_nanos(answered)));
            }
        }
        latency
    })
}

fn seq(line: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"{\"seq\":";
    let at = line.windows(KEY.len()).position(|w| w == KEY)? + KEY.len();
    let digits = line[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&line[at..at + digits]).ok()?.parse().ok()
}

fn subscribe(door: &Door, query: &str) -> Stream {
    let mut stream = Stream::connect(door).unwrap();
    stream.write_all(&http::get(&format!("/v1/events?follow=true&{query}"))).unwrap();
    let mut head = [0; 12];
    assert_eq!(stream.read(&mut head).unwrap(), 12);
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

/// What a hundred followers cost that wait for something else.
pub(crate) fn idle(run: &mut Run) {
    const FOLLOWERS: usize = 100;
    let dir = run.folder("idle-followers");
    let daemon = Daemon::start(&dir);
    let body = event();
    let pairs: Vec<_> = (0..run.rounds().max(3))
        .map(|_| {
            let without = posts(&daemon.door, &body, 64, run.time()).rate;
            daemon.rest();
            let streams: Vec<Stream> =
                (0..FOLLOWERS).map(|n| subscribe(&daemon.control(), &format!("lines=0&chat=nobody{n}"))).collect();
            let with = std::thread::scope(|scope| {
                for stream in &streams {
                    let mut twin = stream.twin().unwrap();
                    scope.spawn(move || {
                        let mut buffer = [0; 1024];
                        while twin.read(&mut buffer).is_ok_and(|n| n > 0) {}
                    });
                }
                let with = posts(&daemon.door, &body, 64, run.time()).rate;
                streams.iter().for_each(Stream::shut);
                with
            });
            daemon.rest();
            (with, without)
        })
        .collect();
    run.table.compare("callbacks, 100 idle followers, none", Unit::PerSecond, &pairs, Goal::RatioMin(0.9));
}
