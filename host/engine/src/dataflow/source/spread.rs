//! Which worker gets which chunk. Where any may have it, it goes to the one that will be done with it first, and it waits as long as that one
//! has enough to do: so a worker that is slow, or slower than it was, holds up no more than it has begun with.

use super::speeds::Speeds;
use crate::ids::{BatchId, PartOrder};
use crate::job::spec::JobSpec;
use crate::running::loads::SourceLoad;
use std::ops::Range;
use std::time::Instant;

/// A batch of so many bytes stays where it is: waking another worker takes longer than what it could help.
const SMALL_BATCH_BYTES: usize = 64 << 10;

/// Of each so many bytes that a process of several takes, it may keep so many more than its share before others help it.
const KEPT_OF_100: f64 = 125.0;
const KEPT_BYTES_MORE: f64 = (4 << 20) as f64;
/// After so many bytes what was before counts half.
const REMEMBERED_BYTES: u64 = 256 << 20;

/// A worker gets work for so long at most before it is done with what it had; or twice as long as the worker that hands out takes for a chunk,
/// which it does nothing else meanwhile.
const AHEAD_US: f64 = 200_000.0;
const CHUNKS_AHEAD: f64 = 2.0;
/// One that has shown nothing yet gets so much.
const AHEAD_BYTES: f64 = (256 << 10) as f64;
/// What another process says of its workers may be so old: they are taken to have gone on since.
const TOLD_US: f64 = 100_000.0;

/// Spreads the chunks of a source over the workers.
pub enum Spread {
    /// Each goes to the worker that will be done with it first.
    Free(Free),
    /// Each goes where its place in the batch says. A worker that commits its own rows has them under a marker of its own, so a
    /// batch that runs again must give it the same ones: also after a restart, and with workers in other processes.
    ByPlace {
        /// How many workers there are.
        peers: u64,
    },
}

/// Where any worker may have any chunk.
pub struct Free {
    /// The worker that has the chunks.
    here: usize,
    /// What each worker has had, in bytes, since the job was started.
    handed_bytes: Vec<u64>,
    /// How fast each is.
    speeds: Speeds,
    /// Where other processes receive a part of the source as well.
    near: Option<Near>,
}

/// Keeps chunks in their process, where a chunk costs least, as long as the others take about as many themselves.
pub struct Near {
    /// The workers of this process.
    own: Range<usize>,
    /// What stayed here.
    kept: u64,
    /// What batches had taken here and in the other processes when it was looked last, and what of that counts.
    seen: (u64, u64),
    taken: (u64, u64),
    /// Whether the others have said what they have taken.
    is_told: bool,
}

impl Near {
    fn of(own: Range<usize>) -> Near {
        Near { own, kept: 0, seen: (0, 0), taken: (0, 0), is_told: false }
    }

    /// Counts what was taken meanwhile.
    fn look(&mut self, (own, others): (u64, Option<u64>)) {
        self.is_told = others.is_some();
        let Some(others) = others else { return };
        let (own_before, others_before) = std::mem::replace(&mut self.seen, (own, others));
        self.taken.0 += own.saturating_sub(own_before);
        self.taken.1 += others.saturating_sub(others_before);
        if self.taken.0.saturating_add(self.taken.1) > REMEMBERED_BYTES {
            (self.taken, self.kept) = ((self.taken.0 / 2, self.taken.1 / 2), self.kept / 2);
        }
    }

    /// Whether this process has more than its share of all, as fast as its workers are.
    fn has_enough(&self, speeds: &Speeds) -> bool {
        let all = self.taken.0.saturating_add(self.taken.1) as f64;
        let share = all * speeds.share(self.own.clone());
        self.is_told && self.kept as f64 > share * KEPT_OF_100 / 100.0 + KEPT_BYTES_MORE
    }
}

