//! What the queue says of a command, for people. The word *sent* is never used: nobody can know it (contract 3).

use super::{clean, shorten, state, time};
use crate::control::{Held, Receipt, State};
use crate::protocol::command::Api;
use serde_json::{Map, Value};

/// What a command does and to whom: `send text to filehelper`, `room kick 1@chatroom wxid_a`.
pub(in crate::cli) fn deed(receipt: &Receipt) -> String {
    let command: Map<String, Value> = serde_json::from_str(receipt.command.get()).unwrap_or_default();
    let verb = Api::find(&receipt.api).map_or(receipt.api.as_str(), |row| row.verb);
    let get = |key: &str| command.get(key).and_then(Value::as_str);
    let mut said = clean(verb).into_owned();
    if let Some(ids) = command.get("wxidLists").and_then(Value::as_array) {
        said.push_str(&format!(" of {}", count(ids.len(), "id")));
    }
    let whom = [get("chatroom"), get("wxid")].into_iter().flatten();
    let to = if verb.starts_with("send ") { " to " } else { " " };
    for id in whom {
        said.push_str(to);
        said.push_str(&clean(id));
    }
    said
}

/// What a command says: the text, the path, the title …; empty for most.
pub(in crate::cli) fn words(receipt: &Receipt) -> String {
    let command: Map<String, Value> = serde_json::from_str(receipt.command.get()).unwrap_or_default();
    let keys = ["text", "imgPath", "filePath", "title", "message", "name"];
    let said = keys.iter().find_map(|key| command.get(*key)?.as_str()).unwrap_or_default();
    clean(said).into_owned()
}

/// One sentence of what is known: `queued as 42 for wxid_me: send text to filehelper`.
pub(in crate::cli) fn sentence(receipt: &Receipt) -> String {
    let Receipt { id, state, .. } = receipt;
    let account = receipt.account.as_deref().map(|a| format!(" for {}", clean(a))).unwrap_or_default();
    let deed = deed(receipt);
    let queued = if receipt.repeated { "queued before as" } else { "queued as" };
    match state {
        State::Ready => format!("{queued} {id}{account}: {deed}{}", held(receipt)),
        State::Scheduled => format!("{queued} {id}{account}, due {}: {deed}", receipt.due.local()),
        State::InFlight => format!("{id} is on its way to the client{account}: {deed}"),
        State::Fetched => format!("{id} was fetched by the client{account}: {deed}"),
        State::Answered => format!("{id} was answered{}{account}: {deed}", event(receipt)),
        State::Rejected => format!("{id} was rejected{}{account}: {deed}", event(receipt)),
        State::Expired => format!("{id} expired before a client fetched it{account}: {deed}"),
        State::Cancelled => format!("{id} was cancelled{account}: {deed}"),
    }
}

/// ` (held: …)`, when it is.
pub(in crate::cli) fn held(receipt: &Receipt) -> String {
    let told = |held: &Held| format!(" (held{}{})", if held.until.is_some() { " " } else { ": " }, why(held));
    receipt.held.as_ref().map(told).unwrap_or_default()
}

fn why(held: &Held) -> String {
    match held.until {
        Some(until) => format!("until {}: {}", until.local(), clean(&held.reason)),
        None => clean(&held.reason).into_owned(),
    }
}

fn event(receipt: &Receipt) -> String {
    receipt.answer.map(|seq| format!(" by event {seq}")).unwrap_or_default()
}

/// `1 id`, `3 ids`.
pub(in crate::cli) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The head of the table of commands.
pub(in crate::cli) const HEAD: [&str; 5] = ["id", "state", "account", "due", "command"];

/// A row of the table of commands.
pub(in crate::cli) fn row(receipt: &Receipt) -> Vec<String> {
    vec![
        receipt.id.to_string(),
        receipt.state.to_string(),
        receipt.account.clone().unwrap_or_else(|| "-".to_owned()),
        time(Some(receipt.due)),
        all_said(receipt),
    ]
}

/// What a command does, the beginning of what it says, and why it is held, if it is.
fn all_said(receipt: &Receipt) -> String {
    /// The most of a text that is shown, columns.
    const WORDS: usize = 30;
    let words = words(receipt);
    let words = if words.is_empty() { words } else { format!(": {}", shorten(&words, WORDS)) };
    format!("{}{words}{}", deed(receipt), held(receipt))
}

