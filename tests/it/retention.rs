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

/// Lets it keep a megabyte of what it has. The first position kept: nothing more is dropped, since a start drops all at
/// one go; a daemon that is filled meanwhile drops a few now and then.
fn keeps_a_megabyte(daemon: &mut Daemon) -> u64 {
    assert_eq!(first(daemon), 1);
    daemon.rewrite_config("[events]\nmax_bytes = \"1MiB\"\n");
    daemon.restart();
    eventually("the oldest are dropped", || Some(first(daemon)).filter(|first| *first > 1))
}

#[test]
fn the_oldest_events_go_when_there_are_too_many_bytes() {
    let mut daemon = Daemon::new();
    fill(&daemon, 400, 10_000);
    let first = keeps_a_megabyte(&mut daemon);
    assert!(first > 200, "{first}");
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
    // A loss is no chatter: cron wants to know (contract 4).
    let quiet = daemon.cli(&["events", "--since", "#5", "-q"]).exits(0);
    quiet.says(&["dropped", &(first - 1).to_string()]);
    let told = daemon.cli(&["events", "--since", "#5", "--json"]).exits(0).err;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, serde_json::json!({ "dropped": { "from": 5, "to": first - 1 } }));
    // What was asked for without naming a place is not missed.
    assert_eq!(daemon.cli(&["events", "-n", "all"]).exits(0).err, "");
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
    let mut daemon = Daemon::new();
    fill(&daemon, 10, 10);
    assert_eq!(daemon.events(&["--cursor", "c", "-n", "all"]).len(), 10);
    fill(&daemon, 400, 10_000);
    let first = keeps_a_megabyte(&mut daemon);
    let run = daemon.cli(&["events", "--cursor", "c"]).exits(0);
    assert_eq!(run.lines()[0]["seq"], first);
    run.says(&[&first.to_string()]);
}

#[test]
fn a_follower_is_told_of_what_was_dropped_while_it_stood_still() {
    use rustix::process::{Signal, kill_process};
    let daemon = Recipe::default().config("[events]\nmax_bytes = \"1MiB\"\n").start();
    fill(&daemon, 1, 10);
    let mut follower = daemon.beside(&["events", "-f", "-n", "all"]);
    assert_eq!(follower.next_json()["seq"], 1);
    kill_process(follower.pid(), Signal::STOP).unwrap();
    // More than all buffers between the two hold.
    fill(&daemon, 1000, 10_000);
    eventually("the oldest are dropped", || (first(&daemon) > 850).then_some(()));
    kill_process(follower.pid(), Signal::CONT).unwrap();
    let mut seqs = vec![1];
    while *seqs.last().unwrap() < 1001 {
        seqs.push(follower.next_json()["seq"].as_u64().unwrap());
    }
    kill_process(follower.pid(), Signal::TERM).unwrap();
    let gaps: Vec<_> = seqs.windows(2).filter(|two| two[1] != two[0] + 1).collect();
    let [gap] = gaps[..] else { panic!("{gaps:?}") };
    follower.end().says(&[&format!("events {} to {} were dropped", gap[0] + 1, gap[1] - 1)]);
}

#[test]
fn a_command_that_was_not_given_everything_ends_with_a_failure() {
    let mut daemon = Daemon::new();
    fill(&daemon, 3, 10);
    daemon.cli(&["events", "--cursor", "c"]).exits(0);
    fill(&daemon, 400, 10_000);
    let first = keeps_a_megabyte(&mut daemon);
    let run = daemon.cli(&["events", "--cursor", "c", "--self", "--exec", "true"]).exits(1);
    run.says(&[&format!("events 4 to {} were dropped", first - 1), "was not given"]);
    // It has been told; the rest was done.
    daemon.cli(&["events", "--cursor", "c", "--self", "--exec", "true"]).exits(0);
}

#[test]
fn old_events_wait_for_the_cursors_in_use() {
    let daemon = Recipe::default().config("[events]\nkeep = \"1s\"\n").start();
    fill(&daemon, 10, 10);
    assert_eq!(daemon.events(&["--cursor", "c", "--count", "3"]).len(), 3);
    // It goes up to there, and not further, however long we look.
    eventually("what was read is dropped", || (first(&daemon) == 4).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(first(&daemon), 4);
    let seqs = daemon.events(&["--cursor", "c"]).iter().map(|e| e["seq"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(seqs, (4..=10).collect::<Vec<_>>());
    eventually("what was read is dropped", || (first(&daemon) == 10).then_some(()));
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

#[test]
fn what_was_dropped_after_it_was_learned_from_is_no_loss_at_the_next_start() {
    let mut daemon = Recipe::default().config("[events]\nmax_bytes = \"1MiB\"\n").start();
    for n in 0..40 {
        daemon.client().event(&message("wxid_me", "wxid_a", None, &format!("{n} {}", "x".repeat(100_000))));
    }
    // What it knows of the sender it has from the first; the others teach nothing.
    eventually("most are dropped", || (daemon.status()["events"]["first"].as_u64() > Some(20)).then_some(()));
    daemon.restart();
    daemon.status();
    assert!(!daemon.log().contains("before anything was learned"), "{}", daemon.log());
}
