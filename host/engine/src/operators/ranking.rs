//! `top` over all rows ever received.

pub mod check;
pub mod node;
pub mod run;
