//! What can be typed behind `wehelp events`.

use crate::cli::complete::Known;
use crate::cli::options::duration;
use clap::Args as _;
use std::ffi::OsString;
use std::time::Duration;

/// Print stored events, oldest first: the last 20 unless told otherwise.
///
/// On a terminal a line an event for people; anywhere else one JSON object a line (see wehelp-events(7)). -a takes an account
/// that an event has told of, or that the queue keeps commands of; of any other the exit status is 4.
///
/// An event that is stored and cannot be read is told on standard error, as `{"seq":N,"damaged":REASON}` with --json, and
/// the exit status is 1 at the end. With --exec the same holds for events that were dropped before they could be read. A reply
/// that can never be queued, because wehelpd takes no such chat, text or account, is told on standard error as well, and
/// the event counts as dealt with; while wehelpd is away or takes nothing for now, the reply waits.
///
/// A cursor moves only over what was written out, or whose command exited 0 (and whose reply is in the queue): a crash
/// repeats the last, and skips none. One reader at a time holds it. SIGINT, SIGTERM and SIGHUP let what runs end and the
/// cursor move (exit 130, 143, 129); a second one does not wait, and kills the command. A terminal sends SIGINT to the
/// command as well, which may end by it. Replies are queued under keys made of the cursor and the event, so that within a
/// day none is sent twice.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  wehelp events -f | jq -r 'select(.kind==\"message.text\") | .text'
  wehelp events --since 2h --kind 'message.*' --chat 123@chatroom
  wehelp events -f --kind message.text --match '^yes' --count 1 --timeout 10m
  wehelp events -f --cursor bot --kind message.text --reply --exec ./answer"
)]
pub(in crate::cli) struct Args {
    /// Something other than printing.
    #[command(subcommand)]
    pub(super) what: Option<What>,
    /// Which events, and what to do with them.
    #[command(flatten)]
    pub(super) list: List,
}

/// Something other than printing.
#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
pub(super) enum What {
    /// Print one event
    Show(Show),
    /// Post an event to a forward's target again
    Resend(Resend),
}

/// Print one event.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp events show 17 | jq .decoded
  wehelp events show 17 --bytes | hexdump -C")]
pub(super) struct Show {
    /// The position of the event
    #[arg(value_name = "SEQ", value_parser = seq, required = true)]
    pub(super) seqs: Vec<u64>,

    /// Write the body of the callback as it was received, byte for byte, and nothing else; not to a terminal
    #[arg(long)]
    pub(super) bytes: bool,
}

/// Post an event to a forward's target again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp events resend 17 --to hook")]
pub(super) struct Resend {
    /// The position of the event
    #[arg(value_name = "SEQ", value_parser = seq)]
    pub(super) seq: u64,

    /// The name of the forward
    #[arg(long, value_name = "NAME", add = Known::Forwards.completer())]
    pub(super) to: String,
}

fn seq(text: &str) -> Result<u64, String> {
    text.trim_start_matches('#').parse().map_err(|_| format!("`{text}` is no position of an event (try 17 or #17)"))
}

/// How many of the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// Everything.
    All,
    /// This many.
    Newest(u64),
}

fn lines(text: &str) -> Result<Lines, String> {
    match text {
        "all" => Ok(Lines::All),
        _ => text.parse().map(Lines::Newest).map_err(|_| format!("`{text}` is neither a number nor `all`")),
    }
}

