//! Questions to the directory.
//!
//! Promises: what is asked for is found in one pass, at most one page of the store in memory beside the result; the
//! order is that of the keys (account, then id), so a limit always gives the same ones.
//! Leaves to others: which account a name means; here an account is an id.

use super::learn;
use super::map::{self, Record, View};
use super::record::{Account, ContactRow, Entry, Listed, Request, RoomRow, take};
use crate::control::{DirectoryQuery, ResolveQuery};
use crate::protocol::contact::Member;
use crate::protocol::id;
use crate::protocol::name::folded;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Which of people and rooms are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Only {
    people: bool,
    rooms: bool,
}

impl Only {
    fn read(only: Option<&str>) -> Self {
        Self { people: only != Some("rooms"), rooms: only != Some("people") }
    }
}

/// A name to look for, as it is compared.
struct Wanted(String);

impl Wanted {
    fn read(name: &str) -> Self {
        Self(folded(name))
    }

    /// One of the names contains it, or the id begins with it.
    fn is_in(&self, id: &str, names: &[Option<&str>]) -> bool {
        names.iter().flatten().any(|name| folded(name).contains(&self.0)) || id.to_lowercase().starts_with(&self.0)
    }

    fn is(&self, name: Option<&str>) -> bool {
        name.is_some_and(|name| folded(name) == self.0)
    }
}

/// The filter and the bound that a query asks for.
struct Sieve {
    name: Option<Wanted>,
    left: usize,
}

impl Sieve {
    fn read(query: &DirectoryQuery) -> Self {
        let name = query.name.as_deref().map(Wanted::read).filter(|wanted| !wanted.0.is_empty());
        let left = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Self { name, left }
    }

    fn lets_through(&self, id: &str, names: &[Option<&str>]) -> bool {
        self.name.as_ref().is_none_or(|wanted| wanted.is_in(id, names))
    }
}

pub(super) fn accounts<V: View>(view: &V) -> Result<Vec<Account>, V::Error> {
    let mut accounts = Vec::new();
    map::each(view, map::ACCOUNTS, map::range(None), |_, value| {
        accounts.extend(map::decode::<Account>(value));
        ControlFlow::Continue(())
    })?;
    Ok(accounts)
}

/// Every record of a kind, of an account or of all, until `found` breaks.
fn each<R: Record, V: View>(
    view: &V,
    account: Option<&str>,
    mut found: impl FnMut(R) -> ControlFlow<()>,
) -> Result<(), V::Error> {
    map::each(view, R::SPACE, map::range(account), |key, value| {
        map::found(key, value).map_or(ControlFlow::Continue(()), &mut found)
    })
}

pub(super) fn contacts<V: View>(view: &V, query: &DirectoryQuery) -> Result<Vec<Entry>, V::Error> {
    let only = Only::read(query.only.as_deref());
    let mut sieve = Sieve::read(query);
    let mut entries = Vec::new();
    if only.people && sieve.left > 0 {
        each(view, query.account.as_deref(), |contact: ContactRow| {
            if (contact.friend || !query.friends) && sieve.lets_through(&contact.wxid, &contact.names()) {
                entries.push(Entry::Contact(contact));
                sieve.left -= 1;
            }
            more(sieve.left)
        })?;
    }
    if only.rooms && !query.friends {
        entries.extend(sifted_rooms(view, query.account.as_deref(), sieve)?.into_iter().map(Entry::Room));
    }
    Ok(entries)
}

