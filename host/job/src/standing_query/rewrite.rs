//! Rewrites expressions over rows as expressions over totals of groups.

use super::INSTEAD;
use crate::spec::AggregateSpec;
use crate::stage::expression;
use crate::syntax::{Part, each_part};
use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query,
};
use std::ops::ControlFlow;

/// The totals that a query needs, each once.
#[derive(Default)]
pub struct Totals {
    /// The call as written in the query, and its total.
    calls: Vec<(String, AggregateSpec)>,
    /// The values computed of each row for them, as SQL.
    values: Vec<String>,
}

impl Totals {
    /// Returns the columns of the aggregate. If there are none it counts, so that it knows which keys have rows.
    pub fn columns(&self) -> Vec<AggregateSpec> {
        match self.calls.as_slice() {
            [] => expression::aggregate("_rows", "count(*)").into_iter().collect(),
            calls => calls.iter().map(|(_, total)| total.clone()).collect(),
        }
    }

    /// Returns names and SQL strings of the values computed of each row.
    pub fn values(&self) -> Vec<(String, String)> {
        self.values.iter().enumerate().map(|(index, text)| (value_name(index), text.clone())).collect()
    }

    fn value(&mut self, text: String) -> String {
        let index = self.values.iter().position(|known| *known == text).unwrap_or_else(|| {
            self.values.push(text);
            self.values.len() - 1
        });
        value_name(index)
    }
}

fn value_name(index: usize) -> String {
    format!("_value_{index}")
}

/// Replaces expressions by keys and totals.
pub struct Rewriter<'a> {
    tables: &'a [String],
    groups: Vec<Expr>,
    totals: &'a mut Totals,
}

