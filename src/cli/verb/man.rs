//! `wehelp man`: the manual, where none is installed. The pages are in the program.

use crate::cli::complete::Known;
use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::cli::manual::{ManPage, all, names};
use crate::cli::render::page;
use crate::near;
use serde_json::json;
use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Show a page of the manual: of a verb, of wehelpd, or on a subject.
///
/// On a terminal the page is shown by man or mandoc where there is one, else in a pager; anywhere else it is plain text.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp man
  wehelp man send text
  wehelp man 7 events
  wehelp man wehelpd | less")]
pub(in crate::cli) struct Args {
    /// A verb, with its subcommand (`send text`), or the name of a page (`wehelp-control`), a section (1, 5, 7, 8) before
    /// it where there are several; without any, the page of wehelp itself
    #[arg(value_name = "VERB", add = Known::Pages.completer())]
    words: Vec<String>,
}

pub(in crate::cli) fn run(ctx: &Ctx, Args { words }: Args) -> Result<(), Error> {
    /// As wide as text is easy to read, columns.
    const COLUMNS_MAX: usize = 100;
    /// Where nobody can tell, columns.
    const COLUMNS: usize = 80;
    let found = find(&words)?;
    let columns = ctx.out().columns();
    let text = || page::text(found.roff, columns.map_or(COLUMNS, |columns| columns.min(COLUMNS_MAX)));
    if columns.is_some() && !ctx.global().json {
        ctx.out().flush()?;
        return if is_shown(found.roff, text) { Ok(()) } else { ctx.out().bytes(text().as_bytes()) };
    }
    if ctx.global().json {
        let ManPage { name, section, .. } = found;
        return ctx.out().json_line(&json!({ "name": name, "section": section.to_string(), "text": text() }));
    }
    ctx.out().bytes(text().as_bytes())
}

/// The page that is meant. `send text` and `send-text` are `wehelp-send-text`; `7 events`, `events.7` and `events(7)` are of
/// that section.
fn find(words: &[String]) -> Result<ManPage, Error> {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut section = None;
    if let [first, _, ..] = words[..]
        && let Some(digit) = a_section(first)
    {
        section = Some(digit);
        words.remove(0);
    }
    let mut name = words.join("-");
    let last = name.strip_suffix(')').and_then(|name| name.rsplit_once('(')).or_else(|| name.rsplit_once('.'));
    if let Some((before, digit)) = last.map(|(name, digit)| (name.to_owned(), digit.to_owned()))
        && let Some(digit) = a_section(&digit)
    {
        (section, name) = (Some(digit), before);
    }
    let full = if name.is_empty() { "wehelp".to_owned() } else { format!("wehelp-{name}") };
    let is_meant = |page: &ManPage| page.name == full || page.name == name;
    if let Some(page) = all().find(|page| is_meant(page) && section.is_none_or(|section| page.section == section)) {
        return Ok(page);
    }
    let shown = crate::cli::render::clean(&name).into_owned();
    if all().next().is_none() {
        return Err(Error::not_found("this wehelp was built without its manual; `wehelp help` shows the help"));
    }
    let others: Vec<String> = all().filter(is_meant).map(|page| format!("{}({})", page.name, page.section)).collect();
    if !others.is_empty() {
        return Err(Error::not_found(format!("`{shown}` has no page in that section; there is {}", others.join(", "))));
    }
    let known = names();
    let near = near::nearest(&name, known.iter().map(|(name, _)| name.as_str()));
    let hint = match near {
        Some(near) => format!("did you mean `wehelp man {}`?", near.replace('-', " ")),
        None => "`wehelp man` lists the verbs and the other pages".to_owned(),
    };
    Err(Error::not_found(format!("there is no page `{shown}`; {hint}")))
}

fn a_section(word: &str) -> Option<char> {
    let mut chars = word.chars();
    chars.next().filter(|digit| digit.is_ascii_digit() && chars.next().is_none())
}

/// Shows a page on the terminal with what there is for it; false when there is nothing.
fn is_shown(roff: &str, text: impl FnOnce() -> String) -> bool {
    let formatters = [("man", &["-l", "-"][..]), ("mandoc", &["-a"][..])];
    if formatters.iter().any(|(program, args)| is_there(program) && feed(Command::new(program).args(*args), roff)) {
        return true;
    }
    let named = ["MANPAGER", "PAGER"].iter().find_map(std::env::var_os).filter(|pager| !pager.is_empty());
    match named {
        // People put options into it.
        Some(pager) => feed(Command::new("sh").arg("-c").arg(pager), &text()),
        None => is_there("less") && feed(Command::new("less").arg("-R"), &text()),
    }
}

/// Gives a program something to read; true when it has shown it.
fn feed(command: &mut Command, input: &str) -> bool {
    let Ok(mut child) = command.stdin(Stdio::piped()).spawn() else { return false };
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever leaves early has seen enough.
        drop(stdin.write_all(input.as_bytes()));
    }
    child.wait().is_ok_and(|status| status.success())
}

/// Whether a program is there that does something: where systems are made small, `man` only says that it was left out.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|dir: PathBuf| dir.join(OsStr::new(program)));
    let Some(file) = places.into_iter().find(|file| file.is_file()) else { return false };
    let is_script = |text: &[u8]| text.starts_with(b"#!") && text.windows(9).any(|word| word == b"minimized");
    let size = std::fs::metadata(&file).map_or(u64::MAX, |file| file.len());
    size > 8192 || !std::fs::read(&file).is_ok_and(|text| is_script(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &str) -> Result<String, String> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        find(&words).map(|page| format!("{}.{}", page.name, page.section)).map_err(|error| error.message)
    }

    #[test]
    fn a_page_is_found_by_verb_by_name_and_by_section() {
        for (words, page) in [
            ("", "wehelp.1"),
            ("wehelp", "wehelp.1"),
            ("send text", "wehelp-send-text.1"),
            ("send-text", "wehelp-send-text.1"),
            ("wehelp-send-text", "wehelp-send-text.1"),
            ("events", "wehelp-events.1"),
            ("7 events", "wehelp-events.7"),
            ("events(7)", "wehelp-events.7"),
            ("wehelp-events.7", "wehelp-events.7"),
            ("control", "wehelp-control.7"),
            ("5 config", "wehelp-config.5"),
            ("wehelpd", "wehelpd.8"),
        ] {
            assert_eq!(found(words).as_deref(), Ok(page), "{words}");
        }
        assert!(found("evnets").unwrap_err().contains("`wehelp man events`"));
        assert!(found("sned text").unwrap_err().contains("`wehelp man send text`"));
        assert!(found("8 events").unwrap_err().contains("wehelp-events(1), wehelp-events(7)"));
        assert!(found("xyzzy").unwrap_err().contains("no page"));
    }

    #[test]
    fn every_page_becomes_text_without_a_trace_of_its_macros() {
        assert!(all().count() > 50);
        for ManPage { name, roff, .. } in all() {
            let text = page::text(roff, 80);
            let left = text.lines().find(|line| line.starts_with('.') || line.contains("\\f") || line.contains("\\-"));
            assert_eq!(left, None, "{name}");
            assert!(text.contains("NAME\n") && text.len() > 300, "{name}: {text}");
        }
    }
}
