//! Nested queries and joins, with the rows of PostgreSQL and DuckDB.

use crate::query::Query;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use millstream_base::context::BatchContext;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_job::spec::SqlLimits;
use millstream_rows::batch::types::{ColumnType, schema_of};
use std::sync::Arc;

/// Tables of the cases: `o(k)`, `i(ik, v)`, `n(k, v)`, `e(k)` without rows, `p(k, x)` and `q(k, y)`.
const TABLES: &str = "with one as (select * from x), \
    o as (select column1 as k from (values (1), (2), (null), (4), (5))), \
    i as (select column1 as ik, column2 as v from (values (1, 10), (null, 20), (5, null), (2, 40), (2, 40))), \
    n as (select column1 as k, column2 as v from (values (1, 10), (2, 20), (3, 30))), \
    e as (select k from o where k > 100), \
    p as (select column1 as k, column2 as x from (values (1, 1), (2, 2))), \
    q as (select column1 as k, column2 as y from (values (2, 3), (3, 4)))";

/// Returns the rows of a query in any order, cells separated by `|`; or its error.
fn result(text: &str) -> String {
    let schema = schema_of(&[("id".to_owned(), ColumnType::Int64)]);
    let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![1])) as ArrayRef]).unwrap();
    let query = match Query::new(&format!("{TABLES} {text}"), vec![("x".into(), schema)], &[], &[]) {
        Ok(query) => query,
        Err(error) => return format!("refused: {}", error.message.lines().next().unwrap()),
    };
    let prepared = query.prepare("made", &[], SqlLimits::default()).unwrap();
    let made = match prepared.run(BatchContext::new(BatchId(1), BatchTime(1)), vec![rows]) {
        Ok(made) => made,
        Err(error) => return error.message,
    };
    let cell = |column: &ArrayRef, row| arrow::util::display::array_value_to_string(column, row).unwrap();
    let line = |part: &RecordBatch, row| part.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>();
    let lines = made.iter().flat_map(|part| (0..part.num_rows()).map(move |row| line(part, row).join("|")));
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines.join(" ")
}

#[track_caller]
fn results(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(result(text), *expected, "{text}");
    }
}

#[test]
fn a_null_among_values_is_not_in_nothing() {
    results(&[
        ("select k from o where 3 not in (select ik from i)", ""),
        ("select k from o where not (3 in (select ik from i))", ""),
        ("select k from o where null not in (select ik from i)", ""),
        ("select k from o where null not in (select k from e)", " 1 2 4 5"),
        ("select k from o where cast('3' as bigint) not in (select ik from i) and k > 1", ""),
        ("select k from o where 3 not in (select ik from i where ik is not null) and k > 1", "2 4 5"),
        ("select k from o where k not in (select ik from i)", ""),
        ("select k from o where k not in (select ik from i where ik is not null)", "4"),
        ("select k from o where k + 0 not in (select ik from i where ik is not null)", "4"),
        ("select k from o where k not in (select k from e)", " 1 2 4 5"),
        ("select k from o where k not in (select ik from i where i.ik = o.k)", " 4"),
        ("select k from o where k = 4 or k not in (select ik from i where ik is not null)", "4"),
        ("select k from o where (k in (select ik from i)) is null", " 4"),
        ("select k, k in (select ik from i) as b from o", "1|true 2|true 4| 5|true |"),
        ("select k, k not in (select ik from i where ik > 1) as b from o", "1|true 2|false 4|true 5|false |"),
        ("select k from o where k > all (select ik from i where ik < 5)", "4 5"),
        ("select k from o where k > all (select ik from i)", ""),
        ("select k from o where k >= any (select ik from i where i.v > o.k * 5)", "1 2 4 5"),
    ]);
}

