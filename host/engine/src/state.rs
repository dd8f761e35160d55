//! Keyed state: the tables that the host keeps for stages, and the stage that updates them through a plugin.

pub mod ahead;
mod changes;
mod column;
mod file_rows;
pub mod files;
mod idle;
mod idle_keys;
mod keys;
mod left_files;
pub mod table_checkpoint;
pub mod merged;
mod migrate;
mod restore;
mod row_form;
pub mod spill;
pub mod store;
mod table;
pub mod time_counts;
pub mod timers;
mod tracked;

pub use column::StateColumn;
pub use idle::TouchSource;
pub use keys::{OwnedKey, Slot};
pub use table::StateTable;
