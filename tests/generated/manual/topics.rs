//! The written pages, and what of them comes from the source.

use super::roff::{Page, tidy};
use crate::events;
use serde_json::Value;
use wehelp::protocol::command::{APIS, Api, Class, Field, FieldKind, INFO_IDS_MAX};
use wehelp::protocol::event::Kind;
use wehelp::protocol::schema::KEYS;

const CONTROL: &str = include_str!("../../../src/control.rs");

/// What `wehelp.1` says beside what clap knows.
pub(super) fn wehelp(page: &mut Page) {
    page.sh("OUTPUT");
    page.p("On a terminal every subcommand prints text for people, anywhere else one JSON object a line; `--json` and `--text` force either. Results go to standard output and nothing else does; receipts are left out with `-q`, and so is everything on standard error but errors. An error is one sentence on standard error, with `--json` one JSON object with `error` (a kebab-case code), `message` and `exit`. Standard input is read only where `-` is given. Times are UTC with milliseconds in JSON, local on a terminal. Text that came from a chat is stripped of control and escape characters before it reaches a terminal.");
    page.sh("RECEIPTS");
    page.p("What puts a command into the queue prints its receipt: `id`, `state`, `account`, `api`, `command`, `created`, `due`, `expires`, `key`, `attempts`, `fetched` and `answer`. A receipt that was printed is on disk. The states:");
    for (state, means) in [
        ("scheduled", "Held until its time comes."),
        ("ready", "Due; the next poll of its account takes it."),
        ("in_flight", "In a response of which is not known yet whether it arrived."),
        (
            "fetched",
            "Handed over. WeHelp acknowledges nothing, so this says that the client has it, not that it was carried out. `fetched.confirmed` is false when the client then reset the connection or fell silent, and always behind a proxy, which takes an answer for a client that may be gone.",
        ),
        (
            "answered",
            "An event answered it: the answer to a question, or the client's own report of a text that was sent.",
        ),
        ("rejected", "WeChat told that it was refused; `answer` is the notice's position."),
        ("expired", "No client fetched it in time."),
        ("cancelled", "Taken back before it was fetched."),
    ] {
        page.tp(&[&format!("`{state}`")], means);
    }
    page.sh("ACCOUNTS AND NAMES");
    page.p("A command is bound to an account when it is queued: the one of `--account`, else `accounts.default` of the settings, else the only one that the daemon knows, else whichever client polls first. An account is named by its wxid, a configured alias, its username, or its nick if no other has it; what has the form `wxid_…` is always an id, also where somebody has given himself that nick.");
    page.p("Where a WXID or ROOM is due, `@NAME` names someone, and the first of these that matches decides: the exact id; the remark that the account gave; the nick or username of a friend and the nick of a room that the account is in; where a room is meant, the nick of a member. Strangers, such as other members of rooms and whoever has merely written, are meant by `@@NAME` only: people choose their nicks. Friends are known once the friend list was told, which `wehelp friend list` asks for, or a request accepted. Names are compared without regard to case, to Unicode's compatibility forms, to signs that nobody sees and to the kind and number of blanks. Several matches are an error that lists them; `--pick` `ID` takes one of them: an id never comes to mean another.");
    page.p("An id has only ASCII letters, digits and `_ - . @`, does not begin with `-`, and has at most one `@`, with a suffix that WeChat uses behind it; a room's id ends in `@chatroom` or `@im.chatroom`, and is refused where only a person can be meant; names of rooms do not count there. A full-width `＠` means `@`.");
    page.p("The directory unlearns: a name that an event tells to be empty is empty; who is missing from the whole answer of `wehelp friend list`, or was deleted by a `wehelp friend delete` that was fetched, is no friend, and their remark is forgotten; a room that is missing from the whole answer of `wehelp room list`, is told not to exist, or that a notice puts the account out of, is in no cached list and has `left` in `wehelp contact show`; who is missing from the whole answer of `wehelp room members` is no member. The answers of `friend list`, `room list` and `room members` may come in pieces, and are whole when no further one has come for 3 seconds, or when all the members of a room are told that it has; a piece only adds, and when wehelpd ended in between nobody is unlearned. A list that nobody asked for only adds.");
    page.sh("DURATIONS AND TIMES");
    page.p("Durations are written `30s`, `10m`, `1h30m`, `3d`, `2 weeks`; a bare number counts seconds. Moments are `2026-11-23T09:00:00Z` (a zone in brackets behind it counts), `2026-11-23 09:00` and `2026-11-23` (local), `09:00` (civil: the next one for `--at`, the last one for `--since`), `today`, `yesterday`, `tomorrow`, `2h` or `2h ago`, `@1790000000` (Unix seconds), and `#SEQ` where positions are meant. A bare number as a moment is refused, for it could be seconds, Unix time or a position; `cursor set NAME SEQ` takes the number that `cursor list` prints.");
    page.sh("EXIT STATUS");
    for (code, means) in super::EXITS {
        page.tp(&[&format!("`{code}`")], means);
    }
    page.sh("ENVIRONMENT");
    page.p("An empty variable counts as not set.");
    for (name, means) in [
        ("WEHELP_ACCOUNT", "The account that is meant, as `--account`."),
        ("WEHELP_SOCKET", "The control socket, as `--socket`."),
        ("WEHELP_CONFIG", "The settings file, as `--config`."),
        (
            "WEHELP_DATA_DIR",
            "The daemon's data folder, as `--data-dir`: that folder's daemon is talked to, or none. A flag wins over any variable, and a variable over the settings, whether it names the socket or the data folder.",
        ),
        ("WEHELP_FORWARD_SECRET", "The key of a forward's signature, as `--secret` of `wehelp-forward-add`(1)."),
        ("NO_COLOR", "When set and not empty: no colour."),
        ("CLICOLOR_FORCE", "When set and neither empty nor 0: colour, terminal or not."),
        (
            "XDG_RUNTIME_DIR",
            "Where the control socket of a login session lies. Under cron, where it is unset, the socket is found all the same.",
        ),
        ("TZ", "The time zone of times that are shown to people."),
        ("COMPLETE", "Set by the completion scripts of the shells: complete instead of run."),
    ] {
        page.tp(&[&format!("`{name}`")], means);
    }
    page.sh("FILES");
    for (name, means) in [
        ("~/.config/wehelp/config.toml", "Settings; see `wehelp-config`(5)."),
        ("$XDG_RUNTIME_DIR/wehelp/wehelpd.sock", "The control socket of a daemon that was started in a login session."),
        ("~/.local/share/wehelp/run/wehelpd.sock", "The control socket of one that was started without."),
        (
            "/tmp/wehelp-UID/",
            "The folder for the control sockets of daemons that were started without, on a data folder that is read-only.",
        ),
        ("/run/wehelp/wehelpd.sock", "The control socket of the system's daemon."),
        ("~/.local/share/wehelp/wehelpd.log", "The log of a daemon that `wehelp daemon start` started."),
    ] {
        page.tp(&[&format!("`{name}`")], means);
    }
}

