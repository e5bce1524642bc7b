//! What can be typed: data, no deeds. No file is read and no daemon asked while parsing.
//!
//! One file a group of verbs; [`Global`] holds what every verb takes, [`Wiring`] what every verb takes that puts
//! something on the wire (contract 3). Ids and durations are parsed here, once; names (`@NAME`) are looked up later.
//! The help texts are also the manual pages, and every verb ends its help with an example.

pub mod account;
pub mod contact;
pub mod daemon;
pub mod events;
pub mod friend;
pub mod queue;
pub mod room;
pub mod send;
pub mod simulate;

use super::who::{Place, Who};
use crate::clock;
use crate::home::Wishes;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Drive PC WeChat from the shell.
///
/// wehelp talks to wehelpd, which keeps every WeChat event in a durable log and every command in a durable queue. On a
/// terminal it prints text for people, anywhere else JSON lines.
#[derive(Debug, Parser)]
#[command(
    name = "wehelp",
    version = crate::VERSION,
    arg_required_else_help = true,
    infer_long_args = false,
    after_help = "\
Examples:
  wehelp send text filehelper \"hi\"
  wehelp room members @family | jq -r .nick
  wehelp events -f | jq -r 'select(.kind==\"message.text\") | .text'

Exit status: 0 done, 1 failed, 2 wrong usage, 3 no daemon, 4 not found, 5 refused, 6 no answer in time."
)]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb takes, before or after it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The logged-in account that is meant: its wxid, a configured alias, or its nick if no other has it
    #[arg(short, long, global = true, value_name = "ACCOUNT", env = "WEHELP_ACCOUNT", hide_env_values = true)]
    pub account: Option<String>,

    /// Where several people or rooms have the @NAME, take this one: the id that the error lists
    #[arg(long, global = true, value_name = "ID")]
    pub pick: Option<String>,

    /// Print JSON lines, on a terminal too; errors as one JSON object
    #[arg(long, global = true, overrides_with = "text_output")]
    pub json: bool,

    /// Print text for people, into a pipe too
    #[arg(long = "text", id = "text_output", global = true, overrides_with = "json")]
    pub text: bool,

    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = false)]
    pub color: When,

    /// Print no receipts, and nothing but errors on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// The control socket of the daemon
    #[arg(long, global = true, value_name = "PATH", env = "WEHELP_SOCKET", hide_env_values = true)]
    pub socket: Option<PathBuf>,

    /// The settings file that says where the daemon is
    #[arg(long, global = true, value_name = "FILE", env = "WEHELP_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// The data folder of the daemon: no other daemon than this one is talked to
    #[arg(long, global = true, value_name = "DIR", env = "WEHELP_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<PathBuf>,

    /// The socket comes out of the environment.
    #[arg(skip)]
    pub socket_by_env: bool,

    /// The data folder comes out of the environment.
    #[arg(skip)]
    pub data_dir_by_env: bool,
}

impl Global {
    /// What flags ask for, and what the environment asks for: the stronger first.
    #[must_use]
    pub fn wishes(&self) -> Vec<Wishes> {
        let pick = |path: &Option<PathBuf>, by_env: bool, env: bool| path.clone().filter(|_| by_env == env);
        let of = |env| Wishes {
            config: self.config.clone(),
            data_dir: pick(&self.data_dir, self.data_dir_by_env, env),
            socket: pick(&self.socket, self.socket_by_env, env),
        };
        vec![of(false), of(true)]
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR says otherwise
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What every verb takes that puts something on the wire (contract 3).
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Queueing")]
pub struct Wiring {
    /// Hold it in the daemon's queue for so long
    #[arg(long = "in", id = "in", value_name = "DURATION", value_parser = duration, conflicts_with = "at")]
    pub delay: Option<Duration>,

    /// Hold it in the daemon's queue until then: 2026-11-23T09:00:00Z, 2026-11-23 09:00, 09:00, tomorrow, 2h, @UNIXSECONDS; what is past is refused
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,

    /// Drop it when no client has fetched it so long after it became due
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub expires: Option<Duration>,

    /// Within 24 h the same key and command queues nothing new; of several commands each has a key of its own
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,

    /// Let everything else of the account go first
    #[arg(long, overrides_with = "no_bulk")]
    pub bulk: bool,

    /// Let it take its turn with everything else; only `send text --from` does not by itself
    #[arg(long, overrides_with = "bulk")]
    pub no_bulk: bool,

    /// Print what would go over the wire; queue nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Let the client wait so long before it carries it out
    #[arg(long, value_name = "SECONDS")]
    pub time: Option<u64>,

    /// Wait for the answer, or until a client has fetched what nothing answers (30 s unless told, from when it is due)
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = duration,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "30s",
        overrides_with = "no_wait"
    )]
    pub wait: Option<Duration>,

