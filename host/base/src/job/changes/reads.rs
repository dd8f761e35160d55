//! What conditions, lists of columns and queries read, by their text: which columns a condition names, and which column of the
//! input a column of the output is. Of a text that cannot be parsed nothing is known, so it may read everything.

mod deep;

use crate::job::spec::{AggregateFunction, AggregateSpec};
use crate::job::standing_query::has_totals;
use crate::job::syntax::{Part, each_part};
use sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, FunctionArguments, Ident, ObjectName, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, Value, WildcardAdditionalOptions,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Functions with another value in each batch or call.
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

/// What an expression depends on.
#[derive(Debug, Default, PartialEq)]
pub struct Reads {
    /// The columns that it names.
    pub columns: BTreeSet<String>,
    /// A function in it with another value in each batch.
    pub volatile: Option<String>,
}

/// Where a column of the output comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// It is a column of the input.
    Column(String),
    /// It is computed.
    Computed {
        /// Of these columns.
        columns: BTreeSet<String>,
        /// It only compares them with strings: another spelling of what a row does.
        spelling: bool,
        /// A function in it with another value in each batch.
        volatile: Option<String>,
    },
}

/// A list of columns, as `select` has it.
#[derive(Debug, Default)]
pub struct Projection {
    named: BTreeMap<String, Origin>,
    /// The columns that `*` leaves out, where it is in the list.
    all_but: Option<BTreeSet<String>>,
    /// It makes several rows, or none, of a row.
    pub unnests: bool,
}

/// A query that looks at each row of one stream separately.
#[derive(Debug)]
pub struct RowQuery {
    /// The stream.
    pub stream: String,
    /// Its `where`.
    pub condition: Option<Reads>,
    /// Its columns.
    pub projection: Projection,
}

/// What a condition reads. `None`: it cannot be told.
pub fn condition(text: &str) -> Option<Reads> {
    let query = parsed(deep::shallow(&format!("select 1 from rows where {text}"))?)?;
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    Some(reads(select.selection.as_ref()?, &[]))
}

/// A function in a condition with another value in each batch, where no more can be told of it.
pub fn volatile_call(condition: &str) -> Option<String> {
    deep::volatile_call(condition)
}

/// The columns of a `select`. `None`: they cannot be told.
pub fn projection(text: &str) -> Option<Projection> {
    let query = query(&format!("select {text}"))?;
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    projection_of(select, &[])
}

/// The columns of an aggregate: its key, and its totals; the last value of a column is that column.
pub fn totals(key: &[String], totals: &[AggregateSpec]) -> Projection {
    let mut named: BTreeMap<String, Origin> =
        key.iter().map(|name| (name.clone(), Origin::Column(name.clone()))).collect();
    for total in totals {
        let origin = match (&total.column, &total.filter) {
            (Some(column), None) if total.function == AggregateFunction::Last => Origin::Column(column.clone()),
            (column, filter) => {
                let filter = filter.as_deref().and_then(condition).unwrap_or_default();
                let columns = filter.columns.into_iter().chain(column.clone()).collect();
                Origin::Computed { columns, spelling: false, volatile: filter.volatile }
            }
        };
        named.insert(total.output.clone(), origin);
    }
    Projection { named, ..Projection::default() }
}

/// A query of `sql`, or what in it looks at more than one row. `None`: it cannot be parsed.
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
    // Whatever else it has shows when these parts are written down again.
    let projection: Vec<String> = select.projection.iter().map(ToString::to_string).collect();
    let mut written = format!("SELECT {} FROM {from}", projection.join(", "));
    if let Some(condition) = &select.selection {
        written += &format!(" WHERE {condition}");
    }
    let text = query.to_string();
    if written != text {
        return Err(match text.strip_prefix(&written) {
            Some(rest) => format!("it has `{}`", first_words(rest)),
            None => "it is not a plain `select … from … where …`".into(),
        });
    }
    let expressions = select.projection.iter().filter_map(expression_of).chain(&select.selection);
    if let Some(call) = expressions.into_iter().find_map(over_rows) {
        return Err(format!("`{call}` looks at several rows"));
    }
    let projection = projection_of(select, &tables).ok_or("its list of columns is not one that is followed here")?;
    let condition = select.selection.as_ref().map(|condition| reads(condition, &tables));
    Ok(RowQuery { stream, condition, projection })
}

/// The keywords at the beginning of a clause, as `group by`.
fn first_words(clause: &str) -> String {
    let words = clause.split_whitespace().take_while(|word| word.chars().all(|c| c.is_ascii_uppercase()));
    let words: Vec<String> = words.take(2).map(str::to_lowercase).collect();
    if words.is_empty() { clause.trim().to_owned() } else { words.join(" ") }
}

fn expression_of(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } => Some(expression),
        _ => None,
    }
}

