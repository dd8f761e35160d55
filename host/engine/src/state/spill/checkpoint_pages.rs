//! Pages of spill files that are the bases of the checkpoint that a job started from: their rows are looked up where they lie, so that
//! a start need not read them.

use crate::checkpoint::indexed_file::IndexedFile;
use crate::error::Result;
use crate::state::restore::FileRows;
use crate::state::row_form::RowForm;
use std::ops::Range;

/// Bases of key groups that lie one behind the other: a page is a record batch.
#[derive(Debug)]
pub struct CheckpointPages {
    files: Vec<IndexedFile>,
    /// The number of the first page of each.
    first_pages: Vec<usize>,
    form: RowForm,
}

impl CheckpointPages {
    /// Of these files, in the order of their key groups.
    pub fn new(files: Vec<IndexedFile>, form: RowForm) -> CheckpointPages {
        let pages = files.iter().map(|file| file.index().blocks.len());
        let first_pages = pages.scan(0, |next, pages| Some(std::mem::replace(next, *next + pages))).collect();
        CheckpointPages { files, first_pages, form }
    }

    /// The files.
    pub fn files(&self) -> &[IndexedFile] {
        &self.files
    }

    /// The memory that indexes and filters take.
    pub fn memory(&self) -> u64 {
        self.files.iter().map(IndexedFile::memory).sum()
    }

    /// Whether there may be a key with this hash.
    pub fn may_have(&self, hash: u64) -> bool {
        let first_hash = |file: &IndexedFile| file.index().blocks.first().map_or(u64::MAX, |block| block.first_hash);
        let behind = self.files.partition_point(|file| first_hash(file) <= hash);
        let file = behind.checked_sub(1).and_then(|place| self.files.get(place));
        file.is_some_and(|file| file.index().filter.may_have(hash))
    }

    /// The pages of some whole files from the one that begins with this page, with so many rows together, or of that one.
    pub fn whole_files(&self, start: usize, rows_max: u64) -> Range<usize> {
        let (mut end, mut rows) = (start, 0);
        for file in self.files.iter().skip(self.first_pages.partition_point(|first| *first < start)) {
            rows += file.rows();
            if end > start && rows > rows_max {
                break;
            }
            end += file.index().blocks.len();
        }
        start..end
    }

    /// How rows of a spill file are made of those that are read here.
    pub fn form(&self) -> &RowForm {
        &self.form
    }

    /// Reads pages that are side by side.
    pub fn read(&self, pages: Range<usize>) -> Result<Vec<FileRows>> {
        let mut all = Vec::with_capacity(pages.len());
        for (first, file) in self.first_pages.iter().zip(&self.files) {
            let own = pages.start.max(*first)..pages.end.min(first + file.index().blocks.len());
            if own.is_empty() {
                continue;
            }
            for batch in file.read(own.start - first..own.end - first)? {
                all.push(self.form.rows(&batch).map_err(|error| file.damaged(&error.message))?);
            }
        }
        Ok(all)
    }
}
