//! The graph of the source: which file uses which, drawn from the code itself, against the map in `src/lib.rs`.
//!
//! The map has a row for each room, `room → the rooms that it uses`, and stands in the order of the layers: a room uses
//! only what stands below it. A room is a module with all that is below it, but for what is a room of its own. Every
//! arrow of the code is on the map and every arrow of the map is in the code; and the files of a room do not go in a
//! circle, so that each can be read, and tested, after those that it uses.

use crate::reader::{self, Named, Path};
use crate::{none, product, root};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// From a file to those that it uses, with the names that it uses of each.
type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The module that a file is: `src/store/journal.rs` is `store::journal`.
fn module(file: &str) -> Path {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    if path == "lib" { Path::new() } else { path.split('/').map(str::to_owned).collect() }
}

fn graph() -> Graph {
    let mut files: BTreeMap<Path, String> = BTreeMap::new();
    let mut named: BTreeMap<String, Named> = BTreeMap::new();
    for (file, text) in product() {
        let here = module(&file);
        let crates: &[&str] = if file.starts_with("src/bin/") { &["wehelp"] } else { &[] };
        let tokens = reader::tokens(&text);
        named.insert(file.clone(), reader::named(&reader::without_tests(&tokens), &here, crates));
        files.insert(here, file);
    }
    let mut graph = Graph::new();
    for (file, named_here) in &named {
        let arrows = graph.entry(file.clone()).or_default();
        for path in &named_here.used {
            if let Some((target, name)) = home(path, &files, &named).filter(|(target, _)| target != file) {
                arrows.entry(target).or_default().insert(name);
            }
        }
    }
    graph
}

/// The file that a path leads to and what it names there: down to the last module that is a file, and on from there when
/// that file only passes the name on. The root has only modules and a constant.
fn home(path: &Path, files: &BTreeMap<Path, String>, named: &BTreeMap<String, Named>) -> Option<(String, String)> {
    let mut path = path.clone();
    loop {
        let (length, file) = (1..=path.len()).rev().find_map(|length| Some((length, files.get(&path[..length])?)))?;
        match path.get(length).and_then(|name| named[file].passed_on.get(name)) {
            Some(from) => path = from.iter().chain(&path[length + 1..]).cloned().collect(),
            None => return Some((file.clone(), path[length..].join("::"))),
        }
    }
}

fn head() -> String {
    std::fs::read_to_string(root().join("src/lib.rs")).unwrap()
}

/// The rows of the map, in their order.
fn map() -> Vec<(String, BTreeSet<String>)> {
    let head = head();
    let row = Regex::new(r"(?m)^//! +([a-z_/]+) +→ ([a-z_/, ]+)$").unwrap();
    let words = |list: &str| list.split(", ").filter(|used| *used != "nothing").map(str::to_owned).collect();
    let rows: Vec<_> = row.captures_iter(&head).map(|row| (row[1].to_owned(), words(&row[2]))).collect();
    assert!(rows.len() > 5, "the map is not where it was: {rows:?}");
    rows
}

/// The room of a file: the longest one whose folder it is in.
fn room<'a>(file: &str, rooms: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    rooms.filter(|room| crate::is_in(file, room)).max_by_key(|room| room.len())
}

/// The shortest way from a file along the arrows back to itself.
fn circle(graph: &Graph, file: &str) -> Option<Vec<String>> {
    let mut from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([file]);
    while let Some(at) = queue.pop_front() {
        for next in graph.get(at).into_iter().flat_map(BTreeMap::keys) {
            if from.contains_key(next.as_str()) {
                continue;
            }
            from.insert(next, at);
            queue.push_back(next);
        }
    }
    let mut way = vec![file.to_owned()];
    let mut at = *from.get(file)?;
    while at != file {
        way.push(at.to_owned());
        at = from[at];
    }
    way.push(file.to_owned());
    way.reverse();
    Some(way)
}

/// A circle as one reads it: each file with what ties it to the next.
fn told(graph: &Graph, way: &[String]) -> String {
    let steps = way.windows(2).map(|step| {
        let names: Vec<&str> = graph[&step[0]][&step[1]].iter().map(String::as_str).take(4).collect();
        format!("{} ─({})→ ", step[0], names.join(" "))
    });
    steps.chain(way.last().cloned()).collect()
}

#[test]
fn the_map_has_every_arrow_of_the_code_and_no_other() {
    let map = map();
    let mut wrong = Vec::new();
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    let graph = graph();
    for (file, arrows) in &graph {
        let rooms = || map.iter().map(|(room, _)| room.as_str());
        let Some(here) = room(file, rooms()) else {
            wrong.extend((file != "src/lib.rs").then(|| format!("{file}: the map in src/lib.rs has no such room")));
            continue;
        };
        let uses = &map.iter().find(|(room, _)| room == here).unwrap().1;
        for (target, names) in arrows {
            let there = room(target, rooms()).unwrap_or("lib");
            seen.insert((here, there));
            if there != here && !uses.contains(there) {
                wrong.push(format!("{file}: {here} uses {there} ({names:?}), which the map does not say"));
            }
        }
    }
    let head = head();
    for (at, (room, uses)) in map.iter().enumerate() {
        if !room.starts_with("bin/") && !head.contains(&format!("`{room}`")) {
            wrong.push(format!("src/lib.rs does not say what `{room}` is"));
        }
        for used in uses {
            if !seen.contains(&(room.as_str(), used.as_str())) {
                wrong.push(format!("the map says that {room} uses {used}, which no file does"));
            } else if !map[at + 1..].iter().any(|(below, _)| below == used) {
                wrong.push(format!("the map says that {room} uses {used}, which does not stand below it"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let graph = graph();
    let ways = graph.keys().filter_map(|file| circle(&graph, file));
    none(&ways.map(|way| told(&graph, &way)).collect::<Vec<_>>());
}

#[test]
fn circles_are_found_and_the_shortest_is_told() {
    let arrow = |to: &str, name: &str| (to.to_owned(), BTreeSet::from([name.to_owned()]));
    let graph = Graph::from([
        ("a".to_owned(), BTreeMap::from([arrow("b", "X")])),
        ("b".to_owned(), BTreeMap::from([arrow("a", "Y"), arrow("c", "Z")])),
        ("c".to_owned(), BTreeMap::from([arrow("d", "W")])),
    ]);
    assert_eq!(told(&graph, &circle(&graph, "a").unwrap()), "a ─(X)→ b ─(Y)→ a");
    assert_eq!(circle(&graph, "c"), None);
    assert_eq!(circle(&graph, "d"), None);
}
