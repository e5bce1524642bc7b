//! The judge: which promises the facts of a round break. Pure, so that each of its rules is tested by a handful of facts.
//!
//! It is asked at quiet moments: nobody is connected, nothing fails, and every account has polled until it got nothing.
//! What cannot be known is judged for the daemon: a request without an answer may have been done or not, and at any
//! moment between its sending and the end of its connection.

use crate::door::Manner;
use crate::record::{Check, Ending, Fact, Naming, Outcome, Span};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How long after a hand-over was read the daemon may still have been about to record it, microseconds: who dies in
/// that time hands it over again. The evidence comes in milliseconds; a busy machine needs more.
const RECORDING: u64 = 3_000_000;
/// How long a request whose connection was cut may still be done, microseconds.
const LATE: u64 = 2_000_000;
/// `getLoginQrCode` and `getLoginStatus`: they go out for accounts that are logged out.
const LOGIN_QUESTIONS: [&str; 2] = ["getLoginQrCode", "getLoginStatus"];

/// An event of the log at the quiet moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) seq: u64,
    pub(crate) mark: Option<String>,
    pub(crate) kind: String,
}

/// A command of the queue at the quiet moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Receipt {
    pub(crate) id: u64,
    pub(crate) state: String,
    pub(crate) account: Option<String>,
    pub(crate) api: String,
    pub(crate) text: String,
    pub(crate) key: Option<String>,
    /// Who fetched it, and whether that is confirmed.
    pub(crate) fetched: Option<(String, bool)>,
}

/// The daemon as it is at the quiet moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quiet {
    /// What is kept of the log.
    pub(crate) log: Vec<Logged>,
    /// The number of the oldest event kept.
    pub(crate) first: u64,
    /// The commands queued in the round.
    pub(crate) receipts: Vec<Receipt>,
    /// The names in the directory.
    pub(crate) nicks: HashMap<String, String>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    pub(crate) what: String,
}

/// What is remembered from round to round.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Where the log ended at the last quiet moment.
    tail: u64,
    /// The newest command then.
    newest: u64,
    /// What each reader had got then.
    readers: HashMap<String, u64>,
    /// Who is logged in where, or was last.
    accounts: BTreeMap<String, (u64, bool)>,
    /// Texts of commands that were over at an earlier quiet moment.
    over: HashSet<String>,
}

impl Oracle {
    /// Where the log ended at the last quiet moment.
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// The newest command at the last quiet moment.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Everything that a round broke.
    pub(crate) fn judge(&mut self, facts: &[Fact], quiet: &Quiet) -> Vec<Finding> {
        let mut findings = Findings(Vec::new());
        for fact in facts {
            if let Fact::Seen { check, what } = fact {
                findings.add(*check, what.clone());
            }
        }
        self.events(facts, quiet, &mut findings);
        self.readers(facts, quiet, &mut findings);
        let logins = Logins::new(&self.accounts, facts);
        commands(facts, quiet, &logins, &self.over, &mut findings);
        keys(facts, quiet, &mut findings);
        names(facts, quiet, &mut findings);
        self.accounts = logins.last();
        self.over.extend(quiet.receipts.iter().map(|receipt| receipt.text.clone()));
        self.newest = quiet.receipts.iter().map(|receipt| receipt.id).fold(self.newest, u64::max);
        self.tail = quiet.log.last().map_or(self.tail, |event| event.seq);
        findings.0
    }

    fn events(&self, facts: &[Fact], quiet: &Quiet, findings: &mut Findings) {
        let begin = quiet.first.max(self.tail + 1);
        for (at, event) in (begin..).zip(&quiet.log) {
            if event.seq != at {
                findings.add(Check::SeqGap, format!("#{} stands where #{at} is due", event.seq));
                break;
            }
        }
        let mut places: HashMap<&str, Vec<u64>> = HashMap::new();
        for event in &quiet.log {
            if let Some(mark) = &event.mark {
                places.entry(mark).or_default().push(event.seq);
            }
        }
        let all_kept = quiet.first <= self.tail + 1;
        let mut last: HashMap<usize, (u64, &str)> = HashMap::new();
        for fact in facts {
            let Fact::Posted { mark, hand, outcome, .. } = fact else { continue };
            let found = places.get(mark.as_str()).map_or(&[][..], Vec::as_slice);
            if found.len() > 1 {
                findings.add(Check::EventTwice, format!("{mark} was posted once and is #{found:?}"));
            }
            if *outcome != Outcome::Answered {
                continue;
            }
            match found.first() {
                None if all_kept => findings.add(Check::EventLost, format!("{mark} was answered and is not there")),
                None => {}
                Some(&seq) => {
                    if let Some((before, other)) = last.insert(*hand, (seq, mark)).filter(|(before, _)| *before > seq) {
                        findings.add(Check::EventOrder, format!("{mark} is #{seq}, {other} before it #{before}"));
                    }
                }
            }
        }
    }

