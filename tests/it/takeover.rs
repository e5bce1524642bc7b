//! Contract 7, `--takeover`: where the account's owner writes by hand nobody else answers, whatever ends meanwhile.

use crate::answers::{notice, own};
use crate::exec::says;
use crate::fixture::{Daemon, Running, eventually, known, message};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn ask(daemon: &Daemon, chat: &str, text: &str) {
    daemon.client().event(&message("wxid_me", chat, None, text));
}

/// A bot that answers everything, with these further options.
fn bot(daemon: &Daemon, options: &[&str]) -> Running {
    let args = [&["events", "-f", "--cursor", "t", "--kind", "message.text", "--reply"], options].concat();
    daemon.beside(&[&args[..], &["--exec", "sh", "-c", "echo \"re $WEHELP_TEXT\""]].concat())
}

/// As the client of `wxid_me`: fetches the next text, and reports it as it reports what is typed.
#[track_caller]
fn fetch_and_echo(daemon: &Daemon) -> String {
    let sent = eventually("a reply", || daemon.client().poll("wxid=wxid_me&pid=7").into_iter().next());
    let (chat, text) = (sent["wxid"].as_str().unwrap(), sent["text"].as_str().unwrap());
    daemon.client().event(&own(chat, text));
    format!("{chat} {text}")
}

/// Waits until the bot has done with all that there is.
fn is_consumed(daemon: &Daemon) {
    let last = daemon.status()["events"]["last"].clone();
    eventually("it is consumed", || (daemon.cli(&["cursor", "list"]).exits(0).line()["seq"] == last).then_some(()));
}

#[test]
fn a_chat_is_left_alone_after_its_owner_wrote_there_and_no_other_is() {
    let mut daemon = known();
    let running = bot(&daemon, &["--takeover", "1h"]);
    says(&running, "begins with new events");
    // Its own echoes take nothing over.
    for text in ["one", "two"] {
        ask(&daemon, "wxid_a", text);
        assert_eq!(fetch_and_echo(&daemon), format!("wxid_a re {text}"));
    }
    daemon.client().event(&own("wxid_a", "I am here myself"));
    ask(&daemon, "wxid_a", "three");
    ask(&daemon, "wxid_b", "four");
    assert_eq!(fetch_and_echo(&daemon), "wxid_b re four");
    // What is passed over is counted below, by the one that comes after.
    is_consumed(&daemon);
    // It is known after a restart, of either.
    kill_process(running.pid(), Signal::KILL).unwrap();
    drop(running);
    daemon.kill9();
    daemon.start();
    let running = bot(&daemon, &["--takeover", "1h"]);
    ask(&daemon, "wxid_a", "five");
    ask(&daemon, "wxid_b", "six");
    assert_eq!(fetch_and_echo(&daemon), "wxid_b re six");
    daemon.restart();
    ask(&daemon, "wxid_a", "seven");
    ask(&daemon, "wxid_c", "eight");
    assert_eq!(fetch_and_echo(&daemon), "wxid_c re eight");
    is_consumed(&daemon);
    kill_process(running.pid(), Signal::TERM).unwrap();
    running.end().exits(143).says(&["2 events were passed over", "--takeover"]);
}

#[test]
fn an_owner_is_seen_whatever_the_filters_leave_out() {
    let daemon = known();
    let filters = ["--takeover", "1h", "--mentioned", "--match", "^q", "--from", "wxid_a"];
    let running = bot(&daemon, &filters);
    says(&running, "begins with new events");
    ask(&daemon, "wxid_a", "q one");
    assert_eq!(fetch_and_echo(&daemon), "wxid_a re q one");
    let mut picture: Value = serde_json::from_str(&own("wxid_a", "<msg><img length=\"9\"/></msg>")).unwrap();
    picture["msgType"] = "3".into();
    daemon.client().event(&picture.to_string());
    ask(&daemon, "wxid_a", "q two");
    is_consumed(&daemon);
    kill_process(running.pid(), Signal::TERM).unwrap();
    running.end().exits(143).says(&["1 event was passed over", "--takeover"]);
    assert!(daemon.client().poll("wxid=wxid_me&pid=7").is_empty());
}

#[test]
fn it_is_over_when_the_time_is_and_of_another_account_it_never_began() {
    let daemon = known();
    daemon.login("wxid_you", 8);
    let running = bot(&daemon, &["--takeover", "1s"]);
    says(&running, "begins with new events");
    let other =
        own("wxid_a", "another's hand").replace("wxid_me", "wxid_you").replace("\"processid\":7", "\"processid\":8");
    daemon.client().event(&other);
    ask(&daemon, "wxid_a", "one");
    assert_eq!(fetch_and_echo(&daemon), "wxid_a re one");
    daemon.client().event(&own("wxid_a", "mine"));
    let written: wehelp::clock::Time = serde_json::from_value(daemon.last_event()["time"].clone()).unwrap();
    eventually("the pause is over", || (wehelp::clock::Time::now().millis() > written.millis() + 1000).then_some(()));
    ask(&daemon, "wxid_a", "two");
    assert_eq!(fetch_and_echo(&daemon), "wxid_a re two");
}

