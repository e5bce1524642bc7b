//! Which event's command may run next: those of one chat in order, those of different chats side by side. Pure.

use crate::seq::Seq;
use std::collections::{BTreeMap, HashSet};

/// Events read and not yet done, at most: what a crash may repeat when one chat is slow.
const EVENTS_MAX: usize = 1000;
/// The bytes of them, at most; a single larger one is let in.
const BYTES_MAX: usize = 16 << 20;

/// An event whose command is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) seq: Seq,
    /// Events with the same lane run one after the other. `None`: events of no chat.
    pub(super) lane: Option<String>,
    /// What the command is given.
    pub(super) json: Box<[u8]>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plan {
    waiting: BTreeMap<Seq, Task>,
    running: BTreeMap<Seq, Option<String>>,
    /// Lanes with a running command.
    busy: HashSet<Option<String>>,
    bytes: usize,
    read_to: Seq,
    failed: Option<Seq>,
}

impl Plan {
    pub(super) fn new(after: Seq) -> Self {
        Self { read_to: after, ..Self::default() }
    }

    /// Takes an event in.
    pub(super) fn add(&mut self, task: Task) {
        self.read_to = self.read_to.max(task.seq);
        self.bytes += task.json.len();
        self.waiting.insert(task.seq, task);
    }

    /// Nothing up to here has to be run but what was added.
    pub(super) fn read(&mut self, seq: Seq) {
        self.read_to = self.read_to.max(seq);
    }

    /// Whether more events may be added.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() + self.running.len() < EVENTS_MAX && self.bytes < BYTES_MAX
    }

    /// How many are running.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Nothing waits, nothing runs.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// The oldest event that may run now.
    pub(super) fn start(&mut self) -> Option<Task> {
        let seq = self.waiting.iter().find(|(_, task)| !self.busy.contains(&task.lane)).map(|(seq, _)| *seq)?;
        let task = self.waiting.remove(&seq)?;
        self.bytes -= task.json.len();
        self.busy.insert(task.lane.clone());
        self.running.insert(seq, task.lane.clone());
        Some(task)
    }

    /// An event's command has done its work.
    pub(super) fn finish(&mut self, seq: Seq) {
        if let Some(lane) = self.running.remove(&seq) {
            self.busy.remove(&lane);
        }
    }

    /// An event's command has failed for good: it runs no more, and what is done ends before it.
    pub(super) fn fail(&mut self, seq: Seq) {
        self.finish(seq);
        self.failed = Some(self.failed.map_or(seq, |failed| failed.min(seq)));
    }

    /// Up to where everything is done.
    pub(super) fn done(&self) -> Seq {
        let first = self.waiting.keys().next().into_iter().chain(self.running.keys().next());
        let first = first.chain(self.failed.as_ref()).min();
        first.map_or(self.read_to, |first| Seq(first.0 - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(seq: u64, lane: Option<&str>) -> Task {
        Task { seq: Seq(seq), lane: lane.map(str::to_owned), json: Box::from(&b"{}"[..]) }
    }

    fn started(plan: &mut Plan) -> Option<u64> {
        plan.start().map(|task| task.seq.0)
    }

    #[test]
    fn chats_run_side_by_side_and_each_in_order() {
        let mut plan = Plan::new(Seq(3));
        assert_eq!(plan.done(), Seq(3));
        for (seq, lane) in [(5, Some("a")), (6, Some("a")), (7, Some("b")), (8, None), (9, None)] {
            plan.add(task(seq, lane));
        }
        plan.read(Seq(12));
        assert_eq!(plan.done(), Seq(4));
        assert_eq!([started(&mut plan), started(&mut plan), started(&mut plan)], [Some(5), Some(7), Some(8)]);
        assert_eq!(started(&mut plan), None, "6 waits for 5, and 9 for 8");
        plan.finish(Seq(7));
        assert_eq!(plan.done(), Seq(4), "5 still runs");
        plan.finish(Seq(5));
        assert_eq!(plan.done(), Seq(5));
        assert_eq!(started(&mut plan), Some(6));
        plan.finish(Seq(6));
        assert_eq!(plan.done(), Seq(7));
        plan.finish(Seq(8));
        assert_eq!(started(&mut plan), Some(9));
        plan.finish(Seq(9));
        assert!(plan.is_empty());
        assert_eq!(plan.done(), Seq(12));
    }

    #[test]
    fn what_failed_is_never_passed() {
        let mut plan = Plan::new(Seq::ZERO);
        for (seq, lane) in [(1, "a"), (2, "b"), (3, "c")] {
            plan.add(task(seq, Some(lane)));
            plan.start();
        }
        plan.fail(Seq(2));
        plan.finish(Seq(1));
        plan.finish(Seq(3));
        assert_eq!(plan.running(), 0);
        assert_eq!(plan.done(), Seq(1));
    }

    #[test]
    fn there_is_an_end_to_what_is_read_ahead() {
        let mut plan = Plan::new(Seq::ZERO);
        let mut seq = 0;
        while plan.has_room() {
            seq += 1;
            plan.add(task(seq, Some("a")));
        }
        assert_eq!(seq, EVENTS_MAX as u64);
        plan.start();
        assert!(!plan.has_room(), "one that runs counts too");
        plan.finish(Seq(1));
        assert!(plan.has_room());
    }
}
