//! Clients as they poll, with instants made by hand.

use super::*;

const WALL: Time = Time::from_millis(1_795_510_800_000);

/// A client that polls, and somebody who looks in time.
struct Story {
    start: Instant,
    now: f64,
    heart: Heartbeat,
    told: Vec<(f64, Change)>,
    last: Option<Finding>,
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

impl Story {
    fn new() -> Self {
        Self { start: Instant::now(), now: 0.0, heart: Heartbeat::default(), told: Vec::new(), last: None }
    }

    fn at(&self, at: f64) -> Instant {
        self.start + seconds(at)
    }

    /// Time passes until then; what is to be told is told at once.
    fn until(&mut self, end: f64) {
        loop {
            match self.heart.look(self.at(self.now)) {
                Found::Finding(news) => {
                    self.told.push((self.now, news.change));
                    self.heart.note(&news);
                    self.last = Some(news);
                }
                Found::NothingUntil(then) if then <= self.at(end) => {
                    self.now = (then - self.start).as_secs_f64();
                }
                _ => break,
            }
        }
        self.now = self.now.max(end);
    }

    /// A poll that is held open for so long.
    fn hold(&mut self, at: f64, length: f64) {
        self.until(at);
        self.heart.begin(self.at(at), WALL.after(seconds(at)), Some(7), false);
        self.until(at + length);
        self.heart.end(self.at(at + length));
    }

    fn poll(&mut self, at: f64) {
        self.hold(at, 0.0);
    }

    /// This many polls, one each this many seconds, from now on.
    fn polls(&mut self, times: u32, every: f64) {
        for _ in 0..times {
            self.poll(self.now + every);
        }
    }

