//! The last of the test programs, by its name: it says at the end of `cargo test` which tests did not run on this
//! machine, and for want of what.
#![allow(clippy::print_stdout, reason = "a line for people is all that it is for")]

mod missing;

fn main() {
    // Whoever asks for the tests of this program is told that there are none.
    if std::env::args().any(|arg| arg == "--list") {
        return;
    }
    let list = missing::list();
    let text = std::fs::read_to_string(&list).unwrap_or_default();
    drop(std::fs::remove_file(&list));
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    match lines.len() {
        0 => println!("\neverything that was asked for ran\n"),
        count => println!("\nNOT RUN for want of something, whole or in part: {count}\n  {}\n", lines.join("\n  ")),
    }
}
