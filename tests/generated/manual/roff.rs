//! A manual page out of paragraphs; `` `words` `` are set in bold.

/// A page, or the rest of one.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// A page with its head and name.
    pub(super) fn new(name: &str, section: &str, about: &str) -> Self {
        let title = name.to_uppercase();
        let (date, source, book) = (super::DATE, super::source(), super::BOOK);
        Self(format!(
            ".TH {title} {section} {date} \"{source}\" \"{book}\"\n.SH NAME\n{} \\- {}\n",
            escape(name),
            inline(about)
        ))
    }

    pub(super) fn sh(&mut self, title: &str) {
        self.0.push_str(&format!(".SH \"{}\"\n", escape(title)));
    }

    pub(super) fn ss(&mut self, title: &str) {
        self.0.push_str(&format!(".SS \"{}\"\n", escape(title)));
    }

    /// A paragraph.
    pub(super) fn p(&mut self, text: &str) {
        self.0.push_str(&format!(".PP\n{}\n", lines(text)));
    }

    /// Terms and what they mean.
    pub(super) fn tp(&mut self, terms: &[&str], text: &str) {
        for (n, term) in terms.iter().enumerate() {
            self.0.push_str(&format!("{}\n{}\n", if n == 0 { ".TP" } else { ".TQ" }, lines(term)));
        }
        self.0.push_str(&lines(text));
        self.0.push('\n');
    }

    /// Lines as they are.
    pub(super) fn code(&mut self, text: &str) {
        self.0.push_str(".PP\n.RS 4\n.nf\n");
        for line in text.lines() {
            self.0.push_str(&guarded(&escape(line).replace('-', "\\-")));
            self.0.push('\n');
        }
        self.0.push_str(".fi\n.RE\n");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Mends what a page's makers leave: a section's first paragraph needs no macro, blanks at line ends, blank lines, lines
/// that are too long to be read, words that are quoted for rustdoc and `--help`.
pub(super) fn tidy(page: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut as_it_is = false;
    for line in page.lines().map(str::trim_end) {
        let last = out.last().map_or("", String::as_str);
        let after_head = last.starts_with(".SH") || last.starts_with(".SS");
        if line == ".nf" || line == ".fi" {
            as_it_is = line == ".nf";
        } else if as_it_is {
            out.push(line.to_owned());
            continue;
        }
        match line {
            "" => {}
            ".PP" if after_head || last == ".PP" => {}
            ".br" if last == ".sp" => {}
            // A line break before a line break is a blank line.
            ".br" if last == ".br" => ".sp".clone_into(out.last_mut().unwrap()),
            request if request.starts_with('.') => out.push(request.to_owned()),
            // The term of a definition is one line, however long.
            term if matches!(last, ".TP" | ".TQ") => out.push(term.to_owned()),
            text => out.extend(filled(&in_bold(text))),
        }
    }
    out.join("\n") + "\n"
}

/// Words that stand between backticks, in bold.
fn in_bold(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return text.to_owned();
    }
    let part = |(n, part): (usize, &&str)| if n % 2 == 1 { format!("\\fB{part}\\fR") } else { (*part).to_owned() };
    parts.iter().enumerate().map(part).collect()
}

/// Breaks a line between words. What is not ASCII counts as the escape that mandoc reads it as.
fn filled(text: &str) -> Vec<String> {
    const WIDTH: usize = 78;
    let width = |word: &str| word.chars().map(|c| if c.is_ascii() { 1 } else { 9 }).sum::<usize>();
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().unwrap();
        if last.is_empty() {
            *last = word.to_owned();
        } else if width(last) + 1 + width(word) > WIDTH {
            lines.push(guarded(word));
        } else {
            last.push(' ');
            last.push_str(word);
        }
    }
    lines
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e")
}

/// A line that begins like a request is none.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

fn lines(text: &str) -> String {
    guarded(&inline(text))
}

/// Words between backticks in bold, options with hyphens that can be copied.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (n, part) in escape(text).split('`').enumerate() {
        if n % 2 == 1 {
            out.push_str(&format!("\\fB{}\\fR", part.replace('-', "\\-")));
        } else {
            out.push_str(part);
        }
    }
    out
}
