//! Determines which types of a stream can be columns of a job, and how much memory rows take once they are expanded.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{ArrowDictionaryKeyType, DataType, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow::datatypes::{UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use millstream_rows::batch::types::ColumnType;

/// Returns the types directly within a type.
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

/// Returns whether types are nested at most `depth` deep.
pub fn is_shallow(kind: &DataType, depth: usize) -> bool {
    depth.checked_sub(1).is_some_and(|depth| members(kind).into_iter().all(|member| is_shallow(member, depth)))
}

/// Returns whether values can be written as JSON of a predictable size.
pub fn is_writable(kind: &DataType) -> bool {
    !matches!(kind, DataType::Union(..) | DataType::RunEndEncoded(..) | DataType::Interval(_))
        && members(kind).into_iter().all(is_writable)
}

/// Returns the type at a path within a value.
pub fn type_at<'a>(kind: &'a DataType, path: &[String]) -> Option<&'a DataType> {
    let Some((first, rest)) = path.split_first() else { return Some(kind) };
    match kind {
        DataType::Struct(members) => {
            members.iter().find(|member| member.name() == first).and_then(|member| type_at(member.data_type(), rest))
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => first.parse::<usize>().ok().and_then(|_| type_at(item.data_type(), rest)),
        // The type of map values is not checked.
        DataType::Map(_, _) => Some(&DataType::Null),
        _ => None,
    }
}

/// Returns whether values of a stream can be converted to a column's type.
pub fn is_convertible(kind: &DataType, wanted: &ColumnType) -> bool {
    use DataType as D;
    let is_text = matches!(kind, D::Utf8 | D::LargeUtf8 | D::Utf8View);
    let is_bytes = matches!(kind, D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_));
    let is_decimal = matches!(kind, D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..));
    match (kind, wanted) {
        (D::Null, _) => true,
        (D::Dictionary(_, values), wanted) => !values.is_nested() && is_convertible(values, wanted),
        _ if !is_writable(kind) => false,
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

/// A budget of bytes for expanded rows.
pub struct ByteBudget {
    left: u64,
}

impl ByteBudget {
    /// Creates a budget.
    pub fn new(bytes: u64) -> ByteBudget {
        ByteBudget { left: bytes }
    }

    fn take(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.left;
        self.left = self.left.saturating_sub(bytes);
        fits
    }

    /// Takes the memory of these values, each expanded where it occurs. Returns false if they exceed the budget. Every value counts at least one
    /// byte, so that this stops early.
    pub fn take_values(&mut self, values: &ArrayRef) -> bool {
        let count = values.len() as u64;
        if !self.take(count) {
            return false;
        }
        match values.data_type() {
            DataType::Utf8 => self.byte_span(values.as_string::<i32>().value_offsets()),
            DataType::Binary => self.byte_span(values.as_binary::<i32>().value_offsets()),
            DataType::LargeUtf8 => self.byte_span(values.as_string::<i64>().value_offsets()),
            DataType::LargeBinary => self.byte_span(values.as_binary::<i64>().value_offsets()),
            // The first four bytes of a view are its length.
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
                list.is_empty() || self.take_values(&list.values().slice(start, length))
            }
            DataType::Struct(members) => {
                let names: u64 = members.iter().map(|member| member.name().len() as u64).sum();
                self.take(names.saturating_mul(count))
                    && values.as_struct().columns().iter().all(|member| self.take_values(member))
            }
            DataType::Dictionary(key, _) => match key.as_ref() {
                DataType::Int8 => self.dictionary_values::<Int8Type>(values),
                DataType::Int16 => self.dictionary_values::<Int16Type>(values),
                DataType::Int32 => self.dictionary_values::<Int32Type>(values),
                DataType::Int64 => self.dictionary_values::<Int64Type>(values),
                DataType::UInt8 => self.dictionary_values::<UInt8Type>(values),
                DataType::UInt16 => self.dictionary_values::<UInt16Type>(values),
                DataType::UInt32 => self.dictionary_values::<UInt32Type>(values),
                DataType::UInt64 => self.dictionary_values::<UInt64Type>(values),
                _ => false,
            },
            other => self.take(count.saturating_mul(other.primitive_width().unwrap_or(1) as u64)),
        }
    }

    fn byte_span<O: Into<i64> + Copy>(&mut self, offsets: &[O]) -> bool {
        let ends = offsets.first().zip(offsets.last());
        let bytes = ends.map_or(0, |(first, last)| (*last).into().saturating_sub((*first).into()));
        self.take(u64::try_from(bytes).unwrap_or(0))
    }

    fn items<O: Into<i64> + Copy>(&mut self, items: &ArrayRef, offsets: &[O]) -> bool {
        let index = |offset: &O| usize::try_from((*offset).into()).unwrap_or(0).min(items.len());
        let (Some(first), Some(last)) = (offsets.first().map(index), offsets.last().map(index)) else { return true };
        self.take_values(&items.slice(first, last.saturating_sub(first)))
    }

    fn views<O: Into<i64> + Copy>(&mut self, items: &ArrayRef, offsets: &[O], sizes: &[O]) -> bool {
        let index = |offset: &O| usize::try_from((*offset).into()).unwrap_or(0).min(items.len());
        offsets.iter().zip(sizes).all(|(offset, size)| {
            let first = index(offset);
            self.take_values(&items.slice(first, index(size).min(items.len() - first)))
        })
    }

    /// Every row of a dictionary counts its value.
    fn dictionary_values<K: ArrowDictionaryKeyType>(&mut self, values: &ArrayRef) -> bool {
        let dictionary = values.as_dictionary::<K>();
        let items = dictionary.values();
        dictionary.keys_iter().flatten().all(|key| key >= items.len() || self.take_values(&items.slice(key, 1)))
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
        let fits = |values: ArrayRef, bytes: u64| ByteBudget::new(bytes).take_values(&values);
        let long = "x".repeat(1_000);
        let dictionary_values: ArrayRef = Arc::new(StringArray::from(vec![long.as_str()]));
        let keys = Int32Array::from(vec![0; 100]);
        let dictionary_values: ArrayRef = Arc::new(DictionaryArray::new(keys, dictionary_values));
        assert!(fits(dictionary_values.clone(), 120_000) && !fits(dictionary_values, 99_000));
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
        let can = |kind: DataType, wanted: &str| is_convertible(&kind, &ColumnType::from_name(wanted).unwrap());
        assert!(
            can(DataType::UInt8, "int64") && can(DataType::Float16, "float64") && can(DataType::Date32, "timestamp")
        );
        assert!(can(DataType::Utf8View, "text") && can(DataType::Int64, "text") && can(DataType::Null, "bool"));
        let runs = DataType::RunEndEncoded(
            Arc::new(Field::new("run_ends", DataType::Int32, false)),
            Arc::new(Field::new("values", DataType::Utf8, true)),
        );
        let nested = DataType::Struct(vec![Field::new("a", runs.clone(), true)].into());
        assert!(!can(runs, "text") && !can(nested, "text"));
        assert!(!can(DataType::Utf8, "int64") && !can(DataType::Float64, "int64") && !can(DataType::Utf8, "binary"));
        let mut deep = DataType::Int8;
        for _ in 0..10 {
            deep = DataType::List(Arc::new(Field::new("item", deep, true)));
        }
        assert!(is_shallow(&deep, 11) && !is_shallow(&deep, 10));
    }
}
