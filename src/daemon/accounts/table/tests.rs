//! Whose a poll is, told as stories.

use super::*;

const NOW: Time = Time::from_millis(1_800_000_000_000);

fn settings() -> config::Accounts {
    config::Accounts { default: None, alias: [("work".to_owned(), "wxid_b".to_owned())].into() }
}

fn poller(account: Option<&str>, pid: Option<u64>) -> Poller {
    let account = account.map(|name| name.to_owned().into());
    Poller { wxid: None, account, pid, peer: "127.0.0.1:9".parse().unwrap() }
}

/// A table that is told things, a second apart.
struct Story {
    accounts: Table,
    seq: u64,
}

impl Default for Story {
    fn default() -> Self {
        Self { accounts: Table::new(settings()), seq: 0 }
    }
}

impl Story {
    fn told(mut self, account: &str, pid: Option<u64>, sign: Sign) -> Self {
        self.seq += 1;
        let time = NOW.after(Duration::from_secs(self.seq));
        let names = Names::default();
        self.accounts.event(Told { account: Some(account), pid, sign, names, seq: Seq(self.seq), time });
        self
    }

    fn profile(mut self, account: &str, nick: &str, username: &str) -> Self {
        self.seq += 1;
        self.accounts.event(named(account, Some(nick), Some(username), self.seq));
        self
    }

    /// What a poll takes: `wxid_a wxid_b? *` is all of a, login questions of b, all that is unbound; `?` login
    /// questions that are unbound.
    fn takes(&mut self, poller: &Poller) -> String {
        let routed = self.accounts.route(poller, NOW);
        let bound = routed.bound.iter().map(|(name, share)| match share {
            Share::All => name.clone(),
            Share::Login => format!("{name}?"),
        });
        let unbound = if routed.unbound == Share::All { "*" } else { "?" };
        bound.chain([unbound.to_owned()]).collect::<Vec<_>>().join(" ")
    }
}

/// An event that tells of names, and of no login.
fn named<'a>(account: &'a str, nick: Option<&str>, username: Option<&str>, seq: u64) -> Told<'a> {
    let names = Names { nick: nick.map(str::to_owned), username: username.map(str::to_owned) };
    Told { account: Some(account), pid: None, sign: Sign::Nothing, names, seq: Seq(seq), time: NOW }
}

fn two() -> Story {
    Story::default()
        .told("wxid_a", Some(1), Sign::In)
        .told("wxid_b", Some(2), Sign::In)
        .profile("wxid_a", "Anna", "anna88")
}

