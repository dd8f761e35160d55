//! What everything in Millstream is made of: rows on their way, the job, errors, limits and the few services of the system.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

pub mod batch;
pub mod context;
pub mod decode;
pub mod digest;
pub mod error;
pub mod failure;
pub mod fault;
pub mod ids;
pub mod job;
pub mod limits;
pub mod memory;
pub mod owner;
pub mod package_name;
pub mod panics;
pub mod patience;
pub mod private;
pub mod random;
pub mod regular;
pub mod shown;
pub mod threads;
pub mod time;
pub mod units;
pub mod zone;
