//! Full, failing and read-only disks.

use super::*;
use std::process::Command;

/// A small file system of our own; unmounted in the end.
struct Small(TempDir);

impl Small {
    /// `None` where this user cannot mount.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(dir.path()).output();
        if mounted.is_ok_and(|m| m.status.success()) {
            return Some(Self(dir));
        }
        crate::missing::other("no right to mount a small file system");
        None
    }

    fn remount(&self, how: &str) -> bool {
        let option = format!("remount,{how}");
        Command::new("mount").args(["-o", &option]).arg(self.0.path()).status().is_ok_and(|s| s.success())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

fn recovers(store: &Store, dir: &Path, kept: u64) {
    let mut health = store.health();
    wait(health.wait_for(|h| *h == Health::Writable)).unwrap();
    // Nothing is written yet, and the writer has been round again: an index made now would lack the last block.
    wait(store.write(|_| Ok::<_, ()>(()))).unwrap().unwrap();
    let lost = copy(dir);
    std::fs::remove_dir_all(lost.path().join("sled")).unwrap();
    let (entries, _) = all(&open(&lost), Query::default(), 100_000);
    assert!(entries.iter().map(|e| e.seq.0).eq(1..=kept));
    assert_eq!(wait(store.append(event(kept, 600))).unwrap(), Seq(kept + 1));
    eventually("each closed segment has its index", || files_of(dir, "idx") + 1 == files_of(dir, "log"));
    let (killed, lost) = (copy(dir), copy(dir));
    std::fs::remove_dir_all(lost.path().join("sled")).unwrap();
    for store in [store, &open(&killed), &open(&lost)] {
        let (entries, damaged) = all(store, Query::default(), 100_000);
        assert!(damaged.is_empty(), "{damaged:?}");
        assert!(entries.iter().map(|e| e.seq.0).eq(1..=kept + 1));
    }
}

fn fill_until_refused(store: &Store) -> u64 {
    for n in 0.. {
        match wait(store.append(event(n, 100_000))) {
            Ok(seq) => assert_eq!(seq, Seq(n + 1)),
            Err(error) => {
                assert!(matches!(error, Error::Refusing(_)), "{error}");
                assert!(matches!(&*store.health().borrow(), Health::Refusing(_)));
                let (entries, _) = all(store, Query::default(), 1_000_000);
                assert_eq!(entries.len() as u64, n);
                return n;
            }
        }
    }
    0
}

#[test]
fn a_full_disk_refuses_writes_and_is_recovered_from() {
    for free_bytes_min in [0, 8 << 20] {
        let Some(small) = Small::mount() else { return };
        let dir = small.0.path().join("data");
        let options = Options { free_bytes_min, segment_bytes: 64 << 20, ..Options::default() };
        let store = Store::open(&dir, options).unwrap();
        let ballast = small.0.path().join("ballast");
        std::fs::write(&ballast, vec![0; 9 << 20]).unwrap();
        let kept = fill_until_refused(&store);
        let left = files::free_bytes(&dir).unwrap();
        assert!(left >= free_bytes_min / 2, "{left} bytes are left, however fast they came");
        std::fs::remove_file(ballast).unwrap();
        recovers(&store, &dir, kept);
        store.close().unwrap();
        drop(store);
    }
}

#[test]
fn a_file_system_that_became_read_only_is_recovered_from() {
    let Some(small) = Small::mount() else { return };
    let dir = small.0.path().join("data");
    let store = Store::open(&dir, Options { segment_bytes: 1 << 20, ..small_options() }).unwrap();
    for n in 0..3 {
        wait(store.append(event(n, 600))).unwrap();
    }
    if !small.remount("ro") {
        return crate::missing::other("no file system that can be made read-only while it is written to");
    }
    assert!(wait(store.append(event(3, 600))).is_err());
    assert!(small.remount("rw"));
    recovers(&store, &dir, 3);
}

fn small_options() -> Options {
    small()
}

/// Files of this process below `dir` that are open and deleted.
fn deleted_and_open(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let names = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    names.filter(|name| name.starts_with(dir) && name.to_string_lossy().ends_with(" (deleted)")).collect()
}

#[test]
fn a_map_that_is_made_again_leaves_nothing_of_the_one_before() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..200, 600);
    put(&store, "a", b"1");
    for round in 0..2 {
        let mut health = store.health();
        health.mark_unchanged();
        store
            .0
            .inbox
            .send(Request::Report(checkpointer::TaskReport::MapFailed(Error::Other("a test".to_owned()))))
            .unwrap();
        wait(health.changed()).unwrap();
        wait(health.wait_for(|health| *health == Health::Writable)).unwrap();
        // Its file is open as long as anything of it is there.
        eventually(&format!("round {round}: the old map has gone"), || deleted_and_open(dir.path()).is_empty());
        assert_eq!(pairs(&store).len(), 1);
    }
}

