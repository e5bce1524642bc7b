//! A page of the map: a run of neighbouring pairs, in one item of sled.
//!
//! sled takes its locks, copies a leaf's vectors and writes a fragment for each item that changes, some 10 µs whatever
//! the item's size. The map's pairs are small, and what changes together lies together, so a page of some dozens is
//! read, changed and written at once. A page is
//!
//! ```text
//! key length (u16) · value length (u16) · key · value        … in order of the keys
//! key length (u16) · 65535 · key · id (u64) · count (u32)    when the value lies in chunks
//! ```
//!
//! with numbers in little endian.

use crate::codec::{LeReader, LeWriter};

/// A page that grows beyond this is split; a pair larger than it has a page of its own.
pub(super) const PAGE_BYTES: usize = 4 << 10;
const CHUNKED: u16 = u16::MAX;
const HEAD: usize = 4;

/// A value, as it lies in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Whole(&'a [u8]),
    /// In this many chunks, under this id.
    Chunks(u64, u32),
}

impl Value<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Chunks(..) => 12,
        }
    }
}

/// A full key with its value.
pub(super) type Entry<'a> = (&'a [u8], Value<'a>);

/// Nothing here is not as it was written, unless sled gives what it was not given: its checksums should have told.
fn broken() -> sled::Error {
    sled::Error::ReportableBug("a page of the map cannot be read".to_owned())
}

/// The entries of a page, in order.
#[derive(Debug, Clone)]
pub(super) struct Entries<'a>(pub(super) &'a [u8]);

impl<'a> Entries<'a> {
    fn take(&mut self) -> Option<Entry<'a>> {
        let mut from = LeReader(self.0);
        let (key_len, kind) = (from.u16()?, from.u16()?);
        let key = from.bytes(key_len.into())?;
        let value = if kind == CHUNKED {
            Value::Chunks(from.u64()?, from.u32()?)
        } else {
            Value::Whole(from.bytes(kind.into())?)
        };
        self.0 = from.0;
        Some((key, value))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = sled::Result<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.take();
        if entry.is_none() {
            self.0 = &[];
        }
        Some(entry.ok_or_else(broken))
    }
}

/// The value of a key, if the page has it.
pub(super) fn find<'a>(page: &'a [u8], key: &[u8]) -> sled::Result<Option<Value<'a>>> {
    for entry in Entries(page) {
        let (at, value) = entry?;
        if at >= key {
            return Ok((at == key).then_some(value));
        }
    }
    Ok(None)
}

fn len_of((key, value): &Entry<'_>) -> usize {
    HEAD + key.len() + value.len()
}

fn encode(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut page = Vec::with_capacity(entries.iter().map(len_of).sum());
    for (key, value) in entries {
        page.u16(u16::try_from(key.len()).unwrap_or(u16::MAX));
        match value {
            Value::Whole(bytes) => {
                page.u16(u16::try_from(bytes.len()).unwrap_or(CHUNKED));
                page.bytes(key);
                page.bytes(bytes);
            }
            Value::Chunks(id, count) => {
                page.u16(CHUNKED);
                page.bytes(key);
                page.u64(*id);
                page.u32(*count);
            }
        }
    }
    page
}

/// Makes pages of these entries: the first key of each, and the page. When they were `appended` the pages are filled,
/// since more will come at the end; else all have room for what will come between.
pub(super) fn split<'a>(entries: &[Entry<'a>], appended: bool) -> Vec<(&'a [u8], Vec<u8>)> {
    let total: usize = entries.iter().map(len_of).sum();
    let full = if appended { PAGE_BYTES } else { total.div_ceil(total.div_ceil(PAGE_BYTES).max(1)) };
    let mut pages = Vec::new();
    let mut rest = entries;
    while let Some((first, _)) = rest.first() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|entry| {
            let before = bytes;
            bytes += len_of(entry);
            // Without `appended` the middle of the entry that crosses the border decides where it goes.
            if appended { bytes <= full } else { (before + bytes) / 2 <= full && bytes <= 2 * PAGE_BYTES }
        });
        let (page, after) = rest.split_at(fits.count().max(1));
        pages.push((*first, encode(page)));
        rest = after;
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(page: &[u8]) -> Vec<Entry<'_>> {
        Entries(page).map(Result::unwrap).collect()
    }

    #[test]
    fn a_page_gives_back_what_was_put_into_it() {
        let long = vec![7; PAGE_BYTES];
        let all = [
            (&b""[..], Value::Whole(&b"the empty key"[..])),
            (b"a", Value::Whole(b"")),
            (b"b", Value::Chunks(u64::MAX, 9)),
            (b"c", Value::Whole(&long)),
        ];
        let page = encode(&all);
        assert_eq!(entries(&page), all);
        for (key, value) in all {
            assert_eq!(find(&page, key).unwrap(), Some(value));
        }
        assert_eq!(find(&page, b"aa").unwrap(), None);
        assert_eq!(find(&page, b"d").unwrap(), None);
    }

    #[test]
    fn a_page_that_is_cut_is_an_error_and_no_panic() {
        let page = encode(&[(b"key", Value::Whole(b"value")), (b"late", Value::Chunks(1, 2))]);
        for cut in 1..page.len() {
            let found: Vec<_> = Entries(&page[..cut]).collect();
            let whole = found.iter().filter(|entry| entry.is_ok()).count();
            assert!(found.len() > whole || cut == HEAD + 8, "{cut}: {found:?}");
        }
    }

    #[test]
    fn pages_are_filled_at_the_end_and_leave_room_elsewhere() {
        let keys: Vec<[u8; 2]> = (0..405_u16).map(u16::to_be_bytes).collect();
        let value = [0; 94];
        let all: Vec<Entry<'_>> = keys.iter().map(|key| (&key[..], Value::Whole(&value))).collect();
        for appended in [true, false] {
            let pages = split(&all, appended);
            let back: Vec<_> = pages.iter().flat_map(|(_, page)| entries(page)).collect();
            assert_eq!(back, all);
            for (first, page) in &pages {
                assert_eq!(entries(page)[0].0, *first);
                assert!(page.len() <= PAGE_BYTES + 100, "{}", page.len());
            }
            let least = pages.iter().map(|(_, page)| page.len()).min().unwrap();
            assert_eq!(least > PAGE_BYTES / 2, !appended, "{least}");
        }
        assert_eq!(split(&all[..1], false).len(), 1);
        assert!(split(&[], true).is_empty());
    }
}
