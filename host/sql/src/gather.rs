//! Merging and sorting of a plan's rows, in an order that depends on the rows only.

use super::budget;
use super::plan_step::{common_methods, shown_by_name};
use crate::limits::ROWS_AT_ONCE;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use millstream_rows::batch::keys::canonical_column;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Replaces DataFusion's sorts and merges: partitions are concatenated, equal rows keep the order of arrival, and there are no tasks. DataFusion's
/// own order equal rows arbitrarily, depending on what else is sorted.
#[derive(Debug)]
pub struct Gather {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    order: Option<LexOrdering>,
    rows_max: Option<usize>,
    /// Whether all partitions are merged; otherwise each is sorted separately.
    merges: bool,
}

/// The rule that inserts it into plans. DataFusion sorts the branches of a union separately where it can, and skips that for a branch with a
/// constant. Then it rejects its own merge of them, which requires sorted rows.
#[derive(Debug)]
pub struct GatherRule;

impl PhysicalOptimizerRule for GatherRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|step| match gathered(&step)? {
            Some(gathered) => Ok(Transformed::yes(gathered)),
            None => Ok(Transformed::no(step)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "gathered"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Returns the replacement of a step; `None` keeps the step.
fn gathered(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (input, order, merges) = if let Some(sort) = plan.downcast_ref::<SortExec>() {
        (sort.input(), Some(sort.expr().clone()), !sort.preserve_partitioning())
    } else if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
        (merge.input(), Some(merge.expr().clone()), true)
    } else if let Some(merge) = plan.downcast_ref::<CoalescePartitionsExec>() {
        (merge.input(), None, true)
    } else {
        return Ok(None);
    };
    let mut properties = plan.properties().as_ref().clone();
    if let Some(order) = &order {
        let mut known = properties.equivalence_properties().clone();
        known.reorder(order.clone())?;
        properties.set_eq_properties(known);
    }
    let (input, properties) = (input.clone(), Arc::new(properties));
    Ok(Some(Arc::new(Gather { input, properties, order, rows_max: plan.fetch(), merges })))
}

/// Runs a future that waits for nothing external: it is always ready when polled again.
pub fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
}

/// Returns all rows of a partition of a plan, and their memory reservation.
pub fn rows_of(
    plan: &Arc<dyn ExecutionPlan>,
    partition: usize,
    task: &Arc<TaskContext>,
) -> Result<(Vec<RecordBatch>, MemoryReservation)> {
    finish(collected(plan.execute(partition, task.clone())?, task))
}

/// Returns all rows of a stream, and their memory reservation.
pub async fn collected(
    mut stream: SendableRecordBatchStream,
    task: &TaskContext,
) -> Result<(Vec<RecordBatch>, MemoryReservation)> {
    let reserved = MemoryConsumer::new("rows").register(task.memory_pool());
    let mut rows = Vec::new();
    while let Some(piece) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
        let piece = piece?;
        budget::check()?;
        reserved.try_grow(usize::try_from(budget::bytes_of_rows(&piece)).unwrap_or(usize::MAX))?;
        rows.push(piece);
    }
    Ok((rows, reserved))
}

impl Gather {
    fn rows(&self, partition: usize, task: &Arc<TaskContext>) -> Result<(Vec<RecordBatch>, MemoryReservation)> {
        let count = self.input.properties().output_partitioning().partition_count();
        let partitions = if self.merges { 0..count } else { partition..partition + 1 };
        let all = MemoryConsumer::new("rows").register(task.memory_pool());
        let mut rows = Vec::new();
        for partition in partitions {
            let (more, reserved) = rows_of(&self.input, partition, task)?;
            rows.extend(more);
            all.grow(reserved.free());
        }
        match &self.order {
            None => Ok((first_rows(rows, self.rows_max), all)),
            Some(order) => {
                // While sorting, all rows in one piece and their keys are needed in addition to the rows.
                let extra = MemoryConsumer::new("sort").register(task.memory_pool());
                extra.try_grow(all.size().saturating_mul(2))?;
                Ok((sorted(&self.input.schema(), &rows, order, self.rows_max)?, all))
            }
        }
    }
}

fn first_rows(mut rows: Vec<RecordBatch>, rows_max: Option<usize>) -> Vec<RecordBatch> {
    let mut left = rows_max.unwrap_or(usize::MAX);
    for piece in &mut rows {
        let taken = piece.num_rows().min(left);
        left -= taken;
        if taken < piece.num_rows() {
            *piece = piece.slice(0, taken);
        }
    }
    rows.retain(|piece| piece.num_rows() > 0);
    rows
}

fn sorted(
    schema: &SchemaRef,
    rows: &[RecordBatch],
    order: &LexOrdering,
    rows_max: Option<usize>,
) -> Result<Vec<RecordBatch>> {
    let rows = concat_batches(schema, rows)?;
    let columns = order.iter().map(|column| column.evaluate_to_sort_column(&rows)).collect::<Result<Vec<_>>>()?;
    let field = |kind, options: Option<_>| SortField::new_with_options(kind, options.unwrap_or_default());
    let fields = columns.iter().map(|column| field(column.values.data_type().clone(), column.options)).collect();
    let values: Vec<_> = columns.into_iter().map(|column| canonical_column(&column.values)).collect();
    let keys = RowConverter::new(fields)?.convert_columns(&values)?;
    let mut indexes: Vec<u32> = (0..rows.num_rows() as u32).collect();
    indexes.sort_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
    indexes.truncate(rows_max.unwrap_or(usize::MAX));
    let piece = |indexes: &[u32]| Ok(take_record_batch(&rows, &UInt32Array::from(indexes.to_vec()))?);
    indexes.chunks(ROWS_AT_ONCE).map(piece).collect()
}

shown_by_name!(Gather);

impl ExecutionPlan for Gather {
    common_methods!(Gather);

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut next = TreeNodeRecursion::Continue;
        for column in self.order.iter().flatten() {
            if next == TreeNodeRecursion::Continue {
                next = visit(&column.expr)?;
            }
        }
        Ok(next)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.into_iter().next() else { return Ok(self) };
        let (properties, order) = (self.properties.clone(), self.order.clone());
        Ok(Arc::new(Gather { input, properties, order, rows_max: self.rows_max, merges: self.merges }))
    }

    /// Runs immediately, and not when the rows are requested.
    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (rows, reserved) = self.rows(partition, &task)?;
        Ok(Box::pin(MemoryStream::try_new(rows, self.input.schema(), None)?.with_reservation(reserved)))
    }
}
