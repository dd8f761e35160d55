//! Formats the status of a job as text.

use super::super::inspect::text::{count, size, time};
use millstream_base::units::grouped;
use millstream_engine::running::upgrade::{UpgradeStatus, UpgradeStep};
use millstream_job::plugin_part::PluginPart;
use millstream_metrics::{PluginCosts, PluginId, Snapshot};
use millstream_plugins::plugin::Costs;
use millstream_runtime::control::{JobStatus, PartStatus, PartitionStatus, PartitionsStatus, WorkerBusy};
use std::fmt::Write as _;

/// Number of characters of a plugin's digest that are shown.
const DIGEST_CHARS: usize = 12;
/// The columns of the table after the name, and their width.
const COLUMNS: [&str; 5] = ["rows", "rows/s", "rejected", "not read", "late"];
const COLUMN_CHARS: usize = 12;
/// Maximum number of workers that are listed individually.
const WORKERS_MAX: usize = 8;
const WORKERS_PER_LINE: usize = 4;
/// Maximum number of partitions of a source that are listed individually.
const PARTITIONS_MAX: usize = 20;

/// Returns the text of `millstream status`.
pub fn render(status: &JobStatus) -> String {
    let mut text = String::new();
    let us = status.now_us.saturating_sub(status.since_us).max(0).unsigned_abs();
    let since = time(status.since_us);
    let workers = count(status.workers as u64, "worker");
    let processes = match status.processes {
        1 => "1 process".to_owned(),
        n if n == status.answered => format!("{n} processes"),
        n => format!("{} of {n} processes; the others do not respond", status.answered),
    };
    let (begun, committed) = (grouped(status.batches_begun), grouped(status.batches_committed));
    let _ = write!(
        text,
        "job      {}\n         running for {}, since {since}\n         {workers} in {processes}\n\
         batches  {begun} begun, {committed} committed\n",
        status.job,
        duration(us.saturating_mul(1000))
    );
    if let (Some(batch), Some(time_of_batch)) = (status.last_batch, status.last_batch_time_us) {
        let _ = writeln!(text, "         the last is batch {batch} of {}", time(time_of_batch.0));
    }
    if status.busy.len() > 1 {
        let _ = writeln!(text, "busy     {}", describe_busy(status));
    }
    if status.memory_bytes_max > 0 {
        let tight = if status.memory_tight { "; sources wait until it is lower" } else { "" };
        let _ = writeln!(text, "memory   {} of {}{tight}", size(status.memory_bytes), size(status.memory_bytes_max));
    }
    if let Some(upgrade) = &status.upgrade {
        let _ = writeln!(text, "upgrade  {}", describe_upgrade(upgrade));
    }
    let kinds = [("sources", &status.sources), ("stages", &status.stages), ("sinks", &status.sinks)];
    let names = kinds.iter().flat_map(|(_, parts)| parts.iter()).map(|part| part.name.chars().count() + 2);
    let width = names.chain([10]).max().unwrap_or_default();
    let _ = write!(text, "\n{:width$}", "");
    COLUMNS.iter().for_each(|column| write!(text, "{column:>COLUMN_CHARS$}").unwrap_or_default());
    text.push('\n');
    for (kind, parts) in kinds.into_iter().filter(|(_, parts)| !parts.is_empty()) {
        text.push_str(kind);
        text.push('\n');
        parts.iter().for_each(|part| write_part(&mut text, part, width));
    }
    text
}

/// Describes the load of the workers. Of many workers, those with the highest and the lowest load are listed.
fn describe_busy(status: &JobStatus) -> String {
    let mut workers = status.busy.clone();
    workers.sort_by_key(|busy| busy.worker);
    let omitted = workers.len().saturating_sub(WORKERS_MAX);
    if omitted > 0 {
        workers.sort_by_key(|busy| std::cmp::Reverse(busy.percent));
        workers.drain(WORKERS_MAX / 2..WORKERS_MAX / 2 + omitted);
    }
    let text =
        workers.iter().map(|WorkerBusy { worker, percent }| format!("worker {worker} {percent} %")).collect::<Vec<_>>();
    let lines = text.chunks(WORKERS_PER_LINE).map(|line| line.join(", ")).collect::<Vec<_>>();
    let more = if omitted > 0 { format!(", {omitted} between") } else { String::new() };
    format!("{}{more}", lines.join(",\n         "))
}

