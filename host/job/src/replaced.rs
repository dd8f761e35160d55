//! Sessions that are emitted with every batch (`emit = "update"`), and their keepers. A session that begins earlier, or becomes part of another, is
//! emitted with another start. A stage with `latest` by the stage's key and the start is notified which results that replaces; all others would keep
//! them.

use super::changes::reads::{self, Origin, Projection};
use super::errors::JobErrors;
use super::names;
use super::query_of;
use super::spec::*;
use std::collections::BTreeSet;

/// The column of a session's start.
const WINDOW_START: &str = "window_start";
/// Maximum streams with different columns that are visited for one reader: a job may have very many paths.
const LOOKED_AT_MAX: usize = 10_000;

/// Returns the sessions whose replacements a stage is notified of.
pub fn read_by<'a>(job: &'a JobSpec, stage: &'a StageSpec) -> impl Iterator<Item = &'a StageSpec> {
    let keeps = is_latest(stage) && stage.key.iter().any(|name| name == WINDOW_START);
    let from = stage.from.iter().filter(move |_| keeps);
    from.filter_map(|stream| job.stages.iter().find(|sessions| sessions.name == *stream && are_refined(sessions)))
}

/// Returns whether a stage is notified of what these sessions replace.
pub fn is_read(job: &JobSpec, sessions: &StageSpec) -> bool {
    let reads = |stage: &StageSpec| read_by(job, stage).any(|own| own.name == sessions.name);
    are_refined(sessions) && job.stages.iter().any(reads)
}

/// Adds errors for stages and sinks that keep results of sessions and would not see replacements.
pub(super) fn check(job: &JobSpec, errors: &JobErrors) {
    for stage in &job.stages {
        let path = format!("stages.{}", stage.name);
        if errors.within(&path) {
            continue;
        }
        let part = |key: &str| format!("stage `{}`: `{key}`: ", stage.name);
        match &stage.operator {
            OperatorSpec::Newest { .. } if stage.op.is_none() => {
                if let Some(message) = wrong_latest(job, stage) {
                    errors.add_new(format!("{path}.latest"), &part("latest"), message);
                }
            }
            OperatorSpec::Latest(latest) if latest.op.is_none() => {
                let key = latest.on.iter().map(|(_, name)| name);
                let read = sessions_in(job, &latest.stream, key);
                if let Some(read) = read.iter().find(|read| !read.is_by_key()) {
                    let message = format!("{}, and the table would keep the old result; {}", moves(read), remedy(read));
                    errors.add_new(format!("{path}.enrich.stream"), &part("enrich.stream"), message);
                }
            }
            OperatorSpec::Newest { .. } | OperatorSpec::Latest(_) => {}
            _ if is_over_all(stage) => {
                let mut read = stage.reads().flat_map(|stream| sessions_in(job, stream, []));
                if let Some(read) = read.next() {
                    let name = query_of(job, &stage.name).unwrap_or(&stage.name);
                    let message = format!(
                        "{}, and this stage would keep the old result next to the new one; {}",
                        moves(&read),
                        remedy(&read)
                    );
                    errors.add_new(format!("stages.{name}.window"), &format!("stage `{name}`: `window`: "), message);
                }
            }
            _ => {}
        }
    }
    job.sinks.iter().for_each(|sink| check_sink(job, sink, errors));
}

/// Returns why a stage with `latest` would keep replaced results.
fn wrong_latest(job: &JobSpec, stage: &StageSpec) -> Option<String> {
    let is_notified = |sessions: &StageSpec| {
        let direct = read_by(job, stage).any(|own| own.name == sessions.name);
        direct && sessions.filter.is_none() && sessions.select.is_none() && is_key_of(stage, sessions)
    };
    let read = stage.from.iter().flat_map(|stream| sessions_in(job, stream, &stage.key));
    // By the key alone, it is the latest result of each.
    let read = read.into_iter().find(|read| !read.is_by_key() && !is_notified(read.sessions))?;
    Some(format!(
        "{}, and this stage would keep the old result; read `{}` itself, without `filter` and `select`, with key = {}, and put `filter` and \
         `select` into a stage that reads this one",
        moves(&read),
        read.sessions.name,
        key_of(read.sessions),
    ))
}

/// Checks a sink: one that replaces rows by their start does not know which were removed.
fn check_sink(job: &JobSpec, sink: &SinkSpec, errors: &JobErrors) {
    let Some(key) = sink.kind.row_key().filter(|_| !sink.kind.changes().are_followed()) else { return };
    let part = format!("sinks.{}", sink.name);
    if sink.wants_changes || errors.within(&part) {
        return;
    }
    let mut read = sink.from.iter().flat_map(|stream| sessions_in(job, stream, key));
    if let Some(read) = read.find(|read| read.columns.contains(WINDOW_START)) {
        let message = format!("{}, and the table would keep the old result; {}", moves(&read), remedy(&read));
        errors.add_new(format!("{part}.key"), &format!("sink `{}`: `key`: ", sink.name), message);
    }
}

