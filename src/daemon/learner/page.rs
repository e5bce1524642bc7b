//! What a page of the log teaches, worked out before the writer hears of it. Blocking.

use crate::clock::Time;
use crate::daemon::learner::answers::Seen;
use crate::daemon::log::entry;
use crate::directory;
use crate::protocol::answer;
use crate::protocol::event::{Event, Kind, Pieces};
use crate::seq::Seq;
use crate::store::{Dropped, Error, Query, Read, Store, Stored};
use bytes::Bytes;

/// Bytes of events looked at in one transaction.
pub(super) const PAGE_BYTES: usize = 512 * 1024;

/// Lists of so many bytes together are decoded at once; a longer one is taken alone, piece by piece. The shortest items
/// take, decoded, seven hundred times their bytes.
pub(super) const LISTS_BYTES_MAX: usize = 32 * 1024;

/// What a page came to before the writer hears of it.
pub(super) struct Page {
    pub(super) to: Seq,
    pub(super) seen: Vec<Seen>,
    /// What the directory learned; `None`: that is left to the transaction.
    pub(super) learned: Option<(Taught, Vec<directory::Change>)>,
}

/// Works out what a page teaches. Only this task writes to the directory, so the writer's thread, which every callback
/// waits for, needs not do that.
pub(super) fn study(store: &Store, page: &crate::store::Page) -> Result<Page, Error> {
    let seen: Vec<Seen> = page.entries.iter().filter_map(decode).collect();
    let to = page.looked_to;
    // What a verified friend changes is known once its command is found: in the transaction, in the events' order.
    if seen.iter().any(|seen| seen.event.kind == Kind::FriendVerified) {
        return Ok(Page { to, seen, learned: None });
    }
    let mut draft = directory::Draft::new(store);
    let mut taught = Taught::default();
    for seen in &seen {
        taught.merge(Taught::of(directory::learn_into(&mut draft, &seen.event, seen.time, seen.seq)?));
    }
    Ok(Page { to, seen, learned: Some((taught, draft.changes())) })
}

/// Cuts a page where its lists become too long to be decoded together; a long one is the only event then.
fn cut(page: &mut crate::store::Page) {
    let mut lists = 0;
    let too_long = page.entries.iter().position(|stored| {
        lists += if entry::has_list(stored) { stored.body.len() } else { 0 };
        lists > LISTS_BYTES_MAX
    });
    // When it is the first, nothing of what follows is taken with it.
    let Some(kept) = too_long.map(|at| at.max(1)).filter(|kept| *kept < page.entries.len()) else { return };
    page.entries.truncate(kept);
    page.looked_to = page.entries[kept - 1].seq;
}

/// An event with a long list, being taken in.
pub(super) struct Long {
    pub(super) seq: Seq,
    pub(super) time: Time,
    pub(super) pieces: Pieces<Bytes>,
    /// What finding its question needs.
    pub(super) gathered: Option<Event>,
    pub(super) taught: Taught,
}

impl Long {
    /// The event that a page consists of, when it is one with a long list that can be read.
    fn of(page: &crate::store::Page) -> Option<Self> {
        let [stored] = &page.entries[..] else { return None };
        if stored.body.len() <= LISTS_BYTES_MAX || !entry::has_list(stored) {
            return None;
        }
        let pieces = entry::pieces(stored).ok()?;
        Some(Self { seq: stored.seq, time: stored.time, pieces, gathered: None, taught: Taught::default() })
    }

    /// Works out what the next piece teaches, unless there is none. What the one before taught has been written.
    pub(super) fn study(&mut self, store: &Store) -> Result<Option<Vec<directory::Change>>, Error> {
        let Ok(Some(piece)) = entry::piece(&mut self.pieces) else { return Ok(None) };
        let is_first = self.gathered.is_none();
        let mut draft = directory::Draft::new(store);
        // As many members as a room can have are in the first piece.
        if is_first || piece.kind != Kind::RoomMembers {
            self.taught.merge(Taught::of(directory::learn_into(&mut draft, &piece, self.time, self.seq)?));
        }
        answer::gather(&mut self.gathered, piece);
        Ok(Some(draft.changes()))
    }
}

/// How far reading a page has come.
pub(super) enum Studied {
    Done(Page),
    /// It is one long list.
    Long(Box<Long>, Seq),
    /// It has more than a page's bytes.
    Large(crate::store::Page),
    /// What comes is large, and was not read.
    Left,
}

/// Reads a page, and takes in what is small; whether it is large. With `small`, what is large is left. Blocking.
pub(super) fn read(store: &Store, at: Seq, small: bool) -> Result<(Studied, bool), Error> {
    let mut page = match store.read(&Query { after: at, small, ..Query::default() }, PAGE_BYTES)? {
        Read::Page(page) => page,
        Read::Dropped(Dropped { from, to }) => {
            tracing::error!(%from, %to, "events were dropped before anything was learned from them");
            crate::store::Page { looked_to: to, ..crate::store::Page::default() }
        }
    };
    if page.large && page.looked_to <= at {
        return Ok((Studied::Left, true));
    }
    cut(&mut page);
    let bytes: usize = page.entries.iter().map(|stored| stored.body.len()).sum();
    let studied = if let Some(long) = Long::of(&page) {
        Studied::Long(Box::new(long), page.looked_to)
    } else if bytes <= PAGE_BYTES {
        Studied::Done(study(store, &page)?)
    } else {
        Studied::Large(page)
    };
    Ok((studied, bytes > PAGE_BYTES))
}

fn decode(stored: &Stored) -> Option<Seen> {
    // What the daemon itself tells, it knows.
    if entry::is_own(stored) {
        return None;
    }
    Some(Seen { seq: stored.seq, time: stored.time, event: entry::decoded(stored).ok()? })
}

/// What changed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taught {
    pub(super) anything: bool,
    pub(super) accounts: bool,
    pub(super) commands: bool,
}

impl Taught {
    pub(super) fn of(learned: directory::Learned) -> Self {
        Self { anything: learned.changed, accounts: learned.accounts, commands: false }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.anything |= other.anything;
        self.accounts |= other.accounts;
        self.commands |= other.commands;
    }
}
