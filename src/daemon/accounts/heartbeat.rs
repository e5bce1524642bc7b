//! Whether an account's client still polls, by what is usual for it (contract 7, `client.offline` and `client.online`).
//!
//! Promises: a client is missing when it has been silent for three of its usual intervals, and never sooner than
//! [`SILENCE_MIN`]. Absence and return are told in turns: what [`look`](Heartbeat::look) finds stays the same until
//! [`note`](Heartbeat::note) says that it is stored, and each return ends one absence. While a poll is held open nothing is
//! silent; neither is what this daemon was not there for. Its memory is bounded ([`GAPS_MAX`]).
//! Leaves to others: whose a poll is (`table`), when to look and what is stored (`watch`).
//!
//! The usual interval is the longest but one of the last pauses between two polls. One long pause is an accident, and a
//! second one the custom; many short ones, which clients make that fetch a row of commands, count as one. A pause counts
//! for no more than would have been waited for it, so that an absence of hours makes nobody wait for hours.
//!
//! A pure state machine: instants come in as arguments. It runs on the clock that nobody sets and that stands while the
//! machine sleeps; wall times are only told.

use crate::clock::Time;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Nobody is missed sooner: a PC may be busy, or start its client anew.
pub(crate) const SILENCE_MIN: Duration = Duration::from_secs(30);
/// A client of which only one poll is known is waited for so long: people set intervals of up to a minute.
pub(crate) const SILENCE_UNKNOWN: Duration = Duration::from_secs(75);
/// This many usual intervals have to pass.
const INTERVALS: u32 = 3;
/// This many pauses are remembered.
const GAPS_MAX: usize = 16;
/// With this many pauses known, one that is much shorter than usual counts once in a usual interval.
const GAPS_STEADY: usize = 4;
/// Much shorter: by this.
const SHORTER: u32 = 4;

/// What is kept of it over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PollsKept {
    /// When it polled last.
    pub(crate) last_poll: Time,
    /// Its usual interval, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval: Option<u64>,
}

/// The polls of an account's client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heartbeat {
    /// Polls that are open now.
    open: usize,
    /// When and at what time of the wall clock the last poll began; none: nobody has ever polled, and nobody is missed.
    began: Option<(Instant, Time)>,
    /// Since when none is open.
    silent: Option<Instant>,
    /// How long it was silent before tells nothing of it: this daemon was not there.
    was_away: bool,
    gaps: VecDeque<Duration>,
    /// When a pause was noted last.
    noted: Option<Instant>,
    /// It was told to be missing, as it was then.
    missing: Option<PollsKept>,
    /// When it polled again after that.
    returned: Option<Time>,
    /// Its process, as it said last.
    pid: Option<u64>,
    /// The last poll said no name: it is the account's as long as there is no other.
    is_unnamed: bool,
}

/// What is to be told of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) change: Change,
    /// When its last poll was over; of a return: when it came back.
    pub(crate) since: Time,
    /// When it polled last; of a return: before its absence.
    pub(crate) last_poll: Time,
    /// Its usual interval, where more than one poll is known.
    pub(crate) interval: Option<Duration>,
    pub(crate) pid: Option<u64>,
    /// As of which poll this was found.
    as_of: Option<Instant>,
}

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    WentAway,
    CameBack,
}

/// What a look at a client finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, until it polls.
    Nothing,
    /// Nothing before this moment.
    NothingUntil(Instant),
    /// This.
    Finding(Finding),
}

impl Finding {
    /// What to keep of somebody who is told to be missing.
    pub(crate) fn kept(&self) -> PollsKept {
        PollsKept { last_poll: self.last_poll, interval: self.interval.map(millis) }
    }
}

fn millis(interval: Duration) -> u64 {
    u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)
}

impl Heartbeat {
    /// What a former run knew of it; that it was missing, if that was told.
    pub(crate) fn restore(kept: PollsKept, missing: Option<PollsKept>, now: Instant) -> Self {
        let gaps = kept.interval.map(Duration::from_millis).into_iter();
        Self {
            began: Some((now, kept.last_poll)),
            silent: Some(now),
            was_away: true,
            // Twice: what one pause says after a restart counts as little as before it.
            gaps: gaps.flat_map(|gap| [gap, gap]).collect(),
            missing,
            ..Self::default()
        }
    }

