//! What rows do to a table: a column says it (`op`).

use arrow::array::{Array, RecordBatch, StringArray};

/// The words for a row that is written.
pub const WRITES: [&str; 3] = ["insert", "update", "upsert"];
/// The row of its key is deleted.
pub const DELETE: &str = "delete";
/// All rows are.
pub const TRUNCATE: &str = "truncate";

/// What is wrong with such a word.
pub fn check(op: Option<&str>) -> Result<(), String> {
    match op {
        Some(word) if WRITES.contains(&word) || [DELETE, TRUNCATE].contains(&word) => Ok(()),
        Some(word) => Err(format!(
            "its `op` is `{}`, which is none of insert, update, upsert, delete and truncate",
            word.chars().take(40).collect::<String>().escape_debug()
        )),
        None => Err("its `op` is null, so nothing says what it does".into()),
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
            check(words.is_valid(row).then(|| words.value(row)))
                .map_err(|why| format!("row {}: {why}", before + row + 1))?;
        }
        before += part.num_rows();
        let order: Vec<usize> = (0..part.num_columns()).filter(|at| *at != place).chain([place]).collect();
        arranged.push(part.project(&order).map_err(|error| error.to_string())?);
    }
    Ok(arranged)
}
