//! Splits queries over all rows that ever came (`sql` with `window = "all"`) into stages that update their result incrementally. The first selects
//! the rows and computes values of each; the next computes their totals as changes; the last computes the output from these. A query that groups is
//! an aggregate, like an incrementally maintained view (Gupta, Mumick: "Maintenance of Materialized Views", 1995).

mod rewrite;

pub(super) use rewrite::{has_totals, is_total};

use super::errors::JobErrors;
use super::spec::*;
use rewrite::{Rewriter, Totals};
use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LimitClause, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use std::collections::BTreeMap;

/// Advice for a query that does not have such a form.
const INSTEAD: &str = "a query over all rows must group the rows of one stream, for example \"select user, count(*) \
                       as n from clicks where price > 0 group by user having count(*) > 2\"; for other queries, \
                       write stages with `join`, `top`, `latest`, `aggregate`, `filter` and `select` and window = \
                       \"all\", or a `window` of a size";

/// Replaces queries over all rows by stages of other operators.
pub(super) fn split(job: &mut JobSpec, errors: &JobErrors) {
    let mut stages = Vec::with_capacity(job.stages.len());
    let columns = |source: &SourceSpec| source.schema.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    let sources = job.sources.iter().filter(|source| !source.schema.is_empty());
    let sources: Inputs = sources.map(|source| (source.name.clone(), columns(source))).collect();
    for stage in std::mem::take(&mut job.stages) {
        let path = format!("stages.{}", stage.name);
        if !is_over_all(&stage) || errors.within(&path) {
            stages.push(stage);
            continue;
        }
        match stages_of(&stage, &sources) {
            Ok(parts) => stages.extend(parts),
            Err((key, message)) => {
                errors.add_new(format!("{path}.{key}"), &format!("stage `{}`: `{key}`: ", stage.name), message);
                stages.push(stage);
            }
        }
    }
    job.stages = stages;
}

fn is_over_all(stage: &StageSpec) -> bool {
    let over_all = stage.window.as_ref().is_some_and(|window| window.extent == WindowExtent::All);
    over_all && matches!(stage.operator, OperatorSpec::Sql { .. })
}

/// Columns of inputs that are known before a job is planned.
type Inputs = BTreeMap<String, Vec<String>>;

