use super::*;
use crate::limits::STATE_SLICE_MAX;
use crate::state::spill::budget::StateBudget;
use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use millstream_base::failure::Failure;
use millstream_base::random::Random;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

thread_local! {
    /// How many values were decoded.
    static DECODED: Cell<usize> = const { Cell::new(0) };
}

/// A value whose key is its sub-key and a number.
#[derive(Clone, Debug, PartialEq)]
struct Text(String);

impl Value for Text {
    type Key = (i64, i64);

    fn sub(key: &(i64, i64)) -> i64 {
        key.0
    }

    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn encode(values: &[((i64, i64), Text)]) -> Result<[Vec<ArrayRef>; 2]> {
        let numbers = Int64Array::from_iter_values(values.iter().map(|((_, number), _)| *number));
        let subs = Int64Array::from_iter_values(values.iter().map(|((sub, _), _)| *sub));
        let texts = StringArray::from_iter_values(values.iter().map(|(_, text)| &text.0));
        Ok([vec![Arc::new(numbers), Arc::new(subs)], vec![Arc::new(texts)]])
    }

    fn decode(keys: &[ArrayRef], states: &RecordBatch) -> Result<Vec<((i64, i64), Text)>> {
        let [numbers, subs] = [0, 1].map(|column| keys[column].as_primitive::<Int64Type>().values());
        let texts = states.column(0).as_string::<i32>();
        DECODED.set(DECODED.get() + numbers.len());
        Ok((0..numbers.len()).map(|row| ((subs[row], numbers[row]), Text(texts.value(row).to_owned()))).collect())
    }
}

fn table() -> StateTable {
    let fields = ["number", "sub"].map(|name| Arc::new(Field::new(name, DataType::Int64, false)));
    let state = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, false)]));
    let mut table = StateTable::new(fields.to_vec(), state, None).unwrap().ordered_by(1);
    table.track_changes();
    table
}

/// Returns an empty store; with a budget its rows may be spilled.
fn store(budget: Option<&Arc<StateBudget>>) -> Store<Text> {
    let Some(budget) = budget else { return Store::new(table(), None).unwrap() };
    let failure = Failure::default();
    let table = table().spilling(budget.share(), &failure).unwrap();
    Store::new(table, Some(StageBudget::new(budget, &failure, "texts"))).unwrap()
}

