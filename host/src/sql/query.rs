//! A query over the rows of a batch or window: checked once, planned once a worker, run many times.

use super::batch_time::in_batch;
use super::checked::checked_step;
use super::expression::parser;
use super::foreign::{foreign, only_reads};
use super::gather::{finish, gathered, rows_of};
use super::mistake::{self, mistake, place_of, told};
use super::session::{Names, parser_options, state};
use super::slot::Slot;
use super::spread::{Spread, spread};
use super::types::{convert, ours};
use crate::error::{Error, Result};
use crate::timely_ext::BatchContext;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::provider_as_source;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::{io, thread};

/// A checked query. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Query {
    text: Arc<str>,
    /// Tables: names and columns.
    inputs: Arc<[(String, SchemaRef)]>,
    output: SchemaRef,
    spread: Spread,
}

/// A query that is ready to run, on one thread.
pub struct Prepared {
    stage: Arc<str>,
    query: Query,
    plan: Arc<dyn ExecutionPlan>,
    slots: Vec<Slot>,
    task: Arc<TaskContext>,
}

impl Query {
    /// Checks a query over these tables. `keys`: the stage's key columns, if all tables have them with the same types.
    /// Errors point into the text.
    pub fn new(
        text: &str,
        inputs: Vec<(String, SchemaRef)>,
        keys: &[String],
        functions: &[Arc<ScalarUDF>],
    ) -> Result<Query> {
        let (names, _) = names(&inputs, functions);
        let (spread, physical) = with_room(|| {
            let logical = logical(text, &names)?;
            let physical = physical(&logical).map_err(|error| mistake(text, &names, &error))?;
            Ok((spread(&logical, keys), physical))
        })?;
        let field = |field: &Arc<Field>| Field::new(field.name(), ours(field.data_type()), true);
        let output = Arc::new(Schema::new(physical.schema().fields().iter().map(field).collect::<Vec<_>>()));
        Ok(Query { text: text.into(), inputs: inputs.into(), output, spread })
    }

    /// The columns of its rows.
    pub fn output(&self) -> SchemaRef {
        self.output.clone()
    }

    /// Its tables: names and columns.
    pub fn inputs(&self) -> &[(String, SchemaRef)] {
        &self.inputs
    }

    /// Where it runs.
    pub fn spread(&self) -> &Spread {
        &self.spread
    }

    /// Plans it for a worker of this stage, with the functions that it was checked with or others of the same names and types.
    pub fn prepare(&self, stage: &str, functions: &[Arc<ScalarUDF>]) -> Result<Prepared> {
        let (names, slots) = names(&self.inputs, functions);
        let plan =
            with_room(|| physical(&logical(&self.text, &names)?).map_err(|error| mistake(&self.text, &names, &error)))?;
        Ok(Prepared { stage: stage.into(), query: self.clone(), plan, slots, task: state().task_ctx() })
    }
}

impl Prepared {
    /// Runs it over these rows, a table for each input. The rows of each branch of its union, or of the whole.
    pub fn run(&self, context: BatchContext, tables: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        for (slot, rows) in self.slots.iter().zip(tables) {
            slot.set(rows);
        }
        let done = in_batch(context, || self.rows());
        done.map_err(|error| match mistake::own(&error) {
            Some(own) => own.clone(),
            None => {
                let words = mistake::runtime_words(&error);
                let (stage, batch) = (&self.stage, context.id);
                Error::plugin(format!("stage `{stage}`: batch {batch}: the query cannot be computed: {words}"))
            }
        })
    }

    fn rows(&self) -> Result<Vec<RecordBatch>, DataFusionError> {
        // Joins keep what they built, and every step its counts, from one run to the next.
        let plan = reset_plan_states(self.plan.clone())?;
        let partitions = plan.properties().output_partitioning().partition_count();
        (0..partitions).map(|partition| self.in_our_types(&rows_of(&plan, partition, &self.task)?)).collect()
    }

    fn in_our_types(&self, rows: &[RecordBatch]) -> Result<RecordBatch, DataFusionError> {
        let rows = match rows {
            [one] => one.clone(),
            many => concat_batches(&self.plan.schema(), many)?,
        };
        let kinds = self.query.output.fields().iter().map(|field| field.data_type());
        let columns = rows.columns().iter().cloned().zip(kinds).map(|(column, kind)| convert(column, kind));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let columns = columns.collect::<Result<_, _>>()?;
        Ok(RecordBatch::try_new_with_options(self.query.output.clone(), columns, &options)?)
    }
}

