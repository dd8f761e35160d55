//! Columns of a file as the job has them, where their types are others in name only: times of any unit, numbers of any width,
//! lists of any layout. What is written as JSON must be what it was; a value that no column of the job can hold refuses its row.

use super::leaves::{Leaf, LeafKind, converted};
use super::{SHOWN_BYTES_MAX, damaged};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use millstream_base::batch::column::ColumnSpec;
use millstream_base::decode::json::place_of;
use millstream_base::decode::parquet::{LineMember, members};
use millstream_base::shown::harmless;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// What a column of the job wants of a value, or of what is in it.
#[derive(Clone)]
pub struct Want<'a> {
    /// The place of the column in the schema.
    pub column: usize,
    pub spec: &'a ColumnSpec,
    /// The rest of the path.
    pub path: &'a [String],
    pub kind: DataType,
    /// It takes what the value is in, as text.
    pub outer: bool,
}

/// A value that a column of the job cannot hold.
pub struct Refusal {
    /// Where it is in its array.
    pub at: usize,
    pub column: usize,
    pub reason: String,
}

/// An array in a type of ours, and what of it is refused.
pub type Converted = Result<(ArrayRef, Vec<Refusal>), ArrowError>;

/// Rows of a file for columns of the job.
pub struct WantedRows {
    /// With a column for each member of a line.
    pub rows: RecordBatch,
    /// Rows that are refused, and why.
    pub refused: BTreeMap<usize, String>,
}

impl WantedRows {
    /// The rows, if none is refused; else why the first one is.
    pub fn all(self) -> Result<RecordBatch, String> {
        match self.refused.into_values().next() {
            None => Ok(self.rows),
            Some(reason) => Err(reason),
        }
    }
}

/// What is known of the columns of a file besides their Arrow types.
#[derive(Default)]
pub struct FileLeaves {
    /// Of the leaves of each column, in their order; empty: nothing.
    pub kinds: Vec<Vec<LeafKind>>,
}

/// Rows that come as columns, for these columns of the job.
pub fn as_wanted(rows: &RecordBatch, columns: &[ColumnSpec]) -> io::Result<WantedRows> {
    let mut members: Vec<LineMember> = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        let root = column.place().first().map_or("", String::as_str);
        match members.iter_mut().find(|member| member.root == root) {
            Some(member) => member.columns.push(place),
            None => members.push(LineMember { name: root.into(), root: root.into(), columns: vec![place] }),
        }
    }
    of_members(rows, None, &FileLeaves::default(), columns, &members)
}

/// Rows of a file for the members of lines. `wide`: columns of the same rows with times in milliseconds, where microseconds may have
/// overflowed.
pub fn wanted_rows(
    rows: &RecordBatch,
    wide: Option<&RecordBatch>,
    leaves: &FileLeaves,
    columns: &[ColumnSpec],
) -> io::Result<WantedRows> {
    of_members(rows, wide, leaves, columns, &members(columns))
}

fn of_members(
    rows: &RecordBatch,
    wide: Option<&RecordBatch>,
    leaves: &FileLeaves,
    columns: &[ColumnSpec],
    members: &[LineMember],
) -> io::Result<WantedRows> {
    let (mut fields, mut made): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    let mut refused: BTreeMap<usize, (usize, String)> = BTreeMap::new();
    for (place, (field, column)) in rows.schema().fields().iter().zip(rows.columns()).enumerate() {
        let wide = wide.and_then(|wide| wide.column_by_name(field.name()));
        for member in members.iter().filter(|member| member.root == *field.name()) {
            let wants: Vec<Want<'_>> = member.columns.iter().filter_map(|place| want(*place, columns)).collect();
            let kinds = leaves.kinds.get(place).map_or(&[][..], Vec::as_slice);
            let (column, refusals) = Walk { kinds: kinds.iter() }.array(column, wide, &wants).map_err(damaged)?;
            fields.push(Field::new(&member.name, column.data_type().clone(), true));
            made.push(column);
            for Refusal { at, column, reason } in refusals {
                let first = refused.entry(at).or_insert_with(|| (column, reason.clone()));
                if column < first.0 {
                    *first = (column, reason);
                }
            }
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), made, &options).map_err(damaged)?;
    Ok(WantedRows { rows, refused: refused.into_iter().map(|(row, (_, reason))| (row, reason)).collect() })
}

