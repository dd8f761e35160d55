//! `sample`: a share of the rows.

pub mod check;
pub mod run;
