//! Notifies a receiver of the state of its rows: the plan of the batch with them is durable, or a checkpoint with their positions is published.
//! After the first, a receiver may acknowledge the rows to a sender. After the second, it may let a server delete earlier data.

use super::request::AtomicRequest;
use super::{Inbox, InboxContents};
use crate::batch::chunk::Chunk;
use crate::batch::position::{Position, Positions};
use millstream_base::ids::BatchId;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Identifies rows in an inbox by the number of all rows that were added up to the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Ticket {
    /// Creates a ticket of a number of rows, for tests.
    pub fn new(rows: u64) -> Ticket {
        Ticket(rows)
    }
}

/// The result of offering rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferResult {
    /// They wait for a batch.
    Taken(Ticket),
    /// Too much waits already.
    Full,
    /// The inbox is closed.
    Closed,
}

pub(super) struct Signals {
    batches: Mutex<Batches>,
    /// Rows whose plans are durable; `None`: no more plans become durable.
    durable: watch::Sender<Option<u64>>,
    published: watch::Sender<Positions>,
}

#[derive(Default)]
struct Batches {
    /// Batches whose plans are not durable yet, with the number of rows taken after each: as many as are in flight.
    planning: VecDeque<(BatchId, u64)>,
    /// Positions at barriers whose checkpoints are not published yet.
    barriers: VecDeque<(BatchId, Positions)>,
}

impl Default for Signals {
    fn default() -> Signals {
        let (durable, published) = (watch::Sender::new(Some(0)), watch::Sender::new(Positions::new()));
        Signals { batches: Mutex::default(), durable, published }
    }
}

impl Signals {
    fn batches(&self) -> MutexGuard<'_, Batches> {
        // Operations under the lock cannot leave inconsistent state.
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the number of rows taken up to a batch, which may have taken none.
    pub fn record_batch(&self, batch: BatchId, taken_rows: u64) {
        self.batches().planning.push_back((batch, taken_rows));
    }
}

impl InboxContents {
    /// Returns a ticket for all rows added so far.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.added)
    }
}

impl Inbox {
    /// Receiver: adds these records immediately, if there is room. Records that move another position of the source than that of the rows are taken
    /// by one batch together; then there must be some.
    pub fn offer(&self, chunks: Vec<Chunk>, end: Option<(String, Position)>) -> OfferResult {
        match self.has_room() {
            Some(true) => {}
            Some(false) => return OfferResult::Closed,
            None => return OfferResult::Full,
        }
        let mut ticket = Ticket(0);
        let added = self.add_now(|contents| {
            match end {
                Some(end) => contents.push_request(AtomicRequest::new(chunks, vec![end])),
                None => chunks.into_iter().for_each(|chunk| contents.join(chunk)),
            }
            ticket = contents.ticket();
        });
        if added { OfferResult::Taken(ticket) } else { OfferResult::Closed }
    }

    /// Receiver: waits until the plan of the batch with these rows is durable; in a job without checkpoints, until a batch took them. `false`: the
    /// job has ended before.
    pub async fn durable(&self, ticket: Ticket) -> bool {
        let mut durable = self.signals.durable.subscribe();
        let result = durable.wait_for(|rows| rows.is_none_or(|rows| rows >= ticket.0)).await;
        self.acknowledges() && result.is_ok_and(|rows| rows.is_some())
    }

