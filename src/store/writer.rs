//! The one writer: a thread. Inbox → group commit → journal, sync → map → tail → replies.
//!
//! It owns the newest segment: nobody else writes there. What takes long beside that (checkpoints, snapshots, removals) is
//! the checkpointing thread's; the writer decides when.

use super::checkpoint::Checkpoint;
use super::checkpointer::{Task, TaskReport};
use super::files::fault;
use super::folder_lock::FolderLock;
use super::frame::Run;
use super::health::{FreeSpace, Trials};
use super::index::{Block, Builder};
use super::journal::{self, Active, Begin, HEADER};
use super::map::{Batch, MEMTABLE_BYTES_MAX, Map};
use super::open::{self, Opened};
use super::own;
use super::retention;
use super::shared::Shared;
use super::txn::{Group, Txn};
use super::{Error, Health, Retention};
use crate::key::OWN;
use crate::seq::Seq;
use crate::sync::write;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A group takes no further transaction once it has this many bytes: its sync should not take long.
const GROUP_BYTES: usize = 8 << 20;
/// A transaction that brings so much has a group of its own, after what else is waiting: its write and sync take as long
/// as those of thousands of small ones.
const LARGE_BYTES: usize = 1 << 20;
/// A lazy change is synced after this at the latest.
const LAZY: Duration = Duration::from_millis(900);
/// Lazy changes that wait for their sync are held in memory; with this many bytes they wait no longer.
const LAZY_BYTES: usize = 1 << 20;
/// What sled writes behind our back, and fails to, is seen so soon.
const MAP_LOOK: Duration = Duration::from_secs(1);

/// A checkpoint is made after so much journal: what a start after a kill reads again…
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// …and so long after a change.
const CHECKPOINT_AGE: Duration = Duration::from_secs(300);
/// A snapshot is made after so much journal, or four times its own size: what a start reads when sled is lost.
const SNAPSHOT_BYTES: u64 = 256 << 20;
const SNAPSHOT_TIMES: u64 = 4;
/// A snapshot that only serves to remove segments frees at least this many bytes, and at least its own size.
const REMOVE_BYTES: u64 = 1 << 20;

/// Something to be done on the writer's thread.
pub(super) trait Job: Send {
    /// Bytes of the events that it will append, as far as that is known before it ran.
    fn bytes(&self) -> usize;
    /// Does it; true when its changes are to be kept.
    fn run(&mut self, txn: &mut Txn<'_>) -> bool;
    /// Answers: its changes are durable (or rolled back, as `run` said), or why nothing was done.
    fn finish(self: Box<Self>, done: Result<(), Error>);
}

pub(super) enum Request {
    Work {
        job: Box<dyn Job>,
        lazy: bool,
    },
    /// Drops one step of old events; answers where the log begins then, and whether there is more to drop.
    Trim {
        retention: Retention,
        reply: oneshot::Sender<Result<(Seq, bool), Error>>,
    },
    /// What the checkpointing thread has to say.
    Report(TaskReport),
    Close(SyncSender<Result<(), Error>>),
}

/// Whose answer waits for the group's end.
struct Waiting {
    job: Box<dyn Job>,
    /// Its changes need no sync of their own.
    lazy: bool,
    changed: bool,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    map: Arc<Map>,
    group: Group,
    builder: Builder,
    active: Option<Active>,
    durable: u64,
    /// Lazy frames that are written, shown and answered, and not yet synced.
    unsynced: Run,
    lazy_since: Option<Instant>,
    /// Finished blocks that readers do not see yet.
    finished: Vec<Arc<Block>>,
    room: FreeSpace,
    trials: Trials,
    /// How often sled had been written to when it was last seen to be well.
    looked_at_map: u64,
    waiting: Vec<Waiting>,
    /// Large transactions whose turn has not come, and whether they are lazy.
    large: VecDeque<(Box<dyn Job>, bool)>,
    /// Blocks that are to leave the map, and where the log begins then: position, and bytes before it.
    gone: Vec<u64>,
    begins: Option<(u64, u64)>,
    /// The map must be made again before anything is written.
    map_failed: bool,
    /// The log is to get an identity.
    nameless: bool,
    checkpointer: Sender<Task>,
    schedule: Schedule,
    /// Until the store is closed.
    lock: FolderLock,
}

/// When the checkpointing thread has something to do.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Journal bytes since the last checkpoint, and since the last snapshot.
    since_checkpoint: u64,
    since_snapshot: u64,
    /// The first change since the last checkpoint.
    dirty: Option<Instant>,
    /// The newest snapshot and its size.
    snapshot: u64,
    snapshot_bytes: u64,
    snapshotting: bool,
    /// One is due whatever the sizes say.
    snapshot_due: bool,
    /// Closed segments whose index is not beside them yet.
    closed: Vec<u64>,
    /// Segments may be ready to go.
    collect: bool,
    /// The checkpoint does not know of the newest segment yet: nobody would miss it.
    unmarked: bool,
}

