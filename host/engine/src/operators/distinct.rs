//! `distinct`: keeps the first of equal rows, by some columns, in each batch or window.

pub mod check;
pub mod run;