fn want(column: usize, columns: &[ColumnSpec]) -> Option<Want<'_>> {
    let spec = columns.get(column)?;
    Some(Want { column, spec, path: spec.place().get(1..)?, kind: spec.kind.arrow(), outer: false })
}

/// Goes through a column down to its leaves.
struct Walk<'a> {
    kinds: std::slice::Iter<'a, LeafKind>,
}

impl Walk<'_> {
    fn array(&mut self, array: &ArrayRef, wide: Option<&ArrayRef>, wants: &[Want<'_>]) -> Converted {
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
            DataType::Struct(_) => self.structs(array.as_struct(), wide, wants),
            DataType::Map(..) => self.map(array.as_map(), wide, wants),
            DataType::Dictionary(_, values) => {
                let values = cast(array, values)?;
                self.array(&values, wide, wants)
            }
            _ => {
                let kind = self.kinds.next().copied().unwrap_or_default();
                converted(&Leaf { array, wide, kind, wants })
            }
        }
    }

    fn list(&mut self, list: &ListArray, wide: Option<&ArrayRef>, wants: &[Want<'_>]) -> Converted {
        let of_items: Vec<Want<'_>> = wants.iter().filter_map(of_item).collect();
        let wide = wide.and_then(|wide| wide.as_list_opt::<i32>()).map(ListArray::values);
        let (items, refusals) = self.array(list.values(), wide, &of_items)?;
        let lists = Lists { offsets: list.offsets(), array: list };
        let refusals = lists.refusals(refusals, |refusal, at| {
            let is_it = |want: &Want<'_>| want.path.first().is_none_or(|first| place_of(first) == Some(at));
            wants.iter().any(|want| want.column == refusal.column && (want.outer || is_it(want)))
        });
        let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
        let made = ListArray::try_new(field, list.offsets().clone(), items, list.nulls().cloned())?;
        Ok((Arc::new(made), refusals))
    }

    fn structs(&mut self, value: &StructArray, wide: Option<&ArrayRef>, wants: &[Want<'_>]) -> Converted {
        let (mut fields, mut columns, mut refused) = (Vec::<FieldRef>::new(), Vec::new(), Vec::new());
        let wide = wide.and_then(|wide| wide.as_struct_opt());
        for (place, (field, member)) in value.fields().iter().zip(value.columns()).enumerate() {
            let of_member: Vec<Want<'_>> = wants.iter().filter_map(|want| of_member(want, field.name())).collect();
            let (member, refusals) = self.array(member, wide.and_then(|wide| wide.columns().get(place)), &of_member)?;
            fields.push(Arc::new(Field::new(field.name(), member.data_type().clone(), true)));
            columns.push(member);
            refused.extend(refusals.into_iter().filter(|refusal| value.is_valid(refusal.at)));
        }
        let made = StructArray::try_new_with_length(fields.into(), columns, value.nulls().cloned(), value.len())?;
        Ok((Arc::new(made), refused))
    }

    fn map(&mut self, map: &MapArray, wide: Option<&ArrayRef>, wants: &[Want<'_>]) -> Converted {
        let wide = wide.and_then(|wide| wide.as_map_opt());
        let of_keys: Vec<Want<'_>> = wants.iter().map(of_key).collect();
        let (keys, mut refusals) = self.array(map.keys(), wide.map(MapArray::keys), &of_keys)?;
        let keys = super::leaves::texts(&keys)?;
        let of_values: Vec<Want<'_>> = wants.iter().flat_map(of_values).collect();
        let (values, of_them) = self.array(map.values(), wide.map(MapArray::values), &of_values)?;
        refusals.extend(of_them.into_iter().filter(|refusal| {
            let key = keys.is_valid(refusal.at).then(|| keys.value(refusal.at));
            wants.iter().any(|want| want.column == refusal.column && reads_key(want, key.unwrap_or_default()))
        }));
        let refusals = Lists { offsets: map.offsets(), array: map }.refusals(refusals, |_, _| true);
        let fields =
            vec![Field::new("keys", DataType::Utf8, false), Field::new("values", values.data_type().clone(), true)];
        let entries = StructArray::try_new(fields.into(), vec![Arc::new(keys), values], None)?;
        let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
        let made = MapArray::try_new(field, map.offsets().clone(), entries, map.nulls().cloned(), false)?;
        Ok((Arc::new(made), refusals))
    }
}

/// The items of a list of any layout.
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

/// Where values stand in lists.
struct Lists<'a> {
    offsets: &'a OffsetBuffer<i32>,
    array: &'a dyn Array,
}

impl Lists<'_> {
    /// Refusals of items as those of the lists that they are in. `is_read`: whether the column reads the item at this place.
    fn refusals(&self, refusals: Vec<Refusal>, is_read: impl Fn(&Refusal, usize) -> bool) -> Vec<Refusal> {
        let within = |refusal: Refusal| {
            let list = self.offsets.partition_point(|offset| *offset as usize <= refusal.at).checked_sub(1)?;
            let place = refusal.at - *self.offsets.get(list)? as usize;
            let is_there = list < self.array.len() && self.array.is_valid(list);
            (is_there && is_read(&refusal, place)).then_some(Refusal { at: list, ..refusal })
        };
        refusals.into_iter().filter_map(within).collect()
    }
}

