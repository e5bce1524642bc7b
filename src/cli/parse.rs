//! The command line as it is typed: laid out, parsed, completed. No file is read and no daemon asked while parsing.
//!
//! The help texts are also the manual pages, and every verb ends its help with an example.

use super::options::{Global, When};
use super::verb::Verb;
use crate::clock;
use clap::{Command, CommandFactory, FromArgMatches, Parser, ValueEnum};
use clap_complete::CompleteEnv;
use std::ffi::OsString;
use std::process::ExitCode;

/// Drive PC WeChat from the shell.
///
/// wehelp talks to wehelpd, which keeps every WeChat event in a durable log and every command in a durable queue. On a
/// terminal it prints text for people, anywhere else JSON lines.
#[derive(Debug, Parser)]
#[command(
    name = "wehelp",
    version = crate::VERSION,
    arg_required_else_help = true,
    infer_long_args = false,
    after_help = "\
Examples:
  wehelp send text filehelper \"hi\"
  wehelp room members @family | jq -r .nick
  wehelp events -f | jq -r 'select(.kind==\"message.text\") | .text'

Exit status: 0 done, 1 failed, 2 wrong usage, 3 no daemon, 4 not found, 5 refused, 6 no answer in time."
)]
pub(super) struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub(super) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// The whole command line, laid out.
#[must_use]
pub fn command() -> Command {
    let mut command = Cli::command();
    // What is deferred is laid out too.
    command.build();
    command
}

