//! `wehelp friend`

use super::contact::{self, Found};
use crate::cli::complete::Known;
use crate::cli::ctx::Ctx;
use crate::cli::enqueue::{self, Enqueuer};
use crate::cli::error::{Error, Exit};
use crate::cli::names;
use crate::cli::options::{Wiring, place, who};
use crate::cli::render::{self, items};
use crate::cli::wait;
use crate::cli::who::{Place, Who};
use crate::control::{DirectoryQuery, Receipt, Until, client};
use crate::protocol::command::{self, Command, Wire};
use crate::protocol::name::folded;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Ask about friends, add and accept them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp friend list | jq -r '[.wxid, .remark // .nick] | @tsv'")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum What {
    /// List the friends
    List(List),
    /// Ask somebody to become a friend
    Add(Add),
    /// Delete a friend
    Delete(Delete),
    /// Ask for the details of any number of friends
    Info(Info),
    /// Ask for the details of one friend
    Get(Get),
    /// Look somebody up on WeChat's servers
    Lookup(Lookup),
    /// Accept a friend request
    Accept(Accept),
    /// List the friend requests seen and not yet accepted
    Requests(Requests),
}

/// List the friends.
///
/// A list may come in pieces: it is printed when no further piece has come for 3 s. When only the ids came in time, or when
/// wehelpd was not running when a further piece could have come, what came is printed, and the exit status is 6.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp friend list
  wehelp friend list --cached | jq -r .nick")]
struct List {
    /// Answer at once from what the daemon has learned; ask nobody
    #[arg(long)]
    cached: bool,

    #[command(flatten)]
    wiring: Wiring,
}

/// Ask somebody to become a friend.
///
/// A member of a room who is no friend can only be added with a ticket, which the client learns when it is asked for it:
/// --room asks first, waits for the answer (30 s, or as --wait says), and then queues the command; without an answer
/// nobody is added. With --no-wait both are queued at once, in this order. WeChat blocks accounts that add many people
/// quickly, so the daemon holds these commands 5 s apart.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp friend add wxid_abc --message \"hello from the fair\"
  wehelp friend add wxid_abc --room 123@chatroom")]
struct Add {
    /// Whom
    #[arg(value_name = "WXID", value_parser = who, add = Known::People.completer())]
    wxid: Who,

    /// What the request says
    #[arg(long, value_name = "MESSAGE")]
    message: Option<String>,

    /// A room that both are in: ask for the member's ticket there first, then add
    #[arg(long, value_name = "ROOM", value_parser = place, add = Known::Rooms.completer())]
    room: Option<Place>,

    #[command(flatten)]
    wiring: Wiring,
}

/// Delete a friend.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp friend delete wxid_abc")]
struct Delete {
    /// Whom
    #[arg(value_name = "WXID", value_parser = who, add = Known::People.completer())]
    wxid: Who,

    #[command(flatten)]
    wiring: Wiring,
}

/// Ask for the details of any number of friends: 50 a command, as many commands as needed.
///
/// When the client does not tell of all of them in time, those that it told of are printed, and the exit status is 6.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp friend info wxid_a wxid_b
  wehelp friend list --cached | jq -r .wxid | xargs wehelp friend info")]
struct Info {
    /// Whom
    #[arg(value_name = "WXID", value_parser = who, required = true, add = Known::People.completer())]
    wxids: Vec<Who>,

    #[command(flatten)]
    wiring: Wiring,
}

/// Ask for the details of one friend.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp friend get wxid_abc")]
struct Get {
    /// Whom
    #[arg(value_name = "WXID", value_parser = who, add = Known::People.completer())]
    wxid: Who,

    #[command(flatten)]
    wiring: Wiring,
}

/// Look somebody up on WeChat's servers: also people who are no friends.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp friend lookup wxid_abc --raw | jq .decoded")]
struct Lookup {
    /// Whom
    #[arg(value_name = "WXID", value_parser = who, add = Known::People.completer())]
    wxid: Who,

