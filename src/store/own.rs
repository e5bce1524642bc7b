//! The store's own pairs of the map: where the log begins, and which log it is.

use super::Error;
use crate::codec::{LeReader, LeWriter as _};

/// The pair that says where the log begins.
pub(super) const FIRST: &[u8] = b"first";
/// The pair that tells this log from every other one.
pub(super) const IDENTITY: &[u8] = b"log";
/// Random bytes in an identity: two logs never have the same.
const IDENTITY_BYTES: usize = 16;

/// A new identity, as text.
pub(super) fn new_identity() -> Result<String, Error> {
    let mut bytes = [0; IDENTITY_BYTES];
    getrandom::fill(&mut bytes).map_err(|e| Error::Other(format!("get random bytes: {e}")))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

/// Where the log begins, as stored: position, and bytes before it.
pub(super) fn first_of(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut from = LeReader(bytes);
    Some((from.u64()?, from.u64()?))
}

/// The other way round.
pub(super) fn first_bytes(seq: u64, cum: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    bytes.u64(seq);
    bytes.u64(cum);
    bytes
}
