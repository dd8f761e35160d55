//! Semantics of expressions that differ from DataFusion's. Integer overflow is an error, all NaNs are one value, and casts are evaluated before
//! comparisons. Aggregates over moving frames are exact, and calls of functions are bounded. The rule runs before constants are folded.

use super::aggregate::{exact, kind_of_nulls};
use super::arithmetic::{checked_binary, checked_negative, type_of};
use super::budget;
use super::casts;
use super::decimals::compares;
use super::floats::{canonical, compared as of_twins};
use super::frames;
use super::guard::{guarded, size_guarded};
use crate::limits::CENTROIDS_MAX;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, plan_err};
use datafusion::logical_expr::expr::{AggregateFunction, InList, InSubquery, ScalarFunction, Sort, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, Window,
    WindowFunctionDefinition, cast, lit,
};
use datafusion::optimizer::AnalyzerRule;
use millstream_rows::batch::keys::has_floats;
use std::sync::Arc;

/// Aggregates that depend on equality or order of values.
const COMPARING: [&str; 8] = [
    "min",
    "max",
    "median",
    "percentile_cont",
    "approx_median",
    "approx_distinct",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
];

/// Functions that return the smallest or largest of their arguments.
const CHOOSING: [&str; 2] = ["greatest", "least"];

/// The rule for plans.
#[derive(Debug)]
pub struct Semantics;

impl AnalyzerRule for Semantics {
    fn name(&self) -> &str {
        "semantics"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let made = plan.transform_up_with_subqueries(step)?;
        if !made.transformed {
            return Ok(made.data);
        }
        // Results of changed columns may be nullable, or have another type, too.
        made.data.transform_up_with_subqueries(|plan| with_schema(plan).map(Transformed::yes)).data()
    }
}

/// Updates a plan's columns to those of its inputs. DataFusion keeps those of a union if the number of columns is unchanged.
fn with_schema(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut union = match plan.recompute_schema()? {
        LogicalPlan::Union(union) => union,
        plan => return Ok(plan),
    };
    let nullable = |index| union.inputs.iter().any(|input| input.schema().field(index).is_nullable());
    let fields = union.schema.iter().enumerate().map(|(index, (table, field))| {
        (table.cloned(), Arc::new(field.as_ref().clone().with_nullable(nullable(index))))
    });
    let fields = fields.collect();
    union.schema = Arc::new(DFSchema::new_with_metadata(fields, union.schema.metadata().clone())?);
    Ok(LogicalPlan::Union(union))
}

/// Rewrites an expression over such columns, after type coercion.
pub fn expression(expression: Expr, columns: &DFSchema) -> Result<Expr> {
    expression.transform_up(|part| rewritten(part, columns)).data()
}

fn step(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    budget::check()?;
    let mut columns = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        let source = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
        columns.merge(&source);
    }
    let groups = matches!(
        plan,
        LogicalPlan::Aggregate(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Distinct(Distinct::On(_))
    );
    let names = NamePreserver::new(&plan);
    let corrected = plan.map_expressions(|part| {
        let rewrite_part = |part: Expr| {
            let name = names.save(&part);
            let part = part.transform_up(|part| rewritten(part, &columns))?;
            let part = if groups { part.map_data(|part| grouped(part, &columns))? } else { part };
            Ok(part.update_data(|part| name.restore(part)))
        };
        // Expressions in grouping sets have their names there.
        if matches!(part, Expr::GroupingSet(_)) { part.map_children(rewrite_part) } else { rewrite_part(part) }
    })?;
    let plan = if corrected.transformed { corrected.data.recompute_schema()? } else { corrected.data };
    match plan {
        LogicalPlan::Window(window) => Ok(Transformed::yes(over_columns(window)?)),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns = input.schema().columns();
            let twins = input.schema().fields().iter().any(|field| has_floats(field.data_type()));
            if !twins {
                return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
            }
            let fields = input.schema().fields().clone();
            let one = |(column, field): (Column, &Arc<arrow::datatypes::Field>)| {
                let plain = Expr::Column(column.clone());
                match has_floats(field.data_type()) {
                    true => canonical(plain).alias_qualified(column.relation, column.name),
                    false => plain,
                }
            };
            let made: Vec<Expr> = columns.into_iter().zip(fields.iter()).map(one).collect();
            let input = LogicalPlanBuilder::from(input).project(made)?.build()?;
            Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(Arc::new(input)))))
        }
        plan => Ok(Transformed { data: plan, transformed: corrected.transformed, tnr: TreeNodeRecursion::Continue }),
    }
}

