//! How far batches may have been sent to servers that cannot report what they have. Initially this is as far as batches
//! were planned, until one of them is known to fail in a replay. Rows are sent only when a batch is complete. So
//! nothing of the failing batch was sent, nor of later ones, and the current job may fix it.

use millstream_base::ids::BatchId;

/// What attempts to replay batches have shown about sent batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentBatches {
    /// The last batch that may have been sent. `None` means the last planned one.
    pub max: Option<BatchId>,
    /// Whether the next batch is replayed alone, because one of the next batches fails.
    one_by_one: bool,
}

impl SentBatches {
    /// Records that batches up to this one were replayed.
    pub fn ran(&mut self, until: BatchId) {
        if self.one_by_one {
            self.max = Some(until.next());
        }
    }

    /// Records that there is a checkpoint after this batch. An attempt that failed later may have made it.
    pub fn saved(&mut self, until: BatchId) {
        if self.max.is_some_and(|max| max <= until) {
            self.ran(until);
        }
    }

    /// Records that one of the batches from `first` to `until` failed because of its rows. Batches up to `committed`
    /// are certainly done. Returns `false` if another attempt cannot help.
    #[must_use]
    pub fn failed(&mut self, first: BatchId, until: BatchId, committed: Option<BatchId>) -> bool {
        // A batch that a sink is known to have must run unchanged.
        if self.max.is_some_and(|max| max < until) {
            return false;
        }
        *self = match first < until {
            // The attempt replayed all of them, and may have failed before it reported the last completed one.
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

    /// Simulates batches from `first` to `planned`, of which `fails` fails. Returns the last batch that runs unchanged,
    /// or `None` if the job cannot be started. A sink is known to have the batches up to `committed_until`. An attempt reports
    /// `reported_batches` fewer batches than it has completed. `every` is the number of batches between checkpoints of an attempt;
    /// 0 means only at its end.
    fn settled(
        first: u64,
        planned: u64,
        fails: u64,
        (committed_until, reported_batches, every): (u64, u64, u64),
    ) -> Option<u64> {
        let (mut sent, mut done) = (SentBatches::default(), first - 1);
        for _ in 0..100 {
            sent.saved(BatchId(done));
            let until = sent.max.map_or(planned, |max| max.0.min(planned)).max(committed_until);
            if until <= done {
                return Some(done);
            }
            if until < fails {
                sent.ran(BatchId(until));
                done = until;
                continue;
            }
            let committed = (fails - 1).checked_sub(reported_batches).filter(|last| *last > done).map(BatchId);
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
                    for (reported_batches, every) in
                        (0..3).flat_map(|reported_batches| (0..4).map(move |every| (reported_batches, every)))
                    {
                        let at = format!(
                            "{first} to {planned}, {fails} fails, {reported_batches} less are told of, every {every}"
                        );
                        let settled = |committed_until| {
                            settled(first, planned, fails, (committed_until, reported_batches, every))
                        };
                        assert_eq!(settled(first - 1), Some(fails - 1), "{at}");
                        assert_eq!(settled(fails), None, "{at}, and a sink has it");
                    }
                }
            }
        }
    }
}
