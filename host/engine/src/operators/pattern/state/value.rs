//! Conditions and measures: expressions over a row and what they refer to of the rows of a match.

use super::layout::Layout;
use super::rows::PatternRows;
use super::taken::MatchedRow;
use crate::operators::aggregate::builtin::Builtin;
use crate::state::Slot;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use millstream_base::batch::group::Grouper;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{AggregateFunction, AggregateSpec};
use millstream_sql::expression::Expression;
use millstream_sql::references::{Reference, ReferringText};
use std::sync::Arc;

/// A condition or a measure, checked.
#[derive(Clone)]
pub struct Value {
    expression: Expression,
    /// The columns of the row at hand that it looks at, by their places in the layout.
    columns: Vec<usize>,
    references: Vec<RowsOfMatch>,
    /// The columns of the expression: those, then one for each reference.
    schema: SchemaRef,
}

/// What a reference is.
#[derive(Clone)]
enum RowsOfMatch {
    /// A column of one row.
    Row(WhichRow, usize),
    /// How many rows there are, of a step or of all.
    Count(Option<usize>),
    /// An aggregate of a column of the rows of a step.
    Aggregate(usize, usize, Box<OfMatches>),
}

/// An aggregate for several matches.
#[derive(Clone)]
struct OfMatches {
    /// With the number of the match as its key.
    by_match: Builtin,
    /// Of a match that has no such rows.
    alone: Builtin,
}

#[derive(Clone, Copy)]
enum WhichRow {
    Before,
    First(usize),
    Last(usize),
}

/// What an expression is computed for.
pub struct Item<'a> {
    /// The key.
    pub key: u32,
    /// The row at hand.
    pub slot: Slot,
    /// The rows of the match.
    pub taken: Option<&'a MatchedRow>,
}

impl Value {
    /// Checks a text against the columns of the layout. `steps` are the names of the steps that take rows; `is_fixed`: it must give the
    /// same whenever it is computed.
    pub fn new(text: &ReferringText, layout: &Layout, steps: &[String], is_fixed: bool) -> Result<Value> {
        let place = |name: &String| layout.schema.index_of(name).ok();
        let columns: Vec<usize> = text.columns.iter().filter_map(place).collect();
        let nullable = layout.nullable();
        let mut fields: Vec<Field> = columns.iter().map(|place| nullable.field(*place).clone()).collect();
        let mut references = Vec::new();
        for reference in &text.references {
            let (made, kind) = RowsOfMatch::of(reference, layout, steps)?;
            fields.push(Field::new(reference.name(), kind, true));
            references.push(made);
        }
        // Against all columns first, so that a message can tell which there are.
        let behind = fields.iter().skip(columns.len()).cloned();
        let all = nullable.fields().iter().map(|field| field.as_ref().clone()).chain(behind);
        text.compile(&Arc::new(Schema::new(all.collect::<Vec<_>>())), is_fixed)?;
        let schema = Arc::new(Schema::new(fields));
        Ok(Value { expression: text.compile(&schema, is_fixed)?, columns, references, schema })
    }

    /// The type of its values.
    pub fn data_type(&self) -> &DataType {
        self.expression.data_type()
    }

    /// Its values for rows alone, in the columns of the layout.
    pub fn of_rows(&self, context: BatchContext, rows: &RecordBatch) -> Result<ArrayRef> {
        let columns = rows.project(&self.columns).map_err(Error::arrow)?.columns().to_vec();
        self.values(context, columns, rows.num_rows())
    }

