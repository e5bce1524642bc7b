//! What is read from clients, at its worst: time grows with the length, whatever the bytes are.
//!
//! A row compares four times an input with the input itself, four times over: 1 is what grows with the length, 4 is
//! what grows with its square.

use crate::Run;
use crate::table::{Goal, Unit};
use std::time::Instant;
use wehelp::protocol::{event, message, packet};

/// How much longer the long input is.
const LONGER: usize = 4;

/// A kind of input: its name, the one of `n` parts, and what reads it.
type Case = (&'static str, fn(usize) -> String, fn(&str));

const CASES: &[Case] = &[
    ("decode: a list of contacts", contacts, |data| drop(event::decode(data))),
    ("decode: a packet that is all one field's begin", |n| "0A7F".repeat(n), |hex| drop(packet::read(hex))),
    ("decode: a packet of empty fields", |n| "0a00".repeat(n), |hex| drop(packet::read(hex))),
    ("decode: a packet of broken ids", |n| hex(b"wxid_a-", n), |hex| drop(packet::read(hex))),
    ("decode: a packet of ids of rooms", |n| hex(b"a@chatroom", n), |hex| drop(packet::read(hex))),
    ("decode: a packet of line feeds", |n| hex(b"\n", 2 * n), |hex| drop(packet::read(hex))),
    ("decode: markup that nobody closes", |n| "<".repeat(n) + &"<a".repeat(n), read_app),
    ("decode: titles in titles", |n| "<msg><appmsg>".to_owned() + &"<title>".repeat(n), read_app),
    ("decode: a long attribute", |n| format!("<msg title=\"{}\"/>", "a".repeat(10 * n)), read_app),
    ("decode: references", |n| format!("<msg><appmsg><title>{}</title></appmsg></msg>", "&amp;".repeat(n)), read_app),
    ("decode: a template that names a link", template, |text| {
        drop(message::read(10002, text, &message::Around::default()))
    }),
];

/// Each kind of input, short and long.
pub(crate) fn run(run: &mut Run) {
    let parts = if run.smoke { 500 } else { 50_000 };
    for (name, make, read) in CASES {
        let (short, long) = (make(parts), make(parts * LONGER));
        let timed = |input: &str, times: usize| {
            let began = Instant::now();
            (0..times).for_each(|_| read(input));
            began.elapsed().as_secs_f64() * 1e3
        };
        timed(&short, 1);
        let pairs: Vec<_> = (0..run.rounds()).map(|_| (timed(&long, 1), timed(&short, LONGER))).collect();
        run.table.compare(name, Unit::Millis, &pairs, Goal::RatioMax(2.0));
    }
}

fn read_app(text: &str) {
    drop(message::read(49, text, &message::Around::default()));
}

fn contacts(n: usize) -> String {
    let one = r#"{"wxid":"wxid_a","nick":"n","headPic":"http://wx.qlogo.cn/a/0","sex":1}"#;
    format!(r#"{{"type":210,"data":[{}{one}]}}"#, format!("{one},").repeat(n / 10))
}

fn template(n: usize) -> String {
    format!(
        r#"<sysmsg type="sysmsgtemplate"><template>{}</template><link name="a"><plain>{}</plain></link></sysmsg>"#,
        "$a$".repeat(n),
        "x".repeat(n)
    )
}

/// `bytes`, so often, as a client writes a packet.
fn hex(bytes: &[u8], times: usize) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>().repeat(times)
}
