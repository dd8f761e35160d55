//! Counters of plugins are part of checkpoints: however often a job is killed, each batch counts once.

use millstream_tests::{POINTS, Process, Random, Trial, plugin};
use std::fmt::Write;

const BATCHES: i64 = 60;

/// Rows pass two stages with the same plugin, the second time as a SQL function, and both count them. Each start has other
/// workers, so counters change owners.
fn trial() -> Trial {
    let plugin = plugin("tally");
    let plugin = plugin.display();
    let job = format!(
        r#"name = "counters"
clock = "manual"
[checkpoint]
dir = "checkpoint"
every = 4
[sources.lines]
kind = "queue"
path = "input.jsonl"
schema = {{ n = "int64" }}
[stages.first]
from = "lines"
plugin = "{plugin}"
[stages.even]
from = "first"
filter = "n % 2 = 0"
[stages.second]
from = "even"
sql = "select tally(n) as n from even"
functions = {{ tally = "{plugin}" }}
[sinks.out]
from = "second"
kind = "queue"
path = "out.jsonl"
"#
    );
    let trial = Trial::new(&job);
    let mut input = String::new();
    for batch in 0..BATCHES {
        let rows: Vec<String> = (0..batch % 5).map(|row| (batch * 10 + row).to_string()).collect();
        writeln!(input, "[{}]", rows.join(",")).unwrap();
    }
    trial.write("input.jsonl", input);
    trial
}

/// The expected counters: rows and their sum, in `first` and in `second`.
fn expected() -> [[i64; 2]; 2] {
    let all: Vec<i64> = (0..BATCHES).flat_map(|batch| (0..batch % 5).map(move |row| batch * 10 + row)).collect();
    let counted = |rows: Vec<i64>| [rows.len() as i64, rows.iter().sum()];
    [counted(all.clone()), counted(all.into_iter().filter(|n| n % 2 == 0).collect())]
}

/// Compares the counters in the checkpoint, and those printed by the last start, with the expected ones.
fn check(trial: &Trial, output: &str) {
    let [first, second] = expected();
    let query = "select * from \"millstream.counters\" order by stage, counter";
    let held = Process::start(&mut trial.command(&["state", "job.toml", "--json", "--sql", query])).wait().stdout;
    let line = |stage: &str, counter: &str, count: i64| {
        format!("{{\"stage\":\"{stage}\",\"counter\":\"{counter}\",\"count\":{count}}}\n")
    };
    let lines = [
        line("first", "rows", first[0]),
        line("first", "sum", first[1]),
        line("second", "rows", second[0]),
        line("second", "sum", second[1]),
    ];
    assert_eq!(held, lines.concat(), "{output}");
    for (stage, counts) in [("first", first), ("second", second)] {
        for (counter, count) in ["rows", "sum"].into_iter().zip(counts) {
            let message = format!("`{stage}` counted {counter} = {count}\n");
            assert!(output.contains(&message), "{message} is not in {output}");
        }
    }
}

#[test]
fn counters_count_each_batch_once_however_often_the_job_is_killed() {
    let seed = std::process::id().into();
    let mut random = Random::new(seed);
    let trial = trial();
    let mut kills = 0;
    for life in 0..12 {
        // The first start is killed for certain: the job has more batches than that.
        let point = match life {
            0 => POINTS.iter().find(|point| point.name == "plan.before").expect("there is one"),
            _ => random.one_of(&POINTS),
        };
        let fault = format!("kill@{}:{}", point.name, random.from(point.passes.0, point.passes.1));
        let workers = random.from(1, 3).to_string();
        let mut command = trial.command(&["run", "job.toml", "--unsupervised", "--workers", &workers]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", &fault)).wait();
        assert!(matches!(ended.code, None | Some(0)), "seed {seed}, life {life}, {fault}: {}", ended.stderr);
        kills += u32::from(ended.code.is_none());
    }
    assert!(kills > 0, "seed {seed}");
    check(&trial, &trial.run_ok(&["--workers", "2"]).stderr);
    // A start that has nothing to do prints the same.
    check(&trial, &trial.run_ok(&["--workers", "3"]).stderr);
}

#[test]
fn a_job_may_lose_its_counters() {
    let trial = trial();
    trial.run_ok(&[]);
    let text = trial.text("job.toml");
    let path = plugin("tally");
    let lines = [
        format!("plugin = \"{}\"\n", path.display()),
        format!("sql = \"select tally(n) as n from even\"\nfunctions = {{ tally = \"{}\" }}\n", path.display()),
    ];
    assert!(lines.iter().all(|lines| text.contains(lines)));
    trial.write("job.toml", lines.iter().fold(text, |text, lines| text.replace(lines, "")));
    trial.run_ok(&[]);
}
