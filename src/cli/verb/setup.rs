//! `wehelp setup`
//!
//! The client can be given nothing but two URLs, so the token stands in their path where it is needed.

use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::cli::options::duration;
use crate::cli::render;
use crate::cli::render::setup::{AccountPoll, Address, Setup};
use crate::clock::Time;
use crate::control::{Status, Token, client};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Tell what to type into the WeHelp client: the two addresses, with the token, for every network address of this
/// machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp setup
  wehelp setup --watch              # and wait until the client's first poll and callback arrive")]
pub(in crate::cli) struct Args {
    /// Wait for the first poll and the first callback, and say when each arrives (on a terminal: unless --no-watch)
    #[arg(long, overrides_with = "no_watch")]
    watch: bool,

    /// Do not wait
    #[arg(long, overrides_with = "watch")]
    no_watch: bool,

    /// Stop waiting after so long (exit 6)
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    timeout: Duration,
}

/// How often the daemon is asked while waiting for the client: a person looks on.
const LOOK: Duration = Duration::from_millis(500);

pub(in crate::cli) fn run(ctx: &Ctx, Args { watch, no_watch, timeout }: Args) -> Result<(), Error> {
    let status: Status = ctx.client()?.get("/v1/status")?;
    let token: Token = ctx.client()?.get("/v1/token")?;
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let interfaces: Vec<_> = interfaces.into_iter().map(|i| (i.name.clone(), i.ip())).collect();
    let plan = plan(&status, &token, &interfaces, is_container());
    let out = ctx.out();
    if out.is_json() {
        for address in &plan.addresses {
            out.json_line(address)?;
        }
        plan.hints.iter().for_each(|hint| out.note(hint));
    } else {
        out.text(&render::setup::text(&plan))?;
    }
    out.flush()?;
    let watch = watch || (!no_watch && !out.is_json() && std::io::stdout().is_terminal());
    if watch { self::watch(ctx, &status, timeout) } else { Ok(()) }
}

/// Works out what to type; `interfaces` are this machine's, name and address.
fn plan(status: &Status, token: &Token, interfaces: &[(String, IpAddr)], in_container: bool) -> Setup {
    let listen: Vec<SocketAddr> = status.http.listen.iter().filter_map(|a| a.parse().ok()).collect();
    let typed_in = |address: String, interface: String, loopback: bool, authority: &str| {
        let base = base(status, token, authority);
        let poll = format!("{base}/send_msg");
        let named = |account: &str| AccountPoll {
            account: account.to_owned(),
            poll: format!("{poll}?account={}", typed(account)),
        };
        Address {
            address,
            interface,
            loopback,
            callback: format!("{base}/recieve_msg"),
            accounts: status.accounts.iter().map(|a| named(&a.account)).collect(),
            poll,
        }
    };
    let mut addresses = Vec::new();
    // Names first of all: who gave one means it to be used.
    let names = status.http.hosts.iter().filter(|host| !is_glob(host));
    let mut ports: Vec<u16> = listen.iter().map(SocketAddr::port).collect();
    ports.dedup();
    for (name, port) in names.flat_map(|name| ports.iter().map(move |port| (name, port))) {
        let interface = "its name in http.hosts".to_owned();
        addresses.push(typed_in(name.clone(), interface, false, &format!("{name}:{port}")));
    }
    for (interface, at) in reached(&listen, interfaces) {
        addresses.push(typed_in(at.ip().to_string(), interface, at.ip().is_loopback(), &at.to_string()));
    }
    let hints = hints(status, token, &listen, &addresses, in_container);
    Setup { addresses, hints }
}

/// What every address begins with.
fn base(status: &Status, token: &Token, authority: &str) -> String {
    let scheme = if status.http.tls { "https" } else { "http" };
    // A token that is not asked for does no harm, and is right wherever the client's requests come through.
    let prefix = if token.required == "never" { String::new() } else { format!("/t/{}", token.token) };
    format!("{scheme}://{authority}{prefix}")
}

/// A host name that stands for any below it.
fn is_glob(host: &str) -> bool {
    host.starts_with("*.")
}

