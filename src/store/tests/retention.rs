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

fn before(n: i64) -> Retention {
    Retention { before: Some(Time::from_millis(1_000_000 + n)), ..Retention::default() }
}

fn bytes_max(bytes: u64) -> Retention {
    Retention { bytes_max: Some(bytes), ..Retention::default() }
}

#[test]
fn what_is_wanted_is_kept_up_to_the_bytes_that_all_may_take() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..1000, 600);
    for (wanted, first) in [(0, 1), (400, 401), (400, 401), (5, 401), (700, 701)] {
        let retention = Retention { wanted_after: Some(Seq(wanted)), ..before(5000) };
        assert_eq!(wait(store.trim(retention)).unwrap(), Seq(first));
    }
    let retention = Retention { wanted_after: Some(Seq(700)), bytes_max: Some(100_000), ..before(5000) };
    let first = wait(store.trim(retention)).unwrap();
    assert!(first > Seq(750), "{first}");
    check(&store, first.0, 1000);
}

#[test]
fn a_reader_is_told_what_was_dropped_before_it_came_there() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..1000, 600);
    let told = |query: &Query| match store.read(query, 1000).unwrap() {
        Read::Page(page) => Err(page.entries.first().map(|e| e.seq.0)),
        Read::Dropped(Dropped { from, to }) => Ok((from.0, to.0)),
    };
    let after = |seq| Query { after: Seq(seq), ..Query::default() };
    assert_eq!(told(&after(5)), Err(Some(6)));
    wait(store.trim(before(333))).unwrap();
    assert_eq!(told(&after(5)), Ok((6, 333)));
    assert_eq!(told(&Query { upto: Some(Seq(9)), ..after(5) }), Ok((6, 9)));
    assert_eq!(told(&Query { upto: Some(Seq(5)), ..after(5) }), Err(None));
    assert_eq!(told(&after(332)), Ok((333, 333)));
    assert_eq!(told(&after(333)), Err(Some(334)));
    assert_eq!(told(&Query { backwards: true, ..after(5) }), Err(Some(1000)));
    assert_eq!(store.first(), Seq(334));
}

#[test]
fn every_position_is_read_or_told_as_dropped_while_retention_goes_on() {
    let dir = fast();
    let store = Store::open(dir.path(), Options { segment_bytes: 64 << 10, ..small() }).unwrap();
    append_many(&store, 0..3000, 600);
    let trimming = store.clone();
    let trimmer = std::thread::spawn(move || {
        for n in (0..3000).step_by(25) {
            wait(trimming.trim(before(n))).unwrap();
        }
    });
    let (mut query, mut read, mut dropped) = (Query::default(), 0, 0);
    while query.after < Seq(3000) {
        let expected = query.after.next();
        match store.read(&query, 20_000).unwrap() {
            Read::Page(page) => {
                assert!(page.damaged.is_empty(), "{:?}", page.damaged);
                let seqs = page.entries.iter().map(|e| e.seq.0);
                assert!(seqs.eq(expected.0..=page.looked_to.0), "after {}", query.after);
                read += page.entries.len() as u64;
                query.after = page.looked_to;
            }
            Read::Dropped(gone) => {
                assert_eq!(gone.from, expected);
                assert!(gone.to >= gone.from && gone.to < Seq(3000));
                dropped += gone.to.0 - query.after.0;
                query.after = gone.to;
            }
        }
    }
    trimmer.join().unwrap();
    assert_eq!(read + dropped, 3000);
}

#[test]
fn the_oldest_go_by_time_event_by_event_and_the_newest_stays() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..1000, 600);
    assert_eq!(wait(store.trim(before(0))).unwrap(), Seq(1));
    assert_eq!(wait(store.trim(before(333))).unwrap(), Seq(334));
    check(&store, 334, 1000);
    store.close().unwrap();
    drop(store);
    let store = open(&dir);
    check(&store, 334, 1000);
    let (entries, _) = all(&store, Query { backwards: true, ..Query::default() }, 9000);
    assert_eq!(entries.last().unwrap().seq, Seq(334));
    assert_eq!(wait(store.trim(before(5000))).unwrap(), Seq(1000));
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
        wait(store.trim(bytes_max(300_000))).unwrap();
    }
    let stats = store.stats().unwrap();
    assert!(stats.event_bytes <= 300_000 && stats.event_bytes > 290_000, "{stats:?}");
    check(&store, stats.first.0, 10_000);
    eventually("segments are removed", || {
        wait(store.trim(bytes_max(300_000))).unwrap();
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

#[test]
fn what_is_large_is_left_when_asked_to_and_goes_in_its_turn() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..10, 600);
    wait(store.append(event(10, 2 << 20))).unwrap();
    append_many(&store, 11..16, 600);
    let small = |after| Query { after: Seq(after), small: true, ..Query::default() };
    // The block that it lies in is left whole.
    let page = store.read_kept(&small(0), 100_000).unwrap();
    assert!(page.large && !page.end && page.entries.len() as u64 == page.looked_to.0);
    let page = store.read_kept(&small(10), 100_000).unwrap();
    assert_eq!((page.large, page.end, page.entries.len(), page.looked_to), (true, false, 0, Seq(10)));
    let page = store.read_kept(&small(11), 100_000).unwrap();
    assert_eq!((page.large, page.end, page.entries.len(), page.looked_to), (false, true, 5, Seq(16)));
    // Those before it go one by one, then it, by its age and by its size.
    assert_eq!(wait(store.trim(before(4))).unwrap(), Seq(5));
    assert_eq!(wait(store.trim(before(10))).unwrap(), Seq(11));
    assert_eq!(wait(store.trim(bytes_max(3 << 20))).unwrap(), Seq(11));
    assert_eq!(wait(store.trim(bytes_max(1 << 20))).unwrap(), Seq(12));
    check(&store, 12, 16);
}
