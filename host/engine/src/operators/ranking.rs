//! `top` over all rows that ever came.

pub mod check;
pub mod node;
pub mod run;
