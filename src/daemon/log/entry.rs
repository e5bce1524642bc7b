//! Events between protocol and store: what is written beside the bytes, the tags to look them up by, and the line that a
//! follower sees.
//!
//! The original bytes are the truth and are decoded again on reading. The packed outline beside them only saves that
//! work for events that a filter turns away; it says by which decoder it was made, and an older one's is not believed.

use crate::clock::Time;
use crate::control::Progress;
use crate::daemon::log::about::{self, Known};
use crate::daemon::log::line;
use crate::daemon::log::own::OwnEvent;
use crate::directory::{Names, Sign};
use crate::protocol::answer;
use crate::protocol::command::Command;
use crate::protocol::event::{self, Body, Decoded, Event, Kind, Outline, Pieces};
use crate::seq::Seq;
use crate::store::{Append, Stored};
use bytes::Bytes;
use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Raise it whenever `protocol` derives kind, account, chat, speaker or `self` differently: outlines made before are
/// then derived anew from the bytes.
const DECODER: u8 = 4;

/// Decoder, kind, self, and where the inner object lies.
const PACKED_HEAD_BYTES: usize = 3 + 2 * 4;

/// In the byte of `is_self`: the event names no account, and the one that is stored is its process's.
const BY_PROCESS: u8 = 4;
/// Likewise: the outline ends with the number of an event that told the very same.
const REPEATS: u8 = 8;
/// Likewise: the daemon itself tells it, and its bytes are no client's. Nothing else says so: a client may send the same.
const OWN: u8 = 16;
/// Where that byte lies.
const FLAGS_AT: usize = 2;

/// What is stored beside an event's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packed<'a> {
    pub(super) kind: Kind,
    pub(super) is_self: Option<bool>,
    pub(super) account: Option<&'a str>,
    /// The event does not name it: it was logged in in the event's process when that came.
    by_process: bool,
    pub(super) chat: Option<&'a str>,
    pub(super) from: Option<&'a str>,
    /// Where the inner object lies in the body, when it lies there byte for byte.
    inner: Option<Range<usize>>,
}

impl<'a> Packed<'a> {
    /// Of what the daemon itself tells.
    fn of_own(own: &'a OwnEvent) -> Self {
        Packed {
            kind: own.kind,
            is_self: Some(false),
            account: Some(&own.account),
            by_process: false,
            chat: None,
            from: None,
            inner: None,
        }
    }
}

/// A callback, read as far as storing it needs.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// To be appended.
    pub(crate) append: Append,
    /// What the event says of itself.
    pub(crate) outline: Outline,
    /// What it says of its account's login.
    pub(crate) sign: Sign,
    /// What it says its account is called.
    pub(crate) names: Names,
    /// Why it cannot be read, when it cannot.
    pub(crate) unreadable: Option<String>,
}

/// Reads a callback's body for the store.
///
/// `via` is what the request said of the daemons that it has passed, if it was forwarded; `owner_of` tells who is logged
/// in in a process.
pub(crate) fn incoming(
    body: Bytes,
    time: Time,
    via: Option<&str>,
    owner_of: impl Fn(u64) -> Option<String>,
) -> Incoming {
    let mut by_process = false;
    let (outline, (sign, names), inner, unreadable) = match read(&body) {
        Body::Readable(data) => {
            let inner = match &data {
                Cow::Borrowed(slice) => position(&body, slice),
                Cow::Owned(_) => None,
            };
            let mut outline = outline_of(&data, None);
            let owner = outline.pid.filter(|_| is_of_owner(&outline)).and_then(owner_of);
            if owner.is_some() {
                (outline, by_process) = (outline_of(&data, owner.as_deref()), true);
            }
            let told = told_at_once(&outline, &data);
            (outline, told, inner, None)
        }
        Body::Unreadable(reason) => {
            let outline = Outline { kind: Some(Kind::Unparsed), ..Outline::default() };
            (outline, (Sign::Nothing, Names::default()), None, Some(reason))
        }
    };
    let kind = outline.kind.unwrap_or(Kind::Other);
    let packed = Packed {
        kind,
        is_self: outline.is_self,
        account: outline.account.as_deref(),
        by_process,
        chat: outline.chat.as_deref(),
        from: outline.from.as_deref(),
        inner,
    };
    let mut tags = Vec::with_capacity(4);
    tags.push(tag('k', kind.as_str()));
    for (what, value) in [('a', packed.account), ('c', packed.chat), ('f', packed.from)] {
        tags.extend(value.map(|v| tag(what, v)));
    }
    let append = Append { time, outline: pack(&packed, via), tags, body };
    Incoming { append, outline, sign, names, unreadable }
}

