//! Formats the facts about a checkpoint directory as text.

use super::facts::{CheckpointFacts, DirFacts, FilesFacts, SourceFacts, TableFacts};
use arrow::temporal_conversions::timestamp_us_to_datetime;
use millstream_base::shown::harmless;
use millstream_engine::checkpoint::types::{Column, JobStart, TableOf};
use millstream_rows::batch::partition::{counted, counts_rows};
use millstream_rows::batch::position::{Position, SOURCE_END};
use millstream_rows::batch::topic;
use std::fmt::Write as _;

/// How many incompletely read files of a directory are listed.
const FILES_SHOWN: usize = 10;

/// Returns the text of `millstream inspect`.
pub fn render(facts: &DirFacts) -> String {
    let mut text = String::new();
    let mut section = |name: &str, lines: Vec<String>| {
        let lines = lines.join("\n").replace('\n', "\n               ");
        let _ = writeln!(text, "{:<15}{lines}", format!("{name}:"));
    };
    section("job", vec![format!("{} ({})", facts.job, facts.job_id)]);
    section("checkpoint", vec![facts.place.clone()]);
    let running = match facts.running {
        Some(true) => "yes, a process holds its lock",
        Some(false) => "no",
        None => "unknown for this store",
    };
    section("running", vec![running.into()]);
    section("generation", vec![facts.generation.to_string()]);
    section("starts", facts.starts.iter().map(start).collect());
    if facts.checkpoints.is_empty() {
        section("checkpoints", vec!["none yet".into()]);
    } else {
        section("checkpoints", facts.checkpoints.iter().rev().map(checkpoint).collect());
    }
    if let Some(newest) = facts.checkpoints.last() {
        section(&format!("batch {}", newest.batch), newest.tables.iter().map(table).collect());
    }
    if !facts.positions.is_empty() {
        section("positions", facts.positions.iter().map(|(name, source)| positions(name, source)).collect());
    }
    if !facts.received.is_empty() {
        let received = facts.received.iter();
        section("received", received.map(|(name, rows)| format!("{name}: {} durable", count(*rows, "row"))).collect());
    }
    section("planned", vec![planned(facts)]);
    let stored = facts
        .stored
        .iter()
        .map(|(dir, stored)| format!("{dir}: {}, {}", count(stored.objects as u64, "object"), size(stored.bytes)));
    section("stored", stored.collect());
    if !facts.problems.is_empty() {
        section("problems", facts.problems.clone());
    }
    text
}

/// Formats columns, for example `word text, n int64`.
pub fn describe(columns: &[Column]) -> String {
    let shown = |column: &Column| format!("{} {}", harmless(&column.name, usize::MAX), column.kind);
    let columns: Vec<String> = columns.iter().map(shown).collect();
    if columns.is_empty() { "no columns".into() } else { columns.join(", ") }
}

fn start(start: &JobStart) -> String {
    let JobStart { generation, after, first, workers, upgrade, .. } = start;
    let workers = count(u64::from(*workers), "worker");
    match after.0 {
        _ if *upgrade => format!("{generation}: from batch {first} with another plugin, {workers}"),
        0 => format!("{generation}: from batch {first}, {workers}"),
        _ => format!("{generation}: after batch {after}, from batch {first}, {workers}"),
    }
}

fn checkpoint(facts: &CheckpointFacts) -> String {
    format!(
        "batch {} of {}: {}, {}, written {} by start {}",
        facts.batch,
        time(facts.time.0),
        count(facts.files as u64, "file"),
        size(facts.bytes),
        time(facts.written),
        facts.generation
    )
}

fn table(table: &TableFacts) -> String {
    let files = |files: &FilesFacts, what: &str| {
        let (rows, number) = (count(files.rows, "row"), count(files.files as u64, "file"));
        format!("{what}: {rows} in {number}, {}", size(files.bytes))
    };
    let kind = match table.of {
        TableOf::Stage => "stage",
        TableOf::Source => "source",
    };
    let mut text = format!("{kind} {}: key {}; state {}\n", table.name, describe(&table.key), describe(&table.state));
    let _ = write!(text, "  {}", files(&table.base, "base"));
    if table.changes != FilesFacts::default() {
        let _ = write!(text, "; {}", files(&table.changes, "changes"));
    }
    text
}

