//! Distributes chunks to workers. A chunk that any worker may have goes to the one that will finish it first. It waits while that worker has enough
//! to do. So a slow worker, or one that became slower, only delays what it has started.

use super::speeds::Speeds;
use crate::running::loads::SourceLoad;
use millstream_base::ids::{BatchId, PartOrder};
use millstream_job::spec::JobSpec;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

/// A batch of this size stays on its worker: waking another one takes longer than it could save.
const SMALL_BATCH_BYTES: usize = 64 << 10;

/// A worker gets chunks at most this long in advance. If twice the time per chunk of the distributing worker is longer, that applies, as that worker
/// is blocked meanwhile.
const AHEAD_US: f64 = 200_000.0;
const CHUNKS_AHEAD: f64 = 2.0;
/// The maximum in advance for a worker of unknown speed.
const AHEAD_BYTES: f64 = (256 << 10) as f64;
/// Maximum age of loads reported by other processes. Workers are assumed to have continued since, for at most this long.
const REPORT_AGE_MAX: Duration = Duration::from_millis(100);
/// A process sends chunks to another one if it would finish this much later, plus a quarter. A chunk costs least in its own process, and the loads of
/// others are estimates.
const LATER_US: f64 = 200_000.0;
const LATER_TIMES: f64 = 1.25;
/// Batches begin in all processes at about the same time. Loads of others are used if they were reported this long after that.
const REPORTED_AFTER: Duration = Duration::from_millis(10);

/// Distributes the chunks of a source to the workers.
pub enum Spread {
    /// Each chunk goes to the worker that will finish it first.
    Free(FreeSpread),
    /// Each chunk goes to a worker given by its index in the batch. A worker that commits its own rows has its own marker for them, so a replayed
    /// batch must give it the same ones: also after a restart, and with workers in other processes.
    ByIndex {
        /// The number of workers.
        peers: u64,
    },
}

/// Distributes chunks if any worker may have any chunk.
pub struct FreeSpread {
    /// The worker that has the chunks.
    distributor: usize,
    /// The bytes that each worker has got since the job was started.
    assigned_bytes: Vec<u64>,
    /// The speed of each worker.
    speeds: Speeds,
    /// Set if other processes receive a part of the source as well.
    near: Option<NearSpread>,
}

/// Keeps chunks in their process, where a chunk costs least, as long as the other processes have about as much to do.
pub struct NearSpread {
    /// The workers of this process; other processes have the same number.
    own: Range<usize>,
    /// When the last batch was cut while no earlier chunks waited.
    cut: Option<Instant>,
    /// Until when each worker is busy with chunks from here.
    busy_until: BTreeMap<usize, Instant>,
}

impl NearSpread {
    fn new(own: Range<usize>) -> NearSpread {
        NearSpread { own, cut: None, busy_until: BTreeMap::new() }
    }

    /// Returns a worker of another process for the chunk, if this process would finish much later than that one.
    fn helper(&mut self, chunk: WaitingChunk, now: Instant, speeds: &Speeds, loads: &[SourceLoad]) -> Option<usize> {
        let speed = |workers: Range<usize>| workers.map(|worker| speeds.speed(worker)).sum::<f64>();
        let here_us = chunk.left_bytes as f64 / speed(self.own.clone());
        if here_us <= LATER_US {
            return None;
        }
        let reported_since =
            |received: Instant, cut: Instant| received >= cut + REPORTED_AFTER || now >= cut + REPORT_AGE_MAX;
        let load_of = |worker: &usize| {
            let received = loads.get(*worker).and_then(|load| load.received_at);
            received.is_some_and(|received| self.cut.is_none_or(|cut| reported_since(received, cut)))
        };
        let there_us = |worker: usize| {
            let process = worker - worker % self.own.len().max(1);
            let left = loads.get(worker).map_or(0, |load| load.left_bytes) as f64;
            let busy =
                self.busy_until.get(&worker).map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            left / speed(process..process + self.own.len()) + busy.as_micros() as f64
        };
        let others = (0..loads.len()).filter(|worker| !self.own.contains(worker)).filter(load_of);
        let (there_us, worker) = others.map(|worker| (there_us(worker), worker)).min_by(|a, b| a.0.total_cmp(&b.0))?;
        if here_us <= there_us * LATER_TIMES + LATER_US {
            return None;
        }
        let takes = Duration::from_micros((chunk.bytes as f64 / speeds.speed(worker)) as u64);
        let until = self.busy_until.entry(worker).or_insert(now);
        *until = (*until).max(now) + takes;
        Some(worker)
    }
}

impl Spread {
    /// Creates the distribution for the worker `distributor` of `peers`, which has the chunks. `near`: the workers of this process, if others receive
    /// a part of the source.
    pub fn new(job: &JobSpec, (distributor, peers): (usize, usize), near: Option<Range<usize>>) -> Spread {
        if job.sinks.iter().any(|sink| sink.kind.by_worker()) {
            return Spread::ByIndex { peers: peers.max(1) as u64 };
        }
        let near = near.filter(|own| own.len() < peers).map(NearSpread::new);
        Spread::Free(FreeSpread { distributor, assigned_bytes: vec![0; peers], speeds: Speeds::new(peers), near })
    }