#[test]
fn an_aggregate_has_always_a_row() {
    results(&[
        ("select o.k from o where exists (select count(*) from i where i.ik = o.k)", " 1 2 4 5"),
        ("select o.k from o where not exists (select count(*) from i where i.ik = o.k)", ""),
        ("select o.k from o where exists (select count(*) from i where i.ik = o.k group by i.v)", "1 2 5"),
        ("select o.k from o where exists (select max(v) from i where i.ik = o.k having count(*) > 1)", "2"),
        ("select o.k from o where exists (select max(v) from i where i.ik = o.k having count(*) = 0)", " 4"),
        ("select o.k from o where exists (select 1 from i where i.ik = o.k offset 1)", "2"),
        ("select o.k from o where not exists (select 1 from i where i.ik = o.k offset 1)", " 1 4 5"),
        ("select o.k from o where exists (select 1 from i where i.ik = o.k limit 0)", ""),
        ("select o.k from o where exists (select 1 from i where i.ik = o.k limit 1)", "1 2 5"),
        ("select o.k from o where exists (select count(*) from i where i.ik = o.k offset 1)", ""),
        ("select o.k from o where o.k in (select count(*) from i where i.ik = o.k)", "1 2"),
        ("select o.k from o where 0 in (select count(*) from i where i.ik = o.k)", " 4"),
        ("select o.k, (select count(*) from i where i.ik < o.k) as c from o", "1|0 2|1 4|3 5|3 |0"),
        (
            "select o.k, (select coalesce(sum(v), -1) from i where i.ik = o.k and i.v > o.k) as c from o",
            "1|10 2|80 4|-1 5|-1 |-1",
        ),
        ("select o.k, (select v from i where i.ik < o.k order by v desc limit 1) as c from o", "1| 2|10 4|40 5|40 |"),
        ("select o.k, (select coalesce(v, 0) as d from i where v > 99) as c from o", "1| 2| 4| 5| |"),
        ("select o.k, (select 'x' as c0 from i where v > o.k * 9 order by v limit 1) as c0 from o", "1|x 2|x 4|x 5| |"),
        ("select o.k, (select o.k + max(v) from i) as c from o", "1|41 2|42 4|44 5|45 |"),
    ]);
}

#[test]
fn columns_from_outside_may_be_anywhere() {
    results(&[
        (
            "select o.k from o where exists (select 1 from n left join q on n.k = q.k and q.y = o.k where q.k is null)",
            " 1 2 4 5",
        ),
        (
            "select o.k, (select count(q.k) from n left join q on n.k = q.k and q.k >= o.k) as c from o",
            "1|2 2|2 4|0 5|0 |0",
        ),
        (
            "select o.k, (select count(*) from n full join q on n.k = q.k and q.k = o.k) as c from o",
            "1|5 2|4 4|5 5|5 |5",
        ),
        (
            "select o.k from o where exists (select 1 from (select k from n union all select y from q where y = o.k) u where u.k = o.k)",
            "1 2 4",
        ),
        ("select o.k from o where o.k in (select k from n intersect select k from q where q.k = o.k)", "2"),
        (
            "select o.k from o where exists (select 1 from n where exists (select 1 from q where q.k = n.k and q.y > o.k))",
            "1 2",
        ),
        (
            "select o.k, (select max(s) from (select sum(v) over (order by v) as s from n where n.k <= o.k) w) as c from o",
            "1|10 2|30 4|60 5|60 |",
        ),
        ("select o.k, exists (select 1 from i where i.ik = o.k) as b from o", "1|true 2|true 4|false 5|true |false"),
        ("select sum(case when exists (select 1 from i where i.ik = o.k) then 1 else 0 end) as b from o", "3"),
        ("select n.k, count(*) as c from n group by n.k having exists (select 1 from q where q.k = n.k)", "2|1 3|1"),
        ("select n.k from n order by (select max(y) from q where q.k = n.k) nulls first limit 1", "1"),
        ("select n.k, p.x from n left join p on n.k = p.k and exists (select 1 from q where q.k = p.k)", "1| 2|2 3|"),
        (
            "select n.k, p.x from n join p on n.k = p.k and not exists (select 1 from q where q.k = n.k and q.y > p.x)",
            "1|1",
        ),
        ("select n.k, l.y from n cross join lateral (select y from q where q.k = n.k) l", "2|3 3|4"),
        (
            "select n.k, l.c from n left join lateral (select count(*) as c from q where q.k > n.k) l on true",
            "1|2 2|1 3|0",
        ),
    ]);
    let rejected = result("select o.k, (select v from i where i.ik = o.k) as c from o");
    assert!(rejected.contains("must return at most one row; use an aggregate, or `limit 1`"), "{rejected}");
}

