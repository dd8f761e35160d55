//! What a plugin says of its columns, asked when it is built, so that whoever gets it knows without running it.
//!
//! It is asked about no columns and an empty config, and about the config and the columns of each case of its project.

use crate::author::cases::{self, DescribeQuestion};
use crate::author::failed;
use crate::author::project::Project;
use arrow::datatypes::Schema;
use millstream_base::batch::types::ColumnType;
use millstream_base::error::{Error, Kind, Result};
use millstream_base::limits::DECLARED_BYTES_MAX;
use millstream_plugins::plugin::{Description, LoadOptions, Plugin, PluginHost, StageUse};
use serde_json::{Value, json};
use std::path::Path;

/// Questions that are put to a plugin.
const QUESTIONS_MAX: usize = 50;

/// What it answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DescribedPlugin {
    /// See [`PackageFacts::schemas`](millstream_packages::package::facts::PackageFacts); `None`: it could not be asked.
    pub schemas: Option<Vec<Value>>,
    /// The JSON Schema of its config; empty where it says none.
    pub config_schema: String,
}

/// Asks a component; `work` is a folder for what is made on the way. One that cannot be asked, or fails at some questions,
/// is no failure of the build: the host says what is wrong when it is used.
pub fn ask(component: &[u8], project: &Project, work: &Path) -> Result<DescribedPlugin> {
    let file = work.join(format!("{}.wasm", project.about.name));
    std::fs::write(&file, component).map_err(|error| failed("write", &file, &error))?;
    let untold = |error: &Error| tracing::warn!("the component will not describe its columns: {error}");
    // It may import all that a job could grant. It gets none of it but files and variables of cases.
    let options = LoadOptions { http: true, ..LoadOptions::default() };
    let plugin = match PluginHost::new().and_then(|host| host.load(&file, &options)) {
        Ok(plugin) => plugin,
        Err(error) => {
            untold(&error);
            return Ok(DescribedPlugin::default());
        }
    };
    let mut answers = DescribedPlugin { schemas: Some(Vec::new()), ..DescribedPlugin::default() };
    let questions = cases::questions(&project.folder);
    for question in [DescribeQuestion::default()].iter().chain(&questions).take(QUESTIONS_MAX) {
        match answer(&plugin, question) {
            Ok(description) => answers.add(question, &description),
            // It refuses this config or these columns, as it may.
            Err(error) if error.kind == Kind::Job => {}
            Err(error) => untold(&error),
        }
    }
    Ok(answers)
}

fn answer(plugin: &Plugin, question: &DescribeQuestion) -> Result<Description> {
    let used = StageUse {
        config: question.config.clone(),
        key: question.key.clone(),
        grant: question.grant.clone(),
        ..StageUse::new("")
    };
    plugin.describe_for(&used, &question.inputs)
}

impl DescribedPlugin {
    /// Notes an answer, as long as all of them fit.
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

/// An answer as components carry it.
pub fn entry(question: &DescribeQuestion, said: &Description) -> Value {
    let config: Value = serde_json::from_str(&question.config).unwrap_or_default();
    json!({
        "config": config,
        "given": question.inputs.iter().map(|input| columns(input)).collect::<Vec<_>>(),
        "by": columns(&question.key),
        "name": said.name,
        "version": said.version,
        "doc": said.doc,
        "inputs": said.inputs.iter().map(|input| columns(input)).collect::<Vec<_>>(),
        "output": columns(&said.output),
        "state": columns(&said.state),
        "key": said.key.as_deref().map(columns),
        "inverse": said.inverse,
    })
}

fn columns(schema: &Schema) -> Value {
    let columns = schema.fields().iter().map(|field| {
        json!({
            "name": field.name(),
            "type": ColumnType::of(field.data_type()).to_string(),
            "nullable": field.is_nullable(),
        })
    });
    columns.collect()
}
