//! Hostile components (`fault/*.wat`) in the program: whatever they do, it lives, reports the component and the cause, and loses
//! no row.

use millstream_tests::fault::{Case, FailurePoint, Rejects, cases};
use millstream_tests::{Ended, Process, Trial};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// No job may take longer, however busy the machine is.
const JOB_MAX: Duration = Duration::from_secs(60);
/// Programs that run at a time.
const AT_A_TIME: usize = 3;
/// The maximum output of a job, whatever its plugins print: they may log a quarter of this per second.
const SAID_BYTES_MAX: usize = 1 << 20;

const ROWS: [&str; 6] = ["good", "bad!", "fine", "x", "more", "well"];
const POISON: &str = "bad!";

/// Runs a check of every case, a few at a time; reports all failures.
fn check_all(check: impl Fn(&Case, &Path) -> Result<(), String> + Sync) {
    let only = std::env::var("CASE").unwrap_or_default();
    let all: Vec<Case> = cases().into_iter().filter(|case| case.name.contains(&only)).collect();
    assert!(!all.is_empty(), "there is no case `{only}`");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(message) = check(case, dir.path()) {
                        failed.lock().unwrap().push(format!("=== {}: {message}", case.name));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} cases failed\n{}", failed.len(), all.len(), failed.join("\n"));
}

/// A job with one stage that uses the component.
fn trial(case: &Case, component: &Path, on_error: &str) -> Trial {
    let inputs = match case.world.as_str() {
        "update" => "key = \"value\"",
        "cogroup" => "key = \"value\"\ncogroup = [\"others\"]",
        _ => "",
    };
    let trial = Trial::new(&format!(
        r#"
        clock = "manual"
        workers = 1
        [sources.lines]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ value = "text" }}
        [sources.others]
        kind = "queue"
        path = "others.jsonl"
        schema = {{ value = "text" }}
        [stages.bad]
        from = "lines"
        {inputs}
        plugin = "{}"
        limits = {{ {} }}
        on_error = "{on_error}"
        [sinks.out]
        from = "bad"
        kind = "queue"
        path = "out.jsonl"
        [sinks.refused]
        from = "bad.rejected"
        kind = "queue"
        path = "refused.jsonl"
        [sinks.rest]
        from = "others"
        kind = "queue"
        path = "rest.jsonl"
        "#,
        component.display(),
        case.limits(on_error == "reject"),
    ));
    let line = |rows: &[&str]| serde_json::to_string(rows).unwrap() + "\n";
    trial.write("input.jsonl", line(&ROWS[..4]) + &line(&ROWS[4..]));
    trial.write("others.jsonl", "[]\n[]\n");
    trial
}

fn component(case: &Case, dir: &Path) -> PathBuf {
    let path = dir.join(format!("{}.wasm", case.name));
    std::fs::write(&path, case.component()).expect("a file can be written");
    path
}