#[test]
fn a_poll_takes_what_its_client_may_have() {
    let none = Story::default;
    let one = || none().told("wxid_a", Some(1), Sign::In);
    let one_out = || one().told("wxid_a", Some(1), Sign::Out);
    let nowhere = || none().told("wxid_a", None, Sign::In);
    let moved = || one().told("wxid_a", Some(9), Sign::Alive);
    let a_out = || two().told("wxid_a", Some(1), Sign::Out);
    let both_out = || a_out().told("wxid_b", Some(2), Sign::Out);
    // b logged in where a was.
    let switched = || one().told("wxid_b", Some(1), Sign::In);
    let switched_back = || switched().told("wxid_a", Some(1), Sign::In);
    let a_moved = || switched().told("wxid_a", Some(3), Sign::In);
    let all_gone = || switched().told("wxid_b", Some(1), Sign::Out);
    type Case<'a> = (&'a str, &'a dyn Fn() -> Story, Option<&'a str>, Option<u64>, &'a str);
    let cases: [Case<'_>; 51] = [
        ("none known: whoever polls", &none, None, None, "*"),
        ("", &none, None, Some(9), "*"),
        ("", &none, Some("wxid_x"), None, "wxid_x *"),
        ("the only account", &one, None, None, "wxid_a *"),
        ("", &one, None, Some(1), "wxid_a *"),
        ("a second WeChat, or a new one of the account", &one, None, Some(9), "*"),
        ("", &one, None, Some(0), "wxid_a *"),
        ("in a process that nothing has told of", &nowhere, None, Some(9), "wxid_a *"),
        ("started anew, and told of", &moved, None, Some(9), "wxid_a *"),
        ("", &moved, None, Some(1), "*"),
        ("", &one, Some("wxid_x"), None, "wxid_x *"),
        ("", &one, Some("wxid_a"), None, "wxid_a *"),
        ("the only account, out", &one_out, None, None, "wxid_a? ?"),
        ("", &one_out, None, Some(1), "wxid_a? ?"),
        ("", &one_out, None, Some(9), "wxid_a? ?"),
        ("", &one_out, Some("wxid_a"), Some(1), "wxid_a? ?"),
        ("", &one_out, Some("wxid_x"), None, "wxid_x *"),
        ("no account is there yet", &one_out, Some("wxid_x"), Some(1), "wxid_x wxid_a? *"),
        ("two", &two, None, None, "*"),
        ("", &two, None, Some(9), "*"),
        ("", &two, None, Some(2), "wxid_b *"),
        ("", &two, Some("wxid_a"), None, "wxid_a *"),
        ("alias", &two, Some("work"), None, "wxid_b *"),
        ("nick", &two, Some("Anna"), Some(9), "wxid_a *"),
        ("WeChat name", &two, Some("anna88"), None, "wxid_a *"),
        ("typed once, and another is there", &two, Some("wxid_a"), Some(2), "wxid_b *"),
        ("one of two, out", &a_out, Some("wxid_a"), None, "wxid_a? ?"),
        ("", &a_out, Some("Anna"), Some(9), "wxid_a? ?"),
        ("", &a_out, None, Some(1), "wxid_a? ?"),
        ("", &a_out, None, None, "*"),
        ("", &a_out, None, Some(2), "wxid_b *"),
        ("", &a_out, Some("wxid_b"), None, "wxid_b *"),
        ("both out", &both_out, None, None, "?"),
        ("", &both_out, None, Some(1), "wxid_a? ?"),
        ("", &both_out, None, Some(9), "?"),
        ("", &both_out, Some("wxid_b"), Some(2), "wxid_b? ?"),
        ("switched in one process", &switched, None, Some(1), "wxid_b *"),
        ("", &switched, Some("wxid_a"), None, "wxid_a? ?"),
        ("", &switched, Some("wxid_a"), Some(1), "wxid_b *"),
        ("", &switched, Some("wxid_b"), Some(1), "wxid_b *"),
        ("", &switched, None, None, "*"),
        ("and back", &switched_back, None, Some(1), "wxid_a *"),
        ("", &switched_back, Some("wxid_b"), None, "wxid_b? ?"),
        ("", &switched_back, Some("wxid_a"), None, "wxid_a *"),
        ("elsewhere", &a_moved, Some("wxid_a"), None, "wxid_a *"),
        ("", &a_moved, None, Some(3), "wxid_a *"),
        ("", &a_moved, None, Some(1), "wxid_b *"),
        ("nobody there any more", &all_gone, None, Some(1), "wxid_a? wxid_b? ?"),
        ("", &all_gone, Some("wxid_b"), None, "wxid_b? ?"),
        ("", &all_gone, Some("wxid_a"), Some(1), "wxid_a? wxid_b? ?"),
        ("", &all_gone, None, None, "?"),
    ];
    for (what, story, name, pid, takes) in cases {
        assert_eq!(story().takes(&poller(name, pid)), takes, "{what}: {name:?} {pid:?}");
    }
    // What a client says of itself counts more than what events told of its process.
    let own = Poller { wxid: Some("wxid_a".to_owned().into()), ..poller(Some("wxid_b"), Some(2)) };
    assert_eq!(two().takes(&own), "wxid_a *");
}

