//! The arguments of `millstream run`.

use crate::program_limits::RESTARTS_MAX;
use clap::Args;
use millstream_base::error::Result;
use millstream_base::units;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The arguments of `millstream run`.
#[derive(Args)]
pub struct RunArguments {
    /// Path of the job file
    pub(in crate::cli) job: PathBuf,
    /// Worker threads of this process
    ///
    /// Default: `workers` of the job file, or all cores.
    #[arg(long)]
    pub(in crate::cli) workers: Option<usize>,
    /// Stop once every source is finished or idle
    ///
    /// A source is idle after two seconds without input, also if its server is unreachable.
    #[arg(long)]
    pub(in crate::cli) until_idle: bool,
    /// Stop gracefully after this time, for example `30s`
    #[arg(long, value_parser = units::time)]
    pub(in crate::cli) timeout: Option<Duration>,
    /// Read at most this many rows from each source, then stop
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) limit: Option<u64>,
    /// Show the first rows of every stream and stop
    ///
    /// Reads 1000 rows of each source (or --limit). Sinks are not written; checkpoints are neither read nor written.
    #[arg(long, conflicts_with_all = ["fresh", "resume_from", "replay_from", "drop_state", "processes", "watch"])]
    pub(super) sample: bool,
    /// Replace or add a value of the job file
    ///
    /// For example `sources.lines.address=127.0.0.1:9999`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_set)]
    pub(in crate::cli) sets: Vec<(String, String)>,
    /// Number of processes that run the job together
    ///
    /// Without --process, a job with [checkpoint] starts all of them on this machine. Otherwise start each one with the
    /// same job and its own --process.
    #[arg(long)]
    pub(in crate::cli) processes: Option<usize>,
    /// Number of this process, from 0, or `auto`
    ///
    /// `auto` is the position of this machine's name in --hosts.
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::cli) process: Option<ProcessNumber>,
    /// Address of each process: `host:port,host:port`, or `@FILE`
    ///
    /// The file has one address per line. Default: 127.0.0.1, with free ports if all processes are started here, else ports
    /// from 2101.
    #[arg(long, value_delimiter = ',')]
    pub(in crate::cli) hosts: Vec<String>,
    /// Address on which this process listens for the other processes
    ///
    /// For example `0.0.0.0:2101`. Default: its address in --hosts.
    #[arg(long, value_name = "ADDRESS", requires = "process")]
    pub(in crate::cli) listen: Option<String>,
    /// File with the shared key that authenticates the processes
    ///
    /// At least 32 bytes, the same for all processes, mode 0600. Required if --hosts names other machines.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) cluster_key: Option<PathBuf>,
    /// Directory with tls.crt, tls.key and ca.crt (PEM)
    ///
    /// Each process presents a certificate for its name in --hosts that is signed by a CA in ca.crt.
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) cluster_tls: Option<PathBuf>,
    /// Discard the checkpoint and start from scratch, at batch 1
    #[arg(long, conflicts_with_all = ["resume_from", "drop_state"])]
    pub(in crate::cli) fresh: bool,
    /// Do not ask for confirmation of --fresh
    #[arg(long)]
    pub(super) yes: bool,
    /// Resume from the checkpoint of this batch, and discard what followed
    #[arg(long, value_name = "BATCH")]
    pub(in crate::cli) resume_from: Option<u64>,
    /// Resume from the checkpoint of this batch, and replay what followed
    ///
    /// Later batches run again with the current job. Sinks keep what they hold of these batches. `millstream rollback`
    /// needs this.
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["resume_from", "fresh"])]
    pub(in crate::cli) replay_from: Option<u64>,
    /// Discard the saved state of this stage or source
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) drop_state: Vec<String>,
    /// Maximum restarts of failed processes without a committed batch
    #[arg(long, value_name = "COUNT", default_value_t = RESTARTS_MAX)]
    pub(in crate::cli) restarts_max: u32,
    /// Upgrade to a local component when it is rebuilt
    ///
    /// The upgrade happens between two batches.
    #[arg(long)]
    pub(super) watch: bool,
    /// Address of the page about the job (default: a free port of 127.0.0.1)
    ///
    /// Clients on other machines need --ui-cert or --ui-token-file.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_ui")]
    pub(super) ui: Option<String>,
    /// Do not serve a page
    #[arg(long)]
    pub(super) no_ui: bool,
    /// File with the access token of the page, mode 0600
    ///
    /// By default a token is created and printed with the address.
    #[arg(long, value_name = "FILE")]
    pub(super) ui_token_file: Option<PathBuf>,
    /// Serve the page with TLS, with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "no_ui", requires = "ui_key")]
    pub(super) ui_cert: Option<PathBuf>,
    /// Private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "ui_cert")]
    pub(super) ui_key: Option<PathBuf>,
    /// Let the page stop the job, retry rejected rows and upgrade plugins
    ///
    /// Without it, the page is read-only.
    #[arg(long)]
    pub(super) ui_actions: bool,
    /// Do not show the status line
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,
    /// Run in this process even if the job has [checkpoint]
    #[arg(long, hide = true)]
    pub(super) unsupervised: bool,
    /// Stand by to join a running job
    ///
    /// Loads the state of the job and waits until `millstream scale --hosts` includes this process.
    #[arg(long, requires = "process", conflicts_with_all = ["sample", "fresh", "resume_from", "replay_from", "watch"])]
    pub(in crate::cli) stand_by: bool,
    /// As [`Self::stand_by`], of a process that takes the job over as its supervisor says
    #[arg(long, hide = true)]
    pub(super) takes_over: bool,
    /// Layout of the machines that the job was given while it ran
    #[arg(long, hide = true)]
    pub(super) layout: Option<u64>,
}

/// The value of `--process`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessNumber {
    /// This number.
    Number(usize),
    /// The index of this machine's name among the addresses.
    Auto,
}

impl FromStr for ProcessNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<ProcessNumber, String> {
        match text {
            "auto" => Ok(ProcessNumber::Auto),
            digits => digits.parse().map(ProcessNumber::Number).map_err(|_| {
                "write the number of this process, from 0, or `auto` if --hosts has the name of this machine".to_owned()
            }),
        }
    }
}

impl RunArguments {
    /// Returns the number of this process, if one was given. [`settle`] has replaced `auto` by a number.
    pub(in crate::cli) fn number(&self) -> Option<usize> {
        match self.process {
            Some(ProcessNumber::Number(number)) => Some(number),
            Some(ProcessNumber::Auto) | None => None,
        }
    }

    /// Returns the number of this process. A process that represents all has number 0.
    pub(super) fn own_number(&self) -> usize {
        self.number().unwrap_or(0)
    }
}

/// Parses `key=value`.
pub fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE, for example sources.lines.address=127.0.0.1:9999".to_owned()),
    }
}
