//! Session windows.

pub mod run;
pub mod state;
