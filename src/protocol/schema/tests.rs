//! What is told is what the schema says, and the other way round.

use super::*;
use super::{bodies, validator};
use crate::clock::Time;
use crate::daemon::line;
use crate::protocol::event::{Body, read_body};
use crate::seq::Seq;
use std::collections::BTreeSet;

/// The line of an event is as the schema says, closed.
pub(in crate::protocol) fn holds(line: &str) {
    let value: Value = serde_json::from_str(line).unwrap();
    validator::check(&entry(Openness::Closed), &value).unwrap_or_else(|why| panic!("{why}\nin {line}"));
}

fn line_of(body: &[u8]) -> String {
    let (seq, time) = (Seq(17), Time::from_millis(1_795_510_800_123));
    match read_body(body) {
        Body::Readable(data) => line::text(seq, time, &data),
        Body::Unreadable(reason) => line::unparsed_text(seq, time, &reason, body),
    }
}

/// A line for every event that stands in a file, and for what the daemon itself tells.
fn lines() -> Vec<String> {
    let own = bodies::own().into_iter().filter_map(|body| line::own_text(Seq(17), Time::from_millis(0), &body));
    bodies::callbacks().iter().map(|body| line_of(body)).chain(own).collect()
}

#[test]
fn every_event_of_the_fixtures_is_as_the_schema_says_and_every_kind_is_among_them() {
    let lines = lines();
    lines.iter().for_each(|line| holds(line));
    let kinds: BTreeSet<String> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().into())
        .collect();
    let missing: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).filter(|kind| !kinds.contains(*kind)).collect();
    assert!(missing.is_empty(), "no example of {missing:?}");
}

/// Notices of rooms share theirs.
fn shape(kind: &str) -> &str {
    if Kind::from_name(kind).is_some_and(Kind::is_of_room) { "a notice" } else { kind }
}

#[test]
fn every_key_of_the_schema_is_told_by_an_event_of_the_fixtures() {
    let mut told = BTreeSet::new();
    for line in lines() {
        let line: Value = serde_json::from_str(&line).unwrap();
        validator::told(&line["decoded"], shape(line["kind"].as_str().unwrap()), &mut told);
    }
    let mut named = BTreeSet::new();
    for kind in Kind::ALL {
        validator::named(&decoded(*kind).schema(Openness::Closed), shape(kind.as_str()), &mut named);
    }
    let untold: Vec<_> = named.difference(&told).collect();
    assert!(untold.is_empty(), "no event tells {untold:?}");
}

#[test]
fn a_key_more_or_of_another_form_is_found() {
    let line = line_of(json!({"type": 67, "cwxid": "wxid_me", "code": 200}).to_string().as_bytes());
    let whole: Value = serde_json::from_str(&line).unwrap();
    holds(&line);
    let refused = |change: &dyn Fn(&mut Value), openness| {
        let mut changed = whole.clone();
        change(&mut changed);
        validator::check(&entry(openness), &changed).is_err()
    };
    for openness in [Openness::Open, Openness::Closed] {
        let is_closed = openness == Openness::Closed;
        assert_eq!(refused(&|line| line["decoded"]["more"] = 1.into(), openness), is_closed);
        assert_eq!(refused(&|line| line["more"] = 1.into(), openness), is_closed);
        assert!(refused(&|line| line["decoded"] = json!({}), openness));
        assert!(refused(&|line| line["decoded"]["code"] = "200".into(), openness));
        assert!(refused(&|line| line["kind"] = "logon".into(), openness));
        assert!(refused(&|line| line["type"] = 66.into(), openness));
        assert!(refused(&|line| line["self"] = true.into(), openness));
        assert!(refused(&|line| drop(line.as_object_mut().unwrap().remove("from_name")), openness));
    }
}

#[test]
fn the_keys_stand_in_the_order_of_a_line() {
    let line: Value = serde_json::from_str(&line_of(b"{\"type\":67}")).unwrap();
    let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, KEYS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}
