//! `wehelp events`: prints, follows and processes events.
//!
//! `cli::stream` is the daemon's stream, kept up over its restarts. `print` writes events out, `exec` runs a command for each
//! (in the order that `plan` allows, each run a `job`); `pass` tells what it is not run for, and `takeover` where the account's
//! owner writes. `keeper` moves the cursor, and only over what was really written out or whose command succeeded.
//! `cli::wake` interrupts a wait: signals, ended jobs.

mod args;
mod exec;
mod job;
mod keeper;
mod pass;
mod plan;
mod print;
mod takeover;

use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::cli::names;
use crate::cli::render;
use crate::cli::stream::{self, Stream};
use crate::cli::wake::{Signals, Wake};
use crate::clock::{Bare, Time};
use crate::control::{Account, EventsQuery};
use args::{Lines, List, Resend, Show, What};
use keeper::Keeper;
use std::io::{IsTerminal, Read};

/// How many of the newest are printed when nothing else is said (contract 7).
const LINES_DEFAULT: u64 = 20;

pub(in crate::cli) use args::Args;

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    match args.what {
        Some(What::Show(args)) => show(ctx, &args),
        Some(What::Resend(args)) => resend(ctx, &args),
        None => list(ctx, &args.list),
    }
}

fn list(ctx: &Ctx, list: &List) -> Result<(), Error> {
    let command = list.exec.command();
    if list.timeout.is_some() && !list.follow {
        return Err(Error::usage("--timeout is how long -f waits for events; give -f as well"));
    }
    if let Some(words) = &command {
        exec::check(words, list)?;
    }
    let query = query(ctx, list)?;
    let mut wake = Wake::new().map_err(|e| Error::failed(format!("make a pipe: {e}")))?;
    // What must not be cut in the middle notices signals itself; all else just ends.
    let careful = list.cursor.is_some() || command.is_some();
    let runs = job::Runs::default();
    let watched = runs.clone();
    let signals = careful.then(|| Signals::watch(wake.waker(), move || watched.kill())).transpose();
    let signals = signals.map_err(|e| Error::failed(format!("watch for signals: {e}")))?;
    let mut stream = Stream::open(ctx, query.clone(), list.follow && !list.no_reconnect)?;
    let mut keeper = Keeper::new(list.cursor.clone(), stream.position());
    match command {
        Some(words) => {
            let (cursor, from_now) = (list.cursor.as_deref(), from_now(list));
            let (how, count, timeout) = (&list.exec, count(list), list.timeout);
            let run = exec::Run { words, how, query: &query, cursor, from_now, timeout, count, runs };
            exec::run(ctx, &run, &mut stream, &mut keeper, &mut wake, signals.as_ref())
        }
        None => {
            let look = look(ctx);
            print::run(ctx, &look, list.timeout, &mut stream, &mut keeper, &mut wake, signals.as_ref())
        }
    }
}

/// How many events it is to be about. Of a cursor the next ones are meant.
fn count(list: &List) -> Option<u64> {
    let next = match list.lines {
        Some(Lines::Newest(lines)) if list.cursor.is_some() => Some(lines),
        _ => None,
    };
    list.count.into_iter().chain(next).min()
}

/// How events are to be printed.
fn look(ctx: &Ctx) -> print::Look {
    if ctx.out().is_json() {
        return if std::io::stdout().is_terminal() { print::Look::TerminalJson } else { print::Look::Json };
    }
    // Which account an event is of is worth a column only where there are several.
    let several = ctx.global().account.is_none()
        && ctx
            .client()
            .is_ok_and(|client| client.list::<Account>("/v1/accounts", &()).is_ok_and(|accounts| accounts.len() > 1));
    print::Look::Text { accounts: several }
}

/// Whether it begins with new events, a new cursor too: a bot that is started does not answer what was said last week,
/// unless somebody says where it begins.
fn from_now(list: &List) -> bool {
    let told = if list.cursor.is_some() { list.cursor_from.is_some() } else { list.lines.is_some() };
    list.exec.command().is_some() && !told && list.since.is_none()
}