/// Rewrites an expression that groups, joins or orders rows.
fn grouped(part: Expr, columns: &DFSchema) -> Result<Expr> {
    match part {
        Expr::AggregateFunction(_) => Ok(part),
        Expr::Alias(alias) if matches!(*alias.expr, Expr::AggregateFunction(_)) => Ok(Expr::Alias(alias)),
        Expr::Alias(mut alias) => {
            alias.expr = Box::new(compared(*alias.expr, columns)?);
            Ok(Expr::Alias(alias))
        }
        part => compared(part, columns),
    }
}

/// Rewrites an expression that is compared with others.
fn compared(part: Expr, columns: &DFSchema) -> Result<Expr> {
    let kind = type_of(&part).map_or_else(|| part.get_type(columns), Ok)?;
    Ok(if has_floats(&kind) { canonical(part) } else { part })
}

fn all_compared(parts: Vec<Expr>, columns: &DFSchema) -> Result<Vec<Expr>> {
    parts.into_iter().map(|part| compared(part, columns)).collect()
}

fn rewritten(part: Expr, columns: &DFSchema) -> Result<Transformed<Expr>> {
    budget::check()?;
    let kind = |part: &Expr| type_of(part).map_or_else(|| part.get_type(columns), Ok);
    Ok(match part {
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::Plus
            | Operator::Minus
            | Operator::Multiply
            | Operator::BitwiseShiftLeft
            | Operator::BitwiseShiftRight => {
                match checked_binary(&binary, &kind(&binary.left)?, &kind(&binary.right)?) {
                    Some(checked) => Transformed::yes(checked),
                    None => Transformed::no(Expr::BinaryExpr(binary)),
                }
            }
            Operator::StringConcat => Transformed::yes(size_guarded(Expr::BinaryExpr(binary))),
            op if compares(op) => {
                if !has_floats(&kind(&binary.left)?) && !has_floats(&kind(&binary.right)?) {
                    return Ok(Transformed::no(Expr::BinaryExpr(binary)));
                }
                let left = Box::new(compared(*binary.left, columns)?);
                let right = Box::new(compared(*binary.right, columns)?);
                Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
            }
            _ => Transformed::no(Expr::BinaryExpr(binary)),
        },
        Expr::IsTrue(value) => Transformed::yes(is(value, Operator::IsNotDistinctFrom, true)),
        Expr::IsFalse(value) => Transformed::yes(is(value, Operator::IsNotDistinctFrom, false)),
        Expr::IsNotTrue(value) => Transformed::yes(is(value, Operator::IsDistinctFrom, true)),
        Expr::IsNotFalse(value) => Transformed::yes(is(value, Operator::IsDistinctFrom, false)),
        // Plans of both differ in nullability.
        Expr::IsUnknown(value) => Transformed::yes(Expr::IsNull(value)),
        Expr::IsNotUnknown(value) => Transformed::yes(Expr::IsNotNull(value)),
        Expr::Negative(value) => match checked_negative(&value, &kind(&value)?) {
            Some(checked) => Transformed::yes(checked),
            None => Transformed::no(Expr::Negative(value)),
        },
        Expr::Between(between) if has_floats(&kind(&between.expr)?) => {
            let of =
                |part: Box<Expr>| Ok::<_, datafusion::common::DataFusionError>(Box::new(compared(*part, columns)?));
            let (expr, low, high) = (of(between.expr)?, of(between.low)?, of(between.high)?);
            Transformed::yes(Expr::Between(Between { expr, negated: between.negated, low, high }))
        }
        Expr::InList(list) if has_floats(&kind(&list.expr)?) => {
            let expr = Box::new(compared(*list.expr, columns)?);
            let negated = list.negated;
            Transformed::yes(Expr::InList(InList { expr, list: all_compared(list.list, columns)?, negated }))
        }
        Expr::Cast(_) | Expr::TryCast(_) => match casts::replacement(&part, kind)? {
            Some(kept) => Transformed::yes(kept),
            None => Transformed::no(part),
        },
        Expr::InSubquery(within) if has_floats(&kind(&within.expr)?) => {
            let expr = Box::new(compared(*within.expr, columns)?);
            let subquery = values_compared(within.subquery)?;
            Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated: within.negated }))
        }
        Expr::Case(mut case) => match case.expr.take() {
            Some(expr) if has_floats(&kind(&expr)?) => {
                case.expr = Some(Box::new(compared(*expr, columns)?));
                for (when, _) in &mut case.when_then_expr {
                    **when = compared((**when).clone(), columns)?;
                }
                Transformed::yes(Expr::Case(case))
            }
            expr => {
                case.expr = expr;
                Transformed::no(Expr::Case(case))
            }
        },
        Expr::ScalarFunction(mut call) if CHOOSING.contains(&call.func.name()) => {
            call.args = all_compared(call.args, columns)?;
            call.func = guarded(&call.func).unwrap_or(call.func);
            Transformed::yes(Expr::ScalarFunction(call))
        }
        Expr::ScalarFunction(call) => match guarded(&call.func) {
            Some(func) => Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args: call.args })),
            None => Transformed::no(Expr::ScalarFunction(call)),
        },
        Expr::AggregateFunction(call) => Transformed::yes(Expr::AggregateFunction(aggregate(call, columns)?)),
        Expr::WindowFunction(call) => Transformed::yes(Expr::WindowFunction(Box::new(window(*call, columns)?))),
        other => Transformed::no(other),
    })
}