    fn readers(&mut self, facts: &[Fact], quiet: &Quiet, findings: &mut Findings) {
        let log: BTreeMap<u64, &Logged> = quiet.log.iter().map(|event| (event.seq, event)).collect();
        let start = Place::start(quiet.first);
        let mut places: HashMap<&str, Place> = self
            .readers
            .iter()
            .map(|(name, seq)| (name.as_str(), Place { due: seq + 1, again: false, kind: None }))
            .collect();
        for fact in facts {
            match fact {
                Fact::Began { reader, after, again, kind } => {
                    let place = places.entry(reader).or_insert(start);
                    // Where a new one starts is not known before it was given something.
                    let again = *again || (after.is_none() && place.due == u64::MAX);
                    *place = Place { due: after.map_or(place.due, |after| after + 1), again, kind: *kind };
                }
                Fact::Dropped { reader, from, to } => {
                    let place = places.entry(reader).or_insert(start);
                    if *from > place.due {
                        let what = format!("{reader} is told of #{from}–#{to}, due is #{}", place.due);
                        findings.add(Check::ReaderSkips, what);
                    }
                    if *to >= place.due {
                        (place.due, place.again) = (to + 1, false);
                    }
                }
                Fact::Read { reader, seq, mark } => {
                    let place = places.entry(reader).or_insert(start);
                    let skipped = match place.kind {
                        _ if *seq <= place.due => None,
                        None => Some(place.due),
                        Some(kind) => {
                            log.range(place.due..*seq).find(|(_, event)| event.kind == kind).map(|(seq, _)| *seq)
                        }
                    };
                    if let Some(skipped) = skipped {
                        findings.add(Check::ReaderSkips, format!("{reader} gets #{seq}, due is #{skipped}"));
                    } else if *seq < place.due && !place.again {
                        let what = format!("{reader} gets #{seq} again, due is #{}", place.due);
                        findings.add(Check::ReaderRepeats, what);
                    }
                    // It is in step from here on, unless it begins again.
                    (place.due, place.again) = (seq + 1, false);
                    if let Some(event) = log.get(seq)
                        && place.kind.is_none()
                        && event.mark != *mark
                    {
                        let what = format!("{reader} gets {mark:?} as #{seq}, the log has {:?}", event.mark);
                        findings.add(Check::ReaderDiffers, what);
                    }
                }
                _ => {}
            }
        }
        let known = places.into_iter().filter(|(_, place)| place.due < u64::MAX);
        self.readers = known.map(|(name, place)| (name.to_owned(), place.due - 1)).collect();
    }
}

/// Where a reader stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The next event for it.
    due: u64,
    /// It may get older ones first.
    again: bool,
    kind: Option<&'static str>,
}

impl Place {
    /// Of a new reader: it starts with the oldest event kept. Which one that was when it began, retention knows.
    fn start(first: u64) -> Self {
        if first > 1 {
            Self { due: u64::MAX, again: true, kind: None }
        } else {
            Self { due: 1, again: false, kind: None }
        }
    }
}

#[derive(Debug)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: Check, what: String) {
        self.0.push(Finding { check, what });
    }
}

/// Who was logged in where, when.
#[derive(Debug)]
struct Logins<'a> {
    before: &'a BTreeMap<String, (u64, bool)>,
    /// Account, process, logged in or out, when, known or perhaps.
    told: Vec<(&'a str, u64, bool, Span, Outcome)>,
}

impl<'a> Logins<'a> {
    fn new(before: &'a BTreeMap<String, (u64, bool)>, facts: &'a [Fact]) -> Self {
        let mut told = Vec::new();
        for fact in facts {
            if let Fact::Told { account, pid, logged_in, span, outcome } = fact {
                told.push((account.as_str(), *pid, *logged_in, *span, *outcome));
            }
        }
        told.sort_by_key(|(_, _, _, span, _)| span.from);
        Self { before, told }
    }

