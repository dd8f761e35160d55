//! Hostile components (`fault/*.wat`) through the program: whatever they do, it lives, says who did what, and loses no row.

use millstream_tests::fault::{Case, Place, Rejects, cases};
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
/// Bytes that a job may say, whatever its plugins say: they may log a quarter of this in a second.
const SAID_BYTES_MAX: usize = 1 << 20;

const ROWS: [&str; 6] = ["good", "bad!", "fine", "x", "more", "well"];
const POISON: &str = "bad!";

/// Runs a check of every case, a few at a time; says what failed of all of them.
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
                    if let Err(words) = check(case, dir.path()) {
                        failed.lock().unwrap().push(format!("=== {}: {words}", case.name));
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
    while !process.ended() {
        if begun.elapsed() > JOB_MAX {
            return Err(format!("it did not end within {JOB_MAX:?}: {}", process.stderr()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = process.wait();
    let said = &ended.stderr;
    let wrong = match () {
        () if ended.code.is_none() => "a signal ended it",
        () if said.contains("thread '") && said.contains("panicked at") => "the host panicked",
        () if said.contains("bug in Millstream") => "the host blames itself",
        () if said.contains('\u{1b}') || said.contains('\u{7}') => "it steers the terminal",
        () if said.len() > SAID_BYTES_MAX => "it says too much",
        () => return Ok((ended, trial)),
    };
    Err(format!("{wrong} ({:?}): {}", ended.code, said.chars().take(4000).collect::<String>()))
}

/// The job must have stopped with a message that names the cause, and nothing of the batch be seen.
fn check_stopped(case: &Case, says: &str, ended: &Ended, trial: &Trial) -> Result<(), String> {
    let told = &ended.stderr;
    if !matches!(ended.code, Some(1 | 2)) {
        return Err(format!("it ended with {:?}, and must fail: {told}", ended.code));
    }
    let file = format!("{}.wasm", case.name);
    let named = told.contains("stage `bad`") || told.contains(&file);
    let placed = match case.place {
        Place::Call => told.contains("in batch 1"),
        _ => true,
    };
    if !told.contains(says) || !named || !placed {
        return Err(format!("it must say {says:?}, who and when: {told}"));
    }
    match trial.rows("out.jsonl").is_empty() && trial.rows("refused.jsonl").is_empty() {
        true => Ok(()),
        false => Err("rows of a batch that failed are committed".into()),
    }
}

/// Every row must have come out or be rejected, as the policy says.
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
    let mut wanted: (Vec<&str>, Vec<&str>) = ROWS.iter().partition(|row| rejects(row));
    let mut found: Vec<String> = refused.iter().map(value).collect();
    wanted.0.sort_unstable();
    found.sort_unstable();
    if found != wanted.0 {
        return Err(format!("rejected are {found:?}, and must be {:?}: {}", wanted.0, ended.stderr));
    }
    if case.world == "aggregate" {
        let count: i64 = out.iter().filter_map(|row| row["n"].as_i64()).sum();
        return if count == wanted.1.len() as i64 { Ok(()) } else { Err(format!("{count} rows are counted")) };
    }
    let mut came: Vec<String> = out.iter().map(value).collect();
    wanted.1.sort_unstable();
    came.sort_unstable();
    if came != wanted.1 {
        return Err(format!("there come {came:?}, and must {:?}: {}", wanted.1, ended.stderr));
    }
    let reasons: Vec<&str> = refused.iter().filter_map(|row| row["reason"].as_str()).collect();
    match reasons.iter().find(|reason| !reason.contains(&case.says_with_fuel)) {
        Some(wrong) if case.place == Place::Call => {
            Err(format!("the reason must say {:?}: {wrong}", case.says_with_fuel))
        }
        _ => Ok(()),
    }
}

/// The one column of the input, also where the row is JSON.
fn value(row: &Value) -> String {
    let inner = row["row"].as_str().map(|text| serde_json::from_str::<Value>(text).expect("a row is JSON"));
    inner.as_ref().unwrap_or(row)["value"].as_str().unwrap_or("(no value)").to_owned()
}

#[test]
fn a_hostile_plugin_stops_the_job_with_its_story() {
    check_all(|case, dir| {
        let (ended, trial) = run(case, dir, "fail")?;
        match case.place {
            Place::Nowhere => check_rows(case, &ended, &trial),
            _ => check_stopped(case, &case.says, &ended, &trial),
        }
    });
}

/// What takes long: `make torture` runs it, `make test` does not.
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
