//! Which event teaches what (contract 7's table; wehelp-api.zh.md part 一).
//!
//! | type | teaches |
//! |---|---|
//! | any with `cwxid` | the account, and the process that drives it |
//! | 67, 66, 90, 98 | whether it is logged in |
//! | 71 | the account's own nick and picture, or a contact |
//! | 210, 97 | contacts, as friends; the list closes requests of those in it |
//! | 211 | rooms and the ids of their members; `exist` false: the account has left it |
//! | 77 | members of a room, as contacts; the room |
//! | 78 | the chat's name, who spoke; 37: a friend request; notices of a new friendship close it, a notice that the account was put out of a room ends that |
//! | 69 | a room |
//! | 81, 88 | a contact's tickets, its picture |
//! | 95 | pictures |
//!
//! Promises: writes only what changed; takes a list in one pass. A list only adds: who is missing from it may be told
//! by the next piece. What a list teaches by what it leaves out is learned once it is known to be whole (`unlearn`).
//! Leaves to others: what a record does with a fact (`record`).

use super::map::{self, Map, Record, View};
use super::presence::Sign;
use super::record::{self, Account, ContactRow, Listed, Names, Request, RoomRow, take};
use crate::clock::Time;
use crate::protocol::contact::{Contact, Room};
use crate::protocol::decoded::{ContactPacket, FriendRequest, NoticeTold, RoomMembers};
use crate::protocol::event::{Decoded, Event, Kind};
use crate::protocol::id;
use crate::protocol::refusal::FRIENDSHIP_NOTICES;
use crate::seq::Seq;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::ops::ControlFlow;

/// The most accounts that are kept: each is one WeChat that runs on a PC of the user; anybody who reaches the client
/// door could invent more.
pub const ACCOUNTS_MAX: usize = 1000;
/// The most members of a room that are kept: WeChat allows 500.
pub(super) const MEMBERS_MAX: usize = 2000;
/// The most contacts, rooms or pictures that are taken from one event, so that one transaction stays bounded: WeChat
/// allows 10,000 friends.
pub(super) const LIST_MAX: usize = 50_000;
/// The most friend requests of an account; accepted ones go first, then the oldest. `WeChat` forgets them after some
/// weeks itself.
const REQUESTS_MAX: usize = 1000;

/// How the message begins that WeChat sends in the name of who accepted.
const ACCEPTED: [&str; 4] = [
    "我通过了你的朋友验证请求",
    "我通過了你的朋友驗證請求",
    "I've accepted your friend request",
    "I accepted your friend request",
];

/// What an event changed in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Learned {
    /// Something was written.
    pub changed: bool,
    /// An account was: a new one, its nick, its process, or whether it is logged in.
    pub accounts: bool,
    /// Nothing was, and the same told again later might be.
    pub(super) later: bool,
}

/// Takes in what an event tells.
pub(super) fn learn<M: Map>(map: &mut M, event: &Event, time: Time, seq: Seq) -> Result<Learned, M::Error> {
    let mut lesson = Lesson { map, account: String::new(), time, seq, learned: Learned::default() };
    if lesson.account(event)? {
        lesson.people(event)?;
    }
    Ok(lesson.learned)
}

/// All that a message tells of accounts, chats and people; `None` for one that tells more.
pub(super) fn told_by_message(event: &Event) -> Option<impl Hash> {
    let only_message = event.r#type == Some(78) && event.kind != Kind::MessageFriendRequest;
    (only_message && !tells_of_friendship(event) && !puts_us_out(event)).then_some((
        &event.account,
        event.pid,
        &event.chat,
        &event.from,
        &event.nick,
        event.is_self,
        is_talk(event.kind),
    ))
}

