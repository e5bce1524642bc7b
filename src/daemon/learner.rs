//! What events mean, after they were answered: the directory learns, questions find their answers.
//!
//! One task follows the log. A page of events becomes one lazy transaction that holds what was learned, which commands
//! were answered, and how far was read: after a crash it is done again from there, or not at all. A callback never
//! waits for it.

pub(crate) mod lessons;

use crate::clock::Time;
use crate::daemon::ages::Ages;
use crate::daemon::alloc;
use crate::daemon::log::entry;
use crate::daemon::queue::PIECES;
use crate::daemon::queue::awaited::Awaited;
use crate::daemon::queue::{self, Record};
use crate::daemon::service::Service;
use crate::directory;
use crate::key::META;
use crate::protocol::answer::{self, Open, Verdict};
use crate::protocol::command::Wire;
use crate::protocol::event::{Event, Kind, Pieces};
use crate::seq::Seq;
use crate::store::{Dropped, Query, Read, Store, Stored, Txn};
use bytes::Bytes;
use std::collections::HashSet;
use std::time::Duration;

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
/// Lists of so many bytes together are decoded at once; a longer one is taken alone, piece by piece. The shortest items
/// take, decoded, seven hundred times their bytes.
const LISTS_BYTES_MAX: usize = 32 * 1024;
/// The position is stored with every change, and without one after so many events: what is read twice after a crash
/// teaches nothing new.
const POSITION_EVERY: u64 = 10_000;
/// Commands whose answer may still get another piece; more are not answered within [`PIECES`] by a client.
const RECENT_MAX: usize = 1000;

/// An event, decoded, as this room sees it.
struct Seen {
    seq: Seq,
    time: Time,
    event: Event,
}

/// A command that was answered a moment ago: further pieces belong to its answer.
#[derive(Debug, Clone)]
struct Recent {
    account: String,
    id: u64,
    /// The last piece.
    seq: Seq,
    time: Time,
}

/// What finding questions needs to know beside the store.
struct Known<'k> {
    recent: &'k mut Vec<Recent>,
    awaited: &'k Awaited,
}

