//! Which columns take each value of a record, and how. A schema is resolved against the columns once.
//!
//! Follows Avro's rules: fields are found by name, an integer may become a float, bytes text and text bytes; a union is resolved by the branch of a
//! value. Beyond these rules a text column takes any value, as with JSON.

use super::cursor::{Cursor, each};
use super::json::{decimal_text, json};
use super::schema::{Decimal, Schema, Time, Type, TypeId, UUID_BYTES, branch, too_deep};
use crate::batch::cell;
use crate::batch::column::{ColumnSpec, TimeForm, TimeUnit};
use crate::batch::times::micros;
use crate::batch::types::ColumnType;
use crate::decode::columns::ColumnBuilders;
use crate::decode::infer::COLUMNS_MAX;
use crate::decode::json::index_of;
use crate::decode::written_value::WrittenValue;
use arrow::datatypes::DataType;

/// What to do with a value.
#[derive(Debug)]
pub enum Plan {
    /// No column needs it.
    Skip(TypeId),
    /// Columns take it.
    Take(TypeId, Vec<(usize, Conversion)>),
    /// Columns take what is inside.
    Inside { id: TypeId, takes: Vec<(usize, Conversion)>, inside: NestedPlan },
    /// A plan for each branch.
    Union(Vec<Plan>),
    /// A column cannot take it, and why; the indexes of all columns that need it.
    Reject(String, Vec<usize>),
}

/// What columns take of a value that holds others.
#[derive(Debug)]
pub enum NestedPlan {
    Fields(Vec<Plan>),
    /// Of an array, by index.
    Indexes(TypeId, Vec<(usize, Plan)>),
    /// Of a map, by key.
    Keys(TypeId, Vec<(String, Plan)>),
}

/// How a column takes a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conversion {
    Bool,
    Int64,
    Float64,
    /// A number of this unit, as a time.
    Time(TimeUnit),
    /// The same as local time in the column's zone.
    Local(TimeUnit),
    /// Days, each as its first instant in the column's zone.
    Days,
    /// Days as a date.
    Date,
    /// As text that the column reads.
    Text,
    Binary,
}

/// A column, and the rest of the path to its value.
type Target<'a> = (usize, &'a ColumnSpec, &'a [String]);

impl Plan {
    /// Creates the plan of a schema's records.
    pub fn new(schema: &Schema, columns: &[ColumnSpec]) -> Plan {
        plan(schema, 0, &targets(columns))
    }

    /// Returns warnings about columns for which a schema has nothing, or nothing that they can take.
    pub fn doubts(schema: &Schema, columns: &[ColumnSpec]) -> Vec<String> {
        let mut doubts = Vec::new();
        let top = Plan::new(schema, columns);
        for (index, column) in columns.iter().enumerate() {
            if !top.reaches(index) {
                doubts.push(format!("it has nothing for column `{}`, which is null", column.name));
            }
        }
        top.collect_rejections(&mut doubts);
        doubts
    }

    fn reaches(&self, column: usize) -> bool {
        let mut found = false;
        self.each_column(&mut |index| found |= index == column);
        found
    }

    /// Calls `take` for all columns that need the value or something in it, some perhaps several times.
    fn each_column(&self, take: &mut dyn FnMut(usize)) {
        match self {
            Plan::Skip(_) => {}
            // The schema has a value for these columns; the rejection is reported separately.
            Plan::Reject(_, indexes) => indexes.iter().for_each(|column| take(*column)),
            Plan::Take(_, taken) => taken.iter().for_each(|(column, _)| take(*column)),
            Plan::Union(branches) => branches.iter().for_each(|plan| plan.each_column(take)),
            Plan::Inside { takes, inside, .. } => {
                takes.iter().for_each(|(column, _)| take(*column));
                match inside {
                    NestedPlan::Fields(fields) => fields.iter().for_each(|plan| plan.each_column(take)),
                    NestedPlan::Indexes(_, indexes) => indexes.iter().for_each(|(_, plan)| plan.each_column(take)),
                    NestedPlan::Keys(_, keys) => keys.iter().for_each(|(_, plan)| plan.each_column(take)),
                }
            }
        }
    }

