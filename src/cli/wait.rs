//! Waits for a command: until a client has fetched it, or an event has answered it, and prints what came (contract 3). A wait
//! outlives a restart of the daemon: the command is on its disk.

use super::backoff::Backoff;
use super::ctx::Ctx;
use super::error::Error;
use super::progress::Progress;
use super::render::{self, items::Shape, receipt};
use crate::clock::Time;
use crate::control::{self, Entry, Receipt, State, Until, WaitQuery, client};
use crate::protocol::command::{Api, Class};
use serde_json::{Value, value::RawValue};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// How long an answer is waited for unless told (contract 3).
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// So much longer than it promised, a daemon may take to say that a wait is over.
const SLACK: Duration = Duration::from_secs(10);

/// What became of a command while it was waited for.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) receipt: Receipt,
    /// The answering events, with what they hold for the command.
    pub(super) answers: Vec<(Box<RawValue>, Vec<Value>)>,
    /// Whether what was waited for came.
    pub(super) reached: bool,
    /// The daemon that is there does not have the command, and why.
    pub(super) gone: Option<Vanished>,
}

/// Why a command is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vanished {
    /// Its daemon keeps it no longer.
    Forgotten,
    /// Another daemon has taken the place of its own; what became of it nobody there knows.
    Elsewhere,
}

/// What a refusal tells of a command that was there.
fn let_go(error: &client::Error) -> Option<Vanished> {
    match error {
        client::Error::Refused { refusal, .. } if refusal.error == control::OTHER_LOG => Some(Vanished::Elsewhere),
        client::Error::Refused { status: 404, .. } => Some(Vanished::Forgotten),
        _ => None,
    }
}

impl Vanished {
    /// Says it of a command, which was last in that state.
    fn says(self, id: u64, state: State) -> String {
        match self {
            Self::Forgotten => format!("wehelpd has forgotten command {id}, which was last {state} (queue.keep_done)"),
            Self::Elsewhere => format!("{}; it was last {state}", elsewhere(id)),
        }
    }
}

/// What is said of a command whose daemon is not the one that answers now.
pub(super) fn elsewhere(id: u64) -> String {
    format!(
        "another wehelpd, with another log of events, has taken the place of the one that has command {id}; start that one \
         again, and see `wehelp queue show {id}` there"
    )
}

/// Waits for each in turn and prints the answers. The patience begins anew with every answer: who is answered
/// piece by piece is not given up while pieces come.
///
/// # Errors
/// As the daemon says, and when an answer does not come.
pub(super) fn all(ctx: &Ctx, awaited: &[(Receipt, Duration)], raw: bool) -> Result<(), Error> {
    ctx.out().flush()?;
    let several = awaited.len() > 1;
    let progress = match awaited.len() {
        0 => return Ok(()),
        1 => Progress::wait(ctx.out()),
        n => Progress::count(ctx.out(), n as u64, "answers"),
    };
    let mut failures = Vec::new();
    let mut told = Coverage::default();
    let mut table: Vec<Value> = Vec::new();
    let mut begun = Instant::now();
    let shape = awaited.first().map_or(Shape::Facts, |(first, _)| Shape::of(&first.api));
    for (n, (first, patience)) in awaited.iter().enumerate() {
        let until = begun + *patience + first.due.since(Time::now());
        let outcome = watch(ctx, first, Until::Answered, until, |receipt| {
            if !several {
                progress.say(stage(receipt));
            }
        })?;
        progress.at(n as u64 + 1);
        if outcome.reached {
            begun = Instant::now();
        }
        let mut collected = None;
        progress.beside(ctx.out(), || {
            collected = show(ctx, &outcome, raw)?;
            Ok(())
        })?;
        table.extend(collected.unwrap_or_default());
        told.add(&outcome);
        failures.extend(failure(&outcome, *patience).map(|error| (outcome, *patience, error)));
    }
    drop(progress);
    let failures = told.sum_up(failures);
    if !table.is_empty() {
        ctx.out().text(&shape.text(&table, ctx.out().columns()))?;
    } else if failures.is_empty() && !ctx.out().is_json() && !raw && matches!(shape, Shape::Table(_)) {
        ctx.out().note("the answer is empty");
    }
    ctx.out().told(failures)
}

