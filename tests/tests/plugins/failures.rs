//! Plugins that fail or break the rules: each stops the job with exit code 1 and a message that names stage, plugin, version and
//! batch, and has the guest's own message.

use millstream_tests::{Ended, Expected, Trial, plugin};

/// A job whose stage `bad` uses the plugin `misbehave`; `stage` holds more keys of it.
fn job(how: &str, stage: &str) -> Trial {
    let plugin = plugin("misbehave");
    let trial = Trial::new(&format!(
        r#"
        clock = "manual"
        workers = 2
        [sources.lines]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ value = "text" }}
        [stages.bad]
        from = "lines"
        plugin = "{}"
        config = {{ how = "{how}" }}
        {stage}
        [sinks.out]
        from = "bad"
        kind = "queue"
        path = "out.jsonl"
        "#,
        plugin.display()
    ));
    trial.write("input.jsonl", "[\"first\",\"second\"]\n");
    trial
}

/// Runs a job that fails, with nothing else on standard error.
fn fails(trial: &Trial) -> String {
    let ended = run_quietly(trial);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(trial.rows("out.jsonl").is_empty(), "a failed batch is not committed");
    ended.stderr
}

fn run_quietly(trial: &Trial) -> Ended {
    millstream_tests::Process::start(trial.command(&["run", "job.toml"]).env("MILLSTREAM_LOG", "off")).wait()
}

const WHO: &str = "error: stage `bad`: plugin misbehave 0.1.0";

#[test]
fn a_panic_reports_its_message_location_and_backtrace() {
    let output = fails(&job("panic", ""));
    assert!(output.starts_with(&format!("{WHO} failed in batch 1: panicked at ")), "{output}");
    assert!(output.contains("src/lib.rs:") && output.contains("I give up on batch 1"), "{output}");
    assert!(output.contains("\n  backtrace, innermost call first:\n    "), "{output}");
    assert!(output.contains("\n  the row: value = first (1 of 2 in the call)\n"), "{output}");
    assert!(output.contains("misbehave::give_up"), "the function that panicked is in the backtrace: {output}");
    assert!(output.ends_with("\n  Fix the plugin; `millstream test` runs its cases.\n"), "{output}");
}

#[test]
fn a_loop_meets_the_time_limit() {
    let output = fails(&job("loop", "limits = { time = \"100ms\" }"));
    assert!(
        output.starts_with(&format!("{WHO} failed in batch 1: it ran longer than its time limit of 100ms\n")),
        "{output}"
    );
    assert!(output.contains("misbehave::forever"), "the function that loops is in the backtrace: {output}");
    assert!(output.contains("\n  The call had 2 rows. It was the first of the batch on this worker.\n"), "{output}");
    assert!(output.contains("\n  Raise `limits.time` of the stage (the limit of one call) and restart"), "{output}");
    assert!(output.ends_with(". Or fix the plugin if it loops endlessly.\n"), "{output}");
}

/// A job whose plugin works for a while in each call, with this many waiting lines.
fn backlog(lines: usize, stage: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        workers = 1
        [sources.lines]
        kind = "file"
        path = "input.txt"
        schema = {{ value = "text" }}
        format = "text"
        [stages.bad]
        from = "lines"
        plugin = "{}"
        {stage}
        [sinks.out]
        from = "bad"
        kind = "files"
        path = "out"
        format = "text"
        [checkpoint]
        dir = "checkpoint"
        "#,
        plugin("misbehave").display()
    ));
    trial.write("input.txt", "x\n".repeat(lines));
    trial
}

fn lines_out(trial: &Trial) -> usize {
    let files = std::fs::read_dir(trial.path("out")).into_iter().flatten().flatten().map(|file| file.path());
    let parts = files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-")));
    parts.map(|path| std::fs::read_to_string(path).expect("a part").lines().count()).sum()
}

#[test]
fn a_time_limit_does_not_depend_on_the_backlog() {
    // Twenty calls of a batch, each far within the limit, also on a busy machine, and beyond it together.
    let lines = 20 * 16_384;
    let trial = backlog(lines, "config = { how = \"slow\", turns = 250_000_000 }\nlimits = { time = \"3s\" }");
    trial.run_ok(&["--until-idle"]);
    assert_eq!(lines_out(&trial), lines);
}

