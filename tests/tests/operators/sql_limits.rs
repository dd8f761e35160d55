//! Numbers that do not fit, equal floats, and queries that need more resources than there are, in the program.

use millstream_tests::{Process, Trial, one_stage};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// A job with one stage `made` over these rows.
fn job(stage: &str, rows: &str) -> Trial {
    let columns = r#"v = "int64", w = "int64", f = "float64", t = "text", at = "timestamp""#;
    let trial = one_stage("rows", columns, stage);
    trial.write("input.jsonl", format!("{rows}\n"));
    trial
}

/// One row with the smallest and the largest integer.
const EXTREMES: &str = r#"[[-9223372036854775808,9223372036854775807,1.5,"t","2026-01-01T00:00:00Z"]]"#;

/// The values of `x` in the rows that the stage emits.
#[track_caller]
fn values_of(stage: &str, rows: &str) -> Vec<String> {
    let trial = job(stage, rows);
    trial.run_ok(&["--workers", "2"]);
    trial.rows("out.jsonl").iter().map(|row| row["x"].to_string().replace("e+", "e")).collect()
}

/// The job stops in its only batch, which writes nothing, with this message.
#[track_caller]
fn fails(stage: &str, rows: &str, message: &str) {
    let trial = job(stage, rows);
    let ended = trial.run(&["--workers", "2"]);
    assert_eq!(ended.code, Some(1), "{stage}: {}", ended.stderr);
    assert!(ended.stderr.contains(message), "{stage}: {}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{stage}: {}", ended.stderr);
    assert!(trial.rows("out.jsonl").is_empty(), "{stage}");
}

/// Wherever SQL is written: with a constant, with columns, with a constant that is too large itself.
#[test]
fn integer_overflows_stop_the_job() {
    let wrong = [
        "v * (400*365*86400*1000000000)",
        "w * (400*365*86400*1000000000)",
        "v - 1",
        "w + 1",
        "-v",
        "-(v)",
        "abs(v)",
        "v * -1",
        "v / -1",
        "w * w",
        "9223372036854775807 + 1",
        "- (-9223372036854775807 - 1)",
        "1 << 64",
        "w >> -1",
        "cast(w as int)",
        "cast(9223372036854775807 as int)",
        "cast(18446744073709551615 as bigint unsigned)",
        "cast(w as int) + 1",
        "cast(2147483647 as int) + cast(1 as int)",
        "cast(cast(200 as tinyint unsigned) + cast(200 as tinyint unsigned) as bigint)",
        "cast(1e300 as bigint)",
        "factorial(w)",
        "case when t = 't' then w + 1 else 0 end",
        "coalesce(w + 1, 0)",
    ];
    for text in wrong {
        for stage in [
            format!("select = \"v, {text} as x\""),
            // Within an expression unsigned numbers are possible; no column of rows has them.
            format!("filter = \"cast({text} as bigint) <> 5\""),
            format!("sql = \"select {text} as x from rows\""),
            format!("sql = \"select max({text}) as x from rows\""),
        ] {
            let trial = job(&stage, EXTREMES);
            let ended = trial.run(&["--workers", "1"]);
            let output = &ended.stderr;
            assert!(ended.code == Some(1) || ended.code == Some(2), "{stage}: {:?} {output}", trial.rows("out.jsonl"));
            assert!(!output.contains("panicked") && !output.contains("bug in Millstream"), "{stage}: {output}");
            assert!(trial.rows("out.jsonl").is_empty(), "{stage}");
        }
    }
}

#[test]
fn integer_overflows_stop_the_job_everywhere_in_a_query() {
    let grouped = [
        "select sum(v) as x from (select -9223372036854775808 as v from rows union all select -1)",
        "select sum(distinct v) as x from (select w as v from rows union all select 1)",
        "select sum(distinct v) as x, sum(distinct w) as y from (select w as v, 1 as w from rows union all select 1, 2)",
        "select sum(w + 1) as x from rows",
        "select sum(v) over (rows between 1 preceding and current row) as x from (select w as v from rows union all select w from rows)",
        "select sum(v) over (order by v rows between 1 preceding and current row) as x from (select w as v from rows union all select 1)",
        "select count(*) as x from rows group by w + 1",
        "select count(*) as x from rows a join rows b on a.w + 1 = b.v",
        "select count(*) as x from rows a join rows b on a.w + b.w > 0",
        "select v as x from rows order by w + 1",
        "select row_number() over (partition by w + 1 order by v) as x from rows",
        "select row_number() over (order by w + 1) as x from rows",
        "select max(v) filter (where w + 1 > 0) as x from rows",
        "select v as x from rows where w + 1 > 0",
        "select v as x from rows where exists (select 1 from rows r where r.w + 1 = rows.v)",
    ];
    for text in grouped {
        let stage = format!("sql = \"{text}\"");
        let trial = job(&stage, EXTREMES);
        let ended = trial.run(&["--workers", "1"]);
        assert!(ended.code != Some(0), "{text}: {:?}", trial.rows("out.jsonl"));
        assert!(!ended.stderr.contains("panicked"), "{text}: {}", ended.stderr);
    }
}

