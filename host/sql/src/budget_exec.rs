//! A step between the steps of a plan. It checks the budget whenever rows pass, and passes them on in pieces of suitable size for the next step.

use super::budget;
use super::plan_step::{common_methods, shown_by_name, without_expressions};
use crate::limits::ROWS_AT_ONCE;
use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures_core::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Returns a plan with budget checks.
pub fn with_budget(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let step = |step: Arc<dyn ExecutionPlan>| {
        let unnested = step.downcast_ref::<UnnestExec>().map(|unnest| {
            unnest.list_column_indices().iter().map(|list| list.index_in_input_schema).collect::<Vec<usize>>()
        });
        let children = step.children().into_iter().map(|child| {
            let (input, properties) = (child.clone(), child.properties().clone());
            Arc::new(BudgetExec { input, properties, unnested: unnested.clone().map(Into::into) })
                as Arc<dyn ExecutionPlan>
        });
        let children: Vec<_> = children.collect();
        if children.is_empty() {
            return Ok(Transformed::no(step));
        }
        Ok(Transformed::yes(
            step.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))?,
        ))
    };
    plan.transform_up(step).data()
}

#[derive(Clone, Debug)]
struct BudgetExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    /// List columns that the next step unnests to rows.
    unnested: Option<Arc<[usize]>>,
}

shown_by_name!(BudgetExec);

impl ExecutionPlan for BudgetExec {
    common_methods!(BudgetExec);
    without_expressions!();

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.into_iter().next() else { return Ok(self) };
        Ok(Arc::new(BudgetExec { input, properties: self.properties.clone(), unnested: self.unnested.clone() }))
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        budget::check()?;
        let rows = self.input.execute(partition, task)?;
        Ok(Box::pin(BudgetStream { rows, unnested: self.unnested.clone(), pieces: VecDeque::new() }))
    }
}

/// A stream with budget checks.
struct BudgetStream {
    rows: SendableRecordBatchStream,
    unnested: Option<Arc<[usize]>>,
    /// Rows received but not passed on yet.
    pieces: VecDeque<RecordBatch>,
}

impl BudgetStream {
    fn pass(&mut self, rows: RecordBatch) -> Result<()> {
        budget::allow("one step of the query", budget::bytes_of_rows(&rows))?;
        match &self.unnested {
            None => self.pieces.push_back(compact(rows)?),
            Some(lists) => self.pieces.extend(few_elements(&rows, lists)?),
        }
        Ok(())
    }
}

/// Returns rows that do not retain many others: steps that store rows count the memory that these retain.
fn compact(rows: RecordBatch) -> Result<RecordBatch> {
    let (own, all_bytes) = (budget::bytes_of_rows(&rows), rows.get_array_memory_size() as u64);
    if all_bytes <= own.saturating_mul(2).saturating_add(64 << 10) {
        return Ok(rows);
    }
    let all: UInt32Array = (0..rows.num_rows() as u32).collect();
    Ok(take_record_batch(&rows, &all)?)
}

/// Splits rows into pieces whose lists have few elements together. The next step creates a row from each element, with all other columns.
fn few_elements(rows: &RecordBatch, lists: &[usize]) -> Result<Vec<RecordBatch>> {
    let elements = |row: usize| -> usize {
        let of = |column: &usize| {
            let column = rows.columns().get(*column)?;
            let small = column
                .as_list_opt::<i32>()
                .filter(|list| list.is_valid(row))
                .map(|list| list.value_length(row) as usize);
            let large = column
                .as_list_opt::<i64>()
                .filter(|list| list.is_valid(row))
                .map(|list| list.value_length(row) as usize);
            small.or(large)
        };
        lists.iter().filter_map(of).max().unwrap_or(1).max(1)
    };
    let (mut pieces, mut start, mut count) = (Vec::new(), 0, 0usize);
    for row in 0..rows.num_rows() {
        let of_row = elements(row);
        if row > start && count + of_row > ROWS_AT_ONCE {
            pieces.push(rows.slice(start, row - start));
            (start, count) = (row, 0);
        }
        count += of_row;
        if of_row > ROWS_AT_ONCE {
            let bytes = budget::bytes_of_rows(&rows.slice(row, 1));
            let lists: u64 = lists
                .iter()
                .filter_map(|list| rows.columns().get(*list))
                .map(|list| budget::bytes_of(&list.slice(row, 1)))
                .sum();
            let others = bytes.saturating_sub(lists);
            budget::allow("`unnest`", others.saturating_mul(of_row as u64).saturating_add(lists))?;
        }
    }
    pieces.push(rows.slice(start, rows.num_rows() - start));
    Ok(pieces)
}

impl Stream for BudgetStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Err(error) = budget::check() {
                return Poll::Ready(Some(Err(error)));
            }
            if let Some(piece) = self.pieces.pop_front() {
                return Poll::Ready(Some(Ok(piece)));
            }
            match self.rows.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(rows))) => {
                    if let Err(error) = self.pass(rows) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                other => return other,
            }
        }
    }
}

impl RecordBatchStream for BudgetStream {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}
