//! The feed: every change of a command's state, once and in order, to whoever follows (contract 8).
//!
//! A reader follows as one of events does: a stretch of the numbered changes after its position, then it waits until there
//! are more; nothing is buffered for it. One that names no position is told first how the commands stand, in the order of
//! their last changes, and goes on behind the newest of these. What a cut of the power could take back is told to nobody.
//! Leaves to others: numbering and keeping the changes (`revisions`), and what followers may take (`log::follow`).

use crate::control::{FeedLine, QueueQuery, Receipt, Rev};
use crate::daemon::blocking::blocking;
use crate::daemon::log::follow::{Following, Gone, HEARTBEAT, Piece};
use crate::daemon::log::{range, refused as log};
use crate::daemon::queue::list::{self, Filter};
use crate::daemon::queue::record::Record;
use crate::daemon::queue::revisions::{self, Telling};
use crate::daemon::queue::{CommandQueue, refused::Refused};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Changes looked at in one go, at most.
const STRETCH: usize = 256;
/// So few are looked at on the runtime itself: a hop to a blocking thread costs more.
const INLINE_MAX: u64 = 16;
/// A reader whose filter lets nothing through is told how far it is once it has passed this many.
const MARK_EVERY: u64 = 1000;

/// What the feed takes.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) queue: Arc<CommandQueue>,
    pub(crate) following: Arc<Following>,
}

/// One who reads it.
struct Subscriber {
    query: QueueQuery,
    filter: Arc<Filter>,
    /// What was told.
    at: Rev,
    left: u64,
    heartbeat: Duration,
    out: mpsc::Sender<Piece>,
}

/// Why a reader is told no more: it has gone, or is told why.
enum Over {
    Gone,
    Refused(log::Refused),
}

impl From<Gone> for Over {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl<E: Into<log::Refused>> From<E> for Over {
    fn from(refused: E) -> Self {
        Self::Refused(refused.into())
    }
}

impl Feed {
    /// Starts a reader; its lines come out of the receiver, and dropping that ends it. The query's account is an id.
    ///
    /// # Errors
    /// When the query is wrong, or its position is none of this log.
    pub(crate) fn begin(self: &Arc<Self>, query: QueueQuery) -> Result<mpsc::Receiver<Piece>, Refused> {
        let filter = Arc::new(Filter::read(&query)?);
        range::check_log(&self.queue.store, query.log.as_deref())?;
        let newest = revisions::newest(&self.queue.store)?;
        let at = query.after.unwrap_or_default();
        if at > newest {
            return Err(Refused::Ahead { after: at, newest });
        }
        let (out, lines) = mpsc::channel(1);
        let left = query.count.unwrap_or(u64::MAX);
        let heartbeat = query.heartbeat_ms.map_or(HEARTBEAT, |ms| Duration::from_millis(ms.max(100)));
        let mut reader = Subscriber { query, filter, at, left, heartbeat, out };
        let (feed, place) = (Arc::clone(self), self.following.join());
        tokio::spawn(async move {
            if let Err(Over::Refused(refused)) = feed.run(&mut reader).await {
                // The reader may have gone.
                drop(reader.out.send(Err(refused)).await);
            }
            drop(place);
        });
        Ok(lines)
    }

    async fn run(&self, reader: &mut Subscriber) -> Result<(), Over> {
        let mut changed = self.queue.changes.subscribe();
        if reader.query.after.is_none() {
            reader.at = self.newest(reader).await?;
            self.tell_standing(reader).await?;
        }
        let mut marked = reader.at;
        while reader.left > 0 {
            changed.mark_unchanged();
            let upto = self.newest(reader).await?;
            while reader.at < upto && reader.left > 0 {
                let before = reader.left;
                let mut text = self.stretch(reader, upto).await?;
                if reader.left < before {
                    marked = reader.at;
                }
                let silent = reader.at.0.saturating_sub(marked.0);
                if reader.query.marks && (silent >= MARK_EVERY || (reader.at >= upto && silent > 0)) {
                    FeedLine::Passed(reader.at).write(&mut text);
                    marked = reader.at;
                }
                self.following.send(&reader.out, None, text).await?;
            }
            if !reader.query.follow || reader.left == 0 {
                break;
            }
            tokio::select! {
                _ = changed.changed() => {}
                beat = self.following.beat(&reader.out, reader.heartbeat) => beat?,
            }
        }
        if reader.query.marks {
            reader.say(&FeedLine::End(reader.at)).await?;
        }
        Ok(())
    }

