//! Checks of stages with `latest`. They store the latest row of each key and emit changes as complete rows, deleted and inserted. So they turn
//! upserts and deletes by key into changes that other stages can process.

use crate::checkpoint::types::{Column, Table};
use crate::operators::newest::node::{NewestNode, REPLACED};
use crate::operators::simple::SimpleNode;
use crate::operators::stage::{InputNode, Operator};
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::stage_text::StageText;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_job::replaced;
use millstream_job::spec::{JobSpec, OPERATION, StageSpec};
use millstream_rows::batch::types::{self, ColumnType};
use std::sync::Arc;

/// Returns the input of replaced session results that a stage reads.
pub fn replaced_input(spec: &JobSpec, stage: &StageSpec, rows: &InputNode) -> Option<InputNode> {
    let of = |name: &String| format!("{name}.{REPLACED}");
    let from: Vec<String> = replaced::read_by(spec, stage).map(|sessions| of(&sessions.name)).collect();
    Some(InputNode { name: from.first()?.clone(), from, schema: rows.schema.clone() })
}

/// Returns the stream of results that sessions replace, if a stage reads it.
pub fn replaced_stream(spec: &JobSpec, stage: &StageSpec, output: &SchemaRef) -> Option<(String, SchemaRef)> {
    replaced::is_read(spec, stage).then(|| (REPLACED.to_owned(), output.clone()))
}

/// Checks the stage.
pub fn check(check: &StageCheck<'_>, by: Option<&str>) -> Result<CheckedStage> {
    if check.key.is_empty() {
        return Err(Error::job("`latest` keeps one row per key; write the key columns, for example key = \"id\""));
    }
    let op = check.operation()?;
    let by = by.map(|name| {
        let index = types::column(check.input, name).map_err(|error| error.within("latest"))?;
        check.comparable(index, "latest by")?;
        if Some(index) == op || check.key.contains(&index) {
            return Err(Error::job(format!(
                "latest: `{name}` cannot order the rows of a key; name a column with a time or number"
            )));
        }
        Ok(index)
    });
    let by = by.transpose()?;
    let fields = check.input.fields();
    let passes: Vec<usize> = (0..fields.len()).filter(|index| Some(*index) != op).collect();
    let stored_columns: Vec<usize> = passes.iter().copied().filter(|index| !check.key.contains(index)).collect();
    for field in stored_columns.iter().filter_map(|index| fields.get(*index)) {
        let kind = ColumnType::from_arrow(field.data_type());
        if !kind.is_kept() {
            return Err(Error::job(format!(
                "`latest` cannot store `{}`, which is of type {kind}; omit it, or convert it to text, in a previous \
                stage with `select`",
                field.name(),
            )));
        }
    }
    let op_name = op.and_then(|op| fields.get(op)).map_or(OPERATION, |field| field.name());
    let mut columns: Vec<Arc<Field>> = passes.iter().filter_map(|index| fields.get(*index)).cloned().collect();
    if columns.iter().any(|column| column.name() == op_name) {
        return Err(Error::job(format!(
            "column `{op_name}` already exists, but this stage adds it to its rows for their operation; write op = \
             \"{op_name}\" if it has the operation of the input rows, or rename it in a previous stage with \
             `select`"
        )));
    }
    columns.push(Arc::new(Field::new(op_name, DataType::Utf8, false)));
    let output = Arc::new(Schema::new(columns));
    let nullable = |index: &usize| fields.get(*index).map(|field| field.as_ref().clone().with_nullable(true));
    let stored_schema = Arc::new(Schema::new(stored_columns.iter().filter_map(nullable).collect::<Vec<Field>>()));
    let identity = match by.and_then(|by| fields.get(by)) {
        Some(by) => format!("latest row by {}", by.name()),
        None => "latest row".to_owned(),
    };
    let columns =
        [Column::from_fields(check.key_schema()?.fields()), Vec::new(), Column::from_fields(stored_schema.fields())];
    let table = Table::of_stage(&check.spec.name, identity, columns);
    let replaces = check.inputs.len() > 1;
    let node = NewestNode { by, op, passes, stored_schema, replaces, output: output.clone() };
    let operator = Operator::Simple(SimpleNode::Newest(Box::new(node)));
    Ok(CheckedStage { tables: vec![table], ..CheckedStage::new(output, operator) })
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>, by: Option<&str>) -> String {
    let by = by.map_or(String::new(), |by| format!(" by {by}"));
    let (key, op) = (text.each(""), text.op());
    format!("the latest row of each {key}{by}; emitted as it changes, with the operation in `{op}`")
}
