//! Which events somebody wants (contract 7).

use crate::control::EventsQuery;
use crate::daemon::log::{about::Known, entry, entry::tag, refused::Refused};
use crate::near;
use crate::protocol::event::{Event, Kind};
use crate::store::{Store, Stored};

/// Filters on events (contract 7); all must hold.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    kinds: Option<Vec<Kind>>,
    chat: Option<String>,
    from: Option<String>,
    account: Option<String>,
    text: Option<regex::Regex>,
    is_self: Option<bool>,
    /// Only messages that mean the account, as this directory knows it.
    mentioned: Option<Store>,
}

/// Regular expressions are compiled to at most this many bytes: a pattern comes from the user's own shell, but a typo
/// like `(a{1000}){1000}` must not take the daemon's memory.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl Filter {
    /// Compiles the filters of a query. `account` is the resolved one.
    pub(crate) fn new(query: &EventsQuery, account: Option<String>) -> Result<Self, Refused> {
        Self::of(
            query.kind.as_deref(),
            query.chat.clone(),
            query.from.clone(),
            account,
            query.r#match.as_deref(),
            query.is_self,
        )
    }

    /// Only messages that mean their account, whose names the directory in `store` knows.
    pub(crate) fn mentioning(self, store: &Store) -> Self {
        Self { mentioned: Some(store.clone()), ..self }
    }

    /// Compiles filters.
    pub(crate) fn of(
        kind: Option<&str>,
        chat: Option<String>,
        from: Option<String>,
        account: Option<String>,
        text: Option<&str>,
        is_self: Option<bool>,
    ) -> Result<Self, Refused> {
        let text = match text {
            None => None,
            Some(pattern) => {
                Some(regex::RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build().map_err(Refused::Pattern)?)
            }
        };
        Ok(Self { kinds: kind.map(kinds).transpose()?, chat, from, account, text, is_self, mentioned: None })
    }

    /// What the store can skip blocks by.
    pub(crate) fn tags(&self) -> Vec<Vec<u64>> {
        let mut any_of = Vec::new();
        if let Some(kinds) = &self.kinds {
            any_of.push(kinds.iter().map(|k| tag('k', k.as_str())).collect());
        }
        for (what, value) in [('a', &self.account), ('c', &self.chat), ('f', &self.from)] {
            any_of.extend(value.as_ref().map(|v| vec![tag(what, v)]));
        }
        any_of
    }

    /// Whether everything passes.
    pub(crate) fn is_empty(&self) -> bool {
        self.kinds.is_none()
            && self.chat.is_none()
            && self.from.is_none()
            && self.account.is_none()
            && self.text.is_none()
            && self.is_self.is_none()
            && self.mentioned.is_none()
    }

    /// Whether an event passes.
    pub(crate) fn matches(&self, stored: &Stored) -> bool {
        self.is_empty()
            || entry::outlined(stored, |packed| {
                let Some(packed) = packed else {
                    return self.needs_no_text() && self.passes(Kind::Unparsed, None, None, None, None);
                };
                if !self.passes(packed.kind, packed.account, packed.chat, packed.from, packed.is_self) {
                    return false;
                }
                // Only messages have text; others may be megabytes of contacts.
                self.needs_no_text()
                    || (packed.kind.is_message() && entry::decoded(stored).is_ok_and(|event| self.says(&event)))
            })
    }

    fn needs_no_text(&self) -> bool {
        self.text.is_none() && self.mentioned.is_none()
    }

    /// Whether a message says what is asked for, and to whom.
    fn says(&self, event: &Event) -> bool {
        let says = |pattern: &regex::Regex| event.text.as_deref().is_some_and(|text| pattern.is_match(text));
        self.text.as_ref().is_none_or(says)
            && self.mentioned.as_ref().is_none_or(|store| Known::new(store).mentions(event) == Some(true))
    }

    fn passes(
        &self,
        kind: Kind,
        account: Option<&str>,
        chat: Option<&str>,
        from: Option<&str>,
        is_self: Option<bool>,
    ) -> bool {
        fn is(wanted: &Option<String>, given: Option<&str>) -> bool {
            wanted.as_deref().is_none_or(|w| given == Some(w))
        }
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
            && is(&self.account, account)
            && is(&self.chat, chat)
            && is(&self.from, from)
            // Events that are no messages are nobody's own.
            && self.is_self.is_none_or(|wanted| wanted == is_self.unwrap_or(false))
    }
}