fn of_item<'a>(want: &Want<'a>) -> Option<Want<'a>> {
    match (want.path.split_first(), &want.kind) {
        _ if want.outer => Some(want.clone()),
        (Some((first, rest)), _) => place_of(first).map(|_| Want { path: rest, ..want.clone() }),
        (None, DataType::List(item)) => Some(Want { kind: item.data_type().clone(), ..want.clone() }),
        (None, DataType::Utf8) => Some(Want { outer: true, ..want.clone() }),
        _ => None,
    }
}

fn of_member<'a>(want: &Want<'a>, name: &str) -> Option<Want<'a>> {
    match (want.path.split_first(), &want.kind) {
        _ if want.outer => Some(want.clone()),
        (Some((first, rest)), _) => (first == name).then(|| Want { path: rest, ..want.clone() }),
        (None, DataType::Struct(members)) => {
            let member = members.iter().find(|member| member.name() == name)?;
            Some(Want { kind: member.data_type().clone(), ..want.clone() })
        }
        (None, DataType::Utf8) => Some(Want { outer: true, ..want.clone() }),
        _ => None,
    }
}

/// Paths name keys as they are written.
fn of_key<'a>(want: &Want<'a>) -> Want<'a> {
    Want { path: &[], kind: DataType::Utf8, outer: false, ..want.clone() }
}

/// What is wanted of the values of a map, whatever their keys.
fn of_values<'a>(want: &Want<'a>) -> Vec<Want<'a>> {
    match (want.path.split_first(), &want.kind) {
        _ if want.outer => vec![want.clone()],
        (Some((_, rest)), _) => vec![Want { path: rest, ..want.clone() }],
        (None, DataType::Struct(members)) => {
            let member = |member: &FieldRef| Want { kind: member.data_type().clone(), ..want.clone() };
            members.iter().map(member).collect()
        }
        (None, DataType::Utf8) => vec![Want { outer: true, ..want.clone() }],
        _ => Vec::new(),
    }
}

/// Whether a column reads the value of this key.
fn reads_key(want: &Want<'_>, key: &str) -> bool {
    match (want.path.first(), &want.kind) {
        _ if want.outer => true,
        (Some(first), _) => first == key,
        (None, DataType::Struct(members)) => members.iter().any(|member| member.name() == key),
        (None, _) => true,
    }
}

/// The path of a column in the file, for messages.
pub fn shown_path(spec: &ColumnSpec) -> String {
    harmless(&spec.place().join("."), SHOWN_BYTES_MAX)
}