#[test]
fn a_change_that_cannot_read_the_map_is_refused_and_later_ones_succeed() {
    let dir = fast();
    let store = open(&dir);
    (0..50).for_each(|n| put(&store, &format!("k{n}"), &[7; 2000]));
    store.close().unwrap();
    drop(store);
    let store = open(&dir);
    // Nothing of it is in memory yet.
    std::fs::File::options().write(true).open(dir.path().join("sled/db")).unwrap().set_len(0).unwrap();
    let change = || {
        let read_and_put = |tx: &mut Txn<'_>| {
            let read = tx.get(SPACE, b"k7");
            tx.put(SPACE, b"new", *b"1");
            Ok::<_, ()>(read)
        };
        wait(store.write(read_and_put))
    };
    let refused = change();
    assert!(matches!(refused, Err(Error::Refusing(_))), "{refused:?}");
    eventually("the map is made again", || matches!(change(), Ok(Ok(Some(value))) if value == [7; 2000]));
}

#[test]
fn a_lazy_change_is_seen_at_once_and_durable_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    wait(store.write_lazily(|tx| {
        tx.put(SPACE, b"a", *b"1");
        Ok::<_, ()>(())
    }))
    .unwrap()
    .unwrap();
    assert_eq!(pairs(&store).len(), 1);
    let before = store.sync_latency().0.iter().map(|(_, n)| n).sum::<u64>();
    eventually("it is synced", || store.sync_latency().0.iter().map(|(_, n)| n).sum::<u64>() > before);
    let killed = copy(dir.path());
    assert_eq!(pairs(&open(&killed)).len(), 1);
}

#[test]
fn a_newer_store_is_refused_with_a_sentence_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).close().unwrap();
    std::fs::write(dir.path().join("version"), "2\n").unwrap();
    let error = Store::open(dir.path(), small()).unwrap_err().to_string();
    assert!(error.contains("newer") && error.contains("version"), "{error}");
    std::fs::write(dir.path().join("version"), "1\n").unwrap();
    let segment = journal::path(dir.path(), 1);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[8] = 2;
    std::fs::write(&segment, &bytes).unwrap();
    let error = Store::open(dir.path(), small()).unwrap_err().to_string();
    assert!(error.contains("newer") && error.contains(".log"), "{error}");
    assert_eq!(std::fs::read(&segment).unwrap(), bytes);
}

#[test]
fn a_panic_of_the_writer_is_told_and_nothing_is_written_any_more() {
    /// It panics where no job should.
    struct Bomb;
    impl Job for Bomb {
        fn bytes(&self) -> usize {
            panic!("a test")
        }
        fn run(&mut self, _: &mut Txn<'_>) -> bool {
            false
        }
        fn finish(self: Box<Self>, _: Result<(), Error>) {}
    }
    let dir = fast();
    let store = open(&dir);
    let mut died = store.died();
    assert_eq!(*died.borrow(), None);
    store.0.send(Box::new(Bomb), false).unwrap();
    let why = wait(died.wait_for(Option::is_some)).unwrap().clone().unwrap();
    assert!(why.contains("a test"), "{why}");
    assert!(wait(store.append(event(0, 9))).is_err());
    drop(store.close());
    drop(store);
    assert_eq!(wait(open(&dir).append(event(0, 9))).unwrap(), Seq(1));
}

