//! The log of plans, which is also the write-ahead log of sources that cannot be read again. It is written by its own thread, many plans per write,
//! and read at startup.
//!
//! A log is a header and records, one per [`super::types::PlanEntry`] (see [`record`]). Only its end can be incomplete: an append that was cut off
//! when the process died was never acknowledged, so it does not count. Anything else that cannot be read is damage, and is reported. Existing logs
//! are never appended to: each startup has its own generation, and so its own logs.

mod entry;
mod read;
mod frame;
mod writer;

pub use read::{read_entries, read_heads};
pub use writer::PlanWriter;

use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime, Generation};

/// The directory of the logs in a store.
pub const DIR: &str = "plans";

/// The name of a log in a store, with the path `plans/<generation>-<process>-<after>.log`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    /// The generation that wrote it.
    pub generation: Generation,
    /// The process that wrote it.
    pub process: u32,
    /// It holds only plans of later batches.
    pub after: BatchId,
}

/// An entry of a log, without its chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The batch.
    pub batch: BatchId,
    /// Its time.
    pub time: BatchTime,
    /// The source.
    pub source: String,
    /// The batch was created for windows of processing time, see [`crate::operators::window::state::empty_batches`].
    pub made_up: bool,
}

/// The readable part of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHeads {
    /// The log's name.
    pub name: LogName,
    /// Its path in the store.
    pub path: String,
    /// The heads of all complete entries, in the order in which they were written; if the log is damaged, of those before the damage.
    pub heads: Vec<Head>,
    /// Where and how it is damaged, for a person to read; `None`: it is not. A torn end is not damage.
    pub damage: Option<String>,
}

impl LogName {
    /// Returns the path of the log in a store.
    pub fn path(&self) -> String {
        format!("{DIR}/{:06}-{:03}-{:012}.log", self.generation.0, self.process, self.after.0)
    }

    /// Returns the log at this path; `None` if it is not the path of a log.
    pub fn parse(path: &str) -> Option<LogName> {
        let name = path.strip_prefix(DIR)?.strip_prefix('/')?.strip_suffix(".log")?;
        let mut parts = name.split('-');
        let generation = Generation(parts.next()?.parse().ok()?);
        let process = parts.next()?.parse().ok()?;
        let after = BatchId(parts.next()?.parse().ok()?);
        let name = LogName { generation, process, after };
        // Each name has one spelling: `+1`, missing zeros and further parts are invalid.
        (name.path() == path).then_some(name)
    }
}

impl LogHeads {
    /// Returns the last batch before the damage that the log holds completely, judging by this log alone: the other processes of the job have their
    /// own logs.
    pub fn last_complete(&self) -> BatchId {
        let Some(last) = self.heads.iter().map(|head| head.batch).max() else { return self.name.after };
        let before = self.heads.iter().map(|head| head.batch).filter(|batch| *batch < last).max();
        let entries = |batch: BatchId| self.heads.iter().filter(|head| head.batch == batch).count();
        match before {
            // A batch has an entry for each source, so one with fewer than the previous batch is incomplete.
            Some(before) if entries(last) >= entries(before) => last,
            Some(before) => before,
            None => self.name.after,
        }
    }

    /// Fails if the log is damaged. The error names the log, in this location, and says how to continue without it.
    pub fn check(&self, location: &str) -> Result<()> {
        let Some(damage) = &self.damage else { return Ok(()) };
        let (path, batch) = (&self.path, self.last_complete());
        Err(Error::environment(format!(
            "the log of plans `{path}` in `{location}` is damaged: {damage}; the last complete batch before that is {batch}. \
             Restore the file from a copy, or resume from that batch: millstream run JOB --resume-from {batch}"
        )))
    }
}

#[cfg(test)]
mod tests;
