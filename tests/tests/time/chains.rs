//! Chains of two and three stages that emit rows later than their input arrived, compared with an oracle without time that
//! computes each stage over all rows together. The input is in perfect order, so nothing may ever be late. The results must equal
//! the oracle's in total, on any number of workers, and across stops.

use millstream_tests::{Random, Trial, queue_sink, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};

/// The number of jobs in `make test`, and in total.
const FEW_JOBS: u64 = 3;
const JOBS: u64 = 8;
const CHAINS: usize = 10;
const LINES: usize = 24;

/// A row: key, value, time in seconds.
type Row = (String, i64, i64);

/// What becomes the time of a window's row.
#[derive(Clone, Copy, Debug)]
enum Time {
    Start,
    End,
    Oldest,
    Newest,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sliding {
        size: i64,
        slide: i64,
        time: Time,
    },
    Sessions {
        gap: i64,
        time: Time,
    },
    Rows {
        size: i64,
        slide: i64,
    },
    RowsOfSessions {
        gap: i64,
    },
    Join {
        from: i64,
        to: i64,
        /// Whether rows without a partner are emitted, for the first stream and for the second.
        outer: (bool, bool),
    },
    /// Fires this long after each row, once for each key and time.
    Timers {
        delay: i64,
    },
    /// One row of each key and time.
    Once,
    /// This and the next one delay nothing and stand between others. A source with its own rate is merged with the rows.
    Union,
    Filter,
}

#[derive(Clone, Copy, Debug)]
struct Stage {
    kind: Kind,
    lateness: i64,
}

fn stage(random: &mut Random) -> Stage {
    let time = *random.one_of(&[Time::Start, Time::End, Time::Oldest, Time::Newest]);
    let slide = random.from(1, 8) as i64;
    let size = slide + if random.from(0, 1) == 0 { 0 } else { random.from(0, 12) as i64 };
    let kind = match random.from(0, 10) {
        0 => Kind::Sliding { size, slide, time },
        1 => Kind::Sessions { gap: random.from(1, 6) as i64, time },
        2 => Kind::Rows { size, slide },
        3 => Kind::RowsOfSessions { gap: random.from(1, 6) as i64 },
        4 => Kind::Filter,
        5 => Kind::Timers { delay: random.from(1, 9) as i64 },
        6 => Kind::Once,
        7 => Kind::Union,
        _ => {
            let from = random.from(0, 10) as i64 - 8;
            let outer = (random.from(0, 3) > 0, random.from(0, 2) == 0);
            Kind::Join { from, to: from + random.from(0, 10) as i64, outer }
        }
    };
    Stage { kind, lateness: random.one_of(&[0, 0, 0, 4]).to_owned() }
}

fn stage_text(name: &str, from: &str, stage: Stage) -> String {
    let mut text = match stage.kind {
        Kind::Union => return format!("[stages.{name}]\nfrom = [\"{from}\", \"slow\"]\n"),
        Kind::Timers { delay } => format!(
            "[stages.{name}-set]\nfrom = \"{from}\"\n\
             select = \"k, 'set' as todo, cast(extract(epoch from at) as bigint) + {delay} as second, at\"\n\
             [stages.{name}-rung]\nfrom = \"{name}-set\"\nkey = \"k\"\ntime = \"at\"\nplugin = \"{}\"\n\
             [stages.{name}]\nfrom = \"{name}-rung\"\n",
            root().join("tests/plugins/alarm").display()
        ),
        _ => format!("[stages.{name}]\nfrom = \"{from}\"\n"),
    };
    let bound = |time| match time {
        Time::Start => "window_start",
        Time::End => "window_end",
        Time::Oldest => "oldest",
        Time::Newest => "newest",
    };
    let aggregate = "key = \"k\"\naggregate = { n = \"sum(v)\", oldest = \"min(at)\", newest = \"max(at)\" }";
    let _ = match stage.kind {
        Kind::Sliding { size, slide, time } => writeln!(
            text,
            "window = {{ size = \"{size}s\", slide = \"{slide}s\" }}\n{aggregate}\nselect = \"k, n as v, {} as at\"",
            bound(time)
        ),
        Kind::Sessions { gap, time } => writeln!(
            text,
            "window = {{ gap = \"{gap}s\" }}\n{aggregate}\nselect = \"k, n as v, {} as at\"",
            bound(time)
        ),
        Kind::Rows { size, slide } => {
            writeln!(text, "window = {{ size = \"{size}s\", slide = \"{slide}s\" }}\nselect = \"k, v, at\"")
        }
        Kind::RowsOfSessions { gap } => {
            writeln!(text, "window = {{ gap = \"{gap}s\" }}\nkey = \"k\"\nselect = \"k, v, at\"")
        }
        Kind::Join { from, to, outer } => writeln!(
            text,
            "join = {{ with = \"right\", on = {{ k = \"rk\" }}, within = [\"{from}s\", \"{to}s\"], type = \"{}\" }}\n\
             select = \"k, coalesce(v, 0) + coalesce(w, 0) as v, {} as at\"",
            match outer {
                (false, false) => "inner",
                (true, false) => "left",
                (false, true) => "right",
                (true, true) => "full",
            },
            if outer.1 { "coalesce(at, rat)" } else { "at" }
        ),
        Kind::Timers { .. } => writeln!(
            text,
            "key = \"k\"\ndeduplicate = {{ within = \"1s\" }}\n\
             select = \"k, second as v, to_timestamp_seconds(second) as at\""
        ),
        Kind::Once => writeln!(text, "key = \"k\"\ndeduplicate = {{ within = \"1s\" }}\nselect = \"k, 1 as v, at\""),
        Kind::Union | Kind::Filter => writeln!(text, "filter = \"v % 7 <> 3\""),
    };
    match stage.kind {
        Kind::Filter => return text,
        Kind::Join { .. } => text.push_str("time = [\"at\", \"rat\"]\n"),
        Kind::Timers { .. } => text.push_str("time = \"to_timestamp_seconds(second)\"\n"),
        _ => text.push_str("time = \"at\"\n"),
    }
    let _ = writeln!(text, "lateness = \"{}s\"", stage.lateness);
    let late = format!("{name}-late");
    text.push_str(&queue_sink(&late, &format!("{name}.late"), &late));
    text
}

