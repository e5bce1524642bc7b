//! What a store promises on a sound disk.

use super::*;

#[test]
fn what_was_written_is_there_after_every_reopen() {
    let dir = fast();
    let mut written = 0;
    for round in 0..6 {
        let store = open(&dir);
        assert_eq!(*store.tail().borrow(), Seq(written));
        for n in 0..100 {
            assert_eq!(wait(store.append(event(written, 600))).unwrap(), Seq(written + 1));
            written += 1;
            let value = format!("{round} {n}");
            wait(store.write(move |tx| {
                tx.put(SPACE, format!("key {n}").as_bytes(), value);
                Ok::<_, ()>(())
            }))
            .unwrap()
            .unwrap();
        }
        let (entries, damaged) = all(&store, Query::default(), 10_000);
        assert!(damaged.is_empty(), "{damaged:?}");
        assert_eq!(entries.len() as u64, written);
        for (n, entry) in entries.iter().enumerate() {
            let expected = event(n as u64, 600);
            assert_eq!((entry.seq, entry.time), (Seq(n as u64 + 1), expected.time));
            assert_eq!((&entry.outline, &entry.body), (&expected.outline, &expected.body));
        }
        let (mut backwards, _) = all(&store, Query { backwards: true, ..Query::default() }, 10_000);
        backwards.reverse();
        assert!(backwards.iter().map(|e| e.seq).eq(entries.iter().map(|e| e.seq)));
        assert_eq!(store.get(SPACE, b"key 42").unwrap().unwrap(), format!("{round} 42").into_bytes());
        assert_eq!(store.scan(SPACE, Keys::prefix(b"key ")).count(), 100);
        store.close().unwrap();
        if round == 2 {
            std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
        }
    }
}

#[test]
fn a_kill_at_any_time_leaves_everything_that_was_answered() {
    for segment_bytes in [256 << 10, 64 << 20] {
        kill_often(segment_bytes);
    }
}

fn kill_often(segment_bytes: u64) {
    let dir = fast();
    let store = Store::open(dir.path(), Options { segment_bytes, ..small() }).unwrap();
    for n in 0..300_u64 {
        let seq = wait(store.write(move |tx| {
            tx.put(SPACE, &(n % 10).to_be_bytes(), n.to_be_bytes());
            Ok::<_, ()>(tx.append(event(n, 2000)))
        }));
        assert_eq!(seq.unwrap().unwrap(), Seq(n + 1));
        if n % 37 == 5 {
            let killed = copy(dir.path());
            let again = open(&killed);
            let (entries, damaged) = all(&again, Query::default(), 100_000);
            assert!(damaged.is_empty(), "{damaged:?}");
            assert_eq!(entries.len() as u64, n + 1);
            let value = again.get(SPACE, &(n % 10).to_be_bytes()).unwrap().unwrap();
            assert_eq!(value, n.to_be_bytes());
            assert_eq!(wait(again.append(event(9, 9))).unwrap(), Seq(n + 2));
        }
    }
}

#[test]
fn finished_blocks_are_found_before_and_after_they_are_in_the_map() {
    let dir = fast();
    let store = Store::open(dir.path(), Options { segment_bytes: 64 << 20, ..small() }).unwrap();
    for n in 0..35_u64 {
        // Each is a block.
        wait(store.append(event(n, 100_000))).unwrap();
        for (any_of, expected) in [
            (vec![], (0..=n).collect::<Vec<_>>()),
            (vec![vec![n % 7]], (0..=n).filter(|other| other % 7 == n % 7).collect()),
            (vec![vec![1000 + n / 2]], vec![n / 2]),
        ] {
            for backwards in [false, true] {
                let query = Query { any_of: any_of.clone(), backwards, ..Query::default() };
                let (mut found, damaged) = all(&store, query, 1 << 20);
                assert_eq!(damaged, []);
                if backwards {
                    found.reverse();
                }
                // A block may be looked at in vain.
                found.retain(|entry| expected.contains(&(entry.seq.0 - 1)));
                assert!(found.iter().map(|entry| entry.seq.0 - 1).eq(expected.iter().copied()), "{n} {any_of:?}");
            }
        }
    }
}

