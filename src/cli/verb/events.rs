//! `wehelp events`: prints, follows and processes events.
//!
//! `cli::stream` is the daemon's stream, kept up over its restarts. `print` writes events out, `exec` runs a command for each
//! (in the order that `plan` allows, each run a `job`); `pass` tells what it is not run for. `keeper` moves the cursor, and only over what was really written out or whose command succeeded. `cli::wake`
//! interrupts a wait: signals, ended jobs.

mod exec;
mod job;
mod keeper;
mod pass;
mod plan;
mod print;

use crate::cli::complete::Known;
use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::cli::names;
use crate::cli::options::duration;
use crate::cli::render;
use crate::cli::stream::{self, Stream};
use crate::cli::wake::{Signals, Wake};
use crate::cli::who::Who;
use crate::clock::{Bare, Time};
use crate::control::{Account, EventsQuery};
use keeper::Keeper;
use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::time::Duration;

/// Print stored events, oldest first: the last 20 unless told otherwise.
///
/// On a terminal a line an event for people; anywhere else one JSON object a line (see wehelp-events(7)).
///
/// A cursor moves only over what was written out, or whose command exited 0 (and whose reply is in the queue): a crash
/// repeats the last, and skips none. One reader at a time holds it. SIGINT, SIGTERM and SIGHUP let what runs end and the
/// cursor move (exit 130, 143, 129); a second one does not wait, and kills the command. A terminal sends SIGINT to the
/// command as well, which may end by it. Replies are queued under keys made of the cursor and the event, so that within a
/// day none is sent twice.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  wehelp events -f | jq -r 'select(.kind==\"message.text\") | .text'
  wehelp events --since 2h --kind 'message.*' --chat 123@chatroom
  wehelp events -f --kind message.text --match '^yes' --count 1 --timeout 10m
  wehelp events -f --cursor bot --kind message.text --reply --exec ./answer"
)]
pub(in crate::cli) struct Args {
    /// Something other than printing.
    #[command(subcommand)]
    what: Option<What>,
    /// Which events, and what to do with them.
    #[command(flatten)]
    list: List,
}

/// Something other than printing.
#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum What {
    /// Print one event
    Show(Show),
    /// Post an event to a forward's target again
    Resend(Resend),
}

/// Print one event.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp events show 17 | jq .decoded
  wehelp events show 17 --bytes | hexdump -C")]
struct Show {
    /// The position of the event
    #[arg(value_name = "SEQ", value_parser = seq, required = true)]
    seqs: Vec<u64>,

    /// Write the body of the callback as it was received, byte for byte, and nothing else; not to a terminal
    #[arg(long)]
    bytes: bool,
}

/// Post an event to a forward's target again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp events resend 17 --to hook")]
struct Resend {
    /// The position of the event
    #[arg(value_name = "SEQ", value_parser = seq)]
    seq: u64,

    /// The name of the forward
    #[arg(long, value_name = "NAME", add = Known::Forwards.completer())]
    to: String,
}

fn seq(text: &str) -> Result<u64, String> {
    text.trim_start_matches('#').parse().map_err(|_| format!("`{text}` is no position of an event (try 17 or #17)"))
}

/// How many of the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// Everything.
    All,
    /// So many.
    Newest(u64),
}

fn lines(text: &str) -> Result<Lines, String> {
    match text {
        "all" => Ok(Lines::All),
        _ => text.parse().map(Lines::Newest).map_err(|_| format!("`{text}` is neither a number nor `all`")),
    }
}

/// Which events, and what to do with them.
#[derive(Debug, Clone, Default, clap::Args)]
struct List {
    /// Go on with new events; reconnect when the daemon restarts
    #[arg(short, long)]
    follow: bool,

    /// How many of the newest, or `all`; with --since or --until everything that matches, unless given; with --cursor
    /// the next N, and only those are consumed (all of them, unless given)
    #[arg(short = 'n', long, value_name = "N", value_parser = lines)]
    lines: Option<Lines>,

    /// Only events from then on: 2026-11-23T09:00:00Z, 2026-11-23, 09:00, yesterday, 2h, 3d, @UNIXSECONDS, #SEQ
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,

    /// Only events until then
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,

    /// Only these kinds; globs are allowed: message.*; !K leaves one out
    #[arg(long, value_name = "KIND,…", add = Known::Kinds.completer())]
    kind: Option<String>,

    /// Only this conversation: an id, or @NAME
    #[arg(long, value_name = "ID", add = Known::Contacts.completer())]
    chat: Option<String>,

    /// Only what this person said: an id, or @NAME
    #[arg(long, value_name = "ID", add = Known::Contacts.completer())]
    from: Option<String>,

    /// Only events whose text matches
    #[arg(long, value_name = "REGEX")]
    r#match: Option<String>,

    /// Only the account's own messages; with --exec: also the account's own
    #[arg(long = "self", id = "self", conflicts_with = "no_self")]
    own: bool,

    /// No messages of the account itself
    #[arg(long)]
    no_self: bool,

    /// End after so many events; with -f wait for them
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// With -f: end when so much time has passed (exit 6)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,

    /// With -f: end when the daemon does (exit 3)
    #[arg(long)]
    no_reconnect: bool,

