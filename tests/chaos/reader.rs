//! Who reads the log: followers that are cut off and go on, cursors, programs run for each event, forwards' targets.

use crate::fixture::{Run, Running};
use crate::record::{Check, Fact};
use crate::world::{Hand, PATIENCE, World, lock};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The only kind that `--exec` readers take: a process for every event would take all the machine.
pub(crate) const EXEC_KIND: &str = "login";

/// The mark of an event.
pub(crate) fn mark(entry: &Value) -> Option<String> {
    entry["data"]["mark"].as_str().map(str::to_owned)
}

/// What the lines of a stream say, written down as facts of a reader; the last number.
fn note(world: &World, reader: &str, line: &str) -> Option<u64> {
    let Ok(entry) = serde_json::from_str::<Value>(line) else {
        world.recorder.saw(Check::BadAnswer, format!("{reader} reads {line:?}"));
        return None;
    };
    let reader = reader.to_owned();
    if let Some(dropped) = entry.get("dropped") {
        let (from, to) = (dropped["from"].as_u64()?, dropped["to"].as_u64()?);
        world.recorder.add(Fact::Dropped { reader, from, to });
        return Some(to);
    }
    // What has no kind is a mark of the stream's own, or the failure that ended it.
    entry.get("kind")?;
    let seq = entry["seq"].as_u64()?;
    world.recorder.add(Fact::Read { reader, seq, mark: mark(&entry) });
    Some(seq)
}

/// Reads events after a position; HTTP/1.0, so that the body is lines and nothing else. Where it got to.
fn stream(world: &World, reader: &str, after: u64, follow: bool, most: usize) -> Option<u64> {
    let mut socket = UnixStream::connect(&world.socket).ok()?;
    let patience = if follow { Duration::from_millis(400) } else { PATIENCE };
    socket.set_read_timeout(Some(patience)).ok()?;
    let request = format!("GET /v1/events?after={after}&follow={follow} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut lines = BufReader::new(socket);
    let mut line = String::new();
    let mut headers = Vec::new();
    while lines.read_line(&mut line).ok()? > 0 && line != "\r\n" {
        headers.push(std::mem::take(&mut line).to_lowercase());
    }
    if !headers.first()?.contains(" 200 ") {
        return None;
    }
    world.recorder.add(Fact::Began { reader: reader.to_owned(), after: Some(after), again: false, kind: None });
    let mut at = after;
    let told = headers.iter().find_map(|header| header.strip_prefix("wehelp-dropped:")?.trim().split_once('-'));
    if let Some((Ok(from), Ok(to))) = told.map(|(from, to)| (from.parse(), to.parse())) {
        world.recorder.add(Fact::Dropped { reader: reader.to_owned(), from, to });
        at = to;
    }
    for _ in 0..most {
        line.clear();
        // A line without its end was cut off with the connection.
        if !lines.read_line(&mut line).is_ok_and(|count| count > 0 && line.ends_with('\n')) {
            break;
        }
        if !line.trim().is_empty() {
            at = note(world, reader, line.trim()).unwrap_or(at);
        }
    }
    Some(at)
}

fn name(hand: &Hand<'_>, kind: &str) -> String {
    format!("{kind}{}", hand.number)
}

pub(crate) fn go_on(hand: &mut Hand<'_>) {
    let most = hand.rng.usize(1..200);
    let (after, reader) = (hand.after.unwrap_or(0), name(hand, "follower"));
    hand.after = stream(hand.world, &reader, after, true, most).or(hand.after);
}

/// At a quiet moment: reads to the end, and tells where that is.
pub(crate) fn catch_up(hand: &mut Hand<'_>) -> Option<u64> {
    let (after, reader) = (hand.after.unwrap_or(0), name(hand, "follower"));
    hand.after = stream(hand.world, &reader, after, false, usize::MAX).or(hand.after);
    hand.after
}

/// Runs `wehelp events` with a cursor; perhaps kills it. Its lines are facts of a reader that may get again what it was
/// not known to have got.
fn cursor(hand: &mut Hand<'_>, reader: &str, more: &[&str]) {
    let args = [&["events", "--cursor", reader, "--json"], more].concat();
    let mut command = hand.world.wehelp(&args);
    let out = hand.world.folder.join(format!("{reader}.out"));
    let err = hand.world.folder.join(format!("{reader}.err"));
    let file = |path| std::fs::File::create(path).unwrap();
    let child = command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).spawn();
    let mut child = child.unwrap();
    let kill = hand.rng.u8(0..4) == 0;
    let deadline = if kill { Duration::from_millis(hand.rng.u64(5..150)) } else { PATIENCE * 2 };
    let start = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if start.elapsed() > deadline {
            drop(child.kill());
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    if status.is_none() && !kill {
        hand.world.recorder.saw(Check::NoAnswer, format!("wehelp {args:?} does not end"));
    }
    let again = hand.unsure.insert(reader.to_owned(), !status.is_some_and(|status| status.success())) == Some(true);
    hand.world.recorder.add(Fact::Began { reader: reader.to_owned(), after: None, again, kind: None });
    let (said, text) = (whole_lines(&err), whole_lines(&out));
    // What is gone is told on stderr, at the start and whenever retention overtakes the reader: before the line that
    // follows it.
    let told = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?.get("dropped").cloned());
    let told = told.filter_map(|told| Some((told["from"].as_u64()?, told["to"].as_u64()?)));
    let mut told = told.collect::<Vec<_>>().into_iter().peekable();
    let mut tell_up_to = |seq: u64| {
        while let Some((from, to)) = told.next_if(|&(_, to)| to < seq) {
            hand.world.recorder.add(Fact::Dropped { reader: reader.to_owned(), from, to });
        }
    };
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(seq) = serde_json::from_str::<Value>(line).ok().and_then(|entry| entry["seq"].as_u64()) {
            tell_up_to(seq);
        }
        note(hand.world, reader, line);
    }
    tell_up_to(u64::MAX);
}

