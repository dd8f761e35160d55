//! Comparison of the output of two versions for the same rows. Order does not matter: a plugin may emit rows in another order.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::row::{Row, RowConverter, Rows, SortField};
use arrow::util::display::array_value_to_string;
use millstream_base::error::{Error, Result};
use millstream_base::shown::printable;
use std::collections::{BTreeSet, HashMap};

/// Maximum rows and states in a report.
pub const EXAMPLES_MAX: usize = 6;
/// Maximum bytes of one value in a report.
const VALUE_BYTES_MAX: usize = 60;
/// Maximum columns of one row in a report.
const COLUMNS_MAX: usize = 12;

/// Results of calls for one batch; see [`super::ShadowReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Comparison {
    pub rows: u64,
    pub rows_differing: u64,
    pub states: u64,
    pub states_differing: u64,
    pub rejected: u64,
    pub rejected_new: u64,
    pub rejected_differing: u64,
    pub cost_ns: u64,
    pub cost_new_ns: u64,
    pub examples: Vec<String>,
}

impl Comparison {
    /// Compares the rows that both emitted for the same input.
    pub fn rows(&mut self, old: &RecordBatch, new: &RecordBatch) -> Result<()> {
        self.rows = self.rows.saturating_add(old.num_rows() as u64);
        let [only_old, only_new] = differing(old, new)?;
        let count = only_old.len().max(only_new.len()) as u64;
        self.rows_differing = self.rows_differing.saturating_add(count);
        for index in 0..only_old.len().max(only_new.len()).min(EXAMPLES_MAX) {
            let row = |rows: &RecordBatch, only: &[usize]| only.get(index).map(|row| row_text(rows, *row));
            self.example(match (row(old, &only_old), row(new, &only_new)) {
                (Some(old), Some(new)) => format!("the old version emitted {old}, the new version {new}"),
                (Some(old), None) => format!("only the old version emitted {old}"),
                (None, Some(new)) => format!("only the new version emitted {new}"),
                (None, None) => continue,
            });
        }
        Ok(())
    }

    /// Compares the rows that both rejected of the same input: all columns of rejected rows, up to the reason.
    pub fn rejected_rows(&mut self, old: &RecordBatch, new: &RecordBatch) -> Result<()> {
        let [only_old, only_new] = differing(old, new)?;
        self.rejected(old.num_rows(), new.num_rows(), only_old.len(), only_new.len());
        let all = [("old", old, &only_old), ("new", new, &only_new)];
        for (which, rows, only) in all {
            for row in only.iter().take(EXAMPLES_MAX) {
                self.example(format!("only the {which} version rejected {}", row_text(rows, *row)));
            }
        }
        Ok(())
    }

    /// Compares how many rows each version rejected, if it is not known which.
    pub fn rejected_counts(&mut self, old: usize, new: usize) {
        self.rejected(old, new, old.saturating_sub(new), new.saturating_sub(old));
    }

    /// Compares the rows that both versions rejected, given by their indexes in an input.
    pub fn rejected_rows_by_index(&mut self, rows: &RecordBatch, old: &[u32], new: &[u32]) {
        let sets = [old, new].map(|indexes| indexes.iter().copied().collect::<BTreeSet<u32>>());
        let [only_old, only_new] = [(0, 1), (1, 0)].map(|(one, other)| {
            let (one, other) = (&sets[one], &sets[other]);
            one.difference(other).copied().collect::<Vec<u32>>()
        });
        self.rejected(old.len(), new.len(), only_old.len(), only_new.len());
        for (which, only) in [("old", only_old), ("new", only_new)] {
            for row in only.iter().take(EXAMPLES_MAX).filter(|row| (**row as usize) < rows.num_rows()) {
                self.example(format!("only the {which} version rejected {}", row_text(rows, *row as usize)));
            }
        }
    }

    fn rejected(&mut self, old: usize, new: usize, only_old: usize, only_new: usize) {
        self.rejected = self.rejected.saturating_add(old as u64);
        self.rejected_new = self.rejected_new.saturating_add(new as u64);
        self.rejected_differing = self.rejected_differing.saturating_add((only_old + only_new) as u64);
    }

