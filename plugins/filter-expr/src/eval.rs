//! Conditions on the rows of a batch, with SQL's three values: what compares with null is null, and a row is kept
//! where its condition is true.

use crate::check::{Condition, Operand};
use crate::parse::Comparison;
use millstream_sdk::batch::Values;
use millstream_sdk::{Batch, Error, Timestamp, Type};
use std::cmp::Ordering;

/// The rows that satisfy the condition.
pub fn rows(condition: &Condition, rows: &Batch, types: &[Type]) -> Result<Vec<u32>, Error> {
    let columns = types.iter().enumerate().map(|(index, type_)| Column::new(rows, index, type_));
    let columns = columns.collect::<Result<Vec<_>, Error>>()?;
    let kept = (0..rows.rows()).filter(|&row| condition.holds(&columns, row) == Some(true));
    Ok(kept.map(|row| row as u32).collect())
}

/// A column of the batch, ready to be read.
enum Column<'x> {
    Bool(Values<'x, Option<bool>>),
    Int(Values<'x, Option<i64>>),
    Float(Values<'x, Option<f64>>),
    Text(Values<'x, Option<&'static str>>),
    Time(Values<'x, Option<Timestamp>>),
    /// Used only for null checks.
    Other(&'x Batch, usize),
}

impl<'x> Column<'x> {
    fn new(rows: &'x Batch, index: usize, type_: &Type) -> Result<Column<'x>, Error> {
        Ok(match type_ {
            Type::Bool => Column::Bool(rows.column(index)?),
            Type::Int64 => Column::Int(rows.column(index)?),
            Type::Float64 => Column::Float(rows.column(index)?),
            Type::Text => Column::Text(rows.column(index)?),
            Type::Timestamp => Column::Time(rows.column(index)?),
            Type::Binary | Type::Arrow(_) => Column::Other(rows, index),
        })
    }

    fn value(&self, row: usize) -> Value<'x> {
        match self {
            Column::Bool(values) => values.get(row).map_or(Value::Null, Value::Bool),
            Column::Int(values) => values.get(row).map_or(Value::Null, Value::Int),
            Column::Float(values) => values.get(row).map_or(Value::Null, Value::Float),
            Column::Text(values) => values.get(row).map_or(Value::Null, Value::Text),
            Column::Time(values) => values.get(row).map_or(Value::Null, |time| Value::Int(time.0)),
            // The check permits only null tests for these: any value will do.
            Column::Other(batch, index) if batch.is_null(*index, row) => Value::Null,
            Column::Other(..) => Value::Bool(true),
        }
    }
}

#[derive(Clone, Copy)]
enum Value<'x> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'x str),
}

impl Value<'_> {
    /// Returns the order of two values; `None` if one is null, or not a number.
    fn compare(self, other: Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(&b)),
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(&b)),
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(&b),
            (Value::Int(a), Value::Float(b)) => (a as f64).partial_cmp(&b),
            (Value::Float(a), Value::Int(b)) => a.partial_cmp(&(b as f64)),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

impl Operand {
    fn value<'x>(&'x self, columns: &[Column<'x>], row: usize) -> Value<'x> {
        match self {
            Operand::Column(index) => columns.get(*index).map_or(Value::Null, |column| column.value(row)),
            Operand::Int(value) => Value::Int(*value),
            Operand::Float(value) => Value::Float(*value),
            Operand::Text(value) => Value::Text(value),
            Operand::Bool(value) => Value::Bool(*value),
        }
    }
}

impl Condition {
    /// True, false, or `None` for null.
    fn holds<'x>(&'x self, columns: &[Column<'x>], row: usize) -> Option<bool> {
        let value = |index: usize| columns.get(index).map_or(Value::Null, |column| column.value(row));
        match self {
            Condition::Literal(value) => Some(*value),
            Condition::Column(index) => match value(*index) {
                Value::Bool(value) => Some(value),
                _ => None,
            },
            Condition::Not(inner) => inner.holds(columns, row).map(|value| !value),
            Condition::And(left, right) => match left.holds(columns, row) {
                Some(false) => Some(false),
                Some(true) => right.holds(columns, row),
                None => right.holds(columns, row).filter(|value| !value),
            },
            Condition::Or(left, right) => match left.holds(columns, row) {
                Some(true) => Some(true),
                Some(false) => right.holds(columns, row),
                None => right.holds(columns, row).filter(|value| *value),
            },
            Condition::IsNull { column, negated } => Some(matches!(value(*column), Value::Null) != *negated),
            Condition::Compare(comparison, left, right) => {
                let order = left.value(columns, row).compare(right.value(columns, row))?;
                Some(match comparison {
                    Comparison::Equal => order.is_eq(),
                    Comparison::NotEqual => order.is_ne(),
                    Comparison::Less => order.is_lt(),
                    Comparison::LessOrEqual => order.is_le(),
                    Comparison::Greater => order.is_gt(),
                    Comparison::GreaterOrEqual => order.is_ge(),
                })
            }
        }
    }
}
