//! One table of who comes in, and one of who does not: every way known by which a browser can be made to ask us, and
//! every odd client that must still be served.

use super::*;
use crate::config::Config;
use proptest::prelude::*;

const TOKEN: &str = "abcdefghijklmnop";

/// This machine's own user, over loopback.
const OWN: Owner = Owner::Ours;

fn caller(owner: Owner) -> Caller {
    let from = if owner == Owner::Remote { "192.0.2.7:50000" } else { "127.0.0.1:50000" };
    Caller { from: from.parse().unwrap(), at: "127.0.0.1:4567".parse().unwrap(), owner, tls: false }
}

/// What becomes of a request's head: `free`, `token`, or the status and the code.
fn judge(settings: &str, caller: &Caller, head: &str) -> String {
    let rules = Rules::new(&Config::parse(&format!("[http]\n{settings}\n")).unwrap().http);
    let text = format!("{head}\n\n").replace('\n', "\r\n");
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut lines);
    assert!(request.parse(text.as_bytes()).unwrap().is_complete(), "{head}");
    let target: Uri = request.path.unwrap().parse().unwrap();
    let mut headers = HeaderMap::new();
    for line in request.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(line.value).unwrap());
    }
    let is_health = in_path(target.path()).1 == "/healthz";
    match rules.admit(caller, &target, &headers, is_health, |token| token == TOKEN) {
        Ok(Standing::Free) => "free".to_owned(),
        Ok(Standing::Token) => "token".to_owned(),
        Err(refusal) => format!("{} {}", refusal.status(), refusal.code()),
    }
}

#[track_caller]
fn all(settings: &str, owner: Owner, expected: &str, heads: &[&str]) {
    for head in heads {
        assert_eq!(judge(settings, &caller(owner), head), expected, "{head}");
    }
}

const HOST: &str = "Host: 127.0.0.1:4567";

#[test]
fn ordinary_clients_come_in() {
    all(
        "",
        OWN,
        "free",
        &[
            "GET /send_msg HTTP/1.0",
            "GET /send_msg HTTP/1.1\nHost: ",
            "GET /send_msg HTTP/1.1\nHost: 127.0.0.1",
            "GET /send_msg HTTP/1.1\nHost: 127.0.0.1:4567",
            "GET /send_msg HTTP/1.1\nHost: 127.0.0.2:4567",
            "GET /send_msg HTTP/1.1\nHost: localhost",
            "GET /send_msg HTTP/1.1\nHost: LocalHost:4567",
            "GET /send_msg HTTP/1.1\nHost: localhost:",
            "GET /send_msg HTTP/1.1\nHost: [::1]:4567",
            "GET /send_msg HTTP/1.1\nHost: [0:0:0:0:0:0:0:1]",
            "GET /send_msg HTTP/1.1\nHost: ::1",
            "POST /recieve_msg HTTP/1.1\nHost: 127.0.0.1:4567\nUser-Agent: Mozilla/4.0 (compatible; MSIE 9.0; Windows NT 6.1)\nAccept: */*\nAccept-Language: zh-cn\nCookie: a=b",
            "POST /recieve_msg HTTP/1.1\nHost: 127.0.0.1:4567\nAccept: */*\nReferer: http://127.0.0.1:4567/recieve_msg",
            "GET /send_msg HTTP/1.1\nHost: LOCALHOST:4567\nReferer: HTTP://localhost:4567/send_msg",
            "GET /send_msg HTTP/1.1\nHost: [::1]:4567\nReferer: http://[::1]:4567/send_msg?wxid=a",
            "GET /send_msg HTTP/1.1\nHost: 127.0.0.1\nReferer: http://127.0.0.1:80",
            "GET /send_msg HTTP/1.1\nHost: 127.0.0.1\nReferer: /send_msg",
            "GET /send_msg HTTP/1.1\nHost: 127.0.0.1\nReferer: ",
            "GET /send_msg HTTP/1.0\nReferer: http://127.0.0.1:4567/send_msg",
            "GET /send_msg HTTP/1.0\nReferer: http://localhost:4567/send_msg",
            "GET http://127.0.0.1:4567/send_msg HTTP/1.1\nHost: 127.0.0.1:4567\nProxy-Connection: close",
            "GET http://localhost:4567/send_msg HTTP/1.0",
            "POST /recieve_msg HTTP/1.1\nHost: 127.0.0.1:4567\nX-Requested-With: XMLHttpRequest\nSec-WebSocket-Key: x",
        ],
    );
    let there = "Host: 192.168.1.7:4567";
    let with = format!("GET /send_msg?token={TOKEN} HTTP/1.1\n{there}\nReferer: http://192.168.1.7:4567/send_msg");
    all("", Owner::Remote, "token", &[&with]);
    all("require_token = \"never\"", Owner::Remote, "free", &[&format!("GET /send_msg HTTP/1.1\n{there}")]);
    let typed_with_its_interface = "GET /send_msg HTTP/1.1\nHost: [fe80::1%eth0]:4567";
    all("require_token = \"never\"", Owner::Remote, "free", &[typed_with_its_interface]);
}

