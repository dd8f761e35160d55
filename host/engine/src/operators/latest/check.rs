//! Checks of stages with `enrich` whose table is the latest row of each key of a stream.

use crate::checkpoint::types::{Column, Table};
use crate::operators::enrich;
use crate::operators::latest::node::LatestNode;
use crate::operators::stage::Operator;
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::stage_text::on;
use arrow::datatypes::{Field, Schema};
use millstream_base::error::{Error, Result};
use millstream_job::spec::{JoinKind, LatestSpec};
use millstream_rows::batch::types::{self, ColumnType, with_fields};
use std::sync::Arc;

/// Checks the stage.
pub fn check(check: &StageCheck<'_>, latest: &LatestSpec) -> Result<CheckedStage> {
    let [_, stream] = check.inputs else { return Err(Error::bug("a table of a stream without the stream")) };
    let help = "make the types equal in a previous stage with `select`";
    let (on, key): (Vec<usize>, Vec<usize>) =
        enrich::check::keys(check, &latest.on, &stream.schema, help)?.into_iter().unzip();
    let op = latest.op.as_ref().map(|name| {
        let within = |error: Error| error.within(format!("enrich.op: stream `{}`", latest.stream));
        let index = types::column(&stream.schema, name).map_err(within)?;
        match ColumnType::from_arrow(stream.schema.field(index).data_type()) {
            ColumnType::Text => Ok(index),
            other => Err(within(Error::job(format!(
                "`{name}` is {other}, and must be text, for example \"insert\" or \
                    \"delete\""
            )))),
        }
    });
    let op = op.transpose()?;
    let fields = stream.schema.fields();
    let holds: Vec<usize> = (0..fields.len()).filter(|index| !key.contains(index) && op != Some(*index)).collect();
    for index in &holds {
        let kind = ColumnType::from_arrow(fields[*index].data_type());
        if !kind.is_kept() {
            return Err(Error::job(format!(
                "enrich.stream: `{}` of `{}` is of type {kind}, which a table cannot hold; omit it, or convert it \
                 to text, in a previous stage with `select`",
                fields[*index].name(),
                latest.stream
            )));
        }
    }
    let nullable = |index: &usize| fields[*index].as_ref().clone().with_nullable(true);
    let key_schema = Arc::new(stream.schema.project(&key).map_err(Error::arrow)?);
    let stored_schema = Arc::new(Schema::new(holds.iter().map(nullable).collect::<Vec<Field>>()));
    let added = stored_schema.fields().iter().map(|field| {
        let taken = check.input.index_of(field.name()).is_ok();
        let name = if taken { format!("{}_{}", latest.stream, field.name()) } else { field.name().clone() };
        Arc::new(field.as_ref().clone().with_name(name))
    });
    let output = with_fields(check.input, added);
    let columns = [Column::from_fields(key_schema.fields()), Vec::new(), Column::from_fields(stored_schema.fields())];
    let table = Table::of_stage(&check.spec.name, format!("latest of {}", latest.stream), columns);
    let inner = latest.kind == JoinKind::Inner;
    let node = LatestNode { on, key, holds, op, key_schema, stored_schema, inner, output: output.clone() };
    Ok(CheckedStage { tables: vec![table], ..CheckedStage::new(output, Operator::Latest(Box::new(node))) })
}

/// Describes what the stage does.
pub fn summary(latest: &LatestSpec) -> String {
    let (kind, on) = (latest.kind.name(), on(&latest.on));
    let does = latest.op.as_ref().map_or(String::new(), |op| format!(", with the operation in `{op}`"));
    format!("{kind} join with the latest row of {} on {on}{does}", latest.stream)
}
