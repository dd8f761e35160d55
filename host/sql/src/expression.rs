//! An SQL expression over the columns of one stream: `n > 0`, `price * amount`.

use super::batch_time::in_batch;
use super::budget;
use super::decimals;
use super::foreign::foreign_within;
use super::mistake::{self, mistake, place_of, told};
use super::normal::NormalForm;
use super::parser::parser;
use super::plan_thread::planned;
use super::semantics;
use super::session::{VisibleNames, parser_options, state};
use super::types::{KeptTypes, convert, ours};
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
use millstream_base::job::spec::SqlLimits;
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
    /// A column as it is.
    Column(usize),
    Compiled(Arc<dyn PhysicalExpr>),
}

impl Expression {
    /// Checks the expression against the columns that it may name. An error says where in the text what is wrong.
    pub fn new(text: &str, schema: &SchemaRef) -> Result<Expression> {
        // A name that is no identifier of SQL needs no quotes where it stands alone.
        if let Ok(place) = schema.index_of(text) {
            return Ok(Expression::column(place, schema));
        }
        let (text, schema) = (text.to_owned(), schema.clone());
        planned(move || Expression::of(&text, &schema))
    }

    pub(super) fn of(text: &str, schema: &SchemaRef) -> Result<Expression> {
        let names = VisibleNames::new(BTreeMap::new(), &[]);
        let parsed = parser(text).and_then(|mut parser| parser.parse_into_expr());
        let parsed = parsed.map_err(|error| mistake(text, &names, &error))?;
        if parsed.alias.is_some() {
            return Err(told(text, "a name with `as` has no use here; remove it", None));
        }
        let made = Compiler { text, names: &names, schema }.expression(parsed.expr)?;
        Ok(Expression { text: text.trim().into(), ..made })
    }

    /// Checks an expression that is parsed, with the text that messages show. `is_fixed`: it must give the same whenever it is computed.
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
            let words = "it uses the time of the batch or a random number, but must give the same result each time; \
                         compute that as a column in an earlier stage";
            return Err(told(&text, words, None));
        }
        let made = compiler.compile(logical, parsed)?;
        Ok(Expression { text, ..made })
    }

    /// Checks what `select` of SQL would hold: the columns, and what makes each.
    pub fn list(text: &str, schema: &SchemaRef) -> Result<(SchemaRef, Vec<Expression>)> {
        let (text, schema) = (text.to_owned(), schema.clone());
        planned(move || Expression::list_of(&text, &schema))
    }

    fn list_of(text: &str, schema: &SchemaRef) -> Result<(SchemaRef, Vec<Expression>)> {
        let names = VisibleNames::new(BTreeMap::new(), &[]);
        let wrong = |error: DataFusionError| mistake(text, &names, &error);
        let mut parser = parser(text).map_err(wrong)?;
        let items = parser.parser.parse_projection().map_err(|error| wrong(error.into()))?;
        let next = parser.parser.peek_token();
        if next.token != Token::EOF {
            let span = Span::try_from_sqlparser_span(next.span);
            return Err(told(text, "write only what is between `select` and `from`", span));
        }
        let compiler = Compiler { text, names: &names, schema };
        let (mut fields, mut made) = (Vec::new(), Vec::new());
        for item in items {
            for (name, expression) in compiler.item(item)? {
                let nullable = match expression.work {
                    ExpressionStep::Column(place) => schema.field(place).is_nullable(),
                    ExpressionStep::Compiled(_) => true,
                };
                fields.push(Field::new(name, expression.data_type.clone(), nullable));
                made.push(expression);
            }
        }
        Ok((Arc::new(Schema::new(fields)), made))
    }

    fn column(place: usize, schema: &Schema) -> Expression {
        let field = schema.field(place);
        Expression {
            text: field.name().as_str().into(),
            work: ExpressionStep::Column(place),
            data_type: ours(field.data_type(), KeptTypes::of([schema])),
            normal: NormalForm::column(field.name()).into(),
        }
    }

    /// The place of the column that it passes on as it is, if that is all that it does.
    pub fn column_place(&self) -> Option<usize> {
        match self.work {
            ExpressionStep::Column(place) => Some(place),
            ExpressionStep::Compiled(_) => None,
        }
    }

    /// The expression in normal form.
    pub fn normal(&self) -> &NormalForm {
        &self.normal
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of its values.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Its values, one a row. An error where a row has none (a division by zero), which names the expression.
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
            ExpressionStep::Column(place) => rows.columns().get(*place).cloned(),
            ExpressionStep::Compiled(compiled) => {
                let compute = || compiled.evaluate(rows)?.into_array(rows.num_rows());
                let values = in_batch(context, || budget::within(limits, compute));
                Some(values.map_err(|error| self.failed(context, &error))?)
            }
        };
        let values = values.ok_or_else(|| Error::bug("rows without the column of an expression"))?;
        convert(values, &self.data_type).map_err(|error| self.failed(context, &error.into()))
    }

    fn failed(&self, context: BatchContext, error: &DataFusionError) -> Error {
        if let Some(own) = mistake::own(error).filter(|own| own.kind == Kind::Memory) {
            return own.clone();
        }
        let words = mistake::runtime_words(error);
        let words = format!("batch {}: `{}` cannot be computed: {words}", context.id, self.text);
        if budget::is_stop(error) { Error::environment(words) } else { Error::plugin(words) }
    }
}

