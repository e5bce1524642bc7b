//! Backup and restore.

use super::*;

fn filled(dir: &TempDir) -> Store {
    let store = open(dir);
    append_many(&store, 0..700, 600);
    for n in 0..100 {
        put(&store, &format!("k{n}"), &vec![n; usize::from(n) * 300]);
    }
    wait(store.append(Append { body: vec![1; 200_000].into(), ..event(700, 1) })).unwrap();
    wait(store.trim(Retention { before: Some(Time::from_millis(1_000_050)), ..Retention::default() })).unwrap();
    store
}

fn bodies(store: &Store) -> Vec<(Seq, Bytes, Bytes)> {
    let (entries, damaged) = all(store, Query::default(), 100_000);
    assert!(damaged.is_empty(), "{damaged:?}");
    entries.into_iter().map(|e| (e.seq, e.outline, e.body)).collect()
}

#[test]
fn a_backup_made_while_writers_go_on_restores_to_the_same() {
    let dir = fast();
    let store = filled(&dir);
    let writing = store.clone();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        let mut n = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            // Two pairs and an event that always agree.
            let done = wait(writing.write(move |tx| {
                tx.put(SPACE, b"a", n.to_be_bytes());
                tx.put(SPACE, b"z", n.to_be_bytes());
                let seq = tx.append(event(n, 50));
                tx.put(SPACE, b"seq", seq.0.to_be_bytes());
                Ok::<_, ()>(())
            }));
            done.unwrap().unwrap();
            n += 1;
        }
    });
    for round in 0..5 {
        let mut archive = Vec::new();
        store.backup(&[], &mut archive).unwrap();
        assert_eq!(store.damaged(), [], "nothing is missing in it");
        let to = fast();
        let to = to.path().join("restored");
        Store::restore(&mut &archive[..], &to, &[]).unwrap();
        let restored = Store::open(&to, small()).unwrap();
        let stats = restored.stats().unwrap();
        assert_eq!(stats.first, Seq(51));
        let events = bodies(&restored);
        assert!(events.iter().map(|e| e.0.0).eq(51..=stats.last.0));
        assert_eq!(events[..650], bodies(&store)[..650]);
        let n = |key: &[u8]| restored.get(SPACE, key).unwrap().map(|b| u64::from_be_bytes(b.try_into().unwrap()));
        assert_eq!((n(b"a"), n(b"seq").unwrap_or(stats.last.0)), (n(b"z"), stats.last.0), "round {round}");
        assert_eq!(restored.get(SPACE, b"k99").unwrap().unwrap(), vec![99; 99 * 300]);
        assert_eq!(wait(restored.append(event(0, 0))).unwrap(), stats.last.next());
        let tagged = Query { any_of: vec![vec![1100]], ..Query::default() };
        assert!(all(&restored, tagged, 100_000).0.iter().any(|e| e.seq == Seq(101)));
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

#[test]
fn a_cut_off_or_damaged_archive_is_refused_and_leaves_nothing() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..5, 60);
    put(&store, "k", b"v");
    let mut archive = Vec::new();
    store.backup(&[], &mut archive).unwrap();
    let to = fast();
    let target = to.path().join("t");
    for len in 0..archive.len() {
        assert!(Store::restore(&mut &archive[..len], &target, &[]).is_err(), "cut at {len}");
    }
    for at in 0..archive.len() {
        let mut bad = archive.clone();
        bad[at] ^= 0x20;
        assert!(Store::restore(&mut &bad[..], &target, &[]).is_err(), "flipped at {at}");
    }
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0);
    Store::restore(&mut &archive[..], &target, &[]).unwrap();
    let error = Store::restore(&mut &archive[..], &target, &[]).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
}

