//! Expressions over rows as expressions over totals of groups.

use super::INSTEAD;
use crate::job::expression;
use crate::job::spec::AggregateSpec;
use crate::job::syntax::{Part, each_part};
use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query,
};
use std::ops::ControlFlow;

/// The totals that a query needs, each once.
#[derive(Default)]
pub struct Totals {
    /// What the function is called on, as it is written in the query, and the total.
    calls: Vec<(String, AggregateSpec)>,
    /// What is computed of each row for them: text of SQL.
    values: Vec<String>,
}

impl Totals {
    /// The columns of the aggregate. One that has none counts, so that it knows which keys have rows.
    pub fn columns(&self) -> Vec<AggregateSpec> {
        match self.calls.as_slice() {
            [] => expression::aggregate("_rows", "count(*)").into_iter().collect(),
            calls => calls.iter().map(|(_, total)| total.clone()).collect(),
        }
    }

    /// Names and texts of what is computed of each row.
    pub fn values(&self) -> Vec<(String, String)> {
        self.values.iter().enumerate().map(|(place, text)| (value_name(place), text.clone())).collect()
    }

    fn value(&mut self, text: String) -> String {
        let place = self.values.iter().position(|known| *known == text).unwrap_or_else(|| {
            self.values.push(text);
            self.values.len() - 1
        });
        value_name(place)
    }
}

fn value_name(place: usize) -> String {
    format!("_value_{place}")
}

/// Puts keys and totals in the place of what they stand for.
pub struct Rewriter<'a> {
    tables: &'a [String],
    groups: Vec<Expr>,
    totals: &'a mut Totals,
}

impl<'a> Rewriter<'a> {
    /// For a query that groups by these expressions.
    pub fn new(tables: &'a [String], groups: &[Expr], totals: &'a mut Totals) -> Rewriter<'a> {
        let groups = groups.iter().map(|group| unqualified(tables, group.clone())).collect();
        Rewriter { tables, groups, totals }
    }

    /// The expression over totals.
    pub fn rewritten(&mut self, expression: Expr) -> Result<String, String> {
        let mut expression = unqualified(self.tables, expression);
        match each_part(&mut expression, |part| self.part(part)) {
            Some(words) => Err(words),
            None => Ok(expression.to_string()),
        }
    }

    /// Names and texts of the keys.
    pub fn groups(&self) -> Result<Vec<(String, String)>, String> {
        let group = |(place, group): (usize, &Expr)| Ok((group_name(place), plain(&[], group.clone())?));
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

    /// Another expression in the place of one, or why there is none.
    fn part(&mut self, part: Part<'_>) -> ControlFlow<String> {
        let expression = match part {
            Part::Expression(expression) => expression,
            Part::Query(query) => return within(query),
        };
        if let Some(place) = self.groups.iter().position(|group| group == expression) {
            *expression = Expr::Identifier(Ident::new(group_name(place)));
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
                Err(words) => ControlFlow::Break(words),
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

fn group_name(place: usize) -> String {
    format!("_key_{place}")
}

/// Whether a function has another value in each batch: a row that is deleted later would not be the one that came.
fn is_of_the_batch(call: &Function) -> bool {
    let name = call.name.to_string().to_lowercase();
    ["now", "current_timestamp", "current_date", "today", "current_time"].contains(&name.as_str())
}

fn of_the_batch(call: &Function) -> String {
    format!(
        "`{call}` is another time in each batch, and a query over all rows is not recomputed; use a column of the rows"
    )
}

fn is_aggregate(call: &Function) -> bool {
    is_total(&call.name.to_string().to_lowercase())
}

/// Functions of SQL, in small letters, that make one value of many rows; what is none of ours is refused when it is looked at.
pub fn is_total(name: &str) -> bool {
    const OTHERS: [&str; 34] = [
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
    OTHERS.contains(&name) || name.starts_with("approx_") || name.starts_with("regr_")
}

/// Whether a total stands in an expression.
pub fn has_totals(expression: &Expr) -> bool {
    let is_total = |part: Part<'_>| match part {
        Part::Expression(Expr::Function(call)) if call.over.is_none() && is_aggregate(call) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    each_part(&mut expression.clone(), is_total).is_some()
}

/// An expression over a row, without names of tables.
pub fn plain(tables: &[String], expression: Expr) -> Result<String, String> {
    let refused = |part: Part<'_>| match part {
        Part::Query(query) => within(query),
        Part::Expression(Expr::Function(call)) if is_of_the_batch(call) => ControlFlow::Break(of_the_batch(call)),
        Part::Expression(Expr::Function(call)) if is_aggregate(call) || call.over.is_some() => {
            ControlFlow::Break(format!(
                "`{call}` cannot stand in `where`, `group by` or another total; conditions on totals are written in `having`"
            ))
        }
        Part::Expression(_) => ControlFlow::Continue(()),
    };
    let mut expression = unqualified(tables, expression);
    match each_part(&mut expression, refused) {
        Some(words) => Err(words),
        None => Ok(expression.to_string()),
    }
}

/// Takes the name of the table from before its columns.
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

/// The names of columns in an expression.
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
