use super::*;
use crate::event_time::{ClockNames, saved};
use millstream_base::random::Random;
use millstream_rows::batch::keys::KeyHash;

trait Time {
    fn time(&mut self) -> i64;
}

impl Time for Random {
    fn time(&mut self) -> i64 {
        match self.below(50) {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => self.below(1000) as i64 - 500,
        }
    }
}

/// A batch: time since the previous one, and its events.
type Seen = (i64, Vec<Event>);

fn time((clock_id, max_us): (u32, i64)) -> Event {
    Event::Time { clock_id: ClockId::for_stream(clock_id), max_us }
}

/// How a stage reads its times.
#[derive(Clone, Copy)]
struct Reading {
    lateness_us: i64,
    idle_us: Option<i64>,
    horizon_us: Option<i64>,
}

impl Reading {
    fn random(random: &mut Random) -> Reading {
        let lateness_us = random.below(100) as i64;
        let idle_us = (random.below(2) == 0).then(|| 1 + random.below(40) as i64);
        let horizon_us = (random.below(4) > 0).then(|| random.below(30) as i64);
        Reading { lateness_us, idle_us, horizon_us }
    }

    fn watermarks(self, clocks: impl Iterator<Item = ClockId>) -> Watermarks {
        Watermarks::new(clocks, self.lateness_us, self.idle_us).with_horizon(self.horizon_us)
    }

    /// Returns the watermark of a batch. `awake`: the times of clocks that are not idle; `seen`: the greatest of all times so far; `silent_us`: for
    /// how long all are idle, if they are.
    fn expected_watermark(self, awake: &[Option<i64>], seen: Option<i64>, idle_time_us: Option<i64>) -> Option<i64> {
        let time = match idle_time_us {
            None => awake.iter().copied().collect::<Option<Vec<i64>>>()?.into_iter().min()?,
            Some(idle_time_us) => {
                let limit = self.horizon_us.map_or(i64::MAX, |horizon_us| horizon_us + self.lateness_us);
                let time = seen?.saturating_sub(self.lateness_us).saturating_add(idle_time_us.min(limit));
                return Some(time.min(TIME_US_MAX));
            }
        };
        Some(time.saturating_sub(self.lateness_us))
    }
}

/// For how long all clocks are idle, batch by batch: from the first batch after which all are, and since the last row.
#[derive(Default)]
struct IdleTime(Option<i64>);

impl IdleTime {
    fn next(&mut self, batch: &Seen, all_idle: bool) -> Option<i64> {
        if batch.1.iter().any(|event| matches!(event, Event::Time { .. })) {
            self.0 = None;
        }
        if !all_idle {
            return None;
        }
        self.0 = Some(self.0.map_or(0, |idle_time_us| idle_time_us + batch.0));
        self.0
    }
}

/// Returns the watermark after all of these batches, from the definition. Over every prefix, it is the least of the greatest times of those clocks
/// that have not ended. Of these, only clocks count that had a row within the idle time or did not exist for that long. If all are idle, it is the
/// greatest of all times, plus the batch time that has passed since. If the job is to continue later, none ends.
fn naive(clocks: u32, reading: Reading, at_end: AtEnd, batches: &[Seen]) -> Option<i64> {
    let idle_us = reading.idle_us;
    let of = |event: &Event, id: u32| matches!(event, Event::Time { clock_id, .. } if clock_id.stream == id);
    let greatest = |end: usize, id: u32| {
        let events = batches[..=end].iter().flat_map(|(_, seen)| seen).filter(|event| of(event, id));
        events.filter_map(|event| if let Event::Time { max_us, .. } = event { Some(*max_us) } else { None }).max()
    };
    let mut idle_time = IdleTime::default();
    let mut after = |end: usize| -> Option<i64> {
        let ended = |id: u32| at_end == AtEnd::Flush && batches[end].1.contains(&Event::Ended(id));
        if (0..clocks).all(ended) {
            idle_time.next(&batches[end], false);
            return Some(END_US);
        }
        let awake = (0..clocks).filter(|id| {
            let last = (0..=end).rev().find(|batch| batches[*batch].1.iter().any(|event| of(event, *id)));
            let quiet: i64 = batches[last.unwrap_or(0) + 1..=end].iter().map(|(lapse, _)| lapse).sum();
            !ended(*id) && idle_us.is_none_or(|idle_us| quiet < idle_us)
        });
        let awake: Vec<Option<i64>> = awake.map(|id| greatest(end, id)).collect();
        let idle_time_us = idle_time.next(&batches[end], awake.is_empty());
        reading.expected_watermark(&awake, (0..clocks).filter_map(|id| greatest(end, id)).max(), idle_time_us)
    };
    (0..batches.len()).filter_map(&mut after).max()
}

