//! Traversal of the syntax of an SQL expression.

use sqlparser::ast::{Expr, Query, VisitMut, VisitorMut};
use std::ops::ControlFlow;

/// A part of an expression.
pub enum Part<'a> {
    /// An expression: the complete one, and each that it contains.
    Expression(&'a mut Expr),
    /// A query within it.
    Query(&'a mut Query),
}

/// Calls a function for each part of an expression, before the parts that it contains; the function may replace it. Returns the value with which the
/// function breaks, which ends the traversal.
pub fn each_part<B>(expression: &mut Expr, mut each: impl FnMut(Part<'_>) -> ControlFlow<B>) -> Option<B> {
    let mut broke = None;
    let _ = walk(expression, &mut |part| each(part).map_break(|reason| broke = Some(reason)));
    broke
}

/// Not generic, so that it is compiled once: traversing all of SQL is a hundred kilobytes of code per visitor type.
fn walk(expression: &mut Expr, each: VisitPart<'_>) -> ControlFlow<()> {
    expression.visit(&mut Walk(each))
}

type VisitPart<'a> = &'a mut dyn FnMut(Part<'_>) -> ControlFlow<()>;

struct Walk<'a>(VisitPart<'a>);

impl VisitorMut for Walk<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        (self.0)(Part::Expression(expression))
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        (self.0)(Part::Query(query))
    }
}
