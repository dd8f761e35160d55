//! `/metrics`: the status of jobs in the text format of Prometheus (OpenMetrics), created from the same view as the
//! page.

use super::view::{JobState, JobView};
use millstream_metrics::recent::TOOK_BOUNDS_US;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

/// The content type of the response.
pub const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Maximum number of a part's plugin counters: a plugin may create them as it runs.
const COUNTERS_MAX: usize = 50;
const TRAPS_MAX: usize = 20;
/// Maximum characters of a label with an external value.
const LABEL_CHARS_MAX: usize = 100;

type Labels = Vec<(&'static str, String)>;

/// A metric with all its values. `_total` is appended to the names of counters when they are written.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    values: Vec<(Labels, Value)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug)]
enum Value {
    Integer(u64),
    Real(f64),
    Took { sum: f64, count: u64, buckets: Vec<(f64, u64)> },
}

/// Returns the metrics of these jobs.
pub fn text(views: &[JobView]) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families(views))));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for family in self.0.iter().filter(|family| !family.values.is_empty()) {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.values {
                value_of(metric.encode_family(labels)?, family.kind, value)?;
            }
        }
        Ok(())
    }
}

fn value_of(mut encoder: MetricEncoder, kind: Kind, value: &Value) -> Result<(), fmt::Error> {
    match (value, kind) {
        (Value::Took { sum, count, buckets }, _) => encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None),
        (Value::Integer(value), Kind::Counter) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
        (Value::Real(value), Kind::Counter) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
        (Value::Integer(value), _) => encoder.encode_gauge(value),
        (Value::Real(value), _) => encoder.encode_gauge(value),
    }
}

/// Returns all metrics, even those without values.
fn families(views: &[JobView]) -> Vec<Family> {
    let mut all: Vec<Family> =
        NAMES.iter().map(|(name, kind, help)| Family { name, help, kind: *kind, values: Vec::new() }).collect();
    let mut add = |name: &str, labels: Labels, value: Value| {
        if let Some(family) = all.iter_mut().find(|family| family.name == name) {
            family.values.push((labels, value));
        }
    };
    for view in views {
        of_job(view, &mut add);
        of_parts(view, &mut add);
    }
    all
}

use Kind::{Counter, Gauge, Histogram};

/// Every metric, with its type and description.
const NAMES: [(&str, Kind, &str); 34] = [
    ("millstream_up", Gauge, "Whether the processes of the job respond"),
    ("millstream_keeps_up", Gauge, "Whether the job keeps up with its input"),
    ("millstream_processes", Gauge, "Processes of the job that respond"),
    ("millstream_workers", Gauge, "Worker threads of these processes"),
    ("millstream_start_time_seconds", Gauge, "Start time of the job"),
    ("millstream_restarts", Counter, "Restarts of the job by its supervisor"),
    ("millstream_memory_bytes", Gauge, "Resident memory of the processes"),
    ("millstream_memory_max_bytes", Gauge, "Memory limit of the processes"),
    ("millstream_batches_begun", Counter, "Batches started since startup"),
    ("millstream_batches_committed", Counter, "Batches committed by all sinks since startup"),
    ("millstream_batches_in_flight", Gauge, "Batches started and not committed"),
    ("millstream_in_flight_bytes", Gauge, "Received bytes of the batches in flight"),
    ("millstream_last_batch_time_seconds", Gauge, "Time of the last committed batch"),
    ("millstream_batch_duration_seconds", Histogram, "Duration of a batch until its commit"),
    ("millstream_batch_interval_seconds", Gauge, "Batch interval"),
    ("millstream_checkpoint_time_seconds", Gauge, "Publication time of the last checkpoint"),
    ("millstream_checkpoint_duration_seconds", Gauge, "Duration of the last checkpoint"),
    ("millstream_checkpoint_bytes", Gauge, "Bytes written for the last checkpoint"),
    ("millstream_rows", Counter, "Rows emitted by a source or stage, or received by a sink"),
    ("millstream_rejected_rows", Counter, "Rows rejected by a source or stage"),
    ("millstream_unread_rejected_rows", Counter, "Rejected rows that no sink reads"),
    ("millstream_late_rows", Counter, "Rows that were too late for a stage"),
    ("millstream_work_seconds", Counter, "Busy time of a part, sum of all workers"),
    ("millstream_waiting_rows", Gauge, "Records waiting in the inbox of a source"),
    ("millstream_waiting_bytes", Gauge, "Bytes waiting in the inbox of a source"),
    ("millstream_waiting_max_bytes", Gauge, "Maximum bytes in the inbox of a source"),
    ("millstream_behind_rows", Gauge, "Records on the server of a source that are in no batch yet"),
    ("millstream_watermark_seconds", Gauge, "Watermark of a stage"),
    ("millstream_state_rows", Gauge, "Keys, windows, rows and timers in the state of a stage"),
    ("millstream_state_bytes", Gauge, "Size of the state of a stage"),
    ("millstream_plugin_calls", Counter, "Calls of a plugin"),
    ("millstream_plugin_cpu_seconds", Counter, "CPU time of the calls of a plugin"),
    ("millstream_plugin_failures", Counter, "Failed calls of a plugin, by cause"),
    ("millstream_plugin_counter", Counter, "Counters of a plugin, by name"),
];

