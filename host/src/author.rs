//! What plugin authors use: make, build, test and inspect a plugin.

pub mod build;
pub mod cases;
pub mod inspect;
pub mod new;
pub mod toolchain;
