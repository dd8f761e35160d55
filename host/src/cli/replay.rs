//! `millstream replay`.

use super::run::arguments::parse_set;
use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_connect::sink::shown_time;
use millstream_connectors::kinds;
use millstream_connectors::print::sink::show_table;
use millstream_engine::running::Options;
use millstream_runtime::replay::{Replay, Replayed, replay};
use std::fmt::Write as _;
use std::path::PathBuf;

/// The arguments of `millstream replay`.
#[derive(Args)]
pub struct ReplayArguments {
    /// Path of the job file
    job: PathBuf,
    /// Number of the batch
    ///
    /// Its plan and the state before it must still exist; `millstream inspect` shows them.
    #[arg(long)]
    batch: u64,
    /// Use the job file and plugins of that time, from the checkpoint
    #[arg(long)]
    as_it_was: bool,
    /// Maximum rows to show per sink
    #[arg(long, default_value_t = 20)]
    rows: usize,
    /// Worker threads (default: as many as ran the batch)
    #[arg(long)]
    workers: Option<usize>,
    /// Replace or add a value of the job file
    ///
    /// For example `checkpoint.dir=elsewhere`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_set)]
    sets: Vec<(String, String)>,
}

/// Replays the batch. Returns the output, and whether no sink holds anything different.
pub fn run(arguments: &ReplayArguments) -> Result<(String, bool)> {
    let spec = millstream_job::load(&arguments.job, kinds::all(), &arguments.sets)?;
    let options = Options { workers: arguments.workers, sets: arguments.sets.clone(), ..Options::default() };
    let Replay { time, sinks, not_replayable } = replay(spec, options, BatchId(arguments.batch), arguments.as_it_was)?;
    let mut text = String::new();
    for of in &sinks {
        let _ = writeln!(text, "batch {} of {}: {}", arguments.batch, shown_time(time), describe(of));
        let shown = show_table(&of.schema, &of.rows, arguments.rows).map_err(Error::arrow)?;
        let _ = writeln!(text, "{shown}");
    }
    for stage in &not_replayable {
        let _ = writeln!(
            text,
            "stage `{stage}` is not replayable: its HTTP requests may get other responses than the first time"
        );
    }
    Ok((text, sinks.iter().all(|of| of.same != Some(false))))
}

fn describe(of: &Replayed) -> String {
    let rows: usize = of.rows.iter().map(|part| part.num_rows()).sum();
    let plural = if rows == 1 { "" } else { "s" };
    let compared = match of.same {
        Some(true) => "the same as was committed",
        Some(false) => "NOT the same as was committed",
        None => "nothing to compare it with",
    };
    format!("sink `{}`: {rows} row{plural}, {compared}", of.sink)
}
