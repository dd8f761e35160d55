//! The meanings of the tables of the last startup, if they decide whether the job may continue with them.

use millstream_base::error::{Error, Result};
use millstream_connectors::kinds;
use millstream_engine::checkpoint::meaning::is_comparable;
use millstream_engine::checkpoint::record;
use millstream_engine::checkpoint::resolve::{PreviousMeanings, StartFacts, StartRequest, needs_record};
use millstream_engine::checkpoint::store::Store;
use millstream_engine::checkpoint::types::{JobStart, Manifest, TableOf};
use millstream_engine::graph::Graph;
use std::collections::BTreeSet;

/// Compares with the job of the last startup, in case its state now has another meaning. Returns why that is needed but
/// not possible, if so.
pub(super) fn compare(
    graph: &Graph,
    store: &dyn Store,
    found: &mut StartFacts,
    wanted: &mut StartRequest,
) -> Option<String> {
    let manifest = found.manifest.as_ref()?;
    let last = manifest.starts.last()?;
    let newest = manifest.newest()?;
    let is_source =
        |name: &&String| newest.tables.iter().any(|table| table.of == TableOf::Source && table.name == **name);
    let given_up: BTreeSet<String> = wanted.drop.iter().filter(is_source).cloned().collect();
    let is_same_job = last.job_digest == wanted.job_digest;
    let without_sources = !given_up.is_empty() && !is_same_job;
    if !without_sources && !needs_record(&newest.tables, wanted, is_same_job) {
        return None;
    }
    let known = |name: &String| newest.tables.iter().any(|table| table.of == TableOf::Source && table.name == *name);
    let names = graph.spec.sources.iter().map(|source| source.name.clone());
    // This includes everything that replaces a removed source.
    let new: BTreeSet<String> = names.filter(|name| !known(name) || given_up.contains(name)).collect();
    match of_start(graph, store, last, &given_up) {
        Ok((tables, has_variables)) => {
            if without_sources {
                wanted.meanings = graph.meanings(&new);
            }
            found.before = Some(PreviousMeanings { tables, has_variables, without_sources });
            None
        }
        Err(error) => {
            // Digests of this version prove that something has changed.
            let is_known = |manifest: &Manifest| {
                let tables = manifest.newest().into_iter().flat_map(|newest| &newest.tables);
                tables.filter(|table| !table.meaning.state.is_empty()).any(|table| is_comparable(&table.meaning.state))
            };
            (!is_known(manifest)).then_some(error.message)
        }
    }
}

fn of_start(
    graph: &Graph,
    store: &dyn Store,
    start: &JobStart,
    unnamed: &BTreeSet<String>,
) -> Result<(millstream_engine::checkpoint::meaning::Meanings, bool)> {
    let record = record::read(store, start)?;
    let dir = tempfile::tempdir().map_err(|e| Error::environment(format!("cannot create a directory: {e}")))?;
    let before = graph.of_other(record::job(store, &record, kinds::all(), dir.path())?)?;
    Ok((before.meanings(unnamed), record.has_variables))
}

/// Returns the tables that `--drop-state` names. For a query over all rows this includes the table of its totals, which
/// has another name.
pub(super) fn dropped_tables(graph: &Graph, names: &[String], manifest: Option<&Manifest>) -> Vec<String> {
    let tables = || manifest.and_then(Manifest::newest).into_iter().flat_map(|newest| &newest.tables);
    let has_table = |name: &str| tables().any(|table| table.name == name || table.name.split('.').next() == Some(name));
    let queries = graph.queries();
    let mut all = Vec::new();
    for name in names {
        let parts =
            queries.iter().filter(|(stage, query)| *query == name && has_table(stage)).map(|(stage, _)| stage.clone());
        let before = all.len();
        all.extend(parts);
        if has_table(name) || all.len() == before {
            all.push(name.clone());
        }
    }
    all
}