/// The rows of a stage, from all rows of the previous one.
fn rows_of(stage: Stage, rows: &[Row], right: &[Row], slow: &[Row]) -> Vec<Row> {
    let mut made = Vec::new();
    let times = |later: i64| rows.iter().map(|(key, _, at)| (key.clone(), at + later)).collect::<BTreeSet<_>>();
    match stage.kind {
        Kind::Union => made.extend([rows, slow].concat()),
        Kind::Once => made.extend(times(0).into_iter().map(|(key, at)| (key, 1, at))),
        Kind::Timers { delay } => made.extend(times(delay).into_iter().map(|(key, at)| (key, at, at))),
        Kind::Filter => made.extend(rows.iter().filter(|row| row.1 % 7 != 3).cloned()),
        Kind::Join { from, to, outer } => {
            for (key, value, at) in rows {
                let partners = right.iter().filter(|row| row.0 == *key && (at + from..=at + to).contains(&row.2));
                let before = made.len();
                made.extend(partners.map(|row| (key.clone(), value + row.1, *at)));
                if before == made.len() && outer.0 {
                    made.push((key.clone(), *value, *at));
                }
            }
            let lonely =
                |row: &&Row| !rows.iter().any(|(key, _, at)| row.0 == *key && (at + from..=at + to).contains(&row.2));
            made.extend(right.iter().filter(lonely).filter(|_| outer.1).cloned());
        }
        Kind::Sliding { size, slide, time } => {
            for (key, start, inside) in sliding(rows, size, slide, true) {
                made.push(window_row(key, start, start + size, &inside, time));
            }
        }
        Kind::Rows { size, slide } => {
            sliding(rows, size, slide, false).into_iter().for_each(|(_, _, inside)| made.extend(inside));
        }
        Kind::Sessions { gap, time } => {
            for (key, inside) in sessions(rows, gap) {
                let (first, last) = bounds(&inside);
                made.push(window_row(key, first, last + gap, &inside, time));
            }
        }
        Kind::RowsOfSessions { gap } => sessions(rows, gap).into_iter().for_each(|(_, inside)| made.extend(inside)),
    }
    made
}

fn bounds(rows: &[Row]) -> (i64, i64) {
    let times = || rows.iter().map(|row| row.2);
    (times().min().unwrap_or(0), times().max().unwrap_or(0))
}

fn window_row(key: String, start: i64, end: i64, inside: &[Row], time: Time) -> Row {
    let (oldest, newest) = bounds(inside);
    let at = match time {
        Time::Start => start,
        Time::End => end,
        Time::Oldest => oldest,
        Time::Newest => newest,
    };
    (key, inside.iter().map(|row| row.1).sum(), at)
}