    /// The newest change, once no cut of the power can take it back.
    async fn newest(&self, reader: &Subscriber) -> Result<Rev, Over> {
        let newest = revisions::newest(&self.queue.store).map_err(log::Refused::from)?;
        let mut synced = std::pin::pin!(self.queue.store.synced());
        loop {
            tokio::select! {
                biased;
                () = &mut synced => return Ok(newest),
                beat = self.following.beat(&reader.out, reader.heartbeat) => beat?,
            }
        }
    }

    /// Tells how the commands stand, some at a time.
    async fn tell_standing(&self, reader: &mut Subscriber) -> Result<(), Over> {
        let (queue, query, filter, at) =
            (Arc::clone(&self.queue), reader.query.clone(), Arc::clone(&reader.filter), reader.at);
        let mut standing =
            blocking(move || list::standing(&queue, &query, &filter, at).map_err(log::Refused::from)).await?;
        while reader.left > 0 && !standing.is_told() {
            let (store, bytes_max) = (self.queue.store.clone(), self.following.page_bytes());
            let max = usize::try_from(reader.left).unwrap_or(usize::MAX);
            let turn = self.following.turn().await;
            let next = blocking(move || {
                let receipts = standing.next(&store, max, bytes_max)?;
                Ok::<_, log::Refused>((receipts, standing))
            });
            let receipts;
            (receipts, standing) = next.await?;
            drop(turn);
            reader.left -= receipts.len() as u64;
            let mut text = Vec::new();
            receipts.iter().for_each(|receipt| line(&mut text, receipt));
            self.following.send(&reader.out, None, text).await?;
        }
        if reader.query.marks && standing.is_told() {
            reader.say(&FeedLine::Passed(reader.at)).await?;
        }
        Ok(())
    }

    /// The lines of the next stretch up to `upto`; the reader's position moves behind it.
    async fn stretch(&self, reader: &mut Subscriber, upto: Rev) -> Result<Vec<u8>, Over> {
        let (store, ages, filter) = (self.queue.store.clone(), self.queue.clock.ages(), Arc::clone(&reader.filter));
        let (range, max) = ((reader.at, upto), (STRETCH, self.following.page_bytes()));
        let look = move || {
            let about = |record: &Record, bound| filter.is_about(record, bound);
            let stretch = revisions::page(&store, range, max, &ages, |state| filter.wants(state), about);
            stretch.map_err(log::Refused::from)
        };
        let turn = self.following.turn().await;
        let stretch = if upto.0 - reader.at.0 <= INLINE_MAX { look()? } else { blocking(look).await? };
        drop(turn);
        reader.at = stretch.looked_to;
        let mut text = Vec::new();
        for telling in stretch.told {
            match telling {
                Telling::Dropped(from, to) => FeedLine::Dropped(from, to).write(&mut text),
                Telling::Changed(receipt) => {
                    line(&mut text, &receipt);
                    reader.left -= 1;
                    if reader.left == 0 {
                        reader.at = receipt.rev.unwrap_or(reader.at);
                        break;
                    }
                }
            }
        }
        Ok(text)
    }
}

impl Subscriber {
    async fn say(&self, line: &FeedLine<'_>) -> Result<(), Gone> {
        self.out.send(Ok(line.bytes().into())).await.map_err(|_| Gone)
    }
}

fn line(text: &mut Vec<u8>, receipt: &Receipt) {
    serde_json::to_writer(&mut *text, receipt).expect("a receipt is plain data");
    text.push(b'\n');
}
