//! `top` over the rows of each batch or window.

pub mod check;
pub mod run;
