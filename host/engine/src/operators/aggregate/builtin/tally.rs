//! Totals of changelog rows by functions that cannot subtract: `min`, `max`, `count(distinct …)` and means. In addition to counts and exact sums, the
//! values of each key are stored, each with its count.

use super::{Builtin, Function, SUM_DIGITS_MAX};
use crate::checkpoint::types::Column;
use crate::state::{Slot, StateTable};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema, SchemaRef, i256};
use arrow::row::{RowConverter, SortField};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_job::spec::AggregateFunction;
use millstream_rows::batch::keys::{Keys, canonical_column};
use millstream_rows::batch::op::Op;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Number of rows of a key, and count of a value.
const COUNT: &str = "millstream_count";
/// A value.
const VALUE: &str = "millstream_value";
/// Why a deletion is rejected.
const ROW_MISSING: &str = "it deletes a row that does not exist";

/// What is stored for an aggregate function.
#[derive(Clone, Copy)]
enum TallyKind {
    /// Number of rows, or values, that it took.
    Count,
    /// That number and their sum.
    Sum,
    /// The values, stored in the table with this index.
    Values(usize),
}

/// A column whose values are stored, for the rows that satisfy the function's condition.
struct TallyColumn {
    column: usize,
    function: usize,
}

/// The totals of a stage on one worker.
pub struct Tally {
    functions: Builtin,
    kept: Vec<TallyKind>,
    keys: StateTable,
    values: Vec<Values>,
}

/// The stored values of one column.
struct Values {
    what: TallyColumn,
    /// Counts by key and value.
    table: StateTable,
    order: RowConverter,
    /// Ordered values of each key, as bytes, with their slots in the table.
    of_key: HashMap<Box<[u8]>, OrderedValues>,
}

/// Ordered values, as bytes, with their slots in a table.
type OrderedValues = BTreeSet<(Box<[u8]>, Slot)>;

/// A key with rows in this batch.
struct Key {
    slot: Slot,
    bytes: Box<[u8]>,
    rows: i64,
    /// One count per function.
    counts: Vec<i64>,
    sums: Vec<i128>,
}

/// A value with rows in this batch.
struct Value {
    slot: Slot,
    before: i64,
    after: i64,
    /// A row that has it, and the index of its key.
    row: u32,
    key: usize,
}

/// What a batch changed in totals: the previous totals and the current ones.
pub struct TallyOutput {
    /// Previous totals of the keys that had rows, in the order of the keys' hashes; `None` if not requested.
    pub before: Option<RecordBatch>,
    /// Current totals: key columns and one column per function. If the previous totals were requested, only keys with rows.
    pub rows: RecordBatch,
    /// Rejected rows, and why.
    pub rejected: Vec<(u32, String)>,
}

impl Builtin {
    /// Returns the first function that does not support deleted rows, and why.
    pub fn cannot_follow(&self) -> Option<(&str, &'static str)> {
        self.functions.iter().find_map(|function| {
            let exact = !matches!(function.given, DataType::Float64);
            let why = match function.function {
                AggregateFunction::First | AggregateFunction::Last => {
                    "it is unknown which remaining row came first; use `top` with n = 1 by a column with the order"
                }
                AggregateFunction::Sum | AggregateFunction::Avg if !exact => {
                    "added floats cannot be subtracted exactly; convert the column to decimal in a previous stage \
                    with `select`"
                }
                _ => return None,
            };
            Some((function.name.as_str(), why))
        })
    }

    /// Returns what has to be stored for each function, and the columns with stored values.
    fn stored_parts(&self) -> (Vec<TallyKind>, Vec<TallyColumn>) {
        let mut columns: Vec<TallyColumn> = Vec::new();
        let text = |number: usize| self.functions.get(number).and_then(|of| of.filter.as_ref()).map(|(text, _)| text);
        let kept =
            self.functions.iter().enumerate().map(|(number, function)| match (function.function, function.column) {
                (AggregateFunction::Sum | AggregateFunction::Avg, _) => TallyKind::Sum,
                (AggregateFunction::Count, _) if !function.distinct => TallyKind::Count,
                (_, None) => TallyKind::Count,
                (_, Some(column)) => {
                    let same = |other: &TallyColumn| other.column == column && text(other.function) == text(number);
                    TallyKind::Values(columns.iter().position(same).unwrap_or_else(|| {
                        columns.push(TallyColumn { column, function: number });
                        columns.len() - 1
                    }))
                }
            });
        let kept = kept.collect();
        (kept, columns)
    }

