//! What is known of an event beside what it says itself: who its speaker is called, whether it means the account, of
//! which command an own message is the echo (contract 7, `from_name`, `mentioned`, `command`).
//!
//! Promises: as the directory and the queue have it when the event is told; what cannot be read counts as unknown.

use crate::directory::{self, NameCache};
use crate::key::ECHOED;
use crate::protocol::event::{self, Event, Kind};
use crate::protocol::message;
use crate::seq::Seq;
use crate::store::{Store, Txn};

/// Of how many echoes is forgotten at once.
const FORGET_MAX: usize = 1000;

/// Who tells; made for each page, so that everybody is looked up once in it.
#[derive(Debug)]
pub(crate) struct Known<'s> {
    store: &'s Store,
    called: NameCache<'s>,
}

/// What is known of one event.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// What its speaker is called.
    pub(crate) from_name: Option<String>,
    /// Whether it means the account.
    pub(crate) mentioned: Option<bool>,
    /// The command whose echo it is.
    pub(crate) command: Option<u64>,
    /// The text with names in the place of ids, where it has such places.
    pub(crate) text: Option<String>,
}

impl<'s> Known<'s> {
    pub(crate) fn new(store: &'s Store) -> Self {
        Self { store, called: directory::called(store) }
    }

    pub(crate) fn about(&mut self, seq: Seq, event: &Event) -> Extras {
        let chat = event.chat.as_deref();
        let account = event.account.as_deref();
        let mut name = |wxid: &str| self.called.name(account?, chat, wxid);
        let from_name = event.from.as_deref().and_then(&mut name);
        let template = event.decoded.template().filter(|_| event.text.is_some());
        let text = template.map(|template| message::with_names(template, name));
        let command = if is_echo(event.kind, event.is_self) { self.command(seq) } else { None };
        Extras { from_name, mentioned: self.mentions(event), command, text }
    }

    /// Whether it means the account.
    pub(crate) fn mentions(&mut self, event: &Event) -> Option<bool> {
        event::mentions(event, |account, chat| self.called.own(account, chat))
    }

    fn command(&self, seq: Seq) -> Option<u64> {
        let id = self.store.get(ECHOED, &seq.0.to_be_bytes()).ok()??;
        Some(u64::from_be_bytes(id.try_into().ok()?))
    }
}

/// Whether it may be the echo of a command: a text, a picture, a file or link.
pub(super) fn is_echo(kind: Kind, is_self: Option<bool>) -> bool {
    matches!(kind, Kind::MessageText | Kind::MessageImage | Kind::MessageApp) && is_self == Some(true)
}

/// Remembers that an event is the echo of a command.
pub(crate) fn remember_echo(tx: &mut Txn<'_>, seq: Seq, command: u64) {
    tx.put(ECHOED, &seq.0.to_be_bytes(), command.to_be_bytes());
}

/// Forgets the echoes among the events before `first`, in steps; how many it was.
pub(crate) fn forget_echoes(tx: &mut Txn<'_>, first: Seq) -> usize {
    let gone: Vec<_> = tx.scan(ECHOED, ..&first.0.to_be_bytes()[..]).take(FORGET_MAX).map(|(key, _)| key).collect();
    gone.iter().for_each(|key| tx.delete(ECHOED, key));
    gone.len()
}

/// Whether [`forget_echoes`] would find something.
pub(crate) fn has_echoes_before(store: &Store, first: Seq) -> bool {
    store.scan(ECHOED, ..&first.0.to_be_bytes()[..]).take(1).any(|found| found.is_ok())
}
