//! `wehelp send`

mod bulk;
mod split;

use crate::cli::complete::Known;
use crate::cli::ctx::Ctx;
use crate::cli::enqueue::{self, Enqueuer};
use crate::cli::error::{Error, Exit};
use crate::cli::names;
use crate::cli::options::{Wiring, who};
use crate::cli::render;
use crate::cli::who::Who;
use crate::protocol::command::{self, Command, WIRE_BYTES_MAX, is_local_path, local_path};
use crate::protocol::id::Wxid;
use std::io::Read;
use std::path::PathBuf;

/// Send a text, picture, file or link to a person or a room.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp send text filehelper \"hi\"")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum What {
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
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp send text filehelper \"hi\"
  make 2>&1 | tail -n 5 | wehelp send text 123@chatroom -
  wehelp send text @boss \"build 7 is done\" --key build-7 --expires 1h
  wehelp send text 123@chatroom - --split --key report-7 < report.txt
  wehelp send text --from list.tsv --key-prefix mailing-7")]
struct Text {
    /// A person's or room's id, or @NAME
    #[arg(value_name = "WXID", value_parser = who, required_unless_present = "from", add = Known::Contacts.completer())]
    wxid: Option<Who>,

    /// What to say; - reads it from standard input
    #[arg(value_name = "TEXT", required_unless_present = "from", allow_hyphen_values = true)]
    text: Option<String>,

    /// Send many: read lines of `WXID<TAB>TEXT` or JSON from this file, - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wxid", "text", "key"])]
    from: Option<PathBuf>,

    /// With --from only: keys of this prefix and the line's content, so that a second run sends nothing twice
    #[arg(long, value_name = "PREFIX", requires = "from")]
    key_prefix: Option<String>,

    /// Cut a text of more than N graphemes (2,000 unless told: about what a chat shows well) into several, all of which are
    /// queued, in order, or none: at blank lines, else line breaks, else sentences, else between graphemes, never in a URL;
    /// a longer URL is a text of its own. With --key K they have the keys K/1, K/2 …. Not with --from
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..),
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2000",
        conflicts_with = "from"
    )]
    split: Option<u32>,

    #[command(flatten)]
    wiring: Wiring,
}

/// Send a picture that lies on the client's PC.
///
/// A PATH that looks like one of this machine (it begins with /, ./, ../ or ~) is refused, unless --on-client says that
/// it is the PC's, or the daemon's settings tell where the PC finds it: `[files]` `map`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp send image filehelper 'C:\\pictures\\cat.png'")]
struct Image {
    /// A person's or room's id, or @NAME
    #[arg(value_name = "WXID", value_parser = who, add = Known::Contacts.completer())]
    wxid: Who,

    /// A path on the PC where WeHelp runs; newer clients also take the URL of a picture
    #[arg(value_name = "PATH")]
    path: String,

    /// The path is one of the PC, although it looks like one of this machine
    #[arg(long)]
    on_client: bool,

    #[command(flatten)]
    wiring: Wiring,
}

/// Send a file that lies on the client's PC.
///
/// A PATH that looks like one of this machine (it begins with /, ./, ../ or ~) is refused, unless --on-client says that
/// it is the PC's, or the daemon's settings tell where the PC finds it: `[files]` `map`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp send file filehelper 'D:\\reports\\november.pdf'")]
struct File {
    /// A person's or room's id, or @NAME
    #[arg(value_name = "WXID", value_parser = who, add = Known::Contacts.completer())]
    wxid: Who,

    /// A path on the PC where WeHelp runs; empty files and those over 50 MB fail there
    #[arg(value_name = "PATH")]
    path: String,

    /// The path is one of the PC, although it looks like one of this machine
    #[arg(long)]
    on_client: bool,

    #[command(flatten)]
    wiring: Wiring,
}

/// Send a link with title, description and picture.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp send link filehelper --title \"The news\" --url https://example.org --desc \"Read it\"")]
struct Link {
    /// A person's or room's id, or @NAME
    #[arg(value_name = "WXID", value_parser = who, add = Known::Contacts.completer())]
    wxid: Who,

