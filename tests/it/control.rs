//! Contract 1: files, modes, the control door, one daemon per data folder, settings.

use crate::fixture::{DEADLINE, Daemon, Recipe, Run, WEHELP, WEHELPD, clean, eventually, message, run};
use crate::missing::{self, is_installed};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o777
}

/// A process that is killed and reaped.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_socket_is_0600_in_a_folder_of_0700() {
    let daemon = Daemon::new();
    assert_eq!(mode(&daemon.socket()), 0o600);
    assert_eq!(mode(daemon.socket().parent().unwrap()), 0o700);
    assert_eq!(mode(&daemon.data_dir()) & 0o077, 0, "the data folder is open to others");
}

#[test]
fn any_language_can_speak_to_the_control_door() {
    if !is_installed("curl") {
        return;
    }
    let daemon = Daemon::new();
    let mut curl = clean("curl", Path::new("/tmp"));
    curl.args(["-sS", "--max-time", "20", "--unix-socket"]).arg(daemon.socket()).arg("http://localhost/v1/status");
    let status = run(curl, None, DEADLINE).exits(0).line();
    for (object, keys) in [
        ("daemon", &["version", "pid", "uptime_s", "data_dir"][..]),
        ("http", &["listen"]),
        ("events", &["first", "last", "count"]),
        ("store", &["bytes", "writable"]),
    ] {
        for key in keys {
            assert!(!status[object][key].is_null(), "{object}.{key} in {status}");
        }
    }
    assert!(status["accounts"].is_array() && status["queue"].is_object(), "{status}");
    assert_eq!(status["store"]["writable"], true);
    assert_eq!(status["daemon"]["pid"].as_i64(), Some(i64::from(daemon.pid().as_raw_nonzero().get())));
    assert_eq!(status["daemon"]["data_dir"], daemon.data_dir().to_str().unwrap());
}

#[test]
fn the_control_door_answers_mistakes_in_json() {
    let daemon = Daemon::new();
    daemon.control("GET", "/v1/nothing", b"").error(404);
    daemon.control("GET", "/", b"").error(404);
    daemon.control("GET", "/v1/commands/77", b"").error(404);
    daemon.control("POST", "/v1/commands", b"nonsense").error(400);
    daemon.control("POST", "/v1/commands", b"{}").error(400);
    daemon.control("GET", "/v1/events?nonsense=1", b"").error(400);
    let answer = daemon.control("DELETE", "/v1/status", b"");
    assert!(matches!(answer.status, 404 | 405), "{answer:?}");
    answer.error(answer.status);
    assert_eq!(daemon.control("GET", "/v1/events", b"").text(), "");
}

#[test]
fn commands_can_be_queued_and_events_read_over_the_control_door() {
    let daemon = Daemon::new();
    let body = br#"{"commands":[{"api":"sendTextMessage","code":1,"wxid":"filehelper","text":"hi"}]}"#;
    let answer = daemon.control("POST", "/v1/commands", body);
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    assert_eq!(daemon.client().poll("")[0]["text"], "hi");
    daemon.login("wxid_me", 7);
    let events = daemon.control("GET", "/v1/events", b"");
    assert!(events.header("content-type").unwrap().contains("ndjson"), "{events:?}");
    assert_eq!(events.json()["kind"], "login");
}

fn second(daemon: &Daemon) -> Run {
    run(daemon.command(), None, DEADLINE)
}

#[test]
fn a_second_daemon_says_who_holds_the_data_and_exits_1() {
    let daemon = Daemon::new();
    let pid = daemon.pid().as_raw_nonzero().to_string();
    let run = second(&daemon).exits(1);
    run.says(&[&pid]);
    assert!(run.out.is_empty());
    // The first one is not disturbed, whatever socket the second would have had.
    assert_eq!(daemon.status()["daemon"]["pid"].to_string(), pid);
}

#[test]
fn a_stale_socket_is_replaced_silently() {
    let mut daemon = Daemon::new();
    daemon.kill9();
    assert!(daemon.socket().exists());
    daemon.start();
    daemon.cli(&["status"]).exits(0);
}

