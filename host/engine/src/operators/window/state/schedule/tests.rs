//! Compared with a simple scan of all batches.

use super::*;

#[test]
fn windows_end_at_multiples_of_the_slide_from_the_first_batch() {
    let mut due = WindowSchedule::new(6, 3, false);
    // The first batch began at 100.
    let ended: Vec<(i64, i64)> = (101..=110).filter_map(|time| Some((time, due.batch(time, 1, false)?))).collect();
    assert_eq!(ended, [(103, 103), (106, 106), (109, 109)]);
    assert_eq!((due.next_us(), due.is_waiting()), (Some(112), false));
}

#[test]
fn windows_come_out_one_by_one_where_a_batch_passes_several_bounds() {
    let mut due = WindowSchedule::new(6, 3, false);
    assert_eq!([due.batch(101, 1, false), due.batch(102, 1, false), due.batch(110, 1, false)], [None, None, Some(103)]);
    assert!(due.is_waiting());
    // Between 103 and 109 there is no batch.
    assert_eq!(
        [due.batch(111, 1, false), due.batch(112, 1, false), due.batch(113, 1, false)],
        [Some(106), Some(112), None]
    );
    assert!(!due.is_waiting());
}

#[test]
fn windows_in_which_no_batch_stands_are_left_out() {
    let mut due = WindowSchedule::new(6, 3, false);
    assert_eq!([due.batch(101, 1, false), due.batch(1_000_001, 1, false)], [None, Some(103)]);
    assert_eq!([due.batch(1_000_002, 1, false), due.next_us()], [Some(106), Some(1_000_003)]);
    assert_eq!([due.batch(1_000_003, 1, false), due.next_us()], [Some(1_000_003), Some(1_000_006)]);
}

/// For any batch times: ends are on the grid, distinct, in order, and include each window with batches.
#[test]
fn no_window_with_a_batch_is_missed() {
    let mut state: u64 = 7;
    let mut random = |max: i64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as i64).rem_euclid(max)
    };
    for _ in 0..3000 {
        // Long enough that batches with each time, at the end, are faster than the ends of windows.
        let (size, slide) = (50 * (1 + random(20)), 50 * (1 + random(20)));
        let (interval, first) = (1 + random(40), random(1000) - 500);
        let origin = first - interval;
        let (mut due, mut time, mut times, mut ends) =
            (WindowSchedule::new(size, slide, false), first, Vec::new(), Vec::new());
        for _ in 0..random(40) + 1 {
            times.push(time);
            ends.extend(due.batch(time, interval, false));
            if random(6) == 0 {
                let restored = due.restored(origin, time, due.save());
                assert_eq!(restored, due);
            }
            time += if random(4) == 0 { 1 + random(4000) } else { 1 + random(50) };
        }
        let last = times[times.len() - 1];
        while due.is_waiting() {
            ends.extend(due.batch(time, interval, false));
            time += 1;
        }
        assert!(ends.is_sorted_by(|a, b| a < b), "{ends:?}");
        assert!(
            ends.iter().all(|end| (end - origin) % slide == 0 && *end > origin),
            "{ends:?} from {origin} by {slide}"
        );
        let mut end = origin + slide;
        while end <= last {
            let holds = times.iter().any(|time| end - size < *time && *time <= end);
            assert!(!holds || ends.contains(&end), "{end} is not among {ends:?}: {times:?}, {size} every {slide}");
            end += slide;
        }
    }
}

#[test]
fn times_at_the_bounds_of_numbers_do_no_harm() {
    for time in [i64::MIN, i64::MAX] {
        let mut due = WindowSchedule::new(3, 2, false);
        due.batch(time, 1, false);
        due.batch(i64::MAX, 1, false);
        due.batch(0, 1, false);
    }
}
