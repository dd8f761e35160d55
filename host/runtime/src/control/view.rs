//! The complete view of a running job: what the page, its JSON and `/metrics` show, in one response.

use super::facts::{JobStatus, ProcessStatus};
use millstream_base::ids::BatchTime;
use millstream_base::log_lines::{self, LogLine};
use millstream_engine::checkpoint::recent::CheckpointFacts;
use millstream_engine::graph::Graph;
use millstream_engine::operators::stage::StageNode;
use millstream_engine::running::Running;
use millstream_job::retry_source;
use millstream_job::spec::{CheckpointEvery, ClockSpec, PluginSpec};
use millstream_metrics::Snapshot;
use millstream_metrics::batches::BatchesView;
use millstream_metrics::frequent_keys::HotKeys;
use millstream_metrics::rejected_rows::RejectedRow;
use millstream_metrics::spread::Spread;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Maximum number of batches in one response.
const BATCHES_MAX: usize = 240;

/// What the client already knows, by the numbers that the process assigned. The response omits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KnownNumbers {
    /// The last commit.
    pub commit: u64,
    /// The last rejected row.
    pub refused: u64,
    /// The last line of the log.
    pub log: u64,
}

/// The complete view of one process of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessView {
    /// The status that `millstream status` prints.
    pub process: ProcessStatus,
    /// The structure of the job.
    pub graph: JobGraph,
    /// By part, in the order of the graph's parts.
    pub parts: Vec<PartFacts>,
    /// Facts about batches.
    pub batches: BatchesView,
    /// The last checkpoints, if this process publishes them.
    pub checkpoints: Vec<CheckpointFacts>,
    /// Lines of the log, the oldest first.
    pub log: Vec<LogLine>,
}

/// The structure of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobGraph {
    /// Sources, then stages, then sinks.
    pub parts: Vec<GraphPart>,
    /// The batch interval. 0 means that a batch begins as soon as data waits.
    pub interval_us: u64,
    /// Whether batches have virtual times.
    pub virtual_time: bool,
    /// Maximum number of batches in flight.
    pub in_flight_max: u64,
    /// Where checkpoints are stored.
    pub checkpoints: Option<String>,
    /// How often a checkpoint is made, as text.
    pub checkpoint_every: Option<String>,
}

/// A source, stage or sink of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphPart {
    /// The name.
    pub name: String,
    /// `source`, `stage` or `sink`.
    pub role: String,
    /// The kind as in the job file: `kafka`, `plugin`, `sql`, `postgres` …
    pub kind: String,
    /// The streams that it reads.
    pub from: Vec<String>,
    /// Whether it is not in the job file: the table of a stage, or the rows that are retried.
    #[serde(default)]
    pub hidden: bool,
    /// What its plugin may use in addition to its input, as text.
    #[serde(default)]
    pub grants: Vec<String>,
    /// For a stage with a retry source: the sinks whose files `millstream retry` reads by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries_from: Option<Vec<String>>,
}

/// Facts about a part in addition to its status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartFacts {
    /// For a source: waiting records.
    pub waiting_rows: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// The approximate maximum of waiting bytes.
    pub waiting_bytes_max: u64,
    /// For a source: for how long it has had no input, in milliseconds. 0 if it has input.
    pub idle_ms: u64,
    /// For a source: whether it has ended.
    pub finished: bool,
    /// For a stage: the rows, keys, windows and timers in its state.
    pub state_rows: u64,
    /// The bytes of the state.
    pub state_bytes: u64,
    /// The distribution of the state over key groups, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// For a stage with a key: the most frequent keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_keys: Option<HotKeys>,
}

impl ProcessView {
    /// Returns the current view of this process.
    pub(super) fn new(running: &Running, file: &Path, since: BatchTime, known: KnownNumbers) -> ProcessView {
        let counts = running.metrics.snapshot();
        let checkpoints = running.checkpoints.as_ref();
        ProcessView {
            process: ProcessStatus::new(running, file, since),
            graph: graph(&running.graph),
            parts: parts(running, &counts),
            batches: running.metrics.batches().view(known.commit, BATCHES_MAX, known.refused),
            checkpoints: checkpoints.map(|checkpoints| checkpoints.writers.checkpoints.recent()).unwrap_or_default(),
            log: log_lines::after(known.log),
        }
    }

    /// Adds the view of another process of the job.
    pub fn add(&mut self, other: ProcessView) {
        self.process.status.add(other.process.status);
        for (sum, more) in self.parts.iter_mut().zip(other.parts) {
            sum.waiting_rows = sum.waiting_rows.saturating_add(more.waiting_rows);
            sum.waiting_bytes = sum.waiting_bytes.saturating_add(more.waiting_bytes);
            sum.waiting_bytes_max = sum.waiting_bytes_max.saturating_add(more.waiting_bytes_max);
            sum.idle_ms = sum.idle_ms.min(more.idle_ms);
            sum.finished &= more.finished;
            sum.state_rows = sum.state_rows.saturating_add(more.state_rows);
            sum.state_bytes = sum.state_bytes.saturating_add(more.state_bytes);
            match (&mut sum.spread, more.spread) {
                (Some(sum), Some(more)) => sum.add(more),
                (sum, more) => *sum = sum.take().or(more),
            }
            match (&mut sum.hot_keys, more.hot_keys) {
                (Some(sum), Some(more)) => sum.add(more),
                (sum, more) => *sum = sum.take().or(more),
            }
        }
        let batches = &mut self.batches;
        batches.last_10_s.add(&other.batches.last_10_s);
        batches.last_minute.add(&other.batches.last_minute);
        for (sum, more) in batches.busy_us.iter_mut().zip(other.batches.busy_us) {
            *sum = sum.saturating_add(more);
        }
        for (known, more) in batches.watermarks_us.iter_mut().zip(other.batches.watermarks_us) {
            // Every worker reports the same, and later values are newer.
            *known = (*known).max(more);
        }
        batches.refused.extend(other.batches.refused);
        self.log.extend(other.log);
    }

