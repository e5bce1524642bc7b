//! Why the daemon did not answer as asked, and what that says of what was asked for.

use crate::control::Refusal;
use std::io;
use std::path::{Path, PathBuf};

/// Why the daemon did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens at any of these places.
    #[error("no wehelpd{} listens at `{}`", whose(data_dir.as_deref()), tried.first().map_or_else(String::new, |p| p.display().to_string()))]
    NoDaemon {
        /// Where it was looked for, the likeliest first.
        tried: Vec<PathBuf>,
        /// The data folder that it must have.
        data_dir: Option<PathBuf>,
        /// What the system said of the likeliest.
        source: io::Error,
    },
    /// The daemon that listens there has another data folder than the one that was named.
    #[error("no wehelpd{} runs: the one at `{}` has {}", whose(Some(data_dir)), socket.display(), its.as_ref().map_or_else(|| "another".to_owned(), |its| format!("`{}`", its.display())))]
    OtherDaemon {
        /// The data folder that was named.
        data_dir: PathBuf,
        /// Where the other one listens.
        socket: PathBuf,
        /// The other one's, when it said so.
        its: Option<PathBuf>,
    },
    /// Whoever listens there is another user, who would be told what is meant for wehelpd.
    #[error("the socket `{}` belongs to uid {uid}, and not to you (uid {}) or root, so nothing was sent to it", socket.display(), own_uid())]
    Stranger {
        /// Where he listens.
        socket: PathBuf,
        /// Who he is.
        uid: u32,
    },
    /// The request did not get to the daemon whole, so that it has done nothing.
    #[error("{}", broken("the request could not be handed to wehelpd", .0))]
    Unsent(io::Error),
    /// The connection broke after the request, or the daemon stopped in the middle: what was asked may be done.
    #[error("{}", broken("the connection to wehelpd broke", .0))]
    Broken(#[from] io::Error),
    /// The daemon refused.
    #[error("{}", refusal.message)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        refusal: Refusal,
    },
    /// The answer is none that this version knows.
    #[error("wehelpd answered in a way that this wehelp does not understand ({0}); install the same version of both")]
    Strange(String),
}

fn whose(data_dir: Option<&Path>) -> String {
    data_dir.map_or_else(String::new, |dir| format!(" of the data folder `{}`", dir.display()))
}

fn broken(what: &str, why: &io::Error) -> String {
    if is_over(why) { "wehelpd does not answer".to_owned() } else { format!("{what}: {why}") }
}

pub(super) fn is_over(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl Error {
    /// Whether the daemon was not there, went away, or hangs: it may come back, or be another one that is not meant.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NoDaemon { .. }
                | Self::OtherDaemon { .. }
                | Self::Stranger { .. }
                | Self::Unsent(_)
                | Self::Broken(_)
        )
    }

    /// Whether the daemon will do it later: it is not there, starts, stops, has no room, or its store refuses for now (a full
    /// disk).
    #[must_use]
    pub fn may_pass(&self) -> bool {
        let will_pass = |status: u16, refusal: &Refusal| status == 503 || refusal.may_pass();
        self.is_absence() || matches!(self, Self::Refused { status, refusal } if will_pass(*status, refusal))
    }

    /// Whether what was asked for may have been done all the same.
    #[must_use]
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Strange(_) => true,
            // A store that failed in the middle of a write may find it again when it is opened.
            Self::Refused { status, .. } => *status == 500,
            Self::NoDaemon { .. } | Self::OtherDaemon { .. } | Self::Stranger { .. } | Self::Unsent(_) => false,
        }
    }
}

/// Whether an error only says that nothing came in time.
#[must_use]
pub fn is_timeout(error: &Error) -> bool {
    matches!(error, Error::Broken(e) | Error::Unsent(e) if is_over(e))
}

/// Who we are.
pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