/// Rewrites a test of truth as its comparison. DataFusion says that the test is never null and the comparison may be, and rejects a plan with both.
fn is(value: Box<Expr>, op: Operator, truth: bool) -> Expr {
    Expr::BinaryExpr(BinaryExpr { left: value, op, right: Box::new(lit(truth)) })
}

/// Rewrites a query whose values are compared with others.
fn values_compared(mut query: Subquery) -> Result<Subquery> {
    let [column] = &query.subquery.schema().columns()[..] else { return Ok(query) };
    let kind = query.subquery.schema().field(0).data_type().clone();
    if has_floats(&kind) {
        let made = canonical(Expr::Column(column.clone())).alias_qualified(column.relation.clone(), &column.name);
        query.subquery = Arc::new(LogicalPlanBuilder::from(query.subquery).project([made])?.build()?);
    }
    Ok(query)
}

/// Restricts window functions to columns: expressions that partition and order rows are computed below them. For other expressions DataFusion often
/// does not recognize that it has sorted the rows, and rejects the query.
fn over_columns(window: Window) -> Result<LogicalPlan> {
    let input = window.input.schema().clone();
    let wide = frames::is_wide(&window)?;
    let mut made: Vec<(String, Expr)> = Vec::new();
    let mut column = |part: Expr| {
        if matches!(part, Expr::Column(_) | Expr::Literal(..)) || matches!(of_twins(&part), Some(Expr::Column(_))) {
            return part;
        }
        // Both names: the first is the same for casts to several types, the second for protected casts.
        let name = format!("over {} as {part}", part.schema_name());
        let known = input.has_column_with_unqualified_name(&name) || made.iter().any(|(other, _)| *other == name);
        if !known {
            made.push((name.clone(), part));
        }
        Expr::Column(Column::new_unqualified(name))
    };
    let mut over = |call: &mut WindowFunction| -> Result<()> {
        if wide {
            frames::widen(call)?;
        }
        let parts = std::mem::take(&mut call.params.partition_by);
        call.params.partition_by = parts.into_iter().map(&mut column).collect();
        let sorts = std::mem::take(&mut call.params.order_by);
        call.params.order_by = sorts.into_iter().map(|sort| Sort { expr: column(sort.expr), ..sort }).collect();
        Ok(())
    };
    let mut calls = Vec::new();
    for expr in window.window_expr {
        let (relation, name) = expr.qualified_name();
        let mut inner = expr;
        while let Expr::Alias(alias) = inner {
            inner = *alias.expr;
        }
        if let Expr::WindowFunction(call) = &mut inner {
            over(call)?;
        }
        let same = inner.qualified_name() == (relation.clone(), name.clone());
        calls.push(if same { inner } else { inner.alias_qualified(relation, name) });
    }
    let mut input = window.input;
    if !made.is_empty() {
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let all: Vec<Expr> = columns.chain(made.into_iter().map(|(name, part)| part.alias(name))).collect();
        input = Arc::new(LogicalPlanBuilder::from(input).project(all)?.build()?);
    }
    Ok(LogicalPlan::Window(Window::try_new(calls, input)?))
}

