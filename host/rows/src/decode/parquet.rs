//! The format between the reader of Parquet files and the decoder of its lines: each row is a line of JSON with the columns of the file by name.
//!
//! A column of the file is written once for all columns of the job that read it in the same way. Others read a copy under another name, for example
//! one that needs bytes while another needs their text.

use crate::batch::column::ColumnSpec;
use crate::decode::json::index_of;
use arrow::datatypes::DataType;

/// Surrounds the reason after a rejected row. No JSON contains it.
const MARK: u8 = 0x1f;
/// Occurs in the names of copies, after that of the column.
const COPY: char = '\u{1}';

/// A member of the line, and the columns of the job that it fills.
#[derive(Debug)]
pub struct LineMember {
    /// Its name in the line.
    pub name: String,
    /// The column of the file.
    pub root: String,
    /// Indexes in the schema of the job's columns that read it.
    pub columns: Vec<usize>,
}

/// Returns the members of a line for these columns.
pub fn members(columns: &[ColumnSpec]) -> Vec<LineMember> {
    let mut members: Vec<LineMember> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let root = column.value_path().first().map_or("", String::as_str);
        let is_alike = |other: &usize| columns.get(*other).is_some_and(|other| is_alike(other, column));
        let copies = members.iter().filter(|member| member.root == root).count();
        match members.iter_mut().find(|member| member.root == root && member.columns.iter().all(is_alike)) {
            Some(member) => member.columns.push(index),
            None => {
                let name = if copies == 0 { root.to_owned() } else { format!("{root}{COPY}{copies}") };
                members.push(LineMember { name, root: root.to_owned(), columns: vec![index] });
            }
        }
    }
    members
}

/// Returns whether a member of this name is a copy of another one.
pub fn is_copy(name: &str) -> bool {
    name.contains(COPY)
}

/// Returns the columns with their paths into lines.
pub(super) fn in_lines(columns: &[ColumnSpec]) -> Vec<ColumnSpec> {
    let mut placed = columns.to_vec();
    for member in members(columns) {
        for column in &member.columns {
            if let Some(column) = placed.get_mut(*column) {
                column.path = column.value_path().to_vec();
                if let Some(first) = column.path.first_mut() {
                    first.clone_from(&member.name);
                }
            }
        }
    }
    placed
}

/// Returns whether two columns that read the same value need it in the same form.
fn is_alike(one: &ColumnSpec, other: &ColumnSpec) -> bool {
    let (short, long) = if one.value_path().len() <= other.value_path().len() { (one, other) } else { (other, one) };
    let Some(rest) = long.value_path().strip_prefix(short.value_path()) else { return true };
    let mut kind = short.kind.arrow();
    for name in rest {
        let within = match &kind {
            DataType::Struct(members) => {
                members.iter().find(|member| member.name() == name).map(|member| member.data_type().clone())
            }
            DataType::List(item) if index_of(name).is_some() => Some(item.data_type().clone()),
            // Complete as text: times in it are those of the file.
            DataType::Utf8 => return long.zone.is_none(),
            _ => None,
        };
        match within {
            Some(within) => kind = within,
            None => return true,
        }
    }
    let zone = |column: &ColumnSpec| column.zone.map(|zone| zone.to_string());
    zone(short) == zone(long) && !are_text_and_bytes(&kind, &long.kind.arrow())
}

/// Returns whether one type needs bytes of the file as text and the other as bytes.
fn are_text_and_bytes(one: &DataType, other: &DataType) -> bool {
    match (one, other) {
        (DataType::Utf8, DataType::Binary) | (DataType::Binary, DataType::Utf8) => true,
        (DataType::List(one), DataType::List(other)) => are_text_and_bytes(one.data_type(), other.data_type()),
        (DataType::Struct(one), DataType::Struct(other_fields)) => one.iter().any(|member| {
            let other = other_fields.iter().find(|other| other.name() == member.name());
            other.is_some_and(|other| are_text_and_bytes(member.data_type(), other.data_type()))
        }),
        _ => false,
    }
}

/// Appends to a row's line why the row is rejected.
pub fn reject(line: &mut Vec<u8>, reason: &str) {
    line.push(MARK);
    line.extend(reason.bytes().filter(|byte| *byte != MARK && *byte != b'\n'));
    line.push(MARK);
}

/// Returns a rejected row and why; `None` if it is not rejected.
#[inline]
pub(super) fn rejected(record: &[u8]) -> Option<(&[u8], String)> {
    let record = record.strip_suffix(&[MARK])?;
    let mark = memchr::memrchr(MARK, record)?;
    let (row, reason) = record.split_at_checked(mark)?;
    Some((row, String::from_utf8_lossy(reason.get(1..).unwrap_or_default()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::types::ColumnType;
    use millstream_base::zone::Zone;

    fn column(name: &str, kind: &str, path: &[&str]) -> ColumnSpec {
        ColumnSpec::new(name, ColumnType::from_name(kind).unwrap()).at(path.iter().copied())
    }

    fn names(columns: &[ColumnSpec]) -> Vec<String> {
        in_lines(columns).iter().map(|column| column.path.join(".").replace(COPY, "#")).collect()
    }

    #[test]
    fn columns_that_want_a_value_in_different_forms_read_copies() {
        let berlin = |column: ColumnSpec| column.within(Zone::named("Europe/Berlin").unwrap());
        let columns = [
            column("a", "text", &["b"]),
            column("b", "binary", &["b"]),
            column("c", "text", &["b"]),
            column("d", "struct<n: text, l: list<binary>>", &["s"]),
            column("e", "text", &["s", "l", "0"]),
            column("f", "binary", &["s", "l", "1"]),
            column("g", "timestamp", &["at"]),
            berlin(column("h", "timestamp", &["at"])),
            column("i", "text", &["at"]),
            column("j", "text", &["s"]),
            berlin(column("k", "timestamp", &["s", "at"])),
        ];
        assert_eq!(names(&columns), ["b", "b#1", "b", "s", "s#1.l.0", "s.l.1", "at", "at#1", "at", "s", "s#1.at"]);
        assert_eq!(names(&[column("x", "int64", &[])]), ["x"]);
    }

    #[test]
    fn a_reason_is_read_as_it_was_written() {
        let mut line = br#"{"a":null}"#.to_vec();
        assert_eq!(rejected(&line), None);
        reject(&mut line, "column `a`: 5\n\u{1f} is too much");
        assert_eq!(rejected(&line), Some((&br#"{"a":null}"#[..], "column `a`: 5 is too much".to_owned())));
        for odd in [&b""[..], b"\x1f", b"\x1f\x1f"] {
            let _ = rejected(odd);
        }
    }
}
