//! World `source`: rows from elsewhere.

pub use crate::bindings::source::exports::millstream::plugin::reader::Description;
use crate::{Append, Batch, Error, Out, Row, Schema};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A plugin of world `source`, which is what reads one of its partitions: put `#[source]` on the `impl` block.
///
/// The host keeps the rows of a poll and the position behind them together, so that each row comes exactly once where the
/// source can go on at a position. An [`Error::config`] ends the job. Any other is taken for something that passes: what reads
/// the partition is thrown away, and after a while opened anew where the last poll left off.
pub trait Source: Sized + 'static {
    /// The source's `config`, read by serde; `()`: it takes none.
    type Config: DeserializeOwned;
    /// The rows. One that borrows is named with `'static`, as in `type Row = Line<'static>`; what is pushed may borrow from anything.
    type Row: Row;

    /// Called when a job is loaded: says what is wrong with a config that can be read. There is no network yet.
    fn check(config: &Self::Config) -> Result<(), Error> {
        let _ = config;
        Ok(())
    }

    /// The partitions that there are, by names that stay the same; asked when the job starts, and now and then. Each is read
    /// in order, by itself, and keeps its own position. Unless you say otherwise there is one, without a name.
    fn partitions(config: &Self::Config) -> Result<Vec<String>, Error> {
        let _ = config;
        Ok(vec![String::new()])
    }

    /// Begins to read a partition, where an earlier poll left off; `None`: at its beginning.
    fn open(config: Self::Config, partition: &str, position: Option<&[u8]>) -> Result<Self, Error>;

    /// Takes the next rows; waits for them, but no longer than this. Calls come one after the other, and none while there is
    /// nothing to be done with more rows.
    fn poll(&mut self, rows: &mut Arrivals<Self::Row>, wait: Duration) -> Result<Polled, Error>;

    /// The rows up to this position are safe: whoever sent them may be told. Later positions include earlier ones. After
    /// `open` the last one comes again, as it may not have been heard.
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

/// Where a poll puts what came: rows, and what is none.
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

    /// Appends a row. One more than asked for fails the poll, so look at [`left`](Arrivals::left) before.
    #[inline]
    pub fn push(&mut self, row: R::Of<'_>) {
        self.out.push(row);
    }

    /// Refuses what came and is no row. It counts as rows do.
    pub fn refuse(&mut self, data: impl Into<Vec<u8>>, reason: impl std::fmt::Display) {
        self.refused.push(Refused { data: data.into(), reason: reason.to_string() });
    }

    /// How many came so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.out.rows() + self.refused.len()
    }

    /// Whether nothing came so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many more may come in this poll.
    #[inline]
    pub fn left(&self) -> usize {
        self.max.saturating_sub(self.len())
    }

    pub(crate) fn finish(self) -> Result<(Batch, Vec<Refused>), Error> {
        Ok((self.out.into_batch()?, self.refused))
    }
}

/// What a poll says beside its rows: [`ready`](Polled::ready), [`pause`](Polled::pause) or [`ended`](Polled::ended), and
/// [`at`](Polled::at).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Polled {
    /// Where to go on behind all of its rows; `None`: where the partition stood before.
    pub position: Option<Vec<u8>>,
    /// When there may be more.
    pub next: Next,
}

/// When there may be more behind a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once.
    Ready,
    /// There is nothing for now: after this time, or sooner.
    Pause(Duration),
    /// Never: the partition has come to its end.
    Ended,
}

impl Polled {
    /// There may be more at once. So say also after a poll that waited for rows and had none: the next one waits again.
    pub fn ready() -> Polled {
        Polled { position: None, next: Next::Ready }
    }

    /// There is nothing for now: the host asks again after this time, or sooner.
    pub fn pause(time: Duration) -> Polled {
        Polled { position: None, next: Next::Pause(time) }
    }

    /// The partition has come to its end.
    pub fn ended() -> Polled {
        Polled { position: None, next: Next::Ended }
    }

    /// Where to go on behind all rows of the poll, in words of your own.
    pub fn at(mut self, position: impl Into<Vec<u8>>) -> Polled {
        self.position = Some(position.into());
        self
    }
}

/// What a source says of itself; written by `#[source]`.
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

/// Reads the config. `()` stands for none, for which a job has `{}`.
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

/// What `describe` of a component answers.
pub(crate) fn describe<S: Source + Described>(text: &str) -> Result<Description, Error> {
    S::check(&config(text)?)?;
    Ok(Description { output: crate::row::schema::<S::Row>(), ..S::described() })
}