    /// Returns the state columns of the table of keys.
    fn tally_schema(&self) -> SchemaRef {
        let mut fields = vec![Field::new(COUNT, DataType::Int64, false)];
        for (function, kept) in self.functions.iter().zip(self.stored_parts().0) {
            let names: &[&str] = match kept {
                TallyKind::Count => &["count"],
                TallyKind::Sum => &["count", "upper", "lower"],
                TallyKind::Values(_) => &[],
            };
            let field = |name: &&str| Field::new(format!("{}#{name}", function.name), DataType::Int64, false);
            fields.extend(names.iter().map(field));
        }
        Arc::new(Schema::new(fields))
    }

    /// Returns the columns of [`Tally`]'s tables for this input: the table of keys first, then those of values.
    pub fn tally_tables(&self, input: &Schema) -> Vec<[Vec<Column>; 3]> {
        let fields = input.fields();
        let key: Vec<Arc<Field>> = self.keys.iter().filter_map(|key| fields.get(*key)).cloned().collect();
        let of_keys = [Column::from_fields(&key), Vec::new(), Column::from_fields(self.tally_schema().fields())];
        let of_values = self.stored_parts().1.into_iter().filter_map(|kept| {
            let value = value_field(input, &kept)?;
            Some([
                Column::from_fields(&key),
                Column::from_fields([&value]),
                Column::from_fields(value_counts().fields()),
            ])
        });
        std::iter::once(of_keys).chain(of_values).collect()
    }
}

/// Returns the column of a table of values.
fn value_field(input: &Schema, kept: &TallyColumn) -> Option<Arc<Field>> {
    let field = input.fields().get(kept.column)?;
    Some(Arc::new(Field::new(VALUE, field.data_type().clone(), false)))
}

/// Returns the state column of a table of values.
fn value_counts() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(COUNT, DataType::Int64, false)]))
}

impl Tally {
    /// Creates empty totals.
    pub fn new(functions: &Builtin, input: &Schema) -> Result<Tally> {
        let key: Vec<Arc<Field>> = functions.keys.iter().filter_map(|key| input.fields().get(*key)).cloned().collect();
        let (kept, columns) = functions.stored_parts();
        let keys = StateTable::new(key.clone(), functions.tally_schema(), None).map_err(Error::arrow)?;
        let values = columns.into_iter().map(|what| {
            let field = value_field(input, &what).ok_or_else(|| Error::bug("a function of no column"))?;
            let order = RowConverter::new(vec![SortField::new(field.data_type().clone())]).map_err(Error::arrow)?;
            let fields = key.iter().cloned().chain([field]).collect();
            let table = StateTable::new(fields, value_counts(), None).map_err(Error::arrow)?;
            Ok(Values { what, table, order, of_key: HashMap::new() })
        });
        let values = values.collect::<Result<_>>()?;
        Ok(Tally { functions: functions.clone(), kept, keys, values })
    }

    /// Returns the tables, in the order of [`Builtin::tally_tables`].
    pub fn tables(&mut self) -> impl Iterator<Item = &mut StateTable> {
        std::iter::once(&mut self.keys).chain(self.values.iter_mut().map(|values| &mut values.table))
    }

    /// Returns the number of rows in all tables.
    pub fn row_count(&self) -> usize {
        self.keys.len() + self.values.iter().map(|values| values.table.len()).sum::<usize>()
    }

    /// Returns the approximate memory of all tables.
    pub fn bytes(&self) -> u64 {
        // Each value exists twice: in the table and in the order.
        self.keys.bytes() + self.values.iter().map(|values| 2 * values.table.bytes()).sum::<u64>()
    }

    /// Rebuilds the order of the values that were loaded into the tables.
    pub fn restored(&mut self) -> Result<()> {
        self.values.iter_mut().try_for_each(Values::restored)
    }

