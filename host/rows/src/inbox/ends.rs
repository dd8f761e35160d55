//! Which partitions are read to their ends. With it, the plan of a batch says of an idle partition whether it has no rows, or has rows that were not
//! read yet.
//!
//! The receiver periodically queries the server for the end of each partition. Once batches have reached that offset, they have all rows that
//! existed at the time of the query. A partition is at its end in a batch if that was true after the previous batch, approximately: rows that are on
//! their way later cannot be known. If the server does not respond, or if batches lag behind, it is not.

use super::{Inbox, InboxContents, QueuedItem, TakenRecords};
use crate::batch::partition::{AT_END, CLOCK_PREFIX, MORE, Share};
use crate::batch::position::{Position, Positions};
use crate::batch::topic;
use millstream_base::ids::BatchId;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// Minimum and maximum interval of queries, whatever `idle` is.
const QUERY_INTERVAL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Number of queries within `idle`.
const QUERIES_IN_IDLE: u32 = 8;
/// A response is valid for as long as it took and as the next one takes, times this.
const RESPONSES_VALID_FOR: u32 = 3;

/// The state of the ends of partitions.
pub(super) struct PartitionEnds {
    query_interval: Duration,
    /// How long the last response took.
    response_time: Duration,
    partitions: BTreeMap<String, PartitionEnd>,
    /// The mark of a source without known partitions, and whether it has none; `None` if it has some, or another process reports it.
    source_end: Option<(i64, bool)>,
    last_cut: Option<Instant>,
}

/// One partition.
#[derive(Default)]
struct PartitionEnd {
    /// As in the last plan that reports it.
    position: Position,
    /// An end that batches have not reached, and when the server was queried for it.
    ahead: Option<(u64, Instant)>,
    /// When batches had all that existed.
    complete_at: Option<Instant>,
}

impl PartitionEnd {
    fn moved(&mut self, position: Position) {
        self.position = position;
        if let Some((_, requested_at)) = self.ahead.take_if(|(end, _)| *end <= position.offset) {
            self.complete_at = self.complete_at.max(Some(requested_at));
        }
    }

    fn set_end(&mut self, end: u64, requested_at: Instant) {
        if end <= self.position.offset {
            (self.ahead, self.complete_at) = (None, self.complete_at.max(Some(requested_at)));
        } else {
            // The end that batches reach first stays.
            self.ahead.get_or_insert((end, requested_at));
        }
    }
}

impl PartitionEnds {
    /// Continues from the positions of an earlier startup. `idle`: how long a partition must be idle.
    fn new(from: &Positions, share: Share, idle: Duration) -> PartitionEnds {
        let of_partitions = from.iter().filter(|(name, _)| topic::is_name(name));
        let known = |position: &Position| PartitionEnd { position: *position, ..PartitionEnd::default() };
        let (min, max) = QUERY_INTERVAL;
        let some_are_known = from.keys().any(|name| name.starts_with(CLOCK_PREFIX) && name != CLOCK_PREFIX);
        let mark = from.get(CLOCK_PREFIX).map_or(0, |position| position.mark);
        PartitionEnds {
            query_interval: (idle / QUERIES_IN_IDLE).clamp(min, max),
            response_time: Duration::ZERO,
            partitions: of_partitions.map(|(name, position)| (name.clone(), known(position))).collect(),
            source_end: (share.reports_clocks() && !some_are_known).then_some((mark, false)),
            last_cut: None,
        }
    }

    /// Called when a batch is cut that moves these positions while rows of some partitions wait for the next one. Adds the
    /// positions that it reports. `looked`: it took all that waited.
    fn cut(&mut self, moved: &mut Positions, waiting: &HashSet<&str>, looked: bool, now: Instant) {
        for (name, position) in moved.iter().filter(|(name, _)| topic::is_name(name)) {
            if *position == Position::GONE {
                self.partitions.remove(name);
            } else {
                self.partitions.entry(name.clone()).or_default().moved(*position);
            }
        }
        let good_for = (self.query_interval + self.response_time) * RESPONSES_VALID_FOR;
        let last_cut = self.last_cut.filter(|_| looked);
        let is_known = |complete_at: Instant| last_cut.is_some_and(|last_cut| complete_at + good_for >= last_cut);
        for (name, partition) in &mut self.partitions {
            let at_end = partition.complete_at.is_some_and(is_known) && !waiting.contains(name.as_str());
            let mark = if at_end { AT_END } else { MORE };
            if partition.position.mark != mark {
                partition.position.mark = mark;
                moved.insert(name.clone(), partition.position);
            }
        }
        if let Some((before, none)) = &mut self.source_end {
            let mark = if *none && looked { AT_END } else { MORE };
            if std::mem::replace(before, mark) != mark {
                moved.insert(CLOCK_PREFIX.to_owned(), Position { offset: 0, mark });
            }
        }
        if looked {
            self.last_cut = Some(now);
        }
    }
}

