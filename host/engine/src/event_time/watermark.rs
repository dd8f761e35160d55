//! The watermark of a stage: pure functions over what batches showed. As in Flink and the Dataflow model, the least of the
//! clocks that are not idle counts, and the watermark never goes back. As in Kafka Streams, a partition is not idle as long as it
//! has rows that no batch has. When all clocks are idle the greatest time of all counts, whichever fell silent first, and event time
//! runs on with batch time until all that is open has come out.

use super::END_US;
use super::holds::HeldClock;
use millstream_base::context::{Event, Hold};
use millstream_base::ids::ClockId;
use millstream_base::job::spec::AtEnd;
use millstream_base::time::TIME_US_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// How far event time has come, by clock and as a whole. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermarks {
    lateness_us: i64,
    idle_us: Option<i64>,
    /// The streams whose rows are seen, so that partitions of others are left out.
    streams: BTreeSet<u32>,
    /// By clock. A source whose partitions have clocks has one as a whole until its partitions are told.
    clocks: BTreeMap<ClockId, SourceClock>,
    watermark: Option<i64>,
    ends: ClockEnds,
    behind: HoldingStages,
    held: BTreeMap<(ClockId, u32), HeldClock>,
    fed: ClockFeeds,
    /// The sources whose partitions are files. What a file has shown that is read to its end the source as a whole keeps, whose clock
    /// counts as long as no file is read.
    folders: BTreeSet<u32>,
    /// Whether batches have all of a partition; of one that is not there nobody tells.
    at_end: BTreeMap<ClockId, bool>,
    silence: Silence,
    /// How far behind the greatest time event time runs on when all clocks are idle; `None`: without an end.
    horizon_us: Option<i64>,
}

/// What counts when all clocks are idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// The greatest time that any clock has shown, also one that is gone.
    pub seen_us: Option<i64>,
    /// Batch time since all clocks are idle; `None`: a row has come since.
    pub idle_us: Option<i64>,
}

/// By clock of what a stage made, the sources with partitions from which its rows come.
pub type ClockFeeds = BTreeMap<ClockId, BTreeSet<u32>>;

/// By clock, the sources from which its rows come: when all of them have ended, it has.
pub type ClockEnds = BTreeMap<ClockId, BTreeSet<u32>>;

/// By clock, the stages before that hold back some of its rows, by place in the job.
pub type HoldingStages = BTreeMap<ClockId, BTreeMap<u32, HoldingStage>>;

/// A stage that puts out rows later than what they are made of came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldingStage {
    /// Its name.
    pub name: String,
    /// Whether the time of what it puts out is that of a row of which that is made, as the stage itself reads it.
    pub keeps_times: bool,
}

/// How far one clock has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceClock {
    /// The greatest time seen.
    pub max_us: Option<i64>,
    /// Batch time since its last row, or since the first of all batches.
    pub quiet_us: i64,
}

impl Watermarks {
    /// Begins with these clocks, of which nothing was seen yet.
    pub fn new(clocks: impl Iterator<Item = ClockId>, lateness_us: i64, idle_us: Option<i64>) -> Watermarks {
        let clocks: BTreeMap<_, _> = clocks.map(|id| (id, SourceClock::default())).collect();
        let streams = clocks.keys().map(|id| id.stream).collect();
        let (ends, behind, held) = (ClockEnds::new(), HoldingStages::new(), BTreeMap::new());
        let (fed, folders, at_end) = (ClockFeeds::new(), BTreeSet::new(), BTreeMap::new());
        let (watermark, silence, horizon_us) = (None, Silence::default(), Some(0));
        Watermarks {
            lateness_us,
            idle_us,
            streams,
            clocks,
            watermark,
            ends,
            behind,
            held,
            fed,
            folders,
            at_end,
            silence,
            horizon_us,
        }
    }

    /// The same, of a stage that waits for times so far behind those of its rows.
    #[must_use]
    pub fn running_on(self, horizon_us: Option<i64>) -> Watermarks {
        Watermarks { horizon_us, ..self }
    }

    /// The same, of which some clocks are of what stages made of the rows of partitions.
    #[must_use]
    pub fn fed(self, fed: ClockFeeds) -> Watermarks {
        Watermarks { fed, ..self }
    }

    /// The same, of which these sources are folders.
    #[must_use]
    pub fn of_folders(self, folders: BTreeSet<u32>) -> Watermarks {
        Watermarks { folders, ..self }
    }

    /// The same, of which some clocks are of rows that stages hold back.
    #[must_use]
    pub fn behind(self, behind: HoldingStages) -> Watermarks {
        let pairs = behind.iter().flat_map(|(clock, stages)| stages.keys().map(|stage| (*clock, *stage)));
        let held = pairs.map(|pair| (pair, HeldClock::default())).collect();
        Watermarks { behind, held, ..self }
    }

