//! `enrich` with a `stream`: columns of another stream's latest row with the same key.

use super::enrich::ONLY_OWN_ROWS;
use super::on;
use crate::part_errors::PartErrors;
use crate::spec::{JoinKind, LatestSpec, OperatorSpec, StageSpec};
use crate::table::Reader;

impl StageSpec {
    /// Adds columns of a stream's latest row with the same key to each row.
    pub fn latest<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        latest: LatestSpec,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Latest(latest))
    }
}

/// Reads `enrich` with a `stream`.
pub(super) fn read(r: &Reader<'_>, kind: JoinKind) -> LatestSpec {
    for key in ["file", "url", "query", "wait", "format", "schema", "poll"].into_iter().filter(|key| r.has(key)) {
        r.wrong(key, format!("`{0}{key}` cannot be combined with `{0}stream`; remove one", r.inside));
    }
    LatestSpec {
        stream: r.text("stream", "stream = \"customers\"").unwrap_or("?").into(),
        on: on::read(r),
        kind,
        op: r.text("op", "op = \"op\"").map(Into::into),
    }
}

pub(super) fn check(spec: &StageSpec, latest: &LatestSpec, part: &PartErrors<'_>) {
    on::check("enrich.on", &latest.on, part);
    if !matches!(latest.kind, JoinKind::Inner | JoinKind::Left) {
        part.wrong("enrich.type", ONLY_OWN_ROWS);
    }
    if spec.window.is_some() {
        let message = "`window` has no effect with `enrich.stream`: a row meets the latest row of its key; put the \
                       window into a separate stage, before or after this one";
        part.wrong("window", message);
    } else if spec.event_time.is_some() {
        let message =
            "`time` has no effect with `enrich.stream`: a row meets the latest row that has come so far; remove it";
        part.wrong(part.existing_path(["time", "window.time"]), message);
    }
    if latest.op.as_ref().is_some_and(|op| latest.on.iter().any(|(_, right)| right == op)) {
        part.wrong("enrich.op", "`enrich.op` is also in `enrich.on`; remove it from one of them");
    }
}
