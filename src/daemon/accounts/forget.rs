//! Forgets an account, or a poller, and what is known of it; its events stay.

use crate::control::Forgotten;
use crate::daemon::accounts::refused as accounts;
use crate::daemon::accounts::{presence::Presence, table::POLLS_EVERY, watch};
use crate::daemon::learned;
use crate::daemon::queue::refused as queue;
use crate::daemon::queue::{CommandQueue, change::cancel, claim::queued_of, pacing, pause::set_paused, read};
use crate::directory;
use crate::store;
use std::sync::Arc;

/// Cancelled, or forgotten, in one transaction: keeps the writer free for others.
const STEP: usize = 500;

/// Why an account is not forgotten.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("`{account}` is not forgotten: {why}")]
    InUse { account: String, why: String },
    #[error(transparent)]
    Queue(#[from] queue::Refused),
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        Self::Queue(error.into())
    }
}

/// What forgetting takes.
#[derive(Debug)]
pub(crate) struct Forget {
    pub(crate) queue: Arc<CommandQueue>,
    pub(crate) presence: Arc<Presence>,
}

impl Forget {
    /// Forgets the account of that name.
    ///
    /// # Errors
    /// While its client polls or commands wait, unless `force`, which cancels those.
    pub(crate) async fn account(&self, name: &str, force: bool) -> Result<Forgotten, Refused> {
        self.queue.learned.catch_up().await;
        let (account, waiting) = self.meant(name)?;
        let polled = self.queue.accounts.table().is_polled(&account, POLLS_EVERY);
        if !force && (polled || waiting > 0) {
            let why = if polled { "its client polls".to_owned() } else { format!("{waiting} commands wait for it") };
            return Err(Refused::InUse { account, why });
        }
        let cancelled = self.cancel_all(&account).await?;
        // Nothing is learned meanwhile, and what was learned from is not read again.
        let _alone = self.queue.learned.alone().await;
        let at = self.queue.learned.upto();
        loop {
            let (of, purse) = (account.clone(), self.queue.accounts.table().purse(&account));
            let step = self.queue.store.write(move |tx| {
                let done = directory::forget(tx, &of, STEP);
                if done {
                    pacing::forget(tx, &purse);
                    watch::forget(tx, &of);
                    set_paused(tx, Some(&of), false);
                    learned::remember(tx, at);
                }
                Ok::<_, std::convert::Infallible>(done)
            });
            let Ok(done) = step.await?;
            if done {
                break;
            }
        }
        self.queue.accounts.table().forget(&account);
        self.presence.remember().await;
        Ok(Forgotten { account, cancelled })
    }

    /// The account or the poller of that name, with the number of commands that wait for it: a mistyped name that commands
    /// wait for is nothing else.
    fn meant(&self, name: &str) -> Result<(String, u64), Refused> {
        let (known, id) = {
            let table = self.queue.accounts.table();
            (table.known_or_polled(name), table.id_of(name))
        };
        match known {
            Ok(account) => Ok((account.clone(), read::waiting(&self.queue.store, &account)?)),
            Err(unknown @ accounts::Refused::Unknown { .. }) => match read::waiting(&self.queue.store, &id)? {
                0 => Err(queue::Refused::from(unknown).into()),
                waiting => Ok((id, waiting)),
            },
            Err(refused) => Err(queue::Refused::from(refused).into()),
        }
    }

    /// Takes back what waits for an account; returns how many.
    async fn cancel_all(&self, account: &str) -> Result<u64, Refused> {
        let mut cancelled = 0;
        loop {
            let (reading, of) = (self.queue.clock.reading().await, account.to_owned());
            let some = self.queue.store.write(move |tx| {
                let ids = queued_of(tx, &of, STEP);
                ids.iter().try_for_each(|id| cancel(tx, *id, false, reading.now).map(drop))?;
                Ok::<_, Refused>((ids.len(), reading))
            });
            match some.await??.0 {
                0 => break,
                n => cancelled += n as u64,
            }
        }
        self.queue.changes.bump();
        Ok(cancelled)
    }
}
