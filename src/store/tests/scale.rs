//! Figures, printed: `cargo test --release --lib store::tests::scale -- --ignored --nocapture --test-threads 1`.

use super::*;
use std::io::Write;
use std::time::Instant;

const SIZE: usize = 600;

fn million() -> u64 {
    std::env::var("WEHELP_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

fn like_a_chat(n: u64) -> Append {
    Append {
        time: Time::from_millis(1_700_000_000_000 + i64::try_from(n).unwrap() * 100),
        outline: Bytes::from_static(&[b'o'; 40]),
        // Kind, account, chat, from; one chat in a thousand is rare.
        tags: vec![n % 5, 100, if n % 50_000 == 77 { 7_777_777 } else { 1000 + n * 7919 % 300 }, 5000 + n * 31 % 2000],
        body: Bytes::from(vec![b'x'; SIZE]),
    }
}

/// The bare thing: whoever comes while a sync runs shares the next.
fn bare(path: &Path, producers: usize, each: usize) -> f64 {
    let mut file = std::fs::File::create(path).unwrap();
    let (inbox, requests) = mpsc::channel::<oneshot::Sender<()>>();
    let body = vec![b'x'; SIZE + 8];
    let writer = std::thread::spawn(move || {
        let (mut buf, mut waiting) = (Vec::new(), Vec::new());
        while let Ok(first) = requests.recv() {
            waiting.push(first);
            waiting.extend(requests.try_iter());
            for _ in &waiting {
                buf.extend_from_slice(&body);
            }
            file.write_all(&buf).unwrap();
            file.sync_data().unwrap();
            buf.clear();
            for reply in waiting.drain(..) {
                reply.send(()).unwrap();
            }
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

fn produce<F: Future<Output = ()> + Send>(
    producers: usize,
    each: usize,
    one: impl Fn(u64) -> F + Send + Clone + 'static,
) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let begun = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..producers)
            .map(|p| {
                let one = one.clone();
                tokio::spawn(async move {
                    for n in 0..each {
                        one((n * 1000 + p) as u64).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    (producers * each) as f64 / begun.elapsed().as_secs_f64()
}

#[test]
#[ignore = "figures"]
fn appends_against_a_bare_file() {
    for (producers, each) in [(1, 2000), (64, 600), (256, 300)] {
        let mut ratios = Vec::new();
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path(), Options::default()).unwrap();
            let appender = store.clone();
            let ours = produce(producers, each, move |n| {
                let store = appender.clone();
                async move { store.append(like_a_chat(n)).await.map(drop).unwrap() }
            });
            store.close().unwrap();
            let theirs = bare(&dir.path().join("bare"), producers, each);
            ratios.push((ours / theirs, ours, theirs));
        }
        ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ratio, ours, theirs) = ratios[2];
        println!("{producers:3} producers: {ours:.0}/s, bare {theirs:.0}/s, ratio {ratio:.2}");
    }
}

fn rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    println!("{what}: {:?}, {} MiB resident", begun.elapsed(), rss_mib());
    done
}

#[test]
#[ignore = "figures"]
fn a_million_events() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let count = million();
    let appender = store.clone();
    timed("ingest", || {
        produce(256, usize::try_from(count / 256).unwrap() + 1, move |n| {
            let store = appender.clone();
            let n = n / 1000 * 256 + n % 1000;
            async move { store.append(like_a_chat(n)).await.map(drop).unwrap() }
        })
    });
    let stats = store.stats().unwrap();
    println!("{} events, {:.0} bytes on disk each", stats.count, stats.bytes as f64 / stats.count as f64);
    let killed = tempfile::tempdir().unwrap();
    copy_into(dir.path(), killed.path()).unwrap();
    timed("close", || store.close().unwrap());
    drop(store);
    let store = timed("open clean", || Store::open(dir.path(), Options::default()).unwrap());
    let after_kill = timed("open after a kill", || Store::open(killed.path(), Options::default()).unwrap());
    drop(after_kill);
    std::fs::remove_dir_all(killed.path().join("sled")).unwrap();
    let rebuilt = timed("open without sled", || Store::open(killed.path(), Options::default()).unwrap());
    drop(rebuilt);
    let newest = Query { backwards: true, ..Query::default() };
    timed("newest page", || store.read_kept(&newest, 20 * 700).unwrap().entries.len());
    let rare = Query { any_of: vec![vec![7_777_777]], ..newest.clone() };
    let found = timed("newest of a rare chat, all of the log", || {
        all(&store, rare, 1 << 18).0.iter().filter(|e| e.seq.0 % 50_000 == 78).count()
    });
    println!("{found} found");
    let hour = Time::from_millis(1_700_000_000_000 + i64::try_from(count).unwrap() * 100 - 3_600_000);
    let since = Query { since: Some(hour), ..Query::default() };
    timed("the first page since an hour ago", || {
        let mut query = since;
        loop {
            let page = store.read_kept(&query, 1 << 18).unwrap();
            if !page.entries.is_empty() || page.end {
                return page.entries.len();
            }
            query.after = page.looked_to;
        }
    });
    let begun = Instant::now();
    let (mut query, mut seen) = (Query::default(), 0);
    loop {
        let page = store.read_kept(&query, 1 << 18).unwrap();
        seen += page.entries.len();
        query.after = page.looked_to;
        if page.end {
            break;
        }
    }
    let rate = seen as f64 / begun.elapsed().as_secs_f64();
    println!("all of it: {rate:.0} events/s, {} MiB resident", rss_mib());
}
