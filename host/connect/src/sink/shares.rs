//! Shares of a sink: each worker's part of its batches, which the worker commits separately under its own marker.

use millstream_base::fault;
use millstream_base::ids::BatchId;

/// A share of a sink: the rows of the worker with this number, or `None` for complete batches.
pub type Share = Option<usize>;

/// Returns the last committed batch of a share, by the markers of its sink: committed by the share itself, or as part of complete batches.
/// Without a share, the last batch that is committed completely or in part: batches up to there must be replayed unchanged.
pub fn committed_batch(markers: impl IntoIterator<Item = (Share, Option<BatchId>)>, share: Share) -> Option<BatchId> {
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
        let committed_batch = |share| committed_batch(mixed, share).map(|batch| batch.0);
        assert_eq!(
            [None, Some(0), Some(1), Some(2), Some(9)].map(committed_batch),
            [Some(6), Some(4), Some(6), Some(4), Some(4)]
        );
        assert_eq!(super::committed_batch([], None), None);
    }
}