#[test]
fn of_many_starters_one_wins() {
    let mut daemon = Daemon::new();
    assert_eq!(daemon.terminate(), 0);
    let racers: Vec<Reaped> = (0..4)
        .map(|_| {
            Reaped(daemon.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        })
        .collect();
    let mut racers = racers;
    eventually("three losers", || {
        let ended = racers.iter_mut().filter_map(|r| r.0.try_wait().unwrap()).collect::<Vec<_>>();
        assert!(ended.iter().all(|status| status.code() == Some(1)), "{ended:?}");
        (ended.len() == 3).then_some(())
    });
    eventually("a winner", || daemon.try_control("GET", "/v1/status", b"").filter(|a| a.status == 200));
}

/// A daemon in the default places of a home, as a login session starts it.
fn session(dir: &Path, runtime: bool, args: &[&str]) -> Reaped {
    let mut command = clean(WEHELPD, dir);
    if runtime {
        command.env("XDG_RUNTIME_DIR", dir.join("run"));
    }
    let log = std::fs::File::create(dir.join("log")).unwrap();
    command.args(["--listen", "127.0.0.1:0"]).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Reaped(command.spawn().unwrap())
}

fn home() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("wh").tempdir_in("/tmp").unwrap();
    std::fs::create_dir(dir.path().join("run")).unwrap();
    std::fs::set_permissions(dir.path().join("run"), PermissionsExt::from_mode(0o700)).unwrap();
    dir
}

fn bare(dir: &Path, args: &[&str]) -> Command {
    let mut command = clean(WEHELP, dir);
    command.args(args);
    command
}

fn finds(dir: &Path, prepare: impl Fn(&mut Command)) -> String {
    eventually("found", || {
        let mut command = bare(dir, &["status", "--json"]);
        prepare(&mut command);
        let run = run(command, None, DEADLINE);
        assert!(matches!(run.code, 0 | 3), "{run:?} {:?}", std::fs::read_to_string(dir.join("log")));
        (run.code == 0).then(|| run.line()["daemon"]["data_dir"].as_str().unwrap().to_owned())
    })
}

#[test]
fn cron_finds_the_daemon_of_a_login_session() {
    let dir = home();
    let _daemon = session(dir.path(), true, &[]);
    let socket = dir.path().join("run/wehelp/wehelpd.sock");
    eventually("the socket", || socket.exists().then_some(()));
    assert_eq!(mode(socket.parent().unwrap()), 0o700);
    let data = dir.path().join(".local/share/wehelp");
    assert_eq!(
        finds(dir.path(), |c| {
            c.env("XDG_RUNTIME_DIR", dir.path().join("run"));
        }),
        data.to_str().unwrap()
    );
    // As cron runs it: no runtime folder, no terminal, nothing but HOME and PATH.
    assert_eq!(finds(dir.path(), |_| ()), data.to_str().unwrap());
}

#[test]
fn without_a_runtime_folder_the_socket_lies_in_the_data_folder() {
    let dir = home();
    let _daemon = session(dir.path(), false, &[]);
    let data = dir.path().join(".local/share/wehelp");
    assert_eq!(finds(dir.path(), |_| ()), data.to_str().unwrap());
    assert!(data.join("run/wehelpd.sock").exists());
    assert_eq!(mode(&data.join("run/wehelpd.sock")), 0o600);
    assert_eq!(mode(&data.join("run")), 0o700);
    // A session's CLI, which has a runtime folder, finds it too.
    assert_eq!(
        finds(dir.path(), |c| {
            c.env("XDG_RUNTIME_DIR", dir.path().join("run"));
        }),
        data.to_str().unwrap()
    );
}

#[test]
fn the_settings_file_is_read_by_both_programs() {
    let dir = home();
    let config = dir.path().join(".config/wehelp");
    std::fs::create_dir_all(&config).unwrap();
    let (data, socket) = (dir.path().join("else"), dir.path().join("run/else.sock"));
    std::fs::write(
        config.join("config.toml"),
        format!("data_dir = {:?}\nsocket = {:?}\n", data.to_str().unwrap(), socket.to_str().unwrap()),
    )
    .unwrap();
    let _daemon = session(dir.path(), false, &[]);
    assert_eq!(finds(dir.path(), |_| ()), data.to_str().unwrap());
    assert!(socket.exists());
}

