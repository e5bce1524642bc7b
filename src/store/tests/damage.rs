//! Damaged files: what is still read, what is refused, what is salvaged.

use super::*;

/// A small store, killed: some events and pairs, one segment.
fn little() -> (TempDir, Vec<(Seq, Bytes)>, Vec<Pair>) {
    let dir = fast();
    let store = open(&dir);
    for n in 0..6 {
        wait(store.append(event(n, 40))).unwrap();
        put(&store, &format!("k{n}"), b"value");
    }
    wait(store.append(event(6, 40))).unwrap();
    let killed = copy(dir.path());
    (killed, contents(&store), pairs(&store))
}

fn contents(store: &Store) -> Vec<(Seq, Bytes)> {
    all(store, Query::default(), 100_000).0.into_iter().map(|e| (e.seq, e.body)).collect()
}

/// Where the last frame of the first segment begins and ends.
fn last_frame(dir: &Path) -> (u64, u64) {
    let mut scanner = journal::Scanner::open(&journal::path(dir, 1), 0).unwrap();
    let mut last = (0, 0);
    while let Some(item) = scanner.next().unwrap() {
        if let journal::Item::Frame(head, at, _) = item {
            last = (at, at + head.frame_bytes() as u64);
        }
    }
    last
}

#[test]
fn a_tail_torn_at_any_byte_loses_the_torn_frame_only_and_its_number_is_given_again() {
    let (dir, events, live) = little();
    let (from, to) = last_frame(dir.path());
    let bytes = std::fs::read(journal::path(dir.path(), 1)).unwrap();
    let (from, to) = (usize::try_from(from).unwrap(), usize::try_from(to).unwrap());
    for cut in (from..to).filter(|cut| *cut < from + 44 || cut % 5 == 0) {
        for zeros in [false, true] {
            let torn = copy(dir.path());
            let mut bytes = bytes.clone();
            if zeros {
                bytes[cut..].fill(0);
            } else {
                bytes.truncate(cut);
            }
            std::fs::write(journal::path(torn.path(), 1), &bytes).unwrap();
            // sled knows nothing of the torn frame: it is applied after the sync.
            std::fs::remove_dir_all(torn.path().join("sled")).unwrap();
            let store = open(&torn);
            assert_eq!(contents(&store), events[..6], "cut at {cut}");
            assert_eq!(pairs(&store), live);
            assert_eq!(wait(store.append(event(6, 40))).unwrap(), Seq(7));
            drop(store);
            assert_eq!(contents(&open(&torn)), events);
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_reported_or_changes_nothing_and_never_panics() {
    let (dir, events, live) = little();
    let mut files = Vec::new();
    for folder in [dir.path().to_owned(), dir.path().join("journal")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files.push(path.strip_prefix(dir.path()).unwrap().to_owned());
            }
        }
    }
    let used = usize::try_from(last_frame(dir.path()).1).unwrap();
    for file in files {
        let bytes = std::fs::read(dir.path().join(&file)).unwrap();
        // Every third byte, the bit moving along: each field of a frame is hit, and the suite stays short.
        for at in (0..bytes.len().min(used + 8)).step_by(3) {
            let hurt = copy(dir.path());
            if at % 4 == 0 {
                std::fs::remove_dir_all(hurt.path().join("sled")).unwrap();
            }
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(hurt.path().join(&file), bytes).unwrap();
            let case = format!("{} at {at}", file.display());
            let Ok(store) = Store::open(hurt.path(), small()) else { continue };
            let (found, damaged) = all(&store, Query::default(), 1000);
            let lost = 7 - found.len();
            for entry in &found {
                assert!(events.contains(&(entry.seq, entry.body.clone())), "{case}");
            }
            // At most the frame that was hit; the very last one may count as torn.
            assert!(lost <= 1, "{case}: {lost} lost");
            let last_lost = found.last().is_none_or(|e| e.seq < Seq(7));
            assert!(lost == damaged.len() || last_lost, "{case}: {damaged:?}");
            assert!(pairs(&store).len() + 1 >= live.len(), "{case}");
            let next = wait(store.append(event(9, 9))).unwrap();
            assert!(next == Seq(8) || (next == Seq(7) && last_lost), "{case}: {next}");
            drop(store);
            let mut events = 0;
            salvage(hurt.path(), &mut |found| events += usize::from(matches!(found, Salvaged::Event(_)))).unwrap();
            assert!(events >= 7, "{case}: salvaged {events}");
        }
    }
}

#[test]
fn damage_in_a_closed_segment_is_told_with_its_place_and_the_rest_is_read() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..1000, 600);
    store.close().unwrap();
    drop(store);
    let path = journal::path(dir.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    for at in [10_000, 100_200, 100_300] {
        bytes[at] ^= 4;
    }
    std::fs::write(&path, bytes).unwrap();
    for rebuild in [false, true] {
        if rebuild {
            std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
        }
        let store = open(&dir);
        for backwards in [false, true] {
            let (entries, damaged) = all(&store, Query { backwards, ..Query::default() }, 20_000);
            assert_eq!((entries.len() + damaged.len(), damaged.len()), (1000, 2), "{damaged:?}");
            assert!(damaged[0].1.contains(".log"), "{damaged:?}");
        }
        store.close().unwrap();
    }
}

