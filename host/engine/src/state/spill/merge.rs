//! Several spill files become one, in a thread of its own, while the table is used.

use super::budget::StateBudget;
use super::cold::{ColdFile, ColdRows, WantedKey, each_live};
use super::file::{SpillFile, SpillWriter};
use super::page::PAGE_BYTES;
use crate::error::Result;
use crate::failure::Failure;
use crate::fault;
use crate::threads;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

/// Files of a kind of which some are merged.
const FILES_MAX: usize = 12;
/// So many of them, the smallest.
const MERGED: usize = 8;
/// While there are more, nothing else is done.
const FILES_WAIT: usize = 3 * FILES_MAX;
/// Pages of each file that are in memory while they are merged.
const PAGES_AHEAD: usize = 32;

/// What a file that is merged has in memory of its rows at most, about.
const READER_BYTES: u64 = (3 * PAGES_AHEAD * PAGE_BYTES) as u64;

/// A merge that is under way.
#[derive(Debug)]
pub struct Merge {
    of: Vec<Arc<SpillFile>>,
    /// The pages of a checkpoint that it copies, as there is no need to keep these where they are.
    part: Option<Range<usize>>,
    /// As the files it is made of.
    pub changed: bool,
    /// Keys that were taken out of them since it began.
    taken: Vec<(u64, Box<[u8]>)>,
    done: Receiver<Result<SpillFile>>,
    /// What it takes beside: the index and the filter of the new file, the marks of those that it is made of, pages and rows.
    work_bytes: u64,
}

impl Merge {
    /// A key was taken out of a file.
    pub fn taken(&mut self, file: &Arc<SpillFile>, hash: u64, key: &[u8]) {
        let is_last = |part: &Range<usize>| part.end >= file.pages();
        let within = |part: &Range<usize>| {
            file.first_hash(part.start) <= hash && (is_last(part) || hash < file.first_hash(part.end))
        };
        if self.of.iter().any(|of| Arc::ptr_eq(of, file)) && self.part.as_ref().is_none_or(within) {
            self.taken.push((hash, key.into()));
        }
    }

    /// The memory that it takes.
    pub fn memory(&self) -> u64 {
        self.work_bytes + self.taken.iter().map(|(_, key)| key.len() as u64 + 32).sum::<u64>()
    }
}

impl ColdRows {
    /// Puts the file of a merge that is done in the place of those that it is made of, and begins another merge where one is due.
    pub fn merge(&mut self, budget: &Arc<StateBudget>, timed: bool, failure: &Failure) -> Result<()> {
        self.files.retain(|file| file.live() > 0 || self.merge.as_ref().is_some_and(|merge| merge.is_of(&file.file)));
        let waits = self.files.len() > FILES_WAIT;
        let done = self.merge.as_ref().and_then(|merge| merge.look(waits));
        if let (Some(done), true) = (done, self.merge.is_some()) {
            self.install(done?, timed)?;
        }
        if self.merge.is_some() {
            return Ok(());
        }
        let Some(Due { files: due, changed, part }) = self.due(budget) else { return Ok(()) };
        let (sender, done) = sync_channel(1);
        let of = due.iter().map(|file| file.file.clone()).collect();
        let work_bytes = due.iter().map(|file| file.memory() + READER_BYTES.min(file.file.bytes())).sum();
        let pages = part.clone();
        let (budget, job, failing) = (budget.clone(), failure.clone(), failure.clone());
        let failed = move |error| failing.set(error);
        threads::start("millstream-merge", "the thread that merges cold rows", failed, move || {
            let _ = sender.send(merge_files(&due, pages, &budget, job));
        })?;
        self.merge = Some(Merge { of, part, changed, taken: Vec::new(), done, work_bytes });
        Ok(())
    }

    fn install(&mut self, merged: SpillFile, timed: bool) -> Result<()> {
        fault::point("spill.merged");
        let Some(Merge { of, part, changed, mut taken, .. }) = self.merge.take() else { return Ok(()) };
        let is_of = |file: &ColdFile| of.iter().any(|of| Arc::ptr_eq(of, &file.file));
        if let Some(pages) = part {
            self.files.iter_mut().filter(|file| is_of(file)).for_each(|file| file.set_copied(pages.end));
        } else {
            self.files.retain(|file| !is_of(file));
        }
        let mut only = ColdRows::of(vec![ColdFile::new(merged, changed, timed)]);
        taken.sort_unstable();
        let wanted = taken.iter().map(|(hash, key)| WantedKey { hash: *hash, key: Some(key) }).collect();
        only.take(wanted, |_, _| {})?;
        // Those that came last are looked at first: they are the smaller ones, too.
        only.files.append(&mut self.files);
        self.files = only.files;
        Ok(())
    }