    /// What an event says of an account: another one's login in its process ends its own.
    fn says(&self, event: &(&str, u64, bool, Span, Outcome), account: &str) -> Option<bool> {
        let (whose, pid, logged_in, ..) = *event;
        if whose == account {
            return Some(logged_in);
        }
        (logged_in && self.process(account) == Some(pid)).then_some(false)
    }

    /// An account keeps its process in these runs.
    fn process(&self, account: &str) -> Option<u64> {
        let told = self.told.iter().find(|(whose, ..)| *whose == account).map(|(_, pid, ..)| *pid);
        told.or_else(|| self.before.get(account).map(|(pid, _)| *pid))
    }

    /// Whether an account may have been logged in at a moment of `span`.
    fn may_be_in(&self, account: &str, span: Span) -> bool {
        // Nothing has told of it yet: a script is ahead of the login, and so may its client be.
        let mut state = self.before.get(account).is_none_or(|(_, logged_in)| *logged_in);
        let mut maybe = false;
        let mut sure_from = 0;
        for event in &self.told {
            let Some(logged_in) = self.says(event, account) else { continue };
            let (.., when, outcome) = *event;
            if outcome == Outcome::Answered && when.to < span.from {
                (state, sure_from) = (logged_in, when.from);
            } else if outcome == Outcome::Answered {
                maybe |= logged_in && when.from <= span.to;
            }
        }
        for event in &self.told {
            let Some(true) = self.says(event, account) else { continue };
            let (.., when, outcome) = *event;
            // One that was not answered may have been done, until it was too late for that and something newer was told.
            maybe |= outcome != Outcome::Answered && when.from <= span.to && when.to + LATE > sure_from;
        }
        state || maybe
    }

    /// For people: what was told of an account last.
    fn last_of(&self, account: &str, span: Span) -> String {
        let told = self.told.iter().filter(|event| self.says(event, account).is_some() && event.3.from <= span.to);
        let said = told.map(|(whose, _, logged_in, when, outcome)| {
            format!("{whose} {} at {} ms: {outcome:?}", if *logged_in { "in" } else { "out" }, when.from / 1000)
        });
        let said: Vec<String> = said.collect();
        said[said.len().saturating_sub(3)..].join(", ")
    }

    fn last(&self) -> BTreeMap<String, (u64, bool)> {
        let mut last = self.before.clone();
        for (account, pid, ..) in &self.told {
            let end = Span { from: u64::MAX - LATE, to: u64::MAX };
            last.insert((*account).to_owned(), (*pid, self.may_be_in(account, end)));
        }
        last
    }
}

/// A hand-over that a client took in.
#[derive(Debug, Clone, Copy)]
struct Handed<'a> {
    peer: &'a str,
    naming: &'a Naming,
    span: Span,
    manner: Manner,
    ending: Ending,
}

/// Whether the daemon may not have been able to record how a hand-over ended.
fn daemon_died_in(facts: &[Fact], handed: Span, again: Span) -> bool {
    let window = Span { from: handed.from, to: handed.to + RECORDING };
    // While nothing can be written, recording goes on until the faults are over.
    let window = facts.iter().fold(window, |window, fact| match fact {
        Fact::Faulty { span } if span.touches(window) => Span { to: window.to.max(span.to + RECORDING), ..window },
        _ => window,
    });
    facts.iter().any(|fact| {
        matches!(fact, Fact::Down { span, .. } if window.from <= span.to && span.from <= window.to && span.from <= again.to)
    })
}

/// What is queued under a wrong account goes astray, or nowhere: that is one fault, not three.
fn misbound(facts: &[Fact], quiet: &Quiet, findings: &mut Findings) -> HashSet<String> {
    let by_id: HashMap<u64, &Receipt> = quiet.receipts.iter().map(|r| (r.id, r)).collect();
    let mut texts = HashSet::new();
    for fact in facts {
        let Fact::Queued { text, account, id: Some(id), .. } = fact else { continue };
        let found = by_id.get(id).filter(|found| account.is_some() && found.account != *account);
        if let Some(found) = found
            && texts.insert(text.clone())
        {
            findings.add(Check::Misbound, format!("{text} was queued for {account:?}: {found:?}"));
        }
    }
    texts
}

