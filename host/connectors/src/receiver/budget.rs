//! The bytes of all that is coming in on the connections of a source, which share a bound.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What they are counted in.
const UNIT_BYTES: u64 = 1024;

/// The bound.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

/// What a request or a window has of the budget; it is given back when this is dropped.
#[derive(Debug, Default)]
pub struct BudgetPermit(Option<OwnedSemaphorePermit>);

impl Budget {
    /// So many bytes, and one unit more.
    pub fn new(bytes_max: u64) -> Budget {
        let units = usize::try_from(bytes_max.div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX);
        Budget(Arc::new(Semaphore::new(units.saturating_add(1).min(Semaphore::MAX_PERMITS))))
    }

    /// Gives room for so many bytes in all, where there is some.
    pub fn grow(&self, room: &mut BudgetPermit, bytes: u64) -> bool {
        let has = room.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) as u64;
        let more = bytes.div_ceil(UNIT_BYTES).saturating_sub(has);
        let Ok(more) = u32::try_from(more) else { return false };
        if more == 0 {
            return true;
        }
        let Ok(permits) = self.0.clone().try_acquire_many_owned(more) else { return false };
        match &mut room.0 {
            Some(before) => before.merge(permits),
            none => *none = Some(permits),
        }
        true
    }
}
