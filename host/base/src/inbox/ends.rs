//! Which partitions are read to their ends, so that the plan of a batch says of a partition that is silent whether that is because
//! it has nothing, or because what it has was not read yet.
//!
//! Somebody asks the server now and then how far each partition goes. When batches have come as far as it said, they have all that
//! there was when it was asked. A partition is at its end in a batch when that was so after the batch before, about: later than that
//! nobody can know of rows that are on their way. Where the server does not answer, and where batches are behind, it is not.

use super::{Inbox, InboxContents, QueuedItem, TakenRecords};
use crate::batch::partition::{AT_END, CLOCK_PREFIX, MORE, Share};
use crate::batch::position::{Position, Positions};
use crate::batch::topic;
use crate::ids::BatchId;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// How often a server is asked, whatever `idle` is: at least, and at most.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often it is asked in the time of `idle`.
const ASKED_IN_IDLE: u32 = 8;
/// An answer is good for as long as it took, and as it takes to the next one, this many times.
const ANSWERS_GOOD_FOR: u32 = 3;

/// How it stands with the ends of partitions.
pub(super) struct PartitionEnds {
    ask_every: Duration,
    /// How long the last answer took.
    answered_in: Duration,
    partitions: BTreeMap<String, PartitionEnd>,
    /// The mark of a source of which no partition is known yet, and whether there are none; `None`: some are, or another process
    /// tells of it.
    whole: Option<(i64, bool)>,
    last_cut: Option<Instant>,
}

/// One partition.
#[derive(Default)]
struct PartitionEnd {
    /// As the last plan has it that tells of it.
    position: Position,
    /// An end behind which batches have not come, and when the server was asked for it.
    ahead: Option<(u64, Instant)>,
    /// When all that there was is in batches.
    whole_at: Option<Instant>,
}

impl PartitionEnd {
    fn moved(&mut self, position: Position) {
        self.position = position;
        if let Some((_, asked)) = self.ahead.take_if(|(end, _)| *end <= position.offset) {
            self.whole_at = self.whole_at.max(Some(asked));
        }
    }

    fn ends(&mut self, end: u64, asked: Instant) {
        if end <= self.position.offset {
            (self.ahead, self.whole_at) = (None, self.whole_at.max(Some(asked)));
        } else {
            // The one that batches come to first stays.
            self.ahead.get_or_insert((end, asked));
        }
    }
}

impl PartitionEnds {
    /// Goes on from the positions of an earlier start. `idle`: for how long a partition must be silent.
    fn new(from: &Positions, share: Share, idle: Duration) -> PartitionEnds {
        let of_partitions = from.iter().filter(|(name, _)| topic::is_name(name));
        let known = |position: &Position| PartitionEnd { position: *position, ..PartitionEnd::default() };
        let (least, most) = ASK_EVERY;
        let some_are_known = from.keys().any(|name| name.starts_with(CLOCK_PREFIX) && name != CLOCK_PREFIX);
        let mark = from.get(CLOCK_PREFIX).map_or(0, |position| position.mark);
        PartitionEnds {
            ask_every: (idle / ASKED_IN_IDLE).clamp(least, most),
            answered_in: Duration::ZERO,
            partitions: of_partitions.map(|(name, position)| (name.clone(), known(position))).collect(),
            whole: (share.tells_clocks() && !some_are_known).then_some((mark, false)),
            last_cut: None,
        }
    }

