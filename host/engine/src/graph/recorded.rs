//! What checkpoints keep of a job, so that its batches can be run again as they were.

use super::Graph;
use crate::checkpoint::record::{Recorded, has_times_without_unit};
use crate::checkpoint::types::{JobRecord, blob_path};
use crate::operators::stage::StageNode;
use bytes::Bytes;
use millstream_base::batch::types::ColumnType;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::ids::Generation;
use millstream_base::job::spec::{ColumnSpec, EnrichSpec, JobSpec, PluginSpec, SourceSpec};
use millstream_base::job::table_source::stage_of;
use millstream_plugins::plugin::component_file;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The record of a checked job. `known`: the job was made of this record.
pub fn record(graph: &Graph, sets: &[(String, String)], known: Option<JobRecord>) -> Result<Recorded> {
    let spec = &graph.spec;
    let failed = |path: &Path, error: std::io::Error| {
        Error::environment(format!("cannot read {} for the checkpoint: {error}", path.display()))
    };
    let (mut record, mut blobs) = (JobRecord::default(), BTreeMap::new());
    match known {
        Some(known) => record = known,
        None => {
            let folder = std::path::absolute(&spec.origin.folder).unwrap_or_else(|_| spec.origin.folder.clone());
            record.folder = folder.display().to_string();
            record.sets = sets.to_vec();
            record.sets.extend(tables_of(graph));
            // Jobs without such columns keep the record, and so the digest, that they had.
            record.units_are_said = has_times_without_unit(spec);
            record.has_variables = !spec.origin.written.is_empty();
            // Not what stands there now: somebody may have changed it since.
            record.text = spec.origin.text.to_string();
            for (path, file) in files_of(spec)? {
                let bytes = millstream_base::regular::read(&file).map_err(|e| failed(&file, e))?;
                let (digest, bytes) = (Digest::of(&bytes), Bytes::from(bytes));
                check_same(graph, &path, &digest)?;
                // By the names that stand in the job file: values of variables are not kept.
                for text in spec.origin.written.of(&path) {
                    record.blobs.insert(text.clone(), blob_path(Generation(0), &digest.hex()));
                    blobs.insert(text, bytes.clone());
                }
            }
        }
    }
    Recorded::new(spec.name.clone(), record, blobs)
}

/// Whether a file with this digest is what was loaded of a plugin, if it is one.
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

/// Components and files that the plugins of a job are given: path as the job has it, and where the file is. The tables
/// of enrichments are not among them, as their rows are in the plans.
fn files_of(spec: &JobSpec) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let folder = &spec.origin.folder;
    for (_, plugin) in spec.plugins() {
        let PluginSpec { path, grant, update, .. } = plugin;
        files.insert(path.display().to_string(), component_file(&plugin.place(folder))?);
        for path in grant.files.values().chain(&update.initial) {
            files.insert(path.display().to_string(), folder.join(path));
        }
    }
    Ok(files)
}

/// The columns of tables from outside, as values that replace those of the job file: a file may tell others when the job is
/// run again.
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
