//! Conditions and measures: expressions over a row and references to the rows of a match.

use super::layout::Layout;
use super::matched_row::MatchedRow;
use super::rows::PatternRows;
use crate::operators::aggregate::builtin::Builtin;
use crate::state::Slot;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_job::spec::{AggregateFunction, AggregateSpec};
use millstream_rows::batch::group::Grouper;
use millstream_sql::expression::Expression;
use millstream_sql::references::{Reference, ReferringText};
use std::sync::Arc;

/// A condition or a measure, checked.
#[derive(Clone)]
pub struct Value {
    expression: Expression,
    /// The columns of the current row that it reads, by their indexes in the layout.
    columns: Vec<usize>,
    references: Vec<RowsOfMatch>,
    /// The columns of the expression: those, then one per reference.
    schema: SchemaRef,
}

/// A reference to the rows of a match.
#[derive(Clone)]
enum RowsOfMatch {
    /// A column of one row.
    Row(RowReference, usize),
    /// Number of rows, of a step or of all.
    Count(Option<usize>),
    /// An aggregate of a column of the rows of a step.
    Aggregate(usize, usize, Box<MatchAggregates>),
}

/// An aggregate for several matches.
#[derive(Clone)]
struct MatchAggregates {
    /// Grouped by the number of the match.
    by_match: Builtin,
    /// For a match without such rows.
    alone: Builtin,
}

#[derive(Clone, Copy)]
enum RowReference {
    Before,
    First(usize),
    Last(usize),
}

/// What an expression is evaluated for.
pub struct Item<'a> {
    /// The key.
    pub key: u32,
    /// The current row.
    pub slot: Slot,
    /// The rows of the match.
    pub matched: Option<&'a MatchedRow>,
}

impl Value {
    /// Checks an expression against the columns of the layout. `steps` are the names of the steps that take rows. With `is_fixed` it must be
    /// deterministic.
    pub fn new(text: &ReferringText, layout: &Layout, steps: &[String], is_fixed: bool) -> Result<Value> {
        let index = |name: &String| layout.schema.index_of(name).ok();
        let columns: Vec<usize> = text.columns.iter().filter_map(index).collect();
        let nullable = layout.nullable();
        let mut fields: Vec<Field> = columns.iter().map(|index| nullable.field(*index).clone()).collect();
        let mut references = Vec::new();
        for reference in &text.references {
            let (made, kind) = RowsOfMatch::resolve(reference, layout, steps)?;
            fields.push(Field::new(reference.name(), kind, true));
            references.push(made);
        }
        // Against all columns first, so that error messages can list them.
        let reference_fields = fields.iter().skip(columns.len()).cloned();
        let all = nullable.fields().iter().map(|field| field.as_ref().clone()).chain(reference_fields);
        text.compile(&Arc::new(Schema::new(all.collect::<Vec<_>>())), is_fixed)?;
        let schema = Arc::new(Schema::new(fields));
        Ok(Value { expression: text.compile(&schema, is_fixed)?, columns, references, schema })
    }

    /// Returns the type of its values.
    pub fn data_type(&self) -> &DataType {
        self.expression.data_type()
    }

    /// Evaluates it for rows alone, in the columns of the layout.
    pub fn of_rows(&self, context: BatchContext, rows: &RecordBatch) -> Result<ArrayRef> {
        let columns = rows.project(&self.columns).map_err(Error::arrow)?.columns().to_vec();
        self.values(context, columns, rows.num_rows())
    }

