//! Settings: the TOML file, its defaults, and the only list of its keys.
//!
//! An unknown key is an error that names the nearest valid one (contract 1). `wehelpd --print-config` prints
//! [`ANNOTATED`], and a test holds that text, the defaults and the structs together.

mod host;
pub mod origin;

pub use host::HostName;

use crate::clock;
use crate::near;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every setting with its default and a sentence: what `wehelpd --print-config` prints.
pub const ANNOTATED: &str = include_str!("config.toml");

/// All settings.
#[derive(Debug, Clone, PartialEq, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data folder, when `--data-dir` does not name it.
    pub data_dir: Option<PathBuf>,
    /// The control socket, when `--socket` does not name it.
    pub socket: Option<PathBuf>,
    /// The client door.
    pub http: Http,
    /// The command queue.
    pub queue: Queue,
    /// What keeps accounts from being blocked.
    pub pacing: Pacing,
    /// The event log.
    pub events: Events,
    /// Which account is meant.
    pub accounts: Accounts,
    /// Where the PC finds the files of this machine.
    pub files: Files,
    /// Room for the store's caches.
    pub store: Store,
}

/// When the client door asks for the token (contract 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequireToken {
    /// Of everybody.
    Always,
    /// Of everybody but loopback addresses.
    Remote,
    /// Of nobody.
    Never,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Addresses of the client door.
    #[serde(deserialize_with = "one_or_many")]
    pub listen: Vec<String>,
    /// When the token is asked for.
    pub require_token: RequireToken,
    /// Host names, beside IP addresses and `localhost`, under which clients may reach us.
    #[serde(deserialize_with = "names")]
    pub hosts: Vec<HostName>,
    /// How long an empty poll is held open until a command is due; not one whose client has closed its sending side.
    #[serde(deserialize_with = "duration")]
    pub poll_hold: Duration,
    /// Whether due commands also ride in the answer to a callback.
    pub commands_in_callback: bool,
    /// The largest callback body, bytes.
    #[serde(deserialize_with = "bytes")]
    pub body_max: u64,
    /// How long a request's header may take; between two requests a connection may be idle for 75 s.
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    /// How long a request's body may take.
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    /// How long a whole response may take to be read; a client that takes nothing of it in for 10 s is given up before.
    #[serde(deserialize_with = "duration")]
    pub write_timeout: Duration,
    /// Connections to the client door at one time.
    pub connections_max: usize,
    /// Of which from one address, loopback excepted.
    pub connections_per_address_max: usize,
    /// PEM files; both or none.
    pub tls_cert: Option<PathBuf>,
    /// See `tls_cert`.
    pub tls_key: Option<PathBuf>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:4567".to_owned()],
            require_token: RequireToken::Remote,
            hosts: Vec::new(),
            poll_hold: Duration::ZERO,
            commands_in_callback: false,
            body_max: 16 * 1024 * 1024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            connections_max: 2048,
            connections_per_address_max: 256,
            tls_cert: None,
            tls_key: None,
        }
    }
}

/// `[queue]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Commands handed over in one poll.
    pub batch: usize,
    /// Whether commands found in flight after a crash are handed over again.
    pub redeliver: bool,
    /// How long finished commands are kept.
    #[serde(deserialize_with = "duration_or_never")]
    pub keep_done: Option<Duration>,
    /// Unfinished commands in the queue.
    pub commands_max: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self { batch: 20, redeliver: true, keep_done: Some(Duration::from_secs(7 * 86_400)), commands_max: 100_000 }
    }
}

/// `[pacing]`; 0 switches one off.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pacing {
    /// Sends of one account a minute; also how many may go at once.
    pub sends_per_minute: u32,
    /// Between two commands that add or accept friends.
    #[serde(deserialize_with = "duration")]
    pub friend_gap: Duration,
    /// Commands that add or accept friends, a day.
    pub friends_per_day: u32,
}

impl Default for Pacing {
    fn default() -> Self {
        Self { sends_per_minute: 40, friend_gap: Duration::from_secs(5), friends_per_day: 200 }
    }
}

/// `[events]`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// How long events are kept; for ever when absent.
    #[serde(deserialize_with = "duration_or_never")]
    pub keep: Option<Duration>,
    /// How many bytes of events are kept, the newest ones; all when absent.
    #[serde(deserialize_with = "bytes_or_all")]
    pub max_bytes: Option<u64>,
}

/// `[accounts]`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    /// The account meant when none is named: wxid or alias.
    pub default: Option<String>,
    /// Short names: alias → wxid.
    pub alias: BTreeMap<String, String>,
}

/// `[files]`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    /// A folder of this machine → the same folder as the PC sees it.
    pub map: BTreeMap<String, String>,
}

