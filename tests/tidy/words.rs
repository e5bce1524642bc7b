//! One word, one thing: a type has its name to itself.

use crate::reader::{self, Kind};
use crate::{none, product};
use std::collections::{BTreeMap, BTreeSet};

/// The names that belong to more than one file, and why.
const SHARED: &[(&str, &str)] = &[
    ("Error", "a module's own, told apart by the module: `store::Error`"),
    ("Refused", "a part's own, told apart by the part: `queue::refused::Refused`; the doors make statuses of them"),
];

/// The names that more than one file gives to a type, although they mean different things. It may only shrink: whoever
/// finds the right word deletes the line, and a line that is not needed any more fails.
#[rustfmt::skip] // A name a line, so that two who delete some do not meet.
const AMBIGUOUS: &[&str] = &[
    "Account",
    "Accounts",
    "Address",
    "Answer",
    "Ask",
    "Body",
    "Break",
    "Builder",
    "Change",
    "Changes",
    "Claimed",
    "Dropped",
    "End",
    "Ended",
    "Entry",
    "Failed",
    "Fault",
    "Filter",
    "Found",
    "Head",
    "Health",
    "Held",
    "Key",
    "Known",
    "Lane",
    "Lesson",
    "Line",
    "Lines",
    "Map",
    "Message",
    "Name",
    "Open",
    "Opened",
    "Outcome",
    "Page",
    "Pair",
    "Pairs",
    "Phase",
    "Pieces",
    "Place",
    "Places",
    "Plan",
    "Poller",
    "Progress",
    "Reader",
    "Record",
    "Refusal",
    "Reply",
    "Request",
    "Row",
    "Run",
    "Running",
    "Seat",
    "Seen",
    "Shared",
    "Signals",
    "Step",
    "Store",
    "Stored",
    "Taken",
    "Target",
    "Task",
    "Told",
    "Turn",
    "Until",
    "View",
    "Wanted",
    "Wire",
    "Work",
];

#[test]
fn a_type_name_stands_in_one_room_only() {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in product() {
        let tokens = reader::tokens(&text);
        for name in reader::types(&reader::without_tests(&tokens)) {
            places.entry(name.to_owned()).or_default().insert(file.clone());
        }
    }
    places.retain(|_, files| files.len() > 1);
    let excepted = || SHARED.iter().map(|(name, _)| *name).chain(AMBIGUOUS.iter().copied());
    let several = places.iter().filter(|(name, _)| excepted().all(|excepted| excepted != *name));
    let mut wrong: Vec<String> = several.map(|(name, files)| format!("{name} is a type in {files:?}")).collect();
    let single = excepted().filter(|name| !places.contains_key(*name));
    wrong.extend(single.map(|name| format!("{name} is one type's name only now: delete its line in AMBIGUOUS")));
    none(&wrong);
}

#[test]
fn types_are_told_from_what_belongs_to_a_type() {
    let source = "pub struct A<T>; enum B {} trait C { type Of; } impl C for A<u8> { type Of = u8; } type D = A<u8>; \
                  fn f(it: impl C) { struct E; } #[derive(Debug, Args)] pub struct H {} \
                  macro_rules! m { ($n:ident) => { struct $n; } } union G {}";
    let tokens = reader::tokens(source);
    assert!(tokens.iter().all(|token| token.kind != Kind::Text));
    assert_eq!(reader::types(&tokens), ["A", "B", "C", "D", "E", "G"]);
}