    /// Applies rows to the totals; `op` is the column with each row's operation.
    pub fn batch(&mut self, context: BatchContext, rows: &RecordBatch, op: Option<usize>) -> Result<TallyOutput> {
        let key_columns: Vec<ArrayRef> =
            self.functions.keys.iter().filter_map(|key| rows.columns().get(*key)).map(canonical_column).collect();
        let encoded = Keys::encode(&key_columns, rows.num_rows()).map_err(Error::arrow)?;
        let (view, hashes) = (encoded.view(), encoded.hashes());
        let op_names = op.and_then(|op| rows.columns().get(op)).and_then(|op_names| op_names.as_string_opt::<i32>());
        let mut rejected: Vec<(u32, String)> = Vec::new();
        let (mut slots, mut index_of_slot): (Vec<(Slot, u32)>, HashMap<Slot, usize>) = (Vec::new(), HashMap::new());
        // Operation of each row, and the index of its key.
        let mut does: Vec<Option<(Op, usize)>> = Vec::with_capacity(rows.num_rows());
        for (row, hash) in (0u32..).zip(&hashes) {
            let bytes = view.get(row as usize);
            let found = match Op::of_row(op_names, row as usize) {
                Ok(Op::Write) => Ok((Op::Write, self.keys.slot(bytes, *hash))),
                Ok(Op::Delete) => {
                    self.keys.find(bytes).map(|slot| (Op::Delete, slot)).ok_or_else(|| ROW_MISSING.to_owned())
                }
                Ok(Op::Truncate) => Err("its `op` is `truncate`, which totals cannot process".to_owned()),
                Err(why) => Err(why),
            };
            let index = found.map(|(op, slot)| {
                let index = index_of_slot.entry(slot).or_insert_with(|| {
                    slots.push((slot, row));
                    slots.len() - 1
                });
                (op, *index)
            });
            does.push(index.map_err(|why| rejected.push((row, why))).ok());
        }
        let mut keys = self.of_slots(&slots, |row| view.get(row as usize).into())?;
        let changes = self.functions.changes.is_some();
        let before = if changes { Some(self.results(&keys, true)?) } else { None };
        let taken = self.functions.functions.iter().map(|function| TakenRows::new(function, context, rows));
        let taken = taken.collect::<Result<Vec<_>>>()?;
        let found = self.values.iter_mut().map(|values| {
            let of_rows = taken.get(values.what.function).ok_or_else(|| Error::bug("values of no function"))?;
            values.find(&key_columns, rows, of_rows, &does)
        });
        let mut found = found.collect::<Result<Vec<_>>>()?;
        for (row, does) in does.iter().enumerate() {
            let Some((op, index)) = does else { continue };
            let Some(key) = keys.get_mut(*index) else { continue };
            let is_stored = key.rows > 0 && found.iter().all(|found| found.exists(row));
            if *op == Op::Delete && !is_stored {
                rejected.push((row as u32, ROW_MISSING.to_owned()));
                continue;
            }
            let times = if *op == Op::Delete { -1 } else { 1 };
            key.rows += times;
            for (number, taken) in taken.iter().enumerate().filter(|(_, taken)| taken.is(row)) {
                if let Some(count) = key.counts.get_mut(number) {
                    *count += times;
                }
                if let Some(sum) = key.sums.get_mut(number) {
                    *sum = sum.wrapping_add(taken.value(row).wrapping_mul(i128::from(times)));
                }
            }
            found.iter_mut().for_each(|found| found.add(row, times));
        }
        for (values, found) in self.values.iter_mut().zip(&found) {
            values.store(found, &keys)?;
        }
        // An order that does not depend on the worker.
        rejected.sort_by_key(|(row, _)| (hashes.get(*row as usize).map(|hash| hash.group()), *row));
        let results = self.results(&keys, changes)?;
        self.store(&keys)?;
        Ok(TallyOutput { before, rows: results, rejected })
    }

