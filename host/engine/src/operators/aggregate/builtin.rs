//! The built-in aggregate functions of a stage.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{CastOptions, cast, cast_with_options, concat_batches, take, take_arrays};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_job::spec::{AggregateFunction, AggregateSpec};
use millstream_rows::batch::group::{Grouped, Grouper};
use millstream_rows::batch::keys::{KeyHash, Keys, canonical_column};
use millstream_rows::batch::types::{self, ColumnType};
use millstream_sql::expression::Expression;
use std::sync::Arc;

mod accumulators;
#[cfg(any(test, not(feature = "sql")))]
mod small;
mod stored;
mod tally;
#[cfg(feature = "sql")]
mod total;

#[cfg(not(feature = "sql"))]
use small::{Accumulator, Total};
pub use tally::Tally;
#[cfg(feature = "sql")]
use total::{Accumulator, Total};

/// The aggregates of one stage, checked against its input.
#[derive(Clone)]
pub struct Builtin {
    keys: Vec<usize>,
    functions: Vec<Function>,
    partial: SchemaRef,
    output: SchemaRef,
    /// Whether windows of processing time subtract what leaves them; keys without rows stay.
    pub inverse: bool,
    /// The column with each row's operation; totals subtract deleted rows.
    pub op: Option<usize>,
    /// Whether the values of such rows are stored, because a function cannot subtract.
    pub keeps_values: bool,
    /// The columns of changelog rows (insert/delete); set if totals are emitted as changes.
    pub changes: Option<SchemaRef>,
}

/// One aggregate function and its argument.
#[derive(Clone)]
struct Function {
    total: Total,
    /// The argument's column in the stage's input; `None` for `count(*)`.
    column: Option<usize>,
    /// The name of that column.
    column_name: Option<String>,
    /// Type of that column; any type for `count(*)`.
    given: DataType,
    /// The type to which the argument is converted.
    argument: DataType,
    /// Conversion of values before the function, and of results after it.
    convert: Convert,
    /// The output column.
    name: String,
    /// Number of columns of its partial result.
    state_columns: usize,
    /// Types of the columns of the partial result.
    states: Vec<DataType>,
    function: AggregateFunction,
    distinct: bool,
    /// Condition on the rows, with its text; `None` takes all rows.
    filter: Option<(String, Expression)>,
}

/// Identity of a function, independent of its column's name.
pub struct FunctionParts<'a> {
    /// The output column.
    pub output: &'a str,
    /// The function and the type of its argument.
    pub signature: String,
    /// The call, as users see it.
    pub shown: String,
    /// The column of the input; `None` for `count(*)`.
    pub column: Option<&'a str>,
    /// Condition on the rows.
    pub filter: Option<&'a Expression>,
}

/// Conversion of values before DataFusion's function, and of its results, if that function alone is not enough.
#[derive(Clone, Copy, PartialEq)]
enum Convert {
    /// The argument is only cast to the function's type.
    None,
    /// `min` and `max` of floats compare integers of the same order. NaN is greater than all others, as in Spark. Compared as floats, the result
    /// would depend on the position of a NaN.
    Ordered,
    /// `count(distinct …)` of floats treats 0 and -0 as one value, and all NaNs as one, as keys do.
    Canonical,
    /// `sum` of int64 uses 128 bits, so that an overflow is an error and not a wrong number.
    Wide,
}

impl Builtin {
    /// Checks columns and types. `keys` are the indexes of the key columns in `input`. Errors name the output column.
    pub fn new(specs: &[AggregateSpec], keys: Vec<usize>, input: &SchemaRef) -> Result<Builtin> {
        let mut partial: Vec<Field> = keys.iter().map(|key| input.field(*key).clone()).collect();
        let mut output = partial.clone();
        let mut functions = Vec::new();
        for spec in specs {
            let function = Function::new(spec, input)?;
            for (index, state) in function.states.iter().enumerate() {
                partial.push(Field::new(format!("{}#{index}", spec.output), state.clone(), true));
            }
            output.push(Field::new(&spec.output, function.output(), true));
            functions.push(function);
        }
        let (partial, output) = (Arc::new(Schema::new(partial)), Arc::new(Schema::new(output)));
        Ok(Builtin { keys, functions, partial, output, inverse: false, op: None, keeps_values: false, changes: None })
    }

