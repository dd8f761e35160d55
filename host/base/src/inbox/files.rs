//! A folder whose files are spread over the processes of a job. One process lists it and says which files are to be read; each reads
//! those that it owns, one after the other, and says what became of them.
//!
//! Each file that is being read has a clock of its own, and so have all together that nobody has begun, so that no file which was there
//! is late because another one was read before it. The clock of these is in a batch before any process hears of the files, and goes in
//! a batch behind those in which the clocks of the files came. The clock of a file comes before its first row, and goes with its end.

use super::{Inbox, InboxContents, PartitionRead, QueuedItem};
use crate::batch::chunk::Chunk;
use crate::batch::partition::{FILE_CLOCK_PREFIX, Share, TELLS_END, file_clock_name};
use crate::batch::position::{Position, Positions};
use crate::ids::BatchId;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What who lists a folder says to those who read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOrders {
    /// Names of files that are to be read, in this order.
    pub to_read: Vec<String>,
    /// Names of which nothing need be known any more; before the others are read.
    pub to_forget: Vec<String>,
}

/// What those who read say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReports {
    /// Files whose clocks are in a batch.
    pub begun: Vec<String>,
    /// Files that batches have to their ends, which are there.
    pub ended: Vec<(String, Position)>,
    /// Files that were not there.
    pub missing: Vec<String>,
}

/// What a process has to tell the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNews {
    orders: FileOrders,
    reports: FileReports,
}

impl FileNews {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == FileNews::default()
    }
}

/// The files of a folder, as far as the processes tell each other of them.
pub(super) struct SpreadFiles {
    share: Share,
    /// For other processes.
    pub(super) news: FileNews,
    /// Names for other processes that they hear when the clock which was told with them is in a batch; the oldest first.
    held_back: VecDeque<Vec<String>>,
    /// From this process.
    own: FileNews,
    /// What others have told, which counts when this batch of theirs is cut here.
    heard: Vec<(BatchId, FileNews)>,
}

/// The position that tells of a clock.
const CLOCK: Position = Position { offset: 0, mark: TELLS_END };

impl Inbox {
    /// The same, of a folder whose files are spread over the processes of the job: this one reads that share.
    #[must_use]
    pub fn with_files(self, share: Share) -> Inbox {
        let (news, own) = Default::default();
        let files = SpreadFiles { share, news, held_back: VecDeque::new(), own, heard: Vec::new() };
        self.lock().files = Some(files);
        self
    }

    /// Who lists: these files are to be read, each by who owns it. `false`: the inbox is closed.
    pub fn order_files(&self, names: Vec<String>) -> bool {
        self.add_now(|held| {
            held.push_moves([(FILE_CLOCK_PREFIX.to_owned(), CLOCK)]);
            let Some(files) = &mut held.files else { return };
            let (own, others) = names.into_iter().partition(|name| files.share.owns(name));
            files.own.orders.to_read.extend::<Vec<String>>(own);
            files.held_back.push_back(others);
        })
    }

    /// Who lists: there is no file that nobody has begun. `false`: the inbox is closed.
    pub fn all_files_are_begun(&self) -> bool {
        self.drop_clock("")
    }

    /// Who lists: nothing need be known of these files. `false`: the inbox is closed.
    pub fn forget_files(&self, names: Vec<String>) -> bool {
        if let Some(files) = &mut self.lock().files {
            let (own, others) = names.into_iter().partition(|name| files.share.owns(name));
            files.own.orders.to_forget.extend::<Vec<String>>(own);
            files.news.orders.to_forget.extend::<Vec<String>>(others);
        }
        (self.wake)();
        !self.is_closed()
    }

    /// Who lists: what was told since it was asked last, by all processes.
    pub fn file_reports(&self) -> FileReports {
        let mut held = self.lock();
        let heard = held.heard_of_files(true);
        let mut reports = held.files.as_mut().map(|files| std::mem::take(&mut files.own.reports)).unwrap_or_default();
        for news in heard {
            reports.begun.extend(news.reports.begun);
            reports.ended.extend(news.reports.ended);
            reports.missing.extend(news.reports.missing);
        }
        reports
    }

    /// Who reads: the same of what is to be done here.
    pub fn file_orders(&self) -> FileOrders {
        let mut held = self.lock();
        let heard = held.heard_of_files(false);
        let mut orders = held.files.as_mut().map(|files| std::mem::take(&mut files.own.orders)).unwrap_or_default();
        for news in heard {
            orders.to_read.extend(news.orders.to_read);
            orders.to_forget.extend(news.orders.to_forget);
        }
        orders
    }