impl Inbox {
    /// Makes plans report whether partitions are at their ends, as a stage ignores those that are idle for `idle`.
    pub fn enable_end_marks(&self, from: &Positions, share: Share, idle: Duration) {
        self.lock().ends = Some(PartitionEnds::new(from, share, idle));
    }

    /// Receiver: returns how often to query how far partitions go; `None` if that is not needed.
    pub fn end_query_interval(&self) -> Option<Duration> {
        self.lock().ends.as_ref().map(|ends| ends.query_interval)
    }

    /// Receiver: reports that partitions went up to these offsets when the server was queried.
    pub fn report_ends(&self, requested_at: Instant, ends: &[(String, u64)]) {
        let mut contents = self.lock();
        let Some(own) = &mut contents.ends else { return };
        own.response_time = requested_at.elapsed();
        for (name, end) in ends {
            if let Some(partition) = own.partitions.get_mut(name) {
                partition.set_end(*end, requested_at);
            }
        }
    }

    /// Receiver: reports whether the source is known to have no partition.
    pub fn report_no_partitions(&self, none: bool) {
        if let Some((_, known)) = self.lock().ends.as_mut().and_then(|ends| ends.source_end.as_mut()) {
            *known = none;
        }
    }

    /// Worker: this batch takes nothing, whatever waits.
    pub fn pass(&self, batch: BatchId) -> TakenRecords {
        let mut contents = self.lock();
        contents.cut = batch;
        let mut moved = Positions::new();
        contents.add_ends(&mut moved, false);
        TakenRecords { chunks: Vec::new(), moved: moved.into_iter().collect() }
    }
}

impl InboxContents {
    /// Called when a batch is cut: adds what it reports about partitions to the positions that it moves.
    pub(super) fn add_ends(&mut self, moved: &mut Positions, looked: bool) {
        let InboxContents { ends, waiting, .. } = self;
        let Some(ends) = ends else { return };
        let chunks = waiting.iter().filter_map(|item| match item {
            QueuedItem::Chunk(chunk) => Some(chunk.extent.file.as_str()),
            _ => None,
        });
        ends.cut(moved, &chunks.collect(), looked, Instant::now());
    }