    /// Receiver: returns whether the plan of the batch with these rows is already known to be durable.
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        self.signals.durable.borrow().is_some_and(|rows| rows >= ticket.0)
    }

    /// Receiver: returns whether no more plans become durable.
    pub fn has_ended(&self) -> bool {
        self.signals.durable.borrow().is_none()
    }

    /// Receiver: returns the changing positions of the source in the last published checkpoint of this startup.
    pub fn published(&self) -> watch::Receiver<Positions> {
        self.signals.published.subscribe()
    }

    /// Worker: the plan of this batch is durable, and so are all earlier ones.
    pub fn plan_is_durable(&self, batch: BatchId) {
        let mut batches = self.signals.batches();
        let mut rows = None;
        while let Some((_, taken_rows)) = batches.planning.pop_front_if(|(planned, _)| *planned <= batch) {
            rows = Some(taken_rows);
        }
        if let Some(rows) = rows {
            self.signals.durable.send_modify(|before| {
                if let Some(before) = before {
                    *before = rows.max(*before);
                }
            });
        }
    }

    /// The job has ended: no more plans become durable.
    pub fn ended(&self) {
        self.signals.durable.send_replace(None);
    }

    /// Worker: the checkpoint after this batch will hold these positions. Nothing is stored if no receiver listens.
    pub fn barrier(&self, after: BatchId, positions: &Positions) {
        if self.signals.published.receiver_count() > 0 {
            self.signals.batches().barriers.push_back((after, positions.clone()));
        }
    }

    /// Worker: the checkpoint after this batch is published.
    pub fn checkpoint_is_published(&self, after: BatchId) {
        let mut batches = self.signals.batches();
        let mut newest = None;
        while let Some((_, positions)) = batches.barriers.pop_front_if(|(barrier, _)| *barrier <= after) {
            newest = Some(positions);
        }
        drop(batches);
        newest.into_iter().for_each(|positions| drop(self.signals.published.send_replace(positions)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::TakeLimits;
    use bytes::Bytes;
    use futures_util::FutureExt as _;

    fn row() -> Vec<Chunk> {
        vec![Chunk { bytes: Bytes::from_static(b"a\n"), ends: vec![2], ..Chunk::default() }]
    }

    fn inbox(bytes_max: u64) -> Inbox {
        Inbox::new(bytes_max, Box::new(|| {}))
    }

    fn ticket(offered: OfferResult) -> Ticket {
        match offered {
            OfferResult::Taken(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    /// Returns whether rows are durable; `None` if not known yet.
    fn durability(inbox: &Inbox, ticket: Ticket) -> Option<bool> {
        inbox.durable(ticket).now_or_never()
    }

    #[test]
    fn rows_are_durable_with_the_plan_of_the_batch_that_took_the_last_of_them() {
        let inbox = inbox(1 << 20);
        inbox.put_back(row(), Vec::new());
        let first = ticket(inbox.offer([row(), row()].concat(), None));
        let second = ticket(inbox.offer(row(), None));
        let _ = inbox.take(BatchId(7), TakeLimits::new(2, u64::MAX));
        inbox.plan_is_durable(BatchId(7));
        assert_eq!(durability(&inbox, first), None, "its second row still waits");
        let _ = inbox.take(BatchId(8), TakeLimits::new(1, u64::MAX));
        let _ = inbox.take(BatchId(9), TakeLimits::new(9, u64::MAX));
        assert_eq!(durability(&inbox, first), None, "the plan of batch 8 is on its way");
        inbox.plan_is_durable(BatchId(8));
        assert_eq!((durability(&inbox, first), durability(&inbox, second)), (Some(true), None));
        inbox.plan_is_durable(BatchId(9));
        assert_eq!(durability(&inbox, second), Some(true));
        let third = ticket(inbox.offer(row(), None));
        inbox.ended();
        assert_eq!(
            (durability(&inbox, second), durability(&inbox, third)),
            (Some(false), Some(false)),
            "nothing says so now"
        );
    }

    #[test]
    fn rows_that_a_limit_leaves_out_are_never_durable() {
        let inbox = inbox(1 << 20).limited(1, true);
        let [first, second] = [(); 2].map(|()| ticket(inbox.offer(row(), None)));
        for batch in 1..3 {
            let _ = inbox.take(BatchId(batch), TakeLimits::new(9, u64::MAX));
            inbox.plan_is_durable(BatchId(batch));
        }
        assert_eq!((durability(&inbox, first), durability(&inbox, second)), (Some(true), None));
        inbox.ended();
        assert_eq!(durability(&inbox, second), Some(false));
    }

    #[test]
    fn what_a_full_or_closed_inbox_is_offered_is_not_taken() {
        let inbox = inbox(1);
        let _ = ticket(inbox.offer(row(), None));
        assert_eq!(inbox.offer(row(), None), OfferResult::Full);
        inbox.close();
        assert_eq!(inbox.offer(row(), None), OfferResult::Closed);
        let taken = inbox.take(BatchId(1), TakeLimits::new(9, u64::MAX));
        assert_eq!(taken.chunks.iter().map(Chunk::rows).sum::<usize>(), 1);
    }

    #[test]
    fn positions_are_published_with_the_checkpoint_that_holds_them() {
        let inbox = inbox(1);
        let at = |offset| Positions::from([("p".to_owned(), Position { offset, mark: 0 })]);
        inbox.barrier(BatchId(1), &at(1));
        let mut published = inbox.published();
        inbox.checkpoint_is_published(BatchId(1));
        assert!(!published.has_changed().unwrap(), "nothing listened at that barrier");
        (2..=4).for_each(|batch| inbox.barrier(BatchId(batch), &at(batch)));
        inbox.checkpoint_is_published(BatchId(3));
        assert_eq!(*published.borrow_and_update(), at(3));
        inbox.checkpoint_is_published(BatchId(4));
        assert_eq!(*published.borrow_and_update(), at(4));
    }
}
