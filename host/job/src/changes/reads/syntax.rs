//! Parses conditions, lists of columns and queries.

mod deep;

use super::{Origin, Projection, Reads, RowQuery};
use crate::standing_query::has_totals;
use crate::syntax::{Part, each_part};
use sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, FunctionArguments, Ident, ObjectName, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, Value, WildcardAdditionalOptions,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Functions whose value differs in each batch or call.
const VOLATILE: [&str; 9] = [
    "now",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtimestamp",
    "today",
    "random",
    "uuid",
    "gen_random_uuid",
];

/// Returns what a condition reads; `None` if that is unknown.
pub fn condition(text: &str) -> Option<Reads> {
    let query = parsed(deep::shallow(&format!("select 1 from rows where {text}"))?)?;
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    Some(reads(select.selection.as_ref()?, &[]))
}

/// Returns a function in a condition whose value differs in each batch, if nothing more is known of the condition.
pub fn volatile_call(condition: &str) -> Option<String> {
    deep::volatile_call(condition)
}

/// Returns the columns of a `select`; `None` if they are unknown.
pub fn projection(text: &str) -> Option<Projection> {
    let query = query(&format!("select {text}"))?;
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    projection_of(select, &[])
}

/// Parses a query of `sql`, or returns what in it reads more than one row; `None` if it cannot be parsed.
pub fn row_query(text: &str) -> Option<Result<RowQuery, String>> {
    let query = query(text)?;
    let SetExpr::Select(select) = query.body.as_ref() else { return Some(Err("it is not a plain `select`".into())) };
    Some(row_query_of(&query, select))
}

fn row_query_of(query: &Query, select: &Select) -> Result<RowQuery, String> {
    let [from] = select.from.as_slice() else { return Err("it reads several tables".into()) };
    if !from.joins.is_empty() {
        return Err("it has a `join`".into());
    }
    let TableFactor::Table { name, alias, .. } = &from.relation else {
        return Err("it has a query within it".into());
    };
    let Some(stream) = last_name(name) else { return Err("its table has no name".into()) };
    let tables: Vec<String> =
        [Some(stream.clone()), alias.as_ref().map(|alias| alias.name.value.clone())].into_iter().flatten().collect();
    // Any other clause shows when these parts are written again.
    let projection: Vec<String> = select.projection.iter().map(ToString::to_string).collect();
    let mut written = format!("SELECT {} FROM {from}", projection.join(", "));
    if let Some(condition) = &select.selection {
        written += &format!(" WHERE {condition}");
    }
    let text = query.to_string();
    if written != text {
        return Err(match text.strip_prefix(&written) {
            Some(rest) => format!("it has `{}`", leading_keywords(rest)),
            None => "it is not a plain `select … from … where …`".into(),
        });
    }
    let expressions = select.projection.iter().filter_map(expression_of).chain(&select.selection);
    if let Some(call) = expressions.into_iter().find_map(over_rows) {
        return Err(format!("`{call}` looks at several rows"));
    }
    let projection = projection_of(select, &tables).ok_or("its list of columns is too complex to follow")?;
    let condition = select.selection.as_ref().map(|condition| reads(condition, &tables));
    Ok(RowQuery { stream, condition, projection })
}

/// Returns the keywords at the beginning of a clause, for example `group by`.
fn leading_keywords(clause: &str) -> String {
    let keywords = clause.split_whitespace().take_while(|word| word.chars().all(|c| c.is_ascii_uppercase()));
    let keywords: Vec<String> = keywords.take(2).map(str::to_lowercase).collect();
    if keywords.is_empty() { clause.trim().to_owned() } else { keywords.join(" ") }
}

fn expression_of(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } => Some(expression),
        _ => None,
    }
}

/// Returns a call of an aggregate or over a window, or a query, within an expression.
fn over_rows(expression: &Expr) -> Option<String> {
    if has_totals(expression) {
        return Some(expression.to_string());
    }
    each_part(&mut expression.clone(), |part| match part {
        Part::Query(query) => ControlFlow::Break(format!("({query})")),
        Part::Expression(Expr::Function(call)) if call.over.is_some() => ControlFlow::Break(call.to_string()),
        Part::Expression(_) => ControlFlow::Continue(()),
    })
}

fn query(text: &str) -> Option<Box<Query>> {
    parsed(deep::flattened(text)?)
}

fn parsed(text: String) -> Option<Box<Query>> {
    let parsed = millstream_base::panics::caught(|| Parser::parse_sql(&GenericDialect {}, &text));
    let mut statements = parsed.ok()?.ok()?;
    match (statements.pop(), statements.is_empty()) {
        (Some(Statement::Query(query)), true) => Some(query),
        _ => None,
    }
}

