//! Windows and watermarks of complete jobs, compared with an oracle that keeps every row and recomputes everything: random events
//! of two sources, disorder, idle sources, batch boundaries, numbers of workers. The unit tests of the engines cover many more
//! cases.

mod oracle;

use millstream_tests::{Random, Trial};
use oracle::{Event, Extent, Stage};
use serde_json::Value;
use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of jobs in `make test`, and in total; each has several stages.
const FEW_JOBS: u64 = 20;
const JOBS: u64 = 100;
const STAGES: usize = 20;
const BATCHES: usize = 30;
/// No row of a source is older than the newest one by more than this, in seconds.
const DISORDER_MAX: u64 = 15;

#[test]
fn windows_equal_those_of_the_oracle() {
    check_jobs(0..FEW_JOBS);
}

fn check_jobs(seeds: Range<u64>) {
    let next = AtomicU64::new(seeds.start);
    let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| std::iter::from_fn(take).for_each(check_job));
        }
    });
}

/// The same events in other batches, none of which is late: the same results in total.
#[test]
fn results_do_not_depend_on_the_batches_of_rows() {
    for seed in 0..6 {
        let mut random = Random::new(seed + 100);
        let mut stages: Vec<Stage> = (0..STAGES).map(|_| stage(&mut random)).collect();
        stages.retain(Stage::of_event_time);
        for stage in &mut stages {
            // Between the sources there are at most two seconds more.
            (stage.lateness, stage.idle, stage.update) = (DISORDER_MAX as i64 + 3, None, false);
        }
        let events: Vec<Event> = batches(&mut random).concat();
        let expected = all_rows(&stages, &cuts(&events, 1, &mut random), 1);
        assert!(expected.iter().map(Vec::len).sum::<usize>() > 50, "there is something to compare");
        for (rows_max, workers) in [(4, 1), (30, 2), (400, 3)] {
            let found = all_rows(&stages, &cuts(&events, rows_max, &mut random), workers);
            assert!(found == expected, "seed {seed}: batches of up to {rows_max} rows give other results");
        }
    }
}

/// All rows of each stage, sorted.
fn all_rows(stages: &[Stage], batches: &[Vec<Event>], workers: u64) -> Vec<Vec<String>> {
    let trial = Trial::new(&job(stages));
    write(&trial, batches);
    trial.run_ok(&["--workers", &workers.to_string()]);
    let rows = |place: usize| sorted(&trial.rows(&format!("s{place}.jsonl")));
    (0..stages.len()).map(rows).collect()
}

/// Splits events into batches of up to this many rows.
fn cuts(events: &[Event], rows_max: u64, random: &mut Random) -> Vec<Vec<Event>> {
    let (mut rest, mut batches) = (events, Vec::new());
    while !rest.is_empty() {
        let (batch, behind) = rest.split_at(rest.len().min(random.from(1, rows_max) as usize));
        batches.push(batch.to_vec());
        rest = behind;
    }
    batches
}

/// Adds the batch in which the sources end, which has no rows.
fn with_end(batches: &[Vec<Event>]) -> Vec<Vec<Event>> {
    batches.iter().cloned().chain([Vec::new()]).collect()
}

fn check_job(seed: u64) {
    let mut random = Random::new(seed.wrapping_mul(7919).wrapping_add(3));
    let stages: Vec<Stage> = (0..STAGES).map(|_| stage(&mut random)).collect();
    let batches = batches(&mut random);
    let trial = Trial::new(&job(&stages));
    write(&trial, &batches);
    let workers = random.from(1, 3);
    let keep = random.from(0, 2) == 0;
    let sets: &[&str] = if keep { &["--set", "at_end=keep"] } else { &[] };
    trial.run_ok(&[&["--workers", &workers.to_string()], sets].concat());
    // Without an event time that could end, nothing is logged at the end.
    let ends = !keep && stages.iter().any(Stage::of_event_time);
    let batches = if ends { with_end(&batches) } else { batches };
    for (place, stage) in stages.iter().enumerate() {
        let output = format!("job {seed} with {workers} workers, stage s{place}: {stage:?}");
        for (what, expected) in oracle::results(stage, &batches, ends) {
            compare(&output, what, &trial.batches(&format!("{what}{place}.jsonl")), &expected);
        }
    }
    let strings = || (0..STAGES).map(|place| trial.text(&format!("s{place}.jsonl"))).collect::<Vec<_>>();
    let first = strings();
    for place in 0..STAGES {
        for what in ["s", "late"] {
            let _ = std::fs::remove_file(trial.path(&format!("{what}{place}.jsonl")));
        }
    }
    let others = workers % 3 + 1;
    trial.run_ok(&[&["--workers", &others.to_string()], sets].concat());
    assert!(first == strings(), "job {seed}: {workers} workers put out something else than {others}");
}

