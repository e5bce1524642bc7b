//! Whom an argument means, as it was typed: an id, or a name that the daemon knows (`@NAME`, contract 5). Data; `names`
//! looks names up.

use super::render;
use crate::protocol::id::{self, RoomId, Wxid};

/// A person or a room, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// An id.
    Id(Wxid),
    /// `@NAME`
    Name(Name),
    /// Neither; perhaps a name without its `@`.
    Wrong(id::Error),
}

/// A room, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// An id.
    Id(RoomId),
    /// `@NAME`
    Name(Name),
    /// Neither; perhaps a name without its `@`.
    Wrong(id::Error),
}

/// A name, as typed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// Without the `@`: a remark, nick or username, or an id.
    pub(super) text: String,
    /// `@@NAME`: strangers count too.
    pub(super) strangers: bool,
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
    pub(super) fn shown(&self) -> String {
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
    pub(super) fn parse(text: &str) -> Result<Self, id::Error> {
        match Name::parse(text) {
            Some(name) => name.map(Self::Name),
            None => match Wxid::parse(text) {
                Err(error) if error.as_name().is_some() => Ok(Self::Wrong(error)),
                parsed => parsed.map(Self::Id),
            },
        }
    }
}

impl Place {
    /// Takes an argument for a room's id or a name; see [`Who::parse`].
    ///
    /// # Errors
    /// When it is neither.
    pub(super) fn parse(text: &str) -> Result<Self, id::Error> {
        match Name::parse(text) {
            Some(name) => name.map(Self::Name),
            None => match RoomId::parse(text) {
                Err(error) if error.as_name().is_some() => Ok(Self::Wrong(error)),
                parsed => parsed.map(Self::Id),
            },
        }
    }
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
