//! What everything in Millstream is made of: rows on their way, the job, errors, limits and the few services of the system.

// What the crate `millstream` shows must have documentation; the rest has it where it helps.

#[allow(missing_docs)]
pub mod batch;
#[allow(missing_docs)]
pub mod context;
#[allow(missing_docs)]
pub mod decode;
#[allow(missing_docs)]
pub mod digest;
pub mod error;
#[allow(missing_docs)]
pub mod failure;
#[allow(missing_docs)]
pub mod fault;
pub mod ids;
pub mod job;
pub mod limits;
pub mod memory;
#[allow(missing_docs)]
pub mod owner;
#[allow(missing_docs)]
pub mod package_name;
#[allow(missing_docs)]
pub mod panics;
#[allow(missing_docs)]
pub mod patience;
#[allow(missing_docs)]
pub mod private;
#[allow(missing_docs)]
pub mod random;
#[allow(missing_docs)]
pub mod regular;
#[allow(missing_docs)]
pub mod shown;
#[allow(missing_docs)]
pub mod threads;
#[allow(missing_docs)]
pub mod time;
#[allow(missing_docs)]
pub mod units;
#[allow(missing_docs)]
pub mod zone;
