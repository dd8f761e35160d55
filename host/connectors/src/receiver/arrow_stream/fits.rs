//! Which types of a stream can be columns of a job, and how much memory rows take once they are written out.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{ArrowDictionaryKeyType, DataType, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow::datatypes::{UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use millstream_base::batch::types::ColumnType;

/// The types right within a type.
fn members(kind: &DataType) -> Vec<&DataType> {
    match kind {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![item.data_type()],
        DataType::Struct(members) => members.iter().map(|member| member.data_type()).collect(),
        DataType::Union(members, _) => members.iter().map(|(_, member)| member.data_type()).collect(),
        DataType::RunEndEncoded(_, values) => vec![values.data_type()],
        DataType::Dictionary(_, values) => vec![values],
        _ => Vec::new(),
    }
}

/// Whether no more than so many types lie within each other.
pub fn is_shallow(kind: &DataType, depth: usize) -> bool {
    depth.checked_sub(1).is_some_and(|depth| members(kind).into_iter().all(|member| is_shallow(member, depth)))
}

/// Whether values can be written as JSON, each in room that is known before.
pub fn is_written(kind: &DataType) -> bool {
    !matches!(kind, DataType::Union(..) | DataType::RunEndEncoded(..) | DataType::Interval(_))
        && members(kind).into_iter().all(is_written)
}

/// The type at a path within a value.
pub fn within<'a>(kind: &'a DataType, path: &[String]) -> Option<&'a DataType> {
    let Some((first, rest)) = path.split_first() else { return Some(kind) };
    match kind {
        DataType::Struct(members) => {
            members.iter().find(|member| member.name() == first).and_then(|member| within(member.data_type(), rest))
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => first.parse::<usize>().ok().and_then(|_| within(item.data_type(), rest)),
        // Whatever is in it.
        DataType::Map(_, _) => Some(&DataType::Null),
        _ => None,
    }
}

/// Whether values of a stream can be values of a column.
pub fn can_be(kind: &DataType, wanted: &ColumnType) -> bool {
    use DataType as D;
    let is_text = matches!(kind, D::Utf8 | D::LargeUtf8 | D::Utf8View);
    let is_bytes = matches!(kind, D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_));
    let is_decimal = matches!(kind, D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..));
    match (kind, wanted) {
        (D::Null, _) => true,
        (D::Dictionary(_, values), wanted) => !values.is_nested() && can_be(values, wanted),
        _ if !is_written(kind) => false,
        (_, ColumnType::Text) => true,
        (_, ColumnType::Bool) => *kind == D::Boolean,
        (_, ColumnType::Int64) => kind.is_integer(),
        (_, ColumnType::Float64) => kind.is_integer() || kind.is_floating() || is_decimal,
        (_, ColumnType::Binary) => is_bytes,
        (_, ColumnType::Timestamp) => {
            is_text || kind.is_integer() || matches!(kind, D::Timestamp(..) | D::Date32 | D::Date64)
        }
        (_, ColumnType::Arrow(D::Date32)) => is_text || matches!(kind, D::Date32 | D::Date64),
        (_, ColumnType::Arrow(D::Decimal128(..))) => is_decimal || kind.is_integer() || is_text,
        (
            D::List(_) | D::LargeList(_) | D::ListView(_) | D::LargeListView(_) | D::FixedSizeList(..),
            ColumnType::Arrow(D::List(_)),
        ) => true,
        (D::Struct(_) | D::Map(..), ColumnType::Arrow(D::Struct(_))) => true,
        _ => false,
    }
}

/// How many more bytes rows may take.
pub struct BytesLeft {
    left: u64,
}

impl BytesLeft {
    /// So many.
    pub fn new(bytes: u64) -> BytesLeft {
        BytesLeft { left: bytes }
    }

    fn take(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.left;
        self.left = self.left.saturating_sub(bytes);
        fits
    }

    /// Whether these values fit beside those before, each written out where it stands. No value counts as nothing, so that this ends soon
    /// where they do not.
    pub fn holds(&mut self, values: &ArrayRef) -> bool {
        let count = values.len() as u64;
        if !self.take(count) {
            return false;
        }
        match values.data_type() {
            DataType::Utf8 => self.between(values.as_string::<i32>().value_offsets()),
            DataType::Binary => self.between(values.as_binary::<i32>().value_offsets()),
            DataType::LargeUtf8 => self.between(values.as_string::<i64>().value_offsets()),
            DataType::LargeBinary => self.between(values.as_binary::<i64>().value_offsets()),
            // The length is the first thing in a view.
            DataType::Utf8View => values.as_string_view().views().iter().all(|view| self.take(u64::from(*view as u32))),
            DataType::BinaryView => {
                values.as_binary_view().views().iter().all(|view| self.take(u64::from(*view as u32)))
            }
            DataType::FixedSizeBinary(width) => self.take(count.saturating_mul(u64::try_from(*width).unwrap_or(0))),
            DataType::List(_) => {
                let list = values.as_list::<i32>();
                self.items(list.values(), list.value_offsets())
            }
            DataType::LargeList(_) => {
                let list = values.as_list::<i64>();
                self.items(list.values(), list.value_offsets())
            }
            DataType::Map(..) => {
                let map = values.as_map();
                let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
                self.items(&entries, map.value_offsets())
            }
            DataType::ListView(_) => {
                let list = values.as_list_view::<i32>();
                self.views(list.values(), list.value_offsets(), list.value_sizes())
            }
            DataType::LargeListView(_) => {
                let list = values.as_list_view::<i64>();
                self.views(list.values(), list.value_offsets(), list.value_sizes())
            }
            DataType::FixedSizeList(_, _) => {
                let list = values.as_fixed_size_list();
                let start = usize::try_from(list.value_offset(0)).unwrap_or(0);
                let length = list.len().saturating_mul(usize::try_from(list.value_length()).unwrap_or(0));
                list.is_empty() || self.holds(&list.values().slice(start, length))
            }
            DataType::Struct(members) => {
                let names: u64 = members.iter().map(|member| member.name().len() as u64).sum();
                self.take(names.saturating_mul(count))
                    && values.as_struct().columns().iter().all(|member| self.holds(member))
            }
            DataType::Dictionary(key, _) => match key.as_ref() {
                DataType::Int8 => self.words::<Int8Type>(values),
                DataType::Int16 => self.words::<Int16Type>(values),
                DataType::Int32 => self.words::<Int32Type>(values),
                DataType::Int64 => self.words::<Int64Type>(values),
                DataType::UInt8 => self.words::<UInt8Type>(values),
                DataType::UInt16 => self.words::<UInt16Type>(values),
                DataType::UInt32 => self.words::<UInt32Type>(values),
                DataType::UInt64 => self.words::<UInt64Type>(values),
                _ => false,
            },
            other => self.take(count.saturating_mul(other.primitive_width().unwrap_or(1) as u64)),
        }
    }

