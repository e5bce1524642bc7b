//! What an answer holds, and what the directory knows, for people: tables of chosen columns, or a line a fact.

use super::{clean, table};
use crate::clock::Time;
use crate::protocol::command::Api;
use serde_json::Value;

/// A column: its head, and the keys whose first value that says something is shown.
pub(in crate::cli) type Column = (&'static str, &'static [&'static str]);

/// Friends and contacts.
pub(in crate::cli) const PEOPLE: &[Column] = &[
    ("wxid", &["wxid"]),
    ("remark", &["remark"]),
    ("nick", &["nick"]),
    ("username", &["username"]),
    ("sex", &["sex"]),
    ("province", &["province"]),
    ("city", &["city"]),
];

/// Rooms.
pub(in crate::cli) const ROOMS: &[Column] =
    &[("wxid", &["wxid"]), ("nick", &["remark", "nick"]), ("members", &["count"]), ("owned", &["owner"])];

/// People and rooms together.
pub(in crate::cli) const CONTACTS: &[Column] = &[
    ("wxid", &["wxid"]),
    ("remark", &["remark"]),
    ("nick", &["nick"]),
    ("username", &["username"]),
    ("friend", &["friend"]),
    ("members", &["count"]),
];

/// Members of a room.
pub(in crate::cli) const MEMBERS: &[Column] = &[
    ("wxid", &["wxid"]),
    ("nick", &["nick"]),
    ("remark", &["remark"]),
    ("username", &["username"]),
    ("sex", &["sex"]),
];

/// Pictures.
pub(in crate::cli) const AVATARS: &[Column] =
    &[("wxid", &["wxid"]), ("nick", &["remark", "nick"]), ("avatar", &["avatar"])];

/// Open friend requests.
pub(in crate::cli) const REQUESTS: &[Column] = &[
    ("seq", &["seq"]),
    ("account", &["account"]),
    ("wxid", &["wxid"]),
    ("nick", &["nick"]),
    ("greeting", &["greeting"]),
];

/// How the items of an answer are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Shape {
    /// A table.
    Table(&'static [Column]),
    /// A line a fact.
    Facts,
}

impl Shape {
    /// The shape of what answers an `api`.
    pub(in crate::cli) fn of(api: &str) -> Self {
        match Api::find(api).map_or("", |row| row.verb) {
            "friend list" | "friend info" => Self::Table(PEOPLE),
            "room list" => Self::Table(ROOMS),
            "room members" => Self::Table(MEMBERS),
            _ => Self::Facts,
        }
    }

    /// The text of some items.
    pub(in crate::cli) fn text(self, items: &[Value], columns: Option<usize>) -> String {
        match self {
            Self::Table(shown) => grid(shown, items, columns),
            Self::Facts => items.iter().map(facts).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// A table of the columns that say something at all.
pub(in crate::cli) fn grid(shown: &[Column], items: &[Value], columns: Option<usize>) -> String {
    let cell = |item: &Value, keys: &[&str]| keys.iter().map(|key| word(&item[*key])).find(|w| !w.is_empty());
    let mut rows: Vec<Vec<String>> = vec![Vec::new(); items.len()];
    let mut head = Vec::new();
    for (name, keys) in shown {
        let cells: Vec<String> = items.iter().map(|item| cell(item, keys).unwrap_or_default()).collect();
        if cells.iter().all(String::is_empty) {
            continue;
        }
        head.push(*name);
        rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
    }
    table(&head, &rows, columns)
}

/// A value in a cell; nothing for null.
fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(yes) => (if *yes { "yes" } else { "no" }).to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(word).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A line for each thing that an object says.
pub(in crate::cli) fn facts(item: &Value) -> String {
    let Some(map) = item.as_object() else { return word(item) };
    let lines: Vec<(&str, String)> =
        map.iter().map(|(key, value)| (key.as_str(), fact(key, value))).filter(|(_, said)| !said.is_empty()).collect();
    pairs(&lines)
}

/// A value on a line of its own; moments in local time.
fn fact(key: &str, value: &Value) -> String {
    let moment =
        matches!(key, "updated" | "time").then(|| serde_json::from_value::<Time>(value.clone()).ok()).flatten();
    moment.map_or_else(|| clean(&word(value)).into_owned(), Time::local)
}

/// Names and values, aligned, a line each. Values may hold colour, so they are cleaned by the caller.
pub(in crate::cli) fn pairs(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{:<width$}  {value}\n", clean(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_leaves_out_columns_that_say_nothing() {
        let items = [json!({"wxid": "wxid_a", "nick": "小强", "remark": null}), json!({"wxid": "b", "nick": ""})];
        let text = grid(MEMBERS, &items, None);
        assert!(text.contains("小强") && !text.to_lowercase().contains("remark"), "{text}");
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn facts_are_a_line_each_and_cannot_drive_the_terminal() {
        let item = json!({"wxid": "wxid_a", "v2": null, "nick": "a\u{1b}[2J\nb", "wxids": ["x", "y"], "ok": true});
        assert_eq!(facts(&item), "wxid   wxid_a\nnick   a⏎b\nwxids  x, y\nok     yes\n");
    }

    #[test]
    fn answers_have_the_shape_of_their_question() {
        assert_eq!(Shape::of("getChatRoomUserLists"), Shape::Table(MEMBERS));
        assert_eq!(Shape::of("netGetUserInfo"), Shape::Facts);
        assert_eq!(Shape::of("unknown"), Shape::Facts);
    }
}