/// Which events, and what to do with them.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct List {
    /// Go on with new events; reconnect when the daemon restarts
    #[arg(short, long)]
    pub(super) follow: bool,

    /// How many of the newest, or `all`; with --since or --until everything that matches, unless given; with --cursor
    /// the next N, and only those are consumed (all of them, unless given)
    #[arg(short = 'n', long, value_name = "N", value_parser = lines)]
    pub(super) lines: Option<Lines>,

    /// Only events from then on: 2026-11-23T09:00:00Z, 2026-11-23, 09:00, yesterday, 2h, 3d, @UNIXSECONDS, #SEQ
    #[arg(long, value_name = "WHEN")]
    pub(super) since: Option<String>,

    /// Only events until then
    #[arg(long, value_name = "WHEN")]
    pub(super) until: Option<String>,

    /// Only these kinds; globs are allowed: message.*; !K leaves one out
    #[arg(long, value_name = "KIND,…", add = Known::Kinds.completer())]
    pub(super) kind: Option<String>,

    /// Only this conversation: an id, or @NAME
    #[arg(long, value_name = "ID", add = Known::Contacts.completer())]
    pub(super) chat: Option<String>,

    /// Only what this person said: an id, or @NAME
    #[arg(long, value_name = "ID", add = Known::Contacts.completer())]
    pub(super) from: Option<String>,

    /// Only events whose text matches
    #[arg(long, value_name = "REGEX")]
    pub(super) r#match: Option<String>,

    /// Only the account's own messages; with --exec: also the account's own
    #[arg(long = "self", id = "self", conflicts_with = "no_self")]
    pub(super) own: bool,

    /// No messages of the account itself
    #[arg(long)]
    pub(super) no_self: bool,

    /// Only messages that mean the account: private ones, those that call it with @ or quote what it said
    #[arg(long)]
    pub mentioned: bool,

    /// End after this many events; with -f wait for them
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,

    /// With -f: end when so much time has passed (exit 6)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) timeout: Option<Duration>,

    /// With -f: end when the daemon does (exit 3)
    #[arg(long)]
    pub(super) no_reconnect: bool,

    /// Start after what this name has consumed, and remember what is consumed now
    #[arg(long, value_name = "NAME", add = Known::Cursors.completer())]
    pub(super) cursor: Option<String>,

    /// Where a new cursor starts: oldest, now, #SEQ (the next is SEQ+1), or a moment as for --since; unless given at the
    /// oldest, with --exec at now (with --since there)
    #[arg(long, value_name = "WHERE", requires = "cursor")]
    pub(super) cursor_from: Option<String>,

    /// What to do with events instead of printing them.
    #[command(flatten)]
    pub(super) exec: Exec,
}

/// What to do with events instead of printing them.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Running a command per event")]
pub(super) struct Exec {
    /// Run a command per event, the event's JSON on its standard input. In its environment, as far as they apply:
    /// WEHELP_SEQ, WEHELP_TIME, WEHELP_KIND, WEHELP_TYPE, WEHELP_ACCOUNT, WEHELP_PID, WEHELP_CHAT, WEHELP_FROM,
    /// WEHELP_FROM_NAME, WEHELP_MENTIONED, WEHELP_SELF,
    /// WEHELP_NICK, WEHELP_TEXT (of a text over 32 KiB the beginning, with WEHELP_TEXT_CUT=1), WEHELP_ATTEMPT (1, and with
    /// --retries 2 …), WEHELP_SOCKET. It must come last; a word of it that is a long option of `wehelp events` is refused,
    /// unless -- stands before the command. It begins with new events (-f), unless -n, --since
    /// or --cursor says otherwise. A command has ended when it exits: what it started in the background is not waited for,
    /// and what that prints later goes nowhere with --reply or --jobs
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    pub(super) exec: Vec<OsString>,

    /// Send what the command prints as a text to the chat that the event came from. It is run only for what a person said
    /// (text, picture, voice, video, sticker, card, location, app message); all else, as notices, recalls, calls and friend
    /// requests, is passed over, whatever --kind says (counted on stderr)
    #[arg(long, requires = "exec")]
    pub(super) reply: bool,

