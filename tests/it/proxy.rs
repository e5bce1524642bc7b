//! Contract 2 behind real proxies: the example of the manual for each, as it stands in `packaging/proxy`, and a bare
//! nginx that tells nobody what it is.

use crate::client::{Client, request};
use crate::fixture::{Daemon, Recipe, clean, eventually};
use crate::missing::{self, is_installed};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A proxy, killed when dropped.
struct Proxy {
    child: Child,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its workers end with it; killed outright it would leave them.
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM);
        drop(self.child.wait());
    }
}

impl Proxy {
    /// Starts a proxy in the foreground. `command` gets its own folder, and the address to listen on.
    fn start(command: impl Fn(&Path, SocketAddr) -> Command) -> Self {
        // Nobody can be handed a free port without another's being able to take it.
        for _ in 0..5 {
            let dir = tempfile::Builder::new().prefix("wh").tempdir_in("/tmp").unwrap();
            // Workers that are another user must get in.
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let log = fs::File::create(dir.path().join("log")).unwrap();
            let mut command = command(dir.path(), addr);
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            let mut child = command.spawn().unwrap();
            let is_up = eventually("the proxy listens, or has ended", || match child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => TcpStream::connect(addr).is_ok().then_some(true),
            });
            if is_up {
                return Self { child, client: Client { addr }, _dir: dir };
            }
            eprintln!("{}", fs::read_to_string(dir.path().join("log")).unwrap_or_default());
        }
        panic!("the proxy does not start");
    }
}

fn example(name: &str, from: &str, to: &str, daemon: &Daemon) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/proxy").join(name);
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from) && text.contains("127.0.0.1:4567"), "{text}");
    text.replace(from, to).replace("127.0.0.1:4567", &format!("127.0.0.1:{}", daemon.port()))
}

fn nginx(dir: &Path, server: &str) -> Command {
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {}/{what};", dir.display()));
    let text = format!(
        "daemon off;\npid {}/pid;\nerror_log stderr;\nworker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n{}\n{server}\n}}\n",
        dir.display(),
        folders.join("\n")
    );
    fs::write(dir.join("nginx.conf"), text).unwrap();
    let mut command = clean("nginx", dir);
    command.env("PATH", path()).arg("-e").arg("stderr").arg("-c").arg(dir.join("nginx.conf")).arg("-p").arg(dir);
    command
}

/// Debian keeps servers where only root looks.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn token(daemon: &Daemon) -> String {
    daemon.control("GET", "/v1/token", b"").json()["token"].as_str().unwrap().to_owned()
}

/// A daemon as the manual says that it be set up behind a proxy.
fn behind() -> Daemon {
    Recipe::default().config("[http]\nrequire_token = \"always\"\nhosts = [\"wehelp.lan\"]\n").start()
}

