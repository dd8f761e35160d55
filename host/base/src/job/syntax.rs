//! A walk over the syntax of an expression of SQL.

use sqlparser::ast::{Expr, Query, VisitMut, VisitorMut};
use std::ops::ControlFlow;

/// A part of an expression.
pub enum Part<'a> {
    /// An expression: the whole one, and each that it is made of.
    Expression(&'a mut Expr),
    /// A query within it.
    Query(&'a mut Query),
}

/// Shows each part of an expression to a function, before the parts that it is made of; the function may put another in its place.
/// Gives what the function breaks with, which ends the walk.
pub fn each_part<B>(expression: &mut Expr, mut each: impl FnMut(Part<'_>) -> ControlFlow<B>) -> Option<B> {
    let mut broke = None;
    let _ = walk(expression, &mut |part| each(part).map_break(|reason| broke = Some(reason)));
    broke
}

/// Not generic, so that it is compiled once: the walk over all that SQL has is a hundred kilobytes of code for each type of visitor.
fn walk(expression: &mut Expr, each: Each<'_>) -> ControlFlow<()> {
    expression.visit(&mut Walk(each))
}

type Each<'a> = &'a mut dyn FnMut(Part<'_>) -> ControlFlow<()>;

struct Walk<'a>(Each<'a>);

impl VisitorMut for Walk<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        (self.0)(Part::Expression(expression))
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        (self.0)(Part::Query(query))
    }
}
