//! Plugins that are called without a job, on tables: by Python programs, and by clients of `millstream serve`. They are called with the same rows as
//! in a job, and the same code checks their results; windows, order and state are up to the caller.

// What users see is documented in the crate `millstream`; these are its internals.
#![allow(missing_docs)]

mod calls;
mod cancel;
mod fitting;
mod loaded;
mod prepared;
mod settings;

pub use calls::{ResultRows, TableResult, UpdateTables, Updates, aggregate, cogroup, process, update};
pub use cancel::CancelCheck;
pub use loaded::{CallRequest, LoadedPlugin};
pub use prepared::PreparedTables;
pub use settings::{Settings, dir_of_lock};
