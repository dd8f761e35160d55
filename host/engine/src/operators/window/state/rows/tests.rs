use super::*;
use millstream_base::random::Random;
use millstream_base::zone::Zone;
use std::collections::BTreeSet;

/// Returns the ends of the windows of a time, by definition.
fn ends_of(time: i64, size: i64, slide: i64) -> Vec<i64> {
    let starts = (-300..300).map(|number| number * slide);
    starts.filter(|start| (*start..start + size).contains(&time)).map(|start| start + size).collect()
}

#[test]
fn windows_hold_and_close_what_the_definition_says() {
    let (mut closed_windows, mut late_rows, mut nowhere) = (0, 0, 0);
    for case in 0..3_000 {
        let mut random = Random(case);
        let (size, slide) = (1 + random.below(12) as i64, 1 + random.below(12) as i64);
        let slices = Slices::new(size, slide);
        // Stored: slice and time. Emitted: end and time, in order of ends.
        let mut kept: Vec<(i64, i64)> = Vec::new();
        let mut expected: BTreeSet<(i64, usize, i64)> = BTreeSet::new();
        let (mut found, mut ends) = (BTreeSet::new(), Vec::new());
        let mut watermark = None;
        let mut rows = 0;
        for _ in 0..10 {
            let before = watermark;
            for _ in 0..random.below(5) {
                let time = random.below(60) as i64 - 20;
                rows += 1;
                let open: Vec<i64> = ends_of(time, size, slide);
                let still: Vec<i64> = open.iter().copied().filter(|end| before.is_none_or(|w| *end > w)).collect();
                match slices.assigner(before).slice_of(time) {
                    RowSlice::Slice(slice) => {
                        assert!(!still.is_empty() && slice <= time, "case {case}");
                        kept.push((slice, rows));
                        expected.extend(still.iter().map(|end| (*end, rows as usize, time)));
                    }
                    RowSlice::Late => {
                        assert!(still.is_empty() && !open.is_empty(), "case {case}");
                        late_rows += 1;
                    }
                    RowSlice::InGap => {
                        assert!(open.is_empty(), "case {case}");
                        nowhere += 1;
                    }
                }
            }
            if random.below(3) > 0 {
                watermark = watermark.max(Some(random.below(60) as i64 - 20));
            }
            let times: BTreeSet<i64> = kept.iter().map(|(slice, _)| *slice).collect();
            for (end, parts) in slices.closing_windows(times.into_iter(), before, watermark) {
                assert!(before.is_none_or(|before| end > before) && Some(end) <= watermark, "case {case}");
                ends.push(end);
                for (slice, row) in kept.iter().filter(|(slice, _)| parts.contains(slice)) {
                    assert!(found.insert((end, *row as usize)), "case {case}: slice {slice} twice");
                }
            }
            kept.retain(|(slice, _)| !slices.done(*slice, watermark));
        }
        let due: BTreeSet<(i64, usize)> =
            expected.iter().filter(|(end, _, _)| Some(*end) <= watermark).map(|(end, row, _)| (*end, *row)).collect();
        assert_eq!(found, due, "case {case}: size {size}, slide {slide}");
        assert!(ends.is_sorted(), "case {case}");
        closed_windows += ends.len();
    }
    assert!(closed_windows > 5_000 && late_rows > 1_000 && nowhere > 1_000);
}

#[test]
fn times_at_the_ends_of_64_bits_do_no_harm() {
    for (size, slide) in [(1, 1), (7, 3), (3, 7), (i64::MAX, 1), (1, i64::MAX), (i64::MAX, i64::MAX)] {
        let slices = Slices::new(size, slide);
        for time in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
            for watermark in [None, Some(i64::MIN), Some(0)] {
                let _ = slices.assigner(watermark).slice_of(time);
                let _ = slices.done(time, watermark);
            }
        }
    }
}

/// Every moment is in one slice, slices have no gaps between them, and they begin at full hours of the zone.
#[test]
fn windows_of_a_zone_are_as_its_clocks_go() {
    const HOUR_US: i64 = 3_600_000_000;
    // A year in which clocks are set forward and back in all of these zones, and one that has no December 30th in Samoa.
    let years = [1_767_225_600_000_000_i64, 1_293_840_000_000_000];
    for name in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "UTC"] {
        let zone = Zone::named(name).unwrap();
        let mut random = Random(7);
        for (hours, offset_us) in [(1, 0), (6, 0), (24, 0), (24, 6 * HOUR_US), (24, -HOUR_US), (168, 0)] {
            let begin = WindowBegin { offset_us, zone: Some(zone) };
            let slices = Slices::new(hours * HOUR_US, hours * HOUR_US).with_begin(begin);
            let mut assigner = slices.assigner(None);
            let mut times: Vec<i64> = (0..400)
                .map(|_| years[random.below(2) as usize] + random.below(366 * 24 * 60) as i64 * 60_000_000)
                .collect();
            times.sort_unstable();
            let mut last = i64::MIN;
            for time in times {
                let slice = slices.to_grid(time);
                let (start, end) = (slices.from_grid(slice), slices.from_grid(slice + slices.slice_us));
                assert!(start <= time && time < end && slice >= last, "{name}, {hours} hours, {time}");
                let shown = zone.local_us(start) - offset_us;
                // The first moment of a slice has the local time of its bound, or is the one at which clocks jumped over it.
                assert!(
                    shown == slice || zone.local_us(start - 1) - offset_us < slice,
                    "{name}, {hours} hours, {time}"
                );
                assert_eq!(assigner.slice_of(time), RowSlice::Slice(slice), "{name}");
                last = slice;
            }
        }
    }
}

/// Rows between windows are in none, in the local time of a zone as without one, and windows are over at their ends.
#[test]
fn between_windows_of_a_zone_there_are_rows_of_none() {
    const HOUR_US: i64 = 3_600_000_000;
    let zone = Zone::named("Europe/Berlin").unwrap();
    for (size, slide) in [(1, 2), (2, 5), (3, 4), (6, 24)] {
        let (size_us, slide_us) = (size * HOUR_US, slide * HOUR_US);
        let slices = Slices::new(size_us, slide_us).with_begin(WindowBegin { offset_us: 0, zone: Some(zone) });
        let mut assigner = slices.assigner(None);
        for half_hour in 0..2 * 24 * 365 {
            let time = 1_767_225_600_000_000 + half_hour * HOUR_US / 2;
            let shown = zone.local_us(time);
            let start = shown - shown.rem_euclid(slide_us);
            let inside = shown < start + size_us;
            let index = if inside { RowSlice::Slice(start) } else { RowSlice::InGap };
            assert_eq!(assigner.slice_of(time), index, "{size} of {slide} hours, {time}");
            let over = slices.done(start, Some(time));
            assert_eq!(over, !inside, "{size} of {slide} hours, {time}");
        }
    }
}