    /// Compares states of the same keys, one row each, and whether each version has one. If the new version has other columns, those with the same
    /// name and type are compared. `keys` is only called if something differs.
    pub fn states(&mut self, keys: impl FnOnce() -> Result<RecordBatch>, old: &States, new: &States) -> Result<()> {
        self.states = self.states.saturating_add(old.known.len() as u64);
        let (old_common, new_common) = in_common(&old.rows, &new.rows)?;
        if old_common.columns() == new_common.columns() && old.known == new.known {
            return Ok(());
        }
        let keys = keys()?;
        let (old_rows, new_rows) = (encoded(&old_common)?, encoded(&new_common)?);
        for row in 0..keys.num_rows() {
            let difference = match (old.known.value(row), new.known.value(row)) {
                (false, false) => continue,
                (true, true) if old_rows.row(row) == new_rows.row(row) => continue,
                (true, true) => format!("{} and {}", row_text(&old_common, row), row_text(&new_common, row)),
                (true, false) => format!("{} in the old version, none in the new one", row_text(&old_common, row)),
                (false, true) => format!("none in the old version, {} in the new one", row_text(&new_common, row)),
            };
            self.states_differing = self.states_differing.saturating_add(1);
            self.example(format!("state of {}: {difference}", row_text(&keys, row)));
        }
        Ok(())
    }

    /// Adds an example, up to the maximum of a report.
    fn example(&mut self, description: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(description);
        }
    }
}

/// The states of some keys in one version.
pub struct States {
    /// One row per key; meaningless if the key has no state.
    pub rows: RecordBatch,
    /// Whether each key has a state.
    pub known: BooleanArray,
}

/// Returns the indexes of rows that only one of both has. A row that occurs twice in one and once in the other is included once.
fn differing(old: &RecordBatch, new: &RecordBatch) -> Result<[Vec<usize>; 2]> {
    if old.columns() == new.columns() && old.num_rows() == new.num_rows() {
        return Ok(Default::default());
    }
    if old.num_columns() != new.num_columns() {
        return Err(Error::plugin("its rows have other columns, so they cannot be compared"));
    }
    let (old_rows, new_rows) = (encoded(old)?, encoded(new)?);
    let mut left: HashMap<Row<'_>, usize> = HashMap::new();
    for row in &old_rows {
        *left.entry(row).or_default() += 1;
    }
    let mut only_new = Vec::new();
    for (index, row) in new_rows.iter().enumerate() {
        match left.get_mut(&row).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => only_new.push(index),
        }
    }
    let mut only_old = Vec::new();
    for (index, row) in old_rows.iter().enumerate() {
        if let Some(count) = left.get_mut(&row).filter(|count| **count > 0) {
            *count -= 1;
            only_old.push(index);
        }
    }
    Ok([only_old, only_new])
}

/// Encodes rows as bytes that are equal if the rows are. Rows without columns are all equal.
fn encoded(rows: &RecordBatch) -> Result<Rows> {
    let fields = rows.columns().iter().map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect()).map_err(Error::arrow)?;
    if rows.num_columns() > 0 {
        return converter.convert_columns(rows.columns()).map_err(Error::arrow);
    }
    let nothing: ArrayRef = std::sync::Arc::new(BooleanArray::from(vec![true; rows.num_rows()]));
    let converter = RowConverter::new(vec![SortField::new(nothing.data_type().clone())]).map_err(Error::arrow)?;
    converter.convert_columns(&[nothing]).map_err(Error::arrow)
}

/// Returns the columns that both have, by name and type.
fn in_common(old: &RecordBatch, new: &RecordBatch) -> Result<(RecordBatch, RecordBatch)> {
    if old.schema_ref() == new.schema_ref() {
        return Ok((old.clone(), new.clone()));
    }
    let (mut of_old, mut of_new) = (Vec::new(), Vec::new());
    for (index, field) in old.schema_ref().fields().iter().enumerate() {
        if let Some((other, same)) = new.schema_ref().column_with_name(field.name())
            && same.data_type() == field.data_type()
        {
            of_old.push(index);
            of_new.push(other);
        }
    }
    Ok((old.project(&of_old).map_err(Error::arrow)?, new.project(&of_new).map_err(Error::arrow)?))
}

