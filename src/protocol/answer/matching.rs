//! Whose answer an event is, of all commands that are open.
//!
//! Promises: the id asked for decides, then who still waits, then the oldest; who asked the same before is answered
//! with it. An event that is nobody's is left to nobody: a wrong answer is worse than none.
//! Leaves to others: which commands are open (same account, fetched before the event, not too long ago), and storing
//! what was concluded.

use super::{Bearing, Fit, comes_in_pieces, fit, ids_told};
use crate::protocol::command::Command;
use crate::protocol::event::{Event, Kind};
use std::collections::HashSet;

/// A command that a client has fetched, as far as matching looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Open<'c> {
    /// What was fetched.
    pub command: &'c Command,
    /// Who was asked: the account, or else the process. What two are asked is not the same.
    pub whom: (&'c str, Option<u64>),
    /// Somebody still waits for the answer.
    pub waits: bool,
    /// It was answered a moment ago, and an event may be one more piece of that answer.
    pub answered: bool,
    /// The event tells again what that answer has told: it is rather another answer.
    pub repeats: bool,
    /// The ids asked for that no event has told yet; `None` before the first part.
    pub missing: Option<&'c [String]>,
}

/// What an event comes to for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// One part of the answer; more may come.
    Part,
    /// Answered.
    Answered,
    /// Refused.
    Rejected,
    /// One more piece of an answer that was whole already.
    Piece,
}

/// A command for which an event means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// Its place among those that are open.
    pub at: usize,
    /// What it comes to.
    pub verdict: Verdict,
    /// The ids asked for that the event told.
    pub told: Vec<String>,
}

/// Decides whose answer `event` is. `open` stands in the order in which the commands are answered, other things being
/// equal.
#[must_use]
pub fn conclude(open: &[Open<'_>], event: &Event) -> Vec<Conclusion> {
    let fitting: Vec<Candidate<'_>> = open
        .iter()
        .enumerate()
        .filter_map(|(at, open)| fit(open.command, event).map(|(bearing, fit)| Candidate { at, open, bearing, fit }))
        .collect();
    let matching = Matching { all: &fitting, event };
    match event.kind {
        Kind::Contacts => matching.contacts(),
        Kind::FriendVerified => matching.verified(),
        // It names none of those in its chat: whoever knows when they went out puts the one that is meant first.
        Kind::MessageSystem => matching.one(fitting.first()),
        // Each text has an echo of its own.
        Kind::MessageText => matching.one(matching.best(|_| true)),
        _ => matching.asked(|_| true),
    }
}

#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    at: usize,
    open: &'a Open<'a>,
    bearing: Bearing,
    fit: Fit,
}

impl Candidate<'_> {
    fn is_accept(&self) -> bool {
        matches!(self.open.command, Command::FriendAccept { .. })
    }

    fn is_add(&self) -> bool {
        matches!(self.open.command, Command::FriendAdd { .. })
    }
}

/// Whether two commands ask the same of the same: then one answer is an answer to both.
fn ask_the_same(one: &Open<'_>, other: &Open<'_>) -> bool {
    one.whom == other.whom && one.command.asks_the_same(other.command)
}

struct Matching<'a> {
    all: &'a [Candidate<'a>],
    event: &'a Event,
}

