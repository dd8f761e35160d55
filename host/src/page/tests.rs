//! Tests of sentences and metrics for the numbers of a job.

use super::view::{JobState, JobView};
use super::{diagnosis, prometheus};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_metrics::Snapshot;
use millstream_runtime::control::{GraphPart, PartFacts, PartStatus};

/// Returns a job of a source, a stage and a sink with these busy times in the last ten seconds.
fn job(busy_us: [u64; 3]) -> JobView {
    let part = |name: &str, role: &str, kind: &str| GraphPart {
        name: name.into(),
        role: role.into(),
        kind: kind.into(),
        ..GraphPart::default()
    };
    let mut view = JobView { state: JobState::Running, now_us: 100_000_000, ..JobView::default() };
    view.graph.parts =
        vec![part("in", "source", "kafka"), part("s", "stage", "plugin"), part("out", "sink", "postgres")];
    view.graph.interval_us = 1_000_000;
    view.graph.in_flight_max = 4;
    view.graph.checkpoints = Some("checkpoint".into());
    view.parts = vec![PartFacts::default(); 3];
    (view.status.workers, view.status.batches_committed) = (2, 10);
    (view.status.job, view.status.last_batch) = ("job".into(), Some(BatchId(10)));
    view.status.last_batch_time_us = Some(BatchTime(100_000_000));
    let counted = |name: &str| PartStatus { name: name.into(), ..PartStatus::default() };
    view.status.sources = vec![counted("in")];
    view.status.stages = vec![counted("s")];
    view.status.sinks = vec![counted("out")];
    let recent = &mut view.batches.last_10_s;
    (recent.span_us, recent.batches, recent.took_p50_us, recent.took_p99_us) = (10_000_000, 10, 20_000, 40_000);
    recent.busy_us = busy_us.to_vec();
    view.batches.last_minute = recent.clone();
    view.batches.watermarks_us = vec![None; 3];
    view.batches.busy_us = busy_us.to_vec();
    view
}

#[test]
fn a_job_that_keeps_up_says_so() {
    let diagnosed = diagnosis::diagnose(&job([100_000, 200_000, 50_000]));
    assert_eq!(diagnosed.keeps_up, Some(true));
    assert_eq!(diagnosed.summary, "Keeping up: a batch takes 20 ms of 1.0 s, 99 of 100 take at most 40 ms.");
    assert_eq!((diagnosed.bottleneck, diagnosed.sentences), (None, Vec::new()));
    let mut side_by_side = job([100_000, 200_000, 50_000]);
    side_by_side.batches.last_10_s.took_p50_us = 1_500_000;
    let diagnosed = diagnosis::diagnose(&side_by_side);
    assert_eq!(diagnosed.keeps_up, Some(true));
    assert!(
        diagnosed.summary.contains("takes 1.5 s, though the interval is 1.0 s, 99 of 100"),
        "{}",
        diagnosed.summary
    );
}

#[test]
fn the_cause_is_named_and_not_those_that_wait_for_it() {
    let mut view = job([100_000, 200_000, 9_700_000]);
    view.batches.last_10_s.waits.in_flight_us = 6_000_000;
    view.parts[0] = PartFacts { waiting_bytes: 95, waiting_bytes_max: 100, ..PartFacts::default() };
    let diagnosed = diagnosis::diagnose(&view);
    assert_eq!(diagnosed.keeps_up, Some(false));
    assert!(diagnosed.summary.ends_with("Sink `out` commits for 97 % of the time."), "{}", diagnosed.summary);
    assert_eq!(diagnosed.bottleneck.map(|cause| cause.part), Some("out".into()));
    assert_eq!(diagnosed.sentences[0].text, "Sink `out` waits for its database: 97 % of the last minute.");
}

#[test]
fn what_is_lost_or_silent_is_said() {
    let mut view = job([0, 0, 0]);
    view.status.stages[0].counts =
        Snapshot { rows: 10, rejected: 3, unread_rejected: 2, late: 1, ..Snapshot::default() };
    let strings: Vec<String> = diagnosis::diagnose(&view).sentences.into_iter().map(|sentence| sentence.text).collect();
    assert!(strings[0].starts_with("`s` has rejected 2 rows that no sink reads"), "{strings:?}");
    assert!(strings.contains(&"1 row came too late for `s`.".to_owned()), "{strings:?}");
    view.state = JobState::Silent;
    view.answered_us = 95_000_000;
    let diagnosed = diagnosis::diagnose(&view);
    assert!(diagnosed.summary.starts_with("The job has not responded for 5.0 s."), "{}", diagnosed.summary);
}

#[test]
fn metrics_hold_what_the_view_holds_and_names_cannot_break_out() {
    let mut view = job([0, 1_500_000, 0]);
    view.status.job = "a\"}\n<script>".into();
    view.status.stages[0].counts.counters = (0..100).map(|number| (format!("c{number:02}"), number)).collect();
    view.batches.took.add(2_000);
    view.batches.took.add(36_000_000_000);
    let text = prometheus::text(&[view]);
    let label = r#"{job_name="a\"}\n<script>""#;
    for line in [
        &format!("millstream_up{label}}} 1"),
        &format!("millstream_work_seconds_total{label},part=\"s\",role=\"stage\"}} 1.5"),
        "# TYPE millstream_batch_duration_seconds histogram",
        &format!("millstream_batch_duration_seconds_bucket{{le=\"+Inf\",{}}} 2", &label[1..]),
        &format!("millstream_batch_duration_seconds_count{label}}} 2"),
        "# EOF",
    ] {
        assert!(text.lines().any(|diagnosed| diagnosed == line), "{line}\n{text}");
    }
    assert_eq!(text.matches("millstream_plugin_counter_total{").count(), 50);
    assert!(text.contains("le=\"0.005\""), "{text}");
    assert!(!text.contains("e308"), "{text}");
}