impl Schedule {
    pub(super) fn new(snapshot: u64, since_snapshot: u64, snapshot_due: bool, closed: Vec<u64>) -> Self {
        Self { snapshot, since_snapshot, snapshot_due, closed, collect: true, unmarked: true, ..Self::default() }
    }

    /// A snapshot or a checkpoint, when one is due.
    fn due(&mut self, lsn: u64) -> Option<fn(u64, u64) -> Task> {
        let much = SNAPSHOT_BYTES.max(self.snapshot_bytes * SNAPSHOT_TIMES);
        if (self.snapshot_due || self.since_snapshot >= much) && !self.snapshotting && lsn > self.snapshot {
            (self.snapshot_due, self.snapshotting, self.since_snapshot) = (false, true, 0);
            (self.since_checkpoint, self.dirty) = (0, None);
            return Some(Task::Snapshot);
        }
        let old = self.dirty.is_some_and(|since| since.elapsed() >= CHECKPOINT_AGE);
        if self.since_checkpoint >= CHECKPOINT_BYTES || old {
            (self.since_checkpoint, self.dirty) = (0, None);
            return Some(Task::Checkpoint);
        }
        None
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, opened: OpenedWriter, checkpointer: Sender<Task>) -> Self {
        let OpenedWriter { builder, active, lsn, seq, schedule, renamed, no_map, lock } = opened;
        let room = FreeSpace::new(shared.options.free_bytes_min);
        let map = shared.map();
        let group = Group { lsn, seq, ..Group::default() };
        Self {
            shared,
            map,
            group,
            builder,
            active,
            durable: lsn - 1,
            unsynced: Run::default(),
            lazy_since: None,
            finished: Vec::new(),
            room,
            trials: Trials::new(Instant::now()),
            looked_at_map: 0,
            waiting: Vec::new(),
            large: VecDeque::new(),
            gone: Vec::new(),
            begins: None,
            map_failed: no_map,
            nameless: renamed,
            checkpointer,
            schedule,
            lock,
        }
    }

    /// Gives the log its identity: a new log, one of a version that knew none, or one that is not what it was.
    ///
    /// # Errors
    /// When the map cannot be read, or there is no randomness.
    pub(super) fn name(&mut self) -> Result<(), Error> {
        let key = OWN.full(own::IDENTITY);
        if self.refusing() || (!self.nameless && self.map.get(&key)?.is_some()) {
            return Ok(());
        }
        let identity = own::new_identity()?;
        let mut txn = Txn::begin(&mut self.group, &self.map);
        txn.put(OWN, own::IDENTITY, identity);
        txn.end(true, self.durable)?;
        self.commit();
        self.nameless = self.refusing();
        Ok(())
    }

    /// Works until it is told to close, or nobody is left to tell.
    pub(super) fn run(mut self, inbox: &Receiver<Request>) {
        self.due();
        loop {
            let request = match self.deadline() {
                // Between two large ones those that are small have their turn.
                _ if !self.large.is_empty() => inbox.try_recv().map_err(|_| RecvTimeoutError::Timeout),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match request {
                Ok(request) => {
                    if let Some(reply) = self.take(request, inbox) {
                        // Nobody may be waiting.
                        drop(reply.send(self.close()));
                        return;
                    }
                }
                // Whatever sled was at has ended by now.
                Err(RecvTimeoutError::Timeout) => self.looked_at_map = self.map.tree().times_written(),
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.close() {
                        tracing::error!("the store did not close well: {error}");
                    }
                    return;
                }
            }
            if let Some((job, lazy)) = self.large.pop_front() {
                self.work(job, lazy);
                self.commit();
            }
            self.due();
        }
    }