fn reads(expression: &Expr, tables: &[String]) -> Reads {
    let mut reads = Reads::default();
    each_part(&mut expression.clone(), |part| {
        match part {
            Part::Expression(expression) => match volatile(expression) {
                Some(name) => drop(reads.volatile.get_or_insert(name)),
                None => reads.columns.extend(column(expression, tables)),
            },
            Part::Query(_) => {}
        }
        ControlFlow::<()>::Continue(())
    });
    reads
}

/// Returns the function of a call whose value differs each time.
fn volatile(expression: &Expr) -> Option<String> {
    let Expr::Function(call) = expression else { return None };
    Some(call.name.to_string().to_lowercase()).filter(|name| VOLATILE.contains(&name.as_str()))
}

/// Returns the dotted names of an expression; empty for other expressions.
fn names(expression: &Expr) -> Vec<&Ident> {
    match expression {
        Expr::Identifier(name) => vec![name],
        Expr::CompoundIdentifier(names) => names.iter().collect(),
        // The parser treats some names as functions without brackets; `user` is one, and a column.
        Expr::Function(call) if matches!(call.args, FunctionArguments::None) => {
            call.name.0.iter().filter_map(|part| part.as_ident()).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the column of an expression; for a member of a struct, the struct.
fn column(expression: &Expr, tables: &[String]) -> Option<String> {
    let names = names(expression);
    let of_table = names.len() > 1 && names.first().is_some_and(|name| tables.contains(&name.value));
    names.get(usize::from(of_table)).map(|name| name.value.clone())
}

fn projection_of(select: &Select, tables: &[String]) -> Option<Projection> {
    let mut projection = Projection::default();
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expression) => {
                projection.unnests |= unnests(expression);
                if let Some(name) = last_part(expression) {
                    projection.named.insert(name, origin(expression, tables));
                }
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                projection.unnests |= unnests(expr);
                projection.named.insert(alias.value.clone(), origin(expr, tables));
            }
            SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
                projection.all_but = Some(excluded_columns(options)?);
                for element in options.opt_replace.iter().flat_map(|replace| &replace.items) {
                    projection.named.insert(element.column_name.value.clone(), origin(&element.expr, tables));
                }
            }
            SelectItem::ExprWithAliases { .. } => return None,
        }
    }
    Some(projection)
}

/// Returns the columns that a `*` omits; `None` if it renames columns, or selects them by a pattern.
fn excluded_columns(options: &WildcardAdditionalOptions) -> Option<BTreeSet<String>> {
    if options.opt_rename.is_some() || options.opt_ilike.is_some() {
        return None;
    }
    let mut names = BTreeSet::new();
    match &options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => names.extend(last_name(name)),
        Some(ExcludeSelectItem::Multiple(all)) => names.extend(all.iter().filter_map(last_name)),
        None => {}
    }
    if let Some(except) = &options.opt_except {
        let value = |name: &Ident| name.value.clone();
        names.insert(value(&except.first_element));
        names.extend(except.additional_elements.iter().map(value));
    }
    Some(names)
}

fn last_name(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(|name| name.value.clone())
}

/// Returns the name of the output column of an expression without `as`.
fn last_part(expression: &Expr) -> Option<String> {
    names(expression).last().map(|name| name.value.clone())
}

fn unnests(expression: &Expr) -> bool {
    each_part(&mut expression.clone(), |part| match part {
        Part::Expression(Expr::Function(call)) if call.name.to_string().eq_ignore_ascii_case("unnest") => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .is_some()
}

fn origin(expression: &Expr, tables: &[String]) -> Origin {
    if let Some(name) = column(expression, tables).filter(|name| last_part(expression).as_ref() == Some(name)) {
        return Origin::Column(name);
    }
    let Reads { columns, volatile } = reads(expression, tables);
    Origin::Computed { columns, spelling: only_compares_strings(expression), volatile }
}

/// Returns whether an expression consists of columns, strings, `case`, equality and functions of strings.
fn only_compares_strings(expression: &Expr) -> bool {
    each_part(&mut expression.clone(), |part| match part {
        Part::Query(_) => ControlFlow::Break(()),
        Part::Expression(part) => match part {
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Case { .. }
            | Expr::InList { .. }
            | Expr::Nested(_)
            | Expr::Function(_) => ControlFlow::Continue(()),
            Expr::BinaryOp { op: BinaryOperator::Eq | BinaryOperator::NotEq | BinaryOperator::Or, .. } => {
                ControlFlow::Continue(())
            }
            Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        },
    })
    .is_none()
}