/// Prints what came: as JSON lines at once, for people as items of a table to come.
fn show(ctx: &Ctx, outcome: &Outcome, raw: bool) -> Result<Option<Vec<Value>>, Error> {
    let api = Api::find(&outcome.receipt.api);
    let asks = api.is_some_and(Api::is_question);
    if raw && !outcome.answers.is_empty() {
        outcome.answers.iter().try_for_each(|(event, _)| ctx.out().json_text(event.get()))?;
        return Ok(None);
    }
    // People want to know of a deed that it is done, programs what the answer holds.
    if api.is_none_or(|api| api.answers.is_empty()) || !(asks || ctx.out().is_json()) {
        if outcome.reached {
            ctx.out().receipt(&outcome.receipt)?;
        }
        return Ok(None);
    }
    let items = merged(&outcome.answers);
    if ctx.out().is_json() {
        items.iter().try_for_each(|item| ctx.out().json_line(item))?;
        return Ok(None);
    }
    Ok(Some(items))
}

/// Waits until a command has got as far as `until`, or the time is over; `seen` is told of each change.
///
/// # Errors
/// When the daemon goes away and does not come back.
pub(super) fn watch(
    ctx: &Ctx,
    first: &Receipt,
    until: Until,
    end: Instant,
    mut seen: impl FnMut(&Receipt),
) -> Result<Outcome, Error> {
    let mut backoff = Backoff::for_a_restart();
    let id = first.id;
    let mut known = Outcome { receipt: first.clone(), answers: Vec::new(), reached: false, gone: None };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match watch_once(ctx, until, left, &mut backoff, &mut known, &mut seen) {
            Ok(outcome) => {
                let over = matches!(outcome.receipt.state, State::Expired | State::Cancelled);
                if outcome.reached || over || Instant::now() >= end {
                    return Ok(outcome);
                }
                // The daemon ended the wait before its time: it stops, it waits for a day at most, or the command is gone.
                backoff.reset();
                known = outcome;
            }
            Err(error) if let_go(&error).is_some() => {
                // It was there: it stays what it was.
                let reached = known.receipt.state == State::Answered;
                return Ok(Outcome { reached, gone: let_go(&error), ..known });
            }
            Err(error) if !error.may_pass() => return Err(error.into()),
            Err(error) if backoff.is_over() || Instant::now() >= end || ctx.is_ending() => {
                let mut error = Error::from(error);
                error.message = format!("{}; command {id} is kept, see `wehelp queue show {id}`", error.message);
                return Err(error);
            }
            Err(_) => {}
        }
        std::thread::sleep(backoff.pause());
    }
}

fn watch_once(
    ctx: &Ctx,
    until: Until,
    left: Duration,
    backoff: &mut Backoff,
    known: &mut Outcome,
    seen: &mut impl FnMut(&Receipt),
) -> Result<Outcome, client::Error> {
    let client = match ctx.client() {
        Ok(client) => client,
        Err(error) => return Err(client::Error::Strange(error.message)),
    };
    let (timeout_ms, log) = (u64::try_from(left.as_millis()).unwrap_or(u64::MAX), ctx.log().map(str::to_owned));
    let path = format!("/v1/commands/{}/wait", known.receipt.id);
    let mut lines = client.open(&path, &WaitQuery { timeout_ms, until, log })?.lines();
    lines.set_patience(Some(left.saturating_add(SLACK)))?;
    let (mut is_there, mut answers) = (false, Vec::new());
    while let Some(progress) = lines.next_value()? {
        backoff.reset();
        match progress {
            control::Progress::Receipt(now) => {
                seen(&now);
                (known.receipt, is_there) = (now, true);
            }
            control::Progress::Answer { event, items } => answers.push((event, items)),
            control::Progress::End { reached } => {
                if !is_there {
                    return Err(client::Error::Strange("a wait without a receipt".into()));
                }
                return Ok(Outcome { receipt: known.receipt.clone(), answers, reached, gone: None });
            }
        }
    }
    Err(client::Error::Broken(std::io::ErrorKind::UnexpectedEof.into()))
}

