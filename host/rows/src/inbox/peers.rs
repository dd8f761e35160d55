//! What the processes of a job report to each other about a source whose partitions are spread over them. They report which partitions each of them
//! reads, and which it has read to their ends, as other partitions may follow these in another process. Each process has a part of the source, so
//! none can know on its own that the source has ended.

use super::{FileMessages, Inbox, InboxContents};
use crate::batch::position::{Position, Positions, SOURCE_END};
use millstream_base::ids::BatchId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a process reports to the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// Partitions that it has begun to read.
    read: Vec<String>,
    /// Partitions that it has read to their ends, whose last rows are in a batch.
    ended: Vec<String>,
    /// That batch is this one or an earlier one.
    cut: u64,
    /// Files of a directory that is spread over processes.
    files: FileMessages,
}

/// The combined reports of the other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeersState {
    /// Some have rows that an earlier startup received, or have not reported that they have none.
    pub leftover: bool,
    /// All of them have nothing more, and nothing that waits.
    pub finished: bool,
    /// All this was true after this batch at the latest.
    pub cut: BatchId,
}

/// The state of the other processes for this source.
#[derive(Default)]
pub(super) struct PeerReaders {
    /// Not sent to them yet.
    news: PartitionReport,
    /// Partitions that they read.
    read: BTreeSet<String>,
    /// Partitions that they have read to their ends, with the batch that this is true for.
    ended: Vec<(BatchId, String)>,
    /// All rows of earlier startups are in batches.
    may_begin: bool,
    /// They have nothing more.
    finished: bool,
}

impl Inbox {
    /// Configures the inbox for a source that is partly received by other processes.
    #[must_use]
    pub fn with_peers(self) -> Inbox {
        self.lock().peers = Some(PeerReaders::default());
        self
    }

    /// Receiver: returns whether all rows that earlier startups left to other processes are in batches, so that nothing that follows them comes
    /// first.
    pub fn may_begin(&self) -> bool {
        self.lock().peers.as_ref().is_none_or(|peers| peers.may_begin)
    }

    /// Receiver: reports that this partition is read here from now on.
    pub fn report_read(&self, partition: &str) {
        self.report(|news| news.read.push(partition.to_owned()));
    }

    /// Receiver: reports that this partition is read to its end, and all of its rows are in batches.
    pub fn report_ended(&self, partition: &str) {
        self.report(|news| news.ended.push(partition.to_owned()));
    }

    fn report(&self, change: impl FnOnce(&mut PartitionReport)) {
        let sent = self.lock().peers.as_mut().map(|peers| change(&mut peers.news));
        sent.into_iter().for_each(|()| (self.wake)());
    }

    /// Receiver: returns whether others have read partitions to their ends that were not returned yet. Their last rows are in a batch that this
    /// process has cut as well.
    pub fn any_ended_elsewhere(&self) -> bool {
        let contents = self.lock();
        contents.peers.iter().flat_map(|peers| &peers.ended).any(|(cut, _)| *cut <= contents.cut)
    }

    /// Receiver: returns these partitions, each once.
    pub fn ended_elsewhere(&self) -> Vec<String> {
        let mut contents = self.lock();
        let InboxContents { peers: Some(peers), cut: own, .. } = &mut *contents else { return Vec::new() };
        let ended: Vec<String> = peers.ended.extract_if(.., |(cut, _)| *cut <= *own).map(|(_, name)| name).collect();
        peers.read.retain(|name| !ended.contains(name));
        ended
    }

    /// Receiver: returns whether another process reads this partition, or any.
    pub fn is_read_elsewhere(&self, partition: Option<&str>) -> bool {
        let contents = self.lock();
        let Some(peers) = &contents.peers else { return false };
        partition.map_or(!peers.read.is_empty(), |partition| peers.read.contains(partition))
    }

    /// Receiver: returns whether no other process has more of the source, according to their reports.
    pub fn peers_have_finished(&self) -> bool {
        self.lock().peers.as_ref().is_none_or(|peers| peers.finished)
    }

    /// Receiver: there is something to read again: a partition is new.
    pub fn go_on(&self) {
        self.lock().finished = false;
        (self.wake)();
    }

