//! Millstream as a library: jobs that a program loads or builds.

use millstream::connectors::print::settings::PrintWrites;
use millstream::connectors::queue::QueueReads;
use millstream::connectors::queue::sink::settings::QueueWrites;
use millstream::connectors::rate::RateReads;
use millstream::connectors::socket::settings::SocketReads;
use millstream::error::Kind;
use millstream::internals::batch::types::ColumnType;
use millstream::job::spec::{ClockSpec, ColumnSpec, JobSpec, PluginSpec, SinkSpec, SourceSpec, StageSpec};
use millstream::run::{Job, Options, Stop};
use millstream_tests::{Trial, free_port, plugin, wait_until};
use serde_json::json;
use std::time::{Duration, Instant};

fn text(name: &str) -> Vec<ColumnSpec> {
    vec![ColumnSpec::new(name, ColumnType::Text)]
}

/// A word count in virtual time, in the directory of `trial`.
fn word_count(trial: &Trial) -> JobSpec {
    trial.write("input.jsonl", "[\"to be or\",\"not to be\"]\n");
    let split = PluginSpec::new(plugin("split-words")).config(json!({ "separator": " " }));
    JobSpec::new("word-count")
        .dir(trial.dir())
        .clock(ClockSpec::Manual)
        .workers(2)
        .source(SourceSpec::from_config("lines", QueueReads { path: "input.jsonl".into() }).schema(text("value")))
        .stage(StageSpec::plugin("words", ["lines"], split))
        .stage(StageSpec::aggregate("counts", ["words"], &[("n", "count(*)")]).unwrap().key(["word"]))
        .sink(SinkSpec::new("out", ["counts"], QueueWrites::new("out.jsonl")))
}

/// A job that runs until it is stopped.
fn endless(trial: &Trial) -> JobSpec {
    JobSpec::new("endless")
        .dir(trial.dir())
        .batch(Duration::from_millis(20))
        .workers(1)
        .source(SourceSpec::from_config("numbers", RateReads { rows_per_second: 1000, rows_max: None }))
        .sink(SinkSpec::new("out", ["numbers"], QueueWrites::new("out.jsonl")))
}

fn rejection<T>(result: millstream::error::Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => {
            assert_eq!(error.kind, Kind::Job, "{error}");
            error.to_string()
        }
    }
}

#[test]
fn a_job_that_a_program_builds_runs_to_its_end() {
    let trial = Trial::new("");
    let mut job = Job::new(word_count(&trial), Options::default());
    job.start().unwrap();
    assert!(job.await_termination(None).unwrap());
    let mut counts: Vec<(String, i64)> = trial
        .rows("out.jsonl")
        .iter()
        .map(|row| (row["word"].as_str().unwrap().to_owned(), row["n"].as_i64().unwrap()))
        .collect();
    counts.sort();
    assert_eq!(counts, [("be".into(), 2), ("not".into(), 1), ("or".into(), 1), ("to".into(), 2)]);
}

#[test]
fn a_job_from_a_file_with_values_replaced() {
    let trial = Trial::new(
        "clock = \"manual\"\n[sources.in]\nkind = \"queue\"\npath = \"none.jsonl\"\nschema = { v = \"int64\" }\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
    );
    trial.write("input.jsonl", "[1,2]\n");
    let options = Options { sets: vec![("sources.in.path".into(), "input.jsonl".into())], ..Options::default() };
    let mut job = Job::load(&trial.path("job.toml"), options).unwrap();
    job.start().unwrap();
    assert!(job.await_termination(Some(Duration::from_secs(60))).unwrap());
    assert_eq!(trial.rows("out.jsonl"), [json!({"v": 1}), json!({"v": 2})]);
}

#[test]
fn a_job_is_stopped_gracefully_or_immediately() {
    for how in [Stop::Graceful, Stop::Now] {
        let trial = Trial::new("");
        let mut job = Job::new(endless(&trial), Options::default());
        job.start().unwrap();
        wait_until("a batch is committed", || !trial.rows("out.jsonl").is_empty());
        assert!(!job.await_termination(Some(Duration::ZERO)).unwrap(), "it goes on");
        job.stop(how).unwrap();
        assert!(job.await_termination(Some(Duration::from_secs(10))).unwrap(), "it ends");
        assert!(job.await_termination(None).unwrap(), "and stays so");
        let numbers = trial.rows("out.jsonl");
        assert!(numbers.iter().enumerate().all(|(place, row)| row["value"] == place), "no row is lost or twice");
    }
}

