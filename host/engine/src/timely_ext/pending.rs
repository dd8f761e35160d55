//! What an operator holds until nothing more can come for a timestamp.

use millstream_base::error::Result;
use millstream_base::failure::Failure;
use std::collections::BTreeMap;
use timely::progress::frontier::MutableAntichain;

/// By timestamp: what an operator has to do when the frontiers of its inputs have passed that, with the capabilities for what
/// it will put out.
pub struct Pending<T>(BTreeMap<u64, T>);

impl<T> Default for Pending<T> {
    fn default() -> Pending<T> {
        Pending(BTreeMap::new())
    }
}

impl<T> Pending<T> {
    /// To be done at this timestamp.
    pub fn insert(&mut self, stamp: u64, item: T) {
        self.0.insert(stamp, item);
    }

    /// What is to be done at this timestamp so far.
    pub fn at(&mut self, stamp: u64) -> &mut T
    where
        T: Default,
    {
        self.0.entry(stamp).or_default()
    }

    /// Does what is due, in order: what stands at the timestamps that no input can bring anything for any more. Nothing is
    /// done any more once the job has failed. An error of `work` is the job's; what it was to do then stays, with its
    /// capabilities, so that no operator behind this one, in whatever process, takes the batch for complete.
    pub fn each_complete(
        &mut self,
        frontiers: &[MutableAntichain<u64>],
        failure: &Failure,
        mut work: impl FnMut(u64, &mut T) -> Result<()>,
    ) {
        while let Some(mut first) = self.0.first_entry() {
            let stamp = *first.key();
            if frontiers.iter().any(|frontier| frontier.less_equal(&stamp)) || failure.happened() {
                break;
            }
            match work(stamp, first.get_mut()) {
                Ok(()) => drop(first.remove()),
                Err(error) => {
                    failure.set(error);
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::error::Error;

    /// What was done, with the inputs at this timestamp.
    fn done(pending: &mut Pending<&'static str>, at: u64, failure: &Failure) -> Vec<(u64, &'static str)> {
        let mut done = Vec::new();
        let frontiers = [MutableAntichain::from_elem(at), MutableAntichain::from_elem(at + 7)];
        pending.each_complete(&frontiers, failure, |stamp, item| match *item {
            "fails" => Err(Error::job("no")),
            item => {
                done.push((stamp, item));
                Ok(())
            }
        });
        done
    }

    #[test]
    fn what_no_input_can_add_to_is_done_once_and_in_order() {
        let (mut pending, failure) = (Pending::default(), Failure::default());
        [(6, "c"), (2, "a"), (4, "b")].into_iter().for_each(|(stamp, item)| pending.insert(stamp, item));
        assert_eq!(done(&mut pending, 2, &failure), [], "more may come at 2");
        assert_eq!(done(&mut pending, 5, &failure), [(2, "a"), (4, "b")]);
        assert_eq!(done(&mut pending, 5, &failure), []);
        assert_eq!(done(&mut pending, 8, &failure), [(6, "c")]);
    }

    #[test]
    fn what_fails_stays_and_nothing_is_done_after_it() {
        let (mut pending, failure) = (Pending::default(), Failure::default());
        [(2, "a"), (4, "fails"), (6, "c")].into_iter().for_each(|(stamp, item)| pending.insert(stamp, item));
        assert_eq!(done(&mut pending, 8, &failure), [(2, "a")]);
        assert_eq!(failure.error().map(|error| error.message), Some("no".to_owned()));
        assert_eq!(done(&mut pending, 8, &failure), []);
        assert_eq!(pending.0.keys().copied().collect::<Vec<_>>(), [4, 6]);
    }
}