/// Closes the request with this v1, and remembers the friend.
pub(super) fn accepted<M: Map>(
    map: &mut M,
    account: &str,
    v1: &str,
    command: u64,
    time: Time,
    seq: Seq,
) -> Result<Learned, M::Error> {
    let mut lesson = Lesson { map, account: account.to_owned(), time, seq, learned: Learned::default() };
    let requests = requests(lesson.map, Some(account))?;
    for (key, mut request) in requests.into_iter().filter(|(_, request)| request.v1.as_deref() == Some(v1)) {
        request.command = Some(command);
        request.accepted.get_or_insert(time);
        lesson.map.put(map::REQUESTS, &key, map::encode(&request));
        lesson.learned.changed = true;
        if let Some(wxid) = request.wxid {
            lesson.change(&wxid, |known: &mut ContactRow| known.befriend(seq))?;
        }
    }
    Ok(lesson.learned)
}

/// Forgets what an account knows, then the account; true when nothing is left.
pub(super) fn forget<M: Map>(map: &mut M, account: &str, max: usize) -> Result<bool, M::Error> {
    let (from, to) = map::range(Some(account));
    for space in [map::PEOPLE, map::ROOMS, map::ROSTERS, map::REQUESTS] {
        let found = map.scan(space, &from, &to, max)?;
        if !found.is_empty() {
            found.iter().for_each(|(key, _)| map.delete(space, key));
            return Ok(false);
        }
    }
    let pid = stored_account(map, account)?.and_then(|known| known.pid);
    if let Some(pid) = pid
        && account_of_pid(map, pid)?.as_deref() == Some(account)
    {
        map.delete(map::PIDS, &pid.to_be_bytes());
    }
    map.delete(map::ACCOUNTS, account.as_bytes());
    Ok(true)
}

/// The account that a process drives.
pub(super) fn account_of_pid<V: View>(view: &V, pid: u64) -> Result<Option<String>, V::Error> {
    Ok(view.get(map::PIDS, &pid.to_be_bytes())?.and_then(|account| String::from_utf8(account).ok()))
}

/// An account as stored.
fn stored_account<V: View>(view: &V, account: &str) -> Result<Option<Account>, V::Error> {
    Ok(view.get(map::ACCOUNTS, account.as_bytes())?.and_then(|value| map::decode(&value)))
}

/// Open requests with their keys, of an account or of all.
pub(super) fn requests<V: View>(view: &V, account: Option<&str>) -> Result<Vec<(Vec<u8>, Request)>, V::Error> {
    let mut requests = Vec::new();
    map::each(view, map::REQUESTS, map::range(account), |key, value| {
        requests.extend(map::decode(value).map(|request| (key.to_vec(), request)));
        ControlFlow::Continue(())
    })?;
    Ok(requests)
}

/// One event, being taken in.
struct Lesson<'m, M> {
    map: &'m mut M,
    account: String,
    time: Time,
    seq: Seq,
    learned: Learned,
}

