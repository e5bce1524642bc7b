//! `wehelp status`

use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, Exit};
use crate::cli::options::duration;
use crate::cli::render;
use crate::clock::Time;
use crate::control::{Account, Forward, Status, StatusQuery};
use serde_json::value::RawValue;
use std::time::Duration;

/// Tell how the daemon, its accounts and its queue are.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp status
  wehelp status --check -q || echo \"WeChat is offline\" | mail -s wehelp me
  wehelp status --json | jq -r '.http.listen[]'")]
pub(in crate::cli) struct Args {
    /// Exit 1 when a known account is logged out, its client has stopped polling, its queue is paused, a command hangs in
    /// flight, a forward stands at an event that its target refuses, or the store does not accept writes: each is told on a
    /// line of standard error. For monitoring from cron; -a limits it to one account, and to what concerns all
    #[arg(long)]
    check: bool,

    /// With --check: a client that has not polled for so long has stopped
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2m")]
    max_age: Duration,
}

pub(in crate::cli) fn run(ctx: &Ctx, Args { check, max_age }: Args) -> Result<(), Error> {
    // What the daemon says goes through as it is: a newer daemon's keys are not lost in an older CLI.
    let query = StatusQuery { account: ctx.global().account.clone(), ..StatusQuery::default() };
    let raw: Box<RawValue> = ctx.client()?.get_with("/v1/status", &query)?;
    let status: Status = serde_json::from_str(raw.get()).map_err(|e| {
        Error::failed(format!("wehelpd's status cannot be read: {e}; install the same version of both"))
    })?;
    let now = Time::now();
    // From cron, where --check is at home, every line is a mail: it prints the status only when told how.
    if !check || ctx.global().json || ctx.global().text {
        ctx.out().print(&raw, |_| render::status::status(&status, now, ctx.out().columns()))?;
    }
    if !check {
        return Ok(());
    }
    // One a line: whoever reads the mail counts them.
    let mut failures: Vec<Error> = problems(&status, max_age, now)
        .into_iter()
        .map(|problem| Error::new(Exit::Failed, "check-failed", problem))
        .collect();
    let Some(last) = failures.pop() else { return Ok(()) };
    failures.iter().for_each(|failure| ctx.out().complain(failure));
    Err(last)
}

/// What a monitor should wake somebody for, one sentence each.
fn problems(status: &Status, max_age: Duration, now: Time) -> Vec<String> {
    let mut problems = Vec::new();
    if !status.store.writable {
        let reason = status.store.reason.as_deref().unwrap_or("no reason given");
        problems.push(format!("the store does not accept writes: {reason}"));
    }
    let hanging = status.queue.get("hanging").and_then(|ids| ids.as_array()).map_or(&[][..], Vec::as_slice);
    if let Some(id) = hanging.first() {
        problems.push(format!(
            "{} hanging in flight, the first is {id}; `wehelp queue retry {id}` hands it over again",
            if hanging.len() == 1 { "a command is".to_owned() } else { format!("{} commands are", hanging.len()) }
        ));
    }
    problems.extend(status.forwards.iter().filter_map(Forward::trouble));
    if status.paused.all {
        problems.push("the queue is paused; `wehelp queue resume` lets it go on".to_owned());
    }
    for account in &status.accounts {
        let name = match &account.nick {
            Some(nick) => format!("{} ({nick})", account.account),
            None => account.account.clone(),
        };
        if account.paused && !status.paused.all {
            let id = &account.account;
            problems.push(format!("the queue of {name} is paused; `wehelp queue resume -a {id}` lets it go on"));
        }
        if account.logged_in == Some(false) {
            problems.push(format!("{name} is logged out; `wehelp login` shows the code to log it in"));
        } else if let Some(silence) = Some(silence(account, status, now)).filter(|silence| *silence > max_age) {
            let polled = account.last_poll.or(status.http.anonymous_poll);
            let what = match polled {
                Some(time) => format!("stopped polling (its last poll: {} ago)", render::ago(time, now)),
                None => format!("not polled in the {}s since wehelpd was started", silence.as_secs()),
            };
            problems.push(format!("the client of {name} has {what}; see whether WeHelp runs and its polling is on"));
        }
    }
    problems
}

