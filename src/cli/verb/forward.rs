//! `wehelp forward`: the web addresses that the daemon posts events to.

use crate::cli::args::events::{self as args, ForwardWhat};
use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, maybe_done};
use crate::cli::names;
use crate::cli::render;
use crate::cli::who::Who;
use crate::control::client::{self, Reply, part};
use crate::control::{CursorSet, Forward, ForwardState, OnRefused};

pub(in crate::cli) fn run(ctx: &Ctx, args: args::Forward) -> Result<(), Error> {
    match args.what {
        ForwardWhat::Add(args) => add(ctx, args),
        ForwardWhat::List(_) => list(ctx),
        ForwardWhat::Remove(args) => {
            let client = ctx.client()?;
            super::cursor::each(ctx, &args.names, |name| {
                let removed = client.send("DELETE", &format!("/v1/forwards/{}", part(name)), None);
                removed.map(drop).map_err(maybe_done("`wehelp forward list` tells"))
            })
        }
        ForwardWhat::Pause(args) => tell(ctx, &args.names, "pause", "paused; events wait for it"),
        ForwardWhat::Resume(args) => tell(ctx, &args.names, "resume", "goes on"),
        ForwardWhat::Skip(args) => tell(ctx, &args.names, "skip", "passed it and goes on"),
        ForwardWhat::Set(args) => set(ctx, args),
        ForwardWhat::Test(args) => tell(ctx, &args.names, "test", "took the test event"),
    }
}

fn add(ctx: &Ctx, args: args::ForwardAdd) -> Result<(), Error> {
    let chat = args.chat.as_deref().map(|chat| names::id(ctx, &Who::parse(chat)?)).transpose()?;
    let on_refused = match args.on_refused {
        args::OnRefused::Stop => OnRefused::Stop,
        args::OnRefused::Skip => OnRefused::Skip,
    };
    // The daemon has another current folder.
    let absolute = |path| std::path::absolute(&path).map_err(|e| Error::usage(format!("--ca: {e}")));
    let has_secret = args.secret.is_some();
    let wish = Forward {
        url: args.url,
        secret: args.secret,
        kind: args.kind,
        chat: chat.map(|chat| chat.as_str().to_owned()),
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

fn set(ctx: &Ctx, args: args::ForwardSet) -> Result<(), Error> {
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
