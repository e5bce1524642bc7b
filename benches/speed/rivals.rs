//! What people use today: Redis, beanstalkd, Flask's development server. One that is not installed is left out.

use crate::daemon::{Child, free_address};
use crate::http::{Door, Stream};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A rival is up within this; pip included, where it is needed.
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_for(door: &Door, child: &mut Child) -> Option<()> {
    let started = Instant::now();
    while Stream::connect(door).is_err() {
        if !child.is_running() || started.elapsed() > PATIENCE {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(())
}

/// A Redis that syncs every write before it answers, over a Unix socket as our control door.
#[derive(Debug)]
pub(crate) struct Redis {
    _child: Child,
    pub(crate) socket: PathBuf,
}

impl Redis {
    pub(crate) fn start(dir: &Path) -> Option<Self> {
        let socket = dir.join("r");
        let mut child = Child::start(
            Command::new("redis-server")
                .args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir"])
                .arg(dir)
                .arg("--unixsocket")
                .arg(&socket)
                .stdout(Stdio::null()),
        )
        .ok()?;
        wait_for(&Door::Unix(socket.clone()), &mut child)?;
        Some(Self { _child: child, socket })
    }

    pub(crate) fn door(&self) -> Door {
        Door::Unix(self.socket.clone())
    }
}

/// A Redis command, as bytes to be sent.
pub(crate) fn resp(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A client of a server that answers in lines.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: Stream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Lines {
    pub(crate) fn connect(door: &Door) -> Self {
        Self { stream: Stream::connect(door).unwrap(), buffer: vec![0; 16 * 1024], filled: 0 }
    }

    /// Sends a command and reads its answer of so many lines; returns the first.
    pub(crate) fn ask(&mut self, command: &[u8], lines: usize) -> io::Result<String> {
        self.stream.write_all(command)?;
        loop {
            let text = &self.buffer[..self.filled];
            let mut ends = text.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at);
            let first = ends.next();
            let failed = first.is_some() && matches!(text[0], b'-' | b'N' | b'T' | b'O' | b'B' | b'E');
            if let Some(first) = first
                && (failed || lines == 1 || ends.nth(lines - 2).is_some())
            {
                let line = String::from_utf8_lossy(text[..first].trim_ascii_end()).into_owned();
                self.filled = 0;
                return if failed { Err(io::Error::other(line)) } else { Ok(line) };
            }
            let n = self.stream.read(&mut self.buffer[self.filled..])?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.filled += n;
        }
    }
}

/// A beanstalkd that syncs every write before it answers.
#[derive(Debug)]
pub(crate) struct Beanstalkd {
    _child: Child,
    pub(crate) door: Door,
}

impl Beanstalkd {
    pub(crate) fn start(dir: &Path) -> Option<Self> {
        let address = free_address();
        let mut child = Child::start(
            Command::new("beanstalkd")
                .args(["-f0", "-l", "127.0.0.1", "-p", &address.port().to_string(), "-b"])
                .arg(dir)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
        .ok()?;
        let door = Door::Tcp(address);
        wait_for(&door, &mut child)?;
        Some(Self { _child: child, door })
    }
}

/// Flask's development server, doing what the maker's demo does: parse, append to a text file, answer `[]`.
#[derive(Debug)]
pub(crate) struct Flask {
    pub(crate) child: Child,
    pub(crate) door: Door,
}

const FLASK_APP: &str = r#"
import json, sys
from flask import Flask, request
app = Flask(__name__)

@app.route("/recieve_msg", methods=["POST"])
def recieve_msg():
    data = json.loads(request.get_data())
    with open(sys.argv[1], "a", encoding="utf-8") as out:
        out.write(json.dumps(data, ensure_ascii=False) + "\n")
    return "[]"

app.run(host="127.0.0.1", port=int(sys.argv[2]))
"#;

impl Flask {
    pub(crate) fn start(dir: &Path) -> Option<Self> {
        let python = python_with_flask()?;
        let address: SocketAddr = free_address();
        let app = dir.join("app.py");
        std::fs::write(&app, FLASK_APP).unwrap();
        let mut child = Child::start(
            Command::new(python)
                .arg(app)
                .arg(dir.join("events.txt"))
                .arg(address.port().to_string())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
        .ok()?;
        let door = Door::Tcp(address);
        wait_for(&door, &mut child)?;
        Some(Self { child, door })
    }
}

/// A Python that has Flask: the system's, else one of a virtual environment that is made here once.
fn python_with_flask() -> Option<PathBuf> {
    let runs = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let has_flask = |python: &Path| runs(Command::new(python).args(["-c", "import flask"]));
    let ours = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flask");
    let in_ours = ours.join("bin/python");
    if let Some(found) = [Path::new("python3"), &in_ours].into_iter().find(|python| has_flask(python)) {
        return Some(found.to_owned());
    }
    let made = runs(Command::new("python3").args(["-m", "venv"]).arg(&ours))
        && runs(Command::new(&in_ours).args(["-m", "pip", "install", "--quiet", "flask"]));
    made.then_some(in_ours)
}
