//! Why something is no command, and how large one may be.

/// The longest command, bytes of ASCII JSON: WeChat cuts texts at a few thousand characters, six bytes each here.
pub const WIRE_BYTES_MAX: usize = 64 * 1024;

/// The deepest nesting of a command given as JSON: the spec's have two levels.
pub const WIRE_DEPTH_MAX: usize = 32;

/// The most ids in one `newGetUserLists` (spec 好友操作 4: 一次最多五十人).
pub const INFO_IDS_MAX: usize = 50;

/// Why something is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no JSON.
    #[error("this is no JSON: {0}")]
    NotJson(String),
    /// It is JSON of another kind.
    #[error("a command is one JSON object, as {{\"api\":\"sendTextMessage\",…}}")]
    NotAnObject,
    /// It says not what is to be done.
    #[error("a command needs a string `api`; `wehelp api` lists those there are")]
    NoApi,
    /// It says something twice: what the queue goes by and what the client does could differ.
    #[error("the command has the member `{0}` twice; leave one out")]
    Repeated(String),
    /// It is too large.
    #[error("the command has {0} bytes; the longest allowed has {WIRE_BYTES_MAX}")]
    TooLong(usize),
    /// It is nested too deep.
    #[error("the command is nested deeper than {WIRE_DEPTH_MAX} levels")]
    TooDeep,
    /// Something that must be said was not.
    #[error("the {0} is empty; say what to send")]
    Empty(&'static str),
    /// A NUL character ends a text for the client.
    #[error("the {0} has a NUL character; take it out, or the client cuts the rest off")]
    Nul(&'static str),
    /// It is not one word.
    #[error("the {0} is no ticket; give it as `wehelp friend requests` prints it")]
    NoTicket(&'static str),
    /// Each ticket stands in the other's place.
    #[error("v1 and v2 are swapped; give the ticket that begins with v1_ as v1")]
    Swapped,
    /// More ids than one command takes.
    #[error("{0} ids in one command, and the client takes {INFO_IDS_MAX}; split them")]
    TooMany(usize),
    /// The delay was given twice.
    #[error("the command has a `time` already; take it out, or do not give another")]
    Timed,
}
