//! Values become text for people: pure, no terminal is asked here.
//!
//! Whatever came from a chat passes [`clean`] first: control and escape characters never reach a terminal.

pub(super) mod event;
pub(super) mod items;
pub(super) mod page;
pub(super) mod receipt;
pub(super) mod setup;
pub(super) mod status;

use crate::clock::Time;
use colored::Colorize;
use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// One line without anything that could drive a terminal: control characters, escape sequences and what turns the
/// writing direction around go, line breaks become `⏎`.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => out.push('⏎'),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\t' | '\r' => out.push(' '),
            // An escape sequence goes whole: its letters would be left as rubbish.
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_csi(&mut chars),
            c if is_unsafe(c) => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// What a terminal obeys, or what hides or turns around other characters: control characters, bidirectional and
/// deprecated format characters, line and paragraph separators, annotation marks, tags.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// JSON that may go to a terminal: what [`clean`] would take away is escaped, so that it still means the same and drives
/// nothing.
pub(super) fn json_for_terminal(json: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(json) else {
        return Cow::Owned(String::from_utf8_lossy(json).into_owned().into());
    };
    // Valid JSON holds line breaks and tabs only between its tokens.
    let drives = |c: char| is_unsafe(c) && !matches!(c, '\n' | '\r' | '\t');
    if !text.chars().any(drives) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if drives(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out.into_bytes())
}

fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_csi(chars);
        }
        // Strings that end with BEL or ST: titles, links.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            /// The longest such string that goes with its introducer, characters.
            const STRING_MAX: usize = 256;
            let mut ahead = chars.clone();
            for _ in 0..STRING_MAX {
                match ahead.next() {
                    Some('\u{7}' | '\u{9c}') => {
                        *chars = ahead;
                        return;
                    }
                    Some('\u{1b}') if ahead.peek() == Some(&'\\') => {
                        ahead.next();
                        *chars = ahead;
                        return;
                    }
                    Some(_) => {}
                    None => return,
                }
            }
        }
        _ => {}
    }
}

/// Skips parameters and the final letter.
fn skip_csi(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    /// The longest sequence that is taken for one, characters.
    const SEQUENCE_MAX: usize = 32;
    let mut ahead = chars.clone();
    for _ in 0..SEQUENCE_MAX {
        match ahead.next() {
            Some('\u{20}'..='\u{3f}') => {}
            Some('\u{40}'..='\u{7e}') => {
                *chars = ahead;
                return;
            }
            _ => return,
        }
    }
}

/// At most this many columns; what is cut ends in `…`.
pub(super) fn shorten(text: &str, columns: usize) -> Cow<'_, str> {
    let width = |c: char| c.width().unwrap_or(0);
    if text.chars().map(width).sum::<usize>() <= columns {
        return Cow::Borrowed(text);
    }
    let mut used = 1;
    let kept: String = text
        .chars()
        .take_while(|c| {
            used += width(*c);
            used <= columns
        })
        .collect();
    Cow::Owned(kept + "…")
}

/// Between two columns of a table.
const GAP: usize = 2;

