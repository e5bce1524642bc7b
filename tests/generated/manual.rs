//! `man/`: one page a verb, generated from what clap knows; the daemon's; and the written ones, of which everything that
//! can drift comes from the source: settings, routes, commands, kinds of events.

mod roff;
mod topics;

use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use roff::{Page, tidy};
use std::collections::BTreeMap;

/// Pages do not change from day to day.
const DATE: &str = "2026-11-23";
/// The name of the book.
const BOOK: &str = "wehelp manual";

fn source() -> String {
    format!("wehelp {}", env!("CARGO_PKG_VERSION"))
}

const EXITS: [(&str, &str); 7] = [
    ("0", "Done."),
    ("1", "Failed."),
    ("2", "Wrong usage; nothing was queued."),
    ("3", "No daemon; the message names the socket and how to start one."),
    ("4", "Not found."),
    ("5", "Refused by the daemon: ambiguous account, queue full, store not writable …"),
    ("6", "No answer in time."),
];

#[test]
fn manuals() {
    let mut pages = BTreeMap::new();
    let command = wehelp::cli::command();
    verbs(&command, &mut Vec::new(), &mut pages);
    pages.insert("wehelpd.8".to_owned(), daemon());
    pages.insert("wehelp-config.5".to_owned(), topics::config());
    pages.insert("wehelp-events.7".to_owned(), topics::events());
    pages.insert("wehelp-control.7".to_owned(), topics::control());
    pages.insert("wehelp-protocol.7".to_owned(), topics::protocol());
    super::compare("man", &pages);
}

#[test]
fn mandoc_has_nothing_to_say() {
    let mut pages: Vec<_> = std::fs::read_dir(super::folder("man")).unwrap().map(|e| e.unwrap().path()).collect();
    pages.sort();
    assert!(pages.len() > 50, "{pages:?}");
    // By default it also judges what other pages are installed here.
    let Ok(out) = std::process::Command::new("mandoc").args(["-Tlint", "-Wstyle"]).args(&pages).output() else {
        return crate::missing::tool("mandoc");
    };
    let said = String::from_utf8_lossy(&out.stdout);
    let said: Vec<&str> = said.lines().filter(|l| !l.contains("referenced manual not found")).collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}

/// The page of a verb, and those of the verbs below it.
fn verbs(command: &Command, path: &mut Vec<String>, pages: &mut BTreeMap<String, String>) {
    path.push(command.get_name().to_owned());
    pages.insert(format!("{}.1", path.join("-")), verb(command, path));
    for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
        verbs(sub, path, pages);
    }
    path.pop();
}

