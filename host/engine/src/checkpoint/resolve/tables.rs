//! Whether the tables of a checkpoint still fit the job.

use super::dropped::{dropped, is_retry, part_of};
use super::meanings::MixedMeanings;
use super::{StartFacts, StartRequest, followers, meanings};
use crate::checkpoint::counters;
use crate::checkpoint::types::{Column, Table, TableOf};
use millstream_base::ids::BatchId;
use std::collections::BTreeSet;

/// Compares the tables of the checkpoint after a batch with those that the job needs. The error lists all that do not fit, and the choice.
pub fn check(batch: BatchId, tables: &[Table], found: &StartFacts, request: &StartRequest) -> Result<(), String> {
    let mut problems = unknown_drops(batch, tables, request);
    let mut mixed_parts = BTreeSet::new();
    for table in tables.iter().filter(|table| !dropped(&request.drop, table)) {
        let now = request.tables.iter().find(|now| now.of == table.of && now.name == table.name);
        // Counters without a plugin are harmless.
        if now.is_none() && table.name == counters::TABLE {
            continue;
        }
        // If the source of retried rows no longer exists, its directory or the stage does not exist either: nothing would be read again. See
        // `graph::retry`.
        if now.is_none() && is_retry(table) {
            continue;
        }
        let mismatch = match table.of {
            TableOf::Stage => stage(batch, (tables, table), now, request),
            TableOf::Source => source(batch, table, now),
        };
        let migrates = now.is_some_and(|now| now.state != table.state);
        // The first table of a stage determines this.
        match now.filter(|_| mismatch.is_none() && !migrates).and_then(|_| meanings::find_mixed(found, request, table))
        {
            Some(what) if mixed_parts.insert((part_of(&table.name), what.sink.clone())) => {
                problems.push(describe_mixed(batch, (tables, table), &what, request));
            }
            _ => problems.extend(mismatch),
        }
    }
    problems.extend(followers::check(batch, tables, found, request));
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn unknown_drops(batch: BatchId, tables: &[Table], request: &StartRequest) -> Vec<String> {
    let known: Vec<String> = tables.iter().map(|table| format!("`{}`", table.name)).collect();
    let known =
        if known.is_empty() { "has no tables".to_owned() } else { format!("has tables of {}", known.join(", ")) };
    let unknown =
        request.drop.iter().filter(|drop| !tables.iter().any(|table| dropped(std::slice::from_ref(*drop), table)));
    unknown
        .map(|drop| {
            format!("`--drop-state {drop}`: no state with that name: the checkpoint after batch {batch} {known}.")
        })
        .collect()
}

/// Describes why a table must not continue although its columns would fit.
fn describe_mixed(
    batch: BatchId,
    (tables, table): (&[Table], &Table),
    mixed: &MixedMeanings,
    request: &StartRequest,
) -> String {
    let name = part_of(&table.name);
    let query = request.queries.get(name).map_or(name, String::as_str);
    let kind = if table.of == TableOf::Stage { "stage" } else { "source" };
    let what = &mixed.what;
    let drops = match table.of {
        TableOf::Stage => followers::drop_option(name, tables, request),
        TableOf::Source => format!("--drop-state {name}"),
    };
    match &mixed.sink {
        None => format!(
            "{kind} `{query}`: its state in the checkpoint after batch {batch} is from a different job: {what}. Undo that change, start \
             with empty state with `{drops}`, or rebuild everything from the retained input with `--fresh`."
        ),
        Some(sink) => format!(
            "sink `{sink}`: it holds changes of {kind} `{query}` from a different job: {what}. Its rows up to batch {batch} \
             would not be deleted or replaced. Undo that change, start with empty state with `{drops}` and remove the old \
             rows from the sink, or rebuild everything from the retained input with `--fresh`."
        ),
    }
}

fn stage(
    batch: BatchId,
    (tables, before): (&[Table], &Table),
    now: Option<&Table>,
    request: &StartRequest,
) -> Option<String> {
    let migrates = request.migrates.contains(&before.name);
    let name = part_of(&before.name);
    let suffix = before.name.strip_prefix(name).filter(|word| !word.is_empty());
    let suffix = suffix.map_or(String::new(), |_| format!(", table `{}`", before.name));
    let choice = format!("with `{}`: all of its state is lost", followers::drop_option(name, tables, request));
    let name = request.queries.get(name).map_or(name, String::as_str);
    let Some(now) = now else {
        return Some(format!(
            "stage `{name}`{suffix}: the checkpoint after batch {batch} holds its state ({}), but the job has no stage of that name \
             with such state. Restore the stage, or discard its state {choice}.",
            shape(before)
        ));
    };
    // If the meaning of the state is known, spelling and names of stages do not matter.
    let same_meaning = !now.meaning.state.is_empty() && now.meaning.state == before.meaning.state;
    let identity = |table: &Table| Some(table.identity.clone()).filter(|_| !same_meaning);
    let around = |table: &Table| (table.key.clone(), table.sub.clone(), identity(table));
    let of_the_same = same_meaning || before.reads.is_empty() || before.reads == now.reads;
    let fits = around(before) == around(now) && of_the_same && (migrates || before.state == now.state);
    (!fits).then(|| {
        let version = |table: &Table| {
            if table.version.is_empty() { String::new() } else { format!(" of version {}", table.version) }
        };
        let migrate = match around(before) == around(now) && of_the_same && !now.version.is_empty() {
            true => ", use a version of the plugin that migrates it (world `update-migrating`)",
            false => "",
        };
        format!(
            "stage `{name}`{suffix}: its state no longer fits. The checkpoint after batch {batch} has {}{}; the job now needs \
             {}{}. Restore the stage{migrate}, or let it start with empty state {choice}.",
            shape(before),
            version(before),
            shape(now),
            version(now)
        )
    })
}

fn source(batch: BatchId, before: &Table, now: Option<&Table>) -> Option<String> {
    let (name, was) = (&before.name, &before.identity);
    match now {
        None => Some(format!(
            "source `{name}` ({was}): the checkpoint after batch {batch} has its position, but the job has no \
             source of that name. Restore it, or discard its position with `--drop-state {name}`: if it is added \
             again later, it is read from its beginning."
        )),
        // State belongs to a stage, whatever its plugin, and positions likewise to a source: an upgrade may have replaced the plugin.
        Some(now) if is_plugin(&now.identity) && is_plugin(was) => None,
        Some(now) if now.identity != *was => Some(format!(
            "source `{name}` was {was} and is now {}, so its position in the checkpoint after batch {batch} does \
             not fit. Change it back, or read it from its beginning with `--drop-state {name}`.",
            now.identity
        )),
        Some(_) => None,
    }
}

/// Returns whether a source of this identity is a plugin.
fn is_plugin(identity: &str) -> bool {
    identity.starts_with("plugin ")
}

fn shape(table: &Table) -> String {
    let of = if table.identity.is_empty() { String::new() } else { format!("{}, ", table.identity) };
    let sub = if table.sub.is_empty() { String::new() } else { format!(" and {}", Column::list_columns(&table.sub)) };
    let reads = if table.reads.is_empty() { String::new() } else { format!("of {}, ", table.reads) };
    format!("{of}{reads}key {}{sub}, state {}", Column::list_columns(&table.key), Column::list_columns(&table.state))
}
