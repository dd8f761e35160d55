use super::*;
use crate::checkpoint::store::open;
use crate::checkpoint::types::{Column, REMOVED};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type};
use millstream_base::digest::checksum;
use millstream_base::ids::{BatchId, BatchTime, Generation};

/// Words and their numbers; `None`: the word was removed.
type Words<'a> = &'a [(&'a str, Option<i64>)];

struct Checkpoints {
    _dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    table: Table,
}

impl Checkpoints {
    fn new() -> Checkpoints {
        let dir = tempfile::tempdir().unwrap();
        let store = open("checkpoint", dir.path()).unwrap();
        let column = |name: &str, kind: &str| Column { name: name.into(), kind: kind.into(), nullable: false };
        let columns = [vec![column("word", "text")], Vec::new(), vec![column("n", "int64")]];
        Checkpoints { _dir: dir, store, table: Table::of_stage("totals", "", columns) }
    }

    /// Adds a checkpoint with one more file.
    fn add(&mut self, base: bool, words: Words<'_>) -> Checkpoint {
        let number = self.table.files.len() as u64 + 1;
        let fields =
            [("word", DataType::Utf8, false), ("n", DataType::Int64, true), (REMOVED, DataType::Boolean, false)];
        let fields: Vec<Field> = fields.into_iter().map(|(name, kind, null)| Field::new(name, kind, null)).collect();
        let columns: [ArrayRef; 3] = [
            Arc::new(words.iter().map(|(word, _)| Some(*word)).collect::<StringArray>()),
            Arc::new(words.iter().map(|(_, n)| *n).collect::<Int64Array>()),
            Arc::new(words.iter().map(|(_, n)| Some(n.is_none())).collect::<BooleanArray>()),
        ];
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.to_vec()).unwrap();
        let bytes = state_file::encode(vec![rows], None).unwrap().bytes;
        let path = format!("state/{number}.arrow");
        self.table.files.push(StateFile {
            path: path.clone(),
            batch: BatchId(number),
            group_first: 0,
            group_end: 4096,
            base,
            rows: words.len() as u64,
            bytes: bytes.len() as u64,
            checksum: checksum(&bytes),
            footer: String::new(),
        });
        self.store.write(&path, bytes).unwrap();
        Checkpoint {
            batch: BatchId(number),
            time: BatchTime(0),
            generation: Generation(1),
            written: 0,
            tables: vec![self.table.clone()],
            sinks: BTreeMap::new(),
            leftover: false,
        }
    }

    fn follow(&self, ahead: &TablesAhead, checkpoint: &Checkpoint) -> Result<()> {
        let requests =
            [TableRequest { table: Table { files: Vec::new(), ..self.table.clone() }, idle: None, budget: None }];
        ahead.follow(&*self.store, checkpoint, &requests, 0..2, 2)
    }

    /// Creates an empty table as a stage does.
    fn empty(&self, timeout_us: Option<i64>) -> StateTable {
        let state = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let key = vec![Arc::new(Field::new("word", DataType::Utf8, false))];
        let mut table = StateTable::new(key, state, timeout_us).unwrap();
        table.track_changes();
        table
    }

    /// Returns what both workers have once they have loaded the rest, and how many files were left for both.
    fn handed_over(&self, ahead: &TablesAhead, checkpoint: &Checkpoint) -> (BTreeMap<String, i64>, usize) {
        let (mut all, mut left) = (BTreeMap::new(), 0);
        for worker in 0..2 {
            let mut table = self.empty(None);
            let saved = &checkpoint.tables[0];
            let (first, end) = fold::group_range(worker, 2);
            let rest = ahead.hand_over(worker, saved, fold::live(&saved.files, first, end), &mut table);
            left += rest.len();
            read::each_live(&*self.store, saved, &rest, |rows| table.restore(&rows, |_| true)).unwrap();
            assert_eq!(table.changed(), 0, "what is loaded is no change");
            let rows = table.rows().unwrap();
            let words = rows.column(0).as_string::<i32>().iter().map(|word| word.unwrap().to_owned());
            all.extend(words.zip(rows.column(1).as_primitive::<Int64Type>().values().iter().copied()));
        }
        (all, left)
    }
}

fn words(of: &[(&str, i64)]) -> BTreeMap<String, i64> {
    of.iter().map(|(word, n)| ((*word).to_owned(), *n)).collect()
}

#[test]
fn a_process_that_stands_by_has_only_new_files_to_load() {
    let mut kept = Checkpoints::new();
    let first = kept.add(true, &[("a", Some(1)), ("b", Some(2)), ("c", Some(3))]);
    let ahead = TablesAhead::default();
    kept.follow(&ahead, &first).unwrap();
    let second = kept.add(false, &[("b", None), ("c", Some(4))]);
    kept.follow(&ahead, &second).unwrap();
    let third = kept.add(false, &[("d", Some(5))]);
    let (all, left) = kept.handed_over(&ahead, &third);
    assert_eq!(all, words(&[("a", 1), ("c", 4), ("d", 5)]));
    assert_eq!(left, 2, "the third file, for each of two workers");
    assert!(second.tables[0].files.iter().all(|file| ahead.is_intact(file)));
}

#[test]
fn a_new_base_is_loaded_from_its_beginning_as_it_tells_of_no_removal() {
    let mut kept = Checkpoints::new();
    let first = kept.add(true, &[("a", Some(1)), ("b", Some(2))]);
    let ahead = TablesAhead::default();
    kept.follow(&ahead, &first).unwrap();
    let second = kept.add(true, &[("b", Some(3))]);
    assert_eq!(kept.handed_over(&ahead, &second), (words(&[("b", 3)]), 2));
    kept.follow(&ahead, &first).unwrap();
    kept.follow(&ahead, &second).unwrap();
    assert_eq!(kept.handed_over(&ahead, &second), (words(&[("b", 3)]), 0));
}

/// If checkpoints come faster than they are loaded, files are deleted before their turn.
#[test]
fn what_was_loaded_before_a_file_was_gone_is_not_loaded_again() {
    let mut kept = Checkpoints::new();
    kept.add(true, &[("a", Some(1)), ("b", Some(2)), ("c", Some(3))]);
    let second = kept.add(false, &[("c", Some(4))]);
    kept.store.delete("state/2.arrow").unwrap();
    let ahead = TablesAhead::default();
    kept.follow(&ahead, &second).unwrap_err();
    let (first, gone) = (&second.tables[0].files[0], &second.tables[0].files[1]);
    assert!(ahead.is_intact(first) && !ahead.is_intact(gone));
    // It is replaced by another one, and the first was deleted as well.
    kept.table.files.pop();
    let third = kept.add(false, &[("c", Some(5))]);
    kept.store.delete("state/1.arrow").unwrap();
    kept.follow(&ahead, &third).unwrap();
    assert_eq!(kept.handed_over(&ahead, &third), (words(&[("a", 1), ("b", 2), ("c", 5)]), 0));
}

#[test]
fn what_does_not_fit_is_of_no_use_and_does_no_harm() {
    let mut kept = Checkpoints::new();
    let first = kept.add(true, &[("a", Some(1))]);
    let ahead = TablesAhead::default();
    kept.follow(&ahead, &first).unwrap();
    // With a timeout, it needs to know when keys were touched last.
    let saved = &first.tables[0];
    let mut table = kept.empty(Some(1));
    assert_eq!(ahead.hand_over(0, saved, fold::live(&saved.files, 0, 2048), &mut table).len(), 1);
    assert!(table.is_empty());
    // A table of another version of a plugin is a different table.
    kept.follow(&ahead, &first).unwrap();
    let mut other = saved.clone();
    other.state[0].kind = "text".into();
    assert_eq!(ahead.hand_over(0, &other, fold::live(&saved.files, 0, 2048), &mut kept.empty(None)).len(), 1);
    // A missing or damaged file leaves nothing that would be taken for complete.
    kept.store.delete("state/1.arrow").unwrap();
    let fresh = TablesAhead::default();
    assert!(kept.follow(&fresh, &first).is_err());
    assert!(!fresh.is_intact(&saved.files[0]));
    assert_eq!(fresh.hand_over(0, saved, fold::live(&saved.files, 0, 2048), &mut kept.empty(None)).len(), 1);
}
