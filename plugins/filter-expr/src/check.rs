//! The tree against the columns: names become indexes, and every comparison has types that fit.

use crate::parse::{Comparison, Expression, Kind, Mistake};
use millstream_sdk::{Schema, Type};

/// A checked condition: true, false or null in each row.
#[derive(Debug)]
pub enum Condition {
    Literal(bool),
    /// A column of bool.
    Column(usize),
    Not(Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    IsNull {
        column: usize,
        negated: bool,
    },
    Compare(Comparison, Operand, Operand),
}

/// One side of a comparison.
#[derive(Debug)]
pub enum Operand {
    Column(usize),
    Int(i64),
    Float(f64),
    Text(String),
    Bool(bool),
}

/// Checks an expression that must be a condition.
pub fn check(expression: &Expression, input: &Schema) -> Result<Condition, Mistake> {
    let both =
        |left: &Expression, right: &Expression| Ok((Box::new(check(left, input)?), Box::new(check(right, input)?)));
    Ok(match &expression.kind {
        Kind::Bool(value) => Condition::Literal(*value),
        Kind::Not(inner) => Condition::Not(Box::new(check(inner, input)?)),
        Kind::And(left, right) => both(left, right).map(|(left, right)| Condition::And(left, right))?,
        Kind::Or(left, right) => both(left, right).map(|(left, right)| Condition::Or(left, right))?,
        Kind::IsNull { value, negated } => match &value.kind {
            Kind::Column(name) => Condition::IsNull { column: column(name, value.at, input)?.0, negated: *negated },
            _ => return Err(Mistake::new(value.at, "only columns can be null")),
        },
        Kind::Compare(comparison, left, right) => compare(expression.at, *comparison, left, right, input)?,
        Kind::Column(name) => match column(name, expression.at, input)? {
            (index, Type::Bool) => Condition::Column(index),
            (_, other) => return Err(no_condition(expression.at, &other)),
        },
        Kind::Int(_) => return Err(no_condition(expression.at, &Type::Int64)),
        Kind::Float(_) => return Err(no_condition(expression.at, &Type::Float64)),
        Kind::Text(_) => return Err(no_condition(expression.at, &Type::Text)),
    })
}

fn no_condition(at: usize, type_: &Type) -> Mistake {
    Mistake::new(at, format!("expected a condition, this is {type_}"))
}

fn compare(
    at: usize,
    comparison: Comparison,
    left: &Expression,
    right: &Expression,
    input: &Schema,
) -> Result<Condition, Mistake> {
    let ((left, left_type), (right, right_type)) = (operand(left, input)?, operand(right, input)?);
    let is_number = |type_: &Type| matches!(type_, Type::Int64 | Type::Float64);
    // A point in time compares with its microseconds.
    let is_time = |a: &Type, b: &Type| *a == Type::Timestamp && *b == Type::Int64;
    let fit = left_type == right_type
        || is_number(&left_type) && is_number(&right_type)
        || is_time(&left_type, &right_type)
        || is_time(&right_type, &left_type);
    if !fit {
        return Err(Mistake::new(at, format!("cannot compare {left_type} with {right_type}")));
    }
    Ok(Condition::Compare(comparison, left, right))
}

fn operand(expression: &Expression, input: &Schema) -> Result<(Operand, Type), Mistake> {
    Ok(match &expression.kind {
        Kind::Column(name) => match column(name, expression.at, input)? {
            (_, other @ (Type::Binary | Type::Arrow(_))) => {
                let message = format!("columns of {other} can only be tested by `is null`");
                return Err(Mistake::new(expression.at, message));
            }
            (index, type_) => (Operand::Column(index), type_),
        },
        Kind::Int(value) => (Operand::Int(*value), Type::Int64),
        Kind::Float(value) => (Operand::Float(*value), Type::Float64),
        Kind::Text(value) => (Operand::Text(value.clone()), Type::Text),
        Kind::Bool(value) => (Operand::Bool(*value), Type::Bool),
        _ => return Err(Mistake::new(expression.at, "a condition cannot be compared; compare columns and values")),
    })
}

fn column(name: &str, at: usize, input: &Schema) -> Result<(usize, Type), Mistake> {
    let missing = || {
        let names: Vec<&str> = input.fields.iter().map(|field| field.name.as_str()).collect();
        Mistake::new(at, format!("no column `{name}`; columns: {}", names.join(", ")))
    };
    let index = input.position(name).ok_or_else(missing)?;
    input.fields.get(index).map(|field| (index, field.type_.clone())).ok_or_else(missing)
}