/// What `wehelpd.8` says beside what clap knows.
pub(super) fn wehelpd(page: &mut Page) {
    page.sh("THE TWO DOORS");
    page.p("The client door is HTTP over TCP, by default on `127.0.0.1:4567`. The WeHelp client reports each event with `POST /recieve_msg` (also `/receive_msg` and `/callback`) and asks for commands with `GET /send_msg` (also `/poll`, and with POST). `GET /healthz` answers 200 while the store accepts writes, `GET /metrics` in the text format of Prometheus. See `wehelp-protocol`(7).");
    page.p("Requests of this machine's own user (and of root) over loopback need no token, all others do: as the path's beginning, `/t/TOKEN/recieve_msg`, as `?token=TOKEN`, or as `Authorization: Bearer TOKEN`; any right one will do. A request over loopback is another's when its socket belongs to another user or to nobody who can be told, when it names a Host that is not loopback, or when it has a header of a proxy (`Forwarded`, `X-Forwarded-`…, `X-Real-IP`, `Via`). `wehelp-setup`(1) prints the addresses with the token.");
    page.p("What a web page could have caused is refused with 403, with a right token too: a request with `Origin`, `Sec-Fetch-`…, `Sec-Purpose`, `Purpose`, `X-Moz` or `Upgrade-Insecure-Requests`, with a `Referer` of another origin than its own address, or with two Hosts. Without a right token its Host must be an IP address as people type it, `localhost`, or a name that `http.hosts` lists; `0.0.0.0`, `[::]`, IPv4 inside of IPv6 and a dot at the end are not. A request without a Host is served. `/healthz` asks for neither token nor Host, and tells no paths to who has no token.");
    page.p("With `require_token = \"never\"` that is not enough where a browser does not say that it is one: to an address beyond loopback, or to a name of `http.hosts`, it may fetch an image as a client polls, and any web page that the user visits could read commands and take them away. So `never` together with such an address or name starts only with `--insecure`, which says so in the log.");
    page.p("Every answer carries `Cache-Control: no-store` and `Pragma: no-cache`. A refusal is JSON: `{\"error\":CODE,\"message\":SENTENCE}`, 401 with `WWW-Authenticate`, 405 with `Allow`. What is no HTTP/1.1 at all (a malformed request line or header, a header that is too large) is answered by the HTTP library, before there is a request that wehelpd sees: with 400, 414 or 431, an empty body and none of these headers.");
    page.p("The control door is a Unix socket of mode 0600, over which `wehelp`(1) and any other program of the same user speaks HTTP/1.1 with JSON. See `wehelp-control`(7).");
    page.sh("BEHIND A PROXY OR A TUNNEL");
    page.p("A program on this machine that passes requests of others on (a reverse proxy, `ssh -R`, cloudflared, frpc) is, over loopback, this machine's own user whenever it runs as that user and adds no header that gives it away. So set `require_token = \"always\"` under `[http]`, and type the proxy's address with the token into the client: `http://wehelp.lan/t/TOKEN/recieve_msg`. With the token any Host is right; the name need stand in `http.hosts` only so that `wehelp-setup`(1) prints it. Of a proxy see to:");
    page.tp(&["The body's size"], "A list of contacts has megabytes, and `http.body_max` lets 16 MiB in. A proxy that lets in less answers with an HTML page, and the event is lost.");
    page.tp(&["Time-outs"], "Longer than `http.poll_hold`, or a poll that waits is cut off.");
    page.tp(&["The token"], "It must pass: the path's beginning, the query and `Authorization` stay as they are. Do not let the proxy add it: then everybody would have it. It stands in the paths, so keep those out of the proxy's log.");
    page.tp(&["Headers"], "`Host` as the client sent it, or a `Referer` of its own will not match it. `Forwarded`, `X-Forwarded-`…, `X-Real-IP` or `Via` make it known that there is a proxy, which confirms answers for a client that may be gone: commands are `fetched` with `\"confirmed\":false`.");
    page.tp(
        &["Repeating and keeping"],
        "Nothing may be asked twice or answered from a cache: each poll takes commands away.",
    );
    page.p("For a proxy on another machine, `http.connections_per_address_max` may have to grow: to wehelpd all its clients have one address. Each example below is tried with the real program:");
    for (title, text) in [
        ("nginx", include_str!("../../../packaging/proxy/nginx.conf")),
        ("Caddy", include_str!("../../../packaging/proxy/Caddyfile")),
        ("Apache", include_str!("../../../packaging/proxy/apache.conf")),
        ("HAProxy", include_str!("../../../packaging/proxy/haproxy.cfg")),
    ] {
        page.ss(title);
        page.code(text.replace('\t', "    ").trim_end());
    }
    page.sh("WHAT IS PROMISED");
    page.p("A callback that was answered with 200 and a receipt that was printed are on disk: they survive `kill -9` and a power cut at the next instruction. A command is handed to a client at least once and, as far as TCP can tell, exactly once. Events are numbered from 1 without gaps; a follower sees each exactly once and in order. When the disk is full or read-only, writes are refused with a clear error, what was stored stays readable, and the daemon goes on by itself when there is room again.");
    page.sh("SIGNALS");
    page.tp(
        &["`SIGTERM`, `SIGINT`"],
        "Stop: no new connections, requests in flight get at most 5 s, the store is synced, exit 0.",
    );
    page.tp(
        &["`SIGHUP`"],
        "Read the token and the TLS files again; say which other settings have changed and need a restart.",
    );
    page.sh("LOG");
    page.p("It logs to standard error, and never texts or tokens: of what looks like a token, wherever it was typed, only the first four characters. With `-v` also each request of the client door: `method`, `route` (never the path, which may hold the token), `peer`, `account`, `status`, the `event` that a callback became and its `bytes`, the `commands` that a poll was given, and the bytes of the `answer`. With `-vv` also whose connection it is and the names of the request's headers. Refused requests are logged at most every 10 seconds, a door that is full once a minute; `wehelp-status`(1) counts both by reason.");
    page.p("All `http.connections_max` places of the client door may be taken by who sends slowly or nothing at all. Then those that have waited longest without a whole request are closed, so that others get in; a connection whose request is whole is not. A poll that is held open (`http.poll_hold`) is answered `[]` at once instead, the oldest first, of the address that has most of them. One address (of IPv6 a /64) has `http.connections_per_address_max` of them, and then makes room for itself. Where the process may have too few files open (`ulimit -n`, `LimitNOFILE=`), both doors have fewer places, so that the store has its files; a line in the log says so at the start.");
    page.p("A callback whose body ends too early, or does not come within `http.body_timeout`, was never a whole request: its client knows that it failed and reports the event again. It is not kept; the log tells of it once a minute, with the peer and the bytes that came, and `wehelp_callbacks_cut_total` under `/metrics` counts.");
    page.sh("SYSTEMD");
    page.p("It tells systemd when it is ready and when it stops (`Type=notify`), and takes sockets over by activation: TCP sockets become client doors, a Unix socket the control door. Units for a user and for the system are shipped:");
    page.code("systemctl --user enable --now wehelpd\nloginctl enable-linger          # to have it without a session\njournalctl --user -u wehelpd");
    page.p("Without systemd, `wehelp-daemon`(1) starts it in the background.");
    page.sh("EXIT STATUS");
    page.tp(&["`0`"], "It was stopped, or did what `--check`, `--print-config`, `--restore` or `--salvage` asked for.");
    page.tp(&["`1`"], "It could not start or go on; standard error says why. A second daemon on the same data folder is told the first one's pid.");
    page.tp(&["`2`"], "Wrong usage.");
    page.sh("ENVIRONMENT");
    page.p("Flags win over the environment, which wins over the settings file. An empty variable counts as not set.");
    for (name, means) in [
        ("WEHELP_CONFIG", "As `--config`."),
        ("WEHELP_DATA_DIR", "As `--data-dir`."),
        ("WEHELP_SOCKET", "As `--socket`."),
        ("WEHELP_LISTEN", "As `--listen`, several with commas."),
        ("WEHELP_LOG", "Filters of the log, finer than `-v`: `warn,wehelp=debug`."),
        ("WEHELP_LOG_FORMAT", "As `--log-format`."),
        ("XDG_RUNTIME_DIR", "Where the control socket goes when no other place is asked for."),
    ] {
        page.tp(&[&format!("`{name}`")], means);
    }
    page.sh("FILES");
    for (name, means) in [
        ("~/.config/wehelp/config.toml", "Settings, optional; see `wehelp-config`(5)."),
        (
            "~/.local/share/wehelp/",
            "The data folder (made with mode 0700; one that another user owns or that all can write to is refused), its files of mode 0600 and none of them a symbolic link: `journal/` and `sled/` (the store), `token` (made at the first start), `token.previous` (valid for a day after a rotation), `lock` (held while it runs), `socket` (where the control socket is).",
        ),
        (
            "$XDG_RUNTIME_DIR/wehelp/wehelpd.sock",
            "The control socket; without a runtime folder `run/wehelpd.sock` in the data folder, and one in `/tmp/wehelp-UID/` where that folder is read-only or full.",
        ),
    ] {
        page.tp(&[&format!("`{name}`")], means);
    }
}