/// Makes expressions over one schema.
struct Compiler<'a> {
    text: &'a str,
    names: &'a VisibleNames,
    schema: &'a SchemaRef,
}

impl Compiler<'_> {
    /// The columns of one item of a list.
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
                    .map(|(place, field)| (field.name().clone(), Expression::column(place, self.schema)))
                    .collect())
            }
            ast::SelectItem::Wildcard(options) => {
                let out = options.opt_except.as_ref().map(|except| {
                    std::iter::once(&except.first_element).chain(&except.additional_elements).cloned().collect()
                });
                let Some(out) = out.or_else(|| options.opt_exclude.as_ref().and_then(excluded)) else {
                    return Err(told(self.text, "only `except (…)` may follow `*`", None));
                };
                self.all_but(&out)
            }
            other => Err(told(self.text, &format!("`{other}` is not allowed in `select`; name the columns"), None)),
        }
    }

    fn all_but(&self, out: &[ast::Ident]) -> Result<Vec<(String, Expression)>> {
        for name in out {
            self.expression(ast::Expr::Identifier(name.clone()))?;
        }
        let columns = self.schema.fields().iter().enumerate();
        let kept = columns.filter(|(_, field)| out.iter().all(|name| name.value != *field.name()));
        Ok(kept.map(|(place, field)| (field.name().clone(), Expression::column(place, self.schema))).collect())
    }

    fn expression(&self, parsed: ast::Expr) -> Result<Expression> {
        self.compile(self.logical(parsed.clone())?, &parsed)
    }

    fn logical(&self, parsed: ast::Expr) -> Result<Expr> {
        if let Some((word, wrong)) = foreign_within(&parsed) {
            return Err(told(self.text, &wrong, place_of(self.text, word)));
        }
        let planner = SqlToRel::new_with_options(self.names, parser_options());
        let planned =
            self.columns().and_then(|columns| planner.sql_to_expr(parsed, &columns, &mut PlannerContext::new()));
        planned.map_err(|error| mistake(self.text, self.names, &error))
    }

    fn columns(&self) -> Result<DFSchema, DataFusionError> {
        DFSchema::try_from(self.schema.clone())
    }

    fn compile(&self, logical: Expr, parsed: &ast::Expr) -> Result<Expression> {
        let span = Span::try_from_sqlparser_span(parsed.span());
        if let Some(what) = foreign(&logical) {
            return Err(told(self.text, &format!("{what} is not allowed here, as it needs more than one row"), span));
        }
        if let Expr::Column(column) = &logical
            && let Ok(place) = self.schema.index_of(&column.name)
        {
            return Ok(Expression::column(place, self.schema));
        }
        let text = parsed.to_string().into();
        let compile = || {
            let columns = self.columns()?;
            let logical = simplified(logical, &columns)?;
            let normal = NormalForm::of(&logical);
            let compiled = state().create_physical_expr(logical, &columns)?;
            let kind = ours(&compiled.data_type(self.schema)?, KeptTypes::of([self.schema.as_ref()]));
            Ok((compiled, kind, normal))
        };
        let (compiled, data_type, normal) = compile().map_err(|error: DataFusionError| {
            let error = mistake(self.text, self.names, &error);
            if error.message.contains('^') { error } else { told(self.text, first_line(&error.message), span) }
        })?;
        Ok(Expression { text, work: ExpressionStep::Compiled(compiled), data_type, normal: normal.into() })
    }
}

/// Some functions cannot be computed, and are written in terms of others: `coalesce` as `case`.
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

/// What an expression over single rows cannot hold.
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