fn commands(facts: &[Fact], quiet: &Quiet, logins: &Logins<'_>, over: &HashSet<String>, findings: &mut Findings) {
    let astray = misbound(facts, quiet, findings);
    let receipts: HashMap<&str, &Receipt> = quiet.receipts.iter().map(|r| (r.text.as_str(), r)).collect();
    // A key whose command was cancelled is free: then there are two commands of one text, and a poll does not tell which.
    let ambiguous: HashSet<&str> = {
        let mut seen = HashSet::new();
        quiet.receipts.iter().map(|r| r.text.as_str()).filter(|text| !seen.insert(*text)).collect()
    };
    let by_id: HashMap<u64, &Receipt> = quiet.receipts.iter().map(|r| (r.id, r)).collect();
    let mut handed: HashMap<&str, Vec<Handed<'_>>> = HashMap::new();
    let mut polls: HashMap<&str, Vec<Handed<'_>>> = HashMap::new();
    for fact in facts {
        let Fact::Polled { peer, naming, span, manner, ending, texts } = fact else { continue };
        let one = Handed { peer, naming, span: *span, manner: *manner, ending: *ending };
        polls.entry(peer).or_default().push(one);
        for text in texts {
            handed.entry(text).or_default().push(one);
        }
    }
    let retried: HashMap<u64, Vec<Span>> = facts.iter().fold(HashMap::new(), |mut all, fact| {
        if let Fact::Retried { id, span } = fact {
            all.entry(*id).or_insert_with(Vec::new).push(*span);
        }
        all
    });
    for fact in facts {
        let Fact::Queued { text, id: Some(id), .. } = fact else { continue };
        match by_id.get(id) {
            None => findings.add(Check::ReceiptLost, format!("command {id} ({text}) was acknowledged and is gone")),
            Some(found) if found.text != *text => {
                findings.add(Check::ReceiptLost, format!("command {id} was {text}, is {found:?}"));
            }
            Some(_) => {}
        }
    }
    for (text, times) in &handed {
        let mut times = times.clone();
        times.sort_by_key(|one| one.span.from);
        let receipt = receipts.get(text);
        for one in &times {
            if let Some(receipt) = receipt.filter(|receipt| !astray.contains(&receipt.text)) {
                may_have(receipt, one, logins, findings);
            }
        }
        if over.contains(*text) && receipt.is_none() {
            let what = format!("{text} was over at an earlier quiet moment and is handed to {}", times[0].peer);
            findings.add(Check::HandedTwice, what);
        }
        for pair in times.windows(2).filter(|_| !ambiguous.contains(*text)) {
            let (first, second) = (pair[0], pair[1]);
            let is_retried = receipt.is_some_and(|receipt| {
                let spans = retried.get(&receipt.id).map_or(&[][..], Vec::as_slice);
                spans.iter().any(|span| span.from <= second.span.to && span.to >= first.span.from)
            });
            // Of two polls that were open together either may have been the first: one that was held came later to it.
            let may_be_first = [Some(first), Some(second).filter(|second| second.span.touches(first.span))];
            let excused =
                may_be_first.iter().flatten().any(|one| !matches!(one.ending, Ending::Orderly | Ending::Read))
                    || is_retried
                    || daemon_died_in(facts, first.span, second.span);
            if !excused {
                let what = format!(
                    "{text} was read by {} at {} ms, {:?}, {:?}, and again by {} at {} ms, {:?}, {:?}",
                    first.peer,
                    first.span.to / 1000,
                    first.manner,
                    first.ending,
                    second.peer,
                    second.span.to / 1000,
                    second.manner,
                    second.ending
                );
                findings.add(Check::HandedTwice, what);
            }
        }
    }
    for receipt in &quiet.receipts {
        let times = handed.get(receipt.text.as_str()).map_or(&[][..], Vec::as_slice);
        match receipt.state.as_str() {
            "in_flight" => findings.add(Check::Stuck, format!("{receipt:?}")),
            // Nobody polls for an account that is none.
            "ready" | "scheduled" if astray.contains(&receipt.text) => {}
            "ready" | "scheduled" => {
                findings.add(Check::NeverHanded, format!("its account polled until it got nothing: {receipt:?}"));
            }
            "fetched" | "answered" | "rejected" => is_with_its_client(receipt, times, &polls, findings),
            _ => {}
        }
    }
    for fact in facts {
        let Fact::Cancelled { id, span, done: true } = fact else { continue };
        let Some(receipt) = by_id.get(id) else { continue };
        let is_retried = retried.get(id).is_some_and(|spans| spans.iter().any(|retry| retry.to > span.from));
        let late = handed.get(receipt.text.as_str()).into_iter().flatten().find(|one| one.span.from > span.to);
        if let Some(late) = late.filter(|_| !is_retried && !ambiguous.contains(receipt.text.as_str())) {
            let what = format!("{receipt:?} was cancelled and went to {} afterwards", late.peer);
            findings.add(Check::CancelledHanded, what);
        }
    }
}

