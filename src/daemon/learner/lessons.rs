//! What the end of a command teaches the directory: who is missing from a whole list, who was deleted (contract 5).
//!
//! The queue notes such commands in the transaction that ends them, so a crash loses none. `learner` asks for them between
//! two steps: only its task writes to the directory. A list that comes in pieces is whole when it has answered its
//! question and no further piece has come for [`PIECES`], or all have been told that there are. Until then it only adds; and when this daemon was not there all
//! that time, pieces may be lost, and it never does more.

use crate::clock::Time;
use crate::daemon::log::{entry, range};
use crate::daemon::queue::record::{PIECES, Record};
use crate::daemon::queue::{clock_steps::Clock, read, table::taught};
use crate::daemon::{ages::Ages, alloc, learned::CatchUp, slow};
use crate::directory::{self, Change, Draft, Ended, Lesson, Told};
use crate::seq::Seq;
use crate::store::{Error, Store};
use std::sync::Arc;
use std::time::Duration;

/// A deletion waits for what was reported before it: so often it looks whether that was learned.
const LOOK: Duration = Duration::from_millis(50);
/// What is unlearned is written in steps of this many changes, as what is learned.
const CHANGES_MAX: usize = 200;

/// Learns from the ends of commands.
#[derive(Debug)]
pub(crate) struct Lessons {
    pub(crate) store: Store,
    pub(crate) clock: Arc<Clock>,
    pub(crate) learned: Arc<CatchUp>,
    /// Where large events are learned from.
    pub(crate) lane: Arc<slow::Lane>,
}

impl Lessons {
    /// Learns from what has ended; `at`: events up to there were learned from. Tells when to come again, if something is
    /// left.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(crate) async fn learn(&self, at: Seq) -> Result<Option<Duration>, Error> {
        let mut again: Option<Duration> = None;
        for (id, record) in read::teaching(&self.store)? {
            let lesson = record.as_ref().and_then(|record| Lesson::of(&record.api));
            let changes = match record.zip(lesson) {
                // It was taken back into the queue, or is kept no longer.
                None => Vec::new(),
                Some((record, lesson)) => {
                    let more = match self.more_may_come(&record, lesson) {
                        More::No if lesson == Lesson::Deleted && asked(&record) > at => More::Within(LOOK),
                        more => more,
                    };
                    if let More::Within(wait) = more {
                        again = Some(again.map_or(wait, |again| again.min(wait)));
                        continue;
                    }
                    if more == More::IsLost {
                        Vec::new()
                    } else {
                        let (store, ages) = (self.store.clone(), self.clock.ages());
                        let worked_out = self.lane.run(move || study(&store, &record, lesson, &ages)).await;
                        // A whole list was read for it.
                        drop(tokio::task::spawn_blocking(alloc::give_back_freed).await);
                        worked_out.map_err(|_| Error::Other("learning from a list panicked".into()))??
                    }
                }
            };
            self.write(id, changes).await?;
        }
        Ok(again)
    }

    /// Whether something is over that was not learned from yet.
    fn are_left(&self) -> bool {
        let is_over = |record: &Record, lesson| !matches!(self.more_may_come(record, lesson), More::Within(_));
        let is_left = |(_, record): &(u64, Option<Record>)| {
            let lesson = record.as_ref().and_then(|record| Lesson::of(&record.api));
            record.as_ref().zip(lesson).is_none_or(|(record, lesson)| is_over(record, lesson))
        };
        read::teaching(&self.store).is_ok_and(|found| found.iter().any(is_left))
    }

    fn more_may_come(&self, record: &Record, lesson: Lesson) -> More {
        let last = record.answers.iter().max().filter(|_| lesson.comes_in_pieces() && !record.whole);
        let came = last.and_then(|last| Some((*last, range::one(&self.store, *last).ok()?.time)));
        let Some((last, came)) = came else { return More::No };
        let (ages, began) = (self.clock.ages(), self.learned.started_at());
        let is_old = record.answers.iter().any(|piece| *piece <= began);
        more(is_old, ages.of_event(last, came), ages.now(self.clock.now()))
    }

    async fn write(&self, id: u64, mut changes: Vec<Change>) -> Result<(), Error> {
        loop {
            let rest = changes.split_off(changes.len().min(CHANGES_MAX));
            let some = std::mem::replace(&mut changes, rest);
            let is_last = changes.is_empty();
            let written = self.store.write_lazily(move |tx| {
                some.iter().for_each(|change| change.apply(tx));
                if is_last {
                    taught(tx, id);
                }
                Ok::<_, std::convert::Infallible>(())
            });
            let Ok(()) = written.await?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Waits until everything answered so far has been learned from, and what the ends of commands teach: for questions
    /// about people and rooms. A list that may get another piece teaches nothing yet.
    pub(crate) async fn all_learned(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        const LOOK: Duration = Duration::from_millis(10);
        self.learned.catch_up().await;
        let until = tokio::time::Instant::now() + PATIENCE;
        while self.are_left() && tokio::time::Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether a list may get another piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    No,
    /// Within so long.
    Within(Duration),
    /// One may have been missed.
    IsLost,
}

/// `is_old`: a piece came before this daemon did; `came`: when the last one came.
fn more(is_old: bool, came: Time, now: Time) -> More {
    let passed = now.since(came);
    match passed {
        _ if is_old => More::IsLost,
        // A clock that was set back does not keep it waiting.
        _ if passed >= PIECES || came > now => More::No,
        _ => More::Within(PIECES - passed),
    }
}

/// The newest event when it was handed out.
fn asked(record: &Record) -> Seq {
    record.claimed.as_ref().map(|claimed| claimed.tail).unwrap_or_default()
}

fn study(store: &Store, record: &Record, lesson: Lesson, ages: &Ages) -> Result<Vec<Change>, Error> {
    let mut told = Told::default();
    for &seq in record.answers.iter().filter(|_| lesson != Lesson::Deleted) {
        // What cannot be read any more (retention, damage) may have told of anybody: then nobody is missing.
        let Some(mut pieces) = range::one(store, seq).ok().and_then(|stored| entry::pieces(&stored).ok()) else {
            return Ok(Vec::new());
        };
        loop {
            match entry::piece(&mut pieces) {
                Ok(Some(piece)) => told.hear(lesson, seq, &piece),
                Ok(None) => break,
                Err(_) => return Ok(Vec::new()),
            }
        }
    }
    let whom = record.command.command().and_then(|command| command.member("wxid").text());
    // A client that did not say who it is: the answer does.
    let account = Some(record.answerer()).filter(|account| !account.is_empty()).or_else(|| told.account());
    let mut draft = Draft::new(store);
    let ended = Ended {
        lesson,
        account: account.unwrap_or_default(),
        asked: asked(record),
        told: &told,
        whom,
        time: record.done.map_or(record.created, |done| ages.wall(done)),
    };
    directory::unlearn(&mut draft, &ended)?;
    Ok(draft.changes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_whole_when_nothing_more_came_and_nothing_can_have_been_missed() {
        let at = |millis: i32| Time::from_millis(1_800_000_000_000 + i64::from(millis));
        for (is_old, now, then) in [
            (false, 0, More::Within(PIECES)),
            (false, 2000, More::Within(Duration::from_secs(1))),
            (false, 3000, More::No),
            (false, -1000, More::No),
            (true, 0, More::IsLost),
            (true, 90_000, More::IsLost),
        ] {
            assert_eq!(more(is_old, at(0), at(now)), then, "{is_old} {now}");
        }
    }
}
