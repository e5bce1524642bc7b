//! The checkpoint (`DIR/checkpoint`): what the store is known to have reached, replaced whole.
//!
//! ```text
//! magic 8 | version 4 | clean 4 | lsn 8 | seq 8 | crc 4
//! ```
//!
//! It has one writer at a time, by type: whoever has the [`CheckpointFile`]. There is one of a store; the open has it, then
//! the checkpointing thread, and when that has ended the writer.

use super::Error;
use super::files::{self, fault};
use super::types::VERSION;
use crate::codec::{LeReader, LeWriter as _, sealed, unsealed};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"WEHELPC\n";

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

/// The right to write the checkpoint. Two who write one file at once would take its half-written copy from each other.
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
        let mut bytes = MAGIC.to_vec();
        bytes.u32(VERSION);
        bytes.u32(self.clean.into());
        bytes.u64(self.lsn);
        bytes.u64(self.seq);
        sealed(bytes)
    }

    /// The newest one; a missing or damaged one means an unclean stop.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let bytes = files::read_small(&Self::path(dir), 64).ok()??;
        let mut from = LeReader(unsealed(&bytes)?);
        if from.array()? != MAGIC {
            return None;
        }
        let _version = from.u32()?;
        let clean = from.u32()? == 1;
        let checkpoint = Self { lsn: from.u64()?, seq: from.u64()?, clean };
        from.0.is_empty().then_some(checkpoint)
    }
}