    /// Loads the stored state of keys.
    fn of_slots(&self, slots: &[(Slot, u32)], bytes: impl Fn(u32) -> Box<[u8]>) -> Result<Vec<Key>> {
        let all: Vec<Slot> = slots.iter().map(|(slot, _)| *slot).collect();
        let (states, known) = self.keys.states(&all).map_err(Error::arrow)?;
        let columns: Vec<&Int64Array> =
            states.columns().iter().filter_map(|column| column.as_primitive_opt::<Int64Type>()).collect();
        let key = |(number, (slot, row)): (usize, &(Slot, u32))| {
            let mut numbers = columns.iter().map(|column| if known.value(number) { column.value(number) } else { 0 });
            let mut next = || numbers.next().unwrap_or_default();
            let rows = next();
            let (mut counts, mut sums) = (Vec::with_capacity(self.kept.len()), Vec::with_capacity(self.kept.len()));
            for kept in &self.kept {
                let (count, sum) = match kept {
                    TallyKind::Values(_) => (0, 0),
                    TallyKind::Count => (next(), 0),
                    TallyKind::Sum => (next(), i128::from(next()) << 64 | i128::from(next().cast_unsigned())),
                };
                counts.push(count);
                sums.push(sum);
            }
            Key { slot: *slot, bytes: bytes(*row), rows, counts, sums }
        };
        Ok(slots.iter().enumerate().map(key).collect())
    }

    /// Stores the state of keys.
    fn store(&mut self, keys: &[Key]) -> Result<()> {
        let slots: Vec<Slot> = keys.iter().map(|key| key.slot).collect();
        let mut columns: Vec<ArrayRef> = vec![int64(keys, |key| key.rows)];
        for (number, kept) in self.kept.iter().enumerate() {
            let sum = |key: &Key| key.sums.get(number).copied().unwrap_or_default();
            if !matches!(kept, TallyKind::Values(_)) {
                columns.push(int64(keys, |key| key.counts.get(number).copied().unwrap_or_default()));
            }
            if matches!(kept, TallyKind::Sum) {
                columns.push(int64(keys, |key| (sum(key) >> 64) as i64));
                columns.push(int64(keys, |key| sum(key) as i64));
            }
        }
        let states = RecordBatch::try_new(self.keys.state_schema(), columns).map_err(Error::arrow)?;
        let kept: BooleanArray = keys.iter().map(|key| Some(key.rows > 0)).collect();
        self.keys.store(&slots, &states, &kept);
        Ok(())
    }

    /// Returns the totals of all keys, or of those with rows, in the order of their hashes.
    fn results(&self, keys: &[Key], with_rows: bool) -> Result<RecordBatch> {
        let keys = || keys.iter().filter(|key| key.rows > 0 || !with_rows);
        let by_slot: HashMap<Slot, &Key> = keys().map(|key| (key.slot, key)).collect();
        let mut slots: Vec<Slot> = keys().map(|key| key.slot).collect();
        self.keys.sort(&mut slots);
        let keys: Vec<&Key> = slots.iter().filter_map(|slot| by_slot.get(slot).copied()).collect();
        let mut columns = self.keys.keys(&slots).map_err(Error::arrow)?;
        for (number, (function, kept)) in self.functions.functions.iter().zip(&self.kept).enumerate() {
            let count = |key: &&Key| key.counts.get(number).copied().unwrap_or_default();
            let sum = |key: &&Key| key.sums.get(number).copied().unwrap_or_default();
            let sums = || keys.iter().map(|key| (count(key) > 0).then(|| (sum(key), count(key))));
            columns.push(match (kept, function.function) {
                (TallyKind::Count, _) => Arc::new(Int64Array::from_iter_values(keys.iter().map(count))),
                (TallyKind::Sum, AggregateFunction::Avg) => function.means(sums())?,
                (TallyKind::Sum, _) => function.sums(sums())?,
                (TallyKind::Values(index), kind) => {
                    let values = self.values.get(*index).ok_or_else(|| Error::bug("a function without its values"))?;
                    values.results(&keys, kind)?
                }
            });
        }
        RecordBatch::try_new(self.functions.output(), columns).map_err(Error::arrow)
    }
}

fn int64(keys: &[Key], value: impl Fn(&Key) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(keys.iter().map(value)))
}

impl Function {
    /// Converts sums to the output type.
    fn sums(&self, sums: impl Iterator<Item = Option<(i128, i64)>>) -> Result<ArrayRef> {
        let DataType::Decimal128(digits, scale) = self.output() else {
            let narrow = |sum: Option<(i128, i64)>| {
                sum.map(|(sum, _)| i64::try_from(sum).map_err(|_| self.does_not_fit())).transpose()
            };
            return Ok(Arc::new(sums.map(narrow).collect::<Result<Int64Array>>()?));
        };
        let sums: Decimal128Array = sums.map(|sum| sum.map(|(sum, _)| sum)).collect();
        Ok(Arc::new(sums.with_precision_and_scale(digits, scale).map_err(Error::arrow)?))
    }