#[test]
fn what_the_owner_has_seen_is_passed_over_in_a_backlog() {
    let daemon = known();
    ask(&daemon, "wxid_a", "before");
    daemon.client().event(&own("wxid_a", "the answer"));
    ask(&daemon, "wxid_a", "after");
    ask(&daemon, "wxid_b", "elsewhere");
    let exec = ["--exec", "sh", "-c", "echo $WEHELP_TEXT"];
    let from = ["events", "--cursor", "c", "--cursor-from", "oldest", "--kind", "message.text", "--takeover", "10m"];
    let run = daemon.cli(&[&from[..], &exec].concat()).exits(0);
    assert_eq!(run.out, "elsewhere\n");
    run.says(&["2 events were passed over", "after that, or less than 10 min before"]);
    // What is passed over is none of the N.
    let run = daemon.cli(&[&["events", "-n", "all", "--count", "1", "--takeover", "10m"], &exec[..]].concat()).exits(0);
    assert_eq!(run.out, "\n", "the login comes first, which is nobody's chat");
    // Own messages that are asked for are run.
    let run = daemon
        .cli(&[&["events", "-n", "all", "--kind", "message.text", "--self", "--takeover", "10m"], &exec[..]].concat());
    assert_eq!(run.exits(0).out, "the answer\nelsewhere\n");
}

#[test]
fn a_reply_is_not_sent_when_the_owner_was_faster() {
    let daemon = known();
    let script = "touch began-$WEHELP_CHAT; while [ ! -e go ]; do sleep 0.02; done; echo late";
    let args =
        ["events", "-f", "--cursor", "t", "--takeover", "1h", "--jobs", "2", "--kind", "message.text", "--reply"];
    let running = daemon.beside(&[&args[..], &["--exec", "sh", "-c", script]].concat());
    says(&running, "begins with new events");
    let begins = |chat: &str| eventually("it thinks", || daemon.path(&format!("began-{chat}")).exists().then_some(()));
    ask(&daemon, "wxid_a", "a hard question");
    begins("wxid_a");
    daemon.client().event(&own("wxid_a", "let me answer that"));
    // A command for what came later is started only once the owner's word is known.
    ask(&daemon, "wxid_b", "another one");
    begins("wxid_b");
    std::fs::write(daemon.path("go"), "").unwrap();
    is_consumed(&daemon);
    kill_process(running.pid(), Signal::TERM).unwrap();
    running.end().exits(143).says(&["1 event was passed over", "--takeover"]);
    let replies = daemon.cli(&["queue", "list", "--all"]).exits(0).lines();
    assert_eq!(replies.iter().map(|reply| reply["command"]["wxid"].clone()).collect::<Vec<_>>(), ["wxid_b"]);
}

/// The client of the account: it echoes, and in one chat tells that everything was refused. What it was given, and how often.
fn serve(daemon: &Daemon, given: &Mutex<BTreeMap<String, usize>>) {
    for sent in daemon.client().poll("wxid=wxid_me&pid=7") {
        let (chat, text) = (sent["wxid"].as_str().unwrap(), sent["text"].as_str().unwrap());
        *given.lock().unwrap().entry(format!("{chat} {text}")).or_default() += 1;
        let event = if chat == "wxid_refuses" {
            notice(chat, "消息已发出，但被对方拒收了。")
        } else {
            own(chat, text)
        };
        daemon.client().event(&event);
    }
}

#[test]
fn a_bot_that_is_killed_again_and_again_sends_nothing_that_it_should_not() {
    // `WEHELP_BOT_KILLS=50` for the long run, with a backlog of a hundred times as many old messages.
    let kills: u64 = std::env::var("WEHELP_BOT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let daemon = known();
    for n in 0..kills * 100 {
        ask(&daemon, &format!("wxid_{}", n % 5), &format!("old {n}"));
    }
    let options = ["--takeover", "1h"];
    let mut running = bot(&daemon, &options);
    says(&running, "begins with new events");
    let (given, over) = (Mutex::default(), AtomicBool::new(false));
    let questions = kills * 10;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                serve(&daemon, &given);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let asking = scope.spawn(|| {
            for n in 0..questions {
                ask(
                    &daemon,
                    ["wxid_0", "wxid_1", "wxid_refuses"][usize::try_from(n % 3).unwrap()],
                    &format!("new {n}"),
                );
                if n % 10 == 5 {
                    // An owner types in a chat, and then somebody else does.
                    let chat = format!("wxid_owned{n}");
                    daemon.client().event(&own(&chat, "mine"));
                    ask(&daemon, &chat, "for the owner");
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        for _ in 0..kills {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // When it is killed is left to chance: that is the point.
            std::thread::sleep(Duration::from_millis(20 + seed % 400));
            kill_process(running.pid(), Signal::KILL).unwrap();
            running = bot(&daemon, &options);
        }
        asking.join().unwrap();
        let all = || usize::try_from(questions).ok().filter(|all| given.lock().unwrap().len() >= *all);
        let answered = eventually_or_stop(&over, all);
        over.store(true, Ordering::SeqCst);
        assert!(answered, "{:?}", given.lock().unwrap());
    });
    let given = given.into_inner().unwrap();
    for (reply, times) in &given {
        assert!(reply.contains(" re new ") && *times == 1, "{reply}: {times} times");
    }
    assert_eq!(given.len(), usize::try_from(questions).unwrap());
}

/// As `eventually`, without a panic while others wait for us.
fn eventually_or_stop(over: &AtomicBool, mut ready: impl FnMut() -> Option<usize>) -> bool {
    let start = std::time::Instant::now();
    while !over.load(Ordering::SeqCst) && start.elapsed() < crate::fixture::DEADLINE {
        if ready().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
