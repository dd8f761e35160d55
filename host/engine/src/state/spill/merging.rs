//! A merge of spill files, as those see it who use them meanwhile.

use super::file::SpillFile;
use millstream_base::error::Result;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

/// A merge that is under way.
#[derive(Debug)]
pub struct Merge {
    /// Files that become one.
    pub of: Vec<Arc<SpillFile>>,
    /// The hashes of the rows that it copies of files of a checkpoint, as there is no need to keep these where they are.
    pub part: Option<RangeInclusive<u64>>,
    /// As the files it is made of.
    pub changed: bool,
    /// Keys that were taken out of them since it began.
    pub taken: Vec<(u64, Box<[u8]>)>,
    /// Gets the file.
    pub done: Receiver<Result<SpillFile>>,
    /// What it takes beside: the index and the filter of the new file, the marks of those that it is made of, pages and rows.
    pub work_bytes: u64,
}

impl Merge {
    /// A key was taken out of a file.
    pub fn taken(&mut self, file: &Arc<SpillFile>, hash: u64, key: &[u8]) {
        if self.of.iter().any(|of| Arc::ptr_eq(of, file)) && self.part.as_ref().is_none_or(|part| part.contains(&hash))
        {
            self.taken.push((hash, key.into()));
        }
    }

    /// The memory that it takes.
    pub fn memory(&self) -> u64 {
        self.work_bytes + self.taken.iter().map(|(_, key)| key.len() as u64 + 32).sum::<u64>()
    }

    /// Whether it is of this file.
    pub fn is_of(&self, file: &Arc<SpillFile>) -> bool {
        self.of.iter().any(|of| Arc::ptr_eq(of, file))
    }

    /// The file, where it is done.
    pub fn look(&self, wait: bool) -> Option<Result<SpillFile>> {
        match self.done.try_recv() {
            Ok(merged) => Some(merged),
            Err(TryRecvError::Empty) if wait => self.done.recv().ok(),
            // Where the thread is gone the job ends with what it said.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }
}
