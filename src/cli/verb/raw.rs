//! `wehelp raw`: JSON as it is given.

use crate::cli::ctx::Ctx;
use crate::cli::enqueue::Enqueuer;
use crate::cli::error::Error;
use crate::cli::options::Wiring;
use crate::protocol::command::{WIRE_BYTES_MAX, Wire};
use std::io::Read;

/// Put JSON on the wire as it is given: the way to commands that this version does not know.
///
/// What this version knows is checked as its own verb does: ids, texts, and paths, of which one of this machine is turned
/// into the PC's where the daemon's settings map it, and refused otherwise. All else goes as it stands. All lines of
/// standard input are checked before any is queued. Of a question that this version knows, the answer is
/// waited for as its own verb does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp raw '{\"api\":\"sendTextMessage\",\"code\":1,\"wxid\":\"filehelper\",\"text\":\"hi\"}'
  wehelp raw - < commands.jsonl")]
pub(in crate::cli) struct Args {
    /// An object with a string `api`; - reads JSON lines from standard input
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    object: String,

    /// Paths are those of the PC, although they look like those of this machine
    #[arg(long)]
    on_client: bool,

    #[command(flatten)]
    wiring: Wiring,
}

/// The most that is read of standard input, bytes: it is held in memory, because all of it is checked first.
const INPUT_BYTES_MAX: usize = 64 << 20;

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    let Args { object, on_client, wiring } = args;
    let enqueuer = Enqueuer::new(ctx, &wiring)?.on_client(on_client);
    let read_one = |text: &str| -> Result<Wire, String> {
        let wire = Wire::from_json(text).map_err(|e| e.to_string())?;
        wire.check().map_err(|e| e.to_string())?;
        match wiring.time {
            Some(seconds) => wire.with_time(seconds).map_err(|e| e.to_string()),
            None => Ok(wire),
        }
    };
    let wires = if object == "-" {
        let text = read(std::io::stdin())?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let wire = |(n, line)| {
            read_one(line)
                .map_err(|e| Error::usage(format!("line {} of standard input: {e}; nothing was queued", n + 1)))
        };
        lines.map(wire).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![read_one(&object).map_err(|e| Error::usage(format!("JSON: {e}")))?]
    };
    if wires.is_empty() {
        return Err(Error::usage("standard input holds no command; give one JSON object a line"));
    }
    enqueuer.put(ctx, &wires)
}

fn read(input: impl Read) -> Result<String, Error> {
    let mut text = String::new();
    let most = (INPUT_BYTES_MAX + WIRE_BYTES_MAX) as u64;
    input.take(most).read_to_string(&mut text).map_err(|e| Error::usage(format!("read standard input: {e}")))?;
    if text.len() > INPUT_BYTES_MAX {
        return Err(Error::usage(format!("standard input has more than {INPUT_BYTES_MAX} bytes; split it")));
    }
    // As Windows' editors write it.
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}