    /// The headline
    #[arg(long, value_name = "TITLE")]
    title: String,

    /// Where it leads
    #[arg(long, value_name = "URL")]
    url: String,

    /// A line below the headline
    #[arg(long, value_name = "DESC")]
    desc: Option<String>,

    /// The URL of a picture
    #[arg(long, value_name = "URL")]
    pic: Option<String>,

    #[command(flatten)]
    wiring: Wiring,
}

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    match args.what {
        What::Text(Text { from: Some(from), key_prefix, wiring, .. }) => {
            bulk::run(ctx, &from, key_prefix.as_deref(), &wiring)
        }
        // clap does not see it where WXID and TEXT are given.
        What::Text(Text { key_prefix: Some(_), .. }) => {
            Err(Error::usage("--key-prefix makes the keys of many lines and goes with --from; one text takes --key"))
        }
        What::Text(Text { wxid: Some(wxid), text: Some(text), split: Some(graphemes_max), wiring, .. }) => {
            in_pieces(ctx, &wiring, &wxid, text, graphemes_max)
        }
        What::Text(Text { wxid: Some(wxid), text: Some(text), wiring, .. }) => {
            let text = self::text(text)?;
            enqueue::put(ctx, &wiring, || {
                command::said("text", &text)?;
                Ok(vec![Command::SendText { wxid: names::id(ctx, &wxid)?, text }])
            })
        }
        What::Text(_) => Err(Error::usage("give WXID and TEXT, or --from FILE")),
        What::Image(Image { wxid, path, on_client, wiring }) => {
            file(ctx, &wiring, &wxid, (&path, on_client), |wxid, path| Command::SendImage { wxid, path })
        }
        What::File(File { wxid, path, on_client, wiring }) => {
            file(ctx, &wiring, &wxid, (&path, on_client), |wxid, path| Command::SendFile { wxid, path })
        }
        What::Link(Link { wxid, title, url, desc, pic, wiring }) => enqueue::put(ctx, &wiring, || {
            command::said("title", &title).and_then(|()| command::said("url", &url))?;
            for (what, text) in [("description", &desc), ("picture", &pic)] {
                text.as_ref().map_or(Ok(()), |text| command::whole(what, text))?;
            }
            Ok(vec![Command::SendLink { wxid: names::id(ctx, &wxid)?, title, url, description: desc, picture: pic }])
        }),
    }
}

/// TEXT as it was given; `-` is standard input, one message, without a byte order mark and its last line break.
///
/// # Errors
/// When what is read there is too long or no UTF-8.
pub(super) fn text(given: String) -> Result<String, Error> {
    if given == "-" { read(std::io::stdin(), WIRE_BYTES_MAX) } else { Ok(given) }
}

/// A text that may be cut into several.
fn in_pieces(ctx: &Ctx, wiring: &Wiring, wxid: &Who, given: String, graphemes_max: u32) -> Result<(), Error> {
    /// The longest that is read, bytes: about what goes into one request, where a letter may take twice as many.
    const BYTES_MAX: usize = crate::control::REQUEST_BYTES_MAX / 4;
    let text = if given == "-" { read(std::io::stdin(), BYTES_MAX)? } else { given };
    let mut pieces = split::split(&text, usize::try_from(graphemes_max).unwrap_or(usize::MAX));
    if pieces.is_empty() {
        // It is refused as any other that is blank.
        pieces.push(&text);
    }
    let enqueuer = Enqueuer::new(ctx, wiring)?;
    pieces.iter().try_for_each(|piece| command::said("text", piece))?;
    let wxid = names::id(ctx, wxid)?;
    let command = |piece: &&str| Command::SendText { wxid: wxid.clone(), text: (*piece).to_owned() };
    let wires = enqueuer.wires(&pieces.iter().map(command).collect::<Vec<_>>())?;
    enqueuer.put_whole(ctx, &wires)
}