/// Converts an untyped null argument of a sum to the type of the sum.
fn summed(name: &str, arguments: Vec<Expr>, columns: &DFSchema) -> Result<Vec<Expr>> {
    let Some(kind) = kind_of_nulls(name) else { return Ok(arguments) };
    let one = |part: Expr| {
        let own = type_of(&part).map_or_else(|| part.get_type(columns), Ok)?;
        Ok(if own.is_null() { cast(part, kind.clone()) } else { part })
    };
    arguments.into_iter().map(one).collect()
}

fn aggregate(mut call: AggregateFunction, columns: &DFSchema) -> Result<AggregateFunction> {
    centroids(call.func.name(), &call.params.args)?;
    call.params.args = summed(call.func.name(), call.params.args, columns)?;
    if call.params.distinct || COMPARING.contains(&call.func.name()) {
        call.params.args = all_compared(call.params.args, columns)?;
    }
    let by = |sort: Sort| Ok(Sort { expr: compared(sort.expr, columns)?, ..sort });
    call.params.order_by = call.params.order_by.into_iter().map(by).collect::<Result<_>>()?;
    call.func = exact(&call.func);
    Ok(call)
}

fn window(mut call: WindowFunction, columns: &DFSchema) -> Result<WindowFunction> {
    if let WindowFunctionDefinition::AggregateUDF(function) = &call.fun {
        centroids(function.name(), &call.params.args)?;
        call.params.args = summed(function.name(), call.params.args, columns)?;
        if call.params.distinct || COMPARING.contains(&function.name()) {
            call.params.args = all_compared(call.params.args, columns)?;
        }
        call.fun = WindowFunctionDefinition::AggregateUDF(exact(function));
    }
    call.params.partition_by = all_compared(call.params.partition_by, columns)?;
    let by = |sort: Sort| Ok(Sort { expr: compared(sort.expr, columns)?, ..sort });
    call.params.order_by = call.params.order_by.into_iter().map(by).collect::<Result<_>>()?;
    Ok(call)
}

/// Limits centroids: the library would allocate as many as a query requests, for each group.
fn centroids(name: &str, arguments: &[Expr]) -> Result<()> {
    if !name.starts_with("approx_percentile_cont") {
        return Ok(());
    }
    let number = |part: &Expr| match part {
        Expr::Literal(value, _) => value.cast_to(&DataType::Int64).ok().filter(|_| value.data_type().is_integer()),
        _ => None,
    };
    for argument in arguments.iter().skip(1) {
        if let Some(datafusion::common::ScalarValue::Int64(Some(count))) = number(argument)
            && !(1..=CENTROIDS_MAX).contains(&count)
        {
            return plan_err!("`{name}(…)` takes from 1 to {CENTROIDS_MAX} centroids, not {count}");
        }
    }
    Ok(())
}
