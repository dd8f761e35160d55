//! Checks of what a plugin says of itself.

use super::arrow_types;
use super::bindings::{self, DataType, WitPromise};
use super::description::{Description, WrittenColumns, WrittenOut};
use super::world::World;
use crate::limits::PLUGIN_COLUMNS_MAX;
use arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_base::shown::{is_unsafe, printable};
use millstream_rows::batch::nested;
use millstream_rows::batch::types::ColumnType;
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes of a plugin's name and version, and of a column's name.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of a column's type as job files name it: structs name all their members.
const TYPE_BYTES_MAX: usize = 16 << 10;
/// Bytes of a plugin's `doc`; the rest is cut.
const DOC_BYTES_MAX: usize = 4096;

/// Converts the result of `describe` to a description. Errors are messages for the plugin's author.
pub fn description(world: World, raw: bindings::WitDescription) -> Result<Description, String> {
    name("its name", &raw.name)?;
    name("its version", &raw.version)?;
    if world == World::Transform && !raw.state.fields.is_empty() {
        return Err("world `transform` has no state, but `state` names columns".into());
    }
    if world != World::Aggregate && raw.inverse {
        return Err("`inverse` is for world `aggregate` only".into());
    }
    config_schema(&raw.config_schema)?;
    let (input, of_input) = schema("input", raw.input)?;
    let (output, of_output) = schema("output", raw.output)?;
    let (state, of_state) = schema("state", raw.state)?;
    let (key, of_key) = raw.key.map(|key| schema("key", key)).transpose()?.unzip();
    Ok(Description {
        name: raw.name,
        version: raw.version,
        doc: printable(&raw.doc, DOC_BYTES_MAX),
        inputs: vec![input.clone()],
        input,
        output,
        state,
        key,
        written: Arc::new(WrittenColumns {
            inputs: vec![of_input],
            output: of_output,
            state: of_state,
            key: of_key.unwrap_or_default(),
        }),
        inverse: raw.inverse,
        exactly_once: false,
        config_schema: raw.config_schema,
    })
}

/// Like [`description`], for world `cogroup`.
pub fn cogroup_description(raw: bindings::CogroupDescription) -> Result<Description, String> {
    name("its name", &raw.name)?;
    name("its version", &raw.version)?;
    config_schema(&raw.config_schema)?;
    let inputs = raw.inputs.into_iter().enumerate();
    let inputs = inputs.map(|(index, input)| schema(&format!("inputs[{index}]"), input));
    let (inputs, of_inputs): (Vec<_>, Vec<_>) = inputs.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    let Some(input) = inputs.first().cloned() else { return Err("`inputs` is empty".into()) };
    let (output, of_output) = schema("output", raw.output)?;
    let (key, of_key) = raw.key.map(|key| schema("key", key)).transpose()?.unzip();
    Ok(Description {
        name: raw.name,
        version: raw.version,
        doc: printable(&raw.doc, DOC_BYTES_MAX),
        input,
        inputs,
        output,
        state: Arc::new(Schema::empty()),
        key,
        written: Arc::new(WrittenColumns {
            inputs: of_inputs,
            output: of_output,
            state: WrittenOut::default(),
            key: of_key.unwrap_or_default(),
        }),
        inverse: false,
        exactly_once: false,
        config_schema: raw.config_schema,
    })
}

/// Like [`description`], for world `source`, which reads no input.
pub fn reader_description(raw: bindings::ReaderDescription) -> Result<Description, String> {
    name("its name", &raw.name)?;
    name("its version", &raw.version)?;
    config_schema(&raw.config_schema)?;
    let none = || Arc::new(Schema::empty());
    let (output, of_output) = schema("output", raw.output)?;
    if output.fields().is_empty() {
        return Err("`output` has no columns".into());
    }
    Ok(Description {
        name: raw.name,
        version: raw.version,
        doc: printable(&raw.doc, DOC_BYTES_MAX),
        input: none(),
        inputs: Vec::new(),
        output,
        state: none(),
        key: None,
        written: Arc::new(WrittenColumns { output: of_output, ..WrittenColumns::default() }),
        inverse: false,
        exactly_once: false,
        config_schema: raw.config_schema,
    })
}