#[test]
fn a_nick_gives_nobody_another_accounts_commands() {
    let as_client = |id: &str, pid| Poller { wxid: Some(id.to_owned().into()), ..poller(None, pid) };
    let story = || two().profile("wxid_a", "bob1990", "anna88").profile("wxid_b", "wxid_c", "b");
    for (what, poller, takes) in [
        ("an old id, which a says is its nick", as_client("bob1990", Some(777)), "bob1990 *"),
        ("in the process of a", as_client("bob1990", Some(1)), "bob1990 *"),
        ("in the process of b", as_client("bob1990", Some(2)), "bob1990 *"),
        ("WeChat gives a name once", as_client("anna88", Some(777)), "wxid_a *"),
        ("typed by a person", as_client("bob1990", None), "wxid_a *"),
        ("", as_client("bob1990", Some(0)), "wxid_a *"),
        ("", poller(Some("bob1990"), Some(777)), "wxid_a *"),
        ("what reads as an id is one", as_client("wxid_c", Some(777)), "wxid_c *"),
        ("", as_client("wxid_c", None), "wxid_c *"),
        ("", poller(Some("wxid_c"), None), "wxid_c *"),
    ] {
        assert_eq!(story().takes(&poller), takes, "{what}: {poller:?}");
    }
    assert_eq!(story().accounts.mean(Some("wxid_c")).unwrap().as_deref(), Some("wxid_c"));
    assert!(matches!(story().accounts.told("wxid_c"), Err(Refused::Unknown { .. })));
    // Nor does a nick that is told later make the poller an account.
    let mut story = two();
    story.takes(&as_client("bob1990", Some(777)));
    story.takes(&poller(Some("wxid_c"), None));
    let story = story.profile("wxid_a", "bob1990", "anna88").profile("wxid_b", "wxid_c", "b");
    let pollers = story.accounts.pollers();
    assert_eq!(pollers.iter().map(|poller| poller.name.as_str()).collect::<Vec<_>>(), ["bob1990", "wxid_c"]);
    // Nor does it give the account what that client took, or spent.
    assert!(!format!("{:?}", story.accounts.purse("wxid_a")).contains("bob1990"));
    let names = |poller: &Poller| Table::new(settings()).route(poller, NOW).names;
    assert!(names(&as_client("bob1990", Some(777))).is_empty());
    assert_eq!(names(&poller(Some("bob1990"), Some(777))), ["bob1990"]);
}

/// Whatever is told in whatever order: nobody but the account itself, logged in, is given what is bound to it.
#[test]
fn no_story_gives_an_account_to_another() {
    const NAMES: [&str; 3] = ["wxid_a", "wxid_b", "wxid_c"];
    const SIGNS: [Sign; 4] = [Sign::In, Sign::Out, Sign::Alive, Sign::Nothing];
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut story = Story::default();
        // Apart from the table: who came into each process last, and who is logged in.
        let mut there: BTreeMap<u64, &str> = BTreeMap::new();
        let mut logged_in: BTreeMap<&str, bool> = BTreeMap::new();
        let mut left: BTreeMap<&str, u64> = BTreeMap::new();
        // The process that each had last.
        let mut home: BTreeMap<&str, u64> = BTreeMap::new();
        for _ in 0..40 {
            let (name, pid, sign) = (NAMES[random.usize(..3)], random.u64(1..4), SIGNS[random.usize(..4)]);
            story = story.told(name, Some(pid), sign);
            let settling = left.get(name).is_some_and(|at| story.seq - at < 5)
                && logged_in.get(name) == Some(&false)
                && home.get(name).is_none_or(|home| *home == pid);
            match sign {
                Sign::Alive if settling => {}
                Sign::In | Sign::Alive => {
                    if let Some(other) = there.insert(pid, name).filter(|other| *other != name)
                        && logged_in.insert(other, false) != Some(false)
                    {
                        left.insert(other, story.seq);
                    }
                    there.retain(|other, who| *other == pid || *who != name);
                    if sign == Sign::In || logged_in.contains_key(name) {
                        logged_in.insert(name, true);
                    }
                }
                Sign::Out | Sign::Nothing => {
                    if sign == Sign::Out && logged_in.insert(name, false) != Some(false) {
                        left.insert(name, story.seq);
                    }
                    if !there.values().any(|who| *who == name) {
                        there.entry(pid).or_insert(name);
                    }
                }
            }
            for (pid, who) in &there {
                home.insert(who, *pid);
                let routed = story.accounts.route(&poller(None, Some(*pid)), NOW);
                for (bound, share) in &routed.bound {
                    let is_out = logged_in.get(bound.as_str()) == Some(&false);
                    assert!(*share == Share::Login || (bound == who && !is_out), "seed {seed}: {pid} {routed:?}");
                    assert!(*share == Share::All || is_out, "seed {seed}: {pid} {routed:?}");
                }
            }
            for pid in (1..=4).filter(|pid| !there.contains_key(pid)) {
                let routed = story.accounts.route(&poller(None, Some(pid)), NOW);
                let is_login = |(_, share): &(String, Share)| *share == Share::Login;
                assert!(routed.bound.iter().all(is_login), "seed {seed}: {pid} is nobody's, {routed:?}");
            }
            let pids: Vec<u64> = story.accounts.known.values().filter_map(|known| known.seat.pid).collect();
            let mut single = pids.clone();
            single.sort_unstable();
            single.dedup();
            assert_eq!(pids.len(), single.len(), "seed {seed}: a process of two accounts");
        }
    }
}

