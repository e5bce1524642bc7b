//! `wehelp queue`

mod follow;

use crate::cli::complete::Known;
use crate::cli::ctx::Ctx;
use crate::cli::error::{self, Error, Exit};
use crate::cli::names;
use crate::cli::options::duration;
use crate::cli::render::{self, receipt};
use crate::control::client::{self, Reply};
use crate::control::{CancelQuery, Named, NotCancelled, Paused, QueueQuery, Receipt, Rev, State};
use std::time::Duration;

/// Show and change the commands in the queue.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp queue list")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum What {
    /// List commands
    List(List),
    /// Show commands
    Show(Ids),
    /// Take commands back that no client has fetched
    Cancel(Cancel),
    /// Hand commands over again
    Retry(Retry),
    /// Hand nothing over until resumed
    Pause(Pause),
    /// Go on after a pause
    Resume(Resume),
}

/// List the commands that no client has fetched yet; with --all, everything kept.
///
/// -a takes an account that an event has told of, or that the queue keeps commands of; of any other the exit status is 4.
///
/// With -f, every change of a command's state follows, each once and in order: one receipt a line, as the command was
/// then. The commands that are listed first are in the order of their last changes. `rev` numbers the changes; it rises
/// with each, also over restarts of wehelpd, and --after goes on behind the last one that was read. How long changes are
/// kept is `[queue] keep_done`: of those that were dropped before they were read is told on stderr, with --json as
/// {"dropped":{"from":REV,"to":REV}}. The filters choose among the changes: --state is the state that was changed to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp queue list
  wehelp queue list --all --state rejected,expired | jq -r .id
  wehelp queue list --key 'news-2026-*'
  wehelp queue list -f -n 0 --state rejected,expired
  wehelp queue list -f --after 1042 | jq -c '[.rev, .id, .state]'")]
struct List {
    /// Everything kept, not only what is unfinished
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    filter: Filter,

    /// At most this many, the newest
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<u64>,

    /// Go on with every change of state; reconnect when the daemon restarts
    #[arg(short, long)]
    follow: bool,

    /// Not the commands, but the changes after this one: the `rev` that was read last (0: all that are kept)
    #[arg(long, value_name = "REV", conflicts_with_all = ["all", "lines"])]
    after: Option<u64>,

    /// End after this many lines; with -f wait for them
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// With -f: end when so much time has passed (exit 6)
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "follow")]
    timeout: Option<Duration>,

    /// With -f: end when the daemon does (exit 3)
    #[arg(long)]
    no_reconnect: bool,
}

/// Which commands are meant; all that is given must hold, and -a as well.
#[derive(Debug, Clone, clap::Args)]
struct Filter {
    /// Only commands in these states: scheduled, ready, in_flight, fetched, answered, rejected, expired, cancelled
    #[arg(long, value_name = "STATE,…", add = Known::States.completer())]
    state: Option<String>,

    /// Only commands of this api (sendTextMessage) or verb (send text)
    #[arg(long, value_name = "API", add = Known::Apis.completer())]
    api: Option<String>,

    /// Only commands whose key is like that: * is any text, ? any character
    #[arg(long, value_name = "GLOB")]
    key: Option<String>,
}

/// Show commands.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp queue show 42 | jq -r .state")]
struct Ids {
    /// The numbers of the commands
    #[arg(value_name = "ID", required = true, add = Known::Commands(&State::ALL).completer())]
    ids: Vec<u64>,
}

/// Take commands back that no client has fetched.
///
/// Without numbers, one of -a, --state, --api and --key says which are meant; nothing is cancelled without --yes, and how
/// many would be is told. Each is cancelled by itself: one that a client is handed meanwhile stays and is told of, and the
/// exit status is 5.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp queue cancel 42 43
  wehelp queue cancel -a work --key 'news-*' --yes")]
struct Cancel {
    /// The numbers of the commands
    #[arg(value_name = "ID", conflicts_with_all = ["state", "api", "key", "yes"], add = Known::Commands(&[State::Scheduled, State::Ready, State::InFlight]).completer())]
    ids: Vec<u64>,

