//! `split`: distributes rows by the first condition that they satisfy.

pub mod check;
pub mod run;