impl<'a> Matching<'a> {
    /// Of those wanted that are not answered yet: the id, then who waits, then the oldest.
    fn best(&self, wanted: impl Fn(&Candidate<'_>) -> bool) -> Option<&'a Candidate<'a>> {
        let rank = |c: &Candidate<'_>| (c.fit, c.open.waits, std::cmp::Reverse(c.at));
        self.all.iter().filter(|c| !c.open.answered && wanted(c)).max_by_key(|c| rank(c))
    }

    fn one(&self, meant: Option<&Candidate<'_>>) -> Vec<Conclusion> {
        meant.map(|meant| self.conclusion(meant)).into_iter().collect()
    }

    /// One more piece of an answer that has begun, unless it tells again what that has told; else the best of those
    /// wanted, and all that asked the same. What was answered whole, another event changes nothing of.
    fn asked(&self, wanted: impl Fn(&Candidate<'_>) -> bool + Copy) -> Vec<Conclusion> {
        let best = self.best(wanted);
        let equal = |c: &&Candidate<'_>| best.is_none_or(|best| ask_the_same(best.open, c.open));
        let begun = |c: &&Candidate<'_>| c.open.answered && comes_in_pieces(c.open.command.api().api) && wanted(c);
        let goes_on = self.all.iter().filter(equal).any(|c| begun(&c) && !c.open.repeats);
        let meant = |c: &&Candidate<'_>| match best {
            Some(_) if goes_on => begun(c) && !c.open.repeats,
            Some(_) => !c.open.answered,
            None => begun(c),
        };
        self.all.iter().filter(equal).filter(meant).map(|c| self.conclusion(c)).collect()
    }

    /// 210: a list of nobody but people whom somebody asked for is the answer to that, and never the friend list.
    fn contacts(&self) -> Vec<Conclusion> {
        let told = ids_told(self.event);
        let only_asked = |c: &Candidate<'_>| {
            let asked: HashSet<&str> = c.open.command.ids_asked().into_iter().collect();
            !told.is_empty() && told.is_subset(&asked)
        };
        let lacks = |c: &Candidate<'_>| {
            c.open.missing.is_none_or(|missing| missing.iter().any(|id| told.contains(id.as_str())))
        };
        for wanted in [
            &(|c: &Candidate<'_>| only_asked(c) && lacks(c)) as &dyn Fn(&Candidate<'_>) -> bool,
            &only_asked,
            &(|c: &Candidate<'_>| c.open.command.ids_asked().is_empty()),
        ] {
            let concluded = self.asked(wanted);
            if !concluded.is_empty() {
                return concluded;
            }
        }
        self.asked(|_| true)
    }

