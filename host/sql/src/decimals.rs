//! Comparisons of decimals with floats. DataFusion converts the floats to decimals of 15 places, so that small ones become zero, and large ones and
//! NaN fail the query. Here a float literal becomes the decimal of its digits; all other decimals are compared as floats. The rule runs before types
//! are coerced.

use super::arithmetic::type_of;
use super::budget;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

/// The rule for plans.
#[derive(Debug)]
pub struct DecimalFloatCoercion;

impl AnalyzerRule for DecimalFloatCoercion {
    fn name(&self) -> &str {
        "decimals_beside_floats"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(step).data()
    }
}

fn step(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    budget::check()?;
    let columns = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|part| {
        let name = names.save(&part);
        Ok(part.transform_up(|part| rewritten(part, &columns))?.update_data(|part| name.restore(part)))
    })
}

/// Rewrites an expression over such columns, before type coercion.
pub fn expression(expression: Expr, columns: &DFSchema) -> Result<Expr> {
    expression.transform_up(|part| rewritten(part, columns)).data()
}

/// Returns whether an operator compares values.
pub fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn rewritten(part: Expr, columns: &DFSchema) -> Result<Transformed<Expr>> {
    budget::check()?;
    Ok(match part {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let made = coerce_compared([*left, *right], columns);
            made.update_data(|[left, right]| {
                Expr::BinaryExpr(BinaryExpr { left: left.into(), op, right: right.into() })
            })
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let made = coerce_compared([*expr, *low, *high], columns);
            made.update_data(|[expr, low, high]| {
                Expr::Between(Between { expr: expr.into(), negated, low: low.into(), high: high.into() })
            })
        }
        Expr::InList(InList { expr, list, negated }) => {
            let all: Vec<Expr> = [*expr].into_iter().chain(list).collect();
            let made = coerce_compared(all, columns);
            made.update_data(|mut all| {
                let list = all.split_off(1);
                let expr = all.into_iter().next().unwrap_or(Expr::Literal(ScalarValue::Null, None));
                Expr::InList(InList { expr: expr.into(), list, negated })
            })
        }
        other => Transformed::no(other),
    })
}

/// Rewrites expressions that are compared with each other.
fn coerce_compared<Parts: AsRef<[Expr]> + AsMut<[Expr]>>(mut parts: Parts, columns: &DFSchema) -> Transformed<Parts> {
    // Untyped expressions are reported during type coercion.
    let kind = |part: &Expr| type_of(part).or_else(|| part.get_type(columns).ok());
    let kinds: Vec<Option<DataType>> = parts.as_ref().iter().map(kind).collect();
    let is_decimal = |kind: &Option<DataType>| matches!(kind, Some(DataType::Decimal128(..)));
    let is_float = |kind: &Option<DataType>| kind == &Some(DataType::Float64);
    if !kinds.iter().any(is_decimal) || !kinds.iter().any(is_float) {
        return Transformed::no(parts);
    }
    let written = parts.as_ref().iter().zip(&kinds).filter(|(_, kind)| is_float(kind)).map(|(part, _)| exact(part));
    let written: Option<Vec<ScalarValue>> = written.collect();
    let fit = fit_together(kinds.iter().flatten().cloned().chain(written.iter().flatten().map(ScalarValue::data_type)));
    match written.filter(|_| fit) {
        Some(written) => {
            let floats = parts.as_mut().iter_mut().zip(&kinds).filter(|(_, kind)| is_float(kind));
            floats.zip(written).for_each(|((part, _), value)| *part = Expr::Literal(value, None));
        }
        None => {
            for (part, _) in parts.as_mut().iter_mut().zip(&kinds).filter(|(_, kind)| is_decimal(kind)) {
                *part = Expr::Cast(Cast::new(Box::new(part.clone()), DataType::Float64));
            }
        }
    }
    Transformed::yes(parts)
}

/// Returns whether one decimal type holds all values of the decimal types among these.
fn fit_together(kinds: impl Iterator<Item = DataType>) -> bool {
    let (mut before, mut after) = (0_i16, 0_i16);
    for kind in kinds {
        if let DataType::Decimal128(digits, scale) = kind {
            before = before.max(i16::from(digits) - i16::from(scale));
            after = after.max(i16::from(scale));
        }
    }
    before + after <= i16::from(DECIMAL128_MAX_PRECISION)
}

/// Returns the decimal with the digits of a float literal.
fn exact(part: &Expr) -> Option<ScalarValue> {
    let Expr::Literal(ScalarValue::Float64(Some(value)), _) = part else { return None };
    let text = value.to_string();
    let (before, after) = text.split_once('.').unwrap_or((&text, ""));
    let number: i128 = format!("{before}{after}").parse().ok()?;
    let digits = number.unsigned_abs().to_string().len().max(after.len());
    let digits = u8::try_from(digits).ok().filter(|digits| *digits <= DECIMAL128_MAX_PRECISION)?;
    Some(ScalarValue::Decimal128(Some(number), digits, i8::try_from(after.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_is_the_decimal_of_its_digits() {
        let exact = |value: f64| match exact(&Expr::Literal(ScalarValue::Float64(Some(value)), None)) {
            Some(ScalarValue::Decimal128(Some(number), digits, scale)) => Some((number, digits, scale)),
            _ => None,
        };
        assert_eq!(exact(0.1), Some((1, 1, 1)));
        assert_eq!(exact(-12.5), Some((-125, 3, 1)));
        assert_eq!(exact(10.0), Some((10, 2, 0)));
        assert_eq!(exact(1e-20), Some((1, 20, 20)));
        assert_eq!(exact(1e37), Some((10_i128.pow(37), 38, 0)));
        for none in [1e39, 1e-39, f64::NAN, f64::INFINITY] {
            assert_eq!(exact(none), None, "{none}");
        }
    }
}