impl Files {
    /// How the PC finds a file of this machine, where that is known: the longest folder that has it counts.
    #[must_use]
    pub fn on_the_pc(&self, path: &str) -> Option<String> {
        let below = |folder: &str| {
            let rest = path.strip_prefix(folder.trim_end_matches('/'))?;
            (rest.is_empty() || rest.starts_with('/')).then_some(rest)
        };
        let found = self.map.iter().filter_map(|(folder, pc)| Some((folder.len(), pc, below(folder)?)));
        let (_, pc, rest) = found.max_by_key(|(length, ..)| *length)?;
        // What leads out of the folder is not in it.
        let leads_out = rest.split('/').any(|part| part == "..");
        (!leads_out).then(|| format!("{}{}", pc.trim_end_matches(['\\', '/']), rest.replace('/', "\\")))
    }
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// sled's page cache, bytes.
    #[serde(deserialize_with = "bytes")]
    pub cache: u64,
    /// A journal file is closed at this size, bytes.
    #[serde(deserialize_with = "bytes")]
    pub segment: u64,
    /// Writes are refused while the disk has less room than this, bytes.
    #[serde(deserialize_with = "bytes")]
    pub min_free: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self { cache: 8 << 20, segment: 64 << 20, min_free: 16 << 20 }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file was named but cannot be read, or exists and cannot be read.
    #[error("read the settings `{path}`: {source}")]
    Read {
        /// The settings file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key or value is wrong.
    #[error("settings `{path}`: {message}")]
    Invalid {
        /// The settings file.
        path: PathBuf,
        /// A sentence that names the key, and the nearest valid one.
        message: String,
    },
}

/// What the command line reads of the settings: where the daemon is. A fault elsewhere in the file does not stop it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// `data_dir`
    pub data_dir: Option<PathBuf>,
    /// `socket`
    pub socket: Option<PathBuf>,
    /// What is wrong with the rest, in one sentence.
    pub fault: Option<String>,
}

impl Places {
    /// Reads the settings file; when it is absent and nobody named it, nothing is asked for.
    ///
    /// # Errors
    /// When it cannot be read, or what it says of these two cannot be told.
    pub fn load(path: &Path, named: bool) -> Result<Self, Error> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|message| Error::Invalid { path: path.to_owned(), message }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !named => Ok(Self::default()),
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            data_dir: Option<PathBuf>,
            socket: Option<PathBuf>,
        }
        let fault = match Config::parse(text) {
            Ok(config) => return Ok(Self { data_dir: config.data_dir, socket: config.socket, fault: None }),
            Err(fault) => fault,
        };
        // Both stand before the first table; where the file as a whole is no TOML, that part may still be.
        let before_tables = || -> String {
            text.split_inclusive('\n').take_while(|line| !line.trim_start().starts_with('[')).collect()
        };
        let whole = toml::from_str::<toml::Table>(text);
        let head = whole.clone().or_else(|_| toml::from_str(&before_tables())).map_err(|_| fault.clone())?;
        // A place that is misspelt, or stands where it means nothing, is a place all the same: to pass over it would be
        // to talk to another daemon.
        let is_place = |key: &str| ["data_dir", "socket"].contains(&key);
        if head.iter().any(|(key, value)| !is_place(key) && !value.is_table()) {
            return Err(fault);
        }
        let inside = |(name, value): (&String, &toml::Value)| {
            let key = value.as_table()?.keys().find(|key| is_place(key))?;
            Some(format!("`{}.{key}`: `{key}` stands above all tables", shown(name)))
        };
        if let Some(misplaced) = head.iter().find_map(inside) {
            return Err(misplaced);
        }
        let head: Head = head.try_into().map_err(|_| fault.clone())?;
        Ok(Self { data_dir: head.data_dir, socket: head.socket, fault: Some(fault) })
    }
}