#[test]
fn a_store_that_is_closed_while_it_makes_a_snapshot_closes_well() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..200, 600);
    store.close().unwrap();
    drop(store);
    for round in 0..600 {
        // The journal does not reach as far as is known: it begins with a snapshot and a checkpoint.
        let (lsn, seq) = (1_000 + round * 10, 201);
        let known = checkpoint::Checkpoint { lsn, seq, clean: false };
        checkpoint::CheckpointFile::of(dir.path()).write(known).unwrap();
        let store = open(&dir);
        std::thread::sleep(Duration::from_micros(fastrand::u64(..3000)));
        store.close().unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
}

#[test]
fn a_store_in_use_is_refused_and_left_alone_whatever_lock_is_gone() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..50, 600);
    let in_use = || matches!(Store::open(dir.path(), small()), Err(Error::InUse { .. }));
    assert!(in_use());
    // By sled's own lock, and by the segment's.
    let journal = dir.path().join("journal");
    std::fs::rename(&journal, dir.path().join("moved")).unwrap();
    std::fs::create_dir(&journal).unwrap();
    assert!(in_use());
    for entry in std::fs::read_dir(dir.path().join("moved")).unwrap() {
        let entry = entry.unwrap();
        std::fs::rename(entry.path(), journal.join(entry.file_name())).unwrap();
    }
    std::fs::rename(dir.path().join("sled"), dir.path().join("sled.moved")).unwrap();
    assert!(in_use());
    std::fs::rename(dir.path().join("sled.moved"), dir.path().join("sled")).unwrap();
    append_many(&store, 50..60, 600);
    store.close().unwrap();
    drop(store);
    assert_eq!(all(&open(&dir), Query::default(), 100_000).0.len(), 60);
}

#[test]
fn a_segment_that_is_deleted_while_it_is_written_is_put_back() {
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..50, 600);
    let segment = journal::path(dir.path(), 1);
    std::fs::remove_file(&segment).unwrap();
    eventually("it is there again", || {
        put(&store, "k", b"v");
        segment.exists()
    });
    append_many(&store, 50..60, 600);
    assert_eq!(all(&store, Query::default(), 100_000).0.len(), 60);
    // Also when nothing was written any more; and the whole folder.
    std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
    store.close().unwrap();
    drop(store);
    let store = open(&dir);
    let (entries, damaged) = all(&store, Query::default(), 100_000);
    assert!(entries.len() == 60 && damaged.is_empty(), "{damaged:?}");
}

#[test]
fn a_folder_that_another_store_was_begun_in_is_left_to_it() {
    for kept in [false, true] {
        let dir = fast();
        let inner = dir.path().join("data");
        let first = Store::open(&inner, small()).unwrap();
        append_many(&first, 0..10, 600);
        if kept {
            // Only the journal and what is derived from it: the folder itself stays.
            std::fs::remove_dir_all(inner.join("journal")).unwrap();
            std::fs::remove_dir_all(inner.join("sled")).unwrap();
        } else {
            std::fs::rename(&inner, dir.path().join("away")).unwrap();
        }
        let second = Store::open(&inner, small()).unwrap();
        append_many(&second, 100..120, 600);
        eventually("the first refuses writes", || wait(first.append(event(11, 600))).is_err());
        assert!(matches!(&*first.health().borrow(), Health::Refusing(why) if why.contains("another journal")));
        append_many(&second, 120..130, 600);
        second.close().unwrap();
        drop(second);
        // Also when the other one has gone.
        assert!(wait(first.append(event(12, 600))).is_err());
        drop(first.close());
        drop(first);
        let again = Store::open(&inner, small()).unwrap();
        let (entries, damaged) = all(&again, Query::default(), 100_000);
        assert!(damaged.is_empty() && entries.len() >= 30, "{} {damaged:?}", entries.len());
        let last = entries[entries.len() - 30..].iter().map(|entry| entry.body.clone());
        assert!(last.eq((100..130).map(|n| event(n, 600).body)));
    }
}

