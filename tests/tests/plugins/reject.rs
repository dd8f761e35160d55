//! Rows that make a plugin fail, with `on_error = "reject"`: what is reported about them, errors without a guilty row, how many
//! may be rejected, and how long they are searched for. `e2e/reject-*` tests that the others are processed as if they did not
//! exist.

use millstream_tests::{Ended, Process, Trial, free_port, millstream, plugin, queue_sink};
use serde_json::Value;

/// A job whose stage `s` uses a plugin of ours on rows of these columns; `stage` has more keys of it, and `more` follows.
fn job(name: &str, schema: &str, stage: &str, more: &str) -> Trial {
    let (plugin, out) = (plugin(name), queue_sink("out", "s", "out"));
    Trial::new(&format!(
        r#"
clock = "manual"
workers = 2
[sources.lines]
kind = "queue"
path = "input.jsonl"
schema = {{ {schema} }}
[stages.s]
from = "lines"
plugin = "{}"
{stage}
{out}{more}
"#,
        plugin.display()
    ))
}

const REJECT: &str = "on_error = \"reject\"";
const REJECTED: &str = "[sinks.refused]\nfrom = \"s.rejected\"\nkind = \"queue\"\npath = \"rejected.jsonl\"";

/// A job of the plugin `poison`, with these batches of values.
fn poison(stage: &str, more: &str, batches: &[&[&str]]) -> Trial {
    let trial = job("poison", "value = \"text\"", stage, more);
    let lines = batches.iter().map(|batch| serde_json::to_string(batch).unwrap() + "\n");
    trial.write("input.jsonl", lines.collect::<String>());
    trial
}

fn run_quietly(trial: &Trial) -> Ended {
    Process::start(trial.command(&["run", "job.toml"]).env("MILLSTREAM_LOG", "off")).wait()
}

fn fails(trial: &Trial) -> String {
    let ended = run_quietly(trial);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    ended.stderr
}

fn values(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["value"].as_str().unwrap()).collect()
}

#[test]
fn a_rejected_row_names_the_plugin_that_failed_and_the_location() {
    let trial = poison(REJECT, REJECTED, &[&["a"], &["b", "panic", "c"]]);
    trial.run_ok(&[]);
    assert_eq!(values(&trial.rows("out.jsonl")), ["a", "b", "c"]);
    let rows = trial.rows("rejected.jsonl");
    let [row] = &rows[..] else { panic!("{rows:?}") };
    let columns: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
    for column in ["value", "reason", "backtrace", "stage", "plugin", "version", "digest", "batch"] {
        assert!(columns.contains(&column), "{column} of {columns:?}");
    }
    assert_eq!(columns.len(), 8);
    assert_eq!((&row["value"], &row["stage"], &row["plugin"]), (&"panic".into(), &"s".into(), &"poison".into()));
    assert_eq!((&row["version"], &row["batch"]), (&"0.1.0".into(), &2.into()));
    let text = |column: &str| row[column].as_str().unwrap().to_owned();
    assert!(text("reason").starts_with("panicked at ") && text("reason").ends_with("not this row"), "{row}");
    assert!(!text("reason").contains("backtrace"), "{row}");
    assert!(text("backtrace").contains("poison::fail::give_up"), "{row}");
    // The digest of the component that ran, as `inspect` shows it.
    let output = Process::start(&mut trial.command(&["inspect", plugin("poison").to_str().unwrap()])).wait().stdout;
    assert!(text("digest").starts_with("sha256:") && output.contains(&text("digest")), "{row}\n{output}");
}

#[test]
fn validate_shows_the_columns_of_rejected_rows() {
    let trial = poison(REJECT, REJECTED, &[]);
    let output = Process::start(&mut trial.command(&["validate", "job.toml"])).wait();
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("backtrace") && output.stdout.contains("digest"), "{}", output.stdout);
}

#[test]
fn unused_rejected_rows_are_counted_and_the_first_ones_logged() {
    let panics = vec!["panic"; 30];
    let ended = poison(REJECT, "", &[&panics]).run_ok(&[]);
    let output: Vec<_> = ended.stderr.lines().filter(|line| line.contains("rejected a row in batch 1")).collect();
    assert_eq!(output.len(), 5, "{}", ended.stderr);
    assert!(output[0].contains("`s` (plugin poison 0.1.0) rejected a row"), "{}", output[0]);
    assert!(output[0].contains("not this row; the row: \"panic\""), "{}", output[0]);
    assert!(ended.stderr.contains("`s` rejected 30 rows that nothing read"), "{}", ended.stderr);
}

