//! The table that a query reads as its input: its rows are set before a plan runs, or arrive while it runs.

use super::plan_step::{common_methods, shown_by_name, without_expressions};
use crate::limits::ROWS_AT_ONCE;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, project_schema};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::{ExecutionPlan, Partitioning, PlanProperties};
use futures_core::Stream;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// Waits for the next rows of an input and returns them; `None` at the end.
pub type NextRows = Box<dyn FnMut() -> Result<Option<RecordBatch>> + Send>;

/// The rows of an input. Clones share them.
#[derive(Clone, Debug)]
pub struct InputRows {
    schema: SchemaRef,
    rows: Arc<Mutex<InputContent>>,
}

/// The rows of an input, or a stream of them.
enum InputContent {
    /// All of its rows.
    Rows(RecordBatch),
    /// The stream; `None` if it was taken, as it can be read once.
    Stream(Option<NextRows>),
}

impl fmt::Debug for InputContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputContent::Rows(rows) => rows.fmt(f),
            InputContent::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl InputRows {
    /// Creates an input without rows.
    pub fn new(schema: SchemaRef) -> InputRows {
        let rows = Arc::new(Mutex::new(InputContent::Rows(RecordBatch::new_empty(schema.clone()))));
        InputRows { schema, rows }
    }

    /// Replaces the rows.
    pub fn set(&self, rows: RecordBatch) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = InputContent::Rows(rows);
    }

    /// Sets a stream of rows for the next run.
    pub fn follow(&self, next: NextRows) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = InputContent::Stream(Some(next));
    }
}

/// Splits the rows into pieces of suitable size for a step.
fn pieces(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..rows.num_rows()).step_by(ROWS_AT_ONCE);
    starts.map(|start| rows.slice(start, ROWS_AT_ONCE.min(rows.num_rows() - start)))
}

type ScanFuture<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn ExecutionPlan>>> + Send + 'a>>;

impl TableProvider for InputRows {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn scan<'a, 's, 'p, 'f, 'r>(
        &'a self,
        _session: &'s dyn Session,
        projection: Option<&'p Vec<usize>>,
        _filters: &'f [Expr],
        _limit: Option<usize>,
    ) -> ScanFuture<'r>
    where
        'a: 'r,
        's: 'r,
        'p: 'r,
        'f: 'r,
        Self: 'r,
    {
        let scan = || -> Result<Arc<dyn ExecutionPlan>> {
            let properties = PlanProperties::new(
                EquivalenceProperties::new(project_schema(&self.schema, projection)?),
                Partitioning::UnknownPartitioning(1),
                EmissionType::Incremental,
                Boundedness::Bounded,
            );
            let (rows, projection) = (self.clone(), projection.cloned());
            Ok(Arc::new(InputScan { rows, projection, properties: Arc::new(properties) }))
        };
        let scanned = scan();
        Box::pin(async move { scanned })
    }
}

/// Reads the rows of an input.
#[derive(Debug)]
struct InputScan {
    rows: InputRows,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

shown_by_name!(InputScan);

impl ExecutionPlan for InputScan {
    common_methods!(InputScan);
    without_expressions!();

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, _task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.properties.eq_properties.schema().clone();
        let projection = self.projection.clone();
        match &mut *self.rows.rows.lock().unwrap_or_else(PoisonError::into_inner) {
            // In pieces that do not depend on how they arrived.
            InputContent::Rows(rows) => {
                Ok(Box::pin(MemoryStream::try_new(pieces(rows).collect(), schema, projection)?))
            }
            InputContent::Stream(next) => match next.take() {
                Some(next) => {
                    Ok(Box::pin(StreamedRows { schema, projection, next: Some(next), pieces: VecDeque::new() }))
                }
                None => Err(DataFusionError::Execution("its rows can be read once, and it reads them again".into())),
            },
        }
    }
}

/// Rows that arrive while the plan runs: a poll for the next rows blocks.
struct StreamedRows {
    schema: SchemaRef,
    projection: Option<Vec<usize>>,
    /// `None` after the end.
    next: Option<NextRows>,
    pieces: VecDeque<RecordBatch>,
}

impl StreamedRows {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            let Some(next) = &mut self.next else { return Ok(None) };
            match (next()?, &self.projection) {
                (None, _) => self.next = None,
                (Some(rows), None) => self.pieces.extend(pieces(&rows)),
                (Some(rows), Some(columns)) => self.pieces.extend(pieces(&rows.project(columns)?)),
            }
        }
    }
}

impl Stream for StreamedRows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.next().transpose())
    }
}

impl RecordBatchStream for StreamedRows {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
