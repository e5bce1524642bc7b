//! What can be completed: verbs and options by clap, ids and names by the running daemon. An argument says what it stands
//! for with `add = Known::….completer()`.
//!
//! The shells' scripts (in `completions/`) run `wehelp` with `COMPLETE=SHELL` at each TAB. Without a daemon, or with one
//! that does not answer at once, a completion is merely poorer: nothing is said and nobody waits.

use super::render;
use crate::config::Places;
use crate::control::client::Client;
use crate::control::{DirectoryQuery, QueueQuery, State};
use crate::home::{self, Target, Wishes};
use crate::protocol::command::APIS;
use crate::protocol::event::Kind;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

/// So long a person who pressed TAB waits for the daemon.
const PATIENCE: Duration = Duration::from_millis(200);
/// More candidates of one kind than these help nobody.
const CANDIDATES_MAX: u64 = 200;
/// This many accounts are asked for candidates when none is named.
const ACCOUNTS_MAX: usize = 5;

/// The scripts that are shipped.
const SCRIPTS: [(&str, &str); 3] = [
    ("bash", include_str!("../../completions/wehelp.bash")),
    ("zsh", include_str!("../../completions/_wehelp")),
    ("fish", include_str!("../../completions/wehelp.fish")),
];

/// The script of a shell.
pub(super) fn script(shell: &str) -> Option<&'static str> {
    SCRIPTS.iter().find(|(name, _)| *name == shell).map(|(_, script)| *script)
}

/// What an argument stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// People and rooms, by id or @NAME.
    Contacts,
    /// Where only a person can be meant.
    People,
    Rooms,
    Accounts,
    /// Commands in the queue, in one of these states.
    Commands(&'static [State]),
    Cursors,
    Forwards,
    /// Kinds of events, several with commas.
    Kinds,
    /// One kind.
    Kind,
    Requests,
    States,
    Apis,
    /// Pages of the manual.
    Pages,
}

impl Known {
    /// What completes the argument.
    pub(super) fn completer(self) -> ArgValueCompleter {
        ArgValueCompleter::new(move |typed: &OsStr| candidates(self, typed))
    }
}

/// What could stand here, beginning with what was typed. What holds control characters cannot be typed at all.
fn candidates(values: Known, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let found = match values {
        // One that a client can send.
        Known::Kind => with_prefix("", Kind::ALL.iter().filter(|k| !k.is_of_daemon()).map(|k| (k.as_str(), ""))),
        Known::Kinds => listed(typed, |before| {
            let mut all = kinds(before);
            all.push((format!("{before}message.*"), "every message".to_owned()));
            all
        }),
        Known::States => listed(typed, |before| with_prefix(before, State::ALL.iter().map(|s| (s.as_str(), "")))),
        Known::Pages => {
            let pages = super::manual::names();
            with_prefix("", pages.iter().map(|(name, about)| (name.as_str(), about.as_str())))
        }
        Known::Apis => with_prefix("", APIS.iter().flat_map(|row| [(row.verb, row.api), (row.api, row.verb)])),
        of_the_daemon => ask(of_the_daemon, typed),
    };
    let mut seen = HashSet::new();
    found
        .into_iter()
        .filter(|(value, _)| value.starts_with(typed) && !value.chars().any(char::is_control))
        .filter(|(value, _)| seen.insert(value.clone()))
        .map(|(value, help)| {
            let help = render::shorten(&render::clean(help.trim()), 60).into_owned();
            CompletionCandidate::new(value).help((!help.is_empty()).then(|| help.into()))
        })
        .collect()
}

/// Value and description.
type Found = Vec<(String, String)>;

fn with_prefix<'a>(before: &str, all: impl Iterator<Item = (&'a str, &'a str)>) -> Found {
    all.map(|(value, help)| (format!("{before}{value}"), help.to_owned())).collect()
}

/// The last of several with commas.
fn listed(typed: &str, all: impl Fn(&str) -> Found) -> Found {
    all(&typed[..typed.rfind(',').map_or(0, |comma| comma + 1)])
}

fn kinds(before: &str) -> Found {
    with_prefix(before, Kind::ALL.iter().map(|k| (k.as_str(), "")))
}

/// Asks the daemon, in a thread of its own: a connect or a look-up that hangs must not hold the shell up.
fn ask(values: Known, typed: &str) -> Found {
    let (tell, told) = mpsc::channel();
    let typed = typed.to_owned();
    std::thread::spawn(move || {
        // Nobody listens any more when it came too late.
        drop(tell.send(look_up(values, &typed)));
    });
    told.recv_timeout(PATIENCE).ok().flatten().unwrap_or_default()
}