    fn refusing(&self) -> bool {
        self.active.is_none() || self.map_failed || self.shared.refuses().is_some()
    }

    /// When something is due without a request; nothing when idle.
    fn deadline(&self) -> Option<Instant> {
        if self.refusing() {
            return Some(self.trials.due());
        }
        let map = (self.looked_at_map != self.map.tree().times_written()).then(|| Instant::now() + MAP_LOOK);
        let lazy = self.lazy_since.map(|since| since + LAZY);
        let checkpoint = self.schedule.dirty.map(|since| since + CHECKPOINT_AGE);
        lazy.into_iter().chain(checkpoint).chain(map).min()
    }

    fn due(&mut self) {
        if !self.refusing()
            && let Err(error) = self.map.tree().well()
        {
            self.fail_map(&error);
        }
        if self.refusing() {
            if self.trials.due() <= Instant::now() {
                self.probe();
            }
        } else if self.lazy_since.is_some_and(|since| since.elapsed() >= LAZY)
            && let Err(why) = self.sync(self.group.lsn - 1)
        {
            self.fail(why);
        }
        if !self.refusing() {
            self.schedule();
        }
    }

    /// Works off what is waiting; returns whom to answer when it is the end.
    fn take(&mut self, first: Request, inbox: &Receiver<Request>) -> Option<SyncSender<Result<(), Error>>> {
        let mut next = Some(first);
        let mut count = 0;
        let mut closing = None;
        while let Some(request) = next.take() {
            match request {
                Request::Work { job, lazy } => {
                    self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                    if job.bytes() < LARGE_BYTES {
                        self.work(job, lazy);
                    } else {
                        self.large.push_back((job, lazy));
                    }
                    count += 1;
                }
                Request::Trim { retention, reply } => {
                    self.commit();
                    // Nobody may be waiting.
                    drop(reply.send(self.trim(retention)));
                }
                Request::Report(TaskReport::Snapshot(done)) => self.snapshot_done(done),
                Request::Report(TaskReport::MapFailed(error)) => {
                    self.commit();
                    self.fail_map(&error);
                }
                Request::Close(reply) => closing = Some(reply),
            }
            if count < self.shared.options.group_max && self.group.run.bytes() < GROUP_BYTES && closing.is_none() {
                next = inbox.try_recv().ok();
            }
        }
        self.commit();
        if closing.is_some() {
            for (job, lazy) in std::mem::take(&mut self.large) {
                self.work(job, lazy);
                self.commit();
            }
        }
        closing
    }

    /// Runs one transaction.
    fn work(&mut self, mut job: Box<dyn Job>, lazy: bool) {
        if self.waiting.is_empty()
            && !self.refusing()
            && let Err(why) = self
                .room
                .check(&self.shared.dir, job.bytes() as u64)
                .and_then(|looked| if looked { self.put_back() } else { Ok(()) })
        {
            self.refuse(why);
        }
        if self.refusing() {
            let why = self.shared.refuses().unwrap_or_else(|| Error::Refusing("it is being opened again".to_owned()));
            return job.finish(Err(why));
        }
        let mut txn = Txn::begin(&mut self.group, &self.map);
        let keep = job.run(&mut txn);
        match txn.end(keep, self.durable) {
            Ok(changed) => {
                // An event's position is told to followers, and must not be given to another one after a cut.
                let lazy = lazy && (!changed || self.group.run.frames.last().is_none_or(|f| f.events == 0));
                self.waiting.push(Waiting { job, lazy, changed });
            }
            Err(error) => {
                let map_failed = matches!(error, Error::Refusing(_)).then(|| error.clone());
                job.finish(Err(error));
                if let Some(error) = map_failed {
                    // What came before it was read, and is kept.
                    self.commit();
                    self.fail_map(&error);
                }
            }
        }
    }