#[test]
fn a_flag_wins_over_the_environment() {
    let dir = home();
    let other = dir.path().join("flag");
    let mut command = clean(WEHELPD, dir.path());
    command
        .env("WEHELP_DATA_DIR", dir.path().join("env"))
        .env("WEHELP_SOCKET", dir.path().join("run/env.sock"))
        .env("WEHELP_LISTEN", "127.0.0.1:0")
        .arg("--data-dir")
        .arg(&other)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.path().join("log")).unwrap());
    let _daemon = Reaped(command.spawn().unwrap());
    let data = finds(dir.path(), |c| {
        c.env("WEHELP_SOCKET", dir.path().join("run/env.sock"));
    });
    assert_eq!(data, other.to_str().unwrap());
    let data = finds(dir.path(), |c| {
        c.env("WEHELP_SOCKET", "/nowhere/at.all").arg("--socket").arg(dir.path().join("run/env.sock"));
    });
    assert_eq!(data, other.to_str().unwrap());
}

#[test]
fn a_named_data_folder_means_its_daemon_or_none() {
    let dir = home();
    let _daemon = session(dir.path(), true, &[]);
    let in_session = |args: &[&str], env: &[(&str, &Path)]| {
        let mut command = bare(dir.path(), args);
        command.env("XDG_RUNTIME_DIR", dir.path().join("run")).envs(env.iter().copied());
        run(command, None, DEADLINE)
    };
    eventually("it serves", || (in_session(&["status"], &[]).code == 0).then_some(()));
    let own = dir.path().join(".local/share/wehelp");
    let socket = dir.path().join("run/wehelp/wehelpd.sock");
    let (missing, empty, link) = (dir.path().join("missing"), dir.path().join("empty"), dir.path().join("link"));
    std::fs::create_dir(&empty).unwrap();
    std::os::unix::fs::symlink(&own, &link).unwrap();
    let settings = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let of_empty = settings("empty.toml", format!("data_dir = {empty:?}\n"));
    let nowhere = settings("nowhere.toml", "socket = \"/nowhere/at.all\"\n".to_owned());
    let send = ["send", "text", "filehelper", "hi"];
    for other in [&missing, &empty] {
        let named = other.to_str().unwrap();
        for run in [
            in_session(&[&["--data-dir", named][..], &send].concat(), &[]),
            in_session(&send, &[("WEHELP_DATA_DIR", other)]),
            in_session(&[&["--data-dir", named][..], &send].concat(), &[("WEHELP_SOCKET", &socket)]),
            in_session(&send, &[("WEHELP_DATA_DIR", other), ("WEHELP_SOCKET", &socket)]),
        ] {
            run.exits(3).says(&[named]);
        }
    }
    in_session(&send, &[("WEHELP_CONFIG", &of_empty)]).exits(3).says(&[empty.to_str().unwrap(), own.to_str().unwrap()]);
    assert!(in_session(&["queue", "list", "--all"], &[]).exits(0).out.is_empty(), "another daemon took it");
    // Whatever names it more strongly wins, and a link leads to the same folder.
    let elsewhere = Path::new("/nowhere/at.all");
    for (args, env) in [
        (&["--data-dir", own.to_str().unwrap()][..], &[("WEHELP_SOCKET", elsewhere)][..]),
        (&["--data-dir", link.to_str().unwrap()], &[("WEHELP_CONFIG", &nowhere)]),
        (&["--socket", socket.to_str().unwrap()], &[("WEHELP_DATA_DIR", &missing)]),
        (&[], &[("WEHELP_DATA_DIR", &own), ("WEHELP_CONFIG", &nowhere)]),
        (&[], &[("WEHELP_SOCKET", &socket), ("WEHELP_CONFIG", &of_empty)]),
        (&[], &[("WEHELP_SOCKET", &socket), ("WEHELP_DATA_DIR", &link)]),
    ] {
        in_session(&[args, &["status"]].concat(), env).exits(0);
    }
    // What is empty is not set.
    let nothing = Path::new("");
    let empty = ["WEHELP_SOCKET", "WEHELP_DATA_DIR", "WEHELP_CONFIG", "WEHELP_ACCOUNT"].map(|name| (name, nothing));
    in_session(&send, &empty).exits(0);
}

