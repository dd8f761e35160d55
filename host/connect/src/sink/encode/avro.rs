//! Format `avro`: a container file with the schema of the columns and deflate-compressed blocks. Nullable columns are a union with `null`;
//! times are `timestamp-micros`, dates `date` and decimals `decimal`. Topics contain single records, whose schema is in a registry.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, SchemaRef};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use millstream_base::limits::PART_BYTES_MAX;
use millstream_rows::batch::cell::Cells;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::decode::varint;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// The name of the record.
const RECORD: &str = "Row";

pub fn check(schema: &SchemaRef) -> Result<(), String> {
    if schema.fields().is_empty() {
        return Err("format `avro` needs columns, and the rows have none; choose `json`".into());
    }
    for field in schema.fields() {
        let name = field.name();
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!(
                "column `{}` has a name that Avro does not allow; names contain a-z, A-Z, 0-9 and `_`, and do not \
                 begin with a digit; rename it with `select`, or choose `parquet`",
                name.escape_debug()
            ));
        }
        let kind = ColumnType::from_arrow(field.data_type());
        if !kind.is_scalar() {
            return Err(format!("column `{name}` is {kind}, which format `avro` cannot write; choose `parquet`"));
        }
    }
    Ok(())
}

/// A file that grows by blocks.
pub struct AvroFile<W: Write + Send> {
    out: W,
    schema: SchemaRef,
    /// The sync marker between blocks; the same whenever the same rows are written again.
    mark: [u8; 16],
    block: Vec<u8>,
    records: i64,
}

impl<W: Write + Send> AvroFile<W> {
    pub fn begin(schema: &SchemaRef, mut out: W) -> io::Result<AvroFile<W>> {
        let text = schema_text(schema, RECORD);
        let mark = xxh3_128(text.as_bytes()).to_le_bytes();
        let mut head = b"Obj\x01".to_vec();
        write_long(2, &mut head);
        for (key, value) in [("avro.codec", "deflate"), ("avro.schema", text.as_str())] {
            write_sized(key.as_bytes(), &mut head);
            write_sized(value.as_bytes(), &mut head);
        }
        write_long(0, &mut head);
        head.extend_from_slice(&mark);
        out.write_all(&head)?;
        Ok(AvroFile { out, schema: schema.clone(), mark, block: Vec::new(), records: 0 })
    }

    pub fn add(&mut self, rows: &[RecordBatch]) -> io::Result<()> {
        for part in rows {
            let columns = AvroRows::new(part, &self.schema)?;
            for row in 0..part.num_rows() {
                columns.write(row, &mut self.block);
                self.records += 1;
                if self.block.len() >= PART_BYTES_MAX {
                    write_block(&mut self.block, &mut self.records, &self.mark, &mut self.out)?;
                }
            }
        }
        Ok(())
    }

    pub fn buffered_bytes(&self) -> u64 {
        self.block.len() as u64
    }

    pub fn out(&self) -> &W {
        &self.out
    }

    pub fn finish(mut self) -> io::Result<W> {
        write_block(&mut self.block, &mut self.records, &self.mark, &mut self.out)?;
        Ok(self.out)
    }
}

fn write_block(block: &mut Vec<u8>, records: &mut i64, mark: &[u8], out: &mut (dyn Write + Send)) -> io::Result<()> {
    if *records == 0 {
        return Ok(());
    }
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(block)?;
    let compressed = encoder.finish()?;
    let mut head = Vec::new();
    write_long(std::mem::take(records), &mut head);
    write_long(compressed.len() as i64, &mut head);
    block.clear();
    out.write_all(&head)?;
    out.write_all(&compressed)?;
    out.write_all(mark)
}

/// Returns the Avro schema of records with this full name.
pub fn schema_text(schema: &SchemaRef, record: &str) -> String {
    let field = |field: &Field| {
        let kind = match ColumnType::from_arrow(field.data_type()) {
            ColumnType::Bool => json!("boolean"),
            ColumnType::Int64 => json!("long"),
            ColumnType::Float64 => json!("double"),
            ColumnType::Text => json!("string"),
            ColumnType::Timestamp => json!({ "type": "long", "logicalType": "timestamp-micros" }),
            ColumnType::Arrow(DataType::Date32) => json!({ "type": "int", "logicalType": "date" }),
            ColumnType::Arrow(DataType::Decimal128(precision, scale)) => {
                json!({ "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale })
            }
            ColumnType::Binary | ColumnType::Arrow(_) => json!("bytes"),
        };
        match field.is_nullable() {
            true => json!({ "name": field.name(), "type": ["null", kind], "default": null }),
            false => json!({ "name": field.name(), "type": kind }),
        }
    };
    let fields: Vec<Value> = schema.fields().iter().map(|one| field(one)).collect();
    json!({ "type": "record", "name": record, "fields": fields }).to_string()
}

/// The rows of a part, each of which becomes a separate record.
pub struct AvroRows<'a>(Vec<Column<'a>>);

impl<'a> AvroRows<'a> {
    /// Creates the encoder; `schema` describes the records.
    pub fn new(part: &'a RecordBatch, schema: &SchemaRef) -> io::Result<AvroRows<'a>> {
        part.columns().iter().zip(schema.fields()).map(Column::new).collect::<Result<_, _>>().map(AvroRows)
    }

    /// Appends the record of a row.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        self.0.iter().for_each(|column| column.write(row, out));
    }
}

/// A column of the current rows.
struct Column<'a> {
    nullable: bool,
    array: &'a dyn Array,
    cells: Cells<'a>,
}

impl<'a> Column<'a> {
    fn new((array, field): (&'a ArrayRef, &Arc<Field>)) -> io::Result<Column<'a>> {
        let cells = match Cells::new(array) {
            Cells::Other(_) => return Err(io::Error::other("a column of another type than the sink was checked with")),
            cells => cells,
        };
        Ok(Column { nullable: field.is_nullable(), array, cells })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.nullable {
            let is_null = self.array.is_null(row);
            write_long(i64::from(!is_null), out);
            if is_null {
                return;
            }
        }
        match self.cells {
            Cells::Bool(values) => out.push(u8::from(values.value(row))),
            Cells::Int64(values) => write_long(values.value(row), out),
            Cells::Timestamp(values) => write_long(values.value(row), out),
            Cells::Float64(values) => out.extend_from_slice(&values.value(row).to_le_bytes()),
            Cells::Text(values) => write_sized(values.value(row).as_bytes(), out),
            Cells::Binary(values) => write_sized(values.value(row), out),
            Cells::Date(values) => write_long(values.value(row).into(), out),
            Cells::Decimal(values) => write_sized(trim_sign(&values.value(row).to_be_bytes()), out),
            // No column has another type.
            Cells::Other(_) => {}
        }
    }
}

/// Returns the last bytes of a number, without leading sign extension.
fn trim_sign(bytes: &[u8; 16]) -> &[u8] {
    let is_sign =
        |pair: &&[u8]| matches!(pair, [0, next] if *next < 0x80) || matches!(pair, [0xff, next] if *next >= 0x80);
    bytes.get(bytes.windows(2).take_while(is_sign).count()..).unwrap_or_default()
}

/// Appends an integer as a zigzag varint: seven bits per byte, the lowest first.
fn write_long(value: i64, out: &mut Vec<u8>) {
    varint::write(varint::zigzag(value), out);
}

fn write_sized(bytes: &[u8], out: &mut Vec<u8>) {
    write_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}
