//! `wehelp config`: which settings are in force, and where each comes from.

use crate::cli::ctx::Ctx;
use crate::cli::error::{Error, Exit};
use crate::cli::render;
use crate::config::origin::{self, SetBy, Setting};
use crate::home::{self, Home, Wishes};
use serde::Serialize;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Show every setting in force, and where it comes from: a flag, a variable, a line of the settings file, or its default.
///
/// First those of wehelp itself, then those that wehelpd runs with. Where none runs, those that one would run with that is
/// started here and now, which is said. Tokens and the secrets of forwards are no settings, and are shown nowhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp config
  wehelp config --json | jq -r 'select(.from != \"default\") | .key'
  wehelp config --json | jq -c 'select(.key == \"queue.keep_done\")'")]
pub(in crate::cli) struct Args {}

/// A line: whose setting it is, and whether that program runs with it.
#[derive(Debug, Serialize)]
struct Shown {
    program: &'static str,
    in_force: bool,
    #[serde(flatten)]
    setting: Setting,
}

pub(in crate::cli) fn run(ctx: &Ctx, _: Args) -> Result<(), Error> {
    let file = File::read(ctx)?;
    let own = own(ctx, &file);
    let asked = ctx.client().and_then(|client| Ok(client.list::<Setting>("/v1/config", &())?));
    let (theirs, runs) = match asked {
        Ok(theirs) => (theirs, true),
        Err(error) if error.exit == Exit::NoDaemon => {
            ctx.out().note("no wehelpd runs here; shown is what one would run with that is started now");
            (would_be(ctx, &file)?, false)
        }
        Err(error) => return Err(error),
    };
    let shown = |program, in_force, settings: Vec<Setting>| {
        settings.into_iter().map(move |setting| Shown { program, in_force, setting })
    };
    if ctx.out().is_json() {
        return shown("wehelp", true, own)
            .chain(shown("wehelpd", runs, theirs))
            .try_for_each(|line| ctx.out().json_line(&line));
    }
    let heads = ["wehelp".to_owned(), format!("wehelpd{}", if runs { "" } else { ", which does not run" })];
    for (head, settings) in heads.into_iter().zip([own, theirs]) {
        let rows: Vec<_> = settings.iter().map(row).collect();
        let table = render::table(&["setting", "value", "from"], &rows, ctx.out().columns());
        ctx.out().text(&format!("{head}\n{table}\n"))?;
    }
    Ok(())
}

/// The settings file that is meant, as it stands there.
struct File {
    path: Option<PathBuf>,
    text: Option<String>,
}

impl File {
    fn read(ctx: &Ctx) -> Result<Self, Error> {
        if ctx.global().socket.is_some() {
            // Who looks for the daemon has no need of the file then, and nobody says what is wrong with it.
            ctx.settings(None)?;
        }
        let config = ctx.global().config.clone();
        let path = home::config_path(&Wishes { config, ..Wishes::default() }).ok();
        let text = path.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        Ok(Self { path, text })
    }

    fn settings(&self, given: Vec<Setting>) -> Vec<Setting> {
        let file: Option<(&Path, &str)> = self.path.as_deref().zip(self.text.as_deref());
        origin::settings(file, given)
    }
}

