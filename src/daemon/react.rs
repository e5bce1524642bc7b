//! What events mean, after they were answered: the directory learns, questions find their answers.
//!
//! One task follows the log. A page of events becomes one lazy transaction that holds what was learned, which commands
//! were answered, and how far was read: after a crash it is done again from there, or not at all. A callback never
//! waits for it.

use super::entry;
use super::lessons;
use super::queue::{self, Record, Verdict};
use super::service::Service;
use crate::clock::Time;
use crate::directory;
use crate::protocol::answer::{self, Bearing};
use crate::protocol::command::Wire;
use crate::protocol::event::{Event, Kind};
use crate::seq::Seq;
use crate::store::{Dropped, Query, Read, Space, Store, Stored, Txn};
use std::collections::HashMap;
use std::time::Duration;

/// Single values; shares the space with the queue's.
const META: Space = Space(b'm');
/// How far was read.
const REACTED: &[u8] = b"reacted";
/// Bytes of events looked at in one transaction.
const PAGE_BYTES: usize = 512 * 1024;
/// Events are gathered for so long before they are looked at, unless somebody waits for what they tell: a look costs
/// several switches of threads, which a busy daemon had rather spend on callbacks.
const GATHER: Duration = Duration::from_millis(5);
/// That many events wait already: it goes on at once.
const BEHIND: u64 = 500;
/// What was learned is written in steps of so many changes: some milliseconds of the writer's time.
const CHANGES_MAX: usize = 200;
/// The position is stored with every change, and without one after so many events: what is read twice after a crash
/// teaches nothing new.
const POSITION_EVERY: u64 = 10_000;
/// A further piece of an answer in pieces comes within so long.
const PIECES: Duration = Duration::from_secs(3);

/// An event, decoded, as this room sees it.
struct Seen {
    seq: Seq,
    time: Time,
    event: Event,
}

/// The last command answered in pieces, per account and kind: further pieces belong to it.
type Pieces = HashMap<(String, Kind), (u64, Time)>;

/// Follows the log until shutdown.
pub(super) async fn run(service: Service) {
    let stored = service.store().get(META, REACTED).ok().flatten();
    let mut at = Seq(stored.and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes));
    let mut tail = service.store().tail();
    // A position beyond the log's end can only come from a store that was put together by hand.
    at = at.min(*tail.borrow());
    let mut stored_at = at;
    let mut pieces = Pieces::new();
    service.reacted().send_replace(at);
    let mut queue = service.queue_changed();
    queue.mark_changed();
    let mut lesson: Option<tokio::time::Instant> = None;
    loop {
        match step(&service, at, stored_at, &mut pieces).await {
            Ok((to, stored)) => {
                if stored {
                    stored_at = to;
                }
                if to > at {
                    at = to;
                    service.reacted().send_replace(at);
                    // Far behind there is nothing to gather.
                    if tail.borrow().0 - at.0 > BEHIND {
                        continue;
                    }
                }
            }
            Err(error) => {
                tracing::warn!("cannot learn from events, trying again: {error}");
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => continue,
                    () = service.shutdown().wait() => return,
                }
            }
        }
        loop {
            let due = tokio::time::sleep_until(lesson.unwrap_or_else(tokio::time::Instant::now));
            tokio::select! {
                changed = tail.wait_for(|tail| *tail > at) => if changed.is_err() { return } else { break },
                _ = queue.changed() => {}
                () = due, if lesson.is_some() => {}
                () = service.shutdown().wait() => return,
            }
            let again = lessons::learn(&service, at).await.unwrap_or_else(|error| {
                tracing::warn!("cannot learn from lists, trying again: {error}");
                Some(Duration::from_secs(1))
            });
            lesson = again.map(|wait| tokio::time::Instant::now() + wait);
        }
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            () = service.hurry().notified() => {}
            () = service.shutdown().wait() => return,
        }
    }
}

/// What a page came to before the writer hears of it.
struct Page {
    to: Seq,
    seen: Vec<Seen>,
    /// What the directory learned; `None`: that is left to the transaction.
    learned: Option<(Taught, Vec<directory::Change>)>,
}