    /// Pass over events that are older than this when the command would be started (counted on stderr); with --reply
    /// 10 minutes, unless given
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "exec")]
    pub(super) max_age: Option<Duration>,

    /// Leave a chat alone for so long after the account's owner has written there by hand: an own message that is the echo
    /// of no command of this daemon, whatever filters are given but --chat and -a. What came before it is the owner's, too,
    /// and so is a reply that is not queued yet. All that is passed over (counted on stderr). What was written before the
    /// start counts
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "exec")]
    pub(super) takeover: Option<Duration>,

    /// Run this many at once; events of one chat stay in order
    #[arg(long, value_name = "N", default_value_t = 1, requires = "exec", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) jobs: u16,

    /// Run a command that failed this many times more
    #[arg(long, value_name = "N", default_value_t = 0, requires = "exec")]
    pub(super) retries: u32,

    /// How long to wait before the first of the retries; it doubles each time
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration, requires = "exec")]
    pub(super) backoff: Duration,

    /// What to do when a command failed for good
    #[arg(long, value_name = "WHAT", default_value = "stop", requires = "exec")]
    pub(super) on_failure: OnFailure,

    /// Kill a command that runs longer than this; it has failed then
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "exec")]
    pub(super) exec_timeout: Option<Duration>,
}

impl Exec {
    /// The command and its arguments, if there is one; a leading `--` only ended the options.
    pub(super) fn command(&self) -> Option<Vec<OsString>> {
        let words = if self.exec.first().is_some_and(|word| word == "--") { &self.exec[1..] } else { &self.exec[..] };
        (!words.is_empty()).then(|| words.to_vec())
    }

    /// An option of ours among the command's words: whoever wrote it there meant us, most likely. None is looked for behind
    /// a `--`, before the command or in it.
    pub(super) fn stray(&self) -> Option<&str> {
        let own = List::augment_args(clap::Command::new("events"));
        let is_own = |word: &str| {
            let name = word.strip_prefix("--").and_then(|word| word.split('=').next());
            name.is_some_and(|name| own.get_arguments().any(|option| option.get_long() == Some(name)))
        };
        let words = self.exec.iter().map_while(|word| (word != "--").then(|| word.to_str()));
        words.flatten().find(|word| is_own(word))
    }
}

/// What to do when a command failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum OnFailure {
    /// Stop; with a cursor the event is not consumed
    #[default]
    Stop,
    /// Say so on stderr and go on with the next
    Skip,
}

#[cfg(test)]
mod tests {
    use crate::cli::parse::Cli;
    use crate::cli::verb::Verb;
    use clap::Parser;

    fn parsed(args: &[&str]) -> super::Exec {
        let Verb::Events(events) = Cli::try_parse_from(args).unwrap().verb else { panic!("not events") };
        events.list.exec
    }

    fn exec(args: &[&str]) -> Vec<String> {
        parsed(args).command().unwrap().iter().map(|a| a.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn an_option_of_ours_behind_exec_is_noticed_unless_it_is_said_whose_it_is() {
        let stray =
            |words: &[&str]| parsed(&[&["wehelp", "events", "--exec"], words].concat()).stray().map(str::to_owned);
        for word in ["--reply", "--cursor", "--cursor=c", "--takeover", "--count", "--self", "--exec"] {
            assert_eq!(stray(&["cmd", "a", word]).as_deref(), Some(word));
            assert_eq!(stray(&["--", "cmd", "a", word]), None);
            assert_eq!(stray(&["cmd", "--", word]), None);
        }
        assert_eq!(stray(&["--reply", "cmd"]).as_deref(), Some("--reply"));
        assert_eq!(stray(&["cmd", "-f", "-q", "--json", "--key", "k", "--replying"]), None);
    }

    #[test]
    fn everything_behind_exec_is_the_command() {
        assert_eq!(exec(&["wehelp", "events", "--exec", "cmd", "-q", "--count", "x"]), ["cmd", "-q", "--count", "x"]);
        assert_eq!(exec(&["wehelp", "events", "--exec", "--", "cmd", "-q", "--", "x"]), ["cmd", "-q", "--", "x"]);
        assert_eq!(exec(&["wehelp", "events", "--exec", "cmd", "a", "--", "show"]), ["cmd", "a", "--", "show"]);
    }
}
