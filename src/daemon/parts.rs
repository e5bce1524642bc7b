//! The parts of the daemon, built once: each is handed what it uses. The doors hold this; no part does.

use crate::config::Config;
use crate::daemon::accounts::{Accounts, forget::Forget, presence::Presence, watch::Watch};
use crate::daemon::forwards::{Forwards, targets::Targets};
use crate::daemon::learner::{Learner, lessons::Lessons};
use crate::daemon::log::{Log, follow::Following};
use crate::daemon::queue::asks::{Askers, Asks};
use crate::daemon::queue::{
    CommandQueue, Settings, awaited::Awaited, changes::Changes, clock_steps::Clock, feed::Feed, handover::Handovers,
    held::Reasons, takeup, wait::Waits,
};
use crate::daemon::status::{Listen, Overview};
use crate::daemon::{
    budget::Budget, cursors::Cursors, janitor::Janitor, learned::CatchUp, metrics::Metrics, shutdown::Shutdown, slow,
};
use crate::home::Home;
use crate::store::Store;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// All bodies of requests under way together, bytes (contract 6).
const BODIES_BYTES_MAX: usize = 256 << 20;
/// The client door's port, where it has none of its own.
const PORT: u16 = 4567;

/// The parts; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Store,
    pub(crate) shutdown: Shutdown,
    /// Bodies of requests under way, at both doors.
    pub(crate) bodies: Budget,
    pub(crate) clock: Arc<Clock>,
    pub(crate) learned: Arc<CatchUp>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) forget: Arc<Forget>,
    pub(crate) log: Arc<Log>,
    pub(crate) following: Arc<Following>,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) handovers: Arc<Handovers>,
    pub(crate) queue: Arc<CommandQueue>,
    pub(crate) asks: Arc<Asks>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) forwards: Arc<Forwards>,
    pub(crate) lessons: Arc<Lessons>,
    pub(crate) learner: Arc<Learner>,
    pub(crate) status: Arc<Overview>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Parts {
    /// The parts over an open store. `listen` is what the doors will listen on.
    pub(crate) fn new(home: Home, config: Config, store: Store, listen: Listen, shutdown: Shutdown) -> Self {
        let clock = Arc::new(Clock::new(store.clone()));
        let changes = Arc::new(Changes::default());
        let learned = Arc::new(CatchUp::new(store.clone()));
        let accounts = Arc::new(Accounts::new(store.clone(), Arc::clone(&learned), config.accounts.clone()));
        let presence = Arc::new(Presence::new(store.clone(), Arc::clone(&accounts)));
        let handovers = Arc::new(Handovers::new(store.clone(), Arc::clone(&clock), Arc::clone(&changes)));
        let following =
            Arc::new(Following::new(store.clone(), Arc::clone(&learned), home.data_dir.clone(), shutdown.clone()));
        let awaited = Awaited::default();
        let reasons = Arc::new(Reasons {
            store: store.clone(),
            accounts: Arc::clone(&accounts),
            handovers: Arc::clone(&handovers),
            pacing: config.pacing.clone(),
            port: listen.http.first().map_or(PORT, SocketAddr::port),
        });
        let queue = Arc::new(CommandQueue {
            store: store.clone(),
            clock: Arc::clone(&clock),
            accounts: Arc::clone(&accounts),
            learned: Arc::clone(&learned),
            handovers: Arc::clone(&handovers),
            changes: Arc::clone(&changes),
            reasons: Arc::clone(&reasons),
            settings: Settings {
                queue: config.queue.clone(),
                pacing: config.pacing.clone(),
                files: config.files.clone(),
            },
            shutdown: shutdown.clone(),
            polls: AtomicU64::new(0),
            handed: AtomicU64::new(0),
        });
        let log = Arc::new(Log::new(
            store.clone(),
            Arc::clone(&clock),
            Arc::clone(&accounts),
            Arc::clone(&changes),
            config.pacing.clone(),
        ));
        let targets =
            Arc::new(Targets::new(store.clone(), Arc::clone(&clock), Arc::clone(&accounts), Arc::clone(&learned)));
        let lane = Arc::new(slow::Lane::default());
        let lessons = Arc::new(Lessons {
            store: store.clone(),
            clock: Arc::clone(&clock),
            learned: Arc::clone(&learned),
            lane: Arc::clone(&lane),
        });
        let status = Arc::new(Overview {
            home,
            listen,
            started: Instant::now(),
            store: store.clone(),
            clock: Arc::clone(&clock),
            accounts: Arc::clone(&accounts),
            reasons,
            handovers: Arc::clone(&handovers),
            targets: Arc::clone(&targets),
            log: Arc::clone(&log),
            following: Arc::clone(&following),
            write_timeout: config.http.write_timeout,
        });
        let forwards = Arc::new(Forwards { targets, queue: Arc::clone(&queue), shutdown: shutdown.clone() });
        Self {
            bodies: Budget::new(BODIES_BYTES_MAX),
            forget: Arc::new(Forget { queue: Arc::clone(&queue), presence: Arc::clone(&presence) }),
            cursors: Arc::new(Cursors::new(store.clone(), Arc::clone(&clock))),
            asks: Arc::new(Asks {
                queue: Arc::clone(&queue),
                following: Arc::clone(&following),
                askers: Askers::default(),
            }),
            waits: Arc::new(Waits {
                queue: Arc::clone(&queue),
                following: Arc::clone(&following),
                learned: Arc::clone(&learned),
                awaited: awaited.clone(),
            }),
            feed: Arc::new(Feed { queue: Arc::clone(&queue), following: Arc::clone(&following) }),
            learner: Arc::new(Learner {
                store: store.clone(),
                clock: Arc::clone(&clock),
                accounts: Arc::clone(&accounts),
                learned: Arc::clone(&learned),
                lessons: Arc::clone(&lessons),
                following: Arc::clone(&following),
                changes: Arc::clone(&changes),
                awaited,
                lane,
                shutdown: shutdown.clone(),
            }),
            metrics: Arc::new(Metrics {
                store: store.clone(),
                log: Arc::clone(&log),
                queue: Arc::clone(&queue),
                following: Arc::clone(&following),
                targets: Arc::clone(&forwards.targets),
                status: Arc::clone(&status),
            }),
            config: Arc::new(config),
            store,
            shutdown,
            clock,
            learned,
            accounts,
            presence,
            log,
            following,
            changes,
            handovers,
            forwards,
            queue,
            lessons,
            status,
        }
    }

    /// After a start, before the doors open: what is known comes back, and what was in flight when the daemon before ended
    /// is let go, or said (`redeliver`).
    pub(crate) async fn start(&self) {
        // Before the doors open: a command must not be bound by half of what is known.
        self.accounts.load();
        self.presence.restore();
        if let Err(error) = self.log.restore() {
            tracing::warn!("cannot see which events came shortly before the start: {error}");
        }
        if let Err(error) = self.clock.restore() {
            tracing::error!("cannot see whether the clock was set: {error}");
        }
        takeup::run(&self.queue, &self.asks.askers, self.config.queue.redeliver).await;
    }

    /// What tells of clients that stop polling.
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            accounts: Arc::clone(&self.accounts),
            learned: Arc::clone(&self.learned),
            log: Arc::clone(&self.log),
            shutdown: self.shutdown.clone(),
        }
    }

    /// What happens by time.
    pub(crate) fn janitor(&self) -> Janitor {
        Janitor {
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            changes: Arc::clone(&self.changes),
            accounts: Arc::clone(&self.accounts),
            presence: Arc::clone(&self.presence),
            cursors: Arc::clone(&self.cursors),
            targets: Arc::clone(&self.forwards.targets),
            learned: Arc::clone(&self.learned),
            events: self.config.events.clone(),
            queue: self.config.queue.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}
