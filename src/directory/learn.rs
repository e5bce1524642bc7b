//! Which event teaches what (contract 7's table; wehelp-api.zh.md part 一).
//!
//! | type | teaches |
//! |---|---|
//! | any with `cwxid` | the account, and the process that drives it |
//! | 67, 66, 90, 98 | whether it is logged in |
//! | 71 | the account's own nick and picture, or a contact |
//! | 210, 97 | contacts, as friends; the list closes requests of those in it |
//! | 211 | rooms and the ids of their members |
//! | 77 | the members of a room, whole, as contacts; the room |
//! | 78 | the chat's name, who spoke; 37: a friend request; notices of a new friendship close it |
//! | 69 | a room |
//! | 81, 88 | a contact's tickets, its picture |
//! | 95 | pictures |
//!
//! Promises: writes only what changed; takes a list in one pass.
//! Leaves to others: what a record does with a fact (`record`).

use super::Learned;
use super::map::{self, Map, View};
use super::record::{self, Account, Contact, Record, Request, Room, take};
use crate::clock::Time;
use crate::protocol::event::{Event, Kind};
use crate::protocol::id;
use crate::seq::Seq;
use serde_json::Value;
use std::collections::HashSet;
use std::hash::Hash;
use std::ops::ControlFlow;
use std::time::Duration;

/// The most accounts that are learned: each is one WeChat that runs on a PC of the user; anybody who reaches the
/// client door could invent more.
const ACCOUNTS_MAX: usize = 1000;
/// The most members of a room that are kept: WeChat allows 500.
const MEMBERS_MAX: usize = 2000;
/// The most contacts, rooms or pictures that are taken from one event, so that one transaction stays bounded: WeChat
/// allows 10,000 friends.
const LIST_MAX: usize = 50_000;
/// The most open friend requests of an account; the oldest goes first. WeChat forgets them after some weeks itself.
const REQUESTS_MAX: usize = 1000;
/// A message that comes so long after a logout was sent by a client that is logged in again, and whose login event
/// we missed; before that, it may have been on its way.
const LOGOUT_SETTLES: Duration = Duration::from_secs(60);

/// How a notice in the chat with a person begins that tells that both are friends now.
const ADDED: [&str; 3] = ["你已添加了", "你已新增", "You have added"];
/// How the message begins that WeChat sends in the name of who accepted.
const ACCEPTED: [&str; 4] = [
    "我通过了你的朋友验证请求",
    "我通過了你的朋友驗證請求",
    "I've accepted your friend request",
    "I accepted your friend request",
];

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
    (only_message && !tells_of_friendship(event)).then_some((
        &event.account,
        event.pid,
        &event.chat,
        &event.from,
        &event.nick,
        event.is_self,
    ))
}

