//! What is dropped, and what never is.

use super::*;

fn check(store: &Store, first: u64, last: u64) {
    let stats = store.stats().unwrap();
    assert_eq!((stats.first, stats.last, stats.count), (Seq(first), Seq(last), last - first + 1));
    let (entries, damaged) = all(store, Query::default(), 50_000);
    assert!(damaged.is_empty(), "{damaged:?}");
    assert!(entries.iter().map(|e| e.seq.0).eq(first..=last));
    let bytes: usize = entries.iter().map(|e| e.body.len()).sum();
    let event_bytes = usize::try_from(stats.event_bytes).unwrap();
    assert!(event_bytes >= bytes && event_bytes < bytes + entries.len() * 200 + 1);
}

#[test]
fn the_oldest_go_by_time_event_by_event_and_the_newest_stays() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..1000, 600);
    let at = |n: i64| Some(Time::from_millis(1_000_000 + n));
    assert_eq!(wait(store.trim(at(0), None)).unwrap(), Seq(1));
    assert_eq!(wait(store.trim(at(333), None)).unwrap(), Seq(334));
    check(&store, 334, 1000);
    store.close().unwrap();
    let store = open(&dir);
    check(&store, 334, 1000);
    let (entries, _) = all(&store, Query { backwards: true, ..Query::default() }, 9000);
    assert_eq!(entries.last().unwrap().seq, Seq(334));
    assert_eq!(wait(store.trim(at(5000), None)).unwrap(), Seq(1000));
    check(&store, 1000, 1000);
    let killed = copy(dir.path());
    let store = open(&killed);
    check(&store, 1000, 1000);
    assert_eq!(wait(store.append(event(1000, 9))).unwrap(), Seq(1001));
}

#[test]
fn the_oldest_go_by_bytes_and_their_space_comes_back() {
    let dir = fast();
    let store = open(&dir);
    for n in 0..50 {
        put(&store, &format!("k{n}"), &[7; 3000]);
    }
    let before = pairs(&store);
    for round in 0..10 {
        append_many(&store, round * 1000..(round + 1) * 1000, 600);
        wait(store.trim(None, Some(300_000))).unwrap();
    }
    let stats = store.stats().unwrap();
    assert!(stats.event_bytes <= 300_000 && stats.event_bytes > 290_000, "{stats:?}");
    check(&store, stats.first.0, 10_000);
    eventually("segments are removed", || {
        wait(store.trim(None, Some(300_000))).unwrap();
        files_of(dir.path(), "log") <= 6
    });
    assert_eq!(pairs(&store), before);
    let killed = copy(dir.path());
    // Without sled the map comes from the snapshot.
    std::fs::remove_dir_all(killed.path().join("sled")).unwrap();
    let store = open(&killed);
    assert!(files_of(killed.path(), "map") == 1);
    assert_eq!(pairs(&store), before);
    check(&store, stats.first.0, 10_000);
}

#[test]
fn a_log_of_map_changes_only_does_not_grow_for_ever() {
    let dir = fast();
    let store = Store::open(dir.path(), Options { segment_bytes: 64 << 10, ..small() }).unwrap();
    for n in 0..3000_u64 {
        let value = vec![u8::try_from(n % 250).unwrap(); 2000];
        let key = format!("k{}", n % 50);
        wait(store.write_lazily(move |tx| {
            tx.put(SPACE, key.as_bytes(), value);
            Ok::<_, ()>(())
        }))
        .unwrap()
        .unwrap();
    }
    put(&store, "end", b"");
    let before = pairs(&store);
    eventually("segments are removed", || {
        put(&store, "end", b"");
        files_of(dir.path(), "log") < 25
    });
    let killed = copy(dir.path());
    std::fs::remove_dir_all(killed.path().join("sled")).unwrap();
    assert_eq!(pairs(&open(&killed)), before);
}
