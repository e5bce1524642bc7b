//! Contract 6, a damaged store: the newest part of the journal is gone. That is told, and no number is given twice.

use crate::fixture::{Daemon, Recipe, message};
use std::path::PathBuf;

/// The journal's segments, oldest first.
fn segments(daemon: &Daemon) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(daemon.data_dir().join("journal")).unwrap();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    found.sort();
    found
}

/// The ids of what a client is given now.
fn polled(daemon: &Daemon) -> Vec<String> {
    daemon.client().poll("wxid=wxid_me").iter().map(|command| command["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_lost_end_of_the_journal_is_told_and_nothing_is_given_twice() {
    for (killed, empty) in [(false, false), (false, true), (true, false), (true, true)] {
        let case = format!("killed: {killed}, empty: {empty}");
        let mut daemon =
            Recipe::default().config("[pacing]\nsends_per_minute = 0\n[store]\nsegment = \"1MiB\"\n").start();
        let text = |n: usize| message("wxid_me", "wxid_a", None, &format!("{n} {}", "x".repeat(50_000)));
        let ids: Vec<u64> = (0..3).map(|n| daemon.queue_text(&format!("old {n}"))).collect();
        (0..30).for_each(|n| daemon.client().event(&text(n)));
        assert_eq!(polled(&daemon).len(), 3, "{case}");
        ids.iter().for_each(|id| drop(daemon.reaches(*id, "fetched")));
        let before = daemon.status();
        let last = before["events"]["last"].as_u64().unwrap();
        if killed {
            daemon.kill9();
        } else {
            assert_eq!(daemon.terminate(), 0);
        }
        let segments = segments(&daemon);
        assert!(segments.len() > 1, "{case}");
        let newest = segments.last().unwrap();
        if empty {
            std::fs::write(newest, "").unwrap();
        } else {
            std::fs::remove_file(newest).unwrap();
        }
        daemon.start();
        let after = daemon.status();
        assert_ne!(after["log"], before["log"], "{case}: readers must not take it for the same log");
        assert!(daemon.log().contains("the end of the journal"), "{case}: {}", daemon.log());
        let known = after["events"]["last"].as_u64().unwrap();
        if !killed {
            assert_eq!(known, last, "{case}");
            let lost = daemon.log().lines().any(|line| line.contains(&format!("to {last} are lost")));
            assert!(lost, "{case}: {}", daemon.log());
            // Each is there, or told of.
            let run = daemon.cli(&["events", "-n", "all"]);
            let kept: Vec<u64> = run
                .out
                .lines()
                .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
                .map(|event| event["seq"].as_u64().unwrap())
                .collect();
            run.says(&[&format!("events {} to {last} were dropped", kept.len() + 1)]);
            let refused = daemon.cli(&["events", "show", &last.to_string()]);
            refused.exits(5).says(&["is lost"]);
            // What was fetched is known to be.
            assert_eq!(polled(&daemon), Vec::<String>::new(), "{case}");
        }
        let id = daemon.queue_text("new");
        assert!(id > *ids.last().unwrap(), "{case}: {id} after {ids:?}");
        daemon.client().event(&text(99));
        assert_eq!(daemon.last_event()["seq"].as_u64().unwrap(), known + 1, "{case}");
        let log = daemon.status()["log"].clone();
        daemon.restart();
        assert_eq!((daemon.status()["log"].clone(), log), (after["log"].clone(), after["log"].clone()), "{case}");
        assert!(!daemon.log().contains("panic"), "{case}: {}", daemon.log());
    }
}

#[test]
fn an_event_that_cannot_be_read_is_told_by_everything_that_would_have_given_it() {
    let mut daemon = Daemon::new();
    (1..=12).for_each(|n| daemon.client().event(&message("wxid_me", "wxid_a", None, &format!("the words of {n} end"))));
    assert_eq!(daemon.terminate(), 0);
    let [segment] = &segments(&daemon)[..] else { panic!("one segment") };
    let mut bytes = std::fs::read(segment).unwrap();
    let words = b"the words of 7 end";
    let at = bytes.windows(words.len()).position(|window| window == words).unwrap();
    bytes[at] ^= 1;
    std::fs::write(segment, bytes).unwrap();
    daemon.start();
    let run = daemon.cli(&["backup", "b"]).exits(0);
    run.says(&["the backup lacks 1 event"]);
    let args = ["events", "--cursor", "c", "--cursor-from", "oldest", "--exec", "sh", "-c", "echo $WEHELP_SEQ"];
    let run = daemon.cli(&args).exits(1);
    run.says(&["event 7 cannot be read", "1 event could not be read, and the command was not given them"]);
    assert_eq!(run.out.lines().collect::<Vec<_>>(), ["1", "2", "3", "4", "5", "6", "8", "9", "10", "11", "12"]);
    let run = daemon.cli(&["events", "-n", "all", "--json"]).exits(1);
    assert_eq!(run.out.lines().count(), 11);
    let told: Vec<serde_json::Value> = run.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told[0]["seq"], 7);
    assert!(told[0]["damaged"].is_string(), "{told:?}");
    assert_eq!((&told[1]["error"], &told[1]["exit"], told.len()), (&"damaged".into(), &1.into(), 2));
    let status = daemon.status();
    assert_eq!(status["store"]["damaged"], 1);
    assert!(status["hints"][0].as_str().unwrap().contains("event 7"), "{status}");
    // What was told once is consumed.
    daemon.cli(&args).exits(0);
}
