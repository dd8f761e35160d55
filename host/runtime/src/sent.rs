//! How far batches may have been sent to servers that cannot say what they have: as far as they were planned, until it is known that one of them
//! fails as it was. Rows leave when a batch is done as a whole, so nothing of that one was sent, nor of those behind it, and the job as it is now
//! may mend it.

use millstream_base::ids::BatchId;

/// What is known of it, from attempts to run batches again as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentBatches {
    /// The last batch that may have been sent; `None`: the last one that was planned.
    pub max: Option<BatchId>,
    /// The next batch is tried by itself: it is one of the next that fails.
    one_by_one: bool,
}

impl SentBatches {
    /// Batches up to this one ran again.
    pub fn ran(&mut self, until: BatchId) {
        if self.one_by_one {
            self.max = Some(until.next());
        }
    }

    /// A checkpoint after this batch is there. An attempt that failed later may have made it.
    pub fn saved(&mut self, until: BatchId) {
        if self.max.is_some_and(|max| max <= until) {
            self.ran(until);
        }
    }

    /// One of the batches from `first` to `until` failed because of its rows; up to `committed` they are surely done. `false`: nothing new
    /// comes of that, so that nothing helps.
    #[must_use]
    pub fn failed(&mut self, first: BatchId, until: BatchId, committed: Option<BatchId>) -> bool {
        // One that a sink is known to have must run as it was.
        if self.max.is_some_and(|max| max < until) {
            return false;
        }
        *self = match first < until {
            // It was an attempt with all of them, and the last that is done may not have been told of.
            true => {
                let done = committed.filter(|committed| *committed >= first && *committed < until);
                SentBatches { max: Some(done.unwrap_or(first)), one_by_one: true }
            }
            false => SentBatches { max: Some(BatchId(until.0.saturating_sub(1))), one_by_one: false },
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches from `first` to `planned`, of which `fails` fails, and of which a sink is known to have those up to `held`; `told`: how many less
    /// than are done an attempt tells of; `every`: how many batches there are between checkpoints of an attempt, zero: it makes none before
    /// its end. The last batch that runs as it was; `None`: the job cannot be started.
    fn settled(first: u64, planned: u64, fails: u64, (held, told, every): (u64, u64, u64)) -> Option<u64> {
        let (mut sent, mut done) = (SentBatches::default(), first - 1);
        for _ in 0..100 {
            sent.saved(BatchId(done));
            let until = sent.max.map_or(planned, |max| max.0.min(planned)).max(held);
            if until <= done {
                return Some(done);
            }
            if until < fails {
                sent.ran(BatchId(until));
                done = until;
                continue;
            }
            let committed = (fails - 1).checked_sub(told).filter(|last| *last > done).map(BatchId);
            if !sent.failed(BatchId(done + 1), BatchId(until), committed) {
                return None;
            }
            if let Some(checkpoints) = (fails - 1 - done).checked_div(every) {
                done += checkpoints * every;
            }
        }
        panic!("it has no end");
    }

    #[test]
    fn all_before_the_batch_that_fails_runs_as_it_was() {
        for first in 1..4 {
            for planned in first..first + 6 {
                for fails in first..=planned {
                    for (told, every) in (0..3).flat_map(|told| (0..4).map(move |every| (told, every))) {
                        let at = format!("{first} to {planned}, {fails} fails, {told} less are told of, every {every}");
                        let settled = |held| settled(first, planned, fails, (held, told, every));
                        assert_eq!(settled(first - 1), Some(fails - 1), "{at}");
                        assert_eq!(settled(fails), None, "{at}, and a sink has it");
                    }
                }
            }
        }
    }
}
