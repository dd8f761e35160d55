//! Spill pages in files of the loaded checkpoint: rows are looked up in place, so that startup need not read them.

use crate::checkpoint::block_index::IndexedBlock;
use crate::checkpoint::indexed_file::IndexedFile;
use crate::state::file_rows::FileRows;
use crate::state::row_form::RowForm;
use arrow::array::RecordBatch;
use millstream_base::error::Result;
use millstream_rows::batch::keys::GROUP_SHIFT;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

/// A file, and some of its key groups: newer bases cover others, or other workers own them.
pub struct FileGroups {
    pub file: Arc<IndexedFile>,
    pub groups: Range<u32>,
}

/// Key groups of files, in order without duplicates: a page is a record batch of one of these files.
#[derive(Debug)]
pub struct CheckpointPages {
    pieces: Vec<FilePiece>,
    form: RowForm,
    /// See [`CheckpointPages::memory`] and [`CheckpointPages::bytes`].
    memory: u64,
    bytes: u64,
}

/// The valid part of a file, or a piece of it.
#[derive(Debug)]
struct FilePiece {
    file: Arc<IndexedFile>,
    /// The record batches. The first and the last may have invalid rows.
    blocks: Range<usize>,
    /// The valid hashes of keys.
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
    /// Creates it from these files.
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
            // Keys with the first hash of a batch may begin in the previous one.
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

    /// Returns the index entry of each page; hashes are limited to valid keys.
    pub fn pages(&self) -> impl Iterator<Item = IndexedBlock> {
        self.pieces.iter().flat_map(|piece| {
            let own = |block: &IndexedBlock| IndexedBlock {
                first_hash: block.first_hash.max(*piece.hashes.start()),
                ..*block
            };
            piece.blocks().iter().map(own)
        })
    }

    /// Returns the pages that may have invalid rows, and the valid hashes.
    pub fn edges(&self) -> impl Iterator<Item = (usize, RangeInclusive<u64>)> {
        self.pieces.iter().flat_map(|piece| {
            let pages = piece.pages();
            let last = Some(pages.end - 1).filter(|last| *last != pages.start);
            std::iter::once(pages.start).chain(last).map(|page| (page, piece.hashes.clone()))
        })
    }

    /// Returns the form of the rows, for conversion into rows of a spill file.
    pub fn form(&self) -> &RowForm {
        &self.form
    }

    /// Returns the memory of indexes and filters.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Returns the length of the files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns whether there may be a key with this hash.
    pub fn may_have(&self, hash: u64) -> bool {
        let index_after = self.pieces.partition_point(|piece| *piece.hashes.start() <= hash);
        let piece = index_after.checked_sub(1).and_then(|piece_index| self.pieces.get(piece_index));
        piece.is_some_and(|piece| piece.hashes.contains(&hash) && piece.file.index().filter.may_have(hash))
    }

    /// Returns the hashes from this one on with `rows_max` rows in total, or up to the end of a file.
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

    /// Reads adjacent pages.
    pub fn read(&self, pages: Range<usize>) -> Result<Vec<FileRows>> {
        let rows = self.rows(&pages, |file, blocks| file.read(blocks).map(Some))?;
        Ok(rows.unwrap_or_default())
    }

    /// Reads adjacent pages if the system has all of them in memory.
    pub fn read_cached(&self, pages: &Range<usize>) -> Result<Option<Vec<FileRows>>> {
        self.rows(pages, IndexedFile::read_cached)
    }

    /// Returns the rows of pages whose record batches `read` provides, until it provides none.
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
