//! All hostile components in one process, one after the other, several times. The process lives, its memory and its threads are
//! freed, each component fails as expected, and a well-behaved plugin next to them returns its usual result.

use super::calls;
use arrow::array::RecordBatch;
use millstream::error::{Error, Result};
use millstream::internals::plugin::{Caller, PluginHost, StageUse};
use millstream::job::spec::{OnError, PluginLimits};
use millstream_tests::fault::{Case, FailurePoint, Rejects, cases, good_plugin};
use millstream_tests::{Process, alone, is_alone, resident_bytes, threads};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;
/// By then both kinds of code are compiled, and the instance slots have been used: they keep some memory.
const WARM_ROUNDS: usize = 5;
/// The maximum growth of the process from then to the last round: allocators keep some memory.
const GROWTH_BYTES_MAX: u64 = 8 << 20;
const PROCESS_MAX: Duration = Duration::from_secs(300);

fn survive() {
    let dir = tempfile::tempdir().unwrap();
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.in_process).collect();
    for case in &cases {
        std::fs::write(file(case, dir.path()), case.component()).unwrap();
    }
    let host = PluginHost::new().unwrap();
    let mut well = Well::new(&host, dir.path());
    // A host does not keep unused plugins; the test measures calls, not repeated compilation.
    let load = |case: &Case, on_error| host.load(&file(case, dir.path()), &calls::options(on_error)).ok();
    let both = |case| [load(case, OnError::Fail), load(case, OnError::Reject)];
    let kept: Vec<_> = cases.iter().flat_map(both).flatten().collect();
    let (mut failed, mut resident) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let begun = Instant::now();
        let on_error = if round % 2 == 0 { OnError::Reject } else { OnError::Fail };
        for case in &cases {
            if let Err(strings) = check(&host, case, dir.path(), on_error) {
                failed.push(format!("=== {}, round {round}: {strings}", case.name));
            }
            well.check(&case.name);
        }
        resident.push((resident_bytes(), threads()));
        eprintln!("round {round}: {} MiB, {} threads, {:?}", resident_bytes() >> 20, threads(), begun.elapsed());
    }
    drop(kept);
    assert!(failed.is_empty(), "{} of {} failed\n{}", failed.len(), cases.len() * ROUNDS, failed.join("\n"));
    let (warm, last) = (resident[WARM_ROUNDS - 1], resident[ROUNDS - 1]);
    assert!(last.0 <= warm.0 + GROWTH_BYTES_MAX, "memory does not come back: {resident:?}");
    assert!(last.1 <= warm.1 + 1, "threads do not end: {resident:?}");
}

fn file(case: &Case, dir: &Path) -> std::path::PathBuf {
    dir.join(format!("{}.wasm", case.name))
}

/// A plugin that behaves, in the same process all the time.
struct Well {
    caller: Caller,
    rows: RecordBatch,
}

impl Well {
    fn new(host: &PluginHost, dir: &Path) -> Well {
        let path = dir.join("well.wasm");
        // Without the bad row: it is as hostile as the others then.
        let rows = calls::text().slice(2, 2);
        std::fs::write(&path, good_plugin("transform")).unwrap();
        let plugin = host.load(&path, &calls::options(OnError::Fail)).unwrap();
        let stage = StageUse::new("well");
        let description = calls::describe(&plugin, &stage).unwrap();
        Well { caller: plugin.caller(stage, &description), rows }
    }

    fn check(&mut self, neighbor: &str) {
        let processed = self.caller.process(calls::CONTEXT, &self.rows);
        let processed = processed.unwrap_or_else(|error| panic!("beside {neighbor}: {error}"));
        assert!(processed.rows == self.rows && processed.rejections.is_empty(), "beside {neighbor}");
    }
}

