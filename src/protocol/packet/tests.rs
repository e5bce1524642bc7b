//! Packets built by a tiny protobuf writer, whole and damaged; and the hex that the spec prints.

use super::*;
use proptest::prelude::*;
use std::fmt::Write as _;

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn bytes_field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, number << 3 | 2);
    put_varint(&mut out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out
}

fn number_field(number: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, number << 3);
    put_varint(&mut out, value);
    out
}

/// A string in a message of its own, as this protocol likes to wrap them.
fn wrapped(number: u64, text: &str) -> Vec<u8> {
    bytes_field(number, &bytes_field(1, text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02X}").unwrap();
        hex
    })
}

fn base_response() -> Vec<u8> {
    bytes_field(1, &[number_field(1, 0), bytes_field(2, b"")].concat())
}

/// A contact as getcontact gives it.
fn contact(id: &str, nick: &str, v1: &str, v2: &str) -> Vec<u8> {
    let parts = [
        wrapped(1, id),
        wrapped(2, nick),
        number_field(8, 0xFFFF_FFFF),
        bytes_field(18, b"http://wx.qlogo.cn/mmhead/ver_1/abc/0"),
        bytes_field(20, &[0xff, 0xfe, 0x00, 0x9c]),
        wrapped(25, v1),
        wrapped(26, v2),
    ];
    [base_response(), number_field(2, 1), bytes_field(3, &parts.concat())].concat()
}

const V1: &str = "v1_020b3826fd030100000000003d9b0d1a2c3e4f@stranger";
const V2: &str = "v2_000b708f0b0400000100000000003d9b0d1a2c3e4f@stranger";

#[test]
fn a_contact_packet_gives_ids_tickets_avatars_and_names() {
    let packet = read(&hex(&contact("wxid_abc", "小强", V1, V2)));
    assert_eq!(packet.wxids, ["wxid_abc"]);
    assert_eq!((packet.v1.as_deref(), packet.v2.as_deref()), (Some(V1), Some(V2)));
    assert_eq!(packet.avatars, ["http://wx.qlogo.cn/mmhead/ver_1/abc/0"]);
    assert_eq!(packet.strings, ["wxid_abc", "小强", "http://wx.qlogo.cn/mmhead/ver_1/abc/0", V1, V2]);
}

#[test]
fn lower_case_white_space_and_an_odd_end_are_tolerated() {
    let whole = contact("wxid_abc", "小强", V1, V2);
    let expected = read(&hex(&whole));
    assert_eq!(read(&hex(&whole).to_lowercase()), expected);
    let lines: Vec<String> =
        hex(&whole).as_bytes().chunks(16).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
    assert_eq!(read(&lines.join("\r\n ")), expected);
    assert_eq!(read(&format!("0x{}0", hex(&whole))), expected);
}

#[test]
fn a_contact_list_gives_bare_ids_as_well() {
    let ids = ["wxid_abc", "zhangsan88", "gh_3dfda90e39d6", "filehelper", "123456@chatroom", "25984@openim"];
    let fields: Vec<u8> = ids.iter().flat_map(|id| bytes_field(5, id.as_bytes())).collect();
    let bytes = [base_response(), number_field(2, 7), fields, wrapped(9, "zhaoliu")].concat();
    assert_eq!(read(&hex(&bytes)).wxids, ids);
}

#[test]
fn nicks_that_look_like_ids_are_not_taken_for_ids() {
    let people = [("wxid_a", "Tom"), ("wxid_b", "wxid_fake"), ("jerry_88", "你好"), ("wxid_c", "a b")];
    let list: Vec<u8> =
        people.iter().flat_map(|(id, nick)| bytes_field(3, &[wrapped(1, id), wrapped(2, nick)].concat())).collect();
    let ids = read(&hex(&list)).wxids;
    assert!(["wxid_a", "wxid_b", "jerry_88", "wxid_c"].iter().all(|id| ids.contains(&(*id).to_owned())), "{ids:?}");
    assert!(!ids.contains(&"Tom".to_owned()), "{ids:?}");
}

#[test]
fn a_lone_contact_with_a_bare_id_is_told_by_its_place() {
    assert_eq!(read(&hex(&contact("zhangsan88", "Tom", V1, V2))).wxids, ["zhangsan88"]);
    assert_eq!(read(&hex(&contact("zhangsan88", "gh_nick", V1, V2))).wxids, ["zhangsan88", "gh_nick"]);
    assert!(read(&hex(&contact("张三", "Tom", V1, V2))).wxids.is_empty());
    assert!(read(&hex(&wrapped(7, "zhangsan88"))).wxids.is_empty());
}

#[test]
fn a_contact_packet_is_about_those_whom_it_names_and_not_about_their_nicks() {
    let about = |bytes: &[u8]| read(&hex(bytes)).about;
    assert_eq!(about(&contact("wxid_a", "wxid_nick", V1, V2)), ["wxid_a"]);
    assert_eq!(about(&contact("zhangsan88", "wxid_nick", V1, V2)), ["zhangsan88"]);
    // Where its name is a ticket, the nick is still none.
    assert!(about(&contact(V1, "wxid_nick", V1, V2)).is_empty());
    let member = bytes_field(3, &[wrapped(1, "7@chatroom"), wrapped(15, "wxid_member")].concat());
    let plain = bytes_field(3, &[bytes_field(1, b"wxid_b"), bytes_field(2, b"wxid_nick")].concat());
    assert_eq!(about(&[member, plain].concat()), ["7@chatroom", "wxid_b"]);
    // Of another form.
    assert_eq!(about(&[wrapped(4, "wxid_c"), wrapped(5, "wxid_nick")].concat()), ["wxid_c"]);
    assert_eq!(read("wxid_abc|wxid_nick").about, ["wxid_abc"]);
}

