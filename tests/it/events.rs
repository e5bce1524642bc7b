//! Contract 7: every event of the spec, as it is printed there and as it is meant, becomes one line with every key.

use crate::fixture::{Daemon, message};
use data_encoding::{BASE64, HEXUPPER};
use serde_json::{Value, json};

/// The keys of an event, in the contract's order.
const KEYS: &[&str] = &[
    "seq",
    "time",
    "kind",
    "type",
    "account",
    "pid",
    "chat",
    "from",
    "self",
    "nick",
    "text",
    "from_name",
    "mentioned",
    "command",
    "repeat_of",
    "decoded",
    "data",
];

/// A callback as the spec prints it, its kind, its type, its account, its pid.
type Printed = (&'static str, &'static str, i64, Option<&'static str>, Option<i64>);

const LOGIN: Printed = (
    r#"{
"data":{
    "processid": 6072,
    "type": 67,
    "code": 200,
    "cwxid": "wxid_yfng437lnlygXXX"
    }
}"#,
    "login",
    67,
    Some("wxid_yfng437lnlygXXX"),
    Some(6072),
);

const QRCODE: Printed = (
    r#"{
    "data": {
    "code": 401,
    "message": "XXXXXXXXXXXX"
    }
}"#,
    "login.qrcode",
    401,
    None,
    None,
);

const PROFILE: Printed = (
    r#"{
"data":{
    "username": "yqxxxx",
    "processid": 6072,
    "type": 71,
    "cwxid": "wxid_yfng437lnlygXXX",
    "wxid": "wxid_yfng437lnlygXXX",
    "headPic": "http://wx.qlogo.cn/mmhead/ver_1/4wJLicLUKd1cHOWY0p7zzib6cfVlQUgYBcTQFOE/0",
    "sheadPic": "http://wx.qlogo.cn/mmhead/ver_1/4wJLicLUKAKXK9d1cHOWY0p6ctcUgYBcTQFOE/132",
    "nick": "bigxxx",
    "asName": "",
    "province": "",
    "city": "",
    "sex": "2",
    "regionCode": "",
    "sign": ""
    }
}"#,
    "profile",
    71,
    Some("wxid_yfng437lnlygXXX"),
    Some(6072),
);

const CONTACTS_PACKET: Printed = (
    r#"{
"data":{
    "cgi": "/cgi-bin/micromsg-bin/initcontact",
    "type": 97,
    "processid": 6072,
    "cwxid": "wxid_yfng437lnlygXXX",
    "packLen": 1805,
    "hex": "0A04080012001A6C76315F6533373965343937623666E676572",// 16进制的数据，包含所有联系人的wxid
    },
}"#,
    "contacts.packet",
    97,
    Some("wxid_yfng437lnlygXXX"),
    Some(6072),
);

const CONTACTS: Printed = (
    r#""data":{
"type": 210,
"processid": 8308,
"cwxid": "wxid_sadaxxxxx",
"userLists":
    [
        {
        "wxid": "gh_e456599aa7XXX",
        "asName": "(null)",
        "headPic":  "http://wx.qlogo.cn/mmhead/Q3auHgzwzM4nJrkU7rOWlVxMcdGIagFYT5mC6lpicvsSLj53d1Xe54w/0",
        "sheadPic": "http://wx.qlogo.cn/mmhead/Q3auHgzwzM4nJrkU7rOWlVxMcdGIagFYT5mC6lpicvsSLj53d1Xe54w/132",
        "nick": "微小强XXX",
        "username": "wsdXXX",
        "province": "上海",
        "city": "中国",
        "sex": 0,
        "regionCode": "",
        "sign": "",
        "type": 3,
        "groupId": "None",
        "cwxid": "xxxxxxxx"
        }
    ]
}"#,
    "contacts",
    210,
    Some("wxid_sadaxxxxx"),
    Some(8308),
);

const ROOMS: Printed = (
    r#"{
"data":
    {
        "type": 211,
        "processid": 6072,
        "cwxid": "wxid_yfng437lnlygXXX",
        "chatrooms":
        [
            {"xml": "PD94bWwgdmVyc2lvbTHNWWk5LSIiIC8+",// base64 的 xml 格式数据，包括群昵称，群头像等
            "wxid": "82520287XXX@chatroom",
            "exist": true,
            "count": 56,
            "roomLord": false
            }
        ] 
    } 
}"#,
    "rooms",
    211,
    Some("wxid_yfng437lnlygXXX"),
    Some(6072),
);

