//! `wehelp ask`: a text, and the next message of that chat.
//!
//! An answer is a message of somebody else in that chat which came after the client was handed the question: the
//! receipt says what the newest event was at that moment (`fetched.after`), and the log is read from there on. So
//! nothing is lost that comes at once, and nothing is taken for an answer that was said before.
//!
//! One question is open per account and chat: its turn is the daemon's affair, which is told what an answer is and how
//! long one is waited for, and ends it before that when we let go of the connection on which it was queued ([`Turn`]).

use crate::cli::complete::Known;
use crate::cli::ctx::Ctx;
use crate::cli::enqueue::{self, Enqueuer};
use crate::cli::error::{Error, Exit};
use crate::cli::names;
use crate::cli::options::{Wiring, duration, who};
use crate::cli::progress::Progress;
use crate::cli::render;
use crate::cli::stream::{Came, Stream, Until};
use crate::cli::wait::{self, Outcome};
use crate::cli::who::Who;
use crate::clock::Time;
use crate::control::client::{self, Lines};
use crate::control::{self, ASKED_BEFORE, AskQuery, Entry, EventsQuery, Receipt, State, Status};
use crate::near;
use crate::protocol::command::{self, Command};
use crate::protocol::event::Kind;
use crate::protocol::id;
use crate::seq::Seq;
use regex::Regex;
use std::time::{Duration, Instant};

/// Send a text and print the next message of that chat: the building block of approval steps in scripts.
///
/// Messages that came before the question was handed to the client, the account's own, calls, and WeChat's notices are
/// no answer; in a room anybody's message is one unless --from names who is asked. When the question is refused, that ends
/// the wait (exit 5).
///
/// One question is open per account and chat, until it is answered, its --timeout is over, or the one who asked it is
/// gone: a second one waits for its turn, which counts to its --timeout, and is then `held` for the reason `ask: …`. A
/// question that no client has fetched when the time is over, or when the one who asked it is gone, is not asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp ask @boss \"deploy v7? (yes/no)\" --timeout 10m --match '^(yes|no)$' | jq -r .text")]
pub(in crate::cli) struct Args {
    /// A person's or room's id, or @NAME
    #[arg(value_name = "WXID", value_parser = who, add = Known::Contacts.completer())]
    wxid: Who,

    /// What to ask; - reads it from standard input
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    text: String,

    /// Give up after so long (exit 6)
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    timeout: Duration,

    /// Only a message with such a text is an answer
    #[arg(long, value_name = "REGEX")]
    r#match: Option<String>,

    /// While another question is open in the chat: do not wait for its turn, but end with exit status 5
    #[arg(long)]
    no_queue: bool,

    /// In a room: only a message of this person is an answer
    #[arg(long, value_name = "WXID", value_parser = who, add = Known::Contacts.completer())]
    from: Option<Who>,

    #[command(flatten)]
    wiring: Wiring,
}

/// A pattern is compiled to at most this many bytes: a typing error must not take the memory.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// How often it is looked whether our turn is still held.
const LOOK: Duration = Duration::from_secs(1);

/// What an answer must be like.
#[derive(Debug)]
struct Wanted {
    pattern: Option<Regex>,
    from: Option<String>,
}