#[test]
fn what_browsers_send_is_refused_with_a_right_token_too() {
    let headers = [
        "Origin: https://evil.example",
        "Origin: null",
        "Origin: http://127.0.0.1:4567",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Site: none\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document\nSec-Purpose: prefetch;prerender",
        "Sec-Fetch-Dest: image",
        "Sec-Fetch-Mode: no-cors",
        "Sec-Fetch-User: ?1",
        "Sec-Fetch-Storage-Access: none",
        "sec-fetch-something-new: x",
        "Sec-Purpose: prefetch",
        "Purpose: prefetch",
        "X-Moz: prefetch",
        "Upgrade-Insecure-Requests: 1",
        "Referer: https://evil.example/",
        "Referer: http://127.0.0.1:8000/page",
        "Referer: https://127.0.0.1:4567/",
        "Referer: http://localhost:4567/",
        "Referer: http://127.0.0.1:4567.evil.example/",
        "Referer: http://127.0.0.1:4567@evil.example/",
        "Referer: http://evil.example\\@127.0.0.1:4567/",
        "Referer: //evil.example/",
        "Referer: about:client",
        "Referer: http://127.0.0.1:4567/\nReferer: https://evil.example/",
    ];
    for header in headers {
        for target in ["/send_msg".to_owned(), format!("/t/{TOKEN}/send_msg"), format!("/send_msg?token={TOKEN}")] {
            let head = format!("GET {target} HTTP/1.1\n{HOST}\n{header}");
            all("", OWN, "403 browser-refused", &[&head]);
            all("require_token = \"never\"", Owner::Remote, "403 browser-refused", &[&head]);
        }
    }
    let over_tls = |referer: &str| {
        let caller = Caller { tls: true, ..caller(OWN) };
        judge("", &caller, &format!("GET /send_msg HTTP/1.1\n{HOST}\nReferer: {referer}"))
    };
    assert_eq!(over_tls("https://127.0.0.1:4567/send_msg"), "free");
    assert_eq!(over_tls("http://127.0.0.1:4567/send_msg"), "403 browser-refused");
    // A page without a name of ours: the address that was connected to is what it must come from.
    all("", OWN, "403 browser-refused", &["GET /send_msg HTTP/1.0\nReferer: http://localhost:8000/"]);
}

#[test]
fn a_name_that_a_foreign_page_can_use_is_refused_unless_the_token_is_right() {
    let hosts = [
        "evil.example",
        "evil.example:4567",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost.",
        "localhost.:4567",
        "127.0.0.1.",
        "127.0.0.1.:4567",
        "pc.lan.",
        "0.0.0.0",
        "0.0.0.0:4567",
        "0.0.0.1",
        "[::]",
        "[::]:4567",
        "::",
        "[::ffff:127.0.0.1]:4567",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "::ffff:127.0.0.1",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[::ffff:192.168.1.7]:4567",
        "2130706433",
        "2130706433:4567",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "127.0.0.1x",
        "user@localhost",
        "user@127.0.0.1",
        "localhost, evil.example",
        "localhost:4567:1",
        "localhost:x",
        "127.0.0.1:123456",
        "[::1",
        "[::1]x",
        "[::1%lo]evil.example:1",
        "a:b",
        "local host",
        "ｌocalhost",
        "evil.lan.example",
    ];
    let settings = "hosts = [\"pc.lan\", \"*.home.arpa\"]";
    for host in hosts {
        let head = |target: &str| format!("GET {target} HTTP/1.1\nHost: {host}");
        all(
            settings,
            OWN,
            "403 host-refused",
            &[&head("/send_msg"), &head("/send_msg?token=wrong"), &head("/nothing")],
        );
        all("require_token = \"never\"", OWN, "403 host-refused", &[&head("/send_msg")]);
        all(settings, OWN, "token", &[&head(&format!("/t/{TOKEN}/send_msg"))]);
        all(settings, Owner::Remote, "free", &[&head("/healthz")]);
    }
    let absolute = "GET http://evil.example/send_msg HTTP/1.1\nHost: localhost";
    all("", OWN, "403 host-refused", &[absolute, "GET http://localhost/send_msg HTTP/1.1\nHost: evil.example"]);
    let twice = [
        "GET /send_msg HTTP/1.1\nHost: localhost\nHost: evil.example",
        "GET /send_msg HTTP/1.1\nHost: localhost\nHost: localhost",
        "GET /send_msg?token=abcdefghijklmnop HTTP/1.1\nHost: localhost\nHost: localhost",
    ];
    all("", OWN, "403 host-refused", &twice);
}

