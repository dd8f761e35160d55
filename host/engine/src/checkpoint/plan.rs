//! The log of plans, which is also the write-ahead log of sources that cannot be read again: written by a thread of its
//! own, many plans with one write, and read at a start.
//!
//! A log is a header and records, one per [`super::types::PlanEntry`] (see [`record`]). Only its end can be incomplete:
//! what was being appended when the process died was never acknowledged, so it does not count. Everything else that
//! does not read is damage, and is said aloud. Nobody appends to a log that was there before: each start has its own
//! generation, and so its own logs.

mod entry;
mod read;
mod frame;
mod writer;

pub use read::{read_entries, read_heads};
pub use writer::PlanWriter;

use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime, Generation};

/// The folder of the logs in a store.
pub const FOLDER: &str = "plans";

/// One log in a store, told by its path: `plans/<generation>-<process>-<after>.log`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    /// Who wrote it.
    pub generation: Generation,
    /// Which process.
    pub process: u32,
    /// It holds plans of later batches only.
    pub after: BatchId,
}

/// What a log says of an entry, without its chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The batch.
    pub batch: BatchId,
    /// Its time.
    pub time: BatchTime,
    /// The source.
    pub source: String,
    /// The batch was made up for windows of processing time, see [`crate::operators::window::state::empty_batches`].
    pub made_up: bool,
}

/// What can be read of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHeads {
    /// Which log.
    pub name: LogName,
    /// Its path in the store.
    pub path: String,
    /// Of all whole entries, in the order in which they were written; where the log is damaged, of those before that.
    pub heads: Vec<Head>,
    /// Where and how it is damaged, for a person to read; `None`: it is not. An end that was cut short is no damage.
    pub damage: Option<String>,
}

impl LogName {
    /// Where the log is in a store.
    pub fn path(&self) -> String {
        format!("{FOLDER}/{:06}-{:03}-{:012}.log", self.generation.0, self.process, self.after.0)
    }

    /// The log at this path; `None`: no log has such a path.
    pub fn parse(path: &str) -> Option<LogName> {
        let name = path.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".log")?;
        let mut parts = name.split('-');
        let generation = Generation(parts.next()?.parse().ok()?);
        let process = parts.next()?.parse().ok()?;
        let after = BatchId(parts.next()?.parse().ok()?);
        let name = LogName { generation, process, after };
        // One name, one spelling: `+1`, missing zeros and further parts do not come from us.
        (name.path() == path).then_some(name)
    }
}

impl LogHeads {
    /// The last batch before the damage that the log holds whole, as far as it tells by itself: the other processes of
    /// the job have their own logs.
    pub fn last_whole(&self) -> BatchId {
        let Some(last) = self.heads.iter().map(|head| head.batch).max() else { return self.name.after };
        let before = self.heads.iter().map(|head| head.batch).filter(|batch| *batch < last).max();
        let entries = |batch: BatchId| self.heads.iter().filter(|head| head.batch == batch).count();
        match before {
            // A batch has an entry for each source, so one with fewer than the batch before it misses some.
            Some(before) if entries(last) >= entries(before) => last,
            Some(before) => before,
            None => self.name.after,
        }
    }

    /// An error where the log is damaged: it names the log, at this place, and says how to go on without it.
    pub fn check(&self, place: &str) -> Result<()> {
        let Some(damage) = &self.damage else { return Ok(()) };
        let (path, batch) = (&self.path, self.last_whole());
        Err(Error::environment(format!(
            "the log of plans `{path}` in `{place}` is damaged: {damage}; the last complete batch before that is {batch}. \
             Restore the file from a copy, or resume from that batch: millstream run JOB --resume-from {batch}"
        )))
    }
}

#[cfg(test)]
mod tests;
