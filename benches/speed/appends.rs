//! The store alone, in this process: events that are appended and synced, against a bare file that is written and synced
//! once for whoever waits.

use crate::Run;
use crate::table::{Goal, Unit};
use bytes::Bytes;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;
use tokio::sync::oneshot;
use wehelp::clock::Time;
use wehelp::store::{Append, Options, Store};

/// An event's body, bytes.
const BODY_BYTES: usize = 600;
/// What a frame holds besides, nearly.
const FRAME_BYTES: usize = BODY_BYTES + 8;

/// Few producers wait for each sync alone, many share it.
pub(crate) fn run(run: &mut Run) {
    for (producers, each) in [(1, 2000), (64, 600), (256, 300)] {
        let each = if run.smoke { 5 } else { each };
        let mut pairs = Vec::new();
        for round in 0..run.rounds() {
            let dir = run.folder(&format!("appends-{producers}-{round}"));
            pairs.push((ours(&dir.join("store"), producers, each), bare(&dir.join("bare"), producers, each)));
        }
        run.table.compare(&format!("appends of {producers} at once"), Unit::PerSecond, &pairs, Goal::Known);
    }
}

fn ours(dir: &Path, producers: usize, each: usize) -> f64 {
    let store = Store::open(dir, Options::default()).unwrap();
    let appender = store.clone();
    let rate = produce(producers, each, move |n| {
        let store = appender.clone();
        async move { store.append(like_a_chat(n)).await.map(drop).unwrap() }
    });
    store.close().unwrap();
    rate
}

fn like_a_chat(n: u64) -> Append {
    Append {
        time: Time::from_millis(1_700_000_000_000 + i64::try_from(n).unwrap() * 100),
        outline: Bytes::from_static(&[b'o'; 40]),
        // Kind, account, chat, from.
        tags: vec![n % 5, 100, 1000 + n * 7919 % 300, 5000 + n * 31 % 2000],
        body: Bytes::from(vec![b'x'; BODY_BYTES]),
    }
}

/// Whoever comes while a sync runs shares the next.
fn bare(path: &Path, producers: usize, each: usize) -> f64 {
    let mut file = std::fs::File::create(path).unwrap();
    let (inbox, requests) = mpsc::channel::<oneshot::Sender<()>>();
    let writer = std::thread::spawn(move || {
        let (mut bytes, mut waiting) = (Vec::new(), Vec::new());
        while let Ok(first) = requests.recv() {
            waiting.push(first);
            waiting.extend(requests.try_iter());
            bytes.resize(waiting.len() * FRAME_BYTES, b'x');
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
            waiting.drain(..).for_each(|reply| reply.send(()).unwrap());
        }
    });
    let rate = produce(producers, each, move |_| {
        let inbox = inbox.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            inbox.send(reply).unwrap();
            answer.await.unwrap();
        }
    });
    writer.join().unwrap();
    rate
}

/// How many are done a second by tasks that each wait for one after the other.
fn produce<F: Future<Output = ()> + Send>(
    producers: usize,
    each: usize,
    one: impl Fn(u64) -> F + Send + Clone + 'static,
) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let begun = Instant::now();
    runtime.block_on(async {
        let produce = |producer| {
            let one = one.clone();
            tokio::spawn(async move {
                for n in 0..each {
                    one((n * producers + producer) as u64).await;
                }
            })
        };
        let tasks: Vec<_> = (0..producers).map(produce).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    (producers * each) as f64 / begun.elapsed().as_secs_f64()
}
