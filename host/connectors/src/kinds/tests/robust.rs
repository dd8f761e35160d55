//! Strings and files that are not a job at all.

use super::super::all;
use super::good::{EXAMPLE, STAGES};
use super::read;
use millstream_base::error::Kind;
use millstream_base::limits;
use millstream_base::random::Random;
use millstream_job::{load, schema};
use std::path::Path;

#[test]
fn no_text_makes_it_panic() {
    let mut numbers = Random(7);
    let pieces = [
        "\"",
        "'",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "#",
        "-1",
        "0x7fffffffffffffff",
        "1e999",
        "nan",
        "é",
        "\0",
        "\u{feff}",
        "\"\"\"",
        "[[",
        "]]",
        "stages",
        "sources.lines",
        "from",
        "kind",
        "\"0s\"",
        "true",
        "1979-05-27",
        "[sinks.screen]",
        "rejected",
        "()",
        "\\u0000",
        "a.b.c.d",
        "18446744073709551616",
        "latest",
        "distinct",
        "window = { size = \"30s\" }",
        "time",
        "[\"-5s\", \"10s\"]",
        ".late",
    ];
    let (mut good, mut bad) = (0, 0);
    for round in 0..6_000 {
        let mut text: Vec<char> = if round % 2 == 0 { EXAMPLE } else { STAGES }.chars().collect();
        for _ in 0..=numbers.index(3) {
            let at = numbers.index(text.len().max(1));
            let end = (at + numbers.index(12)).min(text.len());
            match numbers.index(4) {
                0 => drop(text.drain(at..end)),
                1 => text.truncate(at),
                2 => drop(text.splice(at..at, pieces[numbers.index(pieces.len())].chars())),
                _ => {
                    let from = numbers.index(text.len().max(1));
                    let copied: Vec<char> = text.iter().skip(from).take(40).copied().collect();
                    drop(text.splice(at..end, copied));
                }
            }
        }
        match read(&text.into_iter().collect::<String>()) {
            Ok(_) => good += 1,
            Err(error) => {
                bad += 1;
                assert_eq!(error.kind, Kind::Job);
                assert!(error.message.starts_with("job.toml"), "{}", error.message);
                assert!(error.message.lines().count() <= limits::JOB_ERRORS_SHOWN + 1);
            }
        }
    }
    assert!(good > 100 && bad > 1_000, "the texts are too wild or too tame: {good} good, {bad} bad");
}

#[test]
fn deep_and_wide_files_end_in_an_error() {
    let deep = format!("a = {}1{}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(read(&deep).unwrap_err().message.starts_with("job.toml:1: not TOML"));
    let chain = (1..limits::JOB_PARTS_MAX - 1).map(|n| format!("[stages.s{n}]\nfrom = \"s{}\"\n", n - 1));
    let ends = "[stages.s0]\nfrom = \"lines\"\n[sources.lines]\nkind = \"rate\"\nrows_per_second = 1\n";
    let sink = format!("[sinks.out]\nkind = \"print\"\nfrom = \"s{}\"\n", limits::JOB_PARTS_MAX - 2);
    let text = chain.collect::<String>() + ends + &sink;
    assert!(read(&text).unwrap_err().message.contains("make two jobs of it"));
    let text = text.replace("[stages.s0]\nfrom = \"lines\"\n", "").replace("\"s0\"", "\"lines\"");
    let job = read(&text).unwrap();
    assert_eq!(millstream_job::order(&job).unwrap().len(), limits::JOB_PARTS_MAX - 2);
    let cycle = text.replace("[stages.s1]\nfrom = \"lines\"", "[stages.s1]\nfrom = \"s900\"");
    assert!(
        read(&cycle).unwrap_err().message.contains("a cycle, in which rows would circulate indefinitely: `s1` → `s2`")
    );
}

#[test]
fn files_that_are_no_job_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let failed = |path: &Path| load(path, all(), &[]).unwrap_err().to_string();
    let file = dir.path().join("job.toml");
    let name = file.display().to_string();
    assert_eq!(failed(&file), format!("{name}: file not found; give the path of a job file"));
    let shown = dir.path().display();
    let message = "this is a directory; give the path of a job file, for example job.toml in it";
    assert_eq!(failed(dir.path()), format!("{shown}: {message}"));
    std::fs::write(&file, b"name = \"x\"\n# caf\xe9\n").unwrap();
    assert_eq!(failed(&file), format!("{name}:2: this line is not UTF-8 text; save the file as UTF-8"));
    std::fs::write(&file, vec![b'#'; limits::JOB_FILE_BYTES_MAX as usize + 1]).unwrap();
    assert_eq!(
        failed(&file),
        format!("{name}: the file is longer than 1048576 bytes, so it is not a job file; check the path")
    );
    std::fs::write(&file, format!("\u{feff}{}", EXAMPLE.replace('\n', "\r\n"))).unwrap();
    let job = load(&file, all(), &[]).unwrap();
    assert_eq!((job.origin.dir.as_path(), job.origin.at("name")), (dir.path(), format!("{name}:2: ")));
    assert!(schema(all())["properties"]["stages"].is_object());
}
