use super::budget::StateBudget;
use super::*;
use crate::limits::STATE_SLICE_MAX;
use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use millstream_base::ids::BatchTime;
use millstream_base::limits::SliceMax;
use millstream_base::random::Random;
use millstream_rows::batch::keys::Keys;
use std::path::Path;
use std::sync::Arc;

mod adopted;
mod frozen;

fn state() -> SchemaRef {
    let field = |name: &str, kind, null| Field::new(name, kind, null);
    Arc::new(Schema::new(vec![
        field("n", DataType::Int64, false),
        field("text", DataType::Utf8, true),
        field("f", DataType::Float64, true),
        field("b", DataType::Boolean, false),
    ]))
}

fn name(key: u64) -> String {
    format!("{key}{}", "x".repeat((key % 40) as usize))
}

fn table(timeout_us: Option<i64>) -> StateTable {
    StateTable::new(vec![Arc::new(Field::new("key", DataType::Utf8, true))], state(), timeout_us).unwrap()
}

fn spilling(bytes: u64, dir: &Path, timeout_us: Option<i64>) -> StateTable {
    let budget = StateBudget::new(bytes, dir.to_owned());
    table(timeout_us).spilling(budget.share(), &Failure::default()).unwrap()
}

/// Two tables with the same operations: one with all rows in memory, and one that spills.
struct Pair {
    plain: StateTable,
    spilled: StateTable,
    random: Random,
    now: i64,
}

impl Pair {
    fn both(&mut self, mut work: impl FnMut(&mut StateTable)) {
        work(&mut self.plain);
        work(&mut self.spilled);
    }

