//! Contract 2, browsers are not clients: a real Chromium, led to hostile pages, neither drains the queue nor injects an
//! event.
//!
//! The pages try every way that a page, or the browser for it, can ask a server, against every spelling of an address
//! that leads here, and against the pages' own server as well: only a way that is seen to arrive there proves anything.

use crate::fixture::{Daemon, Recipe, clean, eventually};
use crate::missing::is_installed;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A browser on a busy machine has so long to start and to ask.
const PATIENCE: Duration = Duration::from_secs(90);

/// Ways that every Chromium takes: it is seen to ask the hostile server so.
const WAYS: &[&str] = &[
    "fetch",
    "fetch-keepalive",
    "fetch-post",
    "xhr",
    "beacon",
    "img",
    "img-no-referrer",
    "css-image",
    "style",
    "script",
    "module",
    "iframe",
    "iframe-no-referrer",
    "frame-meta",
    "object",
    "embed",
    "eventsource",
    "form-get",
    "form-post",
    "form-text",
    "link-prefetch",
    "link-preload",
    "link-icon",
    "worker",
    "popup",
    "websocket",
    "navigation",
];

/// The hostile page. `BASES` are the addresses that it tries, `HERE` is its own server.
const PAGE: &str = r#"<!doctype html><meta charset=utf-8><title>hostile</title><body><script>
const bases = BASES, body = '{"data":{"type":90,"processid":1,"cwxid":"wxid_evil"}}';
const add = (name, set, to) => { const e = document.createElement(name); Object.assign(e, set); (to || document.body).append(e); return e };
const quietly = deed => { try { const done = deed(); if (done && done.catch) done.catch(() => 0) } catch (e) {} };
const form = (url, method, enctype, n, name, value) => {
  add('iframe', {name: n});
  const f = add('form', {action: url, method, target: n, enctype: enctype || 'application/x-www-form-urlencoded'});
  add('input', {name: name || '{"data":{"type":90,"x":"', value: value || '"}}'}, f);
  f.submit();
};
bases.forEach((base, b) => {
  const get = way => base + '/send_msg?w=' + way, post = way => base + '/recieve_msg?w=' + way;
  const ways = {
    'fetch': () => fetch(get('fetch'), {mode: 'no-cors', referrerPolicy: 'no-referrer'}),
    'fetch-keepalive': () => fetch(get('fetch-keepalive'), {mode: 'no-cors', keepalive: true}),
    'fetch-post': () => fetch(post('fetch-post'), {mode: 'no-cors', method: 'POST', body}),
    'xhr': () => { const x = new XMLHttpRequest(); x.open('POST', post('xhr')); x.send(body) },
    'beacon': () => navigator.sendBeacon(post('beacon'), body),
    'img': () => add('img', {src: get('img')}),
    'img-no-referrer': () => add('img', {referrerPolicy: 'no-referrer', src: get('img-no-referrer')}),
    'css-image': () => add('div', {style: 'width:9px;height:9px;background:url("' + get('css-image') + '")'}),
    'style': () => add('link', {rel: 'stylesheet', href: get('style')}),
    'script': () => add('script', {src: get('script'), referrerPolicy: 'no-referrer'}),
    'module': () => add('script', {type: 'module', src: get('module')}),
    'iframe': () => add('iframe', {src: get('iframe')}),
    'iframe-no-referrer': () => add('iframe', {referrerPolicy: 'no-referrer', src: get('iframe-no-referrer')}),
    'frame-meta': () => add('iframe', {srcdoc: '<meta http-equiv=refresh content="0;url=' + get('frame-meta') + '">'}),
    'object': () => add('object', {data: get('object')}),
    'embed': () => add('embed', {src: get('embed')}),
    'eventsource': () => new EventSource(get('eventsource')),
    'form-get': () => form(get(''), 'get', '', 'g' + b, 'w', 'form-get'),
    'form-post': () => form(post('form-post'), 'post', '', 'p' + b),
    'form-text': () => form(post('form-text'), 'post', 'text/plain', 't' + b),
    'link-prefetch': () => add('link', {rel: 'prefetch', href: get('link-prefetch')}, document.head),
    'link-preload': () => add('link', {rel: 'preload', as: 'image', href: get('link-preload')}, document.head),
    'link-icon': () => fetch(get('link-icon'), {mode: 'no-cors', cache: 'reload'}),
    'worker': () => new Worker(URL.createObjectURL(new Blob(['fetch("' + get('worker') + '", {mode: "no-cors"})']))),
    'popup': () => window.open(get('popup')),
    'websocket': () => new WebSocket(get('websocket').replace('http', 'ws')),
  };
  Object.entries(ways).forEach(([way, deed]) => quietly(deed));
});
// The address bar's way, last of all: the page is gone then.
setTimeout(() => { location = 'HERE/go' }, 3000);
</script>"#;

