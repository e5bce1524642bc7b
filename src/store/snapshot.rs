//! Snapshots of the map, and the checkpoint: small files of our own, checksummed and replaced whole.
//!
//! A snapshot (`DIR/journal/<lsn>.map`) is made while writers go on. It holds every change up to `from`, the LSN in
//! its name, and perhaps some up to `upto`; since the journal's changes are absolute, replaying everything after
//! `from` gives the map whatever the snapshot had seen of it. It is put in place only when `upto` is durable. Segments
//! up to `from` are not needed for the map any more.
//!
//! ```text
//! magic 8 | version 4 | from 8 | { key length 4 | value length 4 | key | value }* | ffffffff | upto 8 | seq 8 | pairs 8 | crc 4
//! ```

use super::files::{self, fault};
use super::map::Map;
use super::{Error, VERSION, journal};
use crate::codec::{Reader, Writer as _, sealed, unsealed};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"WEHELPM\n";
const CHECKPOINT_MAGIC: [u8; 8] = *b"WEHELPC\n";
const END: u32 = u32::MAX;
/// A key or a value longer than this is damage.
const PART_BYTES_MAX: u32 = 64 << 20;

/// What a snapshot says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    pub(super) from: u64,
    pub(super) upto: u64,
    /// The next event's position, then.
    pub(super) seq: u64,
}

pub(super) fn path(dir: &Path, lsn: u64) -> PathBuf {
    journal::folder(dir).join(format!("{lsn:020}.map"))
}

/// A writer or reader that sums up what passes.
struct Summed<T> {
    inner: T,
    crc: crc32fast::Hasher,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Self {
        Self { inner, crc: crc32fast::Hasher::new() }
    }
}

impl<T: Write> Summed<T> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<T: Read> Summed<T> {
    fn take(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(into)?;
        self.crc.update(into);
        Ok(())
    }

    fn take_array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.take(&mut bytes)?;
        Ok(bytes)
    }

    fn take_u32(&mut self) -> io::Result<u32> {
        self.take_array().map(u32::from_le_bytes)
    }

    fn take_u64(&mut self) -> io::Result<u64> {
        self.take_array().map(u64::from_le_bytes)
    }
}

/// After so many pairs `meanwhile` is called.
const MEANWHILE_PAIRS: u64 = 512;

/// Writes a snapshot of everything in `map`; `meanwhile` is called now and then, and `ready` says, once all is written,
/// up to which LSN it may hold changes and the next event's position then, and that these are durable. Returns its size.
pub(super) fn write(
    dir: &Path,
    map: &Map,
    from: u64,
    mut meanwhile: impl FnMut() -> Result<(), Error>,
    ready: impl FnOnce() -> io::Result<(u64, u64)>,
) -> Result<u64, Error> {
    let path = path(dir, from);
    let mut bytes = 0;
    let written = files::replace(&path, |out| {
        let mut out = Summed::new(out);
        let mut head = MAGIC.to_vec();
        head.u32(VERSION);
        head.u64(from);
        out.put(&head)?;
        let mut pairs = 0_u64;
        for pair in map.all() {
            let (key, value) = pair.map_err(io::Error::other)?;
            let mut head = Vec::with_capacity(8);
            head.len32(key.len());
            head.len32(value.len());
            out.put(&head)?;
            out.put(&key)?;
            out.put(&value)?;
            pairs += 1;
            if pairs.is_multiple_of(MEANWHILE_PAIRS) {
                meanwhile().map_err(io::Error::other)?;
            }
            bytes += 8 + (key.len() + value.len()) as u64;
        }
        let (upto, seq) = ready()?;
        let mut end = END.to_le_bytes().to_vec();
        [upto, seq, pairs].into_iter().for_each(|n| end.u64(n));
        out.put(&end)?;
        let crc = out.crc.clone().finalize();
        out.inner.write_all(&crc.to_le_bytes())
    });
    written.map_err(|e| fault("write the map's snapshot", &path, &e))?;
    // What is only read in need is read once while the old one is still there.
    read(dir, from, &mut |_, _| meanwhile())?;
    Ok(bytes)
}

/// Takes a pair: its full key and its value.
pub(super) type EachPair<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Error> + 'a;