/// Values that fit are exact, and a sum is correct whatever its intermediate values.
#[test]
fn values_in_range_are_computed() {
    let select = |text: &str| values_of(&format!("select = \"{text} as x\""), EXTREMES);
    assert_eq!(select("v + w"), ["-1"]);
    assert_eq!(select("v % -1"), ["0"]);
    assert_eq!(select("-w"), ["-9223372036854775807"]);
    assert_eq!(select("-9223372036854775808"), ["-9223372036854775808"]);
    assert_eq!(select("1 << 62"), ["4611686018427387904"]);
    assert_eq!(select("-f * 2"), ["-3.0"]);
    let sum = "sql = \"select sum(n) as x from (select w as n from rows union all select 1 union all select -5)\"";
    assert_eq!(values_of(sum, EXTREMES), ["9223372036854775803"]);
    // Columns keep the names that the text gives them.
    let trial = job("sql = \"select v + w, -w, sum(w) from rows group by v + w, -w\"", EXTREMES);
    trial.run_ok(&[]);
    let names: Vec<String> = trial.rows("out.jsonl")[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains(&"rows.v + rows.w".to_owned()), "{names:?}");
}

fn floats(values: &[&str]) -> String {
    let row = |(place, value): (usize, &&str)| format!(r#"[{place},0,{value},"t",null]"#);
    let rows: Vec<String> = values.iter().enumerate().map(row).collect();
    format!("[{}]", rows.join(","))
}

/// Values that leave a frame have no effect on later sums.
#[test]
fn sums_over_moving_frames_are_sums_of_their_rows() {
    let over = |call: &str, values: &[&str]| {
        let sql = format!(
            "sql = \"select {call} over (order by v rows between 1 preceding and current row) as x from rows\""
        );
        values_of(&sql, &floats(values))
    };
    assert_eq!(over("sum(f)", &["1e16", "1", "1", "1"]), ["1e16", "1e16", "2.0", "2.0"]);
    assert_eq!(over("avg(f)", &["1e16", "1", "1", "1"]), ["1e16", "5000000000000000.0", "1.0", "1.0"]);
    assert_eq!(over("sum(f)", &["1e308", "1e308", "1", "null", "null", "2"])[2..], ["1e308", "1.0", "null", "2.0"]);
    assert_eq!(over("avg(f)", &["1e308", "1e308", "1", "3"])[3..], ["2.0"]);
    assert_eq!(over("var_pop(f)", &["1e16", "1", "3", "5"])[2..], ["1.0", "1.0"]);
    assert_eq!(over("stddev_pop(f)", &["1e300", "1", "3", "5"])[2..], ["1.0", "1.0"]);
    assert_eq!(over("covar_pop(f, f)", &["1e200", "1", "3", "5"])[2..], ["1.0", "1.0"]);
    assert_eq!(over("corr(f, v)", &["1e200", "1", "3", "5"])[2..], ["1.0", "1.0"]);
    assert_eq!(over("max(f)", &["5", "1", "1", "1"]), ["5.0", "5.0", "1.0", "1.0"]);
    // A frame that loses several rows at a time, and one without rows.
    let ranges =
        "sql = \"select sum(f) over (order by v * v range between 3 preceding and 1 preceding) as x from rows\"";
    assert_eq!(values_of(ranges, &floats(&["1e16", "1", "2", "4"])), ["null", "1e16", "1.0", "null"]);
}

/// All NaNs are one value, and -0 is 0: as for the keys of stages.
#[test]
fn equal_floats_are_grouped_and_compared_as_equal() {
    let rows = floats(&["1", "2", "0", "-0.0"]);
    // The bits of these NaNs differ.
    let nans =
        "select case v when 0 then cast('NaN' as double) when 1 then -cast('NaN' as double) else f end as f from rows";
    let one = |query: &str| values_of(&format!("sql = \"with n as ({nans}) {query}\""), &rows);
    assert_eq!(one("select count(*) as x from n group by f order by 1"), ["2", "2"]);
    assert_eq!(one("select count(*) as x from (select distinct f from n)"), ["2"]);
    assert_eq!(one("select count(distinct f) as x from n"), ["2"]);
    assert_eq!(one("select count(*) as x from (select f from n union select f from n)"), ["2"]);
    assert_eq!(one("select count(*) as x from n a join n b on a.f = b.f"), ["8"]);
    assert_eq!(one("select max(c) as x from (select count(*) over (partition by f) as c from n)"), ["2"]);
    assert_eq!(one("select max(r) as x from (select dense_rank() over (order by f) as r from n)"), ["2"]);
    assert_eq!(one("select count(*) as x from n where f = 0"), ["2"]);
    assert_eq!(one("select count(*) as x from n where f = cast('NaN' as double)"), ["2"]);
    assert_eq!(one("select min(f) as x from n"), ["0.0"]);
}

/// Cases that DataFusion alone gets wrong or rejects.
#[test]
fn queries_mean_what_sql_means() {
    let rows = floats(&["1", "\"-Infinity\"", "\"NaN\"", "-0.0"]);
    let one = |query: &str| values_of(&format!("sql = \"select {query}\""), &rows);
    // In groups in which all values are infinite or NaN.
    assert_eq!(one("max(f) as x from rows where v = 1 group by t"), ["\"-Infinity\""]);
    assert_eq!(one("min(-f) as x from rows where v = 1 group by t"), ["\"Infinity\""]);
    assert_eq!(one("max(f) as x from rows group by t"), ["\"NaN\""]);
    assert_eq!(one("min(f) as x from rows where v in (0, 2) group by t"), ["1.0"]);
    assert_eq!(one("max(f) filter (where v = 7) as x from rows group by t"), ["null"]);
    // Equal floats, wherever values are compared.
    assert_eq!(one("nullif(f, 0.0) as x from rows order by v"), ["1.0", "\"-Infinity\"", "\"NaN\"", "null"]);
    assert_eq!(one("case f when 0.0 then 1 else 0 end as x from rows order by v"), ["0", "0", "0", "1"]);
    assert_eq!(one("v as x from rows where f in (select 0.0)"), ["3"]);
    assert_eq!(one("v as x from rows where f = any (select -f from rows)"), ["2", "3"]);
    assert_eq!(one("v as x from rows order by f desc, v limit 1"), ["2"]);
    assert_eq!(one("count(*) as x from rows group by rollup(f)"), ["4", "1", "1", "1", "1"]);
    assert_eq!(one("count(*) as x from rows group by grouping sets ((t, f + 1), ())").len(), 5);
    // A query within, over the same columns.
    assert_eq!(one("v as x from rows where v > any (select v from rows)"), ["1", "2", "3"]);
    assert_eq!(one("v as x from rows where v = any (select v from rows where v > 1)"), ["2", "3"]);
    assert_eq!(one("v as x from rows where v >= all (select v from rows)"), ["3"]);
    // Rows that are sorted by what is computed.
    assert_eq!(one("row_number() over (partition by v + 1 > 2 order by v * 2) as x from rows"), ["1", "2", "1", "2"]);
    assert_eq!(
        one("sum(v) over (partition by coalesce(v, 1) > 1 order by abs(v) > 2, v) as x from rows"),
        ["0", "1", "2", "5"]
    );
    assert_eq!(one("sum(v) over (order by f is distinct from 1.0, v) as x from rows"), ["0", "1", "3", "6"]);
}

/// A value that a library does not accept is an error with a name, not the end of the program.
#[test]
fn invalid_arguments_of_functions_are_errors() {
    let rows = r#"[[-5,3,1.0,"abc",null]]"#;
    assert_eq!(values_of("select = \"lpad(t, v) as x\"", rows), ["\"\""]);
    assert_eq!(values_of("select = \"rpad(t, v, 'é') as x\"", rows), ["\"\""]);
    assert_eq!(values_of("select = \"rpad(t, w - 1) as x\"", rows), ["\"ab\""]);
    let centroids = "select approx_percentile_cont(0.5, 9223372036854775807) within group (order by f) as x from rows";
    let output = job(&format!("sql = \"{centroids}\""), rows).rejected_message(&["run", "job.toml"]);
    assert!(output.contains("`approx_percentile_cont(…)` takes from 1 to 10000 centroids"), "{output}");
}

/// A function that would make more than there is, whether of constants or of the data, is stopped before it does.
#[test]
fn functions_are_stopped_before_they_take_all_memory() {
    let rows = r#"[[1000000000000,3,1.0,"x",null]]"#;
    for text in [
        "length(repeat('x', 1000000000000))",
        "length(repeat(t, v))",
        "length(lpad(t, 2000000000))",
        "length(lpad(t, v))",
        "array_length(range(1, 2000000000))",
        "array_length(generate_series(1, v))",
        "array_length(array_repeat(t, v))",
        "array_length(array_resize([1], v, 2))",
        "length(replace(repeat(t, 100000), 'x', repeat(t, 100000)))",
        "length(array_to_string(array_repeat(t, 100000), repeat(t, 100000)))",
    ] {
        fails(&format!("select = \"{text} as x\""), rows, "cannot be computed: `");
        fails(&format!("sql = \"select {text} as x from rows\""), rows, "cannot be computed: `");
    }
    // Nothing is computed while the job is validated.
    for text in ["array_length(range(1, 2000000000))", "length(repeat('x', 1000000000000))"] {
        let trial = job(&format!("select = \"{text} as x\""), rows);
        let ended = Process::start(&mut trial.command(&["validate", "job.toml"])).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

/// Many rows: `v` counts.
fn many(rows: u64) -> String {
    let mut text = String::from("[");
    for row in 0..rows {
        let comma = if row > 0 { "," } else { "" };
        let _ = write!(text, "{comma}[{row},{},1.5,\"some text\",null]", row % 7);
    }
    text + "]"
}

/// The memory of a query's rows is counted; a key sets the limit.
#[test]
fn a_query_has_a_limit_of_memory() {
    let small = "limits = { memory = \"16MiB\" }\n";
    for sql in [
        "select a.v as x, b.t from rows a cross join rows b",
        "select a.v as x, b.t from rows a join rows b on a.v <> b.v",
        "select a.v as x from rows a join rows b on a.t = b.t order by a.v + b.v",
        "select unnest(range(0, v)) as x, t from rows",
        "select a.v as x, array_agg(b.v) over (order by a.v) as y from rows a join rows b on a.v = b.v",
        "select a.v as x, string_agg(t, ',') over (order by v) as y from rows a",
    ] {
        let stage = format!("{small}sql = \"{sql}\"");
        fails(&stage, &many(5_000), "raise `limits.memory`");
    }
    // The size of what is reduced to little does not matter.
    let counted = format!("{small}sql = \"select count(*) as x from rows a cross join rows b\"");
    assert_eq!(values_of(&counted, &many(2_000)), ["4000000"]);
    let unnested =
        format!("{small}sql = \"select count(*) as x from (select unnest(range(0, 100)) as u, t from rows)\"");
    assert_eq!(values_of(&unnested, &many(2_000)), ["200000"]);
    let output = job("limits = { fuel = 5 }\nsql = \"select 1 as x\"", "[]").rejected_message(&["run", "job.toml"]);
    assert!(output.contains("fuel") && output.contains("memory"), "{output}");
}

/// Pairs of rows that never match, so that no row is emitted for an hour.
const LONG: &str = "select count(*) as x from rows a cross join rows b cross join rows c where a.v + b.v + c.v < 0";

#[test]
fn a_query_has_a_limit_of_time() {
    let began = Instant::now();
    fails(&format!("limits = {{ time = \"500ms\" }}\nsql = \"{LONG}\""), &many(5_000), "it takes longer than 0.5 s");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

/// A long query does not outlast `--timeout` for long, with and without checkpoints.
#[test]
fn a_long_query_ends_with_its_job() {
    for checkpoint in ["", "\n[checkpoint]\ndir = \"kept\"\n"] {
        let trial = job(&format!("sql = \"{LONG}\""), &many(5_000));
        trial.write("job.toml", trial.text("job.toml") + checkpoint);
        let began = Instant::now();
        let ended = trial.run(&["--timeout", "1s"]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("the job is stopping"), "{}", ended.stderr);
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    }
}

/// Text that takes very long to parse or plan is rejected; immediately if its form shows it.
#[test]
fn planning_has_a_limit_of_time() {
    let mut casts = "v".to_owned();
    for kind in ["int", "double"].iter().cycle().take(60) {
        casts = format!("cast({casts} as {kind})");
    }
    let nots = format!("{}v ] 1{}", "not (".repeat(30), ")".repeat(30));
    for text in [casts, nots] {
        for stage in [format!("select = \"{text} as x\""), format!("sql = \"select {text} as x from rows\"")] {
            let began = Instant::now();
            let output = job(&stage, "[]").rejected_message(&["validate", "job.toml"]);
            assert!(output.contains("more than 16 of `cast(…)`, `not (…)` and similar calls are nested"), "{output}");
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        }
    }
    let coalesce = format!("{}v{}", "coalesce(".repeat(40), ", 1)".repeat(40));
    let began = Instant::now();
    let output = job(&format!("select = \"{coalesce} as x\""), "[]").rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("too complex"), "{output}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
