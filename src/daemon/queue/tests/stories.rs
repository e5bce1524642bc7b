//! Promises of single transitions, each as a story of a few steps: what the model of the whole queue leaves out.

use super::*;

/// By a client that names no process.
fn claimed(account: Option<&str>, time: Time) -> Claimed {
    let account = account.map(str::to_owned);
    let (names, peer, purse) = Default::default();
    Claimed { time, account, names, pid: None, peer, tail: Seq(1), purse }
}

/// What a client without a name may take.
fn unbound() -> Lists {
    Lists { bound: Vec::new(), unbound: Share::All, purse: Purse::of("") }
}

/// What a story of one chat comes to: `12` hands those out together, `e1` is the echo of 1, `r` a notice; which ones are
/// rejected, in that order.
#[test]
fn a_notice_refuses_what_was_said_last_before_it() {
    for (story, rejected) in [
        // As a client reports them, one after the other.
        ("12 e1 r e2", &[1][..]),
        ("12 e1 e2 r", &[2]),
        ("12 e1 r e2 r", &[1, 2]),
        ("123 e1 e2 r e3 r", &[2, 3]),
        ("1 e1 2 e2 r", &[2]),
        ("1 2 e1 r e2", &[1]),
        // No echoes: the order in which they went out.
        ("12 r", &[1]),
        ("12 r r", &[1, 2]),
        ("12 r r r", &[1, 2]),
        // What went out earlier has been there for longer without a word.
        ("1 2 r", &[2]),
        ("1 23 r r r", &[2, 3, 1]),
        ("1 e1 2 r", &[2]),
        ("1 e1 2 r r", &[2, 1]),
        ("1 e1 r", &[1]),
        ("r", &[]),
    ] {
        let mut both = Both::new();
        let mut got = Vec::new();
        for text in 1..=3 {
            both.enqueue(Some("wxid_a"), What { text, bulk: false, login: false }, None, 0, None);
        }
        for word in story.split(' ') {
            let before: Vec<u64> = both.rejected();
            match word.as_bytes() {
                [b'e', text] => both.echo("wxid_a", text - b'0'),
                b"r" => both.refuse("wxid_a"),
                out => both.claim(Some("wxid_a"), Share::All, out.len()),
            }
            got.extend(both.rejected().into_iter().filter(|id| !before.contains(id)));
            both.seq += 1;
            both.now = both.now.after(Duration::from_millis(300));
        }
        assert_eq!(got, rejected, "{story}");
    }
}