/// A table for people: cells are cleaned; wide characters are aligned; it fits into the terminal's width as far as that
/// can be (contract 4). Without rows it is empty.
pub(super) fn table(head: &[&str], rows: &[Vec<String>], columns: Option<usize>) -> String {
    /// No cell is shown wider, columns.
    const CELL_MAX: usize = 60;
    if rows.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let natural = (0..head.len()).map(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
        cells.chain([head[column].width()]).max().unwrap_or(0).min(CELL_MAX)
    });
    let widths = fitting(head, natural.collect(), columns);
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let titles = head.iter().map(|title| title.to_uppercase());
    table.set_header(titles.zip(&widths).map(|(title, width)| shorten(&title, *width).into_owned()));
    for row in &rows {
        table.add_row(row.iter().zip(&widths).map(|(cell, width)| shorten(cell, *width).into_owned()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    // Colour comes last: the widths are those of the plain text.
    let line = |(n, line): (usize, String)| {
        let line = line.trim_end();
        if n == 0 { format!("{}\n", line.bold()) } else { format!("{line}\n") }
    };
    table.lines().enumerate().map(line).collect()
}

/// The columns' widths in a terminal: the widest gives way first, and what is typed into the next command (ids) last.
fn fitting(head: &[&str], mut widths: Vec<usize>, columns: Option<usize>) -> Vec<usize> {
    /// What is shorter says nothing any more.
    const WIDTH_MIN: usize = 4;
    const IDS: [&str; 6] = ["id", "wxid", "account", "room", "chat", "seq"];
    let Some(columns) = columns else { return widths };
    let gaps = GAP * widths.len().saturating_sub(1);
    let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
    for ids_too in [false, true] {
        while over > 0 {
            let may = |(column, width): &(usize, &mut usize)| {
                **width > WIDTH_MIN && (ids_too || !IDS.contains(&head[*column]))
            };
            let Some((_, widest)) = widths.iter_mut().enumerate().filter(may).max_by_key(|(_, width)| **width) else {
                break;
            };
            *widest -= 1;
            over -= 1;
        }
    }
    widths
}

/// A moment for people, or a dash.
pub(super) fn time(time: Option<Time>) -> String {
    time.map_or_else(|| "-".to_owned(), Time::local)
}

/// How long ago something was, in one unit: `5s`, `3m`, `2h`, `4d`.
pub(super) fn ago(time: Time, now: Time) -> String {
    let seconds = now.since(time).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A size for people: `1.4 MiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or("B");
    while value >= 1024.0
        && let Some(next) = units.next()
    {
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// A code to be scanned: black on white whatever the terminal's colours are; without colour for a dark ground.
pub(super) fn code(code: &super::qr::Code) -> String {
    if !colored::control::SHOULD_COLORIZE.should_colorize() {
        return code.lines(true).join("\n") + "\n";
    }
    let line = |line: &String| format!("{}\n", line.truecolor(0, 0, 0).on_truecolor(255, 255, 255));
    code.lines(false).iter().map(line).collect()
}

/// The colour that a command's state has.
pub(super) fn state(state: crate::control::State) -> String {
    use crate::control::State;
    let name = state.as_str();
    match state {
        State::Answered => name.green(),
        State::Fetched => name.cyan(),
        State::Rejected | State::Expired => name.red(),
        State::Cancelled => name.dimmed(),
        State::Scheduled | State::Ready | State::InFlight => name.yellow(),
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_the_terminal_and_its_ids_give_way_last() {
        let row =
            |name: &str| vec!["wxid_0123456789".to_owned(), name.to_owned(), "remark ".repeat(9), "5s ago".to_owned()];
        let head = ["wxid", "nick", "remark", "seen"];
        for name in ["长".repeat(60), "x".repeat(200), "Anna".to_owned()] {
            for columns in [120, 100, 80, 60, 50, 40] {
                let text = table(&head, &[row(&name), row("b")], Some(columns));
                let widest = text.lines().map(|line| plain(line).width()).max().unwrap();
                assert!(widest <= columns, "{widest} at {columns}:\n{text}");
                assert!(columns < 50 || text.contains("wxid_0123456789"), "{columns}:\n{text}");
            }
        }
        let whole = table(&head, &[row("Anna")], None);
        assert!(whole.contains("Anna") && whole.contains("5s ago"));
        // Narrower than anything that says something: it does what it can.
        assert!(!table(&head, &[row("Anna")], Some(3)).is_empty());
    }

    /// Without colour.
    fn plain(line: &str) -> String {
        let mut text = line.to_owned();
        while let Some(at) = text.find('\u{1b}') {
            let end = text[at..].find('m').map_or(text.len(), |end| at + end + 1);
            text.replace_range(at..end, "");
        }
        text
    }

    #[test]
    fn nothing_that_drives_a_terminal_is_left() {
        assert_eq!(clean("plain 你好 😀"), "plain 你好 😀");
        assert_eq!(clean("a\u{1b}[31mred\u{1b}[0m"), "ared");
        assert_eq!(clean("a\u{1b}]0;title\u{7}b"), "ab");
        assert_eq!(clean("a\u{9b}2Jb\nc\r\nd\te\u{0}\u{7f}\u{202e}f"), "ab⏎c⏎d ef");
        assert_eq!(clean("\u{1b}"), "");
        assert!(!clean("\u{1b}[\u{1b}[31m").chars().any(char::is_control));
    }

    #[test]
    fn every_character_that_drives_or_hides_is_taken_away_and_in_json_escaped() {
        for c in "\u{7f}\u{85}\u{9b}\u{61c}\u{200e}\u{200f}\u{2028}\u{202a}\u{202e}\u{2066}\u{2069}\u{206a}\u{206f}\u{feff}\u{e0001}\u{e0041}\u{e007f}".chars() {
            assert_eq!(clean(&format!("a{c}b")), if c == '\u{9b}' { "a" } else { "ab" }, "{c:?}");
            let json = serde_json::to_string(&format!("a{c}b")).unwrap();
            let shown = String::from_utf8(json_for_terminal(json.as_bytes()).into_owned()).unwrap();
            assert!(shown.is_ascii(), "{shown:?}");
            assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), format!("a{c}b"));
        }
        // What writes emoji and right-to-left text stays.
        let fine = "👩\u{200d}💻 ⚕\u{fe0f} שלום می\u{200c}خواهم";
        assert_eq!(clean(fine), fine);
        assert_eq!(json_for_terminal(fine.as_bytes()), fine.as_bytes());
    }

    #[test]
    fn long_text_is_cut_by_columns_not_by_characters() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abcd", 3), "ab…");
        assert_eq!(shorten("你好世界", 5), "你好…");
    }

    #[test]
    fn a_table_aligns_wide_characters() {
        let text =
            table(&["id", "nick"], &[vec!["1".into(), "小强".into()], vec!["22".into(), "x\u{1b}[1m".into()]], None);
        assert!(text.lines().all(|l| !l.contains('\u{1b}') || l.contains("NICK")), "{text:?}");
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!((bytes(0), bytes(1536)), ("0 B".to_owned(), "1.5 KiB".to_owned()));
        let now = Time::from_millis(10_000_000);
        assert_eq!(ago(Time::from_millis(9_000_000), now), "16m");
    }
}