/// Describes the last upgrade, in one or two lines.
fn describe_upgrade(UpgradeStatus { stage, from, to, step, .. }: &UpgradeStatus) -> String {
    let how = match step {
        UpgradeStep::Prepared => "is loaded and checked".to_owned(),
        UpgradeStep::Shadowing => "runs in parallel and is compared".to_owned(),
        UpgradeStep::Shadowed => "ran in parallel and was compared".to_owned(),
        UpgradeStep::Committing => "becomes active with the next batch".to_owned(),
        UpgradeStep::Done { after, pause_us } => {
            let pause = duration(pause_us.saturating_mul(1000));
            format!("active after batch {after}; pause {pause}")
        }
        UpgradeStep::Dropped(why) => format!("was canceled: {why}"),
        UpgradeStep::Failed(why) => format!("failed, and the previous version continues: {why}"),
    };
    let part = match PluginPart::parse(stage) {
        PluginPart::Stage(name) => format!("`{name}`"),
        part => part.to_string(),
    };
    format!("{part}: {} -> {}\n         {how}", from.0, to.0)
}

fn write_part(text: &mut String, part: &PartStatus, width: usize) {
    let PartStatus { name, counts, .. } = part;
    let Snapshot { rows, rows_per_second, rejected, late, unread_rejected, .. } = counts;
    let _ = write!(text, "{:width$}", format!("  {name}"));
    for number in [*rows, *rows_per_second, *rejected, *unread_rejected, *late] {
        let _ = write!(text, "{:>COLUMN_CHARS$}", grouped(number));
    }
    text.push('\n');
    text.push_str(&facts(part));
}

/// Returns the facts about a part in addition to its numbers, one per line.
pub fn facts(PartStatus { plugin, behind, partitions, counts, .. }: &PartStatus) -> String {
    let mut text = String::new();
    if let Some(behind) = behind {
        write_fact(&mut text, "behind", &count(*behind, "record"));
    }
    partitions.iter().for_each(|partitions| write_partitions(&mut text, partitions));
    for costs in &counts.plugins {
        let replaced = plugin.as_ref().is_some_and(|now| *now != costs.plugin);
        write_plugin(&mut text, if replaced { "before" } else { "plugin" }, costs);
    }
    let counters = &counts.counters;
    if !counters.is_empty() {
        write_fact(&mut text, "counted", &list(counters.iter().map(|(name, sum)| (name, *sum))));
    }
    text
}

/// Writes how far partitions are read, those furthest behind first.
fn write_partitions(text: &mut String, PartitionsStatus { count, furthest }: &PartitionsStatus) {
    for PartitionStatus { name, process, position, place, rows, behind, times_us } in
        furthest.iter().take(PARTITIONS_MAX)
    {
        let mut line = name.clone();
        if let Some(at) = position.map(grouped).as_ref().or(place.as_ref()) {
            let _ = write!(line, " at {at}");
        }
        if let Some(rows) = rows {
            let _ = write!(line, ", {} rows", grouped(*rows));
        }
        if let Some(behind) = behind {
            let _ = write!(line, ", {} behind", grouped(*behind));
        }
        times_us.iter().for_each(|(stage, us)| {
            let _ = write!(line, ", {stage}: {}", time(*us));
        });
        if let Some(process) = process {
            let _ = write!(line, ", process {process}");
        }
        write_fact(text, "part", &line);
    }
    let others = count.saturating_sub(furthest.len().min(PARTITIONS_MAX) as u64);
    if others > 0 {
        let known = furthest.iter().any(|one| one.behind.is_some());
        let further = if known { ", with a smaller delay" } else { "" };
        write_fact(text, "parts", &format!("{} more{further}", grouped(others)));
    }
}

fn write_plugin(text: &mut String, role: &str, PluginCosts { plugin, costs }: &PluginCosts) {
    write_fact(text, role, &describe_plugin(plugin));
    if let Some(signers) = &plugin.signed_by {
        write_fact(text, "signed", &describe_signers(signers));
    }
    let Costs { calls, instances, cpu_ns, guest_ns, host_ns, .. } = costs;
    let each = cpu_ns.checked_div(*calls).map(|each| format!(", {} a call", duration(each))).unwrap_or_default();
    let instances = grouped(*instances);
    let calls = grouped(*calls);
    write_fact(text, "calls", &format!("{calls} in {instances} instances; {} of CPU{each}", duration(*cpu_ns)));
    let share = share(*guest_ns, *host_ns).map(|share| format!(" ({share} %)")).unwrap_or_default();
    write_fact(text, "time", &format!("guest {}{share}, host {}", duration(*guest_ns), duration(*host_ns)));
    let rows = |rows, bytes| format!("{} rows, {}", grouped(rows), size(bytes));
    write_fact(text, "in", &rows(costs.rows_in, costs.bytes_in));
    write_fact(text, "out", &rows(costs.rows_out, costs.bytes_out));
    write_fact(text, "memory", &format!("{} at most", size(costs.memory_bytes_max)));
    if !costs.traps.is_empty() {
        write_fact(text, "failed", &list(costs.traps.iter().map(|(kind, count)| (kind, *count))));
    }
    if costs.log_lines_dropped > 0 {
        write_fact(text, "log", &format!("{} lines dropped", grouped(costs.log_lines_dropped)));
    }
}

