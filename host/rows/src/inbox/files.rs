//! A directory whose files are spread over the processes of a job. One process lists it and says which files to read. Each process reads those that
//! it owns, one after the other, and reports on them.
//!
//! Each file that is being read has its own clock, and all files that were not begun share one. So no existing file is late because another one was
//! read before it. The shared clock is in a batch before any process receives the files. It is removed in a batch after those in which the clocks of
//! the files came. The clock of a file comes before its first row, and is removed with its end.

use super::{Inbox, InboxContents, PartitionRead, QueuedItem};
use crate::batch::chunk::Chunk;
use crate::batch::partition::{FILE_CLOCK_PREFIX, REPORTS_END, Share, file_clock_name};
use crate::batch::position::{Position, Positions};
use millstream_base::ids::BatchId;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Orders from the process that lists a directory to the readers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOrders {
    /// Names of files to read, in this order.
    pub to_read: Vec<String>,
    /// Names of files to drop, before the others are read.
    pub to_forget: Vec<String>,
}

/// Reports of the readers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReports {
    /// Files whose clocks are in a batch.
    pub begun: Vec<String>,
    /// Existing files that batches hold up to their ends.
    pub ended: Vec<(String, Position)>,
    /// Files that did not exist.
    pub missing: Vec<String>,
}

/// What a process sends to the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMessages {
    orders: FileOrders,
    reports: FileReports,
}

impl FileMessages {
    /// Returns whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        *self == FileMessages::default()
    }
}

/// The files of a directory, as far as the processes exchange messages about them.
pub(super) struct SpreadFiles {
    share: Share,
    /// For other processes.
    pub(super) news: FileMessages,
    /// Names for other processes that are sent once the clock reported with them is in a batch; the oldest first.
    held_back: VecDeque<Vec<String>>,
    /// From this process.
    own: FileMessages,
    /// Messages of others, each valid once the given batch of theirs is cut here.
    received: Vec<(BatchId, FileMessages)>,
}

/// The position that reports a clock.
const CLOCK: Position = Position { offset: 0, mark: REPORTS_END };

impl Inbox {
    /// Configures the inbox for a directory whose files are spread over the processes of the job: this one reads that share.
    #[must_use]
    pub fn with_files(self, share: Share) -> Inbox {
        let (news, own) = Default::default();
        let files = SpreadFiles { share, news, held_back: VecDeque::new(), own, received: Vec::new() };
        self.lock().files = Some(files);
        self
    }

    /// Lister: orders these files to be read, each by its owner. `false`: the inbox is closed.
    pub fn order_files(&self, names: Vec<String>) -> bool {
        self.add_now(|contents| {
            contents.push_moves([(FILE_CLOCK_PREFIX.to_owned(), CLOCK)]);
            let Some(files) = &mut contents.files else { return };
            let (own, peers) = names.into_iter().partition(|name| files.share.owns(name));
            files.own.orders.to_read.extend::<Vec<String>>(own);
            files.held_back.push_back(peers);
        })
    }

    /// Lister: reports that all files were begun. `false`: the inbox is closed.
    pub fn report_all_files_begun(&self) -> bool {
        self.remove_clock("")
    }

    /// Lister: drops what is known of these files. `false`: the inbox is closed.
    pub fn drop_peer_files(&self, names: Vec<String>) -> bool {
        if let Some(files) = &mut self.lock().files {
            let (own, peers) = names.into_iter().partition(|name| files.share.owns(name));
            files.own.orders.to_forget.extend::<Vec<String>>(own);
            files.news.orders.to_forget.extend::<Vec<String>>(peers);
        }
        (self.wake)();
        !self.is_closed()
    }

    /// Lister: returns the reports of all processes since the last call.
    pub fn file_reports(&self) -> FileReports {
        let mut contents = self.lock();
        let received = contents.received_messages(true);
        let mut reports =
            contents.files.as_mut().map(|files| std::mem::take(&mut files.own.reports)).unwrap_or_default();
        for news in received {
            reports.begun.extend(news.reports.begun);
            reports.ended.extend(news.reports.ended);
            reports.missing.extend(news.reports.missing);
        }
        reports
    }

