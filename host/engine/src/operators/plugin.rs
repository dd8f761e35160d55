//! Plugins as stages run them.

pub mod shadow;
pub mod versions;
