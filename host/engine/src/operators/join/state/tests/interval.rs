//! Interval joins over batches, checkpoints and rescaling.

use super::super::ColdIntervals;
use super::super::interval::{Interval, IntervalJoin};
use super::*;
use crate::checkpoint::fold;
use crate::checkpoint::types::StateFile;
use crate::limits::STATE_SLICE_MAX;
use crate::state::StateTable;
use crate::state::spill::budget::StateBudget;
use arrow::compute::concat_batches;
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_base::limits::SliceMax;
use millstream_rows::batch::keys::KEY_GROUPS;

const CASES: u64 = 3_000;

/// A batch: rows of both sides, and the watermark after it.
struct Step {
    rows: [Vec<Row>; 2],
    complete: Option<i64>,
}

struct Case {
    key: KeyKind,
    interval: Interval,
    steps: Vec<Step>,
}

fn case(dice: &mut Dice) -> Case {
    let key = KeyKind::random(dice);
    let from = dice.throw(20) as i64 - 10;
    let within_us = (from, from + dice.throw(12) as i64);
    let layout = layout(key, 1, false);
    let interval = Interval {
        kind: KINDS[dice.throw(4) as usize],
        on: key.columns.len(),
        within_us,
        layouts: [layout.clone(), layout],
        joined: joined(key, key.columns.len()),
    };
    let (mut id, mut complete, mut now) = (0, None, 0_i64);
    let lateness = dice.throw(20) as i64;
    let steps = (0..dice.throw(12)).map(|_| {
        let mut side = || {
            let mut row = |dice: &mut Dice| {
                id += 1;
                let time =
                    (now + dice.throw(10) as i64 - dice.throw(1 + lateness as u64) as i64).max(complete.unwrap_or(-99));
                Row { key: key.key(dice), times: vec![time], id }
            };
            (0..dice.throw(14)).map(|_| row(dice)).collect::<Vec<_>>()
        };
        let rows = [side(), side()];
        if dice.chance(80) {
            now += dice.throw(15) as i64;
            complete = complete.max(Some(now - lateness));
        }
        Step { rows, complete }
    });
    Case { key, interval, steps: steps.collect() }
}

/// Files of checkpoints, by side.
#[derive(Default)]
struct SavedFiles([Vec<(StateFile, RecordBatch)>; 2]);

impl SavedFiles {
    fn write(&mut self, side: Side, batch: u64, (group_first, group_end): (u32, u32), base: bool, rows: RecordBatch) {
        let file = StateFile {
            path: String::new(),
            batch: BatchId(batch),
            group_first,
            group_end,
            base,
            rows: rows.num_rows() as u64,
            bytes: 0,
            checksum: String::new(),
            footer: String::new(),
        };
        self.0[side.index()].push((file, rows));
    }

    fn load(&self, side: Side, interval: &Interval, (first, end): (u32, u32)) -> IntoLoaded {
        let files: Vec<StateFile> = self.0[side.index()].iter().map(|(file, _)| file.clone()).collect();
        let live = fold::live(&files, first, end);
        live.iter()
            .map(|live| fold::rows_in_groups(&self.0[side.index()][live.index].1, interval.on, &live.groups).unwrap())
            .collect()
    }
}

type IntoLoaded = Vec<RecordBatch>;

/// Starts `workers` workers with the content of the disk.
fn start(interval: &Interval, workers: usize, disk: Option<&SavedFiles>) -> Vec<IntervalJoin> {
    let worker = |worker: usize| {
        let mut join = IntervalJoin::new(interval.clone(), disk.is_some()).unwrap();
        for (side, disk) in Side::BOTH.into_iter().zip(disk.into_iter().cycle()) {
            let mut table = interval.table(side).unwrap();
            for rows in disk.load(side, interval, fold::group_range(worker, workers)) {
                table.restore(&rows, |_| true).unwrap();
            }
            join.restore(side, &table).unwrap();
        }
        join
    };
    (0..workers).map(worker).collect()
}