#[test]
fn a_batch_with_too_many_rejected_rows_stops_the_job_and_is_not_output() {
    let batches: &[&[&str]] = &[&["a", "e", "f", "panic", "refuse"], &["b", "panic", "refuse", "abort", "c"], &["d"]];
    for (limit, may) in [("2", "2"), ("\"50%\"", "50 %"), ("0.59", "59 %")] {
        let trial = poison(&format!("{REJECT}\nmax_rejected = {limit}"), REJECTED, batches);
        // Also if another process rejects them.
        let ended = if limit == "2" {
            let hosts = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
            let process =
                |number| trial.start(&["--processes", "2", "--process", number, "--workers", "1", "--hosts", &hosts]);
            let (first, second) = (process("0"), process("1"));
            let (first, second) = (first.wait(), second.wait());
            assert_eq!(second.code, Some(1), "{}", second.stderr);
            first
        } else {
            run_quietly(&trial)
        };
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let message = format!(
            "stage `s`: plugin poison 0.1.0 rejected 3 of 5 rows of batch 2, but `max_rejected` allows {may} per \
             batch; nothing of the batch is emitted"
        );
        assert!(ended.stderr.contains(&message), "{}", ended.stderr);
        assert!(ended.stderr.contains("the first reason: "), "{}", ended.stderr);
        for sink in ["out.jsonl", "rejected.jsonl"] {
            let seen: Vec<_> = trial.batches(sink).iter().map(|batch| batch["batch"].as_u64().unwrap()).collect();
            assert!(seen.is_empty() || seen == [1], "{sink}: {seen:?}");
        }
    }
    let trial = poison(&format!("{REJECT}\nmax_rejected = 3"), REJECTED, batches);
    trial.run_ok(&[]);
    assert_eq!(trial.rows("rejected.jsonl").len(), 5);
}

#[test]
fn rows_refused_by_a_plugin_count_without_on_error_too() {
    let trial = poison("max_rejected = 1", "", &[&["refuse", "a"], &["refuse", "refuse", "b"]]);
    let output = fails(&trial);
    assert!(output.contains("rejected 2 of 3 rows of batch 2"), "{output}");
    assert!(output.contains("the first reason: refused by itself"), "{output}");
}

#[test]
fn a_job_that_rejects_everything_is_stopped() {
    let output = fails(&poison(&format!("{REJECT}\nmax_rejected = \"90%\""), "", &[&["panic", "abort", "error"]]));
    assert!(output.contains("rejected 3 of 3 rows of batch 1"), "{output}");
}

/// A job that reads numbers from a file, three records a batch.
fn decoding(lines: &str, keys: &str, more: &str) -> Trial {
    let trial = Trial::new(&format!(
        "batch = \"20ms\"\n[sources.in]\nkind = \"file\"\npath = \"in.jsonl\"\nformat = \"json\"\nschema = {{ n = \"int64\" }}\n\
         rows_per_batch_max = 3\n{keys}\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n{more}"
    ));
    trial.write("in.jsonl", lines);
    trial
}

const BAD_RECORDS: &str = "[sinks.bad]\nfrom = \"in.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"\n";

#[test]
fn a_batch_of_which_a_source_rejects_too_much_stops_the_job_and_is_not_output() {
    let good = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n";
    let lines = format!("{good}{{\"n\":4}}\nno json\n{{\"n\":\"x\"}}\n");
    for (limit, may, workers) in [("1", "1", "1"), ("0.5", "50 %", "2"), ("\"50%\"", "50 %", "1")] {
        for more in ["", BAD_RECORDS] {
            let trial = decoding(&lines, &format!("max_rejected = {limit}"), more);
            let ended = trial.run(&["--workers", workers]);
            assert_eq!(ended.code, Some(1), "{}", ended.stderr);
            // On a busy machine, a batch without rows may come first.
            let (_, error) =
                ended.stderr.split_once("error: source `in` rejected 2 of 3 rows of batch ").expect(&ended.stderr);
            let limit = format!(", but `max_rejected` allows {may} per batch");
            assert!(error.trim_start_matches(char::is_numeric).starts_with(&limit), "{}", ended.stderr);
            assert!(ended.stderr.contains("the first reason: not JSON"), "{}", ended.stderr);
            // The batch before may be committed by then, but nothing of this one.
            assert!([0, 3].contains(&trial.rows("out.jsonl").len()), "{:?}", trial.rows("out.jsonl"));
            assert!(trial.rows("bad.jsonl").is_empty());
        }
    }
    let trial = decoding(&lines, "max_rejected = 2", "");
    let ended = trial.run_ok(&[]);
    assert_eq!(trial.rows("out.jsonl").len(), 4);
    assert!(ended.stderr.contains("rows: in 4 (2 rejected), out 4"), "{}", ended.stderr);
}

