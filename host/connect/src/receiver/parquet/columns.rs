//! Converts columns of a file to those of the job if their types differ only in representation: times of any unit, numbers of any width, lists of any
//! layout. Their values in JSON must not change. A value that no column of the job can hold rejects its row.

use super::leaves::{Leaf, LeafKind, convert};
use super::{SHOWN_BYTES_MAX, damaged};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use millstream_base::shown::harmless;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::decode::json::index_of;
use millstream_rows::decode::parquet::{LineMember, members};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// What a column of the job reads of a value, or of a part of it.
#[derive(Clone)]
pub struct ReadTarget<'a> {
    /// Index of the column in the job's schema.
    pub column: usize,
    pub spec: &'a ColumnSpec,
    /// The rest of the path.
    pub path: &'a [String],
    pub kind: DataType,
    /// Whether the column reads an enclosing value as text.
    pub outer: bool,
}

/// A value that a column of the job cannot hold.
pub struct Rejection {
    /// Index of the value in its array.
    pub at: usize,
    pub column: usize,
    pub reason: String,
}

/// A converted array, and its rejected values.
pub type ConversionResult = Result<(ArrayRef, Vec<Rejection>), ArrowError>;

/// Rows of a file for the columns of the job.
pub struct WantedRows {
    /// The rows, with a column for each member of a line.
    pub rows: RecordBatch,
    /// Rejected rows, and why.
    pub rejected: BTreeMap<usize, String>,
}

impl WantedRows {
    /// Returns the rows if none is rejected, otherwise the reason of the first rejection.
    pub fn all(self) -> Result<RecordBatch, String> {
        match self.rejected.into_values().next() {
            None => Ok(self.rows),
            Some(reason) => Err(reason),
        }
    }
}

/// Type information of a file in addition to its Arrow types.
#[derive(Default)]
pub struct FileLeaves {
    /// Kinds of the leaves of each column, in order; empty if unknown.
    pub kinds: Vec<Vec<LeafKind>>,
}

/// Converts rows that arrive as columns to these columns of the job.
pub fn to_wanted(rows: &RecordBatch, columns: &[ColumnSpec]) -> io::Result<WantedRows> {
    let mut members: Vec<LineMember> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let root = column.value_path().first().map_or("", String::as_str);
        match members.iter_mut().find(|member| member.root == root) {
            Some(member) => member.columns.push(index),
            None => members.push(LineMember { name: root.into(), root: root.into(), columns: vec![index] }),
        }
    }
    convert_members(rows, None, &FileLeaves::default(), columns, &members)
}

/// Converts rows of a file to the members of lines. `wide` has the same times in milliseconds, as microseconds may have overflowed.
pub fn wanted_rows(
    rows: &RecordBatch,
    wide: Option<&RecordBatch>,
    leaves: &FileLeaves,
    columns: &[ColumnSpec],
) -> io::Result<WantedRows> {
    convert_members(rows, wide, leaves, columns, &members(columns))
}

fn convert_members(
    rows: &RecordBatch,
    wide: Option<&RecordBatch>,
    leaves: &FileLeaves,
    columns: &[ColumnSpec],
    members: &[LineMember],
) -> io::Result<WantedRows> {
    let (mut fields, mut converted_arrays): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    let mut rejected: BTreeMap<usize, (usize, String)> = BTreeMap::new();
    for (index, (field, column)) in rows.schema().fields().iter().zip(rows.columns()).enumerate() {
        let wide = wide.and_then(|wide| wide.column_by_name(field.name()));
        for member in members.iter().filter(|member| member.root == *field.name()) {
            let wants: Vec<ReadTarget<'_>> = member.columns.iter().filter_map(|index| want(*index, columns)).collect();
            let kinds = leaves.kinds.get(index).map_or(&[][..], Vec::as_slice);
            let (column, rejections) = Walk { kinds: kinds.iter() }.array(column, wide, &wants).map_err(damaged)?;
            fields.push(Field::new(&member.name, column.data_type().clone(), true));
            converted_arrays.push(column);
            for Rejection { at, column, reason } in rejections {
                let first = rejected.entry(at).or_insert_with(|| (column, reason.clone()));
                if column < first.0 {
                    *first = (column, reason);
                }
            }
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), converted_arrays, &options)
        .map_err(damaged)?;
    Ok(WantedRows { rows, rejected: rejected.into_iter().map(|(row, (_, reason))| (row, reason)).collect() })
}

