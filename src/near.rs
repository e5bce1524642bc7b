//! "Did you mean": the known word that a wrong one was probably meant to be, where one is near. A word that is only less
//! far than the others is a riddle to who reads it. And what a parser's message says in one sentence.

/// More slips than these make another word, however long it is.
const SLIPS_MAX: usize = 3;
/// One slip in this many letters is forgiven.
const LETTERS_PER_SLIP: usize = 3;
/// A shorter piece of a word is no hint at it, bytes.
const PIECE_MIN: usize = 4;
/// What is longer is no word that anybody knows, bytes; comparing takes the product of both lengths.
const GIVEN_MAX: usize = 64;

/// The nearest of the known words: one that differs by a few slips, as a whole or behind its last dot, or that holds what
/// was given (`room` of `chatroom`).
pub fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if given.len() > GIVEN_MAX {
        return None;
    }
    let given = given.to_lowercase();
    let slips = |word: &str| {
        let letters = given.chars().count().max(word.chars().count());
        let slips = strsim::osa_distance(&given, &word.to_lowercase());
        (slips <= (letters / LETTERS_PER_SLIP).min(SLIPS_MAX)).then_some(slips)
    };
    let far = |word: &str| {
        let last = word.rsplit('.').next().unwrap_or(word);
        let holds = given.len() >= PIECE_MIN && word.to_lowercase().contains(&given);
        let whole = slips(word).map(|slips| (slips, 0));
        let part = slips(last).map(|slips| (slips, 1));
        whole.into_iter().chain(part).min().or(holds.then_some((SLIPS_MAX + 1, 2)))
    };
    // Of several that are as near, the one that is named first.
    let near = known.into_iter().filter_map(|word| Some((far(word)?, word)));
    near.min_by_key(|(far, _)| *far).map(|(_, word)| word)
}

/// What a parser's message says is wrong: the last of its lines. Those before it draw where, which no sentence can.
#[must_use]
pub fn fault(message: &str) -> &str {
    let last = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(message).trim();
    last.strip_prefix("error: ").unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::{fault, nearest};

    #[test]
    fn of_a_message_that_draws_the_last_line_says_what_is_wrong() {
        let drawn = "regex parse error:\n    (\n    ^\nerror: unclosed group\n";
        assert_eq!((fault(drawn), fault("too big"), fault("")), ("unclosed group", "too big", ""));
    }

    #[test]
    fn only_what_is_near_is_meant() {
        let known = ["message.text", "message.*", "room.left", "chatroom", "im.chatroom", "http", "app", "login"];
        for (given, meant) in [
            ("mesage.text", "message.text"),
            ("Message.Txet", "message.text"),
            ("text", "message.text"),
            ("mesage.*", "message.*"),
            ("chatrom", "chatroom"),
            ("chat", "chatroom"),
            ("htp", "http"),
            ("pap", "app"),
            ("im.chatrom", "im.chatroom"),
        ] {
            assert_eq!(nearest(given, known), Some(meant), "{given}");
        }
        let long = "message.text".repeat(1000);
        for given in ["nosuch", "zebra", "foo", "x", "", "p", "ht", "小王", &long] {
            assert_eq!(nearest(given, known), None, "{given}");
        }
    }
}
