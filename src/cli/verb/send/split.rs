//! `send text --split`: a long text in pieces that a chat can hold, cut where a reader would (contract 8). Pure.
//!
//! Promises: no piece has more than so many graphemes, unless it is a single URL; the cut is at the last blank line that
//! leaves a piece short enough, else at the last line break, else after the last sentence, else before the grapheme that is
//! too much; never inside a URL. Nothing is lost but blanks at a cut. The same text gives the same pieces: their keys stand
//! for them.

use crate::control::ENQUEUE_MAX;
use regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;
use unicode_segmentation::UnicodeSegmentation;

/// A URL as chats show it. In Chinese nothing stands between it and the next sentence but its own punctuation.
static URL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?i)(?:[a-z][a-z0-9+.-]*://|www\.)[^\s<>"，。、；：！？“”‘’（）《》【】「」『』…]+"#)
        .expect("the pattern is this file's own")
});

/// How good a place for a cut is: the last of these best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seam {
    Sentence,
    Line,
    Paragraph,
}

/// The pieces of a text of more than so many graphemes; of any other itself. Those behind the first that is too much for one
/// request are not made.
pub(super) fn split(text: &str, graphemes_max: usize) -> Vec<&str> {
    if text.graphemes(true).take(graphemes_max + 1).count() <= graphemes_max {
        return vec![text];
    }
    let urls: Vec<Range<usize>> = URL.find_iter(text).map(|url| url.range()).collect();
    let places = places(text, &urls);
    let (mut pieces, mut from) = (Vec::new(), 0);
    while pieces.len() <= ENQUEUE_MAX
        && let Some(end) = end(text, from, &urls, &places, graphemes_max)
    {
        let piece = if end == text.len() { &text[from..] } else { text[from..end].trim_end() };
        if !piece.trim().is_empty() {
            pieces.push(piece);
        }
        // A piece begins with what is said; only a line's own indent stays.
        let rest = &text[end..];
        let blank = rest.len() - rest.trim_start().len();
        from = match rest[..blank].rfind('\n') {
            Some(at) => end + at + 1,
            None if text[..end].ends_with('\n') => end,
            None => end + blank,
        };
    }
    pieces
}

/// Where a text may be cut, in order, but for the places between graphemes.
fn places(text: &str, urls: &[Range<usize>]) -> Vec<(usize, Seam)> {
    let sentences = text.split_sentence_bound_indices().map(|(at, _)| (at, Seam::Sentence));
    let lines = text.match_indices('\n').map(|(at, _)| {
        let rest = &text[at + 1..];
        let is_blank = rest.lines().next().is_some_and(|line| line.trim().is_empty());
        (at + 1, if is_blank { Seam::Paragraph } else { Seam::Line })
    });
    let mut places: Vec<(usize, Seam)> =
        sentences.chain(lines).filter(|(at, _)| url_around(urls, *at).is_none()).collect();
    places.sort_unstable();
    places
}

/// The URL that a place is inside of.
fn url_around(urls: &[Range<usize>], at: usize) -> Option<&Range<usize>> {
    let next = urls.partition_point(|url| url.end <= at);
    urls.get(next).filter(|url| url.start < at)
}

/// Where the piece ends that begins at `from`.
fn end(
    text: &str,
    from: usize,
    urls: &[Range<usize>],
    places: &[(usize, Seam)],
    graphemes_max: usize,
) -> Option<usize> {
    if from >= text.len() {
        return None;
    }
    let Some((most, _)) = text[from..].grapheme_indices(true).nth(graphemes_max) else { return Some(text.len()) };
    let most = from + most;
    let window = &places[places.partition_point(|(at, _)| *at <= from)..places.partition_point(|(at, _)| *at <= most)];
    // What is between two places and blank is no piece.
    let good = window.iter().filter(|(at, _)| !text[from..*at].trim().is_empty());
    if let Some((at, _)) = good.max_by_key(|(at, rank)| (*rank, *at)) {
        return Some(*at);
    }
    Some(match url_around(urls, most) {
        Some(url) if url.start > from && !text[from..url.start].trim().is_empty() => url.start,
        Some(url) => url.end,
        None => most,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_is_cut_at_paragraphs_else_lines_else_sentences_else_graphemes() {
        for (text, max, pieces) in [
            ("short", 5, &["short"][..]),
            ("  as it is \n", 12, &["  as it is \n"]),
            ("one two\n\nthree\nfour\n\nfive", 20, &["one two\n\nthree\nfour", "five"]),
            ("one two\n\nthree\nfour\nfive", 20, &["one two", "three\nfour\nfive"]),
            ("one\r\ntwo\r\nthree", 10, &["one\r\ntwo", "three"]),
            ("One. Two? Three!", 10, &["One. Two?", "Three!"]),
            ("你好。世界！再见了朋友", 7, &["你好。世界！", "再见了朋友"]),
            ("pi is 3.14159 or so", 9, &["pi is 3.1", "4159 or s", "o"]),
            ("👨‍👩‍👧👨‍👩‍👧👨‍👩‍👧e\u{301}", 2, &["👨‍👩‍👧👨‍👩‍👧", "👨‍👩‍👧e\u{301}"]),
            ("a list:\n  - one\n  - two", 14, &["a list:", "  - one", "  - two"]),
            ("\n\n\n\n\nend", 3, &["end"]),
        ] {
            assert_eq!(split(text, max), pieces, "{text:?}");
        }
    }

    #[test]
    fn a_url_is_never_cut_and_one_that_is_too_long_is_a_piece_of_its_own() {
        let long = format!("https://example.org/{}", "a.b?c=d&".repeat(10));
        let text = format!("First. Look at {long} and at www.example.org/x.y it is good");
        assert_eq!(split(&text, 20), ["First.", "Look at", &long, "and at", "www.example.org/x.y", "it is good"]);
        let chinese = "请看https://example.org/微信/a。然后呢？";
        assert_eq!(split(chinese, 25), ["请看", "https://example.org/微信/a。", "然后呢？"]);
        assert_eq!(split(&long, 5), [&long]);
    }

    #[test]
    fn there_is_an_end_to_the_pieces_that_are_made() {
        assert_eq!(split(&"x".repeat(10 * ENQUEUE_MAX), 1).len(), ENQUEUE_MAX + 1);
    }

    #[test]
    fn what_is_only_blank_gives_no_piece() {
        assert!(split(&" \n".repeat(50), 10).is_empty());
    }

    fn said(text: &str) -> String {
        text.split_whitespace().collect()
    }

    proptest! {
        #[test]
        fn nothing_but_blanks_is_lost_and_no_piece_is_too_long(
            text in "([a-zA-Z0-9.!? \n]|https?://[a-z./]{1,30}|你|。|👨‍👩‍👧|e\u{301}|\t){0,200}",
            max in 1_usize..40,
        ) {
            let pieces = split(&text, max);
            prop_assert_eq!(said(&pieces.concat()), said(&text));
            for piece in &pieces {
                let is_url = URL.find(piece.trim()).is_some_and(|url| url.as_str() == piece.trim());
                prop_assert!(piece.graphemes(true).count() <= max || is_url, "{:?}", piece);
            }
            for url in URL.find_iter(&text) {
                prop_assert!(pieces.iter().any(|piece| piece.contains(url.as_str())), "{}", url.as_str());
            }
        }
    }
}