    /// Reader: returns the orders for this process since the last call.
    pub fn file_orders(&self) -> FileOrders {
        let mut contents = self.lock();
        let received = contents.received_messages(false);
        let mut orders = contents.files.as_mut().map(|files| std::mem::take(&mut files.own.orders)).unwrap_or_default();
        for news in received {
            orders.to_read.extend(news.orders.to_read);
            orders.to_forget.extend(news.orders.to_forget);
        }
        orders
    }

    /// Reader: the next records are from this file, from this position on. `false`: the inbox is closed.
    pub fn begin_file(&self, name: &str, from: Position) -> bool {
        let read =
            PartitionRead { name: name.to_owned(), next: Some(from.offset), rows: Some(0), ..Default::default() };
        self.report_partition_read(read);
        self.move_positions([(file_clock_name(name), CLOCK)].into_iter())
    }

    /// Reader: reports that this file does not exist. `false`: the inbox is closed.
    pub fn report_missing_file(&self, name: String) -> bool {
        self.report_partition_end(&name);
        let open = self.remove_clock(&name);
        if let Some(files) = &mut self.lock().files {
            files.reports().missing.push(name);
        }
        (self.wake)();
        open
    }

    /// Removes the clock of this file or, without a name, that of the files that were not begun. Causes a batch, as results may have waited for it.
    /// `false`: the inbox is closed.
    fn remove_clock(&self, name: &str) -> bool {
        self.add_now(|contents| {
            contents.push_moves([(file_clock_name(name), Position::GONE)]);
            contents.begin_batch_for_moves();
        })
    }
}

impl SpreadFiles {
    /// Returns whether this process lists the directory.
    fn lists(&self) -> bool {
        self.share.reports_clocks()
    }

    fn reports(&mut self) -> &mut FileReports {
        if self.lists() { &mut self.own.reports } else { &mut self.news.reports }
    }

    /// A batch took a position. Orders that came with it are now sent to the others.
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

    /// Stores a message of another process, as of this batch.
    pub(super) fn receive(&mut self, cut: BatchId, news: FileMessages) {
        let FileMessages { mut orders, reports } = news;
        orders.to_read.retain(|name| self.share.owns(name));
        orders.to_forget.retain(|name| self.share.owns(name));
        let news = match self.lists() {
            true => FileMessages { reports, ..FileMessages::default() },
            false => FileMessages { orders, ..FileMessages::default() },
        };
        if !news.is_empty() {
            self.received.push((cut, news));
        }
    }
}

impl InboxContents {
    /// Returns messages of others about batches that are cut here, for the lister or the reader: no process receives messages of others for both
    /// roles.
    fn received_messages(&mut self, lists: bool) -> Vec<FileMessages> {
        let cut = self.cut;
        let Some(files) = self.files.as_mut().filter(|files| files.lists() == lists) else { return Vec::new() };
        files.received.extract_if(.., |(of, _)| *of <= cut).map(|(_, news)| news).collect()
    }

    /// Adds moved positions after all that waits.
    pub(super) fn push_moves(&mut self, moves: impl IntoIterator<Item = (String, Position)>) {
        self.seal();
        moves.into_iter().for_each(|(name, position)| self.push_file_end(name, position));
        if self.files.is_some() {
            self.begin_batch_for_moves();
        }
    }

    /// Causes a batch for waiting positions at the end that have no rows.
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

