//! Which worker gets which chunk. Where any may have it, it goes to the one that will be done with it first, and it waits as long as that one
//! has enough to do: so a worker that is slow, or slower than it was, holds up no more than it has begun with.

use super::speeds::Speeds;
use crate::running::loads::SourceLoad;
use millstream_base::ids::{BatchId, PartOrder};
use millstream_base::job::spec::JobSpec;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

/// A batch of so many bytes stays where it is: waking another worker takes longer than what it could help.
const SMALL_BATCH_BYTES: usize = 64 << 10;

/// A worker gets work for so long at most before it is done with what it had; or twice as long as the worker that hands out takes for a chunk,
/// which it does nothing else meanwhile.
const AHEAD_US: f64 = 200_000.0;
const CHUNKS_AHEAD: f64 = 2.0;
/// One that has shown nothing yet gets so much.
const AHEAD_BYTES: f64 = (256 << 10) as f64;
/// What another process says of its workers may be so old: they are taken to have gone on since, and to have decoded nothing longer ago of
/// which they have not said it.
const TOLD: Duration = Duration::from_millis(100);
/// A process of several gives chunks away where it will be done so much later than another one, and a quarter more: a chunk costs least in
/// its own process, and what is known of others is rough.
const LATER_US: f64 = 200_000.0;
const LATER_TIMES: f64 = 1.25;
/// Batches begin in all processes at about the same time, and what others say counts when they have said it so long after that.
const SAID_AFTER: Duration = Duration::from_millis(10);

/// Spreads the chunks of a source over the workers.
pub enum Spread {
    /// Each goes to the worker that will be done with it first.
    Free(FreeSpread),
    /// Each goes where its place in the batch says. A worker that commits its own rows has them under a marker of its own, so a
    /// batch that runs again must give it the same ones: also after a restart, and with workers in other processes.
    ByPlace {
        /// How many workers there are.
        peers: u64,
    },
}

/// Spreads chunks where any worker may have any chunk.
pub struct FreeSpread {
    /// The worker that has the chunks.
    here: usize,
    /// What each worker has had, in bytes, since the job was started.
    handed_bytes: Vec<u64>,
    /// How fast each is.
    speeds: Speeds,
    /// Where other processes receive a part of the source as well.
    near: Option<NearSpread>,
}

/// Keeps chunks in their process, where a chunk costs least, as long as the other processes have about as much to do.
pub struct NearSpread {
    /// The workers of this process; the others have as many each.
    own: Range<usize>,
    /// When a batch was cut while nothing of those before waited.
    cut: Option<Instant>,
    /// Until when each worker is busy with what it was given from here.
    busy_until: BTreeMap<usize, Instant>,
}

impl NearSpread {
    fn of(own: Range<usize>) -> NearSpread {
        NearSpread { own, cut: None, busy_until: BTreeMap::new() }
    }

    /// The worker of another process that is to have the chunk, where this process would be done much later than that one.
    fn helper(&mut self, chunk: WaitingChunk, now: Instant, speeds: &Speeds, loads: &[SourceLoad]) -> Option<usize> {
        let speed = |workers: Range<usize>| workers.map(|worker| speeds.of(worker)).sum::<f64>();
        let here_us = chunk.left_bytes as f64 / speed(self.own.clone());
        if here_us <= LATER_US {
            return None;
        }
        let said_since = |heard: Instant, cut: Instant| heard >= cut + SAID_AFTER || now >= cut + TOLD;
        let said = |worker: &usize| {
            let heard = loads.get(*worker).and_then(|load| load.heard);
            heard.is_some_and(|heard| self.cut.is_none_or(|cut| said_since(heard, cut)))
        };
        let there_us = |worker: usize| {
            let process = worker - worker % self.own.len().max(1);
            let left = loads.get(worker).map_or(0, |load| load.left_bytes) as f64;
            let busy =
                self.busy_until.get(&worker).map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            left / speed(process..process + self.own.len()) + busy.as_micros() as f64
        };
        let others = (0..loads.len()).filter(|worker| !self.own.contains(worker)).filter(said);
        let (there_us, worker) = others.map(|worker| (there_us(worker), worker)).min_by(|a, b| a.0.total_cmp(&b.0))?;
        if here_us <= there_us * LATER_TIMES + LATER_US {
            return None;
        }
        let takes = Duration::from_micros((chunk.bytes as f64 / speeds.of(worker)) as u64);
        let until = self.busy_until.entry(worker).or_insert(now);
        *until = (*until).max(now) + takes;
        Some(worker)
    }
}

