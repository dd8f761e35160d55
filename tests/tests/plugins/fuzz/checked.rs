//! What must hold of everything that the host accepts from a guest.

use super::calls::Outcome;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use millstream::error::{Error, Kind};
use millstream::internals::plugin::Description;
use std::collections::HashSet;

/// Checks that arrays are valid in all their bytes, batches have the described columns, and rejected rows exist, once each.
pub fn outcome(outcome: &Outcome, rows: usize) -> Result<(), String> {
    outcome.batches.iter().try_for_each(|(batch, schema)| self::batch(batch, schema))?;
    let once: HashSet<u32> = outcome.refused.iter().copied().collect();
    if once.len() != outcome.refused.len() || once.iter().any(|row| *row as usize >= rows) {
        return Err(format!("of {rows} rows these are refused: {:?}", outcome.refused));
    }
    Ok(())
}

fn batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<(), String> {
    if batch.schema() != *schema {
        return Err(format!("{:?} was described, and {:?} came", schema, batch.schema()));
    }
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        if column.len() != batch.num_rows() || column.data_type() != field.data_type() {
            return Err(format!("{} values of {} in {field:?}", column.len(), column.data_type()));
        }
        if column.logical_null_count() > 0 && !field.is_nullable() {
            return Err(format!("nulls in {field:?}"));
        }
        column.to_data().validate_full().map_err(|error| format!("{field:?}: {error}"))?;
    }
    Ok(())
}

/// Checks that a description has nothing that could harm code that prints or uses it.
pub fn description(description: &Description) -> Result<(), String> {
    let plain = |text: &str| !text.chars().any(char::is_control);
    let named = |text: &str| !text.is_empty() && text.len() <= 256 && plain(text);
    let columns = |schema: &Schema| {
        let names: HashSet<&String> = schema.fields().iter().map(|field| field.name()).collect();
        names.len() == schema.fields().len() && names.len() <= 1000 && names.iter().all(|name| named(name))
    };
    let Description { name, version, doc, inputs, output, state, key, .. } = description;
    let schemas = inputs.iter().chain([output, state]).chain(key);
    let holds = named(name)
        && named(version)
        && doc.len() < 5000
        && doc.chars().all(|c| !c.is_control() || c == '\n')
        && schemas.into_iter().all(|schema| columns(schema))
        && inputs.first() == Some(&description.input);
    if holds { Ok(()) } else { Err(format!("{description:?}")) }
}

/// Checks that an error blames the right side, never the host, and is not too long.
pub fn error(error: &Error) -> Result<(), String> {
    let message = &error.message;
    let steers = message.chars().any(|c| c.is_control() && c != '\n');
    match error.kind == Kind::Bug || steers || message.len() > 32 << 10 {
        true => Err(format!("{:?}: {}", error.kind, message.chars().take(2000).collect::<String>())),
        false => Ok(()),
    }
}