    /// Makes the group durable, visible, and answers.
    fn commit(&mut self) {
        if !self.group.run.is_empty() {
            if let Err(why) = self.write() {
                return self.fail(why);
            }
            self.reveal();
            if self.map.pending_bytes() > MEMTABLE_BYTES_MAX
                && self.lazy_since.is_none()
                && let Err(error) = self.map.flush(self.durable)
            {
                return self.fail_map(&error);
            }
        }
        self.answer(&Ok(()));
    }

    fn answer(&mut self, done: &Result<(), Error>) {
        self.group.overlay.clear();
        self.group.run.clear();
        let finish = |waiting: Vec<Waiting>, done: &Result<(), Error>| {
            waiting.into_iter().for_each(|Waiting { job, .. }| job.finish(done.clone()));
        };
        let waiting = std::mem::take(&mut self.waiting);
        match &self.shared.options.runtime {
            Some(runtime) if waiting.len() > 1 => {
                let done = done.clone();
                drop(runtime.spawn(async move { finish(waiting, &done) }));
            }
            _ => finish(waiting, done),
        }
    }

    /// Writes the group to the journal, and syncs unless everything in it is lazy.
    fn write(&mut self) -> Result<(), String> {
        let bytes = self.group.run.bytes();
        let Some((first, events_from)) = self.group.run.frames.first().map(|f| (f.lsn, f.seq)) else { return Ok(()) };
        let segment_bytes = self.shared.options.segment_bytes;
        if self.active.as_ref().is_some_and(|a| a.end > HEADER && a.end + bytes as u64 > segment_bytes) {
            if self.lazy_since.is_some() {
                self.sync(first - 1)?;
            }
            if let Some(active) = &self.active {
                active.shrink();
                self.schedule.closed.push(active.lsn);
            }
            self.new_segment(first, events_from)?;
        }
        let Some(active) = &mut self.active else { return Err("no segment is open".to_owned()) };
        let failed = |act: &str, active: &Active, e: &std::io::Error| fault(act, &active.path, e).to_string();
        let base = active.write(&self.group.run).map_err(|e| failed("write", active, &e))?;
        self.room.wrote(bytes as u64);
        // What the store does for itself (a trim, the log's identity) has nobody waiting in here, and is not lazy.
        let lazily = !self.waiting.is_empty()
            && self.waiting.iter().all(|w| w.lazy || !w.changed)
            && self.unsynced.bytes() + bytes < LAZY_BYTES
            && self.map.pending_bytes() < MEMTABLE_BYTES_MAX;
        if lazily {
            // IMPORTANT: before it is shown, see `Store::synced`.
            self.shared.lazy.store(self.group.lsn - 1, Ordering::Release);
            self.unsynced.extend(&self.group.run);
            self.lazy_since.get_or_insert_with(Instant::now);
        } else {
            self.sync(self.group.lsn - 1)?;
        }
        self.schedule.since_checkpoint += bytes as u64;
        self.schedule.since_snapshot += bytes as u64;
        self.schedule.dirty.get_or_insert_with(Instant::now);
        let segment = self.active.as_ref().map_or(0, |a| a.lsn);
        for at in 0..self.group.run.frames.len() {
            let mut info = self.group.run.frames[at];
            info.at += base;
            let tags = &self.group.run.tags[info.tags.0..info.tags.1];
            let last = info.seq + u64::from(info.events.saturating_sub(1));
            tags.iter().for_each(|tag| self.shared.newest.note(*tag, last));
            self.finished.extend(self.builder.push(segment, &info, tags.iter().copied()).map(Arc::new));
        }
        Ok(())
    }

    /// Makes everything written so far durable: the frames up to `lsn`.
    fn sync(&mut self, lsn: u64) -> Result<(), String> {
        let Some(active) = &mut self.active else { return Err("no segment is open".to_owned()) };
        let begun = Instant::now();
        active.sync().map_err(|e| fault("sync", &active.path, &e).to_string())?;
        self.shared.latency.record(begun.elapsed());
        self.durable = lsn;
        self.shared.durable.store(self.durable, Ordering::Release);
        self.unsynced.clear();
        self.lazy_since = None;
        Ok(())
    }

