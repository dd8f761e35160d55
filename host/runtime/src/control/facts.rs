//! How a job stands, as its processes tell it and as they add up.

use super::partitions::PartitionsStatus;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::memory;
use millstream_base::time;
use millstream_engine::running::Running;
use millstream_engine::running::upgrade::UpgradeStatus;
use millstream_metrics::{Committed, PluginId, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

/// How one process of a job stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The version of Millstream.
    pub version: String,
    /// The id of the process.
    pub pid: u32,
    /// Its number, from 0. Process 0 knows about batches.
    pub process: usize,
    /// What is the same for the whole job, and what adds up.
    #[serde(flatten)]
    pub status: JobStatus,
}

/// How a job stands. `millstream status --json` prints one as a JSON object with these names:
///
/// - `job`: the job's name; `file`: its file; `processes`: how many run it; `answered`: how many of them are in this
///   answer; `workers`: their worker threads; `busy`: of each its number, `worker`, and for how much of the last ten
///   seconds it has worked, `percent`
/// - `since_us`, `now_us`: when the first of them began to run it, and when they answered; microseconds since 1970
/// - `batches_begun`, `batches_committed`: since then
/// - `last_batch`, `last_batch_time_us`: the last batch that is committed, and its time; null where there is none yet
/// - `memory_bytes`, `memory_bytes_max`: what is resident of its processes, and what may be; `memory_tight`: whether one of them has
///   used up most of it, so that sources wait
/// - `sources`, `stages`, `sinks`: lists, in the job's order, see [`PartStatus`]
/// - `upgrade`: the one that is under way, or the last one, see [`UpgradeStatus`]; absent where there was none
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

/// How much a worker has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerBusy {
    /// Its number in the job.
    pub worker: usize,
    /// For how much of the last ten seconds it has worked.
    pub percent: u64,
}

/// A source, stage or sink: its `name`, `rows` put out (of a sink: committed), `rows_per_second` of the last ten seconds, rows `rejected`, those of them that nothing
/// reads (`unread_rejected`), rows that came too `late`, the `plugin` of a stage, source or sink as it runs now, the `counters` of its plugin by name, and in `plugins` for each
/// of its plugins `name`, `version`, `digest` and what its calls cost, see [`Costs`](millstream_plugins::plugin::Costs). Of a source that reads topics,
/// `behind`: records that are there and in no batch yet; `partitions`: their `count` and the `furthest` behind, each with `name`, `position`,
/// `behind` and the newest event time by stage (`times_us`). Of one that is polled, `rows` since this start instead of `behind`, and where its
/// places are no numbers, `place` instead of `position`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PartStatus {
    /// Its name.
    pub name: String,
    /// Of a stage with a plugin of its own, or a source or sink that is one: the one that runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginId>,
    /// Of a source whose server says how much there is: records that are in no batch yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// Of a source with partitions: how far they are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionsStatus>,
    /// What it counted: counters since the job's first start where it keeps checkpoints, all else since this one.
    #[serde(flatten)]
    pub counts: Snapshot,
}

impl ProcessStatus {
    /// How this process stands now.
    pub(super) fn of(running: &Running, file: &Path, since: BatchTime) -> ProcessStatus {
        let spec = &running.graph.spec;
        let mut all = running.metrics.snapshot();
        let plugin = |name: &String| {
            let node = running.plugins.versions.slot(name)?.now().node;
            node.plugin().map(|node| PluginId::of(&node.plugin, &node.description))
        };
        let of_source = |name: &String| {
            let node = running.graph.readers.get(name)?.node();
            Some(PluginId::of(&node.plugin, &node.description))
        };
        let of_sink = |name: &String| {
            let node = running.graph.writers.get(name)?.node();
            Some(PluginId::of(&node.plugin, &node.description))
        };
        let mut part = |name: &String, counted: &str, plugin| PartStatus {
            name: name.clone(),
            plugin,
            behind: None,
            partitions: None,
            counts: all.remove(counted).unwrap_or_default(),
        };
        let clocks = running.metrics.batches().told_clocks();
        let clocks: Vec<_> = clocks
            .into_iter()
            .filter_map(|(place, clocks)| {
                let stage = spec.stages.get(place.checked_sub(spec.sources.len())?)?;
                Some((stage.name.as_str(), clocks))
            })
            .collect();
        let Committed { batches, last } = running.metrics.batches_committed();
        let (process, processes) = running.options.place();
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
                .zip(&running.ends.inboxes)
                .enumerate()
                .map(|(number, (source, inbox))| {
                    let behind = inbox.as_ref().and_then(|inbox| inbox.state().behind);
                    let of_several = (processes > 1).then_some(process);
                    let partitions = inbox.as_ref();
                    let partitions =
                        partitions.and_then(|inbox| PartitionsStatus::of(number, inbox, of_several, &clocks));
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
    /// Adds what another process of the job says.
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
        // Process 0 is the first that is asked, and knows best; each has seen a share of the rows.
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
    let places: BTreeMap<String, usize> =
        sums.iter().enumerate().map(|(place, part)| (part.name.clone(), place)).collect();
    for other in others {
        match places.get(&other.name).and_then(|place| sums.get_mut(*place)) {
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
        let said = ProcessStatus { version: "1".into(), pid: 7, process: 1, status };
        let text = serde_json::to_string(&said).unwrap();
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
