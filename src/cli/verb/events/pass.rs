//! Events that `--exec` passes over: what no person said is never replied to, what is too old is not worth it any more, and
//! what the account's owner sees to (`takeover`) is theirs. Pure.

use super::args::Exec;
use crate::cli::wait::span;
use crate::clock::Time;
use crate::control::Entry;
use crate::protocol::event::Kind;
use std::time::Duration;

/// What is older is not replied to, unless told otherwise (contract 7): whoever asked has gone on without an answer.
const REPLY_AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// Which events are passed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passing {
    /// An answer to a notice may cause the next notice, for ever; one to a friend request goes to a stranger.
    said_only: bool,
    max_age: Option<Duration>,
    /// For so long a chat is left to the account's owner.
    takeover: Option<Duration>,
}

/// Whether a person said this.
pub(super) fn is_said(entry: &Entry) -> bool {
    Kind::from_name(&entry.kind).is_some_and(Kind::is_said)
}

impl Passing {
    pub(super) fn of(how: &Exec) -> Self {
        let max_age = how.max_age.or(how.reply.then_some(REPLY_AGE_MAX));
        Self { said_only: how.reply, max_age, takeover: how.takeover }
    }

    /// Whether every event gets its run.
    pub(super) fn is_none(&self) -> bool {
        !self.said_only && self.max_age.is_none() && self.takeover.is_none()
    }

    /// Whether no person said this, and that counts.
    fn is_unsaid(&self, entry: &Entry) -> bool {
        self.said_only && !is_said(entry)
    }

    /// Whether it is too old for a command to be started.
    pub(super) fn is_too_old(&self, entry: &Entry, now: Time) -> bool {
        self.max_age.is_some_and(|max| now.since(entry.time) > max)
    }
}

/// How many events were passed over, and why.
#[derive(Debug, Default)]
pub(super) struct Passed {
    unsaid: u64,
    pub(super) too_old: u64,
    pub(super) taken_over: u64,
}

impl Passed {
    /// Counts an event that is passed over; false when it gets its run. `is_taken`: it is the owner's.
    pub(super) fn counts(&mut self, passing: Passing, entry: &Entry, now: Time, is_taken: bool) -> bool {
        let why = if passing.is_unsaid(entry) {
            &mut self.unsaid
        } else if passing.is_too_old(entry, now) {
            &mut self.too_old
        } else if is_taken {
            &mut self.taken_over
        } else {
            return false;
        };
        *why += 1;
        true
    }

    /// What to tell people of it, a sentence each.
    pub(super) fn notes(&self, passing: &Passing) -> impl Iterator<Item = String> {
        let (age, pause) = (passing.max_age.unwrap_or_default(), passing.takeover.unwrap_or_default());
        let events = |n: u64| if n == 1 { "1 event was".to_owned() } else { format!("{n} events were") };
        let unsaid = (self.unsaid > 0).then(|| {
            format!(
                "{} passed over: --reply answers only what a person said, no notices and no calls",
                events(self.unsaid)
            )
        });
        let too_old = (self.too_old > 0)
            .then(|| format!("{} passed over, being older than {} (--max-age)", events(self.too_old), span(age)));
        let taken_over = (self.taken_over > 0).then(|| {
            format!(
                "{} passed over: the account's owner wrote there by hand after that, or less than {} before (--takeover)",
                events(self.taken_over),
                span(pause)
            )
        });
        unsaid.into_iter().chain(too_old).chain(taken_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_800_000_000_000);

    fn passing(reply: bool, max_age: Option<u64>) -> Passing {
        Passing::of(&Exec { reply, max_age: max_age.map(Duration::from_secs), ..Exec::default() })
    }

    fn came(kind: &str, seconds_ago: i64) -> Entry {
        Entry { kind: kind.to_owned(), time: Time::from_millis(NOW.millis() - seconds_ago * 1000), ..Entry::default() }
    }

    #[test]
    fn only_what_a_person_said_is_replied_to() {
        let said = Kind::ALL.iter().map(|kind| kind.as_str());
        let said: Vec<&str> = said.filter(|kind| !passing(true, None).is_unsaid(&came(kind, 0))).collect();
        let told = ["text", "image", "voice", "card", "video", "sticker", "location", "app"];
        assert_eq!(said, told.map(|word| format!("message.{word}")));
        assert!(passing(true, None).is_unsaid(&came("of.tomorrow", 0)));
        assert!(!passing(false, Some(1)).is_unsaid(&came("message.system", 0)), "it is only run");
    }

    #[test]
    fn what_is_too_old_is_left_alone() {
        let is_old = |passing: Passing, seconds| passing.is_too_old(&came("message.text", seconds), NOW);
        for (reply, told, max) in [(true, None, 600), (true, Some(3600), 3600), (false, Some(60), 60)] {
            let passing = passing(reply, told);
            assert_eq!([max, max + 1, -86_400].map(|age| is_old(passing, age)), [false, true, false], "{passing:?}");
        }
        assert!(!is_old(passing(false, None), 1 << 30));
        assert!(passing(false, None).is_none() && !passing(true, None).is_none() && !passing(false, Some(1)).is_none());
    }

    #[test]
    fn people_are_told_how_many() {
        let notes = |unsaid, too_old| -> Vec<String> {
            Passed { unsaid, too_old, ..Passed::default() }.notes(&passing(true, None)).collect()
        };
        assert!(notes(0, 0).is_empty());
        assert!(notes(1, 0)[0].starts_with("1 event was passed over") && notes(1, 0).len() == 1);
        assert!(notes(2, 3)[1].starts_with("3 events were passed over, being older than 10 min"));
        let how = Exec { takeover: Some(Duration::from_secs(1800)), ..Exec::default() };
        let taken: Vec<String> = Passed { taken_over: 2, ..Passed::default() }.notes(&Passing::of(&how)).collect();
        assert!(matches!(&taken[..], [one] if one.starts_with("2 events were passed over") && one.contains("30 min")));
    }

    #[test]
    fn an_event_is_counted_once_whatever_speaks_against_it() {
        let mut passed = Passed::default();
        let mut counts = |kind, age, taken| passed.counts(passing(true, None), &came(kind, age), NOW, taken);
        assert!(counts("message.system", 9999, true) && counts("message.text", 9999, true));
        assert!(counts("message.text", 0, true) && !counts("message.text", 0, false));
        assert_eq!((passed.unsaid, passed.too_old, passed.taken_over), (1, 1, 1));
    }
}
