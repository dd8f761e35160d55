//! The memory of a query: its own limit, and what the job has left.

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use millstream_base::memory::{self, Holder};
use std::fmt;

/// Smaller pieces are not requested one by one: the budget checks them when the allocator does.
const RESERVE_BYTES_MIN: usize = 1 << 20;

/// DataFusion's memory pool, backed by the budget of the job.
#[derive(Debug)]
pub struct SharedPool {
    own: GreedyMemoryPool,
    holder: Holder,
}

impl SharedPool {
    /// Creates a pool with its own limit.
    pub fn new(bytes_max: u64) -> SharedPool {
        let own = GreedyMemoryPool::new(usize::try_from(bytes_max).unwrap_or(usize::MAX));
        SharedPool { own, holder: Holder::new("rows that queries hold") }
    }

    fn report_reserved(&self) {
        self.holder.set(self.own.reserved() as u64);
    }
}

impl fmt::Display for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedPool")
    }
}

impl MemoryPool for SharedPool {
    fn name(&self) -> &str {
        "SharedPool"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.report_reserved();
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.report_reserved();
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if additional >= RESERVE_BYTES_MIN {
            memory::charge(additional as u64).map_err(|error| DataFusionError::External(Box::new(error)))?;
        }
        self.own.try_grow(reservation, additional)?;
        self.report_reserved();
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}
