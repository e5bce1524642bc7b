//! `wehelp account` and `wehelp login`

use crate::cli::ctx::Ctx;
use crate::cli::enqueue::{self, Enqueuer};
use crate::cli::error::{self, Error};
use crate::cli::options::Wiring;
use crate::cli::progress::Progress;
use crate::cli::qr::{self, Code};
use crate::cli::render;
use crate::cli::stream::{self, Came, Stream};
use crate::cli::wait;
use crate::clock::Time;
use crate::control::{Account, Entry, EventsQuery, Fetched, Forgotten, Receipt, Until, client};
use crate::protocol::command::Command;
use serde_json::{Value, json};
use std::path::Path;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Log accounts in and out, and list them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp account list")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum What {
    /// Ask a client whether it is logged in
    Status(Status),
    /// Show the QR code that logs an account in
    #[command(alias = "login")]
    Qrcode(Qrcode),
    /// Log an account out
    Logout(Logout),
    /// List the accounts that the daemon has seen
    List(List),
    /// Forget an account, and what is known of it
    Forget(Forget),
}

/// Ask a client whether it is logged in.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp account status -a work | jq .logged_in")]
struct Status {
    #[command(flatten)]
    wiring: Wiring,
}

/// Show the QR code that logs an account in.
///
/// On a terminal the code is drawn, drawn anew when WeChat makes a new one, and the program ends when somebody has
/// scanned it and the account is logged in. In a pipe the code is printed as JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp account qrcode
  wehelp login --png code.png")]
pub(in crate::cli) struct Qrcode {
    /// Save the code as a picture too
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,

    #[command(flatten)]
    wiring: Wiring,
}

/// Log an account out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp account logout -a work --wait")]
struct Logout {
    #[command(flatten)]
    wiring: Wiring,
}

/// Forget an account: its contacts, rooms and friend requests, its pacing, and that it was ever there. Its events stay.
///
/// Refused (exit 5) while its client polls or commands wait for it. An account whose client reports an event later is
/// known again. A name that was only polled with, or that only commands wait for, for instance a mistyped one, is forgotten in
/// the same way.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp account forget wxid_old")]
struct Forget {
    /// Its wxid, a configured alias, or its nick or WeChat name if no other has it; or the name of a poller
    #[arg(value_name = "ACCOUNT")]
    name: String,

    /// Although its client polls or commands wait; those are cancelled
    #[arg(long)]
    force: bool,
}

/// List the accounts that the daemon has seen.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp account list | jq -r 'select(.logged_in | not) | .account'")]
struct List {}

/// A code that nobody scans is good for a few minutes; then WeChat makes a new one, or the client has given up.
const SCAN: Duration = Duration::from_secs(300);

pub(in crate::cli) fn run(ctx: &Ctx, args: Args) -> Result<(), Error> {
    match args.what {
        What::Status(status) => enqueue::put(ctx, &status.wiring, || Ok(vec![Command::AccountStatus])),
        What::Logout(logout) => enqueue::put(ctx, &logout.wiring, || Ok(vec![Command::AccountLogout])),
        What::Qrcode(code) => qrcode(ctx, code),
        What::List(_) => list(ctx),
        What::Forget(Forget { name, force }) => forget(ctx, &name, force),
    }
}

fn forget(ctx: &Ctx, name: &str, force: bool) -> Result<(), Error> {
    let path = format!("/v1/accounts/{}{}", client::part(name), if force { "?force=true" } else { "" });
    let forgotten: Result<Forgotten, _> = ctx.client()?.send("DELETE", &path, None).and_then(client::Reply::json);
    let forgotten = forgotten.map_err(error::maybe_done("`wehelp account list` tells"))?;
    ctx.out().print(&forgotten, |forgotten| {
        let cancelled = match forgotten.cancelled {
            0 => String::new(),
            n => format!("; {n} of its commands were cancelled"),
        };
        format!("forgot {}{cancelled}\n", render::clean(&forgotten.account))
    })
}

fn list(ctx: &Ctx) -> Result<(), Error> {
    let accounts: Vec<Account> = ctx.client()?.list("/v1/accounts", &())?;
    if accounts.is_empty() && !ctx.out().is_json() {
        ctx.out().note("no client has shown itself yet; `wehelp setup` says what to type into it");
    }
    let head = ["account", "alias", "nick", "process", "logged in", "last poll", "last event", "waiting"];
    ctx.out().table(&accounts, &head, |account| {
        let yes = |yes: Option<bool>| yes.map_or("?", |yes| if yes { "yes" } else { "no" }).to_owned();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            account.account.clone(),
            text(&account.alias),
            text(&account.nick),
            account.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            yes(account.logged_in),
            render::time(account.last_poll),
            render::time(account.last_event),
            render::status::waiting(account),
        ]
    })
}