    /// Goes on in a new segment, which begins with the frame `lsn`.
    fn new_segment(&mut self, lsn: u64, seq: u64) -> Result<(), String> {
        self.finished.extend(self.builder.finish().map(Arc::new));
        let begin = Begin { lsn, seq, cum: self.builder.cum };
        self.active = None;
        self.keep_folder()?;
        let path = journal::path(&self.shared.dir, lsn);
        let active = Active::create(&self.shared.dir, &begin).map_err(|e| fault("make", &path, &e).to_string())?;
        self.shared.forget(lsn);
        self.shared.view().segments.insert(lsn, begin);
        self.active = Some(active);
        self.schedule.unmarked = true;
        Ok(())
    }

    /// Shows the group to readers: its changes, then its events.
    fn reveal(&mut self) {
        if let Some(begins) = self.begins.take() {
            // IMPORTANT: before the blocks leave the map. A reader that misses one must see that it was dropped.
            let mut view = self.shared.view();
            (view.first, view.first_cum) = begins;
        }
        let end = self.active.as_ref().map_or((0, 0), |active| (active.lsn, active.end));
        self.map.apply(Batch {
            changes: std::mem::take(&mut self.group.overlay),
            blocks: std::mem::take(&mut self.finished),
            gone: std::mem::take(&mut self.gone),
            meta: open::meta(&self.builder, self.group.lsn - 1, self.group.seq, end),
        });
        self.shared.committed.store(self.group.lsn - 1, Ordering::SeqCst);
        self.show();
    }

    /// Publishes the log's new state. IMPORTANT: after the sync.
    fn show(&mut self) {
        let tail = self.group.seq - 1;
        let mut view = self.shared.view();
        if view.tail == tail && view.cum == self.builder.cum {
            return;
        }
        match (&mut view.open, &self.builder.open) {
            (Some(seen), Some(now)) if seen.block.first == now.block.first && seen.frames.len() <= now.frames.len() => {
                seen.block.clone_from(&now.block);
                let known = seen.frames.len();
                seen.frames.extend_from_slice(&now.frames[known..]);
            }
            (seen, now) => seen.clone_from(now),
        }
        view.cum = self.builder.cum;
        view.tail = tail;
        drop(view);
        self.shared.tail.send_replace(Seq(tail));
    }

    /// Sees whether the segment that is written is still there, and puts it back.
    fn put_back(&mut self) -> Result<(), String> {
        self.keep_folder()?;
        let dir = &self.shared.dir;
        let Some(active) = &mut self.active else { return Ok(()) };
        let stands = active.stands().map_err(|e| fault("look at", &active.path, &e).to_string())?;
        if stands {
            return Ok(());
        }
        active.put_back(dir).map_err(|e| fault("put back", &active.path, &e).to_string())?;
        tracing::error!("`{}` was deleted while it was written, and is there again", active.path.display());
        self.shared.forget(active.lsn);
        Ok(())
    }

    /// Sees whether the journal's folder is still the one that is claimed. To be called before anything is made in it:
    /// somebody may have cleared the data folder, and another process have begun there.
    fn keep_folder(&mut self) -> Result<(), String> {
        let dir = &self.shared.dir;
        // A data folder that is gone is not made again: what else was in it is lost.
        if !dir.is_dir() {
            return Err(format!("the data folder `{}` is gone", dir.display()));
        }
        let told = |error: Error| error.to_string();
        super::files::make_dir(&journal::folder(dir)).map_err(told)?;
        if self.lock.stands(dir).map_err(told)? {
            return Ok(());
        }
        let is_ours = self.active.as_ref().is_some_and(|active| active.stands().unwrap_or(false));
        if !is_ours && !journal::list(dir, "log").map_err(told)?.is_empty() {
            return Err(format!("another journal was begun in `{}`: it is left to its daemon", dir.display()));
        }
        self.lock.renew(dir).map_err(told)
    }

    fn refuse(&mut self, why: String) {
        self.trials.failed(Instant::now());
        self.tell(why);
    }

    fn tell(&self, why: String) {
        tracing::error!("the store refuses writes: {why}");
        self.shared.health.send_replace(Health::Refusing(why));
    }