/// For how long this daemon has waited for the account's client to poll. What happened while it was not running does
/// not count against the client. A client that does not say who it is stands for the accounts that never polled by name.
fn silence(account: &Account, status: &Status, now: Time) -> Duration {
    let up = Duration::from_secs(status.daemon.uptime_s);
    let by_name = account.last_poll_s.map(Duration::from_secs);
    let silent = by_name.or_else(|| status.http.anonymous_poll.map(|polled| now.since(polled)));
    silent.map_or(up, |silent| silent.min(up))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Time = Time::from_millis(1_795_510_800_000);

    fn status(uptime_s: u64, anonymous_s: Option<u64>, account: Option<(Option<bool>, Option<u64>)>) -> Status {
        let ago = |s: u64| NOW.before(Duration::from_secs(s));
        let accounts: Vec<_> = account
            .into_iter()
            .map(|(logged_in, polled_s)| Account {
                account: "wxid_me".into(),
                logged_in,
                last_poll: polled_s.map(ago),
                last_poll_s: polled_s,
                ..Account::default()
            })
            .collect();
        serde_json::from_value(json!({
            "daemon": {"version": "0", "pid": 1, "uptime_s": uptime_s, "data_dir": "/d", "socket": "/s", "config": null},
            "http": {"listen": [], "tls": false, "connections": 0, "rejected": {}, "anonymous_poll": anonymous_s.map(ago),
                "anonymous_peer": null, "last_callback": null},
            "accounts": accounts, "queue": {}, "events": {"first": 0, "last": 0, "count": 0, "followers": 0},
            "store": {"bytes": 0, "free_bytes": 0, "writable": true, "reason": null},
            "paused": {"all": false, "accounts": []}, "hints": [],
        }))
        .unwrap()
    }

    fn fine(status: &Status) -> bool {
        problems(status, Duration::from_secs(120), NOW).is_empty()
    }

    #[test]
    fn a_check_complains_of_logged_out_accounts_and_silent_clients() {
        assert!(fine(&status(1000, None, None)), "nobody is known: nobody is missing");
        assert!(fine(&status(1000, None, Some((Some(true), Some(119))))));
        assert!(fine(&status(1000, None, Some((None, Some(3))))));
        assert!(!fine(&status(1000, None, Some((Some(false), Some(3))))));
        assert!(!fine(&status(1000, None, Some((Some(true), Some(121))))));
        assert!(!fine(&status(1000, None, Some((Some(true), None)))));
    }

    #[test]
    fn an_unnamed_poller_stands_for_an_account_that_never_polled_by_name() {
        assert!(fine(&status(1000, Some(3), Some((Some(true), None)))));
        assert!(!fine(&status(1000, Some(300), Some((Some(true), None)))));
        assert!(!fine(&status(1000, Some(3), Some((Some(true), Some(300))))));
    }

    #[test]
    fn a_daemon_that_has_just_started_gives_clients_time_to_come_back() {
        assert!(fine(&status(60, None, Some((Some(true), Some(4000))))));
        assert!(!fine(&status(130, None, Some((Some(true), Some(4000))))));
    }

    #[test]
    fn a_command_that_hangs_in_flight_is_a_problem() {
        let mut status = status(1, None, None);
        status.queue.insert("hanging".into(), json!([]));
        assert!(fine(&status));
        status.queue.insert("hanging".into(), json!([7, 9]));
        let problems = problems(&status, Duration::ZERO, NOW);
        assert!(problems[0].contains("2 commands") && problems[0].contains("queue retry 7"), "{problems:?}");
    }

    #[test]
    fn a_forward_that_stands_is_a_problem() {
        let mut status = status(1, None, None);
        for (state, failures, fine) in [
            ("ok", 0, true),
            ("failing", 9, true),
            ("paused", 0, true),
            ("refused", 1, true),
            ("refused", 3, false),
            ("stopped", 0, false),
        ] {
            let forward = json!({"name": "hook", "state": state, "failures": failures});
            status.forwards = vec![serde_json::from_value(forward).unwrap()];
            let problems = problems(&status, Duration::ZERO, NOW);
            assert_eq!(problems.is_empty(), fine, "{state} {problems:?}");
            assert!(problems.iter().all(|problem| problem.contains("forward skip hook")), "{problems:?}");
        }
    }

    #[test]
    fn a_paused_queue_is_a_problem() {
        let mut paused = status(1000, None, Some((Some(true), Some(3))));
        paused.accounts[0].paused = true;
        assert!(problems(&paused, Duration::from_secs(120), NOW)[0].contains("queue resume -a wxid_me"));
        paused.paused.all = true;
        assert_eq!(problems(&paused, Duration::from_secs(120), NOW).len(), 1);
    }

    #[test]
    fn a_store_that_refuses_writes_is_a_problem() {
        let mut status = status(1, None, None);
        status.store.writable = false;
        status.store.reason = Some("the disk is full".into());
        assert!(problems(&status, Duration::ZERO, NOW)[0].contains("the disk is full"));
    }
}
