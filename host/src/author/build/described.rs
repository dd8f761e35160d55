//! The columns of a plugin, queried during the build, so that users of the component know them without running it.
//!
//! The plugin is queried without columns and with an empty config, and with the config and the columns of each case of
//! its project.

use crate::author::cases::{self, DescribeQuestion};
use crate::author::failed;
use crate::author::project::Project;
use arrow::datatypes::Schema;
use millstream_base::error::{Error, Kind, Result};
use millstream_base::limits::DECLARED_BYTES_MAX;
use millstream_plugins::plugin::{Description, LoadOptions, Plugin, PluginHost, StageUse};
use millstream_rows::batch::types::ColumnType;
use serde_json::{Value, json};
use std::path::Path;

/// Maximum number of queries.
const QUESTIONS_MAX: usize = 50;

/// The responses of a plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DescribedPlugin {
    /// See [`PackageFacts::schemas`](millstream_packages::package::facts::PackageFacts). `None` if it could not be
    /// queried.
    pub schemas: Option<Vec<Value>>,
    /// The JSON Schema of its config. Empty if it has none.
    pub config_schema: String,
}

/// Queries a component. `work` is a directory for intermediate files. A component that cannot be queried, or fails for
/// some queries, does not fail the build: the host reports the error when it is used.
pub fn describe_all(component: &[u8], project: &Project, work: &Path) -> Result<DescribedPlugin> {
    let file = work.join(format!("{}.wasm", project.about.name));
    std::fs::write(&file, component).map_err(|error| failed("write", &file, &error))?;
    let untold = |error: &Error| tracing::warn!("the component fails to describe its columns: {error}");
    // Everything that a job could grant may be imported. Only files and variables of cases are provided.
    let options = LoadOptions { http: true, ..LoadOptions::default() };
    let plugin = match PluginHost::new().and_then(|host| host.load(&file, &options)) {
        Ok(plugin) => plugin,
        Err(error) => {
            untold(&error);
            return Ok(DescribedPlugin::default());
        }
    };
    let mut described = DescribedPlugin { schemas: Some(Vec::new()), ..DescribedPlugin::default() };
    let questions = cases::questions(&project.dir);
    for question in [DescribeQuestion::default()].iter().chain(&questions).take(QUESTIONS_MAX) {
        match describe(&plugin, question) {
            Ok(description) => described.add(question, &description),
            // It may reject this config or these columns.
            Err(error) if error.kind == Kind::Job => {}
            Err(error) => untold(&error),
        }
    }
    Ok(described)
}

fn describe(plugin: &Plugin, question: &DescribeQuestion) -> Result<Description> {
    let used = StageUse {
        config: question.config.clone(),
        key: question.key.clone(),
        grant: question.grant.clone(),
        ..StageUse::new("")
    };
    plugin.describe_for(&used, &question.inputs)
}

impl DescribedPlugin {
    /// Adds a response, while all of them fit.
    fn add(&mut self, question: &DescribeQuestion, description: &Description) {
        let Some(schemas) = &mut self.schemas else { return };
        let entry = entry(question, description);
        let bytes: usize = schemas.iter().chain([&entry]).map(|entry| entry.to_string().len() + 1).sum();
        if !schemas.contains(&entry) && bytes < DECLARED_BYTES_MAX {
            schemas.push(entry);
        }
        if self.config_schema.is_empty() {
            self.config_schema.clone_from(&description.config_schema);
        }
    }
}

/// Returns a response in the form stored in components.
pub fn entry(question: &DescribeQuestion, metadata: &Description) -> Value {
    let config: Value = serde_json::from_str(&question.config).unwrap_or_default();
    json!({
        "config": config,
        "given": question.inputs.iter().map(|input| columns(input)).collect::<Vec<_>>(),
        "by": columns(&question.key),
        "name": metadata.name,
        "version": metadata.version,
        "doc": metadata.doc,
        "inputs": metadata.inputs.iter().map(|input| columns(input)).collect::<Vec<_>>(),
        "output": columns(&metadata.output),
        "state": columns(&metadata.state),
        "key": metadata.key.as_deref().map(columns),
        "inverse": metadata.inverse,
    })
}

fn columns(schema: &Schema) -> Value {
    let columns = schema.fields().iter().map(|field| {
        json!({
            "name": field.name(),
            "type": ColumnType::from_arrow(field.data_type()).to_string(),
            "nullable": field.is_nullable(),
        })
    });
    columns.collect()
}
