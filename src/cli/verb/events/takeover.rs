//! `--takeover`: a chat in which the account's owner writes by hand is left alone for a while.
//!
//! What an owner wrote is an own message that is the echo of no command. A thread of its own follows those, beside the
//! stream of events that commands are run for: own messages are not among the latter, other filters do not count here, and
//! whoever types while a thousand events wait is to be noticed before they are over.
//!
//! Promises: an event is judged only once the owner's messages are known up to it ([`Takeover::reaches`]), whichever of the
//! two streams is faster; what was written before a start counts as well. A message of the owner takes over what came in
//! that chat of that account up to the pause after it, and everything before it: that the owner has seen.

use super::pass::is_said;
use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::cli::options::Global;
use crate::cli::stream::{Came, Stream, Until};
use crate::cli::wake::{Wake, Waker};
use crate::clock::Time;
use crate::control::{Entry, EventsQuery};
use crate::protocol::event::Kind;
use crate::seq::Seq;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Chats in which an owner's last message is remembered; then the one that is longest ago is forgotten.
const CHATS_MAX: usize = 100_000;
/// Whoever waits looks this often whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A conversation of an account.
type Chat = (Option<String>, String);

/// See the module.
#[derive(Debug)]
pub(super) struct Takeover {
    pause: Duration,
    seen: Mutex<Seen>,
    changed: Condvar,
    /// Ends the thread.
    stop: Waker,
}

#[derive(Debug, Default)]
struct Seen {
    /// Where and when an owner wrote last.
    written: HashMap<Chat, (Seq, Time)>,
    /// Everything up to here is known.
    upto: Seq,
    /// Why nothing more will be.
    broken: Option<Error>,
}

impl Takeover {
    /// With the pause that a chat is left alone for. The waker is of the [`Wake`] that [`follow`](Self::follow) is given.
    pub(super) fn new(pause: Duration, stop: Waker) -> Self {
        Self { pause, seen: Mutex::default(), changed: Condvar::new(), stop }
    }

    /// Which of the account's messages are to be followed, for a stream of events that begins after `position`. What is
    /// still to come there may be old.
    ///
    /// # Errors
    /// When the daemon cannot be asked.
    pub(super) fn query(&self, ctx: &Ctx, events: &EventsQuery, position: Seq) -> Result<EventsQuery, Error> {
        let first = EventsQuery {
            follow: false,
            after: Some(position),
            count: Some(1),
            marks: false,
            cursor: None,
            lines: None,
            ..events.clone()
        };
        let first: Vec<Entry> = ctx.client()?.list("/v1/events", &first)?;
        let now = Time::now();
        let from = first.first().map_or(now, |entry| entry.time.min(now)).before(self.pause);
        let said: Vec<&str> = Kind::ALL.iter().filter(|kind| kind.is_said()).map(|kind| kind.as_str()).collect();
        Ok(EventsQuery {
            follow: true,
            since: Some(from.to_string()),
            kind: Some(said.join(",")),
            chat: events.chat.clone(),
            account: events.account.clone(),
            is_self: Some(true),
            heartbeat_ms: events.heartbeat_ms,
            marks: true,
            ..EventsQuery::default()
        })
    }

    /// Follows until [`stop`](Self::stop); in a thread of its own, which wakes the main one when it cannot go on.
    pub(super) fn follow(&self, global: Global, query: EventsQuery, reconnects: bool, wake: &Wake, main: &Waker) {
        if let Err(error) = self.read(&Ctx::new(global), query, reconnects, wake) {
            self.lock().broken = Some(error);
            self.changed.notify_all();
            main.wake();
        }
    }

    fn read(&self, ctx: &Ctx, query: EventsQuery, reconnects: bool, wake: &Wake) -> Result<(), Error> {
        let mut stream = Stream::open(ctx, query, reconnects)?.in_silence();
        loop {
            self.reached(stream.position());
            match stream.next(&Until { woken: Some(wake), ..Until::default() })? {
                Came::Lines => stream.entries()?.iter().for_each(|(entry, _)| self.note(entry)),
                Came::Woken => return Ok(()),
                Came::ReaderLeft | Came::Late => {}
            }
        }
    }

    /// Ends [`follow`](Self::follow).
    pub(super) fn stop(&self) {
        self.stop.wake();
    }

    /// Takes in an own message.
    fn note(&self, entry: &Entry) {
        if let Some(chat) = written_by_hand(entry) {
            let mut seen = self.lock();
            seen.written.insert(chat, (entry.seq, entry.time));
            if seen.written.len() > CHATS_MAX {
                let oldest = seen.written.iter().min_by_key(|(_, (seq, _))| *seq).map(|(chat, _)| chat.clone());
                oldest.and_then(|chat| seen.written.remove(&chat));
            }
        }
    }

    fn reached(&self, seq: Seq) {
        let mut seen = self.lock();
        seen.upto = seen.upto.max(seq);
        drop(seen);
        self.changed.notify_all();
    }