#[test]
fn callbacks_that_overtake_each_other_leave_what_the_log_says() {
    let told = |account, pid, sign, seq| Told { account: Some(account), pid, sign, ..named(account, None, None, seq) };
    let events = [
        told("wxid_a", Some(1), Sign::In, 1),
        told("wxid_b", Some(1), Sign::In, 2),
        told("wxid_b", Some(1), Sign::Out, 3),
        told("wxid_c", Some(1), Sign::In, 4),
    ];
    let table = |order: &[usize]| {
        let mut accounts = Table::new(settings());
        for n in order {
            accounts.event(events[*n].clone());
        }
        let seats = accounts.known.iter().map(|(name, known)| (name.clone(), known.seat.pid, known.seat.logged_in));
        seats.collect::<Vec<_>>()
    };
    let right = table(&[0, 1, 2, 3]);
    assert_eq!(right[2], ("wxid_c".to_owned(), Some(1), Some(true)));
    for order in [[1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 3, 2], [3, 2, 1, 0], [2, 3, 0, 1], [1, 3, 0, 2]] {
        let mut got = table(&order);
        // Who left a free process keeps it until another comes; that alone may differ.
        got.iter_mut().zip(&right).for_each(|(got, right)| {
            if got.2 == Some(false) {
                got.1 = right.1;
            }
        });
        assert_eq!(got, right, "{order:?}");
    }
}

#[test]
fn a_name_that_only_polled_is_no_account_and_becomes_one_by_itself() {
    let mut story = Story::default();
    for name in ["Anna", "wxid_x", "wrok"] {
        story.takes(&poller(Some(name), None));
    }
    let names = |story: &Story| story.accounts.pollers().into_iter().map(|p| p.name).collect::<Vec<_>>();
    assert_eq!(names(&story), ["Anna", "wrok", "wxid_x"]);
    assert!(story.accounts.all(NOW).is_empty());
    assert_eq!(story.accounts.mean(None).unwrap(), None);
    let mut story = story.told("wxid_a", None, Sign::Alive);
    assert_eq!(story.accounts.mean(None).unwrap().as_deref(), Some("wxid_a"));
    assert_eq!(story.takes(&poller(None, None)), "wxid_a *");
    let mut story = story.profile("wxid_a", "Anna", "anna88").told("wxid_x", Some(7), Sign::In);
    assert_eq!(names(&story), ["wrok"]);
    let known = story.accounts.all(NOW);
    assert!(known.iter().all(|account| account.last_poll.is_some()), "{known:?}");
    assert_eq!(story.takes(&poller(Some("Anna"), None)), "wxid_a *");
}

