//! What rows do to a table: a column says it (`op`).

use crate::batch::types::{ColumnType, describe};
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;

/// The word for a row that is there from now on.
pub const INSERT: &str = "insert";
/// The word for the deletion of the row of its key.
pub const DELETE: &str = "delete";
/// The word for the deletion of all rows.
pub const TRUNCATE: &str = "truncate";

/// What a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// It is written: `insert`, `update` or `upsert`.
    Write,
    /// The row of its key is deleted.
    Delete,
    /// All rows are deleted.
    Truncate,
}

impl Op {
    /// What a word of the column says; an error says what is wrong with it.
    pub fn of(word: Option<&str>) -> Result<Op, String> {
        match word {
            Some("insert" | "update" | "upsert") => Ok(Op::Write),
            Some(DELETE) => Ok(Op::Delete),
            Some(TRUNCATE) => Ok(Op::Truncate),
            Some(word) => Err(format!(
                "its `op` is `{}`; it must be insert, update, upsert, delete or truncate",
                word.chars().take(40).collect::<String>().escape_debug()
            )),
            None => Err("its `op` is null, so nothing says what it does".into()),
        }
    }

    /// What a row does by its column; it is written where there is none.
    pub fn of_row(words: Option<&StringArray>, row: usize) -> Result<Op, String> {
        words.map_or(Ok(Op::Write), |words| Op::of(words.is_valid(row).then(|| words.value(row))))
    }
}

/// The columns that are written of rows which replace those of their key: all but `op`. The error is a key of the job file and what is wrong
/// with it.
pub fn columns_written(rows: &Schema, key: &[String], op: Option<&str>) -> Result<SchemaRef, (&'static str, String)> {
    let kind = |op: &str| rows.field_with_name(op).ok().map(|field| ColumnType::of(field.data_type()));
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

/// The column of these rows that says what each does; every row has to say something that is known.
pub fn check_words(op: &str, parts: &[RecordBatch]) -> Result<(), String> {
    let mut before = 0;
    for part in parts {
        let words = part.column_by_name(op).and_then(|column| column.as_string_opt::<i32>());
        let words = words.ok_or_else(|| format!("there is no column `{op}` of type text"))?;
        for row in 0..part.num_rows() {
            Op::of_row(Some(words), row).map_err(|why| format!("row {}: {why}", before + row + 1))?;
        }
        before += part.num_rows();
    }
    Ok(())
}

/// The rows with that column behind all others; every row has to say something that is known.
pub fn with_op_behind(op: Option<&str>, parts: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, String> {
    let Some(op) = op else { return Ok(parts) };
    check_words(op, &parts)?;
    let behind = |part: RecordBatch| {
        let place = part.schema().index_of(op)?;
        let order: Vec<usize> = (0..part.num_columns()).filter(|at| *at != place).chain([place]).collect();
        part.project(&order)
    };
    parts.into_iter().map(behind).collect::<Result<_, _>>().map_err(|error| error.to_string())
}
