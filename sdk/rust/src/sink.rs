//! World `sink`: rows that leave for elsewhere.

pub use crate::bindings::sink::exports::millstream::plugin::writer::{Description, Identity, Owner, Promise};
use crate::source::config;
use crate::{Batch, Error, Rejected, Rejection, Row, Schema, Timestamp};
use serde::de::DeserializeOwned;

/// A plugin of world `sink`, which is what writes the batches of one sink: put `#[sink]` on the `impl` block.
///
/// Batches come one after the other: `begin`, `write` for each piece of the rows, `commit`. An [`Error::config`] ends the job, and so
/// does an [`Error::input`], which is about the rows. An [`Error::internal`] is taken for something that passes: what writes is
/// thrown away, and after a while opened anew; the batch comes again from its beginning, unless [`last`](Sink::last) says that it is
/// there.
pub trait Sink: Sized + 'static {
    /// The sink's `config`, read by serde; `()`: it takes none.
    type Config: DeserializeOwned;

    /// What it promises with this config. [`Promise::ExactlyOnce`] needs [`committed`](Sink::committed) and [`last`](Sink::last), and
    /// rows of a batch that are there together with its id, or not at all.
    fn promise(config: &Self::Config) -> Promise;

    /// Called when a job is loaded: says what is wrong with a config that can be read. There is no network yet.
    fn check(config: &Self::Config) -> Result<(), Error> {
        let _ = config;
        Ok(())
    }

    /// The columns that it reads, of those that the input has: unless you say otherwise all of them. Those of a row type are
    /// [`columns`].
    fn reads(config: &Self::Config, input: &Schema) -> Result<Schema, Error> {
        let _ = config;
        Ok(input.clone())
    }

    /// The last batch of these rows that is there, asked before a start of the job decides where to go on. Changes nothing: an
    /// earlier start may still be writing.
    fn committed(config: Self::Config, identity: &Identity) -> Result<Option<u64>, Error> {
        let _ = (config, identity);
        Ok(None)
    }

    /// Begins to write rows with these columns, and takes the sink over from all owners of smaller generations.
    fn open(config: Self::Config, input: &Schema, owner: &Owner) -> Result<Self, Error>;

    /// The last batch of these rows that is there, asked once, behind `open`.
    fn last(&mut self) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    /// A batch begins: its id, and the end of its interval. Batches without rows do not come.
    fn begin(&mut self, batch: u64, time: Timestamp) -> Result<(), Error> {
        let _ = (batch, time);
        Ok(())
    }

    /// More rows of the batch, in order. Those that cannot be taken are refused, and the job says what becomes of them.
    fn write(&mut self, rows: &Batch, refused: &mut Refusals) -> Result<(), Error>;

    /// All rows of the batch were written: makes them visible together with its id. They are durable when it returns.
    fn commit(&mut self, batch: u64) -> Result<(), Error>;
}

/// The columns of a row type, for [`Sink::reads`]; [`Batch::each`] reads them.
pub fn columns<R: Row>() -> Schema {
    crate::row::schema::<R>()
}

/// Rows that a sink refuses.
#[derive(Debug, Default)]
pub struct Refusals {
    refused: Vec<Rejected>,
}

impl Refusals {
    /// Refuses the row with this place in the rows that were passed in; once at most.
    pub fn refuse(&mut self, row: usize, reason: impl std::fmt::Display) {
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        self.refused.push(Rejected { row, rejection: Rejection::from(reason) });
    }

    /// How many are refused so far.
    pub fn len(&self) -> usize {
        self.refused.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty()
    }

    pub(crate) fn into_rejected(self) -> Vec<Rejected> {
        self.refused
    }
}

/// What a sink says of itself; written by `#[sink]`.
#[doc(hidden)]
pub trait Described {
    fn described() -> Description;
}

impl Description {
    /// A description without columns.
    #[doc(hidden)]
    pub fn new(name: &str, version: &str, doc: &str) -> Description {
        let input = Schema { fields: Vec::new() };
        let (name, version, doc) = (name.into(), version.into(), doc.into());
        Description { name, version, doc, input, promise: Promise::AtLeastOnce, config_schema: String::new() }
    }
}

/// What `describe` of a component answers.
pub(crate) fn describe<S: Sink + Described>(text: &str, input: &Schema) -> Result<Description, Error> {
    let config: S::Config = config(text)?;
    S::check(&config)?;
    Ok(Description { input: S::reads(&config, input)?, promise: S::promise(&config), ..S::described() })
}