#[test]
fn the_watermark_is_that_of_the_definition_also_through_checkpoints() {
    let mut moved = 0;
    for case in 0..5_000 {
        let mut random = Random(case);
        let clocks = 1 + random.below(4) as u32;
        let reading = Reading::random(&mut random);
        let names: ClockNames = (0..clocks).map(|id| (ClockId::for_stream(id), format!("source-{id}"))).collect();
        let at_end = if random.below(2) == 0 { AtEnd::Keep } else { AtEnd::Flush };
        let ends = |id: &ClockId| (*id, [id.stream].into());
        let new = || reading.watermarks(names.keys().copied()).with_ends(names.keys().map(ends).collect(), at_end);
        let last: Vec<u64> = (0..clocks).map(|_| random.below(24)).collect();
        let mut watermarks = new();
        let mut batches: Vec<Seen> = Vec::new();
        for batch in 0..12_u64 {
            // There is nothing before the first batch.
            let lapse_us = if batch == 0 { 0 } else { random.below(20) as i64 };
            let parts = random.below(4);
            let seen = (0..parts).map(|_| (random.below(clocks.into()) as u32, random.time()));
            let seen: Vec<_> = seen.filter(|(id, _)| batch < last[*id as usize]).map(time).collect();
            let ended = (0..clocks).filter(|id| batch >= last[*id as usize]).map(Event::Ended);
            let seen = seen.into_iter().chain(ended).collect();
            batches.push((lapse_us, seen));
            let before = watermarks.watermark();
            let now = watermarks.batch(lapse_us, batches[batch as usize].1.iter().copied());
            assert_eq!(now, naive(clocks, reading, at_end, &batches), "case {case}: {batches:?}");
            assert!(now >= before, "case {case}");
            moved += usize::from(now > before);
            if random.below(3) == 0 {
                let split = random.below(4096);
                let low = saved::rows(&watermarks, &names, |hash: KeyHash| hash.group() < split).unwrap();
                let high = saved::rows(&watermarks, &names, |hash: KeyHash| hash.group() >= split).unwrap();
                let files: Vec<_> = low.into_iter().chain(high).collect();
                assert_eq!(files.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), clocks as usize + 1);
                let mut restored = new();
                saved::restore(&mut restored, &names, &files).unwrap();
                assert_eq!(restored, watermarks, "case {case}");
                watermarks = restored;
            }
        }
    }
    assert!(moved > 5_000, "watermarks moved only {moved} times");
}

#[test]
fn a_worker_that_owns_no_clock_any_more_says_so_and_how_far_the_watermark_is() {
    let names: ClockNames = [(ClockId::for_stream(0), "a".to_owned())].into();
    let mut watermarks = Watermarks::new(names.keys().copied(), 0, None);
    watermarks.batch(0, [(0, 5)].map(time).into_iter());
    for group in [0, 1, 77, 4095] {
        let files = saved::placeholder_rows(&watermarks, |hash: KeyHash| hash.group() == group).unwrap();
        let mut restored = Watermarks::new(names.keys().copied(), 0, None);
        saved::restore(&mut restored, &names, &[files.expect("a name of the group")]).unwrap();
        let clocks: Vec<_> = restored.clocks().map(|(id, clock)| (id.stream, clock.max_us)).collect();
        assert_eq!((restored.watermark(), clocks), (Some(5), vec![(0, None)]));
    }
}