/// Where a command stands, for somebody who waits for it.
fn stage(receipt: &Receipt) -> String {
    let deed = receipt::deed(receipt);
    match receipt.state {
        State::Scheduled => format!("{deed}: due {}", receipt.due.local()),
        State::InFlight => format!("{deed}: on its way to the client"),
        State::Fetched => format!("{deed}: fetched, waiting for the answer"),
        State::Answered => format!("{deed}: answered"),
        _ => format!("{deed}: queued, waiting for a client to fetch it{}", receipt::held(receipt)),
    }
}

/// Why an outcome is no success.
pub(super) fn failure(outcome: &Outcome, patience: Duration) -> Option<Error> {
    let mut told = Coverage::default();
    told.add(outcome);
    failure_of(outcome, patience, &told.part().unwrap_or_else(|| "the ids, and not yet the rest".to_owned()))
}

/// As [`failure`]; `part` says how much came.
fn failure_of(outcome: &Outcome, patience: Duration, part: &str) -> Option<Error> {
    let receipt = &outcome.receipt;
    let id = receipt.id;
    match receipt.state {
        State::Rejected => {
            let notice = outcome.answers.last().and_then(|(event, _)| Entry::read(event.get().as_bytes())?.text);
            let notice = notice.map(|text| format!(": {text}")).unwrap_or_default();
            let seq = receipt.answer.map(|seq| format!(" (event {seq})")).unwrap_or_default();
            let notice = if notice.is_empty() && Api::find(&receipt.api).is_some_and(|api| api.class == Class::Friend) {
                ": the client told of no friendship".to_owned()
            } else {
                notice
            };
            Some(Error::refused("rejected", format!("command {id} was rejected{notice}{seq}")))
        }
        State::Expired if receipt.attempts > 0 => Some(Error::no_answer(format!(
            "command {id} expired; it was handed to a client before, which may have done it, but that it was read is not \
             known; see `wehelp queue show {id}`"
        ))),
        State::Expired => Some(Error::no_answer(format!(
            "command {id} expired before a client fetched it; is the client polling? see `wehelp status`"
        ))),
        State::Cancelled => Some(Error::refused("cancelled", format!("command {id} was cancelled meanwhile"))),
        State::Answered if receipt.cut => Some(Error::no_answer(format!(
            "the answer to command {id} may not be whole: wehelpd was not running when more of it could have come; ask again"
        ))),
        _ if outcome.reached => None,
        _ if outcome.gone.is_some() => {
            let came = if outcome.answers.is_empty() { "no answer" } else { part };
            let gone = outcome.gone.map(|gone| gone.says(id, receipt.state)).unwrap_or_default();
            Some(Error::no_answer(format!("{came}: {gone}")))
        }
        _ if !outcome.answers.is_empty() => Some(Error::no_answer(format!(
            "only a part of the answer to command {id} came within {}: {}; what comes later is still noted, see `wehelp \
             queue show {id}`",
            span(patience),
            part
        ))),
        _ => Some(Error::no_answer(late(receipt, patience))),
    }
}

/// Who was asked about, by one command or by all of a call, and of whom nothing came.
#[derive(Debug, Default)]
struct Coverage {
    asked: HashSet<String>,
    missing: Vec<String>,
    commands: usize,
}

impl Coverage {
    fn add(&mut self, outcome: &Outcome) {
        let command: Value = serde_json::from_str(outcome.receipt.command.get()).unwrap_or_default();
        let ids = command["wxidLists"].as_array().map_or(&[][..], Vec::as_slice);
        let mut ids: Vec<String> = ids.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        self.commands += usize::from(!ids.is_empty());
        ids.retain(|id| self.asked.insert(id.clone()));
        if outcome.answers.is_empty() && !outcome.reached {
            self.missing.extend(ids);
        } else if !outcome.reached {
            self.missing.extend(outcome.receipt.missing.iter().cloned());
        }
    }

