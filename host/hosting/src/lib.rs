//! Plugins that others than a job call, on tables: programs in Python, and those that speak to `millstream serve`. They are called with
//! the same rows as in a job, and by the same code that checks what they return; windows, order and what is kept are the caller's.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

mod calls;
mod fitting;
mod loaded;
mod prepared;
mod settings;

pub use calls::{RowsMade, TableResult, UpdateTables, Updates, aggregate, cogroup, process, update};
pub use loaded::{CallRequest, Loaded};
pub use prepared::Prepared;
pub use settings::{Settings, folder_of_lock};

use millstream_base::error::{Error, Result};
use std::sync::Arc;

/// Whether anybody still waits for what a call makes.
#[derive(Clone)]
pub struct CancelCheck(Arc<dyn Fn() -> bool + Send + Sync>);

impl CancelCheck {
    /// For as long as this says so. It is asked between two calls of the plugin.
    pub fn new(is_wanted: impl Fn() -> bool + Send + Sync + 'static) -> CancelCheck {
        CancelCheck(Arc::new(is_wanted))
    }

    /// An error where nobody does.
    pub fn check(&self) -> Result<()> {
        match (self.0)() {
            false => Err(Error::environment("the call was interrupted")),
            true => Ok(()),
        }
    }
}