/// What is fetched is with a client that may have it.
fn is_with_its_client(
    receipt: &Receipt,
    times: &[Handed<'_>],
    polls: &HashMap<&str, Vec<Handed<'_>>>,
    findings: &mut Findings,
) {
    let Some((peer, confirmed)) = &receipt.fetched else {
        findings.add(Check::NeverHanded, format!("nobody fetched {receipt:?}"));
        return;
    };
    let by_peer = polls.get(peer.as_str()).map_or(&[][..], Vec::as_slice);
    let read = times.iter().find(|one| one.peer == peer);
    match read {
        // What came before the answer was written says nothing of it.
        None if *confirmed && by_peer.iter().any(|one| one.manner.half_close || one.manner.pipelined > 1) => {
            findings.add(Check::Confirmed, format!("confirmed, and read by nobody: {receipt:?}, {by_peer:?}"));
        }
        None if *confirmed => {
            findings.add(Check::NeverHanded, format!("confirmed, and read by nobody: {receipt:?}, {by_peer:?}"));
        }
        // Acknowledged by the kernel of a client that went before it read: nobody can tell.
        None if by_peer.iter().any(|one| one.ending == Ending::Cut) => {}
        None => findings.add(Check::NeverHanded, format!("its client read another answer: {receipt:?}, {by_peer:?}")),
        Some(one) if one.ending == Ending::Orderly && !confirmed => {
            findings.add(Check::Confirmed, format!("closed in order, and not confirmed: {receipt:?}, {one:?}"));
        }
        Some(_) => {}
    }
}

/// A command goes to its own account, while that is logged in.
fn may_have(receipt: &Receipt, one: &Handed<'_>, logins: &Logins<'_>, findings: &mut Findings) {
    let Some(account) = &receipt.account else { return };
    let Handed { naming, span, peer, .. } = one;
    let named = match (&naming.account, naming.pid) {
        (Some(name), _) => name == account,
        (None, pid) => pid.is_some() && logins.process(account) == pid,
    };
    if !named {
        findings.add(Check::Foreign, format!("{naming:?} at {peer} got {receipt:?}"));
    } else if !logins.may_be_in(account, *span) && !LOGIN_QUESTIONS.contains(&receipt.api.as_str()) {
        let (from, to) = (span.from / 1000, span.to / 1000);
        let last = logins.last_of(account, *span);
        let what = format!("{account} was logged out at {from}–{to} ms ({last}): {receipt:?} to {naming:?}");
        findings.add(Check::LoggedOut, what);
    }
}

/// The same key, the same command.
fn keys(facts: &[Fact], quiet: &Quiet, findings: &mut Findings) {
    let is_unsent = |receipt: &Receipt| matches!(receipt.state.as_str(), "expired" | "cancelled");
    let mut of_key: HashMap<(&Option<String>, &str), Vec<&Receipt>> = HashMap::new();
    for receipt in quiet.receipts.iter().filter(|receipt| !is_unsent(receipt)) {
        if let Some(key) = &receipt.key {
            of_key.entry((&receipt.account, key)).or_default().push(receipt);
        }
    }
    for ((account, key), receipts) in of_key {
        if receipts.len() > 1 {
            let ids: Vec<_> = receipts.iter().map(|receipt| receipt.id).collect();
            findings.add(Check::KeyTwice, format!("the key {key} of {account:?} queued {ids:?}"));
        }
    }
    // Whoever asked again was given the first one's receipt, while that was not unsent.
    let unsent: HashSet<u64> = quiet.receipts.iter().filter(|r| is_unsent(r)).map(|r| r.id).collect();
    let mut ids: HashMap<(&str, &str), HashSet<u64>> = HashMap::new();
    for fact in facts {
        if let Fact::Queued { text, key: Some(key), id: Some(id), .. } = fact
            && !unsent.contains(id)
        {
            ids.entry((key, text)).or_default().insert(*id);
        }
    }
    for ((key, text), ids) in ids.into_iter().filter(|(_, ids)| ids.len() > 1) {
        findings.add(Check::KeyTwice, format!("the key {key} gave receipts {ids:?} for {text}"));
    }
}

/// The directory knows the last names.
fn names(facts: &[Fact], quiet: &Quiet, findings: &mut Findings) {
    let mut may_be: HashMap<&str, (bool, Vec<&str>)> = HashMap::new();
    for fact in facts {
        let Fact::Named { wxid, nick, outcome } = fact else { continue };
        let (sure, names) = may_be.entry(wxid).or_default();
        if *outcome == Outcome::Answered {
            names.clear();
            *sure = true;
        }
        names.push(nick);
    }
    for (wxid, (_, names)) in may_be.into_iter().filter(|(_, (sure, _))| *sure) {
        let known = quiet.nicks.get(wxid).map(String::as_str);
        // Told without an answer, it may have been learned or not.
        if !known.is_some_and(|known| names.contains(&known)) {
            findings.add(Check::DirectoryStale, format!("{wxid} is {known:?}, told was {names:?}"));
        }
    }
}

/// A round of facts, and what they come to.
#[cfg(test)]
mod tests {
    use super::*;

    const ORDERLY: Ending = Ending::Orderly;

    fn span(from: u64, to: u64) -> Span {
        Span { from: from * 1000, to: to * 1000 }
    }

    fn posted(mark: &str, from: u64, outcome: Outcome) -> Fact {
        Fact::Posted { mark: mark.into(), hand: 0, span: span(from, from + 1), outcome }
    }

    fn told(logged_in: bool, from: u64, outcome: Outcome) -> Fact {
        Fact::Told { account: "a".into(), pid: 7, logged_in, span: span(from, from + 1), outcome }
    }

    fn polled(from: u64, ending: Ending, texts: &[&str]) -> Fact {
        let naming = Naming { account: Some("a".into()), pid: None };
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        Fact::Polled { peer: from.to_string(), naming, span: span(from, from + 1), manner: Manner::GOOD, ending, texts }
    }

    fn queued(text: &str, key: Option<&str>, id: u64) -> Fact {
        let key = key.map(str::to_owned);
        Fact::Queued { text: text.into(), account: Some("a".into()), key, span: span(0, 1), id: Some(id) }
    }

    fn receipt(id: u64, state: &str, fetched: Option<(&str, bool)>) -> Receipt {
        let fetched = fetched.map(|(peer, confirmed)| (peer.to_owned(), confirmed));
        let (state, text) = (state.to_owned(), format!("t{id}"));
        Receipt { id, state, account: Some("a".into()), text, fetched, ..Receipt::default() }
    }

    fn log(marks: &[&str]) -> Quiet {
        let event = |(seq, mark): (u64, &&str)| Logged { seq, mark: Some((*mark).to_owned()), kind: "x".into() };
        Quiet { log: (1..).zip(marks).map(event).collect(), first: 1, ..Quiet::default() }
    }

    fn queue(receipts: Vec<Receipt>) -> Quiet {
        Quiet { receipts, first: 1, ..Quiet::default() }
    }

    #[track_caller]
    fn comes_to(facts: &[Fact], quiet: &Quiet, expected: &[Check]) {
        let found = Oracle::default().judge(facts, quiet);
        assert_eq!(found.iter().map(|finding| finding.check).collect::<Vec<_>>(), expected, "{found:?}");
    }

    #[test]
    fn an_answered_event_is_there_once_and_in_its_place() {
        let answered = [posted("x", 1, Outcome::Answered), posted("y", 3, Outcome::Answered)];
        comes_to(&answered, &log(&["x", "y"]), &[]);
        comes_to(&answered, &log(&["x"]), &[Check::EventLost]);
        comes_to(&answered, &log(&["x", "y", "x"]), &[Check::EventTwice]);
        comes_to(&answered, &log(&["y", "x"]), &[Check::EventOrder]);
        let mut gap = log(&["x", "y"]);
        gap.log[1].seq = 3;
        comes_to(&answered, &gap, &[Check::SeqGap]);
        // Without an answer it may be there or not, but not twice.
        let unknown = [posted("x", 1, Outcome::Unknown)];
        comes_to(&unknown, &log(&[]), &[]);
        comes_to(&unknown, &log(&["x"]), &[]);
        comes_to(&unknown, &log(&["x", "x"]), &[Check::EventTwice]);
        // What retention took is not lost.
        comes_to(&answered, &Quiet { first: 3, ..Quiet::default() }, &[]);
    }

    #[test]
    fn a_reader_gets_every_event_once_and_is_told_of_those_that_are_gone() {
        let read = |seq: u64, mark: &str| Fact::Read { reader: "r".into(), seq, mark: Some(mark.into()) };
        let began = |after, again| Fact::Began { reader: "r".into(), after, again, kind: None };
        let dropped = |from, to| Fact::Dropped { reader: "r".into(), from, to };
        let quiet = log(&["x", "y", "z"]);
        comes_to(&[began(Some(0), false), read(1, "x"), read(2, "y"), read(3, "z")], &quiet, &[]);
        comes_to(&[read(1, "x"), read(3, "z")], &quiet, &[Check::ReaderSkips]);
        comes_to(&[read(1, "x"), read(1, "x")], &quiet, &[Check::ReaderRepeats]);
        comes_to(&[read(1, "x"), began(None, true), read(1, "x"), read(2, "y")], &quiet, &[]);
        comes_to(&[read(1, "x"), began(None, true), read(3, "z")], &quiet, &[Check::ReaderSkips]);
        comes_to(&[read(1, "y")], &quiet, &[Check::ReaderDiffers]);
        comes_to(&[dropped(1, 2), read(3, "z")], &quiet, &[]);
        comes_to(&[dropped(2, 2), read(3, "z")], &quiet, &[Check::ReaderSkips]);
        let only = Fact::Began { reader: "r".into(), after: None, again: false, kind: Some("x") };
        comes_to(&[only.clone(), read(1, "x"), read(3, "z")], &quiet, &[Check::ReaderSkips]);
        let mut other = log(&["x", "y", "z"]);
        other.log[1].kind = "other".into();
        comes_to(&[only, read(1, "x"), read(3, "z")], &other, &[]);
        // Where a new reader started is not known when retention has been there meanwhile.
        let mut dropped = Quiet { first: 2, ..log(&["x", "y", "z"]) };
        dropped.log.remove(0);
        comes_to(&[began(None, false), read(1, "x"), read(2, "y")], &dropped, &[]);
        comes_to(&[began(None, false), read(1, "x"), read(1, "x")], &dropped, &[Check::ReaderRepeats]);
    }

    #[test]
    fn a_command_is_handed_over_once_unless_that_failed_or_the_daemon_died_in_it() {
        let quiet = queue(vec![receipt(1, "fetched", Some(("100", true)))]);
        let start = [told(true, 1, Outcome::Answered), queued("t1", None, 1)];
        let with = |facts: &[Fact]| [&start[..], facts].concat();
        let once = polled(100, ORDERLY, &["t1"]);
        let twice = polled(9000, ORDERLY, &["t1"]);
        comes_to(&with(std::slice::from_ref(&once)), &quiet, &[]);
        comes_to(&with(&[once.clone(), twice.clone()]), &quiet, &[Check::HandedTwice]);
        let died = |from| Fact::Down { span: span(from, from + 1), killed: true };
        comes_to(&with(&[once.clone(), died(101), twice.clone()]), &quiet, &[]);
        comes_to(&with(&[once.clone(), died(8000), twice.clone()]), &quiet, &[Check::HandedTwice]);
        let failing = Fact::Faulty { span: span(90, 7900) };
        comes_to(&with(&[once.clone(), failing, died(8000), twice.clone()]), &quiet, &[]);
        let retried = Fact::Retried { id: 1, span: span(200, 201) };
        comes_to(&with(&[once.clone(), retried, twice]), &quiet, &[]);
        // A held poll gets what a later one did not take.
        let mut held = polled(100, ORDERLY, &["t1"]);
        if let Fact::Polled { span: of, .. } = &mut held {
            *of = span(100, 500);
        }
        comes_to(&with(&[held.clone(), polled(200, Ending::Cut, &["t1"])]), &quiet, &[]);
        comes_to(&with(&[held, polled(200, ORDERLY, &["t1"])]), &quiet, &[Check::HandedTwice]);
        // Nobody read it; whether that can be is told by what the client did.
        comes_to(&with(&[polled(100, Ending::Cut, &[])]), &quiet, &[Check::NeverHanded]);
        let unsure = queue(vec![receipt(1, "fetched", Some(("100", false)))]);
        comes_to(&with(&[polled(100, Ending::Cut, &[])]), &unsure, &[]);
        comes_to(&with(&[polled(100, ORDERLY, &[])]), &unsure, &[Check::NeverHanded]);
        comes_to(&with(&[once]), &unsure, &[Check::Confirmed]);
        comes_to(&start, &queue(vec![receipt(1, "ready", None)]), &[Check::NeverHanded]);
        comes_to(&start, &queue(vec![receipt(1, "in_flight", None)]), &[Check::Stuck]);
        comes_to(&start, &queue(vec![]), &[Check::ReceiptLost]);
    }

    #[test]
    fn a_command_goes_to_its_account_while_that_is_logged_in() {
        let quiet = queue(vec![receipt(1, "fetched", Some(("100", true)))]);
        let got = polled(100, ORDERLY, &["t1"]);
        let given = |facts: &[Fact], expected: &[Check]| {
            comes_to(&[facts, &[queued("t1", None, 1), got.clone()]].concat(), &quiet, expected);
        };
        let (yes, perhaps) = (Outcome::Answered, Outcome::Unknown);
        given(&[told(true, 1, yes)], &[]);
        given(&[], &[]);
        given(&[told(false, 1, yes)], &[Check::LoggedOut]);
        given(&[told(true, 1, yes), told(false, 50, yes)], &[Check::LoggedOut]);
        given(&[told(true, 1, yes), told(false, 50, perhaps)], &[]);
        given(&[told(true, 1, yes), told(false, 100, yes)], &[]);
        given(&[told(false, 1, yes), told(true, 50, perhaps)], &[]);
        // Another one's login in its process ends its own.
        let other = Fact::Told { account: "b".into(), pid: 7, logged_in: true, span: span(50, 51), outcome: yes };
        given(&[told(true, 1, yes), other], &[Check::LoggedOut]);
        let stranger = Fact::Polled {
            peer: "100".into(),
            naming: Naming { account: Some("b".into()), pid: None },
            span: span(100, 101),
            manner: Manner::GOOD,
            ending: ORDERLY,
            texts: vec!["t1".into()],
        };
        comes_to(&[told(true, 1, yes), queued("t1", None, 1), stranger], &quiet, &[Check::Foreign]);
    }

    #[test]
    fn what_was_cancelled_is_handed_to_nobody_and_a_key_queues_one_command() {
        let start = [told(true, 1, Outcome::Answered), queued("t1", Some("k"), 1)];
        let with = |facts: &[Fact]| [&start[..], facts].concat();
        let cancelled = |from| Fact::Cancelled { id: 1, span: span(from, from + 1), done: true };
        let quiet = queue(vec![receipt(1, "cancelled", None)]);
        comes_to(&with(&[cancelled(50)]), &quiet, &[]);
        comes_to(&with(&[cancelled(50), polled(100, ORDERLY, &["t1"])]), &quiet, &[Check::CancelledHanded]);
        let keyed = |id, state: &str| Receipt { key: Some("k".into()), ..receipt(id, state, Some(("100", true))) };
        let both = queue(vec![keyed(1, "fetched"), Receipt { text: "t1".into(), ..keyed(2, "fetched") }]);
        let got = polled(100, ORDERLY, &["t1"]);
        comes_to(&with(std::slice::from_ref(&got)), &both, &[Check::KeyTwice]);
        let free = queue(vec![keyed(1, "cancelled"), Receipt { text: "t1".into(), ..keyed(2, "fetched") }]);
        comes_to(&with(&[got, queued("t1", Some("k"), 2)]), &free, &[]);
    }

    #[test]
    fn the_directory_says_what_was_told_last() {
        let named = |nick: &str, outcome| Fact::Named { wxid: "w".into(), nick: nick.into(), outcome };
        let knows = |nick: &str| Quiet { nicks: [("w".into(), nick.into())].into(), first: 1, ..Quiet::default() };
        let facts = [named("1", Outcome::Answered), named("2", Outcome::Answered)];
        comes_to(&facts, &knows("2"), &[]);
        comes_to(&facts, &knows("1"), &[Check::DirectoryStale]);
        comes_to(&[named("1", Outcome::Answered), named("2", Outcome::Unknown)], &knows("1"), &[]);
    }
}