#[test]
fn a_clock_that_the_stage_lost_still_counts_for_the_watermark() {
    let names: ClockNames = [(ClockId::for_stream(0), "a".to_owned()), (ClockId::for_stream(1), "b".to_owned())].into();
    let mut watermarks = Watermarks::new(names.keys().copied(), 0, None);
    watermarks.batch(0, [(0, 5), (1, 7)].map(time).into_iter());
    let files = [saved::rows(&watermarks, &names, |_| true).unwrap().unwrap()];
    // `a` was removed, `b` has another id, `c` is new.
    let names: ClockNames = [(ClockId::for_stream(0), "b".to_owned()), (ClockId::for_stream(1), "c".to_owned())].into();
    let mut restored = Watermarks::new(names.keys().copied(), 0, None);
    saved::restore(&mut restored, &names, &files).unwrap();
    let clocks: Vec<_> = restored.clocks().map(|(id, clock)| (id.stream, clock.max_us)).collect();
    assert_eq!((restored.watermark(), clocks), (Some(5), vec![(0, Some(7)), (1, None)]));
    assert_eq!(restored.batch(1, [(1, 2)].map(time).into_iter()), Some(5));
    assert_eq!(restored.batch(1, [(1, 9)].map(time).into_iter()), Some(7));
}

/// The expected state of a source with partitions, by definition: all events so far, batch by batch.
fn naive_of_partitions(reading: Reading, batches: &[Seen]) -> Option<i64> {
    let idle_us = reading.idle_us;
    let mut idle_time = IdleTime::default();
    let mut after = |end: usize| -> Option<i64> {
        let seen_us = batches[..=end].iter().flat_map(|(_, seen)| seen).filter_map(|event| match event {
            Event::Time { max_us, .. } => Some(*max_us),
            _ => None,
        });
        let seen_us = seen_us.max();
        let seen = |of: &dyn Fn(&Event) -> bool| {
            let is_there = |batch: &usize| batches[*batch].1.iter().any(of);
            (0..=end).filter(is_there).collect::<Vec<_>>()
        };
        let reported = !seen(&|event| matches!(event, Event::Partition(id) if id.stream == 0)).is_empty();
        // Whether a clock that was idle that long is ignored. It is not as long as it has more rows. If that is reported, the state after the
        // previous batch applies.
        let left_out = |id: ClockId, from: usize, quiet: i64| {
            let mut ends = batches[from..=end].iter().flat_map(|(_, seen)| seen).filter_map(|event| match event {
                Event::AtEnd { clock_id, at_end } if *clock_id == id => Some(*at_end),
                _ => None,
            });
            let waits = batches[from..=end].iter().any(|(_, seen)| seen.contains(&Event::TellsEnd(id)));
            match ends.next_back().or(waits.then_some(false)) {
                Some(false) => false,
                Some(true) => idle_us.is_some_and(|idle_us| quiet - batches[end].0 >= idle_us),
                None => idle_us.is_some_and(|idle_us| quiet >= idle_us),
            }
        };
        // Until then the source counts as a single clock without rows.
        let lapses: i64 = batches[1..=end].iter().map(|(lapse, _)| lapse).sum();
        if !reported && !left_out(ClockId::for_stream(0), 0, lapses) {
            idle_time.next(&batches[end], false);
            return None;
        }
        let (mut awake, mut is_known) = (Vec::new(), !reported);
        for partition in 1..=4 {
            let id = ClockId { stream: 0, partition };
            let gone = seen(&|event| *event == Event::PartitionGone(id)).last().copied();
            // Reports before the removal do not count.
            let from = gone.map_or(0, |gone| gone + 1);
            let times = |batch: usize| {
                let of = batches[batch].1.iter();
                of.filter_map(|event| match event {
                    Event::Time { clock_id, max_us } if *clock_id == id => Some(*max_us),
                    _ => None,
                })
            };
            let is_time = |event: &Event| matches!(event, Event::Time { clock_id, .. } if *clock_id == id);
            let known = seen(&|event| *event == Event::Partition(id) || is_time(event));
            let Some(first) = known.into_iter().find(|batch| *batch >= from) else { continue };
            is_known = true;
            let last = seen(&is_time).into_iter().rfind(|batch| *batch >= from).unwrap_or(first);
            let quiet: i64 = batches[last + 1..=end].iter().map(|(lapse, _)| lapse).sum();
            if left_out(id, from, quiet) {
                continue;
            }
            awake.push((from..=end).flat_map(times).max());
        }
        // It is unknown whether a source without remaining partitions is idle.
        let idle_time_us = idle_time.next(&batches[end], awake.is_empty() && is_known && idle_us.is_some());
        reading.expected_watermark(&awake, seen_us, idle_time_us)
    };
    (0..batches.len()).filter_map(&mut after).max()
}

