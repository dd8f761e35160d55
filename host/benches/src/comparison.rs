//! Compares a job with a plain program that does the same work, in turn in the same run: rows/s, and processor time per row. `ROWS` in the
//! environment sets another number of rows for all of them.

use crate::measure::{children_cpu, figure, median, millstream, show_command};
use crate::rates;
use crate::rows::delete_state;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often both run, after one warm-up.
const ROUNDS: usize = 3;
/// A run that takes longer has failed: each takes seconds.
const RUN_TIME_MAX: Duration = Duration::from_secs(60);

/// The cost of all rows: seconds, and seconds of processor time of the program that reads or writes them.
pub type Cost = (f64, f64);

/// Returns the number of rows: `ROWS`, or the usual number.
pub fn rows_or(usual: usize) -> usize {
    std::env::var("ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(usual)
}

/// Measures another program, with this file as its input.
pub fn run_plain(command: &mut Command, input: Option<&Path>) -> Option<Cost> {
    let input = input.map_or_else(Stdio::null, |path| File::open(path).expect("a file").into());
    let (before, began) = (children_cpu(), Instant::now());
    let mut child = command.stdin(input).stdout(Stdio::null()).spawn().expect("a program starts");
    let ended = loop {
        match child.try_wait().expect("a child") {
            Some(ended) => break ended,
            None if began.elapsed() > RUN_TIME_MAX => {
                println!("  not done in {} s: {command:?}", RUN_TIME_MAX.as_secs());
                child.kill().and_then(|()| child.wait()).expect("it ends");
                return None;
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    assert!(ended.success(), "{command:?}: {ended:?}");
    Some((seconds, children_cpu() - before))
}

/// Measures a job over this number of rows, starting from scratch.
pub fn run_job(path: &Path, rows: usize) -> Option<Cost> {
    delete_state(path);
    run_continued(path, rows)
}

/// Measures a job over this number of rows, continuing after earlier ones.
pub fn run_continued(path: &Path, rows: usize) -> Option<Cost> {
    run_plain(&mut millstream(&["run", &path.to_string_lossy(), "--workers", "1", "--limit", &rows.to_string()]), None)
}

/// Measures this program as one that only does this part of the work, so that its processor time is counted like a job's.
pub fn run_own(part: &str, arguments: &[&str]) -> Option<Cost> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    run_plain(command.arg(format!("--{part}")).args(arguments), None)
}

/// A comparison.
pub struct Comparison<'a> {
    /// The connector as `host/connectors/notes/rates.md` names it, and whether it is a source or a sink.
    pub connector: (&'a str, &'a str),
    pub rows: usize,
    /// Describes the plain program.
    pub baseline: &'a str,
    /// The job's text.
    pub job: &'a str,
}

impl Comparison<'_> {
    /// Measures both in turn, prints the result, and stores it. Both get the number of the round, from zero.
    pub fn run(&self, plain: impl FnMut(usize) -> Option<Cost>, job: impl FnMut(usize) -> Option<Cost>) {
        if let Some((rate, ratio)) = self.measure(plain, job) {
            rates::keep(self.connector, rate, ratio, self.baseline);
        }
    }

    /// Measures without storing: returns the rows/s of the job, and the ratio to the plain program.
    pub fn measure(
        &self,
        mut plain: impl FnMut(usize) -> Option<Cost>,
        mut job: impl FnMut(usize) -> Option<Cost>,
    ) -> Option<(f64, f64)> {
        let (connector, head) = self.connector;
        println!("\n{connector}, {head}: a job beside {}", self.baseline);
        show_command(&format!("millstream run job.toml --workers 1 --limit {}", self.rows), self.job);
        let (mut plains, mut jobs) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (Some(of_plain), Some(of_job)) = (plain(round), job(round)) else { return None };
            if round > 0 {
                plains.push(of_plain);
                jobs.push(of_job);
            }
        }
        let rate = |costs: &[Cost]| self.rows as f64 / median(costs.iter().map(|cost| cost.0).collect());
        let cpu = |costs: &[Cost]| median(costs.iter().map(|cost| cost.1).collect()) / self.rows as f64 * 1e9;
        let (rate_of_plain, rate_of_job) = (rate(&plains), rate(&jobs));
        // Both of a round are affected alike by other load of the machine.
        let ratios = plains.iter().zip(&jobs).map(|(plain, job)| plain.0 / job.0);
        let ratio = median(ratios.collect());
        figure("the plain program, thousands of rows a second", format!("{:.0}", rate_of_plain / 1e3), "");
        figure("  its processor time of a row, ns", format!("{:.0}", cpu(&plains)), "");
        figure("a job, from its start to its end, thousands of rows a second", format!("{:.0}", rate_of_job / 1e3), "");
        figure("  its processor time of a row, ns", format!("{:.0}", cpu(&jobs)), "");
        figure("  of the plain program's rate", format!("{ratio:.2}"), "target: at least 0.7");
        Some((rate_of_job, ratio))
    }
}
