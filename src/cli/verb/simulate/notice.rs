//! The notices of rooms that the simulated client tells: who came, went, is the owner, as WeChat's own XML.

use super::world::{World, escape};
use crate::cli::error::Error;
use crate::protocol::event::Kind;
use std::collections::BTreeMap;

/// What can be said of a notice: ids of people, how it happened, a name.
pub(super) const READABLE: [&str; 4] = ["who", "by", "how", "name"];

/// Whether a kind is one of these.
pub(super) fn is_one(kind: Kind) -> bool {
    kind.is_of_room() || kind == Kind::MessagePat
}

/// The message of a notice in that room; takes what it says out of `told`.
///
/// # Errors
/// When it cannot have happened in that way.
pub(super) fn message(
    world: &World,
    kind: Kind,
    room: &str,
    told: &mut BTreeMap<&'static str, String>,
) -> Result<String, Error> {
    let members = world.room(room).map_or(&world.rooms[0].members, |room| &room.members);
    let member = |at: usize| members.get(at).cloned().unwrap_or_else(|| world.me.wxid.clone());
    let mut take = |key: &str, otherwise: String| told.remove(key).unwrap_or(otherwise);
    if kind == Kind::RoomAnnouncement {
        let text = take("text", "周六八点，东门集合".to_owned());
        return Ok(format!(
            "{room}:\n<sysmsg type=\"mmchatroombarannouncememt\"><mmchatroombarannouncememt><content><![CDATA[{}]]></content></mmchatroombarannouncememt></sysmsg>",
            cdata(&text)
        ));
    }
    let by = take("by", member(0));
    let who = take("who", if kind == Kind::MessagePat { world.me.wxid.clone() } else { member(1) });
    let (by_link, who_link) = (link(world, "username", &by), link(world, "names", &who));
    let sentence = match kind {
        Kind::MessagePat => return Ok(pat(world, room, &by, &who)),
        Kind::RoomRenamed => {
            let name = format!(
                "<link name=\"remark\" type=\"link_plain\"><plain><![CDATA[{}]]></plain></link>",
                cdata(&take("name", "周末爬山".to_owned()))
            );
            return Ok(template(room, "\"$username$\"修改群名为“$remark$”", &[by_link, name]));
        }
        Kind::RoomOwner => "\"$names$\"已成为新群主",
        Kind::RoomJoined => match &take("how", "invite".to_owned())[..] {
            "invite" => "\"$username$\"邀请\"$names$\"加入了群聊",
            "qrcode" => "\"$names$\"通过扫描\"$username$\"分享的二维码加入群聊",
            other => return Err(no_way(other, "invite, qrcode")),
        },
        Kind::RoomLeft => match &take("how", "removed".to_owned())[..] {
            "removed" => "\"$username$\"将\"$names$\"移出了群聊",
            "left" => "\"$names$\"退出了群聊",
            "disbanded" => "\"$username$\"已解散该群聊",
            other => return Err(no_way(other, "removed, left, disbanded")),
        },
        _ => match &take("how", "request".to_owned())[..] {
            "request" => "\"$username$\"想邀请\"$names$\"加入群聊",
            "on" => "\"$username$\"已启用“群聊邀请确认”，群成员需经群主确认才可邀请朋友进群。",
            "off" => "\"$username$\"已恢复默认进群方式。",
            other => return Err(no_way(other, "request, on, off")),
        },
    };
    Ok(template(room, sentence, &[by_link, who_link]))
}

fn no_way(how: &str, ways: &str) -> Error {
    Error::usage(format!("how={how}: say one of {ways}"))
}

fn cdata(text: &str) -> String {
    text.replace("]]>", "")
}

/// A link to people, whose ids stand with commas between them.
fn link(world: &World, name: &str, ids: &str) -> String {
    let member = |id: &str| {
        let nick = world.person(id).map_or(id, |person| &person.nick);
        format!("<member><username>{}</username><nickname><![CDATA[{}]]></nickname></member>", escape(id), cdata(nick))
    };
    let members: String = ids.split(',').map(str::trim).filter(|id| !id.is_empty()).map(member).collect();
    format!(
        "<link name=\"{name}\" type=\"link_profile\"><memberlist>{members}</memberlist><separator><![CDATA[、]]></separator></link>"
    )
}

fn template(room: &str, sentence: &str, links: &[String]) -> String {
    format!(
        "{room}:\n<sysmsg type=\"sysmsgtemplate\"><sysmsgtemplate><content_template type=\"tmpl_type_profile\"><plain></plain><template><![CDATA[{sentence}]]></template><link_list>{}</link_list></content_template></sysmsgtemplate></sysmsg>",
        links.concat()
    )
}

fn pat(world: &World, room: &str, by: &str, who: &str) -> String {
    let own = |id: &str| if id == world.me.wxid { "我".to_owned() } else { format!("\"${{{id}}}\"") };
    format!(
        "{room}:\n<sysmsg type=\"pat\"><pat><fromusername>{}</fromusername><chatusername>{}</chatusername><pattedusername>{}</pattedusername><template><![CDATA[{} 拍了拍{}]]></template></pat></sysmsg>",
        escape(by),
        escape(room),
        escape(who),
        own(by),
        own(who)
    )
}
