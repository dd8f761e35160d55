//! The plugin of a stage: its permissions, limits, and error handling.

use millstream_base::digest::Digest;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A plugin in a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSpec {
    /// A component file, a plugin directory or a package, as in the job file.
    pub path: PathBuf,
    /// The component of a package, once [`millstream_packages::lock::resolve`] has found it.
    pub file: Option<PathBuf>,
    /// The required digest of a package's component, as the lock file pins it. It is verified again when the component is loaded, as the file may
    /// have been replaced since.
    pub pinned: Option<Digest>,
    /// The trusted signers of the package, as found with it; `None`: it is not a package.
    pub signers: Option<Vec<String>>,
    /// The stage's `config`.
    pub config: serde_json::Value,
    /// How long an instance lives.
    pub instance: InstanceSpec,
    /// Its resource limits.
    pub limits: PluginLimits,
    /// Its permissions.
    pub grant: GrantSpec,
    /// What a failing call does.
    pub on_error: OnError,
    /// How many rows of a batch may be rejected until the job stops; `None`: all.
    pub rejected_max: Option<RejectedMax>,
    /// Whether a replay of a batch must give the same result. Only a stage that sets this to false may access other systems.
    pub replayable: bool,
    /// Options of world `update`; setting one with another world is an error.
    pub update: UpdateSpec,
    /// World `aggregate`: whether sliding windows use the plugin's inverse; `None`: if it has one.
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

/// Resource limits of a plugin. Time limits are measured by a clock with [`OnError::Fail`], and in instructions with [`OnError::Reject`], as then a
/// replay must decide in the same way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PluginLimits {
    /// Linear memory of an instance, for all its memories together.
    pub memory_bytes_max: u64,
    /// Elements of all tables of an instance together.
    pub table_elements_max: u64,
    /// Time of a call; zero: no limit.
    pub time_max: Duration,
    /// Instructions of a call with [`OnError::Reject`]; `None`: derived from `time_max`.
    pub fuel_max: Option<u64>,
    /// Call stack.
    pub stack_bytes_max: u64,
    /// Bytes that a call may return.
    pub output_bytes_max: u64,
    /// Rows that a call may return.
    pub output_rows_max: u64,
    /// Maximum ratio of a call's output to its input, in rows and in bytes; see [`millstream_base::limits`].
    pub expansion_max: u64,
    /// Bytes that all calls of a batch may return, on one worker.
    pub batch_output_bytes_max: u64,
    /// Bytes of the rows of a batch that the stage rejects, for all workers of a process together.
    pub rejected_bytes_max: u64,
    /// Bytes of the backtrace of a rejected row.
    pub backtrace_bytes_max: u64,
    /// Timers of one key.
    pub timers_per_key_max: u64,
    /// Timers of the stage, on one worker.
    pub timers_max: u64,
    /// Bytes of the state of one key.
    pub state_bytes_per_key_max: u64,
    /// Bytes of the state of all keys, with the keys and their timers, on one worker; `None`: limited by the job's memory.
    pub state_bytes_max: Option<u64>,
    /// Log lines/s, by stage and worker; more are counted and dropped.
    pub log_lines_per_second_max: u64,
    /// Log bytes/s, by stage and worker.
    pub log_bytes_per_second_max: u64,
    /// Names of counters.
    pub counters_max: u64,
    /// Handles of resources that an instance may hold.
    pub handles_max: u64,
    /// Core instances, memories and tables (each) of one instance.
    pub instances_max: u64,
    /// Calls that search for the rows of one failed call with [`OnError::Reject`].
    pub attempts_max: u64,
    /// Time of compiling the component.
    pub compile_time_max: Duration,
}

/// The effect of a failing call of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It fails the job.
    #[default]
    Fail,
    /// The rows that make it fail are rejected; the others are processed.
    Reject,
}

/// Maximum rows of a batch that a stage may reject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RejectedMax {
    /// This number.
    Rows(u64),
    /// This share of the input rows, from 0 to 1.
    Share(f64),
}

/// Permissions of a plugin beyond its input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrantSpec {
    /// Files that it may read, by the plugin's name for them.
    pub files: BTreeMap<String, PathBuf>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// HTTP requests that it may send.
    pub http: Option<HttpGrant>,
    /// Servers that it may connect to over TCP, for example `host:port` or `*.example.com:443`; with the prefix `tls://` the host uses TLS. For
    /// sources and sinks.
    pub tcp: Vec<String>,
    /// Trusted CA certificates for these servers, in a PEM file; `None`: the system trust store.
    pub ca: Option<PathBuf>,
    /// Addresses for receiving and sending UDP datagrams, for example `127.0.0.1:5514`. For sources.
    pub udp: Vec<String>,
}

impl GrantSpec {
    /// Returns the `host:port` of a server in `tcp`, and whether the host uses TLS.
    pub fn server(granted: &str) -> (&str, bool) {
        granted.strip_prefix("tls://").map_or((granted, false), |server| (server, true))
    }

    /// Returns whether the host uses TLS with any server.
    pub fn has_tls(&self) -> bool {
        self.tcp.iter().any(|granted| GrantSpec::server(granted).1)
    }
}

/// HTTP requests that a plugin may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// Hosts, for example `api.example.com`, `127.0.0.1:8080` or `*.example.com`.
    pub hosts: Vec<String>,
    /// Methods, for example `GET`.
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
    /// All that have rows or state (updateStateByKey).
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
