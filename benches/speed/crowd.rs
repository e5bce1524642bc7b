//! What a large installation keeps: commands that wait, and contacts that are known. What a start and a question cost
//! then.

use crate::Run;
use crate::callbacks::PATH;
use crate::daemon::{self, Daemon};
use crate::http::{self, Client};
use crate::million::ran;
use crate::table::{Goal, Unit, median};
use std::time::Instant;

/// Commands in one request, the most that there may be.
const COMMANDS_A_REQUEST: usize = 1000;

/// The list of an account's contacts, 240 bytes each, so that fifty thousand come in one callback.
fn contact_list(contacts: usize) -> String {
    let one = |n| {
        let picture = "http://wx.qlogo.cn/mmhead/Q3auHgzwzM4nJrkU7rOWlVxMcdGIagFYT5mC6lpicvsSLj53d1Xe54w/0";
        format!(
            r#"{{"wxid":"wxid_{n:012}","asName":"(null)","headPic":"{picture}","nick":"微小强{n}","username":"wsd{n}","sex":0,"type":3}}"#
        )
    };
    let list: Vec<String> = (0..contacts).map(one).collect();
    format!(r#"{{"data":{{"type":210,"processid":8308,"cwxid":"wxid_adskjfse","userLists":[{}]}}}}"#, list.join(","))
}

/// Fills, asks, starts again.
pub(crate) fn run(run: &mut Run) {
    let (commands, contacts) = if run.smoke { (2000, 500) } else { (100_000, 50_000) };
    let dir = run.folder("crowd");
    let daemon = Daemon::start(&dir);
    let mut client = Client::new(&daemon.door);
    assert_eq!(client.ask(&http::post(PATH, contact_list(contacts).as_bytes())).unwrap().status, 200);
    let mut control = Client::new(&daemon.control());
    for from in (0..commands).step_by(COMMANDS_A_REQUEST) {
        let text = |n| format!(r#"{{"api":"sendTextMessage","code":1,"wxid":"filehelper","text":"{n}"}}"#);
        let texts: Vec<String> = (from..from + COMMANDS_A_REQUEST).map(text).collect();
        let body = format!(r#"{{"account":"wxid_adskjfse","commands":[{}]}}"#, texts.join(","));
        let answer = control.ask(&http::post("/v1/commands", body.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(answer.body));
    }
    daemon.rest();

    let out = run.dir.path().join("crowd.out");
    let rounds = run.rounds();
    let times = |args: &[&str], least: u64| {
        let runs = (0..rounds).map(|_| ran(&daemon, args, &out)).inspect(|ran| assert!(ran.lines >= least, "{args:?}"));
        median(runs.map(|ran| ran.time.as_secs_f64() * 1e3))
    };
    let all = times(&["contact", "list", "--json"], contacts as u64);
    run.table.alone(&format!("{contacts} contacts: contact list"), Unit::Millis, all, Goal::OursMax(500.0));
    let one = times(&["contact", "show", "wxid_000000000400", "--json"], 1);
    run.table.alone("  contact show, one of them", Unit::Millis, one, Goal::OursMax(20.0));
    let waiting = times(&["queue", "list", "--json"], 1);
    run.table.alone(&format!("{commands} commands wait: queue list"), Unit::Millis, waiting, Goal::Known);

    let Daemon { child, .. } = daemon;
    assert!(child.stop().success(), "wehelpd did not stop well");
    let began = Instant::now();
    let daemon = Daemon::start(&dir);
    run.table.alone("  start after a stop", Unit::Millis, began.elapsed().as_secs_f64() * 1e3, Goal::OursMax(300.0));
    let memory = daemon::status(daemon.child.pid(), "VmHWM") as f64 / 1024.0;
    run.table.alone("  most memory of the daemon after it", Unit::Mebibytes, memory, Goal::OursMax(64.0));
}