/// `wehelp-config.5`, out of the annotated settings themselves.
pub(super) fn config() -> String {
    let mut page = Page::new("wehelp-config", "5", "settings of wehelpd and wehelp");
    page.sh("SYNOPSIS");
    page.p("`~/.config/wehelp/config.toml`");
    page.sh("DESCRIPTION");
    page.p("A TOML file. Every setting is optional and shown with its default; those without one are shown with an example. Another file is named with `--config` or `WEHELP_CONFIG`. Flags and environment win over it. An unknown key is an error that names the key and the nearest valid one; `wehelpd --check` tells without starting. `wehelpd --print-config` prints the file that this page is made of, and `wehelp config` the settings in force and where each comes from. On a new account the folder has to be made first: `mkdir -p ~/.config/wehelp`.");
    page.p("Durations are written `30s`, `10m`, `2h`, `3d`, sizes `500MB`, `2GiB`. `wehelp`(1) reads `socket` and `data_dir` only, and is not stopped by a fault elsewhere in the file.");
    let mut comment: Vec<&str> = Vec::new();
    let mut terms: Vec<String> = Vec::new();
    let mut text = String::new();
    let flush = |page: &mut Page, terms: &mut Vec<String>, text: &mut String| {
        if !terms.is_empty() {
            let terms: Vec<_> = terms.iter().map(String::as_str).collect();
            page.tp(&terms, text);
        }
        terms.clear();
        text.clear();
    };
    page.sh("PLACES");
    let is_key = |line: &str| {
        line.split_once(" = ")
            .is_some_and(|(key, _)| key.starts_with('"') || key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    // The first two lines are about the file.
    for line in wehelp::config::ANNOTATED.lines().skip(2) {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if let Some(section) = bare.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            flush(&mut page, &mut terms, &mut text);
            page.sh(&format!("[{section}]"));
        } else if is_key(bare) {
            if !comment.is_empty() {
                flush(&mut page, &mut terms, &mut text);
                text = comment.join(" ");
                comment.clear();
            }
            terms.push(format!("`{bare}`"));
        } else if line.starts_with('#') {
            comment.push(bare);
        }
    }
    flush(&mut page, &mut terms, &mut text);
    page.sh("FILES");
    page.tp(&["`~/.config/wehelp/config.toml`"], "The settings of a user.");
    page.tp(&["`/etc/wehelp/config.toml`"], "What the system's unit names.");
    page.sh("EXAMPLES");
    page.p("A daemon for a client on another PC, which keeps events for a month:");
    page.code("[http]\nlisten = \"0.0.0.0:4567\"\n\n[events]\nkeep = \"30d\"\n\n[accounts]\ndefault = \"work\"\n\n[accounts.alias]\nwork = \"wxid_0123456789abcd\"");
    page.sh("SEE ALSO");
    page.p("`wehelp`(1), `wehelpd`(8)");
    tidy(&page.finish())
}

/// What `decoded` holds, by kind.
fn decoded(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Login => ("67", "`code`: 200 when it succeeded."),
        Kind::LoginState => ("66", "`logged_in`: the answer to `wehelp account status`."),
        Kind::LoginQrcode => (
            "401, 82",
            "`content`, the link or text to be shown as a QR code, or `image`, with `media_type` and `base64`.",
        ),
        Kind::Profile => ("71", "`contact`, normalised; `self`: it is the account's own."),
        Kind::ContactsPacket => ("97", "`wxids`: the ids found in the packet."),
        Kind::Contacts => (
            "210",
            "`contacts`: normalised: `wxid`, `nick`, `remark`, `username`, `sex` (a word), `province`, `city`, `region`, `sign`, `avatar`, `avatar_small`, `type`, `group_id`.",
        ),
        Kind::Rooms => {
            ("211", "`rooms`: each with `wxid`, `nick`, `avatar`, `count`, `owner` (the account is), `members` (ids).")
        }
        Kind::RoomMembers => {
            ("77", "`room`, `members` (normalised contacts), `info` (the decoded XML and what was found in it).")
        }
        Kind::MessageText => ("78, msgType 1", "Nothing: `text` has it all. Of news: `articles`."),
        Kind::MessageImage => ("78, msgType 3", "The attributes of the picture, and `size`."),
        Kind::MessageVoice => ("78, msgType 34", "The attributes, `duration_ms`, `size`."),
        Kind::MessageFriendRequest => (
            "78, msgType 37, 65 (company contacts)",
            "`v1`, `v2`, `wxid`, `nick`, `greeting`, `scene`, and what else it tells of the person. `from` is who asks, `text` the greeting.",
        ),
        Kind::MessageCard => (
            "78, msgType 42, 66 (company contacts)",
            "`wxid`, `nick`, `v1`, `v2`, and what else it tells of the person.",
        ),
        Kind::MessageVideo => ("78, msgType 43", "The attributes, `duration_ms`, `size`."),
        Kind::MessageSticker => ("78, msgType 47", "The attributes, `url`, `size`."),
        Kind::MessageLocation => ("78, msgType 48", "`latitude`, `longitude`, `label`, `name`."),
        Kind::MessageApp => (
            "78, msgType 49",
            "`title`, `description`, `url`, `source`, `thumb_url`, `app_type` (a number) and `app`, a word for it: \
                 link, file, file_upload (under way), music, video, mini_program, quote, history, channel_post, live, \
                 live_location, announcement, pat, solitaire, note, transfer, red_packet, coupon, sticker …; the number \
                 again where nobody knows a word. Besides: of files `file_name`, `file_size`, `file_ext`, `md5`, \
                 `attachid`; of music `data_url`; of a quote `quote` with `from`, `name`, `kind`, `text`, `id`; of a \
                 merged history and of notes `items`, each with `name`, `kind`, `text`, `time`; of a transfer `amount`, \
                 `memo`, `step` (sent, received, returned), `transfer_id` (the same at every step), `transaction_id`, \
                 `payer`, `receiver`; of a red packet `greeting`, `id`; of channels `nick`, `channel`; of an official \
                 account's push `articles`, each with `title`, `url`, `digest`, `cover`. `text` is what it says: the \
                 reply of a quote, the amount of a transfer, the name of a file. A reply with a quote is this kind, not \
                 `message.text`.",
        ),
        Kind::MessageCall => ("78, msgType 50", "What the invitation tells."),
        Kind::MessageSystem => (
            "78, msgType 10000, 10002",
            "A notice that is none of the others. `notice`: a word for it where one is known (refused, not_friend, \
                 too_frequent, friend_added, red_packet, transfer, call, recall); `sysmsg`, where it is XML of a type; `template`, where that is a sentence with ids. A \
                 notice in a room has no `from`.",
        ),
        Kind::MessageRecall => (
            "78, msgType 10002",
            "`session`, `msgid`, `newmsgid` (which message), `replacemsg`. `from` is who took it back, null where that \
                 cannot be told.",
        ),
        Kind::MessagePat => (
            "78, msgType 10002, 10000",
            "`from`, `patted`: ids; null where only a sentence tells. `template`: the sentence with ids in it.",
        ),
        Kind::RoomJoined => (
            "78, a notice",
            "`who`: a list of those who came, each with `wxid` and `nick`, null where the notice does not tell; `by`: who \
                 brought them, likewise, or null; `how`: `invite`, `qrcode`, or null where it does not tell.",
        ),
        Kind::RoomLeft => {
            ("78, a notice", "`who`, `by` as above; `how`: `removed`, `left`, or `disbanded` (then nobody is named).")
        }
        Kind::RoomRenamed => ("78, a notice", "`name`: the new one; `by`."),
        Kind::RoomAnnouncement => ("78, a notice", "`text` is the announcement."),
        Kind::RoomOwner => ("78, a notice", "`who`: the new owner."),
        Kind::RoomAccess => (
            "78, a notice",
            "`how`: `request` (somebody asks to come in: `who`; `by` wants to bring them), `on`, `off` (whether whoever is \
                 invited must be confirmed).",
        ),
        Kind::MessageOther => ("78, any other msgType", "`sysmsg`, where it tells."),
        Kind::ContactPacket => ("88", "`wxids`, `v1`, `v2`, `avatars`, `strings`: what was found in the packet."),
        Kind::RoomCreated => ("69", "`room`."),
        Kind::FriendVerified => (
            "96",
            "`ok`: the packet contains a v1, which is how the client tells that a request was sent or accepted; \
                 `v1s`: the tickets in it, when there are any.",
        ),
        Kind::FriendV2 => ("81", "`contact`, `v2`."),
        Kind::Avatars => ("95", "`avatars`: from wxid to address."),
        Kind::Logout => ("90", "Nothing."),
        Kind::LogoutPhone => ("98", "Nothing. Somebody logged the account out by phone."),
        Kind::Other => ("any other", "Nothing; `data` has it all."),
        Kind::ClientOffline => (
            "none; told by wehelpd itself",
            "`last_poll`: when the client of `account` polled last; `since`: when that poll was over; `interval_s`: its \
                 usual interval in whole seconds, as its last polls tell, null while only one is known. It is told once, \
                 when three such intervals have passed without a poll, and 30 s at least (75 s while the interval is not \
                 known); an open poll (`poll_hold`) is no silence, nor is the time in which no wehelpd ran. `data` holds \
                 the same. Clients that are no account's (a name that no event has told; none, where there are several \
                 accounts) are not missed.",
        ),
        Kind::ClientOnline => (
            "none; told by wehelpd itself",
            "`since`: when it polled again; `last_poll`: when it had polled before it was missed; `interval_s`. Each \
                 `client.offline` is followed by one at most.",
        ),
        Kind::Unparsed => ("not readable", "`reason`; `data` is `{\"base64\":…}` with the bytes that came."),
    }
}