fn sliding(rows: &[Row], size: i64, slide: i64, keyed: bool) -> Vec<(String, i64, Vec<Row>)> {
    let mut windows: BTreeMap<(String, i64), Vec<Row>> = BTreeMap::new();
    for row in rows {
        let key = if keyed { row.0.clone() } else { String::new() };
        let mut start = row.2.div_euclid(slide) * slide;
        while start + size > row.2 {
            windows.entry((key.clone(), start)).or_default().push(row.clone());
            start -= slide;
        }
    }
    windows.into_iter().map(|((key, start), rows)| (key, start, rows)).collect()
}

fn sessions(rows: &[Row], gap: i64) -> Vec<(String, Vec<Row>)> {
    let mut by_key: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    rows.iter().for_each(|row| by_key.entry(row.0.clone()).or_default().push(row.clone()));
    let mut found: Vec<(String, Vec<Row>)> = Vec::new();
    for (key, mut rows) in by_key {
        rows.sort_by_key(|row| row.2);
        for row in rows {
            match found.last_mut() {
                Some((own, session)) if *own == key && row.2 - bounds(session).1 < gap => session.push(row),
                _ => found.push((key.clone(), vec![row])),
            }
        }
    }
    found
}

fn format_time(second: i64) -> String {
    format!("1970-01-01T{:02}:{:02}:{:02}.000000Z", second / 3600, second / 60 % 60, second % 60)
}

/// Rows of these keys in the order of their times, in this many batches. Sources may lag behind each other.
fn input(random: &mut Random, keys: &[String]) -> Vec<Vec<Row>> {
    let pace = *random.one_of(&[1, 1, 3]);
    let mut second = 1_000 + random.from(0, 5) as i64;
    let mut line = || {
        let mut rows = Vec::new();
        for _ in 0..random.from(0, 5) {
            second += pace * random.one_of(&[0, 0, 1, 1, 2, 5]);
            rows.push((random.one_of(keys).clone(), random.from(0, 100) as i64, second));
        }
        rows
    };
    (0..LINES).map(|_| line()).collect()
}

fn write(trial: &Trial, name: &str, batches: &[Vec<Row>]) {
    let row = |(key, value, at): &Row| format!("[\"{key}\",{value},\"{}\"]", format_time(*at));
    let line = |rows: &Vec<Row>| format!("[{}]\n", rows.iter().map(row).collect::<Vec<_>>().join(","));
    trial.write(name, batches.iter().map(line).collect::<String>());
}

fn job(chains: &[Vec<Stage>]) -> String {
    let mut text = String::from("name = \"chains\"\nbatch = \"1s\"\nclock = \"manual\"\n");
    for (source, schema) in [
        ("left", "{ k = \"text\", v = \"int64\", at = \"timestamp\" }"),
        ("slow", "{ k = \"text\", v = \"int64\", at = \"timestamp\" }"),
        ("right", "{ rk = \"text\", w = \"int64\", rat = \"timestamp\" }"),
    ] {
        let _ = writeln!(text, "[sources.{source}]\nkind = \"queue\"\npath = \"{source}.jsonl\"\nschema = {schema}");
    }
    for (number, chain) in chains.iter().enumerate() {
        let mut from = "left".to_owned();
        for (place, stage) in chain.iter().enumerate() {
            let name = format!("c{number}-{place}");
            text.push_str(&stage_text(&name, &from, *stage));
            from = name;
        }
        let out = format!("out{number}");
        text.push_str(&queue_sink(&out, &from, &out));
    }
    text
}

/// The batches of the sources `left`, `right` and `slow`.
type Sources = [Vec<Vec<Row>>; 3];

const SOURCES: [&str; 3] = ["left.jsonl", "right.jsonl", "slow.jsonl"];

fn check(trial: &Trial, output: &str, chains: &[Vec<Stage>], sources: &Sources) {
    let [left, right, slow] = sources.each_ref().map(|batches| batches.concat());
    for (number, chain) in chains.iter().enumerate() {
        let mut rows = left.clone();
        for (place, stage) in chain.iter().enumerate() {
            rows = rows_of(*stage, &rows, &right, &slow);
            let late = trial.rows(&format!("c{number}-{place}-late.jsonl"));
            let late: Vec<_> = late.iter().map(|row| (&row["at"], &row["reason"])).collect();
            assert!(late.is_empty(), "{output}: chain {chain:?}: stage {place} has late rows: {late:?}");
        }
        let text = |key: &str, value: &dyn Display, at: &str| format!("{} {value} {at}", &key[..2]);
        let mut expected: Vec<String> =
            rows.iter().map(|(key, value, at)| text(key, value, &format_time(*at))).collect();
        let found = trial.rows(&format!("out{number}.jsonl"));
        let text = |row: &serde_json::Value| text(row["k"].as_str().unwrap(), &row["v"], row["at"].as_str().unwrap());
        let mut found: Vec<String> = found.iter().map(text).collect();
        expected.sort();
        found.sort();
        assert!(
            found == expected,
            "{output}: chain {chain:?}\n--- expected\n{}\n--- found\n{}",
            expected.join("\n"),
            found.join("\n")
        );
    }
}

