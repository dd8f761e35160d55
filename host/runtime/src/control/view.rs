//! All that is told of a running job: what the page, its JSON and `/metrics` show, from one answer.

use super::facts::{JobStatus, ProcessStatus};
use millstream_base::ids::BatchTime;
use millstream_base::job::retry_source;
use millstream_base::job::spec::{CheckpointEvery, ClockSpec, PluginSpec};
use millstream_base::log_lines::{self, LogLine};
use millstream_engine::checkpoint::recent::CheckpointFacts;
use millstream_engine::graph::Graph;
use millstream_engine::operators::stage::StageNode;
use millstream_engine::running::Running;
use millstream_metrics::Snapshot;
use millstream_metrics::batches::BatchesView;
use millstream_metrics::frequent_keys::HotKeys;
use millstream_metrics::refused::RefusedRow;
use millstream_metrics::spread::Spread;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Batches that one answer tells of.
const BATCHES_MAX: usize = 240;

/// What whoever asks knows already, by the numbers that the process gave. Nothing of it: what is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KnownNumbers {
    /// The last commit.
    pub commit: u64,
    /// The last refused row.
    pub refused: u64,
    /// The last line of the log.
    pub log: u64,
}

/// How one process of a job stands, in all that is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessView {
    /// What `millstream status` tells.
    pub process: ProcessStatus,
    /// How the job is made.
    pub graph: JobGraph,
    /// By part, in the order of the graph's.
    pub parts: Vec<PartFacts>,
    /// What became of batches.
    pub batches: BatchesView,
    /// The last checkpoints, where this process publishes them.
    pub checkpoints: Vec<CheckpointFacts>,
    /// Lines of the log, the oldest first.
    pub log: Vec<LogLine>,
}

/// How a job is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobGraph {
    /// Sources, then stages, then sinks.
    pub parts: Vec<GraphPart>,
    /// The batch interval; zero: a batch as soon as data waits.
    pub interval_us: u64,
    /// Whether batches have virtual times.
    pub virtual_time: bool,
    /// Batches that may be in flight.
    pub in_flight_max: u64,
    /// Where checkpoints are kept.
    pub checkpoints: Option<String>,
    /// How often one is made, in words.
    pub checkpoint_every: Option<String>,
}

/// A source, stage or sink of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphPart {
    /// Its name.
    pub name: String,
    /// `source`, `stage` or `sink`.
    pub role: String,
    /// As the job file has it: `kafka`, `plugin`, `sql`, `postgres` …
    pub kind: String,
    /// The streams that it reads.
    pub from: Vec<String>,
    /// Nobody wrote it: the table of a stage, or the rows that are given back to it.
    #[serde(default)]
    pub hidden: bool,
    /// What its plugin may use beside its input, in words.
    #[serde(default)]
    pub grants: Vec<String>,
    /// Of a stage to which `millstream retry` gives rows back: the sinks whose files that command reads by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries_from: Option<Vec<String>>,
}

/// What is known of a part beside what the status tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartFacts {
    /// Of a source: records that wait.
    pub waiting_rows: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// About how many bytes may wait.
    pub waiting_bytes_max: u64,
    /// Of a source: since when it has nothing to read, in milliseconds; zero: it has.
    pub idle_ms: u64,
    /// Of a source: nothing more will come.
    pub finished: bool,
    /// Of a stage: rows, keys, windows and timers that it keeps.
    pub state_rows: u64,
    /// The bytes that these take.
    pub state_bytes: u64,
    /// How these lie over key groups, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Of a stage with a key: those that come most often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_keys: Option<HotKeys>,
}

impl ProcessView {
    /// How this process stands now.
    pub(super) fn of(running: &Running, file: &Path, since: BatchTime, known: KnownNumbers) -> ProcessView {
        let counts = running.metrics.snapshot();
        let checkpoints = running.checkpoints.as_ref();
        ProcessView {
            process: ProcessStatus::of(running, file, since),
            graph: graph(&running.graph),
            parts: parts(running, &counts),
            batches: running.metrics.batches().view(known.commit, BATCHES_MAX, known.refused),
            checkpoints: checkpoints.map(|checkpoints| checkpoints.writers.checkpoints.recent()).unwrap_or_default(),
            log: log_lines::after(known.log),
        }
    }

    /// Adds how another process of the job stands.
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
            // Every worker shows the same; what comes later is no older.
            *known = (*known).max(more);
        }
        batches.refused.extend(other.batches.refused);
        self.log.extend(other.log);
    }

    /// The status of the job.
    pub fn status(&self) -> &JobStatus {
        &self.process.status
    }

    /// The last numbers that it tells of, with those that were known before.
    pub fn known(&self, before: KnownNumbers) -> KnownNumbers {
        let last = |row: Option<&RefusedRow>| row.map(|row| row.number);
        KnownNumbers {
            commit: self.batches.committed.last().map_or(before.commit, |batch| batch.commit),
            refused: last(self.batches.refused.last()).unwrap_or(before.refused),
            log: self.log.last().map_or(before.log, |line| line.number),
        }
    }
}

fn parts(running: &Running, counts: &BTreeMap<String, Snapshot>) -> Vec<PartFacts> {
    let spec = &running.graph.spec;
    let sources = spec.sources.iter().zip(&running.ends.inboxes).map(|(_, inbox)| {
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
        let spread = running.metrics.of(&stage.name).spread();
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
        kind: source.kind.word().into(),
        hidden: source.kind.is_hidden(),
        grants: grants(source.plugin()),
        ..GraphPart::default()
    });
    let stages = spec.stages.iter().map(|stage| {
        let inputs = nodes.get(&stage.name).map(|node| node.inputs.iter());
        GraphPart {
            name: stage.name.clone(),
            role: "stage".into(),
            kind: stage.word().into(),
            from: inputs.into_iter().flatten().flat_map(|input| input.from.iter().cloned()).collect(),
            hidden: false,
            grants: grants(stage.plugins()),
            retries_from: retry_source::takes_back(spec, &stage.name).then(|| {
                let kept = retry_source::kept(spec, &stage.name);
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
        // It may hold the value of a variable.
        checkpoints: checkpoint.map(|checkpoint| millstream_base::secrets::hide(&checkpoint.dir).into_owned()),
        checkpoint_every: checkpoint.map(|checkpoint| match checkpoint.every {
            CheckpointEvery::Time(time) => format!("{time:?}"),
            CheckpointEvery::Batches(batches) => format!("{batches} batches"),
        }),
    }
}

/// What plugins were granted, by the names of what it is.
fn grants<'a>(plugins: impl IntoIterator<Item = &'a PluginSpec>) -> Vec<String> {
    let all = plugins.into_iter().flat_map(|plugin| {
        let grant = &plugin.grant;
        let named = |what: &'static str, names: Vec<&String>| {
            // They may hold the value of a variable.
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
