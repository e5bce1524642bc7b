//! Events of the tests as lines: the manual's examples.

use crate::bodies;
use serde_json::Value;
use wehelp::clock::Time;
use wehelp::daemon::line;
use wehelp::protocol::event::{Body, Kind, read_body};
use wehelp::seq::Seq;

const SEQ: Seq = Seq(17);
const TIME: Time = Time::from_millis(1_795_424_400_123);

fn lines() -> Vec<String> {
    let of = |body: Vec<u8>| match read_body(&body) {
        Body::Readable(data) => line::text(SEQ, TIME, &data),
        Body::Unreadable(reason) => line::unparsed_text(SEQ, TIME, &reason, &body),
    };
    let own = bodies::own().into_iter().map(|body| line::own_text(SEQ, TIME, &body).unwrap());
    bodies::callbacks().into_iter().map(of).chain(own).collect()
}

/// The first line of that kind.
pub(super) fn of(kind: Kind) -> Option<String> {
    let is_it = |line: &String| serde_json::from_str::<Value>(line).unwrap()["kind"] == kind.as_str();
    lines().into_iter().find(is_it)
}
