//! `events`, `cursor`, `forward`

use super::duration;
use clap::{Args, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Print stored events, oldest first: the last 20 unless told otherwise.
///
/// On a terminal a line an event for people; anywhere else one JSON object a line (see wehelp-events(7)).
///
/// A cursor moves only over what was written out, or whose command exited 0 (and whose reply is in the queue): a crash
/// repeats the last, and skips none. One reader at a time holds it. SIGINT, SIGTERM and SIGHUP let what runs end and the
/// cursor move (exit 130, 143, 129); a second one does not wait, and kills the command. A terminal sends SIGINT to the
/// command as well, which may end by it. Replies are queued under keys made of the cursor and the event, so that within a
/// day none is sent twice.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  wehelp events -f | jq -r 'select(.kind==\"message.text\") | .text'
  wehelp events --since 2h --kind 'message.*' --chat 123@chatroom
  wehelp events -f --kind message.text --match '^yes' --count 1 --timeout 10m
  wehelp events -f --cursor bot --kind message.text --reply --exec ./answer"
)]
pub struct Events {
    /// Something other than printing.
    #[command(subcommand)]
    pub what: Option<What>,
    /// Which events, and what to do with them.
    #[command(flatten)]
    pub list: List,
}

/// Something other than printing.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum What {
    /// Print one event
    Show(Show),
    /// Post an event to a forward's target again
    Resend(Resend),
}

/// Print one event.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp events show 17 | jq .decoded
  wehelp events show 17 --bytes | hexdump -C")]
pub struct Show {
    /// The position of the event
    #[arg(value_name = "SEQ", value_parser = seq, required = true)]
    pub seqs: Vec<u64>,

    /// Write the body of the callback as it was received, byte for byte, and nothing else; not to a terminal
    #[arg(long)]
    pub bytes: bool,
}

/// Post an event to a forward's target again.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp events resend 17 --to hook")]
pub struct Resend {
    /// The position of the event
    #[arg(value_name = "SEQ", value_parser = seq)]
    pub seq: u64,

    /// The name of the forward
    #[arg(long, value_name = "NAME")]
    pub to: String,
}

fn seq(text: &str) -> Result<u64, String> {
    text.trim_start_matches('#').parse().map_err(|_| format!("`{text}` is no position of an event (try 17 or #17)"))
}

/// How many of the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// Everything.
    All,
    /// So many.
    Newest(u64),
}

fn lines(text: &str) -> Result<Lines, String> {
    match text {
        "all" => Ok(Lines::All),
        _ => text.parse().map(Lines::Newest).map_err(|_| format!("`{text}` is neither a number nor `all`")),
    }
}

/// Which events, and what to do with them.
#[derive(Debug, Clone, Default, Args)]
pub struct List {
    /// Go on with new events; reconnect when the daemon restarts
    #[arg(short, long)]
    pub follow: bool,

    /// How many of the newest, or `all`; with --since or --until everything that matches, unless given; with --cursor
    /// the next N, and only those are consumed (all of them, unless given)
    #[arg(short = 'n', long, value_name = "N", value_parser = lines)]
    pub lines: Option<Lines>,

    /// Only events from then on: 2026-11-23T09:00:00Z, 2026-11-23, 09:00, yesterday, 2h, 3d, @UNIXSECONDS, #SEQ
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,

    /// Only events until then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,

    /// Only these kinds; globs are allowed: message.*; !K leaves one out
    #[arg(long, value_name = "KIND,…")]
    pub kind: Option<String>,

    /// Only this conversation: an id, or @NAME
    #[arg(long, value_name = "ID")]
    pub chat: Option<String>,

    /// Only what this person said: an id, or @NAME
    #[arg(long, value_name = "ID")]
    pub from: Option<String>,

    /// Only events whose text matches
    #[arg(long, value_name = "REGEX")]
    pub r#match: Option<String>,

    /// Only the account's own messages; with --exec: also the account's own
    #[arg(long = "self", id = "self", conflicts_with = "no_self")]
    pub own: bool,

    /// No messages of the account itself
    #[arg(long)]
    pub no_self: bool,

    /// End after so many events; with -f wait for them
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// With -f: end when so much time has passed (exit 6)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// With -f: end when the daemon does (exit 3)
    #[arg(long)]
    pub no_reconnect: bool,

    /// Start after what this name has consumed, and remember what is consumed now
    #[arg(long, value_name = "NAME")]
    pub cursor: Option<String>,

    /// Where a new cursor starts: oldest, now, #SEQ (the next is SEQ+1), or a moment as for --since; unless given at the
    /// oldest, with --exec at now (with --since there)
    #[arg(long, value_name = "WHERE", requires = "cursor")]
    pub cursor_from: Option<String>,

