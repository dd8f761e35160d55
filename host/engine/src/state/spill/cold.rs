//! The cold rows of a table: several spill files, and which rows of them are still there. A key is in memory or in one file, and
//! once: who takes it out of a file marks its row there.
//!
//! Files of the checkpoint that was loaded may have a key several times, as levels of a log-structured merge-tree do (O'Neil et al.,
//! 1996): the row in the newest of them counts, and who takes it marks the others, too. They are in the order of their age.

use super::checkpoint_pages::CheckpointPages;
use super::file::{Pages, SpillFile};
use super::merging::Merge;
use super::page::ColdRow;
use millstream_base::error::Result;
use std::collections::HashSet;
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::Arc;

/// Pages that are read at a time where they lie apart, and where they lie side by side.
const RANDOM_PAGES: usize = 16;
const SIDE_BY_SIDE_PAGES: usize = 64;

/// A key that is looked for, or all that have a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedKey<'a> {
    /// Its hash.
    pub hash: u64,
    /// Its bytes; `None`: whatever they are.
    pub key: Option<&'a [u8]>,
}

/// A file, and what is left of it.
#[derive(Clone, Debug)]
pub struct ColdFile {
    /// The file.
    pub file: Arc<SpillFile>,
    /// Rows that are not there any more, a bit each.
    taken: Vec<u64>,
    /// Rows that are there.
    live: u32,
    /// No checkpoint has its rows as they are.
    pub changed: bool,
    /// When the key was touched, of each page, that was touched first. It may be gone since.
    oldest: Vec<i64>,
    oldest_of_all: i64,
}

impl ColdFile {
    /// With all rows.
    pub fn new(file: SpillFile, changed: bool, timed: bool) -> ColdFile {
        let (rows, oldest) = (file.rows(), if timed { file.oldest().to_vec() } else { Vec::new() });
        let oldest_of_all = oldest.iter().copied().min().unwrap_or(i64::MAX);
        let taken = vec![0; (rows as usize).div_ceil(64)];
        ColdFile { file: Arc::new(file), taken, live: rows, changed, oldest, oldest_of_all }
    }

    /// With those rows of files of a checkpoint that count.
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

    /// How many rows are there.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Whether a row is there.
    pub fn is_live(&self, row: u32) -> bool {
        self.taken.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 0)
    }

    fn take(&mut self, row: u32) {
        if let (true, Some(word)) = (self.is_live(row), self.taken.get_mut(row as usize / 64)) {
            *word |= 1 << (row % 64);
            self.live -= 1;
        }
    }

    /// Rows with these hashes were copied elsewhere, as were those with smaller ones: they are not there any more.
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

    /// The memory that it takes.
    pub fn memory(&self) -> u64 {
        self.file.memory() + ((self.taken.len() + self.oldest.len()) * 8) as u64
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct ColdRows {
    /// The files.
    pub files: Vec<ColdFile>,
    /// A merge of some of them that is under way.
    pub merge: Option<Merge>,
    /// Rows of a checkpoint are being loaded. Many that are in files may be taken out of these, so none is copied elsewhere.
    pub is_loading: bool,
    /// Keys of changes behind the files of the checkpoint that stay where they are, which may have rows in these that do not count any
    /// more.
    changed_keys: ChangedKeys,
    /// Rows of files of the checkpoint have been copied elsewhere up to this hash.
    pub copied: Option<u64>,
}

/// A key that is looked for in one file after the other.
struct AskedKey<'a> {
    key: WantedKey<'a>,
    /// A newer file of the checkpoint has it, so that rows in older ones do not count.
    is_outdated: bool,
}

/// Keys one behind the other.
#[derive(Debug, Default)]
struct ChangedKeys {
    /// The hash of each, and its length.
    keys: Vec<(u64, u32)>,
    bytes: Vec<u8>,
}

impl ChangedKeys {
    fn memory(&self) -> u64 {
        (self.keys.len() * size_of::<(u64, u32)>() + self.bytes.len()) as u64
    }

    /// All of them in order, each once.
    fn wanted(&self) -> Vec<WantedKey<'_>> {
        let mut rest = self.bytes.as_slice();
        let key = |(hash, length): &(u64, u32)| {
            let key = rest.split_off(..*length as usize).unwrap_or_default();
            WantedKey { hash: *hash, key: Some(key) }
        };
        let mut wanted: Vec<WantedKey> = self.keys.iter().map(key).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }
}

impl Clone for ColdRows {
    /// The same rows. A merge goes on for one of both.
    fn clone(&self) -> ColdRows {
        ColdRows { copied: self.copied, ..ColdRows::of(self.files.clone()) }
    }
}