impl<'a> Rewriter<'a> {
    /// Creates a rewriter for a query that groups by these expressions.
    pub fn new(tables: &'a [String], groups: &[Expr], totals: &'a mut Totals) -> Rewriter<'a> {
        let groups = groups.iter().map(|group| unqualified(tables, group.clone())).collect();
        Rewriter { tables, groups, totals }
    }

    /// Returns the expression over totals.
    pub fn rewritten(&mut self, expression: Expr) -> Result<String, String> {
        let mut expression = unqualified(self.tables, expression);
        match each_part(&mut expression, |part| self.part(part)) {
            Some(error) => Err(error),
            None => Ok(expression.to_string()),
        }
    }

    /// Returns names and SQL strings of the keys.
    pub fn groups(&self) -> Result<Vec<(String, String)>, String> {
        let group = |(index, group): (usize, &Expr)| Ok((group_name(index), plain(&[], group.clone())?));
        self.groups.iter().enumerate().map(group).collect()
    }

    fn total(&mut self, call: &Function) -> Result<String, String> {
        let text = call.to_string();
        if let Some((_, known)) = self.totals.calls.iter().find(|(known, _)| *known == text) {
            return Ok(known.output.clone());
        }
        let FunctionArguments::List(list) = &call.args else { return Err(format!("`{text}` has no arguments")) };
        if !list.clauses.is_empty()
            || call.null_treatment.is_some()
            || call.over.is_some()
            || !call.within_group.is_empty()
        {
            return Err(format!("`{text}` cannot be kept up to date: {INSTEAD}"));
        }
        let distinct = match list.duplicate_treatment {
            Some(DuplicateTreatment::Distinct) => "distinct ",
            _ => "",
        };
        let argument = match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] => "*".to_owned(),
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(value))] => {
                let value = plain(&[], value.clone())?;
                self.totals.value(value)
            }
            _ => return Err(format!("`{text}` needs one argument")),
        };
        let output = format!("_total_{}", self.totals.calls.len());
        let mut total = expression::aggregate(&output, &format!("{}({distinct}{argument})", call.name))?;
        if let Some(filter) = &call.filter {
            let condition = plain(&[], filter.as_ref().clone())?;
            total.filter = Some(self.totals.value(format!("coalesce({condition}, false)")));
        }
        self.totals.calls.push((text, total));
        Ok(output)
    }

    /// Replaces a part of an expression; fails if that is impossible.
    fn part(&mut self, part: Part<'_>) -> ControlFlow<String> {
        let expression = match part {
            Part::Expression(expression) => expression,
            Part::Query(query) => return within(query),
        };
        if let Some(index) = self.groups.iter().position(|group| group == expression) {
            *expression = Expr::Identifier(Ident::new(group_name(index)));
            return ControlFlow::Continue(());
        }
        match expression {
            Expr::Function(call) if call.over.is_some() => {
                ControlFlow::Break(format!("`{call}` looks at other rows, and cannot be kept up to date: {INSTEAD}"))
            }
            Expr::Function(call) if is_of_the_batch(call) => ControlFlow::Break(of_the_batch(call)),
            Expr::Function(call) if is_aggregate(call) => match self.total(call) {
                Ok(name) => {
                    *expression = Expr::Identifier(Ident::new(name));
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            },
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(format!(
                "`{expression}` is neither a total nor what the query groups by; put it into `group by`, or take max({expression})"
            )),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn within(query: &Query) -> ControlFlow<String> {
    ControlFlow::Break(format!("`({query})` within the query cannot be kept up to date: {INSTEAD}"))
}

fn group_name(index: usize) -> String {
    format!("_key_{index}")
}

/// Returns whether a function's value differs in each batch: a deleted row would not equal the row that came.
fn is_of_the_batch(call: &Function) -> bool {
    let name = call.name.to_string().to_lowercase();
    ["now", "current_timestamp", "current_date", "today", "current_time"].contains(&name.as_str())
}

fn of_the_batch(call: &Function) -> String {
    format!("`{call}` differs in each batch, and a query over all rows is not recomputed; use a column of the rows")
}

fn is_aggregate(call: &Function) -> bool {
    is_total(&call.name.to_string().to_lowercase())
}

/// Returns whether this lower-case name is an SQL function that aggregates rows; unsupported ones are rejected later.
pub fn is_total(name: &str) -> bool {
    const OTHER_TOTALS: [&str; 34] = [
        "approx_distinct",
        "approx_median",
        "approx_percentile_cont",
        "array_agg",
        "avg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bool_and",
        "bool_or",
        "corr",
        "count",
        "covar_pop",
        "covar_samp",
        "first",
        "first_value",
        "grouping",
        "last",
        "last_value",
        "max",
        "mean",
        "median",
        "min",
        "nth_value",
        "percentile_cont",
        "regr_slope",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "string_agg",
        "sum",
        "var",
        "var_pop",
        "var_samp",
    ];
    OTHER_TOTALS.contains(&name) || name.starts_with("approx_") || name.starts_with("regr_")
}

/// Returns whether an expression contains a total.
pub fn has_totals(expression: &Expr) -> bool {
    let is_total = |part: Part<'_>| match part {
        Part::Expression(Expr::Function(call)) if call.over.is_none() && is_aggregate(call) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    each_part(&mut expression.clone(), is_total).is_some()
}

/// Returns an expression over a row, without table names.
pub fn plain(tables: &[String], expression: Expr) -> Result<String, String> {
    let reject = |part: Part<'_>| match part {
        Part::Query(query) => within(query),
        Part::Expression(Expr::Function(call)) if is_of_the_batch(call) => ControlFlow::Break(of_the_batch(call)),
        Part::Expression(Expr::Function(call)) if is_aggregate(call) || call.over.is_some() => {
            ControlFlow::Break(format!(
                "`{call}` is not allowed in `where`, `group by` or another total; conditions on totals are written in `having`"
            ))
        }
        Part::Expression(_) => ControlFlow::Continue(()),
    };
    let mut expression = unqualified(tables, expression);
    match each_part(&mut expression, reject) {
        Some(error) => Err(error),
        None => Ok(expression.to_string()),
    }
}

/// Removes the table's name from its columns.
fn unqualified(tables: &[String], mut expression: Expr) -> Expr {
    each_part(&mut expression, |part| {
        if let Part::Expression(expression) = part
            && let Expr::CompoundIdentifier(names) = expression
            && names.first().is_some_and(|first| tables.contains(&first.value))
        {
            names.remove(0);
            if let [name] = names.as_slice() {
                *expression = Expr::Identifier(name.clone());
            }
        }
        ControlFlow::<()>::Continue(())
    });
    expression
}

/// Returns the column names in an expression.
pub fn names(expression: &Expr) -> Vec<String> {
    let mut found = Vec::new();
    each_part(&mut expression.clone(), |part| {
        match part {
            Part::Expression(Expr::Identifier(name)) => found.push(name.value.clone()),
            Part::Expression(Expr::CompoundIdentifier(names)) => {
                found.extend(names.last().map(|name| name.value.clone()));
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    found
}