#[test]
fn a_name_is_whose_the_newest_event_says_whatever_is_learned_when() {
    let events = [
        named("wxid_a", Some("Anna"), Some("anna88"), 3),
        named("wxid_a", Some("Bert"), None, 4),
        named("wxid_b", Some("Anna"), None, 5),
    ];
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 2, 1]] {
        let mut story = Story::default().told("wxid_a", Some(1), Sign::In).told("wxid_b", Some(2), Sign::In);
        for at in order {
            story.accounts.event(events[at].clone());
        }
        // The directory comes behind: it is as of an earlier event.
        let behind = directory::Account {
            account: "wxid_a".into(),
            nick: Some("Anna".into()),
            username: Some("anna88".into()),
            seq: Seq(3),
            ..directory::Account::default()
        };
        for learned in [&behind, &directory::Account { nick: Some("Bert".into()), seq: Seq(4), ..behind.clone() }] {
            for (name, takes) in [("Bert", "wxid_a *"), ("Anna", "wxid_b *"), ("anna88", "wxid_a *")] {
                assert_eq!(story.takes(&poller(Some(name), None)), takes, "{order:?}");
            }
            story.accounts.learn(learned);
        }
    }
}

#[test]
fn a_name_that_reads_in_two_ways_is_the_one_that_somebody_has() {
    let name = Name { text: "Сǿ".into(), or: Some("小强".into()) };
    let by_name = Poller { account: Some(name), ..poller(None, None) };
    let mut story = two();
    assert_eq!(story.takes(&by_name), "Сǿ *");
    let mut story = story.profile("wxid_b", "小强", "b");
    assert!(story.accounts.pollers().is_empty());
    assert_eq!(story.takes(&by_name), "wxid_b *");
    assert_eq!(story.profile("wxid_a", "Сǿ", "a").takes(&by_name), "wxid_a *");
}

#[test]
fn the_name_of_two_is_nobodys_until_one_is_forgotten() {
    let mut story = two().profile("wxid_b", "Anna", "b");
    assert_eq!(story.takes(&poller(Some("Anna"), None)), "Anna *");
    assert_eq!(story.accounts.pollers()[0].several, ["wxid_a", "wxid_b"]);
    assert!(matches!(story.accounts.mean(Some("Anna")), Err(Refused::Ambiguous { .. })));
    assert!(story.accounts.forget("wxid_b"));
    assert_eq!(story.takes(&poller(Some("Anna"), None)), "wxid_a *");
    assert_eq!(story.takes(&poller(None, Some(2))), "*", "its process is nobody's any more");
    assert!(!story.accounts.forget("wxid_b"));
}

#[test]
fn what_a_former_run_had_seen_is_kept_also_of_who_is_not_known_yet() {
    let seen = Seen { last_poll: Some(NOW.before(POLLS_EVERY)), last_event: Some(NOW), ..Seen::default() };
    let mut story = Story::default().told("wxid_a", None, Sign::In);
    let former = ["wxid_a", "wxid_b"].map(|name| (name.to_owned(), seen.clone()));
    story.accounts.restore(former.into(), BTreeMap::new());
    story.accounts.learn(&directory::Account { account: "wxid_b".into(), ..directory::Account::default() });
    for account in story.accounts.all(NOW) {
        assert_eq!((account.last_poll, account.last_event), (seen.last_poll, seen.last_event), "{account:?}");
    }
    assert!(!story.accounts.take_polled_anew());
    assert_eq!(story.takes(&poller(Some("wxid_b"), None)), "wxid_b *");
    assert!(story.accounts.take_polled_anew() && !story.accounts.take_polled_anew());
    story.takes(&poller(Some("wxid_b"), None));
    assert!(!story.accounts.take_polled_anew());
}