    #[command(flatten)]
    wiring: Wiring,
}

/// Accept a friend request.
///
/// One that is being accepted already, or was accepted, is not accepted twice: the receipt of the command that does it is
/// printed, with `"repeated":true`, and the exit status is 0. When the client reports that it did not come to a
/// friendship, the command is `rejected` (exit 5 with --wait), and the request may be accepted again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp friend accept 17                  # the seq that `friend requests` prints
  wehelp friend accept wxid_abc
  wehelp friend accept --v1 v1_…@stranger --v2 v2_…@stranger")]
struct Accept {
    /// The request: its seq, or the id of who asks
    #[arg(value_name = "REQUEST", required_unless_present = "v1", conflicts_with_all = ["v1", "v2"], add = Known::Requests.completer())]
    request: Option<String>,

    /// The request's first ticket
    #[arg(long, value_name = "V1", requires = "v2")]
    v1: Option<String>,

    /// The request's second ticket
    #[arg(long, value_name = "V2", requires = "v1")]
    v2: Option<String>,

    #[command(flatten)]
    wiring: Wiring,
}

/// List the friend requests seen and not yet accepted, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp friend requests | jq -r '[.seq, .nick, .greeting] | @tsv'")]
struct Requests {}

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    match args.what {
        What::List(list) if list.cached => cached(ctx),
        What::List(list) => enqueue::put(ctx, &list.wiring, || Ok(vec![Command::FriendList])),
        What::Add(add) => self::add(ctx, &add),
        What::Delete(Delete { wxid, wiring }) => {
            enqueue::put(ctx, &wiring, || Ok(vec![Command::FriendDelete { wxid: names::person(ctx, &wxid)? }]))
        }
        What::Info(Info { wxids, wiring }) => enqueue::put(ctx, &wiring, || {
            names::check_people(&wxids)?;
            let ids: Vec<_> = wxids.iter().map(|who| names::person(ctx, who)).collect::<Result<_, _>>()?;
            Ok(Command::friend_info(&ids))
        }),
        What::Get(Get { wxid, wiring }) => {
            enqueue::put(ctx, &wiring, || Ok(vec![Command::FriendGet { wxid: Some(names::person(ctx, &wxid)?) }]))
        }
        What::Lookup(Lookup { wxid, wiring }) => {
            enqueue::put(ctx, &wiring, || Ok(vec![Command::FriendLookup { wxid: Some(names::person(ctx, &wxid)?) }]))
        }
        What::Accept(accept) => self::accept(ctx, accept),
        What::Requests(_) => requests(ctx),
    }
}

fn cached(ctx: &Ctx) -> Result<(), Error> {
    let query = DirectoryQuery {
        account: ctx.global().account.clone(),
        only: Some("people".to_owned()),
        friends: true,
        ..DirectoryQuery::default()
    };
    let nobody = "no event has told of friends yet; `wehelp friend list` asks the client";
    contact::list(ctx, "/v1/contacts", &query, items::PEOPLE, Found::MayBeEmpty(nobody))
}

/// A member of a room is added with a ticket that the wire of this command has no place for: it names the person only
/// (wehelp-api.zh.md 好友操作 2). The client learns the ticket itself when it is asked for it (群操作 6, "then they
/// can be added"), so the question must have been answered before the command is queued.
fn add(ctx: &Ctx, args: &Add) -> Result<(), Error> {
    let message = args.message.clone();
    message.as_ref().map_or(Ok(()), |message| command::whole("message", message))?;
    names::check_people(std::slice::from_ref(&args.wxid))?;
    let Some(place) = &args.room else {
        return enqueue::put(ctx, &args.wiring, || {
            Ok(vec![Command::FriendAdd { wxid: names::person(ctx, &args.wxid)?, message }])
        });
    };
    let enqueuer = Enqueuer::new(ctx, &args.wiring)?;
    let room = names::room(ctx, place)?;
    let wxid = names::member(ctx, &args.wxid, &room)?;
    let wires = enqueuer.wires(&[
        Command::RoomStranger { room: Some(room), wxid: Some(wxid.clone()) },
        Command::FriendAdd { wxid, message },
    ])?;
    let [question, add] = &wires[..] else { return Err(Error::failed("two commands were to be made")) };
    if args.wiring.no_wait || args.wiring.dry_run {
        // The client carries commands out in order, so they may go together; whether the ticket came, nobody looks.
        return enqueuer.put(ctx, &wires);
    }
    ask_for_ticket(ctx, args, question)?;
    enqueuer.put(ctx, std::slice::from_ref(add))
}

