//! The record of a job in checkpoints, for replaying its batches exactly.

use super::Graph;
use crate::checkpoint::record::{RecordedJob, has_times_without_unit};
use crate::checkpoint::types::{JobRecord, blob_path};
use crate::operators::stage::StageNode;
use bytes::Bytes;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::ids::Generation;
use millstream_job::spec::{EnrichSpec, JobSpec, PluginSpec, SourceSpec};
use millstream_job::table_source::stage_of;
use millstream_plugins::plugin::component_file;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types::ColumnType;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Returns the record of a checked job. `known`: the record from which the job was created.
pub fn record(graph: &Graph, sets: &[(String, String)], known: Option<JobRecord>) -> Result<RecordedJob> {
    let spec = &graph.spec;
    let failed = |path: &Path, error: std::io::Error| {
        Error::environment(format!("cannot read {} for the checkpoint: {error}", path.display()))
    };
    let (mut record, mut blobs) = (JobRecord::default(), BTreeMap::new());
    match known {
        Some(known) => record = known,
        None => {
            let dir = std::path::absolute(&spec.origin.dir).unwrap_or_else(|_| spec.origin.dir.clone());
            record.dir = dir.display().to_string();
            record.sets = sets.to_vec();
            record.sets.extend(tables_of(graph));
            // Jobs without such columns keep their previous record, and so its digest.
            record.units_are_said = has_times_without_unit(spec);
            record.has_variables = !spec.origin.written.is_empty();
            // Not the current contents: the file may have been changed since.
            record.text = spec.origin.text.to_string();
            for (path, file) in files_of(spec)? {
                let bytes = millstream_base::regular::read(&file).map_err(|e| failed(&file, e))?;
                let (digest, bytes) = (Digest::compute(&bytes), Bytes::from(bytes));
                check_same(graph, &path, &digest)?;
                // By the names in the job file: values of variables are not recorded.
                for text in spec.origin.written.with_value(&path) {
                    record.blobs.insert(text.clone(), blob_path(Generation(0), &digest.hex()));
                    blobs.insert(text, bytes.clone());
                }
            }
        }
    }
    RecordedJob::new(spec.name.clone(), record, blobs)
}

/// Checks that a file with this digest is the one loaded as a plugin, if it is one.
fn check_same(graph: &Graph, path: &str, digest: &Digest) -> Result<()> {
    let digest = digest.to_string();
    for stage in &graph.spec.stages {
        let of_path = stage.plugins().first().is_some_and(|plugin| plugin.path.display().to_string() == path);
        let node = graph.stages.iter().find(|node| of_path && node.name == stage.name);
        if node.and_then(StageNode::plugin).is_some_and(|node| node.plugin.digest() != digest) {
            return Err(Error::environment(format!(
                "stage `{}`: {path} was replaced while the job was starting; start it again",
                stage.name
            )));
        }
    }
    Ok(())
}

/// Returns the components and files that the plugins of a job get: the path in the job, and the location of the file. The tables of enrichments are
/// not included, as their rows are in the plans.
fn files_of(spec: &JobSpec) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let dir = &spec.origin.dir;
    for (_, plugin) in spec.plugins() {
        let PluginSpec { path, grant, update, .. } = plugin;
        files.insert(path.display().to_string(), component_file(&plugin.component_path(dir))?);
        for path in grant.files.values().chain(&update.initial) {
            files.insert(path.display().to_string(), dir.join(path));
        }
    }
    Ok(files)
}

/// Returns the columns of lookup tables, as values that override those of the job file: a file may have other columns at the replay.
fn tables_of(graph: &Graph) -> Vec<(String, String)> {
    let columns = |enrich: &EnrichSpec| {
        let column = |column: &ColumnSpec| {
            ColumnType::from_name(&column.kind.to_string())?;
            Some(format!("{} = {}", toml::Value::String(column.name.clone()), column.toml()))
        };
        Some(format!("{{ {} }}", enrich.schema.iter().map(column).collect::<Option<Vec<_>>>()?.join(", ")))
    };
    let table = |source: &SourceSpec| {
        let enrich = source.kind.table()?;
        Some((format!("stages.{}.enrich.schema", stage_of(&source.name)), columns(enrich)?))
    };
    graph.spec.sources.iter().filter_map(table).collect()
}

#[cfg(test)]
mod tests;