#[test]
fn configured_names_are_right_and_remote() {
    let settings = "hosts = [\"pc.lan\", \"*.home.arpa\"]";
    for host in ["pc.lan", "PC.LAN:4567", "box.home.arpa", "a.b.Home.Arpa:80"] {
        let head = |target: &str| format!("GET {target} HTTP/1.1\nHost: {host}");
        all(settings, OWN, "401 token-needed", &[&head("/send_msg")]);
        all(settings, OWN, "token", &[&head(&format!("/send_msg?token={TOKEN}"))]);
        all(&format!("require_token = \"never\"\n{settings}"), OWN, "free", &[&head("/send_msg")]);
    }
    all(settings, OWN, "403 host-refused", &["GET /send_msg HTTP/1.1\nHost: home.arpa"]);
}

#[test]
fn only_this_machines_own_user_needs_no_token() {
    let plain = "GET /send_msg HTTP/1.1\nHost: 127.0.0.1:4567";
    all("", OWN, "free", &[plain]);
    for owner in [Owner::Remote, Owner::Another(1001), Owner::Unknown] {
        all("", owner, "401 token-needed", &[plain, "GET /send_msg HTTP/1.0", "GET /metrics HTTP/1.0"]);
        all("require_token = \"never\"", owner, "free", &[plain]);
        all("", owner, "free", &["GET /healthz HTTP/1.0", "GET /healthz HTTP/1.1\nHost: evil.example"]);
    }
    all("require_token = \"always\"", OWN, "401 token-needed", &[plain]);
    for header in [
        "Forwarded: for=192.0.2.1",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Anything: ",
        "X-Real-IP: 127.0.0.1",
        "Via: 1.1 vegur",
        "Host: 10.0.0.7:80",
        "Host: 192.168.1.7",
        "Host: [fd00::7]:4567",
    ] {
        let host = if header.starts_with("Host") { "Accept: */*" } else { HOST };
        let head = |target: &str| format!("POST {target} HTTP/1.1\n{host}\n{header}");
        all("", OWN, "401 token-needed", &[&head("/recieve_msg")]);
        all("", OWN, "token", &[&head(&format!("/t/{TOKEN}/recieve_msg"))]);
        all("require_token = \"never\"", OWN, "free", &[&head("/recieve_msg")]);
    }
    // Behind a proxy that takes the encryption off, the client's own address is the proxy's.
    let proxied = |referer: &str| {
        format!("GET /t/{TOKEN}/send_msg HTTP/1.1\nHost: wehelp.lan\nX-Forwarded-For: 192.0.2.1\nReferer: {referer}")
    };
    all("", OWN, "token", &[&proxied("https://wehelp.lan/t/x/send_msg"), &proxied("http://wehelp.lan/")]);
    all("", OWN, "403 browser-refused", &[&proxied("https://evil.lan/"), &proxied("https://wehelp.lan:8443/")]);
}

#[test]
fn any_right_token_will_do_wherever_it_stands() {
    let always = "require_token = \"always\"";
    let get = |target: &str, more: &str| format!("GET {target} HTTP/1.1\n{HOST}{more}");
    for (target, more) in [
        ("/t/abcdefghijklmnop/send_msg", ""),
        ("/t/abcdefghijklmno%70/send_msg", ""),
        ("/t/abcdefghijklmnop", ""),
        ("/t/wrong/send_msg?token=abcdefghijklmnop", ""),
        ("/send_msg?token=abcdefghijklmnop", ""),
        ("/send_msg?token=wrong&token=abcdefghijklmnop", ""),
        ("/send_msg?token=abcdefghijklmnop&token=wrong", ""),
        ("/send_msg?account=a?token=abcdefghijklmnop", ""),
        ("/send_msg?token=abcdefghijklmnop?wxid=wxid_a&pid=7", ""),
        ("/send_msg??token=abcdefghijklmnop", ""),
        ("/send_msg", "\nAuthorization: Bearer abcdefghijklmnop"),
        ("/send_msg", "\nAuthorization: bearer  abcdefghijklmnop"),
        ("/send_msg", "\nAuthorization: Basic abcdefghijklmnop\nAuthorization: Bearer abcdefghijklmnop"),
        ("/t/wrong/send_msg?token=wrong", "\nAuthorization: Bearer wrong\nAuthorization: Bearer abcdefghijklmnop"),
    ] {
        all(always, OWN, "token", &[&get(target, more)]);
    }
    for (target, more) in [
        ("/send_msg", ""),
        ("/send_msg?token=", ""),
        ("/t//send_msg", ""),
        ("/t/abcdefghijklmno/send_msg", ""),
        ("/send_msg?tokens=abcdefghijklmnop", ""),
        ("/send_msg?x=token=abcdefghijklmnop", ""),
        ("/send_msg/abcdefghijklmnop", ""),
        ("/send_msg", "\nAuthorization: Basic abcdefghijklmnop"),
        ("/send_msg", "\nAuthorization: abcdefghijklmnop"),
        ("/send_msg", "\nCookie: token=abcdefghijklmnop"),
    ] {
        all(always, OWN, "401 token-needed", &[&get(target, more)]);
    }
    assert_eq!(in_path("/t/abc/recieve_msg"), (Some("abc"), "/recieve_msg"));
    assert_eq!(in_path("/t/abc"), (Some("abc"), "/"));
    assert_eq!(in_path("/recieve_msg"), (None, "/recieve_msg"));
}

