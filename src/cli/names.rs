//! Whom a name means: ids are taken as they are, names (`@NAME`, contract 5) are looked up by the daemon.

use super::ctx::Ctx;
use super::error::Error;
use super::render;
use super::who::{Name, Place, Who};
use crate::control::{Account, ResolveQuery, client};
use crate::protocol::id::{self, RoomId, Wxid};
use serde_json::Value;

/// The id of a person or a room; a name is looked up among the contacts of the account that is meant.
///
/// # Errors
/// When the name means nobody (4), or several (5: they are listed).
pub(super) fn id(ctx: &Ctx, who: &Who) -> Result<Wxid, Error> {
    id_for(ctx, who, None)
}

/// The id that an option means which filters by one, if it was given: by the rules for what a command goes to, so that a
/// slip is told instead of matching nothing.
///
/// # Errors
/// As [`id()`], with the option's name.
pub(super) fn filter(ctx: &Ctx, option: &str, given: Option<&str>) -> Result<Option<String>, Error> {
    let Some(given) = given else { return Ok(None) };
    let who = Who::parse(given).map_err(|error| Error::usage(format!("{option}: {error}")))?;
    let found = id(ctx, &who).map_err(|error| error.about("WXID", option))?;
    Ok(Some(found.as_str().to_owned()))
}

/// As [`id()`], among the contacts of another account than the one that the options name.
///
/// # Errors
/// As there.
pub(super) fn id_for(ctx: &Ctx, who: &Who, account: Option<&str>) -> Result<Wxid, Error> {
    looked_up(ctx, who, &Among { account, ..Among::default() })
}

/// The id of a person; rooms do not count.
///
/// # Errors
/// As [`id()`], and when it is a room's id (2).
pub(super) fn person(ctx: &Ctx, who: &Who) -> Result<Wxid, Error> {
    looked_up(ctx, who, &Among { only: Some(PEOPLE), ..Among::default() })
}

/// Refuses the ids that are no person's: what is wrong usage is found before anybody is looked up.
///
/// # Errors
/// Wrong usage.
pub(super) fn check_people(whos: &[Who]) -> Result<(), Error> {
    whos.iter().try_for_each(|who| if let Who::Id(id) = who { as_typed(id, true).map(drop) } else { Ok(()) })
}

/// The id of a person; a name may also be one that only a member of that room has.
///
/// # Errors
/// As [`person`].
pub(super) fn member(ctx: &Ctx, who: &Who, room: &RoomId) -> Result<Wxid, Error> {
    looked_up(ctx, who, &Among { only: Some(PEOPLE), room: Some(room.as_str()), account: None })
}

/// The id of a room; a name is looked up among the rooms of the account that is meant.
///
/// # Errors
/// When the name means no room (4), or several (5: they are listed).
pub(super) fn room(ctx: &Ctx, place: &Place) -> Result<RoomId, Error> {
    match place {
        Place::Id(id) => Ok(id.clone()),
        Place::Name(name) => Ok(RoomId::parse(&look_up(ctx, name, &Among::ROOMS)?)?),
        Place::Wrong(error) => Err(wrong(ctx, "ROOM", error, &Among::ROOMS)),
    }
}

fn looked_up(ctx: &Ctx, who: &Who, among: &Among<'_>) -> Result<Wxid, Error> {
    match who {
        Who::Id(id) => as_typed(id, among.only == Some(PEOPLE)),
        Who::Name(name) => Ok(Wxid::parse(&look_up(ctx, name, among)?)?),
        Who::Wrong(error) => Err(wrong(ctx, "WXID", error, among)),
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
    client.list("/v1/resolve", &query)
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

/// What is said of an account that is taken by its form although no event has told of it (contract 5): it may be mistyped.
/// Nothing where one has, and where that cannot be asked now.
pub(super) fn untold(ctx: &Ctx, account: &str) -> Option<String> {
    let known: Vec<Account> = ctx.client().ok()?.list("/v1/accounts", &()).ok()?;
    let is_called = |one: &Account| {
        let names = [Some(&one.account), one.alias.as_ref(), one.nick.as_ref(), one.username.as_ref()];
        names.into_iter().flatten().any(|name| name == account)
    };
    (!known.iter().any(is_called)).then(|| {
        format!(
            "no event has told of the account `{}` yet; `wehelp account list` shows those known",
            render::clean(account)
        )
    })
}

/// The id of the only person or room with that name, or of the one that `--pick` chooses.
fn look_up(ctx: &Ctx, name: &Name, among: &Among<'_>) -> Result<String, Error> {
    // Without a daemon the error of looking for one is the right one.
    ctx.client()?;
    let found = having(ctx, name, among)?;
    let id_of = |entry: &Value| entry["wxid"].as_str().unwrap_or_default().to_owned();
    let shown = name.shown();
    match (&found[..], ctx.global().pick.as_deref()) {
        ([], _) if name.strangers => Err(Error::not_found(format!(
            "nobody is called `{shown}`, as far as events have told; `wehelp contact list` shows who is known"
        ))),
        ([], _) => Err(Error::not_found(format!(
            "no friend or room{} is called `{shown}`, as far as events have told; `wehelp friend list` makes the friends \
             known, `wehelp room list` the rooms, and @@NAME also means those who are no friends",
            if among.room.is_some() { ", nor a member of that room," } else { "" }
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
