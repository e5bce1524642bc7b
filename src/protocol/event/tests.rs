//! Events as the spec prints them and as clients may send them, whole and damaged.

use super::*;
use crate::clock::Time;
use crate::daemon::line;
use crate::protocol::contact::{Contact, Emptied};
use crate::protocol::schema::{self, bodies};
use crate::seq::Seq;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spec")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect(name)
}

fn readable(bytes: &[u8]) -> String {
    match read_body(bytes) {
        Body::Readable(data) => data.into_owned(),
        Body::Unreadable(reason) => panic!("{reason}: {}", String::from_utf8_lossy(bytes)),
    }
}

fn unreadable(bytes: &[u8]) -> String {
    match read_body(bytes) {
        Body::Readable(data) => panic!("read as {data}"),
        Body::Unreadable(reason) => reason,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "each test makes the value in the call")]
fn event(value: Value) -> Event {
    let data = value.to_string();
    schema::tests::holds(&line::text(Seq(1), Time::from_millis(0), &data));
    decode(&data)
}

/// Every event example of the spec, in its order.
const EVENTS: &[&str] = &[
    "67-login",
    "401-login.qrcode",
    "71-profile",
    "97-contacts.packet",
    "210-contacts",
    "211-rooms",
    "77-room.members",
    "78-message",
    "88-contact.packet",
    "69-room.created",
    "96-friend.verified",
    "81-friend.v2",
    "95-avatars",
    "90-logout",
    "98-logout.phone",
];

/// The expected lines are checked in; `UPDATE=1` rewrites them, and then they are to be read.
#[test]
fn every_event_example_of_the_spec_becomes_its_line() {
    let time = Time::from_millis(1_795_510_800_123);
    let mut lines = String::new();
    for (seq, name) in (1..).zip(EVENTS) {
        let line = line::text(Seq(seq), time, &readable(&fixture(&format!("{name}.json"))));
        assert!(!line.contains('\n'), "{name}");
        let value: Value = serde_json::from_str(&line).expect(name);
        let keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let all = "seq time kind type account pid chat from self nick text from_name mentioned command repeat_of decoded data";
        assert_eq!(keys.join(" "), all, "{name}");
        let (number, kind) = name.split_once('-').unwrap();
        assert_eq!(value["type"].to_string(), number);
        assert!(value["kind"].as_str().unwrap().starts_with(kind), "{name}");
        lines += &line;
        lines.push('\n');
    }
    let path = folder().join("events.jsonl");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &lines).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (line, expected) in lines.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines.len(), expected.len());
}

#[test]
fn a_damaged_example_means_what_its_sane_twin_means() {
    let mut twins = 0;
    for name in EVENTS {
        let Ok(sane) = std::fs::read(folder().join(format!("{name}.sane.json"))) else { continue };
        let damaged = readable(&fixture(&format!("{name}.json")));
        let sane = readable(&sane);
        let values = [&damaged, &sane].map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(values[0], values[1], "{name}");
        assert_eq!(decode(&damaged), decode(&sane), "{name}");
        twins += 1;
    }
    assert_eq!(twins, 9);
}

/// Messages as clients have been seen to report them, with what they mean: `tests/fixtures/messages/`. What `right` does
/// not name is free.
#[test]
fn messages_of_the_field_mean_what_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/messages");
    let (mut read, mut wrong) = (0, Vec::new());
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for case in &cases {
            let data = bodies::message(case);
            let event = decode(&data.to_string());
            let told = json!({
                "kind": event.kind.as_str(), "from": event.from, "self": event.is_self, "text": event.text,
                "decoded": event.decoded,
            });
            let outline = outline(&data.to_string());
            assert_eq!((outline.kind, outline.from, outline.is_self), (Some(event.kind), event.from, event.is_self));
            if !holds(&told, &case["right"]) {
                let file = path.file_name().unwrap().display();
                wrong.push(format!("{file}: {}\n  right {}\n  got   {told}", case["name"], case["right"]));
            }
            read += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {read}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(read >= 100, "{read}");
}

/// Whether `value` has what `right` names; lists are compared item by item.
fn holds(value: &Value, right: &Value) -> bool {
    match (value, right) {
        (Value::Object(value), Value::Object(right)) => {
            right.iter().all(|(key, right)| value.get(key).is_some_and(|value| holds(value, right)))
        }
        (Value::Array(value), Value::Array(right)) => {
            value.len() == right.len() && value.iter().zip(right).all(|(value, right)| holds(value, right))
        }
        _ => value == right,
    }
}