    /// What to do with events instead of printing them.
    #[command(flatten)]
    pub exec: Exec,
}

/// What to do with events instead of printing them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Running a command per event")]
pub struct Exec {
    /// Run a command per event, the event's JSON on its standard input. In its environment, as far as they apply:
    /// WEHELP_SEQ, WEHELP_TIME, WEHELP_KIND, WEHELP_TYPE, WEHELP_ACCOUNT, WEHELP_PID, WEHELP_CHAT, WEHELP_FROM, WEHELP_SELF,
    /// WEHELP_NICK, WEHELP_TEXT (of a text over 32 KiB the beginning, with WEHELP_TEXT_CUT=1), WEHELP_ATTEMPT (1, and with
    /// --retries 2 …), WEHELP_SOCKET. It must come last. It begins with new events (-f), unless -n, --since
    /// or --cursor says otherwise. A command has ended when it exits: what it started in the background is not waited for,
    /// and what that prints later goes nowhere with --reply or --jobs
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    pub exec: Vec<OsString>,

    /// Send what the command prints as a text to the chat that the event came from. It is run only for what a person said
    /// (text, picture, voice, video, sticker, card, location, app message); all else, as notices, recalls, calls and friend
    /// requests, is passed over, whatever --kind says (counted on stderr)
    #[arg(long, requires = "exec")]
    pub reply: bool,

    /// Pass over events that are older than this when the command would be started (counted on stderr); with --reply
    /// 10 minutes, unless given
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "exec")]
    pub max_age: Option<Duration>,

    /// Run so many at once; events of one chat stay in order
    #[arg(long, value_name = "N", default_value_t = 1, requires = "exec", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,

    /// Run a command that failed so many times more
    #[arg(long, value_name = "N", default_value_t = 0, requires = "exec")]
    pub retries: u32,

    /// How long to wait before the first of the retries; it doubles each time
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration, requires = "exec")]
    pub backoff: Duration,

    /// What to do when a command failed for good
    #[arg(long, value_name = "WHAT", default_value = "stop", requires = "exec")]
    pub on_failure: OnFailure,

    /// Kill a command that runs longer than this; it has failed then
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "exec")]
    pub exec_timeout: Option<Duration>,
}

impl Exec {
    /// The command and its arguments, if there is one; a leading `--` only ended the options.
    #[must_use]
    pub fn command(&self) -> Option<Vec<OsString>> {
        let words = if self.exec.first().is_some_and(|word| word == "--") { &self.exec[1..] } else { &self.exec[..] };
        (!words.is_empty()).then(|| words.to_vec())
    }
}

/// What to do when a command failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OnFailure {
    /// Stop; with a cursor the event is not consumed
    #[default]
    Stop,
    /// Say so on stderr and go on with the next
    Skip,
}

/// Show and change where a named reader of events stands.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp cursor list")]
pub struct Cursor {
    /// What to do.
    #[command(subcommand)]
    pub what: CursorWhat,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum CursorWhat {
    /// List cursors: position, how many events lie after it, last use
    List(CursorList),
    /// Move a cursor, forwards or backwards
    Set(CursorSet),
    /// Delete cursors
    Delete(CursorDelete),
}

/// List cursors: position, how many events lie after it, last use.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp cursor list | jq -r 'select(.lag > 1000) | .name'")]
pub struct CursorList {}

/// Move a cursor, forwards or backwards.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp cursor set bot 17         # the next event read is 18
  wehelp cursor set bot now
  wehelp cursor set bot '2h ago'")]
pub struct CursorSet {
    /// The cursor
    #[arg(value_name = "NAME")]
    pub name: String,