/// A login code, as an event told it.
#[derive(Debug, PartialEq, Eq)]
struct Login {
    /// What the code says: a link, or some text.
    content: Option<String>,
    /// The picture that came, and its media type.
    picture: Option<(String, Vec<u8>)>,
}

impl Login {
    /// Reads the `decoded` of a `login.qrcode` event.
    fn read(decoded: &Value) -> Option<Self> {
        if let Some(content) = decoded["content"].as_str().filter(|content| !content.trim().is_empty()) {
            return Some(Self { content: Some(content.to_owned()), picture: None });
        }
        let image = &decoded["image"];
        let bytes = data_encoding::BASE64.decode(image["base64"].as_str()?.as_bytes()).ok()?;
        let media_type = image["media_type"].as_str().unwrap_or("application/octet-stream").to_owned();
        Some(Self { content: qr::read_png(&bytes), picture: Some((media_type, bytes)) })
    }

    /// Writes the picture that came, or one that is drawn from the text.
    fn save(&self, ctx: &Ctx, path: &Path) -> Result<(), Error> {
        let failed = |e: &dyn std::fmt::Display| Error::failed(format!("save the code in `{}`: {e}", path.display()));
        let bytes = match (&self.picture, &self.content) {
            (Some((media_type, bytes)), _) => {
                if media_type != "image/png" {
                    ctx.out().warn(&format!("the picture is no PNG but {}", render::clean(media_type)));
                }
                bytes.clone()
            }
            (None, content) => {
                let code = content.as_deref().and_then(Code::of);
                let code = code.ok_or_else(|| failed(&"its text does not fit into a code"))?;
                code.png().map_err(|e| failed(&e))?
            }
        };
        std::fs::write(path, bytes).map_err(|e| failed(&e))
    }

    /// For people: the code drawn, and its text where it is no link.
    fn text(&self, columns: Option<usize>) -> String {
        let Some(content) = &self.content else {
            let media_type = self.picture.as_ref().map_or("unknown", |(media_type, _)| media_type);
            return format!(
                "the code is a picture ({}) that cannot be drawn here; --png FILE saves it\n",
                render::clean(media_type)
            );
        };
        let said = format!("{}\n", render::clean(content));
        let Some(code) = Code::of(content) else { return said };
        if columns.is_some_and(|columns| columns < code.columns()) {
            let need = code.columns();
            return format!("the code needs a terminal of {need} columns; make it wider, or use --png FILE\n{said}");
        }
        let is_link = content.starts_with("http://") || content.starts_with("https://");
        render::code(&code) + if is_link { "" } else { &said }
    }
}

/// `account qrcode`: asks, and prints the code. For people it goes on until somebody has logged in.
pub(in crate::cli) fn qrcode(ctx: &Ctx, args: Qrcode) -> Result<(), Error> {
    let Qrcode { png, wiring } = args;
    let enqueuer = Enqueuer::new(ctx, &wiring)?;
    let wires = enqueuer.wires(&[Command::AccountQrcode])?;
    let Some((patience, wire)) = enqueuer.patience("getLoginQrCode").zip(wires.first()).filter(|_| !wiring.dry_run)
    else {
        return enqueuer.put(ctx, &wires);
    };
    let receipt = enqueuer.enqueue_one(ctx, wire, wiring.key.as_ref())?;
    let progress = Progress::wait(ctx.out());
    progress.say("asking the client for a code");
    let until = Instant::now() + patience + receipt.due.since(Time::now());
    let outcome = wait::watch(ctx, &receipt, Until::Answered, until, |_| {})?;
    drop(progress);
    if let Some(error) = wait::failure(&outcome, patience) {
        return Err(error);
    }
    let Some((event, items)) = outcome.answers.last() else {
        return Err(Error::failed("the answer is not kept any more; ask again"));
    };
    let decoded = items.first().cloned().unwrap_or_else(|| json!({}));
    let login = Login::read(&decoded);
    if let (Some(login), Some(path)) = (&login, &png) {
        login.save(ctx, path)?;
    }
    if wiring.raw {
        return ctx.out().json_text(event.get());
    }
    if ctx.out().is_json() {
        return ctx.out().json_line(&decoded);
    }
    let entry = Entry::read(event.get().as_bytes()).unwrap_or_default();
    draw(ctx, login.as_ref())?;
    until_login(ctx, &outcome.receipt, &entry, png.as_deref())
}

fn draw(ctx: &Ctx, login: Option<&Login>) -> Result<(), Error> {
    match login {
        Some(login) => ctx.out().text(&login.text(ctx.out().columns())),
        None => ctx.out().text("the client gave no code; is somebody logged in already?"),
    }?;
    ctx.out().flush()
}

