use super::*;
use crate::state::StateTable;
use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn file(first: u32, end: u32, base: bool, rows: u64) -> StateFile {
    StateFile {
        path: String::new(),
        batch: BatchId(1),
        group_first: first,
        group_end: end,
        base,
        rows,
        bytes: 0,
        checksum: String::new(),
        footer: String::new(),
    }
}

#[test]
fn group_ranges_are_what_workers_own() {
    for peers in [1, 2, 3, 5, 7, 8, 64, 1000, 4096, 5000] {
        for worker in 0..peers {
            let (first, end) = group_range(worker, peers);
            for group in [first, end.saturating_sub(1)] {
                let owner = KeyHash(u64::from(group) << 52).worker(peers);
                assert!(first == end || owner == worker, "group {group} of {peers}: {owner}, not {worker}");
            }
            assert_eq!(end, group_range(worker + 1, peers).0, "{worker} of {peers}");
        }
        assert_eq!((group_range(0, peers).0, group_range(peers - 1, peers).1), (0, 4096));
    }
}

#[test]
fn a_base_is_due_when_changes_outgrow_the_table_or_lie_in_many_files() {
    let base = || file(0, 4096, true, 1000);
    assert!(base_due(&[], 0, 4096, 1, 1000), "there is none");
    assert!(base_due(&[file(0, 2048, true, 500)], 0, 4096, 1, 1000), "half of the groups have none");
    assert!(!base_due(&[base()], 0, 4096, 999, 1000));
    assert!(base_due(&[base()], 0, 4096, 1000, 1000));
    assert!(!base_due(&[base(), file(0, 4096, false, 500)], 0, 4096, 499, 1000));
    assert!(base_due(&[base(), file(0, 4096, false, 500)], 0, 4096, 500, 1000));
    let many = |deltas| [vec![base()], vec![file(0, 4096, false, 1); deltas]].concat();
    assert!(!base_due(&many(STATE_DELTAS_MAX - 1), 0, 4096, 1, 1000));
    assert!(base_due(&many(STATE_DELTAS_MAX), 0, 4096, 1, 1000));
    assert!(!base_due(&many(STATE_DELTAS_MAX), 0, 4096, 0, 1000), "nothing changed, so nothing is written");
    // Of a file of eight times the groups, one eighth of the rows.
    let rescaled = [base(), file(0, 4096, false, 800)];
    assert!(!base_due(&rescaled, 512, 1024, 24, 125));
    assert!(base_due(&rescaled, 512, 1024, 25, 125));
    // Changes before the base do not count.
    assert!(!base_due(&[file(0, 4096, false, 5000), base()], 0, 4096, 1, 1000));
}

#[test]
fn a_table_is_written_whole_a_part_at_a_time() {
    let (first, end, parts) = (1000, 3001, 32);
    let mut files = vec![file(0, 4096, true, 100_000)];
    let (mut seen, mut peak) = (BTreeSet::new(), 0);
    for round in 0..1_000 {
        add_file(&mut files, BatchId(round), (first, end), false, 10);
        if base_due(&files, first, end, 10, 100_000) {
            let part = next_part(&files, first, end, parts);
            assert!(part.start >= first && part.end <= end && part.len() <= 63, "{part:?}");
            seen.insert(part.start);
            add_file(&mut files, BatchId(round), (part.start, part.end), true, 3_000);
        }
        peak = peak.max(files.len());
    }
    assert_eq!(seen.len(), 32, "every part has its turn");
    assert!(peak < STATE_DELTAS_MAX * 2 + 40, "{peak} files");
}

#[test]
fn files_count_where_no_newer_base_covers_them() {
    let files = [file(0, 4096, true, 9), file(1000, 2000, true, 3), file(1500, 2500, false, 2), file(0, 1500, true, 4)];
    let ranges = |live: LiveFile| live.groups.into_iter().map(move |groups| (live.index, groups.start, groups.end));
    let live_ranges: Vec<_> = live(&files, 0, 4096).into_iter().flat_map(ranges).collect();
    assert_eq!(live_ranges, [(0, 2000, 4096), (1, 1500, 2000), (2, 1500, 2500), (3, 0, 1500)]);
    assert_eq!(applicable(&files, 0, 1200), [&files[3]]);
    let kept = prune([&files[..], &[file(1500, 2500, true, 1)]].concat());
    assert_eq!(kept, [files[0].clone(), files[3].clone(), file(1500, 2500, true, 1)]);
}

type Model = BTreeMap<String, (Option<i64>, String, i64)>;

fn table(worker: usize, peers: usize, files: &[StateFile], stored: &BTreeMap<String, RecordBatch>) -> StateTable {
    let state = Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("last", DataType::Utf8, false)]);
    let key = vec![Arc::new(Field::new("word", DataType::Utf8, false))];
    let mut table = StateTable::new(key, Arc::new(state), Some(1 << 40)).unwrap();
    // As stages do it: restored rows must not count as changed, and yet their removal must be recorded.
    table.track_changes();
    let (first, end) = group_range(worker, peers);
    for live in live(files, first, end) {
        let rows = rows_in_groups(&stored[&live.file.path], 1, &live.groups).unwrap();
        table.restore(&rows, |hash| hash.worker(peers) == worker).unwrap();
    }
    table
}