    /// Returns the stage's output columns: key columns, then one column per aggregate.
    pub fn output(&self) -> SchemaRef {
        self.output.clone()
    }

    /// Returns the number of key columns at the start of a partial result.
    pub fn key_columns(&self) -> usize {
        self.keys.len()
    }

    /// Returns the partial result of rows: one row per key, and the hashes of the keys.
    pub fn partial(
        &self,
        context: BatchContext,
        rows: &RecordBatch,
        grouper: &mut Grouper,
    ) -> Result<(RecordBatch, Vec<KeyHash>)> {
        if rows.num_rows() == 0 {
            return Ok((RecordBatch::new_empty(self.partial.clone()), Vec::new()));
        }
        let keys: Vec<ArrayRef> = self.keys.iter().map(|key| canonical_column(rows.column(*key))).collect();
        let encoded = Keys::encode(&keys, rows.num_rows()).map_err(Error::arrow)?;
        let mut accumulators = self.functions.iter().map(Function::accumulator).collect::<Result<Vec<_>>>()?;
        let values = self.functions.iter().map(|function| function.values(rows)).collect::<Result<Vec<_>>>()?;
        let taken =
            self.functions.iter().map(|function| function.rows_counted(context, rows)).collect::<Result<Vec<_>>>()?;
        let mut groups = if keys.is_empty() { Grouped::one_group(0) } else { Grouped::default() };
        grouper.begin();
        for start in (0..rows.num_rows()).step_by(ROWS_AT_ONCE) {
            let end = rows.num_rows().min(start + ROWS_AT_ONCE);
            if keys.is_empty() {
                groups.of_row.resize(end - start, 0);
            } else {
                grouper.extend(&encoded, start..end, &mut groups);
            }
            for ((accumulator, values), taken) in accumulators.iter_mut().zip(&values).zip(&taken) {
                let values = values.slice(start, end - start);
                let taken = taken.as_ref().map(|taken| taken.slice(start, end - start));
                let count = groups.count();
                accumulator.update(values, &groups.of_row, taken.as_ref(), count)?;
            }
        }
        let mut columns = take_arrays(&keys, &UInt32Array::from(groups.first_rows), None).map_err(Error::arrow)?;
        for mut accumulator in accumulators {
            columns.extend(accumulator.states()?);
        }
        Ok((RecordBatch::try_new(self.partial.clone(), columns).map_err(Error::arrow)?, groups.hashes))
    }

