//! Commands → receipts: what every verb does that puts something on the wire (contract 3).
//!
//! Steps: the options are read ([`Enqueuer::new`]) → what is to be said is checked (`protocol::command`), so that wrong usage
//! is found before a daemon is looked for → names are looked up (`names`) → the commands are made → queued → the receipt is
//! printed, or the answer is waited for and printed (`wait`).

use super::ctx::Ctx;
use super::error::Error;
use super::names;
use super::options::Wiring;
use super::render::{self, receipt};
use super::wait;
use crate::clock::{Bare, Time};
use crate::control::client::Lines;
use crate::control::{self, AskQuery, ENQUEUE_MAX, Enqueue, KEY_BYTES_MAX, Receipt, State, client};
use crate::protocol::command::{Api, Command, Wire};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

/// Bytes of commands in one request; far below what the daemon takes, for its JSON is a little longer.
const REQUEST_BYTES: usize = control::REQUEST_BYTES_MAX / 2;

/// What [`Wiring`] means; nothing of it can be wrong any more.
#[derive(Debug)]
pub(super) struct Enqueuer<'a> {
    wiring: &'a Wiring,
    due: Option<Time>,
    account: Option<String>,
    on_client: bool,
    bulk: bool,
    /// Of these accounts (`None`: of none) it was said that nobody may take what is queued for them, or it need not be.
    warned: RefCell<BTreeSet<Option<String>>>,
}

/// What commands of one request have of their own, and not from the options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Special {
    pub(super) account: Option<String>,
    pub(super) delay: Option<Duration>,
    pub(super) due: Option<Time>,
    pub(super) expires: Option<Duration>,
}

/// What is known of commands whose request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The daemon has none of them.
    NotQueued,
    /// It may have all of them.
    Unknown,
    /// It has all of them; receipts are missing.
    Queued,
}

/// The code of a refusal because the queue has no room for all commands of a call.
pub(super) const QUEUE_FULL: &str = "queue-full";

/// A request that did not end with all its receipts.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    pub(super) fate: Fate,
    /// The daemon refused because of what one of the commands is, or because there is no room for all of them: it may
    /// take others.
    pub(super) for_one: bool,
    pub(super) error: Error,
}

impl Unfinished {
    fn untouched(error: Error) -> Self {
        Self { fate: Fate::NotQueued, for_one: false, error }
    }

    /// The error for people. Of what may be queued it never says that it is not, and it says how to see it (contract 3).
    /// `before` commands were queued by earlier requests, this one had `count`.
    fn told(self, before: usize, count: usize, keyed: bool) -> Error {
        let Self { fate, error, .. } = self;
        if error.message.is_empty() {
            return error;
        }
        let see = format!("`wehelp queue list --all` shows {}", if count == 1 { "it" } else { "them" });
        let key =
            if keyed { "; with the same --key the same call prints its receipt and queues nothing twice" } else { "" };
        let these = if count == 1 { "the command".to_owned() } else { format!("the {count} commands") };
        let mut message = match fate {
            Fate::NotQueued => error.message,
            Fate::Unknown => format!("{}; {these} may be queued all the same: {see}{key}", error.message),
            Fate::Queued => format!(
                "{these} {}, but not every receipt came: {}; {see}",
                if count == 1 { "is queued" } else { "are queued" },
                error.message
            ),
        };
        if before > 0 {
            message = format!("after {} were queued: {message}", receipt::count(before, "command"));
        }
        Error { message, ..error }
    }
}

/// Does all of it: what most verbs are. `commands` looks names up and makes the commands.
///
/// # Errors
/// See the contract's exit codes.
pub(super) fn put(
    ctx: &Ctx,
    wiring: &Wiring,
    commands: impl FnOnce() -> Result<Vec<Command>, Error>,
) -> Result<(), Error> {
    let enqueuer = Enqueuer::new(ctx, wiring)?;
    let wires = enqueuer.wires(&commands()?)?;
    enqueuer.put(ctx, &wires)
}