    fn collect_rejections(&self, found: &mut Vec<String>) {
        match self {
            Plan::Skip(_) | Plan::Take(..) => {}
            Plan::Reject(why, _) => found.push(why.clone()),
            Plan::Union(branches) => branches.iter().for_each(|plan| plan.collect_rejections(found)),
            Plan::Inside { inside, .. } => match inside {
                NestedPlan::Fields(fields) => fields.iter().for_each(|plan| plan.collect_rejections(found)),
                NestedPlan::Indexes(_, indexes) => indexes.iter().for_each(|(_, plan)| plan.collect_rejections(found)),
                NestedPlan::Keys(_, keys) => keys.iter().for_each(|(_, plan)| plan.collect_rejections(found)),
            },
        }
    }

    /// Reads a record into the current row.
    pub fn run(&self, schema: &Schema, cursor: &mut Cursor<'_>, columns: &mut ColumnBuilders) -> Result<(), String> {
        self.step(schema, cursor, columns, 0)
    }

    fn step(
        &self,
        schema: &Schema,
        cursor: &mut Cursor<'_>,
        columns: &mut ColumnBuilders,
        depth: usize,
    ) -> Result<(), String> {
        match self {
            Plan::Skip(id) => schema.skip(*id, cursor, depth),
            Plan::Take(id, takes) => take(schema, *id, takes, cursor, columns, depth),
            Plan::Reject(why, _) => Err(why.clone()),
            Plan::Union(branches) => {
                let number = cursor.long()?;
                let plan = usize::try_from(number).ok().and_then(|number| branches.get(number));
                let wrong = || format!("branch {number} of a union of {}", branches.len());
                plan.ok_or_else(wrong)?.step(schema, cursor, columns, depth + 1)
            }
            Plan::Inside { id, takes, inside } => {
                if depth > super::schema::DEPTH_MAX {
                    return Err(too_deep());
                }
                if !takes.is_empty() {
                    let mut again = *cursor;
                    take(schema, *id, takes, &mut again, columns, depth)?;
                }
                inside.step(schema, cursor, columns, depth + 1)
            }
        }
    }
}

impl NestedPlan {
    fn step(
        &self,
        schema: &Schema,
        cursor: &mut Cursor<'_>,
        columns: &mut ColumnBuilders,
        depth: usize,
    ) -> Result<(), String> {
        match self {
            NestedPlan::Fields(fields) => fields.iter().try_for_each(|plan| plan.step(schema, cursor, columns, depth)),
            NestedPlan::Indexes(item, indexes) => {
                let mut at = 0_usize;
                each(cursor, |cursor| {
                    let plan = indexes.iter().find(|(index, _)| *index == at);
                    at = at.saturating_add(1);
                    match plan {
                        Some((_, plan)) => plan.step(schema, cursor, columns, depth),
                        None => schema.skip(*item, cursor, depth),
                    }
                })
            }
            NestedPlan::Keys(value, keys) => each(cursor, |cursor| {
                let key = cursor.text()?;
                match keys.iter().find(|(name, _)| name == key) {
                    Some((_, plan)) => {
                        // The last value of a key wins, even if it holds less than the previous one.
                        plan.each_column(&mut |column| columns.unset(column));
                        plan.step(schema, cursor, columns, depth)
                    }
                    None => schema.skip(*value, cursor, depth),
                }
            }),
        }
    }
}

fn targets(columns: &[ColumnSpec]) -> Vec<Target<'_>> {
    columns.iter().enumerate().map(|(index, column)| (index, column, column.value_path())).collect()
}

