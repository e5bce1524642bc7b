//! What every verb is given: the global options, the way to print, the daemon once it is needed.

use super::error::Error;
use super::options::Global;
use super::output::Output;
use crate::config::Places;
use crate::control::LOG_HEADER;
use crate::control::client::{Client, Ending, Reply};
use crate::home::{self, Target, Wishes};
use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// What every verb is given.
#[derive(Debug)]
pub(super) struct Ctx {
    global: Global,
    out: Output,
    client: OnceCell<Client>,
    ending: OnceCell<Ending>,
    log: OnceCell<String>,
}

impl Ctx {
    pub(super) fn new(global: Global) -> Self {
        let out = Output::new(&global);
        Self { global, out, client: OnceCell::new(), ending: OnceCell::new(), log: OnceCell::new() }
    }

    pub(super) fn global(&self) -> &Global {
        &self.global
    }

    pub(super) fn out(&self) -> &Output {
        &self.out
    }

    /// The daemon; looked for at the first call.
    ///
    /// # Errors
    /// When there is none (exit 3), or the settings cannot be read.
    pub(super) fn client(&self) -> Result<&Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::find(&self.target()?)?.with_ending(self.ending.get().cloned());
        Ok(self.client.get_or_init(|| client))
    }

    /// From now on the numbers that we know are of the daemon that gave this reply: where another has taken its place, they
    /// mean something else there.
    pub(super) fn belong_to(&self, reply: &Reply) {
        if let Some(log) = reply.header(LOG_HEADER) {
            self.log.get_or_init(|| log.to_owned());
        }
    }

    /// The log of that daemon.
    pub(super) fn log(&self) -> Option<&str> {
        self.log.get().map(String::as_str)
    }

    /// Lets nothing that the daemon is asked from now on keep us for long, once we were told to end.
    pub(super) fn end_with(&self, ending: Ending) {
        self.ending.get_or_init(|| ending);
    }

    /// Whether we were told to end.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.get().is_some_and(|ending| ending.load(Ordering::SeqCst) != 0)
    }

    /// Which daemon is meant (contract 1).
    ///
    /// # Errors
    /// When the settings cannot be read, or the user has no home folder.
    pub(super) fn target(&self) -> Result<Target, Error> {
        home::target(&self.ranks()?, rustix::process::getuid().as_raw()).map_err(|e| Error::failed(e.to_string()))
    }

    /// What flags, environment and settings ask for, the strongest first.
    ///
    /// # Errors
    /// When the settings cannot be read.
    pub(super) fn ranks(&self) -> Result<Vec<Wishes>, Error> {
        let mut ranks = self.global.wishes();
        if ranks.iter().all(|wishes| wishes.socket.is_none()) {
            // With a socket nothing else is needed to find the daemon: settings that are broken do no harm.
            ranks.push(self.settings(None)?);
        }
        Ok(ranks)
    }

    /// What the settings ask for; `config` names another settings file.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn settings(&self, config: Option<PathBuf>) -> Result<Wishes, Error> {
        let config = config.or_else(|| self.global.config.clone());
        let named = config.is_some();
        let Ok(path) = home::config_path(&Wishes { config, ..Wishes::default() }) else {
            return Ok(Wishes::default());
        };
        let read = Places::load(&path, named).map_err(|e| Error::failed(e.to_string()))?;
        if let Some(fault) = read.fault {
            self.out.warn(&format!("settings `{}`: {fault}; wehelpd will refuse them", path.display()));
        }
        Ok(Wishes { config: None, data_dir: read.data_dir, socket: read.socket })
    }

    /// All of that together, for the places of a daemon that is to be started; `config` names another settings file.
    ///
    /// # Errors
    /// When the settings cannot be read.
    pub(super) fn wishes_with(&self, config: Option<PathBuf>) -> Result<Wishes, Error> {
        let mut wishes = self.global.wishes().into_iter().fold(Wishes::default(), Wishes::or);
        wishes.config = config.clone().or(wishes.config);
        Ok(wishes.or(self.settings(config)?))
    }
}