    /// Reports these received records.
    pub(super) fn report_file_read(&mut self, chunk: &Chunk) {
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

    /// Returns the inbox for a directory of one of two processes.
    fn inbox(process: usize) -> Inbox {
        Inbox::new(1 << 20, Box::new(|| {})).with_peers().with_files(Share::new(process, 2))
    }

    fn name_of(process: usize) -> String {
        (0..).map(|number| format!("{number}.csv")).find(|name| Share::new(process, 2).owns(name)).unwrap()
    }

    fn take(inbox: &Inbox, batch: u64) -> TakenRecords {
        inbox.take(BatchId(batch), TakeLimits::new(9, 9))
    }

    fn names(taken: TakenRecords) -> Vec<(String, bool)> {
        taken.moved.into_iter().map(|(name, position)| (name, position == Position::GONE)).collect()
    }

    fn deliver(from: &Inbox, to: &Inbox) {
        from.take_peer_report().into_iter().for_each(|news| to.apply_peer_report(news));
    }

    const END: Position = Position { offset: 7, mark: 7 };

    #[test]
    fn a_process_hears_of_files_when_their_clock_is_in_a_batch_and_who_lists_when_their_own_are() {
        let (lists, reads) = (inbox(0), inbox(1));
        let (own, other) = (name_of(0), name_of(1));
        let hold = |position| (FILE_CLOCK_PREFIX.to_owned(), position);
        assert!(lists.order_files(vec![other.clone(), own.clone()]));
        assert_eq!(lists.file_orders().to_read, [own.as_str()]);
        deliver(&lists, &reads);
        assert_eq!(reads.file_orders(), FileOrders::default(), "no batch has the clock");
        assert!(lists.state().ready, "which is something for a batch");
        assert_eq!(names(take(&lists, 4)), [hold(false)]);
        deliver(&lists, &reads);
        assert_eq!(reads.file_orders(), FileOrders::default(), "that batch is not cut here");
        take(&reads, 4);
        assert_eq!(reads.file_orders().to_read, [other.as_str()]);
        assert!(reads.begin_file(&other, Position::default()));
        assert!(!reads.state().ready, "the clock goes with the rows");
        let row = Chunk { bytes: Bytes::from_static(b"a\n"), ends: vec![2], ..Chunk::default() };
        let row = Chunk { extent: crate::batch::position::Extent { file: other.clone(), ..Default::default() }, ..row };
        assert!(reads.put(row).now_or_never().unwrap());
        take(&reads, 5);
        deliver(&reads, &lists);
        assert_eq!(lists.file_reports(), FileReports::default(), "batch 5 is not cut here");
        take(&lists, 5);
        assert_eq!(lists.file_reports().begun, [other.as_str()]);
        assert!(reads.put_last(None, other.clone(), END).now_or_never().unwrap());
        assert!(reads.state().ready, "windows may wait for it");
        assert_eq!(names(take(&reads, 6)), [(file_clock_name(&other), true), (other.clone(), false)]);
        deliver(&reads, &lists);
        take(&lists, 6);
        assert_eq!(lists.file_orders(), FileOrders::default(), "who reads there takes nothing away");
        assert_eq!(lists.file_reports().ended, [(other.clone(), END)]);
        assert!(lists.report_all_files_begun());
        assert_eq!(names(take(&lists, 7)), [hold(true)]);
        // A file that does not exist, and one to drop.
        assert!(reads.report_missing_file(other.clone()) && lists.drop_peer_files(vec![other.clone(), own.clone()]));
        deliver(&reads, &lists);
        deliver(&lists, &reads);
        take(&lists, 8);
        take(&reads, 8);
        assert_eq!(lists.file_reports().missing, [other.as_str()]);
        assert_eq!((lists.file_orders().to_forget, reads.file_orders().to_forget), (vec![own], vec![other]));
    }

    #[test]
    fn positions_without_rows_behind_the_end_of_a_batch_are_a_reason_for_one_more() {
        let inbox = inbox(0);
        let name = name_of(0);
        assert!(inbox.order_files(vec![name.clone()]) && inbox.begin_file(&name, Position::default()));
        assert!(inbox.put_last(None, name.clone(), END).now_or_never().unwrap());
        assert_eq!(names(take(&inbox, 1)), [(FILE_CLOCK_PREFIX.to_owned(), false)]);
        assert!(inbox.state().ready);
        assert_eq!(names(take(&inbox, 2)), [(file_clock_name(&name), true), (name, false)]);
        assert!(!inbox.state().ready);
    }
}