/// `wehelp-events.7`
pub(super) fn events() -> String {
    let mut page = Page::new("wehelp-events", "7", "the format of events");
    page.sh("DESCRIPTION");
    page.p("`wehelp events`, the control door and forwards give each event as one JSON object, on a line of its own. New keys may be added; none is ever renamed. These are always there, and `null` where they do not apply:");
    for (key, means) in KEYS {
        page.tp(&[&format!("`{key}`")], means);
    }
    page.p("A body that cannot be read is kept as an event too, of kind `unparsed`; the client is then answered with 400. One that did not come whole is not kept, see `wehelpd`(8). An event that is stored and cannot be read any more, because the journal is damaged, is told in its place by an object with `seq` and `damaged`, the reason, and nothing else: in the stream of the control door, and by `wehelp events` `--json` on standard error. Strings that say nothing (`null`, `(null)`, `None`, and empty ones) become null in what is derived, and numbers and strings are taken for each other.");
    page.sh("KINDS");
    page.p("The examples are events of the tests, with long values cut short. `wehelp api --schema` prints all of this as a JSON Schema.");
    for &kind in Kind::ALL {
        let (types, holds) = decoded(kind);
        page.ss(kind.as_str());
        page.p(&format!("Type {types}. `decoded` holds: {holds}").replace("holds: Nothing", "holds nothing"));
        page.code(&example(kind));
    }
    page.sh("PICTURES, VOICES, VIDEOS AND FILES");
    page.p("The client tells that one came, and WeChat's own description of it, never its bytes. `decoded` therefore has its size, its checksum where there is one (`md5`), the name of a file, and the keys by which a WeChat client fetches and decrypts it from WeChat's servers (`aeskey`, `cdnmidimgurl`, `attachid` …). Those servers answer nobody but a WeChat that is logged in; no command of the client fetches or passes on what came; and wehelpd talks to the client and to nobody else. So a script can see that something came, from whom, how large and whether it came before, and can ask for it in another way. The file itself lies where WeChat on the PC keeps it once somebody has opened it there, or WeChat has fetched it by itself: a program on the PC can take it from there. A sticker has an address (`url`) that anybody may open.");
    page.sh("EXAMPLES");
    page.p("What was said today, as CSV:");
    page.code(
        "wehelp events --since 24h --kind 'message.*' -n all |\n  jq -r '[.time, .chat, .from, .text // \"\"] | @csv'",
    );
    page.p("The links of a room:");
    page.code("wehelp events -n all --kind message.app --chat @team |\n  jq -r 'select(.decoded.app == \"link\") | .decoded.url'");
    page.sh("SEE ALSO");
    page.p("`wehelp-events`(1), `wehelp-simulate-event`(1), `wehelp-control`(7), `wehelp-protocol`(7)");
    tidy(&page.finish())
}

