//! A store of format 1, checked in: every later version opens it.

use super::*;

/// A store of format 1: without sled, whose files are made again.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/store-v1");

fn fill(store: &Store) {
    for n in 0..12 {
        wait(store.append(event(n, 400))).unwrap();
        put(store, &format!("k{n}"), format!("value {n}").as_bytes());
    }
    put(store, "large", &[b'v'; 10_000]);
    wait(store.write(|tx| {
        tx.delete(SPACE, b"k3");
        Ok::<_, ()>(())
    }))
    .unwrap()
    .unwrap();
    wait(store.trim(Retention { before: Some(Time::from_millis(1_000_002)), ..Retention::default() })).unwrap();
}

fn check(store: &Store) {
    let (entries, damaged) = all(store, Query::default(), 1000);
    assert!(damaged.is_empty(), "{damaged:?}");
    assert!(entries.iter().map(|e| e.seq.0).eq(3..=12));
    for entry in &entries {
        let wanted = event(entry.seq.0 - 1, 400);
        assert_eq!((entry.time, &entry.outline, &entry.body), (wanted.time, &wanted.outline, &wanted.body));
    }
    let live = pairs(store);
    assert_eq!(live.len(), 12);
    assert_eq!(store.get(SPACE, b"k11").unwrap().unwrap(), b"value 11");
    assert_eq!(store.get(SPACE, b"large").unwrap().unwrap(), [b'v'; 10_000]);
    assert_eq!(store.get(SPACE, b"k3").unwrap(), None);
}

#[test]
fn a_store_of_format_1_opens() {
    let fixture = Path::new(FIXTURE);
    if std::env::var_os("UPDATE_STORE_FIXTURE").is_some() {
        let dir = fast();
        // A snapshot in the middle, as a restored store does not have one: made by hand.
        let store = open(&dir);
        fill(&store);
        check(&store);
        let (lsn, seq) = (store.0.shared.durable.load(Ordering::SeqCst), store.tail().borrow().0 + 1);
        map::snapshot::write(dir.path(), store.0.shared.map().tree(), lsn, || Ok(()), || Ok((lsn, seq))).unwrap();
        store.close().unwrap();
        for name in ["sled", "checkpoint"] {
            drop(std::fs::remove_dir_all(dir.path().join(name)));
            drop(std::fs::remove_file(dir.path().join(name)));
        }
        drop(std::fs::remove_dir_all(fixture));
        copy_into(dir.path(), fixture).unwrap();
    }
    // The whole of it, and once without the snapshot: the journal still reaches back to its beginning.
    for snapshot in [true, false] {
        let dir = copy(fixture);
        if !snapshot {
            for lsn in journal::list(dir.path(), "map").unwrap() {
                std::fs::remove_file(map::snapshot::path(dir.path(), lsn)).unwrap();
            }
        }
        let store = open(&dir);
        check(&store);
        assert_eq!(wait(store.append(event(12, 400))).unwrap(), Seq(13));
        // It knew no identity of a log, and has one now.
        let identity = store.identity().unwrap().unwrap();
        store.close().unwrap();
        drop(store);
        let store = open(&dir);
        assert_eq!((store.stats().unwrap().last, store.identity().unwrap()), (Seq(13), Some(identity)));
    }
}
