//! What DataFusion needs to plan: its options, and the tables and functions that SQL may name.

use super::decimals::BesideFloats;
use super::dependencies::ForgottenTables;
use super::gather::Gathered;
use super::pool::SharedPool;
use super::rewrite::rewrite;
use super::rules::optimizer_rules;
use super::semantics::Semantics;
use super::subqueries::Subqueries;
use super::using::FullJoinUsing;
use super::{aggregate, batch_time, rounding, shift};
use crate::limits::ROWS_AT_ONCE;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{FunctionRegistry, SessionState, TaskContext};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::ParserOptions;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::ast::ObjectName;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Functions of DataFusion that would not give the same in a replay.
pub const REFUSED: [&str; 3] = ["random", "rand", "uuid"];

/// Functions of DataFusion about files, which rows here do not come from.
const OF_FILES: [&str; 2] = ["file_row_index", "input_file_name"];

/// DataFusion's part: options, functions and rules. Names count as they are written; there is one partition and no plan
/// that changes itself while it runs, so that the same rows give the same rows.
pub fn state() -> &'static SessionState {
    static STATE: LazyLock<SessionState> = LazyLock::new(|| {
        let mut config = SessionConfig::new().with_target_partitions(1).with_batch_size(ROWS_AT_ONCE);
        let options = config.options_mut();
        options.sql_parser.enable_ident_normalization = false;
        options.sql_parser.map_string_types_to_utf8view = false;
        options.sql_parser.collect_spans = true;
        options.execution.time_zone = Some("UTC".into());
        options.execution.enable_recursive_ctes = false;
        options.optimizer.enable_dynamic_filter_pushdown = false;
        options.optimizer.enable_join_dynamic_filter_pushdown = false;
        options.optimizer.enable_topk_dynamic_filter_pushdown = false;
        options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        options.optimizer.enable_topk_aggregation = false;
        options.optimizer.enable_round_robin_repartition = false;
        // This one computes what `select` holds before `where` has looked at the rows: `where n <> 0` would not keep
        // `total / n` from failing, and functions would be called for rows that nobody wants.
        let mut rules = sound_rules();
        rules.retain(|rule| rule.name() != "ProjectionPushdown");
        // Rows are put together in an order of their own before plans are checked.
        let check = rules.iter().position(|rule| rule.name() == "SanityCheckPlan").unwrap_or(rules.len());
        rules.insert(check, Arc::new(Gathered));
        let state = SessionStateBuilder::new().with_config(config).with_default_features();
        let state = state.with_optimizer_rules(optimizer_rules());
        corrected(state.with_physical_optimizer_rules(rules).with_analyzer_rules(analyzer_rules()).build())
    });
    &STATE
}

/// Functions of ours in the place of those of DataFusion whose types or values are wrong.
fn corrected(mut state: SessionState) -> SessionState {
    // A registry of its own refuses nothing.
    for name in rounding::NAMES {
        if let Some(plain) = state.scalar_functions().get(name).cloned() {
            let _ = state.register_udf(Arc::new(rounding::rounding(plain)));
        }
    }
    for name in shift::NAMES {
        if let Some(plain) = state.window_functions().get(name).cloned() {
            let _ = state.register_udwf(Arc::new(shift::shift(plain)));
        }
    }
    for name in [aggregate::AVG, aggregate::SUM] {
        if let Some(plain) = state.aggregate_functions().get(name).cloned() {
            let _ = state.register_udaf(aggregate::exact(&plain));
        }
    }
    state
}

/// DataFusion's rules for what expressions mean, and ours: before types are coerced, and after all others.
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let first: [Arc<dyn AnalyzerRule + Send + Sync>; 2] = [Arc::new(Subqueries), Arc::new(BesideFloats)];
    first.into_iter().chain(Analyzer::new().rules).chain([Arc::new(Semantics) as _]).collect()
}

/// The rules for physical plans without those that bring conditions down: they find columns by their names alone, and take the
/// wrong one above a join whose sides have columns of one name. Logical plans have conditions where they belong already.
fn sound_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| !rule.name().starts_with("FilterPushdown"));
    rules
}

/// What a plan runs with: memory for so many bytes, and no files to put rows into that do not fit.
pub fn task(memory_bytes_max: u64) -> Result<Arc<TaskContext>> {
    Ok(Arc::new(TaskContext::from(state()).with_runtime(runtime(memory_bytes_max)?)))
}

