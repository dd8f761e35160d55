//! What stands for this crate in builds without DataFusion: the same names, by which every expression is refused that is more than
//! the name of a column, and every query.

/// What a query is allowed.
pub mod budget {
    /// Names how this thread learns that its job is to stop.
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
        place: usize,
        data_type: DataType,
        normal: NormalForm,
    }

    impl Expression {
        /// The column of this name.
        pub fn new(text: &str, schema: &SchemaRef) -> Result<Expression> {
            let name = text.trim();
            // Other letters mean something else in an expression.
            let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let (place, field) = schema.column_with_name(name).filter(|_| is_plain).ok_or_else(absent)?;
            let normal = NormalForm { terms: vec![NormalTerm { text: "$0".into(), columns: vec![name.into()] }] };
            Ok(Expression { place, data_type: field.data_type().clone(), normal })
        }

        /// No list of columns is taken.
        pub fn list(_text: &str, _schema: &SchemaRef) -> Result<(SchemaRef, Vec<Expression>)> {
            Err(absent())
        }

        /// The place of the column.
        pub fn column_place(&self) -> Option<usize> {
            Some(self.place)
        }

        /// The expression in normal form.
        pub fn normal(&self) -> &NormalForm {
            &self.normal
        }

        /// Its text.
        pub fn text(&self) -> &str {
            self.normal.only_column().unwrap_or_default()
        }

        /// The type of its values.
        pub fn data_type(&self) -> &DataType {
            &self.data_type
        }

        /// Its values for these rows.
        pub fn evaluate(&self, _context: BatchContext, rows: &RecordBatch) -> Result<ArrayRef> {
            Ok(rows.column(self.place).clone())
        }
    }
}

pub mod function {
    use super::absent;
    use millstream_base::error::Result;
    use millstream_metrics::Counts;
    use millstream_plugins::plugin::{Description, Plugin, StageUse};

    /// A plugin under the name of a function: there is none.
    #[derive(Clone)]
    pub enum PluginFunction {}

    impl PluginFunction {
        /// No plugin is a function.
        pub fn new(_name: &str, _plugin: Plugin, _stage: StageUse) -> Result<PluginFunction> {
            Err(absent())
        }

        /// Its name in queries.
        pub fn name(&self) -> &str {
            match *self {}
        }

        /// Its plugin.
        pub fn plugin(&self) -> &Plugin {
            match *self {}
        }

        /// What the plugin said of itself.
        pub fn description(&self) -> Option<Description> {
            match *self {}
        }

        /// The function for a query.
        pub fn callable(&self, _counts: Option<Counts>) -> PluginFunction {
            self.clone()
        }
    }
}

pub mod normal {
    /// An expression in normal form.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct NormalForm {
        /// The conditions that `and` puts together; one of an expression that is none.
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
        /// The name of the column, of an expression that passes one on as it is.
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

    /// An expression with the same spaces always.
    pub fn respelled(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

pub mod placement {
    /// Where a query runs.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum QueryPlacement {
        /// On every worker, each part of the input by itself.
        Parts,
        /// On the owners of the keys; the key columns stand at these places of its rows.
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
    use millstream_base::job::spec::SqlLimits;

    /// A query: there is none.
    #[derive(Clone, Debug)]
    pub enum Query {}

    /// A query that is planned: there is none.
    pub enum Prepared {}

    impl Query {
        /// No query is taken.
        pub fn new(
            _text: &str,
            _inputs: Vec<(String, SchemaRef)>,
            _keys: &[String],
            _functions: &[PluginFunction],
        ) -> Result<Query> {
            Err(absent())
        }

        /// The columns of its rows.
        pub fn output(&self) -> SchemaRef {
            match *self {}
        }

        /// Its tables.
        pub fn inputs(&self) -> &[(String, SchemaRef)] {
            match *self {}
        }

        /// The query in normal form.
        pub fn normal(&self) -> &NormalQuery {
            match *self {}
        }

        /// Where it runs.
        pub fn placement(&self) -> &QueryPlacement {
            match *self {}
        }

        /// Plans it.
        pub fn prepare(&self, _stage: &str, _functions: &[PluginFunction], _limits: SqlLimits) -> Result<Prepared> {
            match *self {}
        }
    }

    impl Prepared {
        /// Whether it reads its input in one place at most.
        pub fn reads_once(&self) -> bool {
            match *self {}
        }

        /// Runs it over rows that come.
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

    /// The row that the match took before the one at hand.
    pub const BEFORE: &str = "prev";

    /// What an expression says of the rows that a match has.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum Reference {
        Before { column: String },
        First { step: String, column: String },
        Last { step: String, column: String, is_short: bool },
        Aggregate { function: String, step: Option<String>, column: Option<String>, distinct: bool },
    }

    impl Reference {
        /// The column that stands for it.
        pub fn name(&self) -> String {
            format!("{self:?}")
        }

        /// The step that it names.
        pub fn step(&self) -> Option<&str> {
            None
        }

        /// The column that it names.
        pub fn column(&self) -> Option<&str> {
            None
        }
    }

    /// An expression whose references are known: there is none.
    #[derive(Clone, Debug)]
    pub struct ReferringText {
        /// The references.
        pub references: Vec<Reference>,
        /// The names of columns.
        pub columns: BTreeSet<String>,
    }

    impl ReferringText {
        /// No text is taken.
        pub fn new(_text: &str, _steps: &[String]) -> Result<ReferringText> {
            Err(absent())
        }

        /// Checks the expression.
        pub fn compile(&self, _schema: &SchemaRef, _is_fixed: bool) -> Result<Expression> {
            Err(absent())
        }

        /// An error about a word of the text.
        pub fn wrong(&self, _word: &str, message: &str) -> Error {
            Error::job(message)
        }
    }
}

fn absent() -> millstream_base::error::Error {
    millstream_base::error::Error::job(millstream_base::built::absent("SQL", "sql"))
}
