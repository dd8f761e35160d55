//! Puts the rows of a plan together, and sorts them, in an order that depends on nothing but the rows.

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
use millstream_base::batch::keys::canonical_column;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Stands in for DataFusion's sorts and merges: partitions one behind the other, equal rows in the order in which they
/// came, no tasks. DataFusion's own take equal rows in any order, which depends on what else there is to sort.
#[derive(Debug)]
pub struct Gather {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    order: Option<LexOrdering>,
    rows_max: Option<usize>,
    /// All partitions become one; otherwise each is sorted by itself.
    whole: bool,
}

/// The rule that puts it into plans. DataFusion sorts the branches of a union each by itself where it can, and of a branch with
/// a constant leaves that out; then it refuses its own merge of them, where rows are in order only when they are sorted anew.
#[derive(Debug)]
pub struct Gathered;

impl PhysicalOptimizerRule for Gathered {
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

/// What stands in for a step; `None`: the step stays.
fn gathered(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (input, order, whole) = if let Some(sort) = plan.downcast_ref::<SortExec>() {
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
    Ok(Some(Arc::new(Gather { input, properties, order, rows_max: plan.fetch(), whole })))
}

/// Runs a future that waits for nothing outside: what it puts off it can do at once when it is asked again.
pub fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
}

/// All rows of a partition of a plan, and the memory that is reserved for them.
pub fn rows_of(
    plan: &Arc<dyn ExecutionPlan>,
    partition: usize,
    task: &Arc<TaskContext>,
) -> Result<(Vec<RecordBatch>, MemoryReservation)> {
    finish(collected(plan.execute(partition, task.clone())?, task))
}

/// All rows of a stream, and the memory that is reserved for them.
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
        let partitions = if self.whole { 0..count } else { partition..partition + 1 };
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
                // Beside the rows there are, while they are sorted, all of them in one piece, and their keys.
                let beside = MemoryConsumer::new("sort").register(task.memory_pool());
                beside.try_grow(all.size().saturating_mul(2))?;
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
    let mut places: Vec<u32> = (0..rows.num_rows() as u32).collect();
    places.sort_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
    places.truncate(rows_max.unwrap_or(usize::MAX));
    let piece = |places: &[u32]| Ok(take_record_batch(&rows, &UInt32Array::from(places.to_vec()))?);
    places.chunks(ROWS_AT_ONCE).map(piece).collect()
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
        Ok(Arc::new(Gather { input, properties, order, rows_max: self.rows_max, whole: self.whole }))
    }

    /// Works at once, and not when the rows are asked for.
    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (rows, reserved) = self.rows(partition, &task)?;
        Ok(Box::pin(MemoryStream::try_new(rows, self.input.schema(), None)?.with_reservation(reserved)))
    }
}
