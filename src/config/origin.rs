//! Which settings are in force, and where each comes from: a flag, a variable, a line of the settings file, or nowhere.
//!
//! Leaves to others: what was typed and what stands in the environment (`daemon::args`, `cli`). No setting is a secret:
//! tokens and the secrets of forwards are no settings.

use super::ANNOTATED;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetBy {
    /// It was typed.
    Flag,
    /// It stands in the environment.
    Variable,
    /// It stands in the settings file.
    File,
    /// systemd handed it over.
    Activation,
    /// Nobody said anything.
    Default,
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// As in the settings file, with its table: `http.listen`. What is no setting of the file is called like its flag.
    pub key: String,
    /// The value; null where there is none.
    pub value: Value,
    /// Where it comes from.
    pub from: SetBy,
    /// The flag, the variable, or `FILE:LINE`.
    pub source: Option<String>,
}

impl Setting {
    /// One that nobody set.
    #[must_use]
    pub fn default_of(key: &str, value: impl Into<Value>) -> Self {
        Self { key: key.to_owned(), value: value.into(), from: SetBy::Default, source: None }
    }

    /// One that was typed (`--FLAG`), or stands in a variable.
    #[must_use]
    pub fn given(key: &str, value: impl Into<Value>, by_variable: bool, flag: &str, variable: &str) -> Self {
        let (from, source) = if by_variable { (SetBy::Variable, variable) } else { (SetBy::Flag, flag) };
        Self { key: key.to_owned(), value: value.into(), from, source: Some(source.to_owned()) }
    }
}

/// Every setting of the file's keys, in the order in which `wehelpd --print-config` has them: as `given`, else as the file
/// says, else its default. What else is given comes behind them.
#[must_use]
pub fn settings(file: Option<(&Path, &str)>, given: Vec<Setting>) -> Vec<Setting> {
    let text = file.map_or("", |(_, text)| text);
    let mut in_file = values(text);
    let lines = lines(text);
    let of_file = |key: &str, value: Value| Setting {
        key: key.to_owned(),
        value,
        from: SetBy::File,
        source: file.map(|(path, _)| match lines.get(key) {
            Some(line) => format!("{}:{line}", path.display()),
            None => path.display().to_string(),
        }),
    };
    let defaults = values(ANNOTATED);
    let mut given: Vec<Option<Setting>> = given.into_iter().map(Some).collect();
    let mut settings = Vec::new();
    // What stands in the tables whose keys are the user's is an example.
    let is_example = |key: &String| FREE.iter().any(|free| key.starts_with(&format!("{free}.")));
    for key in super::keys().into_iter().filter(|key| !is_example(key)) {
        let typed = given.iter_mut().find(|setting| setting.as_ref().is_some_and(|setting| setting.key == key));
        if let Some(typed) = typed.and_then(Option::take) {
            settings.push(typed);
        } else if let Some(value) = in_file.remove(&key) {
            settings.push(of_file(&key, value));
        } else if FREE.contains(&key.as_str()) {
            let own: Vec<String> = in_file.keys().filter(|own| own.starts_with(&format!("{key}."))).cloned().collect();
            settings.extend(own.iter().filter_map(|own| Some(of_file(own, in_file.remove(own)?))));
        } else if !ANNOTATED.contains(&format!("[{key}]\n")) {
            settings.push(Setting::default_of(&key, defaults.get(&key).cloned().unwrap_or(Value::Null)));
        }
    }
    settings.extend(given.into_iter().flatten());
    settings
}

/// The tables in which the keys are the user's.
const FREE: [&str; 2] = ["accounts.alias", "files.map"];