/// Describes how far a source was read, in terms of its kind.
fn positions(name: &str, source: &SourceFacts) -> String {
    let kind = source.source.split([' ', ':']).next().unwrap_or_default();
    let mut text = format!("{name} ({}): ", source.source);
    // A directory may contain a file with that name.
    let of_files = matches!(kind, "directory" | "follow");
    let is_end = |file: &str| !of_files && file == SOURCE_END;
    let has_ended = source.files.iter().any(|(file, position)| is_end(file) && position.mark == 1);
    // Other positions of a cluster do not describe how far it was read.
    let is_read = |file: &str| match kind {
        "kafka" => topic::is_name(file),
        "several" => counts_rows(file),
        _ => true,
    };
    let all = source.files.iter().filter(|(file, _)| !is_end(file) && is_read(file));
    let (ended, open): (Vec<_>, Vec<_>) = all.partition(|(_, position)| of_files && position.ended());
    let mut pieces: Vec<String> = Vec::new();
    if !ended.is_empty() {
        pieces.push(format!("{} read to the end", count(ended.len() as u64, "file")));
    }
    for (file, position) in open.iter().take(FILES_SHOWN) {
        let read = describe_position(kind, position);
        let shown = counted(file).filter(|_| kind == "several").unwrap_or_else(|| topic::shown(file));
        pieces.push(if file.is_empty() || kind == "follow" { read } else { format!("{shown} {read}") });
    }
    if open.len() > FILES_SHOWN {
        let what = match kind {
            "kafka" => "partition",
            "several" => "server",
            _ => "file",
        };
        pieces.push(format!("and {} more", count((open.len() - FILES_SHOWN) as u64, what)));
    }
    if has_ended {
        pieces.push("its end is in a batch".into());
    }
    text += &if pieces.is_empty() { "nothing read yet".to_owned() } else { pieces.join("; ") };
    text
}

fn describe_position(kind: &str, position: &Position) -> String {
    let Position { offset, mark } = *position;
    match kind {
        "file" | "directory" if position.ended() => format!("read to the end, byte {offset}"),
        "file" | "directory" | "follow" => format!("read to byte {offset}"),
        "queue" if mark == 0 => format!("read to byte {offset}"),
        "queue" => format!("read to byte {offset}, and {} of the line there", count(mark.unsigned_abs(), "row")),
        "kafka" => format!("read to offset {offset}"),
        "rate" | "nexmark" => format!("{} made", count(offset, "row")),
        // The name contains the next position of a stream or a poll.
        "http" if mark < 0 => "is the next position".into(),
        // Producers have a time there.
        "http" if mark != 0 => format!("sent request {offset}"),
        "socket" | "raw-socket" | "several" | "http" => format!("{} received", count(offset, "row")),
        _ => format!("offset {offset}, mark {mark}"),
    }
}

fn planned(facts: &DirFacts) -> String {
    match &facts.planned {
        None => "no batch after the newest checkpoint".into(),
        Some(planned) => {
            let plural = if planned.batches == 1 { "" } else { "es" };
            let end = if facts.running == Some(true) { "" } else { "; the next startup replays them" };
            format!("{} batch{plural}, {} to {}{end}", planned.batches, planned.first, planned.last)
        }
    }
}

/// Formats a number with its noun.
pub(in crate::cli) fn count(n: u64, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

/// Formats bytes with about three digits.
pub(in crate::cli) fn size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => count(bytes, "byte"),
    }
}

/// Formats microseconds since 1970 as date and time.
pub(in crate::cli) fn time(us: i64) -> String {
    timestamp_us_to_datetime(us).map_or_else(|| format!("{us} µs"), |time| time.format("%F %T%.3f UTC").to_string())
}