#[test]
fn a_body_that_is_an_array_is_refused_with_what_is_due() {
    let daemon = Daemon::new();
    for (method, path, body) in [
        ("POST", "/v1/commands", "[]"),
        ("POST", "/v1/commands", r#" [{"api":"getLoginStatus","code":20,"info":"wehelp"}]"#),
        ("POST", "/v1/asks", "[]"),
        // By their order, the items would be taken for the members.
        ("POST", "/v1/queue/pause", "[null]"),
        ("PUT", "/v1/cursors/c", r##"["#1"]"##),
        ("PUT", "/v1/forwards/f", "[]"),
    ] {
        let answer = daemon.control(method, path, body.as_bytes());
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        let refusal = answer.json();
        assert_eq!(refusal["error"], "bad-body", "{path}");
        let message = refusal["message"].as_str().unwrap();
        assert!(message.contains("array") && !message.contains("struct"), "{path}: {message}");
        assert_eq!(message.contains(r#"{"commands":[…]}"#), path.contains("commands") || path.contains("asks"));
    }
    assert_eq!(daemon.status()["paused"]["all"], false);
}

#[test]
fn a_request_for_the_daemon_of_another_folder_is_refused() {
    let daemon = Daemon::new();
    let body = br#"{"commands":[{"api":"sendTextMessage","code":1,"wxid":"filehelper","text":"hi"}]}"#;
    let post = |folder: &str| {
        let mut curl = clean("curl", Path::new("/tmp"));
        curl.args(["-sS", "-w", "\n%{http_code}", "--max-time", "20", "--unix-socket"]).arg(daemon.socket());
        curl.args(["-H", &format!("Wehelp-Data-Dir: {folder}"), "--data-binary", "@-", "http://localhost/v1/commands"]);
        run(curl, Some(body), DEADLINE).exits(0).out
    };
    if !is_installed("curl") {
        return;
    }
    assert!(post("/tmp").ends_with("\n421"), "a request for another folder was taken");
    assert!(daemon.cli(&["queue", "list", "--all"]).exits(0).out.is_empty());
    assert!(post(daemon.data_dir().to_str().unwrap()).ends_with("\n200"));
}

#[test]
fn a_list_of_addresses_may_have_blanks() {
    let dir = home();
    let mut command = clean(WEHELPD, dir.path());
    command
        .env("WEHELP_LISTEN", " 127.0.0.1:0 , ,127.0.0.1:0 ")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.path().join("log")).unwrap());
    let _daemon = Reaped(command.spawn().unwrap());
    finds(dir.path(), |_| ());
    let status = run(bare(dir.path(), &["status", "--json"]), None, DEADLINE).exits(0).line();
    assert_eq!(status["http"]["listen"].as_array().map(Vec::len), Some(2), "{status}");
}

#[test]
fn a_fault_in_another_section_stops_the_daemon_and_not_the_command_line() {
    let daemon = Daemon::new();
    let config = daemon.path("broken.toml");
    std::fs::write(&config, format!("socket = {:?}\n[queue]\nbatch = \"many\"\n", daemon.socket())).unwrap();
    let mut command = bare(&daemon.path("home"), &["status", "--json"]);
    command.arg("--config").arg(&config);
    run(command, None, DEADLINE).exits(0).says(&["queue.batch"]);
}

fn check(config: &str) -> Run {
    let dir = home();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = clean(WEHELPD, dir.path());
    command.arg("--check").arg("--config").arg(&path);
    let run = run(command, None, DEADLINE);
    assert!(!dir.path().join(".local/share/wehelp").exists(), "--check made a data folder");
    run
}

#[test]
fn check_validates_the_settings_and_exits() {
    check("").exits(0);
    check("[http]\nlisten = \"127.0.0.1:1\"\n[events]\nkeep = \"30d\"\nmax_bytes = \"2GiB\"\n").exits(0);
    check("[http]\nlisten = [\"127.0.0.1:1\", \"[::1]:1\"]\n[queue]\nkeep_done = \"7d\"\n").exits(0);
    for (config, says) in [
        ("[queue]\nbach = 3\n", &["bach", "batch"][..]),
        ("[htp]\nlisten = \"127.0.0.1:1\"\n", &["htp", "http"]),
        ("[pacing]\nsends_per_minut = 3\n", &["sends_per_minut", "sends_per_minute"]),
        ("sokket = \"/x\"\n", &["sokket", "socket"]),
        ("[queue]\nbatch = \"many\"\n", &["batch"]),
        ("[http]\nrequire_token = \"sometimes\"\n", &["require_token"]),
        ("[events]\nkeep = \"long\"\n", &["keep"]),
        ("[http\n", &["c.toml"]),
    ] {
        let run = check(config);
        assert!(matches!(run.code, 1 | 2), "{config}: {run:?}");
        run.says(says);
    }
}

#[test]
fn a_daemon_with_wrong_settings_does_not_start_and_a_named_file_must_exist() {
    let dir = home();
    let path = dir.path().join("c.toml");
    let start = || {
        let mut command = clean(WEHELPD, dir.path());
        command.arg("--config").arg(&path).args(["--listen", "127.0.0.1:0"]);
        run(command, None, DEADLINE)
    };
    let missing = start();
    assert!(matches!(missing.code, 1 | 2), "{missing:?}");
    missing.says(&["c.toml"]);
    std::fs::write(&path, "[queue]\nredelivr = true\n").unwrap();
    let wrong = start();
    assert!(matches!(wrong.code, 1 | 2), "{wrong:?}");
    wrong.says(&["redelivr", "redeliver"]);
}

#[test]
fn an_address_in_use_is_named() {
    let daemon = Daemon::new();
    let address = format!("127.0.0.1:{}", daemon.port());
    let dir = home();
    let mut command = clean(WEHELPD, dir.path());
    command.args(["--listen", &address]);
    run(command, None, DEADLINE).exits(1).says(&[&address]);
}

#[test]
fn the_daemon_prints_nothing_to_stdout_and_logs_no_chat() {
    let mut daemon = Recipe::default().start();
    daemon.client().event(&crate::fixture::message("wxid_me", "wxid_a", None, "a-secret-of-a-chat"));
    daemon.queue_text("another-secret");
    daemon.client().poll("");
    daemon.client().post("/recieve_msg", b"unreadable-secret");
    assert_eq!(daemon.terminate(), 0);
    let log = daemon.log();
    for secret in ["a-secret-of-a-chat", "another-secret", "unreadable-secret"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn both_programs_tell_version_and_help() {
    let dir = home();
    for program in [WEHELP, WEHELPD] {
        for flag in ["--version", "--help"] {
            let mut command = clean(program, dir.path());
            command.arg(flag);
            let run = run(command, None, DEADLINE).exits(0);
            assert!(run.out.contains("wehelp"), "{run:?}");
        }
        let mut command = clean(program, dir.path());
        command.arg("--nonsense");
        run(command, None, DEADLINE).exits(2).says(&["--nonsense"]);
    }
}

#[test]
fn a_background_daemon_is_started_and_stopped_by_the_command_line() {
    let dir = home();
    let config = dir.path().join(".config/wehelp");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), "[http]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let call = |args: &[&str]| run(bare(dir.path(), args), None, DEADLINE);
    /// Stops what the test may leave running.
    struct Stop<'a>(&'a dyn Fn(&[&str]) -> Run);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            drop((self.0)(&["daemon", "stop"]));
        }
    }
    let stop = Stop(&call);
    call(&["status"]).exits(3);
    call(&["daemon", "start"]).exits(0);
    let first = call(&["status"]).exits(0).line()["daemon"]["pid"].clone();
    // It is there already: that is no failure, or one that says so; a second one is not started.
    drop(call(&["daemon", "start"]));
    assert_eq!(call(&["status"]).exits(0).line()["daemon"]["pid"], first);
    call(&["daemon", "restart"]).exits(0);
    assert_ne!(call(&["status"]).exits(0).line()["daemon"]["pid"], first);
    call(&["daemon", "logs"]).exits(0);
    call(&["daemon", "stop"]).exits(0);
    call(&["status"]).exits(3);
    drop(stop);
}

