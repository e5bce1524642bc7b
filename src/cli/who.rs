//! Whom an argument means: an id, or a name that the daemon knows (`@NAME`, contract 5).

use super::ctx::Ctx;
use super::error::Error;
use super::render;
use crate::control::{ResolveQuery, client};
use crate::protocol::id::{self, RoomId, Wxid};
use serde_json::Value;

/// A person or a room, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// An id.
    Id(Wxid),
    /// `@NAME`
    Name(Name),
    /// Neither; perhaps a name without its `@`.
    Wrong(id::Error),
}

/// A room, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An id.
    Id(RoomId),
    /// `@NAME`
    Name(Name),
    /// Neither; perhaps a name without its `@`.
    Wrong(id::Error),
}

/// A name, as typed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// Without the `@`: a remark, nick or username, or an id.
    text: String,
    /// `@@NAME`: strangers count too.
    strangers: bool,
}

impl Name {
    /// Takes what begins with `@` (or `＠`) for a name; `None` for what does not.
    fn parse(text: &str) -> Option<Result<Self, id::Error>> {
        let rest = text.strip_prefix(AT)?;
        let (name, strangers) = rest.strip_prefix(AT).map_or((rest, false), |name| (name, true));
        let is_empty = crate::protocol::name::folded(name).is_empty();
        Some(if is_empty { Err(id::Error::Empty) } else { Ok(Self { text: name.to_owned(), strangers }) })
    }

    /// As it was typed, fit for a terminal.
    fn shown(&self) -> String {
        format!("{}{}", if self.strangers { "@@" } else { "@" }, render::clean(&self.text))
    }
}

/// What begins a name: input methods for Chinese write the second.
const AT: [char; 2] = ['@', '＠'];

impl Who {
    /// Takes an argument for an id or a name. What is neither, and may be a name without its sign, is refused later: once
    /// the daemon can be asked whether somebody is called so.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, id::Error> {
        match Name::parse(text) {
            Some(name) => name.map(Self::Name),
            None => match Wxid::parse(text) {
                Err(error) if error.as_name().is_some() => Ok(Self::Wrong(error)),
                parsed => parsed.map(Self::Id),
            },
        }
    }

    /// The id; a name is looked up among the contacts of the account that is meant.
    ///
    /// # Errors
    /// When the name means nobody (4), or several (5: they are listed).
    pub(super) fn id(&self, ctx: &Ctx) -> Result<Wxid, Error> {
        self.id_for(ctx, None)
    }

    /// As [`Who::id`], among the contacts of another account than the one that the options name.
    ///
    /// # Errors
    /// As there.
    pub(super) fn id_for(&self, ctx: &Ctx, account: Option<&str>) -> Result<Wxid, Error> {
        self.looked_up(ctx, &Among { account, ..Among::default() })
    }

    /// The id where one was typed, and not a name; `is_person`: a room is none that can be meant.
    pub(super) fn typed(&self, is_person: bool) -> Option<Result<Wxid, Error>> {
        let Self::Id(id) = self else { return None };
        Some(as_typed(id, is_person))
    }

    /// The id of a person; rooms do not count.
    ///
    /// # Errors
    /// As [`Who::id`], and when it is a room's id (2).
    pub(super) fn person(&self, ctx: &Ctx) -> Result<Wxid, Error> {
        self.looked_up(ctx, &Among { only: Some(PEOPLE), ..Among::default() })
    }

    /// The id; a name may also be one that only a member of that room has.
    ///
    /// # Errors
    /// As [`Who::person`].
    pub(super) fn member(&self, ctx: &Ctx, room: &RoomId) -> Result<Wxid, Error> {
        self.looked_up(ctx, &Among { only: Some(PEOPLE), room: Some(room.as_str()), account: None })
    }

    fn looked_up(&self, ctx: &Ctx, among: &Among<'_>) -> Result<Wxid, Error> {
        match self {
            Self::Id(id) => as_typed(id, among.only == Some(PEOPLE)),
            Self::Name(name) => Ok(Wxid::parse(&look_up(ctx, name, among)?)?),
            Self::Wrong(error) => Err(wrong(ctx, "WXID", error, among)),
        }
    }
}

impl Place {
    /// Takes an argument for a room's id or a name; see [`Who::parse`].
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, id::Error> {
        match Name::parse(text) {
            Some(name) => name.map(Self::Name),
            None => match RoomId::parse(text) {
                Err(error) if error.as_name().is_some() => Ok(Self::Wrong(error)),
                parsed => parsed.map(Self::Id),
            },
        }
    }

    /// The id; a name is looked up among the rooms of the account that is meant.
    ///
    /// # Errors
    /// When the name means no room (4), or several (5: they are listed).
    pub(super) fn id(&self, ctx: &Ctx) -> Result<RoomId, Error> {
        match self {
            Self::Id(id) => Ok(id.clone()),
            Self::Name(name) => Ok(RoomId::parse(&look_up(ctx, name, &Among::ROOMS)?)?),
            Self::Wrong(error) => Err(wrong(ctx, "ROOM", error, &Among::ROOMS)),
        }
    }
}

