use super::*;
use crate::connector::{COLUMNS, InMemory, Kind, Kinds, NOTHING, ROWS, SourceDeclaration};
use crate::keys::{KeyShape, key};
use std::path::Path;
use std::time::Duration;

/// A source of rows with these columns.
const MADE: &str =
    "kind = \"file\"\npath = \"in\"\nformat = \"json\"\nschema = { timestamp = \"timestamp\", value = \"int64\" }\n";

const FILE: SourceDeclaration = SourceDeclaration {
    kind: "file",
    doc: "",
    keys: &[key("path", KeyShape::Text, "")],
    shared: &[ROWS, COLUMNS],
    read: |_| InMemory.into(),
};

fn kinds() -> Kinds {
    Kinds::new(vec![Kind::Declared(&FILE)], vec![Kind::Declared(&NOTHING)], Vec::new())
}

fn stages(query: &str, more: &str) -> Result<Vec<StageSpec>, String> {
    let text = format!(
        "name = \"j\"\nbatch = \"1s\"\n[sources.t]\n{MADE}[stages.q]\nfrom = \"t\"\nwindow = \"all\"\nsql = '''{query}'''\n{more}\n\
         [sinks.out]\nfrom = \"q\"\nkind = \"nothing\"\n"
    );
    let job =
        crate::parse(&text, &kinds(), Path::new("job.toml"), Path::new("."), &[]).map_err(|error| error.to_string())?;
    assert_eq!(job.batch, Duration::from_secs(1));
    Ok(job.stages)
}

#[test]
fn a_query_becomes_stages() {
    let query = "select upper(t.country) as land, count(*) as n, sum(price * 2) filter (where price > 1) + count(*) as x from t \
                 where price is not null group by upper(country) having count(*) > 1";
    let [rows, totals, out] = stages(query, "op = \"op\"").unwrap().try_into().unwrap();
    assert_eq!((rows.name.as_str(), rows.from[0].as_str()), ("q-rows", "t"));
    assert_eq!(rows.filter.as_deref(), Some("price IS NOT NULL"));
    assert_eq!(
        rows.select.as_deref(),
        Some(
            "upper(country) as \"_key_0\", price * 2 as \"_value_0\", coalesce(price > 1, false) as \"_value_1\", \"op\""
        )
    );
    assert_eq!(
        (totals.name.as_str(), &totals.key, totals.op.as_deref()),
        ("q-totals", &vec!["_key_0".into()], Some("op"))
    );
    let OperatorSpec::Aggregate { columns, .. } = &totals.operator else { panic!("{totals:?}") };
    let of =
        |index: usize| (columns[index].function, columns[index].column.as_deref(), columns[index].filter.as_deref());
    assert_eq!(of(0), (AggregateFunction::Count, None, None));
    assert_eq!(of(1), (AggregateFunction::Sum, Some("_value_0"), Some("_value_1")));
    assert_eq!(columns.len(), 2, "a total that stands twice is one");
    assert_eq!(out.name, "q");
    assert_eq!(out.filter.as_deref(), Some("_total_0 > 1"));
    assert_eq!(
        out.select.as_deref(),
        Some("_key_0 as \"land\", _total_0 as \"n\", _total_1 + _total_0 as \"x\", \"op\"")
    );
}

#[test]
fn groups_are_meant_by_place_and_name() {
    for query in [
        "select value % 3 as k, count(*) as n from t group by 1",
        "select value % 3 as k, count(*) as n from t group by k",
        "select value % 3 as k, count(*) as n from t group by value % 3",
        "select distinct value % 3 as k from t",
        "select value % 3 as k, max(timestamp) as m from \"t\" as o group by o.value % 3 order by m desc nulls last limit 3",
    ] {
        let stages = stages(query, "").unwrap();
        assert!(stages[0].select.as_deref().unwrap().starts_with("value % 3 as \"_key_0\""), "{query}: {stages:?}");
        assert_eq!(stages.last().unwrap().name, "q");
        assert_eq!(stages.len(), if query.contains("limit") { 4 } else { 3 });
    }
}

