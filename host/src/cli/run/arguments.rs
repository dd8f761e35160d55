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
    /// The job file
    pub(in crate::cli) job: PathBuf,
    /// Worker threads of this process (default: `workers` of the job file, or all cores)
    #[arg(long)]
    pub(in crate::cli) workers: Option<usize>,
    /// Stop once every source is finished or has had nothing to read for two seconds, be it that its server has gone
    #[arg(long)]
    pub(in crate::cli) until_idle: bool,
    /// Stop gracefully after this time, as `30s`
    #[arg(long, value_parser = units::time)]
    pub(in crate::cli) timeout: Option<Duration>,
    /// Read at most so many rows of each source, then end
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) limit: Option<u64>,
    /// Show the first rows of every stream and stop: 1000 rows of each source are read (or --limit), no sink is written, and
    /// checkpoints are neither read nor written
    #[arg(long, conflicts_with_all = ["fresh", "resume_from", "replay_from", "drop_state", "processes", "watch"])]
    pub(super) sample: bool,
    /// Replace or add a value of the job file, as `sources.lines.address=127.0.0.1:9999`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_set)]
    pub(in crate::cli) sets: Vec<(String, String)>,
    /// How many processes run the job together. Without --process a job with [checkpoint] starts all of them on this
    /// machine; otherwise each is started with the same job and its own --process
    #[arg(long)]
    pub(in crate::cli) processes: Option<usize>,
    /// The number of this process, from 0; `auto`: the place of this machine's name in --hosts
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::cli) process: Option<ProcessNumber>,
    /// The address of each process, `host:port,host:port`, or `@FILE` with an address a line (default: 127.0.0.1, and free
    /// ports where all are started here, else ports from 2101)
    #[arg(long, value_delimiter = ',')]
    pub(in crate::cli) hosts: Vec<String>,
    /// Where this process listens for the others, where that is not its address in --hosts, as `0.0.0.0:2101`
    #[arg(long, value_name = "ADDRESS", requires = "process")]
    pub(in crate::cli) listen: Option<String>,
    /// A file with the key by which the processes know each other: the same 32 or more bytes for all, mode 0600. Needed
    /// where --hosts names other machines
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) cluster_key: Option<PathBuf>,
    /// A folder with tls.crt, tls.key and ca.crt (PEM): each process shows a certificate that is for its name in --hosts and made by an
    /// issuer in ca.crt
    #[arg(long, value_name = "FOLDER")]
    pub(in crate::cli) cluster_tls: Option<PathBuf>,
    /// Forget what the checkpoint folder holds and begin at batch 1
    #[arg(long, conflicts_with_all = ["resume_from", "drop_state"])]
    pub(in crate::cli) fresh: bool,
    /// Do not ask whether --fresh is meant
    #[arg(long)]
    pub(super) yes: bool,
    /// Go back to the checkpoint of this batch; what came after it is given up
    #[arg(long, value_name = "BATCH")]
    pub(in crate::cli) resume_from: Option<u64>,
    /// Go back to the state in the checkpoint after this batch and run all later batches again as the job is now: what
    /// `millstream rollback` needs. Sinks keep what they hold of these batches
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["resume_from", "fresh"])]
    pub(in crate::cli) replay_from: Option<u64>,
    /// Leave out the kept state of this stage or source
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) drop_state: Vec<String>,
    /// How often in a row failed worker processes are started again without a batch committed
    #[arg(long, value_name = "COUNT", default_value_t = RESTARTS_MAX)]
    pub(in crate::cli) restarts_max: u32,
    /// Put a local component that is built anew in the place of the one that runs, between two batches
    #[arg(long)]
    pub(super) watch: bool,
    /// Where the page about the job is served (default: a free port of 127.0.0.1, which is printed). Other machines may only look
    /// with --ui-cert or --ui-token-file
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_ui")]
    pub(super) ui: Option<String>,
    /// Serve no page
    #[arg(long)]
    pub(super) no_ui: bool,
    /// A file with the token that the page asks for, mode 0600 (default: one is made, and printed with the address)
    #[arg(long, value_name = "FILE")]
    pub(super) ui_token_file: Option<PathBuf>,
    /// Serve the page with TLS: a file with a certificate and those of its issuers (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "no_ui", requires = "ui_key")]
    pub(super) ui_cert: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "ui_cert")]
    pub(super) ui_key: Option<PathBuf>,
    /// Let the page stop the job, give rejected rows back and upgrade plugins; without this it only shows
    #[arg(long)]
    pub(super) ui_actions: bool,
    /// Draw no line on the terminal that tells how the job stands
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,
    /// Run in this process, also where the job has [checkpoint]
    #[arg(long, hide = true)]
    pub(super) unsupervised: bool,
    /// A machine that a running job is to get: load its state and wait until `millstream scale --hosts` takes this process in
    #[arg(long, requires = "process", conflicts_with_all = ["sample", "fresh", "resume_from", "replay_from", "watch"])]
    pub(in crate::cli) stand_by: bool,
    /// As [`Self::stand_by`], of a process that takes the job over as its supervisor says
    #[arg(long, hide = true)]
    pub(super) takes_over: bool,
    /// Which machines the job was given while it ran
    #[arg(long, hide = true)]
    pub(super) layout: Option<u64>,
}

/// What `--process` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessNumber {
    /// This one.
    Number(usize),
    /// The place of this machine's name among the addresses.
    Auto,
}

impl FromStr for ProcessNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<ProcessNumber, String> {
        match text {
            "auto" => Ok(ProcessNumber::Auto),
            digits => digits.parse().map(ProcessNumber::Number).map_err(|_| {
                "write the number of this process, from 0, or `auto` where --hosts has the name of this machine"
                    .to_owned()
            }),
        }
    }
}

impl RunArguments {
    /// The number of this process, where one was given; [`settle`] has made a number of whatever was said.
    pub(in crate::cli) fn number(&self) -> Option<usize> {
        match self.process {
            Some(ProcessNumber::Number(number)) => Some(number),
            Some(ProcessNumber::Auto) | None => None,
        }
    }

    /// The number of this process; that of one that stands for all is 0.
    pub(super) fn own_number(&self) -> usize {
        self.number().unwrap_or(0)
    }
}

/// Splits `key=value`.
pub fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE, for example sources.lines.address=127.0.0.1:9999".to_owned()),
    }
}