    fn between<O: Into<i64> + Copy>(&mut self, offsets: &[O]) -> bool {
        let ends = offsets.first().zip(offsets.last());
        let bytes = ends.map_or(0, |(first, last)| (*last).into().saturating_sub((*first).into()));
        self.take(u64::try_from(bytes).unwrap_or(0))
    }

    fn items<O: Into<i64> + Copy>(&mut self, items: &ArrayRef, offsets: &[O]) -> bool {
        let place = |offset: &O| usize::try_from((*offset).into()).unwrap_or(0).min(items.len());
        let (Some(first), Some(last)) = (offsets.first().map(place), offsets.last().map(place)) else { return true };
        self.holds(&items.slice(first, last.saturating_sub(first)))
    }

    fn views<O: Into<i64> + Copy>(&mut self, items: &ArrayRef, offsets: &[O], sizes: &[O]) -> bool {
        let place = |offset: &O| usize::try_from((*offset).into()).unwrap_or(0).min(items.len());
        offsets.iter().zip(sizes).all(|(offset, size)| {
            let first = place(offset);
            self.holds(&items.slice(first, place(size).min(items.len() - first)))
        })
    }

    /// Of a dictionary each row has a value.
    fn words<K: ArrowDictionaryKeyType>(&mut self, values: &ArrayRef) -> bool {
        let dictionary = values.as_dictionary::<K>();
        let words = dictionary.values();
        dictionary.keys_iter().flatten().all(|key| key >= words.len() || self.holds(&words.slice(key, 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int32Array, ListViewArray, StringArray, StringViewArray};
    use arrow::buffer::ScalarBuffer;
    use arrow::datatypes::Field;
    use std::sync::Arc;

    #[test]
    fn what_stands_in_many_rows_counts_in_each() {
        let fits = |values: ArrayRef, bytes: u64| BytesLeft::new(bytes).holds(&values);
        let long = "x".repeat(1_000);
        let words: ArrayRef = Arc::new(StringArray::from(vec![long.as_str()]));
        let keys = Int32Array::from(vec![0; 100]);
        let words: ArrayRef = Arc::new(DictionaryArray::new(keys, words));
        assert!(fits(words.clone(), 120_000) && !fits(words, 99_000));
        let views: ArrayRef = Arc::new(StringViewArray::from(vec![long.as_str(); 100]));
        assert!(fits(views.clone(), 120_000) && !fits(views, 99_000));
        let items: ArrayRef = Arc::new(Int32Array::from(vec![1; 1_000]));
        let item = Arc::new(Field::new("item", DataType::Int32, true));
        let (offsets, sizes) = (ScalarBuffer::from(vec![0; 100]), ScalarBuffer::from(vec![1_000; 100]));
        let lists: ArrayRef = Arc::new(ListViewArray::new(item, offsets, sizes, items, None));
        assert!(fits(lists.clone(), 600_000) && !fits(lists, 400_000));
    }

    #[test]
    fn types_hold_what_they_can() {
        let can = |kind: DataType, wanted: &str| can_be(&kind, &ColumnType::from_name(wanted).unwrap());
        assert!(
            can(DataType::UInt8, "int64") && can(DataType::Float16, "float64") && can(DataType::Date32, "timestamp")
        );
        assert!(can(DataType::Utf8View, "text") && can(DataType::Int64, "text") && can(DataType::Null, "bool"));
        let runs = DataType::RunEndEncoded(
            Arc::new(Field::new("run_ends", DataType::Int32, false)),
            Arc::new(Field::new("values", DataType::Utf8, true)),
        );
        let within = DataType::Struct(vec![Field::new("a", runs.clone(), true)].into());
        assert!(!can(runs, "text") && !can(within, "text"));
        assert!(!can(DataType::Utf8, "int64") && !can(DataType::Float64, "int64") && !can(DataType::Utf8, "binary"));
        let mut deep = DataType::Int8;
        for _ in 0..10 {
            deep = DataType::List(Arc::new(Field::new("item", deep, true)));
        }
        assert!(is_shallow(&deep, 11) && !is_shallow(&deep, 10));
    }
}
