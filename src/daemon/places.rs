//! Places among the open connections of a door, and who makes room when all are taken (contract 2).
//!
//! A connection *waits* until a whole request has come, from its beginning or from its last answer on: so do those that
//! send a header or a body slowly, and those that are idle. When a door is full, the ones that have waited longest are
//! closed, as many as a newcomer needs; when one address has all that one may have, the longest waiting one of its own.
//! If none waits, one whose answer has not been taken in makes room, and if there is none either, the newcomer is turned
//! away. A connection whose request is whole is never closed: whoever decides that one is to go and whoever finds its
//! request whole change the same word, so only one of them can.

use super::limits::Seldom;
use super::service::lock;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Of so many connections one goes at a time: a flood should not make us look for the next one at each newcomer.
const ROOM_SHARE: usize = 64;
/// Whoever was told to go is gone within so long, or the newcomer is turned away.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
/// That a door is full is logged at most so often.
const FULL_LOG_REST: Duration = Duration::from_secs(60);

/// The places of one door.
#[derive(Debug)]
pub(super) struct Places {
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

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    turn: Arc<Turn>,
}

impl Place {
    pub(super) fn turn(&self) -> &Arc<Turn> {
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
pub(super) enum Full {
    Door,
    Address,
}

impl Full {
    /// As it is counted.
    pub(super) fn code(self) -> &'static str {
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
    pub(super) fn new(door: &'static str, connections_max: usize, per_address_max: usize) -> Arc<Self> {
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
    pub(super) fn open(&self) -> usize {
        lock(&self.taken).turns.len()
    }

    /// Takes a place for a new connection; makes room if there is none.
    pub(super) async fn enter(self: &Arc<Self>, ip: Option<IpAddr>) -> Result<Place, Full> {
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
        let mut told = 0;
        for phase in [Phase::Waiting, Phase::Answering] {
            let mut oldest: Vec<_> = turns().filter_map(|turn| Some((turn.since(phase)?, turn))).collect();
            if oldest.len() > wanted {
                oldest.select_nth_unstable_by_key(wanted, |(since, _)| *since);
                oldest.truncate(wanted);
            }
            told += oldest.into_iter().filter(|(since, turn)| turn.tell(phase, *since)).count();
            if told > 0 {
                break;
            }
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
            tracing::warn!(closed, "{what}: those that waited longest without a whole request made room");
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
}

/// One connection's turn: what it is at, and since when.
#[derive(Debug)]
pub(super) struct Turn {
    /// When the door was opened, from which times count.
    epoch: Instant,
    /// Nanoseconds, and the phase in the lowest two bits.
    word: AtomicU64,
    told: Notify,
}

/// An answer of so many bytes fits between us and the peer: it is as good as taken in.
const SHORT_ANSWER_BYTES: u64 = 16 << 10;

impl Turn {
    fn new(epoch: Instant) -> Self {
        let turn = Self { epoch, word: AtomicU64::new(0), told: Notify::new() };
        turn.word.store(turn.word_for(Phase::Waiting), Ordering::Relaxed);
        turn
    }

    fn word_for(&self, phase: Phase) -> u64 {
        let since = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        since << 2 | phase as u64
    }

    fn is_told(&self) -> bool {
        self.word.load(Ordering::Acquire) & 3 == Phase::Told as u64
    }

    /// Since when it is in a phase, if it is in that.
    fn since(&self, phase: Phase) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        (word & 3 == phase as u64).then_some(word >> 2)
    }

    /// Tells it to go, if it is still in that phase since then.
    fn tell(&self, phase: Phase, since: u64) -> bool {
        let (word, told) = (since << 2 | phase as u64, since << 2 | Phase::Told as u64);
        let is_told = self.word.compare_exchange(word, told, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_told {
            self.told.notify_one();
        }
        is_told
    }

    /// Resolves when it was told to go.
    pub(super) async fn over(&self) {
        self.told.notified().await;
    }

    /// A whole request has come. False when it was told to go: then nothing may be done for it any more.
    pub(super) fn request_is_whole(&self) -> bool {
        let word = self.word_for(Phase::Working);
        let update = |old: u64| if old & 3 == Phase::Told as u64 { None } else { Some(word) };
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, update).is_ok()
    }

    /// The answer to it, of so many bytes, was handed to the system. Who was refused before its request was whole has
    /// waited all the while.
    pub(super) fn is_answered(&self, bytes: u64) {
        let phase = if bytes <= SHORT_ANSWER_BYTES { Phase::Waiting } else { Phase::Answering };
        let word = self.word_for(phase);
        let update = |old: u64| (old & 3 == Phase::Working as u64).then_some(word);
        // Fails for who waits still, or was told to go.
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, update);
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
