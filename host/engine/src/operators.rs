//! What stages do: an operator is one folder, with what is checked when the job is loaded, what it keeps, and what runs.

pub mod context;
pub mod plugin;