fn more(left: usize) -> ControlFlow<()> {
    if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

pub(super) fn rooms<V: View>(view: &V, query: &DirectoryQuery) -> Result<Vec<RoomRow>, V::Error> {
    sifted_rooms(view, query.account.as_deref(), Sieve::read(query))
}

fn sifted_rooms<V: View>(view: &V, account: Option<&str>, mut sieve: Sieve) -> Result<Vec<RoomRow>, V::Error> {
    let mut rooms = Vec::new();
    if sieve.left == 0 {
        return Ok(rooms);
    }
    each(view, account, |room: RoomRow| {
        if !room.left && sieve.lets_through(&room.wxid, &room.names()) {
            rooms.push(room);
            sieve.left -= 1;
        }
        more(sieve.left)
    })?;
    Ok(rooms)
}

/// The record of an id that has what is asked for; without an account, of the one that heard of it last.
fn newest<R: Record, V: View>(
    view: &V,
    account: Option<&str>,
    id: &str,
    has: impl Fn(&R) -> bool,
) -> Result<Option<R>, V::Error> {
    if let Some(account) = account {
        return Ok(map::get(view, account, id)?.filter(has));
    }
    let mut newest: Option<R> = None;
    for account in accounts(view)? {
        let found = map::get(view, &account.account, id)?.filter(&has);
        if let Some(found) = found
            && newest.as_ref().is_none_or(|newest| newest.seq() < found.seq())
        {
            newest = Some(found);
        }
    }
    Ok(newest)
}

pub(super) fn contact<V: View>(view: &V, account: Option<&str>, wxid: &str) -> Result<Option<Entry>, V::Error> {
    if id::is_room(wxid) {
        return Ok(newest(view, account, wxid, |_| true)?.map(Entry::Room));
    }
    Ok(newest(view, account, wxid, |_| true)?.map(Entry::Contact))
}

pub(super) fn members<V: View>(
    view: &V,
    room: &str,
    query: &DirectoryQuery,
) -> Result<Vec<Member<ContactRow>>, V::Error> {
    let mut sieve = Sieve::read(query);
    let mut members = Vec::new();
    let known = newest(view, query.account.as_deref(), room, |room: &RoomRow| room.members_known > 0)?;
    let Some(known) = known else { return Ok(members) };
    for Listed { id, nick } in learn::roster(view, &map::key(&known.account, room))? {
        if sieve.left == 0 {
            break;
        }
        let mut contact: ContactRow = map::get(view, &known.account, &id)?.unwrap_or_else(|| {
            // A list of ids named them, and nothing else did.
            let mut contact = ContactRow::default();
            contact.place(&known.account, &id);
            contact.stamp(known.seq, known.updated);
            contact
        });
        take(&mut contact.nick, nick);
        if (contact.friend || !query.friends) && sieve.lets_through(&id, &contact.names()) {
            members.push(Member { room: Some(room.to_owned()), contact });
            sieve.left -= 1;
        }
    }
    Ok(members)
}

pub(super) fn requests<V: View>(view: &V, query: &DirectoryQuery) -> Result<Vec<Request>, V::Error> {
    let sieve = Sieve::read(query);
    let requests = learn::requests(view, query.account.as_deref())?.into_iter().map(|(_, request)| request);
    let mut requests: Vec<Request> = requests
        .filter(|request| query.accepted || request.accepted.is_none())
        .filter(|request| sieve.lets_through(request.wxid.as_deref().unwrap_or_default(), &[request.nick.as_deref()]))
        .collect();
    requests.sort_by_key(|request| request.seq);
    requests.truncate(sieve.left);
    Ok(requests)
}

/// How well a name means somebody, the best first (contract 5): the first rank in which it means anybody decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It is the id.
    Id,
    /// The account itself calls them so.
    Remark,
    /// They call themselves so: friends, rooms that the account is in; with `strangers` everybody.
    Name,
    /// A member of the room that is meant does.
    Member,
}

/// Whom a name means so far.
struct Matches {
    rank: Option<Rank>,
    found: BTreeMap<String, Entry>,
}

impl Matches {
    fn add(&mut self, rank: Rank, entry: Entry) {
        if self.rank.is_none_or(|best| rank < best) {
            self.rank = Some(rank);
            self.found.clear();
        }
        let known = self.found.get(entry.wxid());
        if self.rank == Some(rank) && known.is_none_or(|known| known.seq() < entry.seq()) {
            self.found.insert(entry.wxid().to_owned(), entry);
        }
    }
}

pub(super) fn resolve<V: View>(view: &V, query: &ResolveQuery) -> Result<Vec<Entry>, V::Error> {
    let (wanted, id) = (Wanted::read(&query.name), query.name.trim());
    if wanted.0.is_empty() {
        return Ok(Vec::new());
    }
    let only = Only::read(query.only.as_deref());
    let account = query.account.as_deref();
    let mut matches = Matches { rank: None, found: BTreeMap::new() };
    if only.people && id::is_system(id) {
        let mut contact = ContactRow::default();
        contact.place(account.unwrap_or_default(), id);
        matches.add(Rank::Id, Entry::Contact(contact));
    }
    let rank_of = |contact: &ContactRow| {
        let by_name = || wanted.is(contact.nick.as_deref()) || wanted.is(contact.username.as_deref());
        match contact {
            contact if contact.wxid == id => Some(Rank::Id),
            contact if wanted.is(contact.remark.as_deref()) => Some(Rank::Remark),
            contact if (query.strangers || contact.friend) && by_name() => Some(Rank::Name),
            _ => None,
        }
    };
    if only.people {
        each(view, account, |contact: ContactRow| {
            if let Some(rank) = rank_of(&contact) {
                matches.add(rank, Entry::Contact(contact));
            }
            ControlFlow::Continue(())
        })?;
    }
    if only.rooms {
        each(view, account, |room: RoomRow| {
            let rank = match &room {
                room if room.left => None,
                room if room.wxid == id => Some(Rank::Id),
                room if wanted.is(room.remark.as_deref()) => Some(Rank::Remark),
                room if wanted.is(room.nick.as_deref()) => Some(Rank::Name),
                _ => None,
            };
            if let Some(rank) = rank {
                matches.add(rank, Entry::Room(room));
            }
            ControlFlow::Continue(())
        })?;
    }
    if let Some(room) = query.room.as_deref().filter(|_| only.people && matches.rank.is_none()) {
        let of_room = DirectoryQuery { account: query.account.clone(), ..DirectoryQuery::default() };
        for Member { contact, .. } in members(view, room, &of_room)? {
            if contact.wxid == id || contact.names().into_iter().any(|name| wanted.is(name)) {
                matches.add(Rank::Member, Entry::Contact(contact));
            }
        }
    }
    Ok(matches.found.into_values().collect())
}
