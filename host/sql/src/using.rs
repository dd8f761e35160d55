//! Joins with `using` and natural joins, which merge common columns. Their value is that of the side with all rows, or in a full join the first that
//! is not null. DataFusion always takes the left one's, and for `*` that of the side whose name comes first.
//!
//! Before a query is planned, `a right join b using (k)` becomes `b left join a using (k)`, and `*` over such joins a list. A full join is planned
//! here.

pub mod scope;

use datafusion::common::{Column, Result, not_impl_err, plan_datafusion_err};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::expr_rewriter::normalize_col;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::ast::{
    ExceptSelectItem, Ident, Join, JoinConstraint, JoinOperator, ObjectName, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};

/// The table of common columns of full joins.
const USING: &str = "using";

/// The columns of a table by its name; `None` if unknown.
pub type TableColumns<'a> = dyn Fn(&ObjectName) -> Option<Vec<String>> + 'a;

/// Rewrites the joins of a `select`. An error is a word of the text, and its message.
pub fn rewrite(select: &mut ast::Select, columns: &TableColumns<'_>) -> Result<(), (String, String)> {
    let is_plain = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    let has_star = select.projection.iter().any(is_plain);
    let one_sided = select.from.iter().any(|from| any_common(from, &|side| side != Side::Both));
    let has_full = select.from.iter().any(|from| any_common(from, &|side| side == Side::Both));
    let of_table = |item: &SelectItem| matches!(item, SelectItem::QualifiedWildcard(..));
    if has_full && let Some(item) = select.projection.iter().find(|item| of_table(item)) {
        let message = format!(
            "`{item}` cannot be used with a full join with common columns, which belong to no table; name the \
             columns, or write the join with `on`"
        );
        return Err((item.to_string().split('.').next().unwrap_or_default().to_owned(), message));
    }
    if has_star && one_sided {
        let list = listed(&select.from, columns).ok_or_else(|| {
            let message =
                "`*` over such a left or right join is not available; name the columns, or write the join with `on`";
            ("*".to_owned(), message.to_owned())
        })?;
        let items = std::mem::take(&mut select.projection);
        for item in items {
            match item {
                SelectItem::Wildcard(options) if is_without_options(&options) => {
                    select.projection.extend(list.iter().map(WildcardTable::item));
                }
                SelectItem::Wildcard(_) => {
                    let message = "`*` with options over such a left or right join is not available; name the columns";
                    return Err(("*".to_owned(), message.to_owned()));
                }
                other => select.projection.push(other),
            }
        }
    }
    select.from.iter_mut().for_each(|from| turn_joins(from, false));
    Ok(())
}

/// The side whose values common columns have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

/// Returns the side and the constraint of an outer join with common columns.
fn common(join: &Join) -> Option<(Side, &JoinConstraint)> {
    let (side, constraint) = match &join.join_operator {
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (Side::Left, constraint),
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => (Side::Right, constraint),
        JoinOperator::FullOuter(constraint) => (Side::Both, constraint),
        _ => return None,
    };
    is_common(constraint).then_some((side, constraint))
}

fn is_common(constraint: &JoinConstraint) -> bool {
    matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural)
}

fn any_common(from: &TableWithJoins, is: &dyn Fn(Side) -> bool) -> bool {
    let within = |factor: &TableFactor| match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => any_common(table_with_joins, is),
        _ => false,
    };
    within(&from.relation)
        || from.joins.iter().any(|join| common(join).is_some_and(|(side, _)| is(side)) || within(&join.relation))
}

/// Turns right joins into left joins, and puts full joins in parentheses, so that the planner below is called for them. `in_parentheses`: the last
/// join has parentheses already.
pub fn turn_joins(from: &mut TableWithJoins, in_parentheses: bool) {
    let joins = std::mem::take(&mut from.joins);
    let last = joins.len();
    for (index, mut join) in joins.into_iter().enumerate() {
        match common(&join).map(|(side, constraint)| (side, constraint.clone())) {
            Some((Side::Right, constraint)) => {
                std::mem::swap(&mut from.relation, &mut join.relation);
                let before = std::mem::take(&mut from.joins);
                if !before.is_empty() {
                    let inner = TableWithJoins { relation: join.relation, joins: before };
                    join.relation = nested(inner);
                }
                join.join_operator = JoinOperator::LeftOuter(constraint);
                from.joins.push(join);
            }
            Some((Side::Both, _)) if !in_parentheses || index + 1 < last => {
                from.joins.push(join);
                let inner = TableWithJoins { relation: from.relation.clone(), joins: std::mem::take(&mut from.joins) };
                from.relation = nested(inner);
            }
            _ => from.joins.push(join),
        }
    }
}

fn nested(inner: TableWithJoins) -> TableFactor {
    TableFactor::NestedJoin { table_with_joins: Box::new(inner), alias: None }
}

/// A table in a list that replaces `*`.
struct WildcardTable {
    table: ObjectName,
    /// One column of it, or all but some.
    column: Option<Ident>,
    except: Vec<Ident>,
}

impl WildcardTable {
    fn item(&self) -> SelectItem {
        if let Some(column) = &self.column {
            let table = self.table.0.iter().filter_map(|part| part.as_ident().cloned());
            return SelectItem::UnnamedExpr(ast::Expr::CompoundIdentifier(table.chain([column.clone()]).collect()));
        }
        let mut options = WildcardAdditionalOptions::default();
        if let Some((first, more)) = self.except.split_first() {
            let except = ExceptSelectItem { first_element: first.clone(), additional_elements: more.to_vec() };
            options.opt_except = Some(except);
        }
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(self.table.clone()), options)
    }
}

