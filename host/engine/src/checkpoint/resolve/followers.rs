//! Whether stages and sinks that follow changes go on together with those that make the changes.

use super::dropped::{dropped, part_of};
use super::{StartFacts, StartRequest};
use crate::checkpoint::types::{Table, TableOf};
use millstream_base::ids::BatchId;
use std::collections::BTreeSet;

/// What does not go on together, in words.
pub fn check(batch: BatchId, tables: &[Table], found: &StartFacts, wanted: &StartRequest) -> Vec<String> {
    let kept = Kept { batch, tables, wanted };
    let mut wrong = Vec::new();
    for (follower, makers) in &wanted.followers.stages {
        wrong.extend(makers.iter().filter_map(|maker| kept.stage(follower, maker)));
    }
    for sink in wanted.followers.sinks.keys() {
        wrong.extend(kept.left(sink));
        wrong.extend(kept.new_sink(sink, found));
    }
    wrong
}

/// How to start a stage with empty state, and all that then must be empty, too: those that follow its changes, and those whose changes it
/// follows.
pub fn drop_words(stage: &str, tables: &[Table], wanted: &StartRequest) -> String {
    let together = wanted.followers.together_with(stage);
    let known = |name: &&String| *name == stage || of_stage(tables, name).next().is_some();
    let names: BTreeSet<&str> = together.iter().filter(known).map(|name| shown(name, wanted)).collect();
    names.iter().map(|name| format!("--drop-state {name}")).collect::<Vec<_>>().join(" ")
}

/// The name that the job file has.
fn shown<'a>(stage: &'a str, wanted: &'a StartRequest) -> &'a str {
    wanted.queries.get(stage).map_or(stage, String::as_str)
}

fn of_stage<'a>(tables: &'a [Table], stage: &'a str) -> impl Iterator<Item = &'a Table> {
    tables.iter().filter(move |table| table.of == TableOf::Stage && part_of(&table.name) == stage)
}

/// What a checkpoint has.
struct Kept<'a> {
    batch: BatchId,
    tables: &'a [Table],
    wanted: &'a StartRequest,
}

impl<'a> Kept<'a> {
    /// The tables of a stage with which it goes on.
    fn goes_on(&self, stage: &'a str) -> impl Iterator<Item = &'a Table> {
        let drop = &self.wanted.drop;
        of_stage(self.tables, stage).filter(move |table| !dropped(drop, table))
    }

    fn has_rows(&self, stage: &'a str) -> bool {
        self.goes_on(stage).any(|table| !table.files.is_empty())
    }

    /// Why a stage cannot follow the changes of another.
    fn stage(&self, follower: &'a str, maker: &'a str) -> Option<String> {
        let Kept { batch, tables, wanted } = *self;
        let [own, of] = [follower, maker].map(|name| shown(name, wanted));
        let drops = drop_words(maker, tables, wanted);
        let begins = of_stage(&wanted.tables, follower).next().is_some() && self.goes_on(follower).next().is_none();
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
        let is_emptied = of_stage(tables, maker).next().is_some() && self.goes_on(maker).next().is_none();
        (is_emptied && self.has_rows(follower)).then(|| {
            format!(
                "stage `{of}` starts with empty state, but stage `{own}`, which follows its changes, resumes after batch {batch}: earlier \
                 rows would stay in it, and replayed rows would be in it twice. Start all of them with empty state with \
                 `{drops}`, or rebuild everything from the retained input with `--fresh`."
            )
        })
    }

    /// Which stages that a sink followed it does not follow any more.
    fn left(&self, sink: &str) -> Vec<String> {
        let Kept { batch, tables, wanted } = *self;
        let follows = wanted.followers.sinks.get(sink).map(|sink| &sink.makers);
        let is_left = |table: &&Table| {
            let stage = part_of(&table.name);
            table.of == TableOf::Stage
                && !dropped(&wanted.drop, table)
                && table.meaning.sinks.contains_key(sink)
                && wanted.followers.makers.contains(stage)
                && follows.is_none_or(|follows| !follows.contains(stage))
        };
        let told = |table: &Table| {
            let stage = part_of(&table.name);
            format!(
                "sink `{sink}`: it holds changes of stage `{}` up to batch {batch}, but its `from` no longer leads there, so nothing \
                 would delete or replace them. Change it back, start with empty state with `{}` and remove the old rows from the sink, or \
                 rebuild everything from the retained input with `--fresh`.",
                shown(stage, wanted),
                drop_words(stage, tables, wanted),
            )
        };
        tables.iter().filter(is_left).map(told).collect()
    }

    /// Which stages a new sink would follow from the middle on.
    fn new_sink(&self, sink: &str, found: &StartFacts) -> Option<String> {
        let Kept { batch, tables, wanted } = *self;
        let follows = wanted.followers.sinks.get(sink).filter(|sink| sink.is_table)?;
        let before = found.before.as_ref()?;
        let is_new = |table: &&Table| {
            let Some(now) = wanted.meanings.get(&table.name).and_then(|now| now.sinks.get(sink)) else { return false };
            let stored = &table.meaning.sinks;
            // One that is gone and held the same was given another name.
            let mut gone = stored.iter().filter(|(name, _)| !wanted.followers.sinks.contains_key(*name));
            let was = before.tables.get(&table.name);
            !stored.contains_key(sink)
                && was.is_some_and(|was| !was.sinks.contains_key(sink))
                && !gone.any(|(_, digest)| *digest == now.digest())
        };
        let makers = || follows.makers.iter().filter(|maker| self.has_rows(maker));
        let stage = makers().find(|maker| self.goes_on(maker).any(|table| is_new(&table)))?;
        Some(format!(
            "sink `{sink}`: it is new, but follows the changes of stage `{}`, which resumes after batch {batch}: it would miss all earlier \
             rows, and receive deletions of rows that it never had. Remove it, start with empty state with `{}`, or rebuild everything \
             from the retained input with `--fresh`.",
            shown(stage, wanted),
            drop_words(stage, tables, wanted),
        ))
    }
}