#[test]
fn a_refusal_says_what_was_wrong_and_what_to_do() {
    let host = Refusal::Host(quoted("evil\u{1b}[31m\u{202e}家.example".as_bytes())).to_string();
    assert!(host.contains("`evil?[31m??.example`") && host.contains("`hosts` under [http]"), "{host}");
    assert_eq!(quoted("a".repeat(1000).as_bytes()).chars().count(), QUOTED_CHARS_MAX + 1);
    let header = HeaderName::from_static("upgrade-insecure-requests");
    let navigation = Refusal::Browser { header: header.clone(), navigation: true }.to_string();
    assert!(navigation.contains("this address works") && navigation.contains("client"), "{navigation}");
    let proxy = Refusal::Token { given: true, because: Because::Proxy(header) }.to_string();
    assert!(proxy.contains("`upgrade-insecure-requests`") && proxy.contains("wehelp setup"), "{proxy}");
}

/// Text near to what is right: pieces of hosts and URLs, and anything.
fn near() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "localhost",
        "127.0.0.1",
        "127.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "::1",
        "evil.example",
        "pc.lan",
        ".",
        ":",
        ":4567",
        ":0",
        "@",
        "%",
        "%25",
        "[",
        "]",
        "/",
        "//",
        "http://",
        "https://",
        "?",
        "&",
        "token=",
        TOKEN,
        "/t/",
        "Bearer ",
        ",",
        " ",
        "\\",
        "\u{e9}",
    ]);
    prop_oneof![
        4 => prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat()),
        1 => "[ -~\u{80}-\u{2ff}]{0,40}",
    ]
}

/// What may be called loopback, told in another way than the code does.
fn is_loopback(host: &str) -> bool {
    let name = host;
    let port = name.rfind(':').map(|at| &name[at + 1..]).filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
    let bare = match port {
        Some(port) if !name.starts_with(':') => &name[..name.len() - port.len() - 1],
        _ => name,
    };
    let v6 = bare.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).map(|ip| ip.split('%').next().unwrap_or(ip));
    host.is_empty()
        || bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || v6.is_some_and(|ip| ip.parse() == Ok(Ipv6Addr::LOCALHOST))
        || name.parse() == Ok(Ipv6Addr::LOCALHOST)
}

proptest! {
    #[test]
    fn nothing_comes_in_free_but_under_a_name_of_loopback(
        host in near(),
        referer in prop::option::of(near()),
        authorization in near(),
        query in near(),
    ) {
        let rules = Rules::new(&Config::parse("[http]\nhosts = [\"pc.lan\"]").unwrap().http);
        let mut headers = HeaderMap::new();
        let referers = referer.iter().map(|referer| ("referer", referer));
        for (name, value) in [("host", &host), ("authorization", &authorization)].into_iter().chain(referers) {
            // What cannot stand in a header never gets here.
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else { return Ok(()) };
            headers.append(name, value);
        }
        let Ok(target) = format!("/send_msg?{query}").parse::<Uri>() else { return Ok(()) };
        let own = caller(OWN);
        let verdict = rules.admit(&own, &target, &headers, false, |token| token == TOKEN);
        match &verdict {
            Ok(Standing::Free) => {
                prop_assert!(is_loopback(&host), "{host:?}");
                let is_foreign = |referer: &String| referer.contains("://evil.example");
                prop_assert!(!referer.as_ref().is_some_and(is_foreign), "{referer:?}");
            }
            Ok(Standing::Token) => {
                prop_assert!(authorization.contains(TOKEN) || query.contains(TOKEN), "{authorization:?} {query:?}");
            }
            Err(refusal) => prop_assert!(!refusal.to_string().chars().any(char::is_control)),
        }
        // A header that only browsers send turns every verdict.
        headers.append("sec-fetch-site", HeaderValue::from_static("none"));
        let refused = rules.admit(&own, &target, &headers, false, |_| true);
        let is_browsers = matches!(refused, Err(Refusal::Browser { .. }));
        prop_assert!(is_browsers);
    }
}