/// Whose key, or friend request, is another command's by now is not queued again; any other is, and has it again.
#[test]
fn a_retry_asks_as_a_new_command_does() {
    let text = (r#"{"api":"sendTextMessage","wxid":"a","text":"b"}"#, Some("k"));
    let accept = (r#"{"api":"acceptFriend","v1":"v1_a","v2":"v2_a"}"#, None);
    let now = Time::from_millis(1_800_000_000_000);
    for (wire, key) in [text, accept] {
        for expires in [false, true] {
            let both = Both::new();
            both.write(move |tx| {
                let queue = |tx: &mut Txn<'_>, now: Time, expires: bool| {
                    let new = New { wire: Wire::from_json(wire).unwrap(), key: key.map(str::to_owned) };
                    let expires = expires.then(|| now.after(Duration::from_secs(1)));
                    let when = When { due: now, expires, fixed: false, bulk: false };
                    let mut made = enqueue(tx, now, Some("wxid_a"), vec![new], when, &config::Queue::default());
                    let (record, repeated) = made.as_mut().unwrap().remove(0);
                    (record.id, repeated)
                };
                let later = now.after(Duration::from_secs(2));
                assert_eq!(queue(tx, now, expires), (1, false));
                if expires {
                    assert_eq!(expire(tx, later), 1)
                } else {
                    cancel(tx, 1, false, now).map(drop).unwrap()
                }
                assert_eq!(queue(tx, later, false), (2, false), "{wire}: it was free");
                let refused = retry(tx, 1, false, later).unwrap_err();
                assert!(refused.to_string().contains("command 2"), "{refused}");
                // The other one ends as well: it is free, and then the first one's again.
                cancel(tx, 2, false, later).unwrap();
                assert_eq!(retry(tx, 1, false, later).unwrap().phase, Phase::Queued, "{wire}");
                assert_eq!(queue(tx, later, false), (1, true), "{wire}");
                assert!(retry(tx, 2, false, later).is_err(), "{wire}");
            });
        }
    }
}

/// Queues a text with a key and has it fetched, sets the clock by `set` milliseconds, and looks as long after.
#[test]
fn a_clock_that_is_set_changes_no_age() {
    const DAY: i64 = 86_400_000;
    let now = Time::from_millis(1_800_000_000_000);
    for set in [366 * DAY, -366 * DAY, 2 * DAY, 90_000, -90_000, 0] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options { free_bytes_min: 0, ..Options::default() }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let after = move |by: Duration| Time::from_millis(now.after(by).millis() + set);
        let done = runtime.block_on(store.write(move |tx| {
            let text = r#"{"api":"sendTextMessage","code":1,"wxid":"wxid_b","text":"t"}"#;
            let new = || New { wire: Wire::from_json(text).unwrap(), key: Some("k".to_owned()) };
            let when = |due| When { due, expires: None, fixed: false, bulk: false };
            let me = Some("wxid_a");
            let queue = |tx: &mut Txn<'_>, now| {
                enqueue(tx, now, me, vec![new()], when(now), &config::Queue::default()).unwrap().remove(0)
            };
            let id = queue(tx, now).0.id;
            let lists = Lists {
                bound: vec![("wxid_a".to_owned(), Share::All)],
                unbound: Share::All,
                purse: pacing::Purse::of("wxid_a"),
            };
            let by = claimed(me, now);
            let pacing = config::Pacing::default();
            assert_eq!(claim(tx, &lists, &by, 9, &pacing).len(), 1);
            // The clock is set during a hand-over that fails.
            shift(tx, &[id], set, now);
            settle(tx, &[id], Settled::GivenBack, Seq(1), now);
            assert_eq!(load(tx, id).unwrap().due, after(Duration::ZERO), "{set}");
            shift(tx, &[id], -set, after(Duration::ZERO));
            assert_eq!(claim(tx, &lists, &by, 9, &pacing).len(), 1);
            settle(tx, &[id], Settled::Fetched { confirmed: true }, Seq(1), now);
            let mut ages = Ages::load(tx);
            ages.step(set, Seq(2), after(Duration::ZERO));
            ages.put(tx);
            // A notice that comes within ten seconds may refuse it, a later one may not.
            for (seconds, found) in [(5, 1), (11, 0)] {
                let came = after(Duration::from_secs(seconds));
                assert_eq!(refusable(tx, "wxid_a", "wxid_b", Seq(2), came).len(), found, "{set} {seconds}");
            }
            for (hours, known) in [(23, true), (25, false)] {
                let then = after(Duration::from_secs(hours * 3600));
                let age = ages.surely(then);
                forget(tx, age.before(Duration::from_secs(24 * 3600)), age);
                assert_eq!(load(tx, id).is_some(), known, "{set} {hours}");
                let (record, repeated) = queue(tx, then);
                assert_eq!((record.id == id, repeated), (known, known), "{set} {hours}");
            }
            Ok::<_, ()>(())
        }));
        done.unwrap().unwrap();
    }
}

#[test]
fn a_start_that_gives_back_twice_takes_no_later_hand_over_for_the_one_before_it() {
    let both = Both::new();
    let now = both.now;
    both.write(move |tx| {
        let text = r#"{"api":"sendTextMessage","code":1,"wxid":"wxid_b","text":"t"}"#;
        let new = New { wire: Wire::from_json(text).unwrap(), key: None };
        let when = When { due: now, expires: None, fixed: false, bulk: false };
        let id = enqueue(tx, now, None, vec![new], when, &config::Queue::default()).unwrap().remove(0).0.id;
        let by = claimed(None, now);
        let lists = unbound();
        assert_eq!(claim(tx, &lists, &by, 9, &UNPACED).len(), 1);
        let left = [HandoverLeft { id, attempt: load(tx, id).unwrap().attempts }];
        redeliver(tx, &left, Seq(1), now);
        assert_eq!(load(tx, id).unwrap().phase, Phase::Queued);
        // The store has kept that, and has told that it failed; meanwhile a client polls.
        assert_eq!(claim(tx, &lists, &by, 9, &UNPACED).len(), 1);
        redeliver(tx, &left, Seq(1), now);
        assert_eq!(load(tx, id).unwrap().phase, Phase::InFlight);
    });
}

