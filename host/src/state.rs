//! Keyed state: the table that the host holds for a stage, and the stage that updates it through a plugin.

mod changes;
mod column;
pub mod files;
mod initial;
pub mod keeper;
mod migrate;
mod restore;
mod table;
pub mod timers;
pub mod update;

pub use column::StateColumn;
pub use initial::load as load_initial;
pub use table::{OwnedKey, Slot, StateTable};