fn run_step(case: &Case, joins: &mut [IntervalJoin], number: usize) -> Vec<[Option<i64>; 2]> {
    let step = &case.steps[number];
    let count = joins.len();
    let mut found = Vec::new();
    for (worker, join) in joins.iter_mut().enumerate() {
        let rows = [0, 1].map(|side: usize| {
            let keys = keys(case.key, &step.rows[side]);
            let own = step.rows[side].iter().zip(keys).filter(|(_, (hash, _))| hash.worker(count) == worker);
            let own: Vec<Row> = own.map(|(row, _)| row.clone()).collect();
            if own.is_empty() {
                RecordBatch::new_empty(layout(case.key, 1, false))
            } else {
                rows_of(case.key, &own, false)
            }
        });
        let rows = join.batch(BatchId(number as u64 + 1), rows, step.complete).unwrap();
        found.extend(ids(&concat_batches(&case.interval.joined.schema, &rows).unwrap()));
    }
    found
}

#[test]
fn intervals_are_joined_as_nested_loops_do() {
    let (mut found, mut alone) = (0, 0);
    for number in 0..CASES {
        let mut dice = Dice::new(number);
        let case = case(&mut dice);
        let mut joins = start(&case.interval, 1, None);
        for step in 0..case.steps.len() {
            let rows = run_step(&case, &mut joins, step);
            assert_eq!(rows, nested_loops(&case, step), "case {number}, batch {}", step + 1);
            check_kept(&case, step, &joins[0]);
            let of = |id: i64| case.steps.iter().flat_map(|step| &step.rows).flatten().find(|row| row.id == id);
            let times = rows.iter().flatten().flatten().filter_map(|id| of(*id)).map(|row| row.times[0]);
            assert_eq!(joins[0].newest(), times.max(), "case {number}, batch {}", step + 1);
            found += rows.iter().filter(|ids| ids.iter().all(Option::is_some)).count();
            alone += rows.iter().filter(|ids| ids.iter().any(Option::is_none)).count();
        }
    }
    assert!(found > CASES as usize * 10 && alone > CASES as usize * 3, "{found} pairs and {alone} others are few");
}

#[test]
fn checkpoints_and_numbers_of_workers_change_nothing() {
    let mut restarts = 0;
    for number in 0..CASES {
        let mut dice = Dice::new(number);
        let case = case(&mut dice);
        let mut disk = SavedFiles::default();
        let mut joins = start(&case.interval, 1 + dice.throw(3) as usize, Some(&disk));
        for step in 0..case.steps.len() {
            let rows = run_step(&case, &mut joins, step);
            assert_eq!(rows, nested_loops(&case, step), "case {number}, batch {}", step + 1);
            if !dice.chance(40) {
                continue;
            }
            let count = joins.len();
            for (worker, join) in joins.iter_mut().enumerate() {
                for side in Side::BOTH {
                    let groups = fold::group_range(worker, count);
                    // The first file of a range is a base.
                    let base = disk.0[side.index()].is_empty() || dice.chance(20);
                    let changed = join.changed(side);
                    let mut slices = Vec::new();
                    let largest = SliceMax { rows: 1 + dice.throw(5) as usize, bytes: 200 };
                    join.changes(side, base, largest, &mut |slice| slices.push(slice.rows)).unwrap();
                    let rows = concat_batches(&slices[0].schema(), &slices).unwrap();
                    assert!(base || rows.num_rows() as u64 <= changed);
                    disk.write(side, step as u64 + 1, groups, base, rows);
                }
            }
            if dice.chance(50) {
                restarts += 1;
                joins = start(&case.interval, 1 + dice.throw(3) as usize, Some(&disk));
            }
        }
    }
    assert!(restarts > CASES, "{restarts} restarts are few");
    assert_eq!(fold::group_range(0, 1), (0, KEY_GROUPS as u32));
}

