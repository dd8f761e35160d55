//! Replacement of this crate in builds without DataFusion: the same names, which reject every query, and every expression other than the name of a
//! column.

/// Limits of a query.
pub mod budget {
    /// Sets the check by which this thread learns that its job is stopping.
    pub fn of_job(_stopping: impl Fn() -> bool + 'static) {}
}

pub mod expression {
    use super::absent;
    use super::normal::{NormalForm, NormalTerm};
    use arrow::array::{ArrayRef, RecordBatch};
    use arrow::datatypes::{DataType, SchemaRef};
    use millstream_base::context::BatchContext;
    use millstream_base::error::Result;

    /// A column.
    #[derive(Clone, Debug)]
    pub struct Expression {
        index: usize,
        data_type: DataType,
        normal: NormalForm,
    }

    impl Expression {
        /// Finds the column with this name.
        pub fn new(text: &str, schema: &SchemaRef) -> Result<Expression> {
            let name = text.trim();
            // Other characters have another meaning in an expression.
            let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let (index, field) = schema.column_with_name(name).filter(|_| is_plain).ok_or_else(absent)?;
            let normal = NormalForm { terms: vec![NormalTerm { text: "$0".into(), columns: vec![name.into()] }] };
            Ok(Expression { index, data_type: field.data_type().clone(), normal })
        }

        /// Fails: lists of columns are not supported.
        pub fn list(_text: &str, _schema: &SchemaRef) -> Result<(SchemaRef, Vec<Expression>)> {
            Err(absent())
        }

        /// Returns the index of the column.
        pub fn column_index(&self) -> Option<usize> {
            Some(self.index)
        }

        /// Returns the expression in normal form.
        pub fn normal(&self) -> &NormalForm {
            &self.normal
        }

        /// Returns its text.
        pub fn text(&self) -> &str {
            self.normal.only_column().unwrap_or_default()
        }

        /// Returns the type of its values.
        pub fn data_type(&self) -> &DataType {
            &self.data_type
        }

        /// Returns its values for these rows.
        pub fn evaluate(&self, _context: BatchContext, rows: &RecordBatch) -> Result<ArrayRef> {
            Ok(rows.column(self.index).clone())
        }
    }
}

pub mod function {
    use super::absent;
    use millstream_base::error::Result;
    use millstream_metrics::Counts;
    use millstream_plugins::plugin::{Description, Plugin, StageUse};

    /// A plugin as a function: not supported.
    #[derive(Clone)]
    pub enum PluginFunction {}

    impl PluginFunction {
        /// Fails: plugins are not supported as functions.
        pub fn new(_name: &str, _plugin: Plugin, _stage: StageUse) -> Result<PluginFunction> {
            Err(absent())
        }

        /// Returns its name in queries.
        pub fn name(&self) -> &str {
            match *self {}
        }

        /// Returns its plugin.
        pub fn plugin(&self) -> &Plugin {
            match *self {}
        }

        /// Returns the plugin's description.
        pub fn description(&self) -> Option<Description> {
            match *self {}
        }

        /// Returns the function for a query.
        pub fn callable(&self, _counts: Option<Counts>) -> PluginFunction {
            self.clone()
        }
    }
}

pub mod normal {
    /// An expression in normal form.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct NormalForm {
        /// The conditions of a conjunction by `and`; otherwise one term.
        pub terms: Vec<NormalTerm>,
    }

    /// A condition, or an expression.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct NormalTerm {
        /// Its text, with `$0`, `$1` … for columns.
        pub text: String,
        /// These columns.
        pub columns: Vec<String>,
    }

    impl NormalForm {
        /// Returns the name of the column, if the expression is a column.
        pub fn only_column(&self) -> Option<&str> {
            self.terms.first()?.columns.first().map(String::as_str)
        }
    }

    /// A query in normal form.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct NormalQuery {
        /// Its plan.
        pub text: String,
        /// The columns of each table that it uses.
        pub columns: Vec<Vec<String>>,
    }

    /// Returns the expression with normalized spaces.
    pub fn normal_text(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

pub mod placement {
    /// Where a query runs.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum QueryPlacement {
        /// On every worker, each part of the input separately.
        Parts,
        /// On the owners of the keys; these are the indexes of the key columns in its rows.
        ByKey(Vec<usize>),
        /// On one worker, for this reason.
        One(String),
    }
}