/// Returns all rows of a table by key, with the times of their last touch.
fn rows_of(table: &mut StateTable) -> Model {
    let rows = table.all_changes(true).unwrap();
    let (words, last) = (rows.column(0).as_string::<i32>(), rows.column(2).as_string::<i32>());
    let n: &Int64Array = rows.column(1).as_primitive();
    let touched = rows.column(3).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    let row = |i| (words.value(i).to_owned(), (n.iter().nth(i).flatten(), last.value(i).to_owned(), touched.value(i)));
    (0..rows.num_rows()).map(row).collect()
}

/// Stores, touches or removes random keys, in the tables of their owners and in the model.
fn change(random: &mut Random, tables: &mut [StateTable], model: &mut Model, now: i64) {
    let peers = tables.len();
    for _ in 0..random.below(60) {
        let word = format!("w{}", random.below(80));
        let keys = Keys::encode(&[Arc::new(StringArray::from(vec![word.as_str()])) as ArrayRef], 1).unwrap();
        let hash = keys.hashes()[0];
        let table = &mut tables[hash.worker(peers)];
        let slot = table.slot(word.as_bytes(), hash);
        let remove = random.below(3) == 0;
        let n = (random.below(5) > 0).then(|| random.below(1000) as i64);
        let schema = table.states(&[slot]).unwrap().0.schema();
        let last = format!("at {now}");
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![n])), Arc::new(StringArray::from(vec![last.as_str()]))];
        let state = RecordBatch::try_new(schema, columns).unwrap();
        table.store(&[slot], &state, &BooleanArray::from(vec![!remove]));
        table.touch(&[slot], BatchTime(now));
        if remove {
            model.remove(&word);
        } else {
            model.insert(word, (n, last, now));
        }
    }
    // A touch without a new state.
    if let Some(word) = model.keys().nth(random.below(80) as usize).cloned() {
        let keys = Keys::encode(&[Arc::new(StringArray::from(vec![word.as_str()])) as ArrayRef], 1).unwrap();
        let hash = keys.hashes()[0];
        let slot = tables[hash.worker(peers)].slot(word.as_bytes(), hash);
        tables[hash.worker(peers)].touch(&[slot], BatchTime(now));
        model.get_mut(&word).unwrap().2 = now;
    }
}

#[test]
fn tables_are_restored_whatever_the_workers_of_each_start() {
    let (mut bases, mut deltas, mut removals, mut pruned) = (0, 0, 0, 0);
    for seed in 0..150 {
        let mut random = Random(seed);
        let (mut model, mut files, mut stored) = (Model::new(), Vec::new(), BTreeMap::new());
        let mut now = 0;
        for start in 0..6 {
            let peers = [1, 3, 8, 2, 5][random.below(5) as usize];
            let mut tables: Vec<_> = (0..peers).map(|worker| table(worker, peers, &files, &stored)).collect();
            for checkpoint in 0..1 + random.below(4) {
                now += 1;
                change(&mut random, &mut tables, &mut model, now);
                for (worker, table) in tables.iter_mut().enumerate() {
                    let (first, end) = group_range(worker, peers);
                    let (changed, len) = (table.changed(), table.len() as u64);
                    let base = base_due(&files, first, end, changed, len) || random.below(12) == 0;
                    let rows = table.all_changes(base).unwrap();
                    assert!(in_order(&rows, first, end), "seed {seed}");
                    let removed = rows.column(4).as_boolean().true_count();
                    *if base { &mut bases } else { &mut deltas } += 1;
                    removals += removed;
                    let mut file = file(first, end, base, rows.num_rows() as u64);
                    file.path = format!("{start}-{checkpoint}-{worker}");
                    stored.insert(file.path.clone(), rows);
                    files.push(file);
                }
                let before = files.len();
                files = prune(files);
                pruned += before - files.len();
                let kept: BTreeSet<&String> = files.iter().map(|file| &file.path).collect();
                stored.retain(|path, _| kept.contains(path));
                // A crash loses later changes, as the tables are restored from the files.
                let peers = 1 + random.below(9) as usize;
                let mut restored = Model::new();
                for worker in 0..peers {
                    let mut table = table(worker, peers, &files, &stored);
                    assert_eq!(table.all_changes(false).unwrap().num_rows(), 0, "what is restored has not changed");
                    let rows = rows_of(&mut table);
                    assert_eq!(rows.len(), table.len());
                    restored.extend(rows);
                }
                assert_eq!(restored, model, "seed {seed}, start {start}, checkpoint {checkpoint}, {peers} workers");
            }
        }
    }
    assert!(bases > 1000 && deltas > 1000 && removals > 1000 && pruned > 1000, "{bases} {deltas} {removals} {pruned}");
}

/// Returns whether keys are in the order of their hashes, without duplicates, and all of them in these groups.
fn in_order(rows: &RecordBatch, first: u32, end: u32) -> bool {
    let hashes = Keys::encode(&rows.columns()[..1], rows.num_rows()).unwrap().hashes();
    let owned = |hash: &KeyHash| (u64::from(first)..u64::from(end)).contains(&hash.group());
    hashes.windows(2).all(|pair| pair[0] < pair[1]) && hashes.iter().all(owned)
}
