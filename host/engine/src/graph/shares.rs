//! Sinks of which each worker writes its share (`parts = "worker"`). Workers do not wait for each other. So if a row replaces an older one of its
//! key, one worker must have all rows of that key.

use super::Graph;
use crate::operators::simple::SimpleNode;
use crate::operators::stage::{Operator, StageNode};
use millstream_base::error::{Error, Result};
use millstream_job::spec::{SinkSpec, UpdateEmit};

/// Rejects a sink whose workers might replace newer rows by older ones.
pub(super) fn check(graph: &Graph, sink: &SinkSpec) -> Result<()> {
    let Some(key) = sink.kind.row_key().filter(|_| sink.kind.by_worker()) else { return Ok(()) };
    let named = |stream: &String| graph.stages.iter().find(|stage| stage.name == *stream);
    let why = match &sink.from[..] {
        [stream] if named(stream).is_some_and(|stage| has_all_rows_of(stage, key)) => return Ok(()),
        [stream] => format!(
            "`{stream}` does not keep all rows of a key of this sink on one worker, so an older row may replace a \
             newer one. `aggregate`, `pattern`, `top`, `repartition` and `update` with emit = \"changes\" do, if \
             their `key` columns are in this sink's `key` and `select` leaves them unchanged. Write parts = \
             \"batch\", or put such a stage in front: repartition = {{}} with `key`"
        ),
        _ => "rows of a key may arrive from several streams on several workers, so an older row may replace a newer \
              one; write parts = \"batch\", or a sink for each stream"
            .into(),
    };
    let location = graph.spec.origin.at(&format!("sinks.{}.parts", sink.name));
    Err(Error::job(format!("{location}sink `{}`: `parts`: {why}", sink.name)))
}

/// Returns whether a worker has all rows of a stage that are equal in these columns.
fn has_all_rows_of(stage: &StageNode, columns: &[String]) -> bool {
    // Other operators return rows to the worker they came from, or have columns with unknown contents.
    let keys_first = match &stage.operator {
        Operator::Aggregate(_) | Operator::Reduce(_) | Operator::Pattern(_) => true,
        Operator::Update(_, node) => match node.emit {
            UpdateEmit::Changes | UpdateEmit::State => true,
            UpdateEmit::Rows => return false,
        },
        Operator::Simple(
            SimpleNode::Top { .. } | SimpleNode::Ranking(_) | SimpleNode::Newest(_) | SimpleNode::Repartition { .. },
        ) => false,
        _ => return false,
    };
    let select = stage.shape.as_ref().and_then(|shape| shape.select.as_ref());
    let mut keys = (0..).zip(&stage.key);
    !stage.key.is_empty()
        && keys.all(|(number, index)| {
            let name = stage.input.field(*index).name();
            let made = if keys_first { number } else { *index };
            let passed = match (select, stage.output.index_of(name)) {
                (_, Err(_)) => false,
                (None, Ok(_)) => true,
                (Some(select), Ok(out)) => select.get(out).and_then(|made| made.column_index()) == Some(made),
            };
            passed && columns.contains(name)
        })
}