#[test]
fn common_columns_are_those_of_the_side_with_all_rows() {
    results(&[
        ("select k, x, y from p full join q using (k)", "1|1| 2|2|3 3||4"),
        ("select k, x, y from p right join q using (k)", "2|2|3 3||4"),
        ("select k, x, y from p left join q using (k)", "1|1| 2|2|3"),
        ("select k, x, y from p natural full join q", "1|1| 2|2|3 3||4"),
        ("select k, x, y from p natural right join q", "2|2|3 3||4"),
        ("select * from p full join q using (k)", "1|1| 2|2|3 3||4"),
        ("select * from p right join q using (k)", "2|2|3 3||4"),
        ("select * from q left join p using (k)", "2|3|2 3|4|"),
        ("select z.* from (select * from q left join p using (k)) z", "2|3|2 3|4|"),
        ("select k, p.k as a, q.k as b from p right join q using (k)", "2|2|2 3||3"),
        ("select k, count(*) as c from p full join q using (k) full join n using (k) group by k", "1|1 2|1 3|1"),
        ("select k, v from p right join q using (k) join n using (k)", "2|20 3|30"),
        ("select k from p full join q using (k) where k > 1 order by k", "2 3"),
        ("select max(k) as m from (p full join q using (k)) where exists (select 1 from n where n.k = k)", "3"),
    ]);
    // An unqualified name is the common column, even if outer rows have one with that name.
    results(&[
        ("select x from p join q using (k) where k = 2", "2"),
        ("select x from p left join q using (k) where k in (select k from n where k < 2)", "1"),
        ("select k from o where exists (select 1 from p join q using (k) where k < 3)", " 1 2 4 5"),
        ("select k from o where exists (select 1 from p join q using (k) where k = o.k)", "2"),
        ("select o.k from o where exists (select 1 from p natural right join q where k + 1 = o.k)", "4"),
        ("select p.k from p join q using (k) where exists (select 1 from i where ik = k)", "2"),
        ("select p.x from p left join q using (k) where q.k is null", "1"),
        (
            "select o.k from o where exists (select 1 from p join q using (k) where exists (select 1 from i where ik = k))",
            " 1 2 4 5",
        ),
    ]);
    let rejected = result("select p.* from p full join q using (k)");
    assert!(rejected.contains("belong to no table"), "{rejected}");
}

#[test]
fn constants_are_groups() {
    results(&[
        ("select 0 as g, count(*) as n from n group by g", "0|3"),
        ("select 2 as g, count(*) as n from n group by g", "2|3"),
        ("select -1 as g, k, count(*) as n from p group by g, k", "-1|1|1 -1|2|1"),
        ("select 0 as g, count(*) as n from e group by g", ""),
        ("select k, count(*) as n from p group by 1", "1|1 2|1"),
        ("select 7 as k, count(*) as n from p group by k", "7|1 7|1"),
    ]);
    let rejected = result("select k, 1 as c, max(v) as m from n group by c");
    assert!(rejected.contains("neither in `group by`"), "{rejected}");
}

#[test]
fn tests_of_truth_stand_in_inner_queries() {
    results(&[
        ("select z, count(*) as c from (select k > 2 is true as z from o) group by z", "false|3 true|2"),
        ("select z, count(*) as c from (select k > 2 is not false as z from o) group by z", "false|2 true|3"),
        ("select distinct z from (select k > 2 is unknown as z from o)", "false true"),
        ("select count(z) as c from (select k > 2 is not unknown as z from o)", "5"),
        ("select z from (select k > 2 is not true as z from o) union select true", "false true"),
    ]);
}

#[test]
fn shifted_rows_skip_nulls() {
    let rows = "(values (1, 7), (2, 5), (3, 1), (4, 9), (5, null), (6, 1)) as t(id, v)";
    let over = |call: &str| result(&format!("select id, {call} over (order by id) as r from {rows}"));
    assert_eq!(over("lead(v, 2) ignore nulls"), "1|1 2|9 3|1 4| 5| 6|");
    assert_eq!(over("lead(v, 3) ignore nulls"), "1|9 2|1 3| 4| 5| 6|");
    assert_eq!(over("lead(v, 2, 0) ignore nulls"), "1|1 2|9 3|1 4|0 5|0 6|0");
    assert_eq!(over("lag(v, 2) ignore nulls"), "1| 2| 3|7 4|5 5|1 6|1");
    assert_eq!(over("lead(v) ignore nulls"), "1|5 2|1 3|9 4|1 5|1 6|");
}

#[test]
fn times_before_1970_are_cut_downwards() {
    let at = "timestamp '1969-12-31T23:59:59.999001'";
    let cut = |to: &str| result(&format!("select date_trunc('{to}', {at}) as c from x"));
    assert_eq!(cut("millisecond"), "1969-12-31T23:59:59.999Z");
    assert_eq!(cut("second"), "1969-12-31T23:59:59Z");
    assert_eq!(cut("hour"), "1969-12-31T23:00:00Z");
}