    /// Returns the status of the job.
    pub fn status(&self) -> &JobStatus {
        &self.process.status
    }

    /// Returns the last numbers that this view contains, or those that were known before.
    pub fn known_numbers(&self, before: KnownNumbers) -> KnownNumbers {
        let last = |row: Option<&RejectedRow>| row.map(|row| row.number);
        KnownNumbers {
            commit: self.batches.committed.last().map_or(before.commit, |batch| batch.commit),
            refused: last(self.batches.refused.last()).unwrap_or(before.refused),
            log: self.log.last().map_or(before.log, |line| line.number),
        }
    }
}

fn parts(running: &Running, counts: &BTreeMap<String, Snapshot>) -> Vec<PartFacts> {
    let spec = &running.graph.spec;
    let sources = spec.sources.iter().zip(&running.endpoints.inboxes).map(|(_, inbox)| {
        let Some(inbox) = inbox else { return PartFacts { finished: true, ..PartFacts::default() } };
        let (state, (waiting_bytes, waiting_bytes_max)) = (inbox.state(), inbox.fill());
        let (idle_ms, finished) = (state.idle_ms, state.finished);
        PartFacts {
            waiting_rows: state.rows,
            waiting_bytes,
            waiting_bytes_max,
            idle_ms,
            finished,
            ..PartFacts::default()
        }
    });
    let mut hottest = running.metrics.batches().hottest();
    let stages = spec.stages.iter().map(|stage| {
        let (state_rows, state_bytes) = counts.get(&stage.name).map(|c| (c.held, c.held_bytes)).unwrap_or_default();
        let spread = running.metrics.counts(&stage.name).spread();
        let hot_keys = running.part_of_stage(&stage.name).and_then(|part| hottest.remove(&part)).map(HotKeys::notable);
        PartFacts { state_rows, state_bytes, spread, hot_keys, ..PartFacts::default() }
    });
    sources.chain(stages).chain(spec.sinks.iter().map(|_| PartFacts::default())).collect()
}

fn graph(graph: &Graph) -> JobGraph {
    let spec = &graph.spec;
    let nodes: BTreeMap<&String, &StageNode> = graph.stages.iter().map(|node| (&node.name, node)).collect();
    let sources = spec.sources.iter().map(|source| GraphPart {
        name: source.name.clone(),
        role: "source".into(),
        kind: source.kind.keyword().into(),
        hidden: source.kind.is_hidden(),
        grants: grants(source.plugin()),
        ..GraphPart::default()
    });
    let stages = spec.stages.iter().map(|stage| {
        let inputs = nodes.get(&stage.name).map(|node| node.inputs.iter());
        GraphPart {
            name: stage.name.clone(),
            role: "stage".into(),
            kind: stage.keyword().into(),
            from: inputs.into_iter().flatten().flat_map(|input| input.from.iter().cloned()).collect(),
            hidden: false,
            grants: grants(stage.plugins()),
            retries_from: retry_source::accepts_retries(spec, &stage.name).then(|| {
                let kept = retry_source::sinks_of_rejected(spec, &stage.name);
                kept.into_iter().map(|(sink, _)| sink.name.clone()).collect()
            }),
        }
    });
    let sinks = spec.sinks.iter().map(|sink| GraphPart {
        name: sink.name.clone(),
        role: "sink".into(),
        kind: sink.kind.kind().into(),
        from: sink.from.clone(),
        grants: grants(sink.plugin()),
        ..GraphPart::default()
    });
    let checkpoint = spec.checkpoint.as_ref();
    JobGraph {
        parts: sources.chain(stages).chain(sinks).collect(),
        interval_us: u64::try_from(spec.batch.as_micros()).unwrap_or(u64::MAX),
        virtual_time: spec.clock == ClockSpec::Manual,
        in_flight_max: spec.in_flight_max,
        // It may contain the value of a variable.
        checkpoints: checkpoint.map(|checkpoint| millstream_base::secrets::hide(&checkpoint.dir).into_owned()),
        checkpoint_every: checkpoint.map(|checkpoint| match checkpoint.every {
            CheckpointEvery::Time(time) => format!("{time:?}"),
            CheckpointEvery::Batches(batches) => format!("{batches} batches"),
        }),
    }
}

/// Describes the permissions granted to plugins, by name and kind.
fn grants<'a>(plugins: impl IntoIterator<Item = &'a PluginSpec>) -> Vec<String> {
    let all = plugins.into_iter().flat_map(|plugin| {
        let grant = &plugin.grant;
        let named = |what: &'static str, names: Vec<&String>| {
            // They may contain the value of a variable.
            names
                .into_iter()
                .map(move |name| format!("{what} {}", millstream_base::secrets::hide(name)))
                .collect::<Vec<_>>()
        };
        let hosts = grant.http.iter().flat_map(|http| &http.hosts).collect();
        [
            named("file", grant.files.keys().collect()),
            named("http", hosts),
            named("tcp", grant.tcp.iter().collect()),
            named("udp", grant.udp.iter().collect()),
            named("variable", grant.env.keys().collect()),
        ]
    });
    all.flatten().collect::<BTreeSet<_>>().into_iter().collect()
}