/// Where a client can reach what is listened at, each with the name of its interface.
fn reached(listen: &[SocketAddr], interfaces: &[(String, IpAddr)]) -> Vec<(String, SocketAddr)> {
    let mut reached: Vec<(String, SocketAddr)> = Vec::new();
    for at in listen {
        if at.ip().is_unspecified() {
            // `[::]` answers IPv4 as well, unless somebody else listens there.
            let is_both = at.is_ipv6() && !listen.iter().any(|l| l.is_ipv4() && l.port() == at.port());
            let is_reached = |ip: &IpAddr| (is_both || ip.is_ipv4() == at.is_ipv4()) && is_typeable(*ip);
            let here = interfaces.iter().filter(|(_, ip)| is_reached(ip));
            reached.extend(here.map(|(name, ip)| (name.clone(), SocketAddr::new(*ip, at.port()))));
        } else {
            let name = interfaces.iter().find(|(_, ip)| *ip == at.ip()).map(|(name, _)| name.clone());
            reached.push((name.unwrap_or_else(|| "another network".to_owned()), *at));
        }
    }
    // Other machines first: the client is on a PC of its own, mostly.
    reached.sort_by_key(|(_, at)| (at.ip().is_loopback(), at.is_ipv6()));
    reached.dedup();
    reached
}

/// What is in the way, and what to do about it.
fn hints(
    status: &Status,
    token: &Token,
    listen: &[SocketAddr],
    addresses: &[Address],
    in_container: bool,
) -> Vec<String> {
    let mut hints = Vec::new();
    let globs: Vec<&str> = status.http.hosts.iter().map(String::as_str).filter(|host| is_glob(host)).collect();
    if !globs.is_empty() {
        hints.push(format!(
            "any name below {} will do in place of the IP address, where it leads to this machine (http.hosts)",
            globs.join(", ")
        ));
    }
    if in_container {
        hints.push(
            "this is a container, and these addresses are the container's: type in the address of the machine that \
             runs it, with the port that it publishes"
                .to_owned(),
        );
    }
    if !listen.is_empty() && listen.iter().all(|at| at.ip().is_loopback()) {
        let port = listen[0].port();
        hints.push(format!(
            "wehelpd listens on this machine only; for a client on another PC set `listen = \"0.0.0.0:{port}\"` under \
             [http] in {}, or start `wehelpd --listen 0.0.0.0:{port}`, then run `wehelp setup` again",
            status.daemon.config.as_ref().map_or_else(|| "the settings file".to_owned(), |c| c.display().to_string()),
        ));
    }
    if addresses.is_empty() {
        hints.push("wehelpd listens on no address that this machine has; see http.listen".to_owned());
    }
    if token.required == "remote" {
        hints.push(
            "behind a reverse proxy or a tunnel set `require_token = \"always\"` under [http], let 16 MiB of body \
             through and wait longer than http.poll_hold; wehelpd(8) has an example for each proxy"
                .to_owned(),
        );
    }
    if addresses.iter().any(|a| !a.loopback) {
        hints.push(
            "if the client cannot reach it, let TCP through the firewall of this machine; the addresses hold a secret: \
             who has them can read your messages' commands and invent events"
                .to_owned(),
        );
    }
    hints
}

/// An account as it stands in a URL: ids of people stay readable.
pub(in crate::cli) fn typed(account: &str) -> String {
    client::part(account).replace("%5F", "_").replace("%2D", "-")
}

/// Whether this program runs in a container, as far as that leaves traces.
fn is_container() -> bool {
    let traces = ["/.dockerenv", "/run/.containerenv"];
    std::env::var_os("container").is_some() || traces.iter().any(|trace| std::path::Path::new(trace).exists())
}

/// Whether an address can be typed into a URL: one that is valid on a single link only needs a zone, which cannot.
fn is_typeable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    }
}