    /// Evaluates it for matches.
    pub fn of_matches(&self, context: BatchContext, rows: &PatternRows, items: &[Item<'_>]) -> Result<ArrayRef> {
        let at_hand: Vec<Option<Slot>> = items.iter().map(|item| Some(item.slot)).collect();
        let own = self.columns.iter().map(|index| rows.column(*index, &at_hand));
        let of_match = self.references.iter().map(|reference| reference.values(context, rows, items));
        let columns = own.chain(of_match).collect::<Result<_>>()?;
        self.values(context, columns, items.len())
    }

    fn values(&self, context: BatchContext, columns: Vec<ArrayRef>, count: usize) -> Result<ArrayRef> {
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(Error::arrow)?;
        self.expression.evaluate(context, &rows)
    }
}

impl RowsOfMatch {
    /// Resolves a reference, and returns its type.
    fn resolve(reference: &Reference, layout: &Layout, steps: &[String]) -> Result<(RowsOfMatch, DataType)> {
        let column = |name: &String| {
            let index = millstream_rows::batch::types::column(&layout.schema, name)?;
            Ok::<_, Error>((index, layout.schema.field(index).data_type().clone()))
        };
        let step = |name: &String| {
            let index = steps.iter().position(|step| step == name);
            index.ok_or_else(|| Error::job(format!("no step `{name}` takes rows")))
        };
        let row = |which, name| column(name).map(|(index, kind)| (RowsOfMatch::Row(which, index), kind));
        match reference {
            Reference::Before { column } => row(RowReference::Before, column),
            Reference::First { step: name, column } => row(RowReference::First(step(name)?), column),
            Reference::Last { step: name, column, .. } => row(RowReference::Last(step(name)?), column),
            Reference::Aggregate { step: of, column: None, .. } => {
                let of = of.as_ref().map(step).transpose()?;
                Ok((RowsOfMatch::Count(of), DataType::Int64))
            }
            Reference::Aggregate { function, step: of, column: Some(name), distinct } => {
                let of = step(of.as_ref().ok_or_else(|| Error::bug("an aggregate of no step"))?)?;
                let (index, kind) = column(name)?;
                let aggregate = AggregateSpec {
                    output: reference.name(),
                    function: self::function(function)?,
                    column: Some(name.clone()),
                    distinct: *distinct,
                    filter: None,
                };
                let number = Field::new("millstream_match", DataType::Int64, false);
                let input = Arc::new(Schema::new(vec![number, Field::new(name, kind, true)]));
                let aggregate = [aggregate];
                let by_match = Builtin::new(&aggregate, vec![0], &input)?;
                let alone = Builtin::new(&aggregate, Vec::new(), &input)?;
                let kind = by_match.output().field(1).data_type().clone();
                Ok((RowsOfMatch::Aggregate(of, index, Box::new(MatchAggregates { by_match, alone })), kind))
            }
        }
    }

    fn values(&self, context: BatchContext, rows: &PatternRows, items: &[Item<'_>]) -> Result<ArrayRef> {
        match self {
            RowsOfMatch::Row(which, index) => {
                let slots: Vec<Option<Slot>> = items.iter().map(|item| which.slot(rows, item)).collect();
                rows.column(*index, &slots)
            }
            RowsOfMatch::Count(of) => {
                let counted = |item: &Item<'_>| match (of, item.matched) {
                    (_, None) => 0,
                    (None, Some(matched)) => matched.rows().count() as i64,
                    (Some(step), Some(matched)) => matched.rows().filter(|(_, by)| by == step).count() as i64,
                };
                Ok(Arc::new(Int64Array::from_iter_values(items.iter().map(counted))))
            }
            RowsOfMatch::Aggregate(step, index, of) => aggregated(context, rows, items, (*step, *index), of),
        }
    }
}

impl RowReference {
    fn slot(self, rows: &PatternRows, item: &Item<'_>) -> Option<Slot> {
        let matched = item.matched?;
        let index = match self {
            RowReference::Before => matched.row,
            RowReference::First(step) => matched.of_step(step)?.0,
            RowReference::Last(step) => matched.of_step(step)?.1,
        };
        Some(rows.get(item.key)?.at(index)?.slot)
    }
}

fn function(name: &str) -> Result<AggregateFunction> {
    Ok(match name {
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        "avg" => AggregateFunction::Avg,
        _ => return Err(Error::bug("an aggregate of no name")),
    })
}

/// Aggregates a column over the rows of a step, for each match.
fn aggregated(
    context: BatchContext,
    rows: &PatternRows,
    items: &[Item<'_>],
    (step, index): (usize, usize),
    MatchAggregates { by_match, alone }: &MatchAggregates,
) -> Result<ArrayRef> {
    let (mut slots, mut numbers) = (Vec::new(), Vec::new());
    for (number, item) in (0i64..).zip(items) {
        let of_step = rows.slots(item.key, item.matched).into_iter().filter(|(_, by)| *by == step);
        slots.extend(of_step.map(|(slot, _)| Some(slot)));
        numbers.resize(slots.len(), number);
    }
    let values = rows.column(index, &slots)?;
    let fields = vec![
        Field::new("millstream_match", DataType::Int64, false),
        Field::new("value", values.data_type().clone(), true),
    ];
    let input = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(Int64Array::from(numbers)), values]);
    let mut grouper = Grouper::default();
    let (partial, _) = by_match.partial(context, &input.map_err(Error::arrow)?, &mut grouper)?;
    let results = by_match.finish(&[partial], &mut grouper)?;
    let nothing = alone.empty_result()?;
    let of = results.column(0).as_primitive_opt::<Int64Type>().ok_or_else(|| Error::bug("results of no match"))?;
    // Matches without rows of the step have the value of no rows.
    let mut indexes = vec![(1, 0); items.len()];
    for (row, number) in of.values().iter().enumerate() {
        if let Some(index) = usize::try_from(*number).ok().and_then(|number| indexes.get_mut(number)) {
            *index = (0, row);
        }
    }
    interleave(&[results.column(1).as_ref(), nothing.column(0).as_ref()], &indexes).map_err(Error::arrow)
}
