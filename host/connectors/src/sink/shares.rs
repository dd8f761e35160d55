//! Shares of a sink: what each worker has of its batches, which it commits by itself, under a marker of its own.

use millstream_base::fault;
use millstream_base::ids::BatchId;

/// What somebody commits of the batches of a sink: the rows of the worker with this number, or `None` for whole batches.
pub type Share = Option<usize>;

/// The last batch of which a share is committed, by the markers of its sink: by itself, or as whole batches were written. Without a
/// share, the last one that is committed, be it in part: batches up to there have to run as they were.
pub fn held(markers: impl IntoIterator<Item = (Share, Option<BatchId>)>, share: Share) -> Option<BatchId> {
    let all = share.is_none() || fault::bug!("marker-of-others");
    let counting = markers.into_iter().filter(|(of, _)| all || of.is_none() || *of == share);
    counting.filter_map(|(_, batch)| batch).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_holds_what_itself_or_a_whole_batch_says_and_all_together_what_the_furthest_does() {
        let mixed = [(None, Some(4)), (Some(0), None), (Some(1), Some(6)), (Some(2), Some(3))];
        let mixed = mixed.map(|(share, batch)| (share, batch.map(BatchId)));
        let held = |share| held(mixed, share).map(|batch| batch.0);
        assert_eq!([None, Some(0), Some(1), Some(2), Some(9)].map(held), [Some(6), Some(4), Some(6), Some(4), Some(4)]);
        assert_eq!(super::held([], None), None);
    }
}
