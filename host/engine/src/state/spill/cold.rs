//! The cold rows of a table: several spill files, and which of their rows are still live. A key is in memory or in one file, once. When it is taken
//! out of a file, its row there is marked.
//!
//! Files of the loaded checkpoint may contain a key several times, like levels of a log-structured merge-tree (O'Neil et al., 1996). The row in the
//! newest of them wins, and taking it also marks the others. They are in order of age.

use super::checkpoint_pages::CheckpointPages;
use super::file::{Pages, SpillFile};
use super::merging::Merge;
use super::page::ColdRow;
use millstream_base::error::Result;
use std::collections::HashSet;
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::Arc;

/// Pages read at a time if they are scattered, and if they are adjacent.
const RANDOM_PAGES: usize = 16;
const SIDE_BY_SIDE_PAGES: usize = 64;

/// A key to look up, or all keys with a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyLookup<'a> {
    /// Its hash.
    pub hash: u64,
    /// Its bytes; `None`: all keys with the hash.
    pub key: Option<&'a [u8]>,
}

/// A file, and its live rows.
#[derive(Clone, Debug)]
pub struct ColdFile {
    /// The file.
    pub file: Arc<SpillFile>,
    /// Rows that are no longer live, one bit each.
    taken: Vec<u64>,
    /// The number of live rows.
    live: u32,
    /// Whether no checkpoint has its rows in this form.
    pub changed: bool,
    /// The oldest touch in each page. That row may no longer be live.
    oldest: Vec<i64>,
    oldest_of_all: i64,
}

impl ColdFile {
    /// Wraps a file with all rows live.
    pub fn new(file: SpillFile, changed: bool, timed: bool) -> ColdFile {
        let (rows, oldest) = (file.rows(), if timed { file.oldest().to_vec() } else { Vec::new() });
        let oldest_of_all = oldest.iter().copied().min().unwrap_or(i64::MAX);
        let taken = vec![0; (rows as usize).div_ceil(64)];
        ColdFile { file: Arc::new(file), taken, live: rows, changed, oldest, oldest_of_all }
    }

    /// Wraps files of a checkpoint, with only their valid rows live.
    pub fn of_checkpoint(file: SpillFile, timed: bool) -> Result<ColdFile> {
        let mut cold = ColdFile::new(file, false, timed);
        let file = cold.file.clone();
        for (page, hashes) in file.checkpoint().into_iter().flat_map(CheckpointPages::edges) {
            file.read(page..page + 1)?.each(page, |row, found| {
                if !hashes.contains(&found.hash) {
                    cold.take(row);
                }
                Ok(())
            })?;
        }
        Ok(cold)
    }

    /// Returns the number of live rows.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Returns whether a row is live.
    pub fn is_live(&self, row: u32) -> bool {
        self.taken.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 0)
    }

    fn take(&mut self, row: u32) {
        if let (true, Some(word)) = (self.is_live(row), self.taken.get_mut(row as usize / 64)) {
            *word |= 1 << (row % 64);
            self.live -= 1;
        }
    }

    /// Marks rows with hashes up to the end of this range as copied: they are no longer live.
    pub fn set_copied(&mut self, hashes: &RangeInclusive<u64>) -> Result<()> {
        let (file, pages) = (self.file.clone(), self.file.pages_within(hashes.clone()));
        // The last page may have rows that were not copied.
        let last = pages.end.checked_sub(1).filter(|last| pages.contains(last) && *hashes.end() != u64::MAX);
        let rows = file.first_row(pages.start)..file.first_row(last.unwrap_or(pages.end));
        if let Some(page) = last {
            file.read(page..page + 1)?.each(page, |row, found| {
                if found.hash <= *hashes.end() {
                    self.take(row);
                }
                Ok(())
            })?;
        }
        let mut row = rows.start;
        while row < rows.end {
            let end = rows.end.min((row / 64 + 1) * 64);
            let bits = (u64::MAX >> (64 - (end - row))) << (row % 64);
            if let Some(word) = self.taken.get_mut(row as usize / 64) {
                self.live -= (bits & !*word).count_ones();
                *word |= bits;
            }
            row = end;
        }
        Ok(())
    }

    /// Returns the memory that it takes.
    pub fn memory(&self) -> u64 {
        self.file.memory() + ((self.taken.len() + self.oldest.len()) * 8) as u64
    }
}

/// All cold rows of a table.
#[derive(Debug, Default)]
pub struct ColdRows {
    /// The files.
    pub files: Vec<ColdFile>,
    /// The merge in progress, if any.
    pub merge: Option<Merge>,
    /// A checkpoint is being loaded. Many rows of files may be taken, so no copying starts.
    pub is_loading: bool,
    /// Keys changed after the files of the checkpoint left in place. These may have outdated rows of them.
    changed_keys: ChangedKeys,
    /// Rows of files of the checkpoint have been copied up to this hash.
    pub copied: Option<u64>,
}