/// The kinds that a comma-separated list of names and globs means; one with `!` in front leaves out what it means. A list
/// that only leaves out is about all kinds.
fn kinds(list: &str) -> Result<Vec<Kind>, Refused> {
    let (mut wanted, mut unwanted) = (None::<Vec<Kind>>, Vec::new());
    for pattern in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        match pattern.strip_prefix('!').map(str::trim_start) {
            Some(pattern) => unwanted.extend(kinds_like(pattern)?),
            None => wanted.get_or_insert_default().extend(kinds_like(pattern)?),
        }
    }
    let mut kinds = match wanted {
        None if !unwanted.is_empty() => Kind::ALL.to_vec(),
        wanted => wanted.unwrap_or_default(),
    };
    kinds.retain(|kind| !unwanted.contains(kind));
    Ok(kinds)
}

/// The kinds that one name or glob means, of which there must be some.
fn kinds_like(pattern: &str) -> Result<Vec<Kind>, Refused> {
    let glob = wildmatch::WildMatch::new(pattern);
    let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| glob.matches(kind.as_str())).collect();
    if !kinds.is_empty() {
        return Ok(kinds);
    }
    let names = Kind::ALL.iter().map(|kind| kind.as_str());
    let groups: Vec<String> = names.clone().filter_map(|name| Some(format!("{}.*", name.split_once('.')?.0))).collect();
    let nearest = near::nearest(pattern, names.chain(groups.iter().map(String::as_str))).map(str::to_owned);
    Err(Refused::NoKind { pattern: pattern.to_owned(), nearest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_with_a_mark_in_front_is_left_out() {
        let all = Kind::ALL.len();
        let texts = |list: &str| kinds(list).unwrap().contains(&Kind::MessageText);
        assert!(!texts("!message.text") && kinds("!message.text").unwrap().len() == all - 1);
        assert!(texts("!message.system, ! login*") && !texts("message.*,!message.text") && !texts("!message.*"));
        assert!(!texts("!message.text,message.*"), "in any order");
        assert_eq!(kinds("message.image,message.text,!message.text").unwrap(), [Kind::MessageImage]);
        assert!(kinds("!mesage.text").unwrap_err().to_string().contains("`mesage.text`"));
    }

    #[test]
    fn a_pattern_may_name_a_script() {
        for pattern in [r"\p{Han}+", r"\p{L}", r"\p{Emoji}", r"(?i)ÄÖ\b"] {
            let query = EventsQuery { r#match: Some(pattern.into()), ..EventsQuery::default() };
            assert!(Filter::new(&query, None).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn only_a_near_kind_is_named_as_the_nearest() {
        let nearest = |kind: &str| match kinds(kind) {
            Err(Refused::NoKind { nearest, .. }) => nearest,
            other => panic!("{other:?}"),
        };
        for (kind, near) in [("mesage.*", "message.*"), ("message.txt", "message.text"), ("!logins", "login")] {
            assert_eq!(nearest(kind).as_deref(), Some(near), "{kind}");
        }
        assert_eq!(nearest("nosuch"), None);
    }

    #[test]
    fn unknown_kinds_and_bad_patterns_are_refused() {
        let refused = |query: EventsQuery| Filter::new(&query, None).unwrap_err();
        let kind = refused(EventsQuery { kind: Some("mesage.text".into()), ..EventsQuery::default() });
        assert!(matches!(kind, Refused::NoKind { .. }), "{kind}");
        let pattern = refused(EventsQuery { r#match: Some("(".into()), ..EventsQuery::default() });
        assert!(matches!(pattern, Refused::Pattern(_)), "{pattern}");
        assert_eq!(pattern.to_string(), "--match is no regular expression: unclosed group");
    }
}