/// Where a daemon is, and where its settings are, as somebody said it to this program; a wehelpd is told it alike.
fn places(ctx: &Ctx, file: &File) -> Vec<Setting> {
    let global = ctx.global();
    let given = |key: &str, path: &Option<PathBuf>, by_env: bool, flag: &str, variable: &str| {
        path.as_deref().map(|path| Setting::given(key, shown_path(path), by_env, flag, variable))
    };
    let config = given("config", &global.config, global.config_by_env, "--config", "WEHELP_CONFIG");
    let nobodys = Setting::default_of("config", file.path.as_deref().map(shown_path));
    [
        given("data_dir", &global.data_dir, global.data_dir_by_env, "--data-dir", "WEHELP_DATA_DIR"),
        given("socket", &global.socket, global.socket_by_env, "--socket", "WEHELP_SOCKET"),
        Some(config.unwrap_or(nobodys)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn shown_path(path: &Path) -> Value {
    path.display().to_string().into()
}

/// What this program itself goes by.
fn own(ctx: &Ctx, file: &File) -> Vec<Setting> {
    let global = ctx.global();
    let mut own = file.settings(places(ctx, file));
    own.retain(|setting| ["data_dir", "socket", "config"].contains(&setting.key.as_str()));
    own.push(match &global.account {
        Some(name) => Setting::given("account", name.as_str(), global.account_by_env, "--account", "WEHELP_ACCOUNT"),
        None => Setting::default_of("account", Value::Null),
    });
    own.push(color(ctx));
    own
}

/// When results are coloured: an option, or a variable that others know as well.
fn color(ctx: &Ctx) -> Setting {
    use crate::cli::options::When;
    let variable = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let by = |value: &str, name: &str| Setting::given("color", value, true, "", name);
    match ctx.global().color {
        When::Always => Setting::given("color", "always", false, "--color", ""),
        When::Never => Setting::given("color", "never", false, "--color", ""),
        When::Auto if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) => by("never", "NO_COLOR"),
        When::Auto if variable("CLICOLOR_FORCE") => by("always", "CLICOLOR_FORCE"),
        When::Auto => Setting::default_of("color", "auto"),
    }
}

/// What a wehelpd would run with that is started now, in the same places.
fn would_be(ctx: &Ctx, file: &File) -> Result<Vec<Setting>, Error> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let by = |key: &str, name: &str, value: Value| Setting::given(key, value, true, "", name);
    let mut given = places(ctx, file);
    if let Some(listen) = variable("WEHELP_LISTEN") {
        let listen: Vec<&str> = listen.split(',').map(str::trim).filter(|address| !address.is_empty()).collect();
        given.extend((!listen.is_empty()).then(|| by("http.listen", "WEHELP_LISTEN", listen.into())));
    }
    given.push(Setting::default_of("insecure", false));
    given.push(match variable("WEHELP_LOG_FORMAT") {
        Some(format) => by("log_format", "WEHELP_LOG_FORMAT", format.into()),
        None => Setting::default_of("log_format", "text"),
    });
    let mut settings = file.settings(given);
    // Where nobody names them they have places all the same.
    let of = |key: &str| settings.iter().find(|setting| setting.key == key).and_then(|setting| setting.value.as_str());
    let wishes =
        Wishes { config: None, data_dir: of("data_dir").map(PathBuf::from), socket: of("socket").map(PathBuf::from) };
    let home = Home::resolve(&wishes).map_err(|e| Error::failed(e.to_string()))?;
    for (key, place) in [("data_dir", &home.data_dir), ("socket", &home.socket)] {
        let nowhere = settings.iter_mut().find(|setting| setting.key == key && setting.value.is_null());
        nowhere.into_iter().for_each(|setting| setting.value = shown_path(place));
    }
    Ok(settings)
}

fn row(setting: &Setting) -> Vec<String> {
    let from = match (setting.from, &setting.source) {
        (SetBy::Default, _) => "default".to_owned(),
        // The line matters, and which file it is says the setting `config`.
        (SetBy::File, Some(source)) => Path::new(source).file_name().map_or(source.clone(), text),
        (_, Some(source)) => source.clone(),
        (_, None) => "?".to_owned(),
    };
    vec![setting.key.clone(), value(&setting.value), from]
}

fn text(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Array(items) if !items.is_empty() => items.iter().map(self::value).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_read_as_they_are_typed() {
        for (of, shown) in [
            (json!(null), "-"),
            (json!("7d"), "7d"),
            (json!(""), "\"\""),
            (json!(20), "20"),
            (json!(false), "false"),
            (json!([]), "[]"),
            (json!(["a", "b"]), "a, b"),
        ] {
            assert_eq!(value(&of), shown);
        }
        let setting = Setting {
            key: "queue.batch".to_owned(),
            value: json!(5),
            from: SetBy::File,
            source: Some("/home/u/.config/wehelp/config.toml:12".to_owned()),
        };
        assert_eq!(row(&setting), ["queue.batch", "5", "config.toml:12"]);
    }
}
