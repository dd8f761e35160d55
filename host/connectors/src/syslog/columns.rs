//! Converts messages directly to columns, for sources whose columns need no conversion. This avoids writing and parsing JSON.

use super::message::Message;
use super::settings::SyslogReads;
use arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::SchemaRef;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::ready::ReadyRows;
use millstream_rows::batch::types;
use millstream_rows::decode::ready::{name_of, takes};
use std::sync::Arc;

/// Approximate bytes of a row in addition to the text of its message.
const ROW_BYTES: usize = 100;

/// Messages that were added and not taken.
pub struct Columns {
    schema: SchemaRef,
    time: TimestampMicrosecondBuilder,
    host: StringBuilder,
    app: StringBuilder,
    pid: StringBuilder,
    id: StringBuilder,
    facility: StringBuilder,
    severity: StringBuilder,
    level: Int64Builder,
    message: StringBuilder,
    data: StringBuilder,
    sender: StringBuilder,
    rows: usize,
    bytes: usize,
}

impl Columns {
    /// Creates an empty set of columns. `None`: the job converts parts of a message to other types, or reads parts of parts. All available columns
    /// are in the rows, as the job may need others when a batch is replayed.
    pub fn new(columns: &[ColumnSpec]) -> Option<Columns> {
        let schema = types::columns_of_specs(&SyslogReads::columns());
        let is_taken = |column: &ColumnSpec| {
            let field = schema.field_with_name(name_of(column));
            // A column with a zone accepts times without one.
            column.zone.is_none() && field.is_ok_and(|field| takes(column, field.data_type()))
        };
        columns.iter().all(is_taken).then(|| Columns {
            time: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            host: StringBuilder::new(),
            app: StringBuilder::new(),
            pid: StringBuilder::new(),
            id: StringBuilder::new(),
            facility: StringBuilder::new(),
            severity: StringBuilder::new(),
            level: Int64Builder::new(),
            message: StringBuilder::new(),
            data: StringBuilder::new(),
            sender: StringBuilder::new(),
            rows: 0,
            bytes: 0,
            schema,
        })
    }

    /// Returns whether there are no messages.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns whether there are as many as fit into a part.
    pub fn is_full(&self) -> bool {
        self.rows >= PART_ROWS_MAX || self.bytes >= PART_BYTES_MAX
    }

    /// Adds a message of `bytes` bytes.
    pub fn add(&mut self, message: &Message<'_>, sender: &str, bytes: usize) {
        self.time.append_option(message.time_us());
        self.host.append_option(message.host);
        self.app.append_option(message.app);
        self.pid.append_option(message.pid);
        self.id.append_option(message.id);
        self.facility.append_value(message.facility());
        self.severity.append_value(message.severity());
        self.level.append_value(message.level() as i64);
        self.message.append_value(message.message);
        self.data.append_option(message.data());
        self.sender.append_value(sender);
        (self.rows, self.bytes) = (self.rows + 1, self.bytes + bytes + ROW_BYTES);
    }

    /// Returns all messages that were added.
    pub fn take(&mut self) -> ReadyRows {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(self.time.finish()),
            Arc::new(self.host.finish()),
            Arc::new(self.app.finish()),
            Arc::new(self.pid.finish()),
            Arc::new(self.id.finish()),
            Arc::new(self.facility.finish()),
            Arc::new(self.severity.finish()),
            Arc::new(self.level.finish()),
            Arc::new(self.message.finish()),
            Arc::new(self.data.finish()),
            Arc::new(self.sender.finish()),
        ];
        (self.rows, self.bytes) = (0, 0);
        // The arrays match the schema in number and type.
        let rows = RecordBatch::try_new(self.schema.clone(), arrays);
        ReadyRows::new(rows.unwrap_or_else(|_| RecordBatch::new_empty(self.schema.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Reader;
    use super::*;
    use millstream_job::spec::SourceSpec;
    use millstream_rows::batch::chunk::Chunk;
    use millstream_rows::batch::types::ColumnType;
    use millstream_rows::decode::Decoder;

    #[test]
    fn columns_hold_what_lines_are_decoded_to() {
        let messages = [
            "<165>1 2003-10-11T22:14:15.003Z host app 7 ID47 [a b=\"c\"] An event",
            "<34>1 - - - - - -",
            "<34>Oct 11 22:14:15 host su[231]: 'su root' failed",
            "no \u{0} \"priority\"",
        ];
        let source = SourceSpec::from_config("in", SyslogReads::new("h:1"));
        let mut columns = Columns::new(&source.schema).unwrap();
        let (reader, mut bytes, mut ends) = (Reader::new(), Vec::new(), Vec::new());
        for text in messages {
            let message = reader.read(text, (2026, 11));
            columns.add(&message, "::1", text.len());
            message.write("::1", &mut bytes);
            ends.push(bytes.len() as u32);
        }
        let mut decoder = Decoder::new(source.decoder_spec());
        let lines = decoder.decode(&Chunk { bytes: bytes.into(), ends, ..Chunk::default() });
        let ready = decoder.decode(&Chunk::of_ready(columns.take()));
        assert!(lines.rejected.is_none() && ready.rejected.is_none() && columns.is_empty());
        assert_eq!(lines.rows, ready.rows);
    }

    #[test]
    fn other_types_and_parts_of_parts_are_read_from_lines() {
        let column = |name: &str, kind: ColumnType| ColumnSpec::new(name, kind);
        assert!(Columns::new(&[column("message", ColumnType::Text), column("level", ColumnType::Int64)]).is_some());
        let nested = ColumnSpec { path: vec!["data".into(), "a".into()], ..column("a", ColumnType::Text) };
        for other in [column("pid", ColumnType::Int64), column("none", ColumnType::Text), nested] {
            assert!(Columns::new(&[other]).is_none());
        }
    }
}
