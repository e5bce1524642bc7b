//! `wehelp setup` for people.

use super::clean;
use colored::Colorize;
use serde::Serialize;

/// Everything that `setup` says.
#[derive(Debug, Default)]
pub(in crate::cli) struct Setup {
    /// Under which addresses a client can reach the daemon.
    pub(in crate::cli) addresses: Vec<Address>,
    /// What is in the way, and what to do about it.
    pub(in crate::cli) hints: Vec<String>,
}

/// One address of this machine, and what to type into a client that reaches it there.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Address {
    /// An IP address, or a configured host name.
    pub(in crate::cli) address: String,
    /// The network interface that has it.
    pub(in crate::cli) interface: String,
    /// Only clients on this machine reach it.
    pub(in crate::cli) loopback: bool,
    /// The callback address to type in.
    pub(in crate::cli) callback: String,
    /// The poll address to type in.
    pub(in crate::cli) poll: String,
    /// The poll address of each account known.
    pub(in crate::cli) accounts: Vec<AccountPoll>,
}

/// The poll address of one account's client.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct AccountPoll {
    /// wxid
    pub(in crate::cli) account: String,
    /// The address.
    pub(in crate::cli) poll: String,
}

/// What to type and what to click, for each address under which a client can reach the daemon.
pub(in crate::cli) fn text(setup: &Setup) -> String {
    let mut out = String::new();
    out.push_str("On the Windows PC, in WeHelp: open the custom API screen (自定义接口) and type in\n");
    for address in &setup.addresses {
        out.push_str(&format!("\n{}\n", where_from(address).bold()));
        let mut line = |english: &str, chinese: &str, value: &str| {
            // Two columns a Chinese character; the names differ in length.
            let width = english.len() + 2 * chinese.chars().count() + 3;
            let pad = " ".repeat(34_usize.saturating_sub(width));
            out.push_str(&format!("  {english} ({chinese}){pad} {}\n", clean(value)));
        };
        line("callback address", "消息回调地址", &address.callback);
        if address.accounts.len() > 1 {
            for account in &address.accounts {
                line("poll address", "轮询消息地址", &account.poll);
            }
        } else {
            line("poll address", "轮询消息地址", &address.poll);
        }
        line("poll interval", "轮询时间间隔", "3 (seconds)");
        line("polling", "开启轮询", "on");
    }
    if setup.addresses.iter().any(|a| a.accounts.len() > 1) {
        out.push_str(
            "\nSeveral accounts are known: give each client the poll address that ends in its own account. Newer\n\
             clients say by themselves who they are; an older one would get nobody's commands without it.\n",
        );
    }
    out.push_str("\nThen click save (立即保存) and start API (启动API).\n");
    for hint in &setup.hints {
        out.push_str(&format!("\n{} {}\n", "!".yellow().bold(), clean(hint)));
    }
    out
}

fn where_from(address: &Address) -> String {
    if address.loopback {
        "if the client runs on this very machine:".to_owned()
    } else {
        format!("if the client reaches this machine through {} ({}):", address.interface, address.address)
    }
}