fn look_up(values: Known, typed: &str) -> Option<Found> {
    let line = Words::of_the_shell();
    let look_up = LookUp { client: Client::find(&line.target()?).ok()?, account: line.account() };
    match values {
        Known::Contacts | Known::People => look_up.people(typed, values == Known::Contacts),
        Known::Rooms => Some(called(typed, &look_up.directory("/v1/rooms", typed, None)?)),
        Known::Accounts => look_up.accounts(),
        Known::Commands(states) => look_up.commands(states),
        Known::Cursors => {
            let row =
                |cursor: &Value| (text(cursor, "name"), format!("at #{}, {} behind", cursor["seq"], cursor["lag"]));
            Some(look_up.list("/v1/cursors", &())?.iter().map(row).collect())
        }
        Known::Forwards => {
            let row = |forward: &Value| (text(forward, "name"), text(forward, "url"));
            Some(look_up.list("/v1/forwards", &())?.iter().map(row).collect())
        }
        Known::Requests => look_up.requests(),
        Known::Kinds | Known::Kind | Known::States | Known::Apis | Known::Pages => None,
    }
}

/// A member that is a text; empty where there is none.
fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// The daemon that is meant, and the account.
struct LookUp {
    client: Client,
    account: Option<String>,
}

impl LookUp {
    fn list(&self, path: &str, query: &impl Serialize) -> Option<Vec<Value>> {
        self.client.list(path, query).ok()
    }

    /// Who is known that may be called what was typed. Of several accounts none may be meant yet: then everybody whom one of
    /// them knows could stand here.
    fn directory(&self, path: &str, typed: &str, only: Option<&str>) -> Option<Vec<Value>> {
        let name = typed.trim_start_matches(['@', '＠']);
        let query = DirectoryQuery {
            account: self.account.clone(),
            name: (!name.is_empty()).then(|| name.to_owned()),
            only: only.map(str::to_owned),
            limit: Some(CANDIDATES_MAX),
            ..DirectoryQuery::default()
        };
        self.list(path, &query).or_else(|| {
            let accounts = self.list("/v1/accounts", &())?;
            let ids = accounts.iter().take(ACCOUNTS_MAX).filter_map(|account| account["account"].as_str());
            let of = |id: &str| self.list(path, &DirectoryQuery { account: Some(id.to_owned()), ..query.clone() });
            Some(ids.filter_map(of).flatten().collect())
        })
    }

    fn people(&self, typed: &str, rooms_too: bool) -> Option<Found> {
        let mut found = called(typed, &self.directory("/v1/contacts", typed, Some("people"))?);
        if rooms_too {
            found.extend(called(typed, &self.directory("/v1/rooms", typed, None)?));
            if !typed.starts_with('@') {
                found.push(("filehelper".into(), "文件传输助手: the account's own notes".into()));
            }
        }
        Some(found)
    }

    fn accounts(&self) -> Option<Found> {
        let rows = |account: &Value| {
            let help = text(account, "nick");
            [(text(account, "account"), help.clone()), (text(account, "alias"), help)]
        };
        let found = self.list("/v1/accounts", &())?;
        Some(found.iter().flat_map(rows).filter(|(value, _)| !value.is_empty()).collect())
    }

    fn commands(&self, states: &[State]) -> Option<Found> {
        let names: Vec<_> = states.iter().map(|s| s.as_str()).collect();
        let query = QueueQuery { state: Some(names.join(",")), limit: Some(CANDIDATES_MAX), ..QueueQuery::default() };
        let row = |command: &Value| {
            let wire = &command["command"];
            let to = wire["wxid"].as_str().or(wire["chatroom"].as_str()).unwrap_or_default();
            let help = format!("{} {} {to}", text(command, "state"), text(command, "api"));
            (command["id"].to_string(), help)
        };
        // The newest is the one that somebody thinks of.
        Some(self.list("/v1/commands", &query)?.iter().rev().map(row).collect())
    }

    fn requests(&self) -> Option<Found> {
        let (account, limit) = (self.account.clone(), Some(CANDIDATES_MAX));
        let rows = |request: &Value| {
            let help = format!("{}: {}", text(request, "nick"), text(request, "greeting"));
            [(request["seq"].to_string(), help.clone()), (text(request, "wxid"), help)]
        };
        let found = self.list("/v1/requests", &DirectoryQuery { account, limit, ..DirectoryQuery::default() })?;
        Some(found.iter().flat_map(rows).filter(|(value, _)| !value.is_empty() && value != "null").collect())
    }
}

/// People and rooms: by id, described by their names; or by name, after an `@`, described by their ids.
fn called(typed: &str, entries: &[Value]) -> Found {
    let get = |entry: &Value, key: &str| entry[key].as_str().filter(|name| !name.trim().is_empty()).map(str::to_owned);
    let mut found = Vec::new();
    for entry in entries {
        let Some(wxid) = get(entry, "wxid") else { continue };
        let (remark, nick) = (get(entry, "remark"), get(entry, "nick"));
        if typed.starts_with('@') {
            // A stranger is meant by two signs only.
            let is_met = entry["kind"] == "room" || entry["friend"] == true;
            let sign = if is_met && !typed.starts_with("@@") { "@" } else { "@@" };
            for name in [remark, nick, get(entry, "username")].into_iter().flatten() {
                found.push((format!("{sign}{name}"), wxid.clone()));
            }
        } else {
            let names = match (remark, nick) {
                (Some(remark), Some(nick)) => format!("{remark} ({nick})"),
                (Some(name), None) | (None, Some(name)) => name,
                (None, None) => String::new(),
            };
            found.push((wxid, names));
        }
    }
    found
}

