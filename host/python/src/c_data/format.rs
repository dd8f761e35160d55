//! The format strings of types in the interface.

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use std::sync::Arc;

/// Returns the type of this format with its members, or `None` if it is not supported.
pub fn parse(format: &str, mut children: Vec<FieldRef>, keys_sorted: bool) -> Option<DataType> {
    let unit = |code: &str| {
        Some(match code {
            "s" => TimeUnit::Second,
            "m" => TimeUnit::Millisecond,
            "u" => TimeUnit::Microsecond,
            "n" => TimeUnit::Nanosecond,
            _ => return None,
        })
    };
    Some(match format {
        "n" => DataType::Null,
        "b" => DataType::Boolean,
        "c" => DataType::Int8,
        "C" => DataType::UInt8,
        "s" => DataType::Int16,
        "S" => DataType::UInt16,
        "i" => DataType::Int32,
        "I" => DataType::UInt32,
        "l" => DataType::Int64,
        "L" => DataType::UInt64,
        "e" => DataType::Float16,
        "f" => DataType::Float32,
        "g" => DataType::Float64,
        "z" => DataType::Binary,
        "Z" => DataType::LargeBinary,
        "vz" => DataType::BinaryView,
        "u" => DataType::Utf8,
        "U" => DataType::LargeUtf8,
        "vu" => DataType::Utf8View,
        "tdD" => DataType::Date32,
        "tdm" => DataType::Date64,
        "tts" | "ttm" => DataType::Time32(unit(format.get(2..)?)?),
        "ttu" | "ttn" => DataType::Time64(unit(format.get(2..)?)?),
        "tDs" | "tDm" | "tDu" | "tDn" => DataType::Duration(unit(format.get(2..)?)?),
        "tiM" => DataType::Interval(IntervalUnit::YearMonth),
        "tiD" => DataType::Interval(IntervalUnit::DayTime),
        "tin" => DataType::Interval(IntervalUnit::MonthDayNano),
        "+s" => DataType::Struct(children.into()),
        "+l" => DataType::List(children.pop()?),
        "+L" => DataType::LargeList(children.pop()?),
        "+m" => DataType::Map(children.pop()?, keys_sorted),
        _ => match format.split_once(':')? {
            ("w", bytes) => DataType::FixedSizeBinary(bytes.parse().ok().filter(|bytes| *bytes >= 0)?),
            ("+w", items) => DataType::FixedSizeList(children.pop()?, items.parse().ok().filter(|items| *items >= 0)?),
            ("d", numbers) => {
                let mut numbers = numbers.split(',');
                let (precision, scale) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
                match numbers.next().unwrap_or("128") {
                    "32" => DataType::Decimal32(precision, scale),
                    "64" => DataType::Decimal64(precision, scale),
                    "128" => DataType::Decimal128(precision, scale),
                    "256" => DataType::Decimal256(precision, scale),
                    _ => return None,
                }
            }
            (of, zone) => {
                let unit = unit(of.strip_prefix("ts")?)?;
                DataType::Timestamp(unit, (!zone.is_empty()).then(|| zone.into()))
            }
        },
    })
}

/// Returns the format of a type and its members, or `None` if it is not supported.
pub fn write(kind: &DataType) -> Option<(String, Vec<FieldRef>)> {
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 's',
        TimeUnit::Millisecond => 'm',
        TimeUnit::Microsecond => 'u',
        TimeUnit::Nanosecond => 'n',
    };
    let mut members = Vec::new();
    let text = match kind {
        DataType::Null => "n".into(),
        DataType::Boolean => "b".into(),
        DataType::Int8 => "c".into(),
        DataType::UInt8 => "C".into(),
        DataType::Int16 => "s".into(),
        DataType::UInt16 => "S".into(),
        DataType::Int32 => "i".into(),
        DataType::UInt32 => "I".into(),
        DataType::Int64 => "l".into(),
        DataType::UInt64 => "L".into(),
        DataType::Float16 => "e".into(),
        DataType::Float32 => "f".into(),
        DataType::Float64 => "g".into(),
        DataType::Binary => "z".into(),
        DataType::LargeBinary => "Z".into(),
        DataType::BinaryView => "vz".into(),
        DataType::Utf8 => "u".into(),
        DataType::LargeUtf8 => "U".into(),
        DataType::Utf8View => "vu".into(),
        DataType::Date32 => "tdD".into(),
        DataType::Date64 => "tdm".into(),
        DataType::Time32(of) | DataType::Time64(of) => format!("tt{}", unit(of)),
        DataType::Duration(of) => format!("tD{}", unit(of)),
        DataType::Interval(IntervalUnit::YearMonth) => "tiM".into(),
        DataType::Interval(IntervalUnit::DayTime) => "tiD".into(),
        DataType::Interval(IntervalUnit::MonthDayNano) => "tin".into(),
        DataType::Timestamp(of, zone) => format!("ts{}:{}", unit(of), zone.as_deref().unwrap_or_default()),
        DataType::FixedSizeBinary(bytes) => format!("w:{bytes}"),
        DataType::Decimal32(precision, scale) => format!("d:{precision},{scale},32"),
        DataType::Decimal64(precision, scale) => format!("d:{precision},{scale},64"),
        DataType::Decimal128(precision, scale) => format!("d:{precision},{scale}"),
        DataType::Decimal256(precision, scale) => format!("d:{precision},{scale},256"),
        DataType::Struct(fields) => {
            members.extend(fields.iter().cloned());
            "+s".into()
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            members.push(item.clone());
            let list = if matches!(kind, DataType::LargeList(_)) { "+L" } else { "+l" };
            if matches!(kind, DataType::Map(..)) { "+m".into() } else { list.to_owned() }
        }
        DataType::FixedSizeList(item, items) => {
            members.push(item.clone());
            format!("+w:{items}")
        }
        // The values are exported in a separate structure.
        DataType::Dictionary(keys, _) => return write(keys),
        _ => return None,
    };
    Some((text, members))
}

/// Returns the field of a dictionary's values.
pub fn values(kind: &DataType) -> Option<FieldRef> {
    match kind {
        DataType::Dictionary(_, values) => Some(Arc::new(Field::new("", values.as_ref().clone(), true))),
        _ => None,
    }
}
