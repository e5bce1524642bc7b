//! Why the accounts refuse.

/// A name that does not say which account is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// None is named, and there are these.
    #[error("several accounts are known")]
    Unnamed { known: String },
    /// These are called so.
    #[error("`{name}` is the name of several accounts")]
    Ambiguous { name: String, several: String },
    /// There are these.
    #[error("{what}")]
    Unknown { what: String, known: String },
}