fn want(column: usize, columns: &[ColumnSpec]) -> Option<ReadTarget<'_>> {
    let spec = columns.get(column)?;
    Some(ReadTarget { column, spec, path: spec.value_path().get(1..)?, kind: spec.kind.arrow(), outer: false })
}

/// Visits a column down to its leaves.
struct Walk<'a> {
    kinds: std::slice::Iter<'a, LeafKind>,
}

impl Walk<'_> {
    fn array(&mut self, array: &ArrayRef, wide: Option<&ArrayRef>, wants: &[ReadTarget<'_>]) -> ConversionResult {
        match array.data_type() {
            DataType::List(_) => self.list(array.as_list(), wide, wants),
            DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _) => {
                let item = item.clone();
                let wide = wide.map(|wide| as_list(wide, &item_of(wide.data_type(), &item))).transpose()?;
                self.list(as_list(array, &item)?.as_list(), wide.as_ref(), wants)
            }
            DataType::Struct(_) => self.convert_struct(array.as_struct(), wide, wants),
            DataType::Map(..) => self.map(array.as_map(), wide, wants),
            DataType::Dictionary(_, values) => {
                let values = cast(array, values)?;
                self.array(&values, wide, wants)
            }
            _ => {
                let kind = self.kinds.next().copied().unwrap_or_default();
                convert(&Leaf { array, wide, kind, wants })
            }
        }
    }

    fn list(&mut self, list: &ListArray, wide: Option<&ArrayRef>, wants: &[ReadTarget<'_>]) -> ConversionResult {
        let item_wants: Vec<ReadTarget<'_>> = wants.iter().filter_map(item_want).collect();
        let wide = wide.and_then(|wide| wide.as_list_opt::<i32>()).map(ListArray::values);
        let (items, rejections) = self.array(list.values(), wide, &item_wants)?;
        let lists = ListPositions { offsets: list.offsets(), array: list };
        let rejections = lists.rejections(rejections, |rejection, at| {
            let is_own_item = |want: &ReadTarget<'_>| want.path.first().is_none_or(|first| index_of(first) == Some(at));
            wants.iter().any(|want| want.column == rejection.column && (want.outer || is_own_item(want)))
        });
        let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
        let converted = ListArray::try_new(field, list.offsets().clone(), items, list.nulls().cloned())?;
        Ok((Arc::new(converted), rejections))
    }

    fn convert_struct(
        &mut self,
        value: &StructArray,
        wide: Option<&ArrayRef>,
        wants: &[ReadTarget<'_>],
    ) -> ConversionResult {
        let (mut fields, mut columns, mut rejected) = (Vec::<FieldRef>::new(), Vec::new(), Vec::new());
        let wide = wide.and_then(|wide| wide.as_struct_opt());
        for (index, (field, member)) in value.fields().iter().zip(value.columns()).enumerate() {
            let member_wants: Vec<ReadTarget<'_>> =
                wants.iter().filter_map(|want| member_want(want, field.name())).collect();
            let (member, rejections) =
                self.array(member, wide.and_then(|wide| wide.columns().get(index)), &member_wants)?;
            fields.push(Arc::new(Field::new(field.name(), member.data_type().clone(), true)));
            columns.push(member);
            rejected.extend(rejections.into_iter().filter(|rejection| value.is_valid(rejection.at)));
        }
        let converted = StructArray::try_new_with_length(fields.into(), columns, value.nulls().cloned(), value.len())?;
        Ok((Arc::new(converted), rejected))
    }

    fn map(&mut self, map: &MapArray, wide: Option<&ArrayRef>, wants: &[ReadTarget<'_>]) -> ConversionResult {
        let wide = wide.and_then(|wide| wide.as_map_opt());
        let key_wants: Vec<ReadTarget<'_>> = wants.iter().map(key_want).collect();
        let (keys, mut rejections) = self.array(map.keys(), wide.map(MapArray::keys), &key_wants)?;
        let keys = super::leaves::key_texts(&keys)?;
        let value_wants: Vec<ReadTarget<'_>> = wants.iter().flat_map(value_wants).collect();
        let (values, value_refusals) = self.array(map.values(), wide.map(MapArray::values), &value_wants)?;
        rejections.extend(value_refusals.into_iter().filter(|rejection| {
            let key = keys.is_valid(rejection.at).then(|| keys.value(rejection.at));
            wants.iter().any(|want| want.column == rejection.column && reads_key(want, key.unwrap_or_default()))
        }));
        let rejections = ListPositions { offsets: map.offsets(), array: map }.rejections(rejections, |_, _| true);
        let fields =
            vec![Field::new("keys", DataType::Utf8, false), Field::new("values", values.data_type().clone(), true)];
        let entries = StructArray::try_new(fields.into(), vec![Arc::new(keys), values], None)?;
        let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
        let converted = MapArray::try_new(field, map.offsets().clone(), entries, map.nulls().cloned(), false)?;
        Ok((Arc::new(converted), rejections))
    }
}

/// Returns the item field of a list of any layout.
fn item_of(kind: &DataType, other: &FieldRef) -> FieldRef {
    match kind {
        DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => item.clone(),
        _ => other.clone(),
    }
}

fn as_list(array: &ArrayRef, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
    cast(array, &DataType::List(item.clone()))
}

/// The positions of values in lists.
struct ListPositions<'a> {
    offsets: &'a OffsetBuffer<i32>,
    array: &'a dyn Array,
}

impl ListPositions<'_> {
    /// Converts rejections of items to those of their lists. `is_read` returns whether the column reads the item at this index.
    fn rejections(&self, rejections: Vec<Rejection>, is_read: impl Fn(&Rejection, usize) -> bool) -> Vec<Rejection> {
        let to_list = |rejection: Rejection| {
            let list = self.offsets.partition_point(|offset| *offset as usize <= rejection.at).checked_sub(1)?;
            let index = rejection.at - *self.offsets.get(list)? as usize;
            let is_valid_list = list < self.array.len() && self.array.is_valid(list);
            (is_valid_list && is_read(&rejection, index)).then_some(Rejection { at: list, ..rejection })
        };
        rejections.into_iter().filter_map(to_list).collect()
    }
}

