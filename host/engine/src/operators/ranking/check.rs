//! Checks of stages with `top` over all rows ever received. They store the first rows and emit changes among them.

use crate::checkpoint::types::{Column, Table};
use crate::operators::ranking::node::RankingNode;
use crate::operators::simple::SimpleNode;
use crate::operators::stage::Operator;
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::stage_text::StageText;
use arrow::datatypes::{DataType, Field, Schema};
use millstream_base::error::{Error, Result};
use millstream_job::spec::OPERATION;
use millstream_rows::batch::types::ColumnType;
use std::sync::Arc;

/// The table column that distinguishes the rows of a key.
const INDEX: &str = "millstream_place";

/// Checks the stage.
pub fn check(
    check: &StageCheck<'_>,
    n: usize,
    (by, ascending): (usize, bool),
    rank: Option<&str>,
) -> Result<CheckedStage> {
    let op = check.operation()?;
    if op == Some(by) {
        return Err(Error::job("`top` cannot order rows by the operation column; name another column in `by`"));
    }
    let fields = check.input.fields();
    let passes: Vec<usize> = (0..fields.len()).filter(|index| Some(*index) != op).collect();
    let stored_columns: Vec<usize> = passes.iter().copied().filter(|index| !check.key.contains(index)).collect();
    for index in &stored_columns {
        let kind = ColumnType::from_arrow(fields[*index].data_type());
        if !kind.is_kept() {
            return Err(Error::job(format!(
                "`top` over all rows cannot store `{}`, which is of type {kind}; omit it, or convert it to text, in \
                 a previous stage with `select`",
                fields[*index].name(),
            )));
        }
    }
    let op_name = op.and_then(|op| fields.get(op)).map_or(OPERATION, |field| field.name());
    let mut columns: Vec<Arc<Field>> = passes.iter().filter_map(|index| fields.get(*index)).cloned().collect();
    for (name, kind) in [(rank, DataType::Int64), (Some(op_name), DataType::Utf8)] {
        let Some(name) = name else { continue };
        if columns.iter().any(|column| column.name() == name) {
            let help = if name == op_name { "" } else { "name another one in `top.rank`, or " };
            return Err(Error::job(format!(
                "column `{name}` already exists, but this stage adds it to its rows; {help}rename it in a previous \
                stage with `select`"
            )));
        }
        columns.push(Arc::new(Field::new(name, kind, false)));
    }
    let nullable = |index: &usize| fields[*index].as_ref().clone().with_nullable(true);
    let stored_schema = Arc::new(Schema::new(stored_columns.iter().map(nullable).collect::<Vec<Field>>()));
    let rank_field = Arc::new(Field::new(INDEX, DataType::Int64, false));
    let key_schema = check.key_schema()?;
    let order = if ascending { "asc" } else { "desc" };
    // With deletions, all rows have to be stored.
    let kept = if op.is_some() { "all".to_owned() } else { n.to_string() };
    let identity = format!("top {kept} by {} {order}", fields[by].name());
    let columns_kept = [
        Column::from_fields(key_schema.fields()),
        Column::from_fields([&rank_field]),
        Column::from_fields(stored_schema.fields()),
    ];
    let table = Table::of_stage(&check.spec.name, identity, columns_kept);
    let output = Arc::new(Schema::new(columns));
    let node = RankingNode {
        n,
        by,
        ascending,
        rank: rank.map(str::to_owned),
        op,
        passes,
        rank_fields: key_schema.fields().iter().cloned().chain([rank_field]).collect(),
        stored_schema,
        output: output.clone(),
    };
    let operator = Operator::Simple(SimpleNode::Ranking(Box::new(node)));
    Ok(CheckedStage { tables: vec![table], ..CheckedStage::new(output, operator) })
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>, n: u64, (by, ascending): (&str, bool), rank: Option<&str>) -> String {
    let order = if ascending { "smallest" } else { "largest" };
    let rank = rank.map_or(String::new(), |rank| format!(", with their ranks in `{rank}`"));
    let (each, op) = (text.each(", for each "), text.op());
    format!(
        "top {n} of all rows by {by}, {order} first{each}{rank}; emitted as they change, with the operation in `{op}`"
    )
}