/// What the daemon itself tells, for the store.
pub(super) fn of_own(own: &OwnEvent, time: Time) -> Append {
    let body = Bytes::from(own.to_json());
    let mut outline = pack(&Packed { inner: Some(0..body.len()), ..Packed::of_own(own) }, None).to_vec();
    outline[FLAGS_AT] |= OWN;
    let tags = vec![tag('k', own.kind.as_str()), tag('a', &own.account)];
    Append { time, outline: outline.into(), tags, body }
}

/// Whether the daemon itself tells an event: like [`via`] it cannot be derived from the bytes.
pub(crate) fn is_own(stored: &Stored) -> bool {
    stored.outline.get(FLAGS_AT).is_some_and(|flags| flags & OWN != 0)
}

fn own(stored: &Stored) -> Option<Result<OwnEvent, String>> {
    let unreadable = || "it is told by another version of wehelpd".to_owned();
    is_own(stored).then(|| OwnEvent::read(&stored.body).ok_or_else(unreadable))
}

/// Whether an event that names no account is of the one that is logged in in its process: who logs in may be another.
fn is_of_owner(outline: &Outline) -> bool {
    let is_login = matches!(outline.kind, Some(Kind::Login | Kind::LoginState | Kind::LoginQrcode));
    outline.account.is_none() && !is_login
}

/// What an event says of its account's login and names. It is known at once, for the next poll must not be taken for
/// what it was before.
fn told_at_once(outline: &Outline, data: &str) -> (Sign, Names) {
    let kind = outline.kind.unwrap_or(Kind::Other);
    let told = |decoded: &Decoded| (Sign::of(kind, decoded), Names::of(decoded));
    if !Sign::needs_decoded(kind) {
        return told(&Decoded::default());
    }
    let event = guarded(|| Pieces::of_account(data, outline.account.as_deref()).whole());
    event.map_or_else(|_| Default::default(), |event| told(&event.decoded))
}

/// Where `data`, a slice of `body`, lies in it.
fn position(body: &[u8], data: &str) -> Option<Range<usize>> {
    let start = (data.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let end = start.checked_add(data.len())?;
    (end <= body.len()).then_some(start..end)
}

/// A stable hash of what an event can be looked up by.
pub(super) fn tag(what: char, value: &str) -> u64 {
    let mut low = crc32fast::Hasher::new();
    low.update(&[what as u8]);
    low.update(value.as_bytes());
    let mut high = crc32fast::Hasher::new_with_initial(0x9e37_79b9);
    high.update(value.as_bytes());
    high.update(&[what as u8]);
    u64::from(low.finalize()) | u64::from(high.finalize()) << 32
}

fn pack(packed: &Packed<'_>, via: Option<&str>) -> Bytes {
    let texts = [packed.account, packed.chat, packed.from].map(|text| text.unwrap_or("").as_bytes());
    let mut out = Vec::with_capacity(PACKED_HEAD_BYTES + texts.iter().map(|text| 2 + text.len()).sum::<usize>());
    out.extend([
        DECODER,
        packed.kind.number(),
        match packed.is_self {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        } | if packed.by_process { BY_PROCESS } else { 0 },
    ]);
    let range = packed.inner.clone().unwrap_or(0..0);
    for n in [range.start, range.end] {
        out.extend(u32::try_from(n).unwrap_or(0).to_be_bytes());
    }
    for text in texts {
        let text = if text.len() > usize::from(u16::MAX) { &[] } else { text };
        out.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        out.extend(text);
    }
    out.extend(via.unwrap_or_default().as_bytes());
    out.into()
}

fn unpack(bytes: &[u8]) -> Option<Packed<'_>> {
    fn text<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a str>> {
        let (len, rest) = bytes.split_first_chunk::<2>()?;
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        *bytes = rest;
        let text = std::str::from_utf8(text).ok()?;
        Some((!text.is_empty()).then_some(text))
    }
    let (head, rest) = bytes.split_first_chunk::<3>()?;
    if head[0] != DECODER {
        return None;
    }
    let (start, rest) = rest.split_first_chunk::<4>()?;
    let (end, mut rest) = rest.split_first_chunk::<4>()?;
    let inner = u32::from_be_bytes(*start) as usize..u32::from_be_bytes(*end) as usize;
    Some(Packed {
        kind: Kind::from_number(head[1])?,
        is_self: match head[2] & !(BY_PROCESS | REPEATS | OWN) {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        },
        account: text(&mut rest)?,
        by_process: head[2] & BY_PROCESS != 0,
        chat: text(&mut rest)?,
        from: text(&mut rest)?,
        inner: (!inner.is_empty()).then_some(inner),
    })
}