/// Compares batch by batch; that the order of rows is one and the same is looked at with other numbers of workers.
fn compare(output: &str, what: &str, found: &[Value], expected: &[Vec<Value>]) {
    assert_eq!(found.len(), expected.len(), "{output}: batches of {what}");
    for (batch, (found, expected)) in (1..).zip(found.iter().zip(expected)) {
        let found = sorted(found["rows"].as_array().expect("a batch has rows"));
        let expected = sorted(expected);
        let [required, got] = [&expected, &found].map(|rows| rows.join("\n"));
        assert!(found == expected, "{output}: batch {batch} of {what}\n--- expected\n{required}\n--- found\n{got}");
    }
}

fn sorted(rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

fn stage(random: &mut Random) -> Stage {
    let extent = match random.from(0, 3) {
        0 => Extent::Sliding { size: random.from(1, 20) as i64, slide: None },
        1 => {
            let slide = random.from(1, 9) as i64;
            Extent::Sliding { size: slide + random.from(0, 20) as i64, slide: Some(slide) }
        }
        2 => Extent::Session { gap: random.from(1, 8) as i64 },
        _ => Extent::Batches { size: random.from(1, 9) as i64, slide: random.from(1, 9) as i64 },
    };
    Stage {
        extent,
        keyed: random.from(0, 2) > 0,
        lateness: random.from(0, 12) as i64,
        idle: (random.from(0, 1) == 0).then(|| random.from(1, 6) as i64),
        update: random.from(0, 3) == 0 && !matches!(extent, Extent::Batches { .. }),
    }
}

/// Events whose times advance by two seconds per batch, more or less in order; a source is sometimes idle.
fn batches(random: &mut Random) -> Vec<Vec<Event>> {
    let disorder = random.from(0, DISORDER_MAX);
    let mut silent = [0, 0];
    let mut one = |batch: usize| {
        let mut events = Vec::new();
        for (source, silent) in silent.iter_mut().enumerate() {
            if *silent > 0 {
                *silent -= 1;
                continue;
            }
            if random.from(0, 12) == 0 {
                *silent = random.from(1, 9);
            }
            for _ in 0..random.from(0, 7) {
                let time = 1000 + 2 * batch as u64 + source as u64 * random.from(0, 2) - random.from(0, disorder);
                let (key, value) = (random.from(0, 3), random.from(0, 1000) as i64 - 500);
                events.push(Event { source, key, value, time: time as i64 });
            }
        }
        events
    };
    (0..BATCHES).map(&mut one).collect()
}

fn write(trial: &Trial, batches: &[Vec<Event>]) {
    for (source, name) in ["a", "b"].iter().enumerate() {
        let lines = batches.iter().map(|events| line(events.iter().filter(|event| event.source == source)));
        trial.write(&format!("{name}.jsonl"), lines.collect::<String>());
    }
}

fn line<'a>(events: impl Iterator<Item = &'a Event>) -> String {
    let row = |event: &Event| format!("[\"k{}\",{},\"{}\"]", event.key, event.value, oracle::format_time(event.time));
    format!("[{}]\n", events.map(row).collect::<Vec<_>>().join(","))
}

fn job(stages: &[Stage]) -> String {
    let mut text = String::from("name = \"windows\"\nbatch = \"1s\"\nclock = \"manual\"\n");
    for source in ["a", "b"] {
        let _ = writeln!(
            text,
            "[sources.{source}]\nkind = \"queue\"\npath = \"{source}.jsonl\"\n\
             schema = {{ k = \"text\", v = \"int64\", ts = \"timestamp\" }}"
        );
    }
    for (place, stage) in stages.iter().enumerate() {
        text.push_str(&stage_text(place, stage));
    }
    text
}

fn stage_text(place: usize, stage: &Stage) -> String {
    let mut text = format!("[stages.s{place}]\nfrom = [\"a\", \"b\"]\n");
    text.push_str("aggregate = { n = \"count(*)\", total = \"sum(v)\", least = \"min(v)\" }\n");
    if stage.keyed {
        text.push_str("key = \"k\"\n");
    }
    let window = match stage.extent {
        Extent::Sliding { size, slide: None } => format!("size = \"{size}s\""),
        Extent::Sliding { size, slide: Some(slide) } | Extent::Batches { size, slide } => {
            format!("size = \"{size}s\", slide = \"{slide}s\"")
        }
        Extent::Session { gap } => format!("gap = \"{gap}s\""),
    };
    let _ = writeln!(text, "window = {{ {window} }}");
    if stage.of_event_time() {
        let _ = writeln!(text, "time = \"ts\"\nlateness = \"{}s\"", stage.lateness);
        if let Some(idle) = stage.idle {
            let _ = writeln!(text, "idle = \"{idle}s\"");
        }
        if stage.update {
            text.push_str("emit = \"update\"\n");
        }
        let late =
            format!("[sinks.late{place}]\nfrom = \"s{place}.late\"\nkind = \"queue\"\npath = \"late{place}.jsonl\"\n");
        text.push_str(&late);
    }
    let _ = writeln!(text, "[sinks.o{place}]\nfrom = \"s{place}\"\nkind = \"queue\"\npath = \"s{place}.jsonl\"");
    text
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn windows_of_more_jobs_equal_those_of_the_oracle() {
        check_jobs(FEW_JOBS..JOBS);
    }
}
