//! Expressions and queries in a form that does not depend on their spelling. Checkpoints use it to check whether a changed job has the same meaning.
//!
//! If a form changes with another version of DataFusion, checkpoints compare jobs differently, see `checkpoint/meaning`: raise `FORM` there when the
//! tests of this module change.

use super::parser::parser;
use arrow::datatypes::SchemaRef;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};

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
    /// Returns a plain column.
    pub(super) fn column(name: &str) -> NormalForm {
        NormalForm { terms: vec![NormalTerm { text: "$0".into(), columns: vec![name.into()] }] }
    }

    /// Returns a simplified expression.
    pub(super) fn new(expression: &Expr) -> NormalForm {
        NormalForm { terms: split_conjunction(expression).into_iter().map(NormalTerm::new).collect() }
    }

    /// Returns the name of the column, if the expression is a plain column.
    pub fn only_column(&self) -> Option<&str> {
        match self.terms.as_slice() {
            [NormalTerm { text, columns }] if text == "$0" => columns.first().map(String::as_str),
            _ => None,
        }
    }
}

impl NormalTerm {
    fn new(expression: &Expr) -> NormalTerm {
        let mut columns: Vec<String> = Vec::new();
        let numbered = expression.clone().transform_down(|part| match part {
            Expr::Column(column) => {
                let index = columns.iter().position(|known| *known == column.name).unwrap_or_else(|| {
                    columns.push(column.name.clone());
                    columns.len() - 1
                });
                Ok(Transformed::yes(Expr::Column(Column::new_unqualified(format!("${index}")))))
            }
            other => Ok(Transformed::no(other)),
        });
        let text = numbered.data().map_or_else(|_| expression.to_string(), |numbered| numbered.to_string());
        NormalTerm { text, columns }
    }
}

/// A query in normal form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NormalQuery {
    /// Its plan, with `$0`, `$1` … for its tables.
    pub text: String,
    /// The columns of each table that it uses.
    pub columns: Vec<Vec<String>>,
}

impl NormalQuery {
    /// Returns an optimized plan over these tables.
    pub(super) fn new(plan: &LogicalPlan, tables: &[(String, SchemaRef)]) -> NormalQuery {
        let mut columns = vec![Vec::new(); tables.len()];
        let _ = plan.apply_with_subqueries(|step| {
            let LogicalPlan::TableScan(scan) = step else { return Ok(TreeNodeRecursion::Continue) };
            let index = tables.iter().position(|(name, _)| name == scan.table_name.table());
            if let Some((used, (_, schema))) =
                index.and_then(|index| Some((columns.get_mut(index)?, tables.get(index)?)))
            {
                let all: Vec<usize> = (0..schema.fields().len()).collect();
                for index in scan.projection.as_ref().unwrap_or(&all) {
                    let Some(field) = schema.fields().get(*index) else { continue };
                    if !used.contains(field.name()) {
                        used.push(field.name().clone());
                    }
                }
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let mut text = plan.display_indent().to_string();
        for (index, (name, _)) in tables.iter().enumerate() {
            let number = format!("${index}");
            for name in [format!("\"{}\"", name.replace('"', "\"\"")), name.clone()] {
                text = renamed(&text, &name, &number);
            }
        }
        NormalQuery { text, columns }
    }
}

/// Replaces a table's name in a plan's text.
fn renamed(text: &str, name: &str, by: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (rest.get(..at).unwrap_or_default(), rest.get(at + name.len()..).unwrap_or_default());
        let is_part = |c: char| c.is_alphanumeric() || ['_', '"', '.', '$'].contains(&c);
        let begins = !before.chars().next_back().is_some_and(is_part);
        let is_table = after.starts_with('.') || before.ends_with("TableScan: ");
        made.push_str(before);
        made.push_str(if begins && is_table { by } else { name });
        rest = after;
    }
    made + rest
}

/// Returns the expression with the parser's spaces and keywords; unchanged if it is invalid.
pub fn normal_text(text: &str) -> String {
    let parsed = millstream_base::panics::caught(|| parser(text).and_then(|mut parser| parser.parse_into_expr()));
    match parsed {
        Ok(Ok(parsed)) => parsed.expr.to_string(),
        _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::expression::Expression;
    use super::super::query::Query;
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn schema() -> SchemaRef {
        let field = |name: &str, kind| Field::new(name, kind, true);
        Arc::new(Schema::new(vec![
            field("x", DataType::Int64),
            field("y", DataType::Int64),
            field("k", DataType::Utf8),
            field("b", DataType::Boolean),
        ]))
    }

    fn normal(text: &str) -> Vec<(String, String)> {
        let form = Expression::new(text, &schema()).unwrap().normal().clone();
        form.terms.into_iter().map(|term| (term.text, term.columns.join(","))).collect()
    }

    /// Checkpoints contain digests of these strings: if one changes, `FORM` in `checkpoint/meaning` must, too.
    #[test]
    fn forms_do_not_change_from_version_to_version() {
        let cases = [("x > 5", "$0 > Int64(5)", "x"), ("k", "$0", "k")];
        for (text, form, columns) in cases {
            assert_eq!(normal(text), [(form.to_owned(), columns.to_owned())], "{text}");
        }
    }

    #[test]
    fn spelling_does_not_matter() {
        for same in ["x>5", " ( x > 5 ) ", "5 < x", "X_ > 5"] {
            let same = same.replace("X_", "\"x\"");
            assert_eq!(normal(&same), normal("x > 5"), "{same}");
        }
        assert_eq!(normal("x > 5 AND b"), [normal("x > 5"), normal("b")].concat());
        for other in ["x > 6", "x >= 5", "y > 5 or x > 5"] {
            assert_ne!(normal(other), normal("x > 5"), "{other}");
        }
        assert_eq!(normal_text("count( * )>1   and a"), "count(*) > 1 AND a");
    }

    #[test]
    fn queries_are_known_by_plan_and_columns() {
        let of = |table: &str, text: &str| {
            Query::new(text, vec![(table.to_owned(), schema())], &[], &[]).unwrap().normal().clone()
        };
        let form = of("s", "select k, sum(x) as n from s where y > 5 group by k");
        assert_eq!(form.columns, [["x", "y", "k"].map(str::to_owned).to_vec()]);
        assert_eq!(of("t-1", "SELECT t.k, sum(t.x) n FROM \"t-1\" t WHERE 5 < t.y GROUP BY t.k").columns, form.columns);
        assert_eq!(of("other", "select k, sum(x) as n\n from other where y>5 group by k"), form);
        assert_eq!(of("t-1", "select k, sum(x) as n from \"t-1\" where y>5 group by k"), form);
        assert_ne!(of("s", "select k, sum(x) as n from s where y > 6 group by k"), form);
    }
}