/// Values at random sub-keys, taken by ranges of these, compared with a map: in memory and with little memory, with checkpoints of changes and of
/// everything, and with restarts from them.
#[test]
fn a_store_is_like_a_map_wherever_its_values_are() {
    let dir = tempfile::tempdir().unwrap();
    let (mut taken_count, mut spilled, mut restarts) = (0, 0, 0);
    for seed in 0..120 {
        let mut random = Random(seed);
        let budget = (seed % 3 > 0).then(|| StateBudget::new(20_000 + random.below(80_000), dir.path().to_owned()));
        let checkpoint_one_in = 2 + random.below(20);
        let mut store = store(budget.as_ref());
        let mut all: BTreeMap<(i64, i64), Text> = BTreeMap::new();
        let mut files: Vec<RecordBatch> = Vec::new();
        let (mut saved, mut first) = (all.clone(), 0);
        for step in 0..120 {
            for number in 0..random.below(8) as i64 {
                let key = (first + random.below(30) as i64, step * 10 + number);
                let text = Text(format!("{key:?} {}", "x".repeat(random.below(2_000) as usize)));
                store.insert(key, text.clone());
                all.insert(key, text);
            }
            if random.below(4) == 0 {
                let from = first + random.below(20) as i64;
                let wanted = from..from + random.below(10) as i64;
                first += random.below(4) as i64;
                let found = store.take(|sub| wanted.contains(&sub), |sub| sub < first).unwrap();
                let expected = all.iter().filter(|((sub, _), _)| wanted.contains(sub));
                let expected: Vec<_> = expected.map(|(key, text)| (*key, text.clone())).collect();
                assert_eq!(found, expected, "seed {seed}, step {step}");
                all.retain(|(sub, _), _| *sub >= first);
                taken_count += found.len();
            }
            store.shrink().unwrap();
            assert_eq!(store.count(), all.len() as u64, "seed {seed}, step {step}");
            let subs: BTreeSet<i64> = all.keys().map(|(sub, _)| *sub).collect();
            assert!(store.subs().eq(subs), "seed {seed}, step {step}");
            let ready: u64 = store.values.values().map(|values| bytes_of(&values.ready)).sum();
            assert_eq!(store.ready_bytes, ready, "seed {seed}, step {step}");
            spilled += store.table().cold().0;
            if random.below(checkpoint_one_in) == 0 {
                store.move_to_table().unwrap();
                assert_eq!((store.new_count, store.table().len()), (0, all.len()));
                let is_base = random.below(4) == 0;
                if is_base {
                    files.clear();
                }
                store.table().changes(is_base, STATE_SLICE_MAX, &mut |slice| files.push(slice.rows)).unwrap();
                (saved, restarts) = (all.clone(), restarts + 1);
                let mut restored = self::store(budget.as_ref());
                files.iter().for_each(|rows| restored.table.restore(rows, |_| true).unwrap());
                let restored = Store::new(restored.table, restored.budget).unwrap();
                // Some go on with the store that wrote the checkpoint.
                if random.below(2) == 0 {
                    store = restored;
                }
            }
        }
        let mut restored = self::store(None);
        files.iter().for_each(|rows| restored.table.restore(rows, |_| true).unwrap());
        let mut restored = Store::new(restored.table, None).unwrap();
        let found: BTreeMap<_, _> = restored.take(|_| true, |_| true).unwrap().into_iter().collect();
        assert!(found == saved && restored.count() == 0, "seed {seed}: another value was saved");
    }
    assert!(taken_count > 10_000 && spilled > 10_000 && restarts > 500, "{taken_count} {spilled} {restarts}");
}

/// A value that leaves before the next checkpoint is never encoded.
#[test]
fn values_that_leave_early_change_no_table() {
    let mut store = store(None);
    for sub in 0..100 {
        store.insert((sub, 0), Text("soon gone".to_owned()));
        store.take(|_| false, |other| other <= sub).unwrap();
    }
    store.move_to_table().unwrap();
    assert_eq!((store.count(), store.table().changed(), store.table().slots()), (0, 0, 0));
}

/// A value that several takes want is decoded once, and not at all if it was new.
#[test]
fn values_stay_decoded_while_memory_allows() {
    let dir = tempfile::tempdir().unwrap();
    let decoded_by_takes = |store: &mut Store<Text>| {
        let before = DECODED.get();
        for _ in 0..3 {
            assert_eq!(store.take(|sub| sub < 60, |sub| sub < 10).unwrap().last().unwrap().0.0, 59);
            store.shrink().unwrap();
        }
        DECODED.get() - before
    };
    for (memory, expected) in [(None, [0, 60]), (Some(10 << 20), [0, 60]), (Some(20_000), [160, 160])] {
        let budget = memory.map(|memory| StateBudget::new(memory, dir.path().to_owned()));
        let mut store = self::store(budget.as_ref());
        (0..100).for_each(|sub| store.insert((sub, 0), Text("x".repeat(1_000))));
        store.move_to_table().unwrap();
        store.shrink().unwrap();
        let mut files = Vec::new();
        store.table().changes(true, STATE_SLICE_MAX, &mut |slice| files.push(slice.rows)).unwrap();
        let mut restored = self::store(budget.as_ref());
        files.iter().for_each(|rows| restored.table.restore(rows, |_| true).unwrap());
        let mut restored = Store::new(restored.table, restored.budget).unwrap();
        let decoded = [decoded_by_takes(&mut store), decoded_by_takes(&mut restored)];
        assert_eq!(decoded, expected, "{memory:?}");
    }
}