impl Wanted {
    /// Whether an event is an answer: said by a person, and as it was asked for.
    fn is(&self, event: &Entry) -> bool {
        let said = Kind::from_name(&event.kind).is_some_and(Kind::is_said);
        let text = event.text.as_deref();
        said && self.from.as_ref().is_none_or(|from| event.from.as_ref() == Some(from))
            && self.pattern.as_ref().is_none_or(|pattern| text.is_some_and(|text| pattern.is_match(text)))
    }
}

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    let Args { wxid, text, timeout, r#match, from, no_queue, wiring } = args;
    if wiring.no_wait || wiring.wait.is_some() {
        return Err(Error::usage("ask always waits: give --timeout instead of --wait, or use `wehelp send text`"));
    }
    let pattern = r#match.as_deref().map(compile).transpose()?;
    let text = super::send::text(text)?;
    let enqueuer = Enqueuer::new(ctx, &wiring)?;
    command::said("text", &text)?;
    let wires = enqueuer.wires(&[Command::SendText { wxid: names::id(ctx, &wxid)?, text }])?;
    let [wire] = &wires[..] else { return Err(Error::failed("one command was to be made")) };
    let chat = wire.command().and_then(Command::chat).unwrap_or_default().to_owned();
    let from = match (&from, id::RoomId::parse(&chat)) {
        (None, _) => None,
        (Some(who), Ok(room)) => Some(names::member(ctx, who, &room).map_err(of_from)?.as_str().to_owned()),
        (Some(who), Err(_)) => Some(names::id(ctx, who).map_err(of_from)?.as_str().to_owned()),
    };
    if let Some(from) = from.as_ref().filter(|from| **from != chat && !id::is_room(&chat)) {
        return Err(Error::usage(format!(
            "--from: `{from}` cannot reply in the chat with `{chat}`; leave --from out, or ask in a room that both are in"
        )));
    }
    if enqueuer.is_dry(ctx, &wires)? {
        return Ok(());
    }
    // Nobody is asked when nobody listens any more.
    let expires = wiring.expires.map_or(timeout, |expires| expires.min(timeout));
    let query =
        AskQuery { queue: !no_queue, timeout_ms: Some(millis(timeout)), from: from.clone(), r#match, log: None };
    let (receipt, line) = enqueuer.ask(ctx, wire, expires, &query)?;
    let end = Instant::now() + timeout + receipt.due.since(Time::now());
    let id = receipt.id;
    let mut turn = Turn { ctx, id, due: receipt.due, end, query, line: Some(line), before: Predecessor::Nobody };
    turn.tell(&receipt);
    let progress = Progress::wait(ctx.out());
    progress.say("queued, waiting for a client to fetch it");
    let outcome = wait::watch(ctx, &receipt, control::Until::Fetched, end, |receipt| {
        turn.keep();
        turn.tell(receipt);
    })?;
    if let Some(error) = unfetched(&outcome.receipt, turn.before, timeout) {
        return Err(error);
    }
    if let Some(error) = wait::failure(&outcome, timeout) {
        return Err(error);
    }
    progress.say("fetched, waiting for the reply");
    let question = Question { ctx, receipt: outcome.receipt, chat, wanted: Wanted { pattern, from } };
    let (line, event) = question.answer(&mut turn, end, timeout)?;
    drop(progress);
    if ctx.out().is_json() || wiring.raw {
        return ctx.out().json_text(&line);
    }
    // What has no text is told by its kind: `[message.image]`.
    let said = event.text.as_deref().map_or_else(|| format!("[{}]", event.kind), |text| render::clean(text).into());
    ctx.out().text(&said)
}

/// The argument that an error is about.
fn of_from(error: Error) -> Error {
    error.about("WXID", "--from")
}

/// Time is over, and no client has fetched the question: it is not asked any more, for our connection ends with us.
fn unfetched(receipt: &Receipt, before: Predecessor, patience: Duration) -> Option<Error> {
    if !matches!(receipt.state, State::Scheduled | State::Ready | State::Expired) {
        return None;
    }
    let (id, within) = (receipt.id, wait::span(patience));
    if receipt.attempts > 0 {
        return Some(Error::no_answer(format!(
            "no reply within {within}: the question (command {id}) was handed to a client, which may have asked it, but \
             that it has read it is not known; see `wehelp queue show {id}`, and ask again only after a look at the chat"
        )));
    }
    let no_client = format!("no client fetched it{}", render::receipt::held(receipt));
    let why = match before {
        Predecessor::Open => "another question was open in this chat".to_owned(),
        Predecessor::Over(free) => format!(
            "another question was open in this chat, and in the {} after that {no_client}; see `wehelp status`",
            wait::span(free.elapsed())
        ),
        Predecessor::Nobody => format!("{no_client}; see `wehelp status`"),
    };
    Some(Error::no_answer(format!(
        "no reply within {within}: the question (command {id}) was not asked, because {why}"
    )))
}

/// The question's turn in its chat: the daemon lets it go when this connection ends, if not before.
struct Turn<'a> {
    ctx: &'a Ctx,
    id: u64,
    due: Time,
    end: Instant,
    query: AskQuery,
    line: Option<Lines>,
    before: Predecessor,
}

