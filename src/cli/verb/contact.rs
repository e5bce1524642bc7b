//! `wehelp contact`: what the daemon has learned from events; nobody is asked.

use crate::cli::complete::Known;
use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::cli::names;
use crate::cli::options::who;
use crate::cli::render::items::{self, Column};
use crate::cli::who::Who;
use crate::control::{Account, DirectoryQuery, client};
use serde::Serialize;
use serde_json::{Value, json};

/// Look up people and rooms that the daemon has learned of from events; nobody is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp contact list --name li")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum What {
    /// List people and rooms
    List(List),
    /// Show one
    Show(Show),
    /// List the URLs of pictures
    Avatars(Avatars),
}

/// List people and rooms.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp contact list --name li
  wehelp contact list --only rooms | jq -r '[.wxid, .nick] | @tsv'")]
struct List {
    /// Only those whose nick, remark or username contains this, or whose id begins with it
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// Only people, or only rooms
    #[arg(long, value_name = "WHICH", value_parser = ["people", "rooms"])]
    only: Option<String>,

    /// Only friends, not everybody who was seen in a room
    #[arg(long)]
    friends: bool,

    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Show one person or room.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp contact show @boss")]
struct Show {
    /// Who
    #[arg(value_name = "WXID", value_parser = who, add = Known::Contacts.completer())]
    wxid: Who,
}

/// List the URLs of pictures, as events told them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp contact avatars wxid_abc | jq -r .avatar | xargs curl -o abc.jpg")]
struct Avatars {
    /// Whose; everybody's when none is named
    #[arg(value_name = "WXID", value_parser = who, add = Known::Contacts.completer())]
    wxids: Vec<Who>,
}

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    match args.what {
        What::List(list) => {
            let query = DirectoryQuery {
                account: ctx.global().account.clone(),
                name: list.name,
                only: list.only,
                accepted: false,
                friends: list.friends,
                limit: list.limit,
            };
            let nobody = "nobody like that is known; `wehelp friend list` and `wehelp room list` ask the client";
            self::list(ctx, "/v1/contacts", &query, items::CONTACTS, Found::MayBeEmpty(nobody))
        }
        What::Show(show) => {
            let wxid = names::id(ctx, &show.wxid)?;
            ctx.out().print(&one(ctx, wxid.as_str())?, items::facts)
        }
        What::Avatars(Avatars { wxids }) => avatars(ctx, &wxids),
    }
}

/// What it means that a list is empty.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found<'a> {
    /// That there is nothing; people are told so.
    MayBeEmpty(&'a str),
    /// That it is not known.
    MustBeThere(&'a str),
}

/// Asks the directory and prints what it says.
pub(super) fn list(
    ctx: &Ctx,
    path: &str,
    query: &DirectoryQuery,
    shown: &[Column],
    found: Found<'_>,
) -> Result<(), Error> {
    let all: Vec<Value> = ctx.client()?.list(path, query)?;
    show_all(ctx, &all, shown, found)
}

/// Prints what was found.
pub(super) fn show_all(ctx: &Ctx, all: &[Value], shown: &[Column], found: Found<'_>) -> Result<(), Error> {
    if all.is_empty() {
        match found {
            Found::MustBeThere(why) => return Err(Error::not_found(why)),
            Found::MayBeEmpty(why) if !ctx.out().is_json() => ctx.out().note(why),
            Found::MayBeEmpty(_) => {}
        }
    }
    if ctx.out().is_json() {
        return all.iter().try_for_each(|item| ctx.out().json_line(item));
    }
    ctx.out().text(&items::grid(shown, all, ctx.out().columns()))
}

#[derive(Serialize)]
struct Whose<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
}

/// One person or room.
fn one(ctx: &Ctx, wxid: &str) -> Result<Value, Error> {
    let whose = Whose { account: ctx.global().account.as_deref() };
    Ok(ctx.client()?.get_with(&format!("/v1/contacts/{}", client::part(wxid)), &whose)?)
}

/// The account that was named, else each that is known: a picture says nothing of what a command would do.
fn accounts(ctx: &Ctx) -> Result<Vec<Option<String>>, Error> {
    if let Some(named) = &ctx.global().account {
        return Ok(vec![Some(named.clone())]);
    }
    let known: Vec<Account> = ctx.client()?.list("/v1/accounts", &())?;
    Ok(known.into_iter().map(|known| Some(known.account)).collect())
}

fn avatars(ctx: &Ctx, wxids: &[Who]) -> Result<(), Error> {
    let picture = |contact: &Value| {
        contact["avatar"].is_string().then(|| {
            let get = |key: &str| contact[key].clone();
            json!({
                "account": get("account"), "wxid": get("wxid"), "nick": get("nick"), "remark": get("remark"),
                "avatar": get("avatar"), "avatar_small": get("avatar_small"),
            })
        })
    };
    if wxids.is_empty() {
        let mut all: Vec<Value> = Vec::new();
        for account in accounts(ctx)? {
            let query = DirectoryQuery { account, ..DirectoryQuery::default() };
            all.extend(ctx.client()?.list::<Value>("/v1/contacts", &query)?);
        }
        let all: Vec<Value> = all.iter().filter_map(picture).collect();
        return show_all(ctx, &all, items::AVATARS, Found::MayBeEmpty("no event has told of pictures yet"));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for who in wxids {
        let wxid = names::id(ctx, who)?;
        match one(ctx, wxid.as_str()).map(|contact| picture(&contact)) {
            Ok(Some(avatar)) => found.push(avatar),
            Ok(None) => failures.push(Error::not_found(format!("no event has told of a picture of `{wxid}`"))),
            Err(error) => failures.push(error),
        }
    }
    show_all(ctx, &found, items::AVATARS, Found::MayBeEmpty("nothing was found"))?;
    ctx.out().told(failures)
}
