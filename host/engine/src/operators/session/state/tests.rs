use super::*;
use crate::state::StateTable;
use crate::state::spill::budget::StateBudget;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use millstream_base::failure::Failure;
use millstream_base::random::Random;
use millstream_rows::batch::group::Grouper;
use millstream_rows::batch::keys::Keys;
use std::sync::Arc;

/// The times of the rows of a session, by definition.
type Naive = Vec<Vec<i64>>;

/// Adds a row to the sessions that it overlaps. Returns whether it was on time.
fn add(gap: Gap, sessions: &mut Naive, time: i64, watermark: Option<i64>) -> bool {
    let bounds = |rows: &[i64]| (*rows.iter().min().unwrap(), *rows.iter().max().unwrap());
    sessions.sort_by_key(|rows| bounds(rows));
    let inside = |rows: &Vec<i64>| (bounds(rows).0..=bounds(rows).1).contains(&time);
    let mut span = sessions.iter().find(|rows| inside(rows)).cloned().unwrap_or(vec![time]);
    let (mut merged, mut rest) = (Vec::new(), Vec::new());
    for rows in sessions.drain(..) {
        let (start, last) = bounds(&rows);
        let (low, high) = bounds(&[span.as_slice(), &rows].concat());
        if start < time + gap.gap_us && time < last + gap.gap_us && high + gap.gap_us - low <= gap.length_us_max {
            span.extend(&rows);
            merged.extend(rows);
        } else {
            rest.push(rows);
        }
    }
    let late = merged.is_empty() && watermark.is_some_and(|watermark| time + gap.gap_us <= watermark);
    if !late {
        merged.push(time);
        rest.push(merged);
    }
    *sessions = rest;
    !late
}

/// Times in batches, with the watermark after each.
fn batches(random: &mut Random) -> Vec<(Vec<i64>, Option<i64>)> {
    let mut watermark = None;
    let batch = |_| {
        let times = (0..random.below(6)).map(|_| random.below(100) as i64 - 50).collect();
        if random.below(2) == 0 {
            watermark = watermark.max(Some(random.below(100) as i64 - 50));
        }
        (times, watermark)
    };
    (0..8).map(batch).collect()
}

#[test]
fn sessions_are_those_of_the_definition() {
    let (mut merges, mut late, mut long) = (0, 0, 0);
    for case in 0..5_000 {
        let mut random = Random(case);
        let gap_us = 1 + random.below(12) as i64;
        let length_us_max = gap_us + random.below(30) as i64;
        let gap = Gap { gap_us, length_us_max };
        let mut open: Vec<(Session, Vec<i64>)> = Vec::new();
        let mut naive = Naive::new();
        let mut before = None;
        for (times, now) in batches(&mut random) {
            let sessions: Vec<Session> = open.iter().map(|(session, _)| *session).collect();
            let assigned = gap.assign(&sessions, times.iter().copied(), before);
            for (row, time) in times.iter().enumerate() {
                let kept = add(gap, &mut naive, *time, before);
                assert_eq!(assigned.of_row[row].is_some(), kept, "case {case}: time {time}");
                late += usize::from(!kept);
            }
            let mut used = vec![false; open.len()];
            let mut next = Vec::new();
            for (index, grown) in assigned.sessions.iter().enumerate() {
                merges += usize::from(SessionPart::open(&grown.parts).count() > 1);
                let run = |run: usize| {
                    let of_run = assigned.of_row.iter().zip(&times).filter(move |(of, _)| **of == Some((index, run)));
                    of_run.map(|(_, time)| *time).collect::<Vec<i64>>()
                };
                let mut rows: Vec<i64> = Vec::new();
                for part in &grown.parts {
                    match part {
                        SessionPart::Rows(number) => rows.extend(run(*number)),
                        SessionPart::Open(of) => {
                            assert!(!std::mem::replace(&mut used[*of], true), "case {case}");
                            rows.extend(&open[*of].1);
                        }
                    }
                }
                next.push((grown.session, rows));
            }
            next.extend(open.iter().zip(&used).filter(|(_, used)| !**used).map(|(open, _)| open.clone()));
            next.sort();
            let sorted = |rows: &[i64]| {
                let mut rows = rows.to_vec();
                rows.sort_unstable();
                rows
            };
            // In order, and none between those of another.
            let found: Vec<Vec<i64>> = next.iter().map(|(_, rows)| rows.clone()).collect();
            naive.sort_by_key(|rows| rows.iter().min().copied());
            assert_eq!(found, naive, "case {case}");
            assert!(next.is_sorted_by(|(a, _), (b, _)| a.last_us < b.start_us), "case {case}: {next:?}");
            for (session, rows) in &next {
                let rows = sorted(rows);
                assert_eq!((Some(&session.start_us), Some(&session.last_us)), (rows.first(), rows.last()));
                assert!(gap.end(*session) - session.start_us <= length_us_max, "case {case}");
                long += usize::from(gap.end(*session) - session.start_us == length_us_max);
            }
            next.retain(|(session, _)| !gap.closed(*session, now));
            naive.retain(|rows| now.is_none_or(|now| rows.iter().max().unwrap() + gap_us > now));
            (open, before) = (next, now);
        }
    }
    assert!(merges > 500 && late > 1_000 && long > 1_000, "{merges} merges, {late} late, {long} long");
}