/// An event of that kind, of those that the tests read.
fn example(kind: Kind) -> String {
    let line = events::of(kind).unwrap_or_else(|| panic!("no test reads an event of kind {}", kind.as_str()));
    let mut value: Value = serde_json::from_str(&line).unwrap();
    shorten(&mut value);
    wrap(&value.to_string())
}

/// Cuts what is too long to be read.
fn shorten(value: &mut Value) {
    const KEPT: usize = 40;
    match value {
        Value::String(text) if text.chars().count() > KEPT + 8 => {
            *text = text.chars().take(KEPT).collect::<String>() + "…"
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(map) => map.values_mut().for_each(shorten),
        _ => {}
    }
}

/// Breaks a JSON line after commas between values.
fn wrap(json: &str) -> String {
    const WIDTH: usize = 70;
    let mut pieces = vec![String::new()];
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        pieces.last_mut().unwrap().push(c);
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            ',' if !in_string => pieces.push(String::new()),
            _ => {}
        }
    }
    let mut lines = vec![String::new()];
    for piece in pieces {
        let last = lines.last_mut().unwrap();
        if !last.is_empty() && last.chars().count() + piece.chars().count() > WIDTH {
            lines.push(format!(" {piece}"));
        } else {
            last.push_str(&piece);
        }
    }
    lines.join("\n")
}

