//! `wehelp queue`

use crate::cli::args::queue as args;
use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, Exit};
use crate::cli::queueing;
use crate::cli::render::{self, receipt};
use crate::control::client::Reply;
use crate::control::{Named, Paused, QueueQuery, Receipt};

pub(in crate::cli) fn run(ctx: &Ctx, args: args::Queue) -> Result<(), Error> {
    match args.what {
        args::What::List(list) => self::list(ctx, list),
        args::What::Show(args::Ids { ids }) => each(ctx, &ids, |id| {
            let receipt = ctx.client()?.get(&format!("/v1/commands/{id}"))?;
            ctx.out().print::<Receipt>(&receipt, receipt::details)
        }),
        args::What::Cancel(args::Cancel { ids }) => each(ctx, &ids, |id| change(ctx, id, "cancel")),
        args::What::Retry(args::Retry { ids }) => each(ctx, &ids, |id| change(ctx, id, "retry")),
        args::What::Pause(_) => pause(ctx, "pause"),
        args::What::Resume(_) => pause(ctx, "resume"),
    }
}

fn list(ctx: &Ctx, list: args::List) -> Result<(), Error> {
    let everything = list.all || list.state.is_some();
    let query = QueueQuery {
        all: list.all,
        state: list.state,
        account: ctx.global().account.clone(),
        api: list.api,
        limit: list.lines,
    };
    let receipts: Vec<Receipt> = ctx.client()?.lines("/v1/commands", &query)?.values()?;
    if ctx.out().is_json() {
        return receipts.iter().try_for_each(|receipt| ctx.out().json_line(receipt));
    }
    if receipts.is_empty() {
        let all = if everything { "" } else { "; `wehelp queue list --all` shows those that are over" };
        ctx.out().note(&format!("no such command is in the queue{all}"));
    }
    let rows: Vec<_> = receipts.iter().map(receipt::row).collect();
    let table = render::table(&receipt::HEAD, &rows, ctx.out().columns());
    ctx.out().text(&receipt::coloured(&table, &receipts))
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
    queueing::told(ctx, failures)
}

fn change(ctx: &Ctx, id: u64, how: &str) -> Result<(), Error> {
    ctx.out().outlive_reader();
    let client = ctx.client()?;
    let changed = client.send("POST", &format!("/v1/commands/{id}/{how}"), Some(b"{}")).and_then(Reply::json);
    let see = format!("`wehelp queue show {id}` tells");
    queueing::print_receipt(ctx, &changed.map_err(queueing::maybe_done(&see))?)
}

fn pause(ctx: &Ctx, how: &str) -> Result<(), Error> {
    let named = Named { account: ctx.global().account.clone() };
    let client = ctx.client()?;
    let paused: Result<Paused, _> = client.put("POST", &format!("/v1/queue/{how}"), &named).and_then(Reply::json);
    let paused = paused.map_err(queueing::maybe_done("`wehelp status` tells"))?;
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