impl ColdRows {
    /// Of these files.
    pub fn of(files: Vec<ColdFile>) -> ColdRows {
        ColdRows { files, ..ColdRows::default() }
    }

    /// How many rows there are: more than there are keys, where files of the checkpoint have some of these several times.
    pub fn len(&self) -> u64 {
        self.files.iter().map(|file| u64::from(file.live)).sum()
    }

    /// How many of them are in files of the checkpoint that was loaded.
    pub fn in_checkpoint(&self) -> u64 {
        self.of_checkpoint().map(|file| u64::from(file.live)).sum()
    }

    /// Files of the checkpoint that was loaded, the oldest first.
    pub fn of_checkpoint(&self) -> impl DoubleEndedIterator<Item = &ColdFile> {
        self.files.iter().filter(|file| file.file.checkpoint().is_some())
    }

    /// How many of them no checkpoint has as they are.
    pub fn changed(&self) -> u64 {
        self.files.iter().filter(|file| file.changed).map(|file| u64::from(file.live)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The memory that indexes and filters take.
    pub fn memory(&self) -> u64 {
        self.files.iter().map(ColdFile::memory).sum::<u64>() + self.changed_keys.memory()
    }

    /// The length of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.file.bytes()).sum()
    }

    /// The length of the files that are read where all rows are looked at, or those that changed.
    pub fn bytes_to_look_at(&self, changed_only: bool) -> u64 {
        let looked_at = self.files.iter().filter(|file| file.changed || !changed_only);
        looked_at.map(|file| file.file.bytes()).sum()
    }

    /// Those of which no checkpoint has the rows as they are.
    pub fn only_changed(&self) -> ColdRows {
        ColdRows::of(self.files.iter().filter(|file| file.changed).cloned().collect())
    }

    /// Whether there may be rows whose keys were never touched.
    pub fn has_untouched(&self) -> bool {
        self.files.iter().any(|file| file.oldest_of_all == i64::MIN)
    }

    /// A checkpoint has all rows now.
    pub fn written(&mut self) {
        self.files.iter_mut().for_each(|file| file.changed = false);
        self.merge.iter_mut().for_each(|merge| merge.changed = false);
    }

    /// These keys, which are in order, are stored or removed behind what files have of them. While a checkpoint is loaded, rows in its
    /// files are looked for when keys have come that take so much memory: they may be anywhere there, and so each file is read once
    /// for many.
    pub fn forget(&mut self, wanted: Vec<WantedKey<'_>>, memory_max: u64) -> Result<()> {
        if !self.is_loading {
            return self.take(wanted, |_, _| {});
        }
        for WantedKey { hash, key } in &wanted {
            if self.of_checkpoint().any(|file| file.file.may_have(*hash)) {
                let key = key.unwrap_or_default();
                self.changed_keys.keys.push((*hash, key.len() as u32));
                self.changed_keys.bytes.extend_from_slice(key);
            }
        }
        self.take_of(wanted, |file| file.checkpoint().is_none(), |_, _| {})?;
        if self.changed_keys.memory() > memory_max { self.forget_changed() } else { Ok(()) }
    }

    /// Rows of keys that changed behind files of the checkpoint are not in these any more.
    pub fn forget_changed(&mut self) -> Result<()> {
        let changed = std::mem::take(&mut self.changed_keys);
        self.take_of(changed.wanted(), |file| file.checkpoint().is_some(), |_, _| {})
    }

    /// Takes the rows of these keys, which are in order and each there once: `found` is given those that there are, with the file's
    /// [`ColdFile::changed`].
    pub fn take(&mut self, wanted: Vec<WantedKey<'_>>, found: impl FnMut(bool, ColdRow<'_>)) -> Result<()> {
        self.take_of(wanted, |_| true, found)
    }

