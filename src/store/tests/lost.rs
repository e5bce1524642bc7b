//! Files of a store that are lost, alone and in pairs: what is left is read, what is gone is told, and no number that
//! anything left knows of is given again.

use super::*;
use std::collections::BTreeMap;

/// What becomes of a folder.
type Hurt = (&'static str, fn(&Path));

fn segments_of(dir: &Path) -> Vec<PathBuf> {
    journal::list(dir, "log").unwrap().into_iter().map(|lsn| journal::path(dir, lsn)).collect()
}

fn cut(dir: &Path, to: impl Fn(u64) -> u64) {
    let newest = segments_of(dir).pop().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(newest).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(to(len).min(len)).unwrap();
}

fn remove(dir: &Path, which: impl Fn(usize) -> usize) {
    let segments = segments_of(dir);
    std::fs::remove_file(&segments[which(segments.len())]).unwrap();
}

fn remove_all(dir: &Path, extension: &str) {
    for lsn in journal::list(dir, extension).unwrap() {
        std::fs::remove_file(journal::folder(dir).join(format!("{lsn:020}.{extension}"))).unwrap();
    }
}

/// What is left that knows how far the log had come.
#[derive(Debug, Clone, Copy)]
struct Left {
    /// It was stopped, and not killed.
    clean: bool,
    sled: bool,
    checkpoint: bool,
    index: bool,
}

const NOTHING: Hurt = ("nothing", |_| ());
const NO_CHECKPOINT: Hurt = ("no checkpoint", |dir| std::fs::remove_file(dir.join("checkpoint")).unwrap());
const NO_SLED: Hurt = ("no sled", |dir| std::fs::remove_dir_all(dir.join("sled")).unwrap());
/// What is done to the journal, and to what lies beside it.
const JOURNAL: [Hurt; 9] = [
    NOTHING,
    ("no newest segment", |dir| remove(dir, |n| n - 1)),
    ("an empty newest segment", |dir| cut(dir, |_| 0)),
    ("half a header of the newest segment", |dir| cut(dir, |_| 30)),
    ("a bare header of the newest segment", |dir| cut(dir, |_| 64)),
    ("half of the newest segment", |dir| cut(dir, |len| len / 2)),
    ("a middle segment gone", |dir| remove(dir, |n| n / 2)),
    ("the oldest segment gone", |dir| remove(dir, |_| 0)),
    ("no segment", |dir| remove_all(dir, "log")),
];
const BESIDE: [Hurt; 6] = [
    NOTHING,
    NO_CHECKPOINT,
    NO_SLED,
    ("no snapshot", |dir| remove_all(dir, "map")),
    ("no index", |dir| remove_all(dir, "idx")),
    ("no sled and no checkpoint", |dir| {
        (NO_SLED.1)(dir);
        (NO_CHECKPOINT.1)(dir);
    }),
];

/// What was in a store before something was lost.
struct Before {
    first: u64,
    tail: u64,
    identity: String,
    events: BTreeMap<u64, Bytes>,
    pairs: Vec<Pair>,
}

fn before(store: &Store) -> Before {
    let events = all(store, Query::default(), 1 << 20).0.into_iter().map(|e| (e.seq.0, e.body)).collect();
    let tail = store.tail().borrow().0;
    Before { first: store.first().0, tail, identity: store.identity().unwrap().unwrap(), events, pairs: pairs(store) }
}

/// Reads everything; what the reader was told is not there.
fn read_all(store: &Store) -> (BTreeMap<u64, Bytes>, Vec<u64>) {
    let (mut events, mut missing) = (BTreeMap::new(), Vec::new());
    let mut query = Query::default();
    loop {
        match store.read(&query, 1 << 20).unwrap() {
            Read::Dropped(Dropped { from, to }) => {
                assert!(from == query.after.next() && to >= from, "{from} {to}");
                missing.extend(from.0..=to.0);
                query.after = to;
            }
            Read::Page(page) => {
                events.extend(page.entries.into_iter().map(|e| (e.seq.0, e.body)));
                missing.extend(page.damaged.iter().map(|(seq, _)| seq.0));
                if page.end {
                    return (events, missing);
                }
                query.after = page.looked_to;
            }
        }
    }
}

/// Rows of numbers, as first and last.
fn ranges(numbers: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut found: Vec<(u64, u64)> = Vec::new();
    for n in numbers {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => found.push((n, n)),
        }
    }
    found
}