/// What a program wrote there: one that is killed may leave half a line, and half a character.
fn whole_lines(file: &Path) -> String {
    let mut bytes = std::fs::read(file).unwrap_or_default();
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    String::from_utf8(bytes).unwrap()
}

pub(crate) fn with_cursor(hand: &mut Hand<'_>) {
    let reader = name(hand, "cursor");
    cursor(hand, &reader, &[]);
}

pub(crate) fn move_cursor(hand: &mut Hand<'_>) {
    let reader = name(hand, "moved");
    let to = hand.rng.u64(0..hand.after.unwrap_or(0).max(1) + 1);
    let body = format!("{{\"to\":\"#{to}\"}}");
    let set = hand.world.control("PUT", &format!("/v1/cursors/{reader}"), body.as_bytes());
    if set.is_some_and(|set| set.status == 200) {
        let reader = reader.clone();
        hand.world.recorder.add(Fact::Began { reader, after: Some(to), again: false, kind: None });
        hand.unsure.remove(&name(hand, "moved"));
        cursor(hand, &name(hand, "moved"), &[]);
    }
}

/// `--exec` tells which event it runs for; the file grows by a line for each.
pub(crate) fn with_exec(hand: &mut Hand<'_>) {
    let reader = name(hand, "exec");
    let file = hand.world.folder.join(format!("{reader}.seqs"));
    let script = format!("echo \"$WEHELP_SEQ\" >> '{}'", file.display());
    let args = ["events", "--cursor", &reader, "--cursor-from", "oldest", "--kind", EXEC_KIND];
    let args = [&args[..], &["--self", "--exec", "sh", "-c", &script]].concat();
    let run: Run = hand.world.cli(&args);
    let again = hand.unsure.insert(reader.clone(), run.code != 0) == Some(true);
    let kind = Some(EXEC_KIND);
    hand.world.recorder.add(Fact::Began { reader: reader.clone(), after: None, again, kind });
    let told = whole_lines(&file);
    drop(std::fs::remove_file(&file));
    for seq in told.lines().filter_map(|line| line.parse().ok()) {
        hand.world.recorder.add(Fact::Read { reader: reader.clone(), seq, mark: None });
    }
}

