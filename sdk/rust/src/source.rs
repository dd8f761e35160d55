//! World `source`: reads rows from an external system.

pub use crate::bindings::source::exports::millstream::plugin::reader::Description;
use crate::{Append, Batch, Error, Out, Row, Schema};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A plugin of world `source`, which reads one of its partitions: put `#[source]` on the `impl` block.
///
/// The host stores the rows of a poll and the position after them atomically. So each row arrives exactly once if the source can
/// resume at a position. An [`Error::config`] fails the job. Any other error is treated as transient: the host drops the reader and
/// after a delay opens another one at the position of the last poll.
pub trait Source: Sized + 'static {
    /// The source's `config`, read by serde; `()` means none.
    type Config: DeserializeOwned;
    /// The row type. Write a borrowing type with `'static`, for example `type Row = Line<'static>`; pushed rows may borrow from
    /// anything.
    type Row: Row;

    /// Called when a job is loaded. Reports errors of a config that could be read. It has no network access.
    fn check(config: &Self::Config) -> Result<(), Error> {
        let _ = config;
        Ok(())
    }

    /// Returns the names of the partitions, which must be stable. Called when the job starts, and periodically. Each partition is
    /// read in order, independently, and has its own position. By default there is one partition without a name.
    fn partitions(config: &Self::Config) -> Result<Vec<String>, Error> {
        let _ = config;
        Ok(vec![String::new()])
    }

    /// Opens a partition at the position of an earlier poll, or with `None` at its start.
    fn open(config: Self::Config, partition: &str, position: Option<&[u8]>) -> Result<Self, Error>;

    /// Reads the next rows. Waits for them at most `wait`. Calls come one after another, and only when the job can process more
    /// rows.
    fn poll(&mut self, rows: &mut Arrivals<Self::Row>, wait: Duration) -> Result<Polled, Error>;

    /// Notifies the source that the rows up to this position are durable and may be acknowledged. Later positions include earlier
    /// ones. After `open`, the host repeats the last call, which may have been lost.
    fn durable(&mut self, position: &[u8]) -> Result<(), Error> {
        let _ = position;
        Ok(())
    }

    /// Notifies the source that a checkpoint with this position is published. No earlier one is ever opened again.
    fn published(&mut self, position: &[u8]) -> Result<(), Error> {
        let _ = position;
        Ok(())
    }
}

/// Collects what a poll received: rows and rejected data.
pub struct Arrivals<R: Row> {
    out: Out<'static, R>,
    refused: Vec<Refused>,
    max: usize,
}

/// Received data that is not a row. It goes to the source's rejected rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The received data, or its start.
    pub data: Vec<u8>,
    /// The reason as text.
    pub reason: String,
}

impl<R: Row> Arrivals<R> {
    pub(crate) fn new(max: usize) -> Arrivals<R> {
        Arrivals { out: Out::with_capacity(0, 0), refused: Vec::new(), max }
    }

    /// Appends a row. More rows than the host requested fail the poll, so check [`left`](Arrivals::left) first.
    #[inline]
    pub fn push(&mut self, row: R::Of<'_>) {
        self.out.push(row);
    }

    /// Rejects received data that is not a row. It counts as a row.
    pub fn refuse(&mut self, data: impl Into<Vec<u8>>, reason: impl std::fmt::Display) {
        self.refused.push(Refused { data: data.into(), reason: reason.to_string() });
    }

    /// Returns the number of rows and rejected data so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.out.rows() + self.refused.len()
    }

    /// Returns whether there are no rows and no rejected data so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of rows that this poll may still add.
    #[inline]
    pub fn left(&self) -> usize {
        self.max.saturating_sub(self.len())
    }

    pub(crate) fn finish(self) -> Result<(Batch, Vec<Refused>), Error> {
        Ok((self.out.into_batch()?, self.refused))
    }
}

/// Result of a poll besides its rows, created by [`ready`](Polled::ready), [`pause`](Polled::pause) or [`ended`](Polled::ended),
/// and [`at`](Polled::at).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Polled {
    /// Position after all rows of the poll; `None`: unchanged.
    pub position: Option<Vec<u8>>,
    /// When the host polls again.
    pub next: Next,
}

/// When the host polls again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Immediately.
    Ready,
    /// There are no rows now. The host polls again after this time or earlier.
    Pause(Duration),
    /// Never: the partition has ended.
    Ended,
}

impl Polled {
    /// The host polls again immediately. Return this also after a poll that waited and had no rows: the next one waits again.
    pub fn ready() -> Polled {
        Polled { position: None, next: Next::Ready }
    }

    /// There are no rows now. The host polls again after this time or earlier.
    pub fn pause(time: Duration) -> Polled {
        Polled { position: None, next: Next::Pause(time) }
    }

    /// The partition has ended.
    pub fn ended() -> Polled {
        Polled { position: None, next: Next::Ended }
    }

    /// Sets the position after all rows of the poll, in a format of the plugin.
    pub fn at(mut self, position: impl Into<Vec<u8>>) -> Polled {
        self.position = Some(position.into());
        self
    }
}

/// A source's description. Generated by `#[source]`.
#[doc(hidden)]
pub trait Described {
    fn described() -> Description;
}

impl Description {
    /// Returns a description without columns.
    #[doc(hidden)]
    pub fn new(name: &str, version: &str, doc: &str) -> Description {
        let none = Schema { fields: Vec::new() };
        let (name, version, doc) = (name.into(), version.into(), doc.into());
        Description { name, version, doc, output: none, config_schema: String::new() }
    }
}

/// Reads the config. `()` accepts no config, which is `{}` in a job.
pub(crate) fn config<C: DeserializeOwned>(text: &str) -> Result<C, Error> {
    let text = match text.trim() {
        "" => "{}",
        text => text,
    };
    serde_json::from_str(text).or_else(|error| match text {
        "{}" => serde_json::from_str("null").map_err(|_| Error::config(error)),
        _ => Err(Error::config(error)),
    })
}

/// Returns the result of a component's `describe`.
pub(crate) fn describe<S: Source + Described>(text: &str) -> Result<Description, Error> {
    S::check(&config(text)?)?;
    Ok(Description { output: crate::row::schema::<S::Row>(), ..S::described() })
}