fn read(input: impl Read, bytes_max: usize) -> Result<String, Error> {
    let mut bytes = Vec::new();
    // One more than what fits, to see that it does not.
    let most = bytes_max as u64 + 1;
    input.take(most).read_to_end(&mut bytes).map_err(|e| Error::failed(format!("read standard input: {e}")))?;
    if bytes.len() > bytes_max {
        return Err(Error::usage(format!(
            "the text on standard input has more than {bytes_max} bytes; a message is far shorter, so cut it (--split does)"
        )));
    }
    let mut text = String::from_utf8(bytes).map_err(|e| {
        Error::usage(format!("the text on standard input is no UTF-8 ({}); convert it", e.utf8_error()))
    })?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn file(
    ctx: &Ctx,
    wiring: &Wiring,
    wxid: &Who,
    (path, on_client): (&str, bool),
    make: impl FnOnce(Wxid, String) -> Command,
) -> Result<(), Error> {
    let enqueuer = Enqueuer::new(ctx, wiring)?.on_client(on_client);
    command::said("path", path)?;
    let wires = enqueuer.wires(&[make(names::id(ctx, wxid)?, path.to_owned())])?;
    let is_local = !on_client && is_local_path(path);
    if is_local && ctx.client().is_err() {
        // The daemon's settings may know better; where none can be asked, it is wrong usage as it stands.
        return Err(Error::usage(format!("PATH: {}", local_path(path))));
    }
    if is_local && wiring.dry_run {
        return enqueuer.enqueue(ctx, &wires, &[], |receipt| ctx.out().text(receipt.command.get()));
    }
    if !is_local && !on_client && !is_of_the_pc(path) && std::path::Path::new(path).exists() {
        ctx.out().warn(&format!(
            "`{}` is a file of this machine; the client looks for it on the PC where WeHelp runs",
            render::clean(path)
        ));
    }
    enqueuer.put(ctx, &wires).map_err(|error| match error.exit {
        // The daemon names the member, and here it is an argument.
        Exit::Usage if is_local => Error::usage(format!("PATH: {}", local_path(path))),
        _ => error,
    })
}

/// Whether a path has the form of one that the client takes.
fn is_of_the_pc(path: &str) -> bool {
    let drive = matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    drive || path.starts_with("\\\\") || path.starts_with("http://") || path.starts_with("https://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_on_standard_input_loses_its_last_line_break_and_no_more() {
        let text = |input: &str| read(input.as_bytes(), WIRE_BYTES_MAX).unwrap();
        assert_eq!(text("two\nlines 你\n"), "two\nlines 你");
        assert_eq!(text("one\r\n"), "one");
        assert_eq!(text("none"), "none");
        assert_eq!(text("two breaks\n\n"), "two breaks\n");
        assert_eq!(text("\u{feff}a byte order mark\n"), "a byte order mark");
    }

    #[test]
    fn a_text_that_is_no_utf_8_or_too_long_is_refused() {
        let read = |input: &[u8]| read(input, WIRE_BYTES_MAX);
        assert!(read(b"\xff\xfe").unwrap_err().message.contains("UTF-8"));
        assert!(read(&vec![b'x'; WIRE_BYTES_MAX + 1]).unwrap_err().message.contains("bytes"));
        assert_eq!(read(&vec![b'x'; WIRE_BYTES_MAX]).unwrap().len(), WIRE_BYTES_MAX);
    }

    #[test]
    fn paths_of_this_machine_are_told_from_those_of_the_pc() {
        for path in ["/tmp/x.png", "~/x.png", "./x.png", "../x.png", "~"] {
            assert!(is_local_path(path), "{path}");
        }
        for path in [r"C:\x.png", "C:/x.png", r"\\server\share\x.png", "http://e.org/x.png", "https://e.org/x.png"] {
            assert!(!is_local_path(path) && is_of_the_pc(path), "{path}");
        }
        assert!(!is_local_path("x.png") && !is_of_the_pc("x.png"));
    }
}
