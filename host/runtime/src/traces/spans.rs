//! Converts a committed batch to spans. The batch has one span, which contains one per part that worked on it. Those of
//! stages contain the longest calls of their plugins. The conversion is pure: the same batch gives the same spans and
//! IDs, so a repeated send has no effect.

use millstream_metrics::batch_facts::{PartIndex, PartTimes};
use millstream_metrics::calls::{BatchTrace, CallTimes};
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::time::{Duration, SystemTime};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// What spans contain about a job in addition to its batches.
pub(super) struct Job {
    /// By index: the role of a part, and its name.
    pub parts: Vec<(&'static str, String)>,
    /// Drawn at random by each startup of a process, so that its batches have their own traces.
    pub seed: [u8; 16],
}

/// Returns the trace ID of a batch.
pub(super) fn trace_of(job: &Job, batch: u64) -> TraceId {
    TraceId::from(xxh3_128(&[job.seed.as_slice(), &batch.to_be_bytes()].concat()).max(1))
}

/// Returns all spans of a batch, the batch's own first.
pub(super) fn for_batch(job: &Job, traced: &BatchTrace) -> Vec<SpanData> {
    let BatchTrace { facts, calls } = traced;
    let trace = trace_of(job, facts.batch.0);
    let begun = SystemTime::UNIX_EPOCH + Duration::from_micros(facts.begun_us.max(0).unsigned_abs());
    let at = |us: u32| begun + Duration::from_micros(us.into());
    let mut all = Vec::new();
    let mut add = |id, parent, name: String, (from_us, to_us), attributes| {
        all.push(SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: at(from_us),
            end_time: at(to_us),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: scope(),
        });
        all.len() - 1
    };
    let id = |what: &str, number: usize| {
        let text = [trace.to_bytes().as_slice(), what.as_bytes(), &number.to_be_bytes()].concat();
        SpanId::from(xxh3_64(&text).max(1))
    };
    let integer = |name: &'static str, value: u64| KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX));
    let batch_span = id("batch", 0);
    let mut attributes = vec![
        integer("millstream.batch", facts.batch.0),
        integer("millstream.rows", facts.rows),
        integer("millstream.bytes", facts.bytes),
        integer("millstream.calls", calls.all),
    ];
    let waits = [
        ("millstream.waited_for_interval_us", facts.waits.interval_us),
        ("millstream.waited_for_data_us", facts.waits.data_us),
        ("millstream.waited_for_batches_in_flight_us", facts.waits.in_flight_us),
        ("millstream.waited_for_memory_us", facts.waits.memory_us),
        ("millstream.waited_for_upgrade_us", facts.waits.upgrade_us),
    ];
    attributes.extend(waits.into_iter().filter(|(_, us)| *us > 0).map(|(name, us)| integer(name, us)));
    let committed = facts.committed_us.unwrap_or(0);
    let batch = add(batch_span, SpanId::INVALID, "batch".into(), (0, committed), attributes);
    let named = |index: PartIndex| job.parts.get(usize::from(index)).map(|(role, name)| (*role, name.as_str()));
    for PartTimes { part, from_us, to_us, busy_us } in &facts.parts {
        let Some((role, name)) = named(*part) else { continue };
        let attributes = vec![
            KeyValue::new("millstream.part", name.to_owned()),
            KeyValue::new("millstream.role", role),
            integer("millstream.busy_us", u64::from(*busy_us)),
        ];
        let own = id("part", usize::from(*part));
        add(own, batch_span, format!("{role} {name}"), (*from_us, *to_us), attributes);
    }
    let mut failed = Vec::new();
    for (number, call) in calls.longest.iter().enumerate() {
        let Some((_, name)) = named(call.part) else { continue };
        let CallTimes { part, from_us, took_us, rows_in, rows_out, .. } = *call;
        // The work on old batches is not kept.
        let known = facts.parts.iter().any(|times| times.part == part);
        let parent = if known { id("part", usize::from(part)) } else { batch_span };
        let attributes = vec![
            KeyValue::new("millstream.part", name.to_owned()),
            integer("millstream.rows_in", rows_in),
            integer("millstream.rows_out", rows_out),
        ];
        let times = (from_us, from_us.saturating_add(took_us));
        let index = add(id("call", number), parent, format!("call {name}"), times, attributes);
        failed.extend(call.failed.map(|trap| (index, trap)));
    }
    let steps = [("planned", facts.planned_us), ("all stages done", facts.ready_us)];
    if let Some(batch) = all.get_mut(batch) {
        let happened = steps.into_iter().filter_map(|(what, us)| Some((what, us?)));
        batch.events.events.extend(happened.map(|(what, us)| Event::new(what, at(us), Vec::new(), 0)));
    }
    for (index, trap) in failed {
        if let Some(call) = all.get_mut(index) {
            call.status = Status::error(trap);
        }
    }
    all
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("millstream").with_version(env!("CARGO_PKG_VERSION")).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::ids::{BatchId, BatchTime};
    use millstream_metrics::batch_facts::BatchFacts;
    use millstream_metrics::calls::BatchCalls;

    #[test]
    fn parts_are_within_the_batch_and_calls_within_their_stage() {
        let parts = vec![("source", "in".to_owned()), ("stage", "s".to_owned())];
        let job = Job { parts, seed: [7; 16] };
        let times = |part, from_us, to_us| PartTimes { part, from_us, to_us, busy_us: 5 };
        let call = |part, failed| CallTimes { part, from_us: 30, took_us: 20, rows_in: 3, rows_out: 2, failed };
        let facts = BatchFacts {
            batch: BatchId(9),
            time: BatchTime(5),
            begun_us: 1_000_000,
            planned_us: Some(10),
            ready_us: Some(60),
            committed_us: Some(80),
            parts: vec![times(0, 1, 9), times(1, 20, 60), times(77, 1, 2)],
            ..BatchFacts::default()
        };
        let calls = BatchCalls { longest: vec![call(1, None), call(1, Some("time")), call(0, None)], all: 12 };
        let traced = BatchTrace { facts, calls };
        let spans = for_batch(&job, &traced);
        let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["batch", "source in", "stage s", "call s", "call s", "call in"]);
        let (batch, stage) = (spans[0].span_context.span_id(), spans[2].span_context.span_id());
        let parents: Vec<SpanId> = spans.iter().map(|span| span.parent_span_id).collect();
        assert_eq!(parents[..5], [SpanId::INVALID, batch, batch, stage, stage]);
        assert!(spans.iter().all(|span| span.span_context.trace_id() == trace_of(&job, 9)));
        assert_eq!(spans[0].end_time.duration_since(spans[0].start_time).unwrap().as_micros(), 80);
        assert_eq!(spans[0].events.len(), 2);
        assert_eq!((&spans[3].status, &spans[4].status), (&Status::Unset, &Status::error("time")));
        assert_eq!(for_batch(&job, &traced), spans, "what is sent twice is the same");
        assert_ne!(trace_of(&Job { seed: [8; 16], ..job }, 9), trace_of(&Job { parts: Vec::new(), seed: [7; 16] }, 9));
    }
}