    fn take_of(
        &mut self,
        wanted: Vec<WantedKey<'_>>,
        is_looked_at: impl Fn(&SpillFile) -> bool,
        mut found: impl FnMut(bool, ColdRow<'_>),
    ) -> Result<()> {
        let mut asked: Vec<AskedKey> = wanted.into_iter().map(|key| AskedKey { key, is_outdated: false }).collect();
        let oldest = self.files.iter().position(|file| file.file.checkpoint().is_some());
        // Of hashes that are looked for: the keys that newer files of the checkpoint have.
        let mut shown = HashSet::new();
        for place in (0..self.files.len()).rev() {
            let Some(ColdFile { file, .. }) = self.files.get(place).filter(|file| is_looked_at(&file.file)) else {
                continue;
            };
            let file = file.clone();
            let (is_of_checkpoint, is_oldest) = (file.checkpoint().is_some(), oldest == Some(place));
            let is_asked = |of: &AskedKey| (is_of_checkpoint || !of.is_outdated) && file.may_have(of.key.hash);
            let hits: Vec<(usize, Range<usize>)> = asked
                .iter()
                .enumerate()
                .filter(|(_, of)| is_asked(of))
                .map(|(at, of)| (at, file.pages_of(of.key.hash)))
                .collect();
            if hits.is_empty() {
                continue;
            }
            let mut gone = vec![false; asked.len()];
            let (shares, together) = runs(&hits);
            file.read_ahead(&together, |number, read| {
                let mut at = 0;
                for (hit, pages) in hits.get(shares.get(number).cloned().unwrap_or_default()).unwrap_or_default() {
                    while read.get(at).is_some_and(|run| run.all().end < pages.end) {
                        at += 1;
                    }
                    let Some(run) = read.get(at) else { continue };
                    let AskedKey { key, is_outdated } = &asked[*hit];
                    gone[*hit] = self.take_row(place, run, pages.clone(), *key, |changed, row| {
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
                asked.iter_mut().zip(gone).for_each(|(of, gone)| of.is_outdated |= gone);
            } else {
                let mut gone = gone.into_iter();
                asked.retain(|_| gone.next() == Some(false));
            }
        }
        Ok(())
    }

    fn take_row(
        &mut self,
        place: usize,
        run: &Pages<'_>,
        pages: Range<usize>,
        WantedKey { hash, key }: WantedKey<'_>,
        mut found: impl FnMut(bool, ColdRow<'_>),
    ) -> Result<bool> {
        let Some(of) = self.files.get_mut(place) else { return Ok(false) };
        for page in pages {
            let taken = run.each_of(page, hash, |number, row| {
                if key.is_some_and(|key| row.key != key) || !of.is_live(number) {
                    return Ok(ControlFlow::Continue(()));
                }
                of.take(number);
                self.merge.iter_mut().for_each(|merge| merge.taken(&of.file, hash, row.key));
                found(of.changed, row);
                // Of a hash there may be more, here and in other files.
                Ok(if key.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if taken.is_break() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Shows all rows with hashes of a range, file by file, in order within each: those of all files, or of those that changed. Keys
    /// with such hashes that several files of the checkpoint have are in memory meanwhile.
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

    /// Takes the rows whose keys were touched at this time or before: all, or those of some pages where there are more than so many.
    pub fn take_touched(&mut self, until: i64, most: usize, mut found: impl FnMut(bool, ColdRow<'_>)) -> Result<()> {
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
            let (_, together) = runs(&due);
            file.read_ahead(&together, |_, read| {
                for (run, page) in read.iter().flat_map(|run| run.all().map(move |page| (run, page))) {
                    let mut oldest = i64::MAX;
                    run.each(page, |number, row| {
                        if !of.is_live(number) {
                        } else if row.touched <= until {
                            of.take(number);
                            self.merge.iter_mut().for_each(|merge| merge.taken(&file, row.hash, row.key));
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
                Ok(if count < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            of.oldest_of_all = of.oldest.iter().copied().min().unwrap_or(i64::MAX);
        }
        Ok(())
    }

    /// How many rows lie in about which place: the hash of the first of some of each file's pages, and the rows up to the next.
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

/// Shows the rows of these pages of a file that are there, with their numbers.
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

/// A question by its number, and the pages that its row may be in.
type LookupHit = (usize, Range<usize>);

/// What is read together: which of these questions, whose pages are in order, and their pages as runs of those that lie side by
/// side, each page once.
fn runs(hits: &[LookupHit]) -> (Vec<Range<usize>>, Vec<Vec<Range<usize>>>) {
    let (mut shares, mut together) = (Vec::new(), Vec::new());
    let (mut runs, mut first, mut pages): (Vec<Range<usize>>, _, _) = (Vec::new(), 0, 0);
    for (at, (_, range)) in hits.iter().enumerate() {
        if pages >= RANDOM_PAGES {
            shares.push(first..at);
            together.push(std::mem::take(&mut runs));
            (first, pages) = (at, 0);
        }
        match runs.last_mut() {
            Some(last) if range.end <= last.end => {}
            Some(last) if range.start <= last.end && last.len() < SIDE_BY_SIDE_PAGES => {
                pages += range.end - last.end;
                last.end = range.end;
            }
            _ => {
                pages += range.len();
                runs.push(range.clone());
            }
        }
    }
    if first < hits.len() {
        shares.push(first..hits.len());
        together.push(runs);
    }
    (shares, together)
}
