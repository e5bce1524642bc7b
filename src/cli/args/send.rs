//! `send`, `ask`, `raw`, `api`.

use super::{Wiring, who};
use crate::cli::who::Who;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Send a text, picture, file or link to a person or a room.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp send text filehelper \"hi\"")]
pub struct Send {
    /// What to send.
    #[command(subcommand)]
    pub what: What,
}

/// What to send.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum What {
    /// Send a text
    Text(Text),
    /// Send a picture that lies on the client's PC
    Image(Image),
    /// Send a file that lies on the client's PC
    File(File),
    /// Send a link with title, description and picture
    Link(Link),
}

/// Send a text.
///
/// The receipt says what the daemon knows: `ready` is queued, `fetched` is handed over to the client, `answered` is
/// reported back by the client. With --from, many texts are sent: one line each, `WXID<TAB>TEXT` or a JSON object with
/// `wxid` and `text` and, where they differ from the options, `key`, `account`, `in`, `at`, `expires`; as many as you
/// like. Every line gives a receipt or an error (in JSON with its `line`, and with the `id` of a command that is queued all
/// the same), in order; blank lines are passed over. The exit status is 1 when a line failed, and that of the first
/// failure when all are queued and some were refused or not answered in time. Where the daemon goes away in the middle,
/// every further line of the file still gets an error that says whether it may be queued. With --key-prefix a second run
/// within 24 h queues only what the first did not: of two lines that say the same to the same, one is sent, whichever way
/// the account was named. SIGINT, SIGTERM and SIGHUP let the request under way end, print its receipts and say how many
/// lines are queued (exit 130, 143, 129).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp send text filehelper \"hi\"
  make 2>&1 | tail -n 5 | wehelp send text 123@chatroom -
  wehelp send text @boss \"build 7 is done\" --key build-7 --expires 1h
  wehelp send text --from list.tsv --key-prefix mailing-7")]
pub struct Text {
    /// A person's or room's id, or @NAME
    #[arg(value_name = "WXID", value_parser = who, required_unless_present = "from")]
    pub wxid: Option<Who>,

    /// What to say; - reads it from standard input
    #[arg(value_name = "TEXT", required_unless_present = "from", allow_hyphen_values = true)]
    pub text: Option<String>,

    /// Send many: read lines of `WXID<TAB>TEXT` or JSON from this file, - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wxid", "text", "key"])]
    pub from: Option<PathBuf>,

    /// With --from only: keys of this prefix and the line's content, so that a second run sends nothing twice
    #[arg(long, value_name = "PREFIX", requires = "from")]
    pub key_prefix: Option<String>,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Send a picture that lies on the client's PC.
///
/// A PATH that looks like one of this machine (it begins with /, ./, ../ or ~) is refused, unless --on-client says that
/// it is the PC's, or the daemon's settings tell where the PC finds it: `[files]` `map`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp send image filehelper 'C:\\pictures\\cat.png'")]
pub struct Image {
    /// A person's or room's id, or @NAME
    #[arg(value_name = "WXID", value_parser = who)]
    pub wxid: Who,

    /// A path on the PC where WeHelp runs; newer clients also take the URL of a picture
    #[arg(value_name = "PATH")]
    pub path: String,

    /// The path is one of the PC, although it looks like one of this machine
    #[arg(long)]
    pub on_client: bool,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Send a file that lies on the client's PC.
///
/// A PATH that looks like one of this machine (it begins with /, ./, ../ or ~) is refused, unless --on-client says that
/// it is the PC's, or the daemon's settings tell where the PC finds it: `[files]` `map`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp send file filehelper 'D:\\reports\\november.pdf'")]
pub struct File {
    /// A person's or room's id, or @NAME
    #[arg(value_name = "WXID", value_parser = who)]
    pub wxid: Who,

    /// A path on the PC where WeHelp runs; empty files and those over 50 MB fail there
    #[arg(value_name = "PATH")]
    pub path: String,

    /// The path is one of the PC, although it looks like one of this machine
    #[arg(long)]
    pub on_client: bool,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Send a link with title, description and picture.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp send link filehelper --title \"The news\" --url https://example.org --desc \"Read it\"")]
pub struct Link {
    /// A person's or room's id, or @NAME
    #[arg(value_name = "WXID", value_parser = who)]
    pub wxid: Who,

    /// The headline
    #[arg(long, value_name = "TITLE")]
    pub title: String,

    /// Where it leads
    #[arg(long, value_name = "URL")]
    pub url: String,

    /// A line below the headline
    #[arg(long, value_name = "DESC")]
    pub desc: Option<String>,

    /// The URL of a picture
    #[arg(long, value_name = "URL")]
    pub pic: Option<String>,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Send a text and print the next message of that chat: the building block of approval steps in scripts.
///
/// Messages that came before the question was handed to the client, the account's own, calls, and WeChat's notices are
/// no answer; in a room anybody's message is one unless --from names who is asked. When the question is refused, that ends
/// the wait (exit 5).
///
/// One question is open per account and chat: a second one waits for its turn, which counts to its --timeout, and is then
/// `held` for the reason `ask: …`. A question that no client has fetched when the time is over, or when the one who asked
/// it is gone, is not asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp ask @boss \"deploy v7? (yes/no)\" --timeout 10m --match '^(yes|no)$' | jq -r .text")]
pub struct Ask {
    /// A person's or room's id, or @NAME
    #[arg(value_name = "WXID", value_parser = who)]
    pub wxid: Who,

    /// What to ask; - reads it from standard input
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    pub text: String,

    /// Give up after so long (exit 6)
    #[arg(long, value_name = "DURATION", value_parser = super::duration, default_value = "10m")]
    pub timeout: Duration,

    /// Only a message with such a text is an answer
    #[arg(long, value_name = "REGEX")]
    pub r#match: Option<String>,

    /// While another question is open in the chat: do not wait for its turn, but end with exit status 5
    #[arg(long)]
    pub no_queue: bool,

    /// In a room: only a message of this person is an answer
    #[arg(long, value_name = "WXID", value_parser = who)]
    pub from: Option<Who>,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Put JSON on the wire as it is given: the way to commands that this version does not know.
///
/// All lines of standard input are checked before any is queued. Of a question that this version knows, the answer is
/// waited for as its own verb does.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wehelp raw '{\"api\":\"sendTextMessage\",\"code\":1,\"wxid\":\"filehelper\",\"text\":\"hi\"}'
  wehelp raw - < commands.jsonl")]
pub struct Raw {
    /// An object with a string `api`; - reads JSON lines from standard input
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    pub object: String,

    /// Paths are those of the PC, although they look like those of this machine
    #[arg(long)]
    pub on_client: bool,

    /// What every command takes.
    #[command(flatten)]
    pub wiring: Wiring,
}

/// Print the table of commands: verb, api, code, the event that answers, where it is specified.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wehelp api | jq -r 'select(.question) | .verb'")]
pub struct Api {}