    /// Do not wait for the answer
    #[arg(long, overrides_with = "wait")]
    pub no_wait: bool,

    /// Print the answering event itself
    #[arg(long)]
    pub raw: bool,
}

fn duration(text: &str) -> Result<Duration, clock::Unreadable> {
    clock::duration(text)
}

fn who(text: &str) -> Result<Who, crate::protocol::id::Error> {
    Who::parse(text)
}

fn place(text: &str) -> Result<Place, crate::protocol::id::Error> {
    Place::parse(text)
}

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// Send a text, picture, file or link to a person or a room
    Send(send::Send),
    /// Send a text and print the next message of that chat
    Ask(send::Ask),
    /// Ask about friends, add and accept them
    Friend(friend::Friend),
    /// Ask about rooms, change them
    Room(room::Room),
    /// Log accounts in and out
    Account(account::Account),
    /// Show the QR code that logs an account in (as `account qrcode`)
    Login(account::Qrcode),
    /// Look up people and rooms that the daemon has learned of
    Contact(contact::Contact),
    /// Print, follow and process events
    Events(events::Events),
    /// Show and change where a named reader of events stands
    Cursor(events::Cursor),
    /// Let the daemon post events to web addresses
    Forward(events::Forward),
    /// Show and change the commands in the queue
    Queue(queue::Queue),
    /// Put JSON on the wire as it is given
    Raw(send::Raw),
    /// Print the table of commands
    Api(send::Api),
    /// Tell how the daemon, its accounts and its queue are
    Status(daemon::Status),
    /// Tell what to type into the WeHelp client
    Setup(daemon::Setup),
    /// Show or change the token of the client door
    Token(daemon::Token),
    /// Write a consistent copy of everything while the daemon runs
    Backup(daemon::Backup),
    /// Start and stop a wehelpd in the background
    Daemon(daemon::Daemon),
    /// Play a WeHelp client, so that scripts can be tried without Windows
    Simulate(simulate::Simulate),
    /// Print the completions of a shell
    Completions(daemon::Completions),
}

/// Why the arguments are no call.
#[derive(Debug)]
pub enum Stop {
    /// Help or the version was asked for: print this on stdout, and it is done.
    Said(String),
    /// Nothing was asked for: the help, on stderr.
    Helped(String),
    /// They are wrong: one sentence.
    Wrong(String),
}

/// Reads the arguments.
///
/// # Errors
/// See [`Stop`].
pub fn parse(args: &[std::ffi::OsString]) -> Result<Cli, Stop> {
    // Asked by scripts and benchmarks: no need to lay out all verbs for it.
    if let [_, only] = args
        && (only == "--version" || only == "-V")
    {
        return Err(Stop::Said(format!("wehelp {}\n", crate::VERSION)));
    }
    if let Some(length) = loose_wait(args) {
        return Err(Stop::Wrong(format!(
            "`--wait {length}` is two arguments; write --wait={length} (with =), or put `{length}` before --wait if it is meant \
             as an argument of its own"
        )));
    }
    let mut command = <Cli as clap::CommandFactory>::command();
    let parsed = command.try_get_matches_from_mut(args).and_then(|matches| {
        let by_env = |id| matches.value_source(id) == Some(clap::parser::ValueSource::EnvVariable);
        let (socket, data_dir) = (by_env("socket"), by_env("data_dir"));
        let mut cli = <Cli as clap::FromArgMatches>::from_arg_matches(&matches)?;
        (cli.global.socket_by_env, cli.global.data_dir_by_env) = (socket, data_dir);
        if cli.global.json && cli.global.text {
            // They stand on different sides of a subcommand, where clap does not see that one overrides the other.
            cli.global.json = last_says_json(args);
            cli.global.text = !cli.global.json;
        }
        Ok(cli)
    });
    parsed.map_err(|error| {
        use clap::error::ErrorKind;
        let text = error.render().to_string();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Said(text.trim_end().to_owned() + "\n"),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
                if last_says_json(args) =>
            {
                Stop::Wrong(typed(args, needs_subcommand))
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Stop::Helped(text),
            ErrorKind::MissingSubcommand => Stop::Helped(typed(args, |verb| verb.render_help().to_string())),
            _ => {
                if let Some([option, value]) = negative(args) {
                    let text = if option.starts_with("--") {
                        format!(" (a text is written {option}={value})")
                    } else {
                        String::new()
                    };
                    return Stop::Wrong(format!("`{option} {value}`: {option} takes no negative number{text}"));
                }
                let verb = typed(args, |verb| verb.get_bin_name().unwrap_or("wehelp").to_owned());
                Stop::Wrong(format!("{}; see `{verb} --help`", sentence(&text)))
            }
        }
    })
}