#[test]
fn a_planned_batch_that_took_too_long_is_replayed_with_the_current_limits() {
    let lines = 3 * 16_384;
    let trial = backlog(lines, "config = { how = \"slow\", turns = 100_000_000 }\nlimits = { time = \"10ms\" }");
    // A call may fail before the plan of its batch is durable, and then there is no plan: this start ends once there is one.
    trial.killed("plan.durable:1", &["--until-idle", "--set", "stages.bad.limits.time=2m"]);
    for arguments in [vec![], vec!["--set", "sources.lines.rows_per_batch_max=10"]] {
        let ended = trial.run(&[&["--until-idle"], &*arguments].concat());
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("it ran longer than its time limit of 10ms"), "{}", ended.stderr);
        assert!(ended.stderr.contains("The call had 16384 rows."), "{}", ended.stderr);
        assert!(ended.stderr.contains("planned batches are replayed"), "{}", ended.stderr);
    }
    trial.run_ok(&["--until-idle", "--set", "stages.bad.limits.time=2m"]);
    assert_eq!(lines_out(&trial), lines, "each line once");
}

#[test]
fn memory_meets_its_limit() {
    let output = fails(&job("memory", "limits = { memory = \"32MiB\" }"));
    assert!(
        output.starts_with(&format!("{WHO} failed in batch 1: it needs more memory than its limit of 32 MiB\n")),
        "{output}"
    );
    assert!(output.ends_with("\n  Raise `limits.memory` of the stage, or make batches smaller.\n"), "{output}");
}

#[test]
fn output_meets_its_limit() {
    let output = fails(&job("output", "limits = { output = \"1MiB\" }"));
    assert!(
        output.starts_with(&format!("{WHO} failed in batch 1: it returned more than its output limit of 1 MiB\n")),
        "{output}"
    );
    assert!(output.ends_with("\n  Raise `limits.output` of the stage, or make batches smaller.\n"), "{output}");
    let output = fails(&job("output", "limits = { output = \"16MiB\" }"));
    assert!(output.contains("it returned more than the 1 MiB that its input of "), "{output}");
    assert!(output.contains("\n  Raise `limits.expansion` of the stage, or fix the plugin"), "{output}");
    let enough = job("output", "limits = { output = \"16MiB\", expansion = 1_000_000 }");
    enough.run_ok(&[]);
    assert_eq!(enough.rows("out.jsonl")[1]["value"].as_str().unwrap().len(), 4 << 20);
}

#[test]
fn a_recursion_without_end_overflows_the_stack_of_the_guest_alone() {
    // Worker threads have room for the largest stack that a job may configure.
    for stack in ["64KiB", "8MiB"] {
        let output = fails(&job("recurse", &format!("limits = {{ stack = \"{stack}\" }}")));
        assert!(
            output
                .starts_with(&format!("{WHO} failed in batch 1: its call stack overflowed: it recurses too deeply\n"))
                || output.starts_with(&format!("{WHO} failed in batch 1: it trapped: out of bounds memory access\n")),
            "{stack}: {output}"
        );
    }
}

#[test]
fn a_returned_error_stops_the_job() {
    let output = fails(&job("error", ""));
    let row = "  the row: value = first (1 of 2 in the call)";
    assert_eq!(output, format!("{WHO} failed in batch 1: these rows are not to my liking\n{row}\n"));
}

#[test]
fn a_failure_in_a_later_batch_names_it_and_keeps_what_was_committed() {
    let trial = job("error", "");
    trial.write("input.jsonl", "[]\n[]\n[\"x\"]\n");
    let ended = run_quietly(&trial);
    assert_eq!(ended.code, Some(1));
    let row = "  the row: value = x (1 of 1 in the call)";
    assert_eq!(ended.stderr, format!("{WHO} failed in batch 3: these rows are not to my liking\n{row}\n"));
    let committed: Vec<u64> = trial.batches("out.jsonl").iter().map(|batch| batch["batch"].as_u64().unwrap()).collect();
    assert!([1, 2].starts_with(&committed), "{committed:?}");
}

