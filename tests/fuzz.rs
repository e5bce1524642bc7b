//! Fuzzing on the stable toolchain: seeded mutations of what clients and people send, run against everything that reads it.
//!
//! `cargo test` runs a few seconds with a seed of its own, always the same, so that it never fails by luck.
//! `WEHELP_FUZZ_SECONDS=600 cargo test --release --test fuzz` runs that long with a random one and larger inputs; a
//! failure prints the seed (`WEHELP_FUZZ_SEED` takes it), and leaves the input in the target folder. What was found
//! belongs into `tests/fixtures/fuzz/TARGET/`: everything there is run as it stands before it is mutated.
//!
//! Beside "no panic" each target holds its reader to what it promises: valid JSON with every key, bounded output, an
//! equal value when read again. Time is bounded for every input, so a quadratic reader shows as well.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and says aloud what it found")]

use fastrand::Rng;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wehelp::clock::{self, Bare, Time};
use wehelp::config::{self, Config};
use wehelp::control::{DirectoryQuery, EventsQuery, QueueQuery, ResolveQuery, WaitQuery};
use wehelp::daemon::line;
use wehelp::protocol::command::{APIS, Command, WIRE_BYTES_MAX, Wire};
use wehelp::protocol::event::{self, Body};
use wehelp::protocol::id::{Wxid, is_reported};
use wehelp::protocol::schema::{self, Openness};
use wehelp::protocol::{answer, contact, message, name, packet};
use wehelp::seq::Seq;

#[path = "schema/bodies.rs"]
mod bodies;
#[path = "schema/validator.rs"]
mod validator;

/// Mutated inputs a target in the normal suite: a second or two, unoptimised.
const CASES: u64 = 1500;
/// The longest input there, bytes: enough for a quadratic reader to be noticed.
const BYTES_MAX: usize = 64 * 1024;
/// The longest input of a long run, bytes.
const LONG_BYTES_MAX: usize = 1024 * 1024;
/// How much of a processor one input may take, unoptimised: a linear reader needs a tenth of it for the longest.
const CASE_TIME_MAX: Duration = Duration::from_secs(5);

