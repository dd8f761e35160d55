//! The plugin counters in a job's checkpoints.

use super::Graph;
use crate::checkpoint::counters::{COLUMNS, TABLE};
use crate::checkpoint::types::{Column, Table};
use crate::operators::stage::{Operator, StageNode};
use millstream_plugins::plugin::Plugin;
use millstream_rows::batch::types::ColumnType;

/// Returns the table of a job, without files; `None` if no plugin counts.
pub fn table_of(graph: &Graph) -> Option<Table> {
    let connectors = || {
        graph.readers.values().any(|source| source.node().counts())
            || graph.writers.values().any(|sink| sink.node().counts())
    };
    (graph.stages.iter().any(counts) || connectors()).then(|| {
        let (key, count) = COLUMNS;
        let key = key.iter().map(|name| Column::new(name, ColumnType::Text)).collect();
        Table::of_stage(TABLE, "", [key, Vec::new(), vec![Column::new(count, ColumnType::Int64)]])
    })
}

fn counts(stage: &StageNode) -> bool {
    let counts = |plugin: &Plugin| plugin.uses("metrics");
    let functions = match &stage.operator {
        Operator::Sql(node) => node.functions.as_slice(),
        _ => &[],
    };
    stage.plugin().is_some_and(|node| counts(&node.plugin))
        || functions.iter().any(|function| counts(function.plugin()))
}
