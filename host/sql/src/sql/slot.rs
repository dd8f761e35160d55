//! The table of an input: rows that are put in before a plan runs.

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
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// The rows of an input. Clones share them.
#[derive(Clone, Debug)]
pub struct Slot {
    schema: SchemaRef,
    rows: Arc<Mutex<RecordBatch>>,
}

impl Slot {
    /// Without rows.
    pub fn new(schema: SchemaRef) -> Slot {
        let rows = Arc::new(Mutex::new(RecordBatch::new_empty(schema.clone())));
        Slot { schema, rows }
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

type Scanned<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn ExecutionPlan>>> + Send + 'a>>;

impl TableProvider for Slot {
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
    ) -> Scanned<'r>
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
            let (slot, projection) = (self.clone(), projection.cloned());
            Ok(Arc::new(SlotScan { slot, projection, properties: Arc::new(properties) }))
        };
        let scanned = scan();
        Box::pin(async move { scanned })
    }
}

/// Reads a slot.
#[derive(Debug)]
struct SlotScan {
    slot: Slot,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for SlotScan {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlotScan")
    }
}

impl ExecutionPlan for SlotScan {
    fn name(&self) -> &str {
        "SlotScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, _task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.properties.eq_properties.schema().clone();
        Ok(Box::pin(MemoryStream::try_new(self.slot.pieces(), schema, self.projection.clone())?))
    }
}
