//! Whether stages and sinks that follow changes keep their state together with the stages that make the changes.

use super::dropped::{dropped, part_of};
use super::{StartFacts, StartRequest};
use crate::checkpoint::types::{Table, TableOf};
use millstream_base::ids::BatchId;
use std::collections::BTreeSet;

/// Describes which stages and sinks do not continue together.
pub fn check(batch: BatchId, tables: &[Table], found: &StartFacts, request: &StartRequest) -> Vec<String> {
    let kept = StoredTables { batch, tables, request };
    let mut wrong = Vec::new();
    for (follower, makers) in &request.followers.stages {
        wrong.extend(makers.iter().filter_map(|maker| kept.stage(follower, maker)));
    }
    for sink in request.followers.sinks.keys() {
        wrong.extend(kept.unfollowed_stages(sink));
        wrong.extend(kept.new_sink(sink, found));
    }
    wrong
}

/// Describes how to start a stage with empty state, together with everything that must then be empty, too: its followers, and the stages that it
/// follows.
pub fn drop_option(stage: &str, tables: &[Table], request: &StartRequest) -> String {
    let together = request.followers.connected_stages(stage);
    let known = |name: &&String| *name == stage || of_stage(tables, name).next().is_some();
    let names: BTreeSet<&str> = together.iter().filter(known).map(|name| display_name(name, request)).collect();
    names.iter().map(|name| format!("--drop-state {name}")).collect::<Vec<_>>().join(" ")
}

/// Returns the name in the job file.
fn display_name<'a>(stage: &'a str, request: &'a StartRequest) -> &'a str {
    request.queries.get(stage).map_or(stage, String::as_str)
}

fn of_stage<'a>(tables: &'a [Table], stage: &'a str) -> impl Iterator<Item = &'a Table> {
    tables.iter().filter(move |table| table.of == TableOf::Stage && part_of(&table.name) == stage)
}

/// The contents of a checkpoint.
struct StoredTables<'a> {
    batch: BatchId,
    tables: &'a [Table],
    request: &'a StartRequest,
}

impl<'a> StoredTables<'a> {
    /// Returns the tables of a stage that it keeps.
    fn kept_tables(&self, stage: &'a str) -> impl Iterator<Item = &'a Table> {
        let drop = &self.request.drop;
        of_stage(self.tables, stage).filter(move |table| !dropped(drop, table))
    }

    fn has_rows(&self, stage: &'a str) -> bool {
        self.kept_tables(stage).any(|table| !table.files.is_empty())
    }

    /// Returns why a stage cannot follow the changes of another.
    fn stage(&self, follower: &'a str, maker: &'a str) -> Option<String> {
        let StoredTables { batch, tables, request } = *self;
        let [own, of] = [follower, maker].map(|name| display_name(name, request));
        let drops = drop_option(maker, tables, request);
        let begins =
            of_stage(&request.tables, follower).next().is_some() && self.kept_tables(follower).next().is_none();
        if begins && self.has_rows(maker) {
            let back = match of_stage(tables, follower).next() {
                None => "Remove it",
                Some(_) => "Keep its state",
            };
            return Some(format!(
                "stage `{own}` starts with empty state, but follows the changes of stage `{of}`, which resumes after batch {batch}: it would \
                 miss all earlier rows, and receive deletions of rows that it never had. {back}, start all of them with empty state with \
                 `{drops}`, or rebuild everything from the retained input with `--fresh`."
            ));
        }
        let is_emptied = of_stage(tables, maker).next().is_some() && self.kept_tables(maker).next().is_none();
        (is_emptied && self.has_rows(follower)).then(|| {
            format!(
                "stage `{of}` starts with empty state, but stage `{own}`, which follows its changes, resumes after batch {batch}: earlier \
                 rows would stay in it, and replayed rows would be in it twice. Start all of them with empty state with \
                 `{drops}`, or rebuild everything from the retained input with `--fresh`."
            )
        })
    }

    /// Returns which stages a sink no longer follows.
    fn unfollowed_stages(&self, sink: &str) -> Vec<String> {
        let StoredTables { batch, tables, request } = *self;
        let follows = request.followers.sinks.get(sink).map(|sink| &sink.makers);
        let is_left = |table: &&Table| {
            let stage = part_of(&table.name);
            table.of == TableOf::Stage
                && !dropped(&request.drop, table)
                && table.meaning.sinks.contains_key(sink)
                && request.followers.makers.contains(stage)
                && follows.is_none_or(|follows| !follows.contains(stage))
        };
        let described = |table: &Table| {
            let stage = part_of(&table.name);
            format!(
                "sink `{sink}`: it holds changes of stage `{}` up to batch {batch}, but its `from` no longer leads \
                 there, so no stage would delete or replace them. Change it back, start with empty state with `{}` \
                 and remove the old rows from the sink, or rebuild everything from the retained input with \
                 `--fresh`.",
                display_name(stage, request),
                drop_option(stage, tables, request),
            )
        };
        tables.iter().filter(is_left).map(described).collect()
    }

    /// Returns which stages a new sink would start to follow midway.
    fn new_sink(&self, sink: &str, found: &StartFacts) -> Option<String> {
        let StoredTables { batch, tables, request } = *self;
        let follows = request.followers.sinks.get(sink).filter(|sink| sink.is_table)?;
        let before = found.before.as_ref()?;
        let is_new = |table: &&Table| {
            let Some(now) = request.meanings.get(&table.name).and_then(|now| now.sinks.get(sink)) else { return false };
            let stored = &table.meaning.sinks;
            // A missing one with the same contents was renamed.
            let mut removed = stored.iter().filter(|(name, _)| !request.followers.sinks.contains_key(*name));
            let was = before.tables.get(&table.name);
            !stored.contains_key(sink)
                && was.is_some_and(|was| !was.sinks.contains_key(sink))
                && !removed.any(|(_, digest)| *digest == now.digest())
        };
        let makers = || follows.makers.iter().filter(|maker| self.has_rows(maker));
        let stage = makers().find(|maker| self.kept_tables(maker).any(|table| is_new(&table)))?;
        Some(format!(
            "sink `{sink}`: it is new, but follows the changes of stage `{}`, which resumes after batch {batch}: it would miss all earlier \
             rows, and receive deletions of rows that it never had. Remove it, start with empty state with `{}`, or rebuild everything \
             from the retained input with `--fresh`.",
            display_name(stage, request),
            drop_option(stage, tables, request),
        ))
    }
}