/// Works out what a page teaches. Only this task writes to the directory, so the writer's thread, which every callback
/// waits for, needs not do that.
fn study(store: &Store, page: &crate::store::Page) -> Result<Page, crate::store::Error> {
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

/// Takes in one page; returns how far it got, and whether that is stored.
async fn step(
    service: &Service,
    at: Seq,
    stored_at: Seq,
    pieces: &mut Pieces,
) -> Result<(Seq, bool), crate::store::Error> {
    let panicked = || crate::store::Error::Other("reading events panicked".into());
    let store = service.store().clone();
    let read = tokio::task::spawn_blocking(move || {
        let page = match store.read(&Query { after: at, ..Query::default() }, PAGE_BYTES)? {
            Read::Page(page) => page,
            Read::Dropped(Dropped { from, to }) => {
                tracing::error!(%from, %to, "events were dropped before anything was learned from them");
                crate::store::Page { looked_to: to, ..crate::store::Page::default() }
            }
        };
        // A page of one large event, mostly a list, has more than a page's bytes.
        let bytes: usize = page.entries.iter().map(|stored| stored.body.len()).sum();
        let studied = if bytes <= PAGE_BYTES { Ok(study(&store, &page)?) } else { Err(page) };
        Ok::<_, crate::store::Error>(studied)
    });
    let Page { to, mut seen, learned } = match read.await.map_err(|_| panicked())?? {
        Ok(studied) => studied,
        Err(page) => {
            let store = service.store().clone();
            service.learning().run(move || study(&store, &page)).await.map_err(|_| panicked())??
        }
    };
    if to <= at {
        return Ok((at, false));
    }
    let force = to.0 - stored_at.0 >= POSITION_EVERY;
    let in_transaction = learned.is_none();
    let (mut taught, mut changes) = learned.unwrap_or_default();
    if !in_transaction {
        seen.retain(may_answer);
    }
    // A long list is written in several steps, so that callbacks get their turn in between. After a crash in the
    // middle all of it is learned again.
    while changes.len() > CHANGES_MAX {
        let rest = changes.split_off(CHANGES_MAX);
        let some = std::mem::replace(&mut changes, rest);
        let written = service.store().write_lazily(move |tx| {
            some.iter().for_each(|change| change.apply(tx));
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = written.await?;
    }
    let mut stored = false;
    if force || taught.anything || !seen.is_empty() {
        let known = std::mem::take(pieces);
        let done = service.store().write_lazily(move |tx| {
            let mut pieces = known;
            changes.iter().for_each(|change| change.apply(tx));
            for seen in &seen {
                if in_transaction {
                    taught.merge(Taught::of(directory::learn(tx, &seen.event, seen.time, seen.seq)));
                }
                taught.commands |= answer(tx, seen, &mut pieces);
            }
            let store_position = force || taught.anything || taught.commands;
            if store_position {
                tx.put(META, REACTED, to.0.to_be_bytes());
            }
            Ok::<_, std::convert::Infallible>((taught, pieces, store_position))
        });
        let Ok((all, kept, position)) = done.await?;
        (taught, *pieces, stored) = (all, kept, position);
    }
    if taught.accounts {
        load_accounts(service);
    }
    if taught.commands {
        service.bump();
    }
    Ok((to, stored))
}

fn decode(stored: &Stored) -> Option<Seen> {
    Some(Seen { seq: stored.seq, time: stored.time, event: entry::decoded(stored).ok()? })
}

/// What changed.
#[derive(Debug, Clone, Copy, Default)]
struct Taught {
    anything: bool,
    accounts: bool,
    commands: bool,
}

impl Taught {
    fn of(learned: directory::Learned) -> Self {
        Self { anything: learned.changed, accounts: learned.accounts, commands: false }
    }

    fn merge(&mut self, other: Self) {
        self.anything |= other.anything;
        self.accounts |= other.accounts;
        self.commands |= other.commands;
    }
}

/// Whether [`answer()`] would look for commands.
fn may_answer(seen: &Seen) -> bool {
    match seen.event.kind {
        Kind::MessageText => seen.event.is_self == Some(true),
        Kind::MessageImage | Kind::MessageApp | Kind::Other | Kind::Unparsed => false,
        _ => true,
    }
}

/// Finds the commands that an event answers; true when it found one.
fn answer(tx: &mut Txn<'_>, seen: &Seen, pieces: &mut Pieces) -> bool {
    let driven = || directory::account_of_pid(tx, seen.event.pid?);
    let account = seen.event.account.clone().or_else(driven).unwrap_or_default();
    match seen.event.kind {
        Kind::MessageText if seen.event.is_self == Some(true) => echo(tx, &account, seen),
        Kind::MessageSystem => refusal(tx, &account, seen),
        Kind::MessageText | Kind::MessageImage | Kind::MessageApp | Kind::Other | Kind::Unparsed => false,
        _ => question(tx, &account, seen, pieces),
    }
}

/// Open commands of the account, and of pollers that did not say who they were.
fn candidates(tx: &mut Txn<'_>, account: &str, mut of: impl FnMut(&mut Txn<'_>, &str) -> Vec<Record>) -> Vec<Record> {
    let mut found = of(tx, account);
    if !account.is_empty() {
        found.extend(of(tx, ""));
    }
    found.sort_by_key(|r| r.id);
    found
}

/// The questions that an event may answer, oldest first.
fn askers(tx: &mut Txn<'_>, account: &str, seen: &Seen) -> Vec<Record> {
    let of_nobody = account.is_empty()
        && matches!(seen.event.kind, Kind::LoginQrcode | Kind::LoginState | Kind::Login | Kind::Logout);
    if !of_nobody {
        return candidates(tx, account, |tx, who| queue::asked(tx, who, seen.seq, seen.time));
    }
    // A client that nobody is logged in to names no account, and its commands were bound to the one it had before.
    let mut found = queue::asked_by_anybody(tx, seen.seq, seen.time);
    let pid = |record: &Record| record.claimed.as_ref().and_then(|claimed| claimed.pid);
    found.retain(|record| pid(record).zip(seen.event.pid).is_none_or(|(asked, told)| asked == told));
    found.sort_by_key(|record| record.id);
    found
}

fn question(tx: &mut Txn<'_>, account: &str, seen: &Seen, pieces: &mut Pieces) -> bool {
    for record in askers(tx, account, seen) {
        let Some(wire) = record.wire() else { continue };
        let Some(bearing) = answer::bearing(&wire, &seen.event) else { continue };
        let told: Vec<String> = match bearing {
            Bearing::Part => answer::items(&wire, &seen.event)
                .iter()
                .filter_map(|item| item.get("wxid")?.as_str().map(str::to_owned))
                .collect(),
            _ => Vec::new(),
        };
        let verdict = match bearing {
            Bearing::Part => Verdict::Part,
            Bearing::Answers => Verdict::Answered,
            Bearing::Refuses => Verdict::Rejected,
            Bearing::Echo => continue,
        };
        queue::conclude(tx, &record, seen.seq, verdict, &told, seen.time);
        close_request(tx, &record, &wire, seen);
        if verdict == Verdict::Answered {
            pieces.insert((account.to_owned(), seen.event.kind), (record.id, seen.time));
        }
        return true;
    }
    // Nobody waits: is it one more piece of the answer that came just now?
    let key = (account.to_owned(), seen.event.kind);
    match pieces.get(&key) {
        Some((id, time)) if seen.time.since(*time) <= PIECES && matches!(key.1, Kind::Contacts | Kind::Rooms) => {
            let id = *id;
            pieces.insert(key, (id, seen.time));
            queue::append_piece(tx, id, seen.seq)
        }
        Some(_) => {
            pieces.remove(&key);
            false
        }
        None => false,
    }
}

/// A friend request is open until it is accepted: the event that says so names nobody, the command does.
fn close_request(tx: &mut Txn<'_>, record: &Record, wire: &Wire, seen: &Seen) {
    let accepted = seen.event.kind == Kind::FriendVerified && seen.event.decoded.get("ok") == Some(&true.into());
    if accepted
        && wire.api() == "acceptFriend"
        && let Some(v1) = wire.as_map().get("v1").and_then(serde_json::Value::as_str)
    {
        directory::accepted(tx, record.answerer(), v1, seen.time, seen.seq);
    }
}

/// The client reported a text of our own: the oldest command that sent it has arrived in the chat.
fn echo(tx: &mut Txn<'_>, account: &str, seen: &Seen) -> bool {
    let (Some(chat), Some(text)) = (seen.event.chat.as_deref(), seen.event.text.as_deref()) else { return false };
    let open = candidates(tx, account, |tx, who| queue::echoable(tx, who, chat, text, seen.seq, seen.time));
    for record in open {
        if record.wire().and_then(|wire| answer::bearing(&wire, &seen.event)) == Some(Bearing::Echo) {
            queue::conclude(tx, &record, seen.seq, Verdict::Answered, &[], seen.time);
            return true;
        }
    }
    false
}

/// A notice tells that something was refused: the newest send to that chat is meant.
fn refusal(tx: &mut Txn<'_>, account: &str, seen: &Seen) -> bool {
    let Some(chat) = seen.event.chat.as_deref() else { return false };
    let open = candidates(tx, account, |tx, who| queue::refusable(tx, who, chat, seen.seq, seen.time));
    for record in open.iter().rev() {
        if record.wire().and_then(|wire| answer::bearing(&wire, &seen.event)) == Some(Bearing::Refuses) {
            queue::conclude(tx, record, seen.seq, Verdict::Rejected, &[], seen.time);
            return true;
        }
    }
    false
}

/// Takes what the directory knows of accounts into the table in memory.
pub(super) fn load_accounts(service: &Service) {
    match directory::accounts(service.store()) {
        Ok(known) => {
            let mut accounts = service.accounts();
            for account in known {
                accounts.learn(&account.account, account.nick, account.pid, account.logged_in);
            }
        }
        Err(error) => tracing::warn!("cannot read the accounts: {error}"),
    }
}