/// Whether another question goes first.
#[derive(Debug, Clone, Copy)]
enum Predecessor {
    Nobody,
    Open,
    /// One did, until then.
    Over(Instant),
}

impl Turn<'_> {
    /// Takes the question up again after the daemon was away. When it is away still, the next call does.
    fn keep(&mut self) {
        if self.line.as_mut().is_some_and(Lines::is_open) {
            return;
        }
        let left = self.end.saturating_duration_since(Instant::now()).saturating_sub(self.due.since(Time::now()));
        let log = self.ctx.log().map(str::to_owned);
        let query = AskQuery { timeout_ms: Some(millis(left)), log, ..self.query.clone() };
        let again = || -> Result<Lines, Error> {
            let mut line = self.ctx.client()?.open(&format!("/v1/asks/{}", self.id), &query)?.lines();
            enqueue::first_receipt(&mut line)?;
            Ok(line)
        };
        self.line = again().ok();
    }

    /// Says once that another question goes first.
    fn tell(&mut self, receipt: &Receipt) {
        let waits = receipt.held.as_ref().is_some_and(|held| held.reason.starts_with(ASKED_BEFORE));
        if waits && matches!(self.before, Predecessor::Nobody) {
            self.ctx.out().note(&format!(
                "another question is open in this chat; command {} waits for its turn (--no-queue does not)",
                self.id
            ));
        }
        self.before = match self.before {
            _ if waits => Predecessor::Open,
            // Of one that is over it is not told any more why it waited.
            Predecessor::Open if receipt.state == State::Ready => Predecessor::Over(Instant::now()),
            before => before,
        };
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

fn compile(pattern: &str) -> Result<Regex, Error> {
    regex::RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|e| Error::usage(format!("--match is no regular expression: {}", near::fault(&e.to_string()))))
}

struct Question<'a> {
    ctx: &'a Ctx,
    receipt: Receipt,
    chat: String,
    wanted: Wanted,
}

