//! `sql`: a query over the rows of a batch or window.

pub mod check;
pub mod node;
pub mod run;