    /// A batch: some keys, a few of them frequent, are looked up, stored, removed or left unchanged.
    fn batch(&mut self, keys: u64) {
        self.now += 1 + self.random.below(5) as i64;
        let mut names: Vec<Option<String>> = (0..1 + self.random.below(60))
            .map(|_| {
                let most_kept = if self.random.below(3) == 0 { keys / 20 + 1 } else { keys };
                let key = self.random.below(most_kept);
                (key != 7).then(|| name(key))
            })
            .collect();
        names.sort();
        names.dedup();
        let rows = names.len();
        let encoded = Keys::encode(&[Arc::new(StringArray::from(names)) as ArrayRef], rows).unwrap();
        let random = &mut self.random;
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|_| random.next() as i64)));
        let text = (0..rows).map(|_| (random.below(4) > 0).then(|| "t".repeat(random.below(90) as usize)));
        let text: ArrayRef = Arc::new(text.collect::<StringArray>());
        let f = (0..rows).map(|_| (random.below(4) > 0).then(|| random.next() as f64));
        let f: ArrayRef = Arc::new(f.collect::<Float64Array>());
        let b: ArrayRef = Arc::new((0..rows).map(|_| Some(random.below(2) == 0)).collect::<BooleanArray>());
        let states = RecordBatch::try_new(state(), vec![n, text, f, b]).unwrap();
        let kept: BooleanArray = (0..rows).map(|_| Some(random.below(6) > 0)).collect();
        let idle_too = random.below(2) == 0;
        let now = BatchTime(self.now);
        let (mut seen, mut idle) = (Vec::new(), Vec::new());
        self.both(|table| {
            let (view, hashes) = (encoded.view(), encoded.hashes());
            table.warm(view).unwrap();
            let expired = if idle_too { table.take_idle(now).unwrap() } else { Vec::new() };
            let mut keys: Vec<_> =
                expired.iter().map(|slot| (table.owned_key(*slot), table.is_stored(*slot))).collect();
            keys.sort();
            idle.push(keys);
            let slots: Vec<Slot> = (0..rows).map(|row| table.slot(view.get(row), hashes[row])).collect();
            table.used(&slots);
            seen.push(table.states(&slots).unwrap());
            table.store(&slots, &states, &kept);
            table.touch(&slots, now);
            // Idle keys without rows are removed.
            let ended: Vec<Slot> = expired.into_iter().filter(|slot| !slots.contains(slot)).collect();
            let none = RecordBatch::new_empty(state());
            table.store(&ended, &none, &BooleanArray::from(vec![false; ended.len()]));
            table.shrink().unwrap();
        });
        assert_eq!(seen[0], seen[1]);
        assert_eq!(idle[0], idle[1]);
        assert_eq!(self.plain.changed() > 0, self.spilled.changed() > 0);
        self.has_equal_len();
    }

    /// Both have the same number of rows, but files of a checkpoint may contain some several times.
    fn has_equal_len(&self) {
        let (plain, spilled) = (self.plain.len(), self.spilled.len());
        let levels = self.spilled.spill.as_ref().map_or(0, |spill| spill.cold.of_checkpoint().count());
        assert!(plain == spilled || (plain < spilled && levels > 1), "{plain}, {spilled} with {levels} levels");
    }

    /// Loads all rows with the hash of a key into memory.
    fn warm_by_hash(&mut self, key: u64) {
        let names = Arc::new(StringArray::from(vec![name(key)])) as ArrayRef;
        let encoded = Keys::encode(&[names], 1).unwrap();
        let hashes = encoded.hashes();
        self.both(|table| drop(table.warm_hashes(hashes.iter().copied()).unwrap()));
        let key = encoded.view().get(0);
        let found =
            [&self.plain, &self.spilled].map(|table| table.find(key).map(|slot| table.states(&[slot]).unwrap()));
        assert_eq!(found[0], found[1]);
    }

    /// Stores a state for all of these keys.
    fn fill(&mut self, keys: u64) {
        let names = StringArray::from_iter_values((0..keys).map(name));
        let rows = keys as usize;
        let encoded = Keys::encode(&[Arc::new(names) as ArrayRef], rows).unwrap();
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
        let text: ArrayRef =
            Arc::new((0..rows).map(|row| (row % 3 > 0).then(|| "t".repeat(row % 90))).collect::<StringArray>());
        let f: ArrayRef = Arc::new((0..rows).map(|row| (row % 2 > 0).then_some(row as f64)).collect::<Float64Array>());
        let b: ArrayRef = Arc::new((0..rows).map(|row| Some(row % 5 == 0)).collect::<BooleanArray>());
        let states = RecordBatch::try_new(state(), vec![n, text, f, b]).unwrap();
        let now = BatchTime(self.now);
        self.both(|table| {
            let (view, hashes) = (encoded.view(), encoded.hashes());
            let slots: Vec<Slot> = (0..rows).map(|row| table.slot(view.get(row), hashes[row])).collect();
            table.store(&slots, &states, &BooleanArray::from(vec![true; rows]));
            table.touch(&slots, now);
            table.shrink().unwrap();
        });
    }

    fn changes(&mut self, base: bool) -> RecordBatch {
        let (plain, spilled) = (self.plain.all_changes(base).unwrap(), self.spilled.all_changes(base).unwrap());
        assert_eq!(plain, spilled, "the rows of a file");
        plain
    }

    /// Returns the changes, for one of the tables through a copy that is written after further batches.
    fn changes_later(&mut self, keys: u64) -> RecordBatch {
        let (mut now, mut later) = (&mut self.plain, &mut self.spilled);
        if self.random.below(2) == 0 {
            (now, later) = (later, now);
        }
        let rows = now.all_changes(false).unwrap();
        // Too many changes are left unchanged.
        let too_much = later.copy_changes(0).unwrap();
        let copy = too_much.unwrap_or_else(|| later.copy_changes(u64::MAX).unwrap().unwrap());
        self.batch(keys);
        assert_eq!(copy.table().unwrap().all_changes(false).unwrap(), rows, "the rows of a file");
        rows
    }

    /// Returns the changes in two files: first what is in memory, later the rest.
    fn changes_in_two(&mut self, keys: u64) -> [RecordBatch; 2] {
        self.plain.all_changes(false).unwrap();
        let mut slices = Vec::new();
        let cold = self.spilled.changes_in_memory(STATE_SLICE_MAX, &mut |slice| slices.push(slice.rows)).unwrap();
        assert_eq!((self.plain.changed(), self.spilled.changed()), (0, 0));
        self.batch(keys);
        let warm = concat_batches(&self.spilled.file_schema(), &slices).unwrap();
        [warm, cold.table().unwrap().all_changes(false).unwrap()]
    }
}

fn all(table: &mut StateTable) -> RecordBatch {
    let mut copy = table.copied();
    copy.track_changes();
    copy.all_changes(true).unwrap()
}