/// An option and the negative number behind it, which clap takes for another option.
fn negative(args: &[std::ffi::OsString]) -> Option<[&str; 2]> {
    let own: Vec<&str> = args.iter().skip(1).take_while(|arg| *arg != "--").filter_map(|arg| arg.to_str()).collect();
    let is_negative =
        |word: &str| word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_option = |word: &str| word.starts_with('-') && !is_negative(word);
    own.windows(2).find(|pair| is_option(pair[0]) && is_negative(pair[1])).map(|pair| [pair[0], pair[1]])
}

/// A length of time that stands behind `--wait` and not with it: where ids or a text may follow it would be taken for one.
fn loose_wait(args: &[std::ffi::OsString]) -> Option<&str> {
    let own: Vec<&str> =
        args.iter().skip(1).take_while(|arg| *arg != "--" && *arg != "--exec").filter_map(|arg| arg.to_str()).collect();
    let behind = own.windows(2).find(|pair| pair[0] == "--wait").map(|pair| pair[1]);
    behind.filter(|word| clock::duration(word).is_ok())
}

/// Whether `--json` is the last word about how to print, as far as that can be told without parsing.
#[must_use]
pub fn last_says_json(args: &[std::ffi::OsString]) -> bool {
    let own = args.iter().skip(1).take_while(|arg| *arg != "--" && *arg != "--exec");
    own.filter(|arg| *arg == "--json" || *arg == "--text").last().is_some_and(|arg| arg == "--json")
}

/// The value of `--color` in arguments that cannot be parsed.
#[must_use]
pub fn typed_color(args: &[std::ffi::OsString]) -> When {
    let words: Vec<&str> = args.iter().skip(1).filter_map(|arg| arg.to_str()).take_while(|arg| *arg != "--").collect();
    let mut typed = words.iter().enumerate().filter_map(|(n, word)| match word.strip_prefix("--color")? {
        "" => words.get(n + 1).copied(),
        value => value.strip_prefix('='),
    });
    typed.next_back().and_then(|value| When::from_str(value, true).ok()).unwrap_or(When::Auto)
}

/// clap's message as one sentence: what is wrong, what it would suggest, where help is.
fn sentence(text: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        // What comes then is how the verb is called, in several lines.
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        if line.is_empty() {
            continue;
        }
        let line = line.strip_prefix("error: ").unwrap_or(line);
        match line.strip_prefix("tip: ") {
            Some(tip) => parts.push(format!("; {tip}")),
            None if parts.is_empty() => parts.push(line.to_owned()),
            None => parts.push(format!(" {line}")),
        }
    }
    parts.concat().trim_end_matches('.').to_owned()
}

/// That one of its subcommands is to follow.
fn needs_subcommand(verb: &mut clap::Command) -> String {
    let names: Vec<&str> = verb.get_subcommands().map(clap::Command::get_name).filter(|name| *name != "help").collect();
    let verb = verb.get_bin_name().unwrap_or("wehelp");
    format!("`{verb}` needs a subcommand: {}; see `{verb} --help`", names.join(", "))
}

/// What `f` makes of the verb that was typed, as far as there is one.
fn typed(args: &[std::ffi::OsString], f: impl FnOnce(&mut clap::Command) -> String) -> String {
    let mut command = <Cli as clap::CommandFactory>::command();
    command.build();
    let mut at = &mut command;
    for word in args.iter().skip(1).filter_map(|a| a.to_str()) {
        if at.find_subcommand(word).is_some() {
            at = at.find_subcommand_mut(word).expect("it was just found");
        }
    }
    f(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(line: &str) -> String {
        let args: Vec<_> = line.split(' ').map(Into::into).collect();
        match parse(&args) {
            Err(Stop::Wrong(sentence)) => sentence,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_one_sentence_that_names_it() {
        for (line, sentence) in [
            ("wehelp events -n -1", "`-n -1`: -n takes no negative number"),
            (
                "wehelp events --count -5",
                "`--count -5`: --count takes no negative number (a text is written --count=-5)",
            ),
            ("wehelp events --nosuch", "unexpected argument '--nosuch' found; see `wehelp events --help`"),
            (
                "wehelp evnts",
                "unrecognized subcommand 'evnts'; a similar subcommand exists: 'events'; see `wehelp --help`",
            ),
            ("wehelp nosuch", "unrecognized subcommand 'nosuch'; see `wehelp --help`"),
        ] {
            assert_eq!(wrong(line), sentence, "{line}");
        }
    }
}
