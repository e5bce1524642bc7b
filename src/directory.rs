//! What the events teach: accounts, people, rooms and their members, open friend requests (contract 3, 5, 7).
//!
//! Promises: the newest event wins, field by field; a field that an event leaves open never wipes out what is known.
//! Everything is kept per account. [`learn()`] writes only where something changed, so an ordinary message of a known
//! chat costs two or three reads and no write; a list of contacts is learned in one pass. Ids, names and lists from
//! the wire are bounded before they are stored.
//!
//! It is derived data: all of it stands in the log. A value that cannot be read counts as unknown and is learned anew.
//!
//! Leaves to others: reading the log and when to call [`learn()`] (`daemon::react`), which account a name means and when
//! a client polled (`daemon::accounts`), and asking the client for what is not known.
//!
//! What no event says by itself is learned from the end of a command ([`unlearn()`]): who is missing from a whole list,
//! and who was deleted.

mod draft;
mod learn;
mod map;
mod names;
mod presence;
mod query;
mod record;
mod unlearn;

pub use draft::{Change, Draft};
pub use learn::{ACCOUNTS_MAX, Learned};
pub use names::NameCache;
pub use presence::{Seat, Sign};
pub use record::{Account, ContactRow, Entry, IdKind, Names, Request, RoomRow};
pub use unlearn::{Ended, Lesson, Told, unlearn};

use crate::clock::Time;
use crate::control::{DirectoryQuery, ResolveQuery};
use crate::protocol::contact::Member;
use crate::protocol::event::Event;
use crate::seq::Seq;
use crate::store::{Error, Store, Txn};

/// Takes in what an event tells, as a part of the caller's transaction.
pub fn learn(tx: &mut Txn<'_>, event: &Event, time: Time, seq: Seq) -> Learned {
    let Ok(learned) = learn::learn(tx, event, time, seq);
    learned
}

/// Takes in what an event tells, into a draft. A message that can teach nothing beyond one that just taught nothing is
/// passed over: most are such.
///
/// # Errors
/// When the store cannot be read.
pub fn learn_into(draft: &mut Draft<'_>, event: &Event, time: Time, seq: Seq) -> Result<Learned, Error> {
    let told = learn::told_by_message(event).map(|told| draft.told(&told));
    if told.is_some_and(|told| draft.knows(told)) {
        return Ok(Learned::default());
    }
    let learned = learn::learn(draft, event, time, seq)?;
    draft.note(told, learned);
    Ok(learned)
}

/// Closes the friend request with this v1: a client has fetched `command`, which accepts it, and the event `seq` (96)
/// confirmed it. The event itself does not tell whose request it was, so the one who knows the command has to say.
pub fn accepted(tx: &mut Txn<'_>, account: &str, v1: &str, command: u64, time: Time, seq: Seq) -> Learned {
    let Ok(learned) = learn::accepted(tx, account, v1, command, time, seq);
    learned
}

/// Forgets an account and all that it knows, in steps of at most `max` keys; true when nothing is left of it. What is
/// told of it later is learned anew. The caller sees to it that nothing is learned from old events meanwhile.
pub fn forget(tx: &mut Txn<'_>, account: &str, max: usize) -> bool {
    let Ok(done) = learn::forget(tx, account, max);
    done
}

/// The account that a process drives, as far as events told.
pub fn account_of_pid(tx: &Txn<'_>, pid: u64) -> Option<String> {
    let Ok(account) = learn::account_of_pid(tx, pid);
    account
}

/// How many members a room of an account has, where that was told.
pub fn members_of(tx: &Txn<'_>, account: &str, room: &str) -> Option<u64> {
    let Ok(room) = map::get::<RoomRow, _>(tx, account, room);
    room.filter(|room| !room.or_more)?.count
}

/// Whether an event's `cwxid` can be an account that is kept.
#[must_use]
pub fn is_account(id: &str) -> bool {
    map::is_id(id)
}

/// Whether a name has the form `wxid_…`: that is an id, also where somebody has given himself such a nick.
#[must_use]
pub fn is_wxid(name: &str) -> bool {
    is_account(name) && name.strip_prefix("wxid_").is_some_and(|rest| !rest.is_empty())
}

/// Every account that an event came from, by id.
///
/// # Errors
/// When the store cannot be read.
pub fn accounts(store: &Store) -> Result<Vec<Account>, Error> {
    query::accounts(store)
}

/// The same, as a transaction has them.
#[must_use]
pub fn accounts_in(tx: &Txn<'_>) -> Vec<Account> {
    let Ok(accounts) = query::accounts(tx);
    accounts
}

/// People, then rooms, each by account and id. `friends` leaves out rooms.
///
/// # Errors
/// When the store cannot be read.
pub fn contacts(store: &Store, query: &DirectoryQuery) -> Result<Vec<Entry>, Error> {
    query::contacts(store, query)
}

/// A person or room; without an account, as the account knows it that heard of it last.
///
/// # Errors
/// When the store cannot be read.
pub fn contact(store: &Store, account: Option<&str>, wxid: &str) -> Result<Option<Entry>, Error> {
    query::contact(store, account, wxid)
}

/// Rooms, by account and id.
///
/// # Errors
/// When the store cannot be read.
pub fn rooms(store: &Store, query: &DirectoryQuery) -> Result<Vec<RoomRow>, Error> {
    query::rooms(store, query)
}

/// The members of a room as the newest list told them, in that list's order; empty when none came yet.
///
/// # Errors
/// When the store cannot be read.
pub fn members(store: &Store, room: &str, query: &DirectoryQuery) -> Result<Vec<Member<ContactRow>>, Error> {
    query::members(store, room, query)
}

/// What people are called, for whoever shows many events: everybody is looked up once.
#[must_use]
pub fn called(store: &Store) -> NameCache<'_> {
    NameCache::of(store)
}

/// Friend requests, oldest first: the newest of each person. Those that were accepted only when asked for.
///
/// # Errors
/// When the store cannot be read.
pub fn requests(store: &Store, query: &DirectoryQuery) -> Result<Vec<Request>, Error> {
    query::requests(store, query)
}

/// Whom a name means (contract 5, Names): the first that match of an exact id, a remark, the nick or username of a
/// friend or the nick of a room, a member of the room that is meant; as names are compared, and no guessing. One entry
/// an id, by id; of several accounts that know it, the one that heard of it last.
///
/// # Errors
/// When the store cannot be read.
pub fn resolve(store: &Store, query: &ResolveQuery) -> Result<Vec<Entry>, Error> {
    query::resolve(store, query)
}

#[cfg(test)]
mod tests;
