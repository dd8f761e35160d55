//! Pages of spill files that are files of the checkpoint that a job started from: their rows are looked up where they lie, so that a
//! start need not read them.

use crate::checkpoint::block_index::IndexedBlock;
use crate::checkpoint::indexed_file::IndexedFile;
use crate::state::file_rows::FileRows;
use crate::state::row_form::RowForm;
use arrow::array::RecordBatch;
use millstream_base::batch::keys::GROUP_SHIFT;
use millstream_base::error::Result;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

/// A file, and some of its key groups: newer bases cover others, or other workers own them.
pub struct FileGroups {
    pub file: Arc<IndexedFile>,
    pub groups: Range<u32>,
}

/// Key groups of files, in order, none of them twice: a page is a record batch of one of these.
#[derive(Debug)]
pub struct CheckpointPages {
    pieces: Vec<FilePiece>,
    form: RowForm,
    /// See [`CheckpointPages::memory`] and [`CheckpointPages::bytes`].
    memory: u64,
    bytes: u64,
}

/// What counts of a file, or a part of that.
#[derive(Debug)]
struct FilePiece {
    file: Arc<IndexedFile>,
    /// The record batches. The first and the last may have rows that do not count.
    blocks: Range<usize>,
    /// The hashes of keys that count.
    hashes: RangeInclusive<u64>,
    /// The number of its first page.
    first_page: usize,
}

impl FilePiece {
    fn pages(&self) -> Range<usize> {
        self.first_page..self.first_page + self.blocks.len()
    }

    fn blocks(&self) -> &[IndexedBlock] {
        self.file.index().blocks.get(self.blocks.clone()).unwrap_or_default()
    }
}

impl CheckpointPages {
    /// Of these files.
    pub fn new(mut all: Vec<FileGroups>, form: RowForm) -> CheckpointPages {
        all.sort_by_key(|of| of.groups.start);
        let files: BTreeMap<_, _> = all.iter().map(|of| (Arc::as_ptr(&of.file), &of.file)).collect();
        let sum = |of: fn(&IndexedFile) -> u64| files.values().map(|file| of(file)).sum();
        let (memory, bytes) = (sum(IndexedFile::memory), sum(IndexedFile::bytes));
        let (mut pieces, mut first_page) = (Vec::with_capacity(all.len()), 0);
        for FileGroups { file, groups } in all {
            let hash = |group: u32| u64::from(group) << GROUP_SHIFT;
            let hashes = hash(groups.start)..=hash(groups.end).wrapping_sub(1);
            let blocks = &file.index().blocks;
            // Keys with the first hash of a batch may begin in the one before.
            let start = blocks.partition_point(|block| block.first_hash < *hashes.start()).saturating_sub(1);
            let end = blocks.partition_point(|block| block.first_hash <= *hashes.end());
            let blocks = start..end.max(start);
            if !blocks.is_empty() && !groups.is_empty() {
                let piece = FilePiece { file, blocks, hashes, first_page };
                first_page = piece.pages().end;
                pieces.push(piece);
            }
        }
        CheckpointPages { pieces, form, memory, bytes }
    }

    /// What is known of each page; hashes are those of keys that count.
    pub fn pages(&self) -> impl Iterator<Item = IndexedBlock> {
        self.pieces.iter().flat_map(|piece| {
            let own = |block: &IndexedBlock| IndexedBlock {
                first_hash: block.first_hash.max(*piece.hashes.start()),
                ..*block
            };
            piece.blocks().iter().map(own)
        })
    }

    /// The pages that may have rows that do not count, and the hashes of keys that do.
    pub fn edges(&self) -> impl Iterator<Item = (usize, RangeInclusive<u64>)> {
        self.pieces.iter().flat_map(|piece| {
            let pages = piece.pages();
            let last = Some(pages.end - 1).filter(|last| *last != pages.start);
            std::iter::once(pages.start).chain(last).map(|page| (page, piece.hashes.clone()))
        })
    }

    /// How rows of a spill file are made of those that are read here.
    pub fn form(&self) -> &RowForm {
        &self.form
    }

    /// The memory that indexes and filters take.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// The length of the files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there may be a key with this hash.
    pub fn may_have(&self, hash: u64) -> bool {
        let behind = self.pieces.partition_point(|piece| *piece.hashes.start() <= hash);
        let piece = behind.checked_sub(1).and_then(|place| self.pieces.get(place));
        piece.is_some_and(|piece| piece.hashes.contains(&hash) && piece.file.index().filter.may_have(hash))
    }

    /// The hashes from this one on whose keys have so many rows together, or are all that count of a file.
    pub fn some_from(&self, first: u64, rows_max: u64) -> RangeInclusive<u64> {
        let (mut last, mut rows) = (None, 0);
        for piece in self.pieces.iter().skip(self.pieces.partition_point(|piece| *piece.hashes.end() < first)) {
            rows += piece.blocks().iter().map(|block| u64::from(block.rows)).sum::<u64>();
            if let (Some(last), true) = (last, rows > rows_max) {
                return first..=last;
            }
            last = Some(*piece.hashes.end());
        }
        first..=u64::MAX
    }

    /// Reads pages that are side by side.
    pub fn read(&self, pages: Range<usize>) -> Result<Vec<FileRows>> {
        let rows = self.rows(&pages, |file, blocks| file.read(blocks).map(Some))?;
        Ok(rows.unwrap_or_default())
    }

    /// The same where the system has all of these pages in memory.
    pub fn read_cached(&self, pages: &Range<usize>) -> Result<Option<Vec<FileRows>>> {
        self.rows(pages, IndexedFile::read_cached)
    }

    /// The rows of pages of which `read` gives the record batches, as long as it gives some.
    fn rows(
        &self,
        pages: &Range<usize>,
        read: impl Fn(&IndexedFile, Range<usize>) -> Result<Option<Vec<RecordBatch>>>,
    ) -> Result<Option<Vec<FileRows>>> {
        let mut all = Vec::with_capacity(pages.len());
        let first = self.pieces.partition_point(|piece| piece.pages().end <= pages.start);
        for piece in self.pieces.iter().skip(first).take_while(|piece| piece.first_page < pages.end) {
            let FilePiece { file, blocks, .. } = piece;
            let block = |page: usize| page.saturating_sub(piece.first_page) + blocks.start;
            let own = block(pages.start.max(piece.first_page))..block(pages.end).min(blocks.end);
            let Some(batches) = read(file, own)? else { return Ok(None) };
            for batch in batches {
                all.push(self.form.rows(&batch).map_err(|error| file.damaged(&error.message))?);
            }
        }
        Ok(Some(all))
    }
}