#[test]
fn a_table_that_spills_is_the_same_as_one_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (mut most_kept, mut files, mut merged, mut closed_up) = (0, 0, false, false);
    for (seed, (keys, bytes, timeout)) in (1..).zip([
        (200, 3_000, None),
        (3_000, 20_000, None),
        (3_000, 30_000, Some(900)),
        (400, 1, Some(60)),
        (50, 1 << 30, None),
    ]) {
        let mut pair =
            Pair { plain: table(timeout), spilled: spilling(bytes, dir.path(), timeout), random: Random(seed), now: 0 };
        pair.both(StateTable::track_changes);
        let mut of_files = Vec::new();
        for round in 0..250 {
            let slots = pair.spilled.slots();
            pair.batch(keys);
            closed_up |= pair.spilled.slots() < slots;
            let cold = pair.spilled.spill.as_ref().map(|spill| (spill.cold.files.len(), spill.cold.merge.is_some()));
            files = files.max(cold.unwrap().0);
            merged |= cold.unwrap().1;
            most_kept = most_kept.max(pair.spilled.cold().0);
            match round % 50 {
                11 => of_files.push(pair.changes(false)),
                17 => of_files.extend(pair.changes_in_two(keys)),
                23 => of_files.push(pair.changes_later(keys)),
                31 | 33 => of_files.push(pair.changes_frozen(false, keys)),
                37 if round % 100 == 37 => {
                    of_files.clear();
                    of_files.push(pair.changes(true));
                }
                41 => {
                    let (mut one, mut other) = (pair.plain.copied(), pair.spilled.copied());
                    assert_eq!(all(&mut one), all(&mut other), "a copy");
                }
                45 => {
                    // A restart that loads the checkpoints.
                    of_files.push(pair.changes(false));
                    for (budget, timeout) in [(bytes, timeout), (bytes, Some(timeout.unwrap_or(1_000)))] {
                        let mut after = spilling(budget, dir.path(), timeout);
                        after.track_changes();
                        after
                            .restore_each(|restore| of_files.iter().try_for_each(|rows| restore(rows, false)))
                            .unwrap();
                        assert_eq!(after.changed(), 0);
                        let mut rows_copy = pair.plain.copied();
                        if timeout.is_some() && rows_copy.idle.is_none() {
                            after.touch_restored(BatchTime(pair.now)).unwrap();
                            assert_eq!(after.changed(), rows_copy.len() as u64, "all were touched");
                            assert!(after.take_idle(BatchTime(pair.now + 999)).unwrap().is_empty());
                            let gone = after.take_idle(BatchTime(pair.now + 1_000)).unwrap();
                            assert_eq!(gone.len(), rows_copy.len(), "all are idle at the same time");
                        } else {
                            assert_eq!(all(&mut after), all(&mut rows_copy));
                        }
                    }
                }
                29 => {
                    // A part of a base, as a large table is written.
                    let part = pair.random.below(3_000);
                    let part = part..part + 1 + pair.random.below(KEY_GROUPS - part);
                    let changed = (pair.plain.changed(), pair.spilled.changed());
                    let mut parts = Vec::new();
                    let mut rows = |table: &mut StateTable| {
                        let mut slices = Vec::new();
                        table.all_of(part.clone(), STATE_SLICE_MAX, &mut |slice| slices.push(slice.rows)).unwrap();
                        parts.push(concat_batches(&table.file_schema(), &slices).unwrap());
                    };
                    pair.both(&mut rows);
                    let copies = [&pair.plain, &pair.spilled]
                        .map(|table| table.copy_of_groups(&part, u64::MAX).unwrap().unwrap());
                    assert_eq!((pair.plain.changed(), pair.spilled.changed()), changed);
                    pair.batch(keys);
                    copies.into_iter().for_each(|copy| rows(&mut copy.table().unwrap()));
                    assert!(parts.iter().all(|other| *other == parts[0]), "a part of a base");
                }
                _ => {}
            }
        }
    }
    assert!(most_kept > 1_000 && files > 12 && merged, "{most_kept} cold rows, {files} files, merged: {merged}");
    assert!(closed_up, "rows were moved together");
}

