//! What every verb is given: the global options, the way to print, the daemon once it is needed.

use super::args::Global;
use super::error::Error;
use super::output::Output;
use crate::config::Config;
use crate::control::client::Client;
use crate::home::{self, Wishes};
use std::cell::OnceCell;
use std::path::PathBuf;

/// What every verb is given.
#[derive(Debug)]
pub(super) struct Ctx {
    global: Global,
    out: Output,
    client: OnceCell<Client>,
}

impl Ctx {
    pub(super) fn new(global: Global) -> Self {
        let out = Output::new(&global);
        Self { global, out, client: OnceCell::new() }
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
        let client = Client::find(&self.sockets()?)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Where a daemon may listen, the likeliest place first (contract 1).
    ///
    /// # Errors
    /// When the settings cannot be read, or the user has no home folder.
    pub(super) fn sockets(&self) -> Result<Vec<PathBuf>, Error> {
        let wishes = self.wishes()?;
        let uid = rustix::process::getuid().as_raw();
        home::sockets(&wishes, uid).map_err(|e| Error::failed(e.to_string()))
    }

    /// What flags, environment and settings ask for.
    ///
    /// # Errors
    /// When the settings cannot be read.
    pub(super) fn wishes(&self) -> Result<Wishes, Error> {
        if self.global.socket.is_some() {
            // Nothing else is needed to find the daemon: settings that are broken do no harm.
            return Ok(self.asked());
        }
        self.wishes_with(None)
    }

    /// What flags and environment ask for.
    fn asked(&self) -> Wishes {
        let global = &self.global;
        Wishes { config: global.config.clone(), data_dir: global.data_dir.clone(), socket: global.socket.clone() }
    }

    /// As [`Ctx::wishes`], with everything that the settings say; `config` names another settings file.
    ///
    /// # Errors
    /// When the settings cannot be read.
    pub(super) fn wishes_with(&self, config: Option<PathBuf>) -> Result<Wishes, Error> {
        let mut wishes = self.asked();
        wishes.config = config.or(wishes.config);
        let Ok(path) = home::config_path(&wishes) else { return Ok(wishes) };
        let config = Config::load(&path, wishes.config.is_some()).map_err(|e| Error::failed(e.to_string()))?;
        Ok(wishes.or(Wishes { config: None, data_dir: config.data_dir, socket: config.socket }))
    }
}