/// Runs the job, and looks at what every job must keep to.
fn run(case: &Case, dir: &Path, on_error: &str) -> Result<(Ended, Trial), String> {
    let trial = trial(case, &component(case, dir), on_error);
    let begun = Instant::now();
    let mut process = Process::start(trial.command(&["run", "job.toml"]).env("XDG_CACHE_HOME", dir.join("cache")));
    while !process.has_ended() {
        if begun.elapsed() > JOB_MAX {
            return Err(format!("it did not end within {JOB_MAX:?}: {}", process.stderr()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = process.wait();
    let printed = &ended.stderr;
    let wrong = match () {
        () if ended.code.is_none() => "a signal ended it",
        () if printed.contains("thread '") && printed.contains("panicked at") => "the host panicked",
        () if printed.contains("bug in Millstream") => "the host blames itself",
        () if printed.contains('\u{1b}') || printed.contains('\u{7}') => "it steers the terminal",
        () if printed.len() > SAID_BYTES_MAX => "it says too much",
        () => return Ok((ended, trial)),
    };
    Err(format!("{wrong} ({:?}): {}", ended.code, printed.chars().take(4000).collect::<String>()))
}

/// The job must have stopped with a message that names the cause, and nothing of the batch may be visible.
fn check_stopped(case: &Case, says: &str, ended: &Ended, trial: &Trial) -> Result<(), String> {
    let output = &ended.stderr;
    if !matches!(ended.code, Some(1 | 2)) {
        return Err(format!("it ended with {:?}, and must fail: {output}", ended.code));
    }
    let file = format!("{}.wasm", case.name);
    let named = output.contains("stage `bad`") || output.contains(&file);
    let placed = match case.point {
        FailurePoint::Call => output.contains("in batch 1"),
        _ => true,
    };
    if !output.contains(says) || !named || !placed {
        return Err(format!("it must say {says:?}, who and when: {output}"));
    }
    match trial.rows("out.jsonl").is_empty() && trial.rows("refused.jsonl").is_empty() {
        true => Ok(()),
        false => Err("rows of a batch that failed are committed".into()),
    }
}

/// Every row must be in the output or rejected, depending on the policy.
fn check_rows(case: &Case, ended: &Ended, trial: &Trial) -> Result<(), String> {
    if ended.code != Some(0) {
        return Err(format!("it ended with {:?}, and must go on: {}", ended.code, ended.stderr));
    }
    let (out, refused) = (trial.rows("out.jsonl"), trial.rows("refused.jsonl"));
    let rejects = |row: &str| match case.rejects {
        Rejects::All => true,
        Rejects::Poison => row == POISON,
        Rejects::None | Rejects::Stop => false,
    };
    let mut expected: (Vec<&str>, Vec<&str>) = ROWS.iter().partition(|row| rejects(row));
    let mut found: Vec<String> = refused.iter().map(value).collect();
    expected.0.sort_unstable();
    found.sort_unstable();
    if found != expected.0 {
        return Err(format!("rejected are {found:?}, and must be {:?}: {}", expected.0, ended.stderr));
    }
    if case.world == "aggregate" {
        let count: i64 = out.iter().filter_map(|row| row["n"].as_i64()).sum();
        return if count == expected.1.len() as i64 { Ok(()) } else { Err(format!("{count} rows are counted")) };
    }
    let mut came: Vec<String> = out.iter().map(value).collect();
    expected.1.sort_unstable();
    came.sort_unstable();
    if came != expected.1 {
        return Err(format!("there come {came:?}, and must {:?}: {}", expected.1, ended.stderr));
    }
    let reasons: Vec<&str> = refused.iter().filter_map(|row| row["reason"].as_str()).collect();
    match reasons.iter().find(|reason| !reason.contains(&case.says_with_fuel)) {
        Some(wrong) if case.point == FailurePoint::Call => {
            Err(format!("the reason must say {:?}: {wrong}", case.says_with_fuel))
        }
        _ => Ok(()),
    }
}

/// The only column of the input, also if the row is JSON.
fn value(row: &Value) -> String {
    let inner = row["row"].as_str().map(|text| serde_json::from_str::<Value>(text).expect("a row is JSON"));
    inner.as_ref().unwrap_or(row)["value"].as_str().unwrap_or("(no value)").to_owned()
}

#[test]
fn a_hostile_plugin_stops_the_job_with_a_report() {
    check_all(|case, dir| {
        let (ended, trial) = run(case, dir, "fail")?;
        match case.point {
            FailurePoint::Nowhere => check_rows(case, &ended, &trial),
            _ => check_stopped(case, &case.says, &ended, &trial),
        }
    });
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn a_hostile_plugin_loses_its_rows_and_no_others() {
        check_all(|case, dir| {
            let (ended, trial) = run(case, dir, "reject")?;
            match case.rejects {
                Rejects::Stop => check_stopped(case, &case.says_with_fuel, &ended, &trial),
                _ => check_rows(case, &ended, &trial),
            }
        });
    }
}
