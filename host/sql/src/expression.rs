//! An SQL expression over the columns of one stream: `n > 0`, `price * amount`.

use super::batch_time::in_batch;
use super::budget;
use super::decimals;
use super::foreign::foreign_within;
use super::normal::NormalForm;
use super::parser::parser;
use super::plan_thread::planned;
use super::semantics;
use super::session::{VisibleNames, parser_options, state};
use super::sql_error::{self, error_at, to_error, word_span};
use super::types::{PreservedTypes, convert, to_job_type};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, DataFusionError, Span};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::ast::Spanned as _;
use datafusion::sql::sqlparser::tokenizer::Token;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Kind, Result};
use millstream_job::spec::SqlLimits;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A checked expression. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Arc<str>,
    work: ExpressionStep,
    data_type: DataType,
    normal: Arc<NormalForm>,
}

#[derive(Clone, Debug)]
enum ExpressionStep {
    /// A plain column.
    Column(usize),
    Compiled(Arc<dyn PhysicalExpr>),
}

impl Expression {
    /// Checks the expression against the available columns. An error points into the text.
    pub fn new(text: &str, schema: &SchemaRef) -> Result<Expression> {
        // A name that is not an SQL identifier needs no quotes if it is the entire text.
        if let Ok(index) = schema.index_of(text) {
            return Ok(Expression::column(index, schema));
        }
        let (text, schema) = (text.to_owned(), schema.clone());
        planned(move || Expression::parse(&text, &schema))
    }

    pub(super) fn parse(text: &str, schema: &SchemaRef) -> Result<Expression> {
        let names = VisibleNames::new(BTreeMap::new(), &[]);
        let parsed = parser(text).and_then(|mut parser| parser.parse_into_expr());
        let parsed = parsed.map_err(|error| to_error(text, &names, &error))?;
        if parsed.alias.is_some() {
            return Err(error_at(text, "a name with `as` is not allowed here; remove it", None));
        }
        let made = Compiler { text, names: &names, schema }.expression(parsed.expr)?;
        Ok(Expression { text: text.trim().into(), ..made })
    }

    /// Checks a parsed expression; messages show `text`. With `is_fixed` it must be deterministic.
    pub(super) fn of_parsed(
        text: Arc<str>,
        parsed: &ast::Expr,
        schema: &SchemaRef,
        is_fixed: bool,
    ) -> Result<Expression> {
        let names = VisibleNames::new(BTreeMap::new(), &[]);
        let compiler = Compiler { text: &text, names: &names, schema };
        let logical = compiler.logical(parsed.clone())?;
        if is_fixed && logical.is_volatile() {
            let reason = "it uses the time of the batch or a random number, but must give the same result each time; \
                         compute that as a column in an earlier stage";
            return Err(error_at(&text, reason, None));
        }
        let made = compiler.compile(logical, parsed)?;
        Ok(Expression { text, ..made })
    }

    /// Checks the list of an SQL `select`: the columns, and their expressions.
    pub fn list(text: &str, schema: &SchemaRef) -> Result<(SchemaRef, Vec<Expression>)> {
        let (text, schema) = (text.to_owned(), schema.clone());
        planned(move || Expression::list_of(&text, &schema))
    }

    fn list_of(text: &str, schema: &SchemaRef) -> Result<(SchemaRef, Vec<Expression>)> {
        let names = VisibleNames::new(BTreeMap::new(), &[]);
        let wrong = |error: DataFusionError| to_error(text, &names, &error);
        let mut parser = parser(text).map_err(wrong)?;
        let items = parser.parser.parse_projection().map_err(|error| wrong(error.into()))?;
        let next = parser.parser.peek_token();
        if next.token != Token::EOF {
            let span = Span::try_from_sqlparser_span(next.span);
            return Err(error_at(text, "write only what is between `select` and `from`", span));
        }
        let compiler = Compiler { text, names: &names, schema };
        let (mut fields, mut made) = (Vec::new(), Vec::new());
        for item in items {
            for (name, expression) in compiler.item(item)? {
                let nullable = match expression.work {
                    ExpressionStep::Column(index) => schema.field(index).is_nullable(),
                    ExpressionStep::Compiled(_) => true,
                };
                fields.push(Field::new(name, expression.data_type.clone(), nullable));
                made.push(expression);
            }
        }
        Ok((Arc::new(Schema::new(fields)), made))
    }

