//! Bytes that could not be walked, searched for what ids, tickets and avatars look like.
//!
//! Promises: linear time. Here nothing tells where a field ends, so an id may have caught a letter of its neighbour:
//! that is the price of finding it at all.

use super::found::{Found, is_avatar, is_id_byte, is_printable, is_ticket};
use regex::Regex;
use std::sync::LazyLock;

/// Fewest bytes of a run of readable text that is shown as a string: shorter ones are accidents.
const RUN_BYTES_MIN: usize = 6;

/// Tickets, URLs and ids, whichever begins first.
static PATTERNS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        "(?<ticket>v[1-4]_[0-9A-Za-z_-]+(?:@stranger)?)",
        "|(?<url>https?://[!#-;=?-~]+)",
        "|(?<room>[0-9A-Za-z_-]+@(?:chatroom|im\\.chatroom|openim))",
        "|(?<id>(?:wxid|gh)_[0-9A-Za-z_-]+)",
    ))
    .expect("the pattern is a constant that a test compiles")
});

/// Searches `bytes`, a run of readable text after the other.
pub(super) fn scan(bytes: &[u8], found: &mut Found) {
    for chunk in bytes.utf8_chunks() {
        for run in chunk.valid().split(|c: char| !is_printable(c.encode_utf8(&mut [0; 4]))) {
            if run.len() >= RUN_BYTES_MIN {
                found.string(run.trim());
            }
            text(run, found);
        }
    }
}

fn text(run: &str, found: &mut Found) {
    for captures in PATTERNS.captures_iter(run) {
        if let Some(ticket) = captures.name("ticket") {
            // `xv1_y` is a word, not a ticket.
            let starts = run[..ticket.start()].bytes().next_back().is_none_or(|before| !is_id_byte(before));
            if is_ticket(ticket.as_str()) && (starts || ticket.as_str().ends_with("@stranger")) {
                found.ticket(ticket.as_str());
            }
        } else if let Some(url) = captures.name("url") {
            if is_avatar(url.as_str()) {
                found.avatar(url.as_str());
            }
        } else if let Some(id) = captures.name("room").or_else(|| captures.name("id")) {
            found.id(id.as_str());
        }
    }
}