/// The values of a settings file by their dotted keys; of one that is no TOML, none.
fn values(text: &str) -> BTreeMap<String, Value> {
    fn flatten(prefix: &str, table: toml::Table, out: &mut BTreeMap<String, Value>) {
        for (key, value) in table {
            let key = joined(prefix, &key);
            match value {
                toml::Value::Table(table) => flatten(&key, table, out),
                value => {
                    out.insert(key, serde_json::to_value(value).unwrap_or(Value::Null));
                }
            }
        }
    }
    let mut out = BTreeMap::new();
    flatten("", toml::from_str(text).unwrap_or_default(), &mut out);
    out
}

/// On which line (from 1) each key of a settings file stands.
fn lines(text: &str) -> BTreeMap<String, usize> {
    fn walk(prefix: &str, table: &toml::de::DeTable<'_>, text: &str, out: &mut BTreeMap<String, usize>) {
        for (key, value) in table {
            let at = key.span().start.min(text.len());
            let key = joined(prefix, key.get_ref());
            match value.get_ref().as_table() {
                Some(table) => walk(&key, table, text, out),
                None => {
                    let before = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
                    out.insert(key, before + 1);
                }
            }
        }
    }
    let mut out = BTreeMap::new();
    if let Ok(table) = toml::de::DeTable::parse(text) {
        walk("", table.get_ref(), text, &mut out);
    }
    out
}

fn joined(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn all(text: &str, given: Vec<Setting>) -> Vec<Setting> {
        settings(Some((Path::new("/etc/w.toml"), text)), given)
    }

    fn one(of: &[Setting], key: &str) -> (Value, SetBy, Option<String>) {
        let found: Vec<_> = of.iter().filter(|setting| setting.key == key).collect();
        let [one] = found[..] else { panic!("{key}: {found:?}") };
        (one.value.clone(), one.from, one.source.clone())
    }

    #[test]
    fn each_setting_stands_once_with_where_it_comes_from() {
        let text = "data_dir = \"/d\"\nhttp.listen = \"[::]:1\"\n\n[queue]\n# a word\nbatch = 5\n\n[accounts.alias]\nwork = \"wxid_1\"\n\
                    [files]\nmap = { \"/srv/a.b\" = 'X:\\' }\n";
        let given = vec![
            Setting::given("data_dir", "/e", true, "--data-dir", "WEHELP_DATA_DIR"),
            Setting::given("insecure", true, false, "--insecure", ""),
        ];
        let found = all(text, given);
        let file = |line: usize| (SetBy::File, Some(format!("/etc/w.toml:{line}")));
        let is = |key: &str| one(&found, key);
        assert_eq!(is("data_dir"), (json!("/e"), SetBy::Variable, Some("WEHELP_DATA_DIR".to_owned())));
        assert_eq!(is("http.listen"), (json!("[::]:1"), file(2).0, file(2).1));
        assert_eq!(is("queue.batch"), (json!(5), file(6).0, file(6).1));
        assert_eq!(is("accounts.alias.work"), (json!("wxid_1"), file(9).0, file(9).1));
        assert_eq!(is("files.map./srv/a.b"), (json!("X:\\"), file(11).0, file(11).1));
        assert_eq!(is("queue.keep_done"), (json!("7d"), SetBy::Default, None));
        assert_eq!(is("socket"), (Value::Null, SetBy::Default, None));
        assert_eq!(is("insecure").1, SetBy::Flag);
        assert_eq!(found.last().unwrap().key, "insecure");
    }

    #[test]
    fn what_is_printed_as_a_template_has_every_setting_and_what_is_no_toml_none() {
        let keys = |of: &[Setting]| of.iter().map(|setting| setting.key.clone()).collect::<Vec<_>>();
        let (template, nothing, broken) =
            (all(ANNOTATED, Vec::new()), settings(None, Vec::new()), all("[", Vec::new()));
        assert_eq!(keys(&template), keys(&nothing));
        assert_eq!(nothing, broken);
        assert!(nothing.iter().all(|setting| setting.from == SetBy::Default));
        assert!(template.iter().filter(|setting| setting.from == SetBy::File).count() > 20);
        assert!(nothing.len() > 25);
    }
}
