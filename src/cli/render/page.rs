//! A manual page as text: what `man` makes of the macros that the pages of this package are written in, for where there is
//! none. Only those: the pages are our own.

use super::clean;
use colored::control::SHOULD_COLORIZE;
use unicode_width::UnicodeWidthChar;

/// How far a section's text stands in, columns.
const INDENT: usize = 7;
/// How far a subsection's head does.
const HALF: usize = 3;

/// Marks in a line: where bold and italics begin, and where both end. No text has them.
const BOLD: char = '\u{1}';
const ITALIC: char = '\u{2}';
const ROMAN: char = '\u{3}';

/// The page as text, at most this many columns wide where it can be broken.
pub(in crate::cli) fn text(page: &str, columns: usize) -> String {
    let mut writer =
        PageText { columns, out: String::new(), words: String::new(), stack: Vec::new(), hang: None, head: 0 };
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        match line.strip_prefix('.') {
            Some(request) => writer.request(request, &mut lines),
            None => writer.words(line),
        }
    }
    writer.flush();
    let text = writer.out.trim_start_matches('\n');
    if SHOULD_COLORIZE.should_colorize() { styled(text) } else { text.replace([BOLD, ITALIC, ROMAN], "") }
}

fn styled(text: &str) -> String {
    text.replace(BOLD, "\u{1b}[1m").replace(ITALIC, "\u{1b}[4m").replace(ROMAN, "\u{1b}[0m")
}

struct PageText {
    columns: usize,
    out: String,
    /// A paragraph that is not written yet.
    words: String,
    /// How much further in the text stands: a step for each block that is open.
    stack: Vec<usize>,
    /// The text of a definition stands further in by so much.
    hang: Option<usize>,
    /// Where the last head ends: no blank line comes behind it.
    head: usize,
}

impl PageText {
    fn indent(&self) -> usize {
        INDENT + self.stack.iter().sum::<usize>()
    }

    fn words(&mut self, line: &str) {
        if !self.words.is_empty() {
            self.words.push(' ');
        }
        self.words.push_str(&inline(line));
    }

    fn request<'l>(&mut self, request: &str, lines: &mut impl Iterator<Item = &'l str>) {
        let (name, rest) = request.split_once(' ').unwrap_or((request, ""));
        match name {
            "TH" => self.title(&arguments(rest)),
            "SH" | "SS" => {
                self.paragraph();
                self.stack.clear();
                let head = inline(&arguments(rest).join(" "));
                let indent = " ".repeat(if name == "SS" { HALF } else { 0 });
                self.out.push_str(&format!("{indent}{BOLD}{head}{ROMAN}\n"));
                self.head = self.out.len();
            }
            "PP" => self.paragraph(),
            "TP" | "TQ" => {
                if name == "TP" {
                    self.paragraph()
                } else {
                    self.flush()
                }
                self.hang = None;
                let term = inline(lines.next().unwrap_or_default());
                let indent = self.indent();
                self.line(&term, indent);
                self.hang = Some(INDENT);
            }
            "IP" => {
                self.paragraph();
                let words = arguments(rest);
                let width = words.get(1).and_then(|width| width.parse().ok()).unwrap_or(INDENT);
                self.hang = Some(width);
                let tag = words.first().map(|tag| inline(tag)).unwrap_or_default();
                let pad = " ".repeat(width.saturating_sub(columns_of(&tag)));
                self.out.push_str(&format!("{}{tag}{pad}", " ".repeat(self.indent())));
            }
            "RS" => {
                self.flush();
                self.stack.push(rest.trim().parse().unwrap_or(INDENT) + self.hang.take().unwrap_or_default());
            }
            "RE" => {
                self.flush();
                self.stack.pop();
            }
            "nf" => self.as_it_is(lines),
            "sp" => self.blank(),
            // Which quote there is depends on what formats the page.
            _ => {}
        }
    }

    /// The head of the page: its name on both sides, its book between them.
    fn title(&mut self, words: &[String]) {
        let word = |at: usize| words.get(at).map(|word| inline(word)).unwrap_or_default();
        let (name, book) = (format!("{}({})", word(0), word(1)), word(4));
        let gap = self.columns.saturating_sub(2 * columns_of(&name) + columns_of(&book));
        let (left, right) = (" ".repeat(gap / 2), " ".repeat(gap - gap / 2));
        self.out.push_str(&format!("{name}{left}{book}{right}{name}\n"));
    }

    /// Ends a paragraph, and what hangs in it.
    fn paragraph(&mut self) {
        self.blank();
        self.hang = None;
    }

    /// A blank line, and never two.
    fn blank(&mut self) {
        self.flush();
        if !self.out.ends_with("\n\n") && self.head != self.out.len() {
            self.out.push('\n');
        }
    }

    fn as_it_is<'l>(&mut self, lines: &mut impl Iterator<Item = &'l str>) {
        self.flush();
        let indent = self.indent() + self.hang.unwrap_or_default();
        for line in lines.take_while(|line| *line != ".fi") {
            let line = inline(line);
            self.line(&line, indent);
        }
    }

    fn line(&mut self, text: &str, indent: usize) {
        self.out.push_str(&format!("{}{text}\n", " ".repeat(indent)));
    }

    /// Writes the paragraph, broken between words.
    fn flush(&mut self) {
        let words = std::mem::take(&mut self.words);
        let indent = self.indent() + self.hang.unwrap_or_default();
        // A tag may stand before it already.
        let open = self.out.rsplit('\n').next().unwrap_or_default();
        let mut used = columns_of(open);
        let mut is_first = true;
        for word in words.split(' ').filter(|word| !word.is_empty()) {
            let width = columns_of(word);
            if !is_first && used + 1 + width > self.columns.max(indent + 1) {
                self.out.push('\n');
                (used, is_first) = (0, true);
            }
            if is_first {
                let pad = indent.saturating_sub(used);
                self.out.push_str(&" ".repeat(pad));
                used += pad;
            } else {
                self.out.push(' ');
                used += 1;
            }
            self.out.push_str(word);
            used += width;
            is_first = false;
        }
        if used > 0 {
            self.out.push('\n');
        }
    }
}

