//! Combines what is currently known about each part of a job from the lists of a view. Pure.

use super::view::JobView;
use millstream_metrics::batch_facts::BatchFacts;
use millstream_runtime::control::{GraphPart, PartFacts, PartStatus};

/// The current state of a source, stage or sink.
#[derive(Clone, Copy, Debug)]
pub struct PartNow<'a> {
    /// The index of the part in the graph.
    pub index: usize,
    /// The structure.
    pub part: &'a GraphPart,
    /// The counts.
    pub counted: &'a PartStatus,
    /// The waiting input and the state.
    pub facts: &'a PartFacts,
    /// The share of possible busy time in the last ten seconds. Stages use all workers; all sinks share one thread.
    pub busy: f64,
    /// How far its watermark is behind the last batch, in microseconds.
    pub lag_us: Option<u64>,
}

impl PartNow<'_> {
    /// Returns the fill level of its inbox, if it has one.
    pub fn fill(&self) -> Option<f64> {
        let max = self.facts.waiting_bytes_max;
        (max > 0).then(|| self.facts.waiting_bytes as f64 / max as f64)
    }
}

/// Returns all parts, in the order of the graph.
pub fn all(view: &JobView) -> Vec<PartNow<'_>> {
    let (status, recent) = (&view.status, &view.batches.last_10_s);
    let (span, workers) = (recent.span_us.max(1) as f64, status.workers.max(1) as f64);
    let counted = status.sources.iter().chain(&status.stages).chain(&status.sinks);
    let parts = view.graph.parts.iter().zip(counted).zip(&view.parts).enumerate();
    let now = parts.map(|(index, ((part, counted), facts))| {
        let busy_us = recent.busy_us.get(index).copied().unwrap_or(0) as f64;
        let busy = busy_us / span / if part.role == "sink" { 1.0 } else { workers };
        let watermark = view.batches.watermarks_us.get(index).copied().flatten();
        let watermark = watermark.filter(|watermark| *watermark < i64::MAX / 2);
        let lag_us = watermark.zip(status.last_batch_time_us);
        let lag_us = lag_us.map(|(watermark, now)| now.0.saturating_sub(watermark).max(0).unsigned_abs());
        PartNow { index, part, counted, facts, busy, lag_us }
    });
    now.collect()
}

/// Returns the rows per second of the sources in the job file, and of the sinks.
pub fn rates(view: &JobView) -> (u64, u64) {
    let written = view.status.sources.iter().zip(&view.graph.parts).filter(|(_, part)| !part.hidden);
    let rows_in = written.map(|(source, _)| source.counts.rows_per_second).fold(0, u64::saturating_add);
    let rows_out = view.status.sinks.iter().map(|sink| sink.counts.rows_per_second).fold(0, u64::saturating_add);
    (rows_in, rows_out)
}

/// Returns how long after its time a batch was committed: the maximum that a row has waited after its batch was due.
/// `None` if it is in flight.
pub fn delay_us(view: &JobView, batch: &BatchFacts) -> Option<u64> {
    let took = u64::from(batch.committed_us?);
    let late = batch.begun_us.saturating_sub(batch.time.0).max(0).unsigned_abs();
    Some(if view.graph.virtual_time { took } else { took.saturating_add(late) })
}

/// Returns the indices of the parts that each part reads. A stream has the name of its part, or that and a suffix.
pub fn inputs(parts: &[GraphPart]) -> Vec<Vec<usize>> {
    let indices: std::collections::BTreeMap<&str, usize> =
        parts.iter().enumerate().filter(|(_, part)| part.role != "sink").map(|(at, part)| (&*part.name, at)).collect();
    let origin = |stream: &str| {
        let mut name = stream;
        loop {
            match (indices.get(name), name.rsplit_once('.')) {
                (Some(index), _) => return Some(*index),
                (None, Some((before, _))) => name = before,
                (None, None) => return None,
            }
        }
    };
    let of = |(at, part): (usize, &GraphPart)| {
        let mut all: Vec<usize> =
            part.from.iter().filter_map(|stream| origin(stream)).filter(|from| *from != at).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    parts.iter().enumerate().map(of).collect()
}
