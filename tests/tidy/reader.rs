//! Reads Rust as far as the rules of this test need it: tokens with their lines, which of them are unit tests, and the
//! paths that a file names, made absolute.
//!
//! Promises: comments, strings, characters and lifetimes are told apart; nested `use` groups, `self`, `super::super`,
//! `as`, `pub use`, `$crate` and the paths in macros and in attributes are understood, and a path that begins with an
//! imported or declared module is followed to it. What a file only passes on with `pub use` is told apart from what it
//! uses. Leaves to others: globs that are passed on, and the order of scopes: an import counts for its whole file.

use std::collections::{BTreeMap, BTreeSet};

/// What kind of token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier, a keyword, a number.
    Word,
    /// `::`, or one character.
    Mark,
    /// What a string or a character literal holds, as written.
    Text,
}

/// A token and the line that it begins on, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

impl Token<'_> {
    fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text
    }
}

/// A path inside the crate, from its root: `["store", "journal", "Journal"]`.
pub(crate) type Path = Vec<String>;

/// What a file names of the crate.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// What it uses.
    pub(crate) used: Vec<Path>,
    /// What it passes on: the name that a `pub use` gives, and where it comes from. It is used, too, where the file's own
    /// code says that name.
    pub(crate) passed_on: BTreeMap<String, Path>,
}

/// The tokens of a source without its comments.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < source.len() {
        let rest = &source[at..];
        let (length, token) = next(rest);
        found.extend(token.map(|(text, kind)| Token { text, line, kind }));
        line += rest[..length].matches('\n').count();
        at += length;
    }
    found
}

/// How many bytes the next token, comment or white space takes, and the token if it is one.
fn next(rest: &str) -> (usize, Option<(&str, Kind)>) {
    let first = rest.chars().next().expect("the caller looks whether anything is left");
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), None);
    }
    let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    // r"…", r#"…"#, b"…", br#"…"#, c"…", b'…'
    let after = &rest[word..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    match &rest[..word] {
        "r" | "br" | "cr" if after[hashes..].starts_with('"') => {
            let end = format!("\"{}", "#".repeat(hashes));
            let text = &after[hashes + 1..];
            let length = text.find(&end).unwrap_or(text.len());
            return (word + hashes + 1 + length + end.len(), Some((&text[..length], Kind::Text)));
        }
        "" | "b" | "c" if after.starts_with('"') => {
            let length = quoted(&after[1..], '"');
            return (word + length + 2, Some((&after[1..=length], Kind::Text)));
        }
        "" | "b" if after.starts_with('\'') => {
            let mut letters = after.chars().skip(1);
            let is_literal = letters.next() == Some('\\') || letters.next() == Some('\'');
            if is_literal {
                let length = quoted(&after[1..], '\'');
                return (word + length + 2, Some((&after[1..=length], Kind::Text)));
            }
            // A lifetime: its name is nobody's path.
            let name = &after[1..];
            return (1 + name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len()), None);
        }
        _ => {}
    }
    if word > 0 {
        return (word, Some((&rest[..word], Kind::Word)));
    }
    if first.is_whitespace() {
        return (first.len_utf8(), None);
    }
    let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
    (length, Some((&rest[..length], Kind::Mark)))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let step = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// How long a literal is up to its closing mark, with escapes.
fn quoted(text: &str, close: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == close => return at,
            _ => {}
        }
    }
    text.len()
}