    /// A batch is cut, which moves these positions; rows of some partitions wait for the next one. What it has to tell is added.
    /// `looked`: it took what there was.
    fn cut(&mut self, moved: &mut Positions, waiting: &HashSet<&str>, looked: bool, now: Instant) {
        for (name, position) in moved.iter().filter(|(name, _)| topic::is_name(name)) {
            if *position == Position::GONE {
                self.partitions.remove(name);
            } else {
                self.partitions.entry(name.clone()).or_default().moved(*position);
            }
        }
        let good_for = (self.ask_every + self.answered_in) * ANSWERS_GOOD_FOR;
        let last_cut = self.last_cut.filter(|_| looked);
        let is_known = |whole_at: Instant| last_cut.is_some_and(|last_cut| whole_at + good_for >= last_cut);
        for (name, partition) in &mut self.partitions {
            let at_end = partition.whole_at.is_some_and(is_known) && !waiting.contains(name.as_str());
            let mark = if at_end { AT_END } else { MORE };
            if partition.position.mark != mark {
                partition.position.mark = mark;
                moved.insert(name.clone(), partition.position);
            }
        }
        if let Some((before, none)) = &mut self.whole {
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
    /// Plans are to tell of partitions whether they are at their ends, since a stage leaves those out that are silent for so long.
    pub fn tells_ends(&self, from: &Positions, share: Share, idle: Duration) {
        self.lock().ends = Some(PartitionEnds::new(from, share, idle));
    }

    /// Receiver: how often to ask how far partitions go; `None`: nobody wants to know.
    pub fn ask_ends_every(&self) -> Option<Duration> {
        self.lock().ends.as_ref().map(|ends| ends.ask_every)
    }

    /// Receiver: partitions go up to these offsets, or went there when the server was asked.
    pub fn tell_ends(&self, asked: Instant, ends: &[(String, u64)]) {
        let mut held = self.lock();
        let Some(own) = &mut held.ends else { return };
        own.answered_in = asked.elapsed();
        for (name, end) in ends {
            if let Some(partition) = own.partitions.get_mut(name) {
                partition.ends(*end, asked);
            }
        }
    }

    /// Receiver: whether it is known that the source has no partition at all.
    pub fn tell_none(&self, none: bool) {
        if let Some((_, known)) = self.lock().ends.as_mut().and_then(|ends| ends.whole.as_mut()) {
            *known = none;
        }
    }

    /// Worker: this batch takes nothing, whatever waits.
    pub fn pass(&self, batch: BatchId) -> TakenRecords {
        let mut held = self.lock();
        held.cut = batch;
        let mut moved = Positions::new();
        held.tell_of_ends(&mut moved, false);
        TakenRecords { chunks: Vec::new(), moved: moved.into_iter().collect() }
    }
}

impl InboxContents {
    /// A batch is cut: what it has to tell of partitions is added to the positions that it moves.
    pub(super) fn tell_of_ends(&mut self, moved: &mut Positions, looked: bool) {
        let InboxContents { ends, waiting, .. } = self;
        let Some(ends) = ends else { return };
        let chunks = waiting.iter().filter_map(|item| match item {
            QueuedItem::Chunk(chunk) => Some(chunk.extent.file.as_str()),
            _ => None,
        });
        ends.cut(moved, &chunks.collect(), looked, Instant::now());
    }

    /// Partitions are told from now on, each with a clock; whether plans say of them that they are at their ends.
    pub(super) fn partitions_are_told(&mut self) -> bool {
        let Some(ends) = &mut self.ends else { return false };
        ends.whole = None;
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

        fn told(&mut self, seconds: u64, name: &str, end: u64) {
            let asked = self.at(seconds);
            self.ends.partitions.get_mut(name).unwrap().ends(end, asked);
        }

        /// The marks that a batch tells, which takes partitions up to these offsets and leaves rows of others.
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
        cuts.told(1, "/t/0", 5);
        cuts.told(1, "/t/1", 90);
        assert_eq!(cuts.cut(2, &[("/t/1", 40)], &[]), [end("/t/0", 5), more("/t/1", 40)]);
        cuts.told(2, "/t/0", 5);
        cuts.told(2, "/t/1", 95);
        assert_eq!(cuts.cut(3, &[("/t/1", 90)], &["/t/1"]), [more("/t/1", 90)], "rows wait");
        assert_eq!(cuts.cut(4, &[("/t/1", 95)], &[]), [end("/t/1", 95)]);
        assert_eq!(cuts.cut(5, &[], &[]), []);
        cuts.told(5, "/t/1", 95);
        // A row is there, and was not read yet.
        assert_eq!(cuts.cut(6, &[], &["/t/0"]), [more("/t/0", 5)]);
    }

    #[test]
    fn where_the_server_does_not_answer_nobody_knows() {
        let mut cuts = Cuts::new(&[]);
        cuts.cut(0, &[("/t/0", 5)], &[]);
        cuts.told(1, "/t/0", 5);
        assert_eq!(cuts.cut(1, &[], &[]), [end("/t/0", 5)]);
        assert_eq!(cuts.cut(4, &[], &[]), []);
        assert_eq!(cuts.cut(5, &[], &[]), [], "it was asked 3 s before the last batch");
        assert_eq!(cuts.cut(6, &[], &[]), [more("/t/0", 5)]);
        // It answers, but the rows do not come.
        cuts.told(7, "/t/0", 6);
        cuts.told(8, "/t/0", 7);
        assert_eq!(cuts.cut(9, &[], &[]), []);
        assert_eq!(cuts.cut(12, &[], &[]), []);
        assert_eq!(cuts.cut(20, &[("/t/0", 6)], &[]), [more("/t/0", 6)], "as it was 13 s ago");
        cuts.told(20, "/t/0", 7);
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
                cuts.told(second, "/t/0", 100 * second);
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
        cuts.told(0, "/t/0", 5);
        assert_eq!(cuts.cut(0, &[], &[]), [more("/t/0", 5), more("/t/2", 9)]);
        cuts.told(1, "/t/0", 5);
        assert_eq!(cuts.cut(1, &[], &[]), [end("/t/0", 5)]);
    }

    #[tokio::test]
    async fn batches_that_pass_know_nothing_and_sources_have_no_end_before_their_partitions_are_known() {
        let inbox = Inbox::new(1 << 20, Box::new(|| {}));
        inbox.tells_ends(&Positions::new(), Share::ALL, IDLE);
        let all = TakeLimits::of(u64::MAX, u64::MAX);
        assert_eq!(inbox.take(BatchId(1), all).moved, [more(CLOCK_PREFIX, 0)]);
        inbox.tell_none(true);
        assert_eq!(inbox.take(BatchId(2), all).moved, [end(CLOCK_PREFIX, 0)], "there are none");
        assert!(inbox.tell_partitions(&["/t/0".to_owned()], &[]));
        let extent = Extent { file: "/t/0".into(), start: 3, bytes: 1, row: 0 };
        inbox.put(Chunk { bytes: Bytes::from_static(b"a"), ends: vec![1], extent, ..Chunk::default() }).await;
        let moved = inbox.take(BatchId(3), all).moved;
        assert_eq!(moved, [more("/t/0", 4), end(&clock_name("/t/0"), 0)], "its clock waits for a mark");
        inbox.tell_ends(Instant::now(), &[("/t/0".to_owned(), 4), ("/t/1".to_owned(), 4)]);
        assert_eq!(inbox.take(BatchId(4), all).moved, [end("/t/0", 4)]);
        assert_eq!(inbox.pass(BatchId(5)).moved, [more("/t/0", 4)]);
        assert_eq!(inbox.pass(BatchId(6)), TakenRecords::default());
    }

    #[test]
    fn how_often_a_server_is_asked_depends_on_how_soon_a_partition_is_left_out() {
        let every = |idle_ms| {
            let inbox = Inbox::new(1, Box::new(|| {}));
            inbox.tells_ends(&Positions::new(), Share::ALL, Duration::from_millis(idle_ms));
            inbox.ask_ends_every().map(|every| every.as_millis())
        };
        assert_eq!([10, 800, 60_000].map(every), [Some(50), Some(100), Some(1_000)]);
    }
}
