//! Merges several spill files into one, in its own thread, while the table is used.

use super::budget::StateBudget;
use super::cold::{ColdFile, ColdRows, KeyLookup, each_live};
use super::file::{SpillFile, SpillWriter};
use super::merging::Merge;
use super::page::PAGE_BYTES;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::threads;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

/// A merge starts when there are more files of a kind.
const FILES_MAX: usize = 12;
/// The number of files merged, the smallest ones.
const MERGED: usize = 8;
/// Above this number, the table waits for the merge.
const FILES_WAIT: usize = 3 * FILES_MAX;
/// Pages of each file in memory while they are merged.
const PAGES_AHEAD: usize = 32;

/// The nice value of threads that copy rows of a checkpoint: under load, they get a tenth of the CPU time of threads that process rows.
const COPIES_NICE: i32 = 10;

/// Approximate maximum bytes of rows of a file in memory during a merge.
const READER_BYTES: u64 = (3 * PAGES_AHEAD * PAGE_BYTES) as u64;

impl ColdRows {
    /// Replaces merged files by the result of a completed merge, and starts another merge if one is due.
    pub fn merge(&mut self, budget: &Arc<StateBudget>, timed: bool, failure: &Failure) -> Result<()> {
        self.files.retain(|file| file.live() > 0 || self.merge.as_ref().is_some_and(|merge| merge.is_of(&file.file)));
        let waits = self.files.len() - self.of_checkpoint().count() > FILES_WAIT;
        let done = self.merge.as_ref().and_then(|merge| merge.look(waits));
        if let (Some(done), true) = (done, self.merge.is_some()) {
            self.install(done?, timed)?;
        }
        if self.merge.is_some() {
            return Ok(());
        }
        let Some(DueMerge { files: due, changed, part }) = self.find_due(budget) else { return Ok(()) };
        let (sender, done) = sync_channel(1);
        let of = due.iter().map(|file| file.file.clone()).collect();
        let work_bytes = due.iter().map(|file| file.memory() + READER_BYTES.min(file.file.bytes())).sum();
        let hashes = part.clone();
        let (budget, job, failing) = (budget.clone(), failure.clone(), failure.clone());
        let failed = move |error| failing.set(error);
        threads::start("millstream-merge", "the thread that merges cold rows", failed, move || {
            if hashes.is_some() {
                // No one waits for it. If this fails, the thread has normal priority.
                let _ = rustix::process::nice(COPIES_NICE);
            }
            let _ = sender.send(merge_files(&due, hashes, &budget, job));
        })?;
        self.merge = Some(Merge { of, part, changed, taken: Vec::new(), done, work_bytes });
        Ok(())
    }

    fn install(&mut self, merged: SpillFile, timed: bool) -> Result<()> {
        fault::point("spill.merged");
        let Some(Merge { of, part, changed, mut taken, .. }) = self.merge.take() else { return Ok(()) };
        let is_of = |file: &ColdFile| of.iter().any(|of| Arc::ptr_eq(of, &file.file));
        if let Some(hashes) = part {
            self.files.iter_mut().filter(|file| is_of(file)).try_for_each(|file| file.set_copied(&hashes))?;
            self.copied = Some(*hashes.end());
        } else {
            self.files.retain(|file| !is_of(file));
        }
        let mut only = ColdRows::from_files(vec![ColdFile::new(merged, changed, timed)]);
        taken.sort_unstable();
        taken.dedup();
        let lookups = taken.iter().map(|(hash, key)| KeyLookup { hash: *hash, key: Some(key) }).collect();
        only.take(lookups, |_, _| {})?;
        // The newest files are searched first: they are also the smaller ones.
        only.files.append(&mut self.files);
        self.files = only.files;
        Ok(())
    }

    /// Returns the next files to merge: a file most of whose rows were taken, or the smallest of too many.
    fn find_due(&self, budget: &StateBudget) -> Option<DueMerge> {
        let emptied = |file: &&ColdFile| file.live() < file.file.rows() / 3 && file.file.checkpoint().is_none();
        if let Some(file) = self.files.iter().find(emptied) {
            return Some(DueMerge { files: vec![file.clone()], changed: file.changed, part: None });
        }
        let too_many = [false, true].into_iter().find_map(|changed| {
            let own = self.files.iter().filter(|file| file.file.checkpoint().is_none());
            let mut of: Vec<&ColdFile> = own.filter(|file| file.changed == changed).collect();
            of.sort_by_key(|file| file.live());
            let rows = |of: &[&ColdFile]| of.iter().map(|file| u64::from(file.live())).sum::<u64>();
            let due = of.get(..MERGED).filter(|due| of.len() > FILES_MAX && rows(due) < u64::from(u32::MAX))?;
            Some(DueMerge { files: due.iter().copied().cloned().collect(), changed, part: None })
        });
        too_many.or_else(|| if self.is_loading { None } else { self.part_due(budget) })
    }

