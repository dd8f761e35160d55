//! Plugins that others than a job call, on tables: programs in Python, and those that speak to `millstream serve`. They are called with
//! the same rows as in a job, and by the same code that checks what they return; windows, order and what is kept are the caller's.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

mod calls;
mod cancel;
mod fitting;
mod loaded;
mod prepared;
mod settings;

pub use calls::{RowsMade, TableResult, UpdateTables, Updates, aggregate, cogroup, process, update};
pub use cancel::CancelCheck;
pub use loaded::{CallRequest, Loaded};
pub use prepared::Prepared;
pub use settings::{Settings, folder_of_lock};