    /// 96: the accept whose v1 it holds, else an add, whose v1 nobody knows, else the only accept there is.
    fn verified(&self) -> Vec<Conclusion> {
        let named = |c: &Candidate<'_>| c.is_accept() && c.fit == Fit::Named;
        if self.all.iter().any(named) {
            return self.asked(named);
        }
        if self.best(|c| c.is_add()).is_some() {
            return self.asked(|c| c.is_add() && !c.open.answered);
        }
        let accepts: Vec<_> = self.all.iter().filter(|c| c.is_accept() && !c.open.answered).collect();
        match accepts.split_first() {
            Some((first, rest)) if rest.iter().all(|c| ask_the_same(first.open, c.open)) => {
                accepts.iter().map(|c| self.conclusion(c)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn conclusion(&self, candidate: &Candidate<'_>) -> Conclusion {
        let told: Vec<String> = match candidate.bearing {
            Bearing::Part | Bearing::Answers => {
                let told = ids_told(self.event);
                let asked = candidate.open.command.ids_asked();
                asked.into_iter().filter(|id| told.contains(id)).map(str::to_owned).collect()
            }
            Bearing::Echo | Bearing::Refuses => Vec::new(),
        };
        let verdict = match candidate.bearing {
            Bearing::Answers | Bearing::Part if candidate.open.answered => Verdict::Piece,
            Bearing::Answers | Bearing::Echo => Verdict::Answered,
            Bearing::Refuses => Verdict::Rejected,
            Bearing::Part => {
                let all_told = |missing: &[String]| missing.iter().all(|id| told.contains(id));
                if candidate.open.missing.is_some_and(all_told) { Verdict::Answered } else { Verdict::Part }
            }
        };
        Conclusion { at: candidate.at, verdict, told }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{
        command_of, contact, contacts, event, ids_packet, members as told_of, packet, profile, said, verified,
    };
    use super::*;
    use crate::protocol::decoded::{Decoded, Rooms};
    use serde_json::{Value, json};

    /// An open command of a table: what was fetched, of whom, and whether somebody waits.
    struct Row {
        command: Command,
        whom: (&'static str, Option<u64>),
        waits: bool,
        answered: bool,
        repeats: bool,
        missing: Option<Vec<String>>,
    }

    #[expect(clippy::needless_pass_by_value, reason = "a row of a table reads better so")]
    fn fetched(command: Value) -> Row {
        Row {
            command: command_of(&command),
            whom: ("", None),
            waits: true,
            answered: false,
            repeats: false,
            missing: None,
        }
    }

    fn left(command: Value) -> Row {
        Row { waits: false, ..fetched(command) }
    }

    fn answered(command: Value) -> Row {
        Row { answered: true, ..fetched(command) }
    }

    /// As [`answered`]: what the event tells, its answer has told.
    fn repeated(command: Value) -> Row {
        Row { repeats: true, ..answered(command) }
    }

    fn lacking(command: Value, missing: &[&str]) -> Row {
        Row { missing: Some(missing.iter().map(|&id| id.to_owned()).collect()), ..fetched(command) }
    }

    /// Which rows an event means something for, and what.
    fn concluded(rows: &[Row], event: &Event) -> Vec<(usize, Verdict)> {
        let open: Vec<Open<'_>> = rows
            .iter()
            .map(|row| Open {
                command: &row.command,
                whom: row.whom,
                waits: row.waits,
                answered: row.answered,
                repeats: row.repeats,
                missing: row.missing.as_deref(),
            })
            .collect();
        conclude(&open, event).into_iter().map(|c| (c.at, c.verdict)).collect()
    }

    fn list() -> Value {
        json!({"api": "initContact", "code": 45})
    }

    fn info(ids: &[&str]) -> Value {
        json!({"api": "newGetUserLists", "code": 46, "wxidLists": ids})
    }

    fn members(room: &str) -> Value {
        json!({"api": "getChatRoomUserLists", "code": 6, "wxid": room})
    }

    fn lookup(id: &str) -> Value {
        json!({"api": "netGetUserInfo", "code": 30, "wxid": id})
    }

    fn add(id: &str) -> Value {
        json!({"api": "addUserEvent", "code": 5, "wxid": id})
    }

    fn accept(v1: &str) -> Value {
        json!({"api": "acceptFriend", "code": 10, "v1": v1, "v2": "v2_x"})
    }

    fn told_members(room: &str) -> Event {
        told_of(room, &[], None)
    }

    fn text(chat: &str, text: &str) -> Value {
        json!({"api": "sendTextMessage", "code": 1, "wxid": chat, "text": text})
    }

    use Verdict::{Answered, Part, Piece, Rejected};

    #[test]
    fn the_id_asked_for_decides_before_all_else() {
        let rows = [left(lookup("a")), fetched(lookup("b"))];
        assert_eq!(concluded(&rows, &packet(&["a"])), [(0, Answered)]);
        assert_eq!(concluded(&rows, &packet(&["b"])), [(1, Answered)]);
        assert_eq!(concluded(&rows, &packet(&["c"])), []);
        let rows = [fetched(members("1@chatroom")), fetched(members("2@chatroom"))];
        assert_eq!(concluded(&rows, &told_members("2@chatroom")), [(1, Answered)]);
        assert_eq!(concluded(&rows, &told_members("3@chatroom")), []);
    }

    #[test]
    fn then_who_still_waits_then_the_oldest() {
        assert_eq!(concluded(&[left(lookup("a")), fetched(lookup("b"))], &packet(&[])), [(1, Answered)]);
        assert_eq!(concluded(&[fetched(lookup("a")), fetched(lookup("b"))], &packet(&[])), [(0, Answered)]);
        assert_eq!(concluded(&[left(lookup("a")), left(lookup("b"))], &packet(&[])), [(0, Answered)]);
    }

    #[test]
    fn an_answer_closes_every_equal_question() {
        let status = |time: u64| json!({"api": "getLoginStatus", "code": 20, "info": "wehelp", "time": time});
        let rows = [left(status(0)), fetched(status(5)), fetched(lookup("a")), left(status(0))];
        let state = event(Kind::LoginState, Decoded::LoginState { logged_in: Some(true) });
        assert_eq!(concluded(&rows, &state), [(0, Answered), (1, Answered), (3, Answered)]);
        let rows = [fetched(info(&["a", "b"])), fetched(info(&["b", "a", "b"])), fetched(info(&["a"]))];
        assert_eq!(concluded(&rows, &contacts(&["a", "b"])), [(0, Answered), (1, Answered)]);
        let rows = [fetched(members("1@chatroom")), left(members("1@chatroom")), fetched(members("2@chatroom"))];
        assert_eq!(concluded(&rows, &told_members("1@chatroom")), [(0, Answered), (1, Answered)]);
    }

    #[test]
    fn an_answer_that_names_nobody_is_one_accounts_alone() {
        let code = |whom| Row { whom, ..fetched(json!({"api": "getLoginQrCode", "code": 36})) };
        let told = event(Kind::LoginQrcode, Decoded::LoginContent { content: "x".into() });
        for [one, other] in [[("wxid_a", None), ("wxid_b", None)], [("", Some(1)), ("", Some(2))]] {
            let rows = [code(one), code(other), code(one)];
            assert_eq!(concluded(&rows, &told), [(0, Answered), (2, Answered)], "{one:?} {other:?}");
            assert_eq!(concluded(&rows[1..2], &told), [(0, Answered)], "{other:?}");
        }
    }

    #[test]
    fn a_list_of_those_asked_for_is_never_the_friend_list() {
        let both = [fetched(list()), fetched(info(&["a", "b"]))];
        assert_eq!(concluded(&both, &contacts(&["a", "b"])), [(1, Answered)]);
        assert_eq!(concluded(&both, &contacts(&["b"])), [(1, Part)]);
        assert_eq!(concluded(&both, &contacts(&["a", "b", "c"])), [(0, Answered)]);
        assert_eq!(concluded(&both, &contacts(&["c"])), [(0, Answered)]);
        // Also when nobody waits for it any more.
        assert_eq!(concluded(&[fetched(list()), left(info(&["a"]))], &contacts(&["a"])), [(1, Answered)]);
        // Nobody else asked: what it tells of those asked for is taken.
        assert_eq!(concluded(&[fetched(info(&["a"]))], &contacts(&["a", "c"])), [(0, Answered)]);
        assert_eq!(concluded(&[fetched(info(&["a"]))], &contacts(&["c"])), []);
        assert_eq!(concluded(&[fetched(lookup("a")), fetched(add("a"))], &contacts(&["a"])), []);
    }

    #[test]
    fn parts_go_to_who_lacks_them_and_add_up() {
        let rows = [lacking(info(&["a", "b"]), &["b"]), fetched(info(&["a", "c"]))];
        assert_eq!(concluded(&rows, &contacts(&["a"])), [(1, Part)]);
        assert_eq!(concluded(&rows, &contacts(&["b"])), [(0, Answered)]);
        assert_eq!(concluded(&rows[..1], &packet(&["b"])), [(0, Answered)]);
        assert_eq!(concluded(&[fetched(info(&["a", "b"]))], &packet(&["b"])), [(0, Part)]);
        assert_eq!(concluded(&[fetched(info(&["a", "b"]))], &contacts(&[])), [(0, Part)]);
        let row = &rows[0];
        let (waits, answered, repeats) = (true, false, false);
        let open = [Open { command: &row.command, whom: row.whom, waits, answered, repeats, missing: None }];
        assert_eq!(conclude(&open, &contacts(&["b", "z"]))[0].told, ["b"]);
    }

    #[test]
    fn pieces_belong_to_the_answer_that_was_whole() {
        let rooms = json!({"api": "getChatRoomLists", "code": 47});
        let told_rooms = event(Kind::Rooms, Decoded::Rooms(Rooms::default()));
        assert_eq!(concluded(&[answered(list()), answered(list())], &contacts(&["a"])), [(0, Piece), (1, Piece)]);
        assert_eq!(concluded(&[answered(rooms.clone())], &told_rooms), [(0, Piece)]);
        // Who asked since then waits for a list that begins anew; what a 46 asked for stays the 46's.
        for (list, told) in
            [(rooms, &told_rooms), (list(), &contacts(&["a"])), (members("1@chatroom"), &told_members("1@chatroom"))]
        {
            assert_eq!(concluded(&[answered(list.clone()), fetched(list.clone())], told), [(0, Piece)]);
            assert_eq!(concluded(&[repeated(list.clone()), fetched(list.clone())], told), [(1, Answered)]);
            let three = [answered(list.clone()), repeated(list.clone()), fetched(list.clone())];
            assert_eq!(concluded(&three, told), [(0, Piece)]);
            assert_eq!(concluded(&[repeated(list)], told), [(0, Piece)]);
        }
        assert_eq!(concluded(&[answered(list()), fetched(info(&["a"]))], &contacts(&["a"])), [(1, Answered)]);
        assert_eq!(concluded(&[answered(list()), fetched(info(&["a"]))], &contacts(&["a", "b"])), [(0, Piece)]);
        let ids = ids_packet(&["a"]);
        assert_eq!(concluded(&[fetched(list()), fetched(list())], &ids), [(0, Part), (1, Part)]);
    }

    #[test]
    fn what_was_answered_whole_stays_as_it_is() {
        let status = || json!({"api": "getLoginStatus", "code": 20, "info": "wehelp"});
        let state = event(Kind::LoginState, Decoded::LoginState { logged_in: Some(false) });
        let profile = profile(contact("a"));
        let get = || json!({"api": "getUserInfo", "code": 19, "wxid": "a"});
        for (command, told, verdict) in [
            (status(), &state, Answered),
            (get(), &profile, Answered),
            (lookup("a"), &packet(&["a"]), Answered),
            (add("a"), &verified(&[]), Rejected),
            (accept("v1_a"), &verified(&["v1_a"]), Answered),
        ] {
            assert_eq!(concluded(&[answered(command.clone())], told), [], "told twice: {command}");
            let rows = [answered(command.clone()), fetched(command.clone())];
            assert_eq!(concluded(&rows, told), [(1, verdict)], "asked again: {command}");
        }
    }

    #[test]
    fn a_verification_belongs_to_the_accept_whose_ticket_it_holds() {
        let rows = [fetched(add("a")), left(accept("v1_b")), fetched(accept("v1_c")), fetched(accept("v1_c"))];
        assert_eq!(concluded(&rows, &verified(&["v1_b"])), [(1, Answered)]);
        assert_eq!(concluded(&rows, &verified(&["v1_z", "v1_c"])), [(2, Answered), (3, Answered)]);
        // Nobody knows the ticket of an add.
        assert_eq!(concluded(&rows, &verified(&["v1_z"])), [(0, Answered)]);
        assert_eq!(concluded(&rows, &verified(&[])), [(0, Rejected)]);
        let adds = [left(add("a")), fetched(add("b")), fetched(add("c"))];
        assert_eq!(concluded(&adds, &verified(&["v1_z"])), [(1, Answered)]);
        // Of two accepts nobody can tell which one an unknown ticket means.
        assert_eq!(concluded(&rows[1..], &verified(&["v1_z"])), []);
        assert_eq!(concluded(&rows[1..], &verified(&[])), []);
        assert_eq!(concluded(&rows[2..], &verified(&["v1_z"])), [(0, Answered), (1, Answered)]);
        assert_eq!(concluded(&rows[1..2], &verified(&[])), [(0, Rejected)]);
        // Told twice, it is not the add's.
        assert_eq!(concluded(&[answered(accept("v1_b")), fetched(add("a"))], &verified(&["v1_b"])), []);
    }

    #[test]
    fn an_echo_answers_one_text_and_a_notice_refuses_one() {
        let rows =
            [left(text("a", "ok")), fetched(text("a", "ok")), fetched(text("b", "ok")), fetched(text("a", "no"))];
        assert_eq!(concluded(&rows, &said(Kind::MessageText, "a", true, "ok")), [(1, Answered)]);
        assert_eq!(concluded(&rows, &said(Kind::MessageText, "a", false, "ok")), []);
        let refused = said(Kind::MessageSystem, "a", false, "消息已发出，但被对方拒收了。");
        assert_eq!(concluded(&rows, &refused), [(0, Rejected)]);
        assert_eq!(concluded(&rows[..1], &refused), [(0, Rejected)]);
        assert_eq!(
            concluded(&[fetched(json!({"api": "sendChatroom", "wxid": "a", "chatroom": "1@chatroom"}))], &refused),
            []
        );
        assert_eq!(concluded(&[answered(text("a", "ok"))], &refused), [(0, Rejected)]);
    }
}