/// The wrong key of the stage, and what to do.
type KeyError = (&'static str, String);

fn stages_of(stage: &StageSpec, sources: &Inputs) -> Result<Vec<StageSpec>, KeyError> {
    let OperatorSpec::Sql { query, functions, .. } = &stage.operator else { return Ok(vec![stage.clone()]) };
    let reject = |key, instead: &str| Err((key, instead.to_owned()));
    match stage {
        _ if !functions.is_empty() => {
            return reject(
                "functions",
                "plugins cannot be functions of a query over all rows; put a stage with `plugin` before it",
            );
        }
        StageSpec { key, .. } if !key.is_empty() => {
            return reject("key", "the key of a query over all rows is what it groups by; remove `key`");
        }
        StageSpec { filter: Some(_), .. } => return reject("filter", "write it in the query, as `where` or `having`"),
        StageSpec { select: Some(_), .. } => return reject("select", "write the columns in the query"),
        _ => {}
    }
    let sql = |message: String| ("sql", message);
    let parsed = millstream_base::panics::caught(|| Parser::parse_sql(&GenericDialect {}, query));
    let mut statements = match parsed {
        Ok(Ok(statements)) => statements,
        Ok(Err(error)) => return Err(sql(format!("{error}; fix the query"))),
        Err(_) => return Err(sql("it cannot be parsed; fix the query".into())),
    };
    let statement = statements.pop().filter(|_| statements.is_empty());
    let Some(Statement::Query(query)) = statement else {
        return Err(sql("it is not one query; write a `select`".into()));
    };
    let parts = QueryParts::new(&query, stage, sources).map_err(sql)?;
    parts.stages(stage).map_err(sql)
}

/// A query that can be updated incrementally.
struct QueryParts {
    /// Names of the query's table.
    tables: Vec<String>,
    condition: Option<Expr>,
    /// Expressions and the names of their columns.
    columns: Vec<(Expr, String)>,
    groups: Vec<Expr>,
    having: Option<Expr>,
    /// Column, whether the smallest come first, number of rows.
    first: Option<(String, bool, u64)>,
}

impl QueryParts {
    fn new(query: &Query, stage: &StageSpec, sources: &Inputs) -> Result<QueryParts, String> {
        let SetExpr::Select(select) = query.body.as_ref() else { return Err(INSTEAD.into()) };
        let (table, tables) = table(select, stage)?;
        let is_distinct = match &select.distinct {
            None | Some(Distinct::All) => false,
            Some(Distinct::Distinct) => true,
            Some(Distinct::On(_)) => return Err(format!("`distinct on` cannot be kept up to date: {INSTEAD}")),
        };
        let columns = select.projection.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let input = stage.from.first().and_then(|from| sources.get(from));
        let mut groups = match &select.group_by {
            GroupByExpr::Expressions(groups, modifiers) if modifiers.is_empty() => {
                groups.iter().map(|group| grouped_by(group, &columns, input)).collect::<Result<Vec<_>, _>>()?
            }
            _ => return Err(format!("`group by` needs expressions: {INSTEAD}")),
        };
        if is_distinct && groups.is_empty() {
            groups = columns.iter().map(|(expression, _)| expression.clone()).collect();
        } else if is_distinct {
            return Err("`distinct` with `group by` cannot be kept up to date; remove `distinct`".into());
        }
        let first = first(query, &columns)?;
        let parts = QueryParts {
            tables,
            condition: select.selection.clone(),
            columns,
            groups,
            having: select.having.clone(),
            first,
        };
        // Any other clause would be ignored silently: then these parts, written again, differ from the query.
        match written(query, select, &table) == query.to_string() {
            true => Ok(parts),
            false => Err(INSTEAD.into()),
        }
    }

    fn stages(self, stage: &StageSpec) -> Result<Vec<StageSpec>, String> {
        let op = stage.op.clone();
        let column = op.clone().unwrap_or_else(|| OPERATION.into());
        if self.columns.iter().any(|(_, name)| *name == column) {
            return Err(format!("its rows have their operation in `{column}`; rename that column of the query"));
        }
        let expressions = self.columns.iter().map(|(expression, _)| expression).chain(&self.having);
        if self.groups.is_empty() && !expressions.into_iter().any(rewrite::has_totals) {
            return Err(format!("it processes each row on its own, for which it needs no `window`; or {INSTEAD}"));
        }
        let mut totals = Totals::default();
        let mut rewriter = Rewriter::new(&self.tables, &self.groups, &mut totals);
        let mut selected = Vec::new();
        for (expression, name) in self.columns {
            selected.push(format!("{} as {}", rewriter.rewritten(expression)?, quoted(&name)));
        }
        selected.push(quoted(&column));
        let having = self.having.map(|having| rewriter.rewritten(having)).transpose()?;
        let groups = rewriter.groups()?;
        let condition = self.condition.map(|condition| rewrite::plain(&self.tables, condition)).transpose()?;
        let name_of = |word: &str| format!("{}-{word}", stage.name);
        let (rows, all) = (name_of("rows"), name_of("totals"));
        let keys: Vec<String> = groups.iter().map(|(name, _)| name.clone()).collect();
        let columns =
            groups.into_iter().chain(totals.values()).map(|(name, text)| format!("{text} as {}", quoted(&name)));
        let mut columns: Vec<String> = columns.collect();
        columns.extend(op.as_deref().map(quoted));
        if columns.is_empty() {
            columns.push("true as _row".into());
        }
        let mut of_rows = StageSpec::union(&rows, stage.from.clone());
        (of_rows.filter, of_rows.select) = (condition, Some(columns.join(", ")));
        let aggregate = OperatorSpec::Aggregate { columns: totals.columns(), inverse: false };
        let mut of_totals = StageSpec { operator: aggregate, key: keys, op, ..StageSpec::union(&all, [rows]) };
        of_totals.window = Some(WindowSpec { extent: WindowExtent::All, emit: WindowEmit::Changes });
        let last = if self.first.is_some() { name_of("all") } else { stage.name.clone() };
        let mut of_columns = StageSpec::union(&last, [all]);
        (of_columns.filter, of_columns.select) = (having, Some(selected.join(", ")));
        let mut stages = vec![of_rows, of_totals, of_columns];
        if let Some((by, ascending, n)) = self.first {
            let operator = OperatorSpec::Top { n, by, ascending, rank: None };
            let mut of_first = StageSpec { operator, op: Some(column), ..StageSpec::union(&stage.name, [last]) };
            of_first.window = Some(WindowSpec { extent: WindowExtent::All, emit: WindowEmit::Close });
            stages.push(of_first);
        }
        Ok(stages)
    }
}

/// Returns a name as an SQL identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns the table as written in the query, and the names that qualify its columns.
fn table(select: &Select, stage: &StageSpec) -> Result<(String, Vec<String>), String> {
    let [from] = select.from.as_slice() else { return Err(INSTEAD.into()) };
    let [stream] = stage.from.as_slice() else { return Err(INSTEAD.into()) };
    let TableFactor::Table { name, alias, .. } = &from.relation else { return Err(INSTEAD.into()) };
    let text = name.to_string();
    if text.trim_matches('"') != stream {
        return Err(format!("its table is `{text}`, and the stage reads `{stream}`; write from {}", quoted(stream)));
    }
    let mut tables = vec![stream.clone()];
    let Some(alias) = alias else { return Ok((text, tables)) };
    tables.push(alias.name.value.clone());
    Ok((format!("{text} {alias}"), tables))
}

fn column(item: &SelectItem) -> Result<(Expr, String), String> {
    match item {
        SelectItem::ExprWithAlias { expr, alias } => Ok((expr.clone(), alias.value.clone())),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Ok((Expr::Identifier(name.clone()), name.value.clone())),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => match names.last() {
            Some(last) => Ok((Expr::CompoundIdentifier(names.clone()), last.value.clone())),
            None => Err(INSTEAD.into()),
        },
        SelectItem::UnnamedExpr(other) => {
            Err(format!("`{other}` needs a name, as the rows of the stage are kept by it; write {other} as …"))
        }
        other => Err(format!(
            "`{other}` is not allowed in a query over all rows; write each column, with what it is grouped by"
        )),
    }
}

/// Returns the meaning of an expression of `group by`. In SQL a name is a column of the input rather than one of the query; if both exist with
/// different meanings, only the author knows which is meant. `input`: the columns of the input, if they are known.
fn grouped_by(group: &Expr, columns: &[(Expr, String)], input: Option<&Vec<String>>) -> Result<Expr, String> {
    let meant = meaning_of(group, columns)?;
    let Expr::Identifier(name) = group else { return Ok(meant) };
    if meant == *group {
        return Ok(meant);
    }
    if let Some(input) = input {
        return Ok(if input.contains(&name.value) { group.clone() } else { meant });
    }
    let names = rewrite::names(&meant);
    let index = columns.iter().position(|(_, column)| *column == name.value).map_or(1, |index| index + 1);
    let plain = if names.is_empty() { index.to_string() } else { meant.to_string() };
    match names.is_empty() || names.contains(&name.value) {
        true => Err(format!(
            "`group by {name}` may mean the column of the input or that of the query; write group by {plain}"
        )),
        false => Ok(meant),
    }
}

/// Returns the meaning of an expression of `group by` or `order by`: a column of the query by its index or name, or the expression itself.
fn meaning_of(expression: &Expr, columns: &[(Expr, String)]) -> Result<Expr, String> {
    match expression {
        Expr::Value(value) => {
            let index = value.to_string().parse::<usize>().ok().and_then(|index| columns.get(index.checked_sub(1)?));
            index
                .map(|(expression, _)| expression.clone())
                .ok_or_else(|| format!("column `{value}` not found in the query"))
        }
        Expr::Identifier(name) => {
            let named = columns.iter().find(|(_, column)| *column == name.value);
            Ok(named.map_or_else(|| expression.clone(), |(meant, _)| meant.clone()))
        }
        other => Ok(other.clone()),
    }
}

/// Parses `order by … limit …`.
fn first(query: &Query, columns: &[(Expr, String)]) -> Result<Option<(String, bool, u64)>, String> {
    let orders = match query.order_by.as_ref().map(|order| &order.kind) {
        None => &[],
        Some(OrderByKind::Expressions(orders)) => orders.as_slice(),
        Some(OrderByKind::All(_)) => return Err(INSTEAD.into()),
    };
    let (order, limit) = match (orders, &query.limit_clause) {
        ([], None) => return Ok(None),
        ([order], Some(LimitClause::LimitOffset { limit: Some(limit), offset: None, .. })) => (order, limit),
        _ => {
            return Err("rows that change have no order; the first of them are kept with one `order by` and a `limit`, as in order by n desc \
                        nulls last limit 10"
                .into());
        }
    };
    let n = limit.to_string().parse::<u64>().ok().filter(|n| *n > 0);
    let n = n.ok_or_else(|| format!("`limit {limit}` is not a number of rows; write limit 10"))?;
    let by = meaning_of(&order.expr, columns)?;
    let named = columns.iter().find(|(expression, _)| *expression == by);
    let (_, name) = named.ok_or_else(|| format!("`order by {by}` needs a column of the query; put it among them"))?;
    let ascending = order.options.asc.unwrap_or(true);
    if order.options.nulls_first.unwrap_or(!ascending) {
        return Err(format!(
            "rows without a value come last here; write order by {by}{} nulls last",
            if ascending { "" } else { " desc" }
        ));
    }
    Ok(Some((name.clone(), ascending, n)))
}

/// Writes the supported parts of the query again.
fn written(query: &Query, select: &Select, table: &str) -> String {
    let list = |items: Vec<String>| items.join(", ");
    let mut text = String::from("SELECT ");
    if let Some(distinct) = &select.distinct {
        text += &format!("{distinct} ");
    }
    text += &list(select.projection.iter().map(ToString::to_string).collect());
    text += &format!(" FROM {table}");
    if let Some(condition) = &select.selection {
        text += &format!(" WHERE {condition}");
    }
    if let GroupByExpr::Expressions(groups, _) = &select.group_by
        && !groups.is_empty()
    {
        text += &format!(" GROUP BY {}", list(groups.iter().map(ToString::to_string).collect()));
    }
    if let Some(having) = &select.having {
        text += &format!(" HAVING {having}");
    }
    if let Some(order) = &query.order_by {
        text += &format!(" {order}");
    }
    if let Some(LimitClause::LimitOffset { limit: Some(limit), .. }) = &query.limit_clause {
        text += &format!(" LIMIT {limit}");
    }
    text
}

#[cfg(test)]
mod tests;
