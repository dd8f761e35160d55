//! Event time of a stage: `time`, `lateness`, `idle` and `ahead_max`.

use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::spec::{EventTimeSpec, OperatorSpec, StageSpec};
use crate::stage::window::check::length;
use std::time::Duration;

pub(super) const TIME: TableKey = key(
    "time",
    KeyShape::TextList,
    "Event time: a timestamp column, or an SQL expression that yields a timestamp. For a stage with separate inputs, one for \
     all, or a list with one per input.",
);

pub(super) const LATENESS: TableKey = key(
    "lateness",
    KeyShape::Time,
    "Event time: how much older a row may be than the newest row of its source, \"0s\" by default. Late rows go to \
     `<stage>.late`.",
);

pub(super) const IDLE: TableKey = key(
    "idle",
    KeyShape::Time,
    "Event time: a source without rows for this long stops holding back the watermark; a partition of a topic must also be read \
     to its end. If all are idle, event time follows batch time until open windows are emitted. Never by default.",
);

pub(super) const AHEAD_MAX: TableKey = key(
    "ahead_max",
    KeyShape::Time,
    "Event time: how far a row may be ahead of the batch time; rows further ahead are rejected. 24h by default, unlimited with \
     clock = \"manual\".",
);

impl EventTimeSpec {
    /// The time of a row by a timestamp column or an SQL expression, without lateness; the watermark waits for all sources.
    pub fn new(time: impl Into<String>) -> EventTimeSpec {
        EventTimeSpec { time: vec![time.into()], lateness: Duration::ZERO, idle: None, ahead_max: None }
    }

    /// Sets how much older a row may be than the newest row of its source.
    #[must_use]
    pub fn lateness(mut self, lateness: Duration) -> EventTimeSpec {
        self.lateness = lateness;
        self
    }

    /// Sets after how long without rows the watermark no longer waits for a source.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> EventTimeSpec {
        self.idle = Some(idle);
        self
    }
}

impl StageSpec {
    /// Sets the event time of rows.
    #[must_use]
    pub fn event_time(mut self, time: EventTimeSpec) -> StageSpec {
        self.event_time = Some(time);
        self
    }
}

/// `time` and what goes with it.
pub(super) fn check(spec: &StageSpec, part: &PartErrors<'_>) {
    let Some(time) = &spec.event_time else { return };
    let path = |key: &str| {
        let (window, join) = (format!("window.{key}"), format!("join.window.{key}"));
        part.existing_path([part.existing_path([key, &window]), &join]).to_owned()
    };
    let key = path("time");
    times(spec, &time.time, &key, part);
    let used = match &spec.operator {
        _ if spec.window.is_some() => true,
        OperatorSpec::Join(join) => join.within_us.is_some() || join.as_of,
        OperatorSpec::Deduplicate { .. }
        | OperatorSpec::Pattern(_)
        | OperatorSpec::Plugin(_)
        | OperatorSpec::Cogroup { .. } => true,
        _ => false,
    };
    if !used && matches!(spec.operator, OperatorSpec::Join(_)) {
        let message = format!(
            "a join with `{key}` but without a bound would keep all rows indefinitely; write within = \"10s\" in \
             `join`, or window = {{ size = \"30s\" }}, or remove `{key}` to join the rows of each batch"
        );
        part.wrong(&key, message);
    } else if !used {
        let message = format!(
            "`{key}` does nothing here: event time is for windows, joins with `within`, `deduplicate`, `pattern` and plugins; add \
             window = {{ size = \"30s\" }}, or remove it"
        );
        part.wrong(&key, message);
    }
    if let Some(idle) = time.idle {
        length(&path("idle"), idle, "30s", part);
    }
    for (key, time) in [("lateness", Some(time.lateness)), ("ahead_max", time.ahead_max)] {
        if time.is_some_and(|time| !time.is_zero()) {
            length(&path(key), time.unwrap_or_default(), "10s", part);
        }
    }
}

/// Checks the event times: one for all inputs, or one for each.
fn times(spec: &StageSpec, times: &[String], key: &str, part: &PartErrors<'_>) {
    if times.is_empty() || times.iter().any(|time| time.trim().is_empty()) {
        return part.wrong(key, format!("`{key}` is empty; write the name of a timestamp column"));
    }
    let (count, inputs) = (times.len(), spec.reads().count());
    if count == 1 {
        return;
    }
    if !spec.reads_side_by_side() {
        part.wrong(key, format!("`{key}` names {count} times, and this stage works on one stream of rows; write one"));
    } else if count != inputs {
        let message =
            format!("`{key}` names {count} times for {inputs} inputs; write one for each, or one for all of them");
        part.wrong(key, message);
    }
}
