//! Plugins of world `update`: a state for each key.

pub mod check;
pub mod initial;
pub mod node;
pub mod run;
pub mod state;
