//! Patterns against an oracle that tries all matches by brute force, on random patterns over random streams, out of order and with late
//! rows; and what the cases of `e2e.rs` do not show.

mod oracle;

use millstream_tests::{Expected, Random, Trial, root};
use oracle::{Ask, Match, Nots, Pattern, Row, Skip, Step};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::ops::Range;

/// The number of jobs in `make test`, and in total.
const FEW_JOBS: u64 = 2;
const JOBS: u64 = 4;
const PATTERNS: usize = 20;
const KEYS: u64 = 12;
/// Rows of a key: the oracle tries every assignment of them to steps.
const ROWS_OF_KEY: u64 = 8;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn ask(random: &mut Random, steps: usize) -> Ask {
    let step = random.from(0, steps.max(1) as u64 - 1) as usize;
    match random.from(0, if steps == 0 { 5 } else { 9 }) {
        0 => Ask::Any,
        1 | 2 => Ask::Below(random.from(1, 6) as i64),
        3 => Ask::AtLeast(random.from(1, 6) as i64),
        4 => Ask::Even,
        5 => Ask::AtMostRows(random.from(0, 3) as i64),
        6 => Ask::Rises,
        7 => Ask::LikeLast(step),
        8 => Ask::AboveFirst(step),
        _ => Ask::WithSum(step, random.from(2, 12) as i64),
    }
}

fn nots(random: &mut Random, steps: usize, relaxed: bool) -> Nots {
    let mut nots = Nots::default();
    if random.from(0, 4) == 0 {
        nots.next.push(ask(random, steps));
    }
    if relaxed && random.from(0, 2) == 0 {
        nots.between.push(ask(random, steps));
    }
    nots
}

fn pattern(random: &mut Random) -> Pattern {
    let count = random.from(1, 4) as usize;
    let mut steps: Vec<Step> = (0..count)
        .map(|place| {
            let (least, most) = *random.one_of(&[
                (1, Some(1)),
                (1, Some(1)),
                (1, None),
                (0, None),
                (0, Some(1)),
                (2, Some(2)),
                (1, Some(3)),
                (2, None),
            ]);
            let relaxed = place > 0 && random.from(0, 1) == 0;
            Step {
                // A step may look at its own rows before.
                ask: ask(random, place + 1),
                relaxed,
                nots: if place > 0 { nots(random, place, relaxed) } else { Nots::default() },
                least,
                most,
                reluctant: (least, most) != (1, Some(1)) && random.from(0, 2) == 0,
                gaps: most != Some(1) && random.from(0, 1) == 0,
                gap_nots: Vec::new(),
            }
        })
        .collect();
    for (place, step) in steps.iter_mut().enumerate() {
        if step.gaps && random.from(0, 1) == 0 {
            step.gap_nots.push(ask(random, place + 1));
        }
    }
    if steps.iter().all(|step| step.least == 0) {
        steps[0] = Step { least: 1, most: None, ..steps[0].clone() };
    }
    let mut pattern = Pattern { steps, end: Nots::default(), within: None, skip: Skip::PastLastRow };
    if random.from(0, 3) == 0 {
        pattern.end = nots(random, count, true);
    }
    let optional = pattern.steps.iter().rev().take_while(|step| step.least == 0);
    let waits = !pattern.end.between.is_empty() || optional.into_iter().any(|step| !step.nots.between.is_empty());
    if waits || random.from(0, 2) > 0 {
        pattern.within = Some(random.from(2, 14) as i64);
    }
    let step = random.from(0, count as u64 - 1) as usize;
    pattern.skip = *random.one_of(&[Skip::PastLastRow, Skip::ToNextRow, Skip::ToFirst(step), Skip::ToLast(step)]);
    pattern
}

fn sql(ask: Ask) -> String {
    match ask {
        Ask::Any => "true".into(),
        Ask::Below(n) => format!("v < {n}"),
        Ask::AtLeast(n) => format!("v >= {n}"),
        Ask::Even => "v % 2 = 0".into(),
        Ask::Rises => "v > prev.v".into(),
        Ask::LikeLast(step) => format!("v = last({}).v", NAMES[step]),
        Ask::AboveFirst(step) => format!("v > first({}).v", NAMES[step]),
        Ask::WithSum(step, n) => format!("v + sum({}.v) > {n}", NAMES[step]),
        Ask::AtMostRows(n) => format!("count(*) <= {n}"),
    }
}