/// Follows the log until shutdown.
pub(crate) async fn run(service: Service) {
    let mut at = position(service.store().get(META, REACTED).ok().flatten());
    let mut tail = service.store().tail();
    // A position beyond the log's end can only come from a store that was put together by hand.
    at = at.min(*tail.borrow());
    let mut stored_at = at;
    let mut recent = Vec::new();
    service.reacted().send_replace(at);
    let mut queue = service.queue_changed();
    queue.mark_changed();
    let mut lesson: Option<tokio::time::Instant> = None;
    loop {
        let stepped = {
            let _alone = service.learner().lock().await;
            let stepped = step(&service, at, stored_at, &mut recent).await;
            if let Ok((to, _)) = &stepped {
                service.reacted().send_replace(*to);
            }
            stepped
        };
        match stepped {
            Ok((to, stored)) => {
                if stored {
                    stored_at = to;
                }
                if to > at {
                    at = to;
                    // Far behind there is nothing to gather. A page may be ahead of the tail that is told.
                    if tail.borrow().0.saturating_sub(at.0) > BEHIND {
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
            let _alone = service.learner().lock().await;
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
struct Long {
    seq: Seq,
    time: Time,
    pieces: Pieces<Bytes>,
    /// What finding its question needs.
    gathered: Option<Event>,
    taught: Taught,
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
    fn study(&mut self, store: &Store) -> Result<Option<Vec<directory::Change>>, crate::store::Error> {
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

    /// Takes in all of it but the answer that it may be.
    async fn learn(mut self, service: &Service, to: Seq, is_large: bool) -> Result<Page, crate::store::Error> {
        loop {
            let store = service.store().clone();
            let (long, changes) = aside(service, is_large, move || {
                let changes = self.study(&store);
                (self, changes)
            })
            .await?;
            self = long;
            let Some(mut changes) = changes? else { break };
            write(service, &mut changes, 0).await?;
        }
        let Self { seq, time, gathered, taught, .. } = self;
        let seen = gathered.map(|event| Seen { seq, time, event }).into_iter().collect();
        Ok(Page { to, seen, learned: Some((taught, Vec::new())) })
    }
}

/// Does it beside the runtime; what is large, slowly.
async fn aside<T: Send + 'static>(
    service: &Service,
    is_large: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, crate::store::Error> {
    let done =
        if is_large { service.learning().run(work).await.ok() } else { tokio::task::spawn_blocking(work).await.ok() };
    done.ok_or_else(|| crate::store::Error::Other("reading events panicked".into()))
}

/// Writes changes in several steps, so that callbacks get their turn in between, until at most `max` are left.
async fn write(service: &Service, changes: &mut Vec<directory::Change>, max: usize) -> Result<(), crate::store::Error> {
    while changes.len() > max {
        let rest = changes.split_off(changes.len().min(CHANGES_MAX));
        let some = std::mem::replace(changes, rest);
        let written = service.store().write_lazily(move |tx| {
            some.iter().for_each(|change| change.apply(tx));
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = written.await?;
    }
    Ok(())
}

/// How far reading a page has come.
enum Studied {
    Done(Page),
    /// It is one long list.
    Long(Box<Long>, Seq),
    /// It has more than a page's bytes.
    Large(crate::store::Page),
    /// What comes is large, and was not read.
    Left,
}

/// Reads a page, and takes in what is small; whether it is large. With `small`, what is large is left. Blocking.
fn read(store: &Store, at: Seq, small: bool) -> Result<(Studied, bool), crate::store::Error> {
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

/// Takes in one page; returns how far it got, and whether that is stored.
async fn step(
    service: &Service,
    at: Seq,
    stored_at: Seq,
    recent: &mut Vec<Recent>,
) -> Result<(Seq, bool), crate::store::Error> {
    let store = service.store().clone();
    let mut read_page = aside(service, false, move || read(&store, at, true)).await??;
    let mut alone = None;
    if let Studied::Left = read_page.0 {
        // Followers read it now too, and all that is made of it at a time takes several times its size.
        alone = service.following().alone().await;
        let store = service.store().clone();
        read_page = aside(service, false, move || read(&store, at, false)).await??;
    }
    let (studied, is_large) = read_page;
    let Page { to, mut seen, learned } = match studied {
        Studied::Done(page) => page,
        Studied::Long(long, to) => {
            // That takes long, and no more than the body.
            drop(alone.take());
            long.learn(service, to, is_large).await?
        }
        Studied::Large(page) => {
            let store = service.store().clone();
            // Who waits for the turn does not wait for a thread that is slow.
            aside(service, alone.is_none(), move || study(&store, &page)).await??
        }
        Studied::Left => return Ok((at, false)),
    };
    drop(alone);
    if is_large {
        // It was received, written, shown and learned from.
        aside(service, false, alloc::give_back_freed).await?;
    }
    if to <= at {
        return Ok((at, false));
    }
    let force = to.0 - stored_at.0 >= POSITION_EVERY;
    let in_transaction = learned.is_none();
    let (mut taught, mut changes) = learned.unwrap_or_default();
    if !in_transaction {
        seen.retain(may_answer);
    }
    // After a crash in the middle all of it is learned again.
    write(service, &mut changes, CHANGES_MAX).await?;
    let mut stored = false;
    if force || taught.anything || !seen.is_empty() {
        // A copy: a failed write must not take them along.
        let before = recent.clone();
        let awaited = service.awaited().clone();
        let done = service.store().write_lazily(move |tx| {
            let mut recent = before;
            changes.iter().for_each(|change| change.apply(tx));
            // Before anything is answered: by what a poller has taken that is an account now.
            taught.commands |= queue::introduce::introduce(tx);
            for seen in &seen {
                if in_transaction {
                    let learned = Taught::of(directory::learn(tx, &seen.event, seen.time, seen.seq));
                    taught.commands |= learned.accounts && queue::introduce::introduce(tx);
                    taught.merge(learned);
                }
                taught.commands |= answer(tx, seen, &mut Known { recent: &mut recent, awaited: &awaited });
            }
            let store_position = force || taught.anything || taught.commands;
            if store_position {
                remember(tx, to);
            }
            Ok::<_, std::convert::Infallible>((taught, recent, store_position))
        });
        let Ok((all, kept, position)) = done.await?;
        (taught, *recent, stored) = (all, kept, position);
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
fn answer(tx: &mut Txn<'_>, seen: &Seen, known: &mut Known<'_>) -> bool {
    let driven = || directory::account_of_pid(tx, seen.event.pid?);
    let account = seen.event.account.clone().or_else(driven).unwrap_or_default();
    match seen.event.kind {
        Kind::MessageText if seen.event.is_self == Some(true) => echo(tx, &account, seen, known.awaited),
        Kind::MessageSystem => refusal(tx, &account, seen, known.awaited),
        Kind::MessageText | Kind::MessageImage | Kind::MessageApp | Kind::Other | Kind::Unparsed => false,
        _ => question(tx, &account, seen, known),
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
        return candidates(tx, account, |tx, who| queue::asked(tx, who, &seen.event, seen.seq, seen.time));
    }
    // A client that nobody is logged in to names no account, and its commands were bound to the one it had before.
    let mut found = queue::asked_by_anybody(tx, &seen.event, seen.seq, seen.time);
    let pid = |record: &Record| record.claimed.as_ref().and_then(|claimed| claimed.pid);
    found.retain(|record| pid(record).zip(seen.event.pid).is_none_or(|(asked, told)| asked == told));
    found
}

/// Finds whose answer an event is, and notes it.
fn question(tx: &mut Txn<'_>, account: &str, seen: &Seen, known: &mut Known<'_>) -> bool {
    let mut records = askers(tx, account, seen);
    let asked = records.len();
    known.recent.retain(|recent| seen.time.since(recent.time) <= PIECES);
    let recent = known.recent.iter().filter(|recent| recent.account == account && recent.seq < seen.seq);
    records.extend(recent.filter_map(|recent| queue::answered(tx, recent.id)));
    let answered: HashSet<u64> = records[asked..].iter().map(|record| record.id).collect();
    // Two accounts are asked the same in no order of theirs: who was asked first answers first.
    let handed = |record: &Record| if account.is_empty() { record.handed() } else { None };
    records.sort_by_key(|record| (handed(record), record.id));
    let concluded = conclude(tx, &records, &answered, seen, known.awaited);
    for (record, verdict) in &concluded {
        if matches!(verdict, Verdict::Answered | Verdict::Piece) {
            known.recent.retain(|recent| recent.id != record.id);
            let Seen { seq, time, .. } = *seen;
            known.recent.push(Recent { account: account.to_owned(), id: record.id, seq, time });
            let surplus = known.recent.len().saturating_sub(RECENT_MAX);
            known.recent.drain(..surplus);
        }
    }
    !concluded.is_empty()
}

/// Asks `protocol` what an event comes to for these commands, and stores it. `answered`: those that only more pieces
/// are looked for.
fn conclude<'r>(
    tx: &mut Txn<'_>,
    records: &'r [Record],
    answered: &HashSet<u64>,
    seen: &Seen,
    awaited: &Awaited,
) -> Vec<(&'r Record, Verdict)> {
    // What was given back comes last: it seemed not to arrive, and only an event that nothing else explains proves that
    // it did.
    let (back, out): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.is_given_back());
    let concluded = conclude_among(tx, &out, answered, seen, awaited);
    if concluded.is_empty() { conclude_among(tx, &back, answered, seen, awaited) } else { concluded }
}

fn conclude_among<'r>(
    tx: &mut Txn<'_>,
    records: &[&'r Record],
    answered: &HashSet<u64>,
    seen: &Seen,
    awaited: &Awaited,
) -> Vec<(&'r Record, Verdict)> {
    let with_wire: Vec<(&'r Record, Wire)> =
        records.iter().filter_map(|record| Some((*record, record.wire()?))).collect();
    let now = Ages::load(tx).of_event(seen.seq, seen.time);
    let open: Vec<Open<'_>> = with_wire
        .iter()
        .map(|(record, wire)| Open {
            command: wire,
            whom: record.asked_whom(),
            waits: awaited.waits(record.id, record.handed(), now),
            answered: answered.contains(&record.id),
            missing: record.missing.as_deref(),
        })
        .collect();
    let mut concluded = Vec::new();
    for conclusion in answer::conclude(&open, &seen.event) {
        let Some((record, wire)) = with_wire.get(conclusion.at) else { continue };
        queue::conclude(tx, record, seen.seq, &conclusion, seen.time);
        if conclusion.verdict == Verdict::Answered {
            close_request(tx, record, wire, seen);
        }
        concluded.push((*record, conclusion.verdict));
    }
    concluded
}

/// A friend request is open until it is accepted: the event that says so names nobody, the command does.
fn close_request(tx: &mut Txn<'_>, record: &Record, wire: &Wire, seen: &Seen) {
    let accepted = seen.event.kind == Kind::FriendVerified && seen.event.decoded.get("ok") == Some(&true.into());
    if accepted
        && wire.api() == "acceptFriend"
        && let Some(v1) = wire.as_map().get("v1").and_then(serde_json::Value::as_str)
    {
        directory::accepted(tx, record.answerer(), v1, record.id, seen.time, seen.seq);
    }
}

/// The client reported a text of our own: one that was sent has arrived in the chat.
fn echo(tx: &mut Txn<'_>, account: &str, seen: &Seen, awaited: &Awaited) -> bool {
    let (Some(chat), Some(text)) = (seen.event.chat.as_deref(), seen.event.text.as_deref()) else { return false };
    let open = candidates(tx, account, |tx, who| queue::echoable(tx, who, chat, text, seen.seq, seen.time));
    !conclude(tx, &open, &HashSet::new(), seen, awaited).is_empty()
}

/// A notice may tell that something was refused.
fn refusal(tx: &mut Txn<'_>, account: &str, seen: &Seen, awaited: &Awaited) -> bool {
    let Some(chat) = seen.event.chat.as_deref() else { return false };
    let open = candidates(tx, account, |tx, who| queue::refusable(tx, who, chat, seen.seq, seen.time));
    let meant = queue::refused(&open).map(std::slice::from_ref).unwrap_or_default();
    !conclude(tx, meant, &HashSet::new(), seen, awaited).is_empty()
}

/// Notes how far was read: what was learned from up to there is not learned from again.
pub(crate) fn remember(tx: &mut Txn<'_>, at: Seq) {
    tx.put(META, REACTED, at.0.to_be_bytes());
}

fn position(stored: Option<Vec<u8>>) -> Seq {
    Seq(stored.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes))
}

/// Notes how far was read before retention drops it: what taught nothing is else noted now and then, and the next start
/// would look for it and tell of a loss that is none.
pub(crate) async fn remember_before_a_drop(service: &Service) -> Result<(), crate::store::Error> {
    let at = *service.reacted().borrow();
    if position(service.store().get(META, REACTED)?) >= at {
        return Ok(());
    }
    let put = move |tx: &mut Txn<'_>| {
        // The learner may have got further meanwhile.
        if position(tx.get(META, REACTED)) < at {
            remember(tx, at);
        }
        Ok::<_, std::convert::Infallible>(())
    };
    let Ok(()) = service.store().write_lazily(put).await?;
    Ok(())
}

/// Takes what the directory knows of accounts into the table in memory.
pub(crate) fn load_accounts(service: &Service) {
    match directory::accounts(service.store()) {
        Ok(known) => {
            let mut accounts = service.accounts();
            for account in known {
                accounts.learn(&account);
            }
        }
        Err(error) => tracing::warn!("cannot read the accounts: {error}"),
    }
}