    /// What to keep.
    pub(crate) fn kept(&self) -> Option<PollsKept> {
        self.began.map(|(_, last_poll)| PollsKept { last_poll, interval: self.interval().map(millis) })
    }

    /// A poll begins. True when somebody should look: there is something to be told, or to be waited for, that there was
    /// not before.
    pub(crate) fn begin(&mut self, now: Instant, wall: Time, pid: Option<u64>, is_unnamed: bool) -> bool {
        let silent = self.silent.take().map(|since| now.saturating_duration_since(since));
        if let Some(gap) = silent.filter(|_| self.open == 0 && !self.was_away) {
            self.learn(gap, now);
        }
        self.open += 1;
        let is_first = self.began.replace((now, wall)).is_none();
        (self.was_away, self.is_unnamed) = (false, is_unnamed);
        self.pid = pid.or(self.pid);
        let returns = self.missing.is_some() && self.returned.is_none();
        if returns {
            self.returned = Some(wall);
        }
        is_first || returns
    }

    /// A poll ends: it was answered, or its client has left.
    pub(crate) fn end(&mut self, now: Instant) {
        self.open = self.open.saturating_sub(1);
        if self.open == 0 && self.began.is_some() {
            self.silent = Some(now);
        }
    }

    /// Its client polled then, before it was known whose it is.
    pub(crate) fn was_there(&mut self, at: Instant, wall: Time) {
        if self.began.is_none() {
            (self.began, self.silent, self.was_away) = (Some((at, wall)), Some(at), true);
        }
    }

    /// This daemon can be polled only from now on: what was silent before counts for nothing.
    pub(crate) fn resume(&mut self, now: Instant) {
        if self.was_away && self.silent.is_some() {
            self.silent = Some(now);
        }
    }

    /// This daemon has stood still for so long.
    pub(crate) fn stood_still(&mut self, length: Duration) {
        self.silent = self.silent.map(|since| since + length);
    }

    /// Whether its polls are the account's only as long as there is no other account.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.is_unnamed && self.missing.is_none()
    }

    fn learn(&mut self, gap: Duration, now: Instant) {
        let (gap, usual) = (gap.min(self.patience()), self.interval().unwrap_or_default());
        let is_lately = self.noted.is_some_and(|at| now.saturating_duration_since(at) < usual);
        if self.gaps.len() >= GAPS_STEADY && gap * SHORTER < usual && is_lately {
            return;
        }
        if self.gaps.len() >= GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
        self.noted = Some(now);
    }

    /// Its usual interval.
    fn interval(&self) -> Option<Duration> {
        let mut gaps: Vec<Duration> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        gaps.len().checked_sub(2).map_or_else(|| gaps.first().copied(), |at| Some(gaps[at]))
    }

    /// How long it may be silent.
    fn patience(&self) -> Duration {
        self.interval().map_or(SILENCE_UNKNOWN, |usual| (usual * INTERVALS).max(SILENCE_MIN))
    }

    /// What is to be told of it now.
    pub(crate) fn look(&self, now: Instant) -> Found {
        let Some((began, last_poll)) = self.began else { return Found::Nothing };
        let news = |change, since, last_poll| {
            let (interval, pid, as_of) = (self.interval(), self.pid, self.silent);
            Found::Finding(Finding { change, since, last_poll, interval, pid, as_of })
        };
        if let Some(missing) = self.missing {
            return self.returned.map_or(Found::Nothing, |since| news(Change::CameBack, since, missing.last_poll));
        }
        // A poll is open: whenever it ends, nothing is to be told before this.
        let Some(silent) = self.silent else { return Found::NothingUntil(now + SILENCE_MIN) };
        let until = silent + self.patience();
        if now < until {
            return Found::NothingUntil(until);
        }
        let over = if self.was_away { last_poll } else { last_poll.after(silent.saturating_duration_since(began)) };
        news(Change::WentAway, over, last_poll)
    }

    /// What was found is stored. True when somebody should look again: more has happened meanwhile.
    pub(crate) fn note(&mut self, news: &Finding) -> bool {
        self.returned = None;
        match news.change {
            Change::CameBack => {
                self.missing = None;
                true
            }
            Change::WentAway => {
                self.missing = Some(news.kept());
                let polled = self.silent != news.as_of;
                self.returned = self.began.filter(|_| polled).map(|(_, wall)| wall);
                polled
            }
        }
    }
}

#[cfg(test)]
mod tests;