fn of_job(view: &JobView, add: &mut impl FnMut(&str, Labels, Value)) {
    let status = &view.status;
    let name = if status.job.is_empty() { view.file.clone() } else { status.job.clone() };
    let job: Labels = vec![("job_name", name)];
    let seconds = |us: i64| Value::Real(us as f64 / 1e6);
    let mut one = |name: &str, value: Value| add(name, job.clone(), value);
    one("millstream_up", Value::Integer((view.state == JobState::Running).into()));
    one("millstream_restarts", Value::Integer(view.restarts.len() as u64));
    if view.state == JobState::Starting {
        return;
    }
    if let Some(keeps_up) = view.diagnosis.keeps_up {
        one("millstream_keeps_up", Value::Integer(keeps_up.into()));
    }
    one("millstream_processes", Value::Integer(status.answered as u64));
    one("millstream_workers", Value::Integer(status.workers as u64));
    one("millstream_start_time_seconds", seconds(status.since_us));
    one("millstream_memory_bytes", Value::Integer(status.memory_bytes));
    one("millstream_memory_max_bytes", Value::Integer(status.memory_bytes_max));
    one("millstream_batches_begun", Value::Integer(status.batches_begun));
    one("millstream_batches_committed", Value::Integer(status.batches_committed));
    one("millstream_batches_in_flight", Value::Integer(view.batches.in_flight.len() as u64));
    one("millstream_in_flight_bytes", Value::Integer(view.batches.in_flight.iter().map(|batch| batch.bytes).sum()));
    if let Some(time) = status.last_batch_time_us {
        one("millstream_last_batch_time_seconds", seconds(time.0));
    }
    let took = &view.batches.took;
    let bounds = TOOK_BOUNDS_US.iter().map(|us| *us as f64 / 1e6);
    let beyond = took.count.saturating_sub(took.buckets.iter().sum());
    // The encoder writes infinity as the bucket `+Inf`, which every histogram must have.
    let buckets = bounds.zip(took.buckets).chain([(f64::INFINITY, beyond)]).collect();
    one("millstream_batch_duration_seconds", Value::Took { sum: took.sum_us as f64 / 1e6, count: took.count, buckets });
    one("millstream_batch_interval_seconds", Value::Real(view.graph.interval_us as f64 / 1e6));
    if let Some(last) = view.checkpoints.last() {
        one("millstream_checkpoint_time_seconds", seconds(last.published_us));
        one("millstream_checkpoint_duration_seconds", Value::Real(last.took_us as f64 / 1e6));
        one("millstream_checkpoint_bytes", Value::Integer(last.bytes));
    }
}

fn of_parts(view: &JobView, add: &mut impl FnMut(&str, Labels, Value)) {
    let status = &view.status;
    let counts = status.sources.iter().chain(&status.stages).chain(&status.sinks);
    let all = view.graph.parts.iter().zip(counts).zip(&view.parts);
    for (index, ((part, counted), facts)) in all.enumerate().filter(|(_, ((part, _), _))| !part.hidden) {
        let labels: Labels =
            vec![("job_name", status.job.clone()), ("part", part.name.clone()), ("role", part.role.clone())];
        let mut one = |name: &str, value: Value| add(name, labels.clone(), value);
        let counts = &counted.counts;
        one("millstream_rows", Value::Integer(counts.rows));
        let busy_us = view.batches.busy_us.get(index).copied().unwrap_or(0);
        one("millstream_work_seconds", Value::Real(busy_us as f64 / 1e6));
        if part.role != "sink" {
            one("millstream_rejected_rows", Value::Integer(counts.rejected));
            one("millstream_unread_rejected_rows", Value::Integer(counts.unread_rejected));
            one("millstream_late_rows", Value::Integer(counts.late));
        }
        if part.role == "source" {
            one("millstream_waiting_rows", Value::Integer(facts.waiting_rows));
            one("millstream_waiting_bytes", Value::Integer(facts.waiting_bytes));
            // Before the inbox is known there is no limit, and a share of 0 would not be a number.
            if facts.waiting_bytes_max > 0 {
                one("millstream_waiting_max_bytes", Value::Integer(facts.waiting_bytes_max));
            }
            if let Some(behind) = counted.behind {
                one("millstream_behind_rows", Value::Integer(behind));
            }
        }
        if part.role == "stage" {
            one("millstream_state_rows", Value::Integer(facts.state_rows));
            one("millstream_state_bytes", Value::Integer(facts.state_bytes));
        }
        if let Some(watermark) = view.batches.watermarks_us.get(index).copied().flatten() {
            one("millstream_watermark_seconds", Value::Real(watermark as f64 / 1e6));
        }
        let with = |name: &'static str, value: &str| {
            let mut labels = labels.clone();
            labels.push((name, value.chars().take(LABEL_CHARS_MAX).collect()));
            labels
        };
        for (counter, value) in counts.counters.iter().take(COUNTERS_MAX) {
            add("millstream_plugin_counter", with("counter", counter), Value::Integer(*value));
        }
        for plugin in counts.plugins.iter().take(TRAPS_MAX) {
            let mut labels = with("plugin", &plugin.plugin.name);
            labels.push(("version", plugin.plugin.version.chars().take(LABEL_CHARS_MAX).collect()));
            add("millstream_plugin_calls", labels.clone(), Value::Integer(plugin.costs.calls));
            let cpu = Value::Real(plugin.costs.cpu_ns as f64 / 1e9);
            add("millstream_plugin_cpu_seconds", labels.clone(), cpu);
            for (kind, count) in plugin.costs.traps.iter().take(TRAPS_MAX) {
                let mut labels = labels.clone();
                labels.push(("kind", kind.clone()));
                add("millstream_plugin_failures", labels, Value::Integer(*count));
            }
        }
    }
}