    /// How much came: `2 of 3; `wxid_c` was not told`; `None` where nobody was asked about by id.
    fn part(&self) -> Option<String> {
        /// This many of those that were not told are named.
        const NAMED_MAX: usize = 5;
        if self.asked.is_empty() {
            return None;
        }
        let missing = &self.missing;
        if missing.is_empty() {
            return Some(format!("all {} were told, and not that there is no more", self.asked.len()));
        }
        let named: Vec<String> = missing.iter().take(NAMED_MAX).map(|id| format!("`{}`", render::clean(id))).collect();
        let more = match missing.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let was = if missing.len() == 1 { "was" } else { "were" };
        let (told, asked) = (self.asked.len().saturating_sub(missing.len()), self.asked.len());
        Some(format!("{told} of {asked}; {}{more} {was} not told", named.join(", ")))
    }

    /// The failures of a call: where it asked by several commands, the first of them tells how much came of all.
    fn sum_up(&self, failures: Vec<(Outcome, Duration, Error)>) -> Vec<Error> {
        let whole = self.part().filter(|_| self.commands > 1 && !self.missing.is_empty());
        let mut whole = whole.as_deref();
        let said = |(outcome, patience, error): (Outcome, Duration, Error)| match whole.take() {
            None => error,
            // It says itself how much came.
            Some(whole) if !outcome.answers.is_empty() => failure_of(&outcome, patience, whole).unwrap_or(error),
            Some(whole) => Error { message: format!("{whole}: {}", error.message), ..error },
        };
        failures.into_iter().map(said).collect()
    }
}

/// What is said when time is over: whether the client has fetched the command yet.
fn late(receipt: &Receipt, patience: Duration) -> String {
    let id = receipt.id;
    let within = span(patience);
    match &receipt.fetched {
        Some(fetched) => format!(
            "no answer within {within}: the client has fetched command {id} (at {}), and no event has answered it yet; \
             a late answer is still noted, see `wehelp queue show {id}`",
            fetched.time.local()
        ),
        None if receipt.state == State::InFlight => format!(
            "no answer within {within}: command {id} is on its way to the client, and not yet known to be fetched; see \
             `wehelp queue show {id}`"
        ),
        None if receipt.attempts > 0 => format!(
            "no answer within {within}: command {id} was handed to a client, which may have done it, but that it was read \
             is not known{}; it goes out again, and `wehelp queue cancel {id}` takes it back",
            receipt::held(receipt)
        ),
        None => format!(
            "no answer within {within}: no client has fetched command {id} yet{}; it stays queued, `wehelp queue \
             cancel {id}` takes it back, and `wehelp status` tells of the clients",
            receipt::held(receipt)
        ),
    }
}

/// A length of time in few words.
pub(super) fn span(length: Duration) -> String {
    let millis = length.as_millis();
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..120_000 => format!("{} s", millis / 1000),
        _ => format!("{} min", millis / 60_000),
    }
}