impl Spread {
    /// For a worker of so many that has the chunks. `near`: the workers of this process, where others receive a part of the source.
    pub fn new(job: &JobSpec, (here, peers): (usize, usize), near: Option<Range<usize>>) -> Spread {
        if job.sinks.iter().any(|sink| sink.kind.by_worker()) {
            return Spread::ByPlace { peers: peers.max(1) as u64 };
        }
        let near = near.filter(|own| own.len() < peers).map(Near::of);
        Spread::Free(Free { here, handed_bytes: vec![0; peers], speeds: Speeds::new(peers), near })
    }

    /// A batch was cut, of which place and length of all chunks are known: the workers that must have them, or `None` for those that any may
    /// have. `taken`: what batches have taken of the source here, and in other processes, where they have said it.
    pub fn batch(
        &mut self,
        batch: BatchId,
        chunks: &[(&PartOrder, usize)],
        taken: (u64, Option<u64>),
    ) -> Vec<Option<u64>> {
        match self {
            Spread::ByPlace { peers } => {
                let place =
                    |order: &PartOrder| order.places().iter().fold(batch.0, |sum, place| sum.wrapping_add(*place));
                chunks.iter().map(|(order, _)| Some(place(order) % *peers)).collect()
            }
            Spread::Free(free) => {
                free.near.iter_mut().for_each(|near| near.look(taken));
                let small = chunks.iter().map(|(_, length)| length).sum::<usize>() <= SMALL_BATCH_BYTES;
                chunks.iter().map(|_| (small || free.handed_bytes.len() < 2).then_some(free.here as u64)).collect()
            }
        }
    }

    /// The worker of the next chunk; none, as long as it is better to wait.
    pub fn next(&mut self, chunk: Waiting, now: Instant, loads: &[SourceLoad]) -> Option<u64> {
        let Waiting { must, bytes, .. } = chunk;
        let Spread::Free(free) = self else { return must };
        let worker = match must {
            Some(worker) => worker as usize,
            None => free.first(chunk, now, loads)?,
        };
        if let Some(handed) = free.handed_bytes.get_mut(worker) {
            *handed = handed.saturating_add(bytes);
        }
        if let Some(near) = free.near.as_mut().filter(|near| near.own.contains(&worker)) {
            near.kept = near.kept.saturating_add(bytes);
        }
        Some(worker as u64)
    }
}

