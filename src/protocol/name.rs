//! Names of people and rooms: how they are compared (contract 5, Names), and the web form that some clients report.
//!
//! Promises: pure; what looks the same compares equal, as far as Unicode's compatibility forms, cases, blanks and signs
//! that nobody sees are concerned. Linear in the length.
//! Leaves to others: who has a name (`directory`).

use std::borrow::Cow;
use unicode_normalization::{UnicodeNormalization, is_nfkc};

/// A name as it is compared: NFKC, case folded, without signs that nobody sees, any blanks as one.
#[must_use]
pub fn folded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut blank = false;
    let mut push = |c: char| {
        if is_blank(c) {
            blank = true;
            return;
        }
        if std::mem::take(&mut blank) && !out.is_empty() {
            out.push(' ');
        }
        out.push(c);
    };
    if name.is_ascii() {
        name.chars().filter(|c| !c.is_control() || c.is_whitespace()).for_each(|c| push(c.to_ascii_lowercase()));
        return out;
    }
    // Signs that nobody sees go first: one between a letter and its accent would keep them apart.
    let visible = name.chars().filter(|c| !is_unseen(*c));
    let folded: String = visible.nfkc().flat_map(fold).collect();
    // Folding may take a text out of its normal form.
    if is_nfkc(&folded) {
        folded.chars().filter(|c| !is_unseen(*c)).for_each(push);
    } else {
        folded.nfkc().filter(|c| !is_unseen(*c)).for_each(push);
    }
    out
}

/// Unicode's full case folding, by way of the capitals: `ß` and `ss`, `ς` and `σ` become equal.
fn fold(c: char) -> impl Iterator<Item = char> {
    c.to_uppercase().flat_map(char::to_lowercase)
}

/// White space, and the empty braille pattern, which is used as such.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{2800}'
}

/// Control characters that are no white space, and what Unicode calls default-ignorable: bidi, zero-width and variation
/// characters, fillers, tags.
pub(super) fn is_unseen(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fff8}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// A name without the web form that some clients report: `<span class="emoji emoji1f338"></span>` and `&amp;` become
/// what they stand for.
#[must_use]
pub fn plain(name: &str) -> Cow<'_, str> {
    if !name.contains(['&', '<']) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find(['&', '<']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (text, used) = emoji(rest).or_else(|| entity(rest)).unwrap_or_else(|| (rest[..1].to_owned(), 1));
        out.push_str(&text);
        rest = &rest[used..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The emoji that a text begins with, in the web form, and how many bytes it takes.
fn emoji(text: &str) -> Option<(String, usize)> {
    const BEGIN: &str = "<span class=\"emoji emoji";
    const END: &str = "\"></span>";
    let code = text.strip_prefix(BEGIN)?;
    let end = code.find(END)?;
    let code = &code[..end];
    // Flags and keycaps are several characters in a row, of four digits, or of five that begin with 1.
    let (mut emoji, mut left) = (String::new(), code);
    while !left.is_empty() {
        let digits = if left.starts_with('1') { 5 } else { 4 };
        let (one, more) = left.split_at_checked(digits)?;
        emoji.push(u32::from_str_radix(one, 16).ok().and_then(char::from_u32).filter(|c| !c.is_control())?);
        left = more;
    }
    (!emoji.is_empty()).then_some((emoji, BEGIN.len() + end + END.len()))
}

fn entity(text: &str) -> Option<(String, usize)> {
    let entities = [("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " ")];
    let (entity, plain) = entities.into_iter().find(|(entity, _)| text.starts_with(entity))?;
    Some((plain.to_owned(), entity.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_look_the_same_compare_equal() {
        for (one, other) in [
            ("José", "Jose\u{301}"),
            ("Jose\u{200b}\u{301}", "José"),
            ("小\u{200b}明", "小明"),
            ("李\u{3000}雷", " 李  雷 "),
            ("Ｌｉ　Ｌｅｉ", "li lei"),
            ("STRASSE", "straße"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("❤\u{fe0f}", "❤"),
            ("\u{202e}abc\u{202c}", "abc"),
            ("a\u{2800}b\u{a0}", "a b"),
            ("①", "1"),
            ("Anna\u{e0061}\u{61c}", "anna"),
            ("ﬁ", "FI"),
        ] {
            assert_eq!(folded(one), folded(other), "{one:?} {other:?}");
        }
        for (one, other) in [("小明", "小名"), ("ab", "a b"), ("👨‍👩‍👧", "👨‍👩‍👦"), ("José", "Jose")]
        {
            assert_ne!(folded(one), folded(other), "{one:?} {other:?}");
        }
        for nothing in ["", " ", "\u{200b}\u{3000}", "\u{2800}", "\u{3164}"] {
            assert_eq!(folded(nothing), "");
        }
    }

    #[test]
    fn the_web_form_of_a_name_becomes_plain() {
        for (web, name) in [
            ("<span class=\"emoji emoji1f338\"></span>小Y", "🌸小Y"),
            ("清华&amp;黑马", "清华&黑马"),
            ("<span class=\"emoji emoji1f1e81f1f3\"></span>", "🇨🇳"),
            ("<span class=\"emoji emoji2764\"></span>&lt;3", "❤<3"),
            ("a & b < c", "a & b < c"),
            ("&amp;lt;", "&lt;"),
            ("<span class=\"emoji emojizz\"></span>", "<span class=\"emoji emojizz\"></span>"),
            ("<span class=\"emoji emoji0007\"></span>", "<span class=\"emoji emoji0007\"></span>"),
            ("<span class=\"emoji emoji1f338", "<span class=\"emoji emoji1f338"),
            ("<字", "<字"),
        ] {
            assert_eq!(plain(web), name);
        }
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(name in any::<String>()) {
            let once = folded(&name);
            prop_assert_eq!(folded(&once), once);
        }

        #[test]
        fn nothing_is_lost_that_is_no_web_form(name in "[^&<]*") {
            prop_assert_eq!(plain(&name), name.as_str());
        }
    }
}
