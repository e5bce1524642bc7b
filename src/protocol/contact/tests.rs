//! Contacts and rooms as the spec and the later client print them.

use super::*;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL};
use proptest::prelude::*;
use serde_json::json;

fn json(read: &impl Serialize) -> Value {
    serde_json::to_value(read).unwrap()
}

fn contacts(list: &Value) -> Vec<Value> {
    let (list, mut contacts) = (serde_json::value::to_raw_value(list).unwrap(), Vec::new());
    each_contact(&list, |item| contacts.extend(listed(item).map(|contact| json(&contact))));
    contacts
}

fn contact(told: &Value) -> Value {
    json(&Contact::of(told.as_object().unwrap()))
}

fn room(told: &Value) -> Value {
    json(&listed_room(&told.to_string()))
}

fn room_info(base64: &str) -> Value {
    json(&super::room_info(base64))
}

const ROOM_XML: &str = r#"<?xml version="1.0"?>
<msg bigheadimgurl="" smallheadimgurl="http://wx.qlogo.cn/mmcrhead/Pc/0" username="82520287@chatroom" nickname="读书 &amp; 茶" sex="0" regionCode="" />"#;

#[test]
fn a_contact_of_the_spec_is_normalised() {
    let friend = json!({
        "wxid": "gh_e456", "asName": "(null)", "headPic": "http://wx.qlogo.cn/a/0", "sheadPic": "http://wx.qlogo.cn/a/132",
        "nick": "微小强", "username": "wsd", "province": "上海", "city": "中国", "sex": 0, "regionCode": "", "sign": "",
        "type": 3, "groupId": "None", "cwxid": "x",
    });
    assert_eq!(
        contact(&friend),
        json!({
            "wxid": "gh_e456", "nick": "微小强", "remark": null, "username": "wsd", "sex": "unknown", "province": "上海",
            "city": "中国", "region": null, "sign": null, "avatar": "http://wx.qlogo.cn/a/0",
            "avatar_small": "http://wx.qlogo.cn/a/132", "type": 3, "group_id": null,
        })
    );
}

#[test]
fn sex_is_a_word_from_number_or_string() {
    let sex = |value: Value| contact(&json!({ "sex": value }))["sex"].clone();
    assert_eq!([sex(json!("1")), sex(json!(2)), sex(json!("0"))], ["male", "female", "unknown"]);
    assert_eq!([sex(json!("")), sex(json!(9)), sex(Value::Null)], [Value::Null, Value::Null, Value::Null]);
}

#[test]
fn a_missing_picture_is_made_up_for_by_the_small_one() {
    assert_eq!(contact(&json!({ "headPic": "", "sheadPic": "s" }))["avatar"], "s");
    assert_eq!(contact(&json!({ "type": "3" }))["type"], 3);
}

#[test]
fn lists_keep_what_is_a_contact() {
    let list = json!([{ "wxid": "a" }, "wxid_b", 7, null, "None", { "wxid": "c" }]);
    let ids: Vec<Value> = contacts(&list).iter().map(|contact| contact["wxid"].clone()).collect();
    assert_eq!(ids, ["a", "wxid_b", "c"]);
    assert_eq!(contacts(&json!({ "wxid": "a" }))[0]["wxid"], "a");
    assert!(contacts(&Value::Null).is_empty());
}

#[test]
fn the_words_for_nothing_are_known() {
    let words = ["", " ", "(null)", "(NULL)", "None", "null", "NULL", "Null", " null\n", "undefined", "\tUndefined"];
    assert!(words.into_iter().all(nothing));
    assert!(!["0", "nobody", "none", "nullable", "null null"].into_iter().any(nothing));
}

#[test]
fn a_room_is_read_from_its_packed_xml() {
    let value = json!({ "xml": BASE64.encode(ROOM_XML.as_bytes()), "wxid": "82520287@chatroom", "exist": true, "count": 56, "roomLord": false });
    assert_eq!(
        room(&value),
        json!({
            "wxid": "82520287@chatroom", "nick": "读书 & 茶", "avatar": "http://wx.qlogo.cn/mmcrhead/Pc/0", "count": 56,
            "owner": false, "exist": true, "members": [],
        })
    );
}

#[test]
fn a_room_of_the_later_client_is_read() {
    for list in ["^Gwxid_a^Gwxid_b^Gwxid_a^G", "\u{7}wxid_a\u{7}wxid_b\u{7}"] {
        let value = json!({ "wxid": "1@chatroom", "nick": "n", "headPic": "h", "userLists": list, "roomLord": "1" });
        assert_eq!(
            room(&value),
            json!({ "wxid": "1@chatroom", "nick": "n", "avatar": "h", "count": 2, "owner": true, "exist": null, "members": ["wxid_a", "wxid_b"] })
        );
    }
}