#[test]
fn a_data_folder_that_is_gone_refuses_writes_and_can_be_asked() {
    let dir = fast();
    let inner = dir.path().join("data");
    let store = Store::open(&inner, small()).unwrap();
    wait(store.append(event(0, 600))).unwrap();
    std::fs::remove_dir_all(&inner).unwrap();
    eventually("writes are refused", || wait(store.append(event(1, 600))).is_err());
    assert_eq!(store.stats().unwrap().free_bytes, 0);
    assert!(!inner.exists());
    drop(store.close());
}

/// A store as a kill left it, on a file system of its own, and what is in it.
fn killed_on(small: &Small) -> (PathBuf, Vec<Pair>) {
    let running = fast();
    let store = open(&running);
    append_many(&store, 0..50, 600);
    put(&store, "k", &[7; 5000]);
    let dir = small.0.path().join("data");
    copy_into(running.path(), &dir).unwrap();
    let live = pairs(&store);
    (dir, live)
}

/// It opens, reads and refuses; and when `mend` is done it goes on by itself.
fn opens_to_read(dir: &Path, live: &[Pair], mend: impl FnOnce()) {
    let options = || Options { free_bytes_min: 4 << 20, ..small() };
    let store = Store::open(dir, options()).unwrap();
    assert!(matches!(&*store.health().borrow(), Health::Refusing(_)));
    let (entries, damaged) = all(&store, Query::default(), 100_000);
    assert!(entries.len() == 50 && damaged.is_empty(), "{} {damaged:?}", entries.len());
    assert_eq!(pairs(&store), live);
    assert!(matches!(wait(store.append(event(50, 600))), Err(Error::Refusing(_))));
    mend();
    let mut health = store.health();
    wait(health.wait_for(|h| *h == Health::Writable)).unwrap();
    assert_eq!(wait(store.append(event(50, 600))).unwrap(), Seq(51));
    let killed = copy(dir);
    store.close().unwrap();
    drop(store);
    for dir in [dir, killed.path()] {
        let store = Store::open(dir, options()).unwrap();
        let (entries, damaged) = all(&store, Query::default(), 100_000);
        assert!(entries.len() == 51 && damaged.is_empty(), "{} {damaged:?}", entries.len());
        assert_eq!(pairs(&store), live);
    }
}

#[test]
fn a_read_only_file_system_is_no_reason_not_to_start() {
    let Some(small) = Small::mount() else { return };
    let (dir, live) = killed_on(&small);
    assert!(small.remount("ro"), "nothing in it is open");
    opens_to_read(&dir, &live, || assert!(small.remount("rw")));
    assert!(small.remount("ro"), "nothing in it is open");
    assert_eq!(pairs(&Store::open(&dir, super::small()).unwrap()), live);
}

#[test]
fn a_full_disk_is_no_reason_not_to_start() {
    for sled in [true, false] {
        let Some(small) = Small::mount() else { return };
        let (dir, live) = killed_on(&small);
        if !sled {
            std::fs::remove_dir_all(dir.join("sled")).unwrap();
        }
        let ballast = small.0.path().join("ballast");
        assert!(std::fs::write(&ballast, vec![0; 24 << 20]).is_err(), "it fits");
        opens_to_read(&dir, &live, || std::fs::remove_file(&ballast).unwrap());
    }
}
