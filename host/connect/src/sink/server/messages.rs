//! The rows of a batch as messages, with their content and destination.

use super::values::{self, Values, without};
use crate::sink::{rows_rejected, wrong};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::shown;
use millstream_job::spec::{Origin, SinkSpec};
use millstream_rows::batch::types::{ColumnType, describe};
use millstream_rows::formats::RecordFormat;
use std::io;
use xxhash_rust::xxh3::Xxh3;

/// A message of a batch.
pub struct Outgoing {
    /// Its topic, subject or routing key.
    pub to: String,
    pub payload: Vec<u8>,
}

impl Outgoing {
    /// Returns a hash of destination and content. Servers that deduplicate by message id must not take another message, which a changed job
    /// has in its position, for an existing one.
    pub fn digest(&self) -> u64 {
        let mut digest = Xxh3::new();
        digest.update(&(self.to.len() as u64).to_le_bytes());
        digest.update(self.to.as_bytes());
        digest.update(&self.payload);
        digest.digest()
    }
}

/// The destination of a sink's messages.
#[derive(Clone, Copy)]
pub enum MessageTarget<'a> {
    /// All to this destination.
    Fixed(&'a str),
    /// Each to the destination in this column, which is not part of the message.
    Column(&'a str),
}

/// How the rows of a sink become messages.
#[derive(Clone, Copy)]
pub struct MessageForm<'a> {
    pub to: MessageTarget<'a>,
    /// The key that names the column.
    pub key: &'static str,
    /// The server's term for the destination of a message.
    pub destination_term: &'static str,
    pub format: RecordFormat,
}

impl MessageForm<'_> {
    /// Checks the columns.
    pub fn check(&self, spec: &SinkSpec, schema: &SchemaRef, origin: &Origin) -> Result<()> {
        let column = self.column(spec, schema, origin)?;
        let fits = values::check(self.format, &without(schema, column), self.destination_term);
        fits.map_err(|message| wrong(spec, origin, "format", message))
    }

    /// Returns the index of the column with the destinations.
    pub fn column(&self, spec: &SinkSpec, schema: &SchemaRef, origin: &Origin) -> Result<Option<usize>> {
        let MessageTarget::Column(name) = self.to else { return Ok(None) };
        let found = schema.index_of(name).ok();
        match found.filter(|at| ColumnType::from_arrow(schema.field(*at).data_type()) == ColumnType::Text) {
            Some(at) => Ok(Some(at)),
            None => {
                let (key, columns) = (self.key, describe(schema));
                let message = format!("`{key}` names `{name}`, and the rows have {columns}; write one of type text");
                Err(wrong(spec, origin, key, message))
            }
        }
    }

    /// Returns the messages of a batch; all are created before the first is sent. `column`: the [index](Self::column) of the column.
    /// `fits`: what is wrong with a destination, and what to fix.
    pub fn messages(
        &self,
        sink: &str,
        batch: BatchId,
        rows: &[RecordBatch],
        column: Option<usize>,
        fits: impl Fn(&str) -> std::result::Result<(), (String, &'static str)>,
    ) -> Result<Vec<Outgoing>> {
        let mut messages: Vec<Outgoing> = Vec::new();
        for part in rows.iter().filter(|part| part.num_rows() > 0) {
            let failed = |cause: io::Error| rows_rejected(sink, batch, "the rows", cause);
            let kept: Vec<usize> = (0..part.num_columns()).filter(|at| Some(*at) != column).collect();
            let value = part.project(&kept).map_err(|cause| failed(io::Error::other(cause)))?;
            let mut values = Values::new(self.format, &value).map_err(failed)?;
            let named = column.and_then(|at| part.column(at).as_string_opt::<i32>());
            for row in 0..part.num_rows() {
                let to = match (self.to, named) {
                    (MessageTarget::Fixed(to), _) => to,
                    (MessageTarget::Column(_), Some(named)) if named.is_valid(row) => named.value(row),
                    _ => "",
                };
                if let Err((why, help)) = fits(to) {
                    let (number, destination_term, shown) =
                        (messages.len(), self.destination_term, shown::harmless(to, 200));
                    return Err(Error::plugin(format!(
                        "sink `{sink}`: batch {batch}: row {number} has the {destination_term} `{shown}`, which {why}; fix {help}, or remove such \
                         rows with `filter` before the sink"
                    )));
                }
                // Messages tend to have similar lengths.
                let mut payload = Vec::with_capacity(messages.last().map_or(0, |last| last.payload.len() + 8));
                values.write(row, &mut payload).map_err(failed)?;
                messages.push(Outgoing { to: to.to_owned(), payload });
            }
        }
        Ok(messages)
    }
}
