//! `split`: rows by the first condition that they fulfil.

pub mod check;
pub mod run;
