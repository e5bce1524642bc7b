//! The options that many verbs have: [`Global`] is what every verb takes, [`Wiring`] what every verb takes that puts something
//! on the wire (contract 3). Data: no file is read and no daemon asked while parsing. Ids and durations are parsed here, once;
//! names (`@NAME`) are looked up later (`names`).

use super::complete::Known;
use super::who::{Place, Who};
use crate::clock;
use crate::home::Wishes;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// What every verb takes, before or after it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// The logged-in account that is meant: its wxid, a configured alias, or its nick if no other has it
    #[arg(short, long, global = true, value_name = "ACCOUNT", env = "WEHELP_ACCOUNT", hide_env_values = true, add = Known::Accounts.completer())]
    pub(super) account: Option<String>,

    /// Where several people or rooms have the @NAME, take this one: the id that the error lists
    #[arg(long, global = true, value_name = "ID")]
    pub(super) pick: Option<String>,

    /// Print JSON lines, on a terminal too; errors as one JSON object
    #[arg(long, global = true, overrides_with = "text_output")]
    pub(super) json: bool,

    /// Print text for people, into a pipe too
    #[arg(long = "text", id = "text_output", global = true, overrides_with = "json")]
    pub(super) text: bool,

    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = false)]
    pub(super) color: When,

    /// Print no receipts, and nothing but errors on stderr
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,

    /// The control socket of the daemon
    #[arg(long, global = true, value_name = "PATH", env = "WEHELP_SOCKET", hide_env_values = true)]
    pub(super) socket: Option<PathBuf>,

    /// The settings file that says where the daemon is
    #[arg(long, global = true, value_name = "FILE", env = "WEHELP_CONFIG", hide_env_values = true)]
    pub(super) config: Option<PathBuf>,

    /// The data folder of the daemon: no other daemon than this one is talked to
    #[arg(long, global = true, value_name = "DIR", env = "WEHELP_DATA_DIR", hide_env_values = true)]
    pub(super) data_dir: Option<PathBuf>,

    /// The socket comes out of the environment.
    #[arg(skip)]
    pub(super) socket_by_env: bool,

    /// The data folder comes out of the environment.
    #[arg(skip)]
    pub(super) data_dir_by_env: bool,

    /// So does the settings file's name.
    #[arg(skip)]
    pub(super) config_by_env: bool,

    /// So does the account.
    #[arg(skip)]
    pub(super) account_by_env: bool,
}

impl Global {
    /// What flags ask for, and what the environment asks for: the stronger first.
    pub(super) fn wishes(&self) -> Vec<Wishes> {
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
pub(super) enum When {
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
pub(super) struct Wiring {
    /// Hold it in the daemon's queue for so long
    #[arg(long = "in", id = "in", value_name = "DURATION", value_parser = duration, conflicts_with = "at")]
    pub(super) delay: Option<Duration>,

    /// Hold it in the daemon's queue until then: 2026-11-23T09:00:00Z, 2026-11-23 09:00, 09:00, tomorrow, 2h, @UNIXSECONDS; what is past is refused
    #[arg(long, value_name = "TIME")]
    pub(super) at: Option<String>,

    /// Drop it when no client has fetched it so long after it became due
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) expires: Option<Duration>,

    /// Within 24 h the same key and command queues nothing new; of several commands each has a key of its own
    #[arg(long, value_name = "KEY")]
    pub(super) key: Option<String>,

    /// Let everything else of the account go first
    #[arg(long, overrides_with = "no_bulk")]
    pub(super) bulk: bool,

    /// Let it take its turn with everything else; only `send text --from` does not by itself
    #[arg(long, overrides_with = "bulk")]
    pub(super) no_bulk: bool,

    /// Print what would go over the wire; queue nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Let the client wait so long before it carries it out
    #[arg(long, value_name = "SECONDS")]
    pub(super) time: Option<u64>,

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
    pub(super) wait: Option<Duration>,

    /// Do not wait for the answer
    #[arg(long, overrides_with = "wait")]
    pub(super) no_wait: bool,

    /// Print the answering event itself
    #[arg(long)]
    pub(super) raw: bool,
}

pub(super) fn duration(text: &str) -> Result<Duration, clock::Unreadable> {
    clock::duration(text)
}

pub(super) fn who(text: &str) -> Result<Who, String> {
    // Nobody's id is one: it belongs to an option in front of it.
    let is_length = text.starts_with(|c: char| c.is_ascii_digit()) && clock::duration(text).is_ok();
    if is_length && !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "`{text}` is a length of time, and an id is due; one for an option is written --wait={text}"
        ));
    }
    Who::parse(text).map_err(|error| error.to_string())
}

pub(super) fn place(text: &str) -> Result<Place, crate::protocol::id::Error> {
    Place::parse(text)
}
