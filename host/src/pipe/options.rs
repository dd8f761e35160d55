//! What is to be done, as whoever asks for it says.

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

/// A plugin or a query, and what a job file would say of it.
#[derive(Clone, Debug)]
pub struct StepOptions {
    /// The plugin as a job file names it, or the text of the query.
    pub what: String,
    /// The plugin's config, as JSON.
    pub config: Option<String>,
    /// Keys of its stage, with their values.
    pub sets: Vec<(String, String)>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// What comes in.
    pub from: PipeFormat,
    /// What is put out.
    pub to: PipeFormat,
    /// The columns that come in, as `name=type,…`; `None`: they are found.
    pub schema: Option<String>,
    /// The plugins, one behind the other.
    pub plugins: Vec<StepOptions>,
    /// The query behind them.
    pub query: Option<StepOptions>,
    /// Whether rows that are refused are left out; else the first one ends all.
    pub rejects: bool,
    /// Where refused rows are written.
    pub rejected: Option<PathBuf>,
    /// The budget of memory.
    pub memory: Option<String>,
}