const MEMBERS: Printed = (
    r#"{
"data":
    {
        "type":77,
        "processid":8844,
        "cwxid":"wxid_yfng437lnlygXXX",
        "wxid":"75101150XXX@chatroom",
        "info":"PD94bWwgdmVyc2lvbj0iMS4wIj8dDMWE3\r\naWE5SWJ1WDJkc3dLaWFVVlhIWjdZM0",
        "userLists":
        [
            {
                "wxid":"yly_11XXX",
                "headPic":"http://wx.qlogo.cnic5Kic1pMzgK30S8YY8iblHY0Qc/0",
                "sheadPic":"http://wx.qlogo.cn/mmhead/ver_1/XDXmlHY0Qc/132",
                "nick":"微小强xxx",
                "username":"",
                "asName":"",
                "province":"",
                "city":"",
                "sex":"2",
                "regionCode":"",
                "sign":""
            },
            {
                "wxid":"wxid_pigclv404o2iXXX",
                "headPic":"http://wx.qlogo.cn/mmhead/ver_1/dfnqH5NbvwHMEKU71HOVLiaVTw/0",
                "sheadPic":"http://wx.qlogo.cn/mmhead/ver_1/dfnSxxwHMEKU71HOVLiaVTw/132",
                "nick":"微大强xxx",
                "username":"bigxxx",
                "asName":"",
                "province":"",
                "city":"",
                "sex":"0",
                "regionCode":"",
                "sign":""
            }
        ]
    }
}
"#,
    "room.members",
    77,
    Some("wxid_yfng437lnlygXXX"),
    Some(8844),
);

const MESSAGE: Printed = (
    r#"{
    "type": 78,                     // int        信息分类，如接受消息，好友变动消息，群邀请信息等
    "msgType": "1",                 // string     信息类型，新好友（37）、系统消息（10000）、文本（1）、图片（3）
    "processid" : "7768",           // int        进程ID 
    "cwxid" : "wxid_adskjfseXXX",   // string     当前登录的微信号
    "wxid"  : "wxid_sadkwqlXXX",    // string     发送方的微信ID，如果发送方为群，怎为群ID
    "formWxid" :"wxid_sadkwqlkq",   // string     只有群消息才有，为发送方个人的微信ID
    "nick" : "XXXX",                // string     用户昵称，如果是群则为群昵称
    "message" : "XXXX",             // string     消息内容
}"#,
    "message.text",
    78,
    Some("wxid_adskjfseXXX"),
    Some(7768),
);

const CONTACT_PACKET: Printed = (
    r#"{
"data":{
    "cgi":"/cgi-bin/micromsg-bin/getcontact",
    "type":88,
    "processid":6072,
    "cwxid":"wxid_yfng437lnlygXXX",
    "packLen":809,
    "hex":"0A040800120010011A99060A015A28013202080038FFFFFFFF0",// 16进制数据,包含wxid、头像、v2等数据
    }
}"#,
    "contact.packet",
    88,
    Some("wxid_yfng437lnlygXXX"),
    Some(6072),
);

const ROOM_CREATED: Printed = (
    r#"{
"data":{
    "type":69,
    "cwxid":"wxid_yfng437lnlygXXX",
    "xml":"",
    "chatroom":"218138553XXX@chatroom"
    }
}"#,
    "room.created",
    69,
    Some("wxid_yfng437lnlygXXX"),
    None,
);

const VERIFIED: Printed = (
    r#"{
    "data":{
    "cgi":"/cgi-bin/micromsg-bin/verifyuser",
    "type":96,
    "processid":6072,
    "cwxid":"wxid_yfng437lnlyXXX",
    "packLen":6,
    "hex":"0A040800120737472616E676572", // 返回16进制数据，先将数据转换为文本，如果包含 v1，则说明发送请求成功
    }
}"#,
    "friend.verified",
    96,
    Some("wxid_yfng437lnlyXXX"),
    Some(6072),
);

const AVATARS: Printed = (
    r#"{
"data":{
    "type":95,
    "processid":8844,
    "cwxid":"wxid_yfng437lnlyXXX",
    "userLists":[
        {
        "wxid":"wxid_02p3fnfht9fXXX",
        "sheadPic":"http://wx.qlogo.cn/mmhead/ver_1/rShBrnPZHnWheicjaFu5y0NJBqC5k16YicKw/132"
        },
        {
        "wxid":"wxid_ywoim7u92avXXX", 
        "sheadPic":"http://wx.qlogo.cn/mmhead/ver_1/VBibqWbX79tlxEXgWUHTdtib6icj5JhUnib0/132"
        }
        ]
    }
}"#,
    "avatars",
    95,
    Some("wxid_yfng437lnlyXXX"),
    Some(8844),
);

