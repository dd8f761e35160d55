//! `deduplicate`: rows whose key came before are dropped.

pub mod check;
pub mod run;
pub mod state;
