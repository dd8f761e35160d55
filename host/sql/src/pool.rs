//! The memory of a query: its own limit, and what the job has left.

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use millstream_base::memory::{self, Holder};
use std::fmt;

/// So small pieces are not asked for one by one: the budget is looked at by whoever asks for them from the allocator.
const ASK_BYTES_MIN: usize = 1 << 20;

/// DataFusion's pool, which draws on the budget of the job.
#[derive(Debug)]
pub struct SharedPool {
    own: GreedyMemoryPool,
    holder: Holder,
}

impl SharedPool {
    /// With a limit of its own.
    pub fn new(bytes_max: u64) -> SharedPool {
        let own = GreedyMemoryPool::new(usize::try_from(bytes_max).unwrap_or(usize::MAX));
        SharedPool { own, holder: Holder::new("rows that queries hold") }
    }

    fn told(&self) {
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
        self.told();
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.told();
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if additional >= ASK_BYTES_MIN {
            memory::ask(additional as u64).map_err(|error| DataFusionError::External(Box::new(error)))?;
        }
        self.own.try_grow(reservation, additional)?;
        self.told();
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}