    /// Its values for matches.
    pub fn of_matches(&self, context: BatchContext, rows: &PatternRows, items: &[Item<'_>]) -> Result<ArrayRef> {
        let at_hand: Vec<Option<Slot>> = items.iter().map(|item| Some(item.slot)).collect();
        let own = self.columns.iter().map(|place| rows.column(*place, &at_hand));
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
    /// What a reference is, and its type.
    fn of(reference: &Reference, layout: &Layout, steps: &[String]) -> Result<(RowsOfMatch, DataType)> {
        let column = |name: &String| {
            let place = millstream_base::batch::types::column(&layout.schema, name)?;
            Ok::<_, Error>((place, layout.schema.field(place).data_type().clone()))
        };
        let step = |name: &String| {
            let place = steps.iter().position(|step| step == name);
            place.ok_or_else(|| Error::job(format!("no step `{name}` takes rows")))
        };
        let row = |which, name| column(name).map(|(place, kind)| (RowsOfMatch::Row(which, place), kind));
        match reference {
            Reference::Before { column } => row(WhichRow::Before, column),
            Reference::First { step: name, column } => row(WhichRow::First(step(name)?), column),
            Reference::Last { step: name, column, .. } => row(WhichRow::Last(step(name)?), column),
            Reference::Aggregate { step: of, column: None, .. } => {
                let of = of.as_ref().map(step).transpose()?;
                Ok((RowsOfMatch::Count(of), DataType::Int64))
            }
            Reference::Aggregate { function, step: of, column: Some(name), distinct } => {
                let of = step(of.as_ref().ok_or_else(|| Error::bug("an aggregate of no step"))?)?;
                let (place, kind) = column(name)?;
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
                Ok((RowsOfMatch::Aggregate(of, place, Box::new(OfMatches { by_match, alone })), kind))
            }
        }
    }

    fn values(&self, context: BatchContext, rows: &PatternRows, items: &[Item<'_>]) -> Result<ArrayRef> {
        match self {
            RowsOfMatch::Row(which, place) => {
                let slots: Vec<Option<Slot>> = items.iter().map(|item| which.slot(rows, item)).collect();
                rows.column(*place, &slots)
            }
            RowsOfMatch::Count(of) => {
                let counted = |item: &Item<'_>| match (of, item.taken) {
                    (_, None) => 0,
                    (None, Some(taken)) => taken.rows().count() as i64,
                    (Some(step), Some(taken)) => taken.rows().filter(|(_, by)| by == step).count() as i64,
                };
                Ok(Arc::new(Int64Array::from_iter_values(items.iter().map(counted))))
            }
            RowsOfMatch::Aggregate(step, place, of) => aggregated(context, rows, items, (*step, *place), of),
        }
    }
}

impl WhichRow {
    fn slot(self, rows: &PatternRows, item: &Item<'_>) -> Option<Slot> {
        let taken = item.taken?;
        let place = match self {
            WhichRow::Before => taken.row,
            WhichRow::First(step) => taken.of_step(step)?.0,
            WhichRow::Last(step) => taken.of_step(step)?.1,
        };
        Some(rows.get(item.key)?.at(place)?.slot)
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

/// An aggregate of the rows of a step and a column, of each match.
fn aggregated(
    context: BatchContext,
    rows: &PatternRows,
    items: &[Item<'_>],
    (step, place): (usize, usize),
    OfMatches { by_match, alone }: &OfMatches,
) -> Result<ArrayRef> {
    let (mut slots, mut numbers) = (Vec::new(), Vec::new());
    for (number, item) in (0i64..).zip(items) {
        let of_step = rows.slots(item.key, item.taken).into_iter().filter(|(_, by)| *by == step);
        slots.extend(of_step.map(|(slot, _)| Some(slot)));
        numbers.resize(slots.len(), number);
    }
    let values = rows.column(place, &slots)?;
    let fields = vec![
        Field::new("millstream_match", DataType::Int64, false),
        Field::new("value", values.data_type().clone(), true),
    ];
    let input = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(Int64Array::from(numbers)), values]);
    let mut grouper = Grouper::default();
    let (partial, _) = by_match.partial(context, &input.map_err(Error::arrow)?, &mut grouper)?;
    let results = by_match.finish(&[partial], &mut grouper)?;
    let nothing = alone.of_nothing()?;
    let of = results.column(0).as_primitive_opt::<Int64Type>().ok_or_else(|| Error::bug("results of no match"))?;
    // Matches without rows of the step have the value of nothing.
    let mut places = vec![(1, 0); items.len()];
    for (row, number) in of.values().iter().enumerate() {
        if let Some(place) = usize::try_from(*number).ok().and_then(|number| places.get_mut(number)) {
            *place = (0, row);
        }
    }
    interleave(&[results.column(1).as_ref(), nothing.column(0).as_ref()], &places).map_err(Error::arrow)
}