/// Returns the expected output of a batch: pairs whose later row arrived with it, and rows that will find no partner.
fn nested_loops(case: &Case, step: usize) -> Vec<[Option<i64>; 2]> {
    let kind = case.interval.kind;
    let all = |side: usize| -> Vec<(usize, &Row)> {
        (0..=step).flat_map(|step| case.steps[step].rows[side].iter().map(move |row| (step, row))).collect()
    };
    let sides = [all(0), all(1)];
    let keys: [Vec<_>; 2] = [0, 1].map(|side: usize| {
        let rows: Vec<Row> = sides[side].iter().map(|(_, row)| (*row).clone()).collect();
        if rows.is_empty() { Vec::new() } else { keys(case.key, &rows) }
    });
    let (from, to) = case.interval.within_us;
    let partners = |a: &Row, b: &Row| same_key(a, b, case.key) && (from..=to).contains(&(b.times[0] - a.times[0]));
    let complete = |step: Option<usize>| step.and_then(|step| case.steps[step].complete);
    let mut found = Vec::new();
    for (a, (came, first)) in sides[0].iter().enumerate() {
        let mut any = false;
        for (b, (other_came, second)) in sides[1].iter().enumerate() {
            if partners(first, second) {
                any = true;
                if *came.max(other_came) == step {
                    found.push((keys[0][a].clone(), a, b, [Some(first.id), Some(second.id)]));
                }
            }
        }
        let done = ends(case, first, first.times[0] + to, *came, step, complete);
        if !any && done && Side::First.is_outer(kind) {
            found.push((keys[0][a].clone(), a, usize::MAX, [Some(first.id), None]));
        }
    }
    for (b, (came, second)) in sides[1].iter().enumerate() {
        let any = sides[0].iter().any(|(_, first)| partners(first, second));
        let done = ends(case, second, second.times[0] - from, *came, step, complete);
        if !any && done && Side::Second.is_outer(kind) {
            found.push((keys[1][b].clone(), usize::MAX, b, [None, Some(second.id)]));
        }
    }
    found.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    found.into_iter().map(|(_, _, _, ids)| ids).collect()
}

/// Returns whether a row stops waiting with this batch: immediately if its key has a null.
fn ends(
    _case: &Case,
    row: &Row,
    until: i64,
    came: usize,
    step: usize,
    complete: impl Fn(Option<usize>) -> Option<i64>,
) -> bool {
    if row.key.contains(&None) {
        return came == step;
    }
    let over = |step: Option<usize>| complete(step).is_some_and(|complete| until < complete);
    over(Some(step)) && (came == step || !over(step.checked_sub(1)))
}

/// Checks that no stored row is without possible partners.
fn check_kept(case: &Case, step: usize, join: &IntervalJoin) {
    let (from, to) = case.interval.within_us;
    let complete = case.steps[step].complete.unwrap_or(i64::MIN);
    for (side, reach) in [(Side::First, to), (Side::Second, -from)] {
        let rows = (0..=step).flat_map(|step| &case.steps[step].rows[side.index()]);
        let waiting = rows.filter(|row| !row.key.contains(&None) && row.times[0] + reach >= complete).count();
        assert_eq!(join.len(side), waiting);
    }
    if Side::BOTH.iter().all(|side| join.len(*side) == 0) {
        assert_eq!(join.keys(), 0);
    }
}

#[test]
fn rows_at_the_ends_of_time_do_no_harm() {
    let key = KeyKind { columns: &[ColumnType::Int64], values: 1, null_percent: 0 };
    let layout = layout(key, 1, false);
    let interval = Interval {
        kind: JoinKind::Full,
        on: 1,
        within_us: (i64::MIN, i64::MAX),
        layouts: [layout.clone(), layout],
        joined: joined(key, 1),
    };
    let mut join = IntervalJoin::new(interval, false).unwrap();
    let row = |id: i64, time| Row { key: vec![Some(0)], times: vec![time], id };
    let batch = |ids: [i64; 2]| rows_of(key, &[row(ids[0], i64::MIN), row(ids[1], i64::MAX)], false);
    let rows = join.batch(BatchId(1), [batch([1, 2]), batch([3, 4])], Some(i64::MAX)).unwrap();
    let found: Vec<_> = rows.iter().flat_map(ids).collect();
    assert_eq!(
        found,
        [[Some(1), Some(3)], [Some(2), Some(4)]],
        "the others lie further apart than any interval reaches"
    );
}

