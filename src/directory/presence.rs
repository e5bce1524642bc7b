//! Whether an account is logged in, and in which process: what events tell of it, step by step.
//!
//! Promises: a process is one account's at a time; who loses it to another account is logged out; an event that was
//! under way when its account logged out brings nothing back. Pure, because two keep it: the directory (durable, a
//! moment later) and the daemon's table of accounts (at once, before a callback is answered).
//! Leaves to others: who has a process now, and remembering.

use crate::clock::Time;
use crate::protocol::event::{Decoded, Kind};
use std::time::Duration;

/// What comes within so long after a logout may have been under way: it does not tell that the account is back, unless
/// it says so, or comes from another process than the one that was left.
const LOGOUT_SETTLES: Duration = Duration::from_secs(5);

/// What an event says of its account's login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sign {
    /// It is logged in: 67 with code 200, 66 that says so, 71 of its own.
    In,
    /// It is not: 90, 98, 66 that says so.
    Out,
    /// It does what only a logged-in account does.
    Alive,
    /// Nothing: a login that failed, a code to scan.
    #[default]
    Nothing,
}

impl Sign {
    /// What an event of this kind, with this `decoded`, says. A login's and a profile's `decoded` is needed, no
    /// other's: see [`needs_decoded`](Self::needs_decoded).
    #[must_use]
    pub fn of(kind: Kind, decoded: &Decoded) -> Self {
        match (kind, decoded) {
            (_, Decoded::Login { code: Some(200) } | Decoded::LoginState { logged_in: Some(true) }) => Self::In,
            (_, Decoded::Profile { own: true, .. }) => Self::In,
            (_, Decoded::LoginState { logged_in: Some(false) }) | (Kind::Logout | Kind::LogoutPhone, _) => Self::Out,
            (Kind::Login | Kind::LoginState | Kind::LoginQrcode | Kind::Unparsed, _) => Self::Nothing,
            // What a client does says nothing of who is logged in there.
            (kind, _) if kind.is_of_daemon() => Self::Nothing,
            _ => Self::Alive,
        }
    }

    /// Whether the kind alone does not tell.
    #[must_use]
    pub fn needs_decoded(kind: Kind) -> bool {
        matches!(kind, Kind::Login | Kind::LoginState | Kind::Profile)
    }
}

/// Where an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seat {
    /// The process that it has.
    pub pid: Option<u64>,
    /// The process that it had last, kept when another account takes it.
    pub home: Option<u64>,
    /// Whether it is logged in; `None`: no event told.
    pub logged_in: Option<bool>,
    /// When that last changed.
    pub logged: Option<Time>,
}

impl Seat {
    /// Takes in an event of the account in the process `pid`, which `holder`, another account, has now.
    pub fn take(&mut self, sign: Sign, pid: Option<u64>, holder: Option<&mut Self>, time: Time) {
        let is_elsewhere = pid.is_some() && self.home.is_some() && pid != self.home;
        if sign == Sign::Alive && self.is_settling(time) && !is_elsewhere {
            return;
        }
        let is_there = matches!(sign, Sign::In | Sign::Alive);
        match sign {
            Sign::In => self.turn(true, time),
            Sign::Alive if self.logged_in == Some(false) => self.turn(true, time),
            Sign::Out => self.turn(false, time),
            Sign::Alive | Sign::Nothing => {}
        }
        let Some(pid) = pid else { return };
        match holder {
            // A process has one account: the other one is not there any more.
            Some(holder) if is_there => {
                holder.pid = None;
                holder.turn(false, time);
            }
            Some(_) => return,
            // Who leaves, or could not come in, was somewhere before.
            None if !is_there && self.pid.is_some() => return,
            None => {}
        }
        (self.pid, self.home) = (Some(pid), Some(pid));
    }

    /// Another account came into this one's process, `pid`, after what this event tells.
    pub fn displace(&mut self, pid: u64, time: Time) {
        (self.pid, self.home) = (None, Some(pid));
        self.turn(false, time);
    }

    fn turn(&mut self, logged_in: bool, time: Time) {
        if self.logged_in != Some(logged_in) {
            (self.logged_in, self.logged) = (Some(logged_in), Some(time));
        }
    }

