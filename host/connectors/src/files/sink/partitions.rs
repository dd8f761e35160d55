//! Rows partitioned by column values into Hive-style directories: `day=2026-11-21/country=SE`.

use crate::limits::{DIR_NAME_BYTES_MAX, DIRS_PER_BATCH_MAX};
use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use millstream_base::shown;
use millstream_rows::batch::cell::{self, Cells};
use millstream_rows::batch::types::ColumnType;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

/// The directory value of a null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// Characters, in addition to control characters, that Hive and Spark escape and that some file system or store interprets. Others are
/// unchanged, since Spark reads an escape as a character, not as a UTF-8 byte.
const ESCAPED: &[char] =
    &['"', '#', '%', '\'', '*', '/', ':', '=', '?', '\\', '\u{7f}', '{', '}', '[', ']', '^', '<', '>', '|', '~', '`'];

/// Name endings that readers of directories, such as `directory` sources, take for unfinished files: the last character is escaped. (`~`
/// always is.)
const UNFINISHED_ENDS: [&str; 3] = [".tmp", ".part", "_COPYING_"];

/// The columns that determine a row's directory.
#[derive(Clone)]
pub struct Partitions {
    /// The indices of these columns, in the order of directories, with their escaped names.
    by: Vec<(usize, String)>,
    /// The indices of the other columns.
    others: Vec<usize>,
    /// The schema of a file.
    pub schema: SchemaRef,
}

/// The rows of a batch by directory; the directory is empty without partitions.
pub type ByDir = BTreeMap<String, Vec<RecordBatch>>;

impl Partitions {
    /// Creates partitions by these columns. An error says what to write instead.
    pub fn new(schema: &SchemaRef, names: &[String]) -> Result<Partitions, String> {
        let mut by = Vec::new();
        for name in names {
            let Some((index, field)) = schema.fields().find(name) else {
                let has: Vec<_> = schema.fields().iter().map(|field| format!("`{}`", field.name())).collect();
                return Err(format!("the rows have no column `{name}`; they have {}", has.join(", ")));
            };
            match ColumnType::from_arrow(field.data_type()) {
                ColumnType::Bool
                | ColumnType::Int64
                | ColumnType::Text
                | ColumnType::Timestamp
                | ColumnType::Arrow(DataType::Date32) => {}
                other => {
                    return Err(format!(
                        "column `{name}` is {other}, which cannot be the name of a directory; choose one of type text, int64, bool, \
                         timestamp or date, or compute one with `select`"
                    ));
                }
            }
            by.push((index, escaped(name)));
        }
        let others: Vec<usize> =
            (0..schema.fields().len()).filter(|at| by.iter().all(|(index, _)| index != at)).collect();
        if others.is_empty() && !by.is_empty() {
            return Err("it leaves no column for the files; remove one".into());
        }
        let kept = others.iter().map(|at| schema.field(*at).clone()).collect::<Vec<_>>();
        let schema = if by.is_empty() { schema.clone() } else { Arc::new(Schema::new(kept)) };
        Ok(Partitions { by, others, schema })
    }

    /// Splits a batch by directory, with the rows of each in order.
    pub fn split(&self, rows: &[RecordBatch]) -> io::Result<ByDir> {
        let mut found = ByDir::new();
        for part in rows.iter().filter(|part| part.num_rows() > 0) {
            if self.by.is_empty() {
                found.entry(String::new()).or_default().push(part.clone());
                continue;
            }
            let file = part.project(&self.others).map_err(io::Error::other)?;
            let rows_by_dir = self.rows_by_dir(part)?;
            for (dir, rows) in rows_by_dir {
                let chosen = match rows.len() == part.num_rows() {
                    true => file.clone(),
                    false => take_record_batch(&file, &UInt32Array::from(rows)).map_err(io::Error::other)?,
                };
                found.entry(dir).or_default().push(chosen);
            }
            if found.len() > DIRS_PER_BATCH_MAX {
                return Err(io::Error::other(format!(
                    "the rows of this batch belong to more than {DIRS_PER_BATCH_MAX} directories, which is the \
                     limit; choose columns with fewer values for `partition_by`"
                )));
            }
        }
        Ok(found)
    }

    /// Returns the row indices of each directory.
    fn rows_by_dir(&self, part: &RecordBatch) -> io::Result<BTreeMap<String, Vec<u32>>> {
        let columns: Vec<_> = self.by.iter().map(|(index, name)| (Cells::new(part.column(*index)), name)).collect();
        let mut rows_by_dir: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let mut dir = String::new();
        for row in 0..part.num_rows() {
            dir.clear();
            for (at, (cells, name)) in columns.iter().enumerate() {
                if at > 0 {
                    dir.push('/');
                }
                let begins = dir.len();
                dir.push_str(name);
                dir.push('=');
                write_value(cells, row, &mut dir)?;
                if dir.len() - begins > DIR_NAME_BYTES_MAX {
                    let value = shown::harmless(&dir[begins..], 80);
                    return Err(io::Error::other(format!(
                        "the value {value} of `partition_by` is too long for a directory name, which has at most \
                         {DIR_NAME_BYTES_MAX} bytes; shorten it with `select`"
                    )));
                }
            }
            match rows_by_dir.get_mut(&dir) {
                Some(rows) => rows.push(row as u32),
                None => drop(rows_by_dir.insert(dir.clone(), vec![row as u32])),
            }
        }
        Ok(rows_by_dir)
    }
}