/// `wehelp events -f`, over all that happens to the daemon.
pub(crate) struct Follower {
    running: Running,
    pub(crate) at: u64,
}

impl Follower {
    const READER: &'static str = "events -f";

    pub(crate) fn start(world: &World) -> Self {
        let running = Running::start(world.wehelp(&["events", "-f", "-n", "all", "--json"]));
        let reader = Self::READER.to_owned();
        world.recorder.add(Fact::Began { reader, after: Some(0), again: false, kind: None });
        Self { running, at: 0 }
    }

    /// Takes what has come; in the end until it is at `tail`.
    pub(crate) fn take(&mut self, world: &World, tail: Option<u64>) {
        let start = std::time::Instant::now();
        loop {
            let patience = if tail.is_some() { Duration::from_millis(100) } else { Duration::ZERO };
            match self.running.next_within(patience) {
                Some(line) => self.at = note(world, Self::READER, &line).unwrap_or(self.at),
                None if tail.is_none_or(|tail| self.at >= tail) => return,
                None if start.elapsed() > PATIENCE || !self.running.is_running() => {
                    let (running, said) = (self.running.is_running(), self.running.said());
                    let what =
                        format!("events -f is at #{}, the log at {tail:?}; running: {running}, {said:?}", self.at);
                    world.recorder.saw(Check::ReaderBehind, what);
                    return;
                }
                None => {}
            }
        }
    }
}

/// A forward's target: a web server that remembers what it was posted, and is away at times.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    addr: SocketAddr,
    away: Arc<AtomicBool>,
    /// What has come, in order: where a connection began, and the events.
    posts: Arc<Mutex<Vec<Fact>>>,
    at: u64,
}

impl Target {
    pub(crate) fn open(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target =
            Self { name, addr: listener.local_addr().unwrap(), away: Arc::default(), posts: Arc::default(), at: 0 };
        let (away, posts) = (Arc::clone(&target.away), Arc::clone(&target.posts));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if away.load(Ordering::SeqCst) {
                    continue;
                }
                let (away, posts) = (Arc::clone(&away), Arc::clone(&posts));
                std::thread::spawn(move || serve(stream, name, &away, &posts));
            }
        });
        target
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Takes what has come as facts.
    pub(crate) fn take(&mut self, world: &World, tail: Option<u64>) {
        let start = std::time::Instant::now();
        loop {
            for fact in std::mem::take(&mut *lock(&self.posts)) {
                if let Fact::Read { seq, .. } = &fact {
                    self.at = *seq;
                }
                world.recorder.add(fact);
            }
            if tail.is_none_or(|tail| self.at >= tail) {
                return;
            }
            if start.elapsed() > PATIENCE {
                let what = format!("the forward {} is at #{}, the log at {tail:?}", self.name, self.at);
                world.recorder.saw(Check::ReaderBehind, what);
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn serve(stream: TcpStream, name: &str, away: &AtomicBool, posts: &Mutex<Vec<Fact>>) {
    let mut lines = BufReader::new(stream);
    let mut is_first = true;
    loop {
        let mut headers: HashMap<String, String> = HashMap::new();
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some((key, value)) = line.split_once(':') {
                headers.insert(key.to_lowercase(), value.trim().to_owned());
            }
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        if lines.read_exact(&mut body).is_err() || away.load(Ordering::SeqCst) {
            return;
        }
        let Ok(entry) = serde_json::from_slice::<Value>(&body) else { return };
        if let Some(seq) = entry["seq"].as_u64() {
            let mut posts = lock(posts);
            if std::mem::take(&mut is_first) {
                // What the daemon does not know to have arrived comes again, on a new connection.
                posts.push(Fact::Began { reader: name.to_owned(), after: None, again: true, kind: None });
            }
            posts.push(Fact::Read { reader: name.to_owned(), seq, mark: mark(&entry) });
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if lines.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}