    /// Divides sums by their counts. Decimals are truncated after their last digit.
    fn means(&self, sums: impl Iterator<Item = Option<(i128, i64)>>) -> Result<ArrayRef> {
        let (DataType::Decimal128(digits, scale), DataType::Decimal128(_, given)) = (self.output(), &self.given) else {
            let mean = |sum: Option<(i128, i64)>| sum.map(|(sum, count)| sum as f64 / count as f64);
            return Ok(Arc::new(sums.map(mean).collect::<Float64Array>()));
        };
        let more = i256::from_i128(10_i128.pow(u32::from((scale - given).unsigned_abs().min(SUM_DIGITS_MAX))));
        let mean = |sum: Option<(i128, i64)>| {
            let (sum, count) = sum?;
            i256::from_i128(sum).wrapping_mul(more).checked_div(i256::from_i128(i128::from(count)))?.to_i128()
        };
        let means: Decimal128Array = sums.map(mean).collect();
        Ok(Arc::new(means.with_precision_and_scale(digits, scale).map_err(Error::arrow)?))
    }
}

/// The rows that a function takes, and the number that each adds.
struct TakenRows {
    rows: Option<BooleanArray>,
    column: Option<ArrayRef>,
}

impl TakenRows {
    fn new(function: &Function, context: BatchContext, rows: &RecordBatch) -> Result<TakenRows> {
        let column = function.column.and_then(|column| rows.columns().get(column)).cloned();
        Ok(TakenRows { rows: function.rows_counted(context, rows)?, column })
    }

    /// Returns whether the function takes a row.
    fn is(&self, row: usize) -> bool {
        self.rows.as_ref().is_none_or(|rows| rows.value(row)) && self.column.as_ref().is_none_or(|of| of.is_valid(row))
    }

    /// Returns the number in a row.
    fn value(&self, row: usize) -> i128 {
        let Some(column) = &self.column else { return 0 };
        if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
            return i128::from(numbers.value(row));
        }
        column.as_primitive_opt::<Decimal128Type>().map_or(0, |numbers| numbers.value(row))
    }
}

/// The distinct values in a batch.
struct BatchValues {
    values: Vec<Value>,
    /// Index of each row's value; `None` if it has no relevant value.
    of_row: Vec<Option<usize>>,
    /// Rows that delete a value that does not exist.
    missing: Vec<bool>,
    /// The bytes of each row's value, ordered as the values.
    order: arrow::row::Rows,
}

impl BatchValues {
    fn exists(&self, row: usize) -> bool {
        if self.missing.get(row).copied().unwrap_or_default() {
            return false;
        }
        let index = self.of_row.get(row).copied().flatten();
        index.and_then(|index| self.values.get(index)).is_none_or(|value| value.after > 0)
    }

    fn add(&mut self, row: usize, times: i64) {
        let index = self.of_row.get(row).copied().flatten();
        if let Some(value) = index.and_then(|index| self.values.get_mut(index)) {
            value.after += times;
        }
    }
}

impl Values {
    fn restored(&mut self) -> Result<()> {
        const SLOTS_AT_ONCE: usize = 16_384;
        let slots: Vec<Slot> = self.table.all().collect();
        for slots in slots.chunks(SLOTS_AT_ONCE) {
            let columns = self.table.keys(slots).map_err(Error::arrow)?;
            let Some((value, key)) = columns.split_last() else { continue };
            let keys = Keys::encode(key, slots.len()).map_err(Error::arrow)?;
            let order = self.order.convert_columns(std::slice::from_ref(value)).map_err(Error::arrow)?;
            for (row, slot) in slots.iter().enumerate() {
                let of_key = self.of_key.entry(keys.view().get(row).into()).or_default();
                of_key.insert((order.row(row).as_ref().into(), *slot));
            }
        }
        Ok(())
    }

