//! `deduplicate`: drops rows whose key was seen before.

pub mod check;
pub mod run;
pub mod state;
