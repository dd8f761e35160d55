//! Rewriting of parts of a query that DataFusion would misinterpret.

use super::using;
use super::using::scope::{Meaning, Scope, meaning, names_of};
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, GroupByExpr, ObjectName, Query, Select, SelectItem, TableFactor, UnaryOperator, Value,
    VisitMut, VisitorMut,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Rewrites a query over these tables. An error is a word of the text, and its message.
pub fn rewrite(query: &mut Query, columns: &using::TableColumns<'_>) -> Result<(), (String, String)> {
    match query.visit(&mut Rewriter { columns, defined: BTreeMap::new(), scopes: Vec::new() }) {
        ControlFlow::Break(wrong) => Err(wrong),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Rewriter<'a> {
    columns: &'a using::TableColumns<'a>,
    /// Queries of `with`, which hide tables, and their columns; `None` if unknown.
    defined: BTreeMap<String, Option<Vec<String>>>,
    /// The tables of the enclosing `select`s, the innermost last.
    scopes: Vec<Scope>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = (String, String);

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        for table in tables {
            let renamed = &table.alias.columns;
            let columns = match renamed.is_empty() {
                true => names_of(&table.query),
                false => Some(renamed.iter().map(|column| column.name.value.clone()).collect()),
            };
            self.defined.insert(table.alias.name.value.clone(), columns);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        constants_in_groups(select);
        let known = |name: &ObjectName| {
            let defined = match name.0.as_slice() {
                [part] => part.as_ident().and_then(|name| self.defined.get(&name.value)),
                _ => None,
            };
            defined.cloned().unwrap_or_else(|| (self.columns)(name))
        };
        let scope = Scope::new(&select.from, &known);
        let done = using::rewrite(select, &known);
        self.scopes.push(scope);
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(wrong) => ControlFlow::Break(wrong),
        }
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<Self::Break> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let Expr::Identifier(name) = expr else { return ControlFlow::Continue(()) };
        match meaning(&name.value, &self.scopes) {
            Meaning::Plain => {}
            Meaning::Of(table) => {
                let parts = table.0.iter().filter_map(|part| part.as_ident().cloned());
                *expr = Expr::CompoundIdentifier(parts.chain([name.clone()]).collect());
            }
            Meaning::Unclear => {
                let message =
                    format!("`{name}` may be a column of several tables here; write its table, for example `a.{name}`");
                return ControlFlow::Break((name.value.clone(), message));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = table {
            using::turn_joins(table_with_joins, true);
        }
        ControlFlow::Continue(())
    }
}

/// Rewrites `group by g` with `1 as g`, which names the constant; DataFusion would take it for the first column.
fn constants_in_groups(select: &mut Select) {
    let GroupByExpr::Expressions(groups, _) = &select.group_by else { return };
    if groups.is_empty() {
        return;
    }
    for item in &mut select.projection {
        if let SelectItem::ExprWithAlias { expr, .. } = item
            && is_integer(expr)
        {
            let value = std::mem::replace(expr, Expr::value(Value::Null));
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(value),
                data_type: DataType::BigInt(None),
                array: false,
                format: None,
            };
        }
    }
}

/// Returns whether an expression is a 64-bit integer.
fn is_integer(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(&value.value, Value::Number(digits, _) if digits.parse::<i64>().is_ok()),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } | Expr::Nested(expr) => is_integer(expr),
        _ => false,
    }
}
