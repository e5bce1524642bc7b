//! A refusal or failure, as a door tells it.

use crate::store;

/// A refusal or failure, for both doors: status, kebab code, sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// HTTP status.
    pub(crate) status: u16,
    /// Stable kebab-case code.
    pub(crate) code: &'static str,
    /// A sentence that says what to do.
    pub(crate) message: String,
}

impl Failure {
    /// A refusal.
    #[must_use]
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Refusing(reason) => Self::new(
                503,
                "store-refuses-writes",
                format!("the store does not accept writes: {reason}; what was stored stays readable"),
            ),
            other => Self::new(500, "store-failed", other.to_string()),
        }
    }
}
