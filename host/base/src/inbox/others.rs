//! What the processes of a job tell each other of a source whose partitions are spread over them: which partitions each of them
//! reads, and which it has read to their ends, as others may follow upon these in another process. Each has a part of the source, so
//! none knows by itself that the source has come to its end.

use super::{FileNews, Inbox, InboxContents};
use crate::batch::position::{Position, Positions, SOURCE_END};
use crate::ids::BatchId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a process has to tell the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionNews {
    /// Partitions that it has begun to read.
    read: Vec<String>,
    /// Those that it has read to their ends, whose last rows are in a batch.
    ended: Vec<String>,
    /// That batch is this one or one before.
    cut: u64,
    /// Of a folder whose files are spread.
    files: FileNews,
}

/// What the other processes have told, all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OthersState {
    /// Some have rows that an earlier start received, or have not said that they have none.
    pub leftover: bool,
    /// All of them have nothing more, and nothing that waits.
    pub finished: bool,
    /// All this was so after this batch at the latest.
    pub cut: BatchId,
}

/// The other processes, as far as they have to do with this source.
#[derive(Default)]
pub(super) struct OtherReaders {
    /// To be told to them.
    news: PartitionNews,
    /// What they read.
    read: BTreeSet<String>,
    /// What they have read to its end, in which batch or before.
    ended: Vec<(BatchId, String)>,
    /// What earlier starts left them is in batches.
    may_begin: bool,
    /// They have nothing more.
    finished: bool,
}

impl Inbox {
    /// The same, of a source of which other processes receive a part as well.
    #[must_use]
    pub fn with_others(self) -> Inbox {
        self.lock().others = Some(OtherReaders::default());
        self
    }

    /// Receiver: whether what earlier starts left to any other process is in batches, so that nothing that follows upon it comes before.
    pub fn may_begin(&self) -> bool {
        self.lock().others.as_ref().is_none_or(|others| others.may_begin)
    }

    /// Receiver: this partition is read here from now on.
    pub fn tell_others_read(&self, partition: &str) {
        self.tell_others(|news| news.read.push(partition.to_owned()));
    }

    /// Receiver: this one is read to its end, and all of its rows are in batches.
    pub fn tell_others_ended(&self, partition: &str) {
        self.tell_others(|news| news.ended.push(partition.to_owned()));
    }

    fn tell_others(&self, tell: impl FnOnce(&mut PartitionNews)) {
        let told = self.lock().others.as_mut().map(|others| tell(&mut others.news));
        told.into_iter().for_each(|()| (self.wake)());
    }

    /// Receiver: whether others have read partitions to their ends of which it was not told. Their last rows are in a batch that this
    /// process has cut as well.
    pub fn some_ended_elsewhere(&self) -> bool {
        let held = self.lock();
        held.others.iter().flat_map(|others| &others.ended).any(|(cut, _)| *cut <= held.cut)
    }

    /// Receiver: these; each once.
    pub fn ended_elsewhere(&self) -> Vec<String> {
        let mut held = self.lock();
        let InboxContents { others: Some(others), cut: own, .. } = &mut *held else { return Vec::new() };
        let ended: Vec<String> = others.ended.extract_if(.., |(cut, _)| *cut <= *own).map(|(_, name)| name).collect();
        others.read.retain(|name| !ended.contains(name));
        ended
    }

    /// Receiver: whether another process reads this partition, or any.
    pub fn is_read_elsewhere(&self, partition: Option<&str>) -> bool {
        let held = self.lock();
        let Some(others) = &held.others else { return false };
        partition.map_or(!others.read.is_empty(), |partition| others.read.contains(partition))
    }

    /// Receiver: whether no other process has more of the source, as far as they have told.
    pub fn others_have_finished(&self) -> bool {
        self.lock().others.as_ref().is_none_or(|others| others.finished)
    }

    /// Receiver: there is something to read after all: a partition is new.
    pub fn go_on(&self) {
        self.lock().finished = false;
        (self.wake)();
    }