#[test]
fn a_start_brings_rows_that_do_not_fit_into_files_without_a_detour() {
    const BUDGET: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let timeout = Some(1_000);
    let mut pair =
        Pair { plain: table(timeout), spilled: spilling(BUDGET, dir.path(), timeout), random: Random(3), now: 0 };
    pair.both(StateTable::track_changes);
    (0..200).for_each(|_| pair.batch(20_000_000));
    let slices = |pair: &mut Pair, base| {
        let mut slices = Vec::new();
        let most_kept = SliceMax { rows: 700, ..STATE_SLICE_MAX };
        pair.plain.changes(base, most_kept, &mut |slice| slices.push(slice.rows)).unwrap();
        slices
    };
    let base = slices(&mut pair, true);
    // Some of the keys again, and some that were removed.
    (0..40).for_each(|_| pair.batch(20_000_000));
    let changes = slices(&mut pair, false);
    let (all_there, now) = (all(&mut pair.plain), BatchTime(pair.now + 600));
    let idle = |table: &mut StateTable| {
        let slots = table.take_idle(now).unwrap();
        let mut keys: Vec<_> = slots.iter().map(|slot| table.owned_key(*slot)).collect();
        keys.sort();
        keys
    };
    let were_idle = idle(&mut pair.plain);
    // In file format; the second half first, as if a base is written in parts.
    let half = base.len() / 2;
    let orders = [base.clone(), [&base[half..], &base[..half]].concat()];
    for base in orders {
        for bytes in [1, 60_000, BUDGET, BUDGET << 10] {
            let mut after = spilling(bytes, dir.path(), timeout);
            after.track_changes();
            after.restore_each(|restore| base.iter().try_for_each(|rows| restore(rows, true))).unwrap();
            if bytes == 1 {
                let mut files = after.spill.iter().flat_map(|spill| &spill.cold.files).map(|file| file.file.rows());
                assert!(files.any(|of_file| of_file > 1_400), "no file has the rows of several slices");
            }
            after.restore_each(|restore| changes.iter().try_for_each(|rows| restore(rows, false))).unwrap();
            assert_eq!((after.changed(), after.cold().0 > 0), (0, bytes < BUDGET << 10));
            assert_eq!(all(&mut after), all_there, "{bytes} bytes");
            assert_eq!(idle(&mut after), were_idle, "{bytes} bytes");
        }
    }
    let mut after = spilling(1, dir.path(), timeout);
    after.track_changes();
    let failed = |restore: direct::RestoreRows<'_>| {
        base[..half].iter().try_for_each(|rows| restore(rows, true))?;
        Err(Error::bug("no more"))
    };
    assert!(after.restore_each(failed).is_err());
    assert_eq!(after.len(), base[..half].iter().map(RecordBatch::num_rows).sum::<usize>(), "what came is there");
}

#[test]
fn a_migration_leaves_no_row_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut pair =
        Pair { plain: table(Some(500)), spilled: spilling(20_000, dir.path(), Some(500)), random: Random(5), now: 0 };
    pair.both(StateTable::track_changes);
    (0..200).for_each(|_| pair.batch(2_000));
    pair.changes(false);
    (0..20).for_each(|_| pair.batch(2_000));
    let to: SchemaRef = Arc::new(Schema::new(vec![Field::new("twice", DataType::Int64, true)]));
    assert!(pair.spilled.cold().0 > 500);
    pair.both(|table| {
        table
            .migrate(&to, |old| {
                let n = old.column(0).as_primitive::<Int64Type>();
                let twice: ArrayRef = Arc::new(n.unary::<_, Int64Type>(|n| n.wrapping_mul(2)));
                Ok(RecordBatch::try_new(to.clone(), vec![twice]).unwrap())
            })
            .unwrap();
    });
    assert_eq!(pair.plain.changed(), pair.spilled.changed());
    assert!(pair.spilled.cold().0 > 500);
    // Earlier files are invalid, so the next is a base.
    pair.changes(true);
    let idle = |table: &mut StateTable| {
        let slots = table.take_idle(BatchTime(pair.now + 400)).unwrap();
        let mut keys: Vec<_> = slots.iter().map(|slot| table.owned_key(*slot)).collect();
        keys.sort();
        keys
    };
    let (plain, spilled) = (idle(&mut pair.plain), idle(&mut pair.spilled));
    assert!(!plain.is_empty());
    assert_eq!(plain, spilled);
}