const LOGOUT: Printed = (
    r#"{
"data":{
    "cgi":"/cgi-bin/micromsg-bin/logout",
    "type":90,
    "processid":6072,
    "cwxid":"wxid_yfng437lnlyxxx",
    "packLen":6,
    "hex":"0A0408001200", // 16进制数据
    }
}"#,
    "logout",
    90,
    Some("wxid_yfng437lnlyxxx"),
    Some(6072),
);

const LOGOUT_PHONE: Printed = (
    r#"{
"data":{
    "cgi":"/cgi-bin/micromsg-bin/autoauth",
    "type":98,
    "processid":6072,
    "cwxid":"wxid_yfng437lnlyxxx",
    "packLen":433,
    "hex":"0AAC02089CFFFFFFFFFF00280038001A0608001000280032020800", // 16进制数据
    }
}"#,
    "logout.phone",
    98,
    Some("wxid_yfng437lnlyxxx"),
    Some(6072),
);

const PRINTED: &[Printed] = &[
    LOGIN,
    QRCODE,
    PROFILE,
    CONTACTS_PACKET,
    CONTACTS,
    ROOMS,
    MEMBERS,
    MESSAGE,
    CONTACT_PACKET,
    ROOM_CREATED,
    VERIFIED,
    AVATARS,
    LOGOUT,
    LOGOUT_PHONE,
];

/// Type 81 is printed with an unclosed string, which the contract does not count among the damage that is mended.
const V2_PRINTED: &str = r#"{
"data":{
    "type":81,
    "processid":6072,
    "cwxid":"wxid_yfng437lnlyXXX",
    "wxid":"wxid_qg0saisth0rXXX",
    "v2":"v2_8a0384d4c6cb06add95851691b613d873b202311f358ccfc686d802247c634f96933e891@stranger",
    "headPic":"http://wx.qlogo.cn/mmhead/ver_1/sD1PwkscXRfbYZicqORAMFiciclycKqvicF81uTEo/0",
    "sheadPic":"http://wx.qlogo.cn/mmhead/ver_1/sD1etbPby4kFOWoMRAFiciclycKqvicF81uTEo/132",
    "nick":"DaQiXX
    "username":"e1030XXX",
    "asName":"",
    "province":"",
    "city":"上海",
    "sex":"1",
    "regionCode":"CN",
    "sign":""
    }
}"#;

fn keys(event: &Value) -> Vec<&str> {
    event.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A daemon that was told these bodies, and the events that it made of them.
fn told(bodies: &[&[u8]]) -> (Daemon, Vec<Value>) {
    let daemon = Daemon::new();
    for body in bodies {
        let answer = daemon.client().post("/recieve_msg", body);
        let body = String::from_utf8_lossy(body);
        assert_eq!((answer.status, answer.text().as_str()), (200, "[]"), "{body}");
        assert!(answer.header("content-type").unwrap().starts_with("application/json"));
    }
    let events = daemon.events(&["-n", "all"]);
    assert_eq!(events.len(), bodies.len());
    (daemon, events)
}

fn packet(kind: i64, hex: &[u8]) -> String {
    json!({"data": {"type": kind, "cwxid": "wxid_me", "processid": 1, "packLen": hex.len(), "hex": HEXUPPER.encode(hex)}})
        .to_string()
}

/// A protobuf field 1 that holds these bytes.
fn field(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x0a, u8::try_from(bytes.len()).unwrap()];
    out.extend_from_slice(bytes);
    out
}

#[test]
fn every_example_of_the_spec_is_taken_as_it_is_printed() {
    let bodies: Vec<&[u8]> = PRINTED.iter().map(|(body, ..)| body.as_bytes()).collect();
    let (_daemon, events) = told(&bodies);
    for ((body, kind, number, account, pid), event) in PRINTED.iter().zip(&events) {
        assert_eq!(keys(event)[..KEYS.len()], *KEYS, "{body}");
        assert_eq!(event["kind"], *kind, "{event}");
        assert_eq!(event["type"], *number, "{event}");
        assert_eq!(event["account"], json!(account), "{event}");
        assert_eq!(event["pid"], json!(pid), "{event}");
        assert!(event["decoded"].is_object() && event["data"].is_object(), "{event}");
    }
    let seqs: Vec<_> = events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=PRINTED.len() as u64).collect::<Vec<_>>());
}

#[test]
fn the_bare_inner_object_means_the_same_as_the_wrapped_one() {
    let bare: Vec<String> = [LOGIN, QRCODE, PROFILE, MEMBERS, AVATARS, ROOM_CREATED]
        .iter()
        .map(|(body, ..)| serde_json::from_str::<Value>(body).unwrap()["data"].to_string())
        .collect();
    let (_daemon, events) = told(&bare.iter().map(String::as_bytes).collect::<Vec<_>>());
    let kinds: Vec<_> = events.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["login", "login.qrcode", "profile", "room.members", "avatars", "room.created"]);
    for (event, bare) in events.iter().zip(&bare) {
        assert_eq!(event["data"].to_string(), *bare);
    }
}

