use super::*;
use crate::checkpoint::read::load;
use crate::checkpoint::types::{Column, REMOVED, StateFile};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type};
use millstream_base::ids::BatchId;
use millstream_rows::batch::keys::Keys;

fn column(name: &str, kind: &str) -> Column {
    Column { name: name.into(), kind: kind.into(), nullable: false }
}

fn file(path: &str, first: u32, end: u32, base: bool) -> StateFile {
    StateFile {
        path: path.into(),
        batch: BatchId(1),
        group_first: first,
        group_end: end,
        base,
        rows: 0,
        bytes: 0,
        checksum: String::new(),
        footer: String::new(),
    }
}

fn table(files: Vec<StateFile>) -> Table {
    let (key, state) = (vec![column("word", "text")], vec![column("n", "int64")]);
    Table { files, ..Table::of_stage("totals", "", [key, Vec::new(), state]) }
}

/// The rows of a file: a word and its number; `None`: it was removed.
fn rows(of: &[(String, Option<i64>)]) -> RecordBatch {
    let fields = [("word", DataType::Utf8, false), ("n", DataType::Int64, true), (REMOVED, DataType::Boolean, false)];
    let fields: Vec<Field> = fields.into_iter().map(|(name, kind, null)| Field::new(name, kind, null)).collect();
    let words: StringArray = of.iter().map(|(word, _)| Some(word)).collect();
    let n: Int64Array = of.iter().map(|(_, n)| *n).collect();
    let removed: BooleanArray = of.iter().map(|(_, n)| Some(n.is_none())).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(words), Arc::new(n), Arc::new(removed)]).unwrap()
}

fn loaded(
    table: &Table,
    first: u32,
    end: u32,
    read: impl Fn(&StateFile) -> Result<Vec<RecordBatch>>,
) -> Vec<RecordBatch> {
    let mut all = Vec::new();
    load(table, first, end, read, |rows| {
        all.push(rows);
        Ok(())
    })
    .unwrap();
    all
}

fn group(word: &str) -> u32 {
    Keys::encode(&[Arc::new(StringArray::from(vec![word])) as ArrayRef], 1).unwrap().hashes()[0].group() as u32
}

#[test]
fn a_merged_table_has_the_newest_states_of_the_groups_that_each_file_holds() {
    let words: Vec<String> = (0..100).map(|i| format!("w{i}")).collect();
    let low = |word: &&String| group(word) < 2048;
    let all: Vec<_> = words.iter().map(|word| (word.clone(), Some(1))).collect();
    // Half of the low words are in the newer base of the low groups; the others disappear without a row that says so.
    let based: Vec<_> = words.iter().filter(low).step_by(2).map(|word| (word.clone(), Some(2))).collect();
    // Some of the high ones were removed, and some of these were added again.
    let high: Vec<String> = words.iter().filter(|word| !low(word)).cloned().collect();
    let removed: Vec<_> = high[..10].iter().map(|word| (word.clone(), None)).collect();
    let back: Vec<_> = high[..5].iter().map(|word| (word.clone(), Some(4))).collect();
    let table = table(vec![
        file("all", 0, 4096, true),
        file("removed", 2048, 4096, false),
        file("based", 0, 2048, true),
        file("back", 2048, 4096, false),
    ]);
    let read = |file: &StateFile| {
        Ok(vec![rows(match &*file.path {
            "all" => &all,
            "removed" => &removed,
            "based" => &based,
            _ => &back,
        })])
    };
    let merged = merge(&table, loaded(&table, 0, 4096, read)).unwrap();
    assert_eq!(millstream_rows::batch::types::describe(merged.schema_ref()), "word text, n int64");
    let (found, n) = (merged.column(0).as_string::<i32>(), merged.column(1).as_primitive::<Int64Type>());
    let mut found: Vec<_> = (0..merged.num_rows()).map(|i| (found.value(i).to_owned(), Some(n.value(i)))).collect();
    let mut expected =
        [based.clone(), back.clone(), high[10..].iter().map(|w| (w.clone(), Some(1))).collect()].concat();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    // A worker gets only the rows of its own groups.
    let own = loaded(&table, 0, 1024, read);
    let own_keys: Vec<&str> = own.iter().flat_map(|rows| rows.column(0).as_string::<i32>().iter().flatten()).collect();
    let expected: Vec<&str> = based.iter().map(|(word, _)| &**word).filter(|word| group(word) < 1024).collect();
    assert!(!expected.is_empty());
    assert_eq!(own_keys, expected);
}

#[test]
fn rows_that_do_not_fit_the_table_are_an_error() {
    let merge = |rows: RecordBatch| merge(&table(vec![]), vec![rows]).map(|_| ()).unwrap_err().message;
    let good = rows(&[("a".into(), Some(1))]);
    let wrong = "the checkpoint: state of stage `totals`: column ";
    let without = |index: usize| {
        let mut other = good.clone();
        other.remove_column(index);
        merge(other)
    };
    assert_eq!(without(0), format!("{wrong}1 must be `word`, text; columns: n int64, millstream_removed bool"));
    assert_eq!(without(1), format!("{wrong}2 must be `n`, int64; columns: word text, millstream_removed bool"));
    let schema = good.schema();
    let column = |index: usize| good.column(index).clone();
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None]));
    let lacks = RecordBatch::try_new(schema, vec![column(0), nulls, column(2)]).unwrap();
    assert_eq!(merge(lacks), format!("{wrong}`n` lacks a value that it must have"));
    let unknown =
        Table { state: vec![Column { kind: "decimal".into(), ..table(vec![]).state[0].clone() }], ..table(vec![]) };
    assert!(
        super::merge(&unknown, vec![]).unwrap_err().message.contains("`decimal`, which this version does not support")
    );
}