/// The tokens without every item that is marked `#[cfg(test)]`.
pub(crate) fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if begins(&tokens[at..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
            while begins(&tokens[at..], &["#", "["]) {
                at = group_end(tokens, at + 1) + 1;
            }
            at = item(tokens, at).1 + 1;
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

fn begins(tokens: &[Token<'_>], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.is(text))
}

/// Where the bracket that opens at `open` closes.
pub(crate) fn group_end(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open).filter(|(_, token)| token.kind == Kind::Mark) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// Where the block of an item opens and where it closes; both are its semicolon where it has no block.
fn item(tokens: &[Token<'_>], from: usize) -> (usize, usize) {
    let mut at = from;
    while at < tokens.len() {
        let token = tokens[at];
        if token.is(";") {
            return (at, at);
        }
        if token.is("{") {
            return (at, group_end(tokens, at));
        }
        at = if token.is("(") || token.is("[") { group_end(tokens, at) } else { at } + 1;
    }
    (at, at)
}

/// The places in a file where a module begins, and what its path is.
struct Modules {
    file: Path,
    /// Where an inline module begins and ends, with its path; a later one is the inner one.
    inline: Vec<(usize, usize, Path)>,
}

impl Modules {
    fn at(&self, at: usize) -> &Path {
        let inner = self.inline.iter().rev().find(|(from, to, _)| (*from..*to).contains(&at));
        inner.map_or(&self.file, |(_, _, path)| path)
    }
}

/// The paths of the crate that a file names, absolute. `module` is the file's own path, and `crates` are the names that
/// the crate has besides `crate`: its programs call it by its name.
pub(crate) fn named(tokens: &[Token<'_>], module: &[String], crates: &[&str]) -> Named {
    let mut modules = Modules { file: module.to_vec(), inline: Vec::new() };
    // A module that is declared or imported is known by its name.
    let mut names: BTreeMap<String, Path> = BTreeMap::new();
    let mut uses = Vec::new();
    let mut rest = Vec::new();
    let mut words = BTreeSet::new();
    let mut at = 0;
    let mut is_passed_on = false;
    while at < tokens.len() {
        let token = tokens[at];
        let named = tokens.get(at + 1).filter(|next| next.kind == Kind::Word);
        match named {
            Some(name) if token.is("mod") => {
                let path: Path = modules.at(at).iter().cloned().chain([name.text.to_owned()]).collect();
                if tokens.get(at + 2).is_some_and(|next| next.is("{")) {
                    modules.inline.push((at + 2, group_end(tokens, at + 2), path));
                } else {
                    names.insert(name.text.to_owned(), path);
                }
                at += 2;
                continue;
            }
            _ => {}
        }
        if token.is("use") && token.kind == Kind::Word {
            let end = (at..tokens.len()).find(|end| tokens[*end].is(";")).unwrap_or(tokens.len());
            let mut trees = Vec::new();
            tree(&tokens[at + 1..end], &[], &mut trees);
            uses.extend(trees.into_iter().map(|(path, name)| (modules.at(at).clone(), path, name, is_passed_on)));
            at = end + 1;
        } else if token.is("pub") {
            // Who may see it is not what it uses.
            let is_limited = tokens.get(at + 1).is_some_and(|next| next.is("("));
            at = if is_limited { group_end(tokens, at + 1) } else { at } + 1;
            is_passed_on = true;
            continue;
        } else if let Some((path, end)) = path_at(tokens, at) {
            words.insert(token.text);
            rest.push((modules.at(at).clone(), path));
            at = end;
        } else {
            words.insert(token.text);
            at += 1;
        }
        is_passed_on = false;
    }
    let mut found = Named::default();
    for (here, path, name, is_passed_on) in uses {
        let Some(path) = absolute(&path, &here, &names, crates) else { continue };
        let is_used = !is_passed_on || name.as_ref().is_none_or(|name| words.contains(name.as_str()));
        if is_used {
            found.used.push(path.clone());
        }
        if let Some(name) = name {
            names.insert(name.clone(), path.clone());
            if is_passed_on {
                found.passed_on.insert(name, path);
            }
        }
    }
    found.used.extend(rest.iter().filter_map(|(here, path)| absolute(path, here, &names, crates)));
    found
}

/// The paths of a `use`, each with the name that it gives to what it names; a glob gives none.
fn tree(tokens: &[Token<'_>], before: &[String], found: &mut Vec<(Path, Option<String>)>) {
    let mut path = before.to_vec();
    let mut at = 0;
    while at < tokens.len() {
        let token = tokens[at];
        match token.text {
            "{" => {
                let end = group_end(tokens, at);
                let mut from = at + 1;
                while from < end {
                    let mut to = from;
                    while to < end && !tokens[to].is(",") {
                        to = if tokens[to].is("{") { group_end(tokens, to) } else { to } + 1;
                    }
                    tree(&tokens[from..to], &path, found);
                    from = to + 1;
                }
                return;
            }
            "*" => return found.push((path, None)),
            "as" => {
                let name = tokens.get(at + 1).map(|name| name.text.to_owned()).filter(|name| name != "_");
                return found.push((path, name));
            }
            "::" => {}
            // `a::{self}` is `a` itself.
            "self" if !path.is_empty() => {}
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    if path.len() > before.len() || tokens.first().is_some_and(|token| token.is("self")) {
        let name = path.last().cloned();
        found.push((path, name));
    }
}

/// The path that begins at a token, with where it ends: two words at the least, or one in an attribute's string.
fn path_at(tokens: &[Token<'_>], at: usize) -> Option<(Path, usize)> {
    let token = tokens[at];
    if token.kind == Kind::Text {
        let is_path = token.text.contains("::") && token.text.chars().all(|c| c.is_alphanumeric() || "_:".contains(c));
        return is_path.then(|| (token.text.split("::").map(str::to_owned).collect(), at + 1));
    }
    if token.kind != Kind::Word {
        return None;
    }
    // What continues a path was read with it; `$name` is anybody's, but `$crate` is ours.
    let before = at.checked_sub(1).map(|before| tokens[before]);
    if before.is_some_and(|before| before.is(".") || before.is("::") || (before.is("$") && token.text != "crate")) {
        return None;
    }
    let mut path = vec![token.text.to_owned()];
    let mut end = at + 1;
    while begins(&tokens[end..], &["::"]) && tokens.get(end + 1).is_some_and(|next| next.kind == Kind::Word) {
        path.push(tokens[end + 1].text.to_owned());
        end += 2;
    }
    (path.len() > 1).then_some((path, end))
}

/// A path as seen from a module, from the root of the crate; none when it is another crate's.
fn absolute(path: &[String], here: &[String], names: &BTreeMap<String, Path>, crates: &[&str]) -> Option<Path> {
    let (first, rest) = path.split_first()?;
    if first == "crate" || crates.contains(&first.as_str()) {
        return Some(rest.to_vec());
    }
    if first == "self" || first == "super" {
        let ups = path.iter().take_while(|word| *word == "super" || *word == "self");
        let up = ups.clone().filter(|word| *word == "super").count();
        let base = &here[..here.len().checked_sub(up)?];
        return Some(base.iter().chain(&path[ups.count()..]).cloned().collect());
    }
    let base = names.get(first)?;
    Some(base.iter().chain(rest).cloned().collect())
}

/// The names of the types and traits that a file defines. Left out is what an `impl` or a trait calls a type, and what
/// is parsed from the command line: a verb's arguments have the name that users type.
pub(crate) fn types<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut inside_until = 0;
    let mut is_typed_by_users = false;
    for (at, pair) in tokens.windows(2).enumerate() {
        let [keyword, name] = [pair[0], pair[1]];
        if keyword.is("#") && name.is("[") {
            let attribute = &tokens[at..group_end(tokens, at + 1)];
            let says = |words: &[&str]| attribute.iter().any(|token| words.contains(&token.text));
            is_typed_by_users |= says(&["derive"]) && says(&["Args", "Parser", "Subcommand", "ValueEnum"]);
        }
        let before = at.checked_sub(1).map(|before| tokens[before].text);
        let begins_item = before.is_none_or(|before| ["}", ";", "]", "{", ")", "pub", "unsafe"].contains(&before));
        if keyword.kind != Kind::Word || !begins_item {
            continue;
        }
        if ["impl", "trait"].contains(&keyword.text) && at >= inside_until {
            inside_until = item(tokens, at).1;
        }
        let is_type = ["struct", "enum", "trait", "union"].contains(&keyword.text)
            || (keyword.text == "type" && at >= inside_until);
        if is_type && name.text.starts_with(char::is_uppercase) {
            found.extend((!is_typed_by_users).then_some(name.text));
            is_typed_by_users = false;
        }
    }
    found
}

/// A function with a body.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) line: usize,
    /// Lines that hold code, from its `fn` to its brace.
    pub(crate) lines: usize,
    /// How many blocks stand in each other inside its own.
    pub(crate) depth: usize,
}

/// The functions of a file, also those inside others.
pub(crate) fn functions<'a>(tokens: &[Token<'a>]) -> impl Iterator<Item = Function<'a>> {
    let begins = |at: &usize| tokens[*at].is("fn") && tokens.get(at + 1).is_some_and(|name| name.kind == Kind::Word);
    (0..tokens.len()).filter(begins).filter_map(|at| {
        let (open, close) = item(tokens, at);
        let whole = tokens.get(at..=close).filter(|_| open < close)?;
        let lines: BTreeSet<usize> = whole.iter().map(|token| token.line).collect();
        Some(Function {
            name: tokens[at + 1].text,
            line: tokens[at].line,
            lines: lines.len(),
            depth: depth(&tokens[open + 1..close]),
        })
    })
}

/// How many blocks stand in each other. The braces of a struct, a pattern and a macro's data are no blocks.
fn depth(body: &[Token<'_>]) -> usize {
    let (mut deepest, mut deep) = (0, 0);
    // For each open bracket: whether it is a block, and whether a keyword in it still waits for its own.
    let mut open = vec![(false, false)];
    let mut in_pattern = false;
    let mut before = "";
    for token in body.iter().filter(|token| token.kind != Kind::Text) {
        let waits = open.last().is_some_and(|(_, waits)| *waits);
        match token.text {
            "if" | "while" | "match" | "for" => {
                open.last_mut().expect("brackets are closed as often as they open").1 = true;
                in_pattern = token.text == "for";
            }
            "let" => in_pattern = true,
            "in" => in_pattern = false,
            "=" if before != "." => in_pattern = false,
            "{" => {
                let is_data = in_pattern || ["(", "[", ",", ":"].contains(&before);
                let names_type = before.starts_with(char::is_uppercase) && before.contains(char::is_lowercase);
                let is_block = !is_data && (waits || !names_type);
                if is_block {
                    open.last_mut().expect("brackets are closed as often as they open").1 = false;
                    deep += 1;
                    deepest = deepest.max(deep);
                }
                open.push((is_block, false));
            }
            "(" | "[" => open.push((false, false)),
            "}" | ")" | "]" => deep -= usize::from(open.pop().is_some_and(|(is_block, _)| is_block)),
            _ => {}
        }
        before = token.text;
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    /// What a source names that stands in `a::b`.
    fn read(source: &str) -> Named {
        super::named(&without_tests(&tokens(source)), &["a".to_owned(), "b".to_owned()], &["wehelp"])
    }

    fn used(source: &str) -> Vec<String> {
        let mut found: Vec<String> = read(source).used.iter().map(|path| path.join("::")).collect();
        found.sort();
        found
    }

    #[test]
    fn what_is_no_code_is_told_apart() {
        assert_eq!(texts("a /* b /* c */ d */ e // f\ng"), ["a", "e", "g"]);
        assert_eq!(texts(r##"r#"a"b"# "c\"d" b"e" 'f' '\'' b'g' h"##), ["a\"b", "c\\\"d", "e", "f", "\\'", "g", "h"]);
        assert_eq!(texts("fn f<'a>(x: &'a str, y: &'static u8)"), texts("fn f<>(x: & str, y: & u8)"));
        let lines: Vec<_> = tokens("a\n\"b\nc\"\nd").iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }

    #[test]
    fn unit_tests_are_left_out() {
        let source = "a(); #[cfg(test)] mod tests; #[cfg(test)] #[expect(x)] mod t { fn b() { c() } } \
                      #[cfg(test)] fn d() -> [u8; 2] { e } #[cfg(not(test))] f();";
        let tokens = tokens(source);
        let kept: String = without_tests(&tokens).iter().map(|token| token.text).collect();
        assert_eq!(kept, "a();#[cfg(not(test))]f();");
    }

    #[test]
    fn uses_are_read_in_every_form() {
        assert_eq!(used("use crate::x::{y, z::{self, w as v}};"), ["x::y", "x::z", "x::z::w"]);
        assert_eq!(used("use super::c::D; pub(in crate::q) use super::super::e::*;"), ["a::c::D", "e"]);
        assert_eq!(used("use self::c::d; use super::{self, f};"), ["a", "a::b::c::d", "a::f"]);
        assert_eq!(used("use wehelp::home; use std::fmt; use bytes::{Buf, Bytes};"), ["home"]);
    }

    #[test]
    fn a_path_is_followed_from_wherever_it_begins() {
        // A child, an imported module, one that was imported under another name, and an import out of an import.
        assert_eq!(used("mod c; fn f() { c::g() }"), ["a::b::c::g"]);
        assert_eq!(used("use crate::x::y; fn f() { y::z::g() }"), ["x::y", "x::y::z::g"]);
        assert_eq!(used("use crate::x as y; use y::w; y::g!()"), ["x", "x::g", "x::w"]);
        assert_eq!(
            used("fn f(it: &crate::x::Y) -> <super::Z as T>::V { it.crate_::n(); v::<crate::w::U>() }").len(),
            3
        );
        assert_eq!(used("macro_rules! m { ($a:ident) => { $crate::x::$a; $a::q() } }"), ["x"]);
        assert_eq!(used("#[serde(with = \"super::c\", default = \"d\")] e: u8, \"crate::x is prose\""), ["a::c"]);
    }

    #[test]
    fn what_is_passed_on_is_used_only_where_the_code_says_it() {
        let read = read("mod c; pub use c::D; pub(super) use c::{E as F, g}; fn h() { g(); c::i() }");
        let passed: Vec<_> = read.passed_on.iter().map(|(name, path)| format!("{name} {}", path.join("::"))).collect();
        assert_eq!(passed, ["D a::b::c::D", "F a::b::c::E", "g a::b::c::g"]);
        let used: Vec<_> = read.used.iter().map(|path| path.join("::")).collect();
        assert_eq!(used, ["a::b::c::g", "a::b::c::i"]);
    }

    #[test]
    fn a_module_inside_the_file_is_one_step_more() {
        assert_eq!(used("mod c { use super::D; use super::super::e; } use super::f;"), ["a::b::D", "a::e", "a::f"]);
    }
}
