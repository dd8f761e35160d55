//! A merge of spill files, as seen by the table that uses them meanwhile.

use super::file::SpillFile;
use millstream_base::error::Result;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

/// A merge in progress.
#[derive(Debug)]
pub struct Merge {
    /// The files that are merged.
    pub of: Vec<Arc<SpillFile>>,
    /// The hashes of the rows copied from files of a checkpoint, so that these are no longer needed.
    pub part: Option<RangeInclusive<u64>>,
    /// Whether the files have rows that no checkpoint holds.
    pub changed: bool,
    /// Keys that were taken from them since it began.
    pub taken: Vec<(u64, Box<[u8]>)>,
    /// Receives the new file.
    pub done: Receiver<Result<SpillFile>>,
    /// Working memory: the index and the filter of the new file, the marks of the old ones, pages and rows.
    pub work_bytes: u64,
}

impl Merge {
    /// Records that a key was taken from a file.
    pub fn row_taken(&mut self, file: &Arc<SpillFile>, hash: u64, key: &[u8]) {
        if self.of.iter().any(|of| Arc::ptr_eq(of, file)) && self.part.as_ref().is_none_or(|part| part.contains(&hash))
        {
            self.taken.push((hash, key.into()));
        }
    }

    /// Returns its memory.
    pub fn memory(&self) -> u64 {
        self.work_bytes + self.taken.iter().map(|(_, key)| key.len() as u64 + 32).sum::<u64>()
    }

    /// Returns whether this file is being merged.
    pub fn is_of(&self, file: &Arc<SpillFile>) -> bool {
        self.of.iter().any(|of| Arc::ptr_eq(of, file))
    }

    /// Returns the file if it is complete.
    pub fn look(&self, wait: bool) -> Option<Result<SpillFile>> {
        match self.done.try_recv() {
            Ok(merged) => Some(merged),
            Err(TryRecvError::Empty) if wait => self.done.recv().ok(),
            // If the thread has exited, the job fails with its error.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }
}
