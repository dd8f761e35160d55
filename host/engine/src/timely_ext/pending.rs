//! Work that an operator holds until a timestamp is complete.

use millstream_base::error::Result;
use millstream_base::failure::Failure;
use std::collections::BTreeMap;
use timely::progress::frontier::MutableAntichain;

/// By timestamp: what an operator does when the frontiers of its inputs have passed it, with the capabilities for its output.
pub struct Pending<T>(BTreeMap<u64, T>);

impl<T> Default for Pending<T> {
    fn default() -> Pending<T> {
        Pending(BTreeMap::new())
    }
}

impl<T> Pending<T> {
    /// Adds work at this timestamp.
    pub fn insert(&mut self, stamp: u64, item: T) {
        self.0.insert(stamp, item);
    }

    /// Returns the work at this timestamp so far.
    pub fn at(&mut self, stamp: u64) -> &mut T
    where
        T: Default,
    {
        self.0.entry(stamp).or_default()
    }

    /// Does the work that is due, in order: that of the timestamps for which no input can bring anything more. After the job has failed, nothing more
    /// is done. An error of `work` fails the job. The item stays, with its capabilities, so that no downstream operator, in whatever process, takes
    /// the batch for complete.
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

    /// Returns what was done, with the inputs at this timestamp.
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