/// Everything that clap knows, in sections.
fn known(command: &Command, name: &str, section: &str, hidden: impl Fn(&Arg) -> bool) -> String {
    let command = command.clone().mut_args(|arg| {
        let hide = hidden(&arg) || arg.get_id() == "help" || arg.get_id() == "version";
        arg.hide(hide)
    });
    let command = command.mut_subcommands(|sub| if sub.get_name() == "help" { sub.hide(true) } else { sub });
    let man = Man::new(command).title(name.to_uppercase()).section(section).date(DATE).source(source()).manual(BOOK);
    let mut out = Vec::new();
    man.render_title(&mut out).unwrap();
    man.render_name_section(&mut out).unwrap();
    man.render_synopsis_section(&mut out).unwrap();
    man.render_description_section(&mut out).unwrap();
    man.render_options_section(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn verb(command: &Command, path: &[String]) -> String {
    let name = path.join("-");
    let is_root = path.len() == 1;
    let mut text = known(command, &name, "1", |arg| !is_root && arg.is_global_set());
    let mut page = Page::default();
    let subs: Vec<_> = command.get_subcommands().filter(|s| s.get_name() != "help").collect();
    if !subs.is_empty() {
        page.sh("SUBCOMMANDS");
        for sub in &subs {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            page.tp(&[&format!("`{name}-{}`(1)", sub.get_name())], &format!("{about}."));
        }
    }
    if !is_root {
        page.sh("GLOBAL OPTIONS");
        page.p("`-a`, `--pick`, `--json`, `--text`, `--color`, `-q`, `--socket`, `--config` and `--data-dir` are accepted before and after every subcommand; see `wehelp`(1).");
    }
    if is_root {
        topics::wehelp(&mut page);
    } else if !command.is_subcommand_required_set() {
        // What has subcommands may do something by itself as well.
        page.sh("EXIT STATUS");
        exits(&mut page, &path[1..].join(" "));
    }
    examples(&mut page, command);
    page.sh("SEE ALSO");
    page.p(&see_also(path, &subs));
    text.push_str(&page.finish());
    tidy(&text)
}

/// What the exit codes mean, and what they mean for this verb in particular.
fn exits(page: &mut Page, verb: &str) {
    let special = match verb {
        "status" => Some(
            "With `--check`, 1 also when a known account is logged out, its client has stopped polling, its queue is paused, a command hangs in flight, a forward stands, or the store does not accept writes.",
        ),
        "events" => Some(
            "With `-f`, 6 when `--timeout` has passed, and 3 when the daemon ended and `--no-reconnect` was given. With `--exec`, 1 when a command failed for good and `--on-failure skip` was not given, and at the end when events were dropped before the command was given them. 5 when another reader holds the cursor, or when the log is another than the one that was read. 129, 130 or 143 after SIGHUP, SIGINT or SIGTERM, once what ran has ended and the cursor has moved; 0 when whoever read the output has gone.",
        ),
        "queue list" => Some(
            "With `-f` or `--after`, 5 when REV has not been reached (another log), 6 when `--timeout` has passed, and 3 when the daemon ended and `--no-reconnect` was given.",
        ),
        "ask" => Some("6 also when the other side has not answered in time."),
        "setup" => Some("6 when `--timeout` has passed before both a poll and a callback arrived."),
        "daemon start" | "daemon restart" => Some("1 when the daemon did not start; its own words are told."),
        "daemon stop" => Some("3 when there is nothing to stop."),
        "send text" => {
            Some("With `--wait`, 5 when WeChat told that the text was refused. With `--from`, 1 when a line failed.")
        }
        _ => None,
    };
    for (code, means) in EXITS {
        page.tp(&[&format!("`{code}`")], means);
    }
    if let Some(special) = special {
        page.p(special);
    }
}

/// The examples that end the help.
fn examples(page: &mut Page, command: &Command) {
    let Some(help) = command.get_after_help() else { return };
    let help = help.to_string();
    let Some((_, lines)) = help.split_once(":\n") else { return };
    let lines: Vec<_> =
        lines.lines().take_while(|l| l.is_empty() || l.starts_with("  ")).map(str::trim_start).collect();
    page.sh("EXAMPLES");
    page.code(lines.join("\n").trim_end());
}

fn see_also(path: &[String], subs: &[&Command]) -> String {
    let mut pages = Vec::new();
    for depth in 1..path.len() {
        pages.push(format!("`{}`(1)", path[..depth].join("-")));
    }
    pages.extend(subs.iter().map(|sub| format!("`{}-{}`(1)", path.join("-"), sub.get_name())));
    match path.get(1).map(String::as_str) {
        Some("events" | "forward" | "cursor" | "simulate") => pages.push("`wehelp-events`(7)".to_owned()),
        Some("send" | "friend" | "room" | "account" | "raw" | "api" | "login" | "ask") => {
            pages.push("`wehelp-protocol`(7)".to_owned());
        }
        None => pages.extend(
            ["`wehelp-config`(5)", "`wehelp-control`(7)", "`wehelp-events`(7)", "`wehelp-protocol`(7)"]
                .map(str::to_owned),
        ),
        _ => {}
    }
    pages.push("`wehelpd`(8)".to_owned());
    pages.join(", ")
}

fn daemon() -> String {
    let mut command = wehelp::daemon::args::Args::command();
    command.build();
    let mut text = known(&command, "wehelpd", "8", |_| false);
    let mut page = Page::default();
    topics::wehelpd(&mut page);
    examples(&mut page, &command);
    page.sh("SEE ALSO");
    page.p("`wehelp`(1), `wehelp-setup`(1), `wehelp-daemon`(1), `wehelp-config`(5), `wehelp-control`(7), `wehelp-protocol`(7)");
    text.push_str(&page.finish());
    tidy(&text)
}
