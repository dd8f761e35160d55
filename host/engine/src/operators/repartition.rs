//! `repartition`: rows spread anew over the workers.

pub mod check;
pub mod run;
