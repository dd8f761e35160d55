//! `distinct`: of rows that are equal in some columns the first of each batch or window.

pub mod check;
pub mod run;
