//! The command line of `wehelpd`: data, no deeds.

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use std::path::PathBuf;

/// The daemon at the other end of the WeHelp client: keeps every WeChat event in a durable log and every command in a
/// durable queue.
///
/// It runs in the foreground and logs to stderr. The WeHelp client on the Windows PC talks to it over HTTP (the client
/// door), `wehelp` over a Unix socket (the control door). SIGTERM and SIGINT stop it cleanly, SIGHUP makes it read the
/// token and the TLS files again.
#[derive(Debug, Clone, Parser)]
#[command(name = "wehelpd", version = crate::VERSION, after_help = "\
Examples:
  wehelpd                                   # listen on 127.0.0.1:4567
  wehelpd --listen 0.0.0.0:4567             # be reachable for a client on another PC (it needs the token)
  wehelpd --check --config wehelp.toml      # validate the settings and exit
  mkdir -p ~/.config/wehelp && wehelpd --print-config > ~/.config/wehelp/config.toml")]
pub struct Args {
    /// Read the settings from this file
    #[arg(long, value_name = "FILE", env = "WEHELP_CONFIG")]
    pub config: Option<PathBuf>,

    /// Keep data, token and lock in this folder
    #[arg(long, value_name = "DIR", env = "WEHELP_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Put the control socket here
    #[arg(long, value_name = "PATH", env = "WEHELP_SOCKET")]
    pub socket: Option<PathBuf>,

    /// Listen here for the WeHelp client; repeatable, port 0 picks a free one
    #[arg(long, value_name = "IP:PORT", env = "WEHELP_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,

    /// Start even when everybody on the network could send events and fetch commands, or every web page that the user visits
    /// could fetch them
    #[arg(long)]
    pub insecure: bool,

    /// Validate the settings and exit
    #[arg(long)]
    pub check: bool,

    /// Print every setting with its default and exit
    #[arg(long)]
    pub print_config: bool,

    /// Write what can be read of a damaged data folder to stdout, as JSON lines, and exit
    #[arg(long, value_name = "DIR")]
    pub salvage: Option<PathBuf>,

    /// Make the data folder of a backup and exit; the folder must be empty or absent
    #[arg(long, value_name = "FILE")]
    pub restore: Option<PathBuf>,

    /// Log for people or for machines
    #[arg(long, value_name = "FORMAT", default_value = "text", env = "WEHELP_LOG_FORMAT")]
    pub log_format: LogFormat,

    /// Log each request of the client door, ids and sizes only; twice: more. WEHELP_LOG sets finer filters
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// The options that somebody gave, and whether a variable of the environment did.
    #[arg(skip)]
    given: Vec<(String, bool)>,
}

impl Args {
    /// Reads the command line and the environment; one that is wrong ends the process.
    #[must_use]
    pub fn read() -> Self {
        let matches = Self::command().get_matches();
        let mut args = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let given = matches.ids().filter_map(|id| match matches.value_source(id.as_str())? {
            ValueSource::EnvVariable => Some((id.to_string(), true)),
            ValueSource::CommandLine => Some((id.to_string(), false)),
            _ => None,
        });
        args.given = given.collect();
        args
    }

    /// Whether an option was given.
    pub(crate) fn is_given(&self, id: &str) -> bool {
        self.given.iter().any(|(given, _)| given == id)
    }

    /// Whether a variable of the environment gave an option.
    pub(crate) fn is_by_variable(&self, id: &str) -> bool {
        self.given.iter().any(|(given, by_variable)| given == id && *by_variable)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}
