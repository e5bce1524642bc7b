//! What the source promises of itself, read out of it: the map of `src/lib.rs` (`graph`), one word for one thing
//! (`words`), functions that can be read (`sizes`), who names which crate, no left-overs, a contract at the head of every file, and no trace of the machine that it was written on.
//!
//! It reads text, not meaning: comments and unit tests are left out. A file that is added is held to the rules of its
//! folder without being named here.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod graph;
mod reader;
mod sizes;
mod words;

use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which files a rule is about.
type Files = fn(&str) -> bool;

/// Where a crate, or a part of the standard library, may be named.
const NAMES: &[(&str, Files)] = &[
    (r"\bsled\b", |file| is_in(file, "store")),
    // A part of the daemon knows no HTTP, but for the client that posts what is forwarded; and no door.
    (r"\b(warp|hyper|hyper_util|http_body_util)::", |file| {
        is_in(file, "daemon/doors") || is_in(file, "daemon/forwards/post")
    }),
    (r"\b(doors|parts)::", |file| is_in(file, "daemon/doors") || file == "src/daemon.rs"),
    // A verb's arguments are in its file, and so is the crate that reads them.
    (r"\b(clap|clap_complete)\b", |file| {
        let rooms = ["cli/options", "cli/parse", "cli/complete", "cli/verb", "daemon/args", "bin"];
        rooms.iter().any(|room| is_in(file, room))
    }),
    (r"\bcolored\b", |file| is_in(file, "cli/render") || is_in(file, "cli/output")),
    // The command line starts without a runtime; only waiting for signals needs one.
    (r"\btokio\b", |file| ["daemon", "store", "cli/wake"].iter().any(|room| is_in(file, room))),
    (r"\b(std::process::exit|process::exit)\b", |_| false),
    (r"\b(Time|SystemTime|Instant|Timestamp|Zoned)::now\b", |file| {
        !is_in(file, "protocol") && !is_in(file, "directory")
    }),
    (r"\b(std::(fs|net|env|process|thread)|(fs|net|env)::)", |file| {
        !is_in(file, "protocol") && !is_in(file, "directory")
    }),
    (r"\b(SystemTime|Timestamp)::now\b", |file| is_in(file, "clock")),
    // A command's record is stored where its state gets a number, and nowhere else.
    (r"\bput\(\s*COMMAND\b", |file| is_in(file, "daemon/queue/table")),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a file of `src/` is the room's `ROOM.rs`, or in its folder.
fn is_in(file: &str, room: &str) -> bool {
    let rest = file.strip_prefix("src/").and_then(|file| file.strip_prefix(room));
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The files below a folder, as paths from the root; none when there is no such folder.
fn files(folder: &str) -> Vec<String> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found.iter().map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect()
}

fn sources(folder: &str) -> impl Iterator<Item = (String, String)> {
    let rust = files(folder).into_iter().filter(|file| file.ends_with(".rs"));
    rust.map(|file| {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        (file, text)
    })
}

/// The files of the product: those that hold nothing but unit tests are left out.
fn product() -> impl Iterator<Item = (String, String)> {
    sources("src").filter(|(file, _)| !file.ends_with("/tests.rs") && !file.contains("/tests/"))
}

/// The code of the product: without comments, and without unit tests, which may read fixtures and clocks.
fn code() -> impl Iterator<Item = (String, String)> {
    product().map(|(file, text)| {
        let tested = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
        let lines = text[..tested].lines().filter(|line| !line.trim_start().starts_with("//"));
        (file, lines.collect::<Vec<_>>().join("\n"))
    })
}

fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_crate_is_named_only_where_it_belongs() {
    let mut wrong = Vec::new();
    for (pattern, allowed) in NAMES {
        let pattern = Regex::new(pattern).unwrap();
        for (file, code) in code().filter(|(file, _)| !allowed(file)) {
            wrong.extend(pattern.find(&code).map(|found| format!("{file} names {}", found.as_str())));
        }
    }
    none(&wrong);
}

#[test]
fn nothing_is_left_over() {
    // Put together here, or this file would be found.
    let marks = [["FIX", "ME"], ["X", "XX"], ["TO", "DO"]].map(|halves| halves.concat()).join("|");
    let macros = [["db", "g!"], ["tod", "o!"], ["unimplement", "ed!"]].map(|halves| halves.concat()).join("|");
    let left = Regex::new(&format!(r"\b({marks})\b|\b({macros})")).unwrap();
    let mut wrong = Vec::new();
    for (file, text) in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        for (number, line) in (1..).zip(text.lines()) {
            wrong.extend(left.find(line).map(|found| format!("{file}:{number}: {}", found.as_str())));
        }
    }
    none(&wrong);
}

#[test]
fn every_file_opens_with_its_contract() {
    let files = ["src", "tests", "benches"].into_iter().flat_map(sources);
    let bare = files.filter(|(_, text)| !text.starts_with("//! "));
    none(&bare.map(|(file, _)| format!("{file} does not begin with //!")).collect::<Vec<_>>());
}