#[test]
fn output_that_is_not_a_batch_is_rejected() {
    for (how, message) in [
        ("not-utf8", "column `value`"),
        ("offsets", "column `value`"),
        ("no-offsets", "column `value`"),
        ("rows", "column `value`"),
        ("columns", "column"),
        ("rejection", "row 2"),
    ] {
        let output = fails(&job(how, ""));
        assert!(output.starts_with(&format!("{WHO} returned invalid output in batch 1: ")), "{how}: {output}");
        assert!(output.contains(message), "{how}: {output}");
        assert!(output.ends_with("\n  Fix the plugin, or the SDK that it was built with.\n"), "{how}: {output}");
    }
}

#[test]
fn failures_of_describe_come_before_anything_runs() {
    let mut expected = Expected::of(file!(), "failures_of_describe_come_before_anything_runs");
    for (how, code) in [("describe-panic", 1), ("describe-twice", 1), ("refuse-config", 2), ("refuse-input", 2)] {
        let trial = job(how, "");
        let ended = run_quietly(&trial);
        assert_eq!(ended.code, Some(code), "{how}: {}", ended.stderr);
        expected.add(how, &ended.stderr);
        assert!(!trial.path("out.jsonl").exists(), "{how}: nothing was started");
    }
    expected.check_parts();
}

#[test]
fn rows_refused_by_a_plugin_are_rejected_rows() {
    let trial = job("reject", "");
    let ended = trial.run_ok(&[]);
    assert!(
        ended.stderr.contains("`bad` rejected a row in batch 1: row 0 is bad; the row: \"first\""),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("`bad` rejected 2 rows that nothing read"), "{}", ended.stderr);
}

#[test]
fn log_lines_are_limited_truncated_and_harmless() {
    let logged = |ended: &Ended| ended.stderr.lines().filter(|line| line.contains(" line ")).count();
    let ended = job("log", "limits = { log = \"10KiB\" }").run_ok(&[]);
    assert_eq!(logged(&ended), 2, "10 KiB are two lines that are cut at 4 KiB: {}", ended.stderr);
    let trial = job("log", "limits = { log = \"1MiB\" }");
    let ended = trial.run_ok(&[]);
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.contains(" line ")).collect();
    assert_eq!(lines.len(), 100, "of 1000 lines");
    assert!(lines.iter().all(|line| line.len() < 5000 && !line.contains('\u{1b}')));
    assert!(lines[0].contains("bad") && lines[0].contains("misbehave 0.1.0"), "{}", lines[0]);
    assert!(ended.stderr.contains("900 log lines were dropped"), "{}", &ended.stderr[ended.stderr.len() - 1000..]);
}

#[test]
fn counters_are_summed_and_shown() {
    let trial = job("count", "");
    trial.write("input.jsonl", "[\"a\",\"b\"]\n[\"c\"]\n");
    let ended = trial.run_ok(&[]);
    assert!(ended.stderr.contains("`bad` counted rows_seen = 3"), "{}", ended.stderr);
}

/// Also if an instance is kept from batch to batch.
#[test]
fn a_kept_instance_works_like_a_new_one() {
    let trial = job("well", "instance = \"worker\"");
    trial.write("input.jsonl", "[\"a\"]\n[\"b\",\"c\"]\n");
    trial.run_ok(&[]);
    let rows: Vec<_> = trial.rows("out.jsonl").iter().map(|row| row["value"].as_str().unwrap().to_owned()).collect();
    assert_eq!(rows, ["a", "b", "c"]);
}

#[test]
fn too_many_instances_are_reported_before_anything_runs() {
    let kept = |workers: u32| {
        let trial = job("", "instance = \"worker\"");
        let text = trial.text("job.toml").replace("workers = 2", &format!("workers = {workers}"));
        trial.write("job.toml", text);
        trial
    };
    let output = kept(257).rejected_message(&["validate", "job.toml"]);
    let message = "stage `bad` with instance = \"worker\" would keep 257 plugin instances, 1 on each of 257 workers, \
                 but a process can hold 256";
    assert!(output.contains(message) && output.contains("(`workers = 256`)"), "{output}");
    assert!(
        kept(2).rejected_message(&["run", "job.toml", "--workers", "300"]).contains("would keep 300 plugin instances")
    );
    assert_eq!(
        millstream_tests::Process::start(&mut kept(256).command(&["validate", "job.toml"])).wait().code,
        Some(0)
    );
}