    /// Returns the next part of rows to copy from files of a checkpoint into a file of this process. Rows are read faster there and are not
    /// duplicated. They are also verified before the checkpoint is deleted.
    fn part_due(&self, budget: &StateBudget) -> Option<DueMerge> {
        let pages = self.of_checkpoint().next()?.file.checkpoint()?;
        let first = self.copied.map_or(Some(0), |copied| copied.checked_add(1))?;
        // Newest first.
        let files = self.of_checkpoint().rev().cloned().collect();
        Some(DueMerge { files, changed: false, part: Some(pages.some_from(first, budget.rows_per_file())) })
    }
}

/// Files that are to be merged.
struct DueMerge {
    files: Vec<ColdFile>,
    changed: bool,
    /// See [`Merge::part`].
    part: Option<RangeInclusive<u64>>,
}

/// Writes all remaining rows of these files into one file. If several have a key, the first of them wins.
fn merge_files(
    of: &[ColdFile],
    part: Option<RangeInclusive<u64>>,
    budget: &StateBudget,
    failure: Failure,
) -> Result<SpillFile> {
    let hashes = part.clone().unwrap_or(0..=u64::MAX);
    let pages = |file: &ColdFile| file.file.pages_within(hashes.clone());
    let rows = |file: &ColdFile| file.file.first_row(pages(file).end) - file.file.first_row(pages(file).start);
    let rows = of.iter().map(|file| u64::from(file.live().min(rows(file)))).sum();
    let mut writer = SpillWriter::new(budget, rows, failure)?;
    let mut readers = of.iter().map(|file| RowReader::new(file, &hashes)).collect::<Result<Vec<_>>>()?;
    let hash_of = |readers: &[RowReader], at: usize| Some(Reverse((readers.get(at)?.order()?.0, at)));
    let mut next: BinaryHeap<_> = (0..readers.len()).filter_map(|at| hash_of(&readers, at)).collect();
    let mut same_hash = Vec::new();
    while let Some(Reverse((hash, at))) = next.pop() {
        same_hash.push(at);
        while let Some(Reverse((_, at))) = next.peek().filter(|Reverse((other, _))| *other == hash) {
            same_hash.push(*at);
            next.pop();
        }
        let mut last: Option<Box<[u8]>> = None;
        while let Some((key, at)) = first_key(&readers, &same_hash, hash) {
            let is_outdated = last.as_deref() == Some(key);
            if same_hash.len() > 1 {
                last = Some(key.into());
            }
            let Some(reader) = readers.get_mut(at) else { break };
            if let (Some((row, hash, touched)), false) = (reader.row(), is_outdated) {
                writer.add(row, hash, touched)?;
            }
            reader.next()?;
        }
        next.extend(same_hash.drain(..).filter_map(|at| hash_of(&readers, at)));
    }
    writer.finish()
}

/// Returns the first of the keys with this hash that some of these readers have next, and the first reader that has it.
fn first_key<'a>(readers: &'a [RowReader<'_>], some: &[usize], hash: u64) -> Option<(&'a [u8], usize)> {
    let keys = some.iter().filter_map(|at| Some((readers.get(*at)?.order()?, *at)));
    keys.filter(|((other, _), _)| *other == hash).map(|((_, key), at)| (key, at)).min()
}

/// Reads the rows of a file in order, with some of them in memory.
struct RowReader<'a> {
    of: &'a ColdFile,
    /// The pages still to be read, and the hashes of the selected rows.
    pages: Range<usize>,
    hashes: &'a RangeInclusive<u64>,
    bytes: Vec<u8>,
    rows: Vec<BufferedRow>,
    /// The first row that was not returned yet.
    at: usize,
}

/// The position of a row in the buffer of a reader.
#[derive(Clone)]
struct BufferedRow {
    hash: u64,
    removed: bool,
    touched: i64,
    bytes: Range<usize>,
    /// The position of its key, within the row.
    key: Range<usize>,
}

impl<'a> RowReader<'a> {
    fn new(of: &'a ColdFile, hashes: &'a RangeInclusive<u64>) -> Result<RowReader<'a>> {
        let pages = of.file.pages_within(hashes.clone());
        let mut reader = RowReader { of, pages, hashes, bytes: Vec::new(), rows: Vec::new(), at: 0 };
        reader.fill()?;
        Ok(reader)
    }

    /// Returns the sort key of the next row.
    fn order(&self) -> Option<(u64, &[u8])> {
        let row = self.rows.get(self.at)?;
        Some((row.hash, self.bytes.get(row.bytes.clone())?.get(row.key.clone())?))
    }

    /// Returns the next row unless it only marks its key as removed: its bytes, its hash, and when its key was touched.
    fn row(&self) -> Option<(&[u8], u64, i64)> {
        let row = self.rows.get(self.at).filter(|row| !row.removed)?;
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
                if !self.hashes.contains(&row.hash) {
                    return Ok(());
                }
                let start = bytes.len();
                bytes.extend_from_slice(row.bytes);
                let key = row.bytes.len() - row.columns.len() - row.key.len();
                let (bytes, key) = (start..bytes.len(), key..key + row.key.len());
                rows.push(BufferedRow { hash: row.hash, removed: row.removed, touched: row.touched, bytes, key });
                Ok(())
            })?;
            self.pages.start = end;
        }
        Ok(())
    }
}