#[test]
fn the_examples_are_decoded() {
    let bodies: Vec<&[u8]> = PRINTED.iter().map(|(body, ..)| body.as_bytes()).collect();
    let (_daemon, events) = told(&bodies);
    let decoded = |kind: &str| &events.iter().find(|e| e["kind"] == kind).unwrap()["decoded"];
    assert_eq!(decoded("login")["code"], 200);
    assert_eq!(decoded("login.qrcode")["content"], "XXXXXXXXXXXX");
    assert_eq!(decoded("profile")["self"], true);
    assert_eq!(decoded("profile")["contact"]["wxid"], "wxid_yfng437lnlygXXX");
    assert!(decoded("contacts.packet")["wxids"].is_array());
    let contact = &decoded("contacts")["contacts"][0];
    assert_eq!(contact["wxid"], "gh_e456599aa7XXX");
    assert_eq!(contact["nick"], "微小强XXX");
    assert!(contact["sex"].is_string() || contact["sex"].is_null(), "{contact}");
    let text = contact.to_string();
    assert!(!text.contains("(null)") && !text.contains("None"), "{text}");
    let room = &decoded("rooms")["rooms"][0];
    assert_eq!(room["wxid"], "82520287XXX@chatroom");
    assert_eq!(room["count"], 56);
    assert!(room.as_object().unwrap().values().any(|v| *v == json!(false)), "no owner flag: {room}");
    let members = decoded("room.members");
    assert_eq!(members["room"], "75101150XXX@chatroom");
    let ids: Vec<_> = members["members"].as_array().unwrap().iter().map(|m| m["wxid"].as_str().unwrap()).collect();
    assert_eq!(ids, ["yly_11XXX", "wxid_pigclv404o2iXXX"]);
    assert_eq!(members["members"][1]["nick"], "微大强xxx");
    assert!(members.as_object().unwrap().contains_key("info"));
    for key in ["wxids", "v1", "v2", "avatars", "strings"] {
        assert!(decoded("contact.packet").as_object().unwrap().contains_key(key), "no {key}");
    }
    assert_eq!(decoded("room.created")["room"], "218138553XXX@chatroom");
    assert_eq!(decoded("friend.verified")["ok"], false);
    assert_eq!(
        decoded("avatars")["avatars"]["wxid_02p3fnfht9fXXX"],
        "http://wx.qlogo.cn/mmhead/ver_1/rShBrnPZHnWheicjaFu5y0NJBqC5k16YicKw/132"
    );
    let text = events.iter().find(|e| e["kind"] == "message.text").unwrap();
    assert_eq!(text["text"], "XXXX");
    assert_eq!(text["nick"], "XXXX");
    assert_eq!(text["self"], false);
}

#[test]
fn the_unclosed_string_of_the_v2_example_loses_nothing() {
    let daemon = Daemon::new();
    let answer = daemon.client().post("/recieve_msg", V2_PRINTED.as_bytes());
    let event = daemon.last_event();
    if answer.status == 200 {
        assert_eq!(event["kind"], "friend.v2");
        assert!(event["decoded"]["v2"].as_str().unwrap().starts_with("v2_8a03"));
    } else {
        assert_eq!(answer.error(400), answer.json()["error"]);
        assert_eq!(event["kind"], "unparsed");
        assert_eq!(event["data"]["base64"], BASE64.encode(V2_PRINTED.as_bytes()));
    }
}

#[test]
fn a_sane_v2_event_is_decoded() {
    let mended = V2_PRINTED.replace("\"DaQiXX\n", "\"DaQiXX\",\n");
    let (_daemon, events) = told(&[mended.as_bytes()]);
    assert_eq!(events[0]["kind"], "friend.v2");
    assert!(events[0]["decoded"]["v2"].as_str().unwrap().ends_with("@stranger"));
    assert_eq!(events[0]["decoded"]["contact"]["wxid"], "wxid_qg0saisth0rXXX");
}