/// Opens what is left, again and again, and holds it to what it promises.
fn survives(dir: &Path, before: &Before, case: &str, left: Left) {
    let knows = left.clean && (left.sled || left.checkpoint);
    let seen = if case.contains("half of") {
        // Else it is as a power cut leaves an unfinished write.
        knows
    } else if case.contains("bare") || case.contains("no segment") {
        left.checkpoint || left.clean && left.sled
    } else {
        !case.contains("no newest") || left.checkpoint || left.index || left.clean && left.sled
    };
    let mut identities = Vec::new();
    let mut tail = 0;
    for round in 0..3_u64 {
        let store = match Store::open(dir, small()) {
            Ok(store) => store,
            // Neither sled nor a snapshot is left, nor the whole journal.
            Err(Error::Other(why)) if why.contains("--salvage") => return,
            Err(error) => panic!("{case}: {error}"),
        };
        identities.push(store.identity().unwrap().unwrap());
        let (events, missing) = read_all(&store);
        let known = store.tail().borrow().0;
        assert!(known >= tail, "{case}: {known} after {tail}");
        let told: Vec<u64> = events.keys().copied().chain(missing.iter().copied()).collect();
        assert_eq!(told.len() as u64, known, "{case}: each position is there or told to be missing");
        for (seq, body) in events.iter().filter(|(seq, _)| **seq <= before.tail) {
            assert!(round > 0 || before.events.get(seq) == Some(body), "{case}: {seq}");
        }
        let whole = before.events.iter().all(|(seq, body)| events.get(seq) == Some(body));
        let lost: Vec<u64> = store.lost().iter().flat_map(|(from, to)| from.0..=to.0).collect();
        // What retention had dropped is not lost, if anything knows of it.
        let kept = |seqs: &[u64]| ranges(seqs.iter().copied().filter(|seq| *seq >= before.first));
        assert_eq!(kept(&lost), kept(&missing), "{case}: what is lost is told at the start");
        if knows {
            assert!(known >= before.tail, "{case}: {known} of {}", before.tail);
        }
        if round == 0 {
            let other = identities[0] != before.identity;
            assert!(
                whole || known >= before.tail || other || !seen,
                "{case}: {known} of {} is the same log",
                before.tail
            );
            if whole {
                assert_eq!(identities[0], before.identity, "{case}: another log");
            }
            if left.clean && left.sled {
                assert_eq!(pairs(&store), before.pairs, "{case}");
            }
        }
        let next = wait(store.append(event(9999 + round, 50))).unwrap();
        assert_eq!(next.0, known + 1, "{case}");
        tail = next.0;
        put(&store, "after", &round.to_be_bytes());
        if round == 0 {
            // As a kill leaves it.
            let killed = copy(dir);
            let store = open(&killed);
            assert_eq!(store.tail().borrow().0, tail, "{case}");
            assert_eq!(store.get(SPACE, b"after").unwrap().unwrap(), round.to_be_bytes(), "{case}");
            assert_eq!(store.identity().unwrap().unwrap(), identities[0], "{case}");
        }
        store.close().unwrap();
    }
    assert!(identities.windows(2).all(|two| two[0] == two[1]), "{case}: {identities:?}");
}

fn table(dir: &Path, before: &Before, stop: &str, clean: bool) -> Vec<String> {
    let mut failed = Vec::new();
    for (journal, hurt) in JOURNAL {
        for (beside, hurt_too) in BESIDE {
            let lost = copy(dir);
            hurt_too(lost.path());
            hurt(lost.path());
            let has = |name: &str| lost.path().join(name).exists();
            let index = files_of(lost.path(), "idx") > 0;
            let left = Left { clean, sled: has("sled"), checkpoint: has("checkpoint"), index };
            let case = format!("{stop}, {journal}, {beside}");
            let survived = AssertUnwindSafe(|| survives(lost.path(), before, &case, left));
            failed.extend(catch_unwind(survived).err().map(|panic| match panic.downcast::<String>() {
                Ok(why) => *why,
                Err(_) => case.clone(),
            }));
        }
    }
    failed
}

/// Events and changes in one segment, in several, and behind a snapshot.
fn filled(rounds: u64, snapshot: bool) -> (TempDir, Store) {
    let dir = fast();
    let store = open(&dir);
    for n in 0..rounds {
        append_many(&store, n * 20..n * 20 + 20, 600);
        put(&store, &format!("k{n}"), &vec![7; 900]);
        put(&store, "next_id", &n.to_be_bytes());
        if snapshot && n == rounds / 2 {
            wait(store.trim(Retention { bytes_max: Some(10_000), ..Retention::default() })).unwrap();
            eventually("a snapshot", || files_of(dir.path(), "map") == 1);
        }
    }
    (dir, store)
}

#[test]
fn whatever_files_are_lost_what_is_gone_is_told_and_no_known_number_is_given_again() {
    let mut failed = Vec::new();
    for (rounds, snapshot) in [(3, false), (70, false), (140, true)] {
        let (dir, store) = filled(rounds, snapshot);
        let before = before(&store);
        eventually("indexes", || files_of(dir.path(), "idx") + 1 == files_of(dir.path(), "log"));
        let killed = copy(dir.path());
        store.close().unwrap();
        drop(store);
        failed.extend(table(dir.path(), &before, &format!("{rounds} stopped"), true));
        failed.extend(table(killed.path(), &before, &format!("{rounds} killed"), false));
    }
    assert!(failed.is_empty(), "{} fail:\n{}", failed.len(), failed.join("\n"));
}