fn as_typed(id: &Wxid, is_person: bool) -> Result<Wxid, Error> {
    match Wxid::check_person(id.as_str()) {
        Err(error) if is_person => Err(Error::usage(format!("WXID: {error}"))),
        _ => Ok(id.clone()),
    }
}

/// Rooms are nobody whom a name means then.
const PEOPLE: &str = "people";

/// Among whom a name is looked up.
#[derive(Debug, Clone, Copy, Default)]
struct Among<'a> {
    /// `people` or `rooms`.
    only: Option<&'static str>,
    /// The room whose members count too.
    room: Option<&'a str>,
    /// Whose contacts, when not those of the account that the options name.
    account: Option<&'a str>,
}

impl Among<'_> {
    const ROOMS: Self = Self { only: Some("rooms"), room: None, account: None };
}

/// Who has a name, by the ranks of contract 5.
fn having(ctx: &Ctx, name: &Name, among: &Among<'_>) -> Result<Vec<Value>, client::Error> {
    let query = ResolveQuery {
        name: name.text.clone(),
        account: among.account.map(str::to_owned).or_else(|| ctx.global().account.clone()),
        only: among.only.map(str::to_owned),
        room: among.room.map(str::to_owned),
        strangers: name.strangers,
    };
    let client = ctx.client().map_err(|error| client::Error::Strange(error.message))?;
    client.lines("/v1/resolve", &query)?.values()
}

/// The refusal of what is no id; where somebody is called so, with a word on how to say that. A daemon that is not there
/// makes it no other fault.
fn wrong(ctx: &Ctx, argument: &str, error: &id::Error, among: &Among<'_>) -> Error {
    let name = error.as_name().map(|text| Name { text: text.trim().to_owned(), strangers: false });
    let known = name.as_ref().is_some_and(|name| having(ctx, name, among).is_ok_and(|found| !found.is_empty()));
    let hint = match name.filter(|_| known) {
        Some(name) => format!("; did you mean `{}`?", name.shown()),
        None => String::new(),
    };
    Error::usage(format!("{argument}: {}{hint}", render::clean(&error.to_string())))
}

/// The id of the only person or room with that name, or of the one that `--pick` chooses.
fn look_up(ctx: &Ctx, name: &Name, among: &Among<'_>) -> Result<String, Error> {
    // Without a daemon the error of looking for one is the right one.
    ctx.client()?;
    let found = having(ctx, name, among)?;
    let id_of = |entry: &Value| entry["wxid"].as_str().unwrap_or_default().to_owned();
    let shown = name.shown();
    match (&found[..], ctx.global().pick.as_deref()) {
        ([], _) => Err(Error::not_found(format!(
            "nobody is called `{shown}`, as far as events have told; `wehelp contact list` shows who is known, \
             `wehelp friend list` asks the client{}",
            if name.strangers { "" } else { ", and @@NAME also means those who are no friends" }
        ))),
        ([one], None) => Ok(id_of(one)),
        (all, Some(picked)) => all.iter().map(id_of).find(|id| id == picked).ok_or_else(|| {
            Error::usage(format!(
                "--pick {}: that is none of those that `{shown}` means: {}",
                render::clean(picked),
                listed(all)
            ))
        }),
        (several, None) => Err(Error::refused(
            "ambiguous-name",
            format!(
                "`{shown}` means {} people or rooms; take one of these instead, or add its --pick: {}",
                several.len(),
                listed(several)
            ),
        )),
    }
}

/// Those whom a name means, each with what picks it: its id, which never means another.
fn listed(found: &[Value]) -> String {
    /// More than these are not listed.
    const LISTED: usize = 20;
    let one = |entry: &Value| {
        let called = ["remark", "nick", "username"].iter().find_map(|key| entry[*key].as_str());
        let id = entry["wxid"].as_str().unwrap_or_default();
        format!("--pick {} ({})", render::clean(id), render::clean(called.unwrap_or("no name")))
    };
    let list: Vec<String> = found.iter().take(LISTED).map(one).collect();
    format!("{}{}", list.join(", "), if found.len() > LISTED { " …" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_at_sign_begins_a_name_and_is_none_by_itself() {
        let name = |text: &str, strangers| Ok(Who::Name(Name { text: text.to_owned(), strangers }));
        assert_eq!(Who::parse("@小王 二"), name("小王 二", false));
        assert_eq!(Who::parse("＠小王"), name("小王", false));
        assert_eq!(Who::parse("@@小王"), name("小王", true));
        assert_eq!(Who::parse("＠＠小王"), name("小王", true));
        assert!(matches!(Who::parse("1@chatroom"), Ok(Who::Id(_))));
        assert!(matches!(Who::parse("1＠chatroom"), Ok(Who::Id(id)) if id.as_str() == "1@chatroom"));
        assert!(matches!(Place::parse("@family"), Ok(Place::Name(_))));
        for nobody in ["@", "@ ", "", "@@", "@\u{200b}", "-x"] {
            assert!(Who::parse(nobody).is_err() && Place::parse(nobody).is_err(), "{nobody:?}");
        }
        for perhaps in ["a b", "小王", "a@example.org"] {
            let wrong = (Who::parse(perhaps), Place::parse(perhaps));
            assert!(matches!(wrong, (Ok(Who::Wrong(_)), Ok(Place::Wrong(_)))), "{perhaps:?}");
        }
    }
}