#[test]
fn a_job_whose_source_rejects_all_of_its_input_unread_ends_with_an_error() {
    let lines = "{\"n\":\"a\"}\n".repeat(7);
    let checkpoints = "[checkpoint]\ndir = \"ck\"\n";
    for more in ["", checkpoints] {
        let trial = decoding(&lines, "", more);
        let ended = trial.run(&["--no-ui"]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("source `in`: all 7 records that it read were rejected"), "{}", ended.stderr);
        assert!(ended.stderr.contains("rows: in 0 (7 rejected), out 0"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("restart"), "trying again does not help: {}", ended.stderr);
    }
    // Read, or not all of it, or no input at all.
    decoding(&lines, "", BAD_RECORDS).run_ok(&[]);
    decoding(&format!("{lines}{{\"n\":1}}\n"), "", "").run_ok(&[]);
    decoding("", "", checkpoints).run_ok(&[]);
}

/// An error for all rows is not a reason to reject them.
#[test]
fn a_rejected_config_stops_the_job() {
    let ended = run_quietly(&poison(REJECT, REJECTED, &[&["a", "config"]]));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("rejects its config in batch 1: not this config"), "{}", ended.stderr);
}

#[test]
fn rows_that_are_too_many_for_one_call_are_all_processed() {
    let values: Vec<String> = (0..1000).map(|n| if n % 10 == 3 { "crowd".into() } else { format!("v{n}") }).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let trial = poison(REJECT, REJECTED, &[&values]);
    let ended = trial.run_ok(&[]);
    assert_eq!(self::values(&trial.rows("out.jsonl")), values);
    assert!(trial.rows("rejected.jsonl").is_empty());
    assert!(ended.stderr.contains("`s` counted rows = 1000"), "only calls whose rows go on count: {}", ended.stderr);
}

/// With few attempts, good rows are rejected too, but none is lost.
#[test]
fn when_attempts_run_out_the_rest_is_rejected() {
    let values: Vec<String> = (0..200).map(|n| if n % 20 == 7 { "panic".into() } else { format!("v{n}") }).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    for attempts in [1, 5, 30] {
        let stage = format!("{REJECT}\nlimits = {{ attempts = {attempts} }}");
        let trial = poison(&stage, REJECTED, &[&values]);
        trial.run_ok(&[]);
        let (good, rejected) = (trial.rows("out.jsonl"), trial.rows("rejected.jsonl"));
        let mut all = [self::values(&good), self::values(&rejected)].concat();
        let mut expected = values.clone();
        all.sort_unstable();
        expected.sort_unstable();
        assert_eq!(all, expected, "{attempts} attempts");
        let last = rejected.last().unwrap()["reason"].as_str().unwrap();
        assert!(last.contains("exceeded `limits.attempts`") && last.contains("not this row"), "{last}");
    }
}

/// It is called many times during the search, and panics in most of these calls.
#[test]
fn a_panic_of_a_plugin_is_logged_once() {
    let values: Vec<&str> = (0..200).map(|n| if n % 20 == 7 { "panic" } else { "" }).collect();
    let ended = poison(REJECT, REJECTED, &[&values, &["panic", "a"]]).run_ok(&[]);
    assert_eq!(ended.stderr.matches("not this row").count(), 2, "{}", ended.stderr);
    let trial = job("poison-aggregate", AGGREGATE, REJECT, REJECTED);
    trial.write("input.jsonl", "[[\"a\",1,\"\"],[\"a\",2,\"panic\"],[\"b\",3,\"panic\"]]\n");
    let ended = trial.run_ok(&[]);
    assert_eq!(trial.rows("rejected.jsonl").len(), 2);
    assert!(!ended.stderr.contains("not this row"), "{}", ended.stderr);
}

