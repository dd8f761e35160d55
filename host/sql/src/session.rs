//! DataFusion's planning environment: options, and the tables and functions that SQL may name.

use super::decimals::DecimalFloatCoercion;
use super::dependencies::TablesWithoutDependencies;
use super::gather::GatherRule;
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

/// DataFusion's functions that would differ in a replay.
pub const REPLAY_UNSAFE: [&str; 3] = ["random", "rand", "uuid"];

/// DataFusion's functions about files, which do not apply here.
const OF_FILES: [&str; 2] = ["file_row_index", "input_file_name"];

/// Returns DataFusion's session: options, functions and rules. Names are case-sensitive. There is one partition and no adaptive planning, so that
/// equal input gives equal output.
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
        // This one computes the `select` list before `where` filters rows. `where n <> 0` would not keep `total / n` from failing, and functions
        // would be called for filtered rows.
        let mut rules = sound_rules();
        rules.retain(|rule| rule.name() != "ProjectionPushdown");
        // Rows are merged in their own order before plans are checked.
        let check = rules.iter().position(|rule| rule.name() == "SanityCheckPlan").unwrap_or(rules.len());
        rules.insert(check, Arc::new(GatherRule));
        let state = SessionStateBuilder::new().with_config(config).with_default_features();
        let state = state.with_optimizer_rules(optimizer_rules());
        corrected(state.with_physical_optimizer_rules(rules).with_analyzer_rules(analyzer_rules()).build())
    });
    &STATE
}

/// Replaces DataFusion's functions whose types or values are wrong.
fn corrected(mut state: SessionState) -> SessionState {
    // A new registry never fails here.
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

/// Returns DataFusion's analyzer rules, and ours: before type coercion, and after all others.
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let first: [Arc<dyn AnalyzerRule + Send + Sync>; 2] = [Arc::new(Subqueries), Arc::new(DecimalFloatCoercion)];
    first.into_iter().chain(Analyzer::new().rules).chain([Arc::new(Semantics) as _]).collect()
}

/// Returns the rules for physical plans without those that push conditions down. These find columns by name alone, and choose the wrong one above a
/// join whose sides share a column name. Logical plans have conditions in the right place already.
fn sound_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| !rule.name().starts_with("FilterPushdown"));
    rules
}

/// Returns the resources of a plan: limited memory, and no files for spilling.
pub fn task(memory_bytes_max: u64) -> Result<Arc<TaskContext>> {
    Ok(Arc::new(TaskContext::from(state()).with_runtime(runtime(memory_bytes_max)?)))
}

/// Returns a session for queries over checkpoint state: names as in DataFusion, and expressions as in queries of stages.
pub fn of_state(memory_bytes_max: u64) -> Result<SessionState> {
    // One partition, so that the rows of a query without `order by` always have the same order.
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

/// Plans a query over checkpoint state.
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
    [Arc::new(FullJoinUsing), Arc::new(TablesWithoutDependencies)]
}

/// Returns the parser's options.
pub fn parser_options() -> ParserOptions {
    ParserOptions {
        enable_ident_normalization: false,
        map_string_types_to_utf8view: false,
        collect_spans: true,
        ..ParserOptions::default()
    }
}

/// The tables and functions that are visible to a string.
pub struct VisibleNames {
    /// Tables by name.
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    /// Scalar functions by name and alias.
    functions: BTreeMap<String, Arc<ScalarUDF>>,
    relations: [Arc<dyn RelationPlanner>; 2],
}

impl VisibleNames {
    /// Combines DataFusion's functions, our replacements, and these tables and functions.
    pub fn new(tables: BTreeMap<String, Arc<dyn TableSource>>, more: &[Arc<ScalarUDF>]) -> VisibleNames {
        let known = state().scalar_functions();
        let known = known
            .iter()
            .filter(|(name, _)| !REPLAY_UNSAFE.contains(&name.as_str()) && !OF_FILES.contains(&name.as_str()));
        let mut functions: BTreeMap<_, _> = known.map(|(name, function)| (name.clone(), function.clone())).collect();
        for function in batch_time::functions().iter().chain(more) {
            for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
                functions.insert(name.to_lowercase(), function.clone());
            }
        }
        VisibleNames { tables, functions, relations: relation_planners() }
    }

    /// Returns the names of all functions.
    pub fn function_names(&self) -> Vec<String> {
        let state = state();
        let others = state.aggregate_functions().keys().chain(state.window_functions().keys());
        self.functions.keys().chain(others).cloned().collect()
    }

    /// Returns the names of all scalar functions.
    #[cfg(test)]
    pub fn scalar_names(&self) -> impl Iterator<Item = String> {
        self.functions.keys().cloned()
    }

    /// Returns the columns of a table.
    pub fn columns(&self, table: &ObjectName) -> Option<Vec<String>> {
        let parts = table.0.iter().map(|part| Some(part.as_ident()?.value.as_str())).collect::<Option<Vec<_>>>()?;
        let table = self.tables.get(&parts.join("."))?;
        Some(table.schema().fields().iter().map(|field| field.name().clone()).collect())
    }

    /// Returns the names of all tables.
    pub fn table_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.tables.keys().map(String::as_str)
    }
}

/// Returns the full stream name of a table, including dots: `words.rejected` is one with and without quotes.
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
