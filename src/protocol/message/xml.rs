//! A small, bounded, forgiving XML reader for what stands packed in events.
//!
//! Promises: linear time, bounded depth, node count and text; never an error: what could be read before the damage
//! counts. No entity is expanded but the five of XML and numeric ones, so nothing grows while it is read. A declared
//! encoding is ignored: the text is UTF-8 already. Names compare without regard to ASCII case.
//! Leaves to others: what the elements mean.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::borrow::Cow;

/// Deepest nesting that is read; `WeChat`'s own messages stay below 10.
const DEPTH_MAX: usize = 64;
/// Most elements, attributes and pieces of text; a forwarded history of hundreds of entries has a few thousand.
const NODES_MAX: usize = 100_000;
/// Most bytes of text and attribute values that are kept, together.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Longest entity between `&` and `;`, in bytes: `#x10FFFF` with a few leading zeros.
const ENTITY_BYTES_MAX: usize = 12;

/// A document that was read, its elements in document order.
#[derive(Debug)]
pub(in crate::protocol) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    /// Distance from the top, which is 0.
    depth: usize,
    /// One behind the last descendant.
    end: usize,
}

/// One element of a [`Tree`].
#[derive(Debug, Clone, Copy)]
pub(in crate::protocol) struct Element<'t> {
    tree: &'t Tree,
    index: usize,
}

/// Where the XML begins in `text`: at once, or behind a prefix that some versions leave in front of it.
pub(in crate::protocol) fn locate(text: &str) -> Option<&str> {
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if opens_markup(start.as_bytes()) {
        return Some(start);
    }
    let roots = ["<?xml", "<msg", "<sysmsg", "<appmsg", "<voip"];
    roots.iter().filter_map(|root| start.find(root)).min().map(|at| &start[at..])
}

/// Whether a tag, a declaration or CDATA begins here, rather than a lone `<`.
pub(super) fn opens_markup(bytes: &[u8]) -> bool {
    match bytes {
        [b'<', b'/', next, ..] => next.is_ascii_alphabetic() || *next == b'_',
        [b'<', next, ..] => next.is_ascii_alphabetic() || matches!(next, b'?' | b'!' | b'_'),
        _ => false,
    }
}

/// Reads `text` as far as it goes. A lone `<` is a letter: some bridges unescape once too often.
pub(in crate::protocol) fn parse(text: &str) -> Tree {
    let text = &*with_lone_signs_escaped(text);
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    config.allow_dangling_amp = true;
    config.allow_unmatched_ends = true;
    config.check_end_names = false;
    let mut builder = Builder { nodes: Vec::new(), open: Vec::new(), nodes_left: NODES_MAX, text_left: TEXT_BYTES_MAX };
    loop {
        let going = match reader.read_event() {
            Ok(Event::Start(tag)) => builder.open(&tag),
            Ok(Event::Empty(tag)) => {
                let going = builder.open(&tag);
                builder.close_last();
                going
            }
            Ok(Event::End(tag)) => {
                builder.close(tag.name().as_ref());
                true
            }
            Ok(Event::Text(piece)) => builder.text(&piece),
            Ok(Event::CData(piece)) => builder.text(&piece),
            Ok(Event::GeneralRef(name)) => match entity(&name) {
                Some(character) => builder.text(character.encode_utf8(&mut [0; 4])),
                None => builder.text(&format!("&{};", &*name)),
            },
            Ok(Event::Eof) => false,
            Ok(Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_)) => true,
            Err(_) => {
                let at = usize::try_from(reader.error_position()).unwrap_or(usize::MAX);
                builder.salvage(text.get(at..).unwrap_or_default());
                false
            }
        };
        if !going {
            return builder.finish();
        }
    }
}

/// The text with `&lt;` for each `<` that opens nothing; in CDATA each stays as it is.
fn with_lone_signs_escaped(text: &str) -> Cow<'_, str> {
    const CDATA: &str = "<![CDATA[";
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = text[at..].find('<') {
        let sign = at + found;
        at = if text[sign..].starts_with(CDATA) {
            match text[sign..].find("]]>") {
                Some(end) => sign + end,
                None => break,
            }
        } else {
            if !opens_markup(&text.as_bytes()[sign..]) {
                out.push_str(&text[copied..sign]);
                out.push_str("&lt;");
                copied = sign + 1;
            }
            sign + 1
        };
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Resolves the five entities of XML and numeric ones; all else stays as it stands.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find('&') else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(ENTITY_BYTES_MAX + 2).position(|byte| byte == b';');
        if let Some((end, character)) = end.and_then(|end| Some((end, entity(&rest[1..end])?))) {
            out.push(character);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What the entity between `&` and `;` stands for.
fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ if name.len() > ENTITY_BYTES_MAX => None,
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code).filter(|&character| character != '\0')
        }
    }
}