#[test]
fn rows_in_time_make_the_same_sessions_however_they_fall_into_batches() {
    let mut all = 0;
    for case in 0..5_000 {
        let mut random = Random(case);
        let gap = Gap { gap_us: 1 + random.below(10) as i64, length_us_max: i64::MAX };
        let lateness = random.below(15) as i64;
        let mut times: Vec<i64> = Vec::new();
        let mut greatest = 0;
        for _ in 0..30 {
            times
                .push(greatest - random.below(lateness as u64 + 1) as i64 + (random.below(4) * random.below(6)) as i64);
            greatest = greatest.max(times[times.len() - 1]);
        }
        let (mut open, mut closed, mut before): (Vec<Session>, Vec<Session>, _) = (Vec::new(), Vec::new(), None);
        let mut rest = times.as_slice();
        let mut greatest = i64::MIN;
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(1 + random.below(rest.len() as u64) as usize);
            rest = others;
            let assigned = gap.assign(&open, batch.iter().copied(), before);
            assert!(assigned.of_row.iter().all(Option::is_some), "case {case}: nothing is late");
            let removed: Vec<usize> =
                assigned.sessions.iter().flat_map(|grown| SessionPart::open(&grown.parts)).collect();
            let untouched = (0..).zip(&open).filter(|(index, _)| !removed.contains(index)).map(|(_, session)| *session);
            open = untouched.chain(assigned.sessions.iter().map(|grown| grown.session)).collect();
            open.sort();
            greatest = greatest.max(*batch.iter().max().unwrap());
            before = Some(greatest - lateness);
            closed.extend(open.iter().filter(|session| gap.closed(**session, before)));
            open.retain(|session| !gap.closed(*session, before));
        }
        closed.extend(open);
        closed.sort();
        times.sort_unstable();
        let mut expected: Vec<Session> = Vec::new();
        for time in times {
            match expected.last_mut().filter(|session| time < session.last_us + gap.gap_us) {
                Some(session) => session.last_us = time,
                None => expected.push(Session { start_us: time, last_us: time }),
            }
        }
        assert_eq!(closed, expected, "case {case}");
        all += expected.len();
    }
    assert!(all > 10_000, "{all}");
}

#[test]
fn times_at_the_ends_of_64_bits_do_no_harm() {
    let gap = Gap { gap_us: i64::MAX, length_us_max: i64::MAX };
    let times = [i64::MIN, 0, i64::MAX, i64::MAX - 1, i64::MIN + 1];
    assert_eq!(gap.assign(&[], times.into_iter(), None).of_row.len(), 5);
}