/// What is put in besides bytes: the words of the protocol and the beginnings and ends of everything nested.
const TOKENS: &[&str] = &[
    "\"data\":",
    "{\"data\":",
    "\"type\":",
    "\"code\":401",
    "\"msgType\":\"",
    "\"message\":\"",
    "\"hex\":\"",
    "\"userLists\":[",
    "\"chatrooms\":[",
    "\"cwxid\":\"null\"",
    "\"processid\":\"7768\"",
    "\"wxid\":\"1@chatroom\"",
    "\"formWxid\":\"wxid_a\"",
    "\"myMsg\":1",
    "\"xml\":\"",
    "\"info\":\"",
    "(null)",
    "None",
    "null",
    "true",
    "1e999",
    "-0",
    "12345678901234567890123",
    "\\ud83d",
    "\\u0000",
    "\\\"",
    "\\",
    "\"",
    "//",
    "// x\n",
    "/*",
    ",",
    ",,",
    ":",
    "[",
    "]",
    "{",
    "}",
    "[[",
    "{\"a\":",
    "\n",
    "\r\n",
    "\t",
    "\u{0}",
    "\u{7}",
    "^G",
    "\u{feff}",
    "\u{2028}",
    "你好",
    "😀",
    "\u{202e}",
    "<",
    ">",
    "</",
    "/>",
    "<msg ",
    "<msg>",
    "<appmsg>",
    "</appmsg>",
    "<title>",
    "<type>57</type>",
    "<refermsg>",
    "<content>",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<!DOCTYPE a [",
    "<?xml ",
    "<sysmsg type=\"sysmsgtemplate\">",
    "<template>",
    "$a$",
    "<link name=\"a\">",
    "<member>",
    "&",
    "&amp;",
    "&#x0;",
    "&#1114112;",
    "&lt;",
    "=",
    "='",
    "a=b ",
    "encryptusername=\"v1_a@stranger\"",
    "wxid_a:\n",
    "wxid_",
    "gh_",
    "@chatroom",
    "@stranger",
    "v1_",
    "v2_",
    "http://wx.qlogo.cn/",
    "0A",
    "0a7f",
    "12FFFFFFFF0F",
    "0x",
    "ff",
    "PD94",
    "====",
    "-_",
    "%",
    "%00",
    "&a=",
    "+",
    "since=",
    "follow=",
    "kind=",
    "lines=",
    "[http]\n",
    "[[http]]",
    "listen = ",
    "\"\"\"",
    "'''",
    "= 99999999999999999999\n",
    "#",
    "d",
    "h",
    "ago",
    "-",
    "9999",
    "T",
    "Z",
    ".",
    "1",
    "0",
    " ",
];

/// A reader, what it is started from, and what it promises. It panics when that does not hold.
struct Target {
    name: &'static str,
    /// Taken besides the files of that name.
    seeds: fn() -> Vec<Vec<u8>>,
    check: fn(&[u8]),
}

fn fixtures(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The commands of the spec.
fn commands() -> Vec<Vec<u8>> {
    let examples = fixtures("spec").into_iter().map(|(_, bytes)| bytes);
    examples.filter(|bytes| bytes.trim_ascii_start().starts_with(b"{\"api\"")).collect()
}

/// The events of the fixtures.
fn events() -> Vec<Vec<u8>> {
    bodies::callbacks().into_iter().chain(bodies::own()).collect()
}

/// Names as clients report them.
fn names() -> Vec<Vec<u8>> {
    let names = [
        "<span class=\"emoji emoji1f338\"></span>小Y",
        "清华&amp;黑马 &lt;3",
        "José",
        "ﬁ ＡＢ\u{200b}ß",
        "李\u{3000}雷",
    ];
    names.map(|name| name.as_bytes().to_vec()).to_vec()
}

/// The messages of the fixtures.
fn messages() -> Vec<Vec<u8>> {
    let of =
        |body: Vec<u8>| Some(serde_json::from_slice::<Value>(&body).ok()?["message"].as_str()?.as_bytes().to_vec());
    bodies::callbacks().into_iter().filter_map(of).collect()
}

impl Target {
    fn fuzz(&self) {
        let seconds = std::env::var("WEHELP_FUZZ_SECONDS").ok().map(|s| s.parse().expect("a number of seconds"));
        let seed = std::env::var("WEHELP_FUZZ_SEED").ok().map(|s| s.parse().expect("a seed as it was printed"));
        let seed = seed.unwrap_or_else(|| if seconds.is_some() { fastrand::u64(..) } else { 1 });
        let mut corpus = (self.seeds)();
        for (path, bytes) in fixtures(&format!("fuzz/{}", self.name)) {
            self.run(&bytes, || path.display().to_string());
            corpus.push(bytes);
        }
        assert!(!corpus.is_empty(), "{} has nothing to start from", self.name);
        let mut mutator = Mutator { rng: Rng::with_seed(seed), bytes_max: BYTES_MAX };
        let now = scratch(&format!("{}.now", self.name));
        let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut case = 0;
        while end.map_or(case < CASES, |end| Instant::now() < end) {
            mutator.bytes_max = if end.is_some() && case % 64 == 0 { LONG_BYTES_MAX } else { BYTES_MAX };
            let bytes = mutator.next(&corpus);
            if end.is_some() {
                // Left behind when the process dies or hangs.
                fs::write(&now, &bytes).unwrap();
            }
            self.run(&bytes, || format!("WEHELP_FUZZ_SEED={seed}, case {case}"));
            case += 1;
        }
        if end.is_some() {
            eprintln!("{}: {case} inputs, seed {seed}", self.name);
            drop(fs::remove_file(now));
        }
    }

    fn run(&self, bytes: &[u8], whence: impl Fn() -> String) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let started = processor_time();
            (self.check)(bytes);
            let took = processor_time().saturating_sub(started);
            assert!(took <= CASE_TIME_MAX, "{} bytes took {took:?}", bytes.len());
        }));
        if let Err(panic) = outcome {
            let kept = scratch(&format!("{}.found", self.name));
            fs::write(&kept, bytes).unwrap();
            eprintln!("{}: {} fails; it is in {}", self.name, whence(), kept.display());
            resume_unwind(panic);
        }
    }
}

/// What this thread has had of a processor: unlike the time of day, it says nothing of what else the machine does.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"))
}

struct Mutator {
    rng: Rng,
    bytes_max: usize,
}

