//! Expressions over a row and the rows of a partial match: `temperature > prev.temperature`, `sum(a.amount) > 100`.
//!
//! Expressions over the match's rows are *references*. Each becomes a column after those of the row, so that the rest is an ordinary expression.

use super::expression::Expression;
use super::parser::parser;
use super::plan_thread::planned;
use super::session::VisibleNames;
use super::sql_error::{error_at, to_error, word_span};
use arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, DuplicateTreatment, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
};
use millstream_base::error::{Error, Result};
use millstream_job::syntax::{Part, each_part};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The previous row of the match.
pub const BEFORE: &str = "prev";

/// A reference of an expression to the rows of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A column of the previous row.
    Before {
        /// The column.
        column: String,
    },
    /// A column of the first row of a step.
    First {
        /// The step.
        step: String,
        /// The column.
        column: String,
    },
    /// A column of the last row of a step.
    Last {
        /// The step.
        step: String,
        /// The column.
        column: String,
        /// Whether it was written without `last`.
        is_short: bool,
    },
    /// An aggregate of rows.
    Aggregate {
        /// Name of the function, in lower case.
        function: String,
        /// The step whose rows are aggregated; `None` for all rows of the match.
        step: Option<String>,
        /// The aggregated column; `None` counts rows.
        column: Option<String>,
        /// Whether equal values count once.
        distinct: bool,
    },
}

/// Aggregates that are supported in references.
const AGGREGATES: [&str; 5] = ["count", "sum", "min", "max", "avg"];

impl Reference {
    /// Returns the column that represents it.
    pub fn name(&self) -> String {
        match self {
            Reference::Before { column } => format!("{BEFORE}.{column}"),
            Reference::First { step, column } => format!("first({step}).{column}"),
            Reference::Last { step, column, .. } => format!("last({step}).{column}"),
            Reference::Aggregate { function, step, column, distinct } => {
                let of = match (step, column) {
                    (Some(step), Some(column)) => format!("{step}.{column}"),
                    (Some(step), None) => format!("{step}.*"),
                    (None, _) => "*".to_owned(),
                };
                format!("{function}({}{of})", if *distinct { "distinct " } else { "" })
            }
        }
    }

    /// Returns the step that it names.
    pub fn step(&self) -> Option<&str> {
        match self {
            Reference::Before { .. } => None,
            Reference::First { step, .. } | Reference::Last { step, .. } => Some(step),
            Reference::Aggregate { step, .. } => step.as_deref(),
        }
    }

    /// Returns the column that it names.
    pub fn column(&self) -> Option<&str> {
        match self {
            Reference::Before { column } | Reference::First { column, .. } | Reference::Last { column, .. } => {
                Some(column)
            }
            Reference::Aggregate { column, .. } => column.as_deref(),
        }
    }
}

/// An expression with references that are found, but not resolved.
#[derive(Clone, Debug)]
pub struct ReferringText {
    text: Arc<str>,
    parsed: Arc<Expr>,
    /// The distinct references.
    pub references: Vec<Reference>,
    /// Names of the current row's columns that it may use.
    pub columns: BTreeSet<String>,
}

impl ReferringText {
    /// Finds the references of a string. `steps` are the names of the steps that may have rows in a match.
    pub fn new(text: &str, steps: &[String]) -> Result<ReferringText> {
        let (text, steps) = (text.to_owned(), steps.to_vec());
        planned(move || ReferringText::parse(&text, &steps))
    }

    fn parse(text: &str, steps: &[String]) -> Result<ReferringText> {
        let names = VisibleNames::new(BTreeMap::new(), &[]);
        let parsed = parser(text).and_then(|mut parser| parser.parse_into_expr());
        let parsed = parsed.map_err(|error| to_error(text, &names, &error))?;
        if parsed.alias.is_some() {
            return Err(error_at(text, "a name with `as` is not allowed here; remove it", None));
        }
        let mut parsed = parsed.expr;
        let mut finder = Finder { steps, references: Vec::new(), columns: BTreeSet::new() };
        if let Some((word, wrong)) = each_part(&mut parsed, |part| finder.part(part)) {
            return Err(error_at(text, &wrong, word_span(text, &word)));
        }
        let Finder { references, columns, .. } = finder;
        Ok(ReferringText { text: text.trim().into(), parsed: Arc::new(parsed), references, columns })
    }

    /// Checks the expression against columns of the row, followed by one with the name of each reference. With `is_fixed` it must be deterministic.
    pub fn compile(&self, schema: &SchemaRef, is_fixed: bool) -> Result<Expression> {
        let (text, parsed, schema) = (self.text.clone(), self.parsed.clone(), schema.clone());
        planned(move || Expression::of_parsed(text, &parsed, &schema, is_fixed))
    }