impl Config {
    /// Reads the settings file; when it is absent and nobody named it, the defaults.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, or holds an unknown key or an unusable value.
    pub fn load(path: &Path, named: bool) -> Result<Self, Error> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|message| Error::Invalid { path: path.to_owned(), message }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !named => Ok(Self::default()),
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }

    /// Reads settings from TOML text.
    ///
    /// # Errors
    /// A sentence that names the line, the key and, for an unknown one, the nearest valid key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
            let at = line.map(|l| format!("line {l}: ")).unwrap_or_default();
            match unknown_key(e.message()) {
                Some(key) => format!("{at}{}", unknown_sentence(&shown(&key))),
                None => {
                    let key = line.and_then(|l| key_on(text, l)).map(|k| format!("`{}`: ", shown(&k)));
                    format!("{at}{}{}", key.unwrap_or_default(), shown(e.message()))
                }
            }
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.http.listen.is_empty() {
            return Err("`http.listen` names no address; leave it out for 127.0.0.1:4567".into());
        }
        if self.queue.batch == 0 || self.queue.batch > 1000 {
            return Err("`queue.batch` must lie between 1 and 1000".into());
        }
        if self.http.tls_cert.is_some() != self.http.tls_key.is_some() {
            return Err("`http.tls_cert` and `http.tls_key` go together; give both or none".into());
        }
        if self.http.poll_hold > Duration::from_secs(300) {
            return Err("`http.poll_hold` must be at most 300s, or proxies and clients give up first".into());
        }
        if self.http.connections_max == 0 || self.http.connections_per_address_max == 0 {
            return Err("`http.connections_max` and `http.connections_per_address_max` must be at least 1".into());
        }
        if self.http.body_max < 1024 || self.http.body_max > 20 << 20 {
            return Err("`http.body_max` must lie between 1KiB and 20MiB".into());
        }
        for (folder, pc) in &self.files.map {
            if !folder.starts_with('/') || pc.trim().is_empty() {
                return Err(format!(
                    "`files.map`: `{}` must be a folder of this machine that begins with /, and have a folder of the PC",
                    shown(folder)
                ));
            }
        }
        if self.store.segment < 1 << 20 || self.store.segment > 1 << 30 {
            return Err("`store.segment` must lie between 1MiB and 1GiB".into());
        }
        Ok(())
    }
}

/// The most characters of a message that are shown: it quotes what stands in the file, however long.
const SHOWN_CHARS_MAX: usize = 300;

/// A message on one line, cut to its bound.
fn shown(message: &str) -> String {
    let mut chars = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// The dotted key that is given a value on a line (counted from 1).
fn key_on(text: &str, line: usize) -> Option<String> {
    let (key, _) = text.lines().nth(line - 1)?.split_once('=')?;
    let table = |l: &str| Some(l.trim().strip_prefix('[')?.split(']').next()?.trim().to_owned());
    let section = text.lines().take(line).filter_map(table).last();
    Some(section.into_iter().chain([key.trim().to_owned()]).collect::<Vec<_>>().join("."))
}

/// The key in serde's "unknown field" message.
fn unknown_key(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field `")?;
    Some(rest.split('`').next().unwrap_or_default().to_owned())
}

fn unknown_sentence(key: &str) -> String {
    let keys = keys();
    match near::nearest(key, keys.iter().map(String::as_str)) {
        Some(nearest) => format!("unknown key `{key}`; the nearest valid key is `{nearest}`"),
        None => format!("unknown key `{key}`; `wehelpd --print-config` shows all that there are"),
    }
}

/// Every valid key, dotted, out of the annotated settings: there each key stands once, commented out or not.
#[must_use]
pub fn keys() -> Vec<String> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in ANNOTATED.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            name.clone_into(&mut section);
            keys.push(section.clone());
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            keys.push(if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") });
        }
    }
    keys
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<HostName>, D::Error> {
    one_or_many(from)?.iter().map(|name| name.parse().map_err(serde::de::Error::custom)).collect()
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a whole number, or a text like \"30s\" or \"16MiB\"")]
enum NumberOrText {
    Number(u64),
    Text(String),
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    match NumberOrText::deserialize(from)? {
        NumberOrText::Number(seconds) => Ok(Duration::from_secs(seconds)),
        NumberOrText::Text(text) => clock::duration(&text).map_err(serde::de::Error::custom),
    }
}

fn duration_or_never<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    match NumberOrText::deserialize(from)? {
        NumberOrText::Text(text) if text == "forever" => Ok(None),
        NumberOrText::Text(text) => clock::duration(&text).map(Some).map_err(serde::de::Error::custom),
        NumberOrText::Number(seconds) => Ok(Some(Duration::from_secs(seconds))),
    }
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match NumberOrText::deserialize(from)? {
        NumberOrText::Number(bytes) => Ok(bytes),
        NumberOrText::Text(text) => parse_bytes(&text).map_err(serde::de::Error::custom),
    }
}

fn bytes_or_all<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    match NumberOrText::deserialize(from)? {
        NumberOrText::Text(text) if text == "all" => Ok(None),
        NumberOrText::Text(text) => parse_bytes(&text).map(Some).map_err(serde::de::Error::custom),
        NumberOrText::Number(bytes) => Ok(Some(bytes)),
    }
}