/// Which keys share a call depends on the number of workers, and so would the point at which the calls run out.
#[test]
fn the_point_where_attempts_run_out_does_not_depend_on_the_number_of_workers() {
    let row = |n: u32| {
        let word = if (n * 7).is_multiple_of(10) { "panic" } else { "" };
        format!("[\"k{}\",{n},\"{word}\",\"{word}\"]", n % 17)
    };
    let input = format!("[{}]\n", (0..500).map(row).collect::<Vec<_>>().join(","));
    for name in ["poison", "poison-update"] {
        let seen = ["1", "3"].map(|workers| {
            let stage = format!("key = \"k\"\n{REJECT}\nlimits = {{ attempts = 5 }}");
            let trial = job(name, "k = \"text\", n = \"int64\", word = \"text\", value = \"text\"", &stage, REJECTED);
            trial.write("input.jsonl", &input);
            trial.run_ok(&["--workers", workers]);
            let mut sinks = ["out.jsonl", "rejected.jsonl"].map(|sink| trial.rows(sink));
            sinks.iter_mut().for_each(|rows| rows.sort_by_key(Value::to_string));
            sinks
        });
        assert_eq!(seen[0], seen[1], "{name}");
    }
    // Also after a stage with a key, whose rows arrive in the order of its workers.
    let seen = ["1", "3"].map(|workers| {
        let stage = format!("from = \"last\"\n{REJECT}\nlimits = {{ attempts = 5 }}");
        let behind = "[stages.last]\nfrom = \"lines\"\nkey = \"k\"\naggregate = { value = \"last(value)\" }";
        let trial = poison(&stage, &format!("{behind}\n{REJECTED}"), &[]);
        let job = trial.text("job.toml").replacen("from = \"lines\"\nplugin", "plugin", 1);
        trial.write("job.toml", job.replace("value = \"text\"", "k = \"text\", value = \"text\""));
        let row = |n: u32| format!("[\"k{n}\",\"{}\"]", if n.is_multiple_of(9) { "panic" } else { "" });
        trial.write("input.jsonl", format!("[{}]\n", (0..100).map(row).collect::<Vec<_>>().join(",")));
        trial.run_ok(&["--workers", workers]);
        (trial.rows("out.jsonl").len(), trial.rows("rejected.jsonl").len())
    });
    assert_eq!(seen, [(88, 12); 2]);
}

const UPDATE: &str = "k = \"text\", n = \"int64\", word = \"text\"";

#[test]
fn a_group_that_fails_without_rows_stops_the_job() {
    let trial = job("poison-update", UPDATE, &format!("key = \"k\"\non = \"all\"\n{REJECT}"), REJECTED);
    trial.write("input.jsonl", "[[\"a\",1,\"alone\"],[\"b\",2,\"\"]]\n[[\"a\",3,\"panic\"],[\"b\",4,\"\"]]\n");
    let output = fails(&trial);
    assert!(output.contains("stage `s`: plugin poison-update 0.1.0 failed in batch 2: panicked at "), "{output}");
    assert!(output.contains("not without rows"), "{output}");
}

/// Only calls whose result is used count, also in groups that have guilty rows.
#[test]
fn counters_do_not_count_attempts() {
    let trial = job("poison-update", UPDATE, &format!("key = \"k\"\n{REJECT}"), REJECTED);
    let row = |n: u32| format!("[\"k{}\",{n},\"{}\"]", n % 7, if n.is_multiple_of(10) { "panic" } else { "" });
    trial.write("input.jsonl", format!("[{}]\n", (0..500).map(row).collect::<Vec<_>>().join(",")));
    let ended = trial.run_ok(&[]);
    assert!(ended.stderr.contains("`s` counted rows = 450"), "{}", ended.stderr);
    assert_eq!((trial.rows("out.jsonl").len(), trial.rows("rejected.jsonl").len()), (450, 50));
    // The last sum of a key is that of its good rows.
    let rows = trial.rows("out.jsonl");
    for key in 0..7_i64 {
        let last = rows.iter().rfind(|row| row["k"] == format!("k{key}")).unwrap();
        let sum: i64 = (0..500).filter(|n| n % 7 == key && n % 10 != 0).sum();
        assert_eq!(last["sum"], sum, "{last}");
    }
}

const AGGREGATE: &str = "k = \"text\", n = \"int64\", word = \"text\"";

/// By then a row is in an accumulator with others, and none can be identified as guilty.
#[test]
fn an_aggregate_that_fails_after_lift_stops_the_job() {
    for (word, message) in [("combine", "not these two"), ("lower", "not in the end")] {
        let trial = job("poison-aggregate", AGGREGATE, &format!("key = \"k\"\n{REJECT}"), REJECTED);
        trial.write("input.jsonl", format!("[[\"a\",1,\"\"],[\"a\",2,\"{word}\"],[\"b\",3,\"panic\"]]\n"));
        let output = fails(&trial);
        assert!(output.contains("stage `s`: plugin poison-aggregate 0.1.0 failed in batch 1: "), "{output}");
        assert!(output.contains(message), "{output}");
    }
}

