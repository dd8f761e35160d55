//! Queries that DataFusion alone rejects, or evaluates differently from SQL.

use crate::query::Query;
use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::util::display::array_value_to_string;
use millstream_base::context::BatchContext;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_job::spec::SqlLimits;
use millstream_rows::batch::types::{ColumnType, schema_of};
use std::sync::Arc;

/// Three rows, `id` from 1 to 3.
fn rows() -> RecordBatch {
    let fields = Fields::from(vec![Field::new("a", DataType::Float64, true), Field::new("b", DataType::Utf8, true)]);
    let structs = DataType::Struct(fields.clone());
    let schema = schema_of(&[
        ("id".into(), ColumnType::Int64),
        ("i".into(), ColumnType::Int64),
        ("f".into(), ColumnType::Float64),
        ("k".into(), ColumnType::Text),
        ("t".into(), ColumnType::Bool),
        ("d".into(), ColumnType::Arrow(DataType::Decimal128(18, 4))),
        ("e".into(), ColumnType::Arrow(DataType::Decimal128(9, 0))),
        ("s".into(), ColumnType::Arrow(structs)),
    ]);
    let decimals = |values: Vec<i128>, precision, scale| {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let parts: Vec<ArrayRef> =
        vec![Arc::new(Float64Array::from(vec![1.5, 2.0, -0.0])), Arc::new(StringArray::from(vec!["x", "Y", "x"]))];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3])),
        Arc::new(Int64Array::from(vec![Some(5), Some(i64::MAX), None])),
        Arc::new(Float64Array::from(vec![1.5, 2.0, 0.0])),
        Arc::new(StringArray::from(vec!["1", "x", "2"])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        decimals(vec![10_000, 15_000, 30_000], 18, 4),
        decimals(vec![1, 2, 3], 9, 0),
        Arc::new(StructArray::new(fields, parts, None)),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

fn query(text: &str) -> millstream_base::error::Result<Query> {
    Query::new(text, vec![("x".into(), rows().schema())], &[], &[])
}

/// Returns the rows of this query, cells separated by `|`; or its error.
fn result(text: &str) -> String {
    let query = match query(text) {
        Ok(query) => query,
        Err(error) => return format!("refused: {}", error.message.lines().next().unwrap()),
    };
    let prepared = query.prepare("made", &[], SqlLimits::default()).unwrap();
    let made = match prepared.run(BatchContext::new(BatchId(1), BatchTime(1)), vec![rows()]) {
        Ok(made) => made,
        Err(error) => return error.message,
    };
    let line = |part: &RecordBatch, row: usize| {
        let cells = part.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
        cells.collect::<Vec<_>>().join("|")
    };
    let lines = made.iter().flat_map(|part| (0..part.num_rows()).map(move |row| line(part, row)));
    lines.collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn results(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(result(text), *expected, "{text}");
    }
}

#[test]
fn rows_are_joined_by_what_is_cast() {
    results(&[
        ("select a.id, b.id as other from x a join x b on a.d = b.e", "1|1 3|3"),
        ("select a.id, b.id as other from x a join x b on a.d = b.id", "1|1 3|3"),
        ("select a.id, b.id as other from x a join x b on try_cast(a.k as bigint) = b.id", "1|1 3|2"),
        (
            "select a.id, b.id as other from x a join x b on cast(a.d as bigint) = cast(b.e as int) order by 1",
            "1|1 2|1 3|3",
        ),
        ("select a.id, b.id as other from x a left join x b on a.e = b.d order by 1", "1|1 2| 3|3"),
        ("select id from x where try_cast(k as bigint) in (select id from x)", "1 3"),
        ("select id from x where try_cast(k as bigint) not in (select 2)", "1"),
        ("select id from x where id > 0 and not (try_cast(k as bigint) in (select 2)) and id < 9", "1"),
        ("select id from x where id = 2 or try_cast(k as bigint) in (select 1) order by 1", "1 2"),
        ("select a.id from x a where exists (select 1 from x b where cast(b.d as bigint) = a.id)", "1 3"),
    ]);
}

/// Column names stay unchanged.
#[test]
fn casts_keep_the_names_of_columns() {
    let named = |text: &str, expected: &[&str]| {
        let output = query(text).unwrap_or_else(|error| panic!("{text}: {error}")).output();
        let names: Vec<&str> = output.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, expected, "{text}");
    };
    named("select try_cast(k as bigint), cast(d as bigint) + 1 from x", &["x.k", "x.d + Int64(1)"]);
    named("select try_cast(k as bigint), count(*) as n from x group by try_cast(k as bigint)", &["x.k", "n"]);
    named("select try_cast(k as bigint), count(*) as n from x group by rollup(try_cast(k as bigint))", &["x.k", "n"]);
    named("select max(try_cast(k as bigint)) from x", &["max(x.k)"]);
    named("select distinct try_cast(k as bigint) from x", &["x.k"]);
    results(&[
        (
            "select try_cast(k as bigint) as v, count(*) as n from x group by rollup(try_cast(k as bigint)) order by 1, 2",
            "1|1 2|1 |1 |3",
        ),
        ("select try_cast(k as bigint) as v, id from x order by try_cast(k as bigint) desc nulls last", "2|3 1|1 |2"),
        ("select count(distinct try_cast(k as bigint)) as n, sum(try_cast(k as bigint)) as t from x", "2|3"),
        (
            "select id, sum(id) over (partition by try_cast(k as bigint) is null order by cast(d as bigint)) as t from x order by id",
            "1|1 2|2 3|4",
        ),
    ]);
}

