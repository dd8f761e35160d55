//! The operators of stages. Each is a directory: the checks when a job is loaded (`check`), their result (`node`), the state (`state`), and the
//! running operator (`run`). Besides these, only `check`, `run` and `description` depend on all operators.

pub mod aggregate;
pub mod by_key;
pub mod check;
pub mod cogroup;
pub mod context;
pub mod deduplicate;
pub mod distinct;
pub mod enrich;
pub mod event_time;
mod round_trip;
pub mod join;
mod late;
pub mod latest;
pub mod newest;
pub mod pattern;
pub mod plugin;
pub mod ranking;
pub mod repartition;
pub mod run;
pub mod sample;
pub mod session;
pub mod shape;
pub mod simple;
pub mod split;
#[cfg_attr(not(feature = "sql"), allow(unreachable_code, unused_variables))]
pub mod sql;
pub mod stage;
pub mod stage_check;
pub mod stage_text;
pub mod top;
pub mod update;
pub mod window;
pub mod description;
