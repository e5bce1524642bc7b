//! What is kept now and then, over a restart.

use crate::store::Error;

/// What could not be kept need not be: it is kept the next time.
pub(crate) fn or_later<T>(kept: Result<T, Error>) {
    if let Err(error) = kept {
        tracing::debug!("cannot remember how things stand: {error}");
    }
}