#[test]
fn nothing_goes_out_behind_a_logout() {
    let both = Both::new();
    let now = both.now;
    let command = |api: &str| New { wire: Wire::from_json(&format!(r#"{{"api":"{api}"}}"#)).unwrap(), key: None };
    let news = ["sendTextMessage", "outLogin", "sendTextMessage"].map(command);
    let lists = || unbound();
    let by = claimed(None, now);
    both.write(move |tx| {
        let bulk = When { due: now, expires: None, fixed: false, bulk: true };
        let prompt = When { bulk: false, ..bulk };
        enqueue(tx, now, None, vec![command("sendTextMessage")], bulk, &config::Queue::default()).unwrap();
        enqueue(tx, now, None, news.into(), prompt, &config::Queue::default()).unwrap();
        let mut batch = || claim(tx, &lists(), &by, 20, &UNPACED).iter().map(|record| record.id).collect::<Vec<_>>();
        assert_eq!((batch(), batch()), (vec![2, 3], vec![4, 1]));
    });
}

#[test]
fn a_call_that_the_queue_has_no_room_for_says_what_is_so() {
    let both = Both::new();
    let now = both.now;
    let queue = |n: usize| {
        let new = || New { wire: Wire::from_json(r#"{"api":"x"}"#).unwrap(), key: None };
        let news = std::iter::repeat_with(new).take(n).collect();
        let limits = config::Queue { commands_max: 3, ..config::Queue::default() };
        let when = When { due: now, expires: None, fixed: false, bulk: false };
        let made = both.store().write(move |tx| enqueue(tx, now, None, news, when, &limits));
        both.runtime.block_on(made).unwrap().map(|made| made.len()).map_err(|refused| refused.to_string())
    };
    let none = queue(4).unwrap_err();
    assert!(none.contains("4 more commands") && none.contains("0 wait") && none.contains("is 3"), "{none}");
    assert_eq!(queue(2), Ok(2));
    let some = queue(2).unwrap_err();
    assert!(some.contains("2 more commands") && some.contains("2 wait"), "{some}");
    assert_eq!(queue(1), Ok(1));
    let full = queue(1).unwrap_err();
    assert!(full.contains("the queue is full: 3 commands wait"), "{full}");
}

#[test]
fn what_was_in_an_answer_when_the_clock_was_set_back_is_not_held_when_it_comes_back() {
    let both = Both::new();
    let (now, step) = (both.now, Duration::from_secs(90));
    let by = move |time| claimed(None, time);
    let lists = || unbound();
    let id = both.write(move |tx| {
        let new = New { wire: Wire::from_json(r#"{"api":"x"}"#).unwrap(), key: None };
        let when = When { due: now, expires: Some(now.after(step)), fixed: false, bulk: false };
        let made = enqueue(tx, now, None, vec![new], when, &config::Queue::default()).unwrap();
        assert_eq!(claim(tx, &lists(), &by(now), 1, &UNPACED).len(), 1);
        made[0].0.id
    });
    let ids = read::queued(both.store()).unwrap();
    assert_eq!(ids, [id]);
    let set = now.before(step);
    both.write(move |tx| {
        shift(tx, &ids, -90_000, now);
        settle(tx, &[id], Settled::GivenBack, Seq(1), set);
        let record = load(tx, id).unwrap();
        assert_eq!((record.state(set), record.expires), (State::Ready, Some(now)));
        assert_eq!(claim(tx, &lists(), &by(set), 1, &UNPACED).len(), 1);
    });
}

/// A question waits for the one before it, unless that is with no client and whoever asked it is away.
#[test]
fn who_is_away_is_in_the_way_only_with_what_a_client_has() {
    let text = r#"{"api":"sendTextMessage","code":1,"wxid":"wxid_b","text":"t"}"#;
    let now = Time::from_millis(1_800_000_000_000);
    for (away, fetched, waits) in [(false, false, true), (false, true, true), (true, false, false), (true, true, true)]
    {
        Both::new().write(move |tx| {
            let me = Some("wxid_a");
            let put = |tx: &mut Txn<'_>| {
                let new = New { wire: Wire::from_json(text).unwrap(), key: None };
                let when = When { due: now, expires: None, fixed: false, bulk: false };
                ask(tx, now, me, vec![new], when, &config::Queue::default(), true).unwrap().remove(0).0
            };
            let waits_now = |record: &Record| record.waits_for_its_turn().map(|held| held.reason);
            let first = put(tx);
            assert_eq!(waits_now(&first), None);
            if fetched {
                let lists =
                    Lists { bound: vec![("wxid_a".to_owned(), Share::All)], unbound: Share::All, purse: Purse::of("") };
                let by = claimed(me, now);
                assert_eq!(claim(tx, &lists, &by, 9, &UNPACED).len(), 1);
                settle(tx, &[first.id], Settled::Fetched { confirmed: true }, Seq(1), now);
            }
            ask_waits(tx, first.id, away, now);
            let second = put(tx);
            assert_eq!(waits_now(&second).is_some(), waits, "{away} {fetched}");
            // Who is back has its place in the line again.
            ask_waits(tx, first.id, false, now);
            let (first, second) = (load(tx, first.id).unwrap(), load(tx, second.id).unwrap());
            assert_eq!((waits_now(&first).is_some(), waits_now(&second).is_some()), (false, true), "{away} {fetched}");
        });
    }
}