/// Waits for the first poll and the first callback.
fn watch(ctx: &Ctx, before: &Status, timeout: Duration) -> Result<(), Error> {
    let out = ctx.out();
    out.note("waiting for the client's first poll and first callback (Ctrl-C ends this) …");
    let until = Instant::now() + timeout;
    let (mut polled, mut called) = (false, false);
    let mut refused = before.http.rejected.clone();
    loop {
        let status: Status = ctx.client()?.get("/v1/status")?;
        for (reason, n) in &status.http.rejected {
            if refused.get(reason) < Some(n) {
                out.note(&format!("a request was turned away: {}", advice(reason)));
            }
        }
        refused = status.http.rejected.clone();
        if !polled && let Some(who) = poller(before, &status) {
            polled = true;
            arrived(ctx, "poll", &who)?;
        }
        if !called && status.http.last_callback > before.http.last_callback {
            called = true;
            arrived(ctx, "callback", &BTreeMap::from([("events", status.events.last.to_string())]))?;
        }
        if polled && called {
            out.note("both have arrived: the client is set up; try `wehelp send text filehelper hi`");
            return Ok(());
        }
        if Instant::now() >= until {
            let missing = match (polled, called) {
                (true, _) => {
                    "the first poll has arrived, but no callback (something must happen in WeChat: write a message)"
                }
                (_, true) => "the first callback has arrived, but no poll (is polling on?)",
                _ => "neither a poll nor a callback has arrived",
            };
            return Err(Error::no_answer(format!(
                "{missing}; check the addresses, the firewall, and that API is started"
            )));
        }
        std::thread::sleep(LOOK);
    }
}

/// Who has polled meanwhile, if anybody has.
fn poller(before: &Status, now: &Status) -> Option<BTreeMap<&'static str, String>> {
    let last = |account: &str| before.accounts.iter().find(|a| a.account == account).and_then(|a| a.last_poll);
    if let Some(account) = now.accounts.iter().find(|a| a.last_poll > last(&a.account)) {
        return Some(BTreeMap::from([("account", account.account.clone())]));
    }
    (now.http.anonymous_poll > before.http.anonymous_poll)
        .then(|| BTreeMap::from([("peer", now.http.anonymous_peer.clone().unwrap_or_default())]))
}

fn arrived(ctx: &Ctx, what: &str, more: &BTreeMap<&'static str, String>) -> Result<(), Error> {
    let line = serde_json::json!({ "arrived": what, "time": Time::now(), "from": more });
    ctx.out().print(&line, |_| {
        let more: Vec<_> = more.iter().map(|(name, value)| format!("{name} {value}")).collect();
        format!("the first {what} has arrived ({})", render::clean(&more.join(", ")))
    })?;
    ctx.out().flush()
}