    /// Finds the values of rows, with their counts before the batch.
    fn find(
        &mut self,
        key: &[ArrayRef],
        rows: &RecordBatch,
        taken: &TakenRows,
        does: &[Option<(Op, usize)>],
    ) -> Result<BatchValues> {
        let column = rows.columns().get(self.what.column).ok_or_else(|| Error::bug("a row without its value"))?;
        let value = canonical_column(column);
        let order = self.order.convert_columns(std::slice::from_ref(&value)).map_err(Error::arrow)?;
        let columns: Vec<ArrayRef> = key.iter().cloned().chain([value]).collect();
        let encoded = Keys::encode(&columns, rows.num_rows()).map_err(Error::arrow)?;
        let (view, hashes) = (encoded.view(), encoded.hashes());
        let (mut values, mut index_of_slot): (Vec<Value>, HashMap<Slot, usize>) = (Vec::new(), HashMap::new());
        let mut of_row = Vec::with_capacity(rows.num_rows());
        let mut missing = vec![false; rows.num_rows()];
        for (row, (does, hash)) in does.iter().zip(&hashes).enumerate() {
            let slot = match does.filter(|_| taken.is(row)) {
                None => None,
                Some((Op::Delete, key)) => {
                    let slot = self.table.find(view.get(row));
                    missing.iter_mut().skip(row).take(1).for_each(|missing| *missing = slot.is_none());
                    slot.map(|slot| (slot, key))
                }
                Some((_, key)) => Some((self.table.slot(view.get(row), *hash), key)),
            };
            of_row.push(slot.map(|(slot, key)| {
                *index_of_slot.entry(slot).or_insert_with(|| {
                    values.push(Value { slot, before: 0, after: 0, row: row as u32, key });
                    values.len() - 1
                })
            }));
        }
        let slots: Vec<Slot> = values.iter().map(|value| value.slot).collect();
        let (states, known) = self.table.states(&slots).map_err(Error::arrow)?;
        let counts = states.columns().first().and_then(|column| column.as_primitive_opt::<Int64Type>());
        let counts = counts.ok_or_else(|| Error::bug("values without their counts"))?;
        for (number, value) in values.iter_mut().enumerate().filter(|(number, _)| known.value(*number)) {
            (value.before, value.after) = (counts.value(number), counts.value(number));
        }
        Ok(BatchValues { values, of_row, missing, order })
    }

    /// Stores the counts of values.
    fn store(&mut self, found: &BatchValues, keys: &[Key]) -> Result<()> {
        let slots: Vec<Slot> = found.values.iter().map(|value| value.slot).collect();
        let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(found.values.iter().map(|value| value.after)));
        let kept: BooleanArray = found.values.iter().map(|value| Some(value.after > 0)).collect();
        let states = RecordBatch::try_new(value_counts(), vec![counts]).map_err(Error::arrow)?;
        self.table.store(&slots, &states, &kept);
        for value in &found.values {
            let Some(key) = keys.get(value.key) else { continue };
            let index = || (Box::from(found.order.row(value.row as usize).as_ref()), value.slot);
            if value.before == 0 && value.after > 0 {
                self.of_key.entry(key.bytes.clone()).or_default().insert(index());
            } else if value.before > 0 && value.after == 0 {
                let Some(of_key) = self.of_key.get_mut(&key.bytes) else { continue };
                of_key.remove(&index());
                if of_key.is_empty() {
                    self.of_key.remove(&key.bytes);
                }
            }
        }
        Ok(())
    }

    /// Computes a function's results from the values of keys.
    fn results(&self, keys: &[&Key], function: AggregateFunction) -> Result<ArrayRef> {
        let of = |key: &&Key| self.of_key.get(&key.bytes);
        if function == AggregateFunction::Count {
            let count = |key: &&Key| of(key).map_or(0, |values| values.len() as i64);
            return Ok(Arc::new(Int64Array::from_iter_values(keys.iter().map(count))));
        }
        let end = |values: &BTreeSet<(Box<[u8]>, Slot)>| {
            let end = if function == AggregateFunction::Min { values.first() } else { values.last() };
            end.map(|(_, slot)| *slot)
        };
        let slots: Vec<Option<Slot>> = keys.iter().map(|key| of(key).and_then(end)).collect();
        let existing: Vec<Slot> = slots.iter().flatten().copied().collect();
        let columns = self.table.keys(&existing).map_err(Error::arrow)?;
        let values = columns.last().ok_or_else(|| Error::bug("values without a column"))?;
        let mut next = 0..existing.len() as u32;
        let indexes: UInt32Array = slots.iter().map(|slot| slot.and_then(|_| next.next())).collect();
        take(values, &indexes, None).map_err(Error::arrow)
    }
}
