//! `status`, `setup`, `token`, `backup`, `daemon`, `completions`

use super::duration;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Tell how the daemon, its accounts and its queue are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp status
  wehelp status --check -q || echo \"WeChat is offline\" | mail -s wehelp me
  wehelp status --json | jq -r '.http.listen[]'")]
pub struct Status {
    /// Exit 1 when a known account is logged out, its client has stopped polling, its queue is paused, or a command
    /// hangs in flight: for monitoring from cron; -a limits it to one account
    #[arg(long)]
    pub check: bool,

    /// With --check: a client that has not polled for so long has stopped
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2m")]
    pub max_age: Duration,
}

/// Tell what to type into the WeHelp client: the two addresses, with the token, for every network address of this
/// machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp setup
  wehelp setup --watch              # and wait until the client's first poll and callback arrive")]
pub struct Setup {
    /// Wait for the first poll and the first callback, and say when each arrives (on a terminal: unless --no-watch)
    #[arg(long, overrides_with = "no_watch")]
    pub watch: bool,

    /// Do not wait
    #[arg(long, overrides_with = "watch")]
    pub no_watch: bool,

    /// Stop waiting after so long (exit 6)
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub timeout: Duration,
}

/// Show or change the token of the client door.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp token show")]
pub struct Token {
    /// What to do.
    #[command(subcommand)]
    pub what: TokenWhat,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum TokenWhat {
    /// Print the token
    Show(TokenShow),
    /// Make a new token; the old one stays valid for a day, unless --now
    Rotate(TokenRotate),
}

/// Print the token that clients on other machines need.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp token show | jq -r .token")]
pub struct TokenShow {}

/// Make a new token; the old one stays valid for a day, so that the client's settings can be changed meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp token rotate && wehelp setup
  wehelp token rotate --now         # the old one is in wrong hands")]
pub struct TokenRotate {
    /// End the old token at once, and the one before it
    #[arg(long)]
    pub now: bool,
}

/// Write a consistent copy of everything while the daemon runs. `wehelpd --restore FILE` makes a data folder of it.
///
/// The copy holds chats and the token of the client door: keep it as private as the data folder. What is restored is
/// another log of events: readers that know positions of the old one are told so, and cursors stand where they stood
/// when the copy was made.
///
/// While it is written the daemon drops no old events. Where what takes the copy (a pipe, a slow disk) stands still for
/// two minutes the daemon lets go of it, and this ends with 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp backup /backup/wehelp-$(date +%F).backup
  wehelp backup - | ssh elsewhere 'cat > wehelp.backup'")]
pub struct Backup {
    /// Where to; - for standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Replace the file if there is one
    #[arg(long)]
    pub force: bool,
}

/// Start and stop a wehelpd in the background, for people without systemd.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp daemon start")]
pub struct Daemon {
    /// What to do.
    #[command(subcommand)]
    pub what: DaemonWhat,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum DaemonWhat {
    /// Start a wehelpd in the background
    Start(DaemonStart),
    /// Stop it
    Stop(DaemonStop),
    /// Stop and start it
    Restart(DaemonRestart),
    /// Say whether it runs
    Status(DaemonStatus),
    /// Print its log
    Logs(DaemonLogs),
}

/// Start a wehelpd in the background, and say when it serves or why it does not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp daemon start
  wehelp daemon start -- --listen 0.0.0.0:4567")]
pub struct DaemonStart {
    /// What to give to wehelpd
    #[arg(value_name = "OPTION", last = true)]
    pub options: Vec<OsString>,
}

/// Stop the daemon.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp daemon stop")]
pub struct DaemonStop {}

/// Stop the daemon and start it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp daemon restart")]
pub struct DaemonRestart {
    /// What to give to wehelpd; what `start` gave it when left out
    #[arg(value_name = "OPTION", last = true)]
    pub options: Vec<OsString>,
}

/// Say whether the daemon runs, and where (exit 3 when it does not); `wehelp status` tells how it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp daemon status || wehelp daemon start")]
pub struct DaemonStatus {}

/// Print the log of the daemon that `daemon start` started.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp daemon logs -f")]
pub struct DaemonLogs {
    /// Go on with new lines
    #[arg(short, long)]
    pub follow: bool,

    /// How many of the newest lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub lines: usize,
}

/// Print the completions of a shell: they ask the running daemon for ids and names.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(wehelp completions bash)                                      # in ~/.bashrc
  wehelp completions zsh > ~/.zfunc/_wehelp
  wehelp completions fish > ~/.config/fish/completions/wehelp.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
    pub shell: String,
}
