//! Stages with `sql`.

use crate::operators::plugin;
use crate::operators::sql::node::SqlNode;
use crate::operators::stage::{InputNode, Operator};
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::stage_text::StageText;
use crate::operators::window::check::with_bounds;
use crate::operators::window::node::WindowNode;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_job::spec::{PluginSpec, SqlLimits};
use millstream_sql::function::PluginFunction;
use millstream_sql::placement::QueryPlacement;
use millstream_sql::query::Query;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Checks the stage.
pub fn check(
    check: &StageCheck<'_>,
    query: &str,
    functions: &BTreeMap<String, PluginSpec>,
    limits: SqlLimits,
) -> Result<CheckedStage> {
    let functions = functions.iter().map(|(name, spec)| function(check, name, spec)).collect::<Result<Vec<_>>>()?;
    let callable: Vec<_> = functions.iter().map(|function| function.callable(None)).collect();
    let of_event_time = check.window.is_some_and(WindowNode::of_event_time);
    let columns = |input: &InputNode| if of_event_time { with_bounds(&input.schema) } else { input.schema.clone() };
    let tables: Vec<(String, SchemaRef)> =
        check.inputs.iter().map(|input| (input.name.clone(), columns(input))).collect();
    let key_names = check.spec.key.clone();
    let keys = common_keys(&tables, &key_names);
    let used: &[String] = if keys.is_some() { &key_names } else { &[] };
    let query = |keys: &[String]| Query::new(query, tables.clone(), keys, &callable);
    let checked = query(used).map_err(|error| error.within("`sql`"))?;
    if let Some(unused) = functions.iter().find(|function| function.description().is_none()) {
        return Err(Error::job(format!(
            "the query does not call the function `{0}`; remove `functions.{0}`",
            unused.name()
        )));
    }
    let advice = match checked.placement() {
        QueryPlacement::One(_) if key_names.is_empty() => advice(&tables, &checked, query),
        _ => None,
    };
    let output = checked.output();
    let node = SqlNode { query: checked, limits, functions, keys: keys.unwrap_or_default(), key_names, advice };
    Ok(CheckedStage::new(output, Operator::Sql(Box::new(node))))
}

/// Returns the indexes of the key columns in each table; `None` if a table lacks any, or has other types.
fn common_keys(tables: &[(String, SchemaRef)], keys: &[String]) -> Option<Vec<Vec<usize>>> {
    let key_indexes = |schema: &Schema| keys.iter().map(|key| schema.index_of(key).ok()).collect::<Option<Vec<_>>>();
    let kinds = |schema: &Schema, indexes: &[usize]| {
        indexes.iter().map(|index| schema.field(*index).data_type().clone()).collect::<Vec<_>>()
    };
    let (_, first) = tables.first()?;
    let wanted = kinds(first, &key_indexes(first)?);
    tables.iter().map(|(_, schema)| key_indexes(schema).filter(|indexes| kinds(schema, indexes) == wanted)).collect()
}

/// Returns a column that would distribute the query as a key.
fn advice(
    tables: &[(String, SchemaRef)],
    checked: &Query,
    query: impl Fn(&[String]) -> Result<Query>,
) -> Option<String> {
    let output = checked.output();
    let names = output.fields().iter().map(|field| field.name().clone());
    let mut candidates = names.filter(|name| common_keys(tables, std::slice::from_ref(name)).is_some());
    candidates.find(|name| {
        let with_key = query(std::slice::from_ref(name));
        with_key.is_ok_and(|query| matches!(query.placement(), QueryPlacement::ByKey(_)))
    })
}

fn function(check: &StageCheck<'_>, name: &str, spec: &PluginSpec) -> Result<PluginFunction> {
    let load = || {
        let (plugin, stage) = plugin::check::for_use(check, spec, Arc::new(Schema::empty()))?;
        PluginFunction::new(name, plugin, stage)
    };
    load().map_err(|error| error.within(format!("function `{name}`")))
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>, functions: &BTreeMap<String, PluginSpec>) -> String {
    let (rows, inputs) = (text.rows(), text.inputs().join(", "));
    let functions: Vec<String> =
        functions.iter().map(|(name, plugin)| format!("{name} ({})", plugin.path.display())).collect();
    let with = if functions.is_empty() { "" } else { ", with functions " };
    format!("sql over each {rows} of {inputs}{with}{}", functions.join(", "))
}