#[test]
fn a_failed_or_panicking_transaction_leaves_nothing_and_a_later_one_sees_an_earlier_one() {
    let dir = fast();
    let store = open(&dir);
    let kept = wait(store.write(|tx| {
        tx.put(SPACE, b"a", *b"1");
        Ok::<_, ()>(())
    }));
    assert_eq!(kept.unwrap(), Ok(()));
    let failed = wait(store.write(|tx| {
        tx.put(SPACE, b"a", *b"2");
        tx.put(SPACE, b"b", *b"2");
        tx.append(event(1, 1));
        assert_eq!(tx.last(), Seq(1));
        assert_eq!(tx.scan(SPACE, ..b"z").rev().take(9).count(), 2);
        tx.delete(SPACE, b"a");
        assert_eq!(tx.get(SPACE, b"a"), None);
        Err::<(), _>("no")
    }));
    assert_eq!(failed.unwrap(), Err("no"));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let panicked = wait(store.write(|tx| {
        tx.delete(SPACE, b"a");
        tx.append(event(1, 1));
        assert!(tx.get(SPACE, b"a").is_some(), "on purpose");
        Ok::<_, ()>(())
    }));
    std::panic::set_hook(hook);
    assert!(panicked.unwrap_err().to_string().contains("on purpose"));
    assert_eq!(pairs(&store), [(b"a".to_vec(), b"1".to_vec())]);
    assert_eq!(*store.tail().borrow(), Seq::ZERO);
    assert_eq!(wait(store.append(event(1, 1))).unwrap(), Seq(1));
}

#[test]
fn large_events_go_after_small_ones_that_wait_and_are_not_forgotten_at_the_end() {
    let dir = fast();
    let store = open(&dir);
    let (release, held) = std::sync::mpsc::channel::<()>();
    let seqs = wait(async {
        let hold = store.write(move |_| held.recv().map_err(|_| ()));
        let large = || store.append(event(1, 2 << 20));
        let (first, second, third) = (large(), store.append(event(2, 100)), large());
        let release = async { release.send(()).unwrap() };
        // In this order: the writer is held until all of them wait.
        let (held, first, second, third, ()) = tokio::join!(hold, first, second, third, release);
        held.unwrap().unwrap();
        [first, second, third].map(|seq| seq.unwrap().0)
    });
    assert_eq!(seqs, [2, 1, 3]);
    // A close is no reason to lose one.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let last = wait(async {
        let hold = store.write(move |_| held.recv().map_err(|_| ()));
        let close = async {
            let closing = store.clone();
            let closed = std::thread::spawn(move || closing.close());
            release.send(()).unwrap();
            closed
        };
        let (held, last, closed) = tokio::join!(hold, store.append(event(4, 2 << 20)), close);
        held.unwrap().unwrap();
        closed.join().unwrap().unwrap();
        last.unwrap().0
    });
    assert_eq!(last, 4);
    drop(store);
    assert_eq!(*open(&dir).tail().borrow(), Seq(4));
}

#[test]
fn what_was_written_lazily_is_durable_once_all_is_said_to_be_synced() {
    let dir = fast();
    let store = open(&dir);
    let shared = &store.0.shared;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for n in 0..3_u8 {
            let put = store.write_lazily(move |tx| {
                tx.put(SPACE, b"lazy", vec![n]);
                Ok::<_, ()>(())
            });
            put.await.unwrap().unwrap();
            let written = shared.committed.load(Ordering::SeqCst);
            store.synced().await;
            assert!(shared.durable.load(Ordering::SeqCst) >= written);
        }
    });
}

#[test]
fn a_kill_after_a_flush_keeps_every_event_readable() {
    let dir = fast();
    let store = Store::open(dir.path(), Options { segment_bytes: 64 << 20, ..small() }).unwrap();
    append_many(&store, 0..500, 600);
    for n in 0..40 {
        put(&store, &format!("k{n}"), &[b'v'; 4000]);
    }
    let shared = &store.0.shared;
    eventually("all changes are in sled", || {
        shared.flush().unwrap() && shared.map().flushed_to().0 == shared.committed.load(Ordering::SeqCst)
    });
    shared.map().tree().sync().unwrap();
    append_many(&store, 500..600, 600);
    for _ in 0..2 {
        let killed = copy(dir.path());
        let (entries, damaged) = all(&open(&killed), Query::default(), 100_000);
        assert_eq!((entries.len(), damaged), (600, vec![]));
    }
}
