//! The options of a pipe.

use clap::ValueEnum;
use std::path::PathBuf;

/// What the input holds, or the output is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PipeFormat {
    /// One string per line
    Text,
    /// One JSON object per line
    #[value(alias = "jsonl")]
    Json,
    /// Comma-separated values after a header line
    Csv,
    /// An Arrow IPC stream
    Arrow,
}

/// A plugin or a query, and its keys as in a job file.
#[derive(Clone, Debug)]
pub struct StepOptions {
    /// The plugin as in a job file, or the text of the query.
    pub what: String,
    /// The plugin's config, as JSON.
    pub config: Option<String>,
    /// Keys of its stage, with their values.
    pub sets: Vec<(String, String)>,
}

/// The options of a pipe.
#[derive(Clone, Debug)]
pub struct Options {
    /// The input format.
    pub from: PipeFormat,
    /// The output format.
    pub to: PipeFormat,
    /// The columns of the input, as `name=type,…`. `None` infers them.
    pub schema: Option<String>,
    /// The plugins, in order.
    pub plugins: Vec<StepOptions>,
    /// The query after the plugins.
    pub query: Option<StepOptions>,
    /// Whether rejected rows are skipped. Otherwise the first one ends the pipe.
    pub rejects: bool,
    /// The file for rejected rows.
    pub rejected: Option<PathBuf>,
    /// The memory budget.
    pub memory: Option<String>,
}