#[test]
fn partitions_have_clocks_of_their_own_also_through_checkpoints() {
    let mut moved = 0;
    for case in 0..5_000 {
        let mut random = Random(case);
        let reading = Reading::random(&mut random);
        let names: ClockNames = [(ClockId::for_stream(0), "topic".to_owned())].into();
        let new = || reading.watermarks(names.keys().copied());
        let mut watermarks = new();
        let mut batches: Vec<Seen> = Vec::new();
        for batch in 0..14_usize {
            let lapse_us = if batch == 0 { 0 } else { random.below(20) as i64 };
            let mut seen = Vec::new();
            for _ in 0..random.below(5) {
                let id = ClockId { stream: 0, partition: 1 + random.below(4) };
                seen.push(match random.below(16) {
                    0..3 => Event::Partition(id),
                    13 => Event::TellsEnd(id),
                    14 => Event::AtEnd { clock_id: id, at_end: random.below(2) == 0 },
                    15 => Event::AtEnd { clock_id: ClockId::for_stream(0), at_end: random.below(2) == 0 },
                    3 if batch > 3 && !seen.contains(&Event::Partition(id)) => Event::PartitionGone(id),
                    // Another source has partitions, too.
                    4 => Event::Partition(ClockId { stream: 7, ..id }),
                    _ => Event::Time { clock_id: id, max_us: random.time() },
                });
            }
            let gone = |id: &ClockId| seen.contains(&Event::PartitionGone(*id));
            let reported = |event: &Event| !matches!(event, Event::Partition(id) if gone(id));
            let seen: Vec<Event> = seen.iter().copied().filter(reported).collect();
            batches.push((lapse_us, seen));
            let before = watermarks.watermark();
            let now = watermarks.batch(lapse_us, batches[batch].1.iter().copied());
            assert_eq!(now, naive_of_partitions(reading, &batches), "case {case}: {batches:?}");
            moved += usize::from(now > before);
            if random.below(3) == 0 {
                let split = random.below(4096);
                let low = saved::rows(&watermarks, &names, |hash: KeyHash| hash.group() < split).unwrap();
                let high = saved::rows(&watermarks, &names, |hash: KeyHash| hash.group() >= split).unwrap();
                let files: Vec<_> = low.into_iter().chain(high).collect();
                let mut restored = new();
                saved::restore(&mut restored, &names, &files).unwrap();
                // The first batch of a run reports it again.
                restored.at_end = watermarks.at_end.clone();
                // A source without remaining partitions looks like one that has reported none.
                if watermarks.clocks().next().is_some() {
                    assert_eq!(restored, watermarks, "case {case}");
                    watermarks = restored;
                }
            }
        }
    }
    assert!(moved > 3_000, "watermarks moved only {moved} times");
}

/// A partition of source 0.
fn partition(partition: u64) -> ClockId {
    ClockId { stream: 0, partition }
}

fn at_end(clock_id: ClockId, at_end: bool) -> Event {
    Event::AtEnd { clock_id, at_end }
}

fn row(clock_id: ClockId, max_us: i64) -> Event {
    Event::Time { clock_id, max_us }
}

/// Watermarks of a stage with `idle` of 10 and a batch every 4.
struct Batches(Watermarks);

impl Batches {
    fn new() -> Batches {
        Batches(Watermarks::new([ClockId::for_stream(0), ClockId::for_stream(1)].into_iter(), 0, Some(10)))
    }

    fn next(&mut self, events: &[Event]) -> Option<i64> {
        // The other source does not matter.
        self.0.batch(4, events.iter().copied().chain([row(ClockId::for_stream(1), 1_000)]))
    }
}

#[test]
fn when_all_are_silent_the_greatest_time_counts_and_event_time_runs_on_as_far_as_the_stage_waits() {
    for order in [[1, 0], [0, 1]] {
        let clocks = [ClockId::for_stream(0), ClockId::for_stream(1)];
        let mut watermarks = Watermarks::new(clocks.into_iter(), 5, Some(10)).with_horizon(Some(7));
        assert_eq!(watermarks.batch(0, [(0, 50), (1, 40)].map(time).into_iter()), Some(35));
        let last = if order == [1, 0] { (0, 50) } else { (1, 40) };
        watermarks.batch(4, [time(last)].into_iter());
        let now = [(); 6].map(|()| watermarks.batch(4, std::iter::empty()));
        // Both are idle after 12; the lateness and the horizon pass with batch time.
        let expected = [35, if order == [1, 0] { 45 } else { 35 }, 45, 49, 53, 57];
        assert_eq!(now, expected.map(Some), "{order:?}");
        assert_eq!(watermarks.batch(4, std::iter::empty()), Some(57), "nothing is open any more");
        assert_eq!(watermarks.batch(4, [(0, 70)].map(time).into_iter()), Some(65));
    }
}