/// The logs that a stored event has passed on its way here, when another wehelpd forwarded it: see `forwards`.
///
/// They are the rest of the outline, and cannot be derived from the event's bytes; so they are read whatever decoder made
/// the outline. Its layout must not change without a way to find them.
pub(crate) fn via(outline: &[u8]) -> Option<&str> {
    let mut rest = outline.get(PACKED_HEAD_BYTES..)?;
    for _ in 0..3 {
        let (len, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_be_bytes(*len))..)?;
    }
    let end = rest.len() - if repeat_of(outline).is_some() { REPEAT_BYTES } else { 0 };
    std::str::from_utf8(&rest[..end]).ok().filter(|via| !via.is_empty())
}

/// An outline's last bytes when it [`REPEATS`].
const REPEAT_BYTES: usize = 8;

/// The event that told the very same a moment before a stored one: like [`via`] it cannot be derived from the bytes.
fn repeat_of(outline: &[u8]) -> Option<Seq> {
    let is_there = outline.get(FLAGS_AT)? & REPEATS != 0 && outline.len() >= PACKED_HEAD_BYTES + 3 * 2 + REPEAT_BYTES;
    outline.last_chunk().filter(|_| is_there).map(|seq| Seq(u64::from_be_bytes(*seq)))
}

/// An outline that says which event told the very same a moment before.
pub(super) fn repeating(outline: &[u8], seq: Seq) -> Bytes {
    let mut out = [outline, &seq.0.to_be_bytes()].concat();
    if let Some(flags) = out.get_mut(FLAGS_AT) {
        *flags |= REPEATS;
    }
    out.into()
}

/// The account whose process a stored event came from, where the event names none: like [`via`] it cannot be derived from
/// the event's bytes.
fn owner(outline: &[u8]) -> Option<&str> {
    let (head, rest) = outline.split_at_checked(PACKED_HEAD_BYTES)?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let text = std::str::from_utf8(rest.get(..usize::from(u16::from_be_bytes(*len)))?).ok()?;
    (head[2] & BY_PROCESS != 0 && !text.is_empty()).then_some(text)
}

/// Whether a stored event may be the echo of a command, which is known once the log was learned from up to there.
pub(crate) fn may_be_echo(stored: &Stored) -> bool {
    outlined(stored, |packed| packed.is_some_and(|packed| about::is_echo(packed.kind, packed.is_self)))
}

/// The account that a stored event is of.
pub(crate) fn account(stored: &Stored) -> Option<String> {
    outlined(stored, |packed| packed?.account.map(str::to_owned))
}

/// What `look` makes of what stands beside a stored event, or would if this decoder had written it; it gets nothing of an
/// event that cannot be read.
pub(super) fn outlined<T>(stored: &Stored, look: impl FnOnce(Option<&Packed<'_>>) -> T) -> T {
    if let Some(packed) = unpack(&stored.outline) {
        return look(Some(&packed));
    }
    if let Some(own) = own(stored) {
        return look(own.ok().as_ref().map(Packed::of_own).as_ref());
    }
    let Ok(data) = data(stored) else { return look(None) };
    let outline = outline_of(&data, owner(&stored.outline));
    look(Some(&Packed {
        kind: outline.kind.unwrap_or(Kind::Other),
        is_self: outline.is_self,
        account: outline.account.as_deref(),
        by_process: false,
        chat: outline.chat.as_deref(),
        from: outline.from.as_deref(),
        inner: None,
    }))
}

/// The inner object of a stored event, or why there is none.
pub(crate) fn data(stored: &Stored) -> Result<Cow<'_, str>, String> {
    let inner = unpack(&stored.outline).and_then(|p| p.inner);
    if let Some(text) = inner.and_then(|range| stored.body.get(range)).and_then(|b| std::str::from_utf8(b).ok()) {
        return Ok(text.into());
    }
    match read(&stored.body) {
        Body::Readable(data) => Ok(data),
        Body::Unreadable(reason) => Err(reason),
    }
}