/// `wehelp-control.7`: routes and structures out of `src/control.rs`.
pub(super) fn control() -> String {
    assert_eq!(wehelp::control::ENQUEUE_MAX, 1000);
    let mut page = Page::new("wehelp-control", "7", "the control door of wehelpd");
    page.sh("DESCRIPTION");
    page.p("`wehelpd`(8) answers HTTP/1.1 on a Unix socket that only its own user (and root) may open. `wehelp`(1) is one of its clients; curl and any language are others. Bodies are JSON, lists and streams are NDJSON: one object a line. A program of another user is turned away.");
    page.code("S=$XDG_RUNTIME_DIR/wehelp/wehelpd.sock\ncurl --unix-socket $S http://localhost/v1/status");
    page.sh("ROUTES");
    for line in CONTROL.lines().filter_map(|l| l.strip_prefix("//! | ")) {
        let cells: Vec<&str> = line.trim_end_matches('|').split(" |").map(str::trim).collect();
        let [route, asks, gives] = cells[..] else { continue };
        if !route.starts_with('`') {
            continue;
        }
        let takes = if asks.is_empty() { String::new() } else { format!("Takes {}. ", plain(asks)) };
        page.tp(&[route], &format!("{takes}Gives {}.", plain(gives)));
    }
    page.p("What GET takes stands in the query, URL-encoded; what the others take is a JSON object as the body. An unknown member is an error.");
    page.sh("CHECKS");
    page.p("`POST /v1/commands` checks every command whose `api` it knows as `wehelp`(1) checks its arguments: ids, rooms where a room is due, texts that say nothing, tickets, paths that look like those of this machine (`on_client` says that they are the PC's; `[files.map]` of the settings turns them into one of the PC). All commands of a request are queued, or none. An `api` that it does not know passes as it is.");
    page.sh("ERRORS");
    page.p("An error is a JSON object with `error`, a kebab-case code, and `message`, a sentence that says what to do. The status tells the exit code that `wehelp`(1) makes of it: 400 is 2 (wrong usage), 404 is 4 (not found), every other of 4xx and 5xx is 5 (refused). A stream that fails midway ends with such an object as its last line: it has `error` and no `seq`.");
    page.p("A request may carry `Wehelp-Version: 1`; a daemon that speaks another version refuses it with 426. One without the header is taken. With `Wehelp-Data-Dir: /path` (percent-encoded) it is meant for the daemon of that data folder, and any other refuses it with 421 and does nothing.");
    page.sh("STREAMS");
    page.p("`GET /v1/commands/ID/wait` gives `{\"receipt\":…}` at once and at each change, `{\"answer\":{\"event\":…,\"items\":[…]}}` for each event that answers, with what it holds for this command, and `{\"end\":{\"reached\":…}}` as its last line. `until` is `answered`, or `fetched`.");
    page.p("`POST /v1/commands/cancel` cancels each command by itself, and gives a line for each: its receipt, or `{\"id\":…,\"error\":…,\"message\":…}` where a client was handed it meanwhile; the exit status of `wehelp queue cancel` is 5 then.");
    page.p("`GET /v1/commands` with `follow=true` does not end: first how the commands stand, in the order of their last changes, then a receipt for every change of a command's state, as the command was then. `rev` numbers the changes: it rises with each, also over restarts, kills and cuts of the power, and is the position that a reader goes on after; `changed` is when it was. With `after=REV` there is no list, only the changes after that one, each once and in order, also those of a time when nobody listened; without `follow` the answer ends with the newest. The filters choose among the changes, `state` being the state that was changed to. That the time of a `scheduled` command has come is a change to `ready`. A command that has not changed since a version of wehelpd that numbered nothing has `rev` null. Changes are kept as long as finished commands (`[queue] keep_done`), and two million at most; a line `{\"dropped\":{\"from\":FIRST,\"to\":LAST}}` stands where some are kept no longer. With `marks=true` a line `{\"rev\":N,\"skipped\":true}` tells now and then how far a reader is whose filter lets little through. `after` beyond the newest change is refused with 409 `ahead`, and, with `log=LOG`, one of another log with 409 `other-log`.");
    page.p("`GET /v1/events` with `follow=true` does not end. It is written as it is read: a slow reader costs the daemon nothing. With `heartbeat_ms` an empty line comes at least so often. A cursor is held while its stream is open; the header `Wehelp-Lease` names the lease that commits must carry: while somebody reads, a commit without it is refused (409); the header `Wehelp-Cursor-Began` says that the cursor is new, and after which position it began. Wherever retention has overtaken the reader, and where a file of the store is lost, there is a line `{\"dropped\":{\"from\":FIRST,\"to\":LAST}}`, and the stream goes on after LAST; what was lost before the stream began is told by the header `Wehelp-Dropped: FIRST-LAST` as well. An event that is stored and cannot be read any more is a line `{\"seq\":N,\"damaged\":REASON}` in its place, whatever was filtered by. The header `Wehelp-Log`, on every answer below `/v1/events`, `/v1/cursors`, `/v1/commands` and `/v1/asks`, refusals too, names the log, as `log` of the status does: positions of two logs have nothing to do with each other, and a restored backup is another log. Who goes on after a position gives its log too (`after=N&log=LOG`), and so does who comes back to a command (`/v1/commands/ID/wait?log=LOG`): it is refused with 409 `other-log` when it is not this one. Asking for events after a position that the log has not reached is refused with 409 `ahead`.");
    page.sh("STRUCTURES");
    structures(&mut page);
    page.sh("EXAMPLES");
    for (about, code) in [
        (
            "Queue a text:",
            "curl --unix-socket $S http://localhost/v1/commands -d '{\"commands\":\n  [{\"api\":\"sendTextMessage\",\"code\":1,\"wxid\":\"filehelper\",\"text\":\"hi\"}]}'",
        ),
        (
            "See what it would be, and queue nothing:",
            "curl --unix-socket $S http://localhost/v1/commands -d '{\"dry_run\":true,\n  \"commands\":[{\"api\":\"initContact\",\"code\":45}]}'",
        ),
        (
            "Wait for the answer to command 42:",
            "curl -N --unix-socket $S 'http://localhost/v1/commands/42/wait?timeout_ms=30000'",
        ),
        (
            "What is unfinished, everything, what failed:",
            "curl --unix-socket $S http://localhost/v1/commands\ncurl --unix-socket $S 'http://localhost/v1/commands?all=true'\ncurl --unix-socket $S 'http://localhost/v1/commands?state=rejected,expired'",
        ),
        (
            "Follow every change of state, and go on behind change 1042:",
            "curl -N --unix-socket $S 'http://localhost/v1/commands?follow=true&limit=0'\ncurl -N --unix-socket $S 'http://localhost/v1/commands?follow=true&after=1042'",
        ),
        (
            "See the settings in force that are no defaults:",
            "curl --unix-socket $S http://localhost/v1/config | jq -c 'select(.from != \"default\")'",
        ),
        (
            "Take command 42 back, or hand it over again:",
            "curl --unix-socket $S -X POST http://localhost/v1/commands/42/cancel\ncurl --unix-socket $S -X POST http://localhost/v1/commands/42/retry",
        ),
        (
            "See which commands with such a key would be cancelled, and cancel them:",
            "curl --unix-socket $S http://localhost/v1/commands/cancel -d '{\"key\":\"news-*\",\"dry_run\":true}'\ncurl --unix-socket $S http://localhost/v1/commands/cancel -d '{\"key\":\"news-*\"}'",
        ),
        (
            "Hold the queue, and let it go on:",
            "curl --unix-socket $S -X POST http://localhost/v1/queue/pause\ncurl --unix-socket $S http://localhost/v1/queue/resume -d '{\"account\":\"work\"}'",
        ),
        (
            "The last five events; one; follow texts:",
            "curl --unix-socket $S 'http://localhost/v1/events?lines=5'\ncurl --unix-socket $S http://localhost/v1/events/17\ncurl -N --unix-socket $S 'http://localhost/v1/events?follow=true&kind=message.text'",
        ),
        (
            "Read with a cursor, and remember what was consumed:",
            "curl -i --unix-socket $S 'http://localhost/v1/events?cursor=bot'\ncurl --unix-socket $S http://localhost/v1/cursors/bot/commit -d '{\"seq\":17}'\ncurl --unix-socket $S -X PUT http://localhost/v1/cursors/bot -d '{\"to\":\"now\"}'\ncurl --unix-socket $S -X DELETE http://localhost/v1/cursors/bot\ncurl --unix-socket $S http://localhost/v1/cursors",
        ),
        (
            "Whom the daemon knows:",
            "curl --unix-socket $S http://localhost/v1/accounts\ncurl --unix-socket $S 'http://localhost/v1/contacts?name=li'\ncurl --unix-socket $S http://localhost/v1/contacts/wxid_abc\ncurl --unix-socket $S http://localhost/v1/rooms\ncurl --unix-socket $S http://localhost/v1/rooms/123%40chatroom/members\ncurl --unix-socket $S http://localhost/v1/requests\ncurl --unix-socket $S 'http://localhost/v1/resolve?name=boss'",
        ),
        (
            "Forward events:",
            "curl --unix-socket $S -X PUT http://localhost/v1/forwards/hook \\\n  -d '{\"url\":\"https://example.org/hook\",\"kind\":\"message.*\"}'\ncurl --unix-socket $S -X POST http://localhost/v1/forwards/hook/test\ncurl --unix-socket $S http://localhost/v1/forwards",
        ),
        (
            "The token, a new one, a backup:",
            "curl --unix-socket $S http://localhost/v1/token\ncurl --unix-socket $S -X POST http://localhost/v1/token/rotate\ncurl --unix-socket $S -o wehelp.backup http://localhost/v1/backup",
        ),
    ] {
        page.p(about);
        page.code(code);
    }
    page.sh("FILES");
    page.tp(&["`$XDG_RUNTIME_DIR/wehelp/wehelpd.sock`"], "The socket; see `wehelpd`(8) for where else it may be.");
    page.sh("SEE ALSO");
    page.p("`wehelp`(1), `wehelp-events`(7), `wehelpd`(8)");
    tidy(&page.finish())
}

