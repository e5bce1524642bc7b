//! Places among the open connections of a door, and who makes room when all are taken (contract 2).
//!
//! A connection *waits* until a whole request has come, from its beginning or from its last answer on: so do those that
//! send a header or a body slowly, and those that are idle. When a door is full, the ones that have waited longest are
//! closed, as many as a newcomer needs; when one address has all that one may have, the longest waiting one of its own.
//! If none waits, one whose answer has not been taken in makes room, and if there is none either, the newcomer is turned
//! away. A connection whose request is whole is never closed: whoever decides that one is to go and whoever finds its
//! request whole change the same word, so only one of them can.
//!
//! A poll that is *held* open until a command is due makes room as well: it is answered at once instead, and asks again.
//! It goes after those that have waited for a second, and before newer ones, which may well be about to ask: a door
//! full of held polls would else close each newcomer for the next one.

use crate::daemon::seldom::Seldom;
use crate::sync::lock;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Of this many connections one goes at a time: a flood should not make us look for the next one at each newcomer.
const ROOM_SHARE: usize = 64;
/// A newcomer has so long to send its request before it makes room sooner than a held poll does.
const NEW: Duration = Duration::from_secs(1);
/// Whoever was told to go is gone within so long, or the newcomer is turned away.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
/// That a door is full is logged at most so often.
const FULL_LOG_REST: Duration = Duration::from_secs(60);

/// The places of one door.
#[derive(Debug)]
pub(crate) struct Places {
    /// Which door, for the log.
    door: &'static str,
    connections_max: usize,
    /// Of which from one address.
    per_address_max: usize,
    started: Instant,
    taken: Mutex<Taken>,
    /// A place was given back.
    freed: Notify,
    full: Seldom,
    /// Connections closed since that was last logged.
    closed: AtomicU64,
}

#[derive(Debug, Default)]
struct Taken {
    turns: HashMap<u64, (Option<IpAddr>, Arc<Turn>)>,
    by_address: HashMap<IpAddr, usize>,
    next: u64,
}

impl Taken {
    /// Has the oldest held polls answered, those of the address that has most of them; how many.
    fn answer_held(&self, is_asked: impl Fn(&Option<IpAddr>) -> bool, wanted: usize) -> usize {
        let mut held: HashMap<Option<IpAddr>, Vec<(u64, &Arc<Turn>)>> = HashMap::new();
        for (of, turn) in self.turns.values().filter(|(of, _)| is_asked(of)) {
            if let Some(since) = turn.since(Phase::Held) {
                held.entry(*of).or_default().push((since, turn));
            }
        }
        let most = held.into_values().max_by_key(Vec::len).unwrap_or_default();
        tell_oldest(Phase::Held, most, wanted)
    }
}

/// Tells this many that have been in a phase longest to go; how many could be told.
fn tell_oldest(phase: Phase, mut oldest: Vec<(u64, &Arc<Turn>)>, wanted: usize) -> usize {
    if oldest.len() > wanted {
        oldest.select_nth_unstable_by_key(wanted, |(since, _)| *since);
        oldest.truncate(wanted);
    }
    oldest.into_iter().filter(|(since, turn)| turn.tell(phase, *since)).count()
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    turn: Arc<Turn>,
}

impl Place {
    pub(crate) fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        if let Some((Some(address), _)) = taken.turns.remove(&self.number)
            && let Some(open) = taken.by_address.get_mut(&address)
        {
            *open -= 1;
            if *open == 0 {
                taken.by_address.remove(&address);
            }
        }
        drop(taken);
        self.places.freed.notify_waiters();
    }
}

/// Why there was no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Door,
    Address,
}

impl Full {
    /// As it is counted.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Door => "too-many-connections",
            Self::Address => "too-many-connections-from-one-address",
        }
    }
}

/// What makes an address one: a customer of an IPv6 network has a /64 for himself. Loopback is many.
fn one_address(ip: IpAddr) -> Option<IpAddr> {
    match ip.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V4(ip) => Some(ip.into()),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
        }
    }
}