/// The minimum size of keys in bytes, and the job's memory settings.
struct Size {
    key_bytes: usize,
    options: &'static [&'static str],
}

const SMALL: Size = Size { key_bytes: 0, options: &[] };
/// Rows leave memory, of each stage in another batch.
const LARGE: Size = Size { key_bytes: 2_000, options: &["--set", "state.memory=1MiB"] };

/// The job with such keys that `make test` runs.
const LARGE_JOB: u64 = 2;

fn check_job(seed: u64, size: &Size) {
    let Size { key_bytes, options } = size;
    let mut random = Random::new(seed.wrapping_mul(104_729).wrapping_add(7));
    let chain = |random: &mut Random| (0..random.from(2, 3)).map(|_| stage(random)).collect::<Vec<_>>();
    let chains: Vec<Vec<Stage>> = (0..CHAINS).map(|_| chain(&mut random)).collect();
    let keys = [0, 1, 2].map(|key| format!("k{key}{}", "x".repeat(*key_bytes)));
    let sources: Sources = [(); 3].map(|()| input(&mut random, &keys));
    for workers in ["1", "2"] {
        let trial = Trial::new(&job(&chains));
        SOURCES.iter().zip(&sources).for_each(|(name, batches)| write(&trial, name, batches));
        trial.run_ok(&[&["--workers", workers], *options].concat());
        check(&trial, &format!("job {seed} with {workers} workers"), &chains, &sources);
    }
    // Stopped and resumed, with other numbers of workers; sources have different positions.
    let trial = Trial::new(&job(&chains));
    let mut lines = [0; 3];
    let keeping = ["--set", "checkpoint.dir=checkpoint", "--set", "checkpoint.every=3"];
    while lines != [LINES; 3] {
        for ((name, batches), lines) in SOURCES.iter().zip(&sources).zip(&mut lines) {
            *lines = (*lines + random.from(0, 9) as usize).min(LINES);
            write(&trial, name, &batches[..*lines]);
        }
        let workers = random.from(1, 3).to_string();
        let at_end = if lines == [LINES; 3] { "at_end=flush" } else { "at_end=keep" };
        trial.run_ok(&[&keeping[..], &["--workers", &workers, "--set", at_end], *options].concat());
    }
    check(&trial, &format!("job {seed}, stopped"), &chains, &sources);
}

#[test]
fn nothing_is_late_after_stages_that_hold_rows_back() {
    (0..FEW_JOBS).for_each(|seed| check_job(seed, &SMALL));
}

/// The rows of one of its joins leave memory in a batch that brings the newest of the output.
#[test]
fn nothing_is_late_after_stages_whose_rows_leave_memory() {
    check_job(LARGE_JOB, &LARGE);
}

/// A stage that gives the rows of two sources one watermark, of which one source lags far behind the other.
#[test]
fn rows_of_a_lagging_source_are_not_late_after_a_stage_with_one_watermark() {
    let counts = "[stages.once]\nfrom = [\"left\", \"slow\"]\nkey = \"k\"\ntime = \"at\"\n\
                  deduplicate = { within = \"1s\" }\n\
                  [stages.counts]\nfrom = \"once\"\ntime = \"at\"\nwindow = { size = \"10s\" }\n\
                  aggregate = { n = \"count(*)\" }\n";
    let sinks = queue_sink("out", "counts", "out") + &queue_sink("missed", "counts.late", "missed");
    let trial = Trial::new(&format!("{}{counts}{sinks}", job(&[])));
    let batches = |key: &str, from: i64, pace: i64| -> Vec<Vec<Row>> {
        (0..20).map(|number| vec![(key.to_owned(), number, from + number * pace)]).collect()
    };
    write(&trial, SOURCES[0], &batches("k0", 500, 10));
    write(&trial, SOURCES[1], &[]);
    write(&trial, SOURCES[2], &batches("k1", 100, 1));
    trial.run_ok(&["--workers", "2"]);
    assert_eq!(trial.rows("missed.jsonl"), Vec::<serde_json::Value>::new());
    let counted: i64 = trial.rows("out.jsonl").iter().filter_map(|row| row["n"].as_i64()).sum();
    assert_eq!(counted, 40);
}