/// All NaNs are one value, and -0 is 0, also within structs and lists.
#[test]
fn floats_within_others_are_compared_as_floats() {
    let zeros = "select id, case id when 1 then 0.0 when 2 then -cast(0 as double) else cast('NaN' as double) end as f \
                 from x union all select 4, -cast('NaN' as double) from x where id = 1";
    for of in ["named_struct('a', f, 'b', 1)", "[f, 1.0]", "[[f]]", "[named_struct('a', f)]"] {
        let rows = format!("with z as ({zeros}), r as (select id, {of} as v from z)");
        let one = |query: &str| result(&format!("{rows} {query}"));
        assert_eq!(one("select count(*) as n from r group by v order by 1"), "2 2", "{of}");
        assert_eq!(one("select count(*) as n from (select distinct v from r)"), "2", "{of}");
        assert_eq!(one("select count(distinct v) as n from r"), "2", "{of}");
        assert_eq!(one("select count(*) as n from r a join r b on a.v = b.v"), "8", "{of}");
        assert_eq!(one("select count(*) over (partition by v) as n from r"), "2 2 2 2", "{of}");
        assert_eq!(one("select count(*) as n from r where v in (select v from r where id = 2)"), "2", "{of}");
    }
}

/// Two casts of one column are two columns.
#[test]
fn windows_over_several_casts_are_apart() {
    results(&[(
        "select id, rank() over (partition by cast(f / 2 as bigint) order by cast(f / 2 as text) desc) as n from x \
         order by id",
        "1|1 2|1 3|2",
    )]);
}

#[test]
fn rows_are_joined_by_fields_of_structs() {
    results(&[
        ("select p.id, q.id as other from x p join x q on p.s.a = q.f order by 1", "1|1 2|2 3|3"),
        (
            "select p.id, q.id as other from x p join x q on upper(p.s.b) = upper(q.s.b) order by 1, 2",
            "1|1 1|3 2|2 3|1 3|3",
        ),
        ("select id from x where s.a in (select f from x where id > 1)", "2 3"),
        ("select p.id from x p where p.s.a in (select f from x)", "1 2 3"),
        ("select p.s.b as b, count(*) as n from x p where p.s.a < 2 group by p.s.b order by p.s.b", "x|2"),
        ("select p.id from x p left join x q on p.s.b = q.k and q.s.a > 0 order by p.s.a, p.id", "3 1 2"),
    ]);
}