fn is_without_options(options: &WildcardAdditionalOptions) -> bool {
    let plain = WildcardAdditionalOptions { wildcard_token: options.wildcard_token.clone(), ..Default::default() };
    *options == plain
}

fn listed(from: &[TableWithJoins], columns: &TableColumns<'_>) -> Option<Vec<WildcardTable>> {
    let mut all = Vec::new();
    for one in from {
        let mut list = vec![factor(&one.relation)?];
        for join in &one.joins {
            let right = factor(&join.relation)?;
            let (side, constraint) = match &join.join_operator {
                JoinOperator::Inner(constraint) | JoinOperator::Join(constraint) => (Side::Left, constraint),
                JoinOperator::CrossJoin(constraint) => (Side::Left, constraint),
                _ => match common(join) {
                    Some((side, constraint)) => (side, constraint),
                    None => (Side::Left, &JoinConstraint::None),
                },
            };
            let names = match constraint {
                JoinConstraint::Using(names) => {
                    names.iter().map(|name| name.0.first()?.as_ident().cloned()).collect::<Option<Vec<_>>>()?
                }
                JoinConstraint::Natural => {
                    let mut known = Vec::new();
                    for table in list.iter().filter(|table| table.listed.column.is_none()) {
                        known.extend(columns(table.source.as_ref()?)?);
                    }
                    let own = columns(right.source.as_ref()?)?;
                    own.into_iter()
                        .filter(|name| known.contains(name))
                        .map(|name| Ident::with_quote('"', name))
                        .collect()
                }
                _ => Vec::new(),
            };
            match side {
                Side::Left => {}
                Side::Right => {
                    let [left] = list.as_mut_slice() else { return None };
                    left.listed.except.extend(names.iter().cloned());
                    let table = &right.listed.table;
                    let one = |name: &Ident| WildcardTable {
                        table: table.clone(),
                        column: Some(name.clone()),
                        except: Vec::new(),
                    };
                    let merged: Vec<Factor> =
                        names.iter().map(|name| Factor { listed: one(name), source: right.source.clone() }).collect();
                    list.splice(0..0, merged);
                }
                Side::Both => return None,
            }
            let mut right = right;
            right.listed.except = names;
            list.push(right);
        }
        all.extend(list.into_iter().map(|table| table.listed));
    }
    Some(all)
}

struct Factor {
    listed: WildcardTable,
    /// The table's own name.
    source: Option<ObjectName>,
}

fn factor(factor: &TableFactor) -> Option<Factor> {
    let (name, alias) = match factor {
        TableFactor::Table { name, alias, args: None, .. } => (Some(name), alias.as_ref()),
        TableFactor::Derived { lateral: false, alias, .. } => (None, alias.as_ref()),
        _ => return None,
    };
    let table = match alias {
        Some(alias) => ObjectName::from(vec![alias.name.clone()]),
        None => name?.clone(),
    };
    let renamed = alias.is_some_and(|alias| !alias.columns.is_empty());
    let source = name.filter(|_| !renamed).cloned();
    Some(Factor { listed: WildcardTable { table, column: None, except: Vec::new() }, source })
}

/// Plans full joins with common columns.
#[derive(Debug)]
pub struct FullJoinUsing;

impl RelationPlanner for FullJoinUsing {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let TableFactor::NestedJoin { mut table_with_joins, alias } = relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let last = table_with_joins.joins.pop_if(|last| matches!(common(last), Some((Side::Both, _))));
        let Some(Join { relation, join_operator: JoinOperator::FullOuter(constraint), .. }) = last else {
            return Ok(RelationPlanning::Original(Box::new(TableFactor::NestedJoin { table_with_joins, alias })));
        };
        let left = match table_with_joins.joins.is_empty() {
            true => table_with_joins.relation,
            false => nested(*table_with_joins),
        };
        let (left, right) = (context.plan(left)?, context.plan(relation)?);
        let names = match constraint {
            JoinConstraint::Using(names) => {
                let name = |name: ObjectName| match <[ast::ObjectNamePart; 1]>::try_from(name.0) {
                    Ok([ast::ObjectNamePart::Identifier(name)]) => Ok(context.normalize_ident(name)),
                    _ => not_impl_err!("`using` takes names of columns"),
                };
                names.into_iter().map(name).collect::<Result<Vec<_>>>()?
            }
            _ => {
                let known = |name: &&String| left.schema().fields().iter().any(|field| field.name() == *name);
                right.schema().fields().iter().map(|field| field.name()).filter(known).cloned().collect()
            }
        };
        let plan = merged(left, right, &names)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn merged(left: LogicalPlan, right: LogicalPlan, names: &[String]) -> Result<LogicalPlan> {
    let of = |name: &String, plan: &LogicalPlan| {
        normalize_col(Expr::Column(Column::from_name(name)), plan)
            .map_err(|_| plan_datafusion_err!("`using ({name})` needs the column in both tables, once in each"))
    };
    let pairs = names.iter().map(|name| Ok((of(name, &left)?, of(name, &right)?))).collect::<Result<Vec<_>>>()?;
    let conditions: Vec<Expr> = match pairs.is_empty() {
        true => vec![lit(true)],
        false => pairs.iter().map(|(a, b)| a.clone().eq(b.clone())).collect(),
    };
    let own: Vec<Column> = left.schema().columns().into_iter().chain(right.schema().columns()).collect();
    let own = own.into_iter().filter(|column| !names.contains(&column.name)).map(Expr::Column);
    let both = pairs.into_iter().zip(names);
    let both = both.map(|((a, b), name)| coalesce(vec![a, b]).alias_qualified(Some(USING), name.clone()));
    let columns: Vec<Expr> = both.chain(own).collect();
    LogicalPlanBuilder::from(left).join_on(right, JoinType::Full, conditions)?.project(columns)?.build()
}
