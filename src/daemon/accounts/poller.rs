//! Who polls, as far as it says.

use std::net::SocketAddr;

/// Who asks for commands, as far as it said. Nothing-words are already `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Poller {
    /// `?wxid=`, which newer clients add by themselves, with a pid: a wxid. A person may have typed it, without one, and
    /// then it may be what else an account is called.
    pub(crate) wxid: Option<Name>,
    /// `?account=`, which a person typed: likewise.
    pub(crate) account: Option<Name>,
    /// `?pid=`
    pub(crate) pid: Option<u64>,
    /// Where it comes from.
    pub(crate) peer: SocketAddr,
}

impl Poller {
    /// Whether its `wxid` was added by the client itself.
    pub(crate) fn says_own_id(&self) -> bool {
        self.wxid.is_some() && self.pid.is_some_and(|pid| pid != 0)
    }
}

/// What a poller calls itself. The bytes of some names are right in more than one encoding, and mean somebody in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// As it most likely reads.
    pub(crate) text: String,
    /// As it reads otherwise.
    pub(crate) or: Option<String>,
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self { text, or: None }
    }
}

impl Name {
    /// As it reads, the most likely first.
    pub(crate) fn readings(&self) -> impl Iterator<Item = &str> {
        [Some(&self.text), self.or.as_ref()].into_iter().flatten().map(String::as_str)
    }
}