/// A variable of the environment; an empty one counts as not set.
fn variable_named(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The words of the line that is being completed: they may say which daemon and which account is meant.
struct Words(Vec<OsString>);

impl Words {
    /// What the shell gave.
    fn of_the_shell() -> Self {
        Self(std::env::args_os().skip_while(|word| word != "--").skip(1).collect())
    }

    /// What was typed behind an option, the last time.
    fn typed(&self, long: &str, short: Option<&str>) -> Option<String> {
        let mut words = self.0.iter().filter_map(|word| word.to_str());
        let mut found = None;
        while let Some(word) = words.next() {
            if word == long || Some(word) == short {
                found = words.next();
            } else if let Some(value) = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')) {
                found = Some(value);
            }
        }
        found.filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn account(&self) -> Option<String> {
        self.typed("--account", Some("-a")).or_else(|| variable_named("WEHELP_ACCOUNT"))
    }

    fn target(&self) -> Option<Target> {
        let typed = |long| self.typed(long, None).map(PathBuf::from);
        let set = |variable| variable_named(variable).map(PathBuf::from);
        let config = typed("--config").or_else(|| set("WEHELP_CONFIG"));
        let mut ranks = vec![
            Wishes { config: config.clone(), data_dir: typed("--data-dir"), socket: typed("--socket") },
            Wishes { config: config.clone(), data_dir: set("WEHELP_DATA_DIR"), socket: set("WEHELP_SOCKET") },
        ];
        if ranks.iter().all(|wishes| wishes.socket.is_none())
            && let Ok(path) = home::config_path(&ranks[0])
        {
            let read = Places::load(&path, config.is_some()).ok()?;
            ranks.push(Wishes { config: None, data_dir: read.data_dir, socket: read.socket });
        }
        home::target(&ranks, rustix::process::getuid().as_raw()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn is_completed(call: &[&str], arg: &str) -> bool {
        let command = crate::cli::command();
        let at = call.iter().fold(&command, |at, name| at.find_subcommand(name).unwrap());
        let arg = at.get_arguments().find(|a| a.get_id() == arg).unwrap_or_else(|| panic!("no {arg} in {call:?}"));
        arg.get::<ArgValueCompleter>().is_some()
    }

    #[test]
    fn every_argument_that_names_something_known_is_completed() {
        for (call, arg) in [
            (&["send", "text"][..], "wxid"),
            (&["send", "text"], "account"),
            (&["ask"], "wxid"),
            (&["friend", "info"], "wxids"),
            (&["friend", "accept"], "request"),
            (&["friend", "add"], "room"),
            (&["room", "kick"], "room"),
            (&["room", "kick"], "wxids"),
            (&["events"], "chat"),
            (&["events"], "from"),
            (&["events"], "kind"),
            (&["events"], "cursor"),
            (&["events", "resend"], "to"),
            (&["cursor", "delete"], "names"),
            (&["forward", "pause"], "names"),
            (&["forward", "add"], "chat"),
            (&["simulate", "event"], "kind"),
            (&["queue", "list"], "state"),
            (&["queue", "cancel"], "ids"),
        ] {
            assert!(is_completed(call, arg), "{call:?} {arg}");
        }
        assert!(!is_completed(&["events", "show"], "seqs") && !is_completed(&["simulate"], "as"));
    }

    fn shown(values: Known, typed: &str) -> Vec<String> {
        candidates(values, OsStr::new(typed)).iter().map(|c| c.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn kinds_are_completed_one_after_another() {
        assert_eq!(shown(Known::Kinds, "login.q"), ["login.qrcode"]);
        assert!(shown(Known::Kinds, "login,message.t").contains(&"login,message.text".to_owned()));
        assert!(shown(Known::Kinds, "message").contains(&"message.*".to_owned()));
        assert_eq!(shown(Known::States, "ready,exp"), ["ready,expired"]);
    }

    #[test]
    fn people_are_called_by_id_or_by_any_of_their_names() {
        let entries = [
            json!({"wxid": "wxid_a", "nick": "马明明", "remark": "妈妈", "username": null, "friend": true}),
            json!({"wxid": "wxid_b", "nick": "马路人", "friend": false}),
        ];
        assert_eq!(called("wx", &entries)[0], ("wxid_a".to_owned(), "妈妈 (马明明)".to_owned()));
        let names = |typed| called(typed, &entries).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("@"), ["@妈妈", "@马明明", "@@马路人"]);
        assert_eq!(names("@@"), ["@@妈妈", "@@马明明", "@@马路人"]);
    }

    #[test]
    fn the_line_says_which_daemon_is_meant() {
        let words: Vec<OsString> = ["wehelp", "--socket=/x.sock", "-a", "work", "send"].map(Into::into).into();
        let line = Words(words);
        assert_eq!(line.target().unwrap().sockets, [PathBuf::from("/x.sock")]);
        assert_eq!(line.account().as_deref(), Some("work"));
    }
}