/// The items of an answer that came in pieces: each person and room once, where it was told last; a bare list of ids
/// only when nothing better came.
fn merged(answers: &[(Box<RawValue>, Vec<Value>)]) -> Vec<Value> {
    let kind = |event: &RawValue| Entry::read(event.get().as_bytes()).map(|entry| entry.kind).unwrap_or_default();
    let kinds: Vec<String> = answers.iter().map(|(event, _)| kind(event)).collect();
    let better = kinds.iter().any(|kind| kind == "contacts");
    let mut merged: Vec<Value> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for ((_, items), kind) in answers.iter().zip(&kinds) {
        if better && kind == "contacts.packet" {
            continue;
        }
        // A packet has no single id, and a member may stand in one list twice.
        let lists = matches!(kind.as_str(), "contacts" | "contacts.packet" | "rooms" | "room.members");
        let begin = merged.len();
        for item in items {
            match item["wxid"].as_str().filter(|_| lists && answers.len() > 1) {
                None => merged.push(item.clone()),
                Some(wxid) => match places.get(wxid).filter(|place| kind != "room.members" || **place < begin) {
                    Some(place) => merged[*place] = item.clone(),
                    None => {
                        places.insert(wxid.to_owned(), merged.len());
                        merged.push(item.clone());
                    }
                },
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::error::Exit;
    use crate::seq::Seq;
    use serde_json::json;

    fn receipt(state: &str) -> Receipt {
        serde_json::from_value(json!({
            "id": 42, "state": state, "account": "wxid_me", "api": "sendTextMessage",
            "command": {"api": "sendTextMessage", "wxid": "a", "text": "x"},
            "created": "2026-11-23T09:00:00.000Z", "due": "2026-11-23T09:00:00.000Z",
            "expires": null, "key": null, "attempts": 0, "fetched": null, "answer": null,
        }))
        .unwrap()
    }

    fn answer(kind: &str, items: &Value) -> (Box<RawValue>, Vec<Value>) {
        let event = json!({"seq": 1, "kind": kind, "text": "被对方拒收了"}).to_string();
        (RawValue::from_string(event).unwrap(), items.as_array().unwrap().clone())
    }

    #[test]
    fn a_list_in_pieces_tells_each_one_once_and_the_details_win() {
        let answers = [
            answer("contacts.packet", &json!([{"wxid": "a"}])),
            answer("contacts", &json!([{"wxid": "a", "nick": "A"}, {"wxid": "b"}])),
            answer("contacts", &json!([{"wxid": "b", "nick": "B"}])),
        ];
        assert_eq!(merged(&answers), [json!({"wxid": "a", "nick": "A"}), json!({"wxid": "b", "nick": "B"})]);
        assert_eq!(merged(&answers[..1]), [json!({"wxid": "a"})]);
        let twice = json!([{"wxid": "a"}, {"wxid": "a"}, {"wxid": "b"}]);
        let members = [answer("room.members", &twice), answer("room.members", &json!([{"wxid": "b"}, {"wxid": "c"}]))];
        assert_eq!(merged(&members).len(), 4);
    }

    #[test]
    fn what_is_said_when_time_is_over_tells_whether_the_client_has_it() {
        let outcome = |state| Outcome { receipt: receipt(state), answers: vec![], reached: false, gone: None };
        let said = |state| failure(&outcome(state), PATIENCE).unwrap();
        assert!(said("ready").message.contains("no client has fetched command 42 yet"));
        assert_eq!(said("ready").exit, Exit::NoAnswer);
        assert_eq!((said("expired").exit, said("cancelled").exit), (Exit::NoAnswer, Exit::Refused));
        let mut fetched = outcome("fetched");
        fetched.receipt.fetched = Some(control::Fetched {
            time: Time::from_millis(0),
            account: None,
            pid: None,
            peer: String::new(),
            confirmed: true,
            after: Seq(1),
        });
        assert!(failure(&fetched, PATIENCE).unwrap().message.contains("the client has fetched command 42"));
        fetched.reached = true;
        assert_eq!(failure(&fetched, PATIENCE), None);
    }

    #[test]
    fn a_refusal_is_told_with_its_notice() {
        let outcome = Outcome {
            receipt: receipt("rejected"),
            answers: vec![answer("message.system", &json!([]))],
            reached: true,
            gone: None,
        };
        let error = failure(&outcome, PATIENCE).unwrap();
        assert_eq!(error.exit, Exit::Refused);
        assert!(error.message.contains("被对方拒收了"), "{}", error.message);
    }

    #[test]
    fn what_is_kept_no_longer_or_may_lack_something_is_no_answer() {
        let outcome = |state, reached, gone: bool, cut| {
            let (receipt, gone) = (Receipt { cut, ..receipt(state) }, gone.then_some(Vanished::Forgotten));
            failure(&Outcome { receipt, answers: vec![], reached, gone }, PATIENCE)
        };
        for (outcome, word) in [
            (outcome("fetched", false, true, false), "forgotten command 42, which was last fetched"),
            (outcome("answered", true, false, true), "may not be whole"),
            (outcome("answered", true, true, true), "may not be whole"),
        ] {
            let error = outcome.unwrap();
            assert_eq!(error.exit, Exit::NoAnswer);
            assert!(error.message.contains(word), "{}", error.message);
        }
        assert_eq!(outcome("answered", true, true, false), None);
    }

    #[test]
    fn a_command_that_is_another_daemons_is_not_forgotten() {
        let told = |status: u16, code: &str| {
            let refusal = control::Refusal { error: code.to_owned(), message: String::new() };
            let_go(&client::Error::Refused { status, refusal })
        };
        assert_eq!(
            (told(409, "other-log"), told(404, "not-found")),
            (Some(Vanished::Elsewhere), Some(Vanished::Forgotten))
        );
        assert_eq!((told(409, "too-late"), told(503, "store-refuses-writes")), (None, None));
        let receipt = receipt("fetched");
        let outcome = Outcome { receipt, answers: vec![], reached: false, gone: Some(Vanished::Elsewhere) };
        let error = failure(&outcome, PATIENCE).unwrap();
        assert_eq!(error.exit, Exit::NoAnswer);
        assert!(error.message.contains("another wehelpd") && !error.message.contains("forgotten"), "{}", error.message);
    }

    /// A question about these, of which nothing came but those who are not missing.
    fn asked(from: usize, to: usize, missing: &[&str], came: bool, reached: bool) -> Outcome {
        let ids: Vec<String> = (from..to).map(|n| format!("wxid_{n}")).collect();
        let command = json!({ "api": "newGetUserLists", "wxidLists": ids }).to_string();
        let receipt = Receipt {
            command: RawValue::from_string(command).unwrap(),
            missing: missing.iter().map(|&id| id.to_owned()).collect(),
            ..receipt("fetched")
        };
        let answers = if came { vec![answer("contacts", &json!([]))] } else { vec![] };
        Outcome { receipt, answers, reached, gone: None }
    }

    #[test]
    fn of_a_question_in_several_commands_it_is_told_how_much_of_all_came() {
        let told = |outcomes: Vec<Outcome>| -> Vec<String> {
            let mut told = Coverage::default();
            outcomes.iter().for_each(|outcome| told.add(outcome));
            let failed = |outcome: Outcome| failure(&outcome, PATIENCE).map(|error| (outcome, PATIENCE, error));
            told.sum_up(outcomes.into_iter().filter_map(failed).collect()).into_iter().map(|e| e.message).collect()
        };
        let whole = |from, to| asked(from, to, &[], true, true);
        let lost = told(vec![whole(0, 50), asked(50, 100, &[], false, false), whole(100, 120)]);
        let named = "`wxid_50`, `wxid_51`, `wxid_52`, `wxid_53`, `wxid_54` and 45 more were not told: no answer within";
        assert!(lost.len() == 1 && lost[0].starts_with(&format!("70 of 120; {named}")), "{lost:?}");
        let cut = told(vec![whole(0, 50), asked(50, 70, &["wxid_68", "wxid_69"], true, false)]);
        assert!(cut.len() == 1 && cut[0].contains("68 of 70; `wxid_68`, `wxid_69` were not told"), "{cut:?}");
        let both = told(vec![asked(0, 2, &["wxid_1"], true, false), asked(2, 4, &[], false, false)]);
        assert!(both[0].contains("1 of 4; `wxid_1`, `wxid_2`, `wxid_3` were not told"), "{both:?}");
        assert!(both.len() == 2 && both[1].starts_with("no answer"), "{both:?}");
        let one = told(vec![asked(0, 3, &["wxid_2"], true, false)]);
        assert!(one[0].contains("2 of 3; `wxid_2` was not told"), "{one:?}");
        assert!(told(vec![asked(0, 3, &[], false, false)])[0].starts_with("no answer"));
    }
}
