//! Contract 7, retention: old events go, numbers are never reused, and asking for what is gone says so.

use crate::fixture::{Daemon, Recipe, eventually, message};

/// Posts `count` events of about `size` bytes.
fn fill(daemon: &Daemon, count: usize, size: usize) {
    let client = daemon.client();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for n in (thread..count).step_by(4) {
                    client.event(&message("wxid_me", "wxid_a", None, &format!("{n} {}", "x".repeat(size))));
                }
            });
        }
    });
}

fn first(daemon: &Daemon) -> u64 {
    daemon.status()["events"]["first"].as_u64().unwrap()
}

#[test]
fn the_oldest_events_go_when_there_are_too_many_bytes() {
    let mut daemon = Recipe::default().config("[events]\nmax_bytes = \"1MiB\"\n").start();
    fill(&daemon, 400, 10_000);
    daemon.restart();
    let first = eventually("the oldest are dropped", || Some(first(&daemon)).filter(|first| *first > 200));
    let status = daemon.status()["events"].clone();
    assert_eq!(status["last"], 400);
    assert_eq!(status["count"].as_u64(), Some(400 - first + 1), "{status}");
    assert!(first <= 400, "the newest is kept");
    // What is left is whole, and what was dropped is said.
    let run = daemon.cli(&["events", "-n", "all"]).exits(0);
    assert_eq!(run.lines()[0]["seq"], first);
    let run = daemon.cli(&["events", "--since", "#5"]).exits(0);
    assert_eq!(run.lines()[0]["seq"], first);
    run.says(&[&first.to_string()]);
    let run = daemon.cli(&["events", "--cursor", "new"]).exits(0);
    assert_eq!(run.lines()[0]["seq"], first);
    daemon.cli(&["events", "show", "5"]).exits(4);
    let quiet = daemon.cli(&["events", "--since", "#5", "-q"]).exits(0);
    assert_eq!(quiet.err, "");
}

#[test]
fn old_events_go_and_their_numbers_are_never_reused() {
    let mut daemon = Recipe::default().config("[events]\nkeep = \"1s\"\n").start();
    fill(&daemon, 20, 10);
    // Their age is the condition: nothing but time brings it about.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    daemon.restart();
    eventually("old ones are dropped", || (first(&daemon) >= 20).then_some(()));
    daemon.kill9();
    daemon.start();
    assert_eq!(daemon.reported(r#"{"type":90}"#)["seq"], 21);
}

#[test]
fn a_follower_of_dropped_events_goes_on_with_the_oldest_kept() {
    let mut daemon = Recipe::default().config("[events]\nmax_bytes = \"1MiB\"\n").start();
    fill(&daemon, 10, 10);
    assert_eq!(daemon.events(&["--cursor", "c", "-n", "all"]).len(), 10);
    fill(&daemon, 400, 10_000);
    daemon.restart();
    let first = eventually("the oldest are dropped", || Some(first(&daemon)).filter(|first| *first > 11));
    let run = daemon.cli(&["events", "--cursor", "c"]).exits(0);
    assert_eq!(run.lines()[0]["seq"], first);
    run.says(&[&first.to_string()]);
}

#[test]
fn finished_commands_are_kept_as_long_as_told() {
    let mut daemon = Recipe::default().config("[queue]\nkeep_done = \"1s\"\n").start();
    let done = daemon.queue_text("done");
    daemon.client().poll("");
    daemon.reaches(done, "fetched");
    let waiting = daemon.queue_text("waiting");
    // Its age is the condition: nothing but time brings it about.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    daemon.restart();
    eventually("the finished one is gone", || {
        (daemon.cli(&["queue", "show", &done.to_string()]).code == 4).then_some(())
    });
    assert_eq!(daemon.show(waiting)["state"], "ready");
    assert!(daemon.queue_text("next") > waiting);
}