#[test]
fn a_segment_that_is_gone_is_told_and_the_rest_is_read() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..2000, 600);
    store.close().unwrap();
    drop(store);
    let list = journal::list(dir.path(), "log").unwrap();
    std::fs::remove_file(journal::path(dir.path(), list[1])).unwrap();
    for rebuild in [false, true] {
        if rebuild {
            std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
        }
        let store = open(&dir);
        for backwards in [false, true] {
            let (entries, damaged) = all(&store, Query { backwards, ..Query::default() }, 20_000);
            // Forwards it is told in one piece.
            assert_eq!(damaged.len() as u64, if backwards { lost(&store) } else { 0 });
            assert_eq!(entries.len() as u64 + lost(&store), 2000);
            assert!(lost(&store) > 100);
        }
        store.close().unwrap();
    }
}

#[test]
fn a_segment_that_is_gone_is_told_of_at_the_start() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..2000, 600);
    assert_eq!(store.lost(), []);
    store.close().unwrap();
    drop(store);
    let begins: Vec<_> = open::segments(dir.path()).unwrap().into_values().collect();
    let gone = |which: usize| (Seq(begins[which].seq), Seq(begins[which + 1].seq - 1));
    for (which, rebuild) in [(0, false), (1, false), (1, true), (2, false)] {
        let hurt = copy(dir.path());
        std::fs::remove_file(journal::path(hurt.path(), begins[which].lsn)).unwrap();
        if rebuild {
            std::fs::remove_dir_all(hurt.path().join("sled")).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(open(&hurt).lost(), [gone(which)], "{which} {rebuild}");
        }
    }
    // What retention has dropped is not lost, and what is lost and dropped is nobody's concern any more.
    let hurt = copy(dir.path());
    std::fs::remove_file(journal::path(hurt.path(), begins[1].lsn)).unwrap();
    let store = open(&hurt);
    wait(store.trim(Retention { bytes_max: Some(100_000), ..Retention::default() })).unwrap();
    assert_eq!(store.lost(), []);
    drop(store);
    assert_eq!(open(&hurt).lost(), []);
}

