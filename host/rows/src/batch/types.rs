//! Schemas of column types.

use super::column::ColumnSpec;
pub use super::column_type::ColumnType;
use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::shown::harmless;
use std::sync::Arc;

/// Returns an Arrow schema of nullable columns with these names and types.
pub fn schema_of(columns: &[(String, ColumnType)]) -> SchemaRef {
    let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(name, kind.arrow(), true)).collect();
    Arc::new(Schema::new(fields))
}

/// Returns an Arrow schema of the columns of a source.
pub fn columns_of_specs(columns: &[ColumnSpec]) -> SchemaRef {
    let field = |column: &ColumnSpec| Field::new(column.name.clone(), column.kind.arrow(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Returns the columns of a schema followed by more.
pub fn with_fields(schema: &Schema, more: impl IntoIterator<Item = Arc<Field>>) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

/// Creates a column of timestamps, in microseconds.
pub fn timestamps(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

/// Returns a schema in one line for messages: `word text, n int64`.
pub fn describe(schema: &Schema) -> String {
    let columns: Vec<String> =
        // A name may come from another user's file: it must stay within its line.
        schema
            .fields()
            .iter()
            .map(|f| format!("{} {}", harmless(f.name(), usize::MAX), ColumnType::from_arrow(f.data_type())))
            .collect();
    if columns.is_empty() { "no columns".into() } else { columns.join(", ") }
}

/// Returns the index of a column, or an error that lists the existing ones.
pub fn column(schema: &Schema, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| Error::job(format!("column `{name}` not found; columns: {}", describe(schema))))
}