/// The stage of a pattern, with a sink; some also count the matches.
fn stage(number: usize, pattern: &Pattern, lateness: i64) -> String {
    let (mut steps, mut define) = (String::new(), String::new());
    let mut names = 0;
    let mut write_nots = |nots: &Nots, steps: &mut String, define: &mut String| {
        let message =
            nots.next.iter().map(|ask| ("next", ask)).chain(nots.between.iter().map(|ask| ("followed by", ask)));
        for (word, ask) in message {
            let _ = write!(steps, "{word} not x{names} ");
            let _ = writeln!(define, "x{names} = \"{}\"", sql(*ask));
            names += 1;
        }
    };
    for (place, step) in pattern.steps.iter().enumerate() {
        write_nots(&step.nots, &mut steps, &mut define);
        let link = match (place, step.relaxed) {
            (0, _) => "",
            (_, true) => "followed by ",
            (1, false) => "",
            (_, false) => "next ",
        };
        let quantifier = match (step.least, step.most) {
            (1, Some(1)) => String::new(),
            (1, None) => "+".into(),
            (0, None) => "*".into(),
            (0, Some(1)) => "?".into(),
            (least, Some(most)) if least == most => format!("{{{least}}}"),
            (least, Some(most)) => format!("{{{least},{most}}}"),
            (least, None) => format!("{{{least},}}"),
        };
        let (reluctant, gaps) = (if step.reluctant { "?" } else { "" }, if step.gaps { " with gaps" } else { "" });
        let _ = write!(steps, "{link}{}{quantifier}{reluctant}{gaps} ", NAMES[place]);
        for (number, ask) in step.gap_nots.iter().enumerate() {
            let _ = write!(steps, "without y{place}_{number} ");
            let _ = writeln!(define, "y{place}_{number} = \"{}\"", sql(*ask));
        }
        if !matches!(step.ask, Ask::Any) {
            let _ = writeln!(define, "{} = \"{}\"", NAMES[place], sql(step.ask));
        }
    }
    write_nots(&pattern.end, &mut steps, &mut define);
    let within = pattern.within.map_or(String::new(), |within| format!("within = \"{within}s\"\n"));
    let skip = match pattern.skip {
        Skip::PastLastRow => String::new(),
        Skip::ToNextRow => "skip = \"to next row\"\n".into(),
        Skip::ToFirst(step) => format!("skip = \"to first {}\"\n", NAMES[step]),
        Skip::ToLast(step) => format!("skip = \"to last {}\"\n", NAMES[step]),
    };
    let measures: String =
        (0..pattern.steps.len()).map(|step| format!("m{step} = \"coalesce(sum({}.id), 0)\"\n", NAMES[step])).collect();
    let mut text = format!(
        "[stages.p{number}]\nfrom = \"rows\"\nkey = \"k\"\ntime = \"at\"\nlateness = \"{lateness}s\"\n\
         [stages.p{number}.pattern]\nsteps = \"{}\"\n{within}{skip}[stages.p{number}.pattern.define]\n{define}\
         [stages.p{number}.pattern.measures]\n{measures}",
        steps.trim()
    );
    text += &sink(&format!("p{number}"), &format!("p{number}"));
    if number < 4 {
        let time = ["match_start", "match_end"][number % 2];
        let _ = write!(
            text,
            "[stages.c{number}]\nfrom = \"p{number}\"\ntime = \"{time}\"\naggregate = {{ n = \"count(*)\" }}\nwindow = {{ size = \"3s\" }}\n"
        );
        text += &sink(&format!("c{number}"), &format!("c{number}"));
        text += &sink(&format!("missed{number}"), &format!("c{number}.late"));
    }
    text
}

fn sink(name: &str, from: &str) -> String {
    format!("[sinks.{name}]\nfrom = \"{from}\"\nkind = \"queue\"\npath = \"{name}.jsonl\"\n")
}