#[test]
fn a_damaged_version_file_is_written_again_and_costs_nothing() {
    let (dir, events, live) = little();
    let path = dir.path().join("version");
    for damaged in [&b""[..], b"\0\0", b"one", &[b'1'; 1000]] {
        std::fs::write(&path, damaged).unwrap();
        let store = open(&dir);
        assert_eq!((contents(&store), pairs(&store)), (events.clone(), live.clone()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{VERSION}\n"));
    }
}

#[test]
fn a_damaged_sled_is_made_again() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..500, 600);
    for n in 0..50 {
        put(&store, &format!("k{n}"), &vec![1; n * 500]);
    }
    let live = pairs(&store);
    store.close().unwrap();
    std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
    for name in ["db", "conf"] {
        let size = std::fs::metadata(dir.path().join("sled").join(name)).unwrap().len();
        for step in 0..12 {
            let hurt = copy(dir.path());
            let path = hurt.path().join("sled").join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = usize::try_from(size * step / 12).unwrap();
            bytes[at] ^= 0x10;
            if step % 3 == 2 {
                bytes.truncate(at);
            }
            std::fs::write(&path, bytes).unwrap();
            let store = open(&hurt);
            assert_eq!(pairs(&store), live, "{name} at {at}");
            assert_eq!(contents(&store).len(), 500);
        }
    }
}

/// Every file of a folder and its folders.
fn every_file(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(every_file(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Hurts a file as a disk or a careless program may.
fn scramble(path: &Path, random: &mut fastrand::Rng) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = random.usize(..=bytes.len());
    let most = random.choice([4, 64, 5000]).unwrap();
    let len = random.usize(..=most.min(bytes.len() - at));
    match random.u8(..6) {
        0 => random.fill(&mut bytes[at..at + len]),
        1 => bytes[at..at + len].fill(random.choice([0, 0xff]).unwrap()),
        2 => bytes.truncate(at),
        3 => bytes.extend((0..random.usize(1..5000)).map(|_| random.u8(..))),
        // A piece twice, and a piece missing.
        4 => drop(bytes.splice(at..at, bytes[at..at + len].to_vec())),
        _ => drop(bytes.drain(at..at + len)),
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn random_bytes_in_any_file_end_in_a_sentence_or_a_store_that_works_and_never_in_a_panic() {
    /// Rounds in the suite; `WEHELP_SCRAMBLES=200` asks for more.
    const ROUNDS: u64 = 12;
    let rounds = std::env::var("WEHELP_SCRAMBLES").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..1600, 900);
    (0..30).for_each(|n| put(&store, &format!("k{n}"), &vec![3; n * 400]));
    wait(store.trim(Retention { bytes_max: Some(50_000), ..Retention::default() })).unwrap();
    eventually("a snapshot", || files_of(dir.path(), "map") == 1);
    append_many(&store, 1600..2000, 900);
    let killed = copy(dir.path());
    store.close().unwrap();
    drop(store);
    let (mut opened, mut refused) = (0, 0);
    for round in 0..rounds {
        for which in 0..every_file(dir.path()).len() {
            let mut random = fastrand::Rng::with_seed(round * 1000 + which as u64);
            let hurt = copy(if random.bool() { dir.path() } else { killed.path() });
            let files = every_file(hurt.path());
            let path = &files[which % files.len()];
            scramble(path, &mut random);
            let case = format!("round {round}: {}", path.strip_prefix(hurt.path()).unwrap().display());
            match Store::open(hurt.path(), small()) {
                Err(error) => {
                    assert!(error.to_string().contains('`'), "{case}: {error}");
                    refused += 1;
                }
                Ok(store) => {
                    for backwards in [false, true] {
                        all(&store, Query { backwards, ..Query::default() }, 100_000);
                    }
                    pairs(&store);
                    drop(store.backup(&[], &mut std::io::sink()));
                    let next = wait(store.append(event(9, 9))).unwrap_or_else(|error| panic!("{case}: {error}"));
                    let newest = Query { after: Seq(next.0 - 1), ..Query::default() };
                    assert_eq!(all(&store, newest, 1000).0.len(), 1, "{case}");
                    store.close().unwrap_or_else(|error| panic!("{case}: {error}"));
                    opened += 1;
                }
            }
            drop(salvage(hurt.path(), &mut |_| ()));
        }
    }
    eprintln!("{opened} scrambled stores were opened, {refused} refused");
}
