//! `wehelp forward`: the web addresses that the daemon posts events to.

use crate::cli::complete::Known;
use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, maybe_done};
use crate::cli::names;
use crate::cli::options::duration;
use crate::cli::render;
use crate::control::client::{self, Reply, part};
use crate::control::{CursorSet, Forward, ForwardState, OnRefused};
use std::path::PathBuf;
use std::time::Duration;

/// Let the daemon post events to web addresses, each with a durable position of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp forward add hook https://example.org/hook --secret \"$SECRET\" --kind 'message.*'")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum What {
    /// Post events to a web address from now on
    Add(Add),
    /// List targets: position, lag, failures
    List(List),
    /// Stop posting to targets and forget them
    Remove(Remove),
    /// Post nothing to targets until resumed
    Pause(Pause),
    /// Go on after a pause, or after an event that was refused
    Resume(Resume),
    /// Pass the event that a target refuses, and go on with the next
    Skip(Skip),
    /// Move a target's position
    Set(Set),
    /// Post a test event now, and say what the target answers
    Test(Test),
}

/// Post events to a web address from now on.
///
/// Each event is a POST of its JSON, signed when a secret is given: X-Wehelp-Signature is `t=SECONDS,v1=HEX`, HEX being
/// the HMAC-SHA256 of `SECONDS.BODY`. X-Wehelp-Seq is its position, X-Wehelp-Log the identity of the log that this is
/// a position in, X-Wehelp-Via the logs that it has passed: send it along where you post the event on.
///
/// A target that does not answer 2xx is tried again, later and later (a Retry-After is kept, over a restart too);
/// events wait for it in order. An event that is refused (4xx, but for 408, 425 and 429) is tried for an hour and then stops the forward:
/// `wehelp status --check` fails until it is skipped, moved or resumed. Redirects are not followed, and proxies that
/// the environment names are not used.
///
/// A target of that name that is there already is changed: it goes on where it was, and keeps its secret where none is
/// given.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp forward add hook https://example.org/hook --secret \"$SECRET\" --kind 'message.*'")]
struct Add {
    /// The target's name
    #[arg(value_name = "NAME")]
    name: String,

    /// Its address: http:// or https://
    #[arg(value_name = "URL")]
    url: String,

    /// The key of the signature
    #[arg(long, value_name = "SECRET", env = "WEHELP_FORWARD_SECRET", hide_env_values = true)]
    secret: Option<String>,

    /// Only these kinds; globs are allowed: message.*; !K leaves one out
    #[arg(long, value_name = "KIND,…", add = Known::Kinds.completer())]
    kind: Option<String>,

    /// Only this conversation: an id, or @NAME
    #[arg(long, value_name = "ID", add = Known::Contacts.completer())]
    chat: Option<String>,

    /// Only events whose text matches
    #[arg(long, value_name = "REGEX")]
    r#match: Option<String>,

    /// A PEM file with root certificates to trust besides the system's, on the daemon's machine
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// What becomes of an event that the target refuses: it stops the forward after an hour, or is skipped after three
    /// tries
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    on_refused: OnRefusal,

    /// Pass over events that are older than this when they would be posted (`forward list` counts them): 10m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
}

/// What becomes of an event that the target refuses.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum OnRefusal {
    /// Stops the forward after an hour
    #[default]
    Stop,
    /// Is skipped after three tries
    Skip,
}

/// Move a target's position: what it gets next is what comes after it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp forward set hook now")]
struct Set {
    /// The target's name
    #[arg(value_name = "NAME", add = Known::Forwards.completer())]
    name: String,

    /// `oldest`, `now`, `#SEQ` (the next one posted is SEQ+1), or a moment: yesterday, 2h, 09:00
    #[arg(value_name = "MOMENT", allow_hyphen_values = true)]
    to: String,
}

/// List targets: position, lag, failures.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp forward list | jq -r 'select(.failures > 0) | .last_error'")]
struct List {}

macro_rules! named {
    ($($(#[$doc:meta])* $name:ident $example:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, clap::Args)]
        #[command(after_help = concat!("Example:\n  wehelp forward ", $example))]
        struct $name {
            /// The targets' names
            #[arg(value_name = "NAME", required = true, add = Known::Forwards.completer())]
            names: Vec<String>,
        }
    )*};
}

named! {
    /// Stop posting to targets and forget them.
    Remove "remove hook";
    /// Post nothing to targets until resumed; events wait.
    Pause "pause hook";
    /// Go on after a pause, or try again at once what failed or was refused.
    Resume "resume hook";
    /// Pass the event that a target refuses or cannot take, and go on with the next.
    Skip "skip hook";
    /// Post a test event now, and say what the target answers.
    Test "test hook";
}

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    match args.what {
        What::Add(args) => add(ctx, args),
        What::List(_) => list(ctx),
        What::Remove(args) => {
            let client = ctx.client()?;
            super::cursor::each(ctx, &args.names, |name| {
                let removed = client.send("DELETE", &format!("/v1/forwards/{}", part(name)), None);
                removed.map(drop).map_err(maybe_done("`wehelp forward list` tells"))
            })
        }
        What::Pause(args) => tell(ctx, &args.names, "pause", "paused; events wait for it"),
        What::Resume(args) => tell(ctx, &args.names, "resume", "goes on"),
        What::Skip(args) => tell(ctx, &args.names, "skip", "passed it and goes on"),
        What::Set(args) => set(ctx, args),
        What::Test(args) => tell(ctx, &args.names, "test", "took the test event"),
    }
}