    /// Waits until the owner's messages are known up to there, or until `is_ending` says that nobody needs to know.
    ///
    /// # Errors
    /// When they will not be.
    pub(super) fn reaches(&self, seq: Seq, is_ending: impl Fn() -> bool) -> Result<(), Error> {
        let mut seen = self.lock();
        loop {
            if let Some(error) = &seen.broken {
                return Err(error.clone());
            }
            if seen.upto >= seq || is_ending() {
                return Ok(());
            }
            (seen, _) = self.changed.wait_timeout(seen, LOOK).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Why the owner's messages cannot be followed any more.
    pub(super) fn broken(&self) -> Option<Error> {
        self.lock().broken.clone()
    }

    /// Whether an event is the owner's affair. Own messages, which somebody asked for by `--self`, are theirs anyway.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        let Some(chat) = chat(entry).filter(|_| entry.is_self != Some(true)) else { return false };
        let written = self.lock().written.get(&chat).copied();
        written.is_some_and(|(seq, time)| seq > entry.seq || entry.time.since(time) < self.pause)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn chat(entry: &Entry) -> Option<Chat> {
    Some((entry.account.clone(), entry.chat.clone()?))
}

/// The chat in which somebody typed this on the phone or the PC. What comes twice from the client was typed once, if at all.
fn written_by_hand(entry: &Entry) -> Option<Chat> {
    let is_typed =
        entry.is_self == Some(true) && entry.command.is_none() && entry.repeat_of.is_none() && is_said(entry);
    chat(entry).filter(|_| is_typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Time = Time::from_millis(1_800_000_000_000);

    fn takeover(wake: &Wake) -> Takeover {
        Takeover::new(Duration::from_secs(60), wake.waker())
    }

    fn entry(seq: u64, seconds: u64, own: bool) -> Entry {
        Entry {
            seq: Seq(seq),
            time: T0.after(Duration::from_secs(seconds)),
            kind: "message.text".into(),
            account: Some("wxid_me".into()),
            chat: Some("wxid_a".into()),
            is_self: Some(own),
            ..Entry::default()
        }
    }

    #[test]
    fn a_chat_is_the_owners_up_to_the_pause_after_what_was_typed_and_before_it() {
        let wake = Wake::new().unwrap();
        let takeover = takeover(&wake);
        takeover.note(&entry(5, 100, true));
        let has = |seq, seconds| takeover.has(&entry(seq, seconds, false));
        assert!(has(4, 10) && has(6, 100) && has(7, 159) && !has(8, 160));
        let elsewhere = Entry { chat: Some("wxid_b".into()), ..entry(6, 101, false) };
        let other = Entry { account: Some("wxid_you".into()), ..entry(6, 101, false) };
        assert!(!takeover.has(&elsewhere) && !takeover.has(&other));
        assert!(!takeover.has(&entry(6, 101, true)), "what the owner says is not passed over");
        // The clock was set back.
        assert!(has(9, 50));
    }

    #[test]
    fn only_what_a_person_typed_takes_over() {
        let typed = entry(1, 0, true);
        assert!(written_by_hand(&typed).is_some());
        assert!(written_by_hand(&Entry { kind: "message.voice".into(), ..typed.clone() }).is_some());
        for other in [
            Entry { command: Some(7), ..typed.clone() },
            Entry { repeat_of: Some(Seq(1)), ..typed.clone() },
            Entry { is_self: Some(false), ..typed.clone() },
            Entry { is_self: None, ..typed.clone() },
            Entry { kind: "message.recall".into(), ..typed.clone() },
            Entry { kind: "message.system".into(), ..typed.clone() },
            Entry { chat: None, ..typed },
        ] {
            assert_eq!(written_by_hand(&other), None, "{other:?}");
        }
    }

    #[test]
    fn nothing_is_judged_before_the_owners_messages_are_known_so_far() {
        let wake = Wake::new().unwrap();
        let takeover = takeover(&wake);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| takeover.reaches(Seq(5), || false));
            takeover.reached(Seq(4));
            takeover.reached(Seq(5));
            assert_eq!(waiting.join().unwrap(), Ok(()));
        });
        assert_eq!(takeover.reaches(Seq(6), || true), Ok(()), "a signal came");
        takeover.lock().broken = Some(Error::failed("gone"));
        assert_eq!(takeover.reaches(Seq(6), || false), Err(Error::failed("gone")));
    }

    #[test]
    fn chats_that_are_remembered_have_an_end() {
        let wake = Wake::new().unwrap();
        let takeover = takeover(&wake);
        for n in 0..=CHATS_MAX as u64 {
            takeover.note(&Entry { chat: Some(n.to_string()), ..entry(n + 1, 0, true) });
        }
        let seen = takeover.lock();
        let of = |n: usize| (Some("wxid_me".to_owned()), n.to_string());
        assert!(seen.written.len() == CHATS_MAX && !seen.written.contains_key(&of(0)));
        assert!(seen.written.contains_key(&of(CHATS_MAX)));
    }
}