/// A page that lets the browser itself ask ahead. It is of its own: with much else on a page, a browser does not.
const AHEAD: &str = r#"<!doctype html><meta charset=utf-8><title>hostile</title><script type=speculationrules>
{"prefetch": [{"source": "list", "eagerness": "immediate", "referrer_policy": "no-referrer", "urls": PREFETCH}],
 "prerender": [{"source": "list", "eagerness": "immediate", "urls": PRERENDER}]}
</script>"#;

/// A server that serves hostile pages and remembers what it was asked.
#[derive(Debug)]
struct Hostile {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hostile {
    /// `page` makes the page for a path, given the server's own port; anything else is answered with `[]`.
    fn start(page: impl Fn(&str, u16) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, page) = (Arc::clone(&asked), Arc::new(page));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, page) = (Arc::clone(&log), Arc::clone(&page));
                std::thread::spawn(move || drop(answer(&stream, port, &log, &*page)));
            }
        });
        Self { port, asked }
    }

    /// Waits until the browser was seen to try all of these.
    fn waits_for(&self, ways: &[&str]) {
        let start = Instant::now();
        loop {
            let seen = self.ways();
            let missing: Vec<_> = ways.iter().filter(|way| !seen.contains(**way)).collect();
            if missing.is_empty() {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "Chromium did not try {missing:?}, but {seen:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The ways that were seen.
    fn ways(&self) -> BTreeSet<String> {
        let asked = self.asked.lock().unwrap();
        let way = |target: &String| Some(target.split_once("w=")?.1.split('&').next()?.to_owned());
        asked.iter().filter_map(way).collect()
    }
}

fn answer(
    stream: &TcpStream,
    port: u16,
    log: &Mutex<Vec<String>>,
    page: &dyn Fn(&str, u16) -> Option<String>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(crate::client::PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        line.clear();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    log.lock().unwrap().push(target.clone());
    let body = page(&target, port);
    let kind = if body.is_some() { "text/html" } else { "application/json" };
    let body = body.unwrap_or_else(|| "[]".to_owned());
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\nSupports-Loading-Mode: \
         credentialed-prerender\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A headless Chromium at a page; killed with all its children when dropped.
struct Browser {
    child: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn open(url: &str) -> Self {
        let profile = tempfile::Builder::new().prefix("wh").tempdir_in("/tmp").unwrap();
        let mut command = clean("chromium", profile.path());
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-component-update",
            "--disable-sync",
            "--disable-popup-blocking",
            "--autoplay-policy=no-user-gesture-required",
            "--remote-debugging-port=0",
            // Every name that a page has leads here, and its maker's servers are not asked for anything.
            "--host-resolver-rules=MAP *.example 127.0.0.1, MAP *.com ~NOTFOUND, MAP *.net ~NOTFOUND",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().join("profile").display())).arg(url);
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), _profile: profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        drop(self.child.wait());
    }
}

/// Every spelling of an address that leads to a port of this machine, and two names that pages can have.
fn spellings(port: u16) -> Vec<String> {
    let hosts = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "[::]",
        "127.1",
        "2130706433",
        "0x7f000001",
        "127.0.0.1.",
        "localhost.",
        "evil.example",
        "pc.evil.example",
    ];
    hosts.iter().map(|host| format!("http://{host}:{port}")).collect()
}