#[test]
fn any_aggregate_goes_over_frames_that_move() {
    let cases = [
        ("bool_or(t)", "1|true 2|true 3|false"),
        ("bool_and(t)", "1|true 2|false 3|false"),
        ("bit_and(id)", "1|1 2|0 3|2"),
        ("bit_or(id)", "1|1 2|3 3|3"),
        ("bit_xor(id)", "1|1 2|3 3|1"),
        ("string_agg(k, ',')", "1|1 2|1,x 3|x,2"),
        ("avg(distinct id)", "1|1.0 2|1.5 3|2.5"),
        ("var_pop(distinct id)", "1|0.0 2|0.25 3|0.25"),
        ("approx_distinct(id)", "1|1 2|2 3|2"),
        ("approx_distinct(k)", "1|1 2|2 3|2"),
        ("approx_median(id)", "1|1.0 2|1.5 3|2.5"),
        ("approx_percentile_cont(id, 0.5)", "1|1.0 2|1.5 3|2.5"),
        ("median(f)", "1|1.5 2|1.75 3|1.0"),
        ("array_agg(k)", "1|[1] 2|[1, x] 3|[x, 2]"),
        ("percentile_cont(f, 0.25)", "1|1.5 2|1.625 3|0.5"),
        ("bool_or(t) filter (where id <> 2)", "1|true 2|true 3|"),
        ("string_agg(k, '') filter (where id <> 2)", "1|1 2|1 3|2"),
    ];
    for (call, expected) in cases {
        let text = format!("select id, {call} over (order by id rows between 1 preceding and current row) as r from x");
        assert_eq!(result(&text), expected, "{call}");
    }
    // Frames that lose several rows at a time, and an empty one.
    results(&[
        (
            "select id, string_agg(k, '') over (order by id * id range between 3 preceding and 1 preceding) as r from x",
            "1| 2|1 3|",
        ),
        (
            "select id, bool_or(t) over (order by id * id range between 3 preceding and 1 preceding) as r from x",
            "1| 2|true 3|",
        ),
        (
            "select id, string_agg(k, '') over (order by id rows between 1 following and 2 following) as r from x",
            "1|x2 2|2 3|",
        ),
    ]);
}

/// A frame with more rows than the maximum number of pieces.
#[test]
fn frames_may_be_wide() {
    let text = "select count(*) as n, min(r) as least, max(r) as most from (select v, avg(distinct v) \
                over (order by v rows between 199 preceding and current row) as r \
                from (select unnest(range(1, 1001)) as v from x where id = 1)) where v >= 200";
    assert_eq!(result(text), "801|100.5|900.5");
}

#[test]
fn what_an_aggregate_does_not_take_is_refused() {
    let rejected = |text: &str| query(text).map(|_| ()).expect_err(text).message;
    let error_text = rejected("select approx_distinct(f) as r from x");
    assert!(error_text.contains("`approx_distinct(…)` does not accept a value of type float64"), "{error_text}");
    rejected("select approx_distinct(f) as r from x group by k");
    rejected("select id, approx_distinct(f) over (order by id rows between 1 preceding and current row) as r from x");
    rejected("select approx_distinct(f) over (partition by k) as r from x");
    let error_text = rejected("select id, grouping(id) over () as r from x");
    assert!(error_text.contains("`grouping(…)` is for queries with `group by`"), "{error_text}");
}

