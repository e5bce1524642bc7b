//! Whether a message means the account (contract 7, `mentioned`).
//!
//! Promises: pure; a name counts only behind `@`, and only whole: up to the blank that clients put behind it, any other
//! blank, or the end.
//! Leaves to others: what the account is called (`directory`).

use super::whole::Event;
use crate::protocol::decoded::App;
use crate::protocol::id;

/// What means everybody in a room.
const ALL: [&str; 4] = ["所有人", "all", "All", "ALL"];

/// Whether the message means the account, whose names in its room are `names`; `None` for what nobody says, and where no
/// name is known that could tell.
#[must_use]
pub fn mentions(event: &Event, names: impl FnOnce(&str, &str) -> Option<Vec<String>>) -> Option<bool> {
    if !event.kind.is_said() {
        return None;
    }
    let chat = event.chat.as_deref()?;
    if !id::is_room(chat) {
        return Some(true);
    }
    let account = event.account.as_deref();
    let quoted = event.decoded.app().and_then(App::quoted);
    let text = event.text.as_deref().unwrap_or_default();
    if (quoted.is_some() && quoted == account) || ALL.iter().any(|name| is_called(text, name)) {
        return Some(true);
    }
    let names = names(account?, chat)?;
    Some(names.iter().any(|name| is_called(text, name)))
}

/// Whether `@` and the name stand in the text.
fn is_called(text: &str, name: &str) -> bool {
    !name.is_empty()
        && text.match_indices('@').any(|(at, sign)| {
            let behind = text[at + sign.len()..].strip_prefix(name);
            behind.is_some_and(|rest| rest.chars().next().is_none_or(char::is_whitespace))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::decode;
    use serde_json::json;

    fn told(chat: &str, msg_type: i64, message: &str, names: Option<&[&str]>) -> Option<bool> {
        let data = json!({"type": 78, "msgType": msg_type, "cwxid": "wxid_me", "wxid": chat, "formWxid": "wxid_a",
            "message": message});
        mentions(&decode(&data.to_string()), |_, _| Some(names?.iter().map(|&name| name.to_owned()).collect()))
    }

    #[test]
    fn a_name_counts_behind_its_sign_and_whole() {
        let names = Some(&["小 我", "Me"][..]);
        let room = "1@chatroom";
        for (text, right) in [
            ("@Me\u{2005}在吗", true),
            ("在吗 @Me", true),
            ("@小 我\u{2005}好", true),
            ("@所有人 开会", true),
            ("@all\u{2005}hi", true),
            ("@Megan\u{2005}hi", false),
            ("Me: hi", false),
            ("a@Me.example", false),
            ("@me hi", false),
            ("", false),
        ] {
            assert_eq!(told(room, 1, text, names), Some(right), "{text}");
            assert_eq!(told("wxid_a", 1, text, names), Some(true), "private: {text}");
        }
        assert_eq!(told(room, 1, "@Me hi", None), None, "nobody knows what it is called");
        assert_eq!(told(room, 1, "@所有人", None), Some(true));
        assert_eq!(told(room, 10000, "@Me hi", names), None, "a notice means nobody");
    }

    #[test]
    fn a_quote_of_its_own_message_means_it() {
        let quote = |from: &str| {
            let xml = format!(
                "<msg><appmsg><title>ok</title><type>57</type><refermsg><type>1</type><chatusr>{from}</chatusr><content>x</content></refermsg></appmsg></msg>"
            );
            told("1@chatroom", 49, &xml, None)
        };
        assert_eq!((quote("wxid_me"), quote("wxid_b")), (Some(true), None));
    }
}