    /// Returns an error about a word of the text.
    pub fn wrong(&self, word: &str, message: &str) -> Error {
        error_at(&self.text, message, word_span(&self.text, word))
    }
}

/// Replaces references by columns.
struct Finder<'a> {
    steps: &'a [String],
    references: Vec<Reference>,
    columns: BTreeSet<String>,
}

impl Finder<'_> {
    fn is_step(&self, name: &Ident) -> bool {
        self.steps.contains(&name.value)
    }

    /// Returns the column that represents a reference.
    fn column(&mut self, reference: Reference) -> Expr {
        let name = reference.name();
        if !self.references.iter().any(|other| other.name() == name) {
            self.references.push(reference);
        }
        Expr::Identifier(Ident::with_quote('"', name))
    }

    /// `a.x`, `prev.x`
    fn row(&mut self, row: &Ident, column: &Ident) -> Option<Expr> {
        let column = column.value.clone();
        if self.is_step(row) {
            let step = row.value.clone();
            return Some(self.column(Reference::Last { step, column, is_short: true }));
        }
        row.value.eq_ignore_ascii_case(BEFORE).then(|| self.column(Reference::Before { column }))
    }

    /// Parses `first(a)` and `last(a)`, followed by a column: whether it is the first, and the step.
    fn of_step(&self, expression: &Expr) -> Option<(bool, String)> {
        let Expr::Function(function) = expression else { return None };
        let first = match called(function)?.as_str() {
            "first" => true,
            "last" => false,
            _ => return None,
        };
        match only_argument(function)? {
            FunctionArgExpr::Expr(Expr::Identifier(step)) if self.is_step(step) => Some((first, step.value.clone())),
            _ => None,
        }
    }

    /// Returns whether a function refers to steps, and is not another SQL function.
    fn is_for_steps(&self, word: &str, function: &ast::Function) -> bool {
        let is_reference = || self.of_step(&Expr::Function(function.clone())).is_some();
        AGGREGATES.contains(&word) || ["first", "last"].contains(&word) && is_reference()
    }

    /// `first(a.x)`, `sum(a.x)`, `count(a)`, `count(*)`
    fn function(&mut self, function: &ast::Function) -> Option<Expr> {
        let called = called(function)?;
        let (step, column) = match only_argument(function)? {
            FunctionArgExpr::Expr(Expr::CompoundIdentifier(names)) => match names.as_slice() {
                [step, column] if self.is_step(step) => (Some(step.value.clone()), Some(column.value.clone())),
                _ => return None,
            },
            FunctionArgExpr::Expr(Expr::Identifier(step)) if self.is_step(step) => (Some(step.value.clone()), None),
            FunctionArgExpr::QualifiedWildcard(name) => match name.0.as_slice() {
                [part] => match part.as_ident() {
                    Some(step) if self.is_step(step) => (Some(step.value.clone()), None),
                    _ => return None,
                },
                _ => return None,
            },
            FunctionArgExpr::Wildcard => (None, None),
            _ => return None,
        };
        let distinct = distinct(function);
        let reference = match (called.as_str(), step, column) {
            ("first", Some(step), Some(column)) if !distinct => Reference::First { step, column },
            ("last", Some(step), Some(column)) if !distinct => Reference::Last { step, column, is_short: false },
            ("count", step, None) if !distinct => {
                Reference::Aggregate { function: called, step, column: None, distinct }
            }
            (word, Some(step), Some(column)) if AGGREGATES.contains(&word) && (!distinct || word == "count") => {
                Reference::Aggregate { function: called, step: Some(step), column: Some(column), distinct }
            }
            _ => return None,
        };
        Some(self.column(reference))
    }

    /// Returns the column for a reference, or a word of the text and its error.
    fn part(&mut self, part: Part<'_>) -> ControlFlow<(String, String)> {
        let Part::Expression(expression) = part else { return ControlFlow::Continue(()) };
        let found = match expression {
            Expr::CompoundIdentifier(names) => match names.as_slice() {
                [row, column] => self.row(row, column),
                [row, ..] if self.is_step(row) || row.value.eq_ignore_ascii_case(BEFORE) => {
                    let reason = format!(
                        "a field of a struct of another row cannot be used here; make it a column in a previous \
                         stage, for example select = \"*, {} as value\"",
                        names.iter().skip(1).map(|name| name.value.as_str()).collect::<Vec<_>>().join(".")
                    );
                    return ControlFlow::Break((row.value.clone(), reason));
                }
                _ => None,
            },
            Expr::CompoundFieldAccess { root, access_chain } => match (self.of_step(root), access_chain.as_slice()) {
                (Some((first, step)), [AccessExpr::Dot(Expr::Identifier(column)), rest @ ..]) => {
                    let (column, rest) = (column.value.clone(), rest.to_vec());
                    let reference = match first {
                        true => Reference::First { step, column },
                        false => Reference::Last { step, column, is_short: false },
                    };
                    let column = self.column(reference);
                    Some(match rest.is_empty() {
                        true => column,
                        false => Expr::CompoundFieldAccess { root: Box::new(column), access_chain: rest },
                    })
                }
                _ => None,
            },
            Expr::Function(function) => {
                let function = function.clone();
                match (self.function(&function), called(&function)) {
                    (None, Some(word)) if self.is_for_steps(&word, &function) => {
                        let reason = format!(
                            "`{word}` takes one column of the rows of a step here, for example {word}(a.x); compute \
                             values of several columns in an earlier stage"
                        );
                        return ControlFlow::Break((word, reason));
                    }
                    (found, _) => found,
                }
            }
            _ => None,
        };
        if let Some(found) = found {
            *expression = found;
            return ControlFlow::Continue(());
        }
        match expression {
            Expr::Identifier(name) => drop(self.columns.insert(name.value.clone())),
            Expr::CompoundIdentifier(names) => {
                self.columns.extend(names.first().map(|name| name.value.clone()));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Returns the name of a function, in lower case; `None` if its call has more than arguments.
fn called(function: &ast::Function) -> Option<String> {
    let plain = function.over.is_none() && function.filter.is_none() && function.within_group.is_empty();
    match function.name.0.as_slice() {
        [part] if plain => part.as_ident().map(|name| name.value.to_lowercase()),
        _ => None,
    }
}

/// Returns the argument of a call with one.
fn only_argument(function: &ast::Function) -> Option<&FunctionArgExpr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(argument)] if list.clauses.is_empty() => Some(argument),
        _ => None,
    }
}

