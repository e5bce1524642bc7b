//! Snapshots of the map: what a lost sled is made again from.
//!
//! A snapshot (`DIR/journal/<lsn>.map`) is made while writers go on. It holds every change up to `from`, the LSN in
//! its name, and perhaps some up to `upto`; since the journal's changes are absolute, replaying everything after
//! `from` gives the map whatever the snapshot had seen of it. Both are durable in the
//! journal before it is put in place, since sled has nothing else. Segments up to `from` are not needed for the map any more.
//!
//! ```text
//! magic 8 | version 4 | from 8 | { key length 4 | value length 4 | key | value }* | ffffffff | upto 8 | seq 8 | pairs 8 | crc 4
//! ```

use super::tree::SledTree;
use crate::codec::LeWriter as _;
use crate::store::files::{self, fault};
use crate::store::types::VERSION;
use crate::store::{Error, journal};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"WEHELPM\n";
const END: u32 = u32::MAX;
/// A key or a value longer than this is damage.
const PART_BYTES_MAX: u32 = 64 << 20;

/// What a snapshot says of itself.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Snapshot {
    pub(in crate::store) from: u64,
    pub(in crate::store) upto: u64,
    /// The next event's position, then.
    pub(in crate::store) seq: u64,
}

pub(in crate::store) fn path(dir: &Path, lsn: u64) -> PathBuf {
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

/// After this many pairs `meanwhile` is called.
const MEANWHILE_PAIRS: u64 = 512;

/// Writes a snapshot of everything in sled, which has all up to `from`. `meanwhile` is called now and then; `upto` says,
/// once all is read, what may be in it: the last LSN, and the next event's position. Returns its size.
pub(in crate::store) fn write(
    dir: &Path,
    tree: &SledTree,
    from: u64,
    mut meanwhile: impl FnMut() -> Result<(), Error>,
    upto: impl FnOnce() -> Result<(u64, u64), Error>,
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
        for pair in tree.all() {
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
        let (upto, seq) = upto().map_err(io::Error::other)?;
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
pub(in crate::store) type EachPair<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Error> + 'a;

/// Reads a snapshot; an error when it is not whole. The pairs come before it is known that it is.
pub(in crate::store) fn read(dir: &Path, lsn: u64, each: &mut EachPair<'_>) -> Result<Snapshot, Error> {
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
