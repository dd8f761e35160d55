//! Rows by the values of columns, in folders as Hive has them: `day=2026-11-21/country=SE`.

use crate::limits::{FOLDER_NAME_BYTES_MAX, FOLDERS_PER_BATCH_MAX};
use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use millstream_base::batch::cell::{self, Cells};
use millstream_base::batch::types::ColumnType;
use millstream_base::shown;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

/// What stands for a null in the place of a value.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// Letters beside control characters that Hive and Spark write by their numbers, and that some file system or store takes for
/// something else. Others stand as they are, since Spark reads a number as a letter, and not as a byte of UTF-8.
const ESCAPED: &[char] =
    &['"', '#', '%', '\'', '*', '/', ':', '=', '?', '\\', '\u{7f}', '{', '}', '[', ']', '^', '<', '>', '|', '~', '`'];

/// Ends of names that readers of folders take for files that somebody still writes, sources of kind `directory` among them: their last
/// letter is written by its number. (`~` always is.)
const UNFINISHED_ENDS: [&str; 3] = [".tmp", ".part", "_COPYING_"];

/// The columns that say where a row goes.
#[derive(Clone)]
pub struct Partitions {
    /// By their places among all columns, in the order of folders, with how their names are written.
    by: Vec<(usize, String)>,
    /// The places of the others.
    others: Vec<usize>,
    /// What is in a file.
    pub schema: SchemaRef,
}

/// The rows of a batch by the folder that they belong to; it is empty where there are no partitions.
pub type ByFolder = BTreeMap<String, Vec<RecordBatch>>;

impl Partitions {
    /// By these columns of rows. An error says what to write in the place of them.
    pub fn new(schema: &SchemaRef, names: &[String]) -> Result<Partitions, String> {
        let mut by = Vec::new();
        for name in names {
            let Some((place, field)) = schema.fields().find(name) else {
                let has: Vec<_> = schema.fields().iter().map(|field| format!("`{}`", field.name())).collect();
                return Err(format!("the rows have no column `{name}`; they have {}", has.join(", ")));
            };
            match ColumnType::of(field.data_type()) {
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
            by.push((place, escaped(name)));
        }
        let others: Vec<usize> =
            (0..schema.fields().len()).filter(|at| by.iter().all(|(place, _)| place != at)).collect();
        if others.is_empty() && !by.is_empty() {
            return Err("it leaves no column for the files; remove one".into());
        }
        let kept = others.iter().map(|at| schema.field(*at).clone()).collect::<Vec<_>>();
        let schema = if by.is_empty() { schema.clone() } else { Arc::new(Schema::new(kept)) };
        Ok(Partitions { by, others, schema })
    }

    /// Parts of a batch by folder, each with its rows in order.
    pub fn split(&self, rows: &[RecordBatch]) -> io::Result<ByFolder> {
        let mut found = ByFolder::new();
        for part in rows.iter().filter(|part| part.num_rows() > 0) {
            if self.by.is_empty() {
                found.entry(String::new()).or_default().push(part.clone());
                continue;
            }
            let file = part.project(&self.others).map_err(io::Error::other)?;
            let places = self.places(part)?;
            for (folder, rows) in places {
                let chosen = match rows.len() == part.num_rows() {
                    true => file.clone(),
                    false => take_record_batch(&file, &UInt32Array::from(rows)).map_err(io::Error::other)?,
                };
                found.entry(folder).or_default().push(chosen);
            }
            if found.len() > FOLDERS_PER_BATCH_MAX {
                return Err(io::Error::other(format!(
                    "the rows of this batch belong into more than {FOLDERS_PER_BATCH_MAX} folders, which is the limit; \
                     choose columns with fewer values for `partition_by`"
                )));
            }
        }
        Ok(found)
    }

    /// The rows of each folder.
    fn places(&self, part: &RecordBatch) -> io::Result<BTreeMap<String, Vec<u32>>> {
        let columns: Vec<_> = self.by.iter().map(|(place, name)| (Cells::of(part.column(*place)), name)).collect();
        let mut places: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let mut folder = String::new();
        for row in 0..part.num_rows() {
            folder.clear();
            for (at, (cells, name)) in columns.iter().enumerate() {
                if at > 0 {
                    folder.push('/');
                }
                let begins = folder.len();
                folder.push_str(name);
                folder.push('=');
                write_value(cells, row, &mut folder)?;
                if folder.len() - begins > FOLDER_NAME_BYTES_MAX {
                    let value = shown::harmless(&folder[begins..], 80);
                    return Err(io::Error::other(format!(
                        "the value {value} of `partition_by` is too long for the name of a folder, of which \
                         {FOLDER_NAME_BYTES_MAX} bytes are the limit; shorten it with `select`"
                    )));
                }
            }
            match places.get_mut(&folder) {
                Some(rows) => rows.push(row as u32),
                None => drop(places.insert(folder.clone(), vec![row as u32])),
            }
        }
        Ok(places)
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
        // A text that reads as a null would be one.
        let first = if text == NULL { 1 } else { 0 };
        let last = if UNFINISHED_ENDS.iter().any(|end| text.ends_with(end)) { 1 } else { 0 };
        escape(&text, (first, last), out);
    }
    Ok(())
}

/// The values that the folders of a part stand for, the outermost first; `None` for a null.
pub fn values_of(part: &str) -> impl Iterator<Item = Option<String>> {
    let folders = part.rsplit_once('/').map_or("", |(folders, _)| folders).split('/');
    folders
        .filter_map(|folder| folder.split_once('='))
        .map(|(_, value)| (value != NULL).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned()))
}

/// The name of a column, which hides nothing.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    escape(name, (usize::from(name.starts_with('_')), 0), &mut out);
    out
}

/// Writes letters by their numbers where they have to be, and so many of the first and the last in any case.
fn escape(text: &str, (first, last): (usize, usize), out: &mut String) {
    let letters = text.chars().count();
    for (place, letter) in text.chars().enumerate() {
        let at_edge = place < first || place + last >= letters;
        if at_edge || letter.is_ascii_control() || ESCAPED.contains(&letter) {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{:02X}", u32::from(letter));
        } else {
            out.push(letter);
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
    fn rows_go_into_folders_named_by_their_values() {
        let rows = rows();
        let by = Partitions::new(&rows.schema(), &["n".into(), "t".into()]).unwrap();
        let names: Vec<_> = by.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["v"]);
        let found = by.split(&[rows]).unwrap();
        let values = |rows: &Vec<RecordBatch>| {
            let column = rows[0].column(0).clone();
            column.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
        };
        let found: Vec<_> = found.iter().map(|(folder, rows)| (folder.as_str(), values(rows))).collect();
        let values = |folder: &str| values_of(&format!("{folder}/part-0000000001.parquet")).collect::<Vec<_>>();
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
    fn no_folder_looks_unfinished_or_hidden_or_null() {
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
        let refused = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Partitions::new(&schema, &names).map(drop).unwrap_err()
        };
        assert_eq!(refused(&["day"]), "the rows have no column `day`; they have `t`, `n`, `v`");
        assert!(refused(&["t", "n", "v"]).contains("leaves no column"));
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(300)]));
        let long = RecordBatch::try_from_iter([("t", long.clone()), ("v", long)]).unwrap();
        let by = Partitions::new(&long.schema(), &["t".into()]).unwrap();
        assert!(by.split(&[long]).unwrap_err().to_string().contains("too long for the name of a folder"));
    }
}
