//! `wehelp token`

use crate::cli::args::daemon as args;
use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::cli::render;
use crate::control::Token;

pub(in crate::cli) fn run(ctx: &Ctx, args: &args::Token) -> Result<(), Error> {
    let client = ctx.client()?;
    let token: Token = match args.what {
        args::TokenWhat::Show(args::TokenShow {}) => client.get("/v1/token")?,
        args::TokenWhat::Rotate(args::TokenRotate { now }) => {
            client.send("POST", &format!("/v1/token/rotate?now={now}"), None)?.json()?
        }
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
