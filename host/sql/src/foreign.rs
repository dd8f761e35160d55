//! Parts of a query that are not allowed here. DataFusion would reject them with messages of its own, or ignore them silently.

use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Query, Select, SetExpr, SetOperator, SetQuantifier, TableFactor, Visit, Visitor,
};
use std::ops::ControlFlow;

/// Returns the first part of a query that a stage does not support: its first SQL word, and the error.
pub fn foreign(query: &Query) -> Option<(&'static str, String)> {
    match query.visit(&mut Foreign) {
        ControlFlow::Break(found) => Some(found),
        ControlFlow::Continue(()) => None,
    }
}

/// As [`foreign`], for an expression.
pub fn foreign_within(expression: &ast::Expr) -> Option<(&'static str, String)> {
    match expression.visit(&mut Foreign) {
        ControlFlow::Break(found) => Some(found),
        ControlFlow::Continue(()) => None,
    }
}

/// Returns why an optimized plan would give other rows than SQL requires. A join with the null semantics of `not in` needs one key and nothing else.
pub fn planning_error(plan: &LogicalPlan) -> Option<(&'static str, String)> {
    let wrong = |step: &LogicalPlan| match step {
        LogicalPlan::Join(join) => Ok(join.null_aware && (join.on.len() != 1 || join.filter.is_some())),
        _ => Ok(false),
    };
    plan.exists(wrong).unwrap_or(true).then(|| {
        let message = "this `not in` cannot be planned; write `not exists (select 1 from … where … = x)`, with `x is \
                     not null and` before it to exclude rows without `x`";
        ("not in", message.to_owned())
    })
}

/// Returns the message for a statement other than a query.
pub fn only_reads(verb: &str) -> String {
    format!("`sql` only reads: write one `select`, not `{verb}`")
}

struct Foreign;

impl Visitor for Foreign {
    type Break = (&'static str, String);

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let verb = match &*query.body {
            SetExpr::Insert(_) => "insert",
            SetExpr::Update(_) => "update",
            SetExpr::Delete(_) => "delete",
            SetExpr::Merge(_) => "merge",
            _ if query.locks.is_empty() => return counts_copies(&query.body),
            _ => return ControlFlow::Break(("for", "there is nothing to lock; remove `for …`".into())),
        };
        ControlFlow::Break((verb, only_reads(verb)))
    }

    fn pre_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<Self::Break> {
        let right = match expression {
            ast::Expr::IsDistinctFrom(_, right) | ast::Expr::IsNotDistinctFrom(_, right) => right,
            _ => return ControlFlow::Continue(()),
        };
        match takes_too_much(right) {
            true => {
                let message = "write parentheses around `… is distinct from …`, or around all of its right side: the \
                             query is ambiguous without them";
                ControlFlow::Break(("distinct", message.into()))
            }
            false => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        match select.into {
            Some(_) => ControlFlow::Break(("into", only_reads("select … into"))),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Self::Break> {
        match table {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                let message = "`tablesample` is not available; choose the rows in another stage, for example with \
                             sample = 0.1";
                ControlFlow::Break(("tablesample", message.into()))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Rejects set operations that count copies: DataFusion returns all copies of a row, or none.
fn counts_copies(body: &SetExpr) -> ControlFlow<(&'static str, String)> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else { return ControlFlow::Continue(()) };
    let word = match op {
        SetOperator::Intersect => "intersect",
        SetOperator::Except | SetOperator::Minus => "except",
        SetOperator::Union => "",
    };
    if *set_quantifier == SetQuantifier::All && !word.is_empty() {
        let message = format!("`{word} all`, which counts duplicates, is not available; write `{word}`");
        return ControlFlow::Break((word, message));
    }
    counts_copies(left)?;
    counts_copies(right)
}

/// Returns whether the parser took too much for the right side of `is distinct from`: all that follows.
fn takes_too_much(right: &ast::Expr) -> bool {
    use ast::Expr::{
        BinaryOp, IsDistinctFrom, IsFalse, IsNotDistinctFrom, IsNotFalse, IsNotNull, IsNotTrue, IsNotUnknown, IsNull,
        IsTrue, IsUnknown,
    };
    match right {
        BinaryOp { op, .. } => matches!(op, BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor),
        IsDistinctFrom(..) | IsNotDistinctFrom(..) => true,
        IsFalse(_) | IsNotFalse(_) | IsNotNull(_) | IsNotTrue(_) | IsNotUnknown(_) | IsNull(_) | IsTrue(_) => true,
        IsUnknown(_) => true,
        _ => false,
    }
}
