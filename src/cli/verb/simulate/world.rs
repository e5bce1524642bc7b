//! The invented world of the simulated client: an account, its friends, two rooms. Nobody in it exists.

use data_encoding::{BASE64, HEXUPPER};
use serde_json::{Value, json};

/// The account that is played when the daemon knows none.
pub(super) const STAND_IN: &str = "wxid_simulated01";

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) wxid: String,
    pub(super) nick: String,
    pub(super) remark: String,
    username: String,
    sex: u8,
    province: String,
    city: String,
    sign: String,
}

/// A room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chatroom {
    pub(super) wxid: String,
    pub(super) nick: String,
    /// Ids, the account's own not among them.
    pub(super) members: Vec<String>,
    owner: String,
}

/// Everything there is.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// The account that is played.
    pub(super) me: Person,
    /// The process that drives it.
    pub(super) pid: u32,
    pub(super) friends: Vec<Person>,
    /// Members of rooms who are no friends; some ask to become one.
    pub(super) strangers: Vec<Person>,
    pub(super) rooms: Vec<Chatroom>,
}

/// wxid, nick, remark, username, sex, province, city, sign.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, u8, &'a str, &'a str, &'a str);

const FRIENDS: &[Row<'static>] = &[
    ("wxid_ma0ming1ming21", "马明明", "妈妈", "mamingming55", 2, "浙江", "杭州", "平安是福"),
    ("wxid_chenjianguo022", "陈建国", "爸爸", "chen_jianguo", 1, "浙江", "杭州", "钓鱼去"),
    ("wxid_linxiaoyu03hb4", "林小雨", "", "linxiaoyu", 2, "上海", "浦东新区", "雨后初晴 🌈"),
    ("wxid_zhaoyifan04kq7", "赵一帆", "老赵", "yifan_z", 1, "北京", "海淀", ""),
    ("wxid_sunyue05w8xx21", "孙悦", "", "sunyue1990", 2, "江苏", "南京", "今天也要开心"),
    ("wxid_liuzhiqiang069", "刘志强", "老板", "liu_zq", 1, "广东", "深圳", "用结果说话"),
    ("annahoffmann", "Anna Hoffmann", "", "annahoffmann", 2, "", "Hamburg", "moin"),
    ("wxid_tomokelly08gb2", "Tom O'Kelly", "Tom (ops)", "tomokelly", 1, "", "Cork", "on call again"),
    ("wxid_huangjing09tt5", "黄静", "", "huangjing_", 2, "四川", "成都", ""),
    ("wxid_zhoudawei10ppk", "周大伟", "", "zhou_dawei", 1, "山东", "青岛", "海边人家"),
    ("wxid_wuminmin11aa34", "吴敏敏", "小姨", "wumm", 2, "浙江", "宁波", ""),
    ("gh_0a1b2c3d4e5f", "今日早餐", "", "todaysbreakfast", 0, "上海", "", "每天七点"),
];

const STRANGERS: &[Row<'static>] = &[
    ("wxid_qianhao12zz901", "钱浩", "", "qianhao_dev", 1, "湖北", "武汉", ""),
    ("wxid_fengyiyi13yy45", "冯一一", "", "feng11", 2, "陕西", "西安", "慢慢来"),
    ("wxid_petranovak14cz", "Petra Nováková", "", "petranovak", 2, "", "Brno", ""),
];

/// The account's process when nothing else is said.
const PID: u32 = 7768;

fn person(&(wxid, nick, remark, username, sex, province, city, sign): &Row<'_>) -> Person {
    let own = |text: &str| text.to_owned();
    Person {
        wxid: own(wxid),
        nick: own(nick),
        remark: own(remark),
        username: own(username),
        sex,
        province: own(province),
        city: own(city),
        sign: own(sign),
    }
}

impl World {
    /// The world around an account.
    pub(super) fn new(account: &str) -> Self {
        let mut me = person(&(STAND_IN, "小模拟", "", "simulated", 1, "浙江", "杭州", "我不是真人"));
        account.clone_into(&mut me.wxid);
        if account != STAND_IN {
            // Two played accounts are told apart by their nicks as well.
            me.nick.push_str(&format!(" {}", account.strip_prefix("wxid_").unwrap_or(account)));
        }
        let friends: Vec<_> = FRIENDS.iter().map(person).collect();
        let strangers: Vec<_> = STRANGERS.iter().map(person).collect();
        let ids = |indices: &[usize]| indices.iter().map(|&i| friends[i].wxid.clone()).collect::<Vec<_>>();
        let family = ids(&[0, 1, 10]);
        let mut team = ids(&[2, 3, 5, 6, 7]);
        team.extend(strangers.iter().map(|s| s.wxid.clone()));
        let rooms = vec![
            Chatroom {
                wxid: "20260101001@chatroom".to_owned(),
                nick: "家人群".to_owned(),
                owner: family[0].clone(),
                members: family,
            },
            Chatroom {
                wxid: "20260101002@chatroom".to_owned(),
                nick: "项目组 North".to_owned(),
                owner: account.to_owned(),
                members: team,
            },
        ];
        Self { me, pid: PID, friends, strangers, rooms }
    }

