//! The job of a pipe: built as from a job file, with all checks.

use super::options::{Options, PipeFormat, StepOptions};
use super::sample::Sample;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::retry::StartupRetry;
use millstream_connectors::kinds;
use millstream_engine::graph::Graph;
use millstream_engine::operators::plugin::node::PluginNode;
use millstream_engine::operators::stage::{Operator, StageNode};
use millstream_job::spec::{JobSpec, SourceSpec};
use millstream_packages::lock;
use millstream_plugins::plugin::{LoadOptions, PluginHost, World};
use millstream_sql::placement::QueryPlacement;
use millstream_sql::query::Prepared;
use std::path::Path;
use toml::{Table, Value};

/// The source.
const INPUT: &str = "input";
/// The stream that a query reads: the rows of the last plugin, or the input.
const ROWS: &str = "rows";
/// The stage of the query.
const QUERY: &str = "sql";
/// The keys of a plugin that `--set` may set.
const PLUGIN_KEYS: [&str; 4] = ["config", "limits", "grant", "replayable"];
/// The keys of a query that `--set` may set.
const QUERY_KEYS: [&str; 2] = ["limits", "functions"];

/// The checked job of a pipe.
pub struct PipeGraph(Graph);

/// A stage of a pipe.
pub enum PipeStage<'a> {
    /// A plugin of world `transform`.
    Plugin(&'a StageNode, &'a PluginNode),
    /// A query that processes each row separately.
    Query(Prepared),
}

impl PipeGraph {
    /// Builds the job, loads its plugins, and checks everything.
    pub fn build(options: &Options, sample: &Sample) -> Result<PipeGraph> {
        let (text, sets) = text(options, sample)?;
        let mut spec = millstream_job::of_command("pipe", &text, kinds::all(), Path::new("."), &sets)?;
        let host = PluginHost::new()?;
        lock::resolve::resolve(&mut spec)?;
        check_worlds(&spec, &host)?;
        let graph = Graph::resolve(spec, kinds::all(), &host, false, StartupRetry::No)?;
        let pipe = PipeGraph(graph);
        pipe.combined_query()?;
        Ok(pipe)
    }

    /// Returns the job.
    pub fn spec(&self) -> &JobSpec {
        &self.0.spec
    }

    /// Returns the source.
    pub fn source(&self) -> Result<&SourceSpec> {
        self.0.spec.sources.first().ok_or_else(|| Error::bug("a pipe without a source"))
    }

    /// Returns the columns of the output.
    pub fn output(&self) -> Result<&SchemaRef> {
        let last = self.0.stages.last().map(|stage| &stage.output).or_else(|| self.0.streams.get(INPUT));
        last.ok_or_else(|| Error::bug("a pipe without rows"))
    }

    /// Returns the stages that process the rows of each portion, in order, prepared for one thread.
    pub fn stages(&self) -> Result<Vec<PipeStage<'_>>> {
        let mut stages = Vec::new();
        for stage in &self.0.stages {
            match &stage.operator {
                Operator::Transform(node) => stages.push(PipeStage::Plugin(stage, node)),
                Operator::Sql(_) => stages.extend(self.query(true)?.map(PipeStage::Query)),
                Operator::Union => {}
                _ => return Err(Error::bug(format!("stage `{}` in a pipe", stage.name))),
            }
        }
        Ok(stages)
    }

    /// Returns the query if it processes all rows together, prepared for one thread.
    pub fn combined_query(&self) -> Result<Option<Prepared>> {
        let Some(query) = self.query(false)? else { return Ok(None) };
        if query.reads_once() {
            return Ok(Some(query));
        }
        Err(Error::job(format!(
            "--sql: the query reads `{ROWS}` more than once, but a pipe passes its rows only once; read them once, or \
             run it in a job, over a batch or a window"
        )))
    }

    fn query(&self, by_part: bool) -> Result<Option<Prepared>> {
        for stage in &self.0.stages {
            if let Operator::Sql(node) = &stage.operator
                && by_part == (*node.query.placement() == QueryPlacement::Parts)
            {
                let functions: Vec<_> = node.functions.iter().map(|function| function.callable(None)).collect();
                return node.query.prepare(&stage.name, &functions, node.limits).map(Some);
            }
        }
        Ok(None)
    }
}

