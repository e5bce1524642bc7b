//! `wehelpd --salvage`: gets out of a damaged store what can be read, as JSON lines.

use crate::clock::Time;
use crate::daemon::log::entry;
use crate::daemon::queue::record;
use crate::key::COMMAND;
use crate::store::{self, Salvaged};
use std::io::{self, Write};
use std::path::Path;

/// Writes every readable event (as `wehelp events` prints it) and every unfinished command (as its receipt, with the
/// key `"id"`) of the store in `dir` to `out`; what could not be read is told through `say`.
///
/// # Errors
/// When the folder holds no store, or `out` cannot be written.
pub fn run(dir: &Path, out: &mut dyn Write, say: &mut dyn FnMut(String)) -> Result<(), String> {
    let now = Time::now();
    let mut failed: Option<io::Error> = None;
    let mut commands = 0_u64;
    let report = store::salvage(dir, &mut |found| {
        let line = match found {
            Salvaged::Event(stored) => entry::line(&stored, None),
            Salvaged::Pair(space, _, value) if space == COMMAND => {
                let Some(record) = record::parse(&value) else { return };
                let receipt = record.receipt(now);
                if !receipt.state.is_unfinished() {
                    return;
                }
                commands += 1;
                serde_json::to_string(&receipt).unwrap_or_default()
            }
            Salvaged::Pair(..) => return,
        };
        if failed.is_none() {
            failed = writeln!(out, "{line}").err();
        }
    });
    let report = report.map_err(|e| e.to_string())?;
    if let Some(error) = failed {
        return Err(format!("write what was salvaged: {error}"));
    }
    for (path, at, reason) in &report.damaged {
        say(format!("damaged: {} at byte {at}: {reason}", path.display()));
    }
    say(format!("salvaged {} events and {commands} unfinished commands", report.events));
    Ok(())
}