    /// Registers a batch by the order and the length of its chunks. Returns the workers that must have them, or `None` for chunks that any worker may
    /// have. `is_behind`: chunks of earlier batches still wait.
    pub fn batch(
        &mut self,
        batch: BatchId,
        chunks: &[(&PartOrder, usize)],
        now: Instant,
        is_behind: bool,
    ) -> Vec<Option<u64>> {
        match self {
            Spread::ByIndex { peers } => {
                let worker_of =
                    |order: &PartOrder| order.elements().iter().fold(batch.0, |sum, number| sum.wrapping_add(*number));
                chunks.iter().map(|(order, _)| Some(worker_of(order) % *peers)).collect()
            }
            Spread::Free(free) => {
                free.near.iter_mut().filter(|_| !is_behind).for_each(|near| near.cut = Some(now));
                let small = chunks.iter().map(|(_, length)| length).sum::<usize>() <= SMALL_BATCH_BYTES;
                chunks
                    .iter()
                    .map(|_| (small || free.assigned_bytes.len() < 2).then_some(free.distributor as u64))
                    .collect()
            }
        }
    }

    /// Returns the worker for the next chunk; `None` while it is better to wait.
    pub fn next(&mut self, chunk: WaitingChunk, now: Instant, loads: &[SourceLoad]) -> Option<u64> {
        let WaitingChunk { required_worker, bytes, .. } = chunk;
        let Spread::Free(free) = self else { return required_worker };
        let worker = match required_worker {
            Some(worker) => worker as usize,
            None => free.first(chunk, now, loads)?,
        };
        if let Some(handed) = free.assigned_bytes.get_mut(worker) {
            *handed = handed.saturating_add(bytes);
        }
        Some(worker as u64)
    }
}

impl FreeSpread {
    /// Returns the worker that will finish a chunk first, unless it has enough to do.
    fn first(&mut self, chunk: WaitingChunk, now: Instant, loads: &[SourceLoad]) -> Option<usize> {
        self.speeds.update(now, loads);
        let all = 0..self.assigned_bytes.len();
        let own = self.near.as_ref().map_or(all.clone(), |near| near.own.clone());
        if let Some(worker) = self.near.as_mut().and_then(|near| near.helper(chunk, now, &self.speeds, loads)) {
            return Some(worker);
        }
        let length = chunk.bytes as f64;
        let ahead_us = AHEAD_US.max(CHUNKS_AHEAD * length / self.speeds.speed(self.distributor));
        let candidates = own.filter_map(|worker| {
            let (assigned_bytes, load) = (*self.assigned_bytes.get(worker)?, loads.get(worker)?);
            let done = if self.near.is_some() { load.own_bytes } else { load.decoded_bytes };
            let (left, speed) = (assigned_bytes.saturating_sub(done) as f64, self.speeds.speed(worker));
            let age = load
                .received_at
                .map_or(Duration::ZERO, |received| now.saturating_duration_since(received).min(REPORT_AGE_MAX));
            let remaining_bytes = (left - age.as_micros() as f64 * speed).max(0.0);
            let enough = if self.speeds.is_known(worker) { speed * ahead_us } else { AHEAD_BYTES };
            let has_room = left < enough || left == 0.0;
            Some(Candidate {
                worker,
                remaining_bytes,
                speed,
                done_us: (remaining_bytes + length) / speed,
                assigned_bytes,
                has_room,
            })
        });
        let candidates: Vec<Candidate> = candidates.collect();
        let first = candidates.iter().min_by(|a, b| a.order(b))?;
        let with_room = candidates.iter().filter(|candidate| candidate.has_room).min_by(|a, b| a.order(b))?;
        // The time for everything that waits or is in progress. A worker that needs longer for this chunk alone should not start it.
        let under_way: f64 = candidates.iter().map(|candidate| candidate.remaining_bytes).sum();
        let speed: f64 = candidates.iter().map(|candidate| candidate.speed).sum();
        let all_us = (chunk.waiting_bytes as f64 + under_way) / speed;
        (first.worker == with_room.worker || with_room.done_us <= all_us).then_some(with_room.worker)
    }
}

/// A chunk that is to be distributed.
#[derive(Clone, Copy, Debug)]
pub struct WaitingChunk {
    /// The worker that must have it.
    pub required_worker: Option<u64>,
    /// Its length.
    pub bytes: u64,
    /// The length of all waiting chunks, including this one.
    pub waiting_bytes: u64,
    /// The same, including the bytes in the inbox.
    pub left_bytes: u64,
}