/// A stored event, decoded, or why it cannot be.
pub(crate) fn decoded(stored: &Stored) -> Result<Event, String> {
    let data = data(stored)?;
    guarded(|| Pieces::of_account(&*data, owner(&stored.outline)).whole())
}

/// A stored event, whose list is decoded piece by piece, or why it cannot be.
pub(crate) fn pieces(stored: &Stored) -> Result<Pieces<Bytes>, String> {
    let text = match data(stored)? {
        Cow::Borrowed(text) => stored.body.slice_ref(text.as_bytes()),
        Cow::Owned(text) => text.into(),
    };
    guarded(|| Pieces::of_account(text, owner(&stored.outline)))
}

/// The next piece, or why it cannot be read.
pub(crate) fn piece(pieces: &mut Pieces<Bytes>) -> Result<Option<Event>, String> {
    guarded(|| pieces.next())
}

/// Whether it is an event of a kind that has a list.
pub(crate) fn has_list(stored: &Stored) -> bool {
    if is_own(stored) {
        return false;
    }
    let kind = match unpack(&stored.outline) {
        Some(packed) => Some(packed.kind),
        None => data(stored).ok().and_then(|data| outline_of(&data, None).kind),
    };
    kind.is_some_and(event::has_list)
}

/// What a line is written to. What was written of it last can be taken back.
pub(crate) trait Truncate: io::Write {
    /// How much there is.
    fn len(&mut self) -> io::Result<u64>;

    /// Makes it so long again.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl Truncate for Vec<u8> {
    fn len(&mut self) -> io::Result<u64> {
        Ok(Vec::len(self) as u64)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(())
    }
}

/// Writes the line that a follower sees, without its end.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write_line(out: &mut impl Truncate, stored: &Stored, known: Option<&mut Known<'_>>) -> io::Result<()> {
    let begin = out.len()?;
    let Stored { seq, time, outline, body } = stored;
    let beside = line::Beside { owner: owner(outline), repeat_of: repeat_of(outline) };
    let written = match own(stored) {
        Some(own) => own.map(|own| line::write_own(out, (*seq, *time), &own)),
        None => data(stored).and_then(|data| guarded(|| line::write(out, (*seq, *time), &data, beside, known))),
    };
    written.unwrap_or_else(|reason| {
        out.cut(begin)?;
        line::write_unparsed(out, *seq, *time, &reason, body)
    })
}

/// The line that a follower sees, without its end.
pub(crate) fn line(stored: &Stored, known: Option<&mut Known<'_>>) -> String {
    let mut out = Vec::with_capacity(stored.body.len() * 2);
    write_line(&mut out, stored, known).expect("a vector takes it");
    String::from_utf8(out).expect("only texts were put together")
}

/// Writes the line of a wait that tells what answered: the event, and what it holds for the command, item by item.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write_answer(
    out: &mut impl Truncate,
    stored: &Stored,
    command: &Command,
    known: &mut Known<'_>,
) -> io::Result<()> {
    // Of what cannot be read nothing is told; the event says why.
    let mut pieces = pieces(stored).ok();
    let next = || piece(pieces.as_mut()?).ok().flatten();
    let items = std::iter::from_fn(next).flat_map(|piece| answer::items(command, piece));
    Progress::write_answer(out, |out| write_line(out, stored, Some(known)), items)
}

fn read(body: &[u8]) -> Body<'_> {
    guarded(|| event::read_body(body)).unwrap_or_else(Body::Unreadable)
}

fn outline_of(data: &str, owner: Option<&str>) -> Outline {
    guarded(|| event::outline_of(data, owner))
        .unwrap_or_else(|_| Outline { kind: Some(Kind::Other), ..Outline::default() })
}