    /// `oldest`, `now`, SEQ as `cursor list` prints it (consumed up to there), or a moment
    #[arg(value_name = "WHERE")]
    pub to: String,
}

/// Delete cursors.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp cursor delete bot")]
pub struct CursorDelete {
    /// The cursors
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// Let the daemon post events to web addresses, each with a durable position of its own.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp forward add hook https://example.org/hook --secret \"$SECRET\" --kind 'message.*'")]
pub struct Forward {
    /// What to do.
    #[command(subcommand)]
    pub what: ForwardWhat,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum ForwardWhat {
    /// Post events to a web address from now on
    Add(ForwardAdd),
    /// List targets: position, lag, failures
    List(ForwardList),
    /// Stop posting to targets and forget them
    Remove(ForwardRemove),
    /// Post nothing to targets until resumed
    Pause(ForwardPause),
    /// Go on after a pause, or after an event that was refused
    Resume(ForwardResume),
    /// Pass the event that a target refuses, and go on with the next
    Skip(ForwardSkip),
    /// Move a target's position
    Set(ForwardSet),
    /// Post a test event now, and say what the target answers
    Test(ForwardTest),
}

/// Post events to a web address from now on.
///
/// Each event is a POST of its JSON, signed when a secret is given: X-Wehelp-Signature is `t=SECONDS,v1=HEX`, HEX being
/// the HMAC-SHA256 of `SECONDS.BODY`. X-Wehelp-Seq is its position, X-Wehelp-Log the identity of the log that this is
/// a position in, X-Wehelp-Via the logs that it has passed: send it along where you post the event on.
///
/// A target that does not answer 2xx is tried again, later and later (a Retry-After is kept, over a restart too);
/// events wait for it in order. An event that is refused (4xx, but for 408, 425 and 429) is tried for an hour and then stops the forward:
/// `wehelp status --check` fails until it is skipped, moved or resumed. Redirects are not followed, and proxies that
/// the environment names are not used.
///
/// A target of that name that is there already is changed: it goes on where it was, and keeps its secret where none is
/// given.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp forward add hook https://example.org/hook --secret \"$SECRET\" --kind 'message.*'")]
pub struct ForwardAdd {
    /// The target's name
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Its address: http:// or https://
    #[arg(value_name = "URL")]
    pub url: String,

    /// The key of the signature
    #[arg(long, value_name = "SECRET", env = "WEHELP_FORWARD_SECRET", hide_env_values = true)]
    pub secret: Option<String>,

    /// Only these kinds; globs are allowed: message.*; !K leaves one out
    #[arg(long, value_name = "KIND,…")]
    pub kind: Option<String>,

    /// Only this conversation: an id, or @NAME
    #[arg(long, value_name = "ID")]
    pub chat: Option<String>,

    /// Only events whose text matches
    #[arg(long, value_name = "REGEX")]
    pub r#match: Option<String>,

    /// A PEM file with root certificates to trust besides the system's, on the daemon's machine
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// What becomes of an event that the target refuses: it stops the forward after an hour, or is skipped after three
    /// tries
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub on_refused: OnRefused,

    /// Pass over events that are older than this when they would be posted (`forward list` counts them): 10m
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub max_age: Option<Duration>,
}

/// What becomes of an event that the target refuses.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub enum OnRefused {
    /// Stops the forward after an hour
    #[default]
    Stop,
    /// Is skipped after three tries
    Skip,
}

/// Move a target's position: what it gets next is what comes after it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp forward set hook now")]
pub struct ForwardSet {
    /// The target's name
    #[arg(value_name = "NAME")]
    pub name: String,

    /// `oldest`, `now`, `#SEQ` (the next one posted is SEQ+1), or a moment: yesterday, 2h, 09:00
    #[arg(value_name = "MOMENT", allow_hyphen_values = true)]
    pub to: String,
}

/// List targets: position, lag, failures.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp forward list | jq -r 'select(.failures > 0) | .last_error'")]
pub struct ForwardList {}

macro_rules! named {
    ($($(#[$doc:meta])* $name:ident $example:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Args)]
        #[command(after_help = concat!("Example:\n  wehelp forward ", $example))]
        pub struct $name {
            /// The targets' names
            #[arg(value_name = "NAME", required = true)]
            pub names: Vec<String>,
        }
    )*};
}

named! {
    /// Stop posting to targets and forget them.
    ForwardRemove "remove hook";
    /// Post nothing to targets until resumed; events wait.
    ForwardPause "pause hook";
    /// Go on after a pause, or try again at once what failed or was refused.
    ForwardResume "resume hook";
    /// Pass the event that a target refuses or cannot take, and go on with the next.
    ForwardSkip "skip hook";
    /// Post a test event now, and say what the target answers.
    ForwardTest "test hook";
}

#[cfg(test)]
mod tests {
    use crate::cli::args::{Cli, Verb};
    use clap::Parser;

    fn exec(args: &[&str]) -> Vec<String> {
        let Verb::Events(events) = Cli::try_parse_from(args).unwrap().verb else { panic!("not events") };
        events.list.exec.command().unwrap().iter().map(|a| a.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn everything_behind_exec_is_the_command() {
        assert_eq!(exec(&["wehelp", "events", "--exec", "cmd", "-q", "--count", "x"]), ["cmd", "-q", "--count", "x"]);
        assert_eq!(exec(&["wehelp", "events", "--exec", "--", "cmd", "-q", "--", "x"]), ["cmd", "-q", "--", "x"]);
        assert_eq!(exec(&["wehelp", "events", "--exec", "cmd", "a", "--", "show"]), ["cmd", "a", "--", "show"]);
    }
}