/// What to ask the daemon for.
fn query(ctx: &Ctx, list: &List) -> Result<EventsQuery, Error> {
    let exec = list.exec.command().is_some();
    let from_now = from_now(list);
    let lines = match list.lines {
        Some(Lines::All) => None,
        Some(Lines::Newest(lines)) => Some(lines),
        None if list.cursor.is_some() || list.since.is_some() => None,
        None if from_now => Some(0),
        None => list.until.is_none().then_some(LINES_DEFAULT),
    };
    let cursor_from = list.cursor_from.as_deref().or(from_now.then_some("now"));
    Ok(EventsQuery {
        follow: list.follow,
        lines: lines.filter(|_| list.cursor.is_none()),
        since: list.since.as_deref().map(|text| edge("--since", text)).transpose()?,
        until: list.until.as_deref().map(|text| edge("--until", text)).transpose()?,
        kind: list.kind.clone(),
        chat: names::filter(ctx, "--chat", list.chat.as_deref())?,
        from: names::filter(ctx, "--from", list.from.as_deref())?,
        account: ctx.global().account.clone(),
        r#match: list.r#match.clone(),
        // A command that answers must not be given its own answers, unless asked for.
        is_self: match (list.own, list.no_self) {
            (true, _) if !exec => Some(true),
            (true, _) => None,
            (false, true) => Some(false),
            (false, false) => exec.then_some(false),
        },
        mentioned: list.mentioned,
        // What is passed over does not count, and the daemon does not know what that is.
        count: count(list).filter(|_| !exec || pass::Passing::of(&list.exec).is_none()),
        cursor: list.cursor.clone(),
        cursor_from: cursor_from.map(|text| edge("--cursor-from", text)).transpose()?,
        heartbeat_ms: u64::try_from(stream::HEARTBEAT.as_millis()).ok(),
        marks: true,
        ..EventsQuery::default()
    })
}

/// A place in the log: a position, one of the words that the daemon knows, or a moment. A time that is relative to now
/// stays where it is when the daemon is asked again, and a local one is this program's, not the daemon's.
pub(super) fn edge(name: &str, text: &str) -> Result<String, Error> {
    let word = text.trim();
    // `now` of a cursor is where the log ends, be the clock what it will.
    if word.starts_with('#') || word == "oldest" || (word == "now" && name != "--since" && name != "--until") {
        return Ok(word.to_owned());
    }
    let time = Time::parse(word, Time::now(), Bare::Ago).map_err(|e| Error::usage(format!("{name}: {e}")))?;
    Ok(time.to_string())
}

/// Writes what was received. Of several events nobody could tell where one ends, and a terminal would obey it.
fn show_bytes(ctx: &Ctx, args: &Show) -> Result<(), Error> {
    let [seq] = args.seqs[..] else {
        return Err(Error::usage("--bytes writes the bytes of one event; give one SEQ"));
    };
    if std::io::stdout().is_terminal() {
        return Err(Error::usage(
            "--bytes writes what was received, which a terminal would obey; send it to a file, or through `hexdump -C`",
        ));
    }
    let mut bytes = Vec::new();
    let mut reply = ctx.client()?.send("GET", &format!("/v1/events/{seq}/bytes"), None)?;
    reply.read_to_end(&mut bytes).map_err(crate::control::client::Error::from)?;
    ctx.out().bytes(&bytes)
}

fn show(ctx: &Ctx, args: &Show) -> Result<(), Error> {
    if args.bytes {
        return show_bytes(ctx, args);
    }
    for seq in &args.seqs {
        let mut line = Vec::new();
        let mut reply = ctx.client()?.send("GET", &format!("/v1/events/{seq}"), None)?;
        reply.read_to_end(&mut line).map_err(crate::control::client::Error::from)?;
        if ctx.out().is_json() {
            ctx.out().json_bytes(line.trim_ascii_end())?;
        } else {
            let text = render::event::whole(&line);
            ctx.out().text(&text.ok_or_else(|| Error::failed("wehelpd sent something that is no event"))?)?;
        }
    }
    Ok(())
}

fn resend(ctx: &Ctx, args: &Resend) -> Result<(), Error> {
    let path = format!("/v1/forwards/{}/resend", crate::control::client::part(&args.to));
    let target: crate::control::Forward =
        ctx.client()?.put("POST", &path, &serde_json::json!({ "seq": args.seq }))?.json()?;
    if ctx.out().is_quiet() {
        return Ok(());
    }
    let seq = args.seq;
    ctx.out().print(&target, |target| format!("`{}` took event {seq}", render::clean(&target.name)))
}
