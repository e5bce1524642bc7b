//! The store's promises, on real files in a temporary folder.

mod archive;
mod basics;
mod damage;
mod docs;
mod faults;
mod fixture;
mod lost;
mod powercut;
mod retention;

use super::types::VERSION;
use super::*;
use crate::clock::Time;
use bytes::Bytes;
use std::future::Future;
use std::path::PathBuf;
use tempfile::TempDir;

/// Waits for a future on a thread of its own; the store's futures need no runtime.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(super) const SPACE: Space = Space::of(b'x');

pub(super) fn event(n: u64, size: usize) -> Append {
    Append {
        time: Time::from_millis(1_000_000 + i64::try_from(n).unwrap()),
        outline: Bytes::from(format!("outline {n}")),
        tags: vec![n % 7, 1000 + n],
        body: Bytes::from(format!("{n} ").repeat(size / 4 + 1)),
    }
}

pub(super) fn small() -> Options {
    Options { segment_bytes: 256 << 10, free_bytes_min: 0, ..Options::default() }
}

pub(super) fn open(dir: &TempDir) -> Store {
    Store::open(dir.path(), small()).unwrap()
}

/// Everything that can be read, page by page.
pub(super) fn all(store: &Store, mut query: Query, bytes_max: usize) -> (Vec<Stored>, Vec<(Seq, String)>) {
    let (mut entries, mut damaged) = (Vec::new(), Vec::new());
    for _ in 0..1_000_000 {
        let page = store.read_kept(&query, bytes_max).unwrap();
        entries.extend(page.entries);
        damaged.extend(page.damaged);
        if page.end {
            return (entries, damaged);
        }
        if query.backwards {
            query.upto = Some(Seq(page.looked_to.0 - 1));
        } else {
            assert!(page.looked_to > query.after, "no progress after {}", query.after);
            query.after = page.looked_to;
        }
    }
    panic!("reading does not end");
}

/// A folder in memory where there is such a thing: these tests are about bytes, not about disks.
pub(super) fn fast() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// A copy of a store's folder as it is, as a kill would leave it.
pub(super) fn copy(from: &Path) -> TempDir {
    loop {
        let to = fast();
        // Files may come and go meanwhile: then the copy is of no moment that ever was.
        let before = listing(from);
        if copy_into(from, to.path()).is_ok() && listing(from) == before {
            return to;
        }
    }
}

fn listing(dir: &Path) -> std::collections::BTreeSet<std::ffi::OsString> {
    let names = [dir.to_owned(), dir.join("journal")].map(|d| std::fs::read_dir(d).unwrap());
    names.into_iter().flatten().map(|e| e.unwrap().file_name()).collect()
}

pub(super) fn copy_into(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_into(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Waits for a condition, with a deadline.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Appends many events, some at a time.
pub(super) fn append_many(store: &Store, numbers: std::ops::Range<u64>, size: usize) {
    let numbers: Vec<u64> = numbers.collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let set = tokio::task::LocalSet::new();
    set.block_on(&runtime, async {
        for chunk in numbers.chunks(200) {
            let tasks: Vec<_> = chunk
                .iter()
                .map(|n| {
                    let (store, n) = (store.clone(), *n);
                    tokio::task::spawn_local(async move { store.append(event(n, size)).await.unwrap() })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        }
    });
}

pub(super) fn put(store: &Store, key: &str, value: &[u8]) {
    let (key, value) = (key.to_owned(), value.to_owned());
    wait(store.write(move |tx| {
        tx.put(SPACE, key.as_bytes(), value);
        Ok::<_, ()>(())
    }))
    .unwrap()
    .unwrap();
}

pub(super) fn pairs(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    store.scan(SPACE, ..).map(Result::unwrap).collect()
}

/// How many events are lost.
pub(super) fn lost(store: &Store) -> u64 {
    store.lost().iter().map(|(from, to)| to.0 - from.0 + 1).sum()
}

/// How many files with this extension the journal has.
pub(super) fn files_of(dir: &Path, extension: &str) -> usize {
    journal::list(dir, extension).unwrap().len()
}
