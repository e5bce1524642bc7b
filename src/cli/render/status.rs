//! `wehelp status` for people.

use super::{ago, bytes, clean, table};
use crate::clock::Time;
use crate::control::{Account, State, Status};
use colored::Colorize;
use std::time::Duration;

/// The whole status, in paragraphs: the daemon, its accounts, its queue, what needs attention.
pub(in crate::cli) fn status(status: &Status, now: Time, columns: Option<usize>) -> String {
    let daemon = &status.daemon;
    let up = ago(now.before(Duration::from_secs(daemon.uptime_s)), now);
    let mut out = format!("{} {}, pid {}, up {up}\n", "wehelpd".bold(), daemon.version, daemon.pid);
    for (name, value) in facts(status, now) {
        out.push_str(&format!("  {} {}\n", format!("{name:<9}").dimmed(), clean(&value)));
    }
    out.push('\n');
    if status.accounts.is_empty() {
        out.push_str("No account is known yet; `wehelp setup` says what to type into the client.\n");
    } else {
        out.push_str(&accounts(&status.accounts, now, columns));
    }
    for poller in &status.pollers {
        let (name, peer) = (clean(&poller.name), clean(&poller.peer));
        out.push_str(&format!("no account: {name}, which polls from {peer}, {} s ago\n", poller.last_poll_s));
    }
    if !status.hints.is_empty() {
        out.push('\n');
    }
    for hint in &status.hints {
        out.push_str(&format!("{} {}\n", "!".yellow().bold(), clean(hint)));
    }
    out
}

/// The lines below the daemon's, name and value.
fn facts(status: &Status, now: Time) -> Vec<(&'static str, String)> {
    let http = &status.http;
    let scheme = if http.tls { "https" } else { "http" };
    let listen: Vec<_> = http.listen.iter().map(|address| format!("{scheme}://{address}")).collect();
    let mut facts = vec![
        ("listens", if listen.is_empty() { "nowhere".to_owned() } else { listen.join(", ") }),
        ("socket", status.daemon.socket.display().to_string()),
        ("data", status.daemon.data_dir.display().to_string()),
    ];
    if let Some(config) = &status.daemon.config {
        facts.push(("settings", config.display().to_string()));
    }
    facts.push(("queue", queue(status, now)));
    let events = &status.events;
    let followers = if events.followers > 0 { format!(", {} followers", events.followers) } else { String::new() };
    facts.push(match events.count {
        0 => ("events", format!("none yet{followers}")),
        count => ("events", format!("{count}, #{} to #{}{followers}", events.first, events.last)),
    });
    let store = &status.store;
    let room = format!("{} used, {} free", bytes(store.bytes), bytes(store.free_bytes));
    facts.push(match (store.writable, &store.reason) {
        (true, _) => ("store", room),
        (false, reason) => {
            ("store", format!("{room}; REFUSES WRITES: {}", reason.as_deref().unwrap_or("no reason given")))
        }
    });
    if let (Some(time), Some(peer)) = (http.anonymous_poll, &http.anonymous_peer) {
        facts.push(("unnamed", format!("a client at {peer} polled {} ago without saying who it is", ago(time, now))));
    }
    if !http.rejected.is_empty() {
        let reasons: Vec<_> = http.rejected.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        facts.push(("rejected", reasons.join(", ")));
    }
    facts
}

/// What is in the queue, the states that people wait for first.
fn queue(status: &Status, now: Time) -> String {
    let mut parts: Vec<String> = State::ALL
        .iter()
        .filter_map(|state| Some((state, status.queue.get(state.as_str())?.as_u64()?)))
        .filter(|(_, n)| *n > 0)
        .map(|(state, n)| format!("{n} {state}"))
        .collect();
    if parts.is_empty() {
        parts.push("empty".to_owned());
    }
    let oldest = status.queue.get("oldest").and_then(|v| serde_json::from_value::<Time>(v.clone()).ok());
    if let Some(oldest) = oldest {
        parts.push(format!("the oldest has been due for {}", ago(oldest, now)));
    }
    if status.paused.all {
        parts.push("PAUSED".to_owned());
    } else if !status.paused.accounts.is_empty() {
        parts.push(format!("paused for {}", status.paused.accounts.join(", ")));
    }
    parts.join(", ")
}

/// How much waits for an account, and what holds it.
pub(in crate::cli) fn waiting(account: &Account) -> String {
    match &account.held {
        Some(held) => format!("{} ({})", account.waiting, clean(&held.reason)),
        None if account.paused => format!("{} (paused)", account.waiting),
        None => account.waiting.to_string(),
    }
}

/// The table of accounts: `status` and `account list` show the same.
pub(in crate::cli) fn accounts(accounts: &[Account], now: Time, columns: Option<usize>) -> String {
    let row = |account: &Account| {
        let when = |time: Option<Time>| time.map_or_else(|| "never".to_owned(), |t| format!("{} ago", ago(t, now)));
        let mut name = account.account.clone();
        if let Some(alias) = &account.alias {
            name.push_str(&format!(" ({alias})"));
        }
        vec![
            name,
            account.nick.clone().unwrap_or_else(|| "-".to_owned()),
            account.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            match account.logged_in {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "unknown",
            }
            .to_owned(),
            when(account.last_poll),
            when(account.last_event),
            waiting(account),
        ]
    };
    let rows: Vec<_> = accounts.iter().map(row).collect();
    table(&["account", "nick", "pid", "logged in", "last poll", "last event", "waiting"], &rows, columns)
}