#[test]
fn percentiles_lie_between_values_exactly() {
    let of = |call: &str, from: &str| {
        result(&format!("select {call} as p from (select unnest({from}) as v from x where id = 1)"))
    };
    let floats = "range(0, 101)";
    assert_eq!(of("percentile_cont(0.29) within group (order by v * 1000000.0)", floats), "29000000.0");
    assert_eq!(of("percentile_cont(0.29) within group (order by v * 1000000.0 desc)", floats), "71000000.0");
    assert_eq!(
        of("percentile_cont(0.33333333333333331) within group (order by v)", "[0, 1000000000]"),
        "333333333.3333333"
    );
    assert_eq!(of("percentile_cont(0.9) within group (order by v desc)", "range(1, 12)"), "2.0");
    assert_eq!(of("percentile_cont(0.9) within group (order by v)", "range(1, 12)"), "10.0");
    assert_eq!(of("percentile_cont(distinct v, 0.5)", "[1, 1, 1, 2, 4]"), "2.0");
    assert_eq!(of("percentile_cont(0.5) within group (order by v)", "[1, null, 2]"), "1.5");
    assert_eq!(of("percentile_cont(0.5) within group (order by v) filter (where v > 5)", "[1, 2]"), "");
    // Numbers whose distance is not a finite number.
    assert_eq!(of("percentile_cont(0.5) within group (order by v)", "[-1.7e308, 1.7e308]"), "0.0");
    let infinite = "[cast('-inf' as double), 1.0, cast('inf' as double), cast('inf' as double)]";
    assert_eq!(of("percentile_cont(0.25) within group (order by v)", infinite), "-inf");
    assert_eq!(of("percentile_cont(0.9) within group (order by v)", infinite), "inf");
    results(&[
        (
            "select s.b as b, percentile_cont(0.25) within group (order by f) as p from x group by s.b order by 1",
            "Y|2.0 x|0.375",
        ),
        (
            "select s.b as b, percentile_cont(0.1) within group (order by f desc) as p from x group by s.b order by 1",
            "Y|2.0 x|1.35",
        ),
        ("select s.b as b, percentile_cont(distinct f, 0.25) as p from x group by s.b order by 1", "Y|2.0 x|0.375"),
        (
            "select s.b as b, percentile_cont(0.5) within group (order by f) filter (where id = 2) as p from x group by s.b order by 1",
            "Y|2.0 x|",
        ),
    ]);
}

/// A row without a number is not a neighbor of the largest number.
#[test]
fn bounds_of_frames_may_be_beyond_all_numbers() {
    let over = |over: &str| result(&format!("select id, count(*) over ({over}) as n from x order by id"));
    assert_eq!(over("order by i nulls last range between 1 preceding and 1 following"), "1|1 2|1 3|1");
    assert_eq!(over("order by i desc nulls first range between 1 preceding and 1 following"), "1|1 2|1 3|1");
    assert_eq!(over("order by -i nulls first range between 5 preceding and 5 following"), "1|1 2|1 3|1");
    assert_eq!(over("order by i nulls last range between unbounded preceding and 1 following"), "1|1 2|2 3|3");
    assert_eq!(over("order by i range between 9223372036854775807 preceding and 1 preceding"), "1|0 2|1 3|1");
    assert_eq!(over("partition by i order by i range between 1 preceding and 1 following"), "1|1 2|1 3|1");
    assert_eq!(over("order by i range between unbounded preceding and current row"), "1|1 2|2 3|3");
    results(&[(
        "select id, count(*) over (order by i range between 1 preceding and 1 following) as n, \
         row_number() over (order by i) as p, sum(id) over (order by i rows between 1 preceding and current row) as t \
         from x order by id",
        "1|1|1|1 2|1|2|3 3|1|3|5",
    )]);
}

#[test]
fn branches_of_a_union_may_have_constants() {
    let both = "(select id, id as r from x union all select id, 2 as r from x)";
    for (text, expected) in [
        (format!("select id, r from {both} order by id, r desc"), "1|2 1|1 2|2 2|2 3|3 3|2"),
        (
            format!("select id, r, row_number() over (partition by id order by r desc) as n from {both}"),
            "1|2|1 1|1|2 2|2|1 2|2|2 3|3|1 3|2|2",
        ),
    ] {
        assert_eq!(result(&text), expected, "{text}");
    }
}

#[test]
fn rows_may_be_parted_by_what_is_equal_to_something_computed() {
    results(&[
        ("select id, lead(id) over (partition by id) as l from x where abs(id) = id", "1| 2| 3|"),
        ("select k, row_number() over (partition by k) as n from x where lower(k) = k and k = 'x'", "x|1"),
        ("select k, row_number() over (partition by k) as n from x where lower(k) = k", "1|1 2|1 x|1"),
    ]);
}