    /// Whom an id means.
    pub(super) fn person(&self, wxid: &str) -> Option<&Person> {
        let named = |p: &&Person| p.wxid == wxid || p.username == wxid;
        [&self.me].into_iter().chain(&self.friends).chain(&self.strangers).find(named)
    }

    /// The person of an id; an id that nobody has gives somebody without a name.
    pub(super) fn anybody(&self, wxid: &str) -> Person {
        self.person(wxid).cloned().unwrap_or_else(|| person(&("", "", "", "", 0, "", "", "")).called(wxid))
    }

    /// Which room an id means.
    pub(super) fn room(&self, wxid: &str) -> Option<&Chatroom> {
        self.rooms.iter().find(|r| r.wxid == wxid)
    }

    /// What people call a chat.
    pub(super) fn name(&self, wxid: &str) -> String {
        let room = self.room(wxid).map(|r| r.nick.clone());
        room.or_else(|| self.person(wxid).map(|p| p.nick.clone())).unwrap_or_else(|| match wxid {
            "filehelper" => "文件传输助手".to_owned(),
            other => other.to_owned(),
        })
    }

    /// An event of the account: its type, then its process, then what it holds.
    pub(super) fn event(&self, r#type: i64, more: Value) -> Value {
        let mut event = json!({ "type": r#type, "processid": self.pid, "cwxid": self.me.wxid });
        if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        event
    }

    /// A message in a chat (78). `from` is who speaks in a room; the account itself is `myMsg`.
    pub(super) fn message(&self, msg_type: i64, chat: &str, from: Option<&str>, own: bool, text: &str) -> Value {
        let mut more = json!({ "msgType": msg_type.to_string(), "wxid": chat });
        if let Some(from) = from {
            more["formWxid"] = from.into();
        }
        more["nick"] = self.name(chat).into();
        more["myMsg"] = if own { "1" } else { "0" }.into();
        more["message"] = text.into();
        self.event(78, more)
    }

    /// 67, 71: what a client reports when it has logged in.
    pub(super) fn login(&self) -> [Value; 2] {
        [self.event(67, json!({ "code": 200 })), self.profile(&self.me)]
    }

    /// 71
    pub(super) fn profile(&self, person: &Person) -> Value {
        self.event(71, person.details())
    }

    /// 97: the ids of all contacts, in a packet.
    pub(super) fn contacts_packet(&self) -> Value {
        let rooms = self.rooms.iter().map(|r| r.wxid.as_str());
        let ids: Vec<_> = self.friends.iter().map(|p| p.wxid.as_str()).chain(rooms).collect();
        let mut body = vec![];
        for id in ids {
            field(&mut body, 2, &string(1, id));
        }
        self.packet(97, "initcontact", &body)
    }

    /// 210: details of people.
    pub(super) fn contacts(&self, people: &[Person]) -> Value {
        let with_type = |person: &Person| {
            let mut details = person.details();
            details["type"] = 3.into();
            details["groupId"] = "None".into();
            details["cwxid"] = self.me.wxid.as_str().into();
            details
        };
        self.event(210, json!({ "userLists": people.iter().map(with_type).collect::<Vec<_>>() }))
    }

    /// 211
    pub(super) fn room_list(&self) -> Value {
        let rooms: Vec<_> = self
            .rooms
            .iter()
            .map(|room| {
                json!({
                    "xml": BASE64.encode(room.xml(&self.me.wxid).as_bytes()),
                    "wxid": room.wxid,
                    "exist": true,
                    "count": room.members.len() + 1,
                    "roomLord": room.owner == self.me.wxid,
                })
            })
            .collect();
        self.event(211, json!({ "chatrooms": rooms }))
    }

    /// 77; a room that is not there has no members.
    pub(super) fn room_members(&self, wxid: &str) -> Value {
        let (info, members) = match self.room(wxid) {
            Some(room) => {
                let members = room.members.iter().map(|id| self.anybody(id)).chain([self.me.clone()]);
                let info = BASE64.encode(room.xml(&self.me.wxid).as_bytes());
                (info, members.map(|p| p.details()).collect::<Vec<_>>())
            }
            None => (String::new(), Vec::new()),
        };
        self.event(77, json!({ "wxid": wxid, "info": info, "userLists": members }))
    }

    /// 88: somebody, in a packet.
    pub(super) fn contact_packet(&self, wxid: &str) -> Value {
        let person = self.anybody(wxid);
        let mut contact = string(1, &person.wxid);
        field(&mut contact, 2, &string(1, &person.nick));
        varint_field(&mut contact, 3, u64::from(person.sex));
        contact.extend(string(4, &person.v1()));
        contact.extend(string(5, &person.v2()));
        contact.extend(string(6, &person.avatar(0)));
        contact.extend(string(7, &person.avatar(132)));
        contact.extend(string(8, &person.username));
        let mut body = vec![];
        field(&mut body, 3, &contact);
        self.packet(88, "getcontact", &body)
    }

    /// 96: a friend request was sent or accepted; `v1` is whose it was.
    pub(super) fn verified(&self, v1: &str) -> Value {
        let mut body = vec![];
        field(&mut body, 2, v1.as_bytes());
        self.packet(96, "verifyuser", &body)
    }

    /// 81
    pub(super) fn v2(&self, wxid: &str) -> Value {
        let person = self.anybody(wxid);
        let mut more = json!({ "wxid": person.wxid, "v2": person.v2() });
        if let (Some(more), Value::Object(details)) = (more.as_object_mut(), person.details()) {
            more.extend(details.into_iter().filter(|(key, _)| key != "wxid"));
        }
        self.event(81, more)
    }

    /// 95
    pub(super) fn avatars(&self) -> Value {
        let lists: Vec<_> = self.friends.iter().map(|p| json!({ "wxid": p.wxid, "sheadPic": p.avatar(132) })).collect();
        self.event(95, json!({ "userLists": lists }))
    }

    /// 90, 98: nothing but the head of a packet.
    pub(super) fn logout(&self, phone: bool) -> Value {
        if phone { self.packet(98, "autoauth", &[]) } else { self.packet(90, "logout", &[]) }
    }

    /// An event whose content is a packet: a head, then `body`.
    fn packet(&self, r#type: i64, cgi: &str, body: &[u8]) -> Value {
        let mut bytes = vec![];
        // {code 0, message ""}, as every packet of the client begins.
        field(&mut bytes, 1, &[0x08, 0x00, 0x12, 0x00]);
        bytes.extend_from_slice(body);
        let mut event = json!({ "cgi": format!("/cgi-bin/micromsg-bin/{cgi}") });
        if let (Some(all), Value::Object(rest)) = (
            event.as_object_mut(),
            self.event(r#type, json!({ "packLen": bytes.len(), "hex": HEXUPPER.encode(&bytes) })),
        ) {
            all.extend(rest);
        }
        event
    }
}

impl Person {
    fn called(mut self, wxid: &str) -> Self {
        wxid.clone_into(&mut self.wxid);
        self
    }

    /// The fields in which the client describes people.
    fn details(&self) -> Value {
        json!({
            "wxid": self.wxid,
            "headPic": self.avatar(0),
            "sheadPic": self.avatar(132),
            "nick": self.nick,
            "username": self.username,
            "asName": self.remark,
            "province": self.province,
            "city": self.city,
            "sex": self.sex.to_string(),
            "regionCode": if self.province.is_empty() { "" } else { "CN" },
            "sign": self.sign,
        })
    }

    fn avatar(&self, size: u32) -> String {
        format!("http://wx.qlogo.cn/mmhead/ver_1/simulated{:08x}/{size}", self.hash())
    }

    /// Something that differs from person to person and stays the same.
    fn hash(&self) -> u32 {
        crc32fast::hash(self.wxid.as_bytes())
    }

    /// The first ticket, by which a stranger is accepted or added.
    pub(super) fn v1(&self) -> String {
        format!("v1_020b3826fd03{:08x}{:08x}@stranger", self.hash(), !self.hash())
    }

    /// The second ticket.
    pub(super) fn v2(&self) -> String {
        format!("v2_8a0384d4c6cb{:08x}{:08x}@stranger", !self.hash(), self.hash())
    }

    /// The message that a friend request of this person is.
    pub(super) fn friend_request(&self, greeting: &str) -> String {
        format!(
            r#"<msg fromusername="{}" encryptusername="{}" fromnickname="{}" content="{}" shortpy="" imagestatus="3" scene="14" country="CN" province="{}" city="{}" sign="{}" percard="1" sex="{}" alias="{}" weibo="" bigheadimgurl="{}" smallheadimgurl="{}" ticket="{}" opcode="2" />"#,
            escape(&self.wxid),
            self.v1(),
            escape(&self.nick),
            escape(greeting),
            escape(&self.province),
            escape(&self.city),
            escape(&self.sign),
            self.sex,
            escape(&self.username),
            self.avatar(0),
            self.avatar(132),
            self.v2(),
        )
    }

    /// The message that recommends this person.
    pub(super) fn card(&self) -> String {
        format!(
            r#"<?xml version="1.0"?><msg username="{}" nickname="{}" alias="{}" province="{}" city="{}" sex="{}" bigheadimgurl="{}" smallheadimgurl="{}" />"#,
            escape(&self.wxid),
            escape(&self.nick),
            escape(&self.username),
            escape(&self.province),
            escape(&self.city),
            self.sex,
            self.avatar(0),
            self.avatar(132),
        )
    }
}

impl Chatroom {
    fn xml(&self, me: &str) -> String {
        let members: Vec<_> = self.members.iter().map(String::as_str).chain([me]).collect();
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><room username="{}" nickname="{}" headimgurl="http://wx.qlogo.cn/mmhead/ver_1/simulatedroom{:08x}/0" owner="{}" memberlist="{}" />"#,
            self.wxid,
            escape(&self.nick),
            crc32fast::hash(self.wxid.as_bytes()),
            escape(&self.owner),
            escape(&members.join(";")),
        )
    }
}

/// Text as it stands in XML attributes and elements.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A length-delimited protobuf field.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn string(number: u8, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, number, text.as_bytes());
    out
}

fn varint_field(out: &mut Vec<u8>, number: u8, value: u64) {
    out.push(number << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::{Kind, decode};

    #[test]
    fn what_the_world_reports_is_understood_by_the_decoder() {
        let world = World::new("wxid_me");
        let read = |event: &Value| decode(&event.to_string());
        let packet = read(&world.contacts_packet());
        assert_eq!(packet.kind, Kind::ContactsPacket);
        assert_eq!(packet.decoded.json()["wxids"].as_array().unwrap().len(), FRIENDS.len() + 2, "{:?}", packet.decoded);
        let contacts = read(&world.contacts(&world.friends));
        assert_eq!(contacts.decoded.json()["contacts"][0]["remark"], "妈妈");
        let rooms = read(&world.room_list());
        assert_eq!(rooms.decoded.json()["rooms"][0]["nick"], "家人群");
        assert_eq!(rooms.decoded.json()["rooms"][1]["owner"], true);
        assert_eq!(rooms.decoded.json()["rooms"][1]["members"].as_array().unwrap().len(), 9);
        let members = read(&world.room_members("20260101001@chatroom"));
        assert_eq!(members.decoded.json()["members"].as_array().unwrap().len(), 4);
        let packet = read(&world.contact_packet("annahoffmann"));
        assert!(packet.decoded.json()["v2"].as_str().unwrap().starts_with("v2_"), "{:?}", packet.decoded);
        assert!(packet.decoded.json()["strings"].to_string().contains("annahoffmann"), "{:?}", packet.decoded);
        assert_eq!(read(&world.verified("v1_0a@stranger")).decoded.json()["ok"], true);
        assert!(read(&world.v2("wxid_x")).decoded.json()["v2"].is_string());
        assert_eq!(read(&world.login()[1]).decoded.json()["self"], true);
        assert_eq!(read(&world.logout(true)).kind, Kind::LogoutPhone);
        let request = read(&world.message(37, "fmessage", None, false, &world.strangers[0].friend_request("a \"b\"")));
        assert_eq!((request.kind, &request.text.unwrap()[..]), (Kind::MessageFriendRequest, "a \"b\""));
        assert_eq!(request.decoded.json()["wxid"], "wxid_qianhao12zz901");
        let card = read(&world.message(42, "filehelper", None, true, &world.friends[0].card()));
        assert_eq!((card.kind, card.is_self), (Kind::MessageCard, Some(true)));
    }

    #[test]
    fn nobody_is_there_twice() {
        let world = World::new("wxid_me");
        let mut ids: Vec<_> = world.friends.iter().chain(&world.strangers).map(|p| &p.wxid).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all);
        assert!(world.rooms.iter().flat_map(|r| &r.members).all(|id| world.person(id).is_some()));
    }
}
