//! `wehelp raw`: JSON as it is given.

use crate::cli::args::send as args;
use crate::cli::ctx::Ctx;
use crate::cli::enqueue::Enqueuer;
use crate::cli::error::Error;
use crate::protocol::command::{self, WIRE_BYTES_MAX, Wire};
use std::io::Read;

/// The most that is read of standard input, bytes: it is held in memory, because all of it is checked first.
const INPUT_BYTES_MAX: usize = 64 << 20;

pub(in crate::cli) fn run(ctx: &Ctx, args: &args::Raw) -> Result<(), Error> {
    let enqueuer = Enqueuer::new(ctx, &args.wiring)?.on_client(args.on_client);
    let read_one = |text: &str| -> Result<Wire, String> {
        let wire = Wire::from_json(text).map_err(|e| e.to_string())?;
        command::check(&wire).map_err(|e| e.to_string())?;
        match args.wiring.time {
            Some(seconds) => wire.with_time(seconds).map_err(|e| e.to_string()),
            None => Ok(wire),
        }
    };
    let wires = if args.object == "-" {
        let text = read(std::io::stdin())?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let wire = |(n, line)| {
            read_one(line)
                .map_err(|e| Error::usage(format!("line {} of standard input: {e}; nothing was queued", n + 1)))
        };
        lines.map(wire).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![read_one(&args.object).map_err(|e| Error::usage(format!("JSON: {e}")))?]
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
    Ok(text)
}
