//! Joins of many rows, and joins that cannot be.

use millstream_tests::{Process, Trial, queue_sink, queue_source};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

const ROWS: i64 = 8_000;
const KEYS: i64 = 1_000;

/// Rows of all keys on all workers wait for partners, find them or not, and are freed, while the job is stopped, killed, and
/// resumed with other numbers of workers.
#[test]
fn waiting_rows_follow_their_keys_when_a_job_is_rescaled() {
    let source = |name: &str| queue_source(name, r#"k = "text", n = "int64", at = "timestamp(us)""#);
    let trial = Trial::new(&format!(
        r#"
        clock = "manual"
        at_end = "keep"
        [checkpoint]
        dir = "checkpoint"
        every = 1
        {}
        {}
        [stages.near]
        from = "a"
        join = {{ with = "b", on = "k", within = ["-500ms", "2s"], type = "full" }}
        time = "at"
        lateness = "1s"
        {}
        {}
        "#,
        source("a"),
        source("b"),
        queue_sink("out", "near", "out"),
        queue_sink("old", "near.late", "late")
    ));
    let batches: Vec<[Vec<Row>; 2]> = (0..6).map(|batch| [rows(batch, 0), rows(batch, 1)]).collect();
    let write = |count: usize| {
        for (side, name) in ["a.jsonl", "b.jsonl"].iter().enumerate() {
            trial.write(name, batches[..count].iter().map(|batch| line(&batch[side])).collect::<String>());
        }
    };
    let outputs = || [trial.text("out.jsonl"), trial.text("late.jsonl")];
    write(6);
    trial.run_ok(&["--workers", "2"]);
    let complete = outputs();
    let late = trial.rows("late.jsonl").len();
    assert!(late > 100, "{late} late rows are few");
    check(&trial, &batches, late);

    fs::remove_dir_all(trial.path("checkpoint")).unwrap();
    trial.remove_queue("out.jsonl");
    trial.remove_queue("late.jsonl");
    for (count, workers) in [(2, "3"), (4, "1"), (5, "8"), (6, "2")] {
        write(count);
        trial.run_ok(&["--workers", workers]);
    }
    assert!(outputs() == complete, "stopped and resumed");

    fs::remove_dir_all(trial.path("checkpoint")).unwrap();
    trial.remove_queue("out.jsonl");
    trial.remove_queue("late.jsonl");
    for (workers, commits) in [("3", 5), ("1", 4)] {
        let mut command = trial.command(&["run", "job.toml", "--unsupervised", "--workers", workers]);
        command.env("MILLSTREAM_TEST_FAULT", format!("kill@commit.after:{commits}"));
        assert_eq!(Process::start(&mut command).wait().code, None, "with {workers} workers");
    }
    trial.run_ok(&["--workers", "2"]);
    assert!(outputs() == complete, "killed and resumed");
}

/// One side was read to its end before the other had begun. A window after the join is emitted when the other side has passed it.
#[test]
fn a_side_that_is_far_ahead_does_not_hold_up_later_stages() {
    let source = |name: &str| queue_source(name, r#"k = "text", at = "timestamp(s)""#);
    for kind in ["left", "inner"] {
        let trial = Trial::new(&format!(
            r#"
            clock = "manual"
            {}
            {}
            [stages.near]
            from = "a"
            join = {{ with = "b", on = "k", within = "1s", type = "{kind}" }}
            time = "at"
            [stages.counts]
            from = "near"
            time = "at"
            window = {{ size = "10s" }}
            aggregate = {{ n = "count(*)" }}
            {}
            "#,
            source("a"),
            source("b"),
            queue_sink("out", "counts", "out")
        ));
        let rows = |from: i64, to: i64| {
            let rows: Vec<String> = (from..to).map(|at| format!("[\"x\",{at}]")).collect();
            format!("[{}]\n", rows.join(","))
        };
        let slow = (0..10).map(|part| rows(100 * part, 100 * (part + 1)));
        trial.write("a.jsonl", rows(0, 1_000) + &"[]\n".repeat(9));
        trial.write("b.jsonl", slow.collect::<String>());
        for workers in ["1", "2"] {
            trial.run_ok(&["--workers", workers]);
            let of = |batch: &Value| batch["rows"].as_array().unwrap().len();
            let windows: Vec<usize> = trial.batches("out.jsonl").iter().map(of).collect();
            assert_eq!(windows.iter().sum::<usize>(), 100, "{windows:?}");
            // A stage after another one receives a batch's times with the next one.
            let sooner = windows.iter().take(9).sum::<usize>();
            assert!(sooner >= 75, "{kind}, {workers} workers: {windows:?}");
            fs::remove_file(trial.path("out.jsonl")).unwrap();
        }
    }
}

/// Key, number, and time in microseconds.
type Row = (i64, i64, i64);

/// Two seconds of event time a batch; some rows are older than the watermark allows.
fn rows(batch: i64, side: i64) -> Vec<Row> {
    let row = |i: i64| {
        let number = (batch * 2 + side) * ROWS + i;
        let mixed = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33;
        let back = if mixed % 50 == 0 { 4_000_000 } else { mixed % 900_000 };
        (mixed.rem_euclid(KEYS), number, (batch * 2_000_000 + i * 250 - back.abs()).max(0))
    };
    (0..ROWS).map(row).collect()
}

fn line(rows: &[Row]) -> String {
    let rows: Vec<String> = rows.iter().map(|(key, number, at)| format!("[\"k{key}\",{number},{at}]")).collect();
    format!("[{}]\n", rows.join(","))
}

/// The pairs are those of the rows that are not late, and whatever else came out had no partner.
fn check(trial: &Trial, batches: &[[Vec<Row>; 2]], late: usize) {
    let mut watermark = i64::MIN;
    let mut newest = [i64::MIN; 2];
    let mut on_time: [BTreeMap<i64, Vec<(i64, i64)>>; 2] = Default::default();
    let mut too_late = 0;
    for batch in batches {
        for side in 0..2 {
            for (key, number, at) in &batch[side] {
                newest[side] = newest[side].max(*at);
                if *at < watermark {
                    too_late += 1;
                } else {
                    on_time[side].entry(*key).or_default().push((*number, *at));
                }
            }
        }
        watermark = watermark.max(newest[0].min(newest[1]) - 1_000_000);
    }
    assert_eq!(late, too_late);
    let mut pairs = Vec::new();
    for (key, first) in &on_time[0] {
        for (a, at) in first {
            let second = on_time[1].get(key).into_iter().flatten();
            pairs.extend(second.filter(|(_, b)| (-500_000..=2_000_000).contains(&(b - at))).map(|(b, _)| (*a, *b)));
        }
    }
    let (mut found, mut alone) = (Vec::new(), [Vec::new(), Vec::new()]);
    for row in trial.rows("out.jsonl") {
        match (row["n"].as_i64(), row["b_n"].as_i64()) {
            (Some(a), Some(b)) => found.push((a, b)),
            (Some(a), None) => alone[0].push(a),
            (_, b) => alone[1].push(b.unwrap()),
        }
    }
    pairs.sort_unstable();
    found.sort_unstable();
    assert!(found.len() > 100_000, "{} pairs are few", found.len());
    assert!(found == pairs, "{} pairs in place of {}", found.len(), pairs.len());
    let with_partner = [
        pairs.iter().map(|pair| pair.0).collect::<std::collections::BTreeSet<_>>(),
        pairs.iter().map(|pair| pair.1).collect(),
    ];
    for (alone, with_partner) in alone.iter().zip(&with_partner) {
        assert!(alone.len() > 1_000, "{} rows without a partner are few", alone.len());
        assert!(alone.iter().all(|row| !with_partner.contains(row)));
    }
}

/// A job with two streams and this join.
fn rejection(join: &str) -> String {
    let trial = Trial::new(&format!(
        r#"
        clock = "manual"
        [sources.orders]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ user = "text", n = "int64", payments_n = "int64", at = "timestamp" }}
        [sources.payments]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ payer = "text", n = "int64", at = "timestamp" }}
        [stages.paid]
        from = "orders"
        {join}
        [sinks.out]
        from = "paid"
        kind = "print"
        "#
    ));
    trial.write("input.jsonl", "");
    trial.rejected_message(&["validate", "job.toml"])
}