/// What to do about a refusal, by its code.
fn advice(reason: &str) -> &str {
    match reason {
        "token-needed" => "the token is missing or wrong in the address; type it in as printed above",
        "no-such-path" => "the address ends in something else than /recieve_msg or /send_msg",
        "wrong-method" => "the two addresses are swapped: callback and poll",
        "browser-refused" => "it came from a web browser; type the addresses into the client",
        "made-room" => "all connections were taken, and one that waited made room; see http.connections_max",
        "hold-ended" => "all connections were taken, and a held poll was answered early; see http.connections_max",
        "not-accepted" => "wehelpd could accept no connection; its log tells why",
        "host-refused" => "it used a host name that is not in http.hosts, and had no token; the log names it",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(listen: &[&str], tls: bool, accounts: &[&str]) -> Status {
        let accounts: Vec<_> = accounts
            .iter()
            .map(|a| json!({"account": a, "nick": null, "pid": null, "logged_in": null, "last_poll": null, "last_event": null, "waiting": 0}))
            .collect();
        serde_json::from_value(json!({
            "daemon": {"version": "0", "pid": 1, "uptime_s": 1, "data_dir": "/d", "socket": "/s", "config": null},
            "http": {"listen": listen, "tls": tls, "connections": 0, "rejected": {}, "anonymous_poll": null,
                "anonymous_peer": null, "last_callback": null},
            "accounts": accounts, "queue": {}, "events": {"first": 0, "last": 0, "count": 0, "followers": 0},
            "store": {"bytes": 0, "free_bytes": 0, "writable": true, "reason": null},
            "paused": {"all": false, "accounts": []}, "hints": [],
        }))
        .unwrap()
    }

    fn token(required: &str) -> Token {
        Token { token: "secret".into(), previous_until: None, required: required.into() }
    }

    fn interfaces() -> Vec<(String, IpAddr)> {
        ["127.0.0.1", "192.168.1.7", "::1", "fe80::1", "fd00::7"]
            .iter()
            .zip(["lo", "eth0", "lo", "eth0", "eth0"])
            .map(|(ip, name)| (name.to_owned(), ip.parse().unwrap()))
            .collect()
    }

    fn polls(plan: &Setup) -> Vec<&str> {
        plan.addresses.iter().map(|a| a.poll.as_str()).collect()
    }

    #[test]
    fn on_loopback_the_token_is_typed_too_and_the_way_out_is_told() {
        let plan = plan(&status(&["127.0.0.1:4567"], false, &[]), &token("remote"), &interfaces(), false);
        assert_eq!(polls(&plan), ["http://127.0.0.1:4567/t/secret/send_msg"]);
        assert_eq!(plan.addresses[0].callback, "http://127.0.0.1:4567/t/secret/recieve_msg");
        assert!(plan.hints[0].contains("0.0.0.0:4567"), "{:?}", plan.hints);
    }

    #[test]
    fn every_address_of_the_machine_is_named_those_of_other_machines_with_the_token() {
        let plan = plan(&status(&["0.0.0.0:1", "[::]:1"], true, &[]), &token("remote"), &interfaces(), false);
        assert_eq!(
            polls(&plan),
            [
                "https://192.168.1.7:1/t/secret/send_msg",
                "https://[fd00::7]:1/t/secret/send_msg",
                "https://127.0.0.1:1/t/secret/send_msg",
                "https://[::1]:1/t/secret/send_msg",
            ]
        );
        assert!(plan.hints.iter().any(|hint| hint.contains("reverse proxy") && hint.contains("always")));
    }

    #[test]
    fn the_token_is_typed_where_it_is_asked_for() {
        let status = status(&["127.0.0.1:1", "192.168.1.7:1"], false, &[]);
        let with = |required| {
            let plan = plan(&status, &token(required), &interfaces(), false);
            polls(&plan).iter().map(|p| p.contains("/t/secret/")).collect::<Vec<_>>()
        };
        assert_eq!(with("always"), [true, true]);
        assert_eq!(with("remote"), [true, true]);
        assert_eq!(with("never"), [false, false]);
    }

    #[test]
    fn configured_names_are_typed_first_and_a_container_is_told() {
        let mut status = status(&["127.0.0.1:1", "[::1]:1"], false, &[]);
        status.http.hosts = vec!["pc.lan".into(), "*.home.arpa".into()];
        let plan = plan(&status, &token("always"), &interfaces(), true);
        assert_eq!(polls(&plan)[0], "http://pc.lan:1/t/secret/send_msg");
        assert_eq!(plan.addresses.len(), 3);
        for part in ["*.home.arpa", "container's"] {
            assert!(plan.hints.iter().any(|hint| hint.contains(part)), "{:?}", plan.hints);
        }
    }

    #[test]
    fn an_address_for_both_families_is_told_for_both() {
        let plan = plan(&status(&["[::]:1"], false, &[]), &token("never"), &interfaces(), false);
        let polls = polls(&plan);
        assert_eq!(polls[..2], ["http://192.168.1.7:1/send_msg", "http://[fd00::7]:1/send_msg"]);
        assert_eq!(polls.len(), 4);
    }

    #[test]
    fn each_of_several_accounts_has_a_poll_address() {
        let plan = plan(&status(&["127.0.0.1:1"], false, &["wxid_a", "老王"]), &token("remote"), &interfaces(), false);
        let named: Vec<_> = plan.addresses[0].accounts.iter().map(|a| a.poll.as_str()).collect();
        assert_eq!(
            named,
            [
                "http://127.0.0.1:1/t/secret/send_msg?account=wxid_a",
                "http://127.0.0.1:1/t/secret/send_msg?account=%E8%80%81%E7%8E%8B"
            ]
        );
        let text = render::setup::text(&plan);
        assert!(text.contains("消息回调地址") && text.contains("?account=wxid_a"), "{text}");
    }
}