pub mod query {
    use super::absent;
    use super::function::PluginFunction;
    use super::normal::NormalQuery;
    use super::placement::QueryPlacement;
    use arrow::array::RecordBatch;
    use arrow::datatypes::SchemaRef;
    use millstream_base::context::BatchContext;
    use millstream_base::error::Result;
    use millstream_job::spec::SqlLimits;

    /// A query: not supported.
    #[derive(Clone, Debug)]
    pub enum Query {}

    /// A planned query: not supported.
    pub enum Prepared {}

    impl Query {
        /// Fails: queries are not supported.
        pub fn new(
            _text: &str,
            _inputs: Vec<(String, SchemaRef)>,
            _keys: &[String],
            _functions: &[PluginFunction],
        ) -> Result<Query> {
            Err(absent())
        }

        /// Returns the columns of its rows.
        pub fn output(&self) -> SchemaRef {
            match *self {}
        }

        /// Returns its tables.
        pub fn inputs(&self) -> &[(String, SchemaRef)] {
            match *self {}
        }

        /// Returns the query in normal form.
        pub fn normal(&self) -> &NormalQuery {
            match *self {}
        }

        /// Returns where it runs.
        pub fn placement(&self) -> &QueryPlacement {
            match *self {}
        }

        /// Plans it.
        pub fn prepare(&self, _stage: &str, _functions: &[PluginFunction], _limits: SqlLimits) -> Result<Prepared> {
            match *self {}
        }
    }

    impl Prepared {
        /// Returns whether it reads its input at most once.
        pub fn reads_once(&self) -> bool {
            match *self {}
        }

        /// Runs it over rows as they arrive.
        pub fn follow(
            &self,
            _context: BatchContext,
            _next: impl FnMut() -> Result<Option<RecordBatch>> + Send + 'static,
            _each: impl FnMut(RecordBatch) -> Result<()>,
        ) -> Result<()> {
            match *self {}
        }

        /// Runs it.
        pub fn run(&self, _context: BatchContext, _tables: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
            match *self {}
        }
    }
}

pub mod references {
    use super::absent;
    use super::expression::Expression;
    use arrow::datatypes::SchemaRef;
    use millstream_base::error::{Error, Result};
    use std::collections::BTreeSet;

    /// The previous row of the match.
    pub const BEFORE: &str = "prev";

    /// A reference of an expression to the rows of a match.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum Reference {
        Before { column: String },
        First { step: String, column: String },
        Last { step: String, column: String, is_short: bool },
        Aggregate { function: String, step: Option<String>, column: Option<String>, distinct: bool },
    }

    impl Reference {
        /// Returns the column that represents it.
        pub fn name(&self) -> String {
            format!("{self:?}")
        }

        /// Returns the step that it names.
        pub fn step(&self) -> Option<&str> {
            None
        }

        /// Returns the column that it names.
        pub fn column(&self) -> Option<&str> {
            None
        }
    }

    /// An expression with references: not supported.
    #[derive(Clone, Debug)]
    pub struct ReferringText {
        /// The references.
        pub references: Vec<Reference>,
        /// Names of columns.
        pub columns: BTreeSet<String>,
    }

    impl ReferringText {
        /// Fails: references are not supported.
        pub fn new(_text: &str, _steps: &[String]) -> Result<ReferringText> {
            Err(absent())
        }

        /// Checks the expression.
        pub fn compile(&self, _schema: &SchemaRef, _is_fixed: bool) -> Result<Expression> {
            Err(absent())
        }

        /// Returns an error about a word of the text.
        pub fn wrong(&self, _word: &str, message: &str) -> Error {
            Error::job(message)
        }
    }
}

fn absent() -> millstream_base::error::Error {
    millstream_base::error::Error::job(millstream_base::built::absent("SQL", "sql"))
}
