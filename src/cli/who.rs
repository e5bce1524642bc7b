//! Whom an argument means: an id, or a name that the daemon knows (`@NAME`).

use super::ctx::Ctx;
use super::error::{Error, Exit};
use super::render;
use crate::control::ResolveQuery;
use crate::protocol::id::{self, RoomId, Wxid};
use serde_json::Value;

/// A person or a room, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// An id.
    Id(Wxid),
    /// `@NAME`, without the `@`: a remark, nick or username.
    Name(String),
}

/// A room, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An id.
    Id(RoomId),
    /// `@NAME`, without the `@`.
    Name(String),
}

impl Who {
    /// Takes an argument for an id or a name.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, id::Error> {
        match text.strip_prefix('@') {
            Some(name) if name.trim().is_empty() => Err(id::Error::Empty),
            Some(name) => Ok(Self::Name(name.to_owned())),
            None => Wxid::parse(text).map(Self::Id),
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
        match self {
            Self::Id(id) => Ok(id.clone()),
            Self::Name(name) => Ok(Wxid::parse(&look_up(ctx, name, None, None, account)?)?),
        }
    }

    /// The id; a name is looked up among the members of a room, and where none has it, among all contacts: the room's
    /// members may not be known.
    ///
    /// # Errors
    /// As [`Who::id`].
    pub(super) fn member(&self, ctx: &Ctx, room: &RoomId) -> Result<Wxid, Error> {
        match self {
            Self::Id(id) => Ok(id.clone()),
            Self::Name(name) => match look_up(ctx, name, Some("people"), Some(room.as_str()), None) {
                Err(error) if error.exit == Exit::NotFound => self.id(ctx),
                found => Ok(Wxid::parse(&found?)?),
            },
        }
    }
}

impl Place {
    /// Takes an argument for a room's id or a name.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, id::Error> {
        match text.strip_prefix('@') {
            Some(name) if name.trim().is_empty() => Err(id::Error::Empty),
            Some(name) => Ok(Self::Name(name.to_owned())),
            None => RoomId::parse(text).map(Self::Id),
        }
    }

    /// The id; a name is looked up among the rooms of the account that is meant.
    ///
    /// # Errors
    /// When the name means no room (4), or several (5: they are listed).
    pub(super) fn id(&self, ctx: &Ctx) -> Result<RoomId, Error> {
        match self {
            Self::Id(id) => Ok(id.clone()),
            Self::Name(name) => Ok(RoomId::parse(&look_up(ctx, name, Some("rooms"), None, None)?)?),
        }
    }
}

/// The id of the only person or room with that name, or of the one that `--pick` chooses.
fn look_up(
    ctx: &Ctx,
    name: &str,
    only: Option<&str>,
    room: Option<&str>,
    account: Option<&str>,
) -> Result<String, Error> {
    let query = ResolveQuery {
        name: name.to_owned(),
        account: account.map(str::to_owned).or_else(|| ctx.global().account.clone()),
        only: only.map(str::to_owned),
        room: room.map(str::to_owned),
    };
    let found: Vec<Value> = ctx.client()?.lines("/v1/resolve", &query)?.values()?;
    let id_of = |entry: &Value| entry["wxid"].as_str().unwrap_or_default().to_owned();
    match (&found[..], ctx.global().pick) {
        ([], _) => Err(Error::not_found(format!(
            "nobody is called `@{}`, as far as events have told; `wehelp contact list` shows who is known, and \
             `wehelp friend list` asks the client",
            render::clean(name)
        ))),
        ([one], None) => Ok(id_of(one)),
        (all, Some(n)) => all.get(n.wrapping_sub(1)).map(id_of).ok_or_else(|| {
            Error::usage(format!("--pick {n}: `@{}` means {} people or rooms", render::clean(name), all.len()))
        }),
        (several, None) => {
            /// More than these are not listed.
            const LISTED: usize = 20;
            let list: Vec<String> = several
                .iter()
                .take(LISTED)
                .enumerate()
                .map(|(n, entry)| {
                    let called = ["remark", "nick", "username"].iter().find_map(|key| entry[*key].as_str());
                    format!("{}: {} ({})", n + 1, id_of(entry), render::clean(called.unwrap_or("no name")))
                })
                .collect();
            let more = if several.len() > LISTED { " …" } else { "" };
            Err(Error::refused(
                "ambiguous-name",
                format!(
                    "`@{}` means {} people or rooms; use an id, or --pick N: {}{more}",
                    render::clean(name),
                    several.len(),
                    list.join(", ")
                ),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_at_sign_begins_a_name_and_is_none_by_itself() {
        assert_eq!(Who::parse("@小王 二"), Ok(Who::Name("小王 二".to_owned())));
        assert!(matches!(Who::parse("1@chatroom"), Ok(Who::Id(_))));
        assert!(matches!(Place::parse("@family"), Ok(Place::Name(_))));
        for nobody in ["@", "@ ", "", "a b"] {
            assert!(Who::parse(nobody).is_err() && Place::parse(nobody).is_err(), "{nobody:?}");
        }
    }
}