    #[command(flatten)]
    filter: Filter,

    /// Cancel all of them
    #[arg(long)]
    yes: bool,
}

/// What may be handed over again.
const OVER: &[State] =
    &[State::InFlight, State::Fetched, State::Answered, State::Rejected, State::Expired, State::Cancelled];

/// Hand commands over again: those that expired, were refused or cancelled, or were fetched by a client that lost them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp queue retry 42")]
struct Retry {
    /// The numbers of the commands
    #[arg(value_name = "ID", required = true, add = Known::Commands(OVER).completer())]
    ids: Vec<u64>,
}

/// Hand nothing over until resumed; with -a, nothing to that account. Commands can still be queued.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp queue pause -a work")]
struct Pause {}

/// Go on after a pause; without -a, for every account.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp queue resume")]
struct Resume {}

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    match args.what {
        What::List(list) => self::list(ctx, &list),
        What::Show(Ids { ids }) => each(ctx, &ids, |id| {
            let receipt = ctx.client()?.get(&format!("/v1/commands/{id}"))?;
            ctx.out().print::<Receipt>(&receipt, receipt::details)
        }),
        What::Cancel(cancel) => self::cancel(ctx, cancel),
        What::Retry(Retry { ids }) => each(ctx, &ids, |id| change(ctx, id, "retry")),
        What::Pause(_) => pause(ctx, "pause"),
        What::Resume(_) => pause(ctx, "resume"),
    }
}

fn list(ctx: &Ctx, list: &List) -> Result<(), Error> {
    let Filter { state, api, key } = list.filter.clone();
    let everything = list.all || state.is_some();
    let query = QueueQuery {
        all: list.all,
        state,
        account: ctx.global().account.clone(),
        api,
        key,
        limit: list.lines,
        follow: list.follow,
        after: list.after.map(Rev),
        ..QueueQuery::default()
    };
    if query.is_about_changes() {
        let query = QueueQuery { count: list.count, ..query };
        return follow::run(ctx, query, list.timeout, list.follow && !list.no_reconnect);
    }
    let query = QueueQuery { limit: list.lines.into_iter().chain(list.count).min(), ..query };
    let mut lines = ctx.client()?.open("/v1/commands", &query)?.lines();
    if ctx.out().is_json() {
        // However many they are: as they come.
        while let Some(receipt) = lines.next_value::<Receipt>()? {
            ctx.out().json_line(&receipt)?;
        }
        return Ok(());
    }
    let receipts: Vec<Receipt> = lines.values()?;
    if receipts.is_empty() {
        let all = if everything { "" } else { "; `wehelp queue list --all` shows those that are over" };
        ctx.out().note(&format!("no such command is in the queue{all}"));
    }
    let rows: Vec<_> = receipts.iter().map(receipt::row).collect();
    let table = render::table(&receipt::HEAD, &rows, ctx.out().columns());
    ctx.out().text(&receipt::coloured(&table, &receipts))
}