fn plan(schema: &Schema, id: TypeId, targets: &[Target<'_>]) -> Plan {
    if targets.is_empty() {
        return Plan::Skip(id);
    }
    if let Type::Union(branches) = schema.get(id) {
        return Plan::Union(branches.iter().map(|branch| plan(schema, *branch, targets)).collect());
    }
    let indexes = || targets.iter().map(|(index, ..)| *index).collect();
    let mut takes = Vec::new();
    for (index, column, _) in targets.iter().filter(|(_, _, rest)| rest.is_empty()) {
        match into(schema.get(id), column) {
            Ok(into) => takes.push((*index, into)),
            Err(why) => return Plan::Reject(why, indexes()),
        }
    }
    let deeper: Vec<Target<'_>> = targets.iter().filter(|(_, _, rest)| !rest.is_empty()).copied().collect();
    if deeper.is_empty() {
        return Plan::Take(id, takes);
    }
    let below = |name: &str| -> Vec<Target<'_>> {
        let found = deeper.iter().filter(|(_, _, rest)| rest.first().is_some_and(|first| first == name));
        found.map(|(index, column, rest)| (*index, *column, rest.get(1..).unwrap_or_default())).collect()
    };
    let mut names: Vec<&str> = deeper.iter().filter_map(|(_, _, rest)| rest.first().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    let inside = match schema.get(id) {
        Type::Record(fields) => {
            NestedPlan::Fields(fields.iter().map(|(name, field)| plan(schema, *field, &below(name))).collect())
        }
        Type::Map(value) => NestedPlan::Keys(
            *value,
            names.iter().map(|name| ((*name).to_owned(), plan(schema, *value, &below(name)))).collect(),
        ),
        Type::Array(item) => {
            let indexes = names.iter().filter_map(|name| Some((index_of(name)?, plan(schema, *item, &below(name)))));
            NestedPlan::Indexes(*item, indexes.collect())
        }
        Type::Null => return Plan::Take(id, takes),
        other => {
            let column = deeper.first().map_or("", |(_, column, _)| column.name.as_str());
            let why = format!("column `{column}`: its path leads into {}, which has no fields", word(other));
            return Plan::Reject(why, indexes());
        }
    };
    Plan::Inside { id, takes, inside }
}

/// Returns how a column takes values of a type; the error is why it cannot.
fn into(kind: &Type, column: &ColumnSpec) -> Result<Conversion, String> {
    let wrong =
        || Err(format!("column `{}` is {}, and the record has {} there", column.name, column.type_word(), word(kind)));
    Ok(match (&column.kind, kind) {
        (ColumnType::Text, _) => Conversion::Text,
        (_, Type::Null) => Conversion::Text,
        (ColumnType::Bool, Type::Bool) => Conversion::Bool,
        (ColumnType::Int64, Type::Long(_)) => Conversion::Int64,
        (ColumnType::Int64, Type::Bytes(Some(Decimal { scale: 0 })) | Type::Fixed(_, Some(Decimal { scale: 0 }))) => {
            Conversion::Text
        }
        (ColumnType::Float64, Type::Long(_) | Type::Float | Type::Double) => Conversion::Float64,
        (ColumnType::Float64, Type::Bytes(Some(_)) | Type::Fixed(_, Some(_))) => Conversion::Text,
        (ColumnType::Binary, Type::Bytes(_) | Type::Fixed(..) | Type::Uuid | Type::Text) => Conversion::Binary,
        (ColumnType::Timestamp, Type::Text) => Conversion::Text,
        (ColumnType::Arrow(DataType::Date32), Type::Long(Some(Time::Days))) => Conversion::Date,
        (ColumnType::Arrow(DataType::Date32), Type::Text) => Conversion::Text,
        (
            ColumnType::Arrow(DataType::Decimal128(..)),
            Type::Bytes(Some(_)) | Type::Fixed(_, Some(_)) | Type::Long(None) | Type::Text,
        ) => Conversion::Text,
        (ColumnType::Arrow(DataType::List(_)), Type::Array(_)) => Conversion::Text,
        (ColumnType::Arrow(DataType::Struct(_)), Type::Record(_) | Type::Map(_)) => Conversion::Text,
        (ColumnType::Timestamp, Type::Long(time)) => match (time, &column.form) {
            (Some(Time::Days), _) => Conversion::Days,
            (Some(Time::Of(unit)), _) => Conversion::Time(*unit),
            (Some(Time::Local(unit)), _) => Conversion::Local(*unit),
            (None, TimeForm::Number(unit)) => Conversion::Time(*unit),
            (None, _) => {
                let name = &column.name;
                return Err(format!(
                    "column `{name}`: the record has a number, and its schema does not give its unit; write {name} = \
                     \"timestamp(ms)\", or (s), (us) or (ns)"
                ));
            }
        },
        _ => return wrong(),
    })
}

/// Returns the name of a type.
fn word(kind: &Type) -> &'static str {
    match kind {
        Type::Null => "null",
        Type::Bool => "a boolean",
        Type::Long(_) => "an integer",
        Type::Float | Type::Double => "a floating-point number",
        Type::Bytes(Some(_)) | Type::Fixed(_, Some(_)) => "a decimal",
        Type::Bytes(None) | Type::Fixed(_, None) => "bytes",
        Type::Uuid => "a UUID",
        Type::Text => "text",
        Type::Enum(_) => "an enum",
        Type::Array(_) => "an array",
        Type::Map(_) => "a map",
        Type::Union(_) => "a union",
        Type::Record(_) => "a record",
    }
}

