//! Bodies of events that the tests read: those of the spec, those of `tests/fixtures/messages`, and what stands in none.
//! All kinds are among them.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths
}

/// A case of `tests/fixtures/messages` as the event it is.
pub(crate) fn message(case: &Value) -> Value {
    let mut data = json!({
        "type": 78, "processid": 7001, "cwxid": "wxid_me0001", "msgType": case["msgType"].to_string(),
        "wxid": case["chat"], "nick": "测试", "myMsg": "0", "message": case["message"],
    });
    if let Some(speaker) = case.get("formWxid") {
        data["formWxid"] = speaker.clone();
    }
    data
}

/// Callbacks. The spec's are the first.
pub(crate) fn callbacks() -> Vec<Vec<u8>> {
    let spec = files("spec").into_iter().map(|path| fs::read(path).unwrap());
    let mut bodies: Vec<Vec<u8>> = spec.filter(|bytes| !bytes.trim_ascii_start().starts_with(b"{\"api\"")).collect();
    for path in files("messages") {
        let cases: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        bodies.extend(cases.iter().map(|case| message(case).to_string().into_bytes()));
    }
    let others = [
        json!({"type": 66, "processid": 7001, "cwxid": "wxid_me0001", "code": 200}),
        json!({"type": 82, "processid": 7001, "message": "data:image/png;base64,iVBORw0KGgo="}),
        json!({"type": 96, "cwxid": "wxid_me0001", "hex": "0a2c76315f353366643439613730346535393363333930346530333037313331373339383240737472616e676572"}),
        json!({"type": 77, "processid": 7001, "cwxid": "wxid_me0001", "wxid": "75101150@chatroom",
            "info": "PD94bWwgdmVyc2lvbj0iMS4wIj8+PG1zZyBuaWNrbmFtZT0i5a625Lq6576kIiBoZWFkaW1ndXJsPSJodHRwOi8vd3gucWxvZ28uY24vbW1jcmhlYWQvYS8wIiAvPg==",
            "userLists": [{"wxid": "wxid_a0001", "nick": "小强", "sex": "1"}, {"wxid": "wxid_b0001", "nick": "小王", "sex": "2"}]}),
        json!({"type": 9999, "processid": 7001, "cwxid": "wxid_me0001", "message": "something new"}),
    ];
    bodies.extend(others.iter().map(|event| event.to_string().into_bytes()));
    bodies.push(b"{\"data\":{\"type\":78,".to_vec());
    bodies
}

/// What the daemon itself tells, as it is stored.
#[allow(dead_code, reason = "one of those who share this asks for callbacks only")]
pub(crate) fn own() -> Vec<Vec<u8>> {
    let told = |kind: &str, since: &str| {
        let own = json!({"kind": kind, "account": "wxid_me0001", "pid": 7001, "since": since,
            "last_poll": "2026-11-23T08:59:50.412Z", "interval_s": 10});
        own.to_string().into_bytes()
    };
    vec![told("client.offline", "2026-11-23T08:59:50.412Z"), told("client.online", "2026-11-23T09:07:12.003Z")]
}
