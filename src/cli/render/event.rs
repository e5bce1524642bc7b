//! An event as a line for people: when, where, who, what. It shows names where they are known, and ids else; `events show`
//! has both.

use super::{ago, clean, shorten};
use crate::clock::Time;
use crate::control::Entry;
use colored::Colorize;
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::Write;

/// The longest summary of what is no text, columns.
const SUMMARY_COLUMNS_MAX: usize = 200;

/// An event's JSON as one line for people; `accounts`: say which account it is of. `None` when it is no event.
pub(in crate::cli) fn line(json: &[u8], accounts: bool) -> Option<String> {
    Entry::read(json).map(|entry| entry_line(&entry, accounts))
}

/// An event's JSON as the line, with all that is known of it below. `None` when it is no event.
pub(in crate::cli) fn whole(json: &[u8]) -> Option<String> {
    let entry = Entry::read(json)?;
    let mut out = entry_line(&entry, true);
    let pid = entry.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    let account = entry.account.as_deref().map(|account| format!("{account}{pid}"));
    let number = entry.r#type.map(|number| format!("{} ({number})", entry.kind));
    let fields = [
        ("kind", number.or(Some(entry.kind))),
        ("account", account),
        ("chat", entry.chat),
        ("from", entry.from),
        ("name", entry.from_name),
        ("nick", entry.nick),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            let _ = write!(out, "\n  {:<8} {}", name.dimmed(), clean(&value));
        }
    }
    let decoded = entry.decoded.as_object().filter(|decoded| !decoded.is_empty());
    if let Some(Ok(decoded)) = decoded.map(serde_json::to_string_pretty) {
        let decoded: Vec<_> = decoded.lines().map(clean).collect();
        let _ = write!(out, "\n  {:<8} {}", "decoded".dimmed(), decoded.join("\n  "));
    }
    Some(out)
}

fn entry_line(entry: &Entry, accounts: bool) -> String {
    let mut out = format!("{} {}", entry.time.local().dimmed(), format!("{:>4}", entry.seq).dimmed());
    // Of what the daemon itself tells the account is all that it is about.
    let is_daemons = entry.kind.starts_with("client.");
    if (accounts || is_daemons)
        && let Some(account) = &entry.account
    {
        let _ = write!(out, " {}", clean(account).magenta());
    }
    let Some(kind) = entry.kind.strip_prefix("message.") else {
        let _ = write!(out, " {}", entry.kind.yellow());
        if let Some(chat) = entry.nick.as_deref().or(entry.chat.as_deref()) {
            let _ = write!(out, " {}", clean(chat).cyan());
        }
        let summary = entry.text.clone().or_else(|| summary(entry));
        if let Some(summary) = summary {
            let _ = write!(out, " {}", shorten(&clean(&summary), SUMMARY_COLUMNS_MAX));
        }
        return out;
    };
    let chat = entry.chat.as_deref().unwrap_or("?");
    let _ = write!(out, " {}", clean(entry.nick.as_deref().unwrap_or(chat)).cyan().bold());
    if entry.is_self == Some(true) {
        let _ = write!(out, " {}", "me".green());
    } else if let Some(from) = entry.from.as_deref().filter(|from| *from != chat) {
        // Who asks to be a friend is known by the request alone.
        let said = entry.decoded["nick"].as_str().filter(|_| kind == "friend_request");
        let _ = write!(out, " {}", clean(entry.from_name.as_deref().or(said).unwrap_or(from)).green());
    }
    out.push(':');
    if kind != "text" {
        let _ = write!(out, " {}", format!("[{kind}]").yellow());
    }
    let text = match entry.text.clone() {
        Some(text) => Some(Cow::Owned(text)),
        None => summary(entry).map(|summary| shorten(&summary, SUMMARY_COLUMNS_MAX).into_owned().into()),
    };
    if let Some(text) = text {
        let _ = write!(out, " {}", clean(&text));
        // A shared page's text is its title.
        let url = entry.decoded["url"].as_str().filter(|url| kind == "app" && !text.contains(*url));
        if let Some(url) = url {
            let _ = write!(out, " {}", shorten(&clean(url), SUMMARY_COLUMNS_MAX).dimmed());
        }
    }
    out
}

