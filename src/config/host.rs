//! A name under which clients may reach the client door: `http.hosts`.
//!
//! A web page chooses the name that a browser asks us under, so a name that anybody may own must never be let in. What
//! stands here is a host name and nothing else: `*`, a URL or a port would be taken and never match.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The longest host name (RFC 1035), bytes.
const NAME_BYTES_MAX: usize = 253;
/// The longest part between two dots, bytes.
const LABEL_BYTES_MAX: usize = 63;

/// One entry of `http.hosts`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostName {
    /// That name.
    Exactly(String),
    /// Every name that ends so, in whatever depth: `lan` for `*.lan`.
    Below(String),
}

impl HostName {
    /// Whether a host, without port and in lower case, is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exactly(name) => host == name,
            Self::Below(domain) => {
                let rest = host.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
                rest.is_some_and(|rest| rest.split('.').all(is_label))
            }
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Whether browsers read a name as an IPv4 address in one of its odd spellings (`127.1`, `0x7f000001`): they do when
/// its last part is a number.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || label.bytes().all(|b| b.is_ascii_digit())
}

impl FromStr for HostName {
    type Err = String;

    /// Reads an entry; the error is a sentence that says what to write.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("`{text}` is no host name: {why}"));
        let name = text.trim().to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|n| n.split(']').next()).unwrap_or(&name);
        if bare.parse::<IpAddr>().is_ok() || name.parse::<std::net::SocketAddr>().is_ok() {
            return refuse("clients may use any IP address of this machine without its being named; leave it out");
        }
        if name.contains('/') {
            return refuse("leave out the scheme and the path; `http://wehelp.lan/` is written `wehelp.lan`");
        }
        if let Some((host, _)) = name.split_once(':') {
            return refuse(&format!("a name is right at every port; write `{host}`"));
        }
        if name == "*" {
            return refuse("it would let every web site in that a browser visits; write the names, or as `*.lan`");
        }
        let (is_glob, rest) = name.strip_prefix("*.").map_or((false, name.as_str()), |rest| (true, rest));
        if rest.ends_with('.') {
            return refuse("leave out the dot at the end");
        }
        if rest.contains('*') {
            return refuse("a `*` may only stand for the first part of it, as in `*.lan`");
        }
        if !rest.is_ascii() {
            return refuse("browsers and clients send names of other scripts as `xn--…`; write that");
        }
        if rest.len() > NAME_BYTES_MAX || !rest.split('.').all(is_label) {
            return refuse("it has letters, digits and hyphens, in parts with dots between, as `wehelp.lan`");
        }
        if rest.rsplit('.').next().is_some_and(is_number) {
            return refuse("browsers take it for an IP address; clients may use any of this machine's, leave it out");
        }
        Ok(if is_glob { Self::Below(rest.to_owned()) } else { Self::Exactly(rest.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_itself_and_a_star_what_lies_below() {
        let name = |text: &str| text.parse::<HostName>().unwrap();
        assert!(name("WeHelp.LAN").matches("wehelp.lan") && !name("wehelp.lan").matches("x.wehelp.lan"));
        for (host, expected) in [
            ("a.lan", true),
            ("a.b.lan", true),
            ("xn--4gq.lan", true),
            ("lan", false),
            (".lan", false),
            ("a..lan", false),
            ("evillan", false),
            ("a.lan.evil.example", false),
            ("a.lan.", false),
            ("a b.lan", false),
            ("evil.example:80@a.lan", false),
        ] {
            assert_eq!(name("*.lan").matches(host), expected, "{host}");
        }
        assert_eq!(name("*.lan").to_string(), "*.lan");
    }

    #[test]
    fn what_could_never_match_or_matches_everything_is_refused_with_what_to_write() {
        for (text, says) in [
            ("*", "every web site"),
            ("http://x/", "scheme"),
            ("x/", "scheme"),
            ("x:8443", "`x`"),
            ("", "letters"),
            ("x.", "dot"),
            ("*.", "letters"),
            ("*.*", "`*.lan`"),
            ("a*.lan", "`*.lan`"),
            ("a..b", "letters"),
            ("a b", "letters"),
            ("家.lan", "xn--"),
            ("192.168.1.7", "IP address"),
            ("192.168.1.7:80", "IP address"),
            ("[::1]", "IP address"),
            ("::1", "IP address"),
            ("[::1]:80", "IP address"),
            ("127.1", "IP address"),
            ("0x7f000001", "IP address"),
            ("*.1", "IP address"),
        ] {
            let error = text.parse::<HostName>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
