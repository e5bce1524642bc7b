//! Contract 3, `ask`: a question in a chat and its answer, one at a time, whatever ends meanwhile.

use crate::answers::{column, members, notice, own, queued};
use crate::fixture::{eventually, fetch, known, message};
use serde_json::{Value, json};

#[test]
fn ask_prints_the_next_message_of_that_chat() {
    let daemon = known();
    let asking = daemon.beside(&["ask", "wxid_a", "deploy?", "--timeout", "60s"]);
    let question = fetch(&daemon);
    assert_eq!(question["text"], "deploy?");
    daemon.client().event(&own("wxid_a", "deploy?"));
    daemon.client().event(&message("wxid_me", "wxid_b", None, "not me"));
    daemon.client().event(&message("wxid_me", "wxid_a", None, "yes, go"));
    let run = asking.end().exits(0);
    assert_eq!(run.out.lines().count(), 1, "{}", run.out);
    assert!(run.out.contains("yes, go"), "{}", run.out);
}

#[test]
fn ask_waits_for_what_matches_and_no_longer_than_told() {
    let daemon = known();
    daemon.client().event(&message("wxid_me", "wxid_a", None, "yes, said before"));
    let asking = daemon.beside(&["ask", "wxid_a", "deploy?", "--timeout", "60s", "--match", "^(yes|no)$"]);
    fetch(&daemon);
    for text in ["hm", "yes and no", "no"] {
        daemon.client().event(&message("wxid_me", "wxid_a", None, text));
    }
    let run = asking.end().exits(0);
    assert!(run.out.contains("no") && !run.out.contains("hm"), "{}", run.out);
    let run = daemon.cli(&["ask", "wxid_a", "still there?", "--timeout", "300ms"]).exits(6);
    assert!(run.out.is_empty() && !run.err.is_empty(), "{run:?}");
}

#[test]
fn ask_takes_the_answer_of_one_person_in_a_room() {
    let daemon = known();
    daemon.client().event(&members("1@chatroom", &["wxid_a", "wxid_b"]).to_string());
    let asking = daemon.beside(&["ask", "1@chatroom", "deploy?", "--from", "@n-wxid_b", "--text"]);
    fetch(&daemon);
    daemon.client().event(&message("wxid_me", "1@chatroom", Some("wxid_a"), "not me"));
    daemon.client().event(&message("wxid_me", "1@chatroom", Some("wxid_b"), "me"));
    assert_eq!(asking.end().exits(0).out, "me\n");
}

#[test]
fn ask_ends_at_once_when_the_question_is_refused() {
    let daemon = known();
    let asking = daemon.beside(&["ask", "wxid_a", "deploy?", "--timeout", "60s"]);
    fetch(&daemon);
    daemon.reaches(1, "fetched");
    daemon.client().event(&notice("wxid_a", "你已添加了对方"));
    daemon.client().event(&notice("wxid_a", "消息已发出，但被对方拒收了。"));
    let run = asking.end().exits(5);
    run.says(&["被对方拒收了"]);
    assert!(run.out.is_empty(), "{}", run.out);
}

#[test]
fn ask_refuses_what_nothing_can_answer_before_anything_is_queued() {
    let daemon = known();
    daemon.cli(&["ask", "wxid_a", "x", "--match", "("]).exits(2).says(&["--match"]);
    daemon.cli(&["ask", "wxid_a", "x", "--no-wait"]).exits(2).says(&["--timeout"]);
    for dry in [&["--dry-run"][..], &[]] {
        // Nobody else is in that chat.
        let run = daemon.cli(&[&["ask", "wxid_a", "x", "--from", "wxid_b"], dry].concat()).exits(2);
        run.says(&["--from", "wxid_b", "wxid_a"]);
        daemon.cli(&["ask", "wxid_a", "x", "--from", "wxid_a", "--dry-run"]).exits(0);
    }
    assert!(daemon.cli(&["queue", "list", "--all"]).exits(0).lines().is_empty());
}