/// A name in `group by` is a column of the input if it has one of that name, otherwise one of the query.
#[test]
fn names_of_groups_are_looked_up_in_a_schema() {
    let selected = |query: &str| {
        let text = format!(
            "batch = \"1s\"\n[sources.t]\nkind = \"file\"\npath = \"in\"\nformat = \"json\"\nschema = {{ k = \"int64\", v = \"int64\" }}\n[stages.q]\n\
             from = \"t\"\nwindow = \"all\"\nsql = '''{query}'''\n[sinks.out]\nfrom = \"q\"\nkind = \"nothing\"\n"
        );
        let job = crate::parse(&text, &kinds(), Path::new("job.toml"), Path::new("."), &[]).unwrap();
        job.stages[0].select.clone().unwrap()
    };
    assert_eq!(selected("select 0 as g, count(*) as n from t group by g"), "0 as \"_key_0\"");
    assert_eq!(selected("select 0 as k, count(*) as n from t group by k"), "k as \"_key_0\"");
    assert_eq!(
        selected("select k % 2 as v, count(*) as n from t group by v, k % 2"),
        "v as \"_key_0\", k % 2 as \"_key_1\""
    );
}

#[test]
fn a_name_that_may_mean_two_things_is_refused_if_the_columns_of_the_input_are_not_known() {
    for (query, expected) in [
        ("select upper(value) as value, count(*) as n from m group by value", "may mean"),
        ("select value, 1 as k, count(*) as n from m group by k, 1", "write group by 2"),
    ] {
        let text = format!(
            "batch = \"1s\"\n[sources.t]\n{MADE}[stages.m]\nfrom = \"t\"\nselect = \"value\"\n\
             [stages.q]\nfrom = \"m\"\nwindow = \"all\"\nsql = '''{query}'''\n[sinks.out]\nfrom = \"q\"\nkind = \"nothing\"\n"
        );
        let error = crate::parse(&text, &kinds(), Path::new("job.toml"), Path::new("."), &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{query}: {error}");
    }
}

#[test]
fn what_cannot_be_kept_up_to_date_is_refused() {
    for (query, expected) in [
        ("select value from t", "processes each row on its own"),
        ("select value, count(*) as n from t group by 1 order by 2", "one `order by` and a `limit`"),
        ("select value, count(*) as n from t group by 1 order by 2 desc limit 3", "nulls last"),
        ("select value, count(*) as n from t group by 1 limit 3", "one `order by` and a `limit`"),
        ("select value, count(*) as n from t group by 1 order by 2 limit 3 offset 2", "one `order by` and a `limit`"),
        ("select value, count(*) from t group by 1", "needs a name"),
        ("select * from t group by 1", "is not allowed"),
        ("select value, count(*) as n from t", "neither a total nor"),
        ("select a.value as v, count(*) as n from t a join t b on a.value = b.value group by 1", "`join`"),
        ("select value, count(*) as n from u group by 1", "the stage reads `t`"),
        ("select value, stddev(value) as n from t group by 1", "unknown function"),
        ("select value, sum(distinct value) as n from t group by 1", "`distinct` is for `count` only"),
        ("select value, sum(count(*)) as n from t group by 1", "is not allowed in"),
        ("select value, count(*) as n from t where count(*) > 1 group by 1", "is not allowed in `where`"),
        ("select value, row_number() over () as n from t group by 1", "looks at other rows"),
        ("select value, (select 1) as n, count(*) as c from t group by 1", "within the query"),
        ("select value, count(*) as n from t where value in (select 1) group by 1", "within the query"),
        ("with u as (select 1) select value, count(*) as n from t group by 1", "window = \"all\""),
        ("select value, count(*) as n from t group by cube (value)", "neither a total nor"),
        ("select value, count(*) as n from t group by all", "needs expressions"),
        ("select value, count(*) as n from t group by 1 union select 1, 2", "window = \"all\""),
        ("select value as op, count(*) as n from t group by 1", "rename that column of the query"),
        ("select value, count(*) as n from t where timestamp > now() group by 1", "differs in each batch"),
        ("select value, max(timestamp) < current_timestamp as n from t group by 1", "differs in each batch"),
        ("select current_date as d, count(*) as n from t group by 1", "differs in each batch"),
        ("select 1; select 2", "not one query"),
        ("delete from t", "not one query"),
        ("select ) from t", "fix the query"),
        ("select value, count(*) as n from t tablesample (10 rows) group by 1", "window = \"all\""),
    ] {
        let error = stages(query, "").map(|stages| format!("{stages:?}")).unwrap_err();
        assert!(error.contains(expected), "{query}: expected {expected:?} in {error}");
    }
    assert!(
        stages("select value, count(*) as n from t group by 1", "key = \"value\"")
            .unwrap_err()
            .contains("remove `key`")
    );
    assert!(
        stages("select value, count(*) as n from t group by 1", "filter = \"n > 1\"").unwrap_err().contains("`having`")
    );
}
