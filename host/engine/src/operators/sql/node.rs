//! A query that is checked.

use millstream_base::job::spec::SqlLimits;
use millstream_sql::function::PluginFunction;
use millstream_sql::placement::QueryPlacement;
use millstream_sql::query::Query;

/// A query over the rows of a stage, as the graph has checked it.
#[derive(Clone)]
pub struct SqlNode {
    /// The query.
    pub query: Query,
    /// How much memory and time the query may use.
    pub limits: SqlLimits,
    /// Plugins that it calls as functions.
    pub functions: Vec<PluginFunction>,
    /// Places of the key columns in each input, where the query is spread by key.
    pub keys: Vec<Vec<usize>>,
    /// Their names.
    pub key_names: Vec<String>,
    /// A key with which the query could be spread.
    pub advice: Option<String>,
}

impl SqlNode {
    /// Where the query runs, in words.
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

    /// The lines that `millstream validate` shows of it.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let function = |function: &PluginFunction| {
            let plugin =
                function.description().map_or(String::new(), |plugin| format!("{} {}", plugin.name, plugin.version));
            let (world, digest) = (function.plugin().world(), function.plugin().digest());
            format!("function {}: plugin {plugin} ({world}), {digest}", function.name())
        };
        [format!("runs {}", self.runs())].into_iter().chain(self.functions.iter().map(function))
    }

    /// Whether each part of its rows comes of one part of its input.
    pub fn keeps_parts(&self) -> bool {
        *self.query.placement() == QueryPlacement::Parts
    }
}