#[test]
fn unsuitable_columns_are_named() {
    let output = rejection(r#"join = { with = "payments", on = "user" }"#);
    let message = "`join.on`: in `payments`: column `user` not found; columns: payer text, n int64, at timestamp";
    assert!(output.contains(message), "{output}");
    let output = rejection(r#"join = { with = "payments", on = { user = "n" } }"#);
    let message = "`join.on`: `user` of `orders` is text, and `n` of `payments` is int64; they must have the same type";
    assert!(output.contains(message), "{output}");
    let output = rejection(r#"join = { with = "payments", on = { user = "payer" } }"#);
    assert!(output.contains("its rows would have two columns `payments_n`"), "{output}");
}

/// Two files of which one is ten minutes ahead of the other, in perfect order. Without its own time `deduplicate` only passes
/// rows on, so that the files may advance independently.
#[test]
fn rows_that_pass_deduplicate_keep_the_watermark_of_their_source() {
    for workers in ["1", "3"] {
        let source = |name: &str| {
            format!(
                "[sources.{name}]\nkind = \"queue\"\npath = \"{name}.jsonl\"\nschema = {{ id = \"int64\", at = \"timestamp(s)\" }}\n"
            )
        };
        let trial = Trial::new(&format!(
            "clock = \"manual\"\n{}{}[stages.once]\nfrom = [\"a\", \"b\"]\nkey = \"id\"\ndeduplicate = {{ within = \"1h\" }}\n\
             [stages.counted]\nfrom = \"once\"\ntime = \"at\"\nwindow = {{ size = \"1m\" }}\naggregate = {{ n = \"count(*)\" }}\n\
             [sinks.out]\nfrom = \"counted\"\nkind = \"queue\"\npath = \"out.jsonl\"\n\
             [sinks.others]\nfrom = \"counted.late\"\nkind = \"queue\"\npath = \"late.jsonl\"\n",
            source("a"),
            source("b")
        ));
        for (name, ahead) in [("a", 0), ("b", 600)] {
            let batch = |batch: i64| {
                let row = |row: i64| format!("[{0}, {0}]", 1_800_000_000 + ahead + row);
                // Each row twice.
                let rows: Vec<String> = (batch * 30..batch * 30 + 30).flat_map(|n| [row(n), row(n)]).collect();
                format!("[{}]\n", rows.join(","))
            };
            trial.write(&format!("{name}.jsonl"), (0..10).map(batch).collect::<String>());
        }
        trial.run_ok(&["--workers", workers]);
        assert_eq!(trial.rows("late.jsonl"), Vec::<serde_json::Value>::new(), "{workers}");
        let counted: i64 = trial.rows("out.jsonl").iter().map(|row| row["n"].as_i64().unwrap()).sum();
        assert_eq!(counted, 600, "{workers}");
    }
}