fn item_want<'a>(want: &ReadTarget<'a>) -> Option<ReadTarget<'a>> {
    match (want.path.split_first(), &want.kind) {
        _ if want.outer => Some(want.clone()),
        (Some((first, rest)), _) => index_of(first).map(|_| ReadTarget { path: rest, ..want.clone() }),
        (None, DataType::List(item)) => Some(ReadTarget { kind: item.data_type().clone(), ..want.clone() }),
        (None, DataType::Utf8) => Some(ReadTarget { outer: true, ..want.clone() }),
        _ => None,
    }
}

fn member_want<'a>(want: &ReadTarget<'a>, name: &str) -> Option<ReadTarget<'a>> {
    match (want.path.split_first(), &want.kind) {
        _ if want.outer => Some(want.clone()),
        (Some((first, rest)), _) => (first == name).then(|| ReadTarget { path: rest, ..want.clone() }),
        (None, DataType::Struct(members)) => {
            let member = members.iter().find(|member| member.name() == name)?;
            Some(ReadTarget { kind: member.data_type().clone(), ..want.clone() })
        }
        (None, DataType::Utf8) => Some(ReadTarget { outer: true, ..want.clone() }),
        _ => None,
    }
}

/// Paths name keys as they are written.
fn key_want<'a>(want: &ReadTarget<'a>) -> ReadTarget<'a> {
    ReadTarget { path: &[], kind: DataType::Utf8, outer: false, ..want.clone() }
}

/// Returns what is read of the values of a map, for any key.
fn value_wants<'a>(want: &ReadTarget<'a>) -> Vec<ReadTarget<'a>> {
    match (want.path.split_first(), &want.kind) {
        _ if want.outer => vec![want.clone()],
        (Some((_, rest)), _) => vec![ReadTarget { path: rest, ..want.clone() }],
        (None, DataType::Struct(members)) => {
            let member = |member: &FieldRef| ReadTarget { kind: member.data_type().clone(), ..want.clone() };
            members.iter().map(member).collect()
        }
        (None, DataType::Utf8) => vec![ReadTarget { outer: true, ..want.clone() }],
        _ => Vec::new(),
    }
}

/// Returns whether a column reads the value of this key.
fn reads_key(want: &ReadTarget<'_>, key: &str) -> bool {
    match (want.path.first(), &want.kind) {
        _ if want.outer => true,
        (Some(first), _) => first == key,
        (None, DataType::Struct(members)) => members.iter().any(|member| member.name() == key),
        (None, _) => true,
    }
}

/// Returns the path of a column in the file, for messages.
pub fn shown_path(spec: &ColumnSpec) -> String {
    harmless(&spec.value_path().join("."), SHOWN_BYTES_MAX)
}