#[test]
fn a_restored_store_is_another_log_and_has_the_files_that_are_wanted() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..5, 60);
    let mut archive = Vec::new();
    let files = [("token", b"secret".to_vec()), ("../token", b"evil".to_vec()), ("version", b"9".to_vec())];
    store.backup(&files, &mut archive).unwrap();
    let to = fast();
    let target = to.path().join("t");
    Store::restore(&mut &archive[..], &target, &["token", "other"]).unwrap();
    assert_eq!(std::fs::read(target.join("token")).unwrap(), b"secret");
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 1);
    let restored = Store::open(&target, small()).unwrap();
    let (old, new) = (store.identity().unwrap().unwrap(), restored.identity().unwrap().unwrap());
    assert_ne!(old, new);
    drop(restored);
    assert_eq!(Store::open(&target, small()).unwrap().identity().unwrap(), Some(new));
}

#[test]
fn a_lost_newest_segment_takes_nothing_from_the_map_and_makes_another_log() {
    for clean in [true, false] {
        let dir = fast();
        let store = open(&dir);
        let before = store.identity().unwrap();
        append_many(&store, 0..999, 600);
        put(&store, "command", b"fetched");
        // The newest segment has an event, wherever it begins.
        append_many(&store, 999..1000, 600);
        if clean {
            store.close().unwrap();
        } else {
            // All of it in sled.
            store.0.shared.flush().unwrap();
            store.0.shared.map().tree().sync().unwrap();
        }
        drop(store);
        let store = open(&dir);
        assert_eq!(store.identity().unwrap(), before);
        store.close().unwrap();
        drop(store);
        let newest = *journal::list(dir.path(), "log").unwrap().last().unwrap();
        std::fs::remove_file(journal::path(dir.path(), newest)).unwrap();
        let store = open(&dir);
        assert_eq!(store.get(SPACE, b"command").unwrap().as_deref(), Some(&b"fetched"[..]));
        assert_eq!(wait(store.append(event(1000, 600))).unwrap(), Seq(1001), "no number is used twice");
        let (kept, lost) = (all(&store, Query::default(), 100_000).0.len() as u64, lost(&store));
        assert!(lost > 0 && kept + lost == 1001, "{kept} {lost}");
        let after = store.identity().unwrap();
        assert!(after.is_some() && after != before);
        store.close().unwrap();
        drop(store);
        assert_eq!(open(&dir).identity().unwrap(), after);
    }
}

#[test]
fn salvage_needs_no_sled_and_skips_what_is_damaged() {
    let dir = fast();
    let store = filled(&dir);
    let events = bodies(&store);
    let live = pairs(&store);
    store.close().unwrap();
    std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let read = || {
        let (mut got, mut map) = (Vec::new(), Vec::new());
        let report = salvage(dir.path(), &mut |found| match found {
            Salvaged::Event(e) => got.push((e.seq, e.outline, e.body)),
            Salvaged::Pair(space, key, value) => {
                assert_eq!(space, SPACE);
                map.push((key, value));
            }
        });
        (report.unwrap(), got, map)
    };
    let (report, got, map) = read();
    assert!(report.damaged.is_empty(), "{report:?}");
    assert_eq!((report.events, report.pairs), (got.len() as u64, map.len() as u64));
    assert_eq!((got, map), (events.clone(), live));
    let segment = journal::path(dir.path(), 1);
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (report, got, _) = read();
    assert_eq!((report.damaged.len(), got.len()), (1, events.len() - 1));
    assert!(report.damaged[0].0 == segment && report.damaged[0].1 <= at as u64);
    // Whoever makes a backup of such a store can learn what it lacks; and so can whoever reads it.
    let missing: Vec<Seq> = events.iter().map(|e| e.0).filter(|seq| !got.iter().any(|e| e.0 == *seq)).collect();
    for backup in [true, false] {
        let store = open(&dir);
        assert_eq!(store.damaged(), []);
        if backup {
            store.backup(&[], &mut std::io::sink()).unwrap();
        } else {
            all(&store, Query::default(), 100_000);
        }
        assert_eq!(store.damaged(), missing, "backup: {backup}");
        store.close().unwrap();
    }
    assert!(salvage(&dir.path().join("none"), &mut |_| {}).is_err());
}
