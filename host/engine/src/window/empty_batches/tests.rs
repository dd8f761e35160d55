use super::*;

/// Begins batches at these times, each behind those that are made up for it: time, and whether it was made up.
fn begin(made_up: &mut EmptyBatches, times: &[i64]) -> Vec<(i64, bool)> {
    let mut begun = Vec::new();
    for time in times {
        while let Some(before) = made_up.before(*time) {
            made_up.batch(before, true);
            begun.push((before, true));
        }
        made_up.batch(*time, false);
        begun.push((*time, false));
    }
    begun
}

#[test]
fn a_batch_stands_at_each_bound() {
    let mut made_up = EmptyBatches::new(vec![WindowSchedule::new(10, 10), WindowSchedule::new(4, 4)], 1);
    let begun = begin(&mut made_up, &[1, 2, 5, 13]);
    assert_eq!(begun, [(1, false), (2, false), (4, true), (5, false), (8, true), (10, true), (12, true), (13, false)]);
    assert_eq!(made_up.waiting(), None);
}

#[test]
fn a_job_without_such_windows_needs_none() {
    let mut made_up = EmptyBatches::new(Vec::new(), 1);
    assert_eq!(begin(&mut made_up, &[1, 1000]), [(1, false), (1000, false)]);
}

#[test]
fn a_long_pause_costs_a_bounded_number_of_batches() {
    let day = 24 * 3600 * 1_000_000;
    for (size, slide) in [(1_000_000, 1_000_000), (30_000_000, 1_000_000), (1_000_000, 30_000_000)] {
        let mut made_up = EmptyBatches::new(vec![WindowSchedule::new(size, slide)], 100_000);
        let begun = begin(&mut made_up, &[100_000, day, day + 100_000]);
        let slides = size / slide + 1;
        assert!((begun.len() as i64) < 2 * slides + EMPTY_WINDOWS_MAX + 5, "{size} every {slide}: {}", begun.len());
        while let Some(waiting) = made_up.waiting() {
            made_up.batch(waiting, true);
        }
    }
}

#[test]
fn windows_that_wait_come_before_anything_else() {
    let mut due = WindowSchedule::new(5, 5);
    due.batch(1, 1);
    due.batch(23, 1);
    let mut made_up = EmptyBatches::new(vec![due], 1);
    assert_eq!(made_up.waiting(), None);
    let mut due = WindowSchedule::new(15, 5);
    due.batch(1, 1);
    due.batch(13, 1);
    made_up = EmptyBatches::new(vec![due], 1);
    assert_eq!(made_up.waiting(), Some(14));
    assert_eq!(begin(&mut made_up, &[15]), [(14, true), (15, false)]);
}
