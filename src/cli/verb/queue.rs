//! `wehelp queue`

use crate::cli::args::queue as args;
use crate::cli::ctx::Ctx;
use crate::cli::enqueue;
use crate::cli::error::{self, Error, Exit};
use crate::cli::render::{self, receipt};
use crate::control::client::{self, Reply};
use crate::control::{CancelQuery, Named, NotCancelled, Paused, QueueQuery, Receipt};

pub(in crate::cli) fn run(ctx: &Ctx, args: args::Queue) -> Result<(), Error> {
    match args.what {
        args::What::List(list) => self::list(ctx, list),
        args::What::Show(args::Ids { ids }) => each(ctx, &ids, |id| {
            let receipt = ctx.client()?.get(&format!("/v1/commands/{id}"))?;
            ctx.out().print::<Receipt>(&receipt, receipt::details)
        }),
        args::What::Cancel(cancel) => self::cancel(ctx, cancel),
        args::What::Retry(args::Retry { ids }) => each(ctx, &ids, |id| change(ctx, id, "retry")),
        args::What::Pause(_) => pause(ctx, "pause"),
        args::What::Resume(_) => pause(ctx, "resume"),
    }
}

fn list(ctx: &Ctx, list: args::List) -> Result<(), Error> {
    let args::List { all, filter: args::Filter { state, api, key }, lines } = list;
    let everything = all || state.is_some();
    let query = QueueQuery { all, state, account: ctx.global().account.clone(), api, key, limit: lines };
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

fn cancel(ctx: &Ctx, cancel: args::Cancel) -> Result<(), Error> {
    let args::Cancel { ids, filter: args::Filter { state, api, key }, yes } = cancel;
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
            enqueue::print_receipt(ctx, &receipt)?;
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
    enqueue::print_receipt(ctx, &changed.map_err(error::maybe_done(&see))?)
}

fn pause(ctx: &Ctx, how: &str) -> Result<(), Error> {
    let named = Named { account: ctx.global().account.clone() };
    let client = ctx.client()?;
    let paused: Result<Paused, _> = client.put("POST", &format!("/v1/queue/{how}"), &named).and_then(Reply::json);
    let paused = paused.map_err(error::maybe_done("`wehelp status` tells"))?;
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