#[test]
fn an_expired_timeout_is_reported_and_changes_nothing() {
    let trial = Trial::new("");
    let mut job = Job::new(endless(&trial), Options::default());
    job.start().unwrap();
    let began = Instant::now();
    assert!(!job.await_termination(Some(Duration::from_millis(100))).unwrap());
    assert!(began.elapsed() >= Duration::from_millis(100));
    let before = trial.batches("out.jsonl").len();
    wait_until("it goes on", || trial.batches("out.jsonl").len() > before);
    job.stop(Stop::Now).unwrap();
    assert!(job.await_termination(Some(Duration::MAX)).unwrap(), "a time without an end is none");
}

#[test]
fn a_failing_job_returns_its_error_each_time() {
    let trial = Trial::new("");
    let bad = PluginSpec::new(plugin("misbehave")).config(json!({ "how": "error" }));
    let mut spec = word_count(&trial);
    spec.stages = vec![StageSpec::plugin("counts", ["lines"], bad)];
    let mut job = Job::new(spec, Options::default());
    job.start().unwrap();
    for _ in 0..2 {
        let error = job.await_termination(None).unwrap_err();
        assert_eq!(error.kind, Kind::Plugin);
        let message = "stage `counts`: plugin misbehave 0.1.0 failed in batch 1: these rows are not to my liking\n  \
                     the row: value = to be or (1 of 2 in the call)";
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn calls_at_the_wrong_time_are_rejected() {
    let trial = Trial::new("");
    let mut job = Job::new(endless(&trial), Options::default());
    let early = "the job `endless` is not started; call `start` first";
    assert_eq!(rejection(job.await_termination(None)), early);
    assert_eq!(rejection(job.stop(Stop::Now)), early);
    job.start().unwrap();
    assert_eq!(rejection(job.start()), "the job `endless` is already started; a job can be started once");
    let late = |what: &str| format!("cannot {what}: the job `endless` is already started; do that before `start`");
    assert_eq!(
        rejection(job.add_source(SourceSpec::from_config("more", RateReads { rows_per_second: 1, rows_max: None }))),
        late("add a source")
    );
    assert_eq!(rejection(job.add_stage(StageSpec::union("both", ["numbers"]))), late("add a stage"));
    assert_eq!(
        rejection(job.add_sink(SinkSpec::new("screen", ["numbers"], PrintWrites::default()))),
        late("add a sink")
    );
    job.stop(Stop::Now).unwrap();
    assert!(job.await_termination(None).unwrap());
    assert_eq!(rejection(job.start()), "the job `endless` is already started; a job can be started once");
}

#[test]
fn parts_can_be_added_before_the_start() {
    let trial = Trial::new("");
    trial.write("input.jsonl", "[\"a\"]\n");
    let mut job = Job::new(JobSpec::new("grown").dir(trial.dir()).clock(ClockSpec::Manual), Options::default());
    job.add_source(SourceSpec::from_config("in", QueueReads { path: "input.jsonl".into() }).schema(text("v"))).unwrap();
    let output = rejection(job.start());
    assert!(output.contains("the job has no sink, so its rows go nowhere; add one"), "{output}");
    job.add_sink(SinkSpec::new("out", ["same"], QueueWrites::new("out.jsonl"))).unwrap();
    let output = rejection(job.start());
    assert!(output.contains("sink `out`: `from` names `same`, which is neither a source nor a stage"), "{output}");
    job.add_stage(StageSpec::union("same", ["in"])).unwrap();
    job.start().unwrap();
    assert!(job.await_termination(None).unwrap());
    assert_eq!(trial.rows("out.jsonl"), [json!({"v": "a"})]);
}

/// Two jobs in one process are independent of each other.
#[test]
fn several_jobs_run_in_one_process() {
    let (endless_trial, count_trial) = (Trial::new(""), Trial::new(""));
    let mut first = Job::new(endless(&endless_trial), Options::default());
    first.start().unwrap();
    let mut second = Job::new(word_count(&count_trial), Options { workers: Some(1), ..Options::default() });
    second.start().unwrap();
    assert!(second.await_termination(None).unwrap());
    assert!(!first.await_termination(Some(Duration::ZERO)).unwrap());
    first.stop(Stop::Graceful).unwrap();
    assert!(first.await_termination(None).unwrap());
}

#[test]
fn an_unreachable_source_does_not_delay_the_stop() {
    let trial = Trial::new("");
    let spec = JobSpec::new("alone")
        .dir(trial.dir())
        .source(SourceSpec::from_config("lines", SocketReads::lines(format!("127.0.0.1:{}", free_port()))))
        .sink(SinkSpec::new("out", ["lines"], QueueWrites::new("out.jsonl")));
    let mut job = Job::new(spec, Options::default());
    job.start().unwrap();
    job.stop(Stop::Graceful).unwrap();
    assert!(job.await_termination(Some(Duration::from_secs(10))).unwrap());
}
