//! A query over the rows of a batch or window: checked once, planned once per worker, run many times.

mod streamed;

use super::accumulators;
use super::batch_time::in_batch;
use super::budget;
use super::budget_exec::with_budget;
use super::foreign::{foreign, only_reads, planning_error};
use super::gather::{finish, rows_of};
use super::guard::size_guarded;
use super::input::InputRows;
use super::normal::NormalQuery;
use super::parser::parser;
use super::placement::{QueryPlacement, placement_of};
use super::plan_thread::planned;
use super::rewrite::rewrite;
use super::session::{VisibleNames, parser_options, state, task};
use super::sql_error::{self, error_at, to_error, word_span};
use super::types::{PreservedTypes, convert, to_job_type};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::provider_as_source;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator, ScalarUDF, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_job::spec::SqlLimits;
use std::sync::Arc;

/// A checked query. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Query {
    text: Arc<str>,
    /// Tables: names and columns.
    inputs: Arc<[(String, SchemaRef)]>,
    output: SchemaRef,
    placement: QueryPlacement,
    normal: Arc<NormalQuery>,
}

/// A planned query, for one thread.
pub struct Prepared {
    stage: Arc<str>,
    query: Query,
    plan: Arc<dyn ExecutionPlan>,
    slots: Vec<InputRows>,
    task: Arc<TaskContext>,
    limits: SqlLimits,
}

impl Query {
    /// Checks a query over these tables. `keys` are the stage's key columns, if all tables have them with the same types. Errors point into the text.
    pub fn new(
        text: &str,
        inputs: Vec<(String, SchemaRef)>,
        keys: &[String],
        functions: &[Arc<ScalarUDF>],
    ) -> Result<Query> {
        let (names, _) = names(&inputs, functions);
        let (owned, keys, tables) = (text.to_owned(), keys.to_vec(), inputs.clone());
        let (placement, physical, normal) = planned(move || {
            let logical = logical(&owned, &names)?;
            let physical = physical(&logical).map_err(|error| to_error(&owned, &names, &error))?;
            Ok((placement_of(&logical, &keys), physical, NormalQuery::new(&logical, &tables)))
        })?;
        let kept = PreservedTypes::new(inputs.iter().map(|(_, schema)| schema.as_ref()));
        let field = |field: &Arc<Field>| Field::new(field.name(), to_job_type(field.data_type(), kept), true);
        let output = Arc::new(Schema::new(physical.schema().fields().iter().map(field).collect::<Vec<_>>()));
        Ok(Query { text: text.into(), inputs: inputs.into(), output, placement, normal: normal.into() })
    }

    /// Returns the columns of its rows.
    pub fn output(&self) -> SchemaRef {
        self.output.clone()
    }

    /// Returns its tables: names and columns.
    pub fn inputs(&self) -> &[(String, SchemaRef)] {
        &self.inputs
    }

    /// Returns the query in normal form.
    pub fn normal(&self) -> &NormalQuery {
        &self.normal
    }

    /// Returns where it runs.
    pub fn placement(&self) -> &QueryPlacement {
        &self.placement
    }

    /// Plans it for a worker of this stage, with the functions of the check or others with the same names and types.
    pub fn prepare(&self, stage: &str, functions: &[Arc<ScalarUDF>], limits: SqlLimits) -> Result<Prepared> {
        let (names, slots) = names(&self.inputs, functions);
        let text = self.text.clone();
        let plan =
            planned(move || physical(&logical(&text, &names)?).map_err(|error| to_error(&text, &names, &error)))?;
        let task = task(limits.memory_bytes_max).map_err(Error::bug)?;
        Ok(Prepared { stage: stage.into(), query: self.clone(), plan, slots, task, limits })
    }
}

impl Prepared {
    /// Runs it over these rows, one table per input. Returns the rows of each branch of its union, or all rows.
    pub fn run(&self, context: BatchContext, tables: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        for (slot, rows) in self.slots.iter().zip(tables) {
            slot.set(rows);
        }
        let done = in_batch(context, || budget::run_within(self.limits, || self.rows()));
        for (slot, (_, schema)) in self.slots.iter().zip(self.query.inputs.iter()) {
            slot.set(RecordBatch::new_empty(schema.clone()));
        }
        done.map_err(|error| self.runtime_error(&format!("batch {}: ", context.id), &error))
    }

    /// Formats a runtime error, with what failed.
    fn runtime_error(&self, with: &str, error: &DataFusionError) -> Error {
        match sql_error::own_error(error) {
            Some(own) => own.clone(),
            None => {
                let message = sql_error::runtime_message_within(error, self.limits);
                let message = format!("stage `{}`: {with}the query cannot be computed: {message}", self.stage);
                if budget::is_stop(error) { Error::environment(message) } else { Error::plugin(message) }
            }
        }
    }

