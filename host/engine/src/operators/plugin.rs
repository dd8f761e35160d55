//! Plugins of world `transform`, and code shared by stages with any plugin.

pub mod check;
pub mod current;
pub mod node;
pub mod run;
pub mod shadow;
pub mod versions;