fn job(patterns: &[Pattern], lateness: i64) -> String {
    let source = "[sources.rows]\nkind = \"queue\"\npath = \"rows.jsonl\"\n\
                  schema = { k = \"text\", id = \"int64\", v = \"int64\", at = \"timestamp\" }\n";
    let stages: String =
        patterns.iter().enumerate().map(|(number, pattern)| stage(number, pattern, lateness)).collect();
    format!("clock = \"manual\"\n{source}{stages}{}", sink("missed", "p0.late"))
}

/// A row of the stream: key, its number among those of the key, and the row.
type StreamRow = (String, u32, Row);

/// Batches whose rows are a few seconds out of order, some too late.
fn batches(random: &mut Random) -> Vec<Vec<StreamRow>> {
    let count = KEYS * ROWS_OF_KEY;
    let mut rows: Vec<StreamRow> = Vec::new();
    let mut of_key: BTreeMap<String, u32> = BTreeMap::new();
    let mut now = 100;
    for _ in 0..count {
        now += random.from(0, 1) as i64;
        let key = format!("k{}", random.from(0, KEYS - 1));
        let number = of_key.entry(key.clone()).or_default();
        if u64::from(*number) == ROWS_OF_KEY {
            continue;
        }
        let v = (random.from(0, 12) > 0).then(|| random.from(0, 6) as i64);
        rows.push((key, *number, Row { at: now - random.from(0, 4) as i64, v }));
        *number += 1;
    }
    let mut batches: Vec<Vec<StreamRow>> = vec![Vec::new()];
    for row in rows {
        if random.from(0, 7) == 0 {
            batches.push(Vec::new());
        }
        batches.last_mut().unwrap().push(row);
    }
    batches
}

fn format_time(at: i64) -> String {
    format!("2024-05-01T12:{:02}:{:02}.000000Z", at / 60, at % 60)
}

fn write_rows(trial: &Trial, batches: &[Vec<StreamRow>]) {
    let line = |batch: &Vec<StreamRow>| {
        let row =
            |(k, id, row): &StreamRow| json!({ "k": k, "id": 1_i64 << id, "v": row.v, "at": format_time(row.at) });
        Value::Array(batch.iter().map(row).collect()).to_string() + "\n"
    };
    trial.write("rows.jsonl", batches.iter().map(line).collect::<String>());
}

/// The rows of each key, with their numbers.
type RowsOfKeys = BTreeMap<String, Vec<(u32, Row)>>;

/// The view of a program without streams: the rows of each key that are in time, in order, with their numbers; and the watermark
/// after each batch.
fn in_time(batches: &[Vec<StreamRow>], lateness: i64) -> (RowsOfKeys, Vec<Option<i64>>, usize) {
    let (mut keys, mut watermarks, mut late) = (RowsOfKeys::new(), Vec::new(), 0);
    let mut watermark: Option<i64> = None;
    for batch in batches {
        for (key, number, row) in batch {
            if watermark.is_some_and(|watermark| row.at < watermark) {
                late += 1;
            } else {
                keys.entry(key.clone()).or_default().push((*number, *row));
            }
        }
        watermark = watermark.max(batch.iter().map(|(_, _, row)| row.at - lateness).max());
        watermarks.push(watermark);
    }
    // Stable: rows with the same time stay in order of arrival.
    keys.values_mut().for_each(|rows| rows.sort_by_key(|(_, row)| row.at));
    (keys, watermarks, late)
}

/// The matches in the stage's output format.
fn expected(pattern: &Pattern, keys: &BTreeMap<String, Vec<(u32, Row)>>) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, numbered) in keys {
        let rows: Vec<Row> = numbered.iter().map(|(_, row)| *row).collect();
        let line = |found: &Match| {
            let (start, end) = (rows[found[0].0].at, rows[found[found.len() - 1].0].at);
            let of = |step: usize| -> i64 {
                found.iter().filter(|(_, by)| *by == step).map(|(place, _)| 1 << numbered[*place].0).sum()
            };
            let steps: Vec<String> = (0..pattern.steps.len()).map(|step| of(step).to_string()).collect();
            format!("{key} {} {} {}", format_time(start), format_time(end), steps.join(" "))
        };
        lines.extend(pattern.matches(&rows).iter().map(line));
    }
    lines.sort();
    lines
}