/// Reads a size as people write it: `4096`, `16MiB`, `2 GB`.
///
/// # Errors
/// When the text is no size.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size (try 500MB or 2GiB)");
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(bad()),
    };
    number.checked_mul(factor).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotated_settings_are_the_defaults() {
        assert_eq!(Config::parse(ANNOTATED).unwrap(), Config::default());
    }

    #[test]
    fn the_annotated_settings_name_valid_keys_only_and_values_that_parse() {
        // Uncomment everything that is a setting.
        let text: String = ANNOTATED
            .lines()
            .map(|l| match l.strip_prefix("# ") {
                Some(rest) if rest.contains(" = ") && !rest.contains(". ") => rest,
                _ => l,
            })
            .collect::<Vec<_>>()
            .join("\n");
        Config::parse(&text).unwrap();
        assert!(keys().len() > 30, "{:?}", keys());
    }

    #[test]
    fn an_unknown_key_names_the_nearest_valid_one() {
        let error = Config::parse("[pacing]\nsends_per_minutes = 3\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("`sends_per_minutes`"), "{error}");
        assert!(error.contains("`pacing.sends_per_minute`"), "{error}");
        let error = Config::parse(&format!("\"a\\nb{}\" = 1\n", "x".repeat(1000))).unwrap_err();
        assert!(error.starts_with("line 1: unknown key `a bx") && error.len() < 500, "{error}");
        let error = Config::parse("[queue]\n\nbatch = \"many\"\n").unwrap_err();
        assert!(error.contains("line 3: `queue.batch`: "), "{error}");
        let error = Config::parse("[htp]\n").unwrap_err();
        assert!(error.contains("`htp`") && error.contains("`http`"), "{error}");
        for far in ["foo", "zebra", "x"] {
            let error = Config::parse(&format!("[{far}]\na = 1\n")).unwrap_err();
            assert!(error.contains(&format!("`{far}`")) && !error.contains("nearest"), "{error}");
        }
    }

    #[test]
    fn a_fault_in_another_section_does_not_hide_where_the_daemon_is() {
        for rest in ["[htp]\n", "[queue]\nbatch = \"many\"\n", "[queue\nbatch = 3\n", "[pacing]\nfriend_gap = \n"] {
            let places = Places::parse(&format!("data_dir = \"/d\"\nsocket = \"/s\"\n{rest}")).unwrap();
            assert_eq!((places.data_dir, places.socket), (Some("/d".into()), Some("/s".into())), "{rest}");
            assert!(places.fault.is_some_and(|fault| fault.contains("line ")), "{rest}");
        }
        let whole = Places::parse("socket = \"/s\"\n[queue]\nbatch = 3\n").unwrap();
        assert_eq!(whole, Places { socket: Some("/s".into()), ..Places::default() });
        assert!(Places::parse("data_dir = 7\n").is_err());
        // One that is misspelt, or in a table, names a daemon all the same.
        for misspelt in ["data_dirr = \"/d\"\n", "sockett = \"/s\"\n", "datadir = \"/d\"\n[queue]\nbatch = 3\n"] {
            assert!(Places::parse(misspelt).unwrap_err().contains("unknown key"), "{misspelt}");
        }
        let misplaced = Places::parse("[http]\ndata_dir = \"/d\"\n").unwrap_err();
        assert_eq!(misplaced, "`http.data_dir`: `data_dir` stands above all tables");
        assert!(Places::parse("data_dir = \"/d\n[queue]\n").is_err());
    }

    #[test]
    fn sizes_and_durations_are_read_as_people_write_them() {
        let config = Config::parse("[events]\nkeep = \"30d\"\nmax_bytes = \"2GiB\"\n[http]\npoll_hold = 25\n").unwrap();
        assert_eq!(config.events.keep, Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(config.events.max_bytes, Some(2 << 30));
        assert_eq!(config.http.poll_hold, Duration::from_secs(25));
        let error = Config::parse("[pacing]\nfriend_gap = true\n").unwrap_err();
        assert_eq!(error, "line 2: `pacing.friend_gap`: expected a whole number, or a text like \"30s\" or \"16MiB\"");
        for wrong in ["[events]\nkeep = \"soon\"", "[events]\nmax_bytes = \"2 barrels\"", "[queue]\nbatch = 0"] {
            assert!(Config::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_that_is_no_name_is_refused_with_its_line() {
        let error = Config::parse("[http]\nhosts = [\"wehelp.lan\", \"x:8443\"]\n").unwrap_err();
        assert!(
            error.starts_with("line 2: `http.hosts`: `x:8443` is no host name") && error.ends_with("`x`"),
            "{error}"
        );
        assert_eq!(Config::parse("[http]\nhosts = \"*.lan\"\n").unwrap().http.hosts, ["*.lan".parse().unwrap()]);
    }

    #[test]
    fn an_absent_file_is_an_error_only_when_it_was_named() {
        let path = Path::new("/nonexistent/wehelp.toml");
        assert_eq!(Config::load(path, false).unwrap(), Config::default());
        assert!(Config::load(path, true).is_err());
    }
}
