//! The daemon: two doors in front of its parts, over one store.
//!
//! Start: the lock → the store → what was in flight → the doors. Stop, the other way round: listeners stop → polls and
//! followers return → connections join → hand-overs are recorded → the store thread drains, syncs, ends → socket and
//! lock go. The store is opened first and closed last.

pub mod alloc;
pub mod args;
pub mod instance;
pub mod private;
pub mod salvage;
pub mod shutdown;
pub mod signals;

mod accounts;
mod ages;
mod blocking;
mod budget;
mod cursors;
mod doors;
mod forwards;
mod in_force;
mod janitor;
mod kept;
mod learned;
mod learner;
mod log;
mod metrics;
mod parts;
mod queue;
mod seldom;
mod slow;
mod status;

pub use log::line;

pub use doors::token::FILES as TOKEN_FILES;

use crate::config::{Config, origin::Setting};
use crate::home::{self, Home, Wishes};
use crate::store::{self, Store};
use args::Args;
use doors::limits::{self, Limits};
use doors::tls::Tls;
use doors::token::Tokens;
use doors::{client, control, serve};
use parts::Parts;
use signals::Asked;
use status::Listen;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A stop waits so long for connections (which end earlier, `doors::limits::STOP_PATIENCE`), and for hand-overs that are to be
/// recorded: the rest of what a stop may take in all is the store's.
const STOP_PATIENCE: Duration = Duration::from_millis(6500);
/// How often it is seen whether the lock is still where others look for it.
const MIND_LOCK: Duration = Duration::from_secs(5);
/// Worker threads of the runtime: the doors do little but wait for the store's thread.
const WORKERS_MAX: usize = 4;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No home folder, or a socket path too long.
    #[error(transparent)]
    Home(#[from] home::Error),
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    /// The lock or a socket cannot be had.
    #[error(transparent)]
    Instance(#[from] instance::Error),
    /// The store cannot be opened, or did not close well.
    #[error("{act} the store in `{dir}`: {source}")]
    Store {
        /// `open` or `close`.
        act: &'static str,
        /// The data folder.
        dir: PathBuf,
        /// Why.
        source: store::Error,
    },
    /// A certificate, a token or an account of the settings cannot be used.
    #[error("{0}")]
    Secret(String),
    /// The runtime or a signal handler cannot be had.
    #[error("start the runtime: {0}")]
    Runtime(std::io::Error),
}

/// Where the daemon lives and what its settings say: flags win over the environment, that over the file.
///
/// # Errors
/// When the user has no home folder, or the settings cannot be used.
pub fn settle(args: &Args) -> Result<(Home, Config), Error> {
    let flags = Wishes { config: args.config.clone(), data_dir: args.data_dir.clone(), socket: args.socket.clone() };
    let path = match home::config_path(&flags) {
        Ok(path) => Some(path),
        // Without a home folder there is no settings file; a named data folder is enough to live in.
        Err(_) if flags.data_dir.is_some() => None,
        Err(error) => return Err(error.into()),
    };
    let mut config = match &path {
        Some(path) => Config::load(path, args.config.is_some())?,
        None => Config::default(),
    };
    let wishes = flags.or(Wishes { config: None, data_dir: config.data_dir.clone(), socket: config.socket.clone() });
    let listen: Vec<String> =
        args.listen.iter().map(|address| address.trim().to_owned()).filter(|address| !address.is_empty()).collect();
    if !listen.is_empty() {
        config.http.listen = listen;
    }
    Ok((Home::resolve(&wishes)?, config))
}

/// Checks what can be checked without starting (`--check`).
///
/// # Errors
/// What a start would fail with.
pub fn check(args: &Args) -> Result<(), Error> {
    let (_, config) = settle(args)?;
    let addresses = instance::addresses(&config.http.listen)?;
    instance::check_exposure(&config.http, &addresses, args.insecure)?;
    load_tls(&config)?;
    accounts::table::check(&config.accounts).map_err(Error::Secret)
}

fn load_tls(config: &Config) -> Result<Option<Arc<Tls>>, Error> {
    match (&config.http.tls_cert, &config.http.tls_key) {
        (Some(cert), Some(key)) => Ok(Some(Arc::new(Tls::load(cert, key).map_err(Error::Secret)?))),
        _ => Ok(None),
    }
}

/// How the settings shape the store.
fn store_options(config: &Config, runtime: &tokio::runtime::Handle) -> store::Options {
    // Retention gives space back segment by segment: with little to keep, segments must be small.
    let for_keeping = config.events.max_bytes.map_or(u64::MAX, |max| (max / 8).max(1 << 20));
    store::Options {
        cache_bytes: config.store.cache,
        segment_bytes: config.store.segment.min(for_keeping),
        free_bytes_min: config.store.min_free,
        runtime: Some(runtime.clone()),
        ..store::Options::default()
    }
}

/// Runs the daemon until it is asked to stop. `activated` are the sockets that systemd handed over.
///
/// # Errors
/// When it cannot start, or the store did not close well.
pub fn run(args: &Args, mut activated: instance::Activated, asked: &Asked) -> Result<(), Error> {
    let (mut home, config) = settle(args)?;
    if let Some(socket) = activated.socket() {
        home.socket = socket;
    }
    let addresses = match activated.addresses() {
        Some(addresses) => addresses,
        None => instance::addresses(&config.http.listen)?,
    };
    instance::check_exposure(&config.http, &addresses, args.insecure)?;
    let activation = (activated.addresses(), activated.socket().is_some());
    let settings = in_force::settings(args, &home, &config, (activation.0.as_deref(), activation.1)).into();
    let tls = load_tls(&config)?;
    limits::raise_handles();
    let lock = instance::lock(&home.data_dir)?;
    let tokens = Tokens::open(&home.data_dir)
        .map_err(|e| Error::Secret(format!("the token `{}` {e}", home.data_dir.join("token").display())))?;
    let store_error = |act, source| Error::Store { act, dir: home.data_dir.clone(), source };
    let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, WORKERS_MAX);
    let runtime = runtime(workers).map_err(Error::Runtime)?;
    let options = store_options(&config, runtime.handle());
    let store = Store::open(&home.data_dir, options).map_err(|e| store_error("open", e))?;
    let died = store.died();
    let ended = runtime.block_on(async {
        if asked.shutdown.is_triggered() {
            return Ok(());
        }
        let http = instance::bind_http(&mut activated, &addresses)?;
        let control = instance::bind_control(&mut activated, &home, &lock)?;
        let socket = control.socket.as_ref().unwrap_or(&home.socket).clone();
        let home = Home { socket, ..home.clone() };
        let doors = Open { http, control, tls, tokens: Arc::new(tokens), settings };
        live(args, &home, config, store.clone(), doors, asked, &lock).await;
        Ok::<_, Error>(())
    });
    // What still runs on blocking threads (a forward that waits for its target) is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    let closed = store.close();
    // sled, when it is dropped, syncs once more, and panics where that fails. All that matters is stored; the process ends.
    std::mem::forget(store);
    drop(lock);
    ended?;
    let dead = died.borrow().clone();
    match (dead, closed) {
        // Somebody who watches over the daemon is to start it again.
        (Some(why), _) => Err(store_error("go on with", store::Error::Other(why))),
        // It was asked to stop, and has: the next start verifies what this one could not mark as whole.
        (None, Err(error)) if asked.shutdown.is_triggered() => {
            tracing::error!("the store did not close well: {error}");
            Ok(())
        }
        (None, closed) => closed.map_err(|e| store_error("close", e)),
    }
}

