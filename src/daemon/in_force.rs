//! The settings that this daemon runs with, and where each comes from: taken once, at the start.

use crate::config::Config;
use crate::config::origin::{self, SetBy, Setting};
use crate::daemon::args::{Args, LogFormat};
use crate::home::Home;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;

/// The settings in force. `activated`: where systemd opened the client door, and whether it opened the control socket.
pub(crate) fn settings(
    args: &Args,
    home: &Home,
    config: &Config,
    activated: (Option<&[SocketAddr]>, bool),
) -> Vec<Setting> {
    let given = |key: &str, id: &str, value: Value, flag: &str, variable: &str| {
        Setting::given(key, value, args.is_by_variable(id), flag, variable)
    };
    let path = |path: &Path| Value::from(path.display().to_string());
    let handed_over = |key: &str, value: Value| Setting {
        key: key.to_owned(),
        value,
        from: SetBy::Activation,
        source: Some("a socket of systemd".to_owned()),
    };
    let mut all = Vec::new();
    if args.data_dir.is_some() {
        all.push(given("data_dir", "data_dir", path(&home.data_dir), "--data-dir", "WEHELP_DATA_DIR"));
    } else if config.data_dir.is_none() {
        all.push(Setting::default_of("data_dir", path(&home.data_dir)));
    }
    if activated.1 {
        all.push(handed_over("socket", path(&home.socket)));
    } else if args.socket.is_some() {
        all.push(given("socket", "socket", path(&home.socket), "--socket", "WEHELP_SOCKET"));
    } else if config.socket.is_none() {
        all.push(Setting::default_of("socket", path(&home.socket)));
    }
    if let Some(addresses) = activated.0 {
        all.push(handed_over("http.listen", addresses.iter().map(ToString::to_string).collect()));
    } else if args.listen.iter().any(|address| !address.trim().is_empty()) {
        let listen = config.http.listen.iter().map(String::as_str).collect();
        all.push(given("http.listen", "listen", listen, "--listen", "WEHELP_LISTEN"));
    }
    all.push(match &args.config {
        Some(_) => given("config", "config", path(&home.config), "--config", "WEHELP_CONFIG"),
        None => Setting::default_of("config", path(&home.config)),
    });
    all.push(match args.insecure {
        true => given("insecure", "insecure", true.into(), "--insecure", ""),
        false => Setting::default_of("insecure", false),
    });
    all.push(match args.log_format {
        LogFormat::Text if !args.is_given("log_format") => Setting::default_of("log_format", "text"),
        format => {
            let format = if format == LogFormat::Json { "json" } else { "text" };
            given("log_format", "log_format", format.into(), "--log-format", "WEHELP_LOG_FORMAT")
        }
    });
    // As it was read a moment ago; one that nobody named may be absent.
    let text = std::fs::read_to_string(&home.config).ok();
    origin::settings(text.as_deref().map(|text| (home.config.as_path(), text)), all)
}
