//! `wehelp cursor`: where named readers of events stand.

use crate::cli::complete::Known;
use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, Exit, maybe_done};
use crate::cli::render;
use crate::clock::Time;
use crate::control::client::{Reply, part};
use crate::control::{Cursor, CursorSet};

/// Show and change where a named reader of events stands.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp cursor list")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum What {
    /// List cursors: position, how many events lie after it, last use
    List(List),
    /// Move a cursor, forwards or backwards
    Set(Set),
    /// Delete cursors
    Delete(Delete),
}

/// List cursors: position, how many events lie after it, last use.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp cursor list | jq -r 'select(.lag > 1000) | .name'")]
struct List {}

/// Move a cursor, forwards or backwards.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp cursor set bot 17         # the next event read is 18
  wehelp cursor set bot now
  wehelp cursor set bot '2h ago'")]
struct Set {
    /// The cursor
    #[arg(value_name = "NAME", add = Known::Cursors.completer())]
    name: String,

    /// `oldest`, `now`, SEQ as `cursor list` prints it (consumed up to there), or a moment
    #[arg(value_name = "WHERE")]
    to: String,
}

/// Delete cursors.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp cursor delete bot")]
struct Delete {
    /// The cursors
    #[arg(value_name = "NAME", required = true, add = Known::Cursors.completer())]
    names: Vec<String>,
}

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    match args.what {
        What::List(_) => list(ctx),
        What::Set(args) => set(ctx, &args),
        What::Delete(args) => delete(ctx, &args),
    }
}

fn list(ctx: &Ctx) -> Result<(), Error> {
    let cursors: Vec<Cursor> = ctx.client()?.list("/v1/cursors", &())?;
    if cursors.is_empty() {
        ctx.out().note("there are no cursors; `wehelp events --cursor NAME` makes one");
    }
    let now = Time::now();
    ctx.out().table(&cursors, &["name", "position", "lag", "used", "read by"], |cursor| {
        vec![
            cursor.name.clone(),
            cursor.seq.to_string(),
            cursor.lag.to_string(),
            format!("{} ago", render::ago(cursor.used, now)),
            cursor.holder.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    })
}

fn set(ctx: &Ctx, args: &Set) -> Result<(), Error> {
    let path = format!("/v1/cursors/{}", part(&args.name));
    let is_position = args.to.trim().bytes().all(|b| b.is_ascii_digit()) && !args.to.trim().is_empty();
    let to = if is_position { format!("#{}", args.to.trim()) } else { super::events::edge("TO", &args.to)? };
    let cursor: Result<Cursor, _> = ctx.client()?.put("PUT", &path, &CursorSet { to }).and_then(Reply::json);
    let cursor = cursor.map_err(maybe_done("`wehelp cursor list` tells"))?;
    if ctx.out().is_quiet() {
        return Ok(());
    }
    ctx.out().print(&cursor, |cursor| {
        format!("the cursor `{}` stands after event {}; {} to read", cursor.name, cursor.seq, cursor.lag)
    })
}

/// Does it with all of them, tells of each failure, and ends as the first one would.
pub(super) fn each(ctx: &Ctx, names: &[String], mut act: impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
    let mut failures = Vec::new();
    // It changes things: a reader that has gone does not end it half-way.
    ctx.out().outlive_reader();
    for name in names {
        match act(name) {
            // Nothing more can be said to the daemon.
            Err(error) if error.exit == Exit::NoDaemon => return Err(error),
            done => failures.extend(done.err()),
        }
    }
    ctx.out().told(failures)
}

fn delete(ctx: &Ctx, args: &Delete) -> Result<(), Error> {
    let client = ctx.client()?;
    each(ctx, &args.names, |name| {
        let deleted = client.send("DELETE", &format!("/v1/cursors/{}", part(name)), None);
        deleted.map(drop).map_err(maybe_done("`wehelp cursor list` tells"))
    })
}
