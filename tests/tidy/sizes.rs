//! A function can be read at one go: it has no more lines than a screen, and is nested no deeper than one keeps in mind.

use crate::reader::{self, Function};
use crate::{none, product};
use std::collections::BTreeSet;

/// The most lines of code in a function, from its `fn` to its brace: comments and blank lines do not count.
const LINES_MAX: usize = 60;

/// The most blocks that stand in each other in a function, its own not counted. The braces of a struct, of a pattern
/// and of a macro's data are none.
const DEPTH_MAX: usize = 5;

/// The functions that are larger. It may only shrink: whoever opens one deletes its line, and a line that is not needed
/// any more fails.
const LARGE: &[(&str, &str)] = &[
    ("src/clock.rs", "parse_in"),
    ("src/daemon/doors/serve.rs", "connection"),
    // One list of what each part is handed, without a branch.
    ("src/daemon/parts.rs", "new"),
];

#[test]
fn a_function_is_read_at_one_go() {
    let mut wrong = Vec::new();
    let mut needed: BTreeSet<&(&str, &str)> = BTreeSet::new();
    for (file, text) in product() {
        let tokens = reader::tokens(&text);
        for Function { name, line, lines, depth } in reader::functions(&reader::without_tests(&tokens)) {
            if lines <= LINES_MAX && depth <= DEPTH_MAX {
                continue;
            }
            let exception = LARGE.iter().find(|(of, large)| *of == file && *large == name);
            needed.extend(exception);
            if exception.is_none() {
                wrong.push(format!("{file}:{line}: {name} has {lines} lines of code and {depth} levels"));
            }
        }
    }
    let opened = LARGE.iter().filter(|exception| !needed.contains(*exception));
    wrong.extend(opened.map(|(file, name)| format!("{name} in {file} is small now: delete its line in LARGE")));
    none(&wrong);
}

#[test]
fn lines_and_levels_are_counted() {
    let source = "\
fn short(&self) -> [u8; 2];
fn f() -> T {
    // Not counted.
    let a = Some(B { c: D { e } });

    if let F { g } = h {
        for x in y {
            vec.iter().map(|z| {
                json!({\"k\": {\"l\": z}});
                match n { O::P => {} }
            });
        }
    }
}
fn g(f: impl Fn() -> u8) {}
";
    let tokens = reader::tokens(source);
    let found: Vec<_> = reader::functions(&tokens).map(|f| (f.name, f.line, f.lines, f.depth)).collect();
    assert_eq!(found, [("f", 2, 11, 5), ("g", 15, 1, 0)]);
}
