//! The world that the hands act in: accounts, places, who they are, and the table of what they do.

use crate::door::{self, Manner, Visit};
use crate::faults::Faults;
use crate::fixture::{Run, WEHELP, clean, run};
use crate::record::{Check, Ending, Fact, Naming, Outcome, Recorder, Span};
use crate::{pc, reader, script};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_rustls::rustls::ClientConfig;

/// How long one request at the control door may take; far above what it needs on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Who a hand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A PC with a WeChat process, into which one of two accounts is logged in, or none.
    Pc,
    /// A client that polls under any name and reports messages.
    Client,
    /// A script that queues, cancels, retries, pauses.
    Script,
    /// A reader of the log.
    Reader,
}

/// Something that hands of a role do now and then. A new one is added to [`ACTIONS`], and nowhere else.
pub(crate) struct Action {
    pub(crate) role: Role,
    pub(crate) name: &'static str,
    /// How often, against the others of its role.
    pub(crate) weight: u32,
    pub(crate) act: fn(&mut Hand<'_>),
}

const fn action(role: Role, name: &'static str, weight: u32, act: fn(&mut Hand<'_>)) -> Action {
    Action { role, name, weight, act }
}

/// Everything that hands do. What only one may do at a time (kills, faults, the clock) is in `operator`.
pub(crate) const ACTIONS: &[Action] = &[
    action(Role::Pc, "log in", 4, pc::log_in),
    action(Role::Pc, "switch to the other account", 2, pc::switch),
    action(Role::Pc, "log out", 2, pc::log_out),
    action(Role::Pc, "poll as itself", 16, pc::poll_as_itself),
    action(Role::Pc, "poll by its process alone", 8, pc::poll_by_pid),
    action(Role::Pc, "poll under the name it had", 4, pc::poll_as_before),
    action(Role::Pc, "report a message", 6, pc::report),
    action(Role::Client, "poll for a steady account", 12, pc::poll_for_steady),
    action(Role::Client, "poll under any name", 8, pc::poll_under_any_name),
    action(Role::Client, "report a message", 12, pc::report_for_steady),
    action(Role::Client, "report rubbish", 1, pc::report_rubbish),
    action(Role::Client, "hold a connection and say nothing", 1, pc::idle),
    action(Role::Script, "queue at the control door", 20, script::queue),
    action(Role::Script, "queue with a key, twice", 8, script::queue_with_key),
    action(Role::Script, "queue with wehelp", 2, script::queue_with_cli),
    action(Role::Script, "queue for later", 3, script::queue_for_later),
    action(Role::Script, "queue what expires", 2, script::queue_expiring),
    action(Role::Script, "ask for a login code", 2, script::ask_for_login_code),
    action(Role::Script, "cancel", 4, script::cancel),
    action(Role::Script, "retry", 3, script::retry),
    action(Role::Script, "pause and resume", 1, script::pause),
    action(Role::Script, "vanish while queueing", 3, script::vanish),
    action(Role::Script, "back up", 1, script::back_up),
    action(Role::Script, "look around", 2, script::look_around),
    action(Role::Reader, "go on after the last one", 6, reader::go_on),
    action(Role::Reader, "read with a cursor", 4, reader::with_cursor),
    action(Role::Reader, "run a program for each", 2, reader::with_exec),
    action(Role::Reader, "read and move a cursor", 2, reader::move_cursor),
];

/// So many processes of WeChat.
pub(crate) const PCS: usize = 3;
/// Accounts that stay logged in, with their processes; the first has an alias, the second a nick.
pub(crate) const STEADY: [(&str, u64); 2] = [("wxid_steady0", 8000), ("wxid_steady1", 8001)];
/// The alias of the first.
pub(crate) const ALIAS: &str = "first";
/// The nick of the second.
pub(crate) const NICK: &str = "Second";

