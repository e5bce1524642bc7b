//! The verbs: `verb/NAME.rs` is `wehelp NAME`, its arguments (the doc comments are its help and its manual), what completes
//! them, and what it does. A verb that is added gets its file and its place in this list.

use super::ctx::Ctx;
use super::error::Error;

mod account;
mod api;
mod ask;
mod backup;
mod completions;
mod config;
mod contact;
mod cursor;
mod daemon;
mod events;
mod forward;
mod friend;
mod man;
mod queue;
mod raw;
mod room;
mod send;
mod setup;
mod simulate;
mod status;
mod token;

macro_rules! verbs {
    ($($(#[$about:meta])* $verb:ident($args:path) => $run:path,)*) => {
        /// What can be done, in the order of the help.
        #[derive(Debug, clap::Subcommand)]
        #[command(defer = true)]
        pub(super) enum Verb { $($(#[$about])* $verb($args),)* }

        /// Does it.
        ///
        /// # Errors
        /// See the contract's exit codes.
        pub(super) fn run(ctx: &Ctx, verb: Verb) -> Result<(), Error> {
            match verb { $(Verb::$verb(args) => $run(ctx, args),)* }
        }
    };
}

verbs! {
    /// Send a text, picture, file or link to a person or a room
    Send(send::Args) => send::run,
    /// Send a text and print the next message of that chat
    Ask(ask::Args) => ask::run,
    /// Ask about friends, add and accept them
    Friend(friend::Args) => friend::run,
    /// Ask about rooms, change them
    Room(room::Args) => room::run,
    /// Log accounts in and out
    Account(account::Args) => account::run,
    /// Show the QR code that logs an account in (as `account qrcode`)
    Login(account::Qrcode) => account::qrcode,
    /// Look up people and rooms that the daemon has learned of
    Contact(contact::Args) => contact::run,
    /// Print, follow and process events
    Events(events::Args) => events::run,
    /// Show and change where a named reader of events stands
    Cursor(cursor::Args) => cursor::run,
    /// Let the daemon post events to web addresses
    Forward(forward::Args) => forward::run,
    /// Show and change the commands in the queue
    Queue(queue::Args) => queue::run,
    /// Put JSON on the wire as it is given
    Raw(raw::Args) => raw::run,
    /// Print the table of commands
    Api(api::Args) => api::run,
    /// Tell how the daemon, its accounts and its queue are
    Status(status::Args) => status::run,
    /// Show every setting in force, and where it comes from
    Config(config::Args) => config::run,
    /// Tell what to type into the WeHelp client
    Setup(setup::Args) => setup::run,
    /// Show or change the token of the client door
    Token(token::Args) => token::run,
    /// Write a consistent copy of everything while the daemon runs
    Backup(backup::Args) => backup::run,
    /// Start and stop a wehelpd in the background
    Daemon(daemon::Args) => daemon::run,
    /// Play a WeHelp client, so that scripts can be tried without Windows
    Simulate(simulate::Args) => simulate::run,
    /// Show a page of the manual
    Man(man::Args) => man::run,
    /// Print the completions of a shell
    Completions(completions::Args) => completions::run,
}
