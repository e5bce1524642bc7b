//! What WeHelp clients do: they log in and out, report, poll under every name, and go away at any moment.

use crate::door::{End, Manner, Phase};
use crate::record::{Fact, Naming, Outcome};
use crate::world::{ALIAS, Hand, NICK, STEADY};
use serde_json::{Value, json};
use std::time::Duration;

/// A message of somebody.
fn message(account: &str, pid: u64, text: &str) -> Value {
    json!({
        "type": 78, "msgType": "1", "processid": pid, "cwxid": account, "wxid": "wxid_friend", "nick": "Friend",
        "myMsg": "0", "message": text,
    })
}

/// Tells who is logged in, until the daemon has answered or the round is over.
fn tell(hand: &mut Hand<'_>, account: usize, logged_in: bool) {
    let name = hand.accounts[account].clone();
    let code = match (logged_in, hand.rng.bool()) {
        (true, _) => 67,
        (false, true) => 90,
        (false, false) => 98,
    };
    loop {
        let event = json!({ "type": code, "code": 200, "processid": hand.pid, "cwxid": name });
        let (outcome, span) = hand.post(event, Manner::GOOD);
        hand.world.recorder.add(Fact::Told { account: name.clone(), pid: hand.pid, logged_in, span, outcome });
        if outcome == Outcome::Answered || hand.world.is_over() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    hand.logged_in = logged_in.then_some(account);
    hand.was_in = account;
}

pub(crate) fn log_in(hand: &mut Hand<'_>) {
    let account = hand.logged_in.unwrap_or_else(|| hand.rng.usize(0..2));
    tell(hand, account, true);
}

pub(crate) fn switch(hand: &mut Hand<'_>) {
    let account = 1 - hand.was_in;
    tell(hand, account, true);
}

pub(crate) fn log_out(hand: &mut Hand<'_>) {
    if let Some(account) = hand.logged_in {
        tell(hand, account, false);
    }
}

pub(crate) fn report(hand: &mut Hand<'_>) {
    // Who is logged out reports nothing: a message tells that its account is there.
    let Some(account) = hand.logged_in else { return };
    let name = hand.accounts[account].clone();
    let event = message(&name, hand.pid, "hello");
    hand.post(event, Manner::GOOD);
}

fn poll(hand: &mut Hand<'_>, query: &str, naming: Naming) {
    let manner = Manner::any(&mut hand.rng);
    hand.poll(query, naming, manner);
}

pub(crate) fn poll_as_itself(hand: &mut Hand<'_>) {
    match hand.logged_in {
        Some(account) => {
            let (name, pid) = (hand.accounts[account].clone(), hand.pid);
            poll(hand, &format!("wxid={name}&pid={pid}"), Naming { account: Some(name), pid: Some(pid) });
        }
        // As the client does before somebody has logged in.
        None => {
            let pid = hand.pid;
            poll(hand, &format!("wxid=null&pid={pid}"), Naming { account: None, pid: Some(pid) });
        }
    }
}

pub(crate) fn poll_by_pid(hand: &mut Hand<'_>) {
    let pid = hand.pid;
    poll(hand, &format!("pid={pid}"), Naming { account: None, pid: Some(pid) });
}

pub(crate) fn poll_as_before(hand: &mut Hand<'_>) {
    let name = hand.accounts[hand.was_in].clone();
    poll(hand, &format!("account={name}"), Naming { account: Some(name), pid: None });
}

pub(crate) fn poll_for_steady(hand: &mut Hand<'_>) {
    let which = hand.rng.usize(0..2);
    let (name, pid) = STEADY[which];
    let other = if which == 0 { ALIAS } else { NICK };
    let query = match hand.rng.u8(0..3) {
        0 => format!("wxid={name}&pid={pid}"),
        1 => format!("account={other}"),
        _ => format!("wxid={name}"),
    };
    poll(hand, &query, Naming { account: Some(name.to_owned()), pid: None });
}

pub(crate) fn poll_under_any_name(hand: &mut Hand<'_>) {
    let nobody = Naming::default();
    match hand.rng.u8(0..4) {
        0 => poll(hand, "", nobody),
        1 => poll(hand, "wxid=undefined&pid=0", nobody),
        2 => poll(hand, "account=wxid_nobody", Naming { account: Some("wxid_nobody".to_owned()), pid: None }),
        _ => {
            let pid = STEADY[0].1;
            poll(hand, &format!("wxid=(null)&pid={pid}"), Naming { account: None, pid: Some(pid) });
        }
    }
}

pub(crate) fn report_for_steady(hand: &mut Hand<'_>) {
    let (name, pid) = STEADY[hand.rng.usize(0..2)];
    let text = "x".repeat(match hand.rng.u8(0..8) {
        0 => 20_000,
        1 => 2_000,
        _ => 20,
    });
    let manner = Manner::any(&mut hand.rng);
    hand.post(message(name, pid, &text), manner);
}

pub(crate) fn report_rubbish(hand: &mut Hand<'_>) {
    let request = crate::door::head("POST", "/recieve_msg", b"{\"data\":{\"type\":78,", false);
    hand.visit(&request, Manner::GOOD);
}

/// Takes up room at the door.
pub(crate) fn idle(hand: &mut Hand<'_>) {
    let manner = Manner { phase: Phase::BeforeRequest, end: End::Silence, ..Manner::GOOD };
    hand.visit(b"", manner);
}