/// What must hold through every proxy that is set up by its example.
fn holds(daemon: &Daemon, client: Client) {
    let (token, host) = (token(daemon), ("Host", "wehelp.lan"));
    let ask = |method: &str, path: &str, body: &[u8]| client.send(method, path, &[host], body);
    ask("POST", "/recieve_msg", br#"{"data":{"type":90}}"#).error(401);
    let refused = ask("GET", "/send_msg", b"");
    refused.error(401);
    assert!(refused.header("www-authenticate").is_some(), "{refused:?}");
    client.send("GET", &format!("/t/{token}/send_msg"), &[host, ("Sec-Fetch-Site", "none")], b"").error(403);
    assert_eq!(daemon.status()["events"]["count"], 0);
    // A list of contacts as large as they get.
    let contacts = format!(r#"{{"type":90,"x":"{}"}}"#, "y".repeat(15 << 20));
    let body = format!("{{\"data\":{contacts}}}");
    let told = ask("POST", &format!("/t/{token}/recieve_msg"), body.as_bytes());
    assert_eq!((told.status, told.text().as_str()), (200, "[]"));
    assert!(daemon.cli(&["events", "show", "1"]).exits(0).out.contains(&contacts), "not byte for byte");
    let id = daemon.queue_text("hi");
    let polled = ask("GET", &format!("/send_msg?token={token}"), b"");
    assert_eq!(polled.array().len(), 1);
    assert_eq!((polled.header("cache-control"), polled.header("pragma")), (Some("no-store"), Some("no-cache")));
    assert_eq!(daemon.reaches(id, "fetched")["fetched"]["confirmed"], false, "a proxy confirms nothing");
    let mut wire = client.connect();
    wire.send(&request("HEAD", "/healthz", &[host], b""));
    assert_eq!(wire.receive_head().unwrap().status, 200);
}

#[test]
fn behind_nginx_as_the_manual_sets_it_up() {
    if !is_installed("nginx") {
        return;
    }
    let daemon = behind();
    let proxy =
        Proxy::start(|dir, addr| nginx(dir, &example("nginx.conf", "listen 80;", &format!("listen {addr};"), &daemon)));
    holds(&daemon, proxy.client);
}

#[test]
fn behind_haproxy_as_the_manual_sets_it_up() {
    if !is_installed("haproxy") {
        return;
    }
    let daemon = behind();
    let proxy = Proxy::start(|dir, addr| {
        let text = example("haproxy.cfg", "bind :80", &format!("bind {addr}"), &daemon);
        fs::write(dir.join("haproxy.cfg"), text).unwrap();
        let mut command = clean("haproxy", dir);
        command.env("PATH", path()).arg("-db").arg("-f").arg(dir.join("haproxy.cfg"));
        command
    });
    holds(&daemon, proxy.client);
}

#[test]
fn behind_apache_as_the_manual_sets_it_up() {
    if !is_installed("apache2") {
        return;
    }
    let daemon = behind();
    let proxy = Proxy::start(|dir, addr| {
        let modules = "/usr/lib/apache2/modules";
        let load = ["mpm_event", "authz_core", "proxy", "proxy_http"]
            .map(|name| format!("LoadModule {name}_module {modules}/mod_{name}.so\n"))
            .concat();
        let user = if rustix::process::geteuid().is_root() { "User www-data\nGroup www-data\n" } else { "" };
        let host = example("apache.conf", "*:80", &addr.to_string(), &daemon);
        let dir_name = dir.display();
        let text = format!(
            "ServerRoot {dir_name}\nDefaultRuntimeDir {dir_name}\nPidFile {dir_name}/pid\nErrorLog {dir_name}/errors\n\
             ServerName localhost\nListen {addr}\n{load}{user}{host}"
        );
        fs::write(dir.join("apache.conf"), text).unwrap();
        let mut command = clean("apache2", dir);
        command.env("PATH", path()).arg("-DFOREGROUND").arg("-f").arg(dir.join("apache.conf"));
        command
    });
    holds(&daemon, proxy.client);
}

#[test]
fn behind_caddy_as_the_manual_sets_it_up() {
    if !is_installed("caddy") {
        return;
    }
    let daemon = behind();
    let proxy = Proxy::start(|dir, addr| {
        let site = example("Caddyfile", "wehelp.lan:80", &format!("http://wehelp.lan:{}", addr.port()), &daemon);
        let text = format!("{{\n\tadmin off\n\tdefault_bind 127.0.0.1\n\tauto_https off\n}}\n{site}");
        fs::write(dir.join("Caddyfile"), text).unwrap();
        let mut command = clean("caddy", dir);
        command.arg("run").arg("--adapter").arg("caddyfile").arg("--config").arg(dir.join("Caddyfile"));
        command
    });
    holds(&daemon, proxy.client);
}

#[test]
fn a_proxy_on_this_machine_is_not_this_machines_user() {
    if !is_installed("nginx") {
        return;
    }
    let daemon = Daemon::new();
    let (token, id) = (token(&daemon), daemon.queue_text("secret"));
    let to = format!("proxy_pass http://127.0.0.1:{};", daemon.port());
    let told = "proxy_set_header X-Forwarded-For $remote_addr;";
    let whole = "proxy_set_header Host $host;";
    // As it is installed, nginx tells nothing, but its workers are another user.
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        missing::other("no right to start nginx as it is installed, with workers of another user");
    }
    for more in [told, whole, ""].iter().filter(|more| is_root || !more.is_empty()) {
        let server = |addr: SocketAddr| format!("server {{ listen {addr}; location / {{ {to} {more} }} }}");
        let proxy = Proxy::start(|dir, addr| nginx(dir, &server(addr)));
        let ask =
            |method: &str, path: &str, body: &[u8]| proxy.client.send(method, path, &[("Host", "192.168.1.7")], body);
        ask("POST", "/recieve_msg", br#"{"data":{"type":90}}"#).error(401);
        ask("GET", "/send_msg", b"").error(401);
        assert_eq!(ask("GET", "/healthz", b"").status, 200);
        assert_eq!(daemon.status()["events"]["count"], 0, "{more}");
        assert_eq!(daemon.show(id)["state"], "ready", "{more}");
        assert_eq!(ask("GET", &format!("/t/{token}/metrics"), b"").status, 200, "{more}");
    }
    assert_eq!(daemon.client().poll("").len(), 1);
}
