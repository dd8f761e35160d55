//! Sessions that are put out with every batch (`emit = "update"`), read by a stage with `latest`: a session that begins earlier, or becomes
//! part of another, is put out under another start, and the stage has to know which result that replaces.

use super::mistakes::Mistakes;
use super::names;
use super::spec::*;
use std::collections::BTreeSet;

/// The column of a session's start.
const WINDOW_START: &str = "window_start";

/// The sessions of which a stage is told what they replace.
pub fn read_by<'a>(job: &'a JobSpec, stage: &'a StageSpec) -> impl Iterator<Item = &'a StageSpec> {
    let keeps = is_latest(stage) && stage.key.iter().any(|name| name == WINDOW_START);
    let from = stage.from.iter().filter(move |_| keeps);
    from.filter_map(|stream| job.stages.iter().find(|sessions| sessions.name == *stream && are_refined(sessions)))
}

/// Whether a stage is told what these sessions replace.
pub fn is_read(job: &JobSpec, sessions: &StageSpec) -> bool {
    let reads = |stage: &StageSpec| read_by(job, stage).any(|own| own.name == sessions.name);
    are_refined(sessions) && job.stages.iter().any(reads)
}

/// Notes stages that keep results of sessions and would not see what these replace.
pub(super) fn check(job: &JobSpec, mistakes: &Mistakes) {
    for stage in job.stages.iter().filter(|stage| is_latest(stage)) {
        let Some(sessions) = stage.from.iter().find_map(|stream| behind(job, stream, &mut BTreeSet::new())) else {
            continue;
        };
        // The latest result of each of their keys.
        if stage.key.iter().all(|name| sessions.key.contains(name)) {
            continue;
        }
        let direct = read_by(job, stage).any(|own| own.name == sessions.name);
        let is_whole = sessions.filter.is_none() && sessions.select.is_none();
        if direct && is_whole || mistakes.within(&format!("stages.{}", stage.name)) {
            continue;
        }
        let key: Vec<String> = sessions.key.iter().map(|name| format!("\"{name}\"")).collect();
        let message = format!(
            "the start of a session of `{0}` changes when older rows come or two become one, and this stage would keep the old result; \
             read `{0}` itself, without `filter` and `select`, with key = [{1}], and put `filter` and `select` into a stage that reads this one",
            sessions.name,
            key.into_iter().chain([format!("\"{WINDOW_START}\"")]).collect::<Vec<_>>().join(", "),
        );
        mistakes.add_new(
            format!("stages.{}.latest", stage.name),
            &format!("stage `{}`: `latest`: ", stage.name),
            message,
        );
    }
    job.sinks.iter().for_each(|sink| check_sink(job, sink, mistakes));
}

/// A sink that replaces rows by their start does not know which have gone.
fn check_sink(job: &JobSpec, sink: &SinkSpec, mistakes: &Mistakes) {
    let mode = match &sink.kind {
        SinkKind::Files { layout: FilesLayout { delta: true, mode, .. }, .. } | SinkKind::Postgres { mode, .. } => mode,
        _ => return,
    };
    let TableMode::Upsert { key, op: None } = mode else { return };
    let part = format!("sinks.{}", sink.name);
    if !key.iter().any(|name| name == WINDOW_START) || sink.wants_changes || mistakes.within(&part) {
        return;
    }
    if let Some(sessions) = sink.from.iter().find_map(|stream| behind(job, stream, &mut BTreeSet::new())) {
        let key: Vec<String> = key.iter().map(|name| format!("\"{name}\"")).collect();
        let message = format!(
            "the start of a session of `{}` changes when older rows come or two become one, and the table would keep the old result; put a stage \
             with latest = true and key = [{}] between them, and write op = \"op\"",
            sessions.name,
            key.join(", "),
        );
        mistakes.add_new(format!("{part}.key"), &format!("sink `{}`: `key`: ", sink.name), message);
    }
}

fn is_latest(stage: &StageSpec) -> bool {
    matches!(stage.operator, OperatorSpec::Newest { .. }) && stage.op.is_none()
}

/// Whether a stage puts out results of sessions whenever they change.
fn are_refined(stage: &StageSpec) -> bool {
    stage.window.as_ref().is_some_and(|window| {
        matches!(window.extent, WindowExtent::Session { .. }) && window.emit == WindowEmit::Update
    })
}

/// The sessions whose results a stream has, perhaps some of them or with other columns.
fn behind<'a>(job: &'a JobSpec, stream: &'a str, seen: &mut BTreeSet<&'a str>) -> Option<&'a StageSpec> {
    let (part, side) = names::stream(stream);
    let stage = job.stages.iter().find(|stage| stage.name == part)?;
    if !seen.insert(part) || matches!(side, Some("rejected" | "late")) {
        return None;
    }
    if are_refined(stage) {
        return Some(stage);
    }
    let passes = matches!(
        stage.operator,
        OperatorSpec::Union
            | OperatorSpec::Enrich(_)
            | OperatorSpec::Latest(_)
            | OperatorSpec::Split(_)
            | OperatorSpec::Repartition { .. }
            | OperatorSpec::Sample(_)
            | OperatorSpec::Distinct(_)
            | OperatorSpec::Deduplicate { .. }
    );
    stage.from.iter().filter(|_| passes).find_map(|stream| behind(job, stream, seen))
}