/// A call of an aggregate or over a window, or a query, within an expression.
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
    let parsed = crate::panics::caught(|| Parser::parse_sql(&GenericDialect {}, &text));
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

/// The function of an expression that is a call of one with another value each time.
fn volatile(expression: &Expr) -> Option<String> {
    let Expr::Function(call) = expression else { return None };
    Some(call.name.to_string().to_lowercase()).filter(|name| VOLATILE.contains(&name.as_str()))
}

/// The names of which an expression consists, with dots between them; none where it is another.
fn names(expression: &Expr) -> Vec<&Ident> {
    match expression {
        Expr::Identifier(name) => vec![name],
        Expr::CompoundIdentifier(names) => names.iter().collect(),
        // The parser knows some functions without brackets; `user` is one, and a column.
        Expr::Function(call) if matches!(call.args, FunctionArguments::None) => {
            call.name.0.iter().filter_map(|part| part.as_ident()).collect()
        }
        _ => Vec::new(),
    }
}

/// The column that an expression is; of a member of a struct, the struct.
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
                projection.all_but = Some(left_out(options)?);
                for element in options.opt_replace.iter().flat_map(|replace| &replace.items) {
                    projection.named.insert(element.column_name.value.clone(), origin(&element.expr, tables));
                }
            }
            SelectItem::ExprWithAliases { .. } => return None,
        }
    }
    Some(projection)
}

