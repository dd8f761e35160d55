//! A worker that is slower than the others gets fewer of the rows that any worker may process, and the output is the same.

use millstream_tests::{DEADLINE, Trial, root, run_at_quarter_speed};
use std::fmt::Write as _;
use std::time::Instant;

const ROWS: i64 = 500_000;

/// The number of loop steps of the plugin for a number.
fn steps(n: i64) -> i64 {
    let (x0, y0) = ((n % 1000) as f64 / 500.0 - 1.5, (n / 1000 % 1000) as f64 / 1000.0 - 0.5);
    let (mut x, mut y, mut steps) = (0.0, 0.0, 0);
    while x * x + y * y < 4.0 && steps < 1000 {
        (x, y) = (x * x - y * y + x0, 2.0 * x * y + y0);
        steps += 1;
    }
    steps
}

fn number(row: i64) -> i64 {
    row * 7_919 % 1_000_003
}

fn job() -> Trial {
    let trial = Trial::new(&format!(
        r#"
        name = "slow"
        batch = "100ms"
        [checkpoint]
        dir = "checkpoint"
        [sources.points]
        kind = "file"
        path = "points.csv"
        format = "csv"
        schema = {{ n = "int64" }}
        [stages.steps]
        from = "points"
        plugin = "{}"
        [sinks.out]
        from = "steps"
        kind = "files"
        format = "csv"
        path = "out"
        "#,
        root().join("host/benches/compute").display()
    ));
    let mut rows = String::from("n\n");
    (0..ROWS).for_each(|row| writeln!(rows, "{}", number(row)).unwrap());
    trial.write("points.csv", rows);
    trial
}

/// The rows of a source that each process has decoded, as they say at their end.
fn decoded(output: &str) -> Vec<i64> {
    let done = output.lines().filter(|line| line.contains("done: "));
    let count = |line: &str| line.split("points ").nth(1)?.split([',', ' ']).next()?.trim().parse().ok();
    done.filter_map(count).collect()
}

#[test]
fn a_slow_process_gets_less_and_the_rows_stay_in_order() {
    let expected: String = (0..ROWS).map(|row| format!("{}\n", steps(number(row)))).collect();
    let trial = job();
    let mut running = trial.start_processes(2, 1);
    running.wait_until("both processes are there", |running| running.children().len() == 2);
    let (slow, began) = (running.children().into_iter().max().unwrap(), Instant::now());
    run_at_quarter_speed(slow, || running.has_ended() || began.elapsed() > DEADLINE);
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut files: Vec<_> = std::fs::read_dir(trial.path("out")).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "csv"));
    files.sort();
    let rows = files.iter().flat_map(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().skip(1).map(|line| format!("{line}\n")).collect::<Vec<_>>()
    });
    assert!(rows.collect::<String>() == expected, "rows are missing, or stand elsewhere");
    let decoded = decoded(&ended.stderr);
    assert_eq!(decoded.iter().sum::<i64>(), ROWS, "{}", ended.stderr);
    let maximum = *decoded.iter().max().unwrap();
    assert!(
        maximum * 100 / ROWS >= 65,
        "{decoded:?}: a process at a quarter of its speed had nearly as much as the other"
    );
}