#[test]
fn kinds_have_one_name_and_one_number() {
    for (n, kind) in (1..).zip(Kind::ALL) {
        assert_eq!(kind.number(), n);
        assert_eq!(Kind::from_number(n), Some(*kind));
        assert_eq!(Kind::from_name(kind.as_str()), Some(*kind));
    }
    assert_eq!(Kind::ALL.len(), 39);
    assert_eq!((Kind::from_number(0), Kind::from_number(40), Kind::from_name("x")), (None, None, None));
}

#[test]
fn the_inner_object_stays_byte_for_byte() {
    let inner =
        "{ \"type\" :78,\"n\":12345678901234567890123, \"f\":1.10,\"x\":\"\\u4F60\\/\",\"h\":\"\\ud83d\",\"n\":1 }";
    for body in [
        inner.to_owned(),
        format!("{{\"data\":{inner}}}"),
        format!(" {{\"a\":[1],\n\"data\" : {inner} ,\"z\":{{}}}}\r\n"),
    ] {
        assert_eq!(readable(body.as_bytes()), inner);
        let with_bom = [b"\xef\xbb\xbf", body.as_bytes()].concat();
        assert_eq!(readable(&with_bom), inner);
        let with_nul = [body.as_bytes(), b"\0"].concat();
        assert_eq!(readable(&with_nul), inner);
    }
}