/// Loads, describes and calls, and compares what came of it with what must.
fn check(host: &PluginHost, case: &Case, dir: &Path, on_error: OnError) -> Result<(), String> {
    let says = if on_error == OnError::Reject { &case.says_with_fuel } else { &case.says };
    let expected = match (case.point, case.rejects, on_error) {
        (FailurePoint::Nowhere, Rejects::Poison, _) | (_, Rejects::Poison, OnError::Reject) => Ok(vec![1]),
        (_, Rejects::All, OnError::Reject) => Ok(vec![0, 1, 2, 3]),
        (FailurePoint::Nowhere, ..) => Ok(vec![]),
        _ => Err(()),
    };
    match (call_plugin(host, case, dir, on_error), expected) {
        (Ok(refused), Ok(expected)) if refused == expected => Ok(()),
        (Ok(refused), expected) => Err(format!("refused are {refused:?}, and must be {expected:?}")),
        (Err(error), Err(())) if error.message.contains(says.as_str()) => Ok(()),
        (Err(error), Err(())) => Err(format!("it must say {says:?}: {error}")),
        (Err(error), Ok(_)) => Err(format!("it must not fail: {error}")),
    }
}

/// The rejected rows.
fn call_plugin(host: &PluginHost, case: &Case, dir: &Path, on_error: OnError) -> Result<Vec<u32>> {
    let plugin = host.load(&file(case, dir), &calls::options(on_error))?;
    let stage = StageUse { limits: limits(case, on_error), on_error, ..StageUse::new("bad") };
    let description = calls::describe(&plugin, &stage)?;
    let mut caller = plugin.caller(stage, &description);
    let called = calls::call(&plugin, &mut caller, &description, &calls::text());
    check_traps(case, on_error, &caller.account().costs().traps)?;
    Ok(called?.refused)
}

/// The failed calls must be counted under the word that the case has for them.
fn check_traps(case: &Case, on_error: OnError, found: &BTreeMap<String, u64>) -> Result<()> {
    let Some(word) = case.trap.as_deref().filter(|_| case.point == FailurePoint::Call) else { return Ok(()) };
    let word = if on_error == OnError::Reject && word == "time" { "fuel" } else { word };
    match found.contains_key(word) {
        true => Ok(()),
        false => Err(Error::job(format!("failed calls are counted as {found:?}, and must be as `{word}`"))),
    }
}

/// The limits of a case, which it writes as job files do. Time is shorter, so that loops do not take long.
fn limits(case: &Case, on_error: OnError) -> PluginLimits {
    let mut limits = PluginLimits::default();
    for (key, value) in &case.limits {
        let text = value.trim_matches('"');
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "MiB" => 1 << 20,
            "s" => 1000,
            _ => 1,
        };
        let number = digits.parse::<u64>().unwrap() * unit;
        match key.as_str() {
            "time" if number < 1000 => limits.time_max = Duration::from_millis(100),
            "time" => limits.time_max = Duration::from_millis(number),
            "fuel" => limits.fuel_max = (on_error == OnError::Reject).then_some(number),
            "memory" => limits.memory_bytes_max = number,
            "output" => limits.output_bytes_max = number,
            "rows" => limits.output_rows_max = number,
            "expansion" => limits.expansion_max = number,
            "log_lines" => limits.log_lines_per_second_max = number,
            other => panic!("{}: what is the limit `{other}`?", case.name),
        }
    }
    limits
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn hostile_plugins_in_one_process_leave_nothing_behind() {
        if is_alone() {
            return survive();
        }
        let dir = tempfile::tempdir().unwrap();
        let test = "plugins::survival::long::hostile_plugins_in_one_process_leave_nothing_behind";
        let ended = Process::start(&mut alone(test, dir.path())).wait_within(PROCESS_MAX);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        // A name that no test has would pass as well.
        assert!(ended.stdout.contains("1 passed"), "{}", ended.stdout);
        let output = ended.stderr.lines().filter(|line| line.starts_with("round "));
        output.for_each(|line| eprintln!("{line}"));
    }
}