impl<'a> Enqueuer<'a> {
    /// Reads the options.
    ///
    /// # Errors
    /// Wrong usage: a time that is none, a key that is none.
    pub(super) fn new(ctx: &Ctx, wiring: &'a Wiring) -> Result<Self, Error> {
        // Who sends goes on when nobody reads its receipts any more (contract 4); printing is all that a dry run does.
        if !wiring.dry_run {
            ctx.out().outlive_reader();
        }
        let due = wiring.at.as_ref().map(|at| moment_to_come("--at", at)).transpose()?;
        if let Some(key) = &wiring.key {
            check_key("--key", key)?;
        }
        let account = ctx.global().account.clone();
        Ok(Self { wiring, due, account, on_client: false, bulk: wiring.bulk, warned: RefCell::default() })
    }

    /// Paths are those of the PC, whatever they look like.
    pub(super) fn on_client(self, on_client: bool) -> Self {
        Self { on_client, ..self }
    }

    /// Lets everything else go first, unless the user said otherwise.
    pub(super) fn be_bulk(&mut self) {
        self.bulk = !self.wiring.no_bulk;
    }

    /// Binds to this account, when the user named none.
    pub(super) fn bind(&mut self, account: &str) {
        self.account.get_or_insert_with(|| account.to_owned());
    }

    /// How commands go over the wire.
    ///
    /// # Errors
    /// When one is too long.
    pub(super) fn wires(&self, commands: &[Command]) -> Result<Vec<Wire>, Error> {
        commands.iter().map(|command| Ok(command.to_wire(self.wiring.time)?)).collect()
    }

    /// Queues them and prints what is to be printed; with --dry-run only that.
    ///
    /// # Errors
    /// As the daemon says, and when an answer does not come.
    pub(super) fn put(&self, ctx: &Ctx, wires: &[Wire]) -> Result<(), Error> {
        self.put_keyed(ctx, wires, &self.keys(wires.len()))
    }

    /// As [`put`](Self::put), of what belongs together: all of it is queued, or none.
    ///
    /// # Errors
    /// As there, and when it does not fit into one request.
    pub(super) fn put_whole(&self, ctx: &Ctx, wires: &[Wire]) -> Result<(), Error> {
        let fit = request_part(wires);
        if fit < wires.len() {
            return Err(Error::usage(format!(
                "that makes more than {fit} commands, which is what can be queued at once, all or none; give fewer"
            )));
        }
        let parts = |key: &String| (1..=wires.len()).map(|n| format!("{key}/{n}")).collect();
        let keys: Vec<String> = match wires.len() {
            1 => self.keys(1),
            _ => self.wiring.key.as_ref().map(parts).unwrap_or_default(),
        };
        self.put_keyed(ctx, wires, &keys)
    }

    fn put_keyed(&self, ctx: &Ctx, wires: &[Wire], keys: &[String]) -> Result<(), Error> {
        if self.is_dry(ctx, wires)? {
            return Ok(());
        }
        let mut awaited = Vec::new();
        self.enqueue(ctx, wires, keys, |receipt| {
            tell_repeated(ctx, &receipt);
            match self.patience(&receipt.api) {
                Some(patience) => awaited.push((receipt, patience)),
                None => ctx.out().receipt(&receipt)?,
            }
            Ok(())
        })?;
        wait::all(ctx, &awaited, self.wiring.raw)
    }

    /// With --dry-run: prints the wire's JSON, and is done.
    pub(super) fn is_dry(&self, ctx: &Ctx, wires: &[Wire]) -> Result<bool, Error> {
        if self.wiring.dry_run {
            wires.iter().try_for_each(|wire| ctx.out().json_text(wire.as_str()))?;
        }
        Ok(self.wiring.dry_run)
    }

