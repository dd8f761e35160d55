//! Servers of others on this machine: what a job reads from them and writes to them in a second, and the processor time that a row
//! costs, beside a plain program that does the same. `SERVER_ROWS` in the environment is another number of rows.

mod changes;
mod mqtt;
mod postgres;
mod redis;

use crate::measure::{children_cpu, figure, folder_on_disk, job, median, millstream, seconds, show_command};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROWS: usize = 300_000;
const ROUNDS: usize = 3;

/// Runs this part.
pub fn run() {
    let rows = std::env::var("SERVER_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(ROWS);
    let folder = folder_on_disk();
    let of = |name: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    };
    redis::run(&of("redis"), rows);
    mqtt::run(&of("mqtt"), rows);
    postgres::run(&of("postgres"), rows);
    changes::run(&of("changes"), rows);
}

/// The rows that are read and written, as JSON, about 75 bytes each.
fn rows_of(rows: usize) -> impl Iterator<Item = String> {
    (0..rows).map(|n| {
        let (user, page, n, amount) = (n % 99_991, n % 977, n + 1_000_000, n % 89 + 10);
        format!(r#"{{"user":"user-{user:06}","page":"/a/page/{page:08}","n":{n},"amount":{amount}.25}}"#)
    })
}

/// The columns of these rows, as a job has them.
const SCHEMA: &str = r#"schema = { user = "text", page = "text", n = "int64", amount = "float64" }"#;

/// A file with these rows.
fn file_of(folder: &Path, rows: usize) -> PathBuf {
    let mut text = String::new();
    rows_of(rows).for_each(|row| {
        let _ = writeln!(text, "{row}");
    });
    let path = folder.join("in.jsonl");
    std::fs::write(&path, text).expect("a file");
    path
}

/// A job that reads that file.
fn from_file(sink: &str) -> String {
    format!(
        "batch = \"100ms\"\n[sources.rows]\nkind = \"file\"\npath = \"in.jsonl\"\nformat = \"json\"\n{SCHEMA}\n[sinks.out]\nfrom = \"rows\"\n{sink}"
    )
}

/// What a row costs: seconds, and seconds of processor time of the program that reads or writes it.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu: f64,
}

/// Measures a program that this one waits for.
fn cost_of(run: impl FnOnce()) -> Cost {
    let before = children_cpu();
    let seconds = seconds(run);
    Cost { seconds, cpu: children_cpu() - before }
}

/// Runs a job over all rows.
fn run_job(path: &Path, rows: usize) -> Cost {
    cost_of(|| {
        let limit = rows.to_string();
        let ran = millstream(&["run", &path.to_string_lossy(), "--workers", "1", "--limit", &limit]).status();
        assert!(ran.is_ok_and(|ran| ran.success()), "the job failed");
    })
}

/// Runs another program, whose input is this file.
fn run_plain(command: &mut Command, input: Option<&Path>) -> Cost {
    let input = input.map_or_else(Stdio::null, |path| File::open(path).expect("a file").into());
    cost_of(|| {
        let ran = command.stdin(input).stdout(Stdio::null()).status();
        assert!(ran.as_ref().is_ok_and(|ran| ran.success()), "{command:?}: {ran:?}");
    })
}

/// Runs this program again, as one that does this part of the work and nothing else, so that its processor time counts as a job's does.
fn run_own(part: &str, arguments: &[&str]) -> Cost {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    run_plain(command.arg(format!("--{part}")).args(arguments), None)
}

/// What one of those parts does, where this program was started as one.
pub fn own_part(arguments: &[String]) -> bool {
    redis::own_part(arguments)
}

/// Measures both in turn, and shows them.
fn compare(
    what: &str,
    rows: usize,
    (command, text): (&str, &str),
    mut plain: impl FnMut(usize) -> Cost,
    mut of_job: impl FnMut(usize) -> Cost,
) {
    show_command(command, text);
    let (mut plains, mut jobs) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        plains.push(plain(round));
        jobs.push(of_job(round));
    }
    let middle = |costs: &[Cost], of: fn(&Cost) -> f64| median(costs[1..].iter().map(of).collect());
    let show = |costs: &[Cost]| {
        let (seconds, cpu) = (middle(costs, |cost| cost.seconds), middle(costs, |cost| cost.cpu));
        (seconds, format!("{:.0}", rows as f64 / seconds / 1e3), format!("{:.0}", cpu / rows as f64 * 1e9))
    };
    let ((plain, rate_of_plain, cpu_of_plain), (job, rate_of_job, cpu_of_job)) = (show(&plains), show(&jobs));
    figure(&format!("{what}: a plain program, thousands of rows a second"), rate_of_plain, "");
    figure("  its processor time of a row, ns", cpu_of_plain, "");
    figure("  a job, from its start to its end", rate_of_job, "");
    figure("  its processor time of a row, ns", cpu_of_job, "");
    figure("  of the plain program's rate", format!("{:.2}", plain / job), "target: at least 0.7");
}