/// Returns the job as a job file, and the values of `--set`.
fn text(options: &Options, sample: &Sample) -> Result<(String, Vec<(String, String)>)> {
    let mut source = Table::new();
    source.insert("kind".into(), "file".into());
    // The path is not opened: standard input is already open, and reopening it may need permissions that were dropped.
    source.insert("path".into(), "/dev/null".into());
    // Arrow rows are not decoded, so only their columns matter.
    let format = if options.from == PipeFormat::Arrow { PipeFormat::Json } else { options.from };
    source.insert("format".into(), format.keyword().into());
    if !sample.schema.is_empty() {
        source.insert("schema".into(), sample.schema.clone().into());
    }
    let (mut stages, mut sets, mut last) = (Table::new(), Vec::new(), INPUT.to_owned());
    for step in &options.plugins {
        let name = name_of(&step.what, &stages);
        let mut stage = from(&last);
        stage.insert("plugin".into(), step.what.clone().into());
        if let Some(config) = &step.config {
            stage.insert("config".into(), config_of(config)?);
        }
        stage.insert("on_error".into(), if options.rejects { "reject" } else { "fail" }.into());
        sets.append(&mut sets_of(&name, step, &PLUGIN_KEYS)?);
        stages.insert(name.clone(), stage.into());
        last = name;
    }
    if let Some(query) = &options.query {
        stages.insert(ROWS.into(), from(&last).into());
        let mut stage = from(ROWS);
        stage.insert("sql".into(), query.what.clone().into());
        sets.append(&mut sets_of(QUERY, query, &QUERY_KEYS)?);
        stages.insert(QUERY.into(), stage.into());
        last = QUERY.to_owned();
    }
    let mut sink = from(&last);
    sink.insert("kind".into(), "nothing".into());
    let mut job = Table::new();
    if let Some(memory) = &options.memory {
        job.insert("memory".into(), memory.clone().into());
    }
    let sections = [("sources", INPUT, source), ("sinks", "output", sink)];
    for (section, name, part) in sections {
        job.insert(section.into(), Table::from_iter([(name.to_owned(), Value::from(part))]).into());
    }
    if !stages.is_empty() {
        job.insert("stages".into(), stages.into());
    }
    Ok((toml::to_string(&job).map_err(Error::bug)?, sets))
}

/// Returns a part that reads this stream.
fn from(stream: &str) -> Table {
    Table::from_iter([("from".to_owned(), Value::from(stream))])
}

/// Returns an unused name for the stage of a plugin.
fn name_of(plugin: &str, stages: &Table) -> String {
    let last = plugin.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = last.split('@').next().unwrap_or_default();
    let stem = stem.strip_suffix(".wasm").unwrap_or(stem);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut name: String = stem.chars().map(|c| if fits(c) { c } else { '-' }).take(40).collect();
    let taken = |name: &str| matches!(name, INPUT | ROWS | QUERY | "rejected" | "late") || stages.contains_key(name);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name = format!("plugin{name}");
    }
    let mut number = 2;
    let mut free = name.clone();
    while taken(&free) {
        free = format!("{name}-{number}");
        number += 1;
    }
    free
}

/// Converts JSON to TOML.
fn config_of(text: &str) -> Result<Value> {
    let wrong = |what: String| {
        Error::job(format!("--config: {what}; write a JSON object, for example '{{\"lowercase\": true}}'"))
    };
    let config: serde_json::Value = serde_json::from_str(text).map_err(|error| wrong(format!("not JSON: {error}")))?;
    if !config.is_object() {
        return Err(wrong("not a JSON object".into()));
    }
    Value::try_from(config)
        .map_err(|_| wrong("it has a null or a number that is too large, which configs cannot contain".into()))
}

fn sets_of(stage: &str, step: &StepOptions, keys: &[&str]) -> Result<Vec<(String, String)>> {
    let set = |(key, value): &(String, String)| {
        let first = key.split('.').next().unwrap_or_default().trim();
        if !keys.contains(&first) {
            let keys = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            return Err(Error::job(format!(
                "--set {key}: a pipe can set only {keys} and their parts for `{stage}`; everything else needs a job \
                file"
            )));
        }
        Ok((format!("stages.{stage}.{key}"), value.clone()))
    };
    step.sets.iter().map(set).collect()
}

/// Rejects plugins of other worlds, since a pipe has no place for their state.
fn check_worlds(spec: &JobSpec, host: &PluginHost) -> Result<()> {
    for (stage, plugin) in spec.plugins().filter(|(stage, _)| *stage != QUERY) {
        let loaded = host.load(&plugin.component_path(&spec.origin.dir), &LoadOptions::new(plugin));
        let world = loaded.map_err(|error| error.within(format!("plugin `{stage}`")))?.world();
        let why = match world {
            World::Transform => continue,
            World::Update | World::Aggregate | World::Cogroup => {
                "which processes the rows of a key together; use a job, which has batches, windows and state"
            }
            World::Source | World::Sink => {
                "which a pipe does not support: it reads standard input and writes standard output"
            }
        };
        return Err(Error::job(format!("`{}` is of world {world}, {why}", plugin.path.display())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_the_names_of_their_plugins() {
        let mut stages = Table::new();
        for (plugin, name) in [
            ("plugins/split-words/", "split-words"),
            ("split-words@0.1.0", "split-words-2"),
            ("./a b.wasm", "a-b"),
            ("../7", "plugin7"),
            ("rows", "rows-2"),
            ("/", "plugin"),
        ] {
            let found = name_of(plugin, &stages);
            assert_eq!(found, name);
            stages.insert(found, Value::from(true));
        }
    }
}
