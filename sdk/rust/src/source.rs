//! World `source`: rows from elsewhere.

pub use crate::bindings::source::exports::millstream::plugin::reader::Description;
use crate::{Append, Batch, Error, Out, Row, Schema};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A plugin of world `source`, which reads one of its partitions: put `#[source]` on the `impl` block.
///
/// The host keeps the rows of a poll and the position after them together, so that each row arrives exactly once if the source
/// can resume at a position. An [`Error::config`] ends the job. Any other error is treated as transient: the reader is dropped
/// and opened again after a while at the position of the last poll.
pub trait Source: Sized + 'static {
    /// The source's `config`, read by serde; `()` means none.
    type Config: DeserializeOwned;
    /// The rows. A borrowing type is named with `'static`, for example `type Row = Line<'static>`; pushed rows may borrow from
    /// anything.
    type Row: Row;

    /// Called when a job is loaded: reports errors of a config that can be read. There is no network yet.
    fn check(config: &Self::Config) -> Result<(), Error> {
        let _ = config;
        Ok(())
    }

    /// Returns the partitions, by stable names; called when the job starts, and periodically. Each is read in order,
    /// independently, and keeps its own position. By default there is one, without a name.
    fn partitions(config: &Self::Config) -> Result<Vec<String>, Error> {
        let _ = config;
        Ok(vec![String::new()])
    }

    /// Opens a partition at the position of an earlier poll; `None`: at its beginning.
    fn open(config: Self::Config, partition: &str, position: Option<&[u8]>) -> Result<Self, Error>;

    /// Reads the next rows, and waits for them no longer than `wait`. Calls are sequential, and there are none while more rows
    /// cannot be processed.
    fn poll(&mut self, rows: &mut Arrivals<Self::Row>, wait: Duration) -> Result<Polled, Error>;

    /// The rows up to this position are durable and may be acknowledged. Later positions include earlier ones. After `open` the
    /// last call is repeated, as it may not have been received.
    fn durable(&mut self, position: &[u8]) -> Result<(), Error> {
        let _ = position;
        Ok(())
    }

    /// A checkpoint with this position is published: no earlier one is ever opened again.
    fn published(&mut self, position: &[u8]) -> Result<(), Error> {
        let _ = position;
        Ok(())
    }
}

/// The result of a poll: rows, and data that is not a row.
pub struct Arrivals<R: Row> {
    out: Out<'static, R>,
    refused: Vec<Refused>,
    max: usize,
}

/// What came and is no row. It goes to the source's rejected rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What came, or the beginning of it.
    pub data: Vec<u8>,
    /// Why, for a person to read.
    pub reason: String,
}

impl<R: Row> Arrivals<R> {
    pub(crate) fn new(max: usize) -> Arrivals<R> {
        Arrivals { out: Out::with_capacity(0, 0), refused: Vec::new(), max }
    }

    /// Appends a row. One more than requested fails the poll, so check [`left`](Arrivals::left) first.
    #[inline]
    pub fn push(&mut self, row: R::Of<'_>) {
        self.out.push(row);
    }

    /// Rejects data that is not a row. It counts like a row.
    pub fn refuse(&mut self, data: impl Into<Vec<u8>>, reason: impl std::fmt::Display) {
        self.refused.push(Refused { data: data.into(), reason: reason.to_string() });
    }

    /// Returns the number of rows so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.out.rows() + self.refused.len()
    }

    /// Whether nothing has arrived so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many more rows this poll may return.
    #[inline]
    pub fn left(&self) -> usize {
        self.max.saturating_sub(self.len())
    }

    pub(crate) fn finish(self) -> Result<(Batch, Vec<Refused>), Error> {
        Ok((self.out.into_batch()?, self.refused))
    }
}

/// The result of a poll besides its rows: [`ready`](Polled::ready), [`pause`](Polled::pause) or [`ended`](Polled::ended), and
/// [`at`](Polled::at).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Polled {
    /// The position after all of its rows; `None`: unchanged.
    pub position: Option<Vec<u8>>,
    /// When there may be more.
    pub next: Next,
}

/// When there may be more behind a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once.
    Ready,
    /// There is nothing for now; the host polls again after this time, or sooner.
    Pause(Duration),
    /// Never: the partition has come to its end.
    Ended,
}

impl Polled {
    /// There may be more immediately. Also return this after a poll that waited without a row: the next one waits again.
    pub fn ready() -> Polled {
        Polled { position: None, next: Next::Ready }
    }

    /// There is nothing for now: the host polls again after this time, or sooner.
    pub fn pause(time: Duration) -> Polled {
        Polled { position: None, next: Next::Pause(time) }
    }

    /// The partition has ended.
    pub fn ended() -> Polled {
        Polled { position: None, next: Next::Ended }
    }

    /// Sets the position after all rows of the poll, in a format of your own.
    pub fn at(mut self, position: impl Into<Vec<u8>>) -> Polled {
        self.position = Some(position.into());
        self
    }
}

/// A source's description of itself; generated by `#[source]`.
#[doc(hidden)]
pub trait Described {
    fn described() -> Description;
}

impl Description {
    /// A description without columns.
    #[doc(hidden)]
    pub fn new(name: &str, version: &str, doc: &str) -> Description {
        let none = Schema { fields: Vec::new() };
        let (name, version, doc) = (name.into(), version.into(), doc.into());
        Description { name, version, doc, output: none, config_schema: String::new() }
    }
}

/// Reads the config. `()` means none, for which a job has `{}`.
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

/// The result of a component's `describe`.
pub(crate) fn describe<S: Source + Described>(text: &str) -> Result<Description, Error> {
    S::check(&config(text)?)?;
    Ok(Description { output: crate::row::schema::<S::Row>(), ..S::described() })
}