/// What reading comes to. Anybody may send us an event; one that panics the reader must neither be lost nor end those
/// who follow.
fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| "reading it failed, please report this".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::EventsQuery;
    use crate::daemon::log::filter::Filter;
    use crate::daemon::log::own::Facts;
    use crate::seq::Seq;

    fn stored(body: &str) -> Stored {
        let incoming = incoming(Bytes::copy_from_slice(body.as_bytes()), Time::from_millis(5), None, |_| None);
        Stored { seq: Seq(1), time: Time::from_millis(5), outline: incoming.append.outline, body: incoming.append.body }
    }

    const TEXT: &str = r#"{"data":{"type":78,"msgType":"1","processid":"7","cwxid":"wxid_me","wxid":"1@chatroom","formWxid":"wxid_a","nick":"g","message":"hello"}}"#;

    #[test]
    fn an_outline_is_packed_and_unpacked() {
        let event = stored(TEXT);
        let packed = unpack(&event.outline).unwrap();
        assert_eq!(packed.kind, Kind::MessageText);
        assert_eq!((packed.account, packed.chat, packed.from), (Some("wxid_me"), Some("1@chatroom"), Some("wxid_a")));
        assert_eq!(packed.inner, Some(8..TEXT.len() - 1));
        for cut in 0..event.outline.len() {
            let _ = unpack(&event.outline[..cut]);
        }
    }

    #[test]
    fn what_an_event_has_passed_is_kept_beside_it() {
        assert_eq!(via(&stored(TEXT).outline), None);
        for body in [TEXT, "no event at all", "{}"] {
            let event =
                incoming(Bytes::copy_from_slice(body.as_bytes()), Time::from_millis(5), Some("one,two"), |_| None);
            let mut outline = event.append.outline.to_vec();
            assert_eq!(via(&outline), Some("one,two"));
            outline[0] = DECODER + 1;
            assert_eq!(via(&outline), Some("one,two"), "whatever decoder made it");
            for cut in 0..outline.len() {
                let _ = via(&outline[..cut]);
            }
        }
    }

    #[test]
    fn an_event_that_names_no_account_is_of_the_one_in_its_process() {
        let came = |body: &str| {
            let owner_of = |pid| (pid == 7).then(|| "wxid_me".to_owned());
            let came = incoming(Bytes::copy_from_slice(body.as_bytes()), Time::from_millis(5), None, owner_of);
            let (outline, body) = (came.append.outline.to_vec(), came.append.body);
            // Also when a later version derives something else from the bytes.
            [DECODER, DECODER + 1].map(|decoder| {
                let outline = [&[decoder][..], &outline[1..]].concat().into();
                Stored { seq: Seq(1), time: Time::from_millis(5), outline, body: body.clone() }
            })
        };
        let unnamed = |pid: &str, more: &str| {
            format!(r#"{{"type":78,"msgType":"1","processid":{pid},"wxid":"wxid_a","message":"hello"{more}}}"#)
        };
        let told = |stored: &Stored| {
            let line: serde_json::Value = serde_json::from_str(&line(stored, None)).unwrap();
            let event = decoded(stored).unwrap();
            assert_eq!(account(stored), event.account);
            assert_eq!(line["account"].as_str(), event.account.as_deref());
            let query = EventsQuery { is_self: event.is_self, from: event.from.clone(), ..EventsQuery::default() };
            assert!(Filter::new(&query, event.account.clone()).unwrap().matches(stored));
            (event.account, event.is_self, event.from)
        };
        let of =
            |account: Option<&str>, own, from: &str| (account.map(str::to_owned), Some(own), Some(from.to_owned()));
        for (body, expected) in [
            (unnamed("7", ""), of(Some("wxid_me"), false, "wxid_a")),
            (unnamed("\"7\"", r#","cwxid":"null""#), of(Some("wxid_me"), false, "wxid_a")),
            (unnamed("7", r#","myMsg":"1""#), of(Some("wxid_me"), true, "wxid_me")),
            (unnamed("7", r#","formWxid":"wxid_me""#), of(Some("wxid_me"), true, "wxid_me")),
            (unnamed("7", r#","cwxid":"wxid_you""#), of(Some("wxid_you"), false, "wxid_a")),
            (unnamed("8", ""), of(None, false, "wxid_a")),
            (unnamed("null", ""), of(None, false, "wxid_a")),
        ] {
            for stored in came(&body) {
                assert_eq!(told(&stored), expected, "{body}");
            }
        }
        // Who logs in may be another.
        for login in [r#""type":67,"code":200"#, r#""type":66"#, r#""type":82"#] {
            let [stored, _] = came(&format!(r#"{{{login},"processid":7}}"#));
            assert_eq!(account(&stored), None, "{login}");
        }
        let [stored, _] = came(&unnamed("7", ""));
        for cut in 0..stored.outline.len() {
            let _ = owner(&stored.outline[..cut]);
        }
    }

    #[test]
    fn what_the_daemon_itself_tells_is_told_by_its_mark_and_by_nothing_in_its_bytes() {
        let time = Time::from_millis(5);
        let facts = Facts { since: time, last_poll: time, interval_s: Some(5) };
        let told = OwnEvent { kind: Kind::ClientOffline, account: "wxid_me".to_owned(), pid: Some(7), facts };
        let append = of_own(&told, time);
        let of = |outline: &[u8], body: &Bytes| Stored {
            seq: Seq(1),
            time,
            outline: Bytes::copy_from_slice(outline),
            body: body.clone(),
        };
        let json = |stored: &Stored| serde_json::from_str::<serde_json::Value>(&line(stored, None)).unwrap();
        let matches = |stored: &Stored, kind: &str, account: &str| {
            let query = EventsQuery { kind: Some(kind.to_owned()), ..EventsQuery::default() };
            Filter::new(&query, Some(account.to_owned())).unwrap().matches(stored)
        };
        // Whatever version of the decoder made the outline.
        for decoder in [DECODER, DECODER + 1, 1] {
            let stored = of(&[&[decoder][..], &append.outline[1..]].concat(), &append.body);
            assert!(is_own(&stored) && !has_list(&stored) && !may_be_echo(&stored));
            assert_eq!(account(&stored).as_deref(), Some("wxid_me"));
            assert!(matches(&stored, "client.*", "wxid_me") && !matches(&stored, "client.*", "wxid_you"));
            assert!(!matches(&stored, "other", "wxid_me"));
            let line = json(&stored);
            assert_eq!(
                (&line["kind"], &line["self"], &line["type"]),
                (&"client.offline".into(), &false.into(), &().into())
            );
            assert_eq!((&line["decoded"]["interval_s"], &line["data"]["pid"]), (&5.into(), &7.into()));
        }
        // The same bytes from a client.
        let forged = incoming(append.body.clone(), time, None, |_| None).append;
        let forged = of(&forged.outline, &forged.body);
        assert!(!is_own(&forged));
        assert_eq!((&json(&forged)["kind"], &json(&forged)["account"]), (&"other".into(), &().into()));
        assert!(!matches(&forged, "client.*", "wxid_me"));
        // A later version tells something else: it is kept, and readers go on.
        let later = of(&append.outline[..], &Bytes::from_static(b"{\"kind\":\"client.renamed\"}"));
        let later = of(&[&[DECODER + 1][..], &later.outline[1..]].concat(), &later.body);
        assert_eq!(json(&later)["kind"], "unparsed");
        assert!(!matches(&later, "client.*", "wxid_me"));
    }

    #[test]
    fn a_reader_that_panics_gives_a_reason() {
        assert_eq!(guarded(|| 7), Ok(7));
        let failed = guarded(|| "文".split_at(1).0.len());
        assert_eq!(failed, Err("reading it failed, please report this".to_owned()));
    }

    #[test]
    fn filters_all_must_hold() {
        let event = stored(TEXT);
        let pass = |query: EventsQuery| {
            let account = query.account.clone();
            Filter::new(&query, account).unwrap().matches(&event)
        };
        let q = EventsQuery::default;
        assert!(pass(q()));
        assert!(pass(EventsQuery { kind: Some("message.*".into()), chat: Some("1@chatroom".into()), ..q() }));
        assert!(!pass(EventsQuery { kind: Some("message.*".into()), chat: Some("2@chatroom".into()), ..q() }));
        assert!(pass(EventsQuery { r#match: Some("^hel+o$".into()), is_self: Some(false), ..q() }));
        assert!(!pass(EventsQuery { r#match: Some("bye".into()), ..q() }));
        assert!(!pass(EventsQuery { is_self: Some(true), ..q() }));
        assert!(!pass(EventsQuery { account: Some("wxid_other".into()), ..q() }));
        assert!(!pass(EventsQuery { from: Some("wxid_b".into()), ..q() }));
    }

    #[test]
    fn an_outline_of_another_decoder_is_derived_anew() {
        let mut event = stored(TEXT);
        let mut outline = event.outline.to_vec();
        outline[0] = 200;
        event.outline = outline.into();
        let query = EventsQuery { kind: Some("message.text".into()), ..EventsQuery::default() };
        assert!(Filter::new(&query, None).unwrap().matches(&event));
    }
}
