//! Column types beyond the six plain ones, as job files and errors write them: `decimal(18,4)`, `date`, `list<text>` and `struct<id: int64, tags:
//! list<text>>`.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, TimeUnit};
use std::sync::Arc;

/// Maximum nesting of types.
const DEPTH_MAX: usize = 16;
/// Maximum members of a struct, including those of inner structs.
const MEMBERS_MAX: usize = 1000;

/// Returns one of the six plain types by its name.
pub(super) fn plain_from_name(name: &str) -> Option<DataType> {
    Some(match name {
        "bool" => DataType::Boolean,
        "int64" => DataType::Int64,
        "float64" => DataType::Float64,
        "text" => DataType::Utf8,
        "binary" => DataType::Binary,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => return None,
    })
}

/// Returns the name of one of the six plain types.
pub(super) fn plain_name(kind: &DataType) -> Option<&'static str> {
    Some(match kind {
        DataType::Boolean => "bool",
        DataType::Int64 => "int64",
        DataType::Float64 => "float64",
        DataType::Utf8 => "text",
        DataType::Binary => "binary",
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => "timestamp",
        _ => return None,
    })
}

/// Parses a type name; `None` if it is unknown.
pub fn from_name(name: &str) -> Option<DataType> {
    let mut members = 0;
    read(name.trim(), 0, &mut members).filter(|kind| plain_name(kind).is_none())
}

/// Returns the name of a type, if it has one here.
pub fn name_of(kind: &DataType) -> Option<String> {
    let name = match kind {
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Date32 => "date".to_owned(),
        DataType::List(item) => format!("list<{}>", name_within(item)?),
        DataType::Struct(members) => {
            let member = |member: &Arc<Field>| Some(format!("{}: {}", member.name(), name_within(member)?));
            format!("struct<{}>", members.iter().map(member).collect::<Option<Vec<_>>>()?.join(", "))
        }
        _ => return None,
    };
    // A type from elsewhere may have names or properties that cannot be written down.
    (from_name(&name).as_ref() == Some(kind)).then_some(name)
}

fn name_within(field: &Field) -> Option<String> {
    let kind = field.data_type();
    plain_name(kind).map(str::to_owned).or_else(|| name_of(kind))
}

fn read(name: &str, depth: usize, members: &mut usize) -> Option<DataType> {
    if depth > DEPTH_MAX {
        return None;
    }
    let within = |open: &str, close: char| name.strip_prefix(open)?.strip_suffix(close);
    if name == "date" {
        return Some(DataType::Date32);
    }
    if let Some(numbers) = within("decimal(", ')') {
        let (precision, scale) = numbers.split_once(',')?;
        let (precision, scale) = (precision.trim().parse::<u8>().ok()?, scale.trim().parse::<i8>().ok()?);
        let good = (1..=DECIMAL128_MAX_PRECISION).contains(&precision) && (0..=precision as i8).contains(&scale);
        return good.then_some(DataType::Decimal128(precision, scale));
    }
    if let Some(item) = within("list<", '>') {
        let item = read(item.trim(), depth + 1, members)?;
        return Some(DataType::List(Arc::new(Field::new_list_field(item, true))));
    }
    if let Some(text) = within("struct<", '>') {
        let mut fields: Vec<Field> = Vec::new();
        for member in split(text) {
            let (name, kind) = member.split_once(':')?;
            let name = name.trim();
            let odd = |c: char| c.is_control() || matches!(c, '<' | '>' | ',');
            *members += 1;
            if name.is_empty() || name.contains(odd) || *members > MEMBERS_MAX {
                return None;
            }
            if fields.iter().any(|field| field.name() == name) {
                return None;
            }
            fields.push(Field::new(name, read(kind.trim(), depth + 1, members)?, true));
        }
        return Some(DataType::Struct(Fields::from(fields)));
    }
    plain_from_name(name)
}

/// Splits at commas outside of brackets: the members of a struct.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |c: char| {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for name in [
            "date",
            "decimal(38,0)",
            "decimal(18,4)",
            "list<int64>",
            "list<list<timestamp>>",
            "struct<a: bool>",
            "struct<id: int64, at: timestamp, raw: binary, prices: list<struct<n: float64, of: decimal(9,2)>>, day: date>",
        ] {
            let kind = from_name(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(name_of(&kind).as_deref(), Some(name));
        }
        assert_eq!(
            name_of(&from_name(" struct< a :int64,b:list< text > > ").unwrap()).unwrap(),
            "struct<a: int64, b: list<text>>"
        );
        let deep = format!("{}int64{}", "list<".repeat(40), ">".repeat(40));
        let wide = format!("struct<{}>", (0..2000).map(|n| format!("m{n}: int64")).collect::<Vec<_>>().join(","));
        for wrong in [
            "",
            "int64",
            "text",
            "Date",
            "decimal",
            "decimal(39,2)",
            "decimal(0,0)",
            "decimal(4,5)",
            "decimal(4,-1)",
            "list<>",
            "list<int>",
            "list<int64",
            "struct<>",
            "struct<a>",
            "struct<a: int64,>",
            "struct<a: int64, a: text>",
            "struct<a: int64>>",
            "struct<: int64>",
            "list<timestamp(ms)>",
            &deep,
            &wide,
        ] {
            assert_eq!(from_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_written_down_has_no_name() {
        let odd = |name: &str| DataType::Struct(Fields::from(vec![Field::new(name, DataType::Int64, true)]));
        let strict = DataType::Struct(Fields::from(vec![Field::new("a", DataType::Int64, false)]));
        for kind in
            [odd("a, b"), odd(" a"), odd("a<"), strict, DataType::Int32, DataType::Decimal256(50, 2), DataType::Int64]
        {
            assert_eq!(name_of(&kind), None, "{kind}");
        }
        assert_eq!(name_of(&odd("a: text")), None, "it would be read as another");
    }
}
