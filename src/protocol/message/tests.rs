//! Messages as `WeChat` writes them, whole and damaged.

use super::{Around, Message};
use proptest::prelude::*;
use serde_json::{Value, json};

const FRIEND: &str = r#"<msg fromusername="wxid_abc" encryptusername="v1_020b3826fd03010000@stranger" fromnickname="小 &amp; 强" content="我是&quot;群聊&quot;的小强" shortpy="XQ" imagestatus="3" scene="14" country="CN" province="Shanghai" city="Pudong" sign="hi" percard="1" sex="1" alias="xq88" bigheadimgurl="http://wx.qlogo.cn/mmhead/ver_1/a/0" smallheadimgurl="http://wx.qlogo.cn/mmhead/ver_1/a/96" ticket="v2_000b708f0b04@stranger" opcode="2" chatroomusername="123@chatroom"><brandlist count="0" ver="7"></brandlist></msg>"#;

const QUOTE: &str = r#"<?xml version="1.0"?>
<msg><appmsg appid="" sdkver="0"><title>同意</title><des /><action>view</action><type>57</type><url />
<refermsg><type>1</type><svrid>123456789</svrid><fromusr>1@chatroom</fromusr><chatusr>wxid_b</chatusr><displayname>小明</displayname><content>明天 &lt;九点&gt;</content></refermsg></appmsg><fromusername>wxid_a</fromusername></msg>"#;

/// A message that was said by `speaker`.
fn read(msg_type: i64, message: &str, speaker: Option<&str>) -> Message {
    super::read(msg_type, message, &Around { speaker, ..Around::default() })
}

fn decoded(msg_type: i64, message: &str) -> Value {
    read(msg_type, message, None).decoded.json()
}

fn text(msg_type: i64, message: &str) -> Option<String> {
    read(msg_type, message, None).text
}

#[test]
fn a_text_is_its_own_text() {
    let message = read(1, "<b>not & XML</b>", None);
    assert_eq!((message.text.as_deref(), message.decoded.json()), (Some("<b>not & XML</b>"), json!({})));
}

#[test]
fn the_speaker_is_cut_off_only_when_it_is_the_speaker() {
    let read = |message, speaker| read(1, message, speaker).text.unwrap();
    assert_eq!(read("wxid_a:\nhi", Some("wxid_a")), "hi");
    assert_eq!(read("wxid_a:\r\nhi", Some("wxid_a")), "hi");
    assert_eq!(read("wxid_a:\nhi", Some("wxid_b")), "wxid_a:\nhi");
    assert_eq!(read("wxid_a:\nhi", None), "wxid_a:\nhi");
    assert_eq!(read("wxid_a: hi", Some("wxid_a")), "wxid_a: hi");
    assert_eq!(read(":\nhi", Some("")), ":\nhi");
}

#[test]
fn a_prefix_before_xml_does_no_harm() {
    let message = format!("wxid_other:\n{FRIEND}");
    assert_eq!(decoded(37, &message)["nick"], "小 & 强");
    let message = format!("wxid_a:\n{QUOTE}");
    assert_eq!(read(49, &message, Some("wxid_a")).text.as_deref(), Some("同意"));
}

#[test]
fn a_friend_request_gives_what_accepting_needs() {
    let message = read(37, FRIEND, None);
    assert_eq!(message.text.as_deref(), Some("我是\"群聊\"的小强"));
    assert_eq!(
        message.decoded.json(),
        json!({
            "v1": "v1_020b3826fd03010000@stranger", "v2": "v2_000b708f0b04@stranger", "wxid": "wxid_abc",
            "nick": "小 & 强", "greeting": "我是\"群聊\"的小强", "scene": "14", "room": "123@chatroom", "alias": "xq88",
            "sex": "male", "avatar": "http://wx.qlogo.cn/mmhead/ver_1/a/0",
            "avatar_small": "http://wx.qlogo.cn/mmhead/ver_1/a/96", "country": "CN", "province": "Shanghai",
            "city": "Pudong", "sign": "hi",
        })
    );
}