impl<M: Map> Lesson<'_, M> {
    /// What the event tells of the account that it came from; false when it came from none that we keep.
    fn account(&mut self, event: &Event) -> Result<bool, M::Error> {
        let pid = event.pid.filter(|pid| *pid != 0);
        let sign = Sign::of(event.kind, &event.decoded);
        self.account = match (event.account.as_deref().filter(|account| map::is_id(account)), pid) {
            (Some(account), _) => account.to_owned(),
            // Who is logged out may be nobody already.
            (None, Some(pid)) if sign == Sign::Out => match account_of_pid(self.map, pid)? {
                Some(account) => account,
                None => return Ok(false),
            },
            _ => return Ok(false),
        };
        let known = stored_account(self.map, &self.account)?;
        if known.is_none() && self.map.scan(map::ACCOUNTS, &[], &[0xff], ACCOUNTS_MAX)?.len() >= ACCOUNTS_MAX {
            return Ok(false);
        }
        let mut account = known.clone().unwrap_or_default();
        self.account.clone_into(&mut account.account);
        self.place(&mut account, sign, pid)?;
        let Names { nick, username } = Names::of(&event.decoded);
        take(&mut account.nick, nick);
        take(&mut account.username, username);
        let profile = record::own_profile(&event.decoded);
        take(&mut account.avatar, profile.and_then(|told| record::url(&told.avatar)));
        self.learned.later = account.logged_in == Some(false);
        if known.as_ref() != Some(&account) {
            self.put_account(account);
        }
        Ok(true)
    }

    /// Takes in where the account is: its old process drives nobody, and who had the new one is there no more.
    fn place(&mut self, account: &mut Account, sign: Sign, pid: Option<u64>) -> Result<(), M::Error> {
        let owner = match pid {
            Some(pid) if account.pid != Some(pid) => {
                account_of_pid(self.map, pid)?.filter(|owner| *owner != account.account)
            }
            _ => None,
        };
        let mut holder = match owner {
            Some(owner) => stored_account(self.map, &owner)?,
            None => None,
        };
        let (before, mut seat) = (account.seat(), account.seat());
        let mut held = holder.as_ref().map(Account::seat);
        seat.take(sign, pid, held.as_mut(), self.time);
        account.sit(seat);
        if let (Some(holder), Some(held)) = (&mut holder, held)
            && held != holder.seat()
        {
            holder.sit(held);
            self.put_account(holder.clone());
        }
        if seat.pid == before.pid {
            return Ok(());
        }
        if let Some(old) = before.pid
            && account_of_pid(self.map, old)?.as_ref() == Some(&account.account)
        {
            self.map.delete(map::PIDS, &old.to_be_bytes());
        }
        if let Some(pid) = seat.pid {
            self.map.put(map::PIDS, &pid.to_be_bytes(), account.account.clone().into_bytes());
        }
        Ok(())
    }

    fn put_account(&mut self, mut account: Account) {
        (account.seq, account.updated) = (self.seq, self.time);
        self.map.put(map::ACCOUNTS, account.account.as_bytes(), map::encode(&account));
        (self.learned.changed, self.learned.accounts) = (true, true);
    }

    /// What the event tells of others.
    fn people(&mut self, event: &Event) -> Result<(), M::Error> {
        match &event.decoded {
            Decoded::Profile { contact, own: false } => self.contact(contact, None),
            Decoded::FriendV2 { contact, v2 } => self.contact(contact, record::ticket(v2)),
            Decoded::Contacts(told) => self.contact_list(&told.contacts),
            Decoded::ContactsPacket { wxids } => {
                let friends: HashSet<&str> = ids(wxids).collect();
                ids(wxids).try_for_each(|id| self.friend(id, &Contact::default()))?;
                self.befriended(&friends)
            }
            Decoded::Rooms(told) => told.rooms.iter().try_for_each(|room| self.room(room)),
            Decoded::RoomMembers(told) => self.room_members(told, event.chat.as_deref()),
            Decoded::RoomCreated { room } => match record::id_of(room).filter(|id| id::is_room(id)) {
                Some(room) => self.change(room, |known: &mut RoomRow| known.left = false),
                None => Ok(()),
            },
            Decoded::ContactPacket(packet) => self.packet(packet),
            Decoded::Avatars { avatars } => {
                avatars.iter().try_for_each(|(id, url)| url.as_str().map_or(Ok(()), |url| self.picture(id, url)))
            }
            Decoded::FriendRequest(told) if event.is_self != Some(true) => self.request(told),
            _ if event.kind == Kind::MessageFriendRequest && event.is_self != Some(true) => Ok(()),
            _ if event.r#type == Some(78) => self.message(event),
            _ => Ok(()),
        }
    }

    /// Takes in the contact that an event is about, and the ticket that it has.
    fn contact(&mut self, told: &Contact, v2: Option<String>) -> Result<(), M::Error> {
        let Some(id) = record::id_of(&told.wxid) else { return Ok(()) };
        if id::is_room(id) {
            return self.room_contact(id, told);
        }
        self.change(id, |known: &mut ContactRow| {
            known.empty(told.emptied);
            known.take(told);
            take(&mut known.v2, v2);
        })
    }

    /// A contact that is a room.
    fn room_contact(&mut self, id: &str, told: &Contact) -> Result<(), M::Error> {
        self.change(id, |known: &mut RoomRow| {
            known.empty(told.emptied);
            known.take_contact(told);
        })
    }

    /// Somebody is in a contact list.
    fn friend(&mut self, id: &str, told: &Contact) -> Result<(), M::Error> {
        if id::is_room(id) {
            return self.room_contact(id, told);
        }
        let (is_other, seq) = (id != self.account, self.seq);
        self.change(id, |known: &mut ContactRow| {
            known.empty(told.emptied);
            known.take(told);
            if is_other {
                known.befriend(seq);
            }
        })
    }

    fn contact_list(&mut self, contacts: &[Contact]) -> Result<(), M::Error> {
        for told in contacts {
            record::id_of(&told.wxid).map_or(Ok(()), |id| self.friend(id, told))?;
        }
        // The client answers questions about single ids with a list too. Of somebody who asks to be a friend it then
        // tells what WeChat's flags say, and that is not that they are one already.
        let marked = contacts.iter().filter(|told| told.r#type.is_none_or(|flags| flags & 1 == 1));
        self.befriended(&marked.filter_map(|told| record::id_of(&told.wxid)).collect())
    }

    /// A room of a 211 event.
    fn room(&mut self, told: &Room) -> Result<(), M::Error> {
        let Some(room) = record::id_of(&told.wxid).filter(|id| id::is_room(id)) else { return Ok(()) };
        let members = self.add_members(room, ids(&told.members).map(|id| (id, None)))?;
        self.change(room, |known: &mut RoomRow| {
            known.empty(told.emptied);
            known.take(told);
            known.left = told.exist == Some(false);
            known.members_known = members.unwrap_or(known.members_known);
        })
    }

    fn room_members(&mut self, told: &RoomMembers, chat: Option<&str>) -> Result<(), M::Error> {
        let room = record::id_of(&told.room).or(chat);
        let Some(room) = room.filter(|id| map::is_id(id) && id::is_room(id)) else { return Ok(()) };
        let members: Vec<(&str, &Contact)> =
            told.members.iter().filter_map(|member| Some((record::id_of(&member.wxid)?, member))).collect();
        for (id, member) in members.iter().take(MEMBERS_MAX).filter(|(id, _)| !id::is_room(id)) {
            self.change(id, |known: &mut ContactRow| known.take_member(member))?;
        }
        let count = members.iter().map(|(id, _)| *id).take(MEMBERS_MAX).collect::<HashSet<_>>().len();
        let known_now = self.add_members(room, members.iter().map(|(id, member)| (*id, record::name(&member.nick))))?;
        self.change(room, |known: &mut RoomRow| {
            if let Some(info) = &told.info {
                known.take_info(info);
            }
            // A part of the members is not how many there are; but there are not fewer.
            let count = u64::try_from(count).ok().filter(|count| *count > 0);
            if count > known.count {
                (known.count, known.or_more) = (count, true);
            }
            known.members_known = known_now.unwrap_or(known.members_known);
        })
    }

    /// Adds to a room's members, and takes in their nicks there; returns how many are known then, unless none was told.
    fn add_members<'i>(
        &mut self,
        room: &str,
        told: impl Iterator<Item = (&'i str, Option<String>)>,
    ) -> Result<Option<u64>, M::Error> {
        let key = map::key(&self.account, room);
        let before = roster(self.map, &key)?;
        let mut known = before.clone();
        let mut places: HashMap<String, usize> =
            known.iter().enumerate().map(|(place, member)| (member.id.clone(), place)).collect();
        let mut any = false;
        for (id, nick) in told.take(MEMBERS_MAX) {
            any = true;
            match places.get(id) {
                Some(place) => take(&mut known[*place].nick, nick),
                None if known.len() < MEMBERS_MAX => {
                    places.insert(id.to_owned(), known.len());
                    known.push(Listed { id: id.to_owned(), nick });
                }
                None => {}
            }
        }
        if known != before {
            self.map.put(map::ROSTERS, &key, map::encode(&known));
            self.learned.changed = true;
        }
        Ok(if any { u64::try_from(known.len()).ok() } else { None })
    }

    /// A packet tells whose its tickets and pictures are only when it is about one id and there is no other in it.
    fn packet(&mut self, told: &ContactPacket) -> Result<(), M::Error> {
        let others: Vec<&str> = ids(&told.wxids).filter(|id| *id != self.account).take(2).collect();
        let [id] = others[..] else { return Ok(()) };
        if told.about.iter().all(|about| about != id) {
            return Ok(());
        }
        let mut pictures = told.avatars.iter();
        if id::is_room(id) {
            return self.change(id, |known: &mut RoomRow| {
                take(&mut known.avatar, pictures.find_map(|url| record::bounded_url(url)));
            });
        }
        self.change(id, |known: &mut ContactRow| {
            pictures.for_each(|url| known.take_picture(url));
            take(&mut known.v1, record::ticket(&told.v1));
            take(&mut known.v2, record::ticket(&told.v2));
        })
    }

    fn picture(&mut self, id: &str, url: &str) -> Result<(), M::Error> {
        if !map::is_id(id) {
            return Ok(());
        }
        if id::is_room(id) {
            return self.change(id, |known: &mut RoomRow| take(&mut known.avatar, record::bounded_url(url)));
        }
        self.change(id, |known: &mut ContactRow| known.take_picture(url))
    }

    /// Opens a friend request, in the place of an older one of the same person. One that was accepted is kept beside it,
    /// by its ticket: `WeChat` tells of it again when it starts.
    fn request(&mut self, told: &FriendRequest) -> Result<(), M::Error> {
        let Some(mut request) = Request::read(told, &self.account, self.time, self.seq) else { return Ok(()) };
        let by_ticket = |request: &Request| {
            let v1 = request.v1.as_deref().unwrap_or_default();
            map::key(&request.account, &format!("#{:08x}", crc32fast::hash(v1.as_bytes())))
        };
        let kept =
            |map: &M, key: &[u8]| Ok(map.get(map::REQUESTS, key)?.and_then(|value| map::decode::<Request>(&value)));
        let is_the_same = |known: &Request| (&known.v1, &known.v2) == (&request.v1, &request.v2);
        let mut key = by_ticket(&request);
        let mut known = kept(self.map, &key)?.filter(is_the_same);
        if let Some(wxid) = request.wxid.as_deref().filter(|_| known.is_none()) {
            key = map::key(&self.account, wxid);
            known = kept(self.map, &key)?;
        }
        let (same, other) = match known {
            Some(known) if is_the_same(&known) => (Some(known), None),
            other => (None, other),
        };
        let is_first = same.is_none() && other.is_none();
        let is_one_more = same.is_none() && other.as_ref().is_none_or(|other| other.accepted.is_some());
        if let Some(accepted) = other.filter(|other| other.accepted.is_some()) {
            self.map.put(map::REQUESTS, &by_ticket(&accepted), map::encode(&accepted));
        }
        if let Some(same) = same {
            request.told_before(same);
        }
        // Somebody who is a friend does not ask; but who asks with other tickets than before has ceased to be one, which no
        // event tells.
        if is_first
            && let Some(wxid) = request.wxid.as_deref()
            && map::get::<ContactRow, _>(self.map, &self.account, wxid)?.is_some_and(|known| known.friend)
        {
            request.accepted = Some(self.time);
        }
        if is_one_more {
            let (from, to) = map::range(Some(&self.account));
            if self.map.scan(map::REQUESTS, &from, &to, REQUESTS_MAX)?.len() >= REQUESTS_MAX {
                let kept = requests(self.map, Some(&self.account))?;
                // Those that were accepted are kept only to be recognised.
                if let Some((oldest, _)) = kept.iter().min_by_key(|(_, r)| (r.accepted.is_none(), r.seq)) {
                    self.map.delete(map::REQUESTS, oldest);
                }
            }
        }
        self.map.put(map::REQUESTS, &key, map::encode(&request));
        self.learned.changed = true;
        let Some(wxid) = request.wxid else { return Ok(()) };
        self.change(&wxid, |known: &mut ContactRow| known.take_request(told))
    }

    /// Closes the requests of new friends.
    fn befriended(&mut self, friends: &HashSet<&str>) -> Result<(), M::Error> {
        for (key, mut request) in requests(self.map, Some(&self.account))? {
            let is_one = request.wxid.as_deref().is_some_and(|wxid| friends.contains(wxid));
            if is_one && request.accepted.is_none() {
                request.accepted = Some(self.time);
                self.map.put(map::REQUESTS, &key, map::encode(&request));
                self.learned.changed = true;
            }
        }
        Ok(())
    }

    /// Any message but a friend request: `nick` is the chat's.
    fn message(&mut self, event: &Event) -> Result<(), M::Error> {
        let Some(chat) = event.chat.as_deref().filter(|id| map::is_id(id) && *id != self.account) else {
            return Ok(());
        };
        let nick = record::name(&event.nick);
        if id::is_room(chat) {
            let (out, talk) = (puts_us_out(event), is_talk(event.kind));
            self.change(chat, |known: &mut RoomRow| {
                take(&mut known.nick, nick);
                // Who hears what is said in a room is in it (again).
                known.left = out || (known.left && !talk);
            })?;
            let speaker = event.from.as_deref().filter(|id| map::is_id(id) && !id::is_room(id) && *id != self.account);
            return speaker.map_or(Ok(()), |id| self.change(id, |_: &mut ContactRow| {}));
        }
        let befriended = tells_of_friendship(event);
        let seq = self.seq;
        self.change(chat, |known: &mut ContactRow| {
            // Whose nick a message of our own has is not specified; a wrong one would mislead `@NAME`.
            if event.is_self != Some(true) {
                take(&mut known.nick, nick);
            }
            if befriended {
                known.befriend(seq);
            }
        })?;
        if befriended { self.befriended(&HashSet::from([chat])) } else { Ok(()) }
    }

    /// Changes what is known of an id, new or not; writes only when something is different then.
    fn change<R: Record>(&mut self, id: &str, apply: impl FnOnce(&mut R)) -> Result<(), M::Error> {
        let known: Option<R> = map::get(self.map, &self.account, id)?;
        let mut record = known.clone().unwrap_or_default();
        record.place(&self.account, id);
        apply(&mut record);
        if known.as_ref() != Some(&record) {
            record.stamp(self.seq, self.time);
            map::put(self.map, &self.account, id, &record);
            self.learned.changed = true;
        }
        Ok(())
    }
}