    /// The same, of clocks that end with their sources. Of a job that is to go on later none does: a source that has come to
    /// its end may have more then, as one that is silent may, so it holds the watermark.
    #[must_use]
    pub fn ending(self, ends: ClockEnds, at_end: AtEnd) -> Watermarks {
        let ends = if at_end == AtEnd::Keep { ClockEnds::new() } else { ends };
        Watermarks { ends, ..self }
    }

    /// Goes on from what a checkpoint holds of a clock, and from the watermark that it was part of.
    pub fn restore(&mut self, id: Option<ClockId>, clock: SourceClock, watermark: Option<i64>) {
        if let Some(id) = id.filter(|id| self.streams.contains(&id.stream)) {
            self.clocks.insert(id, clock);
        }
        self.watermark = self.watermark.max(watermark);
    }

    /// Goes on from what a checkpoint holds of the silence; one of before holds none, and the clocks show what was seen.
    pub fn restore_silence(&mut self, silence: Option<Silence>) {
        self.silence = silence.unwrap_or_default();
        self.see();
    }

    /// What counts when all clocks are idle.
    pub fn silence(&self) -> Silence {
        self.silence
    }

    /// A checkpoint holds clocks of a source's partitions, and none of it as a whole: its partitions were told.
    pub fn partitions_are_told(&mut self, source: ClockId) {
        self.clocks.remove(&source.whole());
    }

    /// Goes on from what a checkpoint holds of a clock behind a stage.
    pub fn restore_held(&mut self, clock: ClockId, stage: u32, held: HeldClock) {
        if let Some(own) = self.held.get_mut(&(clock, stage)) {
            *own = held;
        }
    }