    /// What was told since the last call, in tenths of a second since `from`.
    fn told(&mut self, from: f64) -> Vec<(u128, Change)> {
        let tenths = |at: f64| (seconds(at - from).as_millis() + 50) / 100;
        self.told.drain(..).map(|(at, change)| (tenths(at), change)).collect()
    }
}

use Change::{CameBack, WentAway};

#[test]
fn a_client_is_missing_after_three_of_its_usual_intervals_and_never_before_thirty_seconds() {
    for (every, patience) in [(0.2, 300), (1.0, 300), (5.0, 300), (10.0, 300), (20.0, 600), (60.0, 1800), (300.0, 9000)]
    {
        let mut story = Story::new();
        story.polls(40, every);
        // What is told while its interval is not known yet: see below.
        story.told(0.0);
        story.polls(40, every);
        assert_eq!(story.told(0.0), [], "{every}");
        let last = story.now;
        story.until(last + 1e5);
        assert_eq!(story.told(last), [(patience, WentAway)], "{every}");
        story.poll(story.now + 5.0);
        story.until(story.now);
        assert_eq!(story.told(last), [(1_000_050, CameBack)], "{every}");
    }
}

#[test]
fn pollers_of_a_second_and_of_a_minute_are_never_missed_while_they_poll() {
    for every in [0.1, 1.0, 10.0, 30.0, 60.0, 74.0] {
        let mut story = Story::new();
        story.polls(50, every);
        assert_eq!(story.told(0.0), [], "{every}");
    }
}

#[test]
fn of_whom_one_poll_is_known_nobody_says_so_soon_that_it_is_missing() {
    let mut story = Story::new();
    story.poll(0.0);
    story.until(1000.0);
    assert_eq!(story.told(0.0), [(750, WentAway)]);
    assert_eq!(story.last.unwrap().interval, None);
}

#[test]
fn who_has_never_polled_is_not_missed() {
    let heart = Heartbeat::default();
    assert_eq!(heart.look(Instant::now() + Duration::from_secs(86_400)), Found::Nothing);
    assert_eq!(heart.kept(), None);
}

#[test]
fn each_absence_is_told_once_and_each_return_once() {
    let mut story = Story::new();
    story.polls(20, 1.0);
    for _ in 0..5 {
        story.until(story.now + 3600.0);
        story.polls(20, 1.0);
    }
    let changes: Vec<Change> = story.told(0.0).into_iter().map(|(_, change)| change).collect();
    assert_eq!(changes, [WentAway, CameBack].repeat(5));
}

#[test]
fn who_takes_up_a_longer_interval_is_missed_twice_at_most_and_then_no_more() {
    let mut story = Story::new();
    story.polls(50, 1.0);
    story.polls(50, 60.0);
    let told = story.told(0.0);
    assert!(told.len() <= 4 && told.len().is_multiple_of(2), "{told:?}");
    story.polls(50, 60.0);
    assert_eq!(story.told(0.0), []);
    // And a shorter one again.
    story.polls(2000, 1.0);
    let last = story.now;
    story.until(last + 1e4);
    assert_eq!(story.told(last), [(300, WentAway)]);
}

#[test]
fn many_polls_in_a_row_make_nobody_missed_who_is_slow() {
    let mut story = Story::new();
    story.polls(8, 60.0);
    for _ in 0..10 {
        // A hundred commands are fetched one after the other.
        story.polls(100, 0.05);
        story.polls(1, 60.0);
    }
    assert_eq!(story.told(0.0), []);
}

#[test]
fn a_long_absence_makes_nobody_wait_long_for_the_next() {
    let mut story = Story::new();
    story.polls(20, 1.0);
    for _ in 0..2 {
        story.until(story.now + 86_400.0);
        story.polls(3, 1.0);
    }
    story.told(0.0);
    let last = story.now;
    story.until(last + 1e5);
    let told = story.told(last);
    assert!(matches!(told[..], [(at, WentAway)] if at <= 3000), "{told:?}");
}

#[test]
fn nobody_is_missed_while_a_poll_is_held_and_the_pause_behind_it_is_what_is_usual() {
    let mut story = Story::new();
    for _ in 0..10 {
        story.hold(story.now + 1.0, 120.0);
        // A command comes: that poll is short.
        story.hold(story.now + 1.0, 0.0);
    }
    assert_eq!(story.told(0.0), []);
    // Two at once.
    let now = story.at(story.now);
    story.heart.begin(now, WALL, None, false);
    story.heart.begin(now, WALL, None, false);
    story.heart.end(now);
    assert!(matches!(story.heart.look(now), Found::NothingUntil(then) if then > now), "it is looked after");
    story.until(story.now + 1000.0);
    assert_eq!(story.told(0.0), []);
    story.heart.end(story.at(story.now));
    let last = story.now;
    story.until(last + 1000.0);
    assert_eq!(story.told(last), [(300, WentAway)]);
}

#[test]
fn what_is_told_says_since_when_and_when_it_polled() {
    let mut story = Story::new();
    story.polls(10, 1.0);
    story.hold(11.0, 20.0);
    story.until(100.0);
    let wall = |at| WALL.after(seconds(at));
    let gone = story.last.unwrap();
    let facts = |news: Finding| (news.change, news.since, news.last_poll, news.interval, news.pid);
    assert_eq!(facts(gone), (WentAway, wall(31.0), wall(11.0), Some(seconds(1.0)), Some(7)));
    story.poll(120.0);
    story.poll(121.0);
    story.until(122.0);
    assert_eq!(facts(story.last.unwrap()), (CameBack, wall(120.0), wall(11.0), Some(seconds(1.0)), Some(7)));
}

#[test]
fn a_poll_that_comes_while_an_absence_is_being_stored_ends_it() {
    let mut story = Story::new();
    story.polls(10, 1.0);
    let Found::Finding(gone) = story.heart.look(story.at(60.0)) else { panic!() };
    // Not stored yet, and refused: the same again.
    assert_eq!(story.heart.look(story.at(60.0)), Found::Finding(gone));
    story.heart.begin(story.at(61.0), WALL.after(seconds(61.0)), None, false);
    assert!(story.heart.note(&gone));
    let Found::Finding(back) = story.heart.look(story.at(61.0)) else { panic!() };
    assert_eq!((back.change, back.since), (CameBack, WALL.after(seconds(61.0))));
    // And is gone again before that is stored.
    story.heart.end(story.at(61.0));
    assert!(matches!(story.heart.look(story.at(200.0)), Found::Finding(Finding { change: CameBack, .. })));
    story.heart.note(&back);
    assert!(matches!(story.heart.look(story.at(200.0)), Found::Finding(Finding { change: WentAway, .. })));
    // A poll before it is decided is no absence.
    story.poll(200.0);
    assert!(matches!(story.heart.look(story.at(201.0)), Found::NothingUntil(_)));
}

/// A daemon that starts after it has been away for an hour.
fn restarted(story: &Story) -> Story {
    let kept = story.heart.kept().unwrap();
    let stored: PollsKept = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
    let mut after = Story::new();
    after.heart = Heartbeat::restore(stored, story.heart.missing, after.start);
    after
}

#[test]
fn a_restart_of_the_daemon_alone_tells_nothing() {
    for every in [1.0, 60.0] {
        let mut story = Story::new();
        story.polls(20, every);
        story.told(0.0);
        let mut after = restarted(&story);
        after.polls(20, every);
        assert_eq!(after.told(0.0), [], "{every}");
    }
}

#[test]
fn who_went_away_during_a_restart_is_missed_when_its_time_has_passed_after_it() {
    for (every, patience) in [(1.0, 300), (60.0, 1800)] {
        let mut story = Story::new();
        story.polls(20, every);
        let mut after = restarted(&story);
        // The doors open later.
        after.now = 10.0;
        after.heart.resume(after.at(10.0));
        after.until(1e5);
        assert_eq!(after.told(10.0), [(patience, WentAway)], "{every}");
        let last = WALL.after(seconds(20.0 * every));
        assert_eq!((after.last.unwrap().since, after.last.unwrap().last_poll), (last, last));
    }
}

#[test]
fn who_was_told_to_be_missing_is_not_told_so_again_after_a_restart_and_returns_once() {
    let mut story = Story::new();
    story.polls(20, 1.0);
    story.until(1000.0);
    let mut after = restarted(&story);
    after.until(1e5);
    assert_eq!(after.told(0.0), []);
    after.polls(5, 1.0);
    after.until(after.now);
    assert_eq!(after.told(1e5), [(10, CameBack)]);
    assert_eq!(after.last.unwrap().last_poll, WALL.after(seconds(20.0)));
}

#[test]
fn while_the_daemon_stands_still_nobody_is_silent() {
    let mut story = Story::new();
    story.polls(10, 1.0);
    story.heart.stood_still(seconds(600.0));
    story.until(615.0);
    assert_eq!(story.told(0.0), []);
    story.until(1000.0);
    assert_eq!(story.told(610.0), [(300, WentAway)]);
}

#[test]
fn memory_is_bounded_whatever_polls() {
    let mut story = Story::new();
    let mut state = 1_u64;
    for _ in 0..10_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        story.poll(story.now + f64::from(u32::try_from(state >> 52).unwrap()) / 40.0);
        assert!(story.heart.gaps.len() <= GAPS_MAX);
    }
    // In turns, whatever happened.
    let changes: Vec<Change> = story.told(0.0).into_iter().map(|(_, change)| change).collect();
    assert!(changes.chunks(2).all(|pair| pair == [WentAway, CameBack] || pair == [WentAway]), "{changes:?}");
}