fn is_untouched(daemon: &Daemon, id: u64) {
    assert_eq!(daemon.show(id)["state"], "ready", "{}", daemon.show(id));
    assert_eq!(daemon.show(id)["attempts"], 0, "{}", daemon.show(id));
    assert_eq!(daemon.status()["events"]["count"], 0, "{}", daemon.status()["events"]);
}

#[test]
fn no_page_in_a_real_chromium_drains_the_queue_or_injects_an_event() {
    if !is_installed("chromium") {
        return;
    }
    let daemon = Recipe::default().listen("[::]:0").start();
    let id = daemon.queue_text("secret");
    let door = daemon.port();
    let hostile = Hostile::start(move |target, here| {
        let list = |own: &str, path: &str| {
            // Its own server last: once that was asked, the others were.
            let own = format!("http://{own}:{here}");
            let bases: Vec<_> = spellings(door).into_iter().chain([own]).map(|base| base + path).collect();
            serde_json::to_string(&bases).unwrap()
        };
        let page = |own: &str| PAGE.replace("BASES", &list(own, "")).replace("HERE", &format!("http://{own}:{here}"));
        let ahead = |own: &str| {
            let prefetched = AHEAD.replace("PREFETCH", &list(own, "/send_msg?w=speculation-prefetch"));
            prefetched.replace("PRERENDER", &list(own, "/send_msg?w=speculation-prerender"))
        };
        match target {
            "/other-site" => Some(page("evil.example")),
            "/same-site" => Some(page("127.0.0.1")),
            "/other-site/ahead" => Some(ahead("127.0.0.1")),
            "/same-site/ahead" => Some(ahead("127.0.0.1")),
            // What a page can do last of all: lead the person who looks at it to the address.
            "/go" => Some(format!(
                "<script>fetch('/send_msg?w=navigation').then(() => {{ location = 'http://127.0.0.1:{door}/send_msg' }})</script>"
            )),
            _ => None,
        }
    });
    for (own, page, ways) in [
        ("evil.example", "/other-site", WAYS),
        ("127.0.0.1", "/same-site", WAYS),
        ("evil.example", "/other-site/ahead", &["speculation-prefetch", "speculation-prerender"]),
        ("127.0.0.1", "/same-site/ahead", &["speculation-prefetch", "speculation-prerender"]),
    ] {
        let refused = || daemon.status()["http"]["rejected"]["browser-refused"].as_u64().unwrap_or(0);
        let before = refused();
        let browser = Browser::open(&format!("http://{own}:{}{page}", hostile.port));
        hostile.waits_for(ways);
        eventually("the door was asked in each way", || (refused() >= before + ways.len() as u64).then_some(()));
        drop(browser);
        is_untouched(&daemon, id);
        hostile.asked.lock().unwrap().clear();
    }
    let rejected = daemon.status()["http"]["rejected"].clone();
    assert!(rejected["host-refused"].as_u64().unwrap_or(0) > 10, "{rejected}");
}

#[test]
fn an_address_typed_into_a_real_chromium_says_that_it_works_and_gives_nothing() {
    if !is_installed("chromium") {
        return;
    }
    let daemon = Daemon::new();
    let id = daemon.queue_text("secret");
    let token = daemon.control("GET", "/v1/token", b"").json()["token"].as_str().unwrap().to_owned();
    for (n, path) in ["/send_msg".to_owned(), format!("/t/{token}/send_msg")].iter().enumerate() {
        let browser = Browser::open(&format!("http://127.0.0.1:{}{path}", daemon.port()));
        eventually("it was refused", || {
            let refused = daemon.status()["http"]["rejected"]["browser-refused"].as_u64().unwrap_or(0);
            (refused > n as u64).then_some(())
        });
        drop(browser);
        is_untouched(&daemon, id);
    }
    assert!(daemon.log().contains("this address works"), "{}", daemon.log());
}
