//! `wehelp setup` for people.

use super::clean;
use crate::cli::verb::setup::{Address, Plan};
use colored::Colorize;

/// What to type and what to click, for each address under which a client can reach the daemon.
#[must_use]
pub(in crate::cli) fn plan(plan: &Plan) -> String {
    let mut out = String::new();
    out.push_str("On the Windows PC, in WeHelp: open the custom API screen (自定义接口) and type in\n");
    for address in &plan.addresses {
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
    if plan.addresses.iter().any(|a| a.accounts.len() > 1) {
        out.push_str(
            "\nSeveral accounts are known: give each client the poll address that ends in its own account. Newer\n\
             clients say by themselves who they are; an older one would get nobody's commands without it.\n",
        );
    }
    out.push_str("\nThen click save (立即保存) and start API (启动API).\n");
    for hint in &plan.hints {
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
