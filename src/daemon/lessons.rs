//! What the end of a command teaches the directory: who is missing from a whole list, who was deleted (contract 5).
//!
//! The queue notes such commands in the transaction that ends them, so a crash loses none. `react` asks for them between
//! two steps: only its task writes to the directory. A list is whole when it has answered its question and no further
//! piece has come for [`QUIET`]; a piece that comes later than that is learned, and the whole judged anew.

use super::ages::Ages;
use super::alloc;
use super::queue::{self, Record, read};
use super::service::Service;
use super::{entry, follow};
use crate::directory::{self, Change, Draft, Ended, Lesson, Told};
use crate::seq::Seq;
use crate::store::{Error, Store};
use std::time::Duration;

/// Pieces of one list follow each other within so long, nearly always.
pub(super) const QUIET: Duration = Duration::from_millis(500);
/// A deletion waits for what was reported before it: so often it looks whether that was learned.
const LOOK: Duration = Duration::from_millis(50);
/// What is unlearned is written in steps of so many changes, as what is learned.
const CHANGES_MAX: usize = 200;

/// Learns from what has ended; `at`: events up to there were learned from. Tells when to come again, if something is
/// left.
///
/// # Errors
/// When the store cannot be read or written.
pub(super) async fn learn(service: &Service, at: Seq) -> Result<Option<Duration>, Error> {
    let mut again: Option<Duration> = None;
    for (id, record) in read::teaching(service.store())? {
        let lesson = record.as_ref().and_then(|record| Lesson::of(&record.api));
        let changes = match record.zip(lesson) {
            // It was taken back into the queue, or is kept no longer.
            None => Vec::new(),
            Some((record, lesson)) => {
                if let Some(wait) = too_early(service, &record, lesson, at) {
                    again = Some(again.map_or(wait, |again| again.min(wait)));
                    continue;
                }
                let (store, ages) = (service.store().clone(), service.ages());
                let worked_out = service.learning().run(move || study(&store, &record, lesson, &ages)).await;
                // A whole list was read for it.
                drop(tokio::task::spawn_blocking(alloc::give_back_freed).await);
                worked_out.map_err(|_| Error::Other("learning from a list panicked".into()))??
            }
        };
        write(service, id, changes).await?;
    }
    Ok(again)
}

/// Whether something ended that was not learned from yet.
pub(super) fn are_left(service: &Service) -> bool {
    service.store().scan(queue::TEACHES, &[], &[255; 9], 1, false).is_ok_and(|found| !found.is_empty())
}

/// How long to wait until all that belongs to it is there.
fn too_early(service: &Service, record: &Record, lesson: Lesson, at: Seq) -> Option<Duration> {
    if lesson == Lesson::Deleted {
        return (asked(record) > at).then_some(LOOK);
    }
    let last = *record.answers.iter().max().filter(|_| lesson.comes_in_pieces())?;
    let (ages, came) = (service.ages(), follow::one(service.store(), last).ok()?.time);
    let (came, now) = (ages.of_event(last, came), ages.now(service.now()));
    let passed = now.since(came);
    // A clock that was set back does not keep it waiting.
    (passed < QUIET && came <= now).then(|| QUIET - passed)
}

/// The newest event when it was handed out.
fn asked(record: &Record) -> Seq {
    record.claimed.as_ref().map(|claimed| claimed.tail).unwrap_or_default()
}

fn study(store: &Store, record: &Record, lesson: Lesson, ages: &Ages) -> Result<Vec<Change>, Error> {
    let mut told = Told::default();
    for &seq in record.answers.iter().filter(|_| lesson != Lesson::Deleted) {
        // What cannot be read any more (retention, damage) may have told of anybody: then nobody is missing.
        let Some(mut pieces) = follow::one(store, seq).ok().and_then(|stored| entry::pieces(&stored).ok()) else {
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
    let whom = record.field("wxid");
    // A client that did not say who it is: the answer does.
    let account = Some(record.answerer()).filter(|account| !account.is_empty()).or_else(|| told.account());
    let mut draft = Draft::new(store);
    let ended = Ended {
        lesson,
        account: account.unwrap_or_default(),
        asked: asked(record),
        told: &told,
        whom: whom.as_deref().map(str::trim),
        time: record.done.map_or(record.created, |done| ages.wall(done)),
    };
    directory::unlearn(&mut draft, &ended)?;
    Ok(draft.changes())
}

async fn write(service: &Service, id: u64, mut changes: Vec<Change>) -> Result<(), Error> {
    loop {
        let rest = changes.split_off(changes.len().min(CHANGES_MAX));
        let some = std::mem::replace(&mut changes, rest);
        let is_last = changes.is_empty();
        let written = service.store().write_lazily(move |tx| {
            some.iter().for_each(|change| change.apply(tx));
            if is_last {
                queue::taught(tx, id);
            }
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = written.await?;
        if is_last {
            return Ok(());
        }
    }
}
