//! Parts of a query that are not allowed here. DataFusion would refuse them with messages of its own, or leave them out
//! without any.

use datafusion::sql::sqlparser::ast::{Query, Select, SetExpr, TableFactor, Visit, Visitor};
use std::ops::ControlFlow;

/// The first part of a query that a stage does not run: the SQL word that it begins with, and what is wrong.
pub fn foreign(query: &Query) -> Option<(&'static str, String)> {
    match query.visit(&mut Foreign) {
        ControlFlow::Break(found) => Some(found),
        ControlFlow::Continue(()) => None,
    }
}

/// The words for a statement that is no query.
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
            _ if query.locks.is_empty() => return ControlFlow::Continue(()),
            _ => return ControlFlow::Break(("for", "there is nothing to lock; remove `for …`".into())),
        };
        ControlFlow::Break((verb, only_reads(verb)))
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
                let words = "`tablesample` is not available; let another stage choose the rows, as sample = 0.1";
                ControlFlow::Break(("tablesample", words.into()))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