#[test]
fn what_a_partition_has_shown_that_is_gone_counts_when_the_others_are_silent() {
    let mut watermarks = Watermarks::new([ClockId::for_stream(0)].into_iter(), 0, Some(10));
    let (quick, slow) = (partition(1), partition(2));
    let both = [Event::Partition(quick), Event::Partition(slow), row(quick, 90), row(slow, 20)];
    assert_eq!(watermarks.batch(0, both.into_iter()), Some(20));
    assert_eq!(watermarks.batch(4, [Event::PartitionGone(quick)].into_iter()), Some(20));
    assert_eq!([(); 2].map(|()| watermarks.batch(4, std::iter::empty())), [Some(20), Some(90)]);
}

#[test]
fn a_partition_with_a_backlog_holds_the_watermark_however_long_no_rows_of_it_come() {
    let mut batches = Batches::new();
    let (slow, quick) = (partition(1), partition(2));
    let known = [slow, quick].map(Event::Partition).into_iter().chain([slow, quick].map(Event::TellsEnd));
    assert_eq!(batches.next(&known.collect::<Vec<_>>()), None);
    for time in 1..20 {
        assert_eq!(batches.next(&[row(quick, time)]), None, "nobody has told of the other one yet");
    }
    assert_eq!(batches.next(&[row(slow, 3), row(quick, 20), at_end(slow, false)]), Some(3));
    for time in 21..40 {
        assert_eq!(batches.next(&[row(quick, time)]), Some(3));
    }
    assert_eq!(batches.next(&[row(slow, 7)]), Some(7), "and nothing of it is late");
}

#[test]
fn a_partition_at_its_end_is_left_out_a_batch_after_it_was_silent_for_long_enough() {
    let mut batches = Batches::new();
    let (quiet, other) = (partition(1), partition(2));
    batches.next(&[quiet, other].map(Event::Partition));
    assert_eq!(batches.next(&[row(quiet, 3), row(other, 9), at_end(quiet, true), at_end(other, false)]), Some(3));
    // For 4, 8 and 12; and for 12 as of the previous batch.
    let watermarks = [10, 11, 12, 13].map(|time| batches.next(&[row(other, time)]));
    assert_eq!(watermarks, [Some(3), Some(3), Some(3), Some(13)]);
    // A row exists that no batch has taken.
    assert_eq!(batches.next(&[row(other, 14), at_end(quiet, false)]), Some(13));
    assert_eq!(batches.next(&[row(other, 15)]), Some(13), "it is waited for");
    assert_eq!(batches.next(&[row(other, 16), at_end(quiet, true)]), Some(16), "nothing came of it for all that time");
    assert_eq!(batches.next(&[row(quiet, 15), row(other, 20)]), Some(16));
    assert_eq!(batches.next(&[Event::PartitionGone(quiet), row(other, 21)]), Some(21));
}

#[test]
fn a_source_of_which_no_partition_is_known_is_left_out_when_it_has_none() {
    let mut batches = Batches::new();
    assert_eq!(batches.next(&[at_end(ClockId::for_stream(0), false)]), None);
    assert_eq!([(); 5].map(|()| batches.next(&[])), [None; 5], "its cluster may be away");
    assert_eq!(batches.next(&[at_end(ClockId::for_stream(0), true)]), Some(1_000));
}

#[test]
fn what_a_stage_makes_of_partitions_is_waited_for_as_long_as_these_have_more() {
    let made = ClockId::for_stream(5);
    let watermarks = Watermarks::new([made, ClockId::for_stream(1)].into_iter(), 0, Some(10));
    let mut batches = Batches(watermarks.with_feeds([(made, [0].into())].into()));
    assert_eq!(batches.next(&[row(made, 3), at_end(partition(1), true), at_end(partition(2), false)]), Some(3));
    assert_eq!([(); 5].map(|()| batches.next(&[])), [Some(3); 5]);
    assert_eq!(batches.next(&[at_end(partition(2), true)]), Some(1_000));
}