/// Names the signers of a package.
fn describe_signers(signers: &[String]) -> String {
    match signers {
        [] => "by no trusted key".into(),
        _ => format!("by {}", signers.join(", ")),
    }
}

fn write_fact(text: &mut String, name: &str, fact: &str) {
    let _ = writeln!(text, "    {name:8}{fact}");
}

/// Describes the cost of a plugin's calls, in one line for the end of a run.
pub fn cost(PluginCosts { plugin, costs }: &PluginCosts, rejected: u64) -> String {
    let PluginId { name, version, .. } = plugin;
    let (calls, cpu) = (count(costs.calls, "time"), duration(costs.cpu_ns));
    let mut line = format!("called {name} {version} {calls}: {cpu} of CPU");
    if let Some(share) = share(costs.guest_ns, costs.host_ns) {
        let _ = write!(line, ", {share} % of the time in the guest");
    }
    let _ = write!(line, ", at most {} of memory", size(costs.memory_bytes_max));
    if !costs.traps.is_empty() {
        let _ = write!(line, "; failed: {}", list(costs.traps.iter().map(|(kind, count)| (kind, *count))));
    }
    if rejected > 0 {
        let _ = write!(line, "; {} rejected", count(rejected, "row"));
    }
    line
}

/// Formats a plugin, for example `split-words 0.1.0, sha256:3f2a91c04d1e`.
fn describe_plugin(PluginId { name, version, digest, .. }: &PluginId) -> String {
    let (kind, hex) = digest.split_once(':').unwrap_or_default();
    format!("{name} {version}, {kind}:{}", hex.chars().take(DIGEST_CHARS).collect::<String>())
}

fn list<'a>(counts: impl Iterator<Item = (&'a String, u64)>) -> String {
    counts.map(|(name, count)| format!("{name} {}", grouped(count))).collect::<Vec<_>>().join(", ")
}

/// Returns the guest's share of the time in percent, or `None` if there was none.
fn share(guest_ns: u64, host_ns: u64) -> Option<u64> {
    let all = u128::from(guest_ns) + u128::from(host_ns);
    (u128::from(guest_ns) * 100 + all / 2).checked_div(all).and_then(|share| u64::try_from(share).ok())
}

