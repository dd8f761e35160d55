//! Keyed state: the table that the host holds for a stage, and the stage that updates it through a plugin.

pub mod ahead;
mod changes;
mod column;
pub mod files;
mod idle;
mod left_files;
pub mod table_checkpoint;
pub mod merged;
mod migrate;
mod restore;
mod row_form;
pub mod spill;
mod table;
mod table_copy;
pub mod time_counts;
pub mod timers;

pub use column::StateColumn;
pub use idle::IdleBy;
pub use table::{OwnedKey, Slot, StateTable};