/// A file with a row for each number, which is its key and hash and the time at which it was touched.
fn numbers(dir: &Path, count: u64) -> file::SpillFile {
    let mut writer = SpillWriter::new(&StateBudget::new(0, dir.into()), count, Failure::default()).unwrap();
    let mut row = Vec::new();
    for hash in 0..count {
        row.clear();
        page::put_row(&mut row, (hash, &hash.to_le_bytes()), false, hash as i64, |out| out.extend([7; 30]));
        writer.add(&row, hash, hash as i64).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn many_rows_are_read_ahead_and_come_in_order_each_once() {
    const COUNT: u64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let mut rows = ColdRows::from_files(vec![ColdFile::new(numbers(dir.path(), COUNT), false, true)]);
    let keys: Vec<[u8; 8]> = (0..COUNT + 100).map(u64::to_le_bytes).collect();
    let mut there: Vec<u64> = (0..COUNT).collect();
    // All pages are adjacent, some, or none.
    for step in [1_111, 130, 61, 7] {
        let wanted_hashes = || (0..COUNT + 100).step_by(step);
        let lookups = wanted_hashes().map(|hash| KeyLookup { hash, key: Some(&keys[hash as usize]) }).collect();
        let mut found = Vec::new();
        rows.take(lookups, |_, row| found.push(row.hash)).unwrap();
        let expected: Vec<u64> = wanted_hashes().filter(|hash| there.binary_search(hash).is_ok()).collect();
        assert_eq!(found, expected, "every {step}");
        there.retain(|hash| !hash.is_multiple_of(step as u64));
    }
    // Due rows come some pages at a time.
    let (mut found, mut rounds) = (Vec::new(), 0);
    while there.len() > 100 {
        let mut now = Vec::new();
        rows.take_touched(15_000, 2_000, |_, row| now.push(row.hash)).unwrap();
        if now.is_empty() {
            break;
        }
        assert!(now.len() < 6_000, "{}", now.len());
        found.extend(now);
        rounds += 1;
    }
    there.retain(|hash| *hash <= 15_000);
    assert!(found == there && rounds > 3, "{} of {} in {rounds} rounds", found.len(), there.len());

    // Errors are reported from any page.
    let spill_file = numbers(dir.path(), COUNT);
    let mut bytes = spill_file.all_bytes();
    let offset = spill_file.offset_of(spill_file.pages() - 3) + 100;
    bytes[offset] ^= 1;
    let path = dir.path().join("file");
    std::fs::write(&path, &bytes).unwrap();
    let damaged = spill_file.with_file(std::fs::File::open(&path).unwrap());
    let mut rows = ColdRows::from_files(vec![ColdFile::new(damaged, false, true)]);
    let lookups = (0..COUNT).step_by(40).map(|hash| KeyLookup { hash, key: None }).collect();
    let error = rows.take(lookups, |_, _| {}).unwrap_err();
    assert!(error.message.contains("its checksum is wrong"), "{error}");
}

#[test]
fn a_damaged_page_is_refused_and_a_dir_that_is_none_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let spill_file = numbers(dir.path(), 400);
    assert!(spill_file.pages() > 4);
    let found = |file: &mut ColdFile, hash: u64| {
        let mut rows = ColdRows::from_files(vec![file.clone()]);
        let mut found = 0;
        let key = hash.to_le_bytes();
        rows.take(vec![KeyLookup { hash, key: Some(&key) }], |_, row| found += usize::from(row.columns == [7; 30]))?;
        Ok::<_, Error>(found)
    };
    let bytes = spill_file.all_bytes();
    let mut file = ColdFile::new(spill_file, false, false);
    assert_eq!(
        (found(&mut file, 3).unwrap(), found(&mut file, 399).unwrap(), found(&mut file, 400).unwrap()),
        (1, 1, 0)
    );
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, &damaged).unwrap();
        let other = file.file.with_file(std::fs::File::open(&path).unwrap());
        let page = (0..other.pages()).rev().find(|page| other.offset_of(*page) <= at).unwrap();
        let hash = other.first_hash(page);
        let error = found(&mut ColdFile::new(other, false, false), hash).unwrap_err();
        assert!(error.message.contains(&format!("page {page} of a file is damaged: its checksum is wrong")), "{error}");
    }
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let short = file.file.with_file(std::fs::File::open(&path).unwrap());
    let error = found(&mut ColdFile::new(short, false, false), 399).unwrap_err();
    assert!(error.message.contains("it cannot be read"), "{error}");

    let budget = StateBudget::new(1, path.join("below a file"));
    let error = table(None).spilling(budget.share(), &Failure::default()).err().unwrap();
    assert!(error.message.contains("cannot create a file for cold rows of state in"), "{error}");
    assert!(std::fs::read_dir(dir.path()).unwrap().count() == 1, "files have no names");
}
