//! Rows in the forms that servers take: one value per row, or fields by name.

use super::super::encode::plain;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use millstream_rows::batch::cell::Cells;
use millstream_rows::batch::json::JsonRows;
use millstream_rows::batch::types::{ColumnType, describe};
use millstream_rows::formats::RecordFormat;
use std::io;

/// Returns the columns of a schema without one of them.
pub fn without(schema: &SchemaRef, column: Option<usize>) -> SchemaRef {
    let fields = schema.fields().iter().enumerate().filter(|(at, _)| Some(*at) != column);
    SchemaRef::new(Schema::new(fields.map(|(_, field)| field.clone()).collect::<Vec<_>>()))
}

/// Checks that rows of these columns can be values of this format. `key`: the key of the column with the destinations.
pub fn check(format: RecordFormat, schema: &SchemaRef, key: &str) -> Result<(), String> {
    let (name, column_type) = match format {
        RecordFormat::Text => ("text", ColumnType::Text),
        RecordFormat::Binary => ("binary", ColumnType::Binary),
        _ => return millstream_rows::batch::json::check(schema),
    };
    match schema.fields().as_ref() {
        [field] if ColumnType::from_arrow(field.data_type()) == column_type => Ok(()),
        _ => Err(format!(
            "format `{name}` writes a single {column_type} column next to the {key}, and the rows have {}; choose `json`, or put a stage \
             with `select` before the sink",
            describe(schema)
        )),
    }
}

/// The values of a part.
pub enum Values<'a> {
    Json(JsonRows<'a>),
    Plain(&'a ArrayRef, Cells<'a>),
}

impl<'a> Values<'a> {
    /// Prepares rows that suit this format.
    pub fn new(format: RecordFormat, rows: &'a RecordBatch) -> io::Result<Values<'a>> {
        match (format, rows.columns()) {
            (RecordFormat::Text | RecordFormat::Binary, [column]) => Ok(Values::Plain(column, Cells::new(column))),
            (RecordFormat::Json, _) => JsonRows::new(rows).map(Values::Json),
            _ => Err(io::Error::other("rows without the column of their values")),
        }
    }

    /// Appends the value of a row. A null is an empty one.
    pub fn write(&mut self, row: usize, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Values::Json(rows) => rows.write(row, out),
            Values::Plain(array, _) if array.is_null(row) => Ok(()),
            Values::Plain(_, cells) => plain::write(cells, row, &mut String::new(), out),
        }
    }
}

/// The fields of a part, one per column.
pub struct Fields<'a> {
    columns: Vec<(String, &'a ArrayRef, Cells<'a>)>,
    scratch: String,
}

impl<'a> Fields<'a> {
    /// Checks that columns can be fields.
    pub fn check(schema: &SchemaRef) -> Result<(), String> {
        match schema.fields().iter().find(|field| !ColumnType::from_arrow(field.data_type()).is_scalar()) {
            None if schema.fields().is_empty() => Err("an entry needs a field, and the rows have no columns".into()),
            None => Ok(()),
            Some(field) => Err(format!(
                "fields hold plain values, and column `{}` is {}; write field = \"data\", which holds a row as JSON",
                field.name(),
                ColumnType::from_arrow(field.data_type())
            )),
        }
    }

    /// Prepares rows with such columns.
    pub fn new(rows: &'a RecordBatch) -> Fields<'a> {
        let names = rows.schema_ref().fields().iter().map(|field| field.name().clone());
        let columns = names.zip(rows.columns()).map(|(name, column)| (name, column, Cells::new(column)));
        Fields { columns: columns.collect(), scratch: String::new() }
    }

    /// Passes name and value of each column that is not null to `field`; for a row of nulls the first column, as an empty value.
    pub fn each(&mut self, row: usize, mut field: impl FnMut(&str, &[u8])) -> io::Result<()> {
        let (mut value, mut any) = (Vec::new(), false);
        for (name, array, cells) in &self.columns {
            if array.is_valid(row) {
                value.clear();
                plain::write(cells, row, &mut self.scratch, &mut value)?;
                field(name, &value);
                any = true;
            }
        }
        if let (false, Some((name, ..))) = (any, self.columns.first()) {
            field(name, &[]);
        }
        Ok(())
    }
}