/// Asks for the ticket now, also when the command itself is to be held: the options are for the command.
fn ask_for_ticket(ctx: &Ctx, args: &Add, question: &Wire) -> Result<(), Error> {
    let wiring = Wiring {
        wait: args.wiring.wait,
        key: args.wiring.key.as_ref().map(|key| format!("{key}/v2")),
        ..Default::default()
    };
    let enqueuer = Enqueuer::new(ctx, &wiring)?;
    let patience = enqueuer.patience(question.api()).unwrap_or(Duration::ZERO);
    let receipt = enqueuer.enqueue_one(ctx, question, wiring.key.as_ref())?;
    let progress = crate::cli::progress::Progress::wait(ctx.out());
    progress.say("asking for the member's ticket");
    let outcome = wait::watch(ctx, &receipt, Until::Answered, Instant::now() + patience, |_| {})?;
    drop(progress);
    match wait::failure(&outcome, patience) {
        None => Ok(()),
        Some(error) => {
            let message = format!("the member's ticket did not come, so nobody was added: {}", error.message);
            Err(Error { message, ..error })
        }
    }
}

fn accept(ctx: &Ctx, args: Accept) -> Result<(), Error> {
    let mut enqueuer = Enqueuer::new(ctx, &args.wiring)?;
    let (v1, v2) = match (&args.request, args.v1, args.v2) {
        (None, Some(v1), Some(v2)) => (v1, v2),
        (Some(request), ..) => {
            let found = the_request(ctx, request)?;
            if !found["accepted"].is_null() {
                return accepted_already(ctx, &found);
            }
            let get = |key: &str| found[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            if let Some(account) = get("account") {
                enqueuer.bind(&account);
            }
            let lacking = || {
                let seq = &found["seq"];
                Error::not_found(format!(
                    "event {seq} told of the request without its tickets; see `wehelp events show {seq}`, and give --v1 \
                     and --v2"
                ))
            };
            get("v1").zip(get("v2")).ok_or_else(lacking)?
        }
        _ => return Err(Error::usage("give a REQUEST, or --v1 and --v2")),
    };
    let wires = enqueuer.wires(&[Command::FriendAccept { v1, v2 }])?;
    enqueuer.put(ctx, &wires)
}

/// Says of a request that it was accepted, and prints the receipt of the command that did it, if there was one.
fn accepted_already(ctx: &Ctx, request: &Value) -> Result<(), Error> {
    let who = ["nick", "wxid"].into_iter().find_map(|key| request[key].as_str()).unwrap_or("somebody");
    ctx.out().note(&format!(
        "the friend request of {} (event {}) was accepted already; nothing new was queued",
        render::clean(who),
        request["seq"]
    ));
    let Some(id) = request["command"].as_u64() else { return Ok(()) };
    match ctx.client()?.get::<Receipt>(&format!("/v1/commands/{id}")) {
        Ok(receipt) => ctx.out().receipt(&Receipt { repeated: true, ..receipt }),
        // It is kept no longer.
        Err(client::Error::Refused { status: 404, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Friend requests; `accepted`: also those that are not open any more.
fn all_requests(ctx: &Ctx, accepted: bool) -> Result<Vec<Value>, Error> {
    let query = DirectoryQuery { account: ctx.global().account.clone(), accepted, ..DirectoryQuery::default() };
    Ok(ctx.client()?.list("/v1/requests", &query)?)
}

/// The request that is meant: by its seq, by who asks, or by their @NICK. An open one, or else an accepted one.
fn the_request(ctx: &Ctx, request: &str) -> Result<Value, Error> {
    if request.trim().is_empty() {
        return Err(Error::usage("REQUEST is empty; give a seq or an id, as `wehelp friend requests` prints them"));
    }
    let (open, accepted): (Vec<_>, Vec<_>) =
        all_requests(ctx, true)?.into_iter().partition(|request| request["accepted"].is_null());
    let mut found = pick(open, request);
    let shown = render::clean(request);
    match found.len() {
        // All of them were accepted, so it matters little which one is meant.
        0 => pick(accepted, request).pop().ok_or_else(|| {
            Error::not_found(format!(
                "no open friend request is `{shown}`; `wehelp friend requests` lists those not yet accepted"
            ))
        }),
        1 => Ok(found.swap_remove(0)),
        n => {
            let list: Vec<String> =
                found.iter().map(|r| format!("{} to {}", r["seq"], r["account"].as_str().unwrap_or("-"))).collect();
            Err(Error::new(
                Exit::Refused,
                "ambiguous-request",
                format!("`{shown}` means {n} friend requests; give the seq of one: {}", list.join(", ")),
            ))
        }
    }
}

/// The requests that are meant; of several by the same person to the same account only the newest.
fn pick(requests: Vec<Value>, wanted: &str) -> Vec<Value> {
    let seq = wanted.strip_prefix('#').unwrap_or(wanted).parse::<u64>().ok();
    if let Some(seq) = seq {
        let is_it = |r: &&Value| {
            let earlier = r["earlier"].as_array();
            r["seq"] == seq || earlier.is_some_and(|earlier| earlier.iter().any(|other| *other == seq))
        };
        let by_seq: Vec<Value> = requests.iter().filter(is_it).cloned().collect();
        if !by_seq.is_empty() {
            return by_seq;
        }
    }
    let nick = wanted.strip_prefix(['@', '＠']).map(folded);
    let is_meant = |request: &Value| match &nick {
        Some(nick) => request["nick"].as_str().map(folded).as_ref() == Some(nick),
        None => request["wxid"].as_str() == Some(wanted),
    };
    let mut found: Vec<Value> = Vec::new();
    for request in requests.into_iter().filter(is_meant) {
        found.retain(|other| other["account"] != request["account"] || other["wxid"] != request["wxid"]);
        found.push(request);
    }
    found
}

fn requests(ctx: &Ctx) -> Result<(), Error> {
    let open = all_requests(ctx, false)?;
    contact::show_all(ctx, &open, items::REQUESTS, Found::MayBeEmpty("no friend request is open"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_is_meant_by_its_seq_by_who_asks_or_by_nick() {
        let all = vec![
            json!({"seq": 1, "account": "me", "wxid": "a", "nick": "A"}),
            json!({"seq": 4, "account": "me", "wxid": "a", "nick": "A", "earlier": [2, 3]}),
            json!({"seq": 5, "account": "you", "wxid": "b", "nick": "A"}),
        ];
        let seqs = |wanted| pick(all.clone(), wanted).iter().map(|r| r["seq"].as_u64().unwrap()).collect::<Vec<_>>();
        assert_eq!(seqs("1"), [1]);
        assert_eq!(seqs("#5"), [5]);
        assert_eq!(seqs("3"), [4]);
        assert_eq!(seqs("a"), [4]);
        assert_eq!(seqs("@A"), [4, 5]);
        assert_eq!(seqs("＠ａ "), [4, 5], "as names are compared everywhere");
        assert!(seqs("9").is_empty() && seqs("nobody").is_empty());
    }
}
