//! A shared limit for the bytes that are arriving on all connections of a source.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes per permit of the semaphore.
const UNIT_BYTES: u64 = 1024;

/// The limit on arriving bytes.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

/// The part of the budget that a request or a window holds; dropping it returns the part.
#[derive(Debug, Default)]
pub struct BudgetPermit(Option<OwnedSemaphorePermit>);

impl Budget {
    /// Creates a budget of `bytes_max`, plus one unit.
    pub fn new(bytes_max: u64) -> Budget {
        let units = usize::try_from(bytes_max.div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX);
        Budget(Arc::new(Semaphore::new(units.saturating_add(1).min(Semaphore::MAX_PERMITS))))
    }

    /// Extends `room` to `bytes` in total. Returns false if the budget is used up.
    pub fn grow(&self, room: &mut BudgetPermit, bytes: u64) -> bool {
        let acquired = room.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) as u64;
        let more = bytes.div_ceil(UNIT_BYTES).saturating_sub(acquired);
        let Ok(more) = u32::try_from(more) else { return false };
        if more == 0 {
            return true;
        }
        let Ok(permits) = self.0.clone().try_acquire_many_owned(more) else { return false };
        match &mut room.0 {
            Some(existing) => existing.merge(permits),
            none => *none = Some(permits),
        }
        true
    }
}
