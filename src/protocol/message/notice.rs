//! Notices of the system: calls (`msgType` 50), notices (10000), recalls and other system XML (10002).
//!
//! Promises: plain, bounded text for people. A filled-in template cannot grow beyond [`FILLED_BYTES_MAX`].

use super::{Message, plain, said, word, xml};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use xml::{Element, Tree};

/// Longest text that a template is filled in to, in bytes: its place-holders repeat, so it could grow without end.
const FILLED_BYTES_MAX: usize = 64 * 1024;

/// A call: how it went, where the client says.
pub(super) fn call(message: &str) -> Message {
    let Some(tree) = xml::locate(message).map(xml::parse).filter(|tree| tree.root().is_some()) else {
        return plain(message);
    };
    // An invitation holds numbers only: nothing to read.
    let invitation = tree.find("voipinvitemsg");
    let said = tree.find("VoIPBubbleMsg").and_then(|bubble| bubble.child_text("msg"));
    let text = match (said, invitation) {
        (Some(said), _) => Some(said.to_owned()),
        (None, Some(_)) => None,
        (None, None) => stripped(message),
    };
    let mut decoded = Map::new();
    if let Some(invitation) = invitation {
        let status = ["status", "invitetype", "roomid"].map(|name| (name, invitation.child_text(name)));
        for (name, value) in status {
            word(&mut decoded, name, value);
        }
    }
    Message { text, decoded: Value::Object(decoded) }
}

/// A notice in a chat: plain text, text with links in it, or system XML.
pub(super) fn notice(message: &str) -> Message {
    if !message.contains('<') {
        return plain(message);
    }
    if message.contains("<sysmsg")
        && let Some(tree) = xml::locate(message).map(xml::parse)
        && let Some(root) = tree.root().filter(|root| root.is("sysmsg"))
    {
        let mut read = system(&tree, root);
        read.text = read.text.or_else(|| stripped(message));
        return read;
    }
    Message { text: stripped(message), decoded: json!({}) }
}

/// System XML: `<sysmsg type="revokemsg">` is a recall, the rest is told by its type.
pub(super) fn system(tree: &Tree, root: Element<'_>) -> Message {
    let kind = sysmsg_type(root);
    let mut decoded = Map::new();
    word(&mut decoded, "sysmsg", kind);
    let body = kind.and_then(|kind| root.child(kind)).or_else(|| root.children().next()).unwrap_or(root);
    let get = |name| body.child_text(name);
    let text = match kind {
        Some("revokemsg") => {
            for name in ["session", "msgid", "newmsgid", "replacemsg"] {
                word(&mut decoded, name, get(name));
            }
            get("replacemsg").map(str::to_owned)
        }
        Some("sysmsgtemplate") => filled(tree),
        Some("pat") => {
            word(&mut decoded, "from", get("fromusername"));
            word(&mut decoded, "patted", get("pattedusername"));
            get("template").map(str::to_owned)
        }
        // `<revokemsg>"A" recalled a message</revokemsg>`, as PC WeChat keeps it.
        None if root.is("revokemsg") => said(Some(root.text())).map(str::to_owned),
        _ => ["plain", "text", "content"].into_iter().find_map(get).map(str::to_owned),
    };
    Message { text, decoded: Value::Object(decoded) }
}

/// The type of system XML; `None` when it is something else.
pub(super) fn sysmsg_type(root: Element<'_>) -> Option<&str> {
    said(root.attribute("type")).filter(|_| root.is("sysmsg"))
}

/// The template of a notice with its place-holders (`$names$`) filled in from the links beside it.
fn filled(tree: &Tree) -> Option<String> {
    let template = said(Some(tree.find("template")?.text()))?;
    let links: HashMap<&str, String> = tree
        .elements()
        .filter(|element| element.is("link"))
        .filter_map(|link| Some((link.attribute("name")?, link_text(link))))
        .collect();
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, (name, after))) =
        rest.split_once('$').and_then(|(before, rest)| Some((before, rest.split_once('$')?)))
    {
        out.push_str(before);
        if let Some(value) = links.get(name) {
            out.push_str(value);
            rest = after;
        } else {
            out.push('$');
            rest = &rest[before.len() + 1..];
        }
        if out.len() > FILLED_BYTES_MAX {
            let end = (0..=FILLED_BYTES_MAX).rev().find(|&at| out.is_char_boundary(at)).unwrap_or(0);
            out.truncate(end);
            return Some(out);
        }
    }
    out.push_str(rest);
    Some(out)
}

/// What a link reads as: the names of its members, or its own text.
fn link_text(link: Element<'_>) -> String {
    let names: Vec<&str> = link
        .descendants()
        .filter(|element| element.is("member"))
        .filter_map(|member| member.child_text("nickname"))
        .collect();
    if names.is_empty() {
        return ["plain", "title"].into_iter().find_map(|name| link.child_text(name)).unwrap_or_default().to_owned();
    }
    names.join(link.child("separator").map_or("、", |separator| separator.text()))
}

/// The text without its tags; `None` when nothing is left.
fn stripped(message: &str) -> Option<String> {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find('<') {
        out.push_str(&xml::unescape(&rest[..at]));
        rest = &rest[at..];
        if let Some(cdata) = rest.strip_prefix("<![CDATA[") {
            let (inside, after) = cdata.split_once("]]>").unwrap_or((cdata, ""));
            out.push_str(inside);
            rest = after;
        } else if !xml::opens_markup(rest.as_bytes()) {
            out.push('<');
            rest = &rest[1..];
        } else if let Some((_, after)) = rest.split_once('>') {
            rest = after;
        } else {
            // No tag after all, or one that is cut off: rather too much text than too little.
            break;
        }
    }
    out.push_str(&xml::unescape(rest));
    let text = out.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