impl Places {
    pub(crate) fn new(door: &'static str, connections_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self {
            door,
            connections_max,
            per_address_max,
            started: Instant::now(),
            taken: Mutex::default(),
            freed: Notify::new(),
            full: Seldom::new(FULL_LOG_REST),
            closed: AtomicU64::new(0),
        })
    }

    /// How many are taken.
    pub(crate) fn open(&self) -> usize {
        lock(&self.taken).turns.len()
    }

    /// Takes a place for a new connection; makes room if there is none.
    pub(crate) async fn enter(self: &Arc<Self>, ip: Option<IpAddr>) -> Result<Place, Full> {
        let address = ip.and_then(one_address);
        let patience = tokio::time::Instant::now() + ROOM_PATIENCE;
        loop {
            // Before the look, or a place that is given back meanwhile would not be heard of.
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            let full = match self.try_enter(address) {
                Ok(place) => return Ok(place),
                Err(full) => full,
            };
            if !self.make_room(full, address) || tokio::time::timeout_at(patience, freed).await.is_err() {
                return Err(full);
            }
        }
    }

    fn try_enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Full> {
        let mut taken = lock(&self.taken);
        if let Some(address) = &address
            && taken.by_address.get(address).is_some_and(|open| *open >= self.per_address_max)
        {
            return Err(Full::Address);
        }
        if taken.turns.len() >= self.connections_max {
            return Err(Full::Door);
        }
        if let Some(address) = address {
            *taken.by_address.entry(address).or_insert(0) += 1;
        }
        let turn = Arc::new(Turn::new(self.started));
        let number = taken.next;
        taken.next += 1;
        taken.turns.insert(number, (address, Arc::clone(&turn)));
        Ok(Place { places: Arc::clone(self), number, turn })
    }

    /// Tells those that have waited longest to go; false when nobody waits.
    fn make_room(&self, full: Full, address: Option<IpAddr>) -> bool {
        let taken = lock(&self.taken);
        let is_asked = |of: &Option<IpAddr>| full == Full::Door || *of == address;
        let turns = || taken.turns.values().filter(|(of, _)| is_asked(of)).map(|(_, turn)| turn);
        // Somebody was told already, and is on the way out.
        if turns().any(|turn| turn.is_told()) {
            return true;
        }
        let share = match full {
            Full::Door => self.connections_max,
            Full::Address => self.per_address_max,
        };
        let wanted = (share / ROOM_SHARE).max(1);
        let new = nanos(self.started.elapsed().saturating_sub(NEW));
        let waiting = |is_new| {
            let since = move |turn: &Turn| turn.since(Phase::Waiting).filter(|since| (*since > new) == is_new);
            turns().filter_map(|turn| Some((since(turn)?, turn))).collect::<Vec<_>>()
        };
        let mut told = tell_oldest(Phase::Waiting, waiting(false), wanted);
        if told == 0 {
            told = taken.answer_held(is_asked, wanted);
        }
        if told == 0 {
            told = tell_oldest(Phase::Waiting, waiting(true), wanted);
        }
        if told == 0 {
            let answering = turns().filter_map(|turn| Some((turn.since(Phase::Answering)?, turn)));
            told = tell_oldest(Phase::Answering, answering.collect(), wanted);
        }
        drop(taken);
        self.log(full, address, told);
        told > 0
    }

    fn log(&self, full: Full, address: Option<IpAddr>, told: usize) {
        let closed = self.closed.fetch_add(told as u64, Ordering::Relaxed) + told as u64;
        if !self.full.may_speak() {
            return;
        }
        self.closed.fetch_sub(closed, Ordering::Relaxed);
        let what = match (full, address) {
            (Full::Address, Some(address)) => {
                format!("{address} has all the {} connections that one address may have", self.per_address_max)
            }
            _ => format!("all {} connections of the {} door are taken", self.connections_max, self.door),
        };
        if told == 0 {
            tracing::warn!("{what}, and none waits for its request: a new one was turned away");
        } else {
            tracing::warn!(closed, "{what}: those that waited longest made room, for a request or on a held poll");
        }
    }
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A whole request has not come yet.
    Waiting = 0,
    /// A request is whole, and worked at.
    Working = 1,
    /// A long answer was handed to the system; whether it is taken in is not known.
    Answering = 2,
    /// It was told to go.
    Told = 3,
    /// A poll is held open: nothing is due.
    Held = 4,
    /// That poll is to be answered at once.
    Ending = 5,
}

/// The bits of a [`Phase`].
const PHASE_BITS: u32 = 3;

fn word(phase: Phase, since: u64) -> u64 {
    since << PHASE_BITS | phase as u64
}