#[test]
fn a_friend_request_is_read_in_every_spelling() {
    let (v1, v2) = (json!("v1_a@stranger"), json!("v2_b@stranger"));
    for message in [
        "<ns:msg xmlns:ns='x' encryptusername=v1_a@stranger ticket=v2_b@stranger fromnickname=\"A &#x4f60;&nbsp;&lt;\"/>",
        "<!-- x --><?xml version='1.0'?><!DOCTYPE a [<!ENTITY b \"x\">]>\n<MSG\n EncryptUserName = \"v1_a@stranger\"\tticket='v2_b@stranger'\nfromnickname='A 你&nbsp;&lt;'></MSG>",
        "wxid_x:\r\n<msg><x><msg encryptusername='v1_a@stranger' ticket='v2_b@stranger' fromnickname='A 你&nbsp;<'/></x></msg>",
        "&lt;msg encryptusername=&quot;v1_a@stranger&quot; ticket=&quot;v2_b@stranger&quot; fromnickname=&quot;A 你&amp;nbsp;&amp;lt;&quot;/&gt;",
    ] {
        let request = decoded(37, message);
        assert_eq!((&request["v1"], &request["v2"], &request["nick"]), (&v1, &v2, &json!("A 你&nbsp;<")), "{message}");
    }
    let cut = decoded(37, "<msg encryptusername=\"v1_a@stranger\" ticket=\"v2_b@strang");
    assert_eq!((&cut["v1"], &cut["v2"]), (&v1, &Value::Null), "half a ticket is none");
}