    fn column(index: usize, schema: &Schema) -> Expression {
        let field = schema.field(index);
        Expression {
            text: field.name().as_str().into(),
            work: ExpressionStep::Column(index),
            data_type: to_job_type(field.data_type(), PreservedTypes::new([schema])),
            normal: NormalForm::column(field.name()).into(),
        }
    }

    /// Returns the index of the column, if the expression is a plain column.
    pub fn column_index(&self) -> Option<usize> {
        match self.work {
            ExpressionStep::Column(index) => Some(index),
            ExpressionStep::Compiled(_) => None,
        }
    }

    /// Returns the expression in normal form.
    pub fn normal(&self) -> &NormalForm {
        &self.normal
    }

    /// Returns the expression as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the type of its values.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Returns its values, one per row. Fails if a row has none (a division by zero); the error names the expression.
    pub fn evaluate(&self, context: BatchContext, rows: &RecordBatch) -> Result<ArrayRef> {
        self.evaluate_within(context, rows, SqlLimits::default())
    }

    pub(super) fn evaluate_within(
        &self,
        context: BatchContext,
        rows: &RecordBatch,
        limits: SqlLimits,
    ) -> Result<ArrayRef> {
        let values = match &self.work {
            ExpressionStep::Column(index) => rows.columns().get(*index).cloned(),
            ExpressionStep::Compiled(compiled) => {
                let compute = || compiled.evaluate(rows)?.into_array(rows.num_rows());
                let values = in_batch(context, || budget::run_within(limits, compute));
                Some(values.map_err(|error| self.failed(context, &error))?)
            }
        };
        let values = values.ok_or_else(|| Error::bug("rows without the column of an expression"))?;
        convert(values, &self.data_type).map_err(|error| self.failed(context, &error.into()))
    }

    fn failed(&self, context: BatchContext, error: &DataFusionError) -> Error {
        if let Some(own) = sql_error::own_error(error).filter(|own| own.kind == Kind::Memory) {
            return own.clone();
        }
        let reason = sql_error::runtime_message(error);
        let reason = format!("batch {}: `{}` cannot be computed: {reason}", context.id, self.text);
        if budget::is_stop(error) { Error::environment(reason) } else { Error::plugin(reason) }
    }
}

/// Compiles expressions over one schema.
struct Compiler<'a> {
    text: &'a str,
    names: &'a VisibleNames,
    schema: &'a SchemaRef,
}

