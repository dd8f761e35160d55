//! What conditions, lists of columns and queries read, by their text: which columns a condition names, and which column of the input a column of the
//! output is. A string that cannot be parsed may read everything.

#[cfg(not(feature = "sql"))]
mod absent;
#[cfg(feature = "sql")]
mod syntax;

#[cfg(not(feature = "sql"))]
pub use absent::{condition, projection, row_query, volatile_call};
#[cfg(feature = "sql")]
pub use syntax::{condition, projection, row_query, volatile_call};

use crate::spec::{AggregateFunction, AggregateSpec};
use std::collections::{BTreeMap, BTreeSet};

/// What an expression depends on.
#[derive(Debug, Default, PartialEq)]
pub struct Reads {
    /// The columns that it names.
    pub columns: BTreeSet<String>,
    /// A function in it whose value differs in each batch.
    pub volatile: Option<String>,
}

/// Where a column of the output comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// It is a column of the input.
    Column(String),
    /// It is computed.
    Computed {
        /// The columns that it depends on.
        columns: BTreeSet<String>,
        /// It only compares them with strings: another spelling of the operation.
        spelling: bool,
        /// A function in it whose value differs in each batch.
        volatile: Option<String>,
    },
}

/// A list of columns, as in `select`.
#[derive(Debug, Default)]
pub struct Projection {
    named: BTreeMap<String, Origin>,
    /// The columns that `*` omits, if it is in the list.
    all_but: Option<BTreeSet<String>>,
    /// It emits several rows, or none, for a row.
    pub unnests: bool,
}

/// A query over each row of one stream separately.
#[derive(Debug)]
pub struct RowQuery {
    /// The stream.
    pub stream: String,
    /// Its `where`.
    pub condition: Option<Reads>,
    /// Its columns.
    pub projection: Projection,
}

/// Returns the columns of an aggregate: its key and its totals. The last value of a column is that column.
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

impl Projection {
    /// Returns where an output column comes from; `None` if the list does not have it.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        if let Some(origin) = self.named.get(name) {
            return Some(origin.clone());
        }
        let all_but = self.all_but.as_ref()?;
        (!all_but.contains(name)).then(|| Origin::Column(name.to_owned()))
    }

    /// Returns the output columns for an input with these columns.
    pub fn columns(&self, input: Option<BTreeSet<String>>) -> Option<BTreeSet<String>> {
        let mut columns = match &self.all_but {
            None => BTreeSet::new(),
            Some(all_but) => input?.difference(all_but).cloned().collect(),
        };
        columns.extend(self.named.keys().cloned());
        Some(columns)
    }

    /// Returns the output columns that are, or are computed from, only these.
    pub fn computed_from(&self, columns: &BTreeSet<String>) -> BTreeSet<String> {
        self.with_columns(columns, |read| read.is_subset(columns))
    }

    /// Returns the output columns that are, or are computed from, one of these, possibly with others.
    pub fn depending_on(&self, columns: &BTreeSet<String>) -> BTreeSet<String> {
        self.with_columns(columns, |read| !read.is_disjoint(columns))
    }

    /// Returns the output columns whose value differs in each batch, and the function that causes it. `columns`: those of the input.
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

    /// Returns the output column that is a column of the input; if there are several, the one with the same name.
    pub fn name_of(&self, column: &str) -> Option<String> {
        let is = |name: &str| self.origin(name).is_some_and(|origin| origin == Origin::Column(column.to_owned()));
        if is(column) {
            return Some(column.to_owned());
        }
        self.named.keys().find(|name| is(name)).cloned()
    }

    /// Returns whether each column is computed from one of these, possibly with others.
    pub fn depends_on(&self, columns: &BTreeSet<String>) -> bool {
        let columns_with = self.depending_on(columns);
        !columns_with.is_empty() && self.named.keys().all(|name| columns_with.contains(name))
    }

    fn with_columns(&self, columns: &BTreeSet<String>, fits: impl Fn(&BTreeSet<String>) -> bool) -> BTreeSet<String> {
        let fits = |name: &String| match self.origin(name) {
            Some(Origin::Column(name)) => fits(&BTreeSet::from([name])),
            Some(Origin::Computed { columns, volatile: None, .. }) => fits(&columns),
            Some(Origin::Computed { .. }) | None => false,
        };
        let names = self.columns(Some(columns.clone())).unwrap_or_default();
        names.into_iter().filter(fits).collect()
    }
}

#[cfg(feature = "sql")]
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
        assert_eq!(list.computed_from(&set(&["order_id", "op"])), set(&["order_id", "op", "par", "o1", "one"]));
        assert_eq!(list.depending_on(&set(&["op"])), set(&["op", "o1", "some"]));
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