    /// Worker: what is to be told to the other processes; once.
    pub fn news_for_others(&self) -> Option<PartitionNews> {
        let mut held = self.lock();
        let cut = held.cut.0;
        let news = std::mem::take(&mut held.others.as_mut()?.news);
        let files = held.files.as_mut().map(|files| std::mem::take(&mut files.news)).unwrap_or_default();
        let is_some = !news.read.is_empty() || !news.ended.is_empty() || !files.is_empty();
        is_some.then_some(PartitionNews { cut, files, ..news })
    }

    /// Worker: another process has told this.
    pub fn hear_others(&self, news: PartitionNews) {
        let mut held = self.lock();
        held.files.iter_mut().for_each(|files| files.hear(BatchId(news.cut), news.files.clone()));
        let Some(others) = &mut held.others else { return };
        others.read.extend(news.read);
        others.ended.extend(news.ended.into_iter().map(|name| (BatchId(news.cut), name)));
    }

    /// Worker: all others have told this by now.
    pub fn others_are(&self, state: OthersState) {
        let mut held = self.lock();
        let is_known = state.cut <= held.cut;
        let Some(others) = &mut held.others else { return };
        others.may_begin |= is_known && !state.leftover;
        // What they say of a batch that is not cut here is no news: they had said it before.
        others.finished = state.finished && (is_known || others.finished);
    }
}

impl InboxContents {
    /// Whether no other process has more of the source.
    pub(super) fn others_have_finished(&self) -> bool {
        self.others.as_ref().is_none_or(|others| others.finished)
    }

    /// A batch had held the end of the source, and there is more all the same, here or elsewhere, or nobody has said yet that there is
    /// not.
    pub(super) fn take_end_back(&mut self, moved: &mut Positions) {
        if self.end.taken && !(self.is_empty() && self.others_have_finished()) {
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
        Inbox::new(1 << 20, Box::new(|| {})).with_others()
    }

    const ALL: TakeLimits = TakeLimits { rows: 9, bytes: 9, rows_of_part: 9 };

    #[test]
    fn what_another_process_has_read_to_its_end_counts_when_its_last_batch_is_cut_here() {
        let (there, here) = (inbox(), inbox());
        there.tell_others_read("a");
        there.tell_others_read("b");
        let _ = there.take(BatchId(7), ALL);
        there.tell_others_ended("a");
        here.hear_others(there.news_for_others().unwrap());
        assert_eq!(there.news_for_others(), None, "told once");
        let _ = here.take(BatchId(6), ALL);
        assert!(!here.some_ended_elsewhere() && here.ended_elsewhere().is_empty() && here.is_read_elsewhere(Some("a")));
        let _ = here.take(BatchId(7), ALL);
        assert!(here.some_ended_elsewhere());
        assert_eq!(here.ended_elsewhere(), ["a"]);
        assert!(
            here.ended_elsewhere().is_empty() && !here.is_read_elsewhere(Some("a")) && here.is_read_elsewhere(None)
        );
    }

    #[test]
    fn the_end_is_in_a_batch_when_all_have_come_to_it_and_not_any_more_when_one_goes_on() {
        let inbox = inbox();
        inbox.tells_end(true, false);
        inbox.finish();
        let state = |leftover, finished, cut| OthersState { leftover, finished, cut: BatchId(cut) };
        inbox.others_are(state(true, false, 0));
        assert!(!inbox.may_begin() && !inbox.state().ready);
        inbox.others_are(state(false, true, 3));
        assert!(!inbox.may_begin() && !inbox.state().ready, "their batch 3 is not cut here");
        let _ = inbox.take(BatchId(3), ALL);
        inbox.others_are(state(false, true, 3));
        assert!(inbox.may_begin() && inbox.state().ready);
        let end = |mark| vec![(SOURCE_END.to_owned(), Position { offset: 0, mark })];
        assert_eq!(inbox.take(BatchId(4), ALL).moved, end(1));
        assert!(!inbox.state().ready);
        inbox.others_are(state(false, false, 4));
        assert_eq!(inbox.take(BatchId(5), ALL).moved, end(0));
        inbox.others_are(state(false, true, 5));
        assert_eq!(inbox.take(BatchId(6), ALL).moved, end(1));
    }
}