/// Like [`description`], for world `sink`, which returns no rows.
pub fn writer_description(raw: bindings::WriterDescription) -> Result<Description, String> {
    name("its name", &raw.name)?;
    name("its version", &raw.version)?;
    config_schema(&raw.config_schema)?;
    let none = || Arc::new(Schema::empty());
    let (input, of_input) = schema("input", raw.input)?;
    Ok(Description {
        name: raw.name,
        version: raw.version,
        doc: printable(&raw.doc, DOC_BYTES_MAX),
        inputs: vec![input.clone()],
        input,
        output: none(),
        state: none(),
        key: None,
        written: Arc::new(WrittenColumns { inputs: vec![of_input], ..WrittenColumns::default() }),
        inverse: false,
        exactly_once: raw.promise == WitPromise::ExactlyOnce,
        config_schema: raw.config_schema,
    })
}

fn config_schema(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let parsed = serde_json::from_str::<serde_json::Value>(text);
    parsed.map(drop).map_err(|e| format!("`config-schema` is not valid JSON: {e}"))
}

fn name(what: &str, text: &str) -> Result<(), String> {
    bounded_name(what, text, NAME_BYTES_MAX)
}

fn bounded_name(what: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("{what} is empty"));
    }
    if text.len() > bytes_max {
        return Err(format!("{what} has {} bytes; at most {bytes_max} are allowed", text.len()));
    }
    match text.chars().any(is_unsafe) {
        true => Err(format!("{what} holds control characters: {text:?}")),
        false => Ok(()),
    }
}

fn schema(what: &str, raw: bindings::Schema) -> Result<(SchemaRef, WrittenOut), String> {
    if raw.fields.len() > PLUGIN_COLUMNS_MAX {
        return Err(format!("`{what}` names {} columns; at most {PLUGIN_COLUMNS_MAX} are allowed", raw.fields.len()));
    }
    let mut fields = Vec::with_capacity(raw.fields.len());
    let (mut names, mut written) = (HashSet::new(), Vec::new());
    for field in raw.fields {
        name(&format!("a column of `{what}`"), &field.name)?;
        if !names.insert(field.name.clone()) {
            return Err(format!("`{what}` names column `{}` twice", field.name));
        }
        let (kind, is_written) =
            column_type(field.kind).map_err(|message| format!("`{what}`, column `{}`: {message}", field.name))?;
        written.push(is_written);
        fields.push(Field::new(field.name, kind.arrow(), field.nullable));
    }
    Ok((Arc::new(Schema::new(fields)), WrittenOut(written)))
}

/// The type, and whether its values are written out: types that job files name are, by that name.
fn column_type(raw: DataType) -> Result<(ColumnType, bool), String> {
    let plain = match raw {
        DataType::Bool => ColumnType::Bool,
        DataType::Int64 => ColumnType::Int64,
        DataType::Float64 => ColumnType::Float64,
        DataType::Text => ColumnType::Text,
        DataType::Binary => ColumnType::Binary,
        DataType::Timestamp => ColumnType::Timestamp,
        DataType::Arrow(text) => {
            // Names of Arrow's own are short: its parser goes as deep as they do.
            let named =
                Some(&text).filter(|text| text.len() <= TYPE_BYTES_MAX).and_then(|text| nested::from_name(text));
            let is_written = named.is_some();
            bounded_name("its Arrow type", &text, if is_written { TYPE_BYTES_MAX } else { NAME_BYTES_MAX })?;
            let parsed = named.map_or_else(|| text.parse(), Ok);
            let parsed = parsed.map_err(|e| format!("`{text}` is not an Arrow type: {e}"))?;
            return match ColumnType::from_arrow(&parsed) {
                ColumnType::Arrow(other) => {
                    arrow_types::check(&other).map_err(|message| format!("the Arrow type {text}: {message}"))?;
                    Ok((ColumnType::Arrow(other), is_written))
                }
                own => Err(format!("the Arrow type {text} must be written as `{own}`")),
            };
        }
    };
    Ok((plain, false))
}