/// The runtime of the doors. tokio panics where it gets no thread.
fn runtime(workers: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    std::panic::catch_unwind(build).unwrap_or_else(|_| Err(std::io::Error::other("no more threads can be started")))
}

/// What is open before the daemon serves.
struct Open {
    http: Vec<tokio::net::TcpListener>,
    control: instance::Control,
    tls: Option<Arc<Tls>>,
    tokens: Arc<Tokens>,
    /// What the control door tells of the settings.
    settings: Arc<[Setting]>,
}

async fn live(
    args: &Args,
    home: &Home,
    config: Config,
    store: Store,
    mut open: Open,
    asked: &Asked,
    lock: &instance::Lock,
) {
    let (shutdown, health) = (asked.shutdown.clone(), store.health());
    let (client_limits, control_limits) = Limits::of_doors(&config.http);
    let doors = client::Doors::new(
        Arc::clone(&open.tokens),
        Arc::clone(&client_limits),
        Arc::clone(&control_limits),
        &config.http,
    );
    let addresses: Vec<_> = open.http.iter().filter_map(|l| l.local_addr().ok()).collect();
    let read_config = home.config.exists().then(|| home.config.clone());
    let listen = Listen { http: addresses.clone(), tls: open.tls.is_some(), config: read_config };
    let parts = Parts::new(home.clone(), config, store, listen, shutdown.clone());
    parts.start().await;

    let recorder = tokio::spawn(Arc::clone(&parts.handovers).run());
    let learner = tokio::spawn(Arc::clone(&parts.learner).run());
    tokio::spawn(Arc::clone(&parts.asks).resume());
    let janitor = tokio::spawn(parts.janitor().run());
    let watch = tokio::spawn(parts.watch().run());
    let forwards = tokio::spawn(Arc::clone(&parts.forwards).run());
    let client_door = tokio::spawn(serve::tcp(
        std::mem::take(&mut open.http),
        open.tls.clone(),
        client::routes(parts.clone(), doors.clone()),
        client_limits,
        shutdown.clone(),
    ));
    let control_door = open.control.listener.take().map(|listener| {
        let routes = control::routes(parts.clone(), doors, Arc::clone(&open.settings));
        tokio::spawn(serve::unix(listener, routes, control_limits, shutdown.clone()))
    });
    for address in &addresses {
        tracing::info!(version = crate::VERSION, socket = %home.socket.display(), "listening on {address}");
    }
    notify(&[sd_notify::NotifyState::Ready]);

    watch_over(args, home, &parts, &mut open, asked, lock, health).await;
    tracing::info!("stopping");
    let until = tokio::time::Instant::now() + STOP_PATIENCE;
    notify(&[sd_notify::NotifyState::Stopping]);
    shutdown.trigger();
    for door in [Some(client_door), control_door].into_iter().flatten() {
        if let Ok(Err(_)) = tokio::time::timeout_at(until, door).await {
            tracing::error!("a door ended badly");
        }
    }
    // What is not recorded by then is found in flight at the next start.
    drop(tokio::time::timeout_at(until, parts.handovers.recorded()).await);
    recorder.abort();
    for task in [learner, janitor, watch, forwards] {
        // Each ends by itself at shutdown; one that panicked has ended too.
        drop(tokio::time::timeout_at(until, task).await);
    }
}