fn write_value(cells: &Cells<'_>, row: usize, out: &mut String) -> io::Result<()> {
    let wrong = || io::Error::other("a column of `partition_by` has another type than before");
    let (null, text) = match cells {
        Cells::Bool(column) => (column.is_null(row), column.value(row).to_string()),
        Cells::Int64(column) => (column.is_null(row), column.value(row).to_string()),
        Cells::Text(column) => (column.is_null(row), column.value(row).to_owned()),
        Cells::Timestamp(column) => {
            let mut text = String::new();
            cell::write_rfc3339(&mut text, column.value(row));
            (column.is_null(row), text)
        }
        Cells::Date(column) => {
            let mut text = String::new();
            cell::write_date(&mut text, column.value(row));
            (column.is_null(row), text)
        }
        Cells::Float64(_) | Cells::Binary(_) | Cells::Decimal(_) | Cells::Other(_) => return Err(wrong()),
    };
    if null {
        out.push_str(NULL);
    } else {
        // A string equal to the null value would be read as null.
        let first = if text == NULL { 1 } else { 0 };
        let last = if UNFINISHED_ENDS.iter().any(|end| text.ends_with(end)) { 1 } else { 0 };
        escape(&text, (first, last), out);
    }
    Ok(())
}

/// Returns the values in the directories of a part, outermost first; `None` for a null.
pub fn values_of(part: &str) -> impl Iterator<Item = Option<String>> {
    let dirs = part.rsplit_once('/').map_or("", |(dirs, _)| dirs).split('/');
    dirs.filter_map(|dir| dir.split_once('='))
        .map(|(_, value)| (value != NULL).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned()))
}

/// Escapes a column name so that it does not hide the directory.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    escape(name, (usize::from(name.starts_with('_')), 0), &mut out);
    out
}

/// Escapes characters where necessary, and always this many of the first and the last ones.
fn escape(text: &str, (first, last): (usize, usize), out: &mut String) {
    let count = text.chars().count();
    for (index, character) in text.chars().enumerate() {
        let at_edge = index < first || index + last >= count;
        if at_edge || character.is_ascii_control() || ESCAPED.contains(&character) {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{:02X}", u32::from(character));
        } else {
            out.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};

    fn rows() -> RecordBatch {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a/b"), None, Some("å ="), Some("a/b"), Some("..")]));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(1), Some(-5)]));
        let value: ArrayRef = Arc::new(Int64Array::from(vec![10, 20, 30, 40, 50]));
        RecordBatch::try_from_iter([("t", text), ("n", number), ("v", value)]).unwrap()
    }

    #[test]
    fn rows_go_into_dirs_named_by_their_values() {
        let rows = rows();
        let by = Partitions::new(&rows.schema(), &["n".into(), "t".into()]).unwrap();
        let names: Vec<_> = by.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["v"]);
        let found = by.split(&[rows]).unwrap();
        let values = |rows: &Vec<RecordBatch>| {
            let column = rows[0].column(0).clone();
            column.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
        };
        let found: Vec<_> = found.iter().map(|(dir, rows)| (dir.as_str(), values(rows))).collect();
        let values = |dir: &str| values_of(&format!("{dir}/part-0000000001.parquet")).collect::<Vec<_>>();
        assert_eq!(values(found[1].0), [Some("1".to_owned()), Some("a/b".to_owned())]);
        assert_eq!(values(found[3].0), [None, Some("å =".to_owned())]);
        let expected = [
            ("n=-5/t=..", vec![50]),
            ("n=1/t=a%2Fb", vec![10, 40]),
            ("n=2/t=__HIVE_DEFAULT_PARTITION__", vec![20]),
            ("n=__HIVE_DEFAULT_PARTITION__/t=å %3D", vec![30]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn no_dir_looks_unfinished_or_hidden_or_null() {
        let values = ["film.part", "x.tmp", "f_COPYING_", "a~", NULL, "v.1"];
        let text: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![0; values.len()]));
        let rows = RecordBatch::try_from_iter([("_t", text), ("v", number)]).unwrap();
        let by = Partitions::new(&rows.schema(), &["_t".into()]).unwrap();
        let found: Vec<_> = by.split(&[rows]).unwrap().into_keys().collect();
        let expected = ["%5F_HIVE_DEFAULT_PARTITION__", "a%7E", "f_COPYING%5F", "film.par%74", "v.1", "x.tm%70"];
        assert_eq!(found, expected.map(|value| format!("%5Ft={value}")));
    }

    #[test]
    fn columns_that_do_not_fit_are_named() {
        let schema = rows().schema();
        let rejection = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Partitions::new(&schema, &names).map(drop).unwrap_err()
        };
        assert_eq!(rejection(&["day"]), "the rows have no column `day`; they have `t`, `n`, `v`");
        assert!(rejection(&["t", "n", "v"]).contains("leaves no column"));
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(300)]));
        let long = RecordBatch::try_from_iter([("t", long.clone()), ("v", long)]).unwrap();
        let by = Partitions::new(&long.schema(), &["t".into()]).unwrap();
        assert!(by.split(&[long]).unwrap_err().to_string().contains("too long for a directory name"));
    }
}