impl Spread {
    /// For a worker of so many that has the chunks. `near`: the workers of this process, where others receive a part of the source.
    pub fn new(job: &JobSpec, (here, peers): (usize, usize), near: Option<Range<usize>>) -> Spread {
        if job.sinks.iter().any(|sink| sink.kind.by_worker()) {
            return Spread::ByPlace { peers: peers.max(1) as u64 };
        }
        let near = near.filter(|own| own.len() < peers).map(NearSpread::of);
        Spread::Free(FreeSpread { here, handed_bytes: vec![0; peers], speeds: Speeds::new(peers), near })
    }

    /// A batch was cut, of which place and length of all chunks are known: the workers that must have them, or `None` for those that any may
    /// have. `is_behind`: chunks of earlier batches wait still.
    pub fn batch(
        &mut self,
        batch: BatchId,
        chunks: &[(&PartOrder, usize)],
        now: Instant,
        is_behind: bool,
    ) -> Vec<Option<u64>> {
        match self {
            Spread::ByPlace { peers } => {
                let place =
                    |order: &PartOrder| order.places().iter().fold(batch.0, |sum, place| sum.wrapping_add(*place));
                chunks.iter().map(|(order, _)| Some(place(order) % *peers)).collect()
            }
            Spread::Free(free) => {
                free.near.iter_mut().filter(|_| !is_behind).for_each(|near| near.cut = Some(now));
                let small = chunks.iter().map(|(_, length)| length).sum::<usize>() <= SMALL_BATCH_BYTES;
                chunks.iter().map(|_| (small || free.handed_bytes.len() < 2).then_some(free.here as u64)).collect()
            }
        }
    }

    /// The worker of the next chunk; none, as long as it is better to wait.
    pub fn next(&mut self, chunk: WaitingChunk, now: Instant, loads: &[SourceLoad]) -> Option<u64> {
        let WaitingChunk { must, bytes, .. } = chunk;
        let Spread::Free(free) = self else { return must };
        let worker = match must {
            Some(worker) => worker as usize,
            None => free.first(chunk, now, loads)?,
        };
        if let Some(handed) = free.handed_bytes.get_mut(worker) {
            *handed = handed.saturating_add(bytes);
        }
        Some(worker as u64)
    }
}

impl FreeSpread {
    /// The worker that will be done first with a chunk, unless it has enough to do.
    fn first(&mut self, chunk: WaitingChunk, now: Instant, loads: &[SourceLoad]) -> Option<usize> {
        self.speeds.look(now, loads);
        let all = 0..self.handed_bytes.len();
        let own = self.near.as_ref().map_or(all.clone(), |near| near.own.clone());
        if let Some(worker) = self.near.as_mut().and_then(|near| near.helper(chunk, now, &self.speeds, loads)) {
            return Some(worker);
        }
        let length = chunk.bytes as f64;
        let ahead_us = AHEAD_US.max(CHUNKS_AHEAD * length / self.speeds.of(self.here));
        let candidates = own.filter_map(|worker| {
            let (handed_bytes, load) = (*self.handed_bytes.get(worker)?, loads.get(worker)?);
            let done = if self.near.is_some() { load.own_bytes } else { load.decoded_bytes };
            let (left, speed) = (handed_bytes.saturating_sub(done) as f64, self.speeds.of(worker));
            let told = load.heard.map_or(Duration::ZERO, |heard| now.saturating_duration_since(heard).min(TOLD));
            let now_left = (left - told.as_micros() as f64 * speed).max(0.0);
            let enough = if self.speeds.is_known(worker) { speed * ahead_us } else { AHEAD_BYTES };
            let has_room = left < enough || left == 0.0;
            Some(Candidate { worker, now_left, speed, done_us: (now_left + length) / speed, handed_bytes, has_room })
        });
        let candidates: Vec<Candidate> = candidates.collect();
        let first = candidates.iter().min_by(|a, b| a.order(b))?;
        let with_room = candidates.iter().filter(|candidate| candidate.has_room).min_by(|a, b| a.order(b))?;
        // All that waits, and what is under way, would take so long; who takes longer for this chunk alone had better not begin it.
        let under_way: f64 = candidates.iter().map(|candidate| candidate.now_left).sum();
        let speed: f64 = candidates.iter().map(|candidate| candidate.speed).sum();
        let all_us = (chunk.waiting_bytes as f64 + under_way) / speed;
        (first.worker == with_room.worker || with_room.done_us <= all_us).then_some(with_room.worker)
    }
}