#[test]
fn the_page_for_contributors_names_every_long_run_and_no_file_that_is_not_there() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let reads = Regex::new(r#"(?:var|var_os|number)\("(WEHELP_[A-Z_]+)"\)"#).unwrap();
    let is_test = |file: &str| !file.starts_with("src/") || file.contains("/tests/") || file.ends_with("tests.rs");
    let files = ["src", "tests", "benches"].into_iter().flat_map(sources).filter(|(file, _)| is_test(file));
    let texts: Vec<String> = files.map(|(_, text)| text).collect();
    let read: BTreeSet<&str> =
        texts.iter().flat_map(|text| reads.captures_iter(text)).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(read.contains("WEHELP_CHAOS_SECONDS") && read.contains("WEHELP_KILLS"), "{read:?}");
    let unnamed = read.iter().filter(|name| !page.contains(**name)).map(|name| format!("{name} is not named"));
    let named = Regex::new(r"`((?:src|tests|benches|packaging|man|\.ci)/[\w./-]*)`").unwrap();
    let files = named.captures_iter(&page).map(|found| found.get(1).unwrap().as_str());
    let files = files.filter(|file| !["/NAME.rs", "/GROUP.rs"].iter().any(|any| file.ends_with(any)));
    let gone = files.filter(|file| !root().join(file).exists()).map(|file| format!("{file} is not there"));
    none(&unnamed.chain(gone).collect::<Vec<_>>());
}

#[test]
fn a_page_names_no_file_that_is_not_there() {
    let named = Regex::new(r"`((?:\w+/)*\w+\.rs)`").unwrap();
    let mut wrong = Vec::new();
    for page in files("docs") {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        for file in named.captures_iter(&text).map(|found| found[1].to_owned()) {
            // Short names are of the rooms below `src`, or of the daemon's.
            let is_there = ["", "src", "src/daemon"].iter().any(|at| root().join(at).join(&file).is_file());
            wrong.extend((!is_there).then(|| format!("{page}: {file} is not there")));
        }
    }
    none(&wrong);
}

/// Every invariant names a test that holds it, and every test that the map or a page of `docs/` names is there.
#[test]
fn each_invariant_is_held_by_a_test() {
    let texts: Vec<String> = ["src", "tests"].into_iter().flat_map(sources).map(|(_, text)| text).collect();
    let test = Regex::new(r"#\[(?:tokio::)?test\](?:\s*#\[[^\n]*\])*\s*(?:async )?fn (\w+)").unwrap();
    let tests: BTreeSet<&str> =
        texts.iter().flat_map(|text| test.captures_iter(text)).map(|found| found.get(1).unwrap().as_str()).collect();
    let head = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let (_, invariants) = head.split_once("//! # Invariants").unwrap();
    let (invariants, _) = invariants.split_once("//! # ").unwrap();
    let mut wrong = Vec::new();
    // A name of four words or more is a test's.
    let named = Regex::new(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`").unwrap();
    let items: Vec<&str> = Regex::new(r"(?m)^//! +\d+\. ").unwrap().split(invariants).skip(1).collect();
    assert!(items.len() >= 10, "{}", items.len());
    let bare = items.iter().filter(|item| !named.is_match(item));
    wrong.extend(bare.map(|item| format!("no test is named that holds: {}", item.lines().next().unwrap())));
    let pages = files("docs").into_iter().map(|page| fs::read_to_string(root().join(page)).unwrap());
    for page in pages.chain([head.clone()]) {
        let names = named.captures_iter(&page).map(|name| name[1].to_owned());
        wrong.extend(names.filter(|name| !tests.contains(name.as_str())).map(|name| format!("{name} is no test")));
    }
    none(&wrong);
}

#[test]
fn no_path_of_this_machine_is_written_down() {
    let here = root().parent().and_then(Path::to_str).map(|dir| format!("{dir}/"));
    let home = std::env::var("HOME").ok().map(|dir| format!("{}/", dir.trim_end_matches('/')));
    // The root and the folder for temporary files are everywhere, and nobody's.
    let ours = |path: &String| !["/", "//", "/tmp/"].contains(&path.as_str());
    let paths: Vec<String> = here.into_iter().chain(home).filter(ours).collect();
    let mut wrong = Vec::new();
    let folders = ["src", "tests", "benches", "packaging", "man", "completions", ".ci", "docs"];
    let top = [
        "Cargo.toml",
        "README.md",
        "README.zh-CN.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "deny.toml",
        "clippy.toml",
        "build.rs",
    ];
    for file in folders.into_iter().flat_map(files).chain(top.map(str::to_owned)) {
        let text = fs::read(root().join(&file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        wrong.extend(paths.iter().filter(|path| text.contains(*path)).map(|path| format!("{file} names {path}")));
    }
    none(&wrong);
}