/// Reads a snapshot; an error when it is not whole. The pairs come before it is known that it is.
pub(super) fn read(dir: &Path, lsn: u64, each: &mut EachPair<'_>) -> Result<Snapshot, Error> {
    let path = path(dir, lsn);
    let failed = |e: io::Error| fault("read the map's snapshot", &path, &e);
    let damaged = |why: &str| failed(io::Error::other(why.to_owned()));
    let file = File::open(&path).map_err(failed)?;
    let mut file = Summed::new(BufReader::with_capacity(1 << 18, file));
    let magic = file.take_array().map_err(failed)?;
    let version = file.take_u32().map_err(failed)?;
    let from = file.take_u64().map_err(failed)?;
    if magic != MAGIC || version > VERSION || from != lsn {
        return Err(damaged("it is damaged: its head makes no sense"));
    }
    let (mut key, mut value, mut pairs) = (Vec::new(), Vec::new(), 0_u64);
    loop {
        let key_len = file.take_u32().map_err(failed)?;
        if key_len == END {
            break;
        }
        let value_len = file.take_u32().map_err(failed)?;
        if key_len.max(value_len) > PART_BYTES_MAX {
            return Err(damaged("it is damaged: a length is impossible"));
        }
        key.resize(key_len as usize, 0);
        value.resize(value_len as usize, 0);
        file.take(&mut key).map_err(failed)?;
        file.take(&mut value).map_err(failed)?;
        each(&key, &value)?;
        pairs += 1;
    }
    let snapshot = Snapshot { from, upto: file.take_u64().map_err(failed)?, seq: file.take_u64().map_err(failed)? };
    let counted = file.take_u64().map_err(failed)?;
    let crc = file.crc.clone().finalize();
    if file.take_u32().map_err(failed)? != crc || counted != pairs {
        return Err(damaged("it is damaged: its checksum does not match"));
    }
    Ok(snapshot)
}

/// What the store is known to have reached, for the next open: it tells a journal that has lost its end from one that
/// ends there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Everything up to here is durable in the journal; after a clean stop, in sled too.
    pub(super) lsn: u64,
    /// The next event's position, then.
    pub(super) seq: u64,
    /// The store was closed, and nothing came after.
    pub(super) clean: bool,
}

/// The right to write the checkpoint. There is one of a store: the open has it, then the keeper, and when that has ended
/// the writer. Two who write one file at once would take its half-written copy from each other.
#[derive(Debug)]
pub(super) struct CheckpointFile(PathBuf);

impl CheckpointFile {
    /// For the open of the store in `dir`, and nobody else.
    pub(super) fn of(dir: &Path) -> Self {
        Self(Checkpoint::path(dir))
    }

    /// Replaces it, durably.
    pub(super) fn write(&mut self, checkpoint: Checkpoint) -> Result<(), Error> {
        let bytes = checkpoint.encode();
        files::replace(&self.0, |out| out.write_all(&bytes)).map_err(|e| fault("write", &self.0, &e))
    }

    /// From now on the store counts as not closed. Durable.
    pub(super) fn begin(&mut self, last: Checkpoint) -> Result<(), Error> {
        self.write(Checkpoint { clean: false, ..last }).or_else(|_| {
            // A full disk still lets us remove it.
            let folder = self.0.parent().unwrap_or(Path::new("."));
            files::remove(&self.0)
                .and_then(|()| files::sync_dir(folder))
                .map_err(|e| fault("remove the mark of a clean stop", &self.0, &e))
        })
    }
}

impl Checkpoint {
    fn path(dir: &Path) -> PathBuf {
        dir.join("checkpoint")
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = CHECKPOINT_MAGIC.to_vec();
        bytes.u32(VERSION);
        bytes.u32(self.clean.into());
        bytes.u64(self.lsn);
        bytes.u64(self.seq);
        sealed(bytes)
    }

    /// The newest one; a missing or damaged one means an unclean stop.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let bytes = files::read_small(&Self::path(dir), 64).ok()??;
        let mut from = Reader(unsealed(&bytes)?);
        if from.array()? != CHECKPOINT_MAGIC {
            return None;
        }
        let _version = from.u32()?;
        let clean = from.u32()? == 1;
        let checkpoint = Self { lsn: from.u64()?, seq: from.u64()?, clean };
        from.0.is_empty().then_some(checkpoint)
    }
}