    /// Whether it logged out just now. A clock that was set back does not prolong that.
    fn is_settling(&self, time: Time) -> bool {
        let fresh = |at: Time| at <= time && time.since(at) < LOGOUT_SETTLES;
        self.logged_in == Some(false) && self.logged.is_some_and(fresh)
    }

    /// Whether events told that it is logged out.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.logged_in == Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::contact::Contact;

    const NOW: Time = Time::from_millis(1_800_000_000_000);

    fn seat(pid: u64) -> Seat {
        Seat { pid: Some(pid), home: Some(pid), logged_in: Some(true), logged: Some(NOW) }
    }

    #[test]
    fn every_kind_says_one_thing() {
        let profile = |own| Decoded::Profile { contact: Box::<Contact>::default(), own };
        for (kind, decoded, sign) in [
            (Kind::Login, Decoded::Login { code: Some(200) }, Sign::In),
            (Kind::Login, Decoded::Login { code: Some(0) }, Sign::Nothing),
            (Kind::Login, Decoded::Login { code: None }, Sign::Nothing),
            (Kind::LoginState, Decoded::LoginState { logged_in: Some(true) }, Sign::In),
            (Kind::LoginState, Decoded::LoginState { logged_in: Some(false) }, Sign::Out),
            (Kind::LoginState, Decoded::LoginState { logged_in: None }, Sign::Nothing),
            (Kind::Profile, profile(true), Sign::In),
            (Kind::Profile, profile(false), Sign::Alive),
            (Kind::Logout, Decoded::default(), Sign::Out),
            (Kind::LogoutPhone, Decoded::default(), Sign::Out),
            (Kind::LoginQrcode, Decoded::default(), Sign::Nothing),
            (Kind::MessageText, Decoded::default(), Sign::Alive),
            (Kind::Contacts, Decoded::default(), Sign::Alive),
            (Kind::Other, Decoded::default(), Sign::Alive),
        ] {
            assert_eq!(Sign::of(kind, &decoded), sign, "{kind:?} {decoded:?}");
        }
    }

    #[test]
    fn a_process_goes_to_who_is_there_and_not_to_who_leaves() {
        for (sign, goes) in [(Sign::In, true), (Sign::Alive, true), (Sign::Out, false), (Sign::Nothing, false)] {
            let (mut this, mut holder) = (Seat::default(), seat(7));
            this.take(sign, Some(7), Some(&mut holder), NOW);
            assert_eq!((this.pid.is_some(), holder.pid.is_none(), holder.is_out()), (goes, goes, goes), "{sign:?}");
            assert_eq!(holder.home, Some(7), "{sign:?}: where its login questions go");
        }
    }

    #[test]
    fn what_was_under_way_at_a_logout_brings_nobody_back() {
        let at = |seconds| NOW.after(Duration::from_secs(seconds));
        let mut this = seat(7);
        this.take(Sign::Out, Some(7), None, at(100));
        let mut other = seat(7);
        this.take(Sign::Alive, Some(7), Some(&mut other), at(101));
        assert!(this.is_out() && other == seat(7));
        // From a new process nothing can have been under way; but nobody knows that of an account that had none.
        let mut moved = this;
        moved.take(Sign::Alive, Some(8), None, at(101));
        assert_eq!((moved.logged_in, moved.pid), (Some(true), Some(8)));
        let mut homeless = Seat::default();
        homeless.take(Sign::Out, None, None, at(100));
        homeless.take(Sign::Alive, Some(8), None, at(101));
        assert!(homeless.is_out());
        this.take(Sign::Alive, None, None, at(101));
        assert!(this.is_out());
        // It says so, or it goes on, or the clock was set back: then it is back.
        for (sign, time) in [(Sign::In, at(101)), (Sign::Alive, at(105)), (Sign::Alive, at(50))] {
            let mut this = this;
            this.take(sign, Some(7), None, time);
            assert_eq!((this.logged_in, this.pid), (Some(true), Some(7)), "{sign:?} {time}");
        }
    }
}
