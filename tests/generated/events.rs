//! Events of the tests as lines: the manual's examples, and what `wehelp api --schema` is held against.

use crate::{bodies, missing};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use wehelp::clock::Time;
use wehelp::daemon::line;
use wehelp::protocol::event::{Body, Kind, read_body};
use wehelp::protocol::schema::{self, Openness};
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

/// The first line of that kind that has no control characters: packed data in examples of the spec is cut, and reads as
/// some.
pub(super) fn of(kind: Kind) -> Option<String> {
    let is_it = |line: &String| serde_json::from_str::<Value>(line).unwrap()["kind"] == kind.as_str();
    lines().into_iter().filter(|line| !line.contains("\\u00")).find(is_it)
}

/// Another's reading of the standard than ours: Python's `jsonschema`.
#[test]
fn the_schema_is_one_and_every_event_of_the_tests_is_as_it_says() {
    const CHECK: &str = "
import json, sys
from jsonschema import Draft202012Validator as Validator
told = json.load(sys.stdin)
Validator.check_schema(told['schema'])
validator = Validator(told['schema'], format_checker=Validator.FORMAT_CHECKER)
for line in told['lines']:
    for error in validator.iter_errors(json.loads(line)):
        print(error.json_path, error.message[:200], line[:2000])
if validator.is_valid({}) or validator.is_valid(dict(json.loads(told['lines'][0]), kind='nonsense')):
    print('anything goes')
";
    let probe = Command::new("python3").args(["-c", "import jsonschema"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return missing::other("no python3 with jsonschema, which reads the schema of events by the standard");
    }
    for openness in [Openness::Open, Openness::Closed] {
        let told = json!({"schema": schema::entry(openness), "lines": lines()}).to_string();
        let mut python = Command::new("python3")
            .args(["-c", CHECK])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        python.stdin.take().unwrap().write_all(told.as_bytes()).unwrap();
        let said = python.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(said.status.success() && said.stdout.is_empty(), "{}{}", text(&said.stdout), text(&said.stderr));
    }
}