/// The columns that a `*` leaves out; `None`: it renames columns, or chooses them by a pattern.
fn left_out(options: &WildcardAdditionalOptions) -> Option<BTreeSet<String>> {
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

/// The name of the output column of an expression without `as`.
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

/// Whether an expression is made of columns, strings, `case`, equality and functions of strings.
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

impl Projection {
    /// Where an output column comes from; `None`: the list does not have it.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        if let Some(origin) = self.named.get(name) {
            return Some(origin.clone());
        }
        let all_but = self.all_but.as_ref()?;
        (!all_but.contains(name)).then(|| Origin::Column(name.to_owned()))
    }

    /// The output columns, of an input with these.
    pub fn columns(&self, input: Option<BTreeSet<String>>) -> Option<BTreeSet<String>> {
        let mut columns = match &self.all_but {
            None => BTreeSet::new(),
            Some(all_but) => input?.difference(all_but).cloned().collect(),
        };
        columns.extend(self.named.keys().cloned());
        Some(columns)
    }

    /// The output columns that are, or are computed of, nothing but these.
    pub fn made_of(&self, columns: &BTreeSet<String>) -> BTreeSet<String> {
        self.that(columns, |read| read.is_subset(columns))
    }

    /// The output columns that are, or are computed of, one of these, perhaps among others.
    pub fn made_with(&self, columns: &BTreeSet<String>) -> BTreeSet<String> {
        self.that(columns, |read| !read.is_disjoint(columns))
    }

    /// The output columns with another value in each batch, and the function that makes it. `columns`: those of the input.
    pub fn volatile(&self, columns: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let of = |name: String| {
            let call = match self.origin(&name)? {
                Origin::Column(column) => columns.get(&column).cloned(),
                Origin::Computed { volatile: Some(call), .. } => Some(call),
                Origin::Computed { columns: read, .. } => read.iter().find_map(|column| columns.get(column).cloned()),
            };
            Some((name, call?))
        };
        let names = self.columns(Some(columns.keys().cloned().collect())).unwrap_or_default();
        names.into_iter().filter_map(of).collect()
    }

    /// The output column that is a column of the input, by its own name where there are several.
    pub fn name_of(&self, column: &str) -> Option<String> {
        let is = |name: &str| self.origin(name).is_some_and(|origin| origin == Origin::Column(column.to_owned()));
        if is(column) {
            return Some(column.to_owned());
        }
        self.named.keys().find(|name| is(name)).cloned()
    }

    /// Whether each column is computed of one of these, perhaps among others.
    pub fn is_made_with(&self, columns: &BTreeSet<String>) -> bool {
        let made = self.made_with(columns);
        !made.is_empty() && self.named.keys().all(|name| made.contains(name))
    }

    fn that(&self, columns: &BTreeSet<String>, fits: impl Fn(&BTreeSet<String>) -> bool) -> BTreeSet<String> {
        let fits = |name: &String| match self.origin(name) {
            Some(Origin::Column(name)) => fits(&BTreeSet::from([name])),
            Some(Origin::Computed { columns, volatile: None, .. }) => fits(&columns),
            Some(Origin::Computed { .. }) | None => false,
        };
        let names = self.columns(Some(columns.clone())).unwrap_or_default();
        names.into_iter().filter(fits).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_condition_names_columns() {
        let of = |text: &str| condition(text).unwrap();
        assert_eq!(of("price < 10 and \"op\" <> 'delete' or doc.user = 'a'").columns, set(&["price", "op", "doc"]));
        assert_eq!(of("user = 'a'").columns, set(&["user"]));
        assert_eq!(of("at > now() - interval '1 day'").volatile.as_deref(), Some("now"));
        assert_eq!(of("d = current_date").volatile.as_deref(), Some("current_date"));
        assert_eq!(of("case when value in (1, 2) then true else date is null end").columns, set(&["value", "date"]));
        assert_eq!(condition("price <"), None);
        assert_eq!(condition(&format!("{}true{}", "(".repeat(40), ")".repeat(40))), None);
    }

    #[test]
    fn columns_of_a_list_come_from_columns_of_the_input() {
        let list =
            projection("* except (a), b as c, upper(d) as e, case kind when 'c' then 'insert' else 'x' end as op");
        let list = list.unwrap();
        let column = |name: &str| Some(Origin::Column(name.to_owned()));
        assert_eq!([list.origin("a"), list.origin("b"), list.origin("c")], [None, column("b"), column("b")]);
        let computed =
            |names: &[&str], spelling| Some(Origin::Computed { columns: set(names), spelling, volatile: None });
        assert_eq!(projection("user").unwrap().origin("user"), column("user"));
        assert_eq!(list.origin("e"), computed(&["d"], true));
        assert_eq!(list.origin("op"), computed(&["kind"], true));
        let list = projection("id, case when v is null then 'delete' else 'upsert' end as op, unnest(items)").unwrap();
        assert_eq!([list.origin("op"), list.origin("other")], [computed(&["v"], false), None]);
        assert!(list.unnests);
        assert_eq!(list.columns(None), Some(set(&["id", "op"])));
    }

    #[test]
    fn what_is_written_deep_within_brackets_is_seen() {
        let deep = |inner: &str| format!("{}{inner}{}", "replace(".repeat(15), ", 'a', '')".repeat(15));
        let list = projection(&format!("id, op, {} as s, {} as at", deep("status"), deep("now()"))).unwrap();
        assert_eq!(list.origin("op"), Some(Origin::Column("op".into())));
        assert!(matches!(list.origin("s"), Some(Origin::Computed { columns, .. }) if columns.contains("status")));
        assert_eq!(list.volatile(&BTreeMap::new()), BTreeMap::from([("at".to_owned(), "now".to_owned())]));
        assert!(projection(&format!("{} as s", deep("unnest(items)"))).unwrap().unnests);
        assert!(projection(&format!("{} as s", deep("max(price)"))).is_none());
        assert_eq!(condition("status <> '(((((((((((((((' -- ((((((((((((((((").unwrap().columns, set(&["status"]));
        assert_eq!(condition(&deep("status")), None);
        assert_eq!(volatile_call(&deep("now()")).as_deref(), Some("now"));
        assert_eq!(volatile_call(&deep("now")), None);
    }

    #[test]
    fn a_list_tells_what_each_column_is_made_of() {
        let list = projection(
            "*, order_id % 2 as par, op as o1, case when price < 10 then op end as some, now() as at, 1 as one",
        );
        let list = list.unwrap();
        assert_eq!(list.made_of(&set(&["order_id", "op"])), set(&["order_id", "op", "par", "o1", "one"]));
        assert_eq!(list.made_with(&set(&["op"])), set(&["op", "o1", "some"]));
        assert_eq!([list.name_of("op"), list.name_of("price")], [Some("op".into()), Some("price".into())]);
        assert_eq!(projection("op as what, op as x").unwrap().name_of("op").as_deref(), Some("what"));
    }

    #[test]
    fn a_query_looks_at_each_row_separately_or_says_why_not() {
        let of = |text: &str| row_query(text).unwrap();
        let plain = of("select o.id, op from \"orders-1\" o where o.price < 10").unwrap();
        assert_eq!(plain.stream, "orders-1");
        assert_eq!(plain.condition.unwrap().columns, set(&["price"]));
        for (text, why) in [
            ("select id, op from t group by id, op", "it has `group by`"),
            ("select id, op from t order by id", "it has `order by`"),
            ("select id, op from t limit 5", "it has `limit`"),
            ("select distinct id, op from t", "it is not a plain `select … from … where …`"),
            ("select a.id, a.op from a join b on a.id = b.id", "it has a `join`"),
            ("select a.id, a.op from a, b", "it reads several tables"),
            ("select id, op from (select * from t) t", "it has a query within it"),
            ("select id, op from t union all select id, op from t", "it is not a plain `select`"),
            ("select count(*) as n, 'x' as op from t", "`count(*)` looks at several rows"),
            (
                "select row_number() over (order by id) as n, op from t",
                "`row_number() OVER (ORDER BY id)` looks at several rows",
            ),
            ("select id, op from t where id in (select id from u)", "`(SELECT id FROM u)` looks at several rows"),
        ] {
            assert_eq!(of(text).unwrap_err(), why, "{text}");
        }
    }
}