/// A key that is looked up in one file after the other.
struct PendingLookup<'a> {
    key: KeyLookup<'a>,
    /// A newer file of the checkpoint has it, so that rows in older ones are outdated.
    is_outdated: bool,
}

/// Concatenated keys.
#[derive(Debug, Default)]
struct ChangedKeys {
    /// The hash and the length of each key.
    keys: Vec<(u64, u32)>,
    bytes: Vec<u8>,
}

impl ChangedKeys {
    fn memory(&self) -> u64 {
        (self.keys.len() * size_of::<(u64, u32)>() + self.bytes.len()) as u64
    }

    /// Returns all of them in order, without duplicates.
    fn lookups(&self) -> Vec<KeyLookup<'_>> {
        let mut rest = self.bytes.as_slice();
        let key = |(hash, length): &(u64, u32)| {
            let key = rest.split_off(..*length as usize).unwrap_or_default();
            KeyLookup { hash: *hash, key: Some(key) }
        };
        let mut lookups: Vec<KeyLookup> = self.keys.iter().map(key).collect();
        lookups.sort_unstable();
        lookups.dedup();
        lookups
    }
}

impl Clone for ColdRows {
    /// Clones the rows. A merge in progress continues for only one of them.
    fn clone(&self) -> ColdRows {
        ColdRows { copied: self.copied, ..ColdRows::from_files(self.files.clone()) }
    }
}

impl ColdRows {
    /// Creates it from these files.
    pub fn from_files(files: Vec<ColdFile>) -> ColdRows {
        ColdRows { files, ..ColdRows::default() }
    }

    /// Returns the number of rows: more than keys, if files of the checkpoint have some of these several times.
    pub fn len(&self) -> u64 {
        self.files.iter().map(|file| u64::from(file.live)).sum()
    }

    /// Returns how many of them are in files of the loaded checkpoint.
    pub fn in_checkpoint(&self) -> u64 {
        self.of_checkpoint().map(|file| u64::from(file.live)).sum()
    }

    /// Returns the files of the loaded checkpoint, oldest first.
    pub fn of_checkpoint(&self) -> impl DoubleEndedIterator<Item = &ColdFile> {
        self.files.iter().filter(|file| file.file.checkpoint().is_some())
    }

    /// Returns how many rows no checkpoint has in this form.
    pub fn changed(&self) -> u64 {
        self.files.iter().filter(|file| file.changed).map(|file| u64::from(file.live)).sum()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns the memory of indexes and filters.
    pub fn memory(&self) -> u64 {
        self.files.iter().map(ColdFile::memory).sum::<u64>() + self.changed_keys.memory()
    }

    /// Returns the length of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.file.bytes()).sum()
    }

    /// Returns the length of the files to read if all rows are scanned, or the changed ones.
    pub fn scan_bytes(&self, changed_only: bool) -> u64 {
        let looked_at = self.files.iter().filter(|file| file.changed || !changed_only);
        looked_at.map(|file| file.file.bytes()).sum()
    }

    /// Returns only the files with rows that no checkpoint has in this form.
    pub fn only_changed(&self) -> ColdRows {
        ColdRows::from_files(self.files.iter().filter(|file| file.changed).cloned().collect())
    }

    /// Returns whether there may be rows whose keys were never touched.
    pub fn has_untouched(&self) -> bool {
        self.files.iter().any(|file| file.oldest_of_all == i64::MIN)
    }

    /// Records that a checkpoint has all rows now.
    pub fn written(&mut self) {
        self.files.iter_mut().for_each(|file| file.changed = false);
        self.merge.iter_mut().for_each(|merge| merge.changed = false);
    }

    /// Removes the rows of these keys, which are in order, as newer ones exist or the keys were removed. While a checkpoint is loaded, keys are
    /// collected up to `memory_max` bytes before their rows are looked up. They are scattered over its files, so each file is read once for many
    /// keys.
    pub fn remove(&mut self, lookups: Vec<KeyLookup<'_>>, memory_max: u64) -> Result<()> {
        if !self.is_loading {
            return self.take(lookups, |_, _| {});
        }
        for KeyLookup { hash, key } in &lookups {
            if self.of_checkpoint().any(|file| file.file.may_have(*hash)) {
                let key = key.unwrap_or_default();
                self.changed_keys.keys.push((*hash, key.len() as u32));
                self.changed_keys.bytes.extend_from_slice(key);
            }
        }
        self.take_of(lookups, |file| file.checkpoint().is_none(), |_, _| {})?;
        if self.changed_keys.memory() > memory_max { self.remove_outdated() } else { Ok(()) }
    }