    /// Who reads: what comes next is of this file, from there on. `false`: the inbox is closed.
    pub fn begins_file(&self, name: &str, from: Position) -> bool {
        let read =
            PartitionRead { name: name.to_owned(), next: Some(from.offset), rows: Some(0), ..Default::default() };
        self.tell_one_read(read);
        self.move_positions([(file_clock_name(name), CLOCK)].into_iter())
    }

    /// Who reads: this file is not there. `false`: the inbox is closed.
    pub fn file_is_missing(&self, name: String) -> bool {
        self.tell_all_read(&name);
        let open = self.drop_clock(&name);
        if let Some(files) = &mut self.lock().files {
            files.reports().missing.push(name);
        }
        (self.wake)();
        open
    }

    /// This file, or without a name those that nobody has begun, has no clock any more; as results may have waited for it, there is a batch
    /// for that. `false`: the inbox is closed.
    fn drop_clock(&self, name: &str) -> bool {
        self.add_now(|held| {
            held.push_moves([(file_clock_name(name), Position::GONE)]);
            held.begin_batch_for_moves();
        })
    }
}

impl SpreadFiles {
    /// Whether the folder is listed here.
    fn lists(&self) -> bool {
        self.share.tells_clocks()
    }

    fn reports(&mut self) -> &mut FileReports {
        if self.lists() { &mut self.own.reports } else { &mut self.news.reports }
    }

    /// A position was taken by a batch. Orders that came with it are told to the others now.
    pub(super) fn popped(&mut self, name: &str, position: Position) {
        if name == FILE_CLOCK_PREFIX && position != Position::GONE {
            self.news.orders.to_read.extend(self.held_back.pop_front().unwrap_or_default());
        }
    }

    /// A batch moved these positions.
    pub(super) fn moved(&mut self, moved: &Positions) {
        for (name, position) in moved.iter().filter(|(_, position)| **position != Position::GONE) {
            match name.strip_prefix(FILE_CLOCK_PREFIX) {
                Some("") => {}
                Some(file) => self.reports().begun.push(file.to_owned()),
                None if position.ended() => self.reports().ended.push((name.clone(), *position)),
                None => {}
            }
        }
    }

    /// Another process has told this, as of this batch.
    pub(super) fn hear(&mut self, cut: BatchId, news: FileNews) {
        let FileNews { mut orders, reports } = news;
        orders.to_read.retain(|name| self.share.owns(name));
        orders.to_forget.retain(|name| self.share.owns(name));
        let news = match self.lists() {
            true => FileNews { reports, ..FileNews::default() },
            false => FileNews { orders, ..FileNews::default() },
        };
        if !news.is_empty() {
            self.heard.push((cut, news));
        }
    }
}

impl InboxContents {
    /// What others have told of batches that are cut here, for who lists or for who reads: in no process others tell both something.
    fn heard_of_files(&mut self, lists: bool) -> Vec<FileNews> {
        let cut = self.cut;
        let Some(files) = self.files.as_mut().filter(|files| files.lists() == lists) else { return Vec::new() };
        files.heard.extract_if(.., |(of, _)| *of <= cut).map(|(_, news)| news).collect()
    }

    /// Moves positions behind all that waits.
    pub(super) fn push_moves(&mut self, moves: impl IntoIterator<Item = (String, Position)>) {
        self.seal();
        moves.into_iter().for_each(|(name, position)| self.push_file_end(name, position));
        if self.files.is_some() {
            self.begin_batch_for_moves();
        }
    }

    /// Where positions that wait at the end come with no rows they are a reason for a batch.
    pub(super) fn begin_batch_for_moves(&mut self) {
        let mut of_batch = self.waiting.iter().rev().take_while(|item| !matches!(item, QueuedItem::BatchEnd(_)));
        if of_batch.all(|item| matches!(item, QueuedItem::FileEnd { .. })) {
            self.push_batch_end(None);
        }
    }

    /// All of a file came before, up to its end.
    pub(super) fn end_file(&mut self, file: String, end: Position) {
        self.seal();
        let clock = file_clock_name(&file);
        self.partitions.retain(|known| self.files.is_none() || known.name != file);
        self.push_file_end(file, end);
        if self.files.is_some() {
            self.push_file_end(clock, Position::GONE);
            self.begin_batch_for_moves();
        }
    }