impl Mutator {
    fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.rng.choice(corpus).cloned().unwrap_or_default();
        // Mostly few, so that most of a case still makes sense.
        for _ in 0..1 + self.rng.u32(..).trailing_zeros() {
            self.mutate(&mut bytes, corpus);
            bytes.truncate(self.bytes_max);
        }
        bytes
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let (from, to) = self.range(bytes.len());
        let token = self.rng.choice(TOKENS).copied().unwrap_or_default().as_bytes();
        match self.rng.u8(..12) {
            0 => bytes[from..to].iter_mut().take(1).for_each(|byte| *byte ^= 1 << self.rng.u8(..8)),
            1 => bytes[from..to].iter_mut().take(4).for_each(|byte| *byte = self.rng.u8(..)),
            2 | 3 => drop(bytes.splice(from..from, token.iter().copied())),
            4 => drop(bytes.splice(from..to, token.iter().copied())),
            5 => drop(bytes.drain(from..to)),
            6 => bytes.truncate(from),
            7 => {
                let piece = bytes[from..to].to_vec();
                self.repeat(bytes, to, &piece);
            }
            8 => self.repeat(bytes, from, token),
            9 => {
                let other = self.rng.choice(corpus).cloned().unwrap_or_default();
                let (start, end) = self.range(other.len());
                drop(bytes.splice(from..to, other[start..end].iter().copied()));
            }
            10 => {
                let pair = [(b'{', b'}'), (b'[', b']'), (b'"', b'"'), (b'<', b'>'), (b'\'', b'\'')];
                let (open, close) = *self.rng.choice(&pair).expect("there are some");
                bytes.insert(to, close);
                bytes.insert(from, open);
            }
            // A number in the text becomes another one.
            _ => {
                if let Some(at) = bytes[from..].iter().position(u8::is_ascii_digit).map(|at| from + at) {
                    let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    let number: i128 = match self.rng.u8(..5) {
                        0 => self.rng.i8(..).into(),
                        1 => self.rng.i64(..).into(),
                        2 => self.rng.i128(..),
                        3 => (1 << self.rng.u32(..100)) - 1,
                        _ => *self
                            .rng
                            .choice(&[66, 67, 69, 71, 77, 78, 81, 82, 88, 95, 96, 97, 210, 211, 401])
                            .unwrap_or(&1),
                    };
                    drop(bytes.splice(at..at + digits, number.to_string().into_bytes()));
                }
            }
        }
    }

    /// A range within `len`, mostly short.
    fn range(&mut self, len: usize) -> (usize, usize) {
        let from = self.rng.usize(..=len);
        let most = if self.rng.bool() { 16 } else { len };
        (from, from + self.rng.usize(..=most.min(len - from)))
    }

    fn repeat(&mut self, bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
        let most = self.bytes_max.saturating_sub(bytes.len()) / piece.len().max(1);
        let times = if self.rng.u8(..16) == 0 { most } else { self.rng.usize(..=most.min(70)) };
        drop(bytes.splice(at..at, piece.repeat(times)));
    }
}

/// A line for followers: every key of contract 7 and no other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they can be read is what is checked")]
struct Line<'a> {
    seq: u64,
    time: Time,
    kind: &'a str,
    r#type: Option<i64>,
    account: Option<String>,
    pid: Option<u64>,
    chat: Option<String>,
    from: Option<String>,
    #[serde(rename = "self")]
    is_self: Option<bool>,
    nick: Option<String>,
    text: Option<String>,
    from_name: Option<String>,
    mentioned: Option<bool>,
    command: Option<u64>,
    repeat_of: Option<u64>,
    decoded: Map<String, Value>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// By how much a line may be longer than what it was made of: the keys of a contact are far longer than its shortest
/// form on the wire.
const GROWTH_MAX: usize = 120;

thread_local! {
    /// What a line is held against, with no key more.
    static SCHEMA: Value = schema::entry(Openness::Closed);
}

fn check_line(line: &str, bytes: usize) {
    assert!(!line.contains(['\n', '\r']), "{line}");
    assert!(line.len() <= 4096 + bytes * GROWTH_MAX, "{bytes} bytes became {}", line.len());
    let read: Line<'_> = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    // What the client sent may hold numbers that no value does.
    let derived = format!("{}{{}}}}", &line[..line.len() - read.data.get().len() - 1]);
    let value: Value = serde_json::from_str(&derived).unwrap_or_else(|e| panic!("{e}: {derived}"));
    SCHEMA.with(|schema| validator::check(schema, &value)).unwrap_or_else(|why| panic!("{why}\nin {line}"));
    assert!(read.data.get().starts_with('{') && event::Kind::from_name(read.kind).is_some(), "{line}");
    let keys = r#"{"seq":7,"time":"1970-01-01T00:00:00.000Z","kind":""#;
    assert!(line.starts_with(keys), "{line}");
}

