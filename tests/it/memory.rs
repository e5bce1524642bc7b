//! Contract 2 and 5: the memory that one body may take, however it is made, while it is read, learned from and shown.
//!
//! `WEHELP_LOAD=1` posts all of the bodies; the suite the worst ones.

use crate::fixture::{Daemon, eventually, message, run};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// What a daemon may take at most, MiB, of which a debug build takes 44 before anything was posted.
pub(crate) const PEAK_MIB: u64 = 160;
/// The size of a body, bytes: a little below the limit.
const BODY_BYTES: usize = 15 << 20;
/// Long lists are learned from on a thread of low priority, which a busy machine lets wait; and a debug build is slow.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(100);
/// Contacts of the longest list that is learned whole.
pub(crate) const CONTACTS: usize = 50_000;

/// The most memory that the daemon has had, MiB.
pub(crate) fn peak(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// An event of that type with as many of the items as a body has room for.
fn list(r#type: u32, key: &str, item: &str) -> String {
    listed(r#type, key, &format!("{item},").repeat(BODY_BYTES / (item.len() + 1)))
}

pub(crate) fn listed(r#type: u32, key: &str, items: &str) -> String {
    let items = items.trim_end_matches(',');
    format!(r#"{{"data":{{"type":{type},"cwxid":"wxid_me","wxid":"1@chatroom","processid":"7","{key}":[{items}]}}}}"#)
}

pub(crate) fn contacts() -> String {
    (0..CONTACTS).fold(String::new(), |mut items, n| {
        let (nick, sign) = (format!("nick {n}"), "s".repeat(40));
        write!(
            items,
            r#"{{"wxid":"wxid_{n:08}","nick":"{nick}","asName":"remark {n}","username":"user{n}","sex":"1","#
        )
        .unwrap();
        write!(items, r#""province":"P","city":"C","regionCode":"CN","sign":"{sign}","type":"3","groupId":"0","#)
            .unwrap();
        write!(items, r#""headPic":"http://wx.qlogo.cn/mmhead/ver_1/{n:020}/0"}},"#).unwrap();
        items
    })
}

/// Full rooms, as many as a body has room for.
fn rooms() -> String {
    (0..1900).fold(String::new(), |mut items, n| {
        let members = (0..500).fold(String::new(), |joined, member| format!("{joined}wxid_{n:05}{member:03};"));
        write!(items, r#"{{"wxid":"{n}@chatroom","nick":"room {n}","userLists":"{members}"}},"#).unwrap();
        items
    })
}

/// Posts it, so often; once it was learned from, and everybody has seen it, no more was taken than may be.
#[track_caller]
fn is_bounded(name: &str, body: &[u8], times: usize) -> Daemon {
    let daemon = Daemon::new();
    for _ in 0..times {
        let response = daemon.client().post("/recieve_msg", body);
        assert!([200, 400].contains(&response.status), "{name}: {}", response.text());
    }
    daemon.client().event(&message("wxid_me", "wxid_last", None, "the end"));
    let start = Instant::now();
    while daemon.cli(&["contact", "show", "wxid_last"]).code != 0 {
        assert!(start.elapsed() < PATIENCE, "{name}: not learned from within {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
    let learned = peak(&daemon);
    let lines = run(daemon.wehelp(["events", "--since", "#1"]), None, PATIENCE).exits(0).out.lines().count();
    assert!(lines > times, "{name}: {lines}");
    let shown = peak(&daemon);
    eprintln!("{name}: {} bytes, {learned} MiB once learned, {shown} MiB once shown", body.len());
    assert!(shown <= PEAK_MIB, "{name}: {learned} MiB once learned, {shown} MiB once shown");
    daemon
}

#[test]
fn fifty_thousand_contacts_are_learned_whole_in_bounded_memory() {
    let daemon = is_bounded("contacts", listed(210, "userLists", &contacts()).as_bytes(), 1);
    for n in [0, 1999, 2000, CONTACTS - 1] {
        let contact = daemon.cli(&["contact", "show", &format!("wxid_{n:08}")]).exits(0).line();
        assert_eq!((&contact["remark"], &contact["friend"]), (&format!("remark {n}").into(), &true.into()));
    }
    assert_eq!(daemon.cli(&["contact", "list"]).exits(0).out.lines().count(), CONTACTS + 1);
}

#[test]
fn an_answer_of_fifty_thousand_contacts_is_shown_in_bounded_memory() {
    let daemon = Daemon::unpaced();
    daemon.login("wxid_me", 7);
    let asked = daemon.wehelp(["friend", "list", "--wait=110s"]);
    let asking = std::thread::spawn(move || run(asked, None, PATIENCE));
    eventually("a command", || daemon.client().poll("wxid=wxid_me&pid=7").into_iter().next());
    let list = listed(210, "userLists", &contacts());
    assert_eq!(daemon.client().post("/recieve_msg", list.as_bytes()).status, 200);
    let answer = asking.join().unwrap().exits(0).out;
    assert_eq!(answer.lines().count(), CONTACTS);
    assert!(answer.lines().last().unwrap().contains(&format!("remark {}", CONTACTS - 1)));
    let most = peak(&daemon);
    eprintln!("an answer of {CONTACTS} contacts: {most} MiB");
    assert!(most <= PEAK_MIB, "{most} MiB");
}

#[test]
fn the_shortest_items_take_no_more_memory_than_others() {
    is_bounded("empty", list(210, "userLists", "{}").as_bytes(), 1);
    // Each of these is short enough to be looked at together with the next.
    for (name, r#type) in [("short lists", 210), ("short lists of rooms", 211)] {
        is_bounded(name, listed(r#type, "userLists", &"{},".repeat(10_000)).as_bytes(), 40);
    }
}

#[test]
fn no_body_takes_more_memory_than_may_be() {
    if std::env::var_os("WEHELP_LOAD").is_none() {
        return;
    }
    let said = |message: &[u8]| {
        let head = br#"{"data":{"type":78,"msgType":"49","cwxid":"wxid_me","wxid":"wxid_a","message":""#;
        [head, message, br#""}}"#].concat()
    };
    let times = |part: &[u8]| part.repeat(BODY_BYTES / part.len());
    let packed = |r#type: u32, hex: &str| {
        let hex = String::from_utf8(times(hex.as_bytes())).unwrap();
        format!(r#"{{"data":{{"type":{type},"cwxid":"wxid_me","hex":"{hex}"}}}}"#).into_bytes()
    };
    let contacts = contacts();
    for (name, body) in [
        ("every second byte not UTF-8", said(&times(b"\xff "))),
        ("ids", list(210, "userLists", &format!("\"{}\"", "x".repeat(290))).into_bytes()),
        ("rooms", listed(211, "chatrooms", &rooms()).into_bytes()),
        ("members", listed(77, "userLists", &contacts).into_bytes()),
        ("pictures", listed(95, "userLists", &contacts).into_bytes()),
        ("empty rooms", list(211, "chatrooms", "{}").into_bytes()),
        ("empty members", list(77, "userLists", "{}").into_bytes()),
        ("not UTF-8", times(b"\xff")),
        ("not UTF-8 in JSON", said(&times(b"\xff"))),
        ("not UTF-8, and to be mended", said(&[b"say \"x\" ".to_vec(), times(b"\xff")].concat())),
        ("GB18030", said(&times(b"\xc4\xe3\xba\xc3"))),
        ("to be mended", said(&[b"say \"x\" ".to_vec(), times(b"\\e")].concat())),
        ("quotation marks", said(&times(b"say \"x\" "))),
        ("XML", said(&times(b"<a b='c'>d</a>"))),
        ("hex", packed(97, "0a0b777869645f31")),
        ("hex of one", packed(88, "0a0b777869645f3131313131310a")),
        ("a picture", packed(82, "89504e470d0a1a0a")),
        ("an open list", times(b"[")),
    ] {
        is_bounded(name, &body, 1);
    }
}
