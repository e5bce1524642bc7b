//! What was done to the daemon and what it answered: the facts that the oracle judges.
//!
//! A fact is written down when it is over, with the time that it began and the time that it ended; between the two the
//! daemon may have acted at any moment.

use crate::door::Manner;
use std::sync::Mutex;
use std::time::Instant;

/// Microseconds since the run began, of a clock that nobody sets.
pub(crate) type At = u64;

/// From when until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: At,
    pub(crate) to: At,
}

impl Span {
    /// Whether both have a moment in common.
    pub(crate) fn touches(self, other: Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// What is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 200.
    Answered,
    /// Another status: the daemon said no.
    Refused(u16),
    /// The connection ended before the answer: it may have been done or not.
    Unknown,
}

/// Whom a poll says that it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Naming {
    /// The wxid that its name means.
    pub(crate) account: Option<String>,
    pub(crate) pid: Option<u64>,
}

/// How much of the answer a client took in, and how it went then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It read all and closed in order.
    Orderly,
    /// It read all; how the connection ended proves nothing: it had closed its sending side before, or it left over TLS
    /// without reading the daemon's goodbye.
    Read,
    /// It read all and reset the connection, which may have overtaken its acknowledgement.
    Abrupt,
    /// It did not read all, or nothing.
    Cut,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A callback; `mark` stands in the event.
    Posted { mark: String, hand: usize, span: Span, outcome: Outcome },
    /// A callback that told who is logged in to a process: `account`, or nobody any more.
    Told { account: String, pid: u64, logged_in: bool, span: Span, outcome: Outcome },
    /// A command was queued; `id` where a receipt came.
    Queued { text: String, account: Option<String>, key: Option<String>, span: Span, id: Option<u64> },
    /// A poll (or a callback that may carry commands): the texts of the commands that were read whole.
    Polled { peer: String, naming: Naming, span: Span, manner: Manner, ending: Ending, texts: Vec<String> },
    /// `queue cancel` was answered.
    Cancelled { id: u64, span: Span, done: bool },
    /// `queue retry` was answered, or may have been done.
    Retried { id: u64, span: Span },
    /// The daemon was not there: from the signal until it served again.
    Down { span: Span, killed: bool },
    /// File calls failed.
    Faulty { span: Span },
    /// A reader began. `after`: it said that it has read so far. `again`: it may get again what it had.
    /// `kind`: it takes only events of that kind.
    Began { reader: String, after: Option<u64>, again: bool, kind: Option<&'static str> },
    /// A reader got an event.
    Read { reader: String, seq: u64, mark: Option<String> },
    /// A reader was told that these are gone.
    Dropped { reader: String, from: u64, to: u64 },
    /// A person's name was told: the directory knows it from then on.
    Named { wxid: String, nick: String, outcome: Outcome },
    /// Something was seen that needs no further judgement.
    Seen { check: Check, what: String },
}

/// What can be found wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Check {
    /// An event that was answered 200 is not in the log.
    EventLost,
    /// An event is in the log more often than it was posted.
    EventTwice,
    /// Events of one who posted one after the other stand in another order.
    EventOrder,
    /// A number is missing in the log, or comes twice.
    SeqGap,
    /// A reader did not get an event, and was not told.
    ReaderSkips,
    /// A reader got an event again that it need not have got.
    ReaderRepeats,
    /// A reader got another event under a number than the log has.
    ReaderDiffers,
    /// A reader did not come to the log's end.
    ReaderBehind,
    /// A receipt's command is not there any more.
    ReceiptLost,
    /// A command is bound to another account than was named.
    Misbound,
    /// A command was handed over twice although the first was read.
    HandedTwice,
    /// A command counts as fetched, and no client has it; or it was never handed over.
    NeverHanded,
    /// A command went to a client of another account.
    Foreign,
    /// A command went out for an account that is logged out.
    LoggedOut,
    /// A command was handed over after it had been cancelled.
    CancelledHanded,
    /// One key queued two commands.
    KeyTwice,
    /// A command stays in flight with no connection open.
    Stuck,
    /// `confirmed` says something else than what the client did.
    Confirmed,
    /// The directory does not say what the last events said.
    DirectoryStale,
    /// More memory, descriptors or threads than at rest before.
    Grown,
    /// It did not stop with 0 within 8 s.
    Stop,
    /// It panicked.
    Panic,
    /// A client that did everything right got no answer.
    NoAnswer,
    /// A client that closed its sending side after its request got no answer.
    HalfClosed,
    /// An answer that breaks HTTP or JSON, or a status that nobody promised.
    BadAnswer,
}

/// Where all hands write down their facts.
#[derive(Debug)]
pub(crate) struct Recorder {
    start: Instant,
    facts: Mutex<Vec<Fact>>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), facts: Mutex::default() }
    }

    pub(crate) fn now(&self) -> At {
        u64::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    /// From then until now.
    pub(crate) fn since(&self, from: At) -> Span {
        Span { from, to: self.now() }
    }

    pub(crate) fn add(&self, fact: Fact) {
        self.facts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(fact);
    }

    /// Something was seen that is wrong whatever else happened.
    pub(crate) fn saw(&self, check: Check, what: impl Into<String>) {
        self.add(Fact::Seen { check, what: what.into() });
    }

    pub(crate) fn take(&self) -> Vec<Fact> {
        std::mem::take(&mut *self.facts.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
