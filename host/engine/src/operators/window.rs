//! `window`: which rows belong together.

pub mod check;
pub mod ends;
pub mod node;
pub mod run;
pub mod state;