/// What asks the state of a checkpoint: names as in DataFusion, and what expressions mean as in queries of stages.
pub fn of_state(memory_bytes_max: u64) -> Result<SessionState> {
    // One partition, so that the rows of a query without `order by` come in the same order every time.
    let config = SessionConfig::new().with_target_partitions(1);
    let state = SessionStateBuilder::new().with_config(config).with_default_features();
    let state = state.with_optimizer_rules(optimizer_rules());
    let state = state.with_physical_optimizer_rules(sound_rules()).with_analyzer_rules(analyzer_rules());
    let mut state = corrected(state.with_runtime_env(runtime(memory_bytes_max)?).build());
    for planner in relation_planners() {
        state.register_relation_planner(planner)?;
    }
    Ok(state)
}

/// Plans a query over the state of a checkpoint.
pub async fn plan_of_state(state: &SessionState, sql: &str) -> Result<LogicalPlan> {
    let dialect = state.config().options().sql_parser.dialect;
    let mut statement = state.sql_to_statement(sql, &dialect)?;
    if let Statement::Statement(inner) = &mut statement
        && let ast::Statement::Query(query) = &mut **inner
    {
        rewrite(query, &|_| None).or_else(|(_, wrong)| plan_err!("{wrong}"))?;
    }
    state.statement_to_plan(statement).await
}

fn runtime(memory_bytes_max: u64) -> Result<Arc<RuntimeEnv>> {
    let no_files = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let pool = SharedPool::new(memory_bytes_max);
    RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_disk_manager_builder(no_files).build_arc()
}

fn relation_planners() -> [Arc<dyn RelationPlanner>; 2] {
    [Arc::new(FullJoinUsing), Arc::new(ForgottenTables)]
}

/// How SQL text is read.
pub fn parser_options() -> ParserOptions {
    ParserOptions {
        enable_ident_normalization: false,
        map_string_types_to_utf8view: false,
        collect_spans: true,
        ..ParserOptions::default()
    }
}

/// The tables and functions that a text may name.
pub struct VisibleNames {
    /// Tables by name.
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    /// Scalar functions by name and alias.
    functions: BTreeMap<String, Arc<ScalarUDF>>,
    relations: [Arc<dyn RelationPlanner>; 2],
}

impl VisibleNames {
    /// DataFusion's functions, ours in their place, and these tables and functions.
    pub fn new(tables: BTreeMap<String, Arc<dyn TableSource>>, more: &[Arc<ScalarUDF>]) -> VisibleNames {
        let known = state().scalar_functions();
        let known =
            known.iter().filter(|(name, _)| !REFUSED.contains(&name.as_str()) && !OF_FILES.contains(&name.as_str()));
        let mut functions: BTreeMap<_, _> = known.map(|(name, function)| (name.clone(), function.clone())).collect();
        for function in batch_time::functions().iter().chain(more) {
            for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
                functions.insert(name.to_lowercase(), function.clone());
            }
        }
        VisibleNames { tables, functions, relations: relation_planners() }
    }

    /// The names of all functions.
    pub fn function_names(&self) -> Vec<String> {
        let state = state();
        let others = state.aggregate_functions().keys().chain(state.window_functions().keys());
        self.functions.keys().chain(others).cloned().collect()
    }

    /// The names of all scalar functions.
    #[cfg(test)]
    pub fn scalar_names(&self) -> impl Iterator<Item = String> {
        self.functions.keys().cloned()
    }

    /// The columns of a table.
    pub fn columns(&self, table: &ObjectName) -> Option<Vec<String>> {
        let parts = table.0.iter().map(|part| Some(part.as_ident()?.value.as_str())).collect::<Option<Vec<_>>>()?;
        let table = self.tables.get(&parts.join("."))?;
        Some(table.schema().fields().iter().map(|field| field.name().clone()).collect())
    }

    /// The names of all tables.
    pub fn table_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.tables.keys().map(String::as_str)
    }
}

/// Whole names of streams are tables, also those with dots: `words.rejected` is one with and without quotes.
pub fn table_name(reference: &TableReference) -> String {
    reference.to_vec().join(".")
}

impl ContextProvider for VisibleNames {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(&table_name(&name)) {
            Some(table) => Ok(table.clone()),
            None => plan_err!("table '{name}' not found"),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        state().expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.get(&name.to_lowercase()).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        state().higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        state().aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        state().window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn get_variable_field(&self, _names: &[String]) -> Option<FieldRef> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        state().config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        state().higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        state().aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        state().window_functions().keys().cloned().collect()
    }
}