fn add(ctx: &Ctx, args: Add) -> Result<(), Error> {
    let chat = names::filter(ctx, "--chat", args.chat.as_deref())?;
    let on_refused = match args.on_refused {
        OnRefusal::Stop => OnRefused::Stop,
        OnRefusal::Skip => OnRefused::Skip,
    };
    // The daemon has another current folder.
    let absolute = |path| std::path::absolute(&path).map_err(|e| Error::usage(format!("--ca: {e}")));
    let has_secret = args.secret.is_some();
    let wish = Forward {
        url: args.url,
        secret: args.secret,
        kind: args.kind,
        chat,
        r#match: args.r#match,
        account: ctx.global().account.clone(),
        ca: args.ca.map(absolute).transpose()?,
        on_refused,
        max_age_ms: args.max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        ..Forward::default()
    };
    let path = format!("/v1/forwards/{}", part(&args.name));
    let before: Option<Forward> = ctx.client()?.get(&path).ok();
    let added: Result<Forward, _> = ctx.client()?.put("PUT", &path, &wish).and_then(Reply::json);
    let forward = added.map_err(maybe_done("`wehelp forward list` tells"))?;
    if let Some(before) = before {
        let keeps = if before.secret.is_some() && !has_secret { ", and keeps its secret" } else { "" };
        ctx.out().note(&format!(
            "`{}` was there already, for {}: it is changed, goes on after event {}{keeps}; `wehelp forward remove {}` \
             first makes it anew",
            forward.name, before.url, forward.seq, forward.name
        ));
    }
    if ctx.out().is_quiet() {
        return Ok(());
    }
    ctx.out().print(&forward, |forward| {
        format!(
            "events after {} go to `{}`; try it with `wehelp forward test {}`",
            forward.seq, forward.name, forward.name
        )
    })
}

fn list(ctx: &Ctx) -> Result<(), Error> {
    let forwards: Vec<Forward> = ctx.client()?.list("/v1/forwards", &())?;
    if forwards.is_empty() {
        ctx.out().note("there are no forwards; `wehelp forward add NAME URL` makes one");
    }
    ctx.out().table(&forwards, &["name", "url", "position", "lag", "filters", "state"], |forward| {
        let filters = [
            ("kind", &forward.kind),
            ("chat", &forward.chat),
            ("match", &forward.r#match),
            ("account", &forward.account),
        ];
        let filters: Vec<_> =
            filters.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}"))).collect();
        vec![
            forward.name.clone(),
            forward.url.clone(),
            forward.seq.to_string(),
            forward.lag.to_string(),
            if filters.is_empty() { "-".to_owned() } else { filters.join(" ") },
            state(forward),
        ]
    })
}

fn state(forward: &Forward) -> String {
    let error = forward.last_error.as_deref().unwrap_or_default();
    match forward.state {
        ForwardState::Paused => "paused".to_owned(),
        ForwardState::Ok if error.is_empty() => "ok".to_owned(),
        ForwardState::Ok => error.to_owned(),
        ForwardState::Stopped => {
            let seq = forward.event.map_or_else(String::new, |seq| seq.to_string());
            format!(
                "stands at event {seq}, which was refused: {error}; `wehelp forward skip {}` passes it",
                forward.name
            )
        }
        ForwardState::Failing | ForwardState::Refused => {
            let again = render::time(forward.retry_at);
            format!("failed {} times, again at {again}: {error}", forward.failures)
        }
    }
}

fn set(ctx: &Ctx, args: Set) -> Result<(), Error> {
    let path = format!("/v1/forwards/{}/set", part(&args.name));
    let set: Result<Forward, _> = ctx.client()?.put("POST", &path, &CursorSet { to: args.to }).and_then(Reply::json);
    let forward = set.map_err(maybe_done("`wehelp forward list` tells"))?;
    if ctx.out().is_quiet() {
        return Ok(());
    }
    ctx.out().print(&forward, |forward| {
        format!("`{}` goes on after event {}; {} to post", forward.name, forward.seq, forward.lag)
    })
}

fn tell(ctx: &Ctx, names: &[String], verb: &str, done: &str) -> Result<(), Error> {
    // A test posts, and the other side may take its time.
    let client = ctx.client()?.clone().with_patience(client::PATIENCE_FOR_READING);
    super::cursor::each(ctx, names, |name| {
        let path = format!("/v1/forwards/{}/{verb}", part(name));
        let told: Result<Forward, _> = client.send("POST", &path, None).and_then(Reply::json);
        let forward = told.map_err(maybe_done("`wehelp forward list` tells"))?;
        if ctx.out().is_quiet() {
            return Ok(());
        }
        ctx.out().print(&forward, |forward| format!("`{}` {done}", forward.name))
    })
}