/// The gist of what was packed.
fn summary(entry: &Entry) -> Option<String> {
    let decoded = &entry.decoded;
    let word = |key: &str| decoded[key].as_str().map(str::to_owned);
    let count = |key: &str| decoded[key].as_array().map(|list| format!("{} {key}", list.len()));
    match entry.kind.as_str() {
        "login" | "login.state" => match (decoded["code"].as_i64(), decoded["logged_in"].as_bool()) {
            (Some(200), _) | (_, Some(true)) => Some("logged in".to_owned()),
            (_, Some(false)) => Some("not logged in".to_owned()),
            (Some(code), _) => Some(format!("code {code}")),
            _ => None,
        },
        "login.qrcode" => word("content").or_else(|| Some("a picture; `wehelp login` shows it".to_owned())),
        "profile" | "friend.v2" => decoded["contact"]["nick"].as_str().map(str::to_owned),
        "contacts" => count("contacts"),
        "rooms" => count("rooms"),
        "room.members" => count("members"),
        "contacts.packet" | "contact.packet" => count("wxids"),
        "friend.verified" => decoded["ok"].as_bool().map(|ok| if ok { "ok" } else { "refused" }.to_owned()),
        "avatars" => decoded["avatars"].as_object().map(|avatars| format!("{} avatars", avatars.len())),
        "unparsed" => word("reason"),
        "client.offline" | "client.online" => client(entry),
        "message.friend_request" | "message.card" => word("nick").or_else(|| word("wxid")),
        "message.app" => match (word("title"), word("url")) {
            (Some(title), Some(url)) => Some(format!("{title} {url}")),
            (title, url) => title.or(url),
        },
        _ => None,
    }
}

/// What became of an account's client.
fn client(entry: &Entry) -> Option<String> {
    let time = |key: &str| Time::deserialize(&entry.decoded[key]).ok();
    let (since, last) = (time("since")?, time("last_poll")?);
    if entry.kind == "client.online" {
        return Some(format!("the client polls again, {} after its last poll", ago(last, since)));
    }
    let usual = entry.decoded["interval_s"].as_u64().map(|s| format!("; it polls every {s}s else")).unwrap_or_default();
    Some(format!("the client has not polled since {}{usual}", last.local()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(json: &str) -> String {
        clean(&line(json.as_bytes(), false).unwrap()).into_owned()
    }

    #[test]
    fn a_message_tells_when_where_who_and_what() {
        let text = plain(
            r#"{"seq":17,"time":"2026-11-23T09:00:00.123Z","kind":"message.text","chat":"1@chatroom","from":"wxid_a","self":false,"nick":"群","text":"hi\nyou","decoded":{},"data":{}}"#,
        );
        assert!(text.ends_with("  17 群 wxid_a: hi⏎you"), "{text}");
        let own = plain(
            r#"{"seq":18,"time":"2026-11-23T09:00:00.123Z","kind":"message.image","chat":"wxid_a","from":"wxid_me","self":true,"decoded":{}}"#,
        );
        assert!(own.ends_with("  18 wxid_a me: [image]"), "{own}");
        let named = plain(
            r#"{"seq":19,"time":"2026-11-23T09:00:00.123Z","kind":"message.text","chat":"1@chatroom","from":"wxid_a","self":false,"nick":"群","from_name":"小王","text":"hi","decoded":{}}"#,
        );
        assert!(named.ends_with("  19 群 小王: hi"), "{named}");
        let asks = plain(
            r#"{"seq":20,"time":"2026-11-23T09:00:00.123Z","kind":"message.friend_request","chat":"fmessage","from":"wxid_b","self":false,"text":"hello","decoded":{"nick":"钱浩"}}"#,
        );
        assert!(asks.ends_with("  20 fmessage 钱浩: [friend_request] hello"), "{asks}");
    }

    #[test]
    fn what_is_no_message_is_told_by_its_kind() {
        let text = plain(
            r#"{"seq":3,"time":"2026-11-23T09:00:00.123Z","kind":"room.members","chat":"1@chatroom","decoded":{"members":[{},{}]}}"#,
        );
        assert!(text.ends_with("   3 room.members 1@chatroom 2 members"), "{text}");
    }

    #[test]
    fn what_became_of_a_client_is_told_in_a_sentence() {
        let told = |kind: &str, since: &str| {
            plain(&format!(
                r#"{{"seq":3,"time":"2026-11-23T09:03:00.000Z","kind":"client.{kind}","account":"wxid_me","self":false,
                    "decoded":{{"since":"{since}","last_poll":"2026-11-23T09:00:00.000Z","interval_s":5}}}}"#
            ))
        };
        let gone = told("offline", "2026-11-23T09:00:00.000Z");
        assert!(gone.contains("   3 wxid_me client.offline the client has not polled since 2026-"), "{gone}");
        assert!(gone.ends_with("; it polls every 5s else"), "{gone}");
        let back = told("online", "2026-11-23T09:12:00.000Z");
        assert!(back.ends_with("   3 wxid_me client.online the client polls again, 12m after its last poll"), "{back}");
    }

    #[test]
    fn nothing_from_a_chat_drives_the_terminal() {
        let evil = "{\"seq\":1,\"time\":\"2026-11-23T09:00:00.123Z\",\"kind\":\"message.text\",\"chat\":\"a\\u001b[2J\",\"nick\":\"\\u001b]0;x\\u0007\",\"text\":\"\\u009b31mred\\u202e\"}";
        colored::control::set_override(false);
        let text = line(evil.as_bytes(), true).unwrap();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        let json = crate::cli::render::json_for_terminal("{\"a\":\"\u{9b}2J\u{7f}好\"}".as_bytes()).into_owned();
        assert_eq!(String::from_utf8(json).unwrap(), "{\"a\":\"\\u009b2J\\u007f好\"}");
    }
}