    /// The journal could not be written: nobody of this group is told that it was, and nothing of it happened.
    fn fail(&mut self, why: String) {
        // After a failed sync nobody knows which of its pages the file has; the next segment supersedes it.
        self.schedule.closed.extend(self.active.take().map(|active| active.lsn));
        self.gone.clear();
        self.begins = None;
        let lazy = u64::try_from(self.unsynced.frames.len()).unwrap_or(0);
        self.group.lsn = self.durable + lazy + 1;
        if let Some(first) = self.group.run.frames.first() {
            self.group.seq = first.seq;
        }
        self.refuse(why.clone());
        self.answer(&Err(Error::Refusing(why)));
    }

    /// The map could not be written. The journal has everything, and the map is made again from it.
    fn fail_map(&mut self, error: &Error) {
        self.map_failed = true;
        let why = error.to_string();
        self.refuse(why.clone());
        // Not `Refusing`, which says that nothing was changed.
        self.answer(&Err(Error::Other(format!("the change is kept, and cannot be seen yet: {why}"))));
    }

    /// Tries whether writing is possible again: a new segment, really written and synced.
    fn probe(&mut self) {
        let tried = self.room.look(&self.shared.dir, 0).and_then(|()| {
            self.put_back()?;
            if self.map_failed {
                self.reload()?;
            }
            if self.active.is_none() {
                self.begin_again()?;
            }
            self.sync(self.group.lsn - 1).inspect_err(|_| self.active = None)
        });
        match tried {
            Ok(()) => {
                self.trials.succeeded(Instant::now());
                tracing::info!("the store accepts writes again");
                self.shared.health.send_replace(Health::Writable);
                if let Err(error) = self.name() {
                    tracing::warn!("{error}");
                }
            }
            Err(why) => {
                let told = matches!(&*self.shared.health.borrow(), Health::Refusing(before) if *before == why);
                if !told {
                    self.tell(why);
                }
                self.trials.in_vain(Instant::now());
            }
        }
    }

    /// Goes on in a new segment; what lazy transactions left goes there.
    fn begin_again(&mut self) -> Result<(), String> {
        self.new_segment(self.durable + 1, self.group.seq)?;
        let Some(active) = &mut self.active else { return Ok(()) };
        let written = active.prove().and_then(|()| active.write(&self.unsynced));
        let written = written.map_err(|e| fault("write", &active.path, &e).to_string());
        written.map(drop).inspect_err(|_| self.active = None)
    }

    /// Makes the map again from the journal.
    fn reload(&mut self) -> Result<(), String> {
        self.active = None;
        let opened = open::again(&self.shared.dir, &self.shared.options, self.durable).map_err(|e| e.to_string())?;
        let Opened { map, view, builder, active, lsn, seq, lost_its_end, .. } = opened;
        self.nameless |= lost_its_end;
        self.map = Arc::new(map);
        let old = std::mem::replace(&mut *write(&self.shared.map), Arc::clone(&self.map));
        // Its files are unlinked already. It goes with its last reader.
        old.tree().discard();
        self.builder = builder;
        (self.group.lsn, self.group.seq, self.durable) = (lsn, seq, lsn - 1);
        self.finished.clear();
        self.unsynced.clear();
        self.lazy_since = None;
        // What was not synced is not there any more, and nobody waits for it.
        self.shared.lazy.store(0, Ordering::Release);
        self.active = active.ok();
        *self.shared.view() = view;
        self.shared.tail.send_replace(Seq(seq - 1));
        self.map_failed = false;
        Ok(())
    }

    /// Drops one step of old events.
    fn trim(&mut self, retention: Retention) -> Result<(Seq, bool), Error> {
        if let Some(refused) = self.shared.refuses() {
            return Err(refused);
        }
        if self.shared.pins.load(Ordering::SeqCst) > 0 {
            // A backup reads what would be dropped.
            return Ok((Seq(self.shared.view().first), false));
        }
        let plan = retention::plan(&self.shared, &self.map, retention)?;
        if plan.first > self.shared.view().first {
            let mut txn = Txn::begin(&mut self.group, &self.map);
            txn.put(OWN, own::FIRST, own::first_bytes(plan.first, plan.cum));
            txn.end(true, self.durable)?;
            (self.gone, self.begins) = (plan.gone, Some((plan.first, plan.cum)));
            self.commit();
            if let Some(refused) = self.shared.refuses() {
                return Err(refused);
            }
        }
        self.schedule.collect = true;
        Ok((Seq(plan.first), plan.more))
    }

