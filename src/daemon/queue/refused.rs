//! Why the queue refuses.

use crate::clock::Time;
use crate::control::{ENQUEUE_MAX, KEY_BYTES_MAX, Rev, State};
use crate::daemon::accounts::refused as accounts;
use crate::daemon::blocking::Panicked;
use crate::daemon::log::refused as log;
use crate::store;

/// What was asked of the queue cannot be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("there is no command {0}")]
    NotFound(u64),
    /// To be taken back.
    #[error("command {id} is {state}")]
    Gone { id: u64, state: State },
    /// To be queued again.
    #[error("command {id} is {state}")]
    Over { id: u64, state: State },
    #[error("command {0} is on its way to a client")]
    OnItsWay(u64),
    #[error("command {id} waits until {due} and was not handed over")]
    NotDue { id: u64, due: Time },
    #[error("the key `{key}` of command {id} stands for command {other} by now, and nothing was queued")]
    KeyGone { key: String, id: u64, other: u64 },
    #[error("two different commands of this call have the key `{0}`, and nothing was queued")]
    KeyTwice(String),
    #[error("the key `{key}` was used for another command (#{id}) within 24 h")]
    KeyUsed { key: String, id: u64 },
    #[error("command {other} {did} the friend request of command {id}, and nothing was queued")]
    Accepted { other: u64, did: &'static str, id: u64 },
    #[error("the queue is full: {waiting} commands wait, and queue.commands_max is {max}")]
    Full { waiting: u64, max: u64 },
    /// Not for all commands of a call.
    #[error(
        "the queue has no room for {of_this_call} more commands, and none of them was queued: {waiting} wait, and \
         queue.commands_max is {max}"
    )]
    NoRoom { of_this_call: usize, waiting: u64, max: u64 },
    #[error("another question (command {0}) is open in this chat, and nothing was queued")]
    AskOpen(u64),
    #[error("only a text can be asked")]
    NotAText,
    #[error("give one command, the question")]
    NoQuestion,
    #[error("`commands` is empty")]
    Empty,
    #[error("at most {ENQUEUE_MAX} commands go into one request")]
    TooMany,
    #[error("give one key for each command, or none")]
    KeyMissing,
    #[error("a key has 1 to {KEY_BYTES_MAX} bytes")]
    KeyLength,
    /// A command that could not do anything.
    #[error("{0}")]
    Command(String),
    #[error("give `delay_ms` or `due`, not both")]
    DueTwice,
    #[error("`due` is past")]
    Past,
    #[error("the pattern of keys is longer than {0} bytes")]
    PatternLength(usize),
    #[error("no state is called `{0}`")]
    NoState(String),
    #[error("say which commands are meant: give a state, an account, an api or a pattern of keys")]
    Unfiltered,
    #[error("only what is scheduled, ready or in_flight can be cancelled")]
    Finished,
    #[error(
        "what is asked for stands after change {after}, and the queue has only come to {newest}: it is another one than \
         the one that was read (was a backup restored?)"
    )]
    Ahead { after: Rev, newest: Rev },
    #[error(transparent)]
    Log(#[from] log::Refused),
    #[error(transparent)]
    Accounts(#[from] accounts::Refused),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}
