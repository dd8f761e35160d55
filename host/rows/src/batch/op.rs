//! The operation of a row on a table, given by a column (`op`).

use crate::batch::types::{ColumnType, describe};
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;

/// Word for a row that exists from now on.
pub const INSERT: &str = "insert";
/// Word for the deletion of the row with its key.
pub const DELETE: &str = "delete";
/// Word for the deletion of all rows.
pub const TRUNCATE: &str = "truncate";

/// The operation of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The row is written: `insert`, `update` or `upsert`.
    Write,
    /// The row with this key is deleted.
    Delete,
    /// All rows are deleted.
    Truncate,
}

impl Op {
    /// Parses a word of the column; the error says what is wrong with it.
    pub fn parse(word: Option<&str>) -> Result<Op, String> {
        match word {
            Some("insert" | "update" | "upsert") => Ok(Op::Write),
            Some(DELETE) => Ok(Op::Delete),
            Some(TRUNCATE) => Ok(Op::Truncate),
            Some(word) => Err(format!(
                "its `op` is `{}`; it must be insert, update, upsert, delete or truncate",
                word.chars().take(40).collect::<String>().escape_debug()
            )),
            None => Err("its `op` is null; it must be insert, update, upsert, delete or truncate".into()),
        }
    }

    /// Returns the operation of a row; without an `op` column it is a write.
    pub fn of_row(operations: Option<&StringArray>, row: usize) -> Result<Op, String> {
        operations
            .map_or(Ok(Op::Write), |operations| Op::parse(operations.is_valid(row).then(|| operations.value(row))))
    }
}

/// Returns the columns that are written if rows replace those with their key: all but `op`. The error is a key of the job file and what is wrong
/// with it.
pub fn columns_written(rows: &Schema, key: &[String], op: Option<&str>) -> Result<SchemaRef, (&'static str, String)> {
    let kind = |op: &str| rows.field_with_name(op).ok().map(|field| ColumnType::from_arrow(field.data_type()));
    if let Some(name) = op.filter(|op| kind(op) != Some(ColumnType::Text)) {
        let message = format!("`op` names `{name}`, and the rows have {}; write one of type text", describe(rows));
        return Err(("op", message));
    }
    if let Some(name) = op.filter(|op| key.iter().any(|name| name == op)) {
        let message = format!("`op` and `key` both name `{name}`; `op` says what a row does, and is not written");
        return Err(("op", message));
    }
    let written = rows.fields().iter().filter(|field| Some(field.name().as_str()) != op).cloned();
    let schema: SchemaRef = Arc::new(Schema::new(written.collect::<Vec<_>>()));
    if let Some(name) = key.iter().find(|name| schema.index_of(name).is_err()) {
        let message = format!("`key` names `{name}`, and the rows have {}; write one of these", describe(&schema));
        return Err(("key", message));
    }
    Ok(schema)
}

/// Checks the `op` column of these rows; every row must have a known word.
pub fn check_operations(op: &str, parts: &[RecordBatch]) -> Result<(), String> {
    let mut before = 0;
    for part in parts {
        let operations = part.column_by_name(op).and_then(|column| column.as_string_opt::<i32>());
        let operations = operations.ok_or_else(|| format!("column `{op}` of type text not found"))?;
        for row in 0..part.num_rows() {
            Op::of_row(Some(operations), row).map_err(|why| format!("row {}: {why}", before + row + 1))?;
        }
        before += part.num_rows();
    }
    Ok(())
}

/// Appends the `op` column after all others; every row must have a known word.
pub fn append_op_column(op: Option<&str>, parts: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, String> {
    let Some(op) = op else { return Ok(parts) };
    check_operations(op, &parts)?;
    let with_op_last = |part: RecordBatch| {
        let op_index = part.schema().index_of(op)?;
        let order: Vec<usize> = (0..part.num_columns()).filter(|at| *at != op_index).chain([op_index]).collect();
        part.project(&order)
    };
    parts.into_iter().map(with_op_last).collect::<Result<_, _>>().map_err(|error| error.to_string())
}
