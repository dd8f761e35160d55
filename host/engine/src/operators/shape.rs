//! `filter` and `select`: processing of an operator's rows before they leave the stage.

pub mod check;
pub mod run;
