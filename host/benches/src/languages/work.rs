//! The three tasks: their data, in memory and as files for other languages, and the native loop of each.

use super::ROWS;
use crate::native;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::array::{ArrowPrimitiveType, PrimitiveArray, UInt32Array};
use arrow::datatypes::{Float64Type, Int64Type};
use millstream::internals::batch::types::{ColumnType, schema_of};
use millstream::internals::plugin::Groups;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Groups of a batch of `total`; each has the same number of rows.
const GROUPS: usize = 1_000;

/// The task of a plugin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Splits lines of ten words into words.
    Split,
    /// Computes a number from two.
    Numeric,
    /// Computes a running total by key.
    Total,
}

/// The input of a task.
pub struct Data {
    pub work: Work,
    pub input: Input,
    /// The same as text, for programs in other languages.
    pub file: PathBuf,
}

/// Arguments of a call.
pub enum Input {
    Rows(RecordBatch),
    Groups(Box<Groups>),
}

/// The result of a native loop: what Arrow needs for the columns that the plugin returns.
pub enum NativeResult {
    Words { ends: Vec<i32>, bytes: Vec<u8> },
    Numbers(Vec<f64>),
    Totals { key_ends: Vec<i32>, key_bytes: Vec<u8>, totals: Vec<i64>, states: Vec<i64> },
}

/// The number of output rows, and a sum over them that depends on their order: the same in all languages.
pub type Check = (usize, f64);

impl Work {
    pub const ALL: [Work; 3] = [Work::Split, Work::Numeric, Work::Total];

    /// Returns the name of its directory, which is also its name on the command line of programs in other languages.
    pub fn keyword(self) -> &'static str {
        match self {
            Work::Split => "split",
            Work::Numeric => "numeric",
            Work::Total => "total",
        }
    }

    /// Returns its title.
    pub fn title(self) -> &'static str {
        match self {
            Work::Split => "split: lines of 10 words into words, ns a line",
            Work::Numeric => "numeric: a * 2.5 + b over two columns, ns a row",
            Work::Total => "total: running total of 1,000 keys with 10 rows each, ns a row",
        }
    }
}

impl Data {
    /// Creates the data of a task; its file is written to the directory.
    pub fn new(work: Work, dir: &Path) -> Data {
        let mut random = Random(7);
        let (input, text) = match work {
            Work::Split => lines(&mut random),
            Work::Numeric => pairs(&mut random),
            Work::Total => groups(&mut random),
        };
        let file = dir.join(format!("{}.txt", work.keyword()));
        std::fs::write(&file, text).expect("the data is written");
        Data { work, input, file }
    }

    /// The native loop.
    pub fn native(&self) -> NativeResult {
        match &self.input {
            Input::Rows(rows) if self.work == Work::Split => {
                let lines = rows.column(0).as_string::<i32>();
                let (ends, bytes) = native::split(lines.offsets(), lines.values());
                NativeResult::Words { ends, bytes }
            }
            Input::Rows(rows) => {
                let [a, b] = [0, 1].map(|column| numbers::<Float64Type>(rows, column));
                NativeResult::Numbers(a.iter().zip(b).map(|(a, b)| a * 2.5 + b).collect())
            }
            Input::Groups(groups) => totals(groups),
        }
    }
}

fn totals(groups: &Groups) -> NativeResult {
    let keys = groups.keys.column(0).as_string::<i32>();
    let (amounts, old) = (numbers::<Int64Type>(&groups.rows, 0), numbers::<Int64Type>(&groups.states, 0));
    let mut states = Vec::with_capacity(old.len());
    let mut start = 0;
    for (group, end) in groups.ends.values().iter().enumerate() {
        let known = if groups.known.value(group) { old[group] } else { 0 };
        states.push(known + amounts[start..*end as usize].iter().sum::<i64>());
        start = *end as usize;
    }
    let (key_ends, key_bytes) = (keys.offsets().to_vec(), keys.value_data().to_vec());
    NativeResult::Totals { key_ends, key_bytes, totals: states.clone(), states }
}

fn numbers<T: ArrowPrimitiveType>(rows: &RecordBatch, column: usize) -> &[T::Native] {
    rows.column(column).as_any().downcast_ref::<PrimitiveArray<T>>().expect("numbers").values()
}