fn names(inputs: &[(String, SchemaRef)], functions: &[Arc<ScalarUDF>]) -> (Names, Vec<Slot>) {
    let slots: Vec<Slot> = inputs.iter().map(|(_, schema)| Slot::new(schema.clone())).collect();
    let sources = slots.iter().map(|slot| provider_as_source(Arc::new(slot.clone())));
    let tables = inputs.iter().map(|(name, _)| name.clone()).zip(sources).collect();
    (Names::new(tables, functions), slots)
}

/// The stack of the thread that plans. Parser and planner call themselves for each level of a query, which may be as deep
/// as the parser allows; the stacks of workers are too small for that.
const STACK_BYTES: usize = 64 << 20;

/// Plans on a thread with a stack that is large enough.
fn with_room<T: Send>(plan: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let failed = |cause: io::Error| Error::environment(format!("cannot start a thread to plan a query: {cause}"));
    thread::scope(|scope| {
        let planning = thread::Builder::new().name("plan".into()).stack_size(STACK_BYTES);
        let planning = planning.spawn_scoped(scope, plan).map_err(failed)?;
        planning.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Reads the one query that a text must be, and plans it.
fn logical(text: &str, names: &Names) -> Result<LogicalPlan> {
    let wrong = |error: DataFusionError| mistake(text, names, &error);
    let mut statements = parser(text).and_then(|mut parser| parser.parse_statements()).map_err(wrong)?;
    let (Some(statement), None) = (statements.pop_front(), statements.pop_front()) else {
        return Err(told(text, "`sql` is one query; write one `select`", None));
    };
    let query = match &statement {
        Statement::Statement(inner) => match &**inner {
            ast::Statement::Query(query) => query,
            other => return Err(refused(text, &other.to_string())),
        },
        other => return Err(refused(text, &other.to_string())),
    };
    if let Some((word, wrong)) = foreign(query) {
        return Err(told(text, &wrong, place_of(text, word)));
    }
    let plan = SqlToRel::new_with_options(names, parser_options()).statement_to_plan(statement).map_err(wrong)?;
    let plan = state().optimize(&plan).map_err(wrong)?;
    if plan.schema().fields().is_empty() {
        let words = "the query has no columns; write them behind `select`, or `*` for all";
        return Err(told(text, words, place_of(text, "select")));
    }
    let changes = |plan: &LogicalPlan| {
        let other = matches!(
            plan,
            LogicalPlan::Dml(_) | LogicalPlan::Ddl(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_)
        );
        Ok(other)
    };
    if plan.exists(changes).unwrap_or(true) {
        return Err(refused(text, text.trim_start()));
    }
    Ok(plan)
}

fn refused(text: &str, statement: &str) -> Error {
    let verb = statement.split_whitespace().next().unwrap_or_default().to_lowercase();
    told(text, &only_reads(&verb), place_of(text, &verb))
}

/// The steps that a plan may have: each gives the same rows in the same order whenever it is run, on this thread.
const STEPS: [&str; 21] = [
    "AggregateExec",
    "BoundedWindowAggExec",
    "CoalesceBatchesExec",
    "CooperativeExec",
    "CrossJoinExec",
    "DataSourceExec",
    "EmptyExec",
    "FilterExec",
    "Gather",
    "GlobalLimitExec",
    "HashJoinExec",
    "LocalLimitExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "PlaceholderRowExec",
    "ProjectionExec",
    "ScalarSubqueryExec",
    "SlotScan",
    "UnionExec",
    "UnnestExec",
    "WindowAggExec",
];

/// Steps that run here, in order and on this thread.
fn physical(plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let plan = finish(state().query_planner().create_physical_plan(plan, state()))?;
    let plan = plan
        .transform_up(|step| match gathered(&step) {
            Some(gathered) => Ok(Transformed::yes(gathered)),
            None => Ok(Transformed::yes(checked_step(step)?)),
        })
        .data()?;
    let unknown = |step: &Arc<dyn ExecutionPlan>| Ok(!STEPS.contains(&step.name()));
    if plan.exists(unknown)? {
        let words = "it needs a step of a kind that stages cannot run; write it another way".to_owned();
        return Err(DataFusionError::Plan(words));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests;