fn found(pattern: &Pattern, row: &Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    let steps: Vec<String> = (0..pattern.steps.len()).map(|step| row[format!("m{step}")].to_string()).collect();
    format!("{} {} {} {}", text("k"), text("match_start"), text("match_end"), steps.join(" "))
}

fn check(trial: &Trial, output: &str, patterns: &[Pattern], batches: &[Vec<StreamRow>], lateness: i64) -> usize {
    let (keys, watermarks, late) = in_time(batches, lateness);
    assert_eq!(trial.rows("missed.jsonl").len(), late, "{output}: late rows");
    let mut all = 0;
    for (number, pattern) in patterns.iter().enumerate() {
        let expected = expected(pattern, &keys);
        let name = format!("p{number}.jsonl");
        let mut lines: Vec<String> = trial.rows(&name).iter().map(|row| found(pattern, row)).collect();
        lines.sort();
        let stage = stage(number, pattern, lateness);
        assert!(
            lines == expected,
            "{output}: {stage}\n--- expected\n{}\n--- found\n{}\n--- rows\n{keys:?}",
            expected.join("\n"),
            lines.join("\n")
        );
        all += lines.len();
        in_due_time(trial, pattern, &name, &watermarks);
        if number < 4 {
            let late = trial.rows(&format!("missed{number}.jsonl"));
            assert!(late.is_empty(), "{output}: behind {stage}\nis late: {late:?}");
            let counted: i64 = trial.rows(&format!("c{number}.jsonl")).iter().filter_map(|row| row["n"].as_i64()).sum();
            assert_eq!(counted, lines.len() as i64, "{output}: counted behind {stage}");
        }
    }
    all
}

/// Checks that a match is emitted when the watermark has passed its last row, and as soon as it has passed the maximum time.
fn in_due_time(trial: &Trial, pattern: &Pattern, name: &str, watermarks: &[Option<i64>]) {
    let shows = |batch: usize| watermarks.get(batch).copied().unwrap_or(Some(i64::MAX));
    for batch in trial.batches(name) {
        let number = batch["batch"].as_u64().unwrap() as usize - 1;
        for row in batch["rows"].as_array().unwrap() {
            let at = |name: &str| {
                let text = row[name].as_str().unwrap();
                text[14..16].parse::<i64>().unwrap() * 60 + text[17..19].parse::<i64>().unwrap()
            };
            assert!(shows(number) > Some(at("match_end")), "{row} in batch {number} of {name}");
            let Some(within) = pattern.within else { continue };
            let due = (0..).find(|batch| shows(*batch) > Some(at("match_start") + within)).unwrap();
            assert!(number <= due, "{row} in batch {number} of {name}, due in {due}");
        }
    }
}

fn check_job(seed: u64) -> usize {
    let mut random = Random::new(seed.wrapping_mul(7_919).wrapping_add(13));
    let patterns: Vec<Pattern> = (0..PATTERNS).map(|_| pattern(&mut random)).collect();
    let (batches, lateness) = (batches(&mut random), random.from(0, 3) as i64);
    let text = job(&patterns, lateness);
    let mut all = 0;
    for workers in ["1", "2"] {
        let trial = Trial::new(&text);
        write_rows(&trial, &batches);
        trial.run_ok(&["--workers", workers]);
        all = check(&trial, &format!("job {seed} with {workers} workers"), &patterns, &batches, lateness);
    }
    // Stopped and resumed, with other numbers of workers.
    let trial = Trial::new(&text);
    let (mut lines, end) = (0, batches.len());
    let keeping = ["--set", "checkpoint.dir=checkpoint", "--set", "checkpoint.every=2"];
    while lines < end {
        lines = (lines + 1 + random.from(0, end as u64 / 2) as usize).min(end);
        write_rows(&trial, &batches[..lines]);
        let workers = random.from(1, 3).to_string();
        let at_end = if lines == end { "at_end=flush" } else { "at_end=keep" };
        trial.run_ok(&[&keeping[..], &["--workers", &workers, "--set", at_end]].concat());
    }
    check(&trial, &format!("job {seed}, stopped"), &patterns, &batches, lateness);
    all
}

#[test]
fn matches_equal_those_of_brute_force() {
    check_jobs(0..FEW_JOBS);
}

fn check_jobs(seeds: Range<u64>) {
    let least = 100 * (seeds.end - seeds.start) as usize;
    let found: usize = seeds.map(check_job).sum();
    assert!(found > least, "{found} matches show little");
}