    /// Gives the checkpointing thread what is due.
    fn schedule(&mut self) {
        // What is committed is not durable yet, or the last block of a segment that a failed write closed waits for the next
        // commit: an index would be written without it. Soon.
        if self.lazy_since.is_some() || !self.finished.is_empty() {
            return;
        }
        if let Err(error) = self.schedule_tasks() {
            self.fail_map(&error);
        }
    }

    fn schedule_tasks(&mut self) -> Result<(), Error> {
        let (lsn, seq) = (self.group.lsn - 1, self.group.seq);
        // A thread that has gone has panicked; then starts take longer, and nothing else.
        let send = |task| drop(self.checkpointer.send(task));
        if self.map.is_due() {
            send(Task::Flush);
        }
        let schedule = &mut self.schedule;
        if lsn > 0 && std::mem::take(&mut schedule.unmarked) {
            send(Task::Mark(lsn, seq));
        }
        let closed = std::mem::take(&mut schedule.closed);
        schedule.collect |= !closed.is_empty();
        if std::mem::take(&mut schedule.collect) && self.shared.pins.load(Ordering::SeqCst) == 0 {
            let mut view = self.shared.view();
            let (segments, uncovered) = retention::droppable(&view, schedule.snapshot);
            let worth = (uncovered * self.shared.options.segment_bytes) >= schedule.snapshot_bytes.max(REMOVE_BYTES);
            schedule.snapshot_due |= uncovered > 0 && worth;
            for segment in &segments {
                view.segments.remove(segment);
            }
            if !segments.is_empty() {
                send(Task::Remove { segments, snapshots_before: schedule.snapshot });
            }
        }
        let task = schedule.due(lsn).map(|task| task(lsn, seq));
        if task.is_some() || !closed.is_empty() {
            // IMPORTANT: before the task. It is about what sled has.
            self.map.flush(self.durable)?;
        }
        closed.into_iter().map(Task::Index).chain(task).for_each(send);
        Ok(())
    }

    fn snapshot_done(&mut self, done: Option<(u64, u64)>) {
        self.schedule.snapshotting = false;
        if let Some((lsn, bytes)) = done {
            (self.schedule.snapshot, self.schedule.snapshot_bytes) = (lsn, bytes);
            self.schedule.collect = true;
            drop(self.checkpointer.send(Task::Remove { segments: Vec::new(), snapshots_before: lsn }));
        }
    }

    /// Everything is synced, flushed and marked as a clean stop.
    fn close(&mut self) -> Result<(), Error> {
        self.shared.closing.store(true, Ordering::Release);
        // IMPORTANT: the checkpointing thread ends first, and leaves its files to us.
        let (hand_over, checkpoint) = mpsc::sync_channel(1);
        let asked = self.checkpointer.send(Task::Stop(hand_over)).is_ok();
        let Some(mut checkpoint) = checkpoint.recv().ok().filter(|_| asked) else {
            // It has panicked: without a mark the next start verifies everything.
            return Ok(());
        };
        self.map.tree().discard();
        if self.refusing() {
            return Ok(());
        }
        self.put_back().map_err(Error::Other)?;
        if self.lazy_since.is_some() {
            self.sync(self.group.lsn - 1).map_err(Error::Other)?;
        }
        let (lsn, seq) = (self.group.lsn - 1, self.group.seq);
        if lsn == 0 {
            return Ok(());
        }
        self.map.flush(self.durable)?;
        self.map.tree().sync()?;
        if let Some(active) = &self.active {
            active.shrink();
        }
        checkpoint.write(Checkpoint { lsn, seq, clean: true })
    }
}

/// What the writer takes over from the open.
pub(super) struct OpenedWriter {
    pub(super) builder: Builder,
    pub(super) active: Option<Active>,
    pub(super) lsn: u64,
    pub(super) seq: u64,
    pub(super) schedule: Schedule,
    /// The log is not the one that it was.
    pub(super) renamed: bool,
    /// The map is in memory, and to be made again where it belongs.
    pub(super) no_map: bool,
    pub(super) lock: FolderLock,
}