#[test]
fn a_dir_waits_for_files_that_nobody_has_begun_and_keeps_what_those_have_shown_that_are_read() {
    let mut batches = Batches(Batches::new().0.with_dirs([0].into()));
    let clock = |name: &str| millstream_rows::batch::partition::clock_of(0, name);
    let begins = |name: &str| [Event::Partition(clock(name)), Event::TellsEnd(clock(name))];
    let mut next = |events: &[Event]| batches.next(events);
    assert_eq!(next(&[]), None, "nothing is known of the directory");
    assert_eq!(next(&begins("")), None);
    assert_eq!(next(&[&begins("a")[..], &[row(clock("a"), 50)]].concat()), None, "others wait to be begun");
    assert_eq!(next(&[&begins("b")[..], &[row(clock("b"), 7)]].concat()), None);
    assert_eq!(next(&[Event::PartitionGone(clock(""))]), Some(7));
    assert_eq!(next(&[row(clock("b"), 20), Event::PartitionGone(clock("b"))]), Some(50), "a is there alone");
    assert_eq!(next(&[row(clock("a"), 60), Event::PartitionGone(clock("a"))]), Some(60), "the furthest of all");
    assert_eq!(next(&begins("")), Some(60));
    // A file that is read in one batch, and an empty one.
    assert_eq!(next(&[row(clock("c"), 70), Event::PartitionGone(clock("c"))]), Some(60), "others wait");
    assert_eq!(next(&[Event::PartitionGone(clock("d"))]), Some(60));
    assert_eq!(next(&[Event::PartitionGone(clock(""))]), Some(70));
    // A waiting file holds the time however long it yields nothing. A directory that has been read completely does not.
    assert_eq!(next(&begins("")), Some(70));
    for _ in 0..20 {
        assert_eq!(next(&[]), Some(70));
    }
    assert_eq!(next(&[Event::PartitionGone(clock(""))]), Some(70));
    // For 4, 8 and 12.
    assert_eq!([(); 3].map(|()| next(&[])), [Some(70), Some(70), Some(1000)]);
}

#[test]
fn what_came_while_a_stage_told_nothing_is_not_taken_for_what_it_tells_of_later() {
    let (made, stage) = (ClockId::for_stream(5), 3);
    let watermarks = Watermarks::new([made].into_iter(), 0, None);
    let held_by = |keeps_times| HoldingStage { name: "held".to_owned(), keeps_times };
    let mut watermarks = watermarks.with_holding([(made, [(stage, held_by(false))].into())].into());
    let held = |from_us, until_us| Event::Held { stage, hold: Hold { from_us: Some(from_us), until_us } };
    assert_eq!(watermarks.batch(1, [row(made, 400), held(300, None)].into_iter()), None);
    assert_eq!(watermarks.batch(1, [row(made, 390), held(380, Some(390))].into_iter()), None);
    assert_eq!(watermarks.batch(1, [held(395, None)].into_iter()), Some(390), "a row of 395 may come");
}

#[test]
fn where_times_are_kept_all_is_shown_that_is_older_than_what_is_still_held() {
    let (made, stage) = (ClockId::for_stream(5), 3);
    let holding_stage = HoldingStage { name: "held".to_owned(), keeps_times: true };
    let watermarks = Watermarks::new([made].into_iter(), 0, None);
    let mut watermarks = watermarks.with_holding([(made, [(stage, holding_stage)].into())].into());
    let held = |from_us, until_us| Event::Held { stage, hold: Hold { from_us, until_us } };
    assert_eq!(watermarks.batch(1, [held(Some(100), None)].into_iter()), None, "nothing has come");
    assert_eq!(watermarks.batch(1, [row(made, 400), held(Some(300), Some(400))].into_iter()), Some(300));
    assert_eq!(watermarks.batch(1, [held(None, None)].into_iter()), Some(300));
    assert_eq!(watermarks.batch(1, [held(Some(380), None)].into_iter()), Some(380));
    assert_eq!(watermarks.batch(1, [held(Some(500), None)].into_iter()), Some(400), "no more than was seen");
}