const JOB: &str = "clock = \"manual\"\n\
                   [sources.rows]\nkind = \"queue\"\npath = \"rows.jsonl\"\n\
                   schema = { k = \"text\", id = \"int64\", v = \"int64\", at = \"timestamp\" }\n\
                   [stages.p]\nfrom = \"rows\"\nkey = \"k\"\ntime = \"at\"\n\
                   [stages.p.pattern]\nsteps = \"a next b\"\ndefine = { a = \"v > 1\", b = \"v > a.v\" }\n\
                   [sinks.out]\nfrom = \"p\"\nkind = \"queue\"\npath = \"out.jsonl\"\n";

/// Each change of the job, and a part of its error.
#[test]
fn mistakes_in_patterns_are_told() {
    let steps = "steps = \"a next b\"";
    let mut expected = Expected::of(file!(), "mistakes_in_patterns_are_told");
    for (from, to) in [
        (steps, "steps = \"a next\""),
        (steps, "steps = \"a next c\""),
        (steps, "steps = \"a next b next not c\""),
        (steps, "steps = \"v next a next b\""),
        ("b = \"v > a.v\"", "b = \"v > b.v\""),
        ("a = \"v > 1\"", "a = \"v > b.v\""),
        ("a = \"v > 1\"", "a = \"v + 1\""),
        ("a = \"v > 1\"", "a = \"w > 1\""),
        ("a = \"v > 1\"", "a = \"at > now()\""),
        ("b = \"v > a.v\"", "b = \"v > sum(v)\""),
        ("b = \"v > a.v\"", "b = \"v > sum(a.k)\""),
        (steps, "steps = \"a next b\"\nskip = \"to the end\""),
        (steps, "steps = \"a next b\"\nskip = \"to first c\""),
        (steps, "steps = \"a followed by not b\""),
        (steps, "steps = \"a next b\"\nmeasures = { k = \"b.v\" }"),
        (steps, "steps = \"a next b\"\nmeasures = { m = \"prev.v\" }"),
        ("time = \"at\"\n", ""),
        ("time = \"at\"\n", "time = \"at\"\nwindow = { size = \"3s\" }\n"),
        ("[stages.p.pattern]\n", "within = \"3s\"\n[stages.p.pattern]\n"),
    ] {
        let trial = Trial::new(&JOB.replacen(from, to, 1));
        trial.write("rows.jsonl", "");
        let case = if to.is_empty() { format!("without {from}") } else { to.to_owned() };
        expected.add(&case, &trial.rejected_message(&["validate", "job.toml"]));
    }
    expected.check_parts();
}

/// The number of rows and partial matches per key is limited.
#[test]
fn rows_and_matches_per_key_are_limited() {
    let rows: Vec<Value> = (0..30).map(|n| json!({ "k": "a", "id": n, "v": 2, "at": format_time(100 + n) })).collect();
    for (steps, set, output) in [
        ("a followed by b", "rows_max = 10", "stage `p`: batch 1: a key keeps 30 rows"),
        ("a+ with gaps followed by b", "partials_max = 20", "partial matches"),
    ] {
        let job = JOB.replacen("steps = \"a next b\"", &format!("steps = \"{steps}\"\n{set}"), 1);
        let trial = Trial::new(&job);
        trial.write("rows.jsonl", Value::Array(rows.clone()).to_string() + "\n");
        let ended = trial.run(&[]);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains(output) && ended.stderr.contains("(`within` of `pattern`)"), "{}", ended.stderr);
    }
}