#[test]
fn decimals_fit_when_they_are_rounded() {
    let of = |call: &str| result(&format!("select {call} as r from x"));
    assert_eq!(of("cast(floor(cast(-999.9 as decimal(4, 1))) as bigint)"), "-1000");
    assert_eq!(of("cast(ceil(cast(999.9 as decimal(4, 1))) as bigint)"), "1000");
    assert_eq!(of("cast(ceil(cast(0.05 as decimal(3, 2))) as bigint)"), "1");
    assert_eq!(of("cast(ceil(cast(-0.05 as decimal(3, 2))) as bigint)"), "0");
    assert_eq!(of("cast(floor(cast(null as decimal(3, 2))) as bigint)"), "");
    let large = "select cast(avg(d) as text) as r from (select cast(column1 as decimal(38, 4)) as d from \
                 (values ('9999999999999999999999999999999999.0000'), ('1.0000')))";
    assert_eq!(result(large), "5000000000000000000000000000000000.0000");
}

#[test]
fn conditions_stay_above_totals() {
    results(&[
        ("select n from (select count(*) as n from o) q where now() < timestamp '1960-01-01'", ""),
        ("select n from (select count(*) as n from o) q where null and n > 0", ""),
        ("select n from (select count(*) as n from o) q where (select max(k) from o) is null", ""),
        ("select count(*) as n from o having now() < timestamp '1960-01-01'", ""),
        ("select k, count(*) as n from o group by rollup(k) having now() < timestamp '1960-01-01'", ""),
        ("select n from (select count(*) as n from o) q where now() > timestamp '1960-01-01' and n = 5", "5"),
        ("select k from (select k, count(*) as n from o group by k) q where k < 2 and n = 1", "1"),
    ]);
}

#[test]
fn groups_over_joined_groups_do_not_determine_each_other() {
    let pairs = "(select a.v, b.k from i a cross join (select k from o where k < 3 group by k) b group by a.v, b.k) q";
    for (text, expected) in [
        (format!("select distinct k from {pairs}"), "1 2"),
        (format!("select count(*) as n from {pairs} group by k, v"), "1 1 1 1 1 1 1 1"),
        (format!("select k, count(*) as n from {pairs} group by k"), "1|4 2|4"),
        (format!("select n.k from n join {pairs} on n.k = q.k"), "1 1 1 1 2 2 2 2"),
        (format!("select max(v) as v from (select * from {pairs} order by k, v desc nulls last limit 1)"), "40"),
        (format!("select distinct k, sum(1) over (order by k) as s from {pairs}"), "1|4 2|8"),
        (format!("select distinct k, sum(1) over (order by k) as s from (select * from {pairs})"), "1|4 2|8"),
    ] {
        assert_eq!(result(&text), expected, "{text}");
    }
    let named = "w as (select v, n.k from i cross join (select k from n group by k) n group by v, n.k)";
    let text = format!(", {named} select distinct k, sum(1) over (order by k) as s from w");
    assert_eq!(result(&text), "1|4 2|8 3|12");
    results(&[("select k from o where 0 < any (select v from i where k > 1 group by v)", "2 4 5")]);
}

#[test]
fn a_value_may_have_the_name_of_a_column() {
    results(&[
        ("select k, (select count(*) as ik from i where ik = o.k) as n from o", "1|1 2|2 4|0 5|1 |0"),
        ("select k, (select max(v) as k from n where n.k = o.k) as n from o", "1|10 2|20 4| 5| |"),
        ("select k from o where k < (select max(v) as k from n where n.k = o.k)", "1 2"),
    ]);
}

#[test]
fn sums_of_decimals_keep_their_type_beside_distinct_values() {
    let sums =
        "(select sum(cast(v as decimal(9, 2))) as s, count(distinct k) as c from n having count(distinct k) > 1) q";
    for (text, expected) in [
        (format!("select s, c from {sums}"), "60.0|3"),
        (format!("select k, s from p left join {sums} on s > k where s > 1 or k = 1"), "1|60.0 2|60.0"),
        (format!("select k from o full join {sums} on true left join p using (k) where 0.25 in (select s from n)"), ""),
    ] {
        assert_eq!(result(&text), expected, "{text}");
    }
}

#[test]
fn branches_of_a_union_may_have_constants_in_order() {
    results(&[(
        "select k from o where 1 in (select o.k from n where o.k > 0 union all select 1 from n order by 1 desc limit 2)",
        " 1",
    )]);
}

#[test]
fn nulls_without_a_type_are_summed() {
    results(&[
        ("select sum(z) as s, avg(z) as a, count(z) as c from (select null as z from o) q", "||0"),
        ("select sum(z) as s from (select null as z from o union all select k from o) q", "12"),
        (
            "select sum(z) as s from (select null as z from o union all select cast(v as decimal(9, 2)) from n) q",
            "60.0",
        ),
        ("select sum(null) over () as s from e", ""),
    ]);
}