#[test]
fn one_question_at_a_time_is_open_in_a_chat() {
    let daemon = known();
    let first = daemon.beside(&["ask", "wxid_a", "one?", "--timeout", "60s"]);
    queued(&daemon, 1);
    let second = daemon.beside(&["ask", "wxid_a", "two?", "--timeout", "60s"]);
    let other = daemon.beside(&["ask", "wxid_b", "three?", "--timeout", "60s"]);
    let all = queued(&daemon, 3);
    let held = all.iter().find(|r| r["command"]["text"] == "two?").unwrap();
    assert!(held["held"]["reason"].as_str().unwrap().starts_with("ask: "), "{held}");
    daemon.cli(&["ask", "wxid_a", "four?", "--no-queue"]).exits(5).says(&["open in this chat"]);
    assert_eq!(queued(&daemon, 3).len(), 3, "nothing was queued");
    let texts = |polled: Vec<Value>| polled.iter().map(|c| c["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(texts(daemon.client().poll("wxid=wxid_me&pid=7")), ["one?", "three?"]);
    daemon.reaches(1, "fetched");
    assert!(daemon.client().poll("wxid=wxid_me&pid=7").is_empty(), "a question out of its turn");
    daemon.client().event(&message("wxid_me", "wxid_a", None, "yes"));
    assert_eq!(first.end().exits(0).line()["text"], "yes");
    // Its turn has come; what was said before it was asked is no answer.
    assert_eq!(fetch(&daemon)["text"], "two?");
    daemon.client().event(&message("wxid_me", "wxid_a", None, "no"));
    let run = second.end().exits(0);
    run.says(&["waits for its turn"]);
    assert_eq!(run.line()["text"], "no");
    drop(other);
}

#[test]
fn the_turn_passes_on_when_the_asker_is_gone() {
    let daemon = known();
    let fetched = daemon.beside(&["ask", "wxid_a", "one?"]);
    assert_eq!(fetch(&daemon)["text"], "one?");
    let unfetched = daemon.beside(&["ask", "wxid_a", "two?"]);
    queued(&daemon, 2);
    let last = daemon.beside(&["ask", "wxid_a", "three?"]);
    queued(&daemon, 3);
    // A question that nobody waits for is not asked.
    drop(unfetched);
    daemon.reaches(2, "cancelled");
    assert!(daemon.client().poll("wxid=wxid_me&pid=7").is_empty());
    drop(fetched);
    assert_eq!(fetch(&daemon)["text"], "three?");
    daemon.client().event(&message("wxid_me", "wxid_a", None, "yes"));
    assert_eq!(last.end().exits(0).line()["text"], "yes");
}

#[test]
fn who_is_stopped_holds_no_turn_beyond_its_answer_and_its_time() {
    for (answered, patience) in [(true, "60s"), (false, "2s")] {
        let daemon = known();
        let stopped = daemon.beside(&["ask", "wxid_a", "one?", "--timeout", patience, "--match", "^yes$"]);
        assert_eq!(fetch(&daemon)["text"], "one?");
        daemon.reaches(1, "fetched");
        rustix::process::kill_process(stopped.pid(), rustix::process::Signal::STOP).unwrap();
        daemon.client().event(&message("wxid_me", "wxid_a", None, "hm"));
        let second = daemon.beside(&["ask", "wxid_a", "two?", "--timeout", "60s"]);
        queued(&daemon, 2);
        if answered {
            assert!(daemon.client().poll("wxid=wxid_me&pid=7").is_empty(), "a question out of its turn");
            daemon.client().event(&message("wxid_me", "wxid_a", None, "yes"));
        }
        assert_eq!(fetch(&daemon)["text"], "two?");
        daemon.client().event(&message("wxid_me", "wxid_a", None, "no"));
        assert_eq!(second.end().exits(0).line()["text"], "no");
        rustix::process::kill_process(stopped.pid(), rustix::process::Signal::CONT).unwrap();
        let first = stopped.end();
        assert_eq!(first.code, if answered { 0 } else { 6 }, "{first:?}");
    }
}

#[test]
fn after_a_crash_questions_of_those_who_are_gone_are_in_nobodys_way_for_long() {
    let mut daemon = known();
    let fetched = daemon.beside(&["ask", "wxid_a", "one?"]);
    assert_eq!(fetch(&daemon)["text"], "one?");
    daemon.reaches(1, "fetched");
    let unfetched = daemon.beside(&["ask", "wxid_b", "two?"]);
    queued(&daemon, 2);
    let back = daemon.beside(&["ask", "wxid_c", "three?", "--timeout", "60s"]);
    queued(&daemon, 3);
    daemon.kill9();
    drop((fetched, unfetched));
    daemon.start();
    let others = ["wxid_a", "wxid_b"].map(|chat| daemon.beside(&["ask", chat, "well?", "--timeout", "10s"]));
    queued(&daemon, 5);
    let mut asked = Vec::new();
    eventually("all are asked whose askers are there", || {
        asked.extend(daemon.client().poll("wxid=wxid_me&pid=7").iter().map(|c| format!("{} {}", c["wxid"], c["text"])));
        (asked.len() == 3).then(|| asked.sort())
    });
    assert_eq!(asked, [r#""wxid_a" "well?""#, r#""wxid_b" "well?""#, r#""wxid_c" "three?""#]);
    for chat in ["wxid_a", "wxid_b", "wxid_c"] {
        daemon.client().event(&message("wxid_me", chat, None, "yes"));
    }
    let [behind, free] = others.map(|other| other.end().exits(0));
    behind.says(&["another question is open"]);
    // Nobody else asks in these chats.
    assert_eq!((free.err, back.end().exits(0).err), (String::new(), String::new()));
}

#[test]
fn a_question_that_nobody_fetched_is_not_asked_later() {
    let daemon = known();
    let first = daemon.beside(&["ask", "wxid_a", "one?"]);
    assert_eq!(fetch(&daemon)["text"], "one?");
    daemon.cli(&["ask", "wxid_a", "two?", "--timeout", "500ms"]).exits(6).says(&["not asked", "another question"]);
    daemon.cli(&["ask", "wxid_b", "three?", "--timeout", "500ms"]).exits(6).says(&["not asked", "no client"]);
    for id in [2, 3] {
        let state = eventually("it is over", || {
            let state = daemon.show(id)["state"].clone();
            (state == "expired" || state == "cancelled").then_some(state)
        });
        assert_ne!(state, "ready");
    }
    drop(first);
    assert!(daemon.client().poll("wxid=wxid_me&pid=7").is_empty());
}

#[test]
fn calls_and_notices_are_no_answer() {
    let daemon = known();
    let asking = daemon.beside(&["ask", "1@chatroom", "deploy?"]);
    fetch(&daemon);
    for kind in ["50", "10000", "10002"] {
        let event = json!({"type": 78, "msgType": kind, "processid": 7, "cwxid": "wxid_me", "wxid": "1@chatroom",
            "formWxid": "wxid_a", "message": "yes"});
        daemon.client().event(&event.to_string());
    }
    // In a room anybody may answer.
    daemon.client().event(&message("wxid_me", "1@chatroom", Some("wxid_z"), "go"));
    assert_eq!(asking.end().exits(0).line()["text"], "go");
}

#[test]
fn questions_keep_their_turns_over_a_restart() {
    let mut daemon = known();
    let first = daemon.beside(&["ask", "wxid_a", "one?", "--timeout", "60s"]);
    assert_eq!(fetch(&daemon)["text"], "one?");
    daemon.reaches(1, "fetched");
    let second = daemon.beside(&["ask", "wxid_a", "two?", "--timeout", "60s"]);
    queued(&daemon, 2);
    daemon.restart();
    assert!(daemon.client().poll("wxid=wxid_me&pid=7").is_empty(), "a question out of its turn");
    daemon.client().event(&message("wxid_me", "wxid_a", None, "yes"));
    assert_eq!(first.end().exits(0).line()["text"], "yes");
    assert_eq!(fetch(&daemon)["text"], "two?");
    daemon.client().event(&message("wxid_me", "wxid_a", None, "no"));
    assert_eq!(second.end().exits(0).line()["text"], "no");
}

#[test]
fn after_a_restart_nothing_is_asked_before_its_asker_is_back() {
    let mut daemon = known();
    let gone = daemon.beside(&["ask", "wxid_a", "one?", "--timeout", "60s"]);
    let back = daemon.beside(&["ask", "wxid_b", "two?", "--timeout", "60s"]);
    queued(&daemon, 2);
    let id = |text: &str| {
        let of = |id: &u64| daemon.show(*id)["command"]["text"] == text;
        (1..=2).find(of).unwrap()
    };
    let (one, two) = (id("one?"), id("two?"));
    daemon.kill9();
    drop(gone);
    daemon.start();
    let asked = eventually("the asker is back", || {
        let mut commands = daemon.client().poll("wxid=wxid_me&pid=7");
        assert!(commands.iter().all(|command| command["text"] == "two?"), "{commands:?}");
        commands.pop()
    });
    assert_eq!(asked["text"], "two?");
    daemon.reaches(two, "fetched");
    let held = &daemon.show(one)["held"];
    assert!(held["reason"].as_str().unwrap().starts_with("ask: "), "{held}");
    daemon.client().event(&message("wxid_me", "wxid_b", None, "yes"));
    assert_eq!(back.end().exits(0).line()["text"], "yes");
    assert!(daemon.client().poll("wxid=wxid_me&pid=7").is_empty());
    daemon.reaches(one, "cancelled");
}

#[test]
fn ask_and_questions_outlive_a_restart_of_the_daemon() {
    let mut daemon = known();
    let asking = daemon.beside(&["ask", "wxid_a", "deploy?", "--timeout", "60s"]);
    let question = daemon.beside(&["room", "members", "1@chatroom", "--wait=60s"]);
    let mut fetched = 0;
    eventually("both are fetched", || {
        fetched += daemon.client().poll("wxid=wxid_me&pid=7").len();
        (fetched == 2).then_some(())
    });
    daemon.reaches(1, "fetched");
    daemon.reaches(2, "fetched");
    daemon.restart();
    daemon.client().event(&message("wxid_me", "wxid_a", None, "yes"));
    daemon.client().event(&members("1@chatroom", &["wxid_a"]).to_string());
    assert_eq!(asking.end().exits(0).line()["text"], "yes");
    assert_eq!(column(&question.end().exits(0), "wxid"), ["wxid_a"]);
}