    /// How long an answer to this api is waited for, if at all.
    pub(super) fn patience(&self, api: &str) -> Option<Duration> {
        let asks = Api::find(api).is_some_and(Api::is_question);
        match self.wiring.wait {
            _ if self.wiring.no_wait => None,
            None if asks => Some(wait::PATIENCE),
            told => told,
        }
    }

    /// A key for each of this many commands: the first has the one that was given.
    pub(super) fn keys(&self, count: usize) -> Vec<String> {
        let Some(key) = &self.wiring.key else { return Vec::new() };
        (1..=count).map(|n| if n == 1 { key.clone() } else { format!("{key}/{n}") }).collect()
    }

    /// Queues commands, in as many requests as needed, and gives each receipt on as it comes.
    ///
    /// # Errors
    /// As the daemon says; then those of the requests before are queued, and the message says what is known of the rest.
    pub(super) fn enqueue(
        &self,
        ctx: &Ctx,
        wires: &[Wire],
        keys: &[String],
        mut each: impl FnMut(Receipt) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut from = 0;
        while from < wires.len() {
            let part = request_part(&wires[from..]);
            let keys = if keys.is_empty() { &[] } else { &keys[from..from + part] };
            self.hand_over(ctx, &wires[from..from + part], keys, &Special::default(), &mut each)
                .map_err(|unfinished| unfinished.told(from, part, !keys.is_empty()))?;
            from += part;
        }
        Ok(())
    }

    /// Queues what goes into one request: all of it, or none.
    pub(super) fn hand_over(
        &self,
        ctx: &Ctx,
        wires: &[Wire],
        keys: &[String],
        special: &Special,
        each: &mut impl FnMut(Receipt) -> Result<(), Error>,
    ) -> Result<(), Unfinished> {
        let request = self.request(wires, keys, special).map_err(Unfinished::untouched)?;
        let client = ctx.client().map_err(Unfinished::untouched)?;
        let reply = client.put("POST", "/v1/commands", &request).map_err(|error| {
            let fate = if error.may_be_done() { Fate::Unknown } else { Fate::NotQueued };
            let for_one = match &error {
                client::Error::Refused { status: 400 | 404 | 409, .. } => true,
                client::Error::Refused { refusal, .. } => refusal.error == QUEUE_FULL,
                _ => false,
            };
            Unfinished { fate, for_one, error: error.into() }
        })?;
        // From here on all are queued, whatever becomes of the receipts.
        ctx.belong_to(&reply);
        let mut lines = reply.lines();
        let queued = |error| Unfinished { fate: Fate::Queued, for_one: false, error };
        for _ in wires {
            let line = lines.next_line().map_err(|e| queued(e.into()))?;
            let line = line.ok_or_else(|| queued(Error::failed("wehelpd gave fewer receipts than commands")))?;
            let receipt: Receipt =
                serde_json::from_slice(line).map_err(|e| queued(client::Error::Strange(e.to_string()).into()))?;
            self.warn(ctx, &receipt);
            each(receipt).map_err(queued)?;
        }
        Ok(())
    }

    fn request(&self, wires: &[Wire], keys: &[String], special: &Special) -> Result<Enqueue, Error> {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let (delay, due) = match (special.delay, special.due) {
            (None, None) => (self.wiring.delay, self.due),
            own => own,
        };
        Ok(Enqueue {
            commands: wires.iter().map(Wire::to_raw).collect(),
            account: special.account.clone().or_else(|| self.account.clone()),
            delay_ms: delay.map(millis),
            due,
            expires_ms: special.expires.or(self.wiring.expires).map(millis),
            keys: keys.to_vec(),
            on_client: self.on_client,
            bulk: self.bulk,
            dry_run: self.wiring.dry_run,
        })
    }