struct Builder {
    nodes: Vec<Node>,
    /// Indexes of the elements that are not closed yet.
    open: Vec<usize>,
    nodes_left: usize,
    text_left: usize,
}

impl Builder {
    /// Opens an element; `false` when a bound is reached.
    fn open(&mut self, tag: &BytesStart<'_>) -> bool {
        if self.open.len() >= DEPTH_MAX || !self.spend_node() {
            return false;
        }
        let index = self.nodes.len();
        let mut node = Node { depth: self.open.len(), ..Node::default() };
        let whole = self.name(tag, &mut node) && self.attributes(tag, &mut node);
        self.nodes.push(node);
        self.open.push(index);
        whole
    }

    fn name(&mut self, tag: &BytesStart<'_>, node: &mut Node) -> bool {
        let name = tag.name();
        let name: &str = name.as_ref();
        let fits = self.spend_text(name.len());
        if fits {
            name.clone_into(&mut node.name);
        }
        fits
    }

    fn attributes(&mut self, tag: &BytesStart<'_>, node: &mut Node) -> bool {
        // Without its check for doubles, which is quadratic; and liberal as a browser about quotes.
        for attribute in tag.html_attributes().with_checks(false) {
            let Ok(attribute) = attribute else { continue };
            let name: &str = attribute.key.as_ref();
            let value = unescape(&attribute.value);
            if !self.spend_node() || !self.spend_text(name.len() + value.len()) {
                return false;
            }
            node.attributes.push((name.to_owned(), value.into_owned()));
        }
        true
    }

    /// Adds text to the element that is open, if any.
    fn text(&mut self, piece: &str) -> bool {
        let Some(&index) = self.open.last() else { return true };
        if !self.spend_node() || !self.spend_text(piece.len()) {
            return false;
        }
        self.nodes[index].text.push_str(piece);
        true
    }

    /// Closes the nearest open element of that name and what is open in it; a stray end tag closes nothing.
    fn close(&mut self, name: &str) {
        let Some(at) = self.open.iter().rposition(|&index| self.nodes[index].name == name) else { return };
        while self.open.len() > at {
            self.close_last();
        }
    }

    fn close_last(&mut self) {
        if let Some(index) = self.open.pop() {
            self.nodes[index].end = self.nodes.len();
        }
    }

    /// Takes what is whole out of a tag or a CDATA section that was cut off.
    fn salvage(&mut self, rest: &str) {
        if let Some(cdata) = rest.strip_prefix("<![CDATA[") {
            self.text(cdata);
            return;
        }
        let Some(tag) = rest.strip_prefix('<') else { return };
        if tag.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            let name_len = tag.find(|c: char| c.is_ascii_whitespace() || c == '/').unwrap_or(tag.len());
            self.open(&BytesStart::from_content(tag, name_len));
        }
    }

    fn finish(mut self) -> Tree {
        while !self.open.is_empty() {
            self.close_last();
        }
        Tree { nodes: self.nodes }
    }

    fn spend_node(&mut self) -> bool {
        spend(&mut self.nodes_left, 1)
    }

    fn spend_text(&mut self, bytes: usize) -> bool {
        spend(&mut self.text_left, bytes)
    }
}

fn spend(left: &mut usize, amount: usize) -> bool {
    match left.checked_sub(amount) {
        Some(rest) => *left = rest,
        None => return false,
    }
    true
}

impl Tree {
    /// The first element.
    pub(in crate::protocol) fn root(&self) -> Option<Element<'_>> {
        (!self.nodes.is_empty()).then_some(Element { tree: self, index: 0 })
    }

    /// Every element, in document order.
    pub(in crate::protocol) fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        (0..self.nodes.len()).map(|index| Element { tree: self, index })
    }

    /// Every element that does not stand in one that `skip` names, nor is one; the root is never skipped.
    pub(in crate::protocol) fn elements_outside(
        &self,
        skip: fn(Element<'_>) -> bool,
    ) -> impl Iterator<Item = Element<'_>> {
        let mut index = 0;
        std::iter::from_fn(move || {
            while index < self.nodes.len() {
                let element = Element { tree: self, index };
                if index == 0 || !skip(element) {
                    index += 1;
                    return Some(element);
                }
                index = self.nodes[index].end;
            }
            None
        })
    }

    /// The first element of that name, wherever it stands.
    pub(in crate::protocol) fn find(&self, name: &str) -> Option<Element<'_>> {
        self.elements().find(|element| element.is(name))
    }
}