    /// Worker: takes what must be sent to the other processes.
    pub fn take_peer_report(&self) -> Option<PartitionReport> {
        let mut contents = self.lock();
        let cut = contents.cut.0;
        let news = std::mem::take(&mut contents.peers.as_mut()?.news);
        let files = contents.files.as_mut().map(|files| std::mem::take(&mut files.news)).unwrap_or_default();
        let is_some = !news.read.is_empty() || !news.ended.is_empty() || !files.is_empty();
        is_some.then_some(PartitionReport { cut, files, ..news })
    }

    /// Worker: applies the report of another process.
    pub fn apply_peer_report(&self, news: PartitionReport) {
        let mut contents = self.lock();
        contents.files.iter_mut().for_each(|files| files.receive(BatchId(news.cut), news.files.clone()));
        let Some(peers) = &mut contents.peers else { return };
        peers.read.extend(news.read);
        peers.ended.extend(news.ended.into_iter().map(|name| (BatchId(news.cut), name)));
    }

    /// Worker: applies the combined reports of all others.
    pub fn set_peers_state(&self, state: PeersState) {
        let mut contents = self.lock();
        let is_known = state.cut <= contents.cut;
        let Some(peers) = &mut contents.peers else { return };
        peers.may_begin |= is_known && !state.leftover;
        // Reports about a batch that is not cut here are not new: they were sent before.
        peers.finished = state.finished && (is_known || peers.finished);
    }
}

impl InboxContents {
    /// Returns whether no other process has more of the source.
    pub(super) fn peers_have_finished(&self) -> bool {
        self.peers.as_ref().is_none_or(|peers| peers.finished)
    }

    /// Withdraws the end of the source if a batch held it and there is more again, here or elsewhere, or if that is unknown.
    pub(super) fn take_end_back(&mut self, moved: &mut Positions) {
        if self.end.taken && !(self.is_empty() && self.peers_have_finished()) {
            self.end.taken = false;
            moved.insert(SOURCE_END.into(), Position::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::TakeLimits;

    fn inbox() -> Inbox {
        Inbox::new(1 << 20, Box::new(|| {})).with_peers()
    }

    const ALL: TakeLimits = TakeLimits { rows: 9, bytes: 9, rows_of_part: 9 };

    #[test]
    fn what_another_process_has_read_to_its_end_counts_when_its_last_batch_is_cut_here() {
        let (there, here) = (inbox(), inbox());
        there.report_read("a");
        there.report_read("b");
        let _ = there.take(BatchId(7), ALL);
        there.report_ended("a");
        here.apply_peer_report(there.take_peer_report().unwrap());
        assert_eq!(there.take_peer_report(), None, "told once");
        let _ = here.take(BatchId(6), ALL);
        assert!(!here.any_ended_elsewhere() && here.ended_elsewhere().is_empty() && here.is_read_elsewhere(Some("a")));
        let _ = here.take(BatchId(7), ALL);
        assert!(here.any_ended_elsewhere());
        assert_eq!(here.ended_elsewhere(), ["a"]);
        assert!(
            here.ended_elsewhere().is_empty() && !here.is_read_elsewhere(Some("a")) && here.is_read_elsewhere(None)
        );
    }

    #[test]
    fn the_end_is_in_a_batch_when_all_have_come_to_it_and_not_any_more_when_one_goes_on() {
        let inbox = inbox();
        inbox.set_end_mark(true, false);
        inbox.finish();
        let state = |leftover, finished, cut| PeersState { leftover, finished, cut: BatchId(cut) };
        inbox.set_peers_state(state(true, false, 0));
        assert!(!inbox.may_begin() && !inbox.state().ready);
        inbox.set_peers_state(state(false, true, 3));
        assert!(!inbox.may_begin() && !inbox.state().ready, "their batch 3 is not cut here");
        let _ = inbox.take(BatchId(3), ALL);
        inbox.set_peers_state(state(false, true, 3));
        assert!(inbox.may_begin() && inbox.state().ready);
        let end = |mark| vec![(SOURCE_END.to_owned(), Position { offset: 0, mark })];
        assert_eq!(inbox.take(BatchId(4), ALL).moved, end(1));
        assert!(!inbox.state().ready);
        inbox.set_peers_state(state(false, false, 4));
        assert_eq!(inbox.take(BatchId(5), ALL).moved, end(0));
        inbox.set_peers_state(state(false, true, 5));
        assert_eq!(inbox.take(BatchId(6), ALL).moved, end(1));
    }
}