fn is_in(word: u64, phase: Phase) -> bool {
    word & ((1 << PHASE_BITS) - 1) == phase as u64
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One connection's turn: what it is at, and since when.
#[derive(Debug)]
pub(crate) struct Turn {
    /// When the door was opened, from which times count.
    epoch: Instant,
    /// Nanoseconds, and the phase in the lowest bits.
    word: AtomicU64,
    /// It is to go.
    told: Notify,
    /// Its held poll is to be answered.
    answer: Notify,
}

/// An answer of this many bytes fits between us and the peer: it is as good as taken in.
const SHORT_ANSWER_BYTES: u64 = 16 << 10;

impl Turn {
    fn new(epoch: Instant) -> Self {
        let word = AtomicU64::new(word(Phase::Waiting, nanos(epoch.elapsed())));
        Self { epoch, word, told: Notify::new(), answer: Notify::new() }
    }

    /// It was told, and is on its way out.
    fn is_told(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        is_in(word, Phase::Told) || is_in(word, Phase::Ending)
    }

    /// Since when it is in a phase, if it is in that.
    fn since(&self, phase: Phase) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        is_in(word, phase).then_some(word >> PHASE_BITS)
    }

    /// Tells it to go, if it is still in that phase since then.
    fn tell(&self, phase: Phase, since: u64) -> bool {
        let (next, told) = if phase == Phase::Held { (Phase::Ending, &self.answer) } else { (Phase::Told, &self.told) };
        let told_word = word(next, since);
        let is_told =
            self.word.compare_exchange(word(phase, since), told_word, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_told {
            told.notify_one();
        }
        is_told
    }

    /// Goes over to another phase, if `may` says so of the word as it is.
    fn go_over(&self, to: Phase, may: impl Fn(u64) -> bool) -> bool {
        let word = word(to, nanos(self.epoch.elapsed()));
        let update = |old| may(old).then_some(word);
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, update).is_ok()
    }

    /// Resolves when it was told to go.
    pub(crate) async fn over(&self) {
        self.told.notified().await;
    }

    /// Its poll is held open from here on. Resolves when it is to be answered at once; a command that is claimed for it
    /// meanwhile goes with that answer.
    pub(crate) async fn held(&self) {
        self.go_over(Phase::Held, |old| is_in(old, Phase::Working));
        self.answer.notified().await;
    }

    /// A whole request has come. False when it was told to go: then nothing may be done for it any more.
    pub(crate) fn request_is_whole(&self) -> bool {
        self.go_over(Phase::Working, |old| !is_in(old, Phase::Told))
    }

    /// The answer to it, of this many bytes, was handed to the system. Who was refused before its request was whole has
    /// waited all the while.
    pub(crate) fn is_answered(&self, bytes: u64) {
        let phase = if bytes <= SHORT_ANSWER_BYTES { Phase::Waiting } else { Phase::Answering };
        // Not so for who waits still, or was told to go.
        self.go_over(phase, |old| [Phase::Working, Phase::Held, Phase::Ending].iter().any(|of| is_in(old, *of)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Plays a connection: keeps its place until it is told to go.
    fn connection(place: Place) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            let turn = Arc::clone(place.turn());
            turn.over().await;
            drop(place);
        })
    }

    #[tokio::test]
    async fn places_are_counted_and_given_back() {
        let places = Places::new("client", 2, 9);
        let (first, second) = (places.enter(ip("127.0.0.1")).await.unwrap(), places.enter(None).await.unwrap());
        assert_eq!(places.open(), 2);
        assert!(first.turn().request_is_whole() && second.turn().request_is_whole());
        assert_eq!(places.enter(None).await.unwrap_err(), Full::Door);
        drop(first);
        assert!(places.enter(None).await.is_ok());
    }

    #[tokio::test]
    async fn who_has_waited_longest_without_a_whole_request_makes_room() {
        let places = Places::new("client", 4, 9);
        let working = places.enter(None).await.unwrap();
        assert!(working.turn().request_is_whole());
        let kept = places.enter(None).await.unwrap();
        let oldest = places.enter(None).await.unwrap();
        let younger = places.enter(None).await.unwrap();
        // An answer begins the wait anew.
        assert!(kept.turn().request_is_whole());
        kept.turn().is_answered(2);
        let (oldest_turn, younger_turn) = (Arc::clone(oldest.turn()), Arc::clone(younger.turn()));
        let tasks = [connection(oldest), connection(younger)];
        let _newcomer = places.enter(None).await.unwrap();
        assert!(oldest_turn.is_told() && !younger_turn.is_told() && !kept.turn().is_told());
        let _second = places.enter(None).await.unwrap();
        assert!(younger_turn.is_told() && !kept.turn().is_told() && !working.turn().is_told());
        for task in tasks {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_request_that_became_whole_is_not_thrown_away_and_one_that_was_told_to_go_not_begun() {
        let places = Places::new("client", 1, 9);
        let place = places.enter(None).await.unwrap();
        let since = place.turn().since(Phase::Waiting).unwrap();
        assert!(place.turn().request_is_whole());
        assert!(!place.turn().tell(Phase::Waiting, since));
        assert_eq!(places.enter(None).await.unwrap_err(), Full::Door);
        place.turn().is_answered(1 << 20);
        // Nobody waits, but an answer is not taken in.
        assert!(places.make_room(Full::Door, None) && place.turn().is_told());
        assert!(!place.turn().request_is_whole());
        place.turn().is_answered(1);
        assert!(place.turn().is_told());
    }

    #[tokio::test]
    async fn who_is_refused_before_its_request_was_whole_has_waited_all_the_while() {
        let places = Places::new("client", 9, 9);
        let place = places.enter(None).await.unwrap();
        let since = place.turn().since(Phase::Waiting);
        place.turn().is_answered(10);
        assert_eq!(place.turn().since(Phase::Waiting), since);
    }

    #[tokio::test]
    async fn one_address_makes_room_for_itself_and_a_64_is_one_address() {
        let places = Places::new("client", 100, 2);
        let near = ["127.0.0.1", "127.0.0.1", "::1", "::ffff:127.0.0.1"];
        let mut near_ones = Vec::new();
        for address in near {
            near_ones.push(places.enter(ip(address)).await.unwrap());
        }
        for [first, second, third] in
            [["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"], ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"]]
        {
            let (a, b) = (places.enter(ip(first)).await.unwrap(), places.enter(ip(second)).await.unwrap());
            assert!(b.turn().request_is_whole());
            let a_turn = Arc::clone(a.turn());
            let task = connection(a);
            let third_place = places.enter(ip(third)).await.unwrap();
            assert!(a_turn.is_told() && near_ones.iter().all(|place| !place.turn().is_told()));
            assert!(third_place.turn().request_is_whole());
            assert_eq!(places.enter(ip(first)).await.unwrap_err(), Full::Address);
            task.await.unwrap();
        }
        assert!(places.enter(ip("2001:db8:0:1::1")).await.is_ok());
    }

    /// Plays a poll that is held open until it is to be answered; then its connection ends.
    fn held(place: Place) -> (Arc<Turn>, tokio::task::JoinHandle<()>) {
        let turn = Arc::clone(place.turn());
        assert!(turn.request_is_whole());
        let poll = async move {
            place.turn().held().await;
            place.turn().is_answered(2);
        };
        (turn, tokio::spawn(poll))
    }

    #[tokio::test]
    async fn held_polls_make_room_those_of_the_address_that_has_most_of_them_first() {
        let places = Places::new("client", 5, 9);
        let mut polls = Vec::new();
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2"] {
            polls.push(held(places.enter(ip(address)).await.unwrap()));
            tokio::task::yield_now().await;
            assert!(polls.last().unwrap().0.since(Phase::Held).is_some());
        }
        // It came just now and may be about to ask.
        let newcomer = places.enter(ip("192.0.2.3")).await.unwrap();
        let mut in_time = Vec::new();
        for answered in [1, 2] {
            in_time.push(places.enter(ip("192.0.2.4")).await.unwrap());
            assert!(in_time.last().unwrap().turn().request_is_whole());
            let still: Vec<bool> = polls.iter().map(|(turn, _)| turn.since(Phase::Held).is_some()).collect();
            assert_eq!(still, [true, answered < 1, answered < 2, true]);
        }
        assert!(newcomer.turn().request_is_whole());
        for (_, poll) in polls {
            poll.abort();
        }
    }

    #[tokio::test]
    async fn what_is_claimed_for_a_held_poll_goes_with_its_answer() {
        let places = Places::new("client", 1, 9);
        let place = places.enter(None).await.unwrap();
        assert!(place.turn().request_is_whole());
        // A command became due; at that moment its place is wanted.
        let mut hold = Box::pin(place.turn().held());
        assert!(tokio::time::timeout(Duration::ZERO, &mut hold).await.is_err());
        assert!(places.make_room(Full::Door, None));
        drop(hold);
        assert!(tokio::time::timeout(Duration::ZERO, place.turn().over()).await.is_err(), "it is not closed");
        place.turn().is_answered(2);
        assert!(place.turn().since(Phase::Waiting).is_some());
    }

    #[tokio::test]
    async fn eight_addresses_do_not_fill_the_door() {
        let places = Places::new("client", 64, 8);
        let mut tasks = Vec::new();
        for round in 0..3 {
            for address in 1..=8 {
                for _ in 0..8 {
                    let place = places.enter(ip(&format!("192.0.2.{address}"))).await.unwrap();
                    tasks.push(connection(place));
                }
            }
            let good = places.enter(ip("198.51.100.7")).await.unwrap();
            assert!(good.turn().request_is_whole(), "{round}");
        }
        for task in tasks {
            task.abort();
        }
    }
}