impl<'t> Element<'t> {
    fn node(self) -> &'t Node {
        &self.tree.nodes[self.index]
    }

    /// Its name.
    pub(in crate::protocol) fn name(self) -> &'t str {
        &self.node().name
    }

    /// Whether it has that name.
    pub(in crate::protocol) fn is(self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    /// The value of an attribute, as it stands.
    pub(in crate::protocol) fn attribute(self, name: &str) -> Option<&'t str> {
        self.attributes().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Its attributes, in order.
    pub(in crate::protocol) fn attributes(self) -> impl Iterator<Item = (&'t str, &'t str)> {
        self.node().attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Its own text, without that of its children, trimmed.
    pub(in crate::protocol) fn text(self) -> &'t str {
        self.node().text.trim()
    }

    /// Itself and the elements in it; the first of a document stands for all of it, since damage may close it early.
    pub(in crate::protocol) fn within(self) -> impl Iterator<Item = Self> {
        let end = if self.index == 0 { self.tree.nodes.len() } else { self.node().end };
        (self.index..end).map(move |index| Element { tree: self.tree, index })
    }

    /// The first of [`within`](Self::within) of that name.
    pub(in crate::protocol) fn find(self, name: &str) -> Option<Self> {
        self.within().find(|element| element.is(name))
    }

    /// The elements in it, however deep.
    pub(in crate::protocol) fn descendants(self) -> impl Iterator<Item = Self> {
        (self.index + 1..self.node().end).map(move |index| Element { tree: self.tree, index })
    }

    /// The elements directly in it.
    pub(in crate::protocol) fn children(self) -> impl Iterator<Item = Self> {
        let depth = self.node().depth + 1;
        self.descendants().filter(move |element| element.node().depth == depth)
    }

    /// The first element of that name directly in it.
    pub(in crate::protocol) fn child(self, name: &str) -> Option<Self> {
        self.children().find(|element| element.is(name))
    }

    /// The text of the child of that name; `None` when it is missing or empty.
    pub(in crate::protocol) fn child_text(self, name: &str) -> Option<&'t str> {
        self.child(name).map(Self::text).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn elements_attributes_text_and_cdata_are_read() {
        let tree =
            parse("<?xml version=\"1.0\" encoding=\"gbk\"?><a x='1 &lt; 2'><b>p&amp;q &#20320;</b><![CDATA[<c>]]></a>");
        let root = tree.root().unwrap();
        assert_eq!(root.attribute("X"), Some("1 < 2"));
        assert_eq!(root.child_text("b"), Some("p&q 你"));
        assert_eq!(root.text(), "<c>");
    }

    #[test]
    fn a_tag_that_is_cut_off_keeps_its_whole_attributes() {
        let tree = parse(r#"<msg a="1" b="2" c="3"#);
        let root = tree.root().unwrap();
        assert_eq!((root.attribute("a"), root.attribute("b"), root.attribute("c")), (Some("1"), Some("2"), None));
    }

    #[test]
    fn a_cdata_section_that_is_cut_off_keeps_its_text() {
        assert_eq!(parse("<msg><t><![CDATA[half a").find("t").unwrap().text(), "half a");
    }

    #[test]
    fn wrong_end_tags_and_lone_ampersands_do_no_harm() {
        let tree = parse("<a></x><b>1 & 2</c></b><d>3</d></a>");
        assert_eq!(tree.root().unwrap().child_text("b"), Some("1 & 2"));
        assert_eq!(tree.root().unwrap().child_text("d"), Some("3"));
    }

    #[test]
    fn entities_of_a_doctype_are_not_expanded() {
        let mut bomb = String::from("<!DOCTYPE a [<!ENTITY l0 \"lol\">");
        for level in 1..30 {
            write!(bomb, "<!ENTITY l{level} \"&l{0};&l{0};&l{0};\">", level - 1).unwrap();
        }
        bomb.push_str("]><a b=\"&l29;\">&l29;</a>");
        let tree = parse(&bomb);
        assert_eq!(tree.root().unwrap().text(), "&l29;");
        assert_eq!(tree.root().unwrap().attribute("b"), Some("&l29;"));
    }

    /// In quadratic time none of these would end.
    #[test]
    fn bombs_end_within_their_bounds() {
        let deep = "<a>".repeat(1_000_000);
        let wide = "<a/>".repeat(1_000_000);
        let long = format!("<a b=\"{}\" c=\"1\"/>", "x".repeat(10_000_000));
        let many = format!("<a {}/>", "b='1' ".repeat(1_000_000));
        let refs = format!("<a>{}</a>", "&amp;".repeat(1_000_000));
        let stray = "<".repeat(1_000_000);
        assert_eq!(parse(&deep).elements().count(), DEPTH_MAX);
        assert_eq!(parse(&wide).elements().count(), NODES_MAX);
        assert_eq!(parse(&long).root().unwrap().attributes().count(), 0);
        assert!(parse(&many).root().unwrap().attributes().count() < NODES_MAX);
        assert!(parse(&refs).root().unwrap().text().len() < NODES_MAX);
        parse(&stray);
    }
}