/// Looks after the lock, the socket and the settings until the daemon is to stop, or its store has ended.
async fn watch_over(
    args: &Args,
    home: &Home,
    parts: &Parts,
    open: &mut Open,
    asked: &Asked,
    lock: &instance::Lock,
    mut health: watch::Receiver<store::Health>,
) {
    let mut died = parts.store.died();
    let mut mind_lock = tokio::time::Instant::now() + MIND_LOCK;
    loop {
        tokio::select! {
            () = asked.shutdown.wait() => break,
            () = asked.reload.notified() => reload(args, &parts.config, open),
            _ = died.wait_for(Option::is_some) => break,
            // What could not be written at the start may be written by now. And where the map was made again, all of it
            // went through memory.
            Ok(()) = health.changed() => drop(tokio::task::spawn_blocking(alloc::give_back_freed)),
            () = tokio::time::sleep_until(mind_lock) => {}
        }
        lock.mind();
        open.control.mind(home);
        mind_lock = tokio::time::Instant::now() + MIND_LOCK;
    }
}

/// Tells systemd, when it listens.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("cannot notify systemd: {error}");
    }
}

/// SIGHUP: reads again what can be read again, and says what cannot.
fn reload(args: &Args, in_force: &Config, open: &Open) {
    match open.tokens.reload() {
        Ok(()) => tracing::info!("read the token again"),
        Err(error) => tracing::error!("the old token stays, since its file {error}"),
    }
    if let Some(tls) = &open.tls {
        match tls.reload() {
            Ok(()) => tracing::info!("read the certificate again"),
            Err(error) => tracing::error!("the old certificate stays: {error}"),
        }
    }
    match settle(args) {
        Ok((_, config)) if config == *in_force => {}
        Ok(_) => tracing::warn!("the settings have changed; restart wehelpd to use them"),
        Err(error) => tracing::error!("the settings on disk are not usable, those in force stay: {error}"),
    }
}