/// Returns the rows of a batch on one worker.
fn rows_of_step(case: &Case, number: usize) -> [RecordBatch; 2] {
    case.steps[number].rows.each_ref().map(|rows| match rows.is_empty() {
        true => RecordBatch::new_empty(layout(case.key, 1, false)),
        false => rows_of(case.key, rows, false),
    })
}

/// Rows are spilled before some batch; the output and the checkpoint files are the same.
#[test]
fn it_makes_no_difference_where_rows_that_wait_are() {
    let dir = tempfile::tempdir().unwrap();
    let (mut cold, mut all) = (0, 0);
    for number in 0..CASES / 3 {
        let mut dice = Dice::new(number + 77_000);
        let case = case(&mut dice);
        let interval = &case.interval;
        let budget = StateBudget::new([1, 2_000, 4_000][dice.throw(3) as usize], dir.path().to_owned());
        let new = || IntervalJoin::new(interval.clone(), true).unwrap();
        let (mut plain, mut memory, mut files) = (new(), Some(new()), None::<ColdIntervals>);
        let mut written = Side::BOTH.map(|side| interval.table(side).unwrap());
        let leaves = dice.throw(case.steps.len() as u64 + 1) as usize;
        for step in 0..case.steps.len() {
            if step == leaves {
                let spilling = |table: StateTable| table.spilling_within(Some(&budget), &Failure::default(), "s");
                files = memory.take().map(|memory| memory.into_files(spilling).unwrap());
                let message = files.as_ref().map(|files| (files.newest(), files.earliest()));
                assert_eq!(
                    message,
                    Some((plain.newest(), plain.earliest())),
                    "case {number}, before batch {}",
                    step + 1
                );
            }
            let message = format!("case {number}, batch {}", step + 1);
            let (id, complete) = (BatchId(step as u64 + 1), case.steps[step].complete);
            let expected = plain.batch(id, rows_of_step(&case, step), complete).unwrap();
            let rows = rows_of_step(&case, step);
            let found = match (&mut memory, &mut files) {
                (Some(memory), _) => memory.batch(id, rows, complete).unwrap(),
                (None, files) => files.as_mut().unwrap().batch(id, rows, complete).unwrap(),
            };
            assert_eq!(found, expected, "{message}");
            if let Some(files) = &mut files {
                assert_eq!((files.newest(), files.earliest()), (plain.newest(), plain.earliest()), "{message}");
                assert_eq!(files.row_count(), plain.len(Side::First) + plain.len(Side::Second), "{message}");
                files.settle().unwrap();
                cold += Side::BOTH.map(|side| files.tables()[side.index()].cold().0).iter().sum::<u64>();
                all += files.row_count() as u64;
            }
            if !dice.chance(40) {
                continue;
            }
            for side in Side::BOTH {
                let mut slices = Vec::new();
                match (&mut memory, &mut files) {
                    (Some(memory), _) => {
                        memory.changes(side, false, STATE_SLICE_MAX, &mut |slice| slices.push(slice.rows)).unwrap();
                    }
                    (None, files) => {
                        slices.push(files.as_mut().unwrap().tables()[side.index()].all_changes(false).unwrap())
                    }
                }
                let written = &mut written[side.index()];
                slices.iter().for_each(|rows| written.restore(rows, |_| true).unwrap());
                let mut kept = interval.table(side).unwrap();
                plain
                    .changes(side, true, STATE_SLICE_MAX, &mut |slice| kept.restore(&slice.rows, |_| true).unwrap())
                    .unwrap();
                assert_eq!(written.rows().unwrap(), kept.rows().unwrap(), "{message}: {side:?}");
            }
        }
    }
    assert!(cold > all / 4 && cold > 1_000, "{cold} of {all} rows were in files");
}