fn take(
    schema: &Schema,
    id: TypeId,
    takes: &[(usize, Conversion)],
    cursor: &mut Cursor<'_>,
    columns: &mut ColumnBuilders,
    depth: usize,
) -> Result<(), String> {
    match schema.get(id) {
        Type::Null => takes.iter().for_each(|(column, _)| columns.unset(*column)),
        Type::Long(_) => {
            let value = cursor.long()?;
            for (column, into) in takes {
                set_integer(value, *column, *into, columns)?;
            }
        }
        Type::Float => {
            let value = cursor.float()?;
            for (column, into) in takes {
                match into {
                    Conversion::Float64 => columns.set_float64(*column, f64::from(value)),
                    _ => columns.set(*column, WrittenValue::Text(&cell::float32_text(value)))?,
                }
            }
        }
        Type::Double => {
            let value = cursor.double()?;
            for (column, into) in takes {
                match into {
                    Conversion::Float64 => columns.set_float64(*column, value),
                    _ => columns.set(*column, WrittenValue::Text(&cell::float_text(value)))?,
                }
            }
        }
        Type::Bool => {
            let value = cursor.bool()?;
            takes.iter().try_for_each(|(column, _)| columns.set(*column, WrittenValue::Bool(value)))?;
        }
        Type::Text => {
            let value = cursor.text()?;
            for (column, into) in takes {
                match into {
                    Conversion::Binary => bytes(value.as_bytes(), *column, columns)?,
                    _ => columns.set(*column, WrittenValue::Text(value))?,
                }
            }
        }
        Type::Enum(symbols) => {
            let number = cursor.long()?;
            let symbol = usize::try_from(number).ok().and_then(|number| symbols.get(number));
            let symbol = symbol.ok_or_else(|| format!("symbol {number} of an enum of {}", symbols.len()))?;
            takes.iter().try_for_each(|(column, _)| columns.set(*column, WrittenValue::Text(symbol)))?;
        }
        Type::Bytes(decimal) => sized(cursor.sized()?, *decimal, takes, columns)?,
        Type::Fixed(length, decimal) => sized(cursor.take(*length)?, *decimal, takes, columns)?,
        Type::Uuid => {
            let value = cursor.take(UUID_BYTES)?;
            for (column, into) in takes {
                match into {
                    Conversion::Binary => bytes(value, *column, columns)?,
                    _ => columns.set(*column, WrittenValue::Text(&cell::uuid(value)))?,
                }
            }
        }
        Type::Union(branches) => {
            let id = branch(branches, cursor)?;
            take(schema, id, takes, cursor, columns, depth + 1)?;
        }
        Type::Array(_) | Type::Map(_) | Type::Record(_) => {
            let begin = *cursor;
            for (column, _) in takes {
                *cursor = begin;
                let mut text = String::new();
                json(schema, id, cursor, columns.target_type(*column), &mut text, depth)?;
                columns.set_nested(*column, &text)?;
            }
        }
    }
    Ok(())
}