/// Answers a shell that asks what could stand here; `None` when none does.
pub(super) fn completed(args: &[OsString]) -> Option<ExitCode> {
    // Everything else here costs time that every call would pay.
    std::env::var_os("COMPLETE").filter(|shell| !shell.is_empty() && shell != "0")?;
    let current_dir = std::env::current_dir().ok();
    let answered = CompleteEnv::with_factory(command)
        .completer("wehelp")
        .try_complete(args.iter().cloned(), current_dir.as_deref());
    Some(if answered.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why the arguments are no call.
#[derive(Debug)]
pub(super) enum Stop {
    /// Help or the version was asked for: print this on stdout, and it is done.
    Said(String),
    /// Nothing was asked for: the help, on stderr.
    Helped(String),
    /// They are wrong: one sentence.
    Wrong(String),
}

/// Reads the arguments.
///
/// # Errors
/// See [`Stop`].
pub(super) fn parse(args: &[OsString]) -> Result<Cli, Stop> {
    // Asked by scripts and benchmarks: no need to lay out all verbs for it.
    if let [_, only] = args
        && (only == "--version" || only == "-V")
    {
        return Err(Stop::Said(format!("wehelp {}\n", crate::VERSION)));
    }
    if let Some(length) = loose_wait(args) {
        return Err(Stop::Wrong(format!(
            "`--wait {length}` is two arguments; write --wait={length} (with =), or put `{length}` before --wait if it is meant \
             as an argument of its own"
        )));
    }
    let mut command = Cli::command();
    let parsed = command.try_get_matches_from_mut(args).and_then(|matches| {
        let by_env = |id| matches.value_source(id) == Some(clap::parser::ValueSource::EnvVariable);
        let (socket, data_dir) = (by_env("socket"), by_env("data_dir"));
        let (config, account) = (by_env("config"), by_env("account"));
        let mut cli = Cli::from_arg_matches(&matches)?;
        (cli.global.socket_by_env, cli.global.data_dir_by_env) = (socket, data_dir);
        (cli.global.config_by_env, cli.global.account_by_env) = (config, account);
        if cli.global.json && cli.global.text {
            // They stand on different sides of a subcommand, where clap does not see that one overrides the other.
            cli.global.json = last_says_json(args);
            cli.global.text = !cli.global.json;
        }
        Ok(cli)
    });
    parsed.map_err(|error| {
        use clap::error::ErrorKind;
        let text = error.render().to_string();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Said(text.trim_end().to_owned() + "\n"),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
                if last_says_json(args) =>
            {
                Stop::Wrong(typed(args, needs_subcommand))
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Stop::Helped(text),
            ErrorKind::MissingSubcommand => Stop::Helped(typed(args, |verb| verb.render_help().to_string())),
            _ => {
                if let Some([option, value]) = negative(args) {
                    let text = if option.starts_with("--") {
                        format!(" (a text is written {option}={value})")
                    } else {
                        String::new()
                    };
                    return Stop::Wrong(format!("`{option} {value}`: {option} takes no negative number{text}"));
                }
                let verb = typed(args, |verb| verb.get_bin_name().unwrap_or("wehelp").to_owned());
                Stop::Wrong(format!("{}; see `{verb} --help`", sentence(&text)))
            }
        }
    })
}

/// An option and the negative number behind it, which clap takes for another option.
fn negative(args: &[OsString]) -> Option<[&str; 2]> {
    let own: Vec<&str> = args.iter().skip(1).take_while(|arg| *arg != "--").filter_map(|arg| arg.to_str()).collect();
    let is_negative =
        |word: &str| word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_option = |word: &str| word.starts_with('-') && !is_negative(word);
    own.windows(2).find(|pair| is_option(pair[0]) && is_negative(pair[1])).map(|pair| [pair[0], pair[1]])
}

/// A length of time that stands behind `--wait` and not with it: where ids or a text may follow it would be taken for one.
fn loose_wait(args: &[OsString]) -> Option<&str> {
    let own: Vec<&str> =
        args.iter().skip(1).take_while(|arg| *arg != "--" && *arg != "--exec").filter_map(|arg| arg.to_str()).collect();
    let behind = own.windows(2).find(|pair| pair[0] == "--wait").map(|pair| pair[1]);
    behind.filter(|word| clock::duration(word).is_ok())
}

/// Whether `--json` is the last word about how to print, as far as that can be told without parsing.
pub(super) fn last_says_json(args: &[OsString]) -> bool {
    let own = args.iter().skip(1).take_while(|arg| *arg != "--" && *arg != "--exec");
    own.filter(|arg| *arg == "--json" || *arg == "--text").last().is_some_and(|arg| arg == "--json")
}

/// The value of `--color` in arguments that cannot be parsed.
pub(super) fn typed_color(args: &[OsString]) -> When {
    let words: Vec<&str> = args.iter().skip(1).filter_map(|arg| arg.to_str()).take_while(|arg| *arg != "--").collect();
    let mut typed = words.iter().enumerate().filter_map(|(n, word)| match word.strip_prefix("--color")? {
        "" => words.get(n + 1).copied(),
        value => value.strip_prefix('='),
    });
    typed.next_back().and_then(|value| When::from_str(value, true).ok()).unwrap_or(When::Auto)
}

/// clap's message as one sentence: what is wrong, what it would suggest, where help is.
fn sentence(text: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        // What comes then is how the verb is called, in several lines.
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        if line.is_empty() {
            continue;
        }
        let line = line.strip_prefix("error: ").unwrap_or(line);
        match line.strip_prefix("tip: ") {
            Some(tip) => parts.push(format!("; {tip}")),
            None if parts.is_empty() => parts.push(line.to_owned()),
            None => parts.push(format!(" {line}")),
        }
    }
    parts.concat().trim_end_matches('.').to_owned()
}

/// That one of its subcommands is to follow.
fn needs_subcommand(verb: &mut Command) -> String {
    let names: Vec<&str> = verb.get_subcommands().map(Command::get_name).filter(|name| *name != "help").collect();
    let verb = verb.get_bin_name().unwrap_or("wehelp");
    format!("`{verb}` needs a subcommand: {}; see `{verb} --help`", names.join(", "))
}

/// What `f` makes of the verb that was typed, as far as there is one.
fn typed(args: &[OsString], f: impl FnOnce(&mut Command) -> String) -> String {
    let mut command = Cli::command();
    command.build();
    let mut at = &mut command;
    for word in args.iter().skip(1).filter_map(|a| a.to_str()) {
        if at.find_subcommand(word).is_some() {
            at = at.find_subcommand_mut(word).expect("it was just found");
        }
    }
    f(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(line: &str) -> String {
        let args: Vec<_> = line.split(' ').map(Into::into).collect();
        match parse(&args) {
            Err(Stop::Wrong(sentence)) => sentence,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_one_sentence_that_names_it() {
        for (line, sentence) in [
            ("wehelp events -n -1", "`-n -1`: -n takes no negative number"),
            (
                "wehelp events --count -5",
                "`--count -5`: --count takes no negative number (a text is written --count=-5)",
            ),
            ("wehelp events --nosuch", "unexpected argument '--nosuch' found; see `wehelp events --help`"),
            (
                "wehelp evnts",
                "unrecognized subcommand 'evnts'; a similar subcommand exists: 'events'; see `wehelp --help`",
            ),
            ("wehelp nosuch", "unrecognized subcommand 'nosuch'; see `wehelp --help`"),
        ] {
            assert_eq!(wrong(line), sentence, "{line}");
        }
    }
}