/// Draws each new code, until somebody has logged in.
fn until_login(ctx: &Ctx, receipt: &Receipt, from: &Entry, png: Option<&Path>) -> Result<(), Error> {
    let progress = Progress::wait(ctx.out());
    progress.say("scan it with WeChat on the phone");
    let kind = Some("login,login.state,login.qrcode".to_owned());
    let mut stream = Stream::after(ctx, EventsQuery { kind, ..EventsQuery::default() }, from.seq)?;
    let mut end = Instant::now() + SCAN;
    while stream.next(&stream::Until { time: Some(end), ..Default::default() })? == Came::Lines {
        for (event, _) in stream.entries()?.iter().filter(|(event, _)| is_of(event, receipt)) {
            if event.kind == "login.qrcode" {
                let login = Login::read(&event.decoded);
                if let (Some(login), Some(path)) = (&login, png) {
                    login.save(ctx, path)?;
                }
                progress.beside(ctx.out(), || {
                    ctx.out().note("there is a new code");
                    draw(ctx, login.as_ref())
                })?;
                end = Instant::now() + SCAN;
            } else if tells_login(event) {
                drop(progress);
                let account = event.account.as_deref().unwrap_or("the account");
                return ctx.out().text(&format!("{} is logged in", render::clean(account)));
            }
        }
    }
    Err(Error::no_answer("nobody has scanned the code; run it again for a new one"))
}

/// Whether an event is of the client that was asked: by its process or its account, and where neither is known, yes.
fn is_of(event: &Entry, receipt: &Receipt) -> bool {
    let Fetched { pid, account, .. } = match &receipt.fetched {
        Some(fetched) => fetched.clone(),
        None => return true,
    };
    let account = account.or_else(|| receipt.account.clone());
    let same_account = account.is_some() && account == event.account;
    same_account || pid.zip(event.pid).is_none_or(|(asked, told)| asked == told)
}

fn tells_login(event: &Entry) -> bool {
    match event.kind.as_str() {
        "login" => event.decoded["code"].is_null() || event.decoded["code"].as_i64() == Some(200),
        "login.state" => event.decoded["logged_in"] == true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_from_a_link_and_out_of_a_picture() {
        let link = "http://weixin.qq.com/x/abc";
        let content = Login::read(&json!({ "content": link })).unwrap();
        assert_eq!((content.content.as_deref(), content.picture), (Some(link), None));
        let png = Code::of(link).unwrap().png().unwrap();
        let base64 = data_encoding::BASE64.encode(&png);
        let image = Login::read(&json!({"image": {"media_type": "image/png", "base64": base64}})).unwrap();
        assert_eq!(image.content.as_deref(), Some(link));
        assert_eq!(image.picture, Some(("image/png".to_owned(), png)));
        assert_eq!(Login::read(&json!({})), None);
    }

    #[test]
    fn a_text_that_is_no_link_is_printed_too_and_cannot_drive_the_terminal() {
        let login = Login::read(&json!({"content": "a\u{1b}[2Jb"})).unwrap();
        let text = login.text(None);
        assert!(text.ends_with("ab\n") && text.contains('▀'), "{text}");
        let link = Login::read(&json!({"content": "http://x/y"})).unwrap();
        assert!(!link.text(None).contains("http"), "{}", link.text(None));
        assert!(link.text(Some(10)).contains("columns") && link.text(Some(10)).contains("http://x/y"));
        let picture = Login { content: None, picture: Some(("image/jpeg".to_owned(), vec![1])) };
        assert!(picture.text(None).contains("image/jpeg"));
    }

    #[test]
    fn the_login_of_another_process_is_not_the_one_waited_for() {
        let receipt = |pid: u64| -> Receipt {
            serde_json::from_value(json!({
                "id": 1, "state": "answered", "account": "wxid_me", "api": "getLoginQrCode", "command": {"api": "x"},
                "created": "2026-11-23T09:00:00.000Z", "due": "2026-11-23T09:00:00.000Z", "expires": null, "key": null,
                "attempts": 1, "answer": null,
                "fetched": {"time": "2026-11-23T09:00:00.000Z", "account": null, "pid": pid, "peer": "", "confirmed": true},
            }))
            .unwrap()
        };
        let event = |pid: Option<u64>, account: &str| Entry { pid, account: Some(account.into()), ..Entry::default() };
        assert!(is_of(&event(Some(7), "wxid_new"), &receipt(7)));
        assert!(is_of(&event(Some(8), "wxid_me"), &receipt(7)));
        assert!(is_of(&event(None, "wxid_new"), &receipt(7)));
        assert!(!is_of(&event(Some(8), "wxid_new"), &receipt(7)));
    }
}