fn moves(read: &SessionsRead<'_>) -> String {
    format!("sessions of `{}` start earlier when older rows arrive or two sessions merge", read.sessions.name)
}

/// Returns what to do if a keeper does not see replacements.
fn remedy(read: &SessionsRead<'_>) -> String {
    let name = &read.sessions.name;
    format!(
        "put a stage that reads `{name}`, with latest = true and key = {}, in front, and write op = \"op\"; or remove emit = \"update\" from \
         `{name}`, which then emits each session once, when it is over",
        key_of(read.sessions)
    )
}

/// Returns the key of results of sessions, as in a job file.
fn key_of(sessions: &StageSpec) -> String {
    let names = sessions.key.iter().map(String::as_str).chain([WINDOW_START]);
    format!("[{}]", names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", "))
}

/// Returns whether a stage keeps a result for each session.
fn is_key_of(stage: &StageSpec, sessions: &StageSpec) -> bool {
    let own: BTreeSet<&str> = stage.key.iter().map(String::as_str).collect();
    own == sessions.key.iter().map(String::as_str).chain([WINDOW_START]).collect()
}

fn is_latest(stage: &StageSpec) -> bool {
    matches!(stage.operator, OperatorSpec::Newest { .. }) && stage.op.is_none()
}

fn is_over_all(stage: &StageSpec) -> bool {
    stage.window.as_ref().is_some_and(|window| window.extent == WindowExtent::All)
}

/// Returns whether a stage emits results of sessions whenever they change.
fn are_refined(stage: &StageSpec) -> bool {
    stage.window.as_ref().is_some_and(|window| {
        matches!(window.extent, WindowExtent::Session { .. }) && window.emit == WindowEmit::Update
    })
}

/// Sessions whose results a stream has, possibly only some or with other columns.
struct SessionsRead<'a> {
    sessions: &'a StageSpec,
    /// The columns of their output from which the requested columns are computed.
    columns: BTreeSet<String>,
}

impl SessionsRead<'_> {
    /// Returns whether the columns are computed from the key alone, which does not change.
    fn is_by_key(&self) -> bool {
        self.columns.iter().all(|name| self.sessions.key.contains(name))
    }
}

/// Returns the sessions whose results a stream has, and from which of their columns these columns are computed.
fn sessions_in<'a>(
    job: &'a JobSpec,
    stream: &str,
    columns: impl IntoIterator<Item = &'a String>,
) -> Vec<SessionsRead<'a>> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut rest = vec![(stream.to_owned(), columns.into_iter().cloned().collect::<BTreeSet<_>>())];
    while let Some((stream, columns)) = rest.pop() {
        if seen.len() > LOOKED_AT_MAX || !seen.insert((stream.clone(), columns.clone())) {
            continue;
        }
        let (part, side) = names::stream(&stream);
        let Some(stage) = job.stages.iter().find(|stage| stage.name == part) else { continue };
        if matches!(side, Some("rejected" | "late")) {
            continue;
        }
        // Branches have the columns of the operator.
        let select = stage.select.as_deref().filter(|_| side.is_none());
        let columns = before(select.and_then(reads::projection).as_ref(), columns);
        if are_refined(stage) {
            found.push(SessionsRead { sessions: stage, columns });
            continue;
        }
        match &stage.operator {
            OperatorSpec::Top { .. } if is_over_all(stage) => {}
            operator
                if operator.passes_rows()
                    || matches!(
                        operator,
                        OperatorSpec::Enrich(_) | OperatorSpec::Latest(_) | OperatorSpec::Top { .. }
                    ) =>
            {
                rest.extend(stage.from.iter().map(|stream| (stream.clone(), columns.clone())));
            }
            OperatorSpec::Sql { query, .. } => {
                if let Some(Ok(query)) = reads::row_query(query) {
                    rest.push((query.stream, before(Some(&query.projection), columns)));
                }
            }
            _ => {}
        }
    }
    found
}

/// Returns the input columns of a list of columns from which these are computed.
fn before(list: Option<&Projection>, columns: BTreeSet<String>) -> BTreeSet<String> {
    let Some(list) = list else { return columns };
    let origin = |name: &String| match list.origin(name) {
        Some(Origin::Column(name)) => BTreeSet::from([name]),
        Some(Origin::Computed { columns, .. }) => columns,
        None => BTreeSet::new(),
    };
    columns.iter().flat_map(origin).collect()
}
