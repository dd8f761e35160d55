//! A file of a table with an index ([`block_index`](super::block_index)), read in place, a few record batches at a time.

use super::block_index::{BlockIndex, IndexedBlock};
use super::cached_read;
use super::state_file::{self, Footer, TRAILER_BYTES, damaged};
use super::types::StateFile;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::Block;
use arrow::ipc::reader::FileDecoder;
use millstream_base::digest::checksum;
use millstream_base::error::Result;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// The maximum of such files that a process keeps open: it is usually limited to a thousand files and connections.
static OPEN: AtomicUsize = AtomicUsize::new(0);
const OPEN_MAX: usize = 384;

/// An indexed file. Everything read from it is verified by checksums that go back to the manifest.
pub struct IndexedFile {
    entry: StateFile,
    file: File,
    decoder: FileDecoder,
    blocks: Vec<Block>,
    index: BlockIndex,
    _open: OpenFile,
}

/// Counts a file while it is open.
struct OpenFile;

impl OpenFile {
    /// Returns `None` if too many files are open.
    fn new() -> Option<OpenFile> {
        let one_more = |open| (open < OPEN_MAX).then_some(open + 1);
        OPEN.try_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| OpenFile)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for IndexedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexedFile").field("path", &self.entry.path).finish_non_exhaustive()
    }
}

impl IndexedFile {
    /// Reads the footer of a file that the manifest describes as `entry`; `open` opens it. Returns `None` if it has to be read in another way: it has
    /// no index, cannot be opened, or exceeds the maximum of open files.
    pub fn open(entry: &StateFile, open: impl FnOnce() -> Result<Option<File>>) -> Result<Option<IndexedFile>> {
        let counted = if entry.footer.is_empty() { None } else { OpenFile::new() };
        let Some(_open) = counted else { return Ok(None) };
        let Some(file) = open()? else { return Ok(None) };
        let read = state_file::without_panic(|| read_footer(entry, &file));
        let Footer { decoder, blocks, index, .. } = read.map_err(|error| damaged(entry, &error))?;
        let index = index.ok_or_else(|| damaged(entry, &"its index cannot be read"))?;
        let opened = IndexedFile { entry: entry.clone(), file, decoder, blocks, index, _open };
        let rows = opened.index.blocks.iter().fold(0, |sum: u64, block| sum.saturating_add(block.rows.into()));
        let is_consistent = rows == entry.rows && opened.blocks.len() == opened.index.blocks.len();
        if !is_consistent || opened.ranges(0..opened.blocks.len()).is_none() {
            return Err(opened.damaged(&"its index is that of another file"));
        }
        Ok(Some(opened))
    }

    /// Returns its index.
    pub fn index(&self) -> &BlockIndex {
        &self.index
    }

    /// Returns its length.
    pub fn bytes(&self) -> u64 {
        self.entry.bytes
    }

    /// Returns the memory that it takes.
    pub fn memory(&self) -> u64 {
        let blocks = self.blocks.len() * (size_of::<Block>() + size_of::<IndexedBlock>());
        blocks as u64 + self.index.filter.bytes()
    }

    /// Reads adjacent record batches, and verifies them.
    pub fn read(&self, blocks: Range<usize>) -> Result<Vec<RecordBatch>> {
        let ranges = self.ranges_of(&blocks)?;
        let (start, length) = span(&ranges);
        let bytes = read_at(&self.file, start, length).map_err(|error| self.damaged(&error))?;
        self.checked(blocks, ranges, bytes)
    }

    /// Reads adjacent record batches if the system has all of their bytes in memory.
    pub fn read_cached(&self, blocks: Range<usize>) -> Result<Option<Vec<RecordBatch>>> {
        let ranges = self.ranges_of(&blocks)?;
        let (start, length) = span(&ranges);
        let mut bytes = vec![0; length];
        if !cached_read::read(&self.file, &mut bytes, start as u64) {
            return Ok(None);
        }
        self.checked(blocks, ranges, bytes).map(Some)
    }

    fn checked(&self, blocks: Range<usize>, ranges: Vec<Range<usize>>, bytes: Vec<u8>) -> Result<Vec<RecordBatch>> {
        let (start, _) = span(&ranges);
        let bytes = Buffer::from_vec(bytes);
        let batch = |(block, range): (usize, Range<usize>)| {
            let bytes = bytes.slice_with_length(range.start - start, range.len());
            let (position, entry) = (self.blocks.get(block)?, self.index.blocks.get(block)?);
            if xxh3_64(&bytes) != entry.checksum {
                return None;
            }
            let read = state_file::without_panic(|| self.decoder.read_record_batch(position, &bytes));
            read.ok().flatten().filter(|rows| rows.num_rows() as u64 == u64::from(entry.rows))
        };
        let read =
            |(block, range)| batch((block, range)).ok_or_else(|| self.damaged(&format_args!("in batch {block}")));
        blocks.zip(ranges).map(read).collect()
    }

    /// Returns an error about the file.
    pub fn damaged(&self, why: &dyn fmt::Display) -> millstream_base::error::Error {
        damaged(&self.entry, why)
    }

    fn ranges_of(&self, blocks: &Range<usize>) -> Result<Vec<Range<usize>>> {
        self.ranges(blocks.clone()).ok_or_else(|| self.damaged(&"it is too short"))
    }

    /// Returns the positions of some batches; `None` if they are not adjacent.
    fn ranges(&self, blocks: Range<usize>) -> Option<Vec<Range<usize>>> {
        let ranges = self.blocks.get(blocks)?.iter().map(state_file::range_of).collect::<Option<Vec<_>>>()?;
        let length = usize::try_from(self.entry.bytes).ok()?;
        let follow = ranges.array_windows().all(|[one, next]| one.end == next.start);
        (follow && ranges.iter().all(|range| range.end <= length)).then_some(ranges)
    }
}

/// Returns the start of adjacent ranges, and their total length.
fn span(ranges: &[Range<usize>]) -> (usize, usize) {
    let start = ranges.first().map_or(0, |range| range.start);
    (start, ranges.last().map_or(start, |range| range.end) - start)
}

fn read_footer(entry: &StateFile, file: &File) -> Result<Footer, ArrowError> {
    let wrong = |why: String| ArrowError::ParseError(why);
    let failed = |error: io::Error| wrong(format!("it cannot be read: {error}"));
    let length = file.metadata().map_err(failed)?.len();
    if length != entry.bytes {
        return Err(wrong(format!("it should have {} bytes and has {length}", entry.bytes)));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let trailer = read_at(file, length.saturating_sub(TRAILER_BYTES), TRAILER_BYTES.min(length)).map_err(failed)?;
    let position = state_file::footer_range(&trailer, length)?;
    let bytes = read_at(file, position.start, length - position.start).map_err(failed)?;
    if checksum(&bytes) != entry.footer {
        return Err(wrong("the checksum of its footer differs from the one in the manifest".into()));
    }
    Footer::parse(bytes.get(..position.len()).unwrap_or_default())
}

fn read_at(file: &File, start: usize, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, start as u64)?;
    Ok(bytes)
}