#[inline]
fn set_integer(value: i64, column: usize, into: Conversion, columns: &mut ColumnBuilders) -> Result<(), String> {
    let far = |columns: &ColumnBuilders| {
        format!("column `{}`: {value} is out of range of {}", columns.name(column), columns.type_name(column))
    };
    match into {
        Conversion::Int64 => columns.set_int64(column, value),
        Conversion::Float64 => columns.set_float64(column, value as f64),
        Conversion::Time(unit) => {
            let us = micros(value, unit).map_err(|_| far(columns))?;
            columns.set_int64(column, us);
        }
        Conversion::Local(unit) => {
            let us = micros(value, unit).map_err(|_| far(columns))?;
            columns.set_local_time(column, us)?;
        }
        Conversion::Days => {
            let us = value.checked_mul(86_400_000_000).ok_or_else(|| far(columns))?;
            columns.set_local_time(column, us)?;
        }
        Conversion::Date => {
            let days = i32::try_from(value).map_err(|_| far(columns))?;
            let mut date = String::new();
            cell::write_date(&mut date, days);
            columns.set(column, WrittenValue::Text(&date))?;
        }
        Conversion::Bool | Conversion::Text | Conversion::Binary => {
            columns.set(column, WrittenValue::Text(&value.to_string()))?
        }
    }
    Ok(())
}

/// Stores bytes, which may be those of a decimal.
fn sized(
    value: &[u8],
    decimal: Option<Decimal>,
    takes: &[(usize, Conversion)],
    columns: &mut ColumnBuilders,
) -> Result<(), String> {
    for (column, into) in takes {
        match (into, decimal) {
            (Conversion::Binary, _) => bytes(value, *column, columns)?,
            (_, Some(Decimal { scale })) => columns.set(*column, WrittenValue::Text(&decimal_text(value, scale)?))?,
            (_, None) => bytes(value, *column, columns)?,
        }
    }
    Ok(())
}

/// Stores bytes unchanged; a text column requires UTF-8.
fn bytes(value: &[u8], column: usize, columns: &mut ColumnBuilders) -> Result<(), String> {
    columns.unset(column);
    columns.set_bytes(column, value)
}

/// Maximum depth at which nested records become columns of their own; a recursive one would have no end.
const COLUMNS_DEPTH_MAX: usize = 4;

/// Collects the paths to values that become columns of their own, and their types.
pub fn leaves(schema: &Schema, id: TypeId, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, ColumnType)>) {
    if found.len() >= COLUMNS_MAX {
        return;
    }
    let mut kind = schema.get(id);
    // An optional value has the type of its other branch.
    if let Type::Union(branches) = kind {
        let mut branches = branches.iter().map(|branch| schema.get(*branch)).filter(|branch| **branch != Type::Null);
        kind = match (branches.next(), branches.next()) {
            (Some(one), None) => one,
            _ => &Type::Text,
        };
    }
    match kind {
        Type::Record(fields) if path.len() < COLUMNS_DEPTH_MAX && !fields.is_empty() => {
            for (name, field) in fields {
                path.push(name.clone());
                leaves(schema, *field, path, found);
                path.pop();
            }
        }
        _ if path.is_empty() => {}
        kind => found.push((
            path.clone(),
            match kind {
                Type::Bool => ColumnType::Bool,
                Type::Long(Some(_)) => ColumnType::Timestamp,
                Type::Long(None) => ColumnType::Int64,
                Type::Float | Type::Double => ColumnType::Float64,
                Type::Bytes(None) | Type::Fixed(_, None) => ColumnType::Binary,
                _ => ColumnType::Text,
            },
        )),
    }
}