#[test]
fn an_aggregate_counts_its_rows_once() {
    let trial = job("poison-aggregate", AGGREGATE, &format!("key = \"k\"\n{REJECT}"), REJECTED);
    trial.write("input.jsonl", "[[\"a\",1,\"\"],[\"a\",2,\"panic\"],[\"b\",3,\"\"]]\n[[\"a\",4,\"\"]]\n");
    let ended = trial.run_ok(&[]);
    assert!(ended.stderr.contains("`s` counted rows = 3"), "{}", ended.stderr);
}

#[test]
fn rejected_rows_of_a_batch_have_a_size_limit() {
    // Two workers share it, and each batch has its own.
    let batch = ["refuse"; 10];
    let trial = poison("on_error = \"reject\"\nlimits = { rejected = \"4KiB\" }", REJECTED, &[&batch, &batch]);
    trial.run_ok(&[]);
    assert_eq!(trial.rows("rejected.jsonl").len(), 20);
    let trial = poison("on_error = \"reject\"\nlimits = { rejected = \"4KiB\" }", REJECTED, &[&["refuse"; 100]]);
    let output = fails(&trial);
    let message = "error: stage `s`: the rejected rows of batch 1, with their reasons, take more than 4KiB; nothing of";
    assert!(output.starts_with(message) && output.contains("raise `limits.rejected` of the stage"), "{output}");
    assert!(trial.rows("rejected.jsonl").is_empty(), "nothing of the batch");
}

#[test]
fn a_backtrace_has_a_size_limit() {
    for (bytes, all) in [(40, false), (0, true)] {
        let stage = format!("on_error = \"reject\"\nlimits = {{ backtrace = {bytes} }}");
        let trial = poison(&stage, REJECTED, &[&["a", "panic"]]);
        trial.run_ok(&[]);
        let backtrace = &trial.rows("rejected.jsonl")[0]["backtrace"];
        assert_eq!(backtrace.is_null(), all, "{backtrace}");
        assert!(backtrace.as_str().is_none_or(|text| text.len() <= bytes + "…".len()), "{backtrace}");
    }
}

#[test]
fn a_flood_of_rows_that_trap_takes_no_more_memory_than_the_limit() {
    let trial = poison("on_error = \"reject\"\nlimits = { rejected = \"1MiB\" }", REJECTED, &[&["panic"; 20_000]]);
    let limited = format!("ulimit -d 1500000 && exec {} run job.toml", millstream().display());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &limited]).current_dir(trial.dir()).env("MILLSTREAM_LOG", "off");
    let ended = Process::start(&mut command).wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("take more than 1MiB; nothing of the batch is emitted"), "{}", ended.stderr);
}

#[test]
fn timers_of_a_key_are_limited_and_rows_beyond_the_limit_are_rejected() {
    let schema = "k = \"int64\", todo = \"text\", second = \"int64\"";
    let stage = "key = \"k\"\non_error = \"reject\"\nlimits = { timers_per_key = 3 }";
    let trial = job("alarm", schema, stage, REJECTED);
    let set = |key: i64, second: i64| serde_json::json!([key, "set", second]);
    let first = serde_json::json!([set(1, 100), set(2, 100), set(1, 101)]);
    // The third one fits; setting the same timer again does not add one; a cancelled timer frees its space.
    let second = serde_json::json!([set(1, 102), set(1, 103), set(2, 101)]);
    let third = serde_json::json!([[1, "cancel", 100]]);
    let fourth = serde_json::json!([set(1, 104)]);
    trial.write("input.jsonl", format!("{first}\n{second}\n{third}\n{fourth}\n"));
    for workers in ["1", "2"] {
        trial.run_ok(&["--workers", workers]);
        let rows = trial.rows("rejected.jsonl");
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((&row["k"], &row["second"]), (&1.into(), &103.into()));
        assert_eq!(row["reason"], "it sets more than 3 timers of one key");
    }
    let output = fails(&job_with_timers(schema, "limits = { timers = 3 }"));
    assert!(output.starts_with("error: stage `s`: more than 3 timers are set on one worker\n"), "{output}");
}