#[test]
fn packets_give_their_ids_tickets_and_avatars() {
    let mut getcontact = field(b"wxid_abc123");
    getcontact.extend(field(b"v1_00112233445566778899aabbccddeeff@stranger"));
    getcontact.extend(field(b"v2_00112233445566778899aabbccddeeff@stranger"));
    getcontact.extend(field(b"http://wx.qlogo.cn/mmhead/ver_1/abc/132"));
    let (_daemon, events) = told(&[
        packet(97, &[field(b"wxid_abc123"), field(b"wxid_def456"), field(b"77@chatroom")].concat()).as_bytes(),
        packet(88, &getcontact).as_bytes(),
        packet(96, &field(b"v1_00112233445566778899@stranger")).as_bytes(),
        packet(90, b"\x0a\x04\x08\x00\x12\x00").as_bytes(),
    ]);
    let ids = events[0]["decoded"]["wxids"].as_array().unwrap();
    assert!(ids.contains(&json!("wxid_abc123")) && ids.contains(&json!("wxid_def456")), "{ids:?}");
    let packet = &events[1]["decoded"];
    assert!(packet["wxids"].as_array().unwrap().contains(&json!("wxid_abc123")), "{packet}");
    assert!(packet["v1"].to_string().contains("v1_00112233"), "{packet}");
    assert!(packet["v2"].to_string().contains("v2_00112233"), "{packet}");
    assert!(packet["avatars"].to_string().contains("http://wx.qlogo.cn/mmhead/ver_1/abc/132"), "{packet}");
    assert_eq!(events[2]["decoded"]["ok"], true);
}