/// The output of `millstream state`, and what is dropped.
#[test]
fn rows_are_kept_while_a_match_may_begin_with_them() {
    let job = JOB.replacen("steps = \"a next b\"", "steps = \"a followed by b\"\nwithin = \"5s\"", 1);
    let trial = Trial::new(&job);
    let row = |k: &str, v: i64, at: i64| json!({ "k": k, "id": 1, "v": v, "at": format_time(at) });
    let batches = [
        json!([row("x", 5, 100), row("x", 1, 101), row("y", 9, 101), row("z", 1, 101)]),
        json!([row("w", 0, 103)]),
        json!([row("y", 10, 104), row("w", 0, 107)]),
    ];
    let lines: Vec<String> = batches.iter().map(|batch| batch.to_string() + "\n").collect();
    let keeping = ["--set", "checkpoint.dir=checkpoint", "--set", "checkpoint.every=1", "--set", "at_end=keep"];
    let mut seen: Vec<BTreeSet<String>> = Vec::new();
    for count in 1..=lines.len() {
        trial.write("rows.jsonl", lines[..count].concat());
        trial.run_ok(&keeping);
        let state = trial.run_command(&[
            "state",
            "job.toml",
            "--set",
            "checkpoint.dir=checkpoint",
            "--sql",
            "select * from p",
            "--json",
        ]);
        assert_eq!(state.code, Some(0), "{}", state.stderr);
        let rows = state.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        seen.push(rows.map(|row| format!("{} {} {}", row["k"], row["v"], row["millstream_open"])).collect());
    }
    let set = |rows: &[&str]| rows.iter().map(|row| row.to_string()).collect::<BTreeSet<String>>();
    assert_eq!(seen[1], set(&["\"x\" 5 true", "\"x\" 1 false", "\"y\" 9 true", "\"w\" 0 true"]));
    assert_eq!(seen[2], set(&["\"w\" 0 true"]), "what came too late for a match is forgotten, and what was matched");
    let out = trial.rows("out.jsonl");
    assert_eq!(out, [json!({ "k": "y", "match_start": format_time(101), "match_end": format_time(104) })]);
}

/// The examples of `docs/reference/stages/pattern.md`: valid steps, and which match of `a a b b` counts.
#[test]
fn the_examples_of_the_page_give_their_output() {
    let page = fs::read_to_string(root().join("docs/reference/stages/pattern.md")).unwrap();
    let block = page.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let table = page.split("For the rows `a a b b`").nth(1).unwrap().split("\n\n").nth(1).unwrap();
    let rows: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.trim_end_matches(" |").split_once("` | "))
        .collect();
    assert!(block.lines().count() > 3 && rows.len() > 4, "{rows:?}");
    let source = "clock = \"manual\"\n[sources.rows]\nkind = \"queue\"\npath = \"rows.jsonl\"\n\
                  schema = { what = \"text\", at = \"timestamp\" }\n";
    let stage = |number: usize, steps: &str, define: &str, measures: &str| {
        format!(
            "[stages.p{number}]\nfrom = \"rows\"\ntime = \"at\"\n[stages.p{number}.pattern]\nsteps = \"{steps}\"\nwithin = \"1h\"\n\
             define = {{ {define} }}\nmeasures = {{ {measures} }}\n"
        ) + &sink(&format!("p{number}"), &format!("p{number}"))
    };
    let mut job = source.to_owned();
    for (number, line) in block.lines().enumerate() {
        let not = line.split("not ").nth(1).map_or("", |rest| rest.split(' ').next().unwrap());
        let define = if not.is_empty() { String::new() } else { format!("{not} = \"what = 'x'\"") };
        job += &stage(100 + number, line, &define, "");
    }
    for (number, (steps, _)) in rows.iter().enumerate() {
        job += &stage(number, steps, "a = \"what = 'a'\", b = \"what = 'b'\"", "a = \"count(a)\", b = \"count(b)\"");
    }
    let trial = Trial::new(&job);
    let row = |(place, what): (i64, &str)| json!({ "what": what, "at": format_time(place) });
    trial.write("rows.jsonl", Value::Array((0..).zip(["a", "a", "b", "b"]).map(row).collect()).to_string() + "\n");
    trial.run_ok(&[]);
    for (number, (steps, output)) in rows.iter().enumerate() {
        let found = trial.rows(&format!("p{number}.jsonl"));
        let letters = |name: &'static str| vec![name; found[0][name].as_u64().unwrap() as usize];
        let letters = [letters("a"), letters("b")].concat().join(" ");
        assert_eq!(letters, output.split(" (").next().unwrap(), "{steps}");
        let start = i64::from(output.contains("the second a"));
        assert_eq!(found[0]["match_start"], format_time(start), "{steps}");
    }
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn matches_of_more_jobs_equal_those_of_brute_force() {
        check_jobs(FEW_JOBS..JOBS);
    }
}