/// The members of a room, under the room's key.
pub(super) fn roster<V: View>(view: &V, key: &[u8]) -> Result<Vec<Listed>, V::Error> {
    Ok(view.get(map::ROSTERS, key)?.and_then(|value| map::decode(&value)).unwrap_or_default())
}

/// Whether a message says that its chat is with a new friend.
fn tells_of_friendship(event: &Event) -> bool {
    let wordings: &[&str] = match event.kind {
        Kind::MessageSystem => &FRIENDSHIP_NOTICES,
        Kind::MessageText => &ACCEPTED,
        _ => &[],
    };
    event.text.as_deref().is_some_and(|text| wordings.iter().any(|wording| text.starts_with(wording)))
}

/// Whether a person says something with such a message: no notice, recall or request.
fn is_talk(kind: Kind) -> bool {
    use Kind::{
        MessageApp, MessageCall, MessageCard, MessageImage, MessageLocation, MessageSticker, MessageText, MessageVideo,
        MessageVoice,
    };
    matches!(
        kind,
        MessageText
            | MessageImage
            | MessageVoice
            | MessageCard
            | MessageVideo
            | MessageSticker
            | MessageLocation
            | MessageApp
            | MessageCall
    )
}

/// Whether a notice tells that the account was put out of the room, has left it, or that there is no such room any more.
fn puts_us_out(event: &Event) -> bool {
    let (Kind::RoomLeft, Decoded::Notice(notice)) = (event.kind, &event.decoded) else { return false };
    let NoticeTold::OfRoom(happened) = &notice.told else { return false };
    let is_ours = event.account.is_some() && happened.who.iter().any(|who| who.wxid == event.account);
    is_ours || happened.how == Some("disbanded")
}

/// Those of a list that are ids, up to its bound.
pub(super) fn ids(told: &[String]) -> impl Iterator<Item = &str> {
    told.iter().take(LIST_MAX).map(String::as_str).filter(|id| map::is_id(id))
}
