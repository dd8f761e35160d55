//! The watermark of a stage: pure functions over the events of batches. As in Flink and the Dataflow model, it follows the least of the clocks that
//! are not idle, and it never goes back. As in Kafka Streams, a partition is not idle as long as it has rows that no batch has taken. When all clocks
//! are idle, the greatest time of all applies, whichever became idle first. Event time then advances with batch time until everything open has been
//! emitted.

use super::END_US;
use super::holds::HeldClock;
use millstream_base::context::{Event, Hold};
use millstream_base::ids::ClockId;
use millstream_base::time::TIME_US_MAX;
use millstream_job::spec::AtEnd;
use std::collections::{BTreeMap, BTreeSet};

/// The progress of event time, by clock and overall. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermarks {
    lateness_us: i64,
    idle_us: Option<i64>,
    /// The streams whose rows the stage reads. Partitions of other streams are ignored.
    streams: BTreeSet<u32>,
    /// The clocks. A source with a clock per partition has a single clock until its partitions are known.
    clocks: BTreeMap<ClockId, SourceClock>,
    watermark: Option<i64>,
    clock_ends: ClockEnds,
    holding: HoldingStages,
    held_clocks: BTreeMap<(ClockId, u32), HeldClock>,
    feeds: ClockFeeds,
    /// The sources whose partitions are files. When a file has been read to its end, its time moves to the clock of the source. That clock applies
    /// while no file is read.
    dirs: BTreeSet<u32>,
    /// Whether batches have taken all of a partition; absent for partitions that do not report it.
    at_end: BTreeMap<ClockId, bool>,
    idle_time: SharedIdleTime,
    /// How far after the greatest time event time advances when all clocks are idle; `None`: without limit.
    horizon_us: Option<i64>,
}

/// What determines event time when all clocks are idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedIdleTime {
    /// The greatest time that any clock has shown, including removed clocks.
    pub seen_us: Option<i64>,
    /// Batch time since all clocks are idle; `None`: a row has come since.
    pub idle_us: Option<i64>,
}

/// The sources with partitions from which rows come, by clock. For clocks of rows made by stages.
pub type ClockFeeds = BTreeMap<ClockId, BTreeSet<u32>>;

/// The sources from which rows come, by clock. When all of them have ended, the clock has ended.
pub type ClockEnds = BTreeMap<ClockId, BTreeSet<u32>>;

/// The upstream stages that hold back some of its rows, by clock and by index in the job.
pub type HoldingStages = BTreeMap<ClockId, BTreeMap<u32, HoldingStage>>;

/// A stage that emits rows later than the rows they are computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldingStage {
    /// Its name.
    pub name: String,
    /// Whether an output row has the time of one of its input rows, as the stage itself reads it.
    pub keeps_times: bool,
}

/// The progress of one clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceClock {
    /// The greatest time seen.
    pub max_us: Option<i64>,
    /// Batch time since its last row, or since the first of all batches.
    pub quiet_us: i64,
}

impl Watermarks {
    /// Starts with these clocks, which have seen no rows yet.
    pub fn new(clocks: impl Iterator<Item = ClockId>, lateness_us: i64, idle_us: Option<i64>) -> Watermarks {
        let clocks: BTreeMap<_, _> = clocks.map(|id| (id, SourceClock::default())).collect();
        let streams = clocks.keys().map(|id| id.stream).collect();
        let (clock_ends, holding, held_clocks) = (ClockEnds::new(), HoldingStages::new(), BTreeMap::new());
        let (feeds, dirs, at_end) = (ClockFeeds::new(), BTreeSet::new(), BTreeMap::new());
        let (watermark, idle_time, horizon_us) = (None, SharedIdleTime::default(), Some(0));
        Watermarks {
            lateness_us,
            idle_us,
            streams,
            clocks,
            watermark,
            clock_ends,
            holding,
            held_clocks,
            feeds,
            dirs,
            at_end,
            idle_time,
            horizon_us,
        }
    }