#[test]
fn the_events_that_the_spec_does_not_list_are_known_too() {
    let (_daemon, events) = told(&[
        br#"{"data":{"type":66,"code":200,"cwxid":"wxid_me"}}"#,
        br#"{"data":{"type":66,"code":-1,"cwxid":"null"}}"#,
        br#"{"data":{"type":82,"cwxid":"null","hex":"data:image/png;base64,iVBORw0KGgo="}}"#,
        br#"{"data":{"type":"211","cwxid":"wxid_me","chatrooms":[{"wxid":"5@chatroom","nick":"R","headPic":"http://p","userLists":"^Gwxid_a^Gwxid_b^G","count":2}]}}"#,
        br#"{"data":{"type":4711,"cwxid":"wxid_me","strange":1}}"#,
        br#"{"data":{"cwxid":"wxid_me"}}"#,
    ]);
    assert_eq!((&events[0]["kind"], &events[0]["decoded"]["logged_in"]), (&json!("login.state"), &json!(true)));
    assert_eq!(events[1]["decoded"]["logged_in"], false);
    assert_eq!(events[1]["account"], Value::Null);
    assert_eq!(events[2]["kind"], "login.qrcode");
    let image = events[2]["decoded"]["image"].to_string();
    assert!(image.contains("image/png") && image.contains("iVBORw0KGgo="), "{}", events[2]);
    let room = &events[3]["decoded"]["rooms"][0];
    assert_eq!((&events[3]["type"], &room["nick"]), (&json!(211), &json!("R")));
    assert!(room.to_string().contains(r#"["wxid_a","wxid_b"]"#), "{room}");
    assert_eq!((&events[4]["kind"], &events[4]["type"]), (&json!("other"), &json!(4711)));
    assert_eq!(events[5]["kind"], "other");
    assert_eq!(events[5]["type"], Value::Null);
}

#[test]
fn numbers_may_be_strings_and_nothing_has_many_names() {
    let (_daemon, events) = told(&[
        br#"{"data":{"type":"78","msgType":1,"processid":7768,"cwxid":"(null)","wxid":"a","message":"x"}}"#,
        br#"{"data":{"type":78,"msgType":"1","processid":"7768","cwxid":"None","wxid":"a","message":"x"}}"#,
        br#"{"data":{"type":78,"msgType":"1","processid":"","cwxid":"","wxid":"a","message":"x"}}"#,
        br#"{"data":{"type":78,"msgType":"1","cwxid":null,"wxid":"a","message":"x"}}"#,
    ]);
    let pids: Vec<_> = events.iter().map(|e| e["pid"].clone()).collect();
    assert_eq!(pids, [json!(7768), json!(7768), Value::Null, Value::Null]);
    assert!(events.iter().all(|e| e["account"].is_null() && e["kind"] == "message.text"));
}

#[test]
fn a_message_says_where_it_was_said_by_whom_and_whether_by_ourselves() {
    let own = r#"{"type":78,"msgType":"1","cwxid":"wxid_me","wxid":"wxid_a","myMsg":"1","message":"mine"}"#;
    let own_group = r#"{"type":78,"msgType":"1","cwxid":"wxid_me","wxid":"5@chatroom","formWxid":"wxid_me","myMsg":"1","message":"mine"}"#;
    let prefixed = message("wxid_me", "5@chatroom", Some("wxid_b"), "wxid_b:\nhello");
    let foreign = message("wxid_me", "5@chatroom", Some("wxid_b"), "wxid_c:\nhello");
    let bodies = [
        message("wxid_me", "wxid_a", None, "hi"),
        message("wxid_me", "5@chatroom", Some("wxid_b"), "hi"),
        own.to_owned(),
        own_group.to_owned(),
        prefixed,
        foreign,
    ];
    let (_daemon, events) = told(&bodies.iter().map(String::as_bytes).collect::<Vec<_>>());
    let who: Vec<_> = events
        .iter()
        .map(|e| (e["chat"].as_str().unwrap(), e["from"].as_str().unwrap(), e["self"].as_bool().unwrap()))
        .collect();
    assert_eq!(
        who,
        [
            ("wxid_a", "wxid_a", false),
            ("5@chatroom", "wxid_b", false),
            ("wxid_a", "wxid_me", true),
            ("5@chatroom", "wxid_me", true),
            ("5@chatroom", "wxid_b", false),
            ("5@chatroom", "wxid_b", false),
        ]
    );
    assert_eq!(events[4]["text"], "hello");
    assert_eq!(events[5]["text"], "wxid_c:\nhello");
}

#[test]
fn each_message_type_has_its_kind() {
    let table = [
        ("1", "text"),
        ("3", "image"),
        ("34", "voice"),
        ("37", "friend_request"),
        ("42", "card"),
        ("43", "video"),
        ("47", "sticker"),
        ("48", "location"),
        ("49", "app"),
        ("50", "call"),
        ("51", "other"),
        ("10000", "system"),
        ("10002", "other"),
        ("65", "friend_request"),
        ("66", "card"),
        ("999", "other"),
    ];
    let bodies: Vec<String> = table
        .iter()
        .map(|(number, _)| {
            format!(r#"{{"data":{{"type":78,"msgType":"{number}","cwxid":"m","wxid":"a","message":"<msg/>"}}}}"#)
        })
        .collect();
    let (_daemon, events) = told(&bodies.iter().map(String::as_bytes).collect::<Vec<_>>());
    for ((number, kind), event) in table.iter().zip(&events) {
        assert_eq!(event["kind"], format!("message.{kind}"), "msgType {number}");
    }
}

#[test]
fn friend_requests_cards_and_links_are_unpacked() {
    let request = r#"<msg fromusername="wxid_new" encryptusername="v1_aa@stranger" fromnickname="新 &amp; 友" content="我是&lt;小王&gt;" alias="wang" scene="30" sex="1" ticket="v2_bb@stranger" bigheadimgurl="http://b" smallheadimgurl="http://s"/>"#;
    let link = r#"<?xml version="1.0"?><msg><appmsg appid="" sdkver="0"><title>A &amp; B</title><des>d</des><type>5</type><url>https://e.org/?a=1&amp;b=2</url></appmsg><fromusername>wxid_a</fromusername></msg>"#;
    let of = |number: &str, xml: &str| {
        json!({"data":{"type":78,"msgType":number,"cwxid":"wxid_me","wxid":"fmessage","message":xml}}).to_string()
    };
    let (daemon, events) = told(&[of("37", request).as_bytes(), of("49", link).as_bytes()]);
    let decoded = &events[0]["decoded"];
    assert_eq!(decoded["v1"], "v1_aa@stranger");
    assert_eq!(decoded["v2"], "v2_bb@stranger");
    assert_eq!(decoded["wxid"], "wxid_new");
    assert_eq!(decoded["nick"], "新 & 友");
    assert_eq!(decoded["greeting"], "我是<小王>");
    assert_eq!(events[1]["decoded"]["title"], "A & B");
    assert_eq!(events[1]["decoded"]["url"], "https://e.org/?a=1&b=2");
    let requests = daemon.cli(&["friend", "requests"]).exits(0).lines();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].to_string().contains("wxid_new"), "{}", requests[0]);
    // What was seen can be accepted by its number.
    daemon.cli(&["friend", "accept", "1", "--no-wait"]).exits(0);
    let commands = daemon.client().poll("account=wxid_me");
    assert_eq!(
        commands[0].to_string(),
        r#"{"api":"acceptFriend","code":10,"v1":"v1_aa@stranger","v2":"v2_bb@stranger"}"#
    );
}

#[test]
fn data_is_what_the_client_sent_byte_for_byte() {
    let inner = r#"{ "type": 78,"msgType":"1" ,"big":12345678901234567890123,"ratio":1.10,"exp":1E+2,"z":{"b":[ 1 ,2],"a":null},"uni":"\u4f60好\/","unknown":{},"wxid":"a","message":"m","message2":"" }"#;
    let daemon = Daemon::new();
    let answer = daemon.client().post("/recieve_msg", format!("{{\"data\":{inner},\"extra\":1}}").as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    daemon.client().post("/recieve_msg", inner.as_bytes());
    let run = daemon.cli(&["events", "-n", "2"]).exits(0);
    for line in run.out.lines() {
        assert!(line.contains(&format!("\"data\":{inner}")), "{line}");
    }
    let shown = daemon.cli(&["events", "show", "1"]).exits(0);
    assert!(shown.out.contains(inner), "{}", shown.out);
    let door = daemon.control("GET", "/v1/events/1", b"").text();
    assert!(door.contains(inner), "{door}");
}

#[test]
fn big_numbers_survive() {
    let daemon = Daemon::new();
    daemon.client().event(r#"{"type":4711,"n":12345678901234567890,"f":1.10}"#);
    let out = daemon.cli(&["events"]).exits(0).out;
    assert!(out.contains(r#""data":{"type":4711,"n":12345678901234567890,"f":1.10}"#), "{out}");
}

#[test]
fn gb18030_a_byte_order_mark_and_any_content_type_are_read() {
    let daemon = Daemon::new();
    let head = br#"{"data":{"type":78,"msgType":"1","cwxid":"wxid_me","wxid":"a","message":""#;
    let gbk = [head.as_slice(), b"\xc4\xe3\xba\xc3", br#""}}"#].concat();
    let bom = [b"\xef\xbb\xbf".as_slice(), head, "你好".as_bytes(), br#""}}"#].concat();
    for (body, content_type) in [(gbk, "text/plain; charset=gbk"), (bom, "application/x-www-form-urlencoded")] {
        let answer = daemon.client().send("POST", "/callback", &[("Content-Type", content_type)], &body);
        assert_eq!((answer.status, answer.text().as_str()), (200, "[]"));
        assert_eq!(daemon.last_event()["text"], "你好");
    }
    let answer = daemon.client().send("POST", "/receive_msg", &[], br#"{"data":{"type":90}}"#);
    assert_eq!(answer.status, 200);
}

#[test]
fn one_cut_byte_leaves_the_rest_as_it_is_and_every_byte_is_kept() {
    let daemon = Daemon::new();
    let cut = b"\xef\xbb\xbf{\"data\":{\"type\":78,\"msgType\":\"1\",\"cwxid\":\"wxid_me\",\"wxid\":\"a\",\"nick\":\"\xe5\xae\x89\xe5\xae\",\"message\":\"\xe4\xbd\xa0\xe5\xa5\xbd \x1b\"}}";
    let moved = b"{\"type\":78,\"msgType\":\"1\",\"cwxid\":\"wxid_me\",\"wxid\":\"wxid_a\",\"message\":\"hi\n\"wxid\":\"boss\"}";
    let answer = |body: &[u8]| daemon.client().send("POST", "/callback", &[], body).status;
    assert_eq!((answer(cut), answer(moved), answer(b"[1]")), (200, 400, 400));
    let event = daemon.events(&["-n", "all"])[0].clone();
    assert_eq!((&event["nick"], &event["text"]), (&"安\u{fffd}".into(), &"你好 \u{1b}".into()));
    for (seq, body) in [("1", &cut[..]), ("2", moved), ("3", b"[1]")] {
        let out = daemon.wehelp(["events", "show", seq, "--bytes"]).output().unwrap();
        assert!(out.status.success());
        assert_eq!(out.stdout, body, "event {seq}");
    }
    daemon.cli(&["events", "show", "1", "2", "--bytes"]).exits(2);
    daemon.cli(&["events", "show", "9", "--bytes"]).exits(4);
}

#[test]
fn what_cannot_be_read_is_kept_with_its_bytes_and_answered_400() {
    let daemon = Daemon::new();
    let bodies: &[&[u8]] = &[
        b"",
        b"hello",
        b"[]",
        b"[{\"type\":78}]",
        b"\"x\"",
        b"12",
        b"\xff\xfe\x00\x01{",
        b"{\"data\":{\"type\":",
        b"null",
    ];
    for (index, body) in bodies.iter().enumerate() {
        let answer = daemon.client().post("/recieve_msg", body);
        answer.error(400);
        let event = daemon.last_event();
        assert_eq!(event["seq"], index + 1, "{event}");
        assert_eq!(keys(&event)[..KEYS.len()], *KEYS);
        assert_eq!(event["kind"], "unparsed");
        assert_eq!(event["data"]["base64"], BASE64.encode(body));
        assert!(event["decoded"]["reason"].as_str().is_some_and(|r| !r.is_empty()), "{event}");
        assert_eq!(event["type"], Value::Null);
    }
}

#[test]
fn hostile_bodies_cost_nobody_anything() {
    let daemon = Daemon::new();
    let deep = format!("{{\"data\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    let deep_object = format!("{}1{}", "{\"data\":".repeat(50_000), "}".repeat(50_000));
    let deep_xml = message("m", "a", None, &"<a>".repeat(100_000)).replace(r#""msgType":"1""#, r#""msgType":"49""#);
    let bomb = message("m", "a", None, r#"<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><msg>&b;</msg>"#)
        .replace(r#""msgType":"1""#, r#""msgType":"37""#);
    let hex = packet(88, &[0x0a].repeat(50_000));
    let long = packet(97, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f");
    for body in [deep, deep_object, deep_xml, bomb, hex, long] {
        let answer = daemon.client().post("/recieve_msg", body.as_bytes());
        assert!(matches!(answer.status, 200 | 400), "{}", answer.status);
    }
    // Counted, not parsed: what is deep may be kept as it came.
    assert_eq!(daemon.cli(&["events", "-n", "all"]).exits(0).out.lines().count(), 6);
    assert_eq!(daemon.client().get("/healthz").status, 200);
}

#[test]
fn the_last_twenty_are_shown_oldest_first_unless_told_otherwise() {
    let daemon = Daemon::new();
    for n in 1..=25 {
        daemon.client().event(&message("wxid_me", "wxid_a", None, &format!("m{n}")));
    }
    let seqs = |args: &[&str]| -> Vec<u64> { daemon.events(args).iter().map(|e| e["seq"].as_u64().unwrap()).collect() };
    assert_eq!(seqs(&[]), (6..=25).collect::<Vec<_>>());
    assert_eq!(seqs(&["-n", "3"]), [23, 24, 25]);
    assert_eq!(seqs(&["--lines", "all"]), (1..=25).collect::<Vec<_>>());
    assert_eq!(seqs(&["-n", "0"]), [0_u64; 0]);
    assert_eq!(seqs(&["--since", "#24"]), [24, 25]);
    assert_eq!(seqs(&["--until", "#2"]), [1, 2]);
    assert_eq!(seqs(&["--since", "1h"]).len(), 25);
    assert_eq!(seqs(&["--since", "2h ago"]).len(), 25);
    assert_eq!(seqs(&["--until", "1h"]), [0_u64; 0]);
    assert_eq!(seqs(&["--since", "2099-01-01T00:00:00Z"]), [0_u64; 0]);
    assert_eq!(seqs(&["--until", "2099-01-01T00:00:00Z"]).len(), 25);
    assert_eq!(seqs(&["--since", "#10", "--until", "#12", "-n", "2"]), [11, 12]);
    daemon.cli(&["events", "--since", "yesterday-ish"]).exits(2);
}

#[test]
fn an_event_is_shown_by_its_number() {
    let daemon = Daemon::new();
    daemon.login("wxid_me", 7);
    assert_eq!(daemon.cli(&["events", "show", "1"]).exits(0).line()["kind"], "login");
    daemon.cli(&["events", "show", "2"]).exits(4);
    daemon.cli(&["events", "show", "x"]).exits(2);
}

#[test]
fn times_are_utc_with_milliseconds() {
    let daemon = Daemon::new();
    let event = daemon.reported(r#"{"type":90}"#);
    let time = event["time"].as_str().unwrap();
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape, "9999-99-99T99:99:99.999Z", "{time}");
}

#[test]
fn people_and_rooms_are_learned_from_events() {
    let daemon = Daemon::new();
    for (body, ..) in [PROFILE, CONTACTS, ROOMS, MEMBERS, AVATARS] {
        assert_eq!(daemon.client().post("/recieve_msg", body.as_bytes()).status, 200);
    }
    let holds = |args: &[&str], needle: &str| {
        let run = daemon.cli(args).exits(0);
        assert!(run.out.contains(needle), "{args:?}: {}", run.out);
        run.lines();
    };
    holds(&["contact", "list", "-a", "wxid_sadaxxxxx"], "gh_e456599aa7XXX");
    holds(&["contact", "show", "gh_e456599aa7XXX"], "微小强XXX");
    holds(&["contact", "avatars"], "rShBrnPZHnWheicjaFu5y0NJBqC5k16YicKw");
    holds(&["friend", "list", "--cached", "-a", "wxid_sadaxxxxx"], "gh_e456599aa7XXX");
    holds(&["room", "list", "--cached", "-a", "wxid_yfng437lnlygXXX"], "82520287XXX@chatroom");
    holds(&["room", "members", "75101150XXX@chatroom", "--cached", "-a", "wxid_yfng437lnlygXXX"], "微大强xxx");
    holds(&["account", "list"], "bigxxx");
    daemon.cli(&["contact", "show", "wxid_nobody"]).exits(4);
}