impl NativeResult {
    /// Returns the check of its native result.
    pub fn check(&self) -> Check {
        match self {
            NativeResult::Words { ends, bytes } => {
                assert_eq!(ends.last().copied(), i32::try_from(bytes.len()).ok());
                sum(ends.windows(2).map(|pair| f64::from(pair[1] - pair[0])))
            }
            NativeResult::Numbers(numbers) => sum(numbers.iter().copied()),
            NativeResult::Totals { key_ends, key_bytes, totals, states } => {
                assert_eq!(key_ends.last().copied(), i32::try_from(key_bytes.len()).ok());
                assert_eq!(totals, states);
                sum(totals.iter().map(|total| *total as f64))
            }
        }
    }
}

/// Returns the check of a plugin's output, by its last column.
pub fn check(rows: &RecordBatch) -> Check {
    let column = rows.columns().last().expect("a column");
    assert_eq!(column.null_count(), 0);
    if let Some(words) = column.as_string_opt::<i32>() {
        return sum(words.iter().flatten().map(|word| word.len() as f64));
    }
    match column.as_primitive_opt::<Float64Type>() {
        Some(numbers) => sum(numbers.values().iter().copied()),
        None => sum(column.as_primitive::<Int64Type>().values().iter().map(|total| *total as f64)),
    }
}

fn sum(numbers: impl Iterator<Item = f64>) -> Check {
    numbers.enumerate().fold((0, 0.0), |(rows, sum), (i, number)| (rows + 1, sum + number * (i % 1000) as f64))
}

/// Generates lines of ten words of 2 to 9 characters.
fn lines(random: &mut Random) -> (Input, String) {
    let mut word = || (0..2 + random.below(8)).map(|_| char::from(b'a' + random.below(26) as u8)).collect::<String>();
    let lines: Vec<String> = (0..ROWS).map(|_| [(); 10].map(|()| word()).join(" ")).collect();
    let text = lines.join("\n");
    (Input::Rows(batch(&[("value", ColumnType::Text, Arc::new(StringArray::from(lines)))])), text)
}

/// Multiples of one eighth, so that every language computes the same sum.
fn pairs(random: &mut Random) -> (Input, String) {
    let mut number = || random.below(8_000) as f64 / 8.0;
    let pairs: Vec<[f64; 2]> = (0..ROWS).map(|_| [number(), number()]).collect();
    let text = pairs.iter().fold(String::new(), |mut text, [a, b]| {
        let _ = writeln!(text, "{a} {b}");
        text
    });
    let column = |i: usize| Arc::new(pairs.iter().map(|pair| pair[i]).collect::<Float64Array>()) as ArrayRef;
    let columns = [("a", ColumnType::Float64, column(0)), ("b", ColumnType::Float64, column(1))];
    (Input::Rows(batch(&columns)), text)
}

/// Keys that all have a state. A line of the file is a key, its state and its amounts.
fn groups(random: &mut Random) -> (Input, String) {
    let keys: Vec<String> = (0..GROUPS).map(|group| format!("user-{group:011}")).collect();
    let olds: Vec<i64> = keys.iter().map(|_| random.below(1_000_000) as i64).collect();
    let amounts: Vec<i64> = (0..ROWS).map(|_| random.below(1_000) as i64).collect();
    let rows = ROWS / GROUPS;
    let mut text = String::new();
    for ((key, old), amounts) in keys.iter().zip(&olds).zip(amounts.chunks(rows)) {
        let _ = write!(text, "{key} {old}");
        amounts.iter().for_each(|amount| _ = write!(text, " {amount}"));
        text.push('\n');
    }
    let int = |numbers: Vec<i64>| Arc::new(Int64Array::from(numbers)) as ArrayRef;
    let no = BooleanArray::from(vec![false; GROUPS]);
    let groups = Groups {
        keys: batch(&[("user", ColumnType::Text, Arc::new(StringArray::from(keys)))]),
        rows: batch(&[("amount", ColumnType::Int64, int(amounts))]),
        ends: UInt32Array::from_iter_values((1..=GROUPS).map(|group| (group * rows) as u32)),
        states: batch(&[("total", ColumnType::Int64, int(olds))]),
        known: BooleanArray::from(vec![true; GROUPS]),
        timed_out: no.clone(),
        overdue: no,
        timers: Vec::new(),
        due: Default::default(),
        all: false,
    };
    (Input::Groups(Box::new(groups)), text)
}

fn batch(columns: &[(&str, ColumnType, ArrayRef)]) -> RecordBatch {
    let named: Vec<_> = columns.iter().map(|(name, kind, _)| ((*name).to_owned(), kind.clone())).collect();
    let arrays = columns.iter().map(|(_, _, array)| array.clone()).collect();
    RecordBatch::try_new(schema_of(&named), arrays).expect("columns of the same length")
}

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}