    /// The clocks behind stages that hold rows back, by clock, with the name of the stage.
    pub fn held(&self) -> impl Iterator<Item = (ClockId, &str, &HeldClock)> + '_ {
        self.held.iter().filter_map(|((clock, stage), held)| Some((*clock, self.stage(*clock, *stage)?, held)))
    }

    fn stage(&self, clock: ClockId, stage: u32) -> Option<&str> {
        self.behind.get(&clock)?.get(&stage).map(|stage| stage.name.as_str())
    }

    /// The places of the stages that a clock is behind.
    pub fn stages(&self, clock: ClockId) -> impl Iterator<Item = u32> + use<> {
        self.behind.get(&clock).map(|stages| stages.keys().copied().collect::<Vec<_>>()).into_iter().flatten()
    }

    /// The place of a stage with this name that the clock is behind.
    pub fn place_of(&self, clock: ClockId, name: &str) -> Option<u32> {
        self.behind.get(&clock)?.iter().find(|(_, own)| own.name == name).map(|(place, _)| *place)
    }

    /// As it stands.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// The clocks, as they stand.
    pub fn clocks(&self) -> impl Iterator<Item = (ClockId, SourceClock)> + '_ {
        self.clocks.iter().map(|(id, clock)| (*id, *clock))
    }

    /// A batch is complete, so much batch time after the one before, in which this happened.
    pub fn batch(&mut self, lapse_us: i64, events: impl Iterator<Item = Event>) -> Option<i64> {
        for clock in self.clocks.values_mut() {
            clock.quiet_us = clock.quiet_us.saturating_add(lapse_us);
        }
        let mut sources = BTreeSet::new();
        let mut holds: BTreeMap<u32, Hold> = BTreeMap::new();
        let mut moved: BTreeMap<ClockId, i64> = BTreeMap::new();
        let mut gone: BTreeSet<ClockId> = BTreeSet::new();
        let mut at_end: BTreeMap<ClockId, bool> = BTreeMap::new();
        let mut told: BTreeSet<ClockId> = BTreeSet::new();
        for event in events {
            match event {
                Event::Time { clock_id, max_us } => {
                    let clock = self.clocks.entry(clock_id).or_default();
                    clock.max_us = clock.max_us.max(Some(max_us));
                    clock.quiet_us = 0;
                    self.silence.idle_us = None;
                    moved.entry(clock_id).and_modify(|own| *own = max_us.max(*own)).or_insert(max_us);
                }
                // One of each worker: what one of them holds is held.
                Event::Held { stage, hold } => {
                    let all = holds.entry(stage).or_insert(hold);
                    all.from_us = all.from_us.min(hold.from_us);
                    all.until_us = all.until_us.max(hold.until_us);
                }
                Event::Partition(clock_id) => {
                    if self.streams.contains(&clock_id.stream) {
                        self.clocks.entry(clock_id).or_default();
                        told.extend(Some(clock_id.whole()).filter(|whole| !self.folders.contains(&whole.stream)));
                    }
                }
                Event::TellsEnd(clock_id) => drop(self.at_end.entry(clock_id).or_insert(false)),
                Event::AtEnd { clock_id, at_end: now } => drop(at_end.insert(clock_id, now)),
                Event::PartitionGone(clock_id) => {
                    gone.insert(clock_id);
                }
                Event::Ended(source) => {
                    sources.insert(source);
                }
            }
        }
        // What has been seen of a clock that goes stays seen.
        self.see();
        gone.iter().for_each(|id| self.keep_of_file(*id));
        // Its last rows may come in the same batch, and rows of a source as a whole in that in which its partitions are told.
        self.clocks.retain(|id, _| !gone.contains(id) && !told.contains(id));
        // Another process than the one that knows of a partition may tell of its end, in the same batch or before.
        self.at_end.extend(at_end);
        self.at_end.retain(|id, _| !gone.contains(id));
        for ((clock, stage), held) in &mut self.held {
            let hold = holds.get(stage).copied().unwrap_or_default();
            held.batch(hold, moved.get(clock).copied());
            if self.behind.get(clock).and_then(|stages| stages.get(stage)).is_some_and(|stage| stage.keeps_times) {
                held.same_times(hold, self.clocks.get(clock).and_then(|clock| clock.max_us));
            }
        }
        self.see();
        let has_ended =
            |id: &ClockId| self.ends.get(&id.whole()).is_some_and(|of| !of.is_empty() && of.is_subset(&sources));
        let (ended, going): (Vec<_>, Vec<_>) = self.clocks.iter().partition(|(id, _)| has_ended(id));
        if going.is_empty() && !ended.is_empty() {
            // Nothing can come any more that would be older than what is there.
            self.watermark = self.watermark.max(Some(END_US));
            return self.watermark;
        }
        let all_silent = !going.is_empty() && self.idle_us.is_some();
        let awake =
            going.into_iter().filter(|(id, clock)| !self.is_covered(**id) && !self.is_idle(**id, clock, lapse_us));
        // A clock that has shown nothing yet holds the watermark back: `None` is the least.
        match awake.map(|(id, clock)| self.shown(*id, clock)).min() {
            Some(least) => {
                self.watermark = self.watermark.max(least.map(|least| least.saturating_sub(self.lateness_us)));
            }
            None if all_silent => self.run_on(lapse_us),
            None => {}
        }
        self.watermark
    }

    /// All clocks are idle.
    fn run_on(&mut self, lapse_us: i64) {
        let idle_us = self.silence.idle_us.map_or(0, |idle_us| idle_us.saturating_add(lapse_us));
        self.silence.idle_us = Some(idle_us);
        let most_us = self.horizon_us.map_or(i64::MAX, |horizon_us| horizon_us.saturating_add(self.lateness_us));
        let time = self.silence.seen_us.map(|seen_us| {
            let time = seen_us.saturating_sub(self.lateness_us).saturating_add(idle_us.min(most_us));
            // Not as far as the end of event time, which is said by sources alone.
            time.min(TIME_US_MAX)
        });
        self.watermark = self.watermark.max(time);
    }

    /// Keeps the greatest time that clocks show.
    fn see(&mut self) {
        let shown = self.clocks.iter().filter_map(|(id, clock)| self.shown(*id, clock)).max();
        self.silence.seen_us = self.silence.seen_us.max(shown);
    }

    /// A clock goes. What a file has shown stays.
    fn keep_of_file(&mut self, id: ClockId) {
        if let Some(file) = self.clocks.get(&id).copied().filter(|_| self.folders.contains(&id.stream)) {
            let whole = self.clocks.entry(id.whole()).or_insert(file);
            // Nothing came of it meanwhile because it was not asked: it is not silent before `idle` has passed from here on.
            *whole = SourceClock { max_us: whole.max_us.max(file.max_us), quiet_us: 0 };
        }
    }

    /// Whether it is the clock of a folder of which files are being read, or wait to be.
    fn is_covered(&self, id: ClockId) -> bool {
        let files = ClockId { partition: 1, ..id }..=ClockId { partition: u64::MAX, ..id };
        id == id.whole() && self.folders.contains(&id.stream) && self.clocks.range(files).next().is_some()
    }

    /// Whether a clock is left out, after a batch that came so long after the one before: no rows came for the time of `idle`, and
    /// not because they were not read yet.
    fn is_idle(&self, id: ClockId, clock: &SourceClock, lapse_us: i64) -> bool {
        let Some(idle_us) = self.idle_us.filter(|idle_us| clock.quiet_us >= *idle_us) else { return false };
        let fed = self.fed.get(&id);
        let fed_by = |of: &ClockId| fed.is_some_and(|sources| sources.contains(&of.stream));
        let told = self.at_end.get(&id);
        match told.into_iter().chain(self.at_end.iter().filter(|(of, _)| fed_by(of)).map(|(_, at_end)| at_end)).min() {
            None => true,
            Some(false) => false,
            // What batches have of it is all that there was after the batch before, and nothing is known of the time since.
            Some(true) => clock.quiet_us.saturating_sub(lapse_us) >= idle_us,
        }
    }

    /// The time that a clock shows.
    fn shown(&self, id: ClockId, clock: &SourceClock) -> Option<i64> {
        let held = self.held.range((id, 0)..=(id, u32::MAX)).map(|(_, held)| held.shown_us).min();
        held.unwrap_or(clock.max_us)
    }
}

#[cfg(test)]
mod tests;
