//! Waits for the end of a command, and tells what becomes of it meanwhile (contract 3).

use crate::clock::Time;
use crate::control::{Progress, Receipt, State, Until, WaitQuery};
use crate::daemon::learned::CatchUp;
use crate::daemon::log::follow::{Following, Gone, Piece};
use crate::daemon::queue::awaited::{Awaited, Waiter};
use crate::daemon::queue::record::{PIECES, Record};
use crate::daemon::queue::{CommandQueue, refused::Refused};
use crate::protocol::command::{Api, Says};
use crate::seq::Seq;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The longest wait for an answer: a day. Scripts that wait longer ask again.
const WAIT_MAX: Duration = Duration::from_secs(86_400);
/// After a text was fetched, a notice that refuses it is waited for so long (contract 3).
const NOTICE: Duration = Duration::from_millis(500);

/// What waiting takes.
#[derive(Debug)]
pub(crate) struct Waits {
    pub(crate) queue: Arc<CommandQueue>,
    pub(crate) following: Arc<Following>,
    pub(crate) learned: Arc<CatchUp>,
    pub(crate) awaited: Awaited,
}

/// One who waits.
struct Wait {
    id: u64,
    awaited: Until,
    until: Instant,
    out: mpsc::Sender<Piece>,
    /// Answers that were told.
    told: Vec<Seq>,
    /// The last line.
    last: String,
    _waiter: Waiter,
}

impl Waits {
    /// Waits for a command; lines tell how it stands, whenever that changes, and which events answer it.
    ///
    /// # Errors
    /// When there is no such command.
    pub(crate) fn begin(self: &Arc<Self>, id: u64, query: &WaitQuery) -> Result<mpsc::Receiver<Piece>, Refused> {
        self.queue.receipt(id)?;
        let (out, lines) = mpsc::channel(8);
        let until = Instant::now() + Duration::from_millis(query.timeout_ms).min(WAIT_MAX);
        let waiting = Wait {
            id,
            awaited: query.until,
            until,
            out,
            told: Vec::new(),
            last: String::new(),
            _waiter: self.awaited.begin(id),
        };
        let waits = Arc::clone(self);
        tokio::spawn(async move {
            // The waiter may have gone.
            drop(waits.run(waiting).await);
        });
        Ok(lines)
    }

    async fn run(&self, mut waiting: Wait) -> Result<(), Gone> {
        // After a start: a further piece of an answer may be in the log, and nothing was learned from it yet.
        self.learned.catch_up().await;
        let mut changed = self.queue.changes.subscribe();
        let mut answered = false;
        let reached = loop {
            changed.mark_unchanged();
            let now = self.queue.clock.now();
            // It may be kept no longer: then it stays what it was.
            let Ok(record) = self.queue.record(waiting.id) else { break answered };
            let receipt = record.receipt(now);
            answered = receipt.state == State::Answered;
            self.tell(&mut waiting, &record, &receipt).await?;
            let mut wake = waiting.until;
            let mut over = false;
            let last = record.done.filter(|_| record.may_go_on() && !record.cut);
            match stage(&receipt, waiting.awaited, record.had(), last, self.queue.clock.ages().now(now)) {
                Stage::Open => {}
                Stage::Over => break true,
                Stage::Failed => break false,
                Stage::OverAfter(left) => {
                    over = true;
                    wake = (Instant::now() + left).min(waiting.until);
                }
            }
            // A scheduled command becomes ready without anything changing; look again now and then.
            let look = Instant::now() + Duration::from_secs(1);
            tokio::select! {
                () = tokio::time::sleep_until(wake.min(look)) => {
                    if Instant::now() >= waiting.until { break over; }
                }
                _ = changed.changed() => {}
                () = waiting.out.closed() => return Err(Gone),
                () = self.queue.shutdown.wait() => break false,
            }
        };
        waiting.send(&Progress::End { reached }).await
    }

    /// Tells how a command stands, if that has changed, and which events have answered it since the last time.
    async fn tell(&self, waiting: &mut Wait, record: &Record, receipt: &Receipt) -> Result<(), Gone> {
        let line = Progress::Receipt(receipt.clone()).line();
        if line != waiting.last {
            waiting.last.clone_from(&line);
            waiting.out.send(Ok(line.into())).await.map_err(|_| Gone)?;
        }
        for seq in all_answers(receipt) {
            if waiting.told.contains(&seq) {
                continue;
            }
            waiting.told.push(seq);
            self.following.send_answer(&waiting.out, seq, record.command.clone()).await?;
        }
        Ok(())
    }
}