#[test]
fn strings_of_32_and_of_9_bytes_are_not_eaten_by_their_length() {
    // The length byte of the wrapped string is a blank, a tab, a line feed: all of it reads as text.
    for id in ["wxid_abcdefghijklmnopqrstuvwxyz1", "wxid_abcd", "wxid_abcde"] {
        assert_eq!(read(&hex(&[wrapped(4, id), number_field(1, 1)].concat())).wxids, [id], "{id}");
    }
}

#[test]
fn an_id_that_is_cut_off_is_no_id() {
    let whole = [wrapped(1, "wxid_first"), wrapped(2, "wxid_second")].concat();
    let cut = read(&hex(&whole[..whole.len() - 3]));
    assert_eq!(cut.wxids, ["wxid_first"]);
    assert_eq!(cut.strings, ["wxid_first", "wxid_sec"]);
}

#[test]
fn bytes_that_are_no_message_are_searched() {
    let bytes = [
        b"\xff\xff\xff".as_slice(),
        b"wxid_abc\x00\x01",
        V1.as_bytes(),
        b"\x12http://wx.qlogo.cn/a/0\x1a77@chatroom\xff",
    ]
    .concat();
    let packet = read(&hex(&bytes));
    assert_eq!(packet.wxids, ["wxid_abc", "77@chatroom"]);
    assert_eq!(packet.v1.as_deref(), Some(V1));
    assert_eq!(packet.avatars, ["http://wx.qlogo.cn/a/0"]);
}

#[test]
fn text_that_is_no_hex_is_searched_as_it_stands() {
    let packet = read(&format!("wxid_abc|{V1}|{V2}|gh_12ab"));
    assert_eq!(packet.wxids, ["wxid_abc", "gh_12ab"]);
    assert_eq!((packet.v1.as_deref(), packet.v2.as_deref()), (Some(V1), Some(V2)));
    assert_eq!(read(&hex(V1.as_bytes())).v1.as_deref(), Some(V1));
    assert_eq!(read(""), Packet::default());
    assert_eq!(read("  \n"), Packet::default());
}

#[test]
fn the_hex_of_the_spec_gives_what_is_left_of_it() {
    let list = read("0A04080012001A6C76315F6533373965343937623666E676572");
    assert!(list.wxids.is_empty() && list.v2.is_none());
    assert!(list.strings.iter().any(|text| text.starts_with("v1_e379e497b6f")), "{list:?}");
    assert!(contains_v1("0A04080012001A6C76315F6533373965343937623666E676572"));
    for hex in [
        "0A040800120010011A99060A015A28013202080038FFFFFFFF0",
        "0A040800120737472616E676572",
        "0A0408001200",
        "0AAC02089CFFFFFFFFFF00280038001A0608001000280032020800",
    ] {
        let packet = read(hex);
        assert!(packet.wxids.is_empty() && packet.v1.is_none() && packet.v2.is_none(), "{packet:?}");
        assert!(!contains_v1(hex));
    }
}

#[test]
fn a_v1_is_told_from_its_absence() {
    assert!(contains_v1(&hex(&[base_response(), bytes_field(2, V1.as_bytes())].concat())));
    assert!(contains_v1(V1));
    assert!(!contains_v1(&hex(&base_response())));
    assert!(!contains_v1(&hex(&bytes_field(2, V2.as_bytes()))));
    assert!(!contains_v1(""));
}

#[test]
fn twenty_thousand_contacts_are_read() {
    let list: Vec<u8> = (0..20_000).flat_map(|n| wrapped(5, &format!("wxid_{n:014}"))).collect();
    let hex = hex(&list);
    assert_eq!(read(&hex).wxids.len(), 20_000);
}

#[test]
fn bombs_end() {
    let mut deep = b"wxid_deep".to_vec();
    for _ in 0..400 {
        deep = bytes_field(1, &deep);
    }
    drop(read(&hex(&deep)));
    drop(read(&"0A7F".repeat(1_000_000)));
    drop(read(&"0a00".repeat(1_000_000)));
    drop(read(&hex(&b"wxid_a-".repeat(300_000))));
    drop(read(&hex(&b"a@chatroom".repeat(300_000))));
    drop(read(&hex(&vec![b'\n'; 2_000_000])));
    drop(read(&hex(&bytes_field(3, &b"0a".repeat(1_000_000)))));
}

#[test]
fn no_cut_harms() {
    let hex = hex(&contact("wxid_abc", "小强", V1, V2));
    for at in 0..hex.len() {
        let packet = read(&hex[..at]);
        assert!(packet.wxids.is_empty() || packet.wxids == ["wxid_abc"], "{at}: {packet:?}");
        assert!(packet.v1.is_none() || packet.v1.as_deref() == Some(V1), "{at}: {packet:?}");
        drop(read(&hex[at..]));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(read(&hex(&bytes)));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        drop(read(&text));
        assert!(contains_v1(&text) || !text.contains("v1"));
    }
}