    /// These records came.
    pub(super) fn tell_file_read(&mut self, chunk: &Chunk) {
        let extent = &chunk.extent;
        let known = self.partitions.iter_mut().filter(|_| self.files.is_some());
        for known in known.filter(|known| known.name == extent.file) {
            known.next = Some(extent.start.saturating_add(extent.length()));
            known.rows = known.rows.map(|rows| rows.saturating_add(chunk.rows() as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{TakeLimits, TakenRecords};
    use bytes::Bytes;
    use futures_util::FutureExt as _;

    /// What a process has of a folder, of two.
    fn inbox(process: usize) -> Inbox {
        Inbox::new(1 << 20, Box::new(|| {})).with_others().with_files(Share::of(process, 2))
    }

    fn name_of(process: usize) -> String {
        (0..).map(|number| format!("{number}.csv")).find(|name| Share::of(process, 2).owns(name)).unwrap()
    }

    fn take(inbox: &Inbox, batch: u64) -> TakenRecords {
        inbox.take(BatchId(batch), TakeLimits::of(9, 9))
    }

    fn names(taken: TakenRecords) -> Vec<(String, bool)> {
        taken.moved.into_iter().map(|(name, position)| (name, position == Position::GONE)).collect()
    }

    fn tell(from: &Inbox, to: &Inbox) {
        from.news_for_others().into_iter().for_each(|news| to.hear_others(news));
    }

    const END: Position = Position { offset: 7, mark: 7 };

    #[test]
    fn a_process_hears_of_files_when_their_clock_is_in_a_batch_and_who_lists_when_their_own_are() {
        let (lists, reads) = (inbox(0), inbox(1));
        let (own, other) = (name_of(0), name_of(1));
        let hold = |gone| (FILE_CLOCK_PREFIX.to_owned(), gone);
        assert!(lists.order_files(vec![other.clone(), own.clone()]));
        assert_eq!(lists.file_orders().to_read, [own.as_str()]);
        tell(&lists, &reads);
        assert_eq!(reads.file_orders(), FileOrders::default(), "no batch has the clock");
        assert!(lists.state().ready, "which is something for a batch");
        assert_eq!(names(take(&lists, 4)), [hold(false)]);
        tell(&lists, &reads);
        assert_eq!(reads.file_orders(), FileOrders::default(), "that batch is not cut here");
        take(&reads, 4);
        assert_eq!(reads.file_orders().to_read, [other.as_str()]);
        assert!(reads.begins_file(&other, Position::default()));
        assert!(!reads.state().ready, "the clock goes with the rows");
        let row = Chunk { bytes: Bytes::from_static(b"a\n"), ends: vec![2], ..Chunk::default() };
        let row = Chunk { extent: crate::batch::position::Extent { file: other.clone(), ..Default::default() }, ..row };
        assert!(reads.put(row).now_or_never().unwrap());
        take(&reads, 5);
        tell(&reads, &lists);
        assert_eq!(lists.file_reports(), FileReports::default(), "batch 5 is not cut here");
        take(&lists, 5);
        assert_eq!(lists.file_reports().begun, [other.as_str()]);
        assert!(reads.put_last(None, other.clone(), END).now_or_never().unwrap());
        assert!(reads.state().ready, "windows may wait for it");
        assert_eq!(names(take(&reads, 6)), [(file_clock_name(&other), true), (other.clone(), false)]);
        tell(&reads, &lists);
        take(&lists, 6);
        assert_eq!(lists.file_orders(), FileOrders::default(), "who reads there takes nothing away");
        assert_eq!(lists.file_reports().ended, [(other.clone(), END)]);
        assert!(lists.all_files_are_begun());
        assert_eq!(names(take(&lists, 7)), [hold(true)]);
        // A file that is not there, and one to be forgotten.
        assert!(reads.file_is_missing(other.clone()) && lists.forget_files(vec![other.clone(), own.clone()]));
        tell(&reads, &lists);
        tell(&lists, &reads);
        take(&lists, 8);
        take(&reads, 8);
        assert_eq!(lists.file_reports().missing, [other.as_str()]);
        assert_eq!((lists.file_orders().to_forget, reads.file_orders().to_forget), (vec![own], vec![other]));
    }

    #[test]
    fn positions_without_rows_behind_the_end_of_a_batch_are_a_reason_for_one_more() {
        let inbox = inbox(0);
        let name = name_of(0);
        assert!(inbox.order_files(vec![name.clone()]) && inbox.begins_file(&name, Position::default()));
        assert!(inbox.put_last(None, name.clone(), END).now_or_never().unwrap());
        assert_eq!(names(take(&inbox, 1)), [(FILE_CLOCK_PREFIX.to_owned(), false)]);
        assert!(inbox.state().ready);
        assert_eq!(names(take(&inbox, 2)), [(file_clock_name(&name), true), (name, false)]);
        assert!(!inbox.state().ready);
    }
}