impl Free {
    /// The worker that will be done first with a chunk, unless it has enough to do.
    fn first(&mut self, chunk: Waiting, now: Instant, loads: &[SourceLoad]) -> Option<usize> {
        self.speeds.look(now, loads);
        let all = 0..self.handed_bytes.len();
        let own = self.near.as_ref().map_or(all.clone(), |near| near.own.clone());
        if self.near.as_ref().is_some_and(|near| near.has_enough(&self.speeds)) {
            // What they have from others, and what they are done with of ours, is not known.
            let had =
                |worker: usize| self.handed_bytes.get(worker).copied().unwrap_or(0) as f64 / self.speeds.of(worker);
            return all.filter(|worker| !own.contains(worker)).min_by(|a, b| had(*a).total_cmp(&had(*b)));
        }
        let length = chunk.bytes as f64;
        let ahead_us = AHEAD_US.max(CHUNKS_AHEAD * length / self.speeds.of(self.here));
        let candidates = own.filter_map(|worker| {
            let (handed_bytes, load) = (*self.handed_bytes.get(worker)?, loads.get(worker)?);
            let done = if self.near.is_some() { load.own_bytes } else { load.decoded_bytes };
            let (left, speed) = (handed_bytes.saturating_sub(done) as f64, self.speeds.of(worker));
            let told_us = load.heard.map_or(0.0, |heard| now.saturating_duration_since(heard).as_micros() as f64);
            let now_left = (left - told_us.min(TOLD_US) * speed).max(0.0);
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
pub struct Waiting {
    /// The worker that must have it.
    pub must: Option<u64>,
    /// Its length.
    pub bytes: u64,
    /// That of all chunks that wait, this one included.
    pub waiting_bytes: u64,
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
    use std::time::Duration;

    const MIB: u64 = 1 << 20;

    fn free(here: usize, peers: usize, near: Option<Near>) -> Spread {
        Spread::Free(Free { here, handed_bytes: vec![0; peers], speeds: Speeds::new(peers), near })
    }

    fn waiting(bytes: u64, waiting_bytes: u64) -> Waiting {
        Waiting { must: None, bytes, waiting_bytes }
    }

    fn idle(workers: usize) -> Vec<SourceLoad> {
        vec![SourceLoad::default(); workers]
    }

    #[test]
    fn what_has_the_least_to_do_is_next_and_a_small_batch_stays() {
        let (mut spread, order, now) = (free(1, 2, None), PartOrder::at(0), Instant::now());
        assert_eq!(spread.batch(BatchId(1), &[(&order, 10), (&order, 20)], (0, None)), [Some(1), Some(1)]);
        assert_eq!(spread.batch(BatchId(2), &[(&order, 90_000)], (0, None)), [None]);
        let mut next = |bytes| spread.next(waiting(bytes, bytes), now, &idle(2));
        assert_eq!([100_000, 30_000, 30_000, 30_000, 90_000].map(&mut next), [0, 1, 1, 1, 1].map(Some));
        assert_eq!(spread.next(Waiting { must: Some(1), ..waiting(10, 10) }, now, &idle(2)), Some(1));
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

    /// Of what a process of two takes, so much stays there.
    fn kept_of_100(others_take_of_100: u64) -> u64 {
        let mut spread = free(0, 4, Some(Near::of(0..2)));
        let order = PartOrder::at(0);
        let (mut kept, mut own, mut loads) = (0, 0, idle(4));
        for batch in 1..=4000 {
            own += MIB;
            let others = own * others_take_of_100 / 100;
            spread.batch(BatchId(batch), &[(&order, MIB as usize)], (own, Some(others)));
            let to = spread.next(waiting(MIB, MIB), Instant::now(), &loads).unwrap() as usize;
            loads[to].own_bytes += MIB;
            kept += u64::from(to < 2);
        }
        kept / 40
    }

    #[test]
    fn chunks_stay_in_their_process_as_long_as_others_have_as_many() {
        assert_eq!((kept_of_100(100), kept_of_100(70)), (100, 100));
        // Of all that there is the others have half, less what the one may have more.
        let (alone, a_third) = (kept_of_100(0), kept_of_100(33));
        assert!((58..=66).contains(&alone) && (78..=86).contains(&a_third), "{alone} {a_third}");
        // Nobody knows yet what the others have.
        let (mut spread, order) = (free(2, 3, Some(Near::of(2..3))), PartOrder::at(0));
        spread.batch(BatchId(1), &[(&order, 9 << 20); 5], (45 << 20, None));
        for _ in 0..5 {
            let mut loads = idle(3);
            loads[2].own_bytes = u64::MAX;
            assert_eq!(spread.next(waiting(9 << 20, 9 << 20), Instant::now(), &loads), Some(2));
        }
    }

    #[test]
    fn a_place_tells_the_worker_whatever_came_before() {
        let chunks = [PartOrder::at(0), PartOrder::at(1), PartOrder::at(2)].map(|order| (order, 70_000));
        let chunks: Vec<_> = chunks.iter().map(|(order, length)| (order, *length)).collect();
        let mut first = Spread::ByPlace { peers: 2 };
        assert_eq!(first.batch(BatchId(7), &chunks, (0, None)), [1, 0, 1].map(Some));
        assert_eq!(first.batch(BatchId(8), &chunks, (0, None)), [0, 1, 0].map(Some));
        assert_eq!(Spread::ByPlace { peers: 2 }.batch(BatchId(8), &chunks, (0, None)), [0, 1, 0].map(Some));
        assert_eq!(first.next(Waiting { must: Some(1), ..waiting(1, 1) }, Instant::now(), &[]), Some(1));
    }
}
