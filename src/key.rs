//! Keys of the map: the table of key spaces, and the parts that keys are made of.
//!
//! Promises: a [`Space`] is declared in the table below and nowhere else, and no two are equal (the build fails). All
//! numbers in keys are big-endian, so that their order is the order of the bytes.
//! Leaves to others: which parts a key of a space has, and what its value means (the room named in the table).

use crate::clock::Time;
use std::ops::{Range, RangeFrom, RangeFull, RangeTo};

/// A key space of the durable map: the first byte of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(u8);

impl Space {
    /// The first byte of its keys.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// The space of a stored key.
    #[must_use]
    pub const fn of(byte: u8) -> Self {
        Self(byte)
    }

    /// A key as the map has it: the space's byte, and the key within.
    #[must_use]
    pub fn full(self, key: &[u8]) -> Vec<u8> {
        let mut full = Vec::with_capacity(1 + key.len());
        full.push(self.0);
        full.extend_from_slice(key);
        full
    }
}

macro_rules! spaces {
    ($($(#[$doc:meta])* $name:ident = $byte:literal;)*) => {
        $($(#[$doc])* pub const $name: Space = Space($byte);)*

        /// Every key space that there is.
        pub const SPACES: &[(&str, Space)] = &[$((stringify!($name), $name)),*];
    };
}

spaces! {
    /// The store's own: where the log begins (`first`), and which log it is (`log`).
    OWN = 0;
    /// Single values of everybody. These and the [`COUNT`]s are few and short, and kept in memory: they are asked for all
    /// the time.
    META = b'm';
    /// Counts.
    COUNT = b'n';

    // The queue's (`daemon::queue::rows`).
    /// Command records: id → the record.
    COMMAND = b'c';
    /// What may be handed over: account, lane, due, id.
    READY = b'r';
    /// The same by time alone: due, id. Tells the next due time and what is scheduled.
    DUE = b't';
    /// What is in a response at this moment: id.
    IN_FLIGHT = b'f';
    /// What is queued again after a hand-over that seemed to fail: id.
    GIVEN_BACK = b'G';
    /// What expires: time, id.
    EXPIRY = b'e';
    /// What is over: time, id. Retention walks it.
    DONE = b'd';
    /// Changes of a command's state (`daemon::queue::revisions`): rev → what changed.
    REVISION = b'C';
    /// What was not due yet when its state was told last: due, id.
    SCHEDULED = b's';
    /// Questions without an answer: account, id → until when an answer may come, the api, what was asked for.
    ASKED = b'q';
    /// Texts whose echo has not come: account, chat, hash of the text, id → until when it may come.
    ECHO = b'o';
    /// Own messages that are the echo of a command: the event's number → the command's id.
    ECHOED = b'E';
    /// Messages that a notice in their chat may refuse: account, chat, id → until when it may come.
    REFUSABLE = b'j';
    /// Idempotency keys: key, account (empty: bound to nobody) → which command, and since when.
    KEY = b'y';
    /// The same as version 1 wrote them, account first: still looked at, and written no more.
    KEY_V1 = b'k';
    /// What ended and teaches the directory something that no event says by itself: id.
    TEACHES = b'U';
    /// Questions of `ask` whose turn in their chat has come or will come: account, chat, id → 1 when it waits for its turn.
    ASK_LINE = b'Q';
    /// Accepts of friend requests that are under way or were successful: account, v1, id.
    ACCEPTING = b'A';
    /// What a poller that is no account took of what is bound to nobody: name, id.
    POLLER = b'z';

    // The daemon's other parts.
    /// Accounts whose client was told to be missing: account → when it polled last (`daemon::accounts::watch`).
    MISSING = b'M';
    /// What was handed over of late, by account (`daemon::pacing`).
    PACE = b'p';
    /// Targets that events are forwarded to: name → where to, and how far it is (`daemon::forward`).
    FORWARD = b'h';
    /// Named positions: name → where it is (`daemon::cursors`).
    CURSOR = b'u';

    // The directory's (`directory::map`).
    /// Accounts; the key is the id alone.
    ACCOUNTS = b'a';
    /// Process id → the account that it drives.
    PIDS = b'i';
    /// People, public accounts, company contacts.
    PEOPLE = b'w';
    /// Rooms.
    ROOMS = b'g';
    /// The ids of a room's members.
    ROSTERS = b'l';
    /// Open friend requests.
    REQUESTS = b'v';
}

/// No two spaces are equal, and none is 255: a key after every other one begins with that.
const _: () = {
    let mut taken = [false; 256];
    taken[255] = true;
    let mut at = 0;
    while at < SPACES.len() {
        let byte = SPACES[at].1.0 as usize;
        assert!(!taken[byte], "two key spaces have the same byte");
        taken[byte] = true;
        at += 1;
    }
};

/// A range of keys within a space: `..`, `from..`, `..to`, `from..to`, or [`Keys::prefix`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    from: Vec<u8>,
    /// Before this one; `None`: to the end.
    to: Option<Vec<u8>>,
}

impl Keys {
    /// Every key that begins so.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { from: prefix.to_vec(), to: after_prefix(prefix) }
    }

    /// The same range of full keys.
    #[must_use]
    pub fn of(&self, space: Space) -> Range<Vec<u8>> {
        let to = self.to.as_ref().map_or_else(|| vec![space.0 + 1], |to| space.full(to));
        space.full(&self.from)..to
    }
}

impl From<RangeFull> for Keys {
    fn from(_: RangeFull) -> Self {
        Self { from: Vec::new(), to: None }
    }
}

impl<K: AsRef<[u8]>> From<RangeFrom<K>> for Keys {
    fn from(keys: RangeFrom<K>) -> Self {
        Self { from: keys.start.as_ref().to_vec(), to: None }
    }
}

impl<K: AsRef<[u8]>> From<RangeTo<K>> for Keys {
    fn from(keys: RangeTo<K>) -> Self {
        Self { from: Vec::new(), to: Some(keys.end.as_ref().to_vec()) }
    }
}

impl<K: AsRef<[u8]>> From<Range<K>> for Keys {
    fn from(keys: Range<K>) -> Self {
        Self { from: keys.start.as_ref().to_vec(), to: Some(keys.end.as_ref().to_vec()) }
    }
}

/// The key after every key that begins with `prefix`, if there can be one.
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < 255)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The least key after this one.
#[must_use]
pub fn next(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// An id.
#[must_use]
pub fn id_key(id: u64) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

/// The id that a key ends with.
#[must_use]
pub fn id_at_end(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Times sort as unsigned numbers once the sign bit is flipped.
#[must_use]
pub fn time_bytes(time: Time) -> [u8; 8] {
    (time.millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The other way round.
#[must_use]
pub fn bytes_time(bytes: [u8; 8]) -> Time {
    Time::from_millis((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
}

/// A time, then an id.
#[must_use]
pub fn time_key(time: Time, id: u64) -> Vec<u8> {
    [time_bytes(time), id.to_be_bytes()].concat()
}

/// A name with its length in front, so that no name is a prefix of another; at most 255 bytes of it.
#[must_use]
pub fn name_key(name: &str) -> Vec<u8> {
    let bytes = &name.as_bytes()[..name.len().min(255)];
    let mut key = vec![u8::try_from(bytes.len()).unwrap_or(255)];
    key.extend_from_slice(bytes);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_prefixes_sort_as_their_bytes() {
        let times = [i64::MIN, -1, 0, 1, i64::MAX].map(Time::from_millis);
        assert!(times.map(time_bytes).is_sorted());
        assert_eq!(times.map(|time| bytes_time(time_bytes(time))), times);
        assert_eq!(after_prefix(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(after_prefix(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(after_prefix(&[255]), None);
        assert_eq!(Keys::prefix(&[255]).of(META), vec![b'm', 255]..vec![b'n']);
        assert_eq!(Keys::from(..[7]).of(OWN), vec![0]..vec![0, 7]);
        assert_eq!(id_at_end(&time_key(Time::from_millis(1), 9)), 9);
    }
}