/// Sessions with a sum each. Rows arrive at keys at random, `now` is the watermark after them. Returns the results as text.
fn summed(open: &mut OpenSessions, before: Option<i64>, now: Option<i64>, rows: &[(String, i64, i64)]) -> String {
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(key, ..)| key)));
    let encoded = Keys::encode(std::slice::from_ref(&keys), rows.len()).unwrap();
    let grouped = Grouper::default().group(&encoded);
    let times: Vec<i64> = rows.iter().map(|(_, time, _)| *time).collect();
    open.warm(std::slice::from_ref(&keys), &encoded, &grouped.first_rows).unwrap();
    let touched = open.assign(&encoded, &grouped, &times, before);
    let int64 = |rows: RecordBatch| rows.column(0).as_primitive::<Int64Type>().values().to_vec();
    let sum_of = |session: &TouchedSession| {
        let open_sums: i64 =
            SessionPart::open(&session.parts).map(|slot| int64(open.accumulators(&[slot]).unwrap())[0]).sum();
        let runs: Vec<usize> = session
            .parts
            .iter()
            .filter_map(|part| if let SessionPart::Rows(run) = part { Some(*run) } else { None })
            .collect();
        let of = touched.of_row.iter().zip(rows).filter(|(of, _)| of.is_some_and(|(_, run)| runs.contains(&run)));
        open_sums + of.map(|(_, (.., value))| value).sum::<i64>()
    };
    let sums: ArrayRef = Arc::new(Int64Array::from_iter_values(touched.sessions.iter().map(sum_of)));
    let sums = RecordBatch::try_new(Arc::new(summing()), vec![sums]).unwrap();
    let shown = |found: ClosedSessions| {
        let (keys, sums) = (found.keys[0].as_string::<i32>().clone(), int64(found.accumulators));
        (0..sums.len())
            .map(|row| format!("{} {:?} {}", keys.value(row), found.sessions[row], sums[row]))
            .collect::<Vec<_>>()
    };
    let mut text = format!("{:?}", touched.of_row);
    if !touched.sessions.is_empty() {
        let slots = open.store(&[keys], &encoded, &touched.sessions, &sums).unwrap();
        text += &format!("{:?}", shown(open.results(&slots).unwrap()));
    }
    let closed = shown(open.close(now).unwrap());
    open.settle().unwrap();
    text + &format!("{closed:?} {:?} {}", open.first_start(), open.table().len())
}

fn summing() -> Schema {
    Schema::new(vec![Field::new("sum", DataType::Int64, false)])
}

#[test]
fn it_makes_no_difference_where_sessions_are() {
    let dir = tempfile::tempdir().unwrap();
    for (seed, bytes) in [(1, 1), (2, 20_000), (3, 60_000)] {
        let key = Schema::new(vec![Field::new("k", DataType::Utf8, true)]);
        let gap = Gap { gap_us: 60, length_us_max: 200 };
        let new = || OpenSessions::new(&key, &summing(), gap).unwrap();
        let budget = StateBudget::new(bytes, dir.path().to_owned());
        let mut plain = new().spilling(Ok).unwrap();
        let spilling = |table: StateTable| table.spilling_within(Some(&budget), &Failure::default(), "s");
        let (mut spilled, mut written) = (new().spilling(spilling).unwrap(), new().spilling(Ok).unwrap());
        [&mut plain, &mut spilled].into_iter().for_each(|open| open.table().track_changes());
        let (mut random, mut cold, mut before) = (Random(seed), 0, None);
        for batch in 0..400_i64 {
            let row = |_| {
                let key = if random.below(3) == 0 { random.below(20) } else { random.below(3_000) };
                (format!("key {key}"), batch + random.below(120) as i64 - 60, random.below(100) as i64)
            };
            let rows: Vec<_> = (0..20).map(row).collect();
            let now = Some(batch - 40);
            let found = summed(&mut spilled, before, now, &rows);
            assert_eq!(found, summed(&mut plain, before, now, &rows), "batch {batch}");
            before = now;
            cold = cold.max(spilled.table().cold().0);
            if batch % 50 == 7 {
                // An unchanged row may be written.
                let base = batch % 100 == 7;
                if base {
                    written = new().spilling(Ok).unwrap();
                    written.table().track_changes();
                }
                let file = spilled.table().all_changes(base).unwrap();
                written.table().restore(&file, |_| true).unwrap();
                let [plain, written] = [&mut plain, &mut written].map(|open| open.table().all_changes(true).unwrap());
                assert_eq!(plain, written, "the files up to batch {batch}");
            }
            let rows = spilled.table().rows_in_memory();
            assert!(spilled.known <= rows / 2 * 3 + 300, "{} sessions are known, {rows} in memory", spilled.known);
        }
        assert!(cold > 500, "{cold} cold rows");
        let left = summed(&mut spilled, before, Some(10_000), &[]);
        assert_eq!(left, summed(&mut plain, before, Some(10_000), &[]));
        assert_eq!((spilled.table().len(), spilled.known, spilled.first_start()), (0, 0, None));
    }
}