impl Wait {
    async fn send(&self, progress: &Progress) -> Result<(), Gone> {
        self.out.send(Ok(progress.line().into())).await.map_err(|_| Gone)
    }
}

/// How far a wait has come.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// What is waited for has not come.
    Open,
    /// It has, unless something more comes within so long.
    OverAfter(Duration),
    /// It has.
    Over,
    /// It will not come any more.
    Failed,
}

/// How far the wait for a command has come; `had`: when a client had it; `last`: when the last piece of its answer came,
/// if another may come. All times are by age.
fn stage(receipt: &Receipt, awaited: Until, had: Option<Time>, last: Option<Time>, now: Time) -> Stage {
    let left = |since: Time, patience: Duration| match patience.saturating_sub(now.since(since)) {
        Duration::ZERO => Stage::Over,
        left => Stage::OverAfter(left),
    };
    let fetched = receipt.fetched.as_ref();
    let is_text = Api::says(&receipt.api) == Says::Text;
    match (receipt.state, fetched) {
        (State::Rejected, _) => Stage::Over,
        (State::Expired | State::Cancelled, _) => Stage::Failed,
        (_, Some(_)) if awaited == Until::Fetched => Stage::Over,
        // A notice may still tell that it was refused, also after the echo.
        (State::Fetched | State::Answered, Some(fetched)) if is_text => left(had.unwrap_or(fetched.time), NOTICE),
        (State::Answered, _) => last.map_or(Stage::Over, |last| left(last, PIECES)),
        (_, Some(_)) if Api::find(&receipt.api).is_none_or(|api| api.answers.is_empty()) => Stage::Over,
        _ => Stage::Open,
    }
}

fn all_answers(receipt: &Receipt) -> Vec<Seq> {
    let mut answers = receipt.answers.clone();
    if let Some(answer) = receipt.answer
        && !answers.contains(&answer)
    {
        answers.push(answer);
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(millis: i64) -> Time {
        Time::from_millis(millis)
    }

    /// A receipt that is fetched at 0, unless it is only queued.
    fn receipt(api: &str, state: &str) -> Receipt {
        let fetched = json!({"time": at(0), "account": null, "pid": null, "peer": "", "confirmed": true, "after": 0});
        serde_json::from_value(json!({
            "id": 1, "state": state, "account": null, "api": api, "command": {"api": api},
            "created": at(0), "due": at(0), "expires": null, "key": null, "attempts": 0,
            "fetched": if matches!(state, "ready" | "in_flight" | "expired") { json!(null) } else { fetched },
            "answer": null,
        }))
        .unwrap()
    }

    #[test]
    fn a_wait_ends_with_what_was_waited_for() {
        let text = ["sendTextMessage"];
        let silent = ["sendChatroom", "sendPicMessage", "sendBrandNew", "delUser"];
        let answered = ["getUserInfo", "acceptFriend", "outLogin"];
        let lists = ["initContact", "getChatRoomLists"];
        let ms = Duration::from_millis;
        for (apis, state, after, stage_then) in [
            (&text[..], "fetched", 100, Stage::OverAfter(ms(400))),
            (&text[..], "fetched", 500, Stage::Over),
            // A refusal may come behind the echo.
            (&text[..], "answered", 100, Stage::OverAfter(ms(400))),
            (&text[..], "rejected", 0, Stage::Over),
            (&text[..], "in_flight", 100, Stage::Open),
            // Only texts have an echo that could be waited for.
            (&silent[..], "fetched", 0, Stage::Over),
            (&silent[..], "ready", 0, Stage::Open),
            (&answered[..], "fetched", 100_000, Stage::Open),
            (&answered[..], "answered", 0, Stage::Over),
            (&answered[..], "expired", 0, Stage::Failed),
            (&lists[..], "fetched", 100, Stage::Open),
            (&lists[..], "answered", 1000, Stage::OverAfter(ms(2000))),
            (&lists[..], "answered", 3000, Stage::Over),
        ] {
            for api in apis {
                let last = (state == "answered" && apis == lists).then(|| at(0));
                let receipt = receipt(api, state);
                assert_eq!(
                    stage(&receipt, Until::Answered, None, last, at(after)),
                    stage_then,
                    "{api} {state} {after}"
                );
            }
        }
        assert_eq!(stage(&receipt("getUserInfo", "fetched"), Until::Fetched, None, None, at(0)), Stage::Over);
    }
}
