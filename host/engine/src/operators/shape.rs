//! `filter` and `select`: what happens to the rows of an operator before they leave the stage.

pub mod check;
pub mod run;