/// A chunk that is to be handed out.
#[derive(Clone, Copy, Debug)]
pub struct WaitingChunk {
    /// The worker that must have it.
    pub must: Option<u64>,
    /// Its length.
    pub bytes: u64,
    /// That of all chunks that wait, this one included.
    pub waiting_bytes: u64,
    /// The same, with what waits in the inbox.
    pub left_bytes: u64,
}

/// A worker that may get a chunk.
struct Candidate {
    worker: usize,
    /// What it still has to do, as far as one can tell.
    now_left: f64,
    /// Bytes by microsecond.
    speed: f64,
    /// When it would be done with the chunk.
    done_us: f64,
    /// All that it has had.
    handed_bytes: u64,
    /// It has not enough to do.
    has_room: bool,
}

impl Candidate {
    /// Who is first, and of equals who has had less.
    fn order(&self, other: &Candidate) -> std::cmp::Ordering {
        self.done_us.total_cmp(&other.done_us).then(self.handed_bytes.cmp(&other.handed_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn free(here: usize, peers: usize, near: Option<NearSpread>) -> Spread {
        Spread::Free(FreeSpread { here, handed_bytes: vec![0; peers], speeds: Speeds::new(peers), near })
    }

    fn waiting(bytes: u64, waiting_bytes: u64) -> WaitingChunk {
        WaitingChunk { must: None, bytes, waiting_bytes, left_bytes: waiting_bytes }
    }

    fn idle(workers: usize) -> Vec<SourceLoad> {
        vec![SourceLoad::default(); workers]
    }

    #[test]
    fn what_has_the_least_to_do_is_next_and_a_small_batch_stays() {
        let (mut spread, order, now) = (free(1, 2, None), PartOrder::at(0), Instant::now());
        assert_eq!(spread.batch(BatchId(1), &[(&order, 10), (&order, 20)], now, false), [Some(1), Some(1)]);
        assert_eq!(spread.batch(BatchId(2), &[(&order, 90_000)], now, false), [None]);
        let mut next = |bytes| spread.next(waiting(bytes, bytes), now, &idle(2));
        assert_eq!([100_000, 30_000, 30_000, 30_000, 90_000].map(&mut next), [0, 1, 1, 1, 1].map(Some));
        assert_eq!(spread.next(WaitingChunk { must: Some(1), ..waiting(10, 10) }, now, &idle(2)), Some(1));
    }

    /// Workers that take so many microseconds for each byte, and decode for ten seconds of which the clock is moved by hand; how much of chunks
    /// of 64 KiB they have decoded.
    fn decoded(us_by_byte: [f64; 2], told_every_ms: u64) -> [u64; 2] {
        let (begun, mut spread) = (Instant::now(), free(0, 2, None));
        let (mut done, mut queues) = ([SourceLoad::default(); 2], [const { Vec::new() }; 2]);
        let (chunk, mut told) = (64_u64 << 10, done);
        for ms in 0..10_000 {
            let now = begun + Duration::from_millis(ms);
            if ms % told_every_ms == 0 {
                told = done.map(|load| SourceLoad { heard: (told_every_ms > 1).then_some(now), ..load });
            }
            told[0] = done[0];
            while let Some(worker) = spread.next(waiting(chunk, 100 * chunk), now, &told) {
                queues[worker as usize].push(chunk as f64);
            }
            for (worker, queue) in queues.iter_mut().enumerate() {
                let mut left = 1000.0 / us_by_byte[worker];
                while let Some(first) = queue.first_mut().filter(|_| left > 0.0) {
                    let part = left.min(*first);
                    (left, *first) = (left - part, *first - part);
                    done[worker].busy_us += (part * us_by_byte[worker]) as u64;
                    if *first == 0.0 {
                        done[worker].decoded_bytes += chunk;
                        queue.remove(0);
                    }
                }
            }
        }
        done.map(|load| load.decoded_bytes)
    }

    #[test]
    fn all_are_busy_however_slow_one_of_them_is() {
        for (costs, told_every_ms) in
            [([0.1, 0.1], 1), ([0.1, 0.4], 1), ([0.4, 0.1], 1), ([0.1, 0.4], 70), ([8.0, 0.1], 1)]
        {
            let possible: f64 = costs.iter().map(|cost| 1e7 / cost).sum();
            let done = decoded(costs, told_every_ms);
            let part = (done[0] + done[1]) as f64 / possible;
            assert!(part > 0.95, "{costs:?}: {done:?} of {possible}");
        }
    }

    #[test]
    fn the_last_chunk_is_not_begun_by_who_is_slow() {
        let (mut spread, now) = (free(1, 2, None), Instant::now());
        let load = |busy_us, decoded_bytes| SourceLoad { busy_us, decoded_bytes, ..SourceLoad::default() };
        let loads = [load(1_000_000, MIB), load(50_000, MIB)];
        let Spread::Free(inner) = &mut spread else { unreachable!() };
        inner.handed_bytes = vec![MIB, 6 * MIB];
        // The fast one has five MiB left, for a quarter of a second; the slow one takes a second for the next.
        assert_eq!(spread.next(waiting(MIB, MIB), now, &loads), None);
        assert_eq!(spread.next(waiting(MIB, 40 * MIB), now, &loads), Some(0));
    }

    /// Of 64 MiB that a process of three has, the first with two workers of 10 bytes a microsecond each, so much stays there, where the others
    /// say so long after the batch was cut that they have so much left, and chunks are handed out so long after it.
    fn kept_mib(others_mib: [u64; 2], said_after_ms: u64, now_ms: u64) -> u64 {
        let mut spread = free(0, 6, Some(NearSpread::of(0..2)));
        let (order, begun, mut loads) = (PartOrder::at(0), Instant::now(), idle(6));
        spread.batch(BatchId(1), &[(&order, MIB as usize); 64], begun, false);
        for (worker, load) in loads.iter_mut().enumerate().skip(2) {
            load.heard = Some(begun + Duration::from_millis(said_after_ms));
            load.left_bytes = others_mib[worker / 2 - 1] * MIB;
        }
        let mut kept = 0;
        for chunk in 0..64 {
            let now = begun + Duration::from_millis(now_ms);
            let to = spread.next(waiting(MIB, (64 - chunk) * MIB), now, &loads).unwrap() as usize;
            if to < 2 {
                loads[to].own_bytes += MIB;
                kept += 1;
            }
        }
        kept
    }

    #[test]
    fn chunks_stay_in_their_process_as_long_as_others_have_as_much_to_do() {
        for others_mib in [[64, 64], [60, 300], [50, 50]] {
            assert_eq!(kept_mib(others_mib, 15, 20), 64);
        }
        // A third of it each, but for what is not worth it; or a half, where one of the others has enough.
        let (idle, one_idle) = (kept_mib([0, 0], 15, 20), kept_mib([0, 64], 15, 20));
        assert!((22..=34).contains(&idle) && (32..=42).contains(&one_idle), "{idle} {one_idle}");
        assert_eq!(kept_mib([0, 0], 5, 20), 64, "they may have said it before they took as much");
        assert_eq!(kept_mib([0, 0], 5, 120), idle, "they would have said so by now");
    }

    #[test]
    fn a_place_tells_the_worker_whatever_came_before() {
        let chunks = [PartOrder::at(0), PartOrder::at(1), PartOrder::at(2)].map(|order| (order, 70_000));
        let chunks: Vec<_> = chunks.iter().map(|(order, length)| (order, *length)).collect();
        let mut first = Spread::ByPlace { peers: 2 };
        assert_eq!(first.batch(BatchId(7), &chunks, Instant::now(), false), [1, 0, 1].map(Some));
        assert_eq!(first.batch(BatchId(8), &chunks, Instant::now(), false), [0, 1, 0].map(Some));
        assert_eq!(Spread::ByPlace { peers: 2 }.batch(BatchId(8), &chunks, Instant::now(), false), [0, 1, 0].map(Some));
        assert_eq!(first.next(WaitingChunk { must: Some(1), ..waiting(1, 1) }, Instant::now(), &[]), Some(1));
    }
}
