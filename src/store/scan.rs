//! Scans: pairs of a range, one after the other, in order or reversed.
//!
//! Promises: a scan reads [`PAGE`] pairs at a time, or as many as are wanted of it at most ([`take`](Scan::take)); those of
//! one page are of one moment. Each pair that is there all the time comes once.

use super::{Error, Pair};
use crate::key::{self, Keys, Space};
use std::ops::Range;

/// The writer waits for a look at this many.
const PAGE: usize = 500;

/// What can be scanned.
pub trait Pages {
    /// What a scan of it gives.
    type Item;
    /// Pairs with full keys in this range, at most `limit`, in order or reversed.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn page(&self, keys: &Range<Vec<u8>>, limit: usize, reverse: bool) -> Result<Vec<Pair>, Error>;
    /// What it gives for a pair, or for a page that could not be read.
    fn item(&self, pair: Result<Pair, Error>) -> Option<Self::Item>;
}

/// A scan of a range of keys: an iterator over pairs, without the space in their keys.
#[derive(Debug)]
#[must_use]
pub struct Scan<S> {
    source: S,
    /// What is still to be read.
    keys: Range<Vec<u8>>,
    left: usize,
    reverse: bool,
    page: std::vec::IntoIter<Pair>,
}

impl<S: Pages> Scan<S> {
    pub(super) fn new(source: S, space: Space, keys: &Keys) -> Self {
        Self { source, keys: keys.of(space), left: usize::MAX, reverse: false, page: Vec::new().into_iter() }
    }

    /// The last ones first.
    pub fn rev(mut self) -> Self {
        self.reverse = !self.reverse;
        self
    }

    /// At most this many, and no more are read.
    pub fn take(mut self, most: usize) -> Self {
        self.left = self.left.min(most);
        self
    }

    fn read(&mut self) -> Result<(), Error> {
        let wanted = self.left.min(PAGE);
        let page = self.source.page(&self.keys, wanted, self.reverse)?;
        self.left = if page.len() < wanted { 0 } else { self.left - page.len() };
        match page.last() {
            Some((last, _)) if self.reverse => self.keys.end.clone_from(last),
            Some((last, _)) => self.keys.start = key::next(last),
            None => {}
        }
        self.page = page.into_iter();
        Ok(())
    }
}

impl<S: Pages> Iterator for Scan<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        if self.page.len() == 0
            && self.left > 0
            && let Err(error) = self.read()
        {
            self.left = 0;
            return self.source.item(Err(error));
        }
        let (mut key, value) = self.page.next()?;
        key.remove(0);
        self.source.item(Ok((key, value)))
    }
}
