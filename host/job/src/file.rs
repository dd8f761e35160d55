//! The keys of a complete job file.

use super::keys::{CHECKPOINT, KeyShape, STATE, TableKey, key};
use super::stage::keys::STAGE;
use millstream_base::limits;

pub(super) const KEYS: &[TableKey] = &[
    key("name", KeyShape::Name, "The job's name, by default that of the file."),
    key("batch", KeyShape::Time, "Batch interval, 1s by default. \"0s\" starts a batch as soon as data is waiting."),
    key("workers", KeyShape::Integer(1, limits::WORKERS_MAX), "Worker threads per process, by default one per core."),
    key(
        "clock",
        KeyShape::Word(&["wall", "manual"]),
        "Clock of the batch times: `wall` is the machine's clock; `manual`, with `queue` sources, is a virtual clock that runs \
         batches back to back until the queues are empty. `wall` by default.",
    ),
    key(
        "in_flight_max",
        KeyShape::Integer(1, limits::IN_FLIGHT_MAX_MAX),
        "Maximum batches in flight (begun but not committed), 4 by default. At the maximum, a slow sink or plugin slows the \
         sources down.",
    ),
    key(
        "memory",
        KeyShape::Size,
        "Memory of the job on this machine, by default 75 % of the machine's or its control group's. Near the limit the job \
         reads less; above it the job stops and reports what uses the memory.",
    ),
    key(
        "state",
        KeyShape::Table(STATE),
        "Memory limit for the state of stages; state that is rarely used moves to files. Without it, all state is in memory.",
    ),
    key(
        "at_end",
        KeyShape::Word(&["flush", "keep"]),
        "When all sources have ended: `flush` emits open windows, sessions, rows without a partner and timers; `keep` keeps them \
         in the checkpoint, for a job that continues later. `flush` by default.",
    ),
    key(
        "ui",
        KeyShape::Flag,
        "Serve a page about the job to clients on this machine while `millstream run` runs; true by default.",
    ),
    key(
        "checkpoint",
        KeyShape::Table(CHECKPOINT),
        "Where the job stores what it needs to resume after a crash. Without it, a restarted job starts from scratch.",
    ),
    key("sources", KeyShape::Sources, "Inputs of the job, by name.").required(),
    key("stages", KeyShape::Parts(STAGE), "Operators of the job, by name, in any order."),
    key("sinks", KeyShape::Sinks, "Outputs of the job, by name.").required(),
];