#[test]
fn another_user_is_turned_away_even_where_the_modes_would_let_him_in() {
    if !rustix::process::getuid().is_root() {
        return missing::other("no right to play another user");
    }
    if !is_installed("setpriv") || !is_installed("curl") {
        return;
    }
    let daemon = Daemon::new();
    let open = |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    open(&daemon.socket());
    open(daemon.socket().parent().unwrap());
    open(daemon.socket().parent().unwrap().parent().unwrap());
    let mut curl = clean("setpriv", Path::new("/tmp"));
    curl.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "curl",
        "-sS",
        "--max-time",
        "20",
        "-w",
        "\n%{http_code}",
    ])
    .arg("--unix-socket")
    .arg(daemon.socket())
    .arg("http://localhost/v1/status");
    let run = run(curl, None, DEADLINE);
    assert!(!run.err.contains("setpriv:"), "{run:?}");
    // Closed at once, or told so: never served.
    assert!(!run.out.contains("data_dir"), "{run:?}");
    assert!(run.code != 0 || run.out.ends_with("403"), "{run:?}");
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let dir = home();
    let path = dir.path().join("notify");
    let notify = UnixDatagram::bind(&path).unwrap();
    notify.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = clean(WEHELPD, dir.path());
    command
        .env("NOTIFY_SOCKET", &path)
        .args(["--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.path().join("log")).unwrap());
    let mut daemon = Reaped(command.spawn().unwrap());
    let told = |word: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = notify.recv(&mut buffer).unwrap_or_else(|e| panic!("no {word}: {e}"));
            if String::from_utf8_lossy(&buffer[..length]).contains(word) {
                return;
            }
        }
    };
    told("READY=1");
    // Ready means ready: the control door is open.
    run(bare(dir.path(), &["status"]), None, DEADLINE).exits(0);
    rustix::process::kill_process(rustix::process::Pid::from_child(&daemon.0), rustix::process::Signal::TERM).unwrap();
    told("STOPPING=1");
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
}

