//! A checked query.

use millstream_job::spec::SqlLimits;
use millstream_sql::function::PluginFunction;
use millstream_sql::placement::QueryPlacement;
use millstream_sql::query::Query;

/// A query over the rows of a stage, checked by the graph.
#[derive(Clone)]
pub struct SqlNode {
    /// The query.
    pub query: Query,
    /// Limits of memory and time for the query.
    pub limits: SqlLimits,
    /// Plugins that it calls as functions.
    pub functions: Vec<PluginFunction>,
    /// Indexes of the key columns in each input, if the query is distributed by key.
    pub keys: Vec<Vec<usize>>,
    /// Their names.
    pub key_names: Vec<String>,
    /// A key by which the query could be distributed.
    pub advice: Option<String>,
}

impl SqlNode {
    /// Describes where the query runs.
    pub fn runs(&self) -> String {
        match self.query.placement() {
            QueryPlacement::Parts => "on every worker, part by part".into(),
            QueryPlacement::ByKey(_) => format!("on every worker, by key `{}`", self.key_names.join(", ")),
            QueryPlacement::One(why) => match &self.advice {
                None => format!("on one worker: {why}"),
                Some(key) => format!("on one worker: {why}; with key = \"{key}\" it would run on every worker"),
            },
        }
    }

    /// Returns the lines that `millstream validate` shows for it.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let function = |function: &PluginFunction| {
            let plugin =
                function.description().map_or(String::new(), |plugin| format!("{} {}", plugin.name, plugin.version));
            let (world, digest) = (function.plugin().world(), function.plugin().digest());
            format!("function {}: plugin {plugin} ({world}), {digest}", function.name())
        };
        [format!("runs {}", self.runs())].into_iter().chain(self.functions.iter().map(function))
    }

    /// Returns whether each part of its rows comes from one part of its input.
    pub fn keeps_parts(&self) -> bool {
        *self.query.placement() == QueryPlacement::Parts
    }
}