    /// Start after what this name has consumed, and remember what is consumed now
    #[arg(long, value_name = "NAME", add = Known::Cursors.completer())]
    cursor: Option<String>,

    /// Where a new cursor starts: oldest, now, #SEQ (the next is SEQ+1), or a moment as for --since; unless given at the
    /// oldest, with --exec at now (with --since there)
    #[arg(long, value_name = "WHERE", requires = "cursor")]
    cursor_from: Option<String>,

    /// What to do with events instead of printing them.
    #[command(flatten)]
    exec: Exec,
}

/// What to do with events instead of printing them.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Running a command per event")]
struct Exec {
    /// Run a command per event, the event's JSON on its standard input. In its environment, as far as they apply:
    /// WEHELP_SEQ, WEHELP_TIME, WEHELP_KIND, WEHELP_TYPE, WEHELP_ACCOUNT, WEHELP_PID, WEHELP_CHAT, WEHELP_FROM, WEHELP_SELF,
    /// WEHELP_NICK, WEHELP_TEXT (of a text over 32 KiB the beginning, with WEHELP_TEXT_CUT=1), WEHELP_ATTEMPT (1, and with
    /// --retries 2 …), WEHELP_SOCKET. It must come last. It begins with new events (-f), unless -n, --since
    /// or --cursor says otherwise. A command has ended when it exits: what it started in the background is not waited for,
    /// and what that prints later goes nowhere with --reply or --jobs
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    exec: Vec<OsString>,

    /// Send what the command prints as a text to the chat that the event came from. It is run only for what a person said
    /// (text, picture, voice, video, sticker, card, location, app message); all else, as notices, recalls, calls and friend
    /// requests, is passed over, whatever --kind says (counted on stderr)
    #[arg(long, requires = "exec")]
    reply: bool,

    /// Pass over events that are older than this when the command would be started (counted on stderr); with --reply
    /// 10 minutes, unless given
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "exec")]
    max_age: Option<Duration>,

    /// Run so many at once; events of one chat stay in order
    #[arg(long, value_name = "N", default_value_t = 1, requires = "exec", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,

    /// Run a command that failed so many times more
    #[arg(long, value_name = "N", default_value_t = 0, requires = "exec")]
    retries: u32,

    /// How long to wait before the first of the retries; it doubles each time
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration, requires = "exec")]
    backoff: Duration,

    /// What to do when a command failed for good
    #[arg(long, value_name = "WHAT", default_value = "stop", requires = "exec")]
    on_failure: OnFailure,

    /// Kill a command that runs longer than this; it has failed then
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "exec")]
    exec_timeout: Option<Duration>,
}

impl Exec {
    /// The command and its arguments, if there is one; a leading `--` only ended the options.
    #[must_use]
    fn command(&self) -> Option<Vec<OsString>> {
        let words = if self.exec.first().is_some_and(|word| word == "--") { &self.exec[1..] } else { &self.exec[..] };
        (!words.is_empty()).then(|| words.to_vec())
    }
}

/// What to do when a command failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum OnFailure {
    /// Stop; with a cursor the event is not consumed
    #[default]
    Stop,
    /// Say so on stderr and go on with the next
    Skip,
}

/// How many of the newest are printed when nothing else is said (contract 7).
const LINES_DEFAULT: u64 = 20;

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
    let mut stream = Stream::open(ctx, query, list.follow && !list.no_reconnect)?;
    let mut keeper = Keeper::new(list.cursor.clone(), stream.position());
    match command {
        Some(words) => {
            let (cursor, from_now) = (list.cursor.as_deref(), from_now(list));
            let count = count(list);
            let run = exec::Run { words, how: &list.exec, cursor, from_now, timeout: list.timeout, count, runs };
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
    let who = |text: &Option<String>| {
        let id = text.as_deref().map(|text| names::id(ctx, &Who::parse(text)?).map(|id| id.as_str().to_owned()));
        id.transpose()
    };
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
        chat: who(&list.chat)?,
        from: who(&list.from)?,
        account: ctx.global().account.clone(),
        r#match: list.r#match.clone(),
        // A command that answers must not be given its own answers, unless asked for.
        is_self: match (list.own, list.no_self) {
            (true, _) if !exec => Some(true),
            (true, _) => None,
            (false, true) => Some(false),
            (false, false) => exec.then_some(false),
        },
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

#[cfg(test)]
mod tests {
    use crate::cli::parse::Cli;
    use crate::cli::verb::Verb;
    use clap::Parser;

    fn exec(args: &[&str]) -> Vec<String> {
        let Verb::Events(events) = Cli::try_parse_from(args).unwrap().verb else { panic!("not events") };
        events.list.exec.command().unwrap().iter().map(|a| a.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn everything_behind_exec_is_the_command() {
        assert_eq!(exec(&["wehelp", "events", "--exec", "cmd", "-q", "--count", "x"]), ["cmd", "-q", "--count", "x"]);
        assert_eq!(exec(&["wehelp", "events", "--exec", "--", "cmd", "-q", "--", "x"]), ["cmd", "-q", "--", "x"]);
        assert_eq!(exec(&["wehelp", "events", "--exec", "cmd", "a", "--", "show"]), ["cmd", "a", "--", "show"]);
    }
}