    /// Queues a question to a person. Its turn in the chat lasts at most as long as the lines are held; see
    /// `POST /v1/asks`.
    pub(super) fn ask(
        &self,
        ctx: &Ctx,
        wire: &Wire,
        expires: Duration,
        query: &AskQuery,
    ) -> Result<(Receipt, Lines), Error> {
        let keys = self.keys(1);
        let special = Special { expires: Some(expires), ..Special::default() };
        let request = self.request(std::slice::from_ref(wire), &keys, &special)?;
        let path = client::with_query("/v1/asks", query)?;
        let unfinished = |fate, error| Unfinished { fate, for_one: true, error };
        let told = |unfinished: Unfinished| unfinished.told(0, 1, !keys.is_empty());
        let reply = ctx.client()?.put("POST", &path, &request).map_err(|error| {
            let fate = if error.may_be_done() { Fate::Unknown } else { Fate::NotQueued };
            told(unfinished(fate, error.into()))
        })?;
        ctx.belong_to(&reply);
        let mut turn = reply.lines();
        let receipt = first_receipt(&mut turn).map_err(|error| told(unfinished(Fate::Queued, error.into())))?;
        self.warn(ctx, &receipt);
        tell_repeated(ctx, &receipt);
        Ok((receipt, turn))
    }

    /// Says, once an account, that nobody may take what was queued as things are. Of what is not due yet, or is held for
    /// another reason, the receipt does not tell whether the account is known.
    fn warn(&self, ctx: &Ctx, receipt: &Receipt) {
        /// Of this many accounts it is said or looked up: more are a list of mailings, whose receipts tell.
        const ACCOUNTS_MAX: usize = 20;
        let reason = receipt.held.as_ref().map(|held| held.reason.as_str());
        let nobody_may = reason.filter(|reason| reason.starts_with(control::NOBODY_MAY));
        let may_wait = receipt.state == State::Scheduled || reason.is_some();
        let mut warned = self.warned.borrow_mut();
        if !may_wait || warned.len() >= ACCOUNTS_MAX || !warned.insert(receipt.account.clone()) {
            return;
        }
        match (nobody_may, &receipt.account) {
            (Some(reason), _) => ctx.out().note(&render::clean(reason)),
            (None, Some(account)) => {
                names::untold(ctx, account).into_iter().for_each(|note| ctx.out().note(&note));
            }
            (None, None) => {}
        }
    }

    /// Queues one command.
    pub(super) fn enqueue_one(&self, ctx: &Ctx, wire: &Wire, key: Option<&String>) -> Result<Receipt, Error> {
        let mut queued = None;
        self.enqueue(ctx, std::slice::from_ref(wire), key.map_or(&[], std::slice::from_ref), |receipt| {
            queued = Some(receipt);
            Ok(())
        })?;
        let queued =
            queued.ok_or_else(|| Error::failed("the daemon gave no receipt; see `wehelp queue list --all`"))?;
        tell_repeated(ctx, &queued);
        Ok(queued)
    }
}

/// A moment from when on something may be done: one that is past is a mistake.
pub(super) fn moment_to_come(name: &str, text: &str) -> Result<Time, Error> {
    let now = Time::now();
    let at = Time::parse(text, now, Bare::Ahead).map_err(|e| Error::usage(format!("{name}: {e}")))?;
    if at < now {
        let at = at.local();
        return Err(Error::usage(format!("{name}: {at} is past; give a moment to come, or leave it out for at once")));
    }
    Ok(at)
}

/// Refuses what the daemon would refuse, before it is asked.
pub(super) fn check_key(name: &str, key: &str) -> Result<(), Error> {
    /// What is appended for the commands after the first.
    const ROOM: usize = 24;
    if key.is_empty() {
        return Err(Error::usage(format!("{name} is empty; give a word that says which command it is")));
    }
    if key.len() > KEY_BYTES_MAX - ROOM {
        let most = KEY_BYTES_MAX - ROOM;
        return Err(Error::usage(format!("{name} has {} bytes, and may have {most}; shorten it", key.len())));
    }
    Ok(())
}

/// How many of these go into one request.
fn request_part(wires: &[Wire]) -> usize {
    let mut bytes = 0;
    let fits = |wire: &&Wire| {
        bytes += wire.as_str().len();
        bytes <= REQUEST_BYTES
    };
    wires.iter().take(ENQUEUE_MAX).take_while(fits).count().max(1)
}

