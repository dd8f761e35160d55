use super::*;
use crate::random::Random;

/// The times of the rows of a session, as a definition would have it.
type Naive = Vec<Vec<i64>>;

/// Adds a row to the sessions that it overlaps; whether it was not late.
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
            for (place, grown) in assigned.sessions.iter().enumerate() {
                merges += usize::from(SessionPart::open(&grown.parts).count() > 1);
                let run = |run: usize| {
                    let of_run = assigned.of_row.iter().zip(&times).filter(move |(of, _)| **of == Some((place, run)));
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
            // In their order, and none between those of another.
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
            let gone: Vec<usize> = assigned.sessions.iter().flat_map(|grown| SessionPart::open(&grown.parts)).collect();
            let untouched = (0..).zip(&open).filter(|(place, _)| !gone.contains(place)).map(|(_, session)| *session);
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
