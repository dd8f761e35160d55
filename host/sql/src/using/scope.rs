//! Column names of `from`, where an unqualified name may be the common column of several tables.

use super::{Side, TableColumns, USING, common, is_common};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query, SelectItem, SetExpr, TableFactor, TableWithJoins,
};
use std::collections::{BTreeMap, BTreeSet};

/// The tables of a `select`.
#[derive(Default)]
pub struct Scope {
    /// Common columns, and the table whose values they have; `None` if unknown.
    owners: BTreeMap<String, Option<ObjectName>>,
    /// Names or aliases of tables.
    tables: Vec<ObjectName>,
    /// All columns; `None` if unknown.
    columns: Option<BTreeSet<String>>,
    /// Whether it has unknown common columns.
    is_unclear: bool,
}

/// Resolution of an unqualified name.
pub enum Meaning {
    /// As DataFusion resolves it.
    Plain,
    /// The column of this table.
    Of(ObjectName),
    /// Unknown here.
    Unclear,
}

/// Resolves a name within these `select`s, the innermost last.
pub fn meaning(name: &str, scopes: &[Scope]) -> Meaning {
    let mut inner: Vec<&Scope> = Vec::new();
    for (level, scope) in scopes.iter().enumerate().rev() {
        match scope.owners.get(name) {
            None if scope.columns.as_ref().is_some_and(|columns| columns.contains(name)) => return Meaning::Plain,
            None if scope.is_unclear && scopes[..level].iter().any(|scope| scope.may_have(name)) => {
                return Meaning::Unclear;
            }
            None => inner.push(scope),
            Some(owner) => {
                let known = inner.iter().all(|scope| scope.columns.is_some());
                let hidden = inner.iter().any(|scope| scope.tables.iter().any(|table| Some(table) == owner.as_ref()));
                return match owner {
                    Some(owner) if known && !hidden => Meaning::Of(owner.clone()),
                    // DataFusion searches further outside, and finds nothing.
                    _ if !scopes[..level].iter().any(|scope| scope.may_have(name)) => Meaning::Plain,
                    _ => Meaning::Unclear,
                };
            }
        }
    }
    Meaning::Plain
}

impl Scope {
    fn may_have(&self, name: &str) -> bool {
        self.columns.as_ref().is_none_or(|columns| columns.contains(name)) || self.owners.contains_key(name)
    }

    /// Returns the tables of `from`.
    pub fn new(from: &[TableWithJoins], columns: &TableColumns<'_>) -> Scope {
        let mut all = Scope { columns: Some(BTreeSet::new()), ..Scope::default() };
        for one in from {
            all.join(Scope::of_joins(one, columns));
        }
        all
    }

    fn of_joins(from: &TableWithJoins, columns: &TableColumns<'_>) -> Scope {
        let mut tables = vec![Scope::of_table(&from.relation, columns)];
        let mut is_unclear = false;
        for join in &from.joins {
            let right = Scope::of_table(&join.relation, columns);
            let (side, constraint) = match &join.join_operator {
                JoinOperator::Inner(constraint) | JoinOperator::Join(constraint) => (Side::Left, constraint),
                _ => match common(join) {
                    Some(found) => found,
                    None => (Side::Left, &JoinConstraint::None),
                },
            };
            if is_common(constraint) {
                let natural = matches!(constraint, JoinConstraint::Natural);
                is_unclear |= natural && !tables.iter().chain([&right]).all(|table| table.columns.is_some());
                let names = names(constraint, &tables, &right);
                for name in names {
                    let owner = match side {
                        Side::Left => owner(&name, &tables),
                        Side::Right => owner(&name, std::slice::from_ref(&right)),
                        Side::Both => Some(ObjectName::from(vec![Ident::with_quote('"', USING)])),
                    };
                    tables.iter_mut().for_each(|table| drop(table.owners.remove(&name)));
                    tables.push(Scope {
                        owners: BTreeMap::from([(name, owner)]),
                        columns: Some(BTreeSet::new()),
                        ..Scope::default()
                    });
                }
            }
            tables.push(right);
        }
        let mut all = Scope { columns: Some(BTreeSet::new()), is_unclear, ..Scope::default() };
        tables.into_iter().for_each(|table| all.join(table));
        all
    }

    fn of_table(table: &TableFactor, columns: &TableColumns<'_>) -> Scope {
        let (name, alias) = match table {
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                return Scope::of_joins(table_with_joins, columns);
            }
            TableFactor::Table { name, alias, args: None, .. } => (Some(name), alias.as_ref()),
            TableFactor::Derived { alias, .. } => (None, alias.as_ref()),
            _ => (None, None),
        };
        let called = match alias {
            Some(alias) => Some(ObjectName::from(vec![alias.name.clone()])),
            None => name.cloned(),
        };
        let renamed = alias.map(|alias| &alias.columns).filter(|columns| !columns.is_empty());
        let columns = match (renamed, table) {
            (Some(renamed), _) => Some(renamed.iter().map(|column| column.name.value.clone()).collect()),
            (None, TableFactor::Derived { subquery, .. }) => names_of(subquery),
            (None, _) => name.and_then(columns),
        };
        let columns = columns.map(|columns| columns.into_iter().collect());
        Scope { tables: called.into_iter().collect(), columns, ..Scope::default() }
    }

    fn join(&mut self, other: Scope) {
        self.owners.extend(other.owners);
        self.is_unclear |= other.is_unclear;
        self.tables.extend(other.tables);
        self.columns = match (self.columns.take(), other.columns) {
            (Some(mut own), Some(others)) => {
                own.extend(others);
                Some(own)
            }
            _ => None,
        };
    }
}

/// Returns the columns of a query that can be named; `None` if unknown.
pub fn names_of(query: &Query) -> Option<Vec<String>> {
    let mut body = query.body.as_ref();
    while let SetExpr::SetOperation { left, .. } = body {
        body = left.as_ref();
    }
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::Query(query) => return names_of(query),
        _ => return None,
    };
    let mut names = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => names.push(alias.value.clone()),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => names.push(name.value.clone()),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                names.extend(parts.last().map(|name| name.value.clone()));
            }
            // Its name is not an identifier.
            SelectItem::UnnamedExpr(_) => {}
            _ => return None,
        }
    }
    Some(names)
}

/// Returns the common columns of a join.
fn names(constraint: &JoinConstraint, left: &[Scope], right: &Scope) -> Vec<String> {
    match constraint {
        JoinConstraint::Using(names) => {
            let name = |name: &ObjectName| Some(name.0.first()?.as_ident()?.value.clone());
            names.iter().filter_map(name).collect()
        }
        _ => {
            let known =
                |name: &&String| left.iter().filter_map(|table| table.columns.as_ref()).any(|of| of.contains(*name));
            right.columns.iter().flatten().filter(known).cloned().collect()
        }
    }
}

/// Returns the table that owns the column of this name.
fn owner(name: &str, tables: &[Scope]) -> Option<ObjectName> {
    if let Some(owner) = tables.iter().find_map(|table| table.owners.get(name)) {
        return owner.clone();
    }
    let has = |table: &&Scope| table.columns.as_ref().is_none_or(|columns| columns.contains(name));
    let mut found = tables.iter().filter(has);
    let (Some(table), None) = (found.next(), found.next()) else { return None };
    match table.tables.as_slice() {
        [called] => Some(called.clone()),
        _ => None,
    }
}
