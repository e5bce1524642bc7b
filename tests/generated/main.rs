//! What is generated is checked in, and is what would be generated now. `UPDATE=1 cargo test --test generated` rewrites
//! it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and says what it wrote")]

#[path = "../schema/bodies.rs"]
mod bodies;
mod completions;
mod events;
mod manual;
#[path = "../untested/missing.rs"]
mod missing;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of the package.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares a folder with what it should hold, name and text, or rewrites it.
#[track_caller]
fn compare(dir: &str, files: &BTreeMap<String, String>) {
    let dir = folder(dir);
    let update = std::env::var_os("UPDATE").is_some_and(|v| v != "0");
    if update {
        fs::create_dir_all(&dir).unwrap();
    }
    let there: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let mut wrong: Vec<&str> = there.iter().filter(|name| !files.contains_key(*name)).map(String::as_str).collect();
    for name in &wrong {
        if update {
            fs::remove_file(dir.join(name)).unwrap();
        }
    }
    for (name, text) in files {
        let path = dir.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            wrong.push(name);
            if update {
                fs::write(&path, text).unwrap();
            }
        }
    }
    assert!(
        update || wrong.is_empty(),
        "{} is not what would be generated now ({wrong:?}); run UPDATE=1 cargo test --test generated",
        dir.display()
    );
}
