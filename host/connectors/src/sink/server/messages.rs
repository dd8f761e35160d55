//! The rows of a batch as messages: what is in each, and where it goes.

use super::values::{self, Values, without};
use crate::sink::{rows_refused, wrong};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use millstream_base::batch::types::{ColumnType, describe};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::job::spec::{Origin, RecordFormat, SinkSpec};
use millstream_base::shown;
use std::io;
use xxhash_rust::xxh3::Xxh3;

/// A message of a batch.
pub struct Outgoing {
    /// Its topic, subject or routing key.
    pub to: String,
    pub payload: Vec<u8>,
}

impl Outgoing {
    /// Of where it goes and what it is: who goes by the ids of messages must not take another one, which a job that was changed has in its
    /// place, for one that is there.
    pub fn digest(&self) -> u64 {
        let mut digest = Xxh3::new();
        digest.update(&(self.to.len() as u64).to_le_bytes());
        digest.update(self.to.as_bytes());
        digest.update(&self.payload);
        digest.digest()
    }
}

/// Where the messages of a sink go.
#[derive(Clone, Copy)]
pub enum MessageTarget<'a> {
    /// All there.
    Fixed(&'a str),
    /// Each to where this column says, which is not in the message.
    Column(&'a str),
}

/// How the rows of a sink become messages.
#[derive(Clone, Copy)]
pub struct MessageForm<'a> {
    pub to: MessageTarget<'a>,
    /// The key that names the column.
    pub key: &'static str,
    /// What servers call that to which a message goes.
    pub word: &'static str,
    pub format: RecordFormat,
}

impl MessageForm<'_> {
    /// Checks the columns.
    pub fn check(&self, spec: &SinkSpec, schema: &SchemaRef, origin: &Origin) -> Result<()> {
        let column = self.column(spec, schema, origin)?;
        let fits = values::check(self.format, &without(schema, column), self.word);
        fits.map_err(|message| wrong(spec, origin, "format", message))
    }

    /// The place of the column that says where messages go.
    pub fn column(&self, spec: &SinkSpec, schema: &SchemaRef, origin: &Origin) -> Result<Option<usize>> {
        let MessageTarget::Column(name) = self.to else { return Ok(None) };
        let found = schema.index_of(name).ok();
        match found.filter(|at| ColumnType::of(schema.field(*at).data_type()) == ColumnType::Text) {
            Some(at) => Ok(Some(at)),
            None => {
                let (key, columns) = (self.key, describe(schema));
                let message = format!("`{key}` names `{name}`, and the rows have {columns}; write one of type text");
                Err(wrong(spec, origin, key, message))
            }
        }
    }

    /// The messages of a batch, all before the first is sent. `column`: the [place](Self::column) of the column. `fits`: what is wrong
    /// with where a message goes, and what to fix.
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
            let failed = |cause: io::Error| rows_refused(sink, batch, "the rows", cause);
            let kept: Vec<usize> = (0..part.num_columns()).filter(|at| Some(*at) != column).collect();
            let value = part.project(&kept).map_err(|cause| failed(io::Error::other(cause)))?;
            let mut values = Values::of(self.format, &value).map_err(failed)?;
            let named = column.and_then(|at| part.column(at).as_string_opt::<i32>());
            for row in 0..part.num_rows() {
                let to = match (self.to, named) {
                    (MessageTarget::Fixed(to), _) => to,
                    (MessageTarget::Column(_), Some(named)) if named.is_valid(row) => named.value(row),
                    _ => "",
                };
                if let Err((why, help)) = fits(to) {
                    let (number, word, shown) = (messages.len(), self.word, shown::harmless(to, 200));
                    return Err(Error::plugin(format!(
                        "sink `{sink}`: batch {batch}: row {number} has the {word} `{shown}`, which {why}; fix {help}, or remove such \
                         rows with `filter` before the sink"
                    )));
                }
                // They tend to be about as long as each other.
                let mut payload = Vec::with_capacity(messages.last().map_or(0, |last| last.payload.len() + 8));
                values.write(row, &mut payload).map_err(failed)?;
                messages.push(Outgoing { to: to.to_owned(), payload });
            }
        }
        Ok(messages)
    }
}
