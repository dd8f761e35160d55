//! Checks of stages with a `cogroup` plugin: its inputs, and their common key.

use crate::operators::cogroup::node::{CogroupInput, CogroupNode};
use crate::operators::plugin::check::{check_key, check_options, load, read_indexes, world_of};
use crate::operators::stage::{InputNode, Operator};
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::stage_text::StageText;
use crate::operators::window;
use crate::operators::window::node::WindowNode;
use arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_job::spec::PluginSpec;
use millstream_plugins::plugin::World;
use millstream_rows::batch::types::{self, ColumnType};
use std::sync::Arc;

/// Checks a stage with a `cogroup` plugin.
pub fn check(check: &StageCheck<'_>, spec: &PluginSpec) -> Result<CheckedStage> {
    let windowed = check.window.is_some_and(WindowNode::of_event_time);
    let schema =
        |input: &InputNode| if windowed { window::check::with_bounds(&input.schema) } else { input.schema.clone() };
    let schemas: Vec<SchemaRef> = check.inputs.iter().map(schema).collect();
    let world = world_of(check, spec)?;
    if world != World::Cogroup {
        return Err(Error::job(format!(
            "`cogroup` needs a plugin of world cogroup, but `{}` is of world {world}",
            spec.path.display()
        )));
    }
    if check.key.is_empty() {
        return Err(Error::job(
            "`cogroup` combines rows with equal keys; write the key columns, for example key = \"user\"",
        ));
    }
    let plugin = load(check, spec, &schemas)?;
    let description = &plugin.description;
    let plugin_name = format!("plugin {} {}", description.name, description.version);
    check_options(&spec.update, world, &plugin_name)?;
    let key: SchemaRef = Arc::new(check.key_schema()?);
    check_key(description.key.as_deref(), &key, &plugin_name)?;
    let (reads, has) = (description.inputs.len(), schemas.len());
    if reads != has {
        let names = check.inputs.iter().map(|input| format!("`{}`", input.name)).collect::<Vec<_>>().join(", ");
        return Err(Error::job(format!("{plugin_name} reads {reads} inputs, but the stage has {has}: {names}")));
    }
    let input = |((input, schema), needs): ((&InputNode, &SchemaRef), &SchemaRef)| {
        Ok(CogroupInput {
            name: input.name.clone(),
            schema: schema.clone(),
            own_columns: input.schema.fields().len(),
            key: key_of_input(&key, input, schema)?,
            reads: read_indexes(needs, schema, &plugin_name, &input.from)?,
            needs: needs.clone(),
        })
    };
    let inputs = check.inputs.iter().zip(&schemas).zip(&description.inputs).map(input).collect::<Result<_>>()?;
    let output = description.output.clone();
    Ok(CheckedStage::new(output, Operator::Cogroup(Box::new(CogroupNode { plugin, key, inputs }))))
}

/// Finds the key columns, which are those of the first input, in another input.
fn key_of_input(key: &Schema, input: &InputNode, schema: &Schema) -> Result<Vec<usize>> {
    let index = |field: &Arc<Field>| {
        let (name, needs) = (field.name(), ColumnType::from_arrow(field.data_type()));
        let Ok(index) = schema.index_of(name) else {
            return Err(Error::job(format!(
                "key `{name}`: `{}` has no such column; it has: {}",
                input.name,
                types::describe(schema)
            )));
        };
        let has = ColumnType::from_arrow(schema.field(index).data_type());
        if has != needs {
            let input = &input.name;
            return Err(Error::job(format!("key `{name}` is {needs} in the first input and {has} in `{input}`")));
        }
        Ok(index)
    };
    key.fields().iter().map(index).collect()
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>) -> String {
    format!("cogroup of {}{} in each {}", text.inputs().join(", "), text.each(" by "), text.rows())
}