    /// Removes the outdated rows of changed keys in files of the checkpoint.
    pub fn remove_outdated(&mut self) -> Result<()> {
        let changed = std::mem::take(&mut self.changed_keys);
        self.take_of(changed.lookups(), |file| file.checkpoint().is_some(), |_, _| {})
    }

    /// Takes the rows of these keys, which are in order without duplicates. `found` receives the existing ones, with the file's
    /// [`ColdFile::changed`].
    pub fn take(&mut self, lookups: Vec<KeyLookup<'_>>, found: impl FnMut(bool, ColdRow<'_>)) -> Result<()> {
        self.take_of(lookups, |_| true, found)
    }

    fn take_of(
        &mut self,
        lookups: Vec<KeyLookup<'_>>,
        is_looked_at: impl Fn(&SpillFile) -> bool,
        mut found: impl FnMut(bool, ColdRow<'_>),
    ) -> Result<()> {
        let mut pending: Vec<PendingLookup> =
            lookups.into_iter().map(|key| PendingLookup { key, is_outdated: false }).collect();
        let oldest = self.files.iter().position(|file| file.file.checkpoint().is_some());
        // For lookups by hash: the keys found in newer files of the checkpoint.
        let mut shown = HashSet::new();
        for index in (0..self.files.len()).rev() {
            let Some(ColdFile { file, .. }) = self.files.get(index).filter(|file| is_looked_at(&file.file)) else {
                continue;
            };
            let file = file.clone();
            let (is_of_checkpoint, is_oldest) = (file.checkpoint().is_some(), oldest == Some(index));
            let may_contain = |of: &PendingLookup| (is_of_checkpoint || !of.is_outdated) && file.may_have(of.key.hash);
            let hits: Vec<(usize, Range<usize>)> = pending
                .iter()
                .enumerate()
                .filter(|(_, of)| may_contain(of))
                .map(|(at, of)| (at, file.pages_of(of.key.hash)))
                .collect();
            if hits.is_empty() {
                continue;
            }
            let mut is_taken = vec![false; pending.len()];
            let (shares, together) = group_lookups(&hits);
            file.read_ahead(&together, |number, read| {
                let mut at = 0;
                for (hit, pages) in hits.get(shares.get(number).cloned().unwrap_or_default()).unwrap_or_default() {
                    while read.get(at).is_some_and(|run| run.all().end < pages.end) {
                        at += 1;
                    }
                    let Some(run) = read.get(at) else { continue };
                    let PendingLookup { key, is_outdated } = &pending[*hit];
                    is_taken[*hit] = self.take_row(index, run, pages.clone(), *key, |changed, row| {
                        let is_outdated = *is_outdated || (is_of_checkpoint && shown.contains(row.key));
                        if is_of_checkpoint && !is_oldest && key.key.is_none() {
                            shown.insert(Box::from(row.key));
                        }
                        if !is_outdated && !row.removed {
                            found(changed, row);
                        }
                    })?;
                }
                Ok(ControlFlow::Continue(()))
            })?;
            if is_of_checkpoint && !is_oldest {
                pending.iter_mut().zip(is_taken).for_each(|(of, is_taken)| of.is_outdated |= is_taken);
            } else {
                let mut is_taken = is_taken.into_iter();
                pending.retain(|_| is_taken.next() == Some(false));
            }
        }
        Ok(())
    }

    fn take_row(
        &mut self,
        index: usize,
        run: &Pages<'_>,
        pages: Range<usize>,
        KeyLookup { hash, key }: KeyLookup<'_>,
        mut found: impl FnMut(bool, ColdRow<'_>),
    ) -> Result<bool> {
        let Some(of) = self.files.get_mut(index) else { return Ok(false) };
        for page in pages {
            let taken = run.each_of(page, hash, |number, row| {
                if key.is_some_and(|key| row.key != key) || !of.is_live(number) {
                    return Ok(ControlFlow::Continue(()));
                }
                of.take(number);
                self.merge.iter_mut().for_each(|merge| merge.row_taken(&of.file, hash, row.key));
                found(of.changed, row);
                // A hash may have more rows, in this file and in others.
                Ok(if key.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if taken.is_break() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Calls `show` with all rows in a range of hashes, file by file, in order within each: of all files, or of changed ones. Keys in that range that
    /// several files of the checkpoint have are kept in memory meanwhile.
    pub fn each(
        &self,
        hashes: RangeInclusive<u64>,
        changed_only: bool,
        mut row: impl FnMut(bool, ColdRow<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut left = self.of_checkpoint().count();
        let mut shown: HashSet<Box<[u8]>> = HashSet::new();
        for file in self.files.iter().rev() {
            let is_of_checkpoint = file.file.checkpoint().is_some();
            left -= usize::from(is_of_checkpoint);
            if file.live == 0 || (changed_only && !file.changed) {
                continue;
            }
            each_live(file, file.file.pages_within(hashes.clone()), |_, found| {
                if !hashes.contains(&found.hash) || (is_of_checkpoint && shown.contains(found.key)) {
                    return Ok(());
                }
                if is_of_checkpoint && left > 0 {
                    shown.insert(found.key.into());
                }
                if found.removed { Ok(()) } else { row(file.changed, found) }
            })?;
        }
        Ok(())
    }

    /// Takes the rows whose keys were last touched at `until` or before: all, or those of some pages if there are more than `max`.
    pub fn take_touched(&mut self, until: i64, max: usize, mut found: impl FnMut(bool, ColdRow<'_>)) -> Result<()> {
        let mut count = 0;
        for at in 0..self.files.len() {
            let Some(of) = self.files.get_mut(at).filter(|of| of.oldest_of_all <= until && of.live > 0) else {
                continue;
            };
            let file = of.file.clone();
            let due: Vec<(usize, Range<usize>)> = (0..of.oldest.len())
                .filter(|page| of.oldest[*page] <= until)
                .map(|page| (page, page..page + 1))
                .collect();
            let (_, together) = group_lookups(&due);
            file.read_ahead(&together, |_, read| {
                for (run, page) in read.iter().flat_map(|run| run.all().map(move |page| (run, page))) {
                    let mut oldest = i64::MAX;
                    run.each(page, |number, row| {
                        if !of.is_live(number) {
                        } else if row.touched <= until {
                            of.take(number);
                            self.merge.iter_mut().for_each(|merge| merge.row_taken(&file, row.hash, row.key));
                            found(of.changed, row);
                            count += 1;
                        } else {
                            oldest = oldest.min(row.touched);
                        }
                        Ok(())
                    })?;
                    if let Some(of_page) = of.oldest.get_mut(page) {
                        *of_page = oldest;
                    }
                }
                Ok(if count < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            of.oldest_of_all = of.oldest.iter().copied().min().unwrap_or(i64::MAX);
        }
        Ok(())
    }

    /// Samples the distribution of rows: the hash of the first of some rows of each file's pages, and the number of rows up to the next.
    pub fn spread(&self, mut some: impl FnMut(u64, u64)) {
        const LOOKS_MAX: usize = 4096;
        for file in &self.files {
            let step = file.file.pages().div_ceil(LOOKS_MAX).max(1);
            for page in (0..file.file.pages()).step_by(step) {
                let rows = u64::from(file.file.first_row(page + step).saturating_sub(file.file.first_row(page)));
                let live = rows * u64::from(file.live) / u64::from(file.file.rows()).max(1);
                some(file.file.first_hash(page), live);
            }
        }
    }
}

/// Calls `show` with the live rows of these pages of a file, with their numbers.
pub fn each_live(
    file: &ColdFile,
    pages: Range<usize>,
    mut row: impl FnMut(u32, ColdRow<'_>) -> Result<()>,
) -> Result<()> {
    let mut first = pages.start;
    while first < pages.end {
        let end = (first + SIDE_BY_SIDE_PAGES).min(pages.end);
        let read = file.file.read(first..end)?;
        for page in first..end {
            read.each(page, |number, found| if file.is_live(number) { row(number, found) } else { Ok(()) })?;
        }
        first = end;
    }
    Ok(())
}

/// The index of a lookup, and the pages that its row may be in.
type LookupHit = (usize, Range<usize>);

/// Groups lookups, which are ordered by page, into reads: the lookups of each, and their pages as runs of adjacent pages, without duplicates.
fn group_lookups(hits: &[LookupHit]) -> (Vec<Range<usize>>, Vec<Vec<Range<usize>>>) {
    let (mut shares, mut together) = (Vec::new(), Vec::new());
    let (mut group_lookups, mut first, mut pages): (Vec<Range<usize>>, _, _) = (Vec::new(), 0, 0);
    for (at, (_, range)) in hits.iter().enumerate() {
        if pages >= RANDOM_PAGES {
            shares.push(first..at);
            together.push(std::mem::take(&mut group_lookups));
            (first, pages) = (at, 0);
        }
        match group_lookups.last_mut() {
            Some(last) if range.end <= last.end => {}
            Some(last) if range.start <= last.end && last.len() < SIDE_BY_SIDE_PAGES => {
                pages += range.end - last.end;
                last.end = range.end;
            }
            _ => {
                pages += range.len();
                group_lookups.push(range.clone());
            }
        }
    }
    if first < hits.len() {
        shares.push(first..hits.len());
        together.push(group_lookups);
    }
    (shares, together)
}
