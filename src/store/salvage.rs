//! Salvage: what can be read of a store that may not open. sled is not needed, and nothing is written.
//!
//! The map is put together in memory: this runs once in a store's life, if ever.

use super::files::fault;
use super::frame::{Record, Records};
use super::journal::{self, HEADER, Item, Scanner};
use super::map::snapshot;
use super::own;
use super::{Error, SalvageReport, Salvaged, Stored};
use crate::key::{OWN, Space};
use crate::seq::Seq;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;

pub(super) fn run(dir: &Path, each: &mut dyn FnMut(Salvaged)) -> Result<SalvageReport, Error> {
    let list = journal::list(dir, "log")?;
    if list.is_empty() {
        return Err(Error::Other(format!("`{}` holds no store: there is no journal in it", dir.display())));
    }
    let mut report = SalvageReport::default();
    let (mut map, applied) = newest_map(dir, &mut report)?;
    // Where the log begins is in the map; it is known only after all changes were read.
    let before = first_of(&map);
    segments(dir, &list, &mut SalvageReport::default(), &mut |lsn, _, payload| {
        for record in Records(payload).filter(|_| lsn > applied) {
            match record {
                Record::Put { key, value } => drop(map.insert(key.to_vec(), value.to_vec())),
                Record::Delete { key } => drop(map.remove(key)),
                Record::Event { .. } => {}
            }
        }
    })?;
    let first = before.max(first_of(&map));
    let mut events = 0;
    segments(dir, &list, &mut report, &mut |_, seq, payload| {
        let payload = Bytes::copy_from_slice(payload);
        let mut seq = seq;
        for record in Records(&payload) {
            let Record::Event { time, outline, body, .. } = record else { continue };
            if seq >= first {
                let (outline, body) = (payload.slice_ref(outline), payload.slice_ref(body));
                each(Salvaged::Event(Stored { seq: Seq(seq), time, outline, body }));
                events += 1;
            }
            seq += 1;
        }
    })?;
    report.events = events;
    for (key, value) in map {
        let Some((space, key)) = key.split_first() else { continue };
        let space = Space::of(*space);
        if space != OWN {
            report.pairs += 1;
            each(Salvaged::Pair(space, key.to_vec(), value));
        }
    }
    Ok(report)
}

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The pairs of the newest snapshot that can be read, and up to which frame they are.
fn newest_map(dir: &Path, report: &mut SalvageReport) -> Result<(Pairs, u64), Error> {
    let mut map = Pairs::new();
    for lsn in journal::list(dir, "map")?.into_iter().rev() {
        let mut pairs = Pairs::new();
        let read = snapshot::read(dir, lsn, &mut |key, value| {
            pairs.insert(key.to_vec(), value.to_vec());
            Ok(())
        });
        match read {
            Ok(snapshot) => return Ok((pairs, snapshot.from)),
            Err(error) => {
                report.damaged.push((snapshot::path(dir, lsn), 0, error.to_string()));
                // What was read of the newest one is better than nothing.
                if map.is_empty() {
                    map = pairs;
                }
            }
        }
    }
    Ok((map, 0))
}

fn first_of(map: &Pairs) -> u64 {
    let stored = map.get(&OWN.full(own::FIRST));
    stored.and_then(|b| own::first_of(b)).map_or(0, |(first, _)| first)
}

/// Every readable frame (its LSN, first position and payload), in order; damage goes into the report.
fn segments(
    dir: &Path,
    list: &[u64],
    report: &mut SalvageReport,
    each: &mut dyn FnMut(u64, u64, &[u8]),
) -> Result<(), Error> {
    for (i, lsn) in list.iter().enumerate() {
        let next = list.get(i + 1).copied().unwrap_or(u64::MAX);
        let path = journal::path(dir, *lsn);
        let mut scanner = match Scanner::open(&path, HEADER) {
            Ok(scanner) => scanner,
            Err(error) => {
                report.damaged.push((path.clone(), 0, fault("open", &path, &error).to_string()));
                continue;
            }
        };
        loop {
            match scanner.next() {
                Ok(None) => break,
                Ok(Some(Item::Frame(head, ..))) if head.lsn >= next => break,
                Ok(Some(Item::Frame(head, _, payload))) => each(head.lsn, head.seq, payload),
                Ok(Some(Item::Damage { at, reason, .. })) => report.damaged.push((path.clone(), at, reason.to_owned())),
                Err(error) => {
                    report.damaged.push((path.clone(), scanner.at(), error.to_string()));
                    break;
                }
            }
        }
    }
    Ok(())
}
