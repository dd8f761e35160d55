//! Plugins: of world `transform`, and what stages with any plugin need.

pub mod check;
pub mod current;
pub mod node;
pub mod run;
pub mod shadow;
pub mod versions;
