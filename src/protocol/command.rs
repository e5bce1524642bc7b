//! Every command that a client carries out: its JSON, its code, and what answers it (spec part 二, contract 3).
//!
//! Promises: one row of the table is all there is to declare a command; [`Command`], its wire form, its reading back,
//! [`APIS`] and through it `wehelp api`, the manual and the matching of answers come from the row. A [`Command`] is what
//! a user means, a [`Wire`] is what goes over the wire. What cannot be meant (an empty text, half a ticket pair) is
//! refused with a sentence.
//! Leaves to others: when it goes (`daemon`), and how an event bears on a command (`answer`).

mod error;
mod field;
mod table;
mod wire;

pub use error::{Error, INFO_IDS_MAX, WIRE_BYTES_MAX, WIRE_DEPTH_MAX};
pub use field::{Content, Fault, Field, FieldKind, is_local_path, local_path, said, whole};
pub use table::{APIS, Api, Class, Command, Says};
pub use wire::Wire;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::id::{RoomId, Wxid};

    fn wxid(id: &str) -> Wxid {
        Wxid::parse(id).unwrap()
    }

    fn room(id: &str) -> RoomId {
        RoomId::parse(id).unwrap()
    }

    /// Every example of the spec's second part, as printed there, but for the Chinese, which goes escaped, and the ends of ids,
    /// which are blotted out there.
    #[test]
    fn every_command_of_the_spec_is_put_on_the_wire_as_printed() {
        let user = || wxid("wxid_qg0saisth0r2abc");
        let some = |text: &str| Some(text.to_owned());
        let cases: Vec<(Command, Option<u64>, &str)> = vec![
            (
                Command::SendText { wxid: user(), text: "测试".into() },
                Some(1),
                r#"{"api":"sendTextMessage","code":1,"wxid":"wxid_qg0saisth0r2abc","text":"\u6d4b\u8bd5","time":1}"#,
            ),
            (
                Command::SendImage { wxid: wxid("wxid_asdasdabc"), path: "C:\\a.png".into() },
                Some(1),
                r#"{"api":"sendPicMessage","code":2,"wxid":"wxid_asdasdabc","imgPath":"C:\\a.png","time":1}"#,
            ),
            (
                Command::SendFile { wxid: wxid("wxid_asdasdabc"), path: "D:/b".into() },
                Some(1),
                r#"{"api":"sendFileMessage","code":25,"wxid":"wxid_asdasdabc","filePath":"D:/b","time":1}"#,
            ),
            (
                Command::SendLink {
                    wxid: wxid("wxid_asdasdabc"),
                    title: "t".into(),
                    url: "http://u".into(),
                    description: some("d"),
                    picture: some("http://p"),
                },
                Some(1),
                r#"{"api":"sendXmlMessage","code":3,"wxid":"wxid_asdasdabc","title":"t","url":"http://u","desc":"d","pic":"http://p","time":1}"#,
            ),
            (Command::FriendList, None, r#"{"api":"initContact","code":45}"#),
            (
                Command::FriendAdd { wxid: user(), message: some("您好") },
                None,
                r#"{"api":"addUserEvent","code":5,"wxid":"wxid_qg0saisth0r2abc","message":"\u60a8\u597d"}"#,
            ),
            (
                Command::FriendAdd { wxid: user(), message: None },
                None,
                r#"{"api":"addUserEvent","code":5,"wxid":"wxid_qg0saisth0r2abc"}"#,
            ),
            (
                Command::FriendDelete { wxid: user() },
                None,
                r#"{"api":"delUser","code":17,"wxid":"wxid_qg0saisth0r2abc"}"#,
            ),
            (
                Command::FriendInfo { wxids: vec![user(), wxid("asdad30abc")] },
                None,
                r#"{"api":"newGetUserLists","code":46,"wxidLists":["wxid_qg0saisth0r2abc","asdad30abc"]}"#,
            ),
            (
                Command::FriendGet { wxid: Some(user()) },
                None,
                r#"{"api":"getUserInfo","code":19,"wxid":"wxid_qg0saisth0r2abc"}"#,
            ),
            (
                Command::FriendAccept { v1: "xxx".into(), v2: "xxx".into() },
                None,
                r#"{"api":"acceptFriend","code":10,"v1":"xxx","v2":"xxx"}"#,
            ),
            (Command::RoomList, None, r#"{"api":"getChatRoomLists","code":47}"#),
            (
                Command::RoomKick { room: room("237230488abc@chatroom"), wxid: wxid("dasfada30abc") },
                None,
                r#"{"api":"delChatRoomUser","code":12,"chatroom":"237230488abc@chatroom","wxid":"dasfada30abc"}"#,
            ),
            (
                Command::RoomMembers { room: Some(room("75101150abc@chatroom")) },
                None,
                r#"{"api":"getChatRoomUserLists","code":6,"wxid":"75101150abc@chatroom"}"#,
            ),
            (
                Command::RoomNick { room: room("237230488abc@chatroom"), name: "n".into() },
                None,
                r#"{"api":"updateRoomAsName","code":44,"chatroom":"237230488abc@chatroom","name":"n"}"#,
            ),
            (
                Command::RoomStranger {
                    room: Some(room("75101150abc@chatroom")),
                    wxid: Some(wxid("wxid_zxzs0isl4unhabc")),
                },
                None,
                r#"{"api":"getRoomUserV2","code":34,"chatroom":"75101150abc@chatroom","wxid":"wxid_zxzs0isl4unhabc"}"#,
            ),
            (
                Command::RoomInvite { room: room("237230488abc@chatroom"), wxid: user() },
                None,
                r#"{"api":"sendChatroom","code":4,"wxid":"wxid_qg0saisth0r2abc","chatroom":"237230488abc@chatroom"}"#,
            ),
            (
                Command::RoomRename { room: room("1@chatroom"), name: "n".into() },
                None,
                r#"{"api":"updateChatRoomName","chatroom":"1@chatroom","name":"n"}"#,
            ),
            (Command::AccountStatus, None, r#"{"api":"getLoginStatus","code":20,"info":"wehelp"}"#),
            (
                Command::FriendLookup { wxid: Some(wxid("xdasa30abc")) },
                None,
                r#"{"api":"netGetUserInfo","code":30,"wxid":"xdasa30abc"}"#,
            ),
            (Command::AccountQrcode, None, r#"{"api":"getLoginQrCode","code":36}"#),
            (Command::AccountLogout, None, r#"{"api":"outLogin","code":39}"#),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for (command, time, wire) in cases {
            let made = command.to_wire(time).unwrap();
            assert_eq!(made.as_str(), wire);
            let read = Wire::from_json(wire).unwrap();
            assert_eq!((&read, read.command()), (&made, Some(&command)));
            seen.insert(made.api().to_owned());
        }
        assert_eq!(seen.len(), APIS.len(), "every row of the table has a case");
    }

    #[test]
    fn every_command_example_of_the_spec_is_taken_as_it_stands() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spec");
        let mut seen = 0;
        for row in APIS {
            let Some(code) = row.code else { continue };
            let name = format!("{code}-{}.json", row.verb.replace(' ', "-"));
            let example = std::fs::read_to_string(folder.join(&name)).expect(&name);
            let wire = Wire::from_json(&example).unwrap();
            assert_eq!((wire.api(), wire.class()), (row.api, row.class), "{name}");
            assert!(
                wire.as_str().contains(&format!("\"code\":{code},"))
                    || wire.as_str().contains(&format!("\"code\":{code}}}"))
            );
            assert_eq!(wire.command().map(Command::api), Some(row), "{name}");
            seen += 1;
        }
        assert_eq!(seen, 20);
    }

    #[test]
    fn text_goes_as_ascii_as_pythons_json_writes_it() {
        let text = "你好 😀\n\r\t\u{8}\u{c}\"\\/\u{7f}\u{1}\u{a0}~";
        let wire = Command::SendText { wxid: wxid("filehelper"), text: text.into() }.to_wire(None).unwrap();
        assert_eq!(
            wire.as_str(),
            r#"{"api":"sendTextMessage","code":1,"wxid":"filehelper","text":"\u4f60\u597d \ud83d\ude00\n\r\t\b\f\"\\/\u007f\u0001\u00a0~"}"#
        );
        let read: serde_json::Value = serde_json::from_str(wire.as_str()).unwrap();
        assert_eq!(read["text"], text);
    }

    #[test]
    fn a_delay_comes_last_and_once() {
        let wire = Wire::from_json(r#"{"api":"x","z":1}"#).unwrap().with_time(3).unwrap();
        assert_eq!(wire.as_str(), r#"{"api":"x","z":1,"time":3}"#);
        assert_eq!(Wire::from_json(wire.as_str()).unwrap(), wire);
        assert_eq!(wire.with_time(4).unwrap_err(), Error::Timed);
    }

    #[test]
    fn what_nobody_can_mean_is_refused() {
        let text = |text: &str| Command::SendText { wxid: wxid("filehelper"), text: text.to_owned() };
        let accept = |v1: &str, v2: &str| Command::FriendAccept { v1: v1.to_owned(), v2: v2.to_owned() };
        for (command, error) in [
            (text(""), Error::Empty("text")),
            (text(" \n"), Error::Empty("text")),
            (text("a\0b"), Error::Nul("text")),
            (Command::FriendAdd { wxid: wxid("a"), message: Some("a\0b".into()) }, Error::Nul("message")),
            (Command::SendFile { wxid: wxid("a"), path: String::new() }, Error::Empty("path")),
            (Command::RoomRename { room: room("1@chatroom"), name: String::new() }, Error::Empty("name")),
            (accept("", "b"), Error::Empty("v1")),
            (accept("a", "b c"), Error::NoTicket("v2")),
            (accept("v2_a@stranger", "v1_a@stranger"), Error::Swapped),
            (Command::FriendInfo { wxids: Vec::new() }, Error::Empty("list of ids")),
            (Command::FriendInfo { wxids: vec![wxid("a"); 51] }, Error::TooMany(51)),
        ] {
            assert_eq!(command.to_wire(None).unwrap_err(), error, "{command:?}");
        }
        assert!(matches!(text(&"字".repeat(20_000)).to_wire(None), Err(Error::TooLong(_))));
    }

    #[test]
    fn a_raw_command_keeps_its_numbers_and_its_order() {
        let wire =
            Wire::from_json("{ \"z\" : 1.10, \"api\":\"x\", \"n\": 12345678901234567890123, \"a\":\"\u{e9} b\" }");
        assert_eq!(wire.unwrap().as_str(), r#"{"z":1.10,"api":"x","n":12345678901234567890123,"a":"\u00e9 b"}"#);
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for (text, error) in [
            ("[1]", Error::NotAnObject),
            ("{}", Error::NoApi),
            (r#"{"api":1}"#, Error::NoApi),
            (r#"{"api":""}"#, Error::NoApi),
        ] {
            assert_eq!(Wire::from_json(text).unwrap_err(), error, "{text}");
        }
        assert!(matches!(Wire::from_json("{\"api\":").unwrap_err(), Error::NotJson(_)));
        for levels in [WIRE_DEPTH_MAX, 200] {
            let deep = format!(r#"{{"api":"x","a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
            assert_eq!(Wire::from_json(&deep).unwrap_err(), Error::TooDeep);
        }
        assert!(Wire::from_json(r#"{"api":"x","a":"\ud83d"}"#).is_err(), "half a character");
        for (twice, name) in [
            (r#"{"api":"outLogin","api":"x"}"#, "api"),
            (r#"{"api":"x","ap\u0069":"x"}"#, "api"),
            (r#"{"wxid":"a","api":"x","wxid":"b"}"#, "wxid"),
        ] {
            assert_eq!(Wire::from_json(twice).unwrap_err(), Error::Repeated(name.into()), "{twice}");
        }
        assert!(Wire::from_json(r#"{"api":"x","a":{"api":1},"b":{"api":2}}"#).is_ok());
        let long = format!(r#"{{"api":"x","a":"{}"}}"#, "a".repeat(WIRE_BYTES_MAX));
        assert!(matches!(Wire::from_json(&long).unwrap_err(), Error::TooLong(_)));
    }

    #[test]
    fn ids_are_asked_fifty_at_a_time() {
        let ids: Vec<Wxid> = (0..101).map(|n| wxid(&format!("wxid_{n}"))).collect();
        let sizes: Vec<usize> = Command::friend_info(&ids)
            .iter()
            .map(|c| match c {
                Command::FriendInfo { wxids } => wxids.len(),
                _ => 0,
            })
            .collect();
        assert_eq!(sizes, [50, 50, 1]);
    }
}
