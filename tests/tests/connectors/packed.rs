//! Compressed files and nested directories, as sources read them.

use flate2::Compression;
use flate2::write::GzEncoder;
use millstream_tests::{Expected, Process, Trial, passing, queue_sink, wait_until};
use std::collections::BTreeSet;
use std::io::Write;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 3).unwrap()
}

fn lines(name: &str, count: usize) -> String {
    (0..count).map(|n| format!("{name} {n}\n")).collect()
}

fn job(source: &str, top: &str) -> Trial {
    passing(&format!("batch = \"0s\"\n{top}"), source, &queue_sink("refused", "in.rejected", "refused"))
}

#[test]
fn compressed_files_are_read_exactly_once_though_the_job_is_killed() {
    let trial = job(
        "kind = \"directory\"\npath = \"files\"\nsettle = \"0s\"\nrows_per_batch_max = 700",
        "[checkpoint]\ndir = \"checkpoints\"\nevery = 7",
    );
    let twice = [gzip(&lines("a", 20_000)), gzip(&lines("b", 20_000))].concat();
    trial.write("files/1.gz", twice);
    trial.write("files/2.zst", zstd(&lines("c", 20_000)));
    trial.write("files/3-no-ending", gzip(&lines("d", 20_000)));
    trial.write("files/4.txt", lines("e", 100));
    let all: usize = 80_100;
    let rows = || trial.text("out.jsonl").matches("\"value\"").count();
    for part in [5_000, 25_000, 50_000, 70_000] {
        let process = trial.start(&[]);
        wait_until("some more rows", || rows() >= part);
        process.kill();
    }
    let mut process = trial.start(&[]);
    // The previous run may have reached the end, and this one must be ready to handle a signal.
    process.wait_for_stderr("resumes after the checkpoint");
    wait_until("all rows", || rows() >= all);
    process.stop();
    let values = trial.values("out.jsonl");
    let expected: Vec<String> = [("a", 20_000), ("b", 20_000), ("c", 20_000), ("d", 20_000), ("e", 100)]
        .iter()
        .flat_map(|(name, count)| lines(name, *count).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(values.len(), all);
    assert!(values == expected, "in their order");
    let ended = trial.run(&["--until-idle"]);
    assert!(!ended.stderr.contains("has changed since"), "{}", ended.stderr);
    assert_eq!(trial.values("out.jsonl").len(), all);
}

#[test]
fn rows_before_damage_are_read_and_the_damage_is_reported() {
    let trial = job("kind = \"file\"\npath = \"in.gz\"", "");
    let whole = gzip(&lines("line with some more text that differs", 50_000));
    trial.write("in.gz", &whole[..whole.len() / 2]);
    let ended = trial.run_ok(&[]);
    assert!(ended.stderr.contains("in.gz`: it is damaged or incomplete after"), "{}", ended.stderr);
    assert!(ended.stderr.contains("it ends in the middle. The rest is not read"), "{}", ended.stderr);
    let values = trial.values("out.jsonl");
    assert!(values.len() > 1_000 && values[999].ends_with("differs 999"));
    let refused = trial.rows("refused.jsonl");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0]["reason"].as_str().unwrap().contains("it is damaged or incomplete"), "{refused:?}");
}

#[test]
fn a_log_that_is_followed_is_not_compressed() {
    let trial = job("kind = \"file\"\npath = \"app.log.gz\"\nfollow = true", "");
    let output = trial.rejected_message(&["validate", "job.toml"]);
    assert!(
        output.contains("is the name of a compressed file, and a growing log is not compressed; remove `follow`"),
        "{output}"
    );
}

#[test]
fn files_in_nested_directories_are_read_by_pattern() {
    let trial =
        job("kind = \"directory\"\npath = \"logs/**/*.txt\"\nsettle = \"0s\"", "[checkpoint]\ndir = \"checkpoints\"");
    let named = |name: &str| format!("{name}\n");
    for name in ["logs/a.txt", "logs/2026/11/b.txt", "logs/2026/c.csv", "logs/_temporary/d.txt"] {
        trial.write(name, named(name));
    }
    std::os::unix::fs::symlink("..", trial.path("logs/2026/circle")).unwrap();
    let process = trial.start(&[]);
    let values = || trial.values("out.jsonl").into_iter().collect::<BTreeSet<_>>();
    wait_until("both files", || values().len() == 2);
    trial.write("logs/2026/12/.e", named("e"));
    std::fs::rename(trial.path("logs/2026/12/.e"), trial.path("logs/2026/12/e.txt")).unwrap();
    wait_until("a file in a new folder", || values().len() == 3);
    process.stop();
    trial.write("logs/f.txt", named("f"));
    std::fs::remove_dir_all(trial.path("logs/2026/11")).unwrap();
    let process = trial.start(&[]);
    wait_until("only what is new", || values().len() == 4);
    process.stop();
    let expected = ["logs/a.txt", "logs/2026/11/b.txt", "e", "f"].map(str::to_owned);
    assert_eq!(trial.values("out.jsonl").len(), 4);
    assert_eq!(values(), BTreeSet::from(expected));
}

#[test]
fn patterns_that_mean_nothing_are_told() {
    let mut expected = Expected::of(file!(), "patterns_that_mean_nothing_are_told");
    for source in [
        "kind = \"file\"\npath = \"*.csv\"",
        "kind = \"directory\"\npath = \"a\"\npattern = \"x/*.csv\"",
        "kind = \"directory\"\npath = \"a\"\npattern = \"***\"",
        "kind = \"directory\"\npath = \"a/*.csv\"\npattern = \"*\"",
        "kind = \"directory\"\npath = \"a\"\npattern = \"../*\"\nsubfolders = true",
        "kind = \"file\"\npath = \"a\"\nsubfolders = true",
    ] {
        expected.add(source, &job(source, "").rejected_message(&["validate", "job.toml"]));
    }
    expected.check_parts();
}

#[test]
fn rows_without_a_destination_are_counted() {
    let trial = Trial::new(
        "name = \"nowhere\"\nbatch = \"20ms\"\n[checkpoint]\ndir = \"checkpoints\"\nevery = 1\n[sources.in]\nkind = \"rate\"\n\
         rows_per_second = 1000\n[sinks.out]\nfrom = \"in\"\nkind = \"nothing\"\n",
    );
    let counted = || {
        let output = trial.run_command(&["status", "job.toml", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        status["sinks"][0]["rows"].as_u64().unwrap_or(0)
    };
    for _ in 0..2 {
        let process = Process::start(&mut trial.isolated_command(&["run", "job.toml"]));
        wait_until("rows are counted", || counted() > 100);
        process.stop();
    }
}

#[test]
fn a_job_does_not_read_its_own_output() {
    let of = |more: &str| {
        let source = format!("kind = \"directory\"\npath = \".\"\nsubfolders = true\n{more}");
        job(&source, "[checkpoint]\ndir = \"state\"")
    };
    let output = of("").rejected_message(&["validate", "job.toml"]);
    assert!(
        output.contains("the job keeps its checkpoints in state, and source `in` reads every file in that"),
        "{output}"
    );
    let output = of("pattern = \"o*.jsonl\"").rejected_message(&["validate", "job.toml"]);
    assert!(
        output.contains("sink `out` writes to out.jsonl, and source `in` would read the files written there"),
        "{output}"
    );
    of("pattern = \"**/*.csv\"").run_command_ok(&["validate", "job.toml"]);
}
