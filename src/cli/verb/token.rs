//! `wehelp token`

use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::cli::render;
use crate::control::Token;

/// Show or change the token of the client door.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp token show")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum What {
    /// Print the token
    Show(Show),
    /// Make a new token; the old one stays valid for a day, unless --now
    Rotate(Rotate),
}

/// Print the token that clients on other machines need.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  wehelp token show | jq -r .token")]
struct Show {}

/// Make a new token; the old one stays valid for a day, so that the client's settings can be changed meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp token rotate && wehelp setup
  wehelp token rotate --now         # the old one is in wrong hands")]
struct Rotate {
    /// End the old token at once, and the one before it
    #[arg(long)]
    now: bool,
}

pub(in crate::cli) fn run(ctx: &Ctx, Args { what }: Args) -> Result<(), Error> {
    let client = ctx.client()?;
    let token: Token = match what {
        What::Show(Show {}) => client.get("/v1/token")?,
        What::Rotate(Rotate { now }) => client.send("POST", &format!("/v1/token/rotate?now={now}"), None)?.json()?,
    };
    ctx.out().print(&token, |token| token.token.clone())?;
    ctx.out().flush()?;
    if !ctx.out().is_json() {
        let who = match token.required.as_str() {
            "always" => "every client needs it",
            "never" => "no client needs it (http.require_token is \"never\")",
            _ => "all need it but clients that this user runs on this machine, without a proxy",
        };
        ctx.out().note(&format!("{who}; `wehelp setup` prints the addresses to type in"));
        if let Some(until) = token.previous_until {
            ctx.out().note(&format!("the token before it stays valid until {}", render::time(Some(until))));
        }
    }
    Ok(())
}