/// Opens the client door as file 3, and the control door as file 4 when it is told where, and becomes the daemon, as
/// systemd does.
const ACTIVATE: &str = "
import fcntl, os, socket, sys
tcp = socket.socket()
tcp.bind(('127.0.0.1', 0))
print(tcp.getsockname()[1], flush=True)
sockets, names = [tcp], ['http']
if 'WEHELP_SOCKET' in os.environ:
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(os.environ['WEHELP_SOCKET'])
    sockets, names = [tcp, unix], ['http', 'control']
for s in sockets:
    s.listen(64)
# Out of the way first, then to where they belong.
for number, fd in enumerate([fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 10) for s in sockets]):
    os.dup2(fd, 3 + number, inheritable=True)
    os.close(fd)
os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=':'.join(names))
os.dup2(2, 1)
os.execv(sys.argv[1], sys.argv[1:])
";

/// Starts a daemon in that way; its address, or none where there is no python3.
fn activated(mut command: Command, dir: &Path) -> Option<(Reaped, String)> {
    command
        .args(["-c", ACTIVATE, WEHELPD])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(dir.join("log")).unwrap());
    let Ok(child) = command.spawn() else {
        missing::tool("python3");
        return None;
    };
    let mut daemon = Reaped(child);
    let mut port = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(daemon.0.stdout.take().unwrap()), &mut port).unwrap();
    Some((daemon, format!("127.0.0.1:{}", port.trim())))
}

#[test]
fn a_socket_of_systemd_is_listened_on() {
    let dir = home();
    let Some((_daemon, address)) = activated(clean("python3", dir.path()), dir.path()) else { return };
    drop(finds(dir.path(), |_| ()));
    let status = run(bare(dir.path(), &["status", "--json"]), None, DEADLINE).exits(0).line();
    assert!(status["http"]["listen"].to_string().contains(&address), "{status}");
    assert!(crate::client::Client { addr: address.parse().unwrap() }.poll("").is_empty());
}

#[test]
fn both_sockets_of_systemd_are_served_and_stay_when_the_daemon_stops() {
    let dir = home();
    let socket = dir.path().join("handed.sock");
    let mut command = clean("python3", dir.path());
    command.env("WEHELP_SOCKET", &socket);
    let Some((mut daemon, address)) = activated(command, dir.path()) else { return };
    let mut status = bare(dir.path(), &["status", "--json"]);
    status.env("WEHELP_SOCKET", &socket);
    // systemd listens before the daemon does: nobody has to wait for it.
    let status = run(status, None, DEADLINE).exits(0).line();
    assert!(status["http"]["listen"].to_string().contains(&address), "{status}");
    assert!(crate::client::Client { addr: address.parse().unwrap() }.poll("").is_empty());
    rustix::process::kill_process(rustix::process::Pid::from_child(&daemon.0), rustix::process::Signal::TERM).unwrap();
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
    assert!(socket.exists(), "it is systemd's, who goes on listening");
}

