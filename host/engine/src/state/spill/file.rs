//! Spill files: rows in the order of the hashes of their keys, in pages, with an index and a filter in memory. A file has no name in its directory,
//! so that nothing is left of it however the process exits.

use super::budget::StateBudget;
use super::checkpoint_pages::{CheckpointPages, FileGroups};
use super::page::{self, ColdRow, PAGE_BYTES, PageBuilder};
use crate::checkpoint::cached_read;
use crate::checkpoint::filter::Filter;
use crate::state::file_rows::FileRows;
use crate::state::row_form::RowForm;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::retry::{StoreError, io_failed, retry_transient};
use millstream_base::threads;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

/// Bytes per write.
const WRITE_BYTES: usize = 1 << 20;
/// Page positions are counted in [`PAGE_BYTES`], in 32 bits.
const FILE_BYTES_MAX: u64 = (u32::MAX as u64) * PAGE_BYTES as u64;
/// Maximum number of reads started in advance.
const AHEAD_MAX: usize = 12;

/// The position of a page.
#[derive(Clone, Copy, Debug)]
struct PageEntry {
    first_hash: u64,
    /// In [`PAGE_BYTES`] from the beginning of the file.
    start: u32,
    /// The number of its first row.
    first_row: u32,
}

/// A complete file, or several used as one. Immutable.
#[derive(Debug)]
pub struct SpillFile {
    source: PageSource,
    dir: PathBuf,
    pages: Vec<PageEntry>,
    /// The start of the first page, and the end of the last, as in [`PageEntry::start`].
    start: u32,
    end: u32,
    rows: u32,
    /// The oldest touch in each page.
    oldest: Vec<i64>,
}

/// The source of pages.
#[derive(Debug)]
enum PageSource {
    /// A file of this process, which may contain several spill files.
    Own { file: Arc<File>, id: u64, filter: Filter },
    /// Files of the checkpoint that was loaded.
    Checkpoint(CheckpointPages),
}

/// Creates a file without a name if the file system supports that (`O_TMPFILE`), so that a killed process leaves nothing behind.
pub fn open(dir: &Path) -> Result<File, StoreError> {
    let failed = |error| io_failed(format!("create a file for cold rows of state in {}", dir.display()), &error);
    fs::create_dir_all(dir).map_err(failed)?;
    tempfile::tempfile_in(dir).map_err(failed)
}

impl SpillFile {
    /// Combines files of a checkpoint into one. Fails if they have too many rows for that.
    pub fn of_checkpoint(files: Vec<FileGroups>, form: RowForm, dir: &Path) -> Result<SpillFile> {
        let checkpoint = CheckpointPages::new(files, form);
        let (mut pages, mut oldest, mut rows) = (Vec::new(), Vec::new(), 0u32);
        for page in checkpoint.pages() {
            pages.push(PageEntry { first_hash: page.first_hash, start: 0, first_row: rows });
            // If the time is in the rows themselves, it is unknown before they are read.
            oldest.push(if checkpoint.form().has_touched() { page.oldest } else { i64::MIN });
            rows = rows.checked_add(page.rows).ok_or_else(|| too_large(dir))?;
        }
        let source = PageSource::Checkpoint(checkpoint);
        Ok(SpillFile { source, dir: dir.to_owned(), pages, start: 0, end: 0, rows, oldest })
    }

    /// Returns the pages of the loaded checkpoint, if it consists of these.
    pub fn checkpoint(&self) -> Option<&CheckpointPages> {
        match &self.source {
            PageSource::Checkpoint(pages) => Some(pages),
            PageSource::Own { .. } => None,
        }
    }

    /// Returns the number of rows with which it was written.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Returns the number of pages.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Returns its length.
    pub fn bytes(&self) -> u64 {
        match &self.source {
            PageSource::Own { .. } => u64::from(self.end - self.start) * PAGE_BYTES as u64,
            PageSource::Checkpoint(pages) => pages.bytes(),
        }
    }

    /// Returns the memory that it takes.
    pub fn memory(&self) -> u64 {
        let more = match &self.source {
            PageSource::Own { filter, .. } => filter.bytes(),
            PageSource::Checkpoint(pages) => pages.memory(),
        };
        (self.pages.len() * (size_of::<PageEntry>() + size_of::<i64>())) as u64 + more
    }

    /// Returns the position after it in the same system file, if another may be written there: file handles are limited.
    pub fn next_position(&self) -> Option<FilePosition> {
        match &self.source {
            PageSource::Own { file, .. } => Some(FilePosition { file: file.clone(), start: self.end }),
            PageSource::Checkpoint(_) => None,
        }
    }

    /// Returns whether it may contain a key with this hash.
    pub fn may_have(&self, hash: u64) -> bool {
        match &self.source {
            PageSource::Own { filter, .. } => filter.may_have(hash),
            PageSource::Checkpoint(pages) => pages.may_have(hash),
        }
    }