impl Compiler<'_> {
    /// Returns the columns of one item of a list.
    fn item(&self, item: ast::SelectItem) -> Result<Vec<(String, Expression)>> {
        match item {
            ast::SelectItem::UnnamedExpr(parsed) => {
                let logical = self.logical(parsed.clone())?;
                let name = logical.schema_name().to_string();
                Ok(vec![(name, self.compile(logical, &parsed)?)])
            }
            ast::SelectItem::ExprWithAlias { expr, alias } => Ok(vec![(alias.value, self.expression(expr)?)]),
            ast::SelectItem::Wildcard(options) if options == plain_wildcard(&options) => {
                let columns = self.schema.fields().iter().enumerate();
                Ok(columns
                    .map(|(index, field)| (field.name().clone(), Expression::column(index, self.schema)))
                    .collect())
            }
            ast::SelectItem::Wildcard(options) => {
                let out = options.opt_except.as_ref().map(|except| {
                    std::iter::once(&except.first_element).chain(&except.additional_elements).cloned().collect()
                });
                let Some(out) = out.or_else(|| options.opt_exclude.as_ref().and_then(excluded)) else {
                    return Err(error_at(self.text, "only `except (…)` may follow `*`", None));
                };
                self.all_but(&out)
            }
            other => Err(error_at(self.text, &format!("`{other}` is not allowed in `select`; name the columns"), None)),
        }
    }

    fn all_but(&self, out: &[ast::Ident]) -> Result<Vec<(String, Expression)>> {
        for name in out {
            self.expression(ast::Expr::Identifier(name.clone()))?;
        }
        let columns = self.schema.fields().iter().enumerate();
        let kept = columns.filter(|(_, field)| out.iter().all(|name| name.value != *field.name()));
        Ok(kept.map(|(index, field)| (field.name().clone(), Expression::column(index, self.schema))).collect())
    }

    fn expression(&self, parsed: ast::Expr) -> Result<Expression> {
        self.compile(self.logical(parsed.clone())?, &parsed)
    }

    fn logical(&self, parsed: ast::Expr) -> Result<Expr> {
        if let Some((word, wrong)) = foreign_within(&parsed) {
            return Err(error_at(self.text, &wrong, word_span(self.text, word)));
        }
        let planner = SqlToRel::new_with_options(self.names, parser_options());
        let planned =
            self.columns().and_then(|columns| planner.sql_to_expr(parsed, &columns, &mut PlannerContext::new()));
        planned.map_err(|error| to_error(self.text, self.names, &error))
    }

    fn columns(&self) -> Result<DFSchema, DataFusionError> {
        DFSchema::try_from(self.schema.clone())
    }

    fn compile(&self, logical: Expr, parsed: &ast::Expr) -> Result<Expression> {
        let span = Span::try_from_sqlparser_span(parsed.span());
        if let Some(what) = foreign(&logical) {
            return Err(error_at(
                self.text,
                &format!("{what} is not allowed here, as it needs more than one row"),
                span,
            ));
        }
        if let Expr::Column(column) = &logical
            && let Ok(index) = self.schema.index_of(&column.name)
        {
            return Ok(Expression::column(index, self.schema));
        }
        let text = parsed.to_string().into();
        let compile = || {
            let columns = self.columns()?;
            let logical = simplified(logical, &columns)?;
            let normal = NormalForm::new(&logical);
            let compiled = state().create_physical_expr(logical, &columns)?;
            let kind = to_job_type(&compiled.data_type(self.schema)?, PreservedTypes::new([self.schema.as_ref()]));
            Ok((compiled, kind, normal))
        };
        let (compiled, data_type, normal) = compile().map_err(|error: DataFusionError| {
            let error = to_error(self.text, self.names, &error);
            if error.message.contains('^') { error } else { error_at(self.text, first_line(&error.message), span) }
        })?;
        Ok(Expression { text, work: ExpressionStep::Compiled(compiled), data_type, normal: normal.into() })
    }
}

/// Rewrites functions that cannot be computed directly: `coalesce` becomes `case`.
fn simplified(expression: Expr, columns: &DFSchema) -> Result<Expr, DataFusionError> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(columns.clone()))
        .with_config_options(state().config_options().clone())
        .build();
    let simplifier = ExprSimplifier::new(context);
    let coerced = simplifier.coerce(decimals::expression(expression, columns)?, columns)?;
    simplifier.simplify(semantics::expression(coerced, columns)?)
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// Returns what is not allowed in an expression over single rows.
fn foreign(expression: &Expr) -> Option<&'static str> {
    let mut found = None;
    let _ = expression.exists(|part| {
        found = match part {
            Expr::AggregateFunction(_) => Some("an aggregate"),
            Expr::WindowFunction(_) => Some("a window function"),
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => {
                Some("a subquery")
            }
            Expr::Unnest(_) => Some("`unnest`"),
            _ => None,
        };
        Ok(found.is_some())
    });
    found
}

fn plain_wildcard(options: &ast::WildcardAdditionalOptions) -> ast::WildcardAdditionalOptions {
    ast::WildcardAdditionalOptions { wildcard_token: options.wildcard_token.clone(), ..Default::default() }
}

fn excluded(exclude: &ast::ExcludeSelectItem) -> Option<Vec<ast::Ident>> {
    let name = |name: &ast::ObjectName| name.0.first().and_then(|part| part.as_ident().cloned());
    match exclude {
        ast::ExcludeSelectItem::Single(one) => Some(vec![name(one)?]),
        ast::ExcludeSelectItem::Multiple(many) => many.iter().map(name).collect(),
    }
}

#[cfg(test)]
mod tests;
