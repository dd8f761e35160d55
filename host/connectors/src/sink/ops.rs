//! What rows do to a table: a column says it (`op`).

use arrow::array::{Array, RecordBatch, StringArray};

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
                "its `op` is `{}`, which is none of insert, update, upsert, delete and truncate",
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

/// The rows with that column behind all others; every row has to say something that is known.
pub fn with_op_behind(op: Option<&str>, parts: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, String> {
    let Some(op) = op else { return Ok(parts) };
    let mut before = 0;
    let mut arranged = Vec::with_capacity(parts.len());
    for part in parts {
        let place = part.schema().index_of(op).map_err(|error| error.to_string())?;
        let words = part.column(place).as_any().downcast_ref::<StringArray>();
        let words = words.ok_or_else(|| format!("column `{op}` is no text"))?;
        for row in 0..part.num_rows() {
            Op::of_row(Some(words), row).map_err(|why| format!("row {}: {why}", before + row + 1))?;
        }
        before += part.num_rows();
        let order: Vec<usize> = (0..part.num_columns()).filter(|at| *at != place).chain([place]).collect();
        arranged.push(part.project(&order).map_err(|error| error.to_string())?);
    }
    Ok(arranged)
}
