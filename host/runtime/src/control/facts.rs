//! The status of a job, as reported by its processes and summed up.

use super::partitions::PartitionsStatus;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::memory;
use millstream_base::time;
use millstream_engine::running::Running;
use millstream_engine::running::upgrade::UpgradeStatus;
use millstream_metrics::{CommitProgress, PluginId, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

/// The status of one process of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The version of Millstream.
    pub version: String,
    /// The process ID.
    pub pid: u32,
    /// The number of the process, from 0. Process 0 knows about batches.
    pub process: usize,
    /// The values that are equal for all processes, and those that add up.
    #[serde(flatten)]
    pub status: JobStatus,
}

/// The status of a job. `millstream status --json` prints one as a JSON object with these names:
///
/// - `job`: the job's name; `file`: its file; `processes`: how many run it; `answered`: how many of them are included;
///   `workers`: their worker threads; `busy`: for each its number, `worker`, and for how much of the last ten seconds it has
///   worked, `percent`
/// - `since_us`, `now_us`: when the first of them began to run it, and when they responded; microseconds since 1970
/// - `batches_begun`, `batches_committed`: since then
/// - `last_batch`, `last_batch_time_us`: the last committed batch, and its time; null if there is none yet
/// - `memory_bytes`, `memory_bytes_max`: resident memory of its processes, and its limit; `memory_tight`: whether one of
///   them has used most of it, so that sources wait
/// - `sources`, `stages`, `sinks`: lists, in the job's order, see [`PartStatus`]
/// - `upgrade`: the current one, or the last one, see [`UpgradeStatus`]; absent if there was none
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct JobStatus {
    pub job: String,
    pub file: String,
    pub processes: usize,
    pub answered: usize,
    pub workers: usize,
    #[serde(default)]
    pub busy: Vec<WorkerBusy>,
    pub since_us: i64,
    pub now_us: i64,
    pub batches_begun: u64,
    pub batches_committed: u64,
    pub last_batch: Option<BatchId>,
    pub last_batch_time_us: Option<BatchTime>,
    #[serde(default)]
    pub memory_bytes: u64,
    #[serde(default)]
    pub memory_bytes_max: u64,
    #[serde(default)]
    pub memory_tight: bool,
    pub sources: Vec<PartStatus>,
    pub stages: Vec<PartStatus>,
    pub sinks: Vec<PartStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
}

/// The load of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerBusy {
    /// The number of the worker in the job.
    pub worker: usize,
    /// For how much of the last ten seconds it has worked.
    pub percent: u64,
}

/// A source, stage or sink, with these fields:
///
/// - `name`; `rows` emitted (by a sink: committed); `rows_per_second` of the last ten seconds; `rejected` rows;
///   `unread_rejected`: those that nothing reads; `late`: rows that came too late
/// - `plugin` that runs now; `counters` of its plugin by name; `plugins`: for each of its plugins `name`, `version`,
///   `digest` and the cost of its calls, see [`Costs`](millstream_plugins::plugin::Costs)
/// - for a source that reads topics: `behind`: available records that are in no batch yet; `partitions`: their `count` and
///   the `furthest` behind, each with `name`, `position`, `behind` and the newest event time by stage (`times_us`)
/// - for a polled source: `rows` since this startup instead of `behind`, and `index` instead of `position` if its positions
///   are not numbers
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PartStatus {
    /// The name.
    pub name: String,
    /// For a stage with its own plugin, or a source or sink that is one: the plugin that runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginId>,
    /// For a source whose server reports its end: the number of records that are in no batch yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// For a source with partitions: how far they are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionsStatus>,
    /// The counts: counters since the job's first start if it keeps checkpoints, everything else since this one.
    #[serde(flatten)]
    pub counts: Snapshot,
}

impl ProcessStatus {
    /// Returns the current status of this process.
    pub(super) fn new(running: &Running, file: &Path, since: BatchTime) -> ProcessStatus {
        let spec = &running.graph.spec;
        let mut all = running.metrics.snapshot();
        let plugin = |name: &String| {
            let node = running.plugins.versions.slot(name)?.now().node;
            node.plugin().map(|node| PluginId::new(&node.plugin, &node.description))
        };
        let of_source = |name: &String| {
            let node = running.graph.readers.get(name)?.node();
            Some(PluginId::new(&node.plugin, &node.description))
        };
        let of_sink = |name: &String| {
            let node = running.graph.writers.get(name)?.node();
            Some(PluginId::new(&node.plugin, &node.description))
        };
        let mut part = |name: &String, counted: &str, plugin| PartStatus {
            name: name.clone(),
            plugin,
            behind: None,
            partitions: None,
            counts: all.remove(counted).unwrap_or_default(),
        };
        let clocks = running.metrics.batches().reported_clocks();
        let clocks: Vec<_> = clocks
            .into_iter()
            .filter_map(|(index, clocks)| {
                let stage = spec.stages.get(index.checked_sub(spec.sources.len())?)?;
                Some((stage.name.as_str(), clocks))
            })
            .collect();
        let CommitProgress { batches, last } = running.metrics.batches_committed();
        let (process, processes) = running.options.process_and_count();
        let (memory_bytes_max, memory_bytes) = memory::budget::state();
        let status = JobStatus {
            job: spec.name.clone(),
            file: file.display().to_string(),
            processes,
            answered: 1,
            workers: running.threads.count,
            busy: (process * running.threads.count..)
                .take(running.threads.count)
                .map(|worker| WorkerBusy { worker, percent: running.loads.busy_percent(worker) })
                .collect(),
            since_us: since.0,
            now_us: time::now().0,
            batches_begun: running.batches.load(Ordering::Relaxed),
            batches_committed: batches,
            last_batch: last.map(|(batch, _)| batch),
            last_batch_time_us: last.map(|(_, time)| time),
            memory_bytes,
            memory_bytes_max,
            memory_tight: memory::tight(),
            sources: spec
                .sources
                .iter()
                .zip(&running.endpoints.inboxes)
                .enumerate()
                .map(|(number, (source, inbox))| {
                    let behind = inbox.as_ref().and_then(|inbox| inbox.state().missing_records);
                    let of_several = (processes > 1).then_some(process);
                    let partitions = inbox.as_ref();
                    let partitions =
                        partitions.and_then(|inbox| PartitionsStatus::new(number, inbox, of_several, &clocks));
                    PartStatus { behind, partitions, ..part(&source.name, &source.name, of_source(&source.name)) }
                })
                .collect(),
            stages: spec.stages.iter().map(|stage| part(&stage.name, &stage.name, plugin(&stage.name))).collect(),
            sinks: spec
                .sinks
                .iter()
                .map(|sink| part(&sink.name, &spec.counts_of_sink(&sink.name), of_sink(&sink.name)))
                .collect(),
            upgrade: running.plugins.upgrades.last(last.map(|(batch, _)| batch)),
        };
        ProcessStatus { version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id(), process, status }
    }
}

