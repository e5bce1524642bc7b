//! `wehelp send`

mod bulk;

use crate::cli::args::Wiring;
use crate::cli::args::send as args;
use crate::cli::ctx::Ctx;
use crate::cli::enqueue::{self, Enqueuer};
use crate::cli::error::{Error, Exit};
use crate::cli::render;
use crate::cli::who::Who;
use crate::protocol::command::{Command, WIRE_BYTES_MAX, is_local_path, local_path};
use crate::protocol::id::Wxid;
use std::io::Read;

pub(in crate::cli) fn run(ctx: &Ctx, args: args::Send) -> Result<(), Error> {
    match args.what {
        args::What::Text(args::Text { from: Some(from), key_prefix, wiring, .. }) => {
            bulk::run(ctx, &from, key_prefix.as_deref(), &wiring)
        }
        // clap does not see it where WXID and TEXT are given.
        args::What::Text(args::Text { key_prefix: Some(_), .. }) => {
            Err(Error::usage("--key-prefix makes the keys of many lines and goes with --from; one text takes --key"))
        }
        args::What::Text(args::Text { wxid: Some(wxid), text: Some(text), wiring, .. }) => {
            let text = self::text(text)?;
            enqueue::put(ctx, &wiring, |names| {
                Ok(vec![Command::SendText { wxid: names.who(&wxid)?, text: text.clone() }])
            })
        }
        args::What::Text(_) => Err(Error::usage("give WXID and TEXT, or --from FILE")),
        args::What::Image(args::Image { wxid, path, on_client, wiring }) => {
            file(ctx, &wiring, &wxid, (&path, on_client), |wxid, path| Command::SendImage { wxid, path })
        }
        args::What::File(args::File { wxid, path, on_client, wiring }) => {
            file(ctx, &wiring, &wxid, (&path, on_client), |wxid, path| Command::SendFile { wxid, path })
        }
        args::What::Link(args::Link { wxid, title, url, desc, pic, wiring }) => enqueue::put(ctx, &wiring, |names| {
            let (title, url, desc, pic) = (title.clone(), url.clone(), desc.clone(), pic.clone());
            Ok(vec![Command::SendLink { wxid: names.who(&wxid)?, title, url, desc, pic }])
        }),
    }
}

/// TEXT as it was given; `-` is standard input, one message, without a byte order mark and its last line break.
///
/// # Errors
/// When what is read there is too long or no UTF-8.
pub(super) fn text(given: String) -> Result<String, Error> {
    if given == "-" { read(std::io::stdin()) } else { Ok(given) }
}

fn read(input: impl Read) -> Result<String, Error> {
    let mut bytes = Vec::new();
    // One more than what fits, to see that it does not.
    let most = WIRE_BYTES_MAX as u64 + 1;
    input.take(most).read_to_end(&mut bytes).map_err(|e| Error::failed(format!("read standard input: {e}")))?;
    if bytes.len() > WIRE_BYTES_MAX {
        return Err(Error::usage(format!(
            "the text on standard input has more than {WIRE_BYTES_MAX} bytes; a message is far shorter, so cut it"
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
    command: impl Fn(Wxid, String) -> Command,
) -> Result<(), Error> {
    let enqueuer = Enqueuer::new(ctx, wiring)?.on_client(on_client);
    let wires = enqueuer.wires(ctx, |names| Ok(vec![command(names.who(wxid)?, path.to_owned())]))?;
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
        let text = |input: &str| read(input.as_bytes()).unwrap();
        assert_eq!(text("two\nlines 你\n"), "two\nlines 你");
        assert_eq!(text("one\r\n"), "one");
        assert_eq!(text("none"), "none");
        assert_eq!(text("two breaks\n\n"), "two breaks\n");
        assert_eq!(text("\u{feff}a byte order mark\n"), "a byte order mark");
    }

    #[test]
    fn a_text_that_is_no_utf_8_or_too_long_is_refused() {
        assert!(read(&b"\xff\xfe"[..]).unwrap_err().message.contains("UTF-8"));
        assert!(read(&vec![b'x'; WIRE_BYTES_MAX + 1][..]).unwrap_err().message.contains("bytes"));
        assert_eq!(read(&vec![b'x'; WIRE_BYTES_MAX][..]).unwrap().len(), WIRE_BYTES_MAX);
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