/// What all hands share.
pub(crate) struct World {
    pub(crate) recorder: Recorder,
    pub(crate) stop: AtomicBool,
    pub(crate) folder: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) addr: Mutex<SocketAddr>,
    /// Set in rounds over TLS.
    pub(crate) tls: Mutex<Option<Arc<ClientConfig>>>,
    pub(crate) faults: Option<Faults>,
    /// Ids of commands that were queued a short time ago, for whoever cancels or retries: with a key, or none.
    pub(crate) recent: Mutex<Vec<(u64, bool)>>,
    /// Raised before the daemon goes down and after it came up: an error in between is no wonder.
    pub(crate) downs: AtomicU64,
    /// File calls fail now.
    pub(crate) faulty: AtomicBool,
}

/// No panic leaves what these locks guard half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A number that tells whether the daemon went down, or came up, or calls failed, since it was asked for last.
    pub(crate) fn weather(&self) -> (u64, bool) {
        (self.downs.load(Ordering::SeqCst), self.faulty.load(Ordering::SeqCst))
    }

    /// Whether nothing but the daemon can be blamed for what happened since.
    pub(crate) fn was_fair(&self, since: (u64, bool)) -> bool {
        let (downs, faulty) = self.weather();
        downs == since.0 && downs % 2 == 0 && !faulty && !since.1
    }

    /// One request at the control door: status and body, if it was answered.
    pub(crate) fn control(&self, method: &str, path: &str, body: &[u8]) -> Option<crate::client::Response> {
        let stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let mut wire = crate::client::Wire::new(stream);
        let headers = [("Content-Type", "application/json")];
        wire.stream.write_all(&crate::client::request(method, path, &headers, body)).ok()?;
        wire.receive().ok()
    }

    /// `wehelp`, not yet started.
    pub(crate) fn wehelp(&self, args: &[&str]) -> Command {
        let mut command = clean(WEHELP, &self.folder.join("home"));
        command.env("WEHELP_SOCKET", &self.socket).args(args).current_dir(&self.folder);
        command
    }

    pub(crate) fn cli(&self, args: &[&str]) -> Run {
        run(self.wehelp(args), None, PATIENCE * 2)
    }
}

/// One of those who act.
pub(crate) struct Hand<'a> {
    pub(crate) world: &'a World,
    pub(crate) number: usize,
    pub(crate) role: Role,
    pub(crate) rng: fastrand::Rng,
    /// What it does now, for whoever reads what went wrong.
    doing: &'static str,
    /// Marks and texts are numbered.
    next: u64,
    /// Of a PC: its process, its accounts, and which of them is logged in.
    pub(crate) pid: u64,
    pub(crate) accounts: [String; 2],
    pub(crate) logged_in: Option<usize>,
    pub(crate) was_in: usize,
    /// Of a reader: how far it has read, if it has begun.
    pub(crate) after: Option<u64>,
    /// Its cursors, and whether their last run may not have remembered what it printed.
    pub(crate) unsure: HashMap<String, bool>,
}

impl<'a> Hand<'a> {
    pub(crate) fn new(world: &'a World, role: Role, number: usize, seed: u64) -> Self {
        // Each hand's choices follow from the seed alone, however the threads run.
        let rng = fastrand::Rng::with_seed(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let accounts = [0, 1].map(|n| format!("wxid_pc{number}_{n}"));
        let pid = 7000 + number as u64;
        Self {
            world,
            number,
            role,
            rng,
            doing: "",
            next: 0,
            pid,
            accounts,
            logged_in: None,
            was_in: 0,
            after: None,
            unsure: HashMap::new(),
        }
    }

    /// Acts until the round is over.
    pub(crate) fn work(&mut self) {
        let mine: Vec<&Action> = ACTIONS.iter().filter(|action| action.role == self.role).collect();
        let sum: u32 = mine.iter().map(|action| action.weight).sum();
        while !self.world.is_over() {
            let mut at = self.rng.u32(0..sum);
            let chosen = mine.iter().find(|action| {
                let here = at < action.weight;
                at = at.wrapping_sub(action.weight);
                here
            });
            let action = chosen.expect("the weights sum up");
            self.doing = action.name;
            (action.act)(self);
            // Dozens of hands share the machine with the daemon: they take turns.
            std::thread::sleep(Duration::from_millis(self.rng.u64(1..30)));
        }
    }

    /// A name that nothing else in the run has.
    pub(crate) fn fresh(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}{}.{}", self.number, self.next)
    }

