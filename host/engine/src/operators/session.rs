//! Windows of sessions.

pub mod run;
pub mod state;