/// The receipt that a stream of questions begins with.
pub(super) fn first_receipt(lines: &mut Lines) -> Result<Receipt, client::Error> {
    match lines.next_value()? {
        Some(control::Progress::Receipt(receipt)) => Ok(receipt),
        _ => Err(client::Error::Strange("no receipt".to_owned())),
    }
}

fn tell_repeated(ctx: &Ctx, receipt: &Receipt) {
    if !receipt.repeated {
        return;
    }
    let id = receipt.id;
    let already = match (receipt.api.as_str(), receipt.state) {
        ("acceptFriend", State::Answered) => format!("command {id} has accepted that friend request already"),
        ("acceptFriend", state) if state.is_unfinished() || state == State::Fetched => {
            format!("command {id} is accepting that friend request already")
        }
        (_, state) => {
            let key = render::clean(receipt.key.as_deref().unwrap_or_default()).into_owned();
            let how = if state == State::Rejected { ", which was rejected; use another key to try again" } else { "" };
            format!("`{key}` is the key of command {id} already{how}")
        }
    };
    ctx.out().note(&format!("nothing new was queued: {already}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::error::Exit;
    use crate::cli::options::Global;
    use serde_json::json;

    fn ctx(args: &[&str]) -> (Ctx, Wiring) {
        #[derive(clap::Parser)]
        struct Options {
            #[command(flatten)]
            global: Global,
            #[command(flatten)]
            wiring: Wiring,
        }
        let Options { global, wiring } = clap::Parser::parse_from([&["wehelp"], args].concat());
        (Ctx::new(global), wiring)
    }

    #[test]
    fn questions_wait_unless_told_and_actions_only_when_told() {
        let patience = |args: &[&str], api: &str| {
            let (ctx, wiring) = ctx(args);
            Enqueuer::new(&ctx, &wiring).unwrap().patience(api)
        };
        assert_eq!(patience(&[], "getLoginStatus"), Some(wait::PATIENCE));
        assert_eq!(patience(&[], "outLogin"), None);
        assert_eq!(patience(&["--wait"], "outLogin"), Some(Duration::from_secs(30)));
        assert_eq!(patience(&["--wait=5s"], "getLoginStatus"), Some(Duration::from_secs(5)));
        assert_eq!(patience(&["--no-wait"], "getLoginStatus"), None);
        assert_eq!(patience(&["--wait", "--no-wait"], "getLoginStatus"), None);
        assert_eq!(patience(&[], "brandNew"), None);
    }

    #[test]
    fn each_of_several_commands_has_a_key_of_its_own() {
        let (ctx, wiring) = ctx(&["--key", "k"]);
        assert_eq!(Enqueuer::new(&ctx, &wiring).unwrap().keys(3), ["k", "k/2", "k/3"]);
    }

    #[test]
    fn wrong_options_are_found_without_a_daemon() {
        for (args, name) in [(&["--at", "soonish"][..], "--at"), (&["--key", ""], "--key")] {
            let (ctx, wiring) = ctx(args);
            let error = Enqueuer::new(&ctx, &wiring).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            assert!(error.message.contains(name), "{}", error.message);
        }
        let long = "k".repeat(KEY_BYTES_MAX);
        assert!(check_key("--key", &long).is_err());
    }

    #[test]
    fn requests_are_bounded_by_number_and_by_bytes() {
        let wire = |text: usize| {
            let text = json!({"api": "x", "text": "t".repeat(text)});
            Wire::from_json(&text.to_string()).unwrap()
        };
        assert_eq!(request_part(&vec![wire(1); ENQUEUE_MAX + 5]), ENQUEUE_MAX);
        let large = vec![wire(60_000); 200];
        let part = request_part(&large);
        assert!(part > 1 && part * 60_000 <= REQUEST_BYTES, "{part}");
    }
}