/// Rustdoc links and quotes as words in bold.
fn plain(text: &str) -> String {
    let mut text =
        text.replace("[`", "`").replace("`]", "`").replace("entries (contract 7)", "events; see `wehelp-events`(7)");
    // The contract is the makers', not the readers'.
    while let Some((before, rest)) = text.split_once(" (contract ").or_else(|| text.split_once(" of contract ")) {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(')');
        text = format!("{before}{rest}");
    }
    // What Rust calls its values, as JSON has them.
    for (rust, json) in [
        ("`None`", "`null`"),
        ("`Some(true)`", "`true`"),
        ("`Some(false)`", "`false`"),
        ("`ENQUEUE_MAX`", "1000"),
        ("See `State`.", "See RECEIPTS in `wehelp`(1)."),
    ] {
        text = text.replace(rust, json);
    }
    text
}

/// Every structure of `src/control.rs` with its members, as they are documented there.
fn structures(page: &mut Page) {
    const NOT_ON_THE_WIRE: [&str; 1] = ["Refusal"];
    let mut doc: Vec<&str> = Vec::new();
    let mut renamed = None;
    let mut inside = false;
    for line in CONTROL.lines() {
        let trimmed = line.trim();
        if let Some(text) = trimmed.strip_prefix("/// ") {
            doc.push(text);
        } else if let Some(name) = trimmed.strip_prefix("#[serde(rename = \"").and_then(|r| r.strip_suffix("\")]")) {
            renamed = Some(name);
        } else if trimmed.starts_with("#[") {
        } else if let Some(name) = line.strip_prefix("pub struct ").and_then(|l| l.strip_suffix(" {")) {
            inside = !NOT_ON_THE_WIRE.contains(&name);
            if inside {
                page.ss(name);
                page.p(&plain(&doc.join(" ")));
            }
            doc.clear();
        } else if line == "}" {
            inside = false;
            doc.clear();
        } else if let Some((name, _)) = trimmed.strip_prefix("pub ").and_then(|l| l.split_once(": ")).filter(|_| inside)
        {
            let name = renamed.take().unwrap_or(name.trim_start_matches("r#"));
            page.tp(&[&format!("`{name}`")], &plain(&doc.join(" ")));
            doc.clear();
        } else {
            doc.clear();
        }
    }
}

