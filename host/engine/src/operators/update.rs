//! Plugins of world `update`: one state per key.

pub mod check;
pub mod initial;
pub mod node;
pub mod run;
pub mod state;