impl JobStatus {
    /// Adds the status of another process of the job.
    pub fn add(&mut self, other: JobStatus) {
        self.answered += other.answered;
        self.workers += other.workers;
        self.busy.extend(other.busy);
        self.since_us = self.since_us.min(other.since_us);
        self.now_us = self.now_us.max(other.now_us);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.memory_bytes_max = self.memory_bytes_max.saturating_add(other.memory_bytes_max);
        self.memory_tight |= other.memory_tight;
        self.batches_begun = self.batches_begun.max(other.batches_begun);
        self.batches_committed = self.batches_committed.max(other.batches_committed);
        if self.last_batch < other.last_batch {
            (self.last_batch, self.last_batch_time_us) = (other.last_batch, other.last_batch_time_us);
        }
        // Process 0 is queried first and has the authoritative status. Each process has seen a share of the rows.
        match (&mut self.upgrade, other.upgrade) {
            (Some(own), Some(other)) if own.id == other.id => {
                if let (Some(report), Some(more)) = (&mut own.shadow, other.shadow) {
                    report.add(more);
                }
            }
            (Some(_), _) => {}
            (own, other) => *own = other,
        }
        add_parts(&mut self.sources, other.sources);
        add_parts(&mut self.stages, other.stages);
        add_parts(&mut self.sinks, other.sinks);
    }
}

fn add_parts(sums: &mut Vec<PartStatus>, others: Vec<PartStatus>) {
    let indices: BTreeMap<String, usize> =
        sums.iter().enumerate().map(|(index, part)| (part.name.clone(), index)).collect();
    for other in others {
        match indices.get(&other.name).and_then(|index| sums.get_mut(*index)) {
            Some(sum) => {
                sum.counts.add(other.counts);
                sum.behind = match (sum.behind, other.behind) {
                    (Some(one), Some(other)) => Some(one.saturating_add(other)),
                    (one, other) => one.or(other),
                };
                match (&mut sum.partitions, other.partitions) {
                    (Some(sum), Some(more)) => sum.add(more),
                    (sum, more) => *sum = sum.take().or(more),
                }
            }
            None => sums.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_metrics::PluginCosts;
    use millstream_plugins::plugin::Costs;

    fn part(name: &str, rows: u64, digest: &str, calls: u64) -> PartStatus {
        let plugin = PluginId { name: "p".into(), version: "1".into(), digest: digest.into(), ..PluginId::default() };
        let plugins = vec![PluginCosts { plugin, costs: Costs { calls, ..Costs::default() } }];
        let counters = [("seen".to_owned(), rows)].into();
        PartStatus {
            name: name.into(),
            plugin: None,
            behind: None,
            partitions: None,
            counts: Snapshot { rows, counters, plugins, ..Snapshot::default() },
        }
    }

    #[test]
    fn processes_add_up() {
        let stages = vec![part("a", 1, "x", 10), part("b", 2, "x", 20)];
        let first = JobStatus { answered: 1, workers: 2, since_us: 5, now_us: 9, stages, ..JobStatus::default() };
        let stages = vec![part("b", 3, "y", 5), part("a", 4, "x", 7)];
        let (last_batch, last_batch_time_us) = (Some(BatchId(3)), Some(BatchTime(8)));
        let other =
            JobStatus { answered: 1, workers: 1, since_us: 4, last_batch, last_batch_time_us, stages, ..first.clone() };
        let mut sum = first;
        sum.add(other);
        assert_eq!((sum.answered, sum.workers, sum.since_us, sum.last_batch), (2, 3, 4, Some(BatchId(3))));
        let [a, b] = sum.stages.as_slice() else { panic!("{sum:?}") };
        assert_eq!((a.counts.rows, b.counts.rows, b.counts.counters["seen"]), (5, 5, 5));
        let calls = |part: &PartStatus| part.counts.plugins.iter().map(|p| p.costs.calls).collect::<Vec<_>>();
        assert_eq!((calls(a), calls(b)), (vec![17], vec![20, 5]));
    }

    #[test]
    fn what_a_process_says_is_read_as_it_was_said() {
        let status = JobStatus { stages: vec![part("a", u64::MAX, "x", 1)], ..JobStatus::default() };
        let process_status = ProcessStatus { version: "1".into(), pid: 7, process: 1, status };
        let text = serde_json::to_string(&process_status).unwrap();
        let read: ProcessStatus = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(
            text.contains(
                r#""stages":[{"name":"a","rows":18446744073709551615,"rows_per_second":0,"rejected":0,"late":0,"#
            ),
            "{text}"
        );
    }
}
