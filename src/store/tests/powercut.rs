//! Power cuts below the store, without a daemon: a loop-mounted ext4 or XFS is shut down without flushing its journal.

use super::*;
use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

/// Cuts in the suite; `WEHELP_POWERCUTS` asks for more.
const ROUNDS: usize = 3;
const FOLDER: &str = "WEHELP_TEST_POWERCUT_FOLDER";

struct Disk(TempDir);

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|o| o.status.success())
}

impl Disk {
    fn make(mkfs: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::File::create(dir.path().join("disk")).ok()?.set_len(400 << 20).ok()?;
        std::fs::create_dir(dir.path().join("at")).ok()?;
        let disk = Self(dir);
        (succeeds(mkfs, &["-q", disk.image().to_str()?]) && disk.mount()).then_some(disk)
    }

    fn image(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    fn at(&self) -> PathBuf {
        self.0.path().join("at")
    }

    fn mount(&self) -> bool {
        succeeds("mount", &["-o", "loop", self.image().to_str().unwrap(), self.at().to_str().unwrap()])
    }

    #[expect(unsafe_code, reason = "the forced shutdown of a file system is an ioctl without a safe name")]
    fn cut(&self) {
        /// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN`, `_IOR('X', 125, __u32)`, and their way without a flush of the file
        /// system's journal.
        const SHUTDOWN: u64 = 0x8004_587d;
        let flags = 2_u32;
        let folder = std::fs::File::open(self.at()).unwrap();
        // SAFETY: the ioctl reads one u32 that outlives the call.
        assert_eq!(unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN, &raw const flags) }, 0);
    }

    fn return_power(&self) {
        eventually("it is unmounted", || succeeds("umount", &[self.at().to_str().unwrap()]));
        assert!(self.mount(), "the file system recovers");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.at()).output());
    }
}

fn options() -> Options {
    Options { segment_bytes: 1 << 20, free_bytes_min: 0, ..Options::default() }
}

fn body(id: u64) -> Vec<u8> {
    let size = if id % 20 == 7 { 300_000 } else { id % 5 * 1000 + 20 };
    format!("{id:020} ").repeat(usize::try_from(size).unwrap() / 21 + 1).into_bytes()
}

fn value(n: u64) -> Vec<u8> {
    let size = if n % 9 == 4 { 30_000 } else { n % 7 * 100 + 8 };
    let mut value = vec![u8::try_from(n % 251).unwrap(); usize::try_from(size).unwrap()];
    value[..8].copy_from_slice(&n.to_be_bytes());
    value
}