/// Formats a time with about three digits: `12.3 µs`, `1.24 s`, `3 min 12 s`, `2 d 5 h`.
pub fn duration(ns: u64) -> String {
    let short =
        [(1_000_u64, "ns", 1.0), (1_000_000, "µs", 1e3), (1_000_000_000, "ms", 1e6), (60_000_000_000, "s", 1e9)];
    if let Some((_, unit, of)) = short.into_iter().find(|(below, ..)| ns < *below) {
        let value = ns as f64 / of;
        let digits = if of == 1.0 || value >= 100.0 { 0 } else { 2 - usize::from(value >= 10.0) };
        return format!("{value:.digits$} {unit}");
    }
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::ids::{BatchId, BatchTime};

    #[test]
    fn numbers_and_times_are_short() {
        let numbers = [(0, "0"), (999, "999"), (1000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")];
        numbers.into_iter().for_each(|(number, text)| assert_eq!(grouped(number), text));
        let second = 1_000_000_000;
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (12_345, "12.3 µs"),
            (1_234_567, "1.23 ms"),
            (123_456_789, "123 ms"),
            (59 * second, "59.0 s"),
            (61 * second, "1 min 1 s"),
            (3660 * second, "1 h 1 min"),
            (90_000 * second, "1 d 1 h"),
            (u64::MAX, "213503 d 23 h"),
        ] {
            assert_eq!(duration(ns), text);
        }
        assert_eq!((share(0, 0), share(3, 1), share(u64::MAX, 0)), (None, Some(75), Some(100)));
    }

    fn example() -> JobStatus {
        let plugin = PluginId {
            name: "guess".into(),
            version: "0.1.0".into(),
            digest: "sha256:0123456789abcdef".into(),
            ..PluginId::default()
        };
        let costs = Costs {
            calls: 1200,
            instances: 1200,
            cpu_ns: 1_500_000_000,
            guest_ns: 1_000_000_000,
            host_ns: 600_000_000,
            rows_in: 12_000,
            rows_out: 11_999,
            bytes_in: 1 << 20,
            bytes_out: 1 << 21,
            memory_bytes_max: 1_300_000,
            log_lines_dropped: 7,
            traps: [("memory".to_owned(), 1), ("time".to_owned(), 3)].into(),
        };
        let plugins = vec![PluginCosts { plugin, costs }];
        let counters = [("seen".to_owned(), 5)].into();
        let stage = Snapshot {
            rows: 11_999,
            rows_per_second: 999,
            rejected: 1,
            late: 2,
            unread_rejected: 1,
            counters,
            plugins,
            held: 0,
            held_bytes: 0,
        };
        let part = |name: &str, counts| PartStatus { name: name.into(), counts, ..PartStatus::default() };
        let at = |name: &str, position, behind| PartitionStatus {
            name: name.into(),
            position: Some(position),
            behind: Some(behind),
            times_us: [("hourly".to_owned(), 1_700_000_000_000_000)].into(),
            ..PartitionStatus::default()
        };
        let furthest = vec![at("lines/1", 5_000, 1_200), at("lines/0", 7_000, 0)];
        let partitions = Some(PartitionsStatus { count: 3, furthest });
        let read = Snapshot { rows: 12_000, rows_per_second: 1_000, ..Snapshot::default() };
        JobStatus {
            job: "example".into(),
            processes: 2,
            answered: 2,
            workers: 10,
            busy: (0..10).map(|worker| WorkerBusy { worker, percent: 100 - 7 * worker as u64 }).collect(),
            since_us: 1_700_000_000_000_000,
            now_us: 1_700_000_012_000_000,
            batches_begun: 12,
            batches_committed: 11,
            last_batch: Some(BatchId(11)),
            last_batch_time_us: Some(BatchTime(1_700_000_011_000_000)),
            memory_bytes: 480 << 20,
            memory_bytes_max: 1 << 30,
            memory_tight: true,
            sources: vec![PartStatus { behind: Some(1_200), partitions, ..part("lines", read) }],
            stages: vec![part("guessed", stage)],
            ..JobStatus::default()
        }
    }

    #[test]
    fn a_status_fits_a_narrow_terminal() {
        let text = render(&example());
        let expected = "job      example
         running for 12.0 s, since 2023-11-14 22:13:20.000 UTC
         10 workers in 2 processes
batches  12 begun, 11 committed
         the last is batch 11 of 2023-11-14 22:13:31.000 UTC
busy     worker 0 100 %, worker 1 93 %, worker 2 86 %, worker 3 79 %,
         worker 6 58 %, worker 7 51 %, worker 8 44 %, worker 9 37 %, 2 between
memory   480.0 MiB of 1.0 GiB; sources wait until it is lower

                  rows      rows/s    rejected    not read        late
sources
  lines         12,000       1,000           0           0           0
    behind  1200 records
    part    lines/1 at 5,000, 1,200 behind, hourly: 2023-11-14 22:13:20.000 UTC
    part    lines/0 at 7,000, 0 behind, hourly: 2023-11-14 22:13:20.000 UTC
    parts   1 more, with a smaller delay
stages
  guessed       11,999         999           1           1           2
    plugin  guess 0.1.0, sha256:0123456789ab
    calls   1,200 in 1,200 instances; 1.50 s of CPU, 1.25 ms a call
    time    guest 1.00 s (63 %), host 600 ms
    in      12,000 rows, 1.0 MiB
    out     11,999 rows, 2.0 MiB
    memory  1.2 MiB at most
    failed  memory 1, time 3
    log     7 lines dropped
    counted seen 5
";
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn the_end_of_a_run_tells_costs_in_a_line() {
        let status = example();
        let plugin = &status.stages[0].counts.plugins[0];
        assert_eq!(
            cost(plugin, 1),
            "called guess 0.1.0 1200 times: 1.50 s of CPU, 63 % of the time in the guest, at most 1.2 MiB of memory; \
             failed: memory 1, time 3; 1 row rejected"
        );
    }
}