/// Formats a row as `{word: a, n: 3}`: plugin output, truncated and without terminal control characters.
fn row_text(rows: &RecordBatch, row: usize) -> String {
    let cell = |(field, column): (&std::sync::Arc<arrow::datatypes::Field>, &ArrayRef)| {
        let value = match column.is_null(row) {
            true => "null".to_owned(),
            false => array_value_to_string(column, row).unwrap_or_else(|_| "?".into()),
        };
        let short = |text: &str| printable(text, VALUE_BYTES_MAX).replace('\n', " ");
        format!("{}: {}", short(field.name()), short(&value))
    };
    let shown = rows.schema_ref().fields().iter().zip(rows.columns()).take(COLUMNS_MAX).map(cell);
    let more = if rows.num_columns() > COLUMNS_MAX { ", …" } else { "" };
    format!("{{{}{more}}}", shown.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn rows(description: &[&str], counts: &[i64]) -> RecordBatch {
        let description: ArrayRef = Arc::new(StringArray::from(description.to_vec()));
        let counts: ArrayRef = Arc::new(Int64Array::from(counts.to_vec()));
        RecordBatch::try_from_iter([("word", description), ("n", counts)]).unwrap()
    }

    fn compared(old: &RecordBatch, new: &RecordBatch) -> Comparison {
        let mut compared = Comparison::default();
        compared.rows(old, new).unwrap();
        compared
    }

    #[test]
    fn rows_are_the_same_in_any_order_and_counted_as_often_as_they_are_there() {
        let old = rows(&["a", "b", "a"], &[1, 2, 1]);
        let same = compared(&old, &rows(&["b", "a", "a"], &[2, 1, 1]));
        assert_eq!((same.rows, same.rows_differing, same.examples), (3, 0, vec![]));
        let once = compared(&old, &rows(&["a", "b"], &[1, 2]));
        assert_eq!(once.rows_differing, 1);
        assert_eq!(once.examples, ["only the old version emitted {word: a, n: 1}"]);
        let other = compared(&old, &rows(&["a", "b", "a", "c"], &[1, 3, 1, 4]));
        assert_eq!(other.rows_differing, 2);
        assert_eq!(
            other.examples,
            [
                "the old version emitted {word: b, n: 2}, the new version {word: b, n: 3}",
                "only the new version emitted {word: c, n: 4}"
            ]
        );
        let none = compared(&rows(&[], &[]), &rows(&["x\u{1b}[2J"], &[0]));
        assert_eq!(none.examples, ["only the new version emitted {word: x [2J, n: 0}"]);
    }

    #[test]
    fn numbers_that_are_not_numbers_are_equal_and_many_differences_have_few_examples() {
        let column = |values: Vec<f64>| {
            let column: ArrayRef = Arc::new(Float64Array::from(values));
            RecordBatch::try_from_iter([("x", column)]).unwrap()
        };
        let nan = compared(&column(vec![f64::NAN, 1.0]), &column(vec![1.0, f64::NAN]));
        assert_eq!(nan.rows_differing, 0);
        let many = compared(&column(vec![0.5; 1000]), &column(vec![1.5; 900]));
        assert_eq!((many.rows_differing, many.examples.len()), (1000, EXAMPLES_MAX));
    }

    #[test]
    fn refused_rows_are_compared_by_their_places() {
        let mut compared = Comparison::default();
        compared.rejected_rows_by_index(&rows(&["a", "b", "c"], &[1, 2, 3]), &[0, 1], &[1, 2]);
        assert_eq!((compared.rejected, compared.rejected_new, compared.rejected_differing), (2, 2, 2));
        assert_eq!(
            compared.examples,
            ["only the old version rejected {word: a, n: 1}", "only the new version rejected {word: c, n: 3}"]
        );
    }

    #[test]
    fn states_are_compared_by_key_in_the_columns_that_both_have() {
        let keys = rows(&["a", "b", "c", "d"], &[0, 0, 0, 0]).project(&[0]).unwrap();
        let states = |counts: &[i64], known: &[bool], more: bool| {
            let counts: ArrayRef = Arc::new(Int64Array::from(counts.to_vec()));
            let columns = [("n", counts.clone())].into_iter().chain(more.then_some(("other", counts)));
            States { rows: RecordBatch::try_from_iter(columns).unwrap(), known: known.to_vec().into() }
        };
        let old = states(&[1, 2, 3, 4], &[true, true, true, false], false);
        for more in [false, true] {
            let mut compared = Comparison::default();
            compared
                .states(|| Ok(keys.clone()), &old, &states(&[1, 5, 3, 4], &[true, true, false, false], more))
                .unwrap();
            assert_eq!((compared.states, compared.states_differing), (4, 2));
            assert_eq!(
                compared.examples,
                [
                    "state of {word: b}: {n: 2} and {n: 5}",
                    "state of {word: c}: {n: 3} in the old version, none in \
                                                          the new one"
                ]
            );
        }
    }
}