/// A worker that may get a chunk.
struct Candidate {
    worker: usize,
    /// Estimated bytes that it still has to process.
    remaining_bytes: f64,
    /// Bytes per microsecond.
    speed: f64,
    /// When it would finish the chunk.
    done_us: f64,
    /// All bytes that it has got.
    assigned_bytes: u64,
    /// It does not have enough to do.
    has_room: bool,
}

impl Candidate {
    /// Orders by the time of completion; of equals, the one that has got fewer bytes is first.
    fn order(&self, other: &Candidate) -> std::cmp::Ordering {
        self.done_us.total_cmp(&other.done_us).then(self.assigned_bytes.cmp(&other.assigned_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn free(distributor: usize, peers: usize, near: Option<NearSpread>) -> Spread {
        Spread::Free(FreeSpread { distributor, assigned_bytes: vec![0; peers], speeds: Speeds::new(peers), near })
    }

    fn waiting(bytes: u64, waiting_bytes: u64) -> WaitingChunk {
        WaitingChunk { required_worker: None, bytes, waiting_bytes, left_bytes: waiting_bytes }
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
        assert_eq!(spread.next(WaitingChunk { required_worker: Some(1), ..waiting(10, 10) }, now, &idle(2)), Some(1));
    }

    /// Simulates ten seconds in which workers with this speed (microseconds per byte) decode. Returns how much of chunks of 64 KiB each has decoded.
    fn decoded(us_by_byte: [f64; 2], reported_every_ms: u64) -> [u64; 2] {
        let (begun, mut spread) = (Instant::now(), free(0, 2, None));
        let (mut done, mut queues) = ([SourceLoad::default(); 2], [const { Vec::new() }; 2]);
        let (chunk, mut age) = (64_u64 << 10, done);
        for ms in 0..10_000 {
            let now = begun + Duration::from_millis(ms);
            if ms % reported_every_ms == 0 {
                age = done.map(|load| SourceLoad { received_at: (reported_every_ms > 1).then_some(now), ..load });
            }
            age[0] = done[0];
            while let Some(worker) = spread.next(waiting(chunk, 100 * chunk), now, &age) {
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
        for (costs, reported_every_ms) in
            [([0.1, 0.1], 1), ([0.1, 0.4], 1), ([0.4, 0.1], 1), ([0.1, 0.4], 70), ([8.0, 0.1], 1)]
        {
            let possible: f64 = costs.iter().map(|cost| 1e7 / cost).sum();
            let done = decoded(costs, reported_every_ms);
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
        inner.assigned_bytes = vec![MIB, 6 * MIB];
        // The fast one has five MiB left, for a quarter of a second; the slow one takes a second for the next.
        assert_eq!(spread.next(waiting(MIB, MIB), now, &loads), None);
        assert_eq!(spread.next(waiting(MIB, 40 * MIB), now, &loads), Some(0));
    }

    /// Returns how many of 64 MiB stay in the first of three processes, which has two workers of 10 bytes per microsecond each. The others report
    /// what they have left `reported_after_ms` after the batch was cut; chunks are distributed at `now_ms`.
    fn kept_mib(others_mib: [u64; 2], reported_after_ms: u64, now_ms: u64) -> u64 {
        let mut spread = free(0, 6, Some(NearSpread::new(0..2)));
        let (order, begun, mut loads) = (PartOrder::at(0), Instant::now(), idle(6));
        spread.batch(BatchId(1), &[(&order, MIB as usize); 64], begun, false);
        for (worker, load) in loads.iter_mut().enumerate().skip(2) {
            load.received_at = Some(begun + Duration::from_millis(reported_after_ms));
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
        // A third each, except for what is not worth moving; or half, if one of the others has enough.
        let (idle, one_idle) = (kept_mib([0, 0], 15, 20), kept_mib([0, 64], 15, 20));
        assert!((22..=34).contains(&idle) && (32..=42).contains(&one_idle), "{idle} {one_idle}");
        assert_eq!(kept_mib([0, 0], 5, 20), 64, "they may have said it before they took as much");
        assert_eq!(kept_mib([0, 0], 5, 120), idle, "they would have said so by now");
    }

    #[test]
    fn a_place_tells_the_worker_whatever_came_before() {
        let chunks = [PartOrder::at(0), PartOrder::at(1), PartOrder::at(2)].map(|order| (order, 70_000));
        let chunks: Vec<_> = chunks.iter().map(|(order, length)| (order, *length)).collect();
        let mut first = Spread::ByIndex { peers: 2 };
        assert_eq!(first.batch(BatchId(7), &chunks, Instant::now(), false), [1, 0, 1].map(Some));
        assert_eq!(first.batch(BatchId(8), &chunks, Instant::now(), false), [0, 1, 0].map(Some));
        assert_eq!(Spread::ByIndex { peers: 2 }.batch(BatchId(8), &chunks, Instant::now(), false), [0, 1, 0].map(Some));
        assert_eq!(
            first.next(WaitingChunk { required_worker: Some(1), ..waiting(1, 1) }, Instant::now(), &[]),
            Some(1)
        );
    }
}