/// One line of the changes that commands go through: when, which change, which command, its state, and what it does.
pub(in crate::cli) fn change(receipt: &Receipt) -> String {
    /// As long as a state is, columns.
    const STATE: usize = 9;
    let when = receipt.changed.unwrap_or(receipt.created).local();
    let rev = receipt.rev.map_or("-".to_owned(), |rev| rev.to_string());
    let pad = " ".repeat(STATE.saturating_sub(receipt.state.as_str().len()));
    let account = receipt.account.as_deref().map(|account| format!(" for {}", clean(account))).unwrap_or_default();
    let (deed, event) = (all_said(receipt), event(receipt));
    format!("{when} {rev:>5} {:>4} {}{pad} {deed}{account}{event}", receipt.id, state(receipt.state))
}

/// The table of commands, its states coloured. The colour comes after the widths are settled.
pub(in crate::cli) fn coloured(table: &str, receipts: &[Receipt]) -> String {
    let mut lines = table.lines();
    let mut out = lines.next().map(|head| format!("{head}\n")).unwrap_or_default();
    for (line, receipt) in lines.zip(receipts) {
        // A state stands behind a number, so its first occurrence is its own column.
        out.push_str(&line.replacen(receipt.state.as_str(), &state(receipt.state), 1));
        out.push('\n');
    }
    out
}

/// Everything of one command, a line each.
pub(in crate::cli) fn details(receipt: &Receipt) -> String {
    let mut lines = vec![
        ("id", receipt.id.to_string()),
        ("state", state(receipt.state)),
        ("account", clean(receipt.account.as_deref().unwrap_or("whoever polls first")).into_owned()),
        ("command", deed(receipt)),
        ("wire", clean(receipt.command.get()).into_owned()),
        ("created", receipt.created.local()),
        ("due", receipt.due.local()),
    ];
    lines.extend(receipt.expires.map(|t| ("expires", t.local())));
    lines.extend(receipt.key.as_ref().map(|key| ("key", clean(key).into_owned())));
    lines.push(("attempts", receipt.attempts.to_string()));
    lines.extend(receipt.fetched.as_ref().map(|fetched| {
        let by = fetched.account.as_deref().map(|a| format!(" by {}", clean(a))).unwrap_or_default();
        let pid = fetched.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
        let sure = if fetched.confirmed { "" } else { "; whether the client read it is not known" };
        ("fetched", format!("{}{by} at {}{pid}{sure}", fetched.time.local(), clean(&fetched.peer)))
    }));
    lines.extend(receipt.answer.map(|seq| ("answer", format!("event {seq}"))));
    lines.extend(receipt.held.as_ref().map(|held| ("held", why(held))));
    super::items::pairs(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(json: &str) -> Receipt {
        serde_json::from_str(json).unwrap()
    }

    fn text(state: &str) -> Receipt {
        receipt(&format!(
            r#"{{"id":42,"state":"{state}","account":"wxid_me","api":"sendTextMessage","command":{{"api":"sendTextMessage","code":1,"wxid":"filehelper","text":"a\u001b[31mb"}},"created":"2026-11-23T09:00:00.000Z","due":"2026-11-23T09:00:00.000Z","expires":null,"key":null,"attempts":0,"fetched":null,"answer":null}}"#
        ))
    }

    #[test]
    fn no_state_is_called_sent() {
        assert_eq!(sentence(&text("ready")), "queued as 42 for wxid_me: send text to filehelper");
        for state in State::ALL {
            let said = sentence(&text(state.as_str()));
            assert!(said.contains("42") && !said.split(|c: char| !c.is_alphanumeric()).any(|w| w == "sent"), "{said}");
        }
    }

    #[test]
    fn a_deed_names_room_and_member() {
        let kick = receipt(
            r#"{"id":1,"state":"ready","account":null,"api":"delChatRoomUser","command":{"api":"delChatRoomUser","code":12,"chatroom":"1@chatroom","wxid":"wxid_a"},"created":"2026-11-23T09:00:00.000Z","due":"2026-11-23T09:00:00.000Z","expires":null,"key":null,"attempts":0,"fetched":null,"answer":null}"#,
        );
        assert_eq!(deed(&kick), "room kick 1@chatroom wxid_a");
    }

    #[test]
    fn what_a_command_says_cannot_drive_the_terminal() {
        assert_eq!(words(&text("ready")), "ab");
        assert!(!details(&text("ready")).contains('\u{1b}') || colored::control::SHOULD_COLORIZE.should_colorize());
    }

    #[test]
    fn a_coloured_table_keeps_every_line() {
        let receipts = [text("ready"), text("fetched")];
        let table = crate::cli::render::table(&HEAD, &receipts.each_ref().map(row), None);
        assert_eq!(coloured(&table, &receipts).lines().count(), 3);
    }
}
