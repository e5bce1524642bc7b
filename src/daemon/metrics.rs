//! `/metrics`: the Prometheus text format (contract 2), of what the parts count.
//!
//! Written by hand: it's lines of `name{label="value"} number`, and every number exists already.

use crate::clock::Time;
use crate::daemon::forwards::targets::Targets;
use crate::daemon::log::{Log, follow::Following};
use crate::daemon::queue::{CommandQueue, read};
use crate::daemon::status::Overview;
use crate::store::Store;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Tells it.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) store: Store,
    pub(crate) log: Arc<Log>,
    pub(crate) queue: Arc<CommandQueue>,
    pub(crate) following: Arc<Following>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) status: Arc<Overview>,
}

impl Metrics {
    /// Everything but what the doors count. What cannot be read at the moment is left out, which is what scrapers expect.
    pub(crate) fn all(&self) -> String {
        let mut out = String::new();
        let now = Time::now();
        head(&mut out, "wehelp_events_total", "counter", "Events stored since the start, by kind.");
        for (kind, n) in self.log.kinds() {
            line(&mut out, "wehelp_events_total", &[("kind", kind)], n);
        }
        for (name, help, n) in [
            ("wehelp_commands_enqueued_total", "Commands queued since the start.", self.queue.changes.enqueued()),
            ("wehelp_polls_total", "Polls answered since the start.", self.queue.polls.load(Ordering::Relaxed)),
            (
                "wehelp_commands_handed_total",
                "Commands put into a poll's answer since the start.",
                self.queue.handed.load(Ordering::Relaxed),
            ),
            (
                "wehelp_commands_given_back_total",
                "Commands whose hand-over failed since the start.",
                self.queue.handovers.given_back(),
            ),
        ] {
            head(&mut out, name, "counter", help);
            line(&mut out, name, &[], n);
        }
        head(&mut out, "wehelp_followers", "gauge", "Open event streams.");
        line(&mut out, "wehelp_followers", &[], self.following.followers());
        let store = &self.store;
        if let Ok(counts) = read::counts(store, now) {
            head(&mut out, "wehelp_commands", "gauge", "Commands kept, by state.");
            for (state, n) in counts {
                line(&mut out, "wehelp_commands", &[("state", state.as_str())], n);
            }
        }
        if let Ok(oldest) = read::oldest_due(store, now) {
            let age = oldest.map_or(0.0, |due| now.since(due).as_secs_f64());
            head(&mut out, "wehelp_queue_oldest_seconds", "gauge", "How long the oldest due command has waited.");
            line(&mut out, "wehelp_queue_oldest_seconds", &[], age);
        }
        self.of_store(&mut out);
        if let Ok(accounts) = self.status.accounts() {
            head(&mut out, "wehelp_account_logged_in", "gauge", "1 while the account is logged in.");
            for account in accounts.iter().filter(|a| a.logged_in.is_some()) {
                let value = u8::from(account.logged_in == Some(true));
                line(&mut out, "wehelp_account_logged_in", &[("account", &account.account)], value);
            }
        }
        self.of_forwards(&mut out);
        out
    }

    fn of_store(&self, out: &mut String) {
        if let Ok(stats) = self.store.stats() {
            for (name, help, n) in [
                ("wehelp_events_last_seq", "The newest event's number.", stats.last.0),
                ("wehelp_events_kept", "Events kept.", stats.count),
                ("wehelp_store_bytes", "Bytes on disk.", stats.bytes),
                ("wehelp_store_free_bytes", "Bytes left on that disk.", stats.free_bytes),
            ] {
                head(out, name, "gauge", help);
                line(out, name, &[], n);
            }
        }
        head(out, "wehelp_store_writable", "gauge", "1 while the store accepts writes.");
        line(out, "wehelp_store_writable", &[], u8::from(self.status.healthy().is_ok()));
        let (buckets, sum) = self.store.sync_latency();
        let name = "wehelp_store_sync_seconds";
        head(out, name, "histogram", "How long a data sync takes.");
        let mut total = 0;
        for (upper, n) in buckets {
            total += n;
            line(out, &format!("{name}_bucket"), &[("le", &upper.as_secs_f64().to_string())], total);
        }
        line(out, &format!("{name}_bucket"), &[("le", "+Inf")], total);
        line(out, &format!("{name}_sum"), &[], sum.as_secs_f64());
        line(out, &format!("{name}_count"), &[], total);
    }

    fn of_forwards(&self, out: &mut String) {
        if let Ok(forwards) = self.targets.statuses() {
            for (name, kind, help, of) in [
                ("wehelp_forward_lag", "gauge", "Events that a forward has still to look at.", FORWARD_LAG),
                ("wehelp_forward_failures", "gauge", "Failures of a forward in a row.", |f| f.failures.into()),
                (
                    "wehelp_forward_skipped_total",
                    "counter",
                    "Events that a target refused and that were skipped.",
                    |f| f.skipped,
                ),
                ("wehelp_forward_passed_over_total", "counter", "Events that were too old for a forward.", |f| {
                    f.passed_over
                }),
            ] {
                head(out, name, kind, help);
                for forward in &forwards {
                    line(out, name, &[("forward", &forward.name)], of(forward));
                }
            }
        }
    }
}

/// A number of a forward's.
type OfForward = fn(&crate::control::Forward) -> u64;
const FORWARD_LAG: OfForward = |forward| forward.lag;

/// The lines that open a metric.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One sample.
pub(crate) fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(out, "{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_escaped() {
        let mut out = String::new();
        line(&mut out, "m", &[("a", "x\"y\\z\n")], 3);
        assert_eq!(out, "m{a=\"x\\\"y\\\\z\\n\"} 3\n");
    }
}