#[test]
fn an_object_in_a_string_is_unwrapped_and_anything_else_is_not() {
    assert_eq!(readable(br#"{"data":"{\"type\":67,\"x\":\"a\\nb\"}"}"#), r#"{"type":67,"x":"a\nb"}"#);
    for whole in [r#"{"type":1,"data":"hello"}"#, r#"{"data":null}"#, r#"{"data":[{}]}"#, r#"{"data":"{oops"}"#, "{}"] {
        assert_eq!(readable(whole.as_bytes()), whole);
    }
    assert_eq!(readable(br#"{"data":{"data":{"type":1}}}"#), r#"{"data":{"type":1}}"#, "one wrapping only");
}

#[test]
fn the_later_clients_report_of_an_action_is_kept_whole() {
    let report = r#"{"action":"sendResult","cwxid":"wxid_me","data":{"sendId":"7","sendResult":"1","errorReason":""}}"#;
    let data = readable(report.as_bytes());
    assert_eq!(data, report);
    let event = decode(&data);
    assert_eq!((event.kind, event.r#type, event.decoded), (Kind::Other, None, Decoded::Nothing {}));
    assert_eq!(event.account.as_deref(), Some("wxid_me"));
}

#[test]
fn an_event_in_an_envelope_is_taken_out_of_it() {
    for inner in [r#"{"type":67,"code":200}"#, r#"{"code":"401","message":"x"}"#] {
        for beside in ["", r#""cwxid":"wxid_me","#, r#""type":"callback","#, r#""time":1,"x":{},"#] {
            assert_eq!(readable(format!("{{{beside}\"data\":{inner}}}").as_bytes()), inner, "{beside}");
        }
    }
    assert_eq!(readable(br#"{"time":1,"data":{"code":200}}"#), r#"{"code":200}"#);
    let own = r#"{"type":4711,"data":{"code":200}}"#;
    assert_eq!(readable(own.as_bytes()), own, "what is outside says what it is");
}

#[test]
fn damage_is_mended_wherever_it_stands() {
    let inner = r#"{"type":67,"u":"http://a//b"}"#;
    for body in [
        format!("\u{feff}// 登录\r\n{{\"data\":{inner}}}"),
        format!("\u{feff}\"data\":{inner}"),
        format!("// 登录\n\"data\":{inner},\n"),
        format!("\"data\":{inner}}}\0"),
        format!("{{\"data\":{inner},}},// end"),
        format!("{{\"data\":{inner}"),
        inner.replace('}', ",\n}// bare"),
    ] {
        assert_eq!(readable(body.as_bytes()).replace('\n', ""), inner, "{body}");
    }
}

#[test]
fn control_characters_in_keys_are_escaped() {
    assert_eq!(readable(b"{\"da\tta\":{\"type\":67}}"), r#"{"da\tta":{"type":67}}"#);
    assert_eq!(readable(b"{\"type\":1,\"\\u0041\n\":0}"), r#"{"type":1,"\u0041\n":0}"#);
    assert_eq!(readable(b"{\"x\n\":1,\"data\":{\"a\nb\":1,\"type\":67}}"), r#"{"a\nb":1,"type":67}"#);
}

#[test]
fn gb18030_is_read_when_it_is_no_utf_8() {
    // Short GB18030 words can be valid UTF-8 by chance (微小强 is): the longer text decides for all of it.
    let (bytes, ..) = encoding_rs::GB18030.encode(r#"{"data":{"type":78,"nick":"微小强","message":"你好，大世界"}}"#);
    let expected = r#"{"type":78,"nick":"微小强","message":"你好，大世界"}"#;
    assert_eq!(readable(&bytes), expected);
    assert_eq!(readable(&[b"\xef\xbb\xbf", &*bytes].concat()), expected, "whoever put the BOM there");
}

#[test]
fn one_cut_character_costs_that_character() {
    let body = b"{\"data\":{\"type\":78,\"nick\":\"\xe5\xae\x89\xe5\xa8\x9c\xe5\xae\",\"message\":\"\xe4\xbd\xa0\xe5\xa5\xbd\"}}";
    assert_eq!(readable(body), "{\"type\":78,\"nick\":\"安娜\u{fffd}\",\"message\":\"你好\"}");
    assert_eq!(readable(b"{\"a\":\"\xff\xff\"}"), "{\"a\":\"\u{fffd}\u{fffd}\"}");
}

#[test]
fn what_is_no_object_is_unreadable_and_says_why() {
    for (body, reason) in [
        (&b""[..], "the body is empty"),
        (b" \r\n", "the body is empty"),
        (b"[{\"type\":78}]", "the body is JSON, but no object"),
        (b"\"secret text\"", "the body is JSON, but no object"),
        (b"12", "the body is JSON, but no object"),
        (b"secret", "the body is no JSON: it does not begin with an object"),
        (b"\xff\xfe{\"a\":1}", "the body is no JSON: it does not begin with an object"),
        (b"{\"a\":secret}", "the body is no JSON: expected value at line 1 column 6"),
    ] {
        assert_eq!(unreadable(body), reason);
    }
    assert_eq!(
        unreadable(b"{\"data\":{\"type\":78,\"message\":\"cut o"),
        "the body is no JSON: EOF while parsing a string at line 1 column 35"
    );
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| format!("{{\"data\":{}1{}}}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert!(matches!(read_body(nested(64).as_bytes()), Body::Readable(_)));
    assert_eq!(unreadable(nested(65).as_bytes()), "the body is nested deeper than 64 levels");
    for bomb in ["[".repeat(2_000_000), "{\"a\":".repeat(400_000), nested(400_000), nested(400_000) + ","] {
        unreadable(bomb.as_bytes());
        assert_eq!(decode(&bomb).kind, Kind::Other);
    }
    // What `read_body` would have turned away must not bring `decode` down.
    let deep = format!("{{\"type\":210,\"userLists\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(decode(&deep).kind, Kind::Contacts);
}

#[test]
fn a_message_of_a_room_is_told_from_a_private_one() {
    let spoken = |chat: &str, speaker: Option<&str>, own: Value| {
        let mut data = json!({"type":78,"msgType":"1","cwxid":"wxid_me","wxid":chat,"message":"hi"});
        data.as_object_mut().unwrap().extend(speaker.map(|s| ("formWxid".to_owned(), s.into())));
        if !own.is_null() {
            data["myMsg"] = own;
        }
        let event = event(data);
        assert_eq!(event.chat.as_deref(), Some(chat));
        assert_eq!(event.text.as_deref(), Some("hi"));
        (event.from.unwrap_or_default(), event.is_self.unwrap())
    };
    let me = "wxid_me".to_owned();
    let a = "wxid_a".to_owned();
    let room = "1@chatroom";
    assert_eq!(spoken("wxid_a", None, Value::Null), (a.clone(), false));
    assert_eq!(spoken("wxid_a", Some("(null)"), json!("0")), (a.clone(), false));
    assert_eq!(spoken(room, Some("wxid_a"), json!(0)), (a.clone(), false));
    assert_eq!(spoken("1@im.chatroom", Some("wxid_a"), Value::Null), (a, false));
    assert_eq!(spoken(room, None, Value::Null), (String::new(), false), "a notice has no speaker");
    for own in [json!("1"), json!(1), json!(true)] {
        assert_eq!(spoken("wxid_a", None, own.clone()), (me.clone(), true));
        assert_eq!(spoken(room, Some("wxid_me"), own), (me.clone(), true));
    }
    assert_eq!(spoken(room, Some("wxid_me"), Value::Null), (me.clone(), true), "older clients have no myMsg");
    assert_eq!(spoken("filehelper", None, json!("1")), (me, true));
    // Who spoke is known though the account is not.
    let own = json!({"type":78,"msgType":"1","wxid":room,"formWxid":"wxid_me","myMsg":"1"});
    assert_eq!(event(own).from.as_deref(), Some("wxid_me"));
    let own = json!({"type":78,"msgType":"1","wxid":"wxid_a","myMsg":"1"});
    assert_eq!((event(own.clone()).from, event(own).chat.as_deref()), (None, Some("wxid_a")));
}

#[test]
fn numbers_and_strings_are_taken_for_each_other() {
    let data = json!({"type":"78","msgType":1,"processid":" 7768 ","cwxid":12345,"wxid":"a","message":42});
    let event = event(data);
    assert_eq!((event.kind, event.r#type, event.pid), (Kind::MessageText, Some(78), Some(7768)));
    assert_eq!((event.account.as_deref(), event.text.as_deref()), (Some("12345"), Some("42")));
    let whole = decode(r#"{"type":78.0,"msgType":"1.0","processid":7768.0}"#);
    assert_eq!((whole.kind, whole.pid), (Kind::MessageText, Some(7768)));
    for pid in ["-1", "7.5", "1e3", "99999999999999999999", "\"x\"", "[]", "true", "null"] {
        let data = format!(r#"{{"type":67,"processid":{pid}}}"#);
        assert_eq!((decode(&data).pid, decode(&data).kind), (None, Kind::Login), "{pid}");
    }
}

#[test]
fn words_for_nothing_are_nothing() {
    for nothing in ["null", "NULL", "(null)", "(NULL)", "None", "undefined", "Undefined", " null ", "", " "] {
        let login = event(json!({"type":67,"cwxid":nothing,"nick":nothing,"processid":nothing,"code":nothing}));
        assert_eq!((login.account, login.nick, login.pid), (None, None, None), "{nothing}");
        assert_eq!(login.decoded, Decoded::Login { code: None });
        let profile = json!({"type":71,"cwxid":nothing,"wxid":nothing,"nick":nothing,"username":nothing,
            "asName":nothing,"headPic":nothing,"sheadPic":nothing,"sign":nothing});
        let profile = event(profile);
        assert_eq!((&profile.account, &profile.decoded.json()["self"]), (&None, &json!(false)), "{nothing}");
        let emptied = Emptied { nick: true, remark: true };
        let contact = Box::new(Contact { emptied, ..Contact::default() });
        assert_eq!(profile.decoded, Decoded::Profile { contact, own: false }, "{nothing}");
        let message = event(json!({"type":78,"msgType":"1","cwxid":nothing,"wxid":nothing,"formWxid":nothing,
            "message":nothing}));
        assert_eq!((message.account, message.chat, message.from), (None, None, None), "{nothing}");
        // What somebody writes is what they write.
        if !nothing.trim().is_empty() {
            assert_eq!(message.text.as_deref(), Some(nothing));
        }
    }
    let quote = |title: &str| {
        let xml = format!("<msg><appmsg><title>{title}</title><type>57</type></appmsg></msg>");
        event(json!({"type":78,"msgType":"49","cwxid":"wxid_me","wxid":"wxid_a","message":xml})).text
    };
    assert_eq!(quote("none").as_deref(), Some("none"));
    assert_eq!(quote("None").as_deref(), Some("None"));
}

#[test]
fn ids_that_cannot_be_are_not_taken() {
    for id in ["a b".to_owned(), "a\nb".to_owned(), "x".repeat(1000)] {
        assert_eq!(event(json!({"type":78,"cwxid":id,"wxid":id})).account, None);
    }
}

#[test]
fn a_code_is_a_type_for_401_only() {
    assert_eq!(event(json!({"code":401,"message":"x"})).r#type, Some(401));
    assert_eq!(event(json!({"code":"401","type":null})).r#type, Some(401));
    assert_eq!(event(json!({"code":401,"type":67})).r#type, Some(67));
    let other = event(json!({"code":200}));
    assert_eq!((other.r#type, other.kind), (None, Kind::Other));
}

#[test]
fn every_msg_type_has_its_kind() {
    for (number, name) in [
        (1, "text"),
        (3, "image"),
        (34, "voice"),
        (37, "friend_request"),
        (42, "card"),
        (43, "video"),
        (47, "sticker"),
        (48, "location"),
        (49, "app"),
        (50, "call"),
        (10000, "system"),
        (10002, "other"),
        (65, "friend_request"),
        (66, "card"),
        (51, "other"),
    ] {
        let kind = event(json!({"type":78,"msgType":number.to_string()})).kind;
        assert_eq!(kind.as_str(), format!("message.{name}"));
    }
    assert_eq!(event(json!({"type":78})).kind, Kind::MessageOther);
}

#[test]
fn login_states_are_told() {
    assert_eq!(event(json!({"type":66,"code":200})).decoded.json(), json!({"logged_in": true}));
    assert_eq!(event(json!({"type":66,"code":"-1"})).decoded.json(), json!({"logged_in": false}));
    assert_eq!(event(json!({"type":66})).decoded.json(), json!({"logged_in": null}));
    assert_eq!(event(json!({"type":67,"code":"200"})).decoded.json(), json!({"code": 200}));
}

#[test]
fn a_login_code_is_found_in_every_form() {
    let image = json!({"image": {"media_type": "image/png", "base64": "iVBORw0KGgoAAAANSUhEUg=="}});
    let uri = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==";
    let hexed = data_encoding::HEXUPPER.encode(uri.as_bytes());
    let png = data_encoding::HEXLOWER.encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    for hex in [uri, &hexed, &png, "iVBORw0KGgoAAAANSUhEUg==", "data:image/png;base64,iVBORw0KGgoA\r\nAAANSUhEUg=="] {
        assert_eq!(event(json!({"type":82,"hex":hex})).decoded.json(), image, "{hex}");
    }
    assert_eq!(event(json!({"code":401,"message":uri})).decoded.json(), image);
    for message in ["http://weixin.qq.com/x/abc", "deadbeef", "68656c6c6f"] {
        assert_eq!(event(json!({"code":401,"message":message})).decoded.json(), json!({"content": message}));
    }
    assert_eq!(event(json!({"type":82,"hex":"68656c6c6f"})).decoded.json(), json!({"content": "hello"}));
    assert_eq!(event(json!({"type":82,"hex":"zz"})).decoded.json(), json!({"content": "zz"}));
    assert_eq!(event(json!({"type":82})).decoded.json(), json!({}));
}

#[test]
fn a_profile_knows_whose_it_is() {
    let own = event(json!({"type":71,"cwxid":"wxid_me","wxid":"wxid_me","nick":"Me","sex":"2"}));
    assert_eq!((own.nick.as_deref(), &own.decoded.json()["self"]), (Some("Me"), &json!(true)));
    assert_eq!(own.decoded.json()["contact"]["sex"], "female");
    assert_eq!(own.decoded.json()["contact"]["type"], Value::Null, "71 is the event's type");
    assert_eq!(event(json!({"type":71,"cwxid":"wxid_me","wxid":"wxid_a"})).decoded.json()["self"], false);
    assert_eq!(event(json!({"type":71})).decoded.json()["self"], false);
}

#[test]
fn what_stands_beside_a_packet_wins() {
    let data = json!({"type":88,"hex":"0a08777869645f616161","wxid":"wxid_bbb","v1":"v1_x@stranger","v2":"(null)"});
    let decoded = event(data).decoded.json();
    assert_eq!(decoded["wxids"][0], "wxid_bbb");
    assert_eq!((&decoded["v1"], &decoded["v2"]), (&json!("v1_x@stranger"), &Value::Null));
}

#[test]
fn lists_of_the_wrong_shape_are_empty() {
    for list in [json!(null), json!("x"), json!(7), json!({"a": 1}), json!([1, null, [[]]])] {
        assert_eq!(event(json!({"type":211,"chatrooms":list})).kind, Kind::Rooms);
        assert_eq!(event(json!({"type":95,"userLists":list})).decoded.json(), json!({"avatars": {}}));
        assert_eq!(event(json!({"type":210,"userLists":list})).kind, Kind::Contacts);
        assert_eq!(
            event(json!({"type":77,"userLists":list,"wxid":list})).chat.is_some(),
            list.is_string() || list.is_number()
        );
    }
}

#[test]
fn one_damaged_member_costs_itself_only() {
    let data = r#"{"type":210,"cwxid":"me","\ud83d":1,"nick":"ab\ud83d","userLists":[{"wxid":"a","sex":1e999},{"wxid":"b","nick":"\ud83d"}]}"#;
    let event = decode(data);
    assert_eq!((event.account.as_deref(), event.nick.as_deref()), (Some("me"), Some("ab\u{fffd}")));
    assert_eq!(event.decoded.json()["contacts"][0]["wxid"], "a");
    assert_eq!(event.decoded.json()["contacts"][1]["nick"], "\u{fffd}");
}

#[test]
fn a_line_has_no_line_breaks_and_its_data_no_other_change() {
    let data = "{\r\n \"type\": 1,\n\"x\": \"a\\nb\" , \"n\": 1.10 }";
    assert_eq!(
        line::text(Seq(17), Time::from_millis(0), data),
        r#"{"seq":17,"time":"1970-01-01T00:00:00.000Z","kind":"other","type":1,"account":null,"pid":null,"chat":null,"from":null,"self":null,"nick":null,"text":null,"from_name":null,"mentioned":null,"command":null,"repeat_of":null,"decoded":{},"data":{ "type": 1,"x": "a\nb" , "n": 1.10 }}"#
    );
}

#[test]
fn an_unparsed_event_holds_its_bytes() {
    assert_eq!(
        line::unparsed_text(Seq(3), Time::from_millis(0), "the body is empty", b"\xff\0"),
        r#"{"seq":3,"time":"1970-01-01T00:00:00.000Z","kind":"unparsed","type":null,"account":null,"pid":null,"chat":null,"from":null,"self":null,"nick":null,"text":null,"from_name":null,"mentioned":null,"command":null,"repeat_of":null,"decoded":{"reason":"the body is empty"},"data":{"base64":"/wA="}}"#
    );
}

/// Any JSON, as its text.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?",
        any::<String>().prop_map(|s| Value::String(s).to_string()),
        r#""(\\u[0-9a-fA-F]{4}|\\[nrtbf/\\"]|[ -!#-\[\]-~]){0,8}""#,
    ];
    let key = prop_oneof![
        proptest::sample::select(vec![
            "type",
            "code",
            "msgType",
            "cwxid",
            "wxid",
            "formWxid",
            "myMsg",
            "message",
            "hex",
            "userLists",
            "chatrooms",
            "data"
        ])
        .prop_map(str::to_owned),
        "[a-z]{0,3}",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let blank = "[ \t\r\n]{0,2}";
        prop_oneof![
            proptest::collection::vec((blank, inner.clone()), 0..6).prop_map(|items| format!(
                "[{}]",
                items.iter().map(|(b, i)| format!("{b}{i}")).collect::<Vec<_>>().join(",")
            )),
            object(key.clone(), inner),
        ]
    })
}

fn object(key: impl Strategy<Value = String>, value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    proptest::collection::vec(("[ \t\r\n]{0,2}", key, value), 0..6).prop_map(|members| {
        let members: Vec<_> =
            members.iter().map(|(blank, key, value)| format!("{blank}\"{key}\"{blank}:{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// What the pieces of an event come to together.
fn together(data: &str) -> Option<(usize, Event)> {
    let mut pieces = Pieces::of(data.to_owned());
    let (mut whole, mut count) = (pieces.next()?, 1);
    for piece in pieces {
        count += 1;
        match (&mut whole.decoded, piece.decoded) {
            (Decoded::Contacts(before), Decoded::Contacts(more)) => before.contacts.extend(more.contacts),
            (Decoded::RoomMembers(before), Decoded::RoomMembers(more)) => before.members.extend(more.members),
            (Decoded::Rooms(before), Decoded::Rooms(more)) => before.rooms.extend(more.rooms),
            (Decoded::Avatars { avatars: before }, Decoded::Avatars { avatars }) => before.extend(avatars),
            (before, more) => panic!("{before:?} and {more:?}"),
        }
    }
    Some((count, whole))
}

#[test]
fn the_pieces_of_a_list_are_the_list() {
    let people: Vec<_> = (0..4500)
        .map(|n| match n % 5 {
            0 => json!(format!("wxid_{n}")),
            1 => json!(n),
            2 => json!({}),
            // The last of two pictures counts, though they are in different pieces.
            _ => json!({"wxid": format!("wxid_{}", n % 3000), "nick": "", "headPic": format!("http://a/{n}")}),
        })
        .collect();
    let rooms: Vec<_> = (0..100)
        .map(|n| {
            let members: Vec<_> = (0..400).map(|member| format!("wxid_{n}_{member}")).collect();
            json!({"wxid": format!("{n}@chatroom"), "userLists": members.join(";"), "nick": null})
        })
        .collect();
    for (pieces, data) in [
        (3, json!({"type": 210, "userLists": people})),
        (3, json!({"type": 77, "wxid": "1@chatroom", "userLists": people, "info": "<msg nickname='n'/>"})),
        (3, json!({"type": 95, "userLists": people})),
        (2, json!({"type": 211, "chatrooms": rooms})),
        (1, json!({"type": 210, "userLists": {"wxid": "a"}})),
        (1, json!({"type": 210})),
        (1, json!({"type": 211, "userLists": 7})),
        (1, json!({"type": 78, "msgType": 1, "wxid": "a", "message": "hello"})),
    ] {
        let text = data.to_string();
        let (count, event) = together(&text).unwrap();
        assert_eq!((count, &event), (pieces, &decode(&text)), "{}", data["type"]);
        let line = line::text(Seq(1), Time::from_millis(1), &text);
        let decoded = serde_json::to_string(&event.decoded).unwrap();
        assert!(line.ends_with(&format!(r#","decoded":{decoded},"data":{text}}}"#)), "{}", data["type"]);
    }
}

#[test]
fn the_members_of_all_rooms_together_are_bounded() {
    let ids: String = (0..10_000).map(|n| format!("{n};")).collect();
    let room = format!(r#"{{"userLists":"{ids}"}}"#);
    let data = format!(r#"{{"type":211,"chatrooms":[{}{room}]}}"#, format!("{room},").repeat(120));
    let members = |event: Event| event.decoded.json()["rooms"].as_array().unwrap().len();
    assert_eq!(members(decode(&data)), 100);
    assert_eq!(Pieces::of(data).map(members).sum::<usize>(), 100);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Body::Readable(data) = read_body(&bytes) {
            let _event = decode(&data);
        }
        let _event = decode(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_object_survives_byte_for_byte_and_becomes_one_line(inner in object("[a-zA-Z]{0,8}", any_json())) {
        prop_assert_eq!(readable(format!("{{\"data\":{inner}}}").as_bytes()), inner.as_str());
        let line = line::text(Seq(1), Time::from_millis(0), &inner);
        prop_assert!(serde_json::from_str::<&RawValue>(&line).is_ok() && !line.contains(['\n', '\r']));
    }

    #[test]
    fn every_type_takes_every_json(
        kind in proptest::sample::select(vec![66, 67, 69, 71, 77, 78, 81, 82, 88, 90, 95, 96, 97, 98, 210, 211, 401]),
        msg_type in proptest::sample::select(vec![1, 3, 34, 37, 42, 43, 47, 48, 49, 50, 10000, 10002]),
        rest in object(proptest::sample::select(vec!["cwxid", "wxid", "formWxid", "message", "hex", "userLists", "chatrooms", "info", "v2", "code"]).prop_map(str::to_owned), any_json()),
    ) {
        let data = format!("{{\"type\":{kind},\"msgType\":\"{msg_type}\",\"x\":{rest},{}", rest.trim_start_matches('{'));
        let data = data.replace(",}", "}");
        if let Body::Readable(data) = read_body(data.as_bytes()) {
            let outline = outline(&data);
            let event = decode(&data);
            prop_assert!(event.decoded.json().is_object());
            prop_assert_eq!((outline.kind, outline.chat, outline.from), (Some(event.kind), event.chat, event.from));
        }
    }

    #[test]
    fn damage_at_any_place_never_panics(at in 0_usize..2000, byte in any::<u8>(), name in proptest::sample::select(EVENTS.to_vec())) {
        let mut bytes = fixture(&format!("{name}.json"));
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Body::Readable(data) = read_body(&bytes) {
            let _event = decode(&data);
        }
        if let Body::Readable(data) = read_body(&bytes[..at]) {
            let _event = decode(&data);
        }
    }
}
