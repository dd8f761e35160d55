//! Which worker gets which chunk of a batch.

use crate::ids::{BatchId, PartOrder};
use crate::job::spec::JobSpec;
use std::ops::Range;

/// A batch of so many bytes stays where it is: waking another worker takes longer than what it could help.
const SMALL_BATCH_BYTES: usize = 64 << 10;

/// Of each so many bytes that a process of several takes, it may keep so many more than its share before others help it.
const KEPT_OF_100: u64 = 125;
const KEPT_BYTES_MORE: u64 = 4 << 20;
/// After so many bytes what was before counts half.
const REMEMBERED_BYTES: u64 = 256 << 20;

/// Spreads the chunks of a source over the workers.
pub enum Spread {
    /// Each goes to the worker that has had the least since the job was started.
    LeastLoaded {
        /// The worker that has the chunks.
        here: usize,
        /// What each worker has had.
        bytes: Vec<u64>,
        /// Where other processes receive a part of the source as well.
        near: Option<Near>,
    },
    /// Each goes where its place in the batch says. A worker that commits its own rows has them under a marker of its own, so a
    /// batch that runs again must give it the same ones: also after a restart, and with workers in other processes.
    ByPlace {
        /// How many workers there are.
        peers: u64,
    },
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
}

impl Near {
    /// Counts what was taken meanwhile.
    fn look(&mut self, (own, others): (u64, u64)) {
        let (own_before, others_before) = std::mem::replace(&mut self.seen, (own, others));
        self.taken.0 += own.saturating_sub(own_before);
        self.taken.1 += others.saturating_sub(others_before);
        if self.taken.0.saturating_add(self.taken.1) > REMEMBERED_BYTES {
            (self.taken, self.kept) = ((self.taken.0 / 2, self.taken.1 / 2), self.kept / 2);
        }
    }

    /// Whether this process has more than its share of all `peers` workers.
    fn has_enough(&self, peers: usize) -> bool {
        let all = u128::from(self.taken.0) + u128::from(self.taken.1);
        let share = all * self.own.len() as u128 / peers.max(1) as u128;
        u128::from(self.kept) > share * u128::from(KEPT_OF_100) / 100 + u128::from(KEPT_BYTES_MORE)
    }
}

impl Spread {
    /// For a worker of so many that has the chunks. `near`: the workers of this process, where others receive a part of the source.
    pub fn new(job: &JobSpec, (here, peers): (usize, usize), near: Option<Range<usize>>) -> Spread {
        if job.sinks.iter().any(|sink| sink.kind.by_worker()) {
            return Spread::ByPlace { peers: peers.max(1) as u64 };
        }
        let near = near.filter(|own| own.len() < peers);
        let near = near.map(|own| Near { own, kept: 0, seen: (0, 0), taken: (0, 0) });
        Spread::LeastLoaded { here, bytes: vec![0; peers], near }
    }

    /// The worker of each chunk of a batch, of which place and length are known. `taken`: what batches have taken of the source here, and in
    /// other processes, where they have said it.
    pub fn batch(&mut self, batch: BatchId, chunks: &[(&PartOrder, usize)], taken: (u64, Option<u64>)) -> Vec<u64> {
        match self {
            Spread::ByPlace { peers } => {
                let place =
                    |order: &PartOrder| order.places().iter().fold(batch.0, |sum, place| sum.wrapping_add(*place));
                chunks.iter().map(|(order, _)| place(order) % *peers).collect()
            }
            Spread::LeastLoaded { here, bytes, near } => {
                let small = chunks.iter().map(|(_, length)| length).sum::<usize>() <= SMALL_BATCH_BYTES;
                let peers = bytes.len();
                if let (Some(near), (own, Some(others))) = (&mut *near, taken) {
                    near.look((own, others));
                }
                let mut next = |length: usize| {
                    let workers = match near {
                        Some(near) if taken.1.is_none() || !near.has_enough(peers) => near.own.clone(),
                        _ => 0..peers,
                    };
                    let least = workers.min_by_key(|worker| bytes[*worker]).unwrap_or(0);
                    bytes[least] = bytes[least].saturating_add(length as u64);
                    if let Some(near) = near.as_mut().filter(|near| near.own.contains(&least)) {
                        near.kept = near.kept.saturating_add(length as u64);
                    }
                    least as u64
                };
                chunks.iter().map(|(_, length)| if small { *here as u64 } else { next(*length) }).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_had_the_least_is_next_and_a_small_batch_stays() {
        let mut spread = Spread::LeastLoaded { here: 1, bytes: vec![0; 2], near: None };
        let order = PartOrder::at(0);
        let mut to = |lengths: &[usize]| {
            let chunks: Vec<_> = lengths.iter().map(|length| (&order, *length)).collect();
            spread.batch(BatchId(1), &chunks, (0, None))
        };
        assert_eq!(to(&[100_000, 30_000, 30_000, 30_000]), [0, 1, 1, 1]);
        assert_eq!(to(&[10, 20]), [1, 1]);
        assert_eq!(to(&[90_000]), [1]);
    }

    /// Of what a process of two takes, so much stays there.
    fn kept_of_100(others_take_of_100: u64) -> u64 {
        let near = Near { own: 0..2, kept: 0, seen: (0, 0), taken: (0, 0) };
        let mut spread = Spread::LeastLoaded { here: 0, bytes: vec![0; 4], near: Some(near) };
        let order = PartOrder::at(0);
        let (mut kept, mut own) = (0, 0);
        for batch in 1..=4000 {
            own += 1 << 20;
            let others = own * others_take_of_100 / 100;
            let to = spread.batch(BatchId(batch), &[(&order, 1 << 20)], (own, Some(others)));
            kept += u64::from(to[0] < 2);
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
        let near = Near { own: 2..3, kept: 0, seen: (0, 0), taken: (0, 0) };
        let mut spread = Spread::LeastLoaded { here: 2, bytes: vec![0; 3], near: Some(near) };
        let order = PartOrder::at(0);
        let chunks = [(&order, 9 << 20); 5];
        assert_eq!(spread.batch(BatchId(1), &chunks, (45 << 20, None)), [2; 5]);
    }

    #[test]
    fn a_place_tells_the_worker_whatever_came_before() {
        let chunks = [PartOrder::at(0), PartOrder::at(1), PartOrder::at(2)].map(|order| (order, 70_000));
        let chunks: Vec<_> = chunks.iter().map(|(order, length)| (order, *length)).collect();
        let mut first = Spread::ByPlace { peers: 2 };
        assert_eq!(first.batch(BatchId(7), &chunks, (0, None)), [1, 0, 1]);
        assert_eq!(first.batch(BatchId(8), &chunks, (0, None)), [0, 1, 0]);
        assert_eq!(Spread::ByPlace { peers: 2 }.batch(BatchId(8), &chunks, (0, None)), [0, 1, 0]);
    }
}