/// `wehelp-protocol.7`
pub(super) fn protocol() -> String {
    let mut page = Page::new("wehelp-protocol", "7", "what a WeHelp client and wehelpd say to each other");
    page.sh("DESCRIPTION");
    page.p("WeHelp is a Windows program that drives one PC WeChat. It is given two addresses: it POSTs every event to the first and polls the second for commands. It is always the client; nobody can call it. One client drives one logged-in account, known by `cwxid`, in one WeChat process, known by `processid`; the pair changes when WeChat restarts.");
    page.sh("CALLBACK");
    page.p("The client reports one event a request. The body is a JSON object, `{\"data\":{…}}` or the inner object alone, of any Content-Type:");
    page.code("POST /recieve_msg HTTP/1.1\nHost: 192.168.1.7:4567\nContent-Type: application/json\n\n{\"data\":{\"type\":78,\"msgType\":\"1\",\"processid\":\"7768\",\"cwxid\":\"wxid_me\",\n \"wxid\":\"wxid_a\",\"nick\":\"A\",\"message\":\"hi\"}}");
    page.p("`recieve` is the client's own spelling. wehelpd answers 200 with `[]`, and only when the event is on disk. It reads UTF-8 with or without a byte order mark; a byte that is none becomes U+FFFD, and a body whose bytes beyond ASCII are mostly no UTF-8 is read as GB18030. It mends what the maker's own examples show: comments, trailing commas, a missing outer brace, raw line breaks in strings, and a string that is not closed at the end of its line, where each member has a line of its own. Nothing that somebody said becomes another member that way: a `message` never ends so, nor anything before a member that tells who or what it is (`wxid`, `myMsg` …) or that the object has already. What still cannot be read is kept, as an event of kind `unparsed`, and answered with 400. `wehelp events show` `SEQ` `--bytes` writes what was received, of every event. What events hold is told in `wehelp-events`(7).");
    page.sh("POLL");
    page.p("The client asks for commands at an interval. The answer is a JSON array, `[]` when there is nothing, always with a Content-Length, and pure ASCII (`\\uXXXX`), with the keys in the order of the specification: what the maker's own demo servers send.");
    page.code("GET /send_msg?wxid=wxid_me&pid=7768 HTTP/1.1\nHost: 192.168.1.7:4567\n\n[{\"api\":\"sendTextMessage\",\"code\":1,\"wxid\":\"filehelper\",\"text\":\"hi\"}]");
    page.p("Newer clients name themselves in the query, by `wxid` and `pid` together; that `wxid` is an id, and a nick does not count there. For an older client a person types `?account=NAME` into the poll address. Empty values, `null` and `(null)` say nothing. A client that does not say who it is gets commands that are bound to no account, and bound ones only when they are bound to the only account known, unless it names a process and that account is logged in in another one: a second WeChat on the PC is not the first, and one that was started anew waits for the event that tells its process.");
    page.p("The protocol has no acknowledgement. wehelpd takes a command for handed over when the peer's TCP has acknowledged the whole answer, and gives it to the next poll when the connection broke before that, unless an event that came before it broke tells that it did arrive.");
    page.sh("COMMANDS");
    page.p("`wehelp api` prints this table. `time`, in seconds, is allowed on every command: the client waits so long before it carries it out. `answered by` names the types of the events that answer; a text is also answered by the client's report of an own message (type 78 with `myMsg` 1), and what is sent is refused by a notice (10000) in that chat.");
    for row in APIS {
        let code = row.code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
        let answers = match row.answers {
            [] => "nothing answers it".to_owned(),
            types => format!("answered by {}", types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")),
        };
        let class = match row.class {
            Class::Send => "paced as a send",
            Class::Friend => "paced as a friend request",
            Class::Question => "never paced",
        };
        let fields = fields(row);
        let fields = if fields.is_empty() { String::new() } else { format!(" Fields: {fields}.") };
        page.tp(
            &[&format!("`{}` ({code}): `wehelp {}`", row.api, row.verb)],
            &format!("Specified at {}; {answers}; {class}.{fields}", row.spec),
        );
    }
    page.sh("TOKENS");
    page.p("A client can be given nothing but addresses, so where a token is needed it is part of them: `/t/TOKEN/recieve_msg`, or `?token=TOKEN`.");
    page.sh("QUIRKS");
    page.p("Numbers come as strings and strings as numbers. A login code (401) has its type in `code`. The text of a message in a room may begin with the speaker's id, a colon and a line break. Packets (88, 96, 97) are protobuf messages without a schema, in hex, sometimes cut off. Answers carry no reference to the question; wehelpd matches them by account, by the id asked for, and by age, the oldest question first.");
    page.sh("SEE ALSO");
    page.p("`wehelp`(1), `wehelp-api`(1), `wehelp-simulate`(1), `wehelp-events`(7), `wehelpd`(8)");
    tidy(&page.finish())
}

/// The fields of a command after `api` and `code`, in their order.
fn fields(row: &Api) -> String {
    let field = |field: &Field| {
        let note = match (field.kind, field.name) {
            (FieldKind::Path, _) => " (a path on the client's PC)".to_owned(),
            (FieldKind::People, _) => format!(", at most {INFO_IDS_MAX} ids"),
            (FieldKind::Room, "wxid") => ", the room's".to_owned(),
            _ => String::new(),
        };
        format!("`{}`{note}", field.name)
    };
    row.fields.iter().map(field).collect::<Vec<_>>().join(", ")
}
