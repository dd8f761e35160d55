//! A job that runs for hours: windows, a join, a pattern, accounts of keys and a Python plugin between Kafka topics, with a
//! checkpoint every second. In one copy of it, every minute the worker process or everything is killed. Another copy is left
//! alone, so that growth is visible. Meanwhile every output row is compared with the expected row, and memory, open files,
//! latency and checkpoints are measured.
//!
//! `make soak HOURS=10` runs it for that long and plots the measurements; `make test` runs a short form.

mod check;
mod feed;
mod job;
mod samples;

use feed::Feeder;
use job::JobCopy;
use millstream_tests::kafka::BrokerOptions;
use millstream_tests::{Broker, holds_within};
use samples::Samples;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_secs(16);
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
const KILL_EVERY: Duration = Duration::from_secs(60);
/// How long the last rows may take, on a busy machine.
const LAST_ROWS_TIME_MAX: Duration = Duration::from_secs(120);
/// From here on nothing may grow.
const WARM_UP: Duration = Duration::from_secs(600);

#[test]
fn a_job_runs_for_hours_loses_nothing_and_does_not_grow() {
    let hours = std::env::var("HOURS").ok().filter(|text| !text.is_empty());
    let time = hours.map_or(SHORT, |text| {
        let hours: f64 = text.parse().unwrap_or_else(|_| panic!("HOURS is {text:?}, and must be a number"));
        Duration::from_secs_f64(hours * 3600.0)
    });
    let out = std::env::var_os("SOAK_DIR").map(PathBuf::from);
    soak(time, out);
}

fn soak(time: Duration, out: Option<PathBuf>) {
    let (kill_every, sample_every) = (KILL_EVERY.min(time / 4), SAMPLE_EVERY.min(time / 8));
    let broker = Broker::with(BrokerOptions { settings: feed::broker_settings(), ..Default::default() });
    let feeder = Feeder::start(&broker);
    let mut jobs = [JobCopy::start(&broker, "steady"), JobCopy::start(&broker, "killed")];
    let mut samples = Samples::new(out);
    let began = Instant::now();
    let (mut next_kill, mut next_sample) = (kill_every, sample_every);
    let mut kills = 0;
    while began.elapsed() < time {
        for job in &mut jobs {
            job.check(&feeder);
        }
        if began.elapsed() >= next_sample {
            next_sample += sample_every;
            samples.add(began.elapsed(), &mut jobs);
        }
        if began.elapsed() >= next_kill {
            next_kill += kill_every;
            kills += 1;
            jobs[1].kill(kills % 2 == 0);
        }
    }
    let fed = feeder.end();
    for job in &mut jobs {
        let complete = holds_within(LAST_ROWS_TIME_MAX, || {
            job.check(&fed);
            job.is_complete(&fed)
        });
        assert!(complete, "{}", job.what_is_missing(&fed));
    }
    let report = format!(
        "{} rows in {:.1} hours, {kills} kills: all came out once\n{}",
        fed.rows(),
        time.as_secs_f64() / 3600.0,
        samples.report()
    );
    // Not with `println`, whose output is hidden if the test passes.
    let _ = std::io::stderr().write_all(report.as_bytes());
    if time > 3 * WARM_UP {
        samples.judge(WARM_UP);
    }
}
