//! The JSON Schema (draft 2020-12) of an entry: what `wehelp api --schema` prints (contract 7).
//!
//! Promises: every kind has its own `decoded`; a kind that is added does not build without one. What is told here is
//! what is told: every event of the tests is held against it, closed ([`Openness::Closed`]), so that a key more, or of
//! another form, fails; and every key here is in one of those events. Only keywords that every validator knows are used.
//! Leaves to others: what the keys mean in words (`wehelp-events`(7)).
//!
//! Where a message's XML is damaged, or is none, nothing of it is told: of `message.*` no key is a must.

use super::event::Kind;
use serde_json::{Map, Value, json};

/// Whether keys that are not named are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Openness {
    /// As it is published: later versions may add keys.
    Open,
    /// As it is told today.
    Closed,
}

/// The form of a value.
#[derive(Debug, Clone, Copy)]
enum ValueForm {
    Text,
    /// A whole number.
    Whole,
    Number,
    Truth,
    /// RFC 3339.
    Moment,
    /// One of these.
    Words(&'static [&'static str]),
    Object(ObjectForm),
    List(&'static Self),
    /// From ids to this.
    Map(&'static Self),
    /// This, or null where nobody knows it.
    OrNull(&'static Self),
    Either(&'static [Self]),
}

/// The keys of an object.
#[derive(Debug, Clone, Copy)]
struct ObjectForm {
    must: &'static [Key],
    may: &'static [Key],
    /// Other keys are allowed, and hold texts: attributes as they stand.
    attributes: bool,
}

type Key = (&'static str, ValueForm);

const fn all(must: &'static [Key]) -> ObjectForm {
    ObjectForm { must, may: &[], attributes: false }
}

const fn some(may: &'static [Key]) -> ObjectForm {
    ObjectForm { must: &[], may, attributes: false }
}

const fn attributes(may: &'static [Key]) -> ObjectForm {
    ObjectForm { must: &[], may, attributes: true }
}

const TEXT: ValueForm = ValueForm::OrNull(&ValueForm::Text);
const WHOLE: ValueForm = ValueForm::OrNull(&ValueForm::Whole);
const NUMBER: ValueForm = ValueForm::OrNull(&ValueForm::Number);
const TRUTH: ValueForm = ValueForm::OrNull(&ValueForm::Truth);
const TEXTS: ValueForm = ValueForm::List(&ValueForm::Text);
const SEX: ValueForm = ValueForm::OrNull(&ValueForm::Words(&["male", "female", "unknown"]));

const CONTACT: ValueForm = ValueForm::Object(all(&[
    ("wxid", TEXT),
    ("nick", TEXT),
    ("remark", TEXT),
    ("username", TEXT),
    ("sex", SEX),
    ("province", TEXT),
    ("city", TEXT),
    ("region", TEXT),
    ("sign", TEXT),
    ("avatar", TEXT),
    ("avatar_small", TEXT),
    ("type", WHOLE),
    ("group_id", TEXT),
]));

const ROOM: ValueForm = ValueForm::Object(all(&[
    ("wxid", TEXT),
    ("nick", TEXT),
    ("avatar", TEXT),
    ("count", WHOLE),
    ("owner", TRUTH),
    ("exist", TRUTH),
    ("members", TEXTS),
]));

const ROOM_INFO: ValueForm = ValueForm::Object(all(&[
    ("xml", TEXT),
    ("wxid", TEXT),
    ("nick", TEXT),
    ("avatar", TEXT),
    ("avatar_small", TEXT),
    ("owner", TEXT),
    ("notice", TEXT),
    ("members", TEXTS),
]));

/// Somebody in a notice.
const PERSON: ValueForm = ValueForm::Object(all(&[("wxid", TEXT), ("nick", TEXT)]));

const PICTURE: ValueForm = ValueForm::Object(all(&[("media_type", ValueForm::Text), ("base64", ValueForm::Text)]));

/// The kinds of messages that stand in others.
const INNER: &[&str] = &[
    "text",
    "image",
    "voice",
    "friend_request",
    "card",
    "video",
    "sticker",
    "location",
    "app",
    "call",
    "system",
    "other",
];

const QUOTE: ValueForm = ValueForm::Object(all(&[
    ("from", TEXT),
    ("name", TEXT),
    ("kind", ValueForm::OrNull(&ValueForm::Words(INNER))),
    ("text", TEXT),
    ("id", TEXT),
]));

const ITEM: ValueForm =
    ValueForm::Object(all(&[("name", TEXT), ("kind", ValueForm::Words(INNER)), ("text", TEXT), ("time", TEXT)]));

const ARTICLES: ValueForm =
    ValueForm::List(&ValueForm::Object(all(&[("title", TEXT), ("url", TEXT), ("digest", TEXT), ("cover", TEXT)])));

const CHANNEL: ValueForm = ValueForm::Object(all(&[
    ("nick", TEXT),
    ("description", TEXT),
    ("username", TEXT),
    ("id", TEXT),
    ("avatar", TEXT),
]));

const MINI_PROGRAM: ValueForm = ValueForm::Object(all(&[("username", TEXT), ("appid", TEXT), ("page", TEXT)]));

const FRIEND_REQUEST: ObjectForm = some(&[
    ("v1", TEXT),
    ("v2", TEXT),
    ("wxid", TEXT),
    ("nick", TEXT),
    ("greeting", TEXT),
    ("scene", TEXT),
    ("room", TEXT),
    ("alias", TEXT),
    ("sex", SEX),
    ("avatar", TEXT),
    ("avatar_small", TEXT),
    ("country", TEXT),
    ("province", TEXT),
    ("city", TEXT),
    ("sign", TEXT),
]);

const CARD: ObjectForm = some(&[
    ("wxid", TEXT),
    ("nick", TEXT),
    ("v1", TEXT),
    ("v2", TEXT),
    ("alias", TEXT),
    ("sex", SEX),
    ("avatar", TEXT),
    ("avatar_small", TEXT),
    ("country", TEXT),
    ("province", TEXT),
    ("city", TEXT),
    ("sign", TEXT),
]);

const APP: ObjectForm = some(&[
    ("title", TEXT),
    ("description", TEXT),
    ("url", TEXT),
    ("app_type", WHOLE),
    ("app", ValueForm::OrNull(&ValueForm::Either(&[ValueForm::Text, ValueForm::Whole]))),
    ("source", TEXT),
    ("thumb_url", TEXT),
    ("data_url", TEXT),
    ("file_name", TEXT),
    ("file_size", WHOLE),
    ("file_ext", TEXT),
    ("md5", TEXT),
    ("attachid", TEXT),
    ("mini_program", MINI_PROGRAM),
    ("nick", TEXT),
    ("channel", CHANNEL),
    ("quote", QUOTE),
    ("items", ValueForm::List(&ITEM)),
    ("from", TEXT),
    ("patted", TEXT),
    ("template", TEXT),
    ("announcement", TEXT),
    ("amount", TEXT),
    ("memo", TEXT),
    ("step", ValueForm::OrNull(&ValueForm::Words(&["sent", "received", "returned"]))),
    ("pay_subtype", TEXT),
    ("transfer_id", TEXT),
    ("transaction_id", TEXT),
    ("payer", TEXT),
    ("receiver", TEXT),
    ("greeting", TEXT),
    ("id", TEXT),
    ("articles", ARTICLES),
]);

/// What notices of rooms all tell; `how` in the words of each.
macro_rules! of_room {
    ($how:expr) => {
        ObjectForm {
            must: &[
                ("who", ValueForm::List(&PERSON)),
                ("by", ValueForm::OrNull(&PERSON)),
                ("how", $how),
                ("name", TEXT),
            ],
            may: &[("sysmsg", TEXT), ("template", TEXT)],
            attributes: false,
        }
    };
}

/// Nothing is told of how.
const NO_WAY: ValueForm = ValueForm::OrNull(&ValueForm::Words(&[]));

const NOTICES: &[&str] =
    &["refused", "not_friend", "too_frequent", "friend_added", "red_packet", "transfer", "call", "recall"];

/// What `decoded` holds, by kind.
fn decoded(kind: Kind) -> ObjectForm {
    match kind {
        Kind::Login => all(&[("code", WHOLE)]),
        Kind::LoginState => all(&[("logged_in", TRUTH)]),
        Kind::LoginQrcode => some(&[("content", ValueForm::Text), ("image", PICTURE)]),
        Kind::Profile => all(&[("contact", CONTACT), ("self", ValueForm::Truth)]),
        Kind::ContactsPacket => all(&[("wxids", TEXTS)]),
        Kind::Contacts => all(&[("contacts", ValueForm::List(&CONTACT))]),
        Kind::Rooms => all(&[("rooms", ValueForm::List(&ROOM))]),
        Kind::RoomMembers => {
            all(&[("room", TEXT), ("members", ValueForm::List(&CONTACT)), ("info", ValueForm::OrNull(&ROOM_INFO))])
        }
        Kind::MessageText => some(&[("articles", ARTICLES)]),
        Kind::MessageImage => attributes(&[("size", WHOLE)]),
        Kind::MessageVoice | Kind::MessageVideo => attributes(&[("duration_ms", WHOLE), ("size", WHOLE)]),
        Kind::MessageFriendRequest => FRIEND_REQUEST,
        Kind::MessageCard => CARD,
        Kind::MessageSticker => attributes(&[("url", TEXT), ("size", WHOLE)]),
        Kind::MessageLocation => {
            attributes(&[("latitude", NUMBER), ("longitude", NUMBER), ("label", TEXT), ("name", TEXT)])
        }
        Kind::MessageApp => APP,
        Kind::MessageCall => some(&[("status", TEXT), ("invitetype", TEXT), ("roomid", TEXT)]),
        Kind::MessageSystem => {
            some(&[("sysmsg", TEXT), ("notice", ValueForm::OrNull(&ValueForm::Words(NOTICES))), ("template", TEXT)])
        }
        Kind::MessageRecall => {
            some(&[("sysmsg", TEXT), ("session", TEXT), ("msgid", TEXT), ("newmsgid", TEXT), ("replacemsg", TEXT)])
        }
        Kind::MessagePat => some(&[("sysmsg", TEXT), ("from", TEXT), ("patted", TEXT), ("template", TEXT)]),
        Kind::MessageOther => some(&[("sysmsg", TEXT)]),
        Kind::RoomJoined => of_room!(ValueForm::OrNull(&ValueForm::Words(&["invite", "qrcode"]))),
        Kind::RoomLeft => of_room!(ValueForm::Words(&["removed", "left", "disbanded"])),
        Kind::RoomAccess => of_room!(ValueForm::Words(&["request", "on", "off"])),
        Kind::RoomRenamed | Kind::RoomAnnouncement | Kind::RoomOwner => of_room!(NO_WAY),
        Kind::ContactPacket => {
            all(&[("wxids", TEXTS), ("v1", TEXT), ("v2", TEXT), ("avatars", TEXTS), ("strings", TEXTS)])
        }
        Kind::RoomCreated => all(&[("room", TEXT)]),
        Kind::FriendVerified => {
            ObjectForm { must: &[("ok", ValueForm::Truth)], may: &[("v1s", TEXTS)], attributes: false }
        }
        Kind::FriendV2 => all(&[("contact", CONTACT), ("v2", TEXT)]),
        Kind::Avatars => all(&[("avatars", ValueForm::Map(&ValueForm::Text))]),
        Kind::Logout | Kind::LogoutPhone | Kind::Other => all(&[]),
        Kind::Unparsed => all(&[("reason", ValueForm::Text)]),
        Kind::ClientOffline | Kind::ClientOnline => {
            all(&[("since", ValueForm::Moment), ("last_poll", ValueForm::Moment), ("interval_s", WHOLE)])
        }
    }
}

/// The keys of an entry in their order, with what each means; of `type`, `self`, `text` and `decoded` the kind tells more.
pub const KEYS: &[(&str, &str)] = &[
    ("seq", "The position: 1, 2, 3 … without gaps, in the order in which the client was answered; never reused."),
    ("time", "When it was received: RFC 3339, UTC, with milliseconds."),
    ("kind", "What it is about; see below."),
    ("type", "The number in `type`; for a login code also that in `code`."),
    (
        "account",
        "`cwxid`: the account that the client drives. Where the event has none, the account that was logged in in its process when it came, if one was (not of login events).",
    ),
    ("pid", "`processid`, a number whichever way it came."),
    ("chat", "The conversation: the room, else the other person."),
    ("from", "Who spoke."),
    ("self", "Whether the account itself spoke."),
    ("nick", "The chat's name in a message, the person's in a profile."),
    ("text", "Readable text, where there is some."),
    (
        "from_name",
        "What the directory calls who spoke at the moment when the line is made: the nick in that room, else the remark, else the nick.",
    ),
    (
        "mentioned",
        "Whether a message means the account: a private one does; in a room one with `@` and its nick there, its nick, `所有人` or `all` (up to a blank or the end), or a quote of its own message. `null` for what nobody says, and where the account's names are not known.",
    ),
    (
        "command",
        "Of an own text, picture, file or link: the id of the command whose echo it is; `null` when a person typed it.",
    ),
    (
        "repeat_of",
        "The position of the last event within a minute before whose body was the very same: the client told it again.",
    ),
    ("decoded", "An object: what was packed, by kind."),
    (
        "data",
        "What the client sent: the inner object, byte for byte. Everything else is derived from it, anew at each reading.",
    ),
];

/// The form of a key of an entry, whatever its kind.
fn key(name: &str) -> Value {
    let form = match name {
        "seq" => return json!({ "type": "integer", "minimum": 1 }),
        "kind" => return json!({ "enum": Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>() }),
        "decoded" | "data" => return json!({ "type": "object" }),
        "time" => ValueForm::Moment,
        "type" | "pid" | "command" | "repeat_of" => WHOLE,
        "self" | "mentioned" => TRUTH,
        _ => TEXT,
    };
    form.schema(Openness::Open)
}

/// What a kind tells beside what every entry does.
fn of_kind(kind: Kind, openness: Openness) -> Value {
    let types: Vec<Value> = match kind.types() {
        // Of no type, or of any that is none of the others'.
        [] if kind == Kind::Other => return json!({ "decoded": decoded(kind).schema(openness), "self": null_only() }),
        [] => vec![Value::Null],
        types => types.iter().map(|number| (*number).into()).collect(),
    };
    let mut told = json!({ "type": { "enum": types }, "decoded": decoded(kind).schema(openness) });
    if kind.is_of_daemon() {
        told["self"] = json!({ "const": false });
    } else if kind.is_message() {
        told["self"] = json!({ "type": "boolean" });
    } else {
        told["self"] = null_only();
    }
    if !kind.is_message() {
        told["text"] = null_only();
    }
    told
}

fn null_only() -> Value {
    json!({ "type": "null" })
}

/// The schema of an entry.
#[must_use]
pub fn entry(openness: Openness) -> Value {
    let described = |(name, means): &(&str, &str)| {
        let mut schema = key(name);
        schema["description"] = (*means).into();
        ((*name).to_owned(), schema)
    };
    let kinds = Kind::ALL.iter().map(|kind| {
        json!({
            "if": { "properties": { "kind": { "const": kind.as_str() } } },
            "then": { "properties": of_kind(*kind, openness) },
        })
    });
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of wehelp",
        "description": "What `wehelp events` prints, one a line. Later versions may add keys.",
        "type": "object",
        "required": KEYS.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "properties": Value::Object(KEYS.iter().map(described).collect()),
        "allOf": kinds.collect::<Vec<_>>(),
    });
    if openness == Openness::Closed {
        schema["additionalProperties"] = false.into();
    }
    schema
}

impl ValueForm {
    fn schema(self, openness: Openness) -> Value {
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Whole => json!({ "type": "integer" }),
            Self::Number => json!({ "type": "number" }),
            Self::Truth => json!({ "type": "boolean" }),
            Self::Moment => json!({ "type": "string", "format": "date-time" }),
            Self::Words(words) => json!({ "enum": words }),
            Self::Object(shape) => shape.schema(openness),
            Self::List(of) => json!({ "type": "array", "items": of.schema(openness) }),
            Self::Map(of) => json!({ "type": "object", "additionalProperties": of.schema(openness) }),
            Self::Either(forms) => {
                json!({ "anyOf": forms.iter().map(|form| form.schema(openness)).collect::<Vec<_>>() })
            }
            Self::OrNull(Self::Words(words)) => {
                json!({ "enum": words.iter().map(|word| (*word).into()).chain([Value::Null]).collect::<Vec<_>>() })
            }
            Self::OrNull(form) => {
                let mut schema = form.schema(openness);
                match &mut schema["type"] {
                    Value::String(r#type) => schema["type"] = json!([r#type, "null"]),
                    _ => schema = json!({ "anyOf": [form.schema(openness), null_only()] }),
                }
                schema
            }
        }
    }
}

impl ObjectForm {
    fn schema(self, openness: Openness) -> Value {
        let keys = self.must.iter().chain(self.may);
        let properties: Map<String, Value> =
            keys.map(|(name, form)| ((*name).to_owned(), form.schema(openness))).collect();
        let mut schema = json!({ "type": "object", "properties": properties });
        if !self.must.is_empty() {
            schema["required"] = self.must.iter().map(|(name, _)| *name).collect();
        }
        if self.attributes {
            schema["additionalProperties"] = ValueForm::Text.schema(openness);
        } else if openness == Openness::Closed {
            schema["additionalProperties"] = false.into();
        }
        schema
    }
}

#[cfg(test)]
#[path = "../../tests/schema/bodies.rs"]
pub(in crate::protocol) mod bodies;
#[cfg(test)]
pub(in crate::protocol) mod tests;
#[cfg(test)]
#[path = "../../tests/schema/validator.rs"]
mod validator;