/// Closes the request with this v1, and remembers the friend.
pub(super) fn accepted<M: Map>(
    map: &mut M,
    account: &str,
    v1: &str,
    time: Time,
    seq: Seq,
) -> Result<Learned, M::Error> {
    let mut lesson = Lesson { map, account: account.to_owned(), time, seq, learned: Learned::default() };
    let requests = requests(lesson.map, Some(account))?;
    for (key, request) in requests.into_iter().filter(|(_, request)| request.v1.as_deref() == Some(v1)) {
        lesson.map.delete(map::REQUESTS, &key);
        lesson.learned.changed = true;
        if let Some(wxid) = request.wxid {
            lesson.change(&wxid, |known: &mut Contact| known.friend = true)?;
        }
    }
    Ok(lesson.learned)
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
        let told_login = match event.kind {
            Kind::Login => (event.decoded.get("code").and_then(Value::as_i64) == Some(200)).then_some(true),
            Kind::LoginState => event.decoded.get("logged_in").and_then(Value::as_bool),
            Kind::Logout | Kind::LogoutPhone => Some(false),
            _ => None,
        };
        self.account = match (event.account.as_deref().filter(|account| map::is_id(account)), pid) {
            (Some(account), _) => account.to_owned(),
            // Who is logged out may be nobody already.
            (None, Some(pid)) if told_login == Some(false) => match account_of_pid(self.map, pid)? {
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
        if let Some(pid) = pid.filter(|pid| account.pid != Some(*pid)) {
            self.drive(&mut account, pid)?;
        }
        let is_own_profile = event.kind == Kind::Profile && flag(&event.decoded, "self");
        // A client that reports messages is logged in, whatever we have missed.
        let missed = (event.r#type == Some(78) || is_own_profile)
            && account.logged_in == Some(false)
            && account.logged.is_none_or(|at| self.time.since(at) >= LOGOUT_SETTLES);
        let logged_in = told_login.or(missed.then_some(true));
        if logged_in.is_some() && logged_in != account.logged_in {
            account.logged_in = logged_in;
            account.logged = Some(self.time);
        }
        if is_own_profile && let Some(told) = event.decoded.get("contact") {
            take(&mut account.nick, record::name(told, "nick"));
            take(&mut account.avatar, record::url(told, "avatar"));
        }
        self.learned.later = account.logged_in == Some(false);
        if known.as_ref() != Some(&account) {
            self.put_account(account);
        }
        Ok(true)
    }

    /// Gives the account another process: its old one drives nobody, and who had the new one has none.
    fn drive(&mut self, account: &mut Account, pid: u64) -> Result<(), M::Error> {
        if let Some(old) = account.pid
            && account_of_pid(self.map, old)?.as_ref() == Some(&account.account)
        {
            self.map.delete(map::PIDS, &old.to_be_bytes());
        }
        if let Some(other) = account_of_pid(self.map, pid)?.filter(|other| *other != account.account)
            && let Some(mut other) = stored_account(self.map, &other)?
        {
            other.pid = None;
            self.put_account(other);
        }
        account.pid = Some(pid);
        self.map.put(map::PIDS, &pid.to_be_bytes(), account.account.clone().into_bytes());
        Ok(())
    }

    fn put_account(&mut self, mut account: Account) {
        (account.seq, account.updated) = (self.seq, self.time);
        self.map.put(map::ACCOUNTS, account.account.as_bytes(), map::encode(&account));
        (self.learned.changed, self.learned.accounts) = (true, true);
    }

    /// What the event tells of others.
    fn people(&mut self, event: &Event) -> Result<(), M::Error> {
        let decoded = &event.decoded;
        match event.kind {
            Kind::Profile if !flag(decoded, "self") => self.contact(decoded.get("contact"), |_| {}),
            Kind::FriendV2 => self.contact(decoded.get("contact"), |known| {
                take(&mut known.v2, record::ticket(decoded, "v2"));
            }),
            Kind::Contacts => self.contact_list(list(decoded, "contacts")),
            Kind::ContactsPacket => {
                ids(decoded, "wxids").try_for_each(|id| self.friend(id, &Value::Null))?;
                self.befriended(&ids(decoded, "wxids").collect())
            }
            Kind::Rooms => list(decoded, "rooms").iter().try_for_each(|room| self.room(room)),
            Kind::RoomMembers => self.room_members(event),
            Kind::RoomCreated => match record::id_of(decoded, "room").filter(|id| id::is_room(id)) {
                Some(room) => self.change(room, |_: &mut Room| {}),
                None => Ok(()),
            },
            Kind::ContactPacket => self.packet(decoded),
            Kind::Avatars => match decoded.get("avatars").and_then(Value::as_object) {
                Some(avatars) => avatars.iter().take(LIST_MAX).try_for_each(|(id, url)| self.picture(id, url.as_str())),
                None => Ok(()),
            },
            Kind::MessageFriendRequest if event.is_self != Some(true) => self.request(decoded),
            _ if event.r#type == Some(78) => self.message(event),
            _ => Ok(()),
        }
    }

    /// Takes in a contact, and what `more` adds to it.
    fn contact(&mut self, told: Option<&Value>, more: impl FnOnce(&mut Contact)) -> Result<(), M::Error> {
        let Some((id, told)) = told.and_then(|told| Some((record::id_of(told, "wxid")?, told))) else { return Ok(()) };
        if id::is_room(id) {
            return self.change(id, |known: &mut Room| known.take(told));
        }
        self.change(id, |known: &mut Contact| {
            known.take(told);
            more(known);
        })
    }

    /// Somebody is in a contact list.
    fn friend(&mut self, id: &str, told: &Value) -> Result<(), M::Error> {
        if id::is_room(id) {
            return self.change(id, |known: &mut Room| known.take(told));
        }
        let is_other = id != self.account;
        self.change(id, |known: &mut Contact| {
            known.take(told);
            known.friend |= is_other;
        })
    }

    fn contact_list(&mut self, contacts: &[Value]) -> Result<(), M::Error> {
        for (id, told) in contacts.iter().filter_map(|told| Some((record::id_of(told, "wxid")?, told))) {
            self.friend(id, told)?;
        }
        // The client answers questions about single ids with a list too. Of somebody who asks to be a friend it then
        // tells what WeChat's flags say, and that is not that they are one already.
        let friends: HashSet<&str> = contacts
            .iter()
            .filter(|told| told.get("type").and_then(Value::as_i64).is_none_or(|flags| flags & 1 == 1))
            .filter_map(|told| record::id_of(told, "wxid"))
            .collect();
        self.befriended(&friends)
    }

    /// A room of a 211 event.
    fn room(&mut self, told: &Value) -> Result<(), M::Error> {
        let Some(room) = record::id_of(told, "wxid").filter(|id| id::is_room(id)) else { return Ok(()) };
        let members = self.roster(room, ids(told, "members"))?;
        self.change(room, |known: &mut Room| {
            known.take(told);
            known.members_known = members.unwrap_or(known.members_known);
        })
    }

    fn room_members(&mut self, event: &Event) -> Result<(), M::Error> {
        let room = record::id_of(&event.decoded, "room").or(event.chat.as_deref());
        let Some(room) = room.filter(|id| map::is_id(id) && id::is_room(id)) else { return Ok(()) };
        let members = list(&event.decoded, "members");
        let members: Vec<(&str, &Value)> =
            members.iter().filter_map(|member| Some((record::id_of(member, "wxid")?, member))).collect();
        for (id, member) in members.iter().take(MEMBERS_MAX).filter(|(id, _)| !id::is_room(id)) {
            self.change(id, |known: &mut Contact| known.take(member))?;
        }
        let count = self.roster(room, members.iter().map(|(id, _)| *id))?;
        self.change(room, |known: &mut Room| {
            known.take(event.decoded.get("info").unwrap_or(&Value::Null));
            take(&mut known.count, count);
            known.members_known = count.unwrap_or(known.members_known);
        })
    }

    /// Keeps the ids of a room's members; returns how many, unless none was told.
    fn roster<'i>(&mut self, room: &str, ids: impl Iterator<Item = &'i str>) -> Result<Option<u64>, M::Error> {
        let mut told = HashSet::new();
        let ids: Vec<&str> = ids.filter(|id| told.insert(*id)).take(MEMBERS_MAX).collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let key = map::key(&self.account, room);
        let known = roster(self.map, &key)?;
        // The lists of 211 and 77 are in different orders.
        if known.len() != ids.len() || known.iter().any(|id| !told.contains(id.as_str())) {
            self.map.put(map::ROSTERS, &key, map::encode(&ids));
            self.learned.changed = true;
        }
        Ok(u64::try_from(ids.len()).ok())
    }

    /// A packet tells whose its tickets and pictures are only when it is about one id.
    fn packet(&mut self, decoded: &Value) -> Result<(), M::Error> {
        let others: Vec<&str> = ids(decoded, "wxids").filter(|id| *id != self.account).take(2).collect();
        let [id] = others[..] else { return Ok(()) };
        let pictures = list(decoded, "avatars").iter().filter_map(Value::as_str);
        if id::is_room(id) {
            return self.change(id, |known: &mut Room| {
                take(&mut known.avatar, pictures.into_iter().find_map(record::bounded_url));
            });
        }
        self.change(id, |known: &mut Contact| {
            pictures.for_each(|url| known.take_picture(url));
            take(&mut known.v1, record::ticket(decoded, "v1"));
            take(&mut known.v2, record::ticket(decoded, "v2"));
        })
    }

    fn picture(&mut self, id: &str, url: Option<&str>) -> Result<(), M::Error> {
        match url {
            Some(url) if map::is_id(id) && id::is_room(id) => {
                self.change(id, |known: &mut Room| take(&mut known.avatar, record::bounded_url(url)))
            }
            Some(url) if map::is_id(id) => self.change(id, |known: &mut Contact| known.take_picture(url)),
            _ => Ok(()),
        }
    }

    /// Opens a friend request, in the place of an older one of the same person.
    fn request(&mut self, decoded: &Value) -> Result<(), M::Error> {
        let Some(request) = Request::read(decoded, &self.account, self.time, self.seq) else { return Ok(()) };
        let nobody = format!("#{}", self.seq);
        let key = map::key(&self.account, request.wxid.as_deref().unwrap_or(&nobody));
        if self.map.get(map::REQUESTS, &key)?.is_none() {
            let (from, to) = map::range(Some(&self.account));
            if self.map.scan(map::REQUESTS, &from, &to, REQUESTS_MAX)?.len() >= REQUESTS_MAX {
                let open = requests(self.map, Some(&self.account))?;
                if let Some((oldest, _)) = open.iter().min_by_key(|(_, request)| request.seq) {
                    self.map.delete(map::REQUESTS, oldest);
                }
            }
        }
        self.map.put(map::REQUESTS, &key, map::encode(&request));
        self.learned.changed = true;
        let Some(wxid) = request.wxid else { return Ok(()) };
        self.change(&wxid, |known: &mut Contact| {
            known.take(decoded);
            take(&mut known.username, record::name(decoded, "alias"));
            take(&mut known.region, record::name(decoded, "country"));
        })
    }

    /// Closes the requests of new friends.
    fn befriended(&mut self, friends: &HashSet<&str>) -> Result<(), M::Error> {
        for (key, request) in requests(self.map, Some(&self.account))? {
            if request.wxid.as_deref().is_some_and(|wxid| friends.contains(wxid)) {
                self.map.delete(map::REQUESTS, &key);
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
        let nick = event.nick.as_deref().map(record::bounded_name);
        if id::is_room(chat) {
            self.change(chat, |known: &mut Room| take(&mut known.nick, nick))?;
            let speaker = event.from.as_deref().filter(|id| map::is_id(id) && !id::is_room(id) && *id != self.account);
            return speaker.map_or(Ok(()), |id| self.change(id, |_: &mut Contact| {}));
        }
        let befriended = tells_of_friendship(event);
        self.change(chat, |known: &mut Contact| {
            // Whose nick a message of our own has is not specified; a wrong one would mislead `@NAME`.
            if event.is_self != Some(true) {
                take(&mut known.nick, nick);
            }
            known.friend |= befriended;
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

/// The ids of a room's members, under the room's key.
pub(super) fn roster<V: View>(view: &V, key: &[u8]) -> Result<Vec<String>, V::Error> {
    Ok(view.get(map::ROSTERS, key)?.and_then(|value| map::decode(&value)).unwrap_or_default())
}

/// Whether a message says that its chat is with a new friend.
fn tells_of_friendship(event: &Event) -> bool {
    let wordings: &[&str] = match event.kind {
        Kind::MessageSystem => &ADDED,
        Kind::MessageText => &ACCEPTED,
        _ => &[],
    };
    event.text.as_deref().is_some_and(|text| wordings.iter().any(|wording| text.starts_with(wording)))
}

/// The list under `key`, cut to its bound.
fn list<'v>(told: &'v Value, key: &str) -> &'v [Value] {
    let list = told.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    &list[..list.len().min(LIST_MAX)]
}

/// The valid ids of a list.
fn ids<'v>(told: &'v Value, key: &str) -> impl Iterator<Item = &'v str> {
    list(told, key).iter().filter_map(Value::as_str).filter(|id| map::is_id(id))
}

fn flag(told: &Value, key: &str) -> bool {
    told.get(key).and_then(Value::as_bool).unwrap_or(false)
}
