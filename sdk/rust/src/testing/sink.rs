//! Sinks under test.

use super::{SinkWorld, Test, json};
use crate::sink::{self, Description, Identity, Owner, Refusals, Sink};
use crate::{Error, Schema, Timestamp, source};
use serde_json::Value;

/// The open sink of a test.
pub struct Writing<S> {
    sink: S,
    input: Schema,
    /// The last stored batch when it was opened.
    pub last: Option<u64>,
}

impl<S: Sink + sink::Described> Test<S, SinkWorld> {
    /// Returns the sink's description.
    pub fn describe(&self) -> Result<Description, Error> {
        let none = Schema::new(Vec::new());
        sink::describe::<S>(&self.config.to_string(), self.inputs.first().unwrap_or(&none))
    }

    /// Returns the last stored batch of sink `out` of the job with this ID.
    pub fn committed(&self, job_id: &str) -> Result<Option<u64>, Error> {
        S::committed(source::config(&self.config.to_string())?, &identity(job_id))
    }

    /// Opens sink `out` of the job with this ID and this start number.
    pub fn open(&self, job_id: &str, generation: u64) -> Result<Writing<S>, Error> {
        let input = self.describe()?.input;
        let owner = Owner { identity: identity(job_id), generation };
        let mut sink = S::open(source::config(&self.config.to_string())?, &input, &owner)?;
        let last = sink.last()?;
        Ok(Writing { sink, input, last })
    }
}

fn identity(job_id: &str) -> Identity {
    Identity { job: "test".into(), job_id: job_id.into(), sink: "out".into() }
}

impl<S: Sink> Writing<S> {
    /// Writes a batch, an array of objects, and commits it. Returns the rejected rows with reasons.
    pub fn batch(&mut self, batch: u64, rows: Value) -> Result<Vec<(u32, String)>, Error> {
        let refused = self.begun(batch, rows)?;
        self.sink.commit(batch)?;
        Ok(refused)
    }

    /// Writes a batch without committing it, as before a failure. Returns the rejected rows with reasons.
    pub fn begun(&mut self, batch: u64, rows: Value) -> Result<Vec<(u32, String)>, Error> {
        let mut refused = Refusals::default();
        self.sink.begin(batch, Timestamp(batch as i64 * 1_000_000))?;
        self.sink.write(&json::from_json(&self.input, &rows)?, &mut refused)?;
        Ok(super::reasons(refused.into_rejected()))
    }
}