    /// Goes to the client door; `None` when nobody is there. What a good client may expect is checked here.
    pub(crate) fn visit(&mut self, request: &[u8], manner: Manner) -> Option<Visit> {
        let weather = self.world.weather();
        let addr = *lock(&self.world.addr);
        let tls = lock(&self.world.tls).clone();
        let visit = door::visit(&self.world.recorder, addr, tls.as_ref(), request, manner).ok()?;
        if manner.is_good() && visit.responses.is_empty() && self.world.was_fair(weather) {
            let error = visit.error.as_deref().unwrap_or("nothing came");
            let what = format!("{}: {} at {} ms, {manner:?}: {error}", self.doing, visit.peer, visit.span.from / 1000);
            let check = if manner.half_close { Check::HalfClosed } else { Check::NoAnswer };
            self.world.recorder.saw(check, what);
        }
        Some(visit)
    }

    /// Reports an event that holds a mark, and tells how that went.
    pub(crate) fn post(&mut self, mut event: Value, manner: Manner) -> (Outcome, Span) {
        let naming = Naming { account: event["cwxid"].as_str().map(str::to_owned), pid: event["processid"].as_u64() };
        let mark = self.fresh("e");
        event["mark"] = mark.as_str().into();
        let body = json!({ "data": event }).to_string();
        let request = door::head("POST", "/recieve_msg", body.as_bytes(), false);
        let manner = Manner { pipelined: 1, ..manner };
        let from = self.world.recorder.now();
        let visit = self.visit(&request, manner);
        let span = self.world.recorder.since(from);
        let response = visit.as_ref().and_then(|visit| visit.responses.first());
        let outcome = match response.map(|response| response.status) {
            Some(200) => Outcome::Answered,
            Some(status) => Outcome::Refused(status),
            None => Outcome::Unknown,
        };
        if let Outcome::Refused(status) = outcome
            && status != 503
        {
            self.world.recorder.saw(Check::BadAnswer, format!("{status} to {mark}"));
        }
        self.world.recorder.add(Fact::Posted { mark, hand: self.number, span, outcome });
        if let Some(visit) = visit {
            // Commands may ride in its answer.
            self.polled(&visit, manner, naming);
        }
        (outcome, span)
    }

    /// Polls under a name.
    pub(crate) fn poll(&mut self, query: &str, naming: Naming, manner: Manner) {
        let path = if query.is_empty() { "/send_msg".to_owned() } else { format!("/send_msg?{query}") };
        let keep = self.rng.bool();
        if let Some(visit) = self.visit(&door::head("GET", &path, b"", keep || manner.pipelined > 1), manner) {
            self.polled(&visit, manner, naming);
        }
    }

    /// Writes down what a visit took in.
    fn polled(&self, visit: &Visit, manner: Manner, naming: Naming) {
        let mut texts = Vec::new();
        for response in &visit.responses {
            match response.status {
                200 => {}
                503 => continue,
                // Its request was cut off, or the door told it to go.
                400 | 408 | 413 => continue,
                other => {
                    self.world.recorder.saw(Check::BadAnswer, format!("{other} to a poll of {naming:?}"));
                    continue;
                }
            }
            match serde_json::from_slice::<Vec<Value>>(&response.body) {
                Ok(commands) => texts.extend(commands.iter().map(|command| text_of(command).to_owned())),
                Err(error) => self.world.recorder.saw(Check::BadAnswer, format!("{error}: {}", response.text())),
            }
        }
        let ending = if visit.responses.is_empty() { Ending::Cut } else { visit.ending };
        let peer = visit.peer.clone();
        self.world.recorder.add(Fact::Polled { peer, naming, span: visit.span, manner, ending, texts });
    }
}

/// What a command is known by: its text, or the mark in a question's further field.
pub(crate) fn text_of(command: &Value) -> &str {
    command["text"].as_str().or_else(|| command["mark"].as_str()).unwrap_or("")
}