    /// What is to be merged next: a file most of whose rows are gone, or the smallest of too many.
    fn due(&self, budget: &StateBudget) -> Option<Due> {
        let emptied = |file: &&ColdFile| file.live() < file.file.rows() / 3 && file.file.checkpoint().is_none();
        if let Some(file) = self.files.iter().find(emptied) {
            return Some(Due { files: vec![file.clone()], changed: file.changed, part: None });
        }
        let too_many = [false, true].into_iter().find_map(|changed| {
            let own = self.files.iter().filter(|file| file.file.checkpoint().is_none());
            let mut of: Vec<&ColdFile> = own.filter(|file| file.changed == changed).collect();
            of.sort_by_key(|file| file.live());
            let rows = |of: &[&ColdFile]| of.iter().map(|file| u64::from(file.live())).sum::<u64>();
            let due = of.get(..MERGED).filter(|due| of.len() > FILES_MAX && rows(due) < u64::from(u32::MAX))?;
            Some(Due { files: due.iter().copied().cloned().collect(), changed, part: None })
        });
        let part = || self.files.iter().filter(|_| !self.is_loading).find_map(|file| part_due(file, budget));
        too_many.or_else(part)
    }
}

/// What is to be merged.
struct Due {
    files: Vec<ColdFile>,
    changed: bool,
    /// See [`Merge::part`].
    part: Option<Range<usize>>,
}

/// Rows that are read where a checkpoint has them are copied into files of this process, some at a time: they are read faster there,
/// and checked before the checkpoint that they are of is gone.
fn part_due(file: &ColdFile, budget: &StateBudget) -> Option<Due> {
    let pages = file.file.checkpoint()?;
    let part = pages.some_from(file.copied(), budget.rows_per_file());
    (!part.is_empty()).then(|| Due { files: vec![file.clone()], changed: file.changed, part: Some(part) })
}

impl Merge {
    fn is_of(&self, file: &Arc<SpillFile>) -> bool {
        self.of.iter().any(|of| Arc::ptr_eq(of, file))
    }

    /// The file, where it is done.
    fn look(&self, wait: bool) -> Option<Result<SpillFile>> {
        match self.done.try_recv() {
            Ok(merged) => Some(merged),
            Err(TryRecvError::Empty) if wait => self.done.recv().ok(),
            // Where the thread is gone the job ends with what it said.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }
}

/// All rows of these files that are there, in one file.
fn merge_files(
    of: &[ColdFile],
    part: Option<Range<usize>>,
    budget: &StateBudget,
    failure: Failure,
) -> Result<SpillFile> {
    let pages = |file: &ColdFile| part.clone().unwrap_or(0..file.file.pages());
    let rows = |file: &ColdFile| file.file.first_row(pages(file).end) - file.file.first_row(pages(file).start);
    let rows = of.iter().map(|file| u64::from(file.live().min(rows(file)))).sum();
    let mut writer = SpillWriter::new(budget, rows, failure)?;
    let mut readers = of.iter().map(|file| RowReader::new(file, pages(file))).collect::<Result<Vec<_>>>()?;
    // There are few files, so each of them is looked at for each row.
    loop {
        let first = readers.iter().enumerate().filter_map(|(at, reader)| Some((reader.order()?, at))).min();
        let Some(reader) = first.map(|(_, at)| at).and_then(|at| readers.get_mut(at)) else { break };
        if let Some((row, hash, touched)) = reader.row() {
            writer.add(row, hash, touched)?;
        }
        reader.next()?;
    }
    writer.finish()
}

/// The rows of a file one after the other: some of them are in memory.
struct RowReader<'a> {
    of: &'a ColdFile,
    /// The pages that are still to be read.
    pages: Range<usize>,
    bytes: Vec<u8>,
    rows: Vec<PlacedRow>,
    /// The first of them that was not given yet.
    at: usize,
}

/// Where a row is among the bytes of a reader.
#[derive(Clone)]
struct PlacedRow {
    hash: u64,
    touched: i64,
    bytes: Range<usize>,
    /// Where its key is, within its bytes.
    key: Range<usize>,
}

impl<'a> RowReader<'a> {
    fn new(of: &'a ColdFile, pages: Range<usize>) -> Result<RowReader<'a>> {
        let mut reader = RowReader { of, pages, bytes: Vec::new(), rows: Vec::new(), at: 0 };
        reader.fill()?;
        Ok(reader)
    }

    /// The order of the next row.
    fn order(&self) -> Option<(u64, &[u8])> {
        let row = self.rows.get(self.at)?;
        Some((row.hash, self.bytes.get(row.bytes.clone())?.get(row.key.clone())?))
    }

    /// The next row: its bytes, its hash, and when its key was touched.
    fn row(&self) -> Option<(&[u8], u64, i64)> {
        let row = self.rows.get(self.at)?;
        Some((self.bytes.get(row.bytes.clone())?, row.hash, row.touched))
    }

    fn next(&mut self) -> Result<()> {
        self.at += 1;
        self.fill()
    }

    fn fill(&mut self) -> Result<()> {
        while self.at >= self.rows.len() && !self.pages.is_empty() {
            let end = (self.pages.start + PAGES_AHEAD).min(self.pages.end);
            self.bytes.clear();
            self.rows.clear();
            self.at = 0;
            let (bytes, rows) = (&mut self.bytes, &mut self.rows);
            each_live(self.of, self.pages.start..end, |_, row| {
                let start = bytes.len();
                bytes.extend_from_slice(row.bytes);
                let key = row.bytes.len() - row.columns.len() - row.key.len();
                let (bytes, key) = (start..bytes.len(), key..key + row.key.len());
                rows.push(PlacedRow { hash: row.hash, touched: row.touched, bytes, key });
                Ok(())
            })?;
            self.pages.start = end;
        }
        Ok(())
    }
}