#[test]
fn members_in_the_xml_are_found_in_several_shapes() {
    for members in [
        "<memberlist>wxid_a;wxid_b</memberlist>",
        "<memberlist><member><username>wxid_a</username><nickname>A</nickname></member><member username=\"wxid_b\"/></memberlist>",
        "<x members=\"wxid_a,wxid_b\"/>",
    ] {
        let xml = format!("<room>{members}<nickname>群</nickname><headimgurl>http://h</headimgurl></room>");
        let value = room(&json!({ "wxid": "1@chatroom", "xml": BASE64.encode(xml.as_bytes()) }));
        assert_eq!(value["members"], json!(["wxid_a", "wxid_b"]), "{members}");
        assert_eq!((&value["nick"], &value["avatar"]), (&json!("群"), &json!("http://h")), "{members}");
    }
}

#[test]
fn names_that_nobody_printed_are_guessed_at() {
    for xml in [
        "<RoomInfo><NickName>群</NickName><HeadImgUrl>http://h</HeadImgUrl></RoomInfo>",
        "<chatroom roomNick='群'><bigHeadPic>http://h</bigHeadPic></chatroom>",
        "<root><name><![CDATA[群]]></name><smallavatar>http://h</smallavatar></root>",
    ] {
        let value = room(&json!({ "xml": BASE64.encode(xml.as_bytes()) }));
        assert_eq!((&value["nick"], &value["avatar"]), (&json!("群"), &json!("http://h")), "{xml}");
    }
}

#[test]
fn damaged_packing_gives_nulls() {
    let nothing = json!({ "wxid": "1@chatroom", "nick": null, "avatar": null, "count": 56, "owner": null, "exist": null, "members": [] });
    for xml in ["PD94bWwgdmVyc2lvbTHNWWk5LSIiIC8+", "", "(null)", "!!!", "PA"] {
        assert_eq!(room(&json!({ "wxid": "1@chatroom", "xml": xml, "count": "56" })), nothing, "{xml}");
    }
    assert_eq!(room(&Value::Null)["wxid"], Value::Null);
}

#[test]
fn base64_is_read_in_all_its_forms() {
    let xml = "<msg nickname=\"读书??>>会\"/>";
    let padded = BASE64.encode(xml.as_bytes());
    let lines: Vec<&str> = padded.as_bytes().chunks(8).map(|line| std::str::from_utf8(line).unwrap()).collect();
    for base64 in [
        padded.clone(),
        BASE64_NOPAD.encode(xml.as_bytes()),
        BASE64URL.encode(xml.as_bytes()),
        lines.join("\r\n"),
        xml.into(),
    ] {
        let info = room_info(&base64);
        assert_eq!((&info["xml"], &info["nick"]), (&json!(xml), &json!("读书??>>会")), "{base64}");
    }
}

#[test]
fn the_info_of_the_spec_gives_its_text() {
    let info = room_info("PD94bWwgdmVyc2lvbj0iMS4wIj8dDMWE3\r\naWE5SWJ1WDJkc3dLaWFVVlhIWjdZM0");
    assert!(info["xml"].as_str().unwrap().starts_with("<?xml version=\"1.0\"?"));
    assert_eq!(info["nick"], Value::Null);
    assert_eq!(room_info("")["xml"], Value::Null);
}

#[test]
fn text_in_gbk_is_read() {
    let (bytes, _, _) = encoding_rs::GB18030.encode("<msg nickname=\"读书会\"/>");
    assert_eq!(room_info(&BASE64.encode(&bytes))["nick"], "读书会");
}

#[test]
fn twenty_thousand_contacts_are_read() {
    let friend = json!({ "wxid": "wxid_a", "nick": "n".repeat(200), "headPic": "http://wx.qlogo.cn/a/0", "sex": 1 });
    assert_eq!(contacts(&Value::Array(vec![friend; 20_000])).len(), 20_000);
}

#[test]
fn the_shortest_contacts_do_not_fill_the_memory() {
    let list = |item: &str| RawValue::from_string(format!("[{}{item}]", format!("{item},").repeat(1_000_000))).unwrap();
    for item in [r#""a""#, "{}", r#"{"x":[[],{},0]}"#] {
        let (mut contacts, mut rooms) = (0, 0);
        each_contact(&list(item), |_| contacts += 1);
        each_room(&list(item), |_| rooms += 1);
        assert_eq!((contacts, rooms), (LIST_MAX, LIST_MAX), "{item}");
    }
}

#[test]
fn no_cut_harms() {
    let base64 = BASE64.encode(ROOM_XML.as_bytes());
    for at in 0..base64.len() {
        drop(room_info(&base64[..at]));
        drop(room_info(&base64[at..]));
    }
    let at = base64.len() - 12;
    assert_eq!(room_info(&base64[..at])["nick"], "读书 & 茶");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        drop(room_info(&text));
        drop(room(&json!({ "xml": text, "userLists": text, "count": text, "roomLord": text })));
    }
}
