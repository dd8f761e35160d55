use super::*;
use millstream_base::random::Random;

/// Begins batches at these times, each after the artificial batches before it. Returns their times, and whether they are artificial.
fn begin(made_up: &mut EmptyBatches, times: &[i64]) -> Vec<(i64, bool)> {
    let mut begun = Vec::new();
    for time in times {
        while let Some(before) = made_up.before(*time, false) {
            made_up.batch(before, true, 0);
            begun.push((before, true));
        }
        made_up.batch(*time, false, 0);
        begun.push((*time, false));
    }
    begun
}

#[test]
fn a_batch_stands_at_each_bound() {
    let mut made_up =
        EmptyBatches::new(vec![(WindowSchedule::new(10, 10, false), 0), (WindowSchedule::new(4, 4, false), 0)], 1);
    let begun = begin(&mut made_up, &[1, 2, 5, 13]);
    assert_eq!(begun, [(1, false), (2, false), (4, true), (5, false), (8, true), (10, true), (12, true), (13, false)]);
    assert_eq!(made_up.waiting_end(), None);
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
        let mut made_up = EmptyBatches::new(vec![(WindowSchedule::new(size, slide, false), 0)], 100_000);
        let begun = begin(&mut made_up, &[100_000, day, day + 100_000]);
        let slides = size / slide + 1;
        assert!((begun.len() as i64) < 2 * slides + EMPTY_WINDOWS_MAX + 5, "{size} every {slide}: {}", begun.len());
        while let Some(waiting) = made_up.waiting_end() {
            made_up.batch(waiting, true, 0);
        }
    }
}

#[test]
fn windows_that_wait_come_before_anything_else() {
    let mut due = WindowSchedule::new(5, 5, false);
    due.batch(1, 1, false);
    due.batch(23, 1, false);
    let mut made_up = EmptyBatches::new(vec![(due, 0)], 1);
    assert_eq!(made_up.waiting_end(), None);
    let mut due = WindowSchedule::new(15, 5, false);
    due.batch(1, 1, false);
    due.batch(13, 1, false);
    made_up = EmptyBatches::new(vec![(due, 0)], 1);
    assert_eq!(made_up.waiting_end(), Some(14));
    assert_eq!(begin(&mut made_up, &[15]), [(14, true), (15, false)]);
}

/// Each batch takes longer than a window lasts: time passes faster than artificial batches.
#[test]
fn a_job_that_falls_behind_works_on_rows() {
    let (slide, takes) = (50, 80);
    let mut made_up = EmptyBatches::new(vec![(WindowSchedule::new(slide, slide, false), 0)], slide);
    let (mut now, mut with_rows, mut without) = (slide, 0, 0);
    while with_rows < 200 {
        let time = now / slide * slide;
        while let Some(before) = made_up.before(time, false) {
            made_up.batch(before, true, 0);
            (now, without) = (now + takes, without + 1);
        }
        made_up.batch(time, false, now - time);
        (now, with_rows) = (now + takes, with_rows + 1);
    }
    assert!(without < 2 * EMPTY_WINDOWS_MAX + 200, "{without} batches without rows");
    // The load drops: after a pause all are emitted.
    for time in (now / slide + 1..).map(|slides| slides * slide).take(10) {
        begin(&mut made_up, &[time]);
        now = time;
    }
    assert_eq!(begin(&mut made_up, &[now + 80 * slide]).len(), 80);
    assert_eq!(made_up.before(now + 160 * slide, true), None, "no row waits");
}

/// However long batches take and stalls are, a window is emitted in the batch of its end. If no batch of a source is in it, it is not emitted.
#[test]
fn windows_of_rows_of_sources_come_out_at_their_ends_or_not_at_all() {
    let mut random = Random(7);
    let (interval, mut left_out) = (100, 0);
    for round in 0..2000 {
        let mut some = |largest: u64| interval * (1 + random.below(largest) as i64);
        let windows: Vec<(i64, i64)> = (0..1 + round % 4).map(|_| (some(12), some(6))).collect();
        let takes = some(5) - interval + 1;
        let mut stages: Vec<WindowSchedule> =
            windows.iter().map(|(size, slide)| WindowSchedule::new(*size, *slide, true)).collect();
        let mut made_up = EmptyBatches::new(stages.iter().map(|stage| (stage.clone(), 0)).collect(), interval);
        let (mut now, mut last, mut begun) = (interval, 0, Vec::new());
        for _ in 0..60 {
            let due = (now / interval * interval).max(last + 1);
            loop {
                let before = made_up.before(due, false);
                let time = before.unwrap_or(due);
                made_up.batch(time, before.is_some(), now - time);
                for (stage, (_, slide)) in stages.iter_mut().zip(&windows) {
                    let end = stage.batch(time, interval, before.is_some());
                    assert_eq!(end, Some(time).filter(|time| time % slide == 0), "{round}: {windows:?} by {begun:?}");
                    assert_eq!(stage.restored(0, time, stage.save()), *stage);
                }
                begun.push((time, before.is_some()));
                (now, last) = (now + takes, time);
                if before.is_none() {
                    break;
                }
            }
            now = now.max(last + interval);
            if random.below(8) == 0 {
                now += interval * random.below(300) as i64;
            }
        }
        for (size, slide) in windows {
            for end in (1..=last / slide).map(|number| number * slide) {
                let holds = begun.iter().any(|(time, made_up)| !made_up && end - size < *time && *time <= end);
                let has_batch = begun.iter().any(|(time, _)| *time == end);
                assert!(has_batch || !holds, "{round}: {size} every {slide} at {end} by {begun:?}");
                left_out += usize::from(!has_batch);
            }
        }
    }
    assert!(left_out > 10_000, "{left_out} windows without rows were left out");
}