    fn rows(&self) -> Result<Vec<RecordBatch>, DataFusionError> {
        // Joins keep their tables, and every step its counts, from one run to the next.
        let plan = reset_plan_states(self.plan.clone())?;
        let partitions = plan.properties().output_partitioning().partition_count();
        let mut kept = Vec::new();
        let mut rows_of = |partition| {
            let (rows, reserved) = rows_of(&plan, partition, &self.task)?;
            kept.push(reserved);
            self.in_our_types(&rows)
        };
        (0..partitions).map(&mut rows_of).collect()
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

fn names(inputs: &[(String, SchemaRef)], functions: &[Arc<ScalarUDF>]) -> (VisibleNames, Vec<InputRows>) {
    let slots: Vec<InputRows> = inputs.iter().map(|(_, schema)| InputRows::new(schema.clone())).collect();
    let sources = slots.iter().map(|slot| provider_as_source(Arc::new(slot.clone())));
    let tables = inputs.iter().map(|(name, _)| name.clone()).zip(sources).collect();
    (VisibleNames::new(tables, functions), slots)
}

/// Parses the single query of a string, and plans it.
fn logical(text: &str, names: &VisibleNames) -> Result<LogicalPlan> {
    let wrong = |error: DataFusionError| to_error(text, names, &error);
    let mut statements = parser(text).and_then(|mut parser| parser.parse_statements()).map_err(wrong)?;
    let (Some(statement), None) = (statements.pop_front(), statements.pop_front()) else {
        return Err(error_at(text, "`sql` is one query; write one `select`", None));
    };
    let mut query = match statement {
        Statement::Statement(inner) => match *inner {
            ast::Statement::Query(query) => query,
            other => return Err(rejection(text, &other.to_string())),
        },
        other => return Err(rejection(text, &other.to_string())),
    };
    if let Some((word, wrong)) = foreign(&query) {
        return Err(error_at(text, &wrong, word_span(text, word)));
    }
    rewrite(&mut query, &|table| names.columns(table))
        .map_err(|(word, wrong)| error_at(text, &wrong, word_span(text, &word)))?;
    let statement = Statement::Statement(Box::new(ast::Statement::Query(query)));
    let plan = SqlToRel::new_with_options(names, parser_options()).statement_to_plan(statement).map_err(wrong)?;
    let plan = state().optimize(&plan).map_err(wrong)?;
    let plan = plan.transform_up(|plan| Ok(conditions_watched(plan))).data().map_err(wrong)?;
    if let Some((word, wrong)) = planning_error(&plan) {
        return Err(error_at(text, &wrong, word_span(text, word)));
    }
    if plan.schema().fields().is_empty() {
        let message = "the query has no columns; write them after `select`, or `*` for all";
        return Err(error_at(text, message, word_span(text, "select")));
    }
    let changes = |plan: &LogicalPlan| {
        let other = matches!(
            plan,
            LogicalPlan::Dml(_) | LogicalPlan::Ddl(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_)
        );
        Ok(other)
    };
    if plan.exists(changes).unwrap_or(true) {
        return Err(rejection(text, text.trim_start()));
    }
    Ok(plan)
}

/// Adds time checks to the conditions of joins: a join may compare for hours without returning a row.
fn conditions_watched(plan: LogicalPlan) -> Transformed<LogicalPlan> {
    match plan {
        LogicalPlan::Join(mut join) if join.filter.is_some() => {
            join.filter = join.filter.map(size_guarded);
            Transformed::yes(LogicalPlan::Join(join))
        }
        plan => Transformed::no(plan),
    }
}

/// Hides computed equalities from the planner. For rows with `abs(k) = k`, DataFusion substitutes `k` for `abs(k)`, and then does not recognize that
/// they are sorted.
fn equalities_closed(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>, DataFusionError> {
    let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
    let is_open = |condition: &Expr| match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let sides = [&**left, &**right];
            !sides.iter().any(|side| matches!(side, Expr::Literal(..)))
                && !sides.iter().all(|side| matches!(side, Expr::Column(_)))
        }
        _ => false,
    };
    if !split_conjunction(&filter.predicate).into_iter().any(is_open) {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let conditions = split_conjunction_owned(filter.predicate).into_iter();
    let conditions = conditions.map(|one| if is_open(&one) { size_guarded(one) } else { one });
    let predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
    Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
}

fn rejection(text: &str, statement: &str) -> Error {
    let verb = statement.split_whitespace().next().unwrap_or_default().to_lowercase();
    error_at(text, &only_reads(&verb), word_span(text, &verb))
}

/// The allowed steps of a plan: each returns the same rows in the same order in every run, on this thread.
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
    "InputScan",
    "LocalLimitExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "PlaceholderRowExec",
    "ProjectionExec",
    "ScalarSubqueryExec",
    "UnionExec",
    "UnnestExec",
    "WindowAggExec",
];

/// Returns steps that run here, in order and on this thread.
fn physical(plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let plan = plan.clone().transform_down_with_subqueries(equalities_closed).data()?;
    let plan = finish(state().query_planner().create_physical_plan(&plan, state()))?;
    let unknown = |step: &Arc<dyn ExecutionPlan>| Ok(!STEPS.contains(&step.name()));
    if plan.exists(unknown)? {
        let message = "it needs an operation that stages cannot run; write it another way".to_owned();
        return Err(DataFusionError::Plan(message));
    }
    accumulators::check(&plan)?;
    with_budget(plan)
}

#[cfg(test)]
mod tests;
