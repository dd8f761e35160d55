use super::*;
use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_rows::batch::types::{ColumnType, describe, schema_of};

fn words() -> (String, SchemaRef) {
    let column = |name: &str, kind| (name.to_owned(), kind);
    ("words".into(), schema_of(&[column("word", ColumnType::Text), column("n", ColumnType::Int64)]))
}

fn orders() -> (String, SchemaRef) {
    let column = |name: &str, kind| (name.to_owned(), kind);
    ("orders.rejected".into(), schema_of(&[column("word", ColumnType::Text), column("Price", ColumnType::Float64)]))
}

fn rows(values: &[(&str, i64)]) -> RecordBatch {
    let strings: ArrayRef = Arc::new(StringArray::from_iter_values(values.iter().map(|value| value.0)));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(values.iter().map(|value| value.1)));
    RecordBatch::try_new(words().1, vec![strings, numbers]).unwrap()
}

fn context() -> BatchContext {
    BatchContext::new(BatchId(3), BatchTime(5))
}

fn query(text: &str, keys: &[&str]) -> Query {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    Query::new(text, vec![words(), orders()], &keys, &[]).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn mistake_in(text: &str) -> String {
    Query::new(text, vec![words(), orders()], &[], &[]).unwrap_err().message
}

/// Rows as text, cells with `|` between, rows with `, `.
fn shown(rows: &[RecordBatch]) -> String {
    let cell = |rows: &RecordBatch, row: usize, column: usize| {
        arrow::util::display::array_value_to_string(rows.column(column), row).unwrap()
    };
    let line = |rows: &RecordBatch, row| {
        (0..rows.num_columns()).map(|column| cell(rows, row, column)).collect::<Vec<_>>().join("|")
    };
    let lines = rows.iter().flat_map(|rows| (0..rows.num_rows()).map(move |row| line(rows, row)));
    lines.collect::<Vec<_>>().join(", ")
}

fn result(prepared: &Prepared, values: &[(&str, i64)]) -> String {
    let other = RecordBatch::new_empty(orders().1);
    shown(&prepared.run(context(), vec![rows(values), other]).unwrap())
}

#[test]
fn a_plan_runs_again_over_other_rows() {
    let values = [("b", 2), ("a", 1), ("b", 5), ("a", 1), ("c", 2)];
    let cases = [
        ("select word, count(*) as n from words group by word", "b|2, a|2, c|1"),
        // Equal rows keep the order of arrival.
        ("select word, n from words order by n desc", "b|5, b|2, c|2, a|1, a|1"),
        ("select word, sum(n) as total from words group by word order by total desc, word limit 2", "b|7, a|2"),
        (
            "select a.word, a.n, b.n as m from words a join words b on a.n = b.n where a.n > 1",
            "b|2|2, c|2|2, b|5|5, b|2|2, c|2|2",
        ),
        (
            "select word, row_number() over (partition by word order by n desc) as place from words",
            "a|1, a|2, b|1, b|2, c|1",
        ),
        ("select distinct word from words", "b, a, c"),
        ("select word from words where n > 1 union all select upper(word) from words where n > 2", "b, b, c, B"),
        ("select count(*) as n, max(n) as top from words", "5|5"),
        ("select word from words where n = (select max(n) from words)", "b"),
        ("with two as (select * from words where n = 2) select count(*) as n from two", "2"),
        ("select word, n from words where n = 5 or word in (select word from words where n = 1)", "a|1, a|1, b|5"),
    ];
    for (text, expected) in cases {
        let prepared = query(text, &[]).prepare("made", &[], SqlLimits::default()).unwrap();
        let sorted = |text: String| {
            let mut rows: Vec<String> = text.split(", ").map(str::to_owned).collect();
            rows.sort();
            rows
        };
        let first = result(&prepared, &values);
        if text.contains(" join ") || text.contains(" in (") {
            assert_eq!(sorted(first.clone()), sorted(expected.into()), "{text}");
        } else {
            assert_eq!(first, expected, "{text}");
        }
        let one = result(&prepared, &[("z", 1)]);
        let fresh = result(&query(text, &[]).prepare("made", &[], SqlLimits::default()).unwrap(), &[("z", 1)]);
        assert_eq!(one, fresh, "{text}");
        assert_eq!(result(&prepared, &values), first, "{text}");
    }
}

#[test]
fn a_query_may_be_as_deep_as_it_is_accepted() {
    let deep = |levels: usize| {
        let value = "abs(".repeat(levels) + "n" + &")".repeat(levels);
        Query::new(&format!("select {value} as n from words"), vec![words(), orders()], &[], &[])
    };
    // On a thread with the stack size of a worker.
    assert_eq!(result(&deep(40).unwrap().prepare("made", &[], SqlLimits::default()).unwrap(), &[("a", -2)]), "2");
    assert!(deep(60).unwrap_err().message.starts_with("it is nested too deeply"));
}

#[test]
fn a_batch_without_rows_is_answered() {
    assert_eq!(
        result(&query("select count(*) as n from words", &[]).prepare("made", &[], SqlLimits::default()).unwrap(), &[]),
        "0"
    );
    let by_word = query("select word, count(*) as n from words group by word", &[]);
    assert_eq!(result(&by_word.prepare("made", &[], SqlLimits::default()).unwrap(), &[]), "");
}

#[test]
fn columns_have_our_types_and_names() {
    let list =
        "select word, count(*), n / 2.0 as half, row_number() over () as r, now() as t from words group by word, n";
    assert_eq!(describe(&query(list, &[]).output()), "word text, count(*) int64, half float64, r int64, t timestamp");
    let quoted = query("select Price from \"orders.rejected\" union all select o.Price from orders.rejected o", &[]);
    assert_eq!(describe(&quoted.output()), "Price float64");
}

#[test]
fn where_a_query_runs_follows_from_its_plan() {
    let one = |why: &str| QueryPlacement::One(why.to_owned());
    let cases = [
        ("select word, n + 1 as m from words where n > 2", vec![], QueryPlacement::Parts),
        ("select word from words union all select word from orders.rejected", vec!["word"], QueryPlacement::Parts),
        ("select word, now() as t from (select * from words) w", vec![], QueryPlacement::Parts),
        ("select 1 as one", vec![], one("it does not work row by row")),
        ("select word, count(*) from words group by word", vec![], one("it groups rows")),
        ("select word, count(*) from words group by word", vec!["word"], QueryPlacement::ByKey(vec![0])),
        ("select count(*) as c, n, word from words group by n, word", vec!["word"], QueryPlacement::ByKey(vec![2])),
        ("select count(*) as n from words group by word", vec!["word"], one("its rows do not hold the key `word`")),
        (
            "select n, count(*) from words group by n",
            vec!["word"],
            one("it groups rows by something else than the key `word`"),
        ),
        ("select count(*) from words", vec!["word"], one("it aggregates all rows")),
        ("select word from words order by word", vec!["word"], one("it orders all rows")),
        ("select word from words limit 3", vec!["word"], one("it selects the first of all rows")),
        ("select distinct word, n from words", vec!["word"], QueryPlacement::ByKey(vec![0])),
        (
            "select word, sum(n) over (partition by word order by n) as s from words",
            vec!["word"],
            QueryPlacement::ByKey(vec![0]),
        ),
        (
            "select word, sum(n) over (order by n) as s from words",
            vec!["word"],
            one("a window function is not partitioned by the key `word`"),
        ),
        (
            "select w.word, n, Price from words w join orders.rejected o on w.word = o.word",
            vec!["word"],
            QueryPlacement::ByKey(vec![0]),
        ),
        (
            "select w.word, n, Price from words w left join orders.rejected o on w.word = o.word",
            vec!["word"],
            QueryPlacement::ByKey(vec![0]),
        ),
        (
            "select o.word, n, Price from words w left join orders.rejected o on w.word = o.word",
            vec!["word"],
            one("its rows do not hold the key `word`"),
        ),
        (
            "select w.word from words w join words o on w.n = o.n",
            vec!["word"],
            one("it joins rows without the key `word` being equal"),
        ),
        (
            "select word from words where word not in (select word from orders.rejected)",
            vec!["word"],
            one("`not in` looks at all rows"),
        ),
        (
            "select word, count(*) as n from words where n = (select max(n) from words) group by word",
            vec!["word"],
            one("it has a subquery"),
        ),
    ];
    for (text, keys, expected) in cases {
        assert_eq!(*query(text, &keys).placement(), expected, "{text}");
    }
}

#[test]
fn mistakes_are_pointed_at() {
    let cases = [
        (
            "select wrod from words",
            "unknown column `wrod`; available: word, n; did you mean `word`?\n  SQL | select wrod from words\n      |        ^^^^",
        ),
        (
            "select word\nfrom wrods",
            "unknown table `wrods`; the stage's inputs are: orders.rejected, words; did you mean `words`?\n  line 2 | from wrods\n         |      ^^^^^",
        ),
        (
            "select cuont(*) from words",
            "unknown function `cuont`; did you mean `count`?\n  SQL | select cuont(*) from words\n      |        ^^^^^",
        ),
        ("selec word from words", "this is not SQL"),
        (
            "with a as (delete from words) select 1",
            "`sql` only reads: write one `select`, not `delete`\n  SQL | with a as (delete from words) select 1\n      |            ^^^^^^",
        ),
        ("select word into other from words", "`sql` only reads: write one `select`, not `select … into`"),
        ("select * from words tablesample (10)", "`tablesample` is not available"),
        ("select * from (select * from words for update)", "there is nothing to lock"),
        ("select from words", "the query has no columns"),
        ("from words", "the query has no columns"),
        ("select words.n from words w", "`words` is not available here; write `w.n`"),
        ("select substr(word) from words", "`substr` needs a position"),
        ("select regexp_like(word, '[') as r from words", "regex parse error: unclosed character class"),
        ("select word from words order by m", "unknown column `m`; available: word, n"),
        ("insert into words values ('a', 1)", "`sql` only reads: write one `select`, not `insert`"),
        ("drop table words", "`sql` only reads: write one `select`, not `drop`"),
        ("create table x as select * from words", "`sql` only reads: write one `select`, not `create`"),
        ("copy words to 'x.csv'", "`sql` only reads: write one `select`, not `copy`"),
        ("set a = 1", "`sql` only reads: write one `select`, not `set`"),
        ("explain select * from words", "`sql` only reads: write one `select`, not `explain`"),
        ("select 1; select 2", "`sql` is one query; write one `select`"),
        ("", "`sql` is one query; write one `select`"),
        ("select word + 1 from words", "text + int64 cannot be computed"),
        (
            "select word, n from words group by word",
            "`words.n` is neither in `group by` nor in an aggregate; write for example `max(words.n)`\n  SQL | select word, n from words group by word\n      |              ^",
        ),
        ("select word as a, n as a from words", "two columns have the same name"),
        ("select min(cast(n as text)) as a, min(n) as b from words", "from (select cast(…) as other …)"),
        (
            "select word from words where",
            "this is not SQL: expected: an expression, found: EOF\n  SQL | select word from words where\n      |                             ^",
        ),
        ("select word from words w, words v", "`word` could be several columns"),
        (
            "select max(n),\n  Sum(word) from words",
            "`sum(…)` does not accept a value of type text\n  line 2 |   Sum(word) from words\n         |   ^^^",
        ),
        ("select * from words where random() > 0.5", "`random()` would give another result"),
        ("select * from 'x.csv'", "unknown table"),
        ("select * from range(3)", "range"),
        ("with recursive a as (select 1 as n union all select n + 1 from a) select * from a", "ecursive"),
    ];
    for (text, words) in cases {
        let message = mistake_in(text);
        assert!(message.starts_with(words) || (words.len() < 50 && message.contains(words)), "{text}: {message}");
    }
}

#[test]
fn what_cannot_be_computed_names_the_batch() {
    for (text, words) in [
        ("select 1 / n as x from words", "division by zero"),
        ("select n * 9223372036854775807 as x from words", "verflow"),
        ("select sum(n * 9223372036854775807) as x from words", "verflow"),
        ("select sum(n + 9223372036854775804) as x from words", "a sum does not fit int64"),
        ("select sum(n + 9223372036854775804) as x from words group by n > -1", "a sum does not fit int64"),
    ] {
        let prepared = query(text, &[]).prepare("made", &[], SqlLimits::default()).unwrap();
        let other = RecordBatch::new_empty(orders().1);
        let error = prepared.run(context(), vec![rows(&[("a", 0), ("b", 3)]), other]).unwrap_err();
        assert!(
            error.message.starts_with("stage `made`: batch 3: ") && error.message.contains(words),
            "{text}: {error}"
        );
    }
}

#[test]
fn groups_come_in_the_order_in_which_they_begin() {
    // More rows than one step processes at a time.
    let values: Vec<(String, i64)> = (0..40_000).map(|row| (format!("w{}", (row * 7919) % 1_013), row)).collect();
    let values: Vec<(&str, i64)> = values.iter().map(|(word, n)| (word.as_str(), *n)).collect();
    let prepared = query("select word, min(n) as first from words group by word", &[])
        .prepare("made", &[], SqlLimits::default())
        .unwrap();
    let made = prepared.run(context(), vec![rows(&values), RecordBatch::new_empty(orders().1)]).unwrap();
    let firsts = made[0].column(1).as_primitive::<Int64Type>();
    assert_eq!(firsts.len(), 1_013);
    assert!(firsts.values().is_sorted());
}

#[test]
fn a_condition_stays_with_its_own_side_of_a_join() {
    let text = "select b.word, a.n as an, b.n as bn from (select * from words where n < 10) a \
                right join (select word, n - 10 as n from words where n >= 10) b on a.word = b.word \
                where b.n > coalesce(a.n, 3) and b.n < 100";
    let prepared = query(text, &[]).prepare("made", &[], SqlLimits::default()).unwrap();
    let values = [("x", 5), ("y", 9), ("x", 16), ("y", 17), ("z", 18), ("w", 11)];
    assert_eq!(result(&prepared, &values), "x|5|6, z||8");
}

#[test]
fn what_would_give_other_rows_than_sql_says_is_refused() {
    for (text, words) in [
        ("select word, (select n from words v where v.word = w.word) as n from words w", "must return at most one row"),
        ("select a.* from words a full join words b using (word)", "belong to no table"),
        ("select * from words a right join (select 'a' as word) using (word)", "`*` over such a left or right join"),
        (
            "select a.n from words a left join words b on a.n = b.n and exists (select 1 from words c where c.n > a.n + b.n)",
            "names columns of both sides",
        ),
        (
            "select n from words w where n in (select max(n) from words v where v.n < w.n group by cube(word))",
            "sets of groups",
        ),
        ("select word from words intersect all select word from words", "`intersect all`, which counts"),
        ("(select n from words union all select 1) except all select n from words", "`except all`, which counts"),
        ("select n from words where word is distinct from 'a' and n > 1", "write parentheses around"),
        ("select n from words where n = 1 or word is not distinct from 'a' is true", "write parentheses around"),
    ] {
        let error_text = mistake_in(text);
        assert!(error_text.contains(words), "{text}: {error_text}");
    }
    for text in [
        "select word from words where n not in (select n from words where word = 'a')",
        "select word from words w where not exists (select 1 from words v where v.word = w.word and v.n = 3)",
        "select word from words w where 3 not in (select n from words v where v.word = w.word)",
        "select n from words where n = 1 or word not in (select 'a')",
        "select exists (select 1 from words a where a.n > b.n) as e from words b",
        "select word from words intersect select word from words",
        "select n from words where (word is distinct from 'a') and n > 1",
        "select n from words where n > 1 and word is distinct from 'a'",
        "select n from words where word is distinct from (n > 1 and n < 3)::text",
    ] {
        query(text, &[]);
    }
}