fn cancel(ctx: &Ctx, cancel: Cancel) -> Result<(), Error> {
    let Cancel { ids, filter: Filter { state, api, key }, yes } = cancel;
    if !ids.is_empty() {
        return each(ctx, &ids, |id| change(ctx, id, "cancel"));
    }
    let account = ctx.global().account.clone();
    if [&state, &account, &api, &key].into_iter().all(Option::is_none) {
        return Err(Error::usage(
            "give the numbers of the commands, or -a, --state, --api or --key to say which are meant",
        ));
    }
    ctx.out().outlive_reader();
    let query = CancelQuery { state, account, api, key, dry_run: !yes };
    let cancelled = ctx.client()?.put("POST", "/v1/commands/cancel", &query);
    let mut lines = cancelled.map_err(see_list())?.lines();
    let (mut meant, mut refused) = (0, 0);
    while let Some(line) = lines.next_line().map_err(see_list())? {
        meant += 1;
        if let Ok(not) = serde_json::from_slice::<NotCancelled>(line) {
            refused += 1;
            if yes {
                tell(ctx, not)?;
            }
            continue;
        }
        let receipt: Receipt =
            serde_json::from_slice(line).map_err(|e| Error::failed(format!("the daemon's answer is odd: {e}")))?;
        if yes {
            ctx.out().receipt(&receipt)?;
        }
    }
    let these = receipt::count(meant - refused, "command");
    match (yes, meant, refused) {
        (false, ..) if meant == refused => {
            Err(Error::usage("no command would be cancelled; `wehelp queue list` takes the same options"))
        }
        (false, ..) => Err(Error::usage(format!("{these} would be cancelled; add --yes to do it"))),
        (true, 0, _) => {
            ctx.out().note("no such command is in the queue");
            Ok(())
        }
        (true, _, 0) => Ok(()),
        (true, ..) => Err(Error::refused("not-cancelled", format!("{these} of {meant} cancelled, {refused} not"))),
    }
}

fn see_list() -> impl Fn(client::Error) -> Error {
    error::maybe_done("`wehelp queue list` shows what is left")
}

/// In JSON a failure is a result among the receipts.
fn tell(ctx: &Ctx, not: NotCancelled) -> Result<(), Error> {
    if ctx.out().is_json() && !ctx.out().is_quiet() {
        return ctx.out().json_line(&not);
    }
    ctx.out().complain(&Error { exit: Exit::Refused, code: not.error.into(), message: not.message });
    Ok(())
}

/// Does all of them, tells of each failure, and ends as the first one would.
fn each(ctx: &Ctx, ids: &[u64], mut act: impl FnMut(u64) -> Result<(), Error>) -> Result<(), Error> {
    let mut failures = Vec::new();
    for id in ids {
        match act(*id) {
            // Without a daemon, or without a reader, the others fail likewise.
            Err(error) if matches!(error.exit, Exit::NoDaemon | Exit::Done) => return Err(error),
            Err(error) => failures.push(error),
            Ok(()) => {}
        }
    }
    ctx.out().told(failures)
}

fn change(ctx: &Ctx, id: u64, how: &str) -> Result<(), Error> {
    ctx.out().outlive_reader();
    let client = ctx.client()?;
    let changed = client.send("POST", &format!("/v1/commands/{id}/{how}"), Some(b"{}")).and_then(Reply::json);
    let see = format!("`wehelp queue show {id}` tells");
    ctx.out().receipt(&changed.map_err(error::maybe_done(&see))?)
}

fn pause(ctx: &Ctx, how: &str) -> Result<(), Error> {
    let named = Named { account: ctx.global().account.clone() };
    let client = ctx.client()?;
    let paused: Result<Paused, _> = client.put("POST", &format!("/v1/queue/{how}"), &named).and_then(Reply::json);
    let paused = paused.map_err(error::maybe_done("`wehelp status` tells"))?;
    named.account.iter().filter_map(|name| names::untold(ctx, name)).for_each(|note| ctx.out().note(&note));
    if how == "resume" && paused.all && named.account.is_some() {
        ctx.out().note("the whole queue stays paused; `wehelp queue resume` without -a lets it go on");
    }
    if ctx.out().is_quiet() { Ok(()) } else { ctx.out().print(&paused, sentence) }
}

fn sentence(paused: &Paused) -> String {
    if paused.all {
        return "the whole queue is paused; `wehelp queue resume` lets it go on".to_owned();
    }
    match &paused.accounts[..] {
        [] => "nothing is paused".to_owned(),
        accounts => format!("paused: {}", render::clean(&accounts.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paused_is_one_sentence() {
        let some = |all, accounts: &[&str]| Paused { all, accounts: accounts.iter().map(|&a| a.into()).collect() };
        assert!(sentence(&some(true, &[])).contains("resume"));
        assert_eq!(sentence(&some(false, &[])), "nothing is paused");
        assert_eq!(sentence(&some(false, &["a", "b"])), "paused: a, b");
    }
}