    /// Called when partitions are reported, each with a clock. Returns whether plans report that they are at their ends.
    pub(super) fn partitions_reported(&mut self) -> bool {
        let Some(ends) = &mut self.ends else { return false };
        ends.source_end = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::chunk::Chunk;
    use crate::batch::partition::clock_name;
    use crate::batch::position::Extent;
    use crate::inbox::TakeLimits;
    use bytes::Bytes;

    const IDLE: Duration = Duration::from_secs(8);

    /// Batches of two partitions, at times that a test chooses.
    struct Cuts {
        ends: PartitionEnds,
        start: Instant,
    }

    impl Cuts {
        fn new(from: &[(&str, Position)]) -> Cuts {
            let from = from.iter().map(|(name, position)| ((*name).to_owned(), *position)).collect();
            Cuts { ends: PartitionEnds::new(&from, Share { first: 1, end: 4096 }, IDLE), start: Instant::now() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn report(&mut self, seconds: u64, name: &str, end: u64) {
            let requested_at = self.at(seconds);
            self.ends.partitions.get_mut(name).unwrap().set_end(end, requested_at);
        }

        /// Returns the marks of a batch that takes partitions up to these offsets and leaves rows of others.
        fn cut(&mut self, seconds: u64, taken: &[(&str, u64)], waiting: &[&str]) -> Vec<(String, Position)> {
            let position = |offset| Position { offset, mark: 0 };
            let mut moved = taken.iter().map(|(name, offset)| ((*name).to_owned(), position(*offset))).collect();
            let now = self.at(seconds);
            self.ends.cut(&mut moved, &waiting.iter().copied().collect(), true, now);
            moved.into_iter().collect()
        }
    }

    fn end(name: &str, offset: u64) -> (String, Position) {
        (name.to_owned(), Position { offset, mark: AT_END })
    }

    fn more(name: &str, offset: u64) -> (String, Position) {
        (name.to_owned(), Position { offset, mark: MORE })
    }

    #[test]
    fn a_partition_is_at_its_end_when_batches_have_all_that_its_server_told_of() {
        let mut cuts = Cuts::new(&[]);
        assert_eq!(cuts.cut(0, &[("/t/0", 5), ("/t/1", 0)], &[]), [more("/t/0", 5), more("/t/1", 0)]);
        cuts.report(1, "/t/0", 5);
        cuts.report(1, "/t/1", 90);
        assert_eq!(cuts.cut(2, &[("/t/1", 40)], &[]), [end("/t/0", 5), more("/t/1", 40)]);
        cuts.report(2, "/t/0", 5);
        cuts.report(2, "/t/1", 95);
        assert_eq!(cuts.cut(3, &[("/t/1", 90)], &["/t/1"]), [more("/t/1", 90)], "rows wait");
        assert_eq!(cuts.cut(4, &[("/t/1", 95)], &[]), [end("/t/1", 95)]);
        assert_eq!(cuts.cut(5, &[], &[]), []);
        cuts.report(5, "/t/1", 95);
        // A row exists, and was not read yet.
        assert_eq!(cuts.cut(6, &[], &["/t/0"]), [more("/t/0", 5)]);
    }

    #[test]
    fn where_the_server_does_not_answer_nobody_knows() {
        let mut cuts = Cuts::new(&[]);
        cuts.cut(0, &[("/t/0", 5)], &[]);
        cuts.report(1, "/t/0", 5);
        assert_eq!(cuts.cut(1, &[], &[]), [end("/t/0", 5)]);
        assert_eq!(cuts.cut(4, &[], &[]), []);
        assert_eq!(cuts.cut(5, &[], &[]), [], "it was asked 3 s before the last batch");
        assert_eq!(cuts.cut(6, &[], &[]), [more("/t/0", 5)]);
        // The server responds, but the rows do not come.
        cuts.report(7, "/t/0", 6);
        cuts.report(8, "/t/0", 7);
        assert_eq!(cuts.cut(9, &[], &[]), []);
        assert_eq!(cuts.cut(12, &[], &[]), []);
        assert_eq!(cuts.cut(20, &[("/t/0", 6)], &[]), [more("/t/0", 6)], "as it was 13 s ago");
        cuts.report(20, "/t/0", 7);
        assert_eq!(cuts.cut(21, &[("/t/0", 7)], &[]), [end("/t/0", 7)]);
    }

    /// Rows come all the time: the newest ones are always on their way.
    #[test]
    fn a_partition_that_is_never_silent_is_at_its_end_when_batches_keep_up() {
        for batch_seconds in [1, 10, 40] {
            let mut cuts = Cuts::new(&[]);
            let mut marks = Vec::new();
            for second in 0..400 {
                cuts.ends.partitions.entry("/t/0".into()).or_default();
                cuts.report(second, "/t/0", 100 * second);
                if second % batch_seconds == 0 {
                    marks.extend(cuts.cut(second, &[("/t/0", 100 * second.saturating_sub(1))], &[]));
                }
            }
            let mark = |(_, position): (String, Position)| position.mark;
            let marks: Vec<i64> = marks.into_iter().map(mark).collect();
            assert!(marks[3..].iter().all(|mark| *mark == AT_END), "{batch_seconds} s: {marks:?}");
        }
    }

    #[test]
    fn a_start_knows_nothing_of_what_is_there_now() {
        let mut cuts = Cuts::new(&[
            ("/t/0", Position { offset: 5, mark: AT_END }),
            ("/t/1", Position { offset: 7, mark: MORE }),
            ("/t/2", Position { offset: 9, mark: 0 }),
        ]);
        cuts.report(0, "/t/0", 5);
        assert_eq!(cuts.cut(0, &[], &[]), [more("/t/0", 5), more("/t/2", 9)]);
        cuts.report(1, "/t/0", 5);
        assert_eq!(cuts.cut(1, &[], &[]), [end("/t/0", 5)]);
    }

    #[tokio::test]
    async fn batches_that_pass_know_nothing_and_sources_have_no_end_before_their_partitions_are_known() {
        let inbox = Inbox::new(1 << 20, Box::new(|| {}));
        inbox.enable_end_marks(&Positions::new(), Share::ALL, IDLE);
        let all = TakeLimits::new(u64::MAX, u64::MAX);
        assert_eq!(inbox.take(BatchId(1), all).moved, [more(CLOCK_PREFIX, 0)]);
        inbox.report_no_partitions(true);
        assert_eq!(inbox.take(BatchId(2), all).moved, [end(CLOCK_PREFIX, 0)], "there are none");
        assert!(inbox.report_partitions(&["/t/0".to_owned()], &[]));
        let extent = Extent { file: "/t/0".into(), start: 3, bytes: 1, row: 0 };
        inbox.put(Chunk { bytes: Bytes::from_static(b"a"), ends: vec![1], extent, ..Chunk::default() }).await;
        let moved = inbox.take(BatchId(3), all).moved;
        assert_eq!(moved, [more("/t/0", 4), end(&clock_name("/t/0"), 0)], "its clock waits for a mark");
        inbox.report_ends(Instant::now(), &[("/t/0".to_owned(), 4), ("/t/1".to_owned(), 4)]);
        assert_eq!(inbox.take(BatchId(4), all).moved, [end("/t/0", 4)]);
        assert_eq!(inbox.pass(BatchId(5)).moved, [more("/t/0", 4)]);
        assert_eq!(inbox.pass(BatchId(6)), TakenRecords::default());
    }

    #[test]
    fn how_often_a_server_is_asked_depends_on_how_soon_a_partition_is_left_out() {
        let every = |idle_ms| {
            let inbox = Inbox::new(1, Box::new(|| {}));
            inbox.enable_end_marks(&Positions::new(), Share::ALL, Duration::from_millis(idle_ms));
            inbox.end_query_interval().map(|every| every.as_millis())
        };
        assert_eq!([10, 800, 60_000].map(every), [Some(50), Some(100), Some(1_000)]);
    }
}