fn check_callback(bytes: &[u8]) {
    let (seq, time) = (Seq(7), Time::from_millis(0));
    // A body alone makes no event of the daemon; one that is marked may have any.
    if let Some(own) = line::own_text(seq, time, bytes) {
        check_line(&own, bytes.len());
    }
    let data = match event::read_body(bytes) {
        Body::Readable(data) => data,
        Body::Unreadable(reason) => {
            assert!(!reason.is_empty() && reason.len() < 200 && !reason.contains('\n'), "{reason}");
            return check_line(&line::unparsed_text(seq, time, &reason, bytes), bytes.len());
        }
    };
    let strict = std::str::from_utf8(bytes).ok().filter(|text| serde_json::from_str::<&RawValue>(text).is_ok());
    if let Some(text) = strict.filter(|text| !text.contains(r#""{"#)) {
        assert!(text.contains(&*data), "{data}");
    }
    let (outline, event) = (event::outline(&data), event::decode(&data));
    assert_eq!(
        (outline.r#type, outline.kind, &outline.account, outline.pid, &outline.chat, &outline.from, outline.is_self),
        (event.r#type, Some(event.kind), &event.account, event.pid, &event.chat, &event.from, event.is_self)
    );
    for id in [&event.account, &event.chat, &event.from].into_iter().flatten() {
        assert!(is_reported(id), "{id:?}");
    }
    check_line(&line::text(seq, time, &data), bytes.len());
    let names = |_: &str, _: &str| Some(["小满", "@", "a"].map(str::to_owned).to_vec());
    let is_said = event::mentions(&event, names).is_none_or(|_| event.kind.is_said());
    assert!(is_said, "what nobody says means nobody: {data}");
    for row in APIS {
        let wxid = if row.api == "getChatRoomUserLists" { "1@chatroom" } else { "wxid_a" };
        let asks = json!({"api": row.api, "wxid": wxid, "chatroom": "1@chatroom", "wxidLists": ["wxid_a", "b"],
            "text": "x", "imgPath": "p", "filePath": "p", "title": "t", "url": "u", "name": "n", "v1": "a", "v2": "b"});
        let asks = Wire::from_json(&asks.to_string()).unwrap();
        let asks = asks.check().unwrap().unwrap();
        if answer::bearing(asks, &event).is_some() {
            drop(answer::items(asks, event.clone()));
        }
    }
}

fn check_message(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for msg_type in [1, 3, 34, 37, 42, 43, 47, 48, 49, 50, 51, 10000, 10002] {
        let around = message::Around { account: Some("wxid_me"), chat: Some("1@chatroom"), speaker: Some("wxid_a") };
        let read = message::read(msg_type, &text, &around);
        let decoded = serde_json::to_string(&read.decoded).unwrap();
        assert!(decoded.starts_with('{') && decoded.len() <= 4096 + text.len() * GROWTH_MAX);
        if let Some(template) = read.decoded.template() {
            let filled = message::with_names(template, |_| Some("小满".to_owned()));
            assert!(filled.len() <= 2 * template.len() + 6, "{template}");
        }
        assert!(read.text.is_none_or(|read| !read.is_empty() || text.len() < 20), "an empty text is none: {text}");
    }
}

fn check_name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (plain, folded) = (name::plain(&text), name::folded(&text));
    assert!(plain.len() <= text.len(), "its web form is the longer one: {text}");
    assert_eq!(name::folded(&folded), folded, "{text}");
    drop(name::folded(&plain));
}

fn check_packet(bytes: &[u8]) {
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for text in [&*String::from_utf8_lossy(bytes), &hex] {
        let read = packet::read(text);
        let all = [&read.wxids, &read.avatars, &read.strings];
        assert!(
            all.iter().all(|list| list.iter().map(String::len).sum::<usize>() <= text.len()),
            "it holds what was there"
        );
        for id in &read.wxids {
            assert!(is_reported(id), "{id:?}");
        }
        let tickets = [&read.v1, &read.v2];
        assert!(tickets.into_iter().flatten().all(|ticket| ticket.starts_with('v') && ticket.contains('_')));
        assert!(read.v1.is_none() || packet::contains_v1(text), "{read:?}");
    }
}

fn check_base64(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for base64 in [text.clone().into_owned(), data_encoding::BASE64.encode(bytes)] {
        let info = serde_json::to_value(contact::room_info(&base64)).unwrap();
        assert!(
            ["xml", "wxid", "nick", "avatar", "avatar_small", "owner", "notice", "members"]
                .iter()
                .all(|k| info.get(k).is_some())
        );
        assert!(info.to_string().len() <= 4096 + base64.len() * GROWTH_MAX);
        let room = json!({"xml": base64, "userLists": text, "count": text, "roomLord": text});
        drop(event::decode(&json!({"type": 211, "chatrooms": [room]}).to_string()));
    }
}

fn check_list(bytes: &[u8]) {
    let Ok(list) = serde_json::from_slice::<&RawValue>(bytes) else { return };
    for (r#type, key, size) in [(210, "contacts", 13), (211, "rooms", 7)] {
        let decoded = event::decode(&format!(r#"{{"type":{type},"userLists":{list}}}"#)).decoded;
        let decoded = serde_json::to_value(decoded).unwrap();
        for item in decoded[key].as_array().unwrap() {
            assert_eq!(item.as_object().unwrap().len(), size);
        }
    }
}

fn check_command(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let said = Command::SendText { wxid: Wxid::parse("filehelper").unwrap(), text: text.clone().into_owned() };
    if let Ok(wire) = said.to_wire(Some(3)) {
        let read: Value = serde_json::from_str(wire.as_str()).unwrap();
        assert_eq!((&read["text"], &read["time"]), (&json!(text), &json!(3)));
        check_wire(&wire);
    }
    let Ok(wire) = Wire::from_json(&text) else { return };
    let as_value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(as_value(&text), as_value(wire.as_str()));
    check_wire(&wire);
    if let Ok(timed) = wire.with_time(u64::MAX) {
        check_wire(&timed);
    }
}

fn check_wire(wire: &Wire) {
    let ascii = wire.as_str();
    assert!(ascii.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && ascii.len() <= WIRE_BYTES_MAX, "{ascii}");
    assert!(!wire.api().is_empty());
    assert_eq!(&Wire::from_json(ascii).unwrap(), wire);
    if let Some(command) = wire.command() {
        let again = command.to_wire(wire.seconds()).unwrap();
        assert_eq!((again.command(), again.seconds()), (Some(command), wire.seconds()));
    }
}

fn check_query(bytes: &[u8]) {
    fn same<Q: DeserializeOwned + serde::Serialize>(bytes: &[u8]) {
        let Ok(query) = serde_urlencoded::from_bytes::<Q>(bytes) else { return };
        let text = serde_urlencoded::to_string(&query).unwrap();
        let again: Q = serde_urlencoded::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(serde_json::to_value(again).unwrap(), serde_json::to_value(query).unwrap());
    }
    same::<EventsQuery>(bytes);
    same::<QueueQuery>(bytes);
    same::<DirectoryQuery>(bytes);
    same::<ResolveQuery>(bytes);
    same::<WaitQuery>(bytes);
}

fn check_config(bytes: &[u8]) {
    match Config::parse(&String::from_utf8_lossy(bytes)) {
        Ok(config) => assert!(config.queue.batch > 0 && !config.http.listen.is_empty()),
        Err(message) => {
            assert!(!message.is_empty() && message.len() < 2048 && !message.contains(char::is_control), "{message}");
        }
    }
}

fn check_time(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let now = Time::from_millis(1_795_510_800_123);
    for bare in [Bare::Ago, Bare::Ahead] {
        if let Ok(time) = Time::parse(&text, now, bare) {
            let json = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), time, "{text}");
            assert!(!time.local().is_empty());
        }
    }
    if let Ok(duration) = clock::duration(&text) {
        assert!(duration <= Duration::from_secs(100 * 366 * 86_400), "{text}");
    }
    if let Ok(size) = config::parse_bytes(&text) {
        assert!(text.bytes().any(|byte| byte.is_ascii_digit()), "{text} is {size}");
    }
}

macro_rules! targets {
    ($($test:ident: $name:literal $seeds:expr, $check:expr;)*) => { $(
        #[test]
        fn $test() {
            Target { name: $name, seeds: $seeds, check: $check }.fuzz();
        }
    )* };
}

targets! {
    any_body_becomes_one_line_with_every_key: "callback" events, check_callback;
    any_message_is_read: "message" messages, check_message;
    any_name_is_read_and_compared: "name" names, check_name;
    any_packet_is_read: "packet" Vec::new, check_packet;
    any_packed_xml_is_read: "base64" Vec::new, check_base64;
    any_list_is_read: "list" Vec::new, check_list;
    any_command_goes_as_ascii_and_keeps_its_value: "command" commands, check_command;
    any_query_survives_being_written_and_read: "query" Vec::new, check_query;
    any_settings_are_taken_or_refused_with_a_sentence: "config" || vec![config::ANNOTATED.into()], check_config;
    any_time_is_written_as_it_is_read: "time" Vec::new, check_time;
}