#[test]
fn the_state_of_a_stage_has_a_limit_per_worker() {
    let schema = "k = \"int64\", todo = \"text\", second = \"int64\"";
    let keys = |count: i64| (0..count).map(|key| serde_json::json!([key, "set", 100])).collect::<Vec<_>>();
    // Keys and timers count, and all that came before.
    let trial = job("alarm", schema, "key = \"k\"\nlimits = { state = \"256KiB\" }", "");
    let one = trial.text("job.toml").replace("workers = 2", "workers = 1");
    trial.write("job.toml", one);
    let batch = serde_json::to_string(&keys(500)).unwrap();
    trial.write("input.jsonl", format!("{batch}\n{batch}\n{batch}\n"));
    trial.run_ok(&[]);
    let more = serde_json::to_string(&keys(20_000)).unwrap();
    trial.write("input.jsonl", format!("{batch}\n{more}\n"));
    let output = fails(&trial);
    let message = "error: stage `s`: its state, with keys and timers, takes more than 256KiB on one worker\n";
    assert!(output.starts_with(message) && output.contains("Raise `limits.state` of the"), "{output}");
    // With several workers, each has fewer of these keys, no more than another stage may keep.
    let text = trial.text("job.toml").replace("256KiB", "16MiB");
    trial.write("job.toml", text);
    trial.run_ok(&["--workers", "2"]);
}

/// A job that sets four timers, of a key each.
fn job_with_timers(schema: &str, stage: &str) -> Trial {
    let trial = job("alarm", schema, &format!("key = \"k\"\n{stage}"), "");
    let rows: Vec<Value> = (0..4).map(|key| serde_json::json!([key, "set", 100])).collect();
    trial.write("input.jsonl", serde_json::to_string(&rows).unwrap() + "\n");
    let one = trial.text("job.toml").replace("workers = 2", "workers = 1");
    trial.write("job.toml", one);
    trial
}

#[test]
fn the_output_of_the_calls_of_a_batch_has_a_limit() {
    let big = "x".repeat(3000);
    let rows = [big.as_str(); 100];
    let trial = poison("limits = { batch_output = \"400KiB\" }", "", &[&rows, &rows]);
    trial.run_ok(&[]);
    let trial = poison("limits = { batch_output = \"100KiB\" }", "", &[&rows]);
    let output = fails(&trial);
    assert!(
        output.starts_with("error: stage `s`: plugin poison 0.1.0 returned more than 100 KiB in batch 1, in all"),
        "{output}"
    );
    assert!(output.contains("Raise `limits.batch_output` of the stage"), "{output}");
}

/// A plugin that rejects the rows of a key also rejects its timer, and a timer fires only once: the key is called again without
/// the rows.
#[test]
fn a_timer_fires_though_the_plugin_rejects_all_rows_of_its_key() {
    let schema = "k = \"text\", todo = \"text\", second = \"int64\"";
    for stage in ["key = \"k\"", "key = \"k\"\non_error = \"reject\"\nlimits = { timers_per_key = 3 }"] {
        let trial = job("alarm", schema, stage, REJECTED);
        let batches = [
            // Each key has a timer for the third second.
            r#"[["a","set",3],["b","set",3],["c","set",3],["d","set",3]]"#,
            "[]",
            // Some rows of b are rejected together with good ones, as all rows of a key are. Beyond its limit, d fails.
            r#"[["a","oops",1],["b","set",9],["b","oops",2],["c","set",4],["d","set",11],["d","set",12],["d","set",13],["d","set",14],["d","oops",3]]"#,
            "[]",
        ];
        trial.write("input.jsonl", batches.map(|batch| format!("{batch}\n")).concat());
        for workers in ["1", "2"] {
            trial.run_ok(&["--workers", workers]);
            let rows = trial.rows("out.jsonl");
            let mut rung: Vec<_> =
                rows.iter().map(|row| format!("{} {} {}", row["k"], row["second"], row["rows"])).collect();
            rung.sort();
            let expected = ["\"a\" 3 0", "\"b\" 3 0", "\"c\" 3 1", "\"c\" 4 0", "\"d\" 3 0"];
            assert_eq!(rung, expected, "{stage}");
            let mut refused: Vec<_> =
                trial.rows("rejected.jsonl").iter().map(|row| format!("{} {}", row["k"], row["second"])).collect();
            refused.sort();
            let all = ["\"a\" 1", "\"b\" 2", "\"b\" 9", "\"d\" 11", "\"d\" 12", "\"d\" 13", "\"d\" 14", "\"d\" 3"];
            assert_eq!(refused, all, "{stage}");
        }
    }
}
