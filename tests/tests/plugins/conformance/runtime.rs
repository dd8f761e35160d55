//! A plugin's output and requests besides its rows: log and counters, the line of an error, clocks and random numbers.

use super::built::{TAKES_AT_MOST, component, dir, files};
use millstream::internals::author::language::Language;
use millstream_tests::{Ended, Process, Trial};
use regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A job whose stages `one` and `two` use the plugin of a case, each on all rows of the batches.
fn job(case: &str, language: Language, stage: &str, batches: &[Value]) -> Trial {
    let component = component(case, language).unwrap_or_else(|words| panic!("{language}: {words}"));
    let schema = if case == "reject" { "amount = \"int64\", kind = \"text\"" } else { "value = \"text\"" };
    let mut text = format!(
        "clock = \"manual\"\n[sources.input]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = {{ {schema} }}\n"
    );
    for name in ["one", "two"] {
        let plugin = component.display();
        text += &format!("[stages.{name}]\nfrom = \"input\"\nplugin = \"{plugin}\"\n{stage}\n");
        text += &format!("[sinks.{name}_out]\nfrom = \"{name}\"\nkind = \"queue\"\npath = \"{name}.jsonl\"\n");
    }
    let trial = Trial::new(&text);
    trial.write("input.jsonl", batches.iter().map(|rows| format!("{rows}\n")).collect::<String>());
    trial
}

fn run(trial: &Trial, log: &str, workers: usize) -> Ended {
    let workers = workers.to_string();
    let mut command = trial.command(&["run", "job.toml", "--unsupervised", "--workers", &workers]);
    Process::start(command.env("MILLSTREAM_LOG", log)).wait_within(TAKES_AT_MOST)
}

fn value(text: &str) -> Value {
    json!({"value": text})
}

/// The function's prints arrive as complete lines of the log with their source, also from a failed call.
pub fn check_prints(language: Language) {
    let trial = job("failing", language, "", &[json!([value("print")]), json!([value("fail")])]);
    let log = run(&trial, "info", 1).stderr;
    for (level, words, batch) in [
        ("INFO", "printed: äöü €", 1),
        ("INFO", "the second line", 1),
        ("ERROR", "whispered: 日本", 1),
        ("INFO", "about to fail", 2),
    ] {
        let line = format!(" {level} {words} stage=\"one\" plugin=\"conformance-failing 0.1.0\" batch={batch}\n");
        assert!(log.contains(&line), "{language}: the log has no line{line}{log}");
    }
    if language == Language::Rust {
        // Standard error cannot be distinguished from standard output.
        let dbg =
            Regex::new(r" INFO dbg! and \[\S*src/lib.rs:\d+:\d+\] 1 \+ 1 = 2 stage=.*\n.* INFO its kin: 2 stage=")
                .unwrap();
        assert!(dbg.is_match(&log), "{log}");
    }
}

/// The message of a failed call has the author's text, the file and the line.
pub fn check_failure_line(language: Language) {
    let words = "cannot go on with `fail`";
    let trial = job("failing", language, "", &[json!([value("fine"), value("fail")])]);
    let ended = run(&trial, "off", 1);
    assert_eq!(ended.code, Some(1), "{language}: {}", ended.stderr);
    let output = ended.stderr;
    let who = Regex::new("^error: stage `(one|two)`: plugin conformance-failing 0.1.0 failed in batch 1: ").unwrap();
    assert!(who.is_match(&output) && output.contains(words), "{language}: {output}");
    let (file, line) = place_of("cannot go on with", &dir("failing", language));
    let place = Regex::new(&format!(r#"{}\W+(line )?{line}\b"#, regex::escape(&file))).unwrap();
    assert!(place.is_match(&output), "{language}: {file}, line {line}, is not named in:\n{output}");
}

/// The name of the only source file that contains this text, and the number of the line.
fn place_of(words: &str, project: &Path) -> (String, usize) {
    let mut places = Vec::new();
    for file in files(project) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lines = (1..).zip(text.lines()).filter(|(_, line)| line.contains(words));
        places.extend(lines.map(|(number, _)| (name.clone(), number)));
    }
    assert_eq!(places.len(), 1, "so many places in {} hold {words:?}: {places:?}", project.display());
    places.remove(0)
}

/// The clock is the batch's time. Random numbers, and the order in hash maps, depend only on stage and batch: not on the run, the
/// number of workers, or numbers drawn in earlier batches.
pub fn check_virtual_time(language: Language) {
    let rows = |wish: &str| json!([value(wish)]);
    let drawn = |batches: &[Value], workers| {
        let trial = job("failing", language, "", batches);
        let ended = run(&trial, "off", workers);
        assert_eq!(ended.code, Some(0), "{language}: {}", ended.stderr);
        ["one.jsonl", "two.jsonl"].map(|file| {
            let values = trial.rows(file).into_iter().map(|row| row["value"].as_str().expect("a text").to_owned());
            values.collect::<Vec<_>>()
        })
    };
    let twice = json!([value("random"), value("random")]);
    let [one, two] = drawn(&[rows("random"), rows("random"), rows("clock"), rows("order"), twice], 1);
    assert_eq!((one.len(), &*one[2], &*two[2]), (6, "3", "3"), "{language}: the time of batch 3");
    let [again, second] = drawn(&[rows("random"), rows("random"), rows("clock"), rows("order")], 2);
    assert_eq!((&one[..4], &two[..4]), (&*again, &*second), "{language}: another run with two workers");
    let [alone, _] = drawn(&[json!([]), rows("random"), json!([]), rows("order")], 1);
    assert_eq!([&one[1], &one[3]], [&alone[0], &alone[1]], "{language}: batches without those before");
    if language != Language::Rust {
        // Components of Rust without WASI have no random numbers.
        let all: BTreeSet<&String> = one[..2].iter().chain(&two[..2]).chain(&one[4..]).collect();
        assert_eq!(all.len(), 6, "{language}: {one:?} and {two:?} hold the same number twice");
    }
}

/// Counters count every row that the function sees, and the log has its levels.
pub fn counts(language: Language) {
    let amounts = |amounts: &[i64]| amounts.iter().map(|amount| json!({"amount": amount})).collect::<Value>();
    let trial = job("reject", language, "config = { at_least = 0 }", &[amounts(&[5, -7, 0]), amounts(&[11])]);
    let ended = run(&trial, "debug", 2);
    assert_eq!(ended.code, Some(0), "{language}: {}", ended.stderr);
    for (amount, batch) in [(5, 1), (-7, 1), (0, 1), (11, 2)] {
        let line = format!(" DEBUG amount {amount} stage=\"two\" plugin=\"conformance-reject 0.1.0\" batch={batch}\n");
        assert!(ended.stderr.contains(&line), "{language}: the log has no line{line}{}", ended.stderr);
    }
    let output = format!("{}{}", ended.stdout, ended.stderr);
    assert!(output.contains("`one` counted seen = 4\n"), "{language}: {output}");
}