    /// Returns the time of each page, see [`SpillWriter::add`].
    pub fn oldest(&self) -> &[i64] {
        &self.oldest
    }

    /// Returns the number of the first row of a page.
    pub fn first_row(&self, page: usize) -> u32 {
        self.pages.get(page).map_or(self.rows, |page| page.first_row)
    }

    /// Returns the hash of the first key of a page.
    pub fn first_hash(&self, page: usize) -> u64 {
        self.pages.get(page).map_or(u64::MAX, |page| page.first_hash)
    }

    /// Returns the pages that contain keys with this hash, if any.
    pub fn pages_of(&self, hash: u64) -> Range<usize> {
        self.pages_within(hash..=hash)
    }

    /// Returns the pages that contain keys with these hashes.
    pub fn pages_within(&self, hashes: std::ops::RangeInclusive<u64>) -> Range<usize> {
        // Keys with the first hash of a page may begin in the previous one.
        let start = self.pages.partition_point(|page| page.first_hash < *hashes.start()).saturating_sub(1);
        let end = self.pages.partition_point(|page| page.first_hash <= *hashes.end());
        start..end.max(start)
    }

    /// Reads adjacent pages, and verifies them.
    pub fn read(&self, pages: Range<usize>) -> Result<Pages<'_>> {
        let (file, id) = match &self.source {
            PageSource::Own { file, id, .. } => (file, *id),
            PageSource::Checkpoint(of) => {
                let rows = ReadRows::Checkpoint(of.form(), of.read(pages.clone())?);
                return Ok(Pages { of: self, pages, rows });
            }
        };
        let (mut bytes, at) = self.room_for(&pages);
        let read = file.read_exact_at(&mut bytes, at);
        read.map_err(|error| self.damaged(pages.start, &format!("it cannot be read: {error}")))?;
        self.checked(id, pages, bytes)
    }

    /// Reads runs of pages if the system has all of them in memory.
    fn read_cached(&self, runs: &[Range<usize>]) -> Result<Option<Vec<Pages<'_>>>> {
        let mut all = Vec::with_capacity(runs.len());
        for pages in runs {
            all.push(match &self.source {
                PageSource::Own { file, id, .. } => {
                    let (mut bytes, at) = self.room_for(pages);
                    if !cached_read::read(file, &mut bytes, at) {
                        return Ok(None);
                    }
                    self.checked(*id, pages.clone(), bytes)?
                }
                PageSource::Checkpoint(of) => {
                    let Some(rows) = of.read_cached(pages)? else { return Ok(None) };
                    Pages { of: self, pages: pages.clone(), rows: ReadRows::Checkpoint(of.form(), rows) }
                }
            });
        }
        Ok(Some(all))
    }

    /// Returns a buffer for these pages, and their position in the file.
    fn room_for(&self, pages: &Range<usize>) -> (Vec<u8>, u64) {
        let start = self.start_of(pages.start);
        (vec![0; self.start_of(pages.end).saturating_sub(start) * PAGE_BYTES], (start * PAGE_BYTES) as u64)
    }

    /// Returns where a page begins, in [`PAGE_BYTES`] from the beginning of the file.
    fn start_of(&self, page: usize) -> usize {
        self.pages.get(page).map_or(self.end, |page| page.start) as usize
    }

    /// Returns the bytes of one page in the bytes of several.
    fn bytes_of<'a>(&self, page: usize, of: &Range<usize>, bytes: &'a [u8]) -> &'a [u8] {
        let at = |page: usize| self.start_of(page).saturating_sub(self.start_of(of.start)) * PAGE_BYTES;
        bytes.get(at(page)..at(page + 1)).unwrap_or_default()
    }

    fn checked(&self, id: u64, pages: Range<usize>, bytes: Vec<u8>) -> Result<Pages<'_>> {
        for page in pages.clone() {
            if !page::is_intact(self.bytes_of(page, &pages, &bytes), seed(id, page)) {
                return Err(self.damaged(page, "its checksum is wrong"));
            }
        }
        Ok(Pages { of: self, pages, rows: ReadRows::Own(bytes) })
    }

    /// Reads runs of pages, some at a time, and passes them to `work` in order, with the index of each read, until it stops. Meanwhile the next runs
    /// are read if that requires the disk: each by its own thread, a few at a time.
    pub fn read_ahead(
        &self,
        together: &[Vec<Range<usize>>],
        mut work: impl FnMut(usize, &[Pages<'_>]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let read = |runs: &[Range<usize>]| runs.iter().map(|run| self.read(run.clone())).collect::<Result<Vec<_>>>();
        thread::scope(|scope| {
            // Handing over cached data would take longer than reading it.
            let begin = |runs: &Vec<Range<usize>>| match self.read_cached(runs).transpose() {
                Some(pages) => ReadAhead::Done(pages),
                None if together.len() == 1 => ReadAhead::Done(read(runs)),
                None => {
                    let reader = thread::Builder::new().name("millstream-cold".into());
                    let runs = runs.clone();
                    reader.spawn_scoped(scope, move || read(&runs)).map_or(ReadAhead::Later, ReadAhead::Begun)
                }
            };
            let (mut rest, mut ahead) = (together.iter(), VecDeque::new());
            for (number, runs) in together.iter().enumerate() {
                ahead.extend(rest.by_ref().take(AHEAD_MAX - ahead.len()).map(begin));
                let pages = match ahead.pop_front() {
                    Some(ReadAhead::Done(pages)) => pages,
                    Some(ReadAhead::Begun(reader)) => reader
                        .join()
                        .unwrap_or_else(|panic| Err(threads::panicked("a thread that read cold rows", &*panic))),
                    Some(ReadAhead::Later) | None => read(runs),
                };
                if work(number, &pages?)?.is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Returns an error for a page.
    pub fn damaged(&self, page: usize, why: &str) -> Error {
        Error::environment(format!(
            "cold rows of state in {}: page {page} of a file is damaged: {why}. It was not used; check the disk, and \
             restart the job: it resumes from its last checkpoint",
            self.dir.display()
        ))
    }
}

/// Pages read together in advance.
enum ReadAhead<'scope, 'a> {
    Done(Result<Vec<Pages<'a>>>),
    Begun(ScopedJoinHandle<'scope, Result<Vec<Pages<'a>>>>),
    /// Read on use, as no more threads can be created.
    Later,
}

/// Returns the checksum seed of a page, so that a page written elsewhere, or into another file, is not accepted.
fn seed(file: u64, page: usize) -> u64 {
    file.wrapping_add(page as u64)
}

/// Pages that were read.
pub struct Pages<'a> {
    of: &'a SpillFile,
    pages: Range<usize>,
    rows: ReadRows<'a>,
}

/// The rows of pages.
enum ReadRows<'a> {
    /// The bytes of all of them.
    Own(Vec<u8>),
    /// The rows of each, and how to convert them into rows of a spill file.
    Checkpoint(&'a RowForm, Vec<FileRows>),
}

impl Pages<'_> {
    /// Returns the range of pages.
    pub fn all(&self) -> Range<usize> {
        self.pages.clone()
    }

    /// Calls `show` with the rows of a page and their numbers.
    pub fn each(&self, page: usize, mut show: impl FnMut(u32, ColdRow<'_>) -> Result<()>) -> Result<()> {
        let show = |number, row: ColdRow<'_>| show(number, row).map(|()| ControlFlow::<()>::Continue(()));
        self.each_from(page, 0, u64::MAX, show).map(drop)
    }

    /// Does the same with the rows whose keys have this hash, until `show` stops.
    pub fn each_of<T>(
        &self,
        page: usize,
        hash: u64,
        show: impl FnMut(u32, ColdRow<'_>) -> Result<ControlFlow<T>>,
    ) -> Result<ControlFlow<T>> {
        self.each_from(page, hash, hash, show)
    }

    fn each_from<T>(
        &self,
        page: usize,
        first: u64,
        last: u64,
        mut show: impl FnMut(u32, ColdRow<'_>) -> Result<ControlFlow<T>>,
    ) -> Result<ControlFlow<T>> {
        let first_row = self.of.first_row(page);
        match &self.rows {
            ReadRows::Own(bytes) => {
                for (row_index, row) in page::rows_from(self.of.bytes_of(page, &self.pages, bytes), first) {
                    let row = row.ok_or_else(|| self.of.damaged(page, "its rows cannot be distinguished"))?;
                    if row.hash > last {
                        break;
                    }
                    let flow = show(first_row.saturating_add(row_index), row)?;
                    if flow.is_break() {
                        return Ok(flow);
                    }
                }
                Ok(ControlFlow::Continue(()))
            }
            ReadRows::Checkpoint(form, pages) => {
                let rows = pages.get(page.saturating_sub(self.pages.start));
                let rows = rows.ok_or_else(|| Error::bug("a page that was not read"))?;
                let start = rows.hashes().partition_point(|hash| hash.0 < first);
                let end = rows.hashes().partition_point(|hash| hash.0 <= last);
                form.each_row(rows, start..end.max(start), |row, cold| show(first_row.saturating_add(row as u32), cold))
            }
        }
    }
}

/// The start of a spill file, in [`PAGE_BYTES`] from the beginning of the system file.
#[derive(Clone)]
pub struct FilePosition {
    file: Arc<File>,
    start: u32,
}

impl FilePosition {
    /// Returns the beginning of a system file.
    pub fn new(file: File) -> FilePosition {
        FilePosition { file: Arc::new(file), start: 0 }
    }
}

/// Writes a file.
pub struct SpillWriter {
    position: FilePosition,
    id: u64,
    dir: PathBuf,
    failure: Failure,
    page: PageBuilder,
    pages: Vec<PageEntry>,
    oldest: Vec<i64>,
    rows: u32,
    filter: Filter,
    /// Pages that are not written yet, and their position.
    out: Vec<u8>,
    written: u64,
}

impl SpillWriter {
    /// Creates a writer for at most this many rows, in its own system file.
    pub fn new(budget: &StateBudget, rows: u64, failure: Failure) -> Result<SpillWriter> {
        let file = retry_transient(&failure, || open(budget.dir()))?;
        fault::point("spill.made");
        Ok(SpillWriter::at(FilePosition::new(file), budget, rows, failure))
    }

    /// Creates a writer at this position.
    pub fn at(position: FilePosition, budget: &StateBudget, rows: u64, failure: Failure) -> SpillWriter {
        let written = u64::from(position.start) * PAGE_BYTES as u64;
        SpillWriter {
            position,
            id: RandomState::new().hash_one(rows),
            dir: budget.dir().to_owned(),
            failure,
            page: PageBuilder::default(),
            pages: Vec::new(),
            oldest: Vec::new(),
            rows: 0,
            filter: Filter::new(rows, budget.bytes_max()),
            out: Vec::with_capacity(WRITE_BYTES + PAGE_BYTES),
            written,
        }
    }

    /// Adds the next row, as encoded by [`page::put_row`]. `touched`: when its key was touched.
    pub fn add(&mut self, row: &[u8], hash: u64, touched: i64) -> Result<()> {
        if !self.page.fits(row.len()) {
            self.end_page()?;
        }
        if self.page.is_empty() {
            let start = (self.written + self.out.len() as u64) / PAGE_BYTES as u64;
            let start = u32::try_from(start).map_err(|_| self.too_large())?;
            self.pages.push(PageEntry { first_hash: hash, start, first_row: self.rows });
            self.oldest.push(i64::MAX);
        }
        if let Some(oldest) = self.oldest.last_mut() {
            *oldest = (*oldest).min(touched);
        }
        self.page.add(row);
        self.filter.add(hash);
        self.rows = self.rows.checked_add(1).ok_or_else(|| self.too_large())?;
        Ok(())
    }

    /// Returns the file with all rows.
    pub fn finish(mut self) -> Result<SpillFile> {
        self.end_page()?;
        self.flush()?;
        fault::point("spill.written");
        let SpillWriter { position, id, dir, mut pages, mut oldest, rows, filter, written, .. } = self;
        pages.shrink_to_fit();
        oldest.shrink_to_fit();
        let (FilePosition { file, start }, end) = (position, (written / PAGE_BYTES as u64) as u32);
        Ok(SpillFile { source: PageSource::Own { file, id, filter }, dir, pages, start, end, rows, oldest })
    }

    fn end_page(&mut self) -> Result<()> {
        if let (false, Some(last)) = (self.page.is_empty(), self.pages.len().checked_sub(1)) {
            self.page.put(seed(self.id, last), &mut self.out);
        }
        if self.written + self.out.len() as u64 > FILE_BYTES_MAX {
            return Err(self.too_large());
        }
        if self.out.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let failed = |error| io_failed(format!("write cold rows of state in {}", self.dir.display()), &error);
        retry_transient(&self.failure, || self.position.file.write_all_at(&self.out, self.written).map_err(failed))?;
        fault::point("spill.page");
        self.written += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    fn too_large(&self) -> Error {
        too_large(&self.dir)
    }
}

fn too_large(dir: &Path) -> Error {
    Error::environment(format!("cold rows of state in {}: a file would be too large", dir.display()))
}

#[cfg(test)]
impl SpillFile {
    /// Returns all bytes of the file.
    pub fn all_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes() as usize];
        let PageSource::Own { file, .. } = &self.source else { panic!("it is of a checkpoint") };
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// Returns the same with another underlying file.
    pub fn with_file(&self, file: File) -> SpillFile {
        let SpillFile { source, dir, pages, start, end, rows, oldest } = self;
        let PageSource::Own { id, .. } = source else { panic!("it is of a checkpoint") };
        let mut filter = Filter::new(u64::from(*rows), 0);
        (0..1000.max(u64::from(*rows))).for_each(|hash| filter.add(hash));
        let (dir, pages, oldest) = (dir.clone(), pages.clone(), oldest.clone());
        let source = PageSource::Own { file: Arc::new(file), id: *id, filter };
        SpillFile { source, dir, pages, start: *start, end: *end, rows: *rows, oldest }
    }

    /// Returns where a page begins.
    pub fn offset_of(&self, page: usize) -> usize {
        self.pages[page].start as usize * PAGE_BYTES
    }
}
