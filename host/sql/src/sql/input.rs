//! The table that a query reads as its input: its rows are put in before a plan runs.

use super::plan_step::{common_methods, shown_by_name, without_expressions};
use super::session::ROWS_AT_ONCE;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, project_schema};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::{ExecutionPlan, Partitioning, PlanProperties};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// The rows of an input. Clones share them.
#[derive(Clone, Debug)]
pub struct InputRows {
    schema: SchemaRef,
    rows: Arc<Mutex<RecordBatch>>,
}

impl InputRows {
    /// Without rows.
    pub fn new(schema: SchemaRef) -> InputRows {
        let rows = Arc::new(Mutex::new(RecordBatch::new_empty(schema.clone())));
        InputRows { schema, rows }
    }

    /// Replaces the rows.
    pub fn set(&self, rows: RecordBatch) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    /// The rows, in pieces that do not depend on how they came.
    fn pieces(&self) -> Vec<RecordBatch> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let starts = (0..rows.num_rows()).step_by(ROWS_AT_ONCE);
        starts.map(|start| rows.slice(start, ROWS_AT_ONCE.min(rows.num_rows() - start))).collect()
    }
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
        Ok(Box::pin(MemoryStream::try_new(self.rows.pieces(), schema, self.projection.clone())?))
    }
}