    /// Merges partial results in the given order: one row per key, or one row if there is no key.
    pub fn finish(&self, partials: &[RecordBatch], grouper: &mut Grouper) -> Result<RecordBatch> {
        let all = concat_batches(&self.partial, partials).map_err(Error::arrow)?;
        let key_count = self.keys.len();
        if all.num_rows() == 0 {
            let nothing = || Ok(RecordBatch::new_empty(self.output.clone()));
            return if key_count == 0 { self.empty_result() } else { nothing() };
        }
        let (groups, order) = group(&all.columns()[..key_count], all.num_rows(), grouper)?;
        let rows = UInt32Array::from_iter_values(order.iter().map(|group| groups.first_rows[*group as usize]));
        let mut columns = take_arrays(&all.columns()[..key_count], &rows, None).map_err(Error::arrow)?;
        let order = UInt32Array::from(order);
        let mut at = key_count;
        for function in &self.functions {
            let mut accumulator = function.accumulator()?;
            let states = &all.columns()[at..at + function.state_columns];
            at += function.state_columns;
            accumulator.merge(states, &groups.of_row, groups.count())?;
            let values = function.result(accumulator.results()?)?;
            columns.push(take(&values, &order, None).map_err(Error::arrow)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(order.len()));
        RecordBatch::try_new_with_options(self.output.clone(), columns, &options).map_err(Error::arrow)
    }

    /// Returns the row of a batch without rows, as in SQL: counts are 0, all else is null. Group accumulators assume that each group has a row.
    pub fn empty_result(&self) -> Result<RecordBatch> {
        let result = |function: &Function| function.result(function.total.empty_result()?);
        let columns = self.functions.iter().map(result).collect::<Result<_>>()?;
        RecordBatch::try_new(self.output.clone(), columns).map_err(Error::arrow)
    }
}

/// A decimal with up to this many digits is summed with ten more digits, as in SQL. No realistic number of rows overflows that.
const SUM_DIGITS_MAX: u8 = 28;

/// Rows that are grouped and aggregated together. Their groups fit into the processor's nearest cache.
const ROWS_AT_ONCE: usize = 4096;

/// Groups rows by these key columns and orders the groups; without key columns there is one group.
fn group(keys: &[ArrayRef], rows: usize, grouper: &mut Grouper) -> Result<(Grouped, Vec<u32>)> {
    if keys.is_empty() {
        return Ok((Grouped::one_group(rows), vec![0]));
    }
    let keys = Keys::encode(keys, rows).map_err(Error::arrow)?;
    let groups = grouper.group(&keys);
    let order = groups.sorted(&keys);
    Ok((groups, order))
}

impl Function {
    fn new(spec: &AggregateSpec, input: &SchemaRef) -> Result<Function> {
        let column = match &spec.column {
            None => None,
            Some(name) => Some(types::column(input, name).map_err(|e| e.within(format!("`{}`", spec.output)))?),
        };
        let given = column.map_or(DataType::Boolean, |column| input.field(column).data_type().clone());
        let (argument, convert) = match (spec.function, argument_type(spec, &given)?) {
            (AggregateFunction::Min | AggregateFunction::Max, DataType::Float64) => (DataType::Int64, Convert::Ordered),
            (AggregateFunction::Count, DataType::Float64) if spec.distinct => (DataType::Float64, Convert::Canonical),
            (AggregateFunction::Sum, DataType::Int64) => (DataType::Decimal128(19, 0), Convert::Wide),
            (_, argument) => (argument, Convert::None),
        };
        let total = Total::new(spec.function, &argument, column.is_some(), spec.distinct);
        let total = total.map_err(|error| error.within(format!("`{}`", spec.output)))?;
        let states = total.states()?;
        Ok(Function {
            total,
            column,
            column_name: spec.column.clone(),
            given,
            argument,
            convert,
            name: spec.output.clone(),
            state_columns: states.len(),
            states,
            function: spec.function,
            distinct: spec.distinct,
            filter: filter(spec, input)?,
        })
    }

    fn accumulator(&self) -> Result<Accumulator> {
        self.total.accumulator()
    }

    /// Returns the type of its result.
    fn output(&self) -> DataType {
        match self.convert {
            Convert::Ordered => DataType::Float64,
            Convert::Wide => DataType::Int64,
            Convert::None | Convert::Canonical => self.total.output(),
        }
    }

    /// Converts its results to the output type.
    fn result(&self, values: ArrayRef) -> Result<ArrayRef> {
        match self.convert {
            Convert::Ordered => Ok(unordered(&values)),
            Convert::Wide => {
                let exact = CastOptions { safe: false, ..CastOptions::default() };
                cast_with_options(&values, &DataType::Int64, &exact).map_err(|_| self.does_not_fit())
            }
            Convert::None | Convert::Canonical => Ok(values),
        }
    }

    fn does_not_fit(&self) -> Error {
        Error::plugin(format!(
            "`{}`: the sum does not fit {}; make the column float64, or the batches smaller",
            self.name,
            ColumnType::from_arrow(&self.output())
        ))
    }

    /// Returns which rows it takes; `None` means all.
    fn rows_counted(&self, context: BatchContext, rows: &RecordBatch) -> Result<Option<BooleanArray>> {
        let Some((_, filter)) = &self.filter else { return Ok(None) };
        let taken = filter.evaluate(context, rows).map_err(|error| error.within(format!("`{}`", self.name)))?;
        let taken = taken.as_boolean_opt().ok_or_else(|| Error::bug("a filter that is neither true nor false"))?;
        // A row with a null condition is not taken.
        Ok(Some(match taken.nulls() {
            None => taken.clone(),
            Some(nulls) => BooleanArray::new(taken.values() & nulls.inner(), None),
        }))
    }

