//! Which worker gets which chunk of a batch.

use crate::ids::{BatchId, PartOrder};
use crate::job::spec::JobSpec;

/// A batch of so many bytes stays where it is: waking another worker takes longer than what it could help.
const SMALL_BATCH_BYTES: usize = 64 << 10;

/// Spreads the chunks of a source over the workers.
pub enum Spread {
    /// Each goes to the worker that has had the least since the job was started.
    LeastLoaded {
        /// The worker that has the chunks.
        here: usize,
        /// What each worker has had.
        bytes: Vec<u64>,
    },
    /// Each goes where its place in the batch says. A worker that commits its own rows has them under a marker of its own, so a
    /// batch that runs again must give it the same ones: also after a restart, and with workers in other processes.
    ByPlace {
        /// How many workers there are.
        peers: u64,
    },
}

impl Spread {
    /// For a worker of so many that has the chunks.
    pub fn new(job: &JobSpec, (here, peers): (usize, usize)) -> Spread {
        match job.sinks.iter().any(|sink| sink.kind.by_worker()) {
            true => Spread::ByPlace { peers: peers.max(1) as u64 },
            false => Spread::LeastLoaded { here, bytes: vec![0; peers] },
        }
    }

    /// The worker of each chunk of a batch, of which place and length are known.
    pub fn batch(&mut self, batch: BatchId, chunks: &[(&PartOrder, usize)]) -> Vec<u64> {
        match self {
            Spread::ByPlace { peers } => {
                let place =
                    |order: &PartOrder| order.places().iter().fold(batch.0, |sum, place| sum.wrapping_add(*place));
                chunks.iter().map(|(order, _)| place(order) % *peers).collect()
            }
            Spread::LeastLoaded { here, bytes } => {
                let small = chunks.iter().map(|(_, length)| length).sum::<usize>() <= SMALL_BATCH_BYTES;
                let mut next = |length: usize| {
                    let least = (0..bytes.len()).min_by_key(|worker| bytes[*worker]).unwrap_or(0);
                    bytes[least] = bytes[least].saturating_add(length as u64);
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
        let mut spread = Spread::LeastLoaded { here: 1, bytes: vec![0; 2] };
        let order = PartOrder::at(0);
        let mut to = |lengths: &[usize]| {
            let chunks: Vec<_> = lengths.iter().map(|length| (&order, *length)).collect();
            spread.batch(BatchId(1), &chunks)
        };
        assert_eq!(to(&[100_000, 30_000, 30_000, 30_000]), [0, 1, 1, 1]);
        assert_eq!(to(&[10, 20]), [1, 1]);
        assert_eq!(to(&[90_000]), [1]);
    }

    #[test]
    fn a_place_tells_the_worker_whatever_came_before() {
        let chunks = [PartOrder::at(0), PartOrder::at(1), PartOrder::at(2)].map(|order| (order, 70_000));
        let chunks: Vec<_> = chunks.iter().map(|(order, length)| (order, *length)).collect();
        let mut first = Spread::ByPlace { peers: 2 };
        assert_eq!(first.batch(BatchId(7), &chunks), [1, 0, 1]);
        assert_eq!(first.batch(BatchId(8), &chunks), [0, 1, 0]);
        assert_eq!(Spread::ByPlace { peers: 2 }.batch(BatchId(8), &chunks), [0, 1, 0]);
    }
}
