//! Sources under test.

use super::{SourceWorld, Test, json};
use crate::source::{self, Arrivals, Description, Next, Refused, Source};
use crate::{Error, row};
use serde_json::Value;
use std::time::Duration;

/// A partition that a source under test reads.
pub struct Partition<S> {
    source: S,
}

/// Result of a poll.
#[derive(Clone, Debug, PartialEq)]
pub struct Poll {
    /// The output rows: an array of objects.
    pub rows: Value,
    /// The rejected data.
    pub refused: Vec<Refused>,
    /// The position to resume at.
    pub position: Option<Vec<u8>>,
    /// When the host polls again.
    pub next: Next,
}

impl<S: Source + source::Described> Test<S, SourceWorld> {
    /// Returns the source's description.
    pub fn describe(&self) -> Result<Description, Error> {
        source::describe::<S>(&self.config.to_string())
    }

    /// Returns the partitions.
    pub fn partitions(&self) -> Result<Vec<String>, Error> {
        S::partitions(&source::config(&self.config.to_string())?)
    }

    /// Opens a partition, at a position of an earlier poll or, with `None`, at its start.
    pub fn open(&self, partition: &str, position: Option<&[u8]>) -> Result<Partition<S>, Error> {
        self.describe()?;
        Ok(Partition { source: S::open(source::config(&self.config.to_string())?, partition, position)? })
    }
}

impl<S: Source> Partition<S> {
    /// Polls for the next rows. As in a host, more than `rows_max` rows are an error.
    pub fn poll(&mut self, rows_max: usize, wait: Duration) -> Result<Poll, Error> {
        let mut rows = Arrivals::new(rows_max);
        let polled = self.source.poll(&mut rows, wait)?;
        let count = rows.len();
        if count > rows_max {
            let words = format!("{count} rows, including rejected ones, but at most {rows_max} were requested");
            return Err(Error::internal(words));
        }
        let (batch, refused) = rows.finish()?;
        let rows = json::to_json(&row::schema::<S::Row>(), &batch)?;
        Ok(Poll { rows, refused, position: polled.position, next: polled.next })
    }

    /// Notifies the source that the rows up to a position are durable.
    pub fn durable(&mut self, position: &[u8]) -> Result<(), Error> {
        self.source.durable(position)
    }

    /// Notifies the source that a checkpoint with a position is published.
    pub fn published(&mut self, position: &[u8]) -> Result<(), Error> {
        self.source.published(position)
    }
}
