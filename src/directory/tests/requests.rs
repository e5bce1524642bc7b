//! Open friend requests.

use super::*;

#[test]
fn a_friend_request_is_open_until_it_is_accepted() {
    let mut map = Fake::default();
    map.hears(&asks("wxid_new", "v1_a@stranger"));
    map.hears(&asks("wxid_two", "v1_b@stranger"));
    let open = serde_json::to_value(map.requests()).unwrap();
    assert_eq!(
        open[0],
        json!({"seq": 1, "time": "1970-01-01T00:00:01.000Z", "account": "me", "wxid": "wxid_new", "nick": "Neu",
            "greeting": "Hallo", "avatar": "http://wx.qlogo.cn/n/0", "v1": "v1_a@stranger", "v2": "v2_x@stranger"})
    );
    assert_eq!(open.as_array().unwrap().len(), 2);
    let new = map.contact("wxid_new");
    assert_eq!((&new["nick"], &new["username"], &new["region"]), (&json!("Neu"), &json!("neu1"), &json!("CN")));
    assert_eq!((&new["sex"], &new["friend"]), (&json!("female"), &json!(false)));
    assert_eq!(map.contact("fmessage"), Value::Null);

    let (now, seq) = (map.now, Seq(3));
    let Ok(nothing) = learn::accepted(&mut map, "me", "v1_z@stranger", 7, now, seq);
    assert_eq!(nothing, Learned::default());
    let Ok(learned) = learn::accepted(&mut map, "me", "v1_a@stranger", 7, now, seq);
    assert!(learned.changed);
    assert_eq!(map.requests()[0].wxid.as_deref(), Some("wxid_two"));
    assert_eq!((map.requests().len(), map.contact("wxid_new")["friend"].clone()), (1, json!(true)));
}

#[test]
fn a_request_of_somebody_who_is_a_friend_by_now_is_closed() {
    let notice =
        |chat: &str, text: &str| json!({"type": 78, "msgType": "10000", "cwxid": "me", "wxid": chat, "message": text});
    for (event, closes) in [
        (friends(&json!([{"wxid": "wxid_new", "type": 3}])), true),
        (friends(&json!([{"wxid": "wxid_new"}])), true),
        // An answer about somebody who is not in the list.
        (friends(&json!([{"wxid": "wxid_new", "type": 2}])), false),
        (friends(&json!([{"wxid": "wxid_other", "type": 3}])), false),
        (notice("wxid_new", "你已添加了Neu，现在可以开始聊天了。"), true),
        (notice("wxid_other", "你已添加了Neu，现在可以开始聊天了。"), false),
        (notice("1@chatroom", "你已添加了Neu，现在可以开始聊天了。"), false),
        (text("wxid_new", "Neu", "我通过了你的朋友验证请求，现在我们可以开始聊天了"), true),
        (text("wxid_new", "Neu", "hast du 我通过了你的朋友验证请求 gelesen?"), false),
        (json!({"type": 96, "cwxid": "me", "hex": "76315F"}), false),
    ] {
        let mut map = Fake::default();
        map.hears(&asks("wxid_new", "v1_a@stranger"));
        map.hears(&event);
        assert_eq!(map.requests().is_empty(), closes, "{event}");
    }
}

#[test]
fn who_asks_again_has_one_request() {
    let mut map = Fake::default();
    map.hears(&asks("wxid_new", "v1_a@stranger"));
    map.hears(&asks("wxid_new", "v1_b@stranger"));
    let open = map.requests();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].seq, open[0].v1.as_deref()), (Seq(2), Some("v1_b@stranger")));
    // Neither an id nor a ticket: nothing to accept.
    map.hears(&asks("", ""));
    map.hears(&asks("", "v1_c@stranger"));
    assert_eq!(map.requests().len(), 2);
}

#[test]
fn a_request_that_was_accepted_stays_closed_when_it_is_told_again() {
    let mut map = Fake::default();
    map.hears(&asks("wxid_new", "v1_a@stranger"));
    map.hears(&asks("", "v1_b@stranger"));
    for v1 in ["v1_a@stranger", "v1_b@stranger"] {
        let (now, seq) = (map.now, Seq(3));
        let Ok(learned) = learn::accepted(&mut map, "me", v1, 7, now, seq);
        assert!(learned.changed);
    }
    map.hears(&asks("wxid_new", "v1_a@stranger"));
    map.hears(&asks("", "v1_b@stranger"));
    assert!(map.requests().is_empty());
    let all = DirectoryQuery { accepted: true, ..DirectoryQuery::default() };
    let Ok(mut kept) = query::requests(&map, &all);
    assert_eq!((kept.len(), kept[0].command, &kept[0].earlier[..]), (2, Some(7), &[Seq(1)][..]));
    let seqs: Vec<Seq> = kept.drain(..).map(|request| request.seq).collect();
    assert_eq!(seqs, [Seq(3), Seq(4)]);
    map.hears(&asks("", "v1_z@stranger"));
    assert_eq!(map.requests().len(), 1);
}

#[test]
fn who_was_accepted_and_asks_anew_has_an_open_request() {
    let mut map = Fake::default();
    let seqs = |map: &Fake| map.requests().iter().map(|request| request.seq).collect::<Vec<_>>();
    map.hears(&asks("wxid_new", "v1_a@stranger"));
    let (now, seq) = (map.now, Seq(2));
    let Ok(learned) = learn::accepted(&mut map, "me", "v1_a@stranger", 7, now, seq);
    assert!(learned.changed && map.contact("wxid_new")["friend"] == json!(true));
    // The account's owner has deleted them on the phone, which no event tells.
    map.hears(&asks("wxid_new", "v1_b@stranger"));
    assert_eq!(seqs(&map), [Seq(2)]);
    // WeChat tells of both again: each is what it was.
    map.hears(&asks("wxid_new", "v1_a@stranger"));
    map.hears(&asks("wxid_new", "v1_b@stranger"));
    assert_eq!(seqs(&map), [Seq(4)]);
    let Ok(_) = learn::accepted(&mut map, "me", "v1_b@stranger", 8, now, seq);
    map.hears(&asks("wxid_new", "v1_b@stranger"));
    assert!(map.requests().is_empty());
    // Of a friend of whose requests nobody knows it is taken to be an old one.
    map.hears(&friends(&json!([{"wxid": "wxid_old", "type": 3}])));
    map.hears(&asks("wxid_old", "v1_c@stranger"));
    assert!(map.requests().is_empty());
}

#[test]
fn requests_are_bounded_and_the_oldest_goes_first() {
    let mut map = Fake::default();
    for n in 0..=1000 {
        map.hears(&asks(&format!("wxid_{n}"), "v1_a@stranger"));
    }
    let open = map.requests();
    assert_eq!((open.len(), open[0].seq), (1000, Seq(2)));
}