/// How many columns a text takes: a mark takes none.
fn columns_of(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The arguments of a request: words, or what stands in quotes.
fn arguments(rest: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = rest.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

/// A line with its escapes as what they stand for.
fn inline(line: &str) -> String {
    const ESCAPES: &[(&str, &str)] = &[
        ("fB", "\u{1}"),
        ("fI", "\u{2}"),
        ("fR", "\u{3}"),
        ("(aq", "'"),
        ("*(Aq", "'"),
        ("(bu", "•"),
        ("e", "\\"),
        ("&", ""),
    ];
    let line = clean(line);
    let mut out = String::with_capacity(line.len());
    let mut parts = line.split('\\');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let known = ESCAPES.iter().find_map(|(escape, means)| Some((*means, part.strip_prefix(escape)?)));
        let (means, rest) = known.unwrap_or(("", part));
        out.push_str(means);
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#".ie \n(.g .ds Aq \(aq
.el .ds Aq '
.TH WEHELP-X 1 2026-11-23 "wehelp 0" "wehelp manual"
.SH NAME
wehelp\-x \- do it; the line\*(Aqs end
is filled
.SH "TWO WORDS"
.TP
\fB\-\-all\fR \fI<N>\fR
Everything that there is, and more of it
.IP \(bu 2
one
.IP \(bu 2
two
.PP
.RS 4
.nf
wehelp x  'a\eb'
\&.next
.fi
.RE
Behind.
"#;

    #[test]
    fn a_page_reads_as_man_would_show_it() {
        let text = "\
WEHELP-X(1)      wehelp manual       WEHELP-X(1)

NAME
       wehelp-x - do it; the line's end is
       filled

TWO WORDS
       --all <N>
              Everything that there is, and more
              of it

       • one

       • two

           wehelp x  'a\\b'
           .next
       Behind.
";
        assert_eq!(super::text(PAGE, 48), text);
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_that_can_be_broken() {
        for columns in [0, 20, 40, 80] {
            for line in super::text(PAGE, columns).lines().filter(|line| line.split_whitespace().count() > 1) {
                assert!(columns_of(line) <= columns.max(48), "{columns}: {line}");
            }
        }
    }
}