    /// Sets how long the stage waits for times after those of its rows.
    #[must_use]
    pub fn with_horizon(self, horizon_us: Option<i64>) -> Watermarks {
        Watermarks { horizon_us, ..self }
    }

    /// Sets the sources that feed clocks of rows made by stages from partitions.
    #[must_use]
    pub fn with_feeds(self, feeds: ClockFeeds) -> Watermarks {
        Watermarks { feeds, ..self }
    }

    /// Sets the sources that read directories.
    #[must_use]
    pub fn with_dirs(self, dirs: BTreeSet<u32>) -> Watermarks {
        Watermarks { dirs, ..self }
    }

    /// Sets the stages that hold back rows of some clocks.
    #[must_use]
    pub fn with_holding(self, holding: HoldingStages) -> Watermarks {
        let pairs = holding.iter().flat_map(|(clock, stages)| stages.keys().map(|stage| (*clock, *stage)));
        let held_clocks = pairs.map(|pair| (pair, HeldClock::default())).collect();
        Watermarks { holding, held_clocks, ..self }
    }

    /// Sets the sources with which clocks end. In a job that is to continue later, no clock ends. A source that has come to its end may have more
    /// then, like an idle one, so it holds back the watermark.
    #[must_use]
    pub fn with_ends(self, clock_ends: ClockEnds, at_end: AtEnd) -> Watermarks {
        let clock_ends = if at_end == AtEnd::Keep { ClockEnds::new() } else { clock_ends };
        Watermarks { clock_ends, ..self }
    }

    /// Restores a clock from a checkpoint, and the watermark stored with it.
    pub fn restore(&mut self, id: Option<ClockId>, clock: SourceClock, watermark: Option<i64>) {
        if let Some(id) = id.filter(|id| self.streams.contains(&id.stream)) {
            self.clocks.insert(id, clock);
        }
        self.watermark = self.watermark.max(watermark);
    }

    /// Restores the shared idle time from a checkpoint. Older checkpoints have none; then the clocks show what was seen.
    pub fn restore_idle_time(&mut self, idle_time: Option<SharedIdleTime>) {
        self.idle_time = idle_time.unwrap_or_default();
        self.record_seen();
    }

    /// Returns what determines event time when all clocks are idle.
    pub fn idle_time(&self) -> SharedIdleTime {
        self.idle_time
    }

    /// Removes the single clock of a source, as a checkpoint holds clocks of its partitions.
    pub fn remove_source_clock(&mut self, source: ClockId) {
        self.clocks.remove(&source.without_partition());
    }

    /// Restores a clock downstream of a stage from a checkpoint.
    pub fn restore_held(&mut self, clock: ClockId, stage: u32, held_clock: HeldClock) {
        if let Some(own) = self.held_clocks.get_mut(&(clock, stage)) {
            *own = held_clock;
        }
    }