#[test]
fn what_was_spent_before_an_account_was_known_is_its_own() {
    let purse = |mut story: Story, poller: &Poller| {
        let routed = story.accounts.route(poller, NOW);
        story.accounts.purse_of(&routed, poller.pid)
    };
    let unnamed = pacing::Purse::unnamed(None);
    let by_pid = pacing::Purse::unnamed(Some(1));
    assert_eq!(purse(Story::default(), &poller(None, None)), unnamed);
    assert_eq!(purse(Story::default(), &poller(None, Some(1))), by_pid);
    assert_eq!(purse(Story::default(), &poller(Some("Anna"), None)), pacing::Purse::of("Anna"));
    let mut own = pacing::Purse::of("wxid_a");
    for other in [by_pid, pacing::Purse::of("Anna"), pacing::Purse::of("anna88"), unnamed] {
        own.add(other);
    }
    let only = || Story::default().told("wxid_a", Some(1), Sign::In).profile("wxid_a", "Anna", "anna88");
    assert_eq!(purse(only(), &poller(None, None)), own);
    assert_eq!(purse(only(), &poller(Some("wxid_a"), None)), own);
    // With a second account known, an unnamed client is not this one for sure.
    let several = purse(two(), &poller(Some("wxid_a"), None));
    assert_ne!(several, own);
    assert_eq!(several.key(), "wxid_a");
}

#[test]
fn with_several_accounts_one_must_be_named() {
    let Err(Refused::Unnamed { known }) = two().accounts.mean(None) else { panic!("one is chosen") };
    assert!(known.contains("wxid_a (Anna, anna88), wxid_b (work)"), "{known}");
    for (name, account) in
        [("wxid_a", "wxid_a"), ("Anna", "wxid_a"), ("anna88", "wxid_a"), ("work", "wxid_b"), ("wxid_new", "wxid_new")]
    {
        assert_eq!(two().accounts.mean(Some(name)).unwrap().as_deref(), Some(account), "{name}");
    }
    for unknown in ["wrok", "wxid_", "wxid_a b", "", "wxid_é", "wxid_x@chatroom", "wxid_x?y", "wxid_/x"] {
        for accounts in [two().accounts, Table::new(settings())] {
            assert!(matches!(accounts.mean(Some(unknown)), Err(Refused::Unknown { .. })), "{unknown}");
        }
    }
    for unknown in ["wxid_new", "wrok"] {
        assert!(matches!(two().accounts.told(unknown), Err(Refused::Unknown { .. })), "{unknown}: a filter");
    }
    let mut accounts = two().accounts;
    accounts.settings.default = Some("work".into());
    assert_eq!(accounts.mean(None).unwrap().as_deref(), Some("wxid_b"));
}

#[test]
fn invented_pollers_do_not_fill_the_memory() {
    let mut accounts = Table::new(settings());
    for n in 0..10_000 {
        accounts.route(&poller(Some(&format!("wxid_{n}")), None), NOW);
    }
    assert_eq!(accounts.strangers.len(), POLLERS_MAX);
    assert!(accounts.strangers.contains_key("wxid_9999"));
    for n in 0..2000 {
        let name = format!("wxid_{n}");
        accounts.event(Told { sign: Sign::In, ..named(&name, None, None, n + 1) });
    }
    assert_eq!(accounts.known.len(), ACCOUNTS_MAX);
}

#[test]
fn what_the_settings_call_an_account_can_be_one() {
    let settings = |default: Option<&str>, alias: &[(&str, &str)]| config::Accounts {
        default: default.map(str::to_owned),
        alias: alias.iter().map(|(alias, account)| ((*alias).to_owned(), (*account).to_owned())).collect(),
    };
    for (default, alias) in [
        (None, &[][..]),
        (Some("wxid_a"), &[]),
        (Some("work"), &[("work", "wxid_a")]),
        (Some("工作"), &[("工作", "old_id")]),
    ] {
        assert_eq!(check(&settings(default, alias)), Ok(()), "{default:?} {alias:?}");
    }
    for (default, alias, names) in [
        (Some("work"), &[][..], "accounts.default"),
        (Some("昵称"), &[], "accounts.default"),
        (Some("my work"), &[], "accounts.default"),
        (Some("a@foo"), &[], "accounts.default"),
        (Some(""), &[], "accounts.default"),
        (Some("wxid_a b"), &[], "accounts.default"),
        (None, &[("work", "昵称")], "accounts.alias.work"),
        (None, &[("work", "")], "accounts.alias.work"),
        (None, &[("my work", "wxid_a")], "accounts.alias"),
    ] {
        let refused = check(&settings(default, alias)).unwrap_err();
        assert!(refused.contains(names), "{refused}");
    }
}