/// The complete backlog arrives in one batch, and nothing after it for a while.
#[test]
fn results_of_sessions_of_a_backlog_do_not_wait_for_more_rows() {
    let stages = "[stages.sessions]\nfrom = \"left\"\nkey = \"k\"\ntime = \"at\"\nwindow = { gap = \"2s\" }\n\
                  aggregate = { n = \"sum(v)\" }\n\
                  [stages.counts]\nfrom = \"sessions\"\nkey = \"k\"\ntime = \"window_start\"\nwindow = { size = \"10s\" }\n\
                  aggregate = { n = \"sum(n)\" }\n";
    let trial = Trial::new(&format!("{}{stages}{}", job(&[]), queue_sink("out", "counts", "out")));
    let row = |value: i64, second: i64| ("k0".to_owned(), value, second);
    let backlog = vec![row(1, 1_000), row(2, 1_001), row(4, 1_020), row(8, 1_099), row(16, 1_100)];
    write(&trial, SOURCES[0], &[backlog, vec![], vec![]]);
    write(&trial, SOURCES[1], &[]);
    write(&trial, SOURCES[2], &[]);
    trial.run_ok(&["--set", "at_end=keep"]);
    let found: Vec<_> = trial.rows("out.jsonl").iter().map(|row| row["n"].as_i64().unwrap()).collect();
    assert_eq!(found, [3], "the session of 1,020 s has come out, and so the window before it");
}

/// Output of stages that delay rows of such a backlog does not wait either, as far as they are known to hold nothing older.
#[test]
fn rows_of_a_backlog_held_back_by_stages_delay_nothing_longer_than_they_are_held() {
    let all = [
        ("once", "key = [\"k\", \"v\"]\ndeduplicate = { within = \"10s\" }", "at"),
        ("own", "window = { size = \"2s\" }\nselect = \"k, v, at as own\"", "own"),
        ("quiet", "window = { gap = \"3s\" }\nkey = \"v\"", "at"),
        ("visits", "window = { gap = \"1s\" }\nkey = \"v\"\naggregate = { n = \"count(*)\" }", "window_start"),
        ("pairs", "key = \"k\"\npattern = { steps = \"any\" }", "match_end"),
        (
            "near",
            "join = { with = \"right\", on = { v = \"w\" }, within = \"1s\", type = \"left\" }\nselect = \"at as own, rat\"",
            "own",
        ),
        ("other", "join = { with = \"right\", on = { v = \"w\" }, within = \"1s\" }", "rat"),
        ("as-of", "join = { with = \"right\", on = { v = \"w\" }, as_of = true, type = \"left\" }", "at"),
    ];
    let mut text = job(&[]);
    for (name, does, time) in all {
        let own = if does.starts_with("join") { "[\"at\", \"rat\"]" } else { "\"at\"" };
        let _ = write!(
            text,
            "[stages.{name}]\nfrom = \"left\"\ntime = {own}\nlateness = \"5s\"\n{does}\n\
             [stages.{name}-counts]\nfrom = \"{name}\"\ntime = \"{time}\"\nwindow = {{ size = \"10s\" }}\n\
             aggregate = {{ rows = \"count(*)\" }}\n"
        );
        text.push_str(&queue_sink(name, &format!("{name}-counts"), name));
    }
    let backlog: Vec<Row> = (0..100).map(|number| ("k0".to_owned(), number, 1_000 + number)).collect();
    let batches = [backlog, vec![], vec![]];
    for workers in ["1", "2"] {
        let trial = Trial::new(&text);
        [SOURCES[0], SOURCES[1]].iter().for_each(|name| write(&trial, name, &batches));
        write(&trial, SOURCES[2], &[]);
        trial.run_ok(&["--workers", workers, "--set", "at_end=keep"]);
        for (name, ..) in all {
            let counted: Vec<_> = trial.rows(&format!("{name}.jsonl")).iter().map(|row| row["rows"].clone()).collect();
            assert_eq!(counted, [10; 9], "{name}, {workers} workers: up to 1,090 s nothing is held any more");
        }
    }
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn nothing_of_more_jobs_is_late_after_stages_that_hold_rows_back() {
        (FEW_JOBS..JOBS).for_each(|seed| check_job(seed, &SMALL));
    }

    #[test]
    fn nothing_of_more_jobs_is_late_after_stages_whose_rows_leave_memory() {
        (0..JOBS).filter(|seed| *seed != LARGE_JOB).for_each(|seed| check_job(seed, &LARGE));
    }
}
