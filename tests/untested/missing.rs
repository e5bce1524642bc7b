//! What a test says that cannot run here, since this machine lacks what it needs.
//!
//! libtest has no word for it: a test that returns has passed, and what it printed is swallowed. So it is said past
//! libtest's capture at once, and written down for the last of the test programs (`tests/untested`), which counts. Where
//! `CI` is set a missing tool fails: its script installs them. What no script can install (a right, an address) is
//! counted there, too.

use std::io::Write;
use std::path::PathBuf;

/// A program that the tests of CI have.
#[allow(dead_code, reason = "not every test program has a use for each")]
pub(crate) fn tool(name: &str) {
    assert!(std::env::var_os("CI").is_none(), "no {name} here, which CI must have");
    other(&format!("no {name}"));
}

/// What is nobody's fault.
#[allow(dead_code, reason = "not every test program has a use for each")]
pub(crate) fn other(why: &str) {
    let program = std::env::current_exe().ok().and_then(|exe| Some(exe.file_stem()?.to_str()?.to_owned()));
    // `it-0123456789abcdef`
    let program = program.as_deref().and_then(|name| name.rsplit_once('-')).map_or("?", |(name, _)| name);
    let thread = std::thread::current();
    let line = format!("{program} {}: {why}\n", thread.name().unwrap_or("?"));
    // Not `eprintln!`, which is captured.
    drop(std::io::stderr().write_all(format!("NOT RUN: {line}").as_bytes()));
    let list = std::fs::File::options().append(true).create(true).open(list());
    drop(list.and_then(|mut list| list.write_all(line.as_bytes())));
}

/// Whether a program is installed; where it is not, that is said.
#[allow(dead_code, reason = "not every test program has a use for each")]
pub(crate) fn is_installed(program: &str) -> bool {
    let places = ["/usr/sbin", "/sbin"].map(PathBuf::from).into_iter();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).chain(places).any(|dir| dir.join(program).is_file());
    if !is_there {
        tool(program);
    }
    is_there
}

/// Where it is written down: beside the test programs, one list for each run of cargo, which is the parent of all.
pub(crate) fn list() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.with_file_name(format!("untested-{}", std::os::unix::process::parent_id()))
}
