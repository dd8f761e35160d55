//! The plugin of a stage, what it may use, and what happens when it fails.

use crate::digest::Digest;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A plugin as a stage uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSpec {
    /// A component file, a plugin folder or a package, as in the job file.
    pub path: PathBuf,
    /// Where the component of a package is, once [`millstream_packages::lock::resolve`] has found it.
    pub file: Option<PathBuf>,
    /// The digest that the component of a package must have, as the lock file pins it. What is loaded is compared with it once
    /// more: between looking and loading somebody may have put something else there.
    pub pinned: Option<Digest>,
    /// Who has signed the package and is trusted, as found with it; `None`: it is no package.
    pub signers: Option<Vec<String>>,
    /// The stage's `config`.
    pub config: serde_json::Value,
    /// How long an instance lives.
    pub instance: InstanceSpec,
    /// What it may use up.
    pub limits: PluginLimits,
    /// What it may use beyond its input.
    pub grant: GrantSpec,
    /// What a failing call does.
    pub on_error: OnError,
    /// How many rows of a batch may be rejected until the job stops; `None`: all.
    pub rejected_max: Option<RejectedMax>,
    /// Whether a batch that runs again is to give the same. Only a stage that gives this up may talk to others.
    pub replayable: bool,
    /// Options of world `update`; an error with another world where one is set.
    pub update: UpdateSpec,
    /// World `aggregate`: whether sliding windows use the plugin's inverse; `None`: where it has one.
    pub inverse: Option<bool>,
}

/// How long a plugin instance lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstanceSpec {
    /// One call.
    #[default]
    Batch,
    /// As long as the worker, unless a call fails.
    Worker,
}

/// What a plugin may use up. Those of time are counted by a clock with [`OnError::Fail`], and in instructions with
/// [`OnError::Reject`], where a batch that runs again must decide alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PluginLimits {
    /// Linear memory of an instance, all its memories together.
    pub memory_bytes_max: u64,
    /// Elements of all tables of an instance together.
    pub table_elements_max: u64,
    /// Time of a call; zero: no limit.
    pub time_max: Duration,
    /// Instructions of a call with [`OnError::Reject`]; `None`: as `time_max` says.
    pub fuel_max: Option<u64>,
    /// Call stack.
    pub stack_bytes_max: u64,
    /// Bytes that a call may return.
    pub output_bytes_max: u64,
    /// Rows that a call may return.
    pub output_rows_max: u64,
    /// How many times more than its input a call may return, in rows and in bytes; see [`crate::limits`].
    pub expansion_max: u64,
    /// Bytes that all calls of a batch may return, on one worker.
    pub batch_output_bytes_max: u64,
    /// Bytes of the rows of a batch that the stage rejects, all workers of a process together.
    pub rejected_bytes_max: u64,
    /// Bytes of the backtrace of a rejected row.
    pub backtrace_bytes_max: u64,
    /// Timers of one key.
    pub timers_per_key_max: u64,
    /// Timers of the stage, on one worker.
    pub timers_max: u64,
    /// Bytes of the state of one key.
    pub state_bytes_per_key_max: u64,
    /// Bytes of the state of all keys, with the keys and their timers, on one worker; `None`: as the memory of the job allows.
    pub state_bytes_max: Option<u64>,
    /// Lines of the log a second, by stage and worker; more are counted and dropped.
    pub log_lines_per_second_max: u64,
    /// Bytes of the log a second, by stage and worker.
    pub log_bytes_per_second_max: u64,
    /// Names of counters.
    pub counters_max: u64,
    /// Handles of resources that an instance may hold.
    pub handles_max: u64,
    /// Core instances, memories and tables, each, in one instance.
    pub instances_max: u64,
    /// Calls that look for the rows of one failed call with [`OnError::Reject`].
    pub attempts_max: u64,
    /// Time of compiling the component.
    pub compile_time_max: Duration,
}

/// What a failing call of a plugin does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It stops the job.
    #[default]
    Fail,
    /// The rows that make it fail are rejected, and the others go on.
    Reject,
}

/// How many rows of a batch a stage may reject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RejectedMax {
    /// So many.
    Rows(u64),
    /// This share of the rows that came in, from 0 to 1.
    Share(f64),
}

/// What a plugin may use beyond its input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrantSpec {
    /// Files that it may read, by the name it knows them by.
    pub files: BTreeMap<String, PathBuf>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Whom it may ask over HTTP.
    pub http: Option<HttpGrant>,
    /// Servers that it may connect to over TCP, as `host:port` or `*.example.com:443`; with `tls://` in front the host speaks TLS with
    /// them. For sources and sinks.
    pub tcp: Vec<String>,
    /// Who is trusted to say who these are: certificates in a PEM file; `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Addresses at which it may take datagrams over UDP, and to which it may send some, as `127.0.0.1:5514`. For sources.
    pub udp: Vec<String>,
}

impl GrantSpec {
    /// The `host:port` of a server in `tcp`, and whether the host speaks TLS with it.
    pub fn server(granted: &str) -> (&str, bool) {
        granted.strip_prefix("tls://").map_or((granted, false), |server| (server, true))
    }

    /// Whether there is a server with which it does.
    pub fn has_tls(&self) -> bool {
        self.tcp.iter().any(|granted| GrantSpec::server(granted).1)
    }
}

/// Requests that a plugin may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// Hosts, as `api.example.com`, `127.0.0.1:8080` or `*.example.com`.
    pub hosts: Vec<String>,
    /// Methods, as `GET`.
    pub methods: Vec<String>,
}

/// Options of a stage with a plugin of world `update`; `None`: not set in the job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateSpec {
    /// Which keys are called (default `touched`).
    pub on: Option<UpdateOn>,
    /// What the stage's rows are (default `rows`).
    pub emit: Option<UpdateEmit>,
    /// Idle keys get one last call after this time and are removed.
    pub timeout: Option<Duration>,
    /// Initial state: a csv file (with a header) or JSON lines, with key and state columns.
    pub initial: Option<PathBuf>,
}

/// Which keys a batch calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateOn {
    /// Those with rows in the batch (mapWithState).
    #[default]
    Touched,
    /// All that have rows or a state (updateStateByKey).
    All,
}

/// What the rows of an update stage are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateEmit {
    /// What the plugin returns.
    #[default]
    Rows,
    /// Key and new state of each key called in the batch that has a state afterwards.
    Changes,
    /// Key and state of every key.
    State,
}