#[test]
fn a_friend_request_without_a_greeting_has_no_text() {
    let message = read(37, r#"<msg encryptusername="v1_a@stranger" content="" sex="0"/>"#, None);
    assert_eq!(message.text, None);
    assert_eq!(
        (&message.decoded.json()["greeting"], &message.decoded.json()["sex"]),
        (&Value::Null, &json!("unknown"))
    );
}

#[test]
fn a_card_names_its_person() {
    let card = r#"<?xml version="1.0"?><msg bigheadimgurl="http://wx.qlogo.cn/b/0" smallheadimgurl="http://wx.qlogo.cn/b/132" username="wxid_b" nickname="小明" alias="" province="上海" city="" sign="" sex="2" regionCode="CN_Shanghai" antispamticket="v2_x@stranger" />"#;
    let message = read(42, card, None);
    assert_eq!(message.text.as_deref(), Some("小明"));
    assert_eq!(message.decoded.json()["wxid"], "wxid_b");
    assert_eq!(message.decoded.json()["sex"], "female");
    assert_eq!(message.decoded.json()["alias"], Value::Null);
    assert_eq!(message.decoded.json()["v2"], "v2_x@stranger");
    let stranger = decoded(42, r#"<msg username="v3_a@stranger" nickname="n"/>"#);
    assert_eq!((&stranger["wxid"], &stranger["v1"]), (&Value::Null, &json!("v3_a@stranger")));
}

#[test]
fn media_keep_their_attributes_and_gain_numbers() {
    let image = r#"<?xml version="1.0"?><msg><img aeskey="ab" encryver="1" cdnthumbaeskey="ab" length="5120" md5="d4" hdlength="0"/></msg>"#;
    assert_eq!(text(3, image), None);
    assert_eq!((&decoded(3, image)["md5"], &decoded(3, image)["size"]), (&json!("d4"), &json!(5120)));
    let voice = r#"<msg><voicemsg endflag="1" cancelflag="0" voicelength="3280" length="4820" voiceformat="4"/></msg>"#;
    assert_eq!(
        (&decoded(34, voice)["duration_ms"], &decoded(34, voice)["voicelength"]),
        (&json!(3280), &json!("3280"))
    );
    let video = r#"<msg><videomsg length="799421" playlength="12" cdnvideourl="30" fromusername="wxid_a"/></msg>"#;
    assert_eq!((&decoded(43, video)["duration_ms"], &decoded(43, video)["size"]), (&json!(12_000), &json!(799_421)));
    let emoji = r#"<msg><emoji fromusername="wxid_a" type="2" md5="aa" len="77" cdnurl="http://emoji.qpic.cn/a?b=1&amp;c=2"/></msg>"#;
    assert_eq!(decoded(47, emoji)["url"], "http://emoji.qpic.cn/a?b=1&c=2");
}

#[test]
fn a_location_has_numbers_a_label_and_text() {
    let place = r#"<msg><location x="31.235" y="121.48" scale="15" label="上海市黄浦区" maptype="0" poiname="人民广场"/></msg>"#;
    let message = read(48, place, None);
    assert_eq!(message.text.as_deref(), Some("上海市黄浦区"));
    assert_eq!(message.decoded.json()["latitude"], 31.235);
    assert_eq!(message.decoded.json()["longitude"], 121.48);
    assert_eq!(message.decoded.json()["name"], "人民广场");
    assert_eq!(decoded(48, r#"<msg><location x="NaN" y="east"/></msg>"#)["latitude"], Value::Null);
}

#[test]
fn a_link_has_title_description_url_and_source() {
    let link = r#"<?xml version="1.0" encoding="gbk"?><msg><appmsg appid="wx1"><title><![CDATA[标题 & more]]></title><des>描述</des><type>5</type><url>http://a.cn/?a=1&amp;b=2</url><appattach><totallen>0</totallen></appattach></appmsg><fromusername>wxid_a</fromusername><appinfo><version>1</version><appname>站</appname></appinfo></msg>"#;
    let message = read(49, link, None);
    assert_eq!(message.text.as_deref(), Some("标题 & more"));
    assert_eq!(
        message.decoded.json(),
        json!({
            "title": "标题 & more", "description": "描述", "url": "http://a.cn/?a=1&b=2", "app_type": 5, "app": "link",
            "source": "站", "thumb_url": null,
        })
    );
}

#[test]
fn a_quote_opens_what_it_quotes_once() {
    let message = read(49, QUOTE, None);
    assert_eq!(message.text.as_deref(), Some("同意"));
    assert_eq!(
        message.decoded.json()["quote"],
        json!({ "from": "wxid_b", "name": "小明", "kind": "text", "text": "明天 <九点>", "id": "123456789" })
    );
    let escaped = QUOTE.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let nested = QUOTE.replace("<type>1</type>", "<type>49</type>").replace("明天 &lt;九点&gt;", &escaped);
    assert_eq!(decoded(49, &nested)["quote"]["text"], "同意");
}

#[test]
fn files_programs_payments_and_notices_tell_their_own() {
    let file = "<msg><appmsg><title>a.pdf</title><type>6</type><appattach><totallen>2048</totallen><fileext>pdf</fileext></appattach></appmsg></msg>";
    assert_eq!((&decoded(49, file)["app"], &decoded(49, file)["file_size"]), (&json!("file"), &json!(2048)));
    assert_eq!(decoded(49, file)["file_ext"], "pdf");
    let program = "<msg><appmsg><title>t</title><type>33</type><weappinfo><username>gh_a@app</username><appid>wx2</appid><pagepath>p.html</pagepath></weappinfo></appmsg></msg>";
    assert_eq!(decoded(49, program)["mini_program"]["appid"], "wx2");
    let transfer = "<msg><appmsg><title>微信转账</title><type>2000</type><wcpayinfo><feedesc>￥0.10</feedesc><paysubtype>1</paysubtype></wcpayinfo></appmsg></msg>";
    assert_eq!(
        (&decoded(49, transfer)["app"], &decoded(49, transfer)["amount"]),
        (&json!("transfer"), &json!("￥0.10"))
    );
    let notice = "<msg><appmsg><title>当前微信版本不支持展示该内容</title><type>87</type><textannouncement>开会</textannouncement></appmsg></msg>";
    assert_eq!(text(49, notice).as_deref(), Some("开会"));
    let bare = "<msg><appmsg><title/><des>about</des><type>5</type></appmsg></msg>";
    assert_eq!(text(49, bare).as_deref(), Some("about"));
    let unknown = "<msg><appmsg><title>t</title><type>4711</type></appmsg></msg>";
    assert_eq!((&decoded(49, unknown)["app"], &decoded(49, unknown)["app_type"]), (&json!(4711), &json!(4711)));
}

#[test]
fn a_call_says_how_it_went() {
    let call = r#"<voipmsg type="VoIPBubbleMsg"><VoIPBubbleMsg><msg><![CDATA[通话时长 02:46]]></msg><room_type>1</room_type></VoIPBubbleMsg></voipmsg>"#;
    assert_eq!(text(50, call).as_deref(), Some("通话时长 02:46"));
    let invitation = "<voipinvitemsg><roomid>43</roomid><status>1</status><invitetype>1</invitetype></voipinvitemsg>";
    assert_eq!(text(50, invitation), None);
    assert_eq!(decoded(50, invitation)["invitetype"], "1");
    assert_eq!(text(50, "已取消").as_deref(), Some("已取消"));
}

#[test]
fn a_notice_loses_its_tags_only() {
    let refused = "消息已发出，但被对方拒收了。";
    assert_eq!(text(10000, refused).as_deref(), Some(refused));
    let verify =
        r#"小明开启了朋友验证，你还不是他（她）朋友。<a href="weixin://findfriend/verifycontact">发送朋友验证</a>"#;
    assert_eq!(text(10000, verify).as_deref(), Some("小明开启了朋友验证，你还不是他（她）朋友。发送朋友验证"));
    let packet = r##"<img src="SystemMessages_HongbaoIcon.png"/>  A &amp; B领取了你的<_wc_custom_link_ color="#FD9931" href="weixin://h">红包</_wc_custom_link_>"##;
    assert_eq!(text(10000, packet).as_deref(), Some("A & B领取了你的红包"));
    assert_eq!(text(10000, "\"a <3 b\" 加入了群聊").as_deref(), Some("\"a <3 b\" 加入了群聊"));
    assert_eq!(text(10000, "<revokemsg>\"A\" 撤回了一条消息</revokemsg>").as_deref(), Some("\"A\" 撤回了一条消息"));
}

#[test]
fn a_recall_tells_what_it_replaces() {
    let recall = r#"<sysmsg type="revokemsg"><revokemsg><session>1@chatroom</session><msgid>1056</msgid><newmsgid>6412</newmsgid><replacemsg><![CDATA["A" 撤回了一条消息]]></replacemsg></revokemsg></sysmsg>"#;
    let message = read(10002, recall, None);
    assert_eq!(message.text.as_deref(), Some("\"A\" 撤回了一条消息"));
    assert_eq!(
        message.decoded.json(),
        json!({
            "sysmsg": "revokemsg", "session": "1@chatroom", "msgid": "1056", "newmsgid": "6412",
            "replacemsg": "\"A\" 撤回了一条消息",
        })
    );
    assert_eq!(read(10000, recall, None), message);
}

#[test]
fn a_template_is_filled_in() {
    let joined = r#"<sysmsg type="sysmsgtemplate"><sysmsgtemplate><content_template type="tmpl_type_profile"><plain/><template><![CDATA["$username$"邀请"$names$"加入了群聊，$5]]></template><link_list><link name="username" type="link_profile"><memberlist><member><username>wxid_a</username><nickname>甲</nickname></member></memberlist></link><link name="names" type="link_profile"><memberlist><member><nickname>乙</nickname></member><member><nickname>丙</nickname></member></memberlist><separator><![CDATA[、]]></separator></link></link_list></content_template></sysmsgtemplate></sysmsg>"#;
    assert_eq!(text(10002, joined).as_deref(), Some("\"甲\"邀请\"乙、丙\"加入了群聊，$5"));
    assert_eq!(decoded(10002, joined)["sysmsg"], "sysmsgtemplate");
}

#[test]
fn an_unknown_kind_has_text_only_when_it_is_text() {
    assert_eq!(text(51, "<msg><op id='4'><username>wxid_a</username></op></msg>"), None);
    assert_eq!(text(4711, "hello").as_deref(), Some("hello"));
    assert_eq!(text(3, ""), None);
    assert_eq!(decoded(3, "C:\\a.jpg"), json!({}));
}

/// In quadratic time some of these would not end.
#[test]
fn bombs_end() {
    let template = format!(
        r#"<sysmsg type="sysmsgtemplate"><template>{}</template><link name="a"><plain>{}</plain></link></sysmsg>"#,
        "$a$".repeat(100_000),
        "x".repeat(500_000)
    );
    assert!(text(10002, &template).unwrap().len() <= 64 * 1024);
    let unclosed = "<".repeat(300_000) + &"<a".repeat(300_000);
    for msg_type in [3, 37, 42, 48, 49, 50, 51, 10000, 10002] {
        drop(read(msg_type, &unclosed, None));
        drop(read(msg_type, &format!("<msg><appmsg>{}", "<title>".repeat(100_000)), None));
        drop(read(msg_type, &format!("<msg fromusername=\"{}\"/>", "a".repeat(10_000_000)), None));
    }
}

#[test]
fn no_cut_harms() {
    for (msg_type, whole) in [(37, FRIEND), (49, QUOTE)] {
        for at in (0..whole.len()).filter(|&at| whole.is_char_boundary(at)) {
            drop(read(msg_type, &whole[..at], Some("wxid_a")));
            drop(read(msg_type, &whole[at..], Some("wxid_a")));
        }
    }
    let at = FRIEND.find("shortpy").unwrap();
    assert_eq!(decoded(37, &FRIEND[..at])["v1"], "v1_020b3826fd03010000@stranger");
    let at = QUOTE.find("<refermsg>").unwrap();
    assert_eq!(text(49, &QUOTE[..at]).as_deref(), Some("同意"));
}

proptest! {
    #[test]
    fn nothing_panics(msg_type in prop::sample::select(vec![1_i64, 3, 34, 37, 42, 43, 47, 48, 49, 50, 51, 10000, 10002]),
                      message in "(<[a-z/!?\\[]{0,6}|&#?x?[0-9a-z]{0,8};?|[a-z=\"' >]{1,5}|<sysmsg|<msg |\\PC){0,40}") {
        let message = read(msg_type, &message, Some("a"));
        prop_assert!(message.decoded.json().is_object());
    }
}