    /// Returns the clocks downstream of stages that hold back rows, with the name of the stage.
    pub fn held_clocks(&self) -> impl Iterator<Item = (ClockId, &str, &HeldClock)> + '_ {
        self.held_clocks
            .iter()
            .filter_map(|((clock, stage), held_clock)| Some((*clock, self.stage(*clock, *stage)?, held_clock)))
    }

    fn stage(&self, clock: ClockId, stage: u32) -> Option<&str> {
        self.holding.get(&clock)?.get(&stage).map(|stage| stage.name.as_str())
    }

    /// Returns the indices of the stages upstream of a clock that hold back rows.
    pub fn stages(&self, clock: ClockId) -> impl Iterator<Item = u32> + use<> {
        self.holding.get(&clock).map(|stages| stages.keys().copied().collect::<Vec<_>>()).into_iter().flatten()
    }

    /// Returns the index of the stage with this name, if it is upstream of the clock.
    pub fn holding_index(&self, clock: ClockId, name: &str) -> Option<u32> {
        self.holding.get(&clock)?.iter().find(|(_, own)| own.name == name).map(|(index, _)| *index)
    }

    /// Returns the current watermark.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// Returns the current clocks.
    pub fn clocks(&self) -> impl Iterator<Item = (ClockId, SourceClock)> + '_ {
        self.clocks.iter().map(|(id, clock)| (*id, *clock))
    }

    /// Applies the events of a complete batch, which comes `lapse_us` of batch time after the previous one.
    pub fn batch(&mut self, lapse_us: i64, events: impl Iterator<Item = Event>) -> Option<i64> {
        for clock in self.clocks.values_mut() {
            clock.quiet_us = clock.quiet_us.saturating_add(lapse_us);
        }
        let mut sources = BTreeSet::new();
        let mut holds: BTreeMap<u32, Hold> = BTreeMap::new();
        let mut moved: BTreeMap<ClockId, i64> = BTreeMap::new();
        let mut removed: BTreeSet<ClockId> = BTreeSet::new();
        let mut at_end: BTreeMap<ClockId, bool> = BTreeMap::new();
        let mut without_source_clock: BTreeSet<ClockId> = BTreeSet::new();
        for event in events {
            match event {
                Event::Time { clock_id, max_us } => {
                    let clock = self.clocks.entry(clock_id).or_default();
                    clock.max_us = clock.max_us.max(Some(max_us));
                    clock.quiet_us = 0;
                    self.idle_time.idle_us = None;
                    moved.entry(clock_id).and_modify(|own| *own = max_us.max(*own)).or_insert(max_us);
                }
                // One per worker: the least of them applies.
                Event::Held { stage, hold } => {
                    let all = holds.entry(stage).or_insert(hold);
                    all.from_us = all.from_us.min(hold.from_us);
                    all.until_us = all.until_us.max(hold.until_us);
                }
                Event::Partition(clock_id) => {
                    if self.streams.contains(&clock_id.stream) {
                        self.clocks.entry(clock_id).or_default();
                        without_source_clock.extend(
                            Some(clock_id.without_partition()).filter(|source| !self.dirs.contains(&source.stream)),
                        );
                    }
                }
                Event::TellsEnd(clock_id) => drop(self.at_end.entry(clock_id).or_insert(false)),
                Event::AtEnd { clock_id, at_end: now } => drop(at_end.insert(clock_id, now)),
                Event::PartitionGone(clock_id) => {
                    removed.insert(clock_id);
                }
                Event::Ended(source) => {
                    sources.insert(source);
                }
            }
        }
        // Keep the time of a clock that is removed.
        self.record_seen();
        removed.iter().for_each(|id| self.keep_file_time(*id));
        // Its last rows may come in the same batch. The same holds for rows of a source without partitions in the batch that reports its partitions.
        self.clocks.retain(|id, _| !removed.contains(id) && !without_source_clock.contains(id));
        // The end of a partition may be reported by another process than the one that knows the partition, in the same batch or before.
        self.at_end.extend(at_end);
        self.at_end.retain(|id, _| !removed.contains(id));
        for ((clock, stage), held_clock) in &mut self.held_clocks {
            let hold = holds.get(stage).copied().unwrap_or_default();
            held_clock.batch(hold, moved.get(clock).copied());
            if self.holding.get(clock).and_then(|stages| stages.get(stage)).is_some_and(|stage| stage.keeps_times) {
                held_clock.same_times(hold, self.clocks.get(clock).and_then(|clock| clock.max_us));
            }
        }
        self.record_seen();
        let has_ended = |id: &ClockId| {
            self.clock_ends.get(&id.without_partition()).is_some_and(|of| !of.is_empty() && of.is_subset(&sources))
        };
        let (ended, going): (Vec<_>, Vec<_>) = self.clocks.iter().partition(|(id, _)| has_ended(id));
        if going.is_empty() && !ended.is_empty() {
            // Nothing older than the existing rows can come.
            self.watermark = self.watermark.max(Some(END_US));
            return self.watermark;
        }
        let all_idle = !going.is_empty() && self.idle_us.is_some();
        let awake =
            going.into_iter().filter(|(id, clock)| !self.is_covered(**id) && !self.is_idle(**id, clock, lapse_us));
        // A clock that has seen no rows yet holds back the watermark: `None` is the least.
        match awake.map(|(id, clock)| self.shown_time(*id, clock)).min() {
            Some(least) => {
                self.watermark = self.watermark.max(least.map(|least| least.saturating_sub(self.lateness_us)));
            }
            None if all_idle => self.advance_idle(lapse_us),
            None => {}
        }
        self.watermark
    }

    /// Advances event time while all clocks are idle.
    fn advance_idle(&mut self, lapse_us: i64) {
        let idle_us = self.idle_time.idle_us.map_or(0, |idle_us| idle_us.saturating_add(lapse_us));
        self.idle_time.idle_us = Some(idle_us);
        let limit_us = self.horizon_us.map_or(i64::MAX, |horizon_us| horizon_us.saturating_add(self.lateness_us));
        let time = self.idle_time.seen_us.map(|seen_us| {
            let time = seen_us.saturating_sub(self.lateness_us).saturating_add(idle_us.min(limit_us));
            // Not as far as the end of event time, which only sources report.
            time.min(TIME_US_MAX)
        });
        self.watermark = self.watermark.max(time);
    }

    /// Records the greatest time that clocks show.
    fn record_seen(&mut self) {
        let shown_time = self.clocks.iter().filter_map(|(id, clock)| self.shown_time(*id, clock)).max();
        self.idle_time.seen_us = self.idle_time.seen_us.max(shown_time);
    }

    /// Keeps the time of a file whose clock is removed.
    fn keep_file_time(&mut self, id: ClockId) {
        if let Some(file) = self.clocks.get(&id).copied().filter(|_| self.dirs.contains(&id.stream)) {
            let source_clock = self.clocks.entry(id.without_partition()).or_insert(file);
            // No rows updated it while files were read, so it is not idle before `idle` has passed from now on.
            *source_clock = SourceClock { max_us: source_clock.max_us.max(file.max_us), quiet_us: 0 };
        }
    }

    /// Returns whether it is the clock of a directory of which files are being read, or wait to be.
    fn is_covered(&self, id: ClockId) -> bool {
        let files = ClockId { partition: 1, ..id }..=ClockId { partition: u64::MAX, ..id };
        id == id.without_partition() && self.dirs.contains(&id.stream) && self.clocks.range(files).next().is_some()
    }

    /// Returns whether a clock is ignored after a batch that came `lapse_us` after the previous one. No rows came for the `idle` time, and not
    /// because they are still unread.
    fn is_idle(&self, id: ClockId, clock: &SourceClock, lapse_us: i64) -> bool {
        let Some(idle_us) = self.idle_us.filter(|idle_us| clock.quiet_us >= *idle_us) else { return false };
        let feeds = self.feeds.get(&id);
        let fed_by = |of: &ClockId| feeds.is_some_and(|sources| sources.contains(&of.stream));
        let without_source_clock = self.at_end.get(&id);
        match without_source_clock
            .into_iter()
            .chain(self.at_end.iter().filter(|(of, _)| fed_by(of)).map(|(_, at_end)| at_end))
            .min()
        {
            None => true,
            Some(false) => false,
            // Batches have taken everything that existed after the previous batch. Nothing is known of the time since.
            Some(true) => clock.quiet_us.saturating_sub(lapse_us) >= idle_us,
        }
    }

    /// Returns the time that a clock shows.
    fn shown_time(&self, id: ClockId, clock: &SourceClock) -> Option<i64> {
        let shown_us =
            self.held_clocks.range((id, 0)..=(id, u32::MAX)).map(|(_, held_clock)| held_clock.shown_us).min();
        shown_us.unwrap_or(clock.max_us)
    }
}

#[cfg(test)]
mod tests;