impl Question<'_> {
    /// Follows the chat from the hand-over on, over a restart of the daemon, until an answer comes.
    fn answer(&self, turn: &mut Turn<'_>, end: Instant, patience: Duration) -> Result<(String, Entry), Error> {
        let after = self.receipt.fetched.as_ref().map_or(Seq::ZERO, |fetched| fetched.after);
        let mut stream = Stream::after(self.ctx, self.query(), after)?;
        loop {
            turn.keep();
            let time = Some(end.min(Instant::now() + LOOK));
            match stream.next(&Until { time, ..Until::default() }).map_err(|error| self.lost(error))? {
                Came::Lines => {
                    let mut noticed = false;
                    for (event, json) in stream.entries()? {
                        if self.wanted.is(&event) {
                            return Ok((json, event));
                        }
                        noticed |= event.kind == "message.system";
                    }
                    if noticed {
                        self.refused()?;
                    }
                }
                Came::Late if Instant::now() >= end => {
                    // It may have been refused without a notice in the chat.
                    self.refused()?;
                    return Err(Error::no_answer(self.late(patience)));
                }
                _ => {}
            }
        }
    }

    /// What is followed.
    fn query(&self) -> EventsQuery {
        let Receipt { fetched, account, .. } = &self.receipt;
        EventsQuery {
            chat: Some(self.chat.clone()),
            // The one that fetched it, which is known even when it was bound to nobody.
            account: fetched.as_ref().and_then(|f| f.account.clone()).or_else(|| account.clone()),
            is_self: Some(false),
            ..EventsQuery::default()
        }
    }

    /// The daemon went away and did not come back.
    fn lost(&self, error: Error) -> Error {
        if error.code == control::OTHER_LOG {
            let message = format!("no reply: the question was asked, but {}", wait::elsewhere(self.receipt.id));
            return Error::no_answer(message);
        }
        if !matches!(error.exit, Exit::NoDaemon | Exit::NoAnswer) {
            return error;
        }
        let asked = format!("the question is asked already, see `wehelp queue show {}`", self.receipt.id);
        Error { message: format!("{}; {asked}", error.message), ..error }
    }

    /// It was fetched, and nobody replied.
    fn late(&self, patience: Duration) -> String {
        let Receipt { id, fetched, .. } = &self.receipt;
        let (at, since) = fetched.as_ref().map_or_else(Default::default, |f| (f.time.local(), f.after.next()));
        format!(
            "no reply within {}: the client has fetched the question (command {id}, at {at}); `wehelp events --since \
             '#{since}'` shows what came after it",
            wait::span(patience)
        )
    }

    /// Fails when a notice has told that the question was refused.
    fn refused(&self) -> Result<(), Error> {
        let client = self.ctx.client()?;
        // The status waits until everything that came is understood.
        let _status: Status = client.get("/v1/status")?;
        let id = self.receipt.id;
        let receipt: Receipt = match client.get(&format!("/v1/commands/{id}")) {
            Ok(receipt) => receipt,
            // It is kept no longer, and was not refused as far as anybody knows.
            Err(client::Error::Refused { status: 404, .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if receipt.state != State::Rejected {
            return Ok(());
        }
        let outcome = wait::watch(self.ctx, &receipt, control::Until::Answered, Instant::now(), |_| {})?;
        wait::failure(&Outcome { receipt, ..outcome }, Duration::ZERO).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, from: &str, text: Option<&str>) -> Entry {
        Entry { kind: kind.into(), from: Some(from.into()), text: text.map(Into::into), ..Entry::default() }
    }

    #[test]
    fn an_answer_is_what_a_person_says_as_it_was_asked_for() {
        let any = Wanted { pattern: None, from: None };
        assert!(any.is(&event("message.text", "a", Some("yes"))));
        assert!(any.is(&event("message.image", "a", None)));
        for kind in [
            "message.system",
            "message.recall",
            "message.call",
            "message.friend_request",
            "message.other",
            "room.joined",
            "login",
            "",
        ] {
            assert!(!any.is(&event(kind, "a", Some("yes"))), "{kind}");
        }
        let some = Wanted { pattern: Some(compile("^(yes|no)$").unwrap()), from: Some("a".into()) };
        assert!(some.is(&event("message.text", "a", Some("no"))));
        assert!(!some.is(&event("message.text", "b", Some("no"))));
        assert!(!some.is(&event("message.text", "a", Some("not yet"))));
        assert!(!some.is(&event("message.image", "a", None)));
    }

    #[test]
    fn what_was_handed_out_may_have_been_asked() {
        let receipt = |attempts: u32, state: &str| -> Receipt {
            let epoch = Time::from_millis(0);
            let command = serde_json::json!({"api": "sendTextMessage"});
            serde_json::from_value(serde_json::json!({
                "id": 1, "state": state, "account": null, "api": "sendTextMessage", "command": command,
                "created": epoch, "due": epoch, "expires": null, "key": null, "attempts": attempts, "fetched": null,
                "answer": null,
            }))
            .unwrap()
        };
        for state in ["ready", "expired"] {
            let told = |attempts, before| unfetched(&receipt(attempts, state), before, Duration::ZERO).unwrap().message;
            let said = |attempts| told(attempts, Predecessor::Nobody);
            assert!(said(0).contains("was not asked, because no client fetched it"), "{}", said(0));
            assert!(said(1).contains("may have asked") && !said(1).contains("was not asked"), "{}", said(1));
            for before in [Predecessor::Open, Predecessor::Over(Instant::now())] {
                let said = told(0, before);
                assert!(said.contains("not asked, because another question was open in this chat"), "{said}");
            }
        }
    }

    #[test]
    fn a_bad_pattern_is_one_sentence() {
        let error = compile("(").unwrap_err();
        assert!(error.message.contains("--match") && !error.message.contains('\n'), "{}", error.message);
        assert!(compile("(a{1000}){1000}").is_err());
    }
}
