//! Another version of a plugin in a job that is being rescaled.

use super::*;

/// The process that is to take over waits at `point` while the plugin is replaced, for any time, and responds. Then it continues.
fn upgraded_while_scaled(point: &str, state: &str) {
    let feeder = Feeder::start(varied_line);
    let more = format!("{state}\n{CHECKPOINT}");
    let trial = of("varied-update", feeder.port(), "key = \"word\"", &more);
    let mut command = trial.isolated_command(&["run", "job.toml", "--workers", "1"]);
    let faults = command.env("MILLSTREAM_TEST_FAULT", format!("hold@handover.{point}:1"));
    let mut job = Process::start(faults.env("MILLSTREAM_TEST_GO", trial.path("go")));
    job.wait_until("rows come out", |_| trial.batches("out.jsonl").len() > 20);
    let scaling = Process::start(&mut trial.isolated_command(&["scale", "job.toml", "--workers", "2"]));
    job.wait_for_stderr(&format!("a test wants this thread to wait at `handover.{point}`"));
    trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    let after = after(&status(&trial).expect("the job runs"));
    job.wait_until("rows of the new version come out", |_| trial.batches("out.jsonl").len() as u64 > after + 5);
    trial.write("go", "");
    let scaled = scaling.wait();
    assert_eq!(scaled.code, Some(0), "{point}: {}{}", scaled.stderr, job.stderr());
    let before = trial.batches("out.jsonl").len();
    job.wait_until("the new workers go on", |_| trial.batches("out.jsonl").len() > before + 20);
    let now = status(&trial).expect("the job runs");
    assert_eq!(now["workers"], 2, "{now}");
    feeder.pause();
    trial.run_command_ok(&["stop", "job.toml"]);
    assert_eq!(job.wait().code, Some(0), "{point}");
    let (raw, out) = (by_batch(&trial, "raw.jsonl"), by_batch(&trial, "out.jsonl"));
    assert_eq!(raw.keys().collect::<Vec<_>>(), out.keys().collect::<Vec<_>>());
    summed_since_the_start(&raw, &out, after);
    check_replay(&trial, after);
}

#[test]
fn a_plugin_is_replaced_before_the_next_processes_have_loaded() {
    upgraded_while_scaled("loading", "");
}

#[test]
fn a_plugin_is_replaced_when_the_next_processes_have_loaded() {
    upgraded_while_scaled("loaded", "");
}

#[test]
fn a_plugin_with_state_in_files_is_replaced_when_the_next_processes_have_loaded() {
    upgraded_while_scaled("loaded", "state = { memory = \"1MiB\", folder = \"cold\" }");
}