    /// Returns the argument's values. `count(*)` ignores values, so any column without nulls serves.
    fn values(&self, rows: &RecordBatch) -> Result<ArrayRef> {
        match self.column {
            None => Ok(Arc::new(BooleanArray::new(BooleanBuffer::new_unset(rows.num_rows()), None))),
            Some(column) if self.convert == Convert::Ordered => Ok(ordered(rows.column(column))),
            Some(column) if self.convert == Convert::Canonical => Ok(canonical_column(rows.column(column))),
            Some(column) if rows.column(column).data_type() == &self.argument => Ok(rows.column(column).clone()),
            Some(column) => cast(rows.column(column), &self.argument).map_err(Error::arrow),
        }
    }
}

/// Converts floats to integers of the same order. All NaNs become one value, greater than all others.
fn ordered(column: &ArrayRef) -> ArrayRef {
    let number = |value: f64| swap_order(if value.is_nan() { f64::NAN } else { value }.to_bits() as i64);
    match column.as_primitive_opt::<Float64Type>() {
        Some(values) => Arc::new(values.unary::<_, Int64Type>(number)),
        None => column.clone(),
    }
}

/// Reverses [`ordered`].
fn unordered(column: &ArrayRef) -> ArrayRef {
    let float = |value: i64| f64::from_bits(swap_order(value) as u64);
    match column.as_primitive_opt::<Int64Type>() {
        Some(values) => Arc::new(values.unary::<_, Float64Type>(float)),
        None => column.clone(),
    }
}

/// Maps the bits of a float to an integer of the same order, and back. Below zero the bits of a float grow away from zero.
fn swap_order(bits: i64) -> i64 {
    bits ^ ((bits >> 63) & i64::MAX)
}

/// Compiles the condition of a function.
fn filter(spec: &AggregateSpec, input: &SchemaRef) -> Result<Option<(String, Expression)>> {
    let Some(text) = &spec.filter else { return Ok(None) };
    let within = |error: Error| error.within(format!("`{}`: filter", spec.output));
    let filter = Expression::new(text, input).map_err(within)?;
    if filter.data_type() != &DataType::Boolean {
        let kind = ColumnType::from_arrow(filter.data_type());
        let message = format!("`{text}` is {kind}, and must be true or false, for example \"price > 10\"");
        return Err(within(Error::job(message)));
    }
    Ok(Some((text.clone(), filter)))
}

/// Returns the type in which a function takes its argument, or an error if it does not support it.
fn argument_type(spec: &AggregateSpec, given: &DataType) -> Result<DataType> {
    let kind = ColumnType::from_arrow(given);
    match (spec.function, &kind) {
        (AggregateFunction::Sum, ColumnType::Int64 | ColumnType::Float64) => Ok(given.clone()),
        (AggregateFunction::Avg, ColumnType::Int64 | ColumnType::Float64) => Ok(DataType::Float64),
        (AggregateFunction::Sum | AggregateFunction::Avg, ColumnType::Arrow(DataType::Decimal128(digits, _))) => {
            if *digits > SUM_DIGITS_MAX {
                return Err(Error::job(format!(
                    "`{}`: column `{}` is {kind}, and sum and avg take decimals of at most {SUM_DIGITS_MAX} digits, \
                     because a sum has ten more; convert it in a stage with `select`",
                    spec.output,
                    spec.column.as_deref().unwrap_or("*"),
                )));
            }
            Ok(given.clone())
        }
        (AggregateFunction::Sum | AggregateFunction::Avg, _) => Err(Error::job(format!(
            "`{}`: column `{}` is {kind}, and sum and avg need int64, float64 or a decimal",
            spec.output,
            spec.column.as_deref().unwrap_or("*"),
        ))),
        (_, kind) if !kind.is_scalar() => Err(Error::job(format!(
            "`{}`: column `{}` is {kind}, which the built-in aggregates do not support; use a plugin",
            spec.output,
            spec.column.as_deref().unwrap_or("*"),
        ))),
        _ => Ok(given.clone()),
    }
}