/// Not a test of its own: the load of the one below, in a process that is killed. One line per answer.
#[test]
#[ignore = "the load of a power cut"]
fn load() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = Store::open(Path::new(&folder), options()).unwrap();
    let base = store.tail().borrow().0 * 1000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let set = tokio::task::LocalSet::new();
    for task in 0..6_u64 {
        let store = store.clone();
        set.spawn_local(async move {
            for n in 0.. {
                let id = base + n * 10 + task;
                let event = Append { body: body(id).into(), ..event(id, 1) };
                if let Ok(seq) = store.append(event).await {
                    println!("E {seq} {id}");
                } else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
    }
    for task in 0..3_u64 {
        let store = store.clone();
        set.spawn_local(async move {
            for n in base.. {
                let key = format!("key {}", (n * 3 + task) % 200);
                let name = key.clone();
                let done = store.write(move |tx| {
                    if n % 4 == 1 {
                        tx.delete(SPACE, name.as_bytes());
                    }
                    tx.put(SPACE, name.as_bytes(), value(n));
                    // A pair that must agree with the event of the same transaction.
                    let seq = (n % 10 == 3).then(|| tx.append(Append { body: body(n).into(), ..event(n, 1) }));
                    if let Some(seq) = seq {
                        tx.put(SPACE, b"pair", [seq.0.to_be_bytes(), n.to_be_bytes()].concat());
                    }
                    Ok::<_, ()>(())
                });
                if done.await.is_ok() {
                    println!("M {n} {key}");
                } else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
    }
    let trimmer = store.clone();
    set.spawn_local(async move {
        loop {
            drop(trimmer.trim(Retention { bytes_max: Some(8 << 20), ..Retention::default() }).await);
            let lazy = trimmer.write_lazily(|tx| {
                tx.put(SPACE, b"lazy", *b"x");
                Ok::<_, ()>(())
            });
            drop(lazy.await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    set.block_on(&runtime, std::future::pending::<()>());
}

#[test]
fn a_power_cut_under_load_loses_nothing_that_was_answered_on_ext4() {
    survives_on("mkfs.ext4");
}

#[test]
fn a_power_cut_under_load_loses_nothing_that_was_answered_on_xfs() {
    survives_on("mkfs.xfs");
}

fn survives_on(mkfs: &str) {
    let rounds = std::env::var("WEHELP_POWERCUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let Some(disk) = Disk::make(mkfs) else {
        return crate::missing::other(&format!("no {mkfs}, or no right to mount a file system on a loop device"));
    };
    let folder = disk.at().join("data");
    let (mut events, mut values): (HashMap<u64, u64>, BTreeMap<String, u64>) = Default::default();
    let (mut answers, mut made_again) = (0, 0);
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "store::tests::powercut::load", "--nocapture"])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 100 + round % 11 * 150;
        let mut seen = 0;
        for line in lines {
            let Ok(line) = line else { break };
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            match words[..] {
                ["E", seq, id] => drop(events.insert(seq.parse().unwrap(), id.parse().unwrap())),
                ["M", n, key] => drop(values.insert(key.to_owned(), n.parse().unwrap())),
                _ => continue,
            }
            seen += 1;
            if seen == wanted {
                disk.cut();
                std::thread::sleep(Duration::from_millis(20));
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        answers += seen;
        disk.return_power();
        let before = folder.join("sled").metadata().ok().map(|m| std::os::unix::fs::MetadataExt::ino(&m));
        let store = Store::open(&folder, options()).unwrap();
        let after = folder.join("sled").metadata().ok().map(|m| std::os::unix::fs::MetadataExt::ino(&m));
        made_again += usize::from(before != after);
        let stats = store.stats().unwrap();
        let (found, damaged) = all(&store, Query::default(), 1 << 20);
        assert!(damaged.is_empty(), "round {round}: {damaged:?}");
        assert!(found.iter().map(|e| e.seq).eq((stats.first.0..=stats.last.0).map(Seq)), "round {round}: gaps");
        let found: HashMap<u64, Bytes> = found.into_iter().map(|e| (e.seq.0, e.body)).collect();
        for (seq, id) in &events {
            if *seq >= stats.first.0 {
                let same = found.get(seq).is_some_and(|b| b[..] == body(*id)[..]);
                let newest = events.keys().max().copied().unwrap_or(0);
                assert!(same, "round {round}: event {seq} of {newest} was answered; kept are to {}", stats.last);
            }
        }
        for (key, n) in &values {
            let stored = store.get(SPACE, key.as_bytes()).unwrap();
            let stored = stored.unwrap_or_else(|| panic!("round {round}: {key} is gone"));
            let now = u64::from_be_bytes(stored[..8].try_into().unwrap());
            assert!(now >= *n && stored == value(now), "round {round}: {key} is {now}, was {n}");
        }
        if let Some(pair) = store.get(SPACE, b"pair").unwrap() {
            let n = |at: usize| u64::from_be_bytes(pair[at..at + 8].try_into().unwrap());
            if n(0) >= stats.first.0 {
                assert_eq!(found.get(&n(0)).map(|b| &b[..]), Some(&body(n(8))[..]), "round {round}: the pair");
            }
        }
        drop(store);
    }
    eprintln!("{mkfs}: {rounds} power cuts, {answers} answers, sled made again {made_again} times");
}