/// Every file and folder below a folder.
fn below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path.clone());
            }
            all.push(path);
        }
    }
    all
}

#[test]
fn what_the_daemon_makes_is_closed_to_others_and_what_it_finds_stays_as_it_was() {
    // A package, a volume or `mkdir -p` makes the folders, with an open umask; older versions left open files.
    let mut daemon = Recipe::default().under(&["sh", "-c", "umask 0; exec \"$@\"", "sh"]).lay_out();
    let (data, elsewhere) = (daemon.data_dir(), daemon.path("elsewhere"));
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir(&elsewhere).unwrap();
    for dir in [&data, &elsewhere] {
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
    }
    daemon.start();
    daemon.client().event(&message("wxid_me", "wxid_a", None, "hello"));
    daemon.queue_text("hi");
    daemon.cli(&["token", "rotate"]).exits(0);
    daemon.restart();
    assert_eq!(mode(&data), 0o755, "it did not make that folder");
    for path in below(&data) {
        let closed = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), closed, "{}", path.display());
    }
    // What an older version left open is closed at the next start.
    assert_eq!(daemon.terminate(), 0);
    for path in below(&data) {
        let open = if path.is_dir() { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, PermissionsExt::from_mode(open)).unwrap();
    }
    daemon.start();
    assert!(below(&data).iter().all(|path| mode(path) & 0o077 == 0));
    assert_eq!(daemon.last_event()["text"], "hello");
    // The folder of a socket is not closed either.
    let socket = elsewhere.join("s");
    let _other = session(&daemon.path("home"), false, &["--socket", socket.to_str().unwrap()]);
    eventually("the socket is there, and closed", || socket.exists().then_some(()).filter(|()| mode(&socket) == 0o600));
    assert_eq!(mode(&elsewhere), 0o755);
}

#[test]
fn a_folder_that_others_may_change_is_refused_and_so_is_a_link_in_it() {
    let mut daemon = Recipe::default().lay_out();
    let data = daemon.data_dir();
    std::fs::create_dir_all(&data).unwrap();
    for open in [0o777, 0o1777] {
        std::fs::set_permissions(&data, PermissionsExt::from_mode(open)).unwrap();
        let refused = run(daemon.command(), None, DEADLINE).exits(1);
        refused.says(&[data.to_str().unwrap(), "chmod o-w"]);
        assert!(below(&data).is_empty(), "nothing was written");
    }
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    let victim = daemon.path("victim");
    std::fs::write(&victim, "precious").unwrap();
    for name in ["lock", "token", "socket", "version"] {
        std::os::unix::fs::symlink(&victim, data.join(name)).unwrap();
        run(daemon.command(), None, DEADLINE).exits(1).says(&["symbolic link"]);
        std::fs::remove_file(data.join(name)).unwrap();
    }
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    let open = daemon.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    let mut command = clean(WEHELPD, &daemon.path("home"));
    command.args(["--listen", "127.0.0.1:0", "--socket"]).arg(open.join("s"));
    run(command, None, DEADLINE).exits(1).says(&["--socket"]);
    daemon.start();
}

#[test]
fn a_folder_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return missing::other("no right to make a folder of another user");
    }
    let daemon = Recipe::default().lay_out();
    let data = daemon.data_dir();
    std::fs::create_dir_all(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(65534), None).unwrap();
    run(daemon.command(), None, DEADLINE).exits(1).says(&["uid 65534"]);
    std::os::unix::fs::chown(&data, Some(0), None).unwrap();
    std::fs::write(data.join("token"), "0123456789abcdefghij\n").unwrap();
    std::os::unix::fs::chown(data.join("token"), Some(65534), None).unwrap();
    run(daemon.command(), None, DEADLINE).exits(1).says(&["token"]);
}