fn distinct(function: &ast::Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    list.duplicate_treatment == Some(DuplicateTreatment::Distinct)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};

    fn names(text: &str) -> Vec<String> {
        let steps = ["a".to_owned(), "b".to_owned()];
        ReferringText::new(text, &steps).unwrap().references.iter().map(Reference::name).collect()
    }

    #[test]
    fn references_are_found() {
        assert_eq!(names("t > prev.t and t < a.t"), ["prev.t", "last(a).t"]);
        assert_eq!(
            names("first(a).t + last(b).t + FIRST(b.t) + last(a.u)"),
            ["first(a).t", "last(b).t", "first(b).t", "last(a).u"]
        );
        assert_eq!(
            names("sum(a.t) + t > 3 or count(*) > 1 or count(a.*) + count(b) > count(distinct a.t)"),
            ["sum(a.t)", "count(*)", "count(a.*)", "count(b.*)", "count(distinct a.t)"]
        );
        assert_eq!(names("case when t in (a.t, b.t) then abs(a.t) > 1 else t is null end"), ["last(a).t", "last(b).t"]);
        assert_eq!(names("s.a > 1"), [] as [String; 0]);
        let columns = ReferringText::new("t > prev.u and s.x = 1 and \"V w\" > abs(y)", &[]).unwrap().columns;
        assert_eq!(columns.into_iter().collect::<Vec<_>>(), ["V w", "s", "t", "y"]);
    }

    #[test]
    fn they_are_columns_of_an_expression() {
        let steps = ["a".to_owned()];
        let schema = Arc::new(Schema::new(vec![
            Field::new("t", DataType::Int64, true),
            Field::new("sum(a.t)", DataType::Int64, true),
        ]));
        let made = ReferringText::new("sum(a.t) + t > 3", &steps).unwrap();
        assert_eq!(made.compile(&schema, true).unwrap().data_type(), &DataType::Boolean);
        let error = ReferringText::new("sum(a.t) + u > 3", &steps).unwrap().compile(&schema, true).unwrap_err();
        assert!(error.message.contains("`u`"), "{error}");
        for text in ["sum(t) > 3", "max(a.t + 1) > 3", "last(a) > 3"] {
            let error = ReferringText::new(text, &steps).unwrap_err();
            assert!(error.message.contains("takes one column of the rows of a step"), "{error}");
        }
        let late = ReferringText::new("now() > '2024-01-01' and t > 3", &steps).unwrap();
        assert!(late.compile(&schema, false).is_ok());
        assert!(late.compile(&schema, true).unwrap_err().message.contains("each time"), "{late:?}");
    }
}
