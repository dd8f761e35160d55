//! `repartition`: distributes rows over the workers.

pub mod check;
pub mod run;
